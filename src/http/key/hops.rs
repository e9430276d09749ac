//! Headers in which proxies write the addresses that they see.
//!
//! Each proxy adds to the end, so lists are read from there: what stands further left may have been sent by
//! the client, and what it looks like must not change how the right end is understood.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

use http::{HeaderMap, HeaderName, header::FORWARDED};

/// A header that is read.
#[derive(Clone, Debug)]
pub(super) enum Written {
    XForwardedFor,
    Forwarded,
    /// One address, which a proxy replaces.
    Single(HeaderName),
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Written {
    /// What stands at the `n`-th place from the right, counted from zero.
    pub(super) fn nth(&self, headers: &HeaderMap, n: usize) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => x_forwarded_for(headers).nth(n)?,
            Self::Forwarded => forwarded(headers).nth(n)?,
            Self::Single(name) => single(headers, name),
        }
    }

    /// The first address from the right that is not `trusted`; where all are, the last of them. `None` if
    /// there is none, and if something else than an address comes first.
    pub(super) fn first_untrusted(
        &self,
        headers: &HeaderMap,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => first_untrusted(x_forwarded_for(headers), trusted),
            Self::Forwarded => first_untrusted(forwarded(headers), trusted),
            Self::Single(name) => single(headers, name),
        }
    }
}

fn first_untrusted(
    hops: impl Iterator<Item = Option<IpAddr>>,
    trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut furthest = None;
    for hop in hops {
        let hop = hop?;
        if !trusted(hop) {
            return Some(hop);
        }
        furthest = Some(hop);
    }
    furthest
}

/// The places of all lines, from the right. One that is empty is a place all the same: to pass over it
/// would be to move on into what the client may have sent.
fn x_forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(node)
}

/// The elements of all lines, from the right.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED).into_iter().rev();
    lines.flat_map(|line| Pieces { rest: Some(line.as_bytes()), between: b',' }).map(forwarded_for)
}

/// The only value of a header that has one. Several lines are none: the client may have sent all but one.
fn single(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (Some(only), None) => node(only.as_bytes()),
        _ => None,
    }
}

/// The `for` of one element of `Forwarded`; `None` unless there is exactly one, with an address.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in (Pieces { rest: Some(element), between: b';' }) {
        if pair.trim_ascii().is_empty() {
            continue;
        }
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"for") && found.replace(node(unquoted(value)?)?).is_some() {
            return None;
        }
    }
    found
}

/// What stands between quotes, if any. There is nothing to escape in an address.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\""),
        None => Some(value),
    }
}

/// Parts of a text, from the right, where what separates them does not count inside quotes.
struct Pieces<'h> {
    rest: Option<&'h [u8]>,
    between: u8,
}

impl<'h> Iterator for Pieces<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let rest = self.rest.take()?;
        let Some(at) = last_outside_quotes(rest, self.between) else { return Some(rest) };
        self.rest = Some(&rest[..at]);
        Some(&rest[at + 1..])
    }
}

/// Read from the right, too: a quote that a client leaves open closes at none of the proxies' own.
fn last_outside_quotes(text: &[u8], wanted: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        if *byte == b'"' {
            // Inside quotes it is escaped by a backslash that is not itself escaped.
            let slashes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
            quoted ^= slashes % 2 == 0;
        } else if *byte == wanted && !quoted {
            return Some(at);
        }
    }
    None
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        if !after.is_empty() {
            port(after.strip_prefix(':')?)?;
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(alone) = text.parse::<IpAddr>() {
        alone
    } else {
        let (address, after) = text.rsplit_once(':')?;
        port(after)?;
        IpAddr::V4(address.parse::<Ipv4Addr>().ok()?)
    };
    Some(address.to_canonical())
}

/// A number, or the word that RFC 7239 lets a proxy put in its place.
fn port(text: &str) -> Option<()> {
    let hidden = |word: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !word.is_empty() && word.bytes().all(is_part)
    };
    let fine = match text.strip_prefix('_') {
        Some(word) => hidden(word),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    };
    fine.then_some(())
}
