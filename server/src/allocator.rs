//! The allocator: jemalloc, with an exact count of the bytes it has given out.
//!
//! jemalloc's own statistics lag behind, count what its thread caches hold, and take microseconds to bring up to
//! date; `maxmemory` wants a number per command. So each thread adds up the sizes of what it allocates and frees, and
//! passes the sum on to one global count whenever it exceeds [`GRANULARITY`]. That is an addition and a comparison per
//! call. A thread's own unpassed sum is part of what it reads; those of the others, a few KiB each, are not.
//!
//! What counts is the size of jemalloc's class for a request, that is what the request really takes. It is worked
//! out instead of asked for: four classes to every doubling, in steps of 16 bytes at least, and whole pages from 32 KiB
//! on (a test compares it with the allocator's word).
#![allow(
    unsafe_code,
    reason = "GlobalAlloc is an unsafe trait; every call is passed on as it came"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use tikv_jemallocator::Jemalloc;

/// jemalloc, counted.
pub struct Counting;

/// A thread passes its sum on when it exceeds this many bytes, either way.
const GRANULARITY: u64 = 16 * 1024;

/// Instead of a sum: the thread has not counted anything yet.
const NEW: i64 = i64::MIN / 2;
/// Instead of a sum: the thread is about to end and counts globally.
const ENDING: i64 = i64::MAX / 2;

/// Bytes given out, but for what threads have yet to pass on.
static ALLOCATED: AtomicI64 = AtomicI64::new(0);
/// The most there ever was in `ALLOCATED`.
static PEAK: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// The thread's sum. Needs no destructor and no initialisation, so that looking at it is one instruction.
    static SUM: Cell<i64> = const { Cell::new(NEW) };
    /// Passes the sum on when the thread ends.
    static AT_END: PassOn = const { PassOn };
}

struct PassOn;

impl Drop for PassOn {
    fn drop(&mut self) {
        pass_on(SUM.replace(ENDING));
    }
}

/// Bytes given out and not freed.
pub fn allocated() -> u64 {
    let own = Some(SUM.get()).filter(|sum| !matches!(*sum, NEW | ENDING));
    let all = ALLOCATED.load(Ordering::Relaxed) + own.unwrap_or(0);
    u64::try_from(all).unwrap_or(0)
}

/// The most bytes that were ever given out at a time.
pub fn peak() -> u64 {
    let peak = PEAK.load(Ordering::Relaxed);
    u64::try_from(peak).unwrap_or(0).max(allocated())
}

/// Begins to look for the peak anew.
pub fn reset_peak() {
    PEAK.store(ALLOCATED.load(Ordering::Relaxed), Ordering::Relaxed);
}

#[inline]
fn count(change: i64) {
    let sum = SUM.get().wrapping_add(change);
    if sum.unsigned_abs() < GRANULARITY {
        SUM.set(sum);
    } else {
        count_rarely(change);
    }
}

#[cold]
fn count_rarely(change: i64) {
    match SUM.get() {
        NEW => {
            // Before the destructor is registered, in case that allocates.
            SUM.set(0);
            if AT_END.try_with(|_| ()).is_err() {
                SUM.set(ENDING);
            }
            count(change);
        }
        ENDING => pass_on(change),
        sum => {
            SUM.set(0);
            pass_on(sum + change);
        }
    }
}

fn pass_on(change: i64) {
    let all = ALLOCATED.fetch_add(change, Ordering::Relaxed) + change;
    if all > PEAK.load(Ordering::Relaxed) {
        PEAK.fetch_max(all, Ordering::Relaxed);
    }
}

/// What a buffer of so many bytes takes.
pub fn given_for(bytes: usize) -> usize {
    match Layout::array::<u8>(bytes) {
        Ok(layout) if bytes > 0 => class(layout) as usize,
        _ => bytes,
    }
}

/// What jemalloc gives for a request.
#[inline]
fn class(layout: Layout) -> i64 {
    const QUANTUM: usize = 16;
    const PAGE: usize = 4096;
    const PAGES_ABOVE: usize = 8 * PAGE;
    let size = if layout.align() > QUANTUM / 2 {
        layout.size().next_multiple_of(layout.align())
    } else {
        layout.size()
    };
    let class = if size <= 8 * QUANTUM {
        if size <= QUANTUM / 2 {
            QUANTUM / 2
        } else {
            size.next_multiple_of(QUANTUM)
        }
    } else if size <= PAGES_ABOVE {
        let step = 1usize << ((size - 1).ilog2() - 2);
        size.next_multiple_of(step)
    } else {
        size.next_multiple_of(PAGE)
    };
    class as i64
}

// SAFETY: every request is passed on to jemalloc unchanged, and so is its answer; counting neither fails nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for.
        let pointer = unsafe { Jemalloc.alloc(layout) };
        if !pointer.is_null() {
            count(class(layout));
        }
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for.
        let pointer = unsafe { Jemalloc.alloc_zeroed(layout) };
        if !pointer.is_null() {
            count(class(layout));
        }
        pointer
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those that are asked for.
        unsafe { Jemalloc.dealloc(pointer, layout) };
        count(-class(layout));
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are those that are asked for.
        let moved = unsafe { Jemalloc.realloc(pointer, layout, new_size) };
        if !moved.is_null() {
            // SAFETY: the caller promises that the new size makes a layout with the old alignment.
            let new = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
            count(class(new) - class(layout));
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the other tests of this binary may allocate meanwhile.
    const NOISE: i64 = 8 << 20;
    /// Held by tests that allocate more than that.
    static MUCH: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

    fn usable(layout: Layout) -> usize {
        // SAFETY: the layout's size is not zero, and the memory is freed with the same layout.
        unsafe {
            let pointer = Jemalloc.alloc(layout);
            assert!(!pointer.is_null());
            let usable = tikv_jemallocator::usable_size(pointer);
            Jemalloc.dealloc(pointer, layout);
            usable
        }
    }

    #[test]
    fn class_is_what_jemalloc_gives() {
        let small = 1..=20_000usize;
        let large = (14..28).flat_map(|bits| {
            let power = 1usize << bits;
            [-4097i64, -1, 0, 1, 4095, 4096, 5000]
                .map(|off| power.wrapping_add_signed(off as isize))
        });
        for size in small.chain(large) {
            for align in [1, 8, 16] {
                let layout = Layout::from_size_align(size, align).unwrap();
                assert_eq!(class(layout), usable(layout) as i64, "{layout:?}");
            }
        }
        for size in [
            1,
            40,
            64,
            100,
            192,
            320,
            1000,
            4096,
            8192,
            14_336,
            16_384,
            70_000,
            1 << 20,
        ] {
            for align in [32, 64, 128, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                assert_eq!(class(layout), usable(layout) as i64, "{layout:?}");
            }
        }
    }

    #[test]
    fn what_is_freed_by_another_thread_is_not_counted_any_more() {
        const BYTES: usize = 64 << 20;
        let _alone = MUCH.lock();
        let before = allocated() as i64;
        let boxes = std::thread::spawn(|| {
            (0..BYTES / 1024)
                .map(|_| vec![1u8; 1024])
                .collect::<Vec<_>>()
        });
        let boxes = boxes.join().unwrap();
        let held = allocated() as i64 - before;
        assert!((held - BYTES as i64).abs() < NOISE, "{held}");
        assert!(peak() as i64 >= before + BYTES as i64 - NOISE);
        std::thread::spawn(move || drop(boxes)).join().unwrap();
        let left = allocated() as i64 - before;
        assert!(left.abs() < NOISE, "{left}");
    }

    #[test]
    fn own_small_allocations_show_at_once() {
        pass_on(SUM.replace(0));
        let block = std::hint::black_box(Box::new([0u8; 4000]));
        assert_eq!(SUM.get(), 4096);
        drop(block);
        assert_eq!(SUM.get(), 0);
    }

    #[test]
    fn threads_that_end_leave_nothing_behind() {
        let _alone = MUCH.lock();
        let before = allocated() as i64;
        for _ in 0..2000 {
            let kept = std::thread::spawn(|| vec![0u8; 9000]).join().unwrap();
            drop(kept);
        }
        let drift = allocated() as i64 - before;
        assert!(drift.abs() < NOISE, "{drift}");
    }
}
