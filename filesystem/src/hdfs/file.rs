//! Writing one file: begun on DataNodes that work, synced block by block, closed.
//!
//! The crate tells the NameNode of no node that it found dead, so that a new file may be given the same dead node again and again, and a
//! writer that waits for a dead node may wait for ever. So files are begun several at once under names that nobody else uses, with
//! fewer replicas while that does not work, and the first one that has its first bytes durable is the one.
//!
//! Always true
//! - A writer whose call failed or was cut is never used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, HdfsError, WriteOptions};
use runtime::clock::within;

use super::link::{Failure, Link, Verdict};
use crate::error::{Error, ErrorKind, Result};

/// A file being written.
pub(super) struct File {
    writer: FileWriter,
    /// Bytes in the block being written.
    filled: u64,
    block_size: u64,
    /// Bytes written.
    pub(super) len: u64,
    /// Replicas asked for.
    pub(super) replication: u32,
    /// The folder is erasure coded, where nothing can be synced before the end.
    pub(super) erasure_coded: bool,
}

impl File {
    /// Appends. Blocks that become full are synced, which the crate does only to the last one.
    pub(super) async fn push(&mut self, mut data: Bytes) -> hdfs_native::Result<()> {
        while !data.is_empty() {
            let part = data.split_to(data.len().min((self.block_size - self.filled) as usize));
            self.filled += part.len() as u64;
            self.len += part.len() as u64;
            self.writer.write_bytes(part).await?;
            if self.filled == self.block_size {
                self.sync().await?;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Makes everything pushed durable.
    pub(super) async fn sync(&mut self) -> hdfs_native::Result<()> {
        if self.erasure_coded {
            return Ok(());
        }
        match self.writer.hsync().await {
            Err(HdfsError::OperationFailed(why)) if why.contains("erasure") => {
                self.erasure_coded = true;
                Ok(())
            }
            synced => synced,
        }
    }
}

/// How long a close is waited for before it is asked for again: the crate sleeps half a second when the DataNodes have not reported
/// yet, and a call after the cut goes on at once. A shorter cut may hit before they have the last packet, which ruins the file.
const CLOSE_CUT: Duration = Duration::from_millis(300);

/// Closes a file that was synced.
pub(super) async fn close(link: &Link, file: &mut File) -> std::result::Result<(), Failure> {
    let begun = link.clock.monotonic();
    loop {
        match link.bounded(CLOSE_CUT, file.writer.close()).await {
            Err(Failure::Silent(_)) if link.clock.monotonic() - begun < link.settings.data_timeout => {}
            done => return done,
        }
    }
}

/// How long tries may take before others are made beside them, and while a node is known not to work.
const HEDGE: Duration = Duration::from_millis(600);
const HEDGE_SUSPECT: Duration = Duration::from_millis(300);
/// Tries beside each other.
const IN_FLIGHT_MAX: usize = 10;

/// Replicas of the tries that are made next. A dead node is in every pipeline as long as each wants all nodes, so that fewer are asked
/// for step by step; at once if a node is known not to work.
fn plan(wave: u32, full: u32, floor: u32, suspect: bool) -> Vec<u32> {
    let lower = |by: u32| full.saturating_sub(by).max(floor);
    match (suspect, wave) {
        (false, 0) => vec![full],
        (false, 1) => vec![full; 2],
        (false, _) => vec![lower(wave - 1); 4],
        (true, 0) => [vec![full; 2], vec![lower(1); 4]].concat(),
        (true, _) => vec![lower(wave + 1); 4],
    }
}

/// Begins a file with its first bytes durable, under one of the names, which must be fresh, in a folder that exists.
/// [`ErrorKind::NotFound`] if it does not.
pub(super) async fn begin(
    link: &Arc<Link>,
    key: &str,
    name: impl Fn(usize) -> String + Send + Sync,
    first: &Bytes,
    block_size: u64,
) -> Result<(File, String)> {
    let full = link.file_defaults.lock().0;
    let floor = link.settings.replication_min.clamp(1, full.max(1));
    let suspect = link.is_suspect();
    let mut budget = link.budget(link.settings.deadline);
    let created = AtomicBool::new(false);
    let mut running = FuturesUnordered::new();
    let mut tried: Vec<String> = Vec::new();
    let (mut wave, mut rounds) = (0, 0);
    let mut next = plan(wave, full, floor, suspect);
    let mut last = None;
    let hedge = if suspect { HEDGE_SUSPECT } else { HEDGE };
    loop {
        while running.len() < IN_FLIGHT_MAX
            && let Some(replication) = next.pop()
        {
            let path = name(tried.len());
            tried.push(path.clone());
            // On a machine that is only slow, later tries get more time.
            let limit = (link.settings.sync_timeout * (1 + rounds / 4)).min(link.settings.data_timeout);
            let options = options(replication, block_size);
            running.push(attempt(link, path, options, first, limit, &created));
        }
        match within(&*link.clock, hedge, running.next()).await {
            Some(Some((path, Ok(file)))) => {
                drop(running);
                tried.retain(|other| *other != path);
                link.discard(tried);
                return Ok((file, path));
            }
            Some(Some((_, Err(failure)))) => {
                match failure.verdict() {
                    Verdict::Absent | Verdict::Refused(ErrorKind::Denied | ErrorKind::Full | ErrorKind::Invalid) => {
                        drop(running);
                        link.discard(tried);
                        return Err(link.error(key, "create", &failure, false));
                    }
                    _ => last = Some(failure),
                }
                if !next.is_empty() || !running.is_empty() {
                    continue;
                }
            }
            Some(None) | None => {}
        }
        if !budget.pause().await {
            drop(running);
            link.discard(tried);
            let failure = last.unwrap_or(Failure::Silent(link.settings.deadline));
            return Err(link.error(key, "write", &failure, false));
        }
        rounds += 1;
        // While it is the NameNode that refuses, fewer replicas do not help.
        if created.swap(false, Ordering::Relaxed) {
            link.suspect();
            wave += 1;
        }
        next = plan(wave, full, floor, suspect);
    }
}

async fn attempt(
    link: &Link,
    path: String,
    options: WriteOptions,
    first: &Bytes,
    limit: Duration,
    created: &AtomicBool,
) -> (String, std::result::Result<File, Failure>) {
    let made = create(link, &path, options).await;
    let begun = async {
        let mut file = made?;
        created.store(true, Ordering::Relaxed);
        if !first.is_empty() {
            // At least 10 MB/s are expected.
            let limit = limit + Duration::from_micros(first.len() as u64 / 10);
            let written = async {
                file.push(first.clone()).await?;
                file.sync().await
            };
            link.bounded(limit, written).await?;
        }
        Ok(file)
    };
    let begun = begun.await;
    (path, begun)
}

/// How a file of ours is made: in a folder that exists, under a name that nobody has.
pub(super) fn options(replication: u32, block_size: u64) -> WriteOptions {
    WriteOptions::default().create_parent(false).overwrite(false).replication(replication).block_size(block_size)
}

/// The block size for a file of at most so many bytes: DataNodes set a whole block aside for each file being written.
pub(super) fn block_size_for(link: &Link, len: u64) -> u64 {
    let (small, large) = (*link.small_block.lock(), link.file_defaults.lock().1);
    len.max(1).checked_next_multiple_of(small).map_or(large, |size| size.min(large))
}

/// Creates an empty file unless the name is taken.
pub(super) async fn create(link: &Link, path: &str, options: WriteOptions) -> std::result::Result<File, Failure> {
    let (replication, block_size) = (options.replication.unwrap_or(1), options.block_size.unwrap_or(u64::MAX));
    let call = |client: Client| async move { client.create(path, options).await };
    let writer = link.once(link.settings.rpc_timeout, call).await?;
    Ok(File { writer, filled: 0, block_size, len: 0, replication, erasure_coded: false })
}

/// Looks at a file or folder; `None` if absent.
pub(super) async fn look(link: &Link, key: &str, path: &str) -> Result<Option<FileStatus>> {
    link.again(key, "look", |client| async move { client.get_file_info(path).await }).await
}

/// What lies in a folder, in the order of names; empty if it is absent.
pub(super) async fn names(link: &Link, key: &str, folder: &str) -> Result<Option<Vec<FileStatus>>> {
    let listed = link.again(key, "list", |client| async move { client.list_status(folder, false).await }).await?;
    // The listing of a file is the file itself.
    Ok(listed.map(|found| found.into_iter().filter(|entry| entry.path != folder || entry.isdir).collect()))
}

/// The last part of a path.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Gives a file that was begun with fewer replicas the wanted ones.
pub(super) async fn restore_replication(link: &Link, path: &str, replication: u32) {
    let full = link.file_defaults.lock().0;
    if replication < full {
        let call = |client: Client| async move { client.set_replication(path, full).await };
        if let Err(failure) = link.once(link.settings.rpc_timeout, call).await {
            tracing::warn!(%failure, path, replication, "the file keeps too few replicas");
        }
    }
}

pub(super) fn vanished(key: &str) -> Error {
    Error::new(ErrorKind::Unknown, key, "what was being written has been removed by somebody else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_ask_for_fewer_replicas_step_by_step() {
        assert_eq!([0, 1, 2, 3, 9].map(|wave| plan(wave, 3, 1, false)[0]), [3, 3, 2, 1, 1]);
        assert_eq!([0, 1, 2].map(|wave| plan(wave, 3, 2, true).pop()), [Some(2); 3]);
        assert_eq!(plan(0, 1, 1, true), [1; 6]);
    }
}
