//! A hash table that grows, shrinks and is copied in small steps: linear hashing over shared segments.
//!
//! ```text
//! Dict ── pages ── up to 256 segments each ── hash table of about 100 to 400 entries each
//! ```
//!
//! With `n` segments and `2^L <= n < 2^(L+1)`, an entry lives in segment `hash mod 2^(L+1)` if there is such a
//! segment, else in segment `hash mod 2^L`. When the average load passes [`LOAD_MAX`], one segment is split: the new
//! segment `n` takes its share of segment `n - 2^L`. Below [`LOAD_MIN`] the last segment goes back where it came
//! from. So a step of growth costs one segment, whatever the size, and no segment is ever much larger than twice the
//! average load (the hash is keyed, so nobody can choose colliding keys).
//!
//! Pages and segments are behind `Arc`: a clone copies the list of pages (one per 50000 entries) and shares the
//! rest; a writer copies the page and segment it touches.
//!
//! **SCAN.** A cursor is a position in the order of bit-reversed hashes, in which every segment covers one
//! contiguous range, splits divide ranges and merges join two neighbours. A scan returns entries in that order
//! and answers with the position after the last one returned. An entry's position never changes, so an entry that is
//! there throughout is returned, no matter how the table grows or shrinks, and exactly once.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use hashbrown::HashTable;
use rand::{Rng, RngExt};
use smallvec::SmallVec;
use triomphe::Arc;

use super::shared_with_snapshot::{note, own};

/// What a [`Dict`] stores: something with a key in it, cheap to clone.
pub trait Entry: Clone {
    /// The bytes that identify the entry.
    fn key(&self) -> &[u8];
    /// What the entry owns on the heap.
    fn heap_bytes(&self) -> usize;
    /// What others still hold of it when the table lets go of it.
    fn bytes_left(&self) -> usize;
}

/// Average entries per segment above which one more segment is made.
const LOAD_MAX: usize = 192;
/// Average entries per segment below which there is one segment less.
const LOAD_MIN: usize = 80;
/// Segments per page.
const PAGE: usize = 256;
/// Cursor positions are the top 48 bits of a reversed hash, so that cursors are exact in a double.
const POSITION_BITS: u32 = 48;
const POSITION_END: u64 = 1 << POSITION_BITS;

type Segment<E> = HashTable<E>;

struct Page<E>(SmallVec<[Arc<Segment<E>>; 1]>);

impl<E> Page<E> {
    fn bytes(&self) -> usize {
        self.0.len() * size_of::<Arc<Segment<E>>>()
    }
}

impl<E> Clone for Page<E> {
    fn clone(&self) -> Page<E> {
        Page(self.0.clone())
    }
}

/// A hash table of entries with cheap clones; see the module's description.
pub struct Dict<E> {
    pages: SmallVec<[Arc<Page<E>>; 1]>,
    segments: usize,
    len: usize,
}

impl<E> Clone for Dict<E> {
    fn clone(&self) -> Dict<E> {
        Dict {
            pages: self.pages.clone(),
            segments: self.segments,
            len: self.len,
        }
    }
}

impl<E: Entry> Default for Dict<E> {
    fn default() -> Dict<E> {
        Dict::new()
    }
}

/// The hash of a key, under a key of this process.
fn hash_of(key: &[u8]) -> u64 {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    STATE.get_or_init(RandomState::new).hash_one(key)
}

/// The hash a segment's own table uses: other bits than those that choose the segment.
#[inline]
fn inner_hash(hash: u64) -> u64 {
    hash.rotate_left(32)
}

#[inline]
fn position_of(hash: u64) -> u64 {
    hash.reverse_bits() >> (64 - POSITION_BITS)
}

impl<E: Entry> Dict<E> {
    /// An empty table.
    pub fn new() -> Dict<E> {
        let mut pages = SmallVec::new();
        let mut page = SmallVec::new();
        page.push(Arc::new(HashTable::new()));
        pages.push(Arc::new(Page(page)));
        Dict {
            pages,
            segments: 1,
            len: 0,
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The segment a hash belongs to, and how many low bits of the hash decide that.
    #[inline]
    fn locate(&self, hash: u64) -> (usize, u32) {
        let level = self.segments.ilog2();
        let wide = (hash & ((2u64 << level) - 1)) as usize;
        let half = 1usize << level;
        let narrow = wide & (half - 1);
        if wide < self.segments {
            // A segment is addressed by one bit more if its other half exists too.
            (
                wide,
                if narrow + half < self.segments {
                    level + 1
                } else {
                    level
                },
            )
        } else {
            (narrow, level)
        }
    }

    #[inline]
    fn segment(&self, index: usize) -> &Segment<E> {
        &self.pages[index / PAGE].0[index % PAGE]
    }

    /// The segment for writing: its page and itself are copied if a clone shares them.
    #[inline]
    fn segment_mut(&mut self, index: usize) -> &mut Segment<E> {
        let page = own(&mut self.pages[index / PAGE], Page::bytes);
        own(&mut page.0[index % PAGE], Segment::allocation_size)
    }

    /// The entry with this key.
    pub fn get(&self, key: &[u8]) -> Option<&E> {
        let hash = hash_of(key);
        self.segment(self.locate(hash).0)
            .find(inner_hash(hash), |entry| entry.key() == key)
    }

    /// Whether there is an entry with this key.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Adds an entry, or replaces the one with the same key and returns the old one.
    pub fn insert(&mut self, entry: E) -> Option<E> {
        let hash = hash_of(entry.key());
        let index = self.locate(hash).0;
        let segment = self.segment_mut(index);
        if let Some(old) = segment.find_mut(inner_hash(hash), |old| old.key() == entry.key()) {
            note(old.bytes_left());
            return Some(std::mem::replace(old, entry));
        }
        segment.insert_unique(inner_hash(hash), entry, |entry| {
            inner_hash(hash_of(entry.key()))
        });
        self.len += 1;
        if self.len > self.segments * LOAD_MAX {
            self.split();
        }
        None
    }

    /// Removes the entry with this key and returns it.
    pub fn remove(&mut self, key: &[u8]) -> Option<E> {
        let hash = hash_of(key);
        let index = self.locate(hash).0;
        // A look before the copy: a key that is not there must not cost a shared segment.
        self.segment(index)
            .find(inner_hash(hash), |entry| entry.key() == key)?;
        let found = self
            .segment_mut(index)
            .find_entry(inner_hash(hash), |entry| entry.key() == key)
            .ok()?;
        let (entry, _) = found.remove();
        note(entry.bytes_left());
        self.len -= 1;
        if self.segments > 1 && self.len < self.segments * LOAD_MIN {
            self.merge();
        }
        Some(entry)
    }

    /// Adds one segment, which takes its entries from the one it is the other half of.
    fn split(&mut self) {
        let new_index = self.segments;
        let half = 1usize << new_index.ilog2();
        let bit = half as u64;
        let old = std::mem::take(self.segment_slot(new_index - half));
        let hashed: Vec<(u64, E)> = drain(old)
            .map(|entry| (hash_of(entry.key()), entry))
            .collect();
        let moving = hashed.iter().filter(|(hash, _)| hash & bit != 0).count();
        let mut stay = HashTable::with_capacity(hashed.len() - moving);
        let mut leave = HashTable::with_capacity(moving);
        for (hash, entry) in hashed {
            let table = if hash & bit != 0 {
                &mut leave
            } else {
                &mut stay
            };
            table.insert_unique(inner_hash(hash), entry, |entry| {
                inner_hash(hash_of(entry.key()))
            });
        }
        *self.segment_slot(new_index - half) = Arc::new(stay);
        if new_index.is_multiple_of(PAGE) {
            self.pages.push(Arc::new(Page(SmallVec::new())));
        }
        own(&mut self.pages[new_index / PAGE], Page::bytes)
            .0
            .push(Arc::new(leave));
        self.segments += 1;
    }

    /// Takes the last segment away and gives its entries back to the one it came from.
    fn merge(&mut self) {
        let last = self.segments - 1;
        let page = own(&mut self.pages[last / PAGE], Page::bytes);
        let Some(segment) = page.0.pop() else { return };
        if page.0.is_empty() {
            self.pages.pop();
        }
        self.segments = last;
        let target = self.segment_mut(last - (1 << last.ilog2()));
        target.reserve(segment.len(), |entry| inner_hash(hash_of(entry.key())));
        for entry in drain(segment) {
            target.insert_unique(inner_hash(hash_of(entry.key())), entry, |entry| {
                inner_hash(hash_of(entry.key()))
            });
        }
    }

    fn segment_slot(&mut self, index: usize) -> &mut Arc<Segment<E>> {
        &mut own(&mut self.pages[index / PAGE], Page::bytes).0[index % PAGE]
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.pages
            .iter()
            .flat_map(|page| page.0.iter())
            .flat_map(|segment| segment.iter())
    }

    /// Any entry, all with the same probability; `None` if there are none.
    pub fn random<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<&E> {
        if self.is_empty() {
            return None;
        }
        // A random place in a random segment, until there is something: fair if all segments have as many places
        // to draw from, whether they use them or not.
        let places = if self.segments == 1 {
            self.segment(0).num_buckets()
        } else {
            1024
        };
        for _ in 0..1000 {
            let segment = self.segment(rng.random_range(0..self.segments));
            let place = rng.random_range(0..places.max(segment.num_buckets()));
            if let Some(entry) = segment.get_bucket(place) {
                return Some(entry);
            }
        }
        // Hardly anything is left of a once large table: look from a random segment on.
        let start = rng.random_range(0..self.segments);
        (start..self.segments)
            .chain(0..start)
            .find_map(|index| self.segment(index).iter().next())
    }

    /// Visits about `count` entries from `cursor` on and returns the cursor to go on with; 0 begins, 0 ends.
    ///
    /// Takes time proportional to `count`, even where the table is almost empty.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&E)) -> u64 {
        let mut position = cursor;
        let mut left = count.max(1);
        let mut segments_left = left.saturating_mul(10);
        while position < POSITION_END {
            let (index, bits) = self.locate((position << (64 - POSITION_BITS)).reverse_bits());
            let mut found: SmallVec<[(u64, &E); 512]> = self
                .segment(index)
                .iter()
                .map(|entry| (position_of(hash_of(entry.key())), entry))
                .filter(|(at, _)| *at >= position)
                .collect();
            if found.len() > left {
                let (_, boundary, _) = found.select_nth_unstable_by_key(left - 1, |(at, _)| *at);
                let boundary = boundary.0;
                found
                    .iter()
                    .filter(|(at, _)| *at <= boundary)
                    .for_each(|(_, entry)| visit(entry));
                position = boundary + 1;
                break;
            }
            found.iter().for_each(|(_, entry)| visit(entry));
            left -= found.len();
            let width = 1u64 << (POSITION_BITS - bits);
            position = (position & !(width - 1)) + width;
            segments_left -= 1;
            if left == 0 || segments_left == 0 {
                break;
            }
        }
        if position >= POSITION_END {
            0
        } else {
            position
        }
    }

    /// The number of segments, and the places that they have for entries; walks the segments.
    pub fn shape(&self) -> (usize, usize) {
        let segments = self.pages.iter().flat_map(|page| page.0.iter());
        let places = segments.map(|segment| segment.num_buckets()).sum();
        (self.segments, places)
    }

    /// An estimate of the heap memory of the table and its entries, from a sample of the entries.
    pub fn heap_bytes(&self) -> usize {
        const SAMPLE_SEGMENTS: usize = 8;
        let sampled = self.segments.min(SAMPLE_SEGMENTS);
        let (mut tables, mut owned) = (0, 0);
        for index in 0..sampled {
            let segment = self.segment(index * (self.segments / sampled));
            tables += segment.allocation_size() + size_of::<Segment<E>>() + 16;
            owned += segment.iter().map(Entry::heap_bytes).sum::<usize>();
        }
        (tables + owned) * self.segments / sampled + self.pages.len() * (size_of::<Page<E>>() + 16)
    }
}

/// The entries of a segment: moved out if nobody else holds it, else clones.
fn drain<E: Entry>(segment: Arc<Segment<E>>) -> impl Iterator<Item = E> {
    match Arc::try_unwrap(segment) {
        Ok(table) => table.into_iter(),
        Err(shared) => {
            note(shared.allocation_size());
            (*shared).clone().into_iter()
        }
    }
}

#[cfg(test)]
impl<E: Entry> Dict<E> {
    /// Checks every structural promise of the module's description.
    pub(super) fn check(&self) {
        let (mut count, mut largest) = (0, 0);
        assert_eq!(self.pages.len(), self.segments.div_ceil(PAGE));
        for index in 0..self.segments {
            let segment = self.segment(index);
            for entry in segment.iter() {
                assert_eq!(
                    self.locate(hash_of(entry.key())).0,
                    index,
                    "entry in the wrong segment"
                );
            }
            count += segment.len();
            largest = largest.max(segment.num_buckets());
        }
        assert!(self.pages.iter().all(|page| page.0.len() <= PAGE));
        assert_eq!(count, self.len);
        assert!(largest <= 1024, "a segment grew to {largest} places");
        assert!(self.len <= self.segments * LOAD_MAX);
    }

    /// How many segments there are, and how many of them `other` does not share.
    pub(super) fn unshared(&self, other: &Dict<E>) -> (usize, usize) {
        let differs = |index: &usize| {
            *index >= other.segments
                || !std::ptr::eq::<Segment<E>>(self.segment(*index), other.segment(*index))
        };
        (self.segments, (0..self.segments).filter(differs).count())
    }
}
