//! Tables, regions, filters, gets and scans by chance: they come back from their messages as they were.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ferrobase_protocol::filter::{comparator_from, comparator_to, filter_from, filter_to};
use ferrobase_protocol::query::{get_from, get_to, scan_from, scan_to};
use ferrobase_protocol::schema::{
    namespace_from, namespace_to, region_info_from, region_info_from_meta, region_info_to, region_info_to_meta,
    table_from, table_to,
};
use model::filter::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp, RowRange};
use model::query::{Columns, Get, Scan, Selection, TimeRange};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, Namespace, TableDescriptor, TableName};
use proptest::prelude::*;
use prost::Message;

use crate::random::bytes;

/// Through the wire's bytes.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(&message.encode_to_vec()[..]).expect("its own bytes")
}

fn table_name() -> impl Strategy<Value = TableName> {
    ("[a-zA-Z0-9_]{1,6}", "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,6}")
        .prop_map(|(namespace, qualifier)| TableName::new(&namespace, &qualifier).expect("legal"))
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::btree_map("\\PC{0,8}", "\\PC{0,8}", 0..4)
}

fn attributes() -> impl Strategy<Value = BTreeMap<String, Bytes>> {
    proptest::collection::btree_map("\\PC{0,8}", bytes(0..8), 0..4)
}

fn table() -> impl Strategy<Value = TableDescriptor> {
    let family = (bytes(0..5), attributes(), texts()).prop_map(|(name, attributes, configuration)| FamilyDescriptor {
        name,
        attributes,
        configuration,
    });
    (table_name(), attributes(), proptest::collection::vec(family, 0..4), texts()).prop_map(
        |(name, attributes, families, configuration)| TableDescriptor {
            name,
            attributes,
            families: families.into_iter().map(|family| (family.name.clone(), family)).collect(),
            configuration,
        },
    )
}

fn region() -> impl Strategy<Value = RegionInfo> {
    (table_name(), bytes(0..6), bytes(0..6), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
        |(table, start_key, end_key, region_id, offline, split)| RegionInfo {
            table,
            start_key,
            end_key,
            region_id,
            offline,
            split,
        },
    )
}

fn operator() -> impl Strategy<Value = CompareOp> {
    use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NoOp, NotEqual};
    proptest::sample::select(vec![Less, LessOrEqual, Equal, NotEqual, GreaterOrEqual, Greater, NoOp])
}

fn comparator() -> impl Strategy<Value = Comparator> {
    let bit = proptest::sample::select(vec![BitwiseOp::And, BitwiseOp::Or, BitwiseOp::Xor]);
    prop_oneof![
        bytes(0..6).prop_map(Comparator::Binary),
        bytes(0..6).prop_map(Comparator::BinaryPrefix),
        (bytes(0..6), 0..i32::MAX as u32).prop_map(|(value, offset)| Comparator::BinaryComponent { value, offset }),
        bytes(8..9).prop_map(Comparator::Long),
        bytes(5..9).prop_map(Comparator::BigDecimal),
        (bytes(0..6), bit).prop_map(|(bits, op)| Comparator::Bit { bits, op }),
        Just(Comparator::Null),
        "[a-z ]{0,6}".prop_map(Comparator::Substring),
        ("[a-z.*]{0,6}", 0..64i32).prop_map(|(pattern, flags)| Comparator::Regex {
            pattern,
            flags,
            charset: "UTF-8".to_owned(),
            engine: Some("JAVA".to_owned())
        }),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let list = |of| proptest::collection::vec(of, 0..4);
    let optional = || proptest::option::of(bytes(0..4));
    let compared = || (operator(), comparator());
    let column = || (bytes(0..4), bytes(0..4), operator(), comparator(), any::<bool>(), any::<bool>());
    let range = (bytes(0..4), any::<bool>(), bytes(0..4), any::<bool>()).prop_map(
        |(start, start_inclusive, stop, stop_inclusive)| RowRange { start, start_inclusive, stop, stop_inclusive },
    );
    let leaf = prop_oneof![
        Just(Filter::FirstKeyOnly),
        any::<i32>().prop_map(|limit| Filter::ColumnCountGet { limit }),
        (any::<i32>(), proptest::option::of(any::<i32>()), optional())
            .prop_map(|(limit, offset, column_offset)| Filter::ColumnPagination { limit, offset, column_offset }),
        bytes(0..4).prop_map(|prefix| Filter::ColumnPrefix { prefix }),
        (optional(), any::<bool>(), optional(), any::<bool>()).prop_map(|(min, min_inclusive, max, max_inclusive)| {
            Filter::ColumnRange { min, min_inclusive, max, max_inclusive }
        }),
        column().prop_map(|(family, qualifier, op, comparator, ..)| Filter::ColumnValue {
            family,
            qualifier,
            op,
            comparator
        }),
        column().prop_map(|(family, qualifier, op, comparator, drop_dependent_column, with)| Filter::DependentColumn {
            family,
            qualifier,
            drop_dependent_column,
            op,
            comparator: with.then_some(comparator),
        }),
        compared().prop_map(|(op, comparator)| Filter::Family { op, comparator }),
        compared().prop_map(|(op, comparator)| Filter::Qualifier { op, comparator }),
        compared().prop_map(|(op, comparator)| Filter::Row { op, comparator }),
        compared().prop_map(|(op, comparator)| Filter::Value { op, comparator }),
        list(bytes(0..4)).prop_map(|qualifiers| Filter::FirstKeyValueMatchingQualifiers { qualifiers }),
        bytes(0..4).prop_map(|stop_row| Filter::InclusiveStop { stop_row }),
        any::<bool>().prop_map(|len_as_val| Filter::KeyOnly { len_as_val }),
        proptest::collection::vec(range, 0..3).prop_map(|ranges| Filter::MultiRowRange { ranges }),
        list(bytes(0..4)).prop_map(|prefixes| Filter::MultipleColumnPrefix { prefixes }),
        any::<i64>().prop_map(|page_size| Filter::Page { page_size }),
        bytes(0..4).prop_map(|prefix| Filter::Prefix { prefix }),
        (0..1000u16).prop_map(|chance| Filter::RandomRow { chance: f32::from(chance) / 1000.0 }),
        column().prop_map(|(family, qualifier, op, comparator, filter_if_missing, latest_version_only)| {
            Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
        }),
        column().prop_map(|(family, qualifier, op, comparator, filter_if_missing, latest_version_only)| {
            Filter::SingleColumnValueExclude {
                family,
                qualifier,
                op,
                comparator,
                filter_if_missing,
                latest_version_only,
            }
        }),
        (proptest::collection::vec(any::<i64>(), 0..4), any::<bool>())
            .prop_map(|(timestamps, can_hint)| Filter::Timestamps { timestamps, can_hint }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let op = proptest::sample::select(vec![FilterListOp::MustPassAll, FilterListOp::MustPassOne]);
        prop_oneof![
            (op, proptest::collection::vec(inner.clone(), 0..4)).prop_map(|(op, filters)| Filter::List { op, filters }),
            inner.clone().prop_map(|filter| Filter::Skip { filter: Box::new(filter) }),
            inner.prop_map(|filter| Filter::WhileMatch { filter: Box::new(filter) }),
        ]
    })
}

fn selection() -> impl Strategy<Value = Selection> {
    let columns = proptest::collection::btree_map(
        bytes(1..4),
        proptest::option::of(proptest::collection::btree_set(bytes(0..4), 1..4)),
        0..3,
    )
    .prop_map(|columns: BTreeMap<Bytes, Option<BTreeSet<Bytes>>>| columns as Columns);
    let range =
        || prop_oneof![Just(TimeRange::ALL), (0..50i64, 50..100i64).prop_map(|(from, to)| TimeRange { from, to })];
    (
        (columns, range(), proptest::collection::btree_map(bytes(1..4), range(), 0..3)),
        (1..=i32::MAX as u32, proptest::option::of(filter()), proptest::option::of(0..100u32), 0..100u32),
        (any::<bool>(), any::<bool>(), proptest::option::of(any::<bool>())),
    )
        .prop_map(
            |((columns, time_range, family_time_ranges), (max_versions, filter, store_limit, store_offset), rest)| {
                Selection {
                    columns,
                    time_range,
                    family_time_ranges,
                    max_versions,
                    filter,
                    store_limit,
                    store_offset,
                    cache_blocks: rest.0,
                    read_uncommitted: rest.1,
                    load_families_on_demand: rest.2,
                }
            },
        )
}

fn scan() -> impl Strategy<Value = Scan> {
    let some = |most: u32| proptest::option::of(1..most);
    (
        (selection(), bytes(0..4), bytes(0..4)),
        (some(100), some(100), proptest::option::of(1..u64::MAX), proptest::option::of(1..u64::MAX)),
        proptest::array::uniform6(any::<bool>()),
    )
        .prop_map(
            |((selection, start_row, stop_row), (batch, caching, max_result_size, mvcc_read_point), flags)| Scan {
                start_row,
                include_start_row: flags[0],
                stop_row,
                include_stop_row: flags[1],
                reversed: flags[2],
                selection,
                batch,
                limit: None,
                caching,
                max_result_size,
                allow_partial_results: flags[3],
                raw: flags[4],
                need_cursor: flags[5],
                mvcc_read_point,
            },
        )
}

proptest! {
    #[test]
    fn tables_come_back_as_they_were(table in table()) {
        prop_assert_eq!(table_from(&sent(&table_to(&table))).expect("a table"), table);
    }

    #[test]
    fn namespaces_come_back_as_they_were(name in "\\PC{0,8}", properties in texts()) {
        let namespace = Namespace { name, properties };
        prop_assert_eq!(namespace_from(&sent(&namespace_to(&namespace))).expect("a namespace"), namespace);
    }

    #[test]
    fn regions_come_back_as_they_were(region in region(), at in any::<prop::sample::Index>(), byte: u8) {
        prop_assert_eq!(&region_info_from(&sent(&region_info_to(&region))).expect("a region"), &region);
        let stored = region_info_to_meta(&region);
        prop_assert_eq!(&region_info_from_meta(&stored).expect("a region"), &region);
        let mut damaged = stored.to_vec();
        damaged[at.index(stored.len())] = byte;
        // A region or an error; never a panic.
        let _ = region_info_from_meta(&damaged.into()).is_ok();
    }

    #[test]
    fn filters_come_back_as_they_were(filter in filter(), comparator in comparator()) {
        prop_assert_eq!(filter_from(&sent(&filter_to(&filter))).expect("a filter"), filter);
        prop_assert_eq!(comparator_from(&sent(&comparator_to(&comparator))).expect("a comparator"), comparator);
    }

    #[test]
    fn gets_and_scans_come_back_as_they_were(row in bytes(1..5), selection in selection(), existence_only: bool, scan in scan()) {
        let get = Get { row, selection, existence_only };
        prop_assert_eq!(get_from(&sent(&get_to(&get))).expect("a get"), get);
        prop_assert_eq!(scan_from(&sent(&scan_to(&scan))).expect("a scan"), scan);
    }
}
