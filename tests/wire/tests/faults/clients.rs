//! The standard stack of a client with small numbers over each real client, and what came back of a call.

use std::{error::Error as StdError, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use portcullis::{
    Backoff, Bulkhead, BulkheadConfig, BulkheadLayer, CarryRejection, Circuit,
    CircuitBreakerConfig, CircuitBreakerLayer, Error, Event, HalfOpen, Jitter, Options, Rejection,
    RetryConfig, RetryLayer, RetryPolicy, Sleep, State, TimeoutConfig, TimeoutLayer,
    event::MetricsObserver,
    grpc::PeekTrailersLayer,
    http::ReplayBodyLayer,
    stack::{self, StandardClient},
};
use tonic::{Status, body::Body, transport::Endpoint};
use tower::{ServiceBuilder, ServiceExt};

use crate::{
    clock::{Clock, Log, soon},
    echo,
    server::{Seen, Server, Speaks},
    text::Scrape,
};

/// The circuit opens at so many failures in a row.
pub(crate) const FAILURES: u32 = 4;
/// It closes after so many probes.
pub(crate) const PROBES: u32 = 2;
pub(crate) const SLEEP: Duration = Duration::from_secs(1);
pub(crate) const BACKOFF: Duration = Duration::from_millis(10);
/// The clock's timers are as fine as this.
const TICK: Duration = Duration::from_millis(1);
pub(crate) const ATTEMPT: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Hyper,
    Reqwest,
    Tonic,
}

impl Kind {
    pub(crate) const HTTP: [Self; 2] = [Self::Hyper, Self::Reqwest];
    pub(crate) const ALL: [Self; 3] = [Self::Hyper, Self::Reqwest, Self::Tonic];

    pub(crate) fn speaks(self) -> Speaks {
        if self == Self::Tonic { Speaks::Http2 } else { Speaks::Http1 }
    }
}

/// What a caller has of a call.
#[derive(Debug)]
pub(crate) enum Got {
    /// A response and all of its body; of gRPC, a message.
    Answer(u16, Bytes),
    /// A head, and a body that broke: with what came of it.
    Cut(Bytes, Why),
    /// This library's answer.
    Refused(Rejection),
    /// The client's own error.
    Failed(Why),
    /// A status of gRPC that is no refusal.
    Status(tonic::Code, Why),
}

impl Got {
    pub(crate) fn is_fine(&self) -> bool {
        matches!(self, Self::Answer(200, body) if &body[..] == b"hello")
    }

    /// The error of whoever failed, kept as it was.
    #[track_caller]
    pub(crate) fn why(&self) -> &Why {
        match self {
            Self::Failed(why) | Self::Status(_, why) | Self::Cut(_, why) => why,
            other => panic!("no error of the client: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn refusal(&self) -> Rejection {
        match self {
            Self::Refused(refusal) => *refusal,
            other => panic!("no refusal: {other:?}"),
        }
    }
}

/// What an error and its sources say.
#[derive(Debug)]
pub(crate) struct Why {
    pub(crate) texts: Vec<String>,
    pub(crate) io: Option<io::ErrorKind>,
    pub(crate) parse: bool,
    pub(crate) incomplete: bool,
    pub(crate) refusal: Option<Rejection>,
}

impl Why {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let chain = || std::iter::successors(Some(error), |&error| error.source());
        let hyper = || chain().filter_map(|error| error.downcast_ref::<hyper::Error>());
        Self {
            texts: chain().map(ToString::to_string).collect(),
            io: chain()
                .filter_map(|error| error.downcast_ref::<io::Error>())
                .last()
                .map(io::Error::kind),
            parse: hyper().any(hyper::Error::is_parse),
            incomplete: hyper().any(hyper::Error::is_incomplete_message),
            refusal: Rejection::find(error).copied(),
        }
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.texts.iter().any(|said| said.contains(text))
    }
}

type Calling = Pin<Box<dyn Future<Output = Got> + Send>>;

/// A client under the standard stack, and every handle of it.
pub(crate) struct Standard {
    pub(crate) clock: Clock,
    pub(crate) server: Server,
    pub(crate) circuit: Circuit,
    pub(crate) slots: Bulkhead,
    pub(crate) retry: RetryPolicy,
    pub(crate) log: Log,
    metrics: PrometheusHandle,
    call: Arc<dyn Fn() -> Calling + Send + Sync>,
}

/// With a clock that is stopped, and a server that works.
pub(crate) fn standard(kind: Kind) -> Standard {
    let clock = Clock::stop();
    let server = Server::start(kind.speaks());
    let log = Log::new();
    let recorder = PrometheusBuilder::new().with_recommended_naming(true).build_recorder();
    let metrics = recorder.handle();
    let observer = MetricsObserver::with_recorder(recorder);
    let options = || {
        let (log, observer) = (log.clone(), observer.clone());
        Options::new().observer(move |event: &Event| {
            portcullis::Observer::on_event(&observer, event);
            log.note(event);
        })
    };
    let sleep = Sleep::growing(SLEEP, 1.0, Duration::from_secs(60)).jitter(0.0);
    let breaker = CircuitBreakerConfig::new("api")
        .no_failure_rate()
        .consecutive_failures(FAILURES)
        .sleep(sleep)
        .half_open(HalfOpen::counts(PROBES, 1));
    let backoff = Backoff::constant(BACKOFF).jitter(Jitter::None);
    let retry = RetryConfig::new("api").attempts(2).backoff(backoff);
    let attempt = TimeoutConfig::new("api.attempt", ATTEMPT);
    let layers = stack::client("api").build().expect("valid numbers");
    let layers = layers
        .with_bulkhead(
            BulkheadLayer::with(BulkheadConfig::new("api", 8), options()).expect("valid"),
        )
        .with_retry(RetryLayer::with(retry, options()).expect("valid"))
        .with_circuit_breaker(CircuitBreakerLayer::with(breaker, options()).expect("valid"))
        .with_attempt_timeout(TimeoutLayer::with(attempt, options()).expect("valid"));
    Standard {
        circuit: layers.circuit_breaker().circuit().clone(),
        slots: layers.bulkhead().bulkhead().clone(),
        retry: layers.retry().policy().clone(),
        call: match kind {
            Kind::Hyper => over_hyper(layers, format!("http://{}/", server.address)),
            Kind::Reqwest => over_reqwest(layers, format!("http://{}/", server.address)),
            Kind::Tonic => over_tonic(layers, format!("http://{}", server.address)),
        },
        clock,
        server,
        log,
        metrics,
    }
}

fn over_hyper(layers: StandardClient, uri: String) -> Arc<dyn Fn() -> Calling + Send + Sync> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let client = ServiceBuilder::new().layer(layers.http()).service(client);
    Arc::new(move || {
        let request = Request::get(&uri).body(Full::default()).expect("a request");
        let client = client.clone();
        Box::pin(async move {
            match client.oneshot(request).await {
                Ok(response) => read(response.map(BodyExt::boxed_unsync)).await,
                Err(Error::Rejected(refusal)) => Got::Refused(refusal),
                Err(error) => Got::Failed(Why::of(&error)),
            }
        })
    })
}

fn over_reqwest(layers: StandardClient, url: String) -> Arc<dyn Fn() -> Calling + Send + Sync> {
    // Its own retries would multiply attempts.
    let client = reqwest::Client::builder().no_proxy().retry(reqwest::retry::never());
    let client = client.build().expect("a plain client");
    let client = ServiceBuilder::new().layer(layers.http()).service(client);
    Arc::new(move || {
        let request = reqwest::Request::new(reqwest::Method::GET, url.parse().expect("a URL"));
        let client = client.clone();
        Box::pin(async move {
            match client.oneshot(request).await {
                Ok(response) => {
                    let response = http::Response::<reqwest::Body>::from(response);
                    read(response.map(BodyExt::boxed_unsync)).await
                }
                Err(Error::Rejected(refusal)) => Got::Refused(refusal),
                Err(error) => Got::Failed(Why::of(&error)),
            }
        })
    })
}

fn over_tonic(layers: StandardClient, url: String) -> Arc<dyn Fn() -> Calling + Send + Sync> {
    let channel = Endpoint::from_shared(url).expect("an address").connect_lazy();
    let layers = layers.without_error().grpc();
    // However long a head waits for its first frame.
    let layers = layers.map_error(|edge| edge.peek(PeekTrailersLayer::new().limit(Duration::MAX)));
    let channel = ServiceBuilder::new()
        .layer(ReplayBodyLayer::new())
        .layer(layers)
        .map_err(|error: tonic::transport::Error| Status::from_error(error.into()))
        .map_request(|request: Request<_>| request.map(Body::new))
        .service(channel);
    let client = echo::Client::new(channel);
    Arc::new(move || {
        let mut client = client.clone();
        Box::pin(async move {
            match client.say("hello").await {
                Ok(message) => Got::Answer(200, message.into()),
                Err(status) => match status.rejection() {
                    Some(refusal) => Got::Refused(*refusal),
                    None => Got::Status(status.code(), Why::of(&status)),
                },
            }
        })
    })
}

/// Reads a body to its end, or to its error.
async fn read<E: StdError + 'static>(
    response: http::Response<http_body_util::combinators::UnsyncBoxBody<Bytes, E>>,
) -> Got {
    let (head, mut body) = response.into_parts();
    let mut data = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => data.extend_from_slice(&frame.into_data().expect("no trailers")),
            Err(error) => return Got::Cut(data.into(), Why::of(&error)),
        }
    }
    Got::Answer(head.status.as_u16(), data.into())
}

pub(crate) fn delay(event: &Event) -> Option<Duration> {
    match event {
        Event::Retrying { delay, .. } => Some(*delay),
        _ => None,
    }
}

impl Standard {
    /// One call, begun.
    pub(crate) fn begin(&self) -> Calling {
        (self.call)()
    }

    /// One call to its end. The clock moves when a retry waits, by as much as it waits for, and when the server
    /// keeps the client waiting, by the limit of an attempt.
    pub(crate) async fn call(&self) -> Got {
        self.call_while(|| ()).await
    }

    /// Likewise; something else is done before the clock moves for a retry.
    pub(crate) async fn call_while(&self, mut waits: impl FnMut()) -> Got {
        let mut call = self.begin();
        let (mut told, mut seen) = (self.log.subscribe(), self.server.state.seen.subscribe());
        let (mut events, mut held) = (told.borrow().len(), seen.borrow().held);
        soon(async {
            loop {
                tokio::select! {
                    biased;
                    got = &mut call => break got,
                    _ = told.changed() => {
                        let new = told.borrow_and_update()[events..].to_vec();
                        events += new.len();
                        for delay in new.iter().filter_map(delay) {
                            waits();
                            self.clock.advance(delay + TICK).await;
                        }
                    }
                    _ = seen.changed() => {
                        let now = seen.borrow_and_update().held;
                        if now > held {
                            held = now;
                            self.clock.advance(ATTEMPT).await;
                        }
                    }
                }
            }
        })
        .await
    }

    pub(crate) fn seen(&self) -> Seen {
        self.server.seen()
    }

    /// Successes and failures that the circuit counts, and its state.
    pub(crate) fn counted(&self) -> (State, u64, u64) {
        let now = self.circuit.snapshot();
        (now.state, now.successes, now.failures)
    }

    /// A sample of the metrics under the stack's name.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let scrape = Scrape::read(&self.metrics.render()).expect("a valid text");
        let comma = if labels.is_empty() { "" } else { "," };
        let sample = format!("portcullis_{name}{{name=\"api\"{comma}{labels}}}");
        scrape.get(&sample).unwrap_or_else(|| panic!("there is no {sample}"))
    }

    /// Nothing is in flight anywhere, and the books agree with each other.
    #[track_caller]
    pub(crate) fn is_at_rest(&self) {
        let circuit = self.circuit.snapshot();
        let slots = self.slots.snapshot();
        assert_eq!((slots.in_flight, slots.queued, circuit.probes_in_flight), (0, 0, 0));
        assert_eq!(self.metric("bulkhead_in_flight", ""), 0.0);
        let retry = self.retry.snapshot();
        assert_eq!(self.metric("retry_attempts_total", ""), retry.attempts as f64);
        let of = |outcome| {
            self.metric("breaker_calls_total", &format!("outcome=\"{outcome}\",shadow=\"false\""))
        };
        // Each attempt either went to the service or was refused by the circuit.
        let through = of("success") + of("failure") + of("ignored") + of("cancelled");
        assert_eq!(through + of("rejected"), retry.attempts as f64);
        let settled = self
            .log
            .count(|event| matches!(event, Event::Settled { .. } | Event::Abandoned { .. }));
        assert_eq!(through, settled as f64);
    }
}
