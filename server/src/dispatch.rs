//! From a parsed request to a reply: which command it is, whether it may run now, and running it.

use std::sync::Arc;
use std::time::Instant;

use hardtack_storage::Lsn;
use hardtack_storage::command::{CommandError, Flags, Reply, SHOWN_NAME_MAX, shown};
use hardtack_storage::engine::{BeginError, Blocked, MayWrite, Queued, Request, Session, Turn};

use crate::commands::{Call, Entry, Run};
use crate::conn::{Caller, Client};
use crate::eviction;
use crate::server::Server;

/// What became of a request.
pub enum Step {
    /// It was answered; the reply depends on the LSN.
    Done(Lsn),
    /// It waits for a key.
    Blocked(Blocked),
    /// It writes, and has to wait until the log has room. Nothing has happened yet.
    Held,
}

/// Runs one request whose command has been looked up, and takes its reply back if the client does not want it. `clock`
/// is the time at which the request before it ended, and is set forward: one look at the clock per request.
pub fn run(
    server: &Arc<Server>,
    caller: &mut Caller,
    turn: &mut Turn<'_>,
    entry: Option<&Arc<Entry>>,
    request: Request<'_>,
    clock: &mut Instant,
) -> Step {
    let start = caller.reply.bytes().len();
    let step = answer(server, caller, turn, entry, request, clock);
    if matches!(step, Step::Done(_)) {
        caller.silence(start);
    }
    step
}

fn answer(
    server: &Arc<Server>,
    caller: &mut Caller,
    turn: &mut Turn<'_>,
    entry: Option<&Arc<Entry>>,
    request: Request<'_>,
    clock: &mut Instant,
) -> Step {
    let Caller {
        client,
        session,
        reply,
        deliver,
    } = caller;
    let admitted = admit(server, client, session, entry, request.args).and_then(|entry| {
        // Within a transaction any command counts: the queue takes memory as well. EXEC looks at what was queued.
        let queues = session.transaction.is_some() && !runs_inside_multi(entry.spec.name);
        let flags = if queues {
            Flags::DENYOOM
        } else {
            entry.spec.flags
        };
        eviction::make_room(server, turn, flags).map_err(Refusal::For)?;
        Ok(entry)
    });
    let entry = match admitted {
        Ok(entry) => entry,
        Err(Refusal::Later) => return Step::Held,
        Err(Refusal::For(refusal)) => {
            let refusal = match entry {
                // Whatever keeps EXEC from running ends the transaction.
                Some(entry) if entry.spec.name == "exec" => {
                    turn.discard(session);
                    exec_abort(&refusal)
                }
                _ => refusal,
            };
            if let Some(transaction) = &mut session.transaction {
                transaction.aborted = true;
            }
            if let Some(entry) = entry {
                entry.stats.rejected.add(1);
            }
            server.stats.count_error(refusal.prefix());
            reply.error(refusal);
            // It is counted already.
            reply.take_error();
            return Step::Done(Lsn::ZERO);
        }
    };
    if let Some(transaction) = &mut session.transaction
        && !runs_inside_multi(entry.spec.name)
    {
        let (command, args) = match entry.run {
            Run::Data(command) => (Some(command), request.args),
            Run::Part(command) => (Some(command), &request.args[1..]),
            Run::Server(_) => (None, request.args),
        };
        let args = args.iter().map(|arg| arg.to_vec()).collect();
        transaction.push(Queued { args, command });
        reply.simple("QUEUED");
        return Step::Done(Lsn::ZERO);
    }
    let step = match entry.run {
        Run::Data(command) if entry.spec.name == "flushall" => {
            let start = reply.bytes().len();
            let outcome = turn.run(session, command, request, None, reply);
            if reply.bytes().get(start) == Some(&b'+') {
                save_emptiness(server, turn);
            }
            Step::Done(outcome.lsn)
        }
        Run::Data(command) => {
            let outcome = turn.run(session, command, request, Some(deliver), reply);
            match outcome.blocked {
                Some(blocked) => Step::Blocked(blocked),
                None => Step::Done(outcome.lsn),
            }
        }
        Run::Part(command) => {
            let part = Request::new(&request.args[1..]);
            Step::Done(turn.run(session, command, part, None, reply).lsn)
        }
        Run::Server(run) => {
            let mut call = Call {
                server,
                client,
                session,
                turn: Some(turn),
                args: request.args,
                reply,
            };
            match run(&mut call) {
                Ok(lsn) => Step::Done(lsn),
                Err(error) => {
                    call.reply.error(error);
                    Step::Done(Lsn::ZERO)
                }
            }
        }
    };
    account(server, entry, request.args, client, clock, reply);
    step
}

/// After FLUSHALL: where there are rules to write the RDB file, it is written at once, so that a restart does not bring
/// back what was removed.
pub fn save_emptiness(server: &Arc<Server>, turn: &mut Turn<'_>) {
    if server.engine.settings().save_rules.is_empty() {
        return;
    }
    match turn.outside(|| server.engine.save()) {
        Ok(()) => {}
        Err(BeginError::InProgress(_)) => server.engine.schedule_save(),
        Err(error) => tracing::warn!("The RDB file was not written after FLUSHALL: {error}"),
    }
}

/// Runs a command on the server that was queued in a transaction.
pub fn run_queued(call: &mut Call<'_, '_>, clock: &mut Instant) {
    let Some(entry) = call.server.commands.find_request(call.args).cloned() else {
        call.reply.error(CommandError::err("unknown command"));
        return;
    };
    if let Run::Server(run) = entry.run
        && let Err(error) = run(call)
    {
        call.reply.error(error);
    }
    account(
        call.server,
        &entry,
        call.args,
        call.client,
        clock,
        call.reply,
    );
}

/// Counts a command that has run.
pub fn account(
    server: &Server,
    entry: &Entry,
    args: &[&[u8]],
    client: &Client,
    clock: &mut Instant,
    reply: &mut Reply,
) {
    let now = Instant::now();
    let took = now.duration_since(*clock);
    *clock = now;
    let error = reply.take_error();
    if let Some(prefix) = &error {
        server.stats.count_error(prefix);
        if &**prefix == "OOM" {
            // It was refused before it ran.
            entry.stats.rejected.add(1);
            return;
        }
        entry.stats.failed.add(1);
    }
    entry.stats.calls.add(1);
    entry.stats.nanos.add(took.as_nanos() as u64);
    if server.latency.is_tracking() {
        entry.stats.latency.record(took);
    }
    server
        .latency
        .note_command(entry.spec.flags.has(Flags::FAST), took);
    server.slowlog.note(entry.spec, args, took, client);
}

/// Commands that act on an open transaction instead of joining it.
fn runs_inside_multi(name: &str) -> bool {
    matches!(
        name,
        "exec" | "discard" | "multi" | "watch" | "quit" | "reset"
    )
}

/// Why a request does not run.
enum Refusal {
    /// It may, when the log has room.
    Later,
    /// The error that it is answered with.
    For(CommandError),
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Refusal {
        Refusal::For(error)
    }
}

/// What EXEC answers if it cannot run.
fn exec_abort(reason: &CommandError) -> CommandError {
    let reason = reason.to_string();
    // As in Redis, an ordinary error goes without its prefix here.
    let reason = reason.strip_prefix("ERR ").unwrap_or(&reason);
    CommandError::Other(
        "EXECABORT",
        format!("Transaction discarded because of: {reason}").into(),
    )
}

/// Whether the request may run (or be queued) now.
fn admit<'e>(
    server: &Server,
    client: &Client,
    session: &Session,
    entry: Option<&'e Arc<Entry>>,
    args: &[&[u8]],
) -> Result<&'e Arc<Entry>, Refusal> {
    let Some(entry) = entry else {
        return Err(unknown_command(args).into());
    };
    let (spec, flags) = (entry.spec, entry.spec.flags);
    if !entry.subcommands.is_empty()
        && let Some(name) = args.get(1)
    {
        // Where it exists, the subcommand's own entry was found.
        return Err(unknown_subcommand(spec.name, name).into());
    }
    if !spec.arity_fits(args.len()) {
        return Err(CommandError::Arity(spec.name.into()).into());
    }
    if !client.authenticated && !flags.has(Flags::NO_AUTH) {
        return Err(CommandError::Other("NOAUTH", "Authentication required.".into()).into());
    }
    if session.transaction.is_some() && flags.has(Flags::NO_MULTI) {
        return Err(CommandError::err("Command not allowed inside a transaction").into());
    }
    if flags.has(Flags::WRITE) || spec.name == "exec" && executes_writes(session) {
        match server.engine.may_write() {
            MayWrite::Now => {}
            // To be queued it needs no room.
            MayWrite::Later if session.transaction.is_some() && spec.name != "exec" => {}
            MayWrite::Later => return Err(Refusal::Later),
            MayWrite::Refused(reason) => return Err(reason.into()),
        }
    }
    if server.is_loading() && !flags.has(Flags::LOADING) {
        return Err(CommandError::Other(
            "LOADING",
            "Redis is loading the dataset in memory".into(),
        )
        .into());
    }
    Ok(entry)
}

/// Whether the session's transaction has commands that write.
fn executes_writes(session: &Session) -> bool {
    let queue = session.transaction.iter().flat_map(|open| &open.queue);
    queue
        .filter_map(|queued| queued.command)
        .any(|command| command.spec.flags.has(Flags::WRITE))
}

/// The error for a subcommand that does not exist.
fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    CommandError::err(format!(
        "unknown subcommand '{}'. Try {} HELP.",
        shown(name, SHOWN_NAME_MAX),
        container.to_ascii_uppercase()
    ))
}

/// The error for a command that does not exist; shows what was sent, within limits.
fn unknown_command(args: &[&[u8]]) -> CommandError {
    let mut rest = String::new();
    for arg in &args[1..] {
        if rest.len() >= SHOWN_NAME_MAX {
            break;
        }
        let arg = shown(arg, SHOWN_NAME_MAX - rest.len());
        rest.push_str(&format!("'{arg}' "));
    }
    CommandError::err(format!(
        "unknown command '{}', with args beginning with: {rest}",
        shown(args[0], SHOWN_NAME_MAX)
    ))
}
