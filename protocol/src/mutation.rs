//! Mutations and conditions between messages and `model` (hbase-wire.md §2.3, §2.6, §5.2, §5.3).
//!
//! Always true
//! - A mutation that was read has a legal row, and all its cells lie in it.
//! - What is allocated is bounded by the bytes that came, not by a count in them.
//! - Cells with tags are written into the message, because a block of `KeyValueCodec` carries none.
//!
//! Not here: what only the region knows (families, limits, which cell types fit which mutation).

use bytes::{Bytes, BytesMut};
use model::cell::ROW_LEN_MAX;
use model::mutation::{Condition, Durability, Mutation, MutationKind, Nonce};
use model::query::TimeRange;
use model::{Cell, CellType, LATEST_TIMESTAMP};

use crate::cell_block::{self, CellBlock};
use crate::filter::{comparator_from, comparator_to, filter_from, filter_to, op_from, op_to};
use crate::messages as pb;
use crate::messages::mutation_proto::column_value::QualifierValue;
use crate::messages::mutation_proto::{self, ColumnValue, DeleteType, MutationType};
use crate::query::{time_range_from, time_range_to};
use crate::service::RpcError;

/// Attribute: the cells' time to live, `i64` milliseconds.
pub const TTL: &str = "_ttl";
/// Attribute: whether an increment or append gives its new cells back; one byte.
pub const RETURN_RESULTS: &str = "_rr_";

type Result<T> = std::result::Result<T, RpcError>;

fn timestamp_from(value: Option<u64>) -> Result<i64> {
    let value = value.map_or(LATEST_TIMESTAMP, |value| value as i64);
    if value < 0 {
        return Err(RpcError::invalid(format!("timestamp cannot be negative. timestamp=`{value}`")));
    }
    Ok(value)
}

/// How many cells of the block are the mutation's.
fn cell_count(message: &pb::MutationProto) -> usize {
    usize::try_from(message.associated_cell_count()).unwrap_or(0)
}

/// Reads a mutation: its cells from the block if the message counts any there, else from its columns.
///
/// # Errors
/// Invalid. The block then stands somewhere inside the mutation's cells.
pub fn mutation_from(
    message: &pb::MutationProto,
    block: &mut CellBlock,
    nonce_group: u64,
) -> Result<(Mutation, Option<Nonce>)> {
    let kind = match message.mutate_type.map(MutationType::try_from) {
        Some(Ok(MutationType::Put)) => MutationKind::Put,
        Some(Ok(MutationType::Delete)) => MutationKind::Delete,
        Some(Ok(MutationType::Increment)) => MutationKind::Increment,
        Some(Ok(MutationType::Append)) => MutationKind::Append,
        _ => {
            return Err(RpcError::invalid(format!("mutation has no type known. type=`{:?}`", message.mutate_type)));
        }
    };
    let in_block = block.take_cells(cell_count(message))?;
    let row = match (&message.row, in_block.first()) {
        (Some(row), _) => row.clone(),
        (None, Some(cell)) => Bytes::copy_from_slice(cell.row()),
        (None, None) => return Err(RpcError::invalid("mutation has no row")),
    };
    if row.is_empty() || row.len() > ROW_LEN_MAX {
        return Err(RpcError::invalid(format!("row is empty or longer than 32767 bytes. length=`{}`", row.len())));
    }
    if let Some(other) = in_block.iter().find(|cell| cell.row() != row) {
        return Err(RpcError::invalid(format!(
            "a cell's row does not match its mutation's. cell=`{}`, mutation=`{}`",
            other.row().escape_ascii(),
            row.escape_ascii()
        )));
    }
    let timestamp = timestamp_from(message.timestamp)?;
    let mut mutation = Mutation { timestamp, ..Mutation::new(kind, row) };
    mutation.cells = if in_block.is_empty() { columns_from(message, &mutation)? } else { in_block };
    mutation.durability = match message.durability() {
        mutation_proto::Durability::UseDefault => Durability::UseDefault,
        mutation_proto::Durability::SkipWal => Durability::SkipWal,
        mutation_proto::Durability::AsyncWal => Durability::AsyncWal,
        mutation_proto::Durability::SyncWal => Durability::SyncWal,
        mutation_proto::Durability::FsyncWal => Durability::FsyncWal,
    };
    mutation.time_range = message.time_range.as_ref().map(time_range_from).transpose()?.unwrap_or_default();
    for attribute in &message.attribute {
        let value = attribute.value.clone().unwrap_or_default();
        match attribute.name.as_str() {
            TTL => {
                let ttl = value[..].try_into().map_err(|_| {
                    RpcError::invalid(format!("attribute {TTL} should have 8 bytes. length=`{}`", value.len()))
                })?;
                mutation.ttl_ms = Some(i64::from_be_bytes(ttl));
            }
            RETURN_RESULTS if is_change(kind) => mutation.return_results = value != [0][..],
            _ => mutation.attributes.push((attribute.name.clone(), value)),
        }
    }
    let nonce = message.nonce.filter(|nonce| *nonce != 0).map(|nonce| Nonce { group: nonce_group, nonce });
    Ok((mutation, nonce))
}

fn is_change(kind: MutationKind) -> bool {
    matches!(kind, MutationKind::Increment | MutationKind::Append)
}

/// The cells of the message's columns.
fn columns_from(message: &pb::MutationProto, mutation: &Mutation) -> Result<Vec<Cell>> {
    let mut cells = Vec::with_capacity(message.column_value.iter().map(|column| column.qualifier_value.len()).sum());
    for column in &message.column_value {
        for part in &column.qualifier_value {
            let timestamp = match (part.timestamp, mutation.kind) {
                (None, MutationKind::Put) => mutation.timestamp,
                (given, _) => timestamp_from(given)?,
            };
            let deletes = match mutation.kind {
                MutationKind::Put => part.delete_type.is_some(),
                MutationKind::Delete => true,
                MutationKind::Increment | MutationKind::Append => false,
            };
            let value = match &part.value {
                Some(value) => &value[..],
                None if mutation.kind == MutationKind::Delete => &[],
                None => return Err(RpcError::invalid("Missing required field: qualifier value")),
            };
            let cell_type = if deletes { delete_type_from(part.delete_type())? } else { CellType::PUT };
            let cell = Cell::with_tags(
                &mutation.row,
                &column.family,
                part.qualifier.as_deref().unwrap_or_default(),
                timestamp,
                cell_type,
                if deletes { &[] } else { value },
                part.tags.as_deref().unwrap_or_default(),
            );
            cells.push(cell.map_err(|error| RpcError::invalid(error.to_string()))?);
        }
    }
    Ok(cells)
}

fn delete_type_from(delete_type: DeleteType) -> Result<CellType> {
    Ok(match delete_type {
        DeleteType::DeleteOneVersion => CellType::DELETE,
        DeleteType::DeleteMultipleVersions => CellType::DELETE_COLUMN,
        DeleteType::DeleteFamily => CellType::DELETE_FAMILY,
        DeleteType::DeleteFamilyVersion => CellType::DELETE_FAMILY_VERSION,
    })
}

fn delete_type_to(cell_type: CellType) -> Option<DeleteType> {
    Some(match cell_type {
        CellType::DELETE => DeleteType::DeleteOneVersion,
        CellType::DELETE_COLUMN => DeleteType::DeleteMultipleVersions,
        CellType::DELETE_FAMILY => DeleteType::DeleteFamily,
        CellType::DELETE_FAMILY_VERSION => DeleteType::DeleteFamilyVersion,
        _ => return None,
    })
}

/// Passes over a mutation's cells in the block.
///
/// # Errors
/// Invalid when the block holds fewer.
pub fn skip(message: &pb::MutationProto, block: &mut CellBlock) -> Result<()> {
    Ok(block.skip_cells(cell_count(message))?)
}

/// Everything but the cells.
fn head_to(mutation: &Mutation, nonce: Option<u64>) -> pb::MutationProto {
    let mutate_type = match mutation.kind {
        MutationKind::Put => MutationType::Put,
        MutationKind::Delete => MutationType::Delete,
        MutationKind::Increment => MutationType::Increment,
        MutationKind::Append => MutationType::Append,
    };
    let durability = match mutation.durability {
        Durability::UseDefault => mutation_proto::Durability::UseDefault,
        Durability::SkipWal => mutation_proto::Durability::SkipWal,
        Durability::AsyncWal => mutation_proto::Durability::AsyncWal,
        Durability::SyncWal => mutation_proto::Durability::SyncWal,
        Durability::FsyncWal => mutation_proto::Durability::FsyncWal,
    };
    let pair = |name: &str, value: Bytes| pb::NameBytesPair { name: name.to_owned(), value: Some(value) };
    let kept = mutation.attributes.iter().map(|(name, value)| pair(name, value.clone()));
    let ttl = mutation.ttl_ms.map(|ttl| pair(TTL, Bytes::copy_from_slice(&ttl.to_be_bytes())));
    let silent = is_change(mutation.kind) && !mutation.return_results;
    let silent = silent.then(|| pair(RETURN_RESULTS, Bytes::from_static(&[0])));
    pb::MutationProto {
        row: Some(mutation.row.clone()),
        mutate_type: Some(mutate_type.into()),
        timestamp: Some(mutation.timestamp as u64),
        attribute: kept.chain(ttl).chain(silent).collect(),
        durability: Some(durability.into()),
        time_range: is_change(mutation.kind).then(|| time_range_to(mutation.time_range)),
        nonce: nonce.filter(|nonce| *nonce != 0),
        ..pb::MutationProto::default()
    }
}

/// Writes a mutation; its cells go to the block.
pub fn mutation_to(mutation: &Mutation, nonce: Option<u64>, block: &mut BytesMut) -> pb::MutationProto {
    if mutation.cells.is_empty() || mutation.cells.iter().any(|cell| !cell.tags().is_empty()) {
        return mutation_inline(mutation, nonce);
    }
    mutation.cells.iter().for_each(|cell| cell_block::put(block, cell));
    let count = i32::try_from(mutation.cells.len()).expect("that many cells do not fit a message");
    pb::MutationProto { associated_cell_count: Some(count), ..head_to(mutation, nonce) }
}

/// Writes a mutation with its cells, for a caller without cell blocks.
pub fn mutation_inline(mutation: &Mutation, nonce: Option<u64>) -> pb::MutationProto {
    let slice = Bytes::copy_from_slice;
    let part = |cell: &Cell| QualifierValue {
        qualifier: Some(slice(cell.qualifier())),
        value: Some(slice(cell.value())),
        timestamp: Some(cell.timestamp() as u64),
        delete_type: delete_type_to(cell.cell_type()).map(i32::from),
        tags: (!cell.tags().is_empty()).then(|| slice(cell.tags())),
    };
    let of_family = |cells: &[Cell]| ColumnValue {
        family: slice(cells[0].family()),
        qualifier_value: cells.iter().map(part).collect(),
    };
    let families = mutation.cells.chunk_by(|a, b| a.family() == b.family());
    pb::MutationProto { column_value: families.map(of_family).collect(), ..head_to(mutation, nonce) }
}

/// Reads a condition and the row that it is about.
///
/// # Errors
/// Invalid.
pub fn condition_from(message: &pb::Condition) -> Result<(Bytes, Condition)> {
    let time_range = message.time_range.as_ref().map(time_range_from).transpose()?.unwrap_or_default();
    let condition = match (&message.filter, &message.comparator) {
        (Some(filter), _) => Condition::Filter { filter: filter_from(filter)?, time_range },
        (None, Some(comparator)) => Condition::Column {
            family: message.family.clone().unwrap_or_default(),
            qualifier: message.qualifier.clone().unwrap_or_default(),
            op: op_from("Condition", message.compare_type.unwrap_or(pb::CompareType::Less.into()))?,
            comparator: comparator_from(comparator)?,
            time_range,
        },
        (None, None) => return Err(RpcError::invalid("condition has neither filter nor comparator")),
    };
    Ok((message.row.clone(), condition))
}

/// Writes a condition on a row.
pub fn condition_to(row: impl Into<Bytes>, condition: &Condition) -> pb::Condition {
    let range = |range: TimeRange| Some(time_range_to(range));
    match condition {
        Condition::Filter { filter, time_range } => pb::Condition {
            row: row.into(),
            filter: Some(filter_to(filter)),
            time_range: range(*time_range),
            ..pb::Condition::default()
        },
        Condition::Column { family, qualifier, op, comparator, time_range } => pb::Condition {
            row: row.into(),
            family: Some(family.clone()),
            qualifier: Some(qualifier.clone()),
            compare_type: Some(op_to(*op)),
            comparator: Some(comparator_to(comparator)),
            time_range: range(*time_range),
            filter: None,
        },
    }
}
