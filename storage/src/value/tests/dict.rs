use std::collections::{HashMap, HashSet};

use rand::RngExt;
use rand::rngs::StdRng;

use super::for_seeds;
use crate::value::dict::{Dict, Entry};
use crate::value::{Hash, Limits, Set};

#[derive(Clone, Debug, PartialEq)]
struct Pair([u8; 8], u64);

impl Entry for Pair {
    fn key(&self) -> &[u8] {
        &self.0
    }
    fn bytes_left(&self) -> usize {
        0
    }
    fn heap_bytes(&self) -> usize {
        0
    }
}

fn pair(key: u64, value: u64) -> Pair {
    Pair(key.to_le_bytes(), value)
}

fn contents(dict: &Dict<Pair>) -> HashMap<u64, u64> {
    dict.iter()
        .map(|pair| (u64::from_le_bytes(pair.0), pair.1))
        .collect()
}

#[test]
fn agrees_with_a_hash_map_and_clones_stay() {
    for_seeds(0..6, |rng| {
        let (mut dict, mut model) = (Dict::<Pair>::new(), HashMap::new());
        let mut clones: Vec<(Dict<Pair>, HashMap<u64, u64>)> = Vec::new();
        // Grow, then shrink.
        for (steps, removals) in [(15_000, 0.2), (15_000, 0.8)] {
            for _ in 0..steps {
                let (key, value) = (rng.random_range(0..20_000u64), rng.random());
                if rng.random_bool(removals) {
                    assert_eq!(
                        dict.remove(&key.to_le_bytes()).map(|pair| pair.1),
                        model.remove(&key)
                    );
                } else {
                    assert_eq!(
                        dict.insert(pair(key, value)).map(|pair| pair.1),
                        model.insert(key, value)
                    );
                }
                assert_eq!(dict.len(), model.len());
                if rng.random_bool(0.0005) {
                    clones.push((dict.clone(), model.clone()));
                }
            }
            dict.check();
            assert_eq!(contents(&dict), model);
        }
        for (dict, model) in &clones {
            dict.check();
            assert_eq!(contents(dict), *model, "a clone changed");
        }
    });
}

#[test]
fn a_write_beside_a_clone_copies_one_segment() {
    let mut dict = Dict::new();
    (0..100_000).for_each(|key| assert!(dict.insert(pair(key, 0)).is_none()));
    let clone = dict.clone();
    assert_eq!(dict.remove(b"not there"), None);
    assert_eq!(
        dict.unshared(&clone).1,
        0,
        "a removal of nothing copies nothing"
    );
    dict.insert(pair(7, 1));
    let (all, copied) = dict.unshared(&clone);
    assert!(all > 400 && copied == 1, "{copied} of {all} segments");
}

#[test]
fn a_million_inserts_keep_every_bound() {
    let mut dict = Dict::new();
    for key in 0..1_000_000 {
        dict.insert(pair(key, key));
        // A prime, so that every phase of a round of splits is seen.
        if key % 99_991 == 0 {
            dict.check();
        }
    }
    dict.check();
    for key in 0..999_000u64 {
        dict.remove(&key.to_le_bytes());
    }
    dict.check();
    let (segments, _) = dict.unshared(&dict);
    assert!(
        segments <= 1000 / 80 + 1,
        "{segments} segments for 1000 entries"
    );
}

/// Scans with other keys coming and going between the calls; every key that stays is returned exactly once.
fn scan_while(rng: &mut StdRng, stay: u64, mut churn: impl FnMut(&mut Dict<Pair>, &mut StdRng)) {
    let mut dict = Dict::new();
    (0..stay).for_each(|key| assert!(dict.insert(pair(key, 0)).is_none()));
    let (mut seen, mut cursor) = (HashSet::new(), 0);
    loop {
        let mut visited = 0;
        cursor = dict.scan(cursor, 10, |pair| {
            visited += 1;
            let key = u64::from_le_bytes(pair.0);
            assert!(seen.insert(key) || key >= stay, "{key} came twice");
        });
        assert!(visited <= 10);
        if cursor == 0 {
            break;
        }
        churn(&mut dict, rng);
    }
    dict.check();
    assert!(
        (0..stay).all(|key| seen.contains(&key)),
        "a key that stayed was not returned"
    );
}

#[test]
fn scan_returns_what_stays_while_the_table_grows() {
    for_seeds(0..5, |rng| {
        let mut next = 1 << 32;
        scan_while(rng, 3000, |dict, rng| {
            for _ in 0..rng.random_range(0..30) {
                dict.insert(pair(next, 0));
                next += 1;
            }
        });
    });
}

#[test]
fn scan_returns_what_stays_while_the_table_shrinks_and_grows() {
    for_seeds(0..5, |rng| {
        let (mut others, mut grow) = (Vec::new(), true);
        scan_while(rng, 2000, |dict, rng| {
            for _ in 0..300 {
                if grow {
                    let key = rng.random_range(1 << 32..1 << 40);
                    dict.insert(pair(key, 0));
                    others.push(key);
                } else if let Some(key) = others.pop() {
                    dict.remove(&u64::to_le_bytes(key));
                }
            }
            if others.len() > 30_000 || others.is_empty() {
                grow = !grow;
            }
        });
    });
}

#[test]
fn scan_with_any_cursor_ends() {
    let mut dict = Dict::new();
    (0..5000).for_each(|key| assert!(dict.insert(pair(key, 0)).is_none()));
    for cursor in [1, 17, u64::MAX, 1 << 48, (1 << 48) - 1, 1 << 47] {
        let mut cursor = dict.scan(cursor, usize::MAX, |_| ());
        assert_eq!(cursor, 0);
        cursor = dict.scan(cursor, 1, |_| ());
        assert_ne!(cursor, 0);
    }
    assert_eq!(Dict::<Pair>::new().scan(0, 0, |_| ()), 0);
}

#[test]
fn random_reaches_everything_about_equally() {
    for_seeds(0..3, |rng| {
        for size in [3u64, 100, 1000] {
            let mut dict = Dict::new();
            (0..size).for_each(|key| assert!(dict.insert(pair(key, 0)).is_none()));
            let mut hits = HashMap::<u64, u32>::new();
            for _ in 0..size * 200 {
                let drawn = dict.random(rng).expect("not empty");
                *hits.entry(u64::from_le_bytes(drawn.0)).or_default() += 1;
            }
            // Expected 200 each, with a deviation of 14.
            assert!(
                (0..size).all(|key| (100..320).contains(&hits[&key])),
                "{size}"
            );
        }
    });
}

#[test]
fn random_finds_the_last_ones_of_a_sparse_table() {
    let mut set = Set::new();
    let limits = Limits::default();
    (0..5000).for_each(|n| assert!(set.insert(format!("m{n}").as_bytes(), &limits)));
    let mut rng: StdRng = rand::SeedableRng::seed_from_u64(1);
    let mut popped = HashSet::new();
    while let Some(member) = set.pop_random(&mut rng) {
        assert!(popped.insert(member));
    }
    assert_eq!((popped.len(), set.len()), (5000, 0));
    assert!(set.random(&mut rng).is_none());
    assert!(Hash::new().random(&mut rng).is_none());
}
