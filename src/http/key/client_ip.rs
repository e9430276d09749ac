//! [`ClientIp`]: what is said about where clients' addresses stand.

use std::fmt;

use http::{HeaderName, Request};

use super::{
    IpFinder, IpKey, PeerFrom, find::Trusted, hops::Written, networks::Networks, peer::peer_addr,
};
use crate::{
    error::ConfigError,
    policy::check::{Check, ensure},
};

/// Which proxies are trusted to write down whom they speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustedHops {
    /// None: the peer is the client.
    Nobody,
    /// As many proxies as stand in front of this server, the peer being the first.
    Count(usize),
    /// Those with an address in these networks.
    Networks(Vec<String>),
}

/// The header in which proxies write down whom they speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientHeader {
    /// `X-Forwarded-For`, a list that each proxy appends to.
    XForwardedFor,
    /// `Forwarded` (RFC 7239), a list that each proxy appends to; its `for` counts.
    Forwarded,
    /// A header with one address, which the proxy sets anew.
    Single(String),
}

/// Where a client's address stands, and how much of it counts. Nothing is guessed: which proxies are
/// trusted, and which header they write, are facts about your network that only you know.
///
/// ```
/// use portcullis::http::key::ClientIp;
///
/// // Clients connect to this server themselves.
/// let direct = ClientIp::peer().build()?;
/// // Two proxies in front, each of which appends: a CDN, then a load balancer.
/// let counted = ClientIp::trusted_hops(2).x_forwarded_for().build()?;
/// // Proxies in known networks, however many there are in a row.
/// let networks = ClientIp::trusted_proxies(["10.0.0.0/8", "fd00::/8"]).forwarded().build()?;
/// // A header that the CDN sets anew. Its networks would have to be listed in full.
/// let cdn = ClientIp::trusted_proxies(["203.0.113.0/24"]).header("cf-connecting-ip").build()?;
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// # Defaults
///
/// | setting | default | meaning |
/// |---|---|---|
/// | [`header`](Self::header) | none: one is required where a proxy is trusted | what proxies write |
/// | [`peer_from`](Self::peer_from) | [`PeerAddr`](super::PeerAddr) | the extension that has the peer's address |
/// | [`ipv4_prefix`](Self::ipv4_prefix) | 32 | bits of an IPv4 address that count, 8 to 32 |
/// | [`ipv6_prefix`](Self::ipv6_prefix) | 64 | bits of an IPv6 address that count, 48 to 128 |
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct ClientIp {
    /// Which proxies are trusted.
    pub trusted: TrustedHops,
    /// What they write.
    pub header: Option<ClientHeader>,
    /// How the peer's address is found.
    pub peer_from: PeerFrom,
    /// How many bits of an IPv4 address count.
    pub ipv4_prefix: u8,
    /// How many bits of an IPv6 address count: the network that one customer is given.
    pub ipv6_prefix: u8,
}

impl ClientIp {
    const fn new(trusted: TrustedHops) -> Self {
        Self { trusted, header: None, peer_from: peer_addr, ipv4_prefix: 32, ipv6_prefix: 64 }
    }

    /// The connection's other end. No header is read.
    pub const fn peer() -> Self {
        Self::new(TrustedHops::Nobody)
    }

    /// Who is `proxies` hops before this server: `1` where the peer is the only proxy, and the last address
    /// of the list is its client. Every request must come through as many; `0` is [`peer`](Self::peer).
    ///
    /// One too many lets clients choose their address, one too few gives all the key of a proxy.
    pub const fn trusted_hops(proxies: usize) -> Self {
        Self::new(TrustedHops::Count(proxies))
    }

    /// The last of the list who is not in one of these networks, in CIDR notation or single addresses.
    /// The list is read only if the peer is in one.
    pub fn trusted_proxies<T: fmt::Display>(networks: impl IntoIterator<Item = T>) -> Self {
        let networks = networks.into_iter().map(|network| network.to_string()).collect();
        Self::new(TrustedHops::Networks(networks))
    }

    /// Reads `X-Forwarded-For`.
    pub fn x_forwarded_for(self) -> Self {
        Self { header: Some(ClientHeader::XForwardedFor), ..self }
    }

    /// Reads `Forwarded`, as RFC 7239 has it.
    pub fn forwarded(self) -> Self {
        Self { header: Some(ClientHeader::Forwarded), ..self }
    }

    /// Reads a header with one address, such as `X-Real-IP` or `CF-Connecting-IP`. The proxy must set it
    /// anew: one that lets a client's own pass lets the client choose its address.
    pub fn header(self, name: &str) -> Self {
        Self { header: Some(ClientHeader::Single(name.to_owned())), ..self }
    }

    /// Says how the peer's address is found. For axum, which serves with
    /// `into_make_service_with_connect_info::<SocketAddr>()` then:
    ///
    /// ```
    /// # mod axum { pub mod extract {
    /// #     #[derive(Clone)] pub struct ConnectInfo<T>(pub T);
    /// # } }
    /// # use std::net::SocketAddr;
    /// # use portcullis::http::key::ClientIp;
    /// use axum::extract::ConnectInfo;
    ///
    /// ClientIp::peer().peer_from(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0))
    /// # .build().unwrap();
    /// ```
    ///
    /// For tonic:
    ///
    /// ```
    /// # mod tonic { pub mod transport { pub mod server {
    /// #     #[derive(Clone)] pub struct TcpConnectInfo;
    /// #     impl TcpConnectInfo { pub fn remote_addr(&self) -> Option<std::net::SocketAddr> { None } }
    /// # } } }
    /// # use portcullis::http::key::ClientIp;
    /// use tonic::transport::server::TcpConnectInfo;
    ///
    /// ClientIp::peer().peer_from(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr())
    /// # .build().unwrap();
    /// ```
    pub fn peer_from(self, peer_from: PeerFrom) -> Self {
        Self { peer_from, ..self }
    }

    /// Sets how many bits of an IPv4 address count.
    pub fn ipv4_prefix(self, bits: u8) -> Self {
        Self { ipv4_prefix: bits, ..self }
    }

    /// Sets how many bits of an IPv6 address count. A client with a network of its own can choose among
    /// all the addresses in it, so all of them must be one key.
    pub fn ipv6_prefix(self, bits: u8) -> Self {
        Self { ipv6_prefix: bits, ..self }
    }

    /// Checks every value and their combinations.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the first field that cannot work, its value, and what it needs.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.read().map(drop)
    }

    /// Makes what finds addresses.
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn build(self) -> Result<IpFinder, ConfigError> {
        let trusted = self.read()?;
        Ok(IpFinder::new(trusted, self.peer_from, (self.ipv4_prefix, self.ipv6_prefix)))
    }

    /// [`build`](Self::build), and its [key](IpFinder::key).
    ///
    /// # Errors
    /// [`ConfigError`] names the first value that cannot work.
    pub fn key<B>(
        self,
    ) -> Result<impl Fn(&Request<B>) -> IpKey + Clone + Send + Sync + use<B>, ConfigError> {
        Ok(self.build()?.key())
    }

    fn read(&self) -> Result<Trusted, ConfigError> {
        within("ipv4_prefix", self.ipv4_prefix, 8, 32)?;
        within("ipv6_prefix", self.ipv6_prefix, 48, 128)?;
        let header = self.header.as_ref().map(read_header).transpose()?;
        match (&self.trusted, header) {
            (TrustedHops::Count(0), _) | (TrustedHops::Nobody, None) => Ok(Trusted::Nobody),
            (TrustedHops::Count(hops), Some(header)) => {
                Ok(Trusted::Count { beyond: hops - 1, header })
            }
            (TrustedHops::Networks(networks), Some(header)) => {
                let networks = Networks::parse("trusted_proxies", networks)?;
                Ok(Trusted::Networks { networks, header })
            }
            (TrustedHops::Nobody, Some(_)) => {
                let why = "is read only where a proxy is trusted to write it: \
                           say `trusted_hops` or `trusted_proxies`";
                Err(ConfigError::new("header", "set", why))
            }
            (_, None) => {
                let why = "say which header the trusted proxies write: `x_forwarded_for()`, \
                           `forwarded()`, or `header(name)`";
                Err(ConfigError::new("header", "none", why))
            }
        }
    }
}

fn within(field: &'static str, bits: u8, least: u8, most: u8) -> Check {
    let fine = (least..=most).contains(&bits);
    ensure(fine, field, bits, format!("must be in {least}..={most}"))
}

fn read_header(header: &ClientHeader) -> Result<Written, ConfigError> {
    Ok(match header {
        ClientHeader::XForwardedFor => Written::XForwardedFor,
        ClientHeader::Forwarded => Written::Forwarded,
        ClientHeader::Single(name) => {
            let lists = ["x-forwarded-for", "forwarded"];
            let is_list = lists.iter().any(|list| list.eq_ignore_ascii_case(name));
            let why = "is a list: say `x_forwarded_for()` or `forwarded()`";
            ensure(!is_list, "header", name, why)?;
            Written::Single(header_name("header", name)?)
        }
    })
}

/// A header's name, or the complaint that it is none.
pub(crate) fn header_name(field: &'static str, name: &str) -> Result<HeaderName, ConfigError> {
    HeaderName::try_from(name)
        .map_err(|_| ConfigError::new(field, format!("{name:?}"), "is no name of a header"))
}
