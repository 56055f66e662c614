//! The keyspace: databases of 16384 hash-slot tables, each slot under its own lock.
//!
//! It knows keys, values, expiry stamps and snapshot epochs. It does not know commands, files or the log; of the
//! log it keeps one opaque [`Lsn`] per slot, the position of the slot's last write.
//!
//! * [`record`]: a key with its value, in one allocation.
//! * [`table`]: the hash table of one slot.
//! * [`hash`]: from a key to its slot and hash.
//! * [`slot`]: a locked slot, through which every command works.
//! * [`cut`]: the keyspace as of one instant, for a snapshot's walk.
//! * `long`: long commands, and how nobody gets stuck behind one.
//!
//! **Locks**, in this order: the gate (shared for a batch of commands; exclusive for what concerns the whole
//! keyspace: SWAPDB, FLUSHDB, a snapshot's cut, scripts without declared keys), then slots in ascending order of
//! (database, slot), then, inside this module, a cut's side queue. Neither gate nor slots are held across an
//! await, and a thread that holds the gate does not enter it again.
//!
//! A database's directory of slots is made when one of them is first locked, and takes 1 MiB; a database that was
//! never used costs a few words. [`directory_bytes`] says how much all of them take.

pub mod cut;
pub mod hash;
mod long;
mod long_string;
mod prefetch;
pub mod record;
pub mod slot;
mod slot_set;
pub mod table;

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};

use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};

pub use cut::{CutEntry, KeptString, SnapshotCut, SnapshotMemory, WalkProgress};
pub use hash::KeyRef;
pub use long::{LongPass, SlotMarks, TurnCounter, TurnMark};
pub use record::{INLINE_VALUE_MAX, Record, StringKind, ValueRef};
pub use slot::{Displaced, ExpireStep, RecordMut, SlotGuard};
pub use table::Table;

use crate::types::{DbIndex, Lsn};
use cut::SideQueues;
use long::LongCommands;
use slot::Slot;
use slot_set::SlotSet;

/// The number of hash slots in a database.
pub const SLOTS: usize = 16384;

/// A database's key counts are spread over this many cache lines.
const COUNTER_SHARDS: usize = 16;

/// The snapshot epoch before the first cut.
const FIRST_EPOCH: u32 = 1;

const _: () = {
    const fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Keyspace>();
    assert_shareable::<DetachedDb>();
    assert_shareable::<SnapshotCut>();
};

/// All databases, behind the gate.
pub struct Keyspace {
    gate: ShardedLock<Gate>,
    long: LongCommands,
}

/// What the gate protects. Both [`SharedGate`] and [`ExclusiveGate`] deref to it, so that one piece of code works
/// under either.
pub struct Gate {
    databases: Box<[Database]>,
    /// Counts the cuts; every record written is stamped with it. Changes only under the exclusive gate.
    epoch: u32,
    /// Where writers put what the running snapshot still needs.
    side: Option<Arc<SideQueues>>,
}

/// A logical database: the number a client selects. Its data can be exchanged under it.
#[derive(Default)]
struct Database {
    data: OnceLock<Arc<Data>>,
    /// The last change of the whole database (FLUSHDB, SWAPDB): no slot's last write is older.
    changed_at: AtomicU64,
    /// Slots on whose keys clients are blocked. They wait on the number, not on the data.
    waiters: OnceLock<SlotSet>,
}

/// The keys of one database, wherever it is at the moment.
struct Data {
    slots: Box<[Slot]>,
    counters: [CachePadded<Counters>; COUNTER_SHARDS],
    /// Slots with keys, and slots with keys that expire: to skip the others without locking them.
    used: SlotSet,
    volatile: SlotSet,
    /// The last cut this data was part of: its epoch, and in the low 16 bits the number the database had.
    cut: AtomicU64,
}

/// Databases' data in this process.
static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);

/// Bytes that the directories of slots take in this process, without the tables that hold the records.
pub fn directory_bytes() -> usize {
    const ONE: usize = SLOTS * size_of::<Slot>() + 2 * SLOTS / 8 + size_of::<Data>();
    DIRECTORIES.load(Ordering::Relaxed) * ONE
}

/// Changed under slot locks, summed without any; a shard alone may be negative for a moment.
#[derive(Default)]
struct Counters {
    keys: AtomicI64,
    volatile: AtomicI64,
}

impl Keyspace {
    /// An empty keyspace of so many databases (at least one).
    pub fn new(databases: u16) -> Keyspace {
        let databases = std::iter::repeat_with(Database::default)
            .take(usize::from(databases.max(1)))
            .collect();
        Keyspace {
            gate: ShardedLock::new(Gate {
                databases,
                epoch: FIRST_EPOCH,
                side: None,
            }),
            long: LongCommands::default(),
        }
    }

    /// Works out a key's slot and hash.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> KeyRef<'a> {
        KeyRef::new(bytes)
    }

    /// Enters the gate shared: for a batch of commands that lock the slots they use.
    ///
    /// Costs one core-local atomic. Blocks while somebody holds or awaits the gate exclusively, so a thread that is
    /// inside must not enter again.
    pub fn enter(&self) -> SharedGate<'_> {
        SharedGate {
            gate: self.gate.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Takes the gate's exclusive side: nobody new comes in, and those who are inside leave.
    fn close_gate(&self) -> ExclusiveGate<'_> {
        ExclusiveGate {
            gate: self.gate.write().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// First stage of a prefetch window: the slot's header. Takes no lock.
    pub fn prefetch_slot(&self, gate: &Gate, db: DbIndex, key: &KeyRef<'_>) {
        if let Some(slot) = gate.peek_slot(db, key.slot) {
            prefetch::prefetch(std::ptr::from_ref(slot).cast());
        }
    }

    /// Second stage: the bucket. Skipped if the slot is locked.
    pub fn prefetch_bucket(&self, gate: &Gate, db: DbIndex, key: &KeyRef<'_>) {
        if let Some(inner) = gate.peek_slot(db, key.slot).and_then(Slot::try_lock) {
            inner.table.prefetch_bucket(key.hash);
        }
    }

    /// Third stage: the record. Skipped if the slot is locked.
    pub fn prefetch_record(&self, gate: &Gate, db: DbIndex, key: &KeyRef<'_>) {
        if let Some(inner) = gate.peek_slot(db, key.slot).and_then(Slot::try_lock) {
            inner.table.prefetch_record(key.hash);
        }
    }
}

/// The gate, entered shared.
pub struct SharedGate<'k> {
    gate: ShardedLockReadGuard<'k, Gate>,
}

impl Deref for SharedGate<'_> {
    type Target = Gate;
    fn deref(&self) -> &Gate {
        &self.gate
    }
}

/// The gate, entered exclusively: nobody else is inside, and no slot is locked but by a snapshot's walk.
pub struct ExclusiveGate<'k> {
    gate: ShardedLockWriteGuard<'k, Gate>,
}

impl Deref for ExclusiveGate<'_> {
    type Target = Gate;
    fn deref(&self) -> &Gate {
        &self.gate
    }
}

impl Gate {
    /// The number of databases.
    pub fn databases(&self) -> u16 {
        self.databases.len() as u16
    }

    /// Locks a slot. Callers lock in ascending order of (database, slot), or one at a time.
    ///
    /// # Panics
    /// If there is no such database or slot.
    pub fn lock(&self, db: DbIndex, slot: u16) -> SlotGuard<'_> {
        let database = &self.databases[usize::from(db)];
        let data = database.data();
        SlotGuard::new(
            self,
            database,
            data,
            slot,
            data.slots[usize::from(slot)].lock(),
        )
    }

    /// Locks a slot unless it is locked already.
    ///
    /// # Panics
    /// If there is no such database or slot.
    pub fn try_lock(&self, db: DbIndex, slot: u16) -> Option<SlotGuard<'_>> {
        let database = &self.databases[usize::from(db)];
        let data = database.data();
        let inner = data.slots[usize::from(slot)].try_lock()?;
        Some(SlotGuard::new(self, database, data, slot, inner))
    }

    /// Whether clients may be blocked on keys of a slot, or watch some. Takes no lock.
    pub fn has_waiters(&self, db: DbIndex, slot: u16) -> bool {
        self.databases
            .get(usize::from(db))
            .is_some_and(|database| database.has_waiters(slot))
    }

    /// The number of keys in a database; exact while nobody writes.
    pub fn len(&self, db: DbIndex) -> usize {
        self.sum(db, |counters| &counters.keys)
    }

    /// True if a database has no keys.
    pub fn is_empty(&self, db: DbIndex) -> bool {
        self.len(db) == 0
    }

    /// The number of keys with an expiry in a database.
    pub fn volatile_len(&self, db: DbIndex) -> usize {
        self.sum(db, |counters| &counters.volatile)
    }

    /// The first slot at or after `from` that has keys. Takes no lock; sees every key that was there before.
    pub fn next_used_slot(&self, db: DbIndex, from: u16) -> Option<u16> {
        self.data(db)?.used.next(from)
    }

    /// The first slot at or after `from` that has keys with an expiry. Takes no lock.
    pub fn next_volatile_slot(&self, db: DbIndex, from: u16) -> Option<u16> {
        self.data(db)?.volatile.next(from)
    }

    /// A slot that has keys, for RANDOMKEY and eviction: the first from a random one on, so that slots after a
    /// gap are likelier. `None` if there are no keys.
    pub fn random_used_slot(&self, db: DbIndex, rng: &mut impl rand::Rng) -> Option<u16> {
        let used = &self.data(db)?.used;
        let from = rng.next_u32() as u16 % SLOTS as u16;
        used.next(from).or_else(|| used.next(0))
    }

    /// A slot that has keys with an expiry, as [`random_used_slot`](Self::random_used_slot) finds one that has keys.
    pub fn random_volatile_slot(&self, db: DbIndex, rng: &mut impl rand::Rng) -> Option<u16> {
        let volatile = &self.data(db)?.volatile;
        let from = rng.next_u32() as u16 % SLOTS as u16;
        volatile.next(from).or_else(|| volatile.next(0))
    }

    /// Whether writers save old states for a snapshot.
    fn is_cut_open(&self) -> bool {
        self.side.as_ref().is_some_and(|side| side.is_open())
    }

    /// Bytes that the running snapshot holds on to beyond the data; 0 if there is none.
    pub fn snapshot_bytes(&self) -> usize {
        self.side.as_ref().map_or(0, |side| side.bytes())
    }

    /// The snapshot epoch that writes are stamped with.
    pub fn snapshot_epoch(&self) -> u32 {
        self.epoch
    }

    /// A database's data, if it was ever used.
    fn data(&self, db: DbIndex) -> Option<&Data> {
        self.databases
            .get(usize::from(db))?
            .data
            .get()
            .map(Arc::as_ref)
    }

    fn sum(&self, db: DbIndex, of: impl Fn(&Counters) -> &AtomicI64) -> usize {
        let Some(data) = self.data(db) else { return 0 };
        let sum: i64 = data
            .counters
            .iter()
            .map(|shard| of(shard).load(Ordering::Relaxed))
            .sum();
        usize::try_from(sum).unwrap_or(0)
    }

    /// A slot, if its database was ever used.
    fn peek_slot(&self, db: DbIndex, slot: u16) -> Option<&Slot> {
        self.data(db)?.slots.get(usize::from(slot))
    }
}

impl ExclusiveGate<'_> {
    /// Exchanges the data of two databases (SWAPDB). Blocked clients stay with their number.
    ///
    /// # Panics
    /// If there is no such database.
    pub fn swap_db(&mut self, a: DbIndex, b: DbIndex) {
        if a == b {
            return;
        }
        let databases = &mut self.gate.databases;
        let data_of_a = std::mem::take(&mut databases[usize::from(a)].data);
        let data_of_b = std::mem::replace(&mut databases[usize::from(b)].data, data_of_a);
        databases[usize::from(a)].data = data_of_b;
    }

    /// Empties a database (FLUSHDB) and returns what was in it, to be dropped where that may take its time.
    ///
    /// # Panics
    /// If there is no such database.
    pub fn take_db(&mut self, db: DbIndex) -> DetachedDb {
        DetachedDb {
            data: std::mem::take(&mut self.gate.databases[usize::from(db)].data).into_inner(),
        }
    }

    /// Puts the data of another keyspace in the place of this one's and returns the old (a full sync, DEBUG RELOAD).
    ///
    /// A running snapshot goes on with what it has cut. Blocked clients stay, databases that `loaded` lacks become
    /// empty, and those that it has beyond this keyspace's number are dropped.
    ///
    /// # Panics
    /// If a snapshot was ever begun on `loaded`: its records would then be newer than the next cut.
    pub fn replace_all(&mut self, loaded: Keyspace) -> Vec<DetachedDb> {
        let mut loaded = loaded
            .gate
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        assert_eq!(
            loaded.epoch, FIRST_EPOCH,
            "a keyspace that is being loaded has no snapshots"
        );
        let mut fresh = loaded
            .databases
            .iter_mut()
            .map(|database| std::mem::take(&mut database.data));
        let databases = self.gate.databases.iter_mut().map(|database| {
            let old = std::mem::replace(&mut database.data, fresh.next().unwrap_or_default());
            DetachedDb {
                data: old.into_inner(),
            }
        });
        databases.collect()
    }

    /// Notes the log position of a change to a whole database (after [`swap_db`](Self::swap_db) or
    /// [`take_db`](Self::take_db)), so that every slot's [`SlotGuard::last_lsn`] covers it.
    ///
    /// # Panics
    /// If there is no such database.
    pub fn set_db_lsn(&self, db: DbIndex, lsn: Lsn) {
        self.gate.databases[usize::from(db)]
            .changed_at
            .fetch_max(lsn.0, Ordering::Relaxed);
    }

    /// Cuts the keyspace: everything written so far is in the snapshot, nothing written later is. `None` if a
    /// snapshot is running.
    pub fn begin_snapshot(&mut self) -> Option<SnapshotCut> {
        self.begin_snapshot_within(usize::MAX)
    }

    /// Cuts the keyspace as [`begin_snapshot`](Self::begin_snapshot) does, for a snapshot that may hold on to no more
    /// than `memory_max` bytes beyond the data, and fails rather than exceed that.
    pub fn begin_snapshot_within(&mut self, memory_max: usize) -> Option<SnapshotCut> {
        let gate = &mut *self.gate;
        if gate.side.as_ref().is_some_and(|side| side.is_running()) {
            return None;
        }
        gate.epoch += 1;
        let side = Arc::new(SideQueues::new(memory_max));
        gate.side = Some(Arc::clone(&side));
        let databases =
            gate.databases
                .iter()
                .zip(0..)
                .filter_map(|(database, number): (&Database, u16)| {
                    let data = Arc::clone(database.data.get().filter(|data| data.len() > 0)?);
                    let cut = u64::from(gate.epoch) << DbIndex::BITS | u64::from(number);
                    data.cut.store(cut, Ordering::Relaxed);
                    Some((number, data))
                });
        Some(SnapshotCut::new(gate.epoch, databases.collect(), side))
    }
}

/// The data of a database that is no longer reachable. Dropping it frees the data, unless a snapshot still needs it.
pub struct DetachedDb {
    data: Option<Arc<Data>>,
}

impl DetachedDb {
    /// The number of keys in it.
    pub fn len(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.len())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Database {
    fn data(&self) -> &Data {
        self.data.get_or_init(Data::new)
    }

    fn changed_at(&self) -> Lsn {
        Lsn(self.changed_at.load(Ordering::Relaxed))
    }

    fn has_waiters(&self, slot: u16) -> bool {
        self.waiters
            .get()
            .is_some_and(|waiters| waiters.contains(slot))
    }

    fn set_waiters(&self, slot: u16, waiting: bool) {
        if waiting || self.waiters.get().is_some() {
            self.waiters.get_or_init(SlotSet::new).set(slot, waiting);
        }
    }
}

impl Data {
    fn new() -> Arc<Data> {
        DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        Arc::new(Data {
            slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(),
            counters: Default::default(),
            used: SlotSet::new(),
            volatile: SlotSet::new(),
            cut: AtomicU64::new(0),
        })
    }

    /// The number the database had at the cut of that epoch; `None` if it was not part of it.
    fn number_at_cut(&self, epoch: u32) -> Option<DbIndex> {
        let cut = self.cut.load(Ordering::Relaxed);
        (cut >> DbIndex::BITS == u64::from(epoch)).then_some(cut as DbIndex)
    }

    /// Counts a key that came (1) or went (-1), leaving `len` in its slot. Under the slot's lock.
    fn count_key(&self, slot: u16, change: i64, len: usize) {
        self.counters(slot)
            .keys
            .fetch_add(change, Ordering::Relaxed);
        if len == 0 || (len == 1 && change == 1) {
            self.used.set(slot, len != 0);
        }
    }

    /// Counts a change in the number of keys that expire, in the slot's own count too. Under the slot's lock.
    fn count_volatile(&self, slot: u16, in_slot: &mut usize, change: i64) {
        if change == 0 {
            return;
        }
        *in_slot = in_slot.wrapping_add_signed(change as isize);
        self.counters(slot)
            .volatile
            .fetch_add(change, Ordering::Relaxed);
        if *in_slot == 0 || (*in_slot == 1 && change == 1) {
            self.volatile.set(slot, *in_slot != 0);
        }
    }

    fn counters(&self, slot: u16) -> &Counters {
        &self.counters[usize::from(slot) % COUNTER_SHARDS]
    }

    fn len(&self) -> usize {
        let sum: i64 = self
            .counters
            .iter()
            .map(|shard| shard.keys.load(Ordering::Relaxed))
            .sum();
        usize::try_from(sum).unwrap_or(0)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        DIRECTORIES.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
