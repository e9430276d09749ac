//! Configurations: what works, what is an error, and what changes live.

use portcullis::{
    Command, ConfigError, clock,
    policy::timeout::{Verdict, decide},
};

use super::{
    support::{longest, on_threads},
    *,
};

fn complaint(config: TimeoutConfig) -> String {
    config.validate().unwrap_err().to_string()
}

#[test]
fn what_cannot_work_is_named_with_field_and_value() {
    assert_eq!(
        complaint(TimeoutConfig::new("db", Duration::ZERO)),
        "`limit` = 0ns: must be longer than zero, or no call could ever start"
    );
    assert_eq!(
        complaint(TimeoutConfig::new("db", SECOND).min_remaining(SECOND + NS)),
        "`min_remaining` = 1.000000001s: is longer than `limit`, so that no call could ever start"
    );
    assert_eq!(complaint(TimeoutConfig::new("", SECOND)), "`name` = \"\": a policy needs a name");
    assert_eq!(complaint(TimeoutConfig::per_request("")), "`name` = \"\": a policy needs a name");
    for config in [TimeoutConfig::new("db", Duration::ZERO), TimeoutConfig::new("", SECOND)] {
        let error: ConfigError = TimeLimit::new(config.clone()).unwrap_err();
        assert_eq!(TimeoutLayer::new(config).unwrap_err(), error);
    }
    for works in [
        TimeoutConfig::new("db", NS),
        TimeoutConfig::new("db", Duration::MAX).min_remaining(Duration::MAX),
        TimeoutConfig::new("db", SECOND).min_remaining(SECOND),
        TimeoutConfig::per_request("db").min_remaining(Duration::MAX),
    ] {
        assert_eq!(works.validate(), Ok(()), "{works:?}");
    }
}

#[test]
fn setters_set_and_the_configuration_is_given_back_as_it_was() {
    let config = TimeoutConfig::per_request("a").name("b").limit(Duration::MAX).min_remaining(NS);
    assert_eq!(config, TimeoutConfig::new("b", Duration::MAX).min_remaining(NS));
    assert_eq!(TimeLimit::new(config.clone()).unwrap().config(), config);
    assert_eq!(config.clone().no_limit(), TimeoutConfig::per_request("b").min_remaining(NS));
    let snapshot = TimeLimit::new(config).unwrap().snapshot();
    assert_eq!((snapshot.limit, snapshot.min_remaining), (Some(Duration::MAX), NS));
}

/// As long as there are instants, a limit is one; beyond, there is none. Nothing panics.
#[tokio::test(start_paused = true)]
async fn limits_of_any_length_work() {
    let year = 365 * 86_400 * SECOND;
    for span in [100 * year, 584 * year, 585 * year, Duration::from_nanos(u64::MAX), Duration::MAX]
    {
        let time_limit = limit(span);
        let (answer, after) = timed(time_limit.run(answers_after(year))).await;
        assert_eq!((answer, after), (Ok(()), year), "{span:?}");
        let mut call = Box::pin(time_limit.run(pending::<Result<(), Refused>>()));
        assert!(Caller::new().poll(&mut call).is_pending());
        let least = TimeoutConfig::new("db", span).min_remaining(span);
        assert!(TimeLimit::new(least).unwrap().run(ready(Ok::<_, Refused>(()))).await.is_ok());
    }
    // A request's own limit, and a deadline, to the last instant.
    let call = limit(SECOND).run_within(longest(), pending::<Result<(), Refused>>());
    assert!(Caller::new().poll(&mut Box::pin(call)).is_pending());
    // Shorter than tokio's timers can tell apart.
    let (cut, after) = timed(limit(NS).run(pending::<Result<(), Refused>>())).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, MS));
    // A deadline that has passed long ago.
    let ago = clock::tokio_now();
    advance(100 * year).await;
    let late = deadline::enter(ago, || limit(Duration::MAX).run(pending::<Result<(), Refused>>()));
    assert_eq!(refused(late.await).reason(), Reason::DeadlineTooShort);
}

#[test]
fn the_time_is_not_read_where_nothing_is_compared_with_it() {
    #[derive(Clone, Copy)]
    struct Unreadable;
    impl portcullis::policy::Now for Unreadable {
        fn now(self) -> std::time::Instant {
            panic!("nobody asked");
        }
    }
    let starts = decide(None, None, Duration::MAX, Unreadable);
    assert_eq!(starts, Verdict::Start { deadline: None });
    // Refused for what it is, with the time that was left.
    let now = clock::tokio_now();
    let refused = decide(Some(SECOND), Some(now + MS), 2 * MS, now);
    assert_eq!(refused, Verdict::Refuse { reason: Reason::DeadlineTooShort, remaining: MS });
}

#[tokio::test(start_paused = true)]
async fn numbers_change_live_and_calls_that_have_begun_keep_theirs() {
    let time_limit = limit(5 * SECOND);
    let mut service = time_limit.layer().layer(sleepy());
    let begun = service.call(60 * SECOND);
    time_limit.reconfigure(TimeoutConfig::new("db", SECOND)).unwrap();
    let (cut, after) = timed(service.call(60 * SECOND)).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, SECOND));
    let (cut, after) = timed(begun).await;
    assert_eq!((refused(cut).reason(), after), (Reason::Timeout, 4 * SECOND));

    time_limit.reconfigure(TimeoutConfig::new("db", SECOND).min_remaining(SECOND)).unwrap();
    let little = deadline::within(SECOND / 2, async { service.call(MS).await });
    assert_eq!(refused(little.await).reason(), Reason::DeadlineTooShort);
    time_limit.reconfigure(TimeoutConfig::per_request("db")).unwrap();
    let (answer, after) = timed(service.call(3_600 * SECOND)).await;
    assert_eq!((answer, after), (Ok(()), 3_600 * SECOND));
    // Mode and counts stay.
    let now = time_limit.snapshot();
    assert_eq!((now.timed_out, now.refused, now.limit), (2, 1, None));
    time_limit.shadow();
    time_limit.reconfigure(TimeoutConfig::new("db", SECOND)).unwrap();
    assert_eq!(service.call(2 * SECOND).await, Ok(()));
}

#[test]
fn what_cannot_work_or_has_another_name_changes_nothing() {
    let time_limit = limit(SECOND);
    let before = time_limit.config();
    let error = time_limit.reconfigure(TimeoutConfig::new("other", MS)).unwrap_err();
    assert_eq!(error.to_string(), "`name` = other: a timeout keeps its name, which is `db`");
    let error = time_limit.reconfigure(TimeoutConfig::new("db", Duration::ZERO)).unwrap_err();
    assert_eq!(error.field(), "limit");
    assert_eq!((time_limit.config(), time_limit.snapshot().limit), (before, Some(SECOND)));
}

/// Counts of many threads add up, and commands in between lose none.
#[test]
fn threads_share_one_timeout() {
    const EACH: u64 = 5_000;
    let layer = limit(SECOND).layer();
    on_threads(4, |thread| {
        let mut service = layer.clone().layer(service_fn(|(): ()| ready(Ok::<_, Refused>(()))));
        let past = clock::tokio_now();
        for turn in 0..EACH {
            let call = match turn % 2 {
                0 => service.call(()),
                _ => deadline::enter(past, || service.call(())),
            };
            let answer = Caller::new().poll(&mut Box::pin(call));
            assert_eq!(matches!(answer, Poll::Ready(Ok(()))), turn % 2 == 0);
            if thread == 0 && turn % 100 == 0 {
                layer.time_limit().command(Command::Enable).unwrap();
            }
        }
    });
    let now = layer.time_limit().snapshot();
    assert_eq!((now.refused, now.timed_out), (4 * EACH / 2, 0));
}
