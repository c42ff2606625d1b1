//! Two masters over one root: the older one is refused, and says so.

use std::sync::Arc;

use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use protocol::messages as pb;
use protocol::schema::table_to;
use protocol::service::{Call, MASTER, RpcError};

use crate::cluster::{Cluster, described, name, put, rows};

async fn create(cluster: &Cluster, table: &str) -> Result<(), RpcError> {
    let request = pb::CreateTableRequest { table_schema: table_to(&described(table)), ..Default::default() };
    cluster.service.call(Call::new(MASTER, "CreateTable", &request)).await.map(drop)
}

#[tokio::test]
async fn the_older_master_is_refused_and_says_so() {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    let old = Cluster::start(fs.clone()).await;
    old.admin().await.create_table(&described("t"), &[]).await.expect("create");
    old.table("t").await.mutate(put("a", "1")).await.expect("put");
    assert!(!old.master.is_fenced());
    let new = Cluster::start(fs).await;
    for table in ["u", "v"] {
        let error = create(&old, table).await.expect_err("refused");
        assert_eq!(error.short_class(), "MasterNotRunningException", "{error}");
        assert!(error.message.contains("another master has taken over"), "{error}");
    }
    assert!(old.master.is_fenced());
    old.master.close().await.expect("close");
    // The new one is not disturbed.
    let admin = new.admin().await;
    assert_eq!(admin.tables(None).await.expect("list"), [name("t")]);
    admin.create_table(&described("u"), &[]).await.expect("create");
    let table = new.table("t").await;
    table.mutate(put("b", "2")).await.expect("put");
    assert_eq!(rows(&table).await.len(), 2);
}

#[tokio::test]
async fn a_master_that_was_replaced_notices_by_itself() {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    let old = Cluster::start(fs.clone()).await;
    let _new = Cluster::start(fs).await;
    // Its log has been ended; the next write of anyone in the process finds out.
    old.table("hbase:meta").await;
    let error = create(&old, "t").await.expect_err("refused");
    assert_eq!(error.short_class(), "MasterNotRunningException");
    assert!(old.master.is_fenced() && old.server.is_fenced());
}
