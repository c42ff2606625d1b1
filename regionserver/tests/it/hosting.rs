use protocol::envelope::{UpdateRegionOrder, UpdateRegionReport};
use protocol::schema;
use protocol::service::HOST;

use model::ErrorKind;
use model::query::Get;
use model::schema::FamilyDescriptor;
use storage::manifest::ManifestHandle;

use crate::rig::*;

#[tokio::test]
async fn an_order_may_be_repeated_and_an_older_one_is_refused() {
    let rig = Rig::new().await;
    rig.put("r", "q", "v").await;
    let again = rig.open(&rig.info, 100, 1).await.expect("the same order").0;
    assert_eq!(again.read_point, 0, "as the first opening answered");
    let older = rig.open(&rig.info, 99, 1).await.expect_err("older epoch");
    assert_eq!(older.kind, ErrorKind::Fenced);
    // A newer epoch: given up and opened again, with what was written.
    let report = rig.open(&rig.info, 101, 2).await.expect("newer").0;
    assert!(report.read_point > 0);
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("v"));
    let stale = rig.open(&rig.info, 102, 1).await.expect_err("an older master");
    assert_eq!(stale.kind, ErrorKind::Fenced);
    rig.close_region(&rig.info).await.expect("close");
    rig.close_region(&rig.info).await.expect("closed already");
    assert_eq!(class(rig.get(&Get::new("r")).await), "NotServingRegionException");
    rig.open(&rig.info, 200, 9).await.expect("open again");
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_region_that_was_never_created_is_not_opened() {
    let rig = Rig::new().await;
    let order = rig.open_order(&info("x", "y"), 5, 1);
    let error = rig.call::<protocol::envelope::OpenRegionReport>(HOST, "OpenRegion", &order).await.expect_err("none");
    assert!(!error.kind.is_retriable(), "{error:?}");
}

#[tokio::test]
async fn an_updated_descriptor_is_served_at_once() {
    let rig = Rig::new().await;
    assert_eq!(class(rig.mutate(&put("r", "h", "q", "v")).await), "regionserver.NoSuchColumnFamilyException");
    let order = UpdateRegionOrder {
        master_epoch: 1,
        encoded_name: rig.info.encoded_name(),
        table: schema::table_to(&table().with_family(FamilyDescriptor::new("h"))),
    };
    for _ in 0..2 {
        let _: (UpdateRegionReport, _) = rig.call(HOST, "UpdateRegion", &order).await.expect("update");
        rig.mutate(&put("r", "h", "q", "v")).await.expect("the new family");
    }
}

#[tokio::test]
async fn a_fenced_server_answers_nothing_any_more() {
    let rig = Rig::new().await;
    rig.put("r", "q", "v").await;
    storage::wal::fence(&rig.fs, 1).await.expect("fence");
    let error = rig.mutate(&put("r", "f", "q", "w")).await.expect_err("fenced");
    assert_eq!(error.kind, ErrorKind::Fenced);
    assert!(rig.server.is_fenced());
    assert_eq!(class(rig.get(&Get::new("r")).await), "regionserver.RegionServerAbortedException");
    // Another server takes the region with everything that was acknowledged.
    let plan = Plan { fs: rig.fs.clone(), ..Plan::default() };
    let other = Rig::empty(plan, 2).await;
    other.open(&other.info, 300, 2).await.expect("open");
    assert_eq!(other.value("r", "q").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_closed_server_has_flushed_its_regions() {
    let rig = Rig::new().await;
    rig.put("r", "q", "v").await;
    rig.server.close().await.expect("close");
    assert_eq!(class(rig.get(&Get::new("r")).await), "regionserver.RegionServerStoppedException");
    let other = Rig::empty(Plan { fs: rig.fs.clone(), ..Plan::default() }, 2).await;
    other.open(&other.info, 300, 2).await.expect("open");
    assert_eq!(other.value("r", "q").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_close_leaves_no_region_to_an_opening_under_way() {
    let (mut opened, mut refused) = (0, 0);
    for steps in 0..60 {
        let rig = Rig::empty(Plan::default(), 1).await;
        let close = async {
            for _ in 0..steps {
                tokio::task::yield_now().await;
            }
            rig.server.close().await
        };
        let (open, close) = tokio::join!(rig.open(&rig.info, 100, 1), close);
        close.expect("close");
        *(if open.is_ok() { &mut opened } else { &mut refused }) += 1;
        let name = rig.info.encoded_name();
        let manifest = ManifestHandle::load(&rig.fs, &rig.runtime.random, TABLE_ID, &name).await.expect("read");
        let needs = manifest.expect("created").manifest().needs.clone();
        assert!(needs.is_empty(), "{steps} steps: still open after the close: {needs:x?}");
    }
    assert!(opened > 0 && refused > 0, "both ways round: {opened} {refused}");
}
