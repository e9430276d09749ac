//! [`ForwardDeadlineLayer`]: a client tells the next service how long its answer is waited for.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Deadline, ResponseFuture, carried::holding, config::ForwardDeadlineConfig, layer::refusal,
    wire::Carrier,
};
use crate::{
    clock::Clock,
    error::{CarryRejection, ConfigError},
    event::Observers,
    http::inner,
    options::Options,
    policy::Now,
};

/// Tells deadlines to the next service: see [`deadline`](crate::http::deadline).
///
/// ```
/// use std::time::Duration;
/// use portcullis::{Rejection, deadline, http::deadline::{ForwardDeadlineConfig, ForwardDeadlineLayer}};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), portcullis::ConfigError> {
/// let client = ServiceBuilder::new()
///     .layer(ForwardDeadlineLayer::new(ForwardDeadlineConfig::new("payments").millis("x-timeout-ms"))?)
///     .service(service_fn(|request: http::Request<()>| async move {
///         Ok::<_, Rejection>(request.headers()["x-timeout-ms"].clone())
///     }));
/// let told = deadline::within(Duration::from_secs(2), client.oneshot(http::Request::new(())));
/// assert_eq!(told.await.unwrap(), "1995");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct ForwardDeadlineLayer {
    core: Arc<Core>,
}

struct Core {
    name: &'static str,
    carriers: Box<[Carrier]>,
    margin: Duration,
    clock: Clock,
    observers: Observers,
}

impl ForwardDeadlineLayer {
    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn new(config: ForwardDeadlineConfig) -> Result<Self, ConfigError> {
        Self::with(config, Options::default())
    }

    /// A layer with a clock or an observer of its own. What is left is reckoned by the clock, and deadlines
    /// are tokio's, so the two should run together.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn with(config: ForwardDeadlineConfig, options: Options) -> Result<Self, ConfigError> {
        let carriers = config.carriers()?;
        let ForwardDeadlineConfig { name, margin, .. } = config;
        let Options { clock, observers } = options;
        Ok(Self { core: Arc::new(Core { name, carriers, margin, clock, observers }) })
    }
}

impl fmt::Debug for ForwardDeadlineLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardDeadlineLayer")
            .field("name", &self.core.name)
            .finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ForwardDeadlineLayer {
    type Service = ForwardDeadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ForwardDeadline { inner, core: self.core.clone() }
    }
}

/// The service made by [`ForwardDeadlineLayer`]. It is ready when the inner service is.
#[derive(Clone)]
pub struct ForwardDeadline<S> {
    inner: S,
    core: Arc<Core>,
}

inner!(ForwardDeadline<S>, "calling it tells no deadline", "without the layer");

impl<S: fmt::Debug> fmt::Debug for ForwardDeadline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardDeadline")
            .field("inner", &self.inner)
            .field("name", &self.core.name)
            .finish()
    }
}

impl<S, R> Service<R> for ForwardDeadline<S>
where
    S: Service<R>,
    S::Error: CarryRejection,
    R: Outgoing,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        if let Some(deadline) = holding(request.carried()) {
            if !self.core.write(request.headers_mut(), deadline) {
                return ResponseFuture::refused(refusal(self.core.name, &self.core.observers));
            }
        }
        ResponseFuture::calling(None, || self.inner.call(request))
    }
}

impl Core {
    /// Whether any time is left to be told.
    fn write(&self, headers: &mut HeaderMap, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(self.clock.now()).saturating_sub(self.margin);
        self.carriers.iter().all(|carrier| carrier.write(headers, left))
    }
}

/// A request that a client sends: `http::Request`, and with the feature `reqwest` its own. This trait is
/// not for others to implement.
pub trait Outgoing: sealed::Sealed {
    #[doc(hidden)]
    fn headers_mut(&mut self) -> &mut HeaderMap;

    #[doc(hidden)]
    fn carried(&self) -> Option<Deadline>;
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Sealed {}
}

impl<B> sealed::Sealed for Request<B> {}

impl<B> Outgoing for Request<B> {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn carried(&self) -> Option<Deadline> {
        Deadline::of(self.extensions())
    }
}

#[cfg(feature = "reqwest")]
impl sealed::Sealed for reqwest::Request {}

#[cfg(feature = "reqwest")]
#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
impl Outgoing for reqwest::Request {
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    /// Its extensions are its own.
    fn carried(&self) -> Option<Deadline> {
        None
    }
}
