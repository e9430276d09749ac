//! What servers and clients of HTTP need: see [`docs::frameworks`](crate::docs::frameworks).

pub(crate) mod json;
