//! The engine: the keyspace, the log and the snapshots as one store.
//!
//! Elsewhere: what commands do (`command`), the table (`keyspace`), the bytes (`log`, `rdb`).

mod evict;
mod execute;
mod expire;
mod reaper;
mod registry;
mod session;
mod settings;
mod stats;
mod transaction;

use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;

pub use execute::{Blocked, Outcome, Request, Turn, Worker};
pub use expire::ExpireCursor;
pub use registry::{Deliver, WaiterId};
pub use session::{Queued, Session, Transaction};
pub use settings::{EvictionPolicy, KeyEvents, Settings};
pub use stats::{Counter, Stats};
pub use transaction::Host;

use crate::command::{self, CommandError, Reply};
use crate::keyspace::{DetachedDb, Displaced, Keyspace};
use crate::log::Log;
use crate::types::{DbIndex, Lsn};
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
    reaper: Reaper,
    /// Exchanged only under the exclusive gate.
    log: ArcSwapOption<Log>,
    options: Options,
}

/// What is decided when an engine is opened.
pub struct Options {
    /// Number of databases, at most 256.
    pub databases: u16,
    /// Bytes of memory in use, for `maxmemory`.
    pub memory_used: fn() -> u64,
}

impl Shared {
    /// Drops what a write displaced; large values on another thread.
    pub(crate) fn discard(&self, displaced: Displaced) {
        if let Some(record) = displaced.into_record() {
            self.reaper.discard(record);
        }
    }

    /// The log, and a number that changes when another takes its place.
    fn log_with_generation(&self) -> (u64, Option<Arc<Log>>) {
        let log = self.log.load_full();
        (
            log.as_ref()
                .map_or(0, |log| Arc::as_ptr(log) as usize as u64),
            log,
        )
    }

    pub(crate) fn databases(&self) -> u16 {
        self.options.databases
    }

    fn discard_database(&self, database: DetachedDb) {
        self.reaper.discard_database(database);
    }
}

impl Engine {
    /// An engine that keeps nothing: for tests and tools.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn in_memory(options: Options) -> std::io::Result<Engine> {
        let shared = Shared {
            keyspace: Keyspace::new(options.databases),
            registry: Registry::default(),
            settings: ArcSwap::from_pointee(Settings::default()),
            stats: Stats::default(),
            reaper: Reaper::start()?,
            log: ArcSwapOption::empty(),
            options,
        };
        Ok(Engine {
            shared: Arc::new(shared),
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Number of databases.
    pub fn databases(&self) -> DbIndex {
        self.shared.databases()
    }

    /// Number of keys in a database.
    pub fn len(&self, db: DbIndex) -> usize {
        self.shared.keyspace.enter().len(db)
    }

    /// Whether a write may be accepted now.
    ///
    /// # Errors
    /// What to answer if not.
    pub fn may_write(&self) -> Result<(), CommandError> {
        Ok(())
    }

    /// Has `notify` called whenever the log's own threads have written or synced something.
    pub fn on_log_progress(&self, notify: Arc<dyn Fn() + Send + Sync>) {
        let _ = notify;
    }

    /// Sees to it that the log covers `needed`, as the policy asks; returns what it covers already. The rest is
    /// announced to those who asked by [`Engine::on_log_progress`]. Does not block.
    pub fn write_log(&self, needed: Lsn) -> Lsn {
        let _ = needed;
        Lsn::MAX
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

    /// Ends what a session holds on to: watches and its open transaction.
    pub fn end_session(&self, session: &mut Session) {
        session.transaction = None;
        session.forget_watch(&self.shared.registry);
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            databases: 16,
            memory_used: || 0,
        }
    }
}
