//! kill -9 amid create, alter, disable, enable, truncate and drop: the change is done or undone when the server is back, never half.
//!
//! The asking client goes on over the restart; what it is told at last must be what is found.

use std::time::Duration;

use bytes::Bytes;
use client::{Admin, Connection, Table};
use ferrobase_tests::process::Server;
use ferrobase_tests::setting;
use futures::future::BoxFuture;
use model::ErrorKind;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, LATEST_TIMESTAMP};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SPLITS: [&str; 4] = ["b", "d", "f", "h"];
const ROWS: [&str; 5] = ["a", "c", "e", "g", "i"];

/// What is known of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Present { enabled: bool, families: usize, rows: usize },
}

/// Looks at everything a user can see of the table; panics at anything half done.
async fn look(connection: &Connection, name: &TableName) -> State {
    let admin = connection.admin();
    let listed = admin.tables(None).await.expect("a list").contains(name);
    assert_eq!(admin.exists(name).await.expect("an answer"), listed, "META and the list of tables differ");
    let table = connection.table(name.clone());
    if !listed {
        let error = table.get(&Get::new("a")).await.expect_err("a table that is not there");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        return State::Absent;
    }
    let enabled = admin.is_enabled(name).await.expect("an answer");
    let families = admin.descriptor(name).await.expect("a descriptor").families.len();
    let regions = admin.regions(name).await;
    if !enabled {
        let error = table.get(&Get::new("a")).await.expect_err("a disabled table");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        return State::Present { enabled, families, rows: usize::MAX };
    }
    let regions = regions.expect("regions");
    assert_eq!(regions.len(), SPLITS.len() + 1, "a hole or an overlap: {regions:?}");
    for (region, next) in regions.iter().zip(&regions[1..]) {
        assert_eq!(region.info.end_key, next.info.start_key, "a hole or an overlap");
    }
    let mut rows = table.scan(Scan::default());
    let mut count = 0;
    while rows.next_row().await.expect("every region serves").is_some() {
        count += 1;
    }
    for row in ROWS {
        table.get(&Get::new(row)).await.expect("every region serves");
    }
    State::Present { enabled, families, rows: count }
}

async fn fill(table: &Table) {
    for row in ROWS {
        let mut put = Mutation::new(MutationKind::Put, row.to_owned());
        put.cells.push(Cell::put(row.as_bytes(), b"f0", b"q", LATEST_TIMESTAMP, b"v").expect("small"));
        table.mutate(put).await.expect("a put into a living table");
    }
}

fn descriptor(name: &TableName, families: usize) -> TableDescriptor {
    (0..families).fold(TableDescriptor::new(name.clone()), |table, number| {
        table.with_family(FamilyDescriptor::new(format!("f{number}").into_bytes()))
    })
}

/// One change: its name, what the table is after it, and the change.
type Change = (&'static str, State, fn(Admin, TableName) -> BoxFuture<'static, client::Result<()>>);

fn changes() -> Vec<Change> {
    let present = |enabled, families, rows| State::Present { enabled, families, rows };
    vec![
        ("create", present(true, 1, 0), |admin, name| {
            Box::pin(async move {
                let splits: Vec<Bytes> = SPLITS.iter().map(|key| Bytes::from(*key)).collect();
                admin.create_table(&descriptor(&name, 1), &splits).await
            })
        }),
        ("alter", present(true, 2, ROWS.len()), |admin, name| {
            Box::pin(async move { admin.modify_table(&descriptor(&name, 2)).await })
        }),
        ("disable", present(false, 2, usize::MAX), |admin, name| {
            Box::pin(async move { admin.disable_table(&name).await })
        }),
        ("enable", present(true, 2, ROWS.len()), |admin, name| {
            Box::pin(async move { admin.enable_table(&name).await })
        }),
        ("disable", present(false, 2, usize::MAX), |admin, name| {
            Box::pin(async move { admin.disable_table(&name).await })
        }),
        ("truncate", present(true, 2, 0), |admin, name| {
            Box::pin(async move { admin.truncate_table(&name, true).await })
        }),
        ("disable", present(false, 2, usize::MAX), |admin, name| {
            Box::pin(async move { admin.disable_table(&name).await })
        }),
        ("drop", State::Absent, |admin, name| Box::pin(async move { admin.delete_table(&name).await })),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_schema_change_is_done_or_undone() {
    let (cycles, mut dice) = (setting("DDL_CYCLES", 3), StdRng::seed_from_u64(setting("KILL_SEED", 1)));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    let port = server.port.to_string();
    let connect = || async {
        let builder = Connection::builder(&format!("127.0.0.1:{port}")).timeout(Duration::from_secs(60));
        builder.open().await.expect("the server answers")
    };
    let connection = connect().await;
    let name: TableName = "t".parse().expect("a name");
    let (mut kills, mut told_done) = (0, 0);
    for _ in 0..cycles {
        for (what, after, change) in changes() {
            let mut before = look(&connection, &name).await;
            if matches!(before, State::Present { enabled: true, families: 1, .. }) {
                fill(&connection.table(name.clone())).await;
                before = look(&connection, &name).await;
            }
            let asked = tokio::spawn(change(connection.admin(), name.clone()));
            tokio::time::sleep(Duration::from_micros(dice.random_range(0..40_000))).await;
            server.kill();
            kills += 1;
            server = Server::start(&data, &["--port", &port]);
            let told = asked.await.expect("the asking task does not panic");
            // A fresh client: nothing is remembered.
            let connection = connect().await;
            let found = look(&connection, &name).await;
            match told {
                Ok(()) => {
                    told_done += 1;
                    assert_eq!(found, after, "{what} was acknowledged");
                }
                Err(error) => {
                    assert!(found == after || found == before, "{what} is half done: {found:?}, {error}");
                    if found == before {
                        change(connection.admin(), name.clone()).await.expect("the change, asked once more");
                        assert_eq!(look(&connection, &name).await, after, "{what}, asked once more");
                    }
                }
            }
        }
    }
    assert!(told_done > 0, "no change was ever acknowledged");
    assert_eq!(server.stop(), Some(0), "a graceful end");
    println!("{kills} kills amid schema changes, {told_done} of them acknowledged: each done or undone");
}
