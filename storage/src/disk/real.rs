//! The operating system's disk.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;

use super::{BLOCK_BYTES, Block, Disk, DiskFile, DiskLock, FileInfo, FileView};

/// The operating system's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// Data files are for the server's user only.
const FILE_MODE: u32 = 0o600;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile::new(File::open(path)?)))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile::new(
            OpenOptions::new().read(true).write(true).open(path)?,
        )))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE);
        Ok(Box::new(RealFile::new(options.open(path)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(FileInfo {
                bytes: found.len(),
                is_dir: found.is_dir(),
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock {
            file,
            path: path.to_path_buf(),
        }))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        // Shared, and given up at once: whoever takes the lock at this instant tries again for half a second.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// `flock` lasts as long as the open file.
struct RealLock {
    file: File,
    path: PathBuf,
}

impl DiskLock for RealLock {
    fn is_in_place(&self) -> io::Result<bool> {
        let identity = |found: std::fs::Metadata| (found.dev(), found.ino());
        match std::fs::metadata(&self.path) {
            Ok(found) => Ok(identity(found) == identity(self.file.metadata()?)),
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

struct RealFile {
    file: File,
    /// The same file for [`DiskFile::write_blocks`], where the system has such a way.
    direct: OnceLock<Option<Direct>>,
}

/// Blocks that are given to the system at once; its limit is 1024.
const BLOCKS_AT_ONCE: usize = 1024;

/// A file that is written past the page cache, each write durable when it returns.
struct Direct {
    file: File,
    /// The file system refused such a write: the others go the usual way.
    refused: AtomicBool,
}

impl RealFile {
    fn new(file: File) -> RealFile {
        RealFile {
            file,
            direct: OnceLock::new(),
        }
    }

    /// Opens the file once more, whatever its name is now.
    fn direct(&self) -> Option<&Direct> {
        let direct = self.direct.get_or_init(|| {
            let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let file = OpenOptions::new()
                .write(true)
                .custom_flags(flags.cast_signed())
                .open(path)
                .ok()?;
            Some(Direct {
                file,
                refused: AtomicBool::new(false),
            })
        });
        direct
            .as_ref()
            .filter(|direct| !direct.refused.load(Ordering::Relaxed))
    }

    /// Writes blocks into the page cache and syncs.
    fn write_blocks_cached(&self, blocks: &[Block], mut offset: u64) -> io::Result<()> {
        for some in blocks.chunks(BLOCKS_AT_ONCE) {
            let end = offset + (some.len() * BLOCK_BYTES) as u64;
            offset += write_vectored(&self.file, some, offset)? as u64;
            self.finish_short_write(some, &mut offset, end)?;
        }
        self.file.sync_data()
    }

    /// Writes what a short write of `blocks`, which are to end at `end`, left over.
    fn finish_short_write(&self, blocks: &[Block], offset: &mut u64, end: u64) -> io::Result<()> {
        while *offset < end {
            let left = (end - *offset) as usize;
            let done = blocks.len() * BLOCK_BYTES - left;
            let rest = &blocks[done / BLOCK_BYTES].0[done % BLOCK_BYTES..];
            self.write_all_at(rest, *offset)?;
            *offset += rest.len() as u64;
        }
        Ok(())
    }
}

fn write_vectored(file: &File, blocks: &[Block], offset: u64) -> rustix::io::Result<usize> {
    let slices: smallvec::SmallVec<[IoSlice<'_>; 16]> =
        blocks.iter().map(|block| IoSlice::new(&block.0)).collect();
    rustix::io::retry_on_intr(|| rustix::io::pwritev(file, &slices, offset))
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write_blocks(&self, blocks: &[Block], mut offset: u64) -> io::Result<()> {
        for (number, some) in blocks.chunks(BLOCKS_AT_ONCE).enumerate() {
            let Some(direct) = self.direct() else {
                return self.write_blocks_cached(&blocks[number * BLOCKS_AT_ONCE..], offset);
            };
            let end = offset + (some.len() * BLOCK_BYTES) as u64;
            match write_vectored(&direct.file, some, offset) {
                Ok(written) => offset += written as u64,
                Err(Errno::INVAL) => direct.refused.store(true, Ordering::Relaxed),
                Err(e) => return Err(e.into()),
            }
            if offset < end {
                self.finish_short_write(some, &mut offset, end)?;
                self.file.sync_data()?;
            }
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn is_done_with(&self, offset: u64, bytes: u64) {
        // Linux begins to write such pages to the disk, and drops those that are there already.
        let _ = rustix::fs::fadvise(
            &self.file,
            offset,
            std::num::NonZeroU64::new(bytes),
            rustix::fs::Advice::DontNeed,
        );
    }

    fn view(&self, bytes: u64) -> io::Result<FileView> {
        if bytes > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes == 0 {
            // An empty mapping is an error to the system.
            return Ok(FileView::Owned(Vec::new()));
        }
        let bytes =
            usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        FileView::map(&self.file, bytes)
    }
}
