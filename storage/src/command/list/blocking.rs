//! The commands that wait for an element to take. What they log is what they did, as a command that does not wait.

use super::ends::{self, PopMany, Shape, parse_end, pop_name};
use crate::command::blocking::{candidates, parse_timeout, usable};
use crate::command::{CommandError, CommandResult, Ctx, TimedOutReply};
use crate::value::{End, List};

pub(super) fn blpop(ctx: &mut Ctx<'_>) -> CommandResult {
    pop(ctx, End::Front)
}

pub(super) fn brpop(ctx: &mut Ctx<'_>) -> CommandResult {
    pop(ctx, End::Back)
}

fn pop(ctx: &mut Ctx<'_>, end: End) -> CommandResult {
    let [_, keys @ .., timeout] = ctx.args else {
        return Err(ctx.arity_error());
    };
    let timeout = parse_timeout(timeout)?;
    match first_list(ctx, keys)? {
        Some(key) => {
            ends::take(ctx, key, end, 1, Shape::KeyAndOne)?;
            ctx.effect(&[pop_name(end), key]);
        }
        None => wait(ctx, keys, timeout),
    }
    Ok(())
}

pub(super) fn blmpop(ctx: &mut Ctx<'_>) -> CommandResult {
    let args = ctx.args;
    let wish = PopMany::parse(&args[2..])?;
    let timeout = parse_timeout(args[1])?;
    match first_list(ctx, wish.keys)? {
        Some(key) => wish.take(ctx, key)?,
        None => wait(ctx, wish.keys, timeout),
    }
    Ok(())
}

/// The key of the first list that there is.
fn first_list<'k>(ctx: &mut Ctx<'_>, keys: &[&'k [u8]]) -> Result<Option<&'k [u8]>, CommandError> {
    let woken = ctx.woken_by.is_some();
    for key in candidates(ctx, keys) {
        if usable(woken, ctx.data.write_as::<List>(key))?.is_some() {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn wait(ctx: &mut Ctx<'_>, keys: &[&[u8]], timeout: Option<u64>) {
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    ctx.block(keys, timeout, TimedOutReply::NullArray);
}

pub(super) fn blmove(ctx: &mut Ctx<'_>) -> CommandResult {
    let args = ctx.args;
    let from = parse_end(args[3])?;
    let to = parse_end(args[4])?;
    let timeout = parse_timeout(args[5])?;
    if shift(ctx, from, to, timeout)? {
        ctx.effect(&[b"LMOVE", args[1], args[2], args[3], args[4]]);
    }
    Ok(())
}

pub(super) fn brpoplpush(ctx: &mut Ctx<'_>) -> CommandResult {
    let args = ctx.args;
    let timeout = parse_timeout(args[3])?;
    if shift(ctx, End::Back, End::Front, timeout)? {
        ctx.effect(&[b"RPOPLPUSH", args[1], args[2]]);
    }
    Ok(())
}

/// Moves an element, or waits for one; whether one was moved.
fn shift(
    ctx: &mut Ctx<'_>,
    from: End,
    to: End,
    timeout: Option<u64>,
) -> Result<bool, CommandError> {
    let source = ctx.args[1];
    if first_list(ctx, &[source])?.is_some() {
        return ends::shift(ctx, from, to);
    }
    if ctx.may_block {
        wait(ctx, &[source], timeout);
    } else {
        // Not what a client gets that has waited in vain.
        ctx.reply.null();
    }
    Ok(false)
}
