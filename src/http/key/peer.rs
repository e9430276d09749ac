//! Where the address of the connection's other end comes from.

use std::net::{IpAddr, SocketAddr};

use http::Extensions;

/// The address of the connection's other end, as an extension of a request.
///
/// For servers that are put together by hand; frameworks bring their own type, which
/// [`ClientIp::peer_from`](super::ClientIp::peer_from) reads.
///
/// ```
/// use portcullis::http::key::PeerAddr;
///
/// # let peer: std::net::SocketAddr = "192.0.2.7:4711".parse().unwrap();
/// # let mut request = http::Request::new(());
/// // In the service that hyper serves a connection with, where `accept` gave the peer's address:
/// request.extensions_mut().insert(PeerAddr(peer));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an address with a name, that users make")]
pub struct PeerAddr(pub SocketAddr);

/// How the peer's address is found among a request's extensions.
pub type PeerFrom = fn(&Extensions) -> Option<SocketAddr>;

/// Finds a [`PeerAddr`].
pub(crate) fn peer_addr(extensions: &Extensions) -> Option<SocketAddr> {
    extensions.get::<PeerAddr>().map(|peer| peer.0)
}

/// The peer's address, one of IPv4 as such even where the socket speaks IPv6.
pub(crate) fn address(from: PeerFrom, extensions: &Extensions) -> Option<IpAddr> {
    from(extensions).map(|peer| peer.ip().to_canonical())
}
