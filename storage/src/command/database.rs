//! Whole databases: their size, emptying and exchanging them.

use super::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, Group, WholeKeyspace, Work,
};
use crate::text::integer;
use crate::types::DbIndex;

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    flags: Flags::WRITE.with(Flags::ALL_KEYS),
    categories: &["keyspace", "dangerous"],
    ..CommandSpec::DEFAULT
};

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "dbsize",
            arity: 1,
            flags: Flags::READONLY.with(Flags::FAST),
            summary: "Returns the number of keys in the selected database.",
            categories: &["keyspace"],
            ..SPEC
        },
        run: dbsize,
    },
    Command {
        spec: CommandSpec {
            name: "flushall",
            work: Work::Waits,
            arity: -1,
            flags: Flags::WRITE.with(Flags::ALL_KEYS),
            complexity: "O(1); the memory is freed in the background.",
            summary: "Removes all keys of all databases.",
            syntax: "[async= ASYNC | SYNC]",
            ..SPEC
        },
        run: flushall,
    },
    Command {
        spec: CommandSpec {
            name: "flushdb",
            work: Work::Waits,
            arity: -1,
            complexity: "O(1); the memory is freed in the background.",
            summary: "Removes all keys of the selected database.",
            syntax: "[async= ASYNC | SYNC]",
            ..SPEC
        },
        run: flushdb,
    },
    Command {
        spec: CommandSpec {
            name: "swapdb",
            work: Work::Waits,
            arity: 3,
            flags: Flags::WRITE.with(Flags::FAST).with(Flags::ALL_KEYS),
            since: "4.0.0",
            complexity: "O(N) where N is the number of clients that watch or wait for keys of the two databases.",
            summary: "Exchanges the contents of two databases.",
            syntax: "index1 index2",
            ..SPEC
        },
        run: swapdb,
    },
];

fn dbsize(ctx: &mut Ctx<'_>) -> CommandResult {
    ctx.reply.len(ctx.data.len());
    Ok(())
}

fn flushall(ctx: &mut Ctx<'_>) -> CommandResult {
    let selected = ctx.data.db();
    let mut keys = 0;
    for db in 0..ctx.data.databases() {
        ctx.data.select(db);
        keys += ctx.data.len();
    }
    ctx.data.select(selected);
    flush(ctx, WholeKeyspace::FlushAll, keys)
}

fn flushdb(ctx: &mut Ctx<'_>) -> CommandResult {
    flush(ctx, WholeKeyspace::Flush(ctx.data.db()), ctx.data.len())
}

/// Removes `keys` keys. Both modes free the memory in the background: nothing but memory can tell them apart.
fn flush(ctx: &mut Ctx<'_>, change: WholeKeyspace, keys: usize) -> CommandResult {
    let args = ctx.args;
    match &args[1..] {
        [] => {}
        [mode] if mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC") => {}
        _ => return Err(CommandError::Syntax),
    }
    ctx.data.schedule(change);
    ctx.dirty += keys as u64;
    // Named as an effect because it is logged also where nothing was removed: a replica's keys go in any case.
    ctx.effect(args);
    ctx.reply.ok();
    Ok(())
}

fn swapdb(ctx: &mut Ctx<'_>) -> CommandResult {
    let index = |arg: &[u8], error: &'static str| {
        integer::parse_i64(arg)
            .and_then(|number| i32::try_from(number).ok())
            .ok_or(CommandError::err(error))
    };
    let a = index(ctx.args[1], "invalid first DB index")?;
    let b = index(ctx.args[2], "invalid second DB index")?;
    let existing = |number: i32| {
        DbIndex::try_from(number)
            .ok()
            .filter(|db| *db < ctx.data.databases())
            .ok_or(CommandError::DbIndexOutOfRange)
    };
    let (a, b) = (existing(a)?, existing(b)?);
    if a != b {
        ctx.data.schedule(WholeKeyspace::Swap(a, b));
    }
    ctx.dirty += 1;
    ctx.reply.ok();
    Ok(())
}
