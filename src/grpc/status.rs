//! tonic's `Status`: it carries a refusal, and is judged by its code.

use std::{any::Any, error::Error as _, sync::Arc};

use http::HeaderMap;
use tonic::{Response, Status, metadata::MetadataMap};

use super::{
    Code, GrpcClassifier,
    classify::only_of_failures,
    pushback::{self, NAME},
    retry_info,
};
use crate::{
    error::{CarryRejection, Rejection},
    outcome::{self, Classify, Hint, Outcome},
};

/// A refusal as a client or a server of tonic tells it: the [code](Code::of_refusal), the refusal's sentence as
/// the message, when to come back as [`grpc-retry-pushback-ms`](pushback) and as a `google.rpc.RetryInfo` in the
/// details, since clients honour only one of the two, and the refusal itself as the source, so that [`CarryRejection::rejection`] and [`Rejection::find`] find it again in this process.
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
        let (code, message) = (Code::of_refusal(&refusal), refusal.to_string());
        let after = refusal.retry_after().filter(|_| !refusal.reason().is_permanent());
        let details = after.map(|after| retry_info::write(code, &message, after));
        let details = details.unwrap_or_default().into();
        let metadata = MetadataMap::from_headers(headers);
        let mut status = Self::with_details_and_metadata(code.into(), message, details, metadata);
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

/// The code of a status that is an error. Of a connection that was lost under way, and of its own timeout, tonic
/// makes `CANCELLED` or `UNKNOWN`, with the transport's error as the source; a code that came over the wire has
/// none. That is `UNAVAILABLE` here, as a connection that was refused is, so that such an error is tried again
/// whether or not it was made a status.
fn code_of_status(status: &Status) -> Code {
    match status.code() {
        tonic::Code::Cancelled | tonic::Code::Unknown if status.source().is_some() => {
            Code::Unavailable
        }
        code => code.into(),
    }
}

impl<F: Fn(Code) -> Option<Outcome>> GrpcClassifier<F> {
    pub(super) fn judge_status(&self, status: &Status) -> (Outcome, Option<Hint>) {
        // An attempt that one of our own layers cut is a failure here as it is anywhere else.
        if status.rejection().is_some() {
            return (outcome::of_error(status), None);
        }
        let told = || retry_info::read(status.details()).map(Hint::After);
        let hint = pushback::find(status.metadata().as_ref()).or_else(told);
        (self.judge(code_of_status(status), hint), hint)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{BoxError, PolicyKind, Reason};

    type Answer = Result<Response<()>, Status>;

    #[test]
    fn a_refusal_has_a_code_a_sentence_a_pushback_and_itself() {
        use tonic::Code::*;
        for (reason, code) in [
            (Reason::CircuitOpen, Unavailable),
            (Reason::ForcedOpen, Unavailable),
            (Reason::ProbeLimit, Unavailable),
            (Reason::Recovering, Unavailable),
            (Reason::RateLimited, ResourceExhausted),
            (Reason::OverBurst, ResourceExhausted),
            (Reason::KeysFull, ResourceExhausted),
            (Reason::BulkheadFull, ResourceExhausted),
            (Reason::QueueTimeout, ResourceExhausted),
            (Reason::DeadlineTooShort, DeadlineExceeded),
            (Reason::Timeout, DeadlineExceeded),
            (Reason::Panicked, Internal),
        ] {
            let refusal = Rejection::new(reason, "users")
                .with_kind(PolicyKind::Fallback)
                .with_retry_after(Duration::from_micros(250_400));
            let status = Status::from(refusal);
            assert_eq!(status.code(), code);
            assert_eq!(status.message(), refusal.to_string());
            let pushback = if reason == Reason::OverBurst { "-1" } else { "251" };
            assert_eq!(status.metadata().get(NAME).expect("there is a pushback"), pushback);
            let details = refusal.retry_after().filter(|_| reason != Reason::OverBurst);
            assert_eq!(retry_info::read(status.details()), details);
            assert_eq!(status.rejection(), Some(&refusal));
            // Boxed, as tonic's clients do, and unboxed again.
            let boxed: BoxError = status.into();
            assert_eq!(boxed.rejection(), Some(&refusal));
            let status = Status::from_error(boxed);
            assert_eq!((status.code(), status.rejection()), (code, Some(&refusal)));
        }
        let plain = Status::from(Rejection::new(Reason::BulkheadFull, "users"));
        assert!(plain.metadata().is_empty() && plain.details().is_empty());
        assert_eq!(Status::unavailable("told by another").rejection(), None);
    }

    #[test]
    fn codes_are_tonics() {
        for code in Code::ALL {
            let tonic = tonic::Code::from(code);
            assert_eq!(tonic as i32, code.as_i32());
            assert_eq!(format!("{tonic:?}"), format!("{code:?}"));
            assert_eq!(Code::from(tonic), code);
        }
    }

    fn caused(code: tonic::Code) -> Status {
        let mut status = Status::new(code, "transport error");
        status.set_source(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        status
    }

    #[test]
    fn a_status_is_judged_by_its_code_wherever_it_is_the_error() {
        let mut pushed = Status::unavailable("busy");
        pushed.metadata_mut().insert(NAME, 30.into());
        let details = retry_info::write(Code::ResourceExhausted, "", Duration::from_millis(40));
        let detailed = Status::with_details(tonic::Code::ResourceExhausted, "", details.into());
        let later = Some(Hint::After(Duration::from_millis(40)));
        let refusal = Rejection::new(Reason::CircuitOpen, "users");
        let wait = Some(Hint::After(Duration::from_millis(30)));
        for (status, breaker, retry, hint) in [
            (Status::unavailable("gone"), Outcome::Failure, Outcome::Failure, None),
            (pushed, Outcome::Failure, Outcome::Failure, wait),
            (detailed, Outcome::Failure, Outcome::Failure, later),
            (Status::resource_exhausted(""), Outcome::Failure, Outcome::Success, None),
            (Status::internal("broken"), Outcome::Failure, Outcome::Success, None),
            (Status::cancelled("Timeout expired"), Outcome::Failure, Outcome::Success, None),
            // What tonic makes of a connection that was lost has a source; what came over the wire has none.
            (caused(tonic::Code::Cancelled), Outcome::Failure, Outcome::Failure, None),
            (caused(tonic::Code::Unknown), Outcome::Failure, Outcome::Failure, None),
            (caused(tonic::Code::Internal), Outcome::Failure, Outcome::Success, None),
            (Status::unknown("an exception"), Outcome::Failure, Outcome::Success, None),
            (Status::not_found("no such user"), Outcome::Success, Outcome::Success, None),
            (Status::from(refusal), Outcome::Ignored, Outcome::Ignored, None),
            // By its code it would not be tried again.
            (
                Status::from(Rejection::new(Reason::Timeout, "users.attempt")),
                Outcome::Failure,
                Outcome::Failure,
                None,
            ),
        ] {
            let code = status.code();
            let (call, below): (Answer, Result<http::Response<()>, _>) =
                (Err(status.clone()), Err(status));
            for (classifier, outcome) in
                [(GrpcClassifier::breaker(), breaker), (GrpcClassifier::retry(), retry)]
            {
                assert_eq!(classifier.classify(&call), outcome, "{code}");
                assert_eq!(classifier.classify(&below), outcome, "{code}");
                assert_eq!(classifier.hint(&call), hint, "{code}");
                assert_eq!(classifier.hint(&below), hint, "{code}");
            }
        }
        let fine: Answer = Ok(Response::new(()));
        assert_eq!(GrpcClassifier::retry().classify(&fine), Outcome::Success);
    }
}
