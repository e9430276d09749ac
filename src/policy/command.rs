//! What operators tell policies, and what a policy without states makes of it.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    error::{ConfigError, PolicyKind},
    sync::{AtomicU64, Ordering},
};

/// What an operator can tell a policy.
///
/// A circuit knows every command: each is legal in every state and starts a new period with an empty
/// window; results of calls from before it change nothing. Every other policy knows `Shadow`, `Enable`,
/// `Disable` and `Reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Open as if a rule had tripped: for the sleep window, then half-open. Said again, the wait
    /// begins anew.
    Open,
    /// Open for exactly this long, then half-open.
    OpenFor(Duration),
    /// Send probes now.
    HalfOpen,
    /// Close. Consecutive openings are forgotten.
    Close,
    /// Refuse everything until another command.
    ForceOpen,
    /// Admit everything and record nothing until another command.
    Disable,
    /// Decide and report, but never refuse, until [`Enable`](Self::Enable),
    /// [`ForceOpen`](Self::ForceOpen) or [`Disable`](Self::Disable). Starts closed.
    Shadow,
    /// Back to work from any state, closed.
    Enable,
    /// Close and forget everything, a running recovery ramp included. A circuit in shadow stays so.
    Reset,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::OpenFor(wait) => write!(f, "open_for {wait:?}"),
            Self::HalfOpen => f.write_str("half_open"),
            Self::Close => f.write_str("close"),
            Self::ForceOpen => f.write_str("force_open"),
            Self::Disable => f.write_str("disable"),
            Self::Shadow => f.write_str("shadow"),
            Self::Enable => f.write_str("enable"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

impl FromStr for Command {
    type Err = ConfigError;

    /// Reads a command by its name, as an operator's endpoint gets it. `open_for` needs a duration and
    /// has no text of its own.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        Ok(match name {
            "open" => Self::Open,
            "half_open" => Self::HalfOpen,
            "close" => Self::Close,
            "force_open" => Self::ForceOpen,
            "disable" => Self::Disable,
            "shadow" => Self::Shadow,
            "enable" => Self::Enable,
            "reset" => Self::Reset,
            _ => {
                let known =
                    "is none of open, half_open, close, force_open, disable, shadow, enable, reset";
                return Err(ConfigError::new("command", name, known));
            }
        })
    }
}

/// What a policy without states does with its verdicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Acts on them. The default.
    #[default]
    Enforce,
    /// Reaches and reports them, and lets every call through as if there were no policy.
    Shadow,
    /// Reaches none: calls pass, and nothing is counted.
    Disabled,
}

impl Mode {
    /// A stable lower-case word for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforcing",
            Self::Shadow => "shadow",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A mode that an operator changes while calls are made: one relaxed load to read.
#[derive(Debug)]
pub(crate) struct ModeSwitch(AtomicU64);

impl ModeSwitch {
    pub(crate) fn new(mode: Mode) -> Self {
        Self(AtomicU64::new(Self::word(mode)))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Mode {
        match self.0.load(Ordering::Relaxed) {
            0 => Mode::Enforce,
            1 => Mode::Shadow,
            _ => Mode::Disabled,
        }
    }

    fn word(mode: Mode) -> u64 {
        match mode {
            Mode::Enforce => 0,
            Mode::Shadow => 1,
            Mode::Disabled => 2,
        }
    }

    /// Does what a policy of that kind can do by a command; `Reset` is left to the policy, which knows
    /// what there is to forget.
    pub(crate) fn command(&self, kind: PolicyKind, command: Command) -> Result<(), ConfigError> {
        let mode = match command {
            Command::Shadow => Mode::Shadow,
            Command::Enable => Mode::Enforce,
            Command::Disable => Mode::Disabled,
            Command::Reset => return Ok(()),
            other => {
                let why =
                    format!("is for circuits; a {kind} knows shadow, enable, disable and reset");
                return Err(ConfigError::new("command", other, why));
            }
        };
        self.0.store(Self::word(mode), Ordering::Relaxed);
        Ok(())
    }
}
