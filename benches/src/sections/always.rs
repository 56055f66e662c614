//! What does it cost to have every write on the disk before its reply, and who else pays for it?
//!
//! Workload: appendfsync always, SET over a million keys with values of 100 bytes, by 1, 50 and 500 clients without
//! pipelining and by 50 clients with pipelines of 16. Then GET by 50 clients beside 8 clients that SET.
//! Latency is from sending a batch to its last reply.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{CPU, PER_SECOND, Plan, VALUE_BYTES};
use crate::client::Command;
use crate::load::{self, Achieved, Load};
use crate::peer::Peer;
use crate::report::{Metric, Table};

const KEYS: u64 = 1_000_000;

/// Runs the section.
///
/// # Errors
/// If a server does not do as asked.
pub fn run(plan: &Plan) -> io::Result<Vec<Table>> {
    let mut servers = plan.start(&[("appendfsync", "always")])?;
    for server in &servers {
        load::fill(server, if plan.quick { 100_000 } else { KEYS }, VALUE_BYTES)?;
    }
    let metrics = vec![
        PER_SECOND,
        CPU,
        Metric {
            name: "p50 ms",
            digits: 2,
        },
        Metric {
            name: "p99 ms",
            digits: 2,
        },
    ];
    let mut table = Table::new("Every write on the disk before its reply", metrics);
    let (warm_up, duration) = plan.times();
    let load = |command, connections, depth| Load {
        command,
        connections,
        depth,
        warm_up,
        duration,
    };
    for (connections, depth) in [(1, 1), (50, 1), (500, 1), (50, 16)] {
        let writes = load(Command::set(KEYS, VALUE_BYTES), connections, depth);
        let rounds = plan.by_turns(&mut servers, |server| {
            Ok(figures(&load::run(server, &writes)?))
        })?;
        table.add(format!("SET {connections} clients P{depth}"), &rounds);
    }
    let (reads, writes) = (
        load(Command::get(KEYS), 50, 1),
        load(Command::set(KEYS, VALUE_BYTES), 8, 1),
    );
    let rounds = plan.by_turns(&mut servers, |server| {
        Ok(figures(&run_beside(server, &reads, &writes)?))
    })?;
    table.add("GET 50 clients beside 8 writers", &rounds);
    Ok(vec![table])
}

fn figures(achieved: &Achieved) -> Vec<f64> {
    let millis = |quantile| achieved.latency.value_at_quantile(quantile) as f64 / 1000.0;
    vec![
        achieved.per_second,
        achieved.cpu_per_million,
        millis(0.5),
        millis(0.99),
    ]
}

/// Measures `load` while `background` runs, too. The server's processor time covers both.
fn run_beside(server: &Peer, load: &Load, background: &Load) -> io::Result<Achieved> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| load::run_until(server, background, &stop));
        let achieved = load::run(server, load);
        stop.store(true, Ordering::Relaxed);
        beside
            .join()
            .map_err(|_| io::Error::other("the background load panicked"))??;
        achieved
    })
}
