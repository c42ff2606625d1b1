//! What can be done to a row, as plain data.
//!
//! Invariants
//! - All cells of a [`Mutation`] lie in its row.
//! - A cell with [`LATEST_TIMESTAMP`](crate::LATEST_TIMESTAMP) is stamped by the region at the write; nothing with it is ever stored.

use bytes::Bytes;

use crate::cell::{Cell, LATEST_TIMESTAMP};
use crate::filter::{Comparator, CompareOp, Filter};
use crate::query::TimeRange;

/// How durable a write must be before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The table's setting, else [`Durability::SyncWal`].
    #[default]
    UseDefault,
    /// Not logged: lost with the process unless flushed.
    SkipWal,
    /// Logged soon, acknowledged at once.
    AsyncWal,
    /// Logged and synced before the acknowledgment.
    SyncWal,
    /// As `SyncWal`, forced to the device.
    FsyncWal,
}

/// What a [`Mutation`] does with its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutationKind {
    /// Stores the cells (delete markers among them are legal, as in HBase).
    Put,
    /// Stores the markers; no cells at all means: delete every family at the mutation's timestamp. A cell of type
    /// `DELETE` with the latest timestamp removes the newest version.
    Delete,
    /// Adds each cell's value, 8 bytes big-endian, to the column.
    Increment,
    /// Appends each cell's value to the column's.
    Append,
}

/// One change of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// What is done.
    pub kind: MutationKind,
    /// The row.
    pub row: Bytes,
    /// Used by a [`MutationKind::Delete`] without cells.
    pub timestamp: i64,
    /// The cells, in the caller's order.
    pub cells: Vec<Cell>,
    /// How durable.
    pub durability: Durability,
    /// Cells' time to live in milliseconds (attribute `_ttl`): a tag of every put cell.
    pub ttl_ms: Option<i64>,
    /// Increment and append: which existing cells count.
    pub time_range: TimeRange,
    /// Increment and append: whether the new cells are wanted back.
    pub return_results: bool,
    /// Attributes kept for their own sake.
    pub attributes: Vec<(String, Bytes)>,
}

impl Mutation {
    /// An empty mutation of a row.
    pub fn new(kind: MutationKind, row: impl Into<Bytes>) -> Mutation {
        Mutation {
            kind,
            row: row.into(),
            timestamp: LATEST_TIMESTAMP,
            cells: Vec::new(),
            durability: Durability::UseDefault,
            ttl_ms: None,
            time_range: TimeRange::ALL,
            return_results: true,
            attributes: Vec::new(),
        }
    }
}

/// Identifies one attempt of an increment, append or check-and-mutate, so that a retry happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce {
    /// The client process.
    pub group: u64,
    /// The operation; never 0.
    pub nonce: u64,
}

/// What must hold of a row for a [`CheckAndMutate`] to happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The newest cell of a column within a time range compares so: `expected OP stored`, HBase's operand order.
    /// An empty expected value means "missing or empty" (hbase-wire.md §2.6).
    Column {
        /// Family.
        family: Bytes,
        /// Qualifier.
        qualifier: Bytes,
        /// Operator.
        op: CompareOp,
        /// Only its value bytes are used, as in HBase.
        comparator: Comparator,
        /// Which stored cells count.
        time_range: TimeRange,
    },
    /// The filter lets a cell of the row pass.
    Filter {
        /// The filter.
        filter: Filter,
        /// Which stored cells count.
        time_range: TimeRange,
    },
}

/// Mutations of one row that happen all or not at all, if the condition holds.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckAndMutate {
    /// The row.
    pub row: Bytes,
    /// The condition.
    pub condition: Condition,
    /// What to do.
    pub mutations: Vec<Mutation>,
}
