//! Limits by address behind a real nginx, which is what most of them stand behind: clients with addresses of their
//! own, what they forge, and what comes back through it. The server is that of the example `axum_per_ip_limit`.

#[path = "nginx/process.rs"]
mod process;
#[path = "../../../examples/wire/axum_per_ip_limit/server.rs"]
mod server;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

use futures_util::future::join_all;
use portcullis::{RateLimitConfig, http::key::ClientIp};
use reqwest::{Client, RequestBuilder};

use self::{process::Nginx, server::Server};

/// Waits for something, but not for ever.
#[expect(clippy::disallowed_methods, reason = "a bound on the real clock, far beyond any answer")]
async fn answer<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("an answer")
}

const BURST: u64 = 5;
/// Where nginx asks from. Not where any client does, so that it can be told from all of them.
const PROXY: &str = "127.0.0.9";
const CLIENTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
const HOUR: Duration = Duration::from_secs(3_600);

/// So many at once, and no more while a test runs.
fn limit() -> RateLimitConfig {
    RateLimitConfig::new("clients", 1, HOUR).burst(BURST)
}

/// One server that knows its proxy's address and one that counts on it, and nginx in front of both.
struct Fleet {
    nginx: Nginx,
    servers: [(&'static str, Server); 2],
}

impl Fleet {
    async fn start() -> Option<Self> {
        // Outside of Linux the loopback interface has but one of them.
        for address in CLIENTS.iter().chain([&PROXY]) {
            if let Err(error) = TcpListener::bind((*address, 0)) {
                println!("skipped: {address} is no address of this machine ({error})");
                return None;
            }
        }
        let known = ClientIp::trusted_proxies([PROXY]).x_forwarded_for();
        let counted = ClientIp::trusted_hops(1).x_forwarded_for();
        let servers = [
            ("/known/", Server::start(limit(), 1_000, known).await.expect("a valid config")),
            ("/counted/", Server::start(limit(), 1_000, counted).await.expect("a valid config")),
        ];
        let config = format!(
            "upstream known {{ server {}; keepalive 4; }}
             upstream counted {{ server {}; keepalive 4; }}
             server {{
                 listen {{listen}};
                 proxy_bind {PROXY};
                 proxy_http_version 1.1;
                 proxy_set_header Connection \"\";
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                 location /known/ {{ proxy_pass http://known/; }}
                 location /counted/ {{ proxy_pass http://counted/; }}
             }}",
            servers[0].1.address, servers[1].1.address,
        );
        Some(Self { nginx: Nginx::start(&config).await?, servers })
    }
}

/// A client at an address, which keeps so many connections.
fn client(address: &str, kept: usize) -> Client {
    let address: IpAddr = address.parse().expect("an address");
    let client = Client::builder().no_proxy().local_address(address).pool_max_idle_per_host(kept);
    client.build().expect("a client")
}

fn get(client: &Client, at: SocketAddr, path: &str) -> RequestBuilder {
    client.get(format!("http://{at}{path}"))
}

/// What came: the status, and the body.
async fn status(request: RequestBuilder) -> (u16, String) {
    let response = answer(request.send()).await.expect("a response");
    let status = response.status().as_u16();
    (status, answer(response.text()).await.expect("a body"))
}

/// How many were served and how many refused; whoever is served is greeted by its own address.
fn served_and_refused(address: &str, answers: &[(u16, String)]) -> (u64, u64) {
    let mut counts = (0, 0);
    for (status, body) in answers {
        match status {
            200 => {
                assert_eq!(*body, format!("hello, {address}"));
                counts.0 += 1;
            }
            429 => counts.1 += 1,
            _ => panic!("{status} for {address}: {body}"),
        }
    }
    counts
}

/// All at once, over connections that are kept and some that are not, and over nginx's own, which all of them share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_address_has_its_own_limit_behind_nginx() {
    let Some(Fleet { nginx, servers }) = Fleet::start().await else { return };
    for (path, server) in &servers {
        let clients = CLIENTS.map(|address| (address, [client(address, 8), client(address, 0)]));
        let asked = clients.iter().flat_map(|(address, clients)| {
            (0..12).map(|number| {
                let request = get(&clients[number % 2], nginx.address, path);
                async { (*address, status(request).await) }
            })
        });
        let mut answers: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (address, came) in join_all(asked).await {
            answers.entry(address).or_default().push(came);
        }
        for address in CLIENTS {
            let counts = served_and_refused(address, &answers[address]);
            assert_eq!(counts, (BURST, 12 - BURST), "{address} at {path}");
        }
        let found = server.limiters.snapshot();
        assert_eq!((found.keys, found.refused), (3, 3 * (12 - BURST)), "{path}");
        assert_eq!(server.handled.load(SeqCst), 3 * BURST, "{path}");
    }
    // What nginx itself saw.
    let mut saw: BTreeMap<String, u64> = BTreeMap::new();
    for line in nginx.stop().await {
        *saw.entry(line).or_default() += 1;
    }
    for address in CLIENTS {
        for (status, times) in [(200, 2 * BURST), (429, 2 * (12 - BURST))] {
            assert_eq!(saw.remove(&format!("{address} {status}")), Some(times), "{address}");
        }
    }
    assert!(saw.is_empty(), "{saw:?}");
}

/// nginx joins all lines of the header into one, and appends the address that it sees.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_forge_gets_them_nothing_through_nginx() {
    let Some(Fleet { nginx, servers }) = Fleet::start().await else { return };
    for (path, server) in &servers {
        let (forger, victim) = (client("127.0.0.2", 1), client("127.0.0.3", 1));
        let mut answers = Vec::new();
        for number in 0..20 {
            let lines = match number % 5 {
                0 => vec![format!("198.51.100.{number}")],
                1 => vec![format!("198.51.100.{number}, 127.0.0.3")],
                2 => vec![format!("198.51.100.{number}"), format!("127.0.0.3, {PROXY}")],
                3 => vec![format!("{PROXY}, {PROXY}, 127.0.0.{number}"), String::new()],
                _ => vec!["\"unknown, ,, \\".to_owned(), format!("[2001:db8:{number}::1]:80,")],
            };
            let mut request = get(&forger, nginx.address, path);
            for line in lines {
                request = request.header("x-forwarded-for", line);
            }
            // Headers that this server does not read.
            request = request.header("forwarded", format!("for=198.51.100.{number}"));
            request = request.header("x-real-ip", format!("198.51.100.{number}"));
            answers.push(status(request).await);
        }
        let counts = served_and_refused("127.0.0.2", &answers);
        assert_eq!(counts, (BURST, 20 - BURST), "{path}");
        assert_eq!(server.limiters.snapshot().keys, 1, "{path}");
        // Nor did it take anything from whom it claimed to be.
        let answers = join_all((0..BURST).map(|_| status(get(&victim, nginx.address, path)))).await;
        assert_eq!(served_and_refused("127.0.0.3", &answers), (BURST, 0), "{path}");
        assert_eq!(server.handled.load(SeqCst), 2 * BURST, "{path}");
    }
    assert_eq!(nginx.stop().await.len(), 2 * (20 + BURST as usize));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_comes_through_nginx_whole() {
    let Some(Fleet { nginx, servers }) = Fleet::start().await else { return };
    let (path, server) = &servers[0];
    let asks = client("127.0.0.2", 1);
    for left in (0..BURST).rev() {
        let response = answer(get(&asks, nginx.address, path).send()).await.expect("a response");
        let told = response.headers();
        assert_eq!((response.status().as_u16(), told.contains_key("retry-after")), (200, false));
        assert_eq!(told["ratelimit-policy"], r#""clients";q=5;w=18000"#);
        let remaining = told["ratelimit"].to_str().expect("ASCII");
        assert!(remaining.starts_with(&format!(r#""clients";r={left};t="#)), "{remaining}");
    }
    let response = answer(get(&asks, nginx.address, path).send()).await.expect("a response");
    assert_eq!(response.status().as_u16(), 429);
    let told = response.headers().clone();
    let header = |name: &str| told[name].to_str().expect("ASCII");
    // Below an hour by what the test has taken so far, and rounded up.
    let seconds: u64 = header("retry-after").parse().expect("seconds");
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    assert_eq!(header("ratelimit"), format!(r#""clients";r=0;t={seconds}"#));
    assert_eq!(header("content-type"), "application/problem+json");
    assert_eq!(header("server").split('/').next(), Some("nginx"), "it came through nginx");
    let body = answer(response.text()).await.expect("a body");
    let problem: serde_json::Value = serde_json::from_str(&body).expect("valid JSON");
    assert_eq!(problem["violated-policies"], serde_json::json!(["clients"]));
    assert_eq!(server.handled.load(SeqCst), BURST);
    nginx.stop().await;
}

/// Around nginx, only the server that knows its proxy's address tells a stranger from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn around_nginx_strangers_are_known_by_their_peer() {
    let Some(Fleet { nginx, servers }) = Fleet::start().await else { return };
    let stranger = client("127.0.0.2", 1);
    let ask = async |server: &Server| {
        let mut answers = Vec::new();
        for number in 0..8 {
            let request = get(&stranger, server.address, "/");
            let forged = format!("198.51.100.{number}, 127.0.0.3");
            answers.push(status(request.header("x-forwarded-for", forged)).await);
        }
        answers
    };
    let [(path, known), (_, counted)] = &servers;
    assert_eq!(served_and_refused("127.0.0.2", &ask(known).await), (BURST, 8 - BURST));
    // And it is the same client through nginx.
    let answers = [status(get(&stranger, nginx.address, path)).await];
    assert_eq!(served_and_refused("127.0.0.2", &answers), (0, 1));
    assert_eq!(known.limiters.snapshot().keys, 1);
    // The other takes its word for it, which is why nobody may get around that proxy.
    assert_eq!(served_and_refused("127.0.0.3", &ask(counted).await), (BURST, 8 - BURST));
    assert_eq!(nginx.stop().await, ["127.0.0.2 429"]);
}
