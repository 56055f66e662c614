//! Adding, removing and finding members.

use crate::command::scan_args::{self, ScanArgs};
use crate::command::{CommandResult, Ctx, KeyClass, Reply};
use crate::value::Set;

pub(super) fn sadd(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, members, limits) = (ctx.args[1], &ctx.args[2..], ctx.limits());
    let added = ctx.data.update_or_create(key, |set: &mut Set| {
        let new = members.iter().filter(|member| set.insert(member, limits));
        Ok(new.count())
    })?;
    if added > 0 {
        ctx.data.modified(key, KeyClass::Set, "sadd");
        ctx.dirty += added as u64;
    }
    ctx.reply.len(added);
    Ok(())
}

pub(super) fn srem(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, members) = (ctx.args[1], &ctx.args[2..]);
    let Some(set) = ctx.data.write_as::<Set>(key)? else {
        ctx.reply.int(0);
        return Ok(());
    };
    let removed = members.iter().filter(|member| set.remove(member)).count();
    if removed > 0 {
        ctx.data.modified(key, KeyClass::Set, "srem");
        ctx.data.remove_if_empty(key);
        ctx.dirty += removed as u64;
    }
    ctx.reply.len(removed);
    Ok(())
}

pub(super) fn smove(ctx: &mut Ctx<'_>) -> CommandResult {
    let (source, destination, member) = (ctx.args[1], ctx.args[2], ctx.args[3]);
    let limits = ctx.limits();
    if ctx.data.write_as::<Set>(source)?.is_none() {
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.data.write_as::<Set>(destination)?;
    let set = ctx.data.write_as::<Set>(source)?;
    if source == destination {
        ctx.reply.flag(set.is_some_and(|set| set.contains(member)));
        return Ok(());
    }
    if !set.is_some_and(|set| set.remove(member)) {
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.data.modified(source, KeyClass::Set, "srem");
    ctx.data.remove_if_empty(source);
    ctx.dirty += 1;
    let added = ctx
        .data
        .update_or_create(destination, |set: &mut Set| Ok(set.insert(member, limits)))?;
    if added {
        ctx.data.modified(destination, KeyClass::Set, "sadd");
        ctx.dirty += 1;
    }
    ctx.reply.int(1);
    Ok(())
}

pub(super) fn sismember(ctx: &mut Ctx<'_>) -> CommandResult {
    let set = ctx.data.read_as::<Set>(ctx.args[1])?;
    ctx.reply
        .flag(set.is_some_and(|set| set.contains(ctx.args[2])));
    Ok(())
}

pub(super) fn smismember(ctx: &mut Ctx<'_>) -> CommandResult {
    let members = &ctx.args[2..];
    let set = ctx.data.read_as::<Set>(ctx.args[1])?;
    ctx.reply.array(members.len());
    for member in members {
        ctx.reply.flag(set.is_some_and(|set| set.contains(member)));
    }
    Ok(())
}

pub(super) fn scard(ctx: &mut Ctx<'_>) -> CommandResult {
    let set = ctx.data.read_as::<Set>(ctx.args[1])?;
    ctx.reply.len(set.map_or(0, Set::len));
    Ok(())
}

pub(super) fn smembers(ctx: &mut Ctx<'_>) -> CommandResult {
    match ctx.data.read_as::<Set>(ctx.args[1])? {
        Some(set) => reply_all(ctx.reply, set),
        None => ctx.reply.set(0),
    }
    Ok(())
}

/// Writes all members as a set.
pub(super) fn reply_all(reply: &mut Reply, set: &Set) {
    reply.set(set.len());
    set.iter().for_each(|member| reply.bulk(&member));
}

pub(super) fn sscan(ctx: &mut Ctx<'_>) -> CommandResult {
    let cursor = scan_args::parse_cursor(ctx.args[2])?;
    let Some(set) = ctx.data.read_as::<Set>(ctx.args[1])? else {
        scan_args::reply(ctx.reply, |_| (0, 0));
        return Ok(());
    };
    let args = ScanArgs::parse(&ctx.args[3..], false)?;
    scan_args::reply(ctx.reply, |elements| {
        let mut found = 0;
        let next = set.scan(cursor, args.count, |member| {
            if args.matches(member) {
                elements.bulk(member);
                found += 1;
            }
        });
        (next, found)
    });
    Ok(())
}
