//! Schema changes while tables are read and written, and beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use client::ClientError;
use filesystem::memory::MemoryFilesystem;
use model::query::{Get, Scan};
use model::schema::FamilyDescriptor;
use protocol::envelope::CloseRegionOrder;
use protocol::messages as pb;
use protocol::messages::get_procedure_result_response::State;
use protocol::schema::table_name_to;
use protocol::service::{Call, MASTER, Reply, RpcError, Service};

use crate::cluster::{Cluster, described, keys, name, put, put_all, rows};

/// More than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

async fn cluster() -> Cluster {
    Cluster::start(Arc::new(MemoryFilesystem::new())).await
}

/// What a client of a table under change may be told.
fn is_clear(error: &ClientError) -> bool {
    ["TableNotFoundException", "TableNotEnabledException"].iter().any(|class| error.class().ends_with(class))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_writers_of_a_changing_table_get_answers_or_clear_errors() {
    let cluster = Arc::new(cluster().await);
    let (admin, t) = (cluster.admin().await, name("t"));
    admin.create_table(&described("t"), &keys(&["g", "p"])).await.expect("create");
    let (done, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for client in 0..4 {
        let table = cluster.table("t").await;
        let (done, answers) = (done.clone(), answers.clone());
        clients.push(tokio::spawn(async move {
            let mut turn = 0;
            while !done.load(Ordering::Acquire) {
                turn += 1;
                // Reads from memory never wait; without this they would keep the others from running.
                tokio::task::yield_now().await;
                let row = ["a", "h", "z"][turn % 3];
                let answer = match client {
                    0 => table.mutate(put(row, "1")).await.map(drop),
                    1 => table.get(&Get::new(row)).await.map(drop),
                    2 => table
                        .mutate_all(vec![put("a", "2"), put("z", "2")])
                        .await
                        .into_iter()
                        .try_for_each(|one| one.map(drop)),
                    _ => {
                        let mut scan = table.scan(Scan { caching: Some(1), ..Scan::default() });
                        loop {
                            match scan.next_row().await {
                                Ok(Some(_)) => {}
                                Ok(None) => break Ok(()),
                                Err(error) => break Err(error),
                            }
                        }
                    }
                };
                match answer {
                    Ok(()) => drop(answers.fetch_add(1, Ordering::AcqRel)),
                    Err(error) => assert!(is_clear(&error), "client {client}: {error:?}"),
                }
            }
        }));
    }
    let changes = async {
        for round in 0..6 {
            let mut changed = described("t");
            if round % 2 == 0 {
                changed = changed.with_family(FamilyDescriptor::new("h"));
            }
            admin.modify_table(&changed).await.expect("modify");
            admin.disable_table(&t).await.expect("disable");
            if round % 3 == 1 {
                admin.truncate_table(&t, round % 2 == 0).await.expect("truncate");
            } else if round % 3 == 2 {
                admin.delete_table(&t).await.expect("delete");
                admin.create_table(&described("t"), &keys(&["g", "p"])).await.expect("create");
            } else {
                admin.enable_table(&t).await.expect("enable");
            }
            // The clients get their turn before the next change.
            let seen = answers.load(Ordering::Acquire);
            while answers.load(Ordering::Acquire) < seen + 20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    tokio::time::timeout(LIMIT, changes).await.expect("nothing hangs");
    done.store(true, Ordering::Release);
    for client in clients {
        tokio::time::timeout(LIMIT, client).await.expect("ends").expect("no panic");
    }
}

#[tokio::test]
async fn a_scan_of_a_dropped_table_ends_with_a_clear_error() {
    let cluster = cluster().await;
    let (admin, t) = (cluster.admin().await, name("t"));
    admin.create_table(&described("t"), &[]).await.expect("create");
    let table = cluster.table("t").await;
    put_all(&table, (0..100).map(|i| put(&format!("{i:02}"), "1")).collect()).await;
    let mut scan = table.scan(Scan { caching: Some(5), ..Scan::default() });
    assert!(scan.next_row().await.expect("row").is_some());
    admin.disable_table(&t).await.expect("disable");
    admin.delete_table(&t).await.expect("delete");
    let end = async {
        loop {
            match scan.next_row().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the scan ended as if the table had no more rows"),
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(LIMIT, end).await.expect("ends");
    assert!(is_clear(&error), "{error:?}");
}

#[tokio::test]
async fn a_flush_of_a_table_goes_through_the_master_too() {
    let cluster = cluster().await;
    cluster.admin().await.create_table(&described("t"), &keys(&["m"])).await.expect("create");
    let table = cluster.table("t").await;
    put_all(&table, vec![put("a", "1"), put("z", "2")]).await;
    assert_eq!(cluster.fs.list("data/default").await.expect("list").len(), 0);
    let request = pb::FlushTableRequest { table_name: table_name_to(&name("t")), ..Default::default() };
    cluster.service.call(Call::new(MASTER, "FlushTable", &request)).await.expect("flush");
    cluster.master.idle().await;
    assert_eq!(cluster.fs.list("data/default").await.expect("list").len(), 2);
    cluster.admin().await.disable_table(&name("t")).await.expect("disable");
    let error = cluster.service.call(Call::new(MASTER, "FlushTable", &request)).await.expect_err("disabled");
    assert_eq!(error.message, "table t is disabled; enable it first");
}

/// Keeps orders to close regions waiting while it is shut.
struct Gate {
    host: Arc<dyn Service>,
    shut: tokio::sync::watch::Receiver<Option<String>>,
    waiting: Arc<AtomicUsize>,
}

#[async_trait]
impl Service for Gate {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        if call.method == "CloseRegion" {
            let order: CloseRegionOrder = call.decode()?;
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let mut shut = self.shut.clone();
            shut.wait_for(|shut| shut.as_deref() != Some(&order.encoded_name))
                .await
                .expect("the test holds the other end");
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        self.host.call(call).await
    }
}

#[tokio::test]
async fn a_change_that_is_stuck_stops_no_other_table() {
    let (gate, shut) = tokio::sync::watch::channel(None);
    let waiting = Arc::new(AtomicUsize::new(0));
    let stuck = waiting.clone();
    let between = |host| Arc::new(Gate { host, shut, waiting }) as Arc<dyn Service>;
    let cluster = Cluster::start_with(Arc::new(MemoryFilesystem::new()), between).await.expect("start");
    let admin = cluster.admin().await;
    for table in ["a", "b"] {
        admin.create_table(&described(table), &[]).await.expect("create");
    }
    let region = admin.regions(&name("a")).await.expect("regions").remove(0).info;
    gate.send_replace(Some(region.encoded_name()));
    let request = pb::DisableTableRequest { table_name: table_name_to(&name("a")), ..Default::default() };
    let answer = cluster.service.call(Call::new(MASTER, "DisableTable", &request)).await.expect("started");
    let id = answer.decode::<pb::DisableTableResponse>().expect("answer").proc_id.expect("id");
    while stuck.load(Ordering::Acquire) == 0 {
        tokio::task::yield_now().await;
    }
    // All others go on, and the stuck one is still to be seen.
    admin.disable_table(&name("b")).await.expect("disable");
    admin.delete_table(&name("b")).await.expect("delete");
    admin.create_table(&described("c"), &[]).await.expect("create");
    admin.create_namespace(&client::Namespace::new("n")).await.expect("create");
    let status = cluster.admin().await.cluster_status().await.expect("status");
    assert_eq!(status.servers.len(), 1);
    let state = async || {
        let request = pb::GetProcedureResultRequest { proc_id: id };
        let answer = cluster.service.call(Call::new(MASTER, "getProcedureResult", &request)).await.expect("answer");
        answer.decode::<pb::GetProcedureResultResponse>().expect("answer").state()
    };
    assert_eq!(state().await, State::Running);
    let locks = cluster.service.call(Call::new(MASTER, "GetLocks", &())).await.expect("answer");
    let locks = locks.decode::<pb::GetLocksResponse>().expect("answer").lock;
    assert_eq!(locks.iter().map(|lock| lock.resource_name()).collect::<Vec<_>>(), ["a"]);
    // A second change of the same table waits no longer than its caller.
    let enable = pb::EnableTableRequest { table_name: table_name_to(&name("a")), ..Default::default() };
    let call = Call { timeout: Some(Duration::from_millis(20)), ..Call::new(MASTER, "EnableTable", &enable) };
    let error = cluster.service.call(call).await.expect_err("busy");
    assert!(error.kind == model::ErrorKind::Busy && error.message.contains("still running"), "{error}");
    gate.send_replace(None);
    cluster.master.idle().await;
    assert_eq!(state().await, State::Finished);
    admin.enable_table(&name("a")).await.expect("enable");
    assert_eq!(rows(&cluster.table("a").await).await, []);
}

#[tokio::test]
async fn a_region_that_the_region_server_lost_is_opened_again() {
    let cluster = cluster().await;
    cluster.admin().await.create_table(&described("t"), &keys(&["m"])).await.expect("create");
    let table = cluster.table("t").await;
    put_all(&table, vec![put("a", "1"), put("z", "2")]).await;
    let lost = cluster.served().await.pop_first().expect("a region");
    // An order that nobody but a master should give.
    let order = CloseRegionOrder { master_epoch: 1, encoded_name: lost };
    cluster.service.call(Call::new(protocol::service::HOST, "CloseRegion", &order)).await.expect("closes");
    let back = async {
        while cluster.served().await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, back).await.expect("comes back");
    assert_eq!(rows(&table).await.len(), 2);
}
