//! What may befall the server, played by real clients and an operator, who has the handles of its policies.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod client;
mod ending;
mod steps;

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    panic,
    sync::Arc,
    time::Duration,
};

use portcullis::{BoxError, Bulkhead, Managed, RateLimitConfig, Registry, health::Drain, stack};
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use wire_examples::{Claims, Ink, Paint};

use self::client::{Answer, Client, tally};
use crate::{API, Exporter, Server, Settings, api, api::Book};

/// Longer than the play takes on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How many requests at a time.
const SLOTS: usize = 8;
/// The rate to begin with.
const PER_SECOND: u64 = 5;
const BURST: u64 = 30;
/// No limit where none is played.
const LONG: Duration = Duration::from_secs(60);
/// For how long the server goes on after it is told to end.
const NOTICE: Duration = Duration::from_millis(700);

fn settings() -> Settings {
    let settings = Settings::new();
    Settings {
        rate: RateLimitConfig::per_second(API, PER_SECOND).burst(BURST),
        server: stack::server(API).max_in_flight(SLOTS).timeout(LONG),
        bodies: settings.bodies.idle(LONG),
        deadlines: settings.deadlines,
        callers: vec!["127.0.0.1"],
        notice: NOTICE,
        finish: LONG,
        last_bytes: LONG,
    }
}

/// A running server, seen from both sides.
struct Play {
    begun: Instant,
    address: SocketAddr,
    client: Client,
    book: Arc<Book>,
    policies: Registry,
    drain: Drain,
    /// What SIGTERM would say.
    end: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), BoxError>>,
    /// Every answer from behind the limits, and how many there were whose body was cut.
    answers: Vec<Answer>,
    cut: u64,
    claims: Claims,
    paint: Paint,
}

pub(crate) async fn play() -> Result<Claims, BoxError> {
    let mut play = Play::begin().await?;
    play.within_limits().await?;
    play.more_than_the_rate().await?;
    play.more_than_there_is_room_for().await?;
    play.bodies_that_last().await?;
    play.handlers_that_are_slow().await?;
    play.callers_that_do_not_wait().await?;
    play.handlers_with_bugs().await?;
    play.what_metrics_say().await?;
    play.the_end().await
}

impl Play {
    async fn begin() -> Result<Self, BoxError> {
        let (book, settings) = (Arc::<Book>::default(), settings());
        let server = Server::new(api::routes(&book), &settings, Exporter::install()?)?;
        let (policies, drain) = (server.policies.clone(), server.health.drain().clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (end, told) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            // A sender that was dropped means the same as one that was used.
            server.serve(listener, &settings, async { drop(told.await) }).await
        });
        let play = Self {
            begun: Instant::now(),
            address,
            client: Client::new(address)?,
            book,
            policies,
            drain,
            end: Some(end),
            server,
            answers: Vec::new(),
            cut: 0,
            claims: Claims::new(),
            paint: Paint::new(),
        };
        writeln!(
            io::stdout(),
            "A server at http://{address} that takes {SLOTS} requests at a time and {PER_SECOND} a second, {BURST} \
             at once:\n"
        )?;
        Ok(play)
    }

    fn claim(&mut self, says: impl Into<String>, holds: bool) {
        self.claims.claim(holds, says);
    }

    /// A policy's handle.
    fn handle<H: Managed + Clone>(&self) -> Result<H, BoxError> {
        let handle = self.policies.get(API);
        handle.ok_or_else(|| "a policy is not registered".into())
    }

    /// How many requests have a slot.
    fn in_flight(&self) -> Result<usize, BoxError> {
        Ok(self.handle::<Bulkhead>()?.in_flight())
    }

    /// One line of the timeline, and what came of it.
    fn note(&mut self, what: &str, answers: &[Answer]) -> io::Result<()> {
        let came: Vec<_> = tally(answers)
            .into_iter()
            .map(|(status, times)| {
                let ink = if status == 200 { Ink::Green } else { Ink::Yellow };
                self.paint.ink(ink, format!("{times} x {status}"))
            })
            .collect();
        self.answers.extend_from_slice(answers);
        let at = self.begun.elapsed().as_secs_f64();
        let line = format!("{at:>7.2} s  {what:<58} {}", came.join(", "));
        writeln!(io::stdout(), "{}", line.trim_end())
    }

    /// Something as it came.
    fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        for line in lines {
            writeln!(out, "{}", self.paint.ink(Ink::Dim, format!("{:>11}{line}", "")))?;
        }
        Ok(())
    }

    /// So many requests at the same time.
    async fn ask(&self, path: &str, times: usize) -> Result<Vec<Answer>, BoxError> {
        joined(self.start(path, times)).await
    }

    /// So many requests at the same time, under way.
    fn start(&self, path: &str, times: usize) -> JoinSet<Result<Answer, BoxError>> {
        let mut asked = JoinSet::new();
        for _ in 0..times {
            let (client, path) = (self.client.clone(), path.to_owned());
            asked.spawn(async move { client.ask(&path).await });
        }
        asked
    }

    /// Until so many requests have reached a handler that waits, hangs or downloads.
    async fn arrived(&self, requests: u32) -> Result<(), BoxError> {
        self.book.arrived.acquire_many(requests).await?.forget();
        Ok(())
    }
}

/// All answers, when the last of them is there.
async fn joined(mut asked: JoinSet<Result<Answer, BoxError>>) -> Result<Vec<Answer>, BoxError> {
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

/// Runs something whose panics nobody need read of.
async fn quietly<T>(future: impl Future<Output = T>) -> T {
    let loud = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let output = future.await;
    panic::set_hook(loud);
    output
}
