//! The region server as a whole: what it holds, and whether it serves.
//!
//! ```text
//! Running ── close ──▶ Stopped
//!    └── the log is fenced ──▶ Aborted
//! ```

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use futures::StreamExt;
use model::ErrorKind;
use protocol::messages as pb;
use protocol::meta::ServerName;
use protocol::service::RpcError;
use runtime::shutdown::Shutdown;
use storage::StorageError;
use storage::region::RegionContext;

use crate::counts::Counts;
use crate::errors;
use crate::regions::{Hosted, Regions};
use crate::scanners::Scanners;
use crate::settings::ServerSettings;
use crate::upkeep::Upkeep;

/// Orders about regions that may be carried out at a time; orders for one region never overlap.
const ORDER_LANES: usize = 64;

/// What a region server is made of.
#[derive(Clone, Debug)]
pub struct ServerContext {
    /// What its regions share.
    pub region: RegionContext,
    /// How others name it.
    pub server: ServerName,
    /// Bounds.
    pub settings: ServerSettings,
}

/// See the module's text.
pub struct RegionServer {
    pub(crate) ctx: ServerContext,
    pub(crate) regions: Regions,
    pub(crate) scanners: Scanners,
    pub(crate) counts: Counts,
    pub(crate) upkeep: Arc<Upkeep>,
    /// Highest master epoch that gave an order.
    pub(crate) master_epoch: AtomicU32,
    pub(crate) orders: Vec<tokio::sync::Mutex<()>>,
    pub(crate) shutdown: Shutdown,
    stopped: AtomicBool,
    me: Weak<RegionServer>,
}

impl fmt::Debug for RegionServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionServer").field("server", &self.ctx.server).finish_non_exhaustive()
    }
}

impl RegionServer {
    /// Starts a server without regions.
    pub fn new(ctx: ServerContext) -> Arc<RegionServer> {
        let server = Arc::new_cyclic(|me| RegionServer {
            scanners: Scanners::new(&ctx.region.runtime, &ctx.settings),
            upkeep: Arc::new(Upkeep::new(&ctx.region.runtime, &ctx.settings)),
            ctx,
            regions: Regions::default(),
            counts: Counts::default(),
            master_epoch: AtomicU32::new(0),
            orders: (0..ORDER_LANES).map(|_| tokio::sync::Mutex::default()).collect(),
            shutdown: Shutdown::new(),
            stopped: AtomicBool::new(false),
            me: me.clone(),
        });
        server.start_leases();
        server.start_upkeep();
        server.start_collection();
        server
    }

    /// Whether somebody else ended this server's log: it serves nothing any more.
    pub fn is_fenced(&self) -> bool {
        self.ctx.region.log.is_fenced()
    }

    /// The server as its tasks hold it.
    pub(crate) fn arc(&self) -> Arc<RegionServer> {
        self.me.upgrade().expect("a method runs on a living server")
    }

    /// Whether calls are answered at all.
    pub(crate) fn check_running(&self) -> Result<(), RpcError> {
        let server = &self.ctx.server;
        if self.is_fenced() {
            let class = "regionserver.RegionServerAbortedException";
            let message = format!("server {server} has been replaced by another one");
            return Err(RpcError::of(ErrorKind::NotServing, class, message));
        }
        if self.stopped.load(Ordering::Acquire) {
            let class = "regionserver.RegionServerStoppedException";
            return Err(RpcError::of(ErrorKind::NotServing, class, format!("server {server} is stopping")));
        }
        Ok(())
    }

    /// The open region that a request names, in HBase's order of checks. The kind of name is not looked at.
    pub(crate) fn region(&self, region: &pb::RegionSpecifier) -> Result<Arc<Hosted>, RpcError> {
        self.check_running()?;
        self.regions.find(&region.value).ok_or_else(|| {
            self.regions.why_absent(&region.value, &self.ctx.server, self.ctx.region.runtime.clock.monotonic())
        })
    }

    /// Stops serving, flushes and closes all regions.
    ///
    /// # Errors
    /// The first region that could not be closed; it is replayed from the log when it is opened next.
    pub async fn close(&self) -> Result<(), RpcError> {
        self.stopped.store(true, Ordering::Release);
        self.shutdown.signal();
        // Orders begun before are carried out; those behind them are refused. Then nothing opens any more.
        for lane in &self.orders {
            drop(lane.lock().await);
        }
        self.scanners.clear();
        let mut regions = self.regions.all();
        // META last: until then others may learn where regions were.
        regions.sort_by_key(|hosted| hosted.region.info().table.is_meta());
        let mut closing = futures::stream::iter(regions.into_iter().map(|hosted| self.close_for_good(hosted)))
            .buffered(self.ctx.settings.flushes_max.max(1));
        let mut first = Ok(());
        while let Some(closed) = closing.next().await {
            first = first.and(closed);
        }
        first
    }

    async fn close_for_good(&self, hosted: Arc<Hosted>) -> Result<(), RpcError> {
        let _order = self.orders_of(&hosted.encoded).lock().await;
        if hosted.is_gone() {
            return Ok(());
        }
        match hosted.region.close().await {
            Ok(()) => {
                self.regions.remove(&hosted, None, self.ctx.region.runtime.clock.monotonic());
                Ok(())
            }
            Err(error) => {
                tracing::error!(region = %hosted.region.info(), %error, "region was not closed");
                Err(errors::storage(error))
            }
        }
    }

    /// The answer to a failed operation of a region, and what follows from it.
    pub(crate) fn failure(&self, hosted: &Arc<Hosted>, error: StorageError) -> RpcError {
        if error.kind() == ErrorKind::Fenced && !self.is_fenced() && !hosted.is_gone() {
            tracing::error!(region = %hosted.region.info(), %error, "region belongs to somebody else now");
            self.regions.remove(hosted, None, self.ctx.region.runtime.clock.monotonic());
        }
        if let StorageError::Busy(_) = error {
            self.counts.blocked_writes.add(1);
        }
        errors::storage(error)
    }

    /// The lock under which orders for a region are carried out.
    pub(crate) fn orders_of(&self, encoded: &[u8]) -> &tokio::sync::Mutex<()> {
        let sum = encoded.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte as usize));
        &self.orders[sum % self.orders.len()]
    }
}
