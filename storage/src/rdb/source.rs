//! Where an RDB is read from: memory, or a stream that comes piece by piece.

use std::io::{self, BufRead};

use super::crc64::Crc64;
use super::error::RdbError;

/// Bytes to be taken in order.
pub(super) trait Source {
    /// How many bytes have been taken.
    fn position(&self) -> u64;

    /// The next `len` bytes. Never allocates more than about twice what there really is.
    fn take(&mut self, len: u64) -> Result<&[u8], RdbError>;

    /// The checksum of all bytes taken.
    fn checksum(&mut self) -> Result<u64, RdbError>;

    /// The next byte.
    #[inline]
    fn byte(&mut self) -> Result<u8, RdbError> {
        Ok(self.take(1)?[0])
    }

    /// The next `N` bytes.
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let bytes = self.take(N as u64)?;
        Ok(*bytes.first_chunk().expect("exactly the bytes asked for"))
    }
}

/// Memory, all of it there.
pub(super) struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What the offsets in errors start from.
    base: u64,
}

impl<'a> SliceSource<'a> {
    pub fn new(bytes: &'a [u8]) -> SliceSource<'a> {
        SliceSource {
            bytes,
            at: 0,
            base: 0,
        }
    }

    /// A part of a file that stands at `base` in it.
    pub fn at_offset(bytes: &'a [u8], base: u64) -> SliceSource<'a> {
        SliceSource { bytes, at: 0, base }
    }

    /// The bytes between two positions that have both been passed.
    pub fn between(&self, from: u64, to: u64) -> &'a [u8] {
        &self.bytes[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// True if all has been taken.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The next `len` bytes, which outlive the source.
    pub fn advance(&mut self, len: u64) -> Result<&'a [u8], RdbError> {
        let rest = &self.bytes[self.at..];
        let len_left = rest.len() as u64;
        if len > len_left {
            return Err(RdbError::Truncated {
                offset: self.base + self.bytes.len() as u64,
                missing: len - len_left,
            });
        }
        self.at += len as usize;
        Ok(&rest[..len as usize])
    }
}

impl Source for SliceSource<'_> {
    #[inline]
    fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    #[inline]
    fn take(&mut self, len: u64) -> Result<&[u8], RdbError> {
        self.advance(len)
    }

    fn checksum(&mut self) -> Result<u64, RdbError> {
        Ok(super::crc64::crc64(&self.bytes[..self.at]))
    }
}

/// A buffered stream. Takes from it exactly what is asked for, and leaves the rest to whoever reads on.
pub(super) struct StreamSource<'r, R> {
    reader: &'r mut R,
    /// Bytes of the reader's buffer that have been taken, but are neither consumed nor in the checksum yet.
    pending: usize,
    /// Bytes that were consumed.
    consumed: u64,
    crc: Crc64,
    /// What did not lie in one piece in the reader's buffer.
    joined: Vec<u8>,
}

/// A larger buffer is given back when it is next used for less.
const JOINED_KEPT_MAX: usize = 1 << 20;

impl<'r, R: BufRead> StreamSource<'r, R> {
    pub fn new(reader: &'r mut R) -> StreamSource<'r, R> {
        StreamSource {
            reader,
            pending: 0,
            consumed: 0,
            crc: Crc64::new(),
            joined: Vec::new(),
        }
    }

    /// Consumes what has been taken, so that the reader stands behind it.
    pub fn settle(&mut self) -> Result<(), RdbError> {
        if self.pending > 0 {
            let buffer = self.reader.fill_buf()?;
            self.crc.update(&buffer[..self.pending]);
            self.reader.consume(self.pending);
            self.consumed += self.pending as u64;
            self.pending = 0;
        }
        Ok(())
    }

    /// Moves the next `len` bytes into `joined`, which grows as they come.
    fn join(&mut self, len: u64) -> Result<(), RdbError> {
        self.settle()?;
        let mut left = len;
        while left > 0 {
            let piece = match self.reader.fill_buf() {
                Ok([]) => {
                    return Err(RdbError::Truncated {
                        offset: self.consumed,
                        missing: left,
                    });
                }
                Ok(buffer) => {
                    &buffer[..usize::try_from(left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len())]
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            self.crc.update(piece);
            self.joined.extend_from_slice(piece);
            let len = piece.len();
            self.reader.consume(len);
            self.consumed += len as u64;
            left -= len as u64;
        }
        Ok(())
    }
}

impl<R: BufRead> Source for StreamSource<'_, R> {
    fn position(&self) -> u64 {
        self.consumed + self.pending as u64
    }

    fn take(&mut self, len: u64) -> Result<&[u8], RdbError> {
        let from = self.pending;
        // While bytes are pending the buffer is not empty, so this does not block; the length tells if it is enough.
        let available = match self.reader.fill_buf() {
            Ok(buffer) => buffer.len() - from,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error.into()),
        };
        if len <= available as u64 {
            self.pending = from + len as usize;
            return Ok(&self.reader.fill_buf()?[from..self.pending]);
        }
        self.joined.clear();
        if self.joined.capacity() > JOINED_KEPT_MAX && len < JOINED_KEPT_MAX as u64 {
            self.joined = Vec::new();
        }
        self.join(len)?;
        Ok(&self.joined)
    }

    fn checksum(&mut self) -> Result<u64, RdbError> {
        self.settle()?;
        Ok(self.crc.value())
    }
}
