//! Results between messages and cells (hbase-wire.md §1.5, §2.2, §2.4).
//!
//! Always true: a result holds either whether there is something, or cells; the cells are in the block or in the message.

use bytes::{Bytes, BytesMut};
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};

use crate::cell_block::{self, CellBlock};
use crate::messages as pb;
use crate::service::RpcError;

fn count(cells: &[Cell]) -> i32 {
    i32::try_from(cells.len()).expect("that many cells do not fit a message")
}

/// Writes a result; its cells go to the block.
pub fn result_to(cells: &[Cell], block: &mut BytesMut) -> pb::Result {
    cells.iter().for_each(|cell| cell_block::put(block, cell));
    let stale = (!cells.is_empty()).then_some(false);
    pb::Result { associated_cell_count: Some(count(cells)), stale, ..pb::Result::default() }
}

/// Writes a result with its cells, for a caller without cell blocks. The caller marks a part of a row.
pub fn result_inline(cells: &[Cell]) -> pb::Result {
    let flag = (!cells.is_empty()).then_some(false);
    pb::Result { cell: cells.iter().map(cell_to).collect(), stale: flag, partial: flag, ..pb::Result::default() }
}

/// Writes the answer to whether there is a cell.
pub fn exists_to(found: bool) -> pb::Result {
    pb::Result { associated_cell_count: Some(0), exists: Some(found), ..pb::Result::default() }
}

fn wrong(why: impl ToString) -> RpcError {
    RpcError::new(ErrorKind::Internal, format!("answer cannot be decoded: {}", why.to_string()))
}

/// Reads a result's cells, those in the block first. A result that only says whether there is something has none.
///
/// # Errors
/// Internal: the sender is broken.
pub fn result_from(message: &pb::Result, block: &mut CellBlock) -> Result<Vec<Cell>, RpcError> {
    let in_block = usize::try_from(message.associated_cell_count()).map_err(wrong)?;
    let mut cells = block.take_cells(in_block).map_err(wrong)?;
    cells.reserve_exact(message.cell.len());
    for cell in &message.cell {
        cells.push(cell_from(cell)?);
    }
    Ok(cells)
}

/// Writes a cell without its tags, which no client gets to see.
pub fn cell_to(cell: &Cell) -> pb::Cell {
    let slice = Bytes::copy_from_slice;
    pb::Cell {
        row: Some(slice(cell.row())),
        family: Some(slice(cell.family())),
        qualifier: Some(slice(cell.qualifier())),
        timestamp: Some(cell.timestamp() as u64),
        cell_type: Some(i32::from(cell.cell_type().0)),
        value: Some(slice(cell.value())),
        tags: None,
    }
}

/// Reads a cell.
///
/// # Errors
/// Internal: the sender is broken.
pub fn cell_from(message: &pb::Cell) -> Result<Cell, RpcError> {
    let bytes = |field: &Option<Bytes>| field.clone().unwrap_or_default();
    let cell_type = message.cell_type.unwrap_or(i32::from(CellType::MINIMUM.0));
    let cell_type = u8::try_from(cell_type).map(CellType).ok().filter(|cell_type| cell_type.is_known());
    Cell::with_tags(
        &bytes(&message.row),
        &bytes(&message.family),
        &bytes(&message.qualifier),
        message.timestamp.map_or(LATEST_TIMESTAMP, |timestamp| timestamp as i64),
        cell_type.ok_or_else(|| wrong(format!("unknown cell type {:?}", message.cell_type)))?,
        &bytes(&message.value),
        &bytes(&message.tags),
    )
    .map_err(wrong)
}

/// One result of a scan: its cells, and whether the row goes on in the next one.
pub type Scanned = (Vec<Cell>, bool);

/// Puts a scan's results into its response, the cells into the block.
pub fn scanned_to(results: &[Scanned], response: &mut pb::ScanResponse, block: &mut BytesMut) {
    for (cells, partial) in results {
        cells.iter().for_each(|cell| cell_block::put(block, cell));
        response.cells_per_result.push(count(cells) as u32);
        response.partial_flag_per_result.push(*partial);
    }
}

/// Reads a scan's results, from the block or from the response.
///
/// # Errors
/// Internal: the sender is broken.
pub fn scanned_from(response: &pb::ScanResponse, block: &mut CellBlock) -> Result<Vec<Scanned>, RpcError> {
    let mut results = Vec::with_capacity(response.cells_per_result.len() + response.results.len());
    for (index, count) in response.cells_per_result.iter().enumerate() {
        let partial = response.partial_flag_per_result.get(index).copied().unwrap_or(false);
        results.push((block.take_cells(*count as usize).map_err(wrong)?, partial));
    }
    for result in &response.results {
        results.push((result_from(result, block)?, result.partial()));
    }
    Ok(results)
}
