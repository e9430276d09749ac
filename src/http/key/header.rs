//! [`HeaderKey`]: a header's value as a key.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use http::{HeaderName, Request};

use super::client_ip::header_name;
use crate::error::ConfigError;

/// Takes the value of a header for the key: an API key, a tenant's name.
///
/// What is kept of it is a [`HeaderHash`]: 16 bytes however long the value is, and no secret.
///
/// ```
/// use portcullis::{KeyedRateLimitLayer, RateLimitConfig, http::key::HeaderKey};
///
/// let tenants = HeaderKey::new("x-api-key")?;
/// let config = RateLimitConfig::per_second("tenants", 100);
/// let layer = KeyedRateLimitLayer::new(config, 10_000, tenants.key::<()>())?;
/// // What an operator asks about a key that he has at hand:
/// let left = layer.limiters().remaining(&tenants.hash("k-4711"));
/// # assert_eq!(left, 100);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
///
/// A value is compared byte for byte. Requests without the header share the key [`HeaderHash::NONE`], and so
/// do those with several lines of it, of which no two readers may take the same.
///
/// **A client can send any value.** Put a limit by it below whatever checks it, or each request may come with
/// a key of its own: the table is bounded, and its overflow is one client's rate for all of them, but a
/// limit [by address](super::ClientIp) is what holds such a client.
#[derive(Clone, Debug)]
pub struct HeaderKey {
    name: HeaderName,
}

impl HeaderKey {
    /// Takes the value of the header of this name.
    ///
    /// # Errors
    /// [`ConfigError`] if it is no name of a header.
    pub fn new(name: &str) -> Result<Self, ConfigError> {
        header_name("header", name).map(|name| Self { name })
    }

    /// Gives a request's key: what keyed layers take.
    pub fn key<B>(&self) -> impl Fn(&Request<B>) -> HeaderHash + Clone + Send + Sync + use<B> {
        let header = self.clone();
        move |request| header.of(request)
    }

    /// The key of a request.
    pub fn of<B>(&self, request: &Request<B>) -> HeaderHash {
        let mut lines = request.headers().get_all(&self.name).into_iter();
        match (lines.next(), lines.next()) {
            (Some(only), None) => self.hash(only),
            _ => HeaderHash::NONE,
        }
    }

    /// The key of a value, as a request with it would have it.
    pub fn hash(&self, value: impl AsRef<[u8]>) -> HeaderHash {
        let value = value.as_ref();
        let [high, low] = &*HASHERS;
        let hash = u128::from(high.hash_one(value)) << 64 | u128::from(low.hash_one(value));
        // Zero is taken.
        HeaderHash(hash.max(1).to_ne_bytes())
    }
}

// Of std, whose hash is a keyed one that nobody can aim at without its keys: those here are drawn once a
// process, and never leave it.
static HASHERS: LazyLock<[RandomState; 2]> =
    LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// The value of a header, hashed to 128 bits with keys that each process draws anew: what was hashed cannot be
/// told from it, and nobody can look for two values that have the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderHash([u8; 16]);

impl HeaderHash {
    /// The one key of all requests without the header, or with more than one line of it.
    pub const NONE: Self = Self([0; 16]);

    /// Whether it is that of requests without the header.
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl fmt::Debug for HeaderHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("HeaderHash(none)");
        }
        write!(f, "HeaderHash({:032x})", u128::from_ne_bytes(self.0))
    }
}
