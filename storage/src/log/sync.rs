//! When the log is synced, and the threads that do the log's background work.
//!
//! | thread | does |
//! |---|---|
//! | `hardtack-log` | writes what nobody else wrote (deferred writes, full ring), switches segments; under `always` it gathers, writes and syncs, unless a lone client's thread does ([`super::Log::sync_here`]) |
//! | `hardtack-sync` | under `everysec`: syncs at least once a second, or sooner when much is unsynced |
//! | `hardtack-prep` | fills the next segment, writes indexes, lets go of old files |
//!
//! Writing and syncing are apart because they overlap: the log thread writes (or waits in a write) while a sync runs.
//! Syncs of one file are serialised by `sync_lock`, and a failed one ends the log before the lock is given back: so no
//! second sync of the same file can report a success that the first one disproved.
//!
//! A background thread that panics ends the process: a log that nobody writes must not look alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Shared;
use super::retention::CHECK_INTERVAL;
use super::segment;
use super::watermark::Failure;
use crate::disk::DiskFile;
use crate::{AbortOnPanic, Lsn};

/// When bytes of the log are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before anything that depends on them is answered.
    Always,
    /// At least once a second.
    EverySec,
    /// When the operating system likes, and at every change of segment.
    No,
}

impl SyncPolicy {
    pub(super) fn from_u8(value: u8) -> SyncPolicy {
        match value {
            0 => SyncPolicy::Always,
            1 => SyncPolicy::EverySec,
            _ => SyncPolicy::No,
        }
    }
}

const EVERYSEC: Duration = Duration::from_secs(1);

/// Shortest time between two syncs that nobody asked for.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Under `everysec`, this much unsynced data is not left to wait: a short sync now spares a long one later.
pub(super) const UNSYNCED_BYTES_MAX: u64 = 32 << 20;

/// How soon a segment that could not be prepared (disk full) is tried again.
const PREPARE_RETRY: Duration = Duration::from_secs(5);

/// How often the log thread lets I/O threads finish their turn before it takes a group.
const GATHER_YIELDS: u32 = 4;

/// Wakes one thread, without a system call when it is awake.
pub(super) struct Signal {
    pending: AtomicBool,
    sleeping: AtomicBool,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Signal {
    pub(super) fn new() -> Signal {
        Signal {
            pending: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            lock: Mutex::new(()),
            condvar: Condvar::new(),
        }
    }

    /// What the caller did before this is seen by the thread when it wakes.
    pub(super) fn wake(&self) {
        // The sleeper stores `sleeping` before it looks at `pending`; here it is the other way round. In the one order
        // of all SeqCst operations one of the two sees the other, so no wake-up is lost.
        if !self.pending.swap(true, Ordering::SeqCst) && self.sleeping.load(Ordering::SeqCst) {
            let _guard = self.lock.lock();
            self.condvar.notify_one();
        }
    }

    /// Waits for a [`Signal::wake`] since the last return, or until `deadline`. True if woken.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        if self.pending.swap(false, Ordering::SeqCst) {
            return true;
        }
        let mut guard = self.lock.lock();
        self.sleeping.store(true, Ordering::SeqCst);
        let mut in_time = true;
        while in_time && !self.pending.load(Ordering::SeqCst) {
            match deadline {
                None => self.condvar.wait(&mut guard),
                Some(at) => in_time = !self.condvar.wait_until(&mut guard, at).timed_out(),
            }
        }
        // Awake before the call is taken: whoever sees neither must not believe that nothing is going on.
        self.sleeping.store(false, Ordering::SeqCst);
        self.pending.swap(false, Ordering::SeqCst)
    }

    /// Whether the thread waits and nobody has called it.
    pub(super) fn is_idle(&self) -> bool {
        !self.pending.load(Ordering::SeqCst) && self.sleeping.load(Ordering::SeqCst)
    }
}

/// What a sync has to cover, and how old the oldest of it is.
pub(super) struct SyncPoint {
    target: Mutex<Target>,
    /// Nanoseconds since `epoch`, plus 1; 0: nothing. Stored under `target`, read without.
    oldest: AtomicU64,
    /// The same, for what the running sync covers.
    oldest_in_sync: AtomicU64,
    running: AtomicBool,
    epoch: Instant,
}

struct Target {
    file: Arc<dyn DiskFile>,
    written: Lsn,
}

impl SyncPoint {
    pub(super) fn new(file: Arc<dyn DiskFile>, written: Lsn) -> SyncPoint {
        SyncPoint {
            target: Mutex::new(Target { file, written }),
            oldest: AtomicU64::new(0),
            oldest_in_sync: AtomicU64::new(0),
            running: AtomicBool::new(false),
            epoch: Instant::now(),
        }
    }

    /// Notes that everything below `written` is with the operating system, the newest of it in the present file, or
    /// that it is `durable` altogether.
    pub(super) fn note_written(&self, written: Lsn, durable: bool) {
        let mut target = self.target.lock();
        target.written = written;
        if durable {
            self.oldest.store(0, Ordering::Relaxed);
        } else if self.oldest.load(Ordering::Relaxed) == 0 {
            self.oldest.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The next bytes go to `file`; everything before `from` is durable.
    pub(super) fn switch(&self, file: Arc<dyn DiskFile>, from: Lsn) {
        let mut target = self.target.lock();
        *target = Target {
            file,
            written: from,
        };
        self.oldest.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Age of the oldest write that is not durable.
    pub(super) fn oldest_age(&self) -> Duration {
        let in_sync = self.oldest_in_sync.load(Ordering::Relaxed);
        let oldest = if in_sync != 0 {
            in_sync
        } else {
            self.oldest.load(Ordering::Relaxed)
        };
        if oldest == 0 {
            Duration::ZERO
        } else {
            Duration::from_nanos(self.now().saturating_sub(oldest))
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64 + 1
    }

    fn begin(&self, durable: Lsn) -> Option<(Arc<dyn DiskFile>, Lsn)> {
        let target = self.target.lock();
        if target.written <= durable {
            return None;
        }
        self.oldest_in_sync
            .store(self.oldest.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.running.store(true, Ordering::SeqCst);
        Some((Arc::clone(&target.file), target.written))
    }

    fn end(&self, succeeded: bool) {
        self.running.store(false, Ordering::SeqCst);
        if succeeded {
            self.oldest_in_sync.store(0, Ordering::Relaxed);
        }
    }

    /// Forgets the age of writes: the log was healed by other means.
    pub(super) fn forget_age(&self) {
        self.oldest_in_sync.store(0, Ordering::Relaxed);
    }
}

/// Syncs what is written, in the calling thread. True if `durable` moved.
pub(super) fn sync_once(shared: &Shared) -> bool {
    let _one_sync_at_a_time = shared.sync_lock.lock();
    if shared.marks.is_failed() {
        return false;
    }
    let Some((file, written)) = shared.sync_point.begin(shared.marks.durable()) else {
        return false;
    };
    let outcome = file.sync_data();
    shared.sync_point.end(outcome.is_ok());
    match outcome {
        Ok(()) => shared.marks.raise_durable(written),
        Err(e) => {
            shared.fail(Failure::sync("fdatasync of the segment", &e));
            false
        }
    }
}

/// Starts the background threads.
pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (name, work) in [
        ("hardtack-log", log_thread as fn(&Shared)),
        ("hardtack-sync", sync_thread as fn(&Shared)),
        ("hardtack-prep", prepare_thread as fn(&Shared)),
    ] {
        let shared = Arc::clone(shared);
        threads.push(
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    let _guard = AbortOnPanic;
                    work(&shared);
                })?,
        );
    }
    Ok(threads)
}

fn log_thread(shared: &Shared) {
    let mut last_batches = shared.ring.batches();
    let mut last_group = 0;
    let mut notified_to = 0;
    loop {
        shared.log_signal.wait(None);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let always = shared.policy() == SyncPolicy::Always;
        if always {
            gather(shared, last_group);
            let batches = shared.ring.batches();
            last_group = batches.wrapping_sub(last_batches);
            last_batches = batches;
        }
        let before = (shared.marks.written(), shared.marks.durable());
        let wanted = shared.deferred_to.load(Ordering::SeqCst);
        let deferred = wanted > notified_to;
        shared.write_in_background();
        // Records that others are still copying hold up what comes after them, for as long as a copy takes.
        while !shared.marks.is_failed()
            && !shared.stop.load(Ordering::SeqCst)
            && (shared.marks.written().0 < wanted || !shared.cuts.lock().is_empty())
        {
            std::thread::yield_now();
            shared.write_in_background();
        }
        notified_to = wanted;
        if always {
            sync_once(shared);
        }
        if deferred || before != (shared.marks.written(), shared.marks.durable()) {
            shared.marks.notify();
        }
    }
}

/// Lets others join the group: while they are in mid-turn, or when the last group was of several. Syncing as fast as
/// possible makes small groups and costs more than it brings; a lone client does not wait.
fn gather(shared: &Shared, last_group: u32) {
    for _ in 0..GATHER_YIELDS {
        if last_group <= 1 && !shared.ring.any_in_batch() {
            return;
        }
        std::thread::yield_now();
    }
}

fn sync_thread(shared: &Shared) {
    let mut last = Instant::now();
    loop {
        let every_second = shared.policy() == SyncPolicy::EverySec;
        // A bound of less than two seconds asks for more syncs.
        let interval = (shared.tuned.max_unsynced() / 2).clamp(INTERVAL_MIN, EVERYSEC);
        shared
            .sync_signal
            .wait(every_second.then(|| last + interval));
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        if shared.policy() != SyncPolicy::EverySec {
            continue;
        }
        let unsynced = shared
            .marks
            .written()
            .0
            .saturating_sub(shared.marks.durable().0);
        if last.elapsed() >= interval || unsynced >= UNSYNCED_BYTES_MAX {
            last = Instant::now();
            if sync_once(shared) {
                shared.marks.notify();
                shared.mark_durable();
            }
        }
    }
}

fn prepare_thread(shared: &Shared) {
    let mut retry_at: Option<Instant> = None;
    loop {
        // History grows old without anything else happening.
        let look_at = shared
            .has_history()
            .then(|| Instant::now() + CHECK_INTERVAL);
        let wake_at = [retry_at, look_at].into_iter().flatten().min();
        shared.prepare_signal.wait(wake_at);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        shared.write_pending_indexes();
        if !shared.marks.is_failed() {
            shared.apply_retention();
        }
        if retry_at.is_some_and(|at| Instant::now() < at) {
            continue;
        }
        retry_at = None;
        if shared.want_prepared.load(Ordering::SeqCst) {
            let path = shared.names.temp_segment(0);
            let fill = shared.policy() == SyncPolicy::Always;
            match segment::prepare(&*shared.disk, &path, shared.tuned.segment_bytes(), fill) {
                Ok(prepared) => {
                    *shared.prepared.lock() = Some(prepared);
                    shared.want_prepared.store(false, Ordering::SeqCst);
                    shared.log_signal.wake();
                }
                // The present segment grows on; when the disk is really full its writes will say so.
                Err(e) => {
                    tracing::warn!("log: preparing the next segment failed: {e}");
                    retry_at = Some(Instant::now() + PREPARE_RETRY);
                }
            }
        }
        shared.write_pending_sums();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_before_wait_is_not_lost() {
        let signal = Signal::new();
        signal.wake();
        signal.wake();
        assert!(signal.wait(None));
        assert!(!signal.wait(Some(Instant::now())));
    }

    #[test]
    fn every_wake_is_answered() {
        let ping = Arc::new((Signal::new(), Signal::new()));
        let other = Arc::clone(&ping);
        let thread = std::thread::spawn(move || {
            for _ in 0..10_000 {
                other.0.wait(None);
                other.1.wake();
            }
        });
        for _ in 0..10_000 {
            ping.0.wake();
            ping.1.wait(None);
        }
        thread.join().unwrap();
    }
}
