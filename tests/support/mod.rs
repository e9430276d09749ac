//! What tests share: one strict inner service, means to poll by hand, a log of events, and threads that
//! begin together.
#![allow(dead_code, unused_imports, reason = "each test crate uses its own part of this module")]

mod hand;
mod strict;
mod told;

pub(crate) use hand::*;
pub(crate) use strict::*;
pub(crate) use told::*;
