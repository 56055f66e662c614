//! How much memory the process uses.
//!
//! [`used`] is an exact count of what has been allocated ([`crate::allocator`]). What the allocator makes of that
//! (pages, caches) and what the operating system sees is looked up only when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use tikv_jemalloc_ctl::{epoch, raw, stats, stats_print};

use crate::allocator;

/// Memory of clients that are being disconnected because of it: it is on its way back.
static LEAVING: AtomicU64 = AtomicU64::new(0);

/// Bytes allocated.
pub fn used() -> u64 {
    allocator::allocated()
}

/// Bytes allocated, without those that will be free without anybody's doing.
pub fn used_to_stay() -> u64 {
    used().saturating_sub(LEAVING.load(Ordering::Relaxed))
}

/// Notes that a client which takes so many bytes is being disconnected. They are taken back with
/// [`client_has_left`].
pub fn client_is_leaving(bytes: u64) {
    LEAVING.fetch_add(bytes, Ordering::Relaxed);
}

/// Notes that the client is gone, and its memory with it.
pub fn client_has_left(bytes: u64) {
    LEAVING.fetch_sub(bytes, Ordering::Relaxed);
}

/// The most bytes that were ever allocated at a time.
pub fn peak() -> u64 {
    allocator::peak()
}

/// Begins to look for the peak anew.
pub fn reset_peak() {
    allocator::reset_peak();
}

/// What the allocator says of its memory, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllocatorBytes {
    /// Given out, those in the caches of threads included.
    pub allocated: u64,
    /// In pages that hold something given out.
    pub active: u64,
    /// In pages that the operating system provides.
    pub resident: u64,
}

/// The allocator's numbers.
pub fn allocator() -> AllocatorBytes {
    // The numbers are those of the last time that somebody asked for new ones.
    let refreshed = epoch::advance().is_ok();
    AllocatorBytes {
        allocated: stats::allocated::read()
            .ok()
            .filter(|_| refreshed)
            .map_or_else(used, |bytes| bytes as u64),
        active: stats::active::read().map_or(0, |bytes| bytes as u64),
        resident: stats::resident::read().map_or(0, |bytes| bytes as u64),
    }
}

/// The allocator's report, as text.
pub fn allocator_report() -> Vec<u8> {
    let mut report = Vec::new();
    match stats_print::stats_print(&mut report, stats_print::Options::default()) {
        Ok(()) => report,
        Err(error) => format!("The allocator has no report: {error}").into_bytes(),
    }
}

/// Bytes of the process that are in memory, as the operating system counts them.
pub fn resident() -> u64 {
    kib_line("/proc/self/status", "VmRSS:")
}

/// Bytes of memory that the machine has.
pub fn total() -> u64 {
    kib_line("/proc/meminfo", "MemTotal:")
}

/// A number of KiB in one of the kernel's tables, in bytes; 0 if it is not there.
fn kib_line(path: &str, name: &str) -> u64 {
    let table = std::fs::read_to_string(path).unwrap_or_default();
    let line = table.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The allocator and its version.
pub fn allocator_name() -> String {
    let version = tikv_jemalloc_ctl::version::read().unwrap_or("unknown");
    let version = version.split('-').next().unwrap_or(version);
    format!("tikv-jemalloc-{version}")
}

/// Whether pages that hold nothing are given back to the operating system by a thread of the allocator's own. Otherwise
/// that is done in small portions by whoever allocates or frees: after a large value was dropped some inserts then took
/// several milliseconds.
///
/// # Errors
/// The allocator's.
pub fn give_back_in_background(on: bool) -> Result<(), String> {
    tikv_jemalloc_ctl::background_thread::write(on).map_err(|error| error.to_string())
}

/// Gives pages that hold nothing back to the operating system, at once.
#[allow(unsafe_code, reason = "the allocator's switches have no typed names")]
pub fn purge() -> Result<(), String> {
    let arenas = tikv_jemalloc_ctl::arenas::narenas::read().map_err(|error| error.to_string())?;
    for arena in 0..arenas {
        for kind in ["dirty", "muzzy"] {
            let name = format!("arena.{arena}.{kind}_decay_ms\0");
            // SAFETY: the name ends in a zero byte, and these values are of type ssize_t. An arena that does not exist
            // makes for an error.
            let Ok(decay_ms) = (unsafe { raw::read::<isize>(name.as_bytes()) }) else {
                continue;
            };
            // A delay of zero purges what is there; the usual delay holds for what comes.
            for ms in [0, decay_ms] {
                // SAFETY: as above.
                unsafe { raw::write(name.as_bytes(), ms) }.map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocators_thread_comes_and_goes() {
        for on in [true, false, true] {
            give_back_in_background(on).unwrap();
            assert_eq!(tikv_jemalloc_ctl::background_thread::read(), Ok(on));
        }
    }
}
