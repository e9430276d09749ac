//! Faults that fail every attempt: the circuit opens, keeps load off the server, and recovers through as many
//! probes as it promises.

use std::io;

use portcullis::{Event, Reason, State, grpc::Code};
use tokio::task::JoinSet;

use crate::{
    clients::{BACKOFF, FAILURES, Got, Kind, PROBES, SLEEP, Standard, delay, standard},
    clock::soon,
    server::{Does, FINE},
};

/// What is wrong, and how it looks from both sides.
#[derive(Clone, Copy)]
struct Outage {
    /// None where nobody listens.
    does: Option<Does>,
    /// What each attempt leaves at the server.
    arrives: fn(&Standard) -> usize,
    failed: fn(&Got) -> bool,
}

/// An outage from its beginning to its end.
async fn outage(kind: Kind, Outage { does, arrives, failed }: Outage) {
    let api = standard(kind);
    match does {
        Some(does) => api.server.now(does),
        None => api.server.down().await,
    }
    // Two calls of two attempts each: as many failures as open the circuit.
    for call in 1..=2 {
        let got = api.call().await;
        assert!(failed(&got), "{kind:?}, {does:?}, call {call}: {got:?}");
        assert_eq!(arrives(&api), call * 2, "{kind:?}, {does:?}");
        api.is_at_rest();
    }
    assert_eq!(api.counted(), (State::Open, 0, FAILURES.into()), "{kind:?}, {does:?}");
    assert_eq!(api.log.each(delay), [BACKOFF; 2]);

    // While it is open nothing arrives, and nothing is tried again.
    for _ in 0..3 {
        let refusal = api.call().await.refusal();
        assert_eq!((refusal.reason(), refusal.attempted()), (Reason::CircuitOpen, false));
        assert!(refusal.retry_after().is_some_and(|wait| wait <= SLEEP), "{refusal:?}");
    }
    assert_eq!(arrives(&api), 4, "{kind:?}, {does:?}");

    // A probe finds that nothing has changed: one attempt, whose answer outlives the refusal of the next.
    api.clock.advance(SLEEP).await;
    let got = api.call().await;
    let of_response = matches!(got, Got::Refused(refusal) if refusal.attempted());
    assert!(failed(&got) || of_response, "{kind:?}, {does:?}, a probe: {got:?}");
    assert_eq!(arrives(&api), 5, "{kind:?}, {does:?}");
    assert_eq!(api.circuit.state(), State::Open);
    api.is_at_rest();

    if does.is_none() {
        assert_eq!(api.seen().connections, 0);
        api.server.up();
    }
    recovers(&api).await;
}

/// The server works again: of many calls only the probes reach it, and then all.
async fn recovers(api: &Standard) {
    api.server.now(Does::Waits);
    api.clock.advance(SLEEP).await;
    let before = (api.server.requests(), api.seen().held);
    let mut calls = JoinSet::new();
    for _ in 0..6 {
        calls.spawn(api.begin());
    }
    api.server.until(|seen| seen.held == before.1 + PROBES as usize).await;
    for _ in PROBES..6 {
        let refused = soon(calls.join_next()).await.expect("four more").expect("no panic");
        assert_eq!(refused.refusal().reason(), Reason::ProbeLimit);
    }
    let now = api.circuit.snapshot();
    assert_eq!((now.state, now.probes_in_flight), (State::HalfOpen, PROBES));
    assert_eq!(api.slots.in_flight(), PROBES as usize);
    api.server.let_go(PROBES as usize);
    while let Some(probe) = soon(calls.join_next()).await {
        let probe = probe.expect("no panic");
        assert!(probe.is_fine(), "{probe:?}");
    }
    assert_eq!(api.server.requests(), before.0 + PROBES as usize);
    assert_eq!(api.circuit.state(), State::Closed);
    api.is_at_rest();
    api.server.now(FINE);
    for _ in 0..3 {
        let got = api.call().await;
        assert!(got.is_fine(), "{got:?}");
    }
    assert_eq!(api.counted(), (State::Closed, 3, 0));
    api.is_at_rest();
}

fn requests(api: &Standard) -> usize {
    api.server.requests()
}

fn connections(api: &Standard) -> usize {
    api.seen().connections
}

/// Of a server that sees nothing, by what the circuit let through.
fn attempts(api: &Standard) -> usize {
    api.log.count(|event| matches!(event, Event::Settled { .. }))
}

fn requests_of_http(does: Does, failed: fn(&Got) -> bool) -> Outage {
    Outage { does: Some(does), arrives: requests, failed }
}

fn was_reset(got: &Got) -> bool {
    let kind = got.why().io;
    matches!(kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
}

/// A code of tonic's, with the transport's error behind it.
fn lost(got: &Got) -> bool {
    matches!(got, Got::Status(tonic::Code::Cancelled | tonic::Code::Unknown, why) if why.says("transport error"))
}

fn unavailable(got: &Got) -> bool {
    matches!(got, Got::Status(tonic::Code::Unavailable, _))
}

fn timed_out(got: &Got) -> bool {
    matches!(got, Got::Refused(refusal)
        if refusal.reason() == Reason::Timeout && refusal.policy() == "api.attempt")
}

#[tokio::test(start_paused = true)]
async fn nobody_listens() {
    for kind in Kind::HTTP {
        let failed = |got: &Got| got.why().io == Some(io::ErrorKind::ConnectionRefused);
        outage(kind, Outage { does: None, arrives: attempts, failed }).await;
    }
    let failed =
        |got: &Got| unavailable(got) && got.why().io == Some(io::ErrorKind::ConnectionRefused);
    outage(Kind::Tonic, Outage { does: None, arrives: attempts, failed }).await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_reset_at_once() {
    let does = Some(Does::ResetsAtOnce);
    for kind in Kind::HTTP {
        outage(kind, Outage { does, arrives: connections, failed: was_reset }).await;
    }
    outage(Kind::Tonic, Outage { does, arrives: connections, failed: lost }).await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_reset_under_a_request() {
    for kind in Kind::HTTP {
        outage(kind, requests_of_http(Does::Resets, was_reset)).await;
    }
    let failed = |got: &Got| lost(got) && was_reset(got);
    outage(Kind::Tonic, Outage { does: Some(Does::Breaks), arrives: requests, failed }).await;
}

#[tokio::test(start_paused = true)]
async fn connections_are_taken_and_nothing_is_said() {
    let does = Some(Does::Silent);
    for kind in Kind::HTTP {
        outage(kind, Outage { does, arrives: connections, failed: timed_out }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_ends_its_half_of_the_connection() {
    for kind in Kind::HTTP {
        outage(kind, requests_of_http(Does::Ends, |got| got.why().incomplete)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_is_no_http() {
    for kind in Kind::HTTP {
        outage(kind, requests_of_http(Does::Garbage, |got| got.why().parse)).await;
    }
    let does = Some(Does::Garbage);
    outage(Kind::Tonic, Outage { does, arrives: connections, failed: lost }).await;
}

#[tokio::test(start_paused = true)]
async fn requests_are_never_answered() {
    for kind in Kind::ALL {
        let does = Some(Does::Hangs);
        outage(kind, Outage { does, arrives: requests, failed: timed_out }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn heads_come_byte_by_byte_and_never_to_their_end() {
    for kind in Kind::HTTP {
        outage(kind, requests_of_http(Does::StopsInHead, timed_out)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn overload_is_answered() {
    for status in [503, 429] {
        for kind in Kind::HTTP {
            let failed: fn(&Got) -> bool = match status {
                503 => |got| matches!(got, Got::Answer(503, body) if &body[..] == b"hello"),
                _ => |got| matches!(got, Got::Answer(429, _)),
            };
            outage(kind, requests_of_http(Does::Answers(status, None), failed)).await;
        }
    }
    // What a proxy answers in place of a service of gRPC.
    outage(Kind::Tonic, requests_of_http(Does::Answers(503, None), unavailable)).await;
}

#[tokio::test(start_paused = true)]
async fn codes_of_grpc_come_in_the_head_or_in_trailers() {
    for does in [Does::Says(Code::Unavailable, None), Does::Trails(Code::Unavailable)] {
        outage(Kind::Tonic, Outage { does: Some(does), arrives: requests, failed: unavailable })
            .await;
    }
}
