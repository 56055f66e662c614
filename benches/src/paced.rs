//! Load by the clock: requests leave at the times intended, answered or not, and latency counts from that time.
//!
//! A server that stops for a while thus shows every request that it kept waiting, not just one per connection.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::{Batch, Command, Connection};
use crate::peer::Peer;
use crate::poller::Poller;
use crate::{check_interrupt, histogram};

const CONNECTIONS: usize = 50;
/// Step of the timeline.
pub const STEP: Duration = Duration::from_millis(100);

/// Where in a run a request belongs; another thread moves it on, and [`Phase::END`] ends the run.
#[derive(Default)]
pub struct Phase(AtomicUsize);

impl Phase {
    /// Phases that are measured.
    pub const COUNT: usize = 3;
    /// The end.
    pub const END: usize = Self::COUNT;

    /// Moves on.
    pub fn set(&self, phase: usize) {
        self.0.store(phase, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a paced run saw.
pub struct Paced {
    /// Latencies of each phase, in microseconds.
    pub phases: Vec<Histogram<u64>>,
    /// The worst latency of each [step](STEP), in microseconds.
    pub timeline: Vec<u64>,
}

struct Lane {
    connection: Connection,
    /// Intended times, and phases, of the requests under way.
    waiting: VecDeque<(Instant, usize)>,
}

/// Sends `SET` and `GET` by turns, `per_second` in all, over `keys` keys, until the phase is [`Phase::END`].
///
/// # Errors
/// If the server refuses a command, or the run is interrupted.
pub fn run(
    peer: &Peer,
    keys: u64,
    value_bytes: usize,
    per_second: u32,
    phase: &Phase,
) -> io::Result<Paced> {
    let mut batches = [
        Batch::new(&Command::set(keys, value_bytes), 1, 1),
        Batch::new(&Command::get(keys), 1, 2),
    ];
    let mut poller = Poller::new()?;
    let mut lanes = Vec::new();
    for index in 0..CONNECTIONS {
        let connection = peer.connect()?;
        poller.add(&connection, index)?;
        lanes.push(Lane {
            connection,
            waiting: VecDeque::new(),
        });
    }
    let mut phases = Vec::new();
    for _ in 0..Phase::COUNT {
        phases.push(histogram()?);
    }
    let mut seen = Paced {
        phases,
        timeline: Vec::new(),
    };
    let mut buffer = vec![0; 1 << 16];
    let started = Instant::now();
    let due = |n: u32| {
        started + Duration::from_nanos(u64::from(n) * 1_000_000_000 / u64::from(per_second))
    };
    let mut next = 0;
    loop {
        check_interrupt()?;
        let current = phase.get();
        while current < Phase::END && due(next) <= Instant::now() {
            // The connection changes with every pair, so that each one sends both commands.
            let lane = &mut lanes[next as usize / 2 % CONNECTIONS];
            lane.connection.send(batches[next as usize % 2].random())?;
            lane.waiting.push_back((due(next), current));
            next += 1;
        }
        if current == Phase::END && lanes.iter().all(|l| l.waiting.is_empty()) {
            return Ok(seen);
        }
        let pause = if current == Phase::END {
            STEP
        } else {
            due(next).saturating_duration_since(Instant::now())
        };
        for index in poller.wait(pause)? {
            let lane = &mut lanes[index];
            let replies = lane.connection.receive(&mut buffer)?;
            let now = Instant::now();
            for (intended, phase) in lane.waiting.drain(..replies.min(lane.waiting.len())) {
                let micros = u64::try_from((now - intended).as_micros()).unwrap_or(u64::MAX);
                seen.phases[phase].saturating_record(micros);
                let step = ((intended - started).as_millis() / STEP.as_millis()) as usize;
                if seen.timeline.len() <= step {
                    seen.timeline.resize(step + 1, 0);
                }
                seen.timeline[step] = seen.timeline[step].max(micros);
            }
        }
    }
}
