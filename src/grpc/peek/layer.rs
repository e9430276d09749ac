//! [`PeekTrailersLayer`]: brings a code that follows the head at once into the head.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, Response, StatusCode, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::Peeked;
use crate::{
    clock::{self, Timer},
    grpc::{Code, code::STATUS, code_of_trailers},
    http::inner,
};

/// Looks at the first frame of a response whose head has no `grpc-status`, and where that frame is trailers
/// with a code other than `OK`, moves them into the head.
///
/// Some services send a head before they know that the call fails, and the code in trailers right behind it.
/// A retry judges heads: put this layer below it (and below a breaker and a timeout for each attempt, which
/// then know more as well) and such a call is tried again like any other. The caller gets the same
/// answer as one that consists of trailers only, which every client of gRPC understands.
///
/// Everything else arrives unchanged: the first message, if there is one, is given back by the body, a
/// [`Peeked`]; an error of the body stays the body's; answers that have their code, that are not 200 or whose
/// body is empty are passed on without a look.
///
/// # What it costs
///
/// The head waits for the first frame. For a call with one answer that is no loss, since the message comes
/// with the head. A stream whose first message comes late would seem not to have begun, and a caller that sends
/// its own first message only when it has the head would wait in vain. So the look ends after a
/// [`limit`](Self::limit), by default 100 ms after the head: then the head is passed on as it is. The timer is made only where the first
/// frame is not there yet. Nothing allocates but trailers that are moved.
///
/// The body must be `Unpin`, as tonic's and hyper's are.
///
/// # Cancellation and clones
///
/// Dropping the response future drops the body that it looks into. The layer has no state.
///
/// ```
/// use bytes::Bytes;
/// use http::{HeaderMap, Request, Response};
/// use http_body_util::{BodyExt, Empty};
/// use portcullis::grpc::{Code, PeekTrailersLayer, code_of_trailers};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let service = ServiceBuilder::new().layer(PeekTrailersLayer::new()).service(service_fn(
///     |_: Request<()>| async {
///         let mut trailers = HeaderMap::new();
///         trailers.insert("grpc-status", Code::Unavailable.to_header_value());
///         let trailers = async { Some(Ok(trailers)) };
///         let body = Box::pin(Empty::<Bytes>::new().with_trailers(trailers));
///         Ok::<_, std::convert::Infallible>(Response::new(body))
///     },
/// ));
/// let Ok(response) = service.oneshot(Request::new(())).await;
/// assert_eq!(code_of_trailers(response.headers()), Some(Code::Unavailable));
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct PeekTrailersLayer {
    limit: Duration,
}

impl Default for PeekTrailersLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl PeekTrailersLayer {
    /// A look of at most 100 ms.
    pub const fn new() -> Self {
        Self { limit: Duration::from_millis(100) }
    }

    /// Sets how long a head may wait for the first frame. Zero sees only what is there already;
    /// [`Duration::MAX`] waits for as long as it takes.
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

impl<S> Layer<S> for PeekTrailersLayer {
    type Service = PeekTrailers<S>;

    fn layer(&self, inner: S) -> PeekTrailers<S> {
        PeekTrailers { inner, limit: self.limit }
    }
}

/// The service made by [`PeekTrailersLayer`].
#[derive(Clone, Copy, Debug)]
pub struct PeekTrailers<S> {
    inner: S,
    limit: Duration,
}

inner!(PeekTrailers<S>, "nobody looks at what follows its heads", "without the look");

impl<S, Req, B> Service<Req> for PeekTrailers<S>
where
    S: Service<Req, Response = Response<B>>,
    B: Body + Unpin,
{
    type Response = Response<Peeked<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture {
            state: State::Calling { future: self.inner.call(request) },
            limit: self.limit,
        }
    }
}

pin_project! {
    /// The response future of [`PeekTrailers`].
    pub struct ResponseFuture<F, B> {
        #[pin]
        state: State<F, B>,
        limit: Duration,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B> {
        Calling { #[pin] future: F },
        Peeking {
            // There until the head goes out.
            response: Option<(Parts, B)>,
            #[pin]
            timer: Timer,
            // When the look ends, from the first poll on that has to wait; none if it never does.
            until: Option<Instant>,
        },
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body + Unpin,
{
    type Output = Result<Response<Peeked<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StateProjection::Calling { future } = this.state.as_mut().project() {
            let response = ready!(future.poll(cx))?;
            if !is_worth_a_look(&response) {
                return Poll::Ready(Ok(response.map(Peeked::untouched)));
            }
            let response = Some(response.into_parts());
            this.state.set(State::Peeking { response, timer: Timer::default(), until: None });
        }
        let StateProjection::Peeking { response, timer, until } = this.state.project() else {
            unreachable!("it was set above");
        };
        let (_, body) =
            response.as_mut().expect("a response future was polled after it had finished");
        let frame = Pin::new(body).poll_frame(cx);
        if frame.is_pending() && poll_limit(*this.limit, until, timer, cx).is_pending() {
            return Poll::Pending;
        }
        let (mut head, body) = response.take().expect("it was there above");
        let body = match frame {
            Poll::Pending => Peeked::untouched(body),
            Poll::Ready(None) => Peeked::ended(body),
            Poll::Ready(Some(frame)) => {
                let trailers = frame.as_ref().ok().and_then(|frame| frame.trailers_ref());
                match trailers.filter(|trailers| tells_of_failure(trailers)) {
                    Some(trailers) => {
                        move_into(&mut head.headers, trailers);
                        Peeked::ended(body)
                    }
                    None => Peeked::after(frame, body),
                }
            }
        };
        Poll::Ready(Ok(Response::from_parts(head, body)))
    }
}

/// Whether there may be a code behind the head.
fn is_worth_a_look<B: Body>(response: &Response<B>) -> bool {
    response.status() == StatusCode::OK
        && code_of_trailers(response.headers()).is_none()
        && !response.body().is_end_stream()
}

/// Ready when the look has lasted long enough.
fn poll_limit(
    limit: Duration,
    until: &mut Option<Instant>,
    timer: Pin<&mut Timer>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if limit.is_zero() {
        return Poll::Ready(());
    }
    if until.is_none() {
        *until = clock::tokio_now().checked_add(limit);
    }
    // What no clock can tell the end of does not end.
    until.map_or(Poll::Pending, |until| timer.poll_until_beside(until, cx))
}

fn tells_of_failure(trailers: &HeaderMap) -> bool {
    code_of_trailers(trailers).is_some_and(|code| code != Code::Ok)
}

/// What the head says already stays: where both say something, there are two values.
fn move_into(head: &mut HeaderMap, trailers: &HeaderMap) {
    // Beyond tens of thousands of headers there is no room, so the code comes first.
    let is_code = |(name, _): &(&HeaderName, _)| *name == STATUS;
    let others = trailers.iter().filter(|header| !is_code(header));
    for (name, value) in trailers.iter().find(is_code).into_iter().chain(others) {
        let _ = head.try_append(name, value.clone());
    }
}
