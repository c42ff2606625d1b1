//! The part of the cache that lies on disk: what is here, how much of it, and what goes when there is no room.
//!
//! Always true
//! - Space is taken in the count before it is on the disk, and leaves the count after it has left the disk: what lies here never takes more
//!   than the capacity.
//! - Nobody waits for anything but this machine's disk; every call but [`Disk::find`] belongs on a thread made for blocking.
//! - A disk that fails is given up (or, when it is full, not written to) for a while, told once, and tried again.
//!
//! What is not used goes first: parts of 1 MiB stand in a queue, and one that was read since it came to the front goes back to its end
//! once. Reads of a scan do not count as use.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use runtime::Runtime;

use super::Counters;
use super::cells::{self, CELL, DATA, HEADER, Head, Read, Seed};

/// Cells that leave together.
const PART: u64 = 64;
/// Of what is here so much goes when the disk is full: others want to write too.
const GIVEN_BACK: u64 = 16;

/// 64 cells.
#[derive(Debug, Default)]
struct Part {
    present: AtomicU64,
    used: AtomicBool,
    queued: AtomicBool,
}

/// Cells of one store file.
#[derive(Debug)]
pub(super) struct Entry {
    path: String,
    pub(super) len: u64,
    seed: Seed,
    name: PathBuf,
    parts: Box<[Part]>,
    /// The time that its space is counted in.
    generation: u64,
    file: Mutex<Weak<File>>,
    gone: AtomicBool,
}

fn mask(cell: u64) -> u64 {
    1 << (cell % PART)
}

impl Entry {
    fn new(path: &str, len: u64, seed: Seed, name: PathBuf, generation: u64) -> Entry {
        let parts = (0..cells::cells_of(len).div_ceil(PART)).map(|_| Part::default()).collect();
        let (file, gone) = (Mutex::default(), AtomicBool::new(false));
        Entry { path: path.to_owned(), len, seed, name, parts, generation, file, gone }
    }

    fn part(&self, cell: u64) -> &Part {
        &self.parts[(cell / PART) as usize]
    }

    pub(super) fn has(&self, cell: u64) -> bool {
        self.part(cell).present.load(Ordering::Acquire) & mask(cell) != 0
    }

    pub(super) fn has_all(&self, mut cells: Range<u64>) -> bool {
        !self.is_gone() && cells.all(|cell| self.has(cell))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Open while somebody holds it.
    fn open(&self) -> io::Result<Arc<File>> {
        let mut kept = self.file.lock();
        if let Some(file) = kept.upgrade() {
            return Ok(file);
        }
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(&self.name)?);
        *kept = Arc::downgrade(&file);
        Ok(file)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Held while the folder is used. `None`: it cannot be used now.
    lock: Option<File>,
    /// How often the folder was given up: counts of earlier times no longer matter.
    generation: u64,
    entries: HashMap<String, Arc<Entry>>,
    queue: VecDeque<(Arc<Entry>, u64)>,
    /// Parts in the queue whose entry has gone.
    stale: usize,
    used: u64,
    /// When a disk that failed may be tried again.
    again_at: Duration,
    /// Whether trouble was told that is not over.
    told: bool,
    looked_at: Duration,
}

impl State {
    /// Takes an entry out; its cells stay counted.
    fn take(&mut self, entry: &Arc<Entry>) -> u64 {
        if entry.gone.swap(true, Ordering::AcqRel) {
            return 0;
        }
        if self.entries.get(&entry.path).is_some_and(|known| Arc::ptr_eq(known, entry)) {
            self.entries.remove(&entry.path);
        }
        let cells: u64 =
            entry.parts.iter().map(|part| u64::from(part.present.swap(0, Ordering::AcqRel).count_ones())).sum();
        self.stale += entry.parts.iter().filter(|part| part.queued.load(Ordering::Acquire)).count();
        if self.stale > 1000 && self.stale * 2 > self.queue.len() {
            self.queue.retain(|(entry, _)| !entry.is_gone());
            self.stale = 0;
        }
        cells * CELL + HEADER
    }

    /// Marks cells as here; how many were before.
    fn put(&mut self, entry: &Arc<Entry>, cells: Range<u64>) -> u64 {
        let mut before = 0;
        for cell in cells {
            let part = entry.part(cell);
            before += u64::from(part.present.fetch_or(mask(cell), Ordering::AcqRel) & mask(cell) != 0);
            if !part.queued.swap(true, Ordering::AcqRel) {
                self.queue.push_back((entry.clone(), cell / PART));
            }
        }
        before
    }

    /// The part that goes next.
    fn next(&mut self) -> Option<(Arc<Entry>, u64)> {
        loop {
            let (entry, number) = self.queue.pop_front()?;
            let part = &entry.parts[number as usize];
            if entry.is_gone() {
                self.stale = self.stale.saturating_sub(1);
            } else if part.used.swap(false, Ordering::AcqRel) {
                self.queue.push_back((entry, number));
            } else {
                part.queued.store(false, Ordering::Release);
                return Some((entry, number));
            }
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    root: String,
    capacity: u64,
    /// How long a disk that failed is left alone; a sixth of it: how often it is looked whether the folder is still the one that is locked.
    pause: Duration,
    runtime: Runtime,
    pub(super) counters: Arc<Counters>,
    state: Mutex<State>,
    /// Held while something is thrown out, or the folder is taken into use.
    turn: Mutex<()>,
    removals: Mutex<Removals>,
}

/// Store files that were deleted, the newest last: what was read before is not kept after.
#[derive(Debug, Default)]
struct Removals {
    count: u64,
    last: VecDeque<String>,
}

/// So many deleted files are remembered by name; a reader that is older than that keeps nothing more.
pub(super) const REMOVALS_KNOWN: usize = 4096;

/// Whether a name is of a file of ours; others in the folder are left alone.
fn is_ours(name: &str) -> bool {
    name.strip_suffix(".cells").is_some_and(|seed| seed.len() == 32 && seed.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A file in the folder.
struct Found {
    head: Head,
    name: PathBuf,
    written: Option<std::time::SystemTime>,
    occupied: Vec<Range<u64>>,
}

impl Disk {
    /// Takes a folder into use. One that another process holds, or that is full, is tried again later; one that can be of no use is an error.
    pub(super) fn new(
        folder: &Path,
        root: &str,
        capacity: u64,
        pause: Duration,
        runtime: Runtime,
        counters: Arc<Counters>,
    ) -> io::Result<Disk> {
        counters.limit_bytes.store(capacity, Ordering::Relaxed);
        let disk = Disk {
            folder: folder.to_owned(),
            root: root.to_owned(),
            capacity,
            pause,
            runtime,
            counters,
            state: Mutex::default(),
            removals: Mutex::default(),
            turn: Mutex::default(),
        };
        match disk.start() {
            Err(error) if !is_passing(&error) => return Err(error),
            Err(error) => disk.give_up("open", &error),
            Ok(()) => {}
        }
        Ok(disk)
    }

    fn scan(&self) -> io::Result<(File, Vec<Found>)> {
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join("lock");
        let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process uses the folder: each server needs one of its own",
            ),
            TryLockError::Error(error) => error,
        })?;
        let mut files = Vec::new();
        for item in fs::read_dir(&self.folder)? {
            let item = item?;
            let Some(name) = item.file_name().to_str().filter(|name| is_ours(name)).map(str::to_owned) else {
                continue;
            };
            // Whatever is wrong with one file costs that file.
            match self.look_into(&item.path(), &name) {
                Ok(Some(found)) => files.push(found),
                Ok(None) | Err(_) => fs::remove_file(item.path())?,
            }
        }
        files.sort_by_key(|found| found.written);
        Ok((lock, files))
    }

    fn look_into(&self, path: &Path, name: &str) -> io::Result<Option<Found>> {
        let file = File::open(path)?;
        let Some(head) = cells::read_head(&file)? else { return Ok(None) };
        if head.root != self.root || !name.starts_with(&hex::encode(head.seed)) {
            return Ok(None);
        }
        let cells = cells::cells_of(head.len);
        let metadata = file.metadata()?;
        if metadata.len() > HEADER + cells * CELL {
            return Ok(None);
        }
        let occupied = cells::occupied(&file, cells)?;
        Ok(Some(Found { head, name: path.to_owned(), written: metadata.modified().ok(), occupied }))
    }

    /// Takes the folder into use with what it holds.
    fn start(&self) -> io::Result<()> {
        let turn = self.turn.lock();
        if self.state.lock().lock.is_some() {
            return Ok(());
        }
        let (lock, files) = self.scan()?;
        let mut unneeded = Vec::new();
        {
            let mut state = self.state.lock();
            for Found { head, name, occupied, .. } in files {
                let entry = Arc::new(Entry::new(&head.path, head.len, head.seed, name, state.generation));
                // Of one store file one is enough.
                unneeded.extend(state.entries.insert(entry.path.clone(), entry.clone()));
                state.used += HEADER;
                for cells in occupied {
                    state.used += (cells.end - cells.start) * CELL;
                    state.put(&entry, cells);
                }
            }
            state.lock = Some(lock);
            state.looked_at = self.runtime.clock.monotonic();
            self.tell_used(&state);
            if std::mem::take(&mut state.told) {
                tracing::info!(folder = %self.folder.display(), "the read cache is used again");
            }
        }
        drop(turn);
        unneeded.iter().for_each(|entry| self.remove_entry(entry));
        self.shrink_to(self.capacity);
        Ok(())
    }

    fn tell_used(&self, state: &State) {
        self.counters.bytes.store(state.used, Ordering::Relaxed);
    }

    /// Stops using the folder until later.
    fn give_up(&self, what: &str, why: &io::Error) {
        let mut state = self.state.lock();
        let entries: Vec<_> = state.entries.drain().map(|(_, entry)| entry).collect();
        let deleted = !self.folder.exists();
        for entry in entries {
            entry.gone.store(true, Ordering::Release);
            let held = entry.file.lock().upgrade().filter(|_| deleted);
            // Its name is gone and a reader holds it: space that nobody sees is given back.
            let _ = held.map(|file| file.set_len(0));
        }
        let told = state.told;
        let again_at = self.runtime.clock.monotonic() + self.pause;
        *state = State { generation: state.generation + 1, told: true, again_at, ..State::default() };
        self.tell_used(&state);
        drop(state);
        if !told {
            let folder = self.folder.display();
            tracing::warn!(%folder, error = %why, "the read cache (--cache-dir) is not used for now: cannot {what}; reads go to the store");
        }
    }

    /// An error of the disk: of one that is full nothing is lost but what would have been written.
    fn failed(&self, what: &str, error: &io::Error) {
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        if !is_passing(error) {
            return self.give_up(what, error);
        }
        let (told, keep) = {
            let mut state = self.state.lock();
            state.again_at = self.runtime.clock.monotonic() + self.pause;
            (std::mem::replace(&mut state.told, true), state.used - state.used / GIVEN_BACK)
        };
        if !told {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the read cache (--cache-dir) is not filled for now: cannot {what}; free space there, or give a smaller --cache-size");
        }
        self.shrink_to(keep);
    }

    /// Whether something can be written now. Tries a folder again that was given up, and notices one that was taken away.
    fn is_ready(&self) -> bool {
        let now = self.runtime.clock.monotonic();
        let (is_up, look) = {
            let mut state = self.state.lock();
            if now < state.again_at {
                return false;
            }
            let look = state.lock.is_some() && now.saturating_sub(state.looked_at) > self.pause / 6;
            if look || state.lock.is_none() {
                // Others do not try at the same time.
                state.looked_at = now;
                state.again_at = if state.lock.is_none() { now + self.pause } else { state.again_at };
            }
            (state.lock.is_some(), look)
        };
        if !is_up {
            return match self.start() {
                Ok(()) => {
                    self.state.lock().again_at = Duration::ZERO;
                    true
                }
                Err(error) => {
                    self.give_up("open", &error);
                    false
                }
            };
        }
        if look { self.look() } else { true }
    }

    /// Whether the folder is still there.
    fn look(&self) -> bool {
        let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let there = fs::metadata(self.folder.join("lock")).map(id);
        let ours = self.state.lock().lock.as_ref().map(File::metadata);
        let Some(ours) = ours else { return false };
        match (there, ours.map(id)) {
            (Ok(there), Ok(ours)) if there == ours => true,
            (Err(error), _) | (_, Err(error)) => {
                self.give_up("find the folder", &error);
                false
            }
            _ => {
                self.give_up("find the folder", &io::Error::other("another folder has its name"));
                false
            }
        }
    }

    /// What is here of a store file of this length.
    pub(super) fn find(&self, path: &str, len: Option<u64>) -> Option<Arc<Entry>> {
        let entry = self.state.lock().entries.get(path).cloned()?;
        len.is_none_or(|len| len == entry.len).then_some(entry)
    }

    /// Takes space; answers the generation that it is counted in.
    fn take_room(&self, bytes: u64) -> Option<u64> {
        let _turn = self.turn.lock();
        loop {
            {
                let mut state = self.state.lock();
                state.lock.as_ref()?;
                if state.used + bytes <= self.capacity {
                    state.used += bytes;
                    self.tell_used(&state);
                    return Some(state.generation);
                }
            }
            if !self.throw_one_out() {
                return None;
            }
        }
    }

    fn give_back(&self, generation: u64, bytes: u64) {
        let mut state = self.state.lock();
        if state.generation == generation {
            state.used -= bytes;
            self.tell_used(&state);
        }
    }

    fn shrink_to(&self, bytes: u64) {
        let _turn = self.turn.lock();
        while self.state.lock().used > bytes && self.throw_one_out() {}
    }

    /// Takes the part away that was not used for longest.
    fn throw_one_out(&self) -> bool {
        let Some((entry, number)) = self.state.lock().next() else { return false };
        let part = &entry.parts[number as usize];
        let cells = u64::from(part.present.swap(0, Ordering::AcqRel).count_ones());
        let freed = entry.open().and_then(|file| cells::punch(&file, number * PART, PART));
        self.counters.evicted_bytes.fetch_add(cells * CELL, Ordering::Relaxed);
        match freed {
            Ok(true) => self.give_back(entry.generation, cells * CELL),
            // Without holes a file goes whole.
            Ok(false) | Err(_) => {
                self.remove_entry(&entry);
                self.give_back(entry.generation, cells * CELL);
                return true;
            }
        }
        if entry.parts.iter().all(|part| part.present.load(Ordering::Acquire) == 0) {
            self.remove_entry(&entry);
        }
        true
    }

    /// Removes an entry's file.
    fn remove_entry(&self, entry: &Arc<Entry>) {
        let bytes = self.state.lock().take(entry);
        if bytes == 0 {
            return;
        }
        if let Some(file) = entry.file.lock().upgrade() {
            // A reader that holds it gets nothing from it any more.
            let _ = file.set_len(0);
        }
        match fs::remove_file(&entry.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // Nobody knows what it takes now: counted again at the next start.
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                self.give_up("remove a file", &error);
            }
            _ => self.give_back(entry.generation, bytes),
        }
    }

    /// Takes a store file out that is deleted.
    pub(super) fn remove(&self, path: &str) {
        {
            // Under the lock of what is known: nothing older comes in after.
            let _state = self.state.lock();
            let mut removals = self.removals.lock();
            removals.count += 1;
            removals.last.push_back(path.to_owned());
            if removals.last.len() > REMOVALS_KNOWN {
                removals.last.pop_front();
            }
        }
        if let Some(entry) = self.find(path, None) {
            self.remove_entry(&entry);
        }
    }

    /// How many store files were removed so far.
    pub(super) fn removals(&self) -> u64 {
        self.removals.lock().count
    }

    /// Whether the file was removed after so many others, or may have been.
    fn was_removed_since(&self, path: &str, since: u64) -> bool {
        let removals = self.removals.lock();
        let newer = usize::try_from(removals.count - since).unwrap_or(usize::MAX);
        newer > removals.last.len() || removals.last.iter().rev().take(newer).any(|removed| removed == path)
    }

    /// Takes cells out that are not what they should be.
    pub(super) fn forget(&self, entry: &Arc<Entry>, cells: Range<u64>) {
        let mut freed = 0;
        for cell in cells.clone() {
            let before = entry.part(cell).present.fetch_and(!mask(cell), Ordering::AcqRel);
            freed += u64::from(before & mask(cell) != 0);
        }
        if freed == 0 {
            return;
        }
        let punched = entry.open().and_then(|file| cells::punch(&file, cells.start, cells.end - cells.start));
        if !matches!(punched, Ok(true)) {
            self.remove_entry(entry);
        }
        self.give_back(entry.generation, freed * CELL);
    }

    /// Bytes of a store file, all of which are here; and the file, to be kept open. `None`: they cannot be had.
    pub(super) fn read(
        &self,
        entry: &Arc<Entry>,
        offset: u64,
        len: usize,
        is_use: bool,
    ) -> Option<(Vec<u8>, Arc<File>)> {
        self.is_ready();
        if entry.is_gone() {
            return None;
        }
        let mut data = vec![0; len];
        let done = entry.open().and_then(|file| Ok((cells::read(&file, &entry.seed, offset, &mut data)?, file)));
        match done {
            Ok((Read::Good, file)) => {
                let (first, last) = (offset / DATA as u64, (offset + len.max(1) as u64 - 1) / DATA as u64);
                if is_use {
                    let parts = &entry.parts[(first / PART) as usize..=(last / PART) as usize];
                    parts.iter().for_each(|part| part.used.store(true, Ordering::Release));
                }
                Some((data, file))
            }
            Ok((Read::Bad { cell, absent }, _)) => {
                // One that was thrown out meanwhile is absent.
                if !absent && !entry.is_gone() && entry.has(cell) {
                    self.counters.damaged.fetch_add(1, Ordering::Relaxed);
                }
                self.forget(entry, cell..cell + 1);
                None
            }
            Err(_) if entry.is_gone() => None,
            Err(error) => {
                self.remove_entry(entry);
                self.failed("read", &error);
                None
            }
        }
    }

    fn entry_for(&self, path: &str, len: u64, since: u64) -> io::Result<Option<Arc<Entry>>> {
        let known = self.find(path, None);
        match known {
            Some(entry) if entry.len == len => return Ok(Some(entry)),
            Some(entry) => self.remove_entry(&entry),
            None => {}
        }
        let Some((seed, name, head)) = self.new_head(path, len) else { return Ok(None) };
        let Some(generation) = self.take_room(HEADER) else { return Ok(None) };
        let written = OpenOptions::new().read(true).write(true).create_new(true).open(&name).and_then(|file| {
            std::os::unix::fs::FileExt::write_all_at(&file, &head, 0)?;
            Ok(Arc::new(file))
        });
        if let Err(error) = written {
            let _ = fs::remove_file(&name); // not ours any more, or never made
            self.give_back(generation, HEADER);
            return Err(error);
        }
        let entry = Arc::new(Entry::new(path, len, seed, name, generation));
        self.enter(&entry, 0..0, HEADER, Some(since));
        Ok(self.find(path, Some(len)))
    }

    /// Makes an entry known whose space is counted, unless its file was removed since so many others; an older one of the same path
    /// goes.
    fn enter(&self, entry: &Arc<Entry>, cells: Range<u64>, bytes: u64, since: Option<u64>) {
        let older = {
            let mut state = self.state.lock();
            if state.generation != entry.generation {
                drop(state);
                let _ = fs::remove_file(&entry.name); // the folder was given up meanwhile
                return;
            }
            if since.is_some_and(|since| self.was_removed_since(&entry.path, since)) {
                drop(state);
                // What cannot be removed is found at the next start.
                if fs::remove_file(&entry.name).is_ok() {
                    self.give_back(entry.generation, bytes);
                }
                return;
            }
            let older = state.entries.insert(entry.path.clone(), entry.clone());
            state.put(entry, cells);
            older
        };
        self.counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(older) = older {
            self.remove_entry(&older);
        }
    }

    fn new_head(&self, path: &str, len: u64) -> Option<(Seed, PathBuf, Vec<u8>)> {
        let seed = self.runtime.random.next_u128().to_le_bytes();
        let head = Head { root: self.root.clone(), path: path.to_owned(), len, seed }.encode()?;
        Some((seed, self.folder.join(format!("{}.cells", hex::encode(seed))), head))
    }

    /// Keeps whole cells of a store file from `first` on, or its end, unless it was removed since so many others had been. Whether
    /// all of them are here now.
    pub(super) fn fill(
        &self,
        (path, len): (&str, u64),
        first: u64,
        data: &[u8],
        since: u64,
        is_trusted: &dyn Fn() -> bool,
    ) -> bool {
        if !self.is_ready() || !is_trusted() || self.was_removed_since(path, since) {
            return false;
        }
        let filled = self.try_fill(path, len, first, data, since);
        if !is_trusted()
            && let Some(entry) = self.find(path, Some(len))
        {
            self.forget(&entry, first..first + cells::cells_of(data.len() as u64));
        }
        if let Err(error) = &filled {
            self.failed("write", error);
        }
        filled.unwrap_or(false)
    }

    fn try_fill(&self, path: &str, len: u64, first: u64, data: &[u8], since: u64) -> io::Result<bool> {
        let Some(entry) = self.entry_for(path, len, since)? else { return Ok(false) };
        let file = match entry.open() {
            // It was thrown out meanwhile.
            Err(_) if entry.is_gone() => return Ok(false),
            opened => opened?,
        };
        let (end, mut at) = (first + cells::cells_of(data.len() as u64), first);
        while at < end {
            if entry.has(at) {
                at += 1;
                continue;
            }
            let run = at..(at..end).find(|cell| entry.has(*cell)).unwrap_or(end);
            at = run.end;
            let bytes = (run.end - run.start) * CELL;
            let Some(generation) = self.take_room(bytes) else { return Ok(false) };
            let from = (run.start - first) as usize * DATA;
            let to = data.len().min((run.end - first) as usize * DATA);
            if let Err(error) = cells::write(&file, &entry.seed, run.start, &data[from..to]) {
                let _ = cells::punch(&file, run.start, run.end - run.start);
                self.give_back(generation, bytes);
                return Err(error);
            }
            let mut state = self.state.lock();
            if entry.is_gone() {
                drop(state);
                let _ = file.set_len(0);
                self.give_back(generation, bytes);
                return Ok(false);
            }
            let before = state.put(&entry, run);
            if state.generation == generation {
                state.used -= before * CELL;
            }
            self.told_over(&mut state);
            drop(state);
            self.counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(true)
    }

    fn told_over(&self, state: &mut State) {
        self.tell_used(state);
        if std::mem::take(&mut state.told) {
            tracing::info!(folder = %self.folder.display(), "the read cache is filled again");
        }
    }
}

/// Whether the disk works and only this cannot be done now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ResourceBusy)
        || matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// A copy of a store file that is being uploaded. It counts when it is finished, and is gone when it is dropped before.
#[derive(Debug)]
pub(super) struct Copy {
    disk: Arc<Disk>,
    path: String,
    made: Option<Made>,
    /// What does not fill a cell yet.
    rest: Vec<u8>,
    len: u64,
    /// Nothing more is kept: there is no room, or the disk failed.
    ended: bool,
}

#[derive(Debug)]
struct Made {
    file: Arc<File>,
    name: PathBuf,
    seed: Seed,
    cells: u64,
    generation: u64,
}

impl Copy {
    pub(super) fn new(disk: Arc<Disk>, path: &str) -> Copy {
        Copy { disk, path: path.to_owned(), made: None, rest: Vec::new(), len: 0, ended: false }
    }

    /// Keeps the next bytes, as far as there is room.
    pub(super) fn write(&mut self, data: &[u8]) {
        self.len += data.len() as u64;
        if self.ended {
            return;
        }
        let mut data = data;
        if !self.rest.is_empty() {
            let (more, behind) = data.split_at(data.len().min(DATA - self.rest.len()));
            self.rest.extend_from_slice(more);
            data = behind;
            if self.rest.len() == DATA {
                let rest = std::mem::take(&mut self.rest);
                self.push(&rest);
            }
        }
        let (whole, rest) = data.split_at(data.len() / DATA * DATA);
        self.push(whole);
        self.rest.extend_from_slice(rest);
    }

    fn push(&mut self, data: &[u8]) {
        if self.ended || data.is_empty() {
            return;
        }
        match self.try_push(data) {
            Ok(true) => {}
            Ok(false) => self.ended = true,
            Err(error) => {
                self.discard();
                self.disk.failed("write", &error);
            }
        }
    }

    fn try_push(&mut self, data: &[u8]) -> io::Result<bool> {
        let disk = self.disk.clone();
        if self.made.is_none() {
            if !disk.is_ready() {
                return Ok(false);
            }
            // The header comes last, and so does the length.
            let Some((seed, name, _)) = disk.new_head(&self.path, 0) else { return Ok(false) };
            let Some(generation) = disk.take_room(HEADER) else { return Ok(false) };
            let file = OpenOptions::new().read(true).write(true).create_new(true).open(&name);
            let file = file.inspect_err(|_| disk.give_back(generation, HEADER))?;
            self.made = Some(Made { file: Arc::new(file), name, seed, cells: 0, generation });
        }
        let made = self.made.as_mut().expect("just made");
        let cells = cells::cells_of(data.len() as u64);
        let fits = (made.cells + cells) * CELL <= disk.capacity / 2;
        let generation = if fits { disk.take_room(cells * CELL) } else { None };
        if generation != Some(made.generation) {
            if let Some(generation) = generation {
                disk.give_back(generation, cells * CELL);
            }
            return Ok(false);
        }
        let first = made.cells;
        made.cells += cells;
        cells::write(&made.file, &made.seed, first, data).map(|()| true)
    }

    /// The store file stands and has this length.
    pub(super) fn finish(mut self, len: u64) {
        let rest = std::mem::take(&mut self.rest);
        self.push(&rest);
        let Some(made) = self.made.as_ref().filter(|_| len == self.len) else { return };
        let head = Head { root: self.disk.root.clone(), path: self.path.clone(), len, seed: made.seed };
        let Some(head) = head.encode() else { return };
        match std::os::unix::fs::FileExt::write_all_at(&*made.file, &head, 0) {
            Ok(()) => {
                let made = self.made.take().expect("just looked");
                let entry = Arc::new(Entry::new(&self.path, len, made.seed, made.name, made.generation));
                *entry.file.lock() = Arc::downgrade(&made.file);
                let bytes = HEADER + made.cells * CELL;
                self.disk.enter(&entry, 0..made.cells, bytes, None);
            }
            Err(error) => self.disk.clone().failed("write", &error),
        }
    }

    fn discard(&mut self) {
        self.ended = true;
        self.rest = Vec::new();
        if let Some(made) = self.made.take() {
            // What cannot be removed is found at the next start.
            let removed = made.file.set_len(0).and_then(|()| fs::remove_file(&made.name));
            if removed.is_ok() {
                self.disk.give_back(made.generation, HEADER + made.cells * CELL);
            }
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.discard();
    }
}
