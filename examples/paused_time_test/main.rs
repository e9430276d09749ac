//! How to test a stack of your own: an outage of seconds in a millisecond, and the same every time.
//!
//! `cargo run --example paused_time_test` takes less than a second: it runs each test under a clock that
//! it moves itself, and fails if one does. They are real tests as well, run by `cargo test`, or by
//! `cargo test --example paused_time_test`. Read `tests.rs` first; `shop.rs` is what they test.
#![expect(clippy::disallowed_methods, reason = "only the library reads time in one place alone")]
#![cfg_attr(not(test), expect(clippy::unwrap_used, reason = "a test may panic"))]

mod shop;
mod tests;

#[cfg(not(test))]
mod run;

#[cfg(not(test))]
fn main() -> std::process::ExitCode {
    run::all()
}
