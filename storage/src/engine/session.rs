//! One client's standing with the engine: its database, its open transaction, the keys it watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::registry::{Broken, Registry};
use crate::command::{Command, Flags};
use crate::types::DbIndex;

/// One client of the engine.
#[derive(Debug, Default)]
pub struct Session {
    /// The selected database.
    pub db: DbIndex,
    /// The open transaction.
    pub transaction: Option<Transaction>,
    pub(super) watch: Option<Watch>,
}

/// Commands queued since MULTI.
#[derive(Debug, Default)]
pub struct Transaction {
    /// The commands, in order.
    pub queue: Vec<Queued>,
    /// Set when a command could not be queued: EXEC will refuse.
    pub aborted: bool,
    bytes: usize,
}

impl Transaction {
    /// Queues a command.
    pub fn push(&mut self, queued: Queued) {
        let arg_bytes = |arg: &Vec<u8>| size_of::<Vec<u8>>() + arg.capacity();
        self.bytes += size_of::<Queued>() + queued.args.iter().map(arg_bytes).sum::<usize>();
        self.queue.push(queued);
    }

    /// Bytes of memory that the queue takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one of its commands needs more than the slots of its keys.
    pub(super) fn takes_all_keys(&self) -> bool {
        self.queue
            .iter()
            .any(|queued| queued.takes_all_keys() || queued.has(Flags::WALKS))
    }
}

/// One queued command.
#[derive(Debug)]
pub struct Queued {
    /// Its arguments, name included.
    pub args: Vec<Vec<u8>>,
    /// The command on data, or `None` if the host (the server) runs it.
    pub command: Option<&'static Command>,
}

impl Queued {
    pub(super) fn has(&self, flag: Flags) -> bool {
        self.command
            .is_some_and(|command| command.spec.flags.has(flag))
    }

    pub(super) fn takes_all_keys(&self) -> bool {
        self.has(Flags::ALL_KEYS)
            && self.command.is_some_and(|command| {
                let args: Vec<&[u8]> = self.args.iter().map(Vec::as_slice).collect();
                command.spec.takes_all_keys(&args)
            })
    }
}

/// The keys that the next transaction depends on.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub keys: Vec<Watched>,
    pub broken: Broken,
}

/// A watched key.
#[derive(Debug)]
pub(super) struct Watched {
    pub db: DbIndex,
    pub name: Vec<u8>,
    /// Shared with the registry: see [`super::registry::KeyWatch`].
    pub was_due: Arc<AtomicBool>,
}

impl Session {
    /// A session on database 0.
    pub fn new() -> Session {
        Session::default()
    }

    /// Whether a watched key was changed.
    pub fn watch_broken(&self) -> bool {
        self.watch
            .as_ref()
            .is_some_and(|watch| watch.broken.load(Ordering::Relaxed))
    }

    /// Number of watched keys.
    pub fn watched(&self) -> usize {
        self.watch.as_ref().map_or(0, |watch| watch.keys.len())
    }

    pub(super) fn forget_watch(&mut self, registry: &Registry) {
        if let Some(watch) = self.watch.take() {
            registry.unwatch(
                watch
                    .keys
                    .iter()
                    .map(|watched| (watched.db, watched.name.as_slice())),
                &watch.broken,
            );
        }
    }
}
