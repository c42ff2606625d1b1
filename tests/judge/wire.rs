//! Operations as HBase's ClientProtos messages, written by hand so that the judge does not lean on the code it judges.
//!
//! Field numbers: hbase-wire.md §2.1 and §5.4. Only encoding; the Java side decodes with HBase's own classes.

use bytes::Bytes;
use model::filter::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp};
use model::mutation::{CheckAndMutate, Condition, Mutation, MutationKind};
use model::query::{Columns, Get, Scan, Selection, TimeRange};
use model::{CellType, LATEST_TIMESTAMP};

/// A protobuf message under construction.
#[derive(Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn number(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }
    fn signed(self, field: u64, value: i64) -> Message {
        self.number(field, value as u64)
    }
    fn flag(self, field: u64, value: bool) -> Message {
        self.number(field, u64::from(value))
    }
    fn bytes(mut self, field: u64, value: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }
    fn float(mut self, field: u64, value: f32) -> Message {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn message(self, field: u64, value: Message) -> Message {
        self.bytes(field, &value.0)
    }
    fn when<T>(self, value: Option<T>, add: impl FnOnce(Message, T) -> Message) -> Message {
        match value {
            Some(value) => add(self, value),
            None => self,
        }
    }
}

fn time_range(range: TimeRange) -> Message {
    let message = Message::default().signed(1, range.from);
    if range.to == i64::MAX { message } else { message.signed(2, range.to) }
}

fn columns(mut message: Message, field: u64, columns: &Columns) -> Message {
    for (family, qualifiers) in columns {
        let mut column = Message::default().bytes(1, family);
        for qualifier in qualifiers.iter().flatten() {
            column = column.bytes(2, qualifier);
        }
        message = message.message(field, column);
    }
    message
}

fn family_ranges(mut message: Message, field: u64, selection: &Selection) -> Message {
    for (family, range) in &selection.family_time_ranges {
        message = message.message(field, Message::default().bytes(1, family).message(2, time_range(*range)));
    }
    message
}

/// ClientProtos.Get.
pub fn get(get: &Get) -> Message {
    let selection = &get.selection;
    let message = columns(Message::default().bytes(1, &get.row), 2, &selection.columns)
        .when(selection.filter.as_ref(), |message, found| message.message(4, filter(found)))
        .message(5, time_range(selection.time_range))
        .number(6, u64::from(selection.max_versions))
        .when(selection.store_limit, |message, limit| message.number(8, u64::from(limit)))
        .number(9, u64::from(selection.store_offset))
        .flag(10, get.existence_only)
        .when(selection.load_families_on_demand, |message, on| message.flag(14, on));
    family_ranges(message, 13, selection)
}

/// ClientProtos.Scan, with the limit in ScanRequest's place left to the caller.
pub fn scan(scan: &Scan) -> Message {
    let selection = &scan.selection;
    let mut message = columns(Message::default(), 1, &selection.columns);
    if scan.raw {
        message = message.message(2, Message::default().bytes(1, b"_raw_").bytes(2, &[0xff]));
    }
    let message = message
        .bytes(3, &scan.start_row)
        .bytes(4, &scan.stop_row)
        .when(selection.filter.as_ref(), |message, found| message.message(5, filter(found)))
        .message(6, time_range(selection.time_range))
        .number(7, u64::from(selection.max_versions))
        .when(scan.batch, |message, batch| message.number(9, u64::from(batch)))
        .when(selection.store_limit, |message, limit| message.number(11, u64::from(limit)))
        .number(12, u64::from(selection.store_offset))
        .when(selection.load_families_on_demand, |message, on| message.flag(13, on))
        .flag(15, scan.reversed)
        .flag(21, scan.include_start_row)
        .flag(22, scan.include_stop_row);
    family_ranges(message, 19, selection)
}

fn attribute(name: &str, value: &[u8]) -> Message {
    Message::default().bytes(1, name.as_bytes()).bytes(2, value)
}

/// ClientProtos.MutationProto, cells inline.
pub fn mutation(mutation: &Mutation) -> Message {
    let kind = match mutation.kind {
        MutationKind::Append => 0,
        MutationKind::Increment => 1,
        MutationKind::Put => 2,
        MutationKind::Delete => 3,
    };
    let mut message = Message::default().bytes(1, &mutation.row).number(2, kind);
    for cells in mutation.cells.chunk_by(|a, b| a.family() == b.family()) {
        let mut column = Message::default().bytes(1, cells[0].family());
        for cell in cells {
            let mut value = Message::default().bytes(1, cell.qualifier()).bytes(2, cell.value());
            if cell.timestamp() != LATEST_TIMESTAMP {
                value = value.signed(3, cell.timestamp());
            }
            let delete = match cell.cell_type() {
                CellType::DELETE => Some(0),
                CellType::DELETE_COLUMN => Some(1),
                CellType::DELETE_FAMILY => Some(2),
                CellType::DELETE_FAMILY_VERSION => Some(3),
                _ => None,
            };
            column = column.message(2, value.when(delete, |value, delete| value.number(4, delete)));
        }
        message = message.message(3, column);
    }
    message = message.signed(4, mutation.timestamp);
    if let Some(ttl) = mutation.ttl_ms {
        message = message.message(5, attribute("_ttl", &ttl.to_be_bytes()));
    }
    if !mutation.return_results {
        message = message.message(5, attribute("_rr_", &[0]));
    }
    if !mutation.time_range.is_all() {
        message = message.message(7, time_range(mutation.time_range));
    }
    message
}

/// ClientProtos.Condition.
pub fn condition(check: &CheckAndMutate) -> Message {
    let message = Message::default().bytes(1, &check.row);
    match &check.condition {
        Condition::Column { family, qualifier, op, comparator: expected, time_range: range } => message
            .bytes(2, family)
            .bytes(3, qualifier)
            .number(4, compare_op(*op))
            .message(5, comparator(expected))
            .message(6, time_range(*range)),
        Condition::Filter { filter: wanted, time_range: range } => {
            message.message(6, time_range(*range)).message(7, filter(wanted))
        }
    }
}

fn compare_op(op: CompareOp) -> u64 {
    match op {
        CompareOp::Less => 0,
        CompareOp::LessOrEqual => 1,
        CompareOp::Equal => 2,
        CompareOp::NotEqual => 3,
        CompareOp::GreaterOrEqual => 4,
        CompareOp::Greater => 5,
        CompareOp::NoOp => 6,
    }
}

fn comparator(comparator: &Comparator) -> Message {
    let comparable = |value: &Bytes| Message::default().message(1, Message::default().bytes(1, value));
    let (name, body) = match comparator {
        Comparator::Binary(value) => ("BinaryComparator", comparable(value)),
        Comparator::BinaryPrefix(value) => ("BinaryPrefixComparator", comparable(value)),
        Comparator::BinaryComponent { value, offset } => {
            ("BinaryComponentComparator", Message::default().bytes(1, value).number(2, u64::from(*offset)))
        }
        Comparator::Long(value) => ("LongComparator", comparable(value)),
        Comparator::BigDecimal(value) => ("BigDecimalComparator", comparable(value)),
        Comparator::Bit { bits, op } => {
            let op = match op {
                BitwiseOp::And => 1,
                BitwiseOp::Or => 2,
                BitwiseOp::Xor => 3,
            };
            ("BitComparator", comparable(bits).number(2, op))
        }
        Comparator::Null => ("NullComparator", Message::default()),
        Comparator::Regex { pattern, flags, charset, engine } => (
            "RegexStringComparator",
            Message::default()
                .bytes(1, pattern.as_bytes())
                .signed(2, i64::from(*flags))
                .bytes(3, charset.as_bytes())
                .when(engine.as_ref(), |message, engine| message.bytes(4, engine.as_bytes())),
        ),
        Comparator::Substring(text) => ("SubstringComparator", Message::default().bytes(1, text.as_bytes())),
    };
    Message::default().bytes(1, format!("org.apache.hadoop.hbase.filter.{name}").as_bytes()).message(2, body)
}

fn compare(op: CompareOp, expected: Option<&Comparator>) -> Message {
    Message::default()
        .number(1, compare_op(op))
        .when(expected, |message, expected| message.message(2, comparator(expected)))
}

fn filter(wanted: &Filter) -> Message {
    let empty = Message::default;
    let (name, body) = match wanted {
        Filter::ColumnCountGet { limit } => ("ColumnCountGetFilter", empty().signed(1, i64::from(*limit))),
        Filter::ColumnPagination { limit, offset, column_offset } => (
            "ColumnPaginationFilter",
            empty()
                .signed(1, i64::from(*limit))
                .when(*offset, |message, offset| message.signed(2, i64::from(offset)))
                .when(column_offset.as_ref(), |message, column| message.bytes(3, column)),
        ),
        Filter::ColumnPrefix { prefix } => ("ColumnPrefixFilter", empty().bytes(1, prefix)),
        Filter::ColumnRange { min, min_inclusive, max, max_inclusive } => (
            "ColumnRangeFilter",
            empty()
                .when(min.as_ref(), |message, min| message.bytes(1, min))
                .flag(2, *min_inclusive)
                .when(max.as_ref(), |message, max| message.bytes(3, max))
                .flag(4, *max_inclusive),
        ),
        Filter::ColumnValue { family, qualifier, op, comparator: expected } => (
            "ColumnValueFilter",
            empty().bytes(1, family).bytes(2, qualifier).number(3, compare_op(*op)).message(4, comparator(expected)),
        ),
        Filter::DependentColumn { family, qualifier, drop_dependent_column, op, comparator: expected } => (
            "DependentColumnFilter",
            empty()
                .message(1, compare(*op, expected.as_ref()))
                .bytes(2, family)
                .bytes(3, qualifier)
                .flag(4, *drop_dependent_column),
        ),
        Filter::Family { op, comparator } => ("FamilyFilter", empty().message(1, compare(*op, Some(comparator)))),
        Filter::FirstKeyOnly => ("FirstKeyOnlyFilter", empty()),
        Filter::FirstKeyValueMatchingQualifiers { qualifiers } => (
            "FirstKeyValueMatchingQualifiersFilter",
            qualifiers.iter().fold(empty(), |message, qualifier| message.bytes(1, qualifier)),
        ),
        Filter::FuzzyRow { keys, is_mask_v2 } => (
            "FuzzyRowFilter",
            keys.iter()
                .fold(empty(), |message, (key, mask)| message.message(1, empty().bytes(1, key).bytes(2, mask)))
                .when(*is_mask_v2, |message, v2| message.flag(2, v2)),
        ),
        Filter::InclusiveStop { stop_row } => ("InclusiveStopFilter", empty().bytes(1, stop_row)),
        Filter::KeyOnly { len_as_val } => ("KeyOnlyFilter", empty().flag(1, *len_as_val)),
        Filter::List { op, filters } => {
            let op = match op {
                FilterListOp::MustPassAll => 1,
                FilterListOp::MustPassOne => 2,
            };
            (
                "FilterList",
                filters.iter().fold(empty().number(1, op), |message, member| message.message(2, filter(member))),
            )
        }
        Filter::MultiRowRange { ranges } => (
            "MultiRowRangeFilter",
            ranges.iter().fold(empty(), |message, range| {
                message.message(
                    1,
                    empty()
                        .bytes(1, &range.start)
                        .flag(2, range.start_inclusive)
                        .bytes(3, &range.stop)
                        .flag(4, range.stop_inclusive),
                )
            }),
        ),
        Filter::MultipleColumnPrefix { prefixes } => {
            ("MultipleColumnPrefixFilter", prefixes.iter().fold(empty(), |message, prefix| message.bytes(1, prefix)))
        }
        Filter::Page { page_size } => ("PageFilter", empty().signed(1, *page_size)),
        Filter::Prefix { prefix } => ("PrefixFilter", empty().bytes(1, prefix)),
        Filter::Qualifier { op, comparator } => ("QualifierFilter", empty().message(1, compare(*op, Some(comparator)))),
        Filter::RandomRow { chance } => ("RandomRowFilter", empty().float(1, *chance)),
        Filter::Row { op, comparator } => ("RowFilter", empty().message(1, compare(*op, Some(comparator)))),
        Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only } => (
            "SingleColumnValueFilter",
            single_column(family, qualifier, *op, comparator, *filter_if_missing, *latest_version_only),
        ),
        Filter::SingleColumnValueExclude {
            family,
            qualifier,
            op,
            comparator,
            filter_if_missing,
            latest_version_only,
        } => (
            "SingleColumnValueExcludeFilter",
            empty().message(
                1,
                single_column(family, qualifier, *op, comparator, *filter_if_missing, *latest_version_only),
            ),
        ),
        Filter::Skip { filter: inner } => ("SkipFilter", empty().message(1, filter(inner))),
        Filter::Timestamps { timestamps, can_hint } => (
            "TimestampsFilter",
            timestamps.iter().fold(empty(), |message, at| message.signed(1, *at)).flag(2, *can_hint),
        ),
        Filter::Value { op, comparator } => ("ValueFilter", empty().message(1, compare(*op, Some(comparator)))),
        Filter::WhileMatch { filter: inner } => ("WhileMatchFilter", empty().message(1, filter(inner))),
    };
    empty().bytes(1, format!("org.apache.hadoop.hbase.filter.{name}").as_bytes()).message(2, body)
}

fn single_column(
    family: &[u8],
    qualifier: &[u8],
    op: CompareOp,
    expected: &Comparator,
    missing: bool,
    latest: bool,
) -> Message {
    Message::default()
        .bytes(1, family)
        .bytes(2, qualifier)
        .number(3, compare_op(op))
        .message(4, comparator(expected))
        .flag(5, missing)
        .flag(6, latest)
}
