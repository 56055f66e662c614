//! Expiry in the background: keys whose time has come go even if nobody looks them up.
//!
//! The engine's housekeeping thread goes through the slots in a circle ([`Turn::expire_some`]) ten times a second, for as
//! long as its budget lasts, skipping those without keys that expire. It does so in short turns: a snapshot's cut, and
//! with it every connection, waits for a turn.
//! Each expiry reaches the log as DEL (or UNLINK) under the slot's lock, as an expiry on access does.

use std::time::{Duration, Instant};

use super::execute::{LogAccess, Turn, settle_slot};
use super::{Settings, Shared};
use crate::command::{Effects, KeyClass, is_due};
use crate::keyspace::SlotGuard;
use crate::types::DbIndex;

/// Records looked at under one lock.
const VISITS_PER_LOCK: usize = 64;

/// Where the circle stands.
#[derive(Debug, Default)]
pub struct ExpireCursor {
    db: DbIndex,
    slot: u16,
    within: u64,
}

/// Why [`Turn::expire_some`] has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireProgress {
    /// Its time was up.
    More,
    /// It has been everywhere, or should wait.
    Done,
}

impl Turn<'_> {
    /// Expires keys for at most about `budget`, going on from `cursor`; at most once around. Slots that a long command
    /// has are passed over, until the next time around.
    pub fn expire_some(&mut self, cursor: &mut ExpireCursor, budget: Duration) -> ExpireProgress {
        let start = Instant::now();
        let gate = self
            .gate
            .as_deref()
            .expect("a turn holds the gate between commands");
        for _ in 0..gate.databases() {
            if cursor.db >= gate.databases() {
                *cursor = ExpireCursor::default();
            }
            while let Some(number) = gate.next_volatile_slot(cursor.db, cursor.slot) {
                if number != cursor.slot {
                    (cursor.slot, cursor.within) = (number, 0);
                }
                if self.log.is_under_pressure() {
                    // An append that waits for room would hold its slot up.
                    return ExpireProgress::Done;
                }
                if self.shared.keyspace.is_marked(number) {
                    (cursor.slot, cursor.within) = (number + 1, 0);
                    continue;
                }
                let mut slot = gate.lock(cursor.db, number);
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
                self.shared.stats.expired_keys.add(step.keys.len() as u64);
                cursor.within = step.cursor;
                if cursor.within == 0 {
                    cursor.slot += 1;
                }
                if start.elapsed() >= budget {
                    return ExpireProgress::More;
                }
            }
            *cursor = ExpireCursor {
                db: cursor.db + 1,
                ..ExpireCursor::default()
            };
        }
        ExpireProgress::Done
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

#[cfg(test)]
mod tests {
    use super::super::tests::Client;
    use super::super::{Engine, Worker};
    use super::*;

    /// An engine with `keys` keys in each of three databases, whose time is over.
    fn with_due_keys(keys: usize) -> (Engine, Client) {
        let engine = Engine::in_memory().unwrap();
        let mut client = Client::of(&engine);
        for n in 0..keys {
            client.select((n % 3) as DbIndex);
            client.line(&format!("set key{n} x px 1"));
            client.line(&format!("set stays{n} x"));
        }
        let due = crate::types::UnixMillis::now().0 + 1;
        while crate::types::UnixMillis::now().0 <= due {
            std::thread::yield_now();
        }
        (engine, client)
    }

    fn due(engine: &Engine) -> usize {
        (0..3)
            .map(|db| engine.shared().keyspace.enter().volatile_len(db))
            .sum()
    }

    #[test]
    fn turns_without_time_expire_everything_step_by_step() {
        let (engine, _client) = with_due_keys(600);
        let mut worker = Worker::new(engine.clone());
        let mut cursor = ExpireCursor::default();
        let (mut turns, mut before) = (0, due(&engine));
        while worker.turn().expire_some(&mut cursor, Duration::ZERO) == ExpireProgress::More {
            let left = due(&engine);
            assert!(before - left <= 2 * VISITS_PER_LOCK, "one step a turn");
            (before, turns) = (left, turns + 1);
        }
        assert_eq!(due(&engine), 0);
        assert!(turns > 100, "{turns}");
        assert_eq!(engine.stats().expired_keys.get(), 600);
        assert_eq!((0..3).map(|db| engine.len(db)).sum::<usize>(), 600);
    }

    #[test]
    fn slots_of_long_commands_are_passed_over() {
        let (engine, _client) = with_due_keys(30);
        let keyspace = &engine.shared().keyspace;
        let slot = keyspace.key(b"key7").slot;
        let mut worker = Worker::new(engine.clone());
        let mut cursor = ExpireCursor::default();
        {
            let _inside = keyspace.enter_long();
            let _marks = keyspace.mark(vec![slot]);
            while worker.turn().expire_some(&mut cursor, Duration::ZERO) == ExpireProgress::More {}
            assert_eq!(due(&engine), 1);
        }
        while worker.turn().expire_some(&mut cursor, Duration::ZERO) == ExpireProgress::More {}
        assert_eq!(due(&engine), 0);
    }
}
