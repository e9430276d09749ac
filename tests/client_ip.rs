//! Whose request it is: addresses behind proxies, and what clients forge.
//!
//! Tables of headers as a server gets them, random ones in `client_ip/random.rs`, configurations and keys by
//! header in `client_ip/config.rs`. Over real connections: `tests/wire/tests/per_ip.rs`.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may panic")]

#[path = "client_ip/config.rs"]
mod config;
#[path = "client_ip/random.rs"]
mod random;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue, Request};
use portcullis::http::key::{ClientIp, IpFinder, IpKey, PeerAddr};

const XFF: &str = "x-forwarded-for";

/// A request of a peer, with lines of headers.
fn request(peer: Option<&str>, lines: &[(&str, &[u8])]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in lines {
        let name = HeaderName::try_from(*name).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }
    if let Some(peer) = peer {
        let whole = peer.parse::<SocketAddr>();
        let peer = whole.unwrap_or_else(|_| (peer.parse::<IpAddr>().unwrap(), 4711).into());
        request.extensions_mut().insert(PeerAddr(peer));
    }
    request
}

#[track_caller]
fn found(client: &IpFinder, peer: Option<&str>, lines: &[(&str, &str)]) -> String {
    let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let request = request(peer, &lines);
    let key = client.of(&request);
    let address = client.address(request.headers(), request.extensions());
    assert_eq!(address.map_or(IpKey::UNKNOWN, |address| client.mask(address)), key);
    assert_eq!(client.key()(&request), key);
    key.to_string()
}

fn counted(hops: usize) -> IpFinder {
    ClientIp::trusted_hops(hops).x_forwarded_for().build().unwrap()
}

fn networks() -> ClientIp {
    ClientIp::trusted_proxies(["10.0.0.0/8", "192.0.2.1", "fd00::/8"])
}

const PROXY: &str = "10.0.0.1";
/// The client, as the proxy next to it sees it.
const CLIENT: &str = "203.0.113.9";

#[test]
fn the_peer_is_the_client_where_no_proxy_is_trusted() {
    let client = ClientIp::peer().build().unwrap();
    for (peer, key) in [
        (CLIENT, CLIENT),
        ("203.0.113.9:80", CLIENT),
        ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
        ("[::ffff:203.0.113.9]:80", CLIENT),
        ("::1", "::/64"),
    ] {
        assert_eq!(found(&client, Some(peer), &[]), key);
        let forged = [
            (XFF, "198.51.100.1"),
            ("forwarded", "for=198.51.100.1"),
            ("x-real-ip", "198.51.100.1"),
        ];
        assert_eq!(found(&client, Some(peer), &forged), key, "no header is read");
        assert_eq!(found(&counted(0), Some(peer), &forged), key, "no hop is no proxy");
    }
    assert_eq!(found(&client, None, &[(XFF, CLIENT)]), "unknown");
}

/// The hop that counts is counted from the right, over all lines.
#[test]
fn hops_are_counted_from_the_right() {
    for (hops, lines, key) in [
        // One proxy: what it saw is last.
        (1, &[CLIENT][..], CLIENT),
        (1, &["198.51.100.1, 203.0.113.9"], CLIENT),
        (1, &["198.51.100.1", CLIENT], CLIENT),
        (1, &["198.51.100.1,10.0.0.1 ,\t203.0.113.9\t"], CLIENT),
        // Two: the outer one saw the client, the inner one the outer.
        (2, &["203.0.113.9, 10.0.0.2"], CLIENT),
        (2, &["198.51.100.1, 203.0.113.9, 10.0.0.2"], CLIENT),
        (2, &["198.51.100.1, 203.0.113.9", "10.0.0.2"], CLIENT),
        (3, &["198.51.100.1", "203.0.113.9, 10.0.0.3", "10.0.0.2"], CLIENT),
        // Forms of an address.
        (1, &["203.0.113.9:4711"], CLIENT),
        (1, &["203.0.113.9:_hidden"], CLIENT),
        (1, &["::ffff:203.0.113.9"], CLIENT),
        (1, &["[::ffff:203.0.113.9]:4711"], CLIENT),
        (1, &["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        (1, &["[2001:db8:1:2:3:4:5:6]"], "2001:db8:1:2::/64"),
        (1, &["[2001:db8:1:2:3:4:5:6]:65535"], "2001:db8:1:2::/64"),
        // Too few hops.
        (1, &[], PROXY),
        (2, &[CLIENT], PROXY),
        (usize::MAX, &["198.51.100.1, 203.0.113.9"], PROXY),
        // Something else than an address where it decides; elsewhere it is a hop.
        (1, &["203.0.113.9, unknown"], PROXY),
        (1, &["203.0.113.9, _gateway"], PROXY),
        (1, &["203.0.113.9,"], PROXY),
        (1, &["203.0.113.9", ""], PROXY),
        (1, &["203.0.113.9.1"], PROXY),
        (1, &["203.0.113.009"], PROXY),
        (1, &["203.0.113.9:65536"], PROXY),
        (1, &["203.0.113.9:+80"], PROXY),
        (1, &["203.0.113.9:"], PROXY),
        (1, &["203.0.113.9:_"], PROXY),
        (1, &["203.0.113.9 198.51.100.1"], PROXY),
        (1, &["[203.0.113.9]"], PROXY),
        (1, &["[2001:db8::1"], PROXY),
        (1, &["[2001:db8::1]80"], PROXY),
        (1, &["[2001:db8::1]:"], PROXY),
        (1, &["fe80::1%eth0"], PROXY),
        (1, &["\"203.0.113.9\""], PROXY),
        (1, &["for=203.0.113.9"], PROXY),
        (1, &["http://203.0.113.9"], PROXY),
        (2, &["203.0.113.9, unknown"], CLIENT),
        (2, &["203.0.113.9,"], CLIENT),
        (2, &["198.51.100.1", "", "10.0.0.2"], PROXY),
        (2, &["unknown, 203.0.113.9, 10.0.0.2"], CLIENT),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| (XFF, *line)).collect();
        assert_eq!(found(&counted(hops), Some(PROXY), &lines), key, "{hops} of {lines:?}");
        // A proxy may speak through a socket that has no address.
        let unknown = if key == PROXY { "unknown" } else { key };
        assert_eq!(found(&counted(hops), None, &lines), unknown, "{hops} of {lines:?}");
    }
}

/// The last that is in none of the networks, however many proxies are in a row.
#[test]
fn trusted_networks_are_passed_over_from_the_right() {
    let client = networks().x_forwarded_for().build().unwrap();
    for (peer, lines, key) in [
        (PROXY, &[CLIENT][..], CLIENT),
        (PROXY, &["203.0.113.9, 10.0.0.2, 10.9.9.9"], CLIENT),
        (PROXY, &["203.0.113.9", "192.0.2.1:80, [fd00::7]:80", "::ffff:10.0.0.2"], CLIENT),
        ("192.0.2.1", &[CLIENT], CLIENT),
        ("[fd12::1]:80", &[CLIENT], CLIENT),
        ("[::ffff:10.0.0.1]:80", &[CLIENT], CLIENT),
        // What a client forges stands left of its own address, be it one of ours.
        (PROXY, &["198.51.100.1, 203.0.113.9"], CLIENT),
        (PROXY, &["10.0.0.7, 203.0.113.9"], CLIENT),
        (PROXY, &["10.0.0.7", "203.0.113.9, 10.0.0.2"], CLIENT),
        (PROXY, &["unknown, \"\\, 203.0.113.9, 10.0.0.2"], CLIENT),
        // A peer that is no proxy writes whatever it likes.
        (CLIENT, &["198.51.100.1"], CLIENT),
        (CLIENT, &["198.51.100.1, 10.0.0.2"], CLIENT),
        ("192.0.2.2", &["198.51.100.1"], "192.0.2.2"),
        // A request from inside: the furthest.
        (PROXY, &["10.0.0.7, 10.0.0.2"], "10.0.0.7"),
        (PROXY, &[], PROXY),
        // Something else than an address where it decides.
        (PROXY, &["203.0.113.9, unknown"], PROXY),
        (PROXY, &["203.0.113.9, unknown, 10.0.0.2"], PROXY),
        (PROXY, &["203.0.113.9,, 10.0.0.2"], PROXY),
        (PROXY, &["unknown, 10.0.0.2"], PROXY),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| (XFF, *line)).collect();
        assert_eq!(found(&client, Some(peer), &lines), key, "{peer}: {lines:?}");
        assert_eq!(found(&client, None, &lines), "unknown", "who is not known is not trusted");
    }
}

/// RFC 7239, with all that may stand beside `for`.
#[test]
fn forwarded_is_read_from_the_right() {
    let hops = |hops| ClientIp::trusted_hops(hops).forwarded().build().unwrap();
    for (count, lines, key) in [
        (1, &["for=203.0.113.9"][..], CLIENT),
        (1, &["For=\"203.0.113.9:4711\";proto=https;by=10.0.0.1"], CLIENT),
        (1, &["proto=https; FOR = 203.0.113.9 ;host=\"a,b;for=198.51.100.1\""], CLIENT),
        (1, &["by=10.0.0.1;for=\"[2001:db8:1:2:3:4:5:6]:80\""], "2001:db8:1:2::/64"),
        (1, &["for=\"[2001:db8:1:2::7]\""], "2001:db8:1:2::/64"),
        (1, &["for=\"[::ffff:203.0.113.9]\""], CLIENT),
        (1, &["; for=203.0.113.9;;"], CLIENT),
        (1, &["for=198.51.100.1, for=203.0.113.9"], CLIENT),
        (1, &["for=198.51.100.1", "for=203.0.113.9"], CLIENT),
        (2, &["for=198.51.100.1, for=203.0.113.9;host=\"a\\\",b\"", "for=10.0.0.2"], CLIENT),
        // A quote that the client leaves open, in whatever way, swallows nothing of the proxy's.
        (1, &["for=\"198.51.100.1, for=203.0.113.9"], CLIENT),
        (1, &["for=\"198.51.100.1\\, for=203.0.113.9;host=\"x\""], CLIENT),
        (1, &["for=\"\"\"\\\"\\\\, for=203.0.113.9;host=\"x\\\\\""], CLIENT),
        (1, &["for=\"198.51.100.1", "for=\"203.0.113.9\""], CLIENT),
        // Something else than one address.
        (1, &["for=unknown"], PROXY),
        (1, &["for=_hidden"], PROXY),
        (1, &["for=\"_hidden:80\""], PROXY),
        (1, &["by=203.0.113.9"], PROXY),
        (1, &["for=198.51.100.1;for=203.0.113.9"], PROXY),
        (1, &["for=\"203.0.113.9"], PROXY),
        (1, &["for=203.0.113.9\""], PROXY),
        (1, &["for=\"203.0.113.9\\\""], PROXY),
        (1, &["for=\""], PROXY),
        (1, &["for="], PROXY),
        (1, &["for"], PROXY),
        (1, &[";"], PROXY),
        (1, &["203.0.113.9"], PROXY),
        (1, &["for=203.0.113.9,"], PROXY),
        (2, &["for=203.0.113.9"], PROXY),
        (1, &[], PROXY),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        assert_eq!(found(&hops(count), Some(PROXY), &lines), key, "{count} of {lines:?}");
    }
    let client = networks().forwarded().build().unwrap();
    let lines = [("forwarded", "for=10.0.0.7, for=203.0.113.9;proto=http, for=\"[fd00::7]:80\"")];
    assert_eq!(found(&client, Some(PROXY), &lines), CLIENT);
    assert_eq!(found(&client, Some("198.51.100.7"), &lines), "198.51.100.7");
    // The other header is not read.
    assert_eq!(found(&client, Some(PROXY), &[(XFF, CLIENT)]), PROXY);
    assert_eq!(found(&counted(1), Some(PROXY), &lines), PROXY);
}

#[test]
fn a_header_of_one_address_has_one_line() {
    let trusted = networks().header("X-Real-IP").build().unwrap();
    let counted = ClientIp::trusted_hops(1).header("x-real-ip").build().unwrap();
    for (lines, key) in [
        (&[CLIENT][..], CLIENT),
        (&[" 203.0.113.9:80 "], CLIENT),
        (&["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        // Also one of ours: the proxy says so.
        (&["10.0.0.7"], "10.0.0.7"),
        (&[], PROXY),
        (&["198.51.100.1", CLIENT], PROXY),
        (&[CLIENT, CLIENT], PROXY),
        (&["198.51.100.1, 203.0.113.9"], PROXY),
        (&["unknown"], PROXY),
        (&[""], PROXY),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("x-real-ip", *line)).collect();
        assert_eq!(found(&trusted, Some(PROXY), &lines), key, "{lines:?}");
        assert_eq!(found(&counted, Some(PROXY), &lines), key, "{lines:?}");
        assert_eq!(found(&trusted, Some("198.51.100.7"), &lines), "198.51.100.7", "{lines:?}");
    }
}

/// Bytes that are no text are no address, and no reason to fail.
#[test]
fn bytes_beyond_ascii_are_garbage() {
    for header in [XFF, "forwarded"] {
        let client = ClientIp::trusted_hops(1);
        let client = if header == XFF { client.x_forwarded_for() } else { client.forwarded() };
        let client = client.build().unwrap();
        let lines: [&[u8]; 3] = [b"\xff\xfe", b"203.0.113.9\xa0", "203.0.113.９".as_bytes()];
        for line in lines {
            assert_eq!(client.of(&request(Some(PROXY), &[(header, line)])).to_string(), PROXY);
        }
        let right: &[u8] =
            if header == XFF { b"\xff, 203.0.113.9" } else { b"\xff\", for=203.0.113.9" };
        assert_eq!(client.of(&request(Some(PROXY), &[(header, right)])).to_string(), CLIENT);
    }
}

/// A customer's network is one key; how large it is can be said.
#[test]
fn addresses_of_one_network_are_one_key() {
    let client = ClientIp::peer();
    let key = |client: &ClientIp, address: &str| {
        client.clone().build().unwrap().mask(address.parse().unwrap())
    };
    for (one, other, same) in [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
        ("2001:db8:0:0::1", "2001:db8:0:1::1", false),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        // Not the same though the bits are.
        ("192.0.2.1", "::192.0.2.1", false),
    ] {
        assert_eq!(key(&client, one) == key(&client, other), same, "{one} {other}");
    }
    for (bits, shown) in [
        (48, "2001:db8:ffff::/48"),
        (56, "2001:db8:ffff:ff00::/56"),
        (65, "2001:db8:ffff:ffff:8000::/65"),
        (128, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ] {
        let client = client.clone().ipv6_prefix(bits);
        let key = key(&client, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
        assert_eq!((key.to_string().as_str(), key.prefix()), (shown, Some(bits)));
        assert_eq!(format!("{key:?}"), format!("IpKey({shown})"));
    }
    for (bits, shown) in [(8, "203.0.0.0/8"), (24, "203.0.113.0/24"), (32, "203.0.113.9")] {
        let key = key(&client.clone().ipv4_prefix(bits), CLIENT);
        assert_eq!((key.to_string().as_str(), key.prefix()), (shown, Some(bits)));
        assert_eq!(key.address().map(|first| first.is_ipv4()), Some(true));
    }
    assert!(IpKey::UNKNOWN.is_unknown() && !key(&client, CLIENT).is_unknown());
    assert_eq!((IpKey::UNKNOWN.address(), IpKey::UNKNOWN.prefix()), (None, None));
    assert!(size_of::<IpKey>() <= 18 && size_of::<Option<IpKey>>() <= 18);
}
