//! `fsck` over the folder of a real server: clean while it runs and after it was killed, and each kind of damage named.

use std::fs;
use std::path::{Path, PathBuf};

use ferrobase_tests::process::Server;
use serde_json::Value;

use super::{ferrobase, said};

fn store_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { store_files(&path, out) } else { out.push(path) }
    }
}

/// Runs it; the exit code, findings as `kind path`, and what was looked at.
fn fsck(folder: &Path, flags: &[&str]) -> (Option<i32>, Vec<String>, Value) {
    let arguments = [&["fsck", "--data", "data", "--format", "json"], flags].concat();
    let output = ferrobase(folder, &arguments);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{:?}", said(&output)));
    let text = |finding: &Value, key: &str| finding[key].as_str().expect("text").to_owned();
    let finding = |one: &Value| format!("{} {}", text(one, "kind"), text(one, "path"));
    let found = document["found"].as_array().expect("findings").iter().map(finding).collect();
    (output.status.code(), found, document)
}

#[test]
fn what_is_missing_changed_damaged_or_left_over_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = folder.join("data");
    let server = Server::start(&data, &[]);
    let connect = format!("127.0.0.1:{}", server.port);
    let script = "create 't', 'f', 'g', SPLITS => ['m']; put 't', 'a', 'f:q', 'v'; put 't', 'x', 'g:q', 'v'; flush 't'";
    let wrote = ferrobase(folder, &["shell", "--connect", &connect, "-c", script]);
    assert!(wrote.status.success(), "{:?}", said(&wrote));
    // Beside the living server, and then after it was killed.
    for flags in [&[][..], &["--deep"]] {
        let (code, found, _) = fsck(folder, flags);
        assert_eq!((code, found), (Some(0), vec![]));
    }
    server.kill();
    let (code, found, looked) = fsck(folder, &["--deep", "--table", "t"]);
    assert_eq!((code, found), (Some(0), vec![]));
    assert_eq!(looked["regions"], 2);
    assert_eq!((looked["files"].as_u64(), looked["cells"].as_u64()), (Some(2), Some(2)));

    let mut files = Vec::new();
    store_files(&data.join("data/default/t"), &mut files);
    let key = |path: &Path| path.strip_prefix(&data).expect("below the root").to_string_lossy().into_owned();
    let (gone, hurt) = (files[0].clone(), files[1].clone());
    let sound = fs::read(&hurt).expect("a file");
    let mut bytes = sound.clone();
    bytes[40] ^= 1;
    fs::write(&hurt, &bytes).expect("written");
    let (code, found, _) = fsck(folder, &[]);
    assert_eq!((code, found), (Some(0), vec![]), "a flipped bit is seen by a deep look only");
    let (code, found, _) = fsck(folder, &["--deep"]);
    assert_eq!((code, found), (Some(1), vec![format!("damaged {}", key(&hurt))]));

    // A file of an earlier owner, one of the present one, and one that somebody put there.
    let family = gone.parent().expect("a family's folder");
    let (old, new, other) =
        (family.join("0".repeat(32)), family.join(format!("{:f<32}", "")), family.join("notes.txt"));
    for path in [&old, &new, &other] {
        fs::write(path, b"x").expect("written");
    }
    fs::write(&hurt, &sound[..sound.len() - 1]).expect("written");
    fs::remove_file(&gone).expect("removed");
    let mut expected = vec![
        format!("missing {}", key(&gone)),
        format!("changed {}", key(&hurt)),
        format!("extra {}", key(&old)),
        format!("extra {}", key(&new)),
        format!("extra {}", key(&other)),
    ];
    expected.sort();
    let sorted = |mut found: Vec<String>| {
        found.sort();
        found
    };
    let (code, found, _) = fsck(folder, &[]);
    assert_eq!((code, sorted(found)), (Some(1), expected.clone()));
    assert!(old.exists(), "without --repair nothing is changed");
    let (code, found, looked) = fsck(folder, &["--repair"]);
    assert_eq!((code, sorted(found)), (Some(1), expected));
    assert_eq!((looked["repaired"].as_u64(), looked["findings"].as_u64()), (Some(1), Some(4)));
    assert!(!old.exists() && new.exists() && other.exists(), "only what no owner can ever list goes");

    let (code, _, _) = fsck(folder, &["--table", "hbase:meta"]);
    assert_eq!(code, Some(0), "other tables are as they were");
    let output = ferrobase(folder, &["fsck", "--data", "data", "--table", "nosuch"]);
    assert_eq!(output.status.code(), Some(2), "{:?}", said(&output));
    let output = ferrobase(folder, &["fsck", "--data", "nosuch"]);
    assert!(output.status.code() == Some(2) && !folder.join("nosuch").exists(), "{:?}", said(&output));
}

/// What keeps a server from starting is a finding.
#[test]
fn what_a_start_needs_is_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let data = folder.join("data");
    let server = Server::start(&data, &[]);
    let connect = format!("127.0.0.1:{}", server.port);
    let puts: String = (0..50).map(|n| format!("put 't', 'r{n}', 'f:q', 'v'; ")).collect();
    let wrote = ferrobase(folder, &["shell", "--connect", &connect, "-c", &format!("create 't', 'f'; {puts}")]);
    assert!(wrote.status.success(), "{:?}", said(&wrote));
    server.kill();
    assert_eq!(fsck(folder, &["--deep"]).1, Vec::<String>::new());
    let refused = |what: &str| {
        let output = ferrobase(folder, &["standalone", "--data", "data", "--port", "0", "--http-port", "off"]);
        let (_, why) = said(&output);
        assert!(!output.status.success() && why.contains(what), "{}: {why}", output.status);
    };

    let id = data.join("ferrobase/cluster/id");
    let sound = fs::read(&id).expect("a file");
    fs::remove_file(&id).expect("removed");
    let (code, found, _) = fsck(folder, &[]);
    assert_eq!((code, found), (Some(1), vec!["missing ferrobase/cluster/id".to_owned()]));
    refused("ferrobase/cluster/id");
    assert!(!id.exists(), "another id was made");
    fs::write(&id, sound).expect("written");

    let flip = |file: &Path, at: usize| {
        let mut bytes = fs::read(file).expect("a file");
        bytes[at] ^= 1;
        fs::write(file, bytes).expect("written");
    };
    let mut leader = Vec::new();
    store_files(&data.join("ferrobase/cluster/leader"), &mut leader);
    let body = leader.iter().find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("b.")));
    let body = body.expect("a register's body");
    flip(body, 10);
    let (code, found, _) = fsck(folder, &[]);
    assert_eq!((code, found), (Some(1), vec!["damaged ferrobase/cluster/leader".to_owned()]));
    flip(body, 10);

    let mut logs = Vec::new();
    store_files(&data.join("ferrobase/log"), &mut logs);
    let longest = logs.iter().max_by_key(|file| fs::metadata(file).expect("a file").len()).expect("a segment");
    let middle = usize::try_from(fs::metadata(longest).expect("a file").len() / 2).expect("small");
    flip(longest, middle);
    assert_eq!(fsck(folder, &[]).1, Vec::<String>::new(), "what the log holds is read by a deep look only");
    let (code, found, _) = fsck(folder, &["--deep"]);
    assert_eq!(code, Some(1));
    assert!(found.iter().any(|one| one.starts_with("damaged ferrobase/log/")), "{found:?}");
    flip(longest, middle);
    assert_eq!(fsck(folder, &["--deep"]).1, Vec::<String>::new());
}
