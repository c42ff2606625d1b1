//! From inputs to store files: parsed on one thread, sorted, and written by region and family side by side.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use futures::{StreamExt, TryStreamExt, stream};
use model::Cell;
use model::region::RegionInfo;
use model::schema::TableDescriptor;
use runtime::Runtime;
use tokio::sync::mpsc;

use crate::error::{LoadError, Result};
use crate::parse::{self, Input, ReadCounts, Reading};
use crate::report::Progress;
use crate::sort::{Sorted, Sorter};
use crate::store_file::{FamilyWriter, StoreFile};

/// Bytes of cells between two words on how far it is.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Such batches on their way.
const BATCHES_MAX: usize = 4;

/// Reads inputs and sorts their cells.
///
/// # Errors
/// An input cannot be read, too many records are bad, or scratch storage fails.
pub async fn read(
    inputs: Vec<Input>,
    reading: Reading,
    rejects: Option<Box<dyn Write + Send>>,
    table: &TableDescriptor,
    mut sorter: Sorter,
    progress: Arc<dyn Progress>,
) -> Result<(Sorted, ReadCounts)> {
    progress.phase("read", inputs.iter().map(|input| input.bytes).sum());
    let (batches, mut receiver) = mpsc::channel::<Vec<Cell>>(BATCHES_MAX);
    let families = table.families.keys().cloned().collect();
    let parsing = runtime::task::spawn(
        "parse",
        runtime::task::blocking(move || parse::run(inputs, reading, families, rejects, progress, batches)),
    );
    while let Some(batch) = receiver.recv().await {
        sorter.add(batch).await?;
    }
    let done = parsing.await.map_err(|error| LoadError::Usage(error.to_string()))??;
    Ok((sorter.finish().await?, done))
}

/// Where and how store files are written.
#[derive(Clone)]
pub struct Output {
    /// The storage.
    pub fs: Arc<dyn Filesystem>,
    /// A folder of it; families become folders below.
    pub folder: String,
    /// Whether it is the store's own root.
    pub on_root: bool,
    /// The families' settings.
    pub table: TableDescriptor,
    /// Whether cells may have tags.
    pub tags: bool,
    /// Regions written at the same time.
    pub parallel: usize,
    /// Clock and randomness.
    pub runtime: Runtime,
    /// Is told of bytes of cells.
    pub progress: Arc<dyn Progress>,
}

impl Output {
    /// Writes sorted cells to store files, each of one region and one family, with the family's settings.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn write(&self, sorted: &Sorted, regions: &[RegionInfo]) -> Result<Vec<StoreFile>> {
        self.progress.phase("write", 0);
        let (alive, mut ended) = mpsc::channel::<()>(1);
        let work = regions.iter().map(async |region| {
            let (me, sorted, region, alive) = (self.clone(), sorted.clone(), region.clone(), alive.clone());
            // Tasks of their own, for several cores; they end with this one.
            let task = runtime::task::spawn("write", async move {
                let _alive = alive;
                me.write_region(&sorted, &region).await
            });
            let mut task = scopeguard::guard(task, |task| task.abort());
            (&mut *task).await.map_err(|error| LoadError::Usage(error.to_string()))?
        });
        let work: Vec<_> = work.collect();
        let made: Result<Vec<Vec<StoreFile>>> = stream::iter(work).buffered(self.parallel.max(1)).try_collect().await;
        // After a failure nothing is written any more when the caller hears of it.
        drop(alive);
        ended.recv().await;
        Ok(made?.into_iter().flatten().collect())
    }

    async fn write_region(&self, sorted: &Sorted, region: &RegionInfo) -> Result<Vec<StoreFile>> {
        let mut walk = sorted.from(&region.start_key).await?;
        let mut writers: Vec<(Bytes, FamilyWriter)> = Vec::new();
        let mut bytes = 0;
        while let Some(cell) = walk.take().await? {
            if !region.contains(cell.row()) {
                break;
            }
            let at = match writers.iter().position(|(family, _)| family == cell.family()) {
                Some(at) => at,
                None => {
                    writers.push(self.writer(cell.family())?);
                    writers.len() - 1
                }
            };
            writers[at].1.append(cell.as_ref()).await?;
            bytes += cell.bytes().len() as u64;
            if bytes >= PROGRESS_BYTES {
                self.progress.done(std::mem::take(&mut bytes));
            }
        }
        self.progress.done(bytes);
        let mut made = Vec::new();
        for (_, writer) in writers {
            made.extend(writer.finish().await?);
        }
        Ok(made)
    }

    fn writer(&self, family: &[u8]) -> Result<(Bytes, FamilyWriter)> {
        let Some(family) = self.table.families.get(family) else {
            return Err(no_family(&self.table, family));
        };
        let folder = format!("{}/{}", self.folder, String::from_utf8_lossy(&family.name));
        let writer = FamilyWriter::new(&self.fs, folder, self.on_root, &self.runtime, family, self.tags);
        Ok((family.name.clone(), writer))
    }
}

fn no_family(table: &TableDescriptor, family: &[u8]) -> LoadError {
    LoadError::Usage(format!("table {} has no family `{}`", table.name, family.escape_ascii()))
}
