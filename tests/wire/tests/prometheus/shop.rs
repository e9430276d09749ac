//! A real server whose answers are told by the path, and a stack of every policy before a real client.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use portcullis::{
    Backoff, BoxError, Bulkhead, BulkheadConfig, CatchPanicConfig, Circuit, CircuitBreakerConfig,
    Error, ErrorLayer, FallbackConfig, FallbackPolicy, Options, PanicGuard, RateLimitConfig,
    RateLimiter, Registry, RetryConfig, RetryPolicy, Sleep, TimeLimit, TimeoutConfig,
    http::{BodyTimeLimit, BodyTimeoutConfig},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::{Service, ServiceBuilder, service_fn, util::BoxCloneService};

/// Longer than any run takes.
const LONG: Duration = Duration::from_secs(3_600);

/// The server's own side of it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

#[derive(Debug)]
pub(crate) struct Seen {
    requests: AtomicU32,
    /// A permit for each request that has arrived at the gate.
    arrived: Semaphore,
    /// A permit for each one that may go through.
    gate: Semaphore,
}

impl Seen {
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(SeqCst)
    }

    pub(crate) async fn arrival(&self) {
        self.arrived.acquire().await.expect("open").forget();
    }

    pub(crate) fn open_gate(&self, requests: usize) {
        self.gate.add_permits(requests);
    }
}

pub(crate) async fn serve() -> Server {
    let (requests, arrived, gate) = (AtomicU32::new(0), Semaphore::new(0), Semaphore::new(0));
    let seen = Arc::new(Seen { requests, arrived, gate });
    let count = |seen: &Seen| seen.requests.fetch_add(1, SeqCst);
    let ok = move |State(seen): State<Arc<Seen>>| async move {
        count(&seen);
        StatusCode::OK
    };
    let bad = move |State(seen): State<Arc<Seen>>| async move {
        count(&seen);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let flaky = Arc::new(AtomicU32::new(0));
    let flaky = move |State(seen): State<Arc<Seen>>| async move {
        count(&seen);
        match flaky.fetch_add(1, SeqCst) % 2 {
            0 => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::OK,
        }
    };
    let gate = move |State(seen): State<Arc<Seen>>| async move {
        count(&seen);
        seen.arrived.add_permits(1);
        seen.gate.acquire().await.expect("open").forget();
        StatusCode::OK
    };
    let router = Router::new()
        .route("/ok", get(ok))
        .route("/bad", get(bad))
        .route("/flaky", get(flaky))
        .route("/gate", get(gate))
        .with_state(Arc::clone(&seen));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { address, seen }
}

pub(crate) type Shop = BoxCloneService<&'static str, u16, Error<BoxError>>;

/// Every policy that an answer without a body meets, each with the name `shop`; the rate is one that gives nothing back meanwhile.
pub(crate) fn stack(server: &Server, options: &Options, registry: &Registry) -> Shop {
    let fallback = FallbackPolicy::with(FallbackConfig::new("shop"), options.clone());
    let fallback = fallback.expect("a valid config");
    let total = TimeLimit::with(TimeoutConfig::new("shop", LONG), options.clone());
    let total = total.expect("a valid config");
    let rate = RateLimitConfig::new("shop", 1, LONG).burst(10);
    let limiter = RateLimiter::with(rate, options.clone()).expect("a valid config");
    let slots = BulkheadConfig::new("shop", 1).queue(1).max_wait(LONG);
    let bulkhead = Bulkhead::with(slots, options.clone()).expect("a valid config");
    let retry = RetryConfig::new("shop")
        .attempts(2)
        .backoff(Backoff::constant(Duration::from_millis(1)))
        .seed(1);
    let retry = RetryPolicy::with(retry, options.clone()).expect("a valid config");
    let circuit = CircuitBreakerConfig::new("shop")
        .no_failure_rate()
        .consecutive_failures(3)
        .sleep(Sleep::fixed(LONG));
    let circuit = Circuit::with(circuit, options.clone()).expect("a valid config");
    let guard = PanicGuard::with(CatchPanicConfig::new("shop"), options.clone());
    let guard = guard.expect("a valid config");
    registry.add(&fallback).expect("its name is its own");
    registry.add(&total).expect("its name is its own");
    registry.add(&limiter).expect("its name is its own");
    registry.add(&bulkhead).expect("its name is its own");
    registry.add(&retry).expect("its name is its own");
    registry.add(&circuit).expect("its name is its own");
    registry.add(&guard).expect("its name is its own");
    let body = BodyTimeLimit::with(BodyTimeoutConfig::new("shop", LONG), options.clone());
    registry.add(&body.expect("a valid config")).expect("its name is its own");

    let (client, address) = (reqwest::Client::new(), server.address);
    let ask = service_fn(move |path: &'static str| {
        assert!(path != "/panics", "on demand");
        let client = client.clone();
        async move {
            let answer = client.get(format!("http://{address}{path}")).send().await?;
            Ok::<_, BoxError>(answer.error_for_status()?.status().as_u16())
        }
    });
    BoxCloneService::new(
        ServiceBuilder::new()
            .layer(fallback.value::<u16, Error<BoxError>>(203))
            .layer(total.layer())
            .layer(limiter.layer())
            .layer(bulkhead.queued_layer())
            .layer(retry.layer())
            .layer(circuit.layer())
            .layer(guard.layer())
            .layer(ErrorLayer::new())
            .service(ask),
    )
}

/// One call from its beginning to its end.
pub(crate) async fn ask(shop: &Shop, path: &'static str) -> u16 {
    let mut shop = shop.clone();
    std::future::poll_fn(|cx| shop.poll_ready(cx)).await.expect("ready");
    shop.call(path).await.expect("the fallback answers every failure")
}
