//! A simulated disk: in memory, with the faults of real ones, and with a power switch. `crate::testing` is its manual.
//!
//! `model` has what is kept and what a power cut leaves of it, `fault` which calls fail; this module puts both behind
//! [`Disk`]. All calls are serialised by one lock, so a disk has one history of steps, whatever threads use it.

mod fault;
mod model;
mod tape;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Block, Disk, DiskFile, DiskLock, FileInfo, FileView};
use fault::{Faults, Unheard};
use model::{NodeId, ROOT, State, Step};

pub use fault::{Call, CallKind, Fault};
pub use tape::Tape;

/// Errors that disks give, by their numbers.
pub use libc::{EDQUOT, EIO, EMFILE, ENOMEM, ENOSPC, EROFS};

/// Longer files are refused, as on a file system with such a limit.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Called before every call to the disk, outside its lock.
pub type Hook = Arc<dyn Fn(&Call<'_>) + Send + Sync>;

/// A disk in memory that can fail, and lose power. Clones are the same disk.
///
/// See [the module](crate::testing) for what it simulates and how to write a test with it.
#[derive(Clone)]
pub struct SimDisk {
    inner: Arc<Inner>,
}

struct Inner {
    body: Mutex<Body>,
    hook: Mutex<Option<Hook>>,
}

struct Body {
    state: State,
    rng: StdRng,
    faults: Faults,
    power: Power,
    capacity: Option<u64>,
    open: BTreeMap<NodeId, u32>,
    locked: BTreeSet<NodeId>,
    /// Steps taken.
    steps: u64,
    tape: Option<Tape>,
}

/// Whether the disk has power.
enum Power {
    On,
    /// It goes inside the step after so many more.
    OffAfter(u64),
    Off,
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new(0)
    }
}

impl SimDisk {
    /// An empty disk: only the root directory is there. The seed decides what failing syncs leave, and where a power
    /// cut tears a write.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::of(State::new(), seed)
    }

    fn of(state: State, seed: u64) -> SimDisk {
        let body = Body {
            state,
            rng: StdRng::seed_from_u64(seed),
            faults: Faults::default(),
            power: Power::On,
            capacity: None,
            open: BTreeMap::new(),
            locked: BTreeSet::new(),
            steps: 0,
            tape: None,
        };
        SimDisk {
            inner: Arc::new(Inner {
                body: Mutex::new(body),
                hook: Mutex::default(),
            }),
        }
    }

    /// The disk with a directory more, and those above it; they are durable.
    ///
    /// # Panics
    /// If something is in the way, or the disk has failed.
    #[must_use]
    pub fn with_dir(self, path: impl AsRef<Path>) -> SimDisk {
        let mut made = PathBuf::from("/");
        for part in names_of(path.as_ref()).expect("a path below the root") {
            let above = made.clone();
            made.push(part);
            self.create_dir(&made)
                .and_then(|()| self.sync_dir(&above))
                .expect("a new directory");
        }
        self
    }

    /// The disk with room for so many bytes; a file counts with its length, or what is allocated for it.
    #[must_use]
    pub fn with_capacity(self, bytes: u64) -> SimDisk {
        self.set_capacity(Some(bytes));
        self
    }

    /// Gives the disk another size, or none.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.inner.body.lock().capacity = bytes;
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.inner.body.lock().used()
    }

    /// Has a fault befall calls to come.
    pub fn inject(&self, fault: Fault) {
        self.inner.body.lock().faults.add(fault);
    }

    /// The disk works again.
    pub fn clear_faults(&self) {
        self.inner.body.lock().faults.clear();
    }

    /// Calls that a fault has befallen so far.
    pub fn faulted(&self) -> u64 {
        self.inner.body.lock().faults.befallen()
    }

    /// Has `hook` called before each call, in the calling thread and outside the disk's lock: to count, to make a call
    /// wait (a slow disk, without a clock), or to let a simulated clock run.
    pub fn set_hook(&self, hook: Option<Hook>) {
        *self.inner.hook.lock() = hook;
    }

    /// Steps taken so far: calls that succeeded (or were syncs) and changed the disk or what is durable of it.
    pub fn steps(&self) -> u64 {
        self.inner.body.lock().steps
    }

    /// Lets so many more steps pass and cuts the power inside the next: of a write, a part may be there.
    pub fn cut_power_after(&self, steps: u64) {
        self.inner.body.lock().power = Power::OffAfter(steps);
    }

    /// Whether the power is off. Every call fails then, and changes nothing.
    pub fn is_off(&self) -> bool {
        matches!(self.inner.body.lock().power, Power::Off)
    }

    /// Cuts the power, unless it is off already, and returns the disk as it is found afterwards. This one stays off:
    /// open files and clones of it are of no more use.
    ///
    /// Which unsynced changes are found, and in what state, is decided by `seed`.
    pub fn crash(&self, seed: u64) -> SimDisk {
        SimDisk::of(self.turn_off().crash(seed), seed)
    }

    /// Like [`SimDisk::crash`], at its worst: what was not synced is gone.
    pub fn crash_keeping_synced(&self) -> SimDisk {
        SimDisk::of(self.turn_off().crash_keeping_synced(), 0)
    }

    /// The process dies, not the machine: the disk as another process finds it. This one is off.
    pub fn kill(&self) -> SimDisk {
        SimDisk::of(self.turn_off().settled(), 0)
    }

    /// Begins to keep every step, for [`SimDisk::tape`].
    pub fn record(&self) {
        let mut body = self.inner.body.lock();
        body.tape = Some(Tape::new(body.state.clone()));
    }

    /// Steps on the tape so far.
    pub fn recorded(&self) -> usize {
        self.inner.body.lock().tape.as_ref().map_or(0, Tape::len)
    }

    /// What was recorded, rewound; `None` if nothing was.
    pub fn tape(&self) -> Option<Tape> {
        self.inner.body.lock().tape.clone()
    }

    /// Copies what is in a directory, and below it, to another disk; the directory there is created. For a look at what
    /// a test has left, or to begin with a real directory.
    pub fn copy_dir(from: &dyn Disk, dir: &Path, to: &dyn Disk, copy: &Path) -> io::Result<()> {
        to.create_dir(copy)?;
        for name in from.list(dir)? {
            let (source, target) = (dir.join(&name), copy.join(&name));
            if from.metadata(&source)?.is_some_and(|found| found.is_dir) {
                SimDisk::copy_dir(from, &source, to, &target)?;
                continue;
            }
            let source = from.open(&source)?;
            let bytes = source.len()?;
            let file = to.create(&target)?;
            file.write_all_at(&source.view(bytes)?, 0)?;
            file.sync_all()?;
        }
        to.sync_dir(copy)
    }

    fn turn_off(&self) -> State {
        let mut body = self.inner.body.lock();
        body.power = Power::Off;
        body.state.clone()
    }

    /// Begins a call: the hook, then power and faults.
    fn begin(&self, call: Call<'_>) -> io::Result<(parking_lot::MutexGuard<'_, Body>, Unheard)> {
        let hook = self.inner.hook.lock().clone();
        if let Some(hook) = hook {
            hook(&call);
        }
        let mut body = self.inner.body.lock();
        if matches!(body.power, Power::Off) {
            return Err(power_is_off());
        }
        let unheard = body.faults.befall(&call)?;
        Ok((body, unheard))
    }

    fn call(&self, kind: CallKind, path: &Path) -> io::Result<parking_lot::MutexGuard<'_, Body>> {
        let call = Call {
            kind,
            path,
            bytes: 0,
        };
        Ok(self.begin(call)?.0)
    }

    fn file(&self, body: &mut Body, node: NodeId, path: &Path, writable: bool) -> Box<SimFile> {
        *body.open.entry(node).or_insert(0) += 1;
        Box::new(SimFile {
            disk: self.clone(),
            node,
            path: path.to_path_buf(),
            writable,
        })
    }

    fn open_file(&self, path: &Path, writable: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut body = self.call(CallKind::Open, path)?;
        let node = body.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        if body.state.file(node).is_none() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(self.file(&mut body, node, path, writable))
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated disk has no power")
}

/// The names that a path consists of, from the root.
fn names_of(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidFilename)?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidFilename.into());
            }
        }
    }
    Ok(names)
}

impl Body {
    fn used(&self) -> u64 {
        self.state.used_bytes(|node| self.open.contains_key(&node))
    }

    fn free(&self) -> u64 {
        self.capacity
            .map_or(u64::MAX, |bytes| bytes.saturating_sub(self.used()))
    }

    /// Takes a step, unless the power goes inside it.
    fn step(&mut self, step: Step) -> io::Result<()> {
        match &mut self.power {
            Power::On => {}
            Power::OffAfter(0) => {
                // A part of a write may have been done; anything else has or has not, which the crash decides.
                let begun = step.in_part(&mut self.rng).unwrap_or(step);
                if begun.is_change() {
                    self.state.apply(&begun);
                }
                self.power = Power::Off;
                return Err(power_is_off());
            }
            Power::OffAfter(steps) => *steps -= 1,
            Power::Off => return Err(power_is_off()),
        }
        self.state.apply(&step);
        self.steps += 1;
        if let Some(tape) = &mut self.tape {
            tape.push(step);
        }
        Ok(())
    }

    /// What has a name; `None` if nothing has.
    fn find(&self, path: &Path) -> io::Result<Option<NodeId>> {
        let mut node = ROOT;
        for name in names_of(path)? {
            let Some(dir) = self.state.dir(node) else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            match dir.get(name) {
                Some(found) => node = *found,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The directory that a name is or would be in, and the name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let names = names_of(path)?;
        let name = names.last().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let dir = self.find(parent)?.ok_or(io::ErrorKind::NotFound)?;
        if self.state.dir(dir).is_none() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok((dir, (*name).to_owned()))
    }

    /// Like `place`, of something that is there.
    fn present(&self, path: &Path) -> io::Result<(NodeId, (NodeId, String))> {
        let node = self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        Ok((node, self.place(path)?))
    }

    /// The file that is there, or a new one.
    fn find_or_create(&mut self, path: &Path) -> io::Result<(NodeId, bool)> {
        match self.find(path)? {
            Some(node) if self.state.file(node).is_none() => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            Some(node) => Ok((node, false)),
            None => {
                let (dir, name) = self.place(path)?;
                let node = self.state.next_id();
                self.step(Step::CreateFile { dir, name })?;
                Ok((node, true))
            }
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, false)
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.open_file(path, true)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut body = self.call(CallKind::Create, path)?;
        let (node, new) = body.find_or_create(path)?;
        if !new {
            body.step(Step::SetLen {
                file: node,
                bytes: 0,
            })?;
        }
        Ok(self.file(&mut body, node, path, true))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut body = self.call(CallKind::CreateDir, path)?;
        match body.find(path)? {
            Some(node) if body.state.dir(node).is_some() => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                let (dir, name) = body.place(path)?;
                body.step(Step::CreateDir { dir, name })
            }
        }
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>> {
        let body = self.call(CallKind::Metadata, path)?;
        Ok(body.find(path)?.map(|node| match body.state.file(node) {
            Some(file) => FileInfo {
                bytes: file.contents().len() as u64,
                is_dir: false,
            },
            None => FileInfo {
                bytes: 0,
                is_dir: true,
            },
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let body = self.call(CallKind::List, dir)?;
        let node = body.find(dir)?.ok_or(io::ErrorKind::NotFound)?;
        let names = body.state.dir(node).ok_or(io::ErrorKind::NotADirectory)?;
        Ok(names.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut body = self.call(CallKind::Rename, from)?;
        let (moved, from) = body.present(from)?;
        let target = body.find(to)?;
        let to = body.place(to)?;
        let is_dir = body.state.dir(moved).is_some();
        if let Some(target) = target.filter(|target| *target != moved) {
            match body.state.dir(target) {
                Some(_) if !is_dir => return Err(io::ErrorKind::IsADirectory.into()),
                Some(entries) if !entries.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                None if is_dir => return Err(io::ErrorKind::NotADirectory.into()),
                _ => {}
            }
        }
        body.step(Step::Rename { from, to })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut body = self.call(CallKind::Remove, path)?;
        let (node, (dir, name)) = body.present(path)?;
        if body.state.dir(node).is_some() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        body.step(Step::Remove { dir, name })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let call = Call {
            kind: CallKind::SyncDir,
            path: dir,
            bytes: 0,
        };
        let (mut body, unheard) = self.begin(call)?;
        if unheard.is_lost {
            return Ok(());
        }
        let node = body.find(dir)?.ok_or(io::ErrorKind::NotFound)?;
        if body.state.dir(node).is_none() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        body.step(Step::SyncDir { dir: node })?;
        let Body { state, open, .. } = &mut *body;
        state.collect(|node| open.contains_key(&node));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut body = self.call(CallKind::Lock, path)?;
        let (node, _) = body.find_or_create(path)?;
        if !body.locked.insert(node) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            node,
            path: path.to_path_buf(),
        }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let body = self.call(CallKind::FreeBytes, dir)?;
        Ok(body.free())
    }
}

struct SimLock {
    disk: SimDisk,
    node: NodeId,
    path: PathBuf,
}

impl DiskLock for SimLock {
    fn is_in_place(&self) -> io::Result<bool> {
        let body = self.disk.call(CallKind::Metadata, &self.path)?;
        Ok(body.find(&self.path)? == Some(self.node))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.inner.body.lock().locked.remove(&self.node);
    }
}

struct SimFile {
    disk: SimDisk,
    node: NodeId,
    path: PathBuf,
    writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut body = self.disk.inner.body.lock();
        if let Some(count) = body.open.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                body.open.remove(&self.node);
            }
        }
    }
}

impl SimFile {
    fn begin(
        &self,
        kind: CallKind,
        bytes: u64,
    ) -> io::Result<(parking_lot::MutexGuard<'_, Body>, Unheard)> {
        if kind.changes() && kind != CallKind::Sync && !self.writable {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.disk.begin(Call {
            kind,
            path: &self.path,
            bytes,
        })
    }

    fn contents(&self, kind: CallKind, bytes: u64) -> io::Result<Arc<Vec<u8>>> {
        let (body, _) = self.begin(kind, bytes)?;
        Ok(body
            .state
            .file(self.node)
            .map(|file| Arc::clone(file.contents()))
            .unwrap_or_default())
    }

    /// How many of `bytes` there is room for at `offset`.
    fn room(&self, body: &Body, offset: u64, bytes: u64) -> io::Result<usize> {
        let end = offset.saturating_add(bytes);
        if end > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let growth = body.state.growth(self.node, end);
        let missing = growth.saturating_sub(body.free());
        match bytes.saturating_sub(missing) as usize {
            0 => Err(io::Error::from_raw_os_error(ENOSPC)),
            room => Ok(room),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let failed = match self.begin(CallKind::Sync, 0) {
            Ok((_, unheard)) if unheard.is_lost => return Ok(()),
            Ok((mut body, _)) => return body.step(Step::SyncFile { file: self.node }),
            Err(error) => error,
        };
        let mut body = self.disk.inner.body.lock();
        if !matches!(body.power, Power::Off) {
            let seed = body.rng.random();
            body.step(Step::FailSync {
                file: self.node,
                seed,
            })?;
        }
        Err(failed)
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents(CallKind::Len, 0)?.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let contents = self.contents(CallKind::Read, buffer.len() as u64)?;
        let Some(rest) = usize::try_from(offset)
            .ok()
            .and_then(|offset| contents.get(offset..))
        else {
            return Ok(0);
        };
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (mut body, unheard) = self.begin(CallKind::Write, bytes.len() as u64)?;
        let count = self.room(&body, offset, bytes.len() as u64)?;
        let count = count.min(unheard.bytes_max);
        if count > 0 {
            body.step(Step::Write {
                file: self.node,
                at: offset,
                bytes: bytes[..count].into(),
            })?;
        }
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    /// Faults of writes befall it, and of syncs.
    fn write_blocks(&self, blocks: &[Block], offset: u64) -> io::Result<()> {
        let bytes: Arc<[u8]> = blocks.iter().flat_map(|block| block.0).collect();
        if bytes.is_empty() {
            return Ok(());
        }
        let (mut body, unheard) = self.begin(CallKind::Write, bytes.len() as u64)?;
        let room = self.room(&body, offset, bytes.len() as u64)?;
        let count = room.min(unheard.bytes_max);
        let write = |count: usize| Step::Write {
            file: self.node,
            at: offset,
            bytes: bytes[..count].into(),
        };
        if count < bytes.len() {
            body.step(write(count))?;
            drop(body);
            self.write_all_at(&bytes[count..], offset + count as u64)?;
            return self.sync();
        }
        let sync = Call {
            kind: CallKind::Sync,
            path: &self.path,
            bytes: 0,
        };
        match body.faults.befall(&sync) {
            Ok(unheard) if unheard.is_lost => body.step(write(count)),
            Ok(_) => body.step(Step::WriteThrough {
                file: self.node,
                at: offset,
                bytes,
            }),
            Err(error) => {
                body.step(write(count))?;
                let seed = body.rng.random();
                body.step(Step::FailSync {
                    file: self.node,
                    seed,
                })?;
                Err(error)
            }
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let (mut body, _) = self.begin(CallKind::SetLen, bytes)?;
        if bytes > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if body.state.growth(self.node, bytes) > body.free() {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        body.step(Step::SetLen {
            file: self.node,
            bytes,
        })
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let (mut body, _) = self.begin(CallKind::Allocate, bytes)?;
        if body.state.growth(self.node, bytes) > body.free() {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        body.step(Step::Allocate {
            file: self.node,
            bytes,
        })
    }

    fn view(&self, bytes: u64) -> io::Result<FileView> {
        let contents = self.contents(CallKind::View, bytes)?;
        let part = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| contents.get(..bytes))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(FileView::Owned(part.to_vec()))
    }
}
