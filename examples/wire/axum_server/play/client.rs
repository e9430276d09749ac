//! A client that looks at what comes over the wire.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use portcullis::BoxError;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Requests from one address of this machine, over kept connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: SocketAddr,
}

impl Client {
    pub(crate) fn new(server: SocketAddr) -> Result<Self, BoxError> {
        Self::from(Ipv4Addr::LOCALHOST.into(), server, 16)
    }

    /// One that makes a connection for every request.
    pub(crate) fn stranger(server: SocketAddr) -> Result<Self, BoxError> {
        Self::from(Ipv4Addr::LOCALHOST.into(), server, 0)
    }

    pub(crate) fn from(address: IpAddr, server: SocketAddr, kept: usize) -> Result<Self, BoxError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .local_address(address)
            .pool_max_idle_per_host(kept)
            // Whatever fails is to be seen.
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self { http, server })
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.server))
    }

    pub(crate) async fn ask(&self, path: &str) -> Result<Answer, BoxError> {
        Answer::of(self.get(path)).await
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Result<Self, BoxError> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.text().await? })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Seconds until the client may come back.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.header("retry-after")?.parse().ok()
    }

    /// Whether it tells of a refusal by the policies of this name, with this status and kind of problem.
    pub(crate) fn is_problem(&self, status: u16, kind: Option<&str>) -> bool {
        let Ok(problem) = serde_json::from_str::<Value>(&self.body) else { return false };
        let detail = problem["detail"].as_str().unwrap_or_default();
        self.status == status
            && self.header("content-type") == Some("application/problem+json")
            && problem["status"] == status
            && problem["type"].as_str() == kind
            && detail.starts_with(crate::API)
    }

    /// Head and body as they came, shortened to what tells something.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("HTTP/1.1 {}", self.status)];
        let boring = ["content-length", "date"];
        let told = self.headers.iter().filter(|(name, _)| !boring.contains(&name.as_str()));
        lines
            .extend(told.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))));
        lines.extend(self.body.lines().map(str::to_owned));
        lines
    }
}

/// How many answers there were of each status.
pub(crate) fn tally<'a>(answers: impl IntoIterator<Item = &'a Answer>) -> BTreeMap<u16, u64> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        *tally.entry(answer.status).or_default() += 1;
    }
    tally
}
