//! Server.
#![allow(dead_code)] // Until the connection code, which uses these modules, has landed.

mod resp;
mod util;

fn main() {}
