use std::sync::Arc;
use std::time::Duration;

use client::BufferSettings;
use model::mutation::Mutation;
use model::query::{Get, Scan};

use crate::rig::*;

#[tokio::test]
async fn a_buffer_writes_everything_once() {
    let node = Node::new().await;
    let table = node.table("t", &["02000", "05000"]).await;
    let (connection, faults) = node.faulty().await;
    faults.at_random(7, 4);
    let settings = BufferSettings { bytes: 50 << 10, ..BufferSettings::default() };
    let buffer = Arc::new(connection.buffered_mutator(table.name().clone(), settings));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let buffer = buffer.clone();
            tokio::spawn(async move {
                for n in (writer..8000).step_by(4) {
                    buffer.mutate(put(format!("{n:05}"), n.to_string())).await.expect("room");
                    if n % 10 == 0 {
                        buffer.mutate(increment("counter", 1)).await.expect("room");
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("writer");
    }
    Arc::into_inner(buffer).expect("the last one").close().await.expect("all written");
    assert!(faults.made() > 5, "{}", faults.made());
    let mut rows = table.scan(Scan::default());
    for n in 0..8000 {
        let row = rows.next_row().await.expect("scan").expect("a row");
        assert_eq!((row.row(), row.value("f", "q")), (Some(format!("{n:05}").as_bytes()), Some(n.to_string().into())));
    }
    let counter = rows.next_row().await.expect("scan").expect("the counter");
    assert_eq!(number(&counter), 800, "however often answers were lost");
    assert!(rows.next_row().await.expect("scan").is_none());
}

#[tokio::test]
async fn failures_name_their_mutations() {
    let node = Node::new().await;
    let table = node.table("t", &["m"]).await;
    let buffer = node.connection().await.buffered_mutator(table.name().clone(), BufferSettings::default());
    for row in ["a", "n", "z"] {
        buffer.mutate(put(row, "v")).await.expect("room");
        buffer.mutate(Mutation::put(row).cell("x", "q", "v").expect("cell")).await.expect("room");
    }
    let failed = buffer.flush().await.expect_err("no family x");
    let rows: Vec<_> = failed.failures.iter().map(|failure| failure.mutation.row.clone()).collect();
    assert_eq!((rows, failed.count), (vec!["a".into(), "n".into(), "z".into()], 3));
    assert!(failed.failures.iter().all(|failure| failure.error.class() == "NoSuchColumnFamilyException"));
    buffer.close().await.expect("nothing left");
    assert!(table.exists(&Get::new("z")).await.expect("exists"));
    let buffer = node.connection().await.buffered_mutator(name("nowhere"), BufferSettings::default());
    buffer.mutate(put("a", "v")).await.expect("room");
    assert_eq!(buffer.close().await.expect_err("no table").first().class(), "TableNotFoundException");
}

#[tokio::test]
async fn a_period_sends_by_itself() {
    let node = Node::new().await;
    let table = node.table("t", &[]).await;
    let settings = BufferSettings { period: Some(Duration::from_millis(10)), ..BufferSettings::default() };
    let buffer = node.connection().await.buffered_mutator(table.name().clone(), settings);
    buffer.mutate(put("r", "v")).await.expect("room");
    let sent = async {
        while !table.exists(&Get::new("r")).await.expect("exists") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), sent).await.expect("sent without a flush");
    buffer.close().await.expect("close");
}
