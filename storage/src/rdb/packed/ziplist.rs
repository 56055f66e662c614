//! Ziplist: the packed form of lists, hashes and sorted sets before Redis 7.
//!
//! ```text
//! <u32 total bytes> <u32 offset of last entry> <u16 count, ffff = unknown> <entry>... ff     little-endian
//!
//! entry = <length of previous entry> <encoding> <data>
//! previous length = one byte below fe, or fe <u32>; 0 in the first entry
//! 00llllll                      string
//! 01llllll llllllll             string, length big-endian
//! 10______ <u32 big-endian>     string
//! c0, d0, e0, f0, fe            16-, 32-, 64-, 24-, 8-bit signed integer, little-endian
//! f1..fd                        integer 0..12
//! ```

use super::{Element, Flaw, bytes_at, flaw, i24, slice_at, wrong_count};

const HEADER_LEN: usize = 10;
const END: u8 = 0xff;
const LONG: u8 = 0xfe;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// An iterator over the elements of a ziplist.
pub struct Ziplist<'a> {
    bytes: &'a [u8],
    at: usize,
    previous_len: usize,
    tail: usize,
    seen: usize,
    count: Option<usize>,
    done: bool,
}

impl<'a> Ziplist<'a> {
    /// Starts at the first element, having checked header and terminator.
    ///
    /// # Errors
    /// A [`Flaw`] if the length in the header is not that of `bytes` or the terminator is missing.
    pub fn new(bytes: &'a [u8]) -> Result<Ziplist<'a>, Flaw> {
        let total = u32::from_le_bytes(bytes_at(bytes, 0)?);
        let tail = u32::from_le_bytes(bytes_at(bytes, 4)?) as usize;
        let count = u16::from_le_bytes(bytes_at(bytes, 8)?);
        if bytes.len() < HEADER_LEN + 1 || total as usize != bytes.len() {
            return flaw(0, "the header states another length");
        }
        if bytes.last() != Some(&END) {
            return flaw(bytes.len() - 1, "the terminator is missing");
        }
        if tail > bytes.len() - 1 {
            return flaw(4, "the last entry is said to be past the end");
        }
        let count = (count != COUNT_UNKNOWN).then_some(usize::from(count));
        let bytes = &bytes[..bytes.len() - 1];
        Ok(Ziplist {
            bytes,
            at: HEADER_LEN,
            previous_len: 0,
            tail,
            seen: 0,
            count,
            done: false,
        })
    }

    /// Decodes the entry at `self.at` and steps over it.
    fn step(&mut self) -> Result<Element<'a>, Flaw> {
        let (bytes, start) = (self.bytes, self.at);
        let (previous_len, mut at) = match bytes[start] {
            END => return flaw(start, "the terminator comes before the end"),
            LONG => (
                u32::from_le_bytes(bytes_at(bytes, start + 1)?) as usize,
                start + 5,
            ),
            short => (usize::from(short), start + 1),
        };
        if previous_len != self.previous_len {
            return flaw(start, "the length of the previous entry is wrong");
        }

        let [encoding] = bytes_at(bytes, at)?;
        at += 1;
        let string_len = match encoding >> 6 {
            0 => Some(usize::from(encoding & 0x3f)),
            1 => {
                let [low] = bytes_at(bytes, at)?;
                at += 1;
                Some(usize::from(u16::from_be_bytes([encoding & 0x3f, low])))
            }
            2 => {
                let len = u32::from_be_bytes(bytes_at(bytes, at)?);
                at += 4;
                Some(len as usize)
            }
            _ => None,
        };
        let (element, len) = match (string_len, encoding) {
            (Some(len), _) => (Element::Bytes(slice_at(bytes, at, len)?), len),
            (None, 0xc0) => (
                Element::Int(i64::from(i16::from_le_bytes(bytes_at(bytes, at)?))),
                2,
            ),
            (None, 0xd0) => (
                Element::Int(i64::from(i32::from_le_bytes(bytes_at(bytes, at)?))),
                4,
            ),
            (None, 0xe0) => (Element::Int(i64::from_le_bytes(bytes_at(bytes, at)?)), 8),
            (None, 0xf0) => (Element::Int(i24(bytes_at(bytes, at)?)), 3),
            (None, 0xfe) => (
                Element::Int(i64::from(i8::from_le_bytes(bytes_at(bytes, at)?))),
                1,
            ),
            (None, 0xf1..=0xfd) => (Element::Int(i64::from(encoding & 0x0f) - 1), 0),
            (None, _) => return flaw(at - 1, "an entry has an unknown encoding"),
        };
        self.at = at + len;
        self.previous_len = self.at - start;
        self.seen += 1;
        if self.at == bytes.len() && self.tail != start {
            return flaw(4, "the header states another offset of the last entry");
        }
        Ok(element)
    }
}

impl<'a> Iterator for Ziplist<'a> {
    type Item = Result<Element<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = if self.at < self.bytes.len() {
            Some(self.step())
        } else {
            wrong_count(self.count, self.seen, 8)
        };
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
