//! The append-only log: the one ordered history of writes.
//!
//! A record is one command, or one whole transaction, in RESP form; to the log it is opaque bytes and a database
//! number. Its position is an [`Lsn`], the count of stream bytes before it; an LSN is therefore also a replication
//! offset. Ranges are half-open.
//!
//! ```text
//! base ≤ durable ≤ written ≤ appended
//! ```
//!
//! * **appended**: in the in-memory [`ring`], under the caller's slot locks; no file descriptor is touched.
//! * **written**: in a complete frame of a segment, with the operating system. Survives the process.
//! * **durable**: synced. Survives the machine.
//!
//! | file | its one mechanism |
//! |---|---|
//! | `ring` | appends from many threads into one stream in memory; the only unsafe code |
//! | `frame` | the text of a segment; the format's home |
//! | `segment` | names and preparation of segment files |
//! | `manifest` | which files the log consists of |
//! | `writer` | published bytes to frames to `pwrite` |
//! | `sync` | policies and background threads |
//! | `watermark` | written, durable, failed, and who waits |
//! | `rewrite` | rotation, compaction and healing |
//! | `retention` | which segments below the base stay |
//! | `birth` | a log that begins beside the commands |
//! | `repair` | what no start accepts, without starting it |
//! | `recovery`, `scan`, `foreign` | start-up: the cases, frames of a file, files of other servers |
//! | `reader` | the stream from any kept position |
//! | `files`, `follow` | the log's files for whoever takes no part in it; new frames as they come |
//! | `meta`, `sums` | private metadata: its envelope; what sealed files were like |
//!
//! Threads: any number of [`Appender`]s, one a thread; [`Log::write_now`] by whoever wants its bytes written; the rest
//! is background (`sync`). Lock order: `writer`, `sync_lock`, `manifest_lock`, `catalogue`, `cuts`, then the leaves (`sync_point`, the
//! watermarks' state). The first three are held across writes and syncs: nothing that a command needs waits
//! for them, except for space in the ring. `catalogue` is never held across a system call.
//!
//! Crash: the log ends at a record boundary at or after `durable`; a start finds it with [`Log::open`].
//! Elsewhere: what a record means (`command`), when to compact (`engine`), what a base contains (`rdb`, `snapshot`).

mod birth;
mod files;
mod follow;
mod foreign;
mod frame;
mod manifest;
mod meta;
mod reader;
mod recovery;
mod repair;
mod retention;
mod rewrite;
mod ring;
mod scan;
mod segment;
mod single;
mod sums;
mod sync;
#[cfg(test)]
pub(crate) mod tests;
mod watermark;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::disk::{Disk, DiskLock, WrittenFile};
use crate::{DbIndex, Lsn};

use manifest::Manifest;
use meta::SegmentIndex;
use retention::OldBase;
use ring::{Ring, RingAppender};
use segment::{Names, Prepared};
use sums::SealedFile;
use sync::{Signal, SyncPoint};
use watermark::Watermarks;
use writer::Writer;

pub use files::{
    FileDamage, FileRole, Judgement, LogFile, LogFiles, PlannedCut, SegmentReading, SegmentStart,
    Unreadable, read_lone_segment,
};
pub use follow::{FollowError, Followed, Follower};
pub use frame::Replid;
pub use manifest::ManifestError;
pub use reader::{LogReader, ReadError};
pub use recovery::{
    BaseLoaded, Corruption, CutTail, Damage, Loss, OpenError, RecoverMode, RecoveryReport,
    ReplayError, ReplayTarget,
};
pub use repair::{RepairStep, Repaired, repair};
pub use retention::{History, Retention};
pub use rewrite::{RewriteError, RewriteTicket};
pub use ring::{RECORD_BYTES_MAX, ring_bytes};
pub use segment::{FramedFrom, SegmentInfo};
pub use single::{SingleFile, load_single_file};
pub use sync::SyncPolicy;
pub use watermark::{Failure, LogStatus, Notifier};

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Name of the log's directory in the data directory.
    pub dir_name: String,
    /// What the names of the log's files begin with.
    pub file_name: String,
    /// The history that new segments belong to. `None`: the one the log has, or a new one.
    pub replid: Option<Replid>,
    /// Other histories that segments may belong to (an earlier one, after a promotion).
    pub older_replids: Vec<Replid>,
    /// When to sync.
    pub policy: SyncPolicy,
    /// Size of the in-memory ring; rounded up to a power of two.
    pub ring_bytes: usize,
    /// Size at which a segment is followed by the next.
    pub segment_bytes: u64,
    /// `everysec`: the age that the oldest unsynced write may reach before further writes wait.
    pub max_unsynced: Duration,
    /// `everysec`: how long they may wait before they are refused.
    pub unsynced_wait: Duration,
    /// How much is kept of what the base has replaced.
    pub retention: Retention,
    /// What to do about damage.
    pub recover: RecoverMode,
    /// Whether frames are annotated with their time as Redis does it (`aof-timestamp-enabled`).
    pub annotate: bool,
    /// Whether to start when a file that another server wrote ends inside a command (`aof-load-truncated`): it is cut.
    pub load_cut_off: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            dir_name: "appendonlydir".into(),
            file_name: "appendonly.aof".into(),
            replid: None,
            older_replids: Vec::new(),
            policy: SyncPolicy::EverySec,
            ring_bytes: 16 << 20,
            segment_bytes: 64 << 20,
            max_unsynced: Duration::from_millis(2000),
            unsynced_wait: Duration::from_millis(10_000),
            retention: Retention::default(),
            recover: RecoverMode::Strict,
            annotate: false,
            load_cut_off: true,
        }
    }
}

/// More than this is not synced by [`Log::sync_here`]'s caller.
const SYNC_HERE_BYTES_MAX: u64 = 64 << 10;

/// What [`Log::write_now`] or [`Log::sync_here`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Everything below is written, or durable if that was asked for.
    Written(Lsn),
    /// The log thread will do it: wait for a notification, or for the position.
    Deferred,
    /// The log has failed.
    Failed(Failure),
}

/// Which of the log's own threads have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleThreads {
    /// `hardtack-log`, which writes and changes segments.
    pub log: bool,
    /// `hardtack-sync`.
    pub sync: bool,
    /// `hardtack-prep`, which prepares segments.
    pub prepare: bool,
}

impl IdleThreads {
    /// Whether all of them wait.
    pub fn all(self) -> bool {
        self.log && self.sync && self.prepare
    }
}

/// Whether a write command may be executed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Ok,
    /// Its reply would break the bound on unsynced writes: wait for a notification and ask again.
    WaitForSync,
    /// It may not.
    Refused(Refusal),
}

/// Why a write command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The log has failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A sync takes too long.
    #[error("the log could not be synced for {} ms", age.as_millis())]
    SyncStalled {
        /// Age of the oldest write that is not durable.
        age: Duration,
    },
}

/// The files of the log, as the manifest has them, and what they contain.
struct Catalogue {
    manifest: Manifest,
    /// In order, also those older than the base; the last is being written.
    segments: Vec<SegmentInfo>,
    /// Position that the base stands for.
    base_lsn: Lsn,
    base_bytes: u64,
    /// Bases of before that are kept, oldest first.
    old_bases: Vec<OldBase>,
    /// Indexes that wait to be written beside their segments.
    indexes: Vec<(String, SegmentIndex)>,
    /// Numbers of the next base and segment. None is used twice in the life of a log: after a replacement of the
    /// manifest has failed, the manifest on the disk may name files that this one does not.
    next_base_seq: u64,
    next_increment_seq: u64,
    /// Such files. They go when a replacement has succeeded.
    in_doubt: Vec<String>,
    /// Identifies the manifest as it is on the disk.
    manifest_id: u32,
    /// Sizes and checksums of sealed files, as far as they are known.
    sealed: Vec<SealedFile>,
    /// The record of them is not up to date.
    sums_pending: bool,
}

impl Catalogue {
    fn take_base_seq(&mut self) -> u64 {
        self.next_base_seq += 1;
        self.next_base_seq - 1
    }

    fn take_increment_seq(&mut self) -> u64 {
        self.next_increment_seq += 1;
        self.next_increment_seq - 1
    }

    /// The manifest names a base as of `lsn`.
    fn note_base(&mut self, name: String, lsn: Lsn, base: WrittenFile) {
        self.base_lsn = lsn;
        self.base_bytes = base.bytes;
        self.note_sealed(SealedFile::of(name, base));
    }
}

/// Options that can be changed while the log is in use.
struct Tuned {
    segment_bytes: AtomicU64,
    max_unsynced_ms: AtomicU64,
    unsynced_wait_ms: AtomicU64,
    annotate: AtomicBool,
}

impl Tuned {
    fn new(options: &LogOptions) -> Tuned {
        let tuned = Tuned {
            segment_bytes: AtomicU64::new(0),
            max_unsynced_ms: AtomicU64::new(0),
            unsynced_wait_ms: AtomicU64::new(0),
            annotate: AtomicBool::new(false),
        };
        tuned.set(options);
        tuned
    }

    fn set(&self, options: &LogOptions) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.segment_bytes
            .store(options.segment_bytes, Ordering::Relaxed);
        self.max_unsynced_ms
            .store(millis(options.max_unsynced), Ordering::Relaxed);
        self.unsynced_wait_ms
            .store(millis(options.unsynced_wait), Ordering::Relaxed);
        self.annotate.store(options.annotate, Ordering::Relaxed);
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.load(Ordering::Relaxed)
    }

    fn max_unsynced(&self) -> Duration {
        Duration::from_millis(self.max_unsynced_ms.load(Ordering::Relaxed))
    }

    fn unsynced_wait(&self) -> Duration {
        Duration::from_millis(self.unsynced_wait_ms.load(Ordering::Relaxed))
    }
}

/// What the log's threads share.
struct Shared {
    disk: Arc<dyn Disk>,
    names: Names,
    /// As the log was opened; what `tuned` has is looked up there.
    options: LogOptions,
    tuned: Tuned,
    replid: Replid,
    ring: Arc<Ring>,
    marks: Watermarks,
    writer: Mutex<Writer>,
    sync_lock: Mutex<()>,
    sync_point: SyncPoint,
    catalogue: Mutex<Catalogue>,
    /// Where the stream is to be split, in order.
    cuts: Mutex<VecDeque<Lsn>>,
    prepared: Mutex<Option<Prepared>>,
    want_prepared: AtomicBool,
    policy: AtomicU8,
    /// A healing is under way: the writer goes on in a new segment, the watermarks stand still.
    healing: AtomicBool,
    /// The log thread was asked to write everything below, and to notify then.
    deferred_to: AtomicU64,
    stop: AtomicBool,
    log_signal: Arc<Signal>,
    sync_signal: Signal,
    prepare_signal: Signal,
    /// Held while the manifest is replaced; after `sync_lock`, before `catalogue`.
    manifest_lock: Mutex<()>,
    /// Never held with another lock.
    retention: Mutex<Retention>,
    /// A rewrite or a healing is under way.
    rewriting: AtomicBool,
    /// Given back when the log is closed, though readers may live on.
    dir_lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl Shared {
    fn policy(&self) -> SyncPolicy {
        SyncPolicy::from_u8(self.policy.load(Ordering::Relaxed))
    }

    fn fail(&self, failure: Failure) {
        self.ring.drop_everything();
        self.healing.store(false, Ordering::SeqCst);
        self.marks.fail(failure);
    }

    /// The first of the log's files that is not where it was; `segment`: the present segment counts. Where that cannot be
    /// said nothing is missing.
    fn missing_file(&self, segment: bool) -> Option<String> {
        let lock = self.dir_lock.lock();
        let lost = |lock: &dyn DiskLock| matches!(lock.is_in_place(), Ok(false));
        if lock.as_deref().is_some_and(lost) {
            return Some("the lock file of the data directory".into());
        }
        drop(lock);
        let mut names = vec![self.names.manifest()];
        if segment {
            let catalogue = self.catalogue.lock();
            names.extend(catalogue.segments.last().map(|last| self.path(&last.name)));
        }
        let missing = |path: &&PathBuf| matches!(self.disk.metadata(path), Ok(None));
        names
            .iter()
            .find(missing)
            .map(|path| path.display().to_string())
    }

    /// Writes what is published, on behalf of everybody. True if the log thread has to go on from here.
    fn write(&self, writer: &mut Writer) -> bool {
        self.write_as(writer, false)
    }

    /// The same, durably where that can be done in one step. `sync_lock` is then held by the caller.
    fn write_as(&self, writer: &mut Writer, durably: bool) -> bool {
        if self.marks.is_failed() && !self.healing.load(Ordering::SeqCst) {
            return false;
        }
        // The cuts are locked while the limit is read: a cut is made under the same lock, so the limit cannot pass one
        // that is not in the queue yet.
        let (published, cut) = {
            let cuts = self.cuts.lock();
            (self.ring.published(), cuts.front().copied())
        };
        writer.annotate = self.tuned.annotate.load(Ordering::Relaxed);
        // A segment that no manifest names says nothing of what is durable: see `recovery`.
        let known_durable = match self.healing.load(Ordering::SeqCst) {
            true => Lsn::ZERO,
            false => self.marks.durable(),
        };
        match writer.drain(published, cut, known_durable, durably) {
            Ok(drained) => {
                if !self.marks.is_failed() && drained.written > self.marks.written() {
                    let durable = drained
                        .durable_from
                        .is_some_and(|from| from <= self.marks.durable());
                    self.sync_point.note_written(drained.written, durable);
                    self.marks.raise_written(drained.written);
                    if durable {
                        self.marks.raise_durable(drained.written);
                    }
                    let unsynced = drained.written.0.saturating_sub(self.marks.durable().0);
                    if unsynced >= sync::UNSYNCED_BYTES_MAX && !self.sync_point.is_running() {
                        self.sync_signal.wake();
                    }
                }
                drained.at_cut || self.watch_segment_size(writer)
            }
            Err(e) => {
                self.fail(Failure::write("write to the segment", &e));
                false
            }
        }
    }

    /// After a sync that nothing was written behind: leaves word of it in the segment.
    fn mark_durable(&self) {
        // Who is at the writer writes a frame that says so.
        let Some(mut writer) = self.writer.try_lock() else {
            return;
        };
        let is_rest = !self.marks.is_failed() && !self.sync_point.is_running();
        if is_rest && let Err(e) = writer.mark_durable(self.marks.durable()) {
            self.fail(Failure::write("write to the segment", &e));
        }
    }

    /// Asks for the next segment when this one is past half. True when it is time to roll.
    fn watch_segment_size(&self, writer: &Writer) -> bool {
        let used = writer.segment.position;
        let size = writer.segment.size_bytes.min(self.tuned.segment_bytes());
        if used >= size / 2
            && self.prepared.lock().is_none()
            && !self.want_prepared.swap(true, Ordering::SeqCst)
        {
            self.prepare_signal.wake();
        }
        // A little early: what is in the ring when the roll begins still goes to this segment.
        used >= size - size / 8 && self.may_roll(writer)
    }

    /// The log thread's turn: writes everything, switches segments at cuts, rolls when the segment is full.
    fn write_in_background(&self) {
        let mut writer = self.writer.lock();
        loop {
            let more = if self.policy() == SyncPolicy::Always {
                let _one_sync_at_a_time = self.sync_lock.lock();
                self.write_as(&mut writer, true)
            } else {
                self.write(&mut writer)
            };
            if !more {
                return;
            }
            let cut = self.cuts.lock().front().copied();
            match cut {
                Some(cut) if cut == writer.written() => self.switch_segment(&mut writer, cut),
                Some(_) => return,
                None if !self.marks.is_failed() => {
                    let mut cuts = self.cuts.lock();
                    let at = self.ring.force_select();
                    cuts.push_back(at);
                }
                None => return,
            }
        }
    }

    /// Rolls only into a segment that is ready, unless the present one has become much too long.
    fn may_roll(&self, writer: &Writer) -> bool {
        !self.marks.is_failed()
            && writer.segment.position >= writer.segment.no_roll_before
            && (self.prepared.lock().is_some()
                || writer.segment.position >= self.tuned.segment_bytes().saturating_mul(2))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.names.dir.join(name)
    }

    /// Writes the indexes of sealed segments. They are a convenience: errors only cost time later.
    fn write_pending_indexes(&self) {
        let pending = std::mem::take(&mut self.catalogue.lock().indexes);
        for (name, index) in pending {
            let Some(bytes) = meta::encode(&index) else {
                continue;
            };
            if let Err(e) = crate::disk::replace_file(&*self.disk, &self.names.index(&name), &bytes)
            {
                tracing::warn!("log: writing the index of {name} failed: {e}");
            }
        }
    }
}

/// One thread's way to append.
///
/// It may move to another thread but not be shared: an append is one reservation and one copy, without a lock.
pub struct Appender {
    inner: RingAppender,
}

impl Appender {
    /// Whether it appends to this log.
    pub fn is_of(&self, log: &Log) -> bool {
        // It holds on to the ring, so that no other can have the same address.
        std::ptr::eq(self.inner.ring(), &*log.shared.ring)
    }

    /// Tells the log thread that more is coming soon, so that a group sync may wait a little for it.
    pub fn begin_batch(&self) {
        self.inner.begin_batch();
    }

    /// Whether so much waits to be written that whoever may wait should do so before it appends more.
    pub fn is_under_pressure(&self) -> bool {
        self.inner.ring().is_under_pressure()
    }

    /// Whether an append might have to wait for room.
    pub fn is_nearly_full(&self) -> bool {
        let ring = self.inner.ring();
        ring.free() < ring.capacity() / 16 && !ring.drops_everything()
    }

    /// The batch is complete.
    pub fn end_batch(&self) {
        self.inner.end_batch();
    }

    /// Appends one record, whose bytes are `parts` one after the other, and returns the position after it.
    ///
    /// A SELECT of `db` is put before it when the stream is in another database. Called under the slot locks of the
    /// keys concerned, so that the order of the log is an order of execution. Touches no file; waits for the log
    /// thread when the ring is full.
    ///
    /// # Panics
    /// If the record is longer than [`RECORD_BYTES_MAX`].
    pub fn append(&self, db: DbIndex, parts: &[&[u8]]) -> Lsn {
        self.inner.append(Some(db), db, parts)
    }

    /// Like [`Appender::append`], for a record that selects databases itself and leaves the stream in `db_after`.
    pub fn append_switching(&self, db: DbIndex, db_after: DbIndex, parts: &[&[u8]]) -> Lsn {
        self.inner.append(Some(db), db_after, parts)
    }

    /// Appends bytes of another server's stream as they are, without a SELECT; the stream is in `db_after` then.
    pub fn append_verbatim(&self, db_after: DbIndex, parts: &[&[u8]]) -> Lsn {
        self.inner.append(None, db_after, parts)
    }
}

/// The log. Dropping it closes it as well as it can; [`Log::close`] says how that went.
pub struct Log {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    report: RecoveryReport,
}

impl Log {
    /// True if `data_dir` holds a log, or part of one.
    pub fn exists(disk: &dyn Disk, data_dir: &Path, options: &LogOptions) -> io::Result<bool> {
        recovery::exists(disk, data_dir, options)
    }

    /// Makes a log in a directory that has none. `base` writes the base, an RDB file of the state at LSN `start`.
    ///
    /// # Errors
    /// [`OpenError::Exists`] if there is one already.
    pub fn create(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        options: LogOptions,
        start: Lsn,
        base: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
    ) -> Result<Log, OpenError> {
        recovery::create(disk, data_dir, options, start, base)
    }

    /// Takes the directory's lock, replays the log into `target`, and goes on behind it.
    ///
    /// Can be cut at any point and run again, with the same result.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        options: LogOptions,
        target: &mut dyn ReplayTarget,
    ) -> Result<Log, OpenError> {
        recovery::open(disk, data_dir, options, target)
    }

    /// What recovery found.
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The history that new segments belong to.
    pub fn replid(&self) -> Replid {
        self.shared.replid
    }

    /// A way to append, for one thread.
    pub fn appender(&self) -> Appender {
        Appender {
            inner: self.shared.ring.appender(),
        }
    }

    /// The end of the stream.
    pub fn appended(&self) -> Lsn {
        self.shared.ring.head()
    }

    /// Everything below is with the operating system.
    pub fn written(&self) -> Lsn {
        self.shared.marks.written()
    }

    /// Everything below is on the disk.
    pub fn durable(&self) -> Lsn {
        self.shared.marks.durable()
    }

    /// Blocks until everything below `lsn` is written. Asks the log thread to do it.
    pub fn wait_written(&self, lsn: Lsn) -> Result<(), Failure> {
        if self.written() < lsn {
            self.kick();
        }
        self.shared.marks.wait_written(lsn)
    }

    /// Blocks until everything below `lsn` is durable; when that is is the policy's business.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<(), Failure> {
        if self.durable() < lsn {
            self.kick();
        }
        self.shared.marks.wait_durable(lsn)
    }

    /// Looks whether the log's files are where they were; if not, the log fails: nothing that is written to them would be
    /// found again. Touches the disk.
    pub fn check_place(&self) {
        if self.shared.marks.is_failed() {
            return;
        }
        if let Some(missing) = self.shared.missing_file(true) {
            self.shared.fail(Failure::Gone { missing });
        }
    }

    /// Whether the data directory is the one that the log has locked.
    pub fn holds_directory(&self) -> bool {
        let lock = self.shared.dir_lock.lock();
        let lock = lock.as_deref();
        lock.is_none_or(|lock| !matches!(lock.is_in_place(), Ok(false)))
    }

    /// Registers a function that is called once after every advance of a watermark by a background thread, and when the
    /// log fails or is healed. It must be short and must not call the log back.
    pub fn register_notifier(&self, notifier: Notifier) {
        self.shared.marks.add_notifier(notifier);
    }

    /// Writes everything that is published, for everybody, unless that could block: then the log thread does it.
    ///
    /// Called by I/O threads at the end of a turn. Under [`SyncPolicy::Always`] it only wakes the log thread.
    pub fn write_now(&self) -> WriteOutcome {
        let shared = &*self.shared;
        if let Some(failure) = shared.marks.failure() {
            return WriteOutcome::Failed(failure);
        }
        // While a sync runs a write to the same file can block.
        if shared.policy() == SyncPolicy::Always || shared.sync_point.is_running() {
            return self.defer();
        }
        let Some(mut writer) = shared.writer.try_lock() else {
            return self.defer();
        };
        let wanted = shared.ring.head();
        let more = shared.write(&mut writer);
        drop(writer);
        if more {
            shared.log_signal.wake();
        }
        match shared.marks.failure() {
            Some(failure) => WriteOutcome::Failed(failure),
            // Something is left: behind a cut, which only the log thread passes, or behind a record that another
            // thread is still copying. That thread's own write would notify nobody.
            None if shared.marks.written() < wanted => self.defer(),
            None => WriteOutcome::Written(shared.marks.written()),
        }
    }

    /// Under [`SyncPolicy::Always`]: makes what has been appended durable in the calling thread, for everybody. That
    /// spares a lone client the way to the log thread and back. The log thread does it if another thread is at it
    /// already, or if there is more to do than one small write.
    ///
    /// Blocks for as long as the disk takes.
    pub fn sync_here(&self) -> WriteOutcome {
        let shared = &*self.shared;
        if let Some(failure) = shared.marks.failure() {
            return WriteOutcome::Failed(failure);
        }
        let wanted = shared.ring.head();
        let small = wanted - shared.marks.written() <= SYNC_HERE_BYTES_MAX;
        if shared.policy() != SyncPolicy::Always || !small || !shared.cuts.lock().is_empty() {
            return self.defer();
        }
        let Some(mut writer) = shared.writer.try_lock() else {
            return self.defer();
        };
        let more = {
            let _one_sync_at_a_time = shared.sync_lock.lock();
            shared.write_as(&mut writer, true)
        };
        drop(writer);
        if more {
            shared.log_signal.wake();
        }
        match shared.marks.failure() {
            Some(failure) => WriteOutcome::Failed(failure),
            None if shared.marks.durable() < wanted => self.defer(),
            None => WriteOutcome::Written(shared.marks.durable()),
        }
    }

    fn defer(&self) -> WriteOutcome {
        self.kick();
        WriteOutcome::Deferred
    }

    /// Wakes the log thread: it writes what has been appended and, under [`SyncPolicy::Always`], syncs it.
    pub fn kick(&self) {
        self.shared
            .deferred_to
            .fetch_max(self.shared.ring.head().0, Ordering::SeqCst);
        self.shared.log_signal.wake();
    }

    /// Which of the log's own threads wait for something to do. They go on when somebody appends, waits or rotates, and
    /// under `everysec` when a second has passed. For tests that want to go on when everything has been done.
    pub fn idle(&self) -> IdleThreads {
        let shared = &*self.shared;
        IdleThreads {
            prepare: shared.prepare_signal.is_idle(),
            sync: shared.sync_signal.is_idle(),
            // Last: the others may have called it.
            log: shared.log_signal.is_idle(),
        }
    }

    /// Writes and syncs everything published so far, in the calling thread, whatever the policy.
    pub fn sync_now(&self) -> Result<Lsn, Failure> {
        let shared = &*self.shared;
        let target = shared.ring.published().limit;
        let outcome = loop {
            shared.write_in_background();
            sync::sync_once(shared);
            if let Some(failure) = shared.marks.failure() {
                break Err(failure);
            }
            if shared.marks.durable() >= target {
                break Ok(target);
            }
            // The log thread is on its way to a cut.
            std::thread::yield_now();
        };
        shared.marks.notify();
        outcome
    }

    /// Changes what can be changed while the log is in use: policy, segment size, the bound on unsynced writes,
    /// annotations of time, retention. What else the options say is decided when a log is opened.
    pub fn configure(&self, options: &LogOptions) {
        self.shared.tuned.set(options);
        self.set_retention(options.retention);
        // This wakes the threads, which look at the rest as well.
        self.set_policy(options.policy);
    }

    /// When bytes are made durable.
    pub fn policy(&self) -> SyncPolicy {
        self.shared.policy()
    }

    /// Changes that, from now on.
    pub fn set_policy(&self, policy: SyncPolicy) {
        let value = match policy {
            SyncPolicy::Always => 0,
            SyncPolicy::EverySec => 1,
            SyncPolicy::No => 2,
        };
        self.shared.policy.store(value, Ordering::SeqCst);
        self.shared.log_signal.wake();
        self.shared.sync_signal.wake();
    }

    /// Age of the oldest write that is with the operating system but not on the disk.
    pub fn oldest_unsynced_age(&self) -> Duration {
        if self.written() <= self.durable() {
            Duration::ZERO
        } else {
            self.shared.sync_point.oldest_age()
        }
    }

    /// Whether a write command may be executed now. Cheap: asked before each of them.
    pub fn admission(&self) -> Admission {
        let shared = &*self.shared;
        if let Some(failure) = shared.marks.failure() {
            return Admission::Refused(failure.into());
        }
        // Without a sync under way the next one is at most half of `max_unsynced` off.
        if shared.policy() != SyncPolicy::EverySec || !shared.sync_point.is_running() {
            return Admission::Ok;
        }
        let age = self.oldest_unsynced_age();
        let bound = shared.tuned.max_unsynced();
        if age <= bound {
            Admission::Ok
        } else if age <= bound + shared.tuned.unsynced_wait() {
            Admission::WaitForSync
        } else {
            Admission::Refused(Refusal::SyncStalled { age })
        }
    }

    /// Bytes that can be appended before an append has to wait.
    pub fn ring_free(&self) -> u64 {
        self.shared.ring.free()
    }

    /// True when so much is waiting to be written that callers should wait *before* they execute write commands.
    /// Never true of a log that has failed: nothing waits for it.
    pub fn pressure(&self) -> bool {
        self.shared.ring.is_under_pressure() && !self.shared.ring.drops_everything()
    }

    /// Makes the next append select its database, and returns the position where it will.
    pub fn force_select(&self) -> Lsn {
        self.shared.ring.force_select()
    }

    /// Whether the log takes writes.
    pub fn status(&self) -> LogStatus {
        self.shared.marks.status()
    }

    /// The base file, and the position that it stands for.
    pub fn base(&self) -> (PathBuf, Lsn) {
        let catalogue = self.shared.catalogue.lock();
        let name = catalogue
            .manifest
            .base
            .as_ref()
            .map_or("", |base| &base.name);
        (self.shared.path(name), catalogue.base_lsn)
    }

    /// Size of the base file.
    pub fn base_bytes(&self) -> u64 {
        self.shared.catalogue.lock().base_bytes
    }

    /// Size of base and stream since: what `auto-aof-rewrite` rules look at.
    pub fn current_bytes(&self) -> u64 {
        let catalogue = self.shared.catalogue.lock();
        let (base_lsn, base_bytes) = (catalogue.base_lsn, catalogue.base_bytes);
        drop(catalogue);
        base_bytes + self.appended().0.saturating_sub(base_lsn.0)
    }

    /// The segments, oldest first; the last is being written.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.catalogue.lock().segments.clone()
    }

    /// The directory of the log's files.
    pub fn dir(&self) -> &Path {
        &self.shared.names.dir
    }

    /// A reader of the stream from `from` on.
    ///
    /// # Errors
    /// [`ReadError::Truncated`] if the log no longer has that position.
    pub fn reader(&self, from: Lsn) -> Result<LogReader, ReadError> {
        LogReader::new(Arc::clone(&self.shared), from)
    }

    /// Writes and syncs everything, cuts the segment to its end, and stops the threads. Appends after this are dropped.
    pub fn close(self) -> Result<(), Failure> {
        self.shut_down()
    }

    /// Stops without writing or syncing anything more, like a killed process.
    #[cfg(test)]
    pub(crate) fn abandon(self) {
        self.stop_threads();
        self.shared.fail(Failure::Closed);
        self.shared.dir_lock.lock().take();
    }

    fn stop_threads(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.log_signal.wake();
        self.shared.sync_signal.wake();
        self.shared.prepare_signal.wake();
        for thread in self.threads.lock().drain(..) {
            // A panic of such a thread has ended the process.
            let _ = thread.join();
        }
    }

    /// As [`Log::close`], for a log that others may hold on to: to them it has failed.
    pub fn shut_down(&self) -> Result<(), Failure> {
        self.stop_threads();
        let outcome = self.finish_files();
        if let Some(prepared) = self.shared.prepared.lock().take() {
            // Left over, it would be removed at the next start.
            let _ = self.shared.disk.remove(&prepared.path);
        }
        // Nobody writes any more: appenders must not wait for that.
        self.shared.fail(Failure::Closed);
        self.shared.dir_lock.lock().take();
        outcome
    }

    fn finish_files(&self) -> Result<(), Failure> {
        let shared = &*self.shared;
        if let Some(failure) = shared.marks.failure() {
            return Err(failure);
        }
        shared.cuts.lock().clear();
        let mut writer: MutexGuard<'_, Writer> = shared.writer.lock();
        shared.write(&mut writer);
        sync::sync_once(shared);
        if let Some(failure) = shared.marks.failure() {
            return Err(failure);
        }
        let marked = writer.mark_durable(shared.marks.durable());
        let segment = &writer.segment;
        let cut = marked
            .and_then(|()| segment.file.set_len(segment.end_position()))
            .and_then(|()| segment.file.sync_all());
        shared.write_pending_indexes();
        shared.write_pending_sums();
        cut.map_err(|e| Failure::sync("closing the segment", &e))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if self.shared.marks.failure() != Some(Failure::Closed) {
            // Nobody is left to hear of an error; `close` would have told.
            let _ = self.shut_down();
        }
    }
}
