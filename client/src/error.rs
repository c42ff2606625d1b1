//! What went wrong with an operation, and whether trying again can help.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use model::schema::TableName;
use protocol::service::RpcError;

/// Longest part of a row that an error shows.
const ROW_SHOWN: usize = 64;

/// What an operation does to what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Read,
    /// The same, however often it is done.
    Repeatable,
    /// Something else each time: it carries a nonce.
    Once,
}

/// What an operation is about, for its errors, and when it must be over.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub operation: &'static str,
    pub effect: Effect,
    pub table: Option<Arc<TableName>>,
    pub row: Option<Bytes>,
    /// By the monotonic clock; if not set, the connection's timeout after it began.
    pub end: Option<Duration>,
}

impl Subject {
    pub fn new(operation: &'static str, effect: Effect) -> Subject {
        Subject { operation, effect, table: None, row: None, end: None }
    }

    pub fn table(self, table: &TableName) -> Subject {
        self.of(&Arc::new(table.clone()))
    }

    /// As [`Subject::table`], for a name that is shared.
    pub fn of(mut self, table: &Arc<TableName>) -> Subject {
        self.table = Some(table.clone());
        self
    }

    pub fn row(mut self, row: &Bytes) -> Subject {
        self.row = Some(row.clone());
        self
    }

    pub fn until(mut self, end: Duration) -> Subject {
        self.end = Some(end);
        self
    }
}

/// A failed operation: what was tried, how often, and the last cause.
///
/// [`ClientError::kind`] says what to do; [`ClientError::class`] is HBase's exception, for those who know it.
///
/// ```no_run
/// # use ferrobase_client as client;
/// # use model::{ErrorKind, mutation::{Mutation, MutationKind}};
/// # async fn example(table: client::Table, change: Mutation) -> client::Result<()> {
/// if let Err(error) = table.mutate(change).await {
///     match error.kind() {
///         ErrorKind::NotFound => println!("no such table or family: {error}"),
///         ErrorKind::Unknown => println!("it may have happened: read before trying again: {error}"),
///         _ if error.is_retriable() => println!("the cluster did not recover in time; try later: {error}"),
///         _ => return Err(error),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientError(Box<Failure>);

#[derive(Clone, Debug)]
struct Failure {
    operation: &'static str,
    table: Option<Arc<TableName>>,
    row: Option<Bytes>,
    attempts: u32,
    kind: ErrorKind,
    in_doubt: bool,
    cause: RpcError,
}

impl ClientError {
    /// `in_doubt`: the answer to some attempt was lost.
    pub(crate) fn new(subject: Subject, attempts: u32, in_doubt: bool, cause: RpcError) -> ClientError {
        let Subject { operation, effect, table, row, .. } = subject;
        let in_doubt = in_doubt && effect != Effect::Read;
        let kind = match cause.kind {
            // Nothing can have happened: the answer is only missing.
            ErrorKind::Unknown if effect == Effect::Read => ErrorKind::Unavailable,
            // This attempt did nothing, an earlier one perhaps did.
            kind if in_doubt && kind.is_retriable() => ErrorKind::Unknown,
            kind => kind,
        };
        ClientError(Box::new(Failure { operation, table, row, attempts, kind, in_doubt, cause }))
    }

    /// An error found before anything was sent.
    pub(crate) fn local(operation: &'static str, cause: RpcError) -> ClientError {
        ClientError::new(Subject::new(operation, Effect::Read), 0, false, cause)
    }

    /// What the caller should do. [`ErrorKind::Unknown`] means that the change may have happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
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

    /// How many times the operation was sent since it last made progress; 0 if it failed before.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether the same operation may succeed later. Not so for [`ErrorKind::Unknown`]: it may have happened already.
    pub fn is_retriable(&self) -> bool {
        self.kind().is_retriable()
    }

    /// Whether the change may have happened, or may still happen, although the operation failed: the answer to one of its
    /// attempts was lost. Always true of [`ErrorKind::Unknown`], never of a read.
    pub fn may_have_happened(&self) -> bool {
        self.0.in_doubt || self.kind() == ErrorKind::Unknown
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { operation, table, row, attempts, cause, in_doubt, .. } = &*self.0;
        write!(f, "{operation} failed")?;
        if *attempts > 1 {
            write!(f, " after {attempts} attempts")?;
        }
        if *in_doubt {
            f.write_str(", though an attempt whose answer was lost may have succeeded")?;
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
        let subject = Subject::new("put", Effect::Repeatable).table(&"ns:t".parse().expect("name"));
        let subject = subject.row(&Bytes::from(vec![0xff; 70]));
        let error = ClientError::new(subject, 3, false, cause);
        assert_eq!(error.class(), "NoSuchColumnFamilyException");
        let row = "\\xff".repeat(64);
        let said = format!(
            "put failed after 3 attempts: no family `x` (NoSuchColumnFamilyException). table=`ns:t`, row=`{row}…`"
        );
        assert_eq!(error.to_string(), said);
        assert!(!error.is_retriable() && !error.may_have_happened());
    }

    #[test]
    fn a_lost_answer_makes_a_write_unknown_and_a_read_retriable() {
        let error = |effect, in_doubt, kind| {
            ClientError::new(Subject::new("it", effect), 2, in_doubt, RpcError::new(kind, "why"))
        };
        for effect in [Effect::Repeatable, Effect::Once] {
            for kind in [ErrorKind::Unknown, ErrorKind::Unavailable, ErrorKind::Busy, ErrorKind::NotServing] {
                let lost = error(effect, true, kind);
                assert_eq!((lost.kind(), lost.may_have_happened()), (ErrorKind::Unknown, true), "{kind}");
                assert!(lost.to_string().contains("may have succeeded"));
            }
            let refused = error(effect, true, ErrorKind::Conflict);
            assert_eq!((refused.kind(), refused.may_have_happened()), (ErrorKind::Conflict, true));
        }
        assert!(error(Effect::Once, false, ErrorKind::Busy).is_retriable());
        let read = error(Effect::Read, true, ErrorKind::Unknown);
        assert!(read.is_retriable() && !read.may_have_happened());
    }
}
