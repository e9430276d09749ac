//! Allocations per call, one subject a line: its name, a tab, the count.
//!
//! A program of its own, because the counting allocator adds to the cost of each allocation and
//! would hold that against the breakers that allocate.

use allocation_counter::measure;
use peers::{Batch, Panel, subjects};

fn main() {
    for subject in subjects() {
        // Only this thread's allocations are seen, and a runtime has threads of its own.
        if subject.panel == Panel::Runtime {
            continue;
        }
        let batch = (subject.make)();
        batch(1_000);
        // A batch may allocate before its first call, when it clones a service.
        let (fewer, more) = (count(&batch, 1_000), count(&batch, 3_000));
        println!("{}\t{}", subject.name, more.saturating_sub(fewer) as f64 / 2_000.0);
    }
}

fn count(batch: &Batch, calls: u64) -> u64 {
    measure(|| batch(calls)).count_total
}
