//! The steps of a disk, to be played again: every moment of a run can be looked at, and crashed, without another run.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::SimDisk;
use super::model::{State, Step};

/// What was recorded of a disk. It stands at one moment, between two steps: first at the beginning.
///
/// A crash at a moment is what [`SimDisk::crash`] would have left then.
#[derive(Clone)]
pub struct Tape {
    start: State,
    steps: Vec<Step>,
    state: State,
    position: usize,
}

impl Tape {
    pub(super) fn new(start: State) -> Tape {
        Tape {
            state: start.clone(),
            start,
            steps: Vec::new(),
            position: 0,
        }
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Steps before the moment.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Goes on by one step. False at the end.
    pub fn forward(&mut self) -> bool {
        match self.steps.get(self.position) {
            Some(step) => {
                self.state.apply(step);
                self.position += 1;
                true
            }
            None => false,
        }
    }

    /// Goes to the moment after so many steps, or to the end.
    pub fn seek(&mut self, position: usize) {
        if position < self.position {
            self.state = self.start.clone();
            self.position = 0;
        }
        while self.position < position && self.forward() {}
    }

    /// What a power cut at this moment leaves, by the seed.
    pub fn crash(&self, seed: u64) -> SimDisk {
        SimDisk::of(self.state.crash(seed), seed)
    }

    /// What it leaves at worst: nothing that was not synced.
    pub fn crash_keeping_synced(&self) -> SimDisk {
        SimDisk::of(self.state.crash_keeping_synced(), 0)
    }

    /// What a power cut inside the next step leaves, if that is a write: a part of it may be there.
    pub fn crash_inside(&self, seed: u64) -> Option<SimDisk> {
        let mut rng = StdRng::seed_from_u64(seed);
        let part = self.steps.get(self.position)?.in_part(&mut rng)?;
        let mut state = self.state.clone();
        state.apply(&part);
        let state = match rng.random_bool(0.5) {
            true => state.settled(),
            false => state.crash(rng.random()),
        };
        Some(SimDisk::of(state, seed))
    }

    /// What the death of the process at this moment leaves.
    pub fn kill(&self) -> SimDisk {
        SimDisk::of(self.state.settled(), 0)
    }

    /// The next step in words, for messages.
    pub fn next_step(&self) -> String {
        match self.steps.get(self.position) {
            None => "the end".into(),
            Some(Step::Write { file, at, bytes } | Step::WriteThrough { file, at, bytes }) => {
                format!("write {} bytes at {at} of file {file}", bytes.len())
            }
            Some(step) => format!("{step:?}"),
        }
    }
}

impl Step {
    /// A beginning of a write.
    pub(super) fn in_part(&self, rng: &mut StdRng) -> Option<Step> {
        match self {
            Step::Write { file, at, bytes } | Step::WriteThrough { file, at, bytes } => {
                let count = rng.random_range(0..=bytes.len());
                Some(Step::Write {
                    file: *file,
                    at: *at,
                    bytes: Arc::from(&bytes[..count]),
                })
            }
            _ => None,
        }
    }

    /// Whether it is something that a power cut can undo, so that it may have begun.
    pub(super) fn is_change(&self) -> bool {
        !matches!(
            self,
            Step::SyncFile { .. } | Step::FailSync { .. } | Step::SyncDir { .. }
        )
    }
}
