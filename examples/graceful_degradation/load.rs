//! The callers: each wants the price of one item, again and again, and takes down what it got.

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{Uri, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use portcullis::BoxError;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tower::{Service, ServiceExt, service_fn};

/// How many callers there are, and how long each of them rests between two calls.
pub(crate) const CALLERS: u32 = 8;
const REST: Duration = Duration::from_millis(40);

/// How long the last calls may take; an answer takes a fraction of it even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// A price, and its age if it is not the server's answer to this very call.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    pub(crate) price: u64,
    pub(crate) age: Option<Duration>,
}

/// Asks the server for the price of an item; any answer but a price is an error.
pub(crate) fn price_client(
    base: String,
) -> impl Service<u32, Response = Quote, Error = BoxError, Future: Send> + Clone + Send + 'static {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(Duration::from_millis(500)));
    // The client would quietly send a request again if a pooled connection dies under it; here the
    // fallback is to be seen.
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build(connector);
    service_fn(move |item: u32| {
        let (client, uri) = (client.clone(), format!("{base}/price/{item}"));
        async move {
            let response = client.get(Uri::try_from(uri)?).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            if !status.is_success() {
                return Err(BoxError::from(format!("the server answered {status}")));
            }
            Ok(Quote { price: std::str::from_utf8(&body)?.parse()?, age: None })
        }
    })
}

/// What a caller got for one call.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) item: u32,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) result: Result<Quote, String>,
}

impl Got {
    pub(crate) fn age(&self) -> Option<Duration> {
        self.result.as_ref().ok()?.age
    }

    pub(crate) fn is_fresh(&self) -> bool {
        matches!(self.result, Ok(Quote { age: None, .. }))
    }
}

/// What callers got so far, live.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) fresh: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// In microseconds; taken by whoever reads it.
    pub(crate) oldest: AtomicU64,
}

/// Running callers; [`stop`](Self::stop) ends them.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    enough: Arc<AtomicBool>,
    callers: JoinSet<Vec<Got>>,
}

impl Load {
    pub(crate) fn start<S>(service: &S) -> Self
    where
        S: Service<u32, Response = Quote, Error = BoxError> + Clone + Send + 'static,
        S::Future: Send,
    {
        let (tally, enough) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let mut callers = JoinSet::new();
        for item in 0..CALLERS {
            callers.spawn(call(item, service.clone(), Arc::clone(&tally), Arc::clone(&enough)));
        }
        Self { tally, enough, callers }
    }

    /// Lets every caller finish its last call; what each of them got, in order.
    pub(crate) async fn stop(&mut self) -> Result<Vec<Vec<Got>>, Box<dyn StdError>> {
        self.enough.store(true, Relaxed);
        let mut all = Vec::new();
        let ended = timeout(PATIENCE, async {
            while let Some(caller) = self.callers.join_next().await {
                all.push(caller?);
            }
            Ok::<(), JoinError>(())
        });
        match ended.await {
            Ok(ended) => ended?,
            Err(late) => {
                self.callers.shutdown().await;
                return Err(format!("a call did not end within {PATIENCE:?}: {late}").into());
            }
        }
        Ok(all)
    }
}

async fn call<S>(item: u32, mut service: S, tally: Arc<Tally>, enough: Arc<AtomicBool>) -> Vec<Got>
where
    S: Service<u32, Response = Quote, Error = BoxError>,
{
    let mut all = Vec::new();
    while !enough.load(Relaxed) {
        let begun = Instant::now();
        let result = async { service.ready().await?.call(item).await }.await;
        let ended = Instant::now();
        let count = match &result {
            Ok(Quote { age: None, .. }) => &tally.fresh,
            Ok(Quote { age: Some(age), .. }) => {
                let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                tally.oldest.fetch_max(micros, Relaxed);
                &tally.stale
            }
            Err(_) => &tally.errors,
        };
        count.fetch_add(1, Relaxed);
        all.push(Got { item, begun, ended, result: result.map_err(|error| error.to_string()) });
        sleep(REST).await;
    }
    all
}
