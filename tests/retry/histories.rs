//! Calls under random histories: whatever becomes of them, each ends once, the budget has paid for what the
//! service saw and for nothing else, and nothing is asked more often than it has to be.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use portcullis::{
    Backoff, BudgetConfig, Error, Event, FallbackConfig, FallbackLayer, Outcome, Reason, Rejection,
    RetryBudget, RetryEnd, RetryLayer, RetryPolicy, deadline, retry,
};
use proptest::prelude::*;
use tower::{Layer, Service as _, ServiceExt as _};

use crate::{
    behaviour::exact,
    script::{Ask, Down, Failed, Scripted, ask, down, ends, ms},
    support::{Caller, Told, panic_of},
};

/// What one attempt comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Good,
    Fatal,
    Failing,
    FailedResponse,
    Refused,
    NotReady,
    PanicsInCall,
    PanicsInPoll,
}

/// One call: its attempts, how many polls each waits, and after how many polls the caller goes.
#[derive(Clone, Debug)]
struct History {
    lines: Vec<(Line, u32)>,
    dropped_after: u32,
    deadline: Option<u64>,
}

fn history() -> impl Strategy<Value = History> {
    let line = prop_oneof![
        1 => Just(Line::Good),
        1 => Just(Line::Fatal),
        6 => Just(Line::Failing),
        3 => Just(Line::FailedResponse),
        3 => Just(Line::Refused),
        2 => Just(Line::NotReady),
        1 => Just(Line::PanicsInCall),
        1 => Just(Line::PanicsInPoll),
    ];
    let lines = prop::collection::vec((line, 0_u32..3), 6);
    let dropped_after = prop_oneof![3 => Just(200_u32), 1 => 0_u32..12];
    let deadline = prop::option::weighted(0.3, 0_u64..400);
    (lines, dropped_after, deadline).prop_map(|(lines, dropped_after, deadline)| History {
        lines,
        dropped_after,
        deadline,
    })
}

/// What the service knows of the retries of all calls.
#[derive(Debug, Default)]
struct Books {
    /// Retries that it saw, or for which it failed to become ready, less those that were refused.
    paid: i64,
    attempts: u32,
    polls: u32,
}

#[derive(Clone, Debug)]
struct Service {
    lines: Arc<Mutex<Vec<(Line, u32)>>>,
    books: Arc<Mutex<Books>>,
    is_ready: bool,
}

impl tower::Service<()> for Service {
    type Response = u16;
    type Error = Failed;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let mut lines = self.lines.lock().unwrap();
        let mut books = self.books.lock().unwrap();
        // The first attempt's readiness is the caller's own.
        if books.attempts > 0 && lines.first().is_some_and(|(line, _)| *line == Line::NotReady) {
            lines.remove(0);
            books.paid += 1;
            return Poll::Ready(Err(Error::Inner(Down("not ready"))));
        }
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Answering {
        assert!(std::mem::take(&mut self.is_ready), "called without having been readied");
        let mut lines = self.lines.lock().unwrap();
        let (line, polls) = if lines.is_empty() { (Line::Good, 0) } else { lines.remove(0) };
        drop(lines);
        let is_retry = {
            let mut books = self.books.lock().unwrap();
            books.attempts += 1;
            let is_retry = retry::attempt().is_some_and(|attempt| attempt > 1);
            books.paid += i64::from(is_retry);
            is_retry
        };
        assert_ne!(line, Line::PanicsInCall, "on purpose");
        Answering { line, polls, is_retry, books: self.books.clone() }
    }
}

#[derive(Debug)]
struct Answering {
    line: Line,
    polls: u32,
    is_retry: bool,
    books: Arc<Mutex<Books>>,
}

impl Future for Answering {
    type Output = Result<u16, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.books.lock().unwrap().polls += 1;
        if self.polls > 0 {
            self.polls -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(match self.line {
            Line::Good | Line::NotReady => Ok(200),
            Line::Fatal => Ok(400),
            Line::Failing => Err(Error::Inner(Down("down"))),
            Line::FailedResponse => Ok(500),
            Line::Refused => {
                self.books.lock().unwrap().paid -= i64::from(self.is_retry);
                Err(Error::Rejected(Rejection::new(Reason::BulkheadFull, "below")))
            }
            Line::PanicsInCall | Line::PanicsInPoll => panic!("on purpose"),
        })
    }
}

type Judge = fn(&Result<u16, Failed>) -> Outcome;

fn by_status(result: &Result<u16, Failed>) -> Outcome {
    match result {
        Ok(500..) | Err(_) => Outcome::Failure,
        Ok(400..) => Outcome::Ignored,
        Ok(_) => Outcome::Success,
    }
}

/// Plays one call to its end, or until its caller goes.
async fn play(layer: &RetryLayer<Judge>, history: &History) -> Books {
    let books = Arc::<Mutex<Books>>::default();
    let lines = Arc::new(Mutex::new(history.lines.clone()));
    let inner = Service { lines, books: books.clone(), is_ready: false };
    let end = history.deadline.map(|after| (tokio::time::Instant::now() + ms(after)).into_std());
    let under = |run: &mut dyn FnMut() -> bool| match end {
        None => run(),
        Some(end) => deadline::enter(end, run),
    };
    let mut stack = layer.layer(inner);
    stack.ready().await.unwrap();
    let mut call = None;
    let made = catch_unwind(AssertUnwindSafe(|| {
        under(&mut || {
            call = Some(Box::pin(stack.call(())));
            true
        })
    }));
    let caller = Caller::new();
    if let (Ok(_), Some(mut call)) = (made, call) {
        for _ in 0..history.dropped_after {
            let poll = || under(&mut || caller.poll(&mut call).is_ready());
            match catch_unwind(AssertUnwindSafe(poll)) {
                Ok(false) => tokio::time::advance(ms(50)).await,
                Ok(true) | Err(_) => break,
            }
        }
    }
    let mut books = books.lock().unwrap();
    std::mem::take(&mut *books)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..Default::default() })]

    /// R4: refused, not ready, panicking, dropped or late: one end each, and the budget balances.
    #[test]
    fn every_call_ends_once_and_the_budget_balances(
        histories in prop::collection::vec(history(), 1..8),
        refusals: bool,
        attempts in 1_u32..6,
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let config = BudgetConfig::new(0.0).per_second(1.0).ttl(Duration::from_secs(100_000));
            let budget = RetryBudget::new(config).unwrap();
            let told = Told::default();
            let config = exact("db").budget(&budget).attempts(attempts).retry_refusals(refusals);
            let layer = RetryLayer::with(config, told.options()).unwrap();
            let layer = layer.classify_with(by_status as Judge);
            let (mut paid, mut begun) = (0, 0);
            for history in &histories {
                let books = play(&layer, history).await;
                paid += books.paid;
                begun += books.attempts;
                prop_assert!(books.attempts <= attempts, "{books:?}");
            }
            let ends = ends(&told);
            prop_assert_eq!(ends.len(), histories.len(), "one end each: {:?}", ends);
            prop_assert_eq!(budget.balance() as i64, 100_000 - paid);
            let told: u32 = ends.iter().map(|(attempts, _)| attempts).sum();
            prop_assert!(told >= begun, "attempts that ended before readiness count, too");
            let snapshot = layer.policy().snapshot();
            prop_assert_eq!(snapshot.calls, histories.len() as u64);
            prop_assert_eq!(snapshot.attempts, u64::from(told));
            prop_assert_eq!(retry::attempt(), None);
            Ok(())
        })?;
    }
}

/// A retry in what answers for a retry that a retry tries again: only the outermost one multiplies.
#[tokio::test(start_paused = true)]
async fn a_retry_in_a_fallback_in_a_retry_does_not_multiply() {
    let (main, backup) = (Scripted::new([down("main")]), Scripted::new([down("backup")]));
    let told = Told::default();
    let inner = |service: &Scripted| {
        RetryLayer::with(exact("inner"), told.options()).unwrap().layer(service.probe())
    };
    let fallback =
        FallbackLayer::service(FallbackConfig::new("backup"), inner(&backup), |ask: &Ask| {
            ask.clone()
        })
        .unwrap();
    let mut stack = RetryLayer::new(exact("outer")).unwrap().layer(fallback.layer(inner(&main)));
    assert_eq!(ask(&mut stack).await, Err(Error::Inner(Down("backup"))));
    assert_eq!((main.calls(), backup.calls()), (3, 3));
    assert_eq!(ends(&told), vec![(1, RetryEnd::Nested); 6]);

    // Where nothing retries outside, both do by themselves.
    let fallback =
        FallbackLayer::service(FallbackConfig::new("backup"), inner(&backup), |ask: &Ask| {
            ask.clone()
        })
        .unwrap();
    let mut stack = fallback.layer(inner(&main));
    assert_eq!(ask(&mut stack).await, Err(Error::Inner(Down("backup"))));
    assert_eq!((main.calls(), backup.calls()), (6, 6));
}

/// The user's own code: a classifier, and a hook that makes a request once more.
#[tokio::test(start_paused = true)]
async fn a_panic_in_code_of_the_users_ends_the_call_once_and_refunds() {
    let budget = RetryBudget::new(BudgetConfig::new(0.0).per_second(1.0)).unwrap();
    let (told, caller) = (Told::default(), Caller::new());
    let config = || exact("db").budget(&budget).attempts(4);

    let layer = RetryLayer::with(config(), told.options()).unwrap();
    let judged = layer.classify(|_: &Result<u16, Failed>| -> Outcome { panic!("judging") });
    let mut service = judged.layer(Scripted::new([down("down")]));
    let mut call = Box::pin(service.ready().await.unwrap().call(Ask::default()));
    assert!(panic_of(|| caller.poll(&mut call)).contains("judging"));
    drop(call);
    assert_eq!((budget.balance(), ends(&told)), (10, vec![(1, RetryEnd::Abandoned)]));

    // At the first attempt nothing has been called yet.
    let service = Scripted::new([down("down")]);
    let layer = RetryLayer::with(config(), told.options()).unwrap();
    let replay = |_: &Ask| -> Option<Ask> { panic!("replaying") };
    let mut first = layer.replay(replay).layer(service.probe());
    first.ready().await.unwrap();
    assert!(panic_of(|| drop(first.call(Ask::default()))).contains("replaying"));
    assert_eq!((service.calls(), ends(&told)), (0, vec![(1, RetryEnd::Abandoned)]));

    // At a later one, which was paid for and has not been made.
    let layer = RetryLayer::with(config(), told.options()).unwrap();
    let second = std::cell::Cell::new(false);
    let replay = move |ask: &Ask| {
        assert!(!second.replace(true), "replaying again");
        Some(ask.clone())
    };
    let replay = std::rc::Rc::new(replay);
    let mut later = layer.replay(move |ask: &Ask| replay(ask)).layer(service.probe());
    let mut call = Box::pin(later.ready().await.unwrap().call(Ask::default()));
    assert!(caller.poll(&mut call).is_pending());
    tokio::time::advance(ms(101)).await;
    assert!(panic_of(|| caller.poll(&mut call)).contains("replaying again"));
    drop(call);
    assert_eq!(ends(&told).len(), 1);
    assert_eq!((service.calls(), retry::attempt()), (1, None));
}

/// With no delay at all each attempt is one poll, and with the longest there is only one.
#[test]
fn delays_of_nothing_and_of_for_ever_are_not_polled_for() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let _entered = runtime.as_ref().unwrap().enter();
    let told = Told::default();
    let config = |delay| exact("db").backoff(Backoff::constant(delay)).no_budget().attempts(50);
    let policy = RetryPolicy::with(config(Duration::ZERO), told.options()).unwrap();
    let mut call = Box::pin(policy.run(|| async { Err::<(), _>(Error::Inner(())) }));
    let caller = Caller::new();
    let polls = (1..).find(|_| caller.poll(&mut call).is_ready());
    assert_eq!((polls, caller.wakeups()), (Some(50), 49));
    let log = told.take();
    assert_eq!(log.iter().filter(|event| matches!(event, Event::Retrying { .. })).count(), 49);

    let policy = RetryPolicy::new(config(Duration::MAX)).unwrap();
    let mut call = Box::pin(policy.run(|| async { Err::<(), _>(Error::Inner(())) }));
    let caller = Caller::new();
    assert!(caller.poll(&mut call).is_pending());
    assert!(caller.poll(&mut call).is_pending());
    assert_eq!(caller.wakeups(), 0);
    drop(call);
    assert_eq!(policy.snapshot().ends.of(RetryEnd::Abandoned), 1);
    // Under a deadline it is not begun at all.
    let end = deadline::within(
        Duration::from_secs(1),
        policy.run(|| async { Err::<(), _>(Error::Inner(())) }),
    );
    assert_eq!(runtime.as_ref().unwrap().block_on(end), Err(Error::Inner(())));
    assert_eq!(policy.snapshot().ends.of(RetryEnd::Deadline), 1);
}
