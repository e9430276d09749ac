//! What happens while the server serves.

use std::{
    sync::{PoisonError, atomic::Ordering::SeqCst},
    time::Duration,
};

use portcullis::{
    BoxError, RateLimitConfig, RateLimiter, TimeLimit, TimeoutConfig,
    http::{
        BodyTimeLimit,
        problem::{QUOTA_EXCEEDED, REDUCED_CAPACITY},
    },
};
use tokio::time::{Instant, sleep};
use wire_examples::{Scrape, is_own};

use super::{Answer, BURST, Client, LONG, PER_SECOND, Play, SLOTS, joined, quietly, tally};
use crate::{API, api::END};

/// How many clients ask again and again.
const CALLERS: usize = 4;

/// How many answers have this status.
fn count(answers: &[Answer], status: u16) -> u64 {
    tally(answers).get(&status).copied().unwrap_or(0)
}

impl Play {
    pub(super) async fn within_limits(&mut self) -> Result<(), BoxError> {
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.extend(self.ask("/reports", CALLERS).await?);
        }
        self.note("clients ask for reports, within all limits", &answers)?;
        let told = answers.iter().filter(|answer| {
            let left = answer.header("ratelimit").unwrap_or_default();
            answer.header("ratelimit-policy") == Some(r#""api";q=30;w=6"#)
                && left.starts_with(r#""api";r="#)
        });
        let told = told.count();
        self.claim(
            format!(
                "{} requests within the limits were served, and each told what is left",
                answers.len()
            ),
            count(&answers, 200) == 20 && told == 20 && self.book.reports.load(SeqCst) == 20,
        );
        Ok(())
    }

    pub(super) async fn more_than_the_rate(&mut self) -> Result<(), BoxError> {
        let (before, began) = (self.book.reports.load(SeqCst), Instant::now());
        let mut answers = Vec::new();
        // It takes no more than a few rounds unless the machine is slower than the rate.
        while count(&answers, 429) < 10 {
            answers.extend(self.ask("/reports", CALLERS).await?);
        }
        let took = began.elapsed();
        self.note("they ask faster than the rate", &answers)?;
        let refused: Vec<_> =
            answers.iter().filter(|answer| answer.status == 429).cloned().collect();
        let Some(one) = refused.first() else { return Err("nobody was refused".into()) };
        self.show(&one.lines())?;
        let (served, reached) = (count(&answers, 200), self.book.reports.load(SeqCst) - before);
        let most = BURST + (PER_SECOND as f64 * took.as_secs_f64()) as u64 + 1;
        self.claim(
            format!(
                "faster than the rate, {served} were served, of at most {most}, and {} refused",
                refused.len()
            ),
            served <= most
                && served == reached
                && refused.iter().all(|answer| answer.is_problem(429, Some(QUOTA_EXCEEDED))),
        );
        let same = |answer: &Answer| {
            let after = answer.retry_after()?;
            let left = format!(r#""api";r=0;t={after}"#);
            (answer.header("ratelimit") == Some(left.as_str())).then_some(after)
        };
        let afters: Vec<_> = refused.iter().map(same).collect();
        self.claim(
            "each refused client was told when to come back, in both fields alike",
            afters.iter().all(|after| *after == Some(1)),
        );

        // The others have left, so that the next token is this client's.
        sleep(Duration::from_secs(afters.into_iter().flatten().max().unwrap_or(1))).await;
        let later = self.client.ask("/reports").await?;
        self.note("one comes back when it was told to", std::slice::from_ref(&later))?;
        self.claim("one that came back when it was told to was served", later.status == 200);

        let limiter: RateLimiter = self.handle()?;
        limiter.reconfigure(RateLimitConfig::per_second(API, 100_000))?;
        self.note("an operator raises the rate, live", &[])?;
        Ok(())
    }

    pub(super) async fn more_than_there_is_room_for(&mut self) -> Result<(), BoxError> {
        let inside = self.start("/waits", SLOTS);
        self.arrived(SLOTS as u32).await?;
        let before = self.book.reports.load(SeqCst);
        let mut shed = self.ask("/reports", 5).await?;
        shed.extend(self.ask("/reports", 5).await?);
        self.note("all slots are taken by slow work, and others come", &shed)?;
        if let Some(one) = shed.first() {
            self.show(&one.lines())?;
        }
        let told = shed.iter().all(|answer| {
            answer.is_problem(503, Some(REDUCED_CAPACITY)) && answer.retry_after() == Some(1)
        });
        self.claim(
            "beyond the slots, 10 requests were shed at once and reached no handler",
            shed.len() == 10 && told && self.book.reports.load(SeqCst) == before,
        );
        let (alive, scrape) = (self.client.ask("/livez").await?, Scrape::of(self.address).await?);
        let taken = scrape.sum("portcullis_bulkhead_in_flight", &[("name", API)]);
        self.claim(
            format!("meanwhile probes and metrics were answered, and told of {taken} in flight"),
            alive.status == 200 && taken == SLOTS as f64,
        );
        self.book.leave.add_permits(SLOTS);
        let served = joined(inside).await?;
        self.note("the slow work is done", &served)?;
        let waited = self.book.waited.load(SeqCst);
        self.claim(
            "those that were inside were served to the end",
            count(&served, 200) == SLOTS as u64 && waited == SLOTS as u64,
        );
        Ok(())
    }

    pub(super) async fn bodies_that_last(&mut self) -> Result<(), BoxError> {
        let downloads = self.start("/download", SLOTS);
        self.arrived(SLOTS as u32).await?;
        let taken = self.in_flight()?;
        let shed = self.ask("/reports", 5).await?;
        self.note("all slots are taken by downloads, whose heads are sent", &shed)?;
        self.book.enough.send_replace(true);
        let whole = joined(downloads).await?;
        let after = self.ask("/reports", SLOTS).await?;
        self.note("the downloads end", &whole)?;
        self.note("there is room again", &after)?;
        let ends = whole.iter().all(|answer| answer.status == 200 && answer.body.ends_with(END));
        self.claim(
            format!("a body holds its slot to the end: {taken} were taken, and 5 others shed"),
            taken == SLOTS && count(&shed, 503) == 5 && ends && count(&after, 200) == 8,
        );

        let bodies: BodyTimeLimit = self.handle()?;
        let config = bodies.config();
        bodies.reconfigure(config.clone().idle(Duration::from_millis(200)))?;
        let mut stalled = self.client.get("/stalls").send().await?;
        let (status, first) = (stalled.status().as_u16(), stalled.chunk().await?);
        let cut = stalled.chunk().await;
        bodies.reconfigure(config)?;
        self.note("a body stalls, and is cut", &[])?;
        self.claim(
            "a body that stalled was cut, the client saw that, and the slot came back",
            status == 200
                && first.is_some()
                && cut.is_err()
                && self.book.cut.load(SeqCst) == 1
                && self.in_flight()? == 0,
        );
        self.cut += 1;
        Ok(())
    }

    pub(super) async fn handlers_that_are_slow(&mut self) -> Result<(), BoxError> {
        let limit: TimeLimit = self.handle()?;
        limit.reconfigure(TimeoutConfig::new(API, Duration::from_millis(200)))?;
        let late = self.ask("/hangs", 3).await?;
        limit.reconfigure(TimeoutConfig::new(API, LONG))?;
        self.arrived(3).await?;
        self.note("handlers hang, and time out", &late)?;
        self.claim(
            "3 handlers that hung were dropped, and their callers told that it took too long",
            late.len() == 3
                && late.iter().all(|answer| answer.is_problem(504, None))
                && late.iter().all(|answer| answer.retry_after().is_none())
                && self.book.dropped.load(SeqCst) == 3
                && self.in_flight()? == 0,
        );
        Ok(())
    }

    pub(super) async fn callers_that_do_not_wait(&mut self) -> Result<(), BoxError> {
        let hurried = |client: &Client, path, millis: u64| {
            Answer::of(client.get(path).header("x-timeout-ms", millis))
        };
        let late = hurried(&self.client, "/hangs", 150).await?;
        let had = self.book.had.lock().unwrap_or_else(PoisonError::into_inner).last().copied();
        let had = had.flatten().unwrap_or(LONG);
        let before = self.book.reports.load(SeqCst);
        let never = hurried(&self.client, "/reports", 0).await?;
        self.note("a caller waits for 150 ms, another not at all", &[late.clone(), never.clone()])?;
        self.claim(
            "a handler knew how long its caller waits, and was dropped when that was over",
            late.is_problem(504, None)
                && had <= Duration::from_millis(145)
                && self.book.dropped.load(SeqCst) == 4,
        );
        self.claim(
            "whose caller does not wait at all was not begun",
            never.is_problem(504, None) && self.book.reports.load(SeqCst) == before,
        );
        if is_own([127, 0, 0, 2]) {
            let stranger = Client::from([127, 0, 0, 2].into(), self.address, 0)?;
            let served = hurried(&stranger, "/reports", 0).await?;
            self.note(
                "a stranger says the same, and is not believed",
                std::slice::from_ref(&served),
            )?;
            self.claim("a stranger's deadline is not believed", served.status == 200);
        } else {
            self.note("a stranger is left out: no 127.0.0.2 here", &[])?;
        }
        Ok(())
    }

    pub(super) async fn handlers_with_bugs(&mut self) -> Result<(), BoxError> {
        let broken = quietly(self.ask("/panics", 3)).await?;
        let after = self.ask("/reports", 3).await?;
        self.note("handlers panic", &broken)?;
        self.note("others are served as before", &after)?;
        self.claim(
            "3 handlers panicked, their callers were told so, and the server lives",
            broken.len() == 3
                && broken.iter().all(|answer| answer.is_problem(500, None))
                && self.book.panics.load(SeqCst) == 3
                && count(&after, 200) == 3,
        );
        Ok(())
    }

    pub(super) async fn what_metrics_say(&mut self) -> Result<(), BoxError> {
        let scrape = Scrape::of(self.address).await?;
        let sum = |name: &str, outcome: (&str, &str)| {
            scrape.sum(&format!("portcullis_{name}_total"), &[("name", API), outcome])
        };
        let said = [
            sum("limiter_requests", ("outcome", "allowed"))
                + sum("limiter_requests", ("outcome", "limited")),
            sum("limiter_requests", ("outcome", "limited")),
            sum("bulkhead_rejections", ("reason", "full")),
            sum("timeout_calls", ("outcome", "timeout"))
                + sum("timeout_calls", ("outcome", "deadline_too_short")),
            sum("catch_panic_panics", ("shadow", "false")),
            sum("body_timeout_cuts", ("shadow", "false")),
        ];
        let of = |status| count(&self.answers, status) as f64;
        let all = (self.answers.len() as u64 + self.cut) as f64;
        let seen = [all, of(429), of(503), of(504), of(500), self.cut as f64];
        let words = ["requests", "429", "503", "504", "500", "cut body"];
        let words: Vec<_> =
            words.iter().zip(seen).map(|(word, seen)| format!("{seen} x {word}")).collect();
        self.note("metrics are scraped", &[])?;
        self.show(&scrape.excerpt(&["portcullis_rejections"]))?;
        self.claim(
            format!("metrics say what clients saw: {} (metrics: {said:?})", words.join(", ")),
            said == seen,
        );
        Ok(())
    }
}
