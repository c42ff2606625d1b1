//! A data folder that is full: a small tmpfs where mounting is allowed (the faulty file system proves the same without one).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use client::Connection;
use ferrobase_tests::process::Server;
use model::mutation::{Mutation, MutationKind};
use model::query::Get;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, LATEST_TIMESTAMP};

const RESUME_MAX: Duration = Duration::from_secs(120);
const BALLAST: usize = 24 << 20;

/// A mounted tmpfs; unmounted when dropped.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn new(folder: &Path) -> Option<Mounted> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder).output().ok()?;
        mount.status.success().then(|| Mounted(folder.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn put(row: u64) -> Mutation {
    let key = format!("row{row:06}");
    let mut put = Mutation::new(MutationKind::Put, key.clone());
    let value = [row as u8; 100_000];
    put.cells.push(Cell::put(key.as_bytes(), b"f", b"v", LATEST_TIMESTAMP, &value).expect("small"));
    put
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_folder_refuses_writes_serves_reads_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let Some(_mounted) = Mounted::new(&disk) else {
        println!("mounting is not allowed here: not tried on a real full disk");
        return;
    };
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST]).expect("there is space yet");
    let server = Server::start_in(&disk.join("data"), &folder.path().join("run"), &["--memory", "64M"]);
    let address = format!("127.0.0.1:{}", server.port);
    let connection =
        Connection::builder(&address).timeout(Duration::from_secs(5)).open().await.expect("the server answers");
    let mut descriptor = TableDescriptor::new("t".parse().expect("a name"))
        .with_family(FamilyDescriptor::new("f").with("COMPRESSION", "NONE"));
    descriptor.attributes.insert("MEMSTORE_FLUSHSIZE".into(), "4194304".into());
    connection.admin().create_table(&descriptor, &[]).await.expect("a table is made");
    let table = connection.table(descriptor.name.clone());

    let mut written = 0;
    let error = loop {
        match table.mutate(put(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 2000, "200 MB fit on a disk of 64 MiB");
    };
    let text = error.to_string();
    assert!(text.to_lowercase().contains("space"), "the error does not say what to do: {text}");
    assert!(written > 20, "{written} puts only: {text}");
    for row in 0..written {
        let found = table.get(&Get::new(format!("row{row:06}"))).await.expect("reads go on");
        assert_eq!(found.value(b"f", b"v").expect("acknowledged").len(), 100_000);
    }

    std::fs::remove_file(&ballast).expect("removed");
    let begun = Instant::now();
    while let Err(error) = table.mutate(put(written)).await {
        assert!(begun.elapsed() < RESUME_MAX, "writes do not resume: {error}\n{}", server.log_text());
    }
    assert_eq!(server.stop(), Some(0), "a graceful end");
    let server = Server::start_in(&disk.join("data"), &folder.path().join("run"), &["--memory", "64M"]);
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("connected");
    let table = connection.table(descriptor.name.clone());
    for row in 0..=written {
        let found = table.get(&Get::new(format!("row{row:06}"))).await.expect("a get");
        assert!(found.value(b"f", b"v").is_some(), "row {row} is gone");
    }
    println!("{written} puts until the disk was full: {text}");
}
