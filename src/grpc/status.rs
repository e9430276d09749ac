//! tonic's `Status`: it carries a refusal, and is judged by its code.

use std::{any::Any, sync::Arc};

use http::HeaderMap;
use tonic::{Response, Status, metadata::MetadataMap};

use super::{
    Code, GrpcClassifier,
    classify::only_of_failures,
    pushback::{self, NAME},
};
use crate::{
    error::{CarryRejection, Rejection},
    outcome::{self, Classify, Hint, Outcome},
};

/// A refusal as a client or a server of tonic tells it: the [code](Code::of_refusal), the refusal's sentence as
/// the message, when to come back as [`grpc-retry-pushback-ms`](pushback), and the refusal itself as the
/// source, so that [`CarryRejection::rejection`] and [`Rejection::find`] find it again in this process.
///
/// With it a generated client stands on layers of this crate when the transport's error becomes a `Status`
/// below them:
///
/// ```
/// use portcullis::{CarryRejection, CircuitBreakerConfig, CircuitBreakerLayer, Reason, Rejection};
/// use tonic::{Code, Status};
/// use tower::{ServiceBuilder, service_fn};
///
/// # fn transport() -> impl tower::Service<(), Response = (), Error = std::io::Error> { service_fn(|()| async { Ok(()) }) }
/// let channel = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(CircuitBreakerConfig::new("users"))?)
///     .map_err(|error: std::io::Error| Status::from_error(error.into()))
///     .service(transport());
/// # drop(channel);
///
/// let refused = Status::from(Rejection::new(Reason::CircuitOpen, "users"));
/// assert_eq!(refused.code(), Code::Unavailable);
/// assert_eq!(refused.message(), "users: the circuit is open");
/// assert_eq!(refused.rejection().unwrap().policy(), "users");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<Rejection> for Status {
    fn from(refusal: Rejection) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(pushback) = pushback::of_refusal(&refusal) {
            headers.insert(NAME, pushback);
        }
        let code = Code::of_refusal(&refusal).into();
        let metadata = MetadataMap::from_headers(headers);
        let mut status = Self::with_metadata(code, refusal.to_string(), metadata);
        status.set_source(Arc::new(refusal));
        status
    }
}

/// Finds a refusal among the sources. One that came over the wire is none: it is the other side's answer.
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl CarryRejection for Status {
    fn rejection(&self) -> Option<&Rejection> {
        Rejection::find(self)
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        Self::from_i32(code.as_i32())
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl From<tonic::Code> for Code {
    fn from(code: tonic::Code) -> Self {
        Self::from_i32(code.into())
    }
}

/// The error itself, where it is a status.
pub(super) fn as_status<E: 'static>(error: &E) -> Option<&Status> {
    (error as &dyn Any).downcast_ref()
}

impl<F: Fn(Code) -> Option<Outcome>> GrpcClassifier<F> {
    pub(super) fn judge_status(&self, status: &Status) -> (Outcome, Option<Hint>) {
        // An attempt that one of our own layers cut is a failure here as it is anywhere else.
        if status.rejection().is_some() {
            return (outcome::of_error(status), None);
        }
        let hint = pushback::find(status.metadata().as_ref());
        (self.judge(status.code().into(), hint), hint)
    }

    fn judge_call<T>(&self, result: &Result<Response<T>, Status>) -> (Outcome, Option<Hint>) {
        match result {
            Ok(_) => (self.judge(Code::Ok, None), None),
            Err(status) => self.judge_status(status),
        }
    }
}

/// What a generated client's method returns, for [`RetryPolicy::run_classified`](crate::RetryPolicy::run_classified)
/// and [`Circuit::run_classified`](crate::Circuit::run_classified).
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
impl<T, F> Classify<Response<T>, Status> for GrpcClassifier<F>
where
    F: Fn(Code) -> Option<Outcome>,
{
    fn classify(&self, result: &Result<Response<T>, Status>) -> Outcome {
        self.judge_call(result).0
    }

    fn hint(&self, result: &Result<Response<T>, Status>) -> Option<Hint> {
        only_of_failures(self.judge_call(result))
    }
}
