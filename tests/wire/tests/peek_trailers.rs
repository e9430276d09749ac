//! A look at a response's first frame: bodies that end in every way, frame by frame.
#![allow(clippy::disallowed_methods, reason = "a test may look at the paused clock")]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use portcullis::grpc::{Code, PeekTrailersLayer, Peeked, code_of_trailers, pushback};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};

type Item = Result<Frame<Bytes>, &'static str>;

/// What a body does next.
#[derive(Debug)]
enum Step {
    Gives(Item),
    /// Ready at the poll after this one.
    Waits,
    Hangs,
}

#[derive(Debug)]
struct Script(VecDeque<Step>);

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        match self.0.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Gives(item)) => Poll::Ready(Some(item)),
            Some(Step::Waits) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Hangs) => {
                self.0.push_front(Step::Hangs);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let gives = |step: &Step| match step {
            Step::Gives(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        SizeHint::with_exact(self.0.iter().map(gives).sum())
    }
}

fn data(text: &'static str) -> Step {
    Step::Gives(Ok(Frame::data(Bytes::from_static(text.as_bytes()))))
}

fn trailers(code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.to_header_value());
    trailers.insert("grpc-message", HeaderValue::from_static("why"));
    trailers.insert(pushback::NAME, HeaderValue::from_static("5"));
    trailers.append("detail", HeaderValue::from_static("of the trailers"));
    trailers
}

fn ends(code: Code) -> Step {
    Step::Gives(Ok(Frame::trailers(trailers(code))))
}

async fn peek_with(
    layer: PeekTrailersLayer,
    response: Response<Script>,
) -> Response<Peeked<Script>> {
    let mut response = Some(response);
    let service = layer.layer(service_fn(move |_: Request<()>| {
        let response = response.take().expect("one call");
        async move { Ok::<_, Infallible>(response) }
    }));
    let Ok(response) = service.oneshot(Request::new(())).await;
    response
}

async fn peek<const N: usize>(steps: [Step; N]) -> Response<Peeked<Script>> {
    let mut response = Response::new(Script(steps.into()));
    response.headers_mut().append("detail", HeaderValue::from_static("of the head"));
    peek_with(PeekTrailersLayer::new(), response).await
}

/// Everything that the body still has: its data, and its trailers or its error.
async fn rest(body: Peeked<Script>) -> (String, Option<Result<HeaderMap, &'static str>>) {
    let (mut text, mut end) = (String::new(), None);
    let mut body = std::pin::pin!(body);
    while let Some(frame) = body.frame().await {
        assert!(end.is_none(), "nothing follows the end");
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => text += std::str::from_utf8(&data).expect("text"),
            Ok(Err(frame)) => end = frame.into_trailers().ok().map(Ok),
            Err(error) => end = Some(Err(error)),
        }
    }
    assert!(body.is_end_stream());
    (text, end)
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_follows_at_once_comes_into_the_head() {
    let response = peek([Step::Waits, ends(Code::Unavailable)]).await;
    let headers = response.headers().clone();
    assert_eq!(code_of_trailers(&headers), Some(Code::Unavailable));
    assert_eq!(headers["grpc-message"], "why");
    assert_eq!(headers[pushback::NAME], "5");
    let details: Vec<_> = headers.get_all("detail").iter().collect();
    assert_eq!(details, ["of the head", "of the trailers"]);
    assert!(response.body().is_end_stream());
    assert_eq!(response.body().size_hint().exact(), Some(0));
    assert_eq!(rest(response.into_body()).await, (String::new(), None));
}

#[tokio::test(start_paused = true)]
async fn everything_else_arrives_as_it_was() {
    // A message, and a failure after it.
    let response = peek([Step::Waits, data("one"), data("two"), ends(Code::Internal)]).await;
    assert_eq!(code_of_trailers(response.headers()), None);
    assert_eq!(response.body().size_hint().exact(), Some(6));
    assert!(!response.body().is_end_stream());
    let end = Some(Ok(trailers(Code::Internal)));
    assert_eq!(rest(response.into_body()).await, ("onetwo".to_owned(), end));

    // A stream that is empty and fine, whose caller looks for its trailers.
    let response = peek([ends(Code::Ok)]).await;
    assert_eq!(code_of_trailers(response.headers()), None);
    let end = Some(Ok(trailers(Code::Ok)));
    assert_eq!(rest(response.into_body()).await, (String::new(), end));

    // Trailers without a code.
    let mut without = trailers(Code::Ok);
    without.remove("grpc-status");
    let response = peek([Step::Gives(Ok(Frame::trailers(without.clone())))]).await;
    assert_eq!(rest(response.into_body()).await, (String::new(), Some(Ok(without))));

    // A body that ends without, and one that breaks.
    let response = peek([Step::Waits]).await;
    assert_eq!(rest(response.into_body()).await, (String::new(), None));
    let response = peek([Step::Gives(Err("reset"))]).await;
    assert_eq!(rest(response.into_body()).await, (String::new(), Some(Err("reset"))));
}

#[tokio::test(start_paused = true)]
async fn what_has_its_code_is_not_looked_into() {
    let begun = Instant::now();
    for (status, code) in [(200, Some(Code::Ok)), (200, Some(Code::Internal)), (503, None)] {
        let mut response = Response::builder().status(status);
        if let Some(code) = code {
            response = response.header("grpc-status", code.to_header_value());
        }
        let response = response.body(Script([Step::Hangs].into())).expect("a valid response");
        let response = peek_with(PeekTrailersLayer::new(), response).await;
        assert_eq!(code_of_trailers(response.headers()), code);
    }
    assert_eq!(Instant::now(), begun);
}

#[tokio::test(start_paused = true)]
async fn a_head_waits_for_so_long_and_no_longer() {
    let hanging = || Response::new(Script([Step::Hangs].into()));
    for limit in [Duration::ZERO, Duration::from_millis(30)] {
        let begun = Instant::now();
        let response = peek_with(PeekTrailersLayer::new().limit(limit), hanging()).await;
        assert_eq!(Instant::now() - begun, limit);
        assert!(!response.body().is_end_stream());
    }
    let begun = Instant::now();
    peek_with(PeekTrailersLayer::default(), hanging()).await;
    assert_eq!(Instant::now() - begun, Duration::from_millis(100));

    let endless = PeekTrailersLayer::new().limit(Duration::MAX);
    let day = Duration::from_secs(86_400);
    let waiting = tokio::time::timeout(day, peek_with(endless, hanging())).await;
    assert!(waiting.is_err(), "it waits for as long as it takes");

    // Nothing of the body is lost when the look ends without a frame.
    let late = Response::new(Script([Step::Waits, data("late"), ends(Code::Ok)].into()));
    let response = peek_with(PeekTrailersLayer::new().limit(Duration::ZERO), late).await;
    let end = Some(Ok(trailers(Code::Ok)));
    assert_eq!(rest(response.into_body()).await, ("late".to_owned(), end));
}

/// tokio lets a timer fire only while its task has budget left, which such a body takes whole.
#[tokio::test(start_paused = true)]
async fn a_look_ends_even_at_a_body_that_uses_up_its_tasks_budget() {
    struct Greedy;
    impl Body for Greedy {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
            while std::pin::pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            Poll::Pending
        }
    }
    let service = PeekTrailersLayer::new()
        .layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Greedy)) }));
    let head = tokio::spawn(service.oneshot(Request::new(())));
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_millis(100)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(head.is_finished(), "passed on when it came by again");
}
