//! What a region holds, for those who decide about it and those who watch it.

use bytes::Bytes;

use super::{Region, StoreVersion};
use crate::file::reader::HFileReader;

/// What one family holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreLoad {
    /// The family.
    pub family: Bytes,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Store files.
    pub files: usize,
    /// Their bytes.
    pub file_bytes: u64,
    /// Their bytes before compression and encoding, as far as the files say.
    pub uncompressed_bytes: u64,
    /// Their indexes, uncompressed, as far as the files say.
    pub index_bytes: u64,
    /// Their cells.
    pub cells: u64,
    /// Largest sequence number in files; 0 without files.
    pub flushed: u64,
    /// When the oldest file that a major compaction wrote was made, in milliseconds; 0 if there is none.
    pub major_ms: i64,
}

impl StoreLoad {
    fn of(family: &Bytes, store: &StoreVersion) -> StoreLoad {
        let files = &store.files;
        let sum = |of: fn(&HFileReader) -> u64| files.iter().map(|file| of(&file.reader)).sum::<u64>();
        let major = files.iter().filter(|file| file.entry.major).filter_map(|file| file.reader.created_ms());
        StoreLoad {
            family: family.clone(),
            memtable_bytes: store.memtable_bytes(),
            files: files.len(),
            file_bytes: files.iter().map(|file| file.entry.size).sum(),
            uncompressed_bytes: sum(HFileReader::uncompressed_bytes),
            index_bytes: sum(HFileReader::index_bytes),
            cells: files.iter().map(|file| file.entry.cells).sum(),
            flushed: files.iter().map(|file| file.entry.max_seq.0).max().unwrap_or(0),
            major_ms: major.min().unwrap_or(0),
        }
    }
}

impl Region {
    /// What each family holds.
    pub fn loads(&self) -> Vec<StoreLoad> {
        let version = self.version.read().clone();
        version.iter().map(|(family, store)| StoreLoad::of(family, store)).collect()
    }

    /// Streams of earlier openings whose entries of this region only its memtables hold: until a flush they stay on storage.
    pub async fn old_streams(&self) -> usize {
        if self.memtable_bytes() == 0 {
            return 0;
        }
        let own = self.ctx.log.id();
        self.ledger.lock().await.manifest.manifest().needs.iter().filter(|need| **need != own).count()
    }

    /// Its name in the log ([`crate::wal::Log::oldest_regions`]).
    pub fn log_name(&self) -> &Bytes {
        &self.log_name
    }
}
