//! Servers on this machine, and its addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::Router;
use tokio::net::TcpListener;

/// Serves on a free port of the loopback interface until the program ends.
///
/// # Errors
/// Those of the listener.
pub async fn serve(router: Router) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(address)
}

/// Whether a client on this machine can come from this address: all of `127.0.0.0/8` on Linux, elsewhere often
/// `127.0.0.1` alone.
pub fn is_own(address: impl Into<IpAddr>) -> bool {
    std::net::TcpListener::bind((address.into(), 0)).is_ok()
}
