//! A disk that is only looked at.
//!
//! For whoever reads a directory that belongs to somebody else, perhaps to a process that writes it at this moment:
//! every call that would change something is refused, and files that may change or shrink while they are read are copied
//! instead of mapped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Block, Disk, DiskFile, DiskLock, FileInfo, FileView};

/// See the module header.
pub(crate) struct ReadOnlyDisk {
    inner: Arc<dyn Disk>,
    /// Files that may change.
    growing: Mutex<Vec<PathBuf>>,
}

impl ReadOnlyDisk {
    pub(crate) fn new(inner: Arc<dyn Disk>) -> ReadOnlyDisk {
        ReadOnlyDisk {
            inner,
            growing: Mutex::default(),
        }
    }

    /// From now on this file is copied when it is looked at as memory.
    pub(crate) fn is_growing(&self, path: PathBuf) {
        self.growing.lock().push(path);
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.inner.open(path)?;
        let copied = self.growing.lock().iter().any(|growing| growing == path);
        Ok(Box::new(ReadOnlyFile { file, copied }))
    }

    fn open_write(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<FileInfo>> {
        self.inner.metadata(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        refused()
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_locked(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.inner.free_bytes(dir)
    }
}

struct ReadOnlyFile {
    file: Box<dyn DiskFile>,
    copied: bool,
}

impl DiskFile for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn write_blocks(&self, _: &[Block], _: u64) -> io::Result<()> {
        refused()
    }

    fn sync_all(&self) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn view(&self, bytes: u64) -> io::Result<FileView> {
        if !self.copied {
            return self.file.view(bytes);
        }
        // It may have been cut since its length was asked for.
        let bytes = bytes.min(self.file.len()?);
        let mut contents = vec![0; bytes as usize];
        let mut read = 0;
        while read < contents.len() {
            match self.file.read_at(&mut contents[read..], read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        contents.truncate(read);
        Ok(FileView::Owned(contents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn reads_pass_and_changes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"contents").unwrap();
        let disk = ReadOnlyDisk::new(Arc::new(RealDisk));
        assert_eq!(&*disk.open(&path).unwrap().view(8).unwrap(), b"contents");
        assert!(disk.create(&path).is_err() && disk.open_write(&path).is_err());
        assert!(disk.remove(&path).is_err() && disk.rename(&path, &path).is_err());
        assert!(disk.lock(&dir.path().join("lock")).is_err());
        assert_eq!(disk.list(dir.path()).unwrap(), ["file"]);
    }

    #[test]
    fn a_growing_file_may_shrink_while_it_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"contents").unwrap();
        let disk = ReadOnlyDisk::new(Arc::new(RealDisk));
        disk.is_growing(path.clone());
        let file = disk.open(&path).unwrap();
        std::fs::write(&path, b"con").unwrap();
        assert_eq!(&*file.view(8).unwrap(), b"con");
    }

    #[test]
    fn whether_a_lock_is_held_is_seen_without_making_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let disk = ReadOnlyDisk::new(Arc::new(RealDisk));
        assert!(!disk.is_locked(&path).unwrap() && !path.exists());
        let held = RealDisk.lock(&path).unwrap();
        assert!(disk.is_locked(&path).unwrap());
        drop(held);
        assert!(!disk.is_locked(&path).unwrap());
    }
}
