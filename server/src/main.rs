//! Hardtack: a Redis-compatible in-memory store that keeps what it acknowledged.

mod allocator;
mod args;
mod client;
mod commands;
mod config;
mod conn;
mod cron;
mod dispatch;
mod eviction;
mod flush;
mod info;
mod io;
mod latency;
mod limits;
mod listen;
mod logging;
mod memory;
mod migrate;
mod panics;
mod progress;
mod resp;
mod server;
mod settings;
mod shutdown;
mod slowlog;
mod start;
mod stats;
mod stream;
mod tools;
mod usage;
mod util;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// The version of Redis whose behaviour clients can rely on.
pub const REDIS_VERSION: &str = "7.0.15";

fn main() -> ExitCode {
    match args::parse(std::env::args_os().skip(1)) {
        args::Invocation::Serve(args) => start::serve(args),
        other => start::answer(other),
    }
}
