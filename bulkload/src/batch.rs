//! Cells of records on their way from a parser to the sorter: one buffer for many of them.
//!
//! Always true
//! - The cells of a record are of one row, and stand one behind the other in the order in which the record has them.

use bytes::{Bytes, BytesMut};
use model::cell::write_cell;
use model::{Cell, CellRef, CellType, SeqNo};

/// What is wrong with a record without a row.
pub(crate) const NO_ROW: &str = "the row key is empty";

/// One of the cells that stand behind each other and end at these places.
pub(crate) fn cell_at<'a>(bytes: &'a [u8], ends: &[usize], at: usize) -> CellRef<'a> {
    let begin = at.checked_sub(1).map_or(0, |before| ends[before]);
    CellRef::from_trusted(&bytes[begin..ends[at]], SeqNo::ZERO)
}

/// Records as cells.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: BytesMut,
    /// Where each cell ends in the bytes.
    ends: Vec<usize>,
    /// How many cells there are at the end of each record that has any.
    records: Vec<usize>,
}

impl Batch {
    /// With room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Batch {
        Batch { bytes: BytesMut::with_capacity(bytes), ends: Vec::new(), records: Vec::new() }
    }

    /// Gives back room that is more than an eighth of the whole, where there is time for it: before the sorter takes it.
    pub fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        if self.bytes.capacity() - self.bytes.len() > self.bytes.len() / 8 {
            self.bytes = BytesMut::from(&self.bytes[..]);
        }
    }

    /// Cells.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of the cells.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a cell to the record that is open; all of its cells have one row.
    ///
    /// # Errors
    /// A sentence for people: a part is too long, the row is empty, the tags are none. Nothing is added then.
    #[expect(clippy::too_many_arguments, reason = "the parts of a cell, in the order in which they are laid out")]
    pub fn add(
        &mut self,
        row: &[u8],
        family: &[u8],
        qualifier: &[u8],
        timestamp: i64,
        kind: CellType,
        value: &[u8],
        tags: &[u8],
    ) -> Result<(), String> {
        debug_assert!(
            self.len() == self.begun() || self.last().is_some_and(|cell| cell.row() == row),
            "a record has one row"
        );
        if row.is_empty() {
            return Err(NO_ROW.to_owned());
        }
        let written = write_cell(&mut self.bytes, row, family, qualifier, timestamp, kind, value, tags);
        written.map_err(|error| error.to_string())?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Ends the record that is open: what is added from now on belongs to the next one.
    pub fn end_record(&mut self) {
        if self.begun() < self.len() {
            self.records.push(self.len());
        }
    }

    /// Takes back what the open record has added.
    pub fn drop_record(&mut self) {
        self.ends.truncate(self.begun());
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The cells that the open record has added.
    pub fn open_record(&self) -> impl Iterator<Item = CellRef<'_>> {
        (self.begun()..self.len()).map(|at| self.get(at))
    }

    /// The cell that was added last.
    pub fn last(&self) -> Option<CellRef<'_>> {
        self.len().checked_sub(1).map(|at| self.get(at))
    }

    /// All cells.
    pub fn iter(&self) -> impl Iterator<Item = CellRef<'_>> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// All cells, each with bytes of its own.
    pub fn to_cells(&self) -> Vec<Cell> {
        self.iter().map(CellRef::to_cell).collect()
    }

    /// Cells before the open record.
    fn begun(&self) -> usize {
        self.records.last().copied().unwrap_or(0)
    }

    fn get(&self, at: usize) -> CellRef<'_> {
        cell_at(&self.bytes, &self.ends, at)
    }

    /// Its cells, where they end, and how many there are at the end of each record; little memory beside them.
    pub(crate) fn into_parts(mut self) -> (Bytes, Vec<usize>, Vec<usize>) {
        self.end_record();
        self.shrink();
        (self.bytes.freeze(), self.ends, self.records)
    }
}
