//! What every filter can be asked, and what it may answer.

use crate::cell::{Cell, CellRef};

/// Why a filter cannot be made or cannot judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A number outside its range.
    #[error("filter argument out of range. argument=`{0}`, value=`{1}`")]
    OutOfRange(&'static str, i64),
    /// Ranges that are empty or reversed.
    #[error("invalid row range in filter")]
    InvalidRange,
    /// Fuzzy key and mask differ in length.
    #[error("fuzzy key and mask differ in length. key=`{0}`, mask=`{1}`")]
    FuzzyLengths(usize, usize),
    /// A column prefix twice.
    #[error("column prefixes of a filter must be distinct")]
    RepeatedPrefix,
    /// A regular expression that does not compile, or gives up.
    #[error("regular expression: {0}")]
    Regex(String),
    /// A long comparator meets something else.
    #[error("not a long. bytes=`{0}`")]
    NotALong(usize),
    /// A decimal comparator meets something else.
    #[error("not a decimal number. bytes=`{0}`")]
    NotADecimal(usize),
}

/// What a filter says of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterCode {
    /// Wanted.
    Include,
    /// Wanted; no more of this column.
    IncludeAndNextCol,
    /// Wanted; no more of this family and row.
    IncludeAndSeekNextRow,
    /// Not wanted.
    Skip,
    /// Not wanted, nor more of this column.
    NextCol,
    /// Not wanted, nor more of this family and row.
    NextRow,
    /// Not wanted, nor anything before the hint.
    SeekNextUsingHint,
}

impl FilterCode {
    /// Whether the cell is wanted.
    pub fn includes(self) -> bool {
        matches!(self, FilterCode::Include | FilterCode::IncludeAndNextCol | FilterCode::IncludeAndSeekNextRow)
    }
}

type Result<T> = std::result::Result<T, FilterError>;

/// One filter with its state. The defaults are those of a filter that wants everything.
pub(super) trait Node: Send + std::fmt::Debug {
    fn reset(&mut self) {}
    fn filter_all_remaining(&self) -> bool {
        false
    }
    fn filter_row_key(&mut self, _first: CellRef<'_>) -> Result<bool> {
        Ok(false)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode>;
    fn transform_cell(&mut self, cell: Cell) -> Cell {
        cell
    }
    fn next_cell_hint(&mut self, _cell: CellRef<'_>) -> Option<Cell> {
        None
    }
    fn has_filter_row(&self) -> bool {
        false
    }
    fn filter_row_cells(&mut self, _cells: &mut Vec<Cell>) {}
    fn filter_row(&mut self) -> bool {
        false
    }
    fn is_family_essential(&self, _family: &[u8]) -> bool {
        true
    }
    /// Whether a list asks this filter for a hint even after another one rejected the cell.
    fn is_hinting(&self) -> bool {
        false
    }
}
