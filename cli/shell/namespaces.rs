//! Namespaces.

use client::Namespace;
use model::schema::TableName;
use serde_json::json;

use super::context::Context;
use super::error::{Failure, Result};
use super::options::{Arguments, Options};
use super::show;
use super::tables::list_of;
use super::value::Value;

/// Lays properties over a namespace; what has no text is an error.
fn set(namespace: &mut Namespace, options: &mut Options) -> Result<()> {
    for (key, value) in options.rest() {
        let wrong = || Failure::says(format!("the property {key} must be text, not {}", value.inspect()));
        namespace.properties.insert(key.clone(), value.to_text().ok_or_else(wrong)?);
    }
    Ok(())
}

/// `create_namespace`.
pub async fn create(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let mut namespace = Namespace::new(arguments.text("a namespace's name")?);
    while let Some(mut options) = arguments.hash()? {
        set(&mut namespace, &mut options)?;
    }
    arguments.done()?;
    context.connection.admin().create_namespace(&namespace).await?;
    Ok(Value::Nil)
}

/// `alter_namespace`.
pub async fn alter(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.text("a namespace's name")?;
    let admin = context.connection.admin();
    let mut namespace = admin.namespace(&name).await?;
    let mut changes = 0;
    while let Some(mut options) = arguments.hash()? {
        changes += 1;
        match options.text("METHOD")?.as_deref() {
            Some("set") => set(&mut namespace, &mut options)?,
            Some("unset") => {
                let key =
                    options.text("NAME")?.ok_or_else(|| Failure::says("NAME of the property to unset is missing"))?;
                options.done(&["METHOD", "NAME"])?;
                if namespace.properties.remove(&key).is_none() {
                    return Err(Failure::says(format!("namespace {name} has no property {key}")));
                }
            }
            _ => return Err(Failure::says("METHOD must be 'set' or 'unset'; see help 'alter_namespace'")),
        }
    }
    arguments.done()?;
    if changes == 0 {
        return Err(Failure::says("There should be at least one argument but the namespace name"));
    }
    admin.modify_namespace(&namespace).await?;
    Ok(Value::Nil)
}

/// `describe_namespace`.
pub async fn describe(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.text("a namespace's name")?;
    arguments.done()?;
    let namespace = context.connection.admin().namespace(&name).await?;
    context.printer.line("DESCRIPTION")?;
    context.printer.line(show::namespace(&namespace.name, namespace.properties.iter()))?;
    context.printer.line("Quota is disabled")?;
    context.printer.one(|| json!({"namespace": namespace.name, "properties": namespace.properties}))?;
    Ok(Value::Nil)
}

/// `drop_namespace`.
pub async fn drop(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.text("a namespace's name")?;
    arguments.done()?;
    context.connection.admin().delete_namespace(&name).await?;
    Ok(Value::Nil)
}

/// `list_namespace`.
pub async fn list(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let pattern = match arguments.peek() {
        None => None,
        Some(_) => Some(arguments.text("a regular expression")?),
    };
    arguments.done()?;
    let matches = match &pattern {
        None => None,
        Some(pattern) => Some(
            fancy_regex::Regex::new(&format!("^(?:{pattern})$"))
                .map_err(|error| Failure::says(format!("`{pattern}`: {error}")))?,
        ),
    };
    let mut names = Vec::new();
    for namespace in context.connection.admin().namespaces().await? {
        let wanted = match &matches {
            None => true,
            Some(regex) => regex.is_match(&namespace.name).map_err(|error| Failure::says(error.to_string()))?,
        };
        if wanted {
            names.push(namespace.name);
        }
    }
    list_of(context, "NAMESPACE", &names)?;
    Ok(Value::Nil)
}

/// `list_namespace_tables`.
pub async fn list_tables(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.text("a namespace's name")?;
    arguments.done()?;
    let mut tables = context.connection.admin().tables_of_namespace(&name).await?;
    tables.sort();
    // HBase shows names without their namespace here.
    let names: Vec<_> = tables.iter().map(|table: &TableName| table.qualifier().to_owned()).collect();
    list_of(context, "TABLE", &names)?;
    Ok(Value::Array(names.into_iter().map(Value::text).collect()))
}
