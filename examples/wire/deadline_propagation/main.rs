//! One deadline through three servers: each knows how long its caller waits, and nobody works for one that is
//! gone.
//!
//! ```text
//! caller ──▶ edge ──▶ middle ──▶ storage
//! ```
//!
//! `cargo run --example deadline_propagation` takes about a second and needs nothing but this machine. It
//! ends by checking its own claims against what the servers counted, and fails if one is wrong.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod hop;

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use http::header::RETRY_AFTER;
use portcullis::{BoxError, Event, RetryEnd};
use tokio::time::{Instant, sleep};
use wire_examples::{
    claims::{self, Claims, soon},
    told::Told,
};

use crate::hop::{BACKOFF, HEADER, Hop, LIMIT, MARGIN, PIECE, Seen, client};

/// How long the caller waits for a storage that is quick, and for one that is slow.
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(800);

#[tokio::main]
async fn main() -> ExitCode {
    claims::tell("deadline_propagation", run).await
}

/// The servers from the first to the last.
struct Chain {
    hops: [Hop; 3],
    caller: reqwest::Client,
}

/// What each server had seen at some moment.
type Before = [Seen; 3];

impl Chain {
    fn before(&self) -> Before {
        self.hops.each_ref().map(Hop::seen)
    }

    /// A call by a caller that says how long it waits, and does wait for the answer.
    async fn ask(
        &self,
        path: &str,
        patience: Option<Duration>,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.caller.get(format!("http://{}{path}", self.hops[0].address));
        match patience {
            Some(patience) => request.header(HEADER, patience.as_millis().to_string()),
            None => request,
        }
        .send()
        .await
    }

    /// Waits until nobody works on anything.
    async fn idle(&self) -> Result<(), BoxError> {
        for hop in &self.hops {
            hop.until("is done with every request", Seen::idle).await?;
        }
        Ok(())
    }

    /// The pieces of work that each server has done, once after the other, a while apart.
    async fn work(&self) -> [[u64; 3]; 2] {
        let work = self.hops.each_ref().map(Hop::work);
        sleep(25 * PIECE).await;
        [work, self.hops.each_ref().map(Hop::work)]
    }

    /// Prints what each server saw since, and gives the times that were left.
    fn show(&self, title: &str, before: &Before) -> io::Result<[Vec<Duration>; 3]> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n  {title}")?;
        let mut lefts = [const { Vec::new() }; 3];
        for ((hop, before), lefts) in self.hops.iter().zip(before).zip(&mut lefts) {
            let seen = hop.seen();
            for begun in &seen.begun[before.begun.len()..] {
                let told = begun.told.as_deref().unwrap_or("nothing");
                writeln!(
                    out,
                    "    {:<8} was told {told:>8}, and began with {:>6} ms left",
                    hop.name,
                    begun.left.as_millis()
                )?;
                lefts.push(begun.left);
            }
        }
        Ok(lefts)
    }
}

async fn run(claims: &mut Claims) -> Result<(), BoxError> {
    let told = Told::listen()?;
    let storage = Hop::start("storage", "127.0.0.0/8", None).await?;
    // One retry is enough in a chain, and it stands where the deadline is longest.
    let middle = Hop::start("middle", "127.0.0.0/8", Some((&storage, client("storage", 1)?)));
    let middle = middle.await?;
    let next = || Ok::<_, BoxError>(Some((&middle, client("middle", 3)?)));
    let edge = Hop::start("edge", "127.0.0.0/8", next()?).await?;
    let outside = Hop::start("outside", "10.0.0.0/8", next()?).await?;

    let caller = reqwest::Client::builder().no_proxy().build()?;
    let hops = [edge, middle.clone(), storage.clone()];
    let chain = Chain { hops, caller: caller.clone() };
    writeln!(
        io::stdout(),
        "caller -> edge -> middle -> storage: each says in {HEADER} how long it waits for an answer."
    )?;
    shrinks(claims, &chain).await?;
    is_cut(claims, &chain).await?;
    goes_away(claims, &chain).await?;
    retries(claims, &chain, &told).await?;
    let chain = Chain { hops: [outside, middle, storage], caller };
    strangers(claims, &chain).await?;
    Ok(())
}

async fn shrinks(claims: &mut Claims, chain: &Chain) -> Result<(), BoxError> {
    let before = chain.before();
    let answer = soon("an answer", chain.ask("/quick", Some(LONG))).await??;
    let lefts = chain.show("a caller that waits for 10 s:", &before)?;
    let [[edge], [middle], [storage]] = lefts.each_ref().map(Vec::as_slice) else {
        return Err(format!("each server is asked once: {lefts:?}").into());
    };
    claims.claim(
        answer.status() == 200
            && *edge <= LONG
            && *middle <= *edge - MARGIN
            && *storage <= *middle - MARGIN,
        "each server has less time than the one before, by the way between them at the least",
    );
    Ok(())
}

async fn is_cut(claims: &mut Claims, chain: &Chain) -> Result<(), BoxError> {
    let (before, began) = (chain.before(), Instant::now());
    let answer = soon("an answer", chain.ask("/slow", Some(SHORT))).await??;
    chain.idle().await?;
    let took = began.elapsed();
    chain.show("a caller that waits for 800 ms, and a storage that takes for ever:", &before)?;
    let [then, now] = chain.work().await;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "    the caller got {} and everybody was done after {} ms; pieces of work, and later: {then:?}, {now:?}",
        answer.status(),
        took.as_millis()
    )?;
    let dropped = chain.hops[2].seen().dropped - before[2].dropped;
    claims.claim(
        answer.status() == 504 && dropped == 1,
        "a storage that is too slow is cut, and the caller gets a 504",
    );
    claims.claim(
        took < LIMIT / 3,
        "everybody was done long before any limit of its own, which is 30 s",
    );
    claims.claim(
        then == now && now.iter().all(|work| *work > 0),
        "all three had worked on it, and none did any longer",
    );
    let asked = |at: usize| chain.hops[at].seen().begun.len() - before[at].begun.len();
    claims.same(
        [asked(0), asked(1), asked(2)],
        [1, 1, 1],
        "the edge did not begin another attempt, which could not have ended",
    );
    Ok(())
}

async fn goes_away(claims: &mut Claims, chain: &Chain) -> Result<(), BoxError> {
    let before = chain.before();
    {
        let call = chain.ask("/slow", None);
        let begun = chain.hops[2].until("is asked", |seen| !seen.idle());
        tokio::select! {
            _ = call => return Err("nobody answers this".into()),
            begun = begun => begun?,
        }
        // Here the caller goes away.
    }
    chain.idle().await?;
    chain.show("a caller that does not say, and goes away:", &before)?;
    let [then, now] = chain.work().await;
    let dropped = |at: usize| chain.hops[at].seen().dropped - before[at].dropped;
    claims.same(
        ([dropped(0), dropped(1), dropped(2)], now),
        ([1, 1, 1], then),
        "when a caller goes away, all three drop its call, and none works on",
    );
    Ok(())
}

async fn retries(claims: &mut Claims, chain: &Chain, told: &Told) -> Result<(), BoxError> {
    let ends = || {
        told.each(|event| match event {
            Event::RetryEnded { policy: "middle", attempts, end } => Some((*attempts, *end)),
            _ => None,
        })
    };
    let before = chain.before();
    writeln!(io::stdout())?;
    let answer = soon("an answer", chain.ask("/flaky", Some(LONG))).await??;
    let lefts = chain.show("a storage that is busy for a moment:", &before)?;
    claims.claim(
        answer.status() == 200
            && ends().last() == Some(&(2, RetryEnd::Success))
            && matches!(lefts[1][..], [first, second] if second <= first - BACKOFF)
            && matches!(lefts[2][..], [first, second] if second <= first - BACKOFF),
        "a second attempt has less time than the first, by what was waited before it at the least",
    );

    let before = chain.before();
    let answer = soon("an answer", chain.ask("/closed", Some(LONG))).await??;
    let lefts = chain.show("a storage that wants to be left alone for 30 s:", &before)?;
    let after = answer.headers().get(RETRY_AFTER).and_then(|after| after.to_str().ok());
    claims.claim(
        ends().last() == Some(&(1, RetryEnd::Deadline)) && lefts[1].len() == 1,
        "where it says to come back after the deadline, the edge does not wait for that",
    );
    claims.claim(
        answer.status() == 503 && after == Some("30"),
        "the caller gets the answer at once, and may come back then by itself",
    );
    Ok(())
}

async fn strangers(claims: &mut Claims, chain: &Chain) -> Result<(), BoxError> {
    let before = chain.before();
    let answer = soon("an answer", chain.ask("/quick", Some(Duration::from_millis(1)))).await??;
    let lefts = chain.show("a stranger that says 1 ms:", &before)?;
    claims.claim(
        answer.status() == 200
            && lefts.iter().flatten().all(|left| *left > LONG && *left <= LIMIT)
            && lefts.iter().all(|lefts| lefts.len() == 1),
        "a stranger's word counts for nothing: the limit of the server outside holds, for all three",
    );
    Ok(())
}
