//! The leader's register and the cluster's id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use filesystem::{ErrorKind, Filesystem};
use runtime::Runtime;

use crate::error::{CoordinationError, Result};
use crate::register::{Body, Format, Stored, Writer, Written};

const ID: Format = Format { magic: b"FBCLUST1", version: 1, what: "cluster id" };
/// Where the cluster's id lies.
pub const ID_PATH: &str = "ferrobase/cluster/id";
const LEADER: Format = Format { magic: b"FBLEADR1", version: 1, what: "leader register" };
/// Where the leader's register lies.
pub const LEADER_PATH: &str = "ferrobase/cluster/leader";
/// Longest blob that is read as a cluster id.
const ID_LEN_MAX: usize = 1024;
/// Take-overs that may win before us while we try.
const TRIES_MAX: usize = 32;
/// The counter part of the master region's epoch.
const MASTER_REGION: u32 = 1;

/// Who leads, as the register says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Rises with each change of leader.
    pub master_epoch: u32,
    /// Where it answers, `host:port`.
    pub address: String,
}

/// Being the leader. Others may take over at any time; what they write refuses us from then on.
#[derive(Debug)]
pub struct Leadership {
    /// The cluster's id.
    pub cluster_id: String,
    /// Ours; every order and register value carries it.
    pub master_epoch: u32,
    counter: AtomicU32,
}

impl Leadership {
    /// A region epoch that was never given out.
    pub fn next_epoch(&self) -> u64 {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        assert!(counter > MASTER_REGION, "a master gives out less than 2^32 epochs in its life");
        u64::from(self.master_epoch) << 32 | u64::from(counter)
    }

    /// The epoch under which this leader opens the master region.
    pub fn master_region_epoch(&self) -> u64 {
        u64::from(self.master_epoch) << 32 | u64::from(MASTER_REGION)
    }

    /// Whether the register still names our epoch.
    pub async fn is_current(&self, fs: &Arc<dyn Filesystem>) -> Result<bool> {
        Ok(read_leader(fs).await?.is_some_and(|leader| leader.master_epoch == self.master_epoch))
    }
}

/// The cluster's id; `None` on a root that no master has seen.
pub async fn cluster_id(fs: &Arc<dyn Filesystem>) -> Result<Option<String>> {
    let bytes = match fs.read_at(ID_PATH, 0, ID_LEN_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let body = ID.decode(bytes, ID_PATH)?;
    text(&ID, ID_PATH, body.payload).map(Some)
}

/// Who leads; `None` on a root that no master has seen.
pub async fn read_leader(fs: &Arc<dyn Filesystem>) -> Result<Option<Leader>> {
    LEADER.read(fs, LEADER_PATH).await?.map(leader).transpose()
}

/// The leader's register as it was when it was read. Taking over from what was looked at spares another reading.
#[derive(Clone, Debug)]
pub struct LeaderSeen(Option<Stored>);

impl LeaderSeen {
    /// Reads the register.
    pub async fn read(fs: &Arc<dyn Filesystem>) -> Result<LeaderSeen> {
        Ok(LeaderSeen(LEADER.read(fs, LEADER_PATH).await?))
    }

    /// Who led; `None` on a root that no master had seen.
    pub fn leader(&self) -> Result<Option<Leader>> {
        self.0.clone().map(leader).transpose()
    }
}

/// Becomes the leader, whoever led before.
///
/// # Errors
/// Nothing is held after an error; the register may name us with an epoch that nobody uses.
pub async fn take_over(fs: &Arc<dyn Filesystem>, runtime: &Runtime, address: &str) -> Result<Leadership> {
    take_over_from(LeaderSeen::read(fs).await?, fs, runtime, address).await
}

/// The same, of a register that was read before; who came in between is passed over, too.
///
/// # Errors
/// As those of [`take_over`].
pub async fn take_over_from(
    seen: LeaderSeen,
    fs: &Arc<dyn Filesystem>,
    runtime: &Runtime,
    address: &str,
) -> Result<Leadership> {
    if address.is_empty() {
        return Err(CoordinationError::Invalid("a leader needs an address".to_owned()));
    }
    let LeaderSeen(mut current) = seen;
    let cluster_id = match current {
        None => ensure_id(fs, runtime).await?,
        // Whoever led has seen it: another id would cut the cluster off from its logs.
        Some(_) => cluster_id(fs).await?.ok_or_else(|| CoordinationError::Corrupt {
            what: ID.what,
            why: "it is missing, though the cluster had a leader; restore it from a copy".to_owned(),
            path: ID_PATH.to_owned(),
        })?,
    };
    for _ in 0..TRIES_MAX {
        let before = current.as_ref().map_or(0, |stored| stored.body.master_epoch);
        let master_epoch = before.checked_add(1).ok_or_else(|| CoordinationError::Corrupt {
            what: LEADER.what,
            why: "its epoch is the largest possible".to_owned(),
            path: LEADER_PATH.to_owned(),
        })?;
        let writer = Writer { fs, random: &*runtime.random, master_epoch };
        let payload = Bytes::copy_from_slice(address.as_bytes());
        match LEADER.write(writer, LEADER_PATH, current.as_ref(), "leader", payload).await? {
            Written::Done(_) => {
                tracing::info!(master_epoch, address, cluster_id, "leads the cluster");
                return Ok(Leadership { cluster_id, master_epoch, counter: AtomicU32::new(MASTER_REGION + 1) });
            }
            Written::Superseded(now) => current = now,
        }
    }
    Err(CoordinationError::Contended { path: LEADER_PATH.to_owned() })
}

async fn ensure_id(fs: &Arc<dyn Filesystem>, runtime: &Runtime) -> Result<String> {
    if let Some(id) = cluster_id(fs).await? {
        return Ok(id);
    }
    let payload = Bytes::from(uuid(runtime.random.next_u128()));
    let bytes = ID.encode(&Body { master_epoch: 0, token: 0, payload });
    // Whoever put it: what stands counts.
    match fs.put_if_absent(ID_PATH, bytes).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::Unknown => {}
        Err(error) => return Err(error.into()),
    }
    let lost = || filesystem::Error::new(ErrorKind::Unavailable, ID_PATH, "the cluster id could not be put");
    cluster_id(fs).await?.ok_or_else(|| lost().into())
}

/// A random UUID's text (version 4).
fn uuid(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

pub(crate) fn text(format: &Format, path: &str, payload: Bytes) -> Result<String> {
    String::from_utf8(payload.into()).map_err(|error| CoordinationError::Corrupt {
        what: format.what,
        why: error.to_string(),
        path: path.to_owned(),
    })
}

fn leader(stored: Stored) -> Result<Leader> {
    let master_epoch = stored.body.master_epoch;
    Ok(Leader { master_epoch, address: text(&LEADER, LEADER_PATH, stored.body.payload)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
    use filesystem::memory::MemoryFilesystem;

    fn memory() -> Arc<dyn Filesystem> {
        Arc::new(MemoryFilesystem::new())
    }

    #[tokio::test]
    async fn each_leader_gets_higher_epochs_in_the_same_cluster() {
        let (fs, runtime) = (memory(), Runtime::system());
        assert_eq!(read_leader(&fs).await.expect("read"), None);
        assert_eq!(cluster_id(&fs).await.expect("read"), None);
        let first = take_over(&fs, &runtime, "a:1").await.expect("take over");
        assert!(first.is_current(&fs).await.expect("read"));
        let epochs = [first.master_region_epoch(), first.next_epoch(), first.next_epoch()];
        assert_eq!(epochs, [1 << 32 | 1, 1 << 32 | 2, 1 << 32 | 3]);
        let second = take_over(&fs, &runtime, "b:2").await.expect("take over");
        assert_eq!((second.master_epoch, &second.cluster_id), (2, &first.cluster_id));
        assert!(second.master_region_epoch() > first.next_epoch());
        assert!(!first.is_current(&fs).await.expect("read"));
        let leader = read_leader(&fs).await.expect("read").expect("exists");
        assert_eq!(leader, Leader { master_epoch: 2, address: "b:2".to_owned() });
    }

    #[tokio::test]
    async fn many_at_once_each_get_an_epoch_of_their_own() {
        let (fs, runtime) = (memory(), Runtime::system());
        let all = futures::future::join_all((0..8).map(|i| {
            let (fs, runtime) = (fs.clone(), runtime.clone());
            async move { take_over(&fs, &runtime, &format!("h:{i}")).await.expect("take over") }
        }))
        .await;
        let mut epochs: Vec<u32> = all.iter().map(|leadership| leadership.master_epoch).collect();
        epochs.sort_unstable();
        assert_eq!(epochs, (1..=8).collect::<Vec<_>>());
        assert!(all.iter().all(|leadership| leadership.cluster_id == all[0].cluster_id));
    }

    #[tokio::test]
    async fn a_stop_at_any_step_leaves_a_root_that_the_next_one_takes() {
        for effect in [Effect::Before, Effect::Torn, Effect::After] {
            for stop in [true, false] {
                for step in 0.. {
                    let faulty = FaultyFilesystem::new();
                    let fs: Arc<dyn Filesystem> = Arc::new(faulty.clone());
                    let before = take_over(&fs, &Runtime::system(), "a:1").await.expect("take over");
                    let fresh = FaultyFilesystem::new();
                    // Once on an empty root, once on one that had a leader.
                    for faulty in [faulty, fresh] {
                        let fs: Arc<dyn Filesystem> = Arc::new(faulty.clone());
                        let old = read_leader(&fs).await.expect("read").map_or(0, |leader| leader.master_epoch);
                        faulty.plan(Fault { step: faulty.steps() + step, effect, stop });
                        let tried = take_over(&fs, &Runtime::system(), "b:2").await;
                        let fs: Arc<dyn Filesystem> = Arc::new(faulty.root());
                        let next = take_over(&fs, &Runtime::system(), "c:3").await.expect("take over");
                        assert!(next.master_epoch > old);
                        if let Ok(tried) = tried {
                            assert!(next.master_epoch > tried.master_epoch && next.cluster_id == tried.cluster_id);
                        }
                        if old == 1 {
                            assert_eq!(next.cluster_id, before.cluster_id);
                        }
                    }
                    if step == 3 {
                        break;
                    }
                }
            }
        }
    }

    #[tokio::test]
    async fn lost_answers_do_not_stop_a_take_over() {
        for step in 0..2 {
            let faulty = FaultyFilesystem::new();
            faulty.plan(Fault { step, effect: Effect::After, stop: false });
            let fs: Arc<dyn Filesystem> = Arc::new(faulty);
            let first = take_over(&fs, &Runtime::system(), "a:1").await.expect("take over");
            assert_eq!(first.master_epoch, 1);
            assert_eq!(cluster_id(&fs).await.expect("read").as_ref(), Some(&first.cluster_id));
        }
    }

    #[test]
    fn ids_are_uuids() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
