//! Eviction: which keys go when memory is above `maxmemory`.
//!
//! As Redis does it, approximately: a few keys are sampled at random and the best of them goes, until memory is
//! below the limit. Evictions reach the log as DEL (or UNLINK).

use rand::RngExt;

use super::Settings;
use super::execute::{Turn, settle_slot};
use super::settings::EvictionPolicy;
use crate::command::{Effects, KeyClass};
use crate::keyspace::{Gate, KeyRef, Record};
use crate::types::{DbIndex, UnixMillis};

/// Slots tried for one sample before a database counts as having nothing to evict.
const SLOT_TRIES: usize = 16384;

/// Evicts keys until memory is below the limit; false if that cannot be reached.
pub(super) fn make_room(turn: &mut Turn<'_>) -> bool {
    let memory_used = turn.shared.options.memory_used;
    while memory_used() > turn.settings.maxmemory {
        if turn.settings.maxmemory_policy == EvictionPolicy::NoEviction || !evict_one(turn) {
            return false;
        }
    }
    true
}

/// A key that may go, and how much it should: the highest score goes first.
struct Candidate {
    db: DbIndex,
    name: Box<[u8]>,
    score: u64,
}

fn evict_one(turn: &mut Turn<'_>) -> bool {
    let (shared, now) = (turn.shared, turn.now);
    let settings = &turn.settings;
    let gate = turn
        .gate
        .as_deref()
        .expect("a turn holds the gate between commands");
    // A slot that a long command has is passed over, unless the turn may wait for it.
    let may_lock = |slot: u16| turn.is_long() || !shared.keyspace.is_marked(slot);
    let Some(victim) = choose(gate, settings, now, &may_lock) else {
        return false;
    };
    let key: KeyRef<'_> = shared.keyspace.key(&victim.name);
    let mut slot = gate.lock(victim.db, key.slot);
    let displaced = slot.remove(&key);
    if !displaced.existed() {
        return true;
    }
    shared.discard(displaced);
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

/// Samples keys and returns the one that should go first.
fn choose(
    gate: &Gate,
    settings: &Settings,
    now: UnixMillis,
    may_lock: &dyn Fn(u16) -> bool,
) -> Option<Candidate> {
    let volatile = settings.maxmemory_policy.is_volatile();
    let eligible = |db: DbIndex| {
        if volatile {
            gate.volatile_len(db)
        } else {
            gate.len(db)
        }
    };
    let databases: Vec<DbIndex> = (0..gate.databases())
        .filter(|db| eligible(*db) > 0)
        .collect();
    let mut rng = rand::rng();
    let mut best: Option<Candidate> = None;
    for _ in 0..settings.maxmemory_samples.max(1) {
        let db = *databases.get(rng.random_range(0..databases.len().max(1)))?;
        let first = rng.random_range(0..SLOT_TRIES);
        let found = (0..SLOT_TRIES).find_map(|step| {
            let number = ((first + step) % SLOT_TRIES) as u16;
            if !may_lock(number) {
                return None;
            }
            let slot = gate.lock(db, number);
            let count = if volatile {
                slot.volatile_len()
            } else {
                slot.len()
            };
            if count == 0 {
                return None;
            }
            let record = if volatile {
                let volatile_records = slot.iter().filter(|record| record.expire_at().is_some());
                volatile_records.take(count).nth(rng.random_range(0..count))
            } else {
                slot.random(&mut rng)
            }?;
            Some(Candidate {
                db,
                name: record.key().into(),
                score: score(record, settings, now),
            })
        });
        if let Some(candidate) = found
            && best
                .as_ref()
                .is_none_or(|best| candidate.score > best.score)
        {
            best = Some(candidate);
        }
    }
    best
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
