//! Setting, counting and removing fields.

use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::text::integer::{self, IntText};
use crate::text::long_double::LongDouble;
use crate::value::Hash;

pub(super) fn hset(ctx: &mut Ctx<'_>) -> CommandResult {
    let added = set(ctx)?;
    ctx.reply.len(added);
    Ok(())
}

pub(super) fn hmset(ctx: &mut Ctx<'_>) -> CommandResult {
    set(ctx)?;
    ctx.reply.ok();
    Ok(())
}

/// Sets the fields that the arguments name; how many of them are new.
fn set(ctx: &mut Ctx<'_>) -> Result<usize, CommandError> {
    let (key, pairs) = (ctx.args[1], &ctx.args[2..]);
    if !pairs.len().is_multiple_of(2) {
        return Err(ctx.arity_error());
    }
    let limits = ctx.limits();
    let added = ctx.data.update_or_create(key, |hash: &mut Hash| {
        Ok(pairs
            .chunks_exact(2)
            .filter(|pair| hash.insert(pair[0], pair[1], limits))
            .count())
    })?;
    ctx.data.modified(key, KeyClass::Hash, "hset");
    ctx.dirty += pairs.len() as u64 / 2;
    Ok(added)
}

pub(super) fn hsetnx(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, field, value) = (ctx.args[1], ctx.args[2], ctx.args[3]);
    let limits = ctx.limits();
    let added = ctx.data.update_or_create(key, |hash: &mut Hash| {
        Ok(!hash.contains(field) && hash.insert(field, value, limits))
    })?;
    if added {
        ctx.data.modified(key, KeyClass::Hash, "hset");
        ctx.dirty += 1;
    }
    ctx.reply.flag(added);
    Ok(())
}

pub(super) fn hdel(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, fields) = (ctx.args[1], &ctx.args[2..]);
    let Some(hash) = ctx.data.write_as::<Hash>(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let removed = fields.iter().filter(|field| hash.remove(field)).count();
    let empty = hash.is_empty();
    if removed > 0 {
        ctx.data.modified(key, KeyClass::Hash, "hdel");
        ctx.dirty += removed as u64;
    }
    if empty {
        ctx.data.remove_if_empty(key);
    }
    ctx.reply.len(removed);
    Ok(())
}

pub(super) fn hincrby(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, field) = (ctx.args[1], ctx.args[2]);
    let increment = ctx.int_arg(3)?;
    let limits = ctx.limits();
    let sum = ctx.data.update_or_create(key, |hash: &mut Hash| {
        let value = match hash.get(field) {
            Some(text) => integer::parse_i64(text)
                .ok_or_else(|| CommandError::err("hash value is not an integer"))?,
            None => 0,
        };
        let sum = value.checked_add(increment).ok_or(CommandError::Overflow)?;
        hash.insert(field, &IntText::new(sum), limits);
        Ok(sum)
    })?;
    ctx.data.modified(key, KeyClass::Hash, "hincrby");
    ctx.dirty += 1;
    ctx.reply.int(sum);
    Ok(())
}

pub(super) fn hincrbyfloat(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, field) = (ctx.args[1], ctx.args[2]);
    let increment = LongDouble::parse(ctx.args[3]).ok_or(CommandError::NotFloat)?;
    if LongDouble::ZERO.checked_add(increment).is_none() {
        return Err(CommandError::err("value is NaN or Infinity"));
    }
    let limits = ctx.limits();
    let sum = ctx.data.update_or_create(key, |hash: &mut Hash| {
        let value = match hash.get(field) {
            Some(text) => LongDouble::parse(text)
                .ok_or_else(|| CommandError::err("hash value is not a float"))?,
            None => LongDouble::ZERO,
        };
        let sum = value
            .checked_add(increment)
            .ok_or(CommandError::NanOrInfinity)?
            .to_vec();
        hash.insert(field, &sum, limits);
        Ok(sum)
    })?;
    ctx.data.modified(key, KeyClass::Hash, "hincrbyfloat");
    ctx.dirty += 1;
    // Another machine's arithmetic may round otherwise.
    ctx.effect(&[b"HSET", key, field, &sum]);
    ctx.reply.bulk(&sum);
    Ok(())
}
