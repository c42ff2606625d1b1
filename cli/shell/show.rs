//! Bytes, times and descriptors as HBase's shell prints them.
//!
//! Always true: [`binary`] loses nothing; [`from_binary`] gives the bytes back.

use std::fmt::Write;

use bytes::Bytes;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TTL_FOREVER, TableDescriptor};

/// Bytes with everything but printable ASCII, and the backslash, as `\xNN`.
pub fn binary(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        if (0x20..0x7f).contains(byte) && *byte != b'\\' {
            out.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out
}

/// Bytes from text with `\xNN` in it (capital digits, as [`binary`] writes them); a `\x` without two such digits loses
/// its backslash, as in HBase.
pub fn from_binary(text: &[u8]) -> Bytes {
    let digit = |byte: Option<&u8>| match byte {
        Some(byte @ (b'0'..=b'9' | b'A'..=b'F')) => {
            char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
        }
        _ => None,
    };
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        if *byte != b'\\' || text.get(at) != Some(&b'x') {
            out.push(*byte);
        } else if let (Some(high), Some(low)) = (digit(text.get(at + 1)), digit(text.get(at + 2))) {
            out.push(high << 4 | low);
            at += 3;
        }
    }
    out.into()
}

fn days_to_date(days: i64) -> (i64, i64, i64) {
    // Years that start in March, in eras of 400 years: leap days fall at the end.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next, month, day)
}

/// A time as Java's `LocalDateTime` writes it, `offset_s` seconds east of Greenwich.
pub fn date_time(millis: i64, offset_s: i64) -> String {
    let local = i128::from(millis) + i128::from(offset_s) * 1000;
    let days = i64::try_from(local.div_euclid(86_400_000)).unwrap_or_default();
    let rest = i64::try_from(local.rem_euclid(86_400_000)).unwrap_or_default();
    let (year, month, day) = days_to_date(days);
    let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    let mut out = match year {
        10_000.. => format!("+{year}"),
        0..=9999 => format!("{year:04}"),
        _ => format!("-{:04}", -year),
    };
    let _ = write!(out, "-{month:02}-{day:02}T{hour:02}:{minute:02}");
    if milli != 0 {
        let _ = write!(out, ":{second:02}.{milli:03}");
    } else if second != 0 {
        let _ = write!(out, ":{second:02}");
    }
    out
}

/// Seconds east of Greenwich in this machine's time zone at that time.
pub fn local_offset(millis: i64) -> i64 {
    let seconds: libc::time_t = millis.div_euclid(1000);
    // SAFETY: `tm` is plain numbers and a pointer that may be null, so zeroes are a value of it; `localtime_r` reads one
    // `time_t` and writes one `tm`, both live here, and keeps neither. Nothing in this process changes `TZ`.
    let (done, offset) = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        (!libc::localtime_r(&seconds, &mut parts).is_null(), parts.tm_gmtoff)
    };
    // Years that do not fit have no zone; Greenwich then.
    if done { offset } else { 0 }
}

/// A cell's timestamp as HBase's shell prints it.
pub fn timestamp(millis: i64) -> String {
    date_time(millis, local_offset(millis))
}

fn units(mut amount: i64, units: &[(i64, &str)], plural: bool, joint: &str) -> String {
    let mut parts = Vec::new();
    for (size, name) in units {
        let count = amount / size;
        amount %= size;
        if count > 0 {
            let ending = if plural && count > 1 { "S" } else { "" };
            parts.push(format!("{count}{joint}{name}{ending}"));
        }
    }
    parts.join(" ")
}

const TIMES: [(i64, &str); 4] = [(86_400, "DAY"), (3600, "HOUR"), (60, "MINUTE"), (1, "SECOND")];
const SIZES: [(i64, &str); 5] = [(1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"), (1, "B")];

/// Seconds as `describe` prints a `TTL`.
fn shown_seconds(text: &str) -> String {
    match text.trim().parse::<i64>() {
        Ok(seconds) if seconds == i64::from(TTL_FOREVER) => "FOREVER".to_owned(),
        Ok(1) => "1 SECOND".to_owned(),
        Ok(seconds) if seconds < 60 => format!("{seconds} SECONDS"),
        Ok(seconds) => format!("{seconds} SECONDS ({})", units(seconds, &TIMES, true, " ")),
        Err(_) => text.to_owned(),
    }
}

/// Bytes as `describe` prints a `BLOCKSIZE`.
fn shown_bytes(text: &str) -> String {
    match text.trim().parse::<i64>() {
        Ok(bytes) if bytes < 1024 => format!("{bytes} B"),
        Ok(bytes) => format!("{bytes} B ({})", units(bytes, &SIZES, false, "")),
        Err(_) => text.to_owned(),
    }
}

/// The sum of `1 DAY 2 HOURS` or `64 KB`; a number alone is taken as it is.
fn sum_of(text: &str, units: &[(i64, &str)]) -> Option<i64> {
    let text = text.trim().to_ascii_uppercase();
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let (mut sum, mut rest) = (0_i64, text.as_str());
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let unit = &rest[..letters];
        let (size, _) = units.iter().find(|(_, name)| unit == *name || unit.strip_suffix('S') == Some(*name))?;
        sum = sum.checked_add(number.checked_mul(*size)?)?;
        rest = rest[letters..].trim_start();
    }
    Some(sum)
}

/// Seconds from what may be written for `TTL`.
pub fn parse_seconds(text: &str) -> Option<i64> {
    if text.trim().eq_ignore_ascii_case("FOREVER") { Some(i64::from(TTL_FOREVER)) } else { sum_of(text, &TIMES) }
}

/// Bytes from what may be written for `BLOCKSIZE`.
pub fn parse_bytes(text: &str) -> Option<i64> {
    sum_of(text, &SIZES)
}

/// HBase's own family attributes in the order in which it prints them, with their defaults.
const FAMILY_ATTRIBUTES: [(&str, Option<&str>); 16] = [
    ("INDEX_BLOCK_ENCODING", Some("NONE")),
    ("MOB_THRESHOLD", None),
    ("VERSIONS", Some("1")),
    ("KEEP_DELETED_CELLS", Some("FALSE")),
    ("DATA_BLOCK_ENCODING", Some("NONE")),
    ("TTL", Some("2147483647")),
    ("MIN_VERSIONS", Some("0")),
    ("REPLICATION_SCOPE", Some("0")),
    ("BLOOMFILTER", Some("ROW")),
    ("IN_MEMORY", Some("false")),
    ("IS_MOB", None),
    ("COMPRESSION", Some("NONE")),
    ("BLOCKCACHE", Some("true")),
    ("BLOCKSIZE", Some("65536")),
    ("ENCRYPTION", None),
    ("MOB_COMPACT_PARTITION_POLICY", None),
];

fn quoted_pairs<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    pairs.map(|(key, value)| format!("'{key}' => '{value}'")).collect::<Vec<_>>().join(", ")
}

/// A family's attributes with HBase's defaults filled in, in the order of `describe`.
pub fn family_attributes(family: &FamilyDescriptor) -> Vec<(&'static str, String)> {
    let value = |key: &str, default: Option<&str>| match family.attributes.get(key) {
        Some(value) => Some(String::from_utf8_lossy(value).into_owned()),
        None => default.map(str::to_owned),
    };
    FAMILY_ATTRIBUTES.iter().filter_map(|(key, default)| Some((*key, value(key, *default)?))).collect()
}

/// A family's attributes that are not HBase's own first ones: `METADATA` of `describe`.
pub fn family_metadata(family: &FamilyDescriptor) -> Vec<(&str, String)> {
    let known = |key: &str| FAMILY_ATTRIBUTES.iter().any(|(name, _)| *name == key);
    let others = family.attributes.iter().filter(|(key, _)| !known(key) && *key != "ENCRYPTION_KEY");
    others.map(|(key, value)| (key.as_str(), String::from_utf8_lossy(value).into_owned())).collect()
}

/// A family as `describe` prints it.
pub fn family(family: &FamilyDescriptor) -> String {
    let mut out = format!("{{NAME => '{}'", binary(&family.name));
    for (key, value) in family_attributes(family) {
        let value = match key {
            "TTL" => shown_seconds(&value),
            "BLOCKSIZE" => shown_bytes(&value),
            _ => value,
        };
        let _ = write!(out, ", {key} => '{value}'");
    }
    let metadata = family_metadata(family);
    if !metadata.is_empty() {
        let _ = write!(out, ", METADATA => {{{}}}", quoted_pairs(metadata.into_iter()));
    }
    if !family.configuration.is_empty() {
        let pairs = family.configuration.iter().map(|(key, value)| (key.as_str(), value.clone()));
        let _ = write!(out, ", CONFIGURATION => {{{}}}", quoted_pairs(pairs));
    }
    out.push('}');
    out
}

const TABLE_ATTRIBUTES: [&str; 6] =
    ["DURABILITY", "MAX_FILESIZE", "MEMSTORE_FLUSHSIZE", "PRIORITY", "READONLY", "REGION_REPLICATION"];

/// A table's own attributes as `describe` prints them behind its name; empty if there are none. HBase knows no difference
/// between a table's attributes and its settings.
pub fn table_attributes(table: &TableDescriptor) -> String {
    let mut all: std::collections::BTreeMap<&str, String> =
        table.configuration.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    all.extend(table.attributes.iter().map(|(key, value)| (key.as_str(), String::from_utf8_lossy(value).into_owned())));
    all.remove("IS_META");
    let own = |key: &str| TABLE_ATTRIBUTES.contains(&key) || key.to_ascii_lowercase().starts_with("coprocessor$");
    let mut parts = Vec::new();
    for (key, value) in all.iter().filter(|(key, _)| own(key)) {
        let value = if key.ends_with("SIZE") { shown_bytes(value) } else { value.clone() };
        parts.push(format!("{key} => '{value}'"));
    }
    let others: Vec<_> = all.iter().filter(|(key, _)| !own(key)).map(|(key, value)| (*key, value.clone())).collect();
    if !others.is_empty() {
        parts.push(format!("METADATA => {{{}}}", quoted_pairs(others.into_iter())));
    }
    if parts.is_empty() { String::new() } else { format!(", {{TABLE_ATTRIBUTES => {{{}}}}}", parts.join(", ")) }
}

/// A namespace as `describe_namespace` prints it.
pub fn namespace<'a>(name: &str, properties: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let mut out = format!("{{NAME => '{name}'");
    for (key, value) in properties {
        let _ = write!(out, ", {key} => '{value}'");
    }
    out.push('}');
    out
}

/// A region as HBase prints it.
pub fn region(info: &RegionInfo) -> String {
    let (start, end) = (binary(&info.start_key), binary(&info.end_key));
    let name = binary(&info.region_name());
    format!("{{ENCODED => {}, NAME => '{name}', STARTKEY => '{start}', ENDKEY => '{end}'}}", info.encoded_name())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The expected texts were printed by HBase 2.6.1's own classes.

    #[test]
    fn times_are_javas() {
        let table = [
            (0, "1970-01-01T00:00"),
            (1, "1970-01-01T00:00:00.001"),
            (1000, "1970-01-01T00:00:01"),
            (-1, "1969-12-31T23:59:59.999"),
            (i64::MAX, "+292278994-08-17T07:12:55.807"),
            (i64::MIN, "-292275055-05-16T16:47:04.192"),
            (1_704_067_200_123, "2024-01-01T00:00:00.123"),
            (1_704_067_205_000, "2024-01-01T00:00:05"),
            (253_402_300_800_000, "+10000-01-01T00:00"),
            (-62_135_596_800_001, "0000-12-31T23:59:59.999"),
            (-99_999_999_999_999, "-1199-02-15T14:13:20.001"),
        ];
        for (millis, expected) in table {
            assert_eq!(date_time(millis, 0), expected);
        }
        assert_eq!(date_time(0, -3600), "1969-12-31T23:00");
    }

    #[test]
    fn bytes_are_hbases() {
        assert_eq!(binary(b"a\\\x00\x7f~\xff "), r"a\x5C\x00\x7F~\xFF ");
        assert_eq!(binary(&from_binary(br"a\x00b\x1\xzz\\c\x0F\x0f")), r"a\x00bx1xzz\x5C\x5Cc\x0Fx0f");
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(&from_binary(binary(&bytes).as_bytes())[..], &bytes[..]);
        }
    }

    #[test]
    fn families_are_hbases() {
        let default = "{NAME => 'f', INDEX_BLOCK_ENCODING => 'NONE', VERSIONS => '1', KEEP_DELETED_CELLS => 'FALSE', \
            DATA_BLOCK_ENCODING => 'NONE', TTL => 'FOREVER', MIN_VERSIONS => '0', REPLICATION_SCOPE => '0', \
            BLOOMFILTER => 'ROW', IN_MEMORY => 'false', COMPRESSION => 'NONE', BLOCKCACHE => 'true', \
            BLOCKSIZE => '65536 B (64KB)'}";
        assert_eq!(family(&FamilyDescriptor::new("f")), default);
        let mut wide = FamilyDescriptor::new("g");
        for (key, value) in [
            ("MOB_THRESHOLD", "100000"),
            ("VERSIONS", "5"),
            ("KEEP_DELETED_CELLS", "TTL"),
            ("TTL", "86400"),
            ("MIN_VERSIONS", "2"),
            ("BLOOMFILTER", "ROWCOL"),
            ("IN_MEMORY", "true"),
            ("IS_MOB", "true"),
            ("COMPRESSION", "GZ"),
            ("BLOCKSIZE", "1000"),
            ("STORAGE_POLICY", "HOT"),
            ("meta", "x'y"),
        ] {
            wide = wide.with(key, value);
        }
        wide.configuration.insert("hbase.x".to_owned(), "1".to_owned());
        wide.configuration.insert("a.b".to_owned(), "2".to_owned());
        let expected = "{NAME => 'g', INDEX_BLOCK_ENCODING => 'NONE', MOB_THRESHOLD => '100000', VERSIONS => '5', \
            KEEP_DELETED_CELLS => 'TTL', DATA_BLOCK_ENCODING => 'NONE', TTL => '86400 SECONDS (1 DAY)', \
            MIN_VERSIONS => '2', REPLICATION_SCOPE => '0', BLOOMFILTER => 'ROWCOL', IN_MEMORY => 'true', \
            IS_MOB => 'true', COMPRESSION => 'GZ', BLOCKCACHE => 'true', BLOCKSIZE => '1000 B', \
            METADATA => {'STORAGE_POLICY' => 'HOT', 'meta' => 'x'y'}, \
            CONFIGURATION => {'a.b' => '2', 'hbase.x' => '1'}}";
        assert_eq!(family(&wide), expected);
    }

    #[test]
    fn seconds_and_sizes_are_hbases() {
        let table = [
            ("1", "1 SECOND"),
            ("59", "59 SECONDS"),
            ("60", "60 SECONDS (1 MINUTE)"),
            ("61", "61 SECONDS (1 MINUTE 1 SECOND)"),
            ("86399", "86399 SECONDS (23 HOURS 59 MINUTES 59 SECONDS)"),
            ("90061", "90061 SECONDS (1 DAY 1 HOUR 1 MINUTE 1 SECOND)"),
            ("31536000", "31536000 SECONDS (365 DAYS)"),
            ("2147483647", "FOREVER"),
            ("-1", "-1 SECONDS"),
        ];
        for (seconds, expected) in table {
            assert_eq!(shown_seconds(seconds), expected);
        }
        let table = [
            ("1023", "1023 B"),
            ("1024", "1024 B (1KB)"),
            ("1025", "1025 B (1KB 1B)"),
            ("1572864", "1572864 B (1MB 512KB)"),
            ("1073741824", "1073741824 B (1GB)"),
        ];
        for (bytes, expected) in table {
            assert_eq!(shown_bytes(bytes), expected);
        }
        assert_eq!(parse_seconds("1 HOUR 30 MINUTES 5 SECONDS"), Some(5405));
        assert_eq!(parse_seconds("3 days"), Some(259_200));
        assert_eq!(parse_seconds("forever"), Some(2_147_483_647));
        assert_eq!(parse_seconds("5 moons"), None);
        assert_eq!(parse_seconds("9999999999999999 DAYS"), None);
        assert_eq!(parse_bytes("64 KB"), Some(65_536));
        assert_eq!(parse_bytes("1MB"), Some(1 << 20));
    }

    #[test]
    fn tables_namespaces_and_regions_are_hbases() {
        let mut table = TableDescriptor::new("ns:t".parse().expect("name"));
        assert_eq!(table_attributes(&table), "");
        for (key, value) in [
            ("IS_META", "false"),
            ("DURABILITY", "ASYNC_WAL"),
            ("MAX_FILESIZE", "1073741824"),
            ("READONLY", "true"),
            ("MEMSTORE_FLUSHSIZE", "134217728"),
            ("coprocessor$1", "|org.X|1073741823|"),
            ("k", "v"),
            ("COMPACTION_ENABLED", "false"),
        ] {
            table.attributes.insert(key.to_owned(), value.into());
        }
        table.configuration.insert("hbase.hstore.x".to_owned(), "9".to_owned());
        let expected = ", {TABLE_ATTRIBUTES => {DURABILITY => 'ASYNC_WAL', MAX_FILESIZE => '1073741824 B (1GB)', \
            MEMSTORE_FLUSHSIZE => '134217728 B (128MB)', READONLY => 'true', coprocessor$1 => '|org.X|1073741823|', \
            METADATA => {'COMPACTION_ENABLED' => 'false', 'hbase.hstore.x' => '9', 'k' => 'v'}}}";
        assert_eq!(table_attributes(&table), expected);
        let properties =
            std::collections::BTreeMap::from([("b".to_owned(), "c".to_owned()), ("a".to_owned(), "d".to_owned())]);
        assert_eq!(namespace("n", properties.iter()), "{NAME => 'n', a => 'd', b => 'c'}");
        let info = RegionInfo::new("t".parse().expect("name"), "a".into(), Bytes::from_static(b"\x01b"), 123);
        let expected = r"{ENCODED => 3820c22bf8b2e8cbd9475ec2b617c347, NAME => 't,a,123.3820c22bf8b2e8cbd9475ec2b617c347.', STARTKEY => 'a', ENDKEY => '\x01b'}";
        assert_eq!(region(&info), expected);
    }
}
