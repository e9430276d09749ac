//! Any head of a response, with headers that say something or garbage, or none at all: HTTP's and gRPC's
//! classifiers judge it, and what they say fits together.

use http::{HeaderName, HeaderValue, Response, StatusCode};
use portcullis::{
    Classify, Error, Hint, Outcome,
    grpc::{Code, GrpcClassifier, code_of_trailers},
    http::HttpClassifier,
};

use super::bytes::Bytes;

type Answer = Result<Response<()>, Error<std::io::Error>>;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let status = u16::from(bytes.byte()) << 8 | u16::from(bytes.byte());
    let Ok(status) = StatusCode::from_u16(100 + status % 900) else { return };
    let mut response = Response::new(());
    *response.status_mut() = status;
    let names = ["grpc-status", "grpc-retry-pushback-ms", "retry-after", "grpc-status-details-bin"];
    for (at, line) in data[data.len().min(2)..].split(|byte| *byte == b'\n').take(8).enumerate() {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            response.headers_mut().append(HeaderName::from_static(names[at % names.len()]), value);
        }
    }
    let code = code_of_trailers(response.headers());
    assert!(code.is_none_or(|code| Code::ALL.contains(&code)));
    assert!(Code::ALL.contains(&Code::from_http(status)));
    let trailers = response.headers().clone();
    let answer: Answer = Ok(response);

    for classifier in [HttpClassifier::breaker(), HttpClassifier::retry()] {
        let _ = (classifier.classify(&answer), classifier.hint(&answer));
    }
    for classifier in [GrpcClassifier::breaker(), GrpcClassifier::retry()] {
        let outcome = classifier.classify(&answer);
        // In a head of trailers only, the code is what counts, as it is in trailers.
        if code.is_some() {
            assert_eq!(outcome, classifier.classify_trailers(&trailers));
        } else if status == StatusCode::OK {
            assert_eq!(outcome, Outcome::Success, "the trailers are still to come");
        }
        if let Some(Hint::After(wait)) = classifier.hint(&answer) {
            assert!(wait.as_secs() < u64::MAX / 2, "{wait:?}");
        }
    }
}
