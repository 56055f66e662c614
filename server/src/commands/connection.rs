//! Commands about the connection.

use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, shown};
use hardtack_storage::text::integer;
use subtle::ConstantTimeEq;

use super::{Call, CallResult, DONE, ServerCommand};

const SPEC: CommandSpec = CommandSpec {
    group: Group::Connection,
    flags: Flags::NOSCRIPT
        .with(Flags::LOADING)
        .with(Flags::STALE)
        .with(Flags::FAST),
    ..CommandSpec::DEFAULT
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[
    ServerCommand {
        spec: CommandSpec {
            name: "auth",
            arity: -2,
            flags: SPEC.flags.with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY),
            summary: "Authenticates the connection.",
            syntax: "[username] password",
            ..SPEC
        },
        run: auth,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "echo",
            arity: 2,
            flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
            summary: "Returns its argument.",
            syntax: "message",
            ..SPEC
        },
        run: echo,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "hello",
            arity: -1,
            flags: SPEC.flags.with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY),
            since: "6.0.0",
            summary: "Agrees on a protocol version, and optionally authenticates and names the connection.",
            syntax: "[arguments= protover [AUTH username password] [SETNAME clientname]]",
            ..SPEC
        },
        run: hello,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "ping",
            arity: -1,
            flags: Flags::FAST,
            summary: "Answers PONG, or its argument.",
            syntax: "[message]",
            ..SPEC
        },
        run: ping,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "quit",
            arity: -1,
            flags: SPEC.flags.with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY),
            summary: "Closes the connection.",
            ..SPEC
        },
        run: quit,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "reset",
            arity: 1,
            flags: SPEC.flags.with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY),
            since: "6.2.0",
            summary: "Puts the connection back to how it began.",
            ..SPEC
        },
        run: reset,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "select",
            arity: 2,
            flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
            summary: "Changes the selected database.",
            syntax: "index",
            ..SPEC
        },
        run: select,
    },
];

fn ping(call: &mut Call<'_, '_>) -> CallResult {
    match call.args {
        [_] => call.reply.simple("PONG"),
        [_, message] => call.reply.bulk(message),
        _ => return Err(CommandError::Arity("ping".into())),
    }
    DONE
}

fn echo(call: &mut Call<'_, '_>) -> CallResult {
    call.reply.bulk(call.args[1]);
    DONE
}

fn quit(call: &mut Call<'_, '_>) -> CallResult {
    call.reply.ok();
    call.client.close_after_reply = true;
    DONE
}

fn select(call: &mut Call<'_, '_>) -> CallResult {
    let index = integer::parse_i64(call.args[1]).ok_or(CommandError::NotInteger)?;
    let index = u16::try_from(index)
        .ok()
        .filter(|db| *db < call.server.engine.databases());
    call.session.db = index.ok_or(CommandError::DbIndexOutOfRange)?;
    call.reply.ok();
    DONE
}

fn reset(call: &mut Call<'_, '_>) -> CallResult {
    if let Some(turn) = &mut call.turn {
        turn.discard(call.session);
    }
    call.session.db = 0;
    call.client.handle.name.lock().clear();
    call.client.authenticated = call.server.config().requirepass.is_empty();
    call.reply.set_resp3(false);
    call.reply.simple("RESET");
    DONE
}

fn auth(call: &mut Call<'_, '_>) -> CallResult {
    let (user, password) = match call.args {
        [_, password] => {
            if call.server.config().requirepass.is_empty() {
                return Err(CommandError::err(
                    "AUTH <password> called without any password configured for the default user. \
                     Are you sure your configuration is correct?",
                ));
            }
            (&b"default"[..], *password)
        }
        [_, user, password] => (*user, *password),
        _ => return Err(CommandError::Syntax),
    };
    authenticate(call, user, password)?;
    call.reply.ok();
    DONE
}

/// Checks a user's password and lets the client in.
fn authenticate(call: &mut Call<'_, '_>, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    let config = call.server.config();
    let expected = &config.requirepass;
    let matches = expected.is_empty() || bool::from(expected.as_slice().ct_eq(password));
    if user != b"default" || !matches {
        return Err(CommandError::Other(
            "WRONGPASS",
            "invalid username-password pair or user is disabled.".into(),
        ));
    }
    call.client.authenticated = true;
    Ok(())
}

/// Whether a client may have this name.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(())
    } else {
        Err(CommandError::err(
            "Client names cannot contain spaces, newlines or special characters.",
        ))
    }
}

fn hello(call: &mut Call<'_, '_>) -> CallResult {
    let mut args = call.args[1..].iter().copied();
    let mut resp3 = call.reply.resp3();
    if let Some(version) = args.next() {
        resp3 = match integer::parse_i64(version) {
            Some(2) => false,
            Some(3) => true,
            Some(_) => {
                return Err(CommandError::Other(
                    "NOPROTO",
                    "unsupported protocol version".into(),
                ));
            }
            None => {
                return Err(CommandError::err(
                    "Protocol version is not an integer or out of range",
                ));
            }
        };
    }
    let (mut credentials, mut name) = (None, None);
    while let Some(option) = args.next() {
        let syntax = || {
            let option = shown(option, option.len());
            CommandError::err(format!("Syntax error in HELLO option '{option}'"))
        };
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(user), Some(password)) = (args.next(), args.next()) else {
                return Err(syntax());
            };
            credentials = Some((user, password));
        } else if option.eq_ignore_ascii_case(b"setname") {
            let Some(wanted) = args.next() else {
                return Err(syntax());
            };
            check_name(wanted)?;
            name = Some(wanted);
        } else {
            return Err(syntax());
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(call, user, password)?;
    }
    if !call.client.authenticated {
        return Err(CommandError::Other(
            "NOAUTH",
            "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time"
                .into(),
        ));
    }
    if let Some(name) = name {
        *call.client.handle.name.lock() = name.to_vec();
    }
    call.reply.set_resp3(resp3);
    let reply = &mut *call.reply;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(crate::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.int(if resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(call.client.handle.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
    DONE
}
