//! Refusals with HBase's exception classes, and what to do about them.

use model::ErrorKind;
use model::schema::TableName;
use protocol::service::RpcError;

/// The error for what a rule forbids.
pub(crate) fn constraint(message: impl Into<String>) -> RpcError {
    RpcError::of(ErrorKind::Invalid, "constraint.ConstraintException", message)
}

/// The error for what needs a table out of service.
pub(crate) fn enabled_still(table: &TableName) -> RpcError {
    let message = format!("table {table} is enabled; disable it first");
    RpcError::of(ErrorKind::Conflict, "TableNotDisabledException", message)
}

/// The error for enabling a table in service.
pub(crate) fn enabled_already(table: &TableName) -> RpcError {
    RpcError::of(ErrorKind::Conflict, "TableNotDisabledException", format!("table {table} is enabled already"))
}

/// The error for what needs a table in service.
pub(crate) fn not_enabled(table: &TableName, advice: &str) -> RpcError {
    let message = format!("table {table} is disabled{advice}");
    RpcError::of(ErrorKind::Conflict, "TableNotEnabledException", message)
}

/// The error for a table that exists already.
pub(crate) fn table_exists(table: &TableName) -> RpcError {
    RpcError::of(ErrorKind::Exists, "TableExistsException", format!("table {table} exists already"))
}

/// The error for a table that does not exist.
pub(crate) fn table_not_found(table: &TableName) -> RpcError {
    RpcError::of(ErrorKind::NotFound, "TableNotFoundException", format!("table {table} does not exist"))
}

/// The error for a namespace that exists already.
pub(crate) fn namespace_exists(namespace: &str) -> RpcError {
    RpcError::of(ErrorKind::Exists, "NamespaceExistException", format!("namespace {namespace} exists already"))
}

/// The error for a namespace that does not exist.
pub(crate) fn namespace_not_found(namespace: &str) -> RpcError {
    let message = format!("namespace {namespace} does not exist");
    RpcError::of(ErrorKind::NotFound, "NamespaceNotFoundException", message)
}

/// The error for a namespace that holds tables.
pub(crate) fn namespace_not_empty(namespace: &str, table: &TableName) -> RpcError {
    let message = format!("only empty namespaces can be removed; {namespace} has tables, {table} among them");
    constraint(message)
}
