//! A long string that is changed in place while a snapshot reads it as it was.
//!
//! Copying a string of hundreds of MB because one byte of it changes would stall its slot for as long as that takes, and
//! double its memory. So a snapshot gets a [`StringView`]: it reads the string in pieces of [`PIECE`] bytes, and a
//! writer that changes a piece which a view has yet to read leaves it a copy of that piece first.
//!
//! * **Owners** ([`LongString`]) belong to records. They read the bytes directly, under their slot's lock. The only owner
//!   changes them in place; where there are several (COPY shares), a writer makes a copy for itself.
//! * **Views** belong to a snapshot. They read only under the string's own mutex, which a writer holds too.
//!
//! So the bytes are written only by the single owner, borrowed mutably, with the mutex held; owners that read exclude
//! that by the borrow or by their number, views by the mutex.
#![allow(unsafe_code)] // Reading and writing one buffer from two places; the rules are above.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use triomphe::Arc;

use crate::value::shared_with_snapshot;

/// Bytes that a view reads, and a writer keeps for it, at a time.
const PIECE: usize = 64 * 1024;

/// Spare room that a string gets when it grows, unless its own length or an eighth of it says otherwise.
const SPARE_MIN: usize = 1024 * 1024;

/// A handle on a string, through which it is read and changed.
pub(super) struct LongString(Arc<Shared>);

/// The string as it was when the view was made, to be read once from its begin to its end.
pub(super) struct StringView {
    string: Arc<Shared>,
    id: u32,
    len: usize,
}

pub(super) struct Shared {
    bytes: UnsafeCell<Vec<u8>>,
    owners: AtomicU32,
    /// What each view has yet to read; `None` if there are none.
    #[expect(
        clippy::box_collection,
        reason = "nearly all strings have none, and pay for eight bytes only"
    )]
    views: Mutex<Option<Box<Vec<Unread>>>>,
}

// SAFETY: `bytes` is the only part that is not `Sync` by itself. It is read by owners and views and written by a
// single owner, and the module's rules keep these apart.
unsafe impl Sync for Shared {}

/// A view's place, and the pieces from there on that have been changed since.
struct Unread {
    id: u32,
    from: usize,
    len: usize,
    pieces: BTreeMap<usize, Box<[u8]>>,
}

impl LongString {
    pub(super) fn new(bytes: Vec<u8>) -> LongString {
        LongString(Arc::new(Shared {
            bytes: UnsafeCell::new(bytes),
            owners: AtomicU32::new(1),
            views: Mutex::new(None),
        }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// One more owner.
    pub(super) fn share(&self) -> LongString {
        // Whoever shares is an owner, so the number cannot drop to zero meanwhile.
        self.0.owners.fetch_add(1, Ordering::Relaxed);
        LongString(Arc::clone(&self.0))
    }

    /// A view of the string as it is.
    pub(super) fn view(&self) -> StringView {
        let len = self.bytes().len();
        let mut views = self.0.views.lock();
        let views = views.get_or_insert_default();
        let id = views.iter().map(|view| view.id + 1).max().unwrap_or(0);
        views.push(Unread {
            id,
            from: 0,
            len,
            pieces: BTreeMap::new(),
        });
        StringView {
            string: Arc::clone(&self.0),
            id,
            len,
        }
    }

    /// Writes `value` at `offset`; a string that ends before that is continued with zeros. Growing a string again and
    /// again takes linear time in all.
    pub(super) fn write(&mut self, offset: usize, value: &[u8]) {
        let end = offset + value.len();
        // Acquire: what another owner has read before it went is read.
        if self.0.owners.load(Ordering::Acquire) > 1 {
            let old = self.bytes();
            shared_with_snapshot::note(old.len());
            let mut copy = Vec::with_capacity(old.len().max(end));
            copy.extend_from_slice(old);
            *self = LongString::new(copy);
        }
        let mut views = self.0.views.lock();
        // SAFETY: this is the only owner, and borrowed mutably, so no other can come into being; views read under the
        // mutex that is held.
        let bytes = unsafe { &mut *self.0.bytes.get() };
        for view in views.iter_mut().flat_map(|views| views.iter_mut()) {
            view.keep(bytes, offset..end);
        }
        if end > bytes.len() {
            if end > bytes.capacity() {
                let spare = end.min((end / 8).max(SPARE_MIN));
                bytes.reserve_exact(end - bytes.len() + spare);
            }
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(value);
    }

    /// Bytes that [`LongString::write`] up to `end` copies or fills beside those it is given.
    pub(super) fn moved_by_write(&self, end: usize) -> usize {
        let len = self.bytes().len();
        // SAFETY: as for `bytes`.
        let capacity = unsafe { (*self.0.bytes.get()).capacity() };
        let is_copied = end > capacity || self.0.owners.load(Ordering::Relaxed) > 1;
        if is_copied {
            len.max(end)
        } else {
            end.saturating_sub(len)
        }
    }

    /// Bytes that it takes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        // SAFETY: as for `bytes`.
        let capacity = unsafe { (*self.0.bytes.get()).capacity() };
        size_of::<usize>() + size_of::<Shared>() + capacity
    }

    /// Whether a snapshot reads it.
    pub(super) fn is_viewed(&self) -> bool {
        self.0.views.lock().is_some()
    }

    /// Its address, which stands for the handle until [`LongString::from_raw`].
    pub(super) fn into_raw(self) -> *const Shared {
        let string = std::mem::ManuallyDrop::new(self);
        // SAFETY: the reference is moved out of a handle that is not used again, nor dropped.
        Arc::into_raw(unsafe { std::ptr::read(&string.0) })
    }

    /// The handle again.
    ///
    /// # Safety
    /// `raw` comes from [`LongString::into_raw`], and stands for one handle only.
    pub(super) unsafe fn from_raw(raw: *const Shared) -> LongString {
        // SAFETY: the caller's promise.
        LongString(unsafe { Arc::from_raw(raw) })
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> u32 {
        self.0.owners.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// The bytes; the caller is an owner.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the caller is an owner that is borrowed, so there is no other that could write, or it would not write
        // in place.
        unsafe { &*self.bytes.get() }
    }
}

impl Drop for LongString {
    fn drop(&mut self) {
        // Release: what this owner has read is read before another finds itself the only one.
        self.0.owners.fetch_sub(1, Ordering::Release);
    }
}

impl Unread {
    /// Keeps the pieces that a change of `range` touches. `bytes` is the string before the change.
    fn keep(&mut self, bytes: &[u8], range: Range<usize>) {
        let range = range.start.max(self.from)..range.end.min(self.len);
        if range.is_empty() {
            return;
        }
        for number in range.start / PIECE..=(range.end - 1) / PIECE {
            self.pieces.entry(number).or_insert_with(|| {
                let piece = &bytes[number * PIECE..((number + 1) * PIECE).min(self.len)];
                shared_with_snapshot::note(piece.len());
                piece.into()
            });
        }
    }
}

impl StringView {
    /// The length of the string as it was.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends the next piece to `out`; false if there is none.
    pub(super) fn read_piece(&mut self, out: &mut Vec<u8>) -> bool {
        let mut views = self.string.views.lock();
        let Some(unread) = views
            .iter_mut()
            .flat_map(|views| views.iter_mut())
            .find(|unread| unread.id == self.id)
        else {
            return false;
        };
        let from = unread.from;
        if from == unread.len {
            return false;
        }
        let to = (from + PIECE).min(unread.len);
        match unread.pieces.remove(&(from / PIECE)) {
            Some(piece) => out.extend_from_slice(&piece),
            None => {
                // SAFETY: writers hold the mutex that is held here.
                let bytes: &[u8] = unsafe { &*self.string.bytes.get() };
                out.extend_from_slice(&bytes[from..to]);
            }
        }
        unread.from = to;
        true
    }
}

impl Drop for StringView {
    fn drop(&mut self) {
        let mut views = self.string.views.lock();
        if let Some(list) = &mut *views {
            list.retain(|unread| unread.id != self.id);
            if list.is_empty() {
                *views = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn rest(view: &mut StringView) -> Vec<u8> {
        let mut out = Vec::new();
        while view.read_piece(&mut out) {}
        out
    }

    #[test]
    fn views_read_what_was_there_whatever_is_written_meanwhile() {
        let mut rng = SmallRng::seed_from_u64(11);
        for _ in 0..200 {
            let mut model: Vec<u8> = (0..rng.random_range(1..4 * PIECE))
                .map(|at| at as u8)
                .collect();
            let mut string = LongString::new(model.clone());
            let mut views: Vec<(StringView, Vec<u8>, Vec<u8>)> = Vec::new();
            for _ in 0..rng.random_range(1..40) {
                match rng.random_range(0..4) {
                    0 if views.len() < 3 => {
                        let view = string.view();
                        assert_eq!(view.len(), model.len());
                        views.push((view, model.clone(), Vec::new()));
                    }
                    1 => {
                        for (view, _, read) in &mut views {
                            view.read_piece(read);
                        }
                    }
                    2 if rng.random_bool(0.2) => {
                        views.pop();
                    }
                    _ => {
                        let offset = rng.random_range(0..model.len() + PIECE);
                        let value = vec![rng.random(); rng.random_range(0..2 * PIECE)];
                        string.write(offset, &value);
                        let end = offset + value.len();
                        model.resize(model.len().max(end), 0);
                        model[offset..end].copy_from_slice(&value);
                        assert!(string.bytes() == model);
                    }
                }
            }
            drop(Some(string).filter(|_| rng.random_bool(0.5)));
            for (mut view, expected, mut read) in views {
                read.extend(rest(&mut view));
                assert!(read == expected);
            }
        }
    }

    #[test]
    fn writer_beside_a_view_copies_a_piece_and_no_more() {
        let mut string = LongString::new(vec![7; 64 * PIECE]);
        let address = string.bytes().as_ptr();
        let mut view = string.view();
        shared_with_snapshot::take(1);
        string.write(5 * PIECE + 1, b"x");
        string.write(5 * PIECE + 9, b"y");
        assert_eq!(shared_with_snapshot::take(1), PIECE);
        assert_eq!(string.bytes().as_ptr(), address);
        assert_eq!(rest(&mut view), vec![7; 64 * PIECE]);
        string.write(0, b"z");
        assert_eq!(shared_with_snapshot::take(1), 0, "it has been read");
        assert!(string.is_viewed());
        drop(view);
        assert!(!string.is_viewed());
    }

    #[test]
    fn two_owners_do_not_see_each_others_writes() {
        let mut one = LongString::new(vec![1; 2000]);
        let mut two = one.share();
        let mut view = two.view();
        one.write(0, b"one");
        assert_eq!((one.owners(), two.owners()), (1, 1));
        two.write(1999, b"two");
        assert!(one.bytes().starts_with(b"one\x01") && one.bytes().len() == 2000);
        assert!(two.bytes().ends_with(b"\x01two") && two.bytes().len() == 2002);
        assert_eq!(rest(&mut view), [1; 2000]);
    }

    #[test]
    fn view_on_another_thread_is_exact_beside_a_writer() {
        const LEN: usize = 20 * PIECE;
        let mut string = LongString::new(vec![0; LEN]);
        let mut rng = SmallRng::seed_from_u64(5);
        for round in 1..20u8 {
            let before = string.bytes().to_vec();
            let mut view = string.view();
            std::thread::scope(|scope| {
                let reader = scope.spawn(move || rest(&mut view));
                for _ in 0..300 {
                    let offset = rng.random_range(0..LEN);
                    string.write(offset, &[round; 100]);
                }
                assert!(reader.join().unwrap() == before, "round {round}");
            });
        }
    }
}
