//! Paths, methods and headers.

use http::{HeaderMap, Method, Request, StatusCode};
use portcullis::health::{Check, Detail, Format, HealthRegistry, HealthService};
use tower::{Service, ServiceExt};

use super::registry;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn ask(service: &HealthService, method: Method, uri: &str, accept: Option<&str>) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let request = request.body(()).expect("a request");
    let answered = service.clone().oneshot(request).await;
    let (parts, body) = answered.expect("it never fails").into_parts();
    assert_eq!(
        parts.headers.get("cache-control").map(|value| value.as_bytes()),
        Some(&b"no-store"[..])
    );
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn get(service: &HealthService, uri: &str) -> (u16, String) {
    let answer = ask(service, Method::GET, uri, None).await;
    (answer.status.as_u16(), answer.body)
}

fn health() -> HealthRegistry {
    registry([
        Check::new("db", || async { Err::<(), _>("no route") }),
        Check::new("cache/eu", || async { Ok::<_, String>(()) }),
        Check::new("loop", || async { Ok::<_, String>(()) }).liveness(),
    ])
}

#[tokio::test(start_paused = true)]
async fn each_path_answers_its_probe() {
    let health = health();
    let service = HealthService::new(&health);
    for (uri, status, body) in [
        ("/livez", 200, "ok"),
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "failed"),
        ("/readyz/", 503, "failed"),
        ("/startupz", 200, "ok"),
        ("/readyz?exclude=db", 200, "ok"),
        ("/readyz?exclude=cache%2Feu", 503, "failed"),
        ("/readyz/db", 503, "failed"),
        ("/readyz/cache%2Feu", 200, "ok"),
        ("/readyz/loop", 404, "there is no such check"),
        ("/livez/loop", 200, "ok"),
        ("/livez/db", 404, "there is no such check"),
        ("/readyz/drain", 200, "ok"),
        ("/health/startup", 200, r#"{"status":"pass"}"#),
        // Neither is asked about these, and neither says how they are.
        ("/livez/drain", 404, "there is no such check"),
        ("/livez/startup", 404, "there is no such check"),
        ("/startupz/drain", 404, "there is no such check"),
        ("/startupz/startup", 200, "ok"),
        ("/livez?verbose", 200, "[+]loop ok\nlivez check passed\n"),
        ("/livez/loop?verbose=1", 200, "[+]loop ok\nlivez check passed\n"),
        (
            "/readyz?verbose&exclude=loop",
            503,
            "[-]db failed: reason withheld\n[+]cache/eu ok\nwarn: there is no check \"loop\"\nreadyz check failed\n",
        ),
        ("/health", 503, r#"{"status":"fail"}"#),
        ("/health/readiness", 503, r#"{"status":"fail"}"#),
        ("/health/liveness", 200, r#"{"status":"pass"}"#),
        ("/health/loop", 200, r#"{"status":"pass"}"#),
        ("/health/nobody", 404, "there is no such check"),
        ("/", 404, "not found"),
        ("/metrics", 404, "not found"),
        ("/livezz", 404, "not found"),
    ] {
        assert_eq!(get(&service, uri).await, (status, body.to_owned()), "{uri}");
    }

    health.drain().begin();
    for (uri, status, body) in [
        ("/livez", 200, "ok"),
        ("/healthz", 200, "ok"),
        ("/readyz", 503, "draining"),
        ("/readyz?exclude=db&exclude=drain", 503, "draining"),
        ("/readyz/drain", 503, "draining"),
        ("/startupz", 200, "ok"),
        ("/health/liveness", 200, r#"{"status":"pass"}"#),
        ("/health/readiness", 503, r#"{"status":"fail","output":"draining"}"#),
    ] {
        assert_eq!(get(&service, uri).await, (status, body.to_owned()), "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_reading_is_allowed_and_head_has_no_body() {
    let service = HealthService::new(&health());
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let answer = ask(&service, method, "/readyz", None).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(ask(&service, Method::POST, "/x", None).await.status, StatusCode::NOT_FOUND);
    for uri in ["/livez", "/readyz?verbose", "/health", "/nothing"] {
        let get = ask(&service, Method::GET, uri, None).await;
        let head = ask(&service, Method::HEAD, uri, None).await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""));
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()));
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_format_is_the_configured_one_unless_the_request_names_another() {
    let health = health();
    let json = "application/health+json";
    let spring = "application/vnd.spring-boot.actuator.v3+json";
    let text = "text/plain; charset=utf-8";
    let service = HealthService::new(&health).format(Format::Spring);
    for (uri, accept, wanted) in [
        ("/health", None, spring),
        ("/health", Some("*/*"), spring),
        ("/health", Some("application/json"), spring),
        ("/health", Some(json), json),
        ("/health", Some("text/plain, application/json;q=0.9"), text),
        ("/readyz", None, text),
        ("/readyz", Some("text/html"), text),
        ("/readyz", Some(json), json),
    ] {
        let answer = ask(&service, Method::GET, uri, accept).await;
        assert_eq!(answer.header("content-type"), Some(wanted), "{uri} {accept:?}");
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    }
}

#[tokio::test(start_paused = true)]
async fn verbose_shows_no_more_than_is_revealed() {
    let health = health();
    for (most, shows) in [
        (Detail::Summary, "failed"),
        (Detail::Parts, "[-]db failed: reason withheld\n[+]cache/eu ok\nreadyz check failed\n"),
        (Detail::Full, "[-]db failed: no route\n[+]cache/eu ok\nreadyz check failed\n"),
    ] {
        let service = HealthService::new(&health).reveal(most);
        assert_eq!(get(&service, "/readyz?verbose").await.1, shows);
        assert_eq!(get(&service, "/readyz").await.1, "failed");
    }
}

#[test]
fn the_service_goes_wherever_servers_want_one() {
    fn server_wants<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn future_is<F: Future + Send>(_: &F) {}
    let mut service = HealthService::new(&health());
    server_wants(&service);
    future_is(&service.call(Request::new(())));
}
