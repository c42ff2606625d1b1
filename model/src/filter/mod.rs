//! HBase's built-in filters and comparators, as plain data (hbase-wire.md §5.4), and their evaluation.
//!
//! Invariants
//! - [`Filter`] is data: it can be sent, compared and printed.

mod data;

pub use data::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp, RowRange};
