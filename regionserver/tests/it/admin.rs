use model::query::Get;
use protocol::messages as pb;
use protocol::schema::{region_info_to, table_name_to};
use protocol::service::ADMIN;
use protocol::status::NEVER_FLUSHED;

use crate::rig::*;

async fn flush(rig: &Rig, older_than: Option<u64>) -> pb::FlushRegionResponse {
    let request = pb::FlushRegionRequest {
        region: rig.region(),
        if_older_than_ts: older_than,
        write_flush_wal_marker: None,
        family: None,
    };
    rig.call(ADMIN, "FlushRegion", &request).await.expect("flush").0
}

async fn load(rig: &Rig) -> pb::RegionLoad {
    let request = pb::GetRegionLoadRequest { table_name: Some(table_name_to(&rig.info.table)) };
    let (answer, _): (pb::GetRegionLoadResponse, _) = rig.call(ADMIN, "GetRegionLoad", &request).await.expect("load");
    answer.region_loads.into_iter().next().expect("one region")
}

#[tokio::test]
async fn a_flush_says_whether_there_was_anything() {
    let rig = Rig::new().await;
    assert_eq!(flush(&rig, None).await.flushed, Some(false));
    rig.put("r", "q", "v").await;
    let empty = load(&rig).await;
    assert_eq!((empty.stores(), empty.storefiles(), empty.mem_store_size_mb()), (2, 0, 1));
    assert_eq!(empty.complete_sequence_id, Some(NEVER_FLUSHED));
    assert_eq!(flush(&rig, Some(1)).await.flushed, Some(false), "flushed later than that");
    let answer = flush(&rig, None).await;
    assert_eq!(answer.flushed, Some(true));
    assert!(answer.last_flush_time > 0);
    let full = load(&rig).await;
    assert_eq!((full.storefiles(), full.storefile_size_mb(), full.mem_store_size_mb()), (1, 1, 0));
    assert_eq!((full.write_requests_count(), full.store_uncompressed_size_mb()), (1, 1));
    assert_eq!(full.region_specifier, rig.region());
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("v"));
    let other = pb::GetRegionLoadRequest {
        table_name: Some(pb::TableName { qualifier: "x".into(), ..table_name_to(&rig.info.table) }),
    };
    let (answer, _): (pb::GetRegionLoadResponse, _) = rig.call(ADMIN, "GetRegionLoad", &other).await.expect("load");
    assert!(answer.region_loads.is_empty());
}

#[tokio::test]
async fn a_region_tells_who_it_is_and_an_absent_one_is_not_served() {
    let rig = Rig::new().await;
    let mut request = pb::GetRegionInfoRequest { region: rig.region(), ..Default::default() };
    let (answer, _): (pb::GetRegionInfoResponse, _) = rig.call(ADMIN, "GetRegionInfo", &request).await.expect("info");
    assert_eq!(answer.region_info, region_info_to(&rig.info));
    let (open, _): (pb::GetOnlineRegionResponse, _) =
        rig.call(ADMIN, "GetOnlineRegion", &pb::GetOnlineRegionRequest {}).await.expect("online");
    assert_eq!(open.region_info, [region_info_to(&rig.info)]);
    let (server, _): (pb::GetServerInfoResponse, _) =
        rig.call(ADMIN, "GetServerInfo", &pb::GetServerInfoRequest {}).await.expect("server");
    assert_eq!(server.server_info.server_name.host_name, "here");
    request.region = specifier(&info("x", "y"));
    for method in ["GetRegionInfo", "FlushRegion", "CompactRegion"] {
        // The region is the first field of all three.
        let answer = rig.call::<pb::GetRegionInfoResponse>(ADMIN, method, &request).await;
        assert_eq!(class(answer), "NotServingRegionException", "{method}");
    }
    let family = pb::CompactRegionRequest { region: rig.region(), major: None, family: Some("nope".into()) };
    let answer = rig.call::<pb::CompactRegionResponse>(ADMIN, "CompactRegion", &family).await;
    assert_eq!(class(answer), "regionserver.NoSuchColumnFamilyException");
}

#[tokio::test]
async fn the_numbers_tell_what_was_done() {
    let rig = Rig::new().await;
    rig.put("r", "q", "v").await;
    rig.mutate(&increment("r", 1)).await.expect("increment");
    rig.value("r", "q").await;
    assert!(rig.get(&Get::new("")).await.is_err());
    flush(&rig, None).await;
    let page = rig
        .scan(&rig.scan_request(&model::query::Scan { batch: Some(1), ..Default::default() }, 1))
        .await
        .expect("scan");
    assert!(page.more().1);
    let text = rig.server.metrics();
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "ferrobase_regions 1",
        "ferrobase_store_files 1",
        "ferrobase_memstore_bytes 0",
        "ferrobase_scanners_open 1",
        "ferrobase_requests_total{kind=\"put\"} 1",
        "ferrobase_requests_total{kind=\"increment\"} 1",
        "ferrobase_requests_total{kind=\"get\"} 2",
        "ferrobase_requests_total{kind=\"admin\"} 1",
        "ferrobase_request_failures_total{reason=\"invalid\"} 1",
        "ferrobase_mutations_total 2",
        "ferrobase_log_syncs_total 2",
        "ferrobase_store_file_reads_total{result=\"read\"} 1",
    ] {
        assert!(text.lines().any(|has| has == line), "{line} is not in\n{text}");
    }
    let hits = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("ferrobase_store_file_reads_total"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    rig.close_region(&rig.info).await.expect("close");
    let after = rig.server.metrics();
    assert_eq!(hits(&after), hits(&text), "counters do not fall when a region leaves");
    assert!(after.contains("ferrobase_regions 0\n"));
}
