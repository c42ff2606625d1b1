//! Columns of a file, in the syntax of HBase's ImportTsv: `HBASE_ROW_KEY,f:q,HBASE_TS_KEY,…`; of files that name theirs also
//! `id=HBASE_ROW_KEY,price=f:q,…`. No I/O.

use bytes::{BufMut, Bytes};
use model::CellType;
use model::cell::TAG_TTL;

use crate::batch::{Batch, NO_ROW};

/// What stands in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// The row.
    Row,
    /// The timestamp of the record's cells.
    Timestamp,
    /// Their time to live.
    Ttl,
    /// A value.
    Cell {
        /// Its family.
        family: Bytes,
        /// Its qualifier.
        qualifier: Bytes,
    },
}

impl Column {
    fn of(name: &str) -> Result<Column, String> {
        match name {
            "" => Err("a column has no name".to_owned()),
            "HBASE_ROW_KEY" => Ok(Column::Row),
            "HBASE_TS_KEY" => Ok(Column::Timestamp),
            "HBASE_CELL_TTL" => Ok(Column::Ttl),
            "HBASE_ATTRIBUTES_KEY" => Err("HBASE_ATTRIBUTES_KEY is not supported: Ferrobase has no coprocessors that \
                                           would read attributes"
                .to_owned()),
            "HBASE_CELL_VISIBILITY" => {
                Err("HBASE_CELL_VISIBILITY is not supported: Ferrobase has no visibility labels; \
                                            loading without them would show cells to everybody"
                    .to_owned())
            }
            name => {
                let (family, qualifier) = name.split_once(':').unwrap_or((name, ""));
                model::schema::check_family(family.as_bytes()).map_err(|error| error.to_string())?;
                let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
                Ok(Column::Cell { family: bytes(family), qualifier: bytes(qualifier) })
            }
        }
    }
}

/// The columns of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    columns: Vec<Column>,
    row: usize,
    /// Columns that every record must reach.
    least: usize,
    /// What the file calls them, if they are given by name.
    names: Option<Vec<String>>,
    skip_empty: bool,
}

impl Columns {
    /// Reads a list such as `HBASE_ROW_KEY,f:q`.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn parse(text: &str) -> Result<Columns, String> {
        Columns::of(text.split(','), None)
    }

    /// Reads a list such as `HBASE_ROW_KEY,f:q`, or by name such as `id=HBASE_ROW_KEY,price=f:q`.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn parse_named(text: &str) -> Result<Columns, String> {
        if !text.contains('=') {
            return Columns::parse(text);
        }
        let pairs = text.split(',').map(|part| {
            let why = || format!("`{part}` is not NAME=COLUMN: name all of the file's columns or none");
            part.split_once('=').ok_or_else(why)
        });
        let pairs: Vec<(&str, &str)> = pairs.collect::<Result<_, _>>()?;
        let names = pairs.iter().map(|(name, _)| name.trim().to_owned()).collect();
        Columns::of(pairs.into_iter().map(|(_, column)| column), Some(names))
    }

    fn of<'a>(text: impl Iterator<Item = &'a str>, names: Option<Vec<String>>) -> Result<Columns, String> {
        let columns = text.map(|name| Column::of(name.trim())).collect::<Result<Vec<_>, _>>()?;
        for (special, name) in
            [(Column::Row, "HBASE_ROW_KEY"), (Column::Timestamp, "HBASE_TS_KEY"), (Column::Ttl, "HBASE_CELL_TTL")]
        {
            if columns.iter().filter(|column| **column == special).count() > 1 {
                return Err(format!("{name} is given twice"));
            }
        }
        let Some(row) = columns.iter().position(|column| *column == Column::Row) else {
            return Err("one of the columns must be HBASE_ROW_KEY".to_owned());
        };
        if !columns.iter().any(|column| matches!(column, Column::Cell { .. })) {
            return Err("no column with a family is given: there would be nothing to load".to_owned());
        }
        let special = |column: &Column| !matches!(column, Column::Cell { .. });
        let least = columns.iter().rposition(special).map_or(0, |at| at + 1);
        Ok(Columns { columns, row, least, names, skip_empty: false })
    }

    /// Lets empty fields make no cells.
    pub fn skipping_empty(self, skip_empty: bool) -> Columns {
        Columns { skip_empty, ..self }
    }

    /// What stands where, by position or as `names` say.
    pub fn list(&self) -> &[Column] {
        &self.columns
    }

    /// What the file calls them, if they are given by name.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// Whether empty fields make no cells.
    pub fn skips_empty(&self) -> bool {
        self.skip_empty
    }

    /// The families named.
    pub fn families(&self) -> Vec<Bytes> {
        let mut families: Vec<Bytes> = Vec::new();
        for column in &self.columns {
            if let Column::Cell { family, .. } = column
                && !families.contains(family)
            {
                families.push(family.clone());
            }
        }
        families
    }

    /// Whether a record is the header of an export: the columns' own names.
    pub fn is_header<'a>(&self, fields: impl Iterator<Item = &'a [u8]>) -> bool {
        let names = fields.map(std::str::from_utf8).collect::<Result<Vec<_>, _>>();
        // A field is one column: its commas are its own.
        names.is_ok_and(|names| {
            names.len() == self.columns.len()
                && names.iter().zip(&self.columns).all(|(name, column)| Column::of(name).as_ref() == Ok(column))
        })
    }

    /// Adds the cells of a record. Trailing columns may be left out, but not those that say where the others belong.
    ///
    /// # Errors
    /// What is wrong with the record, of which cells may have been added.
    pub fn cells<'a>(
        &self,
        fields: impl Iterator<Item = &'a [u8]>,
        default_ms: i64,
        out: &mut Batch,
    ) -> Result<(), String> {
        let fields: Vec<&[u8]> = fields.take(self.columns.len() + 1).collect();
        if fields.len() > self.columns.len() {
            return Err(format!("more fields than the {} columns", self.columns.len()));
        }
        if fields.len() < 2.min(self.columns.len()) {
            return Err("no separator in the line".to_owned());
        }
        if fields.len() < self.least {
            return Err(format!("{} fields, the first {} columns are needed", fields.len(), self.least));
        }
        let row = fields[self.row];
        let (mut time, mut ttl_ms) = (default_ms, 0);
        for (column, field) in self.columns.iter().zip(&fields) {
            match column {
                Column::Timestamp => time = number(field, "timestamp")?,
                Column::Ttl => ttl_ms = number(field, "time to live")?,
                Column::Row | Column::Cell { .. } => {}
            }
        }
        check_time(time)?;
        let tags = ttl_tag(ttl_ms);
        for (column, value) in self.columns.iter().zip(&fields) {
            let Column::Cell { family, qualifier } = column else { continue };
            if value.is_empty() && self.skip_empty {
                continue;
            }
            out.add(row, family, qualifier, time, CellType::PUT, value, &tags)?;
        }
        // Where empty fields make no cells, none may have said so.
        if row.is_empty() { Err(NO_ROW.to_owned()) } else { Ok(()) }
    }
}

/// Checks that a timestamp can be stored.
///
/// # Errors
/// A sentence for people.
pub fn check_time(time: i64) -> Result<(), String> {
    if (0..i64::MAX).contains(&time) { Ok(()) } else { Err(format!("the timestamp {time} cannot be stored")) }
}

/// The tags of a cell with such a time to live; none, if it is not positive.
pub fn ttl_tag(ttl_ms: i64) -> Vec<u8> {
    let mut tags = Vec::new();
    if ttl_ms > 0 {
        tags.put_u16(9);
        tags.put_u8(TAG_TTL);
        tags.put_i64(ttl_ms);
    }
    tags
}

/// Adds a cell of which everything is told: its column as `family:qualifier`, its type as HBase names it, `Put` if it is not, and its value,
/// which a delete does not have.
///
/// # Errors
/// A sentence for people.
pub fn add_cell(
    row: &[u8],
    column: &[u8],
    time: i64,
    kind: Option<&str>,
    value: &[u8],
    out: &mut Batch,
) -> Result<(), String> {
    let (family, qualifier) = match column.iter().position(|byte| *byte == b':') {
        Some(at) => (&column[..at], &column[at + 1..]),
        None => (column, &[][..]),
    };
    model::schema::check_family(family).map_err(|error| error.to_string())?;
    let kind = match kind {
        None | Some("Put") => CellType::PUT,
        Some("Delete") => CellType::DELETE,
        Some("DeleteColumn") => CellType::DELETE_COLUMN,
        Some("DeleteFamily") => CellType::DELETE_FAMILY,
        Some("DeleteFamilyVersion") => CellType::DELETE_FAMILY_VERSION,
        Some(other) => {
            return Err(format!(
                "type `{other}` is none of Put, Delete, DeleteColumn, DeleteFamily, DeleteFamilyVersion"
            ));
        }
    };
    let of_family = matches!(kind, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
    if of_family && !qualifier.is_empty() {
        return Err("a delete of a family names no column in it".to_owned());
    }
    if kind != CellType::PUT && !value.is_empty() {
        return Err("a delete has no value".to_owned());
    }
    check_time(time)?;
    out.add(row, family, qualifier, time, kind, value, &[])
}

/// Reads a number of a text.
///
/// # Errors
/// A sentence for people.
pub fn number(field: &[u8], what: &str) -> Result<i64, String> {
    let text = std::str::from_utf8(field).ok().filter(|text| !text.is_empty());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("the {what} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Cell, CellRef};

    fn cells(columns: &str, line: &str) -> Result<Vec<(String, i64, Option<i64>)>, String> {
        let mut out = Batch::default();
        Columns::parse(columns)?.cells(line.split('\t').map(str::as_bytes), 7, &mut out)?;
        let shown = |cell: CellRef<'_>| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (family, qualifier) = (text(cell.family()), text(cell.qualifier()));
            let place = format!("{} {family}:{qualifier}={}", text(cell.row()), text(cell.value()));
            (place, cell.timestamp(), cell.ttl_ms())
        };
        Ok(out.iter().map(shown).collect())
    }

    #[test]
    fn columns_are_those_of_import_tsv() {
        let one = |place: &str, time, ttl| (place.to_owned(), time, ttl);
        assert_eq!(cells("HBASE_ROW_KEY,f:q", "r\tv").expect("good"), [one("r f:q=v", 7, None)]);
        assert_eq!(cells("f,HBASE_ROW_KEY", "v\tr").expect("good"), [one("r f:=v", 7, None)]);
        let all = "f:a,HBASE_ROW_KEY,HBASE_TS_KEY,HBASE_CELL_TTL,g:b,g:c";
        let expected = [one("r f:a=x", 5, Some(60)), one("r g:b=", 5, Some(60))];
        assert_eq!(cells(all, "x\tr\t5\t60\t").expect("a trailing column is left out"), expected);
        assert_eq!(cells(all, "x\tr\t5\t0").expect("good"), [one("r f:a=x", 5, None)]);
    }

    #[test]
    fn a_header_is_the_columns_own_names_and_empty_fields_may_be_no_cells() {
        let columns = Columns::parse("HBASE_ROW_KEY,f:a,f").expect("columns");
        let is_header = |fields: &[&str]| columns.is_header(fields.iter().map(|field| field.as_bytes()));
        assert!(is_header(&["HBASE_ROW_KEY", "f:a", "f:"]) && is_header(&["HBASE_ROW_KEY", "f:a", "f"]));
        assert!(!is_header(&["HBASE_ROW_KEY", "f:a"]) && !is_header(&["r", "f:a", "f"]));
        let mut cells = Batch::default();
        columns.skipping_empty(true).cells([&b"r"[..], b"", b"v"].into_iter(), 7, &mut cells).expect("a record");
        assert_eq!(cells.to_cells(), [Cell::put(b"r", b"f", b"", 7, b"v").expect("a cell")]);
    }

    #[test]
    fn bad_columns_and_records_are_named() {
        for (columns, why) in [
            ("f:a", "HBASE_ROW_KEY"),
            ("HBASE_ROW_KEY", "nothing to load"),
            ("HBASE_ROW_KEY,f:a,HBASE_ROW_KEY", "twice"),
            ("HBASE_ROW_KEY,f:a,HBASE_ATTRIBUTES_KEY", "not supported"),
            ("HBASE_ROW_KEY,f:a,HBASE_CELL_VISIBILITY", "not supported"),
            ("HBASE_ROW_KEY,,f:a", "no name"),
            ("HBASE_ROW_KEY,.f:a", ".f"),
        ] {
            let error = Columns::parse(columns).expect_err("refused");
            assert!(error.contains(why), "{columns}: {error}");
        }
        let columns = "HBASE_ROW_KEY,f:a,HBASE_TS_KEY";
        for (line, why) in [
            ("r", "no separator"),
            ("r\tv", "2 fields"),
            ("r\tv\t1\tx", "more fields"),
            ("r\tv\t", "timestamp"),
            ("r\tv\tx", "timestamp"),
            ("r\tv\t-1", "cannot be stored"),
            ("\tv\t1", "empty"),
        ] {
            let error = cells(columns, line).expect_err("refused");
            assert!(error.contains(why), "{line}: {error}");
        }
        let long = "r".repeat(40_000);
        assert!(cells("HBASE_ROW_KEY,f:a", &format!("{long}\tv")).is_err());
    }
}
