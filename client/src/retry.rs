//! When to try again: one deadline and a bound on attempts for an operation.
//!
//! Always true
//! - No attempt begins and no pause ends behind the deadline.
//! - What must not happen twice is not tried again once servers may have forgotten its nonce.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use protocol::service::RpcError;
use runtime::backoff::Backoff;

use crate::error::{ClientError, Effect, Subject};
use crate::location::Cluster;

/// How long after a lost answer its nonce is relied on. Servers keep nonces for 5 minutes.
const NONCE_TIME: Duration = Duration::from_secs(240);

/// The attempts of one operation.
#[derive(Debug)]
pub(crate) struct Retry {
    cluster: Arc<Cluster>,
    subject: Subject,
    end: Duration,
    attempts: u32,
    backoff: Backoff,
    doubt: Doubt,
}

/// Whether, and since when, an attempt may have succeeded unheard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Doubt(Option<Duration>);

impl Doubt {
    /// Takes in an attempt's failure.
    pub fn note(&mut self, cause: &RpcError, now: Duration) {
        if cause.kind == ErrorKind::Unknown {
            self.begin(now);
        }
    }

    /// An attempt may have succeeded.
    pub fn begin(&mut self, now: Duration) {
        self.0.get_or_insert(now);
    }

    /// Whether another attempt can help, and cannot harm. An unknown outcome is tried again: what must not happen twice
    /// carries a nonce.
    pub fn allows(&self, effect: Effect, cause: &RpcError, now: Duration) -> bool {
        let forgotten = effect == Effect::Once && self.0.is_some_and(|since| now.saturating_sub(since) > NONCE_TIME);
        may_retry(cause) && !forgotten
    }

    pub fn exists(&self) -> bool {
        self.0.is_some()
    }
}

impl Retry {
    pub fn new(cluster: &Arc<Cluster>, subject: Subject) -> Retry {
        let end = subject.end.unwrap_or_else(|| cluster.calls.now() + cluster.calls.settings.timeout);
        let backoff = Backoff::new(cluster.calls.settings.pause);
        Retry { cluster: cluster.clone(), subject, end, attempts: 0, backoff, doubt: Doubt::default() }
    }

    /// How long the operation may still take.
    pub fn remaining(&self) -> Duration {
        self.end.saturating_sub(self.cluster.calls.now())
    }

    /// How long one call may take.
    pub fn call_limit(&self) -> Duration {
        self.remaining().min(self.cluster.calls.settings.call_timeout)
    }

    /// The error that ends the operation.
    pub fn fail(&self, cause: RpcError) -> ClientError {
        ClientError::new(self.subject.clone(), self.attempts.max(1), self.doubt.exists(), cause)
    }

    /// The error of an operation that happened, though nobody can read how.
    pub fn fail_in_doubt(&self, cause: RpcError) -> ClientError {
        ClientError::new(self.subject.clone(), self.attempts.max(1), true, cause)
    }

    /// The error that ends the operation for one of its rows.
    pub fn fail_for(&self, row: &Bytes, effect: Effect, doubt: Doubt, cause: RpcError) -> ClientError {
        let subject = Subject { effect, ..self.subject.clone().row(row) };
        ClientError::new(subject, self.attempts.max(1), doubt.exists(), cause)
    }

    /// Something went well: pauses start small again.
    pub fn progress(&mut self) {
        self.attempts = 0;
        self.backoff = Backoff::new(self.cluster.calls.settings.pause);
    }

    /// An attempt failed: pauses, or says that it is over.
    pub async fn again(&mut self, cause: RpcError) -> Result<(), ClientError> {
        let now = self.cluster.calls.now();
        self.doubt.note(&cause, now);
        if !self.doubt.allows(self.subject.effect, &cause, now) {
            self.attempts += 1;
            return Err(self.fail(cause));
        }
        self.pause_after(cause).await.map_err(|cause| self.fail(cause))
    }

    /// Pauses before the next attempt; the failure that ends the operation if there is none.
    pub async fn pause_after(&mut self, cause: RpcError) -> Result<(), RpcError> {
        self.attempts += 1;
        if self.attempts >= self.cluster.calls.settings.attempts {
            return Err(cause);
        }
        if self.attempts > 1
            && matches!(cause.kind, ErrorKind::NotServing | ErrorKind::Moved)
            && let Some(table) = self.subject.table.as_ref().filter(|table| !table.is_meta())
            && let Ok(Some(why)) = self.cluster.why_disabled(table, self.call_limit()).await
        {
            return Err(why);
        }
        let pause = if retry_at_once(&cause) { Duration::ZERO } else { self.pause() };
        if pause >= self.remaining() {
            return Err(cause);
        }
        tracing::debug!(operation = self.subject.operation, attempt = self.attempts, error = %cause, "will try again");
        self.cluster.calls.runtime.clock.sleep(pause).await;
        Ok(())
    }

    fn pause(&mut self) -> Duration {
        self.backoff.next(&*self.cluster.calls.runtime.random)
    }
}

/// Whether another attempt can help.
pub(crate) fn may_retry(cause: &RpcError) -> bool {
    cause.kind.is_retriable() || matches!(cause.kind, ErrorKind::Unknown | ErrorKind::Fenced)
}

/// Whether the server asks to be called again without a pause.
fn retry_at_once(cause: &RpcError) -> bool {
    matches!(cause.short_class(), "RetryImmediatelyException" | "MultiActionResultTooLarge")
}
