//! Collection: what nobody needs any more is deleted (docs/PROTOCOLS.md §10). Everything here may be called at any time, any number of
//! times, by any process, and may be interrupted anywhere.
//!
//! Always true
//! - Every reason to delete is read from one object, in a way that a crash does not take back, and once true stays true.
//! - A doubt or an error means keep; the next round tries again.
//!
//! How a host calls it
//!
//! ```text
//! opened     each region: region.collect(), in the background, once
//! hourly     each region: region.collect(); then, of each log root: list; if no other process writes below the data root (standalone,
//!            which looks once more at who leads): end_others; collect. In a cluster the master ends the streams of dead servers instead
//! sooner     region.old_streams() > 0 some minutes after its opening: region.flush(), or the dead servers' logs stay;
//!            log.oldest_regions() name the regions to flush when log.segments() is large
//! stop       every region.close(); then log.end(); then collect::streams(data, logs)
//! ```
//!
//! Not here: files in regions' folders (`region::Region::collect`), files of dropped tables (the master deletes them).

use std::collections::BTreeMap;
use std::sync::Arc;

use filesystem::{Cause, Filesystem};
use runtime::random::Random;

use crate::error::Result;
use crate::manifest;
use crate::wal::{self, State, StreamIndex};

/// What a round has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Store files and log segments deleted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads that nobody will finish, removed.
    pub unfinished: u64,
    /// Log streams ended by [`Streams::end_others`].
    pub ended: u64,
    /// Log streams given up for good.
    pub released: u64,
    /// Log streams kept because of an error, which is in the process's own log.
    pub failed: u64,
}

impl std::ops::AddAssign for Collected {
    fn add_assign(&mut self, more: Collected) {
        self.files += more.files;
        self.bytes += more.bytes;
        self.unfinished += more.unfinished;
        self.ended += more.ended;
        self.released += more.released;
        self.failed += more.failed;
    }
}

/// A file of a stream.
#[derive(Debug)]
struct Segment {
    path: String,
    id: u64,
    size: u64,
}

/// The streams of a log root that had more than their fence when it was listed.
#[derive(Debug)]
pub struct Streams {
    fs: Arc<dyn Filesystem>,
    files: BTreeMap<u64, Vec<Segment>>,
}

/// Folder below a data root for files on their way into bulk loads.
pub const STAGING: &str = "ferrobase/staging";
/// Age at which a folder in it is given up. Who comes later finds no files, and no load that was told to stand needs them
/// (docs/PROTOCOLS.md §9), so the clocks that this is read from decide nothing about what is stored.
const STAGING_FOR_MS: i64 = 7 * 24 * 3_600_000;

/// A new name for a folder of files on their way: 16 hex digits of the time, 16 random ones.
pub fn staging_name(now_ms: i64, random: &dyn Random) -> String {
    format!("{now_ms:016x}{:016x}", random.next_u64())
}

/// When such a name was given, in milliseconds; `None` if it is none.
pub fn staged_at(name: &str) -> Option<i64> {
    let ours = name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    ours.then(|| i64::from_str_radix(&name[..16], 16).ok())?
}

/// Deletes what lies in one such folder.
pub async fn clear_staging(fs: &Arc<dyn Filesystem>, name: &str) -> Result<Collected> {
    clear(fs, &format!("{STAGING}/{name}"), |_| true).await
}

/// Deletes what lies in such folders that are so old that nobody waits for them any more.
pub async fn old_staging(fs: &Arc<dyn Filesystem>, now_ms: i64) -> Result<Collected> {
    let is_old = |path: &str| {
        let name = path.strip_prefix(STAGING).and_then(|rest| rest.strip_prefix('/')?.split('/').next());
        name.and_then(staged_at).is_some_and(|at_ms| now_ms.saturating_sub(at_ms) > STAGING_FOR_MS)
    };
    clear(fs, STAGING, is_old).await
}

async fn clear(fs: &Arc<dyn Filesystem>, folder: &str, is_unneeded: impl Fn(&str) -> bool) -> Result<Collected> {
    let work = async {
        let mut done = Collected::default();
        for file in fs.list(folder).await? {
            if is_unneeded(&file.path) {
                fs.delete(&file.path).await?;
                (done.files, done.bytes) = (done.files + 1, done.bytes + file.size);
            }
        }
        for left in fs.unfinished(folder).await? {
            if is_unneeded(&left.path) {
                fs.abandon(&left).await?;
                done.unfinished += 1;
            }
        }
        Ok(done)
    };
    Cause::Collection.of(work).await
}

/// Lists a log root.
pub async fn list(logs: &Arc<dyn Filesystem>) -> Result<Streams> {
    let mut streams: BTreeMap<u64, Vec<Segment>> = BTreeMap::new();
    for file in Cause::Collection.of(logs.list(wal::FOLDER)).await? {
        if let Some((stream, id)) = wal::parse_path(&file.path) {
            streams.entry(stream).or_default().push(Segment { path: file.path, id, size: file.size });
        }
    }
    streams.retain(|_, files| !matches!(&files[..], [only] if only.size == wal::FENCE_LEN));
    Ok(Streams { fs: logs.clone(), files: streams })
}

impl Streams {
    /// Whether nothing but fences was there.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Ends every stream but `own`, as only the sole process below a root may. That it was so must be found *after* the listing: whoever
    /// takes over later begins its stream later, and is not in the list.
    pub async fn end_others(&self, own: Option<u64>) -> Collected {
        Cause::Collection.of(self.end_all_but(own)).await
    }

    async fn end_all_but(&self, own: Option<u64>) -> Collected {
        let mut done = Collected::default();
        for stream in self.files.keys().copied().filter(|stream| Some(*stream) != own) {
            if let Ok(Some((State::Ended { .. } | State::Released, _))) = wal::state(&self.fs, stream).await {
                continue;
            }
            match wal::fence(&self.fs, stream).await {
                Ok(_) => done.ended += 1,
                Err(error) => {
                    tracing::warn!(stream = format!("{stream:016x}"), %error, "a log stream cannot be ended");
                    done.failed += 1;
                }
            }
        }
        done
    }

    /// Gives ended streams up that no region needs any more, and deletes their data, what lies about of streams already given up, and
    /// segments that their writers had forgotten. Heads and fences stay for ever. `data` has the manifests that say what is needed.
    pub async fn collect(&self, data: &Arc<dyn Filesystem>) -> Collected {
        let mut done = Collected::default();
        for (stream, segments) in &self.files {
            let collected = collect_stream(data, &self.fs, *stream, segments, &mut done);
            if let Err(error) = Cause::Collection.of(collected).await {
                tracing::warn!(stream = format!("{stream:016x}"), %error, "a log stream is kept");
                done.failed += 1;
            }
        }
        done
    }
}

/// Lists a log root and collects what is listed ([`Streams::collect`]).
pub async fn streams(data: &Arc<dyn Filesystem>, logs: &Arc<dyn Filesystem>) -> Result<Collected> {
    Ok(list(logs).await?.collect(data).await)
}

async fn collect_stream(
    data: &Arc<dyn Filesystem>,
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    segments: &[Segment],
    done: &mut Collected,
) -> Result<()> {
    let Some((mut state, version)) = wal::state(fs, stream).await? else { return Ok(()) };
    if let State::Ended { index, .. } = &state
        && !is_needed(data, index).await?
    {
        if !wal::release(fs, stream, &version).await? {
            return Ok(()); // somebody else has just done it, and deletes; or the next round
        }
        done.released += 1;
        state = State::Released;
    }
    for segment in segments.iter().filter(|segment| !state.keeps(segment.id)) {
        if !wal::is_fence(fs, &segment.path).await? {
            fs.delete(&segment.path).await?;
            (done.files, done.bytes) = (done.files + 1, done.bytes + segment.size);
        }
    }
    if !matches!(state, State::Live(_)) {
        // Fences that were never finished: the stream has one.
        for left in fs.unfinished(&wal::folder(stream)).await? {
            fs.abandon(&left).await?;
            done.unfinished += 1;
        }
    }
    Ok(())
}

async fn is_needed(fs: &Arc<dyn Filesystem>, index: &StreamIndex) -> Result<bool> {
    for (log_name, ranges) in &index.regions {
        let Ok(log_name) = std::str::from_utf8(log_name) else { return Ok(true) };
        if !manifest::log_is_unneeded(fs, log_name, ranges.max).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
