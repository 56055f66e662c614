//! Expiry in the background: keys whose time has come go even if nobody looks them up.
//!
//! The engine's housekeeping thread calls [`Turn::expire_some`] ten times a second with a budget of time. It goes
//! through the slots in a circle, skipping those without keys that expire, and stops when its budget is used up.
//! Each expiry reaches the log as DEL (or UNLINK) under the slot's lock, as an expiry on access does.

use std::time::{Duration, Instant};

use super::execute::{Turn, settle_slot};
use crate::command::{Effects, KeyClass};
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
                let mut slot = gate.lock(cursor.db, cursor.slot);
                let step = slot.expire_step(self.now, VISITS_PER_LOCK, cursor.within);
                for name in &step.keys {
                    let key = self.shared.keyspace.key(name);
                    self.shared.discard(slot.remove(&key));
                    let mut effects = Effects::default();
                    effects.push(cursor.db, &[self.settings.expire_command(), name]);
                    settle_slot(&mut slot, self.log.append_effects(&effects));
                    if slot.has_waiters() {
                        self.shared.registry.changed(cursor.db, name);
                    }
                    if let Some(listener) = &self.settings.key_events {
                        listener.event(KeyClass::Expired, "expired", cursor.db, name);
                    }
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
}
