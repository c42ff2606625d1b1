//! `inspect hfile` on what is no store file and on damaged ones.

use std::path::{Path, PathBuf};

use ferrobase_tests::process::Server;

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
    for at in (0..sound.len() - TRAILER_LEN).step_by(STEP) {
        let mut bytes = sound.clone();
        bytes[at] ^= 0xff;
        let (code, (_, why)) = inspect(&bytes, "-k");
        assert!(code == Some(1) && why.contains("file=`file`"), "byte {at}: {code:?} {why}");
    }
    let (code, (_, why)) = inspect(&vec![b'x'; 10_000], "-k");
    assert!(code == Some(1) && why.contains("no store file"), "{why}");
}
