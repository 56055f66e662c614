//! Sorted sets.
//!
//! | file | commands |
//! |---|---|
//! | [`write`] | ZADD, ZINCRBY, ZREM, ZREMRANGEBY* |
//! | [`read`] | ZCARD, ZSCORE, ZMSCORE, Z(REV)RANK, ZCOUNT, ZLEXCOUNT, ZRANDMEMBER, ZSCAN |
//! | [`range`] | ZRANGE and its older forms, ZRANGESTORE |
//! | [`pop`] | ZPOP*, ZMPOP and their blocking forms |
//! | [`algebra`] | ZUNION, ZINTER, ZDIFF and their STORE forms, ZINTERCARD |

mod algebra;
mod pop;
mod range;
mod read;
#[cfg(test)]
mod tests;
mod write;

use super::{Command, CommandError, CommandSpec, Data, Group, KeyClass, Reply};
use crate::value::{LexBound, ScoreBound, ZSet};

/// The family's rows of the command table, one list per file.
pub(super) static COMMANDS: &[&[Command]] = &[
    write::COMMANDS,
    read::COMMANDS,
    range::COMMANDS,
    pop::COMMANDS,
    algebra::COMMANDS,
];

const SPEC: CommandSpec = CommandSpec {
    group: Group::SortedSet,
    ..CommandSpec::DEFAULT
};

fn parse_score_range(min: &[u8], max: &[u8]) -> Result<(ScoreBound, ScoreBound), CommandError> {
    ScoreBound::parse(min)
        .zip(ScoreBound::parse(max))
        .ok_or_else(|| CommandError::err("min or max is not a float"))
}

fn parse_lex_range(min: &[u8], max: &[u8]) -> Result<(LexBound, LexBound), CommandError> {
    LexBound::parse(min)
        .zip(LexBound::parse(max))
        .ok_or_else(|| CommandError::err("min or max not valid string range item"))
}

/// The ranks that `start` and `stop` (inclusive, negative from the end) mean among `len`; empty if there are none.
fn rank_range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let absolute = |index: i64| {
        if index < 0 {
            index.saturating_add(len as i64)
        } else {
            index
        }
    };
    let start = absolute(start).max(0) as usize;
    let end = absolute(stop).saturating_add(1).clamp(0, len as i64) as usize;
    start.min(end)..end
}

/// Writes members as an array: with scores it holds pairs in RESP3 and is twice as long in RESP2.
fn reply_members<'a>(
    reply: &mut Reply,
    members: impl ExactSizeIterator<Item = (&'a [u8], f64)>,
    with_scores: bool,
) {
    members_header(reply, members.len(), with_scores);
    for (member, score) in members {
        write_member(reply, member, score, with_scores);
    }
}

/// The header of an array of `count` members.
fn members_header(reply: &mut Reply, count: usize, with_scores: bool) {
    if with_scores && !reply.resp3() {
        reply.array(count * 2);
    } else {
        reply.array(count);
    }
}

/// One member of such an array.
fn write_member(reply: &mut Reply, member: &[u8], score: f64, with_scores: bool) {
    if with_scores && reply.resp3() {
        reply.array(2);
    }
    reply.bulk(member);
    if with_scores {
        reply.double(score);
    }
}

/// Puts the result of a `...STORE` command in place of whatever `key` held; an empty one removes the key. Replies with
/// the number of members, and returns the number of changes.
fn store(
    data: &mut Data<'_>,
    reply: &mut Reply,
    key: &[u8],
    result: ZSet,
    event: &'static str,
) -> u64 {
    reply.len(result.len());
    if !result.is_empty() {
        data.set_object(key, result);
        data.modified(key, KeyClass::ZSet, event);
        1
    } else if data.delete(key) {
        data.modified(key, KeyClass::Generic, "del");
        1
    } else {
        0
    }
}
