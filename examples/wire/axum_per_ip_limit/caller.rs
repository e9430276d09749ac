//! A client with an address of its own, and what it got.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use portcullis::BoxError;
use wire_examples::is_own;

use crate::proxy::SEEN_AS;

/// Who asks: from an address of this machine, or, where it has no such, as one that the proxy is told to see.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    http: reqwest::Client,
    seen_as: Option<IpAddr>,
}

impl Caller {
    pub(crate) fn at(address: IpAddr) -> Result<Self, BoxError> {
        let own = is_own(address);
        let http =
            reqwest::Client::builder().no_proxy().local_address(own.then_some(address)).build()?;
        Ok(Self { http, seen_as: (!own).then_some(address) })
    }

    /// Asks once, and forges these lines of `X-Forwarded-For`.
    pub(crate) async fn ask(
        &self,
        server: SocketAddr,
        forged: &[&str],
        got: &mut Got,
    ) -> Result<(), BoxError> {
        let mut request = self.http.get(format!("http://{server}/"));
        if let Some(address) = self.seen_as {
            request = request.header(SEEN_AS, address.to_string());
        }
        for line in forged {
            request = request.header("x-forwarded-for", *line);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (after, left) = (header("retry-after"), header("ratelimit"));
        // What is left, and when to come back, told alike in both.
        let alike = match (&after, &left) {
            (Some(after), Some(left)) => *left == format!(r#""clients";r=0;t={after}"#),
            (None, Some(left)) => left.starts_with(r#""clients";r="#),
            _ => false,
        };
        *got.statuses.entry(status).or_default() += 1;
        got.told += u64::from(alike && after.is_some() == (status == 429));
        got.after = after.or(got.after.take());
        let body = response.text().await?;
        if let Some(name) = body.strip_prefix("hello, ") {
            got.names.push(name.to_owned());
        }
        Ok(())
    }
}

/// What came of some requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    statuses: BTreeMap<u16, u64>,
    /// How many answers told what is left of the quota, and when to come back.
    told: u64,
    /// What the last refusal said.
    pub(crate) after: Option<String>,
    /// Whom the server took the client for, each time that it served it.
    pub(crate) names: Vec<String>,
}

impl Got {
    pub(crate) fn status(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// Whether so many were served and so many refused, and each was told of its quota.
    pub(crate) fn is(&self, served: u64, refused: u64) -> bool {
        let all: u64 = self.statuses.values().sum();
        (self.status(200), self.status(429)) == (served, refused)
            && (all, self.told) == (served + refused, served + refused)
    }

    /// Whether the server took it for this one, whenever it served it.
    pub(crate) fn always(&self, name: &str) -> bool {
        self.names.iter().all(|taken| taken == name)
    }
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> =
            self.statuses.iter().map(|(status, times)| format!("{times} x {status}")).collect();
        let mut names = self.names.clone();
        names.dedup();
        let names = match &names[..] {
            [] => String::new(),
            [one] => one.clone(),
            [first, .., last] => format!("{first} ... {last}"),
        };
        write!(f, "{:<24} {names}", counts.join(", "))
    }
}
