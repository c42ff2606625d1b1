//! Takes procedures in and runs them to their end.
//!
//! Always true
//! - A procedure is on storage before its id is answered, and each step after it is done.
//! - A procedure whose first write failed is taken out before the next one is let in.
//! - A step that failed for a passing reason is tried again, with growing pauses, as long as this master leads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use coordination::CoordinationError;
use model::ErrorKind;
use protocol::service::RpcError;
use runtime::backoff::Backoff;
use runtime::clock::within;
use runtime::task::spawn;

use crate::error::{MasterError, Result};
use crate::lock::LockGuard;
use crate::master::{FINISHED_KEPT, FINISHED_MAX, Known, Master};
use crate::procedure::{Outcome, Record};
use crate::regions::Failed;
use crate::steps::Next;

/// Base of the pauses between tries of a step.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for a lock, if the caller sets none.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// Requests waiting for locks at most.
const WAITING_MAX: u64 = 256;
/// How often the first write of a procedure is tried.
const FIRST_SAVES_MAX: usize = 5;

/// Counts something down when dropped.
struct Finally<F: FnMut()>(F);

impl<F: FnMut()> Drop for Finally<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Master {
    /// Checks, plans and starts a procedure under a lock; answers its id. `plan` sees the lock held. A repeated nonce
    /// answers the first one's id. The work goes on if the caller goes away.
    pub(crate) async fn submit<F, P>(
        &self,
        key: String,
        nonce: (u64, u64),
        timeout: Option<Duration>,
        plan: F,
    ) -> std::result::Result<u64, RpcError>
    where
        F: FnOnce(Arc<Master>) -> P + Send + 'static,
        P: Future<Output = Result<Record>> + Send + 'static,
    {
        self.check_running()?;
        if let Some(id) = self.known_nonce(nonce) {
            return Ok(id);
        }
        let master = self.arc();
        let work = async move {
            let guard = master.wait_for_lock(&key, timeout.unwrap_or(LOCK_WAIT)).await?;
            if let Some(id) = master.known_nonce(nonce) {
                return Ok(id);
            }
            master.check_running()?;
            let mut record = plan(master.clone()).await.map_err(|error| master.refusal(error))?;
            record.id =
                u64::from(master.leadership.master_epoch) << 32 | master.counter.fetch_add(1, Ordering::Relaxed);
            (record.nonce_group, record.nonce) = nonce;
            (record.submitted_ms, record.updated_ms) = (master.now_ms(), master.now_ms());
            master.forget_cancelled().await.map_err(|error| master.refusal(error))?;
            if let Err(error) = master.save_first(&mut record).await {
                master.procedures.lock().cancelled.insert(record.id);
                return Err(master.refusal(error));
            }
            let id = record.id;
            tracing::info!(id, kind = record.kind.class(), about = record.lock_key(), "procedure begins");
            master.start_procedures(vec![record], guard, false);
            Ok(id)
        };
        match spawn("submit", self.tasks.track_future(work)).await {
            Ok(answer) => answer,
            Err(error) => Err(RpcError::new(ErrorKind::Unknown, error.to_string())),
        }
    }

    fn known_nonce(&self, nonce: (u64, u64)) -> Option<u64> {
        (nonce.1 != 0).then(|| self.procedures.lock().by_nonce.get(&nonce).copied()).flatten()
    }

    async fn wait_for_lock(&self, key: &str, limit: Duration) -> std::result::Result<LockGuard, RpcError> {
        let busy = |message: &str| RpcError::of(ErrorKind::Busy, "CallQueueTooBigException", message);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(busy("too many schema changes wait"));
        }
        let _waiting = Finally(|| _ = self.waiting.fetch_sub(1, Ordering::AcqRel));
        let got = within(&*self.ctx.runtime.clock, limit, self.locks.lock(key)).await;
        got.ok_or_else(|| busy("another schema change of the same name is still running"))
    }

    fn refusal(&self, error: MasterError) -> RpcError {
        if self.is_end(&error) {
            self.stop_as_replaced(&error);
            return self.not_running();
        }
        error.into()
    }

    /// Whether the error alone proves that another master leads.
    pub(crate) fn is_end(&self, error: &MasterError) -> bool {
        matches!(error, MasterError::Coordination(CoordinationError::Fenced { .. })) || self.ctx.log.is_fenced()
    }

    /// Runs procedures that are on storage, one after the other. The lock is held until they end and, if `resumed` from an
    /// earlier life, the table is served again.
    pub(crate) fn start_procedures(&self, records: Vec<Record>, guard: LockGuard, resumed: bool) {
        records.iter().for_each(|record| self.note(record));
        self.running.send_modify(|running| *running += 1);
        let master = self.arc();
        let work = async move {
            let _running = Finally(|| master.running.send_modify(|running| *running -= 1));
            let _guard = guard;
            let table = records.iter().find_map(|record| record.table().cloned()).filter(|_| resumed);
            for record in records {
                master.run(record).await;
            }
            if let Some(table) = table {
                master.open_missing(&table).await;
            }
        };
        spawn("procedure", self.tasks.track_future(work));
    }

    async fn run(&self, mut record: Record) {
        let mut backoff = Backoff::new(PAUSE);
        while !record.is_finished() {
            if self.shutdown.is_signalled() {
                return;
            }
            let done = match &record.outcome {
                Outcome::Undoing { class, message } => {
                    let ended = Outcome::Failed { class: class.clone(), message: message.clone() };
                    self.undo(&record).await.map(|()| record.outcome = ended)
                }
                _ => match self.step(&record).await {
                    Ok(Next::Step) => {
                        record.step += 1;
                        Ok(())
                    }
                    Ok(Next::End(failed)) => {
                        record.outcome = ended(&failed);
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = done {
                let (id, step) = (record.id, record.step);
                if error.kind() == ErrorKind::Fenced && self.check_replaced(&error).await {
                    return;
                }
                let gives_up = record.outcome == Outcome::Running && record.can_give_up() && !error.is_passing();
                if gives_up {
                    tracing::warn!(id, step, %error, "procedure gives up");
                    record.give_up(&error.into());
                } else {
                    tracing::warn!(id, step, %error, tries = backoff.tries(), "step of a procedure failed; again");
                    self.pause(&mut backoff).await;
                    continue;
                }
            }
            backoff = Backoff::new(PAUSE);
            if !self.save(&mut record).await {
                return;
            }
        }
        tracing::info!(id = record.id, kind = record.kind.class(), error = ?record.error(), "procedure ended");
    }

    /// Whether another master leads, which is then the end of this one.
    async fn check_replaced(&self, error: &MasterError) -> bool {
        let replaced =
            self.is_end(error) || self.leadership.is_current(&self.ctx.fs).await.is_ok_and(|current| !current);
        if replaced {
            self.stop_as_replaced(error);
        }
        replaced
    }

    /// Waits a while, or until the master stops.
    pub(crate) async fn pause(&self, backoff: &mut Backoff) {
        let pause = backoff.next(&*self.ctx.runtime.random);
        within(&*self.ctx.runtime.clock, pause, self.shutdown.wait()).await;
    }

    /// Writes a procedure's row until it stands. False if the master stops first.
    async fn save(&self, record: &mut Record) -> bool {
        record.saves += 1;
        record.updated_ms = self.now_ms();
        let mut backoff = Backoff::new(PAUSE);
        while let Err(error) = self.journal.save(record).await {
            let error = MasterError::from(error);
            if error.kind() == ErrorKind::Fenced && self.check_replaced(&error).await {
                return false;
            }
            tracing::warn!(id = record.id, %error, "a procedure could not be written down; again");
            self.pause(&mut backoff).await;
            if self.shutdown.is_signalled() {
                return false;
            }
        }
        self.note(record);
        true
    }

    /// Removes procedures whose first write failed: a log may show them all the same after a restart, and nothing else
    /// may begin before that is ruled out.
    async fn forget_cancelled(&self) -> Result<()> {
        let cancelled: Vec<u64> = self.procedures.lock().cancelled.iter().copied().collect();
        for id in cancelled {
            self.journal.remove(id).await?;
            self.procedures.lock().cancelled.remove(&id);
        }
        Ok(())
    }

    /// The first write: if it fails for good, nothing has begun.
    async fn save_first(&self, record: &mut Record) -> Result<()> {
        record.saves += 1;
        let mut backoff = Backoff::new(PAUSE);
        loop {
            match self.journal.save(record).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let error = MasterError::from(error);
                    let lasting = !error.is_passing() || matches!(error.kind(), ErrorKind::Full | ErrorKind::Fenced);
                    if lasting || backoff.tries() + 1 >= FIRST_SAVES_MAX || self.shutdown.is_signalled() {
                        return Err(error);
                    }
                    self.pause(&mut backoff).await;
                }
            }
        }
    }

    /// Remembers a procedure as it stands on storage.
    pub(crate) fn note(&self, record: &Record) {
        let finished_at = record.is_finished().then(|| self.ctx.runtime.clock.monotonic());
        let mut procedures = self.procedures.lock();
        if record.nonce != 0 {
            procedures.by_nonce.insert((record.nonce_group, record.nonce), record.id);
        }
        procedures.by_id.insert(record.id, Known { record: record.clone(), finished_at });
    }

    /// Forgets procedures that ended long ago, and the oldest if there are too many.
    pub(crate) async fn forget_finished(&self) -> Result<()> {
        let now = self.ctx.runtime.clock.monotonic();
        let old: Vec<u64> = {
            let procedures = self.procedures.lock();
            let finished = || procedures.by_id.iter().filter_map(|(id, known)| Some((*id, known.finished_at?)));
            let excess = finished().count().saturating_sub(FINISHED_MAX);
            let too_many = finished().take(excess).map(|(id, _)| id);
            let too_old = finished().filter(|(_, at)| now.saturating_sub(*at) > FINISHED_KEPT).map(|(id, _)| id);
            too_many.chain(too_old).collect()
        };
        for id in old {
            self.journal.remove(id).await?;
            let mut procedures = self.procedures.lock();
            if let Some(known) = procedures.by_id.remove(&id) {
                procedures.by_nonce.remove(&(known.record.nonce_group, known.record.nonce));
            }
        }
        Ok(())
    }
}

/// How a procedure ends whose regions failed to open: done, with a word about them.
fn ended(failed: &[Failed]) -> Outcome {
    match failed.first() {
        None => Outcome::Done,
        Some((info, error)) => Outcome::Failed {
            class: error.class.clone(),
            message: format!("{} region(s) do not open; tried again from time to time. {info}: {error}", failed.len()),
        },
    }
}
