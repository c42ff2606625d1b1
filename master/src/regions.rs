//! Opening, closing and retiring regions, and what META says of them.
//!
//! Always true
//! - Everything here may be repeated: what is done already is left alone.
//! - META's row of a region says open only after the region server opened it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{StreamExt, TryStreamExt};
use model::ErrorKind;
use model::mutation::Mutation;
use model::region::RegionInfo;
use model::schema::{TableDescriptor, TableName};
use protocol::meta;
use protocol::service::RpcError;
use storage::StorageError;
use storage::manifest::ManifestHandle;
use storage::region::Region;

use crate::error::{MasterError, Result};
use crate::head::TableHead;
use crate::host::META_BATCH;
use crate::master::{Master, Opened};
use crate::tables::PARALLEL;

/// How often an opening whose answer was lost is asked for again.
const ASKS_MAX: usize = 3;

/// A region to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub info: RegionInfo,
    pub table_id: Arc<str>,
    pub descriptor: Arc<TableDescriptor>,
}

/// A table's regions to be opened.
pub(crate) fn openings<'a>(
    table_id: &str,
    descriptor: &TableDescriptor,
    regions: impl IntoIterator<Item = &'a RegionInfo>,
) -> Vec<Opening> {
    let (table_id, descriptor) = (Arc::<str>::from(table_id), Arc::new(descriptor.clone()));
    let opening =
        |info: &RegionInfo| Opening { info: info.clone(), table_id: table_id.clone(), descriptor: descriptor.clone() };
    regions.into_iter().map(opening).collect()
}

/// A region that cannot be opened, and why.
pub(crate) type Failed = (RegionInfo, RpcError);

impl Master {
    /// Opens regions, many at a time, and says so in META. Answers those that cannot be opened as they are; fails if
    /// trying again may help.
    pub(crate) async fn open_regions(&self, openings: Vec<Opening>) -> Result<Vec<Failed>> {
        let mut failed = Vec::new();
        let mut passing = None;
        let opened = futures::stream::iter(openings).map(|opening| async move {
            let known = self.open.lock().get(&opening.info.encoded_name()).copied();
            match known {
                Some(opened) => (opening.info, Ok(opened)),
                None => {
                    let opened = self.open_region(&opening).await;
                    (opening.info, opened)
                }
            }
        });
        let mut chunks = opened.buffer_unordered(PARALLEL).ready_chunks(META_BATCH);
        while let Some(chunk) = chunks.next().await {
            let mut news = Vec::new();
            for (info, opened) in chunk {
                match opened {
                    Ok(Opened { in_meta: true, .. }) => {}
                    Ok(Opened { seqnum, .. }) => news.push((info, seqnum)),
                    Err(error) if MasterError::from(error.clone()).is_passing() => passing = Some(error),
                    Err(error) => failed.push((info, error)),
                }
            }
            let put =
                |(info, seqnum): &(RegionInfo, u64)| meta::open_put(info, &self.server, *seqnum, self.meta_timestamp());
            match self.host.write_meta(&news.iter().map(put).collect::<Vec<_>>()).await {
                Ok(()) => {
                    let mut open = self.open.lock();
                    for (info, _) in &news {
                        if let Some(opened) = open.get_mut(&info.encoded_name()) {
                            opened.in_meta = true;
                        }
                    }
                }
                Err(error) => passing = Some(error),
            }
        }
        if passing.is_some() || !failed.is_empty() {
            self.missing.store(true, Ordering::Release);
        }
        match passing {
            Some(error) => Err(error.into()),
            None => Ok(failed),
        }
    }

    async fn open_region(&self, opening: &Opening) -> std::result::Result<Opened, RpcError> {
        let Opening { info, table_id, descriptor } = opening;
        let epoch = self.leadership.next_epoch();
        let mut asked = 0;
        loop {
            asked += 1;
            match self.host.open(info, table_id, epoch, descriptor).await {
                Ok(seqnum) => {
                    let opened = Opened { epoch, seqnum, in_meta: false };
                    self.open.lock().insert(info.encoded_name(), opened);
                    return Ok(opened);
                }
                // It may be open under this epoch: the same order tells.
                Err(error) if error.kind == ErrorKind::Unknown && asked < ASKS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds regions that the region server has lost; they are opened again.
    pub(crate) async fn look_for_lost(&self) -> Result<()> {
        let known: Vec<(String, u64)> =
            self.open.lock().iter().map(|(encoded, opened)| (encoded.clone(), opened.epoch)).collect();
        let online = self.host.online().await?;
        let mut open = self.open.lock();
        for (encoded, epoch) in known {
            // What was opened anew since is another opening.
            if !online.contains(&encoded) && open.get(&encoded).is_some_and(|opened| opened.epoch == epoch) {
                tracing::warn!(region = encoded, "the region server has lost a region");
                open.remove(&encoded);
                self.missing.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Hands a changed descriptor to the regions that are open; those that turn out not to be are forgotten here.
    pub(crate) async fn update_regions(&self, head: &TableHead) -> Result<()> {
        let open: Vec<String> = {
            let open = self.open.lock();
            head.regions.iter().map(RegionInfo::encoded_name).filter(|name| open.contains_key(name)).collect()
        };
        futures::stream::iter(open.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |encoded| async move {
                match self.host.update(&encoded, &head.descriptor).await {
                    Err(error) if error.kind == ErrorKind::NotServing => {
                        self.open.lock().remove(&encoded);
                        Ok(())
                    }
                    updated => Ok(updated?),
                }
            })
            .await
    }

    /// Opens regions of a table that is out of service, without a word to META; what is damaged is left alone.
    pub(crate) async fn open_quietly(&self, openings: Vec<Opening>) -> Result<()> {
        futures::stream::iter(openings.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |opening| async move {
                match self.open_region(&opening).await {
                    Ok(_) => Ok(()),
                    Err(error) if MasterError::from(error.clone()).is_passing() => Err(error.into()),
                    Err(error) => {
                        tracing::error!(region = %opening.info, %error, "region does not open");
                        Ok(())
                    }
                }
            })
            .await
    }

    /// Closes regions, many at a time, so that none of them needs a log, and says so in META if `tell`. What is damaged
    /// stays as it is.
    pub(crate) async fn close_regions(&self, openings: Vec<Opening>, tell: bool) -> Result<()> {
        let regions: Vec<RegionInfo> = openings.iter().map(|opening| opening.info.clone()).collect();
        futures::stream::iter(openings.into_iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |opening| async move { self.close_region(&opening).await })
            .await?;
        if tell {
            let put = |info: &RegionInfo| meta::closed_put(info, self.meta_timestamp());
            self.host.write_meta(&regions.iter().map(put).collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    async fn close_region(&self, opening: &Opening) -> Result<()> {
        let encoded = opening.info.encoded_name();
        self.host.close(&encoded).await?;
        self.open.lock().remove(&encoded);
        match self.manifest(&opening.table_id, &encoded).await {
            Ok(Some(handle)) if !handle.manifest().retired && !handle.manifest().needs.is_empty() => {}
            Ok(_) => return Ok(()),
            Err(MasterError::Storage(error)) if error.kind() == ErrorKind::Corrupt => {
                tracing::error!(region = %opening.info, %error, "closed, but its manifest is damaged");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        // An earlier life left edits in its log: they go to files, so that nothing needs that log.
        match self.open_region(opening).await {
            Ok(_) => {}
            Err(error) if MasterError::from(error.clone()).is_passing() => return Err(error.into()),
            Err(error) => {
                tracing::error!(region = %opening.info, %error, "closed, but its last edits stay in the log");
                return Ok(());
            }
        }
        self.host.close(&encoded).await?;
        self.open.lock().remove(&encoded);
        Ok(())
    }

    /// Flushes regions, many at a time; those that are not open have nothing to flush.
    pub(crate) async fn flush_regions(&self, regions: &[RegionInfo]) -> Result<()> {
        futures::stream::iter(regions.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |info| async move {
                match self.host.flush(info).await {
                    Err(error) if error.kind == ErrorKind::NotServing => Ok(()),
                    flushed => Ok(flushed?),
                }
            })
            .await
    }

    /// Reads a region's manifest.
    pub(crate) async fn manifest(&self, table_id: &str, encoded: &str) -> Result<Option<ManifestHandle>> {
        Ok(ManifestHandle::load(&self.ctx.fs, &self.ctx.runtime.random, table_id, encoded).await?)
    }

    /// Creates regions' manifests, closed and empty.
    pub(crate) async fn create_manifests(
        &self,
        table_id: &str,
        descriptor: &TableDescriptor,
        regions: &[RegionInfo],
    ) -> Result<()> {
        futures::stream::iter(regions.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |info| async move {
                let epoch = self.leadership.next_epoch();
                let (fs, runtime) = (&self.ctx.fs, &self.ctx.runtime);
                Ok(Region::create(fs, runtime, table_id, info, descriptor, epoch).await?)
            })
            .await
    }

    /// Makes sure that nothing but a failing storage keeps regions from being retired. What their logs still hold does
    /// not matter: it goes with them.
    pub(crate) async fn check_retirable(&self, table_id: &str, regions: &[RegionInfo]) -> Result<()> {
        futures::stream::iter(regions.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |info| async move {
                match self.manifest(table_id, &info.encoded_name()).await {
                    Ok(_) => Ok(()),
                    Err(MasterError::Storage(error)) if error.kind() == ErrorKind::Corrupt => Ok(()),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Retires regions for ever.
    pub(crate) async fn retire_regions(&self, table_id: &str, regions: &[RegionInfo]) -> Result<()> {
        futures::stream::iter(regions.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |info| self.retire_region(table_id, info))
            .await
    }

    async fn retire_region(&self, table_id: &str, info: &RegionInfo) -> Result<()> {
        let mut handle = match self.manifest(table_id, &info.encoded_name()).await {
            Ok(Some(handle)) => handle,
            // Never made, or gone already.
            Ok(None) => return Ok(()),
            Err(MasterError::Storage(error)) if error.kind() == ErrorKind::Corrupt => {
                tracing::error!(region = %info, %error, "a damaged manifest cannot be retired; the region never opens");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let epoch = self.leadership.next_epoch();
        if handle.manifest().epoch >> 32 > epoch >> 32 {
            return Err(StorageError::Fenced(format!("region {info}")).into());
        }
        Ok(handle.retire(epoch).await?)
    }

    /// Deletes everything in retired regions' folders; then their manifests forget the files, or go if the table goes.
    pub(crate) async fn delete_files(
        &self,
        table_id: &str,
        regions: &[RegionInfo],
        with_manifests: bool,
    ) -> Result<()> {
        futures::stream::iter(regions.iter().map(Ok))
            .try_for_each_concurrent(PARALLEL, |info| self.delete_region(table_id, info, with_manifests))
            .await
    }

    async fn delete_region(&self, table_id: &str, info: &RegionInfo, with_manifest: bool) -> Result<()> {
        let encoded = info.encoded_name();
        match self.manifest(table_id, &encoded).await {
            Ok(Some(handle)) if !handle.manifest().retired => {
                let why = format!("region {info} is to lose its files and is not retired");
                return Err(StorageError::Invalid(why).into());
            }
            // No heir and no pin: the whole folder is dead, with files that no commit ever listed.
            Ok(Some(mut handle)) => {
                self.delete_folder(&storage::region::folder(info)).await?;
                if !with_manifest {
                    handle.commit(|manifest| manifest.families.values_mut().for_each(|f| f.files.clear())).await?;
                }
            }
            Ok(None) => {}
            Err(MasterError::Storage(error)) if error.kind() == ErrorKind::Corrupt => {
                self.delete_folder(&storage::region::folder(info)).await?;
            }
            Err(error) => return Err(error),
        }
        if with_manifest {
            self.ctx.fs.delete_register(&storage::manifest::path(table_id, &encoded)).await?;
        }
        Ok(())
    }

    /// Deletes the files of families that a table has lost.
    pub(crate) async fn delete_families(&self, regions: &[RegionInfo], families: &[bytes::Bytes]) -> Result<()> {
        let mut folders = Vec::new();
        for info in regions {
            let folder = storage::region::folder(info);
            folders.extend(families.iter().map(|family| format!("{folder}/{}", String::from_utf8_lossy(family))));
        }
        futures::stream::iter(folders.into_iter().map(Ok::<_, MasterError>))
            .try_for_each_concurrent(PARALLEL, |folder| async move { self.delete_folder(&folder).await })
            .await
    }

    async fn delete_folder(&self, folder: &str) -> Result<()> {
        for file in self.ctx.fs.list(folder).await? {
            self.ctx.fs.delete(&file.path).await?;
        }
        Ok(())
    }

    /// Writes a table's state to META.
    pub(crate) async fn tell_state(&self, table: &TableName, state: meta::TableState) -> Result<()> {
        let put = meta::table_state_put(table, state, self.meta_timestamp());
        Ok(self.host.write_meta(&[put]).await?)
    }

    /// Takes regions out of META, and the table's state if `table` says so.
    pub(crate) async fn forget_in_meta(&self, regions: &[RegionInfo], table: Option<&TableName>) -> Result<()> {
        let delete = |info: &RegionInfo| meta::region_delete(info, self.meta_timestamp());
        let mut mutations: Vec<Mutation> = regions.iter().map(delete).collect();
        mutations.extend(table.map(|table| meta::table_state_delete(table, self.meta_timestamp())));
        Ok(self.host.write_meta(&mutations).await?)
    }
}
