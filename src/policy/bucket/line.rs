//! The calls that wait for their tokens, first come, first served.
//!
//! Whoever joins the line takes its tokens ahead of time, as a reservation does, and so knows when its turn
//! comes; nobody who comes later can be earlier, in line or not, since the bucket owes those tokens. When
//! somebody leaves before its turn, those behind it move up by its tokens, as if it had never come.
//!
//! A reservation made by hand has a place among them, for its wait was told and stays: nobody moves up past
//! it.
//!
//! What a waiting call leaves here to be woken by is a `T`; this file only hands it back.

use std::{collections::VecDeque, time::Duration};

use super::{
    Bucket, Refusal,
    config::RateLimitConfig,
    planned::Reservation,
    rate::{Ask, Rate, told_anew},
    refusal,
};
use crate::error::{ConfigError, Reason};

/// A number that says who came first.
pub(crate) type Ticket = u64;

/// The turn of a call that has no tokens and cannot get any: it is refused when it asks.
const NEVER: u128 = u128::MAX;

#[derive(Debug)]
pub(crate) struct Line<T> {
    places: VecDeque<Place<T>>,
    next: Ticket,
    /// How many reservations were made by hand.
    by_hand: u64,
}

#[derive(Debug)]
struct Place<T> {
    ticket: Ticket,
    /// When its turn comes, in units.
    due: u128,
    tokens: u64,
    /// How many reservations were made by hand before it.
    behind: u64,
    /// Whether its turn was told anew since it came.
    told_anew: bool,
    /// What wakes it, and the time at which it wakes by itself.
    asleep: Option<(T, u128)>,
}

/// What becomes of a call in line.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Its turn has come, and it has left the line.
    Now,
    /// Its turn comes after this time.
    After(Duration),
    /// It has been refused and has left the line.
    Never(Refusal),
}

/// What the shell has to wake and to drop, outside its lock.
#[derive(Debug)]
pub(crate) struct Left<T> {
    /// The first in line, if its turn comes earlier than it knows.
    pub(crate) wake: Option<T>,
    /// What the one that left had left behind.
    pub(crate) gone: Option<T>,
}

impl<T> Default for Left<T> {
    fn default() -> Self {
        Self { wake: None, gone: None }
    }
}

impl<T> Line<T> {
    pub(crate) const fn new() -> Self {
        Self { places: VecDeque::new(), next: 0, by_hand: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Takes tokens and a place, unless the wait would exceed `max_wait`; a wait of zero needs no place.
    pub(crate) fn join(
        &mut self,
        bucket: &Bucket,
        tokens: u64,
        max_wait: Duration,
        nanos: u64,
    ) -> Result<(Ticket, Duration), Refusal> {
        let planned = bucket.reserve_at(tokens, Some(max_wait), nanos)?;
        let ticket = self.next;
        if planned.wait() > Duration::ZERO {
            self.next += 1;
            let (due, behind) = (planned.turn(), self.by_hand);
            let place = Place { ticket, due, tokens, behind, told_anew: false, asleep: None };
            self.places.push_back(place);
        }
        Ok((ticket, planned.wait()))
    }

    /// Whether the turn of `ticket` has come; if not, `asleep` is left to wake it by. `too_late` is given
    /// the wait, and whether a change of the rate is what made it so long, and says if it is not worth it.
    pub(crate) fn ask(
        &mut self,
        bucket: &Bucket,
        ticket: Ticket,
        nanos: u64,
        asleep: T,
        too_late: impl FnOnce(Duration, bool) -> Option<Reason>,
    ) -> (Turn, Left<T>) {
        let Some(at) = self.find(ticket) else {
            return (Turn::Now, Left { wake: None, gone: Some(asleep) });
        };
        let (rate, now) = bucket.rate_at(nanos);
        if self.places[at].due <= now {
            self.come_late(bucket, at, rate, now);
        }
        let place = &mut self.places[at];
        let wait = place.due.saturating_sub(now);
        if wait == 0 {
            return (Turn::Now, self.remove(at));
        }
        let after = u64::try_from(wait).ok().and_then(|wait| rate.duration(wait));
        let refused = match after {
            _ if place.tokens > rate.burst => refusal(rate, Ask::Never),
            None => Refusal { reason: Reason::RateLimited, retry_after: None },
            Some(after) => match too_late(after, place.told_anew) {
                Some(reason) => Refusal { reason, retry_after: Some(after) },
                None => {
                    let gone = place.asleep.replace((asleep, place.due)).map(|(asleep, _)| asleep);
                    return (Turn::After(after), Left { wake: None, gone });
                }
            },
        };
        (Turn::Never(refused), self.leave(bucket, ticket, nanos))
    }

    /// Whether one whose turn has come may still go on the tokens of that time. If it asks so late that the
    /// bucket would have been full without it meanwhile, what came to a full bucket is lost, and others may
    /// have gone on the rest: so much of its tokens it takes anew, and its turn may come later for it. So in
    /// no interval there go more than may, however late those ask whose turn has come.
    fn come_late(&mut self, bucket: &Bucket, at: usize, rate: Rate, now: u128) {
        let Place { due, tokens, .. } = self.places[at];
        let interval = u128::from(rate.interval);
        let taken = u128::from(tokens) * interval;
        let in_time = u128::from(rate.whole()).saturating_sub(taken);
        let lost = now.saturating_sub(due).saturating_sub(in_time);
        if lost == 0 {
            return;
        }
        // Nobody moves into a reservation made by hand, whose time stays.
        let by_hand = self.by_hand;
        let moves = |place: &Place<T>| place.is_to_come(now) && place.behind == by_hand;
        let behind = self.places.range(at + 1..).filter(|place| moves(place));
        let behind = behind.map(|place| u128::from(place.tokens) * interval).sum();
        let (moved, turn) = bucket.take_anew(lost, taken, behind, now);
        let late = &mut self.places[at];
        // It stands behind all whose tokens are taken by now.
        (late.due, late.behind) = (turn, by_hand);
        for place in self.places.range_mut(at + 1..).filter(|place| moves(place)) {
            place.due += moved;
        }
    }

    /// Lets a call go before its turn, on the tokens that it has taken.
    pub(crate) fn go(&mut self, ticket: Ticket) -> Left<T> {
        self.find(ticket).map_or_else(Left::default, |at| self.remove(at))
    }

    /// Gives a place up, and its tokens to those behind it and to the bucket.
    pub(crate) fn leave(&mut self, bucket: &Bucket, ticket: Ticket, nanos: u64) -> Left<T> {
        let Some(at) = self.find(ticket) else { return Left::default() };
        let (rate, now) = bucket.rate_at(nanos);
        let Place { due, tokens, behind, .. } = self.places[at];
        let taken = u128::from(tokens) * u128::from(rate.interval);
        let back = match due {
            NEVER => 0,
            due if due > now => taken,
            // Past its turn, a bucket without it might have been full meanwhile, and what comes to a full
            // bucket is lost. It was not for a whole burst's time, less its own tokens.
            due => taken.min(u128::from(rate.whole()).saturating_sub(now - due)),
        };
        let left = self.remove(at);
        self.move_up(bucket, due.saturating_add(1), behind, back);
        self.wake_first(left)
    }

    /// Those whose turn comes at `from` or later and that stand between the same reservations made by hand
    /// move up; the tokens are the bucket's only if none stands behind them.
    fn move_up(&mut self, bucket: &Bucket, from: u128, behind: u64, units: u128) {
        let moving = self.places.iter_mut().filter(|place| place.behind == behind);
        // Those whose turn has come as well: they are so much later.
        for place in moving.filter(|place| place.due >= from && place.due < NEVER) {
            place.due = place.due.saturating_sub(units);
        }
        if self.by_hand == behind {
            bucket.move_up(u64::try_from(units).unwrap_or(u64::MAX));
        }
    }

    /// A reservation made by hand, and its number.
    pub(crate) fn reserve(
        &mut self,
        bucket: &Bucket,
        tokens: u64,
        max_wait: Option<Duration>,
        nanos: u64,
    ) -> Result<(Reservation, u64), Refusal> {
        let reservation = bucket.reserve_at(tokens, max_wait, nanos)?;
        self.by_hand += 1;
        Ok((reservation, self.by_hand))
    }

    /// Gives a reservation's tokens back: to those that wait behind it, or else by
    /// [`Bucket::cancel`]'s rule.
    pub(crate) fn cancel(
        &mut self,
        bucket: &Bucket,
        reservation: Reservation,
        number: u64,
        nanos: u64,
    ) -> Left<T> {
        if self.places.iter().all(|place| place.behind < number) {
            bucket.cancel_at(reservation, nanos);
            return Left::default();
        }
        if let Some(units) = bucket.still_planned(&reservation, nanos) {
            self.move_up(bucket, 0, number, units.into());
        }
        self.wake_first(Left::default())
    }

    /// Changes the rate. Everybody in line owes as many tokens as before, and what is left of the wait is
    /// told anew; those whose turn has come are as late as before, in tokens. Gives everybody to be woken.
    pub(crate) fn reconfigure(
        &mut self,
        bucket: &Bucket,
        config: RateLimitConfig,
        nanos: u64,
    ) -> Result<Vec<T>, ConfigError> {
        let (_, now) = bucket.rate_at(nanos);
        let (from, to) = bucket.convert(config, nanos)?;
        let (_, then) = bucket.rate_at(nanos);
        // What was lost to a smaller bucket is lost to a larger one.
        let larger = u128::from(to.burst.saturating_sub(from.burst)) * u128::from(to.interval);
        for place in self.places.iter_mut().filter(|place| place.due < NEVER) {
            place.due = match place.due.checked_sub(now) {
                Some(wait) => then + told_anew(wait, from, to),
                None => then.saturating_sub(told_anew(now - place.due, from, to) + larger),
            };
            place.told_anew = true;
        }
        Ok(self.everybody())
    }

    /// A full bucket, and everybody in line served from it anew, in order. Gives everybody to be woken.
    pub(crate) fn reset(&mut self, bucket: &Bucket, nanos: u64) -> Vec<T> {
        bucket.reset_at(nanos);
        for place in &mut self.places {
            place.behind = self.by_hand;
            place.told_anew = true;
            let planned = bucket.reserve_at(place.tokens, None, nanos);
            place.due = planned.map_or(NEVER, |planned| planned.turn());
        }
        self.everybody()
    }

    /// What wakes everybody.
    pub(crate) fn everybody(&mut self) -> Vec<T> {
        let asleep = self.places.iter_mut().filter_map(|place| place.asleep.take());
        asleep.map(|(asleep, _)| asleep).collect()
    }

    fn find(&self, ticket: Ticket) -> Option<usize> {
        self.places.binary_search_by_key(&ticket, |place| place.ticket).ok()
    }

    fn remove(&mut self, at: usize) -> Left<T> {
        let gone = self.places.remove(at).and_then(|place| place.asleep).map(|(asleep, _)| asleep);
        self.wake_first(Left { wake: None, gone })
    }

    /// The first in line is woken if its turn comes before it wakes by itself. It hands on when it leaves:
    /// so one that leaves wakes one at the most.
    fn wake_first(&mut self, mut left: Left<T>) -> Left<T> {
        if let Some(first) = self.places.front_mut() {
            if first.asleep.as_ref().is_some_and(|(_, wakes)| *wakes > first.due) {
                left.wake = first.asleep.take().map(|(asleep, _)| asleep);
            }
        }
        left
    }
}

impl<T> Place<T> {
    /// Whether it has tokens, for a later time.
    fn is_to_come(&self, now: u128) -> bool {
        self.due > now && self.due < NEVER
    }
}
