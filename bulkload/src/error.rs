//! Why a bulk load or an export failed.

use model::ErrorKind;

/// Result of a step of a bulk load or an export.
pub type Result<T> = std::result::Result<T, LoadError>;

/// A failed step, as facts.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What was asked for cannot be; nothing was touched.
    #[error("{0}")]
    Usage(String),
    /// An input cannot be read.
    #[error("{what}: {why}. file=`{file}`")]
    Input {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        why: String,
        /// The file.
        file: String,
    },
    /// A file is not what it says it is, or is cut short.
    #[error("{why}. file=`{file}`, offset=`{offset}`; nothing was loaded")]
    Damaged {
        /// What was found.
        why: String,
        /// The file.
        file: String,
        /// Where, in bytes from its beginning.
        offset: u64,
    },
    /// More records were bad than may be.
    #[error("{count} bad records, {max} may be: {why}. file=`{file}`, {unit}=`{at}`; nothing was loaded")]
    TooManyRejects {
        /// Bad records so far.
        count: u64,
        /// How many may be.
        max: u64,
        /// What is wrong with the last one.
        why: String,
        /// Its file.
        file: String,
        /// What its place is counted in: lines, rows, or bytes.
        unit: &'static str,
        /// Its place.
        at: u64,
    },
    /// The cluster said no, or nothing.
    #[error("{0}")]
    Client(#[from] client::ClientError),
    /// A store file cannot be read or made.
    #[error("{0}")]
    Storage(#[from] storage::StorageError),
    /// A storage call failed.
    #[error("{0}")]
    Filesystem(#[from] filesystem::Error),
    /// A row cannot be written as was asked.
    #[error("{why}. row=`{row}`")]
    Row {
        /// Why, and what could be done.
        why: String,
        /// The row, for people.
        row: String,
    },
    /// Cells could not be made into bytes.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// Regions changed their borders again and again.
    #[error(
        "{left} files still do not fit the table's regions after {rounds} rounds; run it again with the same load id"
    )]
    Restless {
        /// Files left.
        left: usize,
        /// Rounds tried.
        rounds: usize,
    },
}

impl LoadError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            LoadError::Usage(_) | LoadError::Input { .. } | LoadError::TooManyRejects { .. } => ErrorKind::Invalid,
            LoadError::Damaged { .. } => ErrorKind::Corrupt,
            LoadError::Row { .. } => ErrorKind::Invalid,
            LoadError::Encode(_) => ErrorKind::Internal,
            LoadError::Client(error) => error.kind(),
            LoadError::Storage(error) => error.kind(),
            LoadError::Filesystem(error) => error.kind().into(),
            LoadError::Restless { .. } => ErrorKind::Busy,
        }
    }
}
