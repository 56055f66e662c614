//! Sets of byte strings.
//!
//! Small: sorted integers, as long as every member is the canonical text of an `i64`. Large: a [`Dict`]. Redis 7.0
//! has no other small form for sets.

use std::hash::{Hash, Hasher};
use std::ops::Deref;

use rand::{Rng, RngExt};

use super::dict::{Dict, Entry};
use super::{Limits, SharedBytes, bytes_left, shared, shared_heap_bytes};
use crate::text::integer::{self, IntText};

/// However high the limit is set, more integers than this go into the large form: an insertion moves half of them.
const INTS_MAX: usize = 16 * 1024;

/// A set of byte strings.
#[derive(Clone)]
pub struct Set(Form);

#[derive(Clone)]
enum Form {
    Ints(Vec<i64>),
    Large(Dict<Element>),
}

#[derive(Clone)]
struct Element(SharedBytes);

impl Entry for Element {
    fn key(&self) -> &[u8] {
        &self.0.slice
    }
    fn heap_bytes(&self) -> usize {
        shared_heap_bytes(self.0.slice.len())
    }
    fn bytes_left(&self) -> usize {
        bytes_left(&self.0, 1)
    }
}

/// A member of a set; dereferences to its bytes.
#[derive(Clone, Copy)]
pub enum Member<'a> {
    /// A member stored as bytes.
    Bytes(&'a [u8]),
    /// A member stored as an integer.
    Int(IntText),
}

impl Deref for Member<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Member::Bytes(bytes) => bytes,
            Member::Int(text) => text,
        }
    }
}

impl PartialEq for Member<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Member<'_> {}

impl Hash for Member<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Default for Set {
    fn default() -> Set {
        Set::new()
    }
}

impl Set {
    /// An empty set, in the form for integers.
    pub fn new() -> Set {
        Set(Form::Ints(Vec::new()))
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Ints(ints) => ints.len(),
            Form::Large(dict) => dict.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the set is in the form for integers.
    pub fn is_intset(&self) -> bool {
        matches!(self.0, Form::Ints(_))
    }

    /// The members in ascending order if the set is in the form for integers.
    pub fn ints(&self) -> Option<&[i64]> {
        match &self.0 {
            Form::Ints(ints) => Some(ints),
            Form::Large(_) => None,
        }
    }

    /// Whether `member` is in the set.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Form::Ints(ints) => {
                integer::parse_i64(member).is_some_and(|int| ints.binary_search(&int).is_ok())
            }
            Form::Large(dict) => dict.contains(member),
        }
    }

    /// Adds `member`; true if it is new.
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => match integer::parse_i64(member) {
                Some(int) => {
                    let Err(at) = ints.binary_search(&int) else {
                        return false;
                    };
                    ints.insert(at, int);
                    if ints.len() > limits.set_max_intset_entries.min(INTS_MAX) {
                        self.enlarge();
                    }
                    true
                }
                None => {
                    self.enlarge();
                    self.insert(member, limits)
                }
            },
            Form::Large(dict) => {
                !dict.contains(member) && dict.insert(Element(shared(member))).is_none()
            }
        }
    }

    /// Removes `member`; true if it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Form::Ints(ints) => {
                match integer::parse_i64(member).map(|int| ints.binary_search(&int)) {
                    Some(Ok(at)) => {
                        ints.remove(at);
                        true
                    }
                    _ => false,
                }
            }
            Form::Large(dict) => dict.remove(member).is_some(),
        }
    }

    /// All members: ascending in the form for integers, in no order in the large form.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        let (ints, large) = match &self.0 {
            Form::Ints(ints) => (
                Some(ints.iter().map(|int| Member::Int(IntText::new(*int)))),
                None,
            ),
            Form::Large(dict) => (
                None,
                Some(dict.iter().map(|element| Member::Bytes(element.key()))),
            ),
        };
        ints.into_iter()
            .flatten()
            .chain(large.into_iter().flatten())
    }

    /// Any member, all with the same probability; `None` if there are none.
    pub fn random<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<Member<'_>> {
        match &self.0 {
            Form::Ints(ints) if ints.is_empty() => None,
            Form::Ints(ints) => Some(Member::Int(IntText::new(
                ints[rng.random_range(0..ints.len())],
            ))),
            Form::Large(dict) => dict.random(rng).map(|element| Member::Bytes(element.key())),
        }
    }

    /// Removes any member and returns it.
    pub fn pop_random<R: Rng + ?Sized>(&mut self, rng: &mut R) -> Option<Vec<u8>> {
        let member = self.random(rng)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Visits about `count` members from `cursor` on; returns the next cursor, 0 at the end.
    ///
    /// A member that is there throughout a scan is visited. The form for integers is visited as a whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8])) -> u64 {
        match &self.0 {
            Form::Ints(ints) => {
                ints.iter().for_each(|int| visit(&IntText::new(*int)));
                0
            }
            Form::Large(dict) => dict.scan(cursor, count, |element| visit(element.key())),
        }
    }

    /// Whether it is in the small form, which a clone copies.
    pub fn is_small(&self) -> bool {
        matches!(self.0, Form::Ints(_))
    }

    /// The name of the form, as OBJECT ENCODING gives it.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Form::Ints(_) => "intset",
            Form::Large(_) => "hashtable",
        }
    }

    /// The shape of the hash table, if there is one; see [`Dict::shape`].
    pub fn table_shape(&self) -> Option<(usize, usize)> {
        match &self.0 {
            Form::Ints(_) => None,
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
            Form::Ints(ints) => ints.capacity() * size_of::<i64>(),
            Form::Large(dict) => dict.heap_bytes(),
        }
    }

    fn enlarge(&mut self) {
        if let Form::Ints(ints) = &self.0 {
            let mut dict = Dict::new();
            for int in ints {
                dict.insert(Element(shared(&IntText::new(*int))));
            }
            self.0 = Form::Large(dict);
        }
    }
}
