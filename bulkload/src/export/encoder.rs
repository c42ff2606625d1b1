//! What every layout has: from cells in order to the bytes of one file. No I/O.

use bytes::Bytes;
use model::Cell;

use crate::error::Result;

/// Makes the bytes of one file from cells in order.
pub(super) trait Encoder: Send {
    /// Adds the next cell.
    fn append(&mut self, cell: &Cell) -> Result<()>;
    /// Bytes held that are not ready.
    fn held(&self) -> usize;
    /// Makes ready what can be.
    fn flush(&mut self) -> Result<()>;
    /// Bytes ready.
    fn ready(&mut self) -> usize;
    /// Takes them.
    fn take(&mut self) -> Bytes;
    /// Makes everything ready; nothing is added behind that.
    fn end(&mut self) -> Result<()>;
}

/// The newest values of fixed columns, gathered by row. Cells come in order, newest first.
pub(super) struct RowValues {
    fields: Vec<(Bytes, Bytes)>,
    /// Empty before the first one.
    pub row: Vec<u8>,
    /// By field.
    pub values: Vec<Option<Bytes>>,
    pub bytes: usize,
}

impl RowValues {
    pub fn new(fields: Vec<(Bytes, Bytes)>) -> RowValues {
        RowValues { values: vec![None; fields.len()], fields, row: Vec::new(), bytes: 0 }
    }

    pub fn fields(&self) -> &[(Bytes, Bytes)] {
        &self.fields
    }

    /// Whether the cell is of the row at hand.
    pub fn continues(&self, cell: &Cell) -> bool {
        self.row == cell.row()
    }

    pub fn clear(&mut self) {
        self.row.clear();
        self.values.fill(None);
        self.bytes = 0;
    }

    pub fn take(&mut self, cell: &Cell) {
        if self.row.is_empty() {
            self.row.extend_from_slice(cell.row());
            self.bytes = self.row.len();
        }
        let of_cell = |(family, qualifier): &(Bytes, Bytes)| family == cell.family() && qualifier == cell.qualifier();
        if let Some(at) = self.fields.iter().position(of_cell)
            && self.values[at].is_none()
        {
            self.bytes += cell.value().len();
            self.values[at] = Some(cell.value_bytes());
        }
    }
}

/// A column's name, `family:qualifier`.
pub(super) fn column_name(family: &[u8], qualifier: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(family);
    out.push(b':');
    out.extend_from_slice(qualifier);
}

/// A row key for people, not all of a long one.
pub(super) fn shown(row: &[u8]) -> String {
    let part = &row[..row.len().min(64)];
    format!("{}{}", part.escape_ascii(), if part.len() < row.len() { "…" } else { "" })
}
