//! Following a log that another process writes: new frames as they come, across rotations and compactions.
//!
//! Nothing is locked and nothing is changed; the last segment is looked at again and again. A frame counts when it is
//! whole and its checksum right, and until then as one that is being written. When the manifest names a later segment, the
//! present one is complete: what is not whole in it then is damage.
//!
//! Segments go when history is let go, and a log that was healed goes on in a segment that does not join the one before.
//! Whoever is overtaken by that hears of the gap, and goes on behind it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogFiles;
use super::files::SegmentStart;
use super::foreign::{self, ForeignStop};
use super::frame::{HEADER_BYTES, SegmentHeader};
use super::recovery::{OpenError, ReplayError, ReplayTarget, io_at};
use super::scan::{FrameScan, Stop};
use crate::Lsn;
use crate::disk::{Disk, DiskFile};

/// Read at a time, unless one frame is longer.
const CHUNK_BYTES: usize = 1 << 20;

/// What came of looking for something new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Something was read: there may be more at once.
    More,
    /// There is nothing new.
    Nothing,
    /// The stream between these positions is not in the files any more, or never was.
    Gap {
        /// Where the last thing read ends.
        from: Lsn,
        /// Where it goes on.
        to: Lsn,
    },
}

/// Why a log cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Its files.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// A segment that is complete is damaged.
    #[error("{path} is damaged at byte {position} (LSN {lsn}): expected {expected}, found {found}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// Where in the stream.
        lsn: Lsn,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// Whoever takes what is read said no.
    #[error(transparent)]
    Target(#[from] ReplayError),
}

/// See the module header.
pub struct Follower {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    prefix: String,
    current: Current,
}

/// The segment that is being read.
struct Current {
    seq: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// File position of what is to be read next, and its LSN.
    position: u64,
    lsn: Lsn,
    /// Checksum of the frame before. `None` among commands of another server.
    crc: Option<u32>,
}

/// How one look at a file ended.
enum Look {
    Progress,
    /// Nothing but unused space up to the end of the file.
    Clean,
    /// Something that is not whole.
    Torn {
        expected: String,
        found: String,
    },
}

impl Follower {
    /// Begins with the segment that `start` says, at its first byte.
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        prefix: &str,
        start: &SegmentStart,
        at: Lsn,
    ) -> Result<Follower, FollowError> {
        let current = Current::open(&*disk, start, at)?;
        Ok(Follower {
            disk,
            dir: dir.to_owned(),
            prefix: prefix.into(),
            current,
        })
    }

    /// Where the next thing begins.
    pub fn position(&self) -> Lsn {
        self.current.lsn
    }

    /// Hands what is new to `target`.
    pub fn next(&mut self, target: &mut dyn ReplayTarget) -> Result<Followed, FollowError> {
        if matches!(self.current.look(target)?, Look::Progress) {
            return Ok(Followed::More);
        }
        // Read after the file: what was written before the manifest named the next segment has been seen, or is seen now.
        let log = match LogFiles::open(self.disk.clone(), &self.dir, &self.prefix) {
            Ok(log) => log,
            Err(OpenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Followed::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        let later = match log.segments() {
            Ok(segments) => segments,
            // A compaction has removed one since the manifest was read.
            Err(_) if log.has_changed() => return Ok(Followed::Nothing),
            Err(error) => return Err(error.into()),
        };
        let Some(next) = later.into_iter().find(|s| s.file.seq > self.current.seq) else {
            return Ok(Followed::Nothing);
        };
        match self.current.look(target)? {
            Look::Progress => return Ok(Followed::More),
            Look::Clean => {}
            Look::Torn { expected, found } => {
                // A healed log leaves the end of the failed segment as it is; nobody was told that it was kept.
                let joins = next.header.is_some_and(|(_, lsn)| lsn == self.current.lsn);
                if joins || next.header.is_none() {
                    return Err(FollowError::Damaged {
                        path: self.current.path.clone(),
                        position: self.current.position,
                        lsn: self.current.lsn,
                        expected,
                        found,
                    });
                }
            }
        }
        let from = self.current.lsn;
        let to = next.header.map_or(from, |(_, lsn)| lsn);
        self.current = Current::open(&*self.disk, &next, to)?;
        target.begin_file();
        Ok(match to == from {
            true => Followed::More,
            false => Followed::Gap { from, to },
        })
    }
}

impl Current {
    fn open(disk: &dyn Disk, start: &SegmentStart, at: Lsn) -> Result<Current, OpenError> {
        let path = start.file.path.clone();
        let file = disk.open(&path).map_err(io_at(&path))?;
        let header = start
            .header
            .map(|(replid, lsn)| SegmentHeader { replid, lsn });
        Ok(Current {
            seq: start.file.seq,
            path,
            file,
            position: header.map_or(0, |_| HEADER_BYTES as u64),
            lsn: header.map_or(at, |header| header.lsn),
            crc: header.map(|header| FrameScan::new(&[], 0, &header).last_crc()),
        })
    }

    fn look(&mut self, target: &mut dyn ReplayTarget) -> Result<Look, FollowError> {
        let mut chunk_bytes = CHUNK_BYTES;
        loop {
            let (bytes, at_end) = self.read(chunk_bytes)?;
            let look = match self.crc {
                Some(crc) => self.look_at_frames(&bytes, crc, target)?,
                None => self.look_at_commands(&bytes, target)?,
            };
            match look {
                // Perhaps only cut off by the size of the chunk.
                Look::Torn { .. } if !at_end => {
                    chunk_bytes = chunk_bytes.saturating_mul(2);
                }
                look => return Ok(look),
            }
        }
    }

    fn look_at_frames(
        &mut self,
        bytes: &[u8],
        crc: u32,
        target: &mut dyn ReplayTarget,
    ) -> Result<Look, FollowError> {
        let mut scan = FrameScan::resume(bytes, crc, self.lsn);
        for frame in scan.by_ref() {
            if !frame.payload.is_empty() {
                target.replay(frame.payload, frame.header.lsn, Some(frame.header.ts))?;
            }
        }
        let progress = scan.position() > 0;
        self.position += scan.position() as u64;
        self.lsn = scan.lsn();
        self.crc = Some(scan.last_crc());
        let rest = &bytes[scan.position()..];
        Ok(match scan.stop() {
            _ if progress => Look::Progress,
            Stop::End => Look::Clean,
            // Another server went on with the file.
            Stop::ForeignTail(at) => {
                self.position += at as u64;
                self.crc = None;
                Look::Progress
            }
            Stop::NextPart(at) => self.enter_part(&rest[at..], at),
            Stop::Bad {
                expected, found, ..
            } => Look::Torn { expected, found },
        })
    }

    fn look_at_commands(
        &mut self,
        bytes: &[u8],
        target: &mut dyn ReplayTarget,
    ) -> Result<Look, FollowError> {
        let lsn = self.lsn;
        let (count, stop) = foreign::walk(bytes, 0, |payload, at| {
            target.replay(payload, lsn + at, None)
        })?;
        self.lsn = lsn + count;
        let (at, expected) = match stop {
            None => (bytes.len(), ""),
            Some(ForeignStop::Part { at }) => {
                return Ok(self.enter_part(&bytes[at..], at));
            }
            Some(ForeignStop::Truncated { at } | ForeignStop::TornPart { at }) => {
                (at, "a whole command or transaction")
            }
            Some(ForeignStop::Bad { at, expected }) => (at, expected),
        };
        self.position += at as u64;
        Ok(match stop {
            _ if at > 0 => Look::Progress,
            None => Look::Clean,
            Some(_) => Look::Torn {
                expected: expected.into(),
                found: "something else".into(),
            },
        })
    }

    /// Goes on in a part of ours that begins `at` bytes from the position.
    fn enter_part(&mut self, bytes: &[u8], at: usize) -> Look {
        let torn = || Look::Torn {
            expected: format!("a part that begins at LSN {}", self.lsn),
            found: "a damaged or unfinished one".into(),
        };
        let Some(header) = SegmentHeader::parse(bytes) else {
            return torn();
        };
        if header.lsn != self.lsn {
            return torn();
        }
        self.position += (at + HEADER_BYTES) as u64;
        self.crc = Some(FrameScan::new(&[], 0, &header).last_crc());
        Look::Progress
    }

    /// Up to so many bytes from the position on, and whether the file ends there.
    fn read(&self, count: usize) -> Result<(Vec<u8>, bool), OpenError> {
        let mut bytes = vec![0; count];
        let mut read = 0;
        while read < count {
            let at = self.position + read as u64;
            match self.file.read_at(&mut bytes[read..], at) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(io_at(&self.path)(e)),
            }
        }
        bytes.truncate(read);
        Ok((bytes, read < count))
    }
}
