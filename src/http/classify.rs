//! What an answer of HTTP means to a breaker and to a retry.

use std::fmt;

use http::{Extensions, HeaderMap, Response, StatusCode, header::RETRY_AFTER};

use super::retry_after;
use crate::{
    clock,
    error::{CarryRejection, Rejection},
    outcome::{self, Classify, Hint, Outcome},
};

/// Judges the responses of HTTP, and hears what they say about when to come back.
///
/// A breaker asks whether the service works, a retry whether the same request may fare better: two
/// questions, so there are two presets.
///
/// | answer | [`breaker`](Self::breaker) | [`retry`](Self::retry) | why |
/// |---|---|---|---|
/// | 1xx, 2xx, 3xx | Success | Success | |
/// | 408, 429 | Failure | Failure | overload tells itself so, too: the one of a handler that was too slow, the other of a caller that is too fast |
/// | other 4xx | Success | Success | the service works; the request is at fault, and stays so |
/// | 502, 503, 504 | Failure | Failure | whoever answers could not reach the service, or it is busy: that passes |
/// | 500 and every other 5xx | Failure | Success: no further attempt | the service itself met something that it cannot do, and most often meets it again |
/// | a response that carries a [`Rejection`] which never reached the service | Ignored | Ignored: no further attempt | a layer of this process answered, and not the service |
/// | an error: not connected, reset, timed out, … | Failure | Failure | |
/// | an error that is a [`Rejection`] which never reached the service | Ignored | – a retry [knows those itself](crate::retry#semantics-where-retries-differ) | |
///
/// A few statuses otherwise, and the rest as it is: [`status`](Self::status). Whether a request may be sent
/// twice at all is not asked here: see [`RetryLayer::replay`](crate::RetryLayer::replay).
///
/// ```
/// use http::{Response, StatusCode};
/// use portcullis::{Classify, Error, Outcome, http::HttpClassifier};
///
/// # type Failed = Error<std::io::Error>;
/// let answer = |status: u16| -> Result<Response<()>, Failed> {
///     Ok(Response::builder().status(status).body(()).unwrap())
/// };
/// assert_eq!(HttpClassifier::breaker().classify(&answer(500)), Outcome::Failure);
/// assert_eq!(HttpClassifier::breaker().classify(&answer(404)), Outcome::Success);
/// assert_eq!(HttpClassifier::retry().classify(&answer(500)), Outcome::Success);
///
/// let eager = HttpClassifier::retry().status(|status| match status {
///     StatusCode::INTERNAL_SERVER_ERROR => Some(Outcome::Failure),
///     _ => None,
/// });
/// assert_eq!(eager.classify(&answer(500)), Outcome::Failure);
/// assert_eq!(eager.classify(&answer(503)), Outcome::Failure);
/// ```
///
/// # Hints
///
/// `Retry-After` of a response that is a failure is a [`Hint::After`]: a retry waits for so long, and a
/// breaker that opens stays open for so long, each up to its cap. One that says zero, or names a date that
/// has passed, is none: it forbids nothing, and the back-off stands. Let a retry that obeys it use
/// [`Hints::http`](crate::Hints::http), so that those who were told the same do not come back together;
/// `stack::Client::http` does so.
///
/// # Cost
///
/// A few words that are copied. Nothing allocates; the time of day is read only where there is a
/// `Retry-After` on a failure.
#[derive(Clone, Copy)]
pub struct HttpClassifier<F = fn(StatusCode) -> Option<Outcome>> {
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
    fn judge(self, status: StatusCode) -> Outcome {
        let failed = match (self, status.as_u16()) {
            (_, 408 | 429) => true,
            (Self::Breaker, code) => (500..600).contains(&code),
            (Self::Retry, code) => matches!(code, 502..=504),
        };
        if failed { Outcome::Failure } else { Outcome::Success }
    }
}

impl HttpClassifier {
    const fn of(purpose: Purpose) -> Self {
        Self { purpose, refusals: Outcome::Ignored, overrides: |_| None }
    }

    /// For a circuit breaker: 408, 429 and 5xx are failures.
    pub const fn breaker() -> Self {
        Self::of(Purpose::Breaker)
    }

    /// For a retry: 408, 429, 502, 503 and 504 are worth another attempt.
    pub const fn retry() -> Self {
        Self::of(Purpose::Retry)
    }
}

impl<F> HttpClassifier<F> {
    /// Judges some statuses otherwise: `None` leaves one as it is. It takes the place of what was said
    /// before.
    #[must_use]
    pub fn status<G>(self, overrides: G) -> HttpClassifier<G>
    where
        G: Fn(StatusCode) -> Option<Outcome>,
    {
        let Self { purpose, refusals, .. } = self;
        HttpClassifier { purpose, refusals, overrides }
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

impl<F: Fn(StatusCode) -> Option<Outcome>> HttpClassifier<F> {
    pub(super) fn outcome<E>(&self, answer: Result<Head<'_>, &E>) -> Outcome
    where
        E: CarryRejection,
    {
        match answer {
            Ok(head) if unseen(head.extensions).is_some() => self.refusals,
            Ok(Head { status, .. }) => {
                (self.overrides)(status).unwrap_or_else(|| self.purpose.judge(status))
            }
            Err(error) => outcome::of_error(error),
        }
    }

    pub(super) fn hint_of<E>(&self, answer: Result<Head<'_>, &E>) -> Option<Hint>
    where
        E: CarryRejection,
    {
        let head = answer.ok()?;
        if self.outcome::<E>(Ok(head)) != Outcome::Failure {
            return None;
        }
        match unseen(head.extensions) {
            Some(refusal) => told_by(refusal),
            None => after(head.headers),
        }
    }
}

impl<F> fmt::Debug for HttpClassifier<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, refusals, .. } = self;
        f.debug_struct("HttpClassifier")
            .field("purpose", purpose)
            .field("refusals", refusals)
            .finish_non_exhaustive()
    }
}

impl<B, E, F> Classify<Response<B>, E> for HttpClassifier<F>
where
    E: CarryRejection,
    F: Fn(StatusCode) -> Option<Outcome>,
{
    fn classify(&self, result: &Result<Response<B>, E>) -> Outcome {
        self.outcome(result.as_ref().map(Head::from))
    }

    fn hint(&self, result: &Result<Response<B>, E>) -> Option<Hint> {
        self.hint_of(result.as_ref().map(Head::from))
    }
}

/// What of a response is judged, whoever made it.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a, B> From<&'a Response<B>> for Head<'a> {
    fn from(response: &'a Response<B>) -> Self {
        let (status, headers) = (response.status(), response.headers());
        Self { status, headers, extensions: response.extensions() }
    }
}

/// The refusal in a response of our own process, if it says that the service has not seen the request.
pub(crate) fn unseen(extensions: &Extensions) -> Option<&Rejection> {
    extensions.get::<Rejection>().filter(|refusal| !refusal.attempted())
}

/// When a refusal says to come back.
pub(crate) fn told_by(refusal: &Rejection) -> Option<Hint> {
    if refusal.reason().is_permanent() {
        return Some(Hint::Stop);
    }
    refusal.retry_after().map(Hint::After)
}

/// What `Retry-After` says, if it asks to wait at all.
pub(crate) fn after(headers: &HeaderMap) -> Option<Hint> {
    let wait = retry_after::parse(headers.get(RETRY_AFTER)?, clock::wall_now())?;
    (!wait.is_zero()).then_some(Hint::After(wait))
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;
    use crate::error::{Error, Reason};

    type Answer = Result<Response<()>, Error<Infallible>>;

    fn answer(status: u16, headers: &[(&str, &str)]) -> Answer {
        let response = Response::builder().status(status);
        let response =
            headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
        Ok(response.body(()).expect("a valid response"))
    }

    fn refused(status: u16, refusal: Rejection) -> Answer {
        let mut response = answer(status, &[("retry-after", "7")])?;
        response.extensions_mut().insert(refusal);
        Ok(response)
    }

    const fn after(seconds: u64) -> Option<Hint> {
        Some(Hint::After(Duration::from_secs(seconds)))
    }

    #[test]
    fn each_preset_has_its_failures() {
        let failures = |classifier: HttpClassifier| -> Vec<u16> {
            let fails = |status| classifier.classify(&answer(status, &[])) == Outcome::Failure;
            (100..1000).filter(|status| fails(*status)).collect()
        };
        let overload: Vec<u16> = [408, 429].into_iter().chain(500..600).collect();
        assert_eq!(failures(HttpClassifier::breaker()), overload);
        assert_eq!(failures(HttpClassifier::retry()), [408, 429, 502, 503, 504]);
    }

    #[test]
    fn some_statuses_otherwise_and_the_rest_as_it_is() {
        let mine = |status: StatusCode| match status.as_u16() {
            404 => Some(Outcome::Failure),
            429 => Some(Outcome::Success),
            599 => Some(Outcome::Ignored),
            _ => None,
        };
        let breaker = HttpClassifier::breaker().status(mine);
        let judged = |status| breaker.classify(&answer(status, &[("retry-after", "3")]));
        assert_eq!(judged(404), Outcome::Failure);
        assert_eq!(judged(429), Outcome::Success);
        assert_eq!(judged(599), Outcome::Ignored);
        assert_eq!(judged(500), Outcome::Failure);
        assert_eq!(judged(400), Outcome::Success);
        // Hints follow what counts as a failure.
        let hint = |status| breaker.hint(&answer(status, &[("retry-after", "3")]));
        assert_eq!([hint(404), hint(429), hint(599)], [after(3), None, None]);
    }

    #[test]
    fn errors_are_failures_unless_a_layer_of_ours_refused() {
        let refusal = Rejection::new(Reason::BulkheadFull, "api");
        for classifier in [HttpClassifier::breaker(), HttpClassifier::retry()] {
            let judged = |error| classifier.classify(&Answer::Err(error));
            assert_eq!(judged(Error::Rejected(refusal)), Outcome::Ignored);
            assert_eq!(judged(Error::Rejected(refusal.with_attempted())), Outcome::Failure);
            assert_eq!(
                judged(Error::Rejected(Rejection::new(Reason::Timeout, "api"))),
                Outcome::Failure
            );
            let foreign: Result<Response<()>, Error<&str>> = Err(Error::Inner("reset"));
            assert_eq!(classifier.classify(&foreign), Outcome::Failure);
            assert_eq!(classifier.hint(&foreign), None);
        }
    }

    #[test]
    fn a_response_that_a_layer_of_ours_gave_says_nothing_about_the_service() {
        let wait = Duration::from_millis(20);
        let refusal = Rejection::new(Reason::RateLimited, "api").with_retry_after(wait);
        for classifier in [HttpClassifier::breaker(), HttpClassifier::retry()] {
            assert_eq!(classifier.classify(&refused(503, refusal)), Outcome::Ignored);
            assert_eq!(classifier.hint(&refused(503, refusal)), None);
            // The service has seen this one.
            let late = Rejection::new(Reason::Timeout, "api");
            assert_eq!(classifier.classify(&refused(504, late)), Outcome::Failure);
            assert_eq!(classifier.hint(&refused(504, late)), after(7));
        }
        let told = HttpClassifier::retry().refusals(Outcome::Failure);
        assert_eq!(told.classify(&refused(429, refusal)), Outcome::Failure);
        assert_eq!(told.hint(&refused(429, refusal)), Some(Hint::After(wait)), "not in seconds");
        let never = Rejection::new(Reason::OverBurst, "api");
        assert_eq!(told.hint(&refused(429, never)), Some(Hint::Stop));
    }

    #[test]
    fn retry_after_is_heard_on_failures_only() {
        for classifier in [HttpClassifier::breaker(), HttpClassifier::retry()] {
            let hint = |status, value| classifier.hint(&answer(status, &[("retry-after", value)]));
            for status in [408, 429, 502, 503, 504] {
                assert_eq!(hint(status, "12"), after(12), "{status}");
            }
            for status in [200, 301, 404, 413] {
                assert_eq!(hint(status, "12"), None, "{status}");
            }
            assert_eq!(hint(503, "soon"), None);
            // Neither forbids anything.
            assert_eq!(hint(503, "0"), None);
            assert_eq!(hint(503, "Thu, 01 Jan 1970 00:00:00 GMT"), None);
            // Dates are told from now.
            let Some(Hint::After(wait)) = hint(503, "Fri, 31 Dec 9999 23:59:59 GMT") else {
                panic!("that date is to come");
            };
            assert!(wait > Duration::from_secs(86_400));
            assert_eq!(classifier.hint(&answer(503, &[])), None);
        }
        assert_eq!(HttpClassifier::breaker().hint(&answer(500, &[("retry-after", "5")])), after(5));
        assert_eq!(HttpClassifier::retry().hint(&answer(500, &[("retry-after", "5")])), None);
    }
}
