//! A whole HTTP server with axum, to be copied: limits, timeouts and panics answered as problems, quotas told with
//! every response, slots held until bodies end, callers' deadlines, probes, metrics, and an end that loses
//! nothing. This file is the server; `api.rs` stands for your own routes.
//!
//! `cargo run --example axum_server` plays through what may befall it, with real clients, in about three seconds,
//! checks what both sides counted, and fails if a claim is wrong; `play` is that. With an address,
//! `cargo run --example axum_server -- 127.0.0.1:3000`, it serves until it is told to end.

mod api;
mod play;

use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::ConnectInfo, http::Extensions, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{
    BoxError, RateLimitConfig, RateLimitLayer, Reason, Registry, Rejection,
    event::{self, MetricsObserver},
    health::{Check, Finished, HealthRegistry, HealthService, Startup},
    http::{
        BodyTimeoutConfig, BodyTimeoutLayer,
        deadline::{DeadlineConfig, DeadlineLayer, TrustedPeers},
        rate_limit_fields::Fields,
    },
    stack::{self, ServerConfig},
};
use tokio::{net::TcpListener, time::timeout};
use tower::ServiceBuilder;

/// The name of every policy: in refusals, probes and metrics.
const API: &str = "api";

/// Every number. With feature `serde`, each configuration can also stand in a file.
struct Settings {
    /// How many requests a second, and how many at once after a pause.
    rate: RateLimitConfig,
    /// How many requests at a time, and how long the head of a response may take.
    server: ServerConfig,
    /// How long the body of a response may stand still.
    bodies: BodyTimeoutConfig,
    /// In which header callers say how long they wait, and the peers that are believed.
    deadlines: DeadlineConfig,
    callers: Vec<&'static str>,
    /// For how long the server goes on when it is told to end, until nobody sends requests any more: the period of
    /// your load balancer's probes times their threshold, and some.
    notice: Duration,
    /// How long what is in flight may take then, and what is written already to be read.
    finish: Duration,
    last_bytes: Duration,
}

impl Settings {
    fn new() -> Self {
        Self {
            rate: RateLimitConfig::per_second(API, 1_000).burst(2_000),
            server: stack::server(API).max_in_flight(256).timeout(Duration::from_secs(10)),
            bodies: BodyTimeoutConfig::new(API, Duration::from_secs(15)),
            deadlines: DeadlineConfig::new(API)
                .millis("x-timeout-ms")
                .margin(Duration::from_millis(5)),
            callers: vec!["10.0.0.0/8", "127.0.0.1"],
            notice: Duration::from_secs(7),
            finish: Duration::from_secs(30),
            last_bytes: Duration::from_secs(5),
        }
    }
}

/// Where metrics go. Made once and before anything else, so that nothing goes uncounted.
#[derive(Clone)]
struct Exporter {
    prometheus: PrometheusHandle,
    observer: MetricsObserver,
}

impl Exporter {
    fn install() -> Result<Self, BoxError> {
        let prometheus = PrometheusBuilder::new()
            .with_recommended_naming(true)
            .set_buckets(&MetricsObserver::BUCKETS)?
            .install_recorder()?;
        let observer = MetricsObserver::new();
        event::observe(observer.clone())?;
        Ok(Self { prometheus, observer })
    }

    fn route(self, policies: Registry) -> Router {
        let render = async move || {
            self.observer.sample(&policies);
            self.prometheus.render()
        };
        Router::new().route("/metrics", get(render))
    }
}

/// The server, before it serves.
struct Server {
    app: Router,
    /// Every policy by its name, to be looked at and commanded.
    policies: Registry,
    health: HealthRegistry,
    startup: Startup,
}

impl Server {
    fn new(routes: Router, settings: &Settings, exporter: Exporter) -> Result<Self, BoxError> {
        let policies = Registry::new();
        let health = HealthRegistry::new();
        health.add(Check::new("database", ping_database).component_type("datastore"))?;
        health.add_policies(&policies);
        let probes = HealthService::new(&health);
        let app = protected(routes, settings, &policies)?
            // Counts what is in flight, so that the end can wait for it.
            .layer(health.drain().layer())
            // What is added from here on stands outside of all limits: a server that is full is not dead. Let only
            // your own network reach it.
            .route_service("/livez", probes.clone())
            .route_service("/readyz", probes.clone())
            .route_service("/startupz", probes.clone())
            .nest_service("/internal", probes)
            .merge(exporter.route(policies.clone()));
        let startup = health.startup();
        Ok(Self { app, policies, health, startup })
    }

    /// Serves until it is told to end, and then ends in good order. Fails if that takes too long.
    #[expect(clippy::disallowed_methods, reason = "a server lives in real time")]
    async fn serve(
        self,
        listener: TcpListener,
        settings: &Settings,
        told_to_end: impl Future<Output = ()>,
    ) -> Result<(), BoxError> {
        let drain = self.health.drain().clone();
        let app = self.app.into_make_service_with_connect_info::<SocketAddr>();
        let stop_accepting = drain.begun_for(settings.notice);
        let serving = axum::serve(listener, app).with_graceful_shutdown(stop_accepting);
        let mut serving = tokio::spawn(async move { serving.await });

        // Migrations, warm caches ... and then:
        self.startup.finish();
        tokio::select! {
            () = told_to_end => {}
            ended = &mut serving => return Ok(ended??),
        }
        // Unready from here on, and serving all the same: whoever sends requests has to notice first.
        drain.begin();
        drain.begun_for(settings.notice).await;
        let finished = drain.finish(settings.finish).await;
        // All bodies may be written, and their last bytes still be on their way.
        let ended = match finished {
            Finished::All => timeout(settings.last_bytes, &mut serving).await.ok(),
            Finished::TimedOut { .. } => None,
        };
        let Some(ended) = ended else {
            serving.abort();
            return Err(format!("connections were cut: {finished:?}").into());
        };
        Ok(ended??)
    }
}

/// The routes behind the whole stack, from the outside to the inside:
///
/// ```text
/// respond > rate limit > deadline > bulkhead > bodies' timeout > timeout > catch panic > error layer > routes
/// ```
fn protected(routes: Router, settings: &Settings, policies: &Registry) -> Result<Router, BoxError> {
    let limit = RateLimitLayer::new(settings.rate.clone())?;
    let limiter = limit.limiter().clone();
    let deadlines = DeadlineLayer::new(settings.deadlines.clone())?
        .trust_with(TrustedPeers::new(&settings.callers)?.peer_from(peer));
    let bodies = BodyTimeoutLayer::new(settings.bodies.clone())?;
    policies.add(bodies.body_time_limit())?;

    let server = settings.server.clone().build()?.with_rate_limit(limit);
    server.register(policies)?;
    let server = server
        // Refusals become responses, and slots are held until bodies have ended.
        .http()
        .map_respond(|respond| {
            let respond = respond.problem_json().retry_after(come_back);
            respond.rate_limit_fields(Fields::Draft10, &limiter)
        })
        // Whoever has no time left takes no slot; whoever has little gets no more than that.
        .map_bulkhead(|bulkhead| ServiceBuilder::new().layer(deadlines).layer(bulkhead))
        .map_timeout(|timeout| ServiceBuilder::new().layer(bodies).layer(timeout));
    Ok(routes.layer(server))
}

/// When a refused client may come back: as the refusal says, and soon where nobody knows.
fn come_back(refusal: &Rejection) -> Option<Duration> {
    match refusal.reason() {
        Reason::BulkheadFull => Some(Duration::from_secs(1)),
        _ => refusal.retry_after(),
    }
}

/// Where axum keeps the address of the peer.
fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0)
}

/// What the server cannot do without.
async fn ping_database() -> io::Result<()> {
    Ok(())
}

/// What whoever runs the process says when it has to end.
async fn sigterm() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt => {}
            }
            return;
        }
    }
    // Without handlers for signals it ends as any process does.
    let _ = interrupt.await;
}

async fn serve_at(address: &str) -> Result<(), BoxError> {
    let exporter = Exporter::install()?;
    let settings = Settings::new();
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let mut out = io::stdout();
    writeln!(
        out,
        "http://{address}/reports, http://{address}/readyz?verbose, http://{address}/metrics"
    )?;
    let server = Server::new(api::routes(&Arc::default()), &settings, exporter)?;
    server.serve(listener, &settings, sigterm()).await
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        return wire_examples::run("axum_server", play::PATIENCE, play::play()).await;
    };
    let Err(error) = serve_at(&address).await else { return ExitCode::SUCCESS };
    // If even this cannot be written, the exit code still says it.
    let _ = writeln!(io::stderr(), "axum_server: {error}");
    ExitCode::FAILURE
}
