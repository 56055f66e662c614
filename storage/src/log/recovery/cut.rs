//! Ending the log before the end of its files.

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
        let kept_as = names.torn(&segment.entry.name, self.lsn);
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
/// of one of them.
pub(super) fn set_aside<'n>(
    disk: &dyn Disk,
    names: &Names,
    files: impl Iterator<Item = &'n String>,
    lsn: Lsn,
) -> Result<(), OpenError> {
    let mut any = false;
    for name in files {
        any = true;
        let (path, aside) = (names.dir.join(name), names.torn(name, lsn));
        disk.rename(&path, &aside).map_err(io_at(&path))?;
        tracing::warn!(
            "log: {} is set aside as {}",
            path.display(),
            aside.display()
        );
    }
    match any {
        true => disk.sync_dir(&names.dir).map_err(io_at(&names.dir)),
        false => Ok(()),
    }
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
