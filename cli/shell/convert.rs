//! How bytes of rows, columns and values are printed: HBase's `Bytes` methods by name.

use super::error::{Failure, Result};
use super::show::binary;

/// A way to print bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Converter {
    /// `toStringBinary`.
    #[default]
    Binary,
    /// `toString`: UTF-8.
    Text,
    /// `toInt`: 4 bytes.
    Int,
    /// `toLong`: 8 bytes.
    Long,
    /// `toShort`: 2 bytes.
    Short,
    /// `toFloat`: 4 bytes.
    Float,
    /// `toDouble`: 8 bytes.
    Double,
    /// `toBoolean`: 1 byte.
    Boolean,
    /// `toHex`.
    Hex,
}

const NAMES: [(&str, Converter); 9] = [
    ("toStringBinary", Converter::Binary),
    ("toString", Converter::Text),
    ("toInt", Converter::Int),
    ("toLong", Converter::Long),
    ("toShort", Converter::Short),
    ("toFloat", Converter::Float),
    ("toDouble", Converter::Double),
    ("toBoolean", Converter::Boolean),
    ("toHex", Converter::Hex),
];

/// HBase's class whose methods these are.
const CLASS: &str = "org.apache.hadoop.hbase.util.Bytes";

impl Converter {
    /// The converter of that name.
    pub fn named(name: &str) -> Result<Converter> {
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, converter)| *converter);
        found.ok_or_else(|| {
            let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            Failure::says(format!("no formatter `{name}`; {} are known", known.join(", ")))
        })
    }

    /// Checks `FORMATTER_CLASS`.
    pub fn check_class(class: &str) -> Result<()> {
        if class == CLASS || class == "Bytes" {
            return Ok(());
        }
        Err(Failure::says(format!("the class `{class}` is not there; only {CLASS} is")))
    }

    /// The end of `f:q:toInt` or `f:q:c(class).toInt`; `None` if it is none.
    fn suffix(text: &str) -> Option<Result<Converter>> {
        if let Some((class, method)) = text.strip_prefix("c(").and_then(|rest| rest.split_once(").")) {
            return Some(Converter::check_class(class).and_then(|()| Converter::named(method)));
        }
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, converter)| Ok(*converter))
    }

    /// Prints bytes.
    pub fn convert(self, bytes: &[u8]) -> Result<String> {
        fn fixed<const N: usize>(bytes: &[u8], kind: &str) -> Result<[u8; N]> {
            let wrong = || Failure::says(format!("{kind} needs {N} bytes; `{}` has {}", binary(bytes), bytes.len()));
            bytes.try_into().map_err(|_| wrong())
        }
        Ok(match self {
            Converter::Binary => binary(bytes),
            Converter::Text => String::from_utf8_lossy(bytes).into_owned(),
            Converter::Int => i32::from_be_bytes(fixed(bytes, "toInt")?).to_string(),
            Converter::Long => i64::from_be_bytes(fixed(bytes, "toLong")?).to_string(),
            Converter::Short => i16::from_be_bytes(fixed(bytes, "toShort")?).to_string(),
            Converter::Float => f32::from_be_bytes(fixed(bytes, "toFloat")?).to_string(),
            Converter::Double => f64::from_be_bytes(fixed(bytes, "toDouble")?).to_string(),
            Converter::Boolean => (fixed::<1>(bytes, "toBoolean")? != [0]).to_string(),
            Converter::Hex => hex::encode(bytes),
        })
    }
}

/// A column as written: `f`, `f:`, `f:q`.
pub fn column(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b':') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// A family, a qualifier if there is one, and how to print the values.
pub type ReadColumn<'a> = (&'a [u8], Option<&'a [u8]>, Option<Converter>);

/// A column to read: `f:q:toInt` names a converter too. A third part that is no converter belongs to the qualifier.
pub fn read_column(text: &[u8]) -> Result<ReadColumn<'_>> {
    let (family, qualifier) = column(text);
    let Some(qualifier) = qualifier else { return Ok((family, None, None)) };
    // A class name holds no colon, so the last one is the border.
    if let Some(at) = qualifier.iter().rposition(|byte| *byte == b':') {
        let suffix = std::str::from_utf8(&qualifier[at + 1..]).ok().and_then(Converter::suffix);
        if let Some(converter) = suffix {
            return Ok((family, Some(&qualifier[..at]), Some(converter?)));
        }
    }
    Ok((family, Some(qualifier), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_split_as_in_hbase() {
        assert_eq!(column(b"f"), (&b"f"[..], None));
        assert_eq!(column(b"f:"), (&b"f"[..], Some(&b""[..])));
        assert_eq!(column(b"f:q:r"), (&b"f"[..], Some(&b"q:r"[..])));
        let read = |text: &'static str| read_column(text.as_bytes()).expect("column");
        assert_eq!(read("f:q:toInt"), (&b"f"[..], Some(&b"q"[..]), Some(Converter::Int)));
        assert_eq!(
            read("f:q:c(org.apache.hadoop.hbase.util.Bytes).toLong"),
            (&b"f"[..], Some(&b"q"[..]), Some(Converter::Long))
        );
        assert_eq!(read("f:q:rest"), (&b"f"[..], Some(&b"q:rest"[..]), None));
        assert!(read_column(b"f:q:c(My).x").is_err());
    }

    #[test]
    fn numbers_are_big_endian() {
        let table: [(Converter, &[u8], &str); 8] = [
            (Converter::Int, &[0xff, 0xff, 0xff, 0xfe], "-2"),
            (Converter::Long, &[0, 0, 0, 0, 0, 0, 1, 0], "256"),
            (Converter::Short, &[1, 0], "256"),
            (Converter::Double, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], "1.5"),
            (Converter::Boolean, &[0xff], "true"),
            (Converter::Text, "é".as_bytes(), "é"),
            (Converter::Binary, "é".as_bytes(), "\\xC3\\xA9"),
            (Converter::Hex, &[0xab, 1], "ab01"),
        ];
        for (converter, bytes, expected) in table {
            assert_eq!(converter.convert(bytes).expect("converted"), expected);
        }
        assert!(Converter::Int.convert(b"abc").is_err());
    }
}
