//! Cell blocks of `KeyValueCodec`: each cell as `i32 length | KeyValue bytes` without tags, back to back (hbase-wire.md §1.5).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::cell::{CellError, KEY_FIXED_LEN, PREFIX_LEN};
use model::{Cell, SeqNo};

use crate::service::RpcError;

/// The codec's class name in a connection header.
pub const KEY_VALUE_CODEC: &str = "org.apache.hadoop.hbase.codec.KeyValueCodec";

/// Shortest cell with its length.
const CELL_LEN_MIN: usize = 4 + PREFIX_LEN + KEY_FIXED_LEN;

/// Why bytes are no cell block.
#[derive(Debug, thiserror::Error)]
pub enum CellBlockError {
    /// A cell is longer than what is left.
    #[error("cell block ends inside a cell. offset=`{offset}`")]
    Short {
        /// Where the cell's length stands.
        offset: usize,
    },
    /// A cell is not well formed.
    #[error("cell block holds a bad cell: {error}. offset=`{offset}`")]
    Cell {
        /// Where the cell's length stands.
        offset: usize,
        /// What is wrong.
        error: CellError,
    },
    /// A message counts more cells than the block holds.
    #[error("cell block ends before its message's cells do. count=`{count}`, found=`{found}`")]
    Missing {
        /// Cells of the message.
        count: usize,
        /// Cells that there were.
        found: usize,
    },
}

impl From<CellBlockError> for RpcError {
    fn from(error: CellBlockError) -> RpcError {
        RpcError::invalid(error.to_string())
    }
}

/// Bytes that a cell takes with its length: so many, or fewer if it has tags.
pub fn len_at_most(cell: &Cell) -> usize {
    4 + cell.bytes().len()
}

/// Appends a cell.
pub fn put(out: &mut BytesMut, cell: &Cell) {
    let bytes = cell.as_ref().without_tags();
    out.reserve(4 + bytes.len());
    out.put_i32(i32::try_from(bytes.len()).expect("a cell's length fits 31 bits"));
    out.put_slice(bytes);
}

/// Reads a block's cells one by one, each a slice of the block.
#[derive(Clone, Debug)]
pub struct CellBlock {
    rest: Bytes,
    len: usize,
}

impl CellBlock {
    /// Starts at the block's first cell.
    pub fn new(block: Bytes) -> CellBlock {
        CellBlock { len: block.len(), rest: block }
    }

    /// Whether all cells were read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` cells. Allocates by what is there, whatever the count says.
    pub fn take_cells(&mut self, count: usize) -> Result<Vec<Cell>, CellBlockError> {
        let mut cells = Vec::with_capacity(count.min(self.rest.len() / CELL_LEN_MIN));
        while cells.len() < count {
            cells.push(self.next().ok_or(CellBlockError::Missing { count, found: cells.len() })??);
        }
        Ok(cells)
    }

    /// Passes over the next `count` cells.
    pub fn skip_cells(&mut self, count: usize) -> Result<(), CellBlockError> {
        for found in 0..count {
            self.next().ok_or(CellBlockError::Missing { count, found })??;
        }
        Ok(())
    }
}

impl Iterator for CellBlock {
    type Item = Result<Cell, CellBlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let offset = self.len - self.rest.len();
        let len = self
            .rest
            .try_get_i32()
            .ok()
            .and_then(|len| usize::try_from(len).ok())
            .filter(|len| *len <= self.rest.len());
        let Some(len) = len else {
            self.rest.clear();
            return Some(Err(CellBlockError::Short { offset }));
        };
        let cell = Cell::parse(self.rest.split_to(len), SeqNo::ZERO);
        if cell.is_err() {
            self.rest.clear();
        }
        Some(cell.map_err(|error| CellBlockError::Cell { offset, error }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_that_of_hbase_and_gives_back_its_cells() {
        let cells: Vec<Cell> = (0..3).map(|n| Cell::put(b"r1", b"f", b"q", 1000 + n, b"v").expect("cell")).collect();
        let mut out = BytesMut::new();
        put(&mut out, &cells[0]);
        assert_eq!(hex::encode(&out), "0000001900000010000000010002723101667100000000000003e80476");
        cells[1..].iter().for_each(|cell| put(&mut out, cell));
        let block = out.freeze();
        let read: Vec<Cell> = CellBlock::new(block.clone()).map(|cell| cell.expect("cell")).collect();
        assert_eq!(read, cells);
        for cut in 1..block.len() {
            let whole = CellBlock::new(block.slice(..cut)).filter(Result::is_ok).count();
            assert!(whole <= 2 && whole == cut / (block.len() / 3), "cut at {cut}");
        }
        let negative = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0]);
        assert!(CellBlock::new(negative).next().expect("an item").is_err());
    }
}
