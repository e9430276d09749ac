//! The replay of retries itself: what the starting set has no scenario for, and wrong expectations.

use serde_json::{Value, json};

use crate::vectors_runner::replay_document;

fn report(kind: &str, scenarios: Vec<Value>) -> (usize, usize, String) {
    let document = json!({
        "schema": "resilience-vectors/1", "kind": kind, "count": scenarios.len(), "scenarios": scenarios,
    });
    let report = replay_document(kind.into(), &document);
    let (failed, skipped) = (report.failures().count(), report.skipped().count());
    (failed, skipped, report.print())
}

fn exact() -> Value {
    json!({ "kind": "exponential", "base_ms": 100, "factor": 2, "jitter": { "kind": "none" } })
}

fn scripted(mut config: Value, script: Value, expect: Value) -> Value {
    config["backoff"] = exact();
    json!({ "id": expect.to_string(), "config": config, "script": script, "expect": expect })
}

#[test]
fn deadlines_budgets_and_hints_can_be_replayed() {
    let fails = || json!([{ "outcome": "failure" }]);
    let hinted =
        || json!([{ "outcome": "failure", "retry_after_ms": 5_000 }, { "outcome": "success" }]);
    let mode = |mode: Value| json!({ "max_attempts": 3, "retry_after": mode });
    let budget = json!({
        "algorithm": "deposit_withdraw", "ttl_ms": 1_000, "min_per_sec": 1, "percent": 0,
    });
    let scenarios = vec![
        scripted(
            json!({ "max_attempts": 9, "deadline_ms": 300 }),
            fails(),
            json!({
                "attempts": 2, "result": "deadline", "delays_ms": [100], "elapsed_ms": 100,
            }),
        ),
        scripted(
            json!({ "max_attempts": 9, "deadline_ms": 301 }),
            fails(),
            json!({
                "attempts": 3, "result": "deadline", "delays_ms": [100, 200], "elapsed_ms": 300,
            }),
        ),
        scripted(
            json!({ "max_attempts": null, "deadline_ms": 1_000 }),
            fails(),
            json!({
                "attempts": 4, "result": "deadline", "elapsed_ms": 700,
            }),
        ),
        scripted(mode(json!({ "mode": "exact" })), hinted(), json!({ "delays_ms": [5_000] })),
        scripted(mode(json!({ "mode": "at_least" })), hinted(), json!({ "delays_ms": [5_000] })),
        scripted(
            mode(json!({ "mode": "cap", "max_ms": 70 })),
            hinted(),
            json!({ "delays_ms": [70] }),
        ),
        scripted(
            mode(json!({ "mode": "exact", "cap_ms": 70 })),
            hinted(),
            json!({
                "result": "server_pushback",
            }),
        ),
        scripted(
            json!({ "max_attempts": 3 }),
            json!([{ "outcome": "fatal" }]),
            json!({
                "attempts": 1, "result": "not_retryable",
            }),
        ),
    ];
    let (failed, skipped, text) = report("retry", scenarios);
    assert_eq!((failed, skipped), (0, 0), "{text}");
    // The decision is replayed without a budget, so this one can only be seen on the layer.
    let limited = scripted(
        json!({ "max_attempts": 3, "budget": budget }),
        fails(),
        json!({
            "attempts": 2, "result": "budget_exhausted",
        }),
    );
    let (failed, _, text) = report("retry", vec![limited]);
    assert_eq!(failed, 0, "{text}");
}

#[test]
fn compositions_can_be_replayed() {
    let breaker = json!({
        "window": { "kind": "count", "size": 4 },
        "trip": [{ "kind": "consecutive_failures", "count": 2 }],
        "open": { "wait_ms": 5_000, "ready": "at" },
        "half_open": {
            "max_probes": 1,
            "decide": { "kind": "counts", "successes_to_close": 1, "failures_to_open": 1 }
        },
    });
    let composed = |expect: Value| {
        json!({
            "id": expect.to_string(),
            "config": { "retry": { "max_attempts": 5, "backoff": exact() }, "breaker": breaker },
            "script": [{ "outcome": "failure" }],
            "expect": expect,
        })
    };
    let right = json!({
        "attempts": 3, "service_calls": 2, "delays_ms": [100, 200], "elapsed_ms": 300,
        "breaker_state": "open", "result": "circuit_open",
    });
    let mut scenarios = vec![composed(right.clone())];
    for (key, wrong) in [
        ("attempts", json!(5)),
        ("service_calls", json!(3)),
        ("breaker_state", json!("closed")),
        ("result", json!("attempts_exhausted")),
    ] {
        let mut expect = right.clone();
        expect[key] = wrong;
        scenarios.push(composed(expect));
    }
    let (failed, skipped, text) = report("composition", scenarios);
    assert_eq!((failed, skipped), (4, 0), "{text}");
}

#[test]
fn the_throttling_of_grpc_can_be_replayed() {
    let config = json!({ "algorithm": "token_ratio", "max_tokens": 4, "token_ratio": 0.5 });
    let asked = json!([
        { "do": "retry", "expect": { "allowed": true, "tokens": 3 } },
        { "do": "retry", "times": 2, "expect": { "allowed": false, "tokens": 1 } },
        { "do": "success", "times": 3, "expect": { "tokens": 2.5 } },
    ]);
    let apart = json!([
        { "do": "call", "outcome": "failure", "expect": { "allowed": true } },
        { "do": "retry", "expect": { "allowed": true, "tokens": 3 } },
        { "do": "failure", "expect": { "allowed": false, "balance": 2 } },
        { "do": "call", "outcome": "success", "times": 9, "expect": { "tokens": 4 } },
    ]);
    let wrong = json!([{ "do": "retry", "expect": { "allowed": false } }]);
    let wrong_count = json!([{ "do": "failure", "expect": { "tokens": 2 } }]);
    let scenario = |steps: Value| json!({ "id": "x", "config": config, "steps": steps });
    let scenarios = [asked, apart, wrong, wrong_count].map(scenario).to_vec();
    let (failed, skipped, text) = report("retry_budget", scenarios);
    assert_eq!((failed, skipped), (2, 0), "{text}");
}

#[test]
fn a_wrong_delay_is_a_failure() {
    let backoff = json!({ "kind": "linear", "base_ms": 7, "step_ms": 10, "max_ms": 20 });
    let cases = [
        json!({ "retry": 2, "delay_ms": 17 }),
        json!({ "retry": 2, "delay_ms": 18 }),
        json!({ "retry": 3, "min_ms": 21, "max_ms": 30 }),
        json!({ "retry": 3, "min_ms": 1, "max_ms": 19 }),
    ];
    let scenario = |case| json!({ "id": "x", "config": backoff, "cases": [case] });
    let (failed, skipped, text) = report("backoff", cases.map(scenario).to_vec());
    assert_eq!((failed, skipped), (3, 0), "{text}");
}
