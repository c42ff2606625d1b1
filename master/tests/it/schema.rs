//! Schema changes as a client asks for them.

use std::sync::Arc;

use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use filesystem::memory::MemoryFilesystem;

use model::schema::FamilyDescriptor;

use crate::cluster::{Cluster, described, keys, name, put, put_all, put_in, rows};

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

/// The class and message of an error.
fn refusal<T: std::fmt::Debug>(result: Result<T, client::ClientError>) -> (String, String) {
    let error = result.expect_err("refused");
    (error.class().to_owned(), error.to_string())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, client::ClientError>, class: &str, words: &str) {
    let (found, message) = refusal(result);
    assert!(found.ends_with(class), "{found} is not {class}: {message}");
    assert!(message.contains(words), "`{message}` does not say `{words}`");
}

#[tokio::test]
async fn a_table_goes_through_its_states_and_refuses_what_does_not_fit() {
    let cluster = Cluster::start(memory()).await;
    let (admin, t) = (cluster.admin().await, name("t"));
    for missing in [
        admin.disable_table(&t).await,
        admin.enable_table(&t).await,
        admin.delete_table(&t).await,
        admin.truncate_table(&t, true).await,
        admin.modify_table(&described("t")).await,
        admin.descriptor(&t).await.map(drop),
        admin.regions(&t).await.map(drop),
    ] {
        refused(missing, "TableNotFoundException", "t");
    }
    assert!(!admin.exists(&t).await.expect("exists"));
    admin.create_table(&described("t"), &keys(&["m"])).await.expect("create");
    refused(admin.create_table(&described("t"), &[]).await, "TableExistsException", "table t exists already");
    refused(admin.delete_table(&t).await, "TableNotDisabledException", "disable it first");
    refused(admin.truncate_table(&t, true).await, "TableNotDisabledException", "disable it first");
    refused(admin.enable_table(&t).await, "TableNotDisabledException", "enabled already");
    let table = cluster.table("t").await;
    put_all(&table, vec![put("a", "1"), put("z", "2")]).await;

    admin.disable_table(&t).await.expect("disable");
    assert!(!admin.is_enabled(&t).await.expect("state"));
    refused(admin.disable_table(&t).await, "TableNotEnabledException", "disabled already");
    refused(table.mutate(put("b", "1")).await, "TableNotEnabledException", "t");
    assert!(admin.exists(&t).await.expect("exists"));
    admin.enable_table(&t).await.expect("enable");
    assert_eq!(rows(&table).await.len(), 2);

    admin.disable_table(&t).await.expect("disable");
    admin.truncate_table(&t, true).await.expect("truncate");
    assert!(admin.is_enabled(&t).await.expect("state"));
    assert_eq!(admin.regions(&t).await.expect("regions").len(), 2);
    assert_eq!(rows(&table).await, []);
    table.mutate(put("a", "3")).await.expect("put");
    admin.disable_table(&t).await.expect("disable");
    admin.truncate_table(&t, false).await.expect("truncate");
    assert_eq!(admin.regions(&t).await.expect("regions").len(), 1);
    assert_eq!(rows(&table).await, []);

    admin.disable_table(&t).await.expect("disable");
    admin.delete_table(&t).await.expect("delete");
    assert!(!admin.exists(&t).await.expect("exists"));
    assert_eq!(admin.tables(None).await.expect("list"), []);
    refused(table.mutate(put("a", "1")).await, "TableNotFoundException", "t");
    // Nothing of it is left but the stub that keeps it dead.
    let left: Vec<_> = cluster.fs.list("data/default").await.expect("list").into_iter().map(|file| file.path).collect();
    assert_eq!(left, Vec::<String>::new());
    // The name may be used again, with an empty table.
    admin.create_table(&described("t"), &[]).await.expect("create");
    assert_eq!(rows(&table).await, []);
}

#[tokio::test]
async fn bad_tables_are_refused_with_a_reason() {
    let cluster = Cluster::start(memory()).await;
    let admin = cluster.admin().await;
    let bare = model::schema::TableDescriptor::new(name("t"));
    refused(admin.create_table(&bare, &[]).await, "DoNotRetryIOException", "famil");
    refused(admin.create_table(&described("t"), &keys(&["a", "a"])).await, "DoNotRetryIOException", "unique. key=`a`");
    refused(admin.create_table(&described("t"), &keys(&["", "a"])).await, "DoNotRetryIOException", "empty");
    let long = vec![bytes::Bytes::from(vec![b'k'; 33_000])];
    refused(admin.create_table(&described("t"), &long).await, "DoNotRetryIOException", "too long");
    refused(admin.create_table(&described("hbase:t"), &[]).await, "ConstraintException", "reserved");
    refused(admin.create_table(&described("ferrobase:t"), &[]).await, "ConstraintException", "reserved");
    refused(admin.create_table(&described("hbase:meta"), &[]).await, "TableExistsException", "hbase:meta");
    refused(admin.disable_table(&name("hbase:meta")).await, "ConstraintException", "hbase:meta");
    refused(admin.delete_table(&name("hbase:meta")).await, "TableNotDisabledException", "hbase:meta");
    refused(
        admin.create_table(&described("n:t"), &[]).await,
        "NamespaceNotFoundException",
        "namespace n does not exist",
    );
    let zero = described("t").with_family(FamilyDescriptor::new("f").with("VERSIONS", "0"));
    refused(admin.create_table(&zero, &[]).await, "DoNotRetryIOException", "VERSIONS");
    let mut replicated = described("t");
    replicated.attributes.insert("REGION_REPLICATION".to_owned(), "2".into());
    refused(admin.create_table(&replicated, &[]).await, "DoNotRetryIOException", "region replicas are not supported");
    let mut observed = described("t");
    observed.attributes.insert("coprocessor$1".to_owned(), "|a.B|1|".into());
    refused(admin.create_table(&observed, &[]).await, "DoNotRetryIOException", "coprocessors are not supported");
    let secret = described("t").with_family(FamilyDescriptor::new("f").with("ENCRYPTION", "AES"));
    refused(admin.create_table(&secret, &[]).await, "DoNotRetryIOException", "encryption is not supported");
    assert_eq!(admin.tables(None).await.expect("list"), []);
}

#[tokio::test]
async fn namespaces_are_made_changed_listed_and_removed() {
    let cluster = Cluster::start(memory()).await;
    let admin = cluster.admin().await;
    let names = async || -> Vec<String> {
        admin.namespaces().await.expect("list").into_iter().map(|namespace| namespace.name).collect()
    };
    assert_eq!(names().await, ["default", "hbase"]);
    let mut n = client::Namespace::new("n");
    n.properties.insert("hbase.namespace.quota.maxtables".to_owned(), "5".to_owned());
    admin.create_namespace(&n).await.expect("create");
    refused(admin.create_namespace(&n).await, "NamespaceExistException", "namespace n exists already");
    assert_eq!(admin.namespace("n").await.expect("namespace"), n);
    n.properties.insert("k".to_owned(), "v".to_owned());
    admin.modify_namespace(&n).await.expect("modify");
    assert_eq!(admin.namespace("n").await.expect("namespace"), n);
    refused(admin.modify_namespace(&client::Namespace::new("o")).await, "NamespaceNotFoundException", "o");
    refused(admin.delete_namespace("o").await, "NamespaceNotFoundException", "o");
    refused(admin.namespace("o").await, "NamespaceNotFoundException", "o");
    refused(admin.tables_of_namespace("o").await, "NamespaceNotFoundException", "o");
    refused(admin.delete_namespace("default").await, "ConstraintException", "reserved");
    refused(admin.create_namespace(&client::Namespace::new("a b")).await, "DoNotRetryIOException", "a b");
    admin.create_table(&described("n:t"), &[]).await.expect("create");
    refused(admin.delete_namespace("n").await, "ConstraintException", "n:t");
    assert_eq!(admin.tables_of_namespace("n").await.expect("list"), [name("n:t")]);
    assert_eq!(admin.tables_of_namespace("hbase").await.expect("list"), [name("hbase:meta")]);
    // All of it outlives a crash.
    let cluster = Cluster::start(cluster.fs.clone()).await;
    let admin = cluster.admin().await;
    assert_eq!(admin.namespace("n").await.expect("namespace"), n);
    admin.disable_table(&name("n:t")).await.expect("disable");
    admin.delete_table(&name("n:t")).await.expect("delete");
    admin.delete_namespace("n").await.expect("delete");
    let left: Vec<_> = admin.namespaces().await.expect("list").into_iter().map(|namespace| namespace.name).collect();
    assert_eq!(left, ["default", "hbase"]);
}

#[tokio::test]
async fn tables_are_listed_by_patterns_over_whole_names() {
    let cluster = Cluster::start(memory()).await;
    let admin = cluster.admin().await;
    admin.create_namespace(&client::Namespace::new("n")).await.expect("create");
    for table in ["ab", "abc", "b.c", "n:ab"] {
        admin.create_table(&described(table), &[]).await.expect("create");
    }
    for (pattern, expected) in [
        (None, vec!["ab", "abc", "b.c", "n:ab"]),
        (Some(".*"), vec!["ab", "abc", "b.c", "n:ab"]),
        (Some("ab"), vec!["ab"]),
        (Some("ab.*"), vec!["ab", "abc"]),
        (Some("a|abc"), vec!["abc"]),
        (Some("default:.*"), vec!["ab", "abc", "b.c"]),
        (Some("n:.*"), vec!["n:ab"]),
        (Some(r"\w\.\w"), vec!["b.c"]),
        (Some(r"\Qb.c\E"), vec!["b.c"]),
        (Some("(?i)AB"), vec!["ab"]),
        (Some("hbase:.*"), vec![]),
        (Some("x"), vec![]),
    ] {
        let found = admin.tables(pattern).await.expect("list");
        assert_eq!(found, expected.iter().map(|table| name(table)).collect::<Vec<_>>(), "{pattern:?}");
        let described = admin.descriptors(pattern).await.expect("list");
        assert_eq!(described.into_iter().map(|table| table.name).collect::<Vec<_>>(), found, "{pattern:?}");
    }
    refused(admin.tables(Some("(")).await, "DoNotRetryIOException", "regular expression");
}

#[tokio::test]
async fn an_altered_table_serves_what_it_has_now() {
    let cluster = Cluster::start(memory()).await;
    let (admin, t) = (cluster.admin().await, name("t"));
    admin.create_table(&described("t"), &keys(&["m"])).await.expect("create");
    let table = cluster.table("t").await;
    put_all(&table, vec![put("a", "1"), put("z", "1"), put_in("g", "a", "1")]).await;
    // A family more, in service.
    let mut more = described("t").with_family(FamilyDescriptor::new("h"));
    more.attributes.insert("MAX_FILESIZE".to_owned(), "1073741824".into());
    admin.modify_table(&more).await.expect("modify");
    assert_eq!(admin.descriptor(&t).await.expect("descriptor"), more);
    table.mutate(put_in("h", "z", "2")).await.expect("put");
    // A family less; the same name again begins empty, whatever the log and the files say.
    let mut less = more.clone();
    less.families.remove(&b"g"[..]);
    admin.modify_table(&less).await.expect("modify");
    refused(table.mutate(put_in("g", "a", "2")).await, "NoSuchColumnFamilyException", "g");
    admin.modify_table(&more).await.expect("modify");
    let get = |row: &'static str| table.get(Box::leak(Box::new(model::query::Get::new(row))));
    assert!(get("a").await.expect("get").value(b"g", b"q").is_none());
    assert_eq!(get("a").await.expect("get").value(b"f", b"q").as_deref(), Some(&b"1"[..]));
    // The same out of service, and after a crash.
    admin.disable_table(&t).await.expect("disable");
    let mut least = less.clone();
    least.families.remove(&b"h"[..]);
    admin.modify_table(&least).await.expect("modify");
    admin.modify_table(&less).await.expect("modify");
    admin.enable_table(&t).await.expect("enable");
    assert!(get("z").await.expect("get").value(b"h", b"q").is_none());
    table.mutate(put_in("h", "z", "3")).await.expect("put");
    admin.disable_table(&t).await.expect("disable");
    admin.modify_table(&less).await.expect("modify");
    assert_eq!(admin.descriptor(&t).await.expect("descriptor"), less);
    let cluster = Cluster::start(cluster.fs.clone()).await;
    let (admin, table) = (cluster.admin().await, cluster.table("t").await);
    assert_eq!(admin.descriptor(&t).await.expect("descriptor"), less);
    admin.enable_table(&t).await.expect("enable");
    assert_eq!(rows(&table).await.len(), 2);
    let row = table.get(&model::query::Get::new("z")).await.expect("get");
    assert_eq!(row.value(b"h", b"q").as_deref(), Some(&b"3"[..]));
    let none = model::schema::TableDescriptor::new(t.clone());
    refused(admin.modify_table(&none).await, "DoNotRetryIOException", "famil");
}

#[tokio::test]
async fn many_regions_open_after_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let random = runtime::Runtime::system().random;
    let local: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(folder.path(), random).expect("root"));
    for fs in [memory(), local] {
        many_regions(fs).await;
    }
}

async fn many_regions(fs: Arc<dyn Filesystem>) {
    let cluster = Cluster::start(fs).await;
    let splits: Vec<_> = (1..200).map(|i| bytes::Bytes::from(format!("{i:03}"))).collect();
    cluster.admin().await.create_table(&described("t"), &splits).await.expect("create");
    let fs = cluster.close().await;
    let start = std::time::Instant::now();
    let cluster = Cluster::start(fs).await;
    let took = start.elapsed();
    assert_eq!(cluster.admin().await.regions(&name("t")).await.expect("regions").len(), 200);
    let status = cluster.admin().await.cluster_status().await.expect("status");
    assert_eq!(status.regions(), 201);
    println!("start with 200 regions: {took:?}");
    let fs = cluster.fs.clone();
    let start = std::time::Instant::now();
    let cluster = Cluster::start(fs).await;
    println!("start with 200 regions after a crash: {:?}", start.elapsed());
    assert_eq!(cluster.served().await.len(), 200);
}

#[tokio::test]
async fn sizes_that_cannot_be_managed_are_refused_unless_asked_for() {
    let cluster = Cluster::start(memory()).await;
    let admin = cluster.admin().await;
    for (key, bad, good) in [("MAX_FILESIZE", "1000000", "2097152"), ("MEMSTORE_FLUSHSIZE", "0", "1048576")] {
        let mut small = described(&key.to_lowercase());
        small.attributes.insert(key.to_owned(), bad.into());
        refused(admin.create_table(&small, &[]).await, "DoNotRetryIOException", key);
        small.configuration.insert("hbase.table.sanity.checks".to_owned(), "false".to_owned());
        admin.create_table(&small, &[]).await.expect("asked for");
        small.configuration.clear();
        refused(admin.modify_table(&small).await, "DoNotRetryIOException", key);
        for value in [good, "-1"] {
            small.attributes.insert(key.to_owned(), value.to_owned().into());
            admin.modify_table(&small).await.expect("enough, or not set");
        }
    }
}

/// One table's damage is that table's alone.
#[tokio::test]
async fn a_damaged_head_leaves_its_table_out_and_the_others_served() {
    let folder = tempfile::tempdir().expect("folder");
    let open = || LocalFilesystem::open(folder.path(), runtime::Runtime::system().random.clone()).expect("opens");
    let cluster = Cluster::start(Arc::new(open())).await;
    let admin = cluster.admin().await;
    let heads = || -> std::collections::BTreeSet<std::path::PathBuf> {
        let tables = std::fs::read_dir(folder.path().join("ferrobase/table")).expect("listed");
        tables.map(|table| table.expect("entry").path().join("head")).filter(|head| head.exists()).collect()
    };
    admin.create_table(&described("sound"), &[]).await.expect("create");
    let others = heads();
    admin.create_table(&described("bad"), &[]).await.expect("create");
    for table in ["sound", "bad"] {
        cluster.table(table).await.mutate(put("a", "1")).await.expect("put");
    }
    cluster.close().await;
    let bad = heads().difference(&others).next().expect("a head").clone();
    for entry in std::fs::read_dir(&bad).expect("listed") {
        let path = entry.expect("entry").path();
        let mut bytes = std::fs::read(&path).expect("read");
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 0x40;
            std::fs::write(&path, bytes).expect("written");
        }
    }

    let cluster = Cluster::start(Arc::new(open())).await;
    assert_eq!(rows(&cluster.table("sound").await).await, [("a".to_owned(), "1".to_owned())]);
    let admin = cluster.admin().await;
    let error = admin.disable_table(&name("bad")).await.expect_err("damaged");
    assert!(error.to_string().contains("damaged") || error.to_string().contains("checksum"), "{error}");
    // Out of service, and nobody is sent to the server of an earlier life.
    assert!(!admin.is_enabled(&name("bad")).await.expect("a state"));
    assert_eq!(states(&cluster, "bad").await, ["CLOSED"]);
    let error = cluster.table("bad").await.get(&model::query::Get::new("a")).await.expect_err("out of service");
    assert!(error.to_string().contains("restore it while the server is stopped"), "{error}");
    let error = admin.flush(&name("bad")).await.expect_err("out of service");
    assert!(error.to_string().contains("restore it while the server is stopped"), "{error}");

    admin.delete_table(&name("bad")).await.expect("dropped");
    let files = folder.path().join("data/default/bad");
    assert!(walk(&files).is_empty(), "{:?}", walk(&files));
    admin.create_table(&described("bad"), &[]).await.expect("the name is free");
    cluster.table("bad").await.mutate(put("b", "2")).await.expect("put");
    cluster.close().await;
    let cluster = Cluster::start(Arc::new(open())).await;
    assert_eq!(rows(&cluster.table("bad").await).await, [("b".to_owned(), "2".to_owned())]);
    assert_eq!(rows(&cluster.table("sound").await).await, [("a".to_owned(), "1".to_owned())]);
}

/// A root copied in part: the registers of all tables are missing, META's too.
#[tokio::test]
async fn a_table_of_which_only_the_name_is_left_can_be_dropped() {
    let folder = tempfile::tempdir().expect("folder");
    let open = || LocalFilesystem::open(folder.path(), runtime::Runtime::system().random.clone()).expect("opens");
    let cluster = Cluster::start(Arc::new(open())).await;
    cluster.admin().await.create_table(&described("t"), &[]).await.expect("create");
    cluster.close().await;
    std::fs::remove_dir_all(folder.path().join("ferrobase/table")).expect("removed");
    let cluster = Cluster::start(Arc::new(open())).await;
    let admin = cluster.admin().await;
    assert!(!admin.is_enabled(&name("t")).await.expect("a state"));
    admin.delete_table(&name("t")).await.expect("dropped");
    admin.create_table(&described("t"), &[]).await.expect("the name is free");
}

/// A region without its manifest stops nobody, and META sends its readers where they are told why.
#[tokio::test]
async fn a_region_that_cannot_be_opened_says_why() {
    let folder = tempfile::tempdir().expect("folder");
    let open = || LocalFilesystem::open(folder.path(), runtime::Runtime::system().random.clone()).expect("opens");
    let cluster = Cluster::start(Arc::new(open())).await;
    let admin = cluster.admin().await;
    admin.create_table(&described("t"), &["m".into()]).await.expect("create");
    assert_eq!(states(&cluster, "t").await, ["OPEN", "OPEN"]);
    let regions = admin.regions(&name("t")).await.expect("regions");
    let lost = regions[0].info.encoded_name();
    cluster.close().await;
    let tables = std::fs::read_dir(folder.path().join("ferrobase/table")).expect("listed");
    let manifest = tables.map(|table| table.expect("entry").path().join(&lost)).find(|path| path.exists());
    std::fs::remove_dir_all(manifest.expect("a manifest")).expect("removed");
    let cluster = Cluster::start(Arc::new(open())).await;
    assert_eq!(states(&cluster, "t").await, ["FAILED_OPEN", "OPEN"]);
    let error = cluster.table("t").await.get(&model::query::Get::new("a")).await.expect_err("out of service");
    assert!(error.to_string().contains("cannot be opened"), "{error}");
}

/// What META says of a table's regions.
async fn states(cluster: &Cluster, table: &str) -> Vec<String> {
    let mut found = cluster.table("hbase:meta").await.scan(protocol::meta::table_scan(&name(table)));
    let mut states = Vec::new();
    while let Some(row) = found.next_row().await.expect("META answers") {
        states.extend(protocol::meta::RegionRow::from_cells(&row.cells).expect("a row").map(|row| row.state));
    }
    states
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
