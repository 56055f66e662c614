//! The engine: the keyspace, the log and the snapshots as one store.
//!
//! Elsewhere: what commands do (`command`), the table (`keyspace`), the bytes (`log`, `rdb`).

mod evict;
mod execute;
mod expire;
mod housekeeping;
mod load;
mod load_rdb;
mod persist;
mod place;
mod reaper;
mod registry;
mod reload;
mod restore;
#[cfg(test)]
mod restore_tests;
mod retry;
mod session;
mod settings;
#[cfg(test)]
mod snapshot_tests;
mod stats;
mod switch;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
mod watch;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use execute::{Blocked, Outcome, Request, Turn, Worker};
pub use expire::{ExpireCursor, ExpireProgress};
pub(crate) use load::LSN_FIELD;
pub use load::{LoadError, LoadReport, OnProgress};
pub use persist::{BeginError, SnapshotInfo, SnapshotKind, SnapshotMemoryInfo};
pub use registry::{Deliver, WaiterId};
pub use reload::{PresentKeys, ReloadError, ReloadOptions};
pub use restore::{Match, Point, RestoreError, Restored, restore};
pub use session::{Queued, Session, Transaction};
pub use settings::{EvictionPolicy, KeyEvents, Settings};
pub use stats::{Counter, Stats};
pub use switch::MoveError;
pub use transaction::Host;

use crate::command::{self, CommandError, Reply};
use crate::disk::{Disk, DiskLock, RealDisk};
use crate::keyspace::{DetachedDb, Displaced, Keyspace};
use crate::log::{Admission, Log, LogOptions, LogStatus, Notifier, SyncPolicy};
use crate::types::{DbIndex, Lsn};
use persist::Persistence;
use reaper::Reaper;
use registry::Registry;

/// A store: clones share it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all threads of an engine share.
pub struct Shared {
    pub(crate) keyspace: Keyspace,
    pub(crate) registry: Registry,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) stats: Stats,
    persistence: Persistence,
    disk_state: watch::DiskState,
    reaper: Reaper,
    /// The log in force.
    log: ArcSwapOption<Log>,
    /// A log that commands append to already, and nobody depends on yet. Set only under the exclusive gate.
    beginning: ArcSwapOption<Log>,
    /// Whether the log is to be on.
    wants_log: AtomicBool,
    /// Where the last log ended: the next one goes on there, since slots remember positions.
    log_end: AtomicU64,
    /// Who hears when the log's own threads have made progress; registered with every log.
    notifiers: Mutex<Vec<Notifier>>,
    /// Keeps other processes out of the directory while no log does.
    dir_lock: Mutex<Option<Box<dyn DiskLock>>>,
    /// Held while the log is begun or put away, or the directory changed.
    switching: Mutex<()>,
    place: ArcSwap<Place>,
    /// As the engine was opened; what `place` has is looked up there.
    options: Options,
}

/// Where and how files are kept from now on.
#[derive(Clone)]
struct Place {
    dir: PathBuf,
    log: LogOptions,
}

/// What is decided when an engine is opened.
#[derive(Clone)]
pub struct Options {
    /// The data directory; it must exist.
    pub dir: PathBuf,
    /// The disk that it is on.
    pub disk: Arc<dyn Disk>,
    /// Number of databases, at most 256.
    pub databases: u16,
    /// Whether writes are logged. Without the log only snapshots are kept.
    pub appendonly: bool,
    /// How the log is kept.
    pub log: LogOptions,
    /// Bytes of memory in use, for `maxmemory`; those that will be free without anybody's doing may be left out.
    pub memory_used: fn() -> u64,
}

impl Options {
    /// The usual: 16 databases, a log that is synced every second.
    pub fn new(dir: impl Into<PathBuf>) -> Options {
        Options {
            dir: dir.into(),
            disk: Arc::new(RealDisk),
            databases: 16,
            appendonly: true,
            log: LogOptions::default(),
            memory_used: || 0,
        }
    }
}

/// Whether a write may be executed.
#[derive(Clone, Debug)]
pub enum MayWrite {
    /// It may.
    Now,
    /// Not yet.
    Later,
    /// It may not; this is the answer.
    Refused(CommandError),
}

impl Shared {
    /// Drops what a write displaced; large values on another thread.
    pub(crate) fn discard(&self, displaced: Displaced) {
        if let Some(record) = displaced.into_record() {
            self.reaper.discard(record);
        }
    }

    /// The log to append to.
    fn log_to_append_to(&self) -> Option<Arc<Log>> {
        // One that begins is put in force before it is taken from its first place.
        let beginning = self.beginning.load_full();
        self.log.load_full().or(beginning)
    }

    fn log(&self) -> Option<Arc<Log>> {
        self.log.load_full()
    }

    pub(crate) fn databases(&self) -> u16 {
        self.options.databases
    }

    /// The data directory.
    fn dir(&self) -> PathBuf {
        self.place.load().dir.clone()
    }

    /// How a log is kept that is opened now.
    fn log_options(&self) -> LogOptions {
        self.place.load().log.clone()
    }

    fn discard_database(&self, database: DetachedDb) {
        self.reaper.discard_database(database);
    }
}

/// Why nothing is written while there is no log, and no RDB file either.
const SAVE_FAILED: &str = "The append-only log is off and the last RDB snapshot failed, so nothing keeps what is written. \
    Commands that may modify the data set are refused (stop-writes-on-bgsave-error); the server's log says why it failed.";

impl Engine {
    /// Opens a data directory: loads what it holds, and keeps it from then on.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn open(options: Options, settings: Settings) -> Result<Engine, LoadError> {
        let dir = options.dir.clone();
        let engine =
            Engine::new(options, settings).map_err(|error| LoadError::Io { path: dir, error })?;
        engine.load(&mut |_, _| {})?;
        Ok(engine)
    }

    /// An engine whose data directory has not been loaded yet: [`Engine::load`] does that. Until then it is an empty
    /// store in memory.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn new(options: Options, settings: Settings) -> std::io::Result<Engine> {
        let shared = Shared {
            keyspace: Keyspace::new(options.databases),
            registry: Registry::default(),
            settings: ArcSwap::from_pointee(settings),
            stats: Stats::default(),
            persistence: Persistence::new(),
            disk_state: watch::DiskState::new(),
            reaper: Reaper::start()?,
            log: ArcSwapOption::empty(),
            beginning: ArcSwapOption::empty(),
            wants_log: AtomicBool::new(false),
            log_end: AtomicU64::new(0),
            notifiers: Mutex::default(),
            dir_lock: Mutex::default(),
            switching: Mutex::default(),
            place: ArcSwap::from_pointee(Place {
                dir: options.dir.clone(),
                log: options.log.clone(),
            }),
            options,
        };
        Ok(Engine {
            shared: Arc::new(shared),
        })
    }

    /// An engine that keeps nothing: for tests and tools.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn in_memory() -> std::io::Result<Engine> {
        let options = Options {
            appendonly: false,
            ..Options::new("")
        };
        Engine::new(options, Settings::default())
    }

    /// Starts the background work: expiry, automatic snapshots, an eye on the disk.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start_housekeeping(&self) -> std::io::Result<()> {
        watch::start(self)?;
        housekeeping::start(self)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Puts a log in force, or none.
    fn install_log(&self, log: Option<Log>) {
        let shared = self.shared();
        if let Some(log) = &log {
            for notifier in shared.notifiers.lock().iter() {
                log.register_notifier(notifier.clone());
            }
        }
        shared.wants_log.store(log.is_some(), Ordering::SeqCst);
        shared.log.store(log.map(Arc::new));
    }

    /// Holds all commands back for good, closes the log, and calls `finally`, which ends the process.
    ///
    /// A command that takes longer than `patience` is given up: it has not been answered, and will not be. While it is
    /// waited for the end may be called off: then this returns, and everything goes on.
    pub fn close(
        &self,
        patience: Duration,
        is_called_off: &dyn Fn() -> bool,
        finally: impl FnOnce(),
    ) {
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let shared = self.shared();
        let deadline = Instant::now() + patience;
        let gate = loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let gate = shared.keyspace.try_enter_exclusive(rest.min(LOOK_AGAIN));
            if is_called_off() {
                return;
            }
            if gate.is_some() || rest.is_zero() {
                break gate;
            }
        };
        shared.wants_log.store(false, Ordering::SeqCst);
        self.cancel_snapshot();
        match (&gate, shared.log()) {
            (_, None) => {}
            (Some(_), Some(log)) => {
                shared.log.store(None);
                close_log(log);
            }
            // Commands go on. The closed log stays in its place: it drops what they append, and covers no reply.
            (None, Some(log)) => {
                tracing::warn!("A command that takes long is given up");
                if let Err(error) = log.shut_down() {
                    tracing::warn!("The append-only log could not be closed cleanly: {error}");
                }
            }
        }
        finally();
        drop(gate);
    }

    /// Commands in long turns.
    pub fn long_commands(&self) -> usize {
        self.shared.keyspace.long_commands()
    }

    /// The log, if it is on.
    pub fn log(&self) -> Option<Arc<Log>> {
        self.shared.log()
    }

    /// What was decided when the engine was opened.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Number of databases.
    pub fn databases(&self) -> DbIndex {
        self.shared.databases()
    }

    /// Number of keys in a database.
    pub fn len(&self, db: DbIndex) -> usize {
        self.shared.keyspace.enter().len(db)
    }

    /// Whether a write may be executed now.
    ///
    /// Later, where the bound on unsynced writes is reached, or the log's memory is filling up because its disk does not
    /// keep up: nobody else is to be held up by an append that has to wait for room. Who is told so asks again when the
    /// log has made progress, or a little later.
    pub fn may_write(&self) -> MayWrite {
        let log = self.shared.log.load();
        let Some(log) = log.as_ref() else {
            if self.shared.persistence.save_failed.load(Ordering::Relaxed) {
                let settings = self.shared.settings.load();
                if settings.stop_writes_on_save_error && !settings.save_rules.is_empty() {
                    return MayWrite::Refused(CommandError::Other("MISCONF", SAVE_FAILED.into()));
                }
            }
            let beginning = self.shared.beginning.load();
            return match beginning.as_ref().filter(|log| log.pressure()) {
                Some(log) => {
                    log.kick();
                    MayWrite::Later
                }
                None => MayWrite::Now,
            };
        };
        match log.admission() {
            Admission::Refused(refusal) => MayWrite::Refused(CommandError::Other(
                "MISCONF",
                format!("Errors writing to the AOF file: {refusal}").into(),
            )),
            Admission::WaitForSync => MayWrite::Later,
            Admission::Ok if log.pressure() => {
                log.kick();
                MayWrite::Later
            }
            Admission::Ok => MayWrite::Now,
        }
    }

    /// Has `notify` called whenever the log's own threads have written or synced something.
    pub fn on_log_progress(&self, notify: Notifier) {
        self.shared.notifiers.lock().push(notify.clone());
        if let Some(log) = self.shared.log() {
            log.register_notifier(notify);
        }
    }

    /// Sees to it that the log covers `needed`, as the policy asks; returns what it covers already. The rest is
    /// announced to those who asked by [`Engine::on_log_progress`]. Does not wait for a sync, unless the caller has
    /// nothing else to do: then it may sync itself.
    pub fn write_log(&self, needed: Lsn, nothing_else_to_do: bool) -> Lsn {
        let log = self.shared.log.load();
        let Some(log) = log.as_ref() else {
            if let Some(log) = self.shared.beginning.load().as_ref()
                && log.pressure()
            {
                log.kick();
            }
            return Lsn::MAX;
        };
        if log.policy() == SyncPolicy::Always {
            if log.durable() < needed {
                if nothing_else_to_do {
                    // Whatever comes of it shows in the watermark.
                    let _ = log.sync_here();
                } else {
                    log.kick();
                }
            }
            return log.durable();
        }
        if log.written() < needed {
            // Whatever comes of it shows in the watermark.
            let _ = log.write_now();
        }
        match log.admission() {
            // The bound on unsynced writes is reached: replies wait until a sync has brought it down.
            Admission::WaitForSync => log.durable(),
            _ => log.written(),
        }
    }

    /// Whether the log has failed and is not healed yet.
    pub fn log_has_failed(&self) -> bool {
        let log = self.shared.log.load();
        log.as_ref()
            .is_some_and(|log| log.status() != LogStatus::Ok)
    }

    /// Writes what is in the log's memory, unless another thread is at it.
    fn write_log_now(&self) {
        if let Some(log) = self.shared.log() {
            // Whatever comes of it shows in the log's status.
            let _ = log.write_now();
        }
    }

    /// A new means of running commands, for one thread.
    pub fn worker(&self) -> Worker {
        Worker::new(self.clone())
    }

    /// Runs one command for `session`; the reply is RESP2. For threads that run many, [`Engine::worker`] is cheaper.
    pub fn execute(&self, session: &mut Session, args: &[&[u8]]) -> (Vec<u8>, Outcome) {
        let mut reply = Reply::new();
        let outcome = match args.first().map(|name| command::find(name)) {
            Some(Some(command)) if command.spec.arity_fits(args.len()) => {
                self.worker()
                    .turn()
                    .run(session, command, Request::new(args), None, &mut reply)
            }
            Some(Some(command)) => {
                reply.error(CommandError::Arity(command.spec.name.into()));
                Outcome::default()
            }
            _ => {
                reply.error("ERR unknown command");
                Outcome::default()
            }
        };
        (reply.take(), outcome)
    }

    /// The present settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings.load_full()
    }

    /// Replaces the settings; batches that have begun go on with the old ones.
    pub fn set_settings(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
    }

    /// What has been counted.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// Bytes of memory that directories of slots and the log's ring take, whatever the data; `maxmemory` does not
    /// count them.
    pub fn fixed_bytes(&self) -> FixedBytes {
        self.shared().fixed_bytes()
    }

    /// Values that wait to be dropped in the background, and how many have been.
    pub fn lazyfree_counts(&self) -> (u64, u64) {
        self.shared.reaper.counts()
    }

    /// Forgets how many values have been dropped in the background.
    pub fn reset_lazyfree_count(&self) {
        self.shared.reaper.reset();
    }

    /// Number of blocked commands.
    pub fn blocked_commands(&self) -> usize {
        self.shared.registry.blocked()
    }

    /// Ends the wait of a blocked command, whose time is up or whose client is gone. If it still waits, its timeout
    /// reply is delivered; otherwise it is being served, and that reply is on its way.
    pub fn stop_waiting(&self, id: WaiterId) {
        if let Some(waiter) = self.shared.registry.cancel(id) {
            waiter.time_out();
        }
    }

    /// Ends the wait of a blocked command from outside: with `error`, or as if its time were up. False if it does not
    /// wait any more.
    pub fn unblock(&self, id: WaiterId, error: Option<&str>) -> bool {
        let Some(waiter) = self.shared.registry.cancel(id) else {
            return false;
        };
        match error {
            None => waiter.time_out(),
            Some(error) => {
                let mut reply = Reply::with_protocol(waiter.resp3);
                reply.error(error);
                waiter.deliver.deliver(reply.take(), Lsn::ZERO);
            }
        }
        true
    }

    /// Ends what a session holds on to: watches and its open transaction.
    pub fn end_session(&self, session: &mut Session) {
        session.transaction = None;
        session.forget_watch(&self.shared.registry);
    }
}

/// Bytes of memory that do not depend on the data.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedBytes {
    /// The directories of slots, of each database that was ever used.
    pub directories: u64,
    /// The log's ring.
    pub log_ring: u64,
}

impl FixedBytes {
    /// All of them.
    pub fn total(self) -> u64 {
        self.directories + self.log_ring
    }
}

fn close_log(log: Arc<Log>) {
    // Others hold it for an instant at most; the last one to drop it closes it too.
    if let Some(log) = Arc::into_inner(log)
        && let Err(error) = log.close()
    {
        tracing::warn!("The append-only log could not be closed cleanly: {error}");
    }
}
