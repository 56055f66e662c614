//! Read-only iterators over the packed collections that Redis stores as one string: listpack, ziplist, intset, zipmap.
//!
//! The bytes are foreign. Each iterator checks every bound, length, back-length and count that its format has, as it
//! goes, and ends with a [`Flaw`] at the first that is wrong; nothing is allocated. What has been yielded before a flaw
//! must be thrown away: only an iteration that ends without one has seen a sound container.

mod intset;
mod listpack;
mod ziplist;
mod zipmap;

use crate::text::integer::IntText;

pub use intset::Intset;
pub use listpack::Listpack;
pub use ziplist::Ziplist;
pub use zipmap::Zipmap;

/// One element: packed formats store what looks like an integer as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// A string of bytes.
    Bytes(&'a [u8]),
    /// A string that is this integer in decimal.
    Int(i64),
}

impl Element<'_> {
    /// Lends the bytes that the element stands for.
    pub fn with_bytes<T>(&self, use_bytes: impl FnOnce(&[u8]) -> T) -> T {
        match *self {
            Element::Bytes(bytes) => use_bytes(bytes),
            Element::Int(value) => use_bytes(&IntText::new(value)),
        }
    }
}

/// What is wrong with a packed container, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Bytes from the beginning of the container.
    pub at: usize,
    /// What was found, in words.
    pub detail: &'static str,
}

/// A flaw as the error of any result.
fn flaw<T>(at: usize, detail: &'static str) -> Result<T, Flaw> {
    Err(Flaw { at, detail })
}

/// The end of an iteration that has `seen` so many elements; a flaw if the field at `at` has `stated` another number.
fn wrong_count<T>(stated: Option<usize>, seen: usize, at: usize) -> Option<Result<T, Flaw>> {
    stated
        .filter(|stated| *stated != seen)
        .map(|_| flaw(at, "the header states another count"))
}

/// The `N` bytes at `at`, or a flaw if the container ends before them.
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Flaw> {
    match bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()) {
        Some(chunk) => Ok(*chunk),
        None => flaw(at, "an entry reaches past the end"),
    }
}

/// The `len` bytes at `at`, or a flaw if the container ends before them.
fn slice_at(bytes: &[u8], at: usize, len: usize) -> Result<&[u8], Flaw> {
    match at.checked_add(len).and_then(|end| bytes.get(at..end)) {
        Some(slice) => Ok(slice),
        None => flaw(at, "an entry reaches past the end"),
    }
}

/// Sign-extends three little-endian bytes.
fn i24(bytes: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, bytes[0], bytes[1], bytes[2]]) >> 8)
}

#[cfg(test)]
mod tests;
