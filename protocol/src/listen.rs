//! One port for several protocols, told apart by the first bytes.
//!
//! Always true
//! - The first bytes are looked at, not taken: a [`Door`] reads its connection from the start.
//! - An error of one connection, or of accepting one, never ends the loop.
//! - Connections are bounded; one that sends nothing is closed after a while.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use runtime::clock::{Clock, within};
use runtime::net::{TcpListener, TcpStream};
use runtime::shutdown::Shutdown;
use tokio::sync::Semaphore;

pub use crate::calls::Limits;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// HTTP/2's preface: gRPC.
    Http2,
    /// `HBas`, or one of the preamble calls `Regist` and `Securi`.
    HBase,
    /// A TLS handshake.
    Tls,
    /// Nothing that we speak.
    Other,
}

/// Enough to tell all of them.
const OPENING_BYTES: usize = 6;

impl Opening {
    /// Judges what has come so far, at least one byte. The first byte tells; whoever serves the connection checks the rest.
    pub fn of(first: &[u8]) -> Opening {
        let begins = |known: &[u8]| first.iter().zip(known).all(|(got, want)| got == want);
        match first {
            [] => Opening::Other,
            [0x16, ..] => Opening::Tls,
            _ if begins(b"PRI * ") => Opening::Http2,
            _ if begins(b"HBas") || begins(b"Regist") || begins(b"Securi") => Opening::HBase,
            _ => Opening::Other,
        }
    }
}

/// Serves connections of one protocol.
#[async_trait]
pub trait Door: Send + Sync {
    /// Serves a connection to its end. After `shutdown` it finishes its calls within the grace time.
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, shutdown: Shutdown);
}

/// Who serves what.
#[derive(Clone, Default)]
pub struct Doors {
    all: Option<Arc<dyn Door>>,
    http2: Option<Arc<dyn Door>>,
    hbase: Option<Arc<dyn Door>>,
    tls: Option<Arc<dyn Door>>,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = |door: &Option<Arc<dyn Door>>| door.is_some();
        f.debug_struct("Doors")
            .field("all", &open(&self.all))
            .field("http2", &open(&self.http2))
            .field("hbase", &open(&self.hbase))
            .field("tls", &open(&self.tls))
            .finish()
    }
}

impl Doors {
    /// Hands every connection to this door, however it begins and however long it is silent.
    pub fn all(door: Arc<dyn Door>) -> Doors {
        Doors { all: Some(door), ..Doors::default() }
    }

    /// Hands connections that begin so to this door. Those that begin with [`Opening::Other`] are always closed.
    pub fn with(mut self, opening: Opening, door: Arc<dyn Door>) -> Doors {
        match opening {
            Opening::Http2 => self.http2 = Some(door),
            Opening::HBase => self.hbase = Some(door),
            Opening::Tls => self.tls = Some(door),
            Opening::Other => {}
        }
        self
    }

    fn of(&self, opening: Opening) -> Option<&Arc<dyn Door>> {
        match opening {
            Opening::Http2 => self.http2.as_ref(),
            Opening::HBase => self.hbase.as_ref(),
            Opening::Tls => self.tls.as_ref(),
            Opening::Other => None,
        }
    }
}

/// Ends the connections when the loop is dropped instead of told.
struct Ending(Shutdown);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.signal();
    }
}

/// Accepts connections until `shutdown`, then waits until all have ended.
pub async fn serve(listener: TcpListener, doors: Doors, clock: Arc<dyn Clock>, limits: Limits, shutdown: Shutdown) {
    let ending = Ending(shutdown.child());
    let connections_max = limits.connections_max.clamp(1, Semaphore::MAX_PERMITS);
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => match room.clone().try_acquire_owned() {
                Ok(place) => {
                    let (doors, clock, shutdown) = (doors.clone(), clock.clone(), ending.0.clone());
                    let wait = limits.first_call_wait;
                    // Not joined: `room` tells when all have ended.
                    drop(runtime::task::spawn("rpc connection", async move {
                        let _place = place;
                        connection(stream, peer, &doors, &*clock, wait, shutdown).await;
                    }));
                }
                Err(_) => tracing::warn!(%peer, connections_max, "too many connections: closed a new one"),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                if let Some(pause) = pause_after(&error) {
                    tokio::select! {
                        () = shutdown.wait() => break,
                        () = clock.sleep(pause) => {}
                    }
                }
            }
        }
    }
    drop(listener);
    ending.0.signal();
    // Every door keeps the grace time, so this ends. The semaphore is never closed.
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    drop(room.acquire_many(all).await);
}

/// A connection that broke before it was accepted says nothing about the next; anything else (no file handles, no memory)
/// takes time to pass.
fn pause_after(error: &io::Error) -> Option<Duration> {
    let of_the_connection = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    (!of_the_connection).then_some(Duration::from_millis(100))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    doors: &Doors,
    clock: &dyn Clock,
    wait: Duration,
    shutdown: Shutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection broke at once");
        return;
    }
    if let Some(door) = &doors.all {
        return door.serve(stream, peer, shutdown).await;
    }
    let mut first = [0; OPENING_BYTES];
    let looked = tokio::select! {
        biased;
        () = shutdown.wait() => return,
        looked = within(clock, wait, stream.peek(&mut first)) => looked,
    };
    let opening = match looked {
        Some(Ok(0)) => return,
        Some(Ok(length)) => Opening::of(&first[..length]),
        Some(Err(error)) => {
            tracing::debug!(%peer, %error, "connection broke before its first byte");
            return;
        }
        None => {
            tracing::info!(%peer, "closed a connection that sent nothing");
            return;
        }
    };
    match doors.of(opening) {
        Some(door) => door.serve(stream, peer, shutdown).await,
        None => tracing::info!(%peer, ?opening, "closed a connection of a protocol not spoken here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (first, opening) in [
            (&b"PRI * "[..], Opening::Http2),
            (b"P", Opening::Http2),
            (b"POST /", Opening::Other),
            (b"HBas\0P", Opening::HBase),
            (b"H", Opening::HBase),
            (b"HEAD /", Opening::Other),
            (b"Regist", Opening::HBase),
            (b"Securi", Opening::HBase),
            (b"\x16\x03\x01", Opening::Tls),
            (b"GET / ", Opening::Other),
            (b"", Opening::Other),
        ] {
            assert_eq!(Opening::of(first), opening, "{:?}", String::from_utf8_lossy(first));
        }
    }
}
