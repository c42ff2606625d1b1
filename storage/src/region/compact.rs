//! Compactions: which files, and their replacement in the manifest.
//!
//! Always true
//! - A file is in one compaction at a time; flushes and compactions of other files go on beside it.
//! - What a compaction made is kept only if the manifest still lists everything that it replaces.
//! - A closing region ends its compactions, then waits for them.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Cause;
use model::SeqNo;
use model::schema::{FamilyDescriptor, TableDescriptor};

use super::persist::Output;
use super::{Region, StoreFile, Version};
use crate::compaction::policy::{self, FileFacts, Forced, PolicySettings};
use crate::compaction::{Extent, Throttle};
use crate::error::Result;
use crate::file::writer::FileMeta;
use crate::manifest::Manifest;
use crate::source::CellSource;

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Files that it replaced.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the file that stands for them; 0 if nothing was left.
    pub written: u64,
    /// Whether it was a major one.
    pub major: bool,
}

/// Files that a compaction has taken for itself.
pub(super) struct Taken<'a> {
    region: &'a Region,
    files: Vec<Arc<StoreFile>>,
    /// They are all files of the store, and nothing that is in no file yet is older than they are: what a marker hides is in them.
    all: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut compacting = self.region.compacting.lock();
        for file in &self.files {
            compacting.remove(&file.entry.name);
        }
    }
}

impl Taken<'_> {
    fn names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.entry.name.clone()).collect()
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.entry.size).sum()
    }
}

impl Region {
    /// The policy of a family: HBase's settings in its descriptor or the table's, else the host's.
    fn policy(&self, descriptor: &TableDescriptor, family: &FamilyDescriptor) -> PolicySettings {
        let own = &self.ctx.settings.compaction;
        let text = |key: &str| descriptor.setting(family, key);
        let number = |key: &str| text(key).and_then(|text| text.trim().parse::<u64>().ok());
        let count = |key: &str, or: usize| number(key).map_or(or, |number| usize::try_from(number).unwrap_or(or));
        let period_ms = text("hbase.hregion.majorcompaction").and_then(|text| text.trim().parse().ok());
        PolicySettings {
            files_min: count("hbase.hstore.compaction.min", own.files_min).max(2),
            files_max: count("hbase.hstore.compaction.max", own.files_max).max(2),
            bytes_min: number("hbase.hstore.compaction.min.size").unwrap_or(own.bytes_min),
            bytes_max: number("hbase.hstore.compaction.max.size").unwrap_or(own.bytes_max),
            ratio: text("hbase.hstore.compaction.ratio").and_then(|text| text.trim().parse().ok()).unwrap_or(own.ratio),
            blocking_files: count("hbase.hstore.blockingStoreFiles", own.blocking_files).max(2),
            major_period_ms: self.spread(&family.name, period_ms.unwrap_or(own.major_period_ms)),
            ttl_ms: family.ttl_ms(),
            min_versions: family.min_versions(),
            now_ms: self.ctx.runtime.clock.now_ms(),
        }
    }

    /// Half of the period to one and a half of it, each family at its own place, so that not all are due at once.
    fn spread(&self, family: &[u8], period_ms: i64) -> i64 {
        let name = [&self.log_name[..], family].concat();
        let hash = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &name) as u32;
        period_ms / 2 + (period_ms as f64 * f64::from(hash) / f64::from(u32::MAX)) as i64
    }

    fn facts(files: &[Arc<StoreFile>], compacting: &HashSet<String>) -> Vec<FileFacts> {
        let fact = |file: &Arc<StoreFile>| FileFacts {
            bytes: file.entry.size,
            is_reference: false,
            exclude_from_minor: file.entry.loaded_ms > 0
                && file
                    .reader
                    .info("EXCLUDE_FROM_MINOR_COMPACTION")
                    .is_some_and(|flag| flag.iter().any(|byte| *byte != 0)),
            created_ms: file.created_ms(),
            oldest_cell_ms: file.reader.timestamps().map(|times| times.0),
            newest_cell_ms: file.reader.timestamps().map(|times| times.1),
            compacting: compacting.contains(&file.entry.name),
        };
        files.iter().map(fact).collect()
    }

    fn files_of(&self, family: &[u8]) -> Vec<Arc<StoreFile>> {
        self.version.read().get(family).map(|store| store.files.clone()).unwrap_or_default()
    }

    /// Takes files that are in no compaction, chosen by their facts.
    pub(super) fn take(
        &self,
        family: &[u8],
        choose: impl FnOnce(&[FileFacts]) -> Option<Vec<usize>>,
    ) -> Option<Taken<'_>> {
        let mut compacting = self.compacting.lock();
        // Writes up to here are in the stores that are looked at next.
        let read_point = self.mvcc.read_point();
        let version = self.version.read().clone();
        let store = version.get(family)?;
        let files = &store.files;
        let chosen = choose(&Region::facts(files, &compacting)).filter(|chosen| !chosen.is_empty())?;
        // A bulk load can be newer than what is in memory.
        let tables = store.frozen.iter().chain([&store.active]);
        let unflushed = tables.map(|table| table.oldest_seqno()).min().unwrap_or(SeqNo::MAX).min(read_point.next());
        let all = chosen.len() == files.len() && files.iter().all(|file| file.entry.max_seq < unflushed);
        let files: Vec<_> = chosen.into_iter().map(|at| files[at].clone()).collect();
        compacting.extend(files.iter().map(|file| file.entry.name.clone()));
        Some(Taken { region: self, files, all })
    }

    /// Families that the policy would compact now, with the number of files that may still be added before flushes wait.
    pub fn compactions_wanted(&self) -> Vec<(Bytes, i64)> {
        let descriptor = self.descriptor();
        if !descriptor.compaction_enabled() {
            return Vec::new();
        }
        let compacting = self.compacting.lock().clone();
        let wanted = descriptor.families.values().filter_map(|family| {
            let (files, settings) = (self.files_of(&family.name), self.policy(&descriptor, family));
            let facts = Region::facts(&files, &compacting);
            let wanted = policy::choose(&facts, &settings, Forced::No).is_some()
                || !policy::expired(&facts, &settings).is_empty();
            wanted.then(|| (family.name.clone(), settings.blocking_files as i64 - files.len() as i64))
        });
        wanted.collect()
    }

    /// Whether a family has so many files that flushes wait for a compaction.
    pub fn has_too_many_files(&self) -> bool {
        let descriptor = self.descriptor();
        let full = |family: &FamilyDescriptor| {
            self.version.read().get(&family.name).map_or(0, |store| store.files.len())
                >= self.policy(&descriptor, family).blocking_files
        };
        descriptor.families.values().any(full)
    }

    /// Whether compactions run.
    pub fn is_compacting(&self) -> bool {
        !self.compacting.lock().is_empty()
    }

    /// Compacts every family: all files if `major`, else what the policy chooses. Answers how many families changed.
    pub async fn compact(&self, major: bool) -> Result<usize> {
        let mut changed = 0;
        let free = Throttle::new(self.ctx.runtime.clock.clone(), 0);
        for family in self.descriptor().families.keys() {
            let forced = if major { Forced::UserMajor } else { Forced::No };
            changed += usize::from(self.compact_family(family, forced, &free).await?.is_some());
        }
        Ok(changed)
    }

    /// Compacts the files of a family that the policy chooses; `None` if it chooses none. Files whose cells have all
    /// outlived their time are dropped unread.
    pub async fn compact_family(
        &self,
        family: &[u8],
        forced: Forced,
        throttle: &Throttle,
    ) -> Result<Option<Compacted>> {
        Cause::Compaction.of(self.compact_chosen(family, forced, throttle)).await
    }

    async fn compact_chosen(&self, family: &[u8], forced: Forced, throttle: &Throttle) -> Result<Option<Compacted>> {
        let _running = self.compactions.read().await;
        self.check_open()?;
        // A compaction in doubt may turn out to be done.
        self.settle(&mut *self.ledger.lock().await).await?;
        let descriptor = self.descriptor();
        let Some(family) = descriptor.families.get(family) else { return Ok(None) };
        let settings = self.policy(&descriptor, family);
        let mut done: Option<Compacted> = None;
        if let Some(expired) = self.take(&family.name, |facts| Some(policy::expired(facts, &settings))) {
            let dropped = Compacted { files: expired.files.len(), bytes: expired.bytes(), written: 0, major: false };
            done = self.replace(&family.name, expired, None).await?.then_some(dropped);
        }
        let mut major = false;
        let taken = self.take(&family.name, |facts| {
            let plan = policy::choose(facts, &settings, forced)?;
            major = plan.major;
            Some(plan.files)
        });
        match taken {
            Some(taken) => Ok(self.rewrite(family, taken, major, throttle).await?.or(done)),
            None => Ok(done),
        }
    }

    /// Compacts these files of a family, oldest first, into one. Delete markers go only with `major`, which holds only if
    /// the range covers all files. False if there is no such range, or some of it is being compacted.
    pub async fn compact_files(&self, family: &[u8], range: Range<usize>, major: bool) -> Result<bool> {
        let _running = self.compactions.read().await;
        self.check_open()?;
        // A compaction in doubt may turn out to be done.
        self.settle(&mut *self.ledger.lock().await).await?;
        let descriptor = self.descriptor();
        let Some(family) = descriptor.families.get(family) else { return Ok(false) };
        let taken = self.take(&family.name, |facts| {
            let busy = facts.get(range.clone())?.iter().any(|file| file.compacting);
            (!busy).then(|| range.collect())
        });
        let Some(mut taken) = taken else { return Ok(false) };
        taken.all &= major;
        let free = Throttle::new(self.ctx.runtime.clock.clone(), 0);
        Ok(Cause::Compaction.of(self.rewrite(family, taken, false, &free)).await?.is_some())
    }

    pub(super) async fn rewrite(
        &self,
        family: &FamilyDescriptor,
        taken: Taken<'_>,
        major: bool,
        throttle: &Throttle,
    ) -> Result<Option<Compacted>> {
        let inputs = &taken.files;
        let sources = inputs.iter().rev().map(|file| Box::new(file.reader.source()) as Box<dyn CellSource>).collect();
        let max_seq = inputs.iter().map(|file| file.entry.max_seq).max().unwrap_or(SeqNo(0));
        let earliest_put_ms =
            inputs.iter().map(|file| file.reader.earliest_put_ms().unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN);
        let made = self
            .write_file(Output {
                family,
                sources,
                extent: if taken.all { Extent::All } else { Extent::Part },
                earliest_put_ms,
                tags: inputs.iter().any(|file| file.reader.has_tags()),
                meta: FileMeta { max_seq_id: max_seq.0, major: taken.all, compacted: taken.names() },
                throttle: Some(throttle),
            })
            .await?;
        let written = made.as_ref().map_or(0, |file| file.entry.size);
        let compacted = Compacted { files: inputs.len(), bytes: taken.bytes(), written, major };
        Ok(self.replace(&family.name, taken, made).await?.then_some(compacted))
    }

    /// Puts a file, or nothing, in the place of those taken. False if not all of them are listed any more.
    async fn replace(&self, family: &Bytes, taken: Taken<'_>, made: Option<Arc<StoreFile>>) -> Result<bool> {
        let (gone, entry) = (taken.names(), made.as_ref().map(|file| file.entry.clone()));
        let mut listed = false;
        let commit = |manifest: &mut Manifest| {
            let Some(state) = manifest.families.get_mut(family) else { return };
            listed = gone.iter().all(|name| state.files.iter().any(|file| file.name == *name));
            let at = state.files.iter().position(|file| gone.contains(&file.name));
            if let Some(at) = at.filter(|_| listed) {
                state.files.retain(|file| !gone.contains(&file.name));
                state.files.splice(at..at, entry);
            }
        };
        let (family, replaced) = (family.clone(), gone.clone());
        let change = move |next: &mut Version| {
            let Some(store) = next.get_mut(&family) else { return };
            let is_replaced = |file: &Arc<StoreFile>| replaced.contains(&file.entry.name);
            // What the manifest did not list any more, no reader is shown either.
            if let Some(at) = store.files.iter().position(is_replaced) {
                store.files.retain(|file| !is_replaced(file));
                store.files.splice(at..at, made);
            }
        };
        let committed = self.publish(commit, change).await;
        drop(taken);
        // Those replaced, or else the one that was to replace them.
        self.delete_unread().await;
        committed.map(|()| listed)
    }
}
