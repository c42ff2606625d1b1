//! HBase's own Thrift servers print the lines that are expected of the gateway.

use std::collections::BTreeSet;

use ferrobase_hadoop_fixture::{HBase, ThriftApi};
use ferrobase_tests::repository;

use crate::happybase::{WIRES, python, text};

/// Lines, by what stands before their colon, in which the gateway differs on purpose; `docs/THRIFT.md` says why.
const DIFFERENT: &[(&str, &[&str])] = &[
    ("happybase_api.py", &["create with a bad name", "scan with a bad filter"]),
    (
        "hue_api.py",
        &[
            "create without a name",
            "suggested rows, a quote",
            "filter TimeStampsFilter (1000)",
            "filter ValueFilter (=, 'nosuch:3')",
            "filter ValueFilter (3, 'binary:3')",
            "filter PrefixFilter('r') and PageFilter(1)",
            "filter ColumnPaginationFilter(limit, offset)",
            "filter PrefixFilter(r)",
            "filter PrefixFilter('r'",
            "filter NoSuchFilter ('r')",
            "filter PageFilter ('2')",
            "filter PageFilter (-1)",
            "filter ColumnCountGetFilter (-1)",
            "filter ColumnRangeFilter ('m', yes, 'p', no)",
            "filter ValueFilter (=, 'regexstring:[')",
            "get without a row",
            "history before less than nothing",
            "getRows, rows that are absent",
            "getRow of an empty key",
            "deleteAllRow of an empty key",
            "upload without a key",
        ],
    ),
    (
        "thrift2_api.py",
        &[
            "put of nothing",
            "put with visibility",
            "get with a bad filter",
            "get no versions",
            "get without a row",
            "get from a missing table",
            "get existence only",
            "delete a version without its time",
        ],
    ),
];

/// Further ones over framed messages, in which HBase's Thrift 2 takes some arguments for the whole message (`ByteBuffer.array`): the keys of
/// splits, a family that is dropped, families that have a range of time of their own.
const DIFFERENT_FRAMED: &[(&str, &[&str])] =
    &[("thrift2_api.py", &["available", "drop a family", "regions", "region of", "results by a family's time"])];

fn compare(script: &str, arguments: &[&str], wire: (&str, &str)) {
    let expected = repository().join("tests/compat").join(script).with_extension("txt");
    let expected = std::fs::read_to_string(expected).expect("expected lines");
    let printed = text(&python(script, &[arguments, &[wire.0, wire.1]].concat()).output().expect("python3 runs"));
    let (mut differ, mut unlike) = (BTreeSet::new(), String::new());
    let framed = DIFFERENT_FRAMED.iter().filter(|_| wire.0 == "framed");
    let of_script = DIFFERENT.iter().chain(framed).filter(|(of, _)| *of == script);
    let known: Vec<&str> = of_script.flat_map(|(_, lines)| lines.iter().copied()).collect();
    for (hbase, ours) in printed.lines().zip(expected.lines()).filter(|(hbase, ours)| hbase != ours) {
        let what = ours.split(": ").next().unwrap_or(ours);
        differ.insert(what);
        if !known.contains(&what) {
            unlike += &format!("HBase: {hbase}\nours:  {ours}\n");
        }
    }
    assert!(unlike.is_empty(), "{script} over {wire:?}:\n{unlike}");
    assert_eq!(printed.lines().count(), expected.lines().count(), "{script} over {wire:?}:\n{printed}");
    assert!(known.iter().all(|what| differ.contains(what)), "{script}: of {known:?} only {differ:?} differ");
}

#[test]
#[ignore = "long: starts HBase's own servers; tests/run long thrift"]
fn hbase_prints_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let hbase = HBase::start(folder.path());
    let idl = repository().join("gateway/idl/thbase.thrift");
    for wire in WIRES {
        let mut flags = Vec::new();
        flags.extend((wire.0 == "framed").then_some("-f"));
        flags.extend((wire.1 == "compact").then_some("-c"));
        let one = hbase.thrift(ThriftApi::One, &flags);
        compare("happybase_api.py", &[&one.port.to_string()], wire);
        compare("hue_api.py", &[&one.port.to_string()], wire);
        drop(one);
        let two = hbase.thrift(ThriftApi::Two, &flags);
        compare("thrift2_api.py", &[&idl.to_string_lossy(), &two.port.to_string()], wire);
    }
}
