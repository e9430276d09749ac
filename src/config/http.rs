//! What only HTTP has: deadlines in headers, and where a client's address stands.

use std::borrow::Cow;

use serde::{
    Serializer,
    de::{Error, MapAccess},
};

use super::{
    Entries, Place, Scalar, Value,
    leaves::{Auto, either},
    must, needed, public, read_table,
    tables::tables,
    write_table,
};
use crate::{
    error::ConfigError,
    http::{
        deadline::{DeadlineConfig, DeadlineHeader, ForwardDeadlineConfig},
        key::{ClientHeader, ClientIp, TrustedHops},
    },
};

tables! {
    DeadlineConfig, "DeadlineConfig", "", "the table of deadlines that are taken from the wire":
        needs [name] may [headers max margin min_remaining] auto []
        begins Self::new(name), ends |config| config.validate().map(|()| config);
    ForwardDeadlineConfig, "ForwardDeadlineConfig", "", "the table of deadlines that are told":
        needs [name] may [headers margin] auto []
        begins Self::new(name), ends |config| config.validate().map(|()| config);
}

impl Value for DeadlineHeader {
    const NEEDS: &'static str =
        r#""grpc_timeout", or a table with a header's name, `millis` or `seconds`"#;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text("grpc_timeout") => Ok(Self::GrpcTimeout),
            _ => Err(must::<Self>()),
        }
    }

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "headers.", millis seconds);
        match (millis, seconds) {
            (Some(millis), None) => Ok(Self::Millis(millis)),
            (None, Some(seconds)) => Ok(Self::Seconds(seconds)),
            _ => either("one of `headers` has `millis` or `seconds`, and one of them"),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::GrpcTimeout => serializer.serialize_str("grpc_timeout"),
            Self::Millis(millis) => write_table!(serializer, "DeadlineHeader", millis),
            Self::Seconds(seconds) => write_table!(serializer, "DeadlineHeader", seconds),
        }
    }
}

/// How the peer's address is found is code, and stays the default.
impl Value for ClientIp {
    const NEEDS: &'static str = "a table of `trusted`, `header`, `ipv4_prefix` and `ipv6_prefix`";

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "", trusted header ipv4_prefix ipv6_prefix);
        let mut ip = Self::peer();
        ip.trusted = needed(trusted, "trusted")?;
        if let Some(Auto(given)) = header {
            ip.header = given;
        }
        ip.ipv4_prefix = ipv4_prefix.unwrap_or(ip.ipv4_prefix);
        ip.ipv6_prefix = ipv6_prefix.unwrap_or(ip.ipv6_prefix);
        ip.validate().map(|()| ip).map_err(A::Error::custom)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { trusted, header, peer_from: _, ipv4_prefix, ipv6_prefix } = self;
        write_table!(serializer, "ClientIp", trusted ipv4_prefix ipv6_prefix; maybe header)
    }
}

impl Value for TrustedHops {
    const NEEDS: &'static str =
        r#""nobody", or a table with `count`, of proxies, or `networks`, a list"#;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text("nobody") => Ok(Self::Nobody),
            _ => Err(must::<Self>()),
        }
    }

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "trusted.", count networks);
        match (count, networks) {
            (Some(count), None) => Ok(Self::Count(count)),
            (None, Some(networks)) => Ok(Self::Networks(networks)),
            _ => either("`trusted` has `count` or `networks`, and one of them"),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nobody => serializer.serialize_str("nobody"),
            Self::Count(count) => write_table!(serializer, "TrustedHops", count),
            Self::Networks(networks) => write_table!(serializer, "TrustedHops", networks),
        }
    }
}

impl Value for ClientHeader {
    const NEEDS: &'static str =
        r#""x_forwarded_for", "forwarded", or a table with a header's name, `single`"#;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text("x_forwarded_for") => Ok(Self::XForwardedFor),
            Scalar::Text("forwarded") => Ok(Self::Forwarded),
            _ => Err(must::<Self>()),
        }
    }

    fn of_table<'de, A: MapAccess<'de>>(mut table: Entries<A>, _: Place) -> Result<Self, A::Error> {
        read_table!(table, "header.", single);
        needed(single, "header.single").map(Self::Single)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::XForwardedFor => serializer.serialize_str("x_forwarded_for"),
            Self::Forwarded => serializer.serialize_str("forwarded"),
            Self::Single(single) => write_table!(serializer, "ClientHeader", single),
        }
    }
}

public! { DeadlineHeader ClientIp TrustedHops ClientHeader }
