//! Reading and writing whole values.

use super::expiry::{Expiry, Notation};
use crate::command::{Access, CommandError, CommandResult, Ctx, KeyClass};
use crate::keyspace::{Record, ValueRef};
use crate::text::integer::IntText;
use crate::types::UnixMillis;

pub(super) fn get(ctx: &mut Ctx<'_>) -> CommandResult {
    ctx.reply.bulk_or_null(ctx.data.string(ctx.args[1])?);
    Ok(())
}

/// What SET asks for beside the value.
#[derive(Default)]
struct SetOptions<'a> {
    /// `Some(true)`: only if the key exists; `Some(false)`: only if it does not.
    if_exists: Option<bool>,
    get: bool,
    keep_ttl: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> SetOptions<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<SetOptions<'a>, CommandError> {
        let mut options = SetOptions::default();
        let mut args = args.iter();
        while let Some(&option) = args.next() {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if is(b"NX") && options.if_exists != Some(true) {
                options.if_exists = Some(false);
            } else if is(b"XX") && options.if_exists != Some(false) {
                options.if_exists = Some(true);
            } else if is(b"GET") {
                options.get = true;
            } else if is(b"KEEPTTL") && options.expiry.is_none() {
                options.keep_ttl = true;
            } else if let Some(notation) = Notation::parse(option)
                && !options.keep_ttl
                && options
                    .expiry
                    .is_none_or(|expiry| expiry.notation == notation)
                && let Some(&text) = args.next()
            {
                options.expiry = Some(Expiry { text, notation });
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// What SET does with its key: GET is looked for wherever an option can stand, as Redis does it.
pub(super) fn set_access(args: &[&[u8]]) -> Access {
    let options = args.get(3..).unwrap_or_default();
    if options
        .iter()
        .any(|option| option.eq_ignore_ascii_case(b"GET"))
    {
        "RW access update"
    } else {
        "OW update"
    }
}

pub(super) fn set(ctx: &mut Ctx<'_>) -> CommandResult {
    let args = ctx.args;
    let (key, value) = (args[1], args[2]);
    let options = SetOptions::parse(&args[3..])?;
    let expire = match options.expiry {
        Some(expiry) => Some(expiry.deadline(ctx.now(), ctx.spec.name)?),
        None => None,
    };
    if options.get {
        ctx.reply.bulk_or_null(ctx.data.string(key)?);
    }
    if let Some(if_exists) = options.if_exists
        && ctx.data.exists(key) != if_exists
    {
        if !options.get {
            ctx.reply.null();
        }
        return Ok(());
    }
    if options.keep_ttl {
        let kept = ctx.data.expire_at(key);
        ctx.data.set_string(key, value, kept);
        stored(ctx, key);
    } else if let Some(expire) = expire {
        store_expiring(ctx, key, value, expire);
    } else {
        ctx.data.set_string(key, value, None);
        stored(ctx, key);
    }
    if !options.get {
        ctx.reply.ok();
    } else if expire.is_none() {
        let without_get: Vec<&[u8]> = args
            .iter()
            .enumerate()
            .filter(|(index, arg)| *index < 3 || !arg.eq_ignore_ascii_case(b"GET"))
            .map(|(_, arg)| *arg)
            .collect();
        ctx.effect(&without_get);
    }
    Ok(())
}

/// Announces and counts a string that was stored.
fn stored(ctx: &mut Ctx<'_>, key: &[u8]) {
    ctx.data.modified(key, KeyClass::String, "set");
    ctx.dirty += 1;
}

/// Stores a string that expires; logs the time as a point in time.
fn store_expiring(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], expire: UnixMillis) {
    ctx.data.set_string(key, value, Some(expire));
    stored(ctx, key);
    ctx.data.modified(key, KeyClass::Generic, "expire");
    ctx.effect(&[b"SET", key, value, b"PXAT", &IntText::new(expire.0)]);
}

pub(super) fn setnx(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, value) = (ctx.args[1], ctx.args[2]);
    let absent = !ctx.data.exists(key);
    if absent {
        ctx.data.set_string(key, value, None);
        stored(ctx, key);
    }
    ctx.reply.flag(absent);
    Ok(())
}

pub(super) fn setex(ctx: &mut Ctx<'_>) -> CommandResult {
    set_for(ctx, Notation::Seconds)
}

pub(super) fn psetex(ctx: &mut Ctx<'_>) -> CommandResult {
    set_for(ctx, Notation::Millis)
}

fn set_for(ctx: &mut Ctx<'_>, notation: Notation) -> CommandResult {
    let (key, text, value) = (ctx.args[1], ctx.args[2], ctx.args[3]);
    let expire = Expiry { text, notation }.deadline(ctx.now(), ctx.spec.name)?;
    store_expiring(ctx, key, value, expire);
    ctx.reply.ok();
    Ok(())
}

pub(super) fn getset(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, value) = (ctx.args[1], ctx.args[2]);
    ctx.reply.bulk_or_null(ctx.data.string(key)?);
    ctx.data.set_string(key, value, None);
    stored(ctx, key);
    ctx.effect(&[b"SET", key, value]);
    Ok(())
}

pub(super) fn getdel(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    ctx.reply.bulk_or_null(ctx.data.string(key)?);
    if ctx.data.delete(key) {
        ctx.data.modified(key, KeyClass::Generic, "del");
        ctx.dirty += 1;
        ctx.effect(&[b"DEL", key]);
    }
    Ok(())
}

pub(super) fn getex(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, now) = (ctx.args[1], ctx.now());
    let mut expiry: Option<Expiry<'_>> = None;
    let mut persist = false;
    let mut options = ctx.args[2..].iter();
    while let Some(&option) = options.next() {
        if option.eq_ignore_ascii_case(b"PERSIST") && expiry.is_none() {
            persist = true;
        } else if let Some(notation) = Notation::parse(option)
            && !persist
            && expiry.is_none_or(|expiry| expiry.notation == notation)
            && let Some(&text) = options.next()
        {
            expiry = Some(Expiry { text, notation });
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let Some(value) = ctx.data.string(key)? else {
        ctx.reply.null();
        return Ok(());
    };
    let deadline = match expiry {
        Some(expiry) => Some(expiry.deadline(now, ctx.spec.name)?),
        None => None,
    };
    ctx.reply.bulk(value);
    match (expiry, deadline) {
        (Some(expiry), Some(deadline))
            if expiry.notation.is_absolute() && ctx.data.is_over(deadline) =>
        {
            ctx.data.delete(key);
            ctx.data.modified(key, KeyClass::Generic, "del");
            ctx.dirty += 1;
            ctx.effect(&[ctx.data.expire_command(), key]);
        }
        (_, Some(deadline)) => {
            ctx.data.set_expire(key, Some(deadline));
            ctx.data.modified(key, KeyClass::Generic, "expire");
            ctx.dirty += 1;
            ctx.effect(&[b"PEXPIREAT", key, &IntText::new(deadline.0)]);
        }
        _ if persist && ctx.data.expire_at(key).is_some() => {
            ctx.data.set_expire(key, None);
            ctx.data.modified(key, KeyClass::Generic, "persist");
            ctx.dirty += 1;
            ctx.effect(&[b"PERSIST", key]);
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn mget(ctx: &mut Ctx<'_>) -> CommandResult {
    let keys = &ctx.args[1..];
    ctx.reply.array(keys.len());
    for key in keys {
        match ctx.data.read(key).map(Record::value) {
            Some(ValueRef::Str(value, _)) => ctx.reply.bulk(value),
            _ => ctx.reply.null(),
        }
    }
    Ok(())
}

pub(super) fn mset(ctx: &mut Ctx<'_>) -> CommandResult {
    if ctx.args.len().is_multiple_of(2) {
        return Err(ctx.arity_error());
    }
    store_pairs(ctx);
    ctx.reply.ok();
    Ok(())
}

pub(super) fn msetnx(ctx: &mut Ctx<'_>) -> CommandResult {
    if ctx.args.len().is_multiple_of(2) {
        return Err(ctx.arity_error());
    }
    let free = !ctx.args[1..]
        .iter()
        .step_by(2)
        .any(|key| ctx.data.exists(key));
    if free {
        store_pairs(ctx);
    }
    ctx.reply.flag(free);
    Ok(())
}

fn store_pairs(ctx: &mut Ctx<'_>) {
    for pair in ctx.args[1..].chunks_exact(2) {
        ctx.data.set_string(pair[0], pair[1], None);
        stored(ctx, pair[0]);
    }
}
