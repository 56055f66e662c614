//! Black-box tests: the binary `hardtack` as its users meet it, over a socket and with a directory on disk.
//!
//! * [`golden`]: transcripts of every command family, recorded from redis-server, replayed against Hardtack;
//! * [`clients`]: what CLIENT LIST says of a client;
//! * [`crash`]: a killed server keeps what it acknowledged;
//! * [`faults`]: what disks, processes and limits do to a real server;
//! * [`migrate`]: keys move between servers, whatever the target does;
//! * [`stall`]: nobody waits for another client's long command;
//! * [`memory`]: what is counted, and that the limits hold;
//! * [`steer`]: shutdowns called off, pauses, settings;
//! * [`tools`]: the subcommands of the binary;
//! * [`interop`]: Hardtack and redis-server start on each other's directories, and describe their commands alike.
//!
//! Tests that need a stock redis-server 7 are marked `#[ignore]` with that reason; run them with `--include-ignored`.
//! `HARDTACK_TEST_SERVER=PATH` puts another binary in Hardtack's place.

mod clients;
mod crash;
mod faults;
mod golden;
mod interop;
mod memory;
mod migrate;
mod stall;
mod steer;
mod support;
mod tools;
