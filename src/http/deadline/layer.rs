//! [`DeadlineLayer`]: a server learns how long its answer is waited for.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Deadline, ResponseFuture,
    carried::holding,
    config::DeadlineConfig,
    trust::{Everybody, Nobody, Trust},
    wire::Carrier,
};
use crate::{
    clock::Clock,
    error::{CarryRejection, ConfigError, Reason, Rejection},
    event::{Event, Observers},
    http::inner,
    options::Options,
    policy::timeout::{Verdict, decide},
};

/// Takes deadlines from the headers of requests: see [`deadline`](crate::http::deadline).
///
/// What requests say is ignored, and taken away, until the layer is told whom to believe. A deadline is a lever: a call that
/// its deadline cuts is a failure of the service to the breakers below, so that a stranger whose requests
/// give it a millisecond could open a circuit for everybody.
#[derive(Clone)]
#[must_use]
pub struct DeadlineLayer<T = Nobody> {
    core: Arc<Core>,
    trust: T,
}

struct Core {
    name: &'static str,
    carriers: Box<[Carrier]>,
    max: Option<Duration>,
    margin: Duration,
    min_remaining: Duration,
    clock: Clock,
    observers: Observers,
}

impl DeadlineLayer {
    /// A layer that believes nobody yet: `max`, and an earlier deadline that holds already, are in force
    /// all the same.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: DeadlineConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A layer with a clock or an observer of its own. The clock says when a request came; whoever enforces
    /// its deadline goes by tokio's, so the two should run together.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: DeadlineConfig, options: Options) -> Result<Self, ConfigError> {
        let carriers = config.carriers()?;
        let DeadlineConfig { name, max, margin, min_remaining, .. } = config;
        let Options { clock, observers } = options;
        let core = Core { name, carriers, max, margin, min_remaining, clock, observers };
        Ok(Self { core: Arc::new(core), trust: Nobody })
    }
}

impl<T> DeadlineLayer<T> {
    /// Believes every request: for servers that only your own services reach.
    pub fn trust_all(self) -> DeadlineLayer<Everybody> {
        self.trust_with(Everybody)
    }

    /// Believes the requests of which `trust` says so.
    ///
    /// ```
    /// use http::request::Parts;
    /// use portcullis::http::deadline::{DeadlineConfig, DeadlineLayer};
    ///
    /// #[derive(Clone)]
    /// struct Authenticated;
    ///
    /// let layer = DeadlineLayer::new(DeadlineConfig::new("api").grpc_timeout())?
    ///     .trust(|request: &Parts| request.extensions.get::<Authenticated>().is_some());
    /// # let _ = layer;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn trust<F>(self, trust: F) -> DeadlineLayer<F>
    where
        F: Fn(&Parts) -> bool,
    {
        self.trust_with(trust)
    }

    /// [`trust`](Self::trust) by a value with a name, such as [`TrustedPeers`](super::TrustedPeers).
    pub fn trust_with<U>(self, trust: U) -> DeadlineLayer<U> {
        DeadlineLayer { core: self.core, trust }
    }
}

impl<T> fmt::Debug for DeadlineLayer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineLayer").field("name", &self.core.name).finish_non_exhaustive()
    }
}

impl<S, T: Clone> Layer<S> for DeadlineLayer<T> {
    type Service = SetDeadline<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        SetDeadline { inner, core: self.core.clone(), trust: self.trust.clone() }
    }
}

/// The service made by [`DeadlineLayer`]. It is ready when the inner service is.
#[derive(Clone)]
pub struct SetDeadline<S, T = Nobody> {
    inner: S,
    core: Arc<Core>,
    trust: T,
}

inner!(SetDeadline<S, T>, "calling it sets no deadline", "without the deadline");

impl<S: fmt::Debug, T> fmt::Debug for SetDeadline<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetDeadline")
            .field("inner", &self.inner)
            .field("name", &self.core.name)
            .finish_non_exhaustive()
    }
}

impl<S, T, B> Service<Request<B>> for SetDeadline<S, T>
where
    S: Service<Request<B>>,
    S::Error: CarryRejection,
    T: Trust,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let deadline = match self.core.deadline(&mut parts, &self.trust) {
            Ok(deadline) => deadline,
            Err(rejection) => return ResponseFuture::refused(rejection),
        };
        if let Some(deadline) = deadline {
            parts.extensions.insert(Deadline::at(deadline));
        }
        let request = Request::from_parts(parts, body);
        ResponseFuture::calling(deadline, || self.inner.call(request))
    }
}

impl Core {
    /// When the answer to a request has to be ready, if that is known; or why none is begun.
    fn deadline(
        &self,
        request: &mut Parts,
        trust: &impl Trust,
    ) -> Result<Option<Instant>, Rejection> {
        let limit = match self.wire(request, trust) {
            Some(wire) => Some(self.max.map_or(wire, |max| max.min(wire))),
            None => self.max,
        };
        let outer = holding(Deadline::of(&request.extensions));
        match decide(limit, outer, self.min_remaining, self.clock) {
            Verdict::Start { deadline } => Ok(deadline),
            Verdict::Refuse { .. } => Err(refusal(self.name, &self.observers)),
        }
    }

    /// What a request says, if it is believed. What is not is taken away: whoever passes the request on would
    /// say it in their own name.
    fn wire(&self, request: &mut Parts, trust: &impl Trust) -> Option<Duration> {
        // Whether it is trusted may cost something to find out, and most requests say nothing.
        let said = self.carriers.iter().find_map(|carrier| carrier.read(&request.headers))?;
        if trust.trusts(request) {
            return Some(said.saturating_sub(self.margin));
        }
        self.carriers.iter().for_each(|carrier| carrier.remove(&mut request.headers));
        None
    }
}

/// Tells of a refusal, and gives it.
#[cold]
pub(super) fn refusal(name: &'static str, observers: &Observers) -> Rejection {
    let rejection = Rejection::new(Reason::DeadlineTooShort, name);
    observers.tell(|| Event::Rejected(rejection));
    rejection
}
