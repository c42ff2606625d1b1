//! The Rust client: finds regions, sends calls, retries, scans and administers.
//!
//! Always true
//! - Every operation has one deadline and a bounded number of attempts; what an error says names the operation, the table, the
//!   row, the attempts and the last cause.
//! - A region's location is a guess: it is forgotten when a server disowns the region, kept when the server is only busy.
//! - Increments, appends and check-and-mutates carry a nonce that stays the same over retries, so that they happen once.
//! - Batches, buffers and scans hold a bounded number of bytes.
//!
//! Not here: messages and transports (`protocol`), anything that is stored.

pub mod admin;
pub mod batch;
pub mod buffered;
mod calls;
pub mod connection;
pub mod error;
mod location;
mod retry;
mod row;
pub mod scan;
pub mod split;
pub mod table;

pub use admin::{Admin, RegionLocation};
pub use batch::{Action, ActionResult};
pub use buffered::{BufferSettings, BufferedMutator, FlushError, MutationFailure};
pub use connection::{Connection, ConnectionBuilder};
pub use error::ClientError;
pub use model::schema::Namespace;
pub use protocol::meta::ServerName;
pub use protocol::status::{ClusterStatus, RegionLoad, ServerLoad};
pub use row::Row;
pub use scan::RowStream;
pub use table::Table;

/// What the client's operations return.
pub type Result<T, E = ClientError> = std::result::Result<T, E>;
