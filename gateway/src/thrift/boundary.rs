//! Where a Thrift message ends, found without reading it: so that reading never waits for bytes.
//!
//! The encodings are those of Apache Thrift's "binary" and "compact" protocols. [`Boundary`] goes on where it stopped when more bytes
//! are there, so a message costs one pass however it arrives.

use super::call::Encoding;

/// Deepest nesting of structs and containers.
const DEPTH_MAX: usize = 64;

/// What a message may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of the message.
    pub bytes: usize,
    /// Elements of all its lists, sets and maps together.
    pub elements: u64,
}

/// Why a message is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the message is no Thrift message: {0}")]
    Malformed(&'static str),
    #[error("the message has more than the {0} bytes that are allowed")]
    TooLong(usize),
    #[error("the message has more than the {0} elements that are allowed")]
    TooMany(u64),
    #[error("the message is nested deeper than {DEPTH_MAX}")]
    TooDeep,
}

type Result<T> = std::result::Result<T, Refusal>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fixed(usize),
    Varint,
    Bytes,
    Struct,
    Sequence,
    Map,
}

#[derive(Debug)]
enum Level {
    Struct,
    /// So many values are left; their kinds take turns.
    Values {
        left: u64,
        kinds: [Kind; 2],
        turn: usize,
    },
}

/// A walk through one message.
#[derive(Debug)]
pub(super) struct Boundary {
    encoding: Encoding,
    bounds: Bounds,
    at: usize,
    elements: u64,
    begun: bool,
    levels: Vec<Level>,
}

/// Bytes from a place on; `None` means that they have not come yet.
struct Ahead<'a> {
    data: &'a [u8],
    at: usize,
}

impl Ahead<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn i32(&mut self) -> Option<i32> {
        let bytes = self.data.get(self.at..self.at + 4)?;
        self.at += 4;
        Some(i32::from_be_bytes(bytes.try_into().expect("four bytes")))
    }

    fn varint(&mut self) -> Option<Result<u64>> {
        let mut value = 0;
        for n in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(7 * n).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(Ok(value));
            }
        }
        Some(Err(Refusal::Malformed("a number has more than ten bytes")))
    }
}

/// Takes what has come, or says that more is needed.
macro_rules! come {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return Ok(false),
        }
    };
}

impl Boundary {
    pub fn new(encoding: Encoding, bounds: Bounds) -> Boundary {
        Boundary { encoding, bounds, at: 0, elements: 0, begun: false, levels: Vec::new() }
    }

    /// Most bytes of the message.
    pub fn bytes_max(&self) -> usize {
        self.bounds.bytes
    }

    /// The message's length, if `data`, which begins with it, holds it whole. `data` only grows from call to call.
    pub fn find(&mut self, data: &[u8]) -> Result<Option<usize>> {
        loop {
            if self.at > self.bounds.bytes {
                return Err(Refusal::TooLong(self.bounds.bytes));
            }
            if self.begun && self.levels.is_empty() {
                return Ok((self.at <= data.len()).then_some(self.at));
            }
            if self.at > data.len() || !self.step(data)? {
                return match data.len() > self.bounds.bytes {
                    true => Err(Refusal::TooLong(self.bounds.bytes)),
                    false => Ok(None),
                };
            }
        }
    }

    /// One step, if the bytes for it are there.
    fn step(&mut self, data: &[u8]) -> Result<bool> {
        let mut ahead = Ahead { data, at: self.at };
        if !self.begun {
            return self.begin(&mut ahead);
        }
        match self.levels.last_mut() {
            None => Ok(true),
            Some(Level::Struct) => self.field(&mut ahead),
            Some(Level::Values { left: 0, .. }) => {
                self.levels.pop();
                Ok(true)
            }
            Some(Level::Values { left, kinds, turn }) => {
                let kind = kinds[*turn];
                *turn ^= 1;
                *left -= 1;
                let depth = self.levels.len();
                let done = self.value(kind, &mut ahead);
                if matches!(done, Ok(false))
                    && let Some(Level::Values { left, turn, .. }) = self.levels.get_mut(depth - 1)
                {
                    *left += 1;
                    *turn ^= 1;
                }
                done
            }
        }
    }

    fn begin(&mut self, ahead: &mut Ahead<'_>) -> Result<bool> {
        match self.encoding {
            Encoding::Binary { .. } => {
                let first = come!(ahead.i32());
                let name = if first < 0 { come!(ahead.i32()) } else { first };
                let name = usize::try_from(name).map_err(|_| Refusal::Malformed("its name has a negative length"))?;
                // Old messages have the kind behind the name; then comes the sequence number.
                self.at = ahead.at + name.min(self.bounds.bytes) + if first < 0 { 4 } else { 5 };
            }
            Encoding::Compact => {
                come!(ahead.byte());
                come!(ahead.byte());
                come!(ahead.varint())?;
                let name = come!(ahead.varint())?;
                self.at = ahead.at + usize::try_from(name).unwrap_or(usize::MAX).min(self.bounds.bytes);
            }
        }
        self.begun = true;
        self.levels.push(Level::Struct);
        Ok(true)
    }

    fn field(&mut self, ahead: &mut Ahead<'_>) -> Result<bool> {
        let head = come!(ahead.byte());
        let kind = match self.encoding {
            _ if head == 0 => {
                self.at = ahead.at;
                self.levels.pop();
                return Ok(true);
            }
            Encoding::Binary { .. } => {
                come!(ahead.byte());
                come!(ahead.byte());
                binary_kind(head)?
            }
            Encoding::Compact => {
                if head >> 4 == 0 {
                    come!(ahead.varint())?;
                }
                match head & 0x0f {
                    1 | 2 => Kind::Fixed(0),
                    kind => compact_kind(kind)?,
                }
            }
        };
        self.value(kind, ahead)
    }

    /// Passes a value, or enters it.
    fn value(&mut self, kind: Kind, ahead: &mut Ahead<'_>) -> Result<bool> {
        match kind {
            Kind::Fixed(len) => self.at = ahead.at + len,
            Kind::Varint => {
                come!(ahead.varint())?;
                self.at = ahead.at;
            }
            Kind::Bytes => {
                let len = match self.encoding {
                    Encoding::Binary { .. } => u64::try_from(come!(ahead.i32()))
                        .map_err(|_| Refusal::Malformed("a string has a negative length"))?,
                    Encoding::Compact => come!(ahead.varint())?,
                };
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                if len > self.bounds.bytes {
                    return Err(Refusal::TooLong(self.bounds.bytes));
                }
                self.at = ahead.at + len;
            }
            Kind::Struct => {
                self.at = ahead.at;
                self.enter(Level::Struct)?;
            }
            Kind::Sequence => {
                let (kind, count) = match self.encoding {
                    Encoding::Binary { .. } => (binary_kind(come!(ahead.byte()))?, count(come!(ahead.i32()))?),
                    Encoding::Compact => {
                        let head = come!(ahead.byte());
                        let count = match head >> 4 {
                            15 => come!(ahead.varint())?,
                            few => u64::from(few),
                        };
                        (compact_kind(head & 0x0f)?, count)
                    }
                };
                self.at = ahead.at;
                self.enter_values(count, 1, [kind; 2])?;
            }
            Kind::Map => {
                let (kinds, count) = match self.encoding {
                    Encoding::Binary { .. } => {
                        let (key, value) = (come!(ahead.byte()), come!(ahead.byte()));
                        let count = count(come!(ahead.i32()))?;
                        // An empty map may come with kinds that are none.
                        if count == 0 {
                            ([Kind::Varint; 2], 0)
                        } else {
                            ([binary_kind(key)?, binary_kind(value)?], count)
                        }
                    }
                    Encoding::Compact => match come!(ahead.varint())? {
                        0 => ([Kind::Varint; 2], 0),
                        count => {
                            let kinds = come!(ahead.byte());
                            ([compact_kind(kinds >> 4)?, compact_kind(kinds & 0x0f)?], count)
                        }
                    },
                };
                self.at = ahead.at;
                self.enter_values(count, 2, kinds)?;
            }
        }
        Ok(true)
    }

    fn enter_values(&mut self, count: u64, each: u64, kinds: [Kind; 2]) -> Result<()> {
        self.elements = self.elements.saturating_add(count);
        if self.elements > self.bounds.elements {
            return Err(Refusal::TooMany(self.bounds.elements));
        }
        self.enter(Level::Values { left: count * each, kinds, turn: 0 })
    }

    fn enter(&mut self, level: Level) -> Result<()> {
        if self.levels.len() >= DEPTH_MAX {
            return Err(Refusal::TooDeep);
        }
        self.levels.push(level);
        Ok(())
    }
}

fn count(count: i32) -> Result<u64> {
    u64::try_from(count).map_err(|_| Refusal::Malformed("a container has a negative size"))
}

fn binary_kind(kind: u8) -> Result<Kind> {
    Ok(match kind {
        2 | 3 => Kind::Fixed(1),
        6 => Kind::Fixed(2),
        8 => Kind::Fixed(4),
        4 | 10 => Kind::Fixed(8),
        16 => Kind::Fixed(16),
        11 => Kind::Bytes,
        12 => Kind::Struct,
        13 => Kind::Map,
        14 | 15 => Kind::Sequence,
        _ => return Err(Refusal::Malformed("a value has no known type")),
    })
}

fn compact_kind(kind: u8) -> Result<Kind> {
    Ok(match kind {
        1..=3 => Kind::Fixed(1),
        4..=6 => Kind::Varint,
        7 => Kind::Fixed(8),
        8 => Kind::Bytes,
        9 | 10 => Kind::Sequence,
        11 => Kind::Map,
        12 => Kind::Struct,
        13 => Kind::Fixed(16),
        _ => return Err(Refusal::Malformed("a value has no known type")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thrift::protocol::{
        TBinaryOutputProtocol, TCompactOutputProtocol, TFieldIdentifier, TListIdentifier, TMapIdentifier,
        TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
    };

    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1 << 20, elements: 1000 };

    #[derive(Clone, Debug)]
    enum Value {
        Bool(bool),
        Byte(i8),
        Short(i16),
        Int(i32),
        Long(i64),
        Double(f64),
        Bytes(Vec<u8>),
        Struct(Vec<(i16, Value)>),
        /// Elements are as the first.
        List(Vec<Value>),
        Map(Vec<(Value, Value)>),
    }

    impl Value {
        fn kind(&self) -> TType {
            match self {
                Value::Bool(_) => TType::Bool,
                Value::Byte(_) => TType::I08,
                Value::Short(_) => TType::I16,
                Value::Int(_) => TType::I32,
                Value::Long(_) => TType::I64,
                Value::Double(_) => TType::Double,
                Value::Bytes(_) => TType::String,
                Value::Struct(_) => TType::Struct,
                Value::List(_) => TType::List,
                Value::Map(_) => TType::Map,
            }
        }

        fn write(&self, out: &mut dyn TOutputProtocol) -> thrift::Result<()> {
            let size = |len: usize| i32::try_from(len).expect("few");
            match self {
                Value::Bool(value) => out.write_bool(*value),
                Value::Byte(value) => out.write_i8(*value),
                Value::Short(value) => out.write_i16(*value),
                Value::Int(value) => out.write_i32(*value),
                Value::Long(value) => out.write_i64(*value),
                Value::Double(value) => out.write_double(*value),
                Value::Bytes(value) => out.write_bytes(value),
                Value::Struct(fields) => {
                    out.write_struct_begin(&TStructIdentifier::new("s"))?;
                    for (id, value) in fields {
                        out.write_field_begin(&TFieldIdentifier::new("f", value.kind(), *id))?;
                        value.write(out)?;
                        out.write_field_end()?;
                    }
                    out.write_field_stop()?;
                    out.write_struct_end()
                }
                Value::List(values) => {
                    let kind = values.first().map_or(TType::I32, Value::kind);
                    let alike: Vec<&Value> = values.iter().filter(|value| value.kind() == kind).collect();
                    out.write_list_begin(&TListIdentifier::new(kind, size(alike.len())))?;
                    alike.iter().try_for_each(|value| value.write(out))?;
                    out.write_list_end()
                }
                Value::Map(pairs) => {
                    let kinds = pairs.first().map_or((TType::I32, TType::I32), |pair| (pair.0.kind(), pair.1.kind()));
                    let alike: Vec<_> = pairs.iter().filter(|pair| (pair.0.kind(), pair.1.kind()) == kinds).collect();
                    out.write_map_begin(&TMapIdentifier::new(kinds.0, kinds.1, size(alike.len())))?;
                    for (key, value) in alike {
                        key.write(out)?;
                        value.write(out)?;
                    }
                    out.write_map_end()
                }
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i8>().prop_map(Value::Byte),
            any::<i16>().prop_map(Value::Short),
            any::<i32>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::Long),
            any::<f64>().prop_map(Value::Double),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 60, 8, |inner| {
            prop_oneof![
                prop::collection::vec((1..200_i16, inner.clone()), 0..6).prop_map(Value::Struct),
                prop::collection::vec(inner.clone(), 0..20).prop_map(Value::List),
                prop::collection::vec((inner.clone(), inner), 0..6).prop_map(Value::Map),
            ]
        })
    }

    fn message(encoding: Encoding, fields: Vec<(i16, Value)>) -> Vec<u8> {
        let mut data = Vec::new();
        let mut out: Box<dyn TOutputProtocol> = match encoding {
            Encoding::Binary { strict } => Box::new(TBinaryOutputProtocol::new(&mut data, strict)),
            Encoding::Compact => Box::new(TCompactOutputProtocol::new(&mut data)),
        };
        out.write_message_begin(&TMessageIdentifier::new("call", TMessageType::Call, 7)).expect("written");
        Value::Struct(fields).write(&mut *out).expect("written");
        out.write_message_end().expect("written");
        drop(out);
        data
    }

    const ENCODINGS: [Encoding; 3] =
        [Encoding::Binary { strict: true }, Encoding::Binary { strict: false }, Encoding::Compact];

    proptest! {
        /// However a message arrives, its end is found when its last byte has come, and not before.
        #[test]
        fn the_end_of_a_message_is_found(
            mut fields in prop::collection::vec((1..200_i16, values()), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            // The compact protocol writes ids as differences to the one before.
            fields.sort_by_key(|field| field.0);
            for encoding in ENCODINGS {
                let data = message(encoding, fields.clone());
                let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len())).collect();
                ends.sort_unstable();
                let mut boundary = Boundary::new(encoding, BOUNDS);
                for end in ends {
                    prop_assert_eq!(boundary.find(&data[..end]), Ok(None));
                }
                let followed = [&data[..], b"\x80\x01more"].concat();
                prop_assert_eq!(boundary.find(&followed), Ok(Some(data.len())), "{:?}", encoding);
            }
        }

        /// Damage is refused, or leads to another end; it never panics, and never asks for more than the bounds.
        #[test]
        fn damage_is_no_harm(
            fields in prop::collection::vec((1..200_i16, values()), 0..4),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            for encoding in ENCODINGS {
                let mut data = message(encoding, fields.clone());
                let at = at.index(data.len());
                data[at] = with;
                let _ = Boundary::new(encoding, BOUNDS).find(&data);
                let _ = Boundary::new(encoding, BOUNDS).find(&data[at..]);
            }
        }
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_has_come() {
        let small = Bounds { bytes: 100, elements: 10 };
        let head = |name: &[u8]| [&[0x80, 1, 0, 1][..], &(name.len() as i32).to_be_bytes(), name, &[0; 4]].concat();
        let refused = |body: &[u8]| {
            let encoding = Encoding::Binary { strict: true };
            Boundary::new(encoding, small).find(&[&head(b"c")[..], body].concat()).expect_err("refused")
        };
        assert_eq!(refused(&[11, 0, 1, 0x7f, 0xff, 0xff, 0xff]), Refusal::TooLong(100));
        assert_eq!(refused(&[15, 0, 1, 12, 0x7f, 0xff, 0xff, 0xff]), Refusal::TooMany(10));
        assert_eq!(refused(&[13, 0, 1, 11, 11, 0, 0, 0, 11]), Refusal::TooMany(10));
        assert_eq!(refused(&[11, 0, 1, 0xff, 0xff, 0xff, 0xff]), Refusal::Malformed("a string has a negative length"));
        assert_eq!(refused(&[9, 0, 1]), Refusal::Malformed("a value has no known type"));
        let deep: Vec<u8> = [12, 0, 1].repeat(DEPTH_MAX);
        let deep = [&head(b"c")[..], &deep].concat();
        let roomy = Bounds { bytes: 1 << 20, elements: 10 };
        let found = Boundary::new(Encoding::Binary { strict: true }, roomy).find(&deep);
        assert_eq!(found, Err(Refusal::TooDeep));
        let long = head(&[b'n'; 80]);
        assert_eq!(Boundary::new(Encoding::Binary { strict: true }, small).find(&long), Ok(None));
        let longer = head(&[b'n'; 101]);
        assert_eq!(Boundary::new(Encoding::Binary { strict: true }, small).find(&longer), Err(Refusal::TooLong(100)));
        for bytes in [
            &[0x82, 0x21, 1, 0xff, 0xff, 0xff, 0xff, 0x0f][..],
            &[0x82, 0x21, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(Boundary::new(Encoding::Compact, small).find(bytes).is_err(), "{bytes:?}");
        }
    }
}
