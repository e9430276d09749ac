//! What operators see and say: snapshot, explanation, commands, live configuration, registry.

use std::str::FromStr;

use portcullis::{
    Bulkhead, Cause, Command, Event, Managed, Mode, PolicyKind, PolicySnapshot, Reason, Registry,
};
use tokio::time::advance;

use crate::{
    bench::{MS, SECOND, bulkhead, config, now, queueing, refusing, told},
    support::{Answered, Caller, refusal},
};

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_everything() {
    let slots = bulkhead(config(2).queue(3));
    let permits = [slots.try_acquire().unwrap(), slots.try_acquire().unwrap()];
    let _waits = slots.acquire();
    assert!(slots.try_acquire().is_err());
    let seen = slots.snapshot();
    assert_eq!((seen.in_flight, seen.queued, seen.limit, seen.queue_limit), (2, 1, 2, 3));
    assert_eq!((seen.mode, seen.rejected), (Mode::Enforce, 1));
    assert_eq!(Managed::snapshot(&slots), PolicySnapshot::Bulkhead(seen));
    assert_eq!(format!("{slots:?}"), r#"Bulkhead { name: "db", in_flight: 2, limit: 2, .. }"#);
    drop(permits);
    assert_eq!(slots.snapshot().in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn an_explanation_foretells_what_a_call_would_meet() {
    let slots = bulkhead(config(1).queue(1));
    let explains = |admits: bool, text: &str| {
        let why = slots.explain();
        assert_eq!((why.admits, why.would_admit, why.shadow), (admits, admits, false));
        assert_eq!((why.policy, why.until, why.opened_by), ("db", None, None));
        assert_eq!(why.to_string(), text);
        let mut call = Box::pin(slots.acquire());
        let refused = matches!(Caller::new().poll(&mut call), std::task::Poll::Ready(Err(_)));
        assert_eq!(!refused, admits);
    };
    explains(true, "db is enforcing and admits calls: 0 of 1 call in flight, 0 waiting");
    let _busy = slots.try_acquire().unwrap();
    explains(true, "db is enforcing and admits calls: 1 of 1 call in flight, 0 waiting");
    let _waits = slots.acquire();
    explains(false, "db is enforcing and refuses calls: 1 of 1 call in flight, 1 waiting");
    let cause = Cause::InFlight { observed: 1, limit: 1, queued: 1 };
    assert_eq!(Managed::explain(&slots).cause, cause);
    slots.shadow();
    let why = slots.explain();
    assert_eq!((why.admits, why.would_admit, why.shadow, why.state), (true, true, true, "shadow"));
    slots.disable();
    assert_eq!((slots.explain().state, slots.explain().admits), ("disabled", true));
}

/// It is still counted, and gone for whoever comes.
#[tokio::test(start_paused = true)]
async fn one_whose_time_is_over_keeps_nobody_out_of_the_queue() {
    let slots = bulkhead(config(1).queue(1).max_wait(SECOND));
    let _busy = slots.try_acquire().unwrap();
    let _late = slots.acquire();
    advance(SECOND - MS).await;
    assert!(!slots.explain().admits);
    advance(MS).await;
    assert!(slots.explain().admits);
    assert!(Caller::new().poll(&mut Box::pin(slots.acquire())).is_pending());
}

#[tokio::test(start_paused = true)]
async fn shadow_reports_and_never_refuses() {
    let (slots, told) = told(config(1).queue(5));
    slots.shadow();
    let first = slots.try_acquire().unwrap();
    let second = slots.try_acquire().unwrap();
    // A queue would be no shadow: nobody waits.
    let third = now(Caller::new().poll(&mut Box::pin(slots.acquire()))).unwrap();
    let seen = slots.snapshot();
    assert_eq!((seen.mode, seen.in_flight, seen.queued, seen.rejected), (Mode::Shadow, 1, 0, 2));
    drop((second, third));
    assert_eq!(slots.in_flight(), 1, "would-be refusals hold nothing");
    drop(first);
    assert_eq!(slots.in_flight(), 0);
    let would = "db: would refuse: bulkhead_full";
    assert_eq!(told.lines(), ["db: a call was let in", would, would, "db: a call has left"]);
    let _busy = slots.try_acquire().unwrap();
    let _would = slots.try_acquire().unwrap();
    assert!(told.take().contains(&Event::WouldReject {
        policy: "db",
        kind: PolicyKind::Bulkhead,
        reason: Reason::BulkheadFull,
    }));
    slots.enable();
    assert!(slots.try_acquire().is_err());
}

#[tokio::test(start_paused = true)]
async fn shadow_lets_those_through_who_wait() {
    for command in [Command::Shadow, Command::Disable] {
        let bench = queueing(config(1).queue(3));
        let inside = bench.hang();
        let callers = [(); 3].map(|()| Caller::new());
        let mut waiting: Vec<_> = callers.iter().map(|_| bench.call()).collect();
        for (caller, waits) in callers.iter().zip(&mut waiting) {
            assert!(caller.poll(waits).is_pending());
        }
        bench.bulkhead.command(command).unwrap();
        assert_eq!(callers.each_ref().map(Caller::wakeups), [1, 1, 1]);
        assert_eq!(bench.counts(), (1, 0), "they hold nothing");
        for (caller, waits) in callers.iter().zip(&mut waiting) {
            assert_eq!(now(caller.poll(waits)), Ok(Answered));
        }
        assert_eq!(bench.counts(), (1, 0));
        bench.bulkhead.enable();
        drop(inside);
        assert_eq!((bench.counts(), bench.ask()), ((0, 0), Ok(Answered)));
    }
}

/// One that was let in, comes late for its slot, and meets a shadow by then.
#[tokio::test(start_paused = true)]
async fn shadow_refuses_nobody_for_its_deadline() {
    let slots = bulkhead(config(1).queue(1));
    let busy = slots.try_acquire().unwrap();
    let deadline = portcullis::clock::tokio_now() + 100 * MS;
    let waits = portcullis::deadline::enter(deadline, || slots.acquire());
    drop(busy);
    slots.shadow();
    advance(SECOND).await;
    assert!(waits.await.is_ok());
}

#[test]
fn a_disabled_bulkhead_counts_nothing() {
    let (slots, told) = told(config(1));
    let before = slots.try_acquire().unwrap();
    slots.disable();
    told.take();
    let passed: Vec<_> = (0..5).map(|_| slots.try_acquire().unwrap()).collect();
    let seen = slots.snapshot();
    assert_eq!((seen.mode, seen.in_flight, seen.rejected), (Mode::Disabled, 1, 0));
    assert_eq!(told.lines(), [""; 0]);
    slots.enable();
    assert!(slots.try_acquire().is_err(), "the one from before is still in");
    drop(before);
    let _inside = slots.try_acquire().unwrap();
    drop(passed);
    assert_eq!(slots.in_flight(), 1, "those that were let through have nothing to give back");
}

#[test]
fn a_reset_forgets_refusals_and_takes_nothing_away() {
    let slots = bulkhead(config(1));
    let _busy = slots.try_acquire().unwrap();
    assert!((0..3).all(|_| slots.try_acquire().is_err()));
    slots.reset();
    assert_eq!((slots.snapshot().rejected, slots.in_flight()), (0, 1));
    assert!(slots.try_acquire().is_err());
    assert_eq!(slots.snapshot().rejected, 1);
}

#[test]
fn commands_of_circuits_are_none_of_a_bulkhead() {
    let slots = bulkhead(config(1));
    for name in ["open", "half_open", "close", "force_open"] {
        let error = slots.command(Command::from_str(name).unwrap()).unwrap_err();
        assert_eq!((error.field(), error.value()), ("command", name));
        assert!(error.to_string().contains("a bulkhead knows shadow"), "{error}");
    }
    assert_eq!(slots.snapshot().mode, Mode::Enforce);
}

#[test]
fn a_registry_lists_and_commands_it() {
    let registry = Registry::new();
    let slots = bulkhead(config(1));
    registry.add(&slots).unwrap();
    assert_eq!(registry.names(), [("db", PolicyKind::Bulkhead)]);
    registry.command("db", Command::Shadow).unwrap();
    let [("db", PolicySnapshot::Bulkhead(seen))] = registry.snapshot()[..] else {
        panic!("one bulkhead")
    };
    assert_eq!(seen.mode, Mode::Shadow);
    let same: Bulkhead = registry.get("db").unwrap();
    let _permit = same.try_acquire().unwrap();
    assert_eq!(slots.in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_higher_limit_lets_in_those_who_wait() {
    let bench = queueing(config(1).queue(4));
    let inside = bench.hang();
    let callers = [(); 4].map(|()| Caller::new());
    let mut waiting: Vec<_> = callers.iter().map(|_| bench.call()).collect();
    for (caller, waits) in callers.iter().zip(&mut waiting) {
        assert!(caller.poll(waits).is_pending());
    }
    advance(MS).await;
    bench.bulkhead.resize(3).unwrap();
    assert_eq!(callers.each_ref().map(Caller::wakeups), [1, 1, 0, 0]);
    assert_eq!(bench.counts(), (3, 2));
    assert_eq!(bench.bulkhead.config(), config(3).queue(4));
    drop(inside);
    assert_eq!(callers.each_ref().map(Caller::wakeups), [1, 1, 1, 0]);
}

#[test]
fn a_lower_limit_takes_nothing_away_and_admits_nobody_until_below() {
    let slots = bulkhead(config(4));
    let mut permits: Vec<_> = (0..4).map(|_| slots.try_acquire().unwrap()).collect();
    slots.resize(2).unwrap();
    assert_eq!((slots.in_flight(), slots.snapshot().limit), (4, 2));
    for left in [3, 2] {
        permits.pop();
        assert_eq!(slots.in_flight(), left);
        assert!(slots.try_acquire().is_err());
    }
    permits.pop();
    permits.push(slots.try_acquire().unwrap());
    assert!(slots.try_acquire().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_shorter_queue_sends_nobody_away_and_takes_nobody_in() {
    let bench = queueing(config(1).queue(3));
    let inside = bench.hang();
    let caller = Caller::new();
    let mut waiting: Vec<_> = (0..3).map(|_| bench.call()).collect();
    for waits in &mut waiting {
        assert!(caller.poll(waits).is_pending());
    }
    bench.bulkhead.reconfigure(config(1).queue(1)).unwrap();
    assert_eq!((bench.counts(), caller.wakeups()), ((1, 3), 0));
    drop(waiting.pop());
    assert_eq!(refusal(bench.ask()).reason(), Reason::BulkheadFull);
    drop(waiting.pop());
    assert_eq!(refusal(bench.ask()).reason(), Reason::BulkheadFull);
    drop(inside);
    assert_eq!(bench.counts(), (1, 0), "the last one was let in");
    let _one = bench.call();
    assert_eq!(bench.counts(), (1, 1), "there is room for one");
}

#[tokio::test(start_paused = true)]
async fn who_waits_does_so_for_as_long_as_it_could_when_it_came() {
    let slots = bulkhead(config(1).queue(3));
    let _busy = slots.try_acquire().unwrap();
    let before = slots.acquire();
    slots.reconfigure(config(1).queue(3).max_wait(100 * MS)).unwrap();
    let after = slots.acquire();
    let began = tokio::time::Instant::now();
    assert!(after.await.is_err());
    assert_eq!(began.elapsed(), 100 * MS);
    assert!(before.await.is_err());
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_new_order_acts_on_those_who_wait() {
    let slots = bulkhead(config(1).queue(3));
    let busy = slots.try_acquire().unwrap();
    let (first, last) = (Caller::new(), Caller::new());
    let (mut one, mut two) = (Box::pin(slots.acquire()), Box::pin(slots.acquire()));
    assert!(first.poll(&mut one).is_pending() && last.poll(&mut two).is_pending());
    slots.reconfigure(config(1).queue(3).lifo()).unwrap();
    drop(busy);
    assert_eq!((first.wakeups(), last.wakeups()), (0, 1));
}

#[test]
fn what_cannot_work_changes_nothing() {
    let slots = bulkhead(config(2));
    assert_eq!(slots.resize(0).unwrap_err().field(), "max_in_flight");
    assert_eq!(slots.reconfigure(config(0)).unwrap_err().field(), "max_in_flight");
    let renamed = slots.reconfigure(config(5).name("api")).unwrap_err();
    assert_eq!((renamed.field(), renamed.value()), ("name", "api"));
    assert!(renamed.to_string().contains("keeps its name, which is `db`"), "{renamed}");
    assert_eq!((slots.config(), slots.snapshot().limit), (config(2), 2));
}

#[tokio::test(start_paused = true)]
async fn layers_services_and_handles_share_one_bulkhead() {
    let bench = refusing(config(1));
    let layer = bench.bulkhead.layer();
    let _inside = bench.hang();
    let (service, probe) = crate::support::strict();
    let mut other = tower::Layer::layer(&layer.clone(), service);
    let caller = Caller::new();
    assert!(caller.ready(&mut other).is_ready());
    let refused = tower::Service::call(&mut other, crate::support::Ask(0));
    assert_eq!(refusal(caller.finish(&mut Box::pin(refused))).policy(), "db");
    assert_eq!(probe.calls(), 0);
    assert_eq!(layer.bulkhead().in_flight(), 1);
    assert_eq!(other.bulkhead().in_flight(), 1);
    assert_eq!(bench.bulkhead.queued_layer().bulkhead().in_flight(), 1);
    let around = tower::Service::call(other.get_mut(), crate::support::Ask(0));
    assert!(caller.finish(&mut Box::pin(around)).is_ok(), "around the bulkhead");
    assert_eq!(probe.calls(), 1);
    let _: &crate::support::Strict = other.get_ref();
    let _: crate::support::Strict = other.into_inner();
}
