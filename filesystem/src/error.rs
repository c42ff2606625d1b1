//! Why a storage operation failed.

use std::fmt;
use std::io;

/// What the caller can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The object does not exist.
    NotFound,
    /// The name is taken.
    Exists,
    /// No space is left.
    Full,
    /// Storage could not be reached or refused; nothing happened.
    Unavailable,
    /// Storage asked to be asked less, for longer than the deadline; nothing happened.
    Busy,
    /// It may have happened.
    Unknown,
    /// Bytes are damaged.
    Corrupt,
    /// The request is wrong.
    Invalid,
    /// Permission is missing.
    Denied,
}

impl From<ErrorKind> for model::ErrorKind {
    fn from(kind: ErrorKind) -> model::ErrorKind {
        match kind {
            ErrorKind::NotFound => model::ErrorKind::NotFound,
            ErrorKind::Exists => model::ErrorKind::Exists,
            ErrorKind::Full => model::ErrorKind::Full,
            ErrorKind::Unavailable => model::ErrorKind::Unavailable,
            ErrorKind::Busy => model::ErrorKind::Busy,
            ErrorKind::Unknown => model::ErrorKind::Unknown,
            ErrorKind::Corrupt => model::ErrorKind::Corrupt,
            ErrorKind::Invalid => model::ErrorKind::Invalid,
            ErrorKind::Denied => model::ErrorKind::Denied,
        }
    }
}

/// A failed operation.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    path: String,
    message: String,
    source: Option<io::Error>,
}

/// Result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a message of ours.
    pub fn new(kind: ErrorKind, path: &str, message: impl Into<String>) -> Error {
        Error { kind, path: path.to_owned(), message: message.into(), source: None }
    }

    /// An operating system's error while doing `what`.
    pub fn io(path: &str, what: &str, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
            io::ErrorKind::InvalidInput => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        };
        Error { kind, path: path.to_owned(), message: format!("{what}: {source}"), source: Some(source) }
    }

    /// The same failure, for somebody else who waited for it.
    pub(crate) fn again(&self) -> Error {
        Error { kind: self.kind, path: self.path.clone(), message: self.message.clone(), source: None }
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The object.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. path=`{}`", self.message, self.path)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}
