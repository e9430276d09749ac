//! Bodies over loopback: what a bulkhead of a real server holds while a body streams, what a breaker of a real
//! client sees of a body that breaks, and a stalled body that is cut, told by both sides.

#[path = "bodies/clients.rs"]
mod clients;
#[path = "bodies/servers.rs"]
mod servers;
#[path = "bodies/sides.rs"]
mod sides;
