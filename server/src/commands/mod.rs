//! The commands that a client can send: those on data, which the storage crate runs, and those on the server and the
//! connection, one file per chapter here. One registry dispatches them all; COMMAND, ACL categories and INFO's
//! `commandstats` are derived from the same rows.

mod client;
mod command;
mod config;
mod connection;
mod debug;
mod info;
mod introspect;
mod memory;
mod migrate;
mod persistence;
mod server;
mod syntax;
mod transactions;

pub use client::memory as client_memory;

use std::collections::HashMap;
use std::sync::Arc;

use hardtack_storage::Lsn;
use hardtack_storage::command::{
    self as data, Command, CommandError, CommandSpec, Reply, SHOWN_NAME_MAX, shown,
};
use hardtack_storage::engine::{Counter, Request, Session, Turn};

use crate::conn::Client;
use crate::latency::Histogram;
use crate::server::Server;

/// A command on the server or the connection.
pub struct ServerCommand {
    /// Its description.
    pub spec: CommandSpec,
    /// What it does.
    pub run: fn(&mut Call<'_, '_>) -> CallResult,
}

/// One call of a server command.
pub struct Call<'a, 't> {
    /// The server.
    pub server: &'a Arc<Server>,
    /// Who calls.
    pub client: &'a mut Client,
    /// Its standing with the engine.
    pub session: &'a mut Session,
    /// The engine, for the present batch; none inside a transaction.
    pub turn: Option<&'a mut Turn<'t>>,
    /// The request.
    pub args: &'a [&'a [u8]],
    /// Where the reply goes.
    pub reply: &'a mut Reply,
}

impl<'t> Call<'_, 't> {
    /// The engine.
    ///
    /// # Errors
    /// Inside a transaction, whose locks the call must not meet.
    pub fn turn(&mut self) -> Result<&mut Turn<'t>, CommandError> {
        self.turn
            .as_deref_mut()
            .ok_or_else(|| CommandError::err("Command not allowed inside a transaction"))
    }

    /// Whether the call is part of a transaction, under whose locks it must not meet the engine.
    pub fn is_queued(&self) -> bool {
        self.turn.is_none()
    }

    /// Whether the subcommand has this name, in any case.
    pub fn is(&self, subcommand: &str) -> bool {
        self.args
            .get(1)
            .is_some_and(|arg| arg.eq_ignore_ascii_case(subcommand.as_bytes()))
    }

    /// Lets go of the keyspace while `work` runs, which may take the whole of it.
    ///
    /// # Errors
    /// Inside a transaction.
    pub fn outside<R>(&mut self, work: impl FnOnce(&Arc<Server>) -> R) -> Result<R, CommandError> {
        let server = self.server;
        Ok(self.turn()?.outside(|| work(server)))
    }

    /// Runs a row of the data commands that has no name of its own for clients (`debug|digest`); it gets the arguments
    /// without the container's name.
    ///
    /// # Errors
    /// Inside a transaction, or if there is no such row.
    pub fn run_hidden(&mut self, name: &str) -> CallResult {
        let command = data::find(name.as_bytes())
            .ok_or_else(|| CommandError::err(format!("'{name}' is not supported")))?;
        let (session, args, reply) = (&mut *self.session, &self.args[1..], &mut *self.reply);
        let turn = self
            .turn
            .as_deref_mut()
            .ok_or_else(|| CommandError::err("Command not allowed inside a transaction"))?;
        if !command.spec.arity_fits(args.len()) {
            return Err(CommandError::Arity(command.spec.name.into()));
        }
        let outcome = turn.run(session, command, Request::new(args), None, reply);
        Ok(outcome.lsn)
    }
}

/// The error for a subcommand that was given more arguments than make sense.
fn bad_subcommand(container: &str, name: &[u8]) -> CommandError {
    let name = shown(name, SHOWN_NAME_MAX);
    CommandError::err(format!(
        "unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP."
    ))
}

/// The HELP of a container command, from the rows of its subcommands.
fn help(reply: &mut Reply, container: &str, subcommands: &[CommandSpec]) {
    let mut lines = vec![format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.to_ascii_uppercase()
    )];
    for spec in subcommands
        .iter()
        .filter(|spec| !spec.name.ends_with("|help"))
    {
        lines.push(
            format!(
                "{} {}",
                short_name(spec).to_ascii_uppercase(),
                syntax::plain(spec.syntax)
            )
            .trim_end()
            .to_owned(),
        );
        lines.push(format!("    {}", spec.summary));
    }
    lines.push("HELP".to_owned());
    lines.push("    Prints this help.".to_owned());
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

/// A subcommand's name without its container's.
pub fn short_name(spec: &CommandSpec) -> &'static str {
    spec.name
        .split_once('|')
        .map_or(spec.name, |(_, name)| name)
}

/// What a call comes to: the LSN that its reply depends on, or an error.
pub type CallResult = Result<Lsn, CommandError>;

/// A call whose reply depends on nothing.
pub const DONE: CallResult = Ok(Lsn::ZERO);

/// How a command is run.
#[derive(Clone, Copy)]
pub enum Run {
    /// By the storage engine.
    Data(&'static Command),
    /// By the storage engine, which gets the arguments without the container's name.
    Part(&'static Command),
    /// By the server.
    Server(fn(&mut Call<'_, '_>) -> CallResult),
}

impl Run {
    /// The description that says which keys it names, and what its work is; `spec` is that of its entry.
    pub fn spec_of(self, spec: &'static CommandSpec) -> &'static CommandSpec {
        match self {
            Run::Data(command) | Run::Part(command) => &command.spec,
            Run::Server(_) => spec,
        }
    }
}

/// What INFO's `commandstats` says of one command.
#[derive(Default)]
pub struct CommandStats {
    /// Times it was run.
    pub calls: Counter,
    /// Time that took, in nanoseconds.
    pub nanos: Counter,
    /// Times it was refused before it ran.
    pub rejected: Counter,
    /// Times it ran and answered an error.
    pub failed: Counter,
    /// How long it took, how often.
    pub latency: Histogram,
}

impl CommandStats {
    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.calls.reset();
        self.nanos.reset();
        self.rejected.reset();
        self.failed.reset();
        self.latency.reset();
    }
}

/// One command that clients can send.
pub struct Entry {
    /// Its description.
    pub spec: &'static CommandSpec,
    /// How it is run.
    pub run: Run,
    /// Whether it may take long; EXEC may, by what is queued.
    pub may_take_long: bool,
    /// What was counted.
    pub stats: CommandStats,
    /// Its subcommands, if it is a container.
    pub subcommands: Vec<Arc<Entry>>,
}

impl Entry {
    fn new(spec: &'static CommandSpec, run: Run) -> Entry {
        // Some subcommands of commands on the server are commands on data: `memory|usage`.
        let subcommands = spec.subcommands.iter().map(|sub| {
            let run = data::find(sub.name.as_bytes()).map_or(run, Run::Part);
            Arc::new(Entry::new(sub, run))
        });
        Entry {
            spec,
            run,
            may_take_long: run.spec_of(spec).may_take_long() || spec.name == "exec",
            stats: CommandStats::default(),
            subcommands: subcommands.collect(),
        }
    }

    /// The subcommand of that name, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        self.subcommands
            .iter()
            .find(|entry| short_name(entry.spec).as_bytes().eq_ignore_ascii_case(name))
    }
}

/// All commands by their present names.
pub struct Registry {
    by_name: HashMap<Box<[u8]>, Arc<Entry>>,
}

/// Longest name that is looked up.
const NAME_LEN_MAX: usize = 64;

impl Registry {
    /// All commands, under their own names. Rows with a `|` in their name are parts of other commands.
    pub fn new() -> Registry {
        let data = data::commands()
            .filter(|row| !row.spec.name.contains('|'))
            .map(|row| (&row.spec, Run::Data(row)));
        let chapters = [
            client::COMMANDS,
            command::COMMANDS,
            config::COMMANDS,
            connection::COMMANDS,
            debug::COMMANDS,
            info::COMMANDS,
            introspect::COMMANDS,
            memory::COMMANDS,
            migrate::COMMANDS,
            persistence::COMMANDS,
            server::COMMANDS,
            transactions::COMMANDS,
        ];
        let server = chapters
            .into_iter()
            .flatten()
            .map(|row| (&row.spec, Run::Server(row.run)));
        let by_name = data
            .chain(server)
            .map(|(spec, run)| (spec.name.as_bytes().into(), Arc::new(Entry::new(spec, run))))
            .collect();
        Registry { by_name }
    }

    /// Finds a command by the name that a client uses for it, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        let mut lower = [0; NAME_LEN_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower)
    }

    /// Finds the command that a request means: the subcommand, where there is one. A container whose subcommand does
    /// not exist stands for itself; see [`Entry::subcommands`].
    pub fn find_request(&self, args: &[&[u8]]) -> Option<&Arc<Entry>> {
        let entry = self.find(args.first()?)?;
        match args.get(1) {
            Some(name) if !entry.subcommands.is_empty() => {
                Some(entry.subcommand(name).unwrap_or(entry))
            }
            _ => Some(entry),
        }
    }

    /// Finds a command by a name such as `get` or `config|get`.
    pub fn find_full_name(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        match name.iter().position(|byte| *byte == b'|') {
            None => self.find(name),
            Some(at) => self.find(&name[..at])?.subcommand(&name[at + 1..]),
        }
    }

    /// Every command, with the name that clients use for it, in the order of the names.
    pub fn all(&self) -> Vec<(&[u8], &Arc<Entry>)> {
        let mut all: Vec<_> = self
            .by_name
            .iter()
            .map(|(name, entry)| (&**name, entry))
            .collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// Every command and subcommand.
    pub fn each(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.by_name
            .values()
            .flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands))
    }

    /// Commands that have run.
    pub fn calls(&self) -> u64 {
        self.each().map(|entry| entry.stats.calls.get()).sum()
    }

    /// Gives a command another name, or none (`rename-command`).
    ///
    /// # Errors
    /// The reason, if there is no such command or the new name is taken.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let entry = self
            .by_name
            .remove(from.to_ascii_lowercase().as_bytes())
            .ok_or_else(|| "No such command in rename-command".to_owned())?;
        if to.is_empty() {
            return Ok(());
        }
        match self
            .by_name
            .insert(to.to_ascii_lowercase().as_bytes().into(), entry)
        {
            None => Ok(()),
            Some(_) => Err("Target command name already exists".to_owned()),
        }
    }
}
