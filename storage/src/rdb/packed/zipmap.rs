//! Zipmap: the packed form of hashes before Redis 2.6.
//!
//! ```text
//! <u8 count, fe and above = unknown> <entry>... ff
//!
//! entry = <length> <field> <length> <u8 unused> <value> <unused bytes>
//! length = one byte below fe, or fe <u32 little-endian> for 254 and more
//! ```

use super::{Flaw, bytes_at, flaw, slice_at, wrong_count};

const END: u8 = 0xff;
const LONG: u8 = 0xfe;

/// An iterator over the fields and values of a zipmap.
pub struct Zipmap<'a> {
    bytes: &'a [u8],
    at: usize,
    seen: usize,
    count: Option<usize>,
    done: bool,
}

impl<'a> Zipmap<'a> {
    /// Starts at the first entry, having checked that there is a terminator.
    ///
    /// # Errors
    /// A [`Flaw`] if `bytes` is too short or the terminator is missing.
    pub fn new(bytes: &'a [u8]) -> Result<Zipmap<'a>, Flaw> {
        let [count, _] = bytes_at(bytes, 0)?;
        if bytes.last() != Some(&END) {
            return flaw(bytes.len() - 1, "the terminator is missing");
        }
        let count = (count < LONG).then_some(usize::from(count));
        Ok(Zipmap {
            bytes: &bytes[..bytes.len() - 1],
            at: 1,
            seen: 0,
            count,
            done: false,
        })
    }

    fn len(&mut self) -> Result<usize, Flaw> {
        let [first] = bytes_at(self.bytes, self.at)?;
        match first {
            END => flaw(self.at, "the terminator comes before the end"),
            LONG => {
                let len = u32::from_le_bytes(bytes_at(self.bytes, self.at + 1)?);
                if len < u32::from(LONG) {
                    return flaw(self.at, "a short length is stored in the long form");
                }
                self.at += 5;
                Ok(len as usize)
            }
            short => {
                self.at += 1;
                Ok(usize::from(short))
            }
        }
    }

    fn step(&mut self) -> Result<(&'a [u8], &'a [u8]), Flaw> {
        let field_len = self.len()?;
        let field = slice_at(self.bytes, self.at, field_len)?;
        self.at += field_len;
        let value_len = self.len()?;
        let [unused] = bytes_at(self.bytes, self.at)?;
        self.at += 1;
        let value = slice_at(self.bytes, self.at, value_len)?;
        slice_at(self.bytes, self.at + value_len, usize::from(unused))?;
        self.at += value_len + usize::from(unused);
        self.seen += 1;
        Ok((field, value))
    }
}

impl<'a> Iterator for Zipmap<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = if self.at < self.bytes.len() {
            Some(self.step())
        } else if self.seen == 0 {
            Some(flaw(0, "it is empty"))
        } else {
            wrong_count(self.count, self.seen, 0)
        };
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
