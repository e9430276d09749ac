//! The line beside the obvious one: a bucket that fills by the millisecond, and whose first in line goes
//! when it holds enough. Only those are polled that were woken, so that a wake-up lost or late shows.

use std::{collections::VecDeque, pin::Pin, task::Poll, time::Duration};

use portcullis::{
    RateLimitConfig, RateLimiter, Waits,
    rate_limit::{Acquire, Reservation},
};
use proptest::prelude::*;
use tokio::time::advance;

use crate::{MS, support::Caller};

#[derive(Clone, Copy, Debug)]
enum Op {
    Advance(u64),
    Join(u64),
    Drop(usize),
    Try(u64),
    /// Half of the time that a token takes, or twice as long.
    Slower(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1_u64..50).prop_map(Op::Advance),
        8 => (0_u64..6).prop_map(Op::Join),
        3 => (0_usize..12).prop_map(Op::Drop),
        3 => (0_u64..6).prop_map(Op::Try),
        1 => any::<bool>().prop_map(Op::Slower),
    ]
}

/// A token takes `t` milliseconds, and `level` of those have passed since there was none.
struct Reference {
    t: u64,
    burst: u64,
    level: u64,
    line: VecDeque<(usize, u64)>,
    went: Vec<(usize, u64)>,
    now: u64,
}

impl Reference {
    fn wait(&self, n: u64) -> Option<u64> {
        let before: u64 = self.line.iter().map(|(_, n)| n).sum();
        let needed = (before + n) * self.t;
        let at_once = n == 0 || needed <= self.level;
        (n <= self.burst).then(|| if at_once { 0 } else { needed - self.level })
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.level = (self.level + ms).min(self.burst * self.t);
        while let Some((id, n)) =
            self.line.front().copied().filter(|(_, n)| n * self.t <= self.level)
        {
            self.level -= n * self.t;
            self.went.push((id, self.now));
            self.line.pop_front();
        }
    }
}

struct Waiter {
    id: usize,
    caller: Caller,
    polled_at: u32,
    future: Pin<Box<Acquire>>,
}

struct Driver {
    limiter: RateLimiter,
    max_wait: u64,
    reference: Reference,
    waiters: Vec<Waiter>,
    went: Vec<(usize, u64)>,
    ids: usize,
}

pub(crate) fn config(t: u64, burst: u64) -> RateLimitConfig {
    RateLimitConfig::new("line", 1, Duration::from_millis(t)).burst(burst)
}

impl Driver {
    fn new(t: u64, burst: u64, max_wait: u64) -> Self {
        let reference = Reference {
            t,
            burst,
            level: burst * t,
            line: VecDeque::new(),
            went: Vec::new(),
            now: 0,
        };
        let limiter = RateLimiter::new(config(t, burst)).unwrap();
        Self { limiter, max_wait, reference, waiters: Vec::new(), went: Vec::new(), ids: 0 }
    }

    async fn take(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Advance(ms) => {
                for _ in 0..ms {
                    advance(MS).await;
                    self.reference.pass(1);
                    self.poll_woken()?;
                }
            }
            Op::Join(n) => {
                let id = self.ids;
                self.ids += 1;
                let waits = Waits::up_to(Duration::from_millis(self.max_wait));
                let mut future = Box::pin(self.limiter.acquire_within(n, waits));
                let caller = Caller::new();
                let answer = caller.poll(&mut future);
                match self.reference.wait(n) {
                    Some(0) => {
                        prop_assert_eq!(answer, Poll::Ready(Ok(())));
                        self.reference.level -= n * self.reference.t;
                    }
                    Some(wait) if wait <= self.max_wait => {
                        prop_assert_eq!(answer, Poll::Pending);
                        self.reference.line.push_back((id, n));
                        self.waiters.push(Waiter { id, caller, polled_at: 0, future });
                    }
                    wait => {
                        let Poll::Ready(Err(refusal)) = answer else {
                            panic!("{answer:?}, not refused for {wait:?}")
                        };
                        prop_assert_eq!(refusal.retry_after(), wait.map(Duration::from_millis));
                    }
                }
            }
            Op::Drop(at) if at < self.waiters.len() => {
                let gone = self.waiters.remove(at);
                self.reference.line.retain(|(id, _)| *id != gone.id);
                drop(gone);
                self.reference.pass(0);
                self.poll_woken()?;
            }
            Op::Drop(_) => {}
            Op::Try(n) => {
                let wait = self.reference.wait(n);
                let answer = self.limiter.try_acquire_n(n);
                prop_assert_eq!(answer.is_ok(), wait == Some(0));
                if answer.is_ok() {
                    self.reference.level -= n * self.reference.t;
                }
            }
            Op::Slower(slower) => self.change(slower)?,
        }
        prop_assert_eq!(self.limiter.queued(), self.waiters.len());
        prop_assert_eq!(&self.went, &self.reference.went);
        let there = if self.waiters.is_empty() { self.reference.level } else { 0 };
        prop_assert_eq!(self.limiter.remaining(), there / self.reference.t);
        Ok(())
    }

    /// Only by whole factors, so that all times stay whole; who would now wait for too long is refused.
    fn change(&mut self, slower: bool) -> Result<(), TestCaseError> {
        let (t, level) = (self.reference.t, self.reference.level);
        let (t, level) = match slower {
            true if t <= 40 => (t * 2, level * 2),
            false if t % 2 == 0 && level % 2 == 0 => (t / 2, level / 2),
            _ => return Ok(()),
        };
        // Their bound would count from when they came; they are left out of this test.
        if slower && !self.waiters.is_empty() {
            return Ok(());
        }
        (self.reference.t, self.reference.level) = (t, level);
        prop_assert!(self.limiter.reconfigure(config(t, self.reference.burst)).is_ok());
        self.poll_woken()
    }

    /// Polls whoever was woken, until nobody is, in the order in which they came.
    fn poll_woken(&mut self) -> Result<(), TestCaseError> {
        let mut at = 0;
        while at < self.waiters.len() {
            let waiter = &mut self.waiters[at];
            if waiter.caller.wakeups() == waiter.polled_at {
                at += 1;
                continue;
            }
            waiter.polled_at = waiter.caller.wakeups();
            if let Poll::Ready(answer) = waiter.caller.poll(&mut waiter.future) {
                prop_assert!(answer.is_ok(), "{:?}", answer);
                self.went.push((waiter.id, self.reference.now));
                self.waiters.remove(at);
                // It may have handed on to anybody.
                at = 0;
            } else {
                at += 1;
            }
        }
        Ok(())
    }
}

pub(crate) fn cases() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..Default::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig { cases: 256, ..config },
    }
}

pub(crate) fn paused(
    run: impl Future<Output = Result<(), TestCaseError>>,
) -> Result<(), TestCaseError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(run)
}

proptest! {
    #![proptest_config(cases())]

    /// L7: everybody goes at the time and in the order of the obvious line, whoever leaves in between.
    #[test]
    fn the_line_is_first_come_first_served(
        t in 1_u64..12,
        burst in 1_u64..6,
        max_wait in 0_u64..300,
        ops in prop::collection::vec(op(), 0..50),
    ) {
        paused(async {
            let mut driver = Driver::new(t, burst, max_wait);
            for op in ops {
                driver.take(op).await?;
            }
            Ok(())
        })?;
    }

    /// L1: however late those are polled whose turn has come, in whatever order, and whoever is dropped
    /// instead, no interval holds more than burst + rate × its length.
    #[test]
    fn whoever_comes_late_goes_on_no_more_than_was_there(
        t in 1_u64..12,
        burst in 1_u64..6,
        ops in prop::collection::vec((0_u8..5, 0_u64..30), 0..60),
    ) {
        come_late(t, burst, &ops)?;
    }

    /// The same with reservations made by hand among those who wait, used or cancelled, where everybody
    /// goes when its turn comes.
    #[test]
    fn reservations_made_by_hand_keep_their_place_in_line(
        t in 1_u64..12,
        burst in 1_u64..6,
        ops in prop::collection::vec((0_u8..5, 0_u64..30), 0..60),
    ) {
        paused(async {
            let limiter = RateLimiter::new(config(t, burst)).unwrap();
            let waits = Waits::up_to(Duration::from_secs(5));
            let (mut now, mut uses) = (0, Vec::new());
            let mut waiting: Vec<(u64, Pin<Box<Acquire>>)> = Vec::new();
            let mut by_hand: Vec<(u64, u64, Reservation)> = Vec::new();
            let caller = Caller::new();
            for (what, number) in ops {
                let (n, at) = (number % burst + 1, number as usize);
                match what {
                    0 => {
                        for _ in 0..number {
                            now += 1;
                            advance(MS).await;
                            waiting.retain_mut(|(n, future)| {
                                let pending = caller.poll(future).is_pending();
                                uses.extend((!pending).then_some((now, *n)));
                                pending
                            });
                        }
                    }
                    1 => waiting.push((n, Box::pin(limiter.acquire_within(n, waits)))),
                    2 if at < waiting.len() => drop(waiting.remove(at)),
                    3 if number % 3 > 0 => {
                        let planned = limiter.reserve(n, None).unwrap();
                        by_hand.push((now + planned.wait().as_millis() as u64, n, planned));
                    }
                    3 if at / 3 < by_hand.len() => {
                        let (usable, n, planned) = by_hand.remove(at / 3);
                        // Before its time it is given back; later it counts as used.
                        uses.extend((now >= usable).then_some((usable, n)));
                        drop(planned);
                    }
                    4 => uses.extend(limiter.try_acquire_n(n).ok().map(|()| (now, n))),
                    _ => {}
                }
                waiting.retain_mut(|(n, future)| {
                    let pending = caller.poll(future).is_pending();
                    uses.extend((!pending).then_some((now, *n)));
                    pending
                });
            }
            uses.extend(by_hand.iter().map(|(usable, n, _)| (*usable, *n)));
            never_too_much(&uses, t, burst)
        })?;
    }
}

/// In every interval from one use to another.
pub(crate) fn never_too_much(uses: &[(u64, u64)], t: u64, burst: u64) -> Result<(), TestCaseError> {
    let mut uses = uses.to_vec();
    uses.sort_unstable();
    for from in 0..uses.len() {
        let mut sum = 0;
        for (at, n) in &uses[from..] {
            sum += n;
            prop_assert!(sum * t <= burst * t + (at - uses[from].0), "{:?}", uses);
        }
    }
    Ok(())
}

/// Waits, drops, late polls and takings by number: see the property that draws them.
fn come_late(t: u64, burst: u64, ops: &[(u8, u64)]) -> Result<(), TestCaseError> {
    paused(async {
        let limiter = RateLimiter::new(config(t, burst)).unwrap();
        let waits = Waits::up_to(Duration::from_secs(5));
        let (mut now, mut uses) = (0, Vec::new());
        let mut waiting: Vec<(u64, Pin<Box<Acquire>>)> = Vec::new();
        let caller = Caller::new();
        for &(what, number) in ops {
            let (n, at) = (number % burst + 1, number as usize);
            match what {
                0 => {
                    now += number;
                    advance(Duration::from_millis(number)).await;
                }
                1 => {
                    let mut future = Box::pin(limiter.acquire_within(n, waits));
                    // One that need not wait has taken its tokens now.
                    match caller.poll(&mut future) {
                        Poll::Ready(_) => uses.push((now, n)),
                        Poll::Pending => waiting.push((n, future)),
                    }
                }
                2 if at < waiting.len() => drop(waiting.remove(at)),
                3 if at < waiting.len() => {
                    if let Poll::Ready(answer) = caller.poll(&mut waiting[at].1) {
                        prop_assert!(answer.is_ok());
                        uses.push((now, waiting.remove(at).0));
                    }
                }
                4 => uses.extend(limiter.try_acquire_n(n).ok().map(|()| (now, n))),
                _ => {}
            }
        }
        never_too_much(&uses, t, burst)
    })
}

/// L1: three histories, each found at random once in some ten thousand.
#[test]
fn who_comes_late_is_late_by_what_those_before_it_have_left() {
    // One moves up to before the bucket was made.
    let early = [(4, 21), (1, 2), (1, 0), (2, 0), (0, 2), (1, 2), (3, 0)];
    come_late(1, 3, &early).unwrap();
    // One whose turn has come moves up, too.
    let due = [
        (4, 6),
        (1, 7),
        (0, 27),
        (4, 1),
        (1, 11),
        (1, 6),
        (1, 11),
        (0, 27),
        (2, 1),
        (0, 9),
        (2, 0),
        (3, 0),
        (3, 0),
    ];
    come_late(9, 2, &due).unwrap();
    // One that has taken its tokens anew moves up for those that are behind it in line.
    let anew = [
        (1, 17),
        (4, 20),
        (1, 2),
        (1, 3),
        (1, 0),
        (1, 27),
        (1, 3),
        (0, 11),
        (2, 0),
        (3, 0),
        (2, 2),
        (2, 2),
        (0, 4),
        (3, 0),
        (4, 0),
    ];
    come_late(1, 4, &anew).unwrap();
}

/// L1 does not hold here: of two that come late, the second asks first, is told another turn and goes in it,
/// and then the third asks. What the bucket has lost is reckoned for each as if it alone had come late.
#[test]
fn several_that_come_late_go_on_no_more_than_was_there() {
    let ops = [(1, 9), (1, 3), (1, 22), (1, 25), (0, 24), (0, 18), (3, 1), (0, 6), (3, 1), (3, 1)];
    come_late(6, 4, &ops).unwrap();
}
