//! What a data root's registers say of the cluster, for people (`ferrobase inspect`). Read-only, beside a server that may live.
//!
//! Always true: a register that cannot be read is told where it stands, and the rest is told all the same.

use std::sync::Arc;

use bytes::Bytes;
use coordination::{Leader, cluster_id, read_leader};
use filesystem::Filesystem;
use model::ErrorKind;
use model::region::RegionInfo;
use model::schema::{TableDescriptor, TableName};

use crate::catalog::{self, Catalog, META_TABLE_ID, OWN_TABLE_ID, own_region};
use crate::error::Result;
use crate::head::{self, TableHead};

/// A cluster as its registers describe it.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The cluster's id.
    pub cluster_id: String,
    /// Who leads, or led last.
    pub leader: Option<Leader>,
    /// No region gets this id or a smaller one any more.
    pub last_region_id: u64,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Tables, the master's own and META first.
    pub tables: Vec<SurveyedTable>,
}

/// A table that the catalog names, or one of the system's.
#[derive(Clone, Debug)]
pub struct SurveyedTable {
    /// Its name.
    pub name: TableName,
    /// Its id.
    pub id: String,
    /// Its regions, in key order.
    pub regions: Vec<RegionInfo>,
    /// Its head; none for the system's two tables, and if it cannot be read.
    pub head: Option<SurveyedHead>,
    /// Why the head cannot be read.
    pub wrong: Option<String>,
}

/// A table's head taken apart.
#[derive(Clone, Debug)]
pub struct SurveyedHead {
    /// Its key.
    pub path: String,
    /// `enabled`, `disabled` or `dropped`.
    pub state: &'static str,
    /// Epoch of the master that wrote it.
    pub master_epoch: u32,
    /// Rises with each change of the descriptor.
    pub revision: u64,
    /// The table.
    pub descriptor: TableDescriptor,
    /// Its regions, in key order.
    pub regions: Vec<RegionInfo>,
}

/// Reads a table's head by its key.
pub async fn table_head(fs: &Arc<dyn Filesystem>, path: &str) -> Result<Option<SurveyedHead>> {
    let Some(stored) = head::FORMAT.read(fs, path).await? else { return Ok(None) };
    let master_epoch = stored.body.master_epoch;
    let TableHead { state, descriptor, regions, revision } = TableHead::decode(stored.body.payload, path)?;
    let path = path.to_owned();
    Ok(Some(SurveyedHead { path, state: state.as_str(), master_epoch, revision, descriptor, regions }))
}

/// Reads the cluster's registers; `None` on a root that no master has seen.
///
/// # Errors
/// A root that cannot be reached; a cluster id, leader or catalog that cannot be read.
pub async fn survey(fs: &Arc<dyn Filesystem>) -> Result<Option<Survey>> {
    let Some(cluster_id) = cluster_id(fs).await? else { return Ok(None) };
    let leader = read_leader(fs).await?;
    let catalog = match catalog::FORMAT.read(fs, catalog::PATH).await? {
        Some(stored) => Catalog::decode(stored.body.payload)?,
        None => Catalog::new(),
    };
    let system = |id: &str, info: RegionInfo| SurveyedTable {
        name: info.table.clone(),
        id: id.to_owned(),
        regions: vec![info],
        head: None,
        wrong: None,
    };
    let mut tables = vec![system(OWN_TABLE_ID, own_region()), system(META_TABLE_ID, RegionInfo::meta())];
    for (name, id) in catalog.tables {
        let path = head::path(&id);
        let (head, wrong) = match table_head(fs, &path).await {
            Ok(Some(head)) => (Some(head), None),
            Ok(None) => (None, Some(format!("its head is missing. file=`{path}`"))),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) => {
                (None, Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let regions = head.as_ref().map(|head| head.regions.clone()).unwrap_or_default();
        tables.push(SurveyedTable { name, id, regions, head, wrong });
    }
    let namespaces = catalog.namespaces.into_keys().collect();
    Ok(Some(Survey { cluster_id, leader, last_region_id: catalog.last_region_id, namespaces, tables }))
}

impl Survey {
    /// The table and region of this encoded name or region name, as META has it.
    pub fn region(&self, name: &[u8]) -> Option<(&SurveyedTable, &RegionInfo)> {
        let is_meant = |region: &&RegionInfo| {
            region.encoded_name().as_bytes() == name || region.region_name() == Bytes::copy_from_slice(name)
        };
        self.tables.iter().find_map(|table| table.regions.iter().find(is_meant).map(|region| (table, region)))
    }
}
