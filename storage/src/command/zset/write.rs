//! ZADD, ZINCRBY, ZREM, ZREMRANGEBYRANK, ZREMRANGEBYSCORE, ZREMRANGEBYLEX.

use std::ops::Range;

use super::{SPEC, parse_lex_range, parse_score_range, rank_range};
use crate::command::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Data, Flags, KeyClass, KeySpec, Work,
    work,
};
use crate::text::double;
use crate::value::{InsertResult, ZSet};

pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "zadd",
            arity: -4,
            flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
            keys: KeySpec::first("RW update"),
            since: "1.2.0",
            complexity: "O(log(N)) for each member, N being the size of the sorted set.",
            summary: "Adds members to a sorted set or changes their scores.",
            syntax: "key [condition= NX | XX] [comparison= GT | LT] [change= CH] [increment= INCR] score member [score member ...]",
            ..SPEC
        },
        run: zadd,
    },
    Command {
        spec: CommandSpec {
            name: "zincrby",
            arity: 4,
            flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
            keys: KeySpec::first("RW access update"),
            since: "1.2.0",
            complexity: "O(log(N)), N being the size of the sorted set.",
            summary: "Adds to the score of a member, which starts from 0.",
            syntax: "key increment member",
            ..SPEC
        },
        run: zincrby,
    },
    Command {
        spec: CommandSpec {
            name: "zrem",
            arity: -3,
            flags: Flags::WRITE.with(Flags::FAST),
            keys: KeySpec::first("RW delete"),
            since: "1.2.0",
            complexity: "O(M*log(N)), N being the size of the sorted set and M the number of members given.",
            summary: "Removes members from a sorted set.",
            syntax: "key member [member ...]",
            ..SPEC
        },
        run: zrem,
    },
    Command {
        spec: CommandSpec {
            name: "zremrangebyrank",
            work: Work::Grows(work::between_ranks),
            arity: 4,
            flags: Flags::WRITE,
            keys: KeySpec::first("RW delete"),
            since: "2.0.0",
            complexity: "O(log(N)+M*log(N)), N being the size of the sorted set and M the number of members removed.",
            summary: "Removes the members whose ranks lie in a range.",
            syntax: "key start stop",
            ..SPEC
        },
        run: |ctx| {
            let (start, stop) = (ctx.int_arg(2)?, ctx.int_arg(3)?);
            remove_range(ctx, "zremrangebyrank", |zset| {
                rank_range(start, stop, zset.len())
            })
        },
    },
    Command {
        spec: CommandSpec {
            name: "zremrangebyscore",
            work: Work::Grows(work::every_key),
            arity: 4,
            flags: Flags::WRITE,
            keys: KeySpec::first("RW delete"),
            since: "1.2.0",
            complexity: "O(log(N)+M*log(N)), N being the size of the sorted set and M the number of members removed.",
            summary: "Removes the members whose scores lie in a range.",
            syntax: "key min:double max:double",
            ..SPEC
        },
        run: |ctx| {
            let (min, max) = parse_score_range(ctx.args[2], ctx.args[3])?;
            remove_range(ctx, "zremrangebyscore", |zset| {
                zset.range_by_score(min, max)
            })
        },
    },
    Command {
        spec: CommandSpec {
            name: "zremrangebylex",
            work: Work::Grows(work::every_key),
            arity: 4,
            flags: Flags::WRITE,
            keys: KeySpec::first("RW delete"),
            since: "2.8.9",
            complexity: "O(log(N)+M*log(N)), N being the size of the sorted set and M the number of members removed.",
            summary: "Removes the members that lie in a range of byte order, all scores being equal.",
            syntax: "key min max",
            ..SPEC
        },
        run: |ctx| {
            let (min, max) = parse_lex_range(ctx.args[2], ctx.args[3])?;
            remove_range(ctx, "zremrangebylex", |zset| zset.range_by_lex(&min, &max))
        },
    },
];

/// The conditions of ZADD.
#[derive(Clone, Copy, Default)]
struct Conditions {
    /// Only add.
    nx: bool,
    /// Only update.
    xx: bool,
    /// Update only to a greater score.
    gt: bool,
    /// Update only to a lesser score.
    lt: bool,
}

impl Conditions {
    fn check(self) -> Result<(), CommandError> {
        let Conditions { nx, xx, gt, lt } = self;
        if nx && xx {
            return Err(CommandError::err(
                "XX and NX options at the same time are not compatible",
            ));
        }
        if (nx && (gt || lt)) || (gt && lt) {
            return Err(CommandError::err(
                "GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        Ok(())
    }

    fn any(self) -> bool {
        self.nx || self.xx || self.gt || self.lt
    }

    /// Whether a member whose score was `old` may get `new`.
    fn allow(self, old: Option<f64>, new: f64) -> bool {
        match old {
            None => !self.xx,
            Some(old) => !self.nx && (!self.gt || new > old) && (!self.lt || new < old),
        }
    }
}

fn zadd(ctx: &mut Ctx<'_>) -> CommandResult {
    let mut conditions = Conditions::default();
    let (mut changed, mut increment) = (false, false);
    let mut pairs = &ctx.args[2..];
    while let [option, rest @ ..] = pairs {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => conditions.nx = true,
            b"xx" => conditions.xx = true,
            b"gt" => conditions.gt = true,
            b"lt" => conditions.lt = true,
            b"ch" => changed = true,
            b"incr" => increment = true,
            _ => break,
        }
        pairs = rest;
    }
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    conditions.check()?;
    if increment {
        let &[score, member] = pairs else {
            return Err(CommandError::err(
                "INCR option supports a single increment-element pair",
            ));
        };
        let by = double::parse(score).ok_or(CommandError::NotFloat)?;
        return increment_score(ctx, member, by, conditions);
    }
    // Members are few or the check is cheap beside the rest: scores are parsed twice rather than kept.
    if pairs.chunks(2).any(|pair| double::parse(pair[0]).is_none()) {
        return Err(CommandError::NotFloat);
    }
    let key = ctx.args[1];
    let limits = ctx.limits();
    let Some(zset) = zset_to_add_to(&mut ctx.data, key, conditions)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let (mut added, mut updated) = (0, 0);
    for pair in pairs.chunks(2) {
        let score = double::parse(pair[0]).unwrap_or_default();
        if conditions.any() && !conditions.allow(zset.score(pair[1]), score) {
            continue;
        }
        match zset.insert(pair[1], score, limits) {
            InsertResult::Added => added += 1,
            InsertResult::Updated => updated += 1,
            InsertResult::Unchanged => {}
        }
    }
    ctx.dirty += added + updated;
    if added + updated > 0 {
        ctx.data.modified(key, KeyClass::ZSet, "zadd");
    }
    ctx.reply
        .int(if changed { added + updated } else { added } as i64);
    Ok(())
}

fn zincrby(ctx: &mut Ctx<'_>) -> CommandResult {
    let by = double::parse(ctx.args[2]).ok_or(CommandError::NotFloat)?;
    increment_score(ctx, ctx.args[3], by, Conditions::default())
}

fn increment_score(
    ctx: &mut Ctx<'_>,
    member: &[u8],
    by: f64,
    conditions: Conditions,
) -> CommandResult {
    let key = ctx.args[1];
    let limits = ctx.limits();
    let Some(zset) = zset_to_add_to(&mut ctx.data, key, conditions)? else {
        ctx.reply.null();
        return Ok(());
    };
    let old = zset.score(member);
    let new = old.map_or(by, |old| old + by);
    // A member that conditions rule out as such is left alone before the sum is looked at.
    let ruled_out = match old {
        Some(_) => conditions.nx,
        None => conditions.xx,
    };
    if !ruled_out && new.is_nan() {
        return Err(CommandError::err("resulting score is not a number (NaN)"));
    }
    if ruled_out || !conditions.allow(old, new) {
        ctx.reply.null();
        return Ok(());
    }
    if zset.insert(member, new, limits) != InsertResult::Unchanged {
        ctx.dirty += 1;
        ctx.data.modified(key, KeyClass::ZSet, "zincr");
    }
    ctx.reply.double(new);
    Ok(())
}

/// The sorted set, created if it does not exist and something can be added to it: then no condition can keep the
/// first member out.
fn zset_to_add_to<'d>(
    data: &'d mut Data<'_>,
    key: &[u8],
    conditions: Conditions,
) -> Result<Option<&'d mut ZSet>, CommandError> {
    if conditions.xx {
        data.write_as(key)
    } else {
        data.write_or_create(key).map(Some)
    }
}

fn zrem(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let Some(zset) = ctx.data.write_as::<ZSet>(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let members = ctx.args[2..].iter();
    let removed = members
        .filter(|member| zset.remove(member).is_some())
        .count();
    finish_removal(ctx, removed, "zrem");
    Ok(())
}

fn remove_range(
    ctx: &mut Ctx<'_>,
    event: &'static str,
    ranks: impl FnOnce(&ZSet) -> Range<usize>,
) -> CommandResult {
    let removed = match ctx.data.write_as::<ZSet>(ctx.args[1])? {
        Some(zset) => zset.remove_range(ranks(zset)),
        None => 0,
    };
    finish_removal(ctx, removed, event);
    Ok(())
}

fn finish_removal(ctx: &mut Ctx<'_>, removed: usize, event: &'static str) {
    if removed > 0 {
        ctx.data.modified(ctx.args[1], KeyClass::ZSet, event);
        ctx.data.remove_if_empty(ctx.args[1]);
        ctx.dirty += removed as u64;
    }
    ctx.reply.len(removed);
}
