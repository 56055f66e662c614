//! All keys of a database, slot by slot: KEYS, SCAN, RANDOMKEY.
//!
//! The cursor of SCAN is `table cursor << 14 | slot`: where the next call goes on, 0 at the beginning and at the end.
//! Slots are visited in ascending order, and inside a slot its table promises what SCAN does: a key that is there
//! from the first call to the last is returned.
//!
//! Only one slot is locked at a time (in a transaction the whole keyspace is). SCAN and RANDOMKEY have the engine expire
//! the due keys that they come across, but not in a transaction.

use rand::RngExt;

use super::type_name;
use crate::command::scan_args::{ScanArgs, parse_cursor};
use crate::command::{CommandResult, Ctx, Data, Reply, is_due};
use crate::keyspace::{Record, SLOTS, SlotGuard};
use crate::text::{crc16, glob};

const SLOT_BITS: u32 = 14;
const _: () = assert!(1 << SLOT_BITS == SLOTS);

/// Slots tried at random before RANDOMKEY counts its way to a key.
const RANDOM_TRIES: usize = 64;
/// How often RANDOMKEY picks a key whose time has come before it says that there is none.
const DUE_TRIES: usize = 100;

/// Calls `work` for each slot that has keys, from `from` on, until it returns false.
pub(in crate::command) fn walk_slots(
    data: &mut Data<'_>,
    from: u16,
    work: &mut dyn FnMut(&SlotGuard<'_>) -> bool,
) {
    let mut next = data.next_used_slot(from);
    while let Some(slot) = next {
        let mut more = true;
        data.with_slot(slot, &mut |slot| more = work(slot));
        next = more.then(|| data.next_used_slot(slot + 1)).flatten();
    }
}

pub(super) fn keys(ctx: &mut Ctx<'_>) -> CommandResult {
    let (pattern, now) = (ctx.args[1], ctx.now());
    let everything = pattern == b"*";
    let array = ctx.reply.begin_array();
    let mut count = 0;
    let mut visit = |slot: &SlotGuard<'_>| {
        for record in slot.iter() {
            let key = record.key();
            if (everything || glob::matches(pattern, key, false)) && !is_due(record, now) {
                ctx.reply.bulk(key);
                count += 1;
            }
        }
    };
    if glob::is_literal(pattern) {
        if !ctx.data.is_empty() {
            ctx.data.with_slot(crc16::slot(pattern), &mut visit);
        }
    } else {
        walk_slots(&mut ctx.data, 0, &mut |slot| {
            visit(slot);
            true
        });
    }
    ctx.reply.end(array, count);
    Ok(())
}

pub(super) fn scan(ctx: &mut Ctx<'_>) -> CommandResult {
    let cursor = parse_cursor(ctx.args[1])?;
    let args = ScanArgs::parse(&ctx.args[2..], true)?;
    let now = ctx.now();
    let mut found = Reply::with_protocol(ctx.reply.resp3());
    let (mut visited, mut count) = (0, 0);
    let mut due = Vec::new();
    let mut take = |record: &Record| {
        visited += 1;
        let key = record.key();
        let is_type = |name: &[u8]| name.eq_ignore_ascii_case(type_name(record).as_bytes());
        if args.matches(key) && args.type_name.is_none_or(is_type) {
            if is_due(record, now) {
                due.push(key.to_vec());
            } else {
                found.bulk(key);
                count += 1;
            }
        }
        visited >= args.count
    };
    let (from, mut place) = ((cursor % SLOTS as u64) as u16, cursor >> SLOT_BITS);
    let mut next_cursor = 0;
    walk_slots(&mut ctx.data, from, &mut |slot| {
        if slot.slot() != from {
            place = 0;
        }
        let mut enough = false;
        loop {
            place = slot.scan(place, &mut |record| enough |= take(record));
            if enough || place == 0 {
                break;
            }
        }
        if enough {
            next_cursor = match place {
                0 => (u64::from(slot.slot()) + 1) % SLOTS as u64,
                place => place << SLOT_BITS | u64::from(slot.slot()),
            };
        }
        !enough
    });
    ctx.data.expire_later(due);
    ctx.reply.array(2);
    ctx.reply.bulk(next_cursor.to_string().as_bytes());
    ctx.reply.array(count);
    ctx.reply.buffer_mut().extend_from_slice(found.bytes());
    Ok(())
}

pub(super) fn randomkey(ctx: &mut Ctx<'_>) -> CommandResult {
    let now = ctx.now();
    let mut due = Vec::new();
    let mut picked = false;
    for _ in 0..DUE_TRIES {
        let found = random_record(&mut ctx.data, &mut |record| {
            if is_due(record, now) {
                due.push(record.key().to_vec());
            } else {
                ctx.reply.bulk(record.key());
                picked = true;
            }
        });
        if picked || !found {
            break;
        }
    }
    if !picked {
        ctx.reply.null();
    }
    ctx.data.expire_later(due);
    Ok(())
}

/// Calls `visit` with a key picked at random; false if there is none.
///
/// A slot picked at random is taken with a probability that grows with its keys, so that all keys have about the same
/// chance. Where many slots are empty, a random number of keys is skipped instead.
fn random_record(data: &mut Data<'_>, visit: &mut dyn FnMut(&Record)) -> bool {
    let mut rng = rand::rng();
    let keys = data.len();
    let mut found = false;
    if keys >= SLOTS {
        let plenty = keys / SLOTS * 4;
        for _ in 0..RANDOM_TRIES {
            data.with_slot(rng.random_range(0..SLOTS as u16), &mut |slot| {
                if slot.len() > rng.random_range(0..plenty)
                    && let Some(record) = slot.random(&mut rng)
                {
                    visit(record);
                    found = true;
                }
            });
            if found {
                return true;
            }
        }
    }
    let mut to_skip = if keys == 0 {
        0
    } else {
        rng.random_range(0..keys)
    };
    // A second round, if keys have gone in the meantime.
    for _ in 0..2 {
        walk_slots(data, 0, &mut |slot| {
            if to_skip >= slot.len() {
                to_skip -= slot.len();
            } else if let Some(record) = slot.random(&mut rng) {
                visit(record);
                found = true;
            }
            !found
        });
        if found {
            return true;
        }
    }
    false
}
