//! What an example was to show, and whether it did.

use std::{
    fmt::{Debug, Display},
    future::Future,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use portcullis::BoxError;
use tokio::time::timeout;

use crate::{Ink, Paint};

/// No step of a story takes longer on any machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What an example was to show, and whether it did.
#[derive(Clone, Debug, Default)]
pub struct Claims(Vec<(String, bool)>);

impl Claims {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether something that was to be shown was, and what it says.
    pub fn claim(&mut self, holds: bool, says: impl Into<String>) {
        self.0.push((says.into(), holds));
    }

    /// Says that two values are the same, and shows both if they are not.
    pub fn same<T: PartialEq + Debug>(&mut self, is: T, should_be: T, says: impl Display) {
        let holds = is == should_be;
        let found = if holds { String::new() } else { format!(" ({is:?}, not {should_be:?})") };
        self.claim(holds, format!("{says}{found}"));
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
    let told = timeout(within, story).await;
    let told = told.map_err(|_| format!("it is not over after {within:?}"));
    let (claims, error) = match told.and_then(|told| told.map_err(|error| error.to_string())) {
        Ok(claims) => (claims, None),
        Err(error) => (Claims::new(), Some(error)),
    };
    end(name, claims, error)
}

/// Runs a story that leaves it to this to print what it claims: also what it had claimed by then, where it does
/// not come to its end.
#[expect(clippy::disallowed_methods, reason = "an example must end, in real time")]
pub async fn tell(
    name: &str,
    story: impl AsyncFnOnce(&mut Claims) -> Result<(), BoxError>,
) -> ExitCode {
    let mut claims = Claims::new();
    let told = timeout(3 * PATIENCE, story(&mut claims)).await;
    let told = told.unwrap_or_else(|_| Err("it hangs".into()));
    let printed = claims.print(Paint::new()).map_err(BoxError::from);
    end(name, claims, told.and(printed).err().map(|error| error.to_string()))
}

/// Says what did not hold, and what went wrong besides.
fn end(name: &str, Claims(claims): Claims, error: Option<String>) -> ExitCode {
    let broken = claims.into_iter().filter(|(_, holds)| !holds);
    let broken = broken.map(|(says, _)| format!("this did not hold: {says}"));
    let complaint: String = broken.chain(error).map(|says| format!("{name}: {says}\n")).collect();
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
#[expect(clippy::disallowed_methods, reason = "an example must end, in real time")]
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Result<T, BoxError> {
    let waited = timeout(PATIENCE, future).await;
    waited.map_err(|_| format!("this does not come: {what}").into())
}
