//! Hashes: fields with values.
//!
//! Small: a [`Packed`] sequence `field value field value ...` in order of insertion. Large: a [`Dict`] whose entries
//! hold field and value in one allocation.

use rand::{Rng, RngExt};

use super::dict::{Dict, Entry};
use super::limits::{SMALL_BYTES_MAX, SMALL_ENTRIES_MAX};
use super::packed::{Packed, entry_bytes};
use super::{Limits, SharedBytes, bytes_left, shared_heap_bytes};

/// A map from fields to values.
#[derive(Clone)]
pub struct Hash(Form);

#[derive(Clone)]
enum Form {
    Small(Packed),
    Large(Dict<Pair>),
}

/// A field and its value: `field length (4 bytes, native order), field, value`.
#[derive(Clone)]
struct Pair(SharedBytes);

const FIELD_AT: usize = 4;

impl Pair {
    fn new(field: &[u8], value: &[u8]) -> Pair {
        let mut bytes =
            smallvec::SmallVec::<[u8; 256]>::with_capacity(FIELD_AT + field.len() + value.len());
        // A field never reaches 4 GiB: no request argument does.
        let field_len = u32::try_from(field.len()).expect("arguments are shorter than 4 GiB");
        bytes.extend_from_slice(&field_len.to_le_bytes());
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(value);
        Pair(super::shared(&bytes))
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let bytes = &self.0.slice;
        let field_len = bytes
            .first_chunk()
            .map_or(0, |len| u32::from_le_bytes(*len) as usize);
        bytes[FIELD_AT..].split_at(field_len)
    }
}

impl Entry for Pair {
    fn key(&self) -> &[u8] {
        self.split().0
    }
    fn heap_bytes(&self) -> usize {
        shared_heap_bytes(self.0.slice.len())
    }
    fn bytes_left(&self) -> usize {
        bytes_left(&self.0, 1)
    }
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::new()
    }
}

impl Hash {
    /// An empty hash, in the small form.
    pub fn new() -> Hash {
        Hash(Form::Small(Packed::new()))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Small(packed) => packed.len() / 2,
            Form::Large(dict) => dict.len(),
        }
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match &self.0 {
            Form::Small(packed) => find(packed, field).map(|(_, value)| value),
            Form::Large(dict) => dict.get(field).map(|pair| pair.split().1),
        }
    }

    /// Whether there is such a field.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// The length of the value of `field`; 0 if there is none.
    pub fn value_len(&self, field: &[u8]) -> usize {
        self.get(field).map_or(0, <[u8]>::len)
    }

    /// Sets `field` to `value`; true if the field is new.
    pub fn insert(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        if let Form::Small(packed) = &mut self.0 {
            let longest = field.len().max(value.len());
            let grown = packed.bytes() + entry_bytes(field.len()) + entry_bytes(value.len());
            if longest > limits.hash_max_listpack_value || grown > SMALL_BYTES_MAX {
                self.enlarge();
            } else {
                let new = match find(packed, field) {
                    Some((index, _)) => {
                        packed.replace(index + 1, value);
                        false
                    }
                    None => {
                        packed.push_back(field);
                        packed.push_back(value);
                        true
                    }
                };
                if packed.len() / 2 > limits.hash_max_listpack_entries.min(SMALL_ENTRIES_MAX) {
                    self.enlarge();
                }
                return new;
            }
        }
        match &mut self.0 {
            Form::Large(dict) => dict.insert(Pair::new(field, value)).is_none(),
            Form::Small(_) => unreachable!("the small form has been left above"),
        }
    }

    /// Removes `field`; true if it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Form::Small(packed) => match find(packed, field) {
                Some((index, _)) => {
                    packed.remove_range(index, index + 2);
                    true
                }
                None => false,
            },
            Form::Large(dict) => dict.remove(field).is_some(),
        }
    }

    /// All fields with their values: in order of insertion in the small form, in no order in the large one.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (small, large) = match &self.0 {
            Form::Small(packed) => (Some(pairs(packed)), None),
            Form::Large(dict) => (None, Some(dict.iter().map(Pair::split))),
        };
        small
            .into_iter()
            .flatten()
            .chain(large.into_iter().flatten())
    }

    /// Any field with its value, all with the same probability; `None` if there are none.
    pub fn random<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<(&[u8], &[u8])> {
        match &self.0 {
            Form::Small(packed) if packed.is_empty() => None,
            Form::Small(packed) => {
                let mut entries = packed.iter_from(2 * rng.random_range(0..packed.len() / 2));
                Some((entries.next()?, entries.next()?))
            }
            Form::Large(dict) => dict.random(rng).map(Pair::split),
        }
    }

    /// Visits about `count` fields from `cursor` on; returns the next cursor, 0 at the end.
    ///
    /// A field that is there throughout a scan is visited. The small form is visited as a whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], &[u8])) -> u64 {
        match &self.0 {
            Form::Small(packed) => {
                pairs(packed).for_each(|(field, value)| visit(field, value));
                0
            }
            Form::Large(dict) => dict.scan(cursor, count, |pair| {
                let (field, value) = pair.split();
                visit(field, value);
            }),
        }
    }

    /// Whether it is in the small form, which a clone copies.
    pub fn is_small(&self) -> bool {
        matches!(self.0, Form::Small(_))
    }

    /// The name of the form, as OBJECT ENCODING gives it.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Small(_) => "listpack",
            Form::Large(_) => "hashtable",
        }
    }

    /// The shape of the hash table, if there is one; see [`Dict::shape`].
    pub fn table_shape(&self) -> Option<(usize, usize)> {
        match &self.0 {
            Form::Small(_) => None,
            Form::Large(dict) => Some(dict.shape()),
        }
    }

    /// Whether dropping it takes long enough to do it elsewhere.
    pub fn is_large(&self) -> bool {
        matches!(&self.0, Form::Large(dict) if dict.len() > super::object::DROP_INLINE_MAX)
    }

    /// An estimate of the heap memory held.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Small(packed) => packed.heap_bytes(),
            Form::Large(dict) => dict.heap_bytes(),
        }
    }

    fn enlarge(&mut self) {
        if let Form::Small(packed) = &self.0 {
            let mut dict = Dict::new();
            for (field, value) in pairs(packed) {
                dict.insert(Pair::new(field, value));
            }
            self.0 = Form::Large(dict);
        }
    }
}

/// The index of `field` in the sequence, and its value.
fn find<'a>(packed: &'a Packed, field: &[u8]) -> Option<(usize, &'a [u8])> {
    pairs(packed)
        .enumerate()
        .find(|(_, (found, _))| *found == field)
        .map(|(at, (_, value))| (2 * at, value))
}

fn pairs(packed: &Packed) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut entries = packed.iter();
    std::iter::from_fn(move || Some((entries.next()?, entries.next()?)))
}
