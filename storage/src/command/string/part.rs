//! Pieces of a value.

use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::keyspace::{Record, StringKind};

pub(super) fn strlen(ctx: &mut Ctx<'_>) -> CommandResult {
    let value = ctx.data.string(ctx.args[1])?;
    ctx.reply.len(value.map_or(0, <[u8]>::len));
    Ok(())
}

pub(super) fn getrange(ctx: &mut Ctx<'_>) -> CommandResult {
    let (start, end) = (ctx.int_arg(2)?, ctx.int_arg(3)?);
    let value = ctx.data.string(ctx.args[1])?.unwrap_or_default();
    ctx.reply.bulk(part(value, start, end));
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative positions count from the end.
fn part(value: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let len = value.len() as i64;
    let from_start = |at: i64| {
        if at < 0 {
            at.saturating_add(len).max(0)
        } else {
            at
        }
    };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end {
        return &[];
    }
    &value[start as usize..=end as usize]
}

pub(super) fn append(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, addition) = (ctx.args[1], ctx.args[2]);
    let len = match len_of(ctx, key)? {
        Some(old_len) => {
            let len = old_len.saturating_add(addition.len());
            ctx.check_string_len(len)?;
            write_at(ctx, key, old_len, addition);
            len
        }
        None => {
            ctx.data.set_string(key, addition, None);
            addition.len()
        }
    };
    ctx.data.modified(key, KeyClass::String, "append");
    ctx.dirty += 1;
    ctx.reply.len(len);
    Ok(())
}

pub(super) fn setrange(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, value) = (ctx.args[1], ctx.args[3]);
    let offset = usize::try_from(ctx.int_arg(2)?)
        .map_err(|_| CommandError::err("offset is out of range"))?;
    let old_len = len_of(ctx, key)?;
    if value.is_empty() {
        ctx.reply.len(old_len.unwrap_or(0));
        return Ok(());
    }
    let end = offset.saturating_add(value.len());
    ctx.check_string_len(end)?;
    let len = end.max(old_len.unwrap_or(0));
    match old_len {
        Some(_) => write_at(ctx, key, offset, value),
        None => {
            let mut bytes = vec![0; end];
            bytes[offset..].copy_from_slice(value);
            ctx.data
                .put(Record::string_owned(key, bytes, StringKind::Raw, None));
        }
    }
    ctx.data.modified(key, KeyClass::String, "setrange");
    ctx.dirty += 1;
    ctx.reply.len(len);
    Ok(())
}

/// The length of the string under `key`. Does not count as a read.
fn len_of(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Option<usize>, CommandError> {
    ctx.data
        .peek_string(key)
        .map(|value| value.map(<[u8]>::len))
}

/// Writes `value` at `offset` of the string under `key`, which exists.
fn write_at(ctx: &mut Ctx<'_>, key: &[u8], offset: usize, value: &[u8]) {
    let mut record = ctx
        .data
        .record_mut(key)
        .expect("the key was there under the same lock");
    let written = record.write_string(offset, value);
    assert!(written, "the value's type was checked under the same lock");
}
