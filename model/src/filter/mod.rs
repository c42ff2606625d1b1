//! HBase's built-in filters and comparators, as plain data (hbase-wire.md §5.4), and their evaluation.
//!
//! Invariants
//! - [`Filter`] is data: it can be sent, compared and printed. [`FilterRun`] is a filter during one scan of one region.

mod comparator;
mod data;
mod fuzzy;
pub mod language;
mod list;
mod node;
mod ranges;
mod run;

pub use comparator::Compare;
pub use data::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp, RowRange};
pub use node::{FilterCode, FilterError};
pub use run::FilterRun;
