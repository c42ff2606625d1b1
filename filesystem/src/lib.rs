//! Storage as three capabilities: blobs, registers and logs. Not a POSIX file system.
//!
//! - A *blob* is written once and then only read or deleted.
//! - A *register* is a small object changed only by compare-and-set.
//! - A *log* is a file that one writer creates exclusively, appends to and syncs.
//!
//! Always true
//! - A reader never sees an empty or half blob or register.
//! - What an operation confirmed survives a crash of the machine, except log bytes appended and not yet synced.
//! - An operation that failed with [`ErrorKind::Unknown`] may have happened; every other failure of a write means it had
//!   no effect that a reader takes for a value.
//! - Paths are keys `a/b/c` below the root; they never leave it.

pub mod cached;
mod cause;
mod checksum;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
#[cfg(any(test, feature = "testing"))]
pub mod flaky;
pub mod hdfs;
pub mod local;
pub mod memory;
mod path;
mod pointer;
pub mod s3;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use cause::Cause;
pub use checksum::{crc32c, crc32c_of};
pub use error::{Error, ErrorKind, Result};
pub use path::check_key;

/// Longest register head in bytes.
pub const HEAD_LEN_MAX: usize = 160;

/// Outcome of a blob put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// This call created it.
    Created,
    /// The name is taken; nothing was written.
    Exists,
}

/// Identifies one value of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(crate) String);

/// A value of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterValue {
    /// Which value this is; hand it to the swap.
    pub version: Version,
    /// The head.
    pub head: String,
    /// The body.
    pub body: Bytes,
}

/// Outcome of creating a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// This call created it.
    Created(Version),
    /// It exists, with this value.
    Exists(RegisterValue),
}

/// Outcome of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// The new value stands.
    Swapped(Version),
    /// The register holds another value than expected (`None`: it does not exist). The caller drops what it holds.
    Superseded(Option<RegisterValue>),
}

/// Outcome of creating a log.
#[derive(Debug)]
pub enum LogOutcome {
    /// Created; this is its only writer.
    Created(Box<dyn LogWriter>),
    /// The name is taken.
    Exists,
}

/// Outcome of locking a root.
#[derive(Debug)]
pub enum LockOutcome {
    /// Locked until the value is dropped.
    Locked(RootLock),
    /// Held by a living process, which wrote this text.
    Held(String),
}

/// A lock on a root; dropping it frees the root.
#[derive(Debug)]
pub struct RootLock {
    _guard: Box<dyn Debug + Send + Sync>,
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
}

/// What a writer that neither finished nor gave up has left; perhaps it still lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The key that was to be made: of a blob, or of a register.
    pub path: String,
    /// Where it lies until then; only the back end knows what that means.
    pub(crate) aside: String,
}

/// Writes one blob; nothing is visible before [`BlobWriter::finish`].
#[async_trait]
pub trait BlobWriter: Send + Debug {
    /// Appends bytes.
    async fn write(&mut self, data: Bytes) -> Result<()>;
    /// Makes the blob durable and visible; answers its length. [`ErrorKind::Exists`] if the name is taken.
    async fn finish(self: Box<Self>) -> Result<u64>;
    /// Drops what was written.
    async fn abort(self: Box<Self>);
}

/// Reads one blob or log; stays usable when the name is deleted, where the back end can do that.
#[async_trait]
pub trait BlobReader: Send + Sync + Debug {
    /// Bytes from `offset`; fewer than `len` only at the end.
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes>;
    /// Forgets what is kept of a range nearer than the store: its bytes turned out to be damaged.
    async fn distrust(&self, _offset: u64, _len: u64) {}
    /// Length when it was opened, if that is known without asking.
    fn size(&self) -> Option<u64> {
        None
    }
}

/// Appends to one log.
#[async_trait]
pub trait LogWriter: Send + Sync + Debug {
    /// Appends bytes, not yet durable. After an error the length on storage is unknown: no further append is allowed.
    async fn append(&mut self, data: Bytes) -> Result<()>;
    /// Makes everything appended durable. An error means nothing is known about what was appended since the last one.
    async fn sync(&mut self) -> Result<()>;
    /// Appends, makes it durable, and only then looks in `fs`, which holds this log, whether the name `next` is taken. What
    /// [`LogWriter::append`] and [`LogWriter::sync`] say of errors holds; a failed look is one too. A back end whose
    /// [`Filesystem::log_seal`] stops writers need not look: false is enough as long as the log is not sealed.
    async fn commit(&mut self, data: Bytes, fs: &dyn Filesystem, next: &str) -> Result<bool> {
        self.append(data).await?;
        self.sync().await?;
        fs.exists(next).await
    }
    /// Bytes appended.
    fn len(&self) -> u64;
    /// Most bytes that storage may hold of it. After an error that can be more than [`LogWriter::len`]; less than with all that the failed
    /// call was given means that this is surely not there whole.
    fn holds_at_most(&self) -> u64 {
        u64::MAX
    }
    /// Whether nothing was appended.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A storage root.
#[async_trait]
pub trait Filesystem: Send + Sync + Debug {
    /// Puts a whole blob unless the name is taken. Durable when it answers.
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome>;
    /// Starts a blob.
    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>>;
    /// Opens a blob or log for reading. Of a log that was not sealed it may show less than was made durable.
    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>>;
    /// Opens a finished blob of which the length is known, if possible without asking the store.
    async fn open_known(&self, path: &str, size: u64) -> Result<Arc<dyn BlobReader>> {
        let _ = size; // for those who have to ask anyway
        self.open(path).await
    }
    /// Length of a blob or log; `None` if absent.
    async fn size(&self, path: &str) -> Result<Option<u64>>;
    /// Deletes a blob or log; absent is fine.
    async fn delete(&self, path: &str) -> Result<()>;
    /// Deletes a register with everything in it; absent is fine. For objects whose name is never used again.
    async fn delete_register(&self, path: &str) -> Result<()>;
    /// Renames a blob unless the new name is taken. Maintenance only.
    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome>;
    /// Blobs and logs below a folder, at any depth. Maintenance only: never on the serving path.
    async fn list(&self, folder: &str) -> Result<Vec<Entry>>;
    /// What writers have begun below a folder, at any depth, and not finished. Maintenance only.
    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>>;
    /// Removes what such a writer has left; if it still lives, it cannot finish any more. Finished meanwhile or gone is fine.
    async fn abandon(&self, unfinished: &Unfinished) -> Result<()>;

    /// Creates a register.
    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome>;
    /// Reads a register; `None` if absent.
    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>>;
    /// Reads a register, and what it reads is never taken back by a crash: to be used before deleting on its word.
    async fn register_read_settled(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.register_read(path).await
    }
    /// Swaps a register's value if it still is `expected`; body `None` keeps the body.
    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome>;

    /// Whether [`Filesystem::log_create`] works: an object store has no append, and a log there is numbered blobs.
    fn appends(&self) -> bool {
        true
    }
    /// Creates a log exclusively. [`ErrorKind::Invalid`] where [`Filesystem::appends`] says no.
    async fn log_create(&self, path: &str) -> Result<LogOutcome>;
    /// Creates a log exclusively, its first bytes durable. After an error the name may be taken, with or without these bytes.
    async fn log_begin(&self, path: &str, first: Bytes) -> Result<LogOutcome> {
        let mut outcome = self.log_create(path).await?;
        if let LogOutcome::Created(writer) = &mut outcome {
            writer.append(first).await?;
            writer.sync().await?;
        }
        Ok(outcome)
    }
    /// Ends the writing of a log and answers its length; `None` if absent. From then on its bytes are all there to be read, and a
    /// writer that still lives makes nothing more durable in it, where the back end can see to that; any number of callers, any
    /// number of times. It may take minutes while machines are missing.
    async fn log_seal(&self, path: &str) -> Result<Option<u64>> {
        self.size(path).await
    }
    /// Whether the name is taken.
    async fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.size(path).await?.is_some())
    }

    /// Locks the root for one process; `holder` says who, for people. A back end of many machines has no such lock and always
    /// answers that it is locked: there the leader register decides.
    async fn lock_root(&self, holder: &str) -> Result<LockOutcome>;

    /// What was sent to a store that bills requests.
    fn requests(&self) -> Option<&s3::requests::Requests> {
        None
    }

    /// What a cache before the store has done.
    fn cache(&self) -> Option<&cached::Counters> {
        None
    }

    /// Reads part of a blob or log without keeping it open.
    async fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes> {
        self.open(path).await?.read_at(offset, len).await
    }
}

fn no_appends(path: &str) -> Error {
    Error::new(ErrorKind::Invalid, path, "this storage cannot append to an object")
}

fn check_head(path: &str, head: &str) -> Result<()> {
    let good = head.len() <= HEAD_LEN_MAX && head.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if good {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Invalid,
            path,
            "a register head is at most 160 printable ASCII bytes without `/` and `:`",
        ))
    }
}
