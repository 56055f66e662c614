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
//! One thread walks. Locks: one slot at a time; a side queue inside it, for a push or a swap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::record::Record;
use super::{Data, SLOTS};
use crate::types::DbIndex;

const SIDE_QUEUES: usize = 64;

/// Old states that writers saved for the running snapshot.
pub(super) struct SideQueues {
    open: AtomicBool,
    /// Away from `open`, which every writer reads.
    bytes: CachePadded<AtomicUsize>,
    queues: Box<[Mutex<SideQueue>]>,
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
    record: Record,
}

impl SideQueues {
    pub(super) fn new() -> SideQueues {
        SideQueues {
            open: AtomicBool::new(true),
            bytes: CachePadded::new(AtomicUsize::new(0)),
            queues: std::iter::repeat_with(Mutex::default)
                .take(SIDE_QUEUES)
                .collect(),
        }
    }

    /// True while the snapshot runs.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Saves a record that costs so many bytes; called under its slot's lock. Dropped if the snapshot is over.
    pub(super) fn push(&self, db: DbIndex, slot: u16, bytes: usize, record: Record) {
        let mut queue = self.queue(usize::from(slot)).lock();
        if queue.closed {
            drop(queue);
            return;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        queue.records.push(Saved { db, bytes, record });
    }

    fn queue(&self, number: usize) -> &Mutex<SideQueue> {
        &self.queues[number % SIDE_QUEUES]
    }

    /// Takes up to `max` records of one queue.
    fn take(&self, number: usize, max: usize) -> Vec<Saved> {
        let mut queue = self.queue(number).lock();
        let taken = if queue.records.len() <= max {
            std::mem::take(&mut queue.records)
        } else {
            let rest = queue.records.len() - max;
            queue.records.split_off(rest)
        };
        drop(queue);
        let bytes = taken.iter().map(|saved| saved.bytes).sum();
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        taken
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
        self.bytes.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
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
        }
    }

    /// The databases that had keys at the cut, by the numbers they had then.
    pub fn databases(&self) -> impl Iterator<Item = DbIndex> {
        self.databases.iter().map(|(number, _)| *number)
    }

    /// Walks one slot a bit further: gives `f` every record the snapshot has yet to get from at least
    /// `max_entries` entries (or the rest of the slot), and the number of the database it belongs to.
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
        f: &mut dyn FnMut(DbIndex, &Record),
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
            let next = inner.table.walk(position, max_entries, &mut |record| {
                if record.epoch() >= self.epoch {
                    return;
                }
                if record.is_out_of_line() {
                    large.push(record.share());
                } else {
                    f(db, record);
                }
                record.set_epoch(self.epoch);
            });
            if next.is_none() {
                inner.walked_epoch = self.epoch;
            }
            next
        };
        for record in large {
            f(db, &record);
        }
        match next {
            Some(position) => {
                self.position = Some((db, slot, position));
                WalkProgress::More
            }
            None => {
                self.position = None;
                for saved in self.side.take(usize::from(slot), usize::MAX) {
                    f(saved.db, &saved.record);
                }
                WalkProgress::Done
            }
        }
    }

    /// Gives `f` up to `max` records that writers saved, of any slot; returns how many there were.
    pub fn drain_side(&mut self, max: usize, f: &mut dyn FnMut(DbIndex, &Record)) -> usize {
        let mut drained = 0;
        for number in 0..SIDE_QUEUES {
            for saved in self.side.take(number, max - drained) {
                f(saved.db, &saved.record);
                drained += 1;
            }
            if drained == max {
                break;
            }
        }
        drained
    }

    /// The bytes that writers have saved and the snapshot has yet to take. A collection that was changed in place
    /// counts only with its key: what it shares is not extra, what was changed since is not known.
    pub fn side_bytes(&self) -> usize {
        self.side.bytes.load(Ordering::Relaxed)
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
