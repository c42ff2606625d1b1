//! Plugs the model's filters into the reader.

use model::filter::{FilterCode, FilterError, FilterRun};
use model::query::Selection;
use model::{Cell, CellRef};

use super::rows::RowFilter;
use crate::error::{Result, StorageError};

/// Starts the filter of a read, if it has one. `seed` feeds filters that choose at random.
pub fn start_filter(selection: &Selection, reversed: bool, seed: u64) -> Result<Option<Box<dyn RowFilter>>> {
    let Some(filter) = &selection.filter else { return Ok(None) };
    Ok(Some(Box::new(FilterRun::new(filter, reversed, seed).map_err(refused)?)))
}

fn refused(error: FilterError) -> StorageError {
    StorageError::Invalid(error.to_string())
}

impl RowFilter for FilterRun {
    fn reset(&mut self) -> Result<()> {
        FilterRun::reset(self);
        Ok(())
    }
    fn filter_all_remaining(&mut self) -> Result<bool> {
        Ok(FilterRun::filter_all_remaining(self))
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool> {
        FilterRun::filter_row_key(self, first).map_err(refused)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode> {
        FilterRun::filter_cell(self, cell).map_err(refused)
    }
    fn transform_cell(&mut self, cell: Cell) -> Result<Cell> {
        Ok(FilterRun::transform_cell(self, cell))
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Result<Option<Cell>> {
        Ok(FilterRun::next_cell_hint(self, cell))
    }
    fn has_filter_row(&self) -> bool {
        FilterRun::has_filter_row(self)
    }
    fn filter_row_cells(&mut self, cells: &mut Vec<Cell>) -> Result<()> {
        FilterRun::filter_row_cells(self, cells);
        Ok(())
    }
    fn filter_row(&mut self) -> Result<bool> {
        Ok(FilterRun::filter_row(self))
    }
    fn is_family_essential(&self, family: &[u8]) -> bool {
        FilterRun::is_family_essential(self, family)
    }
}
