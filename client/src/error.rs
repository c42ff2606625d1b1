//! What went wrong with an operation, and whether trying again can help.

use std::fmt;

use bytes::Bytes;
use model::ErrorKind;
use model::schema::TableName;
use protocol::service::RpcError;

/// Longest part of a row that an error shows.
const ROW_SHOWN: usize = 64;

/// A failed operation: what was tried, how often, and the last cause.
#[derive(Clone)]
pub struct ClientError(Box<Failure>);

#[derive(Clone, Debug)]
struct Failure {
    operation: &'static str,
    table: Option<TableName>,
    row: Option<Bytes>,
    attempts: u32,
    cause: RpcError,
}

impl ClientError {
    pub(crate) fn new(
        operation: &'static str,
        table: Option<TableName>,
        row: Option<Bytes>,
        attempts: u32,
        cause: RpcError,
    ) -> ClientError {
        ClientError(Box::new(Failure { operation, table, row, attempts, cause }))
    }

    /// An error found before anything was sent.
    pub(crate) fn local(operation: &'static str, cause: RpcError) -> ClientError {
        ClientError::new(operation, None, None, 0, cause)
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.cause.kind
    }

    /// HBase's exception class without its package, such as `TableNotFoundException`.
    pub fn class(&self) -> &str {
        let class = &self.0.cause.class;
        class.rsplit_once('.').map_or(class.as_str(), |(_, name)| name)
    }

    /// What the last cause says, without the operation around it.
    pub fn message(&self) -> &str {
        &self.0.cause.message
    }

    pub(crate) fn cause(&self) -> &RpcError {
        &self.0.cause
    }

    /// How many times the operation was sent; 0 if it failed before.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether the same operation may succeed later. Not so for [`ErrorKind::Unknown`]: it may have happened already.
    pub fn is_retriable(&self) -> bool {
        self.kind().is_retriable()
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { operation, table, row, attempts, cause } = &*self.0;
        write!(f, "{operation} failed")?;
        if *attempts > 1 {
            write!(f, " after {attempts} attempts")?;
        }
        write!(f, ": {} ({})", cause.message, self.class())?;
        if let Some(table) = table {
            write!(f, ". table=`{table}`")?;
        }
        if let Some(row) = row.as_ref().filter(|row| !row.is_empty()) {
            let shown = &row[..row.len().min(ROW_SHOWN)];
            let dots = if shown.len() < row.len() { "…" } else { "" };
            write!(f, "{} row=`{}{dots}`", if table.is_some() { "," } else { "." }, shown.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_tried() {
        let cause = RpcError::of(ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException", "no family `x`");
        let table = Some("ns:t".parse().expect("name"));
        let error = ClientError::new("put", table, Some(Bytes::from(vec![0xff; 70])), 3, cause);
        assert_eq!(error.class(), "NoSuchColumnFamilyException");
        let row = "\\xff".repeat(64);
        let said = format!(
            "put failed after 3 attempts: no family `x` (NoSuchColumnFamilyException). table=`ns:t`, row=`{row}…`"
        );
        assert_eq!(error.to_string(), said);
        assert!(!error.is_retriable());
    }
}
