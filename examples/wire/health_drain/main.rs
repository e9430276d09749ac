//! A rolling update, live: a new server starts, the old one ends, and their callers do not notice.
//!
//! The same update happens twice at the same moments. Once a balancer asks `/readyz`, the new server has a
//! startup gate, and the old one drains before it ends. The twin does without: it is sent requests from when
//! it listens to when it is gone.
//!
//! `cargo run --example health_drain` takes about four seconds and needs nothing but this machine. It ends by
//! checking its own claims against what the servers counted, and fails if one is wrong.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod balancer;
mod report;
mod server;

use std::{error::Error as StdError, process::ExitCode, sync::Arc, time::Duration};

use portcullis::health::Finished;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use wire_examples::Claims;

use crate::{
    balancer::{Balancer, Load, Probed, download},
    report::{Line, Screen},
    server::{Manners, PARTS, Server, TTL},
};

/// One line of the timeline stands for this long.
const STEP: Duration = Duration::from_millis(250);
/// Steps until the new server is started, from its readiness to the end of the old one, and from the old
/// one's end to the end of the story.
const BEFORE: u32 = 2;
const OVERLAP: u32 = 2;
const AFTER: u32 = 3;
/// No step of the update takes longer on any machine.
const LONGEST: Duration = Duration::from_secs(20);

/// One fleet through its update: two servers, what stands in front of them, and who calls.
struct Fleet {
    balancer: Balancer,
    load: Load,
    old: Server,
    new: Option<Server>,
    /// A download from the old server, begun before it is told to end.
    download: Option<JoinHandle<u64>>,
    ended: Option<Option<Finished>>,
    last: Line,
}

impl Fleet {
    fn start(manners: Manners) -> Result<Self, Box<dyn StdError>> {
        let old = Server::start(manners, Duration::ZERO)?;
        let balancer = Balancer::new(manners);
        balancer.add(old.address);
        let load = Load::start(&balancer);
        let (new, download, ended, last) = (None, None, None, Line::default());
        Ok(Self { balancer, load, old, new, download, ended, last })
    }

    fn start_new(&mut self, manners: Manners) -> Result<(), Box<dyn StdError>> {
        let new = Server::start(manners, server::STARTING)?;
        self.balancer.add(new.address);
        self.new = Some(new);
        Ok(())
    }

    fn begin_download(&mut self) {
        self.download = Some(tokio::spawn(download(self.old.address)));
    }

    /// Takes down what happened since the last time.
    fn line(&mut self) -> Line {
        let now = Line::read(&self.load, &self.old, self.new.as_ref());
        let since = now.since(&self.last);
        self.last = now;
        since
    }

    /// Lets everyone come to an end, and tells what there is to tell.
    async fn stop(mut self) -> Result<Told, Box<dyn StdError>> {
        self.load.stop().await?;
        let parts = match self.download.take() {
            Some(download) => download.await?,
            None => 0,
        };
        let probed = self.balancer.stop().await?;
        let new = self.new.take().ok_or("there is no new server")?;
        new.end();
        timeout(LONGEST, new.gone()).await??;
        let Self { load, old, ended, .. } = self;
        Ok(Told { load, old: old.book(), new: new.book(), parts, probed, ended: ended.flatten() })
    }
}

/// What is known of a fleet when all is over.
struct Told {
    load: Load,
    old: Arc<server::Book>,
    new: Arc<server::Book>,
    /// Parts of the download that came.
    parts: u64,
    probed: Vec<Probed>,
    ended: Option<Finished>,
}

#[tokio::main]
async fn main() -> ExitCode {
    wire_examples::run("health_drain", 3 * LONGEST, run()).await
}

async fn run() -> Result<Claims, Box<dyn StdError>> {
    let start = Instant::now();
    let screen = Screen::new();
    screen.intro()?;
    let mut ours = Fleet::start(Manners::Polite)?;
    let mut twin = Fleet::start(Manners::Blunt)?;

    let mut steps = 0;
    let mut ready_at = None;
    let mut gone_at = None;
    let mut told_at = None;
    loop {
        steps += 1;
        sleep_until(start + STEP * steps).await;
        let lines = (ours.line(), twin.line());
        screen.step(start.elapsed(), &ours.balancer.sees(), lines)?;

        if steps == BEFORE {
            ours.start_new(Manners::Polite)?;
            twin.start_new(Manners::Blunt)?;
            screen.note("a new server is started on each side, and will need a while")?;
        }
        if ready_at.is_none() && ours.balancer.is_ready(1) {
            ready_at = Some(steps);
            screen.note("the new server is ready")?;
        }
        if told_at.is_none() && ready_at.is_some_and(|ready| steps >= ready + OVERLAP - 1) {
            // Its first part has come before anybody is told to end.
            ours.begin_download();
            twin.begin_download();
            for fleet in [&ours, &twin] {
                timeout(LONGEST, fleet.old.book().downloading()).await?;
            }
            ours.old.end();
            twin.old.end();
            told_at = Some(steps);
            screen.note("the old servers are told to end: one drains, its twin just goes")?;
        }
        if gone_at.is_none() && ours.old.is_gone() {
            ours.ended = Some(timeout(LONGEST, ours.old.gone()).await??);
            twin.ended = Some(timeout(LONGEST, twin.old.gone()).await??);
            gone_at = Some(steps);
            screen.note("the old server has finished and is gone")?;
        }
        if gone_at.is_some_and(|gone| steps >= gone + AFTER) {
            break;
        }
        if start.elapsed() > LONGEST {
            return Err(format!("the update was not over within {LONGEST:?}").into());
        }
    }
    let (ours, twin) = (ours.stop().await?, twin.stop().await?);
    screen.table(&ours, &twin)?;
    let claims = check(&ours, &twin);
    claims.print(screen.paint())?;
    Ok(claims)
}

/// What this run was to show. Nothing here depends on how fast the machine is, as long as a probe gets through
/// while the old server serves on, which is what that time is for.
fn check(ours: &Told, twin: &Told) -> Claims {
    let mut claims = Claims::new();
    let mut claim = |says: String, holds| claims.claim(holds, says);

    let (calls, errors) = (ours.load.answers() + ours.load.errors(), ours.load.errors());
    claim(format!("no caller saw an error ({calls} calls, {errors} errors)"), errors == 0);
    let answered = ours.old.answered() + ours.new.answered();
    claim(
        "callers got every answer that the servers counted, and every request that reached them was answered"
            .to_owned(),
        ours.load.answers() == answered && ours.old.arrived() == ours.old.answered(),
    );
    claim(
        format!("a download that was under way came whole ({} of {PARTS} parts)", ours.parts),
        ours.parts == PARTS,
    );
    claim(
        "the old server ended by itself, with nothing left in flight".to_owned(),
        ours.ended == Some(Finished::All),
    );

    let old: Vec<_> = ours.probed.iter().filter(|probed| probed.server == 0).collect();
    let began = ours.old.drain_began();
    let after = |probed: &&&Probed| began.is_some_and(|began| probed.begun >= began);
    let answers: Vec<_> = old.iter().filter(after).filter_map(|probed| probed.ready).collect();
    claim(
        format!(
            "it was unready from the first probe on after it was told ({} probes)",
            answers.len()
        ),
        !answers.is_empty() && answers.iter().all(|status| *status == 503),
    );
    let before = |probed: &&&Probed| began.is_some_and(|began| probed.ended < began);
    claim(
        "and ready at every one before, from when it had started".to_owned(),
        old.iter()
            .filter(before)
            .skip_while(|probed| probed.ready != Some(200))
            .all(|probed| probed.ready == Some(200)),
    );
    claim(
        "it was alive whenever it answered, draining or not".to_owned(),
        old.iter().filter_map(|probed| probed.alive).all(|status| status == 200),
    );
    claim(
        "the new server got no request before it had started".to_owned(),
        ours.new.too_early() == 0 && ours.new.answered() > 0,
    );
    let asked = [&ours.old, &ours.new].map(|book| (book.checks(), book.most_checks(TTL)));
    claim(
        format!(
            "the database was asked at most once in {} ms, however many probes came ({} times for {})",
            TTL.as_millis(),
            asked.iter().map(|(checks, _)| checks).sum::<u64>(),
            ours.probed.len(),
        ),
        asked.iter().all(|(checks, most)| checks <= most),
    );

    let too_early = twin.new.too_early();
    claim(
        format!("the twin's callers paid: {} errors", twin.load.errors()),
        twin.load.errors() > 0 && too_early > 0 && twin.load.errors() >= too_early,
    );
    claim(format!("and its download was cut at part {}", twin.parts), twin.parts < PARTS);
    claims
}
