//! The writer: forms frames of what has been published and writes them into the segment.
//!
//! There is one, behind a mutex: whoever holds it writes for everybody. A frame is everything published so far, so that
//! the checksum is computed off the command path and one `pwrite` serves all. Frames above [`FRAME_AT_ONCE_BYTES`], and
//! records longer than the ring, are written in pieces: a comment stands in the header's place until the payload is
//! complete, so the record is there whole or not at all.
//!
//! A frame can be written *durably*: as whole blocks, which a disk takes past the page cache and makes durable in one
//! step. The block that holds the end of the frame before is then written once more, from memory, and what follows the
//! frame in its last block is filler, as it was. Reading that from the page cache instead would be a read of the disk
//! whenever the system has dropped the page.
//!
//! The writer splits exactly at the cuts it is given (`rotate`); switching segments is the log thread's work.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::frame::{self, FRAME_BYTES, FrameHeader, FrameSum, Replid, SegmentHeader};
use super::meta::IndexEntry;
use super::ring::{Consumer, Published};
use super::segment::{FramedFrom, Prepared};
use crate::disk::{BLOCK_BYTES, Block, DiskFile};
use crate::{Lsn, UnixMillis};

/// Longer frames are written in pieces of this size.
const FRAME_AT_ONCE_BYTES: u64 = 1 << 20;

/// The index of the segment being written has an entry about every so many bytes.
pub(super) const INDEX_STEP_BYTES: u64 = 64 << 10;

/// The segment that is being written.
pub(super) struct ActiveSegment {
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    pub seq: u64,
    /// Position of the file's first byte.
    pub start: Lsn,
    /// When it was begun.
    pub since: UnixMillis,
    /// Where our frames begin in it.
    pub framed: FramedFrom,
    /// File position after the last frame.
    pub position: u64,
    /// The size that it was prepared for.
    pub size_bytes: u64,
    /// After an attempt to go on in another segment that failed: the position at which to try again.
    pub no_roll_before: u64,
    /// Checksum of the last frame.
    crc: u32,
    /// What is before `position` in its block; `None` if that is to be read.
    block_head: Option<Vec<u8>>,
    /// Where to find frames, in steps.
    pub index: Vec<IndexEntry>,
    indexed_to: u64,
    /// The last second that was annotated.
    noted: Option<i64>,
    /// Up to here it says that it is durable, behind its last frame.
    pub marked: Lsn,
}

impl ActiveSegment {
    /// Writes header line and birth frame into a prepared file and makes them durable. The file keeps its name.
    pub(super) fn begin(
        prepared: Prepared,
        seq: u64,
        replid: Replid,
        start: Lsn,
        sync: Lsn,
    ) -> io::Result<ActiveSegment> {
        let framed = FramedFrom {
            lsn: start,
            position: 0,
        };
        ActiveSegment::begin_part(prepared, seq, replid, start, framed, sync)
    }

    /// Writes header line and birth frame into a file at `framed`, behind what is there, and makes them durable.
    pub(super) fn begin_part(
        prepared: Prepared,
        seq: u64,
        replid: Replid,
        start: Lsn,
        framed: FramedFrom,
        sync: Lsn,
    ) -> io::Result<ActiveSegment> {
        let header = SegmentHeader {
            replid,
            lsn: framed.lsn,
        };
        let since = frame::clamp_ts(UnixMillis::now());
        let (mut bytes, crc) = frame::part_start(&header, since, sync);
        let position = framed.position + bytes.len() as u64;
        frame::push_tail_comment(&mut bytes, position);
        prepared.file.write_all_at(&bytes, framed.position)?;
        prepared.file.sync_data()?;
        Ok(ActiveSegment {
            file: prepared.file,
            path: prepared.path,
            seq,
            start,
            since,
            framed,
            position,
            size_bytes: prepared.size_bytes,
            no_roll_before: 0,
            crc,
            block_head: None,
            index: Vec::new(),
            indexed_to: 0,
            noted: None,
            marked: framed.lsn,
        })
    }

    /// Where the file is cut when nothing more is written to it: after the last frame, or where it ended before a part
    /// that remained empty.
    pub(super) fn end_position(&self) -> u64 {
        if self.index.is_empty() && self.framed.position > 0 {
            self.framed.position
        } else {
            self.position
        }
    }

    /// The checksum over all of the file, if all of it is ours.
    pub(super) fn sum(&self) -> Option<u32> {
        (self.framed.position == 0).then_some(self.crc)
    }

    /// The annotation of time that goes before a frame of time `ts`: none if its second has one.
    fn note(&mut self, ts: UnixMillis) -> Vec<u8> {
        let second = frame::seconds(ts);
        if self.noted.is_some_and(|noted| noted >= second) {
            return Vec::new();
        }
        self.noted = Some(second);
        frame::note(ts)
    }

    fn note_frame(&mut self, header: &FrameHeader, at: u64) {
        // Nothing is looked for in a mark.
        if self.index.is_empty() || header.len > 0 && at >= self.indexed_to + INDEX_STEP_BYTES {
            self.index.push(IndexEntry {
                lsn: header.lsn.0,
                ts: header.ts.0,
                position: at,
            });
            self.indexed_to = at;
        }
        self.crc = header.crc;
        self.position = at + FRAME_BYTES as u64 + u64::from(header.len);
    }
}

/// A frame that is being written in pieces.
struct OpenFrame {
    start: Lsn,
    /// File position of its header.
    at: u64,
    sum: FrameSum,
    ts: UnixMillis,
    /// The annotation of time before the header.
    note: Vec<u8>,
    /// True while the record's appender has not finished copying it.
    inside_record: bool,
}

/// What a call of [`Writer::drain`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drained {
    /// Everything below is in complete frames.
    pub written: Lsn,
    /// The writer stands at a cut: the log thread must switch segments.
    pub at_cut: bool,
    /// From here to `written` the bytes are durable already.
    pub durable_from: Option<Lsn>,
}

pub(super) struct Writer {
    pub consumer: Consumer,
    pub segment: ActiveSegment,
    /// Whether frames are annotated with their time as Redis does it.
    pub annotate: bool,
    open_frame: Option<OpenFrame>,
    buffer: Vec<u8>,
    blocks: Vec<Block>,
}

impl Writer {
    pub(super) fn new(consumer: Consumer, segment: ActiveSegment) -> Writer {
        Writer {
            consumer,
            segment,
            annotate: false,
            open_frame: None,
            buffer: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Everything below is in complete frames.
    pub(super) fn written(&self) -> Lsn {
        self.open_frame
            .as_ref()
            .map_or(self.consumer.tail(), |open| open.start)
    }

    /// Leaves word behind the last frame that all of it is durable: otherwise only the next frame would say so, and
    /// until there is one damage to what was synced last could not be told from a torn write. The mark is an empty
    /// frame. It need not be durable itself.
    pub(super) fn mark_durable(&mut self, durable: Lsn) -> io::Result<()> {
        let is_news = self.segment.marked < durable && !self.segment.index.is_empty();
        if self.open_frame.is_some() || self.consumer.tail() != durable || !is_news {
            return Ok(());
        }
        let mut header = FrameHeader {
            lsn: durable,
            len: 0,
            crc: 0,
            ts: frame::clamp_ts(UnixMillis::now()),
            sync: durable,
        };
        header.crc = FrameSum::after(self.segment.crc).finish(&header);
        let at = self.segment.position;
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.encode());
        frame::push_tail_comment(&mut self.buffer, at + FRAME_BYTES as u64);
        self.segment.block_head = None;
        self.segment.file.write_all_at(&self.buffer, at)?;
        self.segment.note_frame(&header, at);
        self.segment.marked = durable;
        Ok(())
    }

    /// Goes on in another segment, which begins where this one ends.
    pub(super) fn switch(&mut self, segment: ActiveSegment) -> ActiveSegment {
        debug_assert!(self.open_frame.is_none());
        std::mem::replace(&mut self.segment, segment)
    }

    /// Forgets what was not written, and goes on in `segment`, which begins at the ring's head.
    pub(super) fn restart(&mut self, segment: ActiveSegment) {
        self.open_frame = None;
        self.segment = segment;
    }

    /// Writes what is published, as far as the first cut; `durably`, if it can be one frame.
    ///
    /// After an error the segment's end is unknown: the log has failed, and this must not be called again before
    /// [`Writer::restart`].
    pub(super) fn drain(
        &mut self,
        published: Published,
        cut: Option<Lsn>,
        durable: Lsn,
        durably: bool,
    ) -> io::Result<Drained> {
        let cut = cut.unwrap_or(Lsn::MAX);
        let mut durable_from = None;
        // A record that was being copied is complete when the limit is no longer inside it.
        if let Some(open) = &mut self.open_frame {
            open.inside_record = published.inside_record_from == Some(open.start);
            if open.inside_record {
                self.write_pieces(published.limit)?;
            } else {
                self.write_pieces(
                    published
                        .inside_record_from
                        .unwrap_or(published.limit)
                        .min(cut),
                )?;
                self.close_frame(durable)?;
            }
        }
        if self.open_frame.is_none() {
            let whole = published
                .inside_record_from
                .unwrap_or(published.limit)
                .min(cut);
            let from = self.consumer.tail();
            if whole > from && whole - from <= FRAME_AT_ONCE_BYTES {
                self.write_frame(whole, durable, durably)?;
                durable_from = durably.then_some(from);
            } else if whole > from {
                self.begin_frame(false);
                self.write_pieces(whole)?;
                self.close_frame(durable)?;
            }
            let tail = self.consumer.tail();
            // A record that begins at the cut belongs to the next segment.
            if published.inside_record_from == Some(tail) && published.limit > tail && tail != cut {
                self.begin_frame(true);
                self.write_pieces(published.limit)?;
            }
        }
        // Also when nothing was written: somebody may wait for space that was not worth giving back before.
        let tail = self.consumer.tail();
        self.consumer.take(tail);
        Ok(Drained {
            written: self.written(),
            at_cut: self.open_frame.is_none() && tail == cut,
            durable_from,
        })
    }

    /// The common case: one frame, one write.
    fn write_frame(&mut self, end: Lsn, durable: Lsn, durably: bool) -> io::Result<()> {
        let start = self.consumer.tail();
        let mut header = FrameHeader {
            lsn: start,
            len: (end - start) as u32,
            crc: 0,
            ts: frame::clamp_ts(UnixMillis::now()),
            sync: durable,
        };
        let mut sum = FrameSum::after(self.segment.crc);
        self.buffer.clear();
        if self.annotate {
            self.buffer.append(&mut self.segment.note(header.ts));
        }
        let line = self.buffer.len()..self.buffer.len() + FRAME_BYTES;
        self.buffer.resize(line.end, 0);
        for piece in self.consumer.peek(start, end) {
            sum.payload(piece);
            self.buffer.extend_from_slice(piece);
        }
        header.crc = sum.finish(&header);
        let at = self.segment.position;
        self.buffer[line.clone()].copy_from_slice(&header.encode());
        let frame_bytes = self.buffer.len();
        frame::push_tail_comment(&mut self.buffer, at + frame_bytes as u64);
        if durably {
            self.write_durably(at, frame_bytes)?;
        } else {
            self.segment.block_head = None;
            self.segment.file.write_all_at(&self.buffer, at)?;
        }
        self.segment.note_frame(&header, at + line.start as u64);
        self.consumer.take(end);
        Ok(())
    }

    /// Writes the buffer, a frame of so many bytes and the comment after it, to `at` in whole blocks.
    fn write_durably(&mut self, at: u64, frame_bytes: usize) -> io::Result<()> {
        let before = (at % BLOCK_BYTES as u64) as usize;
        let mut head = match self.segment.block_head.take() {
            Some(head) if head.len() == before => head,
            _ => {
                let mut head = vec![0; before];
                self.segment
                    .file
                    .read_exact_at(&mut head, at - before as u64)?;
                head
            }
        };
        let count = (before + self.buffer.len()).div_ceil(BLOCK_BYTES);
        self.blocks.resize(count, Block([0; BLOCK_BYTES]));
        self.blocks[0].0[..before].copy_from_slice(&head);
        let mut rest = &self.buffer[..];
        let mut from = before;
        for block in &mut self.blocks {
            let (now, later) = rest.split_at(rest.len().min(BLOCK_BYTES - from));
            block.0[from..from + now.len()].copy_from_slice(now);
            // The tail comment ends where a line of filler begins.
            frame::fill(&mut block.0[from + now.len()..]);
            (rest, from) = (later, 0);
        }
        self.segment
            .file
            .write_blocks(&self.blocks, at - before as u64)?;
        let end = before + frame_bytes;
        head.clear();
        if let Some(last) = self.blocks.get(end / BLOCK_BYTES) {
            head.extend_from_slice(&last.0[..end % BLOCK_BYTES]);
        }
        self.segment.block_head = Some(head);
        Ok(())
    }

    fn begin_frame(&mut self, inside_record: bool) {
        let ts = frame::clamp_ts(UnixMillis::now());
        let note = match self.annotate {
            true => self.segment.note(ts),
            false => Vec::new(),
        };
        self.open_frame = Some(OpenFrame {
            start: self.consumer.tail(),
            at: self.segment.position + note.len() as u64,
            sum: FrameSum::after(self.segment.crc),
            ts,
            note,
            inside_record,
        });
    }

    /// Writes payload of the open frame up to `end`.
    fn write_pieces(&mut self, end: Lsn) -> io::Result<()> {
        let Some(open) = &mut self.open_frame else {
            return Ok(());
        };
        while self.consumer.tail() < end {
            let from = self.consumer.tail();
            let to = end.min(from + FRAME_AT_ONCE_BYTES);
            let mut at = open.at + FRAME_BYTES as u64 + (from - open.start);
            self.buffer.clear();
            if from == open.start {
                // A comment in the header's place.
                at = open.at - open.note.len() as u64;
                self.buffer.extend_from_slice(&open.note);
                self.buffer.push(b'#');
                self.buffer.resize(open.note.len() + FRAME_BYTES - 1, b'.');
                self.buffer.push(b'\n');
            }
            for piece in self.consumer.peek(from, to) {
                open.sum.payload(piece);
                self.buffer.extend_from_slice(piece);
            }
            let end_at = at + self.buffer.len() as u64;
            frame::push_tail_comment(&mut self.buffer, end_at);
            self.segment.block_head = None;
            self.segment.file.write_all_at(&self.buffer, at)?;
            self.consumer.take(to);
        }
        self.buffer.shrink_to(2 * FRAME_AT_ONCE_BYTES as usize);
        Ok(())
    }

    /// Writes the open frame's header: now the record is there.
    fn close_frame(&mut self, durable: Lsn) -> io::Result<()> {
        let Some(open) = self.open_frame.take() else {
            return Ok(());
        };
        let len = u32::try_from(self.consumer.tail() - open.start)
            .map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut header = FrameHeader {
            lsn: open.start,
            len,
            crc: 0,
            ts: open.ts,
            sync: durable,
        };
        header.crc = open.sum.finish(&header);
        self.segment.file.write_all_at(&header.encode(), open.at)?;
        self.segment.note_frame(&header, open.at);
        Ok(())
    }
}
