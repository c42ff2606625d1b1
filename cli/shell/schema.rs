//! Families and tables from what `create` and `alter` are given.
//!
//! Always true: an option that is not known, or whose feature is not there, is an error and nothing is sent.

use std::io::Read;

use bytes::Bytes;
use client::split::{SplitAlgorithm, SplitError, split_keys};
use model::schema::{FamilyDescriptor, TableDescriptor, check_family};

use super::error::{Failure, Result};
use super::options::Options;
use super::show;
use super::value::Value;

/// How an option's value is checked and written.
#[derive(Clone, Copy)]
enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number of at least 0.
    Number,
    /// A number of bytes, or such as `64 KB`.
    Size,
    /// Seconds, `FOREVER`, or such as `7 DAYS`.
    Seconds,
    /// A name, written in capitals; these are known.
    Name(&'static [&'static str]),
    /// Any text.
    Text,
}

const COMPRESSIONS: Kind = Kind::Name(&["NONE", "GZ", "LZ4", "SNAPPY", "ZSTD"]);

const FAMILY_OPTIONS: &[(&str, Kind)] = &[
    ("BLOCKCACHE", Kind::Flag),
    ("BLOCKSIZE", Kind::Size),
    ("BLOOMFILTER", Kind::Name(&["NONE", "ROW", "ROWCOL", "ROWPREFIX_FIXED_LENGTH"])),
    ("CACHE_BLOOMS_ON_WRITE", Kind::Flag),
    ("CACHE_DATA_ON_WRITE", Kind::Flag),
    ("CACHE_INDEX_ON_WRITE", Kind::Flag),
    ("COMPRESSION", COMPRESSIONS),
    ("COMPRESSION_COMPACT", COMPRESSIONS),
    ("COMPRESSION_COMPACT_MAJOR", COMPRESSIONS),
    ("COMPRESSION_COMPACT_MINOR", COMPRESSIONS),
    ("COMPRESS_TAGS", Kind::Flag),
    ("DATA_BLOCK_ENCODING", Kind::Name(&["NONE", "PREFIX", "DIFF", "FAST_DIFF", "ROW_INDEX_V1"])),
    ("DFS_REPLICATION", Kind::Number),
    ("EVICT_BLOCKS_ON_CLOSE", Kind::Flag),
    ("INDEX_BLOCK_ENCODING", Kind::Name(&["NONE"])),
    ("IN_MEMORY", Kind::Flag),
    ("IN_MEMORY_COMPACTION", Kind::Name(&["NONE", "BASIC", "EAGER", "ADAPTIVE"])),
    ("KEEP_DELETED_CELLS", Kind::Name(&["TRUE", "FALSE", "TTL"])),
    ("MIN_VERSIONS", Kind::Number),
    ("NEW_VERSION_BEHAVIOR", Kind::Flag),
    ("PREFETCH_BLOCKS_ON_OPEN", Kind::Flag),
    ("REPLICATION_SCOPE", Kind::Number),
    ("STORAGE_POLICY", Kind::Text),
    ("TTL", Kind::Seconds),
    ("VERSIONS", Kind::Number),
];

const TABLE_OPTIONS: &[(&str, Kind)] = &[
    ("COMPACTION_ENABLED", Kind::Flag),
    ("DURABILITY", Kind::Name(&["USE_DEFAULT", "SKIP_WAL", "ASYNC_WAL", "SYNC_WAL", "FSYNC_WAL"])),
    ("FLUSH_POLICY", Kind::Text),
    ("MAX_FILESIZE", Kind::Size),
    ("MEMSTORE_FLUSHSIZE", Kind::Size),
    ("MERGE_ENABLED", Kind::Flag),
    ("NORMALIZATION_ENABLED", Kind::Flag),
    ("NORMALIZER_TARGET_REGION_COUNT", Kind::Number),
    ("NORMALIZER_TARGET_REGION_SIZE", Kind::Number),
    ("PRIORITY", Kind::Number),
    ("READONLY", Kind::Flag),
    ("SPLIT_ENABLED", Kind::Flag),
    ("SPLIT_POLICY", Kind::Text),
];

/// Options of HBase whose features are not there; saying nothing would be a promise.
const REFUSED: &[(&str, &str)] = &[
    ("ENCRYPTION", "encryption of store files is"),
    ("ENCRYPTION_KEY", "encryption of store files is"),
    ("ERASURE_CODING_POLICY", "erasure coding is"),
    ("IS_MOB", "medium-sized objects apart from the other cells (MOB) are"),
    ("MOB_COMPACT_PARTITION_POLICY", "medium-sized objects apart from the other cells (MOB) are"),
    ("MOB_THRESHOLD", "medium-sized objects apart from the other cells (MOB) are"),
    ("REGION_MEMSTORE_REPLICATION", "region replicas are"),
];

/// Most split rows of one table.
const SPLITS_MAX: usize = client::split::REGIONS_MAX as usize;
/// Largest file of split rows.
const SPLITS_FILE_MAX: u64 = 64 << 20;

fn written(name: &str, kind: Kind, value: &Value) -> Result<String> {
    let wrong = |wanted: &str| Failure::says(format!("{name} must be {wanted}, not {}", value.inspect()));
    let text = value.to_text().ok_or_else(|| wrong("text or a number"))?;
    let text = text.trim();
    match kind {
        Kind::Text => Ok(text.to_owned()),
        Kind::Flag => match text.to_ascii_lowercase().as_str() {
            flag @ ("true" | "false") => Ok(flag.to_owned()),
            _ => Err(wrong("true or false")),
        },
        Kind::Number => match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(number.to_string()),
            _ => Err(wrong("a whole number of at least 0")),
        },
        Kind::Size => match show::parse_bytes(text) {
            Some(bytes) => Ok(bytes.to_string()),
            None => Err(wrong("a number of bytes, or such as '64 KB'")),
        },
        Kind::Seconds => match show::parse_seconds(text) {
            Some(seconds) if (1..=i64::from(i32::MAX)).contains(&seconds) => Ok(seconds.to_string()),
            _ => Err(wrong("FOREVER, a number of seconds, or such as '7 DAYS'")),
        },
        Kind::Name(known) => {
            let text = text.to_ascii_uppercase();
            if known.contains(&text.as_str()) { Ok(text) } else { Err(wrong(&format!("one of {}", known.join(", ")))) }
        }
    }
}

fn refuse(options: &Options) -> Result<()> {
    if let Some((name, what)) = REFUSED.iter().find(|(name, _)| options.has(name)) {
        return Err(Failure::says(format!("{name}: {what} not there yet")));
    }
    if options.names().any(|name| name.to_ascii_lowercase().starts_with("coprocessor")) {
        return Err(Failure::says("coprocessors run Java classes inside HBase; Ferrobase has none"));
    }
    Ok(())
}

fn known_names(table: &[(&'static str, Kind)], more: &[&'static str]) -> Vec<&'static str> {
    table.iter().map(|(name, _)| *name).chain(more.iter().copied()).collect()
}

/// Whether a hash without `NAME` speaks of the table and not of regions.
fn take_known(options: &mut Options, known: &[(&str, Kind)], mut set: impl FnMut(&str, String)) -> Result<()> {
    for (name, kind) in known {
        if let Some(value) = options.take(name) {
            set(name, written(name, *kind, &value)?);
        }
    }
    Ok(())
}

/// The pairs of `METADATA` or `CONFIGURATION`; `None` takes one away, as empty text does.
fn pairs(options: &mut Options, name: &str) -> Result<Vec<(String, Option<Bytes>)>> {
    let Some(value) = options.take(name) else { return Ok(Vec::new()) };
    let Value::Hash(pairs) = value else {
        return Err(Failure::says(format!("{name} must be a Hash type, not {}", value.inspect())));
    };
    let text = |value: &Value| {
        value.to_bytes().ok_or_else(|| Failure::says(format!("{name} holds text only, not {}", value.inspect())))
    };
    let pair = |(key, value): (Value, Value)| {
        let key = String::from_utf8_lossy(&text(&key)?).into_owned();
        Ok((key, Some(text(&value)?).filter(|value| !value.is_empty())))
    };
    pairs.into_iter().map(pair).collect()
}

/// A family by name, the way it is in `table` or new, with the options laid over it.
fn change_family(table: &TableDescriptor, name: Bytes, options: &mut Options) -> Result<FamilyDescriptor> {
    check_family(&name).map_err(|error| Failure::says(error.to_string()))?;
    refuse(options)?;
    let mut family = table.families.get(&name).cloned().unwrap_or_else(|| FamilyDescriptor::new(name));
    take_known(options, FAMILY_OPTIONS, |name, value| {
        family.attributes.insert(name.to_owned(), value.into());
    })?;
    for (key, value) in pairs(options, "METADATA")? {
        match value {
            Some(value) => family.attributes.insert(key, value),
            None => family.attributes.remove(&key),
        };
    }
    for (key, value) in pairs(options, "CONFIGURATION")? {
        match value {
            Some(value) => family.configuration.insert(key, String::from_utf8_lossy(&value).into_owned()),
            None => family.configuration.remove(&key),
        };
    }
    Ok(family)
}

/// Adds a family given by name or hash, or lays the hash over the one that is there.
pub fn put_family(table: &mut TableDescriptor, name: Bytes, mut options: Options) -> Result<()> {
    let family = change_family(table, name, &mut options)?;
    options.done(&known_names(FAMILY_OPTIONS, &["NAME", "METADATA", "CONFIGURATION"]))?;
    family.validate().map_err(|error| Failure::says(error.to_string()))?;
    table.families.insert(family.name.clone(), family);
    Ok(())
}

/// Lays options of the table itself over it.
pub fn put_table(table: &mut TableDescriptor, mut options: Options) -> Result<()> {
    refuse(&options)?;
    if options.int("REGION_REPLICATION")?.is_some_and(|replicas| replicas != 1) {
        return Err(Failure::says("REGION_REPLICATION: region replicas are not there yet; only 1 is possible"));
    }
    // Who made a table has no meaning without users; HBase keeps it as a mere note.
    options.take("OWNER");
    take_known(&mut options, TABLE_OPTIONS, |name, value| {
        table.attributes.insert(name.to_owned(), value.into());
    })?;
    for (key, value) in pairs(&mut options, "METADATA")? {
        match value {
            Some(value) => table.attributes.insert(key, value),
            None => table.attributes.remove(&key),
        };
    }
    for (key, value) in pairs(&mut options, "CONFIGURATION")? {
        match value {
            Some(value) => table.configuration.insert(key, String::from_utf8_lossy(&value).into_owned()),
            None => table.configuration.remove(&key),
        };
    }
    let more = ["METADATA", "CONFIGURATION", "SPLITS", "SPLITS_FILE", "NUMREGIONS", "SPLITALGO", "REGION_REPLICATION"];
    options.done(&known_names(TABLE_OPTIONS, &more))
}

/// Takes away a family.
pub fn drop_family(table: &mut TableDescriptor, name: &[u8]) -> Result<()> {
    let shown = show::binary(name);
    if table.families.remove(name).is_none() {
        return Err(Failure::says(format!("Family '{shown}' does not exist, so it cannot be deleted")));
    }
    if table.families.is_empty() {
        return Err(Failure::says(format!(
            "Family '{shown}' is the only column family in the table, so it cannot be deleted"
        )));
    }
    Ok(())
}

/// Takes away settings of the table. HBase knows no difference between attributes and configuration.
pub fn unset(table: &mut TableDescriptor, names: &Value, what: &str) -> Result<()> {
    let names = match names {
        Value::Array(names) => names.clone(),
        other => vec![other.clone()],
    };
    for name in names {
        let key = name.to_text().ok_or_else(|| Failure::says(format!("NAME must be text, not {}", name.inspect())))?;
        let attribute = table.attributes.remove(&key).is_some();
        if !(table.configuration.remove(&key).is_some() || attribute) {
            return Err(Failure::says(format!("Could not find {what}: {key}")));
        }
    }
    Ok(())
}

/// Rows at which a new table is cut; `None` if the hash says nothing of it.
pub fn splits(options: &mut Options) -> Result<Option<Vec<Bytes>>> {
    let mut rows = Vec::new();
    if let Some(file) = options.text("SPLITS_FILE")? {
        let wrong = |why: std::io::Error| Failure::says(format!("Splits file {file}: {why}"));
        let mut text = Vec::new();
        std::fs::File::open(&file)
            .and_then(|source| source.take(SPLITS_FILE_MAX + 1).read_to_end(&mut text))
            .map_err(wrong)?;
        if text.len() as u64 > SPLITS_FILE_MAX {
            return Err(Failure::says(format!("Splits file {file} is larger than {SPLITS_FILE_MAX} bytes")));
        }
        let lines = text.strip_suffix(b"\n").unwrap_or(&text).split(|byte| *byte == b'\n');
        rows.extend(lines.map(|line| show::from_binary(line.strip_suffix(b"\r").unwrap_or(line))));
    } else if let Some(value) = options.take("SPLITS") {
        let Value::Array(items) = &value else {
            return Err(Failure::says(format!("SPLITS must be an array of rows, not {}", value.inspect())));
        };
        for item in items {
            let wrong = || Failure::says(format!("SPLITS holds rows, not {}", item.inspect()));
            rows.push(show::from_binary(&item.to_bytes().ok_or_else(wrong)?));
        }
    } else if options.has("NUMREGIONS") || options.has("SPLITALGO") {
        let number = options.int("NUMREGIONS")?.ok_or_else(|| Failure::says("Number of regions must be specified"))?;
        let name = options.text("SPLITALGO")?.ok_or_else(|| Failure::says("Split algorithm must be specified"))?;
        let algorithm: SplitAlgorithm = name.parse().map_err(|error: SplitError| Failure::says(error.to_string()))?;
        let keys =
            u32::try_from(number).map_err(|_| SplitError::Regions(number)).and_then(|n| split_keys(algorithm, n));
        rows = keys.map_err(|error| Failure::says(error.to_string()))?;
    } else {
        return Ok(None);
    }
    if rows.len() > SPLITS_MAX {
        return Err(Failure::says(format!("a table cannot be cut at more than {SPLITS_MAX} rows")));
    }
    Ok(Some(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, Value)]) -> Options {
        let pairs = pairs.iter().map(|(key, value)| (Value::text(key.to_string()), value.clone())).collect();
        Options::new("create", pairs).expect("options")
    }

    fn empty() -> TableDescriptor {
        TableDescriptor::new("t".parse().expect("name"))
    }

    fn says<T>(result: Result<T>) -> String {
        match result {
            Err(Failure::Says(message)) => message,
            _ => panic!("it should have been refused"),
        }
    }

    #[test]
    fn families_take_hbases_spellings() {
        let mut table = empty();
        let pairs = [
            ("VERSIONS", Value::text("5")),
            ("TTL", Value::text("7 DAYS")),
            ("COMPRESSION", Value::text("zstd")),
            ("BLOCKSIZE", Value::text("64 KB")),
            ("IN_MEMORY", Value::Bool(true)),
            ("CONFIGURATION", Value::Hash(vec![(Value::text("a.b"), Value::Int(3))])),
        ];
        put_family(&mut table, "f".into(), options(&pairs)).expect("family");
        let family = &table.families[&b"f"[..]];
        let get = |key: &str| String::from_utf8_lossy(&family.attributes[key]).into_owned();
        assert_eq!(
            ["VERSIONS", "TTL", "COMPRESSION", "BLOCKSIZE", "IN_MEMORY"].map(get),
            ["5", "604800", "ZSTD", "65536", "true"]
        );
        assert_eq!(family.configuration["a.b"], "3");
        // A second change keeps what it does not speak of, and empty text takes away.
        let pairs =
            [("VERSIONS", Value::Int(2)), ("CONFIGURATION", Value::Hash(vec![(Value::text("a.b"), Value::Nil)]))];
        put_family(&mut table, "f".into(), options(&pairs)).expect("family");
        let family = &table.families[&b"f"[..]];
        assert_eq!((family.max_versions(), family.block_size(), family.configuration.len()), (2, 65_536, 0));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let mut table = empty();
        let mut family = |key: &str, value: Value| says(put_family(&mut table, "f".into(), options(&[(key, value)])));
        assert!(family("VERSION", Value::Int(1)).contains("did you mean VERSIONS?"));
        assert!(family("IS_MOB", Value::Bool(true)).contains("not there yet"));
        assert!(family("COMPRESSION", Value::text("LZO")).contains("one of NONE, GZ, LZ4"));
        assert!(family("TTL", Value::Int(0)).contains("FOREVER"));
        assert!(says(put_table(&mut table, options(&[("REGION_REPLICATION", Value::Int(3))]))).contains("only 1"));
        assert!(
            says(put_table(&mut table, options(&[("coprocessor$1", Value::text("|x|1|"))]))).contains("coprocessors")
        );
        assert!(says(put_table(&mut table, options(&[("MAX_FILESIZ", Value::Int(1))]))).contains("MAX_FILESIZE"));
    }

    #[test]
    fn splits_are_read_in_all_forms() {
        let rows = Value::Array(vec![Value::text("a"), Value::Int(10), Value::text(r"\x00\xFF")]);
        let expected: [&[u8]; 3] = [b"a", b"10", &[0, 0xff]];
        assert_eq!(splits(&mut options(&[("SPLITS", rows)])).expect("splits").expect("some"), expected);
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), "a\r\nb\\x01\n").expect("written");
        let name = Value::text(file.path().to_str().expect("path").to_owned());
        let expected: [&[u8]; 2] = [b"a", b"b\x01"];
        assert_eq!(splits(&mut options(&[("SPLITS_FILE", name)])).expect("splits").expect("some"), expected);
        let algorithm = |name: &str| [("NUMREGIONS", Value::Int(4)), ("SPLITALGO", Value::text(name.to_owned()))];
        let rows = splits(&mut options(&algorithm("HexStringSplit"))).expect("splits").expect("some");
        assert_eq!(rows, ["40000000", "80000000", "c0000000"]);
        assert!(says(splits(&mut options(&algorithm("Other")))).contains("UniformSplit"));
        let few = [("NUMREGIONS", Value::Int(-5)), ("SPLITALGO", Value::text("UniformSplit".to_owned()))];
        assert!(says(splits(&mut options(&few))).contains("regions=`-5`"));
        assert!(says(splits(&mut options(&[("NUMREGIONS", Value::Int(4))]))).contains("must be specified"));
        assert!(splits(&mut options(&[])).expect("none").is_none());
    }

    #[test]
    fn the_last_family_stays() {
        let mut table = empty().with_family(FamilyDescriptor::new("f")).with_family(FamilyDescriptor::new("g"));
        assert!(says(drop_family(&mut table, b"h")).contains("does not exist"));
        drop_family(&mut table, b"f").expect("dropped");
        assert!(says(drop_family(&mut table, b"g")).contains("only column family"));
    }

    #[test]
    fn settings_are_taken_away_by_name() {
        let mut table = empty();
        table.attributes.insert("MAX_FILESIZE".to_owned(), "1".into());
        table.configuration.insert("a.b".to_owned(), "1".to_owned());
        let names = Value::Array(vec![Value::text("MAX_FILESIZE"), Value::text("a.b")]);
        unset(&mut table, &names, "attribute").expect("unset");
        assert_eq!(table, empty());
        assert_eq!(says(unset(&mut table, &names, "attribute")), "Could not find attribute: MAX_FILESIZE");
    }
}
