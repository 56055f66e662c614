//! Files as memory, for reading.
//!
//! A mapped file must not change or shrink while it is mapped: a shorter file means SIGBUS for whoever reads on. So
//! only files that nobody writes any more are mapped, the data directory is locked against other processes first, a torn
//! tail is cut when its file has been read to the end, and old files are unlinked, never truncated.
#![allow(unsafe_code)] // memmap2's constructor: it cannot know that nobody changes the file, we promise it here.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};

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
        let _ = map.advise(memmap2::Advice::Sequential);
        Ok(FileView::Mapped(map))
    }
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
