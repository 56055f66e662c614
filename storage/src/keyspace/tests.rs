//! Tests of the keyspace as a whole: gate, slots, counters, and cuts under concurrent writers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::cut::Kept;
use super::long_string::LongString;
use super::*;
use crate::types::UnixMillis;
use crate::value::{Limits, List, Object};

fn string(key: &[u8], value: &[u8]) -> Record {
    Record::string(key, value, StringKind::Raw, None)
}

fn put(gate: &Gate, db: DbIndex, key: &[u8], value: &[u8]) {
    let key = KeyRef::new(key);
    let _ = gate
        .lock(db, key.slot)
        .insert(&key, string(key.bytes, value));
}

/// A value with the expiry, in a form that can be compared.
fn seen(record: &Record) -> (Option<UnixMillis>, Vec<u8>) {
    let value = match record.value() {
        ValueRef::Str(bytes, _) => bytes.to_vec(),
        ValueRef::Object(Object::List(list)) => list.iter().collect::<Vec<_>>().join(&b','),
        ValueRef::Object(_) => panic!("only lists are put in"),
    };
    (record.expire_at(), value)
}

type State = BTreeMap<(DbIndex, Vec<u8>), (Option<UnixMillis>, Vec<u8>)>;

/// Everything in the keyspace; checks the counters on the way.
fn state(gate: &ExclusiveGate<'_>) -> State {
    let mut all = State::new();
    for db in 0..gate.databases() {
        let (mut keys, mut volatile) = (0, 0);
        for slot in 0..SLOTS as u16 {
            let guard = gate.lock(db, slot);
            assert_eq!(guard.iter().count(), guard.len());
            let expiring = guard
                .iter()
                .filter(|record| record.expire_at().is_some())
                .count();
            assert_eq!(expiring, guard.volatile_len());
            keys += guard.len();
            volatile += expiring;
            all.extend(
                guard
                    .iter()
                    .map(|record| ((db, record.key().to_vec()), seen(record))),
            );
        }
        let with_keys = (0..SLOTS as u16).filter(|&slot| !gate.lock(db, slot).is_empty());
        assert!(with_keys.eq(members(|from| gate.next_used_slot(db, from))));
        let with_expiry = (0..SLOTS as u16).filter(|&slot| gate.lock(db, slot).volatile_len() > 0);
        assert!(with_expiry.eq(members(|from| gate.next_volatile_slot(db, from))));
        assert_eq!(
            (gate.len(db), gate.volatile_len(db)),
            (keys, volatile),
            "counters of database {db}"
        );
    }
    all
}

fn members(next: impl Fn(u16) -> Option<u16>) -> impl Iterator<Item = u16> {
    std::iter::successors(next(0), move |slot| next(slot + 1))
}

/// Walks a cut to its end, a few entries at a time, and checks that no key comes twice.
fn walk(cut: &mut SnapshotCut, max_entries: usize) -> State {
    let mut all = State::new();
    let mut collect = |db: DbIndex, entry: CutEntry<'_>| {
        let (key, found) = match entry {
            CutEntry::Record(record) => (record.key().to_vec(), seen(record)),
            CutEntry::String(string) => {
                let mut value = Vec::new();
                while string.read_piece(&mut value) {}
                assert_eq!(value.len(), string.value_len());
                (string.key().to_vec(), (string.expire_at(), value))
            }
        };
        let twice = all.insert((db, key.clone()), found);
        assert!(
            twice.is_none(),
            "{} of database {db} came twice",
            key.escape_ascii()
        );
    };
    for db in cut.databases().collect::<Vec<_>>() {
        for slot in 0..SLOTS as u16 {
            while cut.walk_slot(db, slot, max_entries, &mut collect) == WalkProgress::More {
                cut.drain_side(3, &mut collect);
            }
        }
    }
    assert_eq!(
        (cut.drain_side(usize::MAX, &mut collect), cut.side_bytes()),
        (0, 0)
    );
    all
}

fn random_key(rng: &mut SmallRng) -> Vec<u8> {
    // Half of the keys crowd in a few slots, so that a slot takes many steps.
    match rng.random_range(0..2) {
        0 => format!(
            "{{tag{}}}{}",
            rng.random_range(0..4),
            rng.random_range(0..400)
        )
        .into_bytes(),
        _ => format!("key{}", rng.random_range(0..1_000)).into_bytes(),
    }
}

fn random_record(rng: &mut SmallRng, key: &[u8]) -> Record {
    let expire = rng
        .random_bool(0.3)
        .then(|| UnixMillis(rng.random_range(0..1_000)));
    match rng.random_range(0..3) {
        0 => Record::string(
            key,
            &rng.random::<u64>().to_le_bytes(),
            StringKind::Raw,
            expire,
        ),
        1 => Record::string_owned(key, vec![rng.random(); 1_500], StringKind::Raw, expire),
        _ => Record::object(key, list(rng), expire),
    }
}

fn list(rng: &mut SmallRng) -> Object {
    let mut list = List::new();
    // Some are long enough to consist of several shared chunks.
    for _ in 0..if rng.random_bool(0.05) { 3_000 } else { 5 } {
        list.push_back(&rng.random::<u32>().to_le_bytes(), &Limits::default());
    }
    list.into()
}

fn random_write(gate: &Gate, rng: &mut SmallRng) {
    let db = rng.random_range(0..gate.databases());
    let key = random_key(rng);
    let key = KeyRef::new(&key);
    let mut slot = gate.lock(db, key.slot);
    match rng.random_range(0..10) {
        0..3 => drop(slot.insert(&key, random_record(rng, key.bytes))),
        3 => drop(slot.remove(&key)),
        4 => drop(slot.take(&key)),
        5 => {
            if let Some(mut record) = slot.get_mut(&key) {
                record.set_expire(
                    rng.random_bool(0.5)
                        .then(|| UnixMillis(rng.random_range(0..1_000))),
                );
            }
        }
        6 => {
            if let Some(mut record) = slot.get_mut(&key) {
                record.replace_value(
                    vec![rng.random(); rng.random_range(0..2_000)],
                    StringKind::Raw,
                );
            }
        }
        7 | 8 => {
            let Some(mut record) = slot.get_mut(&key) else {
                return;
            };
            let offset = rng.random_range(0..2_000);
            if record.write_string(offset, &rng.random::<u64>().to_le_bytes()) {
                // It may be longer now.
            } else if let Some(Object::List(list)) = record.object_mut() {
                list.set(rng.random_range(0..5), &[rng.random()], &Limits::default());
                list.push_back(&[rng.random()], &Limits::default());
            }
        }
        _ => {
            // A rename: both slots at once, in order.
            drop(slot);
            let other = random_key(rng);
            let other = KeyRef::new(&other);
            let mut first = gate.lock(db, key.slot.min(other.slot));
            if key.slot == other.slot {
                if let Some(record) = first.take(&key) {
                    let _ = first.insert(&other, record.with_key(other.bytes));
                }
                return;
            }
            let mut second = gate.lock(db, key.slot.max(other.slot));
            let (from, to) = if key.slot < other.slot {
                (&mut first, &mut second)
            } else {
                (&mut second, &mut first)
            };
            if let Some(record) = from.take(&key) {
                let _ = to.insert(&other, record.with_key(other.bytes));
            }
        }
    }
}

/// Ends the writers also when the test fails, so that it fails and does not hang.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn cut_is_exact_under_concurrent_writers() {
    let keyspace = Keyspace::new(3);
    let stop = AtomicBool::new(false);
    let writes = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for seed in 0..3u64 {
            let (keyspace, stop, writes) = (&keyspace, &stop, &writes);
            scope.spawn(move || {
                let mut rng = SmallRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    {
                        let gate = keyspace.enter();
                        for _ in 0..rng.random_range(1..32) {
                            random_write(&gate, &mut rng);
                        }
                    }
                    if rng.random_range(0..400) == 0 {
                        let mut gate = keyspace.enter_exclusive();
                        let (a, b) = (rng.random_range(0..3), rng.random_range(0..3));
                        gate.swap_db(a, b);
                        if rng.random_bool(0.3) {
                            drop(gate.take_db(a));
                        }
                    }
                    writes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..12 {
            // Let the writers get somewhere between cuts.
            let target = writes.load(Ordering::Relaxed) + 200;
            while writes.load(Ordering::Relaxed) < target {
                thread::yield_now();
            }
            let (expected, mut cut) = {
                let mut gate = keyspace.enter_exclusive();
                (
                    state(&gate),
                    gate.begin_snapshot().expect("the last one is finished"),
                )
            };
            if round % 4 == 3 {
                cut.walk_slot(0, 5, usize::MAX, &mut |_, _| {});
                cut.abandon();
                continue;
            }
            let found = walk(&mut cut, [8, 64, 1][round % 3]);
            cut.finish();
            assert_eq!(found.len(), expected.len(), "round {round}");
            assert!(
                found == expected,
                "round {round}: the snapshot differs from the state at the cut"
            );
        }
    });
    state(&keyspace.enter_exclusive());
}

#[test]
fn flushed_and_swapped_databases_stay_in_the_cut() {
    let keyspace = Keyspace::new(4);
    {
        let gate = keyspace.enter();
        put(&gate, 0, b"a", b"zero");
        put(&gate, 1, b"b", b"one");
    }
    let mut gate = keyspace.enter_exclusive();
    let expected = state(&gate);
    let mut cut = gate.begin_snapshot().unwrap();
    assert!(gate.begin_snapshot().is_none(), "one at a time");
    gate.swap_db(0, 1);
    gate.swap_db(1, 3);
    let flushed = gate.take_db(3);
    assert_eq!(
        (flushed.len(), gate.len(3), gate.len(1), gate.len(0)),
        (1, 0, 0, 1)
    );
    drop(flushed);
    // What is written to the swapped database keeps its number of the cut.
    put(&gate, 0, b"b", b"changed");
    put(&gate, 3, b"a", b"new");
    drop(gate);
    assert!(cut.side_bytes() > 0);
    assert_eq!(walk(&mut cut, 1), expected);
    cut.finish();
    let mut gate = keyspace.enter_exclusive();
    let expected = state(&gate);
    let mut cut = gate.begin_snapshot().unwrap();
    drop(gate);
    assert_eq!(walk(&mut cut, 100), expected);
}

#[test]
fn old_value_is_handed_over_once_and_only_before_the_walk() {
    let keyspace = Keyspace::new(1);
    let (key, other) = (keyspace.key(b"{s}k"), keyspace.key(b"{s}other"));
    put(&keyspace.enter(), 0, key.bytes, b"old");
    let mut cut = keyspace.enter_exclusive().begin_snapshot().unwrap();
    let gate = keyspace.enter();
    let mut slot = gate.lock(0, key.slot);
    assert!(matches!(
        slot.insert(&key, string(key.bytes, b"1")),
        Displaced::ToSnapshot
    ));
    assert!(matches!(
        slot.insert(&key, string(key.bytes, b"2")),
        Displaced::Record(_)
    ));
    assert!(matches!(
        slot.insert(&other, string(other.bytes, b"new")),
        Displaced::Nothing
    ));
    assert!(matches!(slot.remove(&other), Displaced::Record(_)));
    drop(slot);
    let all = walk(&mut cut, 10);
    assert_eq!(
        all,
        State::from([((0, key.bytes.to_vec()), (None, b"old".to_vec()))])
    );
    let mut slot = gate.lock(0, key.slot);
    assert!(matches!(slot.remove(&key), Displaced::Record(_)));
    assert!(!slot.remove(&key).existed());
    assert_eq!(cut.side_bytes(), 0);
}

/// Small collections are copied under the slot's lock, and are to hold it for a moment only.
#[test]
fn walk_lets_go_of_the_lock_where_there_is_much_to_copy() {
    const BYTES: usize = 50_000;
    let keyspace = Keyspace::new(1);
    for n in 0..200 {
        let mut list = List::new();
        let limits = Limits {
            list_max_listpack_size: -5,
            ..Limits::default()
        };
        (0..BYTES / 100).for_each(|_| list.push_back(&[b'x'; 100], &limits));
        assert!(list.is_small());
        let name = format!("{{s}}{n}");
        let key = keyspace.key(name.as_bytes());
        let record = Record::object(key.bytes, list.into(), None);
        let _ = keyspace.enter().lock(0, key.slot).insert(&key, record);
    }
    let mut cut = keyspace.enter_exclusive().begin_snapshot().unwrap();
    let slot = keyspace.key(b"{s}").slot;
    let (mut all, mut at_once) = (0, 0);
    loop {
        let mut entries = 0;
        let progress = cut.walk_slot(0, slot, 1000, &mut |_, _| entries += 1);
        (all, at_once) = (all + entries, at_once.max(entries));
        if progress == WalkProgress::Done {
            break;
        }
    }
    assert_eq!(all, 200);
    assert!(at_once < 40, "{at_once}");
}

#[test]
fn abandoned_cut_keeps_nothing_and_asks_for_nothing() {
    let keyspace = Keyspace::new(1);
    let (a, b) = (keyspace.key(b"{s}a"), keyspace.key(b"{s}b"));
    let gate = keyspace.enter();
    put(&gate, 0, a.bytes, &[1; 3_000]);
    put(&gate, 0, b.bytes, &[1; 3_000]);
    drop(gate);
    let cut = keyspace.enter_exclusive().begin_snapshot().unwrap();
    let gate = keyspace.enter();
    assert!(matches!(
        gate.lock(0, a.slot).remove(&a),
        Displaced::ToSnapshot
    ));
    let side = Arc::clone(gate.side.as_ref().unwrap());
    cut.abandon();
    assert!(matches!(
        gate.lock(0, b.slot).remove(&b),
        Displaced::Record(_)
    ));
    // A writer that had seen the snapshot running just before.
    let late = Kept::Record(string(b"late", b""));
    assert!(side.push(0, 0, 100, late).is_some());
    drop(gate);
    assert!(keyspace.enter_exclusive().begin_snapshot().is_some());
}

#[test]
fn values_are_freed_with_the_last_holder() {
    let keyspace = Keyspace::new(2);
    let items = LongString::new(vec![1; 2_000]);
    let key = keyspace.key(b"k");
    let insert = |db| {
        let record = Record::string_shared(key.bytes, &items);
        let _ = keyspace.enter().lock(db, key.slot).insert(&key, record);
    };
    insert(0);
    insert(1);
    assert_eq!(items.owners(), 3);
    let mut gate = keyspace.enter_exclusive();
    let cut = gate.begin_snapshot().unwrap();
    drop(gate.take_db(0));
    assert_eq!(items.owners(), 3, "the cut holds the flushed database");
    drop(gate);
    let _ = keyspace.enter().lock(1, key.slot).remove(&key);
    assert_eq!(items.owners(), 3, "and the old value");
    drop(cut);
    assert_eq!(items.owners(), 1);
    insert(1);
    drop(keyspace.enter_exclusive().take_db(1));
    assert_eq!(items.owners(), 1);
    insert(0);
    drop(keyspace);
    assert_eq!(items.owners(), 1);
}

#[test]
fn unused_database_is_not_made_by_asking() {
    let keyspace = Keyspace::new(16);
    let gate = keyspace.enter();
    let key = keyspace.key(b"k");
    keyspace.prefetch_slot(&gate, 9, &key);
    keyspace.prefetch_bucket(&gate, 9, &key);
    keyspace.prefetch_record(&gate, 9, &key);
    assert_eq!((gate.len(9), gate.volatile_len(9)), (0, 0));
    assert!(gate.databases[9].data.get().is_none());
    put(&gate, 9, b"k", b"v");
    keyspace.prefetch_slot(&gate, 9, &key);
    keyspace.prefetch_bucket(&gate, 9, &key);
    keyspace.prefetch_record(&gate, 9, &key);
    assert_eq!(gate.len(9), 1);
    // A locked slot is skipped, by prefetches and by `try_lock`.
    let _held = gate.lock(9, key.slot);
    keyspace.prefetch_record(&gate, 9, &key);
    assert!(gate.try_lock(9, key.slot).is_none());
    assert!(gate.try_lock(9, key.slot ^ 1).is_some());
}

#[test]
fn slot_notes_follow_the_data_or_the_number() {
    let keyspace = Keyspace::new(2);
    let mut gate = keyspace.enter_exclusive();
    let mut slot = gate.lock(0, 7);
    slot.set_last_lsn(Lsn(50));
    assert!(!slot.has_waiters());
    slot.set_has_waiters(true);
    drop(slot);
    gate.lock(0, 8).set_has_waiters(false);
    gate.swap_db(0, 1);
    gate.set_db_lsn(0, Lsn(60));
    gate.set_db_lsn(1, Lsn(40));
    // Blocked clients wait on a number; the last write is that of the data or of the exchange.
    assert!(
        gate.lock(0, 7).has_waiters()
            && !gate.lock(1, 7).has_waiters()
            && !gate.lock(0, 8).has_waiters()
    );
    assert_eq!(
        (gate.lock(0, 7).last_lsn(), gate.lock(1, 7).last_lsn()),
        (Lsn(60), Lsn(50))
    );
    gate.lock(0, 7).set_has_waiters(false);
    assert!(!gate.lock(0, 7).has_waiters());
}

#[test]
fn expire_steps_find_every_expired_key() {
    let keyspace = Keyspace::new(1);
    let gate = keyspace.enter();
    let slot = keyspace.key(b"{t}").slot;
    assert!(
        gate.lock(0, slot)
            .expire_step(UnixMillis(0), 10, 0)
            .keys
            .is_empty()
    );
    for number in 0..500i64 {
        let name = format!("{{t}}{number}");
        let key = keyspace.key(name.as_bytes());
        let expire = (number % 2 == 0).then_some(UnixMillis(number));
        let _ = gate.lock(0, slot).insert(
            &key,
            Record::string(key.bytes, b"", StringKind::Raw, expire),
        );
    }
    assert_eq!(gate.volatile_len(0), 250);
    let mut expired = Vec::new();
    let mut cursor = 0;
    loop {
        let step = gate.lock(0, slot).expire_step(UnixMillis(100), 20, cursor);
        assert!(step.visited <= 60);
        expired.extend(step.keys);
        cursor = step.cursor;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(expired.len(), 51);
    for name in expired {
        let key = keyspace.key(&name);
        assert!(gate.lock(0, slot).remove(&key).existed());
    }
    assert_eq!((gate.len(0), gate.volatile_len(0)), (449, 199));
}

#[test]
fn loaded_keyspace_replaces_all_beside_a_running_snapshot() {
    let keyspace = Keyspace::new(2);
    let loaded = Keyspace::new(3);
    let key = keyspace.key(b"k");
    put(&keyspace.enter(), 0, b"k", b"old");
    put(&keyspace.enter(), 1, b"k", b"old");
    keyspace
        .enter_exclusive()
        .begin_snapshot()
        .unwrap()
        .abandon();
    put(&loaded.enter(), 0, b"k", b"new");
    put(&loaded.enter(), 2, b"k", b"too far");
    let mut gate = keyspace.enter_exclusive();
    let expected = state(&gate);
    let mut cut = gate.begin_snapshot().unwrap();
    let old = gate.replace_all(loaded);
    assert_eq!(old.iter().map(DetachedDb::len).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((gate.len(0), gate.len(1)), (1, 0));
    // The loaded record is older than the cut by its stamp, but was no part of it.
    assert!(matches!(
        gate.lock(0, key.slot).insert(&key, string(b"k", b"newer")),
        Displaced::Record(_)
    ));
    drop((gate, old));
    assert_eq!(walk(&mut cut, 10), expected);
    cut.finish();
    put(&keyspace.enter(), 1, b"k", b"again");
    let mut gate = keyspace.enter_exclusive();
    let expected = state(&gate);
    let mut cut = gate.begin_snapshot().unwrap();
    drop(gate);
    assert_eq!(walk(&mut cut, 10), expected);
}

#[test]
fn random_used_slot_finds_the_only_key() {
    let keyspace = Keyspace::new(2);
    let gate = keyspace.enter();
    let mut rng = SmallRng::seed_from_u64(3);
    assert_eq!(gate.random_used_slot(1, &mut rng), None);
    put(&gate, 1, b"k", b"v");
    let slot = keyspace.key(b"k").slot;
    assert!((0..20).all(|_| gate.random_used_slot(1, &mut rng) == Some(slot)));
}
