//! How many requests a back end has sent, by kind: they are what an object store bills.

use std::sync::atomic::{AtomicU64, Ordering};

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reads an object or a range of it.
    Get,
    /// Looks at an object.
    Head,
    /// Writes an object.
    Put,
    /// Copies an object inside the store.
    Copy,
    /// Deletes an object.
    Delete,
    /// Lists objects.
    List,
    /// Lists uploads in parts.
    ListUploads,
    /// Begins an upload in parts.
    UploadCreate,
    /// Writes one part.
    UploadPart,
    /// Makes an object of the parts.
    UploadComplete,
    /// Gives an upload up.
    UploadAbort,
    /// Asks the token service for credentials.
    Token,
}

impl Kind {
    /// Every kind, in the order of its counter.
    pub const ALL: [Kind; 12] = [
        Kind::Get,
        Kind::Head,
        Kind::Put,
        Kind::Copy,
        Kind::Delete,
        Kind::List,
        Kind::ListUploads,
        Kind::UploadCreate,
        Kind::UploadPart,
        Kind::UploadComplete,
        Kind::UploadAbort,
        Kind::Token,
    ];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Get => "get",
            Kind::Head => "head",
            Kind::Put => "put",
            Kind::Copy => "copy",
            Kind::Delete => "delete",
            Kind::List => "list",
            Kind::ListUploads => "list-uploads",
            Kind::UploadCreate => "upload-create",
            Kind::UploadPart => "upload-part",
            Kind::UploadComplete => "upload-complete",
            Kind::UploadAbort => "upload-abort",
            Kind::Token => "token",
        }
    }
}

/// Counters of one back end; they only grow.
#[derive(Debug, Default)]
pub struct Requests {
    sent: [AtomicU64; Kind::ALL.len()],
    /// Requests sent again for the same operation.
    pub repeated: AtomicU64,
    /// Answers that asked to slow down.
    pub slowed: AtomicU64,
    /// Requests without an answer: cut off, or not within the time of one try.
    pub unanswered: AtomicU64,
    /// Bytes of bodies sent.
    pub bytes_sent: AtomicU64,
    /// Bytes of bodies received.
    pub bytes_received: AtomicU64,
}

impl Requests {
    pub(super) fn count(&self, kind: Kind) {
        self.sent[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of a kind, each try counted.
    pub fn sent(&self, kind: Kind) -> u64 {
        self.sent[kind as usize].load(Ordering::Relaxed)
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.sent(*kind)).sum()
    }
}
