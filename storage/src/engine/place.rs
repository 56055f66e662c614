//! Where a command runs: on the thread of its connection, or on one of its own, in a long turn.
//!
//! On one of its own if it takes long by itself (`command::work`), or if it would have to wait for a command that does
//! (`keyspace::long`).

use smallvec::SmallVec;

use super::execute::{Turn, key_slots, slot_of};
use super::session::Session;
use super::transaction::slots_of;
use crate::command::work::{Sizes, WORK_INLINE_MAX};
use crate::command::{CommandSpec, Flags};
use crate::keyspace::{Record, ValueRef};
use crate::types::DbIndex;

impl Turn<'_> {
    /// Whether long commands are under way: then a command of any kind may have to wait for one.
    pub fn has_long_commands(&self) -> bool {
        self.shared.keyspace.long_commands() > 0
    }

    /// Whether the command is to run in a long turn. Asked in a short one, right before the command would run in it.
    ///
    /// Where [`CommandSpec::may_take_long`] and [`Turn::has_long_commands`] both say no, and there are not many
    /// arguments, the answer is no.
    pub fn runs_elsewhere(&self, session: &Session, spec: &CommandSpec, args: &[&[u8]]) -> bool {
        if self.has_long_commands() {
            let mut ids = SmallVec::new();
            key_slots(self.shared, session.db, spec, args, &mut ids);
            if spec.flags.has(Flags::WALKS) || self.would_wait(&ids) {
                return true;
            }
        }
        self.weigh(session.db, spec, args) > WORK_INLINE_MAX
    }

    /// The same for the session's open transaction.
    pub fn transaction_runs_elsewhere(&self, session: &Session) -> bool {
        let Some(transaction) = &session.transaction else {
            return false;
        };
        let queue = &transaction.queue;
        if transaction.takes_all_keys()
            || self.has_long_commands() && self.would_wait(&slots_of(self.shared, session, queue))
        {
            return true;
        }
        let mut work = 0u64;
        for queued in queue {
            let Some(command) = queued.command else {
                continue;
            };
            let args: SmallVec<[&[u8]; 8]> = queued.args.iter().map(Vec::as_slice).collect();
            // Those that wait do not wait inside a transaction.
            let alone = self.weigh(session.db, &command.spec, &args);
            work = work.saturating_add(alone);
        }
        work > WORK_INLINE_MAX
    }

    /// Whether locking these slots might mean to wait for a long command. One that waits for a key of a slot may be
    /// served with it, and has other keys: they are not looked at one by one.
    fn would_wait(&self, ids: &[u32]) -> bool {
        ids.iter().any(|id| {
            let (db, slot) = slot_of(*id);
            self.shared.keyspace.is_marked(slot)
                || self
                    .gate
                    .as_deref()
                    .is_some_and(|gate| gate.has_waiters(db, slot))
        })
    }

    fn weigh(&self, db: DbIndex, spec: &CommandSpec, args: &[&[u8]]) -> u64 {
        if spec.may_take_long() {
            spec.work(args, &mut SizesOf { turn: self, db })
        } else {
            args.len() as u64
        }
    }
}

/// The sizes of a database's values.
struct SizesOf<'a, 'w> {
    turn: &'a Turn<'w>,
    db: DbIndex,
}

impl SizesOf<'_, '_> {
    fn record<R>(&self, key: &[u8], look: impl FnOnce(Option<&Record>) -> R) -> R {
        let Some(gate) = &self.turn.gate else {
            return look(None);
        };
        let key = self.turn.key(key);
        let slot = gate.lock(self.db, key.slot);
        look(slot.get(&key))
    }

    fn look(&self, key: &[u8], size: impl FnOnce(ValueRef<'_>) -> u64) -> u64 {
        self.record(key, |record| {
            record.map_or(0, |record| size(record.value()))
        })
    }
}

impl Sizes for SizesOf<'_, '_> {
    fn elements(&mut self, key: &[u8]) -> u64 {
        self.look(key, |value| match value {
            ValueRef::Object(object) => object.len() as u64,
            ValueRef::Str(..) => 0,
        })
    }

    fn string_bytes(&mut self, key: &[u8]) -> u64 {
        self.look(key, |value| match value {
            ValueRef::Object(_) => 0,
            ValueRef::Str(bytes, _) => bytes.len() as u64,
        })
    }

    fn moved_by_write(&mut self, key: &[u8], offset: Option<u64>, bytes: u64) -> u64 {
        let offset = offset.map(|offset| usize::try_from(offset).unwrap_or(usize::MAX));
        self.record(key, |record| match record {
            Some(record) => record.bytes_moved_by_write(offset, bytes as usize) as u64,
            None => (offset.unwrap_or(0) as u64).saturating_add(bytes),
        })
    }

    fn keys(&mut self) -> u64 {
        self.turn.key_counts(self.db).0 as u64
    }
}
