//! One writer per row.
//!
//! Always true: several rows are locked in sorted order, so two writers never wait for each other in a circle; a row's
//! entry exists only while somebody holds or waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Table = Arc<Mutex<HashMap<Bytes, Arc<tokio::sync::Mutex<()>>>>>;

/// The row locks of one region.
#[derive(Debug, Default)]
pub struct RowLocks(Table);

/// A held row; dropping it lets the next writer in.
#[derive(Debug)]
pub struct RowLock {
    table: Table,
    row: Bytes,
    guard: Option<OwnedMutexGuard<()>>,
}

impl RowLocks {
    /// Locks a row, waiting for its holder.
    pub async fn lock(&self, row: Bytes) -> RowLock {
        let lock = self.0.lock().entry(row.clone()).or_default().clone();
        // Made before the await, so that a waiter that is dropped cleans up too.
        let mut held = RowLock { table: self.0.clone(), row, guard: None };
        held.guard = Some(lock.lock_owned().await);
        held
    }

    /// Locks a row that nobody holds or waits for.
    pub fn try_lock(&self, row: &Bytes) -> Option<RowLock> {
        let mut table = self.0.lock();
        if table.contains_key(row) {
            return None;
        }
        let lock = table.entry(row.clone()).or_default().clone();
        let guard = Some(lock.try_lock_owned().expect("nobody else has seen it"));
        Some(RowLock { table: self.0.clone(), row: row.clone(), guard })
    }

    /// Locks several rows; equal rows once.
    pub async fn lock_all(&self, mut rows: Vec<Bytes>) -> Vec<RowLock> {
        rows.sort();
        rows.dedup();
        let mut held = Vec::with_capacity(rows.len());
        for row in rows {
            held.push(self.lock(row).await);
        }
        held
    }
}

impl Drop for RowLock {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        self.guard = None;
        // Nobody else holds or waits: the only other reference was ours.
        if table.get(&self.row).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_writer_at_a_time_and_nothing_left_behind() {
        let locks = Arc::new(RowLocks::default());
        let counter = Arc::new(Mutex::new((0, 0)));
        let tasks = (0..8).map(|_| {
            let (locks, counter) = (locks.clone(), counter.clone());
            runtime::task::spawn("writer", async move {
                for _ in 0..50 {
                    let held = locks.lock_all(vec!["b".into(), "a".into(), "b".into()]).await;
                    counter.lock().0 += 1;
                    runtime::task::yield_now().await;
                    let mut seen = counter.lock();
                    assert_eq!(seen.0 - seen.1, 1, "two writers inside");
                    assert!(locks.try_lock(&"a".into()).is_none(), "it is held");
                    seen.1 += 1;
                    drop(held);
                }
            })
        });
        for task in futures::future::join_all(tasks).await {
            task.expect("writer");
        }
        drop((locks.try_lock(&"a".into()).expect("free"), locks.try_lock(&"b".into()).expect("free")));
        assert!(locks.0.lock().is_empty());
    }
}
