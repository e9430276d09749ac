//! The callers: a fixed number of workers, each with at most one call at a time and no retries.

use std::{
    error::Error as StdError,
    ops::Sub,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    header::HeaderValue,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use portcullis::{Circuit, Error};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tower::{Service, ServiceExt};

use crate::server::Phase;

/// How many callers there are on each side, and how long each of them rests between two calls.
pub(crate) const WORKERS: u64 = 16;
const REST: Duration = Duration::from_millis(20);

/// How long the last calls may take; an answer takes a fraction of it even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// The circuit's state before it was asked, and after it let the call through; the server's book
/// is kept by these.
pub(crate) const OFFERED: &str = "circuit-when-offered";
pub(crate) const SENT: &str = "circuit-when-sent";

pub(crate) type Call = Request<Empty<Bytes>>;
pub(crate) type Answer = Response<Incoming>;
pub(crate) type HttpClient = Client<HttpConnector, Empty<Bytes>>;
pub(crate) type CallError = Error<hyper_util::client::legacy::Error>;

/// A plain HTTP client that sends every request at most once.
pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_millis(500)));
    // The client would quietly send a request again if a pooled connection dies under it; here
    // every attempt is to be seen.
    Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build(connector)
}

/// Writes the circuit's state, such as `4 half_open`, onto a request.
pub(crate) fn mark(circuit: &Circuit, name: &'static str, mut call: Call) -> Call {
    let now = circuit.snapshot();
    // A number and a lower-case word always make a header value; without one the server's book
    // lacks the request, and the closing check says so.
    if let Ok(value) = HeaderValue::try_from(format!("{} {}", now.generation, now.state)) {
        call.headers_mut().insert(name, value);
    }
    call
}

/// What callers got, live.
#[derive(Debug, Default)]
struct Tally {
    ok: AtomicU64,
    failed: AtomicU64,
    port_closed: AtomicU64,
    refused: AtomicU64,
    waited_micros: AtomicU64,
}

/// A reading of the tally; the difference of two readings is what happened in between.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) ok: u64,
    /// Calls that left for the server and failed.
    pub(crate) failed: u64,
    /// Those of the failed calls that found the port closed.
    pub(crate) port_closed: u64,
    /// Calls that the circuit refused at once.
    pub(crate) refused: u64,
    waited_micros: u64,
}

impl Totals {
    pub(crate) fn calls(&self) -> u64 {
        self.ok + self.failed + self.refused
    }

    /// Calls that the circuit let through, or that had none to pass.
    pub(crate) fn sent(&self) -> u64 {
        self.ok + self.failed
    }

    /// How long a caller waited for an answer of any kind, on average.
    pub(crate) fn mean_wait(&self) -> Option<Duration> {
        self.waited_micros.checked_div(self.calls()).map(Duration::from_micros)
    }
}

impl Sub for Totals {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            ok: self.ok - earlier.ok,
            failed: self.failed - earlier.failed,
            port_closed: self.port_closed - earlier.port_closed,
            refused: self.refused - earlier.refused,
            waited_micros: self.waited_micros - earlier.waited_micros,
        }
    }
}

/// A call that failed or was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vain {
    /// How the server was when the call was made.
    pub(crate) begun: Phase,
    pub(crate) waited: Duration,
}

/// Running workers; [`stop`](Self::stop) ends them.
#[derive(Debug)]
pub(crate) struct Load {
    tally: Arc<Tally>,
    enough: Arc<AtomicBool>,
    workers: JoinSet<Vec<Vain>>,
}

impl Load {
    /// Sets the workers to work. With a circuit, they mark on each request how it stood.
    pub(crate) fn start<S>(
        begin: Instant,
        service: &S,
        uri: &Uri,
        circuit: Option<&Circuit>,
    ) -> Self
    where
        S: Service<Call, Response = Answer, Error = CallError> + Clone + Send + 'static,
        S::Future: Send,
    {
        let tally = Arc::new(Tally::default());
        let enough = Arc::new(AtomicBool::new(false));
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            workers.spawn(work(
                begin,
                service.clone(),
                uri.clone(),
                circuit.cloned(),
                Arc::clone(&tally),
                Arc::clone(&enough),
            ));
        }
        Self { tally, enough, workers }
    }

    pub(crate) fn totals(&self) -> Totals {
        let tally = &self.tally;
        Totals {
            ok: tally.ok.load(Relaxed),
            failed: tally.failed.load(Relaxed),
            port_closed: tally.port_closed.load(Relaxed),
            refused: tally.refused.load(Relaxed),
            waited_micros: tally.waited_micros.load(Relaxed),
        }
    }

    /// Lets every worker finish its last call; all calls that failed or were refused, the shortest
    /// wait first.
    pub(crate) async fn stop(&mut self) -> Result<Vec<Vain>, Box<dyn StdError>> {
        self.enough.store(true, Relaxed);
        let mut vain = Vec::new();
        let ended = timeout(PATIENCE, async {
            while let Some(worker) = self.workers.join_next().await {
                vain.append(&mut worker?);
            }
            Ok::<(), JoinError>(())
        });
        match ended.await {
            Ok(ended) => ended?,
            Err(late) => {
                self.workers.shutdown().await;
                return Err(format!("a call did not end within {PATIENCE:?}: {late}").into());
            }
        }
        vain.sort_unstable_by_key(|vain| vain.waited);
        Ok(vain)
    }
}

async fn work<S>(
    begin: Instant,
    mut service: S,
    uri: Uri,
    circuit: Option<Circuit>,
    tally: Arc<Tally>,
    enough: Arc<AtomicBool>,
) -> Vec<Vain>
where
    S: Service<Call, Response = Answer, Error = CallError>,
{
    let mut vain = Vec::new();
    while !enough.load(Relaxed) {
        let mut call = Call::new(Empty::new());
        uri.clone_into(call.uri_mut());
        if let Some(circuit) = &circuit {
            call = mark(circuit, OFFERED, call);
        }
        let asked = Instant::now();
        let count = match make(&mut service, call).await {
            Ok(true) => &tally.ok,
            Err(Error::Rejected(_)) => &tally.refused,
            Ok(false) => &tally.failed,
            Err(Error::Inner(error)) => {
                if error.is_connect() {
                    tally.port_closed.fetch_add(1, Relaxed);
                }
                &tally.failed
            }
        };
        let waited = asked.elapsed();
        count.fetch_add(1, Relaxed);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        tally.waited_micros.fetch_add(micros, Relaxed);
        if !std::ptr::eq(count, &tally.ok) {
            vain.push(Vain { begun: Phase::at(asked - begin), waited });
        }
        sleep(REST).await;
    }
    vain
}

/// One call to the end of its body: whether the whole answer is a success.
async fn make<S>(service: &mut S, call: Call) -> Result<bool, CallError>
where
    S: Service<Call, Response = Answer, Error = CallError>,
{
    let answer = service.ready().await?.call(call).await?;
    let good = answer.status().is_success();
    Ok(answer.into_body().collect().await.is_ok() && good)
}
