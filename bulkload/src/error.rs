//! Why a bulk load failed.

use model::ErrorKind;

/// Result of a step of a bulk load.
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
    /// More records were bad than may be.
    #[error("{count} bad records, {max} may be: {why}. file=`{file}`, line=`{line}`; nothing was loaded")]
    TooManyRejects {
        /// Bad records so far.
        count: u64,
        /// How many may be.
        max: u64,
        /// What is wrong with the last one.
        why: String,
        /// Its file.
        file: String,
        /// Its line.
        line: u64,
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
            LoadError::Client(error) => error.kind(),
            LoadError::Storage(error) => error.kind(),
            LoadError::Filesystem(error) => error.kind().into(),
            LoadError::Restless { .. } => ErrorKind::Busy,
        }
    }
}
