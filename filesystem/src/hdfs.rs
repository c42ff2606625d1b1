//! A folder of HDFS, by `hdfs-native`.
//!
//! Always true
//! - Every call of the crate has a time-out of ours; after one that gave no answer the next call uses a fresh client.
//! - Blobs are written aside and renamed without overwriting; registers are pointer files changed by rename
//!   (`docs/formats/register.md`); a log is a file that its one writer appends to and syncs.
//! - Sealing a log takes it from its writer: what was not synced before is never durable.
//! - Whoever may write here is decided by the leader register; there is no lock on the root.
//!
//! Not here: what a lost answer means for the caller's own protocol; encryption zones and erasure-coded logs, which are refused.

mod blob;
mod file;
mod link;
mod log;
mod register;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::Runtime;

use crate::path::made_aside;
use crate::pointer::is_internal;
use crate::*;
use link::{Failure, Link, Moved};

pub use link::HdfsSettings;

/// A root in HDFS; clones share it.
#[derive(Clone, Debug)]
pub struct HdfsFilesystem {
    link: Arc<Link>,
}

impl HdfsFilesystem {
    /// Opens a root, creating the folder if it is missing, and looks whether the cluster does what is needed of it.
    pub async fn open(settings: HdfsSettings, runtime: &Runtime) -> Result<HdfsFilesystem> {
        let link = Arc::new(Link::new(settings, runtime)?);
        let root = link.at("");
        link.make_folder(&link.settings.url, &root).await?;
        let probe = blob::aside(&format!("{}/probe", root.trim_end_matches('/')), &link.token());
        let probed = probe_cluster(&link, &probe).await;
        link.discard(vec![probe]);
        probed?;
        Ok(HdfsFilesystem { link })
    }

    /// Opens a root to look into it: nothing is made, and nothing is asked before something is read.
    pub fn open_unchecked(settings: HdfsSettings, runtime: &Runtime) -> Result<HdfsFilesystem> {
        Ok(HdfsFilesystem { link: Arc::new(Link::new(settings, runtime)?) })
    }

    fn at(&self, key: &str) -> Result<String> {
        check_key(key)?;
        if key.contains(':') {
            return Err(Error::new(ErrorKind::Invalid, key, "HDFS allows no `:` in a name"));
        }
        Ok(self.link.at(key))
    }

    /// What lies below a folder at any depth, except in folders that `enter` refuses by their name.
    async fn walk(&self, folder: &str, enter: impl Fn(&str) -> bool) -> Result<Vec<hdfs_native::client::FileStatus>> {
        let mut found = Vec::new();
        let mut folders = vec![self.at(folder)?];
        while let Some(next) = folders.pop() {
            // A folder that vanished meanwhile holds nothing.
            for entry in file::names(&self.link, folder, &next).await?.unwrap_or_default() {
                if entry.isdir && enter(file::last(&entry.path)) {
                    folders.push(entry.path.clone());
                }
                found.push(entry);
            }
        }
        Ok(found)
    }
}

/// Writes a file and takes it back: learns the cluster's defaults, and that a sync is one.
async fn probe_cluster(link: &Arc<Link>, path: &str) -> Result<()> {
    let key = link.settings.url.clone();
    let made = link
        .again(&key, "create a file", |client| async move {
            let options = hdfs_native::WriteOptions::default().create_parent(false).overwrite(true);
            client.create(path, options).await.map(drop)
        })
        .await?;
    let status = match made {
        Some(()) => file::look(link, &key, path).await?,
        None => None,
    };
    let status = status.ok_or_else(|| file::vanished(&key))?;
    let replication = link.settings.replication.or(status.replication).unwrap_or(0);
    let block_size = link.settings.block_size.or(status.blocksize).unwrap_or(0);
    if block_size == 0 {
        return Err(Error::new(ErrorKind::Invalid, &key, "the cluster names no block size"));
    }
    // An erasure-coded file has none.
    *link.file_defaults.lock() = (replication.max(1), block_size);
    let small = *link.small_block.lock();
    if let Err(Failure::Told(error)) = file::create(link, &format!("{path}.small"), file::options(1, small)).await
        && error.to_string().contains("less than configured minimum")
    {
        *link.small_block.lock() = block_size;
    }
    let bytes = Bytes::from_static(b"probe");
    let (mut file, begun) =
        file::begin(link, &key, |i| format!("{path}.{i}"), &bytes, file::block_size_for(link, 5)).await?;
    let checked = async {
        if file.erasure_coded {
            let why = "the root is erasure coded, where nothing can be synced: set it to replication \
                       (hdfs ec -setPolicy -replicate), at least for everything but its folder `data`";
            return Err(Error::new(ErrorKind::Invalid, &key, why));
        }
        let seen = file::look(link, &key, &begun).await?.map_or(0, |status| status.length);
        if seen != 5 {
            let why = format!("the NameNode does not show what was synced: 5 bytes were, {seen} are seen");
            return Err(Error::new(ErrorKind::Invalid, &key, why));
        }
        let closed = file::close(link, &mut file).await;
        closed.map_err(|failure| link.error(&key, "close a file", &failure, false))
    };
    let checked = checked.await;
    link.discard(vec![begun, format!("{path}.small")]);
    checked?;
    if replication < 2 {
        tracing::warn!(url = key, replication, "files have one replica: losing a DataNode's disk loses data");
    }
    Ok(())
}

#[async_trait]
impl Filesystem for HdfsFilesystem {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        self.at(path)?;
        let mut writer = Box::new(blob::HdfsBlobWriter::new(&self.link, path, Some(data.len() as u64)).await?);
        writer.write(data).await?;
        match writer.finish().await {
            Ok(_) => Ok(PutOutcome::Created),
            Err(error) if error.kind() == ErrorKind::Exists => Ok(PutOutcome::Exists),
            Err(error) => Err(error),
        }
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        self.at(path)?;
        Ok(Box::new(blob::HdfsBlobWriter::new(&self.link, path, None).await?))
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        self.at(path)?;
        Ok(Arc::new(blob::HdfsReader::open(&self.link, path).await?))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        let status = file::look(&self.link, path, &self.at(path)?).await?;
        Ok(status.filter(|status| !status.isdir).map(|status| status.length as u64))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.link.delete(path, &self.at(path)?).await
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        self.link.delete(path, &self.at(path)?).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        let (source, target) = (self.at(from)?, self.at(to)?);
        let folder = target.rsplit_once('/').map_or("/", |(folder, _)| folder);
        self.link.make_folder(to, folder).await?;
        let doubt = match self.link.rename(from, &source, &target).await? {
            Moved::Done => return Ok(PutOutcome::Created),
            Moved::Taken { doubt } | Moved::Absent { doubt } => doubt,
        };
        let left = self.size(from).await?.is_some();
        let there = self.size(to).await?.is_some();
        match (left, there) {
            (true, true) => Ok(PutOutcome::Exists),
            (false, true) if doubt => Ok(PutOutcome::Created),
            (false, _) => Err(Error::new(ErrorKind::NotFound, from, "rename: it does not exist")),
            (true, false) => Err(Error::new(ErrorKind::Unavailable, from, "rename: the new name's folder vanished")),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let found = self.walk(folder, |name| made_aside(name).is_none()).await?;
        let files = found.into_iter().filter(|entry| !entry.isdir && !is_internal(file::last(&entry.path)));
        let mut entries: Vec<Entry> = files
            .map(|entry| Entry { path: self.link.key(&entry.path).to_owned(), size: entry.length as u64 })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        let found = self.walk(folder, |name| made_aside(name).is_none()).await?;
        let unfinished = found.into_iter().filter_map(|entry| {
            let key = self.link.key(&entry.path);
            let (before, name) = key.rsplit_once('/').map_or(("", key), |(folder, name)| (folder, name));
            let name = made_aside(name)?;
            let path = if before.is_empty() { name.to_owned() } else { format!("{before}/{name}") };
            (!name.is_empty()).then(|| Unfinished { path, aside: key.to_owned() })
        });
        Ok(unfinished.collect())
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        self.link.delete(&unfinished.path, &self.link.at(&unfinished.aside)).await
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        check_head(path, head)?;
        self.at(path)?;
        register::create(&self.link, path, head, body).await
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.at(path)?;
        register::read(&self.link, path).await
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        check_head(path, head)?;
        self.at(path)?;
        register::swap(&self.link, path, expected, head, body).await
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        self.at(path)?;
        log::create(&self.link, path).await
    }

    async fn log_begin(&self, path: &str, first: Bytes) -> Result<LogOutcome> {
        self.at(path)?;
        log::begin(&self.link, path, &first).await
    }

    async fn log_seal(&self, path: &str) -> Result<Option<u64>> {
        self.at(path)?;
        log::seal(&self.link, path).await
    }

    /// Always locked: the leader register decides who may write.
    async fn lock_root(&self, _: &str) -> Result<LockOutcome> {
        Ok(LockOutcome::Locked(RootLock { _guard: Box::new(()) }))
    }
}
