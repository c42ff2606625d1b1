//! From inputs to store files: parsed, sorted, and written by region and family side by side.

use std::io::Write;
use std::sync::Arc;

use filesystem::Filesystem;
use model::region::RegionInfo;
use model::schema::TableDescriptor;
use runtime::Runtime;
use runtime::task::Tasks;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::error::{LoadError, Result};
use crate::parse::{self, Input, ReadCounts, Reading};
use crate::report::Progress;
use crate::sort::{Sorted, Sorter};
use crate::store_file::{FamilyWriter, FamilyWriters, StoreFile};

/// Bytes of cells between two words on how far it is.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Such batches on their way.
const BATCHES_MAX: usize = 4;

/// Reads inputs, so many parts of one at the same time, and sorts their cells.
///
/// # Errors
/// An input cannot be read, too many records are bad, or scratch storage fails.
pub async fn read(
    inputs: Vec<Input>,
    reading: Reading,
    rejects: Option<Box<dyn Write + Send>>,
    table: &TableDescriptor,
    parallel: usize,
    mut sorter: Sorter,
    progress: Arc<dyn Progress>,
) -> Result<(Sorted, ReadCounts)> {
    progress.phase("read", inputs.iter().map(|input| input.bytes).sum());
    let (batches, mut receiver) = mpsc::channel::<Batch>(BATCHES_MAX);
    let families = table.families.keys().cloned().collect();
    let parsing = runtime::task::spawn(
        "parse",
        runtime::task::blocking(move || parse::run(inputs, &reading, families, parallel, rejects, progress, batches)),
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
        let mut waiting = regions.iter().cloned().enumerate();
        let (mut running, mut made) = (Tasks::new(), vec![Vec::new(); regions.len()]);
        let ended = loop {
            while running.len() < self.parallel.max(1)
                && let Some((at, region)) = waiting.next()
            {
                let (me, sorted) = (self.clone(), sorted.clone());
                running.spawn("write", async move { Ok((at, me.write_region(&sorted, &region).await?)) });
            }
            match running.next().await {
                None => break Ok(made.into_iter().flatten().collect()),
                Some(Ok(Ok((at, files)))) => made[at] = files,
                Some(Ok(Err(error))) => break Err(error),
                Some(Err(error)) => break Err(LoadError::Usage(error.to_string())),
            }
        };
        // After a failure nothing is written any more when the caller hears of it.
        running.stop().await;
        ended
    }

    async fn write_region(&self, sorted: &Sorted, region: &RegionInfo) -> Result<Vec<StoreFile>> {
        let mut walk = sorted.from(&region.start_key).await?;
        let (mut writers, mut bytes) = (FamilyWriters::default(), 0);
        while walk.advance().await? && region.contains(walk.row()) {
            bytes += writers.append(walk.row(), walk.cells(), |family| self.writer(family)).await?;
            if bytes >= PROGRESS_BYTES {
                self.progress.done(std::mem::take(&mut bytes));
            }
        }
        self.progress.done(bytes);
        writers.finish().await
    }

    fn writer(&self, family: &[u8]) -> Result<FamilyWriter> {
        let Some(family) = self.table.families.get(family) else {
            return Err(no_family(&self.table, family));
        };
        let folder = format!("{}/{}", self.folder, String::from_utf8_lossy(&family.name));
        Ok(FamilyWriter::new(&self.fs, folder, self.on_root, &self.runtime, family, self.tags))
    }
}

fn no_family(table: &TableDescriptor, family: &[u8]) -> LoadError {
    LoadError::Usage(format!("table {} has no family `{}`", table.name, family.escape_ascii()))
}
