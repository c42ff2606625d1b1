//! The values that the shell's language knows.
//!
//! Always true
//! - Text is bytes: `"\xff"` is one byte, as JRuby hands it to HBase.
//! - A hash keeps the order in which it was written; a key written twice keeps its last value.

use std::fmt::Write;

use bytes::Bytes;
use model::schema::TableName;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `nil`.
    Nil,
    /// `true`, `false`.
    Bool(bool),
    /// `5`.
    Int(i64),
    /// `0.8`.
    Float(f64),
    /// `'t1'`, `"\x00"`, or a constant such as `NAME`, which is its own name.
    Text(Bytes),
    /// `['f1', 'f2']`.
    Array(Vec<Value>),
    /// `{NAME => 'f1'}`.
    Hash(Vec<(Value, Value)>),
    /// What `create` and `get_table` give.
    Table(TableName),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Bytes>) -> Value {
        Value::Text(text.into())
    }

    /// What kind of value this is, in Ruby's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "NilClass",
            Value::Bool(true) => "TrueClass",
            Value::Bool(false) => "FalseClass",
            Value::Int(_) => "Integer",
            Value::Float(_) => "Float",
            Value::Text(_) => "String",
            Value::Array(_) => "Array",
            Value::Hash(_) => "Hash",
            Value::Table(_) => "Hbase::Table",
        }
    }

    /// The bytes that HBase's shell would send for this value where text is wanted; `None` for arrays and hashes.
    pub fn to_bytes(&self) -> Option<Bytes> {
        match self {
            Value::Nil => Some(Bytes::new()),
            Value::Bool(flag) => Some(flag.to_string().into()),
            Value::Int(number) => Some(number.to_string().into()),
            Value::Float(number) => Some(float_text(*number).into()),
            Value::Text(bytes) => Some(bytes.clone()),
            Value::Table(name) => Some(name.to_string().into()),
            Value::Array(_) | Value::Hash(_) => None,
        }
    }

    /// Like [`Value::to_bytes`], as text; bytes that are no UTF-8 are replaced.
    pub fn to_text(&self) -> Option<String> {
        self.to_bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value as one would write it.
    pub fn inspect(&self) -> String {
        let mut out = String::new();
        self.inspect_into(&mut out);
        out
    }

    fn inspect_into(&self, out: &mut String) {
        match self {
            Value::Nil => out.push_str("nil"),
            Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Value::Int(number) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "{number}");
            }
            Value::Float(number) => out.push_str(&float_text(*number)),
            Value::Text(bytes) => inspect_text(bytes, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    item.inspect_into(out);
                }
                out.push(']');
            }
            Value::Hash(pairs) => {
                out.push('{');
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    key.inspect_into(out);
                    out.push_str("=>");
                    value.inspect_into(out);
                }
                out.push('}');
            }
            Value::Table(name) => {
                let _ = write!(out, "Hbase::Table - {name}");
            }
        }
    }
}

fn float_text(number: f64) -> String {
    if number.is_finite() && number == number.trunc() && number.abs() < 1e16 {
        format!("{number:.1}")
    } else {
        number.to_string()
    }
}

fn inspect_text(bytes: &[u8], out: &mut String) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\u{1b}' => out.push_str("\\e"),
                control if control.is_ascii_control() => {
                    let _ = write!(out, "\\x{:02X}", u32::from(control));
                }
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspect_is_what_one_would_write() {
        let hash = Value::Hash(vec![
            (Value::text("a\"\n\x00é"), Value::Int(-3)),
            (Value::Text(Bytes::from_static(b"\xff")), Value::Array(vec![Value::Nil, Value::Float(1.0)])),
        ]);
        assert_eq!(hash.inspect(), r#"{"a\"\n\x00é"=>-3, "\xFF"=>[nil, 1.0]}"#);
    }
}
