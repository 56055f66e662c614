//! Commands on data: what they are called, which keys they name, and what they do.
//!
//! A [`Command`] is a row of the one table: its [`CommandSpec`] (name, arity, flags, keys, documentation) and the
//! function that runs it. The function gets a [`Ctx`]: its arguments, a view of just the slots that its keys live in
//! (locked by the engine), the reply to write, and a place to say what changed. It is written as if it were alone
//! in the world.
//!
//! Rules for a command function:
//! * Check arguments first, then types, then change data: an error after a change is a bug.
//! * Count each change in `ctx.dirty` (as Redis counts "changes since last save"); nothing is logged while it is zero.
//! * Call [`Data::modified`] for each key changed: it serves WATCH, blocked clients and key events.
//! * If running the request again would not give the same result (random choice, relative time, floats), log what
//!   happened with [`Ctx::effect`] instead of the request. The first `effect` replaces the request.
//! * Never leave an empty collection behind: [`Data::remove_if_empty`].
//! * A command that would wait calls [`Ctx::block`] and returns.
//!
//! Elsewhere: which locks are taken (`engine::execute`), how bytes reach the log (`log`).

mod blocking;
mod ctx;
mod database;
mod debug;
mod dump;
mod error;
mod expire;
mod generic;
mod hash;
mod htstats;
mod list;
mod reply;
mod sample;
mod scan_args;
mod set;
mod sort;
mod spec;
mod string;
mod table;
#[cfg(test)]
pub(crate) mod testkit;
pub mod work;
mod zset;

pub use ctx::{
    BlockRequest, Ctx, Data, Effects, KeyClass, ObjectKind, TimedOutReply, WholeKeyspace, is_due,
    string_kind,
};
pub(crate) use ctx::{HeldSlots, Locks, Slots, Waiting, decode, encode, lock_order};
pub use error::{CommandError, SHOWN_NAME_MAX, shown};
pub use reply::{DeferredLen, Reply};
pub use spec::{
    Access, ArgsTest, CommandSpec, Deprecated, Elsewhere, Flags, Group, KeySpec, Keys, ValueKeys,
};
pub use table::{commands, find};
pub use work::Work;

/// What a command function returns: the reply has been written to the context, or an error is to be.
pub type CommandResult = Result<(), CommandError>;

/// One row of the command table.
#[derive(Debug)]
pub struct Command {
    /// What the command is called, which keys it names, how it is documented.
    pub spec: CommandSpec,
    /// What it does.
    pub run: fn(&mut Ctx<'_>) -> CommandResult,
}
