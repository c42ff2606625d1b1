//! HBase's own Thrift servers print the lines that are expected of the gateway.

use std::collections::BTreeSet;

use ferrobase_hadoop_fixture::{HBase, ThriftApi};
use ferrobase_tests::repository;

use crate::happybase::{WIRES, python, text};

/// Lines, by what stands before their colon, in which the gateway differs on purpose; `docs/THRIFT.md` says why.
const DIFFERENT: &[(&str, &[&str])] = &[
    ("happybase_api.py", &["create with a bad name", "scan with a bad filter"]),
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

fn compare(script: &str, arguments: &[&str], wire: (&str, &str)) {
    let expected = repository().join("tests/compat").join(script).with_extension("txt");
    let expected = std::fs::read_to_string(expected).expect("expected lines");
    let printed = text(&python(script, &[arguments, &[wire.0, wire.1]].concat()).output().expect("python3 runs"));
    let (mut differ, mut unlike) = (BTreeSet::new(), String::new());
    let known = DIFFERENT.iter().find(|(of, _)| *of == script).expect("listed").1;
    for (hbase, ours) in printed.lines().zip(expected.lines()).filter(|(hbase, ours)| hbase != ours) {
        let what = ours.split(':').next().unwrap_or(ours);
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
        drop(one);
        let two = hbase.thrift(ThriftApi::Two, &flags);
        compare("thrift2_api.py", &[&idl.to_string_lossy(), &two.port.to_string()], wire);
    }
}
