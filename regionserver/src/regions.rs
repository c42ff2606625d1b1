//! Which regions are here, and in which state.
//!
//! ```text
//! (absent) ── open ──▶ Opening ──▶ Open ── close ──▶ (absent, for a while: moved away)
//!                         └─ failed ─▶ (absent), or Failed if another try cannot help
//! ```
//!
//! Always true: a region stands under its full name and its encoded name, or under neither.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use parking_lot::{Mutex, RwLock};
use protocol::service::{MovedTo, RpcError};
use storage::region::{Region, RegionCounters};

use crate::remembered::Remembered;

/// Moves remembered at most, and how long.
const MOVED_MAX: usize = 1000;
const MOVED_FOR: Duration = Duration::from_secs(120);

/// An open region and what is counted of it.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub region: Arc<Region>,
    /// The full region name.
    pub name: Bytes,
    pub encoded: Bytes,
    /// Highest sequence number found at the opening.
    pub opened_at: u64,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
    pub filtered: AtomicU64,
    /// Wall time of the last flush; of the opening before the first.
    last_flush_ms: AtomicU64,
    /// Bytes written since somebody last looked whether a flush is due.
    unlooked: AtomicU64,
    pub upkeep: Mutex<Remembered>,
    /// Not here any more: scanners end.
    gone: AtomicBool,
}

impl Hosted {
    pub fn new(region: Arc<Region>, now_ms: i64) -> Hosted {
        Hosted {
            name: region.info().region_name(),
            encoded: region.info().encoded_name().into(),
            opened_at: region.read_point().0,
            region,
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            last_flush_ms: AtomicU64::new(now_ms.max(0) as u64),
            unlooked: AtomicU64::new(0),
            upkeep: Mutex::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// Wall time of the last flush, of the opening before the first.
    pub fn last_flush_ms(&self) -> u64 {
        self.last_flush_ms.load(Ordering::Relaxed)
    }

    /// Bytes were written; says whether it is time for a look.
    pub fn wrote(&self, bytes: u64, look_bytes: u64) -> bool {
        if self.unlooked.fetch_add(bytes, Ordering::Relaxed) + bytes < look_bytes {
            return false;
        }
        self.unlooked.store(0, Ordering::Relaxed);
        true
    }

    /// A flush ended.
    pub fn flushed_at(&self, now_ms: i64) {
        self.last_flush_ms.store(now_ms.max(0) as u64, Ordering::Relaxed);
    }

    /// Whether it has left this server.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

#[derive(Clone, Debug)]
enum Slot {
    Opening,
    Open(Arc<Hosted>),
    /// What it needs is damaged or missing.
    Failed(Arc<RpcError>),
}

#[derive(Debug)]
struct Moved {
    names: [Bytes; 2],
    to: MovedTo,
    start_code: u64,
    seqno: u64,
    at: Duration,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    slots: RwLock<HashMap<Bytes, Slot>>,
    moved: RwLock<VecDeque<Moved>>,
    /// What the reads of regions that left have done.
    left: Mutex<RegionCounters>,
}

impl Regions {
    /// The open region of a full or encoded name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<Hosted>> {
        match self.slots.read().get(name) {
            Some(Slot::Open(hosted)) => Some(hosted.clone()),
            _ => None,
        }
    }

    /// Why [`Regions::find`] finds nothing.
    pub fn why_absent(&self, name: &[u8], server: &impl std::fmt::Display, now: Duration) -> RpcError {
        match self.slots.read().get(name) {
            Some(Slot::Opening) => {
                let message = format!("region {} is opening on {server}", name.escape_ascii());
                return RpcError::of(ErrorKind::NotServing, "exceptions.RegionOpeningException", message);
            }
            Some(Slot::Failed(why)) => {
                let message = format!("region {} cannot be opened on {server}: {}", name.escape_ascii(), why.message);
                return RpcError { message, ..(**why).clone() };
            }
            _ => {}
        }
        let moved = self.moved.read();
        let found = moved.iter().rev().find(|moved| moved.names.iter().any(|known| known == name));
        match found.filter(|moved| now.saturating_sub(moved.at) < MOVED_FOR) {
            Some(Moved { to, start_code, seqno, .. }) => {
                // Clients take this sentence apart.
                let message = format!(
                    "Region moved to: hostname={} port={} startCode={start_code}. As of locationSeqNum={seqno}.",
                    to.host, to.port
                );
                let mut error = RpcError::new(ErrorKind::Moved, message);
                error.moved_to = Some(to.clone());
                error
            }
            None => crate::errors::not_serving(name, server),
        }
    }

    /// All open regions, in no order.
    pub fn all(&self) -> Vec<Arc<Hosted>> {
        let slots = self.slots.read();
        let open = slots.iter().filter_map(|(name, slot)| match slot {
            Slot::Open(hosted) if hosted.name == *name => Some(hosted.clone()),
            _ => None,
        });
        open.collect()
    }

    /// What the reads of all regions have done, those that left included.
    pub fn counters(&self) -> RegionCounters {
        let left = *self.left.lock();
        self.all().iter().fold(left, |sum, hosted| sum + hosted.region.counters())
    }

    /// An opening begins.
    pub fn opening(&self, names: [Bytes; 2]) {
        let mut slots = self.slots.write();
        for name in names {
            slots.insert(name, Slot::Opening);
        }
    }

    /// An opening failed; damage is remembered until the next order about the region.
    pub fn failed(&self, names: [Bytes; 2], why: &RpcError) {
        let kept = (why.kind == ErrorKind::Corrupt).then(|| Arc::new(why.clone()));
        let mut slots = self.slots.write();
        for name in names {
            match &kept {
                Some(why) => slots.insert(name, Slot::Failed(why.clone())),
                None => slots.remove(&name),
            };
        }
    }

    /// Forgets that an opening failed, by the encoded name.
    pub fn forget_failed(&self, encoded: &[u8]) {
        let mut slots = self.slots.write();
        if let Some(Slot::Failed(why)) = slots.get(encoded).cloned() {
            slots.retain(|_, slot| !matches!(slot, Slot::Failed(other) if Arc::ptr_eq(other, &why)));
        }
    }

    /// The region is open.
    pub fn opened(&self, hosted: Arc<Hosted>) {
        let names = [&hosted.name, &hosted.encoded];
        self.moved.write().retain(|moved| !moved.names.contains(&hosted.name));
        let mut slots = self.slots.write();
        for name in names {
            slots.insert(name.clone(), Slot::Open(hosted.clone()));
        }
    }

    /// The region is not served any more; where it goes, if known.
    pub fn remove(&self, hosted: &Arc<Hosted>, to: Option<(MovedTo, u64)>, now: Duration) {
        if !hosted.gone.swap(true, Ordering::AcqRel) {
            let mut left = self.left.lock();
            *left = *left + hosted.region.counters();
        }
        if let Some((to, start_code)) = to {
            let mut moved = self.moved.write();
            moved.retain(|moved| now.saturating_sub(moved.at) < MOVED_FOR);
            if moved.len() >= MOVED_MAX {
                moved.pop_front();
            }
            let names = [hosted.name.clone(), hosted.encoded.clone()];
            let seqno = hosted.region.read_point().0;
            moved.push_back(Moved { names, to, start_code, seqno, at: now });
        }
        let mut slots = self.slots.write();
        for name in [&hosted.name, &hosted.encoded] {
            if matches!(slots.get(name), Some(Slot::Open(known)) if Arc::ptr_eq(known, hosted)) {
                slots.remove(name);
            }
        }
    }
}
