//! Tokens taken ahead of time.

use std::time::Duration;

use super::{
    Bucket, Refusal,
    config::RateLimitConfig,
    rate::{Ask, Rate, told_anew},
    refusal,
    word::{FURTHEST, Seen},
};
use crate::policy::Now;

/// What the lock guards: whoever holds it may change the rate.
#[derive(Debug)]
pub(super) struct Plans {
    pub(super) config: RateLimitConfig,
    /// How often the rate has changed, or the bucket was reset. A reservation from before is no longer
    /// measured in the same units.
    changes: u64,
    /// When the latest reservation may be used, or what is left of it after later ones were returned.
    latest: u128,
    /// All tokens that were ever reserved, less those that were given back: how many were planned after a
    /// reservation, at whatever rates.
    total: u64,
    /// Reservations up to this total give nothing back at another rate than their own: the bucket was
    /// reset, or owed nothing any more, after they were made.
    settled: u64,
}

impl Plans {
    pub(super) fn new(config: RateLimitConfig) -> Self {
        Self { config, changes: 0, latest: 0, total: 0, settled: 0 }
    }

    /// The bucket is full again, whatever was planned.
    pub(super) fn begin_anew(&mut self) {
        self.changes += 1;
        self.latest = 0;
        self.settled = self.total;
    }

    /// Another rate, from `now` in old units, which is `then` in new ones.
    pub(super) fn change_rate(&mut self, from: Rate, to: Rate, now: u128, then: u128) {
        self.changes += 1;
        let left = self.latest.checked_sub(now);
        self.latest = left.map_or(0, |left| then + told_anew(left, from, to));
    }
}

/// Tokens that are taken already and may be used after a wait. Give them back with
/// [`Bucket::cancel`]; dropping this value keeps them taken.
#[derive(Debug)]
#[must_use = "the tokens are taken; `cancel` gives them back"]
pub struct Reservation {
    wait: Duration,
    tokens: u64,
    /// In units since the bucket was made, which no move of the origin changes.
    due: u128,
    taken: u64,
    changes: u64,
    /// In nanoseconds since the bucket was made, whatever the rate becomes.
    usable: u64,
    /// All tokens that had been reserved with it.
    total: u64,
}

impl Reservation {
    /// When its tokens have come back, in units.
    pub(super) fn turn(&self) -> u128 {
        self.due
    }

    /// How long to wait before using the tokens, from the time at which they were reserved.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// How many tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }
}

impl Bucket {
    /// Takes `n` tokens now, to be used after [`Reservation::wait`], unless that exceeds `max_wait`; `None`
    /// is without a bound. Tokens that are reserved are owed: until they have come back nobody else gets
    /// any.
    ///
    /// # Errors
    /// The [`Refusal`], at once, when the wait would be longer than `max_wait`, or for ever, or further
    /// ahead than can be counted (137 seconds at any rate, and years at round ones). Nothing is taken then.
    /// Its `retry_after` is the time until the tokens are there without any wait.
    pub fn reserve(
        &self,
        n: u64,
        max_wait: Option<Duration>,
        now: impl Now,
    ) -> Result<Reservation, Refusal> {
        self.reserve_at(n, max_wait, self.nanos(now))
    }

    pub(crate) fn reserve_at(
        &self,
        n: u64,
        max_wait: Option<Duration>,
        nanos: u64,
    ) -> Result<Reservation, Refusal> {
        let mut plans = self.plans.lock();
        let mut seen = self.word.see();
        loop {
            let Some(now) = seen.units(nanos) else {
                seen = self.move_origin_under(&plans, nanos);
                continue;
            };
            // Nothing is always there, also while tokens are owed.
            let full_at = if n == 0 { 0 } else { seen.full_at() };
            let ask = seen.rate.ask(full_at, now, n);
            let (full_at, wait) = match ask {
                Ask::Granted { full_at } => (full_at, 0),
                Ask::After { full_at, wait } => (full_at, wait),
                Ask::Never => return Err(refusal(seen.rate, ask)),
            };
            let in_time = match seen.rate.duration(wait) {
                _ if wait == 0 => Some(Duration::ZERO),
                Some(wait) if max_wait.is_none_or(|max| wait <= max) => Some(wait),
                _ => None,
            };
            let (Some(in_time), true) = (in_time, full_at <= FURTHEST / 2) else {
                return Err(refusal(seen.rate, ask));
            };
            if n == 0 || self.word.swap(seen, full_at) {
                let now = absolute(&seen, now);
                let due = now + u128::from(wait);
                if n > 0 {
                    if plans.latest < now {
                        plans.settled = plans.total;
                    }
                    plans.latest = due;
                    plans.total = plans.total.saturating_add(n);
                    if plans.total == u64::MAX {
                        plans.settled = plans.total;
                    }
                }
                return Ok(Reservation {
                    wait: in_time,
                    tokens: n,
                    due,
                    taken: n * seen.rate.interval,
                    changes: plans.changes,
                    usable: nanos.saturating_add(crate::policy::nanos(in_time)),
                    total: plans.total,
                });
            }
            seen = self.word.see();
        }
    }

    /// Gives a reservation's tokens back, less those that later reservations were planned with, since their
    /// waits stay: the rule of golang's `x/time/rate`. After its time this does nothing, for the tokens may
    /// have been used. After a change of the rate, which leaves its wait as it was, they come back as well,
    /// except for what the bucket would have been too full to hold meanwhile.
    pub fn cancel(&self, reservation: Reservation, now: impl Now) {
        self.cancel_at(reservation, self.nanos(now));
    }

    pub(crate) fn cancel_at(&self, reservation: Reservation, nanos: u64) {
        let mut plans = self.plans.lock();
        let Some(Planned { due, taken, now, rate }) =
            self.planned_under(&plans, &reservation, nanos)
        else {
            return;
        };
        let later = plans.latest.saturating_sub(due);
        let back = u64::try_from(u128::from(taken).saturating_sub(later)).unwrap_or(taken);
        if plans.latest == due {
            // What was planned before it is the latest again.
            plans.latest = due.saturating_sub(taken.into()).max(now);
        }
        plans.total = plans.total.saturating_sub(back / rate.interval);
        self.give_back(rate.in_time(back, now.saturating_sub(due)));
    }

    /// The units of a reservation that has not had its time yet.
    pub(super) fn still_planned(&self, reservation: &Reservation, nanos: u64) -> Option<u64> {
        let plans = self.plans.lock();
        let Planned { due, taken, now, rate } = self.planned_under(&plans, reservation, nanos)?;
        Some(rate.in_time(taken, now.saturating_sub(due)))
    }

    /// A reservation that has not had its time yet, in the units of the rate that holds.
    fn planned_under(
        &self,
        plans: &Plans,
        reservation: &Reservation,
        nanos: u64,
    ) -> Option<Planned> {
        let (seen, now) = self.see_under(plans, nanos);
        let (rate, now) = (seen.rate, absolute(&seen, now));
        let Reservation { due, taken, .. } = *reservation;
        if reservation.changes == plans.changes {
            return (now <= due).then_some(Planned { due, taken, now, rate });
        }
        if nanos > reservation.usable || reservation.total <= plans.settled {
            return None;
        }
        // Those that were planned later stand between it and the latest, token by token.
        let units = |tokens: u64| u128::from(tokens) * u128::from(rate.interval);
        let later = units(plans.total.saturating_sub(reservation.total));
        let taken = u64::try_from(units(reservation.tokens)).unwrap_or(u64::MAX);
        Some(Planned { due: plans.latest.saturating_sub(later), taken, now, rate })
    }

    /// The rate, and the time in units.
    pub(super) fn rate_at(&self, nanos: u64) -> (Rate, u128) {
        let (seen, now) = self.see(nanos);
        (seen.rate, absolute(&seen, now))
    }

    /// Gives so many units back whose later reservations were all moved up by as many.
    pub(super) fn move_up(&self, units: u64) {
        let mut plans = self.plans.lock();
        plans.latest = plans.latest.saturating_sub(units.into());
        let tokens = units / self.word.see().rate.interval;
        plans.total = plans.total.saturating_sub(tokens);
        self.give_back(units);
    }

    /// Takes `lost` of the tokens of one that comes late anew, at most as if it took all it has `taken`
    /// now, and moves those `behind` it, whose turn is still to come, back by as much. Gives by how much, and
    /// when its turn is.
    pub(super) fn take_anew(
        &self,
        lost: u128,
        taken: u128,
        behind: u128,
        now: u128,
    ) -> (u128, u128) {
        let mut plans = self.plans.lock();
        loop {
            let seen = self.word.see();
            let origin = absolute(&seen, 0);
            let full_at = origin + u128::from(seen.full_at());
            let before = full_at.saturating_sub(behind);
            let whole = u128::from(seen.rate.whole());
            let mut moved = lost.min((before.max(now) + taken).saturating_sub(before));
            // One that cannot go even so has all of its tokens to come, and none in the past.
            if before + moved > now + whole {
                moved = taken;
            }
            let later = u64::try_from(full_at + moved - origin).unwrap_or(FURTHEST).min(FURTHEST);
            if self.word.swap(seen, later) {
                plans.latest += moved;
                // The latest no longer says when those before it are due.
                plans.settled = plans.total;
                return (moved, (before + moved).saturating_sub(whole));
            }
        }
    }

    /// A bucket that is fuller than full is full: no bound is needed.
    fn give_back(&self, units: u64) {
        loop {
            let seen = self.word.see();
            if self.word.swap(seen, seen.full_at().saturating_sub(units)) {
                return;
            }
        }
    }

    pub(super) fn see_under(&self, plans: &Plans, nanos: u64) -> (Seen, u64) {
        let mut seen = self.word.see();
        loop {
            match seen.units(nanos) {
                Some(now) => return (seen, now),
                None => seen = self.move_origin_under(plans, nanos),
            }
        }
    }
}

/// A reservation at the rate that holds, in its units.
struct Planned {
    /// When its tokens have come back. Earlier than it may be used if the rate was raised since.
    due: u128,
    taken: u64,
    now: u128,
    rate: Rate,
}

/// When the bucket was made, in the units in which plans are told: not zero, since as far as tokens go, what
/// moves up in line or is told at another rate may have been due before.
const MADE: u128 = 1 << 120;

/// A time in the units in which plans are told.
pub(super) fn absolute(seen: &Seen, now: u64) -> u128 {
    MADE + u128::from(seen.origin) * u128::from(seen.rate.scale) + u128::from(now)
}
