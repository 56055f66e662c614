//! From a key's bytes to its slot and its hash.
//!
//! The slot is public knowledge (CRC-16 with the `{tag}` rule, as in Redis Cluster). The hash is SipHash-1-3
//! under a key drawn at start-up: clients choose keys and see the table's order through SCAN, so anything weaker
//! would let them build collisions.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// A key with its slot and hash worked out, once per command.
#[derive(Clone, Copy, Debug)]
pub struct KeyRef<'a> {
    /// The key.
    pub bytes: &'a [u8],
    /// Its hash slot, below [`super::SLOTS`].
    pub slot: u16,
    /// Its hash under this process's random key.
    pub hash: u64,
}

impl<'a> KeyRef<'a> {
    /// Works out slot and hash.
    pub fn new(bytes: &'a [u8]) -> KeyRef<'a> {
        KeyRef {
            bytes,
            slot: slot(bytes),
            hash: hash(bytes),
        }
    }
}

static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a key, the same for the life of the process.
pub fn hash(key: &[u8]) -> u64 {
    // The length prefix that `Hash for [u8]` would add keeps sequences of slices apart; one key alone needs none.
    let mut hasher = STATE.build_hasher();
    hasher.write(key);
    hasher.finish()
}

fn slot(key: &[u8]) -> u16 {
    let mut crc = 0u16;
    for &byte in hash_tag(key) {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x1021
            } else {
                crc << 1
            };
        }
    }
    crc % 16384
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    match memchr::memchr(b'}', &key[open + 1..]) {
        Some(len) if len > 0 => &key[open + 1..open + 1 + len],
        _ => key,
    }
}
