//! Server.
#![allow(dead_code, unused_imports)] // Until the connection code, which uses these modules, has landed.

mod args;
mod config;
mod logging;
mod progress;
mod resp;
mod util;

fn main() {}
