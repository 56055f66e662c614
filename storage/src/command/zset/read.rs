//! ZCARD, ZSCORE, ZMSCORE, ZRANK, ZREVRANK, ZCOUNT, ZLEXCOUNT, ZRANDMEMBER, ZSCAN.

use rand::RngExt;
use rand::rngs::ThreadRng;

use super::{SPEC, members_header, parse_lex_range, parse_score_range, write_member};
use crate::command::sample::{self, Wanted};
use crate::command::scan_args::{self, ScanArgs, parse_cursor};
use crate::command::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, KeySpec, Work, work,
};
use crate::text::double;
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
    let count = sample::parse_count(ctx.args[2])?;
    let with_scores = match &ctx.args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CommandError::Syntax),
    };
    let wanted = Wanted::new(count, with_scores)?;
    let Some(zset) = ctx.data.read_as::<ZSet>(key)? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let len = zset.len();
    let count = wanted.of(len)?;
    let reply = &mut *ctx.reply;
    members_header(reply, count, with_scores);
    let mut write = |rank: usize| {
        let (member, score) = zset
            .by_rank(rank)
            .expect("the rank was chosen below the length");
        write_member(reply, member, score, with_scores);
        sample::check_reply_len(reply)
    };
    match wanted {
        Wanted::Different(_) => {
            let any = |rng: &mut ThreadRng| Some(rng.random_range(0..len));
            sample::different(&mut rng, len, count, 0..len, any, write)
        }
        Wanted::Any(_) => (0..count).try_for_each(|_| write(rng.random_range(0..len))),
    }
}

fn zscan(ctx: &mut Ctx<'_>) -> CommandResult {
    let cursor = parse_cursor(ctx.args[2])?;
    let Some(zset) = ctx.data.read_as::<ZSet>(ctx.args[1])? else {
        scan_args::reply(ctx.reply, |_| (0, 0));
        return Ok(());
    };
    let args = ScanArgs::parse(&ctx.args[3..], false)?;
    scan_args::reply(ctx.reply, |elements| {
        let mut found = 0;
        let next = zset.scan(cursor, args.count, |member, score| {
            if args.matches(member) {
                elements.bulk(member);
                // As text in either protocol.
                elements.bulk(&double::to_vec(score));
                found += 2;
            }
        });
        (next, found)
    });
    Ok(())
}
