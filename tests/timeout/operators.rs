//! What operators see and do: events, snapshots, explanations, modes, the registry.

use portcullis::{Cause, Command, Event, Mode, Options, PolicySnapshot, Registry, State};

use super::{support::Told, *};

fn observed() -> (TimeLimit, Told) {
    let told = Told::default();
    let config = TimeoutConfig::new("db", SECOND).min_remaining(100 * MS);
    (TimeLimit::with(config, told.options()).unwrap(), told)
}

fn in_time() -> Event {
    Event::InTime { policy: "db", kind: PolicyKind::Timeout }
}

fn would_reject(reason: Reason) -> Event {
    Event::WouldReject { policy: "db", kind: PolicyKind::Timeout, reason }
}

fn rejected(reason: Reason) -> Event {
    Event::Rejected(Rejection::new(reason, "db"))
}

/// Counts of calls that ran out of time and of calls that were refused.
fn counts(time_limit: &TimeLimit) -> (u64, u64) {
    let now = time_limit.snapshot();
    (now.timed_out, now.refused)
}

/// A call that begins with too little time left and answers at once.
async fn hurried(time_limit: &TimeLimit) -> Result<(), Refused> {
    deadline::within(50 * MS, async { time_limit.run(ready(Ok(()))).await }).await
}

#[tokio::test(start_paused = true)]
async fn every_call_is_told_once_as_what_it_was() {
    let (time_limit, told) = observed();
    let mut service = time_limit.layer().layer(sleepy());
    assert!(service.call(Duration::ZERO).await.is_ok());
    assert!(service.call(SECOND / 2).await.is_ok());
    assert_eq!(told.take(), [in_time(), in_time()]);
    // An error is an answer.
    let failed = time_limit.run(ready(Err::<(), _>(Error::Inner("down")))).await;
    assert_eq!((failed, told.take()), (Err(Error::Inner("down")), vec![in_time()]));
    // So is what is ready when the time is over.
    let mut polls = 0;
    let last_word = poll_fn(|_| {
        polls += 1;
        if polls == 3 { Poll::Ready(Ok::<_, Refused>(())) } else { Poll::Pending }
    });
    let (answer, after) = timed(time_limit.run(last_word)).await;
    assert_eq!((answer, after, told.take()), (Ok(()), SECOND, vec![in_time()]));
    assert!(service.call(2 * SECOND).await.is_err());
    assert_eq!(told.take(), [rejected(Reason::Timeout)]);
    assert!(hurried(&time_limit).await.is_err());
    assert_eq!(told.take(), [rejected(Reason::DeadlineTooShort)]);
    assert_eq!(counts(&time_limit), (1, 1));
}

/// Nothing is cut or refused, and everything is said that would have been.
#[tokio::test(start_paused = true)]
async fn shadow_reports_and_goes_on() {
    let (time_limit, told) = observed();
    time_limit.shadow();
    let mut service = time_limit.layer().layer(sleepy());
    let (answer, after) = timed(service.call(SECOND / 2)).await;
    assert_eq!((answer, after, told.take()), (Ok(()), SECOND / 2, vec![in_time()]));

    let (answer, after) = timed(service.call(10 * SECOND)).await;
    assert_eq!((answer, after), (Ok(()), 10 * SECOND));
    assert_eq!(told.take(), [would_reject(Reason::Timeout)], "once, and then no more");

    // Told when its time is over, not when it answers.
    let caller = Caller::new();
    let mut call = Box::pin(service.call(3_600 * SECOND));
    assert!(caller.poll(&mut call).is_pending());
    advance(SECOND).await;
    for _ in 0..10 {
        assert!(caller.poll(&mut call).is_pending());
    }
    assert_eq!(told.take(), [would_reject(Reason::Timeout)]);
    drop(call);
    assert_eq!(told.take(), []);
    // Said by the clock before tokio's timer, which counts in milliseconds: then that is given up.
    let mut call =
        Box::pin(time_limit.run_within(SECOND + 100 * NS, pending::<Result<(), Refused>>()));
    assert!(caller.poll(&mut call).is_pending());
    advance(SECOND + 200 * NS).await;
    assert_eq!((caller.wakers(), told.take()), (1, vec![]));
    assert!(caller.poll(&mut call).is_pending());
    assert_eq!((caller.wakers(), told.take()), (0, vec![would_reject(Reason::Timeout)]));

    assert_eq!(hurried(&time_limit).await, Ok(()));
    assert_eq!(told.take(), [would_reject(Reason::DeadlineTooShort)]);
    // Said already: it is not looked after any more.
    let slow = deadline::within(50 * MS, async { service.call(5 * SECOND).await });
    assert_eq!(slow.await, Ok(()));
    assert_eq!(told.take(), [would_reject(Reason::DeadlineTooShort)]);
    assert_eq!(counts(&time_limit), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn disabled_it_is_not_there() {
    let (time_limit, told) = observed();
    let asked = Arc::new(AtomicU32::new(0));
    let asks = Arc::clone(&asked);
    let mut service = time_limit
        .layer()
        .limit_from(move |_: &Duration| {
            asks.fetch_add(1, SeqCst);
            None
        })
        .layer(sleepy());
    time_limit.disable();
    let (answer, after) = timed(service.call(60 * SECOND)).await;
    assert_eq!((answer, after), (Ok(()), 60 * SECOND));
    assert_eq!(hurried(&time_limit).await, Ok(()));
    assert_eq!((told.take(), counts(&time_limit), asked.load(SeqCst)), (vec![], (0, 0), 0));
    time_limit.enable();
    assert!(service.call(60 * SECOND).await.is_err());
    assert_eq!(asked.load(SeqCst), 1);
}

/// A call ends as it began, whatever is commanded meanwhile.
#[tokio::test(start_paused = true)]
async fn a_call_keeps_the_mode_that_it_began_in() {
    let modes = [(Command::Enable, true), (Command::Shadow, false), (Command::Disable, false)];
    for (begin, cut) in modes {
        for (then, _) in modes {
            let (time_limit, _told) = observed();
            time_limit.command(begin).unwrap();
            let call = time_limit.run(answers_after(2 * SECOND));
            time_limit.command(then).unwrap();
            assert_eq!(call.await.is_err(), cut, "{begin}, then {then}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_explains_itself() {
    let (time_limit, _told) = observed();
    let why = time_limit.explain();
    assert_eq!(why.cause, Cause::TimeLimit { limit: Some(SECOND) });
    assert!(why.admits && why.would_admit && !why.shadow);
    assert_eq!((why.state, why.until, why.opened_by), ("enforcing", None, None));
    assert_eq!(why.to_string(), "db is enforcing and admits calls: a call may take 1s");

    // Of a call made here and now.
    let here = |left| deadline::enter(clock::tokio_now() + left, || time_limit.explain());
    assert!(here(100 * MS).admits && !here(99 * MS).admits);
    time_limit.shadow();
    let why = here(99 * MS);
    assert_eq!((why.admits, why.would_admit, why.shadow), (true, false, true));
    assert_eq!(
        why.to_string(),
        "db is in shadow and would refuse calls, but admits them: a call may take 1s"
    );
    time_limit.disable();
    let why = here(99 * MS);
    assert_eq!(why.cause, Cause::Command(Command::Disable));
    assert!(why.admits && why.would_admit && !why.shadow);
    let per_request = TimeLimit::new(TimeoutConfig::per_request("db")).unwrap();
    assert_eq!(
        per_request.explain().to_string(),
        "db is enforcing and admits calls: each request sets its own limit"
    );
}

#[tokio::test(start_paused = true)]
async fn a_registry_shows_and_commands_it() {
    let (time_limit, _told) = observed();
    let registry = Registry::new();
    registry.add(&time_limit).unwrap();
    assert_eq!(registry.names(), [("db", PolicyKind::Timeout)]);
    let _ = time_limit.run(pending::<Result<(), Refused>>()).await;
    let _ = hurried(&time_limit).await;
    let snapshot = registry.snapshot().remove(0).1;
    let PolicySnapshot::Timeout(now) = snapshot else { panic!("{snapshot:?}") };
    assert_eq!((now.mode, now.timed_out, now.refused), (Mode::Enforce, 1, 1));
    assert_eq!((now.limit, now.min_remaining), (Some(SECOND), 100 * MS));
    assert_eq!(registry.explain(), [time_limit.explain()]);

    for (command, mode) in [
        (Command::Shadow, Mode::Shadow),
        (Command::Reset, Mode::Shadow),
        (Command::Disable, Mode::Disabled),
        (Command::Enable, Mode::Enforce),
    ] {
        registry.command("db", command).unwrap();
        assert_eq!(time_limit.snapshot().mode, mode, "{command}");
    }
    assert_eq!(counts(&time_limit), (0, 0), "counted from zero again");
    let error = registry.command("db", Command::ForceOpen).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`command` = force_open: is for circuits; a timeout knows shadow, enable, disable and reset"
    );
    let found: TimeLimit = registry.get("db").unwrap();
    found.shadow();
    assert_eq!(time_limit.snapshot().mode, Mode::Shadow);
}

#[tokio::test(start_paused = true)]
async fn handles_layers_and_services_are_one_timeout() {
    let (time_limit, _told) = observed();
    let layer = time_limit.layer();
    let leaked = time_limit.leak();
    let services =
        [layer.layer(sleepy()), layer.clone().layer(sleepy()), leaked.layer().layer(sleepy())];
    for service in services {
        assert!(service.clone().oneshot(2 * SECOND).await.is_err());
        assert_eq!(service.time_limit().name(), "db");
    }
    assert_eq!(counts(&time_limit), (3, 0));
    assert_eq!(counts(layer.time_limit()), counts(&leaked));
    leaked.leak().reset();
    assert_eq!(counts(&time_limit), (0, 0));
    // A second value is a second timeout.
    let (second, _told) = observed();
    second.disable();
    assert_eq!(time_limit.snapshot().mode, Mode::Enforce);
    let shown = format!("{time_limit:?} {layer:?}");
    assert!(
        shown.starts_with(r#"TimeLimit { name: "db", mode: Enforce, limit: Some(1s) }"#),
        "{shown}"
    );
    assert!(shown.contains("TimeoutLayer { time_limit: TimeLimit"), "{shown}");
}

/// Its own clock says when a call begins; the deadline that this makes is waited for on tokio's.
#[tokio::test(start_paused = true)]
async fn the_clock_can_be_chosen() {
    fn ahead() -> std::time::Instant {
        clock::tokio_now() + 3 * SECOND
    }
    let options = Options::new().clock(ahead);
    let time_limit = TimeLimit::with(TimeoutConfig::new("db", SECOND), options).unwrap();
    let (cut, after) = timed(time_limit.run(answers_after(60 * SECOND))).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, 4 * SECOND));
    let outer = deadline::within(2 * SECOND, async { time_limit.run(answers_after(MS)).await });
    assert_eq!(refused(outer.await).reason(), Reason::DeadlineTooShort, "past, by that clock");
}

/// A breaker below sees what the timeout cuts; one above gets it as a failure.
#[tokio::test(start_paused = true)]
async fn breakers_on_both_sides_see_a_timeout_as_a_failure() {
    let circuit = || {
        let config = portcullis::CircuitBreakerConfig::new("c").consecutive_failures(2);
        portcullis::Circuit::new(config).unwrap()
    };
    let (above, below) = (circuit(), circuit());
    let layers = (above.layer(), limit(SECOND).layer(), below.layer());
    let mut service = layers.0.layer(layers.1.layer(layers.2.layer(sleepy())));
    for _ in 0..2 {
        assert!(service.ready().await.unwrap().call(2 * SECOND).await.is_err());
    }
    assert_eq!((above.state(), below.state()), (State::Open, State::Open));
    assert_eq!((above.snapshot().failures, below.snapshot().failures), (2, 2));
}
