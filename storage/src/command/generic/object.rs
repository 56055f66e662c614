//! OBJECT: how the value under a key is kept.

use crate::command::{CommandError, CommandResult, Ctx, SHOWN_NAME_MAX, shown};
use crate::engine::Settings;
use crate::keyspace::{Record, StringKind, ValueRef};
use crate::text::integer;

/// Integers below this are shared between keys in Redis.
const SHARED_INTEGERS: i64 = 10_000;
/// What Redis shows as the count of references to a shared integer.
const SHARED_COUNT: i64 = i32::MAX as i64;

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    The name of the encoding in which the value of <key> is kept.",
    "FREQ <key>",
    "    How often <key> was used of late, on a logarithmic scale. Kept under an LFU policy only.",
    "IDLETIME <key>",
    "    The seconds since <key> was last used. Not kept under an LFU policy.",
    "REFCOUNT <key>",
    "    The number of references to the value of <key>.",
    "HELP",
    "    Prints this help.",
];

/// The name that TYPE gives.
pub(in crate::command) fn type_name(record: &Record) -> &'static str {
    match record.value() {
        ValueRef::Str(..) => "string",
        ValueRef::Object(object) => object.type_name(),
    }
}

/// The name that OBJECT ENCODING gives.
pub(in crate::command) fn encoding(record: &Record) -> &'static str {
    match record.value() {
        ValueRef::Str(_, StringKind::Int) => "int",
        ValueRef::Str(_, StringKind::Embstr) => "embstr",
        ValueRef::Str(_, StringKind::Raw) => "raw",
        ValueRef::Object(object) => object.encoding(),
    }
}

/// The number that OBJECT REFCOUNT gives: small integers count as shared, unless eviction needs to tell keys apart.
pub(in crate::command) fn reference_count(record: &Record, settings: &Settings) -> i64 {
    let ValueRef::Str(text, StringKind::Int) = record.value() else {
        return 1;
    };
    let policy = settings.maxmemory_policy;
    let shares = settings.maxmemory == 0 || !(policy.is_lru() || policy.is_lfu());
    let small = integer::parse_i64(text).is_some_and(|value| (0..SHARED_INTEGERS).contains(&value));
    if shares && small { SHARED_COUNT } else { 1 }
}

pub(super) fn object(ctx: &mut Ctx<'_>) -> CommandResult {
    let (subcommand, now) = (ctx.args[1], ctx.now());
    let is = |name: &str| subcommand.eq_ignore_ascii_case(name.as_bytes());
    let known = ctx
        .spec
        .subcommands
        .iter()
        .find(|spec| spec.name.split_once('|').is_some_and(|(_, name)| is(name)));
    let Some(known) = known else {
        let name = shown(subcommand, SHOWN_NAME_MAX);
        return Err(CommandError::err(format!(
            "unknown subcommand '{name}'. Try OBJECT HELP."
        )));
    };
    if !known.arity_fits(ctx.args.len()) {
        return Err(CommandError::Arity(known.name.into()));
    }
    if is("help") {
        ctx.reply.array(HELP.len());
        HELP.iter().for_each(|line| ctx.reply.simple(line));
        return Ok(());
    }
    let settings = ctx.data.settings;
    let Some(record) = ctx.data.look(ctx.args[2]) else {
        ctx.reply.null();
        return Ok(());
    };
    let lfu = settings.maxmemory_policy.is_lfu();
    if is("encoding") {
        ctx.reply.bulk(encoding(record).as_bytes());
    } else if is("refcount") {
        ctx.reply.int(reference_count(record, settings));
    } else if is("idletime") {
        if lfu {
            return Err(CommandError::err(
                "An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                 between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        ctx.reply.int(settings.idle_seconds(record, now).into());
    } else {
        if !lfu {
            return Err(CommandError::err(
                "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
                 switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        ctx.reply.int(settings.frequency(record, now).into());
    }
    Ok(())
}
