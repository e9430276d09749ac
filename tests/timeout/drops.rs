//! Dropped calls, panics, and what is in use when.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
};

use portcullis::{Error, Event};

use super::{support::*, *};

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_point_leaves_nothing_and_says_nothing() {
    let told = Told::default();
    let time_limit = TimeLimit::with(TimeoutConfig::new("db", SECOND), told.options()).unwrap();
    let (service, probe) = strict();
    probe.answer(Answer::HANGS);
    let mut service = time_limit.layer().layer(service);
    let caller = Caller::new();
    for polls in 0..4 {
        for waited in [Duration::ZERO, SECOND - MS, SECOND, 2 * SECOND] {
            assert!(caller.ready(&mut service).is_ready());
            let mut call = Box::pin(service.call(Ask(0)));
            assert!((0..polls).all(|_| caller.poll(&mut call).is_pending()));
            advance(waited).await;
            drop(call);
            assert_eq!((probe.live(), probe.reserved(), caller.wakers()), (0, 0, 0));
        }
    }
    // Whoever went away did not run out of time.
    assert_eq!((told.take(), time_limit.snapshot().timed_out), (vec![], 0));
    probe.answer(Answer::OK);
    assert_eq!(service.ready().await.unwrap().call(Ask(0)).await, Ok(Answered));
}

/// Says so when it is dropped, and never answers.
struct Hangs(Arc<Mutex<Vec<String>>>);

impl Future for Hangs {
    type Output = Result<(), Refused>;

    fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("dropped".to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn the_call_is_gone_before_anybody_learns_that_it_was_cut() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (told, hangs) = (Arc::clone(&log), Hangs(Arc::clone(&log)));
    let options = portcullis::Options::new()
        .observer(move |event: &Event| told.lock().unwrap().push(event.to_string()));
    let time_limit = TimeLimit::with(TimeoutConfig::new("db", SECOND), options).unwrap();
    let caller = Caller::new();
    let mut call = Box::pin(time_limit.run(hangs));
    assert!(caller.poll(&mut call).is_pending());
    advance(SECOND).await;
    assert!(caller.poll(&mut call).is_ready());
    let expected = ["dropped", "refused: db: the service did not answer in time"];
    assert_eq!(*log.lock().unwrap(), expected);
    drop(call);
    assert_eq!(log.lock().unwrap().len(), 2);
}

/// T2: a panic is a panic, and never reported as a timeout.
#[tokio::test(start_paused = true)]
async fn a_panic_is_never_a_timeout() {
    let told = Told::default();
    let time_limit = TimeLimit::with(TimeoutConfig::new("db", SECOND), told.options()).unwrap();
    let (service, probe) = strict();
    let mut service = time_limit.layer().layer(service);
    let caller = Caller::new();
    for (answer, waited) in [
        (Answer::PANICS_IN_CALL, Duration::ZERO),
        (Answer::PANICS_IN_POLL, Duration::ZERO),
        // Not even one that comes when the time is over.
        (Answer::PANICS_IN_POLL, SECOND),
        (Answer::PANICS_IN_POLL.after(2), SECOND),
    ] {
        probe.answer(answer);
        assert!(caller.ready(&mut service).is_ready());
        let text = if answer == Answer::PANICS_IN_CALL {
            panic_of(|| service.call(Ask(0)))
        } else {
            let mut call = Box::pin(service.call(Ask(0)));
            assert!(caller.poll(&mut call).is_pending());
            advance(waited).await;
            panic_of(|| caller.finish(&mut call))
        };
        assert_eq!((text.as_str(), probe.live()), (ON_DEMAND, 0));
    }
    assert_eq!((told.take(), time_limit.snapshot().timed_out), (vec![], 0));
}

/// A future whose drop panics when it is cut: that panic goes on, and is no timeout either.
#[tokio::test(start_paused = true)]
async fn a_panic_in_the_drop_of_a_cut_call_goes_on() {
    struct Throws;
    impl Future for Throws {
        type Output = Result<(), Refused>;
        fn poll(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }
    impl Drop for Throws {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let time_limit = limit(SECOND);
    let caller = Caller::new();
    let mut call = Box::pin(time_limit.run(Throws));
    assert!(caller.poll(&mut call).is_pending());
    advance(SECOND).await;
    assert_eq!(panic_of(|| caller.poll(&mut call)), "in drop");
    // Dropped once, and no more.
    assert!(catch_unwind(AssertUnwindSafe(|| drop(call))).is_ok());
    assert_eq!(time_limit.snapshot().timed_out, 0);
}

#[tokio::test(start_paused = true)]
async fn a_finished_future_says_so_when_it_is_polled_again() {
    let finished = "a response future was polled after it had finished";
    let caller = Caller::new();
    let time_limit = limit(SECOND);
    let polled_again = |mut call: Pin<Box<_>>| {
        assert!(caller.poll(&mut call).is_ready());
        assert_eq!(panic_of(|| caller.poll(&mut call)), finished);
    };
    polled_again(Box::pin(time_limit.run(ready(Ok::<_, Refused>(())))));
    time_limit.disable();
    polled_again(Box::pin(time_limit.run(ready(Ok(())))));
    time_limit.enable();
    let refused = time_limit.run_within(Duration::ZERO, ready(Ok(())));
    polled_again(Box::pin(refused));
    let mut cut = Box::pin(time_limit.run(pending::<Result<(), Error<()>>>()));
    assert!(caller.poll(&mut cut).is_pending());
    advance(SECOND).await;
    assert!(caller.poll(&mut cut).is_ready());
    assert_eq!(panic_of(|| caller.poll(&mut cut)), finished);
}

/// A call outlives everything that it was made with.
#[tokio::test(start_paused = true)]
async fn a_call_keeps_what_it_needs() {
    let told = Told::default();
    let layer = TimeoutLayer::with(TimeoutConfig::new("db", SECOND), told.options()).unwrap();
    let mut service = layer.layer(sleepy());
    let call = service.call(2 * SECOND);
    drop((layer, service));
    assert_eq!(refused(call.await).reason(), Reason::Timeout);
    assert_eq!(told.lines(), ["refused: db: the service did not answer in time"]);
}
