//! What a client tells the next service.

use portcullis::{
    RetryConfig, RetryLayer,
    http::deadline::{ForwardDeadlineConfig, ForwardDeadlineLayer},
};

use super::*;

/// A layer that writes these headers: `grpc-timeout`, one of milliseconds, or one of seconds.
pub(super) fn layer(headers: &[&str]) -> ForwardDeadlineLayer {
    let config =
        headers.iter().fold(ForwardDeadlineConfig::new("api"), |config, name| match *name {
            "grpc-timeout" => config.grpc_timeout(),
            "request-timeout" => config.seconds("request-timeout"),
            name => config.millis(name),
        });
    ForwardDeadlineLayer::new(config.margin(10 * MS)).unwrap()
}

/// What arrives of a request, in order of the names.
async fn sent(request: Request<()>) -> Result<Vec<(String, String)>, Error<Infallible>> {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let mut lines: Vec<_> = request.headers().iter().map(line).collect();
    lines.sort();
    Ok(lines)
}

/// What arrives of a request that is sent with so much time left.
async fn told(
    headers: &[&str],
    left: Option<Duration>,
    lines: &[(&'static str, &str)],
) -> Result<Vec<(String, String)>, Error<Infallible>> {
    let call = layer(headers).layer(service_fn(sent)).oneshot(request(lines));
    match left {
        Some(left) => deadline::within(left, call).await,
        None => call.await,
    }
}

fn lines(lines: &[(&str, &str)]) -> Result<Vec<(String, String)>, Error<Infallible>> {
    Ok(lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_told_less_the_margin() {
    let all = ["grpc-timeout", "request-timeout", "x-timeout-ms"];
    let expected =
        lines(&[("grpc-timeout", "1990000u"), ("request-timeout", "1"), ("x-timeout-ms", "1990")]);
    assert_eq!(told(&all, Some(2 * SECOND), &[]).await, expected);
    // Without a deadline nothing is said, and what its user says is left alone.
    assert_eq!(told(&all, None, &[]).await, lines(&[]));
    let own = [("grpc-timeout", "9H"), ("x-timeout-ms", "garbage")];
    assert_eq!(told(&all, None, &own).await, lines(&own));
    // A few centuries.
    let longest = told(&["x-timeout-ms"], Some(584 * 365 * (86_400 * SECOND)), &[]).await;
    assert_eq!(longest, lines(&[("x-timeout-ms", "18417023999990")]));
}

#[tokio::test(start_paused = true)]
async fn a_header_only_shrinks() {
    let name = "x-timeout-ms";
    for (own, arrives) in [
        (&["1989"][..], "1989"),
        (&["1990"], "1990"),
        (&["1991"], "1990"),
        (&["-1"], "1990"),
        (&["garbage"], "1990"),
        // Several lines are one then: the shortest that any of them says.
        (&["5000", "100"], "100"),
        (&["100", "garbage"], "100"),
        (&["3000", "4000"], "1990"),
    ] {
        let own: Vec<_> = own.iter().map(|value| (name, *value)).collect();
        let told = told(&[name], Some(2 * SECOND), &own).await;
        assert_eq!(told, lines(&[(name, arrives)]), "{own:?}");
    }
    let own = [("grpc-timeout", "1S")];
    assert_eq!(told(&["grpc-timeout"], Some(2 * SECOND), &own).await, lines(&own));
    assert_eq!(
        told(&["grpc-timeout"], Some(SECOND), &own).await,
        lines(&[("grpc-timeout", "990000u")])
    );
    let as_it_is_written = told(&["grpc-timeout"], Some(1_010 * MS), &own).await;
    assert_eq!(as_it_is_written, lines(&own));
    // Nothing is nothing, whoever says it.
    for own in [&[(name, "0")][..], &[(name, "0"), (name, "9")]] {
        let refused = told(&[name], Some(SECOND), own).await;
        assert_eq!(refused, Err(Error::Rejected(TOO_SHORT)), "{own:?}");
        assert_eq!(told(&[name], None, own).await, lines(own), "no deadline, no word");
    }
}

/// With less than the margin left, or less than a header can say, no request is made.
#[tokio::test(start_paused = true)]
async fn nothing_left_is_nothing_sent() {
    let (grpc, ms, seconds) = ("grpc-timeout", "x-timeout-ms", "request-timeout");
    let nano = Duration::from_nanos(1);
    for (headers, left, arrives) in [
        (&[grpc][..], Duration::ZERO, None),
        (&[grpc], 10 * MS, None),
        (&[grpc], 10 * MS + nano, Some((grpc, "1n"))),
        (&[ms], 11 * MS - nano, None),
        (&[ms], 11 * MS, Some((ms, "1"))),
        (&[seconds], 1_010 * MS - nano, None),
        (&[seconds], 1_010 * MS, Some((seconds, "1"))),
        (&[grpc, seconds], SECOND, None),
    ] {
        let expected = arrives.map_or(Err(Error::Rejected(TOO_SHORT)), |line| lines(&[line]));
        assert_eq!(told(headers, Some(left), &[]).await, expected, "{headers:?} {left:?}");
    }
    let log = Told::default();
    let config = ForwardDeadlineConfig::new("api").grpc_timeout();
    let calls = Arc::new(AtomicUsize::new(0));
    let counts = calls.clone();
    let mut service = ForwardDeadlineLayer::with(config, log.options()).unwrap().layer(service_fn(
        move |request| {
            counts.fetch_add(1, SeqCst);
            sent(request)
        },
    ));
    let past = clock::tokio_now();
    advance(SECOND).await;
    let refused = deadline::enter(past, || service.call(request(&[])));
    assert_eq!(log.take(), [Event::Rejected(TOO_SHORT)]);
    assert_eq!((refused.await, calls.load(SeqCst)), (Err(Error::Rejected(TOO_SHORT)), 0));
}

/// The deadline that a request carries counts, too: a proxy passes requests on.
#[tokio::test(start_paused = true)]
async fn the_earlier_of_ambient_and_carried_is_told() {
    for (carried, arrives) in [(SECOND, "990"), (3 * SECOND, "1990")] {
        let mut request = request(&[]);
        request.extensions_mut().insert(Deadline::at(clock::tokio_now() + carried));
        let call = layer(&["x-timeout-ms"]).layer(service_fn(sent)).oneshot(request);
        let told = deadline::within(2 * SECOND, call).await;
        assert_eq!(told, lines(&[("x-timeout-ms", arrives)]));
    }
}

/// A proxy passes requests on with their headers. What a stranger wrote there must not become the word of
/// the proxy, whom the next service believes.
#[tokio::test(start_paused = true)]
async fn what_a_stranger_says_goes_no_further() {
    let config = || {
        let config = DeadlineConfig::new("proxy").millis("x-timeout-ms").grpc_timeout();
        config.max(2 * SECOND)
    };
    let said = [("accept", "*/*"), ("grpc-timeout", "1n"), ("x-timeout-ms", "0")];
    let next = layer(&["x-timeout-ms"]).layer(service_fn(sent));
    let strangers = DeadlineLayer::new(config()).unwrap().layer(next.clone());
    let arrives = strangers.oneshot(request(&said)).await;
    assert_eq!(arrives, lines(&[("accept", "*/*"), ("x-timeout-ms", "1990")]));
    // The first of two headers is garbage, and the second is a stranger's all the same.
    let said = [("grpc-timeout", "1n"), ("x-timeout-ms", "soon")];
    let strangers = DeadlineLayer::new(config()).unwrap().layer(service_fn(sent));
    assert_eq!(strangers.oneshot(request(&said)).await, lines(&[]));
    // Whoever is believed is passed on.
    let said = [("grpc-timeout", "1S"), ("x-timeout-ms", "500")];
    let friends = DeadlineLayer::new(config()).unwrap().trust_all().layer(next);
    assert_eq!(friends.oneshot(request(&said)).await, lines(&[said[0], ("x-timeout-ms", "490")]));
}

/// A map that is full takes no header: nothing is told then, and nothing panics.
#[tokio::test(start_paused = true)]
async fn a_request_without_room_for_a_header_is_sent_without_it() {
    let mut full = request(&[]);
    let value = HeaderValue::from_static("0");
    for number in 0.. {
        let name = http::HeaderName::try_from(format!("x-{number}")).unwrap();
        if full.headers_mut().try_insert(name, value.clone()).is_err() {
            break;
        }
    }
    let sent = layer(&["x-timeout-ms"]).layer(service_fn(sent)).oneshot(full);
    let sent = deadline::within(SECOND, sent).await.unwrap();
    assert!(sent.iter().all(|(name, _)| name != "x-timeout-ms"));
}

/// Below a retry each attempt tells what is left then.
#[tokio::test(start_paused = true)]
async fn every_attempt_tells_less() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let retry = RetryConfig::new("api").attempts(3);
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(TimeoutConfig::new("api", 2 * SECOND)).unwrap())
        .layer(
            RetryLayer::new(retry).unwrap().replay(|request: &Request<()>| Some(request.clone())),
        )
        .layer(layer(&["x-timeout-ms"]))
        .service(service_fn(move |request: Request<()>| {
            let told = request.headers()["x-timeout-ms"].to_str().unwrap().parse::<u64>().unwrap();
            log.lock().unwrap().push((told, deadline::remaining().unwrap()));
            async {
                advance(100 * MS).await;
                Err::<(), _>(Error::Inner(std::fmt::Error))
            }
        }));
    assert_eq!(client.oneshot(request(&[])).await, Err(Error::Inner(std::fmt::Error)));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for (told, left) in seen.iter() {
        assert_eq!(u128::from(*told), (*left - 10 * MS).as_millis());
    }
    assert!(seen.windows(2).all(|pair| pair[1].0 + 100 <= pair[0].0), "{seen:?}");
}

#[test]
fn what_cannot_work_is_named_with_field_and_value() {
    for (config, field, value) in [
        (ForwardDeadlineConfig::new("").grpc_timeout(), "name", "\"\""),
        (ForwardDeadlineConfig::new("api"), "headers", "[]"),
        (ForwardDeadlineConfig::new("api").millis("x timeout"), "headers", "\"x timeout\""),
        (ForwardDeadlineConfig::new("api").seconds("grpc-timeout"), "headers", "grpc-timeout"),
    ] {
        let error = config.validate().unwrap_err();
        assert_eq!((error.field(), error.value()), (field, value), "{error}");
        assert_eq!(ForwardDeadlineLayer::new(config).map(drop).unwrap_err(), error);
    }
}

/// A client's own requests, too.
#[cfg(feature = "reqwest")]
#[tokio::test(start_paused = true)]
async fn requests_of_reqwest_are_told() {
    let service =
        layer(&["x-timeout-ms"]).layer(service_fn(|request: reqwest::Request| async move {
            Ok::<_, Error<Infallible>>(request.headers().get("x-timeout-ms").cloned())
        }));
    let request =
        || reqwest::Request::new(reqwest::Method::GET, "http://127.0.0.1/".parse().unwrap());
    let told = deadline::within(2 * SECOND, service.clone().oneshot(request())).await;
    assert_eq!(told, Ok(Some(HeaderValue::from_static("1990"))));
    assert_eq!(service.oneshot(request()).await, Ok(None));
}
