//! Walking the frames of a segment, each checked before it is handed out.

use memchr::memmem;

use super::frame::{
    self, FRAME_BYTES, FRAME_MAGIC, FrameHeader, FrameSum, HEADER_BYTES, HEADER_MAGIC, NOTE_MAGIC,
    SegmentHeader,
};
use crate::Lsn;

/// What Redis writes first when it goes on with a file, perhaps after annotations of time: the selection of a database.
const FOREIGN_START: &[u8] = b"*2\r\n$6\r\nSELECT\r\n";

/// One good frame.
pub(super) struct Frame<'a> {
    pub header: FrameHeader,
    pub payload: &'a [u8],
    /// File position of the header line.
    pub at: u64,
}

/// Where and how the walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing but filler after the last frame.
    End,
    /// Another server has appended commands, from this file position on.
    ForeignTail(usize),
    /// Another part of ours begins at this file position.
    NextPart(usize),
    /// Not a good frame, nor filler.
    Bad {
        at: usize,
        expected: String,
        found: String,
    },
}

/// A walk over the frames of one part of a segment.
pub(super) struct FrameScan<'a> {
    bytes: &'a [u8],
    at: usize,
    crc: u32,
    lsn: Lsn,
    stop: Option<Stop>,
}

impl<'a> FrameScan<'a> {
    /// Begins after the header line at file position `at`, which `header` was parsed from.
    pub(super) fn new(bytes: &'a [u8], at: usize, header: &SegmentHeader) -> FrameScan<'a> {
        let crc = frame::header_crc(&header.encode());
        FrameScan {
            bytes,
            at: at + HEADER_BYTES,
            crc,
            lsn: header.lsn,
            stop: None,
        }
    }

    /// Goes on after a frame with checksum `crc`, where the stream is at `lsn`: `bytes` begins there.
    pub(super) fn resume(bytes: &'a [u8], crc: u32, lsn: Lsn) -> FrameScan<'a> {
        FrameScan {
            bytes,
            at: 0,
            crc,
            lsn,
            stop: None,
        }
    }

    /// File position after the last good frame.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Position in the stream after the last good frame.
    pub(super) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Checksum of the last good frame.
    pub(super) fn last_crc(&self) -> u32 {
        self.crc
    }

    /// Why `next` returned `None`.
    pub(super) fn stop(&self) -> Stop {
        self.stop.clone().unwrap_or(Stop::End)
    }

    fn check(&self) -> Result<Frame<'a>, Stop> {
        let at = self.at;
        let rest = &self.bytes[at..];
        let bad = |expected: String, found: String| Stop::Bad {
            at,
            expected,
            found,
        };
        let (note_bytes, noted) = match frame::parse_note(rest) {
            Some((bytes, seconds)) => (bytes, Some(seconds)),
            None => (0, None),
        };
        let line = &rest[note_bytes..];
        if !line.starts_with(FRAME_MAGIC) {
            return Err(self.stop_without_frame());
        }
        let header =
            FrameHeader::parse(line).ok_or_else(|| bad("a frame header".into(), excerpt(line)))?;
        if header.lsn != self.lsn {
            return Err(bad(
                format!("a frame at LSN {}", self.lsn),
                format!("LSN {}", header.lsn),
            ));
        }
        if let Some(noted) = noted.filter(|&noted| noted != frame::seconds(header.ts)) {
            return Err(bad(
                format!("an annotation of {}", frame::seconds(header.ts)),
                format!("one of {noted}"),
            ));
        }
        let end = FRAME_BYTES as u64 + u64::from(header.len);
        if end > line.len() as u64 {
            let found = format!("{} bytes to the end of the file", line.len() - FRAME_BYTES);
            return Err(bad(format!("{} bytes of payload", header.len), found));
        }
        let payload = &line[FRAME_BYTES..end as usize];
        let mut sum = FrameSum::after(self.crc);
        sum.payload(payload);
        let crc = sum.finish(&header);
        if crc != header.crc {
            return Err(bad(
                format!("checksum {:08x}", header.crc),
                format!("{crc:08x}"),
            ));
        }
        Ok(Frame {
            header,
            payload,
            at: (at + note_bytes) as u64,
        })
    }

    /// What it is that stands where a frame could begin.
    fn stop_without_frame(&self) -> Stop {
        let rest = &self.bytes[self.at..];
        let filler = frame::filler_bytes(rest);
        let after = &rest[filler..];
        if after.is_empty() {
            Stop::End
        } else if after.starts_with(HEADER_MAGIC) {
            Stop::NextPart(self.at + filler)
        } else if skip_notes(after).starts_with(FOREIGN_START) {
            Stop::ForeignTail(self.at + filler)
        } else {
            Stop::Bad {
                at: self.at,
                expected: "a frame or filler".into(),
                found: excerpt(rest),
            }
        }
    }
}

impl<'a> Iterator for FrameScan<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        if self.stop.is_some() {
            return None;
        }
        match self.check() {
            Ok(frame) => {
                self.at = frame.at as usize + FRAME_BYTES + frame.payload.len();
                self.crc = frame.header.crc;
                self.lsn = frame.header.end();
                Some(frame)
            }
            Err(stop) => {
                self.stop = Some(stop);
                None
            }
        }
    }
}

/// True if the file begins like a segment of ours, or has a birth frame where ours have it.
pub(super) fn looks_framed(bytes: &[u8]) -> bool {
    let begins =
        bytes.starts_with(HEADER_MAGIC) || (!bytes.is_empty() && HEADER_MAGIC.starts_with(bytes));
    let birth = bytes.get(HEADER_BYTES..);
    begins || birth.is_some_and(|birth| birth.starts_with(FRAME_MAGIC))
}

/// `bytes` without the annotations of time that it begins with.
fn skip_notes(mut bytes: &[u8]) -> &[u8] {
    while let Some((len, _)) = frame::parse_note(bytes) {
        bytes = &bytes[len..];
    }
    bytes
}

/// Looks behind a bad frame at file position `at` and LSN `lsn` for proof that it was durable once: a later frame whose
/// `sync` is above `lsn`. Returns the highest such `sync`.
pub(super) fn proof_of_sync(bytes: &[u8], at: usize, lsn: Lsn) -> Option<Lsn> {
    later_frames(bytes, at, lsn)
        .map(|header| header.sync)
        .filter(|&sync| sync > lsn)
        .max()
}

/// Headers that look like those of frames behind a bad one at file position `at` and LSN `lsn`.
pub(super) fn later_frames(
    bytes: &[u8],
    at: usize,
    lsn: Lsn,
) -> impl Iterator<Item = FrameHeader> + '_ {
    let area = &bytes[at..];
    let headers = memmem::find_iter(area, FRAME_MAGIC)
        .filter(|&offset| offset > 0)
        .filter_map(|offset| Some((offset, FrameHeader::parse(&area[offset..])?)));
    let plausible = move |&(offset, header): &(usize, FrameHeader)| {
        header.lsn > lsn
            && header.lsn.0 - lsn.0 <= offset as u64
            && header.sync <= header.lsn
            && area
                .get(offset + FRAME_BYTES + header.len as usize..)
                .is_some_and(|after| {
                    after.starts_with(FRAME_MAGIC)
                        || after.starts_with(NOTE_MAGIC)
                        || after.starts_with(HEADER_MAGIC)
                        || frame::filler_bytes(&after[..after.len().min(FRAME_BYTES)]) > 0
                        || after.is_empty()
                })
    };
    headers.filter(plausible).map(|(_, header)| header)
}

/// A few bytes for an error message.
fn excerpt(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(32)].escape_ascii())
}
