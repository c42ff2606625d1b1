//! Sorted cells from somewhere: a memtable, a store file, a merge of several.
//!
//! A source is walked without awaiting. When the next cell lies in a block that is not in memory, a step answers
//! [`Progress::NeedsBlock`]; the caller awaits [`CellSource::load`] and the position asked for then holds.
//!
//! Always true
//! - Cells come in [`CellOrder`](model::CellOrder), the larger sequence number first among equal keys.
//! - [`CellSource::peek`] is meaningful only while the last step was [`Progress::Ready`].

use futures::future::BoxFuture;
use model::{Cell, CellOrder, CellRef};

use crate::error::Result;

/// Whether a step is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The source stands where it was sent.
    Ready,
    /// Await [`CellSource::load`] first.
    NeedsBlock,
}

/// A source of sorted cells. It starts nowhere: seek first.
pub trait CellSource: Send {
    /// The cell at the position; `None` at the end.
    fn peek(&self) -> Option<CellRef<'_>>;
    /// The cell at the position, shared.
    fn cell(&self) -> Option<Cell>;
    /// Goes to the next cell.
    fn advance(&mut self) -> Result<Progress>;
    /// Goes to the first cell at or behind the key, from anywhere.
    fn seek(&mut self, key: &Cell) -> Result<Progress>;
    /// Goes forward to the first cell at or behind the key; stays if it is there already.
    fn reseek(&mut self, key: &Cell) -> Result<Progress>;
    /// Goes to the last cell before the key, from anywhere; the source is at its end if there is none.
    fn seek_before(&mut self, key: &Cell) -> Result<Progress>;
    /// Loads what the last step needs and finishes that step.
    fn load(&mut self) -> BoxFuture<'_, Result<()>>;
}

/// Cells in a vector; for tests and small results.
#[derive(Debug)]
pub struct VecSource {
    cells: Vec<Cell>,
    at: usize,
    order: CellOrder,
}

impl VecSource {
    /// Sorts the cells.
    pub fn new(mut cells: Vec<Cell>, order: CellOrder) -> VecSource {
        cells.sort_by(|a, b| order.compare(a.as_ref(), b.as_ref()));
        let at = cells.len();
        VecSource { cells, at, order }
    }

    fn first_not_before(&self, key: &Cell) -> usize {
        self.cells.partition_point(|cell| self.order.compare(cell.as_ref(), key.as_ref()).is_lt())
    }
}

impl CellSource for VecSource {
    fn peek(&self) -> Option<CellRef<'_>> {
        self.cells.get(self.at).map(Cell::as_ref)
    }

    fn cell(&self) -> Option<Cell> {
        self.cells.get(self.at).cloned()
    }

    fn advance(&mut self) -> Result<Progress> {
        self.at = (self.at + 1).min(self.cells.len());
        Ok(Progress::Ready)
    }

    fn seek(&mut self, key: &Cell) -> Result<Progress> {
        self.at = self.first_not_before(key);
        Ok(Progress::Ready)
    }

    fn reseek(&mut self, key: &Cell) -> Result<Progress> {
        self.at = self.at.max(self.first_not_before(key));
        Ok(Progress::Ready)
    }

    fn seek_before(&mut self, key: &Cell) -> Result<Progress> {
        self.at = self.first_not_before(key).checked_sub(1).unwrap_or(self.cells.len());
        Ok(Progress::Ready)
    }

    fn load(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
