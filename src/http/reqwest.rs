//! reqwest's responses.

use http::StatusCode;
use reqwest::Response;

use super::{HttpClassifier, classify::Head};
use crate::{
    error::CarryRejection,
    outcome::{Classify, Hint, Outcome},
};

impl<'a> From<&'a Response> for Head<'a> {
    fn from(response: &'a Response) -> Self {
        let (status, headers) = (response.status(), response.headers());
        Self { status, headers, extensions: response.extensions() }
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "reqwest")))]
impl<E, F> Classify<Response, E> for HttpClassifier<F>
where
    E: CarryRejection,
    F: Fn(StatusCode) -> Option<Outcome>,
{
    fn classify(&self, result: &Result<Response, E>) -> Outcome {
        self.outcome(result.as_ref().map(Head::from))
    }

    fn hint(&self, result: &Result<Response, E>) -> Option<Hint> {
        self.hint_of(result.as_ref().map(Head::from))
    }
}
