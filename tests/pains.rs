//! The page on pains names tests: they are there, and they are tests.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One row of the table.
#[derive(Debug)]
struct Row {
    number: u32,
    pain: String,
    here: String,
    /// Files and the tests in them.
    shown: Vec<(String, Vec<String>)>,
}

/// The rows of the page's first table whose first cell is a number.
fn rows(page: &str) -> Vec<Row> {
    page.lines()
        .filter_map(|line| {
            let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
            let cells: Vec<&str> = cells.split(" | ").collect();
            let number = cells[0].parse().ok()?;
            let [_, pain, here, shown] = cells[..] else {
                panic!("row {number} has {} cells", cells.len())
            };
            let shown = shown.split("; ").map(|of| file_and_tests(number, of)).collect();
            Some(Row { number, pain: pain.to_owned(), here: here.to_owned(), shown })
        })
        .collect()
}

/// Reads "`file`: `test`, `test`".
fn file_and_tests(number: u32, text: &str) -> (String, Vec<String>) {
    let code = |text: &str| {
        let code = text.strip_prefix('`').and_then(|text| text.strip_suffix('`'));
        code.unwrap_or_else(|| panic!("row {number}: {text} is not in backticks")).to_owned()
    };
    let (file, tests) =
        text.split_once(": ").unwrap_or_else(|| panic!("row {number}: {text} names no test"));
    (code(file), tests.split(", ").map(code).collect())
}

/// Whether the file runs such a test: a function with an attribute for tests, or one that a macro of the file
/// makes a test of, in whose list it stands by itself.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let function = |line: &str| {
        let Some((before, after)) = line.split_once(&format!("fn {name}")) else { return false };
        let qualified = before
            .split_whitespace()
            .all(|word| matches!(word, "async" | "pub" | "pub(crate)" | "pub(super)"));
        qualified && after.starts_with(['(', '<'])
    };
    let Some(at) = lines.iter().position(|line| function(line)) else { return false };
    let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
    let mut attributes = attributes.map(|line| line.trim_start_matches("#["));
    attributes.any(|line| line.starts_with("test]") || line.starts_with("tokio::test"))
        || lines.contains(&name)
}

#[test]
fn every_pain_has_its_row_and_every_test_in_it_is_there() {
    let page = fs::read_to_string(root().join("src/docs/pains.md")).unwrap();
    let rows = rows(&page);
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), Vec::from_iter(1..=25));
    let mut missing = Vec::new();
    let mut found = BTreeSet::new();
    for row in &rows {
        assert!(!row.pain.is_empty() && !row.here.is_empty() && !row.shown.is_empty(), "{row:?}");
        for (file, tests) in &row.shown {
            let source = fs::read_to_string(root().join(file)).unwrap_or_default();
            for test in tests {
                if has_test(&source, test) {
                    found.insert((file, test));
                } else {
                    missing.push(format!("{}: {file}: {test}", row.number));
                }
            }
        }
    }
    assert!(missing.is_empty(), "these are no tests: {missing:#?}");
    assert!(found.len() >= 60, "the table is read to its end: {}", found.len());
}

#[test]
fn a_test_is_known_by_its_attribute_or_by_a_macros_list() {
    let source = "
        many! {
            listed
        }
        #[test]
        fn plain() {}
        #[tokio::test(start_paused = true)]
        #[should_panic]
        async fn later() {}
        pub(crate) fn listed<S>(s: S) {}
        fn helper() {}
        // fn commented() {}
        #[test]
        fn plainer() {}
    ";
    for test in ["plain", "later", "listed", "plainer"] {
        assert!(has_test(source, test), "{test}");
    }
    for other in ["helper", "commented", "plai", "ain", "absent"] {
        assert!(!has_test(source, other), "{other}");
    }
    let page =
        "| # | pain | here | shown by |\n| 1 | a | b | `f`: `x`, `y`; `g`: `z` |\n| x | y |\n";
    let [row] = &rows(page)[..] else { panic!("one row") };
    assert_eq!(row.shown[0], ("f".to_owned(), vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(row.shown[1], ("g".to_owned(), vec!["z".to_owned()]));
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Words for tasks and threads in a file's code, but for its tests.
fn spawns(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |at: usize, word: &str| matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == word);
    let mut at = 0;
    while at < tokens.len() {
        // `mod tests { … }`, and what is named otherwise for the same purpose.
        if is(at, "mod") && is(at + 1, "tests") {
            at += 2;
        } else {
            match &tokens[at] {
                TokenTree::Group(group) if spawns(group.stream()) => return true,
                TokenTree::Ident(ident) => {
                    let word = ident.to_string();
                    if word.starts_with("spawn") || word == "JoinSet" {
                        return true;
                    }
                }
                _ => {}
            }
        }
        at += 1;
    }
    false
}

/// Work that a layer leaves to a task outlives the call, and is lost with the task.
#[test]
fn nothing_spawns_a_task() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    assert!(files.len() > 20, "the sources are where this test looks");
    for file in files {
        let tokens: TokenStream = fs::read_to_string(&file).unwrap().parse().unwrap();
        assert!(!spawns(tokens), "{} spawns", file.display());
    }
    let found = |code: &str| spawns(code.parse().unwrap());
    assert!(found("fn f() { tokio::spawn(async {}); }"));
    assert!(found("use tokio::task::{spawn_blocking};"));
    assert!(found("fn f() { let tasks = JoinSet::new(); }"));
    assert!(!found("#[cfg(test)] mod tests { fn f() { std::thread::spawn(f); } } fn g() {}"));
}
