//! Metrics as Prometheus gets them: real calls over real HTTP, the real exporter, and the text read
//! strictly, by a reader here and by Prometheus' own tool.

#[path = "prometheus/dashboard.rs"]
mod dashboard;
#[path = "prometheus/everything.rs"]
mod everything;
#[path = "prometheus/shop.rs"]
mod shop;
#[path = "prometheus/text.rs"]
mod text;

use std::{
    io::{ErrorKind, Write},
    process::{Command, Stdio},
};

use futures_util::FutureExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::{Circuit, Options, Registry, event::MetricsObserver};
use tower::ServiceExt;

use crate::text::Scrape;

fn builder() -> PrometheusBuilder {
    let builder = PrometheusBuilder::new().with_recommended_naming(true);
    builder.set_buckets(&MetricsObserver::BUCKETS).expect("there are some")
}

/// A stack of every policy over a real server: what happens is known, so is what is counted.
async fn run(builder: PrometheusBuilder) -> String {
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    let observer = MetricsObserver::with_recorder(recorder);
    let registry = Registry::new();
    let server = shop::serve().await;
    let stack = shop::stack(&server, &Options::new().observer(observer.clone()), &registry);

    assert_eq!(shop::ask(&stack, "/ok").await, 200);
    assert_eq!(shop::ask(&stack, "/flaky").await, 200);
    assert_eq!(shop::ask(&stack, "/bad").await, 203);
    assert_eq!(shop::ask(&stack, "/panics").await, 203);
    // The circuit has seen three failures in a row, and the last attempt finds it open.
    registry.get::<Circuit>("shop").expect("registered").close();
    // One is at the server and another waits: a third is refused, a fourth is dropped while it waits.
    let first = tokio::spawn(stack.clone().oneshot("/gate"));
    server.seen.arrival().await;
    let mut second = Box::pin(stack.clone().oneshot("/gate"));
    assert!((&mut second).now_or_never().is_none());
    let refused = stack.clone().oneshot("/gate").await;
    assert_eq!(refused.expect("answered by the fallback"), 203);
    drop(second);
    let mut second = Box::pin(stack.clone().oneshot("/gate"));
    assert!((&mut second).now_or_never().is_none());
    observer.sample(&registry);
    let during = Scrape::read(&handle.render()).expect("a valid text");
    server.seen.open_gate(1);
    assert_eq!(first.await.expect("no panic").expect("an answer"), 200);
    // The second is let in and goes to the server, and is dropped there.
    let second = tokio::spawn(second);
    server.seen.arrival().await;
    second.abort();
    assert!(second.await.expect_err("aborted").is_cancelled());
    // The rate is used up, but for one token.
    assert_eq!(shop::ask(&stack, "/ok").await, 200);
    assert_eq!(shop::ask(&stack, "/ok").await, 200);
    assert_eq!(shop::ask(&stack, "/ok").await, 203);
    assert_eq!(server.seen.requests(), 1 + 2 + 2 + 2 + 2);

    for (gauge, value) in [("in_flight", 1.0), ("queued", 1.0), ("limit", 1.0)] {
        let sample = format!("portcullis_bulkhead_{gauge}{{name=\"shop\"}}");
        assert_eq!(during.get(&sample), Some(value), "{sample}");
    }
    observer.sample(&registry);
    handle.render()
}

#[tokio::test]
async fn a_scrape_says_what_happened_under_prometheus_names() {
    let text = run(builder()).await;
    let scrape = Scrape::read(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let mut expected = [
        ("breaker_calls_total", r#"outcome="success",shadow="false""#, 5.0),
        ("breaker_calls_total", r#"outcome="failure",shadow="false""#, 4.0),
        ("breaker_calls_total", r#"outcome="cancelled",shadow="false""#, 1.0),
        ("breaker_calls_total", r#"outcome="rejected",shadow="false""#, 1.0),
        ("breaker_calls_total", r#"outcome="rejected",shadow="true""#, 0.0),
        ("breaker_calls_total", r#"outcome="ignored",shadow="false""#, 0.0),
        ("breaker_slow_calls_total", "", 0.0),
        ("breaker_state", r#"state="closed""#, 1.0),
        ("breaker_state", r#"state="open""#, 0.0),
        ("breaker_state", r#"state="half_open""#, 0.0),
        ("breaker_state", r#"state="forced_open""#, 0.0),
        ("breaker_state", r#"state="disabled""#, 0.0),
        ("breaker_transitions_total", r#"from="closed",to="open""#, 1.0),
        ("breaker_transitions_total", r#"from="open",to="closed""#, 1.0),
        ("breaker_failure_rate", "", 0.0),
        ("breaker_slow_call_rate", "", 0.0),
        ("breaker_window_calls", "", 3.0),
        ("bulkhead_calls_total", r#"outcome="admitted""#, 8.0),
        ("bulkhead_calls_total", r#"outcome="rejected""#, 1.0),
        ("bulkhead_in_flight", "", 0.0),
        ("bulkhead_queued", "", 0.0),
        ("bulkhead_limit", "", 1.0),
        ("bulkhead_rejections_total", r#"reason="full""#, 1.0),
        ("bulkhead_rejections_total", r#"reason="queue_timeout""#, 0.0),
        ("bulkhead_wait_duration_seconds_count", "", 1.0),
        ("catch_panic_panics_total", r#"shadow="false""#, 1.0),
        ("catch_panic_panics_total", r#"shadow="true""#, 0.0),
        ("fallback_calls_total", r#"outcome="value",shadow="false""#, 4.0),
        ("fallback_calls_total", r#"outcome="unanswered",shadow="false""#, 0.0),
        ("limiter_requests_total", r#"outcome="allowed""#, 10.0),
        ("limiter_requests_total", r#"outcome="limited""#, 1.0),
        ("retry_attempts_total", "", 11.0),
        ("retry_calls_total", r#"outcome="first_try""#, 4.0),
        ("retry_calls_total", r#"outcome="after_retry""#, 1.0),
        ("retry_calls_total", r#"outcome="exhausted""#, 1.0),
        ("retry_calls_total", r#"outcome="not_retryable""#, 1.0),
        ("retry_calls_total", r#"outcome="budget_exhausted""#, 0.0),
        ("retry_calls_total", r#"outcome="deadline""#, 0.0),
        ("retry_calls_total", r#"outcome="cancelled""#, 1.0),
        ("retry_delay_seconds_count", "", 3.0),
        ("retry_skipped_total", r#"reason="budget_exhausted""#, 0.0),
        ("timeout_calls_total", r#"outcome="in_time",shadow="false""#, 9.0),
        ("timeout_calls_total", r#"outcome="timeout",shadow="false""#, 0.0),
        ("timeout_calls_total", r#"outcome="deadline_too_short",shadow="false""#, 0.0),
    ]
    .map(|(name, labels, value)| {
        let comma = if labels.is_empty() { "" } else { "," };
        (format!("portcullis_{name}{{name=\"shop\"{comma}{labels}}}"), value)
    })
    .to_vec();
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    let found = expected.iter().map(|(name, _)| (name.clone(), scrape.get(name).unwrap_or(-1.0)));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn without_recommended_naming_names_are_ours_with_underscores() {
    let text = run(PrometheusBuilder::new()).await;
    let scrape = Scrape::read(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    for (name, kind) in [
        ("portcullis_breaker_calls", "counter"),
        ("portcullis_breaker_state", "gauge"),
        ("portcullis_bulkhead_wait_duration", "summary"),
        ("portcullis_retry_delay", "summary"),
    ] {
        assert_eq!(scrape.families[name].kind, kind);
        assert!(!scrape.families[name].help.is_empty());
    }
    assert!(!text.contains("_total") && !text.contains("_seconds"), "{text}");
}

/// Prometheus' own reader and its rules for names.
#[tokio::test]
async fn prometheus_own_tool_has_no_complaint() {
    let text = everything::run().await;
    let Some((well, said)) = promtool(&["check", "metrics"], &text) else { return };
    assert!(well && said.trim().is_empty(), "{said}");
}

/// Whether Prometheus' own tool is content, and what it says; none, and a line that says so, where it is
/// not installed.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut tool = Command::new("promtool");
    tool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = match tool.spawn() {
        Ok(tool) => tool,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: there is no promtool here (Debian: apt-get install prometheus)");
            return None;
        }
        Err(error) => panic!("promtool: {error}"),
    };
    tool.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let said = tool.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
    Some((said.status.success(), text.into_owned()))
}
