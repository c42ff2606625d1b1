//! The kinds of failure a caller can react to. They cross crates and the wire.
//!
//! A kind exists only if a caller would act differently because of it.

use std::fmt;

/// What the caller of a failed operation should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The region lives elsewhere: locate it again, retry.
    Moved,
    /// The server does not hold the region (yet, or any more): locate again, retry with a pause.
    NotServing,
    /// A bound was reached (memory, queue, row too busy): retry with a pause.
    Busy,
    /// The request itself is wrong; retrying cannot help.
    Invalid,
    /// A named table, namespace, family, scanner or object does not exist.
    NotFound,
    /// A named thing exists already.
    Exists,
    /// The state of a named thing forbids the operation (for example a table that is not disabled).
    Conflict,
    /// The caller may not do this.
    Denied,
    /// The store is full; writes resume by themselves when space returns. Reads go on.
    Full,
    /// Storage or a peer could not be reached in time; nothing happened. Retry.
    Unavailable,
    /// The operation may have happened: retry only with the same nonce.
    Unknown,
    /// Bytes on storage are damaged; the message names file and offset.
    Corrupt,
    /// This process has been replaced by another one and must stop serving.
    Fenced,
    /// A broken invariant of ours.
    Internal,
}

impl ErrorKind {
    /// Whether trying the same request again may succeed without anybody acting.
    pub fn is_retriable(self) -> bool {
        matches!(
            self,
            ErrorKind::Moved | ErrorKind::NotServing | ErrorKind::Busy | ErrorKind::Full | ErrorKind::Unavailable
        )
    }

    /// The kind's name in logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Moved => "moved",
            ErrorKind::NotServing => "not-serving",
            ErrorKind::Busy => "busy",
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not-found",
            ErrorKind::Exists => "exists",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Denied => "denied",
            ErrorKind::Full => "full",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Unknown => "unknown",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Fenced => "fenced",
            ErrorKind::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
