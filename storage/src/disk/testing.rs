//! A real disk whose n-th write or sync fails, for tests.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::{Disk, DiskFile, DiskLock, FileInfo, FileView, RealDisk};

/// Which calls [`FailingDisk`] counts and fails.
#[derive(Default)]
struct Plan {
    /// Changing calls of any kind left before all of them fail; negative: never.
    any: AtomicI64,
    /// Every write from now on fails with this errno; 0: none.
    write_errno: AtomicI64,
    /// Every sync of a file from now on fails.
    sync_fails: AtomicBool,
    /// Writes take only this many bytes at a time; 0: no limit.
    short_bytes: AtomicI64,
    /// Syncs of files wait while this is set.
    sync_blocked: AtomicBool,
}

/// A [`RealDisk`] that fails when told to.
#[derive(Clone)]
pub(crate) struct FailingDisk(Arc<Plan>);

impl FailingDisk {
    pub(crate) fn new() -> FailingDisk {
        let plan = Plan::default();
        plan.any.store(-1, Ordering::SeqCst);
        FailingDisk(Arc::new(plan))
    }

    /// After `calls` more changing calls everything fails.
    pub(crate) fn fail_after(&self, calls: i64) {
        self.0.any.store(calls, Ordering::SeqCst);
    }

    pub(crate) fn fail_writes(&self, errno: Option<i32>) {
        self.0
            .write_errno
            .store(errno.unwrap_or(0).into(), Ordering::SeqCst);
    }

    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.0.sync_fails.store(fail, Ordering::SeqCst);
    }

    pub(crate) fn short_writes(&self, bytes: i64) {
        self.0.short_bytes.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn block_syncs(&self, block: bool) {
        self.0.sync_blocked.store(block, Ordering::SeqCst);
    }

    fn count(&self) -> io::Result<()> {
        let left = self.0.any.load(Ordering::SeqCst);
        if left == 0 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if left > 0 {
            self.0.any.store(left - 1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn file(&self, inner: io::Result<Box<dyn DiskFile>>) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FailingFile {
            disk: self.clone(),
            inner: inner?,
        }))
    }
}

impl Disk for FailingDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.file(RealDisk.open(path))
    }
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.file(RealDisk.open_write(path))
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.count()?;
        self.file(RealDisk.create(path))
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.create_dir(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>> {
        RealDisk.metadata(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }
}

struct FailingFile {
    disk: FailingDisk,
    inner: Box<dyn DiskFile>,
}

impl FailingFile {
    fn sync(&self) -> io::Result<()> {
        while self.disk.0.sync_blocked.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        self.disk.count()?;
        if self.disk.0.sync_fails.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }
}

impl DiskFile for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.count()?;
        let errno = self.disk.0.write_errno.load(Ordering::SeqCst);
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno as i32));
        }
        let short = self.disk.0.short_bytes.load(Ordering::SeqCst);
        let bytes = if short > 0 {
            &bytes[..bytes.len().min(short as usize)]
        } else {
            bytes
        };
        self.inner.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.sync()?;
        self.inner.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.sync()?;
        self.inner.sync_all()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.count()?;
        self.inner.set_len(bytes)
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }
    fn view(&self, bytes: u64) -> io::Result<FileView> {
        self.inner.view(bytes)
    }
}
