//! Files as memory, for reading.
//!
//! A mapped file must not change or shrink while it is mapped: a shorter file means SIGBUS for whoever reads on. So
//! only files that nobody writes any more are mapped, the data directory is locked against other processes first, a torn
//! tail is cut when its file has been read to the end, and old files are unlinked, never truncated.
//!
//! A disk that cannot read a page of a map is reported by SIGBUS, too. So all pages are read when the file is mapped, where
//! that is an error like any other. It costs nothing: files are read twice, for their checksums first.
#![allow(unsafe_code)] // memmap2's constructor: it cannot know that nobody changes the file, we promise it here.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Advice, Mmap, MmapOptions};

/// So that an error says about where it was.
const READ_AT_ONCE: usize = 1 << 20;

/// The contents of a file: mapped, or read into memory where the disk is not the operating system's.
pub enum FileView {
    /// Pages of the file itself.
    Mapped(Mmap),
    /// A copy.
    Owned(Vec<u8>),
}

impl FileView {
    /// Maps the first `bytes` of a file, which must be non-zero and not more than its length.
    pub(super) fn map(file: &File, bytes: usize) -> io::Result<FileView> {
        // SAFETY: the callers map only files that nobody writes or truncates any more (module header), and the data
        // directory's lock keeps other processes of ours out.
        let map = unsafe { MmapOptions::new().len(bytes).map(file) }?;
        // A hint only: reading works without it.
        let _ = map.advise(Advice::Sequential);
        read_all(&map)?;
        Ok(FileView::Mapped(map))
    }
}

/// Has the system read all of a map.
fn read_all(map: &Mmap) -> io::Result<()> {
    for from in (0..map.len()).step_by(READ_AT_ONCE) {
        let bytes = READ_AT_ONCE.min(map.len() - from);
        match map.advise_range(Advice::PopulateRead, from, bytes) {
            // Before Linux 5.14 there is no such advice.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                let reason = format!(
                    "the disk could not read the file between byte {from} and {}",
                    from + bytes
                );
                return Err(io::Error::other(reason));
            }
            outcome => outcome?,
        }
    }
    Ok(())
}

impl Deref for FileView {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileView::Mapped(map) => map,
            FileView::Owned(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_cannot_be_read_are_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 20).unwrap();
        assert!(FileView::map(&file, 3 << 20).is_ok());
        // What lies behind the end of a file is to a map as what the disk cannot read.
        file.set_len(1 << 20).unwrap();
        let error = FileView::map(&file, 3 << 20).err().expect("an error");
        let place = "between byte 1048576 and 2097152";
        assert!(error.to_string().contains(place), "{error}");
    }
}
