//! Sorted sets: members with scores, in order of (score, member bytes).
//!
//! Small: a [`Packed`] sequence `member score member score ...` in order, a score being 8 bytes. Large: a [`Dict`]
//! from member to score beside a counted B+[tree](super::tree) in order; the two share each member's bytes.
//!
//! Ranges are ranges of ranks: [`ZSet::range_by_score`] and [`ZSet::range_by_lex`] find them in O(log n), their
//! length is the count, and [`ZSet::iter_range`], [`ZSet::iter_range_rev`] and [`ZSet::remove_range`] take them.
//!
//! Scores 0 and -0 are equal in order; like Redis, the small form stores -0 as 0, the large one keeps the sign.

use std::cmp::Ordering;
use std::ops::Range;

use rand::{Rng, RngExt};

use super::dict::{Dict, Entry};
use super::limits::{SMALL_BYTES_MAX, SMALL_ENTRIES_MAX};
use super::packed::{self, Packed, entry_bytes};
use super::tree::{self, Item, Tree};
use super::{LexBound, Limits, ScoreBound, SharedBytes, bytes_left, shared, shared_heap_bytes};

/// A set of members ordered by score.
#[derive(Clone)]
pub struct ZSet(Form);

#[derive(Clone)]
enum Form {
    Small(Packed),
    Large {
        dict: Dict<Scored>,
        tree: Tree<Scored>,
    },
}

/// What [`ZSet::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertResult {
    /// The member is new.
    Added,
    /// The member had another score.
    Updated,
    /// The member had this score.
    Unchanged,
}

#[derive(Clone)]
struct Scored {
    score: f64,
    member: SharedBytes,
}

impl Scored {
    fn pair(&self) -> (&[u8], f64) {
        (&self.member.slice, self.score)
    }
}

impl Entry for Scored {
    fn key(&self) -> &[u8] {
        &self.member.slice
    }
    fn heap_bytes(&self) -> usize {
        shared_heap_bytes(self.member.slice.len())
    }
    fn bytes_left(&self) -> usize {
        // The tree has one, too.
        bytes_left(&self.member, 2)
    }
}

impl Item for Scored {
    type Key = Scored;
    const UNIT: bool = true;
    fn key(&self) -> Scored {
        self.clone()
    }
    fn weight(&self) -> usize {
        1
    }
}

/// The order of a sorted set. Total also for NaN, which commands refuse but a damaged file may hold.
fn order((member_a, score_a): (&[u8], f64), (member_b, score_b): (&[u8], f64)) -> Ordering {
    score_a
        .partial_cmp(&score_b)
        .unwrap_or_else(|| score_a.total_cmp(&score_b))
        .then_with(|| member_a.cmp(member_b))
}

impl Default for ZSet {
    fn default() -> ZSet {
        ZSet::new()
    }
}

impl ZSet {
    /// An empty sorted set, in the small form.
    pub fn new() -> ZSet {
        ZSet(Form::Small(Packed::new()))
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Small(packed) => packed.len() / 2,
            Form::Large { dict, .. } => dict.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `member` or changes its score.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> InsertResult {
        if let Form::Small(packed) = &mut self.0 {
            let found = pairs(packed, 0)
                .enumerate()
                .find(|(_, (found, _))| *found == member);
            let old = found.map(|(index, (_, old))| (index, old));
            match old {
                Some((_, old)) if old == score => return InsertResult::Unchanged,
                Some((index, _)) => {
                    packed.remove_range(2 * index, 2 * index + 2);
                    insert_small(packed, member, score);
                    return InsertResult::Updated;
                }
                None => {
                    let grown = packed.bytes() + entry_bytes(member.len()) + entry_bytes(8);
                    if packed.len() / 2 < limits.zset_max_listpack_entries.min(SMALL_ENTRIES_MAX)
                        && member.len() <= limits.zset_max_listpack_value
                        && grown <= SMALL_BYTES_MAX
                    {
                        insert_small(packed, member, score);
                        return InsertResult::Added;
                    }
                    self.enlarge();
                }
            }
        }
        let Form::Large { dict, tree } = &mut self.0 else {
            unreachable!("the small form has been left above");
        };
        let (entry, result) = match dict.get(member) {
            Some(old) if old.score == score => return InsertResult::Unchanged,
            Some(old) => {
                let entry = Scored {
                    score,
                    member: old.member.clone(),
                };
                tree.remove(rank_in(tree, old.pair()));
                (entry, InsertResult::Updated)
            }
            None => (
                Scored {
                    score,
                    member: shared(member),
                },
                InsertResult::Added,
            ),
        };
        let at = rank_in(tree, entry.pair());
        tree.insert(at, entry.clone());
        dict.insert(entry);
        result
    }

    /// Removes `member` and returns its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match &mut self.0 {
            Form::Small(packed) => {
                let (index, (_, score)) = pairs(packed, 0)
                    .enumerate()
                    .find(|(_, (found, _))| *found == member)?;
                packed.remove_range(2 * index, 2 * index + 2);
                Some(score)
            }
            Form::Large { dict, tree } => {
                let entry = dict.remove(member)?;
                tree.remove(rank_in(tree, entry.pair()));
                Some(entry.score)
            }
        }
    }

    /// The score of `member`.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.0 {
            Form::Small(packed) => pairs(packed, 0)
                .find(|(found, _)| *found == member)
                .map(|(_, score)| score),
            Form::Large { dict, .. } => dict.get(member).map(|entry| entry.score),
        }
    }

    /// Whether `member` is in the set.
    pub fn contains(&self, member: &[u8]) -> bool {
        self.score(member).is_some()
    }

    /// How many members come before `member`.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match &self.0 {
            Form::Small(packed) => pairs(packed, 0).position(|(found, _)| found == member),
            Form::Large { dict, tree } => Some(rank_in(tree, dict.get(member)?.pair())),
        }
    }

    /// The member of this rank, with its score.
    pub fn by_rank(&self, rank: usize) -> Option<(&[u8], f64)> {
        match &self.0 {
            Form::Small(packed) => pairs(packed, rank).next(),
            Form::Large { tree, .. } => tree.get(rank).map(|(entry, _)| entry.pair()),
        }
    }

    /// All members in order.
    pub fn iter(&self) -> Iter<'_> {
        self.iter_range(0..self.len())
    }

    /// The members of these ranks, in ascending order; ranks beyond the end are left out.
    pub fn iter_range(&self, ranks: Range<usize>) -> Iter<'_> {
        let end = ranks.end.min(self.len());
        let left = end.saturating_sub(ranks.start);
        let source = match &self.0 {
            Form::Small(packed) => Source::Small(packed.iter_from(2 * ranks.start.min(end))),
            Form::Large { tree, .. } => Source::Large(tree.iter_from(ranks.start).0),
        };
        Iter { source, left }
    }

    /// The members of these ranks, in descending order; ranks beyond the end are left out.
    pub fn iter_range_rev(&self, ranks: Range<usize>) -> RevIter<'_> {
        let end = ranks.end.min(self.len());
        let left = end.saturating_sub(ranks.start);
        let source = match &self.0 {
            Form::Small(packed) => RevSource::Small(packed.iter_rev_before(2 * end)),
            Form::Large { tree, .. } => RevSource::Large(tree.iter_rev_from(end.wrapping_sub(1)).0),
        };
        RevIter { source, left }
    }

    /// The ranks of the members with scores from `min` to `max`; an empty range if there are none.
    pub fn range_by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        self.range_where(
            |(_, score)| min.is_below_min(score),
            |(_, score)| max.is_within_max(score),
        )
    }

    /// The ranks of the members from `min` to `max`, provided that all scores are equal.
    pub fn range_by_lex(&self, min: &LexBound, max: &LexBound) -> Range<usize> {
        self.range_where(
            |(member, _)| min.is_below_min(member),
            |(member, _)| max.is_within_max(member),
        )
    }

    fn range_where(
        &self,
        below: impl Fn((&[u8], f64)) -> bool,
        within: impl Fn((&[u8], f64)) -> bool,
    ) -> Range<usize> {
        let (start, end) = match &self.0 {
            Form::Small(packed) => (
                pairs(packed, 0).take_while(|pair| below(*pair)).count(),
                pairs(packed, 0).take_while(|pair| within(*pair)).count(),
            ),
            Form::Large { tree, .. } => (
                tree.partition_point(|entry| below(entry.pair())),
                tree.partition_point(|entry| within(entry.pair())),
            ),
        };
        start..end.max(start)
    }

    /// The number of members with scores from `min` to `max`.
    pub fn count_by_score(&self, min: ScoreBound, max: ScoreBound) -> usize {
        self.range_by_score(min, max).len()
    }

    /// The number of members from `min` to `max`, provided that all scores are equal.
    pub fn count_by_lex(&self, min: &LexBound, max: &LexBound) -> usize {
        self.range_by_lex(min, max).len()
    }

    /// The first member.
    pub fn first(&self) -> Option<(&[u8], f64)> {
        self.by_rank(0)
    }

    /// The last member.
    pub fn last(&self) -> Option<(&[u8], f64)> {
        self.by_rank(self.len().checked_sub(1)?)
    }

    /// Removes the first member and returns it.
    pub fn pop_first(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop_rank(0)
    }

    /// Removes the last member and returns it.
    pub fn pop_last(&mut self) -> Option<(Vec<u8>, f64)> {
        self.pop_rank(self.len().checked_sub(1)?)
    }

    fn pop_rank(&mut self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let (member, score) = self.by_rank(rank)?;
        let popped = (member.to_vec(), score);
        self.remove_range(rank..rank + 1);
        Some(popped)
    }

    /// Removes the members of these ranks and returns how many there were.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> usize {
        let ranks = ranks.start..ranks.end.min(self.len());
        if ranks.is_empty() {
            return 0;
        }
        match &mut self.0 {
            Form::Small(packed) => packed.remove_range(2 * ranks.start, 2 * ranks.end),
            Form::Large { dict, tree } => {
                for entry in tree.iter_from(ranks.start).0.take(ranks.len()) {
                    dict.remove(&entry.member.slice);
                }
                tree.remove_range(ranks.clone());
            }
        }
        ranks.len()
    }

    /// Any member, all with the same probability; `None` if there are none.
    pub fn random<R: Rng + ?Sized>(&self, rng: &mut R) -> Option<(&[u8], f64)> {
        if self.is_empty() {
            None
        } else {
            self.by_rank(rng.random_range(0..self.len()))
        }
    }

    /// Visits about `count` members from `cursor` on; returns the next cursor, 0 at the end.
    ///
    /// A member that is there throughout a scan is visited. The small form is visited as a whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        match &self.0 {
            Form::Small(packed) => {
                pairs(packed, 0).for_each(|(member, score)| visit(member, score));
                0
            }
            Form::Large { dict, .. } => dict.scan(cursor, count, |entry| {
                visit(&entry.member.slice, entry.score)
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
            Form::Large { .. } => "skiplist",
        }
    }

    /// The shape of the hash table, if there is one; see [`Dict::shape`].
    pub fn table_shape(&self) -> Option<(usize, usize)> {
        match &self.0 {
            Form::Small(_) => None,
            Form::Large { dict, .. } => Some(dict.shape()),
        }
    }

    /// Whether dropping it takes long enough to do it elsewhere.
    pub fn is_large(&self) -> bool {
        matches!(&self.0, Form::Large { dict, .. } if dict.len() > super::object::DROP_INLINE_MAX)
    }

    /// An estimate of the heap memory held.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Form::Small(packed) => packed.heap_bytes(),
            Form::Large { dict, tree } => dict.heap_bytes() + tree.heap_bytes(),
        }
    }

    fn enlarge(&mut self) {
        if let Form::Small(packed) = &self.0 {
            let entries: Vec<Scored> = pairs(packed, 0)
                .map(|(member, score)| Scored {
                    score,
                    member: shared(member),
                })
                .collect();
            self.0 = large_from_sorted(entries);
        }
    }
}

/// The large form of entries in order, without duplicates.
fn large_from_sorted(entries: Vec<Scored>) -> Form {
    let mut dict = Dict::new();
    for entry in &entries {
        dict.insert(entry.clone());
    }
    Form::Large {
        dict,
        tree: Tree::from_items(entries.into_iter()),
    }
}

fn rank_in(tree: &Tree<Scored>, pair: (&[u8], f64)) -> usize {
    tree.partition_point(|entry| order(entry.pair(), pair).is_lt())
}

fn read_score(bytes: &[u8]) -> f64 {
    bytes.try_into().map_or(0.0, f64::from_le_bytes)
}

/// The pairs of a small form from rank `from` on.
fn pairs(packed: &Packed, from: usize) -> impl Iterator<Item = (&[u8], f64)> {
    let mut entries = packed.iter_from(2 * from);
    std::iter::from_fn(move || Some((entries.next()?, read_score(entries.next()?))))
}

/// Inserts a member that is not there.
fn insert_small(packed: &mut Packed, member: &[u8], score: f64) {
    let score = if score == 0.0 { 0.0 } else { score };
    let at = pairs(packed, 0)
        .take_while(|pair| order(*pair, (member, score)).is_lt())
        .count();
    packed.insert(2 * at, member);
    packed.insert(2 * at + 1, &score.to_le_bytes());
}

/// Members in ascending order.
pub struct Iter<'a> {
    source: Source<'a>,
    left: usize,
}

enum Source<'a> {
    Small(packed::Iter<'a>),
    Large(tree::Iter<'a, Scored>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);
    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            Source::Small(entries) => Some((entries.next()?, read_score(entries.next()?))),
            Source::Large(entries) => entries.next().map(Scored::pair),
        }
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Members in descending order.
pub struct RevIter<'a> {
    source: RevSource<'a>,
    left: usize,
}

enum RevSource<'a> {
    Small(packed::RevIter<'a>),
    Large(tree::RevIter<'a, Scored>),
}

impl<'a> Iterator for RevIter<'a> {
    type Item = (&'a [u8], f64);
    fn next(&mut self) -> Option<(&'a [u8], f64)> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.source {
            RevSource::Small(entries) => {
                let score = read_score(entries.next()?);
                Some((entries.next()?, score))
            }
            RevSource::Large(entries) => entries.next().map(Scored::pair),
        }
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RevIter<'_> {}

/// Builds a sorted set from members in any order, fastest if they come sorted, either way round.
#[derive(Default)]
pub struct ZSetBuilder {
    entries: Vec<Scored>,
    longest: usize,
}

impl ZSetBuilder {
    /// Nothing yet.
    pub fn new() -> ZSetBuilder {
        ZSetBuilder::default()
    }

    /// Adds a member.
    pub fn push(&mut self, member: &[u8], score: f64) {
        self.longest = self.longest.max(member.len());
        self.entries.push(Scored {
            score,
            member: shared(member),
        });
    }

    /// The sorted set; `None` if a member was added twice.
    pub fn finish(self, limits: &Limits) -> Option<ZSet> {
        let ZSetBuilder {
            mut entries,
            longest,
        } = self;
        let descending = |pair: &[Scored]| order(pair[0].pair(), pair[1].pair()).is_gt();
        if entries.windows(2).all(descending) {
            entries.reverse();
        }
        // Linear if they are sorted.
        entries.sort_by(|a, b| order(a.pair(), b.pair()));
        let bytes = entries
            .len()
            .saturating_mul(entry_bytes(longest) + entry_bytes(8));
        let is_small = entries.len() <= limits.zset_max_listpack_entries.min(SMALL_ENTRIES_MAX)
            && longest <= limits.zset_max_listpack_value
            && bytes <= SMALL_BYTES_MAX;
        let count = entries.len();
        let form = large_from_sorted(entries);
        let Form::Large { dict, tree } = &form else {
            return None;
        };
        if dict.len() != count {
            return None;
        }
        if !is_small {
            return Some(ZSet(form));
        }
        let mut packed = Packed::new();
        for entry in tree.iter_from(0).0 {
            let score = if entry.score == 0.0 { 0.0 } else { entry.score };
            packed.push_back(&entry.member.slice);
            packed.push_back(&score.to_le_bytes());
        }
        Some(ZSet(Form::Small(packed)))
    }
}

#[cfg(test)]
impl ZSet {
    /// Checks that both halves of the large form agree and keep their promises.
    pub(super) fn check(&self) {
        let mut last: Option<(&[u8], f64)> = None;
        for pair in self.iter() {
            assert!(
                last.is_none_or(|last| order(last, pair).is_lt()),
                "out of order"
            );
            last = Some(pair);
        }
        if let Form::Large { dict, tree } = &self.0 {
            dict.check();
            tree.check(|a, b| order(a.pair(), b.pair()).is_eq());
            assert_eq!(dict.len(), tree.weight());
            assert!(
                tree.iter_from(0).0.all(
                    |entry| dict.get(&entry.member.slice).map(|e| e.score) == Some(entry.score)
                )
            );
        }
    }
}
