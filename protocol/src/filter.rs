//! Filters and comparators between messages and `model`.
//!
//! Always true: nesting is bounded, an unknown class is refused by name, and a filter that came from a client goes back to
//! the same bytes.

use bytes::Bytes;
use model::filter::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp, RowRange};
use prost::Message;

use crate::messages as pb;
use crate::service::RpcError;

/// Deepest nesting of filters.
const DEPTH_MAX: usize = 64;
const FILTERS: &str = "org.apache.hadoop.hbase.filter.";

/// Why a message is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterMessageError {
    /// A class that is not built in.
    #[error("unknown filter or comparator class `{0}`")]
    Unknown(String),
    /// Bytes that do not parse.
    #[error("bad {class}: {why}")]
    Bad {
        /// The class.
        class: String,
        /// What is wrong.
        why: String,
    },
    /// Too deep.
    #[error("filters are nested more than 64 deep")]
    Deep,
}

impl From<FilterMessageError> for RpcError {
    fn from(error: FilterMessageError) -> RpcError {
        RpcError::invalid(error.to_string())
    }
}

type Result<T> = std::result::Result<T, FilterMessageError>;

fn decode<M: Message + Default>(class: &str, bytes: &Bytes) -> Result<M> {
    M::decode(bytes.clone())
        .map_err(|error| FilterMessageError::Bad { class: class.to_owned(), why: error.to_string() })
}

/// The operator of a message's number; `class` names the message in errors.
pub fn op_from(class: &str, value: i32) -> Result<CompareOp> {
    Ok(match pb::CompareType::try_from(value) {
        Ok(pb::CompareType::Less) => CompareOp::Less,
        Ok(pb::CompareType::LessOrEqual) => CompareOp::LessOrEqual,
        Ok(pb::CompareType::Equal) => CompareOp::Equal,
        Ok(pb::CompareType::NotEqual) => CompareOp::NotEqual,
        Ok(pb::CompareType::GreaterOrEqual) => CompareOp::GreaterOrEqual,
        Ok(pb::CompareType::Greater) => CompareOp::Greater,
        Ok(pb::CompareType::NoOp) => CompareOp::NoOp,
        Err(_) => {
            let why = format!("unknown compare type {value}");
            return Err(FilterMessageError::Bad { class: class.to_owned(), why });
        }
    })
}

/// The message's number for an operator.
pub fn op_to(op: CompareOp) -> i32 {
    match op {
        CompareOp::Less => pb::CompareType::Less,
        CompareOp::LessOrEqual => pb::CompareType::LessOrEqual,
        CompareOp::Equal => pb::CompareType::Equal,
        CompareOp::NotEqual => pb::CompareType::NotEqual,
        CompareOp::GreaterOrEqual => pb::CompareType::GreaterOrEqual,
        CompareOp::Greater => pb::CompareType::Greater,
        CompareOp::NoOp => pb::CompareType::NoOp,
    }
    .into()
}

/// Reads a comparator.
pub fn comparator_from(message: &pb::Comparator) -> Result<Comparator> {
    let class = message.name.as_str();
    let bytes = message.serialized_comparator.clone().unwrap_or_default();
    let value = |comparable: pb::ByteArrayComparable| comparable.value.unwrap_or_default();
    Ok(match class.strip_prefix(FILTERS).unwrap_or(class) {
        "BinaryComparator" => Comparator::Binary(value(decode::<pb::BinaryComparator>(class, &bytes)?.comparable)),
        "BinaryPrefixComparator" => {
            Comparator::BinaryPrefix(value(decode::<pb::BinaryPrefixComparator>(class, &bytes)?.comparable))
        }
        "LongComparator" => Comparator::Long(value(decode::<pb::LongComparator>(class, &bytes)?.comparable)),
        "BigDecimalComparator" => {
            Comparator::BigDecimal(value(decode::<pb::BigDecimalComparator>(class, &bytes)?.comparable))
        }
        "BinaryComponentComparator" => {
            let found = decode::<pb::BinaryComponentComparator>(class, &bytes)?;
            Comparator::BinaryComponent { value: found.value, offset: found.offset }
        }
        "BitComparator" => {
            let found = decode::<pb::BitComparator>(class, &bytes)?;
            let op = match pb::bit_comparator::BitwiseOp::try_from(found.bitwise_op) {
                Ok(pb::bit_comparator::BitwiseOp::And) => BitwiseOp::And,
                Ok(pb::bit_comparator::BitwiseOp::Or) => BitwiseOp::Or,
                Ok(pb::bit_comparator::BitwiseOp::Xor) => BitwiseOp::Xor,
                Err(_) => {
                    let why = format!("unknown bitwise operator {}", found.bitwise_op);
                    return Err(FilterMessageError::Bad { class: class.to_owned(), why });
                }
            };
            Comparator::Bit { bits: value(found.comparable), op }
        }
        "NullComparator" => Comparator::Null,
        "RegexStringComparator" => {
            let found = decode::<pb::RegexStringComparator>(class, &bytes)?;
            Comparator::Regex {
                pattern: found.pattern,
                flags: found.pattern_flags,
                charset: found.charset,
                engine: found.engine,
            }
        }
        "SubstringComparator" => Comparator::Substring(decode::<pb::SubstringComparator>(class, &bytes)?.substr),
        _ => return Err(FilterMessageError::Unknown(class.to_owned())),
    })
}

/// Writes a comparator.
pub fn comparator_to(comparator: &Comparator) -> pb::Comparator {
    let comparable = |value: &Bytes| pb::ByteArrayComparable { value: Some(value.clone()) };
    let (name, bytes) = match comparator {
        Comparator::Binary(value) => {
            ("BinaryComparator", pb::BinaryComparator { comparable: comparable(value) }.encode_to_vec())
        }
        Comparator::BinaryPrefix(value) => {
            ("BinaryPrefixComparator", pb::BinaryPrefixComparator { comparable: comparable(value) }.encode_to_vec())
        }
        Comparator::Long(value) => {
            ("LongComparator", pb::LongComparator { comparable: comparable(value) }.encode_to_vec())
        }
        Comparator::BigDecimal(value) => {
            ("BigDecimalComparator", pb::BigDecimalComparator { comparable: comparable(value) }.encode_to_vec())
        }
        Comparator::BinaryComponent { value, offset } => (
            "BinaryComponentComparator",
            pb::BinaryComponentComparator { value: value.clone(), offset: *offset }.encode_to_vec(),
        ),
        Comparator::Bit { bits, op } => {
            let bitwise_op = match op {
                BitwiseOp::And => pb::bit_comparator::BitwiseOp::And,
                BitwiseOp::Or => pb::bit_comparator::BitwiseOp::Or,
                BitwiseOp::Xor => pb::bit_comparator::BitwiseOp::Xor,
            };
            let message = pb::BitComparator { comparable: comparable(bits), bitwise_op: bitwise_op.into() };
            ("BitComparator", message.encode_to_vec())
        }
        Comparator::Null => ("NullComparator", Vec::new()),
        Comparator::Regex { pattern, flags, charset, engine } => {
            let message = pb::RegexStringComparator {
                pattern: pattern.clone(),
                pattern_flags: *flags,
                charset: charset.clone(),
                engine: engine.clone(),
            };
            ("RegexStringComparator", message.encode_to_vec())
        }
        Comparator::Substring(text) => {
            ("SubstringComparator", pb::SubstringComparator { substr: text.clone() }.encode_to_vec())
        }
    };
    pb::Comparator { name: format!("{FILTERS}{name}"), serialized_comparator: Some(bytes.into()) }
}

/// Reads a filter.
pub fn filter_from(message: &pb::Filter) -> Result<Filter> {
    from(message, 0)
}

type ColumnTest = (Bytes, Bytes, CompareOp, Comparator, bool, bool);

fn column_value(class: &str, found: pb::SingleColumnValueFilter) -> Result<ColumnTest> {
    Ok((
        found.column_family.unwrap_or_default(),
        found.column_qualifier.unwrap_or_default(),
        op_from(class, found.compare_op)?,
        comparator_from(&found.comparator)?,
        found.filter_if_missing.unwrap_or(false),
        found.latest_version_only.unwrap_or(false),
    ))
}

fn from(message: &pb::Filter, depth: usize) -> Result<Filter> {
    if depth > DEPTH_MAX {
        return Err(FilterMessageError::Deep);
    }
    let class = message.name.as_str();
    let bytes = message.serialized_filter.clone().unwrap_or_default();
    let compare = |found: pb::CompareFilter| -> Result<(CompareOp, Comparator)> {
        let comparator = found.comparator.as_ref().map(comparator_from).transpose()?.unwrap_or(Comparator::Null);
        Ok((op_from(class, found.compare_op)?, comparator))
    };
    Ok(match class.strip_prefix(FILTERS).unwrap_or(class) {
        "ColumnCountGetFilter" => {
            Filter::ColumnCountGet { limit: decode::<pb::ColumnCountGetFilter>(class, &bytes)?.limit }
        }
        "ColumnPaginationFilter" => {
            let found = decode::<pb::ColumnPaginationFilter>(class, &bytes)?;
            Filter::ColumnPagination { limit: found.limit, offset: found.offset, column_offset: found.column_offset }
        }
        "ColumnPrefixFilter" => {
            Filter::ColumnPrefix { prefix: decode::<pb::ColumnPrefixFilter>(class, &bytes)?.prefix }
        }
        "ColumnRangeFilter" => {
            let found = decode::<pb::ColumnRangeFilter>(class, &bytes)?;
            Filter::ColumnRange {
                min: found.min_column,
                min_inclusive: found.min_column_inclusive.unwrap_or(false),
                max: found.max_column,
                max_inclusive: found.max_column_inclusive.unwrap_or(false),
            }
        }
        "ColumnValueFilter" => {
            let found = decode::<pb::ColumnValueFilter>(class, &bytes)?;
            let (op, comparator) = (op_from(class, found.compare_op)?, comparator_from(&found.comparator)?);
            Filter::ColumnValue { family: found.family, qualifier: found.qualifier, op, comparator }
        }
        "DependentColumnFilter" => {
            let found = decode::<pb::DependentColumnFilter>(class, &bytes)?;
            Filter::DependentColumn {
                family: found.column_family.unwrap_or_default(),
                qualifier: found.column_qualifier.unwrap_or_default(),
                drop_dependent_column: found.drop_dependent_column.unwrap_or(false),
                op: op_from(class, found.compare_filter.compare_op)?,
                comparator: found.compare_filter.comparator.as_ref().map(comparator_from).transpose()?,
            }
        }
        "FamilyFilter" => {
            let (op, comparator) = compare(decode::<pb::FamilyFilter>(class, &bytes)?.compare_filter)?;
            Filter::Family { op, comparator }
        }
        "QualifierFilter" => {
            let (op, comparator) = compare(decode::<pb::QualifierFilter>(class, &bytes)?.compare_filter)?;
            Filter::Qualifier { op, comparator }
        }
        "RowFilter" => {
            let (op, comparator) = compare(decode::<pb::RowFilter>(class, &bytes)?.compare_filter)?;
            Filter::Row { op, comparator }
        }
        "ValueFilter" => {
            let (op, comparator) = compare(decode::<pb::ValueFilter>(class, &bytes)?.compare_filter)?;
            Filter::Value { op, comparator }
        }
        "FirstKeyOnlyFilter" => Filter::FirstKeyOnly,
        "FirstKeyValueMatchingQualifiersFilter" => Filter::FirstKeyValueMatchingQualifiers {
            qualifiers: decode::<pb::FirstKeyValueMatchingQualifiersFilter>(class, &bytes)?.qualifiers,
        },
        "FuzzyRowFilter" => {
            let found = decode::<pb::FuzzyRowFilter>(class, &bytes)?;
            let keys = found.fuzzy_keys_data.into_iter().map(|pair| (pair.first, pair.second)).collect();
            Filter::FuzzyRow { keys, is_mask_v2: found.is_mask_v2 }
        }
        "InclusiveStopFilter" => {
            let found = decode::<pb::InclusiveStopFilter>(class, &bytes)?;
            Filter::InclusiveStop { stop_row: found.stop_row_key.unwrap_or_default() }
        }
        "KeyOnlyFilter" => Filter::KeyOnly { len_as_val: decode::<pb::KeyOnlyFilter>(class, &bytes)?.len_as_val },
        "FilterList" => {
            let found = decode::<pb::FilterList>(class, &bytes)?;
            let op = match pb::filter_list::Operator::try_from(found.operator) {
                Ok(pb::filter_list::Operator::MustPassAll) => FilterListOp::MustPassAll,
                Ok(pb::filter_list::Operator::MustPassOne) => FilterListOp::MustPassOne,
                Err(_) => {
                    let why = format!("unknown operator {}", found.operator);
                    return Err(FilterMessageError::Bad { class: class.to_owned(), why });
                }
            };
            let filters = found.filters.iter().map(|inner| from(inner, depth + 1)).collect::<Result<_>>()?;
            Filter::List { op, filters }
        }
        "MultiRowRangeFilter" => {
            let found = decode::<pb::MultiRowRangeFilter>(class, &bytes)?;
            let range = |range: pb::RowRange| RowRange {
                start: range.start_row.unwrap_or_default(),
                start_inclusive: range.start_row_inclusive.unwrap_or(false),
                stop: range.stop_row.unwrap_or_default(),
                stop_inclusive: range.stop_row_inclusive.unwrap_or(false),
            };
            Filter::MultiRowRange { ranges: found.row_range_list.into_iter().map(range).collect() }
        }
        "MultipleColumnPrefixFilter" => Filter::MultipleColumnPrefix {
            prefixes: decode::<pb::MultipleColumnPrefixFilter>(class, &bytes)?.sorted_prefixes,
        },
        "PageFilter" => Filter::Page { page_size: decode::<pb::PageFilter>(class, &bytes)?.page_size },
        "PrefixFilter" => {
            Filter::Prefix { prefix: decode::<pb::PrefixFilter>(class, &bytes)?.prefix.unwrap_or_default() }
        }
        "RandomRowFilter" => Filter::RandomRow { chance: decode::<pb::RandomRowFilter>(class, &bytes)?.chance },
        "SingleColumnValueFilter" => {
            let found = decode::<pb::SingleColumnValueFilter>(class, &bytes)?;
            let (family, qualifier, op, comparator, filter_if_missing, latest_version_only) =
                column_value(class, found)?;
            Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
        }
        "SingleColumnValueExcludeFilter" => {
            let found = decode::<pb::SingleColumnValueExcludeFilter>(class, &bytes)?.single_column_value_filter;
            let (family, qualifier, op, comparator, filter_if_missing, latest_version_only) =
                column_value(class, found)?;
            Filter::SingleColumnValueExclude {
                family,
                qualifier,
                op,
                comparator,
                filter_if_missing,
                latest_version_only,
            }
        }
        "SkipFilter" => {
            Filter::Skip { filter: Box::new(from(&decode::<pb::SkipFilter>(class, &bytes)?.filter, depth + 1)?) }
        }
        "TimestampsFilter" => {
            let found = decode::<pb::TimestampsFilter>(class, &bytes)?;
            Filter::Timestamps { timestamps: found.timestamps, can_hint: found.can_hint.unwrap_or(false) }
        }
        "WhileMatchFilter" => Filter::WhileMatch {
            filter: Box::new(from(&decode::<pb::WhileMatchFilter>(class, &bytes)?.filter, depth + 1)?),
        },
        _ => return Err(FilterMessageError::Unknown(class.to_owned())),
    })
}

/// Writes a filter.
pub fn filter_to(filter: &Filter) -> pb::Filter {
    let compare = |op: &CompareOp, comparator: Option<&Comparator>| pb::CompareFilter {
        compare_op: op_to(*op),
        comparator: comparator.map(comparator_to),
    };
    let (name, bytes) = match filter {
        Filter::ColumnCountGet { limit } => {
            ("ColumnCountGetFilter", pb::ColumnCountGetFilter { limit: *limit }.encode_to_vec())
        }
        Filter::ColumnPagination { limit, offset, column_offset } => (
            "ColumnPaginationFilter",
            pb::ColumnPaginationFilter { limit: *limit, offset: *offset, column_offset: column_offset.clone() }
                .encode_to_vec(),
        ),
        Filter::ColumnPrefix { prefix } => {
            ("ColumnPrefixFilter", pb::ColumnPrefixFilter { prefix: prefix.clone() }.encode_to_vec())
        }
        Filter::ColumnRange { min, min_inclusive, max, max_inclusive } => (
            "ColumnRangeFilter",
            pb::ColumnRangeFilter {
                min_column: min.clone(),
                min_column_inclusive: Some(*min_inclusive),
                max_column: max.clone(),
                max_column_inclusive: Some(*max_inclusive),
            }
            .encode_to_vec(),
        ),
        Filter::ColumnValue { family, qualifier, op, comparator } => (
            "ColumnValueFilter",
            pb::ColumnValueFilter {
                family: family.clone(),
                qualifier: qualifier.clone(),
                compare_op: op_to(*op),
                comparator: comparator_to(comparator),
            }
            .encode_to_vec(),
        ),
        Filter::DependentColumn { family, qualifier, drop_dependent_column, op, comparator } => (
            "DependentColumnFilter",
            pb::DependentColumnFilter {
                compare_filter: compare(op, comparator.as_ref()),
                column_family: Some(family.clone()),
                column_qualifier: Some(qualifier.clone()),
                drop_dependent_column: Some(*drop_dependent_column),
            }
            .encode_to_vec(),
        ),
        Filter::Family { op, comparator } => {
            ("FamilyFilter", pb::FamilyFilter { compare_filter: compare(op, Some(comparator)) }.encode_to_vec())
        }
        Filter::Qualifier { op, comparator } => {
            ("QualifierFilter", pb::QualifierFilter { compare_filter: compare(op, Some(comparator)) }.encode_to_vec())
        }
        Filter::Row { op, comparator } => {
            ("RowFilter", pb::RowFilter { compare_filter: compare(op, Some(comparator)) }.encode_to_vec())
        }
        Filter::Value { op, comparator } => {
            ("ValueFilter", pb::ValueFilter { compare_filter: compare(op, Some(comparator)) }.encode_to_vec())
        }
        Filter::FirstKeyOnly => ("FirstKeyOnlyFilter", Vec::new()),
        Filter::FirstKeyValueMatchingQualifiers { qualifiers } => (
            "FirstKeyValueMatchingQualifiersFilter",
            pb::FirstKeyValueMatchingQualifiersFilter { qualifiers: qualifiers.clone() }.encode_to_vec(),
        ),
        Filter::FuzzyRow { keys, is_mask_v2 } => {
            let pair =
                |(first, second): &(Bytes, Bytes)| pb::BytesBytesPair { first: first.clone(), second: second.clone() };
            let message =
                pb::FuzzyRowFilter { fuzzy_keys_data: keys.iter().map(pair).collect(), is_mask_v2: *is_mask_v2 };
            ("FuzzyRowFilter", message.encode_to_vec())
        }
        Filter::InclusiveStop { stop_row } => {
            ("InclusiveStopFilter", pb::InclusiveStopFilter { stop_row_key: Some(stop_row.clone()) }.encode_to_vec())
        }
        Filter::KeyOnly { len_as_val } => {
            ("KeyOnlyFilter", pb::KeyOnlyFilter { len_as_val: *len_as_val }.encode_to_vec())
        }
        Filter::List { op, filters } => {
            let operator = match op {
                FilterListOp::MustPassAll => pb::filter_list::Operator::MustPassAll,
                FilterListOp::MustPassOne => pb::filter_list::Operator::MustPassOne,
            };
            let message =
                pb::FilterList { operator: operator.into(), filters: filters.iter().map(filter_to).collect() };
            ("FilterList", message.encode_to_vec())
        }
        Filter::MultiRowRange { ranges } => {
            let range = |range: &RowRange| pb::RowRange {
                start_row: Some(range.start.clone()),
                start_row_inclusive: Some(range.start_inclusive),
                stop_row: Some(range.stop.clone()),
                stop_row_inclusive: Some(range.stop_inclusive),
            };
            let message = pb::MultiRowRangeFilter { row_range_list: ranges.iter().map(range).collect() };
            ("MultiRowRangeFilter", message.encode_to_vec())
        }
        Filter::MultipleColumnPrefix { prefixes } => (
            "MultipleColumnPrefixFilter",
            pb::MultipleColumnPrefixFilter { sorted_prefixes: prefixes.clone() }.encode_to_vec(),
        ),
        Filter::Page { page_size } => ("PageFilter", pb::PageFilter { page_size: *page_size }.encode_to_vec()),
        Filter::Prefix { prefix } => {
            ("PrefixFilter", pb::PrefixFilter { prefix: Some(prefix.clone()) }.encode_to_vec())
        }
        Filter::RandomRow { chance } => ("RandomRowFilter", pb::RandomRowFilter { chance: *chance }.encode_to_vec()),
        Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
        | Filter::SingleColumnValueExclude {
            family,
            qualifier,
            op,
            comparator,
            filter_if_missing,
            latest_version_only,
        } => {
            let message = pb::SingleColumnValueFilter {
                column_family: Some(family.clone()),
                column_qualifier: Some(qualifier.clone()),
                compare_op: op_to(*op),
                comparator: comparator_to(comparator),
                filter_if_missing: Some(*filter_if_missing),
                latest_version_only: Some(*latest_version_only),
            };
            if matches!(filter, Filter::SingleColumnValue { .. }) {
                ("SingleColumnValueFilter", message.encode_to_vec())
            } else {
                let message = pb::SingleColumnValueExcludeFilter { single_column_value_filter: message };
                ("SingleColumnValueExcludeFilter", message.encode_to_vec())
            }
        }
        Filter::Skip { filter } => ("SkipFilter", pb::SkipFilter { filter: filter_to(filter) }.encode_to_vec()),
        Filter::Timestamps { timestamps, can_hint } => (
            "TimestampsFilter",
            pb::TimestampsFilter { timestamps: timestamps.clone(), can_hint: Some(*can_hint) }.encode_to_vec(),
        ),
        Filter::WhileMatch { filter } => {
            ("WhileMatchFilter", pb::WhileMatchFilter { filter: filter_to(filter) }.encode_to_vec())
        }
    };
    pb::Filter { name: format!("{FILTERS}{name}"), serialized_filter: Some(bytes.into()) }
}
