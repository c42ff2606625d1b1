//! What Ferrobase talks about: cells and their order, schemas, regions, operations and filters.
//!
//! Invariants
//! - Pure: no I/O, no clock, no randomness, no async. Everything that needs "now" takes it as an argument.
//! - There is one cell order, [`cell::CellOrder`], with META's variant beside it.
//! - Values parsed from bytes were validated once, at construction; accessors never fail afterwards.
//!
//! Not here: messages (`protocol`), storage formats (`storage`).

pub mod cell;
pub mod error;
pub mod filter;
pub mod mutation;
pub mod query;
pub mod region;
pub mod schema;

pub use cell::{Cell, CellError, CellOrder, CellRef, CellType, KeyRef, LATEST_TIMESTAMP, SeqNo};
pub use error::ErrorKind;
