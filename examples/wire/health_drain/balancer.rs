//! What stands in front of the servers, and who calls through it.

use std::{
    error::Error as StdError,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::server::{Manners, PARTS};

/// How often each server is asked whether it is ready.
const PERIOD: Duration = Duration::from_millis(50);
/// How many callers there are, and how long each rests between two calls.
pub(crate) const CALLERS: usize = 8;
const REST: Duration = Duration::from_millis(10);
/// No call takes longer on any machine.
const PATIENCE: Duration = Duration::from_secs(10);

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// Without the quiet second try on a connection that dies: here it is to be seen.
fn client(kept: usize) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .pool_max_idle_per_host(kept)
        .build_http()
}

async fn get(client: &HttpClient, address: SocketAddr, path: &str) -> Option<StatusCode> {
    let uri = Uri::try_from(format!("http://{address}{path}")).ok()?;
    let answer = timeout(PATIENCE, client.get(uri)).await.ok()?.ok()?;
    let status = answer.status();
    timeout(PATIENCE, answer.into_body().collect()).await.ok()?.ok()?;
    Some(status)
}

/// Fetches a download; how many parts of it came.
pub(crate) async fn download(from: SocketAddr) -> u64 {
    let Ok(uri) = Uri::try_from(format!("http://{from}/download")) else { return 0 };
    let Ok(answer) = client(0).get(uri).await else { return 0 };
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    // A part is a word and the end of its line.
    (bytes / 5).min(PARTS)
}

/// One probe of one server. `None` where it gave no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probed {
    pub(crate) server: usize,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) ready: Option<u16>,
    pub(crate) alive: Option<u16>,
}

#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    ready: AtomicBool,
    /// The last answer to a probe; 0 without one.
    status: AtomicU64,
}

/// Sends calls to the servers in turn: to those that are ready, or, if it does not ask, to all.
#[derive(Clone, Debug)]
pub(crate) struct Balancer {
    asks: bool,
    backends: Arc<Mutex<Vec<Arc<Backend>>>>,
    turn: Arc<AtomicUsize>,
    probes: Arc<Mutex<JoinSet<Vec<Probed>>>>,
    enough: Arc<AtomicBool>,
}

impl Balancer {
    pub(crate) fn new(manners: Manners) -> Self {
        Self {
            asks: manners == Manners::Polite,
            backends: Arc::default(),
            turn: Arc::default(),
            probes: Arc::default(),
            enough: Arc::default(),
        }
    }

    fn backends(&self) -> Vec<Arc<Backend>> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn add(&self, address: SocketAddr) {
        let (ready, status) = (AtomicBool::new(!self.asks), AtomicU64::new(0));
        let backend = Arc::new(Backend { address, ready, status });
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let number = backends.len();
        backends.push(Arc::clone(&backend));
        if self.asks {
            let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
            probes.spawn(probe(number, backend, Arc::clone(&self.enough)));
        }
    }

    pub(crate) fn is_ready(&self, number: usize) -> bool {
        self.backends().get(number).is_some_and(|backend| backend.ready.load(SeqCst))
    }

    /// The last answers to probes, by server; 0 where there was none.
    pub(crate) fn sees(&self) -> Vec<u64> {
        self.backends().iter().map(|backend| backend.status.load(SeqCst)).collect()
    }

    fn next(&self) -> Option<SocketAddr> {
        let mut ready = self.backends();
        ready.retain(|backend| backend.ready.load(SeqCst));
        let turn = self.turn.fetch_add(1, SeqCst);
        ready.get(turn.checked_rem(ready.len())?).map(|backend| backend.address)
    }

    /// Ends the probes, and tells what they saw.
    pub(crate) async fn stop(&self) -> Result<Vec<Probed>, Box<dyn StdError>> {
        self.enough.store(true, SeqCst);
        let mut probes = {
            let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *probes)
        };
        let mut all = Vec::new();
        while let Some(probed) = probes.join_next().await {
            all.extend(probed?);
        }
        Ok(all)
    }
}

/// Asks one server again and again, each time over a connection of its own.
async fn probe(server: usize, backend: Arc<Backend>, enough: Arc<AtomicBool>) -> Vec<Probed> {
    let client = client(0);
    let mut all = Vec::new();
    while !enough.load(SeqCst) {
        let begun = Instant::now();
        let ready = get(&client, backend.address, "/readyz").await.map(|status| status.as_u16());
        let ended = Instant::now();
        backend.ready.store(ready == Some(200), SeqCst);
        backend.status.store(ready.unwrap_or(0).into(), SeqCst);
        let alive = get(&client, backend.address, "/livez").await.map(|status| status.as_u16());
        all.push(Probed { server, begun, ended, ready, alive });
        sleep(PERIOD).await;
    }
    all
}

/// Running callers; [`stop`](Self::stop) ends them.
#[derive(Debug)]
pub(crate) struct Load {
    counts: Arc<Counts>,
    callers: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    answers: AtomicU64,
    errors: AtomicU64,
    enough: AtomicBool,
}

impl Load {
    pub(crate) fn start(balancer: &Balancer) -> Self {
        let counts = Arc::<Counts>::default();
        let client = client(CALLERS);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call(client.clone(), balancer.clone(), Arc::clone(&counts)));
        }
        Self { counts, callers }
    }

    pub(crate) fn answers(&self) -> u64 {
        self.counts.answers.load(SeqCst)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.counts.errors.load(SeqCst)
    }

    /// Lets every caller finish its last call.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn StdError>> {
        self.counts.enough.store(true, SeqCst);
        while let Some(caller) = self.callers.join_next().await {
            caller?;
        }
        Ok(())
    }
}

async fn call(client: HttpClient, balancer: Balancer, counts: Arc<Counts>) {
    // Nobody calls before there is somebody to answer.
    while balancer.next().is_none() && !counts.enough.load(SeqCst) {
        sleep(REST).await;
    }
    while !counts.enough.load(SeqCst) {
        let status = match balancer.next() {
            Some(address) => get(&client, address, "/work").await,
            None => None,
        };
        let count = if status == Some(StatusCode::OK) { &counts.answers } else { &counts.errors };
        count.fetch_add(1, SeqCst);
        sleep(REST).await;
    }
}
