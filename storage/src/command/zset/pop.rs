//! ZPOPMIN, ZPOPMAX, ZMPOP, and their blocking forms.
//!
//! What reaches the log is always ZPOPMIN or ZPOPMAX.

use super::SPEC;
use crate::command::blocking::{candidates, parse_timeout, usable};
use crate::command::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, KeyClass, KeySpec,
    TimedOutReply, Work, work,
};
use crate::text::integer;
use crate::value::ZSet;

const COMPLEXITY: &str =
    "O(log(N)*M), N being the size of the sorted set and M the number of members removed.";
const COMPLEXITY_MANY: &str = "O(K) + O(M*log(N)), K being the number of keys, N the size of the sorted set and M the \
                               number of members removed.";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "zpopmin",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: Flags::WRITE.with(Flags::FAST),
            keys: KeySpec::first("RW access delete"),
            since: "5.0.0",
            complexity: COMPLEXITY,
            summary: "Removes and returns the members with the lowest scores.",
            syntax: "key [count]",
            ..SPEC
        },
        run: |ctx| zpop(ctx, Side::Min),
    },
    Command {
        spec: CommandSpec {
            name: "zpopmax",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: Flags::WRITE.with(Flags::FAST),
            keys: KeySpec::first("RW access delete"),
            since: "5.0.0",
            complexity: COMPLEXITY,
            summary: "Removes and returns the members with the highest scores.",
            syntax: "key [count]",
            ..SPEC
        },
        run: |ctx| zpop(ctx, Side::Max),
    },
    Command {
        spec: CommandSpec {
            name: "bzpopmin",
            arity: -3,
            flags: BLOCKING_POP,
            keys: KEYS_THEN_TIMEOUT,
            since: "5.0.0",
            complexity: "O(log(N)), N being the size of the sorted set.",
            summary: "Removes and returns the member with the lowest score of the first sorted set that has one; \
                      waits for one.",
            syntax: "key [key ...] timeout",
            categories: &["blocking"],
            ..SPEC
        },
        run: |ctx| bzpop(ctx, Side::Min),
    },
    Command {
        spec: CommandSpec {
            name: "bzpopmax",
            arity: -3,
            flags: BLOCKING_POP,
            keys: KEYS_THEN_TIMEOUT,
            since: "5.0.0",
            complexity: "O(log(N)), N being the size of the sorted set.",
            summary: "Removes and returns the member with the highest score of the first sorted set that has one; \
                      waits for one.",
            syntax: "key [key ...] timeout",
            categories: &["blocking"],
            ..SPEC
        },
        run: |ctx| bzpop(ctx, Side::Max),
    },
    Command {
        spec: CommandSpec {
            name: "zmpop",
            work: Work::Grows(work::count_option),
            arity: -4,
            flags: Flags::WRITE.with(Flags::MOVABLE_KEYS),
            keys: KeySpec::Counted {
                count_at: 1,
                dest: None,
                access: "RW access delete",
            },
            since: "7.0.0",
            complexity: COMPLEXITY_MANY,
            summary: "Removes and returns members from one end of the first sorted set that has any.",
            syntax: "numkeys key [key ...] <where= MIN | MAX> [COUNT count]",
            ..SPEC
        },
        run: zmpop,
    },
    Command {
        spec: CommandSpec {
            name: "bzmpop",
            work: Work::Grows(work::count_option),
            arity: -5,
            flags: Flags::WRITE.with(Flags::BLOCKING).with(Flags::MOVABLE_KEYS),
            keys: KeySpec::Counted {
                count_at: 2,
                dest: None,
                access: "RW access delete",
            },
            since: "7.0.0",
            complexity: COMPLEXITY_MANY,
            summary: "Removes and returns members from one end of the first sorted set that has any; waits for one.",
            syntax: "timeout numkeys key [key ...] <where= MIN | MAX> [COUNT count]",
            categories: &["blocking"],
            ..SPEC
        },
        run: bzmpop,
    },
];

const BLOCKING_POP: Flags = Flags::WRITE
    .with(Flags::NOSCRIPT)
    .with(Flags::BLOCKING)
    .with(Flags::FAST);

const KEYS_THEN_TIMEOUT: KeySpec = KeySpec::Range {
    first: 1,
    last: -2,
    step: 1,
    access: "RW access delete",
};

/// The end of a sorted set that members are taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Min,
    Max,
}

/// How popped members are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Members and scores one after the other.
    Flat,
    /// An array of pairs.
    Pairs,
    /// The key, a member and its score.
    KeyAndFlat,
    /// The key, then an array of pairs.
    KeyAndPairs,
}

impl Side {
    fn parse(arg: &[u8]) -> Option<Side> {
        if arg.eq_ignore_ascii_case(b"min") {
            Some(Side::Min)
        } else if arg.eq_ignore_ascii_case(b"max") {
            Some(Side::Max)
        } else {
            None
        }
    }

    fn event(self) -> &'static str {
        match self {
            Side::Min => "zpopmin",
            Side::Max => "zpopmax",
        }
    }

    fn command(self) -> &'static [u8] {
        match self {
            Side::Min => b"ZPOPMIN",
            Side::Max => b"ZPOPMAX",
        }
    }
}

fn zpop(ctx: &mut Ctx<'_>, side: Side) -> CommandResult {
    let count = match ctx.args[2..] {
        [] => None,
        [count] => Some(
            integer::parse_i64(count)
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::NotPositive)?,
        ),
        _ => return Err(CommandError::Syntax),
    };
    let shape = if ctx.reply.resp3() && count.is_some() {
        Shape::Pairs
    } else {
        Shape::Flat
    };
    let exists = ctx.data.write_as::<ZSet>(ctx.args[1])?.is_some();
    if exists && count != Some(0) {
        pop(ctx, ctx.args[1], side, count.unwrap_or(1), shape)?;
    } else {
        ctx.reply.array(0);
    }
    Ok(())
}

fn bzpop(ctx: &mut Ctx<'_>, side: Side) -> CommandResult {
    let [_, keys @ .., timeout] = ctx.args else {
        return Err(ctx.arity_error());
    };
    let timeout_ms = parse_timeout(timeout)?;
    match first_non_empty(ctx, keys)? {
        Some(key) => {
            pop(ctx, key, side, 1, Shape::KeyAndFlat)?;
            ctx.effect(&[side.command(), key]);
        }
        None => wait(ctx, keys, timeout_ms),
    }
    Ok(())
}

/// What follows the timeout in ZMPOP and BZMPOP.
struct MultiPop<'a> {
    keys: &'a [&'a [u8]],
    side: Side,
    count: usize,
}

impl<'a> MultiPop<'a> {
    fn parse(args: &'a [&'a [u8]]) -> Result<MultiPop<'a>, CommandError> {
        let [keys_count, rest @ ..] = args else {
            return Err(CommandError::Syntax);
        };
        let keys_count = positive(keys_count, "numkeys should be greater than 0")?;
        if keys_count >= rest.len() {
            return Err(CommandError::Syntax);
        }
        let (keys, rest) = rest.split_at(keys_count);
        let side = Side::parse(rest[0]).ok_or(CommandError::Syntax)?;
        let count = match rest[1..] {
            [] => 1,
            [option, count, ref more @ ..] if option.eq_ignore_ascii_case(b"count") => {
                let count = positive(count, "count should be greater than 0")?;
                if !more.is_empty() {
                    return Err(CommandError::Syntax);
                }
                count
            }
            _ => return Err(CommandError::Syntax),
        };
        Ok(MultiPop { keys, side, count })
    }

    /// Pops from `key` and logs what that did.
    fn pop(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> CommandResult {
        let popped = pop(ctx, key, self.side, self.count, Shape::KeyAndPairs)?;
        let count = itoa::Buffer::new().format(popped).to_owned();
        ctx.effect(&[self.side.command(), key, count.as_bytes()]);
        Ok(())
    }
}

fn positive(arg: &[u8], otherwise: &'static str) -> Result<usize, CommandError> {
    integer::parse_i64(arg)
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| CommandError::err(otherwise))
}

fn zmpop(ctx: &mut Ctx<'_>) -> CommandResult {
    let wanted = MultiPop::parse(&ctx.args[1..])?;
    match first_non_empty(ctx, wanted.keys)? {
        Some(key) => wanted.pop(ctx, key)?,
        None => ctx.reply.null_array(),
    }
    Ok(())
}

fn bzmpop(ctx: &mut Ctx<'_>) -> CommandResult {
    let wanted = MultiPop::parse(&ctx.args[2..])?;
    let timeout_ms = parse_timeout(ctx.args[1])?;
    match first_non_empty(ctx, wanted.keys)? {
        Some(key) => wanted.pop(ctx, key)?,
        None => wait(ctx, wanted.keys, timeout_ms),
    }
    Ok(())
}

fn wait(ctx: &mut Ctx<'_>, keys: &[&[u8]], timeout_ms: Option<u64>) {
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    ctx.block(keys, timeout_ms, TimedOutReply::NullArray);
}

/// The first of `keys` that holds a sorted set.
fn first_non_empty<'k>(
    ctx: &mut Ctx<'_>,
    keys: &[&'k [u8]],
) -> Result<Option<&'k [u8]>, CommandError> {
    let woken = ctx.woken_by.is_some();
    for key in candidates(ctx, keys) {
        if usable(woken, ctx.data.write_as::<ZSet>(key))?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Removes up to `count` members from one end of an existing sorted set, and replies with them; how many they were.
fn pop(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    side: Side,
    count: usize,
    shape: Shape,
) -> Result<usize, CommandError> {
    let Some(zset) = ctx.data.write_as::<ZSet>(key)? else {
        return Ok(0);
    };
    let len = zset.len();
    let count = count.min(len);
    let reply = &mut *ctx.reply;
    match shape {
        Shape::Flat => reply.array(count * 2),
        Shape::Pairs => reply.array(count),
        Shape::KeyAndFlat => {
            reply.array(count * 2 + 1);
            reply.bulk(key);
        }
        Shape::KeyAndPairs => {
            reply.array(2);
            reply.bulk(key);
            reply.array(count);
        }
    }
    let mut show = |(member, score): (&[u8], f64)| {
        if matches!(shape, Shape::Pairs | Shape::KeyAndPairs) {
            reply.array(2);
        }
        reply.bulk(member);
        reply.double(score);
    };
    let ranks = match side {
        Side::Min => 0..count,
        Side::Max => len - count..len,
    };
    match side {
        Side::Min => zset.iter_range(ranks.clone()).for_each(&mut show),
        Side::Max => zset.iter_range_rev(ranks.clone()).for_each(&mut show),
    }
    zset.remove_range(ranks);
    ctx.data.modified(key, KeyClass::ZSet, side.event());
    ctx.data.remove_if_empty(key);
    ctx.dirty += count as u64;
    Ok(count)
}
