//! Frames: the text of a segment file. This header is the format's home.
//!
//! A segment is a Redis append-only file whose comment lines carry checksums:
//!
//! ```text
//! segment := part filler*                          ours; in a file that another server began: see below
//! part    := header birth (note? frame)*
//! header  := "#HT1 replid=" 40*hex " lsn=" 16*hex "\n"
//! birth   := a frame with len=0: it makes the header line checked, and is durable before the manifest names the file
//! frame   := "#F lsn=" 16*hex " len=" 8*hex " crc=" 8*hex " ts=" 13*hex " sync=" 16*hex "\n" payload comment?
//! note    := "#TS:" decimal digits "\r\n"          where asked for: before the first frame of a second
//! payload := len bytes: whole RESP commands, as replicated
//! comment := "#" "."* "\n"          reaches from the end of the payload to the start of the next filler line
//! filler  := "#" 62*"." "\n"        64 bytes, at a multiple of 64
//! ```
//!
//! Numbers are hexadecimal, lower case, of fixed width. Redis skips lines that begin with `#` between commands, but
//! reads them into 128 bytes: every comment stays below that. A frame overwrites the comment that ended the one before
//! it, so there is a comment only after the last frame, and frames follow each other without a gap.
//!
//! * `lsn`: position of the first payload byte in the stream. Header: of the first byte in the segment.
//! * `crc`: CRC-32 over payload, then `lsn`, `len`, `ts`, `sync` as 8 little-endian bytes each, started from the
//!   `crc` of the frame before; the birth frame starts from the CRC-32 of the header line. The chain shows blocks that
//!   are stale, swapped or lost. (Payload first: a record longer than the ring is summed while it is written, and its
//!   header is written last.)
//! * `ts`: wall clock when the frame was formed, milliseconds since 1970.
//! * `sync`: the durable LSN at that time. A bad frame at `b` with a later frame whose `sync` is above `b` is damage to
//!   data that was safe; without one it is a tail that was never synced.
//! * A *mark* is a frame with `len=0` and `sync` = `lsn` behind the last frame, written after a sync that nothing was written
//!   behind and when the log is closed. Until a later frame says so, only a mark shows that the last ones were durable.
//! * A note is Redis's annotation of time (`aof-timestamp-enabled`). It is no more than `ts` of the frame behind it, in
//!   seconds, and is refused if it says anything else: so it is covered by that frame's checksum.
//!
//! A file that another server began is continued in place: its commands, then a part of ours, which is a segment but
//! for its position; and so on, if that server comes back to it. Each part's header has the position that the one
//! before it ends at. In a file of ours there is one part, and behind it perhaps commands of another server.
//!
//! A segment that begins at LSN 0, holds one frame with `*1\r\n$4\r\nPING\r\n` (14 bytes) and ends in filler:
//!
//! ```text
//! #HT1 replid=1111111111111111111111111111111111111111 lsn=0000000000000000
//! #F lsn=0000000000000000 len=00000000 crc=........ ts=0019a8d2f4c00 sync=0000000000000000
//! #F lsn=0000000000000000 len=0000000e crc=........ ts=0019a8d2f4c00 sync=0000000000000000
//! *1
//! $4
//! PING
//! #......                         from byte 266 to byte 320
//! #..............................................................
//! ```

use std::fmt;

use crate::{Lsn, UnixMillis};

/// Length of a segment's first line.
pub(super) const HEADER_BYTES: usize = 74;

/// Length of a frame's line.
pub(super) const FRAME_BYTES: usize = 89;

/// Length of a filler line.
pub(super) const FILLER_BYTES: usize = 64;

/// What every segment's first line begins with.
pub(super) const HEADER_MAGIC: &[u8] = b"#HT1 replid=";

/// What every frame begins with.
pub(super) const FRAME_MAGIC: &[u8] = b"#F lsn=";

/// What an annotation of time begins with.
pub(super) const NOTE_MAGIC: &[u8] = b"#TS:";

/// How much [`part_start`] and the comment after it take at the most.
pub(super) const PART_START_BYTES_MAX: usize = HEADER_BYTES + FRAME_BYTES + FILLER_BYTES + 1;

/// A replication id: 40 lower-case hexadecimal digits that name a history.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Replid([u8; 40]);

impl Replid {
    /// Checks and takes 40 hexadecimal digits; capitals are accepted and made small.
    pub fn parse(text: &[u8]) -> Option<Replid> {
        let mut id: [u8; 40] = text.try_into().ok()?;
        id.make_ascii_lowercase();
        id.iter()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Replid(id))
    }

    /// A new one, not guessable.
    pub fn random() -> Replid {
        let mut id = [0; 40];
        for digits in id.chunks_mut(8) {
            write_hex(digits, u64::from(rand::random::<u32>()));
        }
        Replid(id)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked to be hexadecimal digits")
    }
}

impl fmt::Display for Replid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Replid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first line of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub replid: Replid,
    pub lsn: Lsn,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut line = [b' '; HEADER_BYTES];
        line[..12].copy_from_slice(HEADER_MAGIC);
        line[12..52].copy_from_slice(&self.replid.0);
        line[52..57].copy_from_slice(b" lsn=");
        write_hex(&mut line[57..73], self.lsn.0);
        line[73] = b'\n';
        line
    }

    /// Reads exactly what `encode` writes.
    pub(super) fn parse(bytes: &[u8]) -> Option<SegmentHeader> {
        let line: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let header = SegmentHeader {
            replid: Replid::parse(&line[12..52])?,
            lsn: Lsn(parse_hex(&line[57..73])?),
        };
        (header.encode() == *line).then_some(header)
    }
}

/// The format of a file that begins like a segment, of another version than this one's.
pub(super) fn other_version(bytes: &[u8]) -> Option<String> {
    let digits = bytes.strip_prefix(b"#HT")?;
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let is_other = count > 0 && digits[..count] != *b"1" && digits.get(count) == Some(&b' ');
    is_other.then(|| format!("HT{}", String::from_utf8_lossy(&digits[..count.min(20)])))
}

/// The line before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub lsn: Lsn,
    pub len: u32,
    pub crc: u32,
    pub ts: UnixMillis,
    pub sync: Lsn,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; FRAME_BYTES] {
        let mut line = [b' '; FRAME_BYTES];
        line[..7].copy_from_slice(FRAME_MAGIC);
        write_hex(&mut line[7..23], self.lsn.0);
        line[23..28].copy_from_slice(b" len=");
        write_hex(&mut line[28..36], self.len.into());
        line[36..41].copy_from_slice(b" crc=");
        write_hex(&mut line[41..49], self.crc.into());
        line[49..53].copy_from_slice(b" ts=");
        write_hex(&mut line[53..66], self.ts.0 as u64);
        line[66..72].copy_from_slice(b" sync=");
        write_hex(&mut line[72..88], self.sync.0);
        line[88] = b'\n';
        line
    }

    /// Reads exactly what `encode` writes; whether it is true is for [`FrameSum`] to say.
    pub(super) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let line: &[u8; FRAME_BYTES] = bytes.get(..FRAME_BYTES)?.try_into().ok()?;
        let header = FrameHeader {
            lsn: Lsn(parse_hex(&line[7..23])?),
            len: parse_hex(&line[28..36])? as u32,
            crc: parse_hex(&line[41..49])? as u32,
            ts: UnixMillis(parse_hex(&line[53..66])? as i64),
            sync: Lsn(parse_hex(&line[72..88])?),
        };
        (header.encode() == *line).then_some(header)
    }

    /// Position of the first byte after the payload.
    pub(super) fn end(&self) -> Lsn {
        Lsn(self.lsn.0.saturating_add(self.len.into()))
    }
}

/// The checksum of a frame in the making.
pub(super) struct FrameSum(crc32fast::Hasher);

impl FrameSum {
    /// Goes on from the frame (or header line) before.
    pub(super) fn after(previous_crc: u32) -> FrameSum {
        FrameSum(crc32fast::Hasher::new_with_initial(previous_crc))
    }

    pub(super) fn payload(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum for a frame with these fields; `header.crc` does not matter.
    pub(super) fn finish(mut self, header: &FrameHeader) -> u32 {
        for field in [
            header.lsn.0,
            header.len.into(),
            header.ts.0 as u64,
            header.sync.0,
        ] {
            self.0.update(&field.to_le_bytes());
        }
        self.0.finalize()
    }
}

/// What the birth frame's checksum starts from.
pub(super) fn header_crc(line: &[u8; HEADER_BYTES]) -> u32 {
    crc32fast::hash(line)
}

/// Header line and birth frame of a new part, and the checksum that its first real frame starts from.
pub(super) fn part_start(header: &SegmentHeader, ts: UnixMillis, sync: Lsn) -> (Vec<u8>, u32) {
    let line = header.encode();
    let mut birth = FrameHeader {
        lsn: header.lsn,
        len: 0,
        crc: 0,
        ts: clamp_ts(ts),
        sync,
    };
    birth.crc = FrameSum::after(header_crc(&line)).finish(&birth);
    ([&line[..], &birth.encode()[..]].concat(), birth.crc)
}

/// The annotation for a frame of this time.
pub(super) fn note(ts: UnixMillis) -> Vec<u8> {
    [NOTE_MAGIC, seconds(ts).to_string().as_bytes(), b"\r\n"].concat()
}

/// The time of a frame as an annotation has it.
pub(super) fn seconds(ts: UnixMillis) -> i64 {
    ts.0 / 1000
}

/// Length and time of the annotation that `bytes` begins with, if it is just as [`note`] writes it.
pub(super) fn parse_note(bytes: &[u8]) -> Option<(usize, i64)> {
    let digits = bytes.strip_prefix(NOTE_MAGIC)?;
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let text = std::str::from_utf8(&digits[..count]).ok()?;
    let seconds: i64 = text.parse().ok()?;
    let canonical = count == 1 || !text.starts_with('0');
    (canonical && digits[count..].starts_with(b"\r\n"))
        .then_some((NOTE_MAGIC.len() + count + 2, seconds))
}

/// A time that fits into the field.
pub(super) fn clamp_ts(ts: UnixMillis) -> UnixMillis {
    UnixMillis(ts.0.clamp(0, (1 << 52) - 1))
}

/// Appends the comment that reaches from file position `at` to the start of the next filler line.
///
/// A gap of one byte is too short for a comment: then it is one line longer.
pub(super) fn push_tail_comment(out: &mut Vec<u8>, at: u64) {
    let gap = comment_bytes(at);
    if gap > 0 {
        out.push(b'#');
        out.resize(out.len() + gap - 2, b'.');
        out.push(b'\n');
    }
}

/// How long that comment is.
pub(super) fn comment_bytes(at: u64) -> usize {
    match at.next_multiple_of(FILLER_BYTES as u64) - at {
        1 => FILLER_BYTES + 1,
        gap => gap as usize,
    }
}

/// Fills `out` with filler lines; its length is a multiple of [`FILLER_BYTES`].
pub(super) fn fill(out: &mut [u8]) {
    for line in out.chunks_mut(FILLER_BYTES) {
        let last = line.len() - 1;
        line.fill(b'.');
        line[0] = b'#';
        line[last] = b'\n';
    }
}

#[cfg(test)]
/// True if `bytes` consists of nothing but comments as this module writes them; the last may be cut off.
pub(super) fn is_filler(bytes: &[u8]) -> bool {
    filler_bytes(bytes) == bytes.len()
}

/// How many bytes at the start are such comments.
pub(super) fn filler_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        let line = &bytes[at..bytes.len().min(at + FILLER_BYTES + 1)];
        if line[0] != b'#' {
            break;
        }
        match line[1..].iter().position(|&b| b != b'.') {
            Some(dots) if line[1 + dots] == b'\n' => at += dots + 2,
            // Cut off at the end of the file.
            None if at + line.len() == bytes.len() && line.len() <= FILLER_BYTES => {
                return bytes.len();
            }
            _ => break,
        }
    }
    at
}

fn write_hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> FrameHeader {
        FrameHeader {
            lsn: Lsn(0xfedc_ba98_7654),
            len: 0x8000_0001,
            crc: 0x0bad_cafe,
            ts: UnixMillis(1_763_800_000_000),
            sync: Lsn(77),
        }
    }

    #[test]
    fn lines_round_trip_and_stay_short() {
        let header = SegmentHeader {
            replid: Replid::random(),
            lsn: Lsn(u64::MAX),
        };
        assert_eq!(SegmentHeader::parse(&header.encode()), Some(header));
        assert_eq!(FrameHeader::parse(&frame().encode()), Some(frame()));
        const { assert!(FRAME_BYTES < 127 && HEADER_BYTES < 127 && FILLER_BYTES + 1 < 127) };
    }

    #[test]
    fn any_flipped_byte_of_a_line_is_refused_or_read_as_another_value() {
        let line = frame().encode();
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut bad = line;
                bad[at] ^= 1 << bit;
                assert_ne!(
                    FrameHeader::parse(&bad),
                    Some(frame()),
                    "byte {at} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn sum_covers_payload_fields_and_the_frame_before() {
        let sum = |previous, payload: &[u8], header: &FrameHeader| {
            let mut sum = FrameSum::after(previous);
            sum.payload(payload);
            sum.finish(header)
        };
        let good = sum(1, b"payload", &frame());
        assert_ne!(good, sum(2, b"payload", &frame()));
        assert_ne!(good, sum(1, b"paylaod", &frame()));
        assert_ne!(
            good,
            sum(
                1,
                b"payload",
                &FrameHeader {
                    sync: Lsn(78),
                    ..frame()
                }
            )
        );
        assert_ne!(
            good,
            sum(
                1,
                b"payload",
                &FrameHeader {
                    ts: UnixMillis(0),
                    ..frame()
                }
            )
        );
        let mut pieces = FrameSum::after(1);
        pieces.payload(b"pay");
        pieces.payload(b"load");
        assert_eq!(good, pieces.finish(&frame()));
    }

    #[test]
    fn comment_joins_the_next_filler_line_from_every_position() {
        let mut file = vec![b'x'; 4 * FILLER_BYTES];
        for at in 0..2 * FILLER_BYTES {
            fill(&mut file);
            let mut comment = Vec::new();
            push_tail_comment(&mut comment, at as u64);
            assert_eq!(comment.len(), comment_bytes(at as u64));
            file[at..at + comment.len()].copy_from_slice(&comment);
            assert!(is_filler(&file[at..]), "from {at}");
            assert!(
                file[at..]
                    .split_inclusive(|&b| b == b'\n')
                    .all(|line| line.len() < 127)
            );
        }
    }

    #[test]
    fn filler_is_recognised_exactly() {
        assert_eq!(filler_bytes(b"#...\n#\n*1\r\n"), 7);
        assert_eq!(filler_bytes(b"#..x\n"), 0);
        assert!(!is_filler(b"#G lsn=00\n"));
        assert!(is_filler(b"#....") && is_filler(b""));
        assert!(!is_filler(&[b'.'; 10]));
    }
}
