//! What an example was to show, and whether it did.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use crate::{Ink, Paint};

/// What an example was to show, and whether it did.
#[derive(Clone, Debug, Default)]
pub struct Claims(Vec<(String, bool)>);

impl Claims {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something that was to be shown, and whether it was.
    pub fn add(&mut self, says: impl Into<String>, holds: bool) {
        self.0.push((says.into(), holds));
    }

    /// All of it, below an empty line.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn print(&self, paint: Paint) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out)?;
        for (says, holds) in &self.0 {
            let (ink, word) = if *holds { (Ink::Green, "ok") } else { (Ink::Red, "NOT SO") };
            writeln!(out, "  {}  {says}", paint.ink(ink, format!("{word:>6}")))?;
        }
        Ok(())
    }
}

/// Runs an example to its end. It fails if a claim is wrong, if the story does, or if that is not over within
/// this time; standard error says which.
#[expect(clippy::disallowed_methods, reason = "an example must end, in real time")]
pub async fn run<E: Display>(
    name: &str,
    within: Duration,
    story: impl Future<Output = Result<Claims, E>>,
) -> ExitCode {
    let complaint: String = match tokio::time::timeout(within, story).await {
        Ok(Ok(Claims(claims))) => {
            let broken = claims.into_iter().filter(|(_, holds)| !holds);
            broken.map(|(says, _)| format!("{name}: this did not hold: {says}\n")).collect()
        }
        Ok(Err(error)) => format!("{name}: {error}\n"),
        Err(_) => format!("{name}: it is not over after {within:?}\n"),
    };
    if complaint.is_empty() {
        return ExitCode::SUCCESS;
    }
    // If even this cannot be written, the exit code still says it.
    let _ = io::stderr().write_all(complaint.as_bytes());
    ExitCode::FAILURE
}
