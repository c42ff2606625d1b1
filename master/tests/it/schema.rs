//! Schema changes as a client asks for them.

use std::sync::Arc;

use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;

use crate::cluster::{Cluster, described, keys, name, put, rows};

fn memory() -> Arc<dyn Filesystem> {
    Arc::new(MemoryFilesystem::new())
}

#[tokio::test]
async fn a_table_cut_at_its_creation_has_its_regions_in_meta_and_outlives_a_restart() {
    let cluster = Cluster::start(memory()).await;
    let admin = cluster.admin().await;
    admin.create_table(&described("t"), &keys(&["m", "d"])).await.expect("create");
    let regions = admin.regions(&name("t")).await.expect("regions");
    let starts: Vec<_> = regions.iter().map(|region| region.info.start_key.clone()).collect();
    assert_eq!(starts, keys(&["", "d", "m"]));
    assert!(admin.is_enabled(&name("t")).await.expect("state"));
    let table = cluster.table("t").await;
    for row in ["a", "d", "x"] {
        table.mutate(put(row, row)).await.expect("put");
    }
    let expected: Vec<_> = ["a", "d", "x"].map(|row| (row.to_owned(), row.to_owned())).into();
    assert_eq!(rows(&table).await, expected);
    // Once in order, once as after a crash.
    let fs = cluster.close().await;
    let cluster = Cluster::start(fs.clone()).await;
    assert_eq!(rows(&cluster.table("t").await).await, expected);
    let cluster = Cluster::start(fs).await;
    let after = cluster.admin().await.regions(&name("t")).await.expect("regions");
    assert_eq!(
        after.iter().map(|region| &region.info).collect::<Vec<_>>(),
        regions.iter().map(|r| &r.info).collect::<Vec<_>>()
    );
    assert_eq!(rows(&cluster.table("t").await).await, expected);
}
