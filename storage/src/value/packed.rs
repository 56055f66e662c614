//! A short sequence of byte strings in one allocation.
//!
//! ```text
//! entry  = length bytes length'
//! length = LEB128 varint of the number of bytes; length' = the same varint, its bytes in reverse order
//! ```
//!
//! The trailing length makes the sequence readable from either end. Example: `hi` is `02 68 69 02`; 300 bytes begin
//! with `ac 02` and end with `02 ac`. The sequence is private to memory: files use Redis's own listpack.
//!
//! Everything that looks for an index is linear, from the nearer end. Callers keep sequences below some tens of KiB.

/// A sequence of byte strings in one allocation.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    data: Vec<u8>,
    len: u32,
}

/// The bytes one entry takes in the sequence.
pub const fn entry_bytes(len: usize) -> usize {
    2 * varint_bytes(len) + len
}

const fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn encode_varint(mut value: usize, out: &mut [u8; 10]) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = value as u8;
    at + 1
}

impl Packed {
    /// An empty sequence; allocates nothing.
    pub const fn new() -> Packed {
        Packed {
            data: Vec::new(),
            len: 0,
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes all entries take.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// What the sequence holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.data.capacity()
    }

    /// The entry at byte offset `at`, and the offset of the next one; `None` at the end.
    #[inline]
    fn entry_at(&self, at: usize) -> Option<(&[u8], usize)> {
        let rest = &self.data[at..];
        let first = *rest.first()?;
        let (len, width) = if first < 0x80 {
            (usize::from(first), 1)
        } else {
            decode_forward(rest)
        };
        Some((&rest[width..width + len], at + len + 2 * width))
    }

    /// The entry that ends at byte offset `at`, and the offset where it starts; `None` at the beginning.
    #[inline]
    fn entry_before(&self, at: usize) -> Option<(&[u8], usize)> {
        let rest = &self.data[..at];
        let last = *rest.last()?;
        let (len, width) = if last < 0x80 {
            (usize::from(last), 1)
        } else {
            decode_backward(rest)
        };
        let end = at - width;
        Some((&rest[end - len..end], end - len - width))
    }

    /// The byte offset of entry `index`; of the end for `index == len`.
    fn offset(&self, index: usize) -> usize {
        assert!(index <= self.len(), "entry {index} of {}", self.len);
        if index <= self.len() / 2 {
            (0..index).fold(0, |at, _| self.entry_at(at).map_or(at, |(_, next)| next))
        } else {
            (index..self.len()).fold(self.data.len(), |at, _| {
                self.entry_before(at).map_or(at, |(_, start)| start)
            })
        }
    }

    /// The entry at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        self.entry_at(self.offset(index)).map(|(entry, _)| entry)
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            packed: self,
            at: 0,
        }
    }

    /// The entries from `index` on, in order; none if `index` is the length.
    pub fn iter_from(&self, index: usize) -> Iter<'_> {
        Iter {
            packed: self,
            at: self.offset(index.min(self.len())),
        }
    }

    /// The entries before `end`, from the last to the first.
    pub fn iter_rev_before(&self, end: usize) -> RevIter<'_> {
        RevIter {
            packed: self,
            at: self.offset(end.min(self.len())),
        }
    }

    /// Adds an entry at the end.
    pub fn push_back(&mut self, entry: &[u8]) {
        self.insert_at_offset(self.data.len(), entry);
    }

    /// Adds an entry at the beginning.
    pub fn push_front(&mut self, entry: &[u8]) {
        self.insert_at_offset(0, entry);
    }

    /// Inserts an entry before entry `index`, or at the end if `index` is the length.
    ///
    /// # Panics
    /// If `index` is beyond the length.
    pub fn insert(&mut self, index: usize, entry: &[u8]) {
        self.insert_at_offset(self.offset(index), entry);
    }

    fn insert_at_offset(&mut self, at: usize, entry: &[u8]) {
        self.open_gap(at, entry_bytes(entry.len()));
        self.write_entry(at, entry);
        self.len += 1;
    }

    /// Makes room for `bytes` at offset `at`.
    fn open_gap(&mut self, at: usize, bytes: usize) {
        let old_len = self.data.len();
        self.reserve(bytes);
        self.data.resize(old_len + bytes, 0);
        self.data.copy_within(at..old_len, at + bytes);
    }

    /// Grows by an eighth at least: doubling would waste too much on millions of small collections.
    fn reserve(&mut self, additional: usize) {
        let needed = self.data.len() + additional;
        if needed > self.data.capacity() {
            self.data.reserve_exact(additional + needed / 8);
        }
    }

    fn write_entry(&mut self, at: usize, entry: &[u8]) {
        let mut varint = [0; 10];
        let width = encode_varint(entry.len(), &mut varint);
        let place = &mut self.data[at..at + entry.len() + 2 * width];
        place[..width].copy_from_slice(&varint[..width]);
        place[width..width + entry.len()].copy_from_slice(entry);
        varint[..width].reverse();
        place[width + entry.len()..].copy_from_slice(&varint[..width]);
    }

    /// Replaces entry `index`.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn replace(&mut self, index: usize, entry: &[u8]) {
        let at = self.offset(index);
        let (_, end) = self.entry_at(at).expect("the index is within the sequence");
        let (old, new) = (end - at, entry_bytes(entry.len()));
        if new > old {
            self.open_gap(end, new - old);
        } else {
            self.data.drain(at..at + old - new);
        }
        self.write_entry(at, entry);
    }

    /// Removes the entries `from..to`.
    ///
    /// # Panics
    /// If the range is not within the sequence.
    pub fn remove_range(&mut self, from: usize, to: usize) {
        assert!(from <= to, "range {from}..{to}");
        let start = self.offset(from);
        let end = if to == self.len() {
            self.data.len()
        } else {
            (from..to).fold(start, |at, _| {
                self.entry_at(at).map_or(at, |(_, next)| next)
            })
        };
        self.data.drain(start..end);
        self.len -= (to - from) as u32;
        self.release_slack();
    }

    /// Removes entry `index`.
    ///
    /// # Panics
    /// If there is no such entry.
    pub fn remove(&mut self, index: usize) {
        self.remove_range(index, index + 1);
    }

    /// Keeps the entries for which `keep` holds; looks at each once, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let (mut from, mut to, mut len) = (0, 0, 0);
        while let Some((entry, next)) = self.entry_at(from) {
            if keep(entry) {
                self.data.copy_within(from..next, to);
                to += next - from;
                len += 1;
            }
            from = next;
        }
        self.data.truncate(to);
        self.len = len;
        self.release_slack();
    }

    /// Splits the entries from `index` on off into a new sequence.
    ///
    /// # Panics
    /// If `index` is beyond the length.
    pub fn split_off(&mut self, index: usize) -> Packed {
        let at = self.offset(index);
        let tail = Packed {
            data: self.data[at..].to_vec(),
            len: self.len - index as u32,
        };
        self.data.truncate(at);
        self.len = index as u32;
        self.release_slack();
        tail
    }

    /// Adds all entries of `other` at the end.
    pub fn append(&mut self, other: &Packed) {
        self.reserve(other.data.len());
        self.data.extend_from_slice(&other.data);
        self.len += other.len;
    }

    /// Gives memory back when less than half of it is used.
    fn release_slack(&mut self) {
        if self.data.capacity() > 64 && self.data.len() < self.data.capacity() / 2 {
            self.data.shrink_to(self.data.len() + self.data.len() / 8);
        }
    }
}

#[cold]
fn decode_forward(bytes: &[u8]) -> (usize, usize) {
    let (mut value, mut width) = (0, 0);
    for &byte in bytes {
        value |= usize::from(byte & 0x7f) << (7 * width);
        width += 1;
        if byte < 0x80 {
            break;
        }
    }
    (value, width)
}

#[cold]
fn decode_backward(bytes: &[u8]) -> (usize, usize) {
    let (mut value, mut width) = (0, 0);
    for &byte in bytes.iter().rev() {
        value |= usize::from(byte & 0x7f) << (7 * width);
        width += 1;
        if byte < 0x80 {
            break;
        }
    }
    (value, width)
}

/// Entries in order.
#[derive(Clone)]
pub struct Iter<'a> {
    packed: &'a Packed,
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (entry, next) = self.packed.entry_at(self.at)?;
        self.at = next;
        Some(entry)
    }
}

/// Entries in reverse order.
#[derive(Clone)]
pub struct RevIter<'a> {
    packed: &'a Packed,
    at: usize,
}

impl<'a> Iterator for RevIter<'a> {
    type Item = &'a [u8];
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (entry, start) = self.packed.entry_before(self.at)?;
        self.at = start;
        Some(entry)
    }
}
