//! What can be done to a row, as plain data.
//!
//! Invariants
//! - All cells of a [`Mutation`] lie in its row.
//! - A cell with [`LATEST_TIMESTAMP`](crate::LATEST_TIMESTAMP) is stamped by the region at the write; nothing with it is ever stored.

use bytes::Bytes;

use crate::cell::{Cell, CellError, CellType, LATEST_TIMESTAMP};
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
///
/// ```
/// # use ferrobase_model::mutation::Mutation;
/// let put = Mutation::put("row").cell("f", "name", "value")?.cell("f", "other", "value")?;
/// let count = Mutation::increment("row").amount("f", "visits", 1)?;
/// let delete = Mutation::delete("row").column("f", "name")?;
/// let whole_row = Mutation::delete("row");
/// # Ok::<(), ferrobase_model::CellError>(())
/// ```
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

    /// Stores cells: add them with [`Mutation::cell`].
    pub fn put(row: impl Into<Bytes>) -> Mutation {
        Mutation::new(MutationKind::Put, row)
    }

    /// Removes the whole row, or only what [`Mutation::column`] and [`Mutation::family`] name.
    pub fn delete(row: impl Into<Bytes>) -> Mutation {
        Mutation::new(MutationKind::Delete, row)
    }

    /// Adds to counters: name them with [`Mutation::amount`].
    pub fn increment(row: impl Into<Bytes>) -> Mutation {
        Mutation::new(MutationKind::Increment, row)
    }

    /// Appends to values: add them with [`Mutation::cell`].
    pub fn append(row: impl Into<Bytes>) -> Mutation {
        Mutation::new(MutationKind::Append, row)
    }

    fn with(mut self, cell: Result<Cell, CellError>) -> Result<Mutation, CellError> {
        self.cells.push(cell?);
        Ok(self)
    }

    /// With a cell, at the time of the write.
    ///
    /// # Errors
    /// Row, family or value are longer than a cell may hold, or the row is empty.
    pub fn cell(
        self,
        family: impl AsRef<[u8]>,
        qualifier: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Mutation, CellError> {
        self.cell_at(family, qualifier, LATEST_TIMESTAMP, value)
    }

    /// With a cell at a time in milliseconds.
    ///
    /// # Errors
    /// As [`Mutation::cell`].
    pub fn cell_at(
        self,
        family: impl AsRef<[u8]>,
        qualifier: impl AsRef<[u8]>,
        timestamp: i64,
        value: impl AsRef<[u8]>,
    ) -> Result<Mutation, CellError> {
        let cell = Cell::put(&self.row, family.as_ref(), qualifier.as_ref(), timestamp, value.as_ref());
        self.with(cell)
    }

    /// With an amount that is added to a counter.
    ///
    /// # Errors
    /// As [`Mutation::cell`].
    pub fn amount(
        self,
        family: impl AsRef<[u8]>,
        qualifier: impl AsRef<[u8]>,
        amount: i64,
    ) -> Result<Mutation, CellError> {
        self.cell(family, qualifier, amount.to_be_bytes())
    }

    /// With a marker that removes all versions of a column.
    ///
    /// # Errors
    /// As [`Mutation::cell`].
    pub fn column(self, family: impl AsRef<[u8]>, qualifier: impl AsRef<[u8]>) -> Result<Mutation, CellError> {
        let (family, qualifier) = (family.as_ref(), qualifier.as_ref());
        let cell = Cell::new(&self.row, family, qualifier, LATEST_TIMESTAMP, CellType::DELETE_COLUMN, &[]);
        self.with(cell)
    }

    /// With a marker that removes a family.
    ///
    /// # Errors
    /// As [`Mutation::cell`].
    pub fn family(self, family: impl AsRef<[u8]>) -> Result<Mutation, CellError> {
        let cell = Cell::new(&self.row, family.as_ref(), &[], LATEST_TIMESTAMP, CellType::DELETE_FAMILY, &[]);
        self.with(cell)
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

impl Condition {
    /// The newest value of a column compares so with an expected one.
    pub fn column(
        family: impl Into<Bytes>,
        qualifier: impl Into<Bytes>,
        op: CompareOp,
        expected: impl Into<Bytes>,
    ) -> Condition {
        let (family, qualifier, comparator) = (family.into(), qualifier.into(), Comparator::Binary(expected.into()));
        Condition::Column { family, qualifier, op, comparator, time_range: TimeRange::ALL }
    }

    /// The column has no value, or an empty one.
    pub fn missing(family: impl Into<Bytes>, qualifier: impl Into<Bytes>) -> Condition {
        Condition::column(family, qualifier, CompareOp::Equal, Bytes::new())
    }
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
