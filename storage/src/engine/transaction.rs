//! MULTI, EXEC and WATCH.
//!
//! A transaction locks the slots of all its commands at once, so it is atomic, and its effects are one record in the
//! log. If one of its commands needs more than the slots of its keys, the whole transaction takes the gate
//! exclusively.

use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Shared;
use super::execute::{
    Outcome, Ran, Request, Turn, change_whole_keyspace, key_slots, lock_slots, note_whole_keyspace,
    settle, slot_of,
};
use super::registry::KeyWatch;
use super::session::{Queued, Session, Watch, Watched};
use crate::command::{Flags, Locks, Reply, Slots, Waiting, is_due, lock_order};
use crate::keyspace::ExclusiveGate;
use crate::text::integer;
use crate::types::{DbIndex, Lsn};

/// Whoever has the transaction run. It is called with slots locked, so it must not call the engine.
pub trait Host {
    /// Runs a command that is not one on data.
    fn run(&mut self, session: &mut Session, queued: &Queued, reply: &mut Reply);

    /// Hears that a command on data has run; its reply is the last one.
    fn ran(&mut self, queued: &Queued, reply: &mut Reply) {
        let _ = (queued, reply);
    }
}

impl<F: FnMut(&mut Session, &Queued, &mut Reply)> Host for F {
    fn run(&mut self, session: &mut Session, queued: &Queued, reply: &mut Reply) {
        self(session, queued, reply);
    }
}

impl Turn<'_> {
    /// Watches a key for the session's next transaction.
    pub fn watch(&mut self, session: &mut Session, name: &[u8]) {
        let db = session.db;
        let watch = session.watch.get_or_insert_with(Watch::default);
        if watch
            .keys
            .iter()
            .any(|watched| watched.db == db && watched.name == name)
        {
            return;
        }
        let key = self.shared.keyspace.key(name);
        let gate = self
            .gate
            .as_ref()
            .expect("a turn holds the gate between commands");
        let mut slot = gate.lock(db, key.slot);
        slot.set_has_waiters(true);
        let is_due = slot
            .get(&key)
            .is_some_and(|record| is_due(record, self.now));
        let was_due = Arc::new(AtomicBool::new(is_due));
        let registered = KeyWatch {
            broken: watch.broken.clone(),
            was_due: was_due.clone(),
        };
        self.shared.registry.watch(db, name, registered);
        watch.keys.push(Watched {
            db,
            name: name.to_vec(),
            was_due,
        });
    }

    /// Forgets the session's watched keys.
    pub fn unwatch(&mut self, session: &mut Session) {
        session.forget_watch(&self.shared.registry);
    }

    /// Ends the transaction without running it.
    pub fn discard(&mut self, session: &mut Session) {
        session.transaction = None;
        self.unwatch(session);
    }

    /// Runs the session's transaction: writes one array of replies, a null if a watched key was changed, or an error
    /// if a command could not be queued.
    pub fn exec(
        &mut self,
        session: &mut Session,
        reply: &mut Reply,
        host: &mut dyn Host,
    ) -> Outcome {
        let Some(transaction) = session.transaction.take() else {
            reply.error("ERR EXEC without MULTI");
            return Outcome::default();
        };
        if transaction.aborted {
            self.unwatch(session);
            reply.error("EXECABORT Transaction discarded because of previous errors.");
            return Outcome::default();
        }
        let needs_memory = transaction
            .queue
            .iter()
            .any(|queued| queued.has(Flags::DENYOOM));
        let flags = if needs_memory {
            Flags::DENYOOM
        } else {
            Flags::NONE
        };
        let allowed = self
            .check_length(transaction.bytes() as u64)
            .and_then(|()| self.make_room(flags));
        if let Err(error) = allowed {
            self.unwatch(session);
            reply.error(format_args!(
                "EXECABORT Transaction discarded because of: {error}"
            ));
            return Outcome::default();
        }
        let queue = &transaction.queue;
        let everything = transaction.takes_all_keys();
        let ran = if everything {
            self.exclusively(|turn, gate| turn.exec_exclusively(session, queue, gate, reply, host))
        } else {
            let gate = self
                .gate
                .take()
                .expect("a turn holds the gate between commands");
            let slots = slots_of(self.shared, session, queue);
            let mut locks = lock_slots(self.shared, &gate, self.is_long(), slots);
            let mut ran = Ran::default();
            if self.may_exec(session, &mut locks) {
                self.effects.clear();
                reply.array(queue.len());
                for queued in queue {
                    self.exec_one(session, queued, &mut locks, reply, host, &mut ran);
                }
                let lsn = self.log.append_effects(self.effects);
                ran.lsn = ran.lsn.max(settle(&mut locks, lsn));
            } else {
                reply.null_array();
            }
            drop(locks);
            self.gate = Some(gate);
            ran
        };
        self.unwatch(session);
        self.serve(ran.ready);
        Outcome {
            lsn: ran.lsn,
            blocked: None,
        }
    }

    fn exec_exclusively(
        &mut self,
        session: &mut Session,
        queue: &[Queued],
        gate: &mut ExclusiveGate<'_>,
        reply: &mut Reply,
        host: &mut dyn Host,
    ) -> Ran {
        let mut ran = Ran::default();
        if !self.may_exec(
            session,
            &mut Locks::All {
                gate,
                held: BTreeMap::new(),
            },
        ) {
            reply.null_array();
            return ran;
        }
        self.effects.clear();
        reply.array(queue.len());
        let mut touched = BTreeSet::new();
        let mut depends_on = Lsn::ZERO;
        let mut whole = Vec::new();
        for queued in queue {
            let mut locks = Locks::All {
                gate,
                held: BTreeMap::new(),
            };
            self.exec_one(session, queued, &mut locks, reply, host, &mut ran);
            depends_on = depends_on.max(settle(&mut locks, None));
            if let Locks::All { held, .. } = &locks {
                touched.extend(held.keys().copied());
            }
            drop(locks);
            if let Some(change) = ran.whole.take() {
                ran.ready.extend(change_whole_keyspace(
                    self.shared,
                    gate,
                    change,
                    Lsn::ZERO,
                    self.now,
                ));
                whole.push(change);
            }
        }
        match self.log.append_effects(self.effects) {
            Some(lsn) => {
                for id in touched {
                    let (db, slot) = slot_of(id);
                    gate.lock(db, slot).set_last_lsn(lsn);
                }
                for change in whole {
                    note_whole_keyspace(gate, change, lsn);
                }
                ran.lsn = lsn;
            }
            None => ran.lsn = ran.lsn.max(depends_on),
        }
        ran
    }

    /// Whether no watched key was changed, or has expired, since it was watched.
    fn may_exec(&mut self, session: &Session, locks: &mut Locks<'_>) -> bool {
        let Some(watch) = &session.watch else {
            return true;
        };
        if session.watch_broken() {
            return false;
        }
        !watch.keys.iter().any(|watched| {
            let key = self.shared.keyspace.key(&watched.name);
            !watched.was_due.load(Ordering::Relaxed)
                && locks
                    .get(watched.db, &key)
                    .is_some_and(|record| is_due(record, self.now))
        })
    }

    fn exec_one(
        &mut self,
        session: &mut Session,
        queued: &Queued,
        locks: &mut Locks<'_>,
        reply: &mut Reply,
        host: &mut dyn Host,
        total: &mut Ran,
    ) {
        let Some(command) = queued.command else {
            return host.run(session, queued, reply);
        };
        let args: Vec<&[u8]> = queued.args.iter().map(Vec::as_slice).collect();
        let ran = self.run_unlogged(
            command,
            Request::new(&args),
            session.db,
            locks,
            Waiting::Forbidden,
            reply,
        );
        if ran.as_requested {
            self.effects.push(session.db, &args);
        }
        total.lsn = total.lsn.max(ran.lsn);
        host.ran(queued, reply);
        total.ready.extend(ran.ready);
        total.whole = ran.whole;
    }
}

/// The slots that a transaction and its watched keys live in, as places in the lock order. Follows its SELECTs.
pub(super) fn slots_of(shared: &Shared, session: &Session, queue: &[Queued]) -> SmallVec<[u32; 8]> {
    let mut ids = SmallVec::new();
    let mut db = session.db;
    for queued in queue {
        let args: SmallVec<[&[u8]; 8]> = queued.args.iter().map(Vec::as_slice).collect();
        match queued.command {
            Some(command) => key_slots(shared, db, &command.spec, &args, &mut ids),
            None if args[0].eq_ignore_ascii_case(b"select") => {
                let target = args
                    .get(1)
                    .and_then(|arg| integer::parse_i64(arg))
                    .and_then(|n| DbIndex::try_from(n).ok());
                db = target.filter(|db| *db < shared.databases()).unwrap_or(db);
            }
            None => {}
        }
    }
    let watched = session.watch.iter().flat_map(|watch| &watch.keys);
    ids.extend(
        watched.map(|watched| lock_order(watched.db, shared.keyspace.key(&watched.name).slot)),
    );
    ids
}
