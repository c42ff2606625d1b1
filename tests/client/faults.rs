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
