//! Debian's package index: stanzas of `Field: value` lines with folded continuation lines, one stanza a package.
//!
//! Row `package/architecture`; families `i` (what it is), `r` (what it needs), `d` (everything told about it). The time of the
//! cells is the index' own, so that a package that stands in several indexes keeps one version of a field for each.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use model::cell::ROW_LEN_MAX;

use crate::source::{Item, Position, Record, Source, open};

const IDENTITY: &[&str] = &[
    "Package",
    "Version",
    "Architecture",
    "Section",
    "Priority",
    "Source",
    "Maintainer",
    "Essential",
    "Multi-Arch",
    "Size",
    "Installed-Size",
    "Filename",
    "MD5sum",
    "SHA256",
];
const RELATIONS: &[&str] = &[
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Enhances",
    "Breaks",
    "Conflicts",
    "Replaces",
    "Provides",
    "Built-Using",
    "Static-Built-Using",
];
/// Longest stanza that is believed, in bytes.
const STANZA_LEN_MAX: usize = 4 << 20;

/// Where `apt-get update` leaves the lists.
pub const LISTS: &str = "/var/lib/apt/lists";

/// The lists in a folder.
pub fn lists(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let plain = [".lz4", ".gz", ".xz"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        if plain.ends_with("_Packages") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Reads one list.
pub struct Packages {
    lines: Box<dyn BufRead + Send>,
    line: u64,
    timestamp: i64,
}

impl Packages {
    /// Opens a list.
    pub fn open(path: &Path, position: &Position) -> io::Result<Packages> {
        let age = std::fs::metadata(path)?.modified()?;
        let timestamp = age.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        Ok(Packages { lines: open(path, position)?, line: 0, timestamp })
    }

    fn record(&self, stanza: &str) -> Result<Record, String> {
        let mut fields: Vec<(&str, String)> = Vec::new();
        for line in stanza.lines() {
            if line.starts_with([' ', '\t']) {
                let (_, value) = fields.last_mut().ok_or("a continuation line without a field")?;
                value.push('\n');
                value.push_str(line.trim());
            } else {
                let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in `{line}`"))?;
                if name.is_empty() || name.contains(char::is_whitespace) {
                    return Err(format!("`{name}` is no field name"));
                }
                fields.push((name, value.trim().to_owned()));
            }
        }
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone());
            found.filter(|value| !value.is_empty()).ok_or_else(|| format!("no field {wanted}"))
        };
        let row = format!("{}/{}", field("Package")?, field("Architecture")?);
        if row.len() > ROW_LEN_MAX {
            return Err(format!("a name of {} bytes is too long for a row", row.len()));
        }
        field("Version")?;
        let counter = field("Section").unwrap_or_else(|_| "unknown".to_owned());
        let cells = fields
            .into_iter()
            .map(|(name, value)| {
                let family = match name {
                    name if IDENTITY.contains(&name) => "i",
                    name if RELATIONS.contains(&name) => "r",
                    _ => "d",
                };
                (family, name.to_owned(), value)
            })
            .collect();
        Ok(Record { row, cells, timestamp: self.timestamp, counter })
    }
}

impl Source for Packages {
    fn next(&mut self) -> io::Result<Option<Item>> {
        let mut stanza = Vec::new();
        let begin = self.line + 1;
        loop {
            let before = stanza.len();
            let read = self.lines.read_until(b'\n', &mut stanza)?;
            self.line += u64::from(read > 0);
            let blank = stanza[before..].iter().all(u8::is_ascii_whitespace);
            if read > 0 && !blank && stanza.len() < STANZA_LEN_MAX {
                continue;
            }
            let text = String::from_utf8_lossy(&stanza);
            if text.trim().is_empty() {
                if read == 0 {
                    return Ok(None);
                }
                stanza.clear();
                continue;
            }
            let item = self.record(text.trim_end());
            return Ok(Some(match item {
                Ok(record) => Item::Record(record),
                Err(why) => Item::Bad { line: begin, why, text: text.into_owned() },
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_read_and_bad_ones_passed_over() {
        let text = "Package: a\nVersion: 1\nArchitecture: amd64\nDepends: b,\n c\nTag: x\n\nVersion: 2\n\n\nPackage: z\nArchitecture: all\nVersion: 3\nSection: games\n";
        let mut source = Packages { lines: Box::new(io::Cursor::new(text)), line: 0, timestamp: 5 };
        let Some(Item::Record(first)) = source.next().expect("read") else { panic!("a record") };
        assert_eq!((first.row.as_str(), first.counter.as_str()), ("a/amd64", "unknown"));
        assert!(first.cells.contains(&("r", "Depends".to_owned(), "b,\nc".to_owned())), "{:?}", first.cells);
        assert!(matches!(source.next().expect("read"), Some(Item::Bad { line: 8, .. })));
        let Some(Item::Record(last)) = source.next().expect("read") else { panic!("a record") };
        assert_eq!((last.row.as_str(), last.counter.as_str()), ("z/all", "games"));
        assert!(source.next().expect("read").is_none());
    }

    #[test]
    fn a_name_that_is_too_long_for_a_row_is_rejected() {
        let text = format!("Package: {}\nVersion: 1\nArchitecture: all\n", "a".repeat(ROW_LEN_MAX));
        let mut source = Packages { lines: Box::new(io::Cursor::new(text)), line: 0, timestamp: 5 };
        let Some(Item::Bad { why, .. }) = source.next().expect("read") else { panic!("rejected") };
        assert!(why.contains("too long"), "{why}");
    }
}
