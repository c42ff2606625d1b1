//! Blobs: written in a folder `tmp.<token>.<name>` beside their place and renamed there without overwriting.
//!
//! Always true
//! - The folder belongs to one writer. Whoever removes it takes the blob away from that writer for good: nothing makes it again.
//! - A writer that lost its DataNodes begins again in the same folder, as long as it still holds what it wrote.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hdfs_native::file::FileReader;
use parking_lot::Mutex;

use super::file::{self, File};
use super::link::{Failure, Link, Moved, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::{BlobReader, BlobWriter};

/// So many bytes a writer holds to begin again with; a longer blob fails with its DataNodes.
const REPLAY_BYTES_MAX: u64 = 16 << 20;
/// How often it begins.
const BEGINS_MAX: u32 = 5;

/// Writes one blob.
pub(super) struct HdfsBlobWriter {
    link: Arc<Link>,
    key: String,
    target: String,
    /// Its folder.
    aside: String,
    begins: u32,
    /// None before the first byte, after a failure, and while a call runs: what is cut is never used again.
    file: Option<(File, String)>,
    /// Everything written, unless that became too much.
    replay: Option<Vec<Bytes>>,
    len: u64,
    block_size: u64,
}

impl fmt::Debug for HdfsBlobWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HdfsBlobWriter").field("key", &self.key).field("len", &self.len).finish_non_exhaustive()
    }
}

impl HdfsBlobWriter {
    /// Starts a blob; `len`: how long it will be, if that is known.
    pub(super) async fn new(link: &Arc<Link>, key: &str, len: Option<u64>) -> Result<HdfsBlobWriter> {
        let target = link.at(key);
        let aside = aside(&target, &link.token());
        link.make_folder(key, &aside).await?;
        let block_size = len.map_or_else(|| link.file_defaults.lock().1, |len| file::block_size_for(link, len));
        let (link, key, replay) = (link.clone(), key.to_owned(), Some(Vec::new()));
        Ok(HdfsBlobWriter { link, key, target, aside, begins: 0, file: None, replay, len: 0, block_size })
    }

    /// Begins, with everything written so far.
    async fn begin(&mut self) -> Result<(File, String)> {
        let again = self.begins > 0;
        let Some(parts) = self.replay.clone() else {
            let why = "the DataNodes of a long file failed: write it again";
            return Err(Error::new(ErrorKind::Unavailable, &self.key, why));
        };
        if again {
            self.link.suspect();
        }
        self.begins += 1;
        let (aside, begins) = (self.aside.clone(), self.begins);
        let first = parts.first().cloned().unwrap_or_default();
        let name = |i| format!("{aside}/a{begins}.{i}");
        let begun = file::begin(&self.link, &self.key, name, &first, self.block_size).await;
        let (mut file, path) = begun.map_err(|error| match error.kind() {
            ErrorKind::NotFound => file::vanished(&self.key),
            _ => error,
        })?;
        for part in parts.into_iter().skip(1) {
            self.push(&mut file, part).await?;
        }
        Ok((file, path))
    }

    async fn push(&self, file: &mut File, data: Bytes) -> Result<()> {
        let pushed = self.link.bounded(self.link.settings.data_timeout, file.push(data)).await;
        pushed.map_err(|failure| self.link.error(&self.key, "write", &failure, false))
    }

    /// Whether a failure is worth another beginning.
    fn may_begin_again(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Unavailable && self.replay.is_some() && self.begins < BEGINS_MAX
    }

    async fn complete(&mut self) -> Result<(String, u32)> {
        let (mut file, path) = match self.file.take() {
            Some(begun) => begun,
            None => self.begin().await?,
        };
        let link = &self.link;
        let failed = |failure: Failure| link.error(&self.key, "finish", &failure, false);
        link.bounded(link.settings.data_timeout, file.sync()).await.map_err(failed)?;
        file::close(link, &mut file).await.map_err(failed)?;
        Ok((path, file.replication))
    }

    async fn finish_or_leave(&mut self) -> Result<u64> {
        let (path, replication) = loop {
            match self.complete().await {
                Ok(done) => break done,
                Err(error) if self.may_begin_again(&error) => {
                    tracing::warn!(key = self.key, %error, "written again");
                }
                Err(error) => return Err(error),
            }
        };
        file::restore_replication(&self.link, &path, replication).await;
        match self.link.rename(&self.key, &path, &self.target).await? {
            Moved::Done => Ok(self.len),
            Moved::Taken { doubt: false } => Err(Error::new(ErrorKind::Exists, &self.key, "the name is taken")),
            Moved::Taken { doubt: true } | Moved::Absent { .. } => {
                // The answer to an earlier try was lost, or the folder was taken away.
                let names = file::names(&self.link, &self.key, &self.aside).await?;
                let waits = names.as_ref().is_some_and(|names| names.iter().any(|entry| entry.path == path));
                match (names.is_some(), waits) {
                    (true, false) => Ok(self.len), // only the rename takes it out of a folder that stands
                    (true, true) => Err(Error::new(ErrorKind::Exists, &self.key, "the name is taken")),
                    (false, _) => Err(file::vanished(&self.key)),
                }
            }
        }
    }
}

#[async_trait]
impl BlobWriter for HdfsBlobWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.len += data.len() as u64;
        if let Some(replay) = &mut self.replay {
            replay.push(data.clone());
        }
        loop {
            let done = match self.file.take() {
                // It begins with what was just added.
                None => self.begin().await,
                Some((mut file, path)) => self.push(&mut file, data.clone()).await.map(|()| (file, path)),
            };
            match done {
                Ok(begun) => {
                    self.file = Some(begun);
                    if self.len > REPLAY_BYTES_MAX {
                        self.replay = None;
                    }
                    return Ok(());
                }
                Err(error) if self.may_begin_again(&error) => {
                    tracing::warn!(key = self.key, %error, "written again");
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        self.finish_or_leave().await
    }

    async fn abort(mut self: Box<Self>) {
        self.file = None;
        let aside = std::mem::take(&mut self.aside);
        // A failure leaves garbage that no reader sees.
        let _ = self.link.delete(&self.key, &aside).await;
    }
}

impl Drop for HdfsBlobWriter {
    fn drop(&mut self) {
        if !self.aside.is_empty() {
            self.link.discard(vec![std::mem::take(&mut self.aside)]);
        }
    }
}

/// The folder or file beside `target` in which it is made.
pub(super) fn aside(target: &str, token: &str) -> String {
    let (folder, name) = target.rsplit_once('/').unwrap_or(("", target));
    // A name has at most 255 bytes.
    let name = if name.len() <= 200 { name } else { "" };
    format!("{folder}/tmp.{token}.{name}")
}

/// Reads one blob or sealed log.
pub(super) struct HdfsReader {
    link: Arc<Link>,
    key: String,
    /// Knows the blocks; replaced when they are not where it thinks.
    reader: Mutex<Arc<FileReader>>,
}

impl fmt::Debug for HdfsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HdfsReader").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Asks where a file's blocks are; `None` if it is absent.
async fn locate(link: &Link, key: &str, path: &str) -> Result<Option<FileReader>> {
    link.again(key, "open", |client| async move { client.read(path).await }).await
}

impl HdfsReader {
    pub(super) async fn open(link: &Arc<Link>, key: &str) -> Result<HdfsReader> {
        match locate(link, key, &link.at(key)).await? {
            Some(reader) => {
                Ok(HdfsReader { link: link.clone(), key: key.to_owned(), reader: Mutex::new(Arc::new(reader)) })
            }
            None => Err(Error::new(ErrorKind::NotFound, key, "open: it does not exist")),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.reader.lock().file_length() as u64
    }
}

#[async_trait]
impl BlobReader for HdfsReader {
    fn size(&self) -> Option<u64> {
        Some(self.len())
    }

    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let mut budget = self.link.budget(self.link.settings.deadline);
        loop {
            let reader = self.reader.lock().clone();
            // The crate panics beyond the end.
            let size = reader.file_length();
            let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
            let len = len.min(size - offset);
            if len == 0 {
                return Ok(Bytes::new());
            }
            let failure = match self.link.bounded(self.link.settings.data_timeout, reader.read_range(offset, len)).await
            {
                Ok(data) if data.len() == len => return Ok(data),
                Ok(_) => None,
                Err(failure) => Some(failure),
            };
            let error = match &failure {
                None => {
                    Error::new(ErrorKind::Unavailable, &self.key, "read: the DataNodes gave less than the file holds")
                }
                Some(failure) => self.link.error(&self.key, "read", failure, false),
            };
            if let Some(Verdict::Refused(_)) = failure.as_ref().map(Failure::verdict) {
                return Err(error);
            }
            if !budget.pause().await {
                return Err(error);
            }
            match locate(&self.link, &self.key, &self.link.at(&self.key)).await? {
                Some(fresh) if fresh.file_length() >= size => *self.reader.lock() = Arc::new(fresh),
                Some(_) => {}
                None => return Err(Error::new(ErrorKind::NotFound, &self.key, "read: it was deleted")),
            }
        }
    }
}
