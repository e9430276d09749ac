//! No configuration is forgotten, and no field of one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use portcullis::{
    http::{
        deadline::{DeadlineConfig, DeadlineHeader, ForwardDeadlineConfig},
        key::{ClientHeader, ClientIp, TrustedHops},
    },
    policy::body_timeout::config::BodyTimeoutConfig,
    retry::BudgetUse,
    stack::{ClientConfig, ServerConfig},
    *,
};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use serde_json::Value;

use crate::{every, shown, valid, written};

/// Pieces that no file holds by themselves, and why.
const NOT_BY_THEMSELVES: [&str; 3] = [
    "Growth",      // Its fields are those of a `Backoff`.
    "Decide",      // Its fields are those of a `HalfOpen`.
    "RetryBudget", // A handle that is made in code.
];

/// The public structs and enums below `src/`, each with the words in its body.
fn definitions(folder: &Path, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            definitions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let tokens: TokenStream =
                fs::read_to_string(&path).expect("a file").parse().expect("tokens");
            let tokens: Vec<TokenTree> = tokens.into_iter().collect();
            for (at, three) in tokens.windows(3).enumerate() {
                let [shown, kind, name] = three else { unreachable!("windows of three") };
                let is_type = matches!(kind.to_string().as_str(), "struct" | "enum");
                if shown.to_string() != "pub" || !is_type {
                    continue;
                }
                let body = tokens[at + 3..].iter().find_map(|token| match token {
                    TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                        Some(words(group.stream(), false))
                    }
                    _ => None,
                });
                found.entry(name.to_string()).or_default().extend(body.unwrap_or_default());
            }
        }
    }
}

/// The words in the types of a body's fields; `here` is whether all of it is types. Neither the names of
/// fields and variants are, nor what is in attributes, where documentation is.
fn words(tokens: TokenStream, here: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut in_type, mut depth) = (here, 0_u32);
    for token in tokens {
        match token {
            TokenTree::Ident(word) if in_type => drop(found.insert(word.to_string())),
            TokenTree::Punct(sign) => match sign.as_char() {
                ':' => in_type = true,
                '<' => depth += 1,
                '>' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => in_type = here,
                _ => {}
            },
            TokenTree::Group(group) if group.delimiter() != Delimiter::Bracket => {
                let all = group.delimiter() == Delimiter::Parenthesis;
                found.extend(words(group.stream(), all));
            }
            _ => {}
        }
    }
    found
}

/// What ends in `Config`, and what is one by another name, with all that they are made of.
fn named_in_the_sources() -> BTreeSet<String> {
    let mut all = BTreeMap::new();
    definitions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let besides = ["Keys", "Waits", "ClientIp"];
    let first = |name: &&String| name.ends_with("Config") || besides.contains(&name.as_str());
    let mut left: Vec<String> = all.keys().filter(first).cloned().collect();
    let mut known = BTreeSet::new();
    while let Some(name) = left.pop() {
        if NOT_BY_THEMSELVES.contains(&name.as_str()) {
            continue;
        }
        let parts = all[&name].iter().filter(|word| all.contains_key(*word));
        left.extend(parts.filter(|part| !known.contains(*part) && **part != name).cloned());
        known.insert(name);
    }
    known
}

macro_rules! names {
    ($($name:ident: $full:expr, $least:expr;)+) => { [$(stringify!($name)),+] };
}

#[test]
fn every_configuration_that_the_sources_name_is_in_these_tests() {
    let tested: BTreeSet<String> = every!(names).map(str::to_owned).into();
    let known = named_in_the_sources();
    assert!(known.contains("CircuitBreakerConfig") && known.contains("HintMode"), "{known:?}");
    assert_eq!(tested, known);
}

macro_rules! all_fields {
    ($($name:ident: $full:expr, $least:expr;)+) => {$(
        let full: Value = valid($full);
        let config = valid::<$name>($full);
        // What has a value that is not the default cannot have been passed over.
        assert_eq!(written(&config), full, stringify!($name));
        assert_eq!(shown(&valid::<$name>(&full.to_string())), shown(&config));
        let least: $name = valid($least);
        assert_ne!(shown(&least), shown(&config), stringify!($name));
        let complete = written(&least);
        assert_eq!(shown(&valid::<$name>(&complete.to_string())), shown(&least));
    )+};
}

#[test]
fn what_a_file_says_of_any_field_is_kept_and_written_again() {
    every!(all_fields);
}

/// Enums, whose variants are not fields.
const CHOICES: [&str; 6] =
    ["Jitter", "HintMode", "BudgetUse", "DeadlineHeader", "TrustedHops", "ClientHeader"];

/// Each field of the struct, by the compiler's own account of it.
#[test]
fn the_fields_of_a_file_are_those_of_the_code() {
    macro_rules! debug_names {
        ($($name:ident: $full:expr, $least:expr;)+) => {$(
            let shown = format!("{:#?}", valid::<$name>($full));
            let top = shown.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
            let in_code: BTreeSet<&str> =
                top.filter_map(|line| line.trim().split_once(": ").map(|(field, _)| field)).collect();
            if let Value::Object(table) = valid::<Value>($full) {
                let in_file: BTreeSet<&str> = table.keys().map(String::as_str).collect();
                // Where the code has an enum, the file says by its fields which one it is.
                let choice = ["decide", "growth"].iter().any(|field| in_code.contains(field))
                    || CHOICES.contains(&stringify!($name));
                // A function is code, and in no file.
                let in_code: BTreeSet<&str> =
                    in_code.into_iter().filter(|field| *field != "peer_from").collect();
                assert!(choice || in_code == in_file, "{in_code:?} and {in_file:?}");
            }
        )+};
    }
    every!(debug_names);
}
