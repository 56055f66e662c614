//! Running commands: which locks they need, what they leave in the log, whom they wake.
//!
//! A thread that runs commands has a [`Worker`]. For each batch it opens a [`Turn`], which holds the gate shared (a
//! command that needs the whole keyspace trades it for the exclusive side while it runs). One command:
//!
//! 1. finds its keys by its specification and locks their slots in ascending (database, slot) order;
//! 2. runs;
//! 3. under the same locks appends what it changed, as one record: its request, or the effects it named; more than
//!    one effect is wrapped in MULTI/EXEC;
//! 4. leaves the record's LSN in the slots. A reader of those slots learns from it which LSN its reply depends on;
//! 5. unlocks, and serves the clients that waited for what it wrote.
//!
//! Commands that take long run in a turn of their own, on a thread of their own ([`Worker::long_turn`]): which they are
//! [`Turn::runs_elsewhere`] says, and `keyspace::long` how the other threads get around them.

use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::evict::{self, Room};
use super::registry::{Presence, Waiter};
use super::session::Session;
use super::{Deliver, Engine, Settings, Shared, WaiterId};
use crate::command::{
    BlockRequest, Command, CommandError, CommandSpec, Ctx, Data, Effects, Flags, HeldSlots,
    KeySpec, Locks, Reply, ValueKeys, Waiting, WholeKeyspace, decode, encode, is_due, lock_order,
};
use crate::keyspace::{
    ExclusiveGate, Gate, KeyRef, LongPass, Record, SharedGate, SlotGuard, TurnCounter, TurnMark,
};
use crate::log::{Appender, RECORD_BYTES_MAX};
use crate::text::integer;
use crate::types::{DbIndex, Lsn, UnixMillis};

/// What became of a command.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The reply may leave when this position is covered by the watermark that the policy asks for.
    pub lsn: Lsn,
    /// The command waits; its reply will be delivered.
    pub blocked: Option<Blocked>,
}

/// A command that waits.
#[derive(Debug)]
pub struct Blocked {
    /// Its name in the registry.
    pub id: WaiterId,
    /// When to give up, in milliseconds from now; `None`: never.
    pub timeout_ms: Option<u64>,
}

/// One thread's means of running commands.
pub struct Worker {
    engine: Engine,
    log: LogAccess,
    effects: Effects,
    /// For its short turns, once it has had one.
    turns: Option<Arc<TurnCounter>>,
    pool: evict::Pool,
}

/// How a turn is inside the keyspace.
enum Inside<'w> {
    /// For an instant.
    Briefly(#[expect(dead_code, reason = "held for its end")] TurnMark<'w>),
    /// For as long as it takes.
    ForLong(#[expect(dead_code, reason = "held for its end")] LongPass<'w>),
}

/// One batch of commands.
pub struct Turn<'w> {
    pub(super) shared: &'w Shared,
    pub(super) settings: arc_swap::Guard<Arc<Settings>>,
    /// Held shared between commands.
    pub(super) gate: Option<SharedGate<'w>>,
    /// `None` while it has left the keyspace.
    inside: Option<Inside<'w>>,
    /// For a short turn; `None` in a long one.
    counter: Option<&'w TurnCounter>,
    pub(super) log: &'w mut LogAccess,
    pub(super) effects: &'w mut Effects,
    pub(super) pool: &'w mut evict::Pool,
    pub(super) now: UnixMillis,
    replay: bool,
}

/// The log that a worker appends to; the log is exchanged only under the exclusive gate.
#[derive(Default)]
pub(super) struct LogAccess {
    appender: Option<Appender>,
}

/// One request, as the host parsed it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The arguments, name included.
    pub args: &'a [&'a [u8]],
    /// The same in canonical RESP, if that is how it came.
    pub raw: Option<&'a [u8]>,
    /// The first key, if its slot and hash were computed ahead.
    pub hint: Option<KeyRef<'a>>,
}

impl<'a> Request<'a> {
    /// A request that has only its arguments.
    pub fn new(args: &'a [&'a [u8]]) -> Request<'a> {
        Request {
            args,
            raw: None,
            hint: None,
        }
    }

    /// About as many bytes as it takes in the log, rather more.
    fn bytes(&self) -> u64 {
        match self.raw {
            Some(raw) => raw.len() as u64,
            None => self.args.iter().map(|arg| arg.len() as u64 + 32).sum(),
        }
    }
}

impl LogAccess {
    /// Follows an exchange of the log. The caller is inside the gate.
    fn refresh(&mut self, shared: &Shared) {
        let log = shared.log_to_append_to();
        let is_right = match (&self.appender, &log) {
            (Some(appender), Some(log)) => appender.is_of(log),
            (appender, log) => appender.is_none() && log.is_none(),
        };
        if !is_right {
            self.appender = log.map(|log| log.appender());
        }
    }
}

impl Worker {
    pub(super) fn new(engine: Engine) -> Worker {
        Worker {
            engine,
            log: LogAccess::default(),
            effects: Effects::default(),
            turns: None,
            pool: evict::Pool::default(),
        }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Begins a batch. Until it ends nobody can take the whole keyspace, so it must be short.
    pub fn turn(&mut self) -> Turn<'_> {
        let keyspace = &self.engine.shared().keyspace;
        let counter = self.turns.get_or_insert_with(|| keyspace.count_turns());
        Turn::begin(
            self.engine.shared(),
            Some(counter),
            &mut self.log,
            &mut self.effects,
            &mut self.pool,
        )
    }

    /// Begins a batch that may take long: its commands mark the slots that they are about to lock. For threads that
    /// nobody waits for.
    pub fn long_turn(&mut self) -> Turn<'_> {
        Turn::begin(
            self.engine.shared(),
            None,
            &mut self.log,
            &mut self.effects,
            &mut self.pool,
        )
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(turns) = &self.turns {
            self.engine.shared().keyspace.stop_counting(turns);
        }
    }
}

impl<'w> Turn<'w> {
    fn begin(
        shared: &'w Shared,
        counter: Option<&'w TurnCounter>,
        log: &'w mut LogAccess,
        effects: &'w mut Effects,
        pool: &'w mut evict::Pool,
    ) -> Turn<'w> {
        let mut turn = Turn {
            shared,
            settings: shared.settings.load(),
            gate: None,
            inside: None,
            counter,
            log,
            effects,
            pool,
            now: UnixMillis::now(),
            replay: false,
        };
        turn.enter();
        turn
    }

    /// Enters the keyspace.
    fn enter(&mut self) {
        let keyspace = &self.shared.keyspace;
        (self.inside, self.gate) = match self.counter {
            Some(counter) => {
                let gate = keyspace.enter();
                (Some(Inside::Briefly(counter.begin())), Some(gate))
            }
            None => {
                let (pass, gate) = keyspace.enter_long();
                (Some(Inside::ForLong(pass)), Some(gate))
            }
        };
        self.log.refresh(self.shared);
    }

    /// Leaves the keyspace: who wants the whole of it need not wait for this turn.
    fn leave(&mut self) {
        self.gate = None;
        self.inside = None;
    }

    /// Whether it is one of those that may take long.
    pub(super) fn is_long(&self) -> bool {
        self.counter.is_none()
    }

    /// Whether the log's memory is so full that even a command that only reads might have to wait, with the expiry of
    /// a key that it finds due. Then it is better run in a long turn.
    pub fn log_is_nearly_full(&self) -> bool {
        let appender = self.log.appender.as_ref();
        appender.is_some_and(Appender::is_nearly_full)
    }

    /// The time of the batch.
    pub fn now(&self) -> UnixMillis {
        self.now
    }

    /// What the last command that ran by itself named as its effects.
    #[cfg(test)]
    pub(crate) fn last_effects(&self) -> &Effects {
        self.effects
    }

    /// The settings of the batch.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The slot and hash of a key, for [`Request::hint`] and [`Turn::prefetch`].
    pub fn key<'k>(&self, key: &'k [u8]) -> KeyRef<'k> {
        self.shared.keyspace.key(key)
    }

    /// Number of databases.
    pub(super) fn databases(&self) -> DbIndex {
        self.shared.databases()
    }

    /// From here on the batch repeats what the log says: nothing expires and nothing is evicted by itself, and nothing
    /// is logged.
    pub(super) fn begin_replay(&mut self) {
        self.replay = true;
    }

    /// Brings what the look-ups of `keys` will touch into the cache, so that their waits for memory overlap.
    pub fn prefetch(&self, keys: &[(DbIndex, KeyRef<'_>)]) {
        let Some(gate) = &self.gate else { return };
        for (db, key) in keys {
            self.shared.keyspace.prefetch_slot(gate, *db, key);
        }
        for (db, key) in keys {
            self.shared.keyspace.prefetch_bucket(gate, *db, key);
        }
        for (db, key) in keys {
            self.shared.keyspace.prefetch_record(gate, *db, key);
        }
    }

    /// Runs one command and writes its reply. `deliver` is where the reply goes if the command has to wait; without
    /// it the command answers as if it had waited in vain.
    pub fn run(
        &mut self,
        session: &mut Session,
        command: &'static Command,
        request: Request<'_>,
        deliver: Option<&Arc<dyn Deliver>>,
        reply: &mut Reply,
    ) -> Outcome {
        let allowed = self
            .check_length(request.bytes())
            .and_then(|()| self.make_room(command.spec.flags));
        if let Err(error) = allowed {
            reply.error(error);
            return Outcome::default();
        }
        let db = session.db;
        let (ran, blocked) = if command.spec.takes_all_keys(request.args) {
            let found = match command.spec.value_keys {
                Some(value_keys) if self.is_long() => {
                    self.run_with_value_keys(command, value_keys, request, db, reply)
                }
                _ => None,
            };
            if let Some(ran) = found {
                return self.finish(db, ran, None);
            }
            let ran = self
                .exclusively(|turn, gate| turn.run_exclusively(command, request, db, gate, reply));
            (ran, None)
        } else {
            let gate = self
                .gate
                .take()
                .expect("a turn holds the gate between commands");
            let mut locks = lock_keys(self.shared, &gate, self.is_long(), db, command, &request);
            let waiting = match deliver {
                Some(_) => Waiting::Allowed,
                None => Waiting::Forbidden,
            };
            let mut ran = self.run_command(command, request, db, &mut locks, waiting, reply);
            let blocked = ran.wish.take().zip(deliver).map(|(wish, deliver)| {
                register(
                    self.shared,
                    &mut locks,
                    command,
                    &request,
                    db,
                    reply.resp3(),
                    wish,
                    deliver,
                )
            });
            drop(locks);
            self.gate = Some(gate);
            (ran, blocked)
        };
        self.finish(db, ran, blocked)
    }

    /// What follows a command when its locks have been given back.
    fn finish(&mut self, db: DbIndex, ran: Ran, blocked: Option<Blocked>) -> Outcome {
        self.expire_keys(db, &ran.due);
        self.serve(ran.ready);
        Outcome {
            lsn: ran.lsn,
            blocked,
        }
    }

    /// Runs a command that learns from its first key's value which keys it needs: looks at the value, locks all slots,
    /// and begins again if the value was changed in between. `None` if it was changed again and again.
    fn run_with_value_keys(
        &mut self,
        command: &'static Command,
        value_keys: ValueKeys,
        request: Request<'_>,
        db: DbIndex,
        reply: &mut Reply,
    ) -> Option<Ran> {
        const TRIES: usize = 8;
        let name = request.args.get(1)?;
        let mut ran = None;
        for _ in 0..TRIES {
            let mut watch = Session::new();
            watch.db = db;
            // First of all: whatever changes the value from here on is noticed.
            self.watch(&mut watch, name);
            let gate = self
                .gate
                .take()
                .expect("a turn holds the gate between commands");
            let mut ids = SmallVec::new();
            key_slots(self.shared, db, &command.spec, request.args, &mut ids);
            let key = self.shared.keyspace.key(name);
            let value = gate.lock(db, key.slot).get(&key).map(Record::share);
            if let Some(value) = value {
                value_keys(request.args, &value, &mut |name| {
                    ids.push(lock_order(db, self.shared.keyspace.key(name).slot));
                });
            }
            let mut locks = lock_slots(self.shared, &gate, true, ids);
            if !watch.watch_broken() {
                ran = Some(self.run_command(
                    command,
                    request,
                    db,
                    &mut locks,
                    Waiting::Forbidden,
                    reply,
                ));
            }
            drop(locks);
            self.gate = Some(gate);
            self.unwatch(&mut watch);
            if ran.is_some() {
                break;
            }
        }
        ran
    }

    /// Runs a command under the exclusive gate, together with the change to whole databases that it asks for.
    fn run_exclusively(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        db: DbIndex,
        gate: &mut ExclusiveGate<'_>,
        reply: &mut Reply,
    ) -> Ran {
        let mut locks = Locks::All {
            gate,
            held: BTreeMap::new(),
        };
        let mut ran = self.run_command(command, request, db, &mut locks, Waiting::Forbidden, reply);
        drop(locks);
        if let Some(change) = ran.whole {
            ran.ready.extend(change_whole_keyspace(
                self.shared,
                gate,
                change,
                ran.lsn,
                self.now,
            ));
        }
        ran
    }

    /// Trades the shared side of the gate for the exclusive one while `work` runs.
    pub(super) fn exclusively<R>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut ExclusiveGate<'w>) -> R,
    ) -> R {
        self.leave();
        let mut gate = self.shared.keyspace.enter_exclusive();
        self.log.refresh(self.shared);
        let result = work(self, &mut gate);
        drop(gate);
        self.enter();
        result
    }

    /// Lets go of the keyspace while `work` runs, which may take the whole of it, or long.
    pub fn outside<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.leave();
        let result = work();
        self.enter();
        self.settings = self.shared.settings.load();
        result
    }

    /// Holds up every other turn while `work` runs.
    pub fn alone<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.exclusively(|_, _| work())
    }

    /// Number of keys in a database, and how many of them have a time to live.
    pub fn key_counts(&self, db: DbIndex) -> (usize, usize) {
        self.gate
            .as_ref()
            .map_or((0, 0), |gate| (gate.len(db), gate.volatile_len(db)))
    }

    /// Refuses requests of so many bytes that the log could not take them.
    pub(super) fn check_length(&self, bytes: u64) -> Result<(), CommandError> {
        if bytes > LOGGED_BYTES_MAX && self.log.appender.is_some() {
            return Err(CommandError::err("the request is too long to be logged"));
        }
        Ok(())
    }

    /// Evicts keys if memory is above its limit, on behalf of a command with these flags.
    ///
    /// # Errors
    /// If that was not enough for a command that needs memory.
    pub fn make_room(&mut self, flags: Flags) -> Result<(), CommandError> {
        if self.settings.maxmemory == 0 || self.replay {
            return Ok(());
        }
        match evict::make_room(self, self.settings.eviction_budget()) {
            Room::None if flags.has(Flags::DENYOOM) => Err(CommandError::OutOfMemory),
            _ => Ok(()),
        }
    }

    /// Whether memory is above its limit.
    pub fn is_short_of_memory(&self) -> bool {
        self.settings.maxmemory != 0 && !self.replay && evict::is_over(self)
    }

    /// Evicts keys for at most `budget`; whether there is more to do.
    pub(super) fn evict_some(&mut self, budget: Duration) -> bool {
        evict::make_room(self, Some(budget)) == Room::Soon
    }

    /// Runs a command under `locks` and appends what it changed.
    fn run_command(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        db: DbIndex,
        locks: &mut Locks<'_>,
        waiting: Waiting<'_>,
        reply: &mut Reply,
    ) -> Ran {
        self.effects.clear();
        let mut ran = self.run_unlogged(command, request, db, locks, waiting, reply);
        let lsn = if ran.as_requested && self.effects.count() == 0 {
            self.log.append_request(db, &request)
        } else {
            if ran.as_requested {
                self.effects.push(db, request.args);
            }
            self.log.append_effects(self.effects)
        };
        ran.lsn = ran.lsn.max(settle(locks, lsn));
        ran
    }

    /// Runs a command under `locks`; leaves what is to be logged in `self.effects` and [`Ran::as_requested`].
    pub(super) fn run_unlogged(
        &mut self,
        command: &'static Command,
        request: Request<'_>,
        db: DbIndex,
        locks: &mut Locks<'_>,
        waiting: Waiting<'_>,
        reply: &mut Reply,
    ) -> Ran {
        let start = reply.bytes().len();
        let mut ctx = Ctx {
            args: request.args,
            spec: &command.spec,
            reply,
            dirty: 0,
            data: Data::new(
                self.shared,
                &self.settings,
                locks,
                self.effects,
                request.hint,
                db,
                self.now,
                self.replay,
            ),
            blocked: None,
            may_block: waiting != Waiting::Forbidden,
            woken_by: match waiting {
                Waiting::WokenBy(key) => Some(key),
                _ => None,
            },
        };
        if let Err(error) = (command.run)(&mut ctx) {
            ctx.reply.truncate(start);
            ctx.reply.error(error);
        }
        let Ctx {
            dirty,
            blocked,
            data,
            ..
        } = ctx;
        if dirty > 0 {
            self.shared.stats.dirty.add(dirty);
        }
        Ran {
            lsn: data.walked_lsn,
            as_requested: dirty > 0 && !data.explicit_effects,
            wish: blocked,
            ready: data.ready,
            whole: data.whole,
            due: data.due,
        }
    }
}

/// What came of one run of a command.
#[derive(Default)]
pub(super) struct Ran {
    /// What a reply depends on.
    pub lsn: Lsn,
    /// The request itself is to be logged after the effects.
    pub as_requested: bool,
    pub wish: Option<BlockRequest>,
    pub ready: Vec<(DbIndex, Vec<u8>)>,
    pub whole: Option<WholeKeyspace>,
    /// Keys that a walk found due.
    pub due: Vec<Vec<u8>>,
}

impl LogAccess {
    /// Whether whoever may wait should do so before it appends.
    pub(super) fn is_under_pressure(&self) -> bool {
        let appender = self.appender.as_ref();
        appender.is_some_and(Appender::is_under_pressure)
    }

    /// Appends a request as its own effect; the LSN after it, if there is a log.
    fn append_request(&mut self, db: DbIndex, request: &Request<'_>) -> Option<Lsn> {
        let appender = self.appender.as_mut()?;
        Some(match request.raw {
            Some(raw) => appender.append(db, &[raw]),
            None => {
                let mut encoded = Vec::new();
                encode(&mut encoded, request.args);
                appender.append(db, &[&encoded])
            }
        })
    }

    /// Appends effects as one record, in MULTI/EXEC if there are several.
    pub(super) fn append_effects(&mut self, effects: &Effects) -> Option<Lsn> {
        const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
        const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
        let appender = self.appender.as_mut()?;
        let (first_db, last_db) = effects.databases();
        match effects.count() {
            0 => None,
            _ if effects.bytes().len() as u64 > LOGGED_BYTES_MAX => self.append_one_by_one(effects),
            1 => Some(appender.append(first_db, &[effects.bytes()])),
            _ if first_db == last_db => {
                Some(appender.append(first_db, &[MULTI, effects.bytes(), EXEC]))
            }
            _ => {
                // The log's selected database after the record must be the one it was appended under.
                let mut back = Vec::new();
                encode(
                    &mut back,
                    &[b"SELECT", itoa::Buffer::new().format(first_db).as_bytes()],
                );
                Some(appender.append(first_db, &[MULTI, effects.bytes(), &back, EXEC]))
            }
        }
    }

    /// Appends effects that make too long a record together. After a crash the first of them may be there without the
    /// rest.
    pub(super) fn append_one_by_one(&mut self, effects: &Effects) -> Option<Lsn> {
        let appender = self.appender.as_mut()?;
        let (mut db, _) = effects.databases();
        let mut rest = effects.bytes();
        let mut lsn = None;
        loop {
            let before = rest;
            let Some(args) = decode(&mut rest) else {
                return lsn;
            };
            match args.as_slice() {
                [b"SELECT", number] => {
                    let number = integer::parse_i64(number);
                    db = number.map_or(db, |number| number as DbIndex);
                }
                _ => lsn = Some(appender.append(db, &[&before[..before.len() - rest.len()]])),
            }
        }
    }
}

/// The most bytes of a request, or of a transaction's requests, that are logged as one record. Nothing near it is expected:
/// it keeps the log from being asked for what it cannot do.
pub(super) const LOGGED_BYTES_MAX: u64 = RECORD_BYTES_MAX - (1 << 20);

/// Notes a write at `lsn` in the locked slots, or learns from them what a read depends on.
pub(super) fn settle(locks: &mut Locks<'_>, lsn: Option<Lsn>) -> Lsn {
    match lsn {
        Some(lsn) => {
            locks.held().for_each(|slot| slot.set_last_lsn(lsn));
            lsn
        }
        None => locks
            .held()
            .map(|slot| slot.last_lsn())
            .max()
            .unwrap_or_default(),
    }
}

/// Notes a write at `lsn`, if it was logged, in one slot.
pub(super) fn settle_slot(slot: &mut SlotGuard<'_>, lsn: Option<Lsn>) {
    if let Some(lsn) = lsn {
        slot.set_last_lsn(lsn);
    }
}

/// Locks the slots of a command's keys; in a long turn they are marked first.
fn lock_keys<'g>(
    shared: &'g Shared,
    gate: &'g Gate,
    is_long: bool,
    db: DbIndex,
    command: &Command,
    request: &Request<'_>,
) -> Locks<'g> {
    if is_long {
        let mut ids = SmallVec::new();
        key_slots(shared, db, &command.spec, request.args, &mut ids);
        return lock_slots(shared, gate, is_long, ids);
    }
    let mut held = SmallVec::new();
    match (&command.spec.keys, request.args) {
        (KeySpec::None, _) => {}
        (
            KeySpec::Range {
                first: 1, last: 1, ..
            },
            [_, key, ..],
        ) => {
            let slot = match &request.hint {
                Some(hint) => hint.slot,
                None => shared.keyspace.key(key).slot,
            };
            held.push((lock_order(db, slot), gate.lock(db, slot)));
        }
        _ => {
            let mut ids = SmallVec::new();
            key_slots(shared, db, &command.spec, request.args, &mut ids);
            return lock_slots(shared, gate, is_long, ids);
        }
    }
    Locks::Few {
        gate,
        held,
        marks: None,
    }
}

/// The places in the lock order of the slots of a command's keys.
pub(super) fn key_slots(
    shared: &Shared,
    db: DbIndex,
    spec: &CommandSpec,
    args: &[&[u8]],
    ids: &mut SmallVec<[u32; 8]>,
) {
    for position in spec.keys.positions(args) {
        ids.push(lock_order(db, shared.keyspace.key(args[position]).slot));
    }
}

/// Locks slots in their order, each once; in a long turn they are marked first.
pub(super) fn lock_slots<'g>(
    shared: &'g Shared,
    gate: &'g Gate,
    is_long: bool,
    mut ids: SmallVec<[u32; 8]>,
) -> Locks<'g> {
    ids.sort_unstable();
    ids.dedup();
    let marks = is_long.then(|| {
        let slots = ids.iter().map(|id| slot_of(*id).1).collect();
        shared.keyspace.mark(slots)
    });
    let held: HeldSlots<'g> = ids
        .into_iter()
        .map(|id| {
            let (db, slot) = slot_of(id);
            (id, gate.lock(db, slot))
        })
        .collect();
    Locks::Few { gate, held, marks }
}

/// The slot at a place in the lock order.
pub(super) fn slot_of(id: u32) -> (DbIndex, u16) {
    ((id >> 14) as DbIndex, (id & 0x3fff) as u16)
}

/// Registers a command that has to wait. The caller holds the slots of its keys.
#[expect(clippy::too_many_arguments, reason = "the parts of a waiter")]
fn register(
    shared: &Shared,
    locks: &mut Locks<'_>,
    command: &'static Command,
    request: &Request<'_>,
    db: DbIndex,
    resp3: bool,
    wish: BlockRequest,
    deliver: &Arc<dyn Deliver>,
) -> Blocked {
    locks.held().for_each(|slot| slot.set_has_waiters(true));
    let waiter = Waiter {
        args: request.args.iter().map(|arg| arg.to_vec()).collect(),
        command,
        db,
        resp3,
        keys: wish.keys,
        on_timeout: wish.on_timeout,
        deliver: deliver.clone(),
    };
    Blocked {
        id: shared.registry.wait(waiter),
        timeout_ms: wish.timeout_ms,
    }
}

impl Turn<'_> {
    /// Serves the clients that wait for keys which have just been written, and those whom that wakes in turn.
    pub(super) fn serve(&mut self, ready: Vec<(DbIndex, Vec<u8>)>) {
        let mut ready = VecDeque::from(ready);
        while let Some((db, key)) = ready.pop_front() {
            for id in self.shared.registry.waiting_for(db, &key) {
                if let Some(waiter) = self.shared.registry.claim(id) {
                    ready.extend(self.serve_one(id, waiter, &key));
                }
            }
        }
    }

    /// Runs a claimed waiter's command again, because `key` was changed; returns the keys that this made ready.
    fn serve_one(&mut self, id: WaiterId, waiter: Waiter, key: &[u8]) -> Vec<(DbIndex, Vec<u8>)> {
        let args: Vec<&[u8]> = waiter.args.iter().map(Vec::as_slice).collect();
        let request = Request::new(&args);
        let mut reply = Reply::with_protocol(waiter.resp3);
        let gate = self
            .gate
            .take()
            .expect("a turn holds the gate between commands");
        let mut locks = lock_keys(
            self.shared,
            &gate,
            self.is_long(),
            waiter.db,
            waiter.command,
            &request,
        );
        let ran = self.run_command(
            waiter.command,
            request,
            waiter.db,
            &mut locks,
            Waiting::WokenBy(key),
            &mut reply,
        );
        let timed_out = if ran.wish.is_some() {
            locks.held().for_each(|slot| slot.set_has_waiters(true));
            self.shared.registry.unclaim(id, waiter)
        } else {
            self.shared.registry.served(id, &waiter);
            waiter.deliver.deliver(reply.take(), ran.lsn);
            None
        };
        drop(locks);
        self.gate = Some(gate);
        if let Some(waiter) = timed_out {
            waiter.time_out();
        }
        ran.ready
    }
}

/// Empties or exchanges databases: marks the watched keys among theirs, and returns the awaited keys of databases
/// that have new contents.
pub(super) fn change_whole_keyspace(
    shared: &Shared,
    gate: &mut ExclusiveGate<'_>,
    change: WholeKeyspace,
    lsn: Lsn,
    now: UnixMillis,
) -> Vec<(DbIndex, Vec<u8>)> {
    let affected = databases_of(gate, change);
    let presence = |gate: &Gate, db: DbIndex, name: &[u8]| {
        let key = shared.keyspace.key(name);
        match gate.lock(db, key.slot).get(&key) {
            None => Presence::Absent,
            Some(record) if is_due(record, now) => Presence::Due,
            Some(_) => Presence::Live,
        }
    };
    if matches!(change, WholeKeyspace::FlushAll) {
        shared.persistence.cancel_for_flush(shared.log().is_some());
    }
    let mut watched = Vec::new();
    for &db in &affected {
        for name in shared.registry.watched_keys(db) {
            watched.push((db, presence(gate, db, &name), name));
        }
    }
    if let WholeKeyspace::Swap(a, b) = change {
        gate.swap_db(a, b);
    } else {
        for &db in &affected {
            shared.discard_database(gate.take_db(db));
        }
    }
    note_whole_keyspace(gate, change, lsn);
    for (db, before, name) in watched {
        let after = presence(gate, db, &name);
        shared.registry.replaced(db, &name, before, after);
    }
    match change {
        WholeKeyspace::Swap(..) => affected
            .iter()
            .flat_map(|&db| {
                shared
                    .registry
                    .awaited_keys(db)
                    .into_iter()
                    .map(move |key| (db, key.into_vec()))
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Notes in the changed databases where the change stands in the log.
pub(super) fn note_whole_keyspace(gate: &mut ExclusiveGate<'_>, change: WholeKeyspace, lsn: Lsn) {
    for db in databases_of(gate, change) {
        gate.set_db_lsn(db, lsn);
    }
}

fn databases_of(gate: &Gate, change: WholeKeyspace) -> Vec<DbIndex> {
    match change {
        WholeKeyspace::Flush(db) => vec![db],
        WholeKeyspace::FlushAll => (0..gate.databases()).collect(),
        WholeKeyspace::Swap(a, b) => vec![a, b],
    }
}
