//! The narrow door to the disk.
//!
//! Everything that is kept in files goes through [`Disk`], so that a test can put a disk that lies, tears and fails
//! underneath the very same code. [`RealDisk`] is the operating system's.
//!
//! Rules that the callers rely on:
//! * Bytes are safe only after [`DiskFile::sync_data`] (contents and length) returned success. After a failed sync
//!   nothing that was written since the last good one may be called safe, ever: a second sync that succeeds proves
//!   nothing, because the kernel may have dropped the pages.
//! * A new name, a rename and a removal are safe only after [`Disk::sync_dir`] on the directory.
//! * A file that others may read appears by [`replace_file`] or by the same steps: temporary name in the same
//!   directory, write, sync, rename, sync of the directory.

mod map;
mod read_only;
mod real;
mod reserve;
pub(crate) mod sim;
#[cfg(test)]
pub(crate) mod testing;

use std::io;
use std::path::{Path, PathBuf};

pub use map::FileView;
pub(crate) use read_only::ReadOnlyDisk;
pub use real::RealDisk;
pub(crate) use reserve::Reserve;

/// A file system, as far as persistence needs one.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates an empty file, readable and writable; an existing one of that name is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Creates a directory whose parent exists. An existing directory is not an error.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What is there under this name; `None` if nothing is.
    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>>;

    /// The names in a directory, sorted. Names that are not UTF-8 are left out: none of ours are.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, in one step, replacing what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes names created, renamed and removed in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes an exclusive lock on a file, which is created if need be, until the returned value is dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process (or another caller in this one) has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Whether somebody has the lock on this file, which is not created. False where the disk cannot tell.
    fn is_locked(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// Bytes that can still be written on the file system that holds `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// What [`Disk::metadata`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Length in bytes.
    pub bytes: u64,
    /// A directory rather than a file.
    pub is_dir: bool,
}

/// The unit of [`DiskFile::write_blocks`], and its alignment: what disks write whole.
pub const BLOCK_BYTES: usize = 4096;

/// A block of a file, aligned so that a disk can take it from where it stands.
#[derive(Clone)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_BYTES]);

/// A lock that is held until this is dropped.
pub trait DiskLock: Send + Sync {
    /// Whether the file that is locked still has its name: false if it was removed, or its directory, or if another file
    /// system is in its place.
    fn is_in_place(&self) -> io::Result<bool>;
}

/// An open file. Positions are explicit, so one handle serves several threads.
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// True when the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at `offset`; returns how many bytes, 0 only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`; may write less than asked. Writing past the end makes the file longer.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes contents and length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Writes whole blocks at `offset`, which is a multiple of [`BLOCK_BYTES`], and makes contents and length durable:
    /// in one step, past the page cache, where the system can.
    ///
    /// An error leaves open what has arrived; what earlier writes left unsynced may still be so after a success.
    fn write_blocks(&self, blocks: &[Block], mut offset: u64) -> io::Result<()> {
        for block in blocks {
            self.write_all_at(&block.0, offset)?;
            offset += BLOCK_BYTES as u64;
        }
        self.sync_data()
    }

    /// Makes contents, length and all other metadata durable.
    fn sync_all(&self) -> io::Result<()>;

    /// Cuts the file to `bytes`, or makes it longer with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Reserves space for the first `bytes`, without changing what a reader sees. A hint: success where unsupported.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Says that so many bytes at `offset` are complete and will not be read soon: the system may begin to write them to
    /// the disk and need not keep them in memory. A hint, which may do nothing.
    fn is_done_with(&self, _offset: u64, _bytes: u64) {}

    /// The first `bytes` of the file as memory, for reading files that no longer change.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file is shorter.
    fn view(&self, bytes: u64) -> io::Result<FileView>;

    /// Writes all of `bytes` at `offset`, continuing after short writes.
    fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    bytes = &bytes[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the file ends first.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buffer = &mut buffer[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// The file whose lock makes a data directory one process's.
pub(crate) const LOCK_FILE: &str = "hardtack.lock";

/// Attempts to get a directory's lock, a millisecond apart.
const LOCK_TRIES: usize = 500;

/// Takes the lock of a data directory. The path is that of its file.
///
/// Whoever has just given it up may hold it for an instant more: in another thread, or in a child process that was forked
/// and has yet to become another program.
///
/// # Errors
/// As [`Disk::lock`].
pub(crate) fn lock_directory(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Box<dyn DiskLock>, (PathBuf, io::Error)> {
    let path = dir.join(LOCK_FILE);
    let mut tries = 1;
    loop {
        match disk.lock(&path) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < LOCK_TRIES => {
                std::thread::sleep(std::time::Duration::from_millis(1));
                tries += 1;
            }
            Err(error) => return Err((path, error)),
        }
    }
}

/// Reads a whole small file; refuses one longer than `bytes_max`.
pub fn read_small_file(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let bytes = file.len()?;
    if bytes > bytes_max {
        let text = format!(
            "{} is {bytes} bytes long, more than the {bytes_max} it may have",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let mut contents = vec![0; bytes as usize];
    file.read_exact_at(&mut contents, 0)?;
    Ok(contents)
}

/// Replaces a file by `bytes`, durably and in one step: after a crash the old contents are there or the new.
///
/// The temporary name is `temp-` and the file's own, in the same directory.
pub fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a file needs a directory and a name",
        ));
    };
    let mut temporary_name = std::ffi::OsString::from("temp-");
    temporary_name.push(name);
    let temporary = dir.join(temporary_name);
    let written = (|| {
        let file = disk.create(&temporary)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        disk.rename(&temporary, path)
    })();
    if let Err(e) = written {
        // The error that matters is the first one; a left-over temporary is removed at the next start.
        let _ = disk.remove(&temporary);
        return Err(e);
    }
    disk.sync_dir(dir)
}

/// A file as [`FileWriter::finish`] has made it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenFile {
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of its contents.
    pub crc32: u32,
}

/// A buffered, append-only stream into a file of a [`Disk`], for snapshots.
///
/// [`FileWriter::finish`] flushes and syncs; dropping it earlier leaves an unfinished file behind.
pub struct FileWriter {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    offset: u64,
    /// Over what is before.
    sum: crc32fast::Hasher,
    /// The system was told to write out what is before.
    handed_over: u64,
    reserve: Option<Reserve>,
}

impl FileWriter {
    const BUFFER_BYTES: usize = 256 << 10;

    /// The system is told to begin to write to the disk in steps of this, so that the sync at the end is short.
    const HAND_OVER_BYTES: u64 = 8 << 20;

    /// Starts a new file at `path`.
    pub fn create(disk: &dyn Disk, path: &Path) -> io::Result<FileWriter> {
        let file = disk.create(path)?;
        Ok(FileWriter {
            file,
            buffer: Vec::with_capacity(Self::BUFFER_BYTES),
            offset: 0,
            sum: crc32fast::Hasher::new(),
            handed_over: 0,
            reserve: None,
        })
    }

    /// The same, but the stream fails with [`io::ErrorKind::StorageFull`] before it takes of the reserve.
    pub(crate) fn leaving(mut self, reserve: Reserve) -> FileWriter {
        self.reserve = Some(reserve);
        self
    }

    /// Bytes put into the stream so far.
    pub fn bytes(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Flushes and makes the file's contents durable. The name still needs [`Disk::sync_dir`].
    pub fn finish(mut self) -> io::Result<WrittenFile> {
        self.drain()?;
        self.file.sync_all()?;
        Ok(WrittenFile {
            bytes: self.offset,
            crc32: self.sum.finalize(),
        })
    }

    fn leave_reserve(&self, more: usize) -> io::Result<()> {
        let reserve = self.reserve.as_ref();
        reserve.map_or(Ok(()), |reserve| reserve.check(more as u64))
    }

    fn drain(&mut self) -> io::Result<()> {
        self.leave_reserve(self.buffer.len())?;
        self.file.write_all_at(&self.buffer, self.offset)?;
        self.sum.update(&self.buffer);
        self.advance(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        self.offset += bytes as u64;
        let ahead = self.offset - self.handed_over;
        if ahead >= Self::HAND_OVER_BYTES {
            self.file.is_done_with(self.handed_over, ahead);
            self.handed_over = self.offset;
        }
    }
}

impl io::Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > Self::BUFFER_BYTES {
            self.drain()?;
        }
        if bytes.len() >= Self::BUFFER_BYTES {
            self.leave_reserve(bytes.len())?;
            self.file.write_all_at(bytes, self.offset)?;
            self.sum.update(bytes);
            self.advance(bytes.len());
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::FailingDisk;
    use super::*;
    use std::io::Write;

    #[test]
    fn replace_file_leaves_old_or_new_at_every_failing_step() {
        for step in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("state");
            std::fs::write(&path, b"old").unwrap();
            let disk = FailingDisk::new();
            disk.fail_after(step);
            let outcome = replace_file(&disk, &path, b"new contents");
            let found = std::fs::read(&path).unwrap();
            match outcome {
                Ok(()) => assert_eq!(found, b"new contents", "step {step}"),
                Err(_) => assert!(found == b"old" || found == b"new contents", "step {step}"),
            }
        }
    }

    #[test]
    fn file_writer_keeps_order_of_small_and_large_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream");
        let mut writer = FileWriter::create(&RealDisk, &path).unwrap();
        let large = vec![7u8; FileWriter::BUFFER_BYTES * 2 + 3];
        writer.write_all(b"head").unwrap();
        writer.write_all(&large).unwrap();
        writer.write_all(b"tail").unwrap();
        let written = writer.finish().unwrap();
        let found = std::fs::read(&path).unwrap();
        assert_eq!(written.bytes, large.len() as u64 + 8);
        assert_eq!(written.crc32, crc32fast::hash(&found));
        assert!(found.starts_with(b"head\x07") && found.ends_with(b"\x07tail"));
        assert_eq!(found.len(), large.len() + 8);
    }

    #[test]
    fn blocks_arrive_whole_in_any_number() {
        let dir = tempfile::tempdir().unwrap();
        let block = |i: usize| Block([i as u8; BLOCK_BYTES]);
        let disks: [&dyn Disk; 2] = [&RealDisk, &FailingDisk::new()];
        for (number, disk) in disks.into_iter().enumerate() {
            let path = dir.path().join(number.to_string());
            let file = disk.create(&path).unwrap();
            file.write_all_at(b"before", 0).unwrap();
            let blocks: Vec<Block> = (0..2500).map(block).collect();
            file.write_blocks(&blocks, BLOCK_BYTES as u64).unwrap();
            file.write_all_at(b"cached", 2 * BLOCK_BYTES as u64)
                .unwrap();
            file.write_blocks(&[block(77)], 3 * BLOCK_BYTES as u64)
                .unwrap();
            let found = std::fs::read(&path).unwrap();
            assert_eq!(found.len(), 2501 * BLOCK_BYTES);
            assert_eq!(&found[..8], b"before\0\0");
            assert_eq!(&found[2 * BLOCK_BYTES..][..8], b"cached\x01\x01");
            assert!(found[3 * BLOCK_BYTES..][..BLOCK_BYTES] == [77; BLOCK_BYTES]);
            let rest = found[4 * BLOCK_BYTES..].chunks(BLOCK_BYTES);
            assert!(rest.zip(3..).all(|(found, i)| found == block(i).0));
        }
    }

    #[test]
    fn second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = RealDisk.lock(&path).unwrap();
        let refused = RealDisk.lock(&path).err().map(|e| e.kind());
        assert_eq!(refused, Some(io::ErrorKind::WouldBlock));
        drop(held);
        assert!(RealDisk.lock(&path).is_ok());
    }

    #[test]
    fn view_longer_than_the_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("short");
        std::fs::write(&path, b"abc").unwrap();
        let file = RealDisk.open(&path).unwrap();
        assert_eq!(&*file.view(3).unwrap(), b"abc");
        assert_eq!(file.view(0).unwrap().len(), 0);
        assert!(file.view(4).is_err());
    }
}
