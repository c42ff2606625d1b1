//! `inspect tree`, `manifest` and `region`: what the registers say, and what lies there.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use master::{Survey, SurveyedHead, SurveyedTable};
use model::ErrorKind;
use model::region::RegionInfo;
use serde_json::{Value, json};
use storage::StorageError;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::manifest::{self, FamilyState, FileEntry, Manifest};
use storage::nonce;
use storage::region::{file_epoch, folder};
use storage::wal::survey::{self as log, StreamState, Wanted};

use super::print::{Printer, epoch, keys};
use super::target::{self, LogsAt, Root};
use crate::arguments::{Format, Looking, OneThing, Tree};
use crate::failure::Failure;
use crate::shell::{binary, from_binary};

/// Memory for blocks while files are looked at, in bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// What a manifest says of its region.
fn state(manifest: &Manifest) -> &'static str {
    match (manifest.retired, manifest.needs.is_empty()) {
        (true, _) => "retired",
        (false, true) => "closed",
        (false, false) => "claimed",
    }
}

fn families(manifest: &Manifest) -> impl Iterator<Item = (String, &FamilyState, u64)> {
    manifest.families.iter().map(|(name, state)| {
        let bytes = state.files.iter().map(|file| file.size).sum();
        (String::from_utf8_lossy(name).into_owned(), state, bytes)
    })
}

fn file_json(file: &FileEntry) -> Value {
    json!({"name": file.name, "epoch": file_epoch(&file.name).map(|epoch| format!("{epoch:x}")), "bytes": file.size,
        "cells": file.cells, "max_seqno": file.max_seq.0, "major": file.major, "loaded_ms": file.loaded_ms})
}

fn file_text(file: &FileEntry) -> String {
    let FileEntry { name, size, max_seq, cells, major, loaded_ms } = file;
    let epoch = file_epoch(name).map_or_else(|| "?".to_owned(), |epoch| format!("{epoch:x}"));
    let major = if *major { ", of a major compaction" } else { "" };
    let loaded = if *loaded_ms == 0 { "" } else { ", bulk-loaded" };
    format!("{name}: {size} bytes, {cells} cells up to seqno {}, epoch {epoch}{major}{loaded}", max_seq.0)
}

fn manifest_json(path: &str, manifest: &Manifest) -> Value {
    let families: Vec<Value> = families(manifest)
        .map(|(name, state, bytes)| {
            let files: Vec<Value> = state.files.iter().map(file_json).collect();
            json!({"name": name, "flushed": state.flushed.0, "bytes": bytes, "files": files})
        })
        .collect();
    let needs: Vec<String> = manifest.needs.iter().map(ToString::to_string).collect();
    json!({"path": path, "state": state(manifest), "epoch": format!("{:x}", manifest.epoch), "needs": needs,
        "start_key": binary(&manifest.start_key), "end_key": binary(&manifest.end_key),
        "seq_floor": manifest.seq_floor.0, "families": families})
}

fn unread(error: &StorageError) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid)
}

/// A region's manifest; `Err` inside says what is wrong with the register.
async fn read_manifest(root: &Root, path: &str) -> Result<Result<Manifest, String>, Failure> {
    let value = match root.fs.register_read(path).await.map_err(StorageError::from) {
        Ok(Some(value)) => value,
        Ok(None) => return Ok(Err(format!("the manifest is missing. file=`{path}`"))),
        Err(error) if unread(&error) => return Ok(Err(error.to_string())),
        Err(error) => return Err(root.failed(error)),
    };
    match Manifest::decode(&value, path) {
        Ok(manifest) => Ok(Ok(manifest)),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// `inspect tree`.
pub async fn tree(flags: &Tree, format: Format) -> Result<(), Failure> {
    let url = flags.target.as_deref().unwrap_or(&flags.looking.data);
    let root = Root::open(&flags.looking, url).await?;
    let survey = root.survey().await?;
    let mut out = Printer::new(format);
    let (address, master_epoch) =
        survey.leader.as_ref().map_or(("nobody", 0), |leader| (leader.address.as_str(), leader.master_epoch));
    out.item(
        "cluster",
        &format!("cluster {} led by {address}, master epoch {master_epoch}", survey.cluster_id),
        || {
            json!({"id": survey.cluster_id, "leader": address, "master_epoch": master_epoch,
            "last_region_id": survey.last_region_id})
        },
    )?;
    for register in ["ferrobase/cluster/id", "ferrobase/cluster/leader", "ferrobase/cluster/catalog"] {
        out.item("registers", &format!("  {register}"), || json!({"path": register}))?;
    }
    let mut namespaces = survey.namespaces.clone();
    // That of the master's own table is in no catalog.
    namespaces.extend(survey.tables.iter().map(|table| table.name.namespace().to_owned()));
    namespaces.sort();
    namespaces.dedup();
    for namespace in &namespaces {
        out.item("namespaces", &format!("namespace {namespace}"), || json!({"name": namespace}))?;
        for table in survey.tables.iter().filter(|table| table.name.namespace() == namespace) {
            tree_table(&root, table, &mut out).await?;
        }
    }
    super::log::streams(&root, &mut out).await?;
    out.end()
}

async fn tree_table(root: &Root, table: &SurveyedTable, out: &mut Printer) -> Result<(), Failure> {
    let state = table.head.as_ref().map_or("of the system", |head| head.state);
    let state = if table.wrong.is_some() { "unknown" } else { state };
    let SurveyedTable { name, id, regions, .. } = table;
    out.item(
        "tables",
        &format!("  table {name} ({id}) {state}, {} regions", regions.len()),
        || json!({"name": name.to_string(), "id": id, "state": state, "regions": regions.len()}),
    )?;
    if let Some(wrong) = &table.wrong {
        out.wrong(wrong)?;
    }
    for region in regions {
        let path = manifest::path(id, &region.encoded_name());
        let manifest = match read_manifest(root, &path).await? {
            Ok(manifest) => manifest,
            // A system region of a root whose first start did not get so far.
            Err(_) if table.head.is_none() && root.fs.register_read(&path).await.is_ok_and(|it| it.is_none()) => {
                continue;
            }
            Err(why) => {
                out.wrong(&why)?;
                continue;
            }
        };
        let needs = manifest.needs.len();
        let (encoded, keys) = (region.encoded_name(), keys(&region.start_key, &region.end_key));
        let text = format!(
            "    region {encoded} {keys} {}, epoch {:x}, {needs} log streams needed",
            self::state(&manifest),
            manifest.epoch
        );
        out.item("regions", &text, || {
            let mut object = manifest_json(&path, &manifest);
            object["region"] = json!(binary(&region.region_name()));
            object["encoded"] = json!(encoded);
            object["table"] = json!(name.to_string());
            object
        })?;
        for (family, state, bytes) in families(&manifest) {
            let count = state.files.len();
            out.text(&format!("      family {family}: {count} files, {bytes} bytes, flushed {}", state.flushed.0))?;
            for file in &state.files {
                out.text(&format!("        {}", file_text(file)))?;
            }
        }
    }
    Ok(())
}

/// What a target of `manifest` or `region` names.
enum Meant {
    Region { path: String, info: Option<RegionInfo> },
    Head(SurveyedHead),
}

async fn find(flags: &OneThing, tables_too: bool) -> Result<(Root, Meant), Failure> {
    let OneThing { target, looking } = flags;
    let wanted = if tables_too {
        "a region's encoded name or name in META, a table's name, or the path of a register ROOT/ferrobase/table/…"
    } else {
        "a region's encoded name, its name in META, or the path of its manifest ROOT/ferrobase/table/…/…"
    };
    if let Some((url, key)) = target::split(target) {
        let parts: Vec<&str> = key.split('/').collect();
        let &["ferrobase", "table", _, name] = &parts[..] else {
            return Err(Failure::usage(format!("TARGET {target}: {wanted} is needed")));
        };
        let root = Root::open(looking, &url).await?;
        if name == "head" && tables_too {
            let head = master::table_head(&root.fs, &key).await;
            let head = head.map_err(|error| target::failed(&root.url, error.kind(), error))?;
            let head = head.ok_or_else(|| Failure::usage(format!("TARGET {target}: there is no such register")))?;
            return Ok((root, Meant::Head(head)));
        }
        let survey = root.survey().await?;
        let info = survey.region(name.as_bytes()).map(|(_, info)| info.clone());
        return Ok((root, Meant::Region { path: key, info }));
    }
    let root = root_of(looking).await?;
    let survey = root.survey().await?;
    if let Some((table, info)) = survey.region(&from_binary(target.as_bytes())) {
        let path = manifest::path(&table.id, &info.encoded_name());
        return Ok((root, Meant::Region { path, info: Some(info.clone()) }));
    }
    match head_of(&survey, target).filter(|_| tables_too) {
        Some(head) => Ok((root, Meant::Head(head))),
        None => Err(Failure::usage(format!(
            "TARGET {target}: {} names no such thing; {wanted} is needed, and --data names the root; `inspect tree` lists all",
            root.url
        ))),
    }
}

async fn root_of(looking: &Looking) -> Result<Root, Failure> {
    Root::open(looking, &looking.data).await
}

fn head_of(survey: &Survey, name: &str) -> Option<SurveyedHead> {
    let name = name.parse().ok()?;
    survey.tables.iter().find(|table| table.name == name)?.head.clone()
}

/// `inspect manifest`.
pub async fn manifest(flags: &OneThing, format: Format) -> Result<(), Failure> {
    let (root, meant) = find(flags, true).await?;
    let mut out = Printer::new(format);
    let (path, info) = match meant {
        Meant::Head(head) => {
            print_head(&head, &mut out)?;
            return out.end();
        }
        Meant::Region { path, info } => (path, info),
    };
    let manifest = read_manifest(&root, &path).await?.map_err(Failure::failed)?;
    out.text(&path)?;
    print_manifest(&path, info.as_ref(), &manifest, &mut out)?;
    out.end()
}

fn print_head(head: &SurveyedHead, out: &mut Printer) -> Result<(), Failure> {
    let attributes = |of: &BTreeMap<String, Bytes>| -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| (name.clone(), binary(value))).collect()
    };
    let shown =
        |of: &BTreeMap<String, String>| of.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
    let SurveyedHead { path, state, master_epoch, revision, descriptor, regions } = head;
    out.text(path)?;
    let family_json = |family: &model::schema::FamilyDescriptor| {
        json!({"name": binary(&family.name), "attributes": attributes(&family.attributes),
            "configuration": family.configuration})
    };
    let region_json = |region: &RegionInfo| {
        json!({"encoded": region.encoded_name(), "region": binary(&region.region_name()),
            "start_key": binary(&region.start_key), "end_key": binary(&region.end_key), "region_id": region.region_id})
    };
    let text =
        format!("table {} {state}, written under master epoch {master_epoch}, revision {revision}", descriptor.name);
    out.item("heads", &text, || {
        json!({"path": path, "table": descriptor.name.to_string(), "state": state, "master_epoch": master_epoch,
            "revision": revision, "attributes": attributes(&descriptor.attributes),
            "configuration": descriptor.configuration,
            "families": descriptor.families.values().map(family_json).collect::<Vec<_>>(),
            "regions": regions.iter().map(region_json).collect::<Vec<_>>()})
    })?;
    out.text(&format!("settings:{}{}", shown(&attributes(&descriptor.attributes)), shown(&descriptor.configuration)))?;
    for family in descriptor.families.values() {
        let settings = format!("{}{}", shown(&attributes(&family.attributes)), shown(&family.configuration));
        out.text(&format!("family {}:{settings}", binary(&family.name)))?;
    }
    for region in regions {
        out.text(&format!("region {} {}", region.encoded_name(), keys(&region.start_key, &region.end_key)))?;
    }
    Ok(())
}

fn print_manifest(
    path: &str,
    info: Option<&RegionInfo>,
    manifest: &Manifest,
    out: &mut Printer,
) -> Result<(), Failure> {
    let name = info.map_or_else(|| "no region that a table names".to_owned(), |info| binary(&info.region_name()));
    out.item("manifests", &format!("region {name}"), || {
        let mut object = manifest_json(path, manifest);
        object["region"] = info.map_or(Value::Null, |info| json!(binary(&info.region_name())));
        object
    })?;
    out.text(&format!("state {}, epoch {}", state(manifest), epoch(manifest.epoch)))?;
    out.text(&format!("keys {}", keys(&manifest.start_key, &manifest.end_key)))?;
    out.text(&format!("next sequence number above {}", manifest.seq_floor.0))?;
    let needs: Vec<String> = manifest.needs.iter().map(ToString::to_string).collect();
    let needs = if needs.is_empty() { "none".to_owned() } else { needs.join(", ") };
    out.text(&format!("log streams needed: {needs}"))?;
    for (family, state, bytes) in families(manifest) {
        let count = state.files.len();
        out.text(&format!("family {family}: flushed up to {}, {count} files, {bytes} bytes", state.flushed.0))?;
        for file in &state.files {
            out.text(&format!("  {}", file_text(file)))?;
        }
    }
    Ok(())
}

/// `inspect region`.
pub async fn region(flags: &OneThing, format: Format) -> Result<(), Failure> {
    let (root, meant) = find(flags, false).await?;
    let Meant::Region { path, info } = meant else { return Err(Failure::usage("a region is needed")) };
    let manifest = read_manifest(&root, &path).await?.map_err(Failure::failed)?;
    let mut out = Printer::new(format);
    print_manifest(&path, info.as_ref(), &manifest, &mut out)?;
    if let Some(info) = &info {
        files_there(&root, &path, info, &manifest, &mut out).await?;
    }
    in_the_log(&root, &path, &manifest, &mut out).await?;
    out.end()
}

/// What lies there of the listed files, and the nonces in them.
async fn files_there(
    root: &Root,
    path: &str,
    info: &RegionInfo,
    manifest: &Manifest,
    out: &mut Printer,
) -> Result<(), Failure> {
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    for (family, state) in &manifest.families {
        for file in &state.files {
            let key = format!("{}/{}/{}", folder(info), String::from_utf8_lossy(family), file.name);
            let read = match nonces(&root.fs, &key, file, cache.clone()).await {
                Ok(nonces) => Ok(nonces),
                Err(error) if unread(&error) || error.kind() == ErrorKind::NotFound => Err(error.to_string()),
                Err(error) => return Err(root.failed(error)),
            };
            match read {
                Ok(nonces) => out.item("files", &format!("file {key}: there, {nonces} nonces"), || {
                    let mut object = file_json(file);
                    object["path"] = json!(key);
                    object["nonces"] = json!(nonces);
                    object
                })?,
                // A compaction may have replaced it meanwhile.
                Err(_) if read_manifest(root, path).await?.is_ok_and(|now| now != *manifest) => {
                    out.text(&format!("file {key}: no longer listed"))?;
                }
                Err(why) => out.wrong(&why)?,
            }
        }
    }
    Ok(())
}

async fn nonces(
    fs: &Arc<dyn Filesystem>,
    key: &str,
    file: &FileEntry,
    cache: Arc<BlockCache>,
) -> storage::Result<usize> {
    let reader = HFileReader::open(fs, key, file.size, cache).await?;
    match reader.meta_block(nonce::META_NAME).await? {
        Some(block) => Ok(nonce::decode(&block, key)?.len()),
        None => Ok(0),
    }
}

/// What of the region is in the log and not in its files.
async fn in_the_log(root: &Root, path: &str, manifest: &Manifest, out: &mut Printer) -> Result<(), Failure> {
    let Some(log_name) = path.strip_prefix("ferrobase/table/") else { return Ok(()) };
    let log_name = Bytes::copy_from_slice(log_name.as_bytes());
    let flushed = |family: &[u8]| manifest.families.get(family).map_or(u64::MAX, |state| state.flushed.0);
    let least = manifest.families.values().map(|state| state.flushed.0).min().unwrap_or(0);
    let wanted =
        Wanted { region: Some(log_name.clone()), seqnos: Some((least.saturating_add(1), u64::MAX)), row: None };
    for id in &manifest.needs {
        let Some(LogsAt { url, fs: logs, .. }) = root.logs.iter().find(|logs| logs.id == id.root) else {
            out.wrong(&format!("log stream {id} is needed, and no log root has its number"))?;
            continue;
        };
        let Some(stream) = log::look(logs, id.stream).await.map_err(|error| root.failed(error))? else {
            out.wrong(&format!("log stream {id} is needed, and missing at {url}"))?;
            continue;
        };
        let (mut entries, mut cells, mut bytes, mut last) = (0u64, 0u64, 0u64, 0u64);
        for object in &stream.objects {
            let mut each = |found: log::FoundEntry| {
                let seqno = found.entry.seqno.0;
                let unflushed = found.entry.cells.iter().filter(|cell| seqno > flushed(cell.family()));
                let (mut count, mut length) = (0, 0);
                unflushed.for_each(|cell| (count, length) = (count + 1, length + cell.bytes().len() as u64));
                entries += u64::from(count > 0);
                (cells, bytes, last) = (cells + count, bytes + length, last.max(seqno));
            };
            match log::entries(logs, id.stream, object, &wanted, &mut each).await {
                Ok(()) => {}
                // What a living writer has let go meanwhile is in files.
                Err(error) if error.kind() == ErrorKind::Corrupt && stream.state != StreamState::Live => {
                    out.wrong(&error.to_string())?;
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    out.text(&format!("stream {id}: {error}; its writer may have let it go: look again"))?;
                }
                Err(error) => return Err(root.failed(error)),
            }
        }
        let state = super::log::state_text(stream.state);
        let text = format!(
            "log stream {id} ({state}): {entries} entries unflushed, {cells} cells, {bytes} bytes, last seqno {last}"
        );
        out.item("unflushed", &text, || {
            json!({"stream": id.to_string(), "root": url, "state": state, "entries": entries, "cells": cells,
                "bytes": bytes, "last_seqno": last})
        })?;
    }
    Ok(())
}
