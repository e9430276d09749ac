//! Who may import whom, and who may read time: the rules of the crate's structure.
//!
//! Reads the tokens of every file below `src/`, macros included and comments excluded, and resolves each
//! path in them. A path that a rule forbids is named with its file.
#![allow(clippy::unwrap_used, reason = "a test may panic, and picks any instant to begin with")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The layers and handles; none imports another.
const SHELLS: [&str; 7] =
    ["circuit_breaker", "rate_limit", "bulkhead", "timeout", "retry", "fallback", "catch_panic"];
/// The only modules that may import shells, besides the crate's root.
const ABOVE_SHELLS: [&str; 5] = ["config", "stack", "http", "grpc", "health"];

struct File {
    name: String,
    /// The module path below the crate's root.
    module: Vec<String>,
    paths: BTreeSet<Vec<String>>,
    lines: usize,
}

impl File {
    fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// The modules of this crate that the file names, by their first segment.
    fn imports(&self) -> BTreeSet<&str> {
        let own = self.paths.iter().filter(|path| path[0] == "crate" && path.len() > 1);
        own.map(|path| path[1].as_str()).filter(|module| *module != self.top()).collect()
    }

    /// The crates that the file names.
    fn crates<'a>(&self, known: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
        // A word by itself may be a local name.
        let named =
            |name: &&String| self.paths.iter().any(|path| path.len() > 1 && path[0] == **name);
        let named = known.iter().filter(named);
        named.map(String::as_str).collect()
    }

    fn names(&self, end: &[&str]) -> bool {
        self.paths.iter().any(|path| path.windows(end.len()).any(|part| part == end))
    }
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

fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    rust_files(&root, &mut found);
    assert!(found.len() > 20, "the sources are where this test looks");
    found.iter().map(|path| read(&root, path)).collect()
}

fn read(root: &Path, path: &Path) -> File {
    let text = fs::read_to_string(path).unwrap();
    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    let mut module: Vec<String> =
        name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut raw = Vec::new();
    collect(tokens, &[], &mut raw);
    let paths = raw.into_iter().map(|path| resolve(&module, path)).collect();
    File { name, module, paths, lines: text.lines().count() }
}

/// Every path in the tokens; those in a `use` group get what stands before the group.
fn collect(tokens: TokenStream, before: &[String], found: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let colons = |at: usize| {
        let is_colon =
            |at| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        is_colon(at) && is_colon(at + 1)
    };
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => collect(group.stream(), &[], found),
            TokenTree::Ident(ident) => {
                let mut path = before.to_vec();
                path.push(ident.to_string());
                while colons(at + 1) {
                    match tokens.get(at + 3) {
                        Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            collect(group.stream(), &path, found);
                        }
                        _ => break,
                    }
                    at += 3;
                }
                found.push(path);
            }
            _ => {}
        }
        at += 1;
    }
}

/// Turns `self` and `super` into paths from `crate`.
fn resolve(module: &[String], path: Vec<String>) -> Vec<String> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    let is_self = path[0] == "self" && path.len() > 1;
    if supers == 0 && !is_self {
        return path;
    }
    let kept = module.len().saturating_sub(supers);
    let rest = &path[supers.max(usize::from(is_self))..];
    [&["crate".to_owned()], &module[..kept], rest].concat()
}

/// Whether there is a condition with `let` and `&&` side by side, or a `match` arm whose guard has `let`.
fn has_let_chain(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_word = |at: usize, word| matches!(&tokens[at], TokenTree::Ident(ident) if ident == word);
    let is_sign = |at: usize, sign: &str| {
        let is = |(next, sign)| matches!(tokens.get(at + next), Some(TokenTree::Punct(p)) if p.as_char() == sign);
        sign.chars().enumerate().all(is)
    };
    let is_block = |at: usize| matches!(&tokens[at], TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    let begins = (0..tokens.len()).filter(|at| is_word(*at, "if") || is_word(*at, "while"));
    let here = begins.into_iter().any(|begins| {
        let ends = |at: &usize| is_block(*at) || is_sign(*at, "=>");
        let ends = (begins + 1..tokens.len()).find(ends).unwrap_or(tokens.len());
        let condition = || begins + 1..ends;
        // In a pattern it takes two references away.
        let is_and = |at: usize| is_sign(at, "&&") && !is_word(at - 1, "let");
        let guards = ends < tokens.len() && !is_block(ends);
        condition().any(|at| is_word(at, "let")) && (guards || condition().any(is_and))
    });
    here || tokens.into_iter().any(|token| match token {
        TokenTree::Group(group) => has_let_chain(group.stream()),
        _ => false,
    })
}

fn dependencies() -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.replace('-', "_")).collect()
}

#[test]
fn policies_import_only_what_is_pure() {
    let crates = dependencies();
    for file in files().iter().filter(|file| file.top() == "policy") {
        let allowed = BTreeSet::from(["error", "outcome", "sync"]);
        let foreign: Vec<_> = file.imports().difference(&allowed).copied().collect();
        // The names of their own documentation aside, which are no imports.
        assert!(foreign.is_empty(), "{} imports {foreign:?}", file.name);
        // Numbers and tables without a clock or a runtime: what they decide follows from what they are told.
        let pure = BTreeSet::from(["crossbeam_utils", "fastrand", "foldhash", "hashbrown"]);
        let foreign: Vec<_> = file.crates(&crates).difference(&pure).copied().collect();
        assert!(foreign.is_empty(), "{} uses {foreign:?}", file.name);
        for word in ["async", "await", "Future", "Waker"] {
            assert!(!file.names(&[word]), "{} says `{word}`", file.name);
        }
    }
}

#[test]
fn only_the_clock_reads_time() {
    for file in files().iter().filter(|file| file.name != "clock.rs") {
        for reads in [
            &["Instant", "now"][..],
            &["SystemTime"],
            &["tokio", "time"],
            &["elapsed"],
            &["quanta"],
        ] {
            assert!(!file.names(reads), "{} names {}", file.name, reads.join("::"));
        }
    }
}

#[test]
fn shells_do_not_import_one_another() {
    for file in files() {
        if file.top() == "lib" || ABOVE_SHELLS.contains(&file.top()) {
            continue;
        }
        let shells: Vec<_> =
            file.imports().into_iter().filter(|module| SHELLS.contains(module)).collect();
        assert!(shells.is_empty(), "{} imports {shells:?}", file.name);
    }
}

#[test]
fn the_mechanisms_know_no_policy() {
    let allowed = [
        ("error", &[][..]),
        ("outcome", &["error"]),
        ("error_layer", &["error", "plan"]),
        ("ambient", &[]),
        ("plan", &[]),
        ("registry", &["error", "policy", "sync"]),
        ("sync", &[]),
        ("guard", &["error", "event", "sync"]),
        ("clock", &["policy"]),
        ("deadline", &["ambient", "clock"]),
        ("event", &["error", "outcome", "policy", "registry", "sync"]),
        ("options", &["clock", "event"]),
    ];
    for file in files() {
        let Some((_, may)) = allowed.iter().find(|(module, _)| *module == file.top()) else {
            continue;
        };
        let may: BTreeSet<_> = may.iter().copied().collect();
        let foreign: Vec<_> = file.imports().difference(&may).copied().collect();
        assert!(foreign.is_empty(), "{} imports {foreign:?}", file.name);
    }
}

#[test]
fn shells_and_guard_use_no_tower_but_its_traits_and_no_box_per_call() {
    for file in files() {
        assert!(!file.names(&["tower"]), "{} names tower itself", file.name);
        assert!(!file.names(&["Box", "pin"]), "{} boxes a future", file.name);
        // A health check is pinned once, when it is added: its runs are made in that place.
        let pins = file.names(&["into_pin"]) && file.name != "health/run.rs";
        assert!(!pins, "{} pins a box", file.name);
    }
}

#[test]
fn files_stay_short() {
    for file in files() {
        assert!(file.lines <= 450, "{} has {} lines: one idea each?", file.name, file.lines);
    }
}

#[test]
fn every_module_is_known_to_these_rules() {
    let known = [
        "lib",
        "policy",
        "error",
        "outcome",
        "error_layer",
        "sync",
        "guard",
        "clock",
        "deadline",
        "event",
        "options",
        "ambient",
        "plan",
        "registry",
        "docs",
    ];
    for file in files() {
        let top = file.top();
        let placed = known.contains(&top) || SHELLS.contains(&top) || ABOVE_SHELLS.contains(&top);
        assert!(placed, "{} has no place in the architecture test", file.name);
    }
}

/// Rust 1.85 does not know them, edition or not, and no lint of a newer compiler says so.
#[test]
fn no_condition_needs_a_newer_rust_than_is_promised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    rust_files(&root.join("src"), &mut found);
    rust_files(&root.join("examples"), &mut found);
    for path in found {
        let tokens: TokenStream = fs::read_to_string(&path).unwrap().parse().unwrap();
        assert!(!has_let_chain(tokens), "{} has a chain of conditions with `let`", path.display());
    }
}

#[test]
fn let_chains_are_found_wherever_they_stand() {
    for chain in [
        "if let Some(a) = b && c { d }",
        "if a && let Some(b) = c { d }",
        "mod m { fn f() { while let Some(a) = b() && a > 1 {} } }",
        "select! { a => { if b { c } else if d && let Ok(e) = f {} } }",
        "match a { Some(b) if let Ok(c) = b => d, _ => e }",
    ] {
        assert!(has_let_chain(chain.parse().unwrap()), "{chain}");
    }
    for other in [
        "if let Some(a) = b { if c && d {} }",
        "if a && b { let c = d && e; }",
        "if let Some(a) = (b && c) { d }",
        "if let &&a = b { c }",
        "match a { b if c && d => { let e = f; } _ => g }",
        "let Some(a) = b else { return c && d };",
    ] {
        assert!(!has_let_chain(other.parse().unwrap()), "{other}");
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        //! crate::in_a_comment
        use crate::{clock::{self, Clock}, event};
        use super::machine::Machine;
        pin_project! { struct A { #[pin] inner: tokio::time::Sleep } }
        fn f() { std::time::Instant::now(); self::rules::decide::<u8>() }
    "#;
    let mut found = Vec::new();
    collect(text.parse().unwrap(), &[], &mut found);
    let module = ["policy".to_owned(), "breaker".to_owned()];
    let found: BTreeSet<String> =
        found.into_iter().map(|path| resolve(&module, path).join("::")).collect();
    for path in [
        "crate::clock::Clock",
        "crate::event",
        "crate::policy::machine::Machine",
        "tokio::time::Sleep",
        "std::time::Instant::now",
        "crate::policy::breaker::rules::decide",
    ] {
        assert!(found.contains(path), "{path} is not in {found:?}");
    }
    assert!(!found.iter().any(|path| path.contains("in_a_comment")));
}
