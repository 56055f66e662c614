use std::collections::{BTreeSet, HashMap};

use rand::RngExt;
use rand::rngs::StdRng;

use super::for_seeds;
use crate::value::{InsertResult, LexBound, Limits, ScoreBound, ZSet, ZSetBuilder};

/// A plain sorted set: scores are small integers here, so that an integer key gives the order.
#[derive(Clone, Default)]
struct Model {
    order: BTreeSet<(i64, Vec<u8>)>,
    scores: HashMap<Vec<u8>, i64>,
}

impl Model {
    fn insert(&mut self, member: &[u8], score: i64) {
        if let Some(old) = self.scores.insert(member.to_vec(), score) {
            self.order.remove(&(old, member.to_vec()));
        }
        self.order.insert((score, member.to_vec()));
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.scores.remove(member)?;
        self.order.remove(&(score, member.to_vec()));
        Some(score as f64)
    }

    fn remove_ranks(&mut self, from: usize, to: usize) {
        let gone: Vec<_> = self
            .order
            .iter()
            .skip(from)
            .take(to - from)
            .cloned()
            .collect();
        gone.iter()
            .for_each(|(_, member)| assert!(self.remove(member).is_some()));
    }
}

fn assert_same(zset: &ZSet, model: &Model) {
    zset.check();
    assert_eq!(zset.len(), model.order.len());
    let pairs = || {
        model
            .order
            .iter()
            .map(|(score, member)| (member.as_slice(), *score as f64))
    };
    assert!(zset.iter().eq(pairs()));
    assert!(zset.iter_range_rev(0..usize::MAX).eq(pairs().rev()));
    assert_eq!(zset.first(), pairs().next());
    assert_eq!(zset.last(), pairs().next_back());
}

fn limits(entries: usize) -> Limits {
    Limits {
        zset_max_listpack_entries: entries,
        ..Limits::default()
    }
}

fn member(rng: &mut StdRng) -> Vec<u8> {
    format!("m{}", rng.random_range(0..3000)).into_bytes()
}

#[test]
fn agrees_with_a_model_and_clones_stay() {
    for_seeds(0..12, |rng| {
        let limits = limits(if rng.random_bool(0.3) {
            4000
        } else {
            rng.random_range(0..100)
        });
        let (mut zset, mut model) = (ZSet::new(), Model::default());
        let mut clones = Vec::new();
        // Few different scores make the member decide, many the score.
        let scores = if rng.random_bool(0.5) { 5 } else { 100_000 };
        for (steps, removals) in [(5000, 0.1), (5000, 0.6)] {
            for _ in 0..steps {
                let member = member(rng);
                let score = rng.random_range(-scores..scores);
                if rng.random_bool(removals) {
                    assert_eq!(zset.remove(&member), model.remove(&member));
                } else {
                    let expected = match model.scores.get(&member) {
                        None => InsertResult::Added,
                        Some(old) if *old == score => InsertResult::Unchanged,
                        Some(_) => InsertResult::Updated,
                    };
                    model.insert(&member, score);
                    assert_eq!(zset.insert(&member, score as f64, &limits), expected);
                }
                if rng.random_bool(0.002) {
                    clones.push((zset.clone(), model.clone()));
                    assert_same(&zset, &model);
                    ask_everything(rng, &zset, &model, scores);
                }
                if rng.random_bool(0.003) && !zset.is_empty() {
                    let from = rng.random_range(0..zset.len());
                    let to = zset.len().min(from + rng.random_range(0..300));
                    assert_eq!(zset.remove_range(from..to), to - from);
                    model.remove_ranks(from, to);
                    zset.check();
                }
            }
            assert_same(&zset, &model);
        }
        while let Some((popped, score)) = if rng.random() {
            zset.pop_first()
        } else {
            zset.pop_last()
        } {
            assert_eq!(model.remove(&popped), Some(score));
        }
        assert!(model.order.is_empty());
        clones
            .iter()
            .for_each(|(zset, model)| assert_same(zset, model));
    });
}

fn ask_everything(rng: &mut StdRng, zset: &ZSet, model: &Model, scores: i64) {
    let order: Vec<(&[u8], f64)> = model
        .order
        .iter()
        .map(|(score, member)| (member.as_slice(), *score as f64))
        .collect();
    for _ in 0..20 {
        let asked = member(rng);
        assert_eq!(
            zset.score(&asked),
            model.scores.get(&asked).map(|score| *score as f64)
        );
        assert_eq!(
            zset.rank(&asked),
            order.iter().position(|(member, _)| *member == asked)
        );
        let rank = rng.random_range(0..=order.len());
        assert_eq!(zset.by_rank(rank), order.get(rank).copied());
        let to = rng.random_range(rank..=order.len() + 2);
        let slice = &order[rank..to.min(order.len())];
        assert!(zset.iter_range(rank..to).eq(slice.iter().copied()));
        assert!(
            zset.iter_range_rev(rank..to)
                .eq(slice.iter().rev().copied())
        );
        let mut bound = || ScoreBound {
            score: rng.random_range(-scores..scores) as f64,
            exclusive: rng.random(),
        };
        let (min, max) = (bound(), bound());
        let within = |score: f64| {
            (if min.exclusive {
                score > min.score
            } else {
                score >= min.score
            }) && (if max.exclusive {
                score < max.score
            } else {
                score <= max.score
            })
        };
        let expected: Vec<_> = order
            .iter()
            .filter(|(_, score)| within(*score))
            .copied()
            .collect();
        let range = zset.range_by_score(min, max);
        assert_eq!(zset.count_by_score(min, max), expected.len());
        assert!(zset.iter_range(range).eq(expected));
    }
}

#[test]
fn lex_ranges_agree_with_a_model() {
    for_seeds(0..10, |rng| {
        let limits = limits(rng.random_range(0..300));
        let (mut zset, mut model) = (ZSet::new(), BTreeSet::new());
        for _ in 0..500 {
            let member = member(rng);
            zset.insert(&member, 0.0, &limits);
            model.insert(member);
        }
        for _ in 0..200 {
            let mut bound = || match rng.random_range(0..6) {
                0 => LexBound::Min,
                1 => LexBound::Max,
                2 | 3 => LexBound::Inclusive(member(rng).into()),
                _ => LexBound::Exclusive(member(rng).into()),
            };
            let (min, max) = (bound(), bound());
            let above = |member: &[u8]| match &min {
                LexBound::Min => true,
                LexBound::Max => false,
                LexBound::Inclusive(min) => member >= min,
                LexBound::Exclusive(min) => member > min,
            };
            let below = |member: &[u8]| match &max {
                LexBound::Min => false,
                LexBound::Max => true,
                LexBound::Inclusive(max) => member <= max,
                LexBound::Exclusive(max) => member < max,
            };
            let expected: Vec<&Vec<u8>> = model
                .iter()
                .filter(|member| above(member) && below(member))
                .collect();
            assert_eq!(zset.count_by_lex(&min, &max), expected.len());
            let found = zset.iter_range(zset.range_by_lex(&min, &max));
            assert!(
                found
                    .map(|(member, _)| member)
                    .eq(expected.iter().map(|member| member.as_slice()))
            );
        }
    });
}

#[test]
fn ranks_agree_with_indexset() {
    for_seeds(0..2, |rng| {
        let (mut zset, mut oracle) = (ZSet::new(), indexset::BTreeSet::new());
        for _ in 0..50_000 {
            let n: u32 = rng.random_range(0..30_000);
            let score = f64::from(n % 1000);
            let key = (n % 1000, n.to_be_bytes());
            if rng.random_bool(0.3) {
                zset.remove(&n.to_be_bytes());
                oracle.remove(&key);
            } else {
                zset.insert(&n.to_be_bytes(), score, &Limits::default());
                oracle.insert(key);
            }
        }
        zset.check();
        assert_eq!(zset.len(), oracle.len());
        for rank in 0..oracle.len() {
            let (score, member) = oracle.get_index(rank).expect("in range");
            assert_eq!(
                zset.by_rank(rank),
                Some((member.as_slice(), f64::from(*score)))
            );
            assert_eq!(zset.rank(member), Some(rank));
        }
    });
}

#[test]
fn sorted_inserts_fill_the_nodes() {
    for descending in [false, true] {
        let mut zset = ZSet::new();
        for n in 0..100_000i32 {
            let score = if descending { -n } else { n };
            zset.insert(&n.to_be_bytes(), f64::from(score), &Limits::default());
        }
        zset.check();
        let clone = zset.clone();
        assert_eq!(zset.remove_range(10..99_990), 99_980);
        zset.check();
        clone.check();
        assert_eq!((zset.len(), clone.len()), (20, 100_000));
    }
}

#[test]
fn leaves_the_small_form_above_its_limits() {
    let limits = Limits::default();
    let mut zset = ZSet::new();
    (0..128).for_each(|n| {
        assert_eq!(
            zset.insert(format!("{n}").as_bytes(), 1.0, &limits),
            InsertResult::Added
        )
    });
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(b"5", 2.0, &limits);
    assert_eq!(zset.encoding(), "listpack");
    zset.insert(b"one more", 2.0, &limits);
    assert_eq!(zset.encoding(), "skiplist");
    for (len, encoding) in [(64, "listpack"), (65, "skiplist")] {
        let mut zset = ZSet::new();
        zset.insert(&vec![b'm'; len], 1.0, &limits);
        assert_eq!(zset.encoding(), encoding);
    }
}

#[test]
fn zeros_are_equal_and_only_the_large_form_keeps_the_sign() {
    for (entries, sign) in [(128, false), (0, true)] {
        let limits = limits(entries);
        let mut zset = ZSet::new();
        zset.insert(b"b", -0.0, &limits);
        zset.insert(b"a", 0.0, &limits);
        assert!(zset.iter().map(|(member, _)| member).eq([b"a", b"b"]));
        assert_eq!(zset.score(b"b").map(f64::is_sign_negative), Some(sign));
        assert_eq!(zset.insert(b"b", 0.0, &limits), InsertResult::Unchanged);
    }
}

#[test]
fn infinities_and_nan_have_a_place() {
    for entries in [128, 0] {
        let mut zset = ZSet::new();
        for (member, score) in [
            ("x", f64::NAN),
            ("a", f64::INFINITY),
            ("b", f64::NEG_INFINITY),
            ("c", 0.0),
            ("x", 1.0),
        ] {
            zset.insert(member.as_bytes(), score, &limits(entries));
        }
        assert!(
            zset.iter()
                .map(|(member, _)| member)
                .eq([b"b", b"c", b"x", b"a"])
        );
        assert_eq!(zset.count_by_score(ScoreBound::MIN, ScoreBound::MAX), 4);
    }
}

#[test]
fn builder_takes_any_order_and_refuses_duplicates() {
    for_seeds(0..6, |rng| {
        for count in [0, 1, 100, 128, 129, 5000] {
            let mut pairs: Vec<(Vec<u8>, f64)> = (0..count)
                .map(|n| {
                    (
                        format!("m{n}").into_bytes(),
                        f64::from(rng.random_range(0..50)),
                    )
                })
                .collect();
            let mut expected = ZSet::new();
            pairs.iter().for_each(|(member, score)| {
                assert_eq!(
                    expected.insert(member, *score, &Limits::default()),
                    InsertResult::Added
                )
            });
            if rng.random() {
                pairs = expected
                    .iter()
                    .map(|(member, score)| (member.to_vec(), score))
                    .collect();
                pairs.reverse();
            }
            let mut builder = ZSetBuilder::new();
            pairs
                .iter()
                .for_each(|(member, score)| builder.push(member, *score));
            let built = builder.finish(&Limits::default()).expect("no duplicates");
            built.check();
            assert!(built.iter().eq(expected.iter()));
            assert_eq!(built.encoding(), expected.encoding());
            let mut builder = ZSetBuilder::new();
            pairs
                .iter()
                .for_each(|(member, score)| builder.push(member, *score));
            builder.push(b"twice", 1.0);
            builder.push(b"twice", 2.0);
            assert!(builder.finish(&Limits::default()).is_none());
        }
    });
}

#[test]
fn scan_visits_all_members() {
    let mut zset = ZSet::new();
    (0..3000u32).for_each(|n| {
        assert_eq!(
            zset.insert(&n.to_be_bytes(), f64::from(n), &Limits::default()),
            InsertResult::Added
        )
    });
    let (mut seen, mut cursor) = (BTreeSet::new(), 0);
    loop {
        cursor = zset.scan(cursor, 10, |member, score| {
            assert!(seen.insert((member.to_vec(), score as u32)))
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(seen.len(), 3000);
}
