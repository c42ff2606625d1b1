//! Which log roots the regions of a data root still need.

use std::collections::BTreeMap;
use std::sync::Arc;

use filesystem::Filesystem;
use futures::{StreamExt, TryStreamExt};
use model::region::RegionInfo;
use storage::manifest::{self, Manifest};

use crate::catalog::{self, Catalog, META_TABLE_ID, OWN_TABLE_ID, own_region};
use crate::error::Result;
use crate::head::{self, HeadState, TableHead};

/// Registers read at a time.
const READS: usize = 32;

/// The log roots that manifests name, each with one region that needs it. Reads every manifest.
///
/// # Errors
/// Whatever cannot be read is a doubt, and so is a head or manifest that is missing where one is named.
pub async fn needed_log_roots(data: &Arc<dyn Filesystem>) -> Result<BTreeMap<u32, RegionInfo>> {
    let mut regions = vec![(OWN_TABLE_ID.to_owned(), own_region()), (META_TABLE_ID.to_owned(), RegionInfo::meta())];
    let catalog = catalog::FORMAT.read(data, catalog::PATH).await?;
    let tables = match &catalog {
        Some(stored) => Catalog::decode(stored.body.payload.clone())?.tables,
        None => BTreeMap::new(),
    };
    let heads: Vec<_> = tables.into_values().map(|id| async move { (head_of(data, &id).await, id) }).collect();
    let mut heads = futures::stream::iter(heads).buffer_unordered(READS);
    while let Some((head, id)) = heads.next().await {
        let head = head?;
        if head.state != HeadState::Dropped {
            regions.extend(head.regions.into_iter().map(|region| (id.clone(), region)));
        }
    }
    let manifests: Vec<_> = regions
        .into_iter()
        .map(|(table_id, region)| async move {
            let path = manifest::path(&table_id, &region.encoded_name());
            let manifest = match data.register_read(&path).await? {
                Some(value) => Manifest::decode(&value, &path)?,
                // A start that stopped early made none of its own two, and nobody else's is missing.
                None if region.table == own_region().table || region == RegionInfo::meta() => Manifest::default(),
                None => return Err(missing(&path).into()),
            };
            Ok::<_, crate::error::MasterError>((region, manifest))
        })
        .collect();
    let mut needed = BTreeMap::new();
    let mut manifests = futures::stream::iter(manifests).buffer_unordered(READS);
    while let Some((region, manifest)) = manifests.try_next().await? {
        for need in manifest.needs {
            needed.entry(need.root).or_insert_with(|| region.clone());
        }
    }
    Ok(needed)
}

async fn head_of(data: &Arc<dyn Filesystem>, id: &str) -> Result<TableHead> {
    let path = head::path(id);
    match head::FORMAT.read(data, &path).await? {
        Some(stored) => Ok(TableHead::decode(stored.body.payload, &path)?),
        None => Err(missing(&path).into()),
    }
}

fn missing(path: &str) -> filesystem::Error {
    filesystem::Error::new(filesystem::ErrorKind::NotFound, path, "it is missing")
}
