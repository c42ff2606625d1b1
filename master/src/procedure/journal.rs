//! Procedures' rows in the master region.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::{Cell, CellType};
use storage::collect::Collected;
use storage::error::Result;
use storage::read::Limits;
use storage::region::Region;
use storage::wal::Log;

use super::record::Record;

/// The master region's only family.
pub(crate) const FAMILY: &[u8] = b"p";
const VALUE: &[u8] = b"v";
const PREFIX: u8 = b'p';
/// Rows read at a time.
const PAGE: usize = 100;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Journal {
    region: Arc<Region>,
}

fn row(id: u64) -> Bytes {
    let mut row = BytesMut::with_capacity(9);
    row.put_u8(PREFIX);
    row.put_u64(id);
    row.freeze()
}

impl Journal {
    pub fn new(region: Arc<Region>) -> Journal {
        Journal { region }
    }

    /// Writes a procedure's row; durable when it answers.
    pub async fn save(&self, record: &Record) -> Result<()> {
        // The count of writes is the cell's timestamp, so that no clock decides which one is newer.
        let timestamp = i64::try_from(record.saves).unwrap_or(i64::MAX - 1);
        let mut mutation = Mutation::new(MutationKind::Put, row(record.id));
        mutation.cells.push(Cell::put(&mutation.row, FAMILY, VALUE, timestamp, &record.encode())?);
        self.region.mutate(vec![mutation], None).await.map(drop)
    }

    /// Removes a procedure's row. Ids are never used again.
    pub async fn remove(&self, id: u64) -> Result<()> {
        let mut mutation = Mutation::new(MutationKind::Delete, row(id));
        let kind = CellType::DELETE_FAMILY;
        mutation.cells.push(Cell::new(&mutation.row, FAMILY, &[], i64::MAX - 1, kind, &[])?);
        self.region.mutate(vec![mutation], None).await.map(drop)
    }

    /// All procedures, by id.
    pub async fn load(&self) -> Result<Vec<Record>> {
        let mut scanner = self.region.scanner(&Scan::default().with_prefix(vec![PREFIX])).await?;
        let (mut records, mut more) = (Vec::new(), true);
        while more {
            let mut rows = Vec::new();
            more = scanner.next(&Limits::rows(PAGE), &mut rows).await?.more;
            for row in rows {
                let Some(cell) = row.cells.first() else { continue };
                let name = format!("{} row {}", self.region.info(), cell.row().escape_ascii());
                records.push(Record::decode(cell.value_bytes(), &name)?);
            }
        }
        Ok(records)
    }

    /// Writes the rows to files if they are many or keep old logs alive.
    pub async fn tidy(&self, log: &Log, bytes: u64) -> Result<()> {
        let keeps_old_log = || log.oldest_regions().contains(self.region.log_name());
        if self.region.memtable_bytes() >= bytes || keeps_old_log() || self.region.old_streams().await > 0 {
            self.region.flush().await?;
            self.region.compact(false).await?;
        }
        Ok(())
    }

    /// Deletes what earlier openings left in the region's folder.
    pub async fn collect(&self) -> Result<Collected> {
        self.region.collect().await
    }

    /// Flushes and gives the master region up.
    pub async fn close(&self) -> Result<()> {
        self.region.close().await
    }
}
