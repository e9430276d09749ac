//! [`IpFinder`]: finds a client's address.

use std::net::IpAddr;

use http::{Extensions, HeaderMap, Request};

use super::{IpKey, PeerFrom, hops::Written, networks::Networks, peer};

/// A valid configuration, read.
#[derive(Clone, Debug)]
pub(super) enum Trusted {
    Nobody,
    /// `beyond` the peer.
    Count {
        beyond: usize,
        header: Written,
    },
    Networks {
        networks: Networks,
        header: Written,
    },
}

/// Finds clients' addresses where [`ClientIp`](super::ClientIp) says that they stand.
///
/// | | `trusted_hops(n)` | `trusted_proxies(networks)` |
/// |---|---|---|
/// | the client is | the `n`-th address from the right | the first from the right in none of the networks |
/// | the header is read | always | if the peer is in one of them |
/// | all are in the networks | | the leftmost |
/// | fewer addresses than `n`, no header | the peer | the peer |
/// | something else than an address, where it decides | the peer | the peer |
/// | a header of one address in several lines | the peer | the peer |
/// | no peer is known | the header all the same: a proxy may speak through a Unix socket | [`IpKey::UNKNOWN`] |
/// | and nothing else, either | [`IpKey::UNKNOWN`] | [`IpKey::UNKNOWN`] |
///
/// A header of one address says the client, whatever `n` is. A client in one of the networks is trusted as a
/// proxy is: name those of proxies only.
///
/// So what a stranger may have written is never the key, and no request is refused or fails for
/// want of one: those that cannot be told apart share the peer's limit, or that of all unknown ones. The
/// lines of a list are one list, in their order. Addresses may have ports, and those of IPv6 brackets. An
/// IPv4 address in the clothes of IPv6 (`::ffff:192.0.2.7`) is one of IPv4. A place of a list that is
/// empty, `unknown` or hidden (`_gateway`) counts as a place, and is no address.
///
/// Nothing is allocated.
#[derive(Clone, Debug)]
pub struct IpFinder {
    trusted: Trusted,
    peer_from: PeerFrom,
    prefixes: (u8, u8),
}

impl IpFinder {
    pub(super) fn new(trusted: Trusted, peer_from: PeerFrom, prefixes: (u8, u8)) -> Self {
        Self { trusted, peer_from, prefixes }
    }

    /// Gives a request's key: what keyed layers take.
    pub fn key<B>(&self) -> impl Fn(&Request<B>) -> IpKey + Clone + Send + Sync + use<B> {
        let finder = self.clone();
        move |request| finder.of(request)
    }

    /// The key of a request.
    pub fn of<B>(&self, request: &Request<B>) -> IpKey {
        match self.address(request.headers(), request.extensions()) {
            Some(address) => self.mask(address),
            None => IpKey::UNKNOWN,
        }
    }

    /// The whole address of a request's client, for logs; `None` if nobody knows.
    pub fn address(&self, headers: &HeaderMap, extensions: &Extensions) -> Option<IpAddr> {
        let peer = peer::address(self.peer_from, extensions);
        let client = match &self.trusted {
            Trusted::Nobody => None,
            Trusted::Count { beyond, header } => header.nth(headers, *beyond),
            Trusted::Networks { networks, header } => {
                let trusted = |address| networks.contain(address);
                peer.filter(|peer| trusted(*peer))
                    .and_then(|_| header.first_untrusted(headers, trusted))
            }
        };
        client.or(peer)
    }

    /// The key of an address, as a request from there would have it.
    pub fn mask(&self, address: IpAddr) -> IpKey {
        let (v4, v6) = self.prefixes;
        IpKey::of(address, v4, v6)
    }
}
