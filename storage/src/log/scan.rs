//! Walking the frames of a segment, each checked before it is handed out.

use memchr::memmem;

use super::frame::{
    self, FRAME_BYTES, FRAME_MAGIC, FrameHeader, FrameSum, HEADER_BYTES, HEADER_MAGIC,
    SegmentHeader,
};
use crate::Lsn;

/// What Redis writes first when it goes on with a file: the selection of a database, perhaps after a time stamp.
const FOREIGN_TAIL_STARTS: [&[u8]; 2] = [b"*2\r\n$6\r\nSELECT\r\n", b"#TS:"];

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
    /// Not a good frame, nor filler.
    Bad {
        at: usize,
        expected: String,
        found: String,
    },
}

/// A walk over the frames of one segment.
pub(super) struct FrameScan<'a> {
    bytes: &'a [u8],
    at: usize,
    crc: u32,
    lsn: Lsn,
    stop: Option<Stop>,
}

impl<'a> FrameScan<'a> {
    /// Begins after the header line, which `header` was parsed from.
    pub(super) fn new(bytes: &'a [u8], header: &SegmentHeader) -> FrameScan<'a> {
        let crc = frame::header_crc(&header.encode());
        FrameScan {
            bytes,
            at: HEADER_BYTES,
            crc,
            lsn: header.lsn,
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
        if !rest.starts_with(FRAME_MAGIC) {
            let filler = frame::filler_bytes(rest);
            let after = &rest[filler..];
            return Err(if after.is_empty() {
                Stop::End
            } else if FOREIGN_TAIL_STARTS
                .iter()
                .any(|start| after.starts_with(start))
            {
                Stop::ForeignTail(at + filler)
            } else {
                bad("a frame or filler".into(), excerpt(rest))
            });
        }
        let header =
            FrameHeader::parse(rest).ok_or_else(|| bad("a frame header".into(), excerpt(rest)))?;
        if header.lsn != self.lsn {
            return Err(bad(
                format!("a frame at LSN {}", self.lsn),
                format!("LSN {}", header.lsn),
            ));
        }
        let end = FRAME_BYTES as u64 + u64::from(header.len);
        if end > rest.len() as u64 {
            let found = format!("{} bytes to the end of the file", rest.len() - FRAME_BYTES);
            return Err(bad(format!("{} bytes of payload", header.len), found));
        }
        let payload = &rest[FRAME_BYTES..end as usize];
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
            at: at as u64,
        })
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
                self.at += FRAME_BYTES + frame.payload.len();
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

/// True if the file begins like a segment of ours, or has frames.
pub(super) fn looks_framed(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(HEADER_BYTES + FRAME_BYTES)];
    let begins =
        head.starts_with(HEADER_MAGIC) || (!head.is_empty() && HEADER_MAGIC.starts_with(head));
    begins || memmem::find(head, FRAME_MAGIC).is_some()
}

/// Looks behind a bad frame at file position `at` and LSN `lsn` for proof that it was durable once: a later frame whose
/// `sync` is above `lsn`. Returns the highest such `sync`.
///
/// The later frame's checksum goes on from the bad one's, which may be gone with it; so what counts is that header,
/// position and what follows the payload fit together.
pub(super) fn proof_of_sync(bytes: &[u8], at: usize, lsn: Lsn) -> Option<Lsn> {
    let mut proof = None;
    let area = &bytes[at..];
    for offset in memmem::find_iter(area, FRAME_MAGIC).filter(|&offset| offset > 0) {
        let Some(header) = FrameHeader::parse(&area[offset..]) else {
            continue;
        };
        let payload_at = offset + FRAME_BYTES;
        let plausible = header.lsn > lsn
            && header.lsn.0 - lsn.0 <= offset as u64
            && header.sync > lsn
            && header.sync <= header.lsn
            && area
                .get(payload_at + header.len as usize..)
                .is_some_and(|after| {
                    after.starts_with(FRAME_MAGIC)
                        || frame::filler_bytes(&after[..after.len().min(FRAME_BYTES)]) > 0
                        || after.is_empty()
                });
        if plausible {
            proof = proof.max(Some(header.sync));
        }
    }
    proof
}

/// A few bytes for an error message.
fn excerpt(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes[..bytes.len().min(32)].escape_ascii())
}
