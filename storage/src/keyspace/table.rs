//! The hash table of one slot: linear hashing over cache-line buckets.
//!
//! A bucket is 64 bytes: seven records (pointers) and a link to an overflow bucket. Records fill a chain from
//! the front without holes. Each pointer carries 16 bits of its key's hash in its unused top bits, so a look-up
//! touches the bucket's line and, but for one chance in some hundred, only the record it wants.
//!
//! **Growth.** With `n` buckets, level `L = floor(log2 n)` and split point `s = n - 2^L`, buckets below `s` and
//! those from `2^L` up are addressed by `L + 1` bits of the hash, the rest by `L`. An insert splits at most one
//! bucket (the one at `s`, into itself and the new last one), a removal merges at most one: no operation moves
//! more than one bucket's chain, whatever the table's size. Buckets stand in one small array up to
//! `PAGE_BUCKETS`, beyond that in whole pages under a directory.
//!
//! **Tags.** The tag of a record in a bucket addressed by `l` bits is `hash >> base(l)`, cut to 16 bits, with
//! `base(l) = l` rounded down to a multiple of 8. So the bit that decides a split is always in the tag, at least
//! nine bits are left to tell records of one bucket apart, and keys are hashed again only every eighth doubling.
//! In a merge the bits that are missing are those of the bucket's number.
//!
//! **Order.** SCAN and walks go through buckets in the order of their *reversed* numbers. A bucket is then an
//! interval of the line of reversed hashes; splitting cuts the interval in two and merging joins it again, so a
//! cursor is a place on that line and stays good while the table changes. Everything present throughout is
//! visited; after a shrink some may be visited again.
//!
//! Callers hold the slot's lock.

use std::mem;

use super::hash;
use super::prefetch::prefetch;
use super::record::Record;

/// Records in one bucket, without its overflow.
const BUCKET_RECORDS: usize = 7;
/// Buckets in a page, and in the small form at most.
const PAGE_BUCKETS: usize = 256;
/// A large table returns to the small form when it has no more buckets than this.
const SMALL_AGAIN: usize = PAGE_BUCKETS / 2;
/// A table of one bucket is kept until it is full; others are split from 9/2 records a bucket on average.
const SPLIT_ABOVE: (usize, usize) = (9, 2);
/// Buckets are merged below 2 records on average.
const MERGE_BELOW: usize = 2;
/// Buckets for which the arithmetic below is safe; far beyond any memory.
const BUCKETS_MAX: usize = 1 << 40;

#[repr(align(64))]
#[derive(Default)]
struct Bucket {
    records: [Option<Record>; BUCKET_RECORDS],
    overflow: Option<Box<Bucket>>,
}

const _: () = assert!(size_of::<Bucket>() == 64);
const _: () = assert!(size_of::<Table>() == 32);

enum Buckets {
    /// Up to `PAGE_BUCKETS`, all of them in use.
    Small(Vec<Bucket>),
    /// Whole pages, of which `count` buckets are in use.
    Large(Box<Large>),
}

struct Large {
    pages: Vec<Box<[Bucket]>>,
    count: usize,
}

/// The records of one slot.
pub struct Table {
    buckets: Buckets,
    len: usize,
}

/// The split state: everything that follows from the number of buckets.
#[derive(Clone, Copy)]
struct Split {
    level: u32,
    point: usize,
}

impl Split {
    /// For a table of `count` buckets, at least one.
    fn of(count: usize) -> Split {
        let level = count.ilog2();
        Split {
            level,
            point: count - (1 << level),
        }
    }

    /// The bucket for a hash.
    fn index(self, hash: u64) -> usize {
        let low = hash as usize & mask(self.level);
        if low < self.point {
            hash as usize & mask(self.level + 1)
        } else {
            low
        }
    }

    /// The number of bits that address a bucket.
    fn bits(self, index: usize) -> u32 {
        if index & mask(self.level) < self.point {
            self.level + 1
        } else {
            self.level
        }
    }

    fn tag(self, index: usize, hash: u64) -> u16 {
        tag(hash, self.bits(index))
    }
}

fn mask(bits: u32) -> usize {
    (1 << bits) - 1
}

fn tag_base(bits: u32) -> u32 {
    bits & !7
}

fn tag(hash: u64, bits: u32) -> u16 {
    (hash >> tag_base(bits)) as u16
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl Table {
    /// An empty table; allocates nothing.
    pub const fn new() -> Table {
        Table {
            buckets: Buckets::Small(Vec::new()),
            len: 0,
        }
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no records.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The record of `key`, whose hash is `hash`.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Record> {
        let (index, tag) = self.place(hash)?;
        let mut bucket = self.bucket(index);
        loop {
            for record in bucket.records.iter().map_while(Option::as_ref) {
                if record.tag() == tag && record.key() == key {
                    return Some(record);
                }
            }
            bucket = bucket.overflow.as_deref()?;
        }
    }

    /// The record of `key`, to be changed in place. The caller keeps its key and its tag.
    pub(super) fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Record> {
        let (index, tag) = self.place(hash)?;
        let mut bucket = self.bucket_mut(index);
        loop {
            for record in bucket.records.iter_mut().map_while(Option::as_mut) {
                if record.tag() == tag && record.key() == key {
                    return Some(record);
                }
            }
            bucket = bucket.overflow.as_deref_mut()?;
        }
    }

    /// Puts a record in, in place of one with the same key, which is returned. `hash` is the key's hash.
    pub fn insert(&mut self, hash: u64, mut record: Record) -> Option<Record> {
        if let Some(place) = self.get_mut(hash, record.key()) {
            record.set_tag(place.tag());
            return Some(mem::replace(place, record));
        }
        self.insert_new(hash, record);
        None
    }

    /// Puts a record in whose key is known to be absent.
    pub(super) fn insert_new(&mut self, hash: u64, mut record: Record) {
        debug_assert_eq!(hash, hash::hash(record.key()));
        if self.count() == 0 {
            self.push_bucket();
        }
        let split = Split::of(self.count());
        let index = split.index(hash);
        record.set_tag(split.tag(index, hash));
        self.bucket_mut(index).push(record);
        self.len += 1;
        let (records, buckets) = SPLIT_ABOVE;
        if self.len > BUCKET_RECORDS
            && self.len * buckets > self.count() * records
            && self.count() < BUCKETS_MAX
        {
            self.split();
        }
    }

    /// Takes a record out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Record> {
        let (index, tag) = self.place(hash)?;
        let removed = self.bucket_mut(index).remove(tag, key)?;
        self.len -= 1;
        if self.len == 0 {
            self.buckets = Buckets::Small(Vec::new());
        } else if self.count() > 1 && self.len < self.count() * MERGE_BELOW {
            self.merge();
        }
        Some(removed)
    }

    /// Visits every record of the bucket at `cursor` and returns the next cursor, 0 at the end. Start with 0.
    ///
    /// Every record that is in the table from the first call to the last is visited, however the table grows
    /// and shrinks between calls. Any number is a valid cursor.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(&Record)) -> u64 {
        if self.count() == 0 {
            return 0;
        }
        let split = Split::of(self.count());
        let index = split.index(cursor);
        self.bucket(index).for_each(f);
        // Add one at the highest bit of the address, with the carry running to the right.
        let above = !(mask(split.bits(index)) as u64);
        (cursor | above)
            .reverse_bits()
            .wrapping_add(1)
            .reverse_bits()
    }

    /// Goes on with a walk from `position` (0 to begin) until at least `max_entries` records were visited, or the
    /// table's end. Returns where to go on, `None` at the end. Gives [`Table::scan`]'s guarantee.
    pub fn walk(
        &self,
        position: u64,
        max_entries: usize,
        f: &mut dyn FnMut(&Record),
    ) -> Option<u64> {
        let mut cursor = position;
        let mut visited = 0;
        while visited < max_entries.max(1) {
            // Empty buckets count too: they cost a cache line.
            visited += 1;
            let mut in_bucket = 0usize;
            cursor = self.scan(cursor, &mut |record| {
                in_bucket += 1;
                f(record);
            });
            visited += in_bucket.saturating_sub(1);
            if cursor == 0 {
                return None;
            }
        }
        Some(cursor)
    }

    /// All records, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        (0..self.count()).flat_map(|index| self.bucket(index).iter())
    }

    /// The number of records in each bucket, overflow included.
    pub fn chain_lens(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).map(|index| self.bucket(index).iter().count())
    }

    /// A record picked at random, all with the same chance.
    pub fn random(&self, rng: &mut impl rand::Rng) -> Option<&Record> {
        // A random place of a random chain, until there is a record in it. All chains have the same number of
        // places, so all records are as likely; luck alone
        // does not make a chain longer than that.
        const PLACES: u64 = 24;
        if self.len == 0 {
            return None;
        }
        let count = self.count() as u64;
        loop {
            let bits = rng.next_u64();
            let index = ((u128::from(bits) * u128::from(count)) >> 64) as usize;
            let place = (rng.next_u64() % PLACES) as usize;
            if let Some(record) = self.bucket(index).iter().nth(place) {
                return Some(record);
            }
        }
    }

    /// Asks the processor for the bucket of a hash.
    pub fn prefetch_bucket(&self, hash: u64) {
        if let Some((index, _)) = self.place(hash) {
            prefetch(std::ptr::from_ref(self.bucket(index)).cast());
        }
    }

    /// Asks the processor for the record of a hash, by its tag; reads the bucket.
    pub fn prefetch_record(&self, hash: u64) {
        let Some((index, tag)) = self.place(hash) else {
            return;
        };
        let bucket = self.bucket(index);
        for record in bucket.records.iter().map_while(Option::as_ref) {
            if record.tag() == tag {
                // A record of up to 128 bytes spans two lines, and so do most header-and-key reads beyond it.
                prefetch(record.address());
                prefetch(record.address().wrapping_add(64));
                return;
            }
        }
        if let Some(overflow) = &bucket.overflow {
            prefetch(std::ptr::from_ref::<Bucket>(overflow).cast());
        }
    }

    /// The bytes that buckets and directory occupy, without the records.
    pub fn memory_bytes(&self) -> usize {
        let overflow: usize = (0..self.count())
            .map(|index| self.bucket(index).overflow_count())
            .sum();
        let main = match &self.buckets {
            Buckets::Small(buckets) => buckets.capacity() * size_of::<Bucket>(),
            Buckets::Large(large) => {
                size_of::<Large>()
                    + large.pages.capacity() * size_of::<Box<[Bucket]>>()
                    + large.pages.len() * PAGE_BUCKETS * size_of::<Bucket>()
            }
        };
        main + overflow * size_of::<Bucket>()
    }

    /// The number of buckets in use.
    fn count(&self) -> usize {
        match &self.buckets {
            Buckets::Small(buckets) => buckets.len(),
            Buckets::Large(large) => large.count,
        }
    }

    /// The bucket and the tag of a hash; `None` while there are no buckets.
    fn place(&self, hash: u64) -> Option<(usize, u16)> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let split = Split::of(count);
        let index = split.index(hash);
        Some((index, split.tag(index, hash)))
    }

    fn bucket(&self, index: usize) -> &Bucket {
        match &self.buckets {
            Buckets::Small(buckets) => &buckets[index],
            Buckets::Large(large) => &large.pages[index / PAGE_BUCKETS][index % PAGE_BUCKETS],
        }
    }

    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        match &mut self.buckets {
            Buckets::Small(buckets) => &mut buckets[index],
            Buckets::Large(large) => &mut large.pages[index / PAGE_BUCKETS][index % PAGE_BUCKETS],
        }
    }

    /// Splits the bucket at the split point into itself and a new last one.
    fn split(&mut self) {
        let split = Split::of(self.count());
        let (old_bits, new_bits) = (split.level, split.level + 1);
        let new_index = split.point + (1 << split.level);
        debug_assert_eq!(new_index, self.count());
        let deciding_bit = 1u16 << (old_bits - tag_base(old_bits));
        let new_tags = tag_base(old_bits) != tag_base(new_bits);

        let chain = mem::take(self.bucket_mut(split.point));
        self.push_bucket();
        let (mut stay, mut go) = (Bucket::default(), Bucket::default());
        chain.consume(|mut record| {
            let goes = record.tag() & deciding_bit != 0;
            if new_tags {
                record.set_tag(tag(hash::hash(record.key()), new_bits));
            }
            if goes {
                go.push(record)
            } else {
                stay.push(record)
            }
        });
        *self.bucket_mut(split.point) = stay;
        *self.bucket_mut(new_index) = go;
    }

    /// Undoes the last split: moves the last bucket's records to the one they were split from.
    fn merge(&mut self) {
        let last = self.count() - 1;
        let split = Split::of(last);
        let (old_bits, new_bits) = (split.level + 1, split.level);
        let chain = self.pop_bucket();
        let into = split.point;
        let mut joined = mem::take(self.bucket_mut(into));
        // The bits below the old tags are those by which the bucket was addressed.
        let lost = (tag_base(old_bits) - tag_base(new_bits)) as u16;
        let retag = |record: &mut Record, index: usize| {
            if lost != 0 {
                let low = (index >> tag_base(new_bits)) as u16 & 0xff;
                record.set_tag(record.tag() << lost | low);
            }
        };
        joined.for_each_mut(&mut |record| retag(record, into));
        chain.consume(|mut record| {
            retag(&mut record, last);
            joined.push(record);
        });
        *self.bucket_mut(into) = joined;
    }

    /// Adds an empty bucket at the end.
    fn push_bucket(&mut self) {
        match &mut self.buckets {
            Buckets::Small(buckets) if buckets.len() < PAGE_BUCKETS => {
                if buckets.len() == buckets.capacity() {
                    // A quarter at a time: a copy of a few kilobytes, and little idle memory.
                    let more = (buckets.len() / 4).max(1).min(PAGE_BUCKETS - buckets.len());
                    buckets.reserve_exact(more);
                }
                buckets.push(Bucket::default());
            }
            Buckets::Small(buckets) => {
                let pages = vec![mem::take(buckets).into_boxed_slice(), empty_page()];
                self.buckets = Buckets::Large(Box::new(Large {
                    pages,
                    count: PAGE_BUCKETS + 1,
                }));
            }
            Buckets::Large(large) => {
                if large.count == large.pages.len() * PAGE_BUCKETS {
                    large.pages.push(empty_page());
                }
                large.count += 1;
            }
        }
    }

    /// Takes the last bucket off.
    fn pop_bucket(&mut self) -> Bucket {
        match &mut self.buckets {
            Buckets::Small(buckets) => {
                let last = buckets
                    .pop()
                    .expect("callers merge only tables of several buckets");
                if buckets.len() < buckets.capacity() / 2 {
                    buckets.shrink_to(buckets.len() + buckets.len() / 4);
                }
                last
            }
            Buckets::Large(large) => {
                large.count -= 1;
                let last = mem::take(
                    &mut large.pages[large.count / PAGE_BUCKETS][large.count % PAGE_BUCKETS],
                );
                if large.count % PAGE_BUCKETS == 0 {
                    large.pages.pop();
                    if large.pages.len() < large.pages.capacity() / 4 {
                        large.pages.shrink_to(large.pages.len() * 2);
                    }
                }
                if large.count <= SMALL_AGAIN {
                    let mut buckets = large.pages.swap_remove(0).into_vec();
                    buckets.truncate(large.count);
                    buckets.shrink_to(large.count + large.count / 4);
                    self.buckets = Buckets::Small(buckets);
                }
                last
            }
        }
    }
}

fn empty_page() -> Box<[Bucket]> {
    std::iter::repeat_with(Bucket::default)
        .take(PAGE_BUCKETS)
        .collect()
}

impl Bucket {
    fn iter(&self) -> impl Iterator<Item = &Record> {
        std::iter::successors(Some(self), |bucket| bucket.overflow.as_deref())
            .flat_map(|bucket| bucket.records.iter().map_while(Option::as_ref))
    }

    fn for_each(&self, f: &mut dyn FnMut(&Record)) {
        // Walks touch records that nobody used lately: have all of a bucket's on their way before the first.
        for record in self.records.iter().map_while(Option::as_ref) {
            prefetch(record.address());
            prefetch(record.address().wrapping_add(64));
        }
        self.iter().for_each(f);
    }

    fn for_each_mut(&mut self, f: &mut dyn FnMut(&mut Record)) {
        let mut bucket = Some(self);
        while let Some(here) = bucket {
            here.records
                .iter_mut()
                .map_while(Option::as_mut)
                .for_each(&mut *f);
            bucket = here.overflow.as_deref_mut();
        }
    }

    /// Gives every record of the chain away and frees its overflow.
    fn consume(self, mut f: impl FnMut(Record)) {
        self.records.into_iter().flatten().for_each(&mut f);
        let mut rest = self.overflow;
        while let Some(bucket) = rest {
            let bucket = *bucket;
            bucket.records.into_iter().flatten().for_each(&mut f);
            rest = bucket.overflow;
        }
    }

    fn overflow_count(&self) -> usize {
        std::iter::successors(self.overflow.as_deref(), |bucket| {
            bucket.overflow.as_deref()
        })
        .count()
    }

    /// Puts a record in the first free place of the chain.
    fn push(&mut self, record: Record) {
        let mut bucket = self;
        loop {
            if let Some(free) = bucket.records.iter_mut().find(|place| place.is_none()) {
                *free = Some(record);
                return;
            }
            bucket = bucket.overflow.get_or_insert_default();
        }
    }

    /// Takes the record of `key` out and fills its place with the chain's last one.
    fn remove(&mut self, tag: u16, key: &[u8]) -> Option<Record> {
        let mut bucket = &mut *self;
        let (depth, place) = {
            let mut depth = 0;
            loop {
                let here = bucket.records.iter().position(
                    |record| matches!(record, Some(record) if record.tag() == tag && record.key() == key),
                );
                if let Some(place) = here {
                    break (depth, place);
                }
                bucket = bucket.overflow.as_deref_mut()?;
                depth += 1;
            }
        };
        let last = self
            .pop()
            .expect("the chain holds at least the record that was found");
        // The record found may have been the last one itself.
        let mut bucket = &mut *self;
        for _ in 0..depth {
            match &mut bucket.overflow {
                Some(overflow) => bucket = overflow,
                None => return Some(last),
            }
        }
        match &mut bucket.records[place] {
            Some(found) => Some(mem::replace(found, last)),
            None => Some(last),
        }
    }

    /// Takes the chain's last record off, and its bucket if that leaves an overflow empty.
    fn pop(&mut self) -> Option<Record> {
        if let Some(overflow) = &mut self.overflow {
            let last = overflow.pop();
            if overflow.records[0].is_none() {
                self.overflow = None;
            }
            return last;
        }
        self.records
            .iter_mut()
            .rev()
            .find(|place| place.is_some())?
            .take()
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
