use std::sync::Arc;

use bytes::Bytes;
use filesystem::memory::MemoryFilesystem;
use filesystem::{Filesystem, crc32c};
use runtime::random::{Random, SeededRandom};
use storage::manifest::{self, ManifestHandle};

/// What heads and bodies are made of.
pub(crate) const WORDS: &[&[u8]] =
    &[b"live.", b"retired.", b"@1", b"+", b"FBMANIF1", b"\0\0\0\x03", b"\x3a\x02", b"\x32\x04", b"\x4a\x02"];
const REGION: (&str, &str) = ("table", "region");

/// A region's manifest: its head, a line feed, its body; as it is, and with the body's checksum computed anew.
///
/// No panic, bounded memory. What is read and committed again without a change is read as the same manifest.
pub fn manifest(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(head), body) = (std::str::from_utf8(&data[..at]), &data[at + 1..]) else { return };
    read(head, body);
    if body.len() >= 16 {
        let mut sealed = body.to_vec();
        sealed[12..16].copy_from_slice(&crc32c(&body[16..]).to_be_bytes());
        read(head, &sealed);
    }
}

fn read(head: &str, body: &[u8]) {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    let random: Arc<dyn Random> = Arc::new(SeededRandom::new(1));
    let path = manifest::path(REGION.0, REGION.1);
    if crate::now(fs.register_create(&path, head, Bytes::copy_from_slice(body))).is_err() {
        return; // no register holds such a head
    }
    let load =
        || crate::now(ManifestHandle::load(&fs, &random, REGION.0, REGION.1)).map(|found| found.expect("it is there"));
    let mut handle = match load() {
        Ok(handle) => handle,
        Err(error) => return assert!(error.to_string().contains(&path), "the error does not say where: {error}"),
    };
    let first = handle.manifest().clone();
    crate::now(handle.commit(|_| {})).expect("nobody else holds it");
    let again = load().expect("just written");
    assert_eq!(*again.manifest(), first);
}
