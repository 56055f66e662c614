//! Hardtack measured: what the benchmarks share, and the comparison with redis-server.
//!
//! `cargo run --release -p hardtack-benches --bin compare` runs every [section](sections) against Hardtack and the
//! redis-server on PATH, in turn, and prints both with their ratio. The load generator shares the machine with the
//! servers, so throughput alone says little: the CPU time that a server spends per operation stands beside it.
//!
//! * [`peer`]: a server as a child process, and what /proc says about it;
//! * [`client`]: commands, replies and connections; [`load`]: load as fast as replies come; [`paced`]: load by the clock;
//! * [`sections`]: the questions, one module each;
//! * [`report`]: tables and plots.

pub mod client;
pub mod load;
pub mod paced;
pub mod peer;
mod poller;
pub mod report;
pub mod sections;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use hdrhistogram::Histogram;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets SIGINT and SIGTERM end the run in order: servers stopped, directories removed.
pub fn catch_interrupts() {
    extern "C" fn note(_signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// An error after SIGINT or SIGTERM; every loop that may take long asks.
///
/// # Errors
/// If a signal arrived.
pub fn check_interrupt() -> io::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        Err(io::Error::other("interrupted"))
    } else {
        Ok(())
    }
}

/// A histogram of microseconds up to an hour, to three digits. Its bounds are fixed: recording never allocates, and a
/// saturating record saturates at the hour.
fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).map_err(io::Error::other)
}
