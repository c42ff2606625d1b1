//! Bulk loads by HBase's messages, with and without our own additions.

use storage::file::writer::{FileMeta, WriterOptions, write_all};

use super::rig::*;
use bytes::Bytes;
use model::Cell;
use model::ErrorKind;
use model::query::Scan;
use protocol::messages as pb;
use protocol::messages::bulk_load_h_file_request::FamilyPath;
use protocol::schema::region_specifier;
use protocol::service::CLIENT;

fn file(rows: &[&str], value: &str) -> Bytes {
    let cell = |row: &&str| Cell::put(row.as_bytes(), b"f", b"q", 1, value.as_bytes()).expect("cell");
    let cells: Vec<Cell> = rows.iter().map(cell).collect();
    write_all(WriterOptions { for_load: true, ..WriterOptions::default() }, &cells, &FileMeta::default()).expect("file")
}

fn request(rig: &Rig, token: &str, paths: &[&str]) -> pb::BulkLoadHFileRequest {
    let file = |path: &&str| FamilyPath { family: "f".into(), path: (*path).to_owned() };
    pb::BulkLoadHFileRequest {
        region: region_specifier(rig.info.region_name()),
        family_path: paths.iter().map(file).collect(),
        assign_seq_num: Some(true),
        bulk_token: Some(token.to_owned()),
        ..pb::BulkLoadHFileRequest::default()
    }
}

async fn load(
    rig: &Rig,
    request: &pb::BulkLoadHFileRequest,
) -> Result<pb::BulkLoadHFileResponse, protocol::service::RpcError> {
    rig.call::<pb::BulkLoadHFileResponse>(CLIENT, "BulkLoadHFile", request).await.map(|(answer, _)| answer)
}

async fn rows(rig: &Rig) -> Vec<String> {
    rig.scan(&rig.scan_request(&Scan::default(), 10)).await.expect("scan").keys()
}

#[tokio::test]
async fn files_are_prepared_loaded_and_cleaned_up() {
    let settings = ferrobase_regionserver::ServerSettings { root_url: Some("/store".to_owned()), ..Default::default() };
    let mut rig = Rig::empty(Plan { settings, ..Plan::default() }, 1).await;
    rig.info = info("b", "x");
    rig.open(&rig.info, 100, 1).await.expect("open");
    let table_name = protocol::schema::table_name_to(&rig.info.table);
    let prepare = pb::PrepareBulkLoadRequest { table_name, region: None };
    let (prepared, _) =
        rig.call::<pb::PrepareBulkLoadResponse>(CLIENT, "PrepareBulkLoad", &prepare).await.expect("room");
    assert_eq!(prepared.root_url.as_deref(), Some("/store"));
    let token = prepared.bulk_token;
    let (inside, beyond) = (format!("{token}/f/1"), format!("{token}/f/2"));
    for (path, rows) in [(&inside, &["c", "d"]), (&beyond, &["c", "z"])] {
        rig.fs.put_if_absent(path, file(rows, "v")).await.expect("put");
    }
    // As HBase's clients say it: by URL, without an id.
    let url = format!("file:///store/{inside}");
    let answer = load(&rig, &request(&rig, &token, &[&url, &beyond])).await.expect("an answer");
    assert!(!answer.loaded, "a file reaches beyond the region");
    let first = request(&rig, &token, &[&url]);
    let answer = load(&rig, &first).await.expect("loaded");
    assert_eq!((answer.loaded, answer.before(), answer.cells()), (true, false, 2));
    assert!(rig.fs.size(&inside).await.expect("size").is_none(), "the file is the region's");
    let answer = load(&rig, &first).await.expect("loaded");
    assert!(answer.loaded && answer.before(), "the same call again loads nothing");
    assert_eq!(rows(&rig).await, ["c", "d"]);

    // With an id of ours other files of the same load are known, too.
    rig.fs.put_if_absent("in/f/3", file(&["e"], "v")).await.expect("put");
    let with_id =
        |path: &str| pb::BulkLoadHFileRequest { load_id: Some("one".to_owned()), ..request(&rig, &token, &[path]) };
    assert!(!load(&rig, &with_id("in/f/3")).await.expect("loaded").before());
    assert!(load(&rig, &with_id("in/f/4")).await.expect("loaded").before());

    for (path, why) in [
        ("in/f/5", "no such file"),
        ("/elsewhere/f/1", "does not lie below the data root /store"),
        ("s3://b/f/1", "does not lie below"),
    ] {
        let error = load(&rig, &request(&rig, &token, &[path])).await.expect_err("refused");
        assert!(error.kind == ErrorKind::Invalid && error.message.contains(why), "{path}: {error}");
    }
    let mut hurt = file(&["e"], "v").to_vec();
    hurt.truncate(100);
    rig.fs.put_if_absent("in/f/6", hurt.into()).await.expect("put");
    let error = load(&rig, &request(&rig, &token, &["in/f/6"])).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}: the caller's file is damaged, not the region");
    let copy = pb::BulkLoadHFileRequest { copy_file: Some(true), ..request(&rig, &token, &[&beyond]) };
    assert_eq!(load(&rig, &copy).await.expect_err("refused").kind, ErrorKind::Invalid);

    let clean = |token: &str| pb::CleanupBulkLoadRequest { bulk_token: token.to_owned(), region: None };
    for wrong in ["", "ferrobase/table", "ferrobase/staging", "ferrobase/staging/..", "data"] {
        let error = rig.call::<pb::CleanupBulkLoadResponse>(CLIENT, "CleanupBulkLoad", &clean(wrong)).await;
        assert_eq!(error.expect_err("refused").kind, ErrorKind::Invalid, "{wrong}");
    }
    rig.call::<pb::CleanupBulkLoadResponse>(CLIENT, "CleanupBulkLoad", &clean(&token)).await.expect("cleaned");
    assert!(rig.fs.list("ferrobase/staging").await.expect("list").is_empty());
    assert_eq!(rows(&rig).await, ["c", "d", "e"]);
    let text = rig.server.metrics();
    assert!(
        text.contains("ferrobase_bulk_loads_total 2\n") && text.contains("ferrobase_bulk_loaded_files_total 2\n"),
        "{text}"
    );
}
