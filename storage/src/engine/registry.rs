//! Who cares about which key: transactions that watch it, clients that wait for it.
//!
//! A slot whose keys somebody cares about carries an *interest* flag, so that writers to other slots never come
//! here. The flag is set under the slot's lock before an entry is made, and taken away by a write to the slot that
//! finds the registry empty.
//!
//! Waiters: a blocked command is registered under the locks of its keys' slots, so no write can fall between its
//! vain look and its registration. Whoever writes one of the keys *claims* the waiter, runs its command again under
//! those locks, and either delivers the reply or puts the claim back, still under the locks. A timeout that meets a
//! claim marks it, and the claimer answers for it.
//!
//! Lock order: slots first, then this registry's mutex. Nothing is called while the mutex is held.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::command::{Command, Reply, TimedOutReply};
use crate::types::{DbIndex, Lsn};

/// Names a blocked command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaiterId(u64);

/// Where the reply of a blocked command goes.
pub trait Deliver: Send + Sync {
    /// The command was served (or its time was up): `reply` may leave when `lsn` is covered. Must not block.
    fn deliver(&self, reply: Vec<u8>, lsn: Lsn);
}

/// A blocked command.
pub(crate) struct Waiter {
    pub args: Vec<Vec<u8>>,
    pub command: &'static Command,
    pub db: DbIndex,
    pub resp3: bool,
    pub keys: Vec<Vec<u8>>,
    pub on_timeout: TimedOutReply,
    pub deliver: Arc<dyn Deliver>,
}

impl Waiter {
    /// Answers that the waiter has waited in vain.
    pub fn time_out(&self) {
        let mut reply = Reply::with_protocol(self.resp3);
        self.on_timeout.write(&mut reply);
        self.deliver.deliver(reply.take(), Lsn::ZERO);
    }
}

/// One transaction's watch: set once any of its keys was changed.
pub(crate) type Broken = Arc<AtomicBool>;

/// One transaction's interest in one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyWatch {
    /// The transaction's.
    pub broken: Broken,
    /// The key's time was over when it was last looked at, so that its disappearance changes nothing.
    pub was_due: Arc<AtomicBool>,
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    Absent,
    /// A value whose time is over.
    Due,
    Live,
}

impl KeyWatch {
    /// Says that what was under the key went away and something else took its place, without the key being named.
    fn replaced(&self, before: Presence, after: Presence) {
        let was_due = self.was_due.load(Ordering::Relaxed);
        match after {
            Presence::Absent if was_due => self.was_due.store(false, Ordering::Relaxed),
            Presence::Due if was_due => {}
            Presence::Due if before == Presence::Absent => {
                self.was_due.store(true, Ordering::Relaxed);
            }
            Presence::Absent if before == Presence::Absent => {}
            _ => self.broken.store(true, Ordering::Relaxed),
        }
    }
}

type Key = (DbIndex, Box<[u8]>);

enum State {
    Waiting(Waiter),
    Claimed { timed_out: bool },
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    waiters: HashMap<WaiterId, State>,
    waiting: HashMap<Key, VecDeque<WaiterId>>,
    watching: HashMap<Key, Vec<KeyWatch>>,
}

/// The registry of watched and awaited keys.
#[derive(Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

impl Registry {
    /// Whether nobody watches or awaits any key.
    pub fn is_empty(&self) -> bool {
        let inner = self.inner.lock();
        inner.watching.is_empty() && inner.waiting.is_empty()
    }

    /// Notes that `key` was changed; whether somebody waits for it.
    pub fn changed(&self, db: DbIndex, key: &[u8]) -> bool {
        let key: Key = (db, key.into());
        let inner = self.inner.lock();
        for watch in inner.watching.get(&key).into_iter().flatten() {
            watch.broken.store(true, Ordering::Relaxed);
        }
        inner.waiting.contains_key(&key)
    }

    /// Notes that `key` was removed because its time was over: no change for those who saw it so when they began to
    /// watch it.
    pub fn expired(&self, db: DbIndex, key: &[u8]) {
        self.replaced(db, key, Presence::Due, Presence::Absent);
    }

    /// Notes that `key` has changed with all of its database.
    pub fn replaced(&self, db: DbIndex, key: &[u8], before: Presence, after: Presence) {
        let key: Key = (db, key.into());
        let inner = self.inner.lock();
        for watch in inner.watching.get(&key).into_iter().flatten() {
            watch.replaced(before, after);
        }
    }

    /// Keys of `db` that somebody watches.
    pub fn watched_keys(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        self.inner
            .lock()
            .watching
            .keys()
            .filter(|(of, _)| *of == db)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// Keys of `db` that somebody waits for.
    pub fn awaited_keys(&self, db: DbIndex) -> Vec<Box<[u8]>> {
        self.inner
            .lock()
            .waiting
            .keys()
            .filter(|(of, _)| *of == db)
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// Begins to watch a key. The caller holds the key's slot and has set its interest flag.
    pub fn watch(&self, db: DbIndex, key: &[u8], watch: KeyWatch) {
        self.inner
            .lock()
            .watching
            .entry((db, key.into()))
            .or_default()
            .push(watch);
    }

    /// Ends all watches of one transaction.
    pub fn unwatch<'k>(&self, keys: impl Iterator<Item = (DbIndex, &'k [u8])>, broken: &Broken) {
        let mut inner = self.inner.lock();
        for (db, key) in keys {
            let key: Key = (db, key.into());
            if let Some(watches) = inner.watching.get_mut(&key) {
                watches.retain(|other| !Arc::ptr_eq(&other.broken, broken));
                if watches.is_empty() {
                    inner.watching.remove(&key);
                }
            }
        }
    }

    /// Registers a blocked command. The caller holds the slots of its keys and has set their interest flags.
    pub fn wait(&self, waiter: Waiter) -> WaiterId {
        let mut inner = self.inner.lock();
        inner.next_id += 1;
        let id = WaiterId(inner.next_id);
        for key in &waiter.keys {
            let queue = inner
                .waiting
                .entry((waiter.db, key.as_slice().into()))
                .or_default();
            if !queue.contains(&id) {
                queue.push_back(id);
            }
        }
        inner.waiters.insert(id, State::Waiting(waiter));
        id
    }

    /// Those who wait for a key, the one that has waited longest first.
    pub fn waiting_for(&self, db: DbIndex, key: &[u8]) -> Vec<WaiterId> {
        let key: Key = (db, key.into());
        self.inner
            .lock()
            .waiting
            .get(&key)
            .map(|queue| queue.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Takes a waiter, to serve it; `None` if it is gone or somebody else serves it.
    pub fn claim(&self, id: WaiterId) -> Option<Waiter> {
        let mut inner = self.inner.lock();
        let state = inner.waiters.get_mut(&id)?;
        match std::mem::replace(state, State::Claimed { timed_out: false }) {
            State::Waiting(waiter) => Some(waiter),
            claimed => {
                *state = claimed;
                None
            }
        }
    }

    /// Puts a claimed waiter back to wait. Gives it back if its time was up meanwhile: the caller answers for it.
    /// The caller holds the slots of its keys and has set their interest flags.
    pub fn unclaim(&self, id: WaiterId, waiter: Waiter) -> Option<Waiter> {
        let mut inner = self.inner.lock();
        match inner.waiters.get_mut(&id) {
            Some(state @ State::Claimed { timed_out: false }) => {
                *state = State::Waiting(waiter);
                None
            }
            _ => {
                inner.forget(id, &waiter);
                Some(waiter)
            }
        }
    }

    /// Ends a claim whose waiter was served.
    pub fn served(&self, id: WaiterId, waiter: &Waiter) {
        self.inner.lock().forget(id, waiter);
    }

    /// Stops waiting: returns the waiter if it still waited. Otherwise it is being served, and a reply will be
    /// delivered.
    pub fn cancel(&self, id: WaiterId) -> Option<Waiter> {
        let mut inner = self.inner.lock();
        match inner.waiters.get_mut(&id)? {
            State::Claimed { timed_out } => {
                *timed_out = true;
                None
            }
            State::Waiting(_) => {
                let Some(State::Waiting(waiter)) = inner.waiters.remove(&id) else {
                    return None;
                };
                inner.forget(id, &waiter);
                Some(waiter)
            }
        }
    }

    /// Number of blocked commands.
    pub fn blocked(&self) -> usize {
        self.inner.lock().waiters.len()
    }
}

impl Inner {
    fn forget(&mut self, id: WaiterId, waiter: &Waiter) {
        self.waiters.remove(&id);
        for key in &waiter.keys {
            let key: Key = (waiter.db, key.as_slice().into());
            if let Some(queue) = self.waiting.get_mut(&key) {
                queue.retain(|other| *other != id);
                if queue.is_empty() {
                    self.waiting.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired_already_may_go() {
        use Presence::{Absent, Due, Live};
        // Whether the key was due when it was watched, what then happens to it, whether that breaks the watch.
        type Case<'c> = (bool, &'c [(Presence, Presence)], bool);
        let cases: [Case<'_>; 9] = [
            (true, &[(Due, Absent)], false),
            (true, &[(Due, Absent), (Absent, Live)], true),
            (true, &[(Due, Due)], false),
            (true, &[(Due, Live)], true),
            (false, &[(Live, Absent)], true),
            (false, &[(Due, Absent)], true),
            (false, &[(Absent, Absent)], false),
            (false, &[(Absent, Due), (Due, Absent)], false),
            (false, &[(Live, Due)], true),
        ];
        for (was_due, changes, broken) in cases {
            let watch = KeyWatch::default();
            watch.was_due.store(was_due, Ordering::Relaxed);
            for (before, after) in changes {
                watch.replaced(*before, *after);
            }
            let found = watch.broken.load(Ordering::Relaxed);
            assert_eq!(found, broken, "{was_due} {changes:?}");
        }
    }
}
