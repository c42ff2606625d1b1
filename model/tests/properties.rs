//! What holds for all cells, keys, names, ranges and filter texts, tried by chance.

use std::cmp::Ordering;

use bytes::Bytes;
use ferrobase_model as model;
use model::cell::{KeyRef, check_tags, stamp};
use model::filter::language::parse;
use model::filter::{Comparator, CompareOp, Filter, FilterListOp};
use model::query::{Scan, prefix_stop_row};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName, check_family, check_namespace};
use model::{Cell, CellOrder, CellRef, CellType, LATEST_TIMESTAMP, SeqNo};
use proptest::prelude::*;

const STORABLE: [CellType; 5] = [
    CellType::PUT,
    CellType::DELETE,
    CellType::DELETE_COLUMN,
    CellType::DELETE_FAMILY,
    CellType::DELETE_FAMILY_VERSION,
];

/// Short words over few letters, so that equal parts and prefixes are common. META's comma and what sorts around it too.
fn word(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let letters = prop_oneof![4 => proptest::sample::select(&b"a,+-.b\x00\xff"[..]), 1 => any::<u8>()];
    proptest::collection::vec(letters, len)
}

fn tags() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..5)), 0..3).prop_map(|tags| {
        let tag = |(kind, payload): &(u8, Vec<u8>)| {
            let len = (payload.len() as u16 + 1).to_be_bytes();
            [&len[..], &[*kind], payload].concat()
        };
        tags.iter().flat_map(tag).collect()
    })
}

#[derive(Clone, Debug)]
struct Parts {
    row: Vec<u8>,
    family: Vec<u8>,
    qualifier: Vec<u8>,
    timestamp: i64,
    cell_type: CellType,
    value: Vec<u8>,
    tags: Vec<u8>,
    seqno: u64,
}

impl Parts {
    fn cell(&self) -> Cell {
        let cell = Cell::with_tags(
            &self.row,
            &self.family,
            &self.qualifier,
            self.timestamp,
            self.cell_type,
            &self.value,
            &self.tags,
        );
        cell.expect("legal parts").with_seqno(SeqNo(self.seqno))
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let timestamp = prop_oneof![3 => 0..3i64, 1 => any::<i64>()];
    (
        (word(1..7), word(1..3), word(0..4)),
        (timestamp, proptest::sample::select(&STORABLE[..]), word(0..4), tags(), 0..4u64),
    )
        .prop_map(|((row, family, qualifier), (timestamp, cell_type, value, tags, seqno))| Parts {
            row,
            family,
            qualifier,
            timestamp,
            cell_type,
            value,
            tags,
            seqno,
        })
}

/// Three cells that share most of their parts.
fn relatives() -> impl Strategy<Value = Vec<Parts>> {
    let own = (parts(), proptest::collection::vec(proptest::bool::weighted(0.8), 6));
    (parts(), proptest::collection::vec(own, 3)).prop_map(|(common, list)| {
        let take = |(own, shared): (Parts, Vec<bool>)| {
            let of = |at: usize| if shared[at] { &common } else { &own };
            Parts {
                row: of(0).row.clone(),
                family: of(1).family.clone(),
                qualifier: of(2).qualifier.clone(),
                timestamp: of(3).timestamp,
                cell_type: of(4).cell_type,
                seqno: of(5).seqno,
                ..own.clone()
            }
        };
        list.into_iter().map(take).collect()
    })
}

/// META's rows have parts: the table up to the first comma, the start key, what stands behind the last comma.
fn meta_parts(row: &[u8]) -> (&[u8], Option<&[u8]>, Option<&[u8]>) {
    let comma = |byte: &u8| *byte == b',';
    let Some(first) = row.iter().position(comma) else { return (row, None, None) };
    let rest = &row[first + 1..];
    match rest.iter().rposition(comma) {
        None => (&row[..first], Some(rest), None),
        Some(last) => (&row[..first], Some(&rest[..last]), Some(&rest[last + 1..])),
    }
}

/// The order, said a second way.
fn expected(order: CellOrder, a: &Parts, b: &Parts) -> Ordering {
    let rows = match order {
        CellOrder::User => a.row.cmp(&b.row),
        CellOrder::Meta => meta_parts(&a.row).cmp(&meta_parts(&b.row)),
    };
    let code = |cell_type: CellType| cell_type.0;
    rows.then_with(|| (&a.family, &a.qualifier).cmp(&(&b.family, &b.qualifier)))
        .then_with(|| (b.timestamp, code(b.cell_type), b.seqno).cmp(&(a.timestamp, code(a.cell_type), a.seqno)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_cell_gives_back_its_parts_and_its_bytes_give_back_the_cell(parts in parts(), stamped in any::<i64>()) {
        let cell = parts.cell();
        let seen = (cell.row(), cell.family(), cell.qualifier(), cell.timestamp(), cell.cell_type());
        prop_assert_eq!(seen, (&parts.row[..], &parts.family[..], &parts.qualifier[..], parts.timestamp, parts.cell_type));
        prop_assert_eq!((cell.value(), cell.tags(), cell.seqno().0), (&parts.value[..], &parts.tags[..], parts.seqno));
        prop_assert_eq!(&Cell::parse(cell.bytes().clone(), cell.seqno()).expect("its own bytes"), &cell);
        let mut bytes = cell.bytes().to_vec();
        stamp(&mut bytes, stamped);
        prop_assert_eq!(Bytes::from(bytes), Parts { timestamp: stamped, ..parts }.cell().bytes().clone());
    }

    #[test]
    fn bytes_are_a_cell_or_an_error(bytes in proptest::collection::vec(prop_oneof![Just(0u8), 1..20u8, any::<u8>()], 0..60)) {
        if let Ok(cell) = CellRef::parse(&bytes, SeqNo(1)) {
            // Every part can be asked for, and they make the same bytes again, but for search keys' empty rows.
            let again = Cell::with_tags(
                cell.row(), cell.family(), cell.qualifier(), cell.timestamp(), cell.cell_type(), cell.value(), cell.tags(),
            );
            prop_assert!(cell.row().is_empty() || again.expect("legal parts").bytes()[..] == bytes);
            prop_assert!(cell.tag_iter().count() <= bytes.len());
        }
        let _ = check_tags(&bytes).is_ok() && KeyRef::parse(&bytes).is_ok();
    }

    #[test]
    fn damaged_cells_are_cells_or_errors(parts in parts(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = parts.cell().bytes().to_vec();
        let (at, cut) = (at.index(bytes.len()), cut.index(bytes.len()));
        prop_assert!(CellRef::parse(&bytes[..cut], SeqNo(1)).is_err() || cut == bytes.len() - 2 - parts.tags.len());
        bytes[at] = byte;
        if let Ok(cell) = CellRef::parse(&bytes, SeqNo(1)) {
            prop_assert!(cell.as_bytes().len() == bytes.len() && cell.tag_iter().count() <= bytes.len());
        }
    }

    #[test]
    fn the_order_is_total_and_equal_means_equal_keys(list in relatives()) {
        for order in [CellOrder::User, CellOrder::Meta] {
            let cells: Vec<Cell> = list.iter().map(Parts::cell).collect();
            let compare = |a: usize, b: usize| order.compare(cells[a].as_ref(), cells[b].as_ref());
            for a in 0..3 {
                prop_assert_eq!(compare(a, a), Ordering::Equal);
                for b in 0..3 {
                    prop_assert_eq!(compare(a, b), compare(b, a).reverse());
                    prop_assert_eq!(compare(a, b), expected(order, &list[a], &list[b]), "{:?} and {:?}", cells[a], cells[b]);
                    let same = cells[a].as_ref().key() == cells[b].as_ref().key() && list[a].seqno == list[b].seqno;
                    prop_assert_eq!(compare(a, b).is_eq(), same);
                    for c in 0..3 {
                        prop_assert!(compare(a, b).is_gt() || compare(b, c).is_gt() || compare(a, c).is_le());
                    }
                }
            }
        }
    }

    #[test]
    fn search_keys_stand_where_they_say(list in relatives()) {
        let (parts, other) = (&list[0], list[1].cell());
        let cell = parts.cell();
        let (row, family, qualifier) = (&parts.row[..], &parts.family[..], &parts.qualifier[..]);
        for order in [CellOrder::User, CellOrder::Meta] {
            let before = |a: &Cell, b: &Cell| order.compare(a.as_ref(), b.as_ref()).is_lt();
            // Whatever lies between the edges of a row or column is in it, and the other way round.
            let in_row = before(&Cell::first_on_row(row), &other) && before(&other, &Cell::last_on_row(row));
            prop_assert_eq!(in_row, order.compare_rows(other.row(), row).is_eq());
            let (first, last) = (Cell::first_on_column(row, family, qualifier), Cell::last_on_column(row, family, qualifier));
            prop_assert!(before(&first, &cell) && before(&cell, &last));
            prop_assert_eq!(before(&first, &other) && before(&other, &last), other.as_ref().same_column(cell.as_ref()));
            prop_assert!(before(&Cell::first_on_family(row, family), &cell));
            let at = Cell::first_on_column_at(row, family, qualifier, parts.timestamp);
            prop_assert!(before(&at, &cell) && (parts.timestamp == LATEST_TIMESTAMP || before(&first, &at)));
            prop_assert!(before(&Cell::first_on_row(b""), &cell));
        }
    }

    #[test]
    fn a_prefix_is_a_range_of_rows(prefix in word(0..4), row in word(1..7)) {
        let stop = prefix_stop_row(&prefix);
        let inside = row >= prefix && (stop.is_empty() || row[..] < stop[..]);
        prop_assert_eq!(inside, row.starts_with(&prefix));
        let scan = Scan::default().with_prefix(prefix.clone());
        prop_assert_eq!((&scan.start_row[..], scan.stop_row), (&prefix[..], stop));
    }

    #[test]
    fn every_row_lies_in_exactly_one_region(mut keys in proptest::collection::vec(word(1..4), 0..6), row in word(1..7), id in any::<u64>()) {
        keys.sort();
        keys.dedup();
        let edges: Vec<Bytes> =
            std::iter::once(Bytes::new()).chain(keys.into_iter().map(Bytes::from)).chain([Bytes::new()]).collect();
        let regions: Vec<RegionInfo> = edges
            .windows(2)
            .map(|pair| RegionInfo::new("ns:t".parse().expect("a name"), pair[0].clone(), pair[1].clone(), id))
            .collect();
        prop_assert_eq!(regions.iter().filter(|region| region.contains(&row)).count(), 1);
        let names: std::collections::BTreeSet<String> = regions.iter().map(RegionInfo::encoded_name).collect();
        prop_assert_eq!(names.len(), regions.len());
        prop_assert!(names.iter().all(|name| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn table_names_are_read_as_they_are_shown(text in "[a-zA-Z0-9_.:/\\\\é -]{0,8}") {
        let parsed = text.parse::<TableName>();
        if let Ok(name) = &parsed {
            prop_assert_eq!(&name.to_string().parse::<TableName>().expect("shown"), name);
            prop_assert_eq!(&TableName::new(name.namespace(), name.qualifier()).expect("its own parts"), name);
            prop_assert!(!name.qualifier().starts_with(['.', '-']) && check_namespace(name.namespace()).is_ok());
            // Names are folders.
            prop_assert!(!name.to_string().contains(['/', '\\', ' ', '\0']) && name.qualifier() != "..");
        }
        let (namespace, qualifier) = text.split_once(':').unwrap_or(("default", &text));
        let word = |text: &str, more: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || more.contains(c));
        let legal = word(namespace, "_") && word(qualifier, "_-.") && !qualifier.starts_with(['.', '-']);
        prop_assert_eq!(parsed.is_ok(), legal, "{}", text);
    }

    #[test]
    fn family_names_that_pass_are_folders(name in proptest::collection::vec(prop_oneof![4 => 32..127u8, 1 => any::<u8>()], 0..140)) {
        if check_family(&name).is_ok() {
            prop_assert!(!name.is_empty() && name.len() <= 127 && name[0] != b'.');
            prop_assert!(!name.iter().any(|byte| *byte < 32 || *byte == 127 || b":/\\".contains(byte)));
        }
    }

    #[test]
    fn settings_that_pass_are_those_that_are_used(
        settings in proptest::collection::btree_map(
            prop::sample::select(&["VERSIONS", "MIN_VERSIONS", "TTL", "BLOCKSIZE", "KEEP_DELETED_CELLS", "BLOOMFILTER",
                "COMPRESSION", "DATA_BLOCK_ENCODING", "IN_MEMORY", "NEW_VERSION_BEHAVIOR", "OTHER"][..]),
            prop_oneof![Just("0".to_owned()), Just("3".to_owned()), Just("70000".to_owned()), Just("true".to_owned()), Just("TTL".to_owned()),
                Just("FOREVER".to_owned()), Just("ROW".to_owned()), Just("GZ".to_owned()), Just("fast_diff".to_owned()), ".{0,6}", "-?[0-9]{1,12}"],
            0..4,
        )
    ) {
        let family = settings.iter().fold(FamilyDescriptor::new("f"), |family, (key, value)| family.with(key, value));
        // Getters answer whatever the text is.
        let seen = (family.max_versions(), family.min_versions(), family.ttl_ms(), family.block_size());
        let _ = (family.bloom_type(), family.compression(), family.data_block_encoding(), family.keep_deleted_cells());
        if family.validate().is_ok() {
            let number = |key: &str| settings.get(key).and_then(|text| text.trim().parse::<i64>().ok());
            prop_assert!(seen.0 >= 1 && seen.1 <= seen.0 && seen.3 >= 1024 && seen.2.is_none_or(|ms| ms >= 1000));
            prop_assert_eq!(i64::from(seen.0), number("VERSIONS").unwrap_or(1));
            prop_assert_eq!(seen.2, number("TTL").filter(|ttl| *ttl != i64::from(i32::MAX)).map(|ttl| ttl * 1000));
            let table = TableDescriptor::new("t".parse().expect("a name")).with_family(family);
            prop_assert!(table.validate().is_ok());
        }
    }

    #[test]
    fn a_filter_is_read_as_it_is_written(filter in filter(), spaces in 0..3usize) {
        let text = shown(&filter, &" ".repeat(spaces));
        prop_assert_eq!(parse(&text).map_err(|error| error.to_string()), Ok(filter), "{}", text.escape_ascii());
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    use CompareOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let bytes = || {
        word(0..5).prop_map(|word| {
            word.into_iter().flat_map(|b| if b == 0xff { vec![b'\''] } else { vec![b] }).collect::<Bytes>()
        })
    };
    let compared = move || {
        let any = prop::sample::select(&[Less, LessOrEqual, Equal, NotEqual, GreaterOrEqual, Greater][..]);
        let equal = prop::sample::select(&[Equal, NotEqual][..]);
        let regex =
            |flags| move |pattern| Comparator::Regex { pattern, flags, charset: "UTF-8".to_owned(), engine: None };
        prop_oneof![
            (any.clone(), bytes().prop_map(Comparator::Binary)),
            (any, bytes().prop_map(Comparator::BinaryPrefix)),
            (equal.clone(), "[a-z.*:']{0,5}".prop_map(regex(32))),
            (equal.clone(), "[a-z.*:']{0,5}".prop_map(regex(34))),
            (equal, "[a-z:' ]{0,5}".prop_map(Comparator::Substring)),
        ]
    };
    let column = move || (bytes(), bytes(), compared(), any::<bool>(), any::<bool>());
    let bound = move || prop::option::of(bytes().prop_filter("empty means none", |bytes| !bytes.is_empty()));
    let leaf = prop_oneof![
        Just(Filter::FirstKeyOnly),
        any::<bool>().prop_map(|len_as_val| Filter::KeyOnly { len_as_val }),
        bytes().prop_map(|prefix| Filter::Prefix { prefix }),
        bytes().prop_map(|prefix| Filter::ColumnPrefix { prefix }),
        prop::collection::vec(bytes(), 0..4).prop_map(|prefixes| Filter::MultipleColumnPrefix { prefixes }),
        any::<i32>().prop_map(|limit| Filter::ColumnCountGet { limit }),
        any::<i64>().prop_map(|page_size| Filter::Page { page_size }),
        (any::<i32>(), any::<i32>()).prop_map(|(limit, offset)| Filter::ColumnPagination {
            limit,
            offset: Some(offset),
            column_offset: None
        }),
        bytes().prop_map(|stop_row| Filter::InclusiveStop { stop_row }),
        prop::collection::vec(0..i64::MAX, 0..4)
            .prop_map(|timestamps| Filter::Timestamps { timestamps, can_hint: false }),
        compared().prop_map(|(op, comparator)| Filter::Row { op, comparator }),
        compared().prop_map(|(op, comparator)| Filter::Family { op, comparator }),
        compared().prop_map(|(op, comparator)| Filter::Qualifier { op, comparator }),
        compared().prop_map(|(op, comparator)| Filter::Value { op, comparator }),
        (bound(), any::<bool>(), bound(), any::<bool>()).prop_map(|(min, min_inclusive, max, max_inclusive)| {
            Filter::ColumnRange { min, min_inclusive, max, max_inclusive }
        }),
        column().prop_map(|(family, qualifier, (op, comparator), filter_if_missing, latest_version_only)| {
            Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only }
        }),
        column().prop_map(|(family, qualifier, (op, comparator), filter_if_missing, latest_version_only)| {
            Filter::SingleColumnValueExclude {
                family,
                qualifier,
                op,
                comparator,
                filter_if_missing,
                latest_version_only,
            }
        }),
        column().prop_map(|(family, qualifier, (op, comparator), ..)| Filter::ColumnValue {
            family,
            qualifier,
            op,
            comparator
        }),
        column().prop_map(|(family, qualifier, (op, comparator), drop_dependent_column, _)| {
            Filter::DependentColumn { family, qualifier, drop_dependent_column, op, comparator: Some(comparator) }
        }),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        let op = prop::sample::select(&[FilterListOp::MustPassAll, FilterListOp::MustPassOne][..]);
        prop_oneof![
            (op, prop::collection::vec(inner.clone(), 2..4)).prop_map(|(op, filters)| Filter::List { op, filters }),
            inner.clone().prop_map(|filter| Filter::Skip { filter: Box::new(filter) }),
            inner.prop_map(|filter| Filter::WhileMatch { filter: Box::new(filter) }),
        ]
    })
}

/// The filter in HBase's language; lists always in parentheses.
fn shown(filter: &Filter, gap: &str) -> Vec<u8> {
    let quoted = |bytes: &[u8]| {
        let mut out = vec![b'\''];
        bytes.iter().for_each(|byte| out.extend(if *byte == b'\'' { &b"''"[..] } else { std::slice::from_ref(byte) }));
        out.push(b'\'');
        out
    };
    let operator = |op: &CompareOp| match op {
        CompareOp::Less => &b"<"[..],
        CompareOp::LessOrEqual => b"<=",
        CompareOp::Equal => b"=",
        CompareOp::NotEqual => b"!=",
        CompareOp::GreaterOrEqual => b">=",
        CompareOp::Greater => b">",
        CompareOp::NoOp => unreachable!("not made here"),
    };
    let compared = |comparator: &Comparator| match comparator {
        Comparator::Binary(value) => quoted(&[b"binary:", &value[..]].concat()),
        Comparator::BinaryPrefix(value) => quoted(&[b"binaryprefix:", &value[..]].concat()),
        Comparator::Regex { pattern, flags: 32, .. } => quoted(format!("regexstring:{pattern}").as_bytes()),
        Comparator::Regex { pattern, .. } => quoted(format!("regexstringnocase:{pattern}").as_bytes()),
        Comparator::Substring(text) => quoted(format!("substring:{text}").as_bytes()),
        _ => unreachable!("not made here"),
    };
    let word = |text: &dyn ToString| text.to_string().into_bytes();
    let call = |name: &str, arguments: Vec<Vec<u8>>| {
        let arguments = arguments.join(format!("{gap},{gap}").as_bytes());
        [name.as_bytes(), gap.as_bytes(), b"(", gap.as_bytes(), &arguments, gap.as_bytes(), b")"].concat()
    };
    let pair = |name: &str, op: &CompareOp, comparator: &Comparator| {
        call(name, vec![operator(op).to_vec(), compared(comparator)])
    };
    match filter {
        Filter::FirstKeyOnly => call("FirstKeyOnlyFilter", vec![]),
        Filter::KeyOnly { len_as_val: false } => call("KeyOnlyFilter", vec![]),
        Filter::KeyOnly { len_as_val } => call("KeyOnlyFilter", vec![word(len_as_val)]),
        Filter::Prefix { prefix } => call("PrefixFilter", vec![quoted(prefix)]),
        Filter::ColumnPrefix { prefix } => call("ColumnPrefixFilter", vec![quoted(prefix)]),
        Filter::MultipleColumnPrefix { prefixes } => {
            call("MultipleColumnPrefixFilter", prefixes.iter().map(|prefix| quoted(prefix)).collect())
        }
        Filter::ColumnCountGet { limit } => call("ColumnCountGetFilter", vec![word(limit)]),
        Filter::Page { page_size } => call("PageFilter", vec![word(page_size)]),
        Filter::ColumnPagination { limit, offset, .. } => {
            call("ColumnPaginationFilter", vec![word(limit), word(&offset.expect("made so"))])
        }
        Filter::InclusiveStop { stop_row } => call("InclusiveStopFilter", vec![quoted(stop_row)]),
        Filter::Timestamps { timestamps, .. } => {
            call("TimestampsFilter", timestamps.iter().map(|timestamp| word(timestamp)).collect())
        }
        Filter::Row { op, comparator } => pair("RowFilter", op, comparator),
        Filter::Family { op, comparator } => pair("FamilyFilter", op, comparator),
        Filter::Qualifier { op, comparator } => pair("QualifierFilter", op, comparator),
        Filter::Value { op, comparator } => pair("ValueFilter", op, comparator),
        Filter::ColumnRange { min, min_inclusive, max, max_inclusive } => {
            let bound = |bound: &Option<Bytes>| quoted(bound.as_deref().unwrap_or_default());
            call("ColumnRangeFilter", vec![bound(min), word(min_inclusive), bound(max), word(max_inclusive)])
        }
        Filter::SingleColumnValue { family, qualifier, op, comparator, filter_if_missing, latest_version_only } => {
            let mut arguments = vec![quoted(family), quoted(qualifier), operator(op).to_vec(), compared(comparator)];
            if (*filter_if_missing, *latest_version_only) != (false, true) {
                arguments.extend([word(filter_if_missing), word(latest_version_only)]);
            }
            call("SingleColumnValueFilter", arguments)
        }
        Filter::SingleColumnValueExclude {
            family,
            qualifier,
            op,
            comparator,
            filter_if_missing,
            latest_version_only,
        } => {
            let column = [quoted(family), quoted(qualifier), operator(op).to_vec(), compared(comparator)];
            let flags = [word(filter_if_missing), word(latest_version_only)];
            call("SingleColumnValueExcludeFilter", column.into_iter().chain(flags).collect())
        }
        Filter::ColumnValue { family, qualifier, op, comparator } => call(
            "ColumnValueFilter",
            vec![quoted(family), quoted(qualifier), operator(op).to_vec(), compared(comparator)],
        ),
        Filter::DependentColumn { family, qualifier, drop_dependent_column, op, comparator } => {
            let comparator = compared(comparator.as_ref().expect("made so"));
            let start = vec![quoted(family), quoted(qualifier), word(drop_dependent_column)];
            call("DependentColumnFilter", start.into_iter().chain([operator(op).to_vec(), comparator]).collect())
        }
        Filter::List { op, filters } => {
            let between = if *op == FilterListOp::MustPassAll { &b" AND "[..] } else { b" OR " };
            let members: Vec<Vec<u8>> = filters.iter().map(|filter| shown(filter, gap)).collect();
            [b"(", gap.as_bytes(), &members.join(between), gap.as_bytes(), b")"].concat()
        }
        Filter::Skip { filter } => [b"SKIP ", &shown(filter, gap)[..]].concat(),
        Filter::WhileMatch { filter } => [b"WHILE ", &shown(filter, gap)[..]].concat(),
        other => unreachable!("not made here: {other:?}"),
    }
}

#[test]
fn names_are_no_longer_than_folders_may_be() {
    use model::schema::{NAME_LEN_MAX, Namespace, TableName};
    let (fits, longer) = ("n".repeat(NAME_LEN_MAX), "n".repeat(NAME_LEN_MAX + 1));
    assert!(TableName::new(&fits, &fits).is_ok() && Namespace::new(fits.as_str()).validate().is_ok());
    assert!(TableName::new("default", &longer).is_err() && TableName::new(&longer, "t").is_err());
    // Letters of several bytes count as such.
    assert!(TableName::new("default", &"ü".repeat(NAME_LEN_MAX / 2 + 1)).is_err());
    let error = TableName::new("default", &"n".repeat(70_000)).expect_err("too long");
    assert!(error.to_string().len() < 1000, "the name is shown cut short");
}
