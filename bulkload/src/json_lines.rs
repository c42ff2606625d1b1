//! Rows as JSON, one object a line. No I/O.
//!
//! ```json
//! {"row":"r1","cells":[{"column":"f:q","timestamp":1,"type":"Put","value":"v"},{"column":"f:x","value":{"b64":"/w=="}}]}
//! ```

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::batch::Batch;
use crate::columns::add_cell;

/// Text, or bytes that are none.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Binary<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Bytes(Encoded<'a>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded<'a> {
    #[serde(borrow)]
    b64: Cow<'a, str>,
}

impl<'a> Binary<'a> {
    fn bytes(&self, what: &str) -> Result<Cow<'_, [u8]>, String> {
        match self {
            Binary::Text(text) => Ok(Cow::Borrowed(text.as_bytes())),
            Binary::Bytes(encoded) => match STANDARD.decode(encoded.b64.as_bytes()) {
                Ok(bytes) => Ok(Cow::Owned(bytes)),
                Err(error) => Err(format!("the {what} is not base64: {error}")),
            },
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellObject<'a> {
    #[serde(borrow)]
    column: Binary<'a>,
    timestamp: Option<i64>,
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Binary<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowObject<'a> {
    #[serde(borrow)]
    row: Binary<'a>,
    #[serde(borrow)]
    cells: Vec<CellObject<'a>>,
}

/// Adds the cells of a line.
///
/// # Errors
/// What is wrong with the line, of which cells may have been added.
pub fn cells(line: &[u8], default_ms: i64, out: &mut Batch) -> Result<(), String> {
    let object: RowObject<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let row = object.row.bytes("row")?;
    if row.is_empty() {
        return Err("the row is empty".to_owned());
    }
    object.cells.iter().try_for_each(|cell| add(&row, cell, default_ms, out))
}

fn add(row: &[u8], cell: &CellObject<'_>, default_ms: i64, out: &mut Batch) -> Result<(), String> {
    let column = cell.column.bytes("column")?;
    let value = cell.value.as_ref().map(|value| value.bytes("value")).transpose()?;
    let time = cell.timestamp.unwrap_or(default_ms);
    let kind = cell.kind.as_deref();
    add_cell(row, &column, time, kind, value.as_deref().unwrap_or_default(), out)?;
    if value.is_some() && out.last().is_some_and(|cell| cell.cell_type().is_delete()) {
        return Err("a delete has no value".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::CellRef;

    fn read(line: &str) -> Result<Vec<String>, String> {
        let mut out = Batch::default();
        cells(line.as_bytes(), 7, &mut out)?;
        let shown = |cell: CellRef<'_>| {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            let (family, qualifier) = (text(cell.family()), text(cell.qualifier()));
            let place = format!("{} {family}:{qualifier}", text(cell.row()));
            format!("{place} {} {} {}", cell.timestamp(), cell.cell_type().0, text(cell.value()))
        };
        Ok(out.iter().map(shown).collect())
    }

    /// In a time that grows with them, not with their square.
    #[test]
    fn a_line_may_hold_very_many_cells() {
        let cells: Vec<String> = (0..200_000).map(|at| format!(r#"{{"column":"f:{at}","value":"v"}}"#)).collect();
        let read = read(&format!(r#"{{"row":"r","cells":[{}]}}"#, cells.join(","))).expect("good");
        assert_eq!((read.len(), read[199_999].as_str()), (200_000, "r f:199999 7 4 v"));
    }

    #[test]
    fn rows_are_read() {
        let line = r#"{"row":"r1","cells":[{"column":"f:q","timestamp":1,"type":"Put","value":"v"},{"column":"f:a:b","value":{"b64":"/wA="}},
            {"column":{"b64":"Zjr/"},"type":"DeleteColumn","timestamp":3},{"column":"f","type":"DeleteFamily"},{"column":"f:e"}]}"#;
        let expected = ["r1 f:q 1 4 v", "r1 f:a:b 7 4 \\xff\\x00", "r1 f:\\xff 3 12 ", "r1 f: 7 14 ", "r1 f:e 7 4 "];
        assert_eq!(read(line).expect("good"), expected);
        assert!(read(r#"{"cells":[],"row":{"b64":"AA=="}}"#).expect("good").is_empty());
        assert_eq!(read(r#"{"row":"é\n","cells":[{"column":"f:q","value":"\u00e9"}]}"#).expect("good").len(), 1);
    }

    #[test]
    fn bad_rows_are_named() {
        for (line, why) in [
            ("", "EOF"),
            ("{}", "row"),
            (r#"{"row":"","cells":[]}"#, "empty"),
            (r#"{"row":"r","cells":[{"column":"f:q","value":{"b64":"?"}}]}"#, "base64"),
            (r#"{"row":"r","cells":[{"column":"f:q","value":1}]}"#, "Binary"),
            (r#"{"row":"r","cells":[{"column":":q","value":"v"}]}"#, "famil"),
            (r#"{"row":"r","cells":[{"column":"f:q","type":"put"}]}"#, "type `put`"),
            (r#"{"row":"r","cells":[{"column":"f:q","timestamp":-1}]}"#, "timestamp"),
            (r#"{"row":"r","cells":[{"column":"f:q","timestmp":1}]}"#, "timestmp"),
            (r#"{"row":"r","cells":[{"column":"f:q","type":"Delete","value":"v"}]}"#, "no value"),
            (r#"{"row":"r","cells":[{"column":"f:q","type":"DeleteFamily"}]}"#, "names no column"),
            (r#"{"row":"r","cells":[]} x"#, "trailing"),
        ] {
            let error = read(line).expect_err("refused");
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
