//! The ring: where appends meet, in memory.
//!
//! One `AtomicU64`, the head, holds the stream's selected database and the LSN of its end (`db:16 | lsn:48`). An
//! append reserves its place with one compare-and-swap - the bytes of a SELECT are reserved with it when the database
//! changes - then copies its bytes to `lsn mod capacity`, then publishes.
//!
//! **Publication.** Each appender owns a *mark*, an LSN below which it has nothing unpublished. Before it touches the
//! head it stores the head it saw (the coming reservation cannot be lower), after the copy `MAX`. The writer loads the
//! head first and the marks second and may take everything below the lowest of them:
//! * a reservation that the loaded head includes was made by a compare-and-swap that the load synchronizes with, so
//!   the mark stored before it, or a later one, is seen;
//! * a later mark is stored with release after the copy, so the copied bytes are seen too.
//!
//! The mark covers one append, not a batch: a thread that waits for a slot lock in mid-batch must not hold up the
//! writer, for the lock's owner may itself be waiting for space in the ring.
//!
//! **Space.** Byte `l` may be written when `l < floor + capacity`. The floor follows the writer at a distance (half the
//! ring), so that what was written lately can still be read from memory by [`Ring::read`]; it moves only under the
//! write side of `floor_lock`, and readers copy under the read side, so nobody reads bytes that are being overwritten.
//!
//! **Large records.** A record that does not fit is copied in pieces. Its appender then moves its mark into the record,
//! with the lowest bit of the mark's word set: such a limit is not a record boundary, and `large_start` says where the
//! record begins.
//!
//! **Failure.** Bytes below `dead_until` are wanted by nobody: their appenders give up waiting for space and drop them.
//! A failed log sets it to `MAX`; [`Consumer::revive`] starts again at the head.
//!
//! This file is the only one of the log that needs `unsafe`.
#![allow(unsafe_code)] // The ring's bytes are shared without a lock; the argument stands above.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex, RwLock};

use crate::{DbIndex, Lsn};

/// The head's database when the next append must select its own. Not a valid [`DbIndex`].
pub const DB_NONE: u16 = u16::MAX;

/// LSNs have 48 bits in the head; a stream of 256 TiB ends there.
pub const LSN_BITS: u32 = 48;

/// The longest record: its frame's length has eight hexadecimal digits, and other records may join the frame.
pub const RECORD_BYTES_MAX: u64 = 3 << 30;

const LSN_MASK: u64 = (1 << LSN_BITS) - 1;

/// A mark: `lsn << 1 | inside a large record`.
const MARK_FREE: u64 = u64::MAX;

/// Text of `SELECT db` as it is put into the stream.
pub(super) fn select_command(db: DbIndex) -> ([u8; 32], usize) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(db);
    let mut text = [0u8; 32];
    let mut at = 0;
    for part in [
        "*2\r\n$6\r\nSELECT\r\n$",
        itoa::Buffer::new().format(digits.len()),
        "\r\n",
        digits,
        "\r\n",
    ] {
        text[at..at + part.len()].copy_from_slice(part.as_bytes());
        at += part.len();
    }
    (text, at)
}

/// What one appender shows to the writer.
struct Slot {
    mark: AtomicU64,
    large_start: AtomicU64,
    in_batch: AtomicBool,
    batches: AtomicU32,
}

/// Fields that the writer stores and appenders load; apart from the head, which everybody stores.
struct Limits {
    /// Readable from here; writable below `floor + capacity`.
    floor: AtomicU64,
    /// The writer has taken everything below.
    drained: AtomicU64,
    /// Nobody wants bytes below.
    dead_until: AtomicU64,
}

/// The shared ring. See the module header.
pub struct Ring {
    head: CachePadded<AtomicU64>,
    limits: CachePadded<Limits>,
    bytes: Box<[UnsafeCell<u8>]>,
    slots: RwLock<Vec<Arc<CachePadded<Slot>>>>,
    floor_lock: RwLock<()>,
    /// How far behind the writer the floor stays.
    keep: u64,
    space_waiters: AtomicU32,
    space_lock: Mutex<()>,
    space: Condvar,
    /// Called by an appender that waits for space: wakes the log thread.
    want_space: Box<dyn Fn() + Send + Sync>,
}

// SAFETY: `bytes` is the only field that is not Sync by itself. A byte is written only by the appender that reserved
// its LSN, after `floor` passed the LSN one turn earlier; it is read only below the published limit and not below the
// floor, which cannot move while it is read (module header).
unsafe impl Sync for Ring {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Ring {}

/// How far the writer may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    /// Everything below is there.
    pub limit: Lsn,
    /// If `limit` is inside a record that is still being copied: where that record begins.
    pub inside_record_from: Option<Lsn>,
}

/// Bytes that the rings of this process take.
static RING_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Bytes of memory that the logs of this process take for their rings, whatever is in them.
pub fn ring_bytes() -> usize {
    RING_BYTES.load(Ordering::Relaxed)
}

impl Drop for Ring {
    fn drop(&mut self) {
        RING_BYTES.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

impl Ring {
    /// A ring of at least `capacity` bytes (rounded up to a power of two) whose stream goes on at `start`.
    ///
    /// # Panics
    /// If `start` has more than [`LSN_BITS`] bits; recovery refuses such logs.
    pub(super) fn new(
        capacity: usize,
        start: Lsn,
        want_space: Box<dyn Fn() + Send + Sync>,
    ) -> (Arc<Ring>, Consumer) {
        assert!(start.0 <= LSN_MASK, "an LSN has {LSN_BITS} bits");
        let capacity = capacity.next_power_of_two().max(64);
        let bytes: Box<[u8]> = vec![0u8; capacity].into_boxed_slice();
        RING_BYTES.fetch_add(capacity, Ordering::Relaxed);
        // SAFETY: `UnsafeCell<u8>` has the same layout as `u8`, and the box is ours alone.
        let bytes = unsafe { Box::from_raw(Box::into_raw(bytes) as *mut [UnsafeCell<u8>]) };
        let ring = Arc::new(Ring {
            head: CachePadded::new(AtomicU64::new(pack(DB_NONE, start.0))),
            limits: CachePadded::new(Limits {
                floor: AtomicU64::new(start.0),
                drained: AtomicU64::new(start.0),
                dead_until: AtomicU64::new(0),
            }),
            keep: capacity as u64 / 2,
            bytes,
            slots: RwLock::new(Vec::new()),
            floor_lock: RwLock::new(()),
            space_waiters: AtomicU32::new(0),
            space_lock: Mutex::new(()),
            space: Condvar::new(),
            want_space,
        });
        let consumer = Consumer {
            ring: Arc::clone(&ring),
            tail: start,
        };
        (ring, consumer)
    }

    /// Registers one more appender.
    pub(super) fn appender(self: &Arc<Ring>) -> RingAppender {
        let slot = Arc::new(CachePadded::new(Slot {
            mark: AtomicU64::new(MARK_FREE),
            large_start: AtomicU64::new(0),
            in_batch: AtomicBool::new(false),
            batches: AtomicU32::new(0),
        }));
        self.slots.write().push(Arc::clone(&slot));
        RingAppender {
            ring: Arc::clone(self),
            slot,
            _not_sync: PhantomData,
        }
    }

    /// The end of the stream: every byte below is reserved.
    pub fn head(&self) -> Lsn {
        Lsn(self.head.load(Ordering::Acquire) & LSN_MASK)
    }

    /// Size in bytes.
    pub fn capacity(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Bytes that can be appended before an appender has to wait.
    pub fn free(&self) -> u64 {
        let end = self.limits.floor.load(Ordering::Acquire) + self.capacity();
        end.saturating_sub(self.head().0)
    }

    /// Bytes appended that the writer has not taken.
    pub fn pending(&self) -> u64 {
        self.head()
            .0
            .saturating_sub(self.limits.drained.load(Ordering::Acquire))
    }

    /// Whether more waits for the writer than a quarter of the ring; appends have the rest of the half that the floor
    /// leaves them.
    pub(super) fn is_under_pressure(&self) -> bool {
        self.pending() > self.capacity() / 4
    }

    /// Whether appended bytes are dropped.
    pub(super) fn drops_everything(&self) -> bool {
        self.limits.dead_until.load(Ordering::Relaxed) == u64::MAX
    }

    /// Makes the next append select its database, and returns the position at which it will do so.
    pub(super) fn force_select(&self) -> Lsn {
        let head = self
            .head
            .fetch_or(u64::from(DB_NONE) << LSN_BITS, Ordering::AcqRel);
        Lsn(head & LSN_MASK)
    }

    /// How far everything is there.
    pub(super) fn published(&self) -> Published {
        loop {
            // The head first: see the module header.
            let mut lowest = (self.head.load(Ordering::Acquire) & LSN_MASK) << 1;
            let mut lowest_slot = None;
            let slots = self.slots.read();
            for slot in slots.iter() {
                let mark = slot.mark.load(Ordering::Acquire);
                if mark < lowest {
                    lowest = mark;
                    lowest_slot = Some(slot);
                }
            }
            let limit = Lsn(lowest >> 1);
            if lowest & 1 == 0 {
                return Published {
                    limit,
                    inside_record_from: None,
                };
            }
            if let Some(slot) = lowest_slot {
                let start = Lsn(slot.large_start.load(Ordering::Acquire));
                // Otherwise the appender has finished that record and begun another large one: look again.
                if start < limit {
                    return Published {
                        limit,
                        inside_record_from: Some(start),
                    };
                }
            }
        }
    }

    /// True while an appender is between `begin_batch` and `end_batch`.
    pub(super) fn any_in_batch(&self) -> bool {
        self.slots
            .read()
            .iter()
            .any(|slot| slot.in_batch.load(Ordering::Relaxed))
    }

    /// A count that grows by one with every batch of every appender.
    pub(super) fn batches(&self) -> u32 {
        self.slots.read().iter().fold(0u32, |sum, slot| {
            sum.wrapping_add(slot.batches.load(Ordering::Relaxed))
        })
    }

    /// From now on appended bytes are dropped; appenders that wait for space give up.
    pub(super) fn drop_everything(&self) {
        self.limits.dead_until.store(u64::MAX, Ordering::SeqCst);
        let _guard = self.space_lock.lock();
        self.space.notify_all();
    }

    /// Copies bytes from `from` on, at most `bytes_max` and none at or after `end`, which must not be above what the
    /// writer has taken. `None` if the ring no longer has `from`.
    pub(super) fn read(
        &self,
        from: Lsn,
        end: Lsn,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Option<usize> {
        let _floor_stays = self.floor_lock.read();
        let floor = self.limits.floor.load(Ordering::Acquire);
        let drained = self.limits.drained.load(Ordering::Acquire);
        if from.0 < floor || end.0 > drained {
            return None;
        }
        let count = end.0.saturating_sub(from.0).min(bytes_max as u64);
        // SAFETY: `floor <= from` and `from + count <= drained`; the floor cannot move while the lock is held.
        for piece in unsafe { self.slices(from.0, count) } {
            out.extend_from_slice(piece);
        }
        Some(count as usize)
    }

    /// The bytes of `from..from + count`, in two pieces when they wrap.
    ///
    /// # Safety
    /// The range must be published and the floor must not pass `from` while the slices live.
    unsafe fn slices(&self, from: u64, count: u64) -> [&[u8]; 2] {
        let at = (from & (self.capacity() - 1)) as usize;
        let first = (count as usize).min(self.bytes.len() - at);
        let base = self.bytes.as_ptr() as *const u8;
        // SAFETY: both ranges are inside the ring (`count <= capacity`, as floor <= from and published < floor +
        // capacity), and nobody writes them (caller).
        unsafe {
            [
                std::slice::from_raw_parts(base.add(at), first),
                std::slice::from_raw_parts(base, count as usize - first),
            ]
        }
    }

    /// Copies `bytes` to the places of `at..`, which the caller has reserved and found free.
    ///
    /// # Safety
    /// The whole range must be reserved by the caller, unpublished, and below `floor + capacity`.
    unsafe fn put(&self, at: u64, bytes: &[u8]) {
        let index = (at & (self.capacity() - 1)) as usize;
        let first = bytes.len().min(self.bytes.len() - index);
        let base = self.bytes.as_ptr() as *mut u8;
        // SAFETY: in bounds as in `slices`; the writes go through `UnsafeCell`, and no one else has this range.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), base.add(index), first);
            std::ptr::copy_nonoverlapping(bytes.as_ptr().add(first), base, bytes.len() - first);
        }
    }

    /// The position below which `lsn` may be written now, or `None` if nobody wants bytes below `end`.
    fn writable_below(&self, end: u64) -> Option<u64> {
        if end <= self.limits.dead_until.load(Ordering::Acquire) {
            return None;
        }
        Some(self.limits.floor.load(Ordering::Acquire) + self.capacity())
    }

    /// Waits until more than `below` is writable. Returns at times without reason; the caller looks again.
    #[cold]
    fn wait_for_space(&self, below: u64, end: u64) {
        // Counted before the log thread is woken, so that it gives space back at once.
        self.space_waiters.fetch_add(1, Ordering::SeqCst);
        (self.want_space)();
        let mut guard = self.space_lock.lock();
        if self
            .writable_below(end)
            .is_some_and(|writable| writable <= below)
        {
            // The time limit is a second line of defence; the writer notifies.
            self.space.wait_for(&mut guard, Duration::from_millis(20));
        }
        drop(guard);
        self.space_waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Moves the floor to `floor`, which must not be above what is taken.
    fn raise_floor(&self, floor: u64) {
        {
            let _no_reader = self.floor_lock.write();
            self.limits.floor.store(floor, Ordering::SeqCst);
        }
        if self.space_waiters.load(Ordering::SeqCst) > 0 {
            let _guard = self.space_lock.lock();
            self.space.notify_all();
        }
    }
}

fn pack(db: u16, lsn: u64) -> u64 {
    u64::from(db) << LSN_BITS | lsn
}

/// One thread's way into the ring.
pub(super) struct RingAppender {
    ring: Arc<Ring>,
    slot: Arc<CachePadded<Slot>>,
    /// One mark, one append at a time: the appender may move between threads but not be shared.
    _not_sync: PhantomData<Cell<()>>,
}

impl RingAppender {
    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn begin_batch(&self) {
        self.slot.in_batch.store(true, Ordering::Relaxed);
    }

    pub(super) fn end_batch(&self) {
        self.slot.in_batch.store(false, Ordering::Relaxed);
        self.slot.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends one record and returns where it ends.
    ///
    /// `db` is the database it starts in, or `None` if it must go in without a SELECT; the stream is in `db_after`
    /// when it ends.
    pub(super) fn append(&self, db: Option<DbIndex>, db_after: u16, parts: &[&[u8]]) -> Lsn {
        let record_bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        assert!(
            record_bytes <= RECORD_BYTES_MAX,
            "the engine limits the size of a record"
        );
        let ring = &*self.ring;
        let mut select = ([0u8; 32], 0);
        let mut seen = ring.head.load(Ordering::Relaxed);
        let start = loop {
            let lsn = seen & LSN_MASK;
            // Published by the release of the compare-and-swap below.
            self.slot.mark.store(lsn << 1, Ordering::Relaxed);
            select.1 = 0;
            if let Some(db) = db
                && (seen >> LSN_BITS) as u16 != db
            {
                select = select_command(db);
            }
            let end = lsn + select.1 as u64 + record_bytes;
            assert!(end <= LSN_MASK, "the stream is full at 2^{LSN_BITS} bytes");
            match ring.head.compare_exchange_weak(
                seen,
                pack(db_after, end),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break lsn,
                Err(now) => seen = now,
            }
        };
        let end = start + select.1 as u64 + record_bytes;
        let mut copy = Copy {
            ring,
            slot: &self.slot,
            start,
            at: start,
            end,
        };
        let wanted = copy.put(&select.0[..select.1]) && parts.iter().all(|part| copy.put(part));
        debug_assert!(!wanted || copy.at == end);
        self.slot.mark.store(MARK_FREE, Ordering::Release);
        Lsn(end)
    }
}

impl Drop for RingAppender {
    fn drop(&mut self) {
        self.slot.mark.store(MARK_FREE, Ordering::Release);
        self.slot.in_batch.store(false, Ordering::Relaxed);
        self.ring
            .slots
            .write()
            .retain(|slot| !Arc::ptr_eq(slot, &self.slot));
    }
}

/// The copying of one reserved record.
struct Copy<'a> {
    ring: &'a Ring,
    slot: &'a Slot,
    start: u64,
    at: u64,
    end: u64,
}

impl Copy<'_> {
    /// Copies the next bytes of the record, waiting for space where need be. False if nobody wants the record.
    fn put(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Some(writable) = self.ring.writable_below(self.end) else {
                return false;
            };
            let fits = writable.saturating_sub(self.at).min(bytes.len() as u64) as usize;
            if fits > 0 {
                // SAFETY: `start..end` is ours by the compare-and-swap, `at + fits <= writable`, and the mark is at or
                // below `at` until it moves below.
                unsafe { self.ring.put(self.at, &bytes[..fits]) };
                self.at += fits as u64;
                bytes = &bytes[fits..];
            }
            if !bytes.is_empty() {
                self.publish_piece();
                self.ring.wait_for_space(self.at, self.end);
            }
        }
        true
    }

    /// Lets the writer take what is copied, to make room for the rest.
    fn publish_piece(&self) {
        if self.at > self.start && self.at < self.end {
            self.slot.large_start.store(self.start, Ordering::Release);
            self.slot.mark.store(self.at << 1 | 1, Ordering::Release);
        }
    }
}

/// The writer's side of the ring: there is one.
pub(super) struct Consumer {
    ring: Arc<Ring>,
    /// Everything below has been taken.
    tail: Lsn,
}

impl Consumer {
    /// Where the next byte to take stands.
    pub(super) fn tail(&self) -> Lsn {
        self.tail
    }

    /// The bytes from the tail to `end`, which must be published.
    pub(super) fn peek(&self, from: Lsn, end: Lsn) -> [&[u8]; 2] {
        debug_assert!(self.tail <= from && from <= end);
        // SAFETY: published (callers pass what `published` returned), and only `take`, which needs `&mut self`, moves
        // the floor.
        unsafe { self.ring.slices(from.0, end - from) }
    }

    /// Gives the space of everything below `end` back.
    pub(super) fn take(&mut self, end: Lsn) {
        debug_assert!(self.tail <= end);
        self.tail = end;
        self.ring.limits.drained.store(end.0, Ordering::Release);
        let floor = self.ring.limits.floor.load(Ordering::Relaxed);
        let wanted = end.0.saturating_sub(self.ring.keep);
        // In steps, so that the lock is not taken for every small write; at once when somebody waits.
        let step = self.ring.keep / 16;
        if wanted > floor
            && (wanted - floor >= step || self.ring.space_waiters.load(Ordering::SeqCst) > 0)
        {
            self.ring.raise_floor(wanted);
        }
    }

    /// Ends [`Ring::drop_everything`]: the stream is wanted again from the returned position on, where the next append
    /// selects its database.
    pub(super) fn revive(&mut self) -> Lsn {
        let ring = Arc::clone(&self.ring);
        let mut seen = ring.head.load(Ordering::Acquire);
        let start = loop {
            let lsn = seen & LSN_MASK;
            // Before the head: whoever reserves after it must not drop its bytes by an old `dead_until`.
            ring.limits.dead_until.store(lsn, Ordering::Release);
            match ring.head.compare_exchange(
                seen,
                pack(DB_NONE, lsn),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break Lsn(lsn),
                Err(now) => seen = now,
            }
        };
        // Those that reserved below `start` may still be copying; the space they copy to must not be given away.
        // They are woken from waits, drop what they have left, and go.
        while ring.published().limit < start {
            let _guard = ring.space_lock.lock();
            ring.space.notify_all();
            drop(_guard);
            std::thread::yield_now();
        }
        self.tail = start;
        ring.limits.drained.store(start.0, Ordering::Release);
        ring.raise_floor(start.0);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(capacity: usize) -> (Arc<Ring>, Consumer) {
        Ring::new(capacity, Lsn::ZERO, Box::new(|| {}))
    }

    fn drain(ring: &Ring, consumer: &mut Consumer, out: &mut Vec<u8>) {
        let limit = ring.published().limit;
        for piece in consumer.peek(consumer.tail(), limit) {
            out.extend_from_slice(piece);
        }
        consumer.take(limit);
    }

    #[test]
    fn select_is_inserted_when_the_database_changes() {
        let (ring, mut consumer) = ring(1024);
        let appender = ring.appender();
        appender.append(Some(0), 0, &[b"a"]);
        appender.append(Some(0), 0, &[b"b"]);
        appender.append(Some(12), 12, &[b"c"]);
        let cut = ring.force_select();
        let end = appender.append(Some(12), 12, &[b"d"]);
        appender.append(None, 12, &[b"e"]);
        let mut out = Vec::new();
        drain(&ring, &mut consumer, &mut out);
        let select0 = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
        let select12 = "*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n";
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{select0}ab{select12}c{select12}de")
        );
        assert_eq!(end - cut, select12.len() as u64 + 1);
    }

    #[test]
    fn record_larger_than_the_ring_passes_in_pieces() {
        let (ring, mut consumer) = ring(64);
        let record: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        let expected = record.clone();
        let appender = ring.appender();
        let thread =
            std::thread::spawn(move || appender.append(None, 0, &[&record[..300], &record[300..]]));
        let mut out = Vec::new();
        let mut seen_inside = false;
        while out.len() < expected.len() {
            let published = ring.published();
            seen_inside |= published.inside_record_from == Some(Lsn::ZERO);
            drain(&ring, &mut consumer, &mut out);
            std::thread::yield_now();
        }
        assert_eq!(thread.join().unwrap(), Lsn(1000));
        assert_eq!(out, expected);
        assert!(seen_inside);
        assert_eq!(
            ring.published(),
            Published {
                limit: Lsn(1000),
                inside_record_from: None
            }
        );
    }

    #[test]
    fn many_appenders_lose_nothing_and_keep_records_whole() {
        let (threads, records) = if cfg!(miri) { (3, 20) } else { (4, 20_000) };
        let (ring, mut consumer) = ring(1 << 12);
        let workers: Vec<_> = (0..threads as u8)
            .map(|id| {
                let appender = ring.appender();
                std::thread::spawn(move || {
                    for n in 0..records as u32 {
                        // Some larger than the ring.
                        let filler = vec![
                            id;
                            if n % 1000 == 7 {
                                9000
                            } else {
                                (n % 50) as usize
                            }
                        ];
                        let len = (filler.len() as u32).to_le_bytes();
                        appender.append(None, 0, &[&[id], &n.to_le_bytes(), &len, &filler]);
                    }
                })
            })
            .collect();
        let mut out = Vec::new();
        while !workers.iter().all(|w| w.is_finished()) {
            drain(&ring, &mut consumer, &mut out);
        }
        drain(&ring, &mut consumer, &mut out);
        assert_eq!(out.len() as u64, ring.head().0);
        let mut next = vec![0u32; threads];
        let mut rest = &out[..];
        while !rest.is_empty() {
            let id = rest[0];
            let n = u32::from_le_bytes(rest[1..5].try_into().unwrap());
            let len = u32::from_le_bytes(rest[5..9].try_into().unwrap()) as usize;
            assert_eq!(
                n, next[id as usize],
                "records of one appender stay in order"
            );
            assert!(rest[9..9 + len].iter().all(|&b| b == id));
            next[id as usize] += 1;
            rest = &rest[9 + len..];
        }
        assert!(next.iter().all(|&n| n == records as u32));
    }

    #[test]
    fn failed_ring_drops_and_revives_at_its_head() {
        let (ring, mut consumer) = ring(64);
        let appender = ring.appender();
        let large = vec![1u8; 500];
        let waiting = {
            let appender = ring.appender();
            std::thread::spawn(move || appender.append(None, 0, &[&large]))
        };
        while ring.head() != Lsn(500) {
            std::thread::yield_now();
        }
        ring.drop_everything();
        assert_eq!(waiting.join().unwrap(), Lsn(500));
        assert_eq!(appender.append(None, 0, &[&[2; 100]]), Lsn(600));
        assert_eq!(consumer.revive(), Lsn(600));
        appender.append(None, 0, b"after".chunks(2).collect::<Vec<_>>().as_slice());
        let mut out = Vec::new();
        drain(&ring, &mut consumer, &mut out);
        assert_eq!(out, b"after");
    }

    #[test]
    fn written_bytes_stay_readable_until_overwritten() {
        let (ring, mut consumer) = ring(64);
        let appender = ring.appender();
        let mut out = Vec::new();
        for n in 0..40u8 {
            appender.append(None, 0, &[&[n; 10]]);
            drain(&ring, &mut consumer, &mut out);
        }
        let mut back = Vec::new();
        assert_eq!(ring.read(Lsn(0), Lsn(400), 10, &mut back), None);
        assert_eq!(ring.read(Lsn(380), Lsn(400), 15, &mut back), Some(15));
        assert_eq!(back, out[380..395]);
        assert_eq!(
            ring.read(Lsn(395), Lsn(401), 15, &mut back),
            None,
            "not taken yet"
        );
    }
}
