//! Why an operation on the cluster's objects failed.

use model::ErrorKind;

/// Result of an operation on the cluster's objects.
pub type Result<T> = std::result::Result<T, CoordinationError>;

/// A failed operation; [`CoordinationError::kind`] says what the caller should do.
#[derive(Debug, thiserror::Error)]
pub enum CoordinationError {
    /// A storage call failed.
    #[error("{0}")]
    Filesystem(#[from] filesystem::Error),
    /// Bytes on storage are damaged.
    #[error("{what} is damaged: {why}. file=`{path}`")]
    Corrupt {
        /// What kind of object.
        what: &'static str,
        /// What is wrong.
        why: String,
        /// Its key.
        path: String,
    },
    /// An object of a newer version of the software.
    #[error("{what} has format version {found}, this build reads up to {known}: use a newer build. file=`{path}`")]
    Newer {
        /// What kind of object.
        what: &'static str,
        /// Its version.
        found: u32,
        /// The newest version known.
        known: u32,
        /// Its key.
        path: String,
    },
    /// Another master leads by now.
    #[error("another master has taken over. file=`{path}`, epoch=`{found}`, own=`{own}`")]
    Fenced {
        /// The object that says so.
        path: String,
        /// The epoch found in it.
        found: u32,
        /// The own epoch.
        own: u32,
    },
    /// Others kept winning.
    #[error("too many others change the object at the same time. file=`{path}`")]
    Contended {
        /// The object.
        path: String,
    },
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
}

impl CoordinationError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            CoordinationError::Filesystem(error) => error.kind().into(),
            CoordinationError::Corrupt { .. } => ErrorKind::Corrupt,
            CoordinationError::Newer { .. } | CoordinationError::Invalid(_) => ErrorKind::Invalid,
            CoordinationError::Fenced { .. } => ErrorKind::Fenced,
            CoordinationError::Contended { .. } => ErrorKind::Busy,
        }
    }
}
