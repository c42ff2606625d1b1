//! Locks by name: one procedure at a time changes a table or a namespace.
//!
//! Always true: whoever waits longest gets the lock next; names that nobody holds or waits for take no memory for long.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

/// Names kept before unused ones are dropped.
const NAMES_KEPT: usize = 256;

/// Holding a lock.
pub(crate) type LockGuard = OwnedMutexGuard<()>;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    fn named(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock();
        if locks.len() >= NAMES_KEPT {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(name.to_owned()).or_default().clone()
    }

    /// Waits for a lock.
    pub async fn lock(&self, name: &str) -> LockGuard {
        self.named(name).lock_owned().await
    }

    /// Takes a lock that is free.
    pub fn try_lock(&self, name: &str) -> Option<LockGuard> {
        self.named(name).try_lock_owned().ok()
    }
}
