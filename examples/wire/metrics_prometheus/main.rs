//! Metrics for Prometheus: a standard stack under faults, and a `/metrics` that says what it did.
//!
//! `cargo run --example metrics_prometheus` takes about two seconds and needs nothing but this machine.
//! It scrapes itself over HTTP, as Prometheus would, and ends by checking what the metrics say against what
//! server and callers counted; it fails if one is wrong. The dashboard in `examples/wire/grafana` shows
//! these metrics under these names.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; this story happens in real time"
)]

mod upstream;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use axum::{Router, routing::get};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{
    Backoff, BoxError, Circuit, CircuitBreakerConfig, FallbackConfig, FallbackLayer, HalfOpen,
    Registry, RetryConfig, Sleep, State, Window,
    event::{self, MetricsObserver},
    stack,
};
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};

use wire_examples::{Claims, Paint, Scrape, serve};

use crate::upstream::{Health, Upstream};

/// What the fallback answers with.
const SPARE: u32 = 0;

/// Longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

type Stock = BoxCloneService<(), u32, BoxError>;

#[tokio::main]
async fn main() -> ExitCode {
    wire_examples::run("metrics_prometheus", 3 * PATIENCE, run()).await
}

/// Where the exporter is made: before anything else, so that nothing goes uncounted.
fn exporter() -> Result<(PrometheusHandle, MetricsObserver), BoxError> {
    let handle = PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets(&MetricsObserver::BUCKETS)?
        .install_recorder()?;
    let metrics = MetricsObserver::new();
    event::observe(metrics.clone())?;
    Ok((handle, metrics))
}

/// `/metrics`: what events do not say is read just before.
fn scraped(handle: PrometheusHandle, metrics: MetricsObserver, registry: Registry) -> Router {
    let render = move || async move {
        metrics.sample(&registry);
        handle.render()
    };
    Router::new().route("/metrics", get(render))
}

/// Quick to open and to try again, so that the story is short.
fn stock_stack(upstream: SocketAddr, registry: &Registry) -> Result<Stock, BoxError> {
    let breaker = CircuitBreakerConfig::default()
        .window(Window::count(20))
        .minimum_calls(10)
        .sleep(Sleep::fixed(Duration::from_millis(200)))
        .half_open(HalfOpen::counts(2, 1));
    let retry =
        RetryConfig::default().attempts(2).backoff(Backoff::constant(Duration::from_millis(1)));
    let spare = FallbackLayer::value(FallbackConfig::new("stock"), SPARE)?;
    let layers = stack::client("stock")
        .total_timeout(PATIENCE)
        .max_in_flight(8)
        .retry(retry)
        .circuit_breaker(breaker)
        .build()?
        .with_rate(10_000, Duration::from_secs(1))?
        .with_fallback(spare)
        // A boxed error carries refusals itself.
        .without_error();
    layers.register(registry)?;
    let client = reqwest::Client::new();
    let fetch = service_fn(move |()| {
        let client = client.clone();
        async move {
            let answer = client.get(format!("http://{upstream}/stock")).send().await?;
            Ok::<u32, BoxError>(answer.error_for_status()?.text().await?.trim().parse()?)
        }
    });
    Ok(BoxCloneService::new(ServiceBuilder::new().layer(layers).service(fetch)))
}

/// What callers got.
#[derive(Debug, Default)]
struct Got {
    fresh: u64,
    spare: u64,
}

impl Got {
    async fn ask(&mut self, stock: &mut Stock, times: u32) -> Result<(), BoxError> {
        for _ in 0..times {
            match stock.ready().await?.call(()).await? {
                SPARE => self.spare += 1,
                _ => self.fresh += 1,
            }
        }
        Ok(())
    }
}

async fn run() -> Result<Claims, BoxError> {
    let (handle, metrics) = exporter()?;
    let registry = Registry::new();
    let upstream = Upstream::start().await?;
    let mut stock = stock_stack(upstream.address, &registry)?;
    let scraped = serve(scraped(handle, metrics, registry.clone())).await?;
    let circuit = registry.get::<Circuit>("stock").ok_or("the circuit is registered")?;
    let mut got = Got::default();
    let mut out = io::stdout();
    writeln!(
        out,
        "A stack of every policy before a server that falls ill, and http://{scraped}/metrics.\n"
    )?;

    got.ask(&mut stock, 30).await?;
    let well = Scrape::of(scraped).await?;
    show(
        &mut out,
        "The server is well",
        &well,
        &["portcullis_breaker_calls", "portcullis_retry_calls"],
    )?;

    upstream.is(Health::Ill);
    got.ask(&mut stock, 30).await?;
    let ill = Scrape::of(scraped).await?;
    show(
        &mut out,
        "It fails: the circuit opens, and the fallback answers",
        &ill,
        &[
            "portcullis_breaker_calls",
            "portcullis_breaker_state",
            "portcullis_rejections",
            "portcullis_fallback",
            "portcullis_retry",
        ],
    )?;
    let opened = circuit.state() == State::Open;

    upstream.is(Health::Well);
    timeout(PATIENCE, async {
        while circuit.state() != State::Closed {
            sleep(Duration::from_millis(20)).await;
            got.ask(&mut stock, 1).await?;
        }
        Ok::<_, BoxError>(())
    })
    .await
    .map_err(|_| "the circuit does not close again")??;

    upstream.is(Health::Silent);
    let call = tokio::spawn(stock.clone().oneshot(()));
    upstream.keeps_one_waiting().await;
    let silent = Scrape::of(scraped).await?;
    show(
        &mut out,
        "It is well again, then silent: a call hangs ...",
        &silent,
        &["portcullis_bulkhead", "portcullis_breaker_state"],
    )?;
    call.abort();
    let gone = call.await.is_err_and(|end| end.is_cancelled());
    let last = Scrape::of(scraped).await?;
    show(
        &mut out,
        "... and its caller goes away",
        &last,
        &["portcullis_bulkhead", "portcullis_breaker_calls"],
    )?;

    let claims = check(&[well, ill, silent, last], &upstream, &got, opened && gone);
    claims.print(Paint::new())?;
    Ok(claims)
}

fn show(out: &mut impl Write, title: &str, scrape: &Scrape, prefixes: &[&str]) -> io::Result<()> {
    writeln!(out, "{title}:")?;
    for line in scrape.excerpt(prefixes) {
        writeln!(out, "    {line}")?;
    }
    writeln!(out)
}

/// What this run was to show, and whether it did. Nothing here depends on how fast the machine is.
fn check(scrapes: &[Scrape; 4], upstream: &Upstream, got: &Got, went: bool) -> Claims {
    let [well, ill, silent, last] = scrapes;
    let mut claims = Claims::new();
    let mut claim = |says: String, holds: bool| claims.claim(holds, says);
    let shadow = ("shadow", "false");
    let is = |scrape: &Scrape, state| scrape.sum("portcullis_breaker_state", &[("state", state)]);
    let calls = |scrape: &Scrape, outcome| {
        scrape.sum("portcullis_breaker_calls_total", &[("outcome", outcome), shadow])
    };
    let all = |scrape: &Scrape, name| scrape.sum(name, &[]);

    claim("the circuit opened, and the caller that went away was gone".to_owned(), went);
    let attempts =
        ["success", "failure", "ignored", "cancelled"].map(|outcome| calls(last, outcome));
    let (attempts, reached) = (attempts.iter().sum::<f64>(), upstream.requests());
    claim(
        format!(
            "the server got {reached} requests, and the circuit counted {attempts} calls let through"
        ),
        attempts == reached as f64,
    );
    let spares = last.sum("portcullis_fallback_calls_total", &[("outcome", "value"), shadow]);
    claim(
        format!("callers got {} spare answers, and the fallback counted {spares}", got.spare),
        spares == got.spare as f64 && got.spare >= 30,
    );
    let firsts = last.sum("portcullis_retry_calls_total", &[("outcome", "first_try")]);
    let others = last.sum("portcullis_retry_calls_total", &[("outcome", "after_retry")]);
    claim(
        format!(
            "callers got {} fresh answers: {firsts} at once and {others} by a retry",
            got.fresh
        ),
        firsts + others == got.fresh as f64 && got.fresh >= 30,
    );
    let rejected = calls(ill, "rejected");
    let reason = [("kind", "circuit_breaker"), ("reason", "circuit_open"), shadow];
    let refused = ill.sum("portcullis_rejections_total", &reason);
    claim(
        format!("{rejected} calls were refused by the open circuit, each for that reason"),
        rejected > 0.0 && rejected == refused,
    );
    let states = scrapes.iter().all(|scrape| all(scrape, "portcullis_breaker_state") == 1.0);
    claim(
        "one state was 1 at each scrape: closed, open, closed, closed".to_owned(),
        states
            && is(well, "closed") + is(ill, "open") + is(silent, "closed") + is(last, "closed")
                == 4.0,
    );
    let in_flight = scrapes.each_ref().map(|scrape| all(scrape, "portcullis_bulkhead_in_flight"));
    claim(
        "one call was in flight while it hung, and none once its caller had gone".to_owned(),
        in_flight == [0.0, 0.0, 1.0, 0.0] && all(last, "portcullis_bulkhead_limit") == 8.0,
    );
    claim(
        "the call that was dropped is counted as cancelled, not as a failure".to_owned(),
        calls(last, "cancelled") == 1.0 && calls(last, "failure") == calls(silent, "failure"),
    );
    let ended = all(last, "portcullis_retry_calls_total");
    let amplification = all(last, "portcullis_retry_attempts_total") / ended;
    claim(
        format!("calls became {amplification:.2} times as many attempts, of at most 2"),
        (1.0..=2.0).contains(&amplification),
    );
    let fallen = scrapes.windows(2).find_map(|pair| pair[1].fallen_since(&pair[0]));
    claim(format!("no counter ever fell{}", fallen.unwrap_or_default()), fallen.is_none());
    claims
}
