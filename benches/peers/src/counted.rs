//! What the program that counts allocations has to say.

use std::{
    collections::HashMap,
    env,
    process::{Command, Stdio},
};

use crate::panel::Group;

/// Allocations and bytes, where they could be counted.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counted {
    /// Allocations per call, by subject.
    pub calls: HashMap<String, f64>,
    /// Bytes held per key, by store and number of keys.
    pub bytes: HashMap<(String, u32), f64>,
}

/// Asks it. Without an answer the report says so by leaving its columns empty.
pub fn ask(only: Option<Group>) -> Counted {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--release", "--package", "peers", "--bin", "allocations", "--"])
        .args(only.map(Group::name))
        .stderr(Stdio::inherit())
        .output();
    let mut counted = Counted::default();
    match output {
        Ok(output) if output.status.success() => {
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                counted.read(line);
            }
        }
        _ => eprintln!("allocations were not counted; --help has the command that does"),
    }
    counted
}

impl Counted {
    fn read(&mut self, line: &str) -> Option<()> {
        let mut words = line.split('\t');
        match words.next()? {
            "calls" => {
                let name = words.next()?.to_owned();
                self.calls.insert(name, words.next()?.parse().ok()?);
            }
            "bytes" => {
                let store = (words.next()?.to_owned(), words.next()?.parse().ok()?);
                self.bytes.insert(store, words.next()?.parse().ok()?);
            }
            _ => return None,
        }
        Some(())
    }
}
