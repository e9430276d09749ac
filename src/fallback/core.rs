//! What every handle, layer and service of one fallback shares.

use crate::{
    clock::Clock,
    error::{ConfigError, PolicyKind},
    event::{AnswerSource, Event, Observers},
    options::Options,
    outcome::Outcome,
    policy::{
        Cause, Command, Explanation, Mode,
        command::ModeSwitch,
        fallback::{Snapshot, Verdict, verdict},
        tally::Tally,
    },
};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) name: &'static str,
    pub(super) clock: Clock,
    mode: ModeSwitch,
    observers: Observers,
    by_value: Tally,
    by_function: Tally,
    by_service: Tally,
    by_last_good: Tally,
    unanswered: Tally,
    in_shadow: Tally,
}

impl Core {
    pub(super) fn new(name: &'static str, Options { clock, observers }: Options) -> Self {
        Self {
            name,
            clock,
            mode: ModeSwitch::new(Mode::Enforce),
            observers,
            by_value: Tally::new(),
            by_function: Tally::new(),
            by_service: Tally::new(),
            by_last_good: Tally::new(),
            unanswered: Tally::new(),
            in_shadow: Tally::new(),
        }
    }

    #[inline(always)]
    pub(super) fn mode(&self) -> Mode {
        self.mode.get()
    }

    #[inline]
    pub(super) fn verdict(&self, outcome: Outcome) -> Verdict {
        verdict(self.mode(), outcome)
    }

    /// Counts and tells what became of a failure that qualified.
    #[cold]
    pub(super) fn answered(&self, source: AnswerSource, well: bool) {
        if !well {
            return self.unanswered();
        }
        match source {
            AnswerSource::Value => self.by_value.add_one(),
            AnswerSource::Function => self.by_function.add_one(),
            AnswerSource::Service => self.by_service.add_one(),
            AnswerSource::LastGood { .. } => self.by_last_good.add_one(),
        }
        self.observers.tell(|| Event::FellBack { policy: self.name, source });
    }

    /// There was nothing to answer with.
    #[cold]
    pub(super) fn unanswered(&self) {
        self.unanswered.add_one();
        self.observers.tell(|| Event::Unanswered { policy: self.name });
    }

    /// In shadow, a failure passes that would have been answered from there.
    #[cold]
    pub(super) fn would_answer(&self, source: AnswerSource) {
        self.in_shadow.add_one();
        self.observers.tell(|| Event::WouldFallBack { policy: self.name, source });
    }

    /// A key's answer had to go for another key's.
    pub(super) fn forgot(&self) {
        self.observers.tell(|| Event::Evicted { policy: self.name, kind: PolicyKind::Fallback });
    }

    pub(super) fn command(&self, command: Command) -> Result<(), ConfigError> {
        self.mode.command(PolicyKind::Fallback, command)
    }

    /// What is counted; nothing of what is kept.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            mode: self.mode(),
            by_value: self.by_value.sum(),
            by_function: self.by_function.sum(),
            by_service: self.by_service.sum(),
            by_last_good: self.by_last_good.sum(),
            unanswered: self.unanswered.sum(),
            in_shadow: self.in_shadow.sum(),
            ..Snapshot::default()
        }
    }

    /// It refuses nothing; `cause` says what it has to answer with.
    pub(super) fn explain(&self, cause: Cause) -> Explanation {
        let mode = self.mode();
        let cause = match mode {
            Mode::Disabled => Cause::Command(Command::Disable),
            _ => cause,
        };
        Explanation {
            policy: self.name,
            state: mode.as_str(),
            shadow: mode == Mode::Shadow,
            admits: true,
            would_admit: true,
            cause,
            until: None,
            opened_by: None,
        }
    }
}
