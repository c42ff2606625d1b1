//! Looking into files, read-only.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use model::{Cell, CellOrder};
use runtime::random::SystemRandom;
use serde_json::json;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::source::{CellSource, Progress};

use crate::arguments::{Format, Hfile, Inspect};
use crate::failure::Failure;

/// Memory for blocks while a file is read, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// The HBase whose semantics, messages and store files these are.
pub const HBASE_LEVEL: &str = "2.6.1";

/// Prints the version.
pub fn version(format: Format) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Table => println!("ferrobase {version}"),
        _ => println!(
            "{}",
            json!({"version": version, "hbase": HBASE_LEVEL, "formats": {"hfile": "3.3", "log": 1, "manifest": 1}})
        ),
    }
    Ok(())
}

/// Runs one `inspect`.
pub async fn run(what: &Inspect, format: Format) -> Result<(), Failure> {
    let Inspect::Hfile(flags) = what;
    hfile(flags, format).await
}

fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if (0x20..0x7f).contains(byte) && *byte != b'\\' {
                char::from(*byte).to_string()
            } else {
                format!("\\x{byte:02X}")
            }
        })
        .collect()
}

fn print_cell(out: &mut impl Write, cell: &Cell, format: Format) -> std::io::Result<()> {
    let (row, family, qualifier) = (printable(cell.row()), printable(cell.family()), printable(cell.qualifier()));
    let (value, kind) = (printable(cell.value()), cell.cell_type().to_string());
    if format == Format::Table {
        let (ts, seq) = (cell.timestamp(), cell.seqno());
        return writeln!(
            out,
            "K: {row}/{family}:{qualifier}/{ts}/{kind}/vlen={}/seqid={seq} V: {value}",
            cell.value().len()
        );
    }
    let object = json!({"row": row, "column": format!("{family}:{qualifier}"), "timestamp": cell.timestamp(), "type": kind,
        "seqid": cell.seqno().0, "value": value});
    writeln!(out, "{object}")
}

async fn settle(source: &mut impl CellSource, progress: storage::Result<Progress>) -> Result<(), Failure> {
    if progress? == Progress::NeedsBlock {
        source.load().await?;
    }
    Ok(())
}

async fn hfile(flags: &Hfile, format: Format) -> Result<(), Failure> {
    let target = flags.target.canonicalize().map_err(|error| format!("{}: {error}", flags.target.display()))?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let name = target.file_name().and_then(|name| name.to_str()).ok_or("the file's name is not UTF-8")?;
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(folder, Arc::new(SystemRandom))?);
    let size = fs.size(name).await?.ok_or_else(|| format!("{}: not a file", target.display()))?;
    let file = Arc::new(HFileReader::open(&fs, name, size, Arc::new(BlockCache::new(CACHE_BYTES))).await?);
    let mut out = BufWriter::new(std::io::stdout().lock());
    if flags.meta {
        for (key, value) in file.info_entries() {
            writeln!(out, "{} = {}", printable(key), printable(value))?;
        }
    }
    let (mut cells, mut rows, mut key_bytes, mut value_bytes) = (0u64, 0u64, 0u64, 0u64);
    let mut last: Option<Cell> = None;
    let mut source = file.source();
    let start = flags.row.as_deref().map_or_else(|| Cell::first_on_row(b""), |row| Cell::first_on_row(row.as_bytes()));
    let progress = source.seek(&start);
    settle(&mut source, progress).await?;
    while let Some(cell) = source.cell() {
        if flags.row.as_deref().is_some_and(|row| cell.row() != row.as_bytes()) {
            break;
        }
        if flags.pairs || flags.row.is_some() {
            print_cell(&mut out, &cell, format)?;
        }
        if flags.check
            && let Some(last) = &last
            && CellOrder::User.compare_keys(last.as_ref().key(), cell.as_ref().key()).is_gt()
        {
            return Err(format!("{}: cell {cell:?} stands behind {last:?}", target.display()).into());
        }
        cells += 1;
        rows += u64::from(last.as_ref().is_none_or(|last| last.row() != cell.row()));
        key_bytes += cell.as_ref().key_len() as u64;
        value_bytes += cell.value().len() as u64;
        last = Some(cell);
        let progress = source.advance();
        settle(&mut source, progress).await?;
    }
    if flags.row.is_none() {
        file.check_extras().await?;
    }
    if flags.row.is_none() && cells != file.entry_count() {
        return Err(
            format!("{}: {cells} cells found, the trailer says {}", target.display(), file.entry_count()).into()
        );
    }
    let nothing_asked = !(flags.meta || flags.pairs || flags.check || flags.row.is_some());
    if flags.stats || nothing_asked {
        writeln!(
            out,
            "file bytes: {size}\ncells: {cells}\nrows: {rows}\nkey bytes: {key_bytes}\nvalue bytes: {value_bytes}"
        )?;
    }
    if flags.check {
        writeln!(out, "{cells} cells are in order")?;
    }
    Ok(out.flush()?)
}
