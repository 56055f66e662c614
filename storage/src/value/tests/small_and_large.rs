//! Hashes and sets: against models across the change of form, and the change itself.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::for_seeds;
use crate::text::integer;
use crate::value::{Hash, Limits, Object, Set};

fn limits(entries: usize) -> Limits {
    Limits {
        hash_max_listpack_entries: entries,
        set_max_intset_entries: entries,
        ..Limits::default()
    }
}

#[test]
fn hash_agrees_with_a_map_and_clones_stay() {
    for_seeds(0..20, |rng| {
        let limits = limits(rng.random_range(0..200));
        let (mut hash, mut model) = (Hash::new(), BTreeMap::<Vec<u8>, Vec<u8>>::new());
        let mut clones = Vec::new();
        for _ in 0..3000 {
            let field = format!("f{}", rng.random_range(0..400)).into_bytes();
            let value = vec![b'v'; rng.random_range(0..64)];
            match rng.random_range(0..3) {
                0 => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                _ => assert_eq!(
                    hash.insert(&field, &value, &limits),
                    model.insert(field.clone(), value).is_none()
                ),
            }
            assert_eq!(hash.get(&field), model.get(&field).map(Vec::as_slice));
            assert_eq!(
                hash.value_len(&field),
                model.get(&field).map_or(0, Vec::len)
            );
            assert_eq!(hash.len(), model.len());
            if rng.random_bool(0.005) {
                clones.push((hash.clone(), model.clone()));
            }
        }
        clones.push((hash, model));
        for (hash, model) in clones {
            let found: BTreeMap<Vec<u8>, Vec<u8>> =
                hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect();
            assert_eq!(found, model);
            let (mut scanned, mut cursor) = (BTreeMap::new(), 0);
            loop {
                cursor = hash.scan(cursor, 7, |f, v| {
                    drop(scanned.insert(f.to_vec(), v.to_vec()))
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, model);
        }
    });
}

#[test]
fn set_agrees_with_a_set_and_clones_stay() {
    for_seeds(0..20, |rng| {
        let limits = limits(rng.random_range(0..200));
        let words = rng.random_bool(0.5);
        let (mut set, mut model) = (Set::new(), BTreeSet::<Vec<u8>>::new());
        let mut clones = Vec::new();
        for step in 0..3000 {
            let number = integer::to_vec(rng.random_range(-200..200));
            let member = if words && step > 100 {
                [b"w".to_vec(), number].concat()
            } else {
                number
            };
            match rng.random_range(0..3) {
                0 => assert_eq!(set.remove(&member), model.remove(&member)),
                _ => assert_eq!(set.insert(&member, &limits), model.insert(member.clone())),
            }
            assert_eq!(set.contains(&member), model.contains(&member));
            assert_eq!(set.len(), model.len());
            if rng.random_bool(0.005) {
                clones.push((set.clone(), model.clone()));
            }
        }
        clones.push((set, model));
        for (set, model) in clones {
            assert_eq!(
                set.iter()
                    .map(|member| member.to_vec())
                    .collect::<BTreeSet<_>>(),
                model
            );
            assert!(set.iter().count() == model.len());
        }
    });
}

#[test]
fn hash_leaves_the_small_form_above_its_limits_and_never_returns() {
    let limits = Limits::default();
    let mut hash = Hash::new();
    (0..512).for_each(|n| assert!(hash.insert(format!("{n}").as_bytes(), b"v", &limits)));
    assert_eq!(hash.encoding(), "listpack");
    assert!(hash.insert(b"one more", b"v", &limits));
    assert_eq!(hash.encoding(), "hashtable");
    (0..512).for_each(|n| assert!(hash.remove(format!("{n}").as_bytes())));
    assert_eq!(hash.encoding(), "hashtable");
    for (field, value, encoding) in [
        (64, 64, "listpack"),
        (65, 1, "hashtable"),
        (1, 65, "hashtable"),
    ] {
        let mut hash = Hash::new();
        hash.insert(&vec![b'f'; field], &vec![b'v'; value], &limits);
        assert_eq!(hash.encoding(), encoding);
        assert_eq!(hash.get(&vec![b'f'; field]), Some(&*vec![b'v'; value]));
    }
}

#[test]
fn set_leaves_the_form_for_integers() {
    let limits = Limits::default();
    let mut set = Set::new();
    (0..512).for_each(|n| assert!(set.insert(&integer::to_vec(n), &limits)));
    assert!(set.is_intset() && set.ints().is_some_and(|ints| ints.len() == 512));
    assert!(set.insert(b"512", &limits));
    assert_eq!(set.encoding(), "hashtable");
    for member in ["x", "01", "+1", "9223372036854775808", ""] {
        let mut set = Set::new();
        set.insert(b"1", &limits);
        assert!(set.insert(member.as_bytes(), &limits), "{member:?}");
        assert!(!set.is_intset() && set.contains(b"1") && set.contains(member.as_bytes()));
    }
}

#[test]
fn limits_set_too_high_do_not_make_small_forms_slow() {
    let limits = Limits {
        hash_max_listpack_value: usize::MAX,
        ..limits(usize::MAX)
    };
    let (mut hash, mut set) = (Hash::new(), Set::new());
    for n in 0..20_000 {
        hash.insert(&integer::to_vec(n), b"v", &limits);
        set.insert(&integer::to_vec(n), &limits);
    }
    assert_eq!(
        (hash.encoding(), set.encoding()),
        ("hashtable", "hashtable")
    );
    let mut hash = Hash::new();
    hash.insert(b"f", &vec![b'v'; 1 << 20], &limits);
    assert_eq!(hash.encoding(), "hashtable");
}

#[test]
fn memory_is_estimated_within_reason() {
    let limits = Limits::default();
    let mut hash = Hash::new();
    for n in 0..50_000 {
        hash.insert(format!("field:{n:06}").as_bytes(), &[b'v'; 100], &limits);
    }
    assert!(hash.is_large());
    let bytes = Object::from(hash).memory_bytes();
    // 112 bytes of data, 20 beside it, and 9 per place in the tables, which are at least a quarter full.
    assert!((50_000 * 130..50_000 * 180).contains(&bytes), "{bytes}");
    let empty = Object::from(Set::new());
    assert_eq!(
        (empty.memory_bytes(), empty.is_large(), empty.len()),
        (size_of::<Object>(), false, 0)
    );
}
