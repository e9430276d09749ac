//! What the contract tests share: one strict inner service, and means to poll by hand.
#![allow(dead_code, unused_imports, reason = "each test crate uses its own part of this module")]

mod hand;
mod strict;

pub(crate) use hand::*;
pub(crate) use strict::*;
