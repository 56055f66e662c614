//! One slot: its table and lock, and the guard through which commands read and write it.
//!
//! Every change goes through [`SlotGuard`], which does three things beside it: it keeps the counters right, it
//! stamps what is written with the present snapshot epoch, and it hands the old value to a running snapshot that
//! has yet to reach it. The last one happens at most once per record and snapshot, because the stamp tells.

use std::ops::Deref;

use parking_lot::{Mutex, MutexGuard};

use super::cut::{Kept, SideQueues};
use super::hash::KeyRef;
use super::record::{Record, StringKind, ValueRef};
use super::table::Table;
use super::{Data, Database, Gate};
use crate::types::{DbIndex, Lsn, UnixMillis};
use crate::value::{Object, shared_with_snapshot};

/// A slot's header, one cache line.
#[repr(align(64))]
#[derive(Default)]
pub(super) struct Slot {
    inner: Mutex<SlotInner>,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// What a slot's lock protects.
#[derive(Default)]
pub(super) struct SlotInner {
    pub(super) table: Table,
    /// Records with an expiry.
    volatile: usize,
    /// Where the slot's last write stands in the log.
    last_lsn: Lsn,
    /// The last cut whose walk is through with this slot.
    pub(super) walked_epoch: u32,
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotInner> {
        self.inner.lock()
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, SlotInner>> {
        self.inner.try_lock()
    }
}

/// A locked slot of a database.
pub struct SlotGuard<'g> {
    gate: &'g Gate,
    database: &'g Database,
    data: &'g Data,
    slot: u16,
    inner: MutexGuard<'g, SlotInner>,
}

/// What a write displaced. Large values are best dropped on another thread.
#[derive(Debug)]
#[must_use = "the old value may be large: drop it elsewhere"]
pub enum Displaced {
    /// There was no such key.
    Nothing,
    /// The old record.
    Record(Record),
    /// There was one; the running snapshot has it now.
    ToSnapshot,
}

impl Displaced {
    /// True if the key existed.
    pub fn existed(&self) -> bool {
        !matches!(self, Displaced::Nothing)
    }

    /// The old record, if it was not handed to a snapshot.
    pub fn into_record(self) -> Option<Record> {
        match self {
            Displaced::Record(record) => Some(record),
            Displaced::Nothing | Displaced::ToSnapshot => None,
        }
    }
}

/// One step of the search for expired keys.
#[derive(Debug, Default)]
pub struct ExpireStep {
    /// Keys whose expiry has passed.
    pub keys: Vec<Box<[u8]>>,
    /// How many records were looked at.
    pub visited: usize,
    /// The cursor to go on with; 0 when the slot is done.
    pub cursor: u64,
}

impl<'g> SlotGuard<'g> {
    pub(super) fn new(
        gate: &'g Gate,
        database: &'g Database,
        data: &'g Data,
        slot: u16,
        inner: MutexGuard<'g, SlotInner>,
    ) -> SlotGuard<'g> {
        SlotGuard {
            gate,
            database,
            data,
            slot,
            inner,
        }
    }

    /// The slot's number.
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// The record of a key, expired or not.
    pub fn get(&self, key: &KeyRef<'_>) -> Option<&Record> {
        debug_assert_eq!(key.slot, self.slot);
        self.inner.table.get(key.hash, key.bytes)
    }

    /// The record of a key, to be changed in place. A running snapshot that needs it gets a copy first, so call
    /// this only to write.
    pub fn get_mut(&mut self, key: &KeyRef<'_>) -> Option<RecordMut<'_>> {
        debug_assert_eq!(key.slot, self.slot);
        let preserve = self.preserve();
        let inner = &mut *self.inner;
        let record = inner.table.get_mut(key.hash, key.bytes)?;
        if let Some(preserve) = preserve.filter(|preserve| preserve.needs(record)) {
            preserve.share(record);
        }
        record.set_epoch(self.gate.epoch);
        Some(RecordMut {
            record,
            volatile: &mut inner.volatile,
            data: self.data,
            slot: self.slot,
            in_cut: self.gate.is_cut_open(),
        })
    }

    /// Puts a record in, replacing one with the same key.
    pub fn insert(&mut self, key: &KeyRef<'_>, record: Record) -> Displaced {
        debug_assert_eq!(key.slot, self.slot);
        debug_assert_eq!(key.bytes, record.key());
        record.set_epoch(self.gate.epoch);
        let volatile = record.expire_at().is_some();
        let old = self.inner.table.insert(key.hash, record);
        match &old {
            None => {
                self.count_key(1);
                self.count_volatile(i64::from(volatile));
            }
            Some(old) => {
                self.count_volatile(i64::from(volatile) - i64::from(old.expire_at().is_some()))
            }
        }
        self.displace(old)
    }

    /// Takes a key out, and lets a running snapshot that needs it have the record.
    pub fn remove(&mut self, key: &KeyRef<'_>) -> Displaced {
        let old = self.detach(key);
        self.displace(old)
    }

    /// Takes a key out for further use (RENAME, MOVE, GETDEL): always returns the record, and leaves a running
    /// snapshot that needs it a cheap copy.
    pub fn take(&mut self, key: &KeyRef<'_>) -> Option<Record> {
        let old = self.detach(key)?;
        if let Some(preserve) = self.preserve().filter(|preserve| preserve.needs(&old)) {
            preserve.share(&old);
            old.set_epoch(self.gate.epoch);
        }
        Some(old)
    }

    /// The number of keys in the slot.
    pub fn len(&self) -> usize {
        self.inner.table.len()
    }

    /// True if the slot has no keys.
    pub fn is_empty(&self) -> bool {
        self.inner.table.is_empty()
    }

    /// The number of keys with an expiry.
    pub fn volatile_len(&self) -> usize {
        self.inner.volatile
    }

    /// Visits some records and returns the next cursor, 0 at the end; see [`Table::scan`].
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(&Record)) -> u64 {
        self.inner.table.scan(cursor, f)
    }

    /// All records of the slot.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.inner.table.iter()
    }

    /// The number of records in each bucket of the slot's table; see [`Table::chain_lens`].
    pub fn chain_lens(&self) -> impl Iterator<Item = usize> {
        self.inner.table.chain_lens()
    }

    /// A random record, all with the same chance.
    pub fn random(&self, rng: &mut impl rand::Rng) -> Option<&Record> {
        self.inner.table.random(rng)
    }

    /// Where the last write that a read of this slot can see stands in the log.
    pub fn last_lsn(&self) -> Lsn {
        self.inner.last_lsn.max(self.database.changed_at())
    }

    /// Notes a write's log position.
    pub fn set_last_lsn(&mut self, lsn: Lsn) {
        self.inner.last_lsn = lsn;
    }

    /// True if clients are blocked on keys of this slot.
    pub fn has_waiters(&self) -> bool {
        self.database.has_waiters(self.slot)
    }

    /// Notes whether clients are blocked on keys of this slot.
    pub fn set_has_waiters(&mut self, waiting: bool) {
        self.database.set_waiters(self.slot, waiting);
    }

    /// Looks for keys whose expiry is at or before `now`, at `max_visits` records or a few more.
    pub fn expire_step(&self, now: UnixMillis, max_visits: usize, cursor: u64) -> ExpireStep {
        let mut step = ExpireStep::default();
        if self.inner.volatile == 0 {
            return step;
        }
        let ExpireStep { keys, visited, .. } = &mut step;
        let next = self.inner.table.walk(cursor, max_visits, &mut |record| {
            *visited += 1;
            if record.expire_at().is_some_and(|at| at <= now) {
                keys.push(record.key().into());
            }
        });
        step.cursor = next.unwrap_or(0);
        step
    }

    fn detach(&mut self, key: &KeyRef<'_>) -> Option<Record> {
        debug_assert_eq!(key.slot, self.slot);
        let old = self.inner.table.remove(key.hash, key.bytes)?;
        self.count_key(-1);
        self.count_volatile(-i64::from(old.expire_at().is_some()));
        Some(old)
    }

    fn displace(&self, old: Option<Record>) -> Displaced {
        let Some(old) = old else {
            return Displaced::Nothing;
        };
        match self.preserve() {
            Some(preserve) if preserve.needs(&old) => match preserve.give(old) {
                None => Displaced::ToSnapshot,
                Some(unwanted) => Displaced::Record(unwanted),
            },
            _ => {
                if self.gate.is_cut_open() {
                    shared_with_snapshot::note(old.bytes_left_to_snapshot());
                }
                Displaced::Record(old)
            }
        }
    }

    /// The running snapshot, if it has yet to pass this slot.
    fn preserve(&self) -> Option<Preserve<'g>> {
        let side = self.gate.side.as_deref()?;
        let epoch = self.gate.epoch;
        if !side.is_open() {
            return None;
        }
        side.hold(shared_with_snapshot::take(epoch));
        if self.inner.walked_epoch == epoch {
            return None;
        }
        let db = self.data.number_at_cut(epoch)?;
        Some(Preserve {
            side,
            epoch,
            db,
            slot: self.slot,
        })
    }

    /// After the table has changed.
    fn count_key(&self, change: i64) {
        self.data.count_key(self.slot, change, self.len());
    }

    fn count_volatile(&mut self, change: i64) {
        self.data
            .count_volatile(self.slot, &mut self.inner.volatile, change);
    }
}

/// A snapshot that wants the old values of a slot's records.
struct Preserve<'g> {
    side: &'g SideQueues,
    epoch: u32,
    db: DbIndex,
    slot: u16,
}

impl Preserve<'_> {
    fn needs(&self, record: &Record) -> bool {
        record.epoch() < self.epoch
    }

    /// Hands a record over for good: all its memory is the snapshot's. Returns it if the snapshot is over.
    fn give(&self, record: Record) -> Option<Record> {
        let bytes = record.memory_bytes();
        match self
            .side
            .push(self.db, self.slot, bytes, Kept::Record(record))
        {
            Some(Kept::Record(record)) => Some(record),
            _ => None,
        }
    }

    /// Hands a copy over of a record that lives on. What a large value costs beyond that shows when it is changed.
    fn share(&self, record: &Record) {
        let kept = Kept::of(record);
        let bytes = kept.bytes();
        // If the snapshot is over, the copy is dropped here: it is small, or shares.
        drop(self.side.push(self.db, self.slot, bytes, kept));
    }
}

/// A record that may be changed in place. Reads like a [`Record`].
pub struct RecordMut<'a> {
    record: &'a mut Record,
    volatile: &'a mut usize,
    data: &'a Data,
    slot: u16,
    /// A snapshot is running.
    in_cut: bool,
}

impl Deref for RecordMut<'_> {
    type Target = Record;
    fn deref(&self) -> &Record {
        self.record
    }
}

impl<'a> RecordMut<'a> {
    /// The collection; `None` for a string.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        self.record.object_mut()
    }

    /// The collection, for as long as the slot is borrowed; `None` for a string.
    pub fn into_object_mut(self) -> Option<&'a mut Object> {
        self.record.object_mut()
    }

    /// Sets or removes the expiry.
    pub fn set_expire(&mut self, expire: Option<UnixMillis>) {
        let change = i64::from(expire.is_some()) - i64::from(self.record.expire_at().is_some());
        self.data.count_volatile(self.slot, self.volatile, change);
        self.record.set_expire(expire);
    }

    /// Makes the value a string, keeping key, expiry and access data. Returns the old record.
    pub fn replace_value(&mut self, value: Vec<u8>, kind: StringKind) -> Record {
        let record = Record::string_owned(self.record.key(), value, kind, self.record.expire_at());
        self.replace(record)
    }

    /// Makes the value of a short string another short string, in place where the lengths are equal. False, with
    /// nothing changed, if either is too long for that or the value is a collection.
    pub fn set_inline(&mut self, value: &[u8], kind: StringKind) -> bool {
        match self.record.inline_mut(value.len(), kind) {
            Some(bytes) => {
                bytes.copy_from_slice(value);
                true
            }
            None => false,
        }
    }

    /// Writes into a string, whose kind becomes `Raw`; one that ends before `offset` is continued with zeros. False,
    /// with nothing changed, for a collection. Growing a long string again and again takes linear time in all.
    pub fn write_string(&mut self, offset: usize, value: &[u8]) -> bool {
        let ValueRef::Str(bytes, _) = self.record.value() else {
            return false;
        };
        let range = offset..offset + value.len();
        let len = bytes.len().max(range.end);
        if self.record.write_long(offset, value) {
            return true;
        }
        if let Some(bytes) = self.record.inline_mut(len, StringKind::Raw) {
            bytes[range].copy_from_slice(value);
            return true;
        }
        let ValueRef::Str(bytes, _) = self.record.value() else {
            return false;
        };
        let mut long = Vec::with_capacity(len);
        long.extend_from_slice(bytes);
        long.resize(len, 0);
        long[range].copy_from_slice(value);
        drop(self.replace_value(long, StringKind::Raw));
        true
    }

    /// Makes the value a collection, keeping key, expiry and access data. Returns the old record.
    pub fn replace_object(&mut self, object: Object) -> Record {
        let record = Record::object(self.record.key(), object, self.record.expire_at());
        self.replace(record)
    }

    fn replace(&mut self, mut record: Record) -> Record {
        record.set_access(self.record.access());
        record.set_epoch(self.record.epoch());
        record.set_tag(self.record.tag());
        if self.in_cut {
            shared_with_snapshot::note(self.record.bytes_left_to_snapshot());
        }
        std::mem::replace(self.record, record)
    }
}
