//! Every filter and comparator over the wire gives what the engine gives without one.

use std::sync::Arc;

use bytes::Bytes;
use client::Row;
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use futures::TryStreamExt;
use model::Cell;
use model::filter::{BitwiseOp, Comparator, CompareOp, Filter, FilterListOp, RowRange};
use model::mutation::Mutation;
use model::query::{Get, Scan};
use model::region::RegionInfo;
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::Limits;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

use crate::rig::*;

/// A region without any server.
async fn engine() -> Arc<Region> {
    let (runtime, fs): (Runtime, Arc<dyn Filesystem>) = (Runtime::system(), Arc::new(MemoryFilesystem::new()));
    let (table, info) = (Arc::new(described("t")), RegionInfo::new(name("t"), Bytes::new(), Bytes::new(), 1));
    let log = Log::create(fs.clone(), runtime.clone(), LogSettings::default(), 1).await.expect("log");
    Region::create(&fs, &runtime, "tid", &info, &table, 1).await.expect("create");
    let (budget, cache) = (Budget::new(16 << 20), Arc::new(BlockCache::new(1 << 20)));
    let ctx = RegionContext { runtime, fs, log, budget, cache, settings: RegionSettings::default() };
    Region::open(ctx, info, "tid", 2, table).await.expect("open")
}

fn rows() -> Vec<Mutation> {
    let number = |n: i64| n.to_be_bytes();
    let row = |n: i64| {
        let mut put = Mutation::put(format!("row{n:02}"));
        for time in 1..=2 {
            put = put.cell_at("f", "long", time, number(n - 10)).expect("cell");
            put = put.cell_at("f", "text", time, format!("Text {n} of {time}")).expect("cell");
            put = put.cell_at("g", format!("q{}", n % 4), time, [n as u8, 0x55]).expect("cell");
        }
        if n % 3 == 0 {
            put = put.cell_at("f", "rare", 5, "").expect("cell");
        }
        put
    };
    (0..20).map(row).collect()
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn comparators() -> Vec<(&'static str, Comparator)> {
    let regex = |pattern: &str, flags, engine: Option<&str>| Comparator::Regex {
        pattern: pattern.to_owned(),
        flags,
        charset: "UTF-8".to_owned(),
        engine: engine.map(str::to_owned),
    };
    vec![
        ("text", Comparator::Binary(bytes("Text 5 of 2"))),
        ("text", Comparator::BinaryPrefix(bytes("Text 1"))),
        ("text", Comparator::BinaryComponent { value: bytes("7"), offset: 5 }),
        ("long", Comparator::Long(Bytes::copy_from_slice(&(-3_i64).to_be_bytes()))),
        ("text", Comparator::Null),
        ("text", Comparator::Substring("EXT 1".to_owned())),
        ("text", regex("^Text 1[0-3]", 0, None)),
        ("text", regex("tExT .* 2$", 2, Some("JAVA"))),
        ("text", regex("[579] of", 0, Some("JONI"))),
    ]
}

fn filters() -> Vec<Filter> {
    use CompareOp::*;
    let single = |qualifier: &str, op, comparator, filter_if_missing, latest_version_only| Filter::SingleColumnValue {
        family: bytes("f"),
        qualifier: bytes(qualifier),
        op,
        comparator,
        filter_if_missing,
        latest_version_only,
    };
    let exclude = |qualifier: &str| Filter::SingleColumnValueExclude {
        family: bytes("f"),
        qualifier: bytes(qualifier),
        op: Equal,
        comparator: Comparator::Binary(Bytes::new()),
        filter_if_missing: true,
        latest_version_only: false,
    };
    let odd = || Filter::Row {
        op: Equal,
        comparator: Comparator::Regex {
            pattern: "[13579]$".to_owned(),
            flags: 0,
            charset: "UTF-8".to_owned(),
            engine: None,
        },
    };
    let list = |op, filters| Filter::List { op, filters };
    let range = |start: &str, start_inclusive, stop: &str, stop_inclusive| RowRange {
        start: bytes(start),
        start_inclusive,
        stop: bytes(stop),
        stop_inclusive,
    };
    let mut all = vec![
        Filter::ColumnCountGet { limit: 2 },
        Filter::ColumnPagination { limit: 2, offset: Some(1), column_offset: None },
        Filter::ColumnPagination { limit: 1, offset: None, column_offset: Some(bytes("rare")) },
        Filter::ColumnPrefix { prefix: bytes("q") },
        Filter::ColumnRange {
            min: Some(bytes("q1")),
            min_inclusive: true,
            max: Some(bytes("q3")),
            max_inclusive: false,
        },
        Filter::ColumnRange { min: None, min_inclusive: false, max: Some(bytes("long")), max_inclusive: true },
        Filter::ColumnValue {
            family: bytes("f"),
            qualifier: bytes("text"),
            op: NotEqual,
            comparator: Comparator::Substring("1".to_owned()),
        },
        Filter::DependentColumn {
            family: bytes("f"),
            qualifier: bytes("text"),
            drop_dependent_column: true,
            op: NoOp,
            comparator: None,
        },
        Filter::DependentColumn {
            family: bytes("f"),
            qualifier: bytes("text"),
            drop_dependent_column: false,
            op: Equal,
            comparator: Some(Comparator::Substring("of 1".to_owned())),
        },
        Filter::Family { op: Equal, comparator: Comparator::Binary(bytes("g")) },
        Filter::FirstKeyOnly,
        Filter::FirstKeyValueMatchingQualifiers { qualifiers: vec![bytes("rare"), bytes("q1")] },
        Filter::FuzzyRow {
            keys: vec![(bytes("row?7"), Bytes::from_static(&[0xff, 0xff, 0xff, 2, 0xff]))],
            is_mask_v2: Some(true),
        },
        Filter::InclusiveStop { stop_row: bytes("row04") },
        Filter::KeyOnly { len_as_val: false },
        Filter::KeyOnly { len_as_val: true },
        Filter::MultiRowRange {
            ranges: vec![
                range("row02", false, "row04", true),
                range("row10", true, "row12", false),
                range("row18", true, "", false),
            ],
        },
        Filter::MultipleColumnPrefix { prefixes: vec![bytes("q1"), bytes("ra")] },
        Filter::Page { page_size: 3 },
        Filter::Prefix { prefix: bytes("row1") },
        Filter::Qualifier { op: GreaterOrEqual, comparator: Comparator::Binary(bytes("rare")) },
        Filter::RandomRow { chance: 1.0 },
        Filter::RandomRow { chance: 0.0 },
        odd(),
        single("rare", Equal, Comparator::Binary(Bytes::new()), true, true),
        single("rare", NotEqual, Comparator::Binary(Bytes::new()), false, true),
        single("text", Equal, Comparator::Substring("of 1".to_owned()), false, false),
        exclude("rare"),
        Filter::Skip {
            filter: Box::new(Filter::Value { op: NotEqual, comparator: Comparator::Substring("7".to_owned()) }),
        },
        Filter::Timestamps { timestamps: vec![1, 5], can_hint: false },
        Filter::Timestamps { timestamps: vec![2], can_hint: true },
        Filter::WhileMatch {
            filter: Box::new(Filter::Row { op: Less, comparator: Comparator::Binary(bytes("row06")) }),
        },
        list(
            FilterListOp::MustPassAll,
            vec![odd(), Filter::KeyOnly { len_as_val: true }, Filter::Page { page_size: 2 }],
        ),
        list(
            FilterListOp::MustPassOne,
            vec![Filter::Prefix { prefix: bytes("row00") }, Filter::ColumnPrefix { prefix: bytes("ra") }],
        ),
        list(FilterListOp::MustPassOne, vec![]),
        Filter::Qualifier { op: Equal, comparator: Comparator::Null },
        Filter::Value {
            op: Equal,
            comparator: Comparator::Bit { bits: Bytes::from_static(&[1, 0]), op: BitwiseOp::And },
        },
        Filter::Value {
            op: NotEqual,
            comparator: Comparator::Bit { bits: Bytes::from_static(&[3, 0x55]), op: BitwiseOp::Xor },
        },
        Filter::Value {
            op: Equal,
            comparator: Comparator::Bit { bits: Bytes::from_static(&[0, 0]), op: BitwiseOp::Or },
        },
    ];
    for (qualifier, comparator) in comparators() {
        for op in [Less, LessOrEqual, Equal, NotEqual, GreaterOrEqual, Greater, NoOp] {
            all.push(single(qualifier, op, comparator.clone(), true, true));
        }
    }
    all
}

type Rows = Vec<Vec<Cell>>;

async fn scanned(region: &Arc<Region>, scan: &Scan) -> Result<Rows, String> {
    let mut scanner = region.scanner(scan).await.map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    while scanner.next(&Limits::rows(100), &mut rows).await.map_err(|error| error.to_string())?.more {}
    Ok(rows.into_iter().map(|row| row.cells).collect())
}

/// Cells compare without sequence numbers, which do not travel.
fn same(ours: &[Cell], theirs: &[Cell]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(one, other)| one.bytes() == other.bytes())
}

#[tokio::test]
async fn every_filter_means_the_same_over_the_wire() {
    let (region, node) = (engine().await, Node::new().await);
    let table = node.table("t", &[]).await;
    for put in rows() {
        region.mutate(vec![put.clone()], None).await.expect("put");
        table.mutate(put).await.expect("put");
    }
    let (mut matched, mut empty) = (0, 0);
    for filter in filters() {
        for (reversed, versions, caching) in [(false, 1, None), (false, 2, Some(3)), (true, 2, Some(100))] {
            let scan = Scan { reversed, caching, ..Scan::default() };
            let scan = scan.with_versions(versions).with_filter(filter.clone());
            let wanted = scanned(&region, &scan).await;
            let got: client::Result<Vec<Row>> = table.scan(scan.clone()).try_collect().await;
            match (wanted, got) {
                (Ok(wanted), Ok(got)) => {
                    *(if wanted.is_empty() { &mut empty } else { &mut matched }) += 1;
                    let equal = wanted.len() == got.len()
                        && wanted.iter().zip(&got).all(|(wanted, got)| same(wanted, &got.cells));
                    assert!(equal, "{scan:?}\nwanted {wanted:?}\ngot {got:?}");
                }
                (Err(wanted), Err(got)) => assert!(!got.is_retriable(), "{wanted} {got}"),
                (wanted, got) => panic!("{scan:?}\nwanted {wanted:?}\ngot {got:?}"),
            }
        }
        let get = Get::new("row07").with_versions(2).with_filter(filter.clone());
        match (region.get(&get).await, table.get(&get).await) {
            (Ok(wanted), Ok(got)) => assert!(same(&wanted, &got.cells), "{get:?}\nwanted {wanted:?}\ngot {got:?}"),
            (Err(_), Err(got)) => assert!(!got.is_retriable(), "{got}"),
            (wanted, got) => panic!("{get:?}\nwanted {wanted:?}\ngot {got:?}"),
        }
    }
    assert!(matched > 150 && empty > 10, "{matched} {empty}");
}
