//! The machine stops, or one call fails, at every step of every schema change: the change is done or undone, and META,
//! manifests, files and what is served agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{ClientError, Namespace};
use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
use model::schema::{FamilyDescriptor, TableDescriptor};
use protocol::meta::{CLOSED, OPEN, RegionRow, table_state_from};
use storage::manifest::Manifest;

use crate::cluster::{Cluster, described, keys, name, put, put_all, put_in, rows};

/// A table as users see it.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    descriptor: TableDescriptor,
    enabled: bool,
    starts: Vec<Bytes>,
    rows: Vec<(String, String)>,
}

/// All that users see.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    namespaces: Vec<Namespace>,
    tables: Vec<Table>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Create,
    Delete,
    Truncate { preserve: bool },
    Enable,
    Disable,
    AddFamily,
    DropFamily,
    DropFamilyDisabled,
    CreateNamespace,
    ModifyNamespace,
    DeleteNamespace,
}

impl Change {
    /// What stands before; with files and with edits that only the log has.
    async fn prepare(self, cluster: &Cluster) {
        let admin = cluster.admin().await;
        admin.create_namespace(&Namespace::new("n")).await.expect("create");
        if matches!(self, Change::Create | Change::CreateNamespace | Change::ModifyNamespace | Change::DeleteNamespace)
        {
            return;
        }
        admin.create_table(&described("t"), &keys(&["m"])).await.expect("create");
        let table = cluster.table("t").await;
        put_all(&table, vec![put("a", "1"), put("z", "2"), put_in("g", "a", "3")]).await;
        admin.disable_table(&name("t")).await.expect("disable");
        if matches!(self, Change::Disable | Change::AddFamily | Change::DropFamily) {
            admin.enable_table(&name("t")).await.expect("enable");
            put_all(&table, vec![put("b", "4"), put_in("g", "y", "5")]).await;
        }
    }

    async fn run(self, cluster: &Cluster) -> Result<(), ClientError> {
        let (admin, t) = (cluster.admin().await, name("t"));
        let mut descriptor = described("t");
        let mut namespace = Namespace::new("n");
        match self {
            Change::Create => admin.create_table(&described("n:t"), &keys(&["k"])).await,
            Change::Delete => admin.delete_table(&t).await,
            Change::Truncate { preserve } => admin.truncate_table(&t, preserve).await,
            Change::Enable => admin.enable_table(&t).await,
            Change::Disable => admin.disable_table(&t).await,
            Change::AddFamily => admin.modify_table(&descriptor.with_family(FamilyDescriptor::new("h"))).await,
            Change::DropFamily | Change::DropFamilyDisabled => {
                descriptor.families.remove(&b"g"[..]);
                admin.modify_table(&descriptor).await
            }
            Change::CreateNamespace => admin.create_namespace(&Namespace::new("m")).await,
            Change::ModifyNamespace => {
                namespace.properties.insert("k".to_owned(), "v".to_owned());
                admin.modify_namespace(&namespace).await
            }
            Change::DeleteNamespace => admin.delete_namespace("n").await,
        }
    }
}

/// Looks at everything and checks that the parts agree. `roots` tell of all objects that were ever made.
async fn look(cluster: &Cluster, roots: &[&FaultyFilesystem]) -> Seen {
    let admin = cluster.admin().await;
    let mut seen = Seen { namespaces: admin.namespaces().await.expect("namespaces"), tables: Vec::new() };
    let mut meta = cluster.table("hbase:meta").await.scan(model::query::Scan::default());
    let (mut regions, mut states) = (Vec::new(), Vec::new());
    while let Some(row) = meta.next_row().await.expect("META") {
        match RegionRow::from_cells(&row.cells).expect("row") {
            Some(region) => regions.push(region),
            None => {
                let table = String::from_utf8_lossy(row.row().expect("row")).into_owned();
                states.push((name(&table), table_state_from(&row.cells).expect("row").expect("state")));
            }
        }
    }
    let descriptors = admin.descriptors(None).await.expect("descriptors");
    let listed: Vec<_> = descriptors.iter().map(|table| table.name.clone()).collect();
    assert_eq!(states.iter().map(|(table, _)| table.clone()).collect::<Vec<_>>(), listed, "states in META");
    assert!(
        regions.iter().all(|region| listed.contains(&region.info.table)),
        "META has regions of no table: {regions:?}"
    );
    for descriptor in descriptors {
        let enabled = admin.is_enabled(&descriptor.name).await.expect("state");
        let own: Vec<_> = regions.iter().filter(|region| region.info.table == descriptor.name).collect();
        for region in &own {
            assert_eq!(region.state, if enabled { OPEN } else { CLOSED }, "{region:?}");
        }
        let starts = own.iter().map(|region| region.info.start_key.clone()).collect();
        seen.tables.push(Table { descriptor, enabled, starts, rows: Vec::new() });
    }
    // Every manifest that is not retired belongs to a region of a table; nothing else is served.
    let mut paths = BTreeSet::new();
    for root in roots {
        paths.extend((0..root.steps()).filter_map(|step| {
            let step = root.step_name(step)?;
            let path = step.split(' ').next_back()?.strip_prefix("ferrobase/table/")?.to_owned();
            (!path.starts_with("000000000000f00")).then_some(path)
        }));
    }
    let encoded: BTreeSet<String> = regions.iter().map(|region| region.info.encoded_name()).collect();
    let (mut living, mut heads) = (BTreeSet::new(), 0);
    for path in &paths {
        let full = format!("ferrobase/table/{path}");
        let Some(value) = cluster.fs.register_read(&full).await.expect("register") else { continue };
        let (_, rid) = path.split_once('/').expect("two parts");
        if rid == "head" {
            heads += usize::from(!value.head.starts_with("dropped"));
        } else if !Manifest::decode(&value, &full).expect("manifest").retired {
            living.insert(rid.to_owned());
        }
    }
    assert_eq!(living, encoded, "regions with a manifest, regions in META");
    let open: BTreeSet<String> =
        regions.iter().filter(|region| region.state == OPEN).map(|region| region.info.encoded_name()).collect();
    assert_eq!(cluster.served().await, open, "regions served, regions open in META");
    assert_eq!(heads, seen.tables.len(), "heads of tables");
    for file in cluster.fs.list("data").await.expect("list") {
        let parts: Vec<&str> = file.path.split('/').collect();
        let table = format!("{}:{}", parts[1], parts[2]);
        if table == "hbase:meta" || table == "ferrobase:master" {
            continue;
        }
        assert!(encoded.contains(parts[3]), "a file of no region: {}", file.path);
        let owner = seen.tables.iter().find(|owner| owner.descriptor.name == name(&table)).expect("has a table");
        assert!(owner.descriptor.families.contains_key(parts[4].as_bytes()), "a file of no family: {}", file.path);
    }
    for table in &mut seen.tables {
        if !table.enabled {
            admin.enable_table(&table.descriptor.name).await.expect("enable");
        }
        table.rows = rows(&cluster.table(&table.descriptor.name.to_string()).await).await;
    }
    seen
}

/// Waits until no change is under way.
async fn settled(cluster: &Cluster) {
    tokio::time::timeout(Duration::from_secs(20), cluster.master.idle()).await.expect("nothing hangs");
}

async fn stopped(fs: &FaultyFilesystem) {
    while !fs.is_stopped() {
        tokio::task::yield_now().await;
    }
}

async fn prepared(change: Change) -> (FaultyFilesystem, Cluster) {
    let fs = FaultyFilesystem::new();
    let cluster = Cluster::start(Arc::new(fs.clone())).await;
    change.prepare(&cluster).await;
    (fs, cluster)
}

/// What is seen before and after the change if nothing fails.
async fn expected(change: Change) -> (Seen, Seen) {
    let (fs, cluster) = prepared(change).await;
    let before = look(&cluster, &[&fs]).await;
    let (fs, cluster) = prepared(change).await;
    change.run(&cluster).await.expect("works");
    let after = look(&cluster, &[&fs]).await;
    assert_ne!(before, after);
    (before, after)
}

async fn stop_everywhere(change: Change) {
    let (before, after) = expected(change).await;
    let mut outcomes = [0, 0];
    for effect in [Effect::Before, Effect::Torn, Effect::After] {
        for step in 0.. {
            let (fs, cluster) = prepared(change).await;
            let at = fs.steps() + step;
            fs.plan(Fault { step: at, effect, stop: true });
            let done = tokio::select! {
                done = change.run(&cluster) => Some(done),
                () = stopped(&fs) => None,
            };
            if !fs.is_stopped() {
                assert!(matches!(done, Some(Ok(()))));
                settled(&cluster).await;
                break;
            }
            let what = format!("{change:?}, {effect:?} at step {step}: {:?}", fs.step_name(at));
            assert!(cluster.master.close().await.is_err(), "nothing can be flushed any more");
            let next = FaultyFilesystem::over(fs.root());
            let cluster = Cluster::start(Arc::new(next.clone())).await;
            settled(&cluster).await;
            println!("{what}");
            let seen = look(&cluster, &[&fs, &next]).await;
            let is_done = seen == after;
            assert!(is_done || seen == before, "{what}: half done: {seen:#?}");
            assert!(is_done || !matches!(done, Some(Ok(()))), "{what}: acknowledged and undone");
            outcomes[usize::from(is_done)] += 1;
        }
    }
    println!("{change:?}: undone {}, done {}", outcomes[0], outcomes[1]);
    assert!(outcomes.iter().all(|count| *count > 0), "{change:?}: {outcomes:?}");
}

/// The machine stops, and stops again while the next master finishes what was begun.
async fn stop_twice_everywhere(change: Change) {
    let (before, after) = expected(change).await;
    let mut stopped_again = 0;
    for (index, effect) in [Effect::Before, Effect::Torn, Effect::After].into_iter().enumerate() {
        for step in 0.. {
            let (fs, cluster) = prepared(change).await;
            let at = fs.steps() + step;
            fs.plan(Fault { step: at, effect, stop: true });
            tokio::select! {
                _ = change.run(&cluster) => {}
                () = stopped(&fs) => {}
            };
            if !fs.is_stopped() {
                break;
            }
            assert!(cluster.master.close().await.is_err(), "nothing can be flushed any more");
            // Which step the second stop hits varies from one first stop to the next, so that all meet.
            let second = FaultyFilesystem::over(fs.root());
            second.plan(Fault { step: (step * 17 + 5 * index as u64) % 60, effect, stop: true });
            if let Ok(cluster) = Cluster::try_start(Arc::new(second.clone())).await {
                tokio::select! {
                    () = cluster.master.idle() => {}
                    () = stopped(&second) => {}
                };
                drop(cluster.master.close().await);
            }
            stopped_again += usize::from(second.is_stopped());
            let third = FaultyFilesystem::over(second.root());
            let cluster = Cluster::start(Arc::new(third.clone())).await;
            settled(&cluster).await;
            let what =
                format!("{change:?}, {effect:?} at step {step}, then at {:?}", second.step_name(second.steps() - 1));
            println!("{what}");
            let seen = look(&cluster, &[&fs, &second, &third]).await;
            assert!(seen == after || seen == before, "{what}: half done: {seen:#?}");
        }
    }
    assert!(stopped_again > 5, "{stopped_again}");
}

/// A single failed call, and the same process goes on.
async fn fail_everywhere(change: Change) {
    let (before, after) = expected(change).await;
    for effect in [Effect::Before, Effect::Torn, Effect::After] {
        for step in 0.. {
            let (fs, cluster) = prepared(change).await;
            let at = fs.steps() + step;
            fs.plan(Fault { step: at, effect, stop: false });
            let done = tokio::time::timeout(Duration::from_secs(20), change.run(&cluster)).await.expect("ends");
            if fs.steps() <= at {
                break;
            }
            let what = format!("{change:?}, {effect:?} at step {step}: {:?}", fs.step_name(at));
            settled(&cluster).await;
            let next = FaultyFilesystem::over(fs.root());
            let again = Cluster::start(Arc::new(next.clone())).await;
            settled(&again).await;
            println!("{what}: {done:?}");
            let seen = look(&again, &[&fs, &next]).await;
            match done {
                Ok(()) => assert_eq!(seen, after, "{what}"),
                Err(error) => assert!(seen == before || seen == after, "{what}: {error}: {seen:#?}"),
            }
        }
    }
}

macro_rules! changes {
    ($($name:ident: $change:expr,)*) => {
        mod stops {
            use super::*;
            $(#[tokio::test] async fn $name() { stop_everywhere($change).await })*
        }
        mod stops_twice {
            use super::*;
            $(#[tokio::test] async fn $name() { stop_twice_everywhere($change).await })*
        }
        mod failures {
            use super::*;
            $(#[tokio::test] async fn $name() { fail_everywhere($change).await })*
        }
    };
}

changes! {
    create: Change::Create,
    delete: Change::Delete,
    truncate: Change::Truncate { preserve: false },
    truncate_preserving_splits: Change::Truncate { preserve: true },
    enable: Change::Enable,
    disable: Change::Disable,
    add_a_family: Change::AddFamily,
    drop_a_family: Change::DropFamily,
    drop_a_family_while_disabled: Change::DropFamilyDisabled,
    create_a_namespace: Change::CreateNamespace,
    modify_a_namespace: Change::ModifyNamespace,
    delete_a_namespace: Change::DeleteNamespace,
}

/// A table's namespace goes while the table is made: its catalog swap fails once, and the pause until the next try is long
/// enough to delete the namespace.
#[tokio::test]
async fn a_table_that_cannot_be_made_leaves_nothing_behind() {
    let (fs, cluster) = prepared(Change::Create).await;
    let begun = fs.steps();
    Change::Create.run(&cluster).await.expect("works");
    let mut swaps = (begun..fs.steps())
        .filter(|step| fs.step_name(*step).is_some_and(|name| name.ends_with("ferrobase/cluster/catalog")));
    let decides = swaps.next_back().expect("the catalog is swapped") - begun;
    for _ in 0..20 {
        let (fs, cluster) = prepared(Change::Create).await;
        let admin = cluster.admin().await;
        let at = fs.steps() + decides;
        fs.plan(Fault { step: at, effect: Effect::Before, stop: false });
        let delete = async {
            while fs.steps() <= at {
                tokio::task::yield_now().await;
            }
            admin.delete_namespace("n").await
        };
        let (made, deleted) = tokio::join!(Change::Create.run(&cluster), delete);
        settled(&cluster).await;
        let seen = look(&cluster, &[&fs]).await;
        assert_ne!(made.is_ok(), deleted.is_ok(), "{made:?} {deleted:?}");
        assert_eq!((seen.tables.len(), seen.namespaces.len()), if made.is_ok() { (1, 3) } else { (0, 2) });
        if let Err(error) = made {
            assert!(error.class().ends_with("NamespaceNotFoundException"), "{error}");
            // Also not after a restart.
            let next = FaultyFilesystem::over(fs.root());
            let again = Cluster::start(Arc::new(next.clone())).await;
            settled(&again).await;
            assert_eq!(look(&again, &[&fs, &next]).await, seen);
            return;
        }
    }
    panic!("the namespace was never deleted in time");
}

/// META is a cache: whatever happens to its rows, the next start writes them anew, above whatever time they carry.
#[tokio::test]
async fn a_ruined_meta_is_mended_at_the_next_start() {
    use model::mutation::{Mutation, MutationKind};
    use model::{Cell, CellType};
    use protocol::meta::{TableState, closed_put, table_state_put};
    let (fs, cluster) = prepared(Change::Disable).await;
    let admin = cluster.admin().await;
    admin.create_table(&described("u"), &keys(&["k"])).await.expect("create");
    admin.disable_table(&name("u")).await.expect("disable");
    let regions = admin.regions(&name("t")).await.expect("regions");
    // What a clock that ran an hour ahead would have written.
    let future = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_millis() as i64;
    let future = future + 3_600_000;
    let meta = cluster.table("hbase:meta").await;
    let mut gone = Mutation::new(MutationKind::Delete, regions[0].info.region_name());
    gone.cells.push(Cell::new(&gone.row, b"info", b"", future, CellType::DELETE_FAMILY, b"").expect("cell"));
    let mut nonsense = Mutation::new(MutationKind::Put, Bytes::from_static(b"u,q,1.x."));
    nonsense.cells.push(Cell::put(&nonsense.row, b"info", b"regioninfo", future, b"nonsense").expect("cell"));
    let ruin = vec![
        gone,
        nonsense,
        closed_put(&regions[1].info, future),
        table_state_put(&name("t"), TableState::Disabling, future),
        table_state_put(&name("u"), TableState::Enabled, future),
        table_state_put(&name("v"), TableState::Enabled, future),
    ];
    put_all(&meta, ruin).await;
    let next = FaultyFilesystem::over(fs.root());
    let cluster = Cluster::start(Arc::new(next.clone())).await;
    let seen = look(&cluster, &[&fs, &next]).await;
    let states: Vec<_> = seen.tables.iter().map(|table| (table.enabled, table.starts.len())).collect();
    assert_eq!(states, [(true, 2), (false, 2)]);
    assert_eq!(seen.tables[0].rows.len(), 4);
}
