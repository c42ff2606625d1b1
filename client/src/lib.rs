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
//!
//! ```no_run
//! # use ferrobase_client as client;
//! use client::Connection;
//! use model::mutation::Mutation;
//! use model::query::{Get, Scan};
//! use model::schema::{FamilyDescriptor, TableDescriptor};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let connection = Connection::builder("localhost:16000").open().await?;
//! let cities = TableDescriptor::new("cities".parse()?).with_family(FamilyDescriptor::new("info"));
//! connection.admin().create_table(&cities, &[]).await?;
//!
//! let table = connection.table(cities.name.clone());
//! table.mutate(Mutation::put("lisbon").cell("info", "river", "Tejo")?).await?;
//! let lisbon = table.get(&Get::new("lisbon")).await?;
//! assert_eq!(lisbon.value("info", "river").as_deref(), Some(&b"Tejo"[..]));
//!
//! let mut rows = table.scan(Scan::default().with_prefix("l"));
//! while let Some(row) = rows.next_row().await? {
//!     println!("{} cells", row.cells.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `examples/client_tour.rs` shows everything else.
//!
//! # Retries
//!
//! An operation is tried again while that can help and its deadline ([`ConnectionBuilder::timeout`]) allows: after
//! connections that fail, regions that moved, servers that are busy, answers that are lost. Pauses grow and are scattered.
//! What cannot succeed (no such table, no such family, a table out of service, a cell that is too large) fails at once. A put
//! whose answer was lost may be done twice, which only shows as one more version; increments, appends, conditions and
//! schema changes carry a number by which servers tell a repetition from a new call.

#![warn(missing_docs)]

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
