//! Comparators at work.
//!
//! Always true: a comparison never allocates by a number found in the data; what HBase answers with an exception is a [`FilterError`].

use std::borrow::Cow;
use std::cmp::Ordering;

use fancy_regex::{Regex, RegexBuilder};
use num_bigint::{BigInt, Sign};

use super::data::{BitwiseOp, Comparator, CompareOp};
use super::node::FilterError;

const UNIX_LINES: i32 = 1;
const CASE_INSENSITIVE: i32 = 2;
const COMMENTS: i32 = 4;
const MULTILINE: i32 = 8;
const LITERAL: i32 = 16;
const DOTALL: i32 = 32;
const CANONICAL: i32 = 128;
const ALL_FLAGS: i32 = 511;

/// Before a line terminator that ends the text, or at its end: Java's `$` and `\Z`.
const END_OF_TEXT: &str = r"(?=(?:\r\n|[\n\r\u{85}\u{2028}\u{2029}])?\z)";
/// The same where a line ends with a line feed alone.
const END_OF_UNIX_TEXT: &str = r"(?=\n?\z)";

/// A comparator ready to compare.
#[derive(Debug)]
pub struct Compare {
    comparator: Comparator,
    regex: Option<Regex>,
    number: Option<Decimal>,
}

impl CompareOp {
    /// Whether `stored OP expected` holds, given how `expected` compares with `stored`; `NoOp` never does.
    pub fn keeps(self, expected_to_stored: Ordering) -> bool {
        match self {
            CompareOp::Less => expected_to_stored.is_gt(),
            CompareOp::LessOrEqual => expected_to_stored.is_ge(),
            CompareOp::Equal => expected_to_stored.is_eq(),
            CompareOp::NotEqual => expected_to_stored.is_ne(),
            CompareOp::GreaterOrEqual => expected_to_stored.is_le(),
            CompareOp::Greater => expected_to_stored.is_lt(),
            CompareOp::NoOp => false,
        }
    }
}

impl Comparator {
    /// The bytes it was made from, as HBase holds them; all that a [`Condition`](crate::mutation::Condition) uses.
    pub fn value(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(match self {
            Comparator::Binary(value) | Comparator::BinaryPrefix(value) => value,
            Comparator::BigDecimal(value) => return shortest_decimal(value),
            Comparator::Long(value) => first_long(value),
            Comparator::BinaryComponent { value, .. } => value,
            Comparator::Bit { bits, .. } => bits,
            Comparator::Null => &[],
            Comparator::Regex { pattern, .. } => pattern.as_bytes(),
            Comparator::Substring(text) => return Cow::Owned(text.to_lowercase().into_bytes()),
        })
    }
}

impl Compare {
    /// Prepares a comparator.
    pub fn new(comparator: &Comparator) -> Result<Compare, FilterError> {
        let (mut regex, mut number) = (None, None);
        match comparator {
            Comparator::Regex { pattern, flags, charset, engine } => {
                if !is_known(charset) {
                    return Err(FilterError::Regex(format!("charset not supported. charset=`{charset}`")));
                }
                regex = Some(compile(pattern, flags_of(*flags, engine.as_deref())?)?);
            }
            Comparator::BigDecimal(value) => number = Some(Decimal::parse(value)?),
            Comparator::Long(value) => drop(long(first_long(value))?),
            _ => {}
        }
        Ok(Compare { comparator: comparator.clone(), regex, number })
    }

    /// How the comparator stands to a stored value; for those without an order `Equal` means "matches".
    pub fn compare(&self, stored: &[u8]) -> Result<Ordering, FilterError> {
        let matches = |yes: bool| if yes { Ordering::Equal } else { Ordering::Greater };
        Ok(match &self.comparator {
            Comparator::Binary(value) => value[..].cmp(stored),
            Comparator::BinaryPrefix(value) => value[..].cmp(&stored[..stored.len().min(value.len())]),
            Comparator::BinaryComponent { value, offset } => {
                let stored = stored.get(*offset as usize..).unwrap_or_default();
                value[..].cmp(&stored[..stored.len().min(value.len())])
            }
            Comparator::Long(value) => long(first_long(value))?.cmp(&long(stored)?),
            Comparator::BigDecimal(_) => match &self.number {
                Some(number) => number.compare(&Decimal::parse(stored)?),
                None => Ordering::Greater,
            },
            Comparator::Bit { bits, op } => matches(
                bits.len() == stored.len()
                    && bits.iter().zip(stored).any(|(a, b)| match op {
                        BitwiseOp::And => a & b != 0,
                        BitwiseOp::Or => a | b != 0,
                        BitwiseOp::Xor => a ^ b != 0,
                    }),
            ),
            Comparator::Null => Ordering::Greater,
            Comparator::Regex { charset, .. } => {
                let text = decode(stored, charset);
                let found = self
                    .regex
                    .as_ref()
                    .map(|regex| regex.is_match(&text))
                    .transpose()
                    .map_err(|error| FilterError::Regex(error.to_string()))?;
                matches(found == Some(true))
            }
            Comparator::Substring(text) => {
                matches(String::from_utf8_lossy(stored).to_lowercase().contains(&text.to_lowercase()))
            }
        })
    }
}

/// What is compared with may be longer than a long, what is stored may not.
fn first_long(bytes: &[u8]) -> &[u8] {
    bytes.get(..8).unwrap_or(bytes)
}

/// A decimal's bytes as HBase writes them again: the scale, and no more bytes of the number than it needs.
fn shortest_decimal(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some((scale, number)) = bytes.split_at_checked(4) else { return Cow::Borrowed(bytes) };
    let says_nothing = |pair: &[u8]| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xff, 0x80));
    let spare = number.windows(2).take_while(|pair| says_nothing(pair)).count();
    if spare == 0 { Cow::Borrowed(bytes) } else { Cow::Owned([scale, &number[spare..]].concat()) }
}

fn long(bytes: &[u8]) -> Result<i64, FilterError> {
    bytes.try_into().map(i64::from_be_bytes).map_err(|_| FilterError::NotALong(bytes.len()))
}

/// The flags that count. HBase's engine JONI reads Java's syntax too, but knows three flags alone. Its search looks at whatever bytes lie around
/// the value, so that its answers depend on where a cell is stored; that is not followed: both engines find in the value.
fn flags_of(flags: i32, engine: Option<&str>) -> Result<i32, FilterError> {
    match engine.unwrap_or("JAVA") {
        "JAVA" if flags & !ALL_FLAGS != 0 => Err(FilterError::Regex(format!("unknown flags. flags=`{flags:#x}`"))),
        "JAVA" if flags & CANONICAL != 0 => {
            Err(FilterError::Regex("canonical equivalence is not supported".to_owned()))
        }
        "JAVA" => Ok(flags),
        "JONI" => Ok(flags & (CASE_INSENSITIVE | MULTILINE | DOTALL)),
        other => Err(FilterError::Regex(format!("unknown engine. engine=`{other}`"))),
    }
}

fn is_known(charset: &str) -> bool {
    let name = charset.to_ascii_uppercase();
    matches!(name.as_str(), "" | "UTF-8" | "UTF8" | "ISO-8859-1" | "ISO8859_1" | "LATIN1" | "US-ASCII" | "ASCII")
        || is_utf16(&name)
}

fn is_utf16(name: &str) -> bool {
    matches!(name, "UTF-16" | "UTF-16BE" | "UTF-16LE")
}

fn decode(bytes: &[u8], charset: &str) -> String {
    match charset.to_ascii_uppercase().as_str() {
        "ISO-8859-1" | "ISO8859_1" | "LATIN1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        "US-ASCII" | "ASCII" => {
            bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' }).collect()
        }
        name if is_utf16(name) => {
            // Without a mark of its byte order, UTF-16 is big-endian.
            let (bytes, little) = match (name, bytes) {
                ("UTF-16", [0xfe, 0xff, rest @ ..]) => (rest, false),
                ("UTF-16", [0xff, 0xfe, rest @ ..]) => (rest, true),
                _ => (bytes, name == "UTF-16LE"),
            };
            let (pairs, rest) = bytes.as_chunks::<2>();
            let unit = |pair: &[u8; 2]| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
            let mut text = String::from_utf16_lossy(&pairs.iter().map(unit).collect::<Vec<_>>());
            text.extend((!rest.is_empty()).then_some('\u{fffd}'));
            text
        }
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Whether a group like `(?s)` or `(?i-s:` says inside the pattern what `.` is.
fn says_what_a_dot_is(pattern: &str) -> bool {
    pattern.split("(?").skip(1).any(|group| {
        let end = group.find(|letter: char| !letter.is_ascii_alphabetic() && letter != '-').unwrap_or(group.len());
        group[end..].starts_with([')', ':']) && group[..end].contains(['s', 'd'])
    })
}

/// Compiles Java's syntax: its classes are ASCII, `$` also stands before a last line terminator, and `.` stops at each of those.
fn compile(pattern: &str, flags: i32) -> Result<Regex, FilterError> {
    let mut text = String::from("(?");
    text.extend(
        [(CASE_INSENSITIVE, 'i'), (COMMENTS, 'x'), (MULTILINE, 'm'), (DOTALL, 's')]
            .iter()
            .filter(|(bit, _)| flags & bit != 0)
            .map(|(_, flag)| *flag),
    );
    text.push(')');
    if text == "(?)" {
        text.clear();
    }
    if flags & LITERAL != 0 {
        text.push_str(&fancy_regex::escape(pattern));
    } else {
        translate(pattern, flags, &mut text);
    }
    RegexBuilder::new(&text).build().map_err(|error| FilterError::Regex(error.to_string()))
}

fn translate(pattern: &str, flags: i32, out: &mut String) {
    let end = if flags & UNIX_LINES != 0 { END_OF_UNIX_TEXT } else { END_OF_TEXT };
    let narrow_dot = flags & (DOTALL | UNIX_LINES) == 0 && !says_what_a_dot_is(pattern);
    let mut rest = pattern.chars();
    let mut in_class = 0_usize;
    while let Some(found) = rest.next() {
        match found {
            '\\' => match rest.next() {
                Some('d') => out.push_str(if in_class > 0 { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if in_class > 0 { "A-Za-z0-9_" } else { "[A-Za-z0-9_]" }),
                Some('s') => out.push_str(if in_class > 0 { " \\t\\n\\x0B\\f\\r" } else { "[ \\t\\n\\x0B\\f\\r]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^A-Za-z0-9_]"),
                Some('S') => out.push_str("[^ \\t\\n\\x0B\\f\\r]"),
                Some('Z') => out.push_str(end),
                Some('Q') => {
                    let tail = rest.as_str();
                    let (quoted, after) = tail.split_once("\\E").unwrap_or((tail, ""));
                    out.push_str(&fancy_regex::escape(quoted));
                    rest = after.chars();
                }
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '$' if in_class == 0 && flags & MULTILINE == 0 => out.push_str(end),
            '.' if in_class == 0 && narrow_dot => out.push_str(r"[^\n\r\u{85}\u{2028}\u{2029}]"),
            '[' => {
                in_class += 1;
                out.push('[');
            }
            ']' => {
                in_class = in_class.saturating_sub(1);
                out.push(']');
            }
            other => out.push(other),
        }
    }
}

/// `unscaled × 10^-scale`.
#[derive(Debug)]
struct Decimal {
    unscaled: BigInt,
    scale: i64,
}

impl Decimal {
    fn parse(bytes: &[u8]) -> Result<Decimal, FilterError> {
        match bytes.split_first_chunk::<4>() {
            Some((scale, unscaled)) if !unscaled.is_empty() => Ok(Decimal {
                unscaled: BigInt::from_signed_bytes_be(unscaled),
                scale: i64::from(i32::from_be_bytes(*scale)),
            }),
            _ => Err(FilterError::NotADecimal(bytes.len())),
        }
    }

    /// Decimal digits in front of the point; decides alone unless equal, so that no power of ten larger than the numbers is made.
    fn magnitude(&self) -> i64 {
        self.unscaled.magnitude().to_string().len() as i64 - self.scale
    }

    fn compare(&self, other: &Decimal) -> Ordering {
        let signs = self.unscaled.sign().cmp(&other.unscaled.sign());
        if signs.is_ne() || self.unscaled.sign() == Sign::NoSign {
            return signs;
        }
        let magnitudes = self.magnitude().cmp(&other.magnitude());
        if magnitudes.is_ne() {
            return if self.unscaled.sign() == Sign::Minus { magnitudes.reverse() } else { magnitudes };
        }
        // Equal magnitudes: the scales differ by no more than the numbers' digits.
        let raise =
            |number: &Decimal, by: i64| &number.unscaled * BigInt::from(10).pow(u32::try_from(by.max(0)).unwrap_or(0));
        raise(self, other.scale - self.scale).cmp(&raise(other, self.scale - other.scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn decimal(scale: i32, unscaled: i64) -> Bytes {
        let mut bytes = scale.to_be_bytes().to_vec();
        bytes.extend(BigInt::from(unscaled).to_signed_bytes_be());
        bytes.into()
    }

    fn compare(comparator: Comparator, stored: &[u8]) -> Ordering {
        Compare::new(&comparator).unwrap().compare(stored).unwrap()
    }

    #[test]
    fn decimals_compare_by_value() {
        assert_eq!(compare(Comparator::BigDecimal(decimal(1, 15)), &decimal(2, 150)), Ordering::Equal);
        assert_eq!(compare(Comparator::BigDecimal(decimal(i32::MIN, 1)), &decimal(i32::MAX, 1)), Ordering::Greater);
        assert_eq!(compare(Comparator::BigDecimal(decimal(1, -15)), &decimal(2, -149)), Ordering::Less);
        assert!(Compare::new(&Comparator::BigDecimal(Bytes::from_static(b"1234"))).is_err());
    }

    #[test]
    fn engines_flags_and_charsets_are_known_or_refused() {
        let regex = |pattern: &str, flags, charset: &str, engine: Option<&str>| Comparator::Regex {
            pattern: pattern.to_owned(),
            flags,
            charset: charset.to_owned(),
            engine: engine.map(str::to_owned),
        };
        // LITERAL is not one of JONI's flags.
        assert_eq!(compare(regex("^A.c", 16 | 2, "UTF-8", Some("JONI")), b"abc"), Ordering::Equal);
        assert_ne!(compare(regex("^A.c", 16 | 2, "UTF-8", Some("JAVA")), b"abc"), Ordering::Equal);
        assert_eq!(compare(regex("^ab$", 0, "UTF-16", None), b"\xff\xfea\0b\0"), Ordering::Equal);
        assert_eq!(compare(regex("^a.$", 0, "utf-16be", None), b"\0a\0"), Ordering::Equal);
        assert_eq!(compare(regex("^\u{e9}$", 0, "ISO-8859-1", None), b"\xe9"), Ordering::Equal);
        for refused in [
            regex("a", 0, "KOI8-R", None),
            regex("a", 0, "", Some("RE2")),
            regex("a", 128, "", None),
            regex("a", 512, "", None),
        ] {
            assert!(Compare::new(&refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn longs_have_eight_bytes() {
        let long = |bytes: &'static [u8]| Comparator::Long(Bytes::from_static(bytes));
        assert_eq!(compare(long(b"\0\0\0\0\0\0\0\x05more"), &[0, 0, 0, 0, 0, 0, 0, 5]), Ordering::Equal);
        assert_eq!(compare(long(&[255; 8]), &[0; 8]), Ordering::Less);
        assert!(Compare::new(&long(b"1234567")).is_err());
        assert!(Compare::new(&long(&[0; 8])).unwrap().compare(&[0; 9]).is_err());
    }

    #[test]
    fn a_condition_takes_the_bytes_that_hbase_holds() {
        assert_eq!(*Comparator::Substring("VaLue".to_owned()).value(), *b"value");
        assert_eq!(*Comparator::Long(Bytes::from_static(b"12345678more")).value(), *b"12345678");
        for (number, shortest) in [
            (&b"\0\0\0\x02\0\0\0\x05"[..], &b"\0\0\0\x02\x05"[..]),
            (b"\0\0\0\0\0\xff", b"\0\0\0\0\0\xff"),
            (b"\0\0\0\0\xff\xff\x80", b"\0\0\0\0\x80"),
            (b"\0\0\0\0\xff\x7f", b"\0\0\0\0\xff\x7f"),
            (b"\0\0\0\0\0\0", b"\0\0\0\0\0"),
            (b"\0\0\0", b"\0\0\0"),
        ] {
            assert_eq!(*Comparator::BigDecimal(Bytes::from_static(number)).value(), *shortest, "{number:?}");
        }
    }

    #[test]
    fn regular_expressions_follow_java() {
        let regex = |pattern: &str, flags| Comparator::Regex {
            pattern: pattern.to_owned(),
            flags,
            charset: "UTF-8".to_owned(),
            engine: None,
        };
        assert_eq!(compare(regex("\\d$", 32), b"a1\n"), Ordering::Equal);
        assert_ne!(compare(regex("^\\w+$", 32), "é".as_bytes()), Ordering::Equal);
        assert_eq!(compare(regex("A.C", 16 | 2), b"xa.cx"), Ordering::Equal);
        assert_eq!(compare(regex("[^\\d\\s]", 0), b"1 x"), Ordering::Equal);
        assert_eq!(compare(regex("\\Qa.b\\E+", 0), b"a.bb"), Ordering::Equal);
        assert_ne!(compare(regex("a.b", 0), b"a\rb"), Ordering::Equal);
        assert_eq!(compare(regex("a.b|a[.]b", 1), b"a\rb"), Ordering::Equal);
        assert_eq!(compare(regex("(?i-s:A).b", 32), b"a\nb"), Ordering::Equal);
        assert_eq!(compare(regex("(?s)a.b", 0), b"a\nb"), Ordering::Equal);
        assert_ne!(compare(regex("a$", 1), b"a\r"), Ordering::Equal);
    }
}
