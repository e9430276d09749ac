//! Replays the conformance scenarios of `tests/vectors/`, and of the folder that the environment
//! variable `PORTCULLIS_VECTORS` names, on the public API with a virtual clock.
//!
//! Prints `passed / failed / skipped` per file with the feature that caused each skip. A scenario
//! that turns on a semantic choice which this library documents otherwise may fail through that
//! choice alone; any other failure fails the test.

mod vectors_runner;

#[path = "vectors_runner/retry_checks.rs"]
mod retry_checks;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use vectors_runner::{Report, Verdict, files_in, replay_document, replay_file};

fn starting_set() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn replay_folder(folder: &Path) -> Vec<Report> {
    let files = files_in(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    assert!(!files.is_empty(), "no *.json in {}", folder.display());
    files.iter().map(|file| replay_file(file)).collect()
}

fn replay_and_print(folder: &Path) {
    let reports = replay_folder(folder);
    // Written to the stream itself: the counts are of interest when the test passes, too.
    let mut out = std::io::stdout().lock();
    for report in &reports {
        out.write_all(report.print().as_bytes()).expect("stdout is writable");
    }
    drop(out);
    let failed: Vec<String> = reports
        .iter()
        .flat_map(|report| {
            report.failures().map(|(id, why)| format!("{} {id}: {why}", report.file))
        })
        .collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_scenario_of_the_starting_set_holds() {
    replay_and_print(&starting_set());
}

/// What the schema allows and the starting set has no scenario for, by analogy with what it has.
#[test]
fn every_scenario_beside_the_starting_set_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors_more");
    replay_and_print(&folder);
    let mut scenarios = 0;
    for report in replay_folder(&folder) {
        let skipped: Vec<_> = report.skipped().collect();
        let by_choice = [("uneven-buckets", "documented choice: window_model")];
        assert!(skipped.iter().all(|skipped| by_choice.contains(skipped)), "{skipped:?}");
        scenarios += report.scenarios.len();
    }
    assert!(scenarios >= 143, "only {scenarios}");
}

#[test]
fn every_scenario_of_the_folder_in_the_environment_holds() {
    if let Some(folder) = std::env::var_os("PORTCULLIS_VECTORS") {
        replay_and_print(Path::new(&folder));
    }
}

/// Guards the replay itself: what it may leave out of the starting set is named here, one by one.
#[test]
fn nothing_that_is_built_is_skipped_without_a_named_reason() {
    let may_skip = [
        ("r4j-metrics-only", "command:metrics_only"),
        ("gobreaker-custom-interval", "window:tumbling"),
        ("r4j-half-open-max-wait-to-open", "half_open:max_wait with several probes"),
        ("polly-last-call-success-does-not-open", "documented choice: trip_on_success"),
        ("sentinel-slow-ratio-08", "documented choice: threshold_cmp"),
        ("failsafe-max-duration", "max_elapsed"),
        ("smithy-throttle-1s", "a back-off per failure"),
        ("failsafe-budget-floor", "budget:in_flight"),
        ("failsafe-budget-exceeded", "budget:in_flight"),
        ("smithy-quota-eventual-success", "budget:quota"),
        ("smithy-quota-exhausted", "budget:quota"),
        ("smithy-v21-quota-one-retry", "budget:quota"),
        ("smithy-v21-quota-zero", "budget:quota"),
        ("smithy-v21-quota-20", "budget:quota"),
        ("smithy-v21-throttle-cost", "budget:quota"),
        ("botocore-quota-release", "budget:quota"),
    ];
    let reports = replay_folder(&starting_set());
    let mut replayed = 0;
    for report in &reports {
        assert_eq!(report.unreadable, None, "{}", report.file);
        assert_eq!(report.announced, Some(report.scenarios.len() as u64), "{}", report.file);
        assert_eq!(report.failures().count(), 0, "{}", report.print());
        let built = ["breaker.json", "window.json", "retry.json", "retry_budget.json"];
        if !built.contains(&report.file.as_str()) {
            continue;
        }
        for skipped in report.skipped() {
            assert!(may_skip.contains(&skipped), "{}: skipped {skipped:?}", report.file);
        }
        replayed += report.scenarios.len() - report.skipped().count();
    }
    assert!(replayed >= 64, "only {replayed} scenarios were replayed");
}

#[test]
fn nothing_of_the_rate_limiter_is_skipped_without_a_named_reason() {
    let may_skip = [
        ("failsafe-bursty-5-per-s", "algorithm:fixed_window"),
        ("r4j-first-cycle-and-refresh", "algorithm:fixed_window"),
        ("r4j-reserve-upfront", "algorithm:fixed_window"),
        ("r4j-reject-at-zero-timeout", "algorithm:fixed_window"),
        ("r4j-change-limit", "algorithm:fixed_window"),
        ("failsafe-smooth-initial-b", "algorithm:spacing_grid"),
        ("go-clock-backwards", "clock_backwards"),
    ];
    let report = replay_file(&starting_set().join("rate_limiter.json"));
    for skipped in report.skipped() {
        assert!(may_skip.contains(&skipped), "skipped {skipped:?}");
    }
    assert_eq!(report.scenarios.len() - report.skipped().count(), 19);
}

#[test]
fn a_wrong_expectation_of_the_rate_limiter_is_a_failure() {
    let text = std::fs::read_to_string(starting_set().join("rate_limiter.json")).expect("readable");
    let mut document: serde_json::Value = serde_json::from_str(&text).expect("valid");
    let wrong = [
        ("go-cancel-multi", "/steps/7/expect/wait_ms", serde_json::json!(401)),
        ("go-zero-rate", "/steps/1/expect/retry_after_ms", serde_json::json!(100)),
        ("go-zero-rate", "/steps/0/expect/admitted", serde_json::json!(false)),
        ("governor-wait-time", "/steps/11/expect/retry_after_ms", serde_json::json!(194)),
        ("throttled-gcra-table", "/steps/3/expect/remaining", serde_json::json!(3)),
        ("throttled-gcra-table", "/steps/3/expect/reset_after_ms", serde_json::json!(2_001)),
        ("throttled-gcra-table", "/steps/3/expect", serde_json::json!({ "tokens": 3.5 })),
        ("throttled-gcra-table", "/steps/3/expect", serde_json::json!({ "tokens_before": 4.5 })),
    ];
    let variants = wrong.map(|(id, place, value)| {
        let all = document["scenarios"].as_array().expect("scenarios");
        let mut changed = all.iter().find(|s| s["id"] == id).expect("a scenario").clone();
        *changed.pointer_mut(place).expect("the scenario has that place") = value;
        changed
    });
    let count = variants.len();
    document["scenarios"] = serde_json::Value::from(variants.to_vec());
    let report = replay_document("wrong".into(), &document);
    assert_eq!(report.failures().count(), count, "{}", report.print());
}

/// Partitions are no part of this library.
#[test]
fn nothing_of_the_bulkhead_is_skipped_without_a_named_reason() {
    let may_skip = [
        ("cl-partition-borrow-then-reserve", "partitions"),
        ("cl-partition-all-limits", "partitions"),
    ];
    let report = replay_file(&starting_set().join("bulkhead.json"));
    assert_eq!(report.skipped().collect::<Vec<_>>(), may_skip);
    assert_eq!((report.failures().count(), report.scenarios.len()), (0, 7), "{}", report.print());
}

/// The replay of bulkheads could fail, too.
#[test]
fn a_wrong_expectation_of_a_bulkhead_is_a_failure() {
    let text = std::fs::read_to_string(starting_set().join("bulkhead.json")).expect("readable");
    let mut document: serde_json::Value = serde_json::from_str(&text).expect("valid");
    let scenarios = document["scenarios"].as_array().expect("scenarios");
    let polly = scenarios.iter().find(|s| s["id"] == "polly-cancel-queued-and-executing");
    let polly = polly.expect("a scenario with a queue").clone();
    let wrong = [
        ("/steps/9/expect/outcome", serde_json::json!("queued")),
        ("/steps/10/expect/queued", serde_json::json!(3)),
        ("/steps/11/expect/then_admitted", serde_json::json!(["t8"])),
        ("/steps/13/expect/in_flight", serde_json::json!(6)),
        ("/steps/13/expect/then_admitted", serde_json::json!(["t9"])),
        ("/config/max_queue", serde_json::json!(4)),
        ("/config/max_concurrent", serde_json::json!(5)),
        // Nobody waits for a millisecond less than the others say.
        (
            "/steps/10",
            serde_json::json!({ "do": "advance", "ms": 1, "expect": { "timed_out": [] } }),
        ),
    ];
    let variants = wrong.map(|(place, value)| {
        let mut changed = polly.clone();
        if place == "/steps/10" {
            changed["config"]["max_wait_ms"] = serde_json::json!(1);
        }
        *changed.pointer_mut(place).expect("the scenario has that place") = value;
        changed
    });
    document["scenarios"] = serde_json::Value::from(variants.to_vec());
    let report = replay_document("wrong".into(), &document);
    assert_eq!(report.failures().count(), variants.len(), "{}", report.print());
}

/// A replay that could not fail would prove nothing: each of these is wrong in one value.
#[test]
fn a_wrong_expectation_is_a_failure() {
    let text = std::fs::read_to_string(starting_set().join("breaker.json")).expect("readable");
    let mut document: serde_json::Value = serde_json::from_str(&text).expect("valid");
    let scenario = document["scenarios"]
        .as_array()
        .and_then(|all| all.iter().find(|s| s["id"] == "polly-v8-integration"))
        .expect("a scenario with every kind of expectation")
        .clone();
    let wrong = [
        ("/steps/0/expect/state", serde_json::json!("closed")),
        ("/steps/0/expect/admitted", serde_json::json!(false)),
        ("/steps/1/expect/reason", serde_json::json!("probe_limit")),
        ("/steps/1/expect/retry_after_ms", serde_json::json!(999)),
        ("/steps/8/expect/transitions/4", serde_json::json!("half_open>open")),
        ("/steps/8/expect/metrics", serde_json::json!({ "calls": 1 })),
        ("/steps/8/expect/metrics", serde_json::json!({ "failure_rate": 0.5 })),
    ];
    let variants = wrong.map(|(place, value)| {
        let mut changed = scenario.clone();
        changed["steps"][8]["expect"]["metrics"] = serde_json::json!({ "calls": 0 });
        *changed.pointer_mut(place).expect("the scenario has that place") = value;
        changed
    });
    let count = variants.len();
    document["scenarios"] = serde_json::Value::from(variants.to_vec());
    let report = replay_document("wrong".into(), &document);
    assert_eq!(report.failures().count(), count, "{}", report.print());
}

/// The longest stay in half-open is the lease of the one probe. Without a task its end shows at the
/// next call, so that a bare look is answered there, or after the last step.
#[test]
fn a_lease_that_ends_unseen_is_looked_for_at_the_next_call() {
    let acquire = serde_json::json!({ "do": "acquire", "as": "p", "expect": { "admitted": true } });
    let look = serde_json::json!({ "do": "advance", "ms": 1500, "expect": { "state": "open" } });
    let soon = serde_json::json!({ "do": "advance", "ms": 999, "expect": { "state": "open" } });
    let refused = serde_json::json!({
        "do": "acquire", "as": "q",
        "expect": { "admitted": false, "reason": "open", "state": "open", "retry_after_ms": 4500 },
    });
    let wrong = serde_json::json!({
        "do": "acquire", "as": "q", "expect": { "admitted": false, "retry_after_ms": 5000 },
    });
    let begin = serde_json::json!({ "do": "command", "name": "half_open" });
    let scenario = |id: &str, steps: &[&serde_json::Value]| {
        serde_json::json!({
            "id": id,
            "config": {
                "window": { "kind": "count", "size": 4 },
                "trip": [{ "kind": "consecutive_failures", "count": 2 }],
                "open": { "wait_ms": 5000, "ready": "at" },
                "half_open": {
                    "max_probes": 1, "max_wait_ms": 1000, "max_wait_to": "open",
                    "decide": { "kind": "counts", "successes_to_close": 1, "failures_to_open": 1 }
                },
            },
            "steps": steps,
        })
    };
    let document = serde_json::json!({
        "schema": "resilience-vectors/1", "kind": "circuit_breaker", "scenarios": [
            scenario("at the next call", &[&begin, &acquire, &look, &refused]),
            scenario("after the last step", &[&begin, &acquire, &look]),
            scenario("too early", &[&begin, &acquire, &soon]),
            scenario("wrong at the next call", &[&begin, &acquire, &look, &wrong]),
            scenario("no probe", &[&begin, &look]),
        ],
    });
    let report = replay_document("lease".into(), &document);
    let text = report.print();
    assert!(text.starts_with("lease: passed 2 / failed 2 / skipped 1\n"), "{text}");
    let failed: Vec<&str> = report.failures().map(|(id, _)| id).collect();
    assert_eq!(failed, ["too early", "wrong at the next call"]);
    assert_eq!(text.matches("looked for at the next acquire").count(), 2, "{text}");
}

/// What the schema does not have is named and skipped; nothing panics.
#[test]
fn unknown_elements_are_skipped_by_name() {
    let base = serde_json::json!({
        "id": "x",
        "config": {
            "window": { "kind": "count", "size": 4 },
            "trip": [{ "kind": "failure_rate", "rate": 0.5, "min_calls": 2, "cmp": ">=" }],
            "open": { "wait_ms": 10, "ready": "at" },
            "half_open": {
                "max_probes": 1,
                "probe_limit": "total",
                "decide": { "kind": "counts", "successes_to_close": 1, "failures_to_open": 1 }
            },
        },
        "steps": [{ "do": "call", "outcome": "success", "expect": { "admitted": true } }],
    });
    let changes = [
        ("/kind", serde_json::json!("tea_break"), "unknown kind `tea_break`"),
        ("/kind", serde_json::json!("hedge"), "kind hedge: not built yet"),
        ("/config/window/kind", serde_json::json!("leap"), "window:leap"),
        ("/config/trip/0/kind", serde_json::json!("mood"), "trip:mood"),
        ("/config/half_open/decide/kind", serde_json::json!("dice"), "half_open:dice"),
        ("/steps/0/do", serde_json::json!("dance"), "unknown step `dance`"),
        ("/steps/0/outcome", serde_json::json!("maybe"), "outcome:maybe"),
        (
            "/steps/0/expect",
            serde_json::json!({ "colour": 1 }),
            "unknown element `colour` in expect",
        ),
        (
            "/steps/0/expect",
            serde_json::json!({ "error": "illegal_transition" }),
            "error:illegal_transition, but every command is legal in every state",
        ),
    ];
    let scenarios: Vec<_> = changes
        .iter()
        .map(|(place, value, _)| {
            let mut changed = base.clone();
            changed["kind"] = serde_json::json!("circuit_breaker");
            *changed.pointer_mut(place).expect("the scenario has that place") = value.clone();
            changed
        })
        .collect();
    let document = serde_json::json!({
        "schema": "resilience-vectors/1", "kind": "circuit_breaker", "scenarios": scenarios,
    });
    let report = replay_document("unknown".into(), &document);
    let verdicts: Vec<_> = report.scenarios.into_iter().map(|(_, verdict)| verdict).collect();
    let reasons = changes.map(|(_, _, reason)| Verdict::Skipped(reason.to_owned()));
    assert_eq!(verdicts, reasons);
    for other in [serde_json::json!([1]), serde_json::json!({ "schema": "other/2" })] {
        assert!(replay_document("other".into(), &other).unreadable.is_some());
    }
}
