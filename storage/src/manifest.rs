//! Region manifests (`docs/formats/manifest.md`): the one object that decides what a region is.
//!
//! Always true
//! - Only a claim or a retirement changes the epoch, upwards; every other commit swaps the value its holder knows, so a
//!   holder that was overtaken is refused.
//! - A swap whose answer was lost is read back and told by its token.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use filesystem::{CreateOutcome, Filesystem, RegisterValue, SwapOutcome, Version, crc32c};
use model::SeqNo;
use model::region::RegionInfo;
use prost::Message;
use runtime::random::Random;

use crate::error::{Result, StorageError};
use crate::wal::StreamId;

const MAGIC: &[u8; 8] = b"FBMANIF1";
const VERSION: u32 = 3;
/// Version of a body without bulk loads.
const VERSION_WITHOUT_LOADS: u32 = 2;
/// Version of a body that names no log root but the data root.
const VERSION_OF_ONE_ROOT: u32 = 1;
const WHAT: &str = "region manifest";
/// Log needs that fit the head.
const HEAD_NEEDS_MAX: usize = 4;

/// A store file, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Name in the family's folder.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Largest sequence number inside.
    pub max_seq: SeqNo,
    /// Cells inside.
    pub cells: u64,
    /// Whether a major compaction wrote it.
    pub major: bool,
    /// When it was bulk-loaded, in milliseconds; its cells then count as written with `max_seq`. 0: it was not.
    pub loaded_ms: u64,
}

/// A file of a bulk load that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingFile {
    /// Its family.
    pub family: Bytes,
    /// Its name to be, in the family's folder.
    pub name: String,
    /// Where it lay before, below the data root.
    pub was: String,
    /// Length in bytes.
    pub size: u64,
    /// Cells inside.
    pub cells: u64,
}

/// A bulk load that is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadEntry {
    /// Its id: the same again loads nothing.
    pub id: String,
    /// When it was decided, in milliseconds.
    pub at_ms: u64,
    /// What its cells count as written with; 0 while files are on their way.
    pub seqno: SeqNo,
    /// Files on their way: nobody reads them yet.
    pub moving: Vec<MovingFile>,
}

/// One family's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FamilyState {
    /// Edits up to here are in files.
    pub flushed: SeqNo,
    /// The files, oldest first.
    pub files: Vec<FileEntry>,
}

/// A manifest's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Never opened again.
    pub retired: bool,
    /// Epoch of the last claim.
    pub epoch: u64,
    /// Streams that may hold unflushed edits.
    pub needs: Vec<StreamId>,
    /// First row inside.
    pub start_key: Bytes,
    /// First row behind.
    pub end_key: Bytes,
    /// No smaller sequence number is given out again.
    pub seq_floor: SeqNo,
    /// Families by name.
    pub families: BTreeMap<Bytes, FamilyState>,
    /// Bulk loads, oldest first.
    pub loads: Vec<LoadEntry>,
}

#[derive(Clone, PartialEq, Message)]
struct FileMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(uint64, tag = "3")]
    max_seq: u64,
    #[prost(uint64, tag = "4")]
    cells: u64,
    #[prost(bool, tag = "5")]
    major: bool,
    #[prost(uint64, tag = "6")]
    loaded_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct MovingMessage {
    #[prost(bytes = "bytes", tag = "1")]
    family: Bytes,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    was: String,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(uint64, tag = "5")]
    cells: u64,
}

#[derive(Clone, PartialEq, Message)]
struct LoadMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint64, tag = "2")]
    at_ms: u64,
    #[prost(uint64, tag = "3")]
    seqno: u64,
    #[prost(message, repeated, tag = "4")]
    moving: Vec<MovingMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct FamilyMessage {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(uint64, tag = "2")]
    flushed: u64,
    #[prost(message, repeated, tag = "3")]
    files: Vec<FileMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ManifestMessage {
    #[prost(uint64, tag = "1")]
    token_high: u64,
    #[prost(uint64, tag = "2")]
    token_low: u64,
    #[prost(bytes = "bytes", tag = "3")]
    start_key: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    end_key: Bytes,
    #[prost(uint64, tag = "5")]
    seq_floor: u64,
    #[prost(message, repeated, tag = "6")]
    families: Vec<FamilyMessage>,
    #[prost(fixed64, repeated, tag = "7")]
    more_needs: Vec<u64>,
    #[prost(uint32, repeated, tag = "8")]
    more_roots: Vec<u32>,
    #[prost(message, repeated, tag = "9")]
    loads: Vec<LoadMessage>,
}

impl From<&LoadEntry> for LoadMessage {
    fn from(load: &LoadEntry) -> LoadMessage {
        let moving = |file: &MovingFile| MovingMessage {
            family: file.family.clone(),
            name: file.name.clone(),
            was: file.was.clone(),
            size: file.size,
            cells: file.cells,
        };
        let moving = load.moving.iter().map(moving).collect();
        LoadMessage { id: load.id.clone(), at_ms: load.at_ms, seqno: load.seqno.0, moving }
    }
}

impl From<LoadMessage> for LoadEntry {
    fn from(load: LoadMessage) -> LoadEntry {
        let moving = |file: MovingMessage| MovingFile {
            family: file.family,
            name: file.name,
            was: file.was,
            size: file.size,
            cells: file.cells,
        };
        let moving = load.moving.into_iter().map(moving).collect();
        LoadEntry { id: load.id, at_ms: load.at_ms, seqno: SeqNo(load.seqno), moving }
    }
}

impl Manifest {
    fn head(&self) -> String {
        let needs: Vec<_> = self.needs.iter().take(HEAD_NEEDS_MAX).map(StreamId::to_string).collect();
        format!("{}.{:x}.{}", if self.retired { "retired" } else { "live" }, self.epoch, needs.join("+"))
    }

    fn body(&self, token: u128) -> Bytes {
        let file = |file: &FileEntry| FileMessage {
            name: file.name.clone(),
            size: file.size,
            max_seq: file.max_seq.0,
            cells: file.cells,
            major: file.major,
            loaded_ms: file.loaded_ms,
        };
        let family = |(name, state): (&Bytes, &FamilyState)| FamilyMessage {
            name: name.clone(),
            flushed: state.flushed.0,
            files: state.files.iter().map(file).collect(),
        };
        let more = &self.needs[self.needs.len().min(HEAD_NEEDS_MAX)..];
        let elsewhere = more.iter().any(|need| need.root != 0);
        let message = ManifestMessage {
            token_high: (token >> 64) as u64,
            token_low: token as u64,
            start_key: self.start_key.clone(),
            end_key: self.end_key.clone(),
            seq_floor: self.seq_floor.0,
            families: self.families.iter().map(family).collect(),
            more_needs: more.iter().map(|need| need.stream).collect(),
            more_roots: more.iter().filter(|_| elsewhere).map(|need| need.root).collect(),
            loads: self.loads.iter().map(LoadMessage::from).collect(),
        };
        let mut files = self.families.values().flat_map(|state| &state.files);
        let version = match (self.loads.is_empty() && files.all(|file| file.loaded_ms == 0), elsewhere) {
            (false, _) => VERSION,
            (true, true) => VERSION_WITHOUT_LOADS,
            (true, false) => VERSION_OF_ONE_ROOT,
        };
        let rest = message.encode_to_vec();
        let mut out = BytesMut::with_capacity(16 + rest.len());
        out.put_slice(MAGIC);
        out.put_u32(version);
        out.put_u32(crc32c(&rest));
        out.put_slice(&rest);
        out.freeze()
    }

    /// Reads a register's value.
    pub fn decode(value: &RegisterValue, path: &str) -> Result<Manifest> {
        let bad = |why: &str| StorageError::corrupt(WHAT, path, 0, why);
        let mut parts = value.head.split('.');
        let retired = match parts.next() {
            Some("live") => false,
            Some("retired") => true,
            _ => return Err(bad("the head's state is unknown")),
        };
        let hex = |text: &str| u64::from_str_radix(text, 16).map_err(|_| bad("a number in the head is wrong"));
        let epoch = hex(parts.next().unwrap_or_default())?;
        let needs = parts.next().unwrap_or_default();
        let need = |text: &str| StreamId::parse(text).ok_or_else(|| bad("a stream in the head is wrong"));
        let mut needs: Vec<StreamId> =
            needs.split('+').filter(|text| !text.is_empty()).map(need).collect::<Result<_>>()?;
        let mut body = value.body.clone();
        if body.len() < 16 || body.split_to(8)[..] != MAGIC[..] {
            return Err(bad("the magic is wrong"));
        }
        let version = body.get_u32();
        if version == 0 {
            return Err(bad("the version is 0"));
        }
        if version > VERSION {
            return Err(StorageError::Newer { what: WHAT, found: version, known: VERSION, file: path.to_owned() });
        }
        if body.get_u32() != crc32c(&body) {
            return Err(bad("the checksum is wrong"));
        }
        let message = ManifestMessage::decode(body).map_err(|error| bad(&error.to_string()))?;
        let ManifestMessage { more_needs, more_roots, .. } = &message;
        if !more_roots.is_empty() && more_roots.len() != more_needs.len() {
            return Err(bad("its needs and their roots are not as many"));
        }
        let roots = more_roots.iter().copied().chain(std::iter::repeat(0));
        needs.extend(more_needs.iter().zip(roots).map(|(stream, root)| StreamId { root, stream: *stream }));
        let file = |file: FileMessage| FileEntry {
            name: file.name,
            size: file.size,
            max_seq: SeqNo(file.max_seq),
            cells: file.cells,
            major: file.major,
            loaded_ms: file.loaded_ms,
        };
        let families = message
            .families
            .into_iter()
            .map(|family| {
                let files = family.files.into_iter().map(file).collect();
                (family.name, FamilyState { flushed: SeqNo(family.flushed), files })
            })
            .collect();
        Ok(Manifest {
            retired,
            epoch,
            needs,
            start_key: message.start_key,
            end_key: message.end_key,
            seq_floor: SeqNo(message.seq_floor),
            families,
            loads: message.loads.into_iter().map(LoadEntry::from).collect(),
        })
    }

    /// Bulk loads whose files are still on their way.
    pub fn loads_under_way(&self) -> impl Iterator<Item = &LoadEntry> {
        self.loads.iter().filter(|load| !load.moving.is_empty())
    }
}

/// A manifest that this process last saw at a known version.
#[derive(Debug)]
pub struct ManifestHandle {
    fs: Arc<dyn Filesystem>,
    random: Arc<dyn Random>,
    path: String,
    version: Version,
    manifest: Manifest,
    /// A swap that has begun and whose end is not known. Nothing else may be tried before.
    attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Attempt {
    next: Manifest,
    head: String,
    body: Option<Bytes>,
    /// An answer was lost: it may have landed, or may land yet.
    in_doubt: bool,
}

/// Tries of one swap, always of the same bytes, while its answers are lost.
const SWAP_TRIES: usize = 3;

/// The key of a region's manifest.
pub fn path(table_id: &str, encoded_name: &str) -> String {
    format!("ferrobase/table/{table_id}/{encoded_name}")
}

/// A region's name in the log: enough to find its manifest.
pub fn log_name(table_id: &str, encoded_name: &str) -> String {
    format!("{table_id}/{encoded_name}")
}

/// Whether the files of a region hold everything that the log has of it up to `seqno`, or nobody will ever want it. Once true, always true.
pub(crate) async fn log_is_unneeded(fs: &Arc<dyn Filesystem>, log_name: &str, seqno: SeqNo) -> Result<bool> {
    let path = format!("ferrobase/table/{log_name}");
    if let Some(value) = fs.register_read_settled(&path).await? {
        let manifest = Manifest::decode(&value, &path)?;
        return Ok(manifest.retired || manifest.families.values().all(|family| family.flushed >= seqno));
    }
    // A manifest goes only with its table, whose head stays and says so (docs/formats/catalog.md).
    let Some((table_id, _)) = log_name.split_once('/') else { return Ok(false) };
    let head = fs.register_read_settled(&format!("ferrobase/table/{table_id}/head")).await?;
    Ok(head.is_some_and(|head| head.head.starts_with("dropped.")))
}

impl ManifestHandle {
    /// Creates a region's manifest, closed and empty, under the creator's epoch. One that exists is left as it is.
    pub async fn create(
        fs: &Arc<dyn Filesystem>,
        random: &Arc<dyn Random>,
        table_id: &str,
        region: &RegionInfo,
        families: impl IntoIterator<Item = Bytes>,
        epoch: u64,
    ) -> Result<()> {
        let manifest = Manifest {
            epoch,
            start_key: region.start_key.clone(),
            end_key: region.end_key.clone(),
            families: families.into_iter().map(|name| (name, FamilyState::default())).collect(),
            ..Manifest::default()
        };
        let path = path(table_id, &region.encoded_name());
        match fs.register_create(&path, &manifest.head(), manifest.body(random.next_u128())).await? {
            CreateOutcome::Created(_) | CreateOutcome::Exists(_) => Ok(()),
        }
    }

    /// Reads a region's manifest.
    pub async fn load(
        fs: &Arc<dyn Filesystem>,
        random: &Arc<dyn Random>,
        table_id: &str,
        encoded_name: &str,
    ) -> Result<Option<ManifestHandle>> {
        let path = path(table_id, encoded_name);
        let Some(value) = fs.register_read(&path).await? else { return Ok(None) };
        let manifest = Manifest::decode(&value, &path)?;
        let (fs, random, version) = (fs.clone(), random.clone(), value.version);
        Ok(Some(ManifestHandle { fs, random, path, version, manifest, attempt: None }))
    }

    /// The value last seen.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Claims the region: from now on its edits go to `stream`, and nobody with a smaller epoch gets in. The caller has
    /// made sure that every stream the manifest needs has ended; those that hold nothing of it are in `unneeded`.
    pub async fn claim(&mut self, epoch: u64, stream: StreamId, unneeded: &[StreamId]) -> Result<()> {
        if self.manifest.retired {
            return Err(StorageError::Fenced(format!("region `{}` is retired and", self.path)));
        }
        if epoch <= self.manifest.epoch {
            return Err(StorageError::Fenced(format!(
                "region `{}` has epoch {:x} and",
                self.path, self.manifest.epoch
            )));
        }
        let mut next = self.manifest.clone();
        next.epoch = epoch;
        next.needs.retain(|need| !unneeded.contains(need));
        next.needs.push(stream);
        // Only the head changes, unless needs move into or out of the body.
        let whole = next.needs.len() > HEAD_NEEDS_MAX || self.manifest.needs.len() > HEAD_NEEDS_MAX;
        self.swap(next, whole).await
    }

    /// Commits a change under the epoch of the claim. [`StorageError::Fenced`] if somebody took the region over: the
    /// caller stops serving it and deletes nothing that the change named. After any other error [`Self::in_doubt`] says whether the
    /// change may stand; if so it is brought to its end before anything else is committed.
    pub async fn commit(&mut self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        self.settle().await?;
        let mut next = self.manifest.clone();
        change(&mut next);
        self.swap(next, true).await
    }

    /// Retires the region for ever, under the leader's epoch.
    pub async fn retire(&mut self, epoch: u64) -> Result<()> {
        self.settle().await?;
        if self.manifest.retired {
            return Ok(());
        }
        let mut next = self.manifest.clone();
        next.retired = true;
        next.epoch = next.epoch.max(epoch);
        self.swap(next, true).await
    }

    /// Whether a commit may stand whose answer was lost.
    pub fn in_doubt(&self) -> bool {
        self.attempt.is_some()
    }

    async fn swap(&mut self, next: Manifest, whole: bool) -> Result<()> {
        let (head, body) = (next.head(), whole.then(|| next.body(self.random.next_u128())));
        self.attempt = Some(Attempt { next, head, body, in_doubt: false });
        self.settle().await
    }

    /// Brings a commit in doubt to its end: the same bytes again, until it stands or cannot land any more.
    pub async fn settle(&mut self) -> Result<()> {
        for _ in 0..SWAP_TRIES {
            let Some(attempt) = &mut self.attempt else { return Ok(()) };
            // Dropped on the way it may have happened.
            let doubted = std::mem::replace(&mut attempt.in_doubt, true);
            match self.fs.register_swap(&self.path, &self.version, &attempt.head, attempt.body.clone()).await {
                Ok(SwapOutcome::Swapped(version)) => self.stands(version),
                // Perhaps it is our own value, whose answer was lost.
                Ok(SwapOutcome::Superseded(Some(now)))
                    if now.head == attempt.head && attempt.body.as_ref().is_none_or(|body| *body == now.body) =>
                {
                    self.stands(now.version);
                }
                Ok(SwapOutcome::Superseded(_)) => {
                    self.attempt = None;
                    return Err(StorageError::Fenced(format!("region `{}`", self.path)));
                }
                Err(error) if error.kind() == filesystem::ErrorKind::Unknown => {
                    tracing::warn!(%error, "the answer to a manifest's swap was lost");
                }
                Err(error) => {
                    if !doubted {
                        self.attempt = None;
                    }
                    return Err(error.into());
                }
            }
        }
        if self.attempt.is_none() {
            return Ok(());
        }
        let why = "the manifest could not be swapped: the answers were lost";
        Err(filesystem::Error::new(filesystem::ErrorKind::Unknown, &self.path, why).into())
    }

    fn stands(&mut self, version: Version) {
        if let Some(attempt) = self.attempt.take() {
            self.manifest = attempt.next;
            self.version = version;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::memory::MemoryFilesystem;
    use model::ErrorKind;
    use runtime::random::SeededRandom;

    fn region() -> RegionInfo {
        RegionInfo::new("t".parse().expect("name"), "a".into(), "m".into(), 7)
    }

    fn on(root: u32, stream: u64) -> StreamId {
        StreamId { root, stream }
    }

    async fn setup() -> (Arc<dyn Filesystem>, Arc<dyn Random>) {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(1));
        ManifestHandle::create(&fs, &random, "t1", &region(), ["f".into()], 1).await.expect("create");
        (fs, random)
    }

    async fn load(fs: &Arc<dyn Filesystem>, random: &Arc<dyn Random>) -> ManifestHandle {
        ManifestHandle::load(fs, random, "t1", &region().encoded_name()).await.expect("load").expect("exists")
    }

    #[tokio::test]
    async fn what_is_committed_is_read_back() {
        let (fs, random) = setup().await;
        let mut handle = load(&fs, &random).await;
        handle.claim(5, on(0, 0xabc), &[]).await.expect("claim");
        let file = FileEntry { name: "x".to_owned(), size: 9, max_seq: SeqNo(4), cells: 2, major: true, loaded_ms: 0 };
        let state = FamilyState { flushed: SeqNo(4), files: vec![file] };
        handle.commit(|manifest| drop(manifest.families.insert("f".into(), state.clone()))).await.expect("commit");
        for stream in 1..=6 {
            handle.claim(5 + stream, on(u32::try_from(stream % 3).expect("small"), stream), &[]).await.expect("claim");
        }
        let again = load(&fs, &random).await;
        assert_eq!(again.manifest(), handle.manifest());
        let needs = [(0, 0xabc), (1, 1), (2, 2), (0, 3), (1, 4), (2, 5), (0, 6)].map(|(root, stream)| on(root, stream));
        assert_eq!(again.manifest().needs, needs);
        assert_eq!(again.manifest().families[&Bytes::from("f")], state);
    }

    #[tokio::test]
    async fn loads_are_read_back_and_older_builds_refuse_them() {
        let (fs, random) = setup().await;
        let mut handle = load(&fs, &random).await;
        handle.claim(5, on(0, 1), &[]).await.expect("claim");
        let version = async || {
            let value = fs.register_read(handle_path().as_str()).await.expect("read").expect("exists");
            u32::from_be_bytes(value.body[8..12].try_into().expect("four bytes"))
        };
        assert_eq!(version().await, 1);
        let (family, was) = (Bytes::from("f"), "in/f/x".to_owned());
        let moving = vec![MovingFile { family, name: "n".to_owned(), was, size: 7, cells: 3 }];
        let under_way = LoadEntry { id: "l1".to_owned(), at_ms: 5, seqno: SeqNo(0), moving };
        handle.commit(|manifest| manifest.loads.push(under_way)).await.expect("commit");
        assert_eq!((version().await, load(&fs, &random).await.manifest()), (3, handle.manifest()));
        assert_eq!(handle.manifest().loads_under_way().count(), 1);
        let file = FileEntry { name: "n".to_owned(), size: 7, max_seq: SeqNo(9), cells: 3, major: false, loaded_ms: 5 };
        let arrived = |manifest: &mut Manifest| {
            manifest.loads[0].moving.clear();
            manifest.families.get_mut(&Bytes::from("f")).expect("family").files.push(file);
        };
        handle.commit(arrived).await.expect("commit");
        handle.commit(|manifest| manifest.loads.clear()).await.expect("commit");
        assert_eq!((version().await, load(&fs, &random).await.manifest()), (3, handle.manifest()));
        handle.commit(|manifest| manifest.families.clear()).await.expect("commit");
        assert_eq!(version().await, 1, "what has no loads any more, older builds read");
    }

    fn handle_path() -> String {
        path("t1", &region().encoded_name())
    }

    #[tokio::test]
    async fn an_overtaken_holder_is_refused() {
        let (fs, random) = setup().await;
        let (mut old, mut new) = (load(&fs, &random).await, load(&fs, &random).await);
        old.claim(5, on(0, 1), &[]).await.expect("claim");
        assert_eq!(new.claim(6, on(0, 2), &[]).await.expect_err("stale version").kind(), ErrorKind::Fenced);
        let mut new = load(&fs, &random).await;
        assert_eq!(new.claim(5, on(0, 2), &[]).await.expect_err("not higher").kind(), ErrorKind::Fenced);
        new.claim(6, on(0, 2), &[]).await.expect("claim");
        assert_eq!(
            old.commit(|manifest| manifest.seq_floor = SeqNo(9)).await.expect_err("overtaken").kind(),
            ErrorKind::Fenced
        );
        new.retire(7).await.expect("retire");
        assert_eq!(
            load(&fs, &random).await.claim(8, on(0, 3), &[]).await.expect_err("retired").kind(),
            ErrorKind::Fenced
        );
    }

    #[tokio::test]
    async fn damage_is_named() {
        let (fs, random) = setup().await;
        let path = path("t1", &region().encoded_name());
        let good = fs.register_read(&path).await.expect("read").expect("exists");
        for at in 0..good.body.len() {
            let mut body = good.body.to_vec();
            body[at] ^= 1;
            let bad = RegisterValue { body: body.into(), ..good.clone() };
            assert!(Manifest::decode(&bad, &path).expect_err("damaged").to_string().contains(&path));
            let cut = RegisterValue { body: good.body.slice(..at), ..good.clone() };
            assert!(Manifest::decode(&cut, &path).is_err());
        }
        drop(random);
    }
}
