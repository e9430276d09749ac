//! Client keys: whose request is it? For limits and circuits [by key](crate::KeyedRateLimitLayer).
//!
//! A key is made by a closure of the request. What is here gives such closures by its `key`:
//!
//! ```
//! # use bytes::Bytes;
//! # use http_body_util::Full;
//! # use tower::{Layer, ServiceExt};
//! use portcullis::{KeyedRateLimitLayer, RateLimitConfig, http::key::ClientIp};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), portcullis::ConfigError> {
//! // One proxy of ours stands in front, and appends the address that it sees.
//! let client = ClientIp::trusted_hops(1).x_forwarded_for().build()?;
//! let config = RateLimitConfig::per_second("clients", 10).burst(20);
//! let layer = KeyedRateLimitLayer::new(config, 100_000, client.key())?;
//! # let limiters = layer.limiters().clone();
//! # let service = layer.layer(tower::service_fn(|_: http::Request<Full<Bytes>>| async {
//! #     Ok::<_, portcullis::Rejection>(())
//! # }));
//! # let request = http::Request::builder().header("x-forwarded-for", "forged, 192.0.2.7");
//! # service.oneshot(request.body(Full::default()).unwrap()).await.unwrap();
//! # assert_eq!(limiters.remaining(&client.mask("192.0.2.7".parse().unwrap())), 19);
//! # Ok(())
//! # }
//! ```
//!
//! | | key | for |
//! |---|---|---|
//! | [`ClientIp`] | [`IpKey`], 18 bytes | whoever has no name: by address, also behind proxies |
//! | [`HeaderKey`] | [`HeaderHash`], 16 bytes | API keys, tenants: by the value of a header |
//! | a closure | what it returns | upstream hosts: `\|request: &Request<_>\| request.uri().authority().cloned()`; all else, and both: `move \|request: &Request<_>\| (ip.of(request), tenant.of(request))` |
//!
//! A request that has no key of its own gets the one that all such requests share. None is refused for it.
//!
//! # What goes wrong with addresses, and here does not
//!
//! - **Behind a proxy the peer is the proxy**, so that all clients share one limit: say which proxies
//!   are yours.
//! - **The left end of a list is the client's to write.** Lists are read from the right, and no further than
//!   your proxies reach. Whatever stands before that changes nothing, be it an open quote or another line.
//! - **There is no sensible default.** A header that is read although nobody in front writes it is chosen by
//!   the client; so none is read until the configuration says which.
//! - **A customer of IPv6 has 2^64 addresses** or more: the first 64 bits are the key.
//! - **Keys are bounded**: [`Keys`](crate::Keys) says how many a table holds.

mod client_ip;
mod find;
mod header;
mod hops;
mod ip_key;
mod networks;
mod peer;

pub(crate) use self::{
    client_ip::header_name,
    networks::Networks,
    peer::{address as peer_address, peer_addr},
};
pub use self::{
    client_ip::{ClientHeader, ClientIp, TrustedHops},
    find::IpFinder,
    header::{HeaderHash, HeaderKey},
    ip_key::IpKey,
    peer::{PeerAddr, PeerFrom},
};
