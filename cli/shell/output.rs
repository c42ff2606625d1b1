//! Where results go: HBase's layout for people, JSON for programs.
//!
//! Always true
//! - With a JSON format nothing but results is written.
//! - `json` is one document for each command, `null` where there is no result; `jsonl` is one line for each result.

use std::io::{self, Write};

use serde_json::Value as Json;

use crate::arguments::Format;

/// A narrower terminal gets lines as they are.
const WIDTH_LEAST: usize = 40;

/// Writes results.
pub struct Printer<'a> {
    out: &'a mut dyn Write,
    format: Format,
    /// Characters in a line of the terminal; `None` if it is none, then columns are not padded. Asked for each table,
    /// because windows change.
    width: fn() -> Option<usize>,
    current: Option<usize>,
    items: usize,
    /// Whether the command has written anything for programs.
    written: bool,
}

impl<'a> Printer<'a> {
    /// A printer; `width` gives the terminal's, if there is one.
    pub fn new(out: &'a mut dyn Write, format: Format, width: fn() -> Option<usize>) -> Printer<'a> {
        Printer { out, format, width, current: None, items: 0, written: false }
    }

    /// Whether results are for people.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// A line for people.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        if self.is_table() { writeln!(self.out, "{}", text.as_ref()) } else { Ok(()) }
    }

    /// A question to a person, shown at once; not among results for programs.
    pub fn question(&mut self, text: &str) -> io::Result<()> {
        if !self.is_table() {
            eprintln!("{text}");
            return Ok(());
        }
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// The names of two columns.
    pub fn header(&mut self, first: &str, second: &str) -> io::Result<()> {
        self.current = (self.width)().filter(|width| *width >= WIDTH_LEAST);
        self.two(first, second, false)
    }

    /// A row of two columns.
    pub fn row(&mut self, first: &str, second: &str) -> io::Result<()> {
        self.two(first, second, true)
    }

    fn two(&mut self, first: &str, second: &str, inset: bool) -> io::Result<()> {
        if !self.is_table() {
            return Ok(());
        }
        let (before, between) = if inset { (" ", " ") } else { ("", "  ") };
        let Some(width) = self.current else { return writeln!(self.out, "{before}{first}{between}{second}") };
        let left = width / 4;
        let (left_parts, right_parts) = (cut(first, left), cut(second, width - left - 2));
        for index in 0..left_parts.len().max(right_parts.len()) {
            let part = left_parts.get(index).map_or("", String::as_str);
            let rest = right_parts.get(index).map_or("", String::as_str);
            let line = format!("{before}{part:left$}{between}{rest}");
            writeln!(self.out, "{}", line.trim_end_matches(' '))?;
        }
        Ok(())
    }

    /// How many rows there were.
    pub fn footer(&mut self, rows: u64) -> io::Result<()> {
        self.line(format!("{rows} row(s)"))
    }

    /// One result for programs that is all of a command's results.
    pub fn one(&mut self, json: impl FnOnce() -> Json) -> io::Result<()> {
        if self.is_table() {
            return Ok(());
        }
        self.written = true;
        writeln!(self.out, "{}", json())
    }

    /// The end of a command: programs get one document of each, `null` if it had no result; an open one is closed.
    pub fn end_command(&mut self) -> io::Result<()> {
        if self.items > 0 {
            self.end_items()?;
        }
        if self.format == Format::Json && !self.written {
            writeln!(self.out, "null")?;
        }
        self.written = false;
        Ok(())
    }

    /// One of several results for programs.
    pub fn item(&mut self, json: impl FnOnce() -> Json) -> io::Result<()> {
        match self.format {
            Format::Table => return Ok(()),
            Format::Jsonl => writeln!(self.out, "{}", json())?,
            Format::Json => write!(self.out, "{}{}", if self.items == 0 { "[" } else { ",\n " }, json())?,
        }
        self.items += 1;
        Ok(())
    }

    /// The end of several results.
    pub fn end_items(&mut self) -> io::Result<()> {
        self.written = true;
        if self.format == Format::Json {
            writeln!(self.out, "{}", if self.items == 0 { "[]" } else { "]" })?;
        }
        self.items = 0;
        Ok(())
    }

    /// Hands everything to the reader.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Cuts text into pieces of at most `width` characters.
fn cut(text: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(width.max(1)).map(|part| part.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(
        format: Format,
        width: fn() -> Option<usize>,
        print: impl FnOnce(&mut Printer<'_>) -> io::Result<()>,
    ) -> String {
        let mut out = Vec::new();
        print(&mut Printer::new(&mut out, format, width)).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    fn two_rows(printer: &mut Printer<'_>) -> io::Result<()> {
        printer.header("ROW", "COLUMN+CELL")?;
        for row in ["r1", "a-row-that-is-long"] {
            printer.row(row, "column=f:q, timestamp=1970-01-01T00:00, value=v")?;
            printer.item(|| json!({"row": row}))?;
        }
        printer.footer(2)?;
        printer.end_items()
    }

    #[test]
    fn columns_are_hbases_without_a_terminal() {
        let expected = "ROW  COLUMN+CELL\n \
            r1 column=f:q, timestamp=1970-01-01T00:00, value=v\n \
            a-row-that-is-long column=f:q, timestamp=1970-01-01T00:00, value=v\n2 row(s)\n";
        assert_eq!(printed(Format::Table, || None, two_rows), expected);
    }

    #[test]
    fn columns_fill_a_terminal() {
        let expected = "\
ROW          COLUMN+CELL
 r1          column=f:q, timestamp=1970-01-01
             T00:00, value=v
 a-row-that- column=f:q, timestamp=1970-01-01
 is-long     T00:00, value=v
2 row(s)
";
        assert_eq!(printed(Format::Table, || Some(45), two_rows), expected);
    }

    #[test]
    fn programs_get_json_only() {
        assert_eq!(
            printed(Format::Json, || None, two_rows),
            "[{\"row\":\"r1\"},\n {\"row\":\"a-row-that-is-long\"}]\n"
        );
        assert_eq!(printed(Format::Jsonl, || None, two_rows), "{\"row\":\"r1\"}\n{\"row\":\"a-row-that-is-long\"}\n");
        assert_eq!(printed(Format::Json, || None, |printer| printer.end_items()), "[]\n");
        assert_eq!(printed(Format::Jsonl, || None, |printer| printer.end_items()), "");
        assert_eq!(printed(Format::Json, || None, |printer| printer.one(|| json!(5))), "5\n");
        let broken_off = |printer: &mut Printer<'_>| {
            printer.item(|| json!(1))?;
            printer.end_command()?;
            printer.end_command()
        };
        assert_eq!(printed(Format::Json, || None, broken_off), "[1]\nnull\n");
        assert_eq!(printed(Format::Jsonl, || None, broken_off), "1\n");
    }
}
