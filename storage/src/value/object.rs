//! A value that is a collection.

use super::{Hash, List, Set, ZSet};

/// Collections up to this many parts are dropped where they are; it takes some tens of microseconds.
pub(super) const DROP_INLINE_MAX: usize = 512;

/// A collection of any type. A clone is cheap and never changes.
#[derive(Clone)]
pub enum Object {
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A hash.
    Hash(Hash),
    /// A sorted set.
    ZSet(ZSet),
}

impl Object {
    /// The name that TYPE gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Object::List(_) => "list",
            Object::Set(_) => "set",
            Object::Hash(_) => "hash",
            Object::ZSet(_) => "zset",
        }
    }

    /// The name that OBJECT ENCODING gives.
    pub fn encoding(&self) -> &'static str {
        match self {
            Object::List(list) => list.encoding(),
            Object::Set(set) => set.encoding(),
            Object::Hash(hash) => hash.encoding(),
            Object::ZSet(zset) => zset.encoding(),
        }
    }

    /// The number of elements, members or fields.
    pub fn len(&self) -> usize {
        match self {
            Object::List(list) => list.len(),
            Object::Set(set) => set.len(),
            Object::Hash(hash) => hash.len(),
            Object::ZSet(zset) => zset.len(),
        }
    }

    /// Whether the collection is empty; the keyspace removes such keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Segments and places of the hash table that the collection is kept in, if it is; for DEBUG HTSTATS-KEY.
    pub fn table_shape(&self) -> Option<(usize, usize)> {
        match self {
            Object::List(_) => None,
            Object::Set(set) => set.table_shape(),
            Object::Hash(hash) => hash.table_shape(),
            Object::ZSet(zset) => zset.table_shape(),
        }
    }

    /// Whether it is in a small form, which a clone copies; large ones are shared.
    pub fn is_small(&self) -> bool {
        match self {
            Object::List(list) => list.is_small(),
            Object::Set(set) => set.is_small(),
            Object::Hash(hash) => hash.is_small(),
            Object::ZSet(zset) => zset.is_small(),
        }
    }

    /// Whether dropping it takes long enough to do it on another thread.
    pub fn is_large(&self) -> bool {
        match self {
            Object::List(list) => list.is_large(),
            Object::Set(set) => set.is_large(),
            Object::Hash(hash) => hash.is_large(),
            Object::ZSet(zset) => zset.is_large(),
        }
    }

    /// An estimate of the memory held: this value and its heap allocations at the capacity asked for, without the
    /// allocator's own overhead. Large forms are estimated from a sample of their chunks, and what a
    /// clone shares is counted in full on both sides.
    pub fn memory_bytes(&self) -> usize {
        let heap = match self {
            Object::List(list) => list.heap_bytes(),
            Object::Set(set) => set.heap_bytes(),
            Object::Hash(hash) => hash.heap_bytes(),
            Object::ZSet(zset) => zset.heap_bytes(),
        };
        size_of::<Object>() + heap
    }
}

macro_rules! from_collection {
    ($($collection:ident),*) => {$(
        impl From<$collection> for Object {
            fn from(collection: $collection) -> Object {
                Object::$collection(collection)
            }
        }
    )*};
}
from_collection!(List, Set, Hash, ZSet);
