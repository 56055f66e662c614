//! Snapshots, compaction of the log, and the end of the server.

use hardtack_storage::command::work::Sizes;
use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, Work};
use hardtack_storage::engine::{BeginError, SnapshotKind};

use super::{Call, CallResult, DONE, ServerCommand};
use crate::config::ShutdownFlags;
use crate::shutdown;

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    flags: Flags::ADMIN
        .with(Flags::NOSCRIPT)
        .with(Flags::NO_ASYNC_LOADING),
    ..CommandSpec::DEFAULT
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[
    ServerCommand {
        spec: CommandSpec {
            name: "bgrewriteaof",
            work: Work::Waits,
            summary: "Compacts the log in the background.",
            ..SPEC
        },
        run: bgrewriteaof,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "bgsave",
            work: Work::Waits,
            arity: -1,
            summary: "Writes the RDB file in the background.",
            syntax: "[SCHEDULE]",
            ..SPEC
        },
        run: bgsave,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "lastsave",
            flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
            categories: &["admin", "dangerous"],
            summary: "Returns when the RDB file was last written, in Unix seconds.",
            ..SPEC
        },
        run: lastsave,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "save",
            flags: SPEC.flags.with(Flags::NO_MULTI),
            work: Work::Waits,
            complexity: "O(N) where N is the number of keys in all databases",
            summary: "Writes the RDB file before it answers. Other clients are served meanwhile.",
            ..SPEC
        },
        run: save,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "shutdown",
            arity: -1,
            flags: Flags::ADMIN
                .with(Flags::NOSCRIPT)
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::NO_MULTI)
                .with(Flags::ALLOW_BUSY),
            work: Work::Grows(wait_for_the_end),
            complexity: "O(N) where N is the number of keys in all databases, if the RDB file is written; otherwise O(1)",
            summary: "Ends the server.",
            syntax: "[nosave_save= NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
            ..SPEC
        },
        run: shutdown,
    },
];

fn in_progress() -> CommandError {
    CommandError::err("Background save already in progress")
}

fn save(call: &mut Call<'_, '_>) -> CallResult {
    match call.outside(|server| server.engine.save())? {
        Ok(()) => call.reply.ok(),
        Err(BeginError::InProgress(SnapshotKind::Save)) => return Err(in_progress()),
        Err(error) => {
            return Err(CommandError::err(format!(
                "the RDB file was not written: {error}"
            )));
        }
    }
    DONE
}

fn bgsave(call: &mut Call<'_, '_>) -> CallResult {
    let schedule = match &call.args[1..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"schedule") => true,
        _ => return Err(CommandError::Syntax),
    };
    let engine = &call.server.engine;
    if call.is_queued() {
        if matches!(
            engine.snapshot_info().running,
            Some((SnapshotKind::Save, _))
        ) {
            return Err(in_progress());
        }
        engine.schedule_save();
        call.reply.simple("Background saving scheduled");
        return DONE;
    }
    match call.outside(|server| server.engine.save_in_background())? {
        Ok(()) => call.reply.simple("Background saving started"),
        Err(BeginError::InProgress(SnapshotKind::Save)) => return Err(in_progress()),
        Err(BeginError::InProgress(SnapshotKind::Rewrite)) if schedule => {
            call.server.engine.schedule_save();
            call.reply.simple("Background saving scheduled");
        }
        Err(BeginError::InProgress(SnapshotKind::Rewrite)) => {
            return Err(CommandError::err(
                "The log is being compacted: can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE \
                 whenever possible.",
            ));
        }
        Err(error) => return Err(CommandError::err(error.to_string())),
    }
    DONE
}

fn bgrewriteaof(call: &mut Call<'_, '_>) -> CallResult {
    const SCHEDULED: &str = "Background append only file rewriting scheduled";
    let engine = &call.server.engine;
    let outcome = match call.is_queued() {
        false => call.outside(|server| server.engine.rewrite_log_in_background())?,
        true => match engine.snapshot_info().running {
            Some((kind @ SnapshotKind::Rewrite, _)) => Err(BeginError::InProgress(kind)),
            _ => Err(BeginError::InProgress(SnapshotKind::Save)),
        },
    };
    match outcome {
        Ok(()) => call
            .reply
            .simple("Background append only file rewriting started"),
        Err(BeginError::InProgress(SnapshotKind::Rewrite)) => {
            return Err(CommandError::err(
                "Background append only file rewriting already in progress",
            ));
        }
        Err(BeginError::InProgress(SnapshotKind::Save)) => {
            call.server.engine.schedule_rewrite();
            call.reply.simple(SCHEDULED);
        }
        Err(error) => return Err(CommandError::err(error.to_string())),
    }
    DONE
}

fn lastsave(call: &mut Call<'_, '_>) -> CallResult {
    call.reply
        .int(call.server.engine.snapshot_info().last_save.0 / 1000);
    DONE
}

/// A shutdown waits; calling one off must not wait behind it.
fn wait_for_the_end(_: &CommandSpec, args: &[&[u8]], _: &mut dyn Sizes) -> u64 {
    let calls_off = args[1..]
        .iter()
        .any(|arg| arg.eq_ignore_ascii_case(b"abort"));
    if calls_off { 0 } else { u64::MAX }
}

fn shutdown(call: &mut Call<'_, '_>) -> CallResult {
    let mut flags = ShutdownFlags::default();
    let mut abort = false;
    for option in &call.args[1..] {
        let flag = match option.to_ascii_lowercase().as_slice() {
            b"save" => &mut flags.save,
            b"nosave" => &mut flags.nosave,
            b"now" => &mut flags.now,
            b"force" => &mut flags.force,
            b"abort" => &mut abort,
            _ => return Err(CommandError::Syntax),
        };
        *flag = true;
    }
    if (flags.save && flags.nosave) || (abort && call.args.len() > 2) {
        return Err(CommandError::Syntax);
    }
    if abort {
        if !shutdown::call_off(call.server) {
            return Err(CommandError::err("No shutdown in progress."));
        }
        call.reply.ok();
        return DONE;
    }
    // Returns only if it failed.
    let outcome = call.outside(|server| shutdown::shut_down(server, flags))?;
    outcome.map_err(|_| CommandError::err("Errors trying to SHUTDOWN. Check logs."))?;
    DONE
}
