//! ZRANGE, its older forms (ZREVRANGE, Z(REV)RANGEBYSCORE, Z(REV)RANGEBYLEX), and ZRANGESTORE.

use std::ops::Range;

use super::{SPEC, parse_lex_range, parse_score_range, rank_range, reply_members, store};
use crate::command::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Deprecated, Flags, KeySpec, Work, work,
};
use crate::text::integer;
use crate::value::{LexBound, ScoreBound, ZSet, ZSetBuilder};

const COMPLEXITY: &str =
    "O(log(N)+M), N being the size of the sorted set and M the number of members returned.";

const fn replaced_by(instead: &'static str) -> Option<Deprecated> {
    Some(Deprecated {
        since: "6.2.0",
        instead,
    })
}

pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "zrange",
            work: Work::Grows(work::between),
            arity: -4,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "1.2.0",
            complexity: COMPLEXITY,
            summary: "Returns the members in a range of ranks, scores or byte order.",
            syntax: "key start:string stop:string [sortby= BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
            ..SPEC
        },
        run: |ctx| range(ctx, None, None),
    },
    Command {
        spec: CommandSpec {
            name: "zrevrange",
            work: Work::Grows(work::between),
            arity: -4,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "1.2.0",
            complexity: COMPLEXITY,
            summary: "Returns the members in a range of ranks, counted from the highest score.",
            syntax: "key start stop [WITHSCORES]",
            deprecated: replaced_by("`ZRANGE` with `REV`"),
            ..SPEC
        },
        run: |ctx| range(ctx, Some(By::Rank), Some(true)),
    },
    Command {
        spec: CommandSpec {
            name: "zrangebyscore",
            work: Work::Grows(work::between),
            arity: -4,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "1.0.5",
            complexity: COMPLEXITY,
            summary: "Returns the members whose scores lie in a range.",
            syntax: "key min:double max:double [WITHSCORES] [LIMIT offset count]",
            deprecated: replaced_by("`ZRANGE` with `BYSCORE`"),
            ..SPEC
        },
        run: |ctx| range(ctx, Some(By::Score), Some(false)),
    },
    Command {
        spec: CommandSpec {
            name: "zrevrangebyscore",
            work: Work::Grows(work::between),
            arity: -4,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "2.2.0",
            complexity: COMPLEXITY,
            summary: "Returns the members whose scores lie in a range, the highest first.",
            syntax: "key max:double min:double [WITHSCORES] [LIMIT offset count]",
            deprecated: replaced_by("`ZRANGE` with `REV` and `BYSCORE`"),
            ..SPEC
        },
        run: |ctx| range(ctx, Some(By::Score), Some(true)),
    },
    Command {
        spec: CommandSpec {
            name: "zrangebylex",
            work: Work::Grows(work::between),
            arity: -4,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "2.8.9",
            complexity: COMPLEXITY,
            summary: "Returns the members that lie in a range of byte order, all scores being equal.",
            syntax: "key min max [LIMIT offset count]",
            deprecated: replaced_by("`ZRANGE` with `BYLEX`"),
            ..SPEC
        },
        run: |ctx| range(ctx, Some(By::Lex), Some(false)),
    },
    Command {
        spec: CommandSpec {
            name: "zrevrangebylex",
            work: Work::Grows(work::between),
            arity: -4,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            since: "2.8.9",
            complexity: COMPLEXITY,
            summary: "Returns the members that lie in a range of byte order, the last first.",
            syntax: "key max min [LIMIT offset count]",
            deprecated: replaced_by("`ZRANGE` with `REV` and `BYLEX`"),
            ..SPEC
        },
        run: |ctx| range(ctx, Some(By::Lex), Some(true)),
    },
    Command {
        spec: CommandSpec {
            name: "zrangestore",
            work: Work::Grows(work::between),
            arity: -5,
            flags: Flags::WRITE.with(Flags::DENYOOM),
            keys: KeySpec::Range {
                first: 1,
                last: 2,
                step: 1,
                access: "OW update | RO access",
            },
            since: "6.2.0",
            complexity: "O(log(N)+M), N being the size of the sorted set and M the number of members stored.",
            summary: "Stores the members in a range of ranks, scores or byte order under another key.",
            syntax: "dst:key src:key min max [sortby= BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            ..SPEC
        },
        run: zrangestore,
    },
];

/// What the ends of a range are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// A range as the client asked for it.
struct Query {
    bounds: Bounds,
    reverse: bool,
    with_scores: bool,
    /// Number of members to skip.
    offset: i64,
    /// Most members to return; negative: all.
    count: i64,
}

enum Bounds {
    Rank(i64, i64),
    Score(ScoreBound, ScoreBound),
    Lex(LexBound, LexBound),
}

impl Query {
    /// Parses the two ends and the options behind them. What the command's name says (`by`, `reverse`) cannot be said
    /// by an option.
    fn parse(
        args: &[&[u8]],
        by: Option<By>,
        reverse: Option<bool>,
        may_have_scores: bool,
    ) -> Result<Query, CommandError> {
        let (mut wanted_by, mut wanted_reverse) = (by, reverse);
        let mut with_scores = false;
        let (mut offset, mut count) = (0, -1);
        let mut options = &args[2..];
        while let [option, rest @ ..] = options {
            options = rest;
            match option.to_ascii_lowercase().as_slice() {
                b"withscores" if may_have_scores => with_scores = true,
                b"limit" if rest.len() >= 2 => {
                    offset = integer::parse_i64(rest[0]).ok_or(CommandError::NotInteger)?;
                    count = integer::parse_i64(rest[1]).ok_or(CommandError::NotInteger)?;
                    options = &rest[2..];
                }
                b"rev" if wanted_reverse.is_none() => wanted_reverse = Some(true),
                b"bylex" if wanted_by.is_none() => wanted_by = Some(By::Lex),
                b"byscore" if wanted_by.is_none() => wanted_by = Some(By::Score),
                _ => return Err(CommandError::Syntax),
            }
        }
        let reverse = wanted_reverse.unwrap_or(false);
        let by = wanted_by.unwrap_or(By::Rank);
        if count != -1 && by == By::Rank {
            return Err(CommandError::err(
                "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::err(
                "syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (min, max) = if reverse && by != By::Rank {
            (args[1], args[0])
        } else {
            (args[0], args[1])
        };
        let integer = |arg| integer::parse_i64(arg).ok_or(CommandError::NotInteger);
        let bounds = match by {
            By::Rank => Bounds::Rank(integer(min)?, integer(max)?),
            By::Score => {
                let (min, max) = parse_score_range(min, max)?;
                Bounds::Score(min, max)
            }
            By::Lex => {
                let (min, max) = parse_lex_range(min, max)?;
                Bounds::Lex(min, max)
            }
        };
        Ok(Query {
            bounds,
            reverse,
            with_scores,
            offset,
            count,
        })
    }

    /// The members asked for, as ascending ranks.
    fn ranks(&self, zset: &ZSet) -> Range<usize> {
        let all = match &self.bounds {
            &Bounds::Rank(start, stop) => {
                let len = zset.len();
                let ranks = rank_range(start, stop, len);
                return if self.reverse {
                    len - ranks.end..len - ranks.start
                } else {
                    ranks
                };
            }
            Bounds::Score(min, max) => zset.range_by_score(*min, *max),
            Bounds::Lex(min, max) => zset.range_by_lex(min, max),
        };
        // A negative offset skips everything.
        let skipped = usize::try_from(self.offset)
            .unwrap_or(usize::MAX)
            .min(all.len());
        let left = all.len() - skipped;
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(left);
        if self.reverse {
            let end = all.end - skipped;
            end - count..end
        } else {
            let start = all.start + skipped;
            start..start + count
        }
    }
}

fn range(ctx: &mut Ctx<'_>, by: Option<By>, reverse: Option<bool>) -> CommandResult {
    let query = Query::parse(&ctx.args[2..], by, reverse, true)?;
    let Some(zset) = ctx.data.read_as::<ZSet>(ctx.args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    if query.reverse {
        reply_members(ctx.reply, zset.iter_range_rev(ranks), query.with_scores);
    } else {
        reply_members(ctx.reply, zset.iter_range(ranks), query.with_scores);
    }
    Ok(())
}

fn zrangestore(ctx: &mut Ctx<'_>) -> CommandResult {
    let query = Query::parse(&ctx.args[3..], None, None, false)?;
    let limits = ctx.limits();
    let mut result = ZSetBuilder::new();
    if let Some(zset) = ctx.data.read_as::<ZSet>(ctx.args[2])? {
        for (member, score) in zset.iter_range(query.ranks(zset)) {
            result.push(member, score);
        }
    }
    let result = result
        .finish(limits)
        .expect("members of one sorted set are different");
    ctx.dirty += store(&mut ctx.data, ctx.reply, ctx.args[1], result, "zrangestore");
    Ok(())
}
