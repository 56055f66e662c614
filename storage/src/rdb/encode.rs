//! From keys and values to bytes.
//!
//! Collections are written element by element, in the types that every version since Redis 4 reads: whoever loads them
//! packs them by its own limits, they need no back-lengths, and they are about as large as their packed forms. A set
//! of integers is the exception: it is written as the intset that it is, which is both smaller and quicker.
//!
//! For versions before that of Redis 4 the scores of sorted sets are written as text. What else an old version lacks of
//! a key, its idle time or frequency, is left out.

use crate::text::double;
use crate::text::integer::{self, IntText};
use crate::value::{Object, Set};

use super::format::{
    Access, Meta, VERSION_ACCESS, VERSION_BINARY_SCORES, VERSION_WRITE, ValueType, opcode, special,
};
use super::lzf::Compressor;

/// A value to be written.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string.
    String(&'a [u8]),
    /// A string that is this integer in decimal.
    Int(i64),
    /// A collection.
    Object(&'a Object),
}

/// Shorter strings are never compressed.
const COMPRESS_LEN_MIN: usize = 21;

/// After so many strings of about one length in a row that did not get shorter,
const VAIN_MAX: u32 = 64;
/// only one of so many is tried, until one does.
const TRIED_OF_VAIN: u32 = 16;
/// Longer strings are never compressed either: they would be in memory another time, or two.
pub const COMPRESS_LEN_MAX: usize = 16 << 20;

/// Bytes after which a large collection is passed on.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Scratch space beyond this is given back after use.
const PACKED_KEPT_MAX: usize = 1 << 20;
/// The length of the longest 32-bit integer in decimal.
const INT32_TEXT_LEN_MAX: usize = 11;

/// Writes keys and values into buffers. Holds no state but scratch space, so one per thread will do.
pub struct Encoder {
    version: u32,
    compressor: Option<Compressor>,
    packed: Vec<u8>,
    /// By the binary logarithm of a string's length: those in a row for which compression was no use, or not tried.
    vain: [u32; usize::BITS as usize],
}

impl Encoder {
    /// An encoder that compresses strings (64 KiB of table) or does not.
    pub fn new(compress: bool) -> Encoder {
        Encoder::for_version(VERSION_WRITE, compress)
    }

    /// An encoder whose bytes readers of `version` understand.
    pub(super) fn for_version(version: u32, compress: bool) -> Encoder {
        Encoder {
            version,
            compressor: compress.then(Compressor::new),
            packed: Vec::new(),
            vain: [0; usize::BITS as usize],
        }
    }

    /// Appends a key with its value.
    pub fn entry(&mut self, out: &mut Vec<u8>, key: &[u8], value: ValueRef<'_>, meta: &Meta) {
        self.entry_in_pieces(out, key, value, meta, &mut |_| {});
    }

    /// Appends a key with its value, and has `pass_on` take from the buffer whenever there are [`PIECE_BYTES`] in it, so
    /// that a large collection need not be in memory twice.
    pub fn entry_in_pieces(
        &mut self,
        out: &mut Vec<u8>,
        key: &[u8],
        value: ValueRef<'_>,
        meta: &Meta,
        pass_on: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        self.entry_head(out, key, self.value_type(value), meta);
        self.value(out, value, pass_on);
    }

    /// Appends a key whose value is a string of `len` bytes. The bytes follow as they are: the caller appends them.
    pub fn long_string_head(&mut self, out: &mut Vec<u8>, key: &[u8], len: u64, meta: &Meta) {
        self.entry_head(out, key, ValueType::String, meta);
        put_length(out, len);
    }

    fn entry_head(&mut self, out: &mut Vec<u8>, key: &[u8], value_type: ValueType, meta: &Meta) {
        self.meta(out, meta);
        out.push(value_type as u8);
        self.string(out, key);
    }

    /// Appends what is known of the next key.
    pub(super) fn meta(&self, out: &mut Vec<u8>, meta: &Meta) {
        if let Some(expire) = meta.expire {
            out.push(opcode::EXPIRE_MS);
            out.extend_from_slice(&expire.0.to_le_bytes());
        }
        match meta.access.filter(|_| self.version >= VERSION_ACCESS) {
            Some(Access::IdleSeconds(seconds)) => {
                out.push(opcode::IDLE);
                put_length(out, seconds);
            }
            Some(Access::Frequency(frequency)) => {
                out.extend_from_slice(&[opcode::FREQUENCY, frequency])
            }
            None => {}
        }
    }

    /// Appends type and value, as DUMP has them.
    pub(super) fn typed_value(&mut self, out: &mut Vec<u8>, value: ValueRef<'_>) {
        out.push(self.value_type(value) as u8);
        self.value(out, value, &mut |_| {});
    }

    fn value_type(&self, value: ValueRef<'_>) -> ValueType {
        match value {
            ValueRef::String(_) | ValueRef::Int(_) => ValueType::String,
            ValueRef::Object(Object::List(_)) => ValueType::List,
            ValueRef::Object(Object::Set(set)) if is_written_as_intset(set) => ValueType::SetIntset,
            ValueRef::Object(Object::Set(_)) => ValueType::Set,
            ValueRef::Object(Object::Hash(_)) => ValueType::Hash,
            ValueRef::Object(Object::ZSet(_)) if self.version < VERSION_BINARY_SCORES => {
                ValueType::ZSet
            }
            ValueRef::Object(Object::ZSet(_)) => ValueType::ZSet2,
        }
    }

    fn value(
        &mut self,
        out: &mut Vec<u8>,
        value: ValueRef<'_>,
        pass_on: &mut dyn FnMut(&mut Vec<u8>),
    ) {
        let mut pass_on_full = |out: &mut Vec<u8>| {
            if out.len() >= PIECE_BYTES {
                pass_on(out);
            }
        };
        let object = match value {
            ValueRef::String(bytes) => return self.string(out, bytes),
            ValueRef::Int(int) => return put_int(out, int),
            ValueRef::Object(object) => object,
        };
        match object {
            Object::List(list) => {
                put_length(out, list.len() as u64);
                for element in list.iter() {
                    self.string(out, element);
                    pass_on_full(out);
                }
            }
            Object::Set(set) => match set.ints() {
                Some(ints) => self.intset(out, ints),
                None => {
                    put_length(out, set.len() as u64);
                    for member in set.iter() {
                        self.string(out, &member);
                        pass_on_full(out);
                    }
                }
            },
            Object::Hash(hash) => {
                put_length(out, hash.len() as u64);
                for (field, value) in hash.iter() {
                    self.string(out, field);
                    self.string(out, value);
                    pass_on_full(out);
                }
            }
            Object::ZSet(zset) => {
                put_length(out, zset.len() as u64);
                for (member, score) in zset.iter() {
                    self.string(out, member);
                    if self.version < VERSION_BINARY_SCORES {
                        put_text_score(out, score);
                    } else {
                        out.extend_from_slice(&score.to_le_bytes());
                    }
                    pass_on_full(out);
                }
            }
        }
    }

    /// Appends a string in the shortest of its forms: as an integer, compressed, or as it is.
    pub(super) fn string(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        if bytes.len() <= INT32_TEXT_LEN_MAX
            && let Some(int) = integer::parse_i64(bytes)
            && i32::try_from(int).is_ok()
        {
            return put_int(out, int);
        }
        if (COMPRESS_LEN_MIN..=COMPRESS_LEN_MAX).contains(&bytes.len())
            && let Some(compressor) = &mut self.compressor
            && let vain = &mut self.vain[bytes.len().ilog2() as usize]
            && is_worth_a_try(vain)
        {
            // What the second length costs must be won, and a little more.
            let len_max = bytes.len() - 4 - length_len(bytes.len() as u64);
            self.packed.clear();
            if let Some(packed_len) = compressor.compress(bytes, &mut self.packed, len_max) {
                *vain = 0;
                out.push(special::MARK | special::LZF);
                put_length(out, packed_len as u64);
                put_length(out, bytes.len() as u64);
                out.extend_from_slice(&self.packed);
                // One large value must not keep its memory for the rest of the walk.
                self.packed.clear();
                self.packed.shrink_to(PACKED_KEPT_MAX);
                return;
            }
        }
        put_length(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    /// Appends sorted integers as an intset of the least width that holds them.
    fn intset(&mut self, out: &mut Vec<u8>, ints: &[i64]) {
        let fits = |min: i64, max: i64| ints.iter().all(|int| (min..=max).contains(int));
        let width = match () {
            () if fits(i16::MIN.into(), i16::MAX.into()) => 2,
            () if fits(i32::MIN.into(), i32::MAX.into()) => 4,
            () => 8,
        };
        let mut packed = Vec::with_capacity(8 + width * ints.len());
        packed.extend_from_slice(&(width as u32).to_le_bytes());
        packed.extend_from_slice(&(ints.len() as u32).to_le_bytes());
        for int in ints {
            packed.extend_from_slice(&int.to_le_bytes()[..width]);
        }
        self.string(out, &packed);
    }
}

/// Whether to compress a string, after so many in vain; counts this one with them.
fn is_worth_a_try(vain: &mut u32) -> bool {
    let before = *vain;
    *vain = before.wrapping_add(1);
    before < VAIN_MAX || before.is_multiple_of(TRIED_OF_VAIN)
}

fn is_written_as_intset(set: &Set) -> bool {
    set.ints().is_some()
}

/// Appends an integer as a string: binary up to 32 bits, else as text.
fn put_int(out: &mut Vec<u8>, int: i64) {
    if let Ok(int) = i8::try_from(int) {
        out.extend_from_slice(&[special::MARK | special::INT8, int as u8]);
    } else if let Ok(int) = i16::try_from(int) {
        out.push(special::MARK | special::INT16);
        out.extend_from_slice(&int.to_le_bytes());
    } else if let Ok(int) = i32::try_from(int) {
        out.push(special::MARK | special::INT32);
        out.extend_from_slice(&int.to_le_bytes());
    } else {
        let text = IntText::new(int);
        put_length(out, text.len() as u64);
        out.extend_from_slice(&text);
    }
}

/// Appends a score as readers before version 8 want it; `decode` has the format.
fn put_text_score(out: &mut Vec<u8>, score: f64) {
    if score.is_infinite() {
        return out.push(if score > 0.0 { 254 } else { 255 });
    }
    let text = double::to_vec(score);
    // The shortest text that gives the same number back has 25 characters at most.
    out.push(text.len() as u8);
    out.extend_from_slice(&text);
}

/// Appends the choice of a database, for the entries that follow.
pub fn encode_select(out: &mut Vec<u8>, db: crate::DbIndex) {
    out.push(opcode::SELECT_DB);
    put_length(out, u64::from(db));
}

/// Appends a length field.
pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// How long the length field for `length` is.
fn length_len(length: u64) -> usize {
    match length {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..=0xffff_ffff => 5,
        _ => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng};

    #[test]
    fn compression_in_vain_is_tried_less_and_found_again() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        let mut encoder = Encoder::new(true);
        let mut is_compressed = |bytes: &[u8]| {
            let mut out = Vec::new();
            encoder.string(&mut out, bytes);
            out[0] == special::MARK | special::LZF
        };
        let repeating = [b'x'; 100];
        assert!(is_compressed(&repeating));
        for _ in 0..1000 {
            let noise: [u8; 100] = rng.random();
            assert!(!is_compressed(&noise));
        }
        assert!(is_compressed(&[b'x'; 300]), "lengths are apart");
        let missed = (0..100).position(|_| is_compressed(&repeating));
        assert!(missed.is_some_and(|missed| missed < TRIED_OF_VAIN as usize));
        assert!((0..100).all(|_| is_compressed(&repeating)));
    }
}
