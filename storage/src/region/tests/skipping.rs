//! Files are left out where they can be, and only there.

use super::*;

fn delete(row: &str, cell_type: CellType, qualifier: &str, timestamp: i64) -> Mutation {
    let mut mutation = Mutation::new(MutationKind::Delete, Bytes::copy_from_slice(row.as_bytes()));
    let (row, qualifier) = (row.as_bytes(), qualifier.as_bytes());
    mutation.cells.push(Cell::new(row, b"f", qualifier, timestamp, cell_type, b"").expect("cell"));
    mutation
}

/// A file per list of mutations.
async fn files(host: &mut Host, contents: &[&[Mutation]]) -> Arc<Region> {
    let region = host.open().await;
    for file in contents {
        for mutation in *file {
            write(&region, mutation.clone()).await;
        }
        region.flush().await.expect("flush");
    }
    region
}

fn columns(names: &[&str]) -> Scan {
    let mut scan = Scan::default();
    names.iter().for_each(|name| scan.selection.add_column("f", Bytes::copy_from_slice(name.as_bytes())));
    scan
}

/// Values read, and what the read added to the counters: read, key range, time, bloom, columns.
async fn look(region: &Arc<Region>, scan: &Scan) -> (Vec<String>, [u64; 5]) {
    let flat = |c: RegionCounters| {
        let skipped = (c.files_skipped_by_key_range, c.files_skipped_by_time);
        [c.files_read, skipped.0, skipped.1, c.files_skipped_by_bloom, c.files_skipped_by_columns]
    };
    let before = flat(region.counters());
    let found = rows(region, scan).await;
    let values = found.iter().flatten().map(|cell| String::from_utf8_lossy(cell.value()).into_owned()).collect();
    let after = flat(region.counters());
    (values, std::array::from_fn(|at| after[at] - before[at]))
}

fn values(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_scan_of_a_rare_column_skips_files_without_it() {
    let mut host = memory();
    let common: Vec<Mutation> = (0..50).map(|i| put(&format!("row{i:02}"), "f", "common", 5, "c")).collect();
    let rare = [put("row10", "f", "rare", 5, "r"), put("row11", "f", "common", 6, "c2")];
    let region = files(&mut host, &[&common, &rare, &common]).await;
    for reversed in [false, true] {
        let scan = Scan { reversed, ..columns(&["rare"]) };
        assert_eq!(look(&region, &scan).await, (values(&["r"]), [1, 0, 0, 0, 2]));
    }
    assert_eq!(look(&region, &columns(&["rare", "absent"])).await, (values(&["r"]), [1, 0, 0, 0, 2]));
    assert_eq!(look(&region, &columns(&["absent"])).await, (vec![], [0, 0, 0, 0, 3]));
    assert_eq!(look(&region, &columns(&["common"])).await.1, [3, 0, 0, 0, 0]);
    assert_eq!(look(&region, &Scan::default()).await.1, [3, 0, 0, 0, 0]);
    // After a compaction and an opening the filter is still there.
    region.compact(true).await.expect("compact");
    region.close().await.expect("close");
    let region = host.open().await;
    assert_eq!(look(&region, &columns(&["absent"])).await, (vec![], [0, 0, 0, 0, 1]));
    assert_eq!(look(&region, &columns(&["rare"])).await, (values(&["r"]), [1, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_get_skips_by_row_then_by_column() {
    let one = [put("a", "f", "x", 5, "1"), put("c", "f", "x", 5, "1")];
    let region = files(&mut memory(), &[&one, &[put("a", "f", "y", 5, "2"), put("b", "f", "y", 5, "2")]]).await;
    assert_eq!(value(&region, "a", "x").await.as_deref(), Some("1"));
    let counters = region.counters();
    assert_eq!((counters.files_read, counters.files_skipped_by_columns), (1, 1));
    assert_eq!(value(&region, "b", "x").await, None);
    let counters = region.counters();
    assert_eq!((counters.files_read, counters.files_skipped_by_bloom), (1, 1));
    assert_eq!(value(&region, "d", "x").await, None);
    assert_eq!(region.counters().files_skipped_by_key_range, 2);
}

#[tokio::test]
async fn a_file_with_family_deletes_is_never_skipped_for_its_columns() {
    for cell_type in [CellType::DELETE_FAMILY, CellType::DELETE_FAMILY_VERSION] {
        let marker = [delete("a", cell_type, "", 5), put("b", "f", "other", 5, "o")];
        let region = files(&mut memory(), &[&[put("a", "f", "x", 5, "1")], &marker]).await;
        assert_eq!(look(&region, &columns(&["x"])).await, (vec![], [2, 0, 0, 0, 0]), "{cell_type:?}");
        assert_eq!(value(&region, "a", "x").await, None, "{cell_type:?}");
    }
}

#[tokio::test]
async fn column_markers_and_the_nameless_column_are_found() {
    for cell_type in [CellType::DELETE, CellType::DELETE_COLUMN] {
        let region = files(&mut memory(), &[&[put("a", "f", "x", 5, "1")], &[delete("a", cell_type, "x", 5)]]).await;
        assert_eq!(look(&region, &columns(&["x"])).await, (vec![], [2, 0, 0, 0, 0]), "{cell_type:?}");
    }
    let region = files(&mut memory(), &[&[put("a", "f", "", 5, "1")], &[put("a", "f", "y", 5, "2")]]).await;
    assert_eq!(look(&region, &columns(&[""])).await, (values(&["1"]), [2, 0, 0, 0, 0]));
}

#[tokio::test]
async fn raw_scans_and_filters_that_remember_rows_read_every_file() {
    let region = files(
        &mut memory(),
        &[&[put("a", "f", "x", 5, "1")], &[put("b", "f", "y", 50, "2")], &[put("c", "f", "x", 5, "3")]],
    )
    .await;
    let row = Filter::Row { op: CompareOp::NotEqual, comparator: Comparator::Binary("b".into()) };
    let mut scan = columns(&["x"]);
    scan.selection.filter = Some(row.clone());
    assert_eq!(look(&region, &scan).await, (values(&["1", "3"]), [2, 0, 0, 0, 1]));
    // Row b ends the scan although nothing of it is wanted.
    scan.selection.filter = Some(Filter::WhileMatch { filter: Box::new(row) });
    assert_eq!(look(&region, &scan).await, (values(&["1"]), [3, 0, 0, 0, 0]));
    let mut scan = Scan { raw: true, ..Scan::default() };
    scan.selection.time_range = TimeRange { from: 0, to: 10 };
    assert_eq!(look(&region, &scan).await, (values(&["1", "3"]), [3, 0, 0, 0, 0]));
}

#[tokio::test]
async fn files_outside_the_time_or_rows_wanted_are_skipped() {
    let contents: &[&[Mutation]] =
        &[&[put("a", "f", "x", 10, "10")], &[put("a", "f", "x", 20, "20")], &[put("m", "f", "x", 30, "30")]];
    let region = files(&mut memory(), contents).await;
    let mut scan = Scan::default();
    for (from, to, expected, skipped) in [
        (10, 20, vec!["10"], 2),
        (11, 20, vec![], 3),
        (20, 31, vec!["20", "30"], 1),
        (0, i64::MAX, vec!["20", "30"], 0),
    ] {
        scan.selection.time_range = TimeRange { from, to };
        assert_eq!(look(&region, &scan).await, (values(&expected), [3 - skipped, 0, skipped, 0, 0]), "{from}..{to}");
    }
    for (start, stop, reversed, skipped) in
        [("b", "", false, 2), ("", "b", false, 1), ("b", "", true, 1), ("", "b", true, 2), ("n", "", false, 3)]
    {
        let scan = Scan { start_row: start.into(), stop_row: stop.into(), reversed, ..Scan::default() };
        assert_eq!(look(&region, &scan).await.1, [3 - skipped, skipped, 0, 0, 0], "{start}..{stop} {reversed}");
    }
}

/// A marker newer than the range still hides what lies in it, where HBase says so.
#[tokio::test]
async fn a_file_whose_markers_reach_into_the_range_is_not_skipped() {
    for (cell_type, qualifier) in [(CellType::DELETE_COLUMN, "x"), (CellType::DELETE_FAMILY, "")] {
        let marker = [delete("a", cell_type, qualifier, 50)];
        let region = files(&mut memory(), &[&[put("a", "f", "x", 10, "10")], &marker]).await;
        let mut scan = Scan::default();
        scan.selection.time_range = TimeRange { from: 5, to: 20 };
        assert_eq!(look(&region, &scan).await, (vec![], [2, 0, 0, 0, 0]), "{cell_type:?}");
    }
}

#[tokio::test]
async fn files_that_have_expired_whole_are_skipped_unless_versions_must_stay() {
    for min_versions in [0, 1] {
        let clock = Arc::new(runtime::clock::ManualClock::new(100_000));
        let mut host = memory();
        host.runtime = Runtime { clock: clock.clone(), ..Runtime::system() };
        let family = FamilyDescriptor::new("f").with("TTL", "10").with("MIN_VERSIONS", &min_versions.to_string());
        host.table = Arc::new(TableDescriptor::new(info().table).with_family(family));
        let region =
            files(&mut host, &[&[put("a", "f", "x", 100_000, "1")], &[put("b", "f", "x", 105_000, "2")]]).await;
        for (now_ms, alive, expired) in [(110_000, vec!["1", "2"], 0), (110_001, vec!["2"], 1), (115_001, vec![], 2)] {
            clock.set_ms(now_ms);
            let (seen, counted) = look(&region, &Scan::default()).await;
            let (alive, expired) = if min_versions == 0 { (alive, expired) } else { (vec!["1", "2"], 0) };
            assert_eq!((seen, counted), (values(&alive), [2 - expired, 0, expired, 0, 0]), "at {now_ms}");
        }
    }
}

#[tokio::test]
async fn a_family_whose_write_order_counts_is_read_whole() {
    let mut host = memory();
    let family = FamilyDescriptor::new("f").with("NEW_VERSION_BEHAVIOR", "true");
    host.table = Arc::new(TableDescriptor::new(info().table).with_family(family));
    let region = files(&mut host, &[&[put("a", "f", "x", 5, "1")], &[put("a", "f", "y", 50, "2")]]).await;
    let mut scan = columns(&["x"]);
    scan.selection.time_range = TimeRange { from: 0, to: 10 };
    assert_eq!(look(&region, &scan).await, (values(&["1"]), [2, 0, 0, 0, 0]));
}

#[tokio::test]
async fn where_write_order_counts_no_answer_depends_on_where_cells_lie() {
    for versions in ["1", "3"] {
        for flush in [false, true] {
            let mut host = memory();
            let family = FamilyDescriptor::new("f").with("NEW_VERSION_BEHAVIOR", "true").with("VERSIONS", versions);
            let table = TableDescriptor::new("t".parse().expect("name"));
            host.table = Arc::new(table.with_family(family).with_family(FamilyDescriptor::new("h")));
            let region = host.open().await;
            for mutation in [put("a", "f", "x", 9, "1"), put("a", "f", "x", 4, "2"), put("a", "h", "x", 4, "3")] {
                write(&region, mutation).await;
                if flush {
                    region.flush().await.expect("flush");
                }
            }
            // A column is left as one column, although another one is named.
            let mut scan = columns(&["b", "x"]);
            scan.selection.add_column("h", "x");
            scan.selection.max_versions = 3;
            scan.selection.filter = Some(Filter::ColumnPagination { limit: 1, offset: Some(1), column_offset: None });
            assert_eq!(look(&region, &scan).await.0, values(&["3"]), "{versions} {flush}");
            // A version outside the times wanted counts as one.
            let mut scan = Scan::default();
            scan.selection.max_versions = 3;
            scan.selection.time_range = TimeRange { from: 0, to: 5 };
            let seen = if versions == "1" { values(&["3"]) } else { values(&["2", "3"]) };
            assert_eq!(look(&region, &scan).await.0, seen, "{versions} {flush}");
        }
    }
}

#[tokio::test]
async fn a_filter_is_not_asked_about_rows_that_are_not() {
    let region = files(&mut memory(), &[&[put("b", "f", "x", 5, "1")]]).await;
    let mut scan = columns(&["x", "y"]);
    scan.start_row = Bytes::from_static(b"a");
    let comparator = Comparator::Binary(Bytes::from_static(b"b"));
    let row = Filter::Row { op: CompareOp::Equal, comparator };
    scan.selection.filter = Some(Filter::WhileMatch { filter: Box::new(row) });
    assert_eq!(look(&region, &scan).await.0, values(&["1"]));
}

#[tokio::test]
async fn a_scan_inside_one_prefix_asks_the_filter_of_prefixes() {
    let mut host = memory();
    let mut family = FamilyDescriptor::new("f").with("BLOOMFILTER", "ROWPREFIX_FIXED_LENGTH");
    family.configuration.insert("RowPrefixBloomFilter.prefix_length".into(), "3".into());
    host.table = Arc::new(TableDescriptor::new(info().table).with_family(family));
    let file = |rows: &[&str]| rows.iter().map(|row| put(row, "f", "x", 5, row)).collect::<Vec<_>>();
    let region = files(&mut host, &[&file(&["aaa1", "ccc1"]), &file(&["aaa2", "bbb1", "ccc2"])]).await;
    let scan = |start: &str, stop: &str| Scan {
        start_row: Bytes::copy_from_slice(start.as_bytes()),
        stop_row: Bytes::copy_from_slice(stop.as_bytes()),
        ..Scan::default()
    };
    assert_eq!(look(&region, &scan("bbb", "bbb9")).await, (values(&["bbb1"]), [1, 0, 0, 1, 0]));
    assert_eq!(look(&region, &scan("bb", "bbb9")).await, (values(&["bbb1"]), [2, 0, 0, 0, 0]));
}
