//! Sockets.

use std::io;
use std::net::SocketAddr;

pub use tokio::net::{TcpListener, TcpStream};

/// Listens on an address; port 0 takes a free one.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Connects, without Nagle's delay.
pub async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
