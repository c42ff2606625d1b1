//! Log roots: the one that a server writes to, and those that hold what regions still need (`docs/formats/log-roots.md`).
//!
//! Always true
//! - A root counts as the one that the register means only if it has the mark that the register names.
//! - What regions need and cannot be reached ends a start before anything was changed.

use std::sync::Arc;

use async_trait::async_trait;
use coordination::{CoordinationError, Leadership, LogMark, LogRoot, LogRoots};
use filesystem::{Error, ErrorKind, Filesystem};
use runtime::Runtime;
use storage::wal::{FindRoot, Log, LogSettings, StreamId};

use crate::failure::Failure;
use crate::roots::{RootFlags, Use};

/// What a data root's log roots are found with.
#[derive(Debug)]
pub struct Logs {
    data: Arc<dyn Filesystem>,
    url: String,
    flags: RootFlags,
    runtime: Runtime,
}

/// The log roots of a start, all opened and looked at, nothing changed.
#[derive(Debug)]
pub struct LogPlace {
    logs: Logs,
    /// `None`: the data root.
    own: Option<(String, Arc<dyn Filesystem>)>,
    others: Vec<(u32, Arc<dyn Filesystem>)>,
}

fn failure_of(flag: &str, url: &str, error: CoordinationError) -> Failure {
    let message = format!("{flag} {url}: {error}");
    match error.kind() {
        model::ErrorKind::Unavailable | model::ErrorKind::Busy => Failure { code: 4, message },
        model::ErrorKind::Denied | model::ErrorKind::Invalid => Failure::usage(message),
        _ => Failure::failed(message),
    }
}

fn foreign(url: &str, theirs: &str, ours: Option<&str>) -> Failure {
    let ours = ours.map_or("the data root has none yet".to_owned(), |ours| format!("the data root has {ours}"));
    let what = "streams of two clusters cannot lie together; name another place, or the right --data";
    Failure::usage(format!("--wal {url}: this is a root of the cluster {theirs}, {ours}: {what}"))
}

impl Logs {
    /// For the data root `data`, given by this URL.
    pub fn new(data: Arc<dyn Filesystem>, url: &str, flags: &RootFlags, runtime: &Runtime) -> Result<Logs, Failure> {
        let url = flags.canonical("--data", url)?;
        Ok(Logs { data, url, flags: flags.clone(), runtime: runtime.clone() })
    }

    async fn open(&self, root: &LogRoot, how: Use) -> Result<Arc<dyn Filesystem>, Failure> {
        const FLAG: &str = "log root";
        let LogRoot { url, mark, .. } = root;
        let fs = self.flags.open_for(how, FLAG, url, &self.runtime).await?;
        match coordination::log_mark(&fs).await.map_err(|error| failure_of(FLAG, url, error))? {
            Some(found) if found.mark == *mark => Ok(fs),
            Some(LogMark { cluster_id, .. }) => {
                let why = "another log root lies there";
                Err(Failure::usage(format!("{FLAG} {url}: {why}, of the cluster {cluster_id}")))
            }
            None => {
                let why = "no log root lies there (no ferrobase/log/root): an empty folder, another machine's, or not mounted";
                Err(Failure::usage(format!("{FLAG} {url}: {why}")))
            }
        }
    }

    /// Opens the log root of a start, as `--wal` names it, and all others that may still be needed.
    ///
    /// # Errors
    /// 4 if one cannot be reached, 2 if one is not what it should be; nothing was changed.
    pub async fn prepare(self, wal: Option<&str>) -> Result<LogPlace, Failure> {
        let wanted = wal.map(|wal| self.flags.canonical("--wal", wal)).transpose()?.filter(|wal| *wal != self.url);
        let known = LogRoots::read(&self.data).await?;
        let cluster_id = coordination::cluster_id(&self.data).await?;
        let (mut others, mut own, mut failed) = (Vec::new(), None, Vec::new());
        for root in known.iter() {
            let is_own = wanted.as_ref() == Some(&root.url);
            if root.idle && !is_own {
                continue;
            }
            match self.open(root, if is_own { Use::Serve } else { Use::Look }).await {
                Ok(fs) => {
                    own = own.or(is_own.then(|| fs.clone()));
                    others.push((root.id, fs));
                }
                Err(failure) => failed.push((root, failure)),
            }
        }
        let missing =
            |url: &str| Ok::<_, Failure>(self.flags.folder("--wal", url)?.is_some_and(|folder| !folder.is_dir()));
        let listed = known.iter().any(|root| wanted.as_ref() == Some(&root.url));
        let mut new = false;
        if let Some(url) = wanted.as_ref().filter(|_| !listed) {
            new = missing(url)?;
            if !new {
                let fs = self.flags.open_for(Use::Serve, "--wal", url, &self.runtime).await?;
                own = self.is_free(url, &fs, cluster_id.as_deref(), &known).await?.then_some(fs);
            }
        }
        // A root that was moved is known by its mark.
        if let (Some(fs), Some(url)) = (&own, &wanted)
            && let Some(found) = coordination::log_mark(fs).await.map_err(|error| failure_of("--wal", url, error))?
            && let Some(at) = failed.iter().position(|(root, _)| root.mark == found.mark)
        {
            others.push((failed.remove(at).0.id, fs.clone()));
        }
        if !failed.is_empty() {
            self.do_without(failed).await?;
        }
        let own = match (own, wanted) {
            (Some(fs), Some(url)) => Some((url, fs)),
            // What was there is gone, and nobody misses it.
            (None, Some(url)) if listed || new => {
                let fs = self.flags.open_for(Use::Make, "--wal", &url, &self.runtime).await?;
                self.is_free(&url, &fs, cluster_id.as_deref(), &known).await?.then_some((url, fs))
            }
            _ => None,
        };
        Ok(LogPlace { logs: self, own, others })
    }

    /// Whether a root that the register does not have under this URL may be written to; false if it is the data root by another name.
    async fn is_free(
        &self,
        url: &str,
        fs: &Arc<dyn Filesystem>,
        cluster_id: Option<&str>,
        known: &LogRoots,
    ) -> Result<bool, Failure> {
        let refused = |error| failure_of("--wal", url, error);
        if let Some(theirs) = coordination::cluster_id(fs).await.map_err(refused)? {
            return if Some(&*theirs) == cluster_id { Ok(false) } else { Err(foreign(url, &theirs, cluster_id)) };
        }
        match coordination::log_mark(fs).await.map_err(refused)? {
            Some(found) if Some(&*found.cluster_id) != cluster_id => Err(foreign(url, &found.cluster_id, cluster_id)),
            Some(_) => Ok(true),
            None if known.iter().any(|root| root.url == url) => Ok(true),
            None => match fs.list("ferrobase/log").await.map_err(|error| refused(error.into()))?.first() {
                Some(stray) => Err(Failure::usage(format!(
                    "--wal {url}: `{}` lies here, but nothing says of which cluster (no ferrobase/log/root): this is a part of a \
                     log root; restore it whole, or name another place",
                    stray.path
                ))),
                None => Ok(true),
            },
        }
    }

    /// Goes on without roots that no region needs.
    async fn do_without(&self, failed: Vec<(&LogRoot, Failure)>) -> Result<(), Failure> {
        let needed = master::needed_log_roots(&self.data).await;
        for (root, Failure { code, message }) in failed {
            let why = match &needed {
                Ok(needed) => match needed.get(&root.id) {
                    Some(region) => format!("region {region} may have unflushed writes there"),
                    None => {
                        tracing::warn!(url = root.url, why = message, "a log root is not there; no region needs it");
                        continue;
                    }
                },
                Err(error) => format!("whether regions need it cannot be told ({error})"),
            };
            let hint = "make it reachable again, or, if it was moved, start once with --wal at its new place";
            return Err(Failure { code, message: format!("{message}; {why}: {hint}; nothing was changed") });
        }
        Ok(())
    }
}

#[async_trait]
impl FindRoot for Logs {
    async fn find(&self, id: u32) -> filesystem::Result<Arc<dyn Filesystem>> {
        const REGISTER: &str = "ferrobase/cluster/logs";
        let known = LogRoots::read(&self.data).await.map_err(|error| match error {
            CoordinationError::Filesystem(error) => error,
            error => Error::new(ErrorKind::Corrupt, REGISTER, error.to_string()),
        })?;
        let Some(root) = known.get(id) else {
            return Err(Error::new(ErrorKind::Corrupt, REGISTER, format!("no log root has the id {id:x}")));
        };
        self.open(root, Use::Look).await.map_err(|Failure { code, message }| {
            let kind = if code == 4 { ErrorKind::Unavailable } else { ErrorKind::Invalid };
            Error::new(kind, REGISTER, message)
        })
    }
}

impl LogPlace {
    /// Begins the stream of a new leader: its root is marked and entered before.
    pub async fn begin(self, leadership: &Leadership, runtime: &Runtime) -> Result<Log, Failure> {
        let LogPlace { logs, own, others } = self;
        let (mut root, mut fs) = (0, logs.data.clone());
        if let Some((url, own)) = own {
            let refused = |error| failure_of("--wal", &url, error);
            // A new data root has its id only now, and may be this one.
            if coordination::cluster_id(&own).await.map_err(refused)?.as_ref() != Some(&leadership.cluster_id) {
                let mark = coordination::mark_log(&own, runtime, &leadership.cluster_id).await.map_err(refused)?;
                if mark.cluster_id != leadership.cluster_id {
                    return Err(foreign(&url, &mark.cluster_id, Some(&leadership.cluster_id)));
                }
                root = LogRoots::enter(&logs.data, runtime, leadership, mark.mark, &url).await?;
                fs = own;
            }
        }
        let id = StreamId { root, stream: runtime.random.next_u64() };
        let log = Log::create_on(fs, runtime.clone(), LogSettings::default(), id).await?;
        for (id, fs) in others.into_iter().filter(|(id, _)| *id != root) {
            log.know_root(id, fs);
        }
        log.find_roots_by(Arc::new(logs));
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::faulty::{Effect, Fault, FaultyFilesystem};

    const HEAD: &str = "register create ferrobase/log/";

    fn begun(logs: &FaultyFilesystem) -> usize {
        (0..logs.steps()).filter_map(|step| logs.step_name(step)).filter(|name| name.starts_with(HEAD)).count()
    }

    async fn begin(data: &Arc<dyn Filesystem>, own: &Arc<dyn Filesystem>, begins: &str) -> Result<Log, Failure> {
        let runtime = Runtime::system();
        let leadership = coordination::take_over(data, &runtime, begins).await?;
        let flags = RootFlags::default();
        let logs = Logs::new(data.clone(), "/data", &flags, &runtime)?;
        let own = Some(("/logs".to_owned(), own.clone()));
        LogPlace { logs, own, others: Vec::new() }.begin(&leadership, &runtime).await
    }

    /// A stream on a root that the register does not have would be lost with the next change of `--wal`.
    #[tokio::test]
    async fn a_root_is_marked_and_entered_before_its_first_stream() {
        let (mut failed, mut stopped_before_stream) = (0, 0);
        for effect in [Effect::Before, Effect::Torn, Effect::After] {
            for (on_data, stop) in [(true, true), (true, false), (false, true), (false, false)] {
                for step in 0..16 {
                    let (data, logs) = (FaultyFilesystem::new(), FaultyFilesystem::new());
                    for root in [&data, &logs] {
                        root.count_reads();
                    }
                    let (data_fs, logs_fs): (Arc<dyn Filesystem>, Arc<dyn Filesystem>) =
                        (Arc::new(data.clone()), Arc::new(logs.clone()));
                    if on_data { &data } else { &logs }.plan(Fault { step, effect, stop });
                    let log = begin(&data_fs, &logs_fs, "a:1").await;
                    failed += usize::from(log.is_err());
                    let (data, left): (Arc<dyn Filesystem>, Arc<dyn Filesystem>) =
                        (Arc::new(data.root()), Arc::new(logs.root()));
                    let known = LogRoots::read(&data).await.expect("read");
                    let at = format!("{effect:?}, data {on_data}, stop {stop}, step {step}");
                    match known.get(1) {
                        Some(root) => {
                            let mark = coordination::log_mark(&left).await.expect("read").expect("marked before");
                            assert_eq!((root.mark, &*root.url), (mark.mark, "/logs"), "{at}");
                        }
                        None => assert_eq!(begun(&logs), 0, "{at}: a stream on a root that nobody knows"),
                    }
                    if let Ok(log) = &log {
                        assert_eq!(log.id().root, 1, "{at}");
                    }
                    stopped_before_stream += usize::from(log.is_err() && begun(&logs) == 0);
                    // Whatever is left, the next start goes on with it.
                    let next = begin(&data, &left, "b:2").await.map_err(|failure| failure.message).expect("next");
                    assert_eq!(next.id().root, 1, "{at}");
                    assert_eq!(LogRoots::read(&data).await.expect("read").iter().count(), 1, "{at}");
                }
            }
        }
        assert!(failed > 20 && stopped_before_stream > 10, "{failed}, {stopped_before_stream}");
    }

    #[tokio::test]
    async fn a_root_is_found_only_with_its_mark() {
        let runtime = Runtime::system();
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let data: Arc<dyn Filesystem> = Arc::new(FaultyFilesystem::new());
        let leadership = coordination::take_over(&data, &runtime, "a:1").await.expect("take over");
        let flags = RootFlags::default();
        let open = async |name: &str| flags.open("--wal", &at(name), &runtime).await.expect("a folder");
        let (ours, other) = (open("ours").await, open("other").await);
        let mark = coordination::mark_log(&ours, &runtime, &leadership.cluster_id).await.expect("mark");
        coordination::mark_log(&other, &runtime, &leadership.cluster_id).await.expect("mark");
        open("empty").await;
        let logs = Logs::new(data.clone(), "/data", &flags, &runtime).map_err(|failure| failure.message).expect("logs");
        assert_eq!(logs.find(1).await.expect_err("not entered").kind(), ErrorKind::Corrupt);
        for (name, why) in [
            ("gone", "there is no such folder"),
            ("empty", "no log root lies there"),
            ("other", "another log root lies there"),
        ] {
            LogRoots::enter(&data, &runtime, &leadership, mark.mark, &at(name)).await.expect("enter");
            let error = logs.find(1).await.expect_err(why);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(why) && error.to_string().contains(&at(name)), "{error}");
        }
        LogRoots::enter(&data, &runtime, &leadership, mark.mark, &at("ours")).await.expect("enter");
        // One on which nothing was left is found all the same.
        LogRoots::set_idle(&data, &runtime, &leadership, 1).await.expect("idle");
        logs.find(1).await.expect("it has its mark");
        assert!(!folder.path().join("gone").exists());
    }
}
