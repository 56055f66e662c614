//! MIGRATE: moves keys to another server.
//!
//! Nothing is locked while values travel. Each key is watched, its value is read under its lock, everything is sent, and
//! what the other side has accepted is removed here in a transaction of its own for each key, which fails if the key was
//! changed since it was watched. Such a key stays, and the reply says so; the other side has the value that was sent.
//! (Redis serves nobody meanwhile, so that cannot happen there.) Each removal is logged as a DEL.

use std::collections::HashSet;
use std::time::Duration;

use hardtack_storage::Lsn;
use hardtack_storage::command::{
    self as data, Command, CommandError, CommandSpec, Elsewhere, Flags, Group, KeySpec, Keys,
    Reply, Work,
};
use hardtack_storage::engine::{Queued, Request, Session, Transaction, Turn};
use hardtack_storage::text::integer;

use super::{Call, CallResult, ServerCommand};
use crate::migrate::{Credentials, Destination, Parcel};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "migrate",
        work: Work::Waits,
        arity: -6,
        group: Group::Generic,
        flags: Flags::WRITE.with(Flags::MOVABLE_KEYS),
        keys: KeySpec::Custom {
            first: 3,
            last: 3,
            step: 1,
            find: keys,
            access: "RW access delete",
            elsewhere: &[Elsewhere::Behind {
                word: "KEYS",
                from: -2,
                access: "RW access delete incomplete",
            }],
        },
        since: "2.6.0",
        complexity: "DUMP and DEL here and RESTORE there, for each key, and the transfer between the two.",
        summary: "Moves keys to another server.",
        syntax: "host port <key_or_empty_string= key | \"\"> destination-db timeout:integer [COPY] [REPLACE] \
                 [authentication= [AUTH password] | [AUTH2 username password]] [KEYS key [key ...]]",
        categories: &["dangerous"],
        ..CommandSpec::DEFAULT
    },
    run: migrate,
}];

/// Position of the one key, which is empty if KEYS follows.
const KEY: usize = 3;

/// Time to wait for the other side if the request's is not positive.
const TIMEOUT_MS_DEFAULT: u64 = 1000;

fn keys(args: &[&[u8]]) -> Keys {
    let mut at = KEY + 3;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"AUTH") {
            at += 1;
        } else if option.eq_ignore_ascii_case(b"AUTH2") {
            at += 2;
        } else if option.eq_ignore_ascii_case(b"KEYS") && args[KEY].is_empty() {
            return (at + 1..args.len()).collect();
        }
        at += 1;
    }
    (KEY..args.len().min(KEY + 1)).collect()
}

#[derive(Default)]
struct Options<'a> {
    copy: bool,
    replace: bool,
    credentials: Option<Credentials<'a>>,
}

impl<'a> Options<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut rest = args[KEY + 3..].iter().copied();
        while let Some(option) = rest.next() {
            let mut next = || rest.next().ok_or(CommandError::Syntax);
            match option.to_ascii_lowercase().as_slice() {
                b"copy" => options.copy = true,
                b"replace" => options.replace = true,
                b"auth" => {
                    options.credentials = Some(Credentials {
                        user: None,
                        password: next()?,
                    });
                }
                b"auth2" => {
                    options.credentials = Some(Credentials {
                        user: Some(next()?),
                        password: next()?,
                    });
                }
                b"keys" if args[KEY].is_empty() => break,
                b"keys" => {
                    return Err(CommandError::err(
                        "When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

fn destination<'a>(
    args: &[&'a [u8]],
    options: &Options<'a>,
) -> Result<Destination<'a>, CommandError> {
    let number = |at: usize| integer::parse_i64(args[at]).ok_or(CommandError::NotInteger);
    let timeout_ms = match number(KEY + 2)? {
        positive @ 1.. => positive.unsigned_abs(),
        _ => TIMEOUT_MS_DEFAULT,
    };
    let db = u32::try_from(number(KEY + 1)?).map_err(|_| CommandError::DbIndexOutOfRange)?;
    let port = integer::parse_i64(args[2])
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(CommandError::err("Invalid port"))?;
    Ok(Destination {
        host: args[1],
        port,
        db,
        timeout: Duration::from_millis(timeout_ms),
        credentials: options.credentials,
        replace: options.replace,
    })
}

fn migrate(call: &mut Call<'_, '_>) -> CallResult {
    let args = call.args;
    let options = Options::parse(args)?;
    let destination = destination(args, &options)?;
    let (server, db) = (call.server, call.session.db);
    // Inside a transaction the slots are locked, and others would wait for the other server.
    let turn = call.turn()?;
    let mut lsn = Lsn::ZERO;
    let (mut parcels, mut watches) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for at in keys(args) {
        if !seen.insert(args[at]) {
            continue;
        }
        let mut watch = Session::new();
        watch.db = db;
        // First of all: whatever changes the key from here on is noticed.
        turn.watch(&mut watch, args[at]);
        match pack(turn, db, args[at], &mut lsn) {
            Some(parcel) => {
                parcels.push(parcel);
                watches.push(watch);
            }
            None => turn.unwatch(&mut watch),
        }
    }
    if parcels.is_empty() {
        call.reply.simple("NOKEY");
        return Ok(lsn);
    }
    let delivery = turn.outside(|| server.migrations.carry(&destination, &parcels));
    let mut changed = 0;
    if !options.copy {
        for index in &delivery.accepted {
            if !remove(turn, &mut watches[*index], &parcels[*index].key, &mut lsn) {
                changed += 1;
            }
        }
    }
    watches.iter_mut().for_each(|watch| turn.unwatch(watch));
    // A refusal is a reply like any other: keys may have gone nevertheless.
    match delivery.error {
        Some(error) => call.reply.error(error),
        None if changed > 0 => call.reply.error(CommandError::err(format!(
            "{changed} of the keys were changed while they were sent: they stay here, and the target has what was sent"
        ))),
        None => call.reply.ok(),
    }
    Ok(lsn)
}

fn command(name: &str) -> &'static Command {
    data::find(name.as_bytes()).expect("a command of the storage crate")
}

/// The value of a key and what is left of its time; `None` if there is no such key.
fn pack(turn: &mut Turn<'_>, db: u16, key: &[u8], lsn: &mut Lsn) -> Option<Parcel> {
    let mut ask = |name: &str| {
        let mut session = Session::new();
        session.db = db;
        let mut reply = Reply::new();
        let args = [name.as_bytes(), key];
        let request = Request::new(&args);
        let outcome = turn.run(&mut session, command(name), request, None, &mut reply);
        *lsn = (*lsn).max(outcome.lsn);
        reply.take()
    };
    // "$len\r\n", the value, "\r\n"; or "$-1\r\n".
    let dumped = ask("dump");
    let start = dumped.iter().position(|byte| *byte == b'\n')? + 1;
    let payload = dumped.get(start..dumped.len().checked_sub(2)?)?.to_vec();
    if payload.is_empty() || !dumped.starts_with(b"$") {
        return None;
    }
    let ttl = ask("pttl");
    let ttl_ms = integer::parse_i64(ttl.strip_prefix(b":")?.strip_suffix(b"\r\n")?)?;
    Some(Parcel {
        key: key.to_vec(),
        // -1: it does not expire. Gone by now: the watch will tell.
        ttl_ms: if ttl_ms == -1 { 0 } else { ttl_ms.max(1) },
        payload,
    })
}

/// Removes a key that has arrived, unless it was changed since it was watched; whether it was removed.
fn remove(turn: &mut Turn<'_>, watch: &mut Session, key: &[u8], lsn: &mut Lsn) -> bool {
    let mut transaction = Transaction::default();
    transaction.push(Queued {
        args: vec![b"DEL".to_vec(), key.to_vec()],
        command: Some(command("del")),
    });
    watch.transaction = Some(transaction);
    let mut reply = Reply::new();
    let mut nobody = |_: &mut Session, _: &Queued, _: &mut Reply| {};
    let outcome = turn.exec(watch, &mut reply, &mut nobody);
    *lsn = (*lsn).max(outcome.lsn);
    reply.bytes().starts_with(b"*1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_behind_passwords() {
        let found = |text: &str| {
            let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            keys(&args).to_vec()
        };
        assert_eq!(found("MIGRATE h 1 k 0 0"), [3]);
        assert_eq!(found("MIGRATE h 1  0 0 AUTH keys KEYS a b"), [9, 10]);
        assert_eq!(found("MIGRATE h 1  0 0 AUTH2 keys keys COPY KEYS a"), [11]);
        assert_eq!(found("MIGRATE h 1 k 0 0 KEYS a"), [3]);
        assert_eq!(found("MIGRATE h 1"), [0; 0]);
    }
}
