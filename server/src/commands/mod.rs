//! The commands that a client can send: those on data, which the storage crate runs, and those on the server and the
//! connection, one file per chapter here. One registry dispatches them all; COMMAND, ACL categories and INFO's
//! `commandstats` are derived from the same rows.

mod connection;
mod transactions;

use std::collections::HashMap;
use std::sync::Arc;

use hardtack_storage::Lsn;
use hardtack_storage::command::{self, Command, CommandError, CommandSpec, Reply};
use hardtack_storage::engine::{Counter, Session, Turn};

use crate::conn::Client;
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
    /// By the server.
    Server(fn(&mut Call<'_, '_>) -> CallResult),
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
}

/// One command that clients can send.
pub struct Entry {
    /// Its description.
    pub spec: &'static CommandSpec,
    /// How it is run.
    pub run: Run,
    /// What was counted.
    pub stats: CommandStats,
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
        let data = command::commands().map(|row| (&row.spec, Run::Data(row)));
        let server = [connection::COMMANDS, transactions::COMMANDS]
            .into_iter()
            .flatten()
            .map(|row| (&row.spec, Run::Server(row.run)));
        let by_name = data
            .chain(server)
            .map(|(spec, run)| {
                let entry = Entry {
                    spec,
                    run,
                    stats: CommandStats::default(),
                };
                (spec.name.as_bytes().into(), Arc::new(entry))
            })
            .collect();
        Registry { by_name }
    }

    /// Finds a command by the name that a client uses for it, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<Entry>> {
        let mut lower = [0; NAME_LEN_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name
            .get(&*lower)
            .filter(|entry| !entry.spec.name.contains('|'))
    }

    /// Every command, with the name that clients use for it.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], &Arc<Entry>)> {
        self.by_name.iter().map(|(name, entry)| (&**name, entry))
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
