//! What an answer of gRPC means to a breaker and to a retry.

use std::fmt;

use http::{HeaderMap, Response, StatusCode};

use super::{Code, code_of_trailers, pushback, retry_info};
use crate::{
    error::CarryRejection,
    http::{after, hold, told_by, unseen},
    outcome::{self, Classify, Hint, Outcome},
};

/// Judges the answers of gRPC by their [`Code`], and hears what they say about when to come back.
///
/// A breaker asks whether the service works, a retry whether the same call may fare better: two questions,
/// so there are two presets.
///
/// | answer | [`breaker`](Self::breaker) | [`retry`](Self::retry) | why |
/// |---|---|---|---|
/// | `UNAVAILABLE` | Failure | Failure | the code that says to try again |
/// | `RESOURCE_EXHAUSTED` | Failure | Failure if the service says when to come back, else Success | a quota or shed load: sooner than the service says, another attempt makes it worse |
/// | `DEADLINE_EXCEEDED`, `CANCELLED` | Failure | Success | it took too long, there; time is short, and it may have been done |
/// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS` | Failure | Success | broken; trying again does not mend it |
/// | any other code | Success | Success | the service works; the request is at fault, and stays so |
/// | a response that carries a [`Rejection`](crate::Rejection) which never reached the service | Ignored | Ignored | a layer of this process answered, and not the service |
/// | an error: not connected, reset, … | Failure | Failure | |
/// | an error that is a `tonic::Status` of the transport's or an interceptor's | by its code; `CANCELLED` and `UNKNOWN` as `UNAVAILABLE` where the transport's error is the source | likewise | so tonic calls a connection that was lost under way, and its own timeout |
/// | an error that is a [`Rejection`](crate::Rejection) which never reached the service | Ignored | – a retry [knows those itself](crate::retry#semantics-where-retries-differ) | |
///
/// For a retry, Success means that there is no further attempt. `CANCELLED` is a failure of the service since
/// whoever cancels a call here drops its future, and hears no code: the other side gave up, at a timeout of its
/// own for example. A few codes otherwise, and the rest as it is: [`code`](Self::code).
///
/// ```
/// use http::Response;
/// use portcullis::{Classify, Error, Outcome, grpc::{Code, GrpcClassifier}};
///
/// # type Failed = Error<std::io::Error>;
/// let answer = |code: Code| -> Result<Response<()>, Failed> {
///     Ok(Response::builder().header("grpc-status", code.to_header_value()).body(()).unwrap())
/// };
/// assert_eq!(GrpcClassifier::breaker().classify(&answer(Code::Internal)), Outcome::Failure);
/// assert_eq!(GrpcClassifier::breaker().classify(&answer(Code::NotFound)), Outcome::Success);
/// assert_eq!(GrpcClassifier::retry().classify(&answer(Code::Unavailable)), Outcome::Failure);
///
/// // Transactions that run into each other are tried again.
/// let transactions = GrpcClassifier::retry().code(|code| match code {
///     Code::Aborted => Some(Outcome::Failure),
///     _ => None,
/// });
/// assert_eq!(transactions.classify(&answer(Code::Aborted)), Outcome::Failure);
/// ```
///
/// # Where the code is
///
/// - In the **head**, where the answer is no more than that: what a service refuses or fails at once. It is
///   judged here.
/// - In the **trailers** that end the body. When the head is there they are not, and the call counts as a
///   Success. For a retry, [`PeekTrailersLayer`](super::PeekTrailersLayer) below it looks whether they follow
///   at once; a breaker that holds on to the body's end judges them by this classifier, too, once it is told
///   so by `classify_trailers_with` (see [`http::hold`](crate::http::hold)).
///   A body that ends without trailers leaves it at what the head said.
/// - **Nowhere**, where a proxy answered: the HTTP status stands for one, see [`Code::from_http`].
/// - In a **`tonic::Status`**, with feature `tonic`: the same classifier judges a
///   `Result<tonic::Response<T>, tonic::Status>`, which is what a generated client's method returns.
///
/// # Hints
///
/// [`grpc-retry-pushback-ms`](super::pushback) is a [`Hint::After`] of exactly so long, or a [`Hint::Stop`] where
/// it is negative or no number. Without one, a `google.rpc.RetryInfo` among the details of the status counts.
/// A failed answer of a proxy, without a code, may have a `Retry-After` in its
/// place. Let a retry that obeys them use [`Hints::grpc`](crate::Hints::grpc): exact, and the back-off begins
/// anew; `stack::Client::grpc` does so.
#[derive(Clone, Copy)]
pub struct GrpcClassifier<F = fn(Code) -> Option<Outcome>> {
    purpose: Purpose,
    refusals: Outcome,
    overrides: F,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Breaker,
    Retry,
}

impl Purpose {
    fn judge(self, code: Code, hint: Option<Hint>) -> Outcome {
        let failed = match (self, code) {
            (_, Code::Unavailable) => true,
            (Self::Retry, Code::ResourceExhausted) => matches!(hint, Some(Hint::After(_))),
            (Self::Retry, _) => false,
            (Self::Breaker, code) => matches!(
                code,
                Code::Cancelled
                    | Code::Unknown
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Internal
                    | Code::DataLoss
            ),
        };
        if failed { Outcome::Failure } else { Outcome::Success }
    }
}

impl GrpcClassifier {
    const fn of(purpose: Purpose) -> Self {
        Self { purpose, refusals: Outcome::Ignored, overrides: |_| None }
    }

    /// For a circuit breaker: codes that say that the service does not work are failures.
    pub const fn breaker() -> Self {
        Self::of(Purpose::Breaker)
    }

    /// For a retry: `UNAVAILABLE`, and `RESOURCE_EXHAUSTED` that says when, are worth another attempt.
    pub const fn retry() -> Self {
        Self::of(Purpose::Retry)
    }
}

impl<F> GrpcClassifier<F> {
    /// Judges some codes otherwise: `None` leaves one as it is. It takes the place of what was said before.
    #[must_use]
    pub fn code<G>(self, overrides: G) -> GrpcClassifier<G>
    where
        G: Fn(Code) -> Option<Outcome>,
    {
        let Self { purpose, refusals, .. } = self;
        GrpcClassifier { purpose, refusals, overrides }
    }

    /// What a response means that carries a refusal by a layer below, which never reached the service.
    /// Default [`Outcome::Ignored`]. For a retry, [`Outcome::Failure`] says to try those again, too, after
    /// the time that they name; those that can never pass are not.
    #[must_use]
    pub const fn refusals(mut self, outcome: Outcome) -> Self {
        self.refusals = outcome;
        self
    }
}

impl<F: Fn(Code) -> Option<Outcome>> GrpcClassifier<F> {
    /// What the trailers mean that end a response. Without a code in them it is
    /// [`Unknown`](Code::Unknown), as of a body that ends without trailers.
    pub fn classify_trailers(&self, trailers: &HeaderMap) -> Outcome {
        let code = code_of_trailers(trailers).unwrap_or(Code::Unknown);
        self.judge(code, heard(trailers))
    }

    /// What the trailers say about when to come back, where they are those of a failure.
    pub fn hint_trailers(&self, trailers: &HeaderMap) -> Option<Hint> {
        let (code, hint) = (code_of_trailers(trailers).unwrap_or(Code::Unknown), heard(trailers));
        only_of_failures((self.judge(code, hint), hint))
    }

    pub(super) fn judge(&self, code: Code, hint: Option<Hint>) -> Outcome {
        (self.overrides)(code).unwrap_or_else(|| self.purpose.judge(code, hint))
    }

    /// What an error means that no layer above has made.
    fn judge_error<E: CarryRejection + 'static>(&self, error: &E) -> (Outcome, Option<Hint>) {
        #[cfg(feature = "tonic")]
        if let Some(status) = super::status::as_status(error) {
            return self.judge_status(status);
        }
        (outcome::of_error(error), None)
    }

    fn judge_response<B>(&self, response: &Response<B>) -> (Outcome, Option<Hint>) {
        if let Some(refusal) = unseen(response.extensions()) {
            return (self.refusals, told_by(refusal));
        }
        let (headers, status) = (response.headers(), response.status());
        let hint = || heard(headers);
        match code_of_trailers(headers) {
            // The usual answer: there is no code yet, or a good one.
            None if status == StatusCode::OK => (Outcome::Success, None),
            Some(Code::Ok) => (self.judge(Code::Ok, None), None),
            Some(code) => {
                let hint = hint();
                (self.judge(code, hint), hint)
            }
            None => {
                let hint = hint().or_else(|| after(headers));
                (self.judge(Code::from_http(status), hint), hint)
            }
        }
    }

    fn judge_result<B, E>(&self, result: &Result<Response<B>, E>) -> (Outcome, Option<Hint>)
    where
        E: CarryRejection + 'static,
    {
        match result {
            Ok(response) => self.judge_response(response),
            Err(error) => self.judge_error(error),
        }
    }
}

impl<F> fmt::Debug for GrpcClassifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, refusals, .. } = self;
        f.debug_struct("GrpcClassifier")
            .field("purpose", purpose)
            .field("refusals", refusals)
            .finish_non_exhaustive()
    }
}

impl<B, E, F> Classify<Response<B>, E> for GrpcClassifier<F>
where
    E: CarryRejection + 'static,
    F: Fn(Code) -> Option<Outcome>,
{
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        self.judge_result(result).0
    }

    fn hint(&self, result: &Result<Response<B>, E>) -> Option<Hint> {
        only_of_failures(self.judge_result(result))
    }
}

/// For a breaker that holds on to the body's end: what
/// [`classify_trailers`](GrpcClassifier::classify_trailers) and [`hint_trailers`](GrpcClassifier::hint_trailers)
/// say.
impl<F: Fn(Code) -> Option<Outcome>> hold::ClassifyTrailers for GrpcClassifier<F> {
    fn classify(&self, _: Outcome, trailers: &HeaderMap) -> Outcome {
        self.classify_trailers(trailers)
    }

    fn hint(&self, trailers: &HeaderMap) -> Option<Hint> {
        self.hint_trailers(trailers)
    }
}

/// What headers or trailers say about when to come back. A pushback is meant for retries, details for people
/// and programs alike: where there are both, the pushback counts.
fn heard(headers: &HeaderMap) -> Option<Hint> {
    pushback::find(headers).or_else(|| retry_info::find(headers))
}

pub(super) fn only_of_failures((outcome, hint): (Outcome, Option<Hint>)) -> Option<Hint> {
    hint.filter(|_| outcome == Outcome::Failure)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;
    use crate::error::{Error, Reason, Rejection};

    type Answer = Result<Response<()>, Error<Infallible>>;

    const PRESETS: [GrpcClassifier; 2] = [GrpcClassifier::breaker(), GrpcClassifier::retry()];

    fn head(status: u16, headers: &[(&str, &str)]) -> Answer {
        let response = Response::builder().status(status);
        let response =
            headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
        Ok(response.body(()).expect("a valid response"))
    }

    fn trailers(code: Code, pushback: Option<&'static str>) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.to_header_value());
        if let Some(pushback) = pushback {
            trailers.insert(pushback::NAME, http::HeaderValue::from_static(pushback));
        }
        trailers
    }

    const fn millis(millis: u64) -> Option<Hint> {
        Some(Hint::After(Duration::from_millis(millis)))
    }

    #[test]
    fn each_preset_has_its_failures_in_head_and_trailers() {
        use Code::*;
        let [breaker, retry] = PRESETS.map(|classifier| {
            let fails = |code: &Code| {
                let trailers = trailers(*code, None);
                let mut response = Response::new(());
                *response.headers_mut() = trailers.clone();
                let outcome = classifier.classify(&Answer::Ok(response));
                assert_eq!(outcome, classifier.classify_trailers(&trailers), "{code}");
                outcome == Outcome::Failure
            };
            Code::ALL.into_iter().filter(fails).collect::<Vec<_>>()
        });
        let broken = [
            Cancelled,
            Unknown,
            DeadlineExceeded,
            ResourceExhausted,
            Internal,
            Unavailable,
            DataLoss,
        ];
        assert_eq!(breaker, broken);
        assert_eq!(retry, [Unavailable]);
    }

    #[test]
    fn a_quota_is_tried_again_when_the_service_says_when() {
        let retry = GrpcClassifier::retry();
        for (pushback, outcome, hint) in [
            (None, Outcome::Success, None),
            (Some("0"), Outcome::Failure, millis(0)),
            (Some("250"), Outcome::Failure, millis(250)),
            (Some("-1"), Outcome::Success, None),
            (Some("soon"), Outcome::Success, None),
        ] {
            let trailers = trailers(Code::ResourceExhausted, pushback);
            assert_eq!(retry.classify_trailers(&trailers), outcome, "{pushback:?}");
            assert_eq!(retry.hint_trailers(&trailers), hint, "{pushback:?}");
        }
    }

    #[test]
    fn pushback_is_heard_on_failures_only() {
        for classifier in PRESETS {
            let hint = |code, pushback| classifier.hint_trailers(&trailers(code, Some(pushback)));
            assert_eq!(hint(Code::Unavailable, "250"), millis(250));
            assert_eq!(hint(Code::Unavailable, "0"), millis(0), "exactly");
            assert_eq!(hint(Code::Unavailable, "-5"), Some(Hint::Stop));
            assert_eq!(hint(Code::Unavailable, "1e3"), Some(Hint::Stop));
            assert_eq!(hint(Code::NotFound, "250"), None);
            assert_eq!(hint(Code::Ok, "250"), None);
            let in_head = head(200, &[("grpc-status", "14"), (pushback::NAME, "70")]);
            assert_eq!(classifier.hint(&in_head), millis(70));
        }
    }

    #[test]
    fn what_has_no_code_is_judged_by_its_http_status() {
        for classifier in PRESETS {
            assert_eq!(classifier.classify(&head(200, &[])), Outcome::Success, "not known yet");
            for status in [429, 502, 503, 504] {
                assert_eq!(classifier.classify(&head(status, &[])), Outcome::Failure, "{status}");
            }
            for status in [401, 403, 404] {
                assert_eq!(classifier.classify(&head(status, &[])), Outcome::Success, "{status}");
            }
            // The code wins where there is one.
            let both = head(503, &[("grpc-status", "5")]);
            assert_eq!(classifier.classify(&both), Outcome::Success);
            // A proxy knows nothing of pushbacks.
            let of_a_proxy = head(503, &[("retry-after", "3")]);
            assert_eq!(classifier.hint(&of_a_proxy), millis(3_000));
            let of_a_service = head(200, &[("grpc-status", "14"), ("retry-after", "3")]);
            assert_eq!(classifier.hint(&of_a_service), None);
        }
        let [breaker, retry] = PRESETS.map(|classifier| classifier.classify(&head(500, &[])));
        assert_eq!([breaker, retry], [Outcome::Failure, Outcome::Success], "UNKNOWN");
        // A body that ends without trailers.
        let none = HeaderMap::new();
        let [breaker, retry] = PRESETS.map(|classifier| classifier.classify_trailers(&none));
        assert_eq!([breaker, retry], [Outcome::Failure, Outcome::Success], "UNKNOWN");
    }

    #[test]
    fn refusals_of_ours_say_nothing_about_the_service() {
        let refusal = Rejection::new(Reason::CircuitOpen, "api")
            .with_retry_after(Duration::from_millis(1_500));
        let refused = |refusal: Rejection| -> Answer {
            let mut response = head(200, &[("grpc-status", "14"), (pushback::NAME, "1500")])?;
            response.extensions_mut().insert(refusal);
            Ok(response)
        };
        for classifier in PRESETS {
            assert_eq!(classifier.classify(&refused(refusal)), Outcome::Ignored);
            assert_eq!(classifier.hint(&refused(refusal)), None);
            let attempted = refusal.with_attempted();
            assert_eq!(classifier.classify(&refused(attempted)), Outcome::Failure);
            let errors = |error| classifier.classify(&Answer::Err(error));
            assert_eq!(errors(Error::Rejected(refusal)), Outcome::Ignored);
            assert_eq!(errors(Error::Rejected(attempted)), Outcome::Failure);
        }
        let told = GrpcClassifier::retry().refusals(Outcome::Failure);
        assert_eq!(told.hint(&refused(refusal)), millis(1_500));
    }

    #[test]
    fn some_codes_otherwise_and_the_rest_as_it_is() {
        let retry = GrpcClassifier::retry().code(|code| match code {
            Code::Aborted | Code::ResourceExhausted => Some(Outcome::Failure),
            Code::Unavailable => Some(Outcome::Ignored),
            _ => None,
        });
        let judged = |code| retry.classify_trailers(&trailers(code, None));
        assert_eq!(judged(Code::Aborted), Outcome::Failure);
        assert_eq!(judged(Code::ResourceExhausted), Outcome::Failure);
        assert_eq!(judged(Code::Unavailable), Outcome::Ignored);
        assert_eq!(judged(Code::Internal), Outcome::Success);
    }
}
