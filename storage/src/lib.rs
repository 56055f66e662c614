//! Hardtack's persistence engine.
//!
//! A keyspace of 16384 hash slots per database, the commands that work on it, one append-only log of their
//! effects, and fork-less snapshots of every key as of one [`Lsn`]. No sockets, no clients, no configuration
//! files: those belong to the server.

#![deny(unsafe_code)]

mod abort;
pub mod command;
pub mod disk;
pub mod engine;
pub mod inspect;
pub mod keyspace;
pub mod log;
pub mod rdb;
pub mod snapshot;
pub mod testing;
pub mod text;
mod types;
pub mod value;

pub(crate) use abort::AbortOnPanic;
pub use types::{DbIndex, Lsn, UnixMillis};
