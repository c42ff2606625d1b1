//! Tables as a whole: `create`, `alter`, `describe`, `list`, `enable`, `drop`, `truncate` and their kin.

use model::schema::{TableDescriptor, TableName};
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::{Failure, Result};
use super::options::{Arguments, Options, table_name};
use super::schema;
use super::show;
use super::value::Value;

/// The arguments behind the table's name, arrays laid flat.
fn flat(arguments: &mut Arguments) -> Vec<Value> {
    fn add(value: Value, to: &mut Vec<Value>) {
        match value {
            Value::Array(items) => items.into_iter().for_each(|item| add(item, to)),
            Value::Nil => {}
            other => to.push(other),
        }
    }
    let mut all = Vec::new();
    while let Some(value) = arguments.next() {
        add(value, &mut all);
    }
    all
}

fn neither(value: &Value) -> Failure {
    Failure::says(format!("{} of {} is not of Hash or String type", value.kind(), value.inspect()))
}

fn no_options() -> Options {
    Options::empty("create")
}

/// `create`.
pub async fn create(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let mut table = TableDescriptor::new(arguments.table()?);
    let mut splits = None;
    for value in flat(&mut arguments) {
        let mut options = match value {
            Value::Text(name) => {
                replaces(context, &table, &name)?;
                table.families.remove(&name);
                schema::put_family(&mut table, name, no_options())?;
                continue;
            }
            Value::Hash(pairs) => Options::new("create", pairs)?,
            other => return Err(neither(&other)),
        };
        if let Some(name) = options.bytes("NAME")? {
            replaces(context, &table, &name)?;
            table.families.remove(&name);
            schema::put_family(&mut table, name, options)?;
            continue;
        }
        if options.text("METHOD")?.is_some_and(|method| method != "table_att") {
            return Err(Failure::says("table_att is currently the only supported method"));
        }
        if let Some(rows) = schema::splits(&mut options)? {
            splits = Some(rows);
        }
        schema::put_table(&mut table, options)?;
    }
    if table.families.is_empty() {
        return Err(Failure::says("Table must have at least one column family"));
    }
    table.validate().map_err(|error| Failure::says(error.to_string()))?;
    context.connection.admin().create_table(&table, &splits.unwrap_or_default()).await?;
    context.printer.line(format!("Created table {}", table.name))?;
    context.printer.one(|| table.name.to_string().into())?;
    Ok(Value::Table(table.name))
}

fn replaces(context: &mut Context<'_>, table: &TableDescriptor, name: &[u8]) -> Result<()> {
    if table.families.contains_key(name) {
        let name = show::binary(name);
        context.printer.line(format!("Family '{name}' already exists, the old one will be replaced"))?;
    }
    Ok(())
}

/// `alter`.
pub async fn alter(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    let admin = context.connection.admin();
    let changes = flat(&mut arguments);
    if changes.is_empty() {
        return Err(Failure::says("There should be at least one argument but the table name"));
    }
    if !admin.exists(&name).await? {
        return Err(Failure::says(format!("Can't find a table: {name}")));
    }
    let mut table = admin.descriptor(&name).await?;
    for value in changes {
        let mut options = match value {
            Value::Text(family) => {
                schema::put_family(&mut table, family, no_options())?;
                continue;
            }
            Value::Hash(pairs) => Options::new("alter", pairs)?,
            other => return Err(neither(&other)),
        };
        if let Some(family) = options.bytes("delete")? {
            schema::drop_family(&mut table, &family)?;
            options.done(&[])?;
            continue;
        }
        let Some(method) = options.text("METHOD")?.filter(|method| method != "table_att") else {
            match options.bytes("NAME")? {
                Some(family) => schema::put_family(&mut table, family, options)?,
                None if options.has("SPLITS") || options.has("SPLITS_FILE") || options.has("NUMREGIONS") => {
                    return Err(Failure::says("a table is cut when it is created; alter cannot"));
                }
                None => schema::put_table(&mut table, options)?,
            }
            continue;
        };
        let missing = || Failure::says(format!("NAME parameter missing for {method} method"));
        let named = options.take("NAME").ok_or_else(missing)?;
        match method.as_str() {
            "delete" => schema::drop_family(&mut table, &named.to_bytes().ok_or_else(missing)?)?,
            "table_att_unset" => schema::unset(&mut table, &named, "attribute")?,
            "table_conf_unset" => schema::unset(&mut table, &named, "configuration")?,
            other => return Err(Failure::says(format!("Unknown method: {other}"))),
        }
        options.done(&["NAME", "METHOD"])?;
    }
    table.validate().map_err(|error| Failure::says(error.to_string()))?;
    admin.modify_table(&table).await?;
    context.printer.line("Updating all regions with the new schema...")?;
    let regions = if admin.is_enabled(&name).await? { admin.regions(&name).await?.len() } else { 0 };
    match regions {
        0 => context.printer.line("All regions updated.")?,
        regions => context.printer.line(format!("{regions}/{regions} regions updated."))?,
    }
    context.printer.line("Done.")?;
    Ok(Value::Nil)
}

fn attributes_json(table: &TableDescriptor) -> Json {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let families = table.families.values().map(|family| {
        let mut settings: serde_json::Map<String, Json> =
            show::family_attributes(family).into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        settings.extend(show::family_metadata(family).into_iter().map(|(key, value)| (key.to_owned(), value.into())));
        json!({"name": show::binary(&family.name), "attributes": settings, "configuration": family.configuration})
    });
    let attributes: serde_json::Map<String, Json> =
        table.attributes.iter().map(|(key, value)| (key.clone(), text(value).into())).collect();
    json!({
        "table": table.name.to_string(),
        "attributes": attributes,
        "configuration": table.configuration,
        "families": families.collect::<Vec<_>>(),
    })
}

/// `describe`.
pub async fn describe(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let admin = context.connection.admin();
    must_exist(&admin, &name).await?;
    let table = admin.descriptor(&name).await?;
    let enabled = admin.is_enabled(&name).await?;
    let printer = &mut context.printer;
    printer.line(format!("Table {name} is {}", if enabled { "ENABLED" } else { "DISABLED" }))?;
    printer.line(format!("{name}{}", show::table_attributes(&table)))?;
    printer.line("COLUMN FAMILIES DESCRIPTION")?;
    for family in table.families.values() {
        printer.line(show::family(family))?;
        printer.line("")?;
    }
    printer.footer(table.families.len() as u64)?;
    printer.line("Quota is disabled")?;
    printer.one(|| {
        let mut json = attributes_json(&table);
        json["enabled"] = enabled.into();
        json
    })?;
    Ok(Value::Nil)
}

/// A text as the pattern of a whole table's name.
fn pattern(arguments: &mut Arguments) -> Result<Option<String>> {
    match arguments.peek() {
        None => Ok(None),
        Some(_) => arguments.text("a regular expression").map(Some),
    }
}

fn names(tables: &[TableName]) -> Value {
    Value::Array(tables.iter().map(|name| Value::text(name.to_string())).collect())
}

/// Prints names below a head, as rows of one column.
pub fn list_of(context: &mut Context<'_>, head: &str, names: &[String]) -> Result<()> {
    context.printer.line(head)?;
    for name in names {
        context.printer.line(name)?;
        context.printer.item(|| name.clone().into())?;
    }
    context.printer.footer(names.len() as u64)?;
    context.printer.end_items()?;
    Ok(())
}

async fn list_tables(context: &mut Context<'_>, tables: Vec<TableName>) -> Result<Value> {
    let texts: Vec<_> = tables.iter().map(TableName::to_string).collect();
    list_of(context, "TABLE", &texts)?;
    Ok(names(&tables))
}

/// `list`.
pub async fn list(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let pattern = pattern(&mut arguments)?;
    arguments.done()?;
    let tables = context.connection.admin().tables(pattern.as_deref()).await?;
    list_tables(context, tables).await
}

/// `list_enabled_tables`, `list_disabled_tables`.
pub async fn list_by_state(context: &mut Context<'_>, arguments: Arguments, enabled: bool) -> Result<Value> {
    arguments.done()?;
    let admin = context.connection.admin();
    let mut tables = Vec::new();
    for name in admin.tables(None).await? {
        if admin.is_enabled(&name).await? == enabled {
            tables.push(name);
        }
    }
    list_tables(context, tables).await
}

async fn must_exist(admin: &client::Admin, name: &TableName) -> Result<()> {
    if admin.exists(name).await? { Ok(()) } else { Err(Failure::says(format!("Table {name} does not exist."))) }
}

/// `exists`.
pub async fn exists(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let exists = context.connection.admin().exists(&name).await?;
    context.printer.line(format!("Table {name} does {}", if exists { "exist" } else { "not exist" }))?;
    context.printer.one(|| exists.into())?;
    Ok(Value::Bool(exists))
}

/// `is_enabled`, `is_disabled`.
pub async fn is_in_state(context: &mut Context<'_>, mut arguments: Arguments, enabled: bool) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let answer = context.connection.admin().is_enabled(&name).await? == enabled;
    context.printer.line(answer.to_string())?;
    context.printer.one(|| answer.into())?;
    Ok(Value::Bool(answer))
}

/// `enable`, `disable`.
pub async fn set_state(context: &mut Context<'_>, mut arguments: Arguments, enable: bool) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let admin = context.connection.admin();
    must_exist(&admin, &name).await?;
    // As in HBase, what is so already is no error.
    if admin.is_enabled(&name).await? != enable {
        if enable { admin.enable_table(&name).await? } else { admin.disable_table(&name).await? }
    }
    Ok(Value::Nil)
}

/// `drop`.
pub async fn drop(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let admin = context.connection.admin();
    must_exist(&admin, &name).await?;
    if admin.is_enabled(&name).await? {
        return Err(Failure::says(format!("Table {name} is enabled. Disable it first.")));
    }
    admin.delete_table(&name).await?;
    Ok(Value::Nil)
}

/// What `…_all` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `enable_all`.
    Enable,
    /// `disable_all`.
    Disable,
    /// `drop_all`.
    Drop,
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Change::Enable => "Enable",
            Change::Disable => "Disable",
            Change::Drop => "Drop",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Change::Enable => "enabled",
            Change::Disable => "disabled",
            Change::Drop => "dropped",
        }
    }
}

/// `enable_all`, `disable_all`, `drop_all`.
pub async fn change_all(context: &mut Context<'_>, mut arguments: Arguments, change: Change) -> Result<Value> {
    let pattern = arguments.text("a regular expression")?;
    arguments.done()?;
    let admin = context.connection.admin();
    let tables = admin.tables(Some(&pattern)).await?;
    if tables.is_empty() {
        context.printer.line(format!("No tables matched the regex {pattern}"))?;
        context.printer.end_items()?;
        return Ok(Value::Nil);
    }
    for name in &tables {
        context.printer.line(name.to_string())?;
    }
    context.printer.line("")?;
    if !context.agrees(&format!("{} the above {} tables", change.word(), tables.len()))? {
        context.printer.end_items()?;
        return Ok(Value::Nil);
    }
    let mut failed = Vec::new();
    for name in &tables {
        let answer = match change {
            Change::Enable => admin.enable_table(name).await,
            Change::Disable => admin.disable_table(name).await,
            Change::Drop => admin.delete_table(name).await,
        };
        match answer {
            Ok(()) => context.printer.item(|| name.to_string().into())?,
            Err(error) => {
                context.printer.line(format!("table:{name}, error:{error}"))?;
                failed.push(name.to_string());
            }
        }
    }
    context.printer.line(format!("{} tables successfully {}", tables.len() - failed.len(), change.done()))?;
    context.printer.end_items()?;
    if failed.is_empty() {
        return Ok(Value::Nil);
    }
    let (count, names) = (failed.len(), failed.join(","));
    Err(Failure::says(format!("{count} tables not {} due to an exception: {names}", change.done())))
}

/// `truncate`, `truncate_preserve`.
pub async fn truncate(context: &mut Context<'_>, mut arguments: Arguments, preserve: bool) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let admin = context.connection.admin();
    context.printer.line(format!("Truncating '{name}' table (it may take a while):"))?;
    if admin.is_enabled(&name).await? {
        context.printer.line("Disabling table...")?;
        admin.disable_table(&name).await?;
    }
    context.printer.line("Truncating table...")?;
    admin.truncate_table(&name, preserve).await?;
    Ok(Value::Nil)
}

/// `clone_table_schema`.
pub async fn clone_schema(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    let copy = table_name(&arguments.bytes("the new table's name")?)?;
    let preserve = match arguments.next() {
        None | Some(Value::Nil | Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(other) => {
            return Err(Failure::says(format!("whether splits are kept is true or false, not {}", other.inspect())));
        }
    };
    arguments.done()?;
    let admin = context.connection.admin();
    let mut table = admin.descriptor(&name).await?;
    let regions = if preserve { admin.regions(&name).await? } else { Vec::new() };
    let splits: Vec<_> =
        regions.into_iter().map(|region| region.info.start_key).filter(|start| !start.is_empty()).collect();
    table.name = copy;
    admin.create_table(&table, &splits).await?;
    Ok(Value::Nil)
}

/// `get_table`.
pub fn get_table(mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    Ok(Value::Table(name))
}
