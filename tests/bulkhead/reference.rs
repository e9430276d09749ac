//! The obvious bulkhead: a plain list of those who wait.

use std::{collections::VecDeque, time::Duration};

use portcullis::{BulkheadConfig, Command, Mode, QueueOrder, Reason, policy::bulkhead::Admission};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) limit: usize,
    pub(crate) queue: usize,
    pub(crate) max_wait: Option<u8>,
    pub(crate) order: QueueOrder,
}

impl Setting {
    pub(crate) fn config(self) -> BulkheadConfig {
        let max_wait = self.max_wait.map_or(Duration::MAX, ms);
        BulkheadConfig::new("model", self.limit)
            .queue(self.queue)
            .max_wait(max_wait)
            .order(self.order)
    }
}

pub(crate) fn ms(ms: u8) -> Duration {
    Duration::from_millis(ms.into())
}

/// Milliseconds since the start.
pub(crate) type Time = i64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stand {
    Waiting,
    In,
    Passed,
    Out(Reason),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiter {
    pub(crate) id: u32,
    pub(crate) stand: Stand,
    pub(crate) since: Time,
    pub(crate) wait_ends: Option<Time>,
    pub(crate) deadline: Option<Time>,
}

impl Waiter {
    /// Whether its time is over, and why.
    pub(crate) fn over(&self, now: Time) -> Option<Reason> {
        let over = |time: Option<Time>| time.filter(|time| *time <= now);
        match (over(self.wait_ends), over(self.deadline)) {
            (None, None) => None,
            (Some(_), None) => Some(Reason::QueueTimeout),
            (None, Some(_)) => Some(Reason::DeadlineTooShort),
            (Some(wait), Some(deadline)) if deadline <= wait => Some(Reason::DeadlineTooShort),
            _ => Some(Reason::QueueTimeout),
        }
    }
}

/// What a step changed, in both: freed, who was let in after how long and with a slot, how many left.
pub(crate) type Seen = (bool, Vec<(u32, Time, bool)>, usize);

/// The obvious bulkhead.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) setting: Setting,
    pub(crate) mode: Mode,
    pub(crate) in_flight: usize,
    /// Everybody with a ticket, in the order of coming.
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) rejected: u64,
}

impl Reference {
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.iter().filter(|waiter| waiter.stand == Stand::Waiting).count()
    }

    pub(crate) fn in_time(&self, now: Time) -> usize {
        let waiting = self.waiters.iter().filter(|waiter| waiter.stand == Stand::Waiting);
        waiting.filter(|waiter| waiter.over(now).is_none()).count()
    }

    pub(crate) fn expire(&mut self, now: Time) -> usize {
        let mut left = 0;
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.stand == Stand::Waiting) {
            if let Some(reason) = waiter.over(now) {
                waiter.stand = Stand::Out(reason);
                left += 1;
            }
        }
        left
    }

    pub(crate) fn let_in(&mut self, now: Time) -> Option<(u32, Time, bool)> {
        if self.in_flight >= self.setting.limit {
            return None;
        }
        let mut waiting = self.waiters.iter_mut().filter(|waiter| waiter.stand == Stand::Waiting);
        let next = match self.setting.order {
            QueueOrder::Lifo => waiting.next_back(),
            _ => waiting.next(),
        }?;
        next.stand = Stand::In;
        self.in_flight += 1;
        Some((next.id, now - next.since, true))
    }

    pub(crate) fn freed(&mut self, now: Time) -> Seen {
        self.in_flight -= 1;
        let left = self.expire(now);
        (true, self.let_in(now).into_iter().collect(), left)
    }

    pub(crate) fn try_enter(&mut self) -> Result<Admission, Reason> {
        if self.mode == Mode::Disabled {
            return Ok(Admission::Pass { would_reject: None });
        }
        if self.waiting() == 0 && self.in_flight < self.setting.limit {
            self.in_flight += 1;
            return Ok(Admission::Slot);
        }
        self.rejected += 1;
        match self.mode {
            Mode::Shadow => Ok(Admission::Pass { would_reject: Some(Reason::BulkheadFull) }),
            _ => Err(Reason::BulkheadFull),
        }
    }

    /// `Ok(None)` is queued.
    pub(crate) fn enter(
        &mut self,
        id: u32,
        now: Time,
        deadline: Option<Time>,
    ) -> (Result<Option<Admission>, Reason>, Seen) {
        if self.mode != Mode::Enforce {
            return (self.try_enter().map(Some), NOTHING);
        }
        let left = self.expire(now);
        let seen = (false, Vec::new(), left);
        if self.waiting() == 0 && self.in_flight < self.setting.limit {
            self.in_flight += 1;
            return (Ok(Some(Admission::Slot)), seen);
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.rejected += 1;
            return (Err(Reason::DeadlineTooShort), seen);
        }
        if self.waiting() >= self.setting.queue {
            self.rejected += 1;
            return (Err(Reason::BulkheadFull), seen);
        }
        let wait_ends = self.setting.max_wait.map(|wait| now + Time::from(wait));
        let waiter = Waiter { id, stand: Stand::Waiting, since: now, wait_ends, deadline };
        self.waiters.push_back(waiter);
        (Ok(None), seen)
    }

    pub(crate) fn ask(&mut self, id: u32, now: Time) -> (Result<Option<Admission>, Reason>, Seen) {
        let left = self.expire(now);
        let at = self.waiters.iter().position(|waiter| waiter.id == id).unwrap();
        let waiter = self.waiters[at];
        if waiter.stand == Stand::Waiting {
            return (Ok(None), (false, Vec::new(), left));
        }
        self.waiters.remove(at);
        let mut seen = (false, Vec::new(), left);
        let verdict = match waiter.stand {
            Stand::In => {
                let late = waiter.deadline.is_some_and(|deadline| deadline <= now);
                if late && self.mode == Mode::Enforce {
                    self.rejected += 1;
                    let freed = self.freed(now);
                    seen = (true, freed.1, left + freed.2);
                    Err(Reason::DeadlineTooShort)
                } else {
                    Ok(Some(Admission::Slot))
                }
            }
            Stand::Passed => Ok(Some(Admission::Pass { would_reject: None })),
            Stand::Out(reason) => {
                self.rejected += 1;
                Err(reason)
            }
            Stand::Waiting => unreachable!("taken out above"),
        };
        (verdict, seen)
    }

    pub(crate) fn cancel(&mut self, id: u32, now: Time) -> Seen {
        let at = self.waiters.iter().position(|waiter| waiter.id == id).unwrap();
        match self.waiters.remove(at).unwrap().stand {
            Stand::Waiting => (false, Vec::new(), 1),
            Stand::In => self.freed(now),
            Stand::Passed | Stand::Out(_) => NOTHING,
        }
    }

    pub(crate) fn reconfigure(&mut self, setting: Setting, now: Time) -> Seen {
        self.setting = setting;
        let left = self.expire(now);
        (false, std::iter::from_fn(|| self.let_in(now)).collect(), left)
    }

    pub(crate) fn command(&mut self, command: Command, now: Time) -> Seen {
        match command {
            Command::Shadow => self.mode = Mode::Shadow,
            Command::Disable => self.mode = Mode::Disabled,
            Command::Enable => self.mode = Mode::Enforce,
            _ => self.rejected = 0,
        }
        if self.mode == Mode::Enforce {
            return NOTHING;
        }
        let left = self.expire(now);
        let mut passed = Vec::new();
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.stand == Stand::Waiting) {
            waiter.stand = Stand::Passed;
            passed.push((waiter.id, now - waiter.since, false));
        }
        (false, passed, left)
    }
}

pub(crate) const NOTHING: Seen = (false, Vec::new(), 0);
