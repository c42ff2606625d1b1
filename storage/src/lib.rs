//! The single-node engine: a [`region::Region`] opens on a filesystem with no server around it.
//!
//! Floors inside this crate: `error` < `source`, `mvcc`, `row_lock`, `nonce`, `budget` < `wal`, `file`, `memtable`, `manifest` < `collect`, `read` < `compaction` < `region`.
//!
//! Always true
//! - Storage has never heard of servers, clusters or messages.
//! - A cell is visible only after its log entry is as durable as its mutation asked; visibility advances in seqno order.
//! - A committed store file is never modified.

pub mod budget;
pub mod cache;
pub mod collect;
pub mod compaction;
pub mod error;
pub mod file;

pub mod manifest;
pub mod memtable;
pub mod mvcc;
pub mod nonce;
#[cfg(any(test, feature = "testing"))]
pub mod oracle;
pub mod read;
pub mod region;
pub mod row_lock;
pub mod source;
pub mod wal;

pub use error::{Result, StorageError};
