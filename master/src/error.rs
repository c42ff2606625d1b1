//! Why something the master does failed.

use coordination::CoordinationError;
use model::ErrorKind;
use protocol::service::RpcError;
use storage::StorageError;

/// Result of the master's work.
pub type Result<T> = std::result::Result<T, MasterError>;

/// A failed operation; [`MasterError::kind`] says what the caller should do.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The engine failed.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// A catalog or table head could not be read or written.
    #[error("{0}")]
    Coordination(#[from] CoordinationError),
    /// A storage call failed.
    #[error("{0}")]
    Filesystem(#[from] filesystem::Error),
    /// A call failed, or a request is refused.
    #[error("{0}")]
    Rpc(#[from] RpcError),
}

impl MasterError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            MasterError::Storage(error) => error.kind(),
            MasterError::Coordination(error) => error.kind(),
            MasterError::Filesystem(error) => error.kind().into(),
            MasterError::Rpc(error) => error.kind,
        }
    }

    /// Whether time alone may mend it.
    pub(crate) fn is_passing(&self) -> bool {
        // What is denied or full is mended by people; the work then goes on by itself.
        self.kind().is_retriable() || matches!(self.kind(), ErrorKind::Unknown | ErrorKind::Denied | ErrorKind::Fenced)
    }
}

impl From<MasterError> for RpcError {
    fn from(error: MasterError) -> RpcError {
        let kind = error.kind();
        match error {
            MasterError::Rpc(error) => error,
            // A missing object is our loss, not a thing the caller named.
            error if kind == ErrorKind::NotFound => RpcError::new(ErrorKind::Corrupt, error.to_string()),
            error => RpcError::new(kind, error.to_string()),
        }
    }
}
