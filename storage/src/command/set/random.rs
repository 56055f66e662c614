//! Members chosen at random. What SPOP logs is the removal of the members that it chose.

use super::members::reply_all;
use crate::command::sample::{self, Wanted};
use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::text::integer;
use crate::value::{Limits, Member, Set};

/// If this many times as many members are to be taken as are to stay, those that stay are chosen instead.
const MOST_GO: usize = 5;

pub(super) fn spop(ctx: &mut Ctx<'_>) -> CommandResult {
    match ctx.args[2..] {
        [] => pop_one(ctx),
        [count] => {
            let count = integer::parse_i64(count).and_then(|count| usize::try_from(count).ok());
            pop_some(ctx, count.ok_or(CommandError::NotPositive)?)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let set = ctx.data.write_as::<Set>(key)?;
    let Some(member) = set.and_then(|set| set.pop_random(&mut rand::rng())) else {
        ctx.reply.null();
        return Ok(());
    };
    ctx.reply.bulk(&member);
    ctx.data.modified(key, KeyClass::Set, "spop");
    ctx.data.remove_if_empty(key);
    ctx.dirty += 1;
    ctx.effect(&[b"SREM", key, &member]);
    Ok(())
}

fn pop_some(ctx: &mut Ctx<'_>, count: usize) -> CommandResult {
    let (key, limits) = (ctx.args[1], ctx.limits());
    let set = match ctx.data.write_as::<Set>(key)? {
        Some(set) if count > 0 => set,
        _ => {
            ctx.reply.set(0);
            return Ok(());
        }
    };
    let len = set.len();
    if count >= len {
        reply_all(ctx.reply, set);
        ctx.data.modified(key, KeyClass::Set, "spop");
        ctx.data.delete(key);
        ctx.data.modified(key, KeyClass::Generic, "del");
        ctx.dirty += len as u64;
        ctx.effect(&[b"DEL", key]);
        return Ok(());
    }
    let taken = take(set, count, limits)?;
    ctx.data.modified(key, KeyClass::Set, "spop");
    ctx.dirty += taken.len() as u64;
    ctx.reply.set(taken.len());
    for member in taken {
        ctx.reply.bulk(&member);
        ctx.effect(&[b"SREM", key, &member]);
    }
    Ok(())
}

/// Removes `count` members, fewer than there are, and returns them.
fn take(set: &mut Set, count: usize, limits: &Limits) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut rng = rand::rng();
    let (len, stay) = (set.len(), set.len() - count);
    if stay.saturating_mul(MOST_GO) > count {
        return Ok((0..count).map_while(|_| set.pop_random(&mut rng)).collect());
    }
    let mut kept = Set::new();
    let keep = |member: Member<'_>| {
        kept.insert(&member, limits);
        Ok(())
    };
    sample::different(&mut rng, len, stay, set.iter(), |rng| set.random(rng), keep)?;
    let taken = set
        .iter()
        .filter(|member| !kept.contains(member))
        .map(|member| member.to_vec())
        .collect();
    *set = kept;
    Ok(taken)
}

pub(super) fn srandmember(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let mut rng = rand::rng();
    let wanted = match ctx.args[2..] {
        [] => {
            let set = ctx.data.read_as::<Set>(key)?;
            let member = set.and_then(|set| set.random(&mut rng));
            ctx.reply.bulk_or_null(member.as_deref());
            return Ok(());
        }
        [count] => Wanted::new(sample::parse_count(count)?, false)?,
        _ => return Err(CommandError::Syntax),
    };
    let Some(set) = ctx.data.read_as::<Set>(key)? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let count = wanted.of(set.len())?;
    ctx.reply.array(count);
    let mut write = |member: Member<'_>| {
        ctx.reply.bulk(&member);
        sample::check_reply_len(ctx.reply)
    };
    match wanted {
        Wanted::Different(_) => sample::different(
            &mut rng,
            set.len(),
            count,
            set.iter(),
            |rng| set.random(rng),
            write,
        ),
        Wanted::Any(_) => (0..count)
            .map_while(|_| set.random(&mut rng))
            .try_for_each(&mut write),
    }
}
