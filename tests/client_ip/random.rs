//! Whatever a client sends: nothing panics, and its key stays its own.

use proptest::{collection::vec, prelude::*};

use super::*;

fn cases() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, cases: 1_024, ..Default::default() }
}

/// Any bytes that can be in a header, those that mean something more often than others.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => proptest::sample::select(b",;=\"\\[]:. \tfor_%-/0123456789abcdefFOR".as_slice()),
        1 => (0x20_u8..=0xff).prop_filter("is not in headers", |byte| *byte != 0x7f),
    ];
    let word = prop_oneof![
        vec(byte, 0..8),
        proptest::sample::select(
            &[
                "10.0.0.1",
                "198.51.100.1",
                "2001:db8::1",
                "[::1]:80",
                "unknown",
                "for=",
                "for=\"",
                "for=198.51.100.1",
                "for=\"[2001:db8::1]:80\"",
                ", ",
                "\\\"",
                "::ffff:10.0.0.1",
            ][..]
        )
        .prop_map(|word| word.as_bytes().to_vec()),
    ];
    vec(word, 0..8).prop_map(|words| words.concat())
}

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(bytes(), 0..4)
}

/// A host as a proxy quotes it, whatever the client called it.
fn quoted() -> impl Strategy<Value = String> {
    "[ -~]{0,12}"
        .prop_map(|host| format!("\"{}\"", host.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn finders(header: &str) -> Vec<IpFinder> {
    let with = |client: ClientIp| match header {
        XFF => client.x_forwarded_for(),
        "forwarded" => client.forwarded(),
        single => client.header(single),
    };
    let all = [0, 1, 2, 5].map(ClientIp::trusted_hops).into_iter().chain([networks()]);
    all.map(|client| with(client).build().unwrap()).collect()
}

fn public() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|bytes| IpAddr::from([203, bytes[1], bytes[2], bytes[3]])),
        any::<u128>().prop_map(|bits| IpAddr::V6((bits >> 16 | 0x2001 << 112).into())),
    ]
}

fn lines_of<'a>(header: &'a str, lines: &'a [Vec<u8>]) -> Vec<(&'a str, &'a [u8])> {
    lines.iter().map(|line| (header, line.as_slice())).collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_panics(
        lines in lines(),
        header in proptest::sample::select(&[XFF, "forwarded", "x-real-ip"][..]),
        peer in proptest::sample::select(&[None, Some(PROXY), Some(CLIENT), Some("::1")][..]),
    ) {
        let request = request(peer, &lines_of(header, &lines));
        for finder in finders(header) {
            let key = finder.of(&request);
            prop_assert!(!key.is_unknown() || peer.is_none());
            prop_assert!(!key.to_string().is_empty());
        }
    }

    /// What stands before the addresses that the proxies wrote changes nothing: neither lines before, nor the
    /// beginning of their own.
    #[test]
    fn nothing_in_front_of_the_proxies_changes_a_key(
        before in lines(),
        begun in bytes(),
        client in public(),
        proxies in vec(prop_oneof!["10\\.[0-9]\\.[0-9]\\.[1-9]", Just("fd00::7".to_owned())], 0..3),
        own_line in any::<bool>(),
        host in quoted(),
        forwarded in any::<bool>(),
    ) {
        let header = if forwarded { "forwarded" } else { XFF };
        let client_name = client.to_string();
        let hops = std::iter::once(&client_name).chain(&proxies);
        let written: Vec<_> = hops
            .map(|hop| match (forwarded, hop.contains(':')) {
                (false, _) => hop.clone(),
                (true, false) => format!("for={hop};host={host}"),
                (true, true) => format!("host={host};for=\"[{hop}]\""),
            })
            .collect();
        let mut lines = before;
        if own_line {
            lines.push(begun);
            lines.push(written.join(", ").into_bytes());
        } else {
            lines.push([begun, b", ".to_vec(), written.join(",").into_bytes()].concat());
        }
        let request = request(Some(PROXY), &lines_of(header, &lines));
        let configs = [ClientIp::trusted_hops(written.len()), networks()];
        for config in configs {
            let config = if forwarded { config.forwarded() } else { config.x_forwarded_for() };
            let finder = config.build().unwrap();
            prop_assert_eq!(finder.of(&request), finder.mask(client), "{:?}", request.headers());
        }
    }

    /// A peer that is no proxy of ours is its own client, whatever it sends.
    #[test]
    fn strangers_are_themselves(lines in lines(), peer in public(), forwarded in any::<bool>()) {
        let header = if forwarded { "forwarded" } else { XFF };
        let config = if forwarded { networks().forwarded() } else { networks().x_forwarded_for() };
        let finder = config.build().unwrap();
        let request = request(Some(&peer.to_string()), &lines_of(header, &lines));
        prop_assert_eq!(finder.of(&request), finder.mask(peer));
    }
}
