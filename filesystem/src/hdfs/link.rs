//! The way to the NameNode: every call under a time-out of ours, its failure judged, and the client replaced when it is in doubt.
//!
//! Always true
//! - A call that gave no answer, or lost it, is followed by calls on a fresh client: one mute connection stalls every call of the crate's
//!   client, and the crate bounds none of them.
//! - Reads go to the active NameNode only: observer nodes are never asked.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hdfs_native::{Client, ClientBuilder, HdfsError};
use parking_lot::Mutex;
use runtime::Runtime;
use runtime::clock::{Clock, within};
use runtime::random::Random;

use crate::error::{Error, ErrorKind, Result};

/// How to reach an HDFS root and how long to wait for it.
#[derive(Clone, Debug)]
pub struct HdfsSettings {
    /// The root: `hdfs://host:port/path`, or `hdfs://service/path` with a name service of the configuration.
    pub url: String,
    /// The folder with `core-site.xml` and `hdfs-site.xml`. None: what `HADOOP_CONF_DIR` or `HADOOP_HOME` name, or none.
    pub hadoop_conf: Option<PathBuf>,
    /// The user, where no Kerberos says who it is. None: `HADOOP_USER_NAME` or the process's user.
    pub user: Option<String>,
    /// Replicas of each file. None: the cluster's default.
    pub replication: Option<u32>,
    /// Fewest replicas with which a file is begun while DataNodes are missing; they are made up for afterwards.
    pub replication_min: u32,
    /// Block size. None: the cluster's default.
    pub block_size: Option<u64>,
    /// Longest wait for one answer of the NameNode.
    pub rpc_timeout: Duration,
    /// Longest wait for one step of a file's transfer.
    pub data_timeout: Duration,
    /// Longest wait for one sync of a log; then it is given up and its writer begins another one.
    pub sync_timeout: Duration,
    /// How long an operation is tried again while the NameNode is away or in safe mode.
    pub deadline: Duration,
    /// How long sealing a log is tried: DataNodes that are gone cost it 10 s each or more.
    pub seal_deadline: Duration,
    /// An idle log is synced so often, so that a dead DataNode is found before a client's write finds it.
    pub keep_warm: Duration,
}

impl HdfsSettings {
    /// The defaults for a root.
    pub fn new(url: impl Into<String>) -> HdfsSettings {
        HdfsSettings {
            url: url.into(),
            hadoop_conf: None,
            user: None,
            replication: None,
            replication_min: 1,
            block_size: None,
            rpc_timeout: Duration::from_secs(5),
            data_timeout: Duration::from_secs(10),
            sync_timeout: Duration::from_secs(1),
            deadline: Duration::from_secs(30),
            seal_deadline: Duration::from_secs(300),
            keep_warm: Duration::from_secs(10),
        }
    }
}

/// What a failed call says about the name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not done: source or parent is missing.
    Absent,
    /// Not done: the name is taken.
    Taken,
    /// Not done, and it will not be.
    Refused(ErrorKind),
    /// Not done now.
    Later(ErrorKind),
    /// Nobody knows.
    Doubt,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The crate says so.
    Told(HdfsError),
    /// No answer within this time.
    Silent(Duration),
    /// The crate panicked.
    Panicked,
}

impl Failure {
    pub(super) fn verdict(&self) -> Verdict {
        let Failure::Told(error) = self else { return Verdict::Doubt };
        match error {
            HdfsError::AlreadyExists(_) => Verdict::Taken,
            HdfsError::FileNotFound(_) => Verdict::Absent,
            HdfsError::RPCError(class, message) | HdfsError::FatalRPCError(class, message) => by_class(class, message),
            HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => {
                Verdict::Refused(ErrorKind::Denied)
            }
            HdfsError::InvalidPath(_)
            | HdfsError::InvalidArgument(_)
            | HdfsError::UrlParseError(_)
            | HdfsError::XmlParseError(_)
            | HdfsError::UnsupportedFeature(_)
            | HdfsError::UnsupportedErasureCodingPolicy(_)
            | HdfsError::IsADirectoryError(_) => Verdict::Refused(ErrorKind::Invalid),
            // A connection that never came about; the crate has tried it several times.
            HdfsError::IOError(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Verdict::Later(ErrorKind::Unavailable)
            }
            _ => Verdict::Doubt,
        }
    }
}

fn by_class(class: &str, message: &str) -> Verdict {
    match class.rsplit(['.', '$']).next().unwrap_or(class) {
        "FileNotFoundException" => Verdict::Absent,
        "FileAlreadyExistsException" | "AlreadyBeingCreatedException" => Verdict::Taken,
        "SafeModeException"
        | "RetriableException"
        | "StandbyException"
        | "ServerTooBusyException"
        | "NotReplicatedYetException"
        | "ObserverRetryOnActiveException" => Verdict::Later(ErrorKind::Unavailable),
        "AccessControlException" | "AuthorizationException" | "InvalidToken" | "SaslException" | "GSSException" => {
            Verdict::Refused(ErrorKind::Denied)
        }
        "NSQuotaExceededException"
        | "DSQuotaExceededException"
        | "QuotaByStorageTypeExceededException"
        | "MaxDirectoryItemsExceededException" => Verdict::Refused(ErrorKind::Full),
        "InvalidPathException"
        | "PathComponentTooLongException"
        | "ParentNotDirectoryException"
        | "IllegalArgumentException"
        | "HadoopIllegalArgumentException"
        | "PathIsNotDirectoryException" => Verdict::Refused(ErrorKind::Invalid),
        // "could only be written to 0 of the 1 minReplication nodes. There are 3 datanode(s) running and no node(s) are excluded": no
        // node takes a block, for want of space if there are nodes that were not set aside because they had failed.
        _ if message.contains("could only be written to") => {
            let number = |before: &str, behind: &str| -> Option<u32> {
                message.split_once(before)?.1.split_once(behind)?.0.parse().ok()
            };
            let running = number("There are ", " datanode(s)").unwrap_or(0);
            let excluded = number("running and ", " node(s)").unwrap_or(0);
            Verdict::Later(if running <= excluded { ErrorKind::Unavailable } else { ErrorKind::Full })
        }
        "LeaseExpiredException" => Verdict::Refused(ErrorKind::Unavailable),
        _ if class.starts_with("org.apache.hadoop") || class.starts_with("java.") => {
            Verdict::Refused(ErrorKind::Unavailable)
        }
        _ => Verdict::Doubt,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Silent(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Failure::Panicked => f.write_str("the HDFS client failed"),
            Failure::Told(HdfsError::RPCError(class, message) | HdfsError::FatalRPCError(class, message)) => {
                // The message goes on with Java's stack.
                let class = class.rsplit('.').next().unwrap_or(class);
                let message = message.lines().next().unwrap_or_default().trim_end_matches('.');
                match class {
                    "SafeModeException" => {
                        write!(
                            f,
                            "the NameNode is in safe mode (it ends by itself, or by `hdfs dfsadmin -safemode leave`)"
                        )
                    }
                    "AccessControlException" => write!(f, "permission is missing: {message}"),
                    _ => write!(f, "{class}: {message}"),
                }
            }
            Failure::Told(error) => {
                let text = error.to_string();
                f.write_str(text.lines().next().unwrap_or_default())
            }
        }
    }
}

/// How an attempt to rename ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Done, by this call.
    Done,
    /// The new name is taken; if `doubt`, perhaps by an earlier try of this call.
    Taken { doubt: bool },
    /// The old name or the new one's parent is missing; if `doubt`, perhaps because an earlier try of this call is done.
    Absent { doubt: bool },
}

/// Shared by everything that works on one root.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) settings: HdfsSettings,
    /// `hdfs://authority`.
    origin: String,
    /// The root's path, without a slash at its end.
    root: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    client: Mutex<(u64, Client)>,
    /// Replicas and block size of new files, as the cluster told.
    pub(super) file_defaults: Mutex<(u32, u64)>,
    /// Block size of small files.
    pub(super) small_block: Mutex<u64>,
    /// A DataNode lately failed to answer; until when that is worth knowing.
    suspect: Mutex<Option<Duration>>,
}

/// The time that is left for an operation.
#[derive(Debug)]
pub(super) struct Budget {
    clock: Arc<dyn Clock>,
    until: Duration,
    pause: Duration,
}

impl Budget {
    /// Waits before the next try, longer each time; false if no time is left.
    pub(super) async fn pause(&mut self) -> bool {
        if self.clock.monotonic() + self.pause > self.until {
            return false;
        }
        self.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Duration::from_secs(1));
        true
    }
}

/// What the crate's defaults or an operator's files would make too slow or unsafe.
fn overrides(settings: &HdfsSettings, authority: &str) -> Vec<(String, String)> {
    let fixed = [
        ("dfs.client.failover.sleep.base.millis", "100".to_owned()),
        ("dfs.client.failover.sleep.max.millis", "1000".to_owned()),
        ("dfs.client.socket-timeout", (settings.data_timeout.as_millis() / 2).max(1).to_string()),
        ("dfs.client.block.write.replace-datanode-on-failure.best-effort", "true".to_owned()),
    ];
    let mut all: Vec<(String, String)> = fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let service = authority.split(':').next().unwrap_or(authority);
    all.push((
        format!("dfs.client.failover.proxy.provider.{service}"),
        "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider".to_owned(),
    ));
    all
}

fn build(settings: &HdfsSettings, origin: &str) -> hdfs_native::Result<Client> {
    let authority = origin.trim_start_matches("hdfs://");
    let mut builder = ClientBuilder::new().with_url(format!("{origin}/")).with_config(overrides(settings, authority));
    if let Some(conf) = &settings.hadoop_conf {
        builder = builder.with_config_dir(conf.to_string_lossy());
    }
    if let Some(user) = &settings.user {
        builder = builder.with_user(user.clone());
    }
    builder.build()
}

/// The smallest block that a NameNode allows unless it is told otherwise.
const SMALL_BLOCK: u64 = 1 << 20;
/// Hadoop's port of a NameNode that is named without one.
const DEFAULT_PORT: u16 = 8020;

impl Link {
    /// Takes the settings apart; asks nobody yet.
    pub(super) fn new(settings: HdfsSettings, runtime: &Runtime) -> Result<Link> {
        let invalid = |why: String| Error::new(ErrorKind::Invalid, &settings.url, why);
        let rest = settings.url.strip_prefix("hdfs://").ok_or_else(|| invalid("not an hdfs:// address".to_owned()))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let root = path.trim_end_matches('/');
        if root.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == ".." || part.contains(':')) {
            return Err(invalid("not a legal HDFS path".to_owned()));
        }
        if let Some(conf) = &settings.hadoop_conf
            && !conf.join("core-site.xml").exists()
            && !conf.join("hdfs-site.xml").exists()
        {
            let why = format!(
                "neither core-site.xml nor hdfs-site.xml lies in the Hadoop configuration `{}`",
                conf.display()
            );
            return Err(invalid(why));
        }
        let mut origin = format!("hdfs://{authority}");
        let built = match build(&settings, &origin) {
            // Not a name service of the configuration: a host.
            Err(HdfsError::InvalidArgument(why)) if why.contains("No NameNode hosts") => {
                origin = format!("{origin}:{DEFAULT_PORT}");
                build(&settings, &origin)
            }
            built => built,
        };
        let client = built.map_err(|error| invalid(format!("no NameNode can be found by this address: {error}")))?;
        Ok(Link {
            root: root.to_owned(),
            origin,
            clock: runtime.clock.clone(),
            random: runtime.random.clone(),
            client: Mutex::new((0, client)),
            file_defaults: Mutex::new((settings.replication.unwrap_or(3), settings.block_size.unwrap_or(128 << 20))),
            small_block: Mutex::new(SMALL_BLOCK.min(settings.block_size.unwrap_or(SMALL_BLOCK))),
            suspect: Mutex::new(None),
            settings,
        })
    }

    /// The path in HDFS of a key; of the root itself for an empty one.
    pub(super) fn at(&self, key: &str) -> String {
        if key.is_empty() && !self.root.is_empty() { self.root.clone() } else { format!("{}/{key}", self.root) }
    }

    /// The key of a path in HDFS.
    pub(super) fn key<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.root.as_str()).unwrap_or(path).trim_start_matches('/')
    }

    pub(super) fn token(&self) -> String {
        format!("{:032x}", self.random.next_u128())
    }

    pub(super) fn budget(&self, time: Duration) -> Budget {
        let until = self.clock.monotonic() + time;
        Budget { clock: self.clock.clone(), until, pause: Duration::from_millis(20) }
    }

    /// A DataNode that files are given to does not work.
    pub(super) fn suspect(&self) {
        *self.suspect.lock() = Some(self.clock.monotonic() + Duration::from_secs(30));
    }

    /// Whether one was found lately.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.lock().is_some_and(|until| until > self.clock.monotonic())
    }

    fn renew(&self, generation: u64) {
        let mut client = self.client.lock();
        if client.0 == generation {
            match build(&self.settings, &self.origin) {
                Ok(fresh) => *client = (generation + 1, fresh),
                // The files of the configuration have become unreadable; the old client is all there is.
                Err(error) => tracing::warn!(%error, url = self.settings.url, "no fresh HDFS client"),
            }
        }
    }

    /// Waits for something of the crate, at most so long.
    pub(super) async fn bounded<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = hdfs_native::Result<T>>,
    ) -> std::result::Result<T, Failure> {
        match within(&*self.clock, limit, AssertUnwindSafe(work).catch_unwind()).await {
            Some(Ok(Ok(done))) => Ok(done),
            Some(Ok(Err(error))) => Err(Failure::Told(error)),
            Some(Err(_)) => Err(Failure::Panicked),
            None => Err(Failure::Silent(limit)),
        }
    }

    /// One call on the current client.
    pub(super) async fn once<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = hdfs_native::Result<T>>,
    {
        let (generation, client) = {
            let client = self.client.lock();
            (client.0, client.1.clone())
        };
        let done = self.bounded(limit, call(client)).await;
        if done.as_ref().is_err_and(|failure| failure.verdict() == Verdict::Doubt) {
            self.renew(generation);
        }
        done
    }

    /// A call that may be repeated: until it gives an answer or the deadline has passed. `None`: absent.
    pub(super) async fn again<T, F>(&self, key: &str, what: &str, call: impl Fn(Client) -> F) -> Result<Option<T>>
    where
        F: Future<Output = hdfs_native::Result<T>>,
    {
        let mut budget = self.budget(self.settings.deadline);
        loop {
            let failure = match self.once(self.settings.rpc_timeout, &call).await {
                Ok(done) => return Ok(Some(done)),
                Err(failure) => failure,
            };
            match failure.verdict() {
                Verdict::Absent => return Ok(None),
                Verdict::Taken | Verdict::Refused(_) => return Err(self.error(key, what, &failure, false)),
                Verdict::Later(_) | Verdict::Doubt => {}
            }
            if !budget.pause().await {
                return Err(self.error(key, what, &failure, false));
            }
        }
    }

    /// Renames without overwriting. A try in doubt is repeated: only one of them can be done.
    pub(super) async fn rename(&self, key: &str, from: &str, to: &str) -> Result<Moved> {
        let mut budget = self.budget(self.settings.deadline);
        let mut doubt = false;
        loop {
            let call = |client: Client| async move { client.rename(from, to, false).await };
            let failure = match self.once(self.settings.rpc_timeout, call).await {
                Ok(()) => return Ok(Moved::Done),
                Err(failure) => failure,
            };
            match failure.verdict() {
                Verdict::Taken => return Ok(Moved::Taken { doubt }),
                Verdict::Absent => return Ok(Moved::Absent { doubt }),
                Verdict::Refused(_) => return Err(self.error(key, "rename", &failure, doubt)),
                Verdict::Later(_) => {}
                Verdict::Doubt => doubt = true,
            }
            if !budget.pause().await {
                return Err(self.error(key, "rename", &failure, doubt));
            }
        }
    }

    /// Makes a folder and its parents.
    pub(super) async fn make_folder(&self, key: &str, folder: &str) -> Result<()> {
        let call = |client: Client| async move { client.mkdirs(folder, 0o755, true).await };
        match self.again(key, "make the folder", call).await? {
            Some(()) => Ok(()),
            None => Err(Error::new(ErrorKind::Unavailable, key, "the folder's parent vanished")),
        }
    }

    /// Deletes a file or a folder with everything in it; absent is fine.
    pub(super) async fn delete(&self, key: &str, path: &str) -> Result<()> {
        self.again(key, "delete", |client| async move { client.delete(path, true).await }).await.map(drop)
    }

    /// Deletes what is garbage at worst: one try, by a task of its own.
    pub(super) fn discard(self: &Arc<Self>, paths: Vec<String>) {
        if paths.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let link = self.clone();
        drop(runtime::task::spawn("hdfs discard", async move {
            for path in paths {
                let call = |client: Client| async move { client.delete(&path, true).await };
                if let Err(failure) = link.once(link.settings.rpc_timeout, call).await {
                    tracing::debug!(%failure, "left behind");
                }
            }
        }));
    }

    /// The error that a caller sees. `doubt`: an earlier try may have been done.
    pub(super) fn error(&self, key: &str, what: &str, failure: &Failure, doubt: bool) -> Error {
        let kind = match failure.verdict() {
            _ if doubt => ErrorKind::Unknown,
            Verdict::Absent => ErrorKind::NotFound,
            Verdict::Taken => ErrorKind::Exists,
            Verdict::Refused(kind) | Verdict::Later(kind) => kind,
            Verdict::Doubt => ErrorKind::Unavailable,
        };
        Error::new(kind, key, format!("{what}: {failure}. hdfs=`{}`", self.origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rpc(class: &str, message: &str) -> Failure {
        Failure::Told(HdfsError::RPCError(class.to_owned(), message.to_owned()))
    }

    #[test]
    fn failures_are_judged_by_what_the_namenode_says() {
        let cases = [
            (rpc("java.io.FileNotFoundException", "rename source /a is not found"), Verdict::Absent),
            (Failure::Told(HdfsError::AlreadyExists(String::new())), Verdict::Taken),
            (
                rpc("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create"),
                Verdict::Later(ErrorKind::Unavailable),
            ),
            (
                rpc("org.apache.hadoop.security.AccessControlException", "Permission"),
                Verdict::Refused(ErrorKind::Denied),
            ),
            (rpc("org.apache.hadoop.hdfs.protocol.DSQuotaExceededException", ""), Verdict::Refused(ErrorKind::Full)),
            (
                rpc(
                    "java.io.IOException",
                    "File /a could only be written to 0 of the 1 minReplication nodes. There are 3 datanode(s) running and no node(s) are \
                     excluded in this operation.",
                ),
                Verdict::Later(ErrorKind::Full),
            ),
            (
                rpc(
                    "java.io.IOException",
                    "File /a could only be written to 0 of the 1 minReplication nodes. There are 3 datanode(s) running and 3 node(s) are \
                     excluded in this operation.",
                ),
                Verdict::Later(ErrorKind::Unavailable),
            ),
            (
                rpc(
                    "java.io.IOException",
                    "File /a could only be written to 0 of the 1 minReplication nodes. There are 0 datanode(s) running",
                ),
                Verdict::Later(ErrorKind::Unavailable),
            ),
            (Failure::Silent(Duration::from_secs(1)), Verdict::Doubt),
            (Failure::Told(HdfsError::IOError(std::io::ErrorKind::ConnectionAborted.into())), Verdict::Doubt),
            (
                Failure::Told(HdfsError::IOError(std::io::ErrorKind::ConnectionRefused.into())),
                Verdict::Later(ErrorKind::Unavailable),
            ),
        ];
        for (failure, verdict) in cases {
            assert_eq!(failure.verdict(), verdict, "{failure:?}");
        }
        let text = rpc("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "x\n\tat a.b").to_string();
        assert!(text.contains("safe mode") && !text.contains('\n'), "{text}");
    }

    #[tokio::test]
    async fn addresses_are_taken_apart() {
        let link = |url: &str| Link::new(HdfsSettings::new(url), &Runtime::system());
        let rooted = link("hdfs://localhost:1/a/b/").expect("an address");
        assert_eq!(
            (rooted.at("x/y"), rooted.at(""), rooted.key("/a/b/x/y")),
            ("/a/b/x/y".into(), "/a/b".into(), "x/y")
        );
        let top = link("hdfs://localhost:1").expect("an address");
        assert_eq!((top.at("x"), top.at(""), top.key("/x")), ("/x".into(), "/".into(), "x"));
        assert_eq!(link("hdfs://localhost/a").expect("a host without a port").origin, "hdfs://localhost:8020");
        for wrong in ["s3://a/b", "hdfs://localhost:1/a//b", "hdfs://localhost:1/../b", "/a"] {
            assert_eq!(link(wrong).expect_err(wrong).kind(), ErrorKind::Invalid, "{wrong}");
        }
        let mut settings = HdfsSettings::new("hdfs://localhost:1/a");
        settings.hadoop_conf = Some("/nonexistent".into());
        assert!(
            Link::new(settings, &Runtime::system()).expect_err("no configuration").to_string().contains("core-site")
        );
    }
}
