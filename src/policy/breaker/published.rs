//! What the lock-free side is told of the machine: see [`fast`](super::fast).

use super::{
    fast::{Grant, Word},
    machine::{Machine, Mode, Phase},
    rules::{self, Verdict},
    state::State,
};
use crate::policy::window::Room;

impl Machine {
    pub(super) fn word(&self) -> Word {
        let config = &self.config;
        let state = self.state();
        let mut flags = 0;
        let mut set = |on: bool, flag| flags |= if on { flag } else { 0 };
        set(config.slow_call_after.is_some(), Word::TIMED);
        set(config.drops_are_failures, Word::DROPS);
        set(self.mode == Mode::Shadow, Word::SHADOW);
        set(!self.news.is_empty(), Word::NEWS);
        match state {
            State::Closed => {
                let ramps = self.phase != Phase::Closed { ramp_from: None };
                set(ramps || config.hung.is_some(), Word::ASK);
            }
            State::Open | State::ForcedOpen => set(true, Word::REFUSE),
            State::HalfOpen => {
                // With nothing in flight there is no lease to wait for, and after a change of the rules
                // there may be something to decide: the machine must look.
                let undecided = rules::decide(config, self.probed) == Verdict::Undecided;
                let full = self.free_probes() == 0 && self.in_flight.len() > 0;
                set(true, if full && undecided { Word::REFUSE } else { Word::ASK });
            }
            State::Disabled => set(true, Word::ASK),
        }
        Word::new(self.generation, state, flags)
    }

    /// Until when [`Word::REFUSE`] holds.
    pub(super) fn until(&self) -> u64 {
        match (self.state(), self.phase) {
            // Never asked for: such a refusal knows no time.
            (State::ForcedOpen | State::Disabled, _) => 0,
            (_, Phase::Open { until }) => until,
            (_, Phase::HalfOpen) => self.lease_end().unwrap_or(0),
            (_, Phase::Closed { .. }) => 0,
        }
    }

    /// The successes that would change no decision, as things stand.
    pub(super) fn grantable(&self) -> Grant {
        if self.state() != State::Closed || self.config.hung.is_some() {
            return Grant::Nothing;
        }
        let counts = self.window.latest();
        // With rules that changed, the next result may trip, whatever it is.
        if rules::trips(&self.config, counts, self.row).is_some() {
            return Grant::Nothing;
        }
        match self.window.room() {
            Room::Unchanging if self.row == 0 => Grant::Unchanging,
            Room::Unchanging => Grant::Nothing,
            Room::Until { successes, end } => {
                let before = rules::successes_before_volume(&self.config, counts);
                match successes.min(before).min(u64::from(u32::MAX - 1)) {
                    0 => Grant::Nothing,
                    n => Grant::Successes { n: n as u32, end },
                }
            }
        }
    }

    /// Adds the successes that the lock-free side has recorded.
    pub(super) fn absorb(&mut self, successes: u64) {
        if successes > 0 {
            self.window.absorb(successes);
            self.row = 0;
        }
    }
}
