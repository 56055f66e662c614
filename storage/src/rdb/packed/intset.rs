//! Intset: a set of integers, sorted.
//!
//! ```text
//! <u32 width: 2, 4 or 8> <u32 count> <integer of that width>...      little-endian, strictly ascending
//! ```

use super::{Flaw, bytes_at, flaw};

const HEADER_LEN: usize = 8;

/// An iterator over the members of an intset.
pub struct Intset<'a> {
    bytes: &'a [u8],
    width: usize,
    at: usize,
    previous: Option<i64>,
}

impl<'a> Intset<'a> {
    /// Starts at the least member, having checked the header.
    ///
    /// # Errors
    /// A [`Flaw`] if width or count do not fit the length of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Result<Intset<'a>, Flaw> {
        let width = u32::from_le_bytes(bytes_at(bytes, 0)?) as usize;
        let count = u32::from_le_bytes(bytes_at(bytes, 4)?) as usize;
        if !matches!(width, 2 | 4 | 8) {
            return flaw(0, "the width of members is not 2, 4 or 8");
        }
        if count == 0 {
            return flaw(4, "it is empty");
        }
        if count
            .checked_mul(width)
            .and_then(|len| len.checked_add(HEADER_LEN))
            != Some(bytes.len())
        {
            return flaw(4, "the header states another count");
        }
        Ok(Intset {
            bytes,
            width,
            at: HEADER_LEN,
            previous: None,
        })
    }

    fn step(&mut self) -> Result<i64, Flaw> {
        let value = match self.width {
            2 => i64::from(i16::from_le_bytes(bytes_at(self.bytes, self.at)?)),
            4 => i64::from(i32::from_le_bytes(bytes_at(self.bytes, self.at)?)),
            _ => i64::from_le_bytes(bytes_at(self.bytes, self.at)?),
        };
        if self.previous.is_some_and(|previous| previous >= value) {
            return flaw(self.at, "members are not in ascending order");
        }
        self.previous = Some(value);
        self.at += self.width;
        Ok(value)
    }
}

impl Iterator for Intset<'_> {
    type Item = Result<i64, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let item = self.step();
        if item.is_err() {
            self.at = self.bytes.len();
        }
        Some(item)
    }
}
