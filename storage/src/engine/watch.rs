//! An eye on the disk: how much is free, and whether the log's files are where they were. One thread per engine, because a
//! disk that hangs must not hold up anything else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::{Engine, Shared};

/// Time between two looks.
const ROUND: Duration = Duration::from_secs(1);

/// What the last look at the disk has found.
pub(super) struct DiskState {
    /// `u64::MAX`: nothing.
    free: AtomicU64,
}

impl DiskState {
    pub fn new() -> DiskState {
        DiskState {
            free: AtomicU64::new(u64::MAX),
        }
    }

    pub fn free(&self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed)).filter(|free| *free != u64::MAX)
    }
}

/// Starts the thread. It ends when the engine is dropped.
pub(super) fn start(engine: &Engine) -> std::io::Result<()> {
    let shared = Arc::downgrade(&engine.shared);
    thread::Builder::new()
        .name("hardtack-disk".into())
        .spawn(move || watch(&shared))
        .map(drop)
}

fn watch(shared: &Weak<Shared>) {
    let _guard = crate::AbortOnPanic;
    loop {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.look_at_disk();
        drop(shared);
        thread::sleep(ROUND);
    }
}

impl Shared {
    pub(super) fn look_at_disk(&self) {
        let free = self.options.disk.free_bytes(&self.dir());
        let free = free.unwrap_or(u64::MAX);
        self.disk_state.free.store(free, Ordering::Relaxed);
        if let Some(log) = self.log() {
            log.check_place();
        }
    }
}

impl Engine {
    /// Bytes that were free on the disk a second ago, where that is known.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        self.shared().disk_state.free()
    }
}
