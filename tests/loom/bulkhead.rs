//! The bulkhead's word beside its queue: no slot is lost, nobody is left waiting beside a free slot, and
//! never more are in than may be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use loom::thread;
use portcullis::{
    BulkheadConfig,
    policy::bulkhead::{Slots, Ticket, Verdict},
};

#[derive(Debug)]
struct Bench {
    slots: Slots<u32>,
    /// Counted beside the slots, outside of what the model explores.
    inside: AtomicUsize,
    limit: usize,
    now: Instant,
}

/// What became of one call, once it asked.
enum Came {
    In,
    Waits(Ticket),
    Out,
}

impl Bench {
    fn enter(&self) -> Came {
        match self.slots.enter(self.now, None, 0).0 {
            Verdict::Admitted(admission) => {
                assert_eq!(admission, portcullis::policy::bulkhead::Admission::Slot);
                self.goes_in();
                Came::In
            }
            Verdict::Queued(ticket) => Came::Waits(ticket),
            _ => Came::Out,
        }
    }

    fn goes_in(&self) {
        assert!(self.inside.fetch_add(1, SeqCst) < self.limit, "more than the limit are in");
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, SeqCst);
        let _ = self.slots.leave(portcullis::policy::bulkhead::Admission::Slot, self.now);
    }

    /// Asks once: in, or still waiting.
    fn ask(&self, ticket: Ticket) -> Came {
        match self.slots.ask(ticket, self.now).0 {
            Verdict::Admitted(_) => {
                self.goes_in();
                Came::In
            }
            Verdict::Queued(ticket) => Came::Waits(ticket),
            _ => Came::Out,
        }
    }

    /// Once all is quiet: nobody waits beside a free slot, and all slots can be had again.
    fn rest(&self, waiting: Vec<Ticket>) {
        let mut waiting = waiting;
        while let Some(ticket) = waiting.pop() {
            match self.ask(ticket) {
                Came::In => self.leave(),
                Came::Waits(ticket) => {
                    assert!(self.slots.in_flight() >= self.limit, "a wake-up was lost");
                    waiting.insert(0, ticket);
                }
                Came::Out => {}
            }
        }
        let seen = self.slots.snapshot();
        assert_eq!((seen.in_flight, seen.queued), (0, 0), "a slot was lost");
        for _ in 0..self.limit {
            assert!(self.slots.try_enter().is_ok(), "a slot was lost");
        }
        assert!(self.slots.try_enter().is_err());
    }
}

fn model(limit: usize, queue: usize, run: impl Fn(Arc<Bench>) + Send + Sync + 'static) {
    let now = Instant::now();
    let max_wait = Duration::from_secs(1);
    loom::model(move || {
        let config = BulkheadConfig::new("model", limit).queue(queue).max_wait(max_wait);
        run(Arc::new(Bench {
            slots: Slots::new(config).unwrap(),
            inside: AtomicUsize::new(0),
            limit,
            now,
        }));
    });
}

#[test]
fn a_slot_freed_while_someone_joins_the_queue_is_not_lost() {
    model(1, 1, |bench| {
        assert!(matches!(bench.enter(), Came::In));
        let other = bench.clone();
        let joins = thread::spawn(move || match other.enter() {
            Came::In => {
                other.leave();
                None
            }
            Came::Waits(ticket) => Some(ticket),
            Came::Out => panic!("the queue has room"),
        });
        bench.leave();
        let waiting = joins.join().unwrap();
        bench.rest(waiting.into_iter().collect());
    });
}

#[test]
fn two_that_leave_let_two_in() {
    model(2, 2, |bench| {
        assert!(matches!(bench.enter(), Came::In));
        assert!(matches!(bench.enter(), Came::In));
        let Came::Waits(first) = bench.enter() else { panic!("full") };
        let Came::Waits(second) = bench.enter() else { panic!("full") };
        let other = bench.clone();
        let leaves = thread::spawn(move || other.leave());
        bench.leave();
        leaves.join().unwrap();
        assert_eq!(bench.slots.snapshot().queued, 0, "both were let in");
        bench.rest(vec![first, second]);
    });
}

#[test]
fn a_newcomer_does_not_take_the_slot_of_one_that_waits() {
    model(1, 2, |bench| {
        assert!(matches!(bench.enter(), Came::In));
        let Came::Waits(first) = bench.enter() else { panic!("full") };
        let other = bench.clone();
        let newcomer = thread::spawn(move || {
            assert!(other.slots.try_enter().is_err(), "it is somebody else's turn");
            match other.enter() {
                Came::Waits(ticket) => ticket,
                _ => panic!("it is somebody else's turn"),
            }
        });
        bench.leave();
        let second = newcomer.join().unwrap();
        let Came::In = bench.ask(first) else { panic!("the first to wait is the first in") };
        let Came::Waits(second) = bench.ask(second) else { panic!("the slot is taken") };
        bench.leave();
        bench.rest(vec![second]);
    });
}

#[test]
fn a_ticket_cancelled_while_it_is_let_in_hands_its_slot_on() {
    model(1, 2, |bench| {
        assert!(matches!(bench.enter(), Came::In));
        let Came::Waits(first) = bench.enter() else { panic!("full") };
        let Came::Waits(second) = bench.enter() else { panic!("full") };
        let other = bench.clone();
        let gives_up = thread::spawn(move || drop(other.slots.cancel(first, other.now)));
        bench.leave();
        gives_up.join().unwrap();
        let Came::In = bench.ask(second) else { panic!("a wake-up was lost") };
        bench.leave();
        bench.rest(Vec::new());
    });
}

#[test]
fn the_last_of_the_queue_gives_up_while_a_slot_is_freed() {
    model(1, 1, |bench| {
        assert!(matches!(bench.enter(), Came::In));
        let Came::Waits(only) = bench.enter() else { panic!("full") };
        let other = bench.clone();
        let gives_up = thread::spawn(move || drop(other.slots.cancel(only, other.now)));
        let third = bench.clone();
        let joins = thread::spawn(move || match third.enter() {
            Came::In => {
                third.leave();
                None
            }
            Came::Waits(ticket) => Some(ticket),
            Came::Out => None,
        });
        bench.leave();
        gives_up.join().unwrap();
        let waiting = joins.join().unwrap();
        bench.rest(waiting.into_iter().collect());
    });
}

#[test]
fn a_call_never_gets_in_over_a_limit_that_was_lowered_before() {
    model(2, 0, |bench| {
        assert!(matches!(bench.enter(), Came::In));
        let other = bench.clone();
        let enters = thread::spawn(move || match other.enter() {
            Came::In => true,
            _ => false,
        });
        let _ = bench.slots.resize(1, bench.now).unwrap();
        let seen = bench.slots.in_flight();
        let got_in = enters.join().unwrap();
        // What got in was in before the limit was lowered: nothing was added afterwards.
        assert_eq!(seen, 1 + usize::from(got_in));
        assert!(bench.slots.try_enter().is_err());
    });
}

#[test]
fn a_raised_limit_and_a_freed_slot_let_in_two() {
    model(2, 2, |bench| {
        let _ = bench.slots.resize(1, bench.now).unwrap();
        assert!(matches!(bench.enter(), Came::In));
        let Came::Waits(first) = bench.enter() else { panic!("full") };
        let Came::Waits(second) = bench.enter() else { panic!("full") };
        let other = bench.clone();
        let grows = thread::spawn(move || drop(other.slots.resize(2, other.now).unwrap()));
        bench.leave();
        grows.join().unwrap();
        let seen = bench.slots.snapshot();
        assert_eq!((seen.in_flight, seen.queued), (2, 0));
        bench.rest(vec![first, second]);
    });
}
