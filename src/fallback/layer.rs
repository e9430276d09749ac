//! The Tower layer of a fallback.

use std::{fmt, future::Future, hash::Hash, marker::PhantomData, time::Duration};

use tower_layer::Layer;
use tower_service::Service;

use super::{
    Fallback, FallbackPolicy, LastGood,
    backup::Backup,
    functions::{AsyncOfFailure, AsyncOfRequest, Function, Nothing, OfFailure, OfRequest},
    remembered::{AsServed, Marked, Remembered, Restored},
    service::Judged,
    source::{Source, Value},
};
use crate::{
    error::ConfigError,
    outcome::Outcome,
    plan::{self, Part},
    policy::fallback::{
        AnyError, ErrorsWhere, Failed,
        config::{FallbackConfig, LastGoodConfig},
    },
    sync::reference::{Ref, References},
};

/// Answers in place of a service that fails.
///
/// The functions that make one say where the answer comes from; the other types follow from use: `E` is the
/// error type of the service below.
///
/// One layer value is one fallback: its clones and every service it makes share its counts, its mode and what
/// it keeps, across routes and connections.
///
/// The classifier is cloned with every call: one that is more than a function or a few words belongs in
/// an `Arc`.
#[must_use]
pub struct FallbackLayer<A: 'static, E, C = AnyError> {
    judged: Judged<A, C>,
    error: PhantomData<fn() -> E>,
}

impl<A, E> FallbackLayer<A, E> {
    pub(super) fn of(source: A) -> Self {
        let references = References::of(Ref::new(source), |source| source);
        Self { judged: Judged { references, classify: AnyError }, error: PhantomData }
    }
}

impl<T: Clone, E> FallbackLayer<Value<T>, E> {
    /// Answers a clone of `value`.
    ///
    /// ```
    /// use portcullis::{FallbackConfig, FallbackLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let service = ServiceBuilder::new()
    ///     .layer(FallbackLayer::value(FallbackConfig::new("recommended"), vec![1, 2, 3])?)
    ///     .service(service_fn(|_user: u32| async { Err(std::io::Error::other("down")) }));
    /// assert_eq!(service.oneshot(7).await.unwrap(), [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn value(config: FallbackConfig, value: T) -> Result<Self, ConfigError> {
        Ok(FallbackPolicy::new(config)?.value(value))
    }
}

impl<F, E> FallbackLayer<Function<Nothing, OfFailure<F>>, E> {
    /// Answers by a function of the failure. An error that it returns is the caller's answer: to decline,
    /// return [`failed.into_result()`](Failed::into_result).
    ///
    /// ```
    /// use portcullis::{Failed, FallbackConfig, FallbackLayer};
    /// use std::io::{Error, ErrorKind};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let config = FallbackConfig::new("stock");
    /// let fallback = FallbackLayer::function(config, |failed: Failed<u32, Error>| match failed {
    ///     Failed::Error(error) if error.kind() == ErrorKind::NotFound => Ok(0),
    ///     other => other.into_result(),
    /// })?;
    /// let service = ServiceBuilder::new()
    ///     .layer(fallback)
    ///     .service(service_fn(|_: ()| async { Err(Error::from(ErrorKind::NotFound)) }));
    /// assert_eq!(service.oneshot(()).await.unwrap(), 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn function<T>(config: FallbackConfig, answer: F) -> Result<Self, ConfigError>
    where
        F: Fn(Failed<T, E>) -> Result<T, E>,
    {
        Ok(FallbackPolicy::new(config)?.function(answer))
    }
}

impl<G, F, E> FallbackLayer<Function<G, OfRequest<F>>, E> {
    /// Answers by a function of the request and the failure. `keep` captures what is needed of the request
    /// before the call, so that the request itself need not be `Clone`; where it is, `Clone::clone` is a
    /// `keep`.
    ///
    /// ```
    /// use portcullis::{Failed, FallbackConfig, FallbackLayer};
    /// use std::io::Error;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let fallback = FallbackLayer::with_request(
    ///     FallbackConfig::new("greeting"),
    ///     |name: &String| name.len(),
    ///     |letters, _failed: Failed<String, Error>| Ok(format!("Hello, you with {letters} letters")),
    /// )?;
    /// let service = ServiceBuilder::new()
    ///     .layer(fallback)
    ///     .service(service_fn(|_name: String| async { Err(Error::other("down")) }));
    /// assert_eq!(service.oneshot("Ada".to_owned()).await.unwrap(), "Hello, you with 3 letters");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn with_request<Req, K, T>(
        config: FallbackConfig,
        keep: G,
        answer: F,
    ) -> Result<Self, ConfigError>
    where
        G: Fn(&Req) -> K,
        F: Fn(K, Failed<T, E>) -> Result<T, E>,
    {
        Ok(FallbackPolicy::new(config)?.with_request(keep, answer))
    }
}

impl<F, E> FallbackLayer<Function<Nothing, AsyncOfFailure<F>>, E> {
    /// Answers by an async function of the failure. Its future is part of the response future and is dropped
    /// with it.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn async_function<T, Fut>(config: FallbackConfig, answer: F) -> Result<Self, ConfigError>
    where
        F: Fn(Failed<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Ok(FallbackPolicy::new(config)?.async_function(answer))
    }
}

impl<G, F, E> FallbackLayer<Function<G, AsyncOfRequest<F>>, E> {
    /// Answers by an async function of what `keep` captures of the request, and the failure.
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn async_with_request<Req, K, T, Fut>(
        config: FallbackConfig,
        keep: G,
        answer: F,
    ) -> Result<Self, ConfigError>
    where
        G: Fn(&Req) -> K,
        F: Fn(K, Failed<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Ok(FallbackPolicy::new(config)?.async_with_request(keep, answer))
    }
}

impl<B, G, E> FallbackLayer<Backup<B, G>, E> {
    /// Answers by another service, called with what `keep` captures of the request. That service is readied
    /// in the response future, on a clone: a slow one delays no other call. Its error becomes the stack's by
    /// `Into`, and is the caller's answer.
    ///
    /// ```
    /// use portcullis::{FallbackConfig, FallbackLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let replica = service_fn(|id: u32| async move { Ok::<_, std::io::Error>(id * 10) });
    /// let service = ServiceBuilder::new()
    ///     .layer(FallbackLayer::service(FallbackConfig::new("replica"), replica, u32::clone)?)
    ///     .service(service_fn(|_id: u32| async { Err(std::io::Error::other("down")) }));
    /// assert_eq!(service.oneshot(7).await.unwrap(), 70);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] for an empty name.
    pub fn service<Req, K>(config: FallbackConfig, backup: B, keep: G) -> Result<Self, ConfigError>
    where
        G: Fn(&Req) -> K,
        B: Service<K> + Clone,
        B::Error: Into<E>,
    {
        Ok(FallbackPolicy::new(config)?.service(backup, keep))
    }
}

impl<K: Hash + Eq, V, F, E> FallbackLayer<Remembered<K, V, F, AsServed>, E> {
    /// Answers by the last good answer of the request's key, while it is younger than the maximum age.
    /// Callers get [`Served`](crate::Served), which says so; [`mark`](Self::mark) and [`keep`](Self::keep)
    /// leave the response type as it is.
    ///
    /// `key` must hold everything that the answer depends on: where answers differ by user, the user too.
    /// For a request without one (`None`), nothing is kept and nothing given: one that writes, for example.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{FallbackLayer, LastGoodConfig, Served};
    /// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = LastGoodConfig::new("prices", Duration::from_secs(60));
    /// let mut healthy = true;
    /// let mut service = ServiceBuilder::new()
    ///     .layer(FallbackLayer::last_good(config, |item: &&str| Some(item.to_string()))?)
    ///     .service(service_fn(move |_item: &str| {
    ///         let answer = if std::mem::take(&mut healthy) { Ok(3) } else { Err("down") };
    ///         async move { answer }
    ///     }));
    /// assert_eq!(service.ready().await?.call("tea").await?, Served::Fresh(3));
    ///
    /// let age = Duration::from_secs(40);
    /// tokio::time::advance(age).await;
    /// assert_eq!(service.ready().await?.call("tea").await?, Served::LastGood { value: 3, age });
    /// assert_eq!(service.ready().await?.call("milk").await, Err("down"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn last_good<Req>(config: LastGoodConfig, key: F) -> Result<Self, ConfigError>
    where
        F: Fn(&Req) -> Option<K>,
    {
        Ok(LastGood::new(config)?.layer(key))
    }
}

impl<K, V, F, E, C> FallbackLayer<Remembered<K, V, F, AsServed>, E, C> {
    /// Leaves the response type as it is: `mark` writes into an answer that is given again that it is one,
    /// such as a header `age`. There is no default, which would hide it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{Error, FallbackLayer, LastGoodConfig};
    ///
    /// #[derive(Clone)]
    /// struct Price { cents: u32, as_of: Option<Duration> }
    ///
    /// let config = LastGoodConfig::new("prices", Duration::from_secs(60));
    /// let layer = FallbackLayer::last_good(config, |item: &u32| Some(*item))?
    ///     .mark(|price: Price, age| Price { as_of: Some(age), ..price });
    /// # let layer: FallbackLayer<_, Error<std::io::Error>> = layer;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn mark<M>(self, mark: M) -> FallbackLayer<Remembered<K, V, F, Marked<M>>, E, C>
    where
        F: Clone,
        M: Fn(V, Duration) -> V,
    {
        self.serve(Marked(mark))
    }

    /// Leaves the response type as it is, which need not be `Clone`: `keep` takes out of an answer what is
    /// kept, and `restore` makes an answer of that and its age. It says in the answer that it is not fresh:
    /// there is no default, which would hide it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use portcullis::{Error, FallbackLayer, LastGoodConfig};
    ///
    /// struct Page { text: String, note: String }
    ///
    /// let config = LastGoodConfig::new("pages", Duration::from_secs(3600));
    /// let layer = FallbackLayer::last_good(config, |path: &String| Some(path.clone()))?.keep(
    ///     |page: &Page| page.text.clone(),
    ///     |text, age| Page { text: text.clone(), note: format!("{} s ago", age.as_secs()) },
    /// );
    /// # let layer: FallbackLayer<_, Error<std::io::Error>> = layer;
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    #[expect(clippy::type_complexity, reason = "the layer's type says where its answers come from")]
    pub fn keep<T, P, R>(
        self,
        keep: P,
        restore: R,
    ) -> FallbackLayer<Remembered<K, V, F, Restored<P, R>>, E, C>
    where
        F: Clone,
        P: Fn(&T) -> V,
        R: Fn(&V, Duration) -> T,
    {
        self.serve(Restored { keep, restore })
    }

    fn serve<W>(self, serve: W) -> FallbackLayer<Remembered<K, V, F, W>, E, C>
    where
        F: Clone,
    {
        let Judged { references, classify } = self.judged;
        let Remembered { last_good, key, .. } = &**references.handle();
        let made =
            FallbackLayer::of(Remembered { last_good: last_good.clone(), key: key.clone(), serve });
        made.classify_with(classify)
    }
}

impl<A, E, C> FallbackLayer<A, E, C> {
    /// Answers only errors for which `qualifies` says so; others, and every response, pass. Refusals by other
    /// policies are errors like any other: see [`CarryRejection::rejection`](crate::CarryRejection::rejection).
    ///
    /// ```
    /// use portcullis::{Error, FallbackConfig, FallbackLayer};
    ///
    /// let layer = FallbackLayer::value(FallbackConfig::new("stock"), 0)?
    ///     .when(|error: &Error<std::io::Error>| error.is_rejected());
    /// # Ok::<(), portcullis::ConfigError>(())
    /// ```
    pub fn when<F>(self, qualifies: F) -> FallbackLayer<A, E, ErrorsWhere<F>>
    where
        F: Fn(&E) -> bool,
    {
        self.classify_with(ErrorsWhere(qualifies))
    }

    /// Judges results by a closure, responses too: a `Failure` is answered by the fallback, a `Success` is
    /// good enough to be remembered, and what is `Ignored` passes.
    pub fn classify<F, T>(self, classify: F) -> FallbackLayer<A, E, F>
    where
        F: Fn(&Result<T, E>) -> Outcome,
    {
        self.classify_with(classify)
    }

    /// Judges results by a named classifier.
    pub fn classify_with<D>(self, classify: D) -> FallbackLayer<A, E, D> {
        let Judged { references, .. } = self.judged;
        FallbackLayer { judged: Judged { references, classify }, error: PhantomData }
    }
}

impl<A: Source, E, C> FallbackLayer<A, E, C> {
    /// The handle, to inspect or command the fallback: a [`FallbackPolicy`], or a [`LastGood`].
    pub fn handle(&self) -> &A::Handle {
        self.judged.source().handle()
    }
}

impl<A, E, C: Clone> Clone for FallbackLayer<A, E, C> {
    fn clone(&self) -> Self {
        Self { judged: self.judged.clone(), error: PhantomData }
    }
}

impl<A: Source, E, C> fmt::Debug for FallbackLayer<A, E, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("policy", self.judged.source().policy()).finish()
    }
}

impl<S, A: Source, E, C: Clone> Layer<S> for FallbackLayer<A, E, C> {
    type Service = Fallback<S, A, E, C>;

    fn layer(&self, inner: S) -> Self::Service {
        plan::note(|| Part::Fallback { name: self.judged.source().policy().name() });
        Fallback::new(inner, self.judged.clone())
    }
}
