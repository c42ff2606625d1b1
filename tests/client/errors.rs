use std::time::Duration;

use model::ErrorKind;
use model::mutation::Mutation;
use model::query::{Get, Scan};
use model::schema::{FamilyDescriptor, TableDescriptor};

use crate::rig::*;

#[tokio::test]
async fn what_does_not_exist_is_said_and_not_tried_again() {
    let node = Node::new().await;
    let connection = node.connection().await;
    let (nowhere, admin) = (connection.table(name("nowhere")), connection.admin());
    let errors = [
        nowhere.get(&Get::new("r")).await.expect_err("get"),
        nowhere.mutate(put("r", "v")).await.expect_err("put"),
        nowhere.mutate_all(vec![put("r", "v")]).await.remove(0).expect_err("batch"),
        nowhere.scan(Scan::default()).next_row().await.expect_err("scan"),
        admin.disable_table(nowhere.name()).await.expect_err("disable"),
        admin.descriptor(nowhere.name()).await.expect_err("descriptor"),
        admin.regions(nowhere.name()).await.expect_err("regions"),
        admin.flush(nowhere.name()).await.expect_err("flush"),
        admin.is_enabled(nowhere.name()).await.expect_err("is enabled"),
    ];
    for error in errors {
        assert_eq!(
            (error.kind(), error.class(), error.attempts()),
            (ErrorKind::NotFound, "TableNotFoundException", 1),
            "{error}"
        );
        assert!(!error.is_retriable() && error.to_string().contains("nowhere"), "{error}");
    }
    let error = admin.create_table(&described("gone:t"), &[]).await.expect_err("no namespace");
    assert_eq!((error.kind(), error.class()), (ErrorKind::NotFound, "NamespaceNotFoundException"));
    let table = node.table("t", &[]).await;
    let errors = [
        table.get(&Get::new("r").with_family("x")).await.expect_err("get"),
        table.mutate(Mutation::put("r").cell("x", "q", "v").expect("cell")).await.expect_err("put"),
        table.mutate(Mutation::increment("r").amount("x", "q", 1).expect("cell")).await.expect_err("increment"),
        table.scan(Scan::default().with_family("x")).next_row().await.expect_err("scan"),
    ];
    for error in errors {
        let got = (error.kind(), error.class(), error.attempts());
        assert_eq!(got, (ErrorKind::NotFound, "NoSuchColumnFamilyException", 1), "{error}");
        assert!(error.to_string().contains("table=`t`"), "{error}");
    }
}

#[tokio::test]
async fn a_cell_that_is_too_large_is_refused() {
    let node = Node::new().await;
    let table = node.table("t", &[]).await;
    let large = put("r", vec![b'v'; (10 << 20) + 1]);
    for error in [
        table.mutate(large.clone()).await.expect_err("put"),
        table.mutate_all(vec![large]).await.remove(0).expect_err("batch"),
    ] {
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Invalid, 1), "{error}");
        assert!(!error.is_retriable() && !error.may_have_happened(), "{error}");
    }
    assert!(!table.exists(&Get::new("r")).await.expect("exists"));
}

#[tokio::test]
async fn a_disabled_table_says_so() {
    let node = Node::new().await;
    let table = node.table("t", &["m"]).await;
    table.mutate(put("r", "v")).await.expect("put");
    let admin = node.admin().await;
    admin.disable_table(table.name()).await.expect("disable");
    let errors = [
        table.get(&Get::new("r")).await.expect_err("get"),
        table.mutate(increment("r", 1)).await.expect_err("increment"),
        table.mutate_all(vec![put("a", "v"), put("z", "v")]).await.remove(1).expect_err("batch"),
        table.scan(Scan::default()).next_row().await.expect_err("scan"),
        admin.flush(table.name()).await.expect_err("flush"),
        admin.compact(table.name(), None, true).await.expect_err("compact"),
        admin.disable_table(table.name()).await.expect_err("disable"),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.class()), (ErrorKind::Conflict, "TableNotEnabledException"), "{error}");
        assert!(!error.is_retriable() && !error.may_have_happened() && error.attempts() <= 2, "{error}");
    }
    admin.enable_table(table.name()).await.expect("enable");
    assert_eq!(value(&table, "r").await.as_deref(), Some("v"));
    let error = admin.delete_table(table.name()).await.expect_err("enabled");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Conflict, "TableNotDisabledException"));
}

#[tokio::test]
async fn a_table_cannot_be_made_twice_or_wrong() {
    let node = Node::new().await;
    let admin = node.admin().await;
    admin.create_table(&described("t"), &[]).await.expect("create");
    let error = admin.create_table(&described("t"), &[]).await.expect_err("twice");
    assert_eq!((error.kind(), error.class()), (ErrorKind::Exists, "TableExistsException"));
    let wrong = [
        admin.create_table(&TableDescriptor::new(name("none")), &[]).await,
        admin.create_table(&described("u").with_family(FamilyDescriptor::new("h").with("VERSIONS", "0")), &[]).await,
        admin.create_table(&described("u"), &keys(&["a", "a"])).await,
    ];
    for answer in wrong {
        let error = answer.expect_err("wrong");
        assert!(error.kind() == ErrorKind::Invalid && !error.is_retriable(), "{error}");
    }
    assert!(!admin.exists(&name("u")).await.expect("exists"));
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_a_hint() {
    let free = runtime::net::bind("127.0.0.1:0".parse().expect("address")).await.expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let error = builder(&address).timeout(Duration::from_millis(300)).open().await.expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let said = error.to_string();
    assert!(said.contains("connection refused; is the server running?") && said.contains(&address), "{said}");
}

#[tokio::test]
async fn a_server_that_comes_back_in_time_is_only_a_delay() {
    let node = Node::new().await;
    let table = node.table("t", &["m"]).await;
    table.mutate(put("r", "before")).await.expect("put");
    let mut rows = table.scan(Scan::default());
    assert!(rows.next_row().await.expect("scan").is_some());
    let (fs, address) = node.close().await;
    let during = tokio::spawn({
        let table = table.clone();
        async move {
            table.mutate(put("r", "during")).await.expect("put");
            table.mutate(increment("n", 5)).await.expect("increment")
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let node = Node::start(fs, address).await;
    assert_eq!(number(&during.await.expect("task")), 5);
    assert_eq!(value(&table, "r").await.as_deref(), Some("during"));
    let error = table.get(&Get::new("r").with_family("x")).await.expect_err("no family");
    assert_eq!(error.class(), "NoSuchColumnFamilyException");
    node.close().await;
    let short = builder(&address.to_string()).timeout(Duration::from_millis(200));
    assert!(short.open().await.expect_err("gone").is_retriable());
}
