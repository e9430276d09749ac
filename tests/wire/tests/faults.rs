//! Real clients and servers over loopback while something breaks, told by both sides: what reached the server,
//! what the caller got, what each policy counted, and that nothing is in flight afterwards.
//!
//! The clients' tests stop the clock and move it by hand; real sockets are read meanwhile.
#![cfg(unix)]

#[path = "faults/answers.rs"]
mod answers;
#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/disconnects.rs"]
mod disconnects;
#[path = "grpc_client/echo.rs"]
#[allow(dead_code, reason = "its server is of another test")]
mod echo;
#[path = "faults/http2.rs"]
mod http2;
#[path = "faults/outages.rs"]
mod outages;
#[path = "faults/served.rs"]
mod served;
#[path = "faults/server.rs"]
mod server;
#[path = "faults/storm.rs"]
mod storm;
#[path = "prometheus/text.rs"]
#[allow(dead_code, reason = "another test asks more of a text")]
mod text;
