//! When to try again: one deadline and a bound on attempts for an operation, and what an error says about a location.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use model::schema::TableName;
use protocol::service::RpcError;
use runtime::backoff::Backoff;

use crate::error::ClientError;
use crate::location::Cluster;

/// What an operation is about, for its errors.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub operation: &'static str,
    pub table: Option<TableName>,
    pub row: Option<Bytes>,
}

impl Subject {
    pub fn new(operation: &'static str) -> Subject {
        Subject { operation, table: None, row: None }
    }

    pub fn table(mut self, table: &TableName) -> Subject {
        self.table = Some(table.clone());
        self
    }

    pub fn row(mut self, row: &Bytes) -> Subject {
        self.row = Some(row.clone());
        self
    }
}

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Retry {
    cluster: Arc<Cluster>,
    subject: Subject,
    end: Duration,
    attempts: u32,
    backoff: Backoff,
}

impl Retry {
    pub fn new(cluster: &Arc<Cluster>, subject: Subject) -> Retry {
        Retry::lasting(cluster, subject, cluster.calls.settings.timeout)
    }

    pub fn lasting(cluster: &Arc<Cluster>, subject: Subject, time: Duration) -> Retry {
        let end = cluster.calls.runtime.clock.monotonic() + time;
        let backoff = Backoff::new(cluster.calls.settings.pause);
        Retry { cluster: cluster.clone(), subject, end, attempts: 0, backoff }
    }

    /// How long the operation may still take.
    pub fn remaining(&self) -> Duration {
        self.end.saturating_sub(self.cluster.calls.runtime.clock.monotonic())
    }

    /// How long one call may take.
    pub fn call_limit(&self) -> Duration {
        self.remaining().min(self.cluster.calls.settings.call_timeout)
    }

    /// The error that ends the operation.
    pub fn fail(&self, cause: RpcError) -> ClientError {
        self.fail_for(self.subject.row.clone(), cause)
    }

    /// The error that ends the operation for one of its rows.
    pub fn fail_for(&self, row: Option<Bytes>, cause: RpcError) -> ClientError {
        ClientError::new(self.subject.operation, self.subject.table.clone(), row, self.attempts.max(1), cause)
    }

    /// Something went well: pauses start small again.
    pub fn progress(&mut self) {
        self.attempts = 0;
        self.backoff = Backoff::new(self.cluster.calls.settings.pause);
    }

    /// An attempt failed: pauses, or says that it is over.
    pub async fn again(&mut self, cause: RpcError) -> Result<(), ClientError> {
        self.attempts += 1;
        if !may_retry(&cause) || self.attempts >= self.cluster.calls.settings.attempts {
            return Err(self.fail(cause));
        }
        if self.attempts > 1
            && matches!(cause.kind, ErrorKind::NotServing | ErrorKind::Moved)
            && let Some(table) = self.subject.table.as_ref().filter(|table| !table.is_meta())
            && let Ok(false) = self.cluster.may_be_served(table, self.call_limit()).await
        {
            let cause = RpcError::of(ErrorKind::Conflict, "TableNotEnabledException", format!("{table} is disabled."));
            return Err(self.fail(cause));
        }
        let pause = if retry_at_once(&cause) { Duration::ZERO } else { self.pause() };
        if pause >= self.remaining() {
            return Err(self.fail(cause));
        }
        tracing::debug!(operation = self.subject.operation, attempt = self.attempts, error = %cause, "will try again");
        self.cluster.calls.runtime.clock.sleep(pause).await;
        Ok(())
    }

    /// The next pause, for whoever polls.
    pub fn pause(&mut self) -> Duration {
        self.backoff.next(&*self.cluster.calls.runtime.random)
    }
}

/// Whether another attempt can help. An unknown outcome is tried again: what must not happen twice carries a nonce.
pub(crate) fn may_retry(cause: &RpcError) -> bool {
    cause.kind.is_retriable() || matches!(cause.kind, ErrorKind::Unknown | ErrorKind::Fenced)
}

/// Whether the server asks to be called again without a pause.
fn retry_at_once(cause: &RpcError) -> bool {
    matches!(cause.short_class(), "RetryImmediatelyException" | "MultiActionResultTooLarge")
}
