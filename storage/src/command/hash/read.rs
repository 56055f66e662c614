//! What is in a hash.

use crate::command::sample::{self, Wanted};
use crate::command::scan_args::{self, ScanArgs};
use crate::command::{CommandError, CommandResult, Ctx, Reply};
use crate::value::Hash;

pub(super) fn hget(ctx: &mut Ctx<'_>) -> CommandResult {
    let hash = ctx.data.read_as::<Hash>(ctx.args[1])?;
    ctx.reply
        .bulk_or_null(hash.and_then(|hash| hash.get(ctx.args[2])));
    Ok(())
}

pub(super) fn hmget(ctx: &mut Ctx<'_>) -> CommandResult {
    let fields = &ctx.args[2..];
    let hash = ctx.data.read_as::<Hash>(ctx.args[1])?;
    ctx.reply.array(fields.len());
    for field in fields {
        ctx.reply
            .bulk_or_null(hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

pub(super) fn hgetall(ctx: &mut Ctx<'_>) -> CommandResult {
    let Some(hash) = ctx.data.read_as::<Hash>(ctx.args[1])? else {
        ctx.reply.map(0);
        return Ok(());
    };
    ctx.reply.map(hash.len());
    for (field, value) in hash.iter() {
        ctx.reply.bulk(field);
        ctx.reply.bulk(value);
    }
    Ok(())
}

pub(super) fn hkeys(ctx: &mut Ctx<'_>) -> CommandResult {
    halves(ctx, |field, _| field)
}

pub(super) fn hvals(ctx: &mut Ctx<'_>) -> CommandResult {
    halves(ctx, |_, value| value)
}

fn halves(ctx: &mut Ctx<'_>, half: for<'h> fn(&'h [u8], &'h [u8]) -> &'h [u8]) -> CommandResult {
    let Some(hash) = ctx.data.read_as::<Hash>(ctx.args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    ctx.reply.array(hash.len());
    for (field, value) in hash.iter() {
        ctx.reply.bulk(half(field, value));
    }
    Ok(())
}

pub(super) fn hlen(ctx: &mut Ctx<'_>) -> CommandResult {
    let hash = ctx.data.read_as::<Hash>(ctx.args[1])?;
    ctx.reply.len(hash.map_or(0, Hash::len));
    Ok(())
}

pub(super) fn hstrlen(ctx: &mut Ctx<'_>) -> CommandResult {
    let hash = ctx.data.read_as::<Hash>(ctx.args[1])?;
    ctx.reply
        .len(hash.map_or(0, |hash| hash.value_len(ctx.args[2])));
    Ok(())
}

pub(super) fn hexists(ctx: &mut Ctx<'_>) -> CommandResult {
    let hash = ctx.data.read_as::<Hash>(ctx.args[1])?;
    ctx.reply
        .flag(hash.is_some_and(|hash| hash.contains(ctx.args[2])));
    Ok(())
}

pub(super) fn hrandfield(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let mut rng = rand::rng();
    if ctx.args.len() == 2 {
        let hash = ctx.data.read_as::<Hash>(key)?;
        let pair = hash.and_then(|hash| hash.random(&mut rng));
        ctx.reply.bulk_or_null(pair.map(|(field, _)| field));
        return Ok(());
    }
    let count = sample::parse_count(ctx.args[2])?;
    let with_values = match &ctx.args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CommandError::Syntax),
    };
    let wanted = Wanted::new(count, with_values)?;
    let Some(hash) = ctx.data.read_as::<Hash>(key)? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let count = wanted.of(hash.len())?;
    let per_pair = if with_values && !ctx.reply.resp3() {
        2
    } else {
        1
    };
    ctx.reply.array(count * per_pair);
    let mut write = |(field, value): (&[u8], &[u8])| {
        if with_values && ctx.reply.resp3() {
            ctx.reply.array(2);
        }
        ctx.reply.bulk(field);
        if with_values {
            ctx.reply.bulk(value);
        }
        sample::check_reply_len(ctx.reply)
    };
    match wanted {
        Wanted::Different(_) => sample::different(
            &mut rng,
            hash.len(),
            count,
            hash.iter(),
            |rng| hash.random(rng),
            write,
        ),
        Wanted::Any(_) => (0..count)
            .map_while(|_| hash.random(&mut rng))
            .try_for_each(&mut write),
    }
}

pub(super) fn hscan(ctx: &mut Ctx<'_>) -> CommandResult {
    let cursor = scan_args::parse_cursor(ctx.args[2])?;
    let Some(hash) = ctx.data.read_as::<Hash>(ctx.args[1])? else {
        scan_args::reply(ctx.reply, |_| (0, 0));
        return Ok(());
    };
    let args = ScanArgs::parse(&ctx.args[3..], false)?;
    scan_args::reply(ctx.reply, |elements: &mut Reply| {
        let mut found = 0;
        let next = hash.scan(cursor, args.count, |field, value| {
            if args.matches(field) {
                elements.bulk(field);
                elements.bulk(value);
                found += 2;
            }
        });
        (next, found)
    });
    Ok(())
}
