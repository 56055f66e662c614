//! What a command function works with: its arguments, its reply, and a view of the slots that it may touch.
//!
//! [`Ctx`] has separate fields for separate things, so that a function can hold a value borrowed from
//! [`Ctx::data`] while it writes to [`Ctx::reply`].
//!
//! [`Data`] sees only live keys: a key whose time has come is removed, and its removal logged, by the look-up that
//! finds it.

use smallvec::SmallVec;
use std::collections::BTreeMap;

use super::{CommandError, CommandSpec, Reply};
use crate::engine::{Settings, Shared};
use crate::keyspace::{
    Displaced, Gate, KeyRef, Record, RecordMut, SlotGuard, SlotMarks, StringKind, ValueRef,
};
use crate::text::integer;
use crate::types::{DbIndex, Lsn, UnixMillis};
use crate::value::{Hash, Limits, List, Object, Set, ZSet};

/// The class of a key event, as `notify-keyspace-events` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum KeyClass {
    Generic,
    String,
    List,
    Set,
    Hash,
    ZSet,
    Expired,
    Evicted,
}

/// Everything one command function may use.
pub struct Ctx<'a> {
    /// The request; `args[0]` is the command's name as the client wrote it.
    pub args: &'a [&'a [u8]],
    /// The description of the command that runs.
    pub spec: &'static CommandSpec,
    /// Where the reply goes.
    pub reply: &'a mut Reply,
    /// Number of changes made; the command is logged only if it is above zero.
    pub dirty: u64,
    /// The data.
    pub data: Data<'a>,
    /// Set by [`Ctx::block`].
    pub(crate) blocked: Option<BlockRequest>,
    /// False in transactions and scripts, where a command that would wait answers as if its time were up.
    pub(crate) may_block: bool,
    /// The key whose change has woken this command, if it has waited and is tried again.
    pub(crate) woken_by: Option<&'a [u8]>,
}

/// Whether a command may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting<'a> {
    /// It may not.
    Forbidden,
    /// It may.
    Allowed,
    /// It has waited and may go on waiting; this key was changed.
    WokenBy(&'a [u8]),
}

/// What a client that waits in vain gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedOutReply {
    /// A null.
    Null,
    /// A null array.
    NullArray,
}

/// A command's wish to wait until one of its keys is written.
#[derive(Debug)]
pub struct BlockRequest {
    /// The keys to wait for, in order of preference.
    pub keys: Vec<Vec<u8>>,
    /// When to give up, in milliseconds of waiting; `None`: never.
    pub timeout_ms: Option<u64>,
    /// What to answer then.
    pub on_timeout: TimedOutReply,
}

impl<'a> Ctx<'a> {
    /// The present time, the same for a whole command or transaction.
    pub fn now(&self) -> UnixMillis {
        self.data.now
    }

    /// Size thresholds of the compact encodings.
    pub fn limits(&self) -> &'a Limits {
        &self.data.settings.limits
    }

    /// Logs `args` as what this command did, in place of the request. May be called several times.
    ///
    /// What is named here is logged even if [`Ctx::dirty`] stays zero, as for FLUSHALL of empty databases.
    pub fn effect(&mut self, args: &[&[u8]]) {
        self.data.effects.push(self.data.db, args);
        self.data.explicit_effects = true;
    }

    /// Makes the client wait until one of `keys` is written, or answers as if it had waited in vain where waiting is
    /// not possible. Nothing must have been changed or replied before.
    pub fn block(
        &mut self,
        keys: Vec<Vec<u8>>,
        timeout_ms: Option<u64>,
        on_timeout: TimedOutReply,
    ) {
        if self.may_block {
            self.blocked = Some(BlockRequest {
                keys,
                timeout_ms,
                on_timeout,
            });
        } else {
            on_timeout.write(self.reply);
        }
    }

    /// Fails if a string of `len` bytes would be longer than `proto-max-bulk-len`.
    pub fn check_string_len(&self, len: usize) -> Result<(), CommandError> {
        if len > self.data.settings.string_len_max {
            return Err(CommandError::StringTooLong);
        }
        Ok(())
    }

    /// An arity error for this command.
    pub fn arity_error(&self) -> CommandError {
        CommandError::Arity(self.spec.name.into())
    }

    /// The argument at `index` as an integer.
    pub fn int_arg(&self, index: usize) -> Result<i64, CommandError> {
        integer::parse_i64(self.args[index]).ok_or(CommandError::NotInteger)
    }
}

impl TimedOutReply {
    /// Writes the reply.
    pub fn write(self, reply: &mut Reply) {
        match self {
            TimedOutReply::Null => reply.null(),
            TimedOutReply::NullArray => reply.null_array(),
        }
    }
}

/// The slots that are locked for a command or a transaction.
pub(crate) enum Locks<'g> {
    /// Those of its keys, sorted by (database, slot).
    Few {
        /// The gate, held shared.
        gate: &'g Gate,
        /// The locked slots.
        held: HeldSlots<'g>,
        /// What keeps others away from them, in a long turn; given back after them.
        #[expect(dead_code, reason = "held for its end")]
        marks: Option<SlotMarks<'g>>,
    },
    /// Whatever it turns out to touch, under the exclusive gate.
    All {
        /// The gate, held exclusively.
        gate: &'g Gate,
        /// The slots touched so far.
        held: BTreeMap<u32, SlotGuard<'g>>,
    },
}

/// Locked slots with their places in the lock order.
pub(crate) type HeldSlots<'g> = SmallVec<[(u32, SlotGuard<'g>); 2]>;

/// The place of (database, slot) in the lock order.
pub(crate) fn lock_order(db: DbIndex, slot: u16) -> u32 {
    u32::from(db) << 14 | u32::from(slot)
}

/// Access to single records of the locked slots; hides for how long the slots are locked.
pub(crate) trait Slots {
    fn gate(&self) -> &Gate;
    fn volatile_len(&mut self, db: DbIndex, slot: u16) -> usize;
    fn has_waiters(&mut self, db: DbIndex, slot: u16) -> bool;
    fn forget_waiters(&mut self, db: DbIndex, slot: u16);
    fn get(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Option<&Record>;
    fn get_mut(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Option<RecordMut<'_>>;
    fn insert(&mut self, db: DbIndex, key: &KeyRef<'_>, record: Record) -> Displaced;
    fn remove(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Displaced;
    fn take(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Option<Record>;
    fn with_slot(&mut self, db: DbIndex, slot: u16, work: &mut dyn FnMut(&SlotGuard<'_>));
}

impl<'g> Locks<'g> {
    fn slot(&mut self, db: DbIndex, slot: u16) -> &mut SlotGuard<'g> {
        let id = lock_order(db, slot);
        match self {
            Locks::Few { held, .. } => {
                let found = match held.as_slice() {
                    [(first, _), ..] if *first == id => Ok(0),
                    held => held.binary_search_by_key(&id, |(id, _)| *id),
                };
                let index = found.expect(
                    "a command touches only the slots of the keys that its specification names",
                );
                &mut held[index].1
            }
            Locks::All { gate, held } => held.entry(id).or_insert_with(|| gate.lock(db, slot)),
        }
    }

    /// Every slot that is locked.
    pub(crate) fn held(&mut self) -> impl Iterator<Item = &mut SlotGuard<'g>> {
        let (few, all) = match self {
            Locks::Few { held, .. } => (Some(held.iter_mut().map(|(_, slot)| slot)), None),
            Locks::All { held, .. } => (None, Some(held.values_mut())),
        };
        few.into_iter().flatten().chain(all.into_iter().flatten())
    }
}

impl Slots for Locks<'_> {
    fn gate(&self) -> &Gate {
        match self {
            Locks::Few { gate, .. } | Locks::All { gate, .. } => gate,
        }
    }

    fn volatile_len(&mut self, db: DbIndex, slot: u16) -> usize {
        self.slot(db, slot).volatile_len()
    }

    fn has_waiters(&mut self, db: DbIndex, slot: u16) -> bool {
        self.slot(db, slot).has_waiters()
    }

    fn forget_waiters(&mut self, db: DbIndex, slot: u16) {
        self.slot(db, slot).set_has_waiters(false);
    }

    fn get(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Option<&Record> {
        self.slot(db, key.slot).get(key)
    }

    fn get_mut(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Option<RecordMut<'_>> {
        self.slot(db, key.slot).get_mut(key)
    }

    fn insert(&mut self, db: DbIndex, key: &KeyRef<'_>, record: Record) -> Displaced {
        self.slot(db, key.slot).insert(key, record)
    }

    fn remove(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Displaced {
        self.slot(db, key.slot).remove(key)
    }

    fn take(&mut self, db: DbIndex, key: &KeyRef<'_>) -> Option<Record> {
        self.slot(db, key.slot).take(key)
    }

    fn with_slot(&mut self, db: DbIndex, slot: u16, work: &mut dyn FnMut(&SlotGuard<'_>)) {
        let id = lock_order(db, slot);
        let (gate, held) = match self {
            Locks::Few { gate, held, .. } => {
                let index = held.binary_search_by_key(&id, |(id, _)| *id).ok();
                (*gate, index.map(|index| &held[index].1))
            }
            Locks::All { gate, held } => (*gate, held.get(&id)),
        };
        match held {
            Some(slot) => work(slot),
            None => work(&gate.lock(db, slot)),
        }
    }
}

/// What a command or transaction did, as RESP commands ready for the log.
#[derive(Debug, Default)]
pub struct Effects {
    bytes: Vec<u8>,
    count: usize,
    first_db: DbIndex,
    last_db: DbIndex,
}

impl Effects {
    /// Adds one command that ran in `db`; a SELECT goes before it where the database changes.
    pub fn push(&mut self, db: DbIndex, args: &[&[u8]]) {
        self.switch_to(db);
        encode(&mut self.bytes, args);
    }

    /// Adds one command that is RESP already.
    pub fn push_raw(&mut self, db: DbIndex, command: &[u8]) {
        self.switch_to(db);
        self.bytes.extend_from_slice(command);
    }

    fn switch_to(&mut self, db: DbIndex) {
        if self.count == 0 {
            self.first_db = db;
        } else if self.last_db != db {
            encode(
                &mut self.bytes,
                &[b"SELECT", itoa::Buffer::new().format(db).as_bytes()],
            );
        }
        self.last_db = db;
        self.count += 1;
    }

    /// Number of commands, not counting SELECTs.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The commands, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The database of the first command, and the one selected after the last.
    pub fn databases(&self) -> (DbIndex, DbIndex) {
        (self.first_db, self.last_db)
    }

    /// Forgets everything, keeping the buffer unless it grew large.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(64 * 1024);
        self.count = 0;
    }
}

/// Appends one command in RESP.
pub(crate) fn encode(out: &mut Vec<u8>, args: &[&[u8]]) {
    let mut number = itoa::Buffer::new();
    out.reserve(args.iter().map(|arg| arg.len() + 16).sum::<usize>() + 16);
    out.push(b'*');
    out.extend_from_slice(number.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        out.extend_from_slice(number.format(arg.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Takes one command in canonical RESP from the front of `bytes`; `None` if there is none.
pub(crate) fn decode<'b>(bytes: &mut &'b [u8]) -> Option<SmallVec<[&'b [u8]; 8]>> {
    let count = decode_number(bytes, b'*')?;
    let mut args = SmallVec::new();
    for _ in 0..count {
        let len = decode_number(bytes, b'$')?;
        let end = len.checked_add(2)?;
        if bytes.len() < end || &bytes[len..end] != b"\r\n" {
            return None;
        }
        args.push(&bytes[..len]);
        *bytes = &bytes[end..];
    }
    (!args.is_empty()).then_some(args)
}

fn decode_number(bytes: &mut &[u8], kind: u8) -> Option<usize> {
    let line_end = memchr::memchr(b'\n', &bytes[..bytes.len().min(32)])?;
    let digits = bytes[..line_end]
        .strip_prefix(&[kind])?
        .strip_suffix(b"\r")?;
    let number = integer::parse_i64(digits)?;
    *bytes = &bytes[line_end + 1..];
    usize::try_from(number).ok()
}

/// A collection type that a key can hold.
pub trait ObjectKind: Sized {
    /// The collection, if `object` is of this type.
    fn of(object: &Object) -> Option<&Self>;
    /// The same, to change it.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    /// Wraps the collection.
    fn wrap(self) -> Object;
    /// A collection without elements.
    fn empty() -> Self;
}

macro_rules! object_kind {
    ($type:ident, $variant:ident) => {
        impl ObjectKind for $type {
            fn of(object: &Object) -> Option<&$type> {
                if let Object::$variant(value) = object {
                    Some(value)
                } else {
                    None
                }
            }
            fn of_mut(object: &mut Object) -> Option<&mut $type> {
                if let Object::$variant(value) = object {
                    Some(value)
                } else {
                    None
                }
            }
            fn wrap(self) -> Object {
                Object::$variant(self)
            }
            fn empty() -> $type {
                $type::new()
            }
        }
    };
}

object_kind!(List, List);
object_kind!(Set, Set);
object_kind!(Hash, Hash);
object_kind!(ZSet, ZSet);

/// The live keys of the slots that the command may touch.
pub struct Data<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) settings: &'a Settings,
    slots: &'a mut (dyn Slots + 'a),
    effects: &'a mut Effects,
    /// The key whose slot and hash the batch has computed ahead.
    hint: Option<KeyRef<'a>>,
    db: DbIndex,
    now: UnixMillis,
    /// The log is being replayed: nothing expires by itself.
    replay: bool,
    pub(crate) explicit_effects: bool,
    /// Keys that became available to blocked clients.
    pub(crate) ready: Vec<(DbIndex, Vec<u8>)>,
    /// What the reply depends on because of slots that were looked at without being locked for the whole command.
    pub(crate) walked_lsn: Lsn,
    /// What the engine is to do with whole databases when the command has returned.
    pub(crate) whole: Option<WholeKeyspace>,
    /// Keys that a walk found due.
    pub(crate) due: Vec<Vec<u8>>,
}

/// A change to whole databases. The engine makes it, under the exclusive gate, when the command has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeKeyspace {
    /// Empties one database.
    Flush(DbIndex),
    /// Empties all of them.
    FlushAll,
    /// Exchanges two.
    Swap(DbIndex, DbIndex),
}

impl<'a> Data<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of a view")]
    pub(crate) fn new(
        shared: &'a Shared,
        settings: &'a Settings,
        locks: &'a mut Locks<'_>,
        effects: &'a mut Effects,
        hint: Option<KeyRef<'a>>,
        db: DbIndex,
        now: UnixMillis,
        replay: bool,
    ) -> Data<'a> {
        Data {
            shared,
            settings,
            slots: locks,
            effects,
            hint,
            db,
            now,
            replay,
            explicit_effects: false,
            ready: Vec::new(),
            walked_lsn: Lsn::ZERO,
            whole: None,
            due: Vec::new(),
        }
    }

    /// The database that keys are looked up in.
    pub fn db(&self) -> DbIndex {
        self.db
    }

    /// Turns to another database (COPY ... DB, MOVE). Only for commands with [`super::Flags::ALL_KEYS`].
    pub fn select(&mut self, db: DbIndex) {
        self.db = db;
    }

    /// Whether the log is being replayed. Then a time to live that is over already is set all the same: what the log
    /// says next may prolong it.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// Whether a key that is to expire at `expire` is to be removed instead, because that time is over.
    pub fn is_over(&self, expire: UnixMillis) -> bool {
        expire <= self.now && !self.is_replay()
    }

    /// Number of databases.
    pub fn databases(&self) -> DbIndex {
        self.slots.gate().databases()
    }

    /// Number of keys in the selected database.
    pub fn len(&self) -> usize {
        self.slots.gate().len(self.db)
    }

    /// Whether the selected database has no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks for a change to whole databases, made when the command returns. Only for commands with
    /// [`super::Flags::ALL_KEYS`].
    pub fn schedule(&mut self, change: WholeKeyspace) {
        self.whole = Some(change);
    }

    fn key<'k>(&self, key: &'k [u8]) -> KeyRef<'k> {
        match &self.hint {
            Some(hint) if std::ptr::eq(hint.bytes, key) => KeyRef {
                bytes: key,
                slot: hint.slot,
                hash: hint.hash,
            },
            _ => self.shared.keyspace.key(key),
        }
    }

    /// The slot and hash of a key, which is removed first if its time has come.
    fn live_key<'k>(&mut self, key: &'k [u8]) -> KeyRef<'k> {
        let key = self.key(key);
        let now = self.now;
        if !self.replay
            && !self.settings.keep_due
            && self.slots.volatile_len(self.db, key.slot) > 0
            && self
                .slots
                .get(self.db, &key)
                .is_some_and(|record| is_due(record, now))
        {
            let displaced = self.slots.remove(self.db, &key);
            self.shared.discard(displaced);
            self.effects
                .push(self.db, &[self.settings.expire_command(), key.bytes]);
            self.shared.stats.expired_keys.add(1);
            if self.slots.has_waiters(self.db, key.slot) {
                self.shared.registry.expired(self.db, key.bytes);
            }
            self.announce(&key, KeyClass::Expired, "expired");
        }
        key
    }

    /// The record of a key that `live_key` has seen to.
    fn find(&mut self, key: &KeyRef<'_>) -> Option<&Record> {
        let (now, hides_due) = (self.now, self.settings.keep_due && !self.replay);
        let record = self.slots.get(self.db, key)?;
        (!hides_due || !is_due(record, now)).then_some(record)
    }

    /// Finds a key for reading: counts a hit or a miss, and marks the key as used.
    pub fn read(&mut self, key: &[u8]) -> Option<&Record> {
        let key = self.live_key(key);
        let (shared, settings, now) = (self.shared, self.settings, self.now);
        let record = self.find(&key);
        match record {
            Some(record) => {
                shared.stats.keyspace_hits.add(1);
                settings.mark_used(record, now);
            }
            None => shared.stats.keyspace_misses.add(1),
        }
        record
    }

    /// Finds a key for reading: counts a hit or a miss, but does not mark the key as used.
    pub fn look(&mut self, key: &[u8]) -> Option<&Record> {
        let key = self.live_key(key);
        let shared = self.shared;
        let record = self.find(&key);
        match record {
            Some(_) => shared.stats.keyspace_hits.add(1),
            None => shared.stats.keyspace_misses.add(1),
        }
        record
    }

    /// Finds a key without leaving a trace of it.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Record> {
        let key = self.live_key(key);
        self.find(&key)
    }

    /// Whether the key exists. Leaves no trace.
    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// Finds a key to change it. A running snapshot gets the value as it was.
    pub fn record_mut(&mut self, key: &[u8]) -> Option<RecordMut<'_>> {
        let key = self.live_key(key);
        let record = self.slots.get_mut(self.db, &key)?;
        self.settings.mark_used(&record, self.now);
        Some(record)
    }

    /// The bytes of a string, for reading.
    pub fn string(&mut self, key: &[u8]) -> Result<Option<&[u8]>, CommandError> {
        match self.read(key).map(Record::value) {
            None => Ok(None),
            Some(ValueRef::Str(bytes, _)) => Ok(Some(bytes)),
            Some(ValueRef::Object(_)) => Err(CommandError::WrongType),
        }
    }

    /// The bytes of a string, without leaving a trace of the look-up.
    pub fn peek_string(&mut self, key: &[u8]) -> Result<Option<&[u8]>, CommandError> {
        match self.peek(key).map(Record::value) {
            None => Ok(None),
            Some(ValueRef::Str(bytes, _)) => Ok(Some(bytes)),
            Some(ValueRef::Object(_)) => Err(CommandError::WrongType),
        }
    }

    /// A collection, for reading.
    pub fn read_as<T: ObjectKind>(&mut self, key: &[u8]) -> Result<Option<&T>, CommandError> {
        match self.read(key).map(Record::value) {
            None => Ok(None),
            Some(ValueRef::Object(object)) => {
                T::of(object).map(Some).ok_or(CommandError::WrongType)
            }
            Some(ValueRef::Str(..)) => Err(CommandError::WrongType),
        }
    }

    /// A collection, to change it. Fails without having told a running snapshot anything if the type is wrong.
    pub fn write_as<T: ObjectKind>(&mut self, key: &[u8]) -> Result<Option<&mut T>, CommandError> {
        let key = self.live_key(key);
        match self.slots.get(self.db, &key).map(Record::value) {
            None => return Ok(None),
            Some(ValueRef::Object(object)) if T::of(object).is_some() => {}
            Some(_) => return Err(CommandError::WrongType),
        }
        let record = self
            .slots
            .get_mut(self.db, &key)
            .expect("the key was there under the same lock");
        self.settings.mark_used(&record, self.now);
        Ok(record.into_object_mut().and_then(T::of_mut))
    }

    /// A collection, to add to it; created empty if the key does not exist. The caller adds at least one element.
    pub fn write_or_create<T: ObjectKind>(&mut self, key: &[u8]) -> Result<&mut T, CommandError> {
        if !self.exists(key) {
            self.set_object(key, T::empty());
        }
        Ok(self
            .write_as::<T>(key)?
            .expect("the key exists and its type was checked"))
    }

    /// Changes a collection, or stores the one that `change` makes of an empty one if the key does not exist.
    ///
    /// `change` either adds at least one element or fails; when it fails it must have changed nothing.
    pub fn update_or_create<T: ObjectKind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T) -> Result<R, CommandError>,
    ) -> Result<R, CommandError> {
        if let Some(value) = self.write_as::<T>(key)? {
            return change(value);
        }
        let mut value = T::empty();
        let result = change(&mut value)?;
        self.set_object(key, value);
        Ok(result)
    }

    /// Stores a record under its key, replacing what was there, its expiry included.
    pub fn put(&mut self, record: Record) {
        record.set_access(self.settings.fresh_access(self.now));
        self.put_as_used(record);
    }

    /// Stores a record as [`Data::put`] does, keeping its access stamp.
    pub fn put_as_used(&mut self, record: Record) {
        // The key's bytes live in the record, which moves into the table.
        let name: SmallVec<[u8; 64]> = SmallVec::from_slice(record.key());
        let key = self.key(&name);
        let displaced = self.slots.insert(self.db, &key, record);
        self.shared.discard(displaced);
    }

    /// Stores a string under `key`, replacing what was there; `expire` is its time to live.
    pub fn set_string(&mut self, key: &[u8], value: &[u8], expire: Option<UnixMillis>) {
        let record = Record::string(key, value, string_kind(value), expire);
        record.set_access(self.settings.fresh_access(self.now));
        let key = self.key(key);
        let displaced = self.slots.insert(self.db, &key, record);
        self.shared.discard(displaced);
    }

    /// Stores a collection under `key`, replacing what was there, its expiry included.
    pub fn set_object<T: ObjectKind>(&mut self, key: &[u8], value: T) {
        self.put(Record::object(key, value.wrap(), None));
    }

    /// Removes a key; whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let key = self.live_key(key);
        let displaced = self.slots.remove(self.db, &key);
        let existed = displaced.existed();
        self.shared.discard(displaced);
        existed
    }

    /// Removes a key and returns its record.
    pub fn take(&mut self, key: &[u8]) -> Option<Record> {
        let key = self.live_key(key);
        self.slots.take(self.db, &key)
    }

    /// Removes a collection that has lost its last element; whether it was removed. Announces the removal.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let empty = match self.peek(key).map(Record::value) {
            Some(ValueRef::Object(object)) => object.is_empty(),
            _ => false,
        };
        if empty {
            self.delete(key);
            self.modified(key, KeyClass::Generic, "del");
        }
        empty
    }

    /// When the key expires, if it exists and does.
    pub fn expire_at(&mut self, key: &[u8]) -> Option<UnixMillis> {
        self.peek(key)?.expire_at()
    }

    /// Sets or removes the time at which the key expires; whether the key exists.
    pub fn set_expire(&mut self, key: &[u8], expire: Option<UnixMillis>) -> bool {
        match self.record_mut(key) {
            Some(mut record) => {
                record.set_expire(expire);
                true
            }
            None => false,
        }
    }

    /// The command that the removal of a key whose time has come is logged as.
    pub fn expire_command(&self) -> &'static [u8] {
        self.settings.expire_command()
    }

    /// Says that `key` was changed, created or removed: fails transactions that watch it, wakes clients that wait for
    /// it, and sends the key event `event` of class `class`.
    pub fn modified(&mut self, key: &[u8], class: KeyClass, event: &'static str) {
        let key = self.key(key);
        self.changed(&key, class, event);
    }

    fn changed(&mut self, key: &KeyRef<'_>, class: KeyClass, event: &'static str) {
        if self.slots.has_waiters(self.db, key.slot) {
            if self.shared.registry.is_empty() {
                // An entry for this slot would be made under its lock, which is ours.
                self.slots.forget_waiters(self.db, key.slot);
            } else if self.shared.registry.changed(self.db, key.bytes) {
                self.ready.push((self.db, key.bytes.to_vec()));
            }
        }
        self.announce(key, class, event);
    }

    /// Sends a key event.
    fn announce(&self, key: &KeyRef<'_>, class: KeyClass, event: &'static str) {
        if let Some(listener) = &self.settings.key_events {
            listener.event(class, event, self.db, key.bytes);
        }
    }

    /// The first slot of the selected database at or after `from` that has keys.
    pub fn next_used_slot(&self, from: u16) -> Option<u16> {
        self.slots.gate().next_used_slot(self.db, from)
    }

    /// Has the engine expire keys that a walk of the selected database found due, when the command has returned.
    pub fn expire_later(&mut self, keys: Vec<Vec<u8>>) {
        self.due = keys;
    }

    /// Runs `work` on one slot of the selected database, for commands that walk a whole database
    /// ([`super::Flags::WALKS`]). Keys that are due may still be there: check with [`is_due`].
    pub fn with_slot(&mut self, slot: u16, work: &mut dyn FnMut(&SlotGuard<'_>)) {
        let mut depends_on = Lsn::ZERO;
        self.slots.with_slot(self.db, slot, &mut |slot| {
            depends_on = slot.last_lsn();
            work(slot);
        });
        self.walked_lsn = self.walked_lsn.max(depends_on);
    }
}

/// Whether the record's time to live is over at `now`.
pub fn is_due(record: &Record, now: UnixMillis) -> bool {
    record.expire_at().is_some_and(|expire| expire <= now)
}

/// How Redis would encode this string when it is first stored.
pub fn string_kind(value: &[u8]) -> StringKind {
    if value.len() <= 20 && integer::parse_i64(value).is_some() {
        StringKind::Int
    } else if value.len() <= 44 {
        StringKind::Embstr
    } else {
        StringKind::Raw
    }
}
