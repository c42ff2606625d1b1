//! Values of Parquet's types as bytes of cells: as text, or as HBase's `Bytes.toBytes` has them. No I/O.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, TimeUnit};

/// How values become bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// UTF-8, as people write them.
    #[default]
    Text,
    /// As HBase's `Bytes.toBytes`: numbers big-endian, booleans as ff and 00.
    Bytes,
}

/// Why a column cannot be loaded, if it cannot.
pub fn check(name: &str, kind: &DataType) -> Result<(), String> {
    let plain = matches!(
        kind,
        DataType::Null
            | DataType::Boolean
            | DataType::Utf8View
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _)
            | DataType::Date32
            | DataType::Time32(_)
            | DataType::Time64(_)
            | DataType::Timestamp(_, _)
    );
    if plain || kind.is_integer() || kind.is_floating() {
        return Ok(());
    }
    let what = if kind.is_nested() { "nested" } else { "of a type that has no value of bytes" };
    let kind = type_name(kind);
    Err(format!("column `{name}` is {what} ({kind}): leave it out by naming the others in --columns as NAME=COLUMN"))
}

/// What people call a type.
pub fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Utf8View => "text".to_owned(),
        DataType::BinaryView => "bytes".to_owned(),
        other => other.to_string().split(['(', '<']).next().unwrap_or_default().to_owned(),
    }
}

/// The column as it is read below: times with a zone in that of Greenwich.
pub fn prepared(array: &ArrayRef) -> ArrayRef {
    fn utc<T: arrow_array::types::ArrowTimestampType>(array: &ArrayRef) -> ArrayRef {
        std::sync::Arc::new(array.as_primitive::<T>().clone().with_timezone("+00:00"))
    }
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, Some(_)) => utc::<TimestampSecondType>(array),
        DataType::Timestamp(TimeUnit::Millisecond, Some(_)) => utc::<TimestampMillisecondType>(array),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => utc::<TimestampMicrosecondType>(array),
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => utc::<TimestampNanosecondType>(array),
        _ => array.clone(),
    }
}

type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), String> + 'a>;

enum Kind<'a> {
    Null,
    Text(&'a arrow_array::StringViewArray),
    Binary(&'a arrow_array::BinaryViewArray),
    Fixed(&'a arrow_array::FixedSizeBinaryArray),
    Other(Write<'a>),
}

/// A column of a batch, value by value.
pub struct Column<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

fn numbers<'a, T: ArrowPrimitiveType, const N: usize>(
    array: &'a dyn Array,
    bytes: impl Fn(T::Native) -> [u8; N] + 'a,
) -> Write<'a> {
    let array = array.as_primitive::<T>();
    Box::new(move |at, out| {
        out.extend_from_slice(&bytes(array.value(at)));
        Ok(())
    })
}

/// The scale, then the number in as few bytes as hold it and its sign.
fn write_decimal(scale: i8, number: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&i32::from(scale).to_be_bytes());
    let redundant = number.windows(2).take_while(|pair| match pair[0] {
        0 => pair[1] < 0x80,
        0xff => pair[1] >= 0x80,
        _ => false,
    });
    out.extend_from_slice(&number[redundant.count()..]);
}

fn as_bytes(array: &dyn Array) -> Write<'_> {
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |at, out| {
                out.push(if array.value(at) { 0xff } else { 0 });
                Ok(())
            })
        }
        DataType::Int8 => numbers::<Int8Type, 1>(array, i8::to_be_bytes),
        DataType::Int16 => numbers::<Int16Type, 2>(array, i16::to_be_bytes),
        DataType::Int32 => numbers::<Int32Type, 4>(array, i32::to_be_bytes),
        DataType::Int64 => numbers::<Int64Type, 8>(array, i64::to_be_bytes),
        DataType::UInt8 => numbers::<UInt8Type, 2>(array, |n| i16::from(n).to_be_bytes()),
        DataType::UInt16 => numbers::<UInt16Type, 4>(array, |n| i32::from(n).to_be_bytes()),
        DataType::UInt32 => numbers::<UInt32Type, 8>(array, |n| i64::from(n).to_be_bytes()),
        DataType::UInt64 => {
            let array = array.as_primitive::<UInt64Type>();
            Box::new(move |at, out| {
                let number = array.value(at);
                let signed = i64::try_from(number).map_err(|_| format!("{number} is larger than a long"))?;
                out.extend_from_slice(&signed.to_be_bytes());
                Ok(())
            })
        }
        DataType::Float16 => numbers::<Float16Type, 4>(array, |n| f32::from(n).to_be_bytes()),
        DataType::Float32 => numbers::<Float32Type, 4>(array, f32::to_be_bytes),
        DataType::Float64 => numbers::<Float64Type, 8>(array, f64::to_be_bytes),
        DataType::Date32 => numbers::<Date32Type, 4>(array, i32::to_be_bytes),
        DataType::Time32(TimeUnit::Second) => numbers::<Time32SecondType, 4>(array, i32::to_be_bytes),
        DataType::Time32(_) => numbers::<Time32MillisecondType, 4>(array, i32::to_be_bytes),
        DataType::Time64(TimeUnit::Microsecond) => numbers::<Time64MicrosecondType, 8>(array, i64::to_be_bytes),
        DataType::Time64(_) => numbers::<Time64NanosecondType, 8>(array, i64::to_be_bytes),
        DataType::Timestamp(TimeUnit::Second, _) => numbers::<TimestampSecondType, 8>(array, i64::to_be_bytes),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            numbers::<TimestampMillisecondType, 8>(array, i64::to_be_bytes)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            numbers::<TimestampMicrosecondType, 8>(array, i64::to_be_bytes)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => numbers::<TimestampNanosecondType, 8>(array, i64::to_be_bytes),
        DataType::Decimal128(_, scale) => {
            let (array, scale) = (array.as_primitive::<Decimal128Type>(), *scale);
            Box::new(move |at, out| {
                write_decimal(scale, &array.value(at).to_be_bytes(), out);
                Ok(())
            })
        }
        DataType::Decimal256(_, scale) => {
            let (array, scale) = (array.as_primitive::<Decimal256Type>(), *scale);
            Box::new(move |at, out| {
                write_decimal(scale, &array.value(at).to_be_bytes(), out);
                Ok(())
            })
        }
        other => unreachable!("columns of type {other} are refused when a file is opened"),
    }
}

struct Utf8<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Utf8<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn as_text(array: &dyn Array) -> Result<Write<'_>, String> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(false);
    let text = ArrayFormatter::try_new(array, &OPTIONS).map_err(|error| error.to_string())?;
    Ok(Box::new(move |at, out| text.value(at).write(&mut Utf8(out)).map_err(|error| error.to_string())))
}

impl<'a> Column<'a> {
    /// Reads a column of a kind that was checked.
    ///
    /// # Errors
    /// It cannot be written as text.
    pub fn new(array: &'a dyn Array, values: Values) -> Result<Column<'a>, String> {
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Utf8View => Kind::Text(array.as_string_view()),
            DataType::BinaryView => Kind::Binary(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Kind::Fixed(array.as_fixed_size_binary()),
            _ if values == Values::Bytes => Kind::Other(as_bytes(array)),
            _ => Kind::Other(as_text(array)?),
        };
        Ok(Column { array, kind })
    }

    /// A value of a column of text or bytes; nothing for null.
    pub fn bytes(&self, at: usize) -> Option<&[u8]> {
        match &self.kind {
            _ if self.array.is_null(at) => None,
            Kind::Text(array) => Some(array.value(at).as_bytes()),
            Kind::Binary(array) => Some(array.value(at)),
            Kind::Fixed(array) => Some(array.value(at)),
            Kind::Null | Kind::Other(_) => None,
        }
    }

    /// A value, nothing for null; `scratch` may hold it.
    ///
    /// # Errors
    /// Why the value cannot be written.
    pub fn value<'s>(&'s self, at: usize, scratch: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>, String> {
        if self.array.is_null(at) {
            return Ok(None);
        }
        let Kind::Other(write) = &self.kind else { return Ok(self.bytes(at)) };
        scratch.clear();
        write(at, scratch)?;
        Ok(Some(scratch.as_slice()))
    }
}

/// Whether a column can tell times: whole numbers of milliseconds, or timestamps.
pub fn is_time(kind: &DataType) -> bool {
    kind.is_integer() || matches!(kind, DataType::Timestamp(_, _))
}

/// A whole number, or a timestamp in milliseconds; nothing for null.
///
/// # Errors
/// It is beyond 64 bits.
pub fn milliseconds(array: &dyn Array, at: usize) -> Result<Option<i64>, String> {
    if array.is_null(at) {
        return Ok(None);
    }
    let number = match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(at).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(at).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(at).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(at).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(at).into(),
        DataType::UInt64 => {
            let number = array.as_primitive::<UInt64Type>().value(at);
            i64::try_from(number).map_err(|_| format!("{number} milliseconds cannot be stored"))?
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            let seconds = array.as_primitive::<TimestampSecondType>().value(at);
            seconds.checked_mul(1000).ok_or_else(|| format!("{seconds} seconds cannot be stored"))?
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().value(at),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().value(at).div_euclid(1000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            array.as_primitive::<TimestampNanosecondType>().value(at).div_euclid(1_000_000)
        }
        other => unreachable!("columns of type {other} are refused as times when a file is opened"),
    };
    Ok(Some(number))
}
