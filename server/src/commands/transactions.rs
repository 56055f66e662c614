//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use std::sync::Arc;
use std::time::Instant;

use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, KeySpec, Reply};
use hardtack_storage::engine::{Host, Queued, Session, Transaction};

use crate::conn::Client;
use crate::dispatch;
use crate::server::Server;

use super::{Call, CallResult, DONE, ServerCommand};

const SPEC: CommandSpec = CommandSpec {
    group: Group::Transactions,
    flags: Flags::NOSCRIPT
        .with(Flags::LOADING)
        .with(Flags::STALE)
        .with(Flags::FAST)
        .with(Flags::ALLOW_BUSY),
    ..CommandSpec::DEFAULT
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[
    ServerCommand {
        spec: CommandSpec {
            name: "discard",
            since: "2.0.0",
            summary: "Drops the open transaction.",
            ..SPEC
        },
        run: discard,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "exec",
            since: "1.2.0",
            flags: Flags::NOSCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::SKIP_SLOWLOG),
            summary: "Runs the open transaction.",
            complexity: "That of the queued commands",
            ..SPEC
        },
        run: exec,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "multi",
            since: "1.2.0",
            summary: "Opens a transaction.",
            ..SPEC
        },
        run: multi,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "unwatch",
            since: "2.2.0",
            summary: "Forgets the watched keys.",
            ..SPEC
        },
        run: unwatch,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "watch",
            arity: -2,
            since: "2.2.0",
            keys: KeySpec::all("RO"),
            summary: "Makes the next transaction fail if one of these keys changes before it.",
            complexity: "O(1) per key",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: watch,
    },
];

fn multi(call: &mut Call<'_, '_>) -> CallResult {
    if call.session.transaction.is_some() {
        return Err(CommandError::err("MULTI calls can not be nested"));
    }
    call.session.transaction = Some(Transaction::default());
    call.reply.ok();
    DONE
}

fn discard(call: &mut Call<'_, '_>) -> CallResult {
    let Some(turn) = call
        .turn
        .as_mut()
        .filter(|_| call.session.transaction.is_some())
    else {
        return Err(CommandError::err("DISCARD without MULTI"));
    };
    turn.discard(call.session);
    call.reply.ok();
    DONE
}

fn watch(call: &mut Call<'_, '_>) -> CallResult {
    let Some(turn) = call
        .turn
        .as_mut()
        .filter(|_| call.session.transaction.is_none())
    else {
        return Err(CommandError::err("WATCH inside MULTI is not allowed"));
    };
    for key in &call.args[1..] {
        turn.watch(call.session, key);
    }
    call.reply.ok();
    DONE
}

fn unwatch(call: &mut Call<'_, '_>) -> CallResult {
    // Inside a transaction there is nothing left to forget: EXEC has used up the watches.
    if let Some(turn) = &mut call.turn {
        turn.unwatch(call.session);
    }
    call.reply.ok();
    DONE
}

/// Runs the transaction; its commands on the server run in its midst, without the engine.
fn exec(call: &mut Call<'_, '_>) -> CallResult {
    let Some(turn) = call
        .turn
        .as_mut()
        .filter(|_| call.session.transaction.is_some())
    else {
        return Err(CommandError::err("EXEC without MULTI"));
    };
    let (server, client) = (call.server, &mut *call.client);
    let queue = call
        .session
        .transaction
        .iter()
        .flat_map(|transaction| &transaction.queue);
    if queue
        .filter(|queued| queued.command.is_none())
        .any(|queued| asks_for_counts(&queued.args[0]))
    {
        client.key_counts = (0..server.engine.databases())
            .map(|db| turn.key_counts(db))
            .collect();
    }
    let mut host = ExecHost {
        server,
        client,
        clock: Instant::now(),
        flushed: false,
    };
    let outcome = turn.exec(call.session, call.reply, &mut host);
    if host.flushed {
        dispatch::save_emptiness(server, turn);
    }
    Ok(outcome.lsn)
}

/// The surroundings of a transaction's commands.
struct ExecHost<'a> {
    server: &'a Arc<Server>,
    client: &'a mut Client,
    /// When the last command ended.
    clock: Instant,
    /// Everything was removed.
    flushed: bool,
}

impl Host for ExecHost<'_> {
    fn run(&mut self, session: &mut Session, queued: &Queued, reply: &mut Reply) {
        let args: Vec<&[u8]> = queued.args.iter().map(Vec::as_slice).collect();
        let mut call = Call {
            server: self.server,
            client: &mut *self.client,
            session,
            turn: None,
            args: &args,
            reply,
        };
        dispatch::run_queued(&mut call, &mut self.clock);
    }

    fn ran(&mut self, queued: &Queued, reply: &mut Reply) {
        // Its own error can only be one of its arguments'.
        let flushes = queued
            .command
            .is_some_and(|command| command.spec.name == "flushall");
        self.flushed |= flushes && !reply.has_error();
        let commands = &self.server.commands;
        let args: Vec<&[u8]> = queued.args.iter().map(Vec::as_slice).collect();
        // A part of a container has no name of its own; any other may have been given another.
        let full_name = queued.command.map(|command| command.spec.name.as_bytes());
        let entry = commands
            .find_request(&args)
            .or_else(|| commands.find_full_name(full_name?));
        if let Some(entry) = entry {
            dispatch::account(
                self.server,
                entry,
                &args,
                self.client,
                &mut self.clock,
                reply,
            );
        }
    }
}

/// Whether a command shows the databases' sizes, which cannot be asked for while the transaction runs.
fn asks_for_counts(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"info") || name.eq_ignore_ascii_case(b"memory")
}
