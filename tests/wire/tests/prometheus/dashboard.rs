//! The dashboard shows what is exported, all of it and nothing else.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{everything, promtool, text::Scrape};

fn dashboard() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/wire/grafana/portcullis.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    serde_json::from_str(&text).expect("valid JSON")
}

/// Every panel, those in rows included.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let top = dashboard["panels"].as_array().expect("panels");
    let inner = top.iter().filter_map(|panel| panel["panels"].as_array()).flatten();
    top.iter().chain(inner).collect()
}

fn panels_queries(dashboard: &Value) -> Vec<&str> {
    let panels = panels(dashboard);
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("a query")).collect()
}

/// Everything that Prometheus is asked: by panels, and for the choices of variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let mut queries = panels_queries(dashboard);
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    queries.extend(variables.iter().filter(|variable| variable["type"] == "query").map(
        |variable| variable["query"]["query"].as_str().or(variable["query"].as_str()).expect("one"),
    ));
    queries.into_iter().map(str::to_owned).collect()
}

/// The names of our metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("portcullis_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_name_in_the_dashboard_is_exported_and_every_metric_is_in_it() {
    let text = everything::run().await;
    let scrape = Scrape::read(&text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    let exported = scrape.sample_names();
    let dashboard = dashboard();
    let mut shown = BTreeSet::new();
    for query in queries(&dashboard) {
        let used = names(&query);
        assert!(!used.is_empty(), "nothing of ours: {query}");
        for name in used {
            assert!(exported.contains(&name), "{name} is not exported: {query}");
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| {
                    let family = name.strip_suffix(suffix)?;
                    scrape.families.contains_key(family).then(|| family.to_owned())
                })
                .unwrap_or(name);
            shown.insert(family);
        }
    }
    let families: BTreeSet<String> = scrape.families.keys().cloned().collect();
    assert_eq!(families.difference(&shown).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The words that queries ask labels for are ones that labels have.
#[tokio::test]
async fn queries_ask_for_labels_and_words_that_there_are() {
    let text = everything::run().await;
    for query in queries(&dashboard()) {
        for (at, _) in query.match_indices("=\"") {
            let label = query[..at].rsplit(['{', ',', ' ']).next().unwrap_or_default();
            let word = query[at + 2..].split('"').next().unwrap_or_default();
            let known = word.starts_with('$') || text.contains(&format!("{label}=\"{word}\""));
            assert!(known, "{label}=\"{word}\" in {query}");
        }
        let braces = query.matches('(').count() == query.matches(')').count()
            && query.matches('{').count() == query.matches('}').count();
        assert!(braces, "{query}");
    }
}

/// Prometheus' own parser reads every query.
#[test]
fn prometheus_own_tool_reads_every_query() {
    let panels = dashboard();
    let panels = panels_queries(&panels);
    let rules = panels.iter().enumerate().map(|(number, query)| {
        let query = query.replace("$__rate_interval", "5m").replace("$job", ".*");
        let query = query.replace("$name", ".*");
        format!("  - record: portcullis:query{number}\n    expr: {query:?}\n")
    });
    let rules = format!("groups:\n- name: dashboard\n  rules:\n{}", rules.collect::<String>());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("portcullis-dashboard-rules.yml");
    fs::write(&path, rules).expect("the folder for tests can be written");
    let path = path.to_str().expect("a path in UTF-8");
    let Some((well, said)) = promtool(&["check", "rules", path], "") else { return };
    assert!(well, "{said}");
    assert!(said.contains(&format!("{} rules found", panels.len())), "{said}");
}

#[test]
fn panels_have_ids_of_their_own_and_the_variables_that_the_dashboard_is_for() {
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    let ids: BTreeSet<u64> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("a number")).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in &panels {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()));
        if panel["type"] == "row" {
            continue;
        }
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}");
        let references: BTreeSet<_> = panel["targets"]
            .as_array()
            .expect("queries")
            .iter()
            .map(|target| {
                let query = target["expr"].as_str().expect("a query");
                assert!(query.contains("job=~\"$job\""), "{query}");
                assert!(query.contains("name=~\"$name\""), "{query}");
                target["refId"].as_str().expect("a letter")
            })
            .collect();
        assert_eq!(references.len(), panel["targets"].as_array().expect("queries").len());
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
    assert_eq!(names, ["datasource", "job", "name"]);
    // Panels do not lie upon one another.
    let places: Vec<[u64; 4]> = panels
        .iter()
        .map(|panel| {
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"))
        })
        .collect();
    for (at, [x, y, w, h]) in places.iter().enumerate() {
        assert!(x + w <= 24 && *w > 0 && *h > 0);
        for [other_x, other_y, other_w, other_h] in &places[..at] {
            let apart = x + w <= *other_x
                || other_x + other_w <= *x
                || y + h <= *other_y
                || other_y + other_h <= *y;
            assert!(apart, "{x} {y} {w} {h}");
        }
    }
}
