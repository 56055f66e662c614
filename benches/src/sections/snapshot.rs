//! What do clients notice of a snapshot, how long does it take, and how much memory?
//!
//! Workload: 5 million keys with values of 100 bytes; 20 000 requests a second, SET and GET by turns over all keys, on
//! 50 connections, sent by the clock: latency counts from the intended time. Then BGSAVE. Its end is taken from INFO.
//! Extra memory is the growth of the server's resident memory plus what a forked child shares with nobody.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{Plan, VALUE_BYTES};
use crate::check_interrupt;
use crate::load;
use crate::paced::{self, Paced, Phase, STEP};
use crate::peer::Peer;
use crate::report::{Metric, Table, plot_timelines};

const PER_SECOND: u32 = 20_000;
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
const PHASES: [&str; Phase::COUNT] = ["before", "during", "after"];

/// Runs the section.
///
/// # Errors
/// If a server does not do as asked.
pub fn run(plan: &Plan) -> io::Result<Vec<Table>> {
    let mut servers = plan.start(&[("appendfsync", "everysec")])?;
    for server in &servers {
        load::fill(server, plan.keys(), VALUE_BYTES)?;
    }
    let mut timelines = [Vec::new(), Vec::new()];
    // The figures of a run, in one row: latencies by phase, then duration and memory.
    let rounds = plan.by_turns(&mut servers, |server| {
        let seen = save_under_load(server, plan)?;
        let line = seen.paced.timeline.iter().enumerate();
        let line = line.map(|(i, micros)| (i as f64 * STEP.as_secs_f64(), *micros as f64 / 1000.0));
        timelines[usize::from(server.name() != plan.programs[0].name)] = line.collect();
        let latency =
            |phase: &hdrhistogram::Histogram<u64>, q| phase.value_at_quantile(q) as f64 / 1000.0;
        let mut values: Vec<f64> = seen
            .paced
            .phases
            .iter()
            .flat_map(|p| QUANTILES.map(|(_, q)| latency(p, q)))
            .collect();
        values.extend([
            seen.took.as_secs_f64(),
            seen.extra_bytes as f64 / f64::from(1 << 20),
        ]);
        Ok(values)
    })?;
    if let Some(directory) = &plan.svg {
        plot_timelines(
            directory,
            "Worst latency around a snapshot",
            "ms",
            &timelines,
        )?;
    }

    let column = |i: usize| {
        crate::report::Rounds(
            rounds
                .0
                .clone()
                .map(|r| r.iter().map(|v| vec![v[i]]).collect()),
        )
    };
    let mut latency = Table::new(
        "Latency around a snapshot",
        vec![Metric {
            name: "ms",
            digits: 2,
        }],
    );
    for (p, phase) in PHASES.iter().enumerate() {
        for (q, (quantile, _)) in QUANTILES.iter().enumerate() {
            latency.add(
                format!("{phase} {quantile}"),
                &column(p * QUANTILES.len() + q),
            );
        }
    }
    let figures = PHASES.len() * QUANTILES.len();
    let mut took = Table::new(
        "Duration of a snapshot",
        vec![Metric {
            name: "s",
            digits: 2,
        }],
    );
    took.add("BGSAVE", &column(figures));
    let mut memory = Table::new(
        "Extra memory of a snapshot",
        vec![Metric {
            name: "MiB",
            digits: 1,
        }],
    );
    memory.add("BGSAVE", &column(figures + 1));
    Ok(vec![latency, took, memory])
}

struct Seen {
    paced: Paced,
    took: Duration,
    extra_bytes: u64,
}

fn save_under_load(server: &Peer, plan: &Plan) -> io::Result<Seen> {
    let phase = Phase::default();
    thread::scope(|scope| {
        let paced =
            scope.spawn(|| paced::run(server, plan.keys(), VALUE_BYTES, PER_SECOND, &phase));
        let saved = save(server, plan, &phase);
        phase.set(Phase::END);
        let paced = paced
            .join()
            .map_err(|_| io::Error::other("the load panicked"))?;
        let (took, extra_bytes) = saved?;
        Ok(Seen {
            paced: paced?,
            took,
            extra_bytes,
        })
    })
}

/// Waits, saves, waits, and returns how long the snapshot took and its peak of extra memory.
fn save(server: &Peer, plan: &Plan, phase: &Phase) -> io::Result<(Duration, u64)> {
    let pause = Duration::from_secs(if plan.quick { 1 } else { 4 });
    let mut control = server.connect()?;
    rest(pause)?;
    let resident = server.resident()?;
    let mut extra = 0;
    phase.set(1);
    let started = Instant::now();
    control.call(&["BGSAVE"])?;
    let mut asked = 0_u32;
    while server.info(&mut control, "persistence", "rdb_bgsave_in_progress")? != "0" {
        let children = if asked.is_multiple_of(10) {
            server.children_private()
        } else {
            0
        };
        extra = extra.max((server.resident()?.saturating_sub(resident)) + children);
        asked += 1;
        rest(Duration::from_millis(10))?;
    }
    let took = started.elapsed();
    phase.set(2);
    let status = server.info(&mut control, "persistence", "rdb_last_bgsave_status")?;
    if status != "ok" {
        return Err(io::Error::other(format!(
            "{}: BGSAVE ended with {status}",
            server.name()
        )));
    }
    rest(pause)?;
    Ok((took, extra))
}

fn rest(time: Duration) -> io::Result<()> {
    thread::sleep(time);
    check_interrupt()
}
