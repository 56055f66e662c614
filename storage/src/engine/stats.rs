//! Counters that INFO shows.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that many threads add to. Padded, so that neighbours do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Back to zero.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Takes `n` away, which was added before.
    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets the count.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
}

/// What the engine counts.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names are those of INFO's fields")]
pub struct Stats {
    pub keyspace_hits: Counter,
    pub keyspace_misses: Counter,
    pub expired_keys: Counter,
    pub evicted_keys: Counter,
    pub lazyfreed_objects: Counter,
    pub lazyfree_pending_objects: Counter,
    /// Changes since the last successful save.
    pub dirty: Counter,
    pub expired_stale_perc_millis: Counter,
    pub expired_time_cap_reached_count: Counter,
}
