//! Regions and servers: `list_regions`, `locate_region`, `get_splits`, `flush`, `compact`, `status`.

use client::{ClusterStatus, RegionLoad, ServerLoad, ServerName};
use model::region::RegionInfo;
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::{Failure, Result};
use super::options::{Arguments, table_name};
use super::show;
use super::value::Value;

/// `get_splits`.
pub async fn get_splits(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    arguments.done()?;
    let regions = context.connection.admin().regions(&name).await?;
    let splits: Vec<_> =
        regions.iter().map(|region| show::binary(&region.info.start_key)).filter(|start| !start.is_empty()).collect();
    context.printer.line(format!("Total number of splits = {}", splits.len() + 1))?;
    if splits.is_empty() {
        context.printer.line("")?;
    }
    for split in &splits {
        context.printer.line(split)?;
        context.printer.item(|| split.clone().into())?;
    }
    context.printer.end_items()?;
    Ok(Value::Array(splits.into_iter().map(Value::text).collect()))
}

/// `locate_region`.
pub async fn locate(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    let row = arguments.bytes("a row")?;
    arguments.done()?;
    let holds = |info: &RegionInfo| info.start_key <= row && (info.end_key.is_empty() || row < info.end_key);
    let regions = context.connection.admin().regions(&name).await?;
    let found = regions.into_iter().find(|region| holds(&region.info));
    let found = found.ok_or_else(|| Failure::says(format!("no region of {name} is open for this row")))?;
    context.printer.header("HOST", "REGION")?;
    context.printer.row(&found.server.address(), &show::region(&found.info))?;
    context.printer.footer(1)?;
    context.printer.one(|| region_json(&found.info, &found.server.to_string()))?;
    Ok(Value::Nil)
}

fn region_json(info: &RegionInfo, server: &str) -> Json {
    json!({
        "server": server,
        "region": show::binary(&info.region_name()),
        "encoded": info.encoded_name(),
        "start_key": show::binary(&info.start_key),
        "end_key": show::binary(&info.end_key),
    })
}

const COLUMNS: [(&str, usize); 7] = [
    ("SERVER_NAME", 12),
    ("REGION_NAME", 12),
    ("START_KEY", 10),
    ("END_KEY", 10),
    ("SIZE", 5),
    ("REQ", 5),
    ("LOCALITY", 10),
];

fn wanted_columns(value: Option<Value>) -> Result<Vec<usize>> {
    let possible = COLUMNS.map(|(name, _)| name).join(", ");
    let Some(value) = value.filter(|value| *value != Value::Nil) else { return Ok((0..COLUMNS.len()).collect()) };
    let Value::Array(items) = &value else {
        return Err(Failure::says(format!(
            "{} must be an array of strings. Possible values are {possible}.",
            value.inspect()
        )));
    };
    let one = |item: &Value| {
        let text = item.to_text().unwrap_or_default();
        let at = COLUMNS.iter().position(|(name, _)| name.eq_ignore_ascii_case(&text));
        at.ok_or_else(|| {
            Failure::says(format!("{} is not a valid column. Possible values are {possible}.", item.inspect()))
        })
    };
    items.iter().map(one).collect()
}

/// The beginning of a server's name, and the largest locality.
fn wanted_regions(arguments: &mut Arguments) -> Result<(String, f32)> {
    if let Some(mut options) = arguments.hash()? {
        let prefix = options.text("SERVER_NAME")?.unwrap_or_default();
        let most = match options.take("LOCALITY_THRESHOLD") {
            None => 1.0,
            Some(Value::Float(most)) if (0.0..=1.0).contains(&most) => most as f32,
            Some(Value::Float(_)) => {
                return Err(Failure::says("LOCALITY_THRESHOLD must be between 0 and 1.0, inclusive"));
            }
            Some(_) => return Err(Failure::says("LOCALITY_THRESHOLD must be a float value")),
        };
        options.done(&["SERVER_NAME", "LOCALITY_THRESHOLD"])?;
        return Ok((prefix, most));
    }
    match arguments.peek() {
        Some(Value::Text(_)) => Ok((arguments.text("a server's name")?, 1.0)),
        _ => Ok((String::new(), 1.0)),
    }
}

/// `list_regions`.
pub async fn list(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let name = arguments.table()?;
    let (prefix, locality_most) = wanted_regions(&mut arguments)?;
    let columns = wanted_columns(arguments.next())?;
    arguments.done()?;
    let admin = context.connection.admin();
    if !admin.is_enabled(&name).await? {
        return Err(Failure::says(format!("Table {name} must be enabled.")));
    }
    let regions = admin.regions(&name).await?;
    let status = admin.cluster_status().await?;
    let load_of = |region: &[u8]| {
        let loads = status.servers.iter().flat_map(|server| &server.regions);
        loads.into_iter().find(|load| load.region == region)
    };
    let mut rows = Vec::new();
    for region in regions {
        let server = region.server.to_string();
        if !server.starts_with(&prefix) {
            continue;
        }
        let full = region.info.region_name();
        // A region that has just been opened may be missing from the last report.
        let load = load_of(&full).cloned().unwrap_or_default();
        if load.locality > locality_most {
            continue;
        }
        let requests = load.reads.saturating_add(load.writes);
        context.printer.item(|| {
            let mut json = region_json(&region.info, &server);
            json["size_mb"] = load.store_file_mb.into();
            json["requests"] = requests.into();
            json["locality"] = load.locality.into();
            json
        })?;
        rows.push([
            server,
            show::binary(&full),
            show::binary(&region.info.start_key),
            show::binary(&region.info.end_key),
            load.store_file_mb.to_string(),
            requests.to_string(),
            format!("{:?}", load.locality),
        ]);
    }
    let widths: Vec<_> = columns
        .iter()
        .map(|column| rows.iter().map(|row| row[*column].len()).fold(COLUMNS[*column].1, usize::max))
        .collect();
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells = columns.iter().zip(&widths).map(|(column, width)| format!(" {:>width$} |", cell(*column)));
        cells.collect::<String>()
    };
    context.printer.line(line(&|column| COLUMNS[column].0.to_owned()))?;
    let rule: String = widths.iter().map(|width| format!(" {} |", "-".repeat(*width))).collect();
    context.printer.line(rule)?;
    for row in &rows {
        context.printer.line(line(&|column| row[column].clone()))?;
    }
    context.printer.line(format!(" {} rows", rows.len()))?;
    context.printer.end_items()?;
    Ok(Value::Nil)
}

/// `flush`: a table or a region.
pub async fn flush(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let admin = context.connection.admin();
    let Some(Value::Text(text)) = arguments.peek() else {
        let name = arguments.table()?;
        arguments.done()?;
        admin.flush(&name).await?;
        return Ok(Value::Nil);
    };
    let text = text.clone();
    arguments.next();
    if arguments.peek().is_some() {
        return Err(Failure::says("flush takes a table or a region as a whole"));
    }
    match region_name(&text) {
        Some(region) => admin.flush_region(region).await?,
        None => admin.flush(&table_name(&text)?).await?,
    }
    Ok(Value::Nil)
}

/// A region's full or encoded name, told from a table's by its shape.
fn region_name(text: &[u8]) -> Option<bytes::Bytes> {
    let encoded = text.len() == 32 && text.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    (encoded || text.contains(&b',')).then(|| show::from_binary(text))
}

/// `compact`, `major_compact`.
pub async fn compact(context: &mut Context<'_>, mut arguments: Arguments, major: bool) -> Result<Value> {
    if let Some(Value::Text(text)) = arguments.peek()
        && region_name(text).is_some()
    {
        return Err(Failure::says("a region alone cannot be compacted yet; name its table"));
    }
    let name = arguments.table()?;
    let family = match arguments.peek() {
        None => None,
        Some(Value::Nil) => {
            arguments.next();
            None
        }
        Some(_) => Some(arguments.bytes("a family")?),
    };
    if arguments.next().is_some_and(|kind| kind != Value::Nil && kind.to_text().as_deref() != Some("NORMAL")) {
        return Err(Failure::says("only the compaction type NORMAL is there"));
    }
    arguments.done()?;
    context.connection.admin().compact(&name, family.as_deref(), major).await?;
    Ok(Value::Nil)
}

fn server_text(server: &ServerLoad) -> String {
    let sum = |count: fn(&RegionLoad) -> u64| server.regions.iter().map(count).fold(0, u64::saturating_add);
    let (compacting, compacted) = (sum(|region| region.compacting_cells), sum(|region| region.compacted_cells));
    format!(
        "requestsPerSecond={}.0, numberOfOnlineRegions={}, usedHeapMB={}.0MB, maxHeapMB={}.0MB, numberOfStores={}, \
         numberOfStorefiles={}, storefileUncompressedSizeMB={}, storefileSizeMB={}, memstoreSizeMB={}, readRequestsCount={}, \
         filteredReadRequestsCount={}, writeRequestsCount={}, rootIndexSizeKB={}, totalStaticIndexSizeKB={}, \
         totalStaticBloomSizeKB={}, totalCompactingKVs={compacting}, currentCompactedKVs={compacted}, \
         compactionProgressPct={}",
        server.requests_per_second,
        server.regions.len(),
        server.memory_mb,
        server.memory_max_mb,
        sum(|region| region.stores.into()),
        sum(|region| region.store_files.into()),
        sum(|region| region.uncompressed_mb.into()),
        sum(|region| region.store_file_mb.into()),
        sum(|region| region.memtable_mb.into()),
        sum(|region| region.reads),
        sum(|region| region.filtered_reads),
        sum(|region| region.writes),
        sum(|region| region.root_index_kb.into()),
        sum(|region| region.index_kb.into()),
        sum(|region| region.bloom_kb.into()),
        share(compacted, compacting),
    )
}

fn region_text(load: &RegionLoad) -> String {
    format!(
        "storeCount={}, storeFileCount={}, uncompressedStoreFileSize={}.0MB, lastMajorCompactionTimestamp={}, \
         storeFileSize={}.0MB, memStoreSize={}.0MB, readRequestCount={}, writeRequestCount={}, rootLevelIndexSize={}.0KB, \
         bloomFilterSize={}.0KB, compactingCellCount={}, compactedCellCount={}, compactionProgressPct={}, dataLocality={:?}",
        load.stores,
        load.store_files,
        load.uncompressed_mb,
        load.major_compaction_ms,
        load.store_file_mb,
        load.memtable_mb,
        load.reads,
        load.writes,
        load.root_index_kb,
        load.bloom_kb,
        load.compacting_cells,
        load.compacted_cells,
        share(load.compacted_cells, load.compacting_cells),
        load.locality,
    )
}

/// A share as Java prints a float; there is none of nothing.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "NaN".to_owned() } else { format!("{:?}", (part as f64 / whole as f64) as f32) }
}

fn status_json(status: &ClusterStatus) -> Json {
    let texts = |names: &[ServerName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let region = |load: &RegionLoad| {
        json!({
            "region": show::binary(&load.region), "stores": load.stores, "store_files": load.store_files,
            "size_mb": load.store_file_mb, "memtable_mb": load.memtable_mb, "reads": load.reads, "writes": load.writes,
        })
    };
    let server = |server: &ServerLoad| {
        json!({
            "server": server.name.to_string(), "requests_per_second": server.requests_per_second,
            "requests": server.requests, "memory_mb": server.memory_mb, "memory_max_mb": server.memory_max_mb,
            "regions": server.regions.iter().map(region).collect::<Vec<_>>(),
        })
    };
    json!({
        "version": status.version,
        "cluster_id": status.cluster_id,
        "master": status.master.as_ref().map(ToString::to_string),
        "backup_masters": texts(&status.backup_masters),
        "servers": status.servers.iter().map(server).collect::<Vec<_>>(),
        "dead_servers": texts(&status.dead_servers),
        "regions_in_transition": status.transitions.len(),
        "regions": status.regions(),
    })
}

/// `status`.
pub async fn status(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let format = match arguments.peek() {
        None => "summary".to_owned(),
        Some(_) => arguments.text("a format")?,
    };
    arguments.done()?;
    let known = ["summary", "simple", "detailed"];
    if !known.contains(&format.as_str()) {
        return Err(Failure::says(format!("status knows 'summary', 'simple' and 'detailed', not '{format}'")));
    }
    let detailed = format == "detailed";
    let status = context.connection.admin().cluster_status().await?;
    let printer = &mut context.printer;
    printer.one(|| status_json(&status))?;
    let (live, dead, backups) = (status.servers.len(), status.dead_servers.len(), status.backup_masters.len());
    if format == "summary" {
        let masters = usize::from(status.master.is_some());
        // As in HBase: 0 servers have an average of 0.
        let average = status.regions() as f64 / live.max(1) as f64;
        let masters = format!("{masters} active master, {backups} backup masters");
        printer.line(format!("{masters}, {live} servers, {dead} dead, {average:.4} average load"))?;
        return Ok(Value::Nil);
    }
    let named = |name: &ServerName| format!("{}:{} {}", name.host, name.port, name.start_code);
    if detailed {
        printer.line(format!("version {}", status.version))?;
        printer.line(format!("{} regionsInTransition", status.transitions.len()))?;
        for transition in &status.transitions {
            printer.line(format!("    {} state={}", transition.region, transition.state))?;
        }
    }
    let master = status.master.as_ref().map_or_else(|| "none".to_owned(), named);
    printer.line(format!("active master:  {master}"))?;
    printer.line(format!("{backups} backup masters"))?;
    for backup in &status.backup_masters {
        printer.line(format!("    {}", named(backup)))?;
    }
    printer.line(format!("{live} live servers"))?;
    for server in &status.servers {
        printer.line(format!("    {}", named(&server.name)))?;
        printer.line(format!("        {}", server_text(server)))?;
        for load in server.regions.iter().filter(|_| detailed) {
            printer.line(format!("        \"{}\"", show::binary(&load.region).replace('"', "\\\"")))?;
            printer.line(format!("            {}", region_text(load)))?;
        }
    }
    printer.line(format!("{dead} dead servers"))?;
    for server in &status.dead_servers {
        printer.line(format!("    {server}"))?;
    }
    if !detailed {
        let load = status.servers.iter().map(|server| server.requests_per_second).fold(0, u64::saturating_add);
        printer.line(format!("Aggregate load: {load}, regions: {}", status.regions()))?;
    }
    Ok(Value::Nil)
}
