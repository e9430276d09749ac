//! Measures portcullis' policies beside those of other crates, all in one run.
//!
//! A subject is one policy, or a stack of them, in one configuration under one kind of load. Every
//! subject answers the same requests through the same service ([`service`]); [`measure`] runs them in
//! turn, round after round, so that whatever disturbs the machine disturbs them alike; [`report`] sets
//! ours beside theirs. Only ratios within one run hold anywhere else.

pub mod by_hand;
pub mod counted;
pub mod floor;
pub mod growth;
pub mod http;
pub mod jumping;
pub mod keys;
pub mod measure;
pub mod memory;
pub mod ours;
mod pair;
pub mod panel;
pub mod progress;
pub mod report;
pub mod rivals;
pub mod service;
pub mod targets;
pub mod waiting;

use panel::{Group, Panel};

/// Sends so many calls through one shared subject; may be called from several threads at once.
pub type Batch = Box<dyn Fn(u64) + Send + Sync>;

/// What stands in place of a crate's name where the work is done without any policy.
pub const NONE: &str = "no policy";

/// What stands in place of a crate's name where only the least is done that a policy's work takes.
pub const HAND: &str = "by hand";

/// One policy, or a stack of them, in one configuration under one kind of load.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Subject {
    /// What `--only` calls it.
    pub name: &'static str,
    /// The crate it comes from.
    pub origin: &'static str,
    /// The load it is put under.
    pub panel: Panel,
    /// Its clock, its window or quota, and how two threads share it.
    pub configuration: &'static str,
    /// Builds it, ready to run. Subjects that are not asked for are never built.
    pub make: fn() -> Batch,
}

impl Subject {
    /// A subject.
    pub const fn new(
        name: &'static str,
        origin: &'static str,
        panel: Panel,
        configuration: &'static str,
        make: fn() -> Batch,
    ) -> Self {
        Self { name, origin, panel, configuration, make }
    }
}

/// Every subject, or every one of a group: ours, theirs, and the same work without a policy.
pub fn subjects(only: Option<Group>) -> Vec<Subject> {
    let mut all = ours::subjects();
    all.extend(rivals::subjects());
    all.extend(by_hand::subjects());
    all.extend(floor::subjects());
    all.retain(|subject| only.is_none_or(|group| group == subject.panel.group()));
    all
}
