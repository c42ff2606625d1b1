//! Calls to servers: to any by its address, to the registry, to the active master.
//!
//! Always true
//! - A call waits for its answer no longer than it is told.
//! - The master is remembered until a call to it fails in a way that may mean another one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use model::ErrorKind;
use parking_lot::Mutex;
use protocol::messages as pb;
use protocol::meta::{ServerName, server_name_from};
use protocol::service::{Call, Connect, MASTER, REGISTRY, Reply, RpcError};
use runtime::Runtime;
use runtime::clock::within;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub timeout: Duration,
    pub call_timeout: Duration,
    pub procedure_timeout: Duration,
    pub attempts: u32,
    pub pause: Duration,
}

/// Calls of one connection.
pub(crate) struct Calls {
    pub runtime: Runtime,
    pub settings: Settings,
    pub nonce_group: u64,
    connector: Arc<dyn Connect>,
    bootstrap: Vec<String>,
    /// The bootstrap address that answered last.
    bootstrap_at: AtomicUsize,
    master: Mutex<Option<ServerName>>,
    nonces: AtomicU64,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl Calls {
    pub fn new(runtime: Runtime, connector: Arc<dyn Connect>, settings: Settings, bootstrap: Vec<String>) -> Calls {
        let (nonce_group, nonces) = (runtime.random.next_u64(), AtomicU64::new(runtime.random.next_u64()));
        let (bootstrap_at, master) = (AtomicUsize::new(0), Mutex::default());
        Calls { runtime, settings, nonce_group, connector, bootstrap, bootstrap_at, master, nonces }
    }

    /// A nonce for an operation.
    pub fn nonce(&self) -> u64 {
        self.nonces.fetch_add(1, Ordering::Relaxed).max(1)
    }

    /// The monotonic time.
    pub fn now(&self) -> Duration {
        self.runtime.clock.monotonic()
    }

    /// Makes a call. An answer that does not come in time may stand for work that was done; a connection that does not, not.
    pub async fn call(&self, address: &str, mut call: Call, limit: Duration) -> Result<Reply, RpcError> {
        let clock = &*self.runtime.clock;
        let start = clock.monotonic();
        let server = within(clock, limit, self.connector.connect(address)).await.unwrap_or_else(|| {
            Err(RpcError::new(ErrorKind::Unavailable, format!("no connection to {address} within {limit:?}")))
        })?;
        let left = limit.saturating_sub(clock.monotonic().saturating_sub(start));
        call.timeout = Some(left);
        within(clock, left, server.call(call)).await.unwrap_or_else(|| {
            Err(RpcError::new(ErrorKind::Unknown, format!("no answer from {address} within {limit:?}")))
        })
    }

    /// Asks the bootstrap servers one after the other, the last good one first.
    pub async fn ask_registry(&self, call: Call, limit: Duration) -> Result<Reply, RpcError> {
        let first = self.bootstrap_at.load(Ordering::Relaxed);
        let share = limit / u32::try_from(self.bootstrap.len()).unwrap_or(u32::MAX);
        let mut last = None;
        for step in 0..self.bootstrap.len() {
            let at = (first + step) % self.bootstrap.len();
            match self.call(&self.bootstrap[at], call.clone(), share).await {
                Ok(reply) => {
                    self.bootstrap_at.store(at, Ordering::Relaxed);
                    return Ok(reply);
                }
                // Nothing changes at a registry: an answer that is lost is an answer that is missing.
                Err(cause) if cause.kind == ErrorKind::Unknown => {
                    last = Some(RpcError::new(ErrorKind::Unavailable, cause.message));
                }
                Err(cause) => last = Some(cause),
            }
        }
        Err(last.unwrap_or_else(|| RpcError::invalid("no bootstrap address was given")))
    }

    /// The active master, from memory or the registry.
    pub async fn master(&self, limit: Duration) -> Result<ServerName, RpcError> {
        let known = self.master.lock().clone();
        if let Some(master) = known {
            return Ok(master);
        }
        let request = Call::new(REGISTRY, "GetActiveMaster", &pb::GetActiveMasterRequest {});
        let answer: pb::GetActiveMasterResponse = self.ask_registry(request, limit).await?.decode()?;
        let name = answer
            .server_name
            .ok_or_else(|| RpcError::of(ErrorKind::NotServing, "MasterNotRunningException", "no master is active"))?;
        let master = server_name_from(&name)?;
        *self.master.lock() = Some(master.clone());
        Ok(master)
    }

    /// One call to the master; a failure that may mean another master forgets this one.
    pub async fn call_master(&self, call: Call, limit: Duration) -> Result<Reply, RpcError> {
        let master = self.master(limit).await?;
        let call = Call { service: MASTER.to_owned(), ..call };
        let answer = self.call(&master.address(), call, limit).await;
        if let Err(cause) = &answer
            && matches!(
                cause.kind,
                ErrorKind::NotServing
                    | ErrorKind::Moved
                    | ErrorKind::Unavailable
                    | ErrorKind::Unknown
                    | ErrorKind::Fenced
            )
        {
            let mut known = self.master.lock();
            if known.as_ref() == Some(&master) {
                *known = None;
            }
        }
        answer
    }
}
