//! Load as fast as replies come: each connection sends its next batch when the last one is answered.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::{Batch, Command, Connection};
use crate::peer::Peer;
use crate::poller::Poller;
use crate::{check_interrupt, histogram};

/// Who sends what, for how long.
#[derive(Clone, Debug)]
pub struct Load {
    /// The command, its numbers drawn anew each time.
    pub command: Command,
    /// Connections, all on one thread.
    pub connections: usize,
    /// Commands per batch.
    pub depth: usize,
    /// Not measured, then measured.
    pub warm_up: Duration,
    /// Measured.
    pub duration: Duration,
}

/// What a load achieved.
#[derive(Clone, Debug)]
pub struct Achieved {
    /// Commands per second.
    pub per_second: f64,
    /// Processor seconds of the server per million commands.
    pub cpu_per_million: f64,
    /// Time from sending a batch to its last reply, in microseconds.
    pub latency: Histogram<u64>,
}

/// Runs a load and measures it.
///
/// # Errors
/// If the server refuses a command, or the run is interrupted.
pub fn run(peer: &Peer, load: &Load) -> io::Result<Achieved> {
    let mut driver = Driver::new(peer, load)?;
    driver.drive(load.warm_up, None)?;
    driver.latency.reset();
    let cpu = peer.cpu()?;
    let started = Instant::now();
    let count = driver.drive(load.duration, None)?;
    let (elapsed, cpu) = (started.elapsed(), peer.cpu()?.saturating_sub(cpu));
    Ok(Achieved {
        per_second: count as f64 / elapsed.as_secs_f64(),
        cpu_per_million: cpu.as_secs_f64() * 1e6 / count.max(1) as f64,
        latency: driver.latency,
    })
}

/// Runs a load in the background of another until `stop` is set.
///
/// # Errors
/// As [`run`].
pub fn run_until(peer: &Peer, load: &Load, stop: &AtomicBool) -> io::Result<()> {
    Driver::new(peer, load)?
        .drive(Duration::MAX, Some(stop))
        .map(drop)
}

struct Driver {
    lanes: Vec<Lane>,
    poller: Poller,
    latency: Histogram<u64>,
}

struct Lane {
    connection: Connection,
    batch: Batch,
    waiting: usize,
    sent: Instant,
}

impl Driver {
    fn new(peer: &Peer, load: &Load) -> io::Result<Driver> {
        let mut poller = Poller::new()?;
        let mut lanes = Vec::new();
        for index in 0..load.connections {
            let connection = peer.connect()?;
            poller.add(&connection, index)?;
            let batch = Batch::new(&load.command, load.depth, index as u64);
            lanes.push(Lane {
                connection,
                batch,
                waiting: 0,
                sent: Instant::now(),
            });
        }
        let latency = histogram()?;
        Ok(Driver {
            lanes,
            poller,
            latency,
        })
    }

    /// Drives all lanes for a while and returns the number of replies; at the end no reply is under way.
    fn drive(&mut self, duration: Duration, stop: Option<&AtomicBool>) -> io::Result<u64> {
        let started = Instant::now();
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        let mut busy = 0;
        for lane in &mut self.lanes {
            lane.send()?;
            busy += 1;
        }
        while busy > 0 {
            check_interrupt()?;
            let over =
                started.elapsed() >= duration || stop.is_some_and(|s| s.load(Ordering::Relaxed));
            for index in self.poller.wait(Duration::from_millis(100))? {
                let lane = &mut self.lanes[index];
                let replies = lane.connection.receive(&mut buffer)?;
                count += replies as u64;
                lane.waiting = lane.waiting.saturating_sub(replies);
                if lane.waiting > 0 {
                    continue;
                }
                self.latency.saturating_record(
                    u64::try_from(lane.sent.elapsed().as_micros()).unwrap_or(u64::MAX),
                );
                if over {
                    busy -= 1;
                } else {
                    lane.send()?;
                }
            }
        }
        Ok(count)
    }
}

impl Lane {
    fn send(&mut self) -> io::Result<()> {
        self.sent = Instant::now();
        self.waiting = self.batch.depth();
        self.connection.send(self.batch.random())
    }
}

/// Sets the keys `key:0` to `key:COUNT-1`, of 16 bytes each, to values of `value_bytes`.
///
/// # Errors
/// As [`run`].
pub fn fill(peer: &Peer, count: u64, value_bytes: usize) -> io::Result<()> {
    const DEPTH: u64 = 256;
    let command = Command::set(count.max(1), value_bytes);
    // Two connections, so that the server works on one batch while the next is sent.
    let mut lanes = [peer.connect()?, peer.connect()?];
    let mut waiting = [0; 2];
    let mut batch = Batch::new(&command, DEPTH as usize, 0);
    let mut buffer = vec![0; 1 << 16];
    let mut next = 0;
    for turn in 0.. {
        check_interrupt()?;
        let lane = turn % 2;
        while waiting[lane] > 0 {
            waiting[lane] -= lanes[lane].receive(&mut buffer)?;
        }
        if next < count {
            if count - next < DEPTH {
                batch = Batch::new(&command, (count - next) as usize, 0);
            }
            lanes[lane].send(batch.sequence(next))?;
            waiting[lane] = batch.depth();
            next += batch.depth() as u64;
        } else if waiting == [0; 2] {
            break;
        }
    }
    Ok(())
}
