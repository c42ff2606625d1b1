//! The loads: files are sorted by region, and each region takes its own with one call.
//!
//! Always true
//! - A call that failed may be made again with the same id: a region takes files of an id once.
//! - Files of a region that has changed its borders meanwhile are sorted, and where needed split, anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::table::{LoadRoom, RegionFiles, RegionLoaded};
use client::{Admin, Table};
use filesystem::Filesystem;
use futures::{StreamExt, TryStreamExt, stream};
use model::region::RegionInfo;
use model::schema::{TableDescriptor, check_family};
use runtime::Runtime;
use storage::StorageError;

use crate::error::{LoadError, Result};
use crate::plan::{plan, starts};
use crate::report::{Progress, Summary};
use crate::store_file::{self, StoreFile};

/// Looks at a table's regions before a load is given up.
const ROUNDS_MAX: usize = 10;
/// Pause before regions that changed are looked at again; it grows with each round.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// Files looked at side by side.
const LOOKS_AT_ONCE: usize = 4;
/// Files of a region and family at most, as in HBase (`hbase.mapreduce.bulkload.max.hfiles.perRegion.perFamily`), which reads are thankful for.
pub const FILES_PER_FAMILY_MAX: usize = 32;

/// Where a load goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table.
    pub table: Table,
    /// For its regions.
    pub admin: Admin,
    /// Its families.
    pub descriptor: TableDescriptor,
    /// The store's root.
    pub root: Arc<dyn Filesystem>,
    /// Where files are gathered below it.
    pub room: LoadRoom,
    /// Clock and randomness.
    pub runtime: Runtime,
}

/// How a load is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The load's id.
    pub id: String,
    /// Whether the servers read every file whole before.
    pub verify: bool,
    /// Files copied, split and loaded at the same time.
    pub parallel: usize,
}

/// Finds the store files of a folder as HBase's `completebulkload` has it, `FOLDER/FAMILY/FILE`, and looks at each.
///
/// # Errors
/// A file is damaged, or of a family that the table does not have; nothing was changed.
pub async fn find(
    fs: &Arc<dyn Filesystem>,
    folder: &str,
    on_root: bool,
    table: &TableDescriptor,
    verify: bool,
    summary: &mut Summary,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<StoreFile>> {
    let mut wanted = Vec::new();
    for entry in fs.list(folder).await? {
        let below = entry.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        let hidden = |name: &str| name.starts_with(['_', '.']);
        match below.split('/').collect::<Vec<_>>()[..] {
            [family, name] if !hidden(name) && !family.starts_with('.') && check_family(family.as_bytes()).is_ok() => {
                wanted.push((Bytes::copy_from_slice(family.as_bytes()), entry));
            }
            _ => summary.skipped += 1,
        }
    }
    if let Some((family, entry)) = wanted.iter().find(|(family, _)| !table.families.contains_key(family)) {
        let (family, file, table) = (family.escape_ascii(), &entry.path, &table.name);
        return Err(LoadError::Usage(format!("table {table} has no family `{family}`, of which `{file}` is")));
    }
    summary.inputs += wanted.len() as u64;
    summary.input_bytes += wanted.iter().map(|(_, entry)| entry.size).sum::<u64>();
    progress.phase("check", wanted.iter().map(|(_, entry)| entry.size).sum());
    let looks = wanted.into_iter().map(async |(family, entry)| {
        let found = store_file::measure(fs, &entry.path, entry.size, on_root, verify).await?;
        progress.done(entry.size);
        match found {
            Some(file) if file.family != family => {
                let (holds, lies) = (file.family.escape_ascii(), family.escape_ascii());
                let why = format!("file `{}` holds cells of family `{holds}` and lies in `{lies}`", entry.path);
                Err(LoadError::from(StorageError::Invalid(why)))
            }
            found => Ok(found),
        }
    });
    let found: Vec<Option<StoreFile>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
    summary.skipped += found.iter().filter(|file| file.is_none()).count() as u64;
    Ok(found.into_iter().flatten().collect())
}

impl Target {
    /// The table's regions, sorted.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn regions(&self) -> Result<Vec<RegionInfo>> {
        let mut regions: Vec<RegionInfo> =
            self.admin.regions(self.table.name()).await?.into_iter().map(|location| location.info).collect();
        regions.sort_by(|a, b| a.start_key.cmp(&b.start_key));
        Ok(regions)
    }

    /// Says what a load would do.
    ///
    /// # Errors
    /// The cluster does not answer; more files than a region takes.
    pub async fn preview(&self, files: Vec<StoreFile>, summary: &mut Summary) -> Result<()> {
        count(&files, summary);
        let plan = plan(&self.regions().await?, files);
        summary.split = plan.crossing.len() as u64;
        summary.regions = plan.fitting.len() as u64;
        plan.fitting.iter().try_for_each(|(_, files)| check_number(files))
    }

    /// Has the regions take the files.
    ///
    /// # Errors
    /// What was loaded until then stays; the same id goes on from there.
    pub async fn load(
        &self,
        mut files: Vec<StoreFile>,
        options: &Options,
        summary: &mut Summary,
        progress: &Arc<dyn Progress>,
    ) -> Result<()> {
        count(&files, summary);
        progress.phase("load", files.iter().map(|file| file.bytes).sum());
        for round in 0..ROUNDS_MAX {
            if round > 0 {
                self.runtime.clock.sleep(ROUND_PAUSE * u32::try_from(round).unwrap_or(1)).await;
            }
            let regions = self.regions().await?;
            let mut now = plan(&regions, files);
            if !now.crossing.is_empty() {
                summary.split += now.crossing.len() as u64;
                let starts = starts(&regions);
                let splits = now.crossing.iter().map(|file| self.split(file, &starts)).collect::<Vec<_>>();
                let parts: Vec<Vec<StoreFile>> =
                    stream::iter(splits).buffered(options.parallel.max(1)).try_collect().await?;
                let mut all: Vec<StoreFile> = now.fitting.into_iter().flat_map(|(_, files)| files).collect();
                all.extend(parts.into_iter().flatten());
                now = plan(&regions, all);
            }
            now.fitting.iter().try_for_each(|(_, files)| check_number(files))?;
            let loads: Vec<_> =
                now.fitting.into_iter().map(|(_, files)| self.load_region(files, options, progress)).collect();
            let mut done = stream::iter(loads).buffer_unordered(options.parallel.max(1));
            let (mut left, mut failed) = (now.crossing, None);
            // The others end, whatever becomes of one.
            while let Some(loaded) = done.next().await {
                match loaded {
                    Ok(Taken { outcome, copied, files }) => {
                        summary.copied += copied;
                        match outcome {
                            RegionLoaded::Done(_) => summary.regions += 1,
                            RegionLoaded::Before => summary.regions_before += 1,
                            RegionLoaded::BordersChanged => left.extend(files),
                        }
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if left.is_empty() {
                return Ok(());
            }
            files = left;
        }
        Err(LoadError::Restless { left: files.len(), rounds: ROUNDS_MAX })
    }

    async fn split(&self, file: &StoreFile, starts: &[Bytes]) -> Result<Vec<StoreFile>> {
        let Some(family) = self.descriptor.families.get(&file.family) else {
            let (family, table) = (file.family.escape_ascii(), &self.descriptor.name);
            return Err(LoadError::Usage(format!("table {table} has no family `{family}`")));
        };
        let folder = format!("{}/split/{}", self.room.folder, String::from_utf8_lossy(&family.name));
        store_file::split(file, starts, &self.root, &folder, &self.runtime, family).await
    }

    async fn load_region(
        &self,
        files: Vec<StoreFile>,
        options: &Options,
        progress: &Arc<dyn Progress>,
    ) -> Result<Taken> {
        let mut on_root = Vec::new();
        let mut copied = 0;
        for file in files {
            if file.on_root {
                on_root.push(file);
                continue;
            }
            let family = String::from_utf8_lossy(&file.family).into_owned();
            let path = format!("{}/copied/{family}/{:032x}", self.room.folder, self.runtime.random.next_u128());
            on_root.push(store_file::copy(&file, &self.root, &path).await?);
            copied += 1;
        }
        let row = on_root.iter().map(|file| &file.first_row).min().cloned().unwrap_or_default();
        let load = RegionFiles {
            id: options.id.clone(),
            files: on_root.iter().map(|file| (file.family.clone(), file.path.clone())).collect(),
            verify: options.verify,
        };
        let outcome = self.table.bulk_load(&row, &self.room, &load).await?;
        if outcome != RegionLoaded::BordersChanged {
            progress.done(on_root.iter().map(|file| file.bytes).sum());
        }
        Ok(Taken { outcome, copied, files: on_root })
    }
}

/// What became of the files of one region.
struct Taken {
    outcome: RegionLoaded,
    copied: u64,
    /// They lie below the root now.
    files: Vec<StoreFile>,
}

fn count(files: &[StoreFile], summary: &mut Summary) {
    summary.files += files.len() as u64;
    summary.bytes += files.iter().map(|file| file.bytes).sum::<u64>();
    summary.cells += files.iter().map(|file| file.cells).sum::<u64>();
}

fn check_number(files: &[StoreFile]) -> Result<()> {
    for file in files {
        let n = files.iter().filter(|other| other.family == file.family).count();
        if n > FILES_PER_FAMILY_MAX {
            let family = file.family.escape_ascii();
            let why = format!(
                "{n} files of family `{family}` for one region, {FILES_PER_FAMILY_MAX} may be: load them in parts"
            );
            return Err(LoadError::Usage(why));
        }
    }
    Ok(())
}
