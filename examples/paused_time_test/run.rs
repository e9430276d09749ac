//! Runs the tests one after another, as a test harness would, and shows how much time passed.

use std::{
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::runtime;

use crate::tests;

/// A test, its name, and how much virtual time passed in it.
type Test = (&'static str, fn() -> io::Result<Duration>);

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), || in_paused_time(tests::$name()))),*]
    };
}

const TESTS: [Test; 5] = tests![
    an_outage_opens_the_circuit_and_its_end_closes_it,
    a_customer_never_waits_longer_than_their_patience,
    a_full_bulkhead_refuses_without_asking,
    a_page_says_so_when_the_warehouse_is_switched_off,
    an_observer_hears_the_whole_story,
];

pub(crate) fn all() -> ExitCode {
    match try_all() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // If even this cannot be written, the exit code still says it.
            let _ = writeln!(io::stderr(), "paused_time_test: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How many failed.
fn try_all() -> io::Result<usize> {
    let mut out = io::stdout();
    writeln!(out, "        {:52} {:>12} {:>10}", "test", "virtual time", "real time")?;
    let mut failed = 0;
    for (name, test) in TESTS {
        let begun = Instant::now();
        // The panic's message is printed where it happens.
        match catch_unwind(AssertUnwindSafe(test)) {
            Ok(passed) => {
                let (passed, took) = (passed?.as_secs_f64(), begun.elapsed().as_secs_f64());
                writeln!(out, "    ok  {name:52} {passed:>10.3} s {:>7.2} ms", took * 1000.0)?;
            }
            Err(_) => {
                failed += 1;
                writeln!(out, "FAILED  {name}")?;
            }
        }
    }
    writeln!(out, "\n{} of {} passed", TESTS.len() - failed, TESTS.len())?;
    Ok(failed)
}

/// What `#[tokio::test(start_paused = true)]` does.
fn in_paused_time(test: impl Future<Output = ()>) -> io::Result<Duration> {
    let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    Ok(runtime.block_on(async {
        let begun = tokio::time::Instant::now();
        test.await;
        begun.elapsed()
    }))
}
