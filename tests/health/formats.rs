//! What is written, to the byte.

use http::{Response, StatusCode, header::CONTENT_TYPE};
use portcullis::{
    Circuit, CircuitBreakerConfig,
    health::{
        Check, Detail, Format, Found, HealthRegistry, PolicyCheck, Probe, Query, Report, render,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::registry;

const ALL: [Format; 3] = [Format::Text, Format::HealthJson, Format::Spring];

/// One of everything, and quotes and line ends in what it says.
fn patient() -> (HealthRegistry, Circuit) {
    let health = registry([
        Check::new("db", || async { Ok::<_, String>(()) }).component_type("datastore"),
        Check::new("replica", || async { Ok::<_, String>(Found::degraded("40 s \"behind\"")) }),
        Check::new("search", || async { Err::<(), _>("no route\r\nto <host>") }).critical(false),
    ]);
    let circuit = Circuit::new(CircuitBreakerConfig::new("payments")).expect("a valid config");
    health.add_policy(PolicyCheck::of(&circuit)).expect("a new policy");
    circuit.force_open();
    (health, circuit)
}

fn ill() -> HealthRegistry {
    registry([Check::new("db", || async { Err::<(), _>("gone") })])
}

fn body(report: &Report, format: Format, detail: Detail) -> String {
    let response = render(report, format, detail);
    let ok = if report.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    assert_eq!(response.status(), ok);
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    assert_eq!(header("content-type").as_deref(), Some(format.content_type()));
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"));
    response.into_body()
}

/// The parsed text, and the times in it taken out, each of which must be one.
fn timeless(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).expect("it is JSON");
    if let Some(checks) = value.get_mut("checks").and_then(Value::as_object_mut) {
        for check in checks.values_mut() {
            let check = check[0].as_object_mut().expect("a list of one object");
            let time = check.remove("time").expect("a time");
            let time = time.as_str().expect("a text");
            assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        }
    }
    value
}

#[tokio::test(start_paused = true)]
async fn text_is_a_word_or_a_line_for_each() {
    let (health, _) = patient();
    let report = health.report(Probe::Readiness).await;
    assert_eq!(body(&report, Format::Text, Detail::Summary), "ok");
    assert_eq!(
        body(&report, Format::Text, Detail::Parts),
        "[+]db ok\n\
         [!]replica degraded: reason withheld\n\
         [!]search failed: reason withheld\n\
         [!]payments:circuit_breaker degraded: reason withheld\n\
         readyz check passed\n"
    );
    assert_eq!(
        body(&report, Format::Text, Detail::Full),
        "[+]db ok\n\
         [!]replica degraded: 40 s \"behind\"\n\
         [!]search failed: no route to <host>\n\
         [!]payments:circuit_breaker degraded: payments is forced open and refuses calls: \
         the command `force_open` was given\n\
         readyz check passed\n"
    );
    let report = ill().report(Query::new(Probe::Readiness).exclude("x\ny")).await;
    assert_eq!(body(&report, Format::Text, Detail::Summary), "failed");
    assert_eq!(
        body(&report, Format::Text, Detail::Parts),
        "[-]db failed: reason withheld\nwarn: there is no check \"x\\ny\"\nreadyz check failed\n"
    );
    assert_eq!(
        body(
            &health.report(Query::new(Probe::Overall).only("search")).await,
            Format::Text,
            Detail::Full
        ),
        "[-]search failed: no route to <host>\nhealth check failed\n"
    );
    let report = HealthRegistry::new().report(Probe::Liveness).await;
    assert_eq!(body(&report, Format::Text, Detail::Full), "livez check passed\n");
}

#[tokio::test(start_paused = true)]
async fn health_json_is_as_its_draft_has_it() {
    let (health, _) = patient();
    let report = health.report(Probe::Readiness).await;
    assert_eq!(body(&report, Format::HealthJson, Detail::Summary), r#"{"status":"warn"}"#);
    let check = |component: &str, observed: Value, status: &str, output: Option<&str>| {
        let mut check =
            json!({"componentType": component, "observedValue": observed, "status": status});
        if !check["observedValue"].is_string() {
            check["observedUnit"] = json!("ms");
        }
        if let Some(output) = output {
            check["output"] = json!(output);
        }
        json!([check])
    };
    let shown = |full: bool| {
        let output = |text| Some(text).filter(|_| full);
        json!({"status": "warn", "checks": {
            "db:responseTime": check("datastore", json!(0), "pass", None),
            "replica:responseTime": check("component", json!(0), "warn", output("40 s \"behind\"")),
            "search:responseTime": check("component", json!(0), "fail", output("no route\r\nto <host>")),
            "payments:circuit_breaker": check("component", json!("forced_open"), "warn", output(
                "payments is forced open and refuses calls: the command `force_open` was given"
            )),
        }})
    };
    assert_eq!(timeless(&body(&report, Format::HealthJson, Detail::Parts)), shown(false));
    assert_eq!(timeless(&body(&report, Format::HealthJson, Detail::Full)), shown(true));

    // To the byte, but for the time, which the report tells.
    let report = ill().report(Probe::Readiness).await;
    let text = body(&report, Format::HealthJson, Detail::Full);
    let time = serde_json::from_str::<Value>(&text).expect("it is JSON");
    let time = time["checks"]["db:responseTime"][0]["time"].as_str().expect("a time").to_owned();
    assert_eq!(
        text,
        format!(
            r#"{{"status":"fail","checks":{{"db:responseTime":[{{"componentType":"component","observedValue":0,"observedUnit":"ms","status":"fail","time":"{time}","output":"gone"}}]}}}}"#
        )
    );
}

#[tokio::test(start_paused = true)]
async fn spring_is_as_its_endpoint_has_it() {
    let (health, circuit) = patient();
    let report = health.report(Probe::Readiness).await;
    assert_eq!(body(&report, Format::Spring, Detail::Summary), r#"{"status":"UP"}"#);
    assert_eq!(
        body(&report, Format::Spring, Detail::Parts),
        r#"{"status":"UP","components":{"db":{"status":"UP"},"replica":{"status":"UNKNOWN"},"search":{"status":"DOWN"},"payments:circuit_breaker":{"status":"CIRCUIT_FORCED_OPEN"}}}"#
    );
    assert_eq!(
        body(&report, Format::Spring, Detail::Full),
        concat!(
            r#"{"status":"UP","components":{"db":{"status":"UP"},"#,
            r#""replica":{"status":"UNKNOWN","details":{"description":"40 s \"behind\""}},"#,
            r#""search":{"status":"DOWN","details":{"error":"no route\r\nto <host>"}},"#,
            r#""payments:circuit_breaker":{"status":"CIRCUIT_FORCED_OPEN","details":{"state":"forced_open","#,
            r#""description":"payments is forced open and refuses calls: the command `force_open` was given"}}}}"#,
        )
    );
    for (command, says) in [
        (Circuit::open as fn(&Circuit), "CIRCUIT_OPEN"),
        (Circuit::half_open, "CIRCUIT_HALF_OPEN"),
        (Circuit::close, "UP"),
        (Circuit::disable, "UP"),
    ] {
        command(&circuit);
        let query = Query::new(Probe::Readiness).only("payments:circuit_breaker");
        let text = body(&health.report(query).await, Format::Spring, Detail::Parts);
        assert_eq!(
            text,
            format!(
                r#"{{"status":"UP","components":{{"payments:circuit_breaker":{{"status":"{says}"}}}}}}"#
            )
        );
    }
    let report = ill().report(Probe::Readiness).await;
    assert_eq!(body(&report, Format::Spring, Detail::Summary), r#"{"status":"DOWN"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_process_out_of_service_says_so_in_every_format() {
    let health = ill();
    let _startup = health.startup();
    let says = |report: &Report, word: &str, part: &str| {
        assert_eq!(body(report, Format::Text, Detail::Summary), word);
        assert_eq!(
            body(report, Format::Text, Detail::Full),
            format!("[-]{part} failed: the process is {word}\nreadyz check failed\n")
        );
        assert_eq!(
            body(report, Format::HealthJson, Detail::Summary),
            format!(r#"{{"status":"fail","output":"{word}"}}"#)
        );
        assert_eq!(
            timeless(&body(report, Format::HealthJson, Detail::Full)),
            json!({"status": "fail", "output": word, "checks": {part: [{
                "componentType": "system", "observedValue": word, "status": "fail",
                "output": format!("the process is {word}"),
            }]}})
        );
        assert_eq!(body(report, Format::Spring, Detail::Summary), r#"{"status":"OUT_OF_SERVICE"}"#);
        assert_eq!(
            body(report, Format::Spring, Detail::Parts),
            format!(
                r#"{{"status":"OUT_OF_SERVICE","components":{{"{part}":{{"status":"OUT_OF_SERVICE"}}}}}}"#
            )
        );
    };
    says(&health.report(Probe::Readiness).await, "starting", "startup");
    // What ends before it has started ends.
    health.drain().begin();
    says(&health.report(Probe::Readiness).await, "draining", "drain");
}

#[test]
fn what_a_check_says_is_shown_in_full_detail_alone() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let report = runtime.expect("a runtime").block_on(patient().0.report(Probe::Readiness));
    for format in ALL {
        for detail in [Detail::Summary, Detail::Parts, Detail::Full] {
            let response: Response<String> = render(&report, format, detail);
            assert!(response.headers().contains_key(CONTENT_TYPE));
            let says = response.body().contains("<host>");
            assert_eq!(says, detail == Detail::Full, "{format:?} {detail:?}");
            let names = response.body().contains("search");
            assert_eq!(names, detail > Detail::Summary, "{format:?} {detail:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever an error says, JSON stays JSON and a line of text a line.
    #[test]
    fn no_text_breaks_a_format(says in "[ -~\n\r\t\"\\\\\u{0}\u{1f}\u{2028}é💥]{0,40}") {
        let told = says.clone();
        let health = registry([Check::new("db", move || {
            let told = told.clone();
            async move { Err::<(), _>(told) }
        })]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let report = runtime.expect("a runtime").block_on(health.report(Probe::Readiness));
        let text = body(&report, Format::Text, Detail::Full);
        prop_assert_eq!(text.lines().count(), 2);
        let json: Value = serde_json::from_str(&body(&report, Format::HealthJson, Detail::Full)).expect("JSON");
        prop_assert_eq!(&json["checks"]["db:responseTime"][0]["output"], &json!(says));
        let json: Value = serde_json::from_str(&body(&report, Format::Spring, Detail::Full)).expect("JSON");
        prop_assert_eq!(&json["components"]["db"]["details"]["error"], &json!(says));
    }
}
