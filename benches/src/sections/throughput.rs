//! How many commands per second does a server take, and what does each cost it, by type and pipeline depth?
//!
//! Workload: 50 connections, pipelines of 1, 16 and 64, appendonly with fsync every second. SET, GET and INCR draw from
//! a million keys (all there before SET and GET); LPUSH, HSET and ZADD from ten thousand keys of up to a hundred
//! elements (lists grow on). Values have 100 bytes. Each command starts on an empty server.

use std::io;

use super::{CPU, PER_SECOND, Plan, VALUE_BYTES};
use crate::client::{Command, Word, value};
use crate::load::{self, Load};
use crate::report::Table;

const KEYS: u64 = 1_000_000;
const COLLECTIONS: u64 = 10_000;
const ELEMENTS: u64 = 100;

/// Runs the section.
///
/// # Errors
/// If a server does not do as asked.
pub fn run(plan: &Plan) -> io::Result<Vec<Table>> {
    let mut servers = plan.start(&[("appendfsync", "everysec")])?;
    let mut table = Table::new("Throughput, fsync every second", vec![PER_SECOND, CPU]);
    let (warm_up, duration) = plan.times();
    for (name, command) in commands() {
        for server in &servers {
            server.connect()?.call(&["FLUSHALL"])?;
            if matches!(name, "SET" | "GET") {
                load::fill(server, KEYS, VALUE_BYTES)?;
            }
        }
        for depth in [1, 16, 64] {
            let load = Load {
                command: command.clone(),
                connections: 50,
                depth,
                warm_up,
                duration,
            };
            let rounds = plan.by_turns(&mut servers, |server| {
                let achieved = load::run(server, &load)?;
                Ok(vec![achieved.per_second, achieved.cpu_per_million])
            })?;
            table.add(format!("{name} P{depth}"), &rounds);
        }
    }
    Ok(vec![table])
}

fn commands() -> [(&'static str, Command); 6] {
    let fixed = |text: &str| Word::Fixed(text.into());
    let numbered = Word::Numbered;
    [
        ("SET", Command::set(KEYS, VALUE_BYTES)),
        ("GET", Command::get(KEYS)),
        (
            "INCR",
            Command::new(vec![fixed("INCR"), numbered("ctr:", KEYS)]),
        ),
        (
            "LPUSH",
            Command::new(vec![
                fixed("LPUSH"),
                numbered("list:", COLLECTIONS),
                value(VALUE_BYTES),
            ]),
        ),
        (
            "HSET",
            Command::new(vec![
                fixed("HSET"),
                numbered("hash:", COLLECTIONS),
                numbered("field:", ELEMENTS),
                value(VALUE_BYTES),
            ]),
        ),
        (
            "ZADD",
            Command::new(vec![
                fixed("ZADD"),
                numbered("zset:", COLLECTIONS),
                numbered("", 1_000_000),
                numbered("member:", ELEMENTS),
            ]),
        ),
    ]
}
