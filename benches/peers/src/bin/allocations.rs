//! Counts what is allocated. One line per subject: `calls`, its name, allocations per call. One line
//! per keyed store and number of keys: `bytes`, its name, that number, bytes held per key. Tabs between.
//!
//! A program of its own, because the counting allocator adds to the cost of each allocation and
//! would hold that against the policies that allocate. Takes the name of a group, or nothing.

use std::env;

use allocation_counter::measure;
use peers::{
    Batch,
    memory::{SIZES, stores},
    panel::Group,
    subjects,
};

fn main() {
    let only = env::args().nth(1).map(|name| Group::named(&name).expect("the name of a group"));
    for subject in subjects(only) {
        // Only this thread's allocations are seen, and a runtime has threads of its own.
        if subject.panel.in_runtime() {
            continue;
        }
        let batch = (subject.make)();
        batch(1_000);
        // A batch may allocate before its first call, when it clones a service.
        let (fewer, more) = (count(&batch, 1_000), count(&batch, 3_000));
        println!("calls\t{}\t{}", subject.name, more.saturating_sub(fewer) as f64 / 2_000.0);
    }
    for store in stores(only) {
        for keys in SIZES {
            let mut held = None;
            let bytes = measure(|| held = Some((store.fill)(keys))).bytes_current;
            println!("bytes\t{}\t{keys}\t{:.1}", store.name, bytes as f64 / f64::from(keys));
        }
    }
}

fn count(batch: &Batch, calls: u64) -> u64 {
    measure(|| batch(calls)).count_total
}
