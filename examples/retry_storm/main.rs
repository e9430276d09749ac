//! A retry storm, and what keeps it from happening.
//!
//! Ten processes call one service 700 times a second in all. For fifteen seconds it can do only half of
//! that, and then it is well again. The same story is played six times in virtual time, with six ways of
//! calling: without retries, with naive ones, with back-off, with jitter, with a budget, and with a
//! circuit breaker as well. Prints what each makes of one call, draws it, and checks its own claims.
//!
//! ```sh
//! cargo run --release --example retry_storm            # the picture goes to target/retry_storm.svg
//! cargo run --release --example retry_storm -- my.svg
//! ```

mod fleet;
mod plot;
mod service;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use fleet::{Client, Story, Strategy, play};
use portcullis::{
    BoxError, CircuitBreakerConfig, CircuitBreakerLayer, RetryBudget, RetryConfig, RetryLayer,
    TimeoutConfig, TimeoutLayer,
    policy::backoff::{Backoff, Jitter},
};
use service::{Backend, TROUBLE};
use tower::{ServiceBuilder, ServiceExt, util::BoxCloneService};

/// How long a caller waits for one attempt.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nretry_storm: {error}");
            ExitCode::FAILURE
        }
    }
}
