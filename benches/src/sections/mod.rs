//! The questions that the comparison answers, one module each.
//!
//! Every section drives both servers in turn (A, B, A, B, ...), for several rounds, and reports medians: what else the
//! machine does at the time then falls on both.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::peer::{Peer, Program};
use crate::report::{Metric, Rounds, Table};

pub mod always;
pub mod loading;
pub mod memory;
pub mod snapshot;
pub mod throughput;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 100;

const PER_SECOND: Metric = Metric {
    name: "ops/s",
    digits: 0,
};
const CPU: Metric = Metric {
    name: "cpu s/Mop",
    digits: 2,
};

/// What a run of the comparison was asked to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Hardtack, then redis-server.
    pub programs: [Program; 2],
    /// Smaller data and shorter loads: to see that everything works, not to quote.
    pub quick: bool,
    /// Where plots go.
    pub svg: Option<PathBuf>,
}

impl Plan {
    /// Keys of the sections with a large data set.
    pub fn keys(&self) -> u64 {
        if self.quick { 500_000 } else { 5_000_000 }
    }

    /// Times that every measurement is taken of each server.
    pub fn rounds(&self) -> usize {
        if self.quick { 2 } else { 3 }
    }

    /// How long a load runs before, and while, it is measured.
    pub fn times(&self) -> (Duration, Duration) {
        let millis = if self.quick { (100, 400) } else { (500, 2000) };
        (
            Duration::from_millis(millis.0),
            Duration::from_millis(millis.1),
        )
    }

    /// Starts both servers with the same directives.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start(&self, directives: &[(&str, &str)]) -> io::Result<[Peer; 2]> {
        Ok([
            Peer::start(&self.programs[0], directives)?,
            Peer::start(&self.programs[1], directives)?,
        ])
    }

    /// Measures both servers by turns.
    ///
    /// # Errors
    /// As `measure`.
    pub fn by_turns<S, F>(&self, servers: &mut [S; 2], mut measure: F) -> io::Result<Rounds>
    where
        F: FnMut(&mut S) -> io::Result<Vec<f64>>,
    {
        let mut rounds = Rounds::default();
        for _ in 0..self.rounds() {
            for (server, results) in servers.iter_mut().zip(&mut rounds.0) {
                results.push(measure(server)?);
            }
        }
        Ok(rounds)
    }
}

/// A section: its name on the command line and what runs it.
pub type Section = (&'static str, fn(&Plan) -> io::Result<Vec<Table>>);

/// All sections, in their order.
pub const ALL: &[Section] = &[
    ("throughput", throughput::run),
    ("always", always::run),
    ("snapshot", snapshot::run),
    ("load", loading::run),
    ("memory", memory::run),
];
