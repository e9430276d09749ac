//! A real server on loopback that answers by a script, and what it and an observer saw.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{body::Body, extract::Request};
use http::{HeaderMap, Response};
use portcullis::{
    CircuitBreakerConfig, CircuitBreakerLayer, Event, Options, RetryConfig, RetryEnd, RetryLayer,
    Sleep,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A server that runs until this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers the n-th request, counted from one, with what the script says. HTTP/1 and, for those who
    /// know, HTTP/2.
    pub(crate) async fn start<S>(script: S) -> Self
    where
        S: Fn(usize) -> Response<Body> + Clone + Send + Sync + 'static,
    {
        let seen = Arc::<Mutex<Vec<HeaderMap>>>::default();
        let log = Arc::clone(&seen);
        let app = axum::Router::new().fallback(move |request: Request| {
            let number = {
                let mut log = log.lock().expect("whole");
                log.push(request.headers().clone());
                log.len()
            };
            let answer = script(number);
            async move { answer }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves until it is aborted");
        });
        Self { address, seen, task }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// How many requests arrived.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("whole").len()
    }

    /// The headers of each request.
    pub(crate) fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().expect("whole").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address")
}

pub(crate) fn status(status: u16, headers: &[(&str, &str)]) -> Response<Body> {
    let response = Response::builder().status(status);
    let response =
        headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Body::empty()).expect("a valid response")
}

/// What an observer was told, in order.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Event>>>);

impl Told {
    pub(crate) fn options(&self) -> Options {
        let log = Arc::clone(&self.0);
        Options::new().observer(move |event: &Event| log.lock().expect("whole").push(*event))
    }

    fn each<T>(&self, pick: impl FnMut(&Event) -> Option<T>) -> Vec<T> {
        self.0.lock().expect("whole").iter().filter_map(pick).collect()
    }

    /// The waits before further attempts.
    pub(crate) fn delays(&self) -> Vec<Duration> {
        self.each(|event| match event {
            Event::Retrying { delay, .. } => Some(*delay),
            _ => None,
        })
    }

    /// How often calls were attempted, and why no more.
    pub(crate) fn ends(&self) -> Vec<(u32, RetryEnd)> {
        self.each(|event| match event {
            Event::RetryEnded { attempts, end, .. } => Some((*attempts, *end)),
            _ => None,
        })
    }

    /// How long each opening of a circuit is to last.
    pub(crate) fn sleeps(&self) -> Vec<Duration> {
        self.each(|event| match event {
            Event::Transition { transition, .. } => transition.sleep,
            _ => None,
        })
    }
}

/// A retry that tells what it does.
pub(crate) fn retry(config: RetryConfig) -> (RetryLayer, Told) {
    let told = Told::default();
    (RetryLayer::with(config, told.options()).expect("a valid config"), told)
}

/// A breaker that opens at the third failure in a row, for a second if nobody asks for more.
pub(crate) fn breaker() -> (CircuitBreakerLayer, Told) {
    let told = Told::default();
    let sleep = Sleep::growing(Duration::from_secs(1), 2.0, Duration::from_secs(60)).jitter(0.0);
    let config = CircuitBreakerConfig::new("api").consecutive_failures(3).sleep(sleep);
    (CircuitBreakerLayer::with(config, told.options()).expect("a valid config"), told)
}

/// What every framework asks of a service.
pub(crate) fn assert_shareable<S, R>(_: &S)
where
    S: tower::Service<R> + Clone + Send + Sync + 'static,
    S::Response: Send + 'static,
    S::Error: Send + Sync + 'static,
    S::Future: Send + 'static,
{
}
