//! Which files of a region's folder nobody needs (docs/PROTOCOLS.md §10, G1 and G2).
//!
//! A file's name begins with the epoch it was written under. Under an older epoch nothing is uploaded any more, so what the manifest
//! does not list never will be. Under our own only we write: what is not listed while no flush, compaction or commit of ours
//! is under way is left over. Names of higher epochs, and names that are not ours, are somebody else's.

use std::collections::BTreeSet;
use std::sync::Weak;

use filesystem::Cause;

use super::open::{file_path, folder};
use super::{Region, ledger::Ledger};
use crate::collect::Collected;
use crate::error::Result;

/// The epoch in the name of a store file, given with or without its folder; `None`: the name is not ours.
pub fn file_epoch(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?;
    let ours = name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| u64::from_str_radix(&name[..16], 16).ok())?
}

impl Region {
    /// Deletes what flushes and compactions that failed or died have left in the region's folder, under this or an older
    /// epoch. Lists the folder, so it is for now and then: after opening, and every hour or so. Flushes and compactions wait
    /// for it; while a compaction runs, nothing is done.
    pub async fn collect(&self) -> Result<Collected> {
        if let Err(error) = self.finish_loads().await {
            tracing::warn!(region = self.name(), %error, "a bulk load is still under way");
        }
        Cause::Collection.of(self.collect_folder()).await
    }

    async fn collect_folder(&self) -> Result<Collected> {
        let _flushing = self.flushing.lock().await;
        let Ok(_compactions) = self.compactions.try_write() else { return Ok(Collected::default()) };
        let mut ledger = self.ledger.lock().await;
        self.settle(&mut ledger).await?;
        let listed = self.listed(&ledger);
        let mut done = Collected::default();
        let folder = folder(&self.info);
        for file in self.ctx.fs.list(&folder).await? {
            let read = self.readers.lock().get(&file.path).is_some_and(|reader| reader.strong_count() > 0);
            if file_epoch(&file.path).is_none_or(|epoch| epoch > self.epoch) || listed.contains(&file.path) || read {
                continue;
            }
            self.ctx.fs.delete(&file.path).await?;
            self.readers.lock().remove(&file.path);
            (done.files, done.bytes) = (done.files + 1, done.bytes + file.size);
        }
        for left in self.ctx.fs.unfinished(&folder).await? {
            if file_epoch(&left.path).is_some_and(|epoch| epoch <= self.epoch) {
                self.ctx.fs.abandon(&left).await?;
                done.unfinished += 1;
            }
        }
        Ok(done)
    }

    /// Deletes what this opening has read or written, nobody reads any more and the manifest does not list.
    pub(super) async fn delete_unread(&self) {
        let unneeded: Vec<String> = {
            let ledger = self.ledger.lock().await;
            if ledger.manifest.in_doubt() {
                return;
            }
            let listed = self.listed(&ledger);
            let mut readers = self.readers.lock();
            let unread = |(path, reader): (&String, &Weak<_>)| {
                (reader.strong_count() == 0 && !listed.contains(path)).then(|| path.clone())
            };
            let unneeded: Vec<String> = readers.iter().filter_map(unread).collect();
            unneeded.iter().for_each(|path| drop(readers.remove(path)));
            unneeded
        };
        for path in unneeded {
            // A failure leaves an unlisted file, which collection removes.
            if let Err(error) = self.ctx.fs.delete(&path).await {
                tracing::warn!(%error, "a file that nobody needs was not deleted");
            }
        }
    }

    fn listed(&self, ledger: &Ledger) -> BTreeSet<String> {
        let manifest = ledger.manifest.manifest();
        let path = |family: &[u8], name: &str| file_path(&self.info, family, name);
        let lists = manifest
            .families
            .iter()
            .flat_map(|(family, state)| state.files.iter().map(move |file| (family, &file.name)));
        let moving = manifest.loads_under_way().flat_map(|load| &load.moving).map(|file| (&file.family, &file.name));
        lists.chain(moving).map(|(family, name)| path(family, name)).collect()
    }
}
