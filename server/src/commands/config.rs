//! CONFIG: looking at settings and changing them while the server runs.

use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, Work};

use super::{Call, CallResult, DONE, ServerCommand, help};
use crate::config::live::SetContext;
use crate::config::rewrite::RewriteError;
use crate::memory;
use crate::settings;

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    since: "2.0.0",
    ..CommandSpec::DEFAULT
};

const SUB: CommandSpec = CommandSpec {
    flags: Flags::ADMIN
        .with(Flags::NOSCRIPT)
        .with(Flags::LOADING)
        .with(Flags::STALE),
    ..SPEC
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "config",
        arity: -2,
        complexity: "Depends on the subcommand.",
        summary: "Looks at settings and changes them.",
        subcommands: SUBCOMMANDS,
        ..SPEC
    },
    run: config,
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "config|get",
        arity: -3,
        complexity: "O(N) where N is the number of directives asked for",
        summary: "Returns the values of the directives that match a pattern.",
        syntax: "parameter [parameter ...]",
        ..SUB
    },
    CommandSpec {
        name: "config|help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        since: "5.0.0",
        summary: "Prints the subcommands.",
        ..SUB
    },
    CommandSpec {
        name: "config|resetstat",
        arity: 2,
        summary: "Sets the counters that INFO shows back to zero.",
        ..SUB
    },
    CommandSpec {
        name: "config|rewrite",
        arity: 2,
        work: Work::Waits,
        since: "2.8.0",
        summary: "Brings the configuration file up to date.",
        ..SUB
    },
    CommandSpec {
        name: "config|set",
        arity: -4,
        work: Work::Waits,
        complexity: "O(N) where N is the number of directives that are set",
        summary: "Changes directives: all of those named, or none.",
        syntax: "parameter value [parameter value ...]",
        ..SUB
    },
];

fn config(call: &mut Call<'_, '_>) -> CallResult {
    if call.is("get") {
        get(call)
    } else if call.is("set") {
        set(call)
    } else if call.is("rewrite") {
        rewrite(call)
    } else if call.is("resetstat") {
        reset_stat(call)
    } else {
        help(call.reply, "config", SUBCOMMANDS);
        DONE
    }
}

fn get(call: &mut Call<'_, '_>) -> CallResult {
    let found = call.server.config.get(&call.args[2..]);
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(&name);
        call.reply.bulk(&value);
    }
    DONE
}

fn set(call: &mut Call<'_, '_>) -> CallResult {
    let (pairs, []) = call.args[2..].as_chunks() else {
        return Err(CommandError::Arity("config|set".into()));
    };
    let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[name, value]| (*name, *value)).collect();
    let server = call.server;
    let context = SetContext {
        local: call.client.handle.is_local(),
        loading: server.is_loading(),
        may_wait: !call.is_queued(),
    };
    let queued = call.is_queued();
    let set = || {
        let outcome = server.config.set(&pairs, context, |old, new, changed| {
            settings::apply(server, old, new, changed, queued)
        });
        if outcome.is_ok() {
            server.refresh_engine_settings();
        }
        outcome
    };
    // A change may need the whole keyspace (the log is turned on), so the turn lets go of it.
    let outcome = match &mut call.turn {
        Some(turn) => turn.outside(set),
        None => set(),
    };
    match outcome {
        Ok(_) => call.reply.ok(),
        Err(error) => call.reply.error(String::from_utf8_lossy(&error.reply())),
    }
    DONE
}

fn rewrite(call: &mut Call<'_, '_>) -> CallResult {
    match rewrite_file(call, false) {
        Ok(()) => {
            tracing::info!("CONFIG REWRITE executed with success.");
            call.reply.ok();
        }
        Err(error) => {
            tracing::warn!("CONFIG REWRITE failed: {}", error.reply());
            call.reply.error(error.reply());
        }
    }
    DONE
}

/// Brings the configuration file up to date; `write_defaults` also writes what has its default value.
pub(super) fn rewrite_file(
    call: &mut Call<'_, '_>,
    write_defaults: bool,
) -> Result<(), RewriteError> {
    let server = call.server;
    let config = &server.config;
    match &mut call.turn {
        // A change that is waited for may need the whole keyspace.
        Some(turn) => turn.outside(|| config.rewrite(write_defaults, true)),
        None => config.rewrite(write_defaults, false),
    }
}

fn reset_stat(call: &mut Call<'_, '_>) -> CallResult {
    let server = call.server;
    server.stats.reset();
    server.commands.each().for_each(|entry| entry.stats.reset());
    let engine = server.engine.stats();
    for counter in [
        &engine.keyspace_hits,
        &engine.keyspace_misses,
        &engine.expired_keys,
        &engine.evicted_keys,
        &engine.expired_time_cap_reached_count,
    ] {
        counter.reset();
    }
    server.engine.reset_lazyfree_count();
    memory::reset_peak();
    call.reply.ok();
    DONE
}
