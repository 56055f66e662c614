//! CLIENT: the connected clients, seen and acted on from another connection.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, shown};
use hardtack_storage::text::integer;

use super::connection::check_name;
use super::{Call, CallResult, DONE, ServerCommand, bad_subcommand, help};
use crate::allocator::given_for;
use crate::client::ClientHandle;
use crate::conn::Replies;
use crate::flush::KEPT_BYTES;
use crate::server::Server;

const SPEC: CommandSpec = CommandSpec {
    group: Group::Connection,
    ..CommandSpec::DEFAULT
};

const SUB: CommandSpec = CommandSpec {
    flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE),
    ..SPEC
};

const ADMIN: CommandSpec = CommandSpec {
    flags: SUB.flags.with(Flags::ADMIN),
    ..SPEC
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "client",
        arity: -2,
        since: "2.4.0",
        complexity: "Depends on the subcommand.",
        summary: "Looks at the connected clients and acts on them.",
        subcommands: SUBCOMMANDS,
        ..SPEC
    },
    run: client,
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "client|getname",
        arity: 2,
        since: "2.6.9",
        summary: "Returns the connection's name.",
        ..SUB
    },
    CommandSpec {
        name: "client|getredir",
        arity: 2,
        since: "6.0.0",
        summary: "Returns the client that invalidations are redirected to; -1 while tracking is off.",
        ..SUB
    },
    CommandSpec {
        name: "client|help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        since: "5.0.0",
        summary: "Prints the subcommands.",
        ..SUB
    },
    CommandSpec {
        name: "client|id",
        arity: 2,
        since: "5.0.0",
        summary: "Returns the connection's number.",
        ..SUB
    },
    CommandSpec {
        name: "client|info",
        arity: 2,
        since: "6.2.0",
        summary: "Returns the line of CLIENT LIST about this connection.",
        ..SUB
    },
    CommandSpec {
        name: "client|kill",
        arity: -3,
        since: "2.4.0",
        complexity: "O(N) where N is the number of clients",
        summary: "Disconnects clients.",
        syntax: "<filter= ip:port | <new-format= [ID client-id] | \
                 [TYPE <normal_master_slave_pubsub= NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | \
                 [USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME yes/no]> ...>",
        ..ADMIN
    },
    CommandSpec {
        name: "client|list",
        arity: -2,
        since: "2.4.0",
        complexity: "O(N) where N is the number of clients",
        summary: "Returns a line about each client.",
        syntax: "[TYPE <normal_master_replica_pubsub= NORMAL | MASTER | REPLICA | PUBSUB>] \
                 [ID client-id [client-id ...]]",
        ..ADMIN
    },
    CommandSpec {
        name: "client|no-evict",
        arity: 3,
        since: "7.0.0",
        summary: "Exempts the connection from client eviction, or ends that.",
        syntax: "<enabled= ON | OFF>",
        ..ADMIN
    },
    CommandSpec {
        name: "client|pause",
        arity: -3,
        since: "2.9.50",
        summary: "Holds back commands of clients for some milliseconds: all of them, or those that write.",
        syntax: "timeout:integer [mode= WRITE | ALL]",
        ..ADMIN
    },
    CommandSpec {
        name: "client|reply",
        arity: 3,
        since: "3.2.0",
        summary: "Says which replies the connection wants.",
        syntax: "<on_off_skip= ON | OFF | SKIP>",
        ..SUB
    },
    CommandSpec {
        name: "client|setname",
        arity: 3,
        since: "2.6.9",
        summary: "Names the connection.",
        syntax: "connection-name",
        ..SUB
    },
    CommandSpec {
        name: "client|trackinginfo",
        arity: 2,
        since: "6.2.0",
        summary: "Says that the connection does not track keys.",
        ..SUB
    },
    CommandSpec {
        name: "client|unblock",
        arity: -3,
        since: "5.0.0",
        complexity: "O(log N) where N is the number of clients",
        summary: "Ends the wait of a client's blocking command.",
        syntax: "client-id [timeout_error= TIMEOUT | ERROR]",
        ..ADMIN
    },
    CommandSpec {
        name: "client|unpause",
        arity: 2,
        since: "6.2.0",
        complexity: "O(N) where N is the number of clients",
        summary: "Ends CLIENT PAUSE.",
        ..ADMIN
    },
];

fn client(call: &mut Call<'_, '_>) -> CallResult {
    let name = call.args[1].to_ascii_lowercase();
    match name.as_slice() {
        b"getname" => getname(call),
        b"getredir" => {
            call.reply.int(-1);
            DONE
        }
        b"id" => {
            call.reply.int(call.client.handle.id as i64);
            DONE
        }
        b"info" => {
            let line = line(call.server, &call.client.handle, true);
            call.reply.verbatim("txt", line.as_bytes());
            DONE
        }
        b"kill" => kill(call),
        b"list" => list(call),
        b"no-evict" => no_evict(call),
        b"pause" => pause(call),
        b"reply" => reply(call),
        b"setname" => setname(call),
        b"trackinginfo" => tracking_info(call),
        b"unblock" => unblock(call),
        b"unpause" => unpause(call),
        _ => {
            help(call.reply, "client", SUBCOMMANDS);
            DONE
        }
    }
}

fn getname(call: &mut Call<'_, '_>) -> CallResult {
    let name = call.client.handle.name.lock().clone();
    let name = Some(name.as_slice()).filter(|name| !name.is_empty());
    call.reply.bulk_or_null(name);
    DONE
}

fn setname(call: &mut Call<'_, '_>) -> CallResult {
    check_name(call.args[2])?;
    *call.client.handle.name.lock() = call.args[2].to_vec();
    call.reply.ok();
    DONE
}

fn tracking_info(call: &mut Call<'_, '_>) -> CallResult {
    call.reply.map(3);
    call.reply.bulk(b"flags");
    call.reply.set(1);
    call.reply.bulk(b"off");
    call.reply.bulk(b"redirect");
    call.reply.int(-1);
    call.reply.bulk(b"prefixes");
    call.reply.array(0);
    DONE
}

fn no_evict(call: &mut Call<'_, '_>) -> CallResult {
    let wanted = on_or_off(call.args[2]).ok_or(CommandError::Syntax)?;
    call.client.handle.no_evict.store(wanted, Relaxed);
    call.reply.ok();
    DONE
}

fn on_or_off(arg: &[u8]) -> Option<bool> {
    match arg.to_ascii_lowercase().as_slice() {
        b"on" => Some(true),
        b"off" => Some(false),
        _ => None,
    }
}

fn reply(call: &mut Call<'_, '_>) -> CallResult {
    match on_or_off(call.args[2]) {
        Some(true) => {
            call.client.replies = Replies::On;
            call.reply.ok();
        }
        Some(false) => call.client.replies = Replies::Off,
        None if call.args[2].eq_ignore_ascii_case(b"skip") => {
            if call.client.replies != Replies::Off {
                call.client.replies = Replies::SkipNext;
            }
        }
        None => return Err(CommandError::Syntax),
    }
    DONE
}

fn pause(call: &mut Call<'_, '_>) -> CallResult {
    let all = match &call.args[3..] {
        [] => true,
        [mode] if mode.eq_ignore_ascii_case(b"all") => true,
        [mode] if mode.eq_ignore_ascii_case(b"write") => false,
        [_] => return Err(CommandError::err("CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(bad_subcommand("CLIENT", call.args[1])),
    };
    let ms = integer::parse_i64(call.args[2])
        .ok_or_else(|| CommandError::err("timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| CommandError::NegativeTimeout)?;
    let server = call.server;
    server.pause.begin(Duration::from_millis(ms), all);
    server.refresh_engine_settings();
    call.reply.ok();
    DONE
}

fn unpause(call: &mut Call<'_, '_>) -> CallResult {
    let server = call.server;
    server.pause.end();
    server.refresh_engine_settings();
    server.clients.wake_all();
    call.reply.ok();
    DONE
}

fn unblock(call: &mut Call<'_, '_>) -> CallResult {
    let error = match &call.args[3..] {
        [] => None,
        [reason] if reason.eq_ignore_ascii_case(b"timeout") => None,
        [reason] if reason.eq_ignore_ascii_case(b"error") => {
            Some("UNBLOCKED client unblocked via CLIENT UNBLOCK")
        }
        [_] => {
            return Err(CommandError::err(
                "CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
        _ => return Err(bad_subcommand("CLIENT", call.args[1])),
    };
    let id = integer::parse_i64(call.args[2]).ok_or(CommandError::NotInteger)?;
    let handle = u64::try_from(id)
        .ok()
        .and_then(|id| call.server.clients.get(id));
    let waiting = handle.and_then(|handle| *handle.waiting.lock());
    let unblocked = waiting.is_some_and(|id| call.server.engine.unblock(id, error));
    call.reply.flag(unblocked);
    DONE
}

/// The class of clients that a word names: whether ordinary clients are in it.
fn ordinary_clients(word: &[u8]) -> Result<bool, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        // Nobody is one: there is neither replication nor pub/sub.
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(CommandError::err(format!(
            "Unknown client type '{}'",
            shown(word, word.len())
        ))),
    }
}

fn list(call: &mut Call<'_, '_>) -> CallResult {
    let server = call.server;
    let handles = match &call.args[2..] {
        [] => server.clients.all(),
        [option, class] if option.eq_ignore_ascii_case(b"type") => {
            if ordinary_clients(class)? {
                server.clients.all()
            } else {
                Vec::new()
            }
        }
        [option, ids @ ..] if option.eq_ignore_ascii_case(b"id") && !ids.is_empty() => {
            let id = |arg: &&[u8]| {
                integer::parse_u64(arg).ok_or_else(|| CommandError::err("Invalid client ID"))
            };
            let ids = ids.iter().map(id).collect::<Result<Vec<_>, _>>()?;
            ids.into_iter()
                .filter_map(|id| server.clients.get(id))
                .collect()
        }
        _ => return Err(CommandError::Syntax),
    };
    let lines: String = handles
        .iter()
        .map(|handle| line(server, handle, handle.id == call.client.handle.id))
        .collect();
    call.reply.verbatim("txt", lines.as_bytes());
    DONE
}

/// One client's line. `itself` says that the client asks about itself.
fn line(server: &Server, handle: &ClientHandle, itself: bool) -> String {
    let seen = &handle.seen;
    let idle_ms = match itself {
        true => 0,
        false => server
            .uptime_ms()
            .saturating_sub(seen.active_ms.load(Relaxed)),
    };
    // Arguments stay in the query buffer. Replies wait in one buffer. What it keeps in any case stands for Redis's reply buffer, the rest for its list.
    let (output, capacity) = (
        seen.output_buffer.load(Relaxed),
        seen.output_capacity.load(Relaxed),
    );
    let list = capacity.saturating_sub(KEPT_BYTES);
    let mut line = String::with_capacity(256);
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub=0 psub=0 ssub=0 multi={} qbuf={} \
         qbuf-free={} argv-mem=0 multi-mem={} rbs={} rbp={} obl={} oll={} omem={list} tot-mem={} events={} cmd={} \
         user=default redir=-1 resp={}",
        handle.id,
        handle.addr,
        handle.laddr,
        handle.fd,
        String::from_utf8_lossy(&handle.name.lock()),
        handle.connected.elapsed().as_secs(),
        idle_ms / 1000,
        flags(handle),
        seen.db.load(Relaxed),
        seen.multi.load(Relaxed),
        seen.query_buffer.load(Relaxed),
        seen.query_buffer_free.load(Relaxed),
        seen.multi_memory.load(Relaxed),
        capacity.min(KEPT_BYTES),
        seen.output_peak(server.uptime_ms()),
        output.min(KEPT_BYTES),
        usize::from(list > 0),
        memory(handle),
        if output > 0 { "rw" } else { "r" },
        handle.last_command.lock().map_or("NULL", |spec| spec.name),
        seen.resp.load(Relaxed),
    );
    line
}

/// Bytes that a client takes.
pub fn memory(handle: &ClientHandle) -> usize {
    let seen = &handle.seen;
    let query = seen.query_buffer.load(Relaxed) + seen.query_buffer_free.load(Relaxed);
    size_of::<ClientHandle>()
        + given_for(query)
        + given_for(seen.output_capacity.load(Relaxed))
        + seen.multi_memory.load(Relaxed)
}

fn flags(handle: &ClientHandle) -> String {
    let seen = &handle.seen;
    let letters = [
        (seen.multi.load(Relaxed) >= 0, 'x'),
        (seen.blocked.load(Relaxed), 'b'),
        (handle.is_killed(), 'A'),
        (handle.unix, 'U'),
        (handle.no_evict.load(Relaxed), 'e'),
    ];
    let set: String = letters
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, letter)| letter)
        .collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

/// Which clients CLIENT KILL is to disconnect.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    addr: Option<&'a [u8]>,
    laddr: Option<&'a [u8]>,
    /// Whether the class of clients exists.
    ordinary: Option<bool>,
    keep_caller: bool,
}

impl<'a> Filter<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Filter<'a>, CommandError> {
        let mut filter = Filter {
            keep_caller: true,
            ..Filter::default()
        };
        let (pairs, []) = args.as_chunks() else {
            return Err(CommandError::Syntax);
        };
        for [option, value] in pairs {
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = integer::parse_u64(value).filter(|id| *id > 0);
                    let invalid = || CommandError::err("client-id should be greater than 0");
                    filter.id = Some(id.ok_or_else(invalid)?);
                }
                b"type" => filter.ordinary = Some(ordinary_clients(value)?),
                b"addr" => filter.addr = Some(value),
                b"laddr" => filter.laddr = Some(value),
                b"user" if value == b"default" => {}
                b"user" => {
                    let user = shown(value, value.len());
                    return Err(CommandError::err(format!("No such user '{user}'")));
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.keep_caller = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.keep_caller = false,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(filter)
    }

    fn matches(&self, handle: &ClientHandle, caller: u64) -> bool {
        self.id.is_none_or(|id| handle.id == id)
            && self.addr.is_none_or(|addr| handle.addr.as_bytes() == addr)
            && self
                .laddr
                .is_none_or(|laddr| handle.laddr.as_bytes() == laddr)
            && self.ordinary != Some(false)
            && !(self.keep_caller && handle.id == caller)
    }
}

fn kill(call: &mut Call<'_, '_>) -> CallResult {
    let old_form = call.args.len() == 3;
    let filter = if old_form {
        Filter {
            addr: Some(call.args[2]),
            ..Filter::default()
        }
    } else {
        Filter::parse(&call.args[2..])?
    };
    let caller = call.client.handle.id;
    let victims: Vec<Arc<ClientHandle>> = call
        .server
        .clients
        .all()
        .into_iter()
        .filter(|handle| !handle.is_killed() && filter.matches(handle, caller))
        .collect();
    for victim in &victims {
        if victim.id == caller {
            // It still hears what became of its command.
            call.client.close_after_reply = true;
        } else {
            victim.kill();
        }
    }
    match (old_form, victims.len()) {
        (true, 0) => Err(CommandError::err("No such client")),
        (true, _) => {
            call.reply.ok();
            DONE
        }
        (false, count) => {
            call.reply.len(count);
            DONE
        }
    }
}
