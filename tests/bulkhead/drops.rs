//! Calls that are dropped, panic, or end otherwise: at every point, everything comes back, and gauges
//! made from events say what is.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use portcullis::{Bulkhead, Event, Options, QueuedBulkhead};
use tokio::time::advance;
use tower::Service;

use crate::{
    bench::{Bench, Gauges, MS, SECOND, bulkhead, config, now, queueing, refusing},
    support::{
        Answer, Answered, Ask, Caller, ON_DEMAND, Readiness, Strict, fault, panic_of, refusal,
    },
};

/// X9: one call that need not wait, dropped after each number of polls.
#[tokio::test(start_paused = true)]
async fn gauges_are_right_wherever_a_call_is_dropped() {
    for polls in 0..=4 {
        let bench = refusing(config(2));
        bench.probe.answer(Answer::OK.after(3));
        let caller = Caller::new();
        let mut response = bench.call();
        assert_eq!(bench.counts(), (1, 0));
        let ended = (0..polls).any(|_| caller.poll(&mut response).is_ready());
        assert_eq!((ended, bench.counts()), (polls == 4, (usize::from(!ended), 0)));
        drop(response);
        assert_eq!((bench.counts(), bench.probe.live()), ((0, 0), 0));
    }
}

type Waiting = Pin<Box<<QueuedBulkhead<Strict> as Service<Ask>>::Future>>;

/// The life of a call that waits, step by step; it is dropped after so many of them. Whether it had
/// ended by then.
fn life_of_a_waiter(after: usize) -> bool {
    let bench: Bench<QueuedBulkhead<Strict>> = queueing(config(1).queue(2));
    let mut inside = Some(bench.hang());
    let caller = Caller::new();
    bench.probe.readiness(Readiness::After(1));
    bench.probe.answer(Answer::OK.after(1));
    let mut waits: Option<Waiting> = None;
    let mut ended = false;
    for step in 0..after {
        match step {
            0 => waits = Some(bench.call()),
            1 => assert!(caller.poll(waits.as_mut().unwrap()).is_pending()),
            // Let in, and not polled since.
            2 => drop(inside.take()),
            // Readies a clone: pending once; then calls it: pending once.
            3 => assert!(caller.poll(waits.as_mut().unwrap()).is_pending()),
            4 => assert!(caller.poll(waits.as_mut().unwrap()).is_pending()),
            5 => assert_eq!(now(caller.poll(waits.as_mut().unwrap())), Ok(Answered)),
            _ => ended = true,
        }
        let expected = match step {
            0 | 1 => (1, 1),
            2..=4 => (1, 0),
            _ => (0, 0),
        };
        assert_eq!(bench.counts(), expected, "after step {step}");
    }
    // Another one waits behind it, to whom its slot must go.
    bench.probe.readiness(Readiness::Now);
    bench.probe.answer(Answer::OK);
    let other_caller = Caller::new();
    let mut other = (after > 0 && after < 6).then(|| bench.call());
    drop(waits);
    drop(inside);
    if let Some(other) = &mut other {
        assert_eq!(bench.counts(), (1, 0), "dropped after {after} steps");
        assert_eq!(now(other_caller.poll(other)), Ok(Answered));
    }
    drop(other);
    assert_eq!((bench.counts(), bench.probe.live(), bench.probe.reserved()), ((0, 0), 0, 0));
    assert_eq!((caller.wakers(), bench.probe.instances()), (0, 1));
    ended
}

/// X9, W2: one that waits, dropped after each step of its life.
#[tokio::test(start_paused = true)]
async fn gauges_are_right_wherever_a_waiter_is_dropped() {
    assert!((0..7).all(|after| !life_of_a_waiter(after)));
    assert!(life_of_a_waiter(7), "every step was there");
}

#[tokio::test(start_paused = true)]
async fn a_slot_handed_to_one_that_is_gone_goes_to_the_next() {
    let bench = queueing(config(1).queue(3));
    let inside = bench.hang();
    let callers = [(); 3].map(|()| Caller::new());
    let mut waiting: Vec<_> = callers.iter().map(|_| Some(bench.call())).collect();
    for (caller, waits) in callers.iter().zip(&mut waiting) {
        assert!(caller.poll(waits.as_mut().unwrap()).is_pending());
    }
    drop(inside);
    assert_eq!(callers.each_ref().map(Caller::wakeups), [1, 0, 0]);
    waiting[0] = None;
    assert_eq!(callers.each_ref().map(Caller::wakeups), [1, 1, 0]);
    // Neither had been polled since.
    waiting[1] = None;
    assert_eq!(callers.each_ref().map(Caller::wakeups), [1, 1, 1]);
    assert_eq!(bench.counts(), (1, 0));
    assert_eq!(now(callers[2].poll(waiting[2].as_mut().unwrap())), Ok(Answered));
    assert_eq!(bench.counts(), (0, 0));
}

/// K3, L6: polled ready and left alone, it has reserved nothing.
#[tokio::test(start_paused = true)]
async fn idle_services_hold_no_slot() {
    let (refuses, queues) = (refusing(config(1)), queueing(config(1).queue(1)));
    let caller = Caller::new();
    let mut idle: Vec<_> = (0..10).map(|_| refuses.service.clone()).collect();
    let mut waits: Vec<_> = (0..10).map(|_| queues.service.clone()).collect();
    assert!(idle.iter_mut().all(|service| caller.ready(service).is_ready()));
    assert!(waits.iter_mut().all(|service| caller.ready(service).is_ready()));
    assert_eq!((refuses.counts(), queues.counts()), ((0, 0), (0, 0)));
    assert_eq!((refuses.ask(), queues.ask()), (Ok(Answered), Ok(Answered)));
}

/// W2: over a shedding layer, nothing is left waiting in the clone that was shed.
#[tokio::test(start_paused = true)]
async fn shedding_leaves_nothing_waiting() {
    let slots = bulkhead(config(1));
    let (service, probe) = crate::support::strict();
    let shed = tower::load_shed::LoadShedLayer::new();
    let service = tower::Layer::layer(&shed, tower::Layer::layer(&slots.layer(), service));
    let busy = slots.try_acquire().unwrap();
    let caller = Caller::new();
    let mut clones: Vec<_> = (0..10).map(|_| service.clone()).collect();
    for clone in &mut clones {
        assert!(caller.ready::<_, Ask>(clone).is_ready());
        assert!(now(caller.poll(&mut Box::pin(clone.call(Ask(0))))).is_err());
    }
    drop(busy);
    // All ten idle; an eleventh connection gets in.
    let mut other = service.clone();
    assert!(caller.ready::<_, Ask>(&mut other).is_ready());
    assert!(now(caller.poll(&mut Box::pin(other.call(Ask(0))))).is_ok());
    assert_eq!((slots.in_flight(), slots.queued(), probe.calls()), (0, 0, 1));
}

/// W3: the slot is free when the response resolves, and not only when its future is dropped.
#[tokio::test(start_paused = true)]
async fn a_slot_is_free_when_the_response_resolves() {
    for answer in [Answer::OK, Answer::FAULT] {
        let (refuses, queues) = (refusing(config(1)), queueing(config(1).queue(1)));
        refuses.probe.answer(answer);
        queues.probe.answer(answer);
        let caller = Caller::new();
        let (mut first, mut second) = (refuses.call(), queues.call());
        assert_eq!((refuses.counts(), queues.counts()), ((1, 0), (1, 0)));
        assert!(caller.poll(&mut first).is_ready() && caller.poll(&mut second).is_ready());
        assert_eq!((refuses.counts(), queues.counts()), ((0, 0), (0, 0)));
        let text = panic_of(|| caller.poll(&mut first));
        assert!(text.contains("polled after it had finished"), "{text}");
        let text = panic_of(|| caller.poll(&mut second));
        assert!(text.contains("polled after it had finished"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_gives_the_slot_back() {
    let bench = queueing(config(1).queue(1));
    bench.probe.answer(Answer::PANICS_IN_CALL);
    assert_eq!(panic_of(|| bench.ask()), ON_DEMAND);
    assert_eq!(bench.counts(), (0, 0));
    bench.probe.answer(Answer::PANICS_IN_POLL);
    let mut response = bench.call();
    let caller = Caller::new();
    assert!(caller.poll(&mut response).is_pending());
    assert_eq!(panic_of(|| caller.poll(&mut response)), ON_DEMAND);
    assert_eq!(bench.counts(), (0, 0), "before the future is dropped");

    // One that waited, and whose clone panics when it is readied.
    bench.probe.answer(Answer::OK);
    let inside = bench.hang();
    let mut waits = bench.call();
    bench.probe.readiness(Readiness::Panics);
    drop(inside);
    assert_eq!(panic_of(|| caller.poll(&mut waits)), ON_DEMAND);
    assert_eq!(bench.counts(), (0, 0));
    bench.probe.readiness(Readiness::Now);
    assert_eq!(bench.ask(), Ok(Answered));
}

/// A waker that calls back, and then panics.
struct Rude(Bulkhead);

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        // Under no lock of the bulkhead, or this would never come back.
        assert_eq!(self.0.snapshot().in_flight, 1);
        assert!(self.0.try_acquire().is_err());
        panic!("a waker panics");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_calls_back_and_panics_breaks_nothing() {
    let slots = bulkhead(config(1).queue(4));
    let busy = slots.try_acquire().unwrap();
    let rude = Waker::from(Arc::new(Rude(slots.clone())));
    let mut first = Box::pin(slots.acquire());
    assert!(first.as_mut().poll(&mut Context::from_waker(&rude)).is_pending());
    let (caller, mut second) = (Caller::new(), Box::pin(slots.acquire()));
    assert!(caller.poll(&mut second).is_pending());
    drop(busy);
    let permit = now(caller.poll(&mut first)).unwrap();
    drop(permit);
    assert_eq!(caller.wakeups(), 1);
    drop(now(caller.poll(&mut second)).unwrap());
    assert_eq!((slots.in_flight(), slots.queued()), (0, 0));

    // Nor does it keep others from being woken when several are let in at once.
    let busy = slots.try_acquire().unwrap();
    let rude = Waker::from(Arc::new(Panics));
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(slots.acquire())).collect();
    assert!(waiting[0].as_mut().poll(&mut Context::from_waker(&rude)).is_pending());
    assert!(caller.poll(&mut waiting[1]).is_pending());
    slots.resize(3).unwrap();
    assert_eq!((caller.wakeups(), slots.in_flight()), (2, 3));
    drop((busy, waiting));
    assert_eq!((slots.in_flight(), slots.queued()), (0, 0));
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panics");
    }
}

/// Its last reference is the waker that the queue keeps; when it goes, a permit goes.
struct Owner(Bulkhead);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = (self.0.snapshot(), self.0.queued());
    }
}

#[tokio::test(start_paused = true)]
async fn a_waker_may_call_back_when_it_is_dropped() {
    let slots = bulkhead(config(1).queue(4));
    let _busy = slots.try_acquire().unwrap();
    let owner = || Waker::from(Arc::new(Owner(slots.clone())));
    let mut waits = Box::pin(slots.acquire());
    // Replaced by another task's, timed out, and dropped while it waits.
    assert!(waits.as_mut().poll(&mut Context::from_waker(&owner())).is_pending());
    assert!(waits.as_mut().poll(&mut Context::from_waker(&owner())).is_pending());
    let mut dropped = Box::pin(slots.acquire());
    assert!(dropped.as_mut().poll(&mut Context::from_waker(&owner())).is_pending());
    drop(dropped);
    advance(SECOND).await;
    assert!(waits.as_mut().poll(&mut Context::from_waker(&owner())).is_ready());
    assert_eq!(slots.queued(), 0);
}

/// X9: any mixture of ends, and a bulkhead that is told about by one that reads it.
#[tokio::test(start_paused = true)]
async fn gauges_are_right_in_every_history() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..50 {
        let bench = queueing(config(3).queue(4).max_wait(50 * MS));
        let mut calls = Vec::new();
        for _ in 0..200 {
            match random.u8(0..10) {
                0..4 => {
                    let answer = [Answer::OK, Answer::FAULT, Answer::HANGS, Answer::OK.after(2)];
                    bench.probe.answer(answer[random.usize(0..4)]);
                    calls.push(bench.call());
                }
                4..7 if !calls.is_empty() => {
                    let at = random.usize(0..calls.len());
                    if Caller::new().poll(&mut calls[at]).is_ready() {
                        drop(calls.swap_remove(at));
                    }
                }
                7 if !calls.is_empty() => {
                    drop(calls.swap_remove(random.usize(0..calls.len())));
                }
                8 => advance(random.u32(0..30) * MS).await,
                9 if random.bool() => bench.bulkhead.resize(random.usize(1..5)).unwrap(),
                _ => {}
            }
            let (in_flight, queued) = bench.counts();
            assert!(in_flight + queued <= calls.len());
        }
        drop(calls);
        assert_eq!(bench.counts(), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_handle_that_told_it() {
    let handle: Arc<std::sync::OnceLock<Bulkhead>> = Arc::default();
    let gauges = Gauges::default();
    let (seen, known) = (gauges.clone(), handle.clone());
    let options = Options::new().observer(move |event: &Event| {
        seen.see(event);
        // Not under the lock: it can be asked.
        if let Some(bulkhead) = known.get() {
            let _ = (bulkhead.snapshot(), bulkhead.explain());
        }
        panic!("an observer panics");
    });
    let slots = Bulkhead::with(config(1).queue(1), options).unwrap();
    handle.set(slots.clone()).unwrap();
    let busy = slots.try_acquire().unwrap();
    let mut waits = Box::pin(slots.acquire());
    assert!(slots.try_acquire().is_err());
    drop(busy);
    assert_eq!(gauges.read(), (1, 0));
    drop(now(Caller::new().poll(&mut waits)).unwrap());
    assert_eq!((gauges.read(), slots.in_flight()), ((0, 0), 0));
}

#[tokio::test(start_paused = true)]
async fn the_service_below_fails_and_the_next_call_gets_in() {
    let bench = refusing(config(1));
    bench.probe.answer(Answer::FAULT);
    for _ in 0..10 {
        assert_eq!(fault(bench.ask()), crate::support::Fault("fault"));
    }
    let _inside = bench.hang();
    assert!(!refusal(bench.ask()).attempted());
    assert_eq!(bench.probe.calls(), 11);
}
