//! Arguments of a command, taken one after the other, and the options of a hash.
//!
//! Always true: what a command did not take is an error that names it.

use std::collections::VecDeque;

use bytes::Bytes;
use model::schema::TableName;

use super::error::{Failure, Result};
use super::value::Value;
use super::words;

/// The arguments of one command.
pub struct Arguments {
    command: &'static str,
    items: VecDeque<Value>,
}

impl Arguments {
    /// The arguments of `command`.
    pub fn new(command: &'static str, items: Vec<Value>) -> Arguments {
        Arguments { command, items: items.into() }
    }

    /// The next argument, if there is one.
    pub fn next(&mut self) -> Option<Value> {
        self.items.pop_front()
    }

    /// The next argument without taking it.
    pub fn peek(&self) -> Option<&Value> {
        self.items.front()
    }

    /// The next argument, which must be there.
    pub fn need(&mut self, what: &str) -> Result<Value> {
        let command = self.command;
        self.next().ok_or_else(|| Failure::says(format!("`{command}` needs {what}; see help '{command}'")))
    }

    /// Text or a number, as bytes.
    pub fn bytes(&mut self, what: &str) -> Result<Bytes> {
        let value = self.need(what)?;
        value
            .to_bytes()
            .ok_or_else(|| Failure::says(format!("{what} must be text, not {} of {}", value.kind(), value.inspect())))
    }

    /// Text.
    pub fn text(&mut self, what: &str) -> Result<String> {
        let bytes = self.bytes(what)?;
        String::from_utf8(bytes.into()).map_err(|_| Failure::says(format!("{what} must be UTF-8")))
    }

    /// A table's name.
    pub fn table(&mut self) -> Result<TableName> {
        match self.need("a table's name")? {
            Value::Table(name) => Ok(name),
            Value::Text(text) => table_name(&text),
            other => {
                Err(Failure::says(format!("a table's name must be text, not {} of {}", other.kind(), other.inspect())))
            }
        }
    }

    /// The next argument if it is a hash.
    pub fn hash(&mut self) -> Result<Option<Options>> {
        match self.peek() {
            Some(Value::Hash(_)) => match self.next() {
                Some(Value::Hash(pairs)) => Options::new(self.command, pairs).map(Some),
                _ => Ok(None),
            },
            Some(Value::Nil) => {
                self.next();
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// A hash that may be left out.
    pub fn options(&mut self) -> Result<Options> {
        Ok(self.hash()?.unwrap_or_else(|| Options::empty(self.command)))
    }

    /// A whole number that may be left out.
    pub fn optional_int(&mut self, what: &str) -> Result<Option<i64>> {
        match self.peek() {
            Some(Value::Hash(_)) | None => Ok(None),
            Some(_) => match self.next() {
                Some(Value::Nil) | None => Ok(None),
                Some(value) => int(what, &value).map(Some),
            },
        }
    }

    /// Nothing may be left.
    pub fn done(mut self) -> Result<()> {
        match self.next() {
            None => Ok(()),
            Some(value) => {
                let command = self.command;
                Err(Failure::says(format!("`{command}` does not take {}; see help '{command}'", value.inspect())))
            }
        }
    }
}

/// A table's name from text.
pub fn table_name(text: &[u8]) -> Result<TableName> {
    let text = std::str::from_utf8(text).map_err(|_| Failure::says("a table's name must be UTF-8"))?;
    text.parse().map_err(|error: model::schema::SchemaError| Failure::says(error.to_string()))
}

/// A whole number, also one written as text.
pub fn int(what: &str, value: &Value) -> Result<i64> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Text(text) => std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()),
        _ => None,
    };
    number.ok_or_else(|| Failure::says(format!("{what} must be a whole number, not {}", value.inspect())))
}

/// A hash, whose pairs are taken one by one.
pub struct Options {
    command: &'static str,
    pairs: Vec<(String, Value)>,
}

impl Options {
    /// The pairs of a hash; keys must be text. Pairs whose value is `nil` are as if left out.
    pub fn new(command: &'static str, pairs: Vec<(Value, Value)>) -> Result<Options> {
        let mut named: Vec<(String, Value)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let Some(key) = key.to_text().filter(|_| matches!(key, Value::Text(_))) else {
                return Err(Failure::says(format!("a hash's key must be text, not {}", key.inspect())));
            };
            named.retain(|(known, _)| *known != key);
            if value != Value::Nil {
                named.push((key, value));
            }
        }
        Ok(Options { command, pairs: named })
    }

    /// No pairs.
    pub fn empty(command: &'static str) -> Options {
        Options { command, pairs: Vec::new() }
    }

    /// The keys that are left.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().map(|(key, _)| key.as_str())
    }

    /// Whether the option is there.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| key == name)
    }

    /// Takes an option.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        Some(self.pairs.remove(at).1)
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.pairs)
    }

    /// Takes a whole number.
    pub fn int(&mut self, name: &str) -> Result<Option<i64>> {
        self.take(name).map(|value| int(name, &value)).transpose()
    }

    /// Takes a whole number of at least 1; 0 and less are as if left out, as in HBase.
    pub fn positive(&mut self, name: &str) -> Result<Option<u32>> {
        let number = self.int(name)?.filter(|number| *number > 0);
        number
            .map(|number| u32::try_from(number).map_err(|_| Failure::says(format!("{name} is too large: {number}"))))
            .transpose()
    }

    /// Takes `true` or `false`.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.take(name)
            .map(|value| match value.to_text().as_deref() {
                Some("true") => Ok(true),
                Some("false") => Ok(false),
                _ => Err(Failure::says(format!("{name} must be true or false, not {}", value.inspect()))),
            })
            .transpose()
    }

    /// Takes text, as bytes.
    pub fn bytes(&mut self, name: &str) -> Result<Option<Bytes>> {
        self.take(name)
            .map(|value| {
                value.to_bytes().ok_or_else(|| Failure::says(format!("{name} must be text, not {}", value.inspect())))
            })
            .transpose()
    }

    /// Takes text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.bytes(name)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Takes a hash of texts.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<(String, Bytes)>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Hash(pairs) = value else {
            return Err(Failure::says(format!("{name} must be a Hash type, not {}", value.inspect())));
        };
        let texts = Options::new(self.command, pairs)?.pairs.into_iter().map(|(key, value)| match value.to_bytes() {
            Some(bytes) => Ok((key, bytes)),
            None => Err(Failure::says(format!("{name}: the value of {key} must be text, not {}", value.inspect()))),
        });
        texts.collect::<Result<Vec<_>>>().map(Some)
    }

    /// Nothing may be left. `known` are the names to suggest.
    pub fn done(self, known: &[&str]) -> Result<()> {
        let Some((key, _)) = self.pairs.first() else { return Ok(()) };
        let hint = match words::nearest(key, known.iter().copied()) {
            Some(near) => format!("; did you mean {near}?"),
            None => String::new(),
        };
        Err(Failure::says(format!("`{}` has no option {key}{hint}", self.command)))
    }
}
