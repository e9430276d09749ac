//! A real server: axum over hyper, HTTP/1 and HTTP/2.

use std::{io, time::Duration};

use axum::body::Body;
use http_body::Frame;
use http_body_util::BodyExt;
use portcullis::{
    BulkheadConfig, BulkheadLayer, Error, ErrorLayer, Event, QueuedBulkheadLayer,
    http::{BodyTimeoutConfig, BodyTimeoutLayer},
    stack,
};
use tower::ServiceBuilder;

use crate::sides::{Log, Server, client, data, get, refused, released, soon, written};

fn slots(log: &Log) -> BulkheadLayer {
    BulkheadLayer::with(BulkheadConfig::new("api", 1), log.options()).expect("a valid config")
}

#[tokio::test]
async fn a_slot_is_held_while_the_body_streams_and_free_at_its_end() {
    for http2 in [false, true] {
        let log = Log::new();
        let layer = slots(&log).hold_body();
        let bulkhead = layer.bulkhead().clone();
        let server = Server::start(
            ServiceBuilder::new().layer(refused()).layer(layer).layer(ErrorLayer::new()),
        )
        .await;
        let (reader, other) = (client(http2), client(http2));

        for round in 1..4 {
            let (writer, body) = written();
            server.answers(body);
            let mut film = get(&reader, &server).await.into_body();
            assert_eq!(bulkhead.in_flight(), 1);
            writer.send(data("a frame")).await.expect("somebody reads");
            let frame = soon(film.frame()).await.expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), "a frame");
            // The head and a frame are out, and the slot is still taken: by HTTP, and by the handle.
            assert_eq!(get(&other, &server).await.status(), 503);
            assert_eq!(bulkhead.in_flight(), 1);

            drop(writer);
            // Over HTTP/2 by a frame without data.
            let rest = soon(film.collect()).await.expect("no error");
            assert_eq!(rest.to_bytes(), "");
            log.until(round, released).await;
            assert_eq!(bulkhead.in_flight(), 0);
        }
    }
}

/// hyper asks no further when a body says that it has ended, or is as long as it said: the slot is free all the
/// same, and before the client knows.
#[tokio::test]
async fn bodies_that_are_known_to_end_give_their_slots_back() {
    for http2 in [false, true] {
        let log = Log::new();
        let layer = slots(&log).hold_body();
        let bulkhead = layer.bulkhead().clone();
        let server = Server::start(
            ServiceBuilder::new().layer(refused()).layer(layer).layer(ErrorLayer::new()),
        )
        .await;
        let reader = client(http2);
        for (round, text) in ["", "all of it"].into_iter().enumerate() {
            server.answers(Body::from(text));
            let read = soon(get(&reader, &server).await.into_body().collect()).await;
            assert_eq!(read.expect("a body").to_bytes(), text);
            log.until(round + 1, released).await;
            assert_eq!(bulkhead.in_flight(), 0);
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gives_its_slot_back() {
    for http2 in [false, true] {
        let log = Log::new();
        let layer = slots(&log).hold_body();
        let bulkhead = layer.bulkhead().clone();
        let server = Server::start(
            ServiceBuilder::new().layer(refused()).layer(layer).layer(ErrorLayer::new()),
        )
        .await;

        // In the middle of a body.
        let (writer, body) = written();
        server.answers(body);
        let reader = client(http2);
        let mut film = get(&reader, &server).await.into_body();
        writer.send(data("a frame")).await.expect("somebody reads");
        assert!(soon(film.frame()).await.is_some());
        assert_eq!(bulkhead.in_flight(), 1);
        drop((film, reader));
        log.until(1, released).await;
        assert_eq!(bulkhead.in_flight(), 0);
        // Its body is gone, too.
        soon(writer.closed()).await;

        // And before its head: the handler waits for a body that nobody hands out.
        let reader = client(http2);
        let asking = tokio::spawn({
            let request = server.request();
            async move { reader.request(request).await }
        });
        log.until(2, |event| matches!(event, Event::Admitted { .. })).await;
        asking.abort();
        log.until(2, released).await;
        assert_eq!(bulkhead.in_flight(), 0);
    }
}

#[tokio::test]
async fn a_body_that_fails_gives_its_slot_back() {
    for http2 in [false, true] {
        let log = Log::new();
        let layer = slots(&log).hold_body();
        let bulkhead = layer.bulkhead().clone();
        let server = Server::start(
            ServiceBuilder::new().layer(refused()).layer(layer).layer(ErrorLayer::new()),
        )
        .await;
        let (writer, body) = written();
        server.answers(body);
        let mut film = get(&client(http2), &server).await.into_body();
        writer.send(data("a frame")).await.expect("somebody reads");
        assert!(soon(film.frame()).await.expect("a frame").is_ok());
        writer.send(Err(io::Error::other("the film tore"))).await.expect("somebody reads");
        // The client learns of it by a connection that closes, or a stream that is reset.
        assert!(soon(film.frame()).await.expect("an error").is_err());
        log.until(1, released).await;
        assert_eq!(bulkhead.in_flight(), 0);
    }
}

#[tokio::test]
async fn the_end_of_a_body_lets_in_a_request_that_waits() {
    let log = Log::new();
    let config = BulkheadConfig::new("api", 1).queue(1).max_wait(Duration::from_secs(60));
    let layer =
        QueuedBulkheadLayer::with(config, log.options()).expect("a valid config").hold_body();
    let bulkhead = layer.bulkhead().clone();
    let server =
        Server::start(ServiceBuilder::new().layer(refused()).layer(layer).layer(ErrorLayer::new()))
            .await;
    let (first, second) = (client(false), client(false));
    let (writer, body) = written();
    server.answers(body);
    let film = get(&first, &server).await;
    let waits = tokio::spawn({
        let request = server.request();
        async move { second.request(request).await }
    });
    log.until(1, |event| matches!(event, Event::Queued { .. })).await;
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 1));
    server.answers(Body::from("the next film"));
    drop(writer);
    let read = soon(film.into_body().collect()).await.expect("a body");
    assert_eq!(read.to_bytes(), "");
    let next = soon(waits).await.expect("no panic").expect("a head");
    assert_eq!(soon(next.into_body().collect()).await.expect("a body").to_bytes(), "the next film");
    log.until(2, released).await;
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
}

#[tokio::test]
async fn a_standard_server_holds_its_slots_over_trailers_too() {
    let log = Log::new();
    let server = stack::server("api").build().expect("a valid config").with_bulkhead(slots(&log));
    let server = server.hold_body();
    let bulkhead = server.bulkhead().bulkhead().clone();
    let server = Server::start(ServiceBuilder::new().layer(refused()).layer(server)).await;
    let (writer, body) = written();
    server.answers(body);
    let film = get(&client(true), &server).await;
    assert_eq!(bulkhead.in_flight(), 1);
    writer.send(data("a frame")).await.expect("somebody reads");
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    writer.send(Ok(Frame::trailers(trailers))).await.expect("somebody reads");
    let read = soon(film.into_body().collect()).await.expect("a body");
    assert_eq!(read.trailers().expect("trailers")["grpc-status"], "0");
    log.until(1, released).await;
    assert_eq!(bulkhead.in_flight(), 0);
    drop(writer);
}

/// Nobody sleeps here: a stalled body is cut by a limit of milliseconds, which both sides wait for.
#[tokio::test]
async fn a_body_that_stalls_is_cut_for_its_client() {
    for http2 in [false, true] {
        let log = Log::new();
        let layer = slots(&log).hold_body();
        let bulkhead = layer.bulkhead().clone();
        let config = BodyTimeoutConfig::new("api", Duration::from_millis(30));
        let timeout = BodyTimeoutLayer::with(config, log.options()).expect("a valid config");
        let limit = timeout.body_time_limit().clone();
        let server = Server::start(
            ServiceBuilder::new()
                .layer(refused())
                .layer(layer)
                .layer(ErrorLayer::new())
                .layer(timeout),
        )
        .await;
        let (writer, body) = written();
        server.answers(body);
        let mut film = get(&client(http2), &server).await.into_body();
        // On a busy machine it may be cut before it has moved at all.
        let _ = writer.send(data("a frame")).await;
        let mut frames = 0;
        let cut = loop {
            match soon(film.frame()).await.expect("no end, but an error") {
                Ok(_) => frames += 1,
                Err(error) => break error,
            }
        };
        assert!(frames <= 1, "{frames} frames, then {cut}");
        log.until(1, released).await;
        assert_eq!((bulkhead.in_flight(), limit.snapshot().timed_out), (0, 1));
        soon(writer.closed()).await;
    }
}

/// The error of a body that is cut says so to whoever stands in the same process.
#[test]
fn an_axum_body_keeps_the_refusal_in_its_error() {
    use portcullis::{Reason, Rejection, http::BodyError};
    let cut = BodyError::<axum::Error>::from(Rejection::new(Reason::Timeout, "api"));
    let error: Error<axum::Error> = Error::Inner(axum::Error::new(cut));
    let found = Rejection::find(&error).expect("in the chain of its sources");
    assert_eq!(found.policy(), "api");
}
