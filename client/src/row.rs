//! What a read gives back.

use bytes::Bytes;
use model::Cell;

/// The cells of one row, or of a part of it.
///
/// ```
/// # use ferrobase_client::Row;
/// # use model::Cell;
/// # let cells = vec![Cell::put(b"row", b"f", b"name", 7, b"value")?];
/// let row = Row { cells, ..Row::default() };
/// assert_eq!(row.row(), Some(&b"row"[..]));
/// assert_eq!(row.value("f", "name").as_deref(), Some(&b"value"[..]));
/// assert_eq!(row.value("f", "other"), None);
/// # Ok::<(), model::CellError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// In HBase's order: families and qualifiers ascending, newest first.
    pub cells: Vec<Cell>,
    /// More cells of the same row may follow: only in scans with a batch or that allow partial results.
    pub partial: bool,
    /// How far a scan has come that has nothing to give yet: only in scans that ask for cursors, and then without cells.
    pub cursor: Option<Bytes>,
}

impl Row {
    pub(crate) fn of(cells: Vec<Cell>) -> Row {
        Row { cells, partial: false, cursor: None }
    }

    /// The row's key, if there are cells.
    pub fn row(&self) -> Option<&[u8]> {
        self.cells.first().map(Cell::row)
    }

    /// The newest value of a column.
    pub fn value(&self, family: impl AsRef<[u8]>, qualifier: impl AsRef<[u8]>) -> Option<Bytes> {
        let (family, qualifier) = (family.as_ref(), qualifier.as_ref());
        let cell = self.cells.iter().find(|cell| cell.family() == family && cell.qualifier() == qualifier)?;
        Some(cell.value_bytes())
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}
