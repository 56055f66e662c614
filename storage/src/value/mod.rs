//! The collection types: lists, sets, hashes and sorted sets.
//!
//! Two promises shape all of them:
//!
//! * **A clone is cheap and shares.** Large forms consist of chunks of a few hundred entries behind `Arc`s, and
//!   directories of those; whoever writes to a collection that a snapshot still holds copies the chunks it touches
//!   and nothing else. A clone never changes.
//! * **Nothing stalls because a collection is large.** An operation that is not O(n) by definition moves at most a
//!   chunk or two, plus directories of pointers: no rehash, no reallocation of everything. Freeing a large
//!   collection is O(n), so its owner drops it on another thread ([`Object::is_large`]).
//!
//! | type | small form | large form |
//! |---|---|---|
//! | [`Hash`](struct@Hash) | [`packed`] pairs, "listpack" | [`dict`], "hashtable" |
//! | [`Set`] | sorted integers, "intset" | [`dict`], "hashtable" |
//! | [`ZSet`] | [`packed`] pairs in order, "listpack" | [`dict`] and counted B+[`tree`], "skiplist" |
//! | [`List`] | one [`packed`] chunk, "quicklist" | [`tree`] of chunks, "quicklist" |
//!
//! Small forms turn into large ones by [`Limits`], as in Redis 7.0, and never back. Strings are not here: they live
//! in the keyspace's records. Nothing here locks; a collection belongs to whoever holds its slot's lock.

pub mod dict;
mod hash;
mod limits;
mod list;
mod object;
pub mod packed;
mod set;
pub(crate) mod shared_with_snapshot;
mod tree;
mod zset;
mod zset_bounds;

#[cfg(test)]
mod tests;

pub use hash::Hash;
pub use limits::Limits;
pub use list::{End, List};
pub use object::Object;
pub use set::{Member, Set};
pub use zset::{InsertResult, ZSet, ZSetBuilder};
pub use zset_bounds::{LexBound, ScoreBound};

/// An immutable byte string that clones share: one thin pointer, one allocation.
pub(crate) type SharedBytes = triomphe::ThinArc<(), u8>;

fn shared(bytes: &[u8]) -> SharedBytes {
    SharedBytes::from_header_and_slice((), bytes)
}

/// What is left of a byte string when `own` references to it are gone.
fn bytes_left(bytes: &SharedBytes, own: usize) -> usize {
    if SharedBytes::strong_count(bytes) > own {
        shared_heap_bytes(bytes.slice.len())
    } else {
        0
    }
}

/// What a [`SharedBytes`] of `len` bytes takes on the heap: reference count, length, bytes.
const fn shared_heap_bytes(len: usize) -> usize {
    16 + len
}
