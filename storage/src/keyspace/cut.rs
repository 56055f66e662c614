//! The keyspace as of one instant, and the walk that reads it while writers go on.
//!
//! A cut is made under the exclusive gate: it raises the snapshot epoch and keeps hold of every database's data.
//! From then on each record that is older than the epoch belongs to the snapshot and reaches it exactly once, on
//! one of two ways, decided under the slot's lock:
//!
//! * the walk comes by, takes it, and stamps it with the epoch;
//! * a writer that is about to change, replace or remove it hands the old state to a *side queue* first, and what
//!   it leaves in the table bears the new epoch.
//!
//! Records with the epoch's stamp, and slots the walk has finished, cost writers nothing more. A database flushed
//! after the cut lives on in the cut's hands and is walked like the rest. Side queues are shared by slots with
//! the same low bits and are drained after each slot, or whenever memory asks for it.
//!
//! **Memory.** What the snapshot holds on to beyond the data is counted ([`SnapshotMemory`]): records in the side queues
//! exactly; of large values, which are shared, what writers copied of them or let go of, until it is certain that
//! nothing shared before is left. A writer that brings the sum above the limit ends the cut: from then on nobody saves
//! anything for it, and whoever walks finds it failed.
//!
//! One thread walks. Locks: one slot at a time; a side queue inside it, for a push or a swap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::long_string::StringView;
use super::record::Record;
use super::{Data, SLOTS};
use crate::types::{DbIndex, UnixMillis};

const SIDE_QUEUES: usize = 64;

/// When the small collections that a walk has copied under one lock come to so many bytes, it lets go of the lock.
const COPIED_BYTES_MAX: usize = 128 * 1024;

/// Entries that are walked between two looks at that.
const ENTRIES_PER_LOOK: usize = 8;

/// Old states that writers saved for the running snapshot.
pub(super) struct SideQueues {
    /// Writers are to save old states.
    open: AtomicBool,
    /// The limit was exceeded.
    failed: AtomicBool,
    /// Somebody walks, or may.
    running: AtomicBool,
    limit: usize,
    /// Away from `open`, which every writer reads.
    account: CachePadded<Account>,
    queues: Box<[Mutex<SideQueue>]>,
}

/// What the snapshot holds on to, in bytes.
#[derive(Default)]
struct Account {
    /// In the side queues.
    saved: AtomicUsize,
    /// Parts of shared values that are the snapshot's alone: all that there ever were ...
    parts: AtomicUsize,
    /// ... and how many of them are surely gone.
    parts_gone: AtomicUsize,
    /// The most at a time.
    peak: AtomicUsize,
}

#[derive(Default)]
struct SideQueue {
    closed: bool,
    records: Vec<Saved>,
}

/// A record as of the cut.
struct Saved {
    db: DbIndex,
    bytes: usize,
    kept: Kept,
}

/// How a record is kept for the snapshot.
pub(super) enum Kept {
    /// It, or a copy that shares what is large.
    Record(Record),
    /// The key, and a view of its long string.
    String(KeptString),
}

/// A long string as of the cut, which may be changed meanwhile.
pub struct KeptString {
    key: Box<[u8]>,
    expire_at: Option<UnixMillis>,
    view: StringView,
}

impl KeptString {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// When the key expires, if it does.
    pub fn expire_at(&self) -> Option<UnixMillis> {
        self.expire_at
    }

    /// The length of the string.
    pub fn value_len(&self) -> usize {
        self.view.len()
    }

    /// Appends the next piece of the string to `out`; false if there is none.
    pub fn read_piece(&mut self, out: &mut Vec<u8>) -> bool {
        self.view.read_piece(out)
    }
}

/// A record of the snapshot.
pub enum CutEntry<'a> {
    /// As it stands. If its value is out of line, no lock is held.
    Record(&'a Record),
    /// A long string, to be read in pieces. No lock is held.
    String(&'a mut KeptString),
}

impl Kept {
    /// Keeps a record that lives on.
    pub(super) fn of(record: &Record) -> Kept {
        match record.view() {
            Some(view) => Kept::String(KeptString {
                key: record.key().into(),
                expire_at: record.expire_at(),
                view,
            }),
            None => Kept::Record(record.share()),
        }
    }

    /// The bytes that this costs at once.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Kept::Record(record) => record.memory_bytes_unshared(),
            Kept::String(string) => string.key.len(),
        }
    }

    fn entry(&mut self) -> CutEntry<'_> {
        match self {
            Kept::Record(record) => CutEntry::Record(record),
            Kept::String(string) => CutEntry::String(string),
        }
    }
}

impl SideQueues {
    pub(super) fn new(limit: usize) -> SideQueues {
        SideQueues {
            open: AtomicBool::new(true),
            failed: AtomicBool::new(false),
            running: AtomicBool::new(true),
            limit,
            account: CachePadded::default(),
            queues: std::iter::repeat_with(Mutex::default)
                .take(SIDE_QUEUES)
                .collect(),
        }
    }

    /// Bytes that the snapshot holds on to.
    pub(super) fn bytes(&self) -> usize {
        let account = &*self.account;
        let parts = account.parts.load(Ordering::Relaxed);
        let gone = account.parts_gone.load(Ordering::Relaxed);
        account.saved.load(Ordering::Relaxed) + parts.saturating_sub(gone)
    }

    /// True while writers are to save old states.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// True until the walk has ended.
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Saves a record that costs so many bytes; called under its slot's lock. Gives it back if the snapshot is over.
    pub(super) fn push(&self, db: DbIndex, slot: u16, bytes: usize, kept: Kept) -> Option<Kept> {
        let bytes = bytes + size_of::<Saved>();
        let mut queue = self.queue(usize::from(slot)).lock();
        if queue.closed {
            return Some(kept);
        }
        self.account.saved.fetch_add(bytes, Ordering::Relaxed);
        if !self.is_within_limit() {
            self.account.saved.fetch_sub(bytes, Ordering::Relaxed);
            return Some(kept);
        }
        queue.records.push(Saved { db, bytes, kept });
        None
    }

    /// Counts bytes of shared values that have become the snapshot's alone.
    pub(super) fn hold(&self, bytes: usize) {
        if bytes > 0 {
            self.account.parts.fetch_add(bytes, Ordering::Relaxed);
            self.is_within_limit();
        }
    }

    /// Whether the limit holds; if not, the snapshot has failed.
    fn is_within_limit(&self) -> bool {
        let bytes = self.bytes();
        if bytes > self.account.peak.load(Ordering::Relaxed) {
            self.account.peak.fetch_max(bytes, Ordering::Relaxed);
        }
        if bytes > self.limit {
            self.failed.store(true, Ordering::Relaxed);
            self.open.store(false, Ordering::Release);
        }
        bytes <= self.limit
    }

    fn queue(&self, number: usize) -> &Mutex<SideQueue> {
        &self.queues[number % SIDE_QUEUES]
    }

    /// Takes up to `max` records of one queue.
    fn take(&self, number: usize, max: usize) -> Vec<Saved> {
        let mut queue = self.queue(number).lock();
        if queue.records.len() <= max {
            std::mem::take(&mut queue.records)
        } else {
            let rest = queue.records.len() - max;
            queue.records.split_off(rest)
        }
    }

    /// Notes that a record which was taken is the snapshot's no more.
    fn release(&self, saved: Saved) {
        self.account.saved.fetch_sub(saved.bytes, Ordering::Relaxed);
        drop(saved);
    }

    fn close(&self) {
        for queue in &self.queues {
            let left = {
                let mut queue = queue.lock();
                queue.closed = true;
                std::mem::take(&mut queue.records)
            };
            drop(left);
        }
        self.account.saved.store(0, Ordering::Relaxed);
        self.account.parts_gone.store(usize::MAX, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
        self.running.store(false, Ordering::Release);
    }
}

/// What a snapshot holds on to; readable from anywhere, also when it is over.
#[derive(Clone)]
pub struct SnapshotMemory(Arc<SideQueues>);

impl SnapshotMemory {
    /// Bytes beyond the data, at this moment.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The most bytes that there were.
    pub fn peak(&self) -> usize {
        self.0.account.peak.load(Ordering::Relaxed)
    }

    /// The most bytes that there may be.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Whether the limit was exceeded, so that the snapshot lacks what it could not hold.
    pub fn is_exceeded(&self) -> bool {
        self.0.failed.load(Ordering::Acquire)
    }

    /// Whether the side queues should be drained out of turn.
    pub fn is_crowded(&self) -> bool {
        self.bytes() > self.limit() / 4
    }
}

impl std::fmt::Debug for SnapshotMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.bytes(), self.limit())
    }
}

/// How far the walk of a slot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkProgress {
    /// Call again for the same slot.
    More,
    /// The slot is done.
    Done,
}

/// A running snapshot's view. Dropping it ends the snapshot.
pub struct SnapshotCut {
    epoch: u32,
    databases: Vec<(DbIndex, Arc<Data>)>,
    side: Arc<SideQueues>,
    /// The slot in progress and the place in its table.
    position: Option<(DbIndex, u16, u64)>,
    /// For each side queue, the parts counted when it was last found empty: those before are gone, as far as that
    /// queue is concerned.
    parts_at_drain: Box<[usize; SIDE_QUEUES]>,
}

impl SnapshotCut {
    pub(super) fn new(
        epoch: u32,
        databases: Vec<(DbIndex, Arc<Data>)>,
        side: Arc<SideQueues>,
    ) -> SnapshotCut {
        SnapshotCut {
            epoch,
            databases,
            side,
            position: None,
            parts_at_drain: Box::new([0; SIDE_QUEUES]),
        }
    }

    /// The databases that had keys at the cut, by the numbers they had then.
    pub fn databases(&self) -> impl Iterator<Item = DbIndex> {
        self.databases.iter().map(|(number, _)| *number)
    }

    /// Walks one slot a bit further: gives `f` every record the snapshot has yet to get from at least
    /// `max_entries` entries (or the rest of the slot; or fewer if there is much to copy), and the number of the
    /// database it belongs to.
    ///
    /// The slot's lock is held meanwhile, except for collections and long strings, which are only shared under
    /// the lock. When the slot is done, what writers saved of it (and of slots that share its queue, in any
    /// database) follows. So the records of a slot come from this call or any earlier one.
    ///
    /// Slots are taken one after the other: a slot begun must be done before the next. A slot that is done, or a
    /// database that is not in the cut, is `Done` at once.
    pub fn walk_slot(
        &mut self,
        db: DbIndex,
        slot: u16,
        max_entries: usize,
        f: &mut dyn FnMut(DbIndex, CutEntry<'_>),
    ) -> WalkProgress {
        let Some((_, data)) = self.databases.iter().find(|(number, _)| *number == db) else {
            return WalkProgress::Done;
        };
        let position = match self.position {
            Some((at_db, at_slot, position)) if (at_db, at_slot) == (db, slot) => position,
            _ => 0,
        };
        let mut large = Vec::new();
        let next = {
            let mut inner = data.slots[usize::from(slot)].lock();
            if inner.walked_epoch == self.epoch {
                return WalkProgress::Done;
            }
            let (mut next, mut left, mut copied) = (Some(position), max_entries.max(1), 0);
            while let Some(position) = next
                && left > 0
                && copied < COPIED_BYTES_MAX
            {
                let entries = left.min(ENTRIES_PER_LOOK);
                left -= entries;
                next = inner.table.walk(position, entries, &mut |record| {
                    if record.epoch() >= self.epoch {
                        return;
                    }
                    if record.is_out_of_line() {
                        let kept = Kept::of(record);
                        copied += kept.bytes();
                        large.push(kept);
                    } else {
                        f(db, CutEntry::Record(record));
                    }
                    record.set_epoch(self.epoch);
                });
            }
            if next.is_none() {
                inner.walked_epoch = self.epoch;
            }
            next
        };
        for mut kept in large {
            f(db, kept.entry());
        }
        match next {
            Some(position) => {
                self.position = Some((db, slot, position));
                WalkProgress::More
            }
            None => {
                self.position = None;
                self.drain_queue(usize::from(slot) % SIDE_QUEUES, usize::MAX, f);
                WalkProgress::Done
            }
        }
    }

    /// Gives `f` up to `max` records that writers saved, of any slot; returns how many there were. Those of a lower
    /// number come first.
    pub fn drain_side(&mut self, max: usize, f: &mut dyn FnMut(DbIndex, CutEntry<'_>)) -> usize {
        let mut drained = 0;
        for number in 0..SIDE_QUEUES {
            drained += self.drain_queue(number, max - drained, f);
            if drained == max {
                break;
            }
        }
        drained
    }

    /// Gives `f` up to `max` records of one side queue; returns how many there were.
    pub fn drain_queue(
        &mut self,
        number: usize,
        max: usize,
        f: &mut dyn FnMut(DbIndex, CutEntry<'_>),
    ) -> usize {
        let account = &*self.side.account;
        let parts = account.parts.load(Ordering::Relaxed);
        let taken = self.side.take(number, max);
        let count = taken.len();
        for mut saved in taken {
            f(saved.db, saved.kept.entry());
            self.side.release(saved);
        }
        if count < max {
            self.parts_at_drain[number] = parts;
            let gone = self.parts_at_drain.iter().copied().min().unwrap_or(0);
            account.parts_gone.fetch_max(gone, Ordering::Relaxed);
        }
        count
    }

    /// The number of side queues.
    pub const QUEUES: usize = SIDE_QUEUES;

    /// What the snapshot holds on to beyond the data.
    pub fn memory(&self) -> SnapshotMemory {
        SnapshotMemory(Arc::clone(&self.side))
    }

    /// The bytes that the snapshot holds on to beyond the data.
    pub fn side_bytes(&self) -> usize {
        self.side.bytes()
    }

    /// Ends the snapshot after every slot was walked.
    pub fn finish(self) {
        debug_assert!(self.databases.iter().all(|(_, data)| {
            (0..SLOTS).all(|slot| data.slots[slot].lock().walked_epoch == self.epoch)
        }));
    }

    /// Ends the snapshot early.
    pub fn abandon(self) {}
}

impl Drop for SnapshotCut {
    fn drop(&mut self) {
        self.side.close();
    }
}
