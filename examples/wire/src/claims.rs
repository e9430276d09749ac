//! What a run was to show: told, checked, and turned into an exit code.
#![expect(
    clippy::disallowed_methods,
    reason = "the library reads time in one place only; these stories happen in real time"
)]

use std::{
    fmt::Display,
    future::Future,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use portcullis::BoxError;
use tokio::time::timeout;

/// No step of a story takes longer on any machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a run was to show, and whether it did.
#[derive(Debug, Default)]
pub struct Claims(Vec<(String, bool)>);

impl Claims {
    /// Says something, and whether it is so.
    pub fn claim(&mut self, holds: bool, says: impl Into<String>) {
        self.0.push((says.into(), holds));
    }

    /// Says that two values are the same, and shows both if they are not.
    pub fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        is: T,
        should_be: T,
        says: impl Display,
    ) {
        let holds = is == should_be;
        let found = if holds { String::new() } else { format!(" ({is:?}, not {should_be:?})") };
        self.claim(holds, format!("{says}{found}"));
    }

    fn print(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out)?;
        for (says, holds) in &self.0 {
            writeln!(out, "  {:>6}  {says}", if *holds { "ok" } else { "NOT SO" })?;
        }
        Ok(())
    }
}

/// Lets a story run, prints what it claims, and fails if a claim is wrong, if it cannot be told to its end, or
/// if it does not come to one.
pub async fn tell(
    name: &str,
    story: impl AsyncFnOnce(&mut Claims) -> Result<(), BoxError>,
) -> ExitCode {
    let mut claims = Claims::default();
    let told = timeout(3 * PATIENCE, story(&mut claims)).await;
    let told = told.unwrap_or_else(|_| Err("it hangs".into()));
    // What held until then, and what did not, is of use in every case.
    let printed = claims.print().map_err(BoxError::from);
    let broken = claims.0.into_iter().filter(|(_, holds)| !holds);
    let mut complaint: String =
        broken.map(|(says, _)| format!("{name}: this did not hold: {says}\n")).collect();
    if let Err(error) = told.and(printed) {
        complaint.push_str(&format!("{name}: {error}\n"));
    }
    if complaint.is_empty() {
        return ExitCode::SUCCESS;
    }
    // If even this cannot be written, the exit code still says it.
    let _ = io::stderr().write_all(complaint.as_bytes());
    ExitCode::FAILURE
}

/// Waits for something that is sure to come, and says what it was if it does not.
///
/// # Errors
/// After [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, BoxError> {
    let waited = timeout(PATIENCE, future).await;
    waited.map_err(|_| format!("this does not come: {what}").into())
}
