//! The text of a value as a number.

use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::keyspace::{Record, RecordMut, StringKind, ValueRef};
use crate::text::integer::{self, IntText};
use crate::text::long_double::LongDouble;

/// Longest text that Redis keeps together with its header.
const EMBSTR_MAX: usize = 44;

pub(super) fn incr(ctx: &mut Ctx<'_>) -> CommandResult {
    add(ctx, 1)
}

pub(super) fn decr(ctx: &mut Ctx<'_>) -> CommandResult {
    add(ctx, -1)
}

pub(super) fn incrby(ctx: &mut Ctx<'_>) -> CommandResult {
    let increment = ctx.int_arg(2)?;
    add(ctx, increment)
}

pub(super) fn decrby(ctx: &mut Ctx<'_>) -> CommandResult {
    let decrement = ctx.int_arg(2)?;
    let increment = decrement
        .checked_neg()
        .ok_or(CommandError::err("decrement would overflow"))?;
    add(ctx, increment)
}

fn add(ctx: &mut Ctx<'_>, increment: i64) -> CommandResult {
    let key = ctx.args[1];
    let sum = match ctx.data.record_mut(key) {
        Some(mut record) => {
            let value = integer::parse_i64(text(&record)?).ok_or(CommandError::NotInteger)?;
            let sum = value.checked_add(increment).ok_or(CommandError::Overflow)?;
            store(&mut record, &IntText::new(sum), StringKind::Int);
            sum
        }
        None => {
            ctx.data.set_string(key, &IntText::new(increment), None);
            increment
        }
    };
    ctx.data.modified(key, KeyClass::String, "incrby");
    ctx.dirty += 1;
    ctx.reply.int(sum);
    Ok(())
}

pub(super) fn incrbyfloat(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, increment) = (ctx.args[1], ctx.args[2]);
    let mut record = ctx.data.record_mut(key);
    let value = match &record {
        Some(record) => LongDouble::parse(text(record)?).ok_or(CommandError::NotFloat)?,
        None => LongDouble::ZERO,
    };
    let increment = LongDouble::parse(increment).ok_or(CommandError::NotFloat)?;
    let sum = value
        .checked_add(increment)
        .ok_or(CommandError::NanOrInfinity)?
        .to_vec();
    // As in Redis the text is kept as it is, also where it is that of an integer.
    let kind = if sum.len() <= EMBSTR_MAX {
        StringKind::Embstr
    } else {
        StringKind::Raw
    };
    match &mut record {
        Some(record) => store(record, &sum, kind),
        None => ctx.data.put(Record::string(key, &sum, kind, None)),
    }
    ctx.data.modified(key, KeyClass::String, "incrbyfloat");
    ctx.dirty += 1;
    // Another machine's arithmetic may round otherwise.
    ctx.effect(&[b"SET", key, &sum, b"KEEPTTL"]);
    ctx.reply.bulk(&sum);
    Ok(())
}

fn text<'r>(record: &'r RecordMut<'_>) -> Result<&'r [u8], CommandError> {
    match record.value() {
        ValueRef::Str(text, _) => Ok(text),
        ValueRef::Object(_) => Err(CommandError::WrongType),
    }
}

/// Gives a string that is short, or was, another value.
fn store(record: &mut RecordMut<'_>, value: &[u8], kind: StringKind) {
    if !record.set_inline(value, kind) {
        drop(record.replace_value(value.to_vec(), kind));
    }
}
