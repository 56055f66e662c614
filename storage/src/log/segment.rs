//! Segment files: their names, and how they are made ahead of need.
//!
//! A segment is created under a temporary name and synced. Under `always` it is written full of filler lines first, so
//! that later writes go to blocks that exist and a sync has no metadata to carry. With a sync a second that would cost
//! more than it saves (a quarter of the processor time of a stream of small writes was filling), so then the space is
//! only reserved and the file grows. It gets its header, birth frame and final name when the log
//! rolls to it, all durable before the manifest names it. A sealed segment ends right after its last frame.
//!
//! ```text
//! appendonly.aof.manifest        the manifest
//! appendonly.aof.sums            sizes and checksums of sealed files (private, may be deleted)
//! appendonly.aof.3.base.rdb      base number 3
//! appendonly.aof.7.incr.aof      segment number 7
//! appendonly.aof.7.incr.aof.idx  its index (private, may be deleted)
//! appendonly.aof.7.incr.aof.torn-<lsn>   what recovery cut off it; kept for the operator (a second time: `.2` at the end)
//! temp-*                         unfinished; removed at the next start
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame;
use super::manifest::FileKind;
use crate::disk::{BLOCK_BYTES, Block, Disk, DiskFile};
use crate::{Lsn, UnixMillis};

/// Names that are left over from something unfinished begin like this.
pub(super) const TEMP_PREFIX: &str = "temp-";

/// What the name of an index adds to that of its segment.
pub(super) const INDEX_SUFFIX: &str = ".idx";

/// Written and synced at a time while a segment is filled, so that other files' syncs do not wait for all of it.
const FILL_CHUNK_BYTES: usize = 1 << 20;

/// The files of one log.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The directory of the log's files.
    pub dir: PathBuf,
    /// What every name begins with: `appendonly.aof`.
    pub prefix: String,
}

impl Names {
    pub(super) fn manifest(&self) -> PathBuf {
        self.dir.join(format!("{}.manifest", self.prefix))
    }

    pub(super) fn base(&self, seq: u64) -> String {
        format!("{}.{seq}.base.rdb", self.prefix)
    }

    pub(super) fn increment(&self, seq: u64) -> String {
        format!("{}.{seq}.incr.aof", self.prefix)
    }

    pub(super) fn index(&self, segment: &str) -> PathBuf {
        self.dir.join(format!("{segment}{INDEX_SUFFIX}"))
    }

    pub(super) fn sums(&self) -> PathBuf {
        self.dir.join(format!("{}.sums", self.prefix))
    }

    pub(super) fn torn(&self, segment: &str, at: Lsn) -> PathBuf {
        self.dir.join(format!("{segment}.torn-{:016x}", at.0))
    }

    pub(super) fn temp_segment(&self, seq: u64) -> PathBuf {
        self.dir.join(format!("{TEMP_PREFIX}segment-{seq}.aof"))
    }

    pub(super) fn temp_base(&self, seq: u64) -> PathBuf {
        self.dir.join(format!("{TEMP_PREFIX}base-{seq}.rdb"))
    }

    /// Number and kind of a file that is named like one of the log's.
    pub(super) fn recognise(&self, name: &str) -> Option<(FileKind, u64)> {
        let rest = name.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        let (seq, suffix) = rest.split_once('.')?;
        let kind = match suffix {
            "base.rdb" | "base.aof" => FileKind::Base,
            "incr.aof" => FileKind::Increment,
            _ => return None,
        };
        Some((kind, seq.parse().ok()?))
    }
}

/// What is known of a segment that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// File name in the log's directory.
    pub name: String,
    /// Sequence number.
    pub seq: u64,
    /// Position of its first byte.
    pub start: Lsn,
    /// Position after its last byte; of the segment being written, `None`.
    pub end: Option<Lsn>,
    /// Length of the file up to the end of its last frame; of the segment being written, at the last roll.
    pub bytes: u64,
    /// From where on it has frames to its end. `None` if it ends in commands of another server.
    pub framed: Option<FramedFrom>,
    /// When it was begun, where that is known.
    pub since: Option<UnixMillis>,
}

/// Where frames begin in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramedFrom {
    /// Position in the stream.
    pub lsn: Lsn,
    /// File position of the header line: not 0 if another server began the file.
    pub position: u64,
}

impl SegmentInfo {
    /// True if every byte of the file is ours.
    pub(super) fn is_ours(&self) -> bool {
        self.framed.is_some_and(|framed| framed.position == 0)
    }
}

/// A segment that waits to be used.
pub(super) struct Prepared {
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    /// The size that it was prepared for.
    pub size_bytes: u64,
}

/// Creates a file at `path` with room for `bytes` (made up to whole blocks), which is written full of filler if `fill`.
/// Durable but for its name.
pub(super) fn prepare(
    disk: &dyn Disk,
    path: &Path,
    bytes: u64,
    fill: bool,
) -> io::Result<Prepared> {
    let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
    let filled = (|| {
        let file = disk.create(path)?;
        file.allocate(bytes)?;
        if fill {
            let mut block = Block([0; BLOCK_BYTES]);
            frame::fill(&mut block.0);
            let chunk = vec![block; FILL_CHUNK_BYTES / BLOCK_BYTES];
            let mut at = 0;
            while at < bytes {
                let count = chunk
                    .len()
                    .min(((bytes - at) / BLOCK_BYTES as u64) as usize);
                // Past the cache: what is overwritten there later would only have to be thrown out of it.
                file.write_blocks(&chunk[..count], at)?;
                at += (count * BLOCK_BYTES) as u64;
            }
        }
        file.sync_all()?;
        Ok(file)
    })();
    match filled {
        Ok(file) => Ok(Prepared {
            file: Arc::from(file),
            path: path.to_path_buf(),
            size_bytes: bytes,
        }),
        Err(e) => {
            // Give the space back; the first error is the one that matters.
            let _ = disk.remove(path);
            Err(e)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::disk::testing::FailingDisk;

    #[test]
    fn prepared_segment_is_filler_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("temp-segment-1.aof");
        let prepared = prepare(&RealDisk, &path, (2 << 20) + 1, true).unwrap();
        let found = std::fs::read(&path).unwrap();
        assert_eq!(found.len() as u64, prepared.size_bytes);
        assert!(frame::is_filler(&found));
    }

    #[test]
    fn failed_preparation_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("temp-segment-1.aof");
        let disk = FailingDisk::new();
        disk.fail_writes(Some(libc::ENOSPC));
        assert!(prepare(&disk, &path, 4096, true).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn names_are_recognised() {
        let names = Names {
            dir: PathBuf::new(),
            prefix: "appendonly.aof".into(),
        };
        assert_eq!(
            names.recognise(&names.increment(12)),
            Some((FileKind::Increment, 12))
        );
        assert_eq!(names.recognise(&names.base(3)), Some((FileKind::Base, 3)));
        assert_eq!(
            names.recognise("appendonly.aof.3.base.aof"),
            Some((FileKind::Base, 3))
        );
        for other in [
            "appendonly.aof.manifest",
            "appendonly.aof.1.incr.aof.idx",
            "dump.rdb",
            "appendonly.aof.x.incr.aof",
        ] {
            assert_eq!(names.recognise(other), None);
        }
    }
}
