//! Elements by position and by value.

use std::ops::Range;

use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::text::integer;
use crate::value::List;

pub(super) fn llen(ctx: &mut Ctx<'_>) -> CommandResult {
    let list = ctx.data.read_as::<List>(ctx.args[1])?;
    ctx.reply.len(list.map_or(0, List::len));
    Ok(())
}

pub(super) fn lindex(ctx: &mut Ctx<'_>) -> CommandResult {
    let Some(list) = ctx.data.read_as::<List>(ctx.args[1])? else {
        ctx.reply.null();
        return Ok(());
    };
    let index = integer::parse_i64(ctx.args[2]).ok_or(CommandError::NotInteger)?;
    ctx.reply.bulk_or_null(list.get(index));
    Ok(())
}

/// The positions from `start` to `stop`, both included and both counted from the end if negative.
fn positions(start: i64, stop: i64, len: usize) -> Range<usize> {
    let absolute = |index: i64| {
        if index < 0 {
            index.saturating_add_unsigned(len as u64)
        } else {
            index
        }
    };
    let start = usize::try_from(absolute(start)).unwrap_or(0);
    let end = usize::try_from(absolute(stop).saturating_add(1)).unwrap_or(0);
    start..end.min(len)
}

pub(super) fn lrange(ctx: &mut Ctx<'_>) -> CommandResult {
    let (start, stop) = (ctx.int_arg(2)?, ctx.int_arg(3)?);
    let Some(list) = ctx.data.read_as::<List>(ctx.args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let positions = positions(start, stop, list.len());
    ctx.reply.array(positions.len());
    if !positions.is_empty() {
        list.iter_from(positions.start)
            .take(positions.len())
            .for_each(|element| ctx.reply.bulk(element));
    }
    Ok(())
}

/// The options of LPOS.
struct Search {
    /// Start at the end.
    backwards: bool,
    /// The first match to return, counted from 1.
    rank: u64,
    /// How many to return at most, as an array; `None`: one, by itself.
    count: Option<usize>,
    /// How many elements to look at.
    steps: usize,
}

impl Search {
    fn parse(args: &[&[u8]]) -> Result<Search, CommandError> {
        let mut search = Search {
            backwards: false,
            rank: 1,
            count: None,
            steps: usize::MAX,
        };
        // Zero stands for no limit.
        let limit = |number: &[u8], error: &'static str| match integer::parse_i64(number) {
            Some(0) => Ok(usize::MAX),
            number => number
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| CommandError::err(error)),
        };
        for option in args.chunks(2) {
            let &[option, number] = option else {
                return Err(CommandError::Syntax);
            };
            if option.eq_ignore_ascii_case(b"rank") {
                let rank = integer::parse_i64(number).ok_or(CommandError::NotInteger)?;
                if rank == 0 {
                    return Err(CommandError::err(
                        "RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                         negative to start from the end of the list",
                    ));
                }
                search.backwards = rank < 0;
                search.rank = rank.unsigned_abs();
            } else if option.eq_ignore_ascii_case(b"count") {
                search.count = Some(limit(number, "COUNT can't be negative")?);
            } else if option.eq_ignore_ascii_case(b"maxlen") {
                search.steps = limit(number, "MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }

    /// The positions of the elements to return.
    fn run(&self, list: &List, element: &[u8]) -> impl Iterator<Item = usize> {
        let len = list.len();
        let (forwards, backwards) = if self.backwards {
            (None, Some(list.iter_rev_from(len.wrapping_sub(1))))
        } else {
            (Some(list.iter()), None)
        };
        let mut unwanted = self.rank - 1;
        forwards
            .into_iter()
            .flatten()
            .chain(backwards.into_iter().flatten())
            .take(self.steps)
            .enumerate()
            .filter(move |(_, found)| *found == element)
            .map(move |(at, _)| if self.backwards { len - 1 - at } else { at })
            .skip_while(move |_| {
                let skip = unwanted > 0;
                unwanted = unwanted.saturating_sub(1);
                skip
            })
            .take(self.count.unwrap_or(1))
    }
}

pub(super) fn lpos(ctx: &mut Ctx<'_>) -> CommandResult {
    let search = Search::parse(&ctx.args[3..])?;
    let list = ctx.data.read_as::<List>(ctx.args[1])?;
    let mut found = list
        .into_iter()
        .flat_map(|list| search.run(list, ctx.args[2]));
    if search.count.is_some() {
        let array = ctx.reply.begin_array();
        let count = found.map(|position| ctx.reply.len(position)).count();
        ctx.reply.end(array, count);
    } else {
        match found.next() {
            Some(position) => ctx.reply.len(position),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

pub(super) fn lset(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, element, limits) = (ctx.args[1], ctx.args[3], ctx.limits());
    let list = ctx
        .data
        .write_as::<List>(key)?
        .ok_or(CommandError::NoSuchKey)?;
    let index = integer::parse_i64(ctx.args[2]).ok_or(CommandError::NotInteger)?;
    if !list.set(index, element, limits) {
        return Err(CommandError::IndexOutOfRange);
    }
    ctx.data.modified(key, KeyClass::List, "lset");
    ctx.dirty += 1;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn linsert(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, pivot, element, limits) = (ctx.args[1], ctx.args[3], ctx.args[4], ctx.limits());
    let after = ctx.args[2].eq_ignore_ascii_case(b"after");
    if !after && !ctx.args[2].eq_ignore_ascii_case(b"before") {
        return Err(CommandError::Syntax);
    }
    let Some(list) = ctx.data.write_as::<List>(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    if !list.insert_beside(pivot, after, element, limits) {
        ctx.reply.int(-1);
        return Ok(());
    }
    ctx.reply.len(list.len());
    ctx.data.modified(key, KeyClass::List, "linsert");
    ctx.dirty += 1;
    Ok(())
}

pub(super) fn lrem(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, element) = (ctx.args[1], ctx.args[3]);
    let count = ctx.int_arg(2)?;
    let Some(list) = ctx.data.write_as::<List>(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let removed = list.remove_value(element, count);
    if removed > 0 {
        ctx.data.modified(key, KeyClass::List, "lrem");
        ctx.data.remove_if_empty(key);
        ctx.dirty += removed as u64;
    }
    ctx.reply.len(removed);
    Ok(())
}

pub(super) fn ltrim(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let (start, stop) = (ctx.int_arg(2)?, ctx.int_arg(3)?);
    if let Some(list) = ctx.data.write_as::<List>(key)? {
        let len = list.len();
        let kept = positions(start, stop, len);
        if kept.is_empty() {
            ctx.data.modified(key, KeyClass::List, "ltrim");
            ctx.data.delete(key);
            ctx.data.modified(key, KeyClass::Generic, "del");
        } else {
            list.retain_range(kept.clone());
            ctx.data.modified(key, KeyClass::List, "ltrim");
        }
        ctx.dirty += (len - kept.len()) as u64;
    }
    ctx.reply.ok();
    Ok(())
}
