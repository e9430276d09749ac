//! Which requests are sent again, and what of them.

use bytes::Bytes;
use http::{HeaderName, Method, Request, Version};
use http_body_util::Full;
use portcullis::{
    http::{ReplayBody, ReplayRequest, is_idempotent},
    retry::Replay,
};

use crate::source::{data, whole};

type Plain = Request<Full<Bytes>>;
type Kept = Request<ReplayBody<Full<Bytes>>>;

fn request(method: &str) -> http::request::Builder {
    Request::builder().method(method).uri("https://shop.test/orders/7?a=b").version(Version::HTTP_2)
}

fn plain(method: &str) -> Plain {
    request(method).body(Full::from("x")).unwrap()
}

fn kept(method: &str) -> Kept {
    request(method).body(ReplayBody::new(Full::from("x"))).unwrap()
}

#[derive(Clone, Debug, PartialEq)]
struct Tenant(u8);

#[test]
fn the_head_is_the_same() {
    let (source, _) = whole([data("x")]);
    let mut original = request("PUT")
        .header("x-id", "1")
        .header("x-id", "2")
        .header("expect", "100-continue")
        .body(ReplayBody::new(source))
        .unwrap();
    original.extensions_mut().insert(Tenant(7));
    let again = ReplayRequest::new().replay(&original).unwrap();
    assert_eq!(again.method(), Method::PUT);
    assert_eq!(again.uri(), "https://shop.test/orders/7?a=b");
    assert_eq!(again.version(), Version::HTTP_2);
    assert_eq!(again.headers(), original.headers());
    assert_eq!(again.headers().get_all("x-id").iter().count(), 2);
    assert_eq!(again.extensions().get(), Some(&Tenant(7)));
}

#[test]
fn methods_and_keys_decide_for_bodies_of_both_kinds() {
    let both = |replay: &ReplayRequest, method: &str, header: Option<&'static str>| {
        let (mut plain, mut kept) = (plain(method), kept(method));
        if let Some(name) = header {
            plain.headers_mut().insert(name, "8e03".parse().unwrap());
            kept.headers_mut().insert(name, "8e03".parse().unwrap());
        }
        let replays = replay.replay(&plain).is_some();
        assert_eq!(replay.replay(&kept).is_some(), replays);
        replays
    };
    let (key, other) = (Some("idempotency-key"), Some("x-request-id"));
    let named = ReplayRequest::new().key_header(HeaderName::from_static("x-request-id"));
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(both(&ReplayRequest::default(), method, None), "{method}");
        assert!(both(&named, method, None), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "LINK"] {
        assert!(!both(&ReplayRequest::new(), method, None), "{method}");
        assert!(both(&ReplayRequest::new(), method, key), "{method}");
        assert!(!both(&ReplayRequest::new(), method, other), "{method}");
        assert!(!both(&named, method, key), "{method}");
        assert!(both(&named, method, other), "{method}");
        assert!(!both(&ReplayRequest::new().no_key_header(), method, key), "{method}");
        assert!(both(&ReplayRequest::new().any_method(), method, None), "{method}");
        assert!(both(&ReplayRequest::grpc(), method, None), "{method}");
    }
}

#[test]
fn a_function_decides() {
    let search = |request: &Plain| is_idempotent(request) || request.uri().path() == "/orders/7";
    assert!(ReplayRequest::new().when(search).replay(&plain("POST")).is_some());
    assert!(ReplayRequest::new().when(|_: &Kept| false).replay(&kept("GET")).is_none());
}

#[cfg(feature = "reqwest")]
#[test]
fn requests_of_reqwest_follow_the_same_rule() {
    let request = |method| {
        let url = "http://shop.test/orders/7".parse().unwrap();
        let mut request = reqwest::Request::new(method, url);
        *request.body_mut() = Some("x".into());
        request
    };
    let replay = ReplayRequest::new();
    let again = replay.replay(&request(Method::PUT)).unwrap();
    assert_eq!(again.body().unwrap().as_bytes(), Some(&b"x"[..]));
    assert!(replay.replay(&request(Method::POST)).is_none());
    let mut with_key = request(Method::POST);
    with_key.headers_mut().insert("idempotency-key", "8e03".parse().unwrap());
    assert!(replay.replay(&with_key).is_some());
    assert!(is_idempotent(&with_key) && !is_idempotent(&request(Method::POST)));
    // A stream is read once.
    let mut stream = request(Method::PUT);
    *stream.body_mut() = Some(reqwest::Body::wrap(ReplayBody::new(Full::<Bytes>::from("x"))));
    assert!(replay.replay(&stream).is_none());
    assert!(ReplayRequest::new().any_method().replay(&request(Method::POST)).is_some());
    let is_search = |request: &reqwest::Request| request.url().path() == "/search";
    assert!(ReplayRequest::new().when(is_search).replay(&request(Method::PUT)).is_none());
}
