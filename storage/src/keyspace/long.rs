//! Long commands, and how nobody gets stuck behind one.
//!
//! A thread that serves many connections runs short *turns*. It may wait for another turn, for microseconds, but not for
//! a long command, which holds its slots and the shared gate for as long as it takes. So a long command runs on a thread
//! of its own, and says so beforehand:
//!
//! 1. it enters by [`Keyspace::enter_long`], which is counted;
//! 2. it marks its slots ([`Keyspace::mark`]), and waits until every turn that may have missed the marks is over. A turn
//!    counts itself in before it looks at a mark, so one of the two sees the other;
//! 3. then it locks them.
//!
//! A turn looks at the marks ([`Keyspace::is_marked`]) before it locks anything, as long as there are long commands at
//! all: a command that needs a marked slot is run on another thread, as a long one. Whoever takes the gate exclusively
//! first waits for the long commands, with the gate still open to turns, and holds new ones back meanwhile.
//!
//! Marks do not tell databases apart: a false one costs a change of threads.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use super::{ExclusiveGate, Keyspace, SLOTS, SharedGate};

/// How often a wait for turns yields before it sleeps between two looks.
const YIELDS: usize = 256;

/// Sleep between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// Who is inside for long, and who waits for that.
#[derive(Default)]
pub(super) struct LongCommands {
    /// Long commands inside. Changed under `waiting`, read without.
    running: CachePadded<AtomicUsize>,
    /// How many wait for the exclusive gate.
    waiting: Mutex<usize>,
    changed: Condvar,
    /// How many long commands have or want each slot.
    marks: OnceLock<Box<[AtomicU32]>>,
    turns: Mutex<Vec<Arc<TurnCounter>>>,
}

/// Counts the turns of one thread: odd while one is under way.
#[derive(Default)]
pub struct TurnCounter(CachePadded<AtomicU64>);

impl TurnCounter {
    /// Begins a turn; the thread is inside the gate.
    pub fn begin(&self) -> TurnMark<'_> {
        // In the one order of all SeqCst operations this stands before the turn's look at marks; a long command's marks
        // stand before its look at this.
        self.0.fetch_add(1, Ordering::SeqCst);
        TurnMark(self)
    }
}

/// A turn under way.
pub struct TurnMark<'c>(&'c TurnCounter);

impl Drop for TurnMark<'_> {
    fn drop(&mut self) {
        let counter = &self.0.0;
        // Only its thread counts.
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

/// A long command inside the keyspace.
pub struct LongPass<'k>(&'k LongCommands);

impl Drop for LongPass<'_> {
    fn drop(&mut self) {
        let _waiting = self.0.waiting.lock();
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_all();
    }
}

/// Slots that a long command has marked.
pub struct SlotMarks<'k> {
    marks: &'k [AtomicU32],
    slots: Vec<u16>,
}

impl Drop for SlotMarks<'_> {
    fn drop(&mut self) {
        for slot in &self.slots {
            self.marks[usize::from(*slot)].fetch_sub(1, Ordering::Release);
        }
    }
}

impl LongCommands {
    fn marks(&self) -> &[AtomicU32] {
        self.marks.get_or_init(|| {
            std::iter::repeat_with(AtomicU32::default)
                .take(SLOTS)
                .collect()
        })
    }

    /// Waits until no turn is under way that began before the call.
    fn wait_for_turns(&self) {
        let turns: Vec<_> = self
            .turns
            .lock()
            .iter()
            .map(|counter| (counter.clone(), counter.0.load(Ordering::SeqCst)))
            .filter(|(_, count)| count % 2 == 1)
            .collect();
        for (counter, count) in turns {
            let mut looks = 0;
            while counter.0.load(Ordering::Acquire) == count {
                looks += 1;
                if looks < YIELDS {
                    thread::yield_now();
                } else {
                    thread::sleep(LOOK_AGAIN);
                }
            }
        }
    }
}

impl Keyspace {
    /// A counter for the turns of one thread; given back by [`Keyspace::stop_counting`].
    pub fn count_turns(&self) -> Arc<TurnCounter> {
        let counter = Arc::new(TurnCounter::default());
        self.long.turns.lock().push(counter.clone());
        counter
    }

    /// The counter's thread has no more turns.
    pub fn stop_counting(&self, counter: &Arc<TurnCounter>) {
        let mut turns = self.long.turns.lock();
        turns.retain(|known| !Arc::ptr_eq(known, counter));
    }

    /// Enters the gate shared, for long. Waits while somebody wants it exclusively.
    pub fn enter_long(&self) -> (LongPass<'_>, SharedGate<'_>) {
        let mut waiting = self.long.waiting.lock();
        while *waiting > 0 {
            self.long.changed.wait(&mut waiting);
        }
        self.long.running.fetch_add(1, Ordering::SeqCst);
        drop(waiting);
        (LongPass(&self.long), self.enter())
    }

    /// Number of long commands inside.
    pub fn long_commands(&self) -> usize {
        self.long.running.load(Ordering::SeqCst)
    }

    /// Announces that a long command is about to lock these slots, in any database. The caller holds no slot.
    pub fn mark(&self, slots: Vec<u16>) -> SlotMarks<'_> {
        let marks = self.long.marks();
        for slot in &slots {
            marks[usize::from(*slot)].fetch_add(1, Ordering::SeqCst);
        }
        if !slots.is_empty() {
            self.long.wait_for_turns();
        }
        SlotMarks { marks, slots }
    }

    /// Whether a long command has or wants a slot of this number.
    pub fn is_marked(&self, slot: u16) -> bool {
        let marks = self.long.marks.get();
        marks.is_some_and(|marks| marks[usize::from(slot)].load(Ordering::SeqCst) > 0)
    }

    /// Enters the gate exclusively: waits until every long command, and then every batch, has left.
    ///
    /// Not for a thread that others wait for: this may take as long as the longest command.
    pub fn enter_exclusive(&self) -> ExclusiveGate<'_> {
        match self.enter_exclusive_until(None) {
            Some(gate) => gate,
            None => unreachable!("without a time limit the wait ends inside"),
        }
    }

    /// As [`Keyspace::enter_exclusive`], but gives up when the long commands take longer than `patience`.
    pub fn try_enter_exclusive(&self, patience: Duration) -> Option<ExclusiveGate<'_>> {
        self.enter_exclusive_until(Some(Instant::now() + patience))
    }

    fn enter_exclusive_until(&self, deadline: Option<Instant>) -> Option<ExclusiveGate<'_>> {
        let mut waiting = self.long.waiting.lock();
        *waiting += 1;
        let mut late = false;
        while self.long.running.load(Ordering::SeqCst) > 0 && !late {
            match deadline {
                None => self.long.changed.wait(&mut waiting),
                Some(at) => late = self.long.changed.wait_until(&mut waiting, at).timed_out(),
            }
        }
        let is_clear = self.long.running.load(Ordering::SeqCst) == 0;
        drop(waiting);
        // Long commands are still held back, so only turns have to end.
        let gate = is_clear.then(|| self.close_gate());
        let mut waiting = self.long.waiting.lock();
        *waiting -= 1;
        self.long.changed.notify_all();
        gate
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn marks_wait_for_turns_that_may_have_missed_them() {
        let keyspace = Keyspace::new(1);
        let counter = keyspace.count_turns();
        let other = keyspace.count_turns();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let gate = keyspace.enter();
            let turn = counter.begin();
            assert!(!keyspace.is_marked(7));
            let (marked, seen) = mpsc::channel();
            let (keyspace, over) = (&keyspace, &over);
            scope.spawn(move || {
                let _inside = keyspace.enter_long();
                let marks = keyspace.mark(vec![7, 9]);
                marked.send(over.load(Ordering::SeqCst)).unwrap();
                drop(marks);
            });
            while !keyspace.is_marked(9) {
                thread::yield_now();
            }
            // One that begins now sees the marks, and need not be waited for.
            let late = other.begin();
            assert!(keyspace.is_marked(7) && !keyspace.is_marked(8));
            assert_eq!(keyspace.long_commands(), 1);
            over.store(true, Ordering::SeqCst);
            drop(turn);
            assert!(
                seen.recv().unwrap(),
                "the marks were there before the turn was over"
            );
            drop(late);
            drop(gate);
        });
        assert!(!keyspace.is_marked(7) && !keyspace.is_marked(9));
        assert_eq!(keyspace.long_commands(), 0);
    }

    #[test]
    fn the_exclusive_side_waits_for_long_commands_with_the_gate_open() {
        let keyspace = Keyspace::new(1);
        let inside = keyspace.enter_long();
        assert!(keyspace.try_enter_exclusive(Duration::ZERO).is_none());
        thread::scope(|scope| {
            let waits = scope.spawn(|| drop(keyspace.enter_exclusive()));
            while *keyspace.long.waiting.lock() == 0 {
                thread::yield_now();
            }
            // Turns go on meanwhile.
            drop(keyspace.enter());
            assert!(!waits.is_finished());
            // A second long command would be held back.
            drop(inside);
            waits.join().unwrap();
        });
        drop(keyspace.enter_long());
        assert!(keyspace.try_enter_exclusive(Duration::ZERO).is_some());
    }

    #[test]
    fn a_counter_that_was_given_back_is_not_waited_for() {
        let keyspace = Keyspace::new(1);
        let counter = keyspace.count_turns();
        let turn = counter.begin();
        keyspace.stop_counting(&counter);
        drop(keyspace.mark(vec![1]));
        drop(turn);
    }
}
