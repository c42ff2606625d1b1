//! What a command that serves needs of its process: ports, file handles and signals.

use std::net::{IpAddr, SocketAddr};

use runtime::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// What every system gives a process.
const FILE_HANDLES_LEAST: u64 = 256;

/// Listens on a port, or says which flag is to be changed.
pub async fn bind(ip: IpAddr, flag: &str, port: u16) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(ip, port);
    runtime::net::bind(address).await.map_err(|error| {
        let hint = "choose another port, or 0 for any free one";
        Failure::usage(format!("{flag} {port}: cannot listen on {address}: {error}; {hint}"))
    })
}

/// Takes as many file handles as the process may have, and says how many they are.
pub fn raise_file_handles() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are given a valid, exclusively borrowed struct of the type they want, which outlives them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return FILE_HANDLES_LEAST;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 { raised.rlim_cur } else { limit.rlim_cur }
    }
}

/// Does some work until SIGINT or SIGTERM comes, which lets go of it where it stands.
///
/// # Errors
/// Those of the work; 130 or 143 if it was stopped.
pub async fn until_stopped(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let code = tokio::select! {
        done = work => return done,
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    Err(Failure { code, message: "stopped by a signal".to_owned() })
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
