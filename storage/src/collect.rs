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
//! start      the log's stream is created; if this process is the only one that writes below the root (standalone, after it
//!            has taken the root over): collect::end_others(logs, log.stream()); otherwise the master ends streams of dead servers
//! opened     each region: region.collect(), in the background, once
//! hourly     each region: region.collect(); then collect::streams(data, logs)
//! sooner     region.old_streams() > 0 some minutes after its opening: region.flush(), or the dead servers' logs stay;
//!            log.oldest_regions() name the regions to flush when log.segments() is large
//! stop       every region.close(); then log.end(); then collect::streams(data, logs)
//! ```
//!
//! Not here: files in regions' folders (`region::Region::collect`), files of dropped tables (the master deletes them).

use std::collections::BTreeMap;
use std::sync::Arc;

use filesystem::{Cause, Filesystem};

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
    /// Log streams ended by [`end_others`].
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
struct Segment {
    path: String,
    id: u64,
    size: u64,
}

/// The streams that have more than their fence, with their files.
async fn listed(fs: &Arc<dyn Filesystem>) -> Result<BTreeMap<u64, Vec<Segment>>> {
    let mut streams: BTreeMap<u64, Vec<Segment>> = BTreeMap::new();
    for file in fs.list(wal::FOLDER).await? {
        if let Some((stream, id)) = wal::parse_path(&file.path) {
            streams.entry(stream).or_default().push(Segment { path: file.path, id, size: file.size });
        }
    }
    streams.retain(|_, files| !matches!(&files[..], [only] if only.size == wal::FENCE_LEN));
    Ok(streams)
}

/// Ends every stream but `own`, as only the sole process below a root may: no other writer lives.
pub async fn end_others(fs: &Arc<dyn Filesystem>, own: u64) -> Result<Collected> {
    Cause::Collection.of(end_all_but(fs, own)).await
}

async fn end_all_but(fs: &Arc<dyn Filesystem>, own: u64) -> Result<Collected> {
    let mut done = Collected::default();
    for stream in listed(fs).await?.into_keys().filter(|stream| *stream != own) {
        if let Ok(Some((State::Ended { .. } | State::Released, _))) = wal::state(fs, stream).await {
            continue;
        }
        match wal::fence(fs, stream).await {
            Ok(_) => done.ended += 1,
            Err(error) => {
                tracing::warn!(stream = format!("{stream:016x}"), %error, "a log stream cannot be ended");
                done.failed += 1;
            }
        }
    }
    Ok(done)
}

/// Gives ended streams up that no region needs any more, and deletes their data, what lies about of streams already given up, and
/// segments that their writers had forgotten. Heads and fences stay for ever. `data` has the manifests that say what is needed of
/// the streams below the log root `logs`.
pub async fn streams(data: &Arc<dyn Filesystem>, logs: &Arc<dyn Filesystem>) -> Result<Collected> {
    Cause::Collection.of(collect_streams(data, logs)).await
}

async fn collect_streams(data: &Arc<dyn Filesystem>, logs: &Arc<dyn Filesystem>) -> Result<Collected> {
    let mut done = Collected::default();
    for (stream, segments) in listed(logs).await? {
        if let Err(error) = collect_stream(data, logs, stream, &segments, &mut done).await {
            tracing::warn!(stream = format!("{stream:016x}"), %error, "a log stream is kept");
            done.failed += 1;
        }
    }
    Ok(done)
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
