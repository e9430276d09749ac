//! The pure bulkhead beside a plain list, step by step, exactly.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use portcullis::{
    BulkheadConfig, Command, Mode, QueueOrder, Reason,
    policy::bulkhead::{Admission, Change, Slots, Ticket, Verdict},
};
use proptest::prelude::*;

use crate::reference::{NOTHING, Reference, Seen, Setting, Time, ms};

#[derive(Clone, Debug)]
enum Step {
    /// With a deadline so many milliseconds from now, maybe in the past.
    Enter(Option<i8>),
    TryEnter,
    /// Whichever of those that are in.
    Leave(usize),
    /// Whichever of those with a ticket, let in or not.
    Cancel(usize),
    Ask(usize),
    Advance(u8),
    Resize(usize),
    Reconfigure(Setting),
    Command(Command),
}

fn setting() -> impl Strategy<Value = Setting> {
    let limit = prop_oneof![9 => 1..5_usize, 1 => Just(usize::MAX)];
    let queue = prop_oneof![9 => 0..6_usize, 1 => Just(usize::MAX)];
    let wait = prop_oneof![4 => (1..60_u8).prop_map(Some), 1 => Just(None)];
    let order = prop_oneof![Just(QueueOrder::Fifo), Just(QueueOrder::Lifo)];
    (limit, queue, wait, order).prop_map(|(limit, queue, max_wait, order)| Setting {
        limit,
        queue,
        max_wait,
        order,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let deadline = prop_oneof![2 => Just(None), 1 => (-3..50_i8).prop_map(Some)];
    let command = prop_oneof![
        3 => Just(Command::Enable),
        1 => Just(Command::Shadow),
        1 => Just(Command::Disable),
        1 => Just(Command::Reset),
    ];
    prop_oneof![
        30 => deadline.prop_map(Step::Enter),
        5 => Just(Step::TryEnter),
        20 => any::<usize>().prop_map(Step::Leave),
        8 => any::<usize>().prop_map(Step::Cancel),
        15 => any::<usize>().prop_map(Step::Ask),
        15 => (0..40_u8).prop_map(Step::Advance),
        3 => (1..6_usize).prop_map(Step::Resize),
        3 => setting().prop_map(Step::Reconfigure),
        2 => command.prop_map(Step::Command),
    ]
}

/// The two side by side.
struct Pair {
    slots: Slots<u32>,
    reference: Reference,
    start: Instant,
    now: Time,
    next_id: u32,
    inside: Vec<Admission>,
    tickets: Vec<(u32, Ticket)>,
}

fn seen(changes: impl IntoIterator<Item = Change<u32>>) -> Seen {
    let mut all = NOTHING;
    for change in changes {
        all.0 |= change.freed;
        all.2 += change.left;
        let next = change.let_in.map(|n| (n.kept, n.waited.as_millis() as Time, n.slot));
        all.1.extend(next);
    }
    all
}

impl Pair {
    fn new(setting: Setting) -> Self {
        Self {
            slots: Slots::new(setting.config()).unwrap(),
            reference: Reference {
                setting,
                mode: Mode::Enforce,
                in_flight: 0,
                waiters: VecDeque::new(),
                rejected: 0,
            },
            // Far enough from the clock's zero for deadlines in the past.
            start: portcullis::clock::tokio_now() + Duration::from_secs(1),
            now: 0,
            next_id: 0,
            inside: Vec::new(),
            tickets: Vec::new(),
        }
    }

    fn at(&self, time: Time) -> Instant {
        let from = self.start - Duration::from_millis(100);
        from + Duration::from_millis(u64::try_from(time + 100).unwrap())
    }

    /// What became of a call, as the reference says it; keeps what it has.
    fn take(&mut self, id: u32, verdict: Verdict) -> Result<Option<Admission>, Reason> {
        match verdict {
            Verdict::Admitted(admission) => {
                let same = match &admission {
                    Admission::Pass { would_reject } => {
                        Admission::Pass { would_reject: *would_reject }
                    }
                    _ => Admission::Slot,
                };
                self.inside.push(admission);
                Ok(Some(same))
            }
            Verdict::Queued(ticket) => {
                let waiter = self.reference.waiters.iter().find(|waiter| waiter.id == id).unwrap();
                let until = [waiter.wait_ends, waiter.deadline].into_iter().flatten().min();
                assert_eq!(ticket.until(), until.map(|until| self.at(until)));
                self.tickets.push((id, ticket));
                Ok(None)
            }
            Verdict::Rejected(reason) => Err(reason),
            other => panic!("a new verdict: {other:?}"),
        }
    }

    fn step(&mut self, step: Step) {
        let now = self.at(self.now);
        match step {
            Step::Enter(deadline) => {
                let deadline = deadline.map(|after| self.now + Time::from(after));
                self.next_id += 1;
                let id = self.next_id;
                let expected = self.reference.enter(id, self.now, deadline);
                let deadline = deadline.map(|deadline| self.at(deadline));
                let (verdict, change) = self.slots.enter(now, deadline, id);
                assert_eq!((self.take(id, verdict), seen([change])), expected);
            }
            Step::TryEnter => {
                let (found, expected) = (self.slots.try_enter(), self.reference.try_enter());
                assert_eq!(found, expected);
                self.inside.extend(found);
            }
            Step::Leave(which) if !self.inside.is_empty() => {
                let admission = self.inside.remove(which % self.inside.len());
                let expected = match admission {
                    Admission::Slot => self.reference.freed(self.now),
                    _ => NOTHING,
                };
                assert_eq!(seen([self.slots.leave(admission, now)]), expected);
            }
            Step::Cancel(which) if !self.tickets.is_empty() => {
                let (id, ticket) = self.tickets.remove(which % self.tickets.len());
                let expected = self.reference.cancel(id, self.now);
                assert_eq!(seen([self.slots.cancel(ticket, now)]), expected);
            }
            Step::Ask(which) if !self.tickets.is_empty() => {
                let (id, ticket) = self.tickets.remove(which % self.tickets.len());
                let expected = self.reference.ask(id, self.now);
                let (verdict, change) = self.slots.ask(ticket, now);
                assert_eq!((self.take(id, verdict), seen([change])), expected);
            }
            Step::Leave(_) | Step::Cancel(_) | Step::Ask(_) => {}
            Step::Advance(by) => self.now += Time::from(by),
            Step::Resize(limit) => {
                let setting = Setting { limit, ..self.reference.setting };
                let expected = self.reference.reconfigure(setting, self.now);
                assert_eq!(seen(self.slots.resize(limit, now).unwrap()), expected);
            }
            Step::Reconfigure(setting) => {
                let expected = self.reference.reconfigure(setting, self.now);
                let found = self.slots.reconfigure(setting.config(), now).unwrap();
                assert_eq!(seen(found), expected);
                assert_eq!(self.slots.config(), setting.config());
            }
            Step::Command(command) => {
                let expected = self.reference.command(command, self.now);
                assert_eq!(seen(self.slots.command(command, now).unwrap()), expected);
            }
        }
        self.compare();
    }

    fn compare(&self) {
        let (found, expected) = (self.slots.snapshot(), &self.reference);
        assert_eq!(
            (found.mode, found.in_flight, found.queued, found.rejected),
            (expected.mode, expected.in_flight, expected.waiting(), expected.rejected),
        );
        // A slot is never free while somebody waits.
        assert!(found.queued == 0 || found.in_flight >= found.limit);
        let explained = self.slots.explain(self.at(self.now));
        let free = found.queued == 0 && found.in_flight < found.limit;
        let room = expected.in_time(self.now) < found.queue_limit;
        let would = found.mode == Mode::Disabled || free || room;
        assert_eq!(explained.would_admit, would);
        assert_eq!(explained.admits, would || found.mode == Mode::Shadow);
    }

    /// Everybody goes: nothing is left.
    fn end(mut self) {
        while !self.inside.is_empty() || !self.tickets.is_empty() {
            self.step(Step::Leave(0));
            self.step(Step::Ask(0));
            self.step(Step::Advance(10));
            self.step(Step::Cancel(1));
        }
        let last = self.slots.snapshot();
        assert_eq!((last.in_flight, last.queued), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn it_does_what_a_plain_list_does(
        setting in setting(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut pair = Pair::new(setting);
        steps.into_iter().for_each(|step| pair.step(step));
        pair.end();
    }
}

/// Times are remembered, and those of the ones that have gone are not kept for long.
#[test]
fn one_that_waits_is_not_forgotten_while_many_come_and_go() {
    let slots = Slots::new(BulkheadConfig::new("model", 1).queue(2).max_wait(ms(100))).unwrap();
    let start = portcullis::clock::tokio_now();
    let (Verdict::Admitted(busy), _) = slots.enter(start, None, 0) else { panic!("empty") };
    let (Verdict::Queued(waits), _) = slots.enter(start, None, 1) else { panic!("full") };
    for _ in 0..1_000 {
        let (Verdict::Queued(other), _) = slots.enter(start, None, 2) else { panic!("room") };
        assert_eq!(slots.cancel(other, start).left, 1);
    }
    let change = slots.leave(busy, start + ms(100));
    assert_eq!((change.left, change.let_in.is_none()), (1, true));
    let late = slots.ask(waits, start + ms(100)).0;
    assert!(matches!(late, Verdict::Rejected(Reason::QueueTimeout)));
}

/// A place is used again, and the time of the one who had it means nothing to the next.
#[test]
fn a_newcomer_does_not_inherit_the_end_of_a_wait() {
    let slots = Slots::new(BulkheadConfig::new("model", 1).queue(1).max_wait(ms(100))).unwrap();
    let start = portcullis::clock::tokio_now();
    let (Verdict::Admitted(busy), _) = slots.enter(start, None, 0) else { panic!("empty") };
    let (Verdict::Queued(first), _) = slots.enter(start, None, 1) else { panic!("full") };
    assert_eq!(slots.cancel(first, start).left, 1);
    let (Verdict::Queued(second), _) = slots.enter(start + ms(60), None, 2) else { panic!("full") };
    let change = slots.leave(busy, start + ms(159));
    assert_eq!(change.let_in.map(|next| next.kept), Some(2));
    assert!(matches!(slots.ask(second, start + ms(159)).0, Verdict::Admitted(_)));
}

/// What belongs to another bulkhead changes nothing here.
#[test]
fn strangers_give_nothing_back() {
    let new = || Slots::new(BulkheadConfig::new("model", 1).queue(1)).unwrap();
    let (ours, other) = (new(), new());
    let now = portcullis::clock::tokio_now();
    let (Verdict::Admitted(stranger), _) = other.enter(now, None, 1) else { panic!("empty") };
    let (Verdict::Queued(ticket), _) = other.enter(now, None, 2) else { panic!("full") };
    assert_eq!(seen([ours.leave(stranger, now)]), NOTHING);
    assert!(matches!(ours.ask(ticket, now).0, Verdict::Rejected(Reason::QueueTimeout)));
    let seen = ours.snapshot();
    assert_eq!((seen.in_flight, seen.queued, seen.limit), (0, 0, 1));
    assert!(ours.try_enter().is_ok() && ours.try_enter().is_err());
}
