//! Loading with several threads: one finds where each key begins and ends, others decode and insert.

use crate::DbIndex;
use crate::value::{Limits, Object};

use super::decode::{Scratch, Value, read_string, read_value, skip_value};
use super::error::{RdbError, Refused};
use super::format::{Meta, VERSION_CHECKSUM, ValueType};
use super::read::{Checksum, Entry, Loaded, Visitor, verify_slice, walk};
use super::source::{SliceSource, Source};

/// Receives the items of an RDB with the keys and values still encoded.
///
/// The same as [`LoadTarget`](super::LoadTarget) but for the keys: gather a few hundred entries, which are small and
/// lend from the file, and send them to a thread that has an [`EntryDecoder`].
pub trait SplitTarget<'a> {
    /// A field of information about the file.
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let _ = (name, value);
        Ok(())
    }

    /// The database of the keys that follow; 0 before the first call.
    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused>;

    /// How many keys the database will have. From the file, so not to be allocated for without limit.
    fn resize_hint(&mut self, keys: u64, expires: u64) {
        let _ = (keys, expires);
    }

    /// The source of a function library.
    fn function(&mut self, code: &[u8]) -> Result<(), Refused>;

    /// A key with its value.
    fn entry(&mut self, entry: RawEntry<'a>) -> Result<(), Refused>;

    /// Called about once per MiB with the bytes passed up to now; a refusal cancels the load.
    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        let _ = bytes;
        Ok(())
    }
}

/// A key with its value, undecoded.
#[derive(Clone, Copy, Debug)]
pub struct RawEntry<'a> {
    ty: ValueType,
    meta: Meta,
    /// Key and value.
    bytes: &'a [u8],
    /// Where they stand in the file.
    offset: u64,
}

impl RawEntry<'_> {
    /// The length of the encoded key and value: what decoding it will roughly cost.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    /// Where it stands in the file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Expiry and use.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }
}

/// A value out of a [`RawEntry`].
pub enum Decoded<'s> {
    /// A string.
    String(&'s [u8]),
    /// A collection, which is not empty.
    Object(Object),
    /// An empty collection, to be counted and skipped.
    Empty,
}

/// Decodes raw entries; one per thread, for its scratch space.
#[derive(Default)]
pub struct EntryDecoder {
    scratch: Scratch,
    key: Vec<u8>,
}

impl EntryDecoder {
    /// A decoder without scratch space yet.
    pub fn new() -> EntryDecoder {
        EntryDecoder::default()
    }

    /// Decodes key and value and lends them to `take`.
    ///
    /// # Errors
    /// [`RdbError`] if either is corrupt; offsets are those in the file.
    pub fn decode<T>(
        &mut self,
        entry: &RawEntry<'_>,
        limits: &Limits,
        take: impl FnOnce(&[u8], Decoded<'_>) -> T,
    ) -> Result<T, RdbError> {
        let mut source = SliceSource::at_offset(entry.bytes, entry.offset);
        self.key.clear();
        self.key
            .extend_from_slice(read_string(&mut source, &mut self.scratch)?);
        let value = match read_value(&mut source, entry.ty, &mut self.scratch, limits)? {
            Value::String(value) => Decoded::String(value),
            Value::Object(object) => Decoded::Object(object),
            Value::Empty => Decoded::Empty,
        };
        Ok(take(&self.key, value))
    }
}

/// Walks an RDB that is in memory or mapped, after verifying its checksum.
///
/// `keys` of the result counts raw entries, empty ones too.
///
/// # Errors
/// As for [`load_slice`](super::load_slice), except for corruption inside values, which comes up when they are decoded.
pub fn split_slice<'a, T: SplitTarget<'a>>(
    bytes: &'a [u8],
    verify_checksum: bool,
    target: &mut T,
) -> Result<Loaded, RdbError> {
    let checksum = if verify_checksum {
        verify_slice(bytes)?.0
    } else {
        Checksum::Ignored
    };
    let mut split = Split { target, keys: 0 };
    let mut source = SliceSource::new(bytes);
    let version = walk(&mut source, &mut split)?;
    let keys = split.keys;
    if version >= VERSION_CHECKSUM {
        source.array::<8>()?;
    }
    Ok(Loaded {
        version,
        keys,
        empty_keys_skipped: 0,
        bytes: source.position(),
        checksum,
    })
}

struct Split<'t, T> {
    target: &'t mut T,
    keys: u64,
}

impl<'a, T: SplitTarget<'a>> Visitor<SliceSource<'a>> for Split<'_, T> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.target.aux(name, value)
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.target.select_db(db)
    }

    fn resize_hint(&mut self, keys: u64, expires: u64) {
        self.target.resize_hint(keys, expires);
    }

    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        self.target.function(code)
    }

    fn entry(&mut self, source: &mut SliceSource<'a>, entry: Entry<'_>) -> Result<(), RdbError> {
        skip_value(source, entry.ty)?;
        let bytes = source.between(entry.key_offset, source.position());
        let raw = RawEntry {
            ty: entry.ty,
            meta: entry.meta,
            bytes,
            offset: entry.key_offset,
        };
        self.target
            .entry(raw)
            .map_err(|refused| RdbError::Refused {
                offset: entry.key_offset,
                reason: refused.0,
            })?;
        self.keys += 1;
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        self.target.progress(bytes)
    }
}
