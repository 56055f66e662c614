//! How much memory does a key take?
//!
//! Workload: 5 million keys of 16 bytes with values of 100 bytes (quick: 1 million). Growth of the server's resident
//! memory from empty to full, by key; so everything counts that the server allocates for them.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Plan, VALUE_BYTES};
use crate::load;
use crate::report::{Metric, Table};

/// Runs the section.
///
/// # Errors
/// If a server does not do as asked.
pub fn run(plan: &Plan) -> io::Result<Vec<Table>> {
    let mut table = Table::new(
        "Memory of a key",
        vec![Metric {
            name: "bytes",
            digits: 1,
        }],
    );
    let keys = if plan.quick { 1_000_000 } else { plan.keys() };
    let mut unstarted = plan.programs.clone();
    let rounds = plan.by_turns(&mut unstarted, |program| {
        // Started anew each time: what an allocator keeps after FLUSHALL would hide a part of the growth.
        let server = crate::peer::Peer::start(program, &[("appendfsync", "everysec")])?;
        let empty = server.resident()?;
        load::fill(&server, keys, VALUE_BYTES)?;
        thread::sleep(Duration::from_secs(1));
        Ok(vec![
            (server.resident()?.saturating_sub(empty)) as f64 / keys as f64,
        ])
    })?;
    table.add("SET, key 16 B, value 100 B", &rounds);
    Ok(vec![table])
}
