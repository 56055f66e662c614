//! Eviction: which keys go when memory is above `maxmemory`.
//!
//! As Redis does it, approximately: each key to go is the best of a small pool, to which a few keys sampled at random
//! are added every time. Evictions reach the log as DEL (or UNLINK).
//!
//! **What counts** is what the host says is in use, without what no eviction would free: the directories of slots and
//! the log's memory, whose sizes do not depend on the data; what the running snapshot holds on to; and values that
//! wait to be dropped in the background, whose memory is on its way back.
//!
//! **How long.** A command evicts for as long as `maxmemory-eviction-tenacity` allows, and runs if that was not
//! enough; the housekeeping thread goes on. It is refused only when there is nothing left to evict, or nothing may be.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::execute::{Turn, settle_slot};
use super::settings::EvictionPolicy;
use super::{FixedBytes, Settings, Shared};
use crate::command::{Effects, KeyClass};
use crate::keyspace::{self, Gate, KeyRef, Record, SlotGuard};
use crate::log;
use crate::types::{DbIndex, UnixMillis};

/// Keys that are kept as candidates from one eviction to the next.
const POOL_MAX: usize = 16;

/// Evictions between two looks at the clock.
const EVICTIONS_PER_LOOK: usize = 16;

/// Slots that are looked at for a sample: others may have been emptied meanwhile, or be somebody else's.
const SAMPLE_TRIES: usize = 64;

/// Buckets of records that are looked at for a sample: a slot may have millions of keys and few that expire.
const SAMPLE_BUCKETS: usize = 256;

impl Shared {
    /// Bytes of memory that count against `maxmemory`.
    pub(super) fn memory_counted(&self, gate: &Gate) -> u64 {
        (self.options.memory_used)()
            .saturating_sub(self.fixed_bytes().total())
            .saturating_sub(gate.snapshot_bytes() as u64)
            .saturating_sub(self.reaper.pending_bytes())
    }

    /// Bytes of memory whose size does not depend on the data.
    pub(super) fn fixed_bytes(&self) -> FixedBytes {
        FixedBytes {
            directories: keyspace::directory_bytes() as u64,
            log_ring: log::ring_bytes() as u64,
        }
    }
}

/// What came of an attempt to bring memory below its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// Memory is below the limit.
    Enough,
    /// It is not yet, but there is more to evict, or to drop.
    Soon,
    /// It is not, and nothing can be done about it.
    None,
}

/// Evicts keys until memory is below the limit, for at most `budget`. Where keys that are due are kept (CLIENT PAUSE),
/// others are too.
pub(super) fn make_room(turn: &mut Turn<'_>, budget: Option<Duration>) -> Room {
    if turn.settings.keep_due || !is_over(turn) {
        return Room::Enough;
    }
    let hopeless = |turn: &Turn<'_>| match turn.shared.reaper.is_behind() {
        true => Room::Soon,
        false => Room::None,
    };
    if turn.settings.maxmemory_policy == EvictionPolicy::NoEviction {
        return hopeless(turn);
    }
    let began = Instant::now();
    let mut evicted = 0usize;
    loop {
        // A whole database is being dropped: nobody knows how much that frees.
        if turn.shared.reaper.drops_database() {
            return Room::Soon;
        }
        match evict_one(turn) {
            Ok(()) => {}
            Err(Room::None) => return hopeless(turn),
            Err(room) => return room,
        }
        evicted += 1;
        if !is_over(turn) {
            return Room::Enough;
        }
        if evicted.is_multiple_of(EVICTIONS_PER_LOOK)
            && budget.is_some_and(|budget| began.elapsed() >= budget)
        {
            return Room::Soon;
        }
    }
}

/// Whether memory is above its limit.
pub(super) fn is_over(turn: &Turn<'_>) -> bool {
    let gate = turn
        .gate
        .as_deref()
        .expect("a turn holds the gate between commands");
    let limit = turn.settings.maxmemory;
    limit != 0 && turn.shared.memory_counted(gate) > limit
}

impl Settings {
    /// How long one command may evict; `None`: as long as it takes.
    pub(super) fn eviction_budget(&self) -> Option<Duration> {
        const STEP: Duration = Duration::from_micros(50);
        match self.eviction_tenacity {
            tenacity @ 0..=10 => Some(STEP * tenacity),
            tenacity @ 11..100 => Some((STEP * 10).mul_f64(1.15f64.powi(tenacity as i32 - 10))),
            _ => None,
        }
    }
}

/// Keys that are likely to go next, the likeliest last. Each thread that evicts has one.
#[derive(Default)]
pub(super) struct Pool {
    policy: EvictionPolicy,
    candidates: Vec<Candidate>,
}

/// A key that may go, and how much it should: the highest score goes first.
struct Candidate {
    db: DbIndex,
    name: Box<[u8]>,
    score: u64,
}

/// Whether a slot may be locked: one that a long command has is passed over, unless the turn may wait for it.
type MayLock<'a> = &'a dyn Fn(u16) -> bool;

/// What there is to evict.
enum Choice {
    /// This key.
    Key(Candidate),
    /// Keys that cannot be had just now.
    Later,
    /// Nothing.
    Nothing,
}

/// Evicts a key. What is wrong if none could be.
fn evict_one(turn: &mut Turn<'_>) -> Result<(), Room> {
    let (shared, is_long) = (turn.shared, turn.is_long());
    let may_lock = |slot: u16| is_long || !shared.keyspace.is_marked(slot);
    loop {
        let (settings, now) = (&turn.settings, turn.now);
        let gate = turn
            .gate
            .as_deref()
            .expect("a turn holds the gate between commands");
        match choose(gate, turn.pool, settings, now, &may_lock) {
            Choice::Key(victim) => {
                if evict(turn, &victim, &may_lock) {
                    return Ok(());
                }
            }
            Choice::Later => return Err(Room::Soon),
            Choice::Nothing => return Err(Room::None),
        }
    }
}

/// Evicts this key, if it is still there and may go.
fn evict(turn: &mut Turn<'_>, victim: &Candidate, may_lock: MayLock<'_>) -> bool {
    let (shared, settings) = (turn.shared, &turn.settings);
    let gate = turn
        .gate
        .as_deref()
        .expect("a turn holds the gate between commands");
    let key: KeyRef<'_> = shared.keyspace.key(&victim.name);
    if !may_lock(key.slot) {
        return false;
    }
    let mut slot = gate.lock(victim.db, key.slot);
    let may_go = slot.get(&key).is_some_and(|record| {
        record.expire_at().is_some() || !settings.maxmemory_policy.is_volatile()
    });
    if !may_go {
        return false;
    }
    shared.discard(slot.remove(&key));
    let command: &[u8] = if settings.lazyfree_eviction {
        b"UNLINK"
    } else {
        b"DEL"
    };
    let mut effects = Effects::default();
    effects.push(victim.db, &[command, &victim.name]);
    settle_slot(&mut slot, turn.log.append_effects(&effects));
    shared.stats.evicted_keys.add(1);
    if slot.has_waiters() {
        shared.registry.changed(victim.db, &victim.name);
    }
    if let Some(listener) = &settings.key_events {
        listener.event(KeyClass::Evicted, "evicted", victim.db, &victim.name);
    }
    true
}

/// Samples keys, and takes the one that should go first out of the pool.
fn choose(
    gate: &Gate,
    pool: &mut Pool,
    settings: &Settings,
    now: UnixMillis,
    may_lock: MayLock<'_>,
) -> Choice {
    let policy = settings.maxmemory_policy;
    if pool.policy != policy {
        pool.candidates.clear();
        pool.policy = policy;
    }
    let volatile = policy.is_volatile();
    let eligible: Vec<(DbIndex, usize)> = (0..gate.databases())
        .map(|db| {
            let keys = if volatile {
                gate.volatile_len(db)
            } else {
                gate.len(db)
            };
            (db, keys)
        })
        .filter(|(_, keys)| *keys > 0)
        .collect();
    let keys: usize = eligible.iter().map(|(_, keys)| keys).sum();
    if keys == 0 {
        pool.candidates.clear();
        return Choice::Nothing;
    }
    let mut rng = rand::rng();
    let samples = if policy.is_random() {
        1
    } else {
        settings.maxmemory_samples.max(1)
    };
    for _ in 0..samples {
        let mut nth = rng.random_range(0..keys);
        let db = eligible.iter().find_map(|(db, keys)| {
            let here = nth < *keys;
            nth = nth.saturating_sub(*keys);
            here.then_some(*db)
        });
        let found = db.and_then(|db| sample(gate, db, settings, now, may_lock));
        let known = |found: &Candidate| {
            pool.candidates
                .iter()
                .any(|known| known.db == found.db && known.name == found.name)
        };
        if let Some(found) = found.filter(|found| !known(found)) {
            pool.candidates.push(found);
        }
    }
    pool.candidates.sort_by_key(|candidate| candidate.score);
    let surplus = pool.candidates.len().saturating_sub(POOL_MAX);
    pool.candidates.drain(..surplus);
    pool.candidates.pop().map_or(Choice::Later, Choice::Key)
}

/// A random key of a database that may go.
fn sample(
    gate: &Gate,
    db: DbIndex,
    settings: &Settings,
    now: UnixMillis,
    may_lock: MayLock<'_>,
) -> Option<Candidate> {
    let volatile = settings.maxmemory_policy.is_volatile();
    let mut rng = rand::rng();
    let mut buckets = SAMPLE_BUCKETS;
    for _ in 0..SAMPLE_TRIES {
        let slot = if volatile {
            gate.random_volatile_slot(db, &mut rng)?
        } else {
            gate.random_used_slot(db, &mut rng)?
        };
        if !may_lock(slot) {
            continue;
        }
        let slot = gate.lock(db, slot);
        let candidate = |record: &Record| Candidate {
            db,
            name: record.key().into(),
            score: score(record, settings, now),
        };
        let found = if volatile {
            volatile_record(&slot, &mut buckets, &mut rng, candidate)
        } else {
            slot.random(&mut rng).map(candidate)
        };
        if found.is_some() || buckets == 0 {
            return found;
        }
    }
    None
}

/// One of the records that expire in the first bucket that has any, from a random one on; looks at no more than
/// `buckets`, and takes off how many it was.
fn volatile_record<T>(
    slot: &SlotGuard<'_>,
    buckets: &mut usize,
    rng: &mut impl rand::Rng,
    take: impl Fn(&Record) -> T,
) -> Option<T> {
    let start = rng.next_u64();
    let (mut cursor, mut wrapped) = (start, false);
    while *buckets > 0 && slot.volatile_len() > 0 {
        *buckets -= 1;
        let (mut seen, mut found) = (0, None);
        cursor = slot.scan(cursor, &mut |record| {
            if record.expire_at().is_some() {
                seen += 1;
                if rng.random_range(0..seen) == 0 {
                    found = Some(take(record));
                }
            }
        });
        if found.is_some() {
            return found;
        }
        if cursor == 0 {
            if wrapped {
                break;
            }
            wrapped = true;
        }
    }
    None
}

/// How much a record should go.
fn score(record: &Record, settings: &Settings, now: UnixMillis) -> u64 {
    match settings.maxmemory_policy {
        EvictionPolicy::AllKeysLru | EvictionPolicy::VolatileLru => {
            settings.idle_seconds(record, now).into()
        }
        EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu => {
            255 - u64::from(settings.frequency(record, now))
        }
        EvictionPolicy::VolatileTtl => {
            u64::MAX
                - record
                    .expire_at()
                    .map_or(0, |expire| expire.0.max(0) as u64)
        }
        EvictionPolicy::AllKeysRandom
        | EvictionPolicy::VolatileRandom
        | EvictionPolicy::NoEviction => 0,
    }
}

#[cfg(test)]
#[path = "evict_tests.rs"]
mod tests;
