//! Adding and taking elements at the ends of lists.

use crate::command::{CommandError, CommandResult, Ctx, KeyClass};
use crate::text::integer::{self, IntText};
use crate::value::{End, List};

pub(super) fn lpush(ctx: &mut Ctx<'_>) -> CommandResult {
    push(ctx, End::Front)
}

pub(super) fn rpush(ctx: &mut Ctx<'_>) -> CommandResult {
    push(ctx, End::Back)
}

fn push(ctx: &mut Ctx<'_>, end: End) -> CommandResult {
    let (key, elements, limits) = (ctx.args[1], &ctx.args[2..], ctx.limits());
    let len = ctx.data.update_or_create(key, |list: &mut List| {
        for element in elements {
            list.push(end, element, limits);
        }
        Ok(list.len())
    })?;
    pushed(ctx, key, end, elements.len());
    ctx.reply.len(len);
    Ok(())
}

pub(super) fn lpushx(ctx: &mut Ctx<'_>) -> CommandResult {
    push_existing(ctx, End::Front)
}

pub(super) fn rpushx(ctx: &mut Ctx<'_>) -> CommandResult {
    push_existing(ctx, End::Back)
}

fn push_existing(ctx: &mut Ctx<'_>, end: End) -> CommandResult {
    let key = ctx.args[1];
    if ctx.data.write_as::<List>(key)?.is_some() {
        return push(ctx, end);
    }
    ctx.reply.int(0);
    Ok(())
}

/// Announces and counts elements that were added.
fn pushed(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) {
    let event = match end {
        End::Front => "lpush",
        End::Back => "rpush",
    };
    ctx.data.modified(key, KeyClass::List, event);
    ctx.dirty += count as u64;
}

/// Announces and counts elements that were taken, and removes the key with the last of them.
fn popped(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) {
    let event = match end {
        End::Front => "lpop",
        End::Back => "rpop",
    };
    ctx.data.modified(key, KeyClass::List, event);
    ctx.data.remove_if_empty(key);
    ctx.dirty += count as u64;
}

/// How taken elements are replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The one element.
    One,
    /// An array.
    Many,
    /// An array of the key and the one element.
    KeyAndOne,
    /// An array of the key and an array.
    KeyAndMany,
}

pub(super) fn lpop(ctx: &mut Ctx<'_>) -> CommandResult {
    pop(ctx, End::Front)
}

pub(super) fn rpop(ctx: &mut Ctx<'_>) -> CommandResult {
    pop(ctx, End::Back)
}

fn pop(ctx: &mut Ctx<'_>, end: End) -> CommandResult {
    let key = ctx.args[1];
    let count = match &ctx.args[2..] {
        [] => None,
        [count] => {
            let count = integer::parse_i64(count).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(CommandError::NotPositive)?)
        }
        _ => return Err(ctx.arity_error()),
    };
    let (count, shape) = match count {
        None => (1, Shape::One),
        Some(count) => (count, Shape::Many),
    };
    if take(ctx, key, end, count, shape)?.is_none() {
        match shape {
            Shape::One => ctx.reply.null(),
            _ => ctx.reply.null_array(),
        }
    }
    Ok(())
}

/// Takes up to `count` elements from one end of a list, and replies with them. Returns how many they are; `None`,
/// without a reply, if there is no list.
pub(super) fn take(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    end: End,
    count: usize,
    shape: Shape,
) -> Result<Option<usize>, CommandError> {
    let Some(list) = ctx.data.write_as::<List>(key)? else {
        return Ok(None);
    };
    let reply = &mut *ctx.reply;
    let len = list.len();
    let count = count.min(len);
    if matches!(shape, Shape::KeyAndOne | Shape::KeyAndMany) {
        reply.array(2);
        reply.bulk(key);
    }
    if matches!(shape, Shape::Many | Shape::KeyAndMany) {
        reply.array(count);
    }
    match end {
        End::Front => {
            list.iter()
                .take(count)
                .for_each(|element| reply.bulk(element));
            list.remove_range(0..count);
        }
        End::Back => {
            list.iter_rev_from(len.saturating_sub(1))
                .take(count)
                .for_each(|element| reply.bulk(element));
            list.remove_range(len - count..len);
        }
    }
    if count > 0 {
        popped(ctx, key, end, count);
    }
    Ok(Some(count))
}

/// The options of LMPOP and BLMPOP.
pub(super) struct PopMany<'a> {
    pub keys: &'a [&'a [u8]],
    pub end: End,
    pub count: usize,
}

impl<'a> PopMany<'a> {
    /// Parses what begins with the number of keys.
    pub fn parse(args: &'a [&'a [u8]]) -> Result<PopMany<'a>, CommandError> {
        let positive = |text: &[u8], error: &'static str| {
            integer::parse_i64(text)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| *number > 0)
                .ok_or_else(|| CommandError::err(error))
        };
        let [keys_len, rest @ ..] = args else {
            return Err(CommandError::Syntax);
        };
        let keys_len = positive(keys_len, "numkeys should be greater than 0")?;
        if keys_len >= rest.len() {
            return Err(CommandError::Syntax);
        }
        let (keys, rest) = rest.split_at(keys_len);
        let end = parse_end(rest[0])?;
        let mut count = None;
        let mut options = rest[1..].iter();
        while let Some(option) = options.next() {
            match options.next() {
                Some(number) if count.is_none() && option.eq_ignore_ascii_case(b"count") => {
                    count = Some(positive(number, "count should be greater than 0")?);
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        let count = count.unwrap_or(1);
        Ok(PopMany { keys, end, count })
    }

    /// Takes from the list under `key`, which exists; logs it as LPOP or RPOP.
    pub fn take(&self, ctx: &mut Ctx<'_>, key: &[u8]) -> CommandResult {
        if let Some(count) = take(ctx, key, self.end, self.count, Shape::KeyAndMany)? {
            ctx.effect(&[pop_name(self.end), key, &IntText::new(count as i64)]);
        }
        Ok(())
    }
}

/// The command that taking from this end is logged as.
pub(super) fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

/// Parses LEFT or RIGHT.
pub(super) fn parse_end(arg: &[u8]) -> Result<End, CommandError> {
    if arg.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if arg.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

pub(super) fn lmpop(ctx: &mut Ctx<'_>) -> CommandResult {
    let wish = PopMany::parse(&ctx.args[1..])?;
    for key in wish.keys {
        if ctx.data.write_as::<List>(key)?.is_some() {
            return wish.take(ctx, key);
        }
    }
    ctx.reply.null_array();
    Ok(())
}

pub(super) fn lmove(ctx: &mut Ctx<'_>) -> CommandResult {
    let from = parse_end(ctx.args[3])?;
    let to = parse_end(ctx.args[4])?;
    if !shift(ctx, from, to)? {
        ctx.reply.null();
    }
    Ok(())
}

pub(super) fn rpoplpush(ctx: &mut Ctx<'_>) -> CommandResult {
    if !shift(ctx, End::Back, End::Front)? {
        ctx.reply.null();
    }
    Ok(())
}

/// Moves an element from the list under the first key to the one under the second, and replies with it; false,
/// without a reply, if there is no source.
pub(super) fn shift(ctx: &mut Ctx<'_>, from: End, to: End) -> Result<bool, CommandError> {
    let (source, destination, limits) = (ctx.args[1], ctx.args[2], ctx.limits());
    if ctx.data.write_as::<List>(source)?.is_none() {
        return Ok(false);
    }
    ctx.data.write_as::<List>(destination)?;
    let element = ctx
        .data
        .write_as::<List>(source)?
        .and_then(|list| list.pop(from));
    let Some(element) = element else {
        return Ok(false);
    };
    ctx.data.update_or_create(destination, |list: &mut List| {
        list.push(to, &element, limits);
        Ok(())
    })?;
    ctx.reply.bulk(&element);
    pushed(ctx, destination, to, 1);
    // Redis counts a move as one change.
    popped(ctx, source, from, 0);
    Ok(true)
}
