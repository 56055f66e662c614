//! Ending the log before the end of its files.

use std::io;
use std::path::{Path, PathBuf};

use super::CutTail;
use super::error::{Loss, OpenError, io_at};
use super::replay::Opened;
use crate::Lsn;
use crate::disk::{Disk, replace_file};
use crate::log::frame;
use crate::log::manifest::Manifest;
use crate::log::segment::Names;

/// Where the log is to end, when that is before the end of its files.
pub(in crate::log) struct Cut {
    /// Index of the segment among the increments.
    pub index: usize,
    pub position: usize,
    pub lsn: Lsn,
    /// The row of the table of cases.
    pub case: &'static str,
    pub expected: String,
    pub found: String,
    /// What is lost of data that was safe once, if somebody has accepted that.
    pub accepted: Option<Loss>,
}

impl Cut {
    /// What is wrong there.
    pub(in crate::log) fn reason(&self) -> String {
        let Cut {
            case,
            expected,
            found,
            ..
        } = self;
        format!("{case}: expected {expected}, found {found}")
    }

    /// Ends the log here. The order makes it repeatable: what is cut is kept aside first, then the manifest
    /// forgets later segments, then the file is cut, then later segments are set aside.
    pub(in crate::log) fn make(
        self,
        disk: &dyn Disk,
        names: &Names,
        manifest: &mut Manifest,
        opened: &[Opened],
    ) -> Result<CutTail, OpenError> {
        let segment = &opened[self.index];
        let tail = &segment.view[self.position..];
        let tail = &tail[..tail.len() - trailing_filler(tail)];
        let kept_as = free_name(disk, names.torn(&segment.entry.name, self.lsn), Some(tail))?;
        replace_file(disk, &kept_as, tail).map_err(io_at(&kept_as))?;
        let later = manifest.increments.split_off(self.index + 1);
        if !later.is_empty() {
            let path = names.manifest();
            replace_file(disk, &path, &manifest.encode()).map_err(io_at(&path))?;
        }
        let file = disk
            .open_write(&segment.path)
            .map_err(io_at(&segment.path))?;
        file.set_len(self.position as u64)
            .and_then(|()| file.sync_all())
            .map_err(io_at(&segment.path))?;
        set_aside(disk, names, later.iter().map(|entry| &entry.name), self.lsn)?;
        let bytes = tail.len() as u64;
        let reason = self.reason();
        tracing::warn!(
            "log: {} cut at byte {} (LSN {}), {bytes} bytes kept in {}: {}",
            segment.path.display(),
            self.position,
            self.lsn,
            kept_as.display(),
            reason
        );
        Ok(CutTail {
            segment: segment.path.clone(),
            position: self.position as u64,
            lsn: self.lsn,
            bytes,
            kept_as,
            reason,
            accepted: self.accepted,
        })
    }
}

/// Gives files other names, durably: the log ends at `lsn`, before what they hold, and the next segment may get the name
/// of one of them. Returns their new names.
pub(in crate::log) fn set_aside<'n>(
    disk: &dyn Disk,
    names: &Names,
    files: impl Iterator<Item = &'n String>,
    lsn: Lsn,
) -> Result<Vec<PathBuf>, OpenError> {
    let mut kept = Vec::new();
    for name in files {
        let path = names.dir.join(name);
        let aside = free_name(disk, names.torn(name, lsn), None)?;
        disk.rename(&path, &aside).map_err(io_at(&path))?;
        tracing::warn!(
            "log: {} is set aside as {}",
            path.display(),
            aside.display()
        );
        kept.push(aside);
    }
    if !kept.is_empty() {
        disk.sync_dir(&names.dir).map_err(io_at(&names.dir))?;
    }
    Ok(kept)
}

/// `path`, or with a number at its end if something else has that name: what was kept once is not written over. A file
/// that holds `contents` is what an earlier attempt at the same left.
fn free_name(
    disk: &dyn Disk,
    path: PathBuf,
    contents: Option<&[u8]>,
) -> Result<PathBuf, OpenError> {
    let is_free = |path: &Path| -> io::Result<bool> {
        let Some(found) = disk.metadata(path)? else {
            return Ok(true);
        };
        match contents {
            Some(contents) if found.bytes == contents.len() as u64 => {
                Ok(*disk.open(path)?.view(found.bytes)? == *contents)
            }
            _ => Ok(false),
        }
    };
    let mut candidate = path.clone();
    for number in 2u64.. {
        if is_free(&candidate).map_err(io_at(&candidate))? {
            break;
        }
        candidate = path.clone();
        candidate.as_mut_os_string().push(format!(".{number}"));
    }
    Ok(candidate)
}

/// How many bytes of filler `bytes` ends in.
pub(in crate::log) fn trailing_filler(bytes: &[u8]) -> usize {
    let mut line = [0; frame::FILLER_BYTES];
    frame::fill(&mut line);
    let lines = bytes
        .rchunks_exact(line.len())
        .take_while(|chunk| **chunk == line)
        .count();
    lines * line.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn what_was_kept_once_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment.torn-1");
        let name = |contents: Option<&[u8]>| free_name(&RealDisk, path.clone(), contents).unwrap();
        assert_eq!(name(None), path);
        std::fs::write(&path, b"kept").unwrap();
        assert_eq!(name(Some(b"kept")), path, "the same attempt again");
        let second = dir.path().join("segment.torn-1.2");
        assert_eq!(name(Some(b"KEPT")), second);
        assert_eq!(name(None), second);
        std::fs::write(&second, b"kept too").unwrap();
        assert_eq!(name(Some(b"kept")), path);
        assert_eq!(name(None), dir.path().join("segment.torn-1.3"));
    }

    #[test]
    fn only_full_filler_lines_at_the_end_are_counted() {
        let mut bytes = b"torn".to_vec();
        bytes.extend([0; 128]);
        frame::fill(&mut bytes[4..]);
        assert_eq!(trailing_filler(&bytes), 128);
        assert_eq!(trailing_filler(&bytes[..131]), 0);
        assert_eq!(trailing_filler(b""), 0);
    }
}
