//! ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT, ZRANDMEMBER, ZSCAN.

use rand::RngExt;

use super::{SPEC, parse_lex_range, parse_score_range, reply_members};
use crate::command::scan_args::{ScanArgs, parse_cursor};
use crate::command::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, KeySpec, Work, work,
};
use crate::value::ZSet;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "zcard",
            arity: 2,
            flags: FAST_READ,
            keys: KeySpec::first("RO"),
            since: "1.2.0",
            summary: "Returns the number of members of a sorted set.",
            syntax: "key",
            ..SPEC
        },
        run: zcard,
    },
    Command {
        spec: CommandSpec {
            name: "zscore",
            arity: 3,
            flags: FAST_READ,
            keys: KeySpec::first("RO access"),
            since: "1.2.0",
            summary: "Returns the score of a member.",
            syntax: "key member",
            ..SPEC
        },
        run: zscore,
    },
    Command {
        spec: CommandSpec {
            name: "zmscore",
            arity: -3,
            flags: FAST_READ,
            keys: KeySpec::first("RO access"),
            since: "6.2.0",
            complexity: "O(N), N being the number of members given.",
            summary: "Returns the scores of several members.",
            syntax: "key member [member ...]",
            ..SPEC
        },
        run: zmscore,
    },
    Command {
        spec: CommandSpec {
            name: "zrank",
            arity: 3,
            flags: FAST_READ,
            keys: KeySpec::first("RO access"),
            since: "2.0.0",
            complexity: "O(log(N))",
            summary: "Returns how many members come before a member, in ascending order.",
            syntax: "key member",
            ..SPEC
        },
        run: |ctx| rank(ctx, false),
    },
    Command {
        spec: CommandSpec {
            name: "zrevrank",
            arity: 3,
            flags: FAST_READ,
            keys: KeySpec::first("RO access"),
            since: "2.0.0",
            complexity: "O(log(N))",
            summary: "Returns how many members come before a member, in descending order.",
            syntax: "key member",
            ..SPEC
        },
        run: |ctx| rank(ctx, true),
    },
    Command {
        spec: CommandSpec {
            name: "zcount",
            arity: 4,
            flags: FAST_READ,
            keys: KeySpec::first("RO access"),
            since: "2.0.0",
            complexity: "O(log(N)), N being the size of the sorted set.",
            summary: "Counts the members whose scores lie in a range.",
            syntax: "key min:double max:double",
            ..SPEC
        },
        run: |ctx| {
            let (min, max) = parse_score_range(ctx.args[2], ctx.args[3])?;
            count(ctx, |zset| zset.count_by_score(min, max))
        },
    },
    Command {
        spec: CommandSpec {
            name: "zlexcount",
            arity: 4,
            flags: FAST_READ,
            keys: KeySpec::first("RO access"),
            since: "2.8.9",
            complexity: "O(log(N)), N being the size of the sorted set.",
            summary: "Counts the members that lie in a range of byte order, all scores being equal.",
            syntax: "key min max",
            ..SPEC
        },
        run: |ctx| {
            let (min, max) = parse_lex_range(ctx.args[2], ctx.args[3])?;
            count(ctx, |zset| zset.count_by_lex(&min, &max))
        },
    },
    Command {
        spec: CommandSpec {
            name: "zrandmember",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "6.2.0",
            complexity: "O(N*log(M)), N being the number of members returned and M the size of the sorted set.",
            summary: "Returns members chosen at random.",
            syntax: "key [options= count [WITHSCORES]]",
            ..SPEC
        },
        run: zrandmember,
    },
    Command {
        spec: CommandSpec {
            name: "zscan",
            work: Work::Grows(work::count_option),
            arity: -3,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "2.8.0",
            complexity: "O(1) for each call, O(N) for a whole iteration, N being the size of the sorted set.",
            summary: "Iterates over members and their scores with a cursor.",
            syntax: "key cursor [MATCH pattern] [COUNT count]",
            ..SPEC
        },
        run: zscan,
    },
];

const FAST_READ: Flags = Flags::READONLY.with(Flags::FAST);

/// Most members that ZRANDMEMBER returns with repetition: as many as fit into replies of some gigabytes.
const REPEATED_MAX: i64 = 1 << 27;

fn zcard(ctx: &mut Ctx<'_>) -> CommandResult {
    count(ctx, ZSet::len)
}

fn count(ctx: &mut Ctx<'_>, count: impl FnOnce(&ZSet) -> usize) -> CommandResult {
    let zset = ctx.data.read_as::<ZSet>(ctx.args[1])?;
    ctx.reply.len(zset.map_or(0, count));
    Ok(())
}

fn zscore(ctx: &mut Ctx<'_>) -> CommandResult {
    let zset = ctx.data.read_as::<ZSet>(ctx.args[1])?;
    match zset.and_then(|zset| zset.score(ctx.args[2])) {
        Some(score) => ctx.reply.double(score),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn zmscore(ctx: &mut Ctx<'_>) -> CommandResult {
    let members = &ctx.args[2..];
    let zset = ctx.data.read_as::<ZSet>(ctx.args[1])?;
    ctx.reply.array(members.len());
    for member in members {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => ctx.reply.double(score),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

fn rank(ctx: &mut Ctx<'_>, reverse: bool) -> CommandResult {
    let zset = ctx.data.read_as::<ZSet>(ctx.args[1])?;
    let rank = zset.and_then(|zset| {
        let rank = zset.rank(ctx.args[2])?;
        Some(if reverse { zset.len() - 1 - rank } else { rank })
    });
    match rank {
        Some(rank) => ctx.reply.len(rank),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn zrandmember(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let mut rng = rand::rng();
    if ctx.args.len() == 2 {
        let zset = ctx.data.read_as::<ZSet>(key)?;
        let member = zset.and_then(|zset| zset.random(&mut rng));
        ctx.reply.bulk_or_null(member.map(|(member, _)| member));
        return Ok(());
    }
    let (count, with_scores) = random_count(ctx)?;
    let zset = match ctx.data.read_as::<ZSet>(key)? {
        Some(zset) if count != 0 => zset,
        _ => {
            ctx.reply.array(0);
            return Ok(());
        }
    };
    let len = zset.len();
    if count >= len as i64 {
        reply_members(ctx.reply, zset.iter(), with_scores);
    } else if count > 0 {
        let ranks = rand::seq::index::sample(&mut rng, len, count as usize);
        let members = ranks.into_iter().map(|rank| member_at(zset, rank));
        reply_members(ctx.reply, members, with_scores);
    } else {
        let members =
            (0..count.unsigned_abs() as usize).map(|_| member_at(zset, rng.random_range(0..len)));
        reply_members(ctx.reply, members, with_scores);
    }
    Ok(())
}

fn member_at(zset: &ZSet, rank: usize) -> (&[u8], f64) {
    zset.by_rank(rank)
        .expect("the rank was chosen below the length")
}

/// The count of ZRANDMEMBER, and whether scores are asked for.
fn random_count(ctx: &Ctx<'_>) -> Result<(i64, bool), CommandError> {
    let count = ctx.int_arg(2)?;
    if count == i64::MIN {
        return Err(CommandError::err(
            "value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_scores = match &ctx.args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    if (with_scores && count.unsigned_abs() > i64::MAX as u64 / 2) || count < -REPEATED_MAX {
        return Err(CommandError::OutOfRange);
    }
    Ok((count, with_scores))
}

fn zscan(ctx: &mut Ctx<'_>) -> CommandResult {
    let cursor = parse_cursor(ctx.args[2])?;
    let Some(zset) = ctx.data.read_as::<ZSet>(ctx.args[1])? else {
        ctx.reply.array(2);
        ctx.reply.bulk(b"0");
        ctx.reply.array(0);
        return Ok(());
    };
    let options = ScanArgs::parse(&ctx.args[3..], false)?;
    let mut found = Vec::new();
    let next = zset.scan(cursor, options.count, |member, score| {
        if options.matches(member) {
            found.push((member.to_vec(), score));
        }
    });
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(found.len() * 2);
    for (member, score) in found {
        ctx.reply.bulk(&member);
        ctx.reply.bulk(&crate::text::double::to_vec(score));
    }
    Ok(())
}
