//! What the server has done since it was started. All counters only rise.

use std::sync::atomic::{AtomicU64, Ordering};

use model::ErrorKind;
use model::mutation::{Mutation, MutationKind};
use storage::collect::Collected;

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Kinds of requests, counted apart. Actions of a Multi count on their own, beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Put,
    Delete,
    Increment,
    Append,
    CheckAndMutate,
    Scan,
    Multi,
    BulkLoad,
    Admin,
}

impl Kind {
    pub const ALL: [(Kind, &'static str); 10] = [
        (Kind::Get, "get"),
        (Kind::Put, "put"),
        (Kind::Delete, "delete"),
        (Kind::Increment, "increment"),
        (Kind::Append, "append"),
        (Kind::CheckAndMutate, "check_and_mutate"),
        (Kind::Scan, "scan"),
        (Kind::Multi, "multi"),
        (Kind::BulkLoad, "bulk_load"),
        (Kind::Admin, "admin"),
    ];

    pub fn of(change: &Mutation) -> Kind {
        match change.kind {
            MutationKind::Put => Kind::Put,
            MutationKind::Delete => Kind::Delete,
            MutationKind::Increment => Kind::Increment,
            MutationKind::Append => Kind::Append,
        }
    }
}

/// Kinds of failures that are counted.
pub(crate) const FAILURES: [ErrorKind; 14] = [
    ErrorKind::Moved,
    ErrorKind::NotServing,
    ErrorKind::Busy,
    ErrorKind::Invalid,
    ErrorKind::NotFound,
    ErrorKind::Exists,
    ErrorKind::Conflict,
    ErrorKind::Denied,
    ErrorKind::Full,
    ErrorKind::Unavailable,
    ErrorKind::Unknown,
    ErrorKind::Corrupt,
    ErrorKind::Fenced,
    ErrorKind::Internal,
];

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    requests: [Count; Kind::ALL.len()],
    failures: [Count; FAILURES.len()],
    /// Rows that reads looked at.
    pub rows_read: Count,
    /// Of these, rows that a filter left nothing of.
    pub rows_filtered: Count,
    /// Mutations, also those that failed.
    pub mutations: Count,
    /// Writes refused because memory or a flush was behind.
    pub blocked_writes: Count,
    pub flushes: Count,
    pub flushed_bytes: Count,
    pub flush_failures: Count,
    pub compactions_minor: Count,
    pub compactions_major: Count,
    /// Bytes that compactions read.
    pub compacted_bytes: Count,
    pub compaction_failures: Count,
    /// Bulk loads that were taken in, and their files.
    pub loads: Count,
    pub loaded_files: Count,
    collected_files: Count,
    collected_bytes: Count,
}

impl Counts {
    pub fn collected(&self, done: &Collected) {
        self.collected_files.add(done.files + done.unfinished);
        self.collected_bytes.add(done.bytes);
    }

    /// Left-over files that were deleted, and their bytes.
    pub fn collections(&self) -> (u64, u64) {
        (self.collected_files.get(), self.collected_bytes.get())
    }

    pub fn request(&self, kind: Kind) {
        self.requests[kind as usize].add(1);
    }

    pub fn requests(&self, kind: Kind) -> u64 {
        self.requests[kind as usize].get()
    }

    pub fn failure(&self, kind: ErrorKind) {
        if let Some(at) = FAILURES.iter().position(|known| *known == kind) {
            self.failures[at].add(1);
        }
    }

    pub fn failures(&self, kind: ErrorKind) -> u64 {
        FAILURES.iter().position(|known| *known == kind).map_or(0, |at| self.failures[at].get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place() {
        let counts = Counts::default();
        for (at, (kind, _)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
            (0..=at).for_each(|_| counts.request(*kind));
        }
        for (at, kind) in FAILURES.iter().enumerate() {
            (0..=at).for_each(|_| counts.failure(*kind));
        }
        assert!(Kind::ALL.iter().enumerate().all(|(at, (kind, _))| counts.requests(*kind) == at as u64 + 1));
        assert!(FAILURES.iter().enumerate().all(|(at, kind)| counts.failures(*kind) == at as u64 + 1));
    }
}
