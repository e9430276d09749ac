//! Colours, where somebody sees them.

use std::io::{self, IsTerminal};

/// A colour of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ink {
    /// What matters less.
    Dim,
    /// What is well.
    Green,
    /// What happens.
    Yellow,
    /// What is not well.
    Red,
}

/// Colours text if standard output is a terminal and nobody asked for none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    colour: bool,
}

impl Paint {
    /// Looks whether anybody sees colours.
    pub fn new() -> Self {
        // By convention the variable counts only if it is not empty.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: io::stdout().is_terminal() && !plain }
    }

    /// Paints a text that is padded already, since a terminal gives colours no width.
    pub fn ink(self, ink: Ink, padded: String) -> String {
        let code = match ink {
            _ if !self.colour => return padded,
            Ink::Dim => 2,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Red => 31,
        };
        format!("\x1b[{code}m{padded}\x1b[0m")
    }
}

impl Default for Paint {
    fn default() -> Self {
        Self::new()
    }
}
