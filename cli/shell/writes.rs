//! `put`, `delete`, `deleteall`, `incr`, `append`.

use bytes::Bytes;
use model::filter::{Filter, FilterListOp};
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::schema::TableName;
use model::{Cell, CellType, LATEST_TIMESTAMP};

use super::context::Context;
use super::convert::column;
use super::error::{Failure, Result};
use super::options::{Arguments, Options, int};
use super::reads::show_counter;
use super::show;
use super::value::Value;

/// Rows deleted at once by prefix, unless `CACHE` says otherwise.
const DELETE_BATCH: u32 = 100;
/// Most that `CACHE` may say.
const DELETE_BATCH_MAX: u32 = 10_000;

fn cell(row: &[u8], text: &[u8], timestamp: i64, kind: CellType, value: &[u8]) -> Result<Cell> {
    let (family, qualifier) = column(text);
    if family.is_empty() {
        return Err(Failure::says(format!("a column is family:qualifier, not `{}`", show::binary(text))));
    }
    let made = Cell::new(row, family, qualifier.unwrap_or_default(), timestamp, kind, value);
    made.map_err(|error| Failure::says(error.to_string()))
}

/// `ATTRIBUTES`, `TTL` and `VISIBILITY`.
fn apply(mutation: &mut Mutation, mut options: Options) -> Result<()> {
    if let Some(attributes) = options.texts("ATTRIBUTES")? {
        mutation.attributes = attributes;
    }
    mutation.ttl_ms = options.int("TTL")?;
    if options.take("VISIBILITY").is_some() {
        return Err(Failure::says("VISIBILITY: visibility labels are not there yet"));
    }
    options.done(&["ATTRIBUTES", "TTL", "VISIBILITY"])
}

/// `put`.
pub async fn put(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let (row, text, value) = (arguments.bytes("a row")?, arguments.bytes("a column")?, arguments.bytes("a value")?);
    let timestamp = arguments.optional_int("the timestamp")?.unwrap_or(LATEST_TIMESTAMP);
    let options = arguments.options()?;
    arguments.done()?;
    if timestamp < 0 {
        return Err(Failure::says(format!("a timestamp must not be negative: {timestamp}")));
    }
    let mut mutation = Mutation::new(MutationKind::Put, row.clone());
    mutation.cells.push(cell(&row, &text, timestamp, CellType::PUT, &value)?);
    apply(&mut mutation, options)?;
    context.table(&table).mutate(mutation).await?;
    Ok(Value::Nil)
}

/// Deletes of one kind: everything but the row.
struct Deletion {
    column: Option<Bytes>,
    timestamp: i64,
    /// All versions up to the timestamp, not one.
    all: bool,
}

impl Deletion {
    /// The optional arguments behind the row.
    fn of(arguments: &mut Arguments, all: bool) -> Result<Deletion> {
        let column = match arguments.peek() {
            None | Some(Value::Hash(_)) => None,
            Some(Value::Nil) => {
                arguments.next();
                None
            }
            Some(_) => Some(arguments.bytes("a column")?).filter(|column| !column.is_empty()),
        };
        let timestamp = arguments.optional_int("the timestamp")?.unwrap_or(LATEST_TIMESTAMP);
        let mut options = arguments.options()?;
        if options.take("VISIBILITY").is_some() {
            return Err(Failure::says("VISIBILITY: visibility labels are not there yet"));
        }
        options.done(&["VISIBILITY"])?;
        Ok(Deletion { column, timestamp, all })
    }

    fn of_row(&self, row: &Bytes) -> Result<Mutation> {
        let mut mutation = Mutation::new(MutationKind::Delete, row.clone());
        mutation.timestamp = self.timestamp;
        if let Some(text) = &self.column {
            let kind = match (column(text).1.is_some(), self.all) {
                (true, true) => CellType::DELETE_COLUMN,
                (true, false) => CellType::DELETE,
                (false, true) => CellType::DELETE_FAMILY,
                (false, false) => CellType::DELETE_FAMILY_VERSION,
            };
            mutation.cells.push(cell(row, text, self.timestamp, kind, &[])?);
        }
        Ok(mutation)
    }
}

/// `delete`.
pub async fn delete(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let row = arguments.bytes("a row")?;
    let deletion = Deletion::of(&mut arguments, false)?;
    arguments.done()?;
    if deletion.column.is_none() {
        return Err(Failure::says("`delete` needs a column; `deleteall` deletes rows"));
    }
    context.table(&table).mutate(deletion.of_row(&row)?).await?;
    Ok(Value::Nil)
}

/// `deleteall`.
pub async fn deleteall(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    if let Some(mut options) = arguments.hash()? {
        let Some(prefix) = options.bytes("ROWPREFIXFILTER")? else {
            return Err(Failure::says("`deleteall` needs a row or ROWPREFIXFILTER; see help 'deleteall'"));
        };
        let batch = options.positive("CACHE")?.unwrap_or(DELETE_BATCH).min(DELETE_BATCH_MAX);
        options.done(&["ROWPREFIXFILTER", "CACHE"])?;
        let deletion = Deletion::of(&mut arguments, true)?;
        arguments.done()?;
        delete_prefix(context, &table, prefix, batch, &deletion).await?;
        return Ok(Value::Nil);
    }
    let row = arguments.bytes("a row")?;
    let deletion = Deletion::of(&mut arguments, true)?;
    arguments.done()?;
    context.table(&table).mutate(deletion.of_row(&row)?).await?;
    Ok(Value::Nil)
}

async fn delete_prefix(
    context: &Context<'_>,
    name: &TableName,
    prefix: Bytes,
    batch: u32,
    deletion: &Deletion,
) -> Result<()> {
    if prefix.is_empty() {
        return Err(Failure::says("ROWPREFIXFILTER is empty; `truncate` empties a table"));
    }
    if name.is_meta() {
        return Err(Failure::says("deleteall with ROWPREFIXFILTER in hbase:meta is not allowed."));
    }
    let mut scan = Scan::default().with_prefix(prefix);
    let keys = vec![Filter::FirstKeyOnly, Filter::KeyOnly { len_as_val: false }];
    scan.selection.filter = Some(Filter::List { op: FilterListOp::MustPassAll, filters: keys });
    scan.caching = Some(batch);
    let table = context.table(name);
    let mut rows = table.scan(scan);
    loop {
        let mut mutations = Vec::new();
        while mutations.len() < batch as usize {
            let Some(row) = rows.next_row().await? else { break };
            if let Some(key) = row.row() {
                mutations.push(deletion.of_row(&Bytes::copy_from_slice(key))?);
            }
        }
        if mutations.is_empty() {
            return Ok(());
        }
        for answer in table.mutate_all(mutations).await {
            answer?;
        }
    }
}

/// `incr`.
pub async fn incr(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let (row, text) = (arguments.bytes("a row")?, arguments.bytes("a column")?);
    let amount = match arguments.peek() {
        Some(Value::Hash(_)) | None => 1,
        Some(_) => match arguments.need("a number")? {
            Value::Nil => 1,
            value => int("the number", &value)?,
        },
    };
    let options = arguments.options()?;
    arguments.done()?;
    let mut mutation = Mutation::new(MutationKind::Increment, row.clone());
    mutation.cells.push(cell(&row, &text, LATEST_TIMESTAMP, CellType::PUT, &amount.to_be_bytes())?);
    apply(&mut mutation, options)?;
    let answer = context.table(&table).mutate(mutation).await?;
    show_counter(context, answer.cells.first())
}

/// `append`.
pub async fn append(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let (row, text, value) = (arguments.bytes("a row")?, arguments.bytes("a column")?, arguments.bytes("a value")?);
    let options = arguments.options()?;
    arguments.done()?;
    let mut mutation = Mutation::new(MutationKind::Append, row.clone());
    mutation.cells.push(cell(&row, &text, LATEST_TIMESTAMP, CellType::PUT, &value)?);
    apply(&mut mutation, options)?;
    let answer = context.table(&table).mutate(mutation).await?;
    let Some(cell) = answer.cells.first() else { return Ok(Value::Nil) };
    let value = show::binary(cell.value());
    context.printer.line(format!("CURRENT VALUE = {value}"))?;
    context.printer.one(|| value.clone().into())?;
    Ok(Value::text(value))
}
