//! Namespaces, tables and families: names, their rules, and descriptors.
//!
//! A descriptor keeps HBase's text attributes as they came, unknown ones too, so that a round trip changes nothing;
//! typed getters read them with HBase's defaults. Attribute keys, values and defaults: hbase-wire.md §3.3.
//!
//! Invariants
//! - A [`TableName`] is legal by construction.
//! - Descriptors that passed [`TableDescriptor::validate`] never make a typed getter fail.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::mutation::Durability;

/// Why a name or descriptor is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// An illegal table, namespace or family name.
    #[error("illegal {what} name `{name}`: {why}")]
    Name {
        /// "table", "namespace" or "column family".
        what: &'static str,
        /// The name.
        name: String,
        /// The rule it breaks.
        why: &'static str,
    },
    /// An attribute whose value cannot be used.
    #[error("bad value for {key}: `{value}`; {why}")]
    Attribute {
        /// The attribute.
        key: String,
        /// Its value.
        value: String,
        /// What would be right.
        why: String,
    },
    /// A table without families.
    #[error("table `{0}` should have at least one column family")]
    NoFamilies(TableName),
    /// The same family twice.
    #[error("family `{0}` already exists so cannot be added")]
    DuplicateFamily(String),
}

/// The namespace of tables named without one.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The namespace of system tables.
pub const SYSTEM_NAMESPACE: &str = "hbase";

/// A namespace and a table are folders, and file systems take no longer names.
pub const NAME_LEN_MAX: usize = 255;

fn name_error(what: &'static str, name: &[u8], why: &'static str) -> SchemaError {
    let shown = &name[..name.len().min(NAME_LEN_MAX)];
    SchemaError::Name { what, name: String::from_utf8_lossy(shown).into_owned(), why }
}

/// Checks a namespace name: letters, digits and `_`.
pub fn check_namespace(name: &str) -> Result<(), SchemaError> {
    if name.is_empty() {
        return Err(name_error("namespace", name.as_bytes(), "it is empty"));
    }
    if name.len() > NAME_LEN_MAX {
        return Err(name_error("namespace", name.as_bytes(), "it is longer than 255 bytes"));
    }
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err(name_error("namespace", name.as_bytes(), "only letters, digits and `_` are allowed"));
    }
    Ok(())
}

/// Checks a column family name: printable, no `:` or `/`, no leading `.`, at most 127 bytes.
pub fn check_family(name: &[u8]) -> Result<(), SchemaError> {
    if name.is_empty() {
        return Err(name_error("column family", name, "it is empty"));
    }
    if name.len() > crate::cell::FAMILY_LEN_MAX {
        return Err(name_error("column family", name, "it is longer than 127 bytes"));
    }
    if name[0] == b'.' {
        return Err(name_error("column family", name, "it starts with a dot"));
    }
    if name.iter().any(|b| b.is_ascii_control() || matches!(b, b':' | b'\\' | b'/')) {
        return Err(name_error("column family", name, "control characters, `:`, `/` and `\\` are not allowed"));
    }
    if name == b"recovered.edits" {
        return Err(name_error("column family", name, "it is reserved"));
    }
    Ok(())
}

/// A namespace and its properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The name.
    pub name: String,
    /// Properties such as quotas, as they came.
    pub properties: BTreeMap<String, String>,
}

impl Namespace {
    /// A namespace without properties.
    pub fn new(name: impl Into<String>) -> Namespace {
        Namespace { name: name.into(), properties: BTreeMap::new() }
    }

    /// Checks the name.
    pub fn validate(&self) -> Result<(), SchemaError> {
        check_namespace(&self.name)
    }
}

/// `namespace:qualifier`, or the bare qualifier in the default namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    namespace: String,
    qualifier: String,
}

impl TableName {
    /// Checks both parts: the qualifier holds letters, digits, `_`, `-` and `.`, and starts with neither `-` nor `.`.
    pub fn new(namespace: &str, qualifier: &str) -> Result<TableName, SchemaError> {
        check_namespace(namespace)?;
        if qualifier.is_empty() {
            return Err(name_error("table", qualifier.as_bytes(), "it is empty"));
        }
        if qualifier.len() > NAME_LEN_MAX {
            return Err(name_error("table", qualifier.as_bytes(), "it is longer than 255 bytes"));
        }
        if qualifier.starts_with(['.', '-']) {
            return Err(name_error("table", qualifier.as_bytes(), "it starts with `.` or `-`"));
        }
        if qualifier == "zookeeper" {
            return Err(name_error("table", qualifier.as_bytes(), "it is reserved"));
        }
        if !qualifier.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(name_error(
                "table",
                qualifier.as_bytes(),
                "only letters, digits, `_`, `-` and `.` are allowed",
            ));
        }
        Ok(TableName { namespace: namespace.to_owned(), qualifier: qualifier.to_owned() })
    }

    /// `hbase:meta`.
    pub fn meta() -> TableName {
        TableName { namespace: SYSTEM_NAMESPACE.to_owned(), qualifier: "meta".to_owned() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name inside the namespace.
    pub fn qualifier(&self) -> &str {
        &self.qualifier
    }

    /// Whether this is `hbase:meta`.
    pub fn is_meta(&self) -> bool {
        self.namespace == SYSTEM_NAMESPACE && self.qualifier == "meta"
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace == DEFAULT_NAMESPACE {
            f.write_str(&self.qualifier)
        } else {
            write!(f, "{}:{}", self.namespace, self.qualifier)
        }
    }
}

impl FromStr for TableName {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<TableName, SchemaError> {
        match text.split_once(':') {
            Some((namespace, qualifier)) => TableName::new(namespace, qualifier),
            None => TableName::new(DEFAULT_NAMESPACE, text),
        }
    }
}

/// Whether deleted cells stay readable for time-range and raw reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepDeletedCells {
    /// Gone at the next major compaction.
    #[default]
    False,
    /// Kept until versions or TTL drop them.
    True,
    /// Kept until their TTL has passed.
    Ttl,
}

/// Block compression (hfile-v3.md §1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip.
    Gz,
    /// LZ4 in Hadoop's block framing.
    Lz4,
    /// Zstandard in Hadoop's block framing.
    Zstd,
    /// Snappy in Hadoop's block framing.
    Snappy,
}

/// Data block encoding (hfile-v3.md §1.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataBlockEncoding {
    /// Cells as they are.
    #[default]
    None,
    /// Common prefixes left out.
    Prefix,
    /// Differences to the previous key.
    Diff,
    /// Differences, faster to decode.
    FastDiff,
    /// Cells as they are, with an index of rows.
    RowIndexV1,
}

/// What the general bloom filter of a store file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BloomType {
    /// No filter.
    None,
    /// Rows.
    #[default]
    Row,
    /// Rows with qualifiers.
    RowCol,
    /// The first bytes of rows; the length is the configuration `RowPrefixBloomFilter.prefix_length`.
    RowPrefixFixedLength,
}

/// A column family and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyDescriptor {
    /// The name.
    pub name: Bytes,
    /// Text attributes such as `VERSIONS` → `3`, as they came.
    pub attributes: BTreeMap<String, Bytes>,
    /// Settings that override the site's for this family.
    pub configuration: BTreeMap<String, String>,
}

/// `TTL` that means for ever, in seconds.
pub const TTL_FOREVER: i32 = i32::MAX;

impl FamilyDescriptor {
    /// A family with HBase's defaults.
    pub fn new(name: impl Into<Bytes>) -> FamilyDescriptor {
        FamilyDescriptor { name: name.into(), attributes: BTreeMap::new(), configuration: BTreeMap::new() }
    }

    /// Sets a text attribute.
    pub fn with(mut self, key: &str, value: &str) -> FamilyDescriptor {
        self.attributes.insert(key.to_owned(), Bytes::copy_from_slice(value.as_bytes()));
        self
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    fn number<T: FromStr>(&self, key: &str, default: T) -> T {
        self.text(key).and_then(|text| text.trim().parse().ok()).unwrap_or(default)
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.text(key).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// `VERSIONS`: most versions kept of each column, default 1.
    pub fn max_versions(&self) -> u32 {
        self.number("VERSIONS", 1)
    }

    /// `MIN_VERSIONS`: versions kept although their TTL has passed, default 0.
    pub fn min_versions(&self) -> u32 {
        self.number("MIN_VERSIONS", 0)
    }

    /// `TTL` in milliseconds; `None` means for ever.
    pub fn ttl_ms(&self) -> Option<i64> {
        let seconds: i64 = match self.text("TTL") {
            None => i64::from(TTL_FOREVER),
            Some(text) if text.eq_ignore_ascii_case("FOREVER") => i64::from(TTL_FOREVER),
            Some(text) => text.trim().parse().unwrap_or(i64::from(TTL_FOREVER)),
        };
        (seconds != i64::from(TTL_FOREVER) && seconds >= 0).then(|| seconds.saturating_mul(1000))
    }

    /// `KEEP_DELETED_CELLS`, default `FALSE`.
    pub fn keep_deleted_cells(&self) -> KeepDeletedCells {
        match self.text("KEEP_DELETED_CELLS").map(str::to_ascii_uppercase).as_deref() {
            Some("TRUE") => KeepDeletedCells::True,
            Some("TTL") => KeepDeletedCells::Ttl,
            _ => KeepDeletedCells::False,
        }
    }

    /// `NEW_VERSION_BEHAVIOR`, default false: whether sequence numbers decide what a delete hides.
    pub fn new_version_behavior(&self) -> bool {
        self.flag("NEW_VERSION_BEHAVIOR", false)
    }

    /// `BLOOMFILTER`, default `ROW`.
    pub fn bloom_type(&self) -> BloomType {
        match self.text("BLOOMFILTER").map(str::to_ascii_uppercase).as_deref() {
            Some("NONE") => BloomType::None,
            Some("ROWCOL") => BloomType::RowCol,
            Some("ROWPREFIX_FIXED_LENGTH") => BloomType::RowPrefixFixedLength,
            _ => BloomType::Row,
        }
    }

    /// Prefix length in bytes of a [`BloomType::RowPrefixFixedLength`] filter, if configured.
    pub fn bloom_prefix_len(&self) -> Option<usize> {
        self.configuration.get("RowPrefixBloomFilter.prefix_length").and_then(|text| text.parse().ok())
    }

    /// `COMPRESSION`, default `NONE`.
    pub fn compression(&self) -> Compression {
        match self.text("COMPRESSION").map(str::to_ascii_uppercase).as_deref() {
            Some("GZ") => Compression::Gz,
            Some("LZ4") => Compression::Lz4,
            Some("ZSTD") => Compression::Zstd,
            Some("SNAPPY") => Compression::Snappy,
            _ => Compression::None,
        }
    }

    /// `DATA_BLOCK_ENCODING`, default `NONE`.
    pub fn data_block_encoding(&self) -> DataBlockEncoding {
        match self.text("DATA_BLOCK_ENCODING").map(str::to_ascii_uppercase).as_deref() {
            Some("PREFIX") => DataBlockEncoding::Prefix,
            Some("DIFF") => DataBlockEncoding::Diff,
            Some("FAST_DIFF") => DataBlockEncoding::FastDiff,
            Some("ROW_INDEX_V1") => DataBlockEncoding::RowIndexV1,
            _ => DataBlockEncoding::None,
        }
    }

    /// `BLOCKSIZE` in bytes before compression, default 64 KiB.
    pub fn block_size(&self) -> u32 {
        self.number("BLOCKSIZE", 65_536)
    }

    /// `IN_MEMORY`, default false: blocks of this family are evicted last.
    pub fn in_memory(&self) -> bool {
        self.flag("IN_MEMORY", false)
    }

    /// `BLOCKCACHE`, default true: data blocks of this family are cached.
    pub fn block_cache(&self) -> bool {
        self.flag("BLOCKCACHE", true)
    }

    /// `COMPRESS_TAGS`, default true (only with an encoding).
    pub fn compress_tags(&self) -> bool {
        self.flag("COMPRESS_TAGS", true)
    }

    /// Checks the name and every attribute that Ferrobase acts on; unknown attributes pass.
    pub fn validate(&self) -> Result<(), SchemaError> {
        check_family(&self.name)?;
        let bad = |key: &str, why: &str| {
            let value = self.attributes.get(key).map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
            SchemaError::Attribute { key: key.to_owned(), value, why: why.to_owned() }
        };
        let in_range = |key: &str, low: i64, high: i64, why: &str| match self.attributes.get(key) {
            None => Ok(()),
            Some(_) => match self.text(key).and_then(|text| text.trim().parse::<i64>().ok()) {
                Some(number) if (low..=high).contains(&number) => Ok(()),
                _ => Err(bad(key, why)),
            },
        };
        let one_of = |key: &str, names: &[&str]| match self.text(key) {
            None if self.attributes.contains_key(key) => Err(bad(key, "it is not text")),
            Some(text) if !names.iter().any(|name| name.eq_ignore_ascii_case(text)) => {
                Err(bad(key, &format!("one of {} is needed", names.join(", "))))
            }
            _ => Ok(()),
        };
        in_range("VERSIONS", 1, i64::from(i32::MAX), "a whole number of at least 1 is needed")?;
        in_range("MIN_VERSIONS", 0, i64::from(i32::MAX), "a whole number of at least 0 is needed")?;
        if self.text("TTL").is_none_or(|text| !text.eq_ignore_ascii_case("FOREVER")) {
            in_range("TTL", 1, i64::from(i32::MAX), "seconds, at least 1, or FOREVER are needed")?;
        }
        in_range("BLOCKSIZE", 1024, 16 << 20, "bytes between 1024 and 16777216 are needed")?;
        one_of("KEEP_DELETED_CELLS", &["FALSE", "TRUE", "TTL"])?;
        one_of("BLOOMFILTER", &["NONE", "ROW", "ROWCOL", "ROWPREFIX_FIXED_LENGTH"])?;
        one_of("COMPRESSION", &["NONE", "GZ", "LZ4", "ZSTD", "SNAPPY"])?;
        one_of("DATA_BLOCK_ENCODING", &["NONE", "PREFIX", "DIFF", "FAST_DIFF", "ROW_INDEX_V1"])?;
        for key in ["IN_MEMORY", "BLOCKCACHE", "NEW_VERSION_BEHAVIOR", "COMPRESS_TAGS"] {
            one_of(key, &["true", "false"])?;
        }
        if self.min_versions() > self.max_versions() {
            return Err(bad("MIN_VERSIONS", "it must not be larger than VERSIONS"));
        }
        if self.bloom_type() == BloomType::RowPrefixFixedLength && self.bloom_prefix_len().is_none_or(|len| len == 0) {
            return Err(bad("BLOOMFILTER", "the configuration RowPrefixBloomFilter.prefix_length is needed with it"));
        }
        Ok(())
    }
}

/// A table and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescriptor {
    /// The name.
    pub name: TableName,
    /// Text attributes such as `DURABILITY`, as they came.
    pub attributes: BTreeMap<String, Bytes>,
    /// Families by name.
    pub families: BTreeMap<Bytes, FamilyDescriptor>,
    /// Settings that override the site's for this table.
    pub configuration: BTreeMap<String, String>,
}

impl TableDescriptor {
    /// A table without families or attributes.
    pub fn new(name: TableName) -> TableDescriptor {
        TableDescriptor { name, attributes: BTreeMap::new(), families: BTreeMap::new(), configuration: BTreeMap::new() }
    }

    /// Adds or replaces a family.
    pub fn with_family(mut self, family: FamilyDescriptor) -> TableDescriptor {
        self.families.insert(family.name.clone(), family);
        self
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.attributes.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// `DURABILITY`, default [`Durability::UseDefault`].
    pub fn durability(&self) -> Durability {
        match self.text("DURABILITY").map(str::to_ascii_uppercase).as_deref() {
            Some("SKIP_WAL") => Durability::SkipWal,
            Some("ASYNC_WAL") => Durability::AsyncWal,
            Some("SYNC_WAL") => Durability::SyncWal,
            Some("FSYNC_WAL") => Durability::FsyncWal,
            _ => Durability::UseDefault,
        }
    }

    /// `READONLY`, default false.
    pub fn read_only(&self) -> bool {
        self.text("READONLY").is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// `COMPACTION_ENABLED`, default true.
    pub fn compaction_enabled(&self) -> bool {
        self.text("COMPACTION_ENABLED").is_none_or(|text| text.eq_ignore_ascii_case("true"))
    }

    /// `MEMSTORE_FLUSHSIZE` in bytes, if set.
    pub fn memtable_flush_bytes(&self) -> Option<u64> {
        self.text("MEMSTORE_FLUSHSIZE").and_then(|text| text.trim().parse().ok())
    }

    /// A setting of a family: the family's configuration, else the table's.
    pub fn setting<'a>(&'a self, family: &'a FamilyDescriptor, key: &str) -> Option<&'a str> {
        family.configuration.get(key).or_else(|| self.configuration.get(key)).map(String::as_str)
    }

    /// Checks families and attributes.
    pub fn validate(&self) -> Result<(), SchemaError> {
        if self.families.is_empty() {
            return Err(SchemaError::NoFamilies(self.name.clone()));
        }
        for family in self.families.values() {
            family.validate()?;
        }
        if let Some(raw) = self.attributes.get("DURABILITY") {
            let value = String::from_utf8_lossy(raw).into_owned();
            let names = ["USE_DEFAULT", "SKIP_WAL", "ASYNC_WAL", "SYNC_WAL", "FSYNC_WAL"];
            if !names.contains(&value.to_ascii_uppercase().as_str()) {
                let why = format!("one of {} is needed", names.join(", "));
                return Err(SchemaError::Attribute { key: "DURABILITY".to_owned(), value, why });
            }
        }
        Ok(())
    }
}
