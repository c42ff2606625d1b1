//! The cluster's other log roots, as far as this process has met them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use filesystem::{Error, ErrorKind, Filesystem};
use parking_lot::RwLock;

/// Finds a log root by its id.
#[async_trait]
pub trait FindRoot: Send + Sync + Debug {
    /// Opens the root to read it, sure that it is the one meant.
    async fn find(&self, id: u32) -> filesystem::Result<Arc<dyn Filesystem>>;
}

#[derive(Debug, Default)]
pub(super) struct Roots {
    known: RwLock<BTreeMap<u32, Arc<dyn Filesystem>>>,
    finder: RwLock<Option<Arc<dyn FindRoot>>>,
}

impl Roots {
    pub fn add(&self, id: u32, fs: Arc<dyn Filesystem>) {
        self.known.write().insert(id, fs);
    }

    pub fn find_by(&self, finder: Arc<dyn FindRoot>) {
        *self.finder.write() = Some(finder);
    }

    pub fn all(&self) -> Vec<(u32, Arc<dyn Filesystem>)> {
        self.known.read().iter().map(|(id, fs)| (*id, fs.clone())).collect()
    }

    /// The root with this id. Which one it is nobody guesses: a stream that is looked for on another one seems lost.
    pub async fn get(&self, id: u32) -> filesystem::Result<Arc<dyn Filesystem>> {
        if let Some(fs) = self.known.read().get(&id) {
            return Ok(fs.clone());
        }
        let finder = self.finder.read().clone();
        let Some(finder) = finder else {
            let why = format!("log root {id:x} is not known to this process");
            return Err(Error::new(ErrorKind::Invalid, super::FOLDER, why));
        };
        let fs = finder.find(id).await?;
        self.add(id, fs.clone());
        Ok(fs)
    }
}
