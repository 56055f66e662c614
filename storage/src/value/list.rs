//! Lists: deques of byte strings in chunks.
//!
//! A list that fits into one chunk is one [`Packed`] sequence; a longer one is a counted [tree](super::tree) of
//! shared chunks. [`Limits::list_max_listpack_size`] bounds a chunk; an element larger than that, or not below
//! [`Limits::list_alone_from`], has a chunk of its own. A list that has become a tree stays one. Chunks fill up at the
//! ends; in the middle, a chunk that gets too large is halved, and one that gets small is joined with its neighbour when
//! the two fit.

use std::ops::Range;

use triomphe::Arc;

use super::Limits;
use super::packed::{self, Packed, entry_bytes};
use super::shared_with_snapshot::{note, own};
use super::tree::{self, Item, Tree};

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where LPUSH adds.
    Front,
    /// Where RPUSH adds.
    Back,
}

/// A deque of byte strings.
#[derive(Clone)]
pub struct List(Form);

#[derive(Clone)]
enum Form {
    One(Packed),
    Many(Tree<Chunk>),
}

/// Never empty within a tree.
#[derive(Clone)]
struct Chunk(Arc<Packed>);

impl Chunk {
    /// Notes what others hold of it.
    fn let_go(self) {
        if !self.0.is_unique() {
            note(self.0.heap_bytes());
        }
    }
}

impl Item for Chunk {
    type Key = ();
    const UNIT: bool = false;
    fn key(&self) {}
    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Whether an entry of `len` bytes may join a chunk.
fn fits(chunk: &Packed, len: usize, limits: &Limits) -> bool {
    let (entries, bytes) = limits.list_chunk();
    chunk.is_empty()
        || (chunk.len() < entries
            && chunk.bytes() + entry_bytes(len) <= bytes
            && len < limits.list_alone_from
            && !is_taken_whole(chunk, limits))
}

/// Whether the chunk's only element is to stay alone.
fn is_taken_whole(chunk: &Packed, limits: &Limits) -> bool {
    // Most chunks are ruled out by their bytes, before an element is looked for.
    chunk.bytes() >= limits.list_alone_from
        && chunk.len() == 1
        && chunk
            .get(0)
            .is_some_and(|element| element.len() >= limits.list_alone_from)
}

impl Default for List {
    fn default() -> List {
        List::new()
    }
}

impl List {
    /// An empty list.
    pub fn new() -> List {
        List(Form::One(Packed::new()))
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::One(packed) => packed.len(),
            Form::Many(tree) => tree.weight(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks as a tree, for operations that need a second one.
    fn many(&mut self) -> &mut Tree<Chunk> {
        if let Form::One(packed) = &mut self.0 {
            let packed = std::mem::take(packed);
            let chunk = (!packed.is_empty()).then(|| Chunk(Arc::new(packed)));
            self.0 = Form::Many(Tree::from_items(chunk.into_iter()));
        }
        match &mut self.0 {
            Form::Many(tree) => tree,
            Form::One(_) => unreachable!("made a tree above"),
        }
    }

    /// Adds an element at the beginning.
    pub fn push_front(&mut self, element: &[u8], limits: &Limits) {
        self.insert(0, element, limits);
    }

    /// Adds an element at the end.
    pub fn push_back(&mut self, element: &[u8], limits: &Limits) {
        self.insert(self.len(), element, limits);
    }

    /// Adds an element at one end.
    pub fn push(&mut self, end: End, element: &[u8], limits: &Limits) {
        match end {
            End::Front => self.push_front(element, limits),
            End::Back => self.push_back(element, limits),
        }
    }

    /// Removes the first element and returns it.
    pub fn pop_front(&mut self) -> Option<Vec<u8>> {
        self.pop(End::Front)
    }

    /// Removes the last element and returns it.
    pub fn pop_back(&mut self) -> Option<Vec<u8>> {
        self.pop(End::Back)
    }

    /// Removes the element at one end and returns it.
    pub fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let last = self.len().checked_sub(1)?;
        let position = if end == End::Front { 0 } else { last };
        let element = self.at(position)?.to_vec();
        self.remove_at(position);
        Some(element)
    }

    /// The position meant by `index`, which counts from the end if negative.
    fn position(&self, index: i64) -> Option<usize> {
        let len = self.len();
        let position = match usize::try_from(index) {
            Ok(position) => position,
            Err(_) => len.checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
        };
        (position < len).then_some(position)
    }

    fn at(&self, position: usize) -> Option<&[u8]> {
        match &self.0 {
            Form::One(packed) => packed.get(position),
            Form::Many(tree) => tree.get(position).and_then(|(chunk, at)| chunk.0.get(at)),
        }
    }

    /// The element at `index`, which counts from the end if negative.
    pub fn get(&self, index: i64) -> Option<&[u8]> {
        self.at(self.position(index)?)
    }

    /// Replaces the element at `index`, which counts from the end if negative; false if there is none.
    pub fn set(&mut self, index: i64, element: &[u8], limits: &Limits) -> bool {
        let Some(position) = self.position(index) else {
            return false;
        };
        let (chunk, at) = match &self.0 {
            Form::One(packed) => (packed, position),
            Form::Many(tree) => match tree.get(position) {
                Some((chunk, at)) => (&*chunk.0, at),
                None => return false,
            },
        };
        let old = chunk.get(at).map_or(0, |old| entry_bytes(old.len()));
        let fits = chunk.len() == 1
            || (chunk.bytes() - old + entry_bytes(element.len()) <= limits.list_chunk().1
                && element.len() < limits.list_alone_from);
        if !fits {
            self.remove_at(position);
            self.insert(position, element, limits);
            return true;
        }
        match &mut self.0 {
            Form::One(packed) => packed.replace(position, element),
            Form::Many(tree) => tree.update(position, |chunk, at| {
                own(&mut chunk.0, Packed::heap_bytes).replace(at, element)
            }),
        }
        true
    }

    /// Inserts an element so that it gets this position; beyond the end means at the end.
    pub fn insert(&mut self, position: usize, element: &[u8], limits: &Limits) {
        let position = position.min(self.len());
        if let Form::One(packed) = &mut self.0
            && fits(packed, element.len(), limits)
        {
            packed.insert(position, element);
            return;
        }
        let tree = self.many();
        // The chunk before the gap, if there is one, else the one after it: both ends of a list are covered.
        for neighbour in [position.checked_sub(1), Some(position)]
            .into_iter()
            .flatten()
        {
            if let Some((chunk, at)) = tree.get(neighbour)
                && fits(&chunk.0, element.len(), limits)
            {
                let at = at + (position - neighbour);
                tree.update(neighbour, |chunk, _| {
                    own(&mut chunk.0, Packed::heap_bytes).insert(at, element)
                });
                return;
            }
        }
        // No room: cut the chunk in two if the gap is within it, then put a chunk of one element in between.
        if let Some((_, at)) = tree.get(position)
            && at > 0
        {
            let tail = tree.update(position, |chunk, at| {
                own(&mut chunk.0, Packed::heap_bytes).split_off(at)
            });
            tree.insert(position, Chunk(Arc::new(tail)));
            self.insert(position, element, limits);
            return;
        }
        let mut chunk = Packed::new();
        chunk.push_back(element);
        tree.insert(position, Chunk(Arc::new(chunk)));
    }

    /// Inserts an element before or after the first one equal to `pivot`; false if there is none.
    pub fn insert_beside(
        &mut self,
        pivot: &[u8],
        after: bool,
        element: &[u8],
        limits: &Limits,
    ) -> bool {
        let Some(position) = self.iter().position(|found| found == pivot) else {
            return false;
        };
        self.insert(position + usize::from(after), element, limits);
        true
    }

    fn remove_at(&mut self, position: usize) {
        match &mut self.0 {
            Form::One(packed) => packed.remove(position),
            Form::Many(tree) => {
                if tree
                    .get(position)
                    .is_some_and(|(chunk, _)| chunk.0.len() == 1)
                {
                    tree.remove(position).let_go();
                } else {
                    tree.update(position, |chunk, at| {
                        own(&mut chunk.0, Packed::heap_bytes).remove(at)
                    });
                    join_neighbours(tree, position);
                }
            }
        }
    }

    /// Removes the elements of these positions.
    pub fn remove_range(&mut self, positions: Range<usize>) {
        let positions = positions.start..positions.end.min(self.len());
        if positions.is_empty() {
            return;
        }
        match &mut self.0 {
            Form::One(packed) => packed.remove_range(positions.start, positions.end),
            Form::Many(tree) => {
                // Thin out the chunks at both ends, so that what is left of the range is whole chunks.
                let Range { start, mut end } = positions;
                if let Some((chunk, at)) = tree.get(start) {
                    let here = (chunk.0.len() - at).min(end - start);
                    if here < chunk.0.len() {
                        tree.update(start, |chunk, at| {
                            own(&mut chunk.0, Packed::heap_bytes).remove_range(at, at + here)
                        });
                        end -= here;
                    }
                }
                if let Some((_, at)) = tree.get(end)
                    && at > 0
                    && end > start
                {
                    tree.update(end, |chunk, at| {
                        own(&mut chunk.0, Packed::heap_bytes).remove_range(0, at)
                    });
                    end -= at;
                }
                note_range(tree, start..end);
                tree.remove_range(start..end);
                join_neighbours(tree, start);
            }
        }
    }

    /// Keeps the elements of these positions only.
    pub fn retain_range(&mut self, positions: Range<usize>) {
        let len = self.len();
        if positions.is_empty() || positions.start >= len {
            *self = List::new();
            return;
        }
        self.remove_range(positions.end..len);
        self.remove_range(0..positions.start);
    }

    /// Removes elements equal to `value`: the first `count` if positive, the last ones if negative, all if 0. Returns
    /// how many were removed.
    pub fn remove_value(&mut self, value: &[u8], count: i64) -> usize {
        let most = match usize::try_from(count.unsigned_abs()) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(most) => most,
        };
        let mut selection = Selection {
            value,
            stay: match count < 0 {
                true => matches(self.iter(), value).saturating_sub(most),
                false => 0,
            },
            most,
            removed: 0,
        };
        match &mut self.0 {
            Form::One(packed) => {
                if packed.iter().any(|found| found == value) {
                    packed.retain(|found| selection.keeps(found));
                }
            }
            Form::Many(tree) => {
                let mut at = 0;
                while selection.goes_on()
                    && let Some((chunk, _)) = tree.get(at)
                {
                    let (len, removed) = (chunk.0.len(), selection.removed_in(&chunk.0));
                    if removed == len {
                        tree.remove(at).let_go();
                        selection.removed += len;
                    } else if removed > 0 {
                        tree.update(at, |chunk, _| {
                            own(&mut chunk.0, Packed::heap_bytes)
                                .retain(|found| selection.keeps(found));
                        });
                    } else {
                        selection.stay -= matches(chunk.0.iter(), value).min(selection.stay);
                    }
                    at += len - removed;
                }
                if selection.removed > 0 {
                    join_up_to(tree, at);
                }
            }
        }
        selection.removed
    }

    /// All elements in order.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_from(0)
    }

    /// The elements from `position` to the end.
    pub fn iter_from(&self, position: usize) -> Iter<'_> {
        match &self.0 {
            Form::One(packed) => Iter {
                chunk: Some(packed.iter_from(position)),
                rest: None,
            },
            Form::Many(tree) => {
                let (mut rest, at) = tree.iter_from(position);
                Iter {
                    chunk: rest.next().map(|chunk| chunk.0.iter_from(at)),
                    rest: Some(rest),
                }
            }
        }
    }

    /// The elements from `position` back to the first; none if there is no such position.
    pub fn iter_rev_from(&self, position: usize) -> RevIter<'_> {
        match &self.0 {
            Form::One(packed) if position < packed.len() => RevIter {
                chunk: Some(packed.iter_rev_before(position + 1)),
                rest: None,
            },
            Form::One(_) => RevIter {
                chunk: None,
                rest: None,
            },
            Form::Many(tree) => {
                let (mut rest, at) = tree.iter_rev_from(position);
                RevIter {
                    chunk: rest.next().map(|chunk| chunk.0.iter_rev_before(at + 1)),
                    rest: Some(rest),
                }
            }
        }
    }

    /// The chunks in order, each with its number of elements and its bytes; for DEBUG OBJECT.
    pub fn chunks(&self) -> impl Iterator<Item = (usize, usize)> {
        let (one, many) = match &self.0 {
            Form::One(packed) => (Some(packed), None),
            Form::Many(tree) => (None, Some(tree.iter_from(0).0.map(|chunk| &*chunk.0))),
        };
        one.into_iter()
            .chain(many.into_iter().flatten())
            .map(|chunk| (chunk.len(), chunk.bytes()))
    }

    /// The number of chunks; walks them.
    pub fn chunk_count(&self) -> usize {
        self.chunks().count()
    }

    /// Whether it is in the small form, which a clone copies.
    pub fn is_small(&self) -> bool {
        matches!(self.0, Form::One(_))
    }

    /// The name of the form, as OBJECT ENCODING gives it.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Whether dropping it takes long enough to do it elsewhere.
    pub fn is_large(&self) -> bool {
        // A chunk holds an element at least, and dropping one costs the same whatever it holds.
        match &self.0 {
            Form::One(_) => false,
            Form::Many(tree) => {
                tree.weight() > super::object::DROP_INLINE_MAX
                    && tree.iter_from(0).0.nth(64).is_some()
            }
        }
    }

    /// An estimate of the heap memory held.
    pub fn heap_bytes(&self) -> usize {
        const SAMPLE_CHUNKS: usize = 16;
        match &self.0 {
            Form::One(packed) => packed.heap_bytes(),
            Form::Many(tree) => {
                let (mut elements, mut bytes) = (0, 0);
                for chunk in tree.iter_from(0).0.take(SAMPLE_CHUNKS) {
                    elements += chunk.0.len();
                    bytes += chunk.0.heap_bytes() + size_of::<Packed>() + 8;
                }
                let per_list = bytes as u128 * tree.weight() as u128 / elements.max(1) as u128;
                per_list as usize + tree.heap_bytes()
            }
        }
    }
}

/// How many elements are equal to `value`.
fn matches<'a>(elements: impl Iterator<Item = &'a [u8]>, value: &[u8]) -> usize {
    elements.filter(|found| *found == value).count()
}

/// Which elements LREM removes, told as they come by.
struct Selection<'v> {
    value: &'v [u8],
    /// So many of those that come first stay.
    stay: usize,
    /// Not more than so many go.
    most: usize,
    removed: usize,
}

impl Selection<'_> {
    fn goes_on(&self) -> bool {
        self.removed < self.most
    }

    /// How many of a chunk's elements are to go.
    fn removed_in(&self, chunk: &Packed) -> usize {
        matches(chunk.iter(), self.value)
            .saturating_sub(self.stay)
            .min(self.most - self.removed)
    }

    /// Whether the next element stays.
    fn keeps(&mut self, found: &[u8]) -> bool {
        if found != self.value || !self.goes_on() {
            return true;
        }
        if self.stay > 0 {
            self.stay -= 1;
            return true;
        }
        self.removed += 1;
        false
    }
}

/// Whether neighbours of so many bytes are to become one chunk.
fn are_joined(a: usize, b: usize) -> bool {
    a.min(b) < JOIN_BELOW && a + b < JOIN_UP_TO
}

/// Joins chunks with their neighbours where one of them is nearly empty, from the beginning to the one around `end`.
fn join_up_to(tree: &mut Tree<Chunk>, end: usize) {
    let mut at = 0;
    while at <= end
        && let Some((chunk, _)) = tree.get(at)
    {
        let next_at = at + chunk.0.len();
        match tree.get(next_at) {
            Some((next, _)) if are_joined(chunk.0.bytes(), next.0.bytes()) => {
                join_chunks(tree, at, next_at);
            }
            _ => at = next_at,
        }
    }
}

/// Adds the chunk at `right` to the one before it, which begins at `left`.
fn join_chunks(tree: &mut Tree<Chunk>, left: usize, right: usize) {
    let tail = tree.remove(right);
    tree.update(left, |chunk, _| {
        own(&mut chunk.0, Packed::heap_bytes).append(&tail.0)
    });
    tail.let_go();
}

/// Joins the chunk around `position` with a neighbour if one of them is nearly empty.
fn join_neighbours(tree: &mut Tree<Chunk>, position: usize) {
    let Some((chunk, at)) = tree.get(position.min(tree.weight().wrapping_sub(1))) else {
        return;
    };
    let start = position.min(tree.weight() - 1) - at;
    let (here, end) = (chunk.0.bytes(), start + chunk.0.len());
    let next = tree.get(end).map(|(next, _)| next.0.bytes());
    let before = start
        .checked_sub(1)
        .and_then(|last| tree.get(last))
        .map(|(chunk, _)| (chunk.0.len(), chunk.0.bytes()));
    let (left, right) = match (before, next) {
        (_, Some(bytes)) if are_joined(here, bytes) => (start, end),
        (Some((len, bytes)), _) if are_joined(here, bytes) => (start - len, start),
        _ => return,
    };
    join_chunks(tree, left, right);
}

/// Notes what is left of a range of whole chunks when it is removed, as its middle has it.
fn note_range(tree: &Tree<Chunk>, range: Range<usize>) {
    if let Some((chunk, _)) = tree.get(range.start + range.len() / 2)
        && !range.is_empty()
        && !chunk.0.is_unique()
    {
        note(chunk.0.heap_bytes().saturating_mul(range.len()) / chunk.0.len().max(1));
    }
}

/// A chunk below this many bytes is joined with a neighbour ...
const JOIN_BELOW: usize = 512;
/// ... if together they stay below this.
const JOIN_UP_TO: usize = 3072;

/// Elements in order.
pub struct Iter<'a> {
    chunk: Option<packed::Iter<'a>>,
    rest: Option<tree::Iter<'a, Chunk>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(element) = self.chunk.as_mut()?.next() {
                return Some(element);
            }
            self.chunk = self.rest.as_mut()?.next().map(|chunk| chunk.0.iter());
        }
    }
}

/// Elements in reverse order.
pub struct RevIter<'a> {
    chunk: Option<packed::RevIter<'a>>,
    rest: Option<tree::RevIter<'a, Chunk>>,
}

impl<'a> Iterator for RevIter<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(element) = self.chunk.as_mut()?.next() {
                return Some(element);
            }
            self.chunk = self
                .rest
                .as_mut()?
                .next()
                .map(|chunk| chunk.0.iter_rev_before(chunk.0.len()));
        }
    }
}

#[cfg(test)]
impl List {
    /// Checks the tree and the chunks; returns the number of chunks.
    pub(super) fn check(&self) -> usize {
        if let Form::Many(tree) = &self.0 {
            tree.check(|(), ()| true);
        }
        assert_eq!(self.chunks().map(|(len, _)| len).sum::<usize>(), self.len());
        self.chunk_count()
    }
}
