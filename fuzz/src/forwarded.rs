//! Any lines as the headers in which proxies write down whom they speak for: no key comes from what nobody
//! trusted wrote, and a peer that is known is always somebody.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, HeaderValue};
use portcullis::http::key::{ClientIp, PeerAddr};

use super::bytes::Bytes;

const NAMES: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

pub fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let peer = match bytes.pick(4) {
        0 => IpAddr::from([10, 0, 0, bytes.byte()]),
        1 => IpAddr::from([203, 0, 113, bytes.byte()]),
        2 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(bytes.byte())]),
        _ => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0a00, u16::from(bytes.byte())]),
    };
    let hops = bytes.pick(4);
    let mut extensions = Extensions::new();
    if bytes.pick(8) != 0 {
        extensions.insert(PeerAddr(SocketAddr::new(peer, 443)));
    }
    let known = extensions.get::<PeerAddr>().is_some();
    let mut headers = HeaderMap::new();
    let rest = &data[data.len().min(4)..];
    for (at, line) in rest.split(|byte| *byte == b'\n').take(12).enumerate() {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(NAMES[at % NAMES.len()], value);
        }
    }

    let own = ["10.0.0.0/8", "fd00::/8"];
    let inside = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] == 10,
        IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
    };
    for config in [
        ClientIp::peer(),
        ClientIp::trusted_hops(hops).x_forwarded_for(),
        ClientIp::trusted_hops(hops).forwarded(),
        ClientIp::trusted_hops(hops).header("x-real-ip"),
        ClientIp::trusted_proxies(own).x_forwarded_for(),
        ClientIp::trusted_proxies(own).forwarded(),
        ClientIp::trusted_proxies(own).header("x-real-ip"),
    ] {
        let networks = format!("{:?}", config.trusted).contains("Networks");
        let finder = config.build().expect("a valid configuration");
        let found = finder.address(&headers, &extensions);
        assert!(found.is_some() || !known, "a peer that is known is somebody");
        if let Some(address) = found {
            let again = finder.mask(address);
            assert_eq!(finder.mask(address.to_canonical()), again, "{address} in other clothes");
        }
        // What a stranger has written is never the key.
        if networks && known && !inside(peer) {
            assert_eq!(found.map(|found| found.to_canonical()), Some(peer.to_canonical()));
        }
    }
}
