//! [`IpKey`]: an address as a key.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A client's network, as a key: an address without the bits that one client can choose among.
///
/// 18 bytes, `Copy`. It prints as the address where all of it counts, and as a network otherwise:
///
/// ```
/// use portcullis::http::key::ClientIp;
///
/// let client = ClientIp::peer().build()?;
/// assert_eq!(client.mask("192.0.2.7".parse().unwrap()).to_string(), "192.0.2.7");
/// assert_eq!(client.mask("2001:db8::7".parse().unwrap()).to_string(), "2001:db8::/64");
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpKey(Inner);

// Bytes rather than numbers, which would be padded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Inner {
    Unknown,
    V4 { bytes: [u8; 4], prefix: u8 },
    V6 { bytes: [u8; 16], prefix: u8 },
}

impl IpKey {
    /// The one key of all requests whose address nobody knows.
    pub const UNKNOWN: Self = Self(Inner::Unknown);

    /// The network of an address.
    pub(super) fn of(address: IpAddr, v4_prefix: u8, v6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(v4_prefix.min(32))).unwrap_or(0);
                let bytes = (u32::from(address) & mask).to_be_bytes();
                Self(Inner::V4 { bytes, prefix: v4_prefix.min(32) })
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(v6_prefix.min(128))).unwrap_or(0);
                let bytes = (u128::from(address) & mask).to_be_bytes();
                Self(Inner::V6 { bytes, prefix: v6_prefix.min(128) })
            }
        }
    }

    /// Whether nobody knows the address.
    pub const fn is_unknown(&self) -> bool {
        matches!(self.0, Inner::Unknown)
    }

    /// The network's first address.
    pub fn address(&self) -> Option<IpAddr> {
        match self.0 {
            Inner::Unknown => None,
            Inner::V4 { bytes, .. } => Some(Ipv4Addr::from(bytes).into()),
            Inner::V6 { bytes, .. } => Some(Ipv6Addr::from(bytes).into()),
        }
    }

    /// How many bits of the address count.
    pub const fn prefix(&self) -> Option<u8> {
        match self.0 {
            Inner::Unknown => None,
            Inner::V4 { prefix, .. } | Inner::V6 { prefix, .. } => Some(prefix),
        }
    }
}

impl fmt::Display for IpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address(), self.0) {
            (None, _) => f.write_str("unknown"),
            (Some(all), Inner::V4 { prefix: 32, .. } | Inner::V6 { prefix: 128, .. }) => {
                fmt::Display::fmt(&all, f)
            }
            (Some(first), _) => write!(f, "{first}/{}", self.prefix().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for IpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IpKey({self})")
    }
}
