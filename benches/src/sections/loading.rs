//! How long is a server away after a restart?
//!
//! Workload: 5 million keys with values of 100 bytes, made by each server itself; once as a base file (after
//! BGREWRITEAOF), once as nothing but the log of the writes. Time from starting the process until PING is answered. The
//! files are in the page cache: what is measured is the server, not the disk.

use std::io;
use std::thread;
use std::time::Duration;

use super::{Plan, VALUE_BYTES};
use crate::check_interrupt;
use crate::load;
use crate::peer::Peer;
use crate::report::{Metric, Table};

/// Runs the section.
///
/// # Errors
/// If a server does not do as asked.
pub fn run(plan: &Plan) -> io::Result<Vec<Table>> {
    let metrics = vec![
        Metric {
            name: "s",
            digits: 2,
        },
        Metric {
            name: "MiB on disk",
            digits: 0,
        },
    ];
    let mut table = Table::new("Time until served after a start", metrics);
    let mut servers = plan.start(&[("appendfsync", "everysec")])?;
    for server in &mut servers {
        load::fill(server, plan.keys(), VALUE_BYTES)?;
        server.stop()?;
    }
    table.add(
        "log of writes",
        &plan.by_turns(&mut servers, |server| restart(server, plan.keys()))?,
    );
    for server in &mut servers {
        server.run()?;
        rewrite(server)?;
        server.stop()?;
    }
    table.add(
        "base file",
        &plan.by_turns(&mut servers, |server| restart(server, plan.keys()))?,
    );
    Ok(vec![table])
}

fn restart(server: &mut Peer, keys: u64) -> io::Result<Vec<f64>> {
    let size = server.disk_bytes()? as f64 / f64::from(1 << 20);
    let took = server.run()?;
    let found = server.connect()?.call(&["DBSIZE"])?;
    if found != format!(":{keys}\r\n").into_bytes() {
        let found = String::from_utf8_lossy(&found).into_owned();
        return Err(io::Error::other(format!(
            "{} loaded {found} keys instead of {keys}",
            server.name()
        )));
    }
    server.stop()?;
    Ok(vec![took.as_secs_f64(), size])
}

fn rewrite(server: &Peer) -> io::Result<()> {
    let mut control = server.connect()?;
    control.call(&["BGREWRITEAOF"])?;
    for field in ["aof_rewrite_scheduled", "aof_rewrite_in_progress"] {
        while server.info(&mut control, "persistence", field)? != "0" {
            check_interrupt()?;
            thread::sleep(Duration::from_millis(20));
        }
    }
    match server
        .info(&mut control, "persistence", "aof_last_bgrewrite_status")?
        .as_str()
    {
        "ok" => Ok(()),
        status => Err(io::Error::other(format!(
            "{}: BGREWRITEAOF ended with {status}",
            server.name()
        ))),
    }
}
