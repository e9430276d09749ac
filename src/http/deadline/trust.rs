//! Whose deadlines are believed.

use std::fmt;

use http::request::Parts;

use crate::{
    error::ConfigError,
    http::key::{Networks, PeerFrom, peer_addr, peer_address},
};

/// Whether the deadline of a request is believed. Any `Fn(&http::request::Parts) -> bool` says it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say whose deadlines are believed",
    note = "it is any `Fn(&http::request::Parts) -> bool`, or `TrustedPeers`"
)]
pub trait Trust {
    /// Whether to believe what this request says.
    fn trusts(&self, request: &Parts) -> bool;
}

impl<F: Fn(&Parts) -> bool> Trust for F {
    fn trusts(&self, request: &Parts) -> bool {
        self(request)
    }
}

/// No request is believed: what layers start with.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct Nobody;

impl Trust for Nobody {
    fn trusts(&self, _: &Parts) -> bool {
        false
    }
}

/// Every request is believed.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit that users name as a value")]
pub struct Everybody;

impl Trust for Everybody {
    fn trusts(&self, _: &Parts) -> bool {
        true
    }
}

/// Requests of peers in these networks are believed. It is the peer that counts, not whom it speaks for: a
/// proxy that passes its clients' headers on passes their deadlines on, too.
#[derive(Clone)]
pub struct TrustedPeers {
    networks: Networks,
    peer_from: PeerFrom,
}

impl TrustedPeers {
    /// Networks in CIDR notation, or single addresses. The peer's own is found in
    /// [`PeerAddr`](crate::http::key::PeerAddr); one whose address is unknown is not trusted.
    ///
    /// # Errors
    /// [`ConfigError`] names the first that is no network, or that is everybody.
    pub fn new<T: fmt::Display>(
        networks: impl IntoIterator<Item = T>,
    ) -> Result<Self, ConfigError> {
        let networks: Vec<_> = networks.into_iter().map(|network| network.to_string()).collect();
        let networks = Networks::parse("trusted_peers", &networks)?;
        Ok(Self { networks, peer_from: peer_addr })
    }

    /// Says how the peer's address is found, as [`ClientIp::peer_from`] does.
    ///
    /// [`ClientIp::peer_from`]: crate::http::key::ClientIp::peer_from
    #[must_use]
    pub fn peer_from(self, peer_from: PeerFrom) -> Self {
        Self { peer_from, ..self }
    }
}

impl Trust for TrustedPeers {
    fn trusts(&self, request: &Parts) -> bool {
        let peer = peer_address(self.peer_from, &request.extensions);
        peer.is_some_and(|peer| self.networks.contain(peer))
    }
}

impl fmt::Debug for TrustedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustedPeers").field(&self.networks).finish()
    }
}
