use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::filter::CompareOp;
use model::mutation::{CheckAndMutate, Condition, Mutation};
use model::query::Get;
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};

use crate::rig::*;

#[tokio::test]
async fn what_must_not_happen_twice_happens_once_though_answers_are_lost() {
    let node = Node::new().await;
    node.table("t", &[]).await;
    let (connection, faults) = node.faulty().await;
    let table = connection.table(name("t"));
    let lost = [Fault::LoseAnswer, Fault::LoseCall, Fault::LoseAnswer, Fault::Refuse];
    faults.next("Mutate", lost);
    assert_eq!(number(&table.mutate(increment("r", 5)).await.expect("increment")), 5);
    faults.next("Mutate", lost);
    let append = Mutation::append("r").cell("f", "s", "ab").expect("cell");
    assert_eq!(table.mutate(append).await.expect("append").value("f", "s"), Some("ab".into()));
    faults.next("Multi", lost);
    let row = table.mutate_row(vec![increment("r", 1), put("r", "v")]).await.expect("row");
    assert_eq!(number(&row), 6);
    // The condition does not hold any more when the answer is asked for again.
    let next = |mutations| CheckAndMutate {
        row: "r".into(),
        condition: Condition::column("f", "q", CompareOp::Equal, "v"),
        mutations,
    };
    faults.next("Mutate", lost);
    assert!(table.check_and_mutate(next(vec![put("r", "w")])).await.expect("check").0);
    table.mutate(put("r", "v")).await.expect("put");
    faults.next("Multi", lost);
    assert!(table.check_and_mutate(next(vec![put("r", "w"), increment("r", 1)])).await.expect("check").0);
    faults.next("Multi", lost);
    for answer in table.mutate_all(vec![increment("r", 1), increment("s", 1), increment("r", 1)]).await {
        answer.expect("increment");
    }
    let row = table.get(&Get::new("r")).await.expect("get");
    assert_eq!((number(&row), row.value("f", "q")), (9, Some("w".into())));
    assert_eq!(number(&table.get(&Get::new("s")).await.expect("get")), 1);
    // Three versions; the newest goes, and only that.
    for time in 1..=3 {
        table.mutate(Mutation::put("d").cell_at("f", "q", time, time.to_string()).expect("cell")).await.expect("put");
    }
    let mut newest = Mutation::delete("d");
    newest.cells.push(Cell::new(b"d", b"f", b"q", LATEST_TIMESTAMP, CellType::DELETE, b"").expect("cell"));
    faults.next("Mutate", lost);
    table.mutate(newest).await.expect("delete");
    let left = table.get(&Get::new("d").with_versions(9)).await.expect("get");
    assert_eq!(left.cells.iter().map(Cell::timestamp).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(faults.made(), 7 * lost.len() as u64);
}

#[tokio::test]
async fn a_hung_call_is_given_up_and_tried_again() {
    let node = Node::new().await;
    node.table("t", &[]).await;
    let (_, faults) = node.faulty().await;
    let builder = node.builder().connector(faults.connector()).call_timeout(Duration::from_millis(100));
    let table = builder.open().await.expect("connection").table(name("t"));
    faults.next("Mutate", [Fault::Hang]);
    assert_eq!(number(&table.mutate(increment("r", 5)).await.expect("increment")), 5);
    faults.next("Get", [Fault::Hang]);
    assert_eq!(number(&table.get(&Get::new("r")).await.expect("get")), 5);
    faults.next("Multi", [Fault::Hang]);
    assert!(table.mutate_all(vec![increment("r", 1)]).await[0].is_ok());
    assert_eq!(number(&table.get(&Get::new("r")).await.expect("get")), 6);
}

#[tokio::test]
async fn an_answer_lost_for_good_leaves_doubt() {
    let node = Node::new().await;
    node.table("t", &[]).await;
    let (_, faults) = node.faulty().await;
    let once = node.builder().connector(faults.connector()).attempts(1).open().await.expect("connection");
    let table = once.table(name("t"));
    table.get(&Get::new("r")).await.expect("the location is known");
    faults.next("Mutate", [Fault::LoseAnswer]);
    let error = table.mutate(increment("r", 5)).await.expect_err("no answer");
    assert_eq!((error.kind(), error.may_have_happened(), error.is_retriable()), (ErrorKind::Unknown, true, false));
    assert_eq!(number(&table.get(&Get::new("r")).await.expect("get")), 5, "it did happen");
    faults.next("Mutate", [Fault::Refuse]);
    let error = table.mutate(increment("r", 5)).await.expect_err("not sent");
    assert_eq!((error.kind(), error.may_have_happened(), error.is_retriable()), (ErrorKind::Unavailable, false, true));
    assert_eq!(number(&table.get(&Get::new("r")).await.expect("get")), 5, "it did not");
}

#[tokio::test]
async fn counters_are_exact_under_faults_and_concurrency() {
    let node = Node::new().await;
    let table = node.table("t", &["k"]).await;
    let tasks: Vec<_> = (0..8_u64)
        .map(|seed| {
            let node = node.address.to_string();
            tokio::spawn(async move {
                let faults = Faults::new();
                let connection = builder(&node).connector(faults.connector()).open().await.expect("connection");
                faults.at_random(seed * 977 + 1, 4);
                let table = connection.table(name("t"));
                for n in 0..40 {
                    let row = if n % 2 == 0 { "a" } else { "z" };
                    if n % 4 < 2 {
                        table.mutate(increment(row, 1)).await.expect("increment");
                    } else {
                        let both = vec![increment("a", 1), put("b", "v"), increment("z", 1)];
                        assert!(table.mutate_all(both).await.iter().all(Result::is_ok));
                    }
                }
                faults.made()
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += task.await.expect("task");
    }
    assert!(made > 40, "{made}");
    for row in ["a", "z"] {
        assert_eq!(number(&table.get(&Get::new(row)).await.expect("get")), 8 * (10 + 20), "{row}");
    }
}

#[tokio::test]
async fn schema_changes_happen_once_though_answers_are_lost() {
    let node = Node::new().await;
    let (connection, faults) = node.faulty().await;
    let (admin, t) = (connection.admin(), name("t"));
    let lost = [Fault::LoseAnswer, Fault::LoseCall];
    faults.next("CreateTable", lost);
    admin.create_table(&described("t"), &[]).await.expect("not said to exist already");
    faults.next("getProcedureResult", [Fault::LoseAnswer]);
    faults.next("DisableTable", lost);
    admin.disable_table(&t).await.expect("not said to be disabled already");
    faults.next("EnableTable", lost);
    admin.enable_table(&t).await.expect("enable");
    admin.disable_table(&t).await.expect("disable");
    faults.next("truncateTable", lost);
    admin.truncate_table(&t, false).await.expect("truncate");
    admin.disable_table(&t).await.expect("disable");
    faults.next("DeleteTable", lost);
    admin.delete_table(&t).await.expect("not said to be gone already");
    faults.next("CreateNamespace", lost);
    admin.create_namespace(&client::Namespace::new("ns")).await.expect("create");
    faults.next("DeleteNamespace", lost);
    admin.delete_namespace("ns").await.expect("delete");
    assert_eq!(faults.made(), 15);
}

#[tokio::test]
async fn counters_are_exact_over_restarts() {
    let mut node = Node::new().await;
    let address = node.address.to_string();
    node.table("t", &["k"]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (stop, address) = (stop.clone(), address.clone());
            tokio::spawn(async move {
                let table = builder(&address).open().await.expect("connection").table(name("t"));
                let mut done = 0;
                while !stop.load(Ordering::Relaxed) {
                    if task % 2 == 0 {
                        table.mutate(increment("a", 1)).await.expect("increment");
                    } else {
                        let answers = table.mutate_all(vec![increment("a", 1), put("b", "v"), increment("z", 1)]).await;
                        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                    }
                    done += 1;
                }
                (task % 2 == 1, done)
            })
        })
        .collect();
    for round in 0..4 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let (fs, at) = if round % 2 == 0 { node.kill().await } else { node.close().await };
        node = Node::start(fs, at).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut a, mut z) = (0, 0);
    for task in tasks {
        let (both, done) = task.await.expect("task");
        a += done;
        z += if both { done } else { 0 };
    }
    let table = node.connection().await.table(name("t"));
    let counted = (
        number(&table.get(&Get::new("a")).await.expect("get")),
        number(&table.get(&Get::new("z")).await.expect("get")),
    );
    assert_eq!(counted, (a, z));
    assert!(z > 20, "{a} {z}");
}

#[tokio::test]
async fn a_schema_change_outlives_its_master() {
    let mut node = Node::new().await;
    let (admin, t) = (node.admin().await, name("t"));
    let splits: Vec<_> = (0..40).map(|n| bytes::Bytes::from(format!("{n:02}"))).collect();
    let create = tokio::spawn({
        let admin = admin.clone();
        async move { admin.create_table(&described("t"), &splits).await }
    });
    tokio::time::sleep(Duration::from_millis(3)).await;
    let (fs, at) = node.kill().await;
    node = Node::start(fs, at).await;
    create.await.expect("task").expect("the table is made");
    assert_eq!(admin.regions(&t).await.expect("regions").len(), 41);
    let disable = tokio::spawn({
        let (admin, t) = (admin.clone(), t.clone());
        async move { admin.disable_table(&t).await }
    });
    tokio::time::sleep(Duration::from_millis(3)).await;
    let (fs, at) = node.kill().await;
    node = Node::start(fs, at).await;
    disable.await.expect("task").expect("the table is disabled");
    assert!(!admin.is_enabled(&t).await.expect("state"));
    admin.delete_table(&t).await.expect("delete");
    node.close().await;
}
