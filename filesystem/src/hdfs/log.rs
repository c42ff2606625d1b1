//! Logs: one file, appended and synced by its one writer.
//!
//! Always true
//! - A log begun with its first bytes takes its name by renaming an open file that is known to work, so that a name is taken either by a
//!   log that works or by somebody else.
//! - A writer whose append or sync failed, or was cut, is spoilt: every later call fails, and its file is closed by lease recovery, so
//!   that its blocks are looked after. What was synced stays.
//! - Once a log was sealed its writer's next sync fails: the NameNode has taken the lease away.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::Client;
use runtime::task::{Task, spawn};
use tokio::sync::Mutex;

use super::blob::aside;
use super::file::{self, File};
use super::link::{Failure, Link, Moved, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::{Filesystem, LogOutcome, LogWriter};

/// A log that was begun with too few replicas is given up after this time, so that the next one gets more.
const FEW_REPLICAS_MAX: Duration = Duration::from_secs(60);
/// How often the recovery of a file that was given up is asked for.
const RECOVERIES_MAX: u32 = 60;

struct State {
    link: Arc<Link>,
    key: String,
    path: String,
    /// None: spoilt, or a call runs; a call that is cut does not give it back.
    file: Option<File>,
    why: String,
    used: Duration,
    begun: Duration,
    replication: u32,
}

impl State {
    fn take(&mut self) -> Result<File> {
        let few = self.replication < self.link.file_defaults.lock().0;
        if few && self.link.clock.monotonic() - self.begun > FEW_REPLICAS_MAX && self.file.is_some() {
            self.spoil("it was begun with too few replicas: the next log gets more".to_owned());
        }
        let file = self.file.take();
        file.ok_or_else(|| Error::new(ErrorKind::Unavailable, &self.key, format!("the log was given up: {}", self.why)))
    }

    fn give_back(&mut self, file: File) {
        self.used = self.link.clock.monotonic();
        self.file = Some(file);
    }

    fn spoil(&mut self, why: String) {
        self.why = why;
        retire(&self.link, self.path.clone(), self.file.take(), self.replication);
    }

    fn fail(&mut self, what: &str, file: File, failure: &Failure) -> Error {
        drop(file);
        if failure.verdict() == Verdict::Doubt {
            self.link.suspect();
        }
        let error = self.link.error(&self.key, what, failure, failure.verdict() == Verdict::Doubt);
        self.spoil(error.to_string());
        error
    }

    async fn sync(&mut self) -> Result<()> {
        let mut file = self.take()?;
        self.why = "a sync was cut".to_owned();
        match self.link.bounded(self.link.settings.sync_timeout, file.sync()).await {
            Ok(()) if file.erasure_coded => {
                let why =
                    "the folder is erasure coded, where no log can be: set it to replication (hdfs ec -unsetPolicy)";
                self.spoil(why.to_owned());
                Err(Error::new(ErrorKind::Invalid, &self.key, why))
            }
            Ok(()) => {
                self.give_back(file);
                Ok(())
            }
            Err(failure) => Err(self.fail("sync", file, &failure)),
        }
    }
}

/// Closes a file in the background; one that cannot be closed any more by having its lease recovered.
fn retire(link: &Arc<Link>, path: String, file: Option<File>, replication: u32) {
    if tokio::runtime::Handle::try_current().is_err() {
        return; // the process ends; whoever fences the stream recovers it
    }
    let link = link.clone();
    drop(spawn("hdfs log retire", async move {
        let mut closed = false;
        if let Some(mut file) = file {
            let synced = link.bounded(link.settings.data_timeout, file.sync()).await;
            closed = synced.is_ok() && file::close(&link, &mut file).await.is_ok();
        }
        for _ in 0..RECOVERIES_MAX {
            if closed {
                break;
            }
            let path = path.as_str();
            let call = |client: Client| async move { client.recover_lease(path).await };
            match link.once(link.settings.rpc_timeout, call).await {
                Ok(done) => closed = done,
                // Deleted.
                Err(failure) if failure.verdict() == Verdict::Absent => return,
                Err(_) => {}
            }
            if !closed {
                link.clock.sleep(Duration::from_secs(2)).await;
            }
        }
        if closed {
            file::restore_replication(&link, &path, replication).await;
        } else {
            tracing::warn!(
                path,
                "a log that was given up stays open: its blocks get no new replicas until it is sealed"
            );
        }
    }));
}

/// Writes one log.
pub(super) struct HdfsLogWriter {
    state: Arc<Mutex<State>>,
    len: u64,
    warm: Task<()>,
}

impl fmt::Debug for HdfsLogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HdfsLogWriter").field("len", &self.len).finish_non_exhaustive()
    }
}

impl HdfsLogWriter {
    fn new(link: &Arc<Link>, key: &str, path: String, file: File) -> HdfsLogWriter {
        let now = link.clock.monotonic();
        let (len, replication) = (file.len, file.replication);
        let state = Arc::new(Mutex::new(State {
            link: link.clone(),
            key: key.to_owned(),
            path,
            file: Some(file),
            why: String::new(),
            used: now,
            begun: now,
            replication,
        }));
        // Keeps the pipeline: an idle one is cut by the DataNodes, or loses a node without anybody seeing it.
        let (weak, clock, every) = (Arc::downgrade(&state), link.clock.clone(), link.settings.keep_warm);
        let warm = spawn("hdfs log warm", async move {
            loop {
                clock.sleep(every).await;
                let Some(state) = weak.upgrade() else { return };
                let mut state = state.lock().await;
                if state.file.is_none() {
                    return;
                }
                if clock.monotonic() - state.used >= every
                    && let Err(error) = state.sync().await
                {
                    tracing::warn!(%error, "an idle log was given up");
                }
            }
        });
        HdfsLogWriter { state, len, warm }
    }
}

#[async_trait]
impl LogWriter for HdfsLogWriter {
    async fn append(&mut self, data: Bytes) -> Result<()> {
        let mut state = self.state.lock().await;
        let mut file = state.take()?;
        state.why = "an append was cut".to_owned();
        let len = data.len() as u64;
        // Blocks that become full are synced on the way.
        let limit = state.link.settings.sync_timeout + Duration::from_micros(len / 10);
        let link = state.link.clone();
        match link.bounded(limit, file.push(data)).await {
            Ok(()) => state.give_back(file),
            Err(failure) => return Err(state.fail("append", file, &failure)),
        }
        self.len += len;
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        self.state.lock().await.sync().await
    }

    /// Does not look at the next name: a fence seals this log, and a sealed log syncs nothing any more.
    async fn commit(&mut self, data: Bytes, _: &dyn Filesystem, _: &str) -> Result<bool> {
        self.append(data).await?;
        self.sync().await?;
        Ok(false)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

impl Drop for HdfsLogWriter {
    fn drop(&mut self) {
        self.warm.abort();
        // Held only by the task that was just told to stop, if at all.
        if let Ok(mut state) = self.state.try_lock()
            && state.file.is_some()
        {
            state.spoil("its writer was dropped".to_owned());
        }
    }
}

/// Creates an empty log.
pub(super) async fn create(link: &Arc<Link>, key: &str) -> Result<LogOutcome> {
    let path = link.at(key);
    let mut budget = link.budget(link.settings.deadline);
    let (full, block_size) = *link.file_defaults.lock();
    let mut doubt = false;
    loop {
        let failure = match file::create(link, &path, file::options(full, block_size)).await {
            Ok(file) => return Ok(LogOutcome::Created(Box::new(HdfsLogWriter::new(link, key, path, file)))),
            Err(failure) => failure,
        };
        match failure.verdict() {
            // Perhaps by an earlier try, whose writer nobody holds.
            Verdict::Taken if doubt => return Err(link.error(key, "create the log", &failure, true)),
            Verdict::Taken => return Ok(LogOutcome::Exists),
            Verdict::Absent => make_parent(link, key, &path).await?,
            Verdict::Refused(_) => return Err(link.error(key, "create the log", &failure, doubt)),
            Verdict::Later(_) => {}
            Verdict::Doubt => doubt = true,
        }
        if !budget.pause().await {
            return Err(link.error(key, "create the log", &failure, doubt));
        }
    }
}

async fn make_parent(link: &Arc<Link>, key: &str, path: &str) -> Result<()> {
    let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
    link.make_folder(key, folder).await
}

/// Creates a log with its first bytes durable.
pub(super) async fn begin(link: &Arc<Link>, key: &str, first: &Bytes) -> Result<LogOutcome> {
    let target = link.at(key);
    let block_size = link.file_defaults.lock().1;
    let mut begun = None;
    for _ in 0..2 {
        let token = link.token();
        let name = |i| aside(&target, &format!("{token}{i}"));
        match file::begin(link, key, name, first, block_size).await {
            Err(error) if error.kind() == ErrorKind::NotFound => make_parent(link, key, &target).await?,
            done => {
                begun = Some(done?);
                break;
            }
        }
    }
    let Some((file, path)) = begun else {
        return Err(Error::new(ErrorKind::Unavailable, key, "the log's folder vanishes again and again"));
    };
    let exists = match link.rename(key, &path, &target).await {
        Ok(Moved::Done) => false,
        Ok(Moved::Taken { doubt: false }) => true,
        // The answer to an earlier try was lost; only a rename takes the file away, or somebody who abandons it, after whom every sync
        // fails.
        Ok(Moved::Taken { doubt: true } | Moved::Absent { doubt: true }) => {
            file::look(link, key, &path).await?.is_some()
        }
        Ok(Moved::Absent { doubt: false }) => return Err(file::vanished(key)),
        Err(error) => {
            drop(file);
            return Err(error);
        }
    };
    if exists {
        drop(file);
        link.discard(vec![path]);
        return Ok(LogOutcome::Exists);
    }
    Ok(LogOutcome::Created(Box::new(HdfsLogWriter::new(link, key, target, file))))
}

/// Takes the lease of a log away from whoever holds it and answers the length that then is final.
pub(super) async fn seal(link: &Arc<Link>, key: &str) -> Result<Option<u64>> {
    let path = link.at(key);
    let mut budget = link.budget(link.settings.seal_deadline);
    loop {
        let path = path.as_str();
        let call = |client: Client| async move { client.recover_lease(path).await };
        let failure = match link.once(link.settings.rpc_timeout, call).await {
            Ok(true) => return Ok(file::look(link, key, path).await?.map(|status| status.length as u64)),
            Ok(false) => None,
            Err(failure) => Some(failure),
        };
        match failure.as_ref().map(Failure::verdict) {
            Some(Verdict::Absent) => return Ok(None),
            Some(Verdict::Refused(_)) => {
                return Err(link.error(key, "seal", failure.as_ref().expect("it failed"), false));
            }
            _ => {}
        }
        if !budget.pause().await {
            let why = "seal: the NameNode has not taken the log from its writer in time; are too many DataNodes gone?";
            return Err(failure.map_or_else(
                || Error::new(ErrorKind::Unavailable, key, why),
                |failure| link.error(key, "seal", &failure, false),
            ));
        }
    }
}
