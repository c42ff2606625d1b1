//! From a mutation to the cells that are logged and applied: timestamps, markers, new values.
//!
//! Runs under the row's lock. HBase's rules: hbase-wire.md §2.3, §2.6.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use model::cell::compare_within_row;
use model::filter::CompareOp;
use model::mutation::{Condition, Mutation, MutationKind};
use model::query::{Get, TimeRange};
use model::schema::TableDescriptor;
use model::{Cell, CellType, LATEST_TIMESTAMP, cell};

use super::Region;
use crate::error::{Result, StorageError};
use crate::memtable::ENTRY_OVERHEAD_BYTES;
use crate::read::{Limits, Query};

/// What a mutation comes to.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub cells: Vec<Cell>,
    /// New cells of increments and appends that asked for them.
    pub results: Vec<Cell>,
}

impl Prepared {
    /// Memory that its cells take once they are applied.
    pub(super) fn bytes(&self) -> u64 {
        self.cells.iter().map(|cell| cell.bytes().len() as u64 + ENTRY_OVERHEAD_BYTES).sum()
    }
}

fn invalid(why: impl Into<String>) -> StorageError {
    StorageError::Invalid(why.into())
}

/// Tags of a new cell: those given except a time to live, then the mutation's.
fn with_ttl(tags: &mut BytesMut, ttl_ms: Option<i64>) {
    if let Some(ttl_ms) = ttl_ms {
        tags.put_u16(9);
        tags.put_u8(cell::TAG_TTL);
        tags.put_i64(ttl_ms);
    }
}

fn carry_tags(out: &mut BytesMut, from: &Cell, ttl_too: bool) {
    for (kind, payload) in from.as_ref().tag_iter().filter(|(kind, _)| ttl_too || *kind != cell::TAG_TTL) {
        out.put_u16(1 + payload.len() as u16);
        out.put_u8(kind);
        out.put_slice(payload);
    }
}

fn rebuild(from: &Cell, timestamp: i64, value: &[u8], tags: &[u8]) -> Result<Cell> {
    Ok(Cell::with_tags(from.row(), from.family(), from.qualifier(), timestamp, from.cell_type(), value, tags)?)
}

/// The cell with another timestamp.
fn at(from: &Cell, timestamp: i64) -> Cell {
    let mut bytes = BytesMut::from(&from.bytes()[..]);
    cell::stamp(&mut bytes, timestamp);
    Cell::from_trusted(bytes.freeze(), from.seqno())
}

/// The cells with another timestamp, in one buffer.
fn stamped(cells: &[Cell], timestamp: i64, out: &mut Vec<Cell>) {
    let mut bytes = BytesMut::with_capacity(cells.iter().map(|cell| cell.bytes().len()).sum());
    for cell in cells {
        let from = bytes.len();
        bytes.put_slice(cell.bytes());
        cell::stamp(&mut bytes[from..], timestamp);
    }
    let mut bytes = bytes.freeze();
    out.extend(cells.iter().map(|cell| Cell::from_trusted(bytes.split_to(cell.bytes().len()), cell.seqno())));
}

impl Region {
    /// The newest versions of some columns of one family.
    async fn current(
        self: &Arc<Self>,
        row: &Bytes,
        family: &Bytes,
        qualifiers: &[Bytes],
        time_range: TimeRange,
        versions: u32,
    ) -> Result<Vec<Cell>> {
        let mut get = Get::new(row.clone());
        for qualifier in qualifiers {
            get.selection.add_column(family.clone(), qualifier.clone());
        }
        get.selection.time_range = time_range;
        get.selection.max_versions = versions;
        self.read_row(&get).await
    }

    pub(super) async fn read_row(self: &Arc<Self>, get: &Get) -> Result<Vec<Cell>> {
        let mut rows = Vec::new();
        self.scan(Query::from(get), None).await?.read(&Limits::rows(1), &mut rows).await?;
        Ok(rows.pop().map(|row| row.cells).unwrap_or_default())
    }

    /// Whether a condition holds, and the timestamp of the first cell it looked at.
    pub(super) async fn condition_holds(
        self: &Arc<Self>,
        row: &Bytes,
        condition: &Condition,
    ) -> Result<(bool, Option<i64>)> {
        match condition {
            Condition::Column { family, qualifier, op, comparator, time_range } => {
                self.check_family(&self.descriptor(), family)?;
                if *op == CompareOp::NoOp {
                    return Err(invalid("a condition cannot have the operator NO_OP"));
                }
                let found = self.current(row, family, std::slice::from_ref(qualifier), *time_range, 1).await?;
                let stored = found.first();
                let expected = comparator.value();
                let holds = match stored {
                    None => expected.is_empty() && *op != CompareOp::NotEqual,
                    Some(cell) if expected.is_empty() => (*op == CompareOp::NotEqual) != cell.value().is_empty(),
                    // `expected OP stored`: the other way round than in filters.
                    Some(cell) => op.keeps(cell.value().cmp(&expected)),
                };
                Ok((holds, stored.map(Cell::timestamp)))
            }
            Condition::Filter { filter, time_range } => {
                let mut get = Get::new(row.clone());
                get.selection.filter = Some(filter.clone());
                get.selection.time_range = *time_range;
                // A filter that needs one family is shown the others too, and what it says of them counts.
                get.selection.load_families_on_demand = Some(false);
                let cells = self.read_row(&get).await?;
                Ok((!cells.is_empty(), cells.first().map(Cell::timestamp)))
            }
        }
    }

    /// The cells of mutations of one row, from the row's state before all of them. `put_ms`: the time of puts without one.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        mutations: &[Mutation],
        now_ms: i64,
        put_ms: i64,
    ) -> Result<Prepared> {
        let descriptor = self.descriptor();
        self.check_writable(&descriptor)?;
        let mut prepared = Prepared::default();
        for mutation in mutations {
            self.check_mutation(&descriptor, mutation)?;
            match mutation.kind {
                MutationKind::Put => put(mutation, put_ms, &mut prepared)?,
                MutationKind::Delete => self.delete(&descriptor, mutation, now_ms, &mut prepared).await?,
                MutationKind::Increment | MutationKind::Append => self.change(mutation, now_ms, &mut prepared).await?,
            }
        }
        self.finish(prepared)
    }

    /// [`Region::prepare`] for one put, which needs nothing of the row's state.
    pub(super) fn prepare_put(&self, mutation: &Mutation, put_ms: i64) -> Result<Prepared> {
        let descriptor = self.descriptor();
        self.check_writable(&descriptor)?;
        self.check_mutation(&descriptor, mutation)?;
        let mut prepared = Prepared::default();
        put(mutation, put_ms, &mut prepared)?;
        self.finish(prepared)
    }

    fn check_writable(&self, descriptor: &TableDescriptor) -> Result<()> {
        if descriptor.read_only() { Err(invalid(format!("table {} is read-only", descriptor.name))) } else { Ok(()) }
    }

    fn check_mutation(&self, descriptor: &TableDescriptor, mutation: &Mutation) -> Result<()> {
        self.check_row(&mutation.row)?;
        mutation.cells.iter().try_for_each(|cell| self.check_cell(descriptor, mutation, cell))
    }

    /// What is looked at when all cells are known.
    fn finish(&self, mut prepared: Prepared) -> Result<Prepared> {
        let limit = self.ctx.settings.cell_bytes_max;
        if let Some(large) = prepared.cells.iter().find(|cell| limit > 0 && cell.bytes().len() > limit) {
            return Err(invalid(format!("cell with size {} exceeds limit of {limit} bytes", large.bytes().len())));
        }
        drop_repeated(&mut prepared.cells);
        Ok(prepared)
    }

    fn check_cell(&self, descriptor: &TableDescriptor, mutation: &Mutation, cell: &Cell) -> Result<()> {
        if cell.row() != mutation.row {
            return Err(invalid("a cell's row differs from its mutation's"));
        }
        self.check_family(descriptor, cell.family())?;
        if cell.timestamp() < 0 {
            return Err(invalid(format!("timestamp cannot be negative: {}", cell.timestamp())));
        }
        let kind = cell.cell_type();
        let fits = match mutation.kind {
            MutationKind::Put => kind.is_storable(),
            MutationKind::Delete => kind.is_delete(),
            MutationKind::Increment | MutationKind::Append => kind == CellType::PUT,
        };
        if fits { Ok(()) } else { Err(invalid(format!("a cell of type {kind} does not fit its mutation"))) }
    }

    async fn delete(
        self: &Arc<Self>,
        descriptor: &TableDescriptor,
        mutation: &Mutation,
        now_ms: i64,
        prepared: &mut Prepared,
    ) -> Result<()> {
        if mutation.cells.is_empty() {
            let timestamp = if mutation.timestamp == LATEST_TIMESTAMP { now_ms } else { mutation.timestamp };
            for family in descriptor.families.keys() {
                prepared.cells.push(Cell::new(&mutation.row, family, &[], timestamp, CellType::DELETE_FAMILY, &[])?);
            }
            return Ok(());
        }
        // The n-th version delete without a time means the n-th newest version.
        let mut asked: BTreeMap<(Bytes, Bytes), u32> = BTreeMap::new();
        for cell in &mutation.cells {
            if cell.timestamp() != LATEST_TIMESTAMP {
                prepared.cells.push(cell.clone());
                continue;
            }
            let mut timestamp = now_ms;
            if cell.cell_type() == CellType::DELETE {
                let family = Bytes::copy_from_slice(cell.family());
                let qualifier = Bytes::copy_from_slice(cell.qualifier());
                let count = asked.entry((family.clone(), qualifier.clone())).or_default();
                *count += 1;
                let found = self.current(&mutation.row, &family, &[qualifier], TimeRange::ALL, *count).await?;
                if let Some(newest) = found.get(*count as usize - 1) {
                    timestamp = newest.timestamp();
                }
            }
            prepared.cells.push(at(cell, timestamp));
        }
        Ok(())
    }

    async fn change(self: &Arc<Self>, mutation: &Mutation, now_ms: i64, prepared: &mut Prepared) -> Result<()> {
        let mut families: BTreeMap<Bytes, Vec<&Cell>> = BTreeMap::new();
        for cell in &mutation.cells {
            families.entry(Bytes::copy_from_slice(cell.family())).or_default().push(cell);
        }
        for (family, mut deltas) in families {
            deltas.sort_by(|a, b| a.qualifier().cmp(b.qualifier()));
            let qualifiers: Vec<Bytes> = deltas.iter().map(|cell| Bytes::copy_from_slice(cell.qualifier())).collect();
            let stored = self.current(&mutation.row, &family, &qualifiers, mutation.time_range, 1).await?;
            for delta in deltas {
                let before = stored.iter().find(|cell| cell.qualifier() == delta.qualifier());
                let value = match mutation.kind {
                    MutationKind::Increment => {
                        let amount = number(delta)?;
                        let sum = before.map(number).transpose()?.unwrap_or(0).wrapping_add(amount);
                        sum.to_be_bytes().to_vec()
                    }
                    _ => [before.map(Cell::value).unwrap_or_default(), delta.value()].concat(),
                };
                let mut tags = BytesMut::new();
                carry_tags(&mut tags, delta, true);
                if let Some(before) = before {
                    carry_tags(&mut tags, before, mutation.ttl_ms.is_none());
                }
                with_ttl(&mut tags, mutation.ttl_ms);
                let timestamp = match before {
                    Some(before) => now_ms.max(before.timestamp().saturating_add(1)),
                    None if delta.timestamp() == LATEST_TIMESTAMP => now_ms,
                    None => delta.timestamp(),
                };
                let made = rebuild(delta, timestamp, &value, &tags)?;
                if mutation.return_results {
                    prepared.results.push(made.clone());
                }
                prepared.cells.push(made);
            }
        }
        Ok(())
    }
}

/// Whether cells of a row are in order and no two alike, as most clients send them.
fn are_in_order(cells: &[Cell]) -> bool {
    cells.is_sorted_by(|a, b| compare_within_row(a.as_ref().key(), b.as_ref().key()).is_lt())
}

/// Of equal keys the last one wins; the memtable wants each key once.
fn drop_repeated(cells: &mut Vec<Cell>) {
    if are_in_order(cells) {
        return;
    }
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by(|a, b| cells[*a].as_ref().key().as_bytes().cmp(cells[*b].as_ref().key().as_bytes()));
    let same = |pair: &&[usize]| cells[pair[0]].as_ref().key().as_bytes() == cells[pair[1]].as_ref().key().as_bytes();
    // The sort keeps the order of equal ones: each that an equal one follows is repeated.
    let repeated: BTreeSet<usize> = order.windows(2).filter(same).map(|pair| pair[0]).collect();
    if !repeated.is_empty() {
        let mut index = 0;
        cells.retain(|_| {
            index += 1;
            !repeated.contains(&(index - 1))
        });
    }
}

fn put(mutation: &Mutation, put_ms: i64, prepared: &mut Prepared) -> Result<()> {
    prepared.cells.reserve(mutation.cells.len());
    let is_new = |cell: &Cell| cell.timestamp() == LATEST_TIMESTAMP;
    if mutation.ttl_ms.is_none() && mutation.cells.iter().all(is_new) && are_in_order(&mutation.cells) {
        stamped(&mutation.cells, put_ms, &mut prepared.cells);
        return Ok(());
    }
    for cell in &mutation.cells {
        let timestamp = if cell.timestamp() == LATEST_TIMESTAMP { put_ms } else { cell.timestamp() };
        prepared.cells.push(match mutation.ttl_ms {
            None if timestamp == cell.timestamp() => cell.clone(),
            None => at(cell, timestamp),
            Some(_) => {
                let mut tags = BytesMut::new();
                carry_tags(&mut tags, cell, true);
                with_ttl(&mut tags, mutation.ttl_ms);
                rebuild(cell, timestamp, cell.value(), &tags)?
            }
        });
    }
    Ok(())
}

fn number(cell: &Cell) -> Result<i64> {
    cell.value()
        .try_into()
        .map(i64::from_be_bytes)
        .map_err(|_| StorageError::NotANumber(format!("Field is not a long, it's {} bytes wide", cell.value().len())))
}
