//! What a load has done, and how far it is.

use serde::Serialize;

/// What a load has done, for people and schedulers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The table.
    pub table: String,
    /// The load's id: with the same one a run goes on where this one ended.
    pub load_id: String,
    /// Nothing was loaded, because that was asked for.
    pub dry_run: bool,
    /// Input files.
    pub inputs: u64,
    /// Their bytes, as they lie on storage.
    pub input_bytes: u64,
    /// Records read from text.
    pub records: u64,
    /// Of these, bad ones.
    pub rejected: u64,
    /// Store files offered to regions.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their cells.
    pub cells: u64,
    /// Inputs that were passed over: they hold no cells, or are not meant to be loaded.
    pub skipped: u64,
    /// Store files copied below the store's root.
    pub copied: u64,
    /// Store files that crossed a region's border, and were written anew in parts.
    pub split: u64,
    /// Regions that took files.
    pub regions: u64,
    /// Regions that had taken this load before.
    pub regions_before: u64,
    /// Time taken, in seconds.
    pub seconds: f64,
}

/// Is told how far a load is.
pub trait Progress: Send + Sync {
    /// A phase begins, of so many bytes; 0: nobody knows.
    fn phase(&self, name: &'static str, bytes: u64);
    /// So many more bytes are done.
    fn done(&self, bytes: u64);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &'static str, _: u64) {}
    fn done(&self, _: u64) {}
}
