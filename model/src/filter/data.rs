//! Filters and comparators as data, one variant per class of HBase's, fields as in its messages (hbase-wire.md §5.4).

use bytes::Bytes;

/// Comparison operator; in compare filters `stored OP comparator`, in conditions `expected OP stored`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
    /// Never holds.
    NoOp,
}

/// Operation of a bit comparator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitwiseOp {
    /// `&`
    And,
    /// `|`
    Or,
    /// `^`
    Xor,
}

/// What a stored thing is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparator {
    /// Unsigned bytes.
    Binary(Bytes),
    /// The first bytes.
    BinaryPrefix(Bytes),
    /// Bytes at an offset.
    BinaryComponent {
        /// Expected bytes.
        value: Bytes,
        /// Where they should stand.
        offset: u32,
    },
    /// Signed 64-bit big-endian numbers; 8 bytes.
    Long(Bytes),
    /// HBase's byte form of a decimal number: `i32` scale and two's complement.
    BigDecimal(Bytes),
    /// Bitwise operation against bytes of equal length.
    Bit {
        /// The bits.
        bits: Bytes,
        /// The operation.
        op: BitwiseOp,
    },
    /// Only an absent value.
    Null,
    /// A regular expression that is found somewhere.
    Regex {
        /// `java.util.regex` syntax, with both engines.
        pattern: String,
        /// `java.util.regex.Pattern` flag bits.
        flags: i32,
        /// Java charset name; empty means UTF-8.
        charset: String,
        /// `JAVA` or `JONI`; `None` means `JAVA`.
        engine: Option<String>,
    },
    /// Lower-case text that is found somewhere in the lower-cased value.
    Substring(String),
}

/// How a filter list combines its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterListOp {
    /// AND.
    MustPassAll,
    /// OR.
    MustPassOne,
}

/// One range of a [`Filter::MultiRowRange`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRange {
    /// First row; empty means open.
    pub start: Bytes,
    /// Whether it is inside.
    pub start_inclusive: bool,
    /// Last row; empty means open.
    pub stop: Bytes,
    /// Whether it is inside.
    pub stop_inclusive: bool,
}

/// HBase's built-in filters. Semantics: hbase-wire.md §5.4, and the real classes where that is silent.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "variants and fields carry HBase's class and message field names")]
pub enum Filter {
    ColumnCountGet {
        limit: i32,
    },
    ColumnPagination {
        limit: i32,
        offset: Option<i32>,
        column_offset: Option<Bytes>,
    },
    ColumnPrefix {
        prefix: Bytes,
    },
    ColumnRange {
        min: Option<Bytes>,
        min_inclusive: bool,
        max: Option<Bytes>,
        max_inclusive: bool,
    },
    ColumnValue {
        family: Bytes,
        qualifier: Bytes,
        op: CompareOp,
        comparator: Comparator,
    },
    DependentColumn {
        family: Bytes,
        qualifier: Bytes,
        drop_dependent_column: bool,
        op: CompareOp,
        comparator: Option<Comparator>,
    },
    Family {
        op: CompareOp,
        comparator: Comparator,
    },
    FirstKeyOnly,
    FirstKeyValueMatchingQualifiers {
        qualifiers: Vec<Bytes>,
    },
    FuzzyRow {
        keys: Vec<(Bytes, Bytes)>,
        is_mask_v2: Option<bool>,
    },
    InclusiveStop {
        stop_row: Bytes,
    },
    KeyOnly {
        len_as_val: bool,
    },
    List {
        op: FilterListOp,
        filters: Vec<Filter>,
    },
    MultiRowRange {
        ranges: Vec<RowRange>,
    },
    MultipleColumnPrefix {
        prefixes: Vec<Bytes>,
    },
    Page {
        page_size: i64,
    },
    Prefix {
        prefix: Bytes,
    },
    Qualifier {
        op: CompareOp,
        comparator: Comparator,
    },
    RandomRow {
        chance: f32,
    },
    Row {
        op: CompareOp,
        comparator: Comparator,
    },
    SingleColumnValue {
        family: Bytes,
        qualifier: Bytes,
        op: CompareOp,
        comparator: Comparator,
        filter_if_missing: bool,
        latest_version_only: bool,
    },
    SingleColumnValueExclude {
        family: Bytes,
        qualifier: Bytes,
        op: CompareOp,
        comparator: Comparator,
        filter_if_missing: bool,
        latest_version_only: bool,
    },
    Skip {
        filter: Box<Filter>,
    },
    Timestamps {
        timestamps: Vec<i64>,
        can_hint: bool,
    },
    Value {
        op: CompareOp,
        comparator: Comparator,
    },
    WhileMatch {
        filter: Box<Filter>,
    },
}
