//! What the fuzz targets do with their bytes, without a fuzzer: over the seeds in `fuzz/seeds/`, what was
//! found once (`found-…` among them), changes of both, and chance. `FUZZED_CASES` sets how many of the
//! last two each target gets; 2 000 by default, the same ones each time.
#![cfg(all(feature = "http", feature = "serde"))]
#![allow(missing_docs, unreachable_pub, reason = "the module is a library elsewhere")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, panic, path::Path};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        (name.unwrap_or_default(), fs::read(&path).expect("a file"))
    };
    files.map(file).collect()
}

/// Some bytes of it are others, gone, or twice there.
fn changed(mut data: Vec<u8>, chance: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..chance.usize(1..6) {
        let at = chance.usize(0..=data.len());
        match chance.u8(0..4) {
            0 if at < data.len() => data[at] = chance.u8(..),
            1 if at < data.len() => drop(data.remove(at)),
            2 => data.insert(at, chance.u8(..)),
            _ => {
                let end = (at + chance.usize(0..16)).min(data.len());
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece);
            }
        }
    }
    data
}

fn replay(target: &str, run: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has seeds");
    let try_with = |what: &str, data: &[u8]| {
        if let Err(cause) = panic::catch_unwind(|| run(data)) {
            eprintln!("{target} with {what}: {data:?}\n{}", String::from_utf8_lossy(data));
            panic::resume_unwind(cause);
        }
    };
    for (name, data) in &seeds {
        try_with(name, data);
    }
    let cases = std::env::var("FUZZED_CASES").ok().and_then(|cases| cases.parse().ok());
    let mut chance = fastrand::Rng::with_seed(7);
    for _ in 0..cases.unwrap_or(2_000_u32) {
        let (_, seed) = &seeds[chance.usize(0..seeds.len())];
        try_with("a changed seed", &changed(seed.clone(), &mut chance));
        let random: Vec<u8> = (0..chance.usize(0..200)).map(|_| chance.u8(..)).collect();
        try_with("chance", &random);
    }
}

macro_rules! targets {
    ($($target:ident)+) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target), fuzz::$target::run);
        })+

        /// Each has its place everywhere, or nobody would run it.
        #[test]
        fn every_target_is_here() {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
            let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("its manifest");
            let mut files: Vec<String> = fs::read_dir(root.join("fuzz_targets"))
                .expect("its targets")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(concat!(stringify!($target), ".rs")),+]);
            for name in [$(stringify!($target)),+] {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

targets! {
    breaker_ops configs forwarded grpc_pushback grpc_timeout http_status limiter_ops retry_after
}
