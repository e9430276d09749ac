//! [`HealthService`]: answers probes over HTTP.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_LENGTH},
};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Detail, Format, HealthRegistry, Reporting, negotiate,
    render::{render, respond},
    route::{Route, route},
};

/// Answers a server's probes; it never fails, and never waits longer than the checks' timeouts.
///
/// | path | asks | |
/// |---|---|---|
/// | `/livez` (also `/healthz`) | [`Liveness`](super::Probe::Liveness) | `healthz` is what older configurations know. It is liveness and not readiness, so that a process which drains is not killed by it |
/// | `/readyz` | [`Readiness`](super::Probe::Readiness) | |
/// | `/startupz` | [`Startup`](super::Probe::Startup) | |
/// | `/health` | [`Overall`](super::Probe::Overall) | `/health/liveness` and `/health/readiness` are the first two in its format |
/// | any of them with `/name` | one check alone | 404 where there is none |
///
/// A path that ends in nothing of this is 404. `GET` and `HEAD` are answered; others get 405. `?verbose`
/// shows each part, as far as [`reveal`](Self::reveal) allows, and `?exclude=name` leaves one out, any number
/// of times. An `Accept` header that names a [`Format`] gets it.
///
/// In axum it stands as a route (`route_service`), below a prefix (`nest_service`), or as what is left
/// (`fallback_service`); hyper serves it as it is. See [`docs::health`](crate::docs::health).
///
/// | setting | default | meaning |
/// |---|---|---|
/// | [`format`](Self::format) | [`HealthJson`](Format::HealthJson) | of `/health`; the other paths speak text |
/// | [`reveal`](Self::reveal) | [`Parts`](Detail::Parts) | the most that `?verbose` shows |
#[derive(Clone, Debug)]
#[must_use]
pub struct HealthService {
    health: HealthRegistry,
    format: Format,
    reveal: Detail,
}

impl HealthService {
    /// Answers by this registry.
    pub fn new(health: &HealthRegistry) -> Self {
        Self { health: health.clone(), format: Format::HealthJson, reveal: Detail::Parts }
    }

    /// The format of `/health`, where the request names none.
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// The most that `?verbose` shows. [`Detail::Full`] shows what checks say, which may be anything that an
    /// error says: only where nobody but operators can ask. [`Detail::Summary`] hides names as well.
    pub fn reveal(mut self, most: Detail) -> Self {
        self.reveal = most;
        self
    }

    fn answer<B>(&self, request: &Request<B>) -> Stage {
        let Some(Route { query, verbose, format }) = route(request.uri(), self.format) else {
            return Stage::done(StatusCode::NOT_FOUND, "not found");
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Stage::done(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        let format = negotiate::format(request.headers(), self.format).unwrap_or(format);
        let detail = if verbose { self.reveal } else { Detail::Summary };
        let alone = query.only.is_some();
        Stage::Asking { reporting: self.health.report(query), format, detail, alone }
    }
}

impl<B> Service<Request<B>> for HealthService {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = ProbeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ProbeFuture {
        let head = request.method() == Method::HEAD;
        ProbeFuture { stage: self.answer(&request), head }
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage {
        Done { response: Option<Response<String>> },
        Asking {
            #[pin]
            reporting: Reporting,
            format: Format,
            detail: Detail,
            // For one check, which there may not be.
            alone: bool,
        },
    }
}

impl Stage {
    fn done(status: StatusCode, text: &str) -> Self {
        let mut response = respond(status, Format::Text, text.to_owned());
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Self::Done { response: Some(response) }
    }
}

pin_project! {
    /// The response future of [`HealthService`]. Dropping it stops the runs of checks that no other probe
    /// waits for.
    pub struct ProbeFuture {
        #[pin]
        stage: Stage,
        head: bool,
    }
}

impl Future for ProbeFuture {
    type Output = Result<Response<String>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let response = match this.stage.as_mut().project() {
                StageProjection::Done { response } => match response.take() {
                    Some(response) => response,
                    None => panic!("a response future was polled after it had finished"),
                },
                StageProjection::Asking { reporting, format, detail, alone } => {
                    let report = ready!(reporting.poll(cx));
                    let next = if *alone && !report.unknown().is_empty() {
                        Stage::done(StatusCode::NOT_FOUND, "there is no such check")
                    } else {
                        Stage::Done { response: Some(render(&report, *format, *detail)) }
                    };
                    this.stage.set(next);
                    continue;
                }
            };
            return Poll::Ready(Ok(if *this.head { without_body(response) } else { response }));
        }
    }
}

/// What `HEAD` gets: everything but the body, whose length is told all the same.
fn without_body(mut response: Response<String>) -> Response<String> {
    let body = mem::take(response.body_mut());
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

impl fmt::Debug for ProbeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture").finish_non_exhaustive()
    }
}
