//! INFO.

use hardtack_storage::command::{CommandSpec, Flags, Group};

use super::{Call, CallResult, DONE, ServerCommand};
use crate::info;

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "info",
        arity: -1,
        flags: Flags::LOADING.with(Flags::STALE),
        group: Group::Server,
        categories: &["dangerous"],
        summary: "Returns what the server says of itself, by sections.",
        syntax: "[section [section ...]]",
        ..CommandSpec::DEFAULT
    },
    run,
}];

fn run(call: &mut Call<'_, '_>) -> CallResult {
    let text = match &call.turn {
        Some(turn) => {
            let counts: Vec<_> = (0..call.server.engine.databases())
                .map(|db| turn.key_counts(db))
                .collect();
            info::text(call.server, &counts, &call.args[1..])
        }
        // The keyspace is locked for the transaction; its numbers are those of the transaction's begin.
        None => info::text(call.server, &call.client.key_counts, &call.args[1..]),
    };
    call.reply.verbatim("txt", text.as_bytes());
    DONE
}
