//! A region's manifest beside what readers see of it: a commit and its publication are one thing.

use std::fmt;

use super::{Region, Version};
use crate::error::Result;
use crate::manifest::{Manifest, ManifestHandle};

type Change = Box<dyn FnOnce(&mut Version) + Send>;

/// The manifest, and what is to be published once the commit in doubt is known to stand.
pub(super) struct Ledger {
    pub manifest: ManifestHandle,
    pending: Option<Change>,
}

impl Ledger {
    pub fn new(manifest: ManifestHandle) -> Ledger {
        Ledger { manifest, pending: None }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("manifest", &self.manifest).finish_non_exhaustive()
    }
}

impl Region {
    /// Commits to the manifest, then lets readers see the same change of files. If the answer is lost, both happen later or never: the
    /// commit is brought to its end before the next.
    pub(super) async fn publish(
        &self,
        commit: impl FnOnce(&mut Manifest),
        change: impl FnOnce(&mut Version) + Send + 'static,
    ) -> Result<()> {
        let mut ledger = self.ledger.lock().await;
        self.settle(&mut ledger).await?;
        ledger.pending = Some(Box::new(change));
        let committed = ledger.manifest.commit(commit).await;
        self.follow(&mut ledger, committed)
    }

    /// Brings a commit in doubt to its end.
    pub(super) async fn settle(&self, ledger: &mut Ledger) -> Result<()> {
        if ledger.manifest.in_doubt() {
            let settled = ledger.manifest.settle().await;
            self.follow(ledger, settled)?;
        }
        Ok(())
    }

    fn follow(&self, ledger: &mut Ledger, committed: Result<()>) -> Result<()> {
        if ledger.manifest.in_doubt() {
            return committed;
        }
        let change = ledger.pending.take();
        if committed.is_ok()
            && let Some(change) = change
        {
            let mut current = self.version.write();
            let mut next = (**current).clone();
            change(&mut next);
            *current = std::sync::Arc::new(next);
        }
        committed
    }
}
