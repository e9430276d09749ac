//! The response of a whole stack is dropped at every point at which it can wait: nothing is left behind,
//! and the next call finds everything there is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use portcullis::{
    BulkheadConfig, BulkheadPermit, Error, FallbackConfig, FallbackLayer, QueuedBulkheadLayer,
    RetryEnd, State, WaitingRateLimitLayer, Waits,
};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::{
    backend::{Backend, DOWN, Down, MS, OK, SECOND, ask},
    full::{Full, config, rate},
    support::{Caller, panic_of},
};

/// Where a call is, read off what is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Token,
    Room,
    Attempt(usize),
    BackOff(usize),
    Fallback,
    Done,
}

/// A full stack whose fallback asks another service, and whose circuit is half-open from the beginning:
/// a call waits 100 ms for a token, until the test makes room for it, 50 ms for each of two attempts, of
/// which the first is a probe that fails or is cut, 100 ms in between, and 50 ms for the other service.
struct World<S> {
    full: Full<S>,
    backup: Arc<AtomicU32>,
    busy: Option<BulkheadPermit>,
}

/// Counts as long as it lives.
struct Live(Arc<AtomicU32>);

impl Live {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// As `half_open` is, the first attempt is a probe; otherwise the circuit stays closed.
fn world(half_open: bool) -> World<impl crate::full::Answers<Error<Down>>> {
    let backend = Backend::new([DOWN.after(50 * MS)]);
    let backup = Arc::new(AtomicU32::new(0));
    let live = backup.clone();
    let other = service_fn(move |_: u32| {
        let live = Live::new(&live);
        async move {
            let _live = live;
            tokio::time::sleep(50 * MS).await;
            Ok::<u32, Error<Down>>(1)
        }
    });
    let slots = BulkheadConfig::new("db", 1).queue(5).max_wait(3 * SECOND);
    let client = config()
        .build()
        .unwrap()
        .with_rate_limit(WaitingRateLimitLayer::new(rate(), Waits::up_to(3 * SECOND)).unwrap())
        .with_bulkhead(QueuedBulkheadLayer::new(slots).unwrap())
        .with_fallback(
            FallbackLayer::service(FallbackConfig::new("db"), other, u32::clone).unwrap(),
        );
    let full = Full {
        limiter: client.rate_limit().limiter().clone(),
        slots: client.bulkhead().bulkhead().clone(),
        policy: client.retry().policy().clone(),
        budget: client.retry().policy().budget().unwrap().clone(),
        circuit: client.circuit_breaker().circuit().clone(),
        total: client.total_timeout().time_limit().clone(),
        attempt: client.attempt_timeout().time_limit().clone(),
        service: client.layer(backend.clone()),
        backend,
    };
    full.limiter.try_acquire_n(10).unwrap();
    let busy = full.slots.try_acquire().ok();
    if half_open {
        full.circuit.half_open();
    }
    World { full, backup, busy }
}

impl<S> World<S> {
    fn stage(&self) -> Stage {
        let Full { limiter, slots, backend, .. } = &self.full;
        if limiter.snapshot().queued > 0 {
            Stage::Token
        } else if slots.queued() > 0 {
            Stage::Room
        } else if backend.live() > 0 {
            Stage::Attempt(backend.calls())
        } else if self.backup.load(SeqCst) > 0 {
            Stage::Fallback
        } else if self.busy.is_none() && slots.in_flight() > 0 {
            Stage::BackOff(backend.calls())
        } else {
            Stage::Done
        }
    }

    /// Nothing of a call is in use, whatever point it was dropped at.
    #[track_caller]
    fn assert_idle(&self, stage: Stage) {
        let Full { limiter, slots, backend, circuit, policy, budget, .. } = &self.full;
        let held = u32::from(self.busy.is_some()) as usize;
        assert_eq!((slots.in_flight(), slots.queued()), (held, 0), "{stage:?}");
        assert_eq!((limiter.snapshot().queued, backend.live()), (0, 0), "{stage:?}");
        assert_eq!(circuit.snapshot().probes_in_flight, 0, "{stage:?}");
        assert_eq!(self.backup.load(SeqCst), 0, "{stage:?}");
        // Paid for is what has begun, and nothing else.
        let retries = backend.calls().saturating_sub(1) as u64;
        assert_eq!(budget.balance(), 100 - retries, "{stage:?}");
        let snapshot = policy.snapshot();
        assert_eq!(snapshot.ends.total(), snapshot.calls, "{stage:?}");
        assert_eq!(snapshot.attempts, backend.calls() as u64, "{stage:?}");
    }
}

/// Drives one call by hand, 10 ms at a time, makes room for it after 300 ms, and drops it after so many
/// polls; gives the stage that it was in.
async fn drop_after<S>(world: &mut World<S>, polls: u32) -> Stage
where
    S: crate::full::Answers<Error<Down>>,
{
    let caller = Caller::new();
    assert!(caller.ready(&mut world.full.service).is_ready());
    let mut response = Box::pin(world.full.service.call(7));
    let mut finished = false;
    for nth in 0..polls {
        if nth == 30 {
            world.busy = None;
        }
        finished = caller.poll(&mut response).is_ready();
        if finished {
            break;
        }
        advance(10 * MS).await;
    }
    let stage = if finished { Stage::Done } else { world.stage() };
    drop(response);
    assert_eq!(caller.wakers(), 0, "whoever is gone is not woken: {stage:?}");
    stage
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_a_call_gives_everything_back() {
    let mut stages: BTreeMap<Stage, u32> = BTreeMap::new();
    for polls in 0..100 {
        let mut world = world(false);
        let tokens = world.full.limiter.snapshot().available;
        let start = tokio::time::Instant::now();
        let stage = drop_after(&mut world, polls).await;
        world.assert_idle(stage);
        // A token that was not waited for to the end is nobody's.
        let passed = (start.elapsed().as_millis() / 100) as u64;
        let taken = u64::from(stage > Stage::Token);
        assert_eq!(world.full.limiter.snapshot().available, tokens + passed - taken, "{stage:?}");
        if let Stage::BackOff(_) | Stage::Attempt(_) = stage {
            assert_eq!(world.full.policy.snapshot().ends.of(RetryEnd::Abandoned), 1);
        }

        // The next call finds a token, room, and a circuit that is closed.
        world.busy = None;
        world.full.backend.script([OK]);
        advance(SECOND).await;
        let answer = ask(&mut world.full.service).await;
        assert_eq!((answer, world.full.circuit.state()), (Ok(200), State::Closed), "{stage:?}");
        *stages.entry(stage).or_default() += 1;
    }
    let [first, second, third] = [1, 2, 3].map(Stage::Attempt);
    let seen: Vec<_> = stages.keys().copied().collect();
    assert_eq!(
        seen,
        [
            Stage::Token,
            Stage::Room,
            first,
            second,
            third,
            Stage::BackOff(1),
            Stage::BackOff(2),
            Stage::Fallback,
            Stage::Done
        ],
        "every point at which a call can wait"
    );
    assert!(stages.values().all(|&often| often >= 5), "each more than once: {stages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_slot_back() {
    let mut seen = Vec::new();
    for polls in 0..100 {
        let mut world = world(true);
        let generation = world.full.circuit.snapshot().generation;
        let stage = drop_after(&mut world, polls).await;
        let circuit = &world.full.circuit;
        assert_eq!(circuit.snapshot().probes_in_flight, 0, "{stage:?}");
        assert_eq!((world.full.backend.live(), world.full.slots.queued()), (0, 0), "{stage:?}");
        match stage {
            // It has decided nothing: the same half-open period goes on, and its one slot is free.
            Stage::Token | Stage::Room | Stage::Attempt(1) => {
                let now = circuit.snapshot();
                assert_eq!((now.state, now.generation), (State::HalfOpen, generation));
                world.busy = None;
                world.full.backend.script([OK]);
                advance(SECOND).await;
                assert_eq!(ask(&mut world.full.service).await, Ok(200));
                assert_eq!(world.full.circuit.state(), State::Closed);
            }
            // The probe has failed, and the attempt after it was refused and cost nothing.
            _ => {
                assert_eq!(circuit.state(), State::Open, "{stage:?}");
                assert_eq!((world.full.budget.balance(), world.full.backend.calls()), (100, 1));
            }
        }
        seen.push(stage);
    }
    seen.dedup();
    let whole = [
        Stage::Token,
        Stage::Room,
        Stage::Attempt(1),
        Stage::BackOff(1),
        Stage::Fallback,
        Stage::Done,
    ];
    // Before its first poll a call already waits in the line for tokens.
    assert_eq!(seen, whole);
}

/// Nor does a panic in the caller's own task, which drops the response while it unwinds.
#[tokio::test(start_paused = true)]
async fn a_response_dropped_while_unwinding_gives_everything_back() {
    for polls in [0, 5, 20, 33, 36, 46, 51, 70] {
        let mut world = world(false);
        let caller = Caller::new();
        assert!(caller.ready(&mut world.full.service).is_ready());
        let mut response = Box::pin(world.full.service.call(7));
        for nth in 0..polls {
            if nth == 30 {
                world.busy = None;
            }
            let _ = caller.poll(&mut response);
            advance(10 * MS).await;
        }
        let stage = world.stage();
        let text = panic_of(move || {
            let _dropped = response;
            panic!("somewhere else");
        });
        assert_eq!(text, "somewhere else");
        world.assert_idle(stage);
        assert_eq!(world.full.circuit.state(), State::Closed);
    }
}

/// Many at once, each dropped at its own time, through one stack.
#[tokio::test(start_paused = true)]
async fn a_crowd_that_leaves_leaves_nothing() {
    let mut world = world(false);
    world.busy = None;
    let mut tasks = Vec::new();
    for nth in 0..40 {
        let call = world.full.service.clone().oneshot(7);
        tasks.push(tokio::spawn(tokio::time::timeout(nth * 37 * MS, call)));
    }
    let mut left = 0;
    for task in tasks {
        left += u32::from(task.await.unwrap().is_err());
    }
    assert!(left > 10, "{left} left before their answer");
    let Full { limiter, slots, backend, circuit, policy, budget, .. } = &world.full;
    assert_eq!((slots.in_flight(), slots.queued(), limiter.snapshot().queued), (0, 0, 0));
    assert_eq!((backend.live(), circuit.snapshot().probes_in_flight), (0, 0));
    assert_eq!(world.backup.load(SeqCst), 0);
    let snapshot = policy.snapshot();
    assert_eq!(snapshot.attempts, backend.calls() as u64);
    assert_eq!(
        budget.balance(),
        100 - (snapshot.attempts - snapshot.calls),
        "of attempts that began"
    );
}
