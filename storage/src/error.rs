//! Why an operation of the engine failed.

use model::ErrorKind;
use model::cell::CellError;

/// Result of an engine operation.
pub type Result<T> = std::result::Result<T, StorageError>;

/// A failed operation, as facts; [`StorageError::kind`] says what the caller should do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A storage call failed.
    #[error("{0}")]
    Filesystem(#[from] filesystem::Error),
    /// Bytes on storage are damaged.
    #[error("{what} is damaged: {why}. file=`{file}`, offset=`{offset}`")]
    Corrupt {
        /// What kind of file.
        what: &'static str,
        /// What is wrong.
        why: String,
        /// The file.
        file: String,
        /// Where.
        offset: u64,
    },
    /// A file of a newer version of the software.
    #[error("{what} has format version {found}, this build reads up to {known}: use a newer build. file=`{file}`")]
    Newer {
        /// What kind of file.
        what: &'static str,
        /// Its version.
        found: u32,
        /// The newest version known.
        known: u32,
        /// The file.
        file: String,
    },
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A cell could not be made.
    #[error("{0}")]
    Cell(#[from] CellError),
    /// A family does not exist.
    #[error("column family `{family}` does not exist in region {region}")]
    NoSuchFamily {
        /// The family.
        family: String,
        /// The region.
        region: String,
    },
    /// The row lies outside the region.
    #[error("row lies outside the region. row=`{row}`, region=`{region}`")]
    WrongRegion {
        /// The row, shortened.
        row: String,
        /// The region.
        region: String,
    },
    /// A bound was reached.
    #[error("too busy: {0}; try again")]
    Busy(String),
    /// The caller's time was over before anything was begun.
    #[error("the time of the call was over before the write began; nothing of it happened")]
    Late,
    /// The region or log is closed or closing.
    #[error("{0} is closing")]
    Closing(String),
    /// Somebody else took over.
    #[error("{0} has been taken over by another process")]
    Fenced(String),
    /// The log could not make a write durable; it may still turn up after a restart.
    #[error("the log could not be written: {0}")]
    Log(String, ErrorKind),
    /// A value has another width than an increment needs.
    #[error("{0}")]
    NotANumber(String),
}

impl StorageError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StorageError::Filesystem(error) => error.kind().into(),
            StorageError::Corrupt { .. } => ErrorKind::Corrupt,
            StorageError::Newer { .. }
            | StorageError::Invalid(_)
            | StorageError::Cell(_)
            | StorageError::NotANumber(_) => ErrorKind::Invalid,
            StorageError::NoSuchFamily { .. } => ErrorKind::NotFound,
            StorageError::WrongRegion { .. } => ErrorKind::Moved,
            StorageError::Busy(_) | StorageError::Late => ErrorKind::Busy,
            StorageError::Closing(_) => ErrorKind::NotServing,
            StorageError::Fenced(_) => ErrorKind::Fenced,
            StorageError::Log(_, kind) => *kind,
        }
    }

    /// Damaged bytes.
    pub fn corrupt(what: &'static str, file: &str, offset: u64, why: impl Into<String>) -> StorageError {
        StorageError::Corrupt { what, why: why.into(), file: file.to_owned(), offset }
    }
}
