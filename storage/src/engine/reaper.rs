//! Drops large values on a thread of its own, so that no command pays for freeing a million elements.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::keyspace::{DetachedDb, Record, ValueRef};

enum Garbage {
    Record(Record),
    Database(DetachedDb),
}

/// The thread that drops large values. It ends when the engine does.
pub(super) struct Reaper {
    queue: Sender<Garbage>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Progress {
    /// Values, and bytes of those that came alone.
    pending: AtomicU64,
    pending_bytes: AtomicU64,
    pending_databases: AtomicU64,
    freed: AtomicU64,
}

impl Reaper {
    pub fn start() -> std::io::Result<Reaper> {
        let (queue, work) = mpsc::channel::<Garbage>();
        let progress = Arc::new(Progress::default());
        let done = progress.clone();
        thread::Builder::new()
            .name("hardtack-reaper".into())
            .spawn(move || {
                let _guard = crate::AbortOnPanic;
                for garbage in work {
                    let objects = garbage.objects();
                    let (bytes, databases) = (garbage.bytes(), garbage.databases());
                    drop(garbage);
                    done.pending.fetch_sub(objects, Ordering::Relaxed);
                    done.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    done.pending_databases
                        .fetch_sub(databases, Ordering::Relaxed);
                    done.freed.fetch_add(objects, Ordering::Relaxed);
                }
            })?;
        Ok(Reaper { queue, progress })
    }

    /// Drops a record: here if it is small, else on the reaper's thread.
    pub fn discard(&self, record: Record) {
        if let ValueRef::Object(object) = record.value()
            && object.is_large()
        {
            self.send(Garbage::Record(record));
        }
    }

    /// Drops a database.
    pub fn discard_database(&self, database: DetachedDb) {
        if !database.is_empty() {
            self.send(Garbage::Database(database));
        }
    }

    /// Values that wait to be dropped, and values that were.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.progress.pending.load(Ordering::Relaxed),
            self.progress.freed.load(Ordering::Relaxed),
        )
    }

    /// Bytes, roughly, of single values that wait to be dropped.
    pub fn pending_bytes(&self) -> u64 {
        self.progress.pending_bytes.load(Ordering::Relaxed)
    }

    /// Whether anything waits to be dropped.
    pub fn is_behind(&self) -> bool {
        self.progress.pending.load(Ordering::Relaxed) > 0
    }

    /// Whether a database waits to be dropped, or is being.
    pub fn drops_database(&self) -> bool {
        self.progress.pending_databases.load(Ordering::Relaxed) > 0
    }

    /// Forgets how many values were dropped.
    pub fn reset(&self) {
        self.progress.freed.store(0, Ordering::Relaxed);
    }

    fn send(&self, garbage: Garbage) {
        self.progress
            .pending
            .fetch_add(garbage.objects(), Ordering::Relaxed);
        self.progress
            .pending_bytes
            .fetch_add(garbage.bytes(), Ordering::Relaxed);
        self.progress
            .pending_databases
            .fetch_add(garbage.databases(), Ordering::Relaxed);
        // If the thread is gone the garbage comes back and is dropped here.
        let _ = self.queue.send(garbage);
    }
}

impl Garbage {
    fn objects(&self) -> u64 {
        match self {
            Garbage::Record(_) => 1,
            Garbage::Database(database) => database.len() as u64,
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Garbage::Record(record) => record.memory_bytes() as u64,
            Garbage::Database(_) => 0,
        }
    }

    fn databases(&self) -> u64 {
        u64::from(matches!(self, Garbage::Database(_)))
    }
}
