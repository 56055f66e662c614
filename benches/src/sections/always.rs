//! What does it cost to have every write on the disk before its reply, and who else pays for it?
//!
//! Workload: appendfsync always, SET over a million keys with values of 100 bytes, by 1, 50 and 500 clients without
//! pipelining and by 50 clients with pipelines of 16. Then GET by 1 and 50 clients: alone, beside 8 clients that SET, and
//! beside them while another program writes and syncs on the same disk, as programs do. With a quick disk to itself a
//! server that stops for each sync hardly stops; the last rows show what readers pay when syncs take their time.
//! Latency is from sending a batch to its last reply.

use std::io::{self, Seek, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

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
    let writes = load(Command::set(KEYS, VALUE_BYTES), 8, 1);
    for connections in [1, 50] {
        let reads = load(Command::get(KEYS), connections, 1);
        let alone = plan.by_turns(&mut servers, |server| {
            Ok(figures(&load::run(server, &reads)?))
        })?;
        table.add(format!("GET {connections} clients alone"), &alone);
        for (what, disk_is_busy) in [("8 writers", false), ("8 writers, busy disk", true)] {
            let rounds = plan.by_turns(&mut servers, |server| {
                let _traffic = disk_is_busy.then(DiskTraffic::begin).transpose()?;
                Ok(figures(&run_beside(server, &reads, &writes)?))
            })?;
            table.add(format!("GET {connections} clients beside {what}"), &rounds);
        }
    }
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

/// Somebody else who uses the disk: a file of 64 MiB is written over and over, and synced each time.
struct DiskTraffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DiskTraffic {
    fn begin() -> io::Result<DiskTraffic> {
        // Where the servers have their data, too.
        let mut file = tempfile::tempfile()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let chunk = vec![b'x'; 1 << 20];
            while !stopped.load(Ordering::Relaxed) {
                let written = (0..64)
                    .try_for_each(|_| file.write_all(&chunk))
                    .and_then(|()| file.sync_data())
                    .and_then(|()| file.rewind());
                if let Err(e) = written {
                    eprintln!("compare: the disk is no longer kept busy: {e}");
                    return;
                }
            }
        });
        Ok(DiskTraffic {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for DiskTraffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has said what there is to say.
            let _ = thread.join();
        }
    }
}
