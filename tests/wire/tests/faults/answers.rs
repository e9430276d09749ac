//! Faults that pass, come late, or say when to come back.

use std::time::Duration;

use portcullis::{Event, Reason, RetryEnd, State, grpc::Code};

use crate::{
    clients::{ATTEMPT, BACKOFF, Got, Kind, SLEEP, Standard, delay, standard},
    clock::soon,
    server::{Does, FINE, PART},
};

fn sleeps(event: &Event) -> Option<Duration> {
    match event {
        Event::Transition { transition, .. } => transition.sleep,
        _ => None,
    }
}

fn end(event: &Event) -> Option<(u32, RetryEnd)> {
    match event {
        Event::RetryEnded { attempts, end, .. } => Some((*attempts, *end)),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_and_comes_is_met_by_retries_and_keeps_its_circuit_closed() {
    for kind in Kind::ALL {
        let api = standard(kind);
        assert!(api.call().await.is_fine());
        for round in 1..=5 {
            // With the connection that is kept.
            api.server.down().await;
            let got = api.call_while(|| api.server.up()).await;
            assert!(got.is_fine(), "{kind:?}, round {round}: {got:?}");
            assert_eq!(api.counted(), (State::Closed, 1 + round, round));
            assert_eq!(api.server.requests() as u64, 1 + round);
            api.is_at_rest();
        }
        assert_eq!(api.log.each(delay), [BACKOFF; 5]);
        assert_eq!(
            api.log.each(end).iter().filter(|end| **end == (2, RetryEnd::Success)).count(),
            5
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_fault_of_each_kind_is_hidden_by_one_retry() {
    let http = [
        Does::ResetsAtOnce,
        Does::Silent,
        Does::Garbage,
        Does::Resets,
        Does::Ends,
        Does::Hangs,
        Does::StopsInHead,
        Does::Answers(503, Some("0")),
    ];
    let grpc = [
        Does::ResetsAtOnce,
        Does::Garbage,
        Does::Breaks,
        Does::Hangs,
        Does::Says(Code::Unavailable, None),
        Does::Trails(Code::Unavailable),
    ];
    for kind in Kind::ALL {
        for does in if kind == Kind::Tonic { &grpc[..] } else { &http[..] } {
            let api = standard(kind);
            api.server.first([*does]);
            let got = api.call().await;
            assert!(got.is_fine(), "{kind:?}, {does:?}: {got:?}");
            assert_eq!(api.counted(), (State::Closed, 1, 1), "{kind:?}, {does:?}");
            assert_eq!(api.log.each(end), [(2, RetryEnd::Success)]);
            api.is_at_rest();
        }
    }
}

/// A kept connection that was closed meanwhile: whether the client finds out before it sends or after, no
/// caller does, and the server sees each request once.
#[tokio::test(start_paused = true)]
async fn connections_that_end_between_requests_are_nobodys_loss() {
    for kind in Kind::ALL {
        let api = standard(kind);
        let calls = 8;
        for call in 1..=calls {
            api.server.now(match kind {
                Kind::Tonic => Does::GoesAway,
                _ => Does::AnswersAndCloses,
            });
            let got = api.call().await;
            assert!(got.is_fine(), "{kind:?}, call {call}: {got:?}");
            assert_eq!(api.server.requests(), call);
            api.is_at_rest();
        }
        match kind {
            // One more request may go out before the client hears that its connection ends.
            Kind::Tonic => assert!((2..=calls).contains(&api.seen().connections)),
            _ => assert_eq!(api.seen().connections, calls, "{kind:?}"),
        }
        let (state, successes, failures) = api.counted();
        assert_eq!((state, successes), (State::Closed, calls as u64));
        // A failure is a retry, and not one more request.
        assert_eq!(api.retry.snapshot().attempts, successes + failures);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_and_a_circuit_wait_for_as_long_as_the_server_says() {
    for (kind, does, told) in [
        (Kind::Hyper, Does::Answers(429, Some("3")), Duration::from_secs(3)),
        (Kind::Reqwest, Does::Answers(503, Some("3")), Duration::from_secs(3)),
        (Kind::Tonic, Does::Says(Code::ResourceExhausted, Some("3000")), Duration::from_secs(3)),
        (Kind::Tonic, Does::Says(Code::Unavailable, Some("3000")), Duration::from_secs(3)),
    ] {
        let api = standard(kind);
        api.server.now(does);
        for _ in 0..2 {
            let got = api.call().await;
            assert!(!got.is_fine() && !matches!(got, Got::Refused(_)), "{got:?}");
        }
        assert_eq!(api.server.requests(), 4);
        for waited in api.log.each(delay) {
            // Over HTTP a little later than told, so that not all come at once; of gRPC exactly then.
            let late = if kind == Kind::Tonic { Duration::ZERO } else { told / 10 };
            assert!((told..=told + late).contains(&waited), "{kind:?}: {waited:?}");
        }
        assert_eq!(api.log.each(sleeps), [told], "{kind:?}");

        // The circuit's own wait is over, and the server's is not.
        api.clock.advance(SLEEP).await;
        let refusal = api.call().await.refusal();
        assert_eq!(refusal.reason(), Reason::CircuitOpen);
        assert_eq!(refusal.retry_after(), Some(told - SLEEP));
        assert_eq!(api.server.requests(), 4);
        api.server.now(FINE);
        api.clock.advance(told - SLEEP).await;
        assert!(api.call().await.is_fine());
        assert_eq!(api.server.requests(), 5);
        api.is_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_that_says_never_and_codes_that_stay_are_not_tried_again() {
    for (does, code, failure) in [
        (Does::Says(Code::Unavailable, Some("-1")), tonic::Code::Unavailable, true),
        (Does::Says(Code::ResourceExhausted, None), tonic::Code::ResourceExhausted, true),
        (Does::Says(Code::Internal, None), tonic::Code::Internal, true),
        (Does::Trails(Code::Internal), tonic::Code::Internal, true),
        (Does::Says(Code::NotFound, None), tonic::Code::NotFound, false),
        // The server resets the stream alone; HTTP/2 calls that an internal error.
        (Does::Resets, tonic::Code::Internal, true),
    ] {
        let api = standard(Kind::Tonic);
        api.server.now(does);
        let got = api.call().await;
        assert!(matches!(&got, Got::Status(found, _) if *found == code), "{does:?}: {got:?}");
        assert_eq!(api.server.requests(), 1, "{does:?}");
        let counted = if failure { (0, 1) } else { (1, 0) };
        assert_eq!(api.counted(), (State::Closed, counted.0, counted.1), "{does:?}");
        api.is_at_rest();
    }
}

/// The service is told of attempts that went before.
#[tokio::test(start_paused = true)]
async fn attempts_over_grpc_are_numbered_at_the_server() {
    let api = standard(Kind::Tonic);
    api.server.first([Does::Breaks]);
    assert!(api.call().await.is_fine());
    assert_eq!(api.seen().requests, ["/test.Echo/Say 0", "/test.Echo/Say 1"]);
}

/// A standard client is done with a call at its head: what breaks behind is the caller's to see, is not tried
/// again, and holds nothing.
#[tokio::test(start_paused = true)]
async fn bodies_that_are_reset_reach_the_caller_as_what_they_are() {
    for kind in Kind::ALL {
        let api = standard(kind);
        api.server.now(Does::ResetsInBody);
        let call = tokio::spawn(api.begin());
        api.server.until(|seen| seen.held == 1).await;
        if kind != Kind::Tonic {
            settled(&api).await;
        }
        api.server.let_go(1);
        let got = soon(call).await.expect("no panic");
        match kind {
            Kind::Tonic => {
                assert!(
                    matches!(&got, Got::Status(tonic::Code::Internal, why) if why.says("stream error")),
                    "{got:?}"
                );
            }
            _ => {
                let Got::Cut(read, why) = &got else { panic!("{got:?}") };
                assert_eq!(read, PART);
                assert_eq!(why.io, Some(std::io::ErrorKind::ConnectionReset));
                assert_eq!(why.refusal, None);
            }
        }
        assert_eq!(api.counted(), (State::Closed, 1, 0), "{kind:?}");
        assert_eq!((api.server.requests(), api.log.each(end)), (1, vec![(1, RetryEnd::Success)]));
        api.is_at_rest();
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_stop_are_held_by_their_caller_alone() {
    for kind in Kind::HTTP {
        let api = standard(kind);
        api.server.now(Does::StopsInBody);
        let call = tokio::spawn(api.begin());
        api.server.until(|seen| seen.held == 1).await;
        settled(&api).await;
        // The limit of an attempt is one for its head.
        api.clock.advance(ATTEMPT * 10).await;
        assert_eq!((api.seen().open, call.is_finished()), (1, false));
        api.is_at_rest();
        call.abort();
        assert!(soon(call).await.expect_err("aborted").is_cancelled());
        api.server.until(|seen| seen.open == 0).await;
        assert_eq!(api.counted(), (State::Closed, 1, 0));
        api.is_at_rest();
    }
}

/// Waits for the end of the only call, as far as the policies are concerned.
async fn settled(api: &Standard) {
    let mut told = api.log.subscribe();
    let ended =
        |told: &Vec<Event>| told.iter().any(|event| matches!(event, Event::Released { .. }));
    soon(told.wait_for(ended)).await.expect("the log lives");
}

/// At any point of a call: nobody waits for an answer any longer, and nothing is kept of it.
#[tokio::test(start_paused = true)]
async fn callers_that_give_up_leave_nothing_behind() {
    for kind in Kind::ALL {
        let api = standard(kind);
        // While the server keeps it waiting.
        api.server.now(Does::Hangs);
        let call = tokio::spawn(api.begin());
        api.server.until(|seen| seen.held == 1).await;
        assert_eq!(api.slots.in_flight(), 1);
        call.abort();
        assert!(soon(call).await.expect_err("aborted").is_cancelled());
        assert_eq!((api.slots.in_flight(), api.circuit.snapshot().calls), (0, 0));

        // While it waits to try again.
        api.server.now(match kind {
            Kind::Tonic => Does::Says(Code::Unavailable, None),
            _ => Does::Answers(503, None),
        });
        let call = tokio::spawn(api.begin());
        let mut told = api.log.subscribe();
        let waits = |told: &Vec<Event>| told.iter().any(|event| delay(event).is_some());
        soon(told.wait_for(waits)).await.expect("the log lives");
        assert_eq!(api.slots.in_flight(), 1);
        call.abort();
        assert!(soon(call).await.expect_err("aborted").is_cancelled());
        let before = api.server.requests();
        api.clock.advance(BACKOFF).await;
        assert_eq!((api.slots.in_flight(), api.server.requests()), (0, before));

        // As the probe that a half-open circuit waits for: the next call takes its place.
        api.circuit.half_open();
        api.server.now(Does::Hangs);
        let held = api.seen().held;
        let call = tokio::spawn(api.begin());
        api.server.until(|seen| seen.held == held + 1).await;
        assert_eq!(api.circuit.snapshot().probes_in_flight, 1);
        call.abort();
        assert!(soon(call).await.expect_err("aborted").is_cancelled());
        assert_eq!(api.circuit.snapshot().probes_in_flight, 0);
        api.server.now(FINE);
        for _ in 0..crate::clients::PROBES {
            assert!(api.call().await.is_fine());
        }
        assert_eq!(api.circuit.state(), State::Closed);
        assert_eq!(api.slots.in_flight(), 0);
    }
}
