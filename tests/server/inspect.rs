//! `inspect`: store files that are none or damaged; roots beside their server, which stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ferrobase_tests::process::{Server, binary};
use serde_json::{Value, json};

use super::bucket::{DATA, a_bucket, environment, start};
use super::{ferrobase, said};

/// Bytes of a store file's trailer, most of which mean nothing.
const TRAILER_LEN: usize = 4096;
/// Between two bytes that are flipped.
const STEP: usize = 11;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_flipped_byte_of_a_block_is_found_and_what_is_no_store_file_is_said_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let address = format!("127.0.0.1:{}", server.port);
    let text = "create 't', 'f'; put 't', 'r', 'f:q', 'v'; put 't', 's', 'f:q', 'w'; flush 't'";
    let output = ferrobase(folder.path(), &["shell", "--connect", &address, "-c", text]);
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    assert_eq!(server.stop(), Some(0));
    let found = files(&data.join("data/default/t"));
    let sound = std::fs::read(&found[0]).expect("a store file");
    let inspect = |bytes: &[u8], flag: &str| {
        std::fs::write(folder.path().join("file"), bytes).expect("written");
        let output = ferrobase(folder.path(), &["inspect", "hfile", flag, "file"]);
        (output.status.code(), said(&output))
    };
    let (code, (out, _)) = inspect(&sound, "-s");
    assert!(code == Some(0) && out.contains("cells: 2"), "{out}");
    let plain = ferrobase(folder.path(), &["inspect", "hfile", "file"]);
    assert!(said(&plain).0.contains("cells: 2"), "{:?}", said(&plain));
    let all = ferrobase(folder.path(), &["inspect", "hfile", "-m", "-p", "-k", "-s", "file", "--format", "json"]);
    let all: serde_json::Value = serde_json::from_str(&said(&all).0).expect("one document");
    assert_eq!(
        (&all["cells"][1]["row"], &all["stats"][0]["rows"], &all["in_order"][0]["cells"]),
        (&"s".into(), &2.into(), &2.into())
    );
    assert!(
        all["info"].as_array().is_some_and(|info| info.iter().any(|entry| entry["key"] == "hfile.LASTKEY")),
        "{all}"
    );
    for at in (0..sound.len() - TRAILER_LEN).step_by(STEP) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0xff;
        let (code, (_, why)) = inspect(&bytes, "-k");
        assert!(code == Some(1) && why.contains("file=`file`"), "byte {at}: {code:?} {why}");
    }
    let (code, (_, why)) = inspect(&vec![b'x'; 10_000], "-k");
    assert!(code == Some(1) && why.contains("no store file"), "{why}");
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_iter().map(|path| (path.clone(), std::fs::read(&path).expect("a file"))).collect()
}

fn signal(server: &Server, signal: i32) {
    // SAFETY: kill(2) touches no memory; the server has not been waited for, so the id is still its.
    assert_eq!(unsafe { libc::kill(server.pid() as libc::pid_t, signal) }, 0);
}

/// Runs `inspect`; the exit code and the document.
fn look(folder: &Path, environment: &[(&str, String)], arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(binary());
    command.arg("inspect").args(arguments).args(["--format", "json"]).current_dir(folder).stdin(Stdio::null());
    let output = command.envs(environment.iter().map(|(name, value)| (name, value))).output().expect("it starts");
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {:?}", said(&output)));
    (output.status.code(), document)
}

const STORY: &str = "create_namespace 'n'; create 'n:t', 'f', 'g', SPLITS => ['m']; put 'n:t', 'a', 'f:q', 'old'; \
                     flush 'n:t'; put 'n:t', 'b', 'f:q', \"v\\x01\"; put 'n:t', 'x', 'g:q', 'w'; delete 'n:t', 'b', 'g:z'; \
                     incr 'n:t', 'b', 'f:n'";

/// Looks at everything that the story has left; the living stream's id.
fn look_at_all(folder: &Path, environment: &[(&str, String)], root: &str) -> String {
    let look = |arguments: &[&str]| {
        let (code, document) = look(folder, environment, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {document}");
        document
    };
    let tree = look(&["tree", root]);
    let table = tree["tables"].as_array().expect("tables").iter().find(|table| table["name"] == "n:t").expect("n:t");
    assert_eq!((&table["state"], &table["regions"]), (&"enabled".into(), &2.into()), "{tree}");
    let regions = tree["regions"].as_array().expect("regions").iter().filter(|region| region["table"] == "n:t");
    let regions: Vec<&Value> = regions.collect();
    assert_eq!(regions.len(), 2);
    let (first, encoded) = (regions[0], regions[0]["encoded"].as_str().expect("a name"));
    assert_eq!((&first["end_key"], &first["state"]), (&"m".into(), &"claimed".into()), "{tree}");
    assert_eq!(first["families"][0]["files"][0]["cells"], 1, "{first}");
    let streams = tree["streams"].as_array().expect("streams").iter().filter(|stream| stream["state"] == "live");
    let streams: Vec<&str> = streams.map(|stream| stream["id"].as_str().expect("an id")).collect();
    assert_eq!(streams.len(), 1, "{tree}");
    assert_eq!(first["needs"], json!([streams[0]]));

    let name = first["region"].as_str().expect("a name");
    let path = format!("{root}/{}", first["path"].as_str().expect("a path"));
    let manifests =
        [&["manifest", encoded, "--data", root][..], &["manifest", name, "--data", root], &["manifest", &path]];
    for arguments in manifests {
        assert_eq!(look(arguments)["manifests"][0]["families"], first["families"], "{arguments:?}");
    }
    let head = look(&["manifest", "n:t", "--data", root]);
    assert_eq!(
        (&head["heads"][0]["state"], &head["heads"][0]["regions"][1]["start_key"]),
        (&"enabled".into(), &"m".into())
    );
    let region = look(&["region", name, "--data", root]);
    assert_eq!(region["files"][0]["nonces"], 0, "{region}");
    let unflushed = &region["unflushed"][0];
    assert_eq!(
        (&unflushed["entries"], &unflushed["cells"], &unflushed["state"]),
        (&3.into(), &3.into(), &"live".into())
    );

    let entries = |more: &[&str]| -> Vec<Value> {
        let document = look(&[&["wal", streams[0], "--data", root], more].concat());
        document["entries"].as_array().cloned().unwrap_or_default()
    };
    let of_b = entries(&["--row", "b", "--region", encoded]);
    let kinds: Vec<&str> = of_b.iter().map(|entry| entry["cells"][0]["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["Put", "Delete", "Put"], "{of_b:?}");
    assert_eq!(of_b[0]["cells"][0]["value"], "v\\x01");
    assert!(of_b[2]["nonce"].is_string() && of_b[0]["nonce"].is_null(), "{of_b:?}");
    let seqno = of_b[1]["seqno"].to_string();
    assert_eq!(entries(&["--region", name, "--seqno", &seqno]), of_b[1..2]);
    assert_eq!(entries(&["--region", name, "--seqno", &format!("{seqno}..")]), of_b[1..]);
    assert!(entries(&["--row", "nosuch"]).is_empty());
    assert!(entries(&["-e"]).len() > 4, "META is in the log, too");
    let all = look(&["wal", root]);
    assert!(all["entries"].is_null() && all["streams"].as_array().expect("streams").len() == 1, "{all}");
    let stream = look(&["wal", &format!("{root}/ferrobase/log/{}", streams[0])]);
    let object = stream["objects"][0]["path"].as_str().expect("a path");
    assert!(!look(&["wal", &format!("{root}/{object}")])["entries"].as_array().expect("entries").is_empty());

    let file = &first["families"][0]["files"][0]["name"].as_str().expect("a name");
    let text = Command::new(binary())
        .args(["inspect", "hfile", "-p", &format!("{root}/data/n/t/{encoded}/f/{file}")])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .output()
        .expect("it starts");
    assert!(text.status.success() && said(&text).0.contains("V: old"), "{:?}", said(&text));
    streams[0].to_owned()
}

#[test]
fn a_root_is_looked_into_beside_its_server_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = folder.join("data");
    let server = Server::start(&data, &[]);
    let connect = format!("127.0.0.1:{}", server.port);
    let shell = |text: &str| {
        let output = ferrobase(folder, &["shell", "--connect", &connect, "-c", text]);
        assert!(output.status.success(), "{:?}", said(&output));
    };
    shell(STORY);
    look_at_all(folder, &[], "data");
    // Now nobody but the looker could change anything.
    signal(&server, libc::SIGSTOP);
    let before = contents(&data);
    let stream = look_at_all(folder, &[], "data");
    for (arguments, hint) in [
        (&["tree", "nosuch"][..], "no such folder"),
        (&["tree", "."], "no data root"),
        (&["manifest", "nosuch", "--data", "data"], "inspect tree"),
        (&["region", "n:t", "--data", "data"], "a region's encoded name"),
        (&["manifest", "data/ferrobase/log/1", "--data", "data"], "is needed"),
        (&["wal", "00000000000000ff", "--data", "data"], "lists the streams"),
        (&["wal", "data/ferrobase/table/x", "--data", "data"], "is needed"),
        (&["wal", "data", "--region", "nosuch"], "no such region"),
        (&["wal", "data", "--seqno", "9..7"], "7..12"),
        (&["hfile", "data/nosuch"], "no such file"),
        (&["tree", "ftp://x"], "s3://bucket/prefix"),
    ] {
        let output = ferrobase(folder, &[&["inspect"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {:?}", said(&output));
        assert!(said(&output).1.contains(hint), "{arguments:?}: {:?}", said(&output));
    }
    let text = said(&ferrobase(folder, &["inspect", "wal", &stream, "--data", "data", "--row", "b"])).0;
    assert!(text.contains(" b column=f:q, timestamp=") && text.contains(", value=v\\x01"), "{text}");
    assert!(text.contains(", type=Delete"), "{text}");
    let tree = said(&ferrobase(folder, &["inspect", "tree", "data"])).0;
    assert!(
        tree.contains("namespace n\n  table n:t (") && tree.contains("    region ") && tree.contains("[start, `m`)"),
        "{tree}"
    );
    assert_eq!(contents(&data), before, "looking changes nothing");
    assert!(!folder.join("nosuch").exists());
    signal(&server, libc::SIGCONT);
    shell("put 'n:t', 'c', 'f:q', 'after'");
    server.kill();

    // The end of the newest segment may be torn; what is followed may not.
    let segments: Vec<PathBuf> = files(&data.join("ferrobase/log").join(&stream).join("s"));
    let segment = segments.iter().max().expect("a segment");
    let sound = std::fs::read(segment).expect("a segment");
    let objects = |bytes: &[u8]| {
        std::fs::write(segment, bytes).expect("written");
        let (code, document) = look(folder, &[], &["wal", &stream, "--data", "data", "-e"]);
        let last = document["objects"].as_array().and_then(|objects| objects.last()).cloned().unwrap_or_default();
        let count = document["entries"].as_array().map_or(0, Vec::len);
        (
            code,
            last["end"].as_str().unwrap_or_default().to_owned(),
            last["ends_at"].clone(),
            count,
            document["wrong"].clone(),
        )
    };
    let (code, end, _, all, _) = objects(&sound);
    assert_eq!((code, end.as_str()), (Some(0), "whole"));
    let torn = [&sound[..], b"GRP1 and so on"].concat();
    assert_eq!(objects(&torn), (Some(0), "torn".to_owned(), sound.len().into(), all, Value::Null));
    let (code, end, _, count, _) = objects(&sound[..sound.len() - 1]);
    assert_eq!((code, end.as_str(), count), (Some(0), "torn", all - 1), "the last group was not known to be synced");
    let mut hurt = sound.clone();
    hurt[100] ^= 1;
    let (code, end, at, _, wrong) = objects(&hurt);
    assert_eq!((code, end.as_str()), (Some(1), "damaged"));
    let why = wrong[0]["why"].as_str().expect("why");
    let name = segment.strip_prefix(&data).expect("below the root").to_string_lossy().into_owned();
    assert!(why.contains(&format!("file=`{name}`, offset=`{at}`")), "{why}");
    std::fs::write(segment, &sound).expect("written");

    // Ended and replayed by the next server: read by its index.
    let server = Server::start(&data, &[]);
    let (code, ended) = look(folder, &[], &["wal", &stream, "--data", "data", "-e"]);
    let state = &ended["streams"][0]["state"];
    assert_eq!(code, Some(0), "{ended}");
    assert!(
        *state == "ended" && ended["entries"].as_array().expect("entries").len() == all || *state == "released",
        "{ended}"
    );
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_looked_into_by_reads_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = a_bucket(&folder.path().join("store")).await;
    let environment = environment(&bucket);
    let server = start(&bucket, &folder.path().join("one"));
    let connect = format!("127.0.0.1:{}", server.port);
    let output = ferrobase(folder.path(), &["shell", "--connect", &connect, "-c", STORY]);
    assert!(output.status.success(), "{:?}", said(&output));
    signal(&server, libc::SIGSTOP);
    // What the server had under way has come; then all requests are ours.
    while !bucket.take_log().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let held = folder.path().to_owned();
    let looked = tokio::task::spawn_blocking(move || look_at_all(&held, &environment, DATA));
    looked.await.expect("looked at");
    let asked = bucket.take_log();
    let others: Vec<_> = asked.iter().filter(|one| !["get", "head", "list"].contains(&one.kind.as_str())).collect();
    assert!(asked.len() > 50 && others.is_empty(), "{others:?}");
    signal(&server, libc::SIGCONT);
    assert_eq!(server.stop(), Some(0), "nobody has ended its log");
}
