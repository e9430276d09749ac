//! Configurations that cannot work, other ways to a peer's address, and keys by header.

use portcullis::{
    CircuitBreakerConfig, Error, KeyedCircuitBreakerLayer, KeyedRateLimitLayer, RateLimitConfig,
    Rejection, State,
    http::key::{HeaderHash, HeaderKey, TrustedHops},
};
use tower::{Layer, ServiceExt, service_fn};

use super::*;

#[track_caller]
fn complaint(client: ClientIp) -> (&'static str, String, String) {
    let error = client.validate().expect_err("a complaint");
    assert_eq!(client.build().map(drop).unwrap_err(), error);
    (error.field(), error.value().to_owned(), error.why().to_owned())
}

#[test]
fn what_cannot_work_is_named_with_field_and_value() {
    for (client, field, value, why) in [
        (ClientIp::trusted_hops(1), "header", "none", "say which header"),
        (ClientIp::trusted_proxies(["10.0.0.0/8"]), "header", "none", "say which header"),
        (ClientIp::peer().x_forwarded_for(), "header", "set", "only where a proxy is trusted"),
        (ClientIp::trusted_hops(1).header("x real ip"), "header", "\"x real ip\"", "no name"),
        (ClientIp::trusted_hops(1).header(""), "header", "\"\"", "no name"),
        (ClientIp::trusted_hops(1).header("Forwarded"), "header", "Forwarded", "is a list"),
        (
            ClientIp::trusted_hops(1).header("X-FORWARDED-FOR"),
            "header",
            "X-FORWARDED-FOR",
            "is a list",
        ),
        (ClientIp::peer().ipv6_prefix(47), "ipv6_prefix", "47", "48..=128"),
        (ClientIp::peer().ipv6_prefix(129), "ipv6_prefix", "129", "48..=128"),
        (ClientIp::peer().ipv4_prefix(7), "ipv4_prefix", "7", "8..=32"),
        (ClientIp::peer().ipv4_prefix(33), "ipv4_prefix", "33", "8..=32"),
    ] {
        let told = complaint(client);
        assert_eq!((told.0, told.1.as_str()), (field, value));
        assert!(told.2.contains(why), "{told:?}");
    }
    for (network, why) in [
        ("", "is neither"),
        ("10.0.0.0/33", "is neither"),
        ("10.0.0.0/-1", "is neither"),
        ("proxy.internal", "is neither"),
        ("10.0.0", "is neither"),
        ("0.0.0.0/0", "trusts everybody"),
        ("10.0.0.0/0", "trusts everybody"),
        ("::/0", "trusts everybody"),
        ("::ffff:0:0/96", "trusts everybody"),
    ] {
        let told = complaint(ClientIp::trusted_proxies(["10.0.0.0/8", network]).forwarded());
        assert_eq!((told.0, told.1.as_str()), ("trusted_proxies", network));
        assert!(told.2.contains(why), "{told:?}");
    }
    let nobody = complaint(ClientIp::trusted_proxies([""; 0]).forwarded());
    assert_eq!((nobody.0, nobody.1.as_str()), ("trusted_proxies", "[]"));
}

/// Networks are those of addresses, however they are written.
#[test]
fn networks_are_what_they_say() {
    for (network, inside, outside) in [
        ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
        // Networks of IPv6 have no addresses of IPv4 in them, even those that they could be written as.
        ("::/1", "::1", "10.0.0.1"),
    ] {
        let client = ClientIp::trusted_proxies([network]).x_forwarded_for().build().unwrap();
        assert_eq!(found(&client, Some(inside), &[(XFF, CLIENT)]), CLIENT, "{network}");
        let (peer, all) = (outside.parse().unwrap(), client.mask(outside.parse().unwrap()));
        let mut forged = request(None, &[(XFF, CLIENT.as_bytes())]);
        forged.extensions_mut().insert(PeerAddr(SocketAddr::new(peer, 80)));
        assert_eq!(client.of(&forged), all, "{network}");
    }
    let parsed: std::net::IpAddr = "10.0.0.1".parse().unwrap();
    assert_eq!(
        ClientIp::trusted_proxies([parsed]).trusted,
        TrustedHops::Networks(vec!["10.0.0.1".to_owned()])
    );
}

#[test]
fn the_peer_is_where_its_user_says() {
    #[derive(Clone)]
    struct ConnectInfo(SocketAddr);
    let client = ClientIp::trusted_proxies(["10.0.0.1"])
        .x_forwarded_for()
        .peer_from(|extensions| Some(extensions.get::<ConnectInfo>()?.0))
        .build()
        .unwrap();
    let mut request = request(Some("198.51.100.7"), &[(XFF, CLIENT.as_bytes())]);
    assert_eq!(client.of(&request), IpKey::UNKNOWN);
    request.extensions_mut().insert(ConnectInfo("10.0.0.1:80".parse().unwrap()));
    assert_eq!(client.of(&request).to_string(), CLIENT);
}

/// Through the layer, with a body of whatever kind.
#[tokio::test(start_paused = true)]
async fn a_client_cannot_get_another_bucket() {
    let client = ClientIp::trusted_hops(1).x_forwarded_for();
    let config = RateLimitConfig::per_second("clients", 1).burst(2);
    let layer = KeyedRateLimitLayer::new(config, 100, client.key().unwrap()).unwrap();
    let limiters = layer.limiters().clone();
    let service = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Rejection>(()) }));
    let mut admitted = 0;
    for forged in 0..20 {
        let line = format!("198.51.100.{forged}, 2001:db8:7::{forged}, 203.0.113.9");
        let request = request(Some(PROXY), &[(XFF, line.as_bytes())]);
        admitted += usize::from(service.clone().oneshot(request).await.is_ok());
    }
    assert_eq!((admitted, limiters.snapshot().keys), (2, 1));
    let other = request(Some(PROXY), &[(XFF, b"203.0.113.10")]);
    assert!(service.oneshot(other).await.is_ok(), "a neighbour has its own");
}

#[test]
fn a_header_is_a_key_of_sixteen_bytes_that_tells_nothing() {
    let key = HeaderKey::new("X-Api-Key").unwrap();
    let of = |values: &[&str]| {
        let lines: Vec<_> = values.iter().map(|value| ("x-api-key", value.as_bytes())).collect();
        key.of(&request(None, &lines))
    };
    assert_eq!(of(&["secret"]), of(&["secret"]));
    assert_eq!(of(&["secret"]), key.hash("secret"));
    assert_eq!(of(&["secret"]), HeaderKey::new("tenant").unwrap().hash(b"secret"));
    assert_eq!(key.key()(&request(None, &[("x-api-key", b"secret")])), key.hash("secret"));
    for other in ["Secret", "secret2", "secre", ""] {
        assert_ne!(of(&[other]), of(&["secret"]), "{other}");
        assert!(!of(&[other]).is_none(), "a value is a value, {other:?} too");
    }
    // No header, and one of which no two readers would take the same line.
    assert_eq!([of(&[]), of(&["secret", "other"]), of(&["secret"; 2])], [HeaderHash::NONE; 3]);
    assert!(HeaderHash::NONE.is_none());
    assert_eq!(format!("{:?}", HeaderHash::NONE), "HeaderHash(none)");
    let shown = format!("{:?}", of(&["secret"]));
    assert!(shown.starts_with("HeaderHash(") && !shown.contains("secret"), "{shown}");
    assert_eq!(size_of::<HeaderHash>(), 16);
    assert_eq!(HeaderKey::new("x api").unwrap_err().field(), "header");
}

/// A breaker for each tenant takes the same closures.
#[tokio::test(start_paused = true)]
async fn circuits_have_keys_as_well() {
    let tenant = HeaderKey::new("x-tenant").unwrap();
    let config = CircuitBreakerConfig::new("tenants").consecutive_failures(1);
    let layer = KeyedCircuitBreakerLayer::new(config, 100, tenant.key()).unwrap();
    let circuits = layer.circuits().clone();
    let service = layer.layer(service_fn(|request: Request<()>| async move {
        if request.headers()["x-tenant"] == "broken" { Err(Error::Inner("down")) } else { Ok(()) }
    }));
    for (name, state) in [("broken", State::Open), ("fine", State::Closed)] {
        let request = request(None, &[("x-tenant", name.as_bytes())]);
        assert_eq!(service.clone().oneshot(request).await.is_err(), name == "broken");
        assert_eq!(circuits.get(&tenant.hash(name)).unwrap().state(), state, "{name}");
    }
}

#[test]
fn finding_a_key_allocates_nothing() {
    let lines: &[(&str, &[u8])] = &[
        (XFF, b"unknown, 198.51.100.1"),
        (XFF, b"[2001:db8::1]:80, 10.0.0.2"),
        ("forwarded", b"for=198.51.100.1, for=\"[2001:db8::1]:80\";host=\"a,b\", for=10.0.0.2"),
        ("x-api-key", b"secret"),
    ];
    let request = request(Some(PROXY), lines);
    let tenant = HeaderKey::new("x-api-key").unwrap();
    let finders = [
        networks().x_forwarded_for(),
        networks().forwarded(),
        ClientIp::trusted_hops(9).forwarded(),
    ];
    let finders = finders.map(|client| client.build().unwrap());
    tenant.of(&request); // The keys of the hash are drawn once.
    let mut keys = [IpKey::UNKNOWN; 3];
    let counted = allocation_counter::measure(|| {
        keys = finders.each_ref().map(|finder| finder.of(&request));
        tenant.of(&request);
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(keys.map(|key| key.to_string()), ["2001:db8::/64", "2001:db8::/64", PROXY]);
}
