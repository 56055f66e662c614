//! DEBUG: what tests need and nobody else should use. Refused unless `enable-debug-command` allows it.

use std::thread;
use std::time::Duration;

use hardtack_storage::command::work::Sizes;
use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, Reply, Work};
use hardtack_storage::engine::{PresentKeys, ReloadOptions};
use hardtack_storage::text::{double, integer};
use hardtack_storage::value::Limits;
use std::sync::atomic::Ordering;

use super::config::rewrite_file;
use super::{Call, CallResult, CommandStats, DONE, Entry, ServerCommand, bad_subcommand};
use crate::client::ClientHandle;
use crate::config::value::parse_memory;

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "debug",
        arity: -2,
        flags: Flags::ADMIN
            .with(Flags::NOSCRIPT)
            .with(Flags::LOADING)
            .with(Flags::STALE),
        work: Work::Grows(wait_elsewhere),
        group: Group::Server,
        complexity: "Depends on the subcommand.",
        summary: "Looks inside the server, and makes it do what tests need.",
        syntax: "subcommand [arg [arg ...]]",
        ..CommandSpec::DEFAULT
    },
    run: debug,
}];

/// Subcommands with what they do.
const HELP: &[(&str, &str)] = &[
    (
        "CHANGE-REPL-ID",
        "Not supported: the history is named in the log's files.",
    ),
    (
        "CONFIG-REWRITE-FORCE-ALL",
        "Rewrites the configuration file with every directive, also those at their default.",
    ),
    ("DIGEST", "A digest of all databases."),
    ("DIGEST-VALUE <key> [<key> ...]", "A digest of each value."),
    ("ERROR <text>", "An error with this text."),
    (
        "HTSTATS <db>",
        "How the keys of a database are spread over its tables.",
    ),
    (
        "HTSTATS-KEY <key>",
        "The same for the elements of a value that is kept in a hash table.",
    ),
    ("JMAP", "Not supported: there is no Java here."),
    ("LOADAOF", "Syncs the log and loads it again."),
    ("LOG <text>", "Writes a line to the log."),
    ("OBJECT <key>", "How a value is kept."),
    ("PANIC", "Ends the server as a mistake in its code would."),
    (
        "PAUSE-CRON <0|1>",
        "Stops what the server does by the clock, or lets it go on.",
    ),
    ("POPULATE <count> [<prefix> [<size>]]", "Creates keys."),
    (
        "PROTOCOL <string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false>",
        "A sample reply of this type.",
    ),
    (
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "Gives list elements of this many bytes or more chunks of their own. 0: the default of 1 GiB.",
    ),
    (
        "RELOAD [NOSAVE] [NOFLUSH [MERGE]]",
        "Writes the RDB file, unless told not to, and loads it in place of the present data; beside it with NOFLUSH, which \
         takes MERGE where both have a key.",
    ),
    (
        "SET-ACTIVE-EXPIRE <0|1>",
        "Turns the expiry in the background off or on.",
    ),
    (
        "SLEEP <seconds>",
        "Answers after a while, during which no client is served.",
    ),
    (
        "STRINGMATCH-LEN <length> <pattern>",
        "Matches a string of that many letters against a pattern.",
    ),
    ("STRUCTSIZE", "Sizes of some types."),
];

/// Most subcommands take their time. A panic is to happen in the I/O thread, where it is hardest to notice.
fn wait_elsewhere(_: &CommandSpec, args: &[&[u8]], _: &mut dyn Sizes) -> u64 {
    let panics = args
        .get(1)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"panic"));
    if panics { 0 } else { u64::MAX }
}

fn debug(call: &mut Call<'_, '_>) -> CallResult {
    let allowed = call.server.config().enable_debug_command;
    if !allowed.permits(call.client.handle.is_local()) {
        return Err(CommandError::err(
            "DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a \
             local connection, otherwise you need to set this option in the configuration file, and then restart the \
             server.",
        ));
    }
    let subcommand = call.args[1].to_ascii_lowercase();
    match (subcommand.as_slice(), &call.args[2..]) {
        (b"help", []) => debug_help(call.reply),
        (b"sleep", [seconds]) => return sleep(call, seconds),
        (b"set-active-expire", [on]) => {
            let on = integer::parse_i64(on).unwrap_or(0) != 0;
            call.server.active_expire.store(on, Ordering::Relaxed);
            call.server.refresh_engine_settings();
            call.reply.ok();
        }
        (b"reload", options) => return reload(call, options),
        (b"loadaof", []) => {
            call.outside(|server| server.engine.reload_log())?
                .map_err(|error| {
                    CommandError::err(format!("Error trying to load the AOF files: {error}"))
                })?;
            tracing::warn!("Append Only File loaded by DEBUG LOADAOF");
            call.reply.ok();
        }
        (b"digest", []) => return call.run_hidden("debug|digest"),
        (b"digest-value", [_, ..]) => return call.run_hidden("debug|digest-value"),
        (b"htstats", [_]) => return call.run_hidden("debug|htstats"),
        (b"htstats-key", [_]) => return call.run_hidden("debug|htstats-key"),
        (b"object", [_, ..]) => return call.run_hidden("debug|object"),
        (b"populate", [_, ..]) => return call.run_hidden("debug|populate"),
        (b"protocol", [kind]) => return protocol(call.reply, kind),
        (b"error", [text]) => call.reply.error(String::from_utf8_lossy(text)),
        (b"log", [text]) => {
            tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(text));
            call.reply.ok();
        }
        (b"panic", []) => panic!("DEBUG PANIC was asked for"),
        (b"pause-cron", [on]) => {
            let on = integer::parse_i64(on).unwrap_or(0) != 0;
            call.server.cron_paused.store(on, Ordering::Relaxed);
            call.reply.ok();
        }
        (b"config-rewrite-force-all", []) => match rewrite_file(call, true) {
            Ok(()) => call.reply.ok(),
            Err(error) => call.reply.error(error.reply()),
        },
        (b"stringmatch-len", [len, pattern]) => {
            const LEN_MAX: usize = 1 << 30;
            let len = integer::parse_i64(len).and_then(|len| usize::try_from(len).ok());
            let len = len
                .filter(|len| *len <= LEN_MAX)
                .ok_or(CommandError::OutOfRange)?;
            let matched = hardtack_storage::text::glob::matches(pattern, &vec![b'a'; len], false);
            call.reply.flag(matched);
        }
        (b"structsize", []) => call.reply.simple(&format!(
            "bits:{} client:{} command:{} commandstats:{}",
            usize::BITS,
            size_of::<ClientHandle>(),
            size_of::<Entry>(),
            size_of::<CommandStats>()
        )),
        (b"jmap", _) => return Err(CommandError::err("DEBUG JMAP is not supported")),
        (b"change-repl-id", _) => {
            return Err(CommandError::err(
                "DEBUG CHANGE-REPL-ID is not supported: the history is named in the log's files",
            ));
        }
        (b"quicklist-packed-threshold", [size]) => {
            let size = parse_memory(size)
                .and_then(|size| usize::try_from(size).ok())
                .filter(|size| *size <= Limits::LIST_ALONE_FROM)
                .ok_or(CommandError::err("argument must be a memory value"))?;
            let size = match size {
                0 => Limits::LIST_ALONE_FROM,
                size => size,
            };
            call.server.list_alone_from.store(size, Ordering::Relaxed);
            call.server.refresh_engine_settings();
            call.reply.ok();
        }
        _ => return Err(bad_subcommand("DEBUG", call.args[1])),
    }
    DONE
}

fn debug_help(reply: &mut Reply) {
    let title = "DEBUG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:";
    reply.array(1 + 2 * (HELP.len() + 1));
    reply.simple(title);
    for (usage, what) in HELP.iter().chain(&[("HELP", "Prints this help.")]) {
        reply.simple(usage);
        reply.simple(&format!("    {what}"));
    }
}

fn sleep(call: &mut Call<'_, '_>, seconds: &[u8]) -> CallResult {
    const SECONDS_MAX: f64 = 1e6;
    let seconds = double::parse(seconds)
        .unwrap_or(0.0)
        .clamp(0.0, SECONDS_MAX);
    let duration = Duration::from_secs_f64(seconds);
    match &mut call.turn {
        Some(turn) => turn.alone(|| thread::sleep(duration)),
        None => thread::sleep(duration),
    }
    call.reply.ok();
    DONE
}

fn reload(call: &mut Call<'_, '_>, options: &[&[u8]]) -> CallResult {
    let (mut save_first, mut flush, mut merge) = (true, true, false);
    for option in options {
        match option.to_ascii_lowercase().as_slice() {
            b"nosave" => save_first = false,
            b"noflush" => flush = false,
            b"merge" => merge = true,
            _ => {
                return Err(CommandError::err(
                    "DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    let present = match (flush, merge) {
        (true, _) => PresentKeys::Removed,
        (false, false) => PresentKeys::Kept,
        (false, true) => PresentKeys::Merged,
    };
    let options = ReloadOptions {
        save_first,
        present,
    };
    call.outside(|server| server.engine.reload_rdb(options))?
        .map_err(|error| {
            CommandError::err(format!("Error trying to load the RDB dump: {error}"))
        })?;
    tracing::warn!("DB reloaded by DEBUG RELOAD");
    call.reply.ok();
    DONE
}

#[expect(clippy::approx_constant, reason = "the sample is what it is")]
fn protocol(reply: &mut Reply, kind: &[u8]) -> CallResult {
    let resp3 = reply.resp3();
    match kind.to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(3.141),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.int(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.int(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.int(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if resp3 {
                reply.buffer_mut().extend_from_slice(b"|1\r\n");
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if !resp3 => {
            return Err(CommandError::err("RESP2 is not supported by this command"));
        }
        b"push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        b"bignum" => {
            let number = b"1234567999999999999999999999999999999";
            if resp3 {
                let buffer = reply.buffer_mut();
                buffer.push(b'(');
                buffer.extend_from_slice(number);
                buffer.extend_from_slice(b"\r\n");
            } else {
                reply.bulk(number);
            }
        }
        _ => {
            return Err(CommandError::err(
                "Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    DONE
}
