//! A set of slots as a bitmap: which have keys, which have keys that expire, which have clients waiting.
//!
//! A bit is changed under its slot's lock and may be read without it: the answer is then as of some moment nearby.

use std::sync::atomic::{AtomicU64, Ordering};

use super::SLOTS;

const WORD: usize = u64::BITS as usize;

/// Some of the 16384 slots; 2 KiB.
pub(super) struct SlotSet {
    words: Box<[AtomicU64]>,
}

impl SlotSet {
    pub(super) fn new() -> SlotSet {
        SlotSet {
            words: (0..SLOTS / WORD).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn contains(&self, slot: u16) -> bool {
        let (word, bit) = self.place(slot);
        word.load(Ordering::Acquire) & bit != 0
    }

    pub(super) fn set(&self, slot: u16, present: bool) {
        let (word, bit) = self.place(slot);
        if present {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// The first slot of the set at or after `from`.
    pub(super) fn next(&self, from: u16) -> Option<u16> {
        let (first, skip) = (usize::from(from) / WORD, usize::from(from) % WORD);
        for (index, word) in self.words.iter().enumerate().skip(first) {
            let mut bits = word.load(Ordering::Acquire);
            if index == first {
                bits &= u64::MAX << skip;
            }
            if bits != 0 {
                return Some((index * WORD) as u16 + bits.trailing_zeros() as u16);
            }
        }
        None
    }

    fn place(&self, slot: u16) -> (&AtomicU64, u64) {
        (
            &self.words[usize::from(slot) / WORD],
            1 << (usize::from(slot) % WORD),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_finds_every_member_in_order() {
        let set = SlotSet::new();
        assert_eq!(set.next(0), None);
        let members = [0, 1, 63, 64, 200, 16_319, 16_383];
        members.iter().for_each(|&slot| set.set(slot, true));
        set.set(100, true);
        set.set(100, false);
        let found: Vec<u16> =
            std::iter::successors(set.next(0), |slot| set.next(slot + 1)).collect();
        assert_eq!(found, members);
        assert!(set.contains(200) && !set.contains(100));
        assert_eq!(set.next(u16::MAX), None);
    }
}
