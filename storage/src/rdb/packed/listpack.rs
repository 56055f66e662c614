//! Listpack: the packed form of lists, hashes, sets and sorted sets since Redis 7.
//!
//! ```text
//! <u32 total bytes> <u16 count, ffff = unknown> <entry>... ff            integers little-endian
//!
//! entry = <encoding and data> <back-length>
//! 0xxxxxxx                      integer 0..127
//! 10llllll <l bytes>            string
//! 110xxxxx xxxxxxxx             13-bit signed integer, high bits first
//! 1110llll llllllll <l bytes>   string, high bits first
//! 11110000 <u32> <bytes>        string
//! 11110001..11110100            16-, 24-, 32-, 64-bit signed integer
//! ```
//!
//! The back-length is the length of encoding and data in groups of seven bits, most significant group first, all but
//! the first byte with the high bit set, so that it can be read from its end.

use super::{Element, Flaw, bytes_at, flaw, i24, slice_at, wrong_count};

const HEADER_LEN: usize = 6;
const END: u8 = 0xff;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// An iterator over the elements of a listpack.
pub struct Listpack<'a> {
    bytes: &'a [u8],
    at: usize,
    seen: usize,
    count: Option<usize>,
    done: bool,
}

impl<'a> Listpack<'a> {
    /// Starts at the first element, having checked header and terminator.
    ///
    /// # Errors
    /// A [`Flaw`] if the length in the header is not that of `bytes` or the terminator is missing.
    pub fn new(bytes: &'a [u8]) -> Result<Listpack<'a>, Flaw> {
        let total = u32::from_le_bytes(bytes_at(bytes, 0)?);
        let count = u16::from_le_bytes(bytes_at(bytes, 4)?);
        if bytes.len() < HEADER_LEN + 1 || total as usize != bytes.len() {
            return flaw(0, "the header states another length");
        }
        if bytes.last() != Some(&END) {
            return flaw(bytes.len() - 1, "the terminator is missing");
        }
        let count = (count != COUNT_UNKNOWN).then_some(usize::from(count));
        // Entries may use everything but the terminator.
        Ok(Listpack {
            bytes: &bytes[..bytes.len() - 1],
            at: HEADER_LEN,
            seen: 0,
            count,
            done: false,
        })
    }

    /// Decodes the entry at `self.at` and steps over it.
    fn step(&mut self) -> Result<Element<'a>, Flaw> {
        let (bytes, at) = (self.bytes, self.at);
        let first = bytes[at];
        let (element, len) = match first {
            0..=0x7f => (Element::Int(i64::from(first)), 1),
            0x80..=0xbf => {
                let len = usize::from(first & 0x3f);
                (Element::Bytes(slice_at(bytes, at + 1, len)?), 1 + len)
            }
            0xc0..=0xdf => {
                let [second] = bytes_at(bytes, at + 1)?;
                // Shifted to the top and back for the sign.
                let value = (i16::from_be_bytes([first, second]) << 3) >> 3;
                (Element::Int(i64::from(value)), 2)
            }
            0xe0..=0xef => {
                let [second] = bytes_at(bytes, at + 1)?;
                let len = usize::from(u16::from_be_bytes([first & 0x0f, second]));
                (Element::Bytes(slice_at(bytes, at + 2, len)?), 2 + len)
            }
            0xf0 => {
                let len = u32::from_le_bytes(bytes_at(bytes, at + 1)?) as usize;
                (Element::Bytes(slice_at(bytes, at + 5, len)?), 5 + len)
            }
            0xf1 => (
                Element::Int(i64::from(i16::from_le_bytes(bytes_at(bytes, at + 1)?))),
                3,
            ),
            0xf2 => (Element::Int(i24(bytes_at(bytes, at + 1)?)), 4),
            0xf3 => (
                Element::Int(i64::from(i32::from_le_bytes(bytes_at(bytes, at + 1)?))),
                5,
            ),
            0xf4 => (
                Element::Int(i64::from_le_bytes(bytes_at(bytes, at + 1)?)),
                9,
            ),
            _ => return flaw(at, "an entry has an unknown encoding"),
        };
        self.at = at + len + self.check_back_len(at + len, len)?;
        self.seen += 1;
        Ok(element)
    }

    /// Checks that the bytes at `at` are the back-length for `len`; returns how many they are.
    fn check_back_len(&self, at: usize, len: usize) -> Result<usize, Flaw> {
        // Each size but the first ends one short of what it could hold: that is how the writers draw the borders.
        let groups = match len {
            0..=127 => 1,
            128..=16_382 => 2,
            16_383..=2_097_150 => 3,
            2_097_151..=268_435_454 => 4,
            _ => 5,
        };
        let stored = slice_at(self.bytes, at, groups)?;
        let sound = stored.iter().enumerate().all(|(i, &byte)| {
            let group = (len >> (7 * (groups - 1 - i)) & 0x7f) as u8;
            byte == if i == 0 { group } else { group | 0x80 }
        });
        if sound {
            Ok(groups)
        } else {
            flaw(at, "a back-length is wrong")
        }
    }
}

impl<'a> Iterator for Listpack<'a> {
    type Item = Result<Element<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = if self.at < self.bytes.len() {
            Some(self.step())
        } else {
            wrong_count(self.count, self.seen, 4)
        };
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
