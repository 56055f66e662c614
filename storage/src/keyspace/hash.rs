//! From a key's bytes to its slot and its hash.
//!
//! The slot is public knowledge (CRC-16 with the `{tag}` rule, as in Redis Cluster). The hash is SipHash-1-3
//! under a key drawn at start-up: clients choose keys and see the table's order through SCAN, so anything weaker
//! would let them build collisions.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use crate::text::crc16;

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
            slot: crc16::slot(bytes),
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
