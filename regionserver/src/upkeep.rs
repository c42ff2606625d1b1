//! What flushes and compactions share: bounds, the queue, throttles.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use runtime::Runtime;
use storage::compaction::Throttle;
use tokio::sync::{Notify, Semaphore};

use crate::compaction_queue::Queue;
use crate::regions::Hosted;
use crate::settings::ServerSettings;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub wake: Notify,
    pub flush_slots: Arc<Semaphore>,
    pub queue: Mutex<Queue<Region>>,
    /// Whether compactions are started; those that wait are kept.
    pub compacts: AtomicBool,
    pub throttle: Throttle,
    /// One collection at a time.
    pub collecting: tokio::sync::Mutex<()>,
    /// For stores whose files have become too many.
    pub free: Throttle,
}

/// A hosted region as a name: equal if it is the same opening.
#[derive(Clone, Debug)]
pub(crate) struct Region(pub Arc<Hosted>);

impl PartialEq for Region {
    fn eq(&self, other: &Region) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Upkeep {
    pub fn new(runtime: &Runtime, settings: &ServerSettings) -> Upkeep {
        Upkeep {
            wake: Notify::new(),
            flush_slots: Arc::new(Semaphore::new(settings.flushes_max.max(1))),
            queue: Mutex::new(Queue::new(settings.compactions_max)),
            throttle: Throttle::new(runtime.clock.clone(), settings.compaction_bytes_per_second),
            compacts: AtomicBool::new(true),
            collecting: tokio::sync::Mutex::default(),
            free: Throttle::new(runtime.clock.clone(), 0),
        }
    }

    /// Compactions waiting and running.
    pub fn compactions(&self) -> (usize, usize) {
        self.queue.lock().len()
    }

    /// Whether minor and major compactions of the region wait or run.
    pub fn compactions_of(&self, hosted: &Arc<Hosted>) -> (bool, bool) {
        self.queue.lock().of(&Region(hosted.clone()))
    }
}
