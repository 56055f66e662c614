//! Expiry in the background: keys whose time has come go even if nobody looks them up.
//!
//! The engine's housekeeping thread calls [`Turn::expire_some`] ten times a second with a budget of time. It goes
//! through the slots in a circle, skipping those without keys that expire, and stops when its budget is used up.
//! Each expiry reaches the log as DEL (or UNLINK) under the slot's lock, as an expiry on access does.

use std::time::{Duration, Instant};

use super::execute::{LogAccess, Turn, settle_slot};
use super::{Settings, Shared};
use crate::command::{Effects, KeyClass, is_due};
use crate::keyspace::SlotGuard;
use crate::types::DbIndex;

const SLOTS: u16 = 16384;

/// Records looked at under one lock.
const VISITS_PER_LOCK: usize = 64;

/// Where the circle stands.
#[derive(Debug, Default)]
pub struct ExpireCursor {
    db: DbIndex,
    slot: u16,
    within: u64,
}

impl Turn<'_> {
    /// Expires keys for at most about `budget`, going on from `cursor`; at most once around. Returns how many went.
    pub fn expire_some(&mut self, cursor: &mut ExpireCursor, budget: Duration) -> usize {
        let start = Instant::now();
        let gate = self
            .gate
            .as_deref()
            .expect("a turn holds the gate between commands");
        let mut expired = 0;
        for _ in 0..gate.databases() {
            if cursor.db >= gate.databases() {
                *cursor = ExpireCursor::default();
            }
            if gate.volatile_len(cursor.db) == 0 {
                *cursor = ExpireCursor {
                    db: cursor.db + 1,
                    ..ExpireCursor::default()
                };
                continue;
            }
            while cursor.slot < SLOTS {
                if self.log.is_under_pressure() {
                    // An append that waits for room would hold its slot up.
                    self.shared.stats.expired_keys.add(expired as u64);
                    return expired;
                }
                let mut slot = gate.lock(cursor.db, cursor.slot);
                let step = slot.expire_step(self.now, VISITS_PER_LOCK, cursor.within);
                for name in &step.keys {
                    expire_key(
                        self.shared,
                        &self.settings,
                        self.log,
                        &mut slot,
                        cursor.db,
                        name,
                    );
                }
                expired += step.keys.len();
                cursor.within = step.cursor;
                if cursor.within == 0 {
                    cursor.slot += 1;
                }
                if step.visited > 0 && start.elapsed() >= budget {
                    self.shared.stats.expired_time_cap_reached_count.add(1);
                    self.shared.stats.expired_keys.add(expired as u64);
                    return expired;
                }
            }
            *cursor = ExpireCursor {
                db: cursor.db + 1,
                ..ExpireCursor::default()
            };
        }
        self.shared.stats.expired_keys.add(expired as u64);
        expired
    }

    /// Expires those of `keys` that are due still: a walk of the database has come across them.
    pub(super) fn expire_keys(&mut self, db: DbIndex, keys: &[Vec<u8>]) {
        if self.settings.keep_due {
            return;
        }
        let gate = self
            .gate
            .as_deref()
            .expect("a turn holds the gate between commands");
        for name in keys {
            let key = self.shared.keyspace.key(name);
            let mut slot = gate.lock(db, key.slot);
            if slot
                .get(&key)
                .is_some_and(|record| is_due(record, self.now))
            {
                expire_key(self.shared, &self.settings, self.log, &mut slot, db, name);
                self.shared.stats.expired_keys.add(1);
            }
        }
    }
}

/// Removes a key from its locked slot because its time has come, and logs that by itself.
fn expire_key(
    shared: &Shared,
    settings: &Settings,
    log: &mut LogAccess,
    slot: &mut SlotGuard<'_>,
    db: DbIndex,
    name: &[u8],
) {
    let key = shared.keyspace.key(name);
    shared.discard(slot.remove(&key));
    let mut effects = Effects::default();
    effects.push(db, &[settings.expire_command(), name]);
    settle_slot(slot, log.append_effects(&effects));
    if slot.has_waiters() {
        shared.registry.expired(db, name);
    }
    if let Some(listener) = &settings.key_events {
        listener.event(KeyClass::Expired, "expired", db, name);
    }
}
