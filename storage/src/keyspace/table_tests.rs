//! Tests of the slot table: against a model, and of its structure.

use std::collections::{HashMap, HashSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::keyspace::record::{StringKind, ValueRef};

fn record(key: &[u8], value: &[u8]) -> Record {
    Record::string(key, value, StringKind::Raw, None)
}

fn text(record: &Record) -> &[u8] {
    match record.value() {
        ValueRef::Str(bytes, _) => bytes,
        ValueRef::Object(_) => panic!("only strings are put in"),
    }
}

/// Checks everything that must hold between the buckets, the records' tags and the counters.
fn check(table: &Table) {
    let count = table.count();
    let mut seen = 0;
    for index in 0..count {
        let split = Split::of(count);
        let mut bucket = Some(table.bucket(index));
        while let Some(here) = bucket {
            let full = here
                .records
                .iter()
                .take_while(|place| place.is_some())
                .count();
            assert!(
                here.records[full..].iter().all(|place| place.is_none()),
                "a hole in bucket {index}"
            );
            assert!(
                here.overflow.is_none() || full == BUCKET_RECORDS,
                "overflow behind a bucket with room"
            );
            for record in here.records.iter().flatten() {
                let hash = hash::hash(record.key());
                assert_eq!(split.index(hash), index);
                assert_eq!(record.tag(), split.tag(index, hash));
                seen += 1;
            }
            bucket = here.overflow.as_deref();
            assert!(
                bucket.is_none_or(|overflow| overflow.records[0].is_some()),
                "an empty overflow bucket"
            );
        }
    }
    assert_eq!(seen, table.len());
}

#[test]
fn random_operations_agree_with_a_map() {
    for seed in 0..6u64 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut table = Table::new();
        let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let keys = [20, 300, 5_000, 20_000, 3, 40_000][seed as usize];
        for step in 0..60_000u32 {
            // Phases of growth and of decline, so that splits and merges cross every boundary.
            let growing = step / 15_000 % 2 == 0;
            let key = format!("key:{}", rng.random_range(0..keys)).into_bytes();
            let hash = hash::hash(&key);
            match rng.random_range(0..10) {
                roll if roll < if growing { 7 } else { 1 } => {
                    let value = step.to_string().into_bytes();
                    let old = table.insert(hash, record(&key, &value));
                    assert_eq!(
                        old.as_ref().map(text),
                        model.insert(key, value).as_deref(),
                        "seed {seed}"
                    );
                }
                roll if roll < 9 => {
                    let old = table.remove(hash, &key);
                    assert_eq!(
                        old.as_ref().map(text),
                        model.remove(&key).as_deref(),
                        "seed {seed}"
                    );
                }
                _ => assert_eq!(
                    table.get(hash, &key).map(text),
                    model.get(&key).map(Vec::as_slice),
                    "seed {seed}"
                ),
            }
            if step % 4_999 == 0 {
                check(&table);
            }
        }
        check(&table);
        let all: HashMap<Vec<u8>, Vec<u8>> = table
            .iter()
            .map(|record| (record.key().to_vec(), text(record).to_vec()))
            .collect();
        assert_eq!(all, model, "seed {seed}");
        for key in model.keys() {
            assert!(table.remove(hash::hash(key), key).is_some());
        }
        assert!(table.is_empty());
        assert_eq!(
            table.memory_bytes(),
            0,
            "an emptied table gives everything back"
        );
    }
}

fn scan_all(table: &Table, mut between: impl FnMut(u64) -> Option<()>) -> HashSet<Vec<u8>> {
    let mut seen = HashSet::new();
    let mut cursor = 0;
    loop {
        cursor = table.scan(cursor, &mut |record| {
            seen.insert(record.key().to_vec());
        });
        if cursor == 0 || between(cursor).is_none() {
            return seen;
        }
    }
}

#[test]
fn scan_of_a_table_at_rest_sees_each_record_once() {
    for len in [0usize, 1, 7, 8, 100, 1_153, 5_000] {
        let mut table = Table::new();
        for number in 0..len {
            let key = format!("k{number}").into_bytes();
            table.insert(hash::hash(&key), record(&key, b"v"));
        }
        let mut visits = 0;
        let mut cursor = 0;
        loop {
            cursor = table.scan(cursor, &mut |_| visits += 1);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(visits, len);
        assert_eq!(scan_all(&table, |_| Some(())).len(), len);
    }
}

#[test]
fn scan_misses_nothing_while_the_table_grows_and_shrinks() {
    for seed in 0..30u64 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut table = Table::new();
        let (stay, come_and_go) = (rng.random_range(1..3_000), rng.random_range(1..12_000));
        for number in 0..stay {
            let key = format!("stay{number}").into_bytes();
            table.insert(hash::hash(&key), record(&key, b""));
        }
        let mut seen = HashSet::new();
        let mut cursor = 0;
        let mut present = false;
        loop {
            cursor = table.scan(cursor, &mut |record| {
                seen.insert(record.key().to_vec());
            });
            if cursor == 0 {
                break;
            }
            if rng.random_range(0..20) == 0 {
                for number in 0..come_and_go {
                    let key = format!("guest{number}").into_bytes();
                    if present {
                        assert!(table.remove(hash::hash(&key), &key).is_some());
                    } else {
                        assert!(table.insert(hash::hash(&key), record(&key, b"")).is_none());
                    }
                }
                present = !present;
                check(&table);
            }
        }
        for number in 0..stay {
            assert!(
                seen.contains(format!("stay{number}").as_bytes()),
                "seed {seed}: stay{number} was missed"
            );
        }
    }
}

#[test]
fn any_cursor_is_answered() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut table = Table::new();
    for number in 0..1_000 {
        let key = format!("k{number}").into_bytes();
        table.insert(hash::hash(&key), record(&key, b""));
    }
    for _ in 0..1_000 {
        table.scan(rng.random(), &mut |_| {});
    }
    assert_eq!(table.scan(u64::MAX, &mut |_| {}), 0);
}

#[test]
fn walk_stops_after_its_bound_and_goes_on() {
    let mut table = Table::new();
    for number in 0..10_000 {
        let key = format!("k{number}").into_bytes();
        table.insert(hash::hash(&key), record(&key, b""));
    }
    let (mut visits, mut position, mut steps) = (0, Some(0), 0);
    while let Some(at) = position {
        let before = visits;
        position = table.walk(at, 100, &mut |_| visits += 1);
        assert!(visits - before <= 140, "a step of {}", visits - before);
        steps += 1;
    }
    assert_eq!(visits, 10_000);
    assert!(steps >= 70);
}

/// With every key of a large database under one hash tag, all of them are in one slot's table. No insert or
/// removal may then take time in proportion to it: each moves one bucket's chain at most, and chains are short.
#[test]
fn two_million_records_move_one_bucket_at_a_time() {
    const RECORDS: usize = 2_000_000;
    let mut table = Table::new();
    let mut key = Vec::new();
    let mut name = |number: usize| {
        key.clear();
        key.extend_from_slice(b"{t}");
        key.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        key.clone()
    };
    for number in 0..RECORDS {
        let key = name(number);
        let before = table.count();
        assert!(table.insert(hash::hash(&key), record(&key, b"")).is_none());
        assert!(table.count() <= before + 1);
    }
    let longest = (0..table.count())
        .map(|index| table.bucket(index).iter().count())
        .max();
    assert!(
        longest.is_some_and(|longest| longest < 64),
        "a chain of {longest:?}"
    );
    let overhead = table.memory_bytes() as f64 / RECORDS as f64;
    assert!(overhead < 20.0, "{overhead} bytes of table a record");
    check(&table);
    for number in 0..RECORDS {
        let key = name(number);
        let before = table.count();
        assert!(table.remove(hash::hash(&key), &key).is_some());
        assert!(table.is_empty() || table.count() + 1 >= before);
    }
    assert_eq!(table.memory_bytes(), 0);
}

#[test]
fn random_picks_every_record_about_equally() {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut table = Table::new();
    assert!(table.random(&mut rng).is_none());
    for number in 0..200 {
        let key = format!("k{number}").into_bytes();
        table.insert(hash::hash(&key), record(&key, b""));
    }
    let mut picks: HashMap<Vec<u8>, usize> = HashMap::new();
    for _ in 0..40_000 {
        *picks
            .entry(table.random(&mut rng).unwrap().key().to_vec())
            .or_default() += 1;
    }
    assert_eq!(picks.len(), 200);
    assert!(
        picks.values().all(|&picks| (110..320).contains(&picks)),
        "{picks:?}"
    );
}

#[test]
fn prefetches_are_harmless() {
    let mut table = Table::new();
    table.prefetch_bucket(5);
    table.prefetch_record(5);
    for number in 0..100 {
        let key = format!("k{number}").into_bytes();
        table.insert(hash::hash(&key), record(&key, b""));
        table.prefetch_bucket(hash::hash(&key));
        table.prefetch_record(hash::hash(&key));
        table.prefetch_record(u64::from(number as u32));
    }
    assert_eq!(table.len(), 100);
}
