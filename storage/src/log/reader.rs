//! Reading the stream from any position that is still kept: from the ring, else from segments.
//!
//! A reader never sees bytes that are not written. Sealed segments are read as memory; the one being written is read
//! frame by frame from the file. A reader does not keep files from being removed, but what it has open it can read on.
//! Frames are not checked again: they were when the log was opened, or they are from this process.

use std::io;
use std::sync::Arc;

use super::frame::{self, FRAME_BYTES, FrameHeader, HEADER_BYTES};
use super::meta::{self, IndexEntry, META_BYTES_MAX, SegmentIndex};
use super::segment::SegmentInfo;
use super::{Failure, Shared};
use crate::Lsn;
use crate::disk::{DiskFile, FileView, read_small_file};

/// Why a position cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is older than what is kept: the reader needs a full synchronisation.
    #[error("the log begins at LSN {oldest}, after the position asked for")]
    Truncated {
        /// The oldest position that can be read.
        oldest: Lsn,
    },
    /// It is after the end of the stream.
    #[error("the log ends at LSN {end}, before the position asked for")]
    Future {
        /// The end.
        end: Lsn,
    },
    /// A segment does not hold what it should.
    #[error("{segment} has no frame at LSN {lsn}")]
    Damaged {
        /// The file.
        segment: String,
        /// The position looked for.
        lsn: Lsn,
    },
    /// The disk failed.
    #[error("reading {segment} failed: {error}")]
    Io {
        /// The file.
        segment: String,
        /// How.
        error: io::Error,
    },
}

/// Yields the stream in order. See the module header.
pub struct LogReader {
    shared: Arc<Shared>,
    position: Lsn,
    open: Option<OpenSegment>,
}

/// A segment being read, and the frame that holds the reader's position.
struct OpenSegment {
    name: String,
    bytes: SegmentBytes,
    /// File position of the frame to look at next, and its LSN.
    at: u64,
    lsn: Lsn,
}

enum SegmentBytes {
    Sealed(FileView),
    Active(Box<dyn DiskFile>),
}

impl SegmentBytes {
    fn read(&self, at: u64, count: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            SegmentBytes::Sealed(view) => {
                let end = (at as usize).checked_add(count);
                let part = end.and_then(|end| view.get(at as usize..end));
                out.extend_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
            SegmentBytes::Active(file) => {
                let before = out.len();
                out.resize(before + count, 0);
                file.read_exact_at(&mut out[before..], at)?;
            }
        }
        Ok(())
    }
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>, from: Lsn) -> Result<LogReader, ReadError> {
        let end = shared.ring.head();
        if from > end {
            return Err(ReadError::Future { end });
        }
        let reader = LogReader {
            shared,
            position: from,
            open: None,
        };
        let oldest = reader.shared.oldest_readable();
        if from < oldest {
            Err(ReadError::Truncated { oldest })
        } else {
            Ok(reader)
        }
    }

    /// Where the next bytes come from.
    pub fn position(&self) -> Lsn {
        self.position
    }

    /// Blocks until there is something to read, or the log has failed.
    pub fn wait(&self) -> Result<(), Failure> {
        self.shared.marks.wait_written(self.position + 1)
    }

    /// The next bytes: at most `bytes_max`, and where they begin. `None` at the end of what is written.
    ///
    /// The pieces are not aligned to records.
    pub fn next(&mut self, bytes_max: usize) -> Result<Option<(Lsn, Vec<u8>)>, ReadError> {
        let from = self.position;
        let written = self.shared.marks.written();
        if from >= written || bytes_max == 0 {
            return Ok(None);
        }
        let mut out = Vec::new();
        if self
            .shared
            .ring
            .read(from, written, bytes_max, &mut out)
            .is_some()
        {
            self.open = None;
        } else {
            self.read_segment(written, bytes_max, &mut out)?;
        }
        self.position = from + out.len() as u64;
        Ok(Some((from, out)))
    }

    fn read_segment(
        &mut self,
        written: Lsn,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        loop {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.open_at(self.position)?,
            };
            let failed = |error| ReadError::Io {
                segment: open.name.clone(),
                error,
            };
            let mut line = Vec::new();
            // A sealed segment ends after its last frame: the position is in the next one.
            let ended = match &open.bytes {
                SegmentBytes::Sealed(view) => open.at >= view.len() as u64,
                SegmentBytes::Active(_) => false,
            };
            if ended && open.lsn == self.position {
                continue;
            }
            let read = open.bytes.read(open.at, FRAME_BYTES, &mut line);
            if let Some((note_bytes, _)) = frame::parse_note(&line) {
                open.at += note_bytes as u64;
                self.open = Some(open);
                continue;
            }
            let header = match read {
                Ok(()) => FrameHeader::parse(&line).filter(|header| header.lsn == open.lsn),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(e) => return Err(failed(e)),
            };
            let Some(header) = header else {
                // The segment was sealed since it was opened, and goes on in another one.
                if matches!(open.bytes, SegmentBytes::Active(_))
                    && open.lsn == self.position
                    && !self.is_active(&open)
                {
                    continue;
                }
                return Err(ReadError::Damaged {
                    segment: open.name,
                    lsn: open.lsn,
                });
            };
            if header.end() <= self.position {
                open.at += FRAME_BYTES as u64 + u64::from(header.len);
                open.lsn = header.end();
                self.open = Some(open);
                continue;
            }
            let skip = self.position - header.lsn;
            let count = (u64::from(header.len) - skip)
                .min(bytes_max as u64)
                .min(written - self.position);
            open.bytes
                .read(open.at + FRAME_BYTES as u64 + skip, count as usize, out)
                .map_err(failed)?;
            self.open = Some(open);
            return Ok(());
        }
    }

    fn is_active(&self, open: &OpenSegment) -> bool {
        self.shared
            .catalogue
            .lock()
            .segments
            .last()
            .is_some_and(|last| last.name == open.name)
    }

    /// Opens the segment that holds `lsn`, at the last indexed frame before it.
    fn open_at(&self, lsn: Lsn) -> Result<OpenSegment, ReadError> {
        let oldest = self.shared.oldest_readable();
        let found = {
            let catalogue = self.shared.catalogue.lock();
            let mut segments = catalogue.segments.iter().rev();
            segments
                .find(|s| s.start <= lsn && s.end.is_none_or(|end| lsn < end))
                .cloned()
        };
        let found = found.and_then(|info| Some((info.framed?, info)));
        let Some((framed, info)) = found.filter(|_| lsn >= oldest) else {
            return Err(ReadError::Truncated { oldest });
        };
        let failed = |error| ReadError::Io {
            segment: info.name.clone(),
            error,
        };
        let path = self.shared.path(&info.name);
        let file = match self.shared.disk.open(&path) {
            // Removed by a compaction since it was looked up.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::Truncated {
                    oldest: self.shared.oldest_readable(),
                });
            }
            other => other.map_err(failed)?,
        };
        let bytes = match info.end {
            Some(_) => SegmentBytes::Sealed(file.view(info.bytes).map_err(failed)?),
            None => SegmentBytes::Active(file),
        };
        let near = match info.end {
            Some(_) => self
                .sealed_index(&info)
                .and_then(|entries| before(&entries, lsn)),
            None => {
                let writer = self.shared.writer.lock();
                let same = writer.segment.start == info.start;
                same.then(|| before(&writer.segment.index, lsn)).flatten()
            }
        };
        // Without an index: from the birth frame on.
        let birth = framed.position + HEADER_BYTES as u64;
        let (at, start) = near.map_or((birth, framed.lsn), |e| (e.position, Lsn(e.lsn)));
        Ok(OpenSegment {
            name: info.name,
            bytes,
            at,
            lsn: start,
        })
    }

    fn sealed_index(&self, info: &SegmentInfo) -> Option<Vec<IndexEntry>> {
        let bytes = read_small_file(
            &*self.shared.disk,
            &self.shared.names.index(&info.name),
            META_BYTES_MAX,
        )
        .ok()?;
        let index: SegmentIndex = meta::decode(&bytes)?;
        let fits =
            index.start == info.start.0 && index.end == info.end?.0 && index.bytes == info.bytes;
        fits.then_some(index.entries)
    }
}

/// The last entry at or before `lsn`.
fn before(entries: &[IndexEntry], lsn: Lsn) -> Option<IndexEntry> {
    let count = entries.partition_point(|entry| entry.lsn <= lsn.0);
    count.checked_sub(1).map(|last| entries[last])
}
