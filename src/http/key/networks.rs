//! Networks of addresses that are trusted.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{error::ConfigError, policy::check::ensure};

/// Networks in CIDR notation, read once. Clones share them.
#[derive(Clone)]
pub(crate) struct Networks(Arc<[IpNet]>);

impl Networks {
    /// Reads networks, or addresses, each a network of its own. `field` is what they are called in the
    /// configuration.
    pub(crate) fn parse<T: AsRef<str>>(
        field: &'static str,
        networks: &[T],
    ) -> Result<Self, ConfigError> {
        ensure(!networks.is_empty(), field, "[]", "trusts nobody, so that nothing is ever read")?;
        networks
            .iter()
            .map(|network| parse(field, network.as_ref()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether an address, canonical as [`to_canonical`](IpAddr::to_canonical) makes it, is in any of them.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn parse(field: &'static str, text: &str) -> Result<IpNet, ConfigError> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| {
        ConfigError::new(field, text, "is neither a network such as `10.0.0.0/8` nor an address")
    })?;
    let network = canonical(network);
    ensure(
        network.prefix_len() > 0,
        field,
        text,
        "trusts everybody, so that any client could choose its own address",
    )?;
    Ok(network)
}

/// A network of IPv4 addresses that is written as one of IPv6, as the former: addresses are compared so.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = network else { return network };
    let (Some(v4), true) = (v6.addr().to_ipv4_mapped(), v6.prefix_len() >= MAPPED) else {
        return network;
    };
    v4_network(v4, v6.prefix_len() - MAPPED).unwrap_or(network)
}

fn v4_network(address: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    IpNet::new(IpAddr::V4(address), prefix).ok()
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}
