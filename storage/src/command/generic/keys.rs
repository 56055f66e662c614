//! Removing, finding, renaming, copying and moving single keys.

use super::type_name;
use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::types::DbIndex;

pub(super) fn del(ctx: &mut Ctx<'_>) -> CommandResult {
    let mut removed = 0;
    for key in &ctx.args[1..] {
        if ctx.data.delete(key) {
            ctx.data.modified(key, KeyClass::Generic, "del");
            removed += 1;
        }
    }
    ctx.dirty += removed;
    ctx.reply.int(removed as i64);
    Ok(())
}

pub(super) fn exists(ctx: &mut Ctx<'_>) -> CommandResult {
    let keys = ctx.args[1..].iter();
    let count = keys.filter(|key| ctx.data.look(key).is_some()).count();
    ctx.reply.len(count);
    Ok(())
}

pub(super) fn touch(ctx: &mut Ctx<'_>) -> CommandResult {
    let keys = ctx.args[1..].iter();
    let count = keys.filter(|key| ctx.data.read(key).is_some()).count();
    ctx.reply.len(count);
    Ok(())
}

pub(super) fn type_of(ctx: &mut Ctx<'_>) -> CommandResult {
    let name = ctx.data.look(ctx.args[1]).map_or("none", type_name);
    ctx.reply.simple(name);
    Ok(())
}

pub(super) fn rename(ctx: &mut Ctx<'_>) -> CommandResult {
    rename_key(ctx, true)?;
    ctx.reply.ok();
    Ok(())
}

pub(super) fn renamenx(ctx: &mut Ctx<'_>) -> CommandResult {
    let renamed = rename_key(ctx, false)?;
    ctx.reply.flag(renamed);
    Ok(())
}

/// Gives the value of the first key to the second, if that is not in use or may be `replaced`. Whether it did.
fn rename_key(ctx: &mut Ctx<'_>, replace: bool) -> Result<bool, CommandError> {
    let (from, to) = (ctx.args[1], ctx.args[2]);
    if !ctx.data.exists(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to || (ctx.data.exists(to) && !replace) {
        return Ok(false);
    }
    let record = ctx.data.take(from).ok_or(CommandError::NoSuchKey)?;
    ctx.data.put_as_used(record.with_key(to));
    ctx.data.modified(from, KeyClass::Generic, "rename_from");
    ctx.data.modified(to, KeyClass::Generic, "rename_to");
    ctx.dirty += 1;
    Ok(true)
}

/// The argument at `index` as the number of a database.
fn db_arg(ctx: &Ctx<'_>, index: usize) -> Result<DbIndex, CommandError> {
    let number = i32::try_from(ctx.int_arg(index)?).map_err(|_| {
        CommandError::err("value is out of range, value must between -2147483648 and 2147483647")
    })?;
    DbIndex::try_from(number)
        .ok()
        .filter(|db| *db < ctx.data.databases())
        .ok_or(CommandError::DbIndexOutOfRange)
}

pub(super) fn copy(ctx: &mut Ctx<'_>) -> CommandResult {
    let (from, to) = (ctx.args[1], ctx.args[2]);
    let from_db = ctx.data.db();
    let (mut to_db, mut replace) = (from_db, false);
    let mut index = 3;
    while let Some(option) = ctx.args.get(index) {
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB") && index + 1 < ctx.args.len() {
            index += 1;
            to_db = db_arg(ctx, index)?;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    if from_db == to_db && from == to {
        return Err(CommandError::SameObject);
    }
    let Some(record) = ctx.data.read(from) else {
        ctx.reply.int(0);
        return Ok(());
    };
    let copy = record.share();
    ctx.data.select(to_db);
    let free = !ctx.data.exists(to);
    if free || replace {
        ctx.data.put(copy.with_key(to));
        ctx.data.modified(to, KeyClass::Generic, "copy_to");
        ctx.dirty += 1;
    }
    ctx.data.select(from_db);
    ctx.reply.flag(free || replace);
    Ok(())
}

pub(super) fn move_to(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let (from_db, to_db) = (ctx.data.db(), db_arg(ctx, 2)?);
    if from_db == to_db {
        return Err(CommandError::SameObject);
    }
    if !ctx.data.exists(key) {
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.data.select(to_db);
    let free = !ctx.data.exists(key);
    ctx.data.select(from_db);
    let moved = if free { ctx.data.take(key) } else { None };
    let is_moved = moved.is_some();
    if let Some(record) = moved {
        ctx.data.modified(key, KeyClass::Generic, "move_from");
        ctx.data.select(to_db);
        ctx.data.put_as_used(record);
        ctx.data.modified(key, KeyClass::Generic, "move_to");
        ctx.data.select(from_db);
        ctx.dirty += 1;
    }
    ctx.reply.flag(is_moved);
    Ok(())
}
