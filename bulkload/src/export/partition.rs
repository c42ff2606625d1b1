//! Folders by a value, as Hive names them: `NAME=VALUE`. No I/O.
//!
//! Always true
//! - Different values have different folders; a folder's name gives the value back by percent-decoding.
//! - Rows without the column, or with an empty value in it, lie in [`NULL`].

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// Value of rows that have none.
pub const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// Longest folder name in bytes: file systems take 255.
const NAME_BYTES_MAX: usize = 250;
/// What stands in a name as it is. A dot at the beginning hides a folder from those that read it.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');
/// How folders by the beginning of the row are asked for, and named.
const ROW_PREFIX: &str = "row_prefix";

/// By what rows go to folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partition {
    /// The newest value of a column that the row has: family and qualifier.
    Column((Bytes, Bytes)),
    /// So many bytes that the row key begins with.
    RowPrefix(usize),
}

impl Partition {
    /// The column that decides.
    pub fn column(&self) -> Option<&(Bytes, Bytes)> {
        match self {
            Partition::Column(column) => Some(column),
            Partition::RowPrefix(_) => None,
        }
    }

    /// The folder for a value of [`Partition::Column`], or a row of [`Partition::RowPrefix`].
    ///
    /// # Errors
    /// A sentence for people: the name would be too long.
    pub fn folder(&self, value: Option<&[u8]>) -> Result<String, String> {
        let (name, value) = match self {
            Partition::Column((family, qualifier)) => {
                (format!("{}%3A{}", percent_encode(family, PLAIN), percent_encode(qualifier, PLAIN)), value)
            }
            Partition::RowPrefix(len) => (ROW_PREFIX.to_owned(), value.map(|row| &row[..row.len().min(*len)])),
        };
        let value = match value {
            None | Some([]) => NULL.to_owned(),
            // What is no value must not look like one.
            Some(value) if value == NULL.as_bytes() => format!("%5F{}", &NULL[1..]),
            Some(value) => percent_encode(value, PLAIN).to_string(),
        };
        let folder = format!("{name}={value}");
        if folder.len() > NAME_BYTES_MAX {
            let shown = &folder[..64];
            return Err(format!("--partition: folder `{shown}…` would have a name of {} bytes", folder.len()));
        }
        Ok(folder)
    }
}

impl FromStr for Partition {
    type Err = String;

    /// Reads `family:qualifier`, with `\xNN` already replaced, or `row_prefix=N`.
    fn from_str(text: &str) -> Result<Partition, String> {
        let wanted = || format!("`{text}`: a column such as f:day, or {ROW_PREFIX}=4 is needed");
        if let Some((family, qualifier)) = text.split_once(':') {
            model::schema::check_family(family.as_bytes()).map_err(|error| error.to_string())?;
            let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
            return Ok(Partition::Column((bytes(family), bytes(qualifier))));
        }
        let length = text.strip_prefix(ROW_PREFIX).and_then(|rest| rest.strip_prefix('=')).ok_or_else(wanted)?;
        length.parse().ok().filter(|length| (1..=64).contains(length)).map(Partition::RowPrefix).ok_or_else(wanted)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Partition::Column((family, qualifier)) => {
                write!(f, "{}:{}", family.escape_ascii(), qualifier.escape_ascii())
            }
            Partition::RowPrefix(length) => write!(f, "{ROW_PREFIX}={length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_hives() {
        let day: Partition = "f:day".parse().expect("good");
        for (value, folder) in [
            (Some(&b"2026-11-22"[..]), "f%3Aday=2026-11-22"),
            (Some(b"a/b=c %"), "f%3Aday=a%2Fb%3Dc%20%25"),
            (Some(b"\xff\x00"), "f%3Aday=%FF%00"),
            (Some(b".."), "f%3Aday=%2E%2E"),
            (Some("é".as_bytes()), "f%3Aday=%C3%A9"),
            (None, "f%3Aday=__HIVE_DEFAULT_PARTITION__"),
            (Some(b""), "f%3Aday=__HIVE_DEFAULT_PARTITION__"),
            (Some(NULL.as_bytes()), "f%3Aday=%5F_HIVE_DEFAULT_PARTITION__"),
        ] {
            assert_eq!(day.folder(value).expect("short"), folder);
        }
        assert!(day.folder(Some(&[b'x'; 300])).expect_err("long").contains("308 bytes"));
        let prefix: Partition = "row_prefix=2".parse().expect("good");
        assert_eq!(prefix.folder(Some(b"abc")).expect("short"), "row_prefix=ab");
        assert_eq!(prefix.folder(Some(b"a")).expect("short"), "row_prefix=a");
    }

    #[test]
    fn what_is_neither_column_nor_length_is_refused() {
        for text in ["day", "row_prefix", "row_prefix=0", "row_prefix=x", "row_prefix=100", ":a", ""] {
            assert!(text.parse::<Partition>().is_err(), "{text}");
        }
        for text in ["f:", "f:a:b", "row_prefix=4"] {
            assert_eq!(text.parse::<Partition>().expect("good").to_string(), text);
        }
    }
}
