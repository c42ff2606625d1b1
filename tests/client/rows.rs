use bytes::Bytes;
use client::{Action, Row, Table};
use model::filter::{Comparator, CompareOp, Filter};
use model::mutation::{CheckAndMutate, Condition, Durability, Mutation};
use model::query::{Get, TimeRange};
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};

use crate::rig::*;

/// A row's cells as `family:qualifier@time=value`.
fn shown(row: &Row) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let one = |cell: &Cell| {
        let (family, qualifier) = (text(cell.family()), text(cell.qualifier()));
        format!("{family}:{qualifier}@{}={}", cell.timestamp(), text(cell.value()))
    };
    row.cells.iter().map(one).collect()
}

async fn all(table: &Table, row: &'static str) -> Vec<String> {
    shown(&table.get(&Get::new(row).with_versions(10)).await.expect("get"))
}

/// Three versions of two columns in each of two families.
fn filled(row: &'static str) -> Mutation {
    let mut put = Mutation::put(row);
    for family in ["f", "g"] {
        for qualifier in ["a", "b"] {
            for time in 1..=3 {
                put = put.cell_at(family, qualifier, time, format!("{time}")).expect("cell");
            }
        }
    }
    put
}

fn marker(row: &'static str, qualifier: &str, timestamp: i64, kind: CellType) -> Mutation {
    let mut delete = Mutation::delete(row);
    delete.cells.push(Cell::new(row.as_bytes(), b"f", qualifier.as_bytes(), timestamp, kind, b"").expect("cell"));
    delete
}

#[tokio::test]
async fn every_form_of_get() {
    let node = Node::new().await;
    let table = node.table("t", &["m"]).await;
    table.mutate(filled("r")).await.expect("put");
    let get = |get: Get| {
        let table = table.clone();
        async move { shown(&table.get(&get).await.expect("get")) }
    };
    assert_eq!(get(Get::new("r")).await, ["f:a@3=3", "f:b@3=3", "g:a@3=3", "g:b@3=3"]);
    assert_eq!(get(Get::new("r").with_family("g")).await, ["g:a@3=3", "g:b@3=3"]);
    assert_eq!(get(Get::new("r").with_column("f", "b")).await, ["f:b@3=3"]);
    assert_eq!(get(Get::new("r").with_column("f", "b").with_versions(2)).await, ["f:b@3=3", "f:b@2=2"]);
    assert_eq!(get(Get::new("r").with_column("f", "none")).await, [""; 0]);
    assert_eq!(get(Get::new("none")).await, [""; 0]);
    let mut timed = Get::new("r").with_family("f").with_versions(10);
    timed.selection.time_range = TimeRange { from: 2, to: 3 };
    assert_eq!(get(timed).await, ["f:a@2=2", "f:b@2=2"]);
    let mut by_family = Get::new("r");
    by_family.selection.family_time_ranges.insert("g".into(), TimeRange { from: 1, to: 2 });
    assert_eq!(get(by_family).await, ["f:a@3=3", "f:b@3=3", "g:a@1=1", "g:b@1=1"]);
    let mut limited = Get::new("r").with_family("f").with_versions(10);
    (limited.selection.store_limit, limited.selection.store_offset) = (Some(3), 2);
    assert_eq!(get(limited).await, ["f:a@1=1", "f:b@3=3", "f:b@2=2"]);
    let filter = Filter::Qualifier { op: CompareOp::Equal, comparator: Comparator::Binary("b".into()) };
    assert_eq!(get(Get::new("r").with_filter(filter)).await, ["f:b@3=3", "g:b@3=3"]);
    assert!(table.exists(&Get::new("r")).await.expect("exists"));
    assert!(table.exists(&Get::new("r").with_column("f", "a")).await.expect("exists"));
    assert!(!table.exists(&Get::new("r").with_column("f", "c")).await.expect("exists"));
    assert!(!table.exists(&Get::new("none")).await.expect("exists"));
    let row = table.get(&Get::new("r")).await.expect("get");
    assert_eq!((row.row(), row.value("g", "b"), row.value("g", "c")), (Some(&b"r"[..]), Some("3".into()), None));
}

#[tokio::test]
async fn every_kind_of_delete() {
    let node = Node::new().await;
    let table = node.table("t", &[]).await;
    let cases: [(Mutation, &[&str]); 8] = [
        (Mutation::delete("r"), &[]),
        (Mutation { timestamp: 2, ..Mutation::delete("r") }, &["f:a@3=3", "f:b@3=3", "g:a@3=3", "g:b@3=3"]),
        (Mutation::delete("r").family("f").expect("cell"), &["g:a@3=3", "g:b@3=3"]),
        (
            Mutation::delete("r").column("f", "a").expect("cell"),
            &["f:b@3=3", "f:b@2=2", "f:b@1=1", "g:a@3=3", "g:b@3=3"],
        ),
        (
            marker("r", "a", 2, CellType::DELETE_COLUMN),
            &["f:a@3=3", "f:b@3=3", "f:b@2=2", "f:b@1=1", "g:a@3=3", "g:b@3=3"],
        ),
        (
            marker("r", "a", 2, CellType::DELETE),
            &["f:a@3=3", "f:a@1=1", "f:b@3=3", "f:b@2=2", "f:b@1=1", "g:a@3=3", "g:b@3=3"],
        ),
        (
            marker("r", "a", LATEST_TIMESTAMP, CellType::DELETE),
            &["f:a@2=2", "f:a@1=1", "f:b@3=3", "f:b@2=2", "f:b@1=1", "g:a@3=3", "g:b@3=3"],
        ),
        (
            marker("r", "", 2, CellType::DELETE_FAMILY_VERSION),
            &["f:a@3=3", "f:a@1=1", "f:b@3=3", "f:b@1=1", "g:a@3=3", "g:b@3=3"],
        ),
    ];
    let admin = node.admin().await;
    for (delete, left) in cases {
        table.mutate(filled("r")).await.expect("put");
        let answer = table.mutate(delete.clone()).await.expect("delete");
        assert!(answer.is_empty());
        assert_eq!(all(&table, "r").await, left, "{delete:?}");
        admin.disable_table(table.name()).await.expect("disable");
        admin.truncate_table(table.name(), true).await.expect("truncate");
    }
}

#[tokio::test]
async fn counters_and_appends_answer_what_stands_then() {
    let node = Node::new().await;
    let table = node.table("t", &[]).await;
    let both =
        |by| Mutation::increment("r").amount("f", "n", by).and_then(|it| it.amount("g", "m", -by)).expect("cells");
    table.mutate(both(5)).await.expect("increment");
    let row = table.mutate(both(7)).await.expect("increment");
    assert_eq!((number(&row), row.value("g", "m")), (12, Some(Bytes::copy_from_slice(&(-12_i64).to_be_bytes()))));
    let quiet = Mutation { return_results: false, ..both(1) };
    assert!(table.mutate(quiet).await.expect("increment").is_empty());
    assert_eq!(number(&table.get(&Get::new("r")).await.expect("get")), 13);
    let append = || Mutation::append("r").cell("f", "q", "ab").expect("cell");
    table.mutate(append()).await.expect("append");
    assert_eq!(table.mutate(append()).await.expect("append").value("f", "q"), Some("abab".into()));
    table.mutate(Mutation::put("s").cell("f", "n", "text").expect("cell")).await.expect("put");
    let error = table.mutate(increment("s", 1)).await.expect_err("not a number");
    assert!(!error.is_retriable(), "{error}");
}

#[tokio::test]
async fn mutations_take_durability_and_time_to_live() {
    let node = Node::new().await;
    let table = node.table("t", &[]).await;
    let levels = [Durability::SkipWal, Durability::AsyncWal, Durability::SyncWal, Durability::FsyncWal];
    for (n, durability) in levels.into_iter().enumerate() {
        table.mutate(Mutation { durability, ..put(format!("r{n}"), "v") }).await.expect("put");
        assert!(table.exists(&Get::new(format!("r{n}"))).await.expect("exists"), "{durability:?}");
    }
    table.mutate(Mutation { ttl_ms: Some(1), ..put("short", "v") }).await.expect("put");
    table.mutate(Mutation { ttl_ms: Some(3_600_000), ..put("long", "v") }).await.expect("put");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert!(!table.exists(&Get::new("short")).await.expect("exists"));
    assert!(table.exists(&Get::new("long")).await.expect("exists"));
}

#[tokio::test]
async fn a_row_changes_whole_or_not_at_all() {
    let node = Node::new().await;
    let table = node.table("t", &[]).await;
    table.mutate(put("r", "old")).await.expect("put");
    let changes = vec![
        Mutation::put("r").cell("f", "a", "1").expect("cell"),
        Mutation::delete("r").column("f", "q").expect("cell"),
        increment("r", 4),
        Mutation::append("r").cell("g", "s", "x").expect("cell"),
    ];
    let row = table.mutate_row(changes).await.expect("all");
    assert_eq!((number(&row), row.value("g", "s")), (4, Some("x".into())));
    assert_eq!(value(&table, "r").await, None);
    let bad = vec![put("r", "new"), Mutation::put("r").cell("nope", "a", "1").expect("cell")];
    assert_eq!(table.mutate_row(bad).await.expect_err("no family").class(), "NoSuchColumnFamilyException");
    assert_eq!(value(&table, "r").await, None, "nothing of it was done");
    let rows = vec![put("r", "1"), put("s", "1")];
    assert_eq!(table.mutate_row(rows).await.expect_err("two rows").kind(), ErrorKind::Invalid);
    assert_eq!(table.mutate_row(Vec::new()).await.expect_err("nothing").kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn every_form_of_condition() {
    let node = Node::new().await;
    let table = node.table("t", &["m"]).await;
    table.mutate(Mutation::put("r").cell_at("f", "q", 5, "m").expect("cell")).await.expect("put");
    let times = std::cell::Cell::new(0);
    let holds = |condition: Condition| {
        times.set(times.get() + 1);
        // A column of its own each time: a delete would hide what the same millisecond writes.
        let (table, column) = (table.clone(), format!("done{}", times.get()));
        async move {
            let done = Mutation::put("r").cell("g", &column, "1").expect("cell");
            let one = CheckAndMutate { row: "r".into(), condition: condition.clone(), mutations: vec![done.clone()] };
            let two = CheckAndMutate {
                row: "r".into(),
                condition,
                mutations: vec![done, Mutation::delete("r").column("g", "never").expect("cell")],
            };
            let held = table.check_and_mutate(one).await.expect("check").0;
            assert_eq!(table.exists(&Get::new("r").with_column("g", column)).await.expect("exists"), held);
            // Several mutations travel in another call than one.
            assert_eq!(table.check_and_mutate(two).await.expect("check").0, held);
            held
        }
    };
    // `expected OP stored`, as HBase has it; stored is "m".
    let ops = [
        (CompareOp::Less, [true, false, false]),
        (CompareOp::LessOrEqual, [true, true, false]),
        (CompareOp::Equal, [false, true, false]),
        (CompareOp::NotEqual, [true, false, true]),
        (CompareOp::GreaterOrEqual, [false, true, true]),
        (CompareOp::Greater, [false, false, true]),
    ];
    for (op, expected) in ops {
        for (wanted, expected) in ["a", "m", "z"].into_iter().zip(expected) {
            assert_eq!(holds(Condition::column("f", "q", op, wanted)).await, expected, "{wanted} {op:?} m");
        }
    }
    assert!(!holds(Condition::missing("f", "q")).await);
    assert!(holds(Condition::missing("f", "none")).await);
    assert!(!holds(Condition::column("f", "none", CompareOp::Equal, "m")).await);
    let within = |from, to| Condition::Column {
        family: "f".into(),
        qualifier: "q".into(),
        op: CompareOp::Equal,
        comparator: Comparator::Binary("m".into()),
        time_range: TimeRange { from, to },
    };
    assert!(holds(within(5, 6)).await);
    assert!(!holds(within(6, 7)).await);
    let filter = |value: &'static str, time_range| Condition::Filter {
        filter: Filter::SingleColumnValue {
            family: "f".into(),
            qualifier: "q".into(),
            op: CompareOp::Equal,
            comparator: Comparator::Binary(value.into()),
            filter_if_missing: true,
            latest_version_only: true,
        },
        time_range,
    };
    assert!(holds(filter("m", TimeRange::ALL)).await);
    assert!(!holds(filter("n", TimeRange::ALL)).await);
    assert!(!holds(filter("m", TimeRange { from: 6, to: 7 })).await);
    // What is done may be of every kind, and answers.
    let counted = CheckAndMutate {
        row: "r".into(),
        condition: Condition::column("f", "q", CompareOp::Equal, "m"),
        mutations: vec![increment("r", 3)],
    };
    let (done, row) = table.check_and_mutate(counted.clone()).await.expect("check");
    assert_eq!((done, number(&row)), (true, 3));
    let mutations = vec![increment("r", 4), Mutation::delete("r").column("f", "q").expect("cell")];
    let (done, row) = table.check_and_mutate(CheckAndMutate { mutations, ..counted.clone() }).await.expect("check");
    assert_eq!((done, number(&row)), (true, 7));
    let (done, row) = table.check_and_mutate(counted).await.expect("check");
    assert!(!done && row.is_empty());
    let other =
        CheckAndMutate { row: "r".into(), condition: Condition::missing("f", "q"), mutations: vec![put("s", "v")] };
    assert_eq!(table.check_and_mutate(other).await.expect_err("another row").kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn batches_of_all_kinds_over_many_regions() {
    let node = Node::new().await;
    let table = node.table("t", &["b", "d", "f"]).await;
    let rows = ["a", "b", "c", "d", "e", "f", "g"];
    let answers = table.mutate_all(rows.iter().map(|row| put(*row, row)).collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let got = table.get_all(&rows.map(Get::new)).await.expect("gets");
    let values: Vec<_> = got.iter().map(|row| row.value("f", "q").expect("value")).collect();
    assert_eq!(values, rows);
    let check = |row: &'static str, wanted: &'static str| {
        let condition = Condition::column("f", "q", CompareOp::Equal, wanted);
        Action::CheckAndMutate(CheckAndMutate { row: row.into(), condition, mutations: vec![put(row, "checked")] })
    };
    let actions = vec![
        Action::Get(Get::new("a")),
        Action::Mutation(increment("g", 2)),
        Action::Mutation(put("nope", "v")),
        Action::Mutation(Mutation::put("b").cell("nope", "q", "v").expect("cell")),
        Action::RowMutations(vec![put("e", "1"), increment("e", 9)]),
        check("c", "c"),
        check("d", "x"),
        Action::Mutation(Mutation::delete("f")),
        Action::Get(Get::new("c").with_family("nope")),
        Action::Get(Get::new("c")),
        Action::Mutation(Mutation::append("a").cell("f", "q", "+").expect("cell")),
    ];
    let answers = table.batch(actions).await;
    let ok = |at: usize| answers[at].as_ref().unwrap_or_else(|error| panic!("{at}: {error}"));
    assert_eq!(ok(0).row.value("f", "q"), Some("a".into()));
    assert_eq!(number(&ok(1).row), 2);
    assert_eq!(answers[3].as_ref().expect_err("no family").class(), "NoSuchColumnFamilyException");
    assert_eq!(number(&ok(4).row), 9);
    assert_eq!((ok(5).processed, ok(6).processed, ok(0).processed), (Some(true), Some(false), None));
    assert_eq!(answers[8].as_ref().expect_err("no family").class(), "NoSuchColumnFamilyException");
    assert_eq!(ok(9).row.value("f", "q"), Some("checked".into()));
    assert_eq!(ok(10).row.value("f", "q"), Some("a+".into()));
    assert!(!table.exists(&Get::new("f")).await.expect("exists"));
}

#[tokio::test]
async fn a_large_batch_comes_through_whole() {
    let node = Node::new().await;
    let table = node.table("t", &["0300", "0600"]).await;
    let filler = vec![b'x'; 20 << 10];
    let puts = (0..1000).map(|n| put(format!("{n:04}"), &filler)).collect();
    assert!(table.mutate_all(puts).await.iter().all(Result::is_ok));
    let gets: Vec<_> = (0..1000).rev().map(|n| Get::new(format!("{n:04}"))).collect();
    let rows = table.get_all(&gets).await.expect("gets");
    assert!(rows.iter().zip(&gets).all(|(row, get)| row.row() == Some(&get.row[..]) && row.value("f", "q").is_some()));
}
