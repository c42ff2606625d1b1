//! A check of what lies on a data root against what the registers say, without a server (`ferrobase fsck`).
//!
//! Always true
//! - Nothing is changed, unless repair is asked for; repair deletes only what no manifest can ever list again
//!   (docs/PROTOCOLS.md §10, G1), so it is safe beside a running server.
//! - A finding about a region is told only if its manifest, read once more, still says the same.
//!
//! Not here: META, which is a cache and mended at each start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use coordination::LogRoots;
use filesystem::{Entry, Filesystem};
use model::ErrorKind;
use model::region::RegionInfo;
use model::schema::TableName;
use storage::StorageError;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::manifest::{self, FileEntry, Manifest};
use storage::region::{file_epoch, folder};
use storage::wal::survey::{self, ObjectEnd, Wanted};
use storage::wal::{self, FindRoot, StreamId};

use crate::catalog::{self, Catalog, META_TABLE_ID, OWN_TABLE_ID, own_region};
use crate::error::Result;
use crate::head::{self, HeadState, TableHead};

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// This table alone.
    pub table: Option<TableName>,
    /// Read every file whole: checksums, order and number of its cells.
    pub deep: bool,
    /// Delete what is left over for certain.
    pub repair: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// It is listed and not there.
    Missing,
    /// It is there and not what is listed.
    Changed,
    /// It is there and nothing lists it.
    Extra,
    /// It cannot be read.
    Damaged,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FindingKind::Missing => "missing",
            FindingKind::Changed => "changed",
            FindingKind::Extra => "extra",
            FindingKind::Damaged => "damaged",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// The key below the data root.
    pub path: String,
    /// What was expected, what is there, what to do.
    pub why: String,
    /// Whether repair has removed it.
    pub repaired: bool,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Tables, META and the master's own among them.
    pub tables: u64,
    /// Regions.
    pub regions: u64,
    /// Store files.
    pub files: u64,
    /// Their bytes, as listed.
    pub bytes: u64,
    /// Cells read.
    pub cells: u64,
    /// Findings that stand.
    pub findings: u64,
    /// Findings repaired.
    pub repaired: u64,
}

struct Check<'a> {
    fs: &'a Arc<dyn Filesystem>,
    options: &'a CheckOptions,
    cache: Arc<BlockCache>,
    logs: &'a dyn FindRoot,
    /// Log roots met; `None`: it cannot be opened, which was told.
    roots: BTreeMap<u32, Option<Arc<dyn Filesystem>>>,
    tell: &'a mut (dyn FnMut(&Finding) + Send),
    checked: Checked,
    /// What lies in regions' folders: by folder.
    lying: BTreeMap<String, Vec<Entry>>,
    /// Folders of tables whose regions are not known.
    unknown: BTreeSet<String>,
    /// Streams of logs that were read.
    looked: BTreeSet<StreamId>,
}

/// Reads what a stream holds, and tells what no start would take; how much that is.
async fn stream(logs: &Arc<dyn Filesystem>, id: StreamId, tell: &mut (dyn FnMut(&Finding) + Send)) -> Result<u64> {
    let found = match survey::look(logs, id.stream).await {
        Ok(found) => found,
        // Told of each region that needs it.
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    let mut findings = 0;
    for object in found.into_iter().flat_map(|stream| stream.objects) {
        let (at, why) = match &object.end {
            ObjectEnd::Damaged { at, why } => (*at, why.clone()),
            ObjectEnd::Whole | ObjectEnd::Torn { .. } => {
                match survey::entries(logs, id.stream, &object, &Wanted::default(), &mut |_| {}).await {
                    Ok(()) => continue,
                    Err(StorageError::Corrupt { offset, why, .. }) => (offset, why),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let why = format!("at byte {at}: {why}; regions that need log stream {id} cannot be opened");
        tell(&Finding { kind: FindingKind::Damaged, path: object.path, why, repaired: false });
        findings += 1;
    }
    Ok(findings)
}

/// Checks a root; `logs` finds the log roots that its manifests name.
///
/// # Errors
/// Whatever keeps the check itself from going on: an unreachable root, a catalog that cannot be read.
pub async fn check(
    fs: &Arc<dyn Filesystem>,
    options: &CheckOptions,
    cache: Arc<BlockCache>,
    logs: &dyn FindRoot,
    tell: &mut (dyn FnMut(&Finding) + Send),
) -> Result<Checked> {
    let below = options.table.as_ref().map_or_else(|| "data".to_owned(), table_folder);
    let mut lying: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in fs.list(&below).await? {
        let region: Vec<&str> = entry.path.splitn(5, '/').take(4).collect();
        lying.entry(region.join("/")).or_default().push(entry);
    }
    let (checked, unknown, roots) = (Checked::default(), BTreeSet::new(), [(0, Some(fs.clone()))].into());
    let looked = BTreeSet::new();
    let mut check = Check { fs, options, cache, logs, roots, tell, checked, lying, unknown, looked };
    check.cluster().await?;
    let catalog = match catalog::FORMAT.read(fs, catalog::PATH).await? {
        Some(stored) => Catalog::decode(stored.body.payload)?,
        None => {
            let why = "a data root has a catalog; this is none, or a part of one: restore it whole";
            check.found(FindingKind::Missing, catalog::PATH, why.to_owned());
            return Ok(check.checked);
        }
    };
    let wanted = |name: &TableName| options.table.as_ref().is_none_or(|table| table == name);
    let (own, meta) = (own_region(), RegionInfo::meta());
    for (id, info) in [(OWN_TABLE_ID, &own), (META_TABLE_ID, &meta)] {
        if wanted(&info.table) {
            check.checked.tables += 1;
            check.region(id, info).await?;
        }
    }
    for (name, id) in catalog.tables.iter().filter(|(name, _)| wanted(name)) {
        check.table(name, id).await?;
    }
    check.strangers();
    Ok(check.checked)
}

fn table_folder(name: &TableName) -> String {
    format!("data/{}/{}", name.namespace(), name.qualifier())
}

impl Check<'_> {
    fn found(&mut self, kind: FindingKind, path: &str, why: String) {
        self.checked.findings += 1;
        (self.tell)(&Finding { kind, path: path.to_owned(), why, repaired: false });
    }

    /// What a start reads before anything else.
    async fn cluster(&mut self) -> Result<()> {
        let read = [
            (coordination::ID_PATH, coordination::cluster_id(self.fs).await.map(|it| it.is_some())),
            (coordination::LEADER_PATH, coordination::read_leader(self.fs).await.map(|it| it.is_some())),
            // A root without other logs has none.
            (coordination::LOGS_PATH, LogRoots::read(self.fs).await.map(|_| true)),
        ];
        for (path, found) in read {
            match found {
                Ok(true) => {}
                Ok(false) => {
                    let why = "no server starts over the root without it; restore it from a copy";
                    self.found(FindingKind::Missing, path, why.to_owned());
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    self.found(FindingKind::Damaged, path, format!("{error}; no server starts over the root"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn table(&mut self, name: &TableName, id: &str) -> Result<()> {
        self.checked.tables += 1;
        let path = head::path(id);
        let read = match head::FORMAT.read(self.fs, &path).await {
            Ok(Some(stored)) => TableHead::decode(stored.body.payload, &path),
            Ok(None) => {
                self.unknown.insert(table_folder(name));
                let why = format!(
                    "head of {name}, which the catalog names: the table is out of service; restore the register"
                );
                self.found(FindingKind::Missing, &path, why);
                return Ok(());
            }
            Err(error) => Err(error),
        };
        let head = match read {
            Ok(head) => head,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.unknown.insert(table_folder(name));
                self.found(FindingKind::Damaged, &path, format!("{error}; the table is out of service"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if head.state == HeadState::Dropped {
            return Ok(());
        }
        for region in &head.regions {
            self.region(id, region).await?;
        }
        Ok(())
    }

    /// The manifest, as a sure reading shows it; `None` if there is nothing to compare with, which was told.
    async fn manifest(&mut self, path: &str, region: &RegionInfo) -> Result<Option<Manifest>> {
        let read = match self.fs.register_read_settled(path).await {
            Err(error) if error.kind() == filesystem::ErrorKind::Corrupt => {
                self.found(FindingKind::Damaged, path, format!("{error}; region {region} cannot be opened"));
                return Ok(None);
            }
            read => read?,
        };
        let Some(value) = read else {
            let why = format!("manifest of region {region}: the region cannot be opened; restore the register");
            self.found(FindingKind::Missing, path, why);
            return Ok(None);
        };
        match Manifest::decode(&value, path) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.found(FindingKind::Damaged, path, format!("{error}; region {region} cannot be opened"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn region(&mut self, table_id: &str, region: &RegionInfo) -> Result<()> {
        self.checked.regions += 1;
        let (path, folder) = (manifest::path(table_id, &region.encoded_name()), folder(region));
        let lying = self.lying.remove(&folder).unwrap_or_default();
        let Some(mut manifest) = self.manifest(&path, region).await? else { return Ok(()) };
        // The owner may flush and compact meanwhile: what is wrong must be wrong of one value.
        let wrong = loop {
            let mut wrong = Vec::new();
            let (mut files, mut bytes, mut cells) = (0, 0, 0);
            if !manifest.retired && (manifest.start_key != region.start_key || manifest.end_key != region.end_key) {
                let why = format!("the keys are not those of region {region} in the table's head");
                wrong.push((FindingKind::Changed, path.clone(), why));
            }
            for need in manifest.needs.clone() {
                wrong.extend(self.need(need, table_id, region).await?);
            }
            for (family, state) in &manifest.families {
                for file in &state.files {
                    let key = format!("{folder}/{}/{}", String::from_utf8_lossy(family), file.name);
                    (files, bytes) = (files + 1, bytes + file.size);
                    match self.file(&key, file).await? {
                        Ok(read) => cells += read,
                        Err((kind, why)) => wrong.push((kind, key, why)),
                    }
                }
            }
            if !wrong.is_empty() {
                let Some(now) = self.manifest(&path, region).await? else { return Ok(()) };
                if now != manifest {
                    manifest = now;
                    continue;
                }
            }
            self.checked.files += files;
            self.checked.bytes += bytes;
            self.checked.cells += cells;
            break wrong;
        };
        for (kind, key, why) in wrong {
            self.found(kind, &key, why);
        }
        self.left_over(&folder, &path, region, lying).await
    }

    /// One stream that a manifest names: what is wrong with it. Of a live one, only that it is there is looked at.
    async fn need(
        &mut self,
        need: StreamId,
        table_id: &str,
        region: &RegionInfo,
    ) -> Result<Option<(FindingKind, String, String)>> {
        if !self.roots.contains_key(&need.root) {
            let found = match self.logs.find(need.root).await {
                Ok(fs) => Some(fs),
                Err(error) => {
                    self.found(FindingKind::Missing, error.path(), format!("{error}; region {region} needs its log"));
                    None
                }
            };
            self.roots.insert(need.root, found);
        }
        let Some(Some(logs)) = self.roots.get(&need.root) else { return Ok(None) };
        if self.options.deep && self.looked.insert(need) {
            self.checked.findings += stream(logs, need, self.tell).await?;
        }
        let log_name = manifest::log_name(table_id, &region.encoded_name());
        let name = self.options.deep.then_some(log_name.as_bytes());
        match wal::look(logs, need.stream, name).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let why = format!("{error}; region {region} needs log stream {need}: restore its log root");
                Ok(Some((FindingKind::Damaged, format!("ferrobase/log/{:016x}", need.stream), why)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One listed file: its cells, or what is wrong.
    async fn file(&self, key: &str, file: &FileEntry) -> Result<std::result::Result<u64, (FindingKind, String)>> {
        let advice = "restore it from a copy; until then reads of the region that need it fail";
        match self.fs.size(key).await? {
            None => return Ok(Err((FindingKind::Missing, format!("{} bytes are listed; {advice}", file.size)))),
            Some(size) if size != file.size => {
                let why = format!("{size} bytes, {} are listed; {advice}", file.size);
                return Ok(Err((FindingKind::Changed, why)));
            }
            Some(_) if !self.options.deep => return Ok(Ok(0)),
            Some(_) => {}
        }
        let read = async {
            let reader = HFileReader::open(self.fs, key, file.size, self.cache.clone()).await?;
            Arc::new(reader).verify().await
        };
        Ok(match read.await {
            Ok(cells) if cells == file.cells => Ok(cells),
            Ok(cells) => Err((FindingKind::Changed, format!("{cells} cells, {} are listed; {advice}", file.cells))),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                Err((FindingKind::Damaged, format!("{error}; {advice}")))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err((FindingKind::Missing, format!("{} bytes are listed; {advice}", file.size)))
            }
            Err(error) => return Err(error.into()),
        })
    }

    /// What lies in the region's folder and is not listed.
    async fn left_over(&mut self, folder: &str, path: &str, region: &RegionInfo, lying: Vec<Entry>) -> Result<()> {
        let Some(manifest) = self.manifest(path, region).await? else { return Ok(()) };
        let listed: BTreeSet<String> = manifest
            .families
            .iter()
            .flat_map(|(family, state)| {
                let family = String::from_utf8_lossy(family);
                state.files.iter().map(move |file| format!("{folder}/{family}/{}", file.name)).collect::<Vec<_>>()
            })
            .collect();
        // Files of a bulk load that is under way may have arrived already.
        let arrived =
            |file: &manifest::MovingFile| format!("{folder}/{}/{}", String::from_utf8_lossy(&file.family), file.name);
        let moving: BTreeSet<String> = manifest.loads_under_way().flat_map(|load| &load.moving).map(arrived).collect();
        let known = |path: &String| listed.contains(path) || moving.contains(path);
        for entry in lying.into_iter().filter(|entry| !known(&entry.path)) {
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let epoch = file_epoch(name);
            // It was listed, or being written, when the folder was: gone by now, it is nothing to tell.
            if self.fs.size(&entry.path).await?.is_none() {
                continue;
            }
            let sure = epoch.is_some_and(|epoch| epoch < manifest.epoch);
            let repaired = sure && self.options.repair;
            if repaired {
                self.fs.delete(&entry.path).await?;
                self.checked.repaired += 1;
            }
            let why = match epoch {
                _ if sure => "left over by an earlier owner; collection removes it, and so does --repair",
                Some(_) => "not listed; its writer may be alive, and its next opening removes it if not",
                None => "not a name that Ferrobase gives; nothing touches it",
            };
            if !repaired {
                self.checked.findings += 1;
            }
            let why = format!("{} bytes, {why}", entry.size);
            (self.tell)(&Finding { kind: FindingKind::Extra, path: entry.path, why, repaired });
        }
        Ok(())
    }

    /// What lies in folders of no region that is known.
    fn strangers(&mut self) {
        let unknown = std::mem::take(&mut self.unknown);
        for (folder, entries) in std::mem::take(&mut self.lying) {
            // A table whose head cannot be read was told; its files are not strangers.
            if unknown.iter().any(|table| folder.strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('/')))
            {
                continue;
            }
            for entry in entries {
                let why = "of no region that a table names: of a table being dropped or truncated (the server goes on with \
                           that when it runs), or put here by hand";
                self.found(FindingKind::Extra, &entry.path, format!("{} bytes, {why}", entry.size));
            }
        }
    }
}
