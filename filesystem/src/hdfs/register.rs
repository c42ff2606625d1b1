//! Registers by pointer rename (`docs/formats/register.md`): the NameNode carries out one rename of an exact name.
//!
//! Always true
//! - A swap that keeps the body, and one to an empty body, costs one rename and touches no DataNode.
//! - A swap in doubt is decided by reading: the pointer's token says whose it is.

use std::sync::Arc;

use bytes::Bytes;

use super::blob::{HdfsReader, aside};
use super::file;
use super::link::{Link, Moved};
use crate::checksum::crc32c;
use crate::error::{Error, ErrorKind, Result};
use crate::pointer::{BODY_LEN_MAX, Pointer};
use crate::{BlobReader, CreateOutcome, RegisterValue, SwapOutcome, Version};

/// How often a body that fails its checksum is read before it counts as damaged.
const READS_OF_DAMAGE: u32 = 3;
/// How often a swap is tried whose expected value still stands.
const SWAP_TRIES: u32 = 10;
/// How often a body is written under a new name.
const BODY_TRIES: u32 = 5;

fn value((pointer, body): (Pointer, Bytes)) -> RegisterValue {
    RegisterValue { version: Version(pointer.name), head: pointer.head, body }
}

/// Reads a register; `None` if it does not exist.
pub(super) async fn read(link: &Arc<Link>, key: &str) -> Result<Option<RegisterValue>> {
    Ok(find(link, key).await?.map(value))
}

async fn find(link: &Arc<Link>, key: &str) -> Result<Option<(Pointer, Bytes)>> {
    let folder = link.at(key);
    let mut budget = link.budget(link.settings.deadline);
    let mut damaged: Option<(String, u32)> = None;
    loop {
        let Some(names) = file::names(link, key, &folder).await? else { return Ok(None) };
        let pointers = names.iter().filter_map(|entry| Pointer::parse(file::last(&entry.path)));
        if let Some(pointer) = pointers.max_by_key(|pointer| pointer.n) {
            let body = match pointer.len {
                0 => Some(Bytes::new()),
                // Never allocate more than a body may have.
                len if len > BODY_LEN_MAX => None,
                len => match HdfsReader::open(link, &format!("{key}/b.{}", pointer.btoken)).await {
                    // The last block was not reported yet, or a swap has overtaken this read: list again.
                    Ok(reader) if reader.len() < len => None,
                    Ok(reader) => match reader.read_at(0, len as usize).await {
                        Ok(body) => Some(body),
                        Err(error) if error.kind() == ErrorKind::NotFound => None,
                        Err(error) => return Err(error),
                    },
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                },
            };
            if let Some(body) = body {
                if crc32c(&body) == pointer.crc {
                    return Ok(Some((pointer, body)));
                }
                let times = damaged.filter(|(name, _)| *name == pointer.name).map_or(0, |(_, times)| times) + 1;
                if times == READS_OF_DAMAGE {
                    let message =
                        format!("the register's body fails its checksum. file=`b.{}`, offset=`0`", pointer.btoken);
                    return Err(Error::new(ErrorKind::Corrupt, key, message));
                }
                damaged = Some((pointer.name, times));
            }
        }
        if !budget.pause().await {
            return Err(Error::new(ErrorKind::Corrupt, key, "the register's directory holds no pointer with a body"));
        }
    }
}

/// A body to be written.
struct Body {
    token: String,
    len: u64,
    crc: u32,
}

/// Writes a body into the register's folder, under names nobody uses. [`ErrorKind::NotFound`] if the folder is missing.
async fn write_body(link: &Arc<Link>, key: &str, folder: &str, body: &Bytes) -> Result<Body> {
    let (len, crc) = (body.len() as u64, crc32c(body));
    let mut tries = 0;
    loop {
        let base = link.random.next_u64() & !0xff;
        let token = |i: usize| format!("{:016x}", base | (i as u64 & 0xff));
        if body.is_empty() {
            return Ok(Body { token: token(0), len, crc });
        }
        let name = |i| format!("{folder}/b.{}", token(i));
        let (mut file, path) = file::begin(link, key, name, body, file::block_size_for(link, len)).await?;
        match file::close(link, &mut file).await {
            Ok(()) => {
                file::restore_replication(link, &path, file.replication).await;
                let token = file::last(&path).trim_start_matches("b.").to_owned();
                return Ok(Body { token, len, crc });
            }
            Err(failure) => {
                link.suspect();
                link.discard(vec![path]);
                tries += 1;
                if tries == BODY_TRIES {
                    return Err(link.error(key, "write the register's body", &failure, false));
                }
            }
        }
    }
}

/// Creates a register.
pub(super) async fn create(link: &Arc<Link>, key: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
    let target = link.at(key);
    let token = link.token();
    let aside = aside(&target, &token);
    let outcome = create_aside(link, key, head, &body, &target, &aside, &token).await;
    if !matches!(outcome, Ok(CreateOutcome::Created(_))) {
        link.discard(vec![aside]);
    }
    outcome
}

async fn create_aside(
    link: &Arc<Link>,
    key: &str,
    head: &str,
    body: &Bytes,
    target: &str,
    aside: &str,
    token: &str,
) -> Result<CreateOutcome> {
    link.make_folder(key, aside).await?;
    let taken_away = |error: Error| if error.kind() == ErrorKind::NotFound { file::vanished(key) } else { error };
    let body = write_body(link, key, aside, body).await.map_err(taken_away)?;
    let name = Pointer::format(1, token, &body.token, body.len, body.crc, head);
    make_pointer(link, key, &format!("{aside}/{name}")).await.map_err(taken_away)?;
    let version = Version(name);
    let moved = link.rename(key, aside, target).await?;
    if moved == Moved::Done {
        return Ok(CreateOutcome::Created(version));
    }
    match read(link, key).await? {
        Some(found) if found.version == version => Ok(CreateOutcome::Created(version)),
        Some(found) => Ok(CreateOutcome::Exists(found)),
        None if matches!(moved, Moved::Absent { .. }) => Err(file::vanished(key)),
        None => Err(Error::new(ErrorKind::Unavailable, key, "the register vanished while it was created")),
    }
}

/// An empty file: it needs no DataNode. Its name is nobody else's, so that a name that is taken was taken by an earlier try.
async fn make_pointer(link: &Arc<Link>, key: &str, path: &str) -> Result<()> {
    let made = link
        .again(key, "make the pointer", |client| async move {
            let options = hdfs_native::WriteOptions::default().create_parent(false).overwrite(true);
            client.create(path, options).await?.close().await
        })
        .await?;
    made.ok_or_else(|| Error::new(ErrorKind::NotFound, key, "the register's folder vanished"))
}

/// Swaps a register's value.
pub(super) async fn swap(
    link: &Arc<Link>,
    key: &str,
    expected: &Version,
    head: &str,
    body: Option<Bytes>,
) -> Result<SwapOutcome> {
    let folder = link.at(key);
    let old = Pointer::parse(&expected.0)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, key, "the expected version is not of this register"))?;
    let token = link.token();
    let (name, mine, unneeded) = match &body {
        None => (Pointer::format(old.n + 1, &token, &old.btoken, old.len, old.crc, head), None, Vec::new()),
        Some(body) => {
            // Bodies that lie here before the rename are named by the old value or by swaps that expect it or an older one, and so are
            // refused from then on.
            let Some(names) = file::names(link, key, &folder).await? else { return Ok(SwapOutcome::Superseded(None)) };
            let bodies = names.into_iter().map(|entry| entry.path).filter(|path| file::last(path).starts_with("b."));
            let written = match write_body(link, key, &folder, body).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Ok(SwapOutcome::Superseded(read(link, key).await?));
                }
                written => written?,
            };
            let name = Pointer::format(old.n + 1, &token, &written.token, written.len, written.crc, head);
            (name, Some(format!("{folder}/b.{}", written.token)), bodies.collect())
        }
    };
    let (from, to) = (format!("{folder}/{}", old.name), format!("{folder}/{name}"));
    for _ in 0..SWAP_TRIES {
        // After an error nobody knows: the body stays, as a value may name it.
        if link.rename(key, &from, &to).await? == Moved::Done {
            link.discard(unneeded);
            return Ok(SwapOutcome::Swapped(Version(name)));
        }
        match read(link, key).await? {
            Some(found) if found.version.0 == name => {
                link.discard(unneeded);
                return Ok(SwapOutcome::Swapped(found.version));
            }
            // The expected value still stands: the same again.
            Some(found) if found.version == *expected => {}
            found => {
                // If an earlier try was done after all, a swap of the head alone may have kept its body.
                let named = found.as_ref().and_then(|found| Pointer::parse(&found.version.0)).map(|found| found.btoken);
                let kept = |path: &String| named.as_ref().is_some_and(|btoken| path.ends_with(btoken.as_str()));
                link.discard(mine.into_iter().filter(|path| !kept(path)).collect());
                return Ok(SwapOutcome::Superseded(found));
            }
        }
    }
    Err(Error::new(ErrorKind::Unknown, key, "swap the register: the NameNode refuses a name that it lists"))
}
