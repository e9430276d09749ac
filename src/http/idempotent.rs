//! Which requests may be sent twice.

use http::{HeaderMap, HeaderName, Method, Request, request::Parts};

/// The header by which a client says that the server tells a repeated request from a new one.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request may be sent twice: by its method, or because it has an `Idempotency-Key`.
///
/// | request | may be |
/// |---|---|
/// | `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE` | yes: RFC 9110 calls these methods idempotent |
/// | any other with an `Idempotency-Key` that is not empty | yes: the server knows it again |
/// | any other, such as `POST`, `PATCH`, `CONNECT` | no |
///
/// ```
/// use http::Request;
/// use portcullis::http::is_idempotent;
///
/// assert!(is_idempotent(&Request::put("/orders/7").body(()).unwrap()));
/// assert!(!is_idempotent(&Request::post("/orders").body(()).unwrap()));
/// assert!(is_idempotent(&Request::post("/orders").header("idempotency-key", "8e03978e").body(()).unwrap()));
/// ```
pub fn is_idempotent<R: RequestHead + ?Sized>(request: &R) -> bool {
    has_idempotent_method(request) || has_key(request, &IDEMPOTENCY_KEY)
}

pub(super) fn has_idempotent_method<R: RequestHead + ?Sized>(request: &R) -> bool {
    let method = request.method();
    method.is_idempotent()
}

pub(super) fn has_key<R: RequestHead + ?Sized>(request: &R, name: &HeaderName) -> bool {
    request.headers().get(name).is_some_and(|key| !key.as_bytes().trim_ascii().is_empty())
}

/// What requests of every kind have: method and headers. Of [`http::Request`], its [`Parts`], and, with
/// feature `reqwest`, of `reqwest::Request`.
pub trait RequestHead {
    /// The method.
    fn method(&self) -> &Method;

    /// The headers.
    fn headers(&self) -> &HeaderMap;
}

impl<B> RequestHead for Request<B> {
    fn method(&self) -> &Method {
        Self::method(self)
    }

    fn headers(&self) -> &HeaderMap {
        Self::headers(self)
    }
}

impl RequestHead for Parts {
    fn method(&self) -> &Method {
        &self.method
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

#[cfg(feature = "reqwest")]
impl RequestHead for reqwest::Request {
    fn method(&self) -> &Method {
        Self::method(self)
    }

    fn headers(&self) -> &HeaderMap {
        Self::headers(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_keys_decide() {
        let request = |method: &str, key: Option<&str>| {
            let mut request = Request::builder().method(method);
            if let Some(key) = key {
                request = request.header("Idempotency-Key", key);
            }
            request.body(()).unwrap()
        };
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(is_idempotent(&request(method, None)), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "LINK", "get"] {
            assert!(!is_idempotent(&request(method, None)), "{method}");
            assert!(!is_idempotent(&request(method, Some(" "))), "{method} with an empty key");
            assert!(is_idempotent(&request(method, Some("8e03"))), "{method} with a key");
        }
        let (parts, ()) = request("POST", Some("8e03")).into_parts();
        assert!(is_idempotent(&parts));
    }
}
