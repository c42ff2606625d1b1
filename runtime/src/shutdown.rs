//! Telling tasks to end, as a tree: ending a parent ends its children.

use tokio_util::sync::CancellationToken;

/// A signal that is given once.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// Not signalled.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Signalled with this one, or alone.
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }

    /// Gives the signal.
    pub fn signal(&self) {
        self.0.cancel();
    }

    /// Whether the signal was given.
    pub fn is_signalled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for the signal.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}
