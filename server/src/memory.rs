//! How much memory the process uses, as the allocator counts it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tikv_jemalloc_ctl::{epoch, epoch_mib, stats};

/// The allocator's books; looking a name up takes longer than reading it.
struct Books {
    epoch: epoch_mib,
    allocated: stats::allocated_mib,
}

static BOOKS: LazyLock<Option<Books>> = LazyLock::new(|| {
    Some(Books {
        epoch: epoch::mib().ok()?,
        allocated: stats::allocated::mib().ok()?,
    })
});

static PEAK: AtomicU64 = AtomicU64::new(0);

/// Bytes allocated.
pub fn used() -> u64 {
    let used = BOOKS
        .as_ref()
        .and_then(|books| {
            books.epoch.advance().ok()?;
            books.allocated.read().ok()
        })
        .unwrap_or(0) as u64;
    PEAK.fetch_max(used, Ordering::Relaxed);
    used
}

/// The most bytes that [`used`] has seen.
pub fn peak() -> u64 {
    PEAK.load(Ordering::Relaxed)
}
