//! MEMORY: where the memory goes.

use hardtack_storage::command::{Access, CommandSpec, Flags, Group, KeySpec};

use super::{Call, CallResult, DONE, ServerCommand, help};
use crate::info::{MemoryNumbers, human, ratio};
use crate::memory;

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    since: "4.0.0",
    arity: 2,
    ..CommandSpec::DEFAULT
};

const READ: Access = "RO";

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "memory",
        arity: -2,
        complexity: "Depends on the subcommand.",
        summary: "Looks at where the memory goes.",
        subcommands: SUBCOMMANDS,
        ..SPEC
    },
    run: memory,
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "memory|doctor",
        summary: "Explains what stands out.",
        ..SPEC
    },
    CommandSpec {
        name: "memory|help",
        flags: Flags::LOADING.with(Flags::STALE),
        summary: "Prints the subcommands.",
        ..SPEC
    },
    CommandSpec {
        name: "memory|malloc-stats",
        complexity: "Depends on how much memory is allocated, could be slow",
        summary: "Returns the allocator's report.",
        ..SPEC
    },
    CommandSpec {
        name: "memory|purge",
        complexity: "Depends on how much memory is allocated, could be slow",
        summary: "Gives unused memory back to the operating system.",
        ..SPEC
    },
    CommandSpec {
        name: "memory|stats",
        summary: "Returns numbers about the memory in use.",
        ..SPEC
    },
    CommandSpec {
        name: "memory|usage",
        arity: -3,
        flags: Flags::READONLY,
        keys: KeySpec::Range {
            first: 2,
            last: 2,
            step: 1,
            access: READ,
        },
        complexity: "O(N) where N is the number of samples",
        summary: "Returns the bytes that a key and its value take.",
        syntax: "key [SAMPLES count]",
        ..SPEC
    },
];

fn memory(call: &mut Call<'_, '_>) -> CallResult {
    match call.args[1].to_ascii_lowercase().as_slice() {
        b"malloc-stats" => call.reply.verbatim("txt", &memory::allocator_report()),
        b"purge" => match memory::purge() {
            Ok(()) => call.reply.ok(),
            Err(reason) => call
                .reply
                .error(format!("ERR Error purging dirty pages: {reason}")),
        },
        b"doctor" => {
            let text = diagnosis(&MemoryNumbers::now(call.server));
            call.reply.verbatim("txt", text.as_bytes());
        }
        b"stats" => stats(call),
        _ => help(call.reply, "memory", SUBCOMMANDS),
    }
    DONE
}

fn stats(call: &mut Call<'_, '_>) {
    let numbers = MemoryNumbers::now(call.server);
    let keys: usize = match &call.turn {
        Some(turn) => (0..call.server.engine.databases())
            .map(|db| turn.key_counts(db).0)
            .sum(),
        None => call.client.key_counts.iter().map(|(keys, _)| keys).sum(),
    };
    let MemoryNumbers {
        used,
        peak,
        rss,
        log_buffer,
        allocator,
        ..
    } = numbers;
    let data = used.saturating_sub(numbers.startup);
    let whole = [
        ("peak.allocated", peak),
        ("total.allocated", used),
        ("startup.allocated", numbers.startup),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", numbers.clients),
        ("cluster.links", 0),
        ("aof.buffer", log_buffer),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.total", numbers.overhead()),
        ("keys.count", keys as u64),
        (
            "keys.bytes-per-key",
            data.checked_div(keys as u64).unwrap_or(0),
        ),
        ("slot-directories", numbers.fixed.directories),
        ("log.ring", numbers.fixed.log_ring),
        ("dataset.bytes", numbers.dataset()),
        ("allocator.allocated", allocator.allocated),
        ("allocator.active", allocator.active),
        ("allocator.resident", allocator.resident),
        (
            "allocator-fragmentation.bytes",
            allocator.active.saturating_sub(allocator.allocated),
        ),
        (
            "allocator-rss.bytes",
            allocator.resident.saturating_sub(allocator.active),
        ),
    ];
    let fractions = [
        ("dataset.percentage", numbers.dataset_percent()),
        ("peak.percentage", 100.0 * ratio(used, peak)),
        (
            "allocator-fragmentation.ratio",
            ratio(allocator.active, allocator.allocated),
        ),
        (
            "allocator-rss.ratio",
            ratio(allocator.resident, allocator.active),
        ),
        ("rss-overhead.ratio", ratio(rss, allocator.resident)),
        ("fragmentation", ratio(rss, used)),
    ];
    let signed = [
        ("rss-overhead.bytes", rss as i64 - allocator.resident as i64),
        ("fragmentation.bytes", rss as i64 - used as i64),
    ];
    let reply = &mut *call.reply;
    reply.map(whole.len() + fractions.len() + signed.len());
    for (name, number) in whole {
        reply.bulk(name.as_bytes());
        reply.int(number as i64);
    }
    for (name, number) in fractions {
        reply.bulk(name.as_bytes());
        reply.double(number);
    }
    for (name, number) in signed {
        reply.bulk(name.as_bytes());
        reply.int(number);
    }
}

fn diagnosis(numbers: &MemoryNumbers) -> String {
    const SMALL: u64 = 5 << 20;
    const MUCH: f64 = 1.5;
    const WASTE_BYTES: u64 = 10 << 20;
    let MemoryNumbers {
        used,
        peak,
        rss,
        allocator,
        ..
    } = *numbers;
    if used < SMALL {
        return format!(
            "Only {} are in use: too little to say anything about.\n",
            human(used)
        );
    }
    let mut findings = Vec::new();
    if ratio(peak, used) > MUCH {
        findings.push(format!(
            "At its peak the data took {}, now it takes {}: the process may hold on to memory it once needed. MEMORY PURGE \
             gives some of it back.",
            human(peak),
            human(used)
        ));
    }
    let wasted = allocator.active.saturating_sub(allocator.allocated);
    if ratio(allocator.active, allocator.allocated) > MUCH && wasted > WASTE_BYTES {
        findings.push(format!(
            "{} lie in gaps between allocations.",
            human(wasted)
        ));
    }
    if ratio(rss, allocator.resident) > MUCH && rss.saturating_sub(allocator.resident) > WASTE_BYTES
    {
        findings.push(format!(
            "The process takes {}, of which the allocator knows {}.",
            human(rss),
            human(allocator.resident)
        ));
    }
    match findings.as_slice() {
        [] => format!(
            "Nothing stands out: {} in use, {} of the process in memory.\n",
            human(used),
            human(rss)
        ),
        _ => findings
            .iter()
            .map(|finding| format!("- {finding}\n"))
            .collect(),
    }
}
