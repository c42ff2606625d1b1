//! What a command that serves needs of its process: ports and signals.

use std::net::{IpAddr, SocketAddr};

use runtime::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Listens on a port, or says which flag is to be changed.
pub async fn bind(ip: IpAddr, flag: &str, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(ip, port);
    runtime::net::bind(address).await.map_err(|error| {
        let hint = "choose another port, or 0 for any free one";
        Failure::usage(format!("{flag} {port}: cannot listen on {address}: {error}; {hint}"))
    })
}

/// SIGTERM and SIGINT; SIGHUP has nothing to reload and does not end the process.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    _hangup: Signal,
}

impl Signals {
    /// Asks for them.
    pub fn new() -> Result<Signals, Failure> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one.
    pub async fn first(&mut self) {
        self.second().await;
    }

    /// Waits for one; the exit code that it stands for.
    pub async fn second(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
        }
    }
}
