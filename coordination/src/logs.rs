//! Where logs lie: the register of log roots, and the mark by which a log root is known (`docs/formats/log-roots.md`).
//!
//! Always true
//! - Id 0 is the data root. Any other root has its mark before it has an id, and its id before a stream is begun on it.
//! - An id belongs to one mark for ever; entries are never removed.
//!
//! Not here: opening roots.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::{ErrorKind, Filesystem};
use prost::Message;
use runtime::Runtime;

use crate::error::{CoordinationError, Result};
use crate::leader::{Leadership, text};
use crate::register::{Body, Format, Stored, Writer, Written};

const LOGS: Format = Format { magic: b"FBLOGRT1", version: 1, what: "register of log roots" };
/// Where the register of log roots lies.
pub const LOGS_PATH: &str = "ferrobase/cluster/logs";
const MARK: Format = Format { magic: b"FBLOGID1", version: 1, what: "mark of a log root" };
const MARK_PATH: &str = "ferrobase/log/root";
/// Longest blob that is read as a mark.
const MARK_LEN_MAX: usize = 1024;
/// Others that may change the register before us while we try.
const TRIES_MAX: usize = 32;

/// What a log root says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMark {
    /// Random; names the root.
    pub mark: u128,
    /// The cluster that it belongs to.
    pub cluster_id: String,
}

/// One log root, as the register has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRoot {
    /// What manifests call it.
    pub id: u32,
    /// Where it was seen last.
    pub url: String,
    /// What its mark says.
    pub mark: u128,
    /// Nothing was needed of it when somebody looked.
    pub idle: bool,
}

/// The register's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRoots {
    last_id: u32,
    roots: BTreeMap<u32, LogRoot>,
    stored: Option<Stored>,
}

#[derive(Clone, PartialEq, Message)]
struct RootMessage {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    url: String,
    #[prost(bytes = "bytes", tag = "3")]
    mark: Bytes,
    #[prost(bool, tag = "4")]
    idle: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RootsMessage {
    #[prost(uint32, tag = "1")]
    last_id: u32,
    #[prost(message, repeated, tag = "2")]
    roots: Vec<RootMessage>,
}

impl LogRoots {
    /// Reads the register; a data root that never had its log elsewhere has none.
    pub async fn read(data: &Arc<dyn Filesystem>) -> Result<LogRoots> {
        LogRoots::decode(LOGS.read(data, LOGS_PATH).await?)
    }

    fn decode(stored: Option<Stored>) -> Result<LogRoots> {
        let Some(stored) = stored else { return Ok(LogRoots::default()) };
        let bad =
            |why: &str| CoordinationError::Corrupt { what: LOGS.what, why: why.to_owned(), path: LOGS_PATH.to_owned() };
        let message = RootsMessage::decode(stored.body.payload.clone()).map_err(|error| bad(&error.to_string()))?;
        let mut roots = BTreeMap::new();
        for RootMessage { id, url, mark, idle } in message.roots {
            let mark = mark[..].try_into().map(u128::from_be_bytes).map_err(|_| bad("a mark is not 16 bytes long"))?;
            if id == 0 || id > message.last_id || roots.insert(id, LogRoot { id, url, mark, idle }).is_some() {
                return Err(bad("an id is wrong"));
            }
        }
        Ok(LogRoots { last_id: message.last_id, roots, stored: Some(stored) })
    }

    /// All entries, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &LogRoot> {
        self.roots.values()
    }

    /// The root that manifests call so.
    pub fn get(&self, id: u32) -> Option<&LogRoot> {
        self.roots.get(&id)
    }

    /// Makes `change` until it is in the register; an unchanged value is not written.
    async fn update<T>(
        data: &Arc<dyn Filesystem>,
        runtime: &Runtime,
        leadership: &Leadership,
        change: impl Fn(&mut LogRoots) -> Result<T>,
    ) -> Result<T> {
        let mut before = LogRoots::read(data).await?;
        for _ in 0..TRIES_MAX {
            let mut after = before.clone();
            let answer = change(&mut after)?;
            if after == before {
                return Ok(answer);
            }
            let root = |root: &LogRoot| RootMessage {
                id: root.id,
                url: root.url.clone(),
                mark: Bytes::copy_from_slice(&root.mark.to_be_bytes()),
                idle: root.idle,
            };
            let message = RootsMessage { last_id: after.last_id, roots: after.iter().map(root).collect() };
            let writer = Writer { fs: data, random: &*runtime.random, master_epoch: leadership.master_epoch };
            let payload = message.encode_to_vec().into();
            match LOGS.write(writer, LOGS_PATH, before.stored.as_ref(), "logs", payload).await? {
                Written::Done(_) => return Ok(answer),
                Written::Superseded(now) => before = LogRoots::decode(now)?,
            }
        }
        Err(CoordinationError::Contended { path: LOGS_PATH.to_owned() })
    }

    /// Enters a marked root, or finds it entered; answers its id. Streams may be begun on it when this has answered, not before.
    pub async fn enter(
        data: &Arc<dyn Filesystem>,
        runtime: &Runtime,
        leadership: &Leadership,
        mark: u128,
        url: &str,
    ) -> Result<u32> {
        LogRoots::update(data, runtime, leadership, |logs| {
            if let Some(root) = logs.roots.values_mut().find(|root| root.mark == mark) {
                (root.url, root.idle) = (url.to_owned(), false);
                return Ok(root.id);
            }
            let id = logs.last_id.checked_add(1).ok_or_else(|| CoordinationError::Corrupt {
                what: LOGS.what,
                why: "its last id is the largest possible".to_owned(),
                path: LOGS_PATH.to_owned(),
            })?;
            logs.last_id = id;
            logs.roots.insert(id, LogRoot { id, url: url.to_owned(), mark, idle: false });
            Ok(id)
        })
        .await
    }

    /// Notes that nothing is needed of a root.
    pub async fn set_idle(
        data: &Arc<dyn Filesystem>,
        runtime: &Runtime,
        leadership: &Leadership,
        id: u32,
    ) -> Result<()> {
        LogRoots::update(data, runtime, leadership, |logs| {
            if let Some(root) = logs.roots.get_mut(&id) {
                root.idle = true;
            }
            Ok(())
        })
        .await
    }
}

/// What a root says of itself as a log root; `None`: it never was one, or is not the place that it was.
pub async fn log_mark(logs: &Arc<dyn Filesystem>) -> Result<Option<LogMark>> {
    let bytes = match logs.read_at(MARK_PATH, 0, MARK_LEN_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let body = MARK.decode(bytes, MARK_PATH)?;
    Ok(Some(LogMark { mark: body.token, cluster_id: text(&MARK, MARK_PATH, body.payload)? }))
}

/// Marks a root as one of this cluster's, unless it has a mark; answers the mark that stands.
pub async fn mark_log(logs: &Arc<dyn Filesystem>, runtime: &Runtime, cluster_id: &str) -> Result<LogMark> {
    if let Some(mark) = log_mark(logs).await? {
        return Ok(mark);
    }
    let payload = Bytes::copy_from_slice(cluster_id.as_bytes());
    let bytes = MARK.encode(&Body { master_epoch: 0, token: runtime.random.next_u128(), payload });
    // Whoever put it: what stands counts.
    match logs.put_if_absent(MARK_PATH, bytes).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::Unknown => {}
        Err(error) => return Err(error.into()),
    }
    let lost = || filesystem::Error::new(ErrorKind::Unavailable, MARK_PATH, "the log root could not be marked");
    log_mark(logs).await?.ok_or_else(|| lost().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
    use filesystem::memory::MemoryFilesystem;
    use model::ErrorKind;

    use crate::take_over;

    fn memory() -> Arc<dyn Filesystem> {
        Arc::new(MemoryFilesystem::new())
    }

    async fn lead(data: &Arc<dyn Filesystem>) -> Leadership {
        take_over(data, &Runtime::system(), "a:1").await.expect("take over")
    }

    #[tokio::test]
    async fn roots_are_known_by_their_marks_and_keep_their_ids() {
        let (data, runtime) = (memory(), Runtime::system());
        let first = lead(&data).await;
        assert_eq!(LogRoots::read(&data).await.expect("read"), LogRoots::default());
        let (one, two) = (memory(), memory());
        let mut marks = Vec::new();
        for (number, logs) in [&one, &two, &one].into_iter().enumerate() {
            assert_eq!(log_mark(logs).await.expect("read").is_some(), number == 2);
            let mark = mark_log(logs, &runtime, &first.cluster_id).await.expect("mark");
            assert_eq!(mark.cluster_id, first.cluster_id);
            assert_eq!(log_mark(logs).await.expect("read"), Some(mark.clone()));
            marks.push(mark.mark);
        }
        assert!(marks[0] == marks[2] && marks[0] != marks[1]);
        let enter = async |leadership: &Leadership, mark, url: &str| {
            LogRoots::enter(&data, &runtime, leadership, mark, url).await
        };
        assert_eq!(enter(&first, marks[0], "one").await.expect("enter"), 1);
        assert_eq!(enter(&first, marks[1], "two").await.expect("enter"), 2);
        LogRoots::set_idle(&data, &runtime, &first, 1).await.expect("set");
        let known = LogRoots::read(&data).await.expect("read");
        assert!(known.get(1).expect("entered").idle && !known.get(2).expect("entered").idle);
        assert_eq!(enter(&first, marks[1], "two").await.expect("enter"), 2);
        assert_eq!(LogRoots::read(&data).await.expect("read"), known, "nothing new is not written");
        // It is used again, elsewhere; and a leader that was overtaken writes nothing over it.
        let second = lead(&data).await;
        assert_eq!(enter(&second, marks[0], "moved").await.expect("enter"), 1);
        let wanted = LogRoot { id: 1, url: "moved".to_owned(), mark: marks[0], idle: false };
        assert_eq!(LogRoots::read(&data).await.expect("read").get(1), Some(&wanted));
        assert_eq!(enter(&first, 7, "late").await.expect_err("overtaken").kind(), model::ErrorKind::Fenced);
        assert_eq!(LogRoots::read(&data).await.expect("read").iter().count(), 2);
    }

    #[tokio::test]
    async fn many_at_once_each_get_an_id_of_their_own() {
        let (data, runtime) = (memory(), Runtime::system());
        let leadership = lead(&data).await;
        let enter = |mark| LogRoots::enter(&data, &runtime, &leadership, mark, "x");
        let mut ids: Vec<u32> = futures::future::try_join_all((1..=8).map(enter)).await.expect("enter");
        ids.sort_unstable();
        assert_eq!(ids, (1..=8).collect::<Vec<_>>());
    }

    /// Marks and enters, with a fault at each step of either root; then once more on what is left of both machines.
    #[tokio::test]
    async fn a_fault_at_any_step_leaves_a_root_that_is_entered_once() {
        let mut tried = 0;
        for effect in [Effect::Before, Effect::Torn, Effect::After] {
            for (stop, on_data) in [(true, true), (true, false), (false, true), (false, false)] {
                for step in 0..4 {
                    let (data, logs) = (FaultyFilesystem::new(), FaultyFilesystem::new());
                    for root in [&data, &logs] {
                        root.count_reads();
                    }
                    let runtime = Runtime::system();
                    let data_fs: Arc<dyn Filesystem> = Arc::new(data.clone());
                    let logs_fs: Arc<dyn Filesystem> = Arc::new(logs.clone());
                    let leadership = lead(&data_fs).await;
                    LogRoots::enter(&data_fs, &runtime, &leadership, 5, "earlier").await.expect("enter");
                    let faulty = if on_data { &data } else { &logs };
                    faulty.plan(Fault { step: faulty.steps() + step, effect, stop });
                    let attempt = async {
                        let mark = mark_log(&logs_fs, &runtime, &leadership.cluster_id).await?.mark;
                        LogRoots::enter(&data_fs, &runtime, &leadership, mark, "new").await
                    };
                    let first = attempt.await;
                    tried += usize::from(first.is_err());
                    let data: Arc<dyn Filesystem> = Arc::new(data.root());
                    let logs: Arc<dyn Filesystem> = Arc::new(logs.root());
                    let entered = LogRoots::read(&data).await.expect("read");
                    // An id stands only for a root that is known by its mark.
                    if entered.iter().count() == 2 {
                        let mark = log_mark(&logs).await.expect("read").expect("marked before it was entered");
                        assert_eq!(entered.get(2).map(|root| root.mark), Some(mark.mark));
                    }
                    let next = lead(&data).await;
                    let mark = mark_log(&logs, &runtime, &next.cluster_id).await.expect("mark");
                    let id = LogRoots::enter(&data, &runtime, &next, mark.mark, "new").await.expect("enter");
                    assert_eq!(id, 2, "{effect:?} {stop} {on_data} {step}: the root has one id");
                    assert!(first.is_err() || first.is_ok_and(|first| first == id));
                    assert_eq!(LogRoots::read(&data).await.expect("read").iter().count(), 2);
                }
            }
        }
        assert!(tried > 12, "{tried} faults were met");
    }

    #[tokio::test]
    async fn damage_and_newer_values_are_refused() {
        let (data, logs, runtime) = (memory(), memory(), Runtime::system());
        let newer = Format { version: 2, ..MARK }.encode(&Body { master_epoch: 0, token: 1, payload: "x".into() });
        logs.put_if_absent(MARK_PATH, newer).await.expect("put");
        let error = mark_log(&logs, &runtime, "x").await.expect_err("newer");
        assert!(error.to_string().contains("use a newer build"), "{error}");
        for (last_id, id, mark) in [(1, 2, 16), (1, 0, 16), (1, 1, 15)] {
            let data = memory();
            let root = RootMessage { id, url: "u".to_owned(), mark: vec![0; mark].into(), idle: false };
            let payload = RootsMessage { last_id, roots: vec![root] }.encode_to_vec().into();
            let bytes = LOGS.encode(&Body { master_epoch: 1, token: 1, payload });
            data.register_create(LOGS_PATH, "logs.1", bytes).await.expect("create");
            assert_eq!(LogRoots::read(&data).await.expect_err("damaged").kind(), ErrorKind::Corrupt);
        }
        let bytes = Format { version: 2, ..LOGS }.encode(&Body { master_epoch: 1, token: 1, payload: Bytes::new() });
        data.register_create(LOGS_PATH, "logs.1", bytes).await.expect("create");
        let error = LogRoots::read(&data).await.expect_err("newer");
        assert!(error.to_string().contains(LOGS_PATH) && error.to_string().contains("use a newer build"), "{error}");
    }
}
