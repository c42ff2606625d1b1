//! Bulk load: files that others wrote become a region's own (docs/PROTOCOLS.md §9).
//!
//! ```text
//! check each file → commit: the load, its id and its files' names (decided) → move the files here → writes stop for a moment:
//! take a seqno → commit: the files are listed, all families at once → published → writes go on
//! ```
//!
//! Always true
//! - Readers see all of a load or nothing; every cell of it counts as written at the moment of the second commit.
//! - Nobody is told that a load stands before all its files lie in the region's folder. So files that somebody else deletes while a load
//!   is under way undo the load as a whole, and nobody was told otherwise.
//! - What is decided and not finished is finished by the next load, the next collection or the next opening.
//! - A load's id stands in the manifest: the same again does nothing.

mod check;

use std::sync::Arc;

use bytes::Bytes;
use filesystem::{Cause, ErrorKind, PutOutcome};
use futures::{StreamExt, TryStreamExt, stream};
use model::SeqNo;
use runtime::task::to_the_end;

use super::open::file_path;
use super::{Region, StoreFile, Version};
use crate::error::{Result, StorageError};
use crate::file::reader::HFileReader;
use crate::manifest::{FileEntry, LoadEntry, Manifest, MovingFile};

/// Files of one load at most.
const FILES_MAX: usize = 1000;
/// Ids that a region remembers at most, and for how long.
const IDS_MAX: usize = 1000;
const IDS_FOR_MS: u64 = 7 * 24 * 3_600_000;
/// Longest id in bytes.
const ID_LEN_MAX: usize = 128;
/// Files checked or moved at the same time.
const SIDE_BY_SIDE: usize = 8;
/// Tries of one move while its answers are lost.
const MOVE_TRIES: usize = 3;

/// One file of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFile {
    /// The family that its cells are of.
    pub family: Bytes,
    /// Its key below the data root. Once the load is decided the file is the region's, and leaves this place.
    pub path: String,
}

/// Files that become a region's own, all or none.
#[derive(Clone, Debug, Default)]
pub struct BulkLoad {
    /// Names the load; a region takes an id once. 1 to 128 printable ASCII characters.
    pub id: String,
    /// The files.
    pub files: Vec<LoadFile>,
    /// Whether to read every file whole before; else its ends are looked at.
    pub verify: bool,
}

/// A load that stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What its cells count as written with.
    pub seqno: SeqNo,
    /// It had been loaded before; what follows is 0 then.
    pub before: bool,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Their cells.
    pub cells: u64,
}

/// Whether a load may be called so.
///
/// # Errors
/// A sentence for people.
pub fn check_load_id(id: &str) -> std::result::Result<(), String> {
    if (1..=ID_LEN_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("a load id is 1 to {ID_LEN_MAX} printable ASCII characters, not `{id}`"))
}

impl Region {
    /// Takes files in. Once begun it goes on even if the returned future is dropped. After an error the load may stand or not; the same
    /// id again tells, and brings it to its end. [`StorageError::WrongRegion`]: a file reaches beyond the region; nothing happened.
    pub async fn bulk_load(self: &Arc<Self>, load: BulkLoad) -> Result<Loaded> {
        let region = self.clone();
        to_the_end("bulk load", async move { Cause::Load.of(region.load_files(load)).await }).await
    }

    async fn load_files(&self, load: BulkLoad) -> Result<Loaded> {
        check_load_id(&load.id).map_err(StorageError::Invalid)?;
        let _loading = self.loading.lock().await;
        self.check_open()?;
        // At most one load is under way at any time.
        self.finish_loads_now().await?;
        if let Some(known) = self.known_load(&load.id).await? {
            return Ok(Loaded { seqno: known.seqno, before: true, ..Loaded::default() });
        }
        let moving = self.check_files(&load).await?;
        let sum = |of: fn(&MovingFile) -> u64| moving.iter().map(of).sum::<u64>();
        let (files, bytes, cells) = (moving.len(), sum(|file| file.size), sum(|file| file.cells));
        let at_ms = u64::try_from(self.ctx.runtime.clock.now_ms()).unwrap_or(0);
        let entry = LoadEntry { id: load.id.clone(), at_ms, seqno: SeqNo(0), moving };
        {
            let _compactions = self.compactions.read().await;
            self.check_open()?;
            self.publish(|manifest| decide(manifest, entry), |_| {}).await?;
        }
        self.finish_loads_now().await?;
        match self.known_load(&load.id).await? {
            Some(known) => Ok(Loaded { seqno: known.seqno, before: false, files, bytes, cells }),
            None => {
                let why = "a file of it was taken away meanwhile; nothing of it was loaded";
                Err(StorageError::Invalid(format!("bulk load `{}`: {why}", load.id)))
            }
        }
    }

    /// Whether a load of this id is decided: it stands, or will.
    pub async fn load_is_decided(&self, id: &str) -> Result<bool> {
        Ok(self.known_load(id).await?.is_some())
    }

    /// The load of this id, if it is decided.
    async fn known_load(&self, id: &str) -> Result<Option<LoadEntry>> {
        let mut ledger = self.ledger.lock().await;
        self.settle(&mut ledger).await?;
        Ok(ledger.manifest.manifest().loads.iter().find(|load| load.id == id).cloned())
    }

    /// Brings loads that are decided to their end, unless somebody is at it.
    pub(super) async fn finish_loads(&self) -> Result<()> {
        let Ok(_loading) = self.loading.try_lock() else { return Ok(()) };
        Cause::Load.of(self.finish_loads_now()).await
    }

    async fn finish_loads_now(&self) -> Result<()> {
        loop {
            let under_way = {
                let mut ledger = self.ledger.lock().await;
                self.settle(&mut ledger).await?;
                ledger.manifest.manifest().loads_under_way().next().cloned()
            };
            match under_way {
                Some(load) => self.finish_load(load).await?,
                None => return Ok(()),
            }
        }
    }

    async fn finish_load(&self, load: LoadEntry) -> Result<()> {
        let descriptor = self.descriptor();
        // A family that was dropped meanwhile takes its files along: those here are collected, the others stay where they are.
        let wanted: Vec<&MovingFile> =
            load.moving.iter().filter(|file| descriptor.families.contains_key(&file.family)).collect();
        let moves: Vec<_> = wanted.iter().map(|file| self.move_here(file)).collect();
        let arrived: Vec<bool> = stream::iter(moves).buffered(SIDE_BY_SIDE).try_collect().await?;
        if arrived.contains(&false) {
            return self.undo_load(&load, &wanted, &arrived).await;
        }
        let opens: Vec<_> = wanted.iter().map(|file| self.open_moved(file)).collect();
        let readers: Vec<HFileReader> = stream::iter(opens).buffered(SIDE_BY_SIDE).try_collect().await?;

        // Collection, which may hold the ledger for long, holds this lock, too: writes never wait for it.
        let _flushing = self.flushing.lock().await;
        let _compactions = self.compactions.read().await;
        self.check_open()?;
        let _updates = self.updates.write().await;
        let seqno = self.mvcc.begin();
        let listed = self.list_load(&load, &wanted, readers, seqno).await;
        self.mvcc.complete(seqno);
        listed
    }

    async fn list_load(
        &self,
        load: &LoadEntry,
        wanted: &[&MovingFile],
        readers: Vec<HFileReader>,
        seqno: SeqNo,
    ) -> Result<()> {
        let mut made: Vec<(Bytes, Arc<StoreFile>)> = Vec::new();
        for (file, reader) in wanted.iter().zip(readers) {
            let reader = Arc::new(reader.loaded_as(seqno));
            self.readers.lock().insert(reader.name().to_owned(), Arc::downgrade(&reader));
            let entry = FileEntry {
                name: file.name.clone(),
                size: file.size,
                max_seq: seqno,
                cells: file.cells,
                major: false,
                // Marks the file, whatever the clock says.
                loaded_ms: load.at_ms.max(1),
            };
            made.push((file.family.clone(), Arc::new(StoreFile { entry, reader })));
        }
        let entries: Vec<(Bytes, FileEntry)> =
            made.iter().map(|(family, file)| (family.clone(), file.entry.clone())).collect();
        let commit = |manifest: &mut Manifest| {
            if let Some(known) = manifest.loads.iter_mut().find(|known| known.id == load.id) {
                known.moving.clear();
                known.seqno = seqno;
            }
            for (family, entry) in entries {
                if let Some(state) = manifest.families.get_mut(&family) {
                    state.files.push(entry);
                }
            }
        };
        let change = move |next: &mut Version| {
            for (family, file) in made {
                if let Some(store) = next.get_mut(&family) {
                    store.files.push(file);
                }
            }
        };
        self.publish(commit, change).await
    }

    async fn open_moved(&self, file: &MovingFile) -> Result<HFileReader> {
        let path = file_path(&self.info, &file.family, &file.name);
        let reader = HFileReader::open(&self.ctx.fs, &path, file.size, self.ctx.cache.clone()).await?;
        if reader.entry_count() != file.cells {
            let why = format!("it holds {} cells, {} when it was checked", reader.entry_count(), file.cells);
            return Err(StorageError::corrupt("store file", &path, file.size, why));
        }
        Ok(reader)
    }

    /// Brings a file to its name in the region's folder. False: it is nowhere any more.
    async fn move_here(&self, file: &MovingFile) -> Result<bool> {
        let (fs, path) = (&self.ctx.fs, file_path(&self.info, &file.family, &file.name));
        let mut lost_answer = None;
        for _ in 0..MOVE_TRIES {
            match fs.rename(&file.was, &path).await {
                Ok(PutOutcome::Created) => return Ok(true),
                // The name is the load's alone, so it is here: where renaming is copying, a copy whose original was not deleted any
                // more. Elsewhere what lies there now is something new.
                Ok(PutOutcome::Exists) => {
                    if !fs.appends() {
                        fs.delete(&file.was).await?;
                    }
                    lost_answer = None;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    lost_answer = None;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Unknown => lost_answer = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        match (fs.size(&path).await?, lost_answer) {
            (Some(size), _) if size == file.size => Ok(true),
            (Some(size), _) => {
                let why = format!("it has {size} bytes, {} when it was checked", file.size);
                Err(StorageError::corrupt("store file", &path, size, why))
            }
            (None, Some(error)) => Err(error.into()),
            (None, None) => Ok(false),
        }
    }

    /// A file is gone, so nobody was told that the load stands: what has been moved goes back where it was, and the load is forgotten.
    async fn undo_load(&self, load: &LoadEntry, wanted: &[&MovingFile], arrived: &[bool]) -> Result<()> {
        for (file, _) in wanted.iter().zip(arrived).filter(|(_, here)| **here) {
            let path = file_path(&self.info, &file.family, &file.name);
            match self.ctx.fs.rename(&path, &file.was).await {
                Ok(PutOutcome::Created) => {}
                // Something else lies there now: this one is kept here until collection.
                Ok(PutOutcome::Exists) => tracing::warn!(load = load.id, was = file.was, "its place is taken"),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let gone = wanted.iter().zip(arrived).find(|(_, here)| !**here).map(|(file, _)| file.was.as_str());
        tracing::warn!(region = self.name(), load = load.id, gone, "a bulk load is undone: a file of it is gone");
        let forget = |manifest: &mut Manifest| manifest.loads.retain(|known| known.id != load.id);
        self.publish(forget, |_| {}).await
    }
}

/// Adds a load, and forgets ids that are old or too many.
fn decide(manifest: &mut Manifest, load: LoadEntry) {
    let from_ms = load.at_ms.saturating_sub(IDS_FOR_MS);
    manifest.loads.retain(|known| known.at_ms >= from_ms || !known.moving.is_empty());
    let too_many = (manifest.loads.len() + 1).saturating_sub(IDS_MAX);
    // Oldest first; at most one is under way, and that is the newest.
    manifest.loads.drain(..too_many.min(manifest.loads.len()));
    manifest.loads.push(load);
}
