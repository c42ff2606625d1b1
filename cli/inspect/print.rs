//! How findings are printed: lines for people, one document, or one object a line.

use std::io::{BufWriter, Stdout, Write};

use serde_json::{Map, Value, json};

use crate::arguments::Format;
use crate::failure::Failure;
use crate::shell::binary;

/// Where findings go.
pub struct Printer {
    format: Format,
    out: BufWriter<Stdout>,
    /// What the document consists of: lists by name.
    document: Map<String, Value>,
    /// Whether something found is wrong.
    pub wrong: bool,
}

impl Printer {
    pub fn new(format: Format) -> Printer {
        Printer { format, out: BufWriter::new(std::io::stdout()), document: Map::new(), wrong: false }
    }

    /// One finding of a kind: its line for people, and what it is.
    pub fn item(&mut self, list: &str, text: &str, object: impl FnOnce() -> Value) -> Result<(), Failure> {
        match self.format {
            Format::Table => writeln!(self.out, "{text}")?,
            Format::Jsonl => {
                let mut object = object();
                object["item"] = json!(list);
                writeln!(self.out, "{object}")?;
            }
            Format::Json => {
                let items = self.document.entry(list).or_insert_with(|| json!([]));
                items.as_array_mut().expect("a list").push(object());
            }
        }
        Ok(())
    }

    /// A line for people alone.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        if self.format == Format::Table {
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }

    /// Something wrong: what, and where. The command ends with 1.
    pub fn wrong(&mut self, text: &str) -> Result<(), Failure> {
        self.wrong = true;
        self.item("wrong", &format!("  WRONG: {text}"), || json!({"why": text}))
    }

    /// Ends the output; a failure if something was wrong.
    pub fn end(mut self) -> Result<(), Failure> {
        if self.format == Format::Json {
            let document = Value::Object(std::mem::take(&mut self.document));
            writeln!(self.out, "{document}")?;
        }
        self.out.flush()?;
        if self.wrong { Err(Failure::failed("")) } else { Ok(()) }
    }
}

/// A range of rows, as people write it.
pub fn keys(start: &[u8], end: &[u8]) -> String {
    let end = if end.is_empty() { "end".to_owned() } else { format!("`{}`", binary(end)) };
    let start = if start.is_empty() { "start".to_owned() } else { format!("`{}`", binary(start)) };
    format!("[{start}, {end})")
}

/// A region epoch with its parts.
pub fn epoch(epoch: u64) -> String {
    format!("{epoch:x} (master epoch {}, counter {})", epoch >> 32, epoch & u64::from(u32::MAX))
}
