//! A guard against panics: what becomes an error, what is told of it, and who goes on. Dropped calls,
//! readiness and the readied instance are in `contract.rs`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    any::Any,
    convert::Infallible,
    future::{Future, pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{
    BoxError, CatchPanicConfig, CatchPanicLayer, Cause, Circuit, CircuitBreakerConfig, Command,
    Error, Event, Mode, Options, PanicGuard, PolicyKind, PolicySnapshot, Reason, Registry,
    Rejection, State, TimeLimit, TimeoutConfig, catch_panic::message,
};
use support::{
    Answer, Answered, Ask, Caller, ON_DEMAND, Readiness, Told, panic_of, refusal, strict,
};
use tower::{Layer, Service, ServiceExt, service_fn};

/// An error that only refusals can be.
type Refused = Error<Infallible>;

fn guard() -> PanicGuard {
    PanicGuard::new(CatchPanicConfig::new("plugin")).unwrap()
}

fn observed() -> (PanicGuard, Told) {
    let told = Told::default();
    (PanicGuard::with(CatchPanicConfig::new("plugin"), told.options()).unwrap(), told)
}

fn rejected() -> Event {
    Event::Rejected(Rejection::new(Reason::Panicked, "plugin"))
}

fn would_reject() -> Event {
    Event::WouldReject { policy: "plugin", kind: PolicyKind::CatchPanic, reason: Reason::Panicked }
}

/// A future that panics in its poll with this.
fn throws(payload: impl Any + Send + Clone) -> impl Future<Output = Result<(), Refused>> {
    poll_fn(move |_| panic_any(payload.clone()))
}

#[tokio::test]
async fn a_panic_is_an_error_that_says_who_and_that_the_service_was_called() {
    let (service, probe) = strict();
    let mut service = guard().layer().layer(service);
    for answer in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL] {
        probe.answer(answer);
        let caught = refusal(service.ready().await.unwrap().call(Ask(0)).await);
        assert_eq!((caught.reason(), caught.policy()), (Reason::Panicked, "plugin"));
        assert_eq!((caught.kind(), caught.attempted()), (PolicyKind::CatchPanic, true));
        assert_eq!(caught.to_string(), "plugin: the service panicked");
        assert_eq!(probe.live(), 0);
    }
    probe.readiness(Readiness::Panics);
    let caught = refusal(service.ready().await.map(|_| ()));
    assert_eq!((caught.reason(), caught.policy()), (Reason::Panicked, "plugin"));
    assert_eq!(service.panic_guard().snapshot().panics, 3);
}

#[tokio::test]
async fn answers_and_errors_pass_and_are_not_told() {
    let (guard, told) = observed();
    let service = guard.layer().layer(service_fn(|well: bool| {
        ready(if well { Ok("well") } else { Err(Error::Inner("down")) })
    }));
    assert_eq!(service.clone().oneshot(true).await, Ok("well"));
    assert_eq!(service.oneshot(false).await, Err(Error::Inner("down")));
    assert_eq!(guard.call(|| Err::<(), _>(Error::Inner(1))), Err(Error::Inner(1)));
    assert_eq!((told.take(), guard.snapshot().panics), (vec![], 0));
}

/// W6: nothing of the library's dies of a panic; neighbours, clones and the service itself go on.
#[tokio::test]
async fn neighbours_and_clones_go_on() {
    let (service, probe) = strict();
    let layer = CatchPanicLayer::new(CatchPanicConfig::new("plugin")).unwrap();
    let mut services = [(); 3].map(|()| layer.layer(service.clone()));
    drop(service);
    let caller = Caller::new();
    probe.answer(Answer::OK.after(3));
    assert!(caller.ready(&mut services[1]).is_ready());
    let mut in_flight = Box::pin(services[1].call(Ask(0)));
    for answer in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL] {
        probe.answer(answer);
        assert!(caller.poll(&mut in_flight).is_pending());
        assert!(services[0].ready().await.unwrap().call(Ask(0)).await.is_err());
        probe.answer(Answer::OK);
        for service in &mut services {
            assert_eq!(service.ready().await.unwrap().call(Ask(0)).await, Ok(Answered));
        }
    }
    assert_eq!(caller.finish(&mut in_flight), Ok(Answered));
    // Tasks, too: the one whose call panicked goes on.
    probe.answer(Answer::PANICS_IN_POLL);
    let mut mine = services[0].clone();
    let task = tokio::spawn(async move {
        let first = mine.ready().await.unwrap().call(Ask(0)).await;
        (refusal(first).reason(), "and on it goes")
    });
    assert_eq!(task.await.unwrap(), (Reason::Panicked, "and on it goes"));
}

#[tokio::test]
async fn the_hook_sees_what_was_thrown_and_message_reads_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let guard = guard();
    let hooked = guard.clone().on_panic(move |payload| {
        log.lock().unwrap().push(message(payload).map(str::to_owned));
    });
    assert!(hooked.run(throws("a text")).await.is_err());
    assert!(hooked.run(throws(String::from("formatted"))).await.is_err());
    assert!(hooked.run(throws(42)).await.is_err());
    assert!(hooked.call(|| -> Result<(), Refused> { panic!("{} of {}", 1, 2) }).is_err());
    let texts = [Some("a text"), Some("formatted"), None, Some("1 of 2")];
    assert_eq!(*seen.lock().unwrap(), texts.map(|text| text.map(str::to_owned)));
    // Only those made with it; but all of them are one guard.
    assert!(guard.run(throws("unseen")).await.is_err());
    assert_eq!((seen.lock().unwrap().len(), guard.snapshot().panics), (4, 5));
    let log = Arc::clone(&seen);
    let layer = guard.layer().on_panic(move |_| log.lock().unwrap().push(None));
    let service = layer.layer(service_fn(|(): ()| throws("by the layer")));
    assert!(service.oneshot(()).await.is_err());
    assert_eq!((seen.lock().unwrap().len(), guard.snapshot().panics), (5, 6));
}

/// Counts its drop and panics in it, as often as it has lives; what it throws then has one less.
struct Nasty(Arc<AtomicU32>, u32);

impl Drop for Nasty {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        if let Some(lives) = self.1.checked_sub(1) {
            resume_unwind(Box::new(Self(Arc::clone(&self.0), lives)));
        }
    }
}

#[tokio::test]
async fn neither_what_was_thrown_nor_a_hook_can_throw_again() {
    let (guard, told) = observed();
    let drops = Arc::new(AtomicU32::new(0));
    let nasty = Arc::clone(&drops);
    let caught = guard.call(|| -> Result<(), Refused> { resume_unwind(Box::new(Nasty(nasty, 1))) });
    assert!(caught.is_err());
    assert_eq!(drops.load(SeqCst), 1, "dropped, and what that threw was let go");
    let hooked = guard.clone().on_panic(|_| panic!("in the hook"));
    assert!(hooked.run(throws("in poll")).await.is_err());
    assert_eq!((told.take(), guard.snapshot().panics), (vec![rejected(), rejected()], 2));
    // What ordinary panics throw is freed, as ever.
    let text = Arc::new(());
    let thrown = Arc::clone(&text);
    assert!(guard.call(|| -> Result<(), Refused> { panic_any(thrown) }).is_err());
    assert_eq!(Arc::strong_count(&text), 1);
}

/// Counts polls; panics in one of them and in its drop.
struct Brittle {
    polls: Arc<AtomicU32>,
    answers: bool,
}

impl Future for Brittle {
    type Output = Result<(), Refused>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.polls.fetch_add(1, SeqCst);
        if self.answers { Poll::Ready(Ok(())) } else { panic!("in poll") }
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        self.polls.fetch_add(100, SeqCst);
        panic!("in drop");
    }
}

#[tokio::test]
async fn a_future_that_panicked_is_dropped_at_once_and_never_polled_again() {
    let finished = "a response future was polled after it had finished";
    let (guard, told) = observed();
    let polls = Arc::new(AtomicU32::new(0));
    let caller = Caller::new();
    // The first panics in its poll and in its drop, the second after its answer, which stays.
    for (answers, panics) in [(false, 2), (true, 3)] {
        polls.store(0, SeqCst);
        let brittle = Brittle { polls: Arc::clone(&polls), answers };
        let mut call = Box::pin(guard.run(brittle));
        let Poll::Ready(result) = caller.poll(&mut call) else { panic!("it does not wait") };
        assert_eq!((result.is_ok(), polls.load(SeqCst)), (answers, 101));
        assert_eq!(panic_of(|| caller.poll(&mut call)), finished);
        drop(call);
        assert_eq!((polls.load(SeqCst), guard.snapshot().panics), (101, panics));
    }
    assert_eq!(told.take(), [rejected()], "one call was refused, the other has its answer");
    // In shadow that panic goes on like any other.
    guard.shadow();
    let mut call = Box::pin(guard.run(Brittle { polls, answers: true }));
    assert_eq!(panic_of(|| caller.poll(&mut call)), "in drop");
}

#[test]
fn a_finished_future_says_so_when_it_is_polled_again() {
    let finished = "a response future was polled after it had finished";
    let caller = Caller::new();
    let mut answered = Box::pin(guard().run(ready(Ok::<_, Refused>(()))));
    let mut service =
        guard().layer().layer(service_fn(|(): ()| -> std::future::Ready<Result<(), Refused>> {
            panic!("in call")
        }));
    let mut panicked = Box::pin(service.call(()));
    assert!(caller.poll(&mut answered).is_ready() && caller.poll(&mut panicked).is_ready());
    assert_eq!(panic_of(|| caller.poll(&mut answered)), finished);
    assert_eq!(panic_of(|| caller.poll(&mut panicked)), finished);
}

#[tokio::test]
async fn a_dropped_call_is_dropped_and_a_panic_elsewhere_is_none_of_ours() {
    let (guard, told) = observed();
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let mut service = guard.layer().layer(service);
    let caller = Caller::new();
    for polls in 0..3 {
        assert!(caller.ready(&mut service).is_ready());
        let mut call = Box::pin(service.call(Ask(0)));
        assert!((0..polls).all(|_| caller.poll(&mut call).is_pending()));
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _dropped_while_unwinding = call;
            panic!("somewhere else");
        }));
        assert!(unwound.is_err());
        assert_eq!(probe.live(), 0);
    }
    drop(guard.run(pending::<Result<(), Refused>>()));
    assert_eq!((told.take(), guard.snapshot().panics), (vec![], 0));
}

#[tokio::test]
async fn shadow_reports_and_lets_go_on_and_disabled_it_is_not_there() {
    let told = Told::default();
    let hooked = Arc::new(AtomicU32::new(0));
    let hook = Arc::clone(&hooked);
    let guard = PanicGuard::with(CatchPanicConfig::new("plugin"), told.options()).unwrap();
    let guard = guard.on_panic(move |_| {
        hook.fetch_add(1, SeqCst);
    });
    let (service, probe) = strict();
    let mut service = guard.layer().layer(service);
    let caller = Caller::new();
    let mut panics = || {
        probe.answer(Answer::PANICS_IN_CALL);
        assert!(caller.ready(&mut service).is_ready());
        assert_eq!(panic_of(|| service.call(Ask(0))), ON_DEMAND);
        probe.answer(Answer::PANICS_IN_POLL);
        assert!(caller.ready(&mut service).is_ready());
        let mut call = Box::pin(service.call(Ask(0)));
        assert!(caller.poll(&mut call).is_pending());
        assert_eq!(panic_of(|| caller.poll(&mut call)), ON_DEMAND);
        probe.readiness(Readiness::Panics);
        assert_eq!(panic_of(|| caller.ready(&mut service)), ON_DEMAND);
        probe.readiness(Readiness::Now);
    };
    guard.shadow();
    panics();
    assert_eq!(told.take(), [would_reject(), would_reject(), would_reject()]);
    assert_eq!((guard.snapshot().panics, hooked.load(SeqCst)), (3, 3));
    guard.disable();
    panics();
    assert_eq!((told.take(), guard.snapshot().panics, hooked.load(SeqCst)), (vec![], 3, 3));

    // What is commanded holds from the next panic on, also of calls that have begun.
    let call = guard.run(throws("in poll"));
    guard.enable();
    assert!(call.await.is_err());
    assert_eq!((told.take(), guard.snapshot().panics), (vec![rejected()], 4));
}

#[tokio::test]
async fn a_registry_shows_explains_and_commands_it() {
    let guard = guard();
    let registry = Registry::new();
    registry.add(&guard).unwrap();
    assert_eq!(registry.names(), [("plugin", PolicyKind::CatchPanic)]);
    let _ = guard.run(throws("in poll")).await;
    let snapshot = registry.snapshot().remove(0).1;
    let PolicySnapshot::CatchPanic(now) = snapshot else { panic!("{snapshot:?}") };
    assert_eq!((now.mode, now.panics), (Mode::Enforce, 1));

    let why = registry.explain().remove(0);
    assert_eq!(why.cause, Cause::Panics { caught: 1 });
    assert_eq!(why.to_string(), "plugin is enforcing and admits calls: 1 panic caught");
    registry.command("plugin", Command::Shadow).unwrap();
    assert!(guard.explain().shadow);
    registry.command("plugin", Command::Reset).unwrap();
    assert_eq!((guard.snapshot().mode, guard.snapshot().panics), (Mode::Shadow, 0));
    registry.command("plugin", Command::Disable).unwrap();
    assert_eq!(guard.explain().cause, Cause::Command(Command::Disable));
    registry.command("plugin", Command::Enable).unwrap();
    let error = registry.command("plugin", Command::HalfOpen).unwrap_err();
    assert_eq!((error.field(), error.value()), ("command", "half_open"));
    registry.get::<PanicGuard>("plugin").unwrap().leak().disable();
    assert_eq!(guard.snapshot().mode, Mode::Disabled);
}

#[test]
fn a_configuration_is_a_name() {
    let error = PanicGuard::new(CatchPanicConfig::new("")).unwrap_err();
    assert_eq!(error.to_string(), "`name` = \"\": a policy needs a name");
    assert_eq!(CatchPanicLayer::new(CatchPanicConfig::new("")).unwrap_err(), error);
    let config = CatchPanicConfig::default();
    assert_eq!((config.name, config.clone().name("x").name), ("catch_panic", "x"));
    assert_eq!(PanicGuard::new(config.clone()).unwrap().config(), config);
    let options = Options::new().observer(|_: &Event| {});
    let layer = CatchPanicLayer::with(config, options).unwrap();
    assert_eq!(
        format!("{layer:?}"),
        "CatchPanicLayer { panic_guard: \
         PanicGuard { name: \"catch_panic\", mode: Enforce, panics: 0 } }"
    );
}

/// A breaker below sees the panic itself, one above the error in its place: to both it is a failure.
#[tokio::test]
async fn breakers_on_both_sides_see_a_failure() {
    let circuit = || Circuit::new(CircuitBreakerConfig::new("c").consecutive_failures(3)).unwrap();
    let (above, below) = (circuit(), circuit());
    let (service, probe) = strict();
    let guarded = guard().layer().layer(below.layer().layer(service));
    let mut service = above.layer().layer(guarded);
    for answer in [Answer::PANICS_IN_CALL, Answer::PANICS_IN_POLL, Answer::PANICS_IN_CALL] {
        probe.answer(answer);
        let caught = refusal(service.ready().await.unwrap().call(Ask(0)).await);
        assert_eq!(caught.reason(), Reason::Panicked);
    }
    assert_eq!((above.state(), below.state()), (State::Open, State::Open));
    assert_eq!((above.snapshot().failures, below.snapshot().failures), (3, 3));
    // What the library answers for itself passes through.
    above.close();
    let refused = refusal(service.ready().await.unwrap().call(Ask(0)).await);
    assert_eq!((refused.reason(), refused.policy()), (Reason::CircuitOpen, "c"));
}

/// A timeout above a guard gets an error, and one below lets the panic through.
#[tokio::test]
async fn a_timeout_on_either_side_changes_nothing() {
    let limit = TimeLimit::new(TimeoutConfig::new("t", Duration::from_secs(60))).unwrap();
    let guard = guard();
    let (above, below) = (limit.layer(), limit.layer());
    let stack =
        above.layer(guard.layer().layer(below.layer(service_fn(|(): ()| throws("in poll")))));
    let Err(Error::Rejected(caught)) = stack.oneshot(()).await else { panic!("it was caught") };
    assert_eq!((caught.reason(), caught.policy()), (Reason::Panicked, "plugin"));
    assert_eq!(limit.snapshot().timed_out, 0);
}

#[tokio::test]
async fn a_boxed_error_carries_the_refusal() {
    let service = guard().layer().layer(service_fn(|(): ()| {
        poll_fn(|_| -> Poll<Result<(), BoxError>> { panic!("in poll") })
    }));
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!(Rejection::find(&*error).map(Rejection::reason), Some(Reason::Panicked));
}

/// Every panic on every thread counts once.
#[test]
fn threads_share_one_guard() {
    let layer = guard().layer();
    support::on_threads(4, |_| {
        let mut service = layer.clone().layer(service_fn(|(): ()| {
            poll_fn(|_| -> Poll<Result<(), Refused>> { resume_unwind(Box::new("quietly")) })
        }));
        for _ in 0..500 {
            let caught = Caller::new().poll(&mut Box::pin(service.call(())));
            assert!(matches!(caught, Poll::Ready(Err(_))));
        }
    });
    assert_eq!(layer.panic_guard().snapshot().panics, 2_000);
}
