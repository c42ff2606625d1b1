//! The memory that memtables may take, over all regions of a process.
//!
//! Always true
//! - What is charged is exactly the sum of the living [`Charge`]s, and never above the limit, but for one single write
//!   that is larger than the limit and finds nothing else charged, and for what a replay brings.
//! - A writer above the limit waits; it never makes memory grow, and after the wait it is told to try again.
//! - While a writer waits something should be flushed, however much is free: its write may be larger than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::clock::{Clock, within};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::error::{Result, StorageError};

/// Part of the limit that replays may hold while they read.
const REPLAY_PART: u64 = 4;
/// Part of the limit that one read of a replay may take, and its bounds.
const REPLAY_READ_PART: u64 = 64;
const REPLAY_READ_BYTES: (u64, u64) = (4 << 10, 8 << 20);
/// Part of the limit below which a region is not worth a flush amid its replay.
const REPLAY_FLUSH_PART: u64 = 256;

#[derive(Debug)]
struct Shared {
    used: Mutex<u64>,
    limit: u64,
    freed: Notify,
    pressed: Notify,
    /// Writers that wait for room.
    waiting: AtomicUsize,
    /// KiB that replays may hold beside memtables.
    replays: Arc<Semaphore>,
    replays_kib: u32,
    /// Replays that may flush at a time: each flush takes memory of its own.
    replay_flushes: Semaphore,
}

/// A memory budget; clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

/// Bytes taken from a budget; dropping gives them back.
#[derive(Debug)]
pub struct Charge {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Charge {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes over another charge of the same budget.
    pub fn absorb(&mut self, mut other: Charge) {
        debug_assert!(Arc::ptr_eq(&self.shared, &other.shared), "charges of one budget");
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.shared.free(self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shared.free(self.bytes);
    }
}

impl Shared {
    fn free(&self, bytes: u64) {
        if bytes > 0 {
            *self.used.lock() -= bytes;
            self.freed.notify_waiters();
        }
    }

    /// Whether flushing should begin: 3/4 of the limit, so that writers seldom wait, or less if one does.
    fn is_pressed(&self, used: u64) -> bool {
        used >= self.limit - self.limit / 4 || (used > 0 && self.waiting.load(Ordering::Acquire) > 0)
    }
}

/// A writer that waits.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn of(shared: &'a Shared) -> Waiting<'a> {
        shared.waiting.fetch_add(1, Ordering::AcqRel);
        shared.pressed.notify_one();
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Budget {
        let replays_kib = u32::try_from((limit / REPLAY_PART) >> 10).unwrap_or(u32::MAX).max(1);
        Budget(Arc::new(Shared {
            used: Mutex::new(0),
            limit,
            freed: Notify::new(),
            pressed: Notify::new(),
            waiting: AtomicUsize::new(0),
            replays: Arc::new(Semaphore::new(replays_kib as usize)),
            replays_kib,
            replay_flushes: Semaphore::new(1),
        }))
    }

    /// Bytes of a log that one read of a replay takes at most, unless one group is longer.
    pub(crate) fn replay_read_bytes(&self) -> u64 {
        (self.0.limit / REPLAY_READ_PART).clamp(REPLAY_READ_BYTES.0, REPLAY_READ_BYTES.1)
    }

    /// Memtable bytes below which a replay does not flush on its way.
    pub(crate) fn replay_flush_bytes(&self) -> u64 {
        self.0.limit / REPLAY_FLUSH_PART
    }

    /// Waits for room for bytes that a replay reads; kept until they are in memtables. One that is larger than all room there is takes it all.
    pub(crate) async fn replay_room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let kib = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).clamp(1, self.0.replays_kib);
        self.0.replays.clone().acquire_many_owned(kib).await.expect("never closed")
    }

    /// Waits for its turn to flush amid a replay.
    pub(crate) async fn replay_flush_turn(&self) -> SemaphorePermit<'_> {
        self.0.replay_flushes.acquire().await.expect("never closed")
    }

    /// The memtables' share of the memory that a process was given: 40 %.
    pub fn of_memory(total_bytes: u64) -> Budget {
        Budget::new(total_bytes / 10 * 4)
    }

    /// Bytes charged.
    pub fn used(&self) -> u64 {
        *self.0.used.lock()
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// An empty charge, to absorb others.
    pub fn empty(&self) -> Charge {
        Charge { shared: self.0.clone(), bytes: 0 }
    }

    /// Takes bytes if there is room.
    pub fn try_take(&self, bytes: u64) -> Option<Charge> {
        let mut used = self.0.used.lock();
        let after = used.saturating_add(bytes);
        if self.0.is_pressed(after) {
            // One permit is kept for a flusher that looks later.
            self.0.pressed.notify_one();
        }
        (after <= self.0.limit || *used == 0).then(|| {
            *used = after;
            Charge { shared: self.0.clone(), bytes }
        })
    }

    /// Takes bytes, waiting for room at most so long; then [`model::ErrorKind::Busy`].
    pub async fn take(&self, clock: &dyn Clock, bytes: u64, wait: Duration) -> Result<Charge> {
        if let Some(charge) = self.try_take(bytes) {
            return Ok(charge);
        }
        let _waiting = Waiting::of(&self.0);
        let waiting = async {
            loop {
                let freed = self.0.freed.notified();
                tokio::pin!(freed);
                // Registered before the look, so that no freeing in between is missed.
                freed.as_mut().enable();
                if let Some(charge) = self.try_take(bytes) {
                    return charge;
                }
                freed.await;
            }
        };
        within(clock, wait, waiting).await.ok_or_else(|| {
            StorageError::Busy(format!("memtables are full. used=`{}`, limit=`{}`", self.used(), self.0.limit))
        })
    }

    /// Takes bytes that exist already, as those of a replay do: never waits and may pass the limit.
    pub fn take_anyway(&self, bytes: u64) -> Charge {
        let mut used = self.0.used.lock();
        *used = used.saturating_add(bytes);
        if self.0.is_pressed(*used) {
            self.0.pressed.notify_one();
        }
        Charge { shared: self.0.clone(), bytes }
    }

    /// Whether something should be flushed to make room.
    pub fn is_pressed(&self) -> bool {
        self.0.is_pressed(self.used())
    }

    /// Resolves when something should be flushed; for one flusher.
    pub async fn pressed(&self) {
        loop {
            self.0.pressed.notified().await;
            if self.is_pressed() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ErrorKind;
    use runtime::clock::SystemClock;

    #[tokio::test]
    async fn writers_wait_and_then_are_told_to_try_again() {
        let budget = Budget::new(100);
        let mut held = budget.take(&SystemClock, 60, Duration::ZERO).await.expect("room");
        let more = budget.take(&SystemClock, 50, Duration::from_millis(5)).await;
        assert_eq!(more.expect_err("full").kind(), ErrorKind::Busy);
        assert_eq!(budget.used(), 60);
        held.absorb(budget.try_take(40).expect("exactly full"));
        assert!(budget.try_take(1).is_none());
        let waiter = {
            let budget = budget.clone();
            runtime::task::spawn("writer", async move { budget.take(&SystemClock, 50, Duration::from_secs(60)).await })
        };
        runtime::task::yield_now().await;
        held.shrink_to(50);
        assert_eq!(waiter.await.expect("task").expect("room").bytes(), 50);
        drop(held);
        assert_eq!(budget.used(), 0);
        let large = budget.try_take(1000).expect("one oversized write passes alone");
        assert!(budget.try_take(0).is_none());
        drop(large);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn accounting_is_exact_under_concurrency() {
        let budget = Budget::new(1000);
        let tasks = (1..=8_u64).map(|size| {
            let budget = budget.clone();
            runtime::task::spawn("writer", async move {
                for _ in 0..200 {
                    let charge = budget.take(&SystemClock, size * 100, Duration::from_secs(60)).await.expect("room");
                    assert!(budget.used() <= 1000);
                    runtime::task::yield_now().await;
                    drop(charge);
                }
            })
        });
        for task in futures::future::join_all(tasks).await {
            task.expect("writer");
        }
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn pressure_is_told_before_the_limit() {
        let budget = Budget::of_memory(1000);
        let held = budget.try_take(299).expect("room");
        assert!(!budget.is_pressed());
        let more = budget.take_anyway(1);
        budget.pressed().await;
        drop((held, more));
        assert!(!budget.is_pressed());
    }

    /// Large writes do not fit long before the limit is near.
    #[tokio::test]
    async fn a_writer_that_waits_presses_for_a_flush() {
        let budget = Budget::new(100);
        let held = budget.try_take(40).expect("room");
        assert!(!budget.is_pressed());
        let waiting = budget.take(&SystemClock, 70, Duration::from_secs(60));
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        budget.pressed().await;
        drop(held); // flushed
        let large = waiting.await.expect("room");
        assert!(!budget.is_pressed());
        drop(large);
    }

    #[tokio::test]
    async fn replays_wait_for_room() {
        let budget = Budget::new(64 << 10); // room for 16 KiB
        let first = budget.replay_room(12 << 10).await;
        let waiting = budget.replay_room(8 << 10);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(first);
        let second = waiting.await;
        drop(second);
        drop(budget.replay_room(1 << 30).await);
    }
}
