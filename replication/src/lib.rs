//! Replication: who may continue from where.
//!
//! A node's data is a position in a *history*: a replication id together with the positions it covers. This crate
//! decides, from histories alone, whether a replica may resume with the bytes it lacks or needs everything anew, and
//! what becomes of the histories when roles change or a node comes back from a crash. Plain values and functions: no
//! sockets, no clock, no randomness; the caller brings new ids and carries decisions out.
//!
//! ```
//! use hardtack_replication::{Ask, Feeds, History, Retained, Verdict};
//! use hardtack_storage::{Lsn, log::Replid};
//!
//! let mut history = History::begin(Replid::random());
//! let resume = Ask::Resume { replid: history.replid(), from: Lsn(700), psync2: true };
//! assert_eq!(history.promote(Lsn(700), Replid::random()), Feeds::End);
//!
//! let retained = Retained { first: Lsn(500), end: Lsn(900) };
//! assert_eq!(history.verdict(&resume, retained), Verdict::ContinueNewId { from: Lsn(700) });
//! ```
//!
//! * [`history`]: the rules.
//! * [`psync`]: their spelling on the wire and in INFO.

#![forbid(unsafe_code)]

pub mod history;
pub mod psync;

pub use history::{
    Ask, Ended, Feeds, FullSyncReason, History, Older, Restart, Retained, Role, Verdict,
};
