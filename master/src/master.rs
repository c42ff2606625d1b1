//! The master's state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use coordination::Leadership;
use model::ErrorKind;
use parking_lot::Mutex;
use protocol::meta::ServerName;
use protocol::service::{RpcError, Service};
use runtime::shutdown::Shutdown;
use storage::region::RegionContext;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::host::Host;
use crate::lock::Locks;
use crate::procedure::{Journal, Record};
use crate::tables::Tables;

/// Finished procedures remembered for so long, so that clients learn how they ended.
pub(crate) const FINISHED_KEPT: Duration = Duration::from_secs(15 * 60);
/// Finished procedures remembered at most.
pub(crate) const FINISHED_MAX: usize = 10_000;

/// What a master needs.
#[derive(Debug)]
pub struct MasterContext {
    /// Log, budget and cache that the master region shares; the data root.
    pub region: RegionContext,
    /// Being the leader.
    pub leadership: Leadership,
    /// The region server.
    pub host: Arc<dyn Service>,
    /// Under which name master and region server answer.
    pub server: ServerName,
}

/// A region that the region server holds open for us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub epoch: u64,
    pub seqnum: u64,
    /// Whether META says so.
    pub in_meta: bool,
}

/// A procedure in memory.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub record: Record,
    /// When it ended, as far as this master knows.
    pub finished_at: Option<Duration>,
}

/// Procedures that run or have ended lately.
#[derive(Debug, Default)]
pub(crate) struct Procedures {
    pub by_id: BTreeMap<u64, Known>,
    pub by_nonce: HashMap<(u64, u64), u64>,
    /// Procedures whose first write failed and may show after a restart.
    pub cancelled: BTreeSet<u64>,
}

/// Requests each second, as of the last time that somebody asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub at: Duration,
    pub requests: u64,
    pub per_second: u64,
}

/// The master. Answers `MasterService` and `ClientMetaService`.
#[derive(Debug)]
pub struct Master {
    pub(crate) me: Weak<Master>,
    pub(crate) ctx: RegionContext,
    pub(crate) leadership: Leadership,
    pub(crate) server: ServerName,
    pub(crate) host: Host,
    pub(crate) tables: Tables,
    pub(crate) journal: Journal,
    pub(crate) locks: Locks,
    pub(crate) procedures: Mutex<Procedures>,
    /// Procedures that have not ended.
    pub(crate) running: watch::Sender<usize>,
    pub(crate) counter: AtomicU64,
    /// Open regions by encoded name.
    pub(crate) open: Mutex<HashMap<String, Opened>>,
    /// META's own sequence number at its opening.
    pub(crate) meta_seqnum: AtomicU64,
    /// The last timestamp given to a cell of META.
    pub(crate) meta_ms: AtomicI64,
    /// Whether regions of enabled tables may be closed because they did not open.
    pub(crate) missing: AtomicBool,
    pub(crate) balancer: AtomicBool,
    pub(crate) rate: Mutex<Rate>,
    /// Requests that wait for a lock.
    pub(crate) waiting: AtomicU64,
    pub(crate) shutdown: Shutdown,
    pub(crate) replaced: AtomicBool,
    pub(crate) tasks: TaskTracker,
}

impl Master {
    /// Whether another master has taken over: this one does nothing any more, and the process should end.
    pub fn is_fenced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Waits until no procedure runs.
    pub async fn idle(&self) {
        let mut running = self.running.subscribe();
        running.wait_for(|running| *running == 0).await.expect("the sender lives in self");
    }

    pub(crate) fn arc(&self) -> Arc<Master> {
        self.me.upgrade().expect("a method runs on a living master")
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.ctx.runtime.clock.now_ms()
    }

    /// A timestamp for META, above all before it.
    pub(crate) fn meta_timestamp(&self) -> i64 {
        let now_ms = self.now_ms();
        let next = |last: i64| Some(now_ms.max(last.saturating_add(1)));
        match self.meta_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(last) | Err(last) => now_ms.max(last.saturating_add(1)),
        }
    }

    /// Ends all work: another master leads.
    pub(crate) fn stop_as_replaced(&self, why: &dyn std::fmt::Display) {
        if !self.replaced.swap(true, Ordering::AcqRel) {
            tracing::error!(%why, "another master has taken over; this one stops");
        }
        self.shutdown.signal();
    }

    /// Refuses requests when stopping.
    pub(crate) fn check_running(&self) -> Result<(), RpcError> {
        if self.shutdown.is_signalled() { Err(self.not_running()) } else { Ok(()) }
    }

    /// The answer of a master that does nothing any more.
    pub(crate) fn not_running(&self) -> RpcError {
        let why = if self.is_fenced() { "another master has taken over; ask it" } else { "the master is stopping" };
        RpcError::of(ErrorKind::NotServing, "MasterNotRunningException", why)
    }
}
