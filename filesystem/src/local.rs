//! A folder on one machine's disk. Not for NFS: the page cache of this machine is the shared truth.
//!
//! Always true
//! - An object is written aside as `tmp.<token>.<name>`, synced, given its name without overwriting, and its folder is synced.
//! - Registers are pointer files changed by rename (`docs/formats/register.md`).
//! - System calls run on threads made for blocking, never on the async workers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use runtime::random::Random;
use runtime::task::blocking;

use crate::path::{check_key, made_aside};
use crate::pointer::{Pointer, is_internal};
use crate::*;

/// A root in a local folder; clones share it.
#[derive(Clone, Debug)]
pub struct LocalFilesystem {
    root: Arc<PathBuf>,
    random: Arc<dyn Random>,
}

/// How often a register is listed again when a swap overtakes the read.
const READ_TRIES: usize = 1000;

impl LocalFilesystem {
    /// Opens a root, creating the folder if it is missing.
    pub fn open(root: impl Into<PathBuf>, random: Arc<dyn Random>) -> Result<LocalFilesystem> {
        let root = root.into();
        let name = root.display().to_string();
        fs::create_dir_all(&root).map_err(|error| Error::io(&name, "create the root folder", error))?;
        let root = fs::canonicalize(&root).map_err(|error| Error::io(&name, "find the root folder", error))?;
        Ok(LocalFilesystem { root: Arc::new(root), random })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn at(&self, path: &str) -> Result<PathBuf> {
        check_key(path)?;
        Ok(self.root.join(path))
    }

    fn token(&self) -> String {
        format!("{:032x}", self.random.next_u128())
    }
}

/// The name beside `target` under which it is made.
fn aside(target: &Path, token: &str) -> PathBuf {
    let name = target.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= 200).unwrap_or_default();
    target.with_file_name(format!("tmp.{token}.{name}"))
}

/// Makes a file's bytes durable.
fn sync_bytes(file: &File) -> io::Result<()> {
    #[cfg(test)]
    tests::note_bytes(file);
    file.sync_data()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    tests::note_sync(folder);
    File::open(folder)?.sync_all()
}

/// Creates a folder and its missing parents durably.
fn make_folder(root: &Path, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent()
        && folder != root
    {
        make_folder(root, parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        sync_folder(parent)?;
    }
    Ok(())
}

/// Renames without overwriting.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let c_string =
        |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput);
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: both pointers are to NUL-terminated strings that live through the call.
    let answer =
        unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::RENAME_NOREPLACE) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
}

#[derive(Debug)]
struct LocalReader {
    file: Arc<File>,
    path: String,
}

/// Room for what a file holds of a range, and never for more.
fn room(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(offset);
    Ok(vec![0; len.min(usize::try_from(left).unwrap_or(usize::MAX))])
}

fn read_range(file: &File, offset: u64, mut data: Vec<u8>) -> io::Result<Bytes> {
    let len = data.len();
    let mut done = 0;
    while done < len {
        match file.read_at(&mut data[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(done);
    Ok(data.into())
}

#[async_trait]
impl BlobReader for LocalReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.file.clone();
        // Allocated by whoever reads, who also frees it: a thread that only fills buffers for others would keep what they free.
        let read = match room(&file, offset, len) {
            Ok(data) => blocking(move || read_range(&file, offset, data)).await,
            Err(error) => Err(error),
        };
        read.map_err(|error| Error::io(&self.path, "read", error))
    }
}

#[derive(Debug)]
struct LocalBlobWriter {
    file: Option<Arc<File>>,
    aside: PathBuf,
    target: PathBuf,
    path: String,
    len: u64,
}

#[async_trait]
impl BlobWriter for LocalBlobWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let file = self.file.clone().expect("open until finish or abort");
        let len = data.len() as u64;
        blocking(move || (&*file).write_all(&data)).await.map_err(|error| Error::io(&self.path, "write", error))?;
        self.len += len;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        let file = self.file.take().expect("open until finish or abort");
        let (aside, target) = (self.aside.clone(), self.target.clone());
        let done = blocking(move || -> io::Result<io::Result<()>> {
            sync_bytes(&file)?;
            rename_new(&aside, &target)?;
            Ok(sync_folder(target.parent().expect("a key has a folder")))
        })
        .await;
        match done {
            Ok(Ok(())) => Ok(self.len),
            // The name stands; what a crash leaves is unknown.
            Ok(Err(error)) => Err(Error::new(ErrorKind::Unknown, &self.path, format!("sync after finishing: {error}"))),
            Err(error) => {
                let _ = fs::remove_file(&self.aside); // garbage at worst
                Err(Error::io(&self.path, "finish", error))
            }
        }
    }

    async fn abort(mut self: Box<Self>) {
        self.file = None;
        let aside = self.aside.clone();
        // A failure leaves garbage that no reader sees.
        let _ = blocking(move || fs::remove_file(aside)).await;
    }
}

impl Drop for LocalBlobWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.aside); // dropped without finish: garbage at worst
        }
    }
}

#[derive(Debug)]
struct LocalLogWriter {
    root: Arc<PathBuf>,
    file: Arc<File>,
    path: String,
    len: u64,
    /// What the file may have grown to by an append that has not ended well.
    most: u64,
}

impl LocalLogWriter {
    /// An append begins: whatever becomes of it, the file holds no more than this.
    fn begin(&mut self, bytes: usize) -> u64 {
        self.most = self.len + bytes as u64;
        self.most
    }

    /// An append has failed: of its bytes at least the last is not there.
    fn cut_short(&mut self) {
        self.most = self.most.saturating_sub(1).max(self.len);
    }
}

#[async_trait]
impl LogWriter for LocalLogWriter {
    async fn append(&mut self, data: Bytes) -> Result<()> {
        let file = self.file.clone();
        let len = self.begin(data.len());
        if let Err(error) = blocking(move || (&*file).write_all(&data)).await {
            self.cut_short();
            return Err(Error::io(&self.path, "append", error));
        }
        self.len = len;
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        let file = self.file.clone();
        blocking(move || sync_bytes(&file)).await.map_err(|error| Error::io(&self.path, "sync", error))
    }

    /// One visit to another thread instead of three.
    async fn commit(&mut self, data: Bytes, _: &dyn Filesystem, next: &str) -> Result<bool> {
        check_key(next)?;
        let (file, next, len) = (self.file.clone(), self.root.join(next), self.begin(data.len()));
        let done = blocking(move || {
            (&*file).write_all(&data).map_err(|error| ("append", error))?;
            sync_bytes(&file).map_err(|error| ("sync", error))?;
            match fs::metadata(next) {
                Ok(metadata) => Ok(metadata.is_file()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(("look", error)),
            }
        })
        .await;
        match done {
            Ok(taken) => {
                self.len = len;
                Ok(taken)
            }
            Err((what, error)) => {
                if what == "append" {
                    self.cut_short();
                }
                Err(Error::io(&self.path, what, error))
            }
        }
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn holds_at_most(&self) -> u64 {
        self.most
    }
}

fn write_body(folder: &Path, btoken: &str, body: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(folder.join(format!("b.{btoken}")))?;
    file.write_all(body)?;
    sync_bytes(&file)
}

/// Reads a register's directory: `None` if it does not exist.
fn read_register(folder: &Path, path: &str) -> Result<Option<(Pointer, Bytes)>> {
    let mut damaged = None;
    for _ in 0..READ_TRIES {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, "list the register", error)),
            Ok(entries) => entries,
        };
        let mut newest: Option<Pointer> = None;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io(path, "list the register", error))?;
            if let Some(pointer) = entry.file_name().to_str().and_then(Pointer::parse)
                && newest.as_ref().is_none_or(|other| other.n < pointer.n)
            {
                newest = Some(pointer);
            }
        }
        let Some(pointer) = newest else { continue };
        let mut body = Vec::new();
        match File::open(folder.join(format!("b.{}", pointer.btoken))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(path, "open the register's body", error)),
            Ok(file) => file
                .take(pointer::BODY_LEN_MAX.min(pointer.len + 1))
                .read_to_end(&mut body)
                .map_err(|error| Error::io(path, "read the register's body", error))?,
        };
        if body.len() as u64 == pointer.len && crc32c(&body) == pointer.crc {
            return Ok(Some((pointer, body.into())));
        }
        if damaged.as_ref() == Some(&pointer.name) {
            let message = format!("the register's body fails its checksum. file=`b.{}`, offset=`0`", pointer.btoken);
            return Err(Error::new(ErrorKind::Corrupt, path, message));
        }
        damaged = Some(pointer.name);
    }
    Err(Error::new(ErrorKind::Corrupt, path, "the register's directory holds no pointer with a body"))
}

fn value((pointer, body): (Pointer, Bytes)) -> RegisterValue {
    RegisterValue { version: Version(pointer.name), head: pointer.head, body }
}

/// What a folder holds; nothing if it is not there.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        entries => entries.map(Some),
    }
    .map(|entries| entries.into_iter().flatten())
}

fn walk(root: &Path, folder: &Path, out: &mut Vec<Entry>) -> io::Result<()> {
    for entry in entries(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            if made_aside(name).is_none() {
                walk(root, &path, out)?;
            }
        } else if !is_internal(name)
            && let Ok(key) = path.strip_prefix(root)
        {
            out.push(Entry { path: key.to_string_lossy().into_owned(), size: metadata.len() });
        }
    }
    Ok(())
}

fn walk_unfinished(root: &Path, folder: &Path, out: &mut Vec<Unfinished>) -> io::Result<()> {
    for entry in entries(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if let Some(name) = name.to_str().and_then(made_aside) {
            let key = |path: &Path| path.strip_prefix(root).map(|key| key.to_string_lossy().into_owned());
            if let (Ok(aside), Ok(target)) = (key(&path), key(&path.with_file_name(name)))
                && !name.is_empty()
            {
                out.push(Unfinished { path: target, aside });
            }
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk_unfinished(root, &path, out)?;
        }
    }
    Ok(())
}

/// The bodies in a register's directory.
fn bodies(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("b.")) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[async_trait]
impl Filesystem for LocalFilesystem {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        let mut writer = self.create_blob(path).await?;
        if let Err(error) = writer.write(data).await {
            writer.abort().await;
            return Err(error);
        }
        match writer.finish().await {
            Ok(_) => Ok(PutOutcome::Created),
            Err(error) if error.kind() == ErrorKind::Exists => Ok(PutOutcome::Exists),
            Err(error) => Err(error),
        }
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        let target = self.at(path)?;
        let folder = target.parent().expect("a key has a folder").to_owned();
        let aside = aside(&target, &self.token());
        let (root, opened) = (self.root.clone(), aside.clone());
        let file = blocking(move || {
            make_folder(&root, &folder)?;
            OpenOptions::new().write(true).create_new(true).open(opened)
        })
        .await
        .map_err(|error| Error::io(path, "create", error))?;
        Ok(Box::new(LocalBlobWriter { file: Some(Arc::new(file)), aside, target, path: path.to_owned(), len: 0 }))
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        let target = self.at(path)?;
        let file = blocking(move || File::open(target)).await.map_err(|error| Error::io(path, "open", error))?;
        Ok(Arc::new(LocalReader { file: Arc::new(file), path: path.to_owned() }))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        let target = self.at(path)?;
        match blocking(move || fs::metadata(target)).await {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path, "look", error)),
        }
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let target = self.at(path)?;
        match blocking(move || fs::remove_file(target)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "delete", error)),
            _ => Ok(()),
        }
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        let target = self.at(path)?;
        match blocking(move || fs::remove_dir_all(target)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, "delete the register", error)),
            _ => Ok(()),
        }
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        let (source, target) = (self.at(from)?, self.at(to)?);
        let root = self.root.clone();
        let done = blocking(move || {
            let folder = target.parent().expect("a key has a folder");
            make_folder(&root, folder)?;
            rename_new(&source, &target)?;
            sync_folder(folder)
        })
        .await;
        match done {
            Ok(()) => Ok(PutOutcome::Created),
            Err(error) if is_taken(&error) => Ok(PutOutcome::Exists),
            Err(error) => Err(Error::io(from, "rename", error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        let target = self.at(folder)?;
        let root = self.root.clone();
        let listed = blocking(move || {
            let mut out = Vec::new();
            walk(&root, &target, &mut out).map(|()| out)
        });
        let mut entries = listed.await.map_err(|error| Error::io(folder, "list", error))?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        let target = self.at(folder)?;
        let root = self.root.clone();
        let found = blocking(move || {
            let mut out = Vec::new();
            walk_unfinished(&root, &target, &mut out).map(|()| out)
        });
        found.await.map_err(|error| Error::io(folder, "list", error))
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        let aside = self.root.join(&unfinished.aside);
        let gone = blocking(move || if aside.is_dir() { fs::remove_dir_all(&aside) } else { fs::remove_file(&aside) });
        match gone.await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io(&unfinished.path, "remove what was left unfinished", error))
            }
            _ => Ok(()),
        }
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        check_head(path, head)?;
        let target = self.at(path)?;
        let (token, btoken) = (self.token(), format!("{:016x}", self.random.next_u64()));
        let name = Pointer::format(1, &token, &btoken, body.len() as u64, crc32c(&body), head);
        let (root, version, key) = (self.root.clone(), Version(name.clone()), path.to_owned());
        blocking(move || {
            let folder = target.parent().expect("a key has a folder");
            let aside = aside(&target, &token);
            let made = make_folder(&root, folder).and_then(|()| {
                fs::create_dir(&aside)?;
                write_body(&aside, &btoken, &body)?;
                File::create_new(aside.join(&name))?.sync_all()?;
                sync_folder(&aside)?;
                rename_new(&aside, &target)
            });
            match made {
                Ok(()) => {
                    // The name stands; if its durability fails, what a crash leaves is unknown.
                    sync_folder(folder).map_err(|error| {
                        Error::new(ErrorKind::Unknown, &key, format!("sync after creating the register: {error}"))
                    })?;
                    Ok(CreateOutcome::Created(version))
                }
                Err(error) => {
                    let _ = fs::remove_dir_all(&aside); // garbage at worst
                    if !is_taken(&error) {
                        return Err(Error::io(&key, "create the register", error));
                    }
                    match read_register(&target, &key)? {
                        Some(found) => Ok(CreateOutcome::Exists(value(found))),
                        None => {
                            Err(Error::new(ErrorKind::Unavailable, &key, "the register vanished while it was created"))
                        }
                    }
                }
            }
        })
        .await
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        let target = self.at(path)?;
        let key = path.to_owned();
        Ok(blocking(move || read_register(&target, &key)).await?.map(value))
    }

    async fn register_read_settled(&self, path: &str) -> Result<Option<RegisterValue>> {
        let target = self.at(path)?;
        let key = path.to_owned();
        let read = blocking(move || {
            let found = read_register(&target, &key)?;
            if found.is_some() {
                // A swap that has renamed may not have synced yet.
                sync_folder(&target).map_err(|error| Error::io(&key, "sync the register", error))?;
            }
            Ok(found)
        });
        Ok(read.await?.map(value))
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        check_head(path, head)?;
        let folder = self.at(path)?;
        let old = Pointer::parse(&expected.0)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, path, "the expected version is not of this register"))?;
        let (token, btoken) = (self.token(), format!("{:016x}", self.random.next_u64()));
        let (head, key) = (head.to_owned(), path.to_owned());
        blocking(move || {
            let superseded = || read_register(&folder, &key).map(|found| SwapOutcome::Superseded(found.map(value)));
            let name = match &body {
                None => Pointer::format(old.n + 1, &token, &old.btoken, old.len, old.crc, &head),
                Some(body) => Pointer::format(old.n + 1, &token, &btoken, body.len() as u64, crc32c(body), &head),
            };
            if let Some(body) = &body {
                match write_body(&folder, &btoken, body).and_then(|()| sync_folder(&folder)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return superseded(),
                    Err(error) => {
                        let _ = fs::remove_file(folder.join(format!("b.{btoken}"))); // garbage at worst
                        return Err(Error::io(&key, "write the register's body", error));
                    }
                }
            }
            // Bodies that lie here before the rename are named by the old value or by swaps that expect it or an older one, and so are
            // refused from then on.
            let mine = folder.join(format!("b.{btoken}"));
            let old_bodies = if body.is_some() { bodies(&folder).unwrap_or_default() } else { Vec::new() };
            match fs::rename(folder.join(&old.name), folder.join(&name)) {
                Ok(()) => {
                    sync_folder(&folder).map_err(|error| {
                        Error::new(ErrorKind::Unknown, &key, format!("sync after swapping the register: {error}"))
                    })?;
                    for unneeded in old_bodies.iter().filter(|body| **body != mine) {
                        let _ = fs::remove_file(unneeded); // garbage at worst
                    }
                    Ok(SwapOutcome::Swapped(Version(name)))
                }
                Err(error) => {
                    if body.is_some() {
                        let _ = fs::remove_file(&mine); // garbage at worst
                    }
                    if error.kind() == io::ErrorKind::NotFound {
                        return superseded();
                    }
                    Err(Error::io(&key, "swap the register", error))
                }
            }
        })
        .await
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        let target = self.at(path)?;
        let root = self.root.clone();
        let made = blocking(move || {
            let folder = target.parent().expect("a key has a folder");
            make_folder(&root, folder)?;
            let file = OpenOptions::new().append(true).create_new(true).open(&target)?;
            sync_folder(folder)?;
            Ok(file)
        })
        .await;
        match made {
            Ok(file) => Ok(LogOutcome::Created(Box::new(LocalLogWriter {
                root: self.root.clone(),
                file: Arc::new(file),
                path: path.to_owned(),
                len: 0,
                most: 0,
            }))),
            Err(error) if io::Error::kind(&error) == io::ErrorKind::AlreadyExists => Ok(LogOutcome::Exists),
            Err(error) => Err(Error::io(path, "create the log", error)),
        }
    }

    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        let path = self.root.join("ferrobase.lock");
        let holder = holder.to_owned();
        blocking(move || {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            // SAFETY: flock on a descriptor that `file` keeps open.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                let mut text = String::new();
                file.take(4096).read_to_string(&mut text)?;
                return Ok(LockOutcome::Held(text.trim().to_owned()));
            }
            file.set_len(0)?;
            file.write_all(holder.as_bytes())?;
            file.sync_all()?;
            Ok(LockOutcome::Locked(RootLock { _guard: Box::new(file) }))
        })
        .await
        .map_err(|error| Error::io("ferrobase.lock", "lock the root", error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;

    /// By folder, whatever its name: the names in it when it was last synced.
    static SYNCED: std::sync::Mutex<Option<HashMap<u64, BTreeSet<String>>>> = std::sync::Mutex::new(None);

    fn inode(folder: &Path) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(folder).expect("a folder"))
    }

    fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    pub(super) fn note_sync(folder: &Path) {
        if let Ok(names) = names(folder) {
            SYNCED.lock().expect("no panic").get_or_insert_default().insert(inode(folder), names);
        }
    }

    /// By file: its length when it was last synced.
    static SYNCED_BYTES: std::sync::Mutex<Option<HashMap<u64, u64>>> = std::sync::Mutex::new(None);

    pub(super) fn note_bytes(file: &File) {
        if let Ok(metadata) = file.metadata() {
            let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
            SYNCED_BYTES.lock().expect("no panic").get_or_insert_default().insert(inode, metadata.len());
        }
    }

    /// Every name below the folder was there when its folder was last synced, and every byte when its file was.
    fn assert_durable(folder: &Path) {
        for name in names(folder).expect("a folder") {
            let synced =
                SYNCED.lock().expect("no panic").as_ref().and_then(|synced| synced.get(&inode(folder)).cloned());
            assert!(
                synced.is_some_and(|synced| synced.contains(&name)),
                "{name} in {} is not durable",
                folder.display()
            );
            let path = folder.join(&name);
            if path.is_dir() {
                assert_durable(&path);
                continue;
            }
            let len = path.metadata().expect("a file").len();
            if len == 0 {
                continue; // a pointer: its name is the value
            }
            let synced =
                SYNCED_BYTES.lock().expect("no panic").as_ref().and_then(|synced| synced.get(&inode(&path)).copied());
            assert_eq!(synced, Some(len), "bytes of {} are not durable", path.display());
        }
    }

    /// After a power loss a folder has the names it had at its last sync: whatever was answered is among them.
    #[tokio::test]
    async fn what_was_answered_for_is_durable() {
        let folder = tempfile::tempdir().expect("folder");
        let fs = LocalFilesystem::open(folder.path(), Arc::new(runtime::random::SystemRandom)).expect("root");
        let durable = || assert_durable(fs.root());
        assert_eq!(fs.put_if_absent("a/b/blob", "x".into()).await.expect("put"), PutOutcome::Created);
        durable();
        let mut writer = fs.create_blob("a/c/other").await.expect("create");
        writer.write("y".into()).await.expect("write");
        writer.finish().await.expect("finish");
        durable();
        assert_eq!(fs.rename("a/c/other", "a/d/e/moved").await.expect("rename"), PutOutcome::Created);
        durable();
        let LogOutcome::Created(mut log) = fs.log_create("l/1").await.expect("log") else { panic!("it is new") };
        durable();
        log.append("z".into()).await.expect("append");
        log.sync().await.expect("sync");
        durable();
        assert!(!log.commit("yy".into(), &fs, "l/2").await.expect("commit"));
        durable();
        let CreateOutcome::Created(version) = fs.register_create("r/x", "a", "1".into()).await.expect("create") else {
            panic!("it is new")
        };
        durable();
        let SwapOutcome::Swapped(version) = fs.register_swap("r/x", &version, "b", None).await.expect("swap") else {
            panic!("nobody else swaps")
        };
        durable();
        fs.register_swap("r/x", &version, "c", Some("2".into())).await.expect("swap");
        durable();
    }

    #[tokio::test]
    async fn a_damaged_body_is_named_and_never_read() {
        let folder = tempfile::tempdir().expect("folder");
        let fs = LocalFilesystem::open(folder.path(), Arc::new(runtime::random::SystemRandom)).expect("root");
        fs.register_create("t/r", "a", "the body".into()).await.expect("create");
        let names = names(&folder.path().join("t/r")).expect("a folder");
        let body = folder.path().join("t/r").join(names.iter().find(|name| name.starts_with("b.")).expect("a body"));
        for damaged in ["the bodz", "the bod", "the body ", ""] {
            std::fs::write(&body, damaged).expect("write");
            let error = fs.register_read("t/r").await.expect_err("damaged");
            assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("path=`t/r`"), "{error}");
        }
        std::fs::write(&body, "the body").expect("write");
        assert_eq!(fs.register_read("t/r").await.expect("read").expect("stands").body, "the body");
    }

    #[tokio::test]
    async fn what_a_killed_process_left_beside_its_objects_is_found_and_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let fs = LocalFilesystem::open(folder.path(), Arc::new(runtime::random::SystemRandom)).expect("root");
        let CreateOutcome::Created(version) = fs.register_create("t/r", "a", "old".into()).await.expect("create")
        else {
            panic!("it is new");
        };
        // Killed before the rename of a swap, of a register's creation and of a blob's end.
        std::fs::write(folder.path().join("t/r/b.00"), "left").expect("write");
        std::fs::create_dir(folder.path().join(format!("t/tmp.{:032x}.other", 1))).expect("folder");
        std::fs::write(folder.path().join(format!("t/tmp.{:032x}.other/b.1", 1)), "left").expect("write");
        std::fs::write(folder.path().join(format!("t/tmp.{:032x}.blob", 2)), "left").expect("write");
        assert!(matches!(fs.register_swap("t/r", &version, "b", None).await.expect("swap"), SwapOutcome::Swapped(_)));
        let version = fs.register_read_settled("t/r").await.expect("read").expect("stands").version;
        fs.register_swap("t/r", &version, "c", Some("new".into())).await.expect("swap");
        assert_eq!(std::fs::read_dir(folder.path().join("t/r")).expect("list").count(), 2, "one pointer, one body");
        let mut left = fs.unfinished("t").await.expect("list");
        left.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(left.iter().map(|left| left.path.as_str()).collect::<Vec<_>>(), ["t/blob", "t/other"]);
        for left in left {
            fs.abandon(&left).await.expect("abandon");
        }
        assert_eq!(std::fs::read_dir(folder.path().join("t")).expect("list").count(), 1, "only the register");
    }
}
