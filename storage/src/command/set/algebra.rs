//! Intersections, unions and differences.
//!
//! The sets that take part are cloned, which is cheap: it makes all of them readable at once, and lets the result
//! replace one of them.

use std::cmp::Reverse;

use super::members::reply_all;
use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::text::integer::{self, IntText};
use crate::value::{Limits, Member, Set};

/// The sets under `keys`; `None` where there is none.
fn operands(ctx: &mut Ctx<'_>, keys: &[&[u8]]) -> Result<Vec<Option<Set>>, CommandError> {
    keys.iter()
        .map(|key| Ok(ctx.data.read_as::<Set>(key)?.cloned()))
        .collect()
}

/// Stores a result and replies with its size; an empty one removes the key.
fn store(ctx: &mut Ctx<'_>, key: &[u8], set: Set, event: &'static str) {
    ctx.reply.len(set.len());
    if !set.is_empty() {
        ctx.data.set_object(key, set);
        ctx.data.modified(key, KeyClass::Set, event);
        ctx.dirty += 1;
    } else if ctx.data.delete(key) {
        ctx.data.modified(key, KeyClass::Generic, "del");
        ctx.dirty += 1;
    }
}

pub(super) fn sinter(ctx: &mut Ctx<'_>) -> CommandResult {
    let sets = operands(ctx, &ctx.args[1..])?;
    let result = ctx.reply.begin_set();
    let mut count = 0;
    intersect(sets, |member| {
        ctx.reply.bulk(&member);
        count += 1;
        true
    });
    ctx.reply.end(result, count);
    Ok(())
}

pub(super) fn sinterstore(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, limits) = (ctx.args[1], ctx.limits());
    let sets = operands(ctx, &ctx.args[2..])?;
    let mut result = Set::new();
    intersect(sets, |member| {
        result.insert(&member, limits);
        true
    });
    store(ctx, key, result, "sinterstore");
    Ok(())
}

pub(super) fn sintercard(ctx: &mut Ctx<'_>) -> CommandResult {
    let args = ctx.args;
    let keys_len = integer::parse_i64(args[1])
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| CommandError::err("numkeys should be greater than 0"))?;
    if keys_len > args.len() - 2 {
        return Err(CommandError::err(
            "Number of keys can't be greater than number of args",
        ));
    }
    let (keys, options) = args[2..].split_at(keys_len);
    let mut limit = 0;
    for option in options.chunks(2) {
        match option {
            [name, number] if name.eq_ignore_ascii_case(b"limit") => {
                limit = integer::parse_i64(number)
                    .and_then(|number| usize::try_from(number).ok())
                    .ok_or_else(|| CommandError::err("LIMIT can't be negative"))?;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    let sets = operands(ctx, keys)?;
    let mut count = 0;
    intersect(sets, |_| {
        count += 1;
        count != limit
    });
    ctx.reply.len(count);
    Ok(())
}

/// Gives the members that all sets have to `take` until that returns false.
fn intersect(sets: Vec<Option<Set>>, mut take: impl FnMut(Member<'_>) -> bool) {
    let Some(mut sets) = sets.into_iter().collect::<Option<Vec<Set>>>() else {
        return;
    };
    // The fewer candidates, and the sooner one is out, the better.
    sets.sort_by_key(Set::len);
    let Some((smallest, others)) = sets.split_first() else {
        return;
    };
    if let Some(ints) = smallest.ints() {
        let in_all = |int: &i64| {
            others.iter().all(|set| match set.ints() {
                Some(ints) => ints.binary_search(int).is_ok(),
                None => set.contains(&IntText::new(*int)),
            })
        };
        ints.iter()
            .filter(|int| in_all(int))
            .all(|int| take(Member::Int(IntText::new(*int))));
    } else {
        smallest
            .iter()
            .filter(|member| others.iter().all(|set| set.contains(member)))
            .all(take);
    }
}

pub(super) fn sunion(ctx: &mut Ctx<'_>) -> CommandResult {
    let limits = ctx.limits();
    let sets = operands(ctx, &ctx.args[1..])?;
    reply_all(ctx.reply, &union(&sets, limits));
    Ok(())
}

pub(super) fn sunionstore(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, limits) = (ctx.args[1], ctx.limits());
    let sets = operands(ctx, &ctx.args[2..])?;
    let result = union(&sets, limits);
    // While the keyspace still holds them too, so that nothing has to be freed here.
    drop(sets);
    store(ctx, key, result, "sunionstore");
    Ok(())
}

fn union(sets: &[Option<Set>], limits: &Limits) -> Set {
    let mut result = Set::new();
    for member in sets.iter().flatten().flat_map(Set::iter) {
        result.insert(&member, limits);
    }
    result
}

pub(super) fn sdiff(ctx: &mut Ctx<'_>) -> CommandResult {
    let limits = ctx.limits();
    let sets = operands(ctx, &ctx.args[1..])?;
    reply_all(ctx.reply, &difference(sets, limits));
    Ok(())
}

pub(super) fn sdiffstore(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, limits) = (ctx.args[1], ctx.limits());
    let sets = operands(ctx, &ctx.args[2..])?;
    let result = difference(sets, limits);
    store(ctx, key, result, "sdiffstore");
    Ok(())
}

/// The members of the first set that no other set has.
fn difference(sets: Vec<Option<Set>>, limits: &Limits) -> Set {
    let mut result = Set::new();
    let mut sets = sets.into_iter();
    let Some(first) = sets.next().flatten() else {
        return result;
    };
    let mut others: Vec<Set> = sets.flatten().collect();
    // Looking each member up in all other sets, or adding all of the first and removing all of the others: whichever
    // takes fewer steps, where a look-up counts half because the first set that has the member ends it.
    let lookups = (first.len() as u128) * (others.len() as u128 + 1) / 2;
    let updates = first.len() + others.iter().map(Set::len).sum::<usize>();
    if lookups <= updates as u128 {
        others.sort_by_key(|set| Reverse(set.len()));
        for member in first.iter() {
            if !others.iter().any(|set| set.contains(&member)) {
                result.insert(&member, limits);
            }
        }
        return result;
    }
    for member in first.iter() {
        result.insert(&member, limits);
    }
    for member in others.iter().flat_map(Set::iter) {
        result.remove(&member);
        if result.is_empty() {
            break;
        }
    }
    result
}
