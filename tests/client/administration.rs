use std::collections::BTreeMap;

use client::Namespace;
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableName};
use model::{ErrorKind, mutation::Mutation};

use crate::rig::*;

fn texts(names: Vec<TableName>) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_table_from_cradle_to_grave() {
    let node = Node::new().await;
    let admin = node.admin().await;
    let t = name("t");
    assert!(!admin.exists(&t).await.expect("exists"));
    admin.create_table(&described("t"), &keys(&["g", "p"])).await.expect("create");
    assert!(admin.exists(&t).await.expect("exists") && admin.is_enabled(&t).await.expect("state"));
    let described = admin.descriptor(&t).await.expect("descriptor");
    assert_eq!(described.families.keys().map(|family| &family[..]).collect::<Vec<_>>(), [b"f", b"g"]);
    let regions = admin.regions(&t).await.expect("regions");
    let edges: Vec<_> =
        regions.iter().map(|region| (region.info.start_key.clone(), region.info.end_key.clone())).collect();
    assert_eq!(edges, [("".into(), "g".into()), ("g".into(), "p".into()), ("p".into(), "".into())]);
    assert!(regions.iter().all(|region| region.server.port == node.address.port()));

    let table = node.connection().await.table(t.clone());
    for row in ["a", "h", "z"] {
        table.mutate(put(row, "v")).await.expect("put");
    }
    let wider = described.with_family(FamilyDescriptor::new("h"));
    admin.modify_table(&wider).await.expect("modify");
    table.mutate(Mutation::put("a").cell("h", "q", "v").expect("cell")).await.expect("the new family");
    assert_eq!(admin.descriptor(&t).await.expect("descriptor").families.len(), 3);

    admin.flush(&t).await.expect("flush");
    admin.flush_region(regions[0].info.region_name()).await.expect("flush");
    admin.flush_region(regions[1].info.encoded_name()).await.expect("flush");
    let error = admin.flush_region("no such region").await.expect_err("unknown");
    assert_eq!((error.kind(), error.class()), (ErrorKind::NotFound, "UnknownRegionException"));
    admin.compact(&t, None, false).await.expect("compact");
    admin.compact(&t, Some(b"f"), true).await.expect("compact");
    for row in ["a", "h", "z"] {
        assert_eq!(value(&table, row).await.as_deref(), Some("v"), "after flush and compaction");
    }

    admin.disable_table(&t).await.expect("disable");
    assert!(!admin.is_enabled(&t).await.expect("state"));
    admin.truncate_table(&t, true).await.expect("truncate");
    assert!(admin.is_enabled(&t).await.expect("state"));
    assert_eq!(admin.regions(&t).await.expect("regions").len(), 3);
    assert!(table.scan(Scan::default()).next_row().await.expect("scan").is_none());
    table.mutate(put("a", "again")).await.expect("put");
    admin.disable_table(&t).await.expect("disable");
    admin.truncate_table(&t, false).await.expect("truncate");
    assert_eq!(admin.regions(&t).await.expect("regions").len(), 1);
    assert!(!table.exists(&Get::new("a")).await.expect("exists"));

    admin.disable_table(&t).await.expect("disable");
    admin.delete_table(&t).await.expect("delete");
    assert!(!admin.exists(&t).await.expect("exists"));
    assert_eq!(table.get(&Get::new("a")).await.expect_err("deleted").class(), "TableNotFoundException");
    admin.create_table(&crate::rig::described("t"), &[]).await.expect("create again");
    assert!(!table.exists(&Get::new("a")).await.expect("the same handle finds the new table"));
}

#[tokio::test]
async fn tables_are_listed_by_pattern_and_namespace() {
    let node = Node::new().await;
    let admin = node.admin().await;
    admin.create_namespace(&Namespace::new("ns")).await.expect("namespace");
    for table in ["users", "user_events", "other", "ns:users"] {
        admin.create_table(&described(table), &[]).await.expect("create");
    }
    assert_eq!(texts(admin.tables(None).await.expect("tables")), ["other", "user_events", "users", "ns:users"]);
    assert_eq!(texts(admin.tables(Some("user.*")).await.expect("tables")), ["user_events", "users"]);
    assert_eq!(texts(admin.tables(Some("ns:.*")).await.expect("tables")), ["ns:users"]);
    assert!(admin.tables(Some("nothing")).await.expect("tables").is_empty());
    assert_eq!(admin.tables(Some("(")).await.expect_err("no pattern").kind(), ErrorKind::Invalid);
    let described = admin.descriptors(Some("o.*")).await.expect("descriptors");
    assert_eq!(described.iter().map(|table| table.name.to_string()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(admin.descriptors(None).await.expect("descriptors").len(), 4);
    assert_eq!(texts(admin.tables_of_namespace("ns").await.expect("tables")), ["ns:users"]);
    assert_eq!(admin.tables_of_namespace("gone").await.expect_err("none").class(), "NamespaceNotFoundException");
}

#[tokio::test]
async fn namespaces() {
    let node = Node::new().await;
    let admin = node.admin().await;
    let mut space = Namespace { name: "ns".to_owned(), properties: BTreeMap::from([("a".to_owned(), "1".to_owned())]) };
    admin.create_namespace(&space).await.expect("create");
    let error = admin.create_namespace(&space).await.expect_err("twice");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Exists, "NamespaceExistException"));
    assert_eq!(admin.namespace("ns").await.expect("namespace"), space);
    space.properties.insert("b".to_owned(), "2".to_owned());
    admin.modify_namespace(&space).await.expect("modify");
    assert_eq!(admin.namespace("ns").await.expect("namespace"), space);
    let names: Vec<_> = admin.namespaces().await.expect("namespaces").into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["default", "hbase", "ns"]);
    admin.create_table(&described("ns:t"), &[]).await.expect("create");
    assert_eq!(admin.delete_namespace("ns").await.expect_err("not empty").class(), "ConstraintException");
    admin.disable_table(&name("ns:t")).await.expect("disable");
    admin.delete_table(&name("ns:t")).await.expect("delete");
    admin.delete_namespace("ns").await.expect("delete");
    let error = admin.namespace("ns").await.expect_err("gone");
    assert_eq!((error.kind(), error.class()), (ErrorKind::NotFound, "NamespaceNotFoundException"));
    assert_eq!(admin.namespace("bad name!").await.expect_err("bad").kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn the_state_of_the_cluster() {
    let node = Node::new().await;
    let table = node.table("t", &["m"]).await;
    table.mutate(put("r", "v")).await.expect("put");
    let admin = node.admin().await;
    let status = admin.cluster_status().await.expect("status");
    assert_eq!(status.cluster_id, node.connection().await.cluster_id());
    assert_eq!(status.master.as_ref().map(|master| master.port), Some(node.address.port()));
    assert_eq!((status.servers.len(), status.dead_servers.len()), (1, 0));
    assert!(status.regions() >= 3, "META and two more: {}", status.regions());
    let regions = admin.regions(table.name()).await.expect("regions");
    let load = |at: usize| {
        let name = regions[at].info.region_name();
        status.servers[0].regions.iter().find(|load| load.region == name).unwrap_or_else(|| panic!("{at}: {status:?}"))
    };
    assert_eq!((load(0).writes, load(1).writes, load(0).stores), (0, 1, 2));
}

#[tokio::test]
async fn meta_is_a_table_that_can_be_read() {
    let node = Node::new().await;
    node.table("t", &["m"]).await;
    let admin = node.admin().await;
    let meta = TableName::meta();
    assert!(admin.exists(&meta).await.expect("exists") && admin.is_enabled(&meta).await.expect("state"));
    assert_eq!(admin.regions(&meta).await.expect("regions")[0].info, RegionInfo::meta());
    assert!(admin.descriptor(&meta).await.expect("descriptor").families.contains_key(&b"info"[..]));
    let mut rows = node.connection().await.table(meta).scan(Scan::default().with_prefix("t,"));
    let mut found = 0;
    while let Some(row) = rows.next_row().await.expect("scan") {
        assert!(row.value("info", "regioninfo").is_some());
        found += 1;
    }
    assert_eq!(found, 2);
    admin.flush_region(RegionInfo::meta().region_name()).await.expect("flush META");
}
