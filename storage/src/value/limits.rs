//! When small forms turn into large ones.

/// The configuration that decides encodings; the defaults are those of Redis 7.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most fields of a hash in the small form.
    pub hash_max_listpack_entries: usize,
    /// Longest field or value of a hash in the small form, in bytes.
    pub hash_max_listpack_value: usize,
    /// Most members of a set of integers in the small form.
    pub set_max_intset_entries: usize,
    /// Most members of a sorted set in the small form.
    pub zset_max_listpack_entries: usize,
    /// Longest member of a sorted set in the small form, in bytes.
    pub zset_max_listpack_value: usize,
    /// Size of a list's chunks: elements if positive; -1 to -5 mean 4, 8, 16, 32 or 64 KiB.
    pub list_max_listpack_size: i32,
    /// An element of this many bytes, or more, is given a chunk of its own whatever the chunks' size. Chunks that get
    /// small are joined nevertheless.
    pub list_alone_from: usize,
    /// Kept for CONFIG; chunks are never compressed in memory.
    pub list_compress_depth: u32,
}

/// However high the limits are set, a small form with more entries than this becomes large: its operations are
/// linear, and must not take a millisecond.
pub(super) const SMALL_ENTRIES_MAX: usize = 4096;

/// The same bound for a small form's bytes.
pub(super) const SMALL_BYTES_MAX: usize = 256 * 1024;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_max_listpack_entries: 512,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_alone_from: Limits::LIST_ALONE_FROM,
            list_compress_depth: 0,
        }
    }
}

impl Limits {
    /// What [`Limits::list_alone_from`] is unless a test asks for less: such elements have chunks of their own anyhow.
    pub const LIST_ALONE_FROM: usize = 1 << 30;

    /// Most elements and most bytes of one list chunk. A chunk limited by elements is also limited to 8 KiB.
    pub(super) fn list_chunk(&self) -> (usize, usize) {
        match self.list_max_listpack_size {
            size @ 1.. => (size as usize, 8 * 1024),
            0 => (1, 8 * 1024),
            size => (usize::MAX, 4096 << (size.max(-5).unsigned_abs() - 1)),
        }
    }
}
