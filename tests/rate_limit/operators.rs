//! What a limiter shows, tells and is told.

use std::time::Duration;

use portcullis::{
    Cause, Command, Event, Managed, Mode, PolicyKind, PolicySnapshot, RateLimiter, Reason,
    Registry, Waits,
};
use tokio::time::advance;

use crate::{
    MS, SECOND, drained, per_second,
    support::{Caller, Told},
};

fn told(permits: u64, burst: u64) -> (RateLimiter, Told) {
    let told = Told::default();
    (RateLimiter::with(per_second(permits, burst), told.options()).unwrap(), told)
}

/// L4: computed for now, however long nobody called.
#[tokio::test(start_paused = true)]
async fn a_snapshot_is_computed_for_now() {
    let limiter = drained(1, 10);
    assert!(limiter.try_acquire().is_err());
    let seen = limiter.snapshot();
    assert_eq!((seen.mode, seen.burst, seen.available, seen.tokens), (Mode::Enforce, 10, 0, 0.0));
    assert_eq!(seen.reset_after, Some(10 * SECOND));
    assert_eq!((seen.queued, seen.admitted, seen.refused), (0, 1, 1));
    advance(2_500 * MS).await;
    let seen = limiter.snapshot();
    assert_eq!((seen.available, seen.tokens), (2, 2.5));
    advance(3_600 * SECOND).await;
    let seen = limiter.snapshot();
    assert_eq!((seen.available, seen.tokens), (10, 10.0));
    assert_eq!(seen.reset_after, Some(Duration::ZERO));
    assert_eq!((limiter.remaining(), limiter.reset_after()), (10, Some(Duration::ZERO)));
}

/// L5: each is told, once.
#[tokio::test(start_paused = true)]
async fn every_event_is_told() {
    let (limiter, told) = told(10, 1);
    let (policy, kind) = ("api", PolicyKind::RateLimit);
    let admitted = |waited| Event::Admitted { policy, kind, waited };
    limiter.try_acquire().unwrap();
    assert_eq!(told.take(), [admitted(Duration::ZERO)]);
    let refusal = limiter.try_acquire().unwrap_err();
    assert_eq!(told.take(), [Event::Rejected(refusal)]);
    let waiting = limiter.acquire();
    assert_eq!(told.take(), [Event::Queued { policy, kind }]);
    waiting.await.unwrap();
    assert_eq!(told.take(), [admitted(100 * MS)]);
    drop(limiter.acquire());
    let (queued, left) = (Event::Queued { policy, kind }, Event::LeftQueue { policy, kind });
    assert_eq!(told.take(), [queued, left]);
    let mut waiting = Box::pin(limiter.acquire());
    limiter.reconfigure(per_second(0, 1)).unwrap();
    let refused = Caller::new().finish(&mut waiting).unwrap_err();
    assert_eq!(told.take(), [queued, left, Event::Rejected(refused)]);
    limiter.shadow();
    limiter.try_acquire_n(2).unwrap();
    let reason = Reason::OverBurst;
    assert_eq!(
        told.take(),
        [Event::WouldReject { policy, kind, reason }, admitted(Duration::ZERO)]
    );
    limiter.disable();
    limiter.try_acquire().unwrap();
    assert_eq!(told.take(), []);
}

/// X9: a gauge made from events is what the snapshot shows, also where a command ends a wait, or ends it in
/// no time.
#[tokio::test(start_paused = true)]
async fn a_gauge_of_the_calls_that_wait_can_be_made_from_events() {
    let (limiter, told) = told(10, 1);
    let mut gauge = 0_i64;
    let mut agrees = |with: usize| {
        for event in told.take() {
            match event {
                Event::Queued { .. } => gauge += 1,
                Event::LeftQueue { .. } => gauge -= 1,
                Event::Admitted { waited, .. } if !waited.is_zero() => gauge -= 1,
                _ => {}
            }
        }
        assert_eq!((gauge, limiter.snapshot().queued), (with as i64, with));
    };
    for command in [Command::Disable, Command::Shadow, Command::Reset] {
        limiter.command(Command::Enable).unwrap();
        limiter.command(Command::Reset).unwrap();
        limiter.try_acquire().unwrap();
        let waiting = limiter.acquire();
        agrees(1);
        limiter.command(command).unwrap();
        waiting.await.unwrap();
        agrees(0);
    }
    // One by hand stands in no line: its user waits where and as long as it likes.
    limiter.reset();
    for _ in 0..3 {
        limiter.reserve(1, None).unwrap().keep();
        agrees(0);
    }
}

#[tokio::test(start_paused = true)]
async fn in_shadow_what_would_be_refused_passes_and_takes_nothing() {
    let (limiter, told) = told(10, 2);
    limiter.shadow();
    for _ in 0..5 {
        limiter.try_acquire().unwrap();
    }
    assert_eq!(limiter.snapshot().tokens, 0.0);
    let seen = limiter.snapshot();
    assert_eq!((seen.mode, seen.admitted, seen.refused), (Mode::Shadow, 5, 0));
    let would = told.take().into_iter().filter(|event| matches!(event, Event::WouldReject { .. }));
    assert_eq!(would.count(), 3);
    // One that would wait takes its tokens all the same, as it would have.
    let short = Waits::up_to(250 * MS);
    for _ in 0..4 {
        assert!(limiter.acquire_within(1, short).await.is_ok());
    }
    assert_eq!(limiter.snapshot().tokens, -2.0);
    assert_eq!(told.lines().iter().filter(|line| line.contains("would refuse")).count(), 2);
    let cut = portcullis::deadline::within(50 * MS, async { limiter.acquire().await });
    assert!(cut.await.is_ok());
    assert_eq!(told.lines()[0], "api: would refuse: deadline_too_short");
    limiter.enable();
    assert!(limiter.try_acquire().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_what_a_call_would_meet() {
    let limiter = RateLimiter::new(per_second(10, 2)).unwrap();
    let why = limiter.explain();
    assert_eq!(
        (why.policy, why.state, why.admits, why.would_admit),
        ("api", "enforcing", true, true)
    );
    assert_eq!((why.cause, why.until), (Cause::Tokens { available: 2, burst: 2 }, None));
    assert_eq!(why.to_string(), "api is enforcing and admits calls: 2 of 2 tokens left");
    limiter.try_acquire_n(2).unwrap();
    let why = limiter.explain();
    assert_eq!((why.admits, why.until, why.opened_by), (false, Some(100 * MS), None));
    assert_eq!(
        why.to_string(),
        "api is enforcing and refuses calls: 0 of 2 tokens left; this changes in 100ms",
    );
    limiter.shadow();
    let why = limiter.explain();
    assert_eq!((why.shadow, why.admits, why.would_admit), (true, true, false));
    assert_eq!(
        why.to_string(),
        "api is in shadow and would refuse calls, but admits them: 0 of 2 tokens left; this changes in 100ms",
    );
    limiter.disable();
    let why = limiter.explain();
    assert_eq!((why.admits, why.cause), (true, Cause::Command(Command::Disable)));
    limiter.enable();
    advance(100 * MS).await;
    assert!(limiter.explain().admits && limiter.try_acquire().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_registry_lists_explains_and_commands_it() {
    let registry = Registry::new();
    let limiter = drained(1, 1);
    registry.add(&limiter).unwrap();
    assert_eq!(registry.names(), [("api", PolicyKind::RateLimit)]);
    let [(name, PolicySnapshot::RateLimit(seen))] = registry.snapshot()[..] else {
        panic!("one limiter")
    };
    assert_eq!((name, seen), ("api", limiter.snapshot()));
    assert_eq!(registry.explain(), [limiter.explain()]);
    registry.command("api", Command::Reset).unwrap();
    assert_eq!(registry.get::<RateLimiter>("api").unwrap().remaining(), 1);
    for (command, mode) in [
        (Command::Shadow, Mode::Shadow),
        (Command::Disable, Mode::Disabled),
        (Command::Enable, Mode::Enforce),
    ] {
        registry.command("api", command).unwrap();
        assert_eq!(limiter.mode(), mode);
    }
    let error = registry.command("api", Command::ForceOpen).unwrap_err();
    assert_eq!(error.field(), "command");
    assert_eq!(Managed::kind(&limiter), PolicyKind::RateLimit);
}

#[tokio::test(start_paused = true)]
async fn it_is_reconfigured_live_and_keeps_tokens_and_name() {
    let limiter = drained(1, 5);
    advance(2 * SECOND).await;
    limiter.reconfigure(per_second(100, 5)).unwrap();
    assert_eq!((limiter.remaining(), limiter.config()), (2, per_second(100, 5)));
    let error = limiter.reconfigure(per_second(1, 1).name("other")).unwrap_err();
    assert_eq!((error.field(), error.value()), ("name", "other"));
    let error = limiter.reconfigure(per_second(1, u64::MAX)).unwrap_err();
    assert_eq!(error.field(), "burst");
    assert_eq!(limiter.config(), per_second(100, 5), "nothing has changed then");
    assert_eq!(RateLimiter::new(per_second(1, 1).name("")).unwrap_err().field(), "name");
    assert!(format!("{limiter:?}").contains("remaining: 2"));
}
