//! How the server ends.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use portcullis::BoxError;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use wire_examples::Claims;

use super::{Answer, Client, NOTICE, Play, joined};
use crate::api::END;

/// How many clients go on asking, each over a new connection for every request.
const CALLERS: usize = 4;
/// How long each of them rests in between.
const REST: Duration = Duration::from_millis(5);
/// How many requests are under way when the server is told to end.
const WAITING: usize = 2;

/// What a client got until it got no connection any more, and when that was.
struct Went {
    answers: Vec<Answer>,
    ended: Instant,
}

/// Asks again and again, until there is nobody to ask.
async fn ask_on(client: Client, path: &'static str) -> Went {
    let mut answers = Vec::new();
    while let Ok(answer) = client.ask(path).await {
        answers.push(answer);
        sleep(REST).await;
    }
    Went { answers, ended: Instant::now() }
}

impl Play {
    pub(super) async fn the_end(mut self) -> Result<Claims, BoxError> {
        self.book.enough.send_replace(false);
        let waiting = self.start("/waits", WAITING);
        let download = self.start("/download", 1);
        self.arrived(WAITING as u32 + 1).await?;
        let before = self.book.reports.load(SeqCst);
        let ready = self.client.ask("/readyz").await?;

        let told = Instant::now();
        drop(self.end.take());
        self.drain.begun().await;
        self.note("the server is told to end, with 3 requests under way", &[])?;
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(ask_on(Client::stranger(self.address)?, "/reports"));
        }
        let alive = tokio::spawn(ask_on(Client::stranger(self.address)?, "/livez"));
        let unready = ask_on(Client::stranger(self.address)?, "/readyz").await;
        let alive = alive.await?;
        let (mut answers, mut earliest) = (Vec::new(), unready.ended.min(alive.ended));
        while let Some(went) = callers.join_next().await {
            let Went { answers: more, ended } = went?;
            answers.extend(more);
            earliest = earliest.min(ended);
        }
        self.note("others were served until it stopped to listen", &answers)?;
        let closing = answers.iter().filter(|answer| answer.header("connection") == Some("close"));
        let (asked, closing) = (answers.len(), closing.count());
        let reached = self.book.reports.load(SeqCst) - before;
        self.claim(
            format!(
                "told to end, it served {asked} more, each of which asked to close the connection"
            ),
            asked > 0
                && closing == asked
                && answers.iter().all(|answer| answer.status == 200)
                && reached == asked as u64,
        );
        self.claim(
            format!("nobody was refused a connection within the notice of {NOTICE:?}"),
            earliest >= told + NOTICE,
        );
        let all = |went: &Went, status| {
            !went.answers.is_empty() && went.answers.iter().all(|answer| answer.status == status)
        };
        self.claim(
            "it was ready before, unready from then on, and alive to the end",
            ready.status == 200 && all(&unready, 503) && all(&alive, 200),
        );

        // Only now, with nobody listening any more, may those go that are inside.
        let inside = self.drain.in_flight();
        self.book.leave.add_permits(WAITING);
        self.book.enough.send_replace(true);
        let (waited, downloaded) = (joined(waiting).await?, joined(download).await?);
        self.note("those that were under way come to their end", &waited)?;
        let ended = (&mut self.server).await?;
        self.note("the server has ended", &[])?;
        let book = &self.book;
        let whole = waited.iter().chain(&downloaded).all(|answer| answer.status == 200)
            && downloaded.iter().all(|answer| answer.body.ends_with(END));
        let (waits, waited) = (book.waits.load(SeqCst), book.waited.load(SeqCst));
        let (begun, sent) = (book.downloads.load(SeqCst), book.downloaded.load(SeqCst));
        let nothing_left = self.drain.in_flight() == 0 && self.in_flight()? == 0;
        self.claim(
            format!("the {inside} requests under way were not lost: each was answered to its end"),
            inside == WAITING as u64 + 1 && whole && (waits, begun) == (waited, sent),
        );
        self.claim(
            "it ended by itself, with nothing in flight and nothing cut",
            ended.is_ok() && nothing_left,
        );
        self.claims.print(self.paint)?;
        Ok(self.claims)
    }
}
