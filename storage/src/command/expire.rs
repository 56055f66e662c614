//! When keys expire: setting, reading and removing their time to live.
//!
//! A time is kept and logged as a point in time. One that is over already removes the key, and is logged so.

use super::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, KeyClass, KeySpec, shown,
};
use crate::text::integer::IntText;
use crate::types::UnixMillis;

const SPEC: CommandSpec = CommandSpec {
    arity: -3,
    flags: Flags::WRITE.with(Flags::FAST),
    keys: KeySpec::first("RW update"),
    ..CommandSpec::DEFAULT
};

const READ_SPEC: CommandSpec = CommandSpec {
    arity: 2,
    flags: Flags::READONLY.with(Flags::FAST),
    keys: KeySpec::first("RO access"),
    syntax: "key",
    ..CommandSpec::DEFAULT
};

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "expire",
            summary: "Makes a key expire after some seconds.",
            syntax: "key seconds [condition= NX | XX | GT | LT]",
            ..SPEC
        },
        run: expire,
    },
    Command {
        spec: CommandSpec {
            name: "pexpire",
            since: "2.6.0",
            summary: "Makes a key expire after some milliseconds.",
            syntax: "key milliseconds [condition= NX | XX | GT | LT]",
            ..SPEC
        },
        run: pexpire,
    },
    Command {
        spec: CommandSpec {
            name: "expireat",
            since: "1.2.0",
            summary: "Makes a key expire at a Unix time in seconds.",
            syntax: "key unix-time-seconds [condition= NX | XX | GT | LT]",
            ..SPEC
        },
        run: expireat,
    },
    Command {
        spec: CommandSpec {
            name: "pexpireat",
            since: "2.6.0",
            summary: "Makes a key expire at a Unix time in milliseconds.",
            syntax: "key unix-time-milliseconds [condition= NX | XX | GT | LT]",
            ..SPEC
        },
        run: pexpireat,
    },
    Command {
        spec: CommandSpec {
            name: "ttl",
            summary: "Returns the seconds that a key has left; -1 if it does not expire, -2 if there is none.",
            ..READ_SPEC
        },
        run: ttl,
    },
    Command {
        spec: CommandSpec {
            name: "pttl",
            since: "2.6.0",
            summary: "Returns the milliseconds that a key has left; -1 if it does not expire, -2 if there is none.",
            ..READ_SPEC
        },
        run: pttl,
    },
    Command {
        spec: CommandSpec {
            name: "expiretime",
            since: "7.0.0",
            summary: "Returns the Unix time in seconds at which a key expires.",
            ..READ_SPEC
        },
        run: expiretime,
    },
    Command {
        spec: CommandSpec {
            name: "pexpiretime",
            since: "7.0.0",
            summary: "Returns the Unix time in milliseconds at which a key expires.",
            ..READ_SPEC
        },
        run: pexpiretime,
    },
    Command {
        spec: CommandSpec {
            name: "persist",
            arity: 2,
            since: "2.2.0",
            summary: "Makes a key that expires stay.",
            syntax: "key",
            ..SPEC
        },
        run: persist,
    },
];

fn expire(ctx: &mut Ctx<'_>) -> CommandResult {
    let now = ctx.now();
    set_expiry(ctx, 1000, now)
}

fn pexpire(ctx: &mut Ctx<'_>) -> CommandResult {
    let now = ctx.now();
    set_expiry(ctx, 1, now)
}

fn expireat(ctx: &mut Ctx<'_>) -> CommandResult {
    set_expiry(ctx, 1000, UnixMillis(0))
}

fn pexpireat(ctx: &mut Ctx<'_>) -> CommandResult {
    set_expiry(ctx, 1, UnixMillis(0))
}

/// On which present expiry a new one depends.
#[derive(Clone, Copy, Default)]
struct Conditions {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn parse(args: &[&[u8]]) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for arg in args {
            let is = |word: &[u8]| arg.eq_ignore_ascii_case(word);
            if is(b"NX") {
                conditions.absent = true;
            } else if is(b"XX") {
                conditions.present = true;
            } else if is(b"GT") {
                conditions.greater = true;
            } else if is(b"LT") {
                conditions.less = true;
            } else {
                let arg = shown(arg, arg.len());
                return Err(CommandError::err(format!("Unsupported option {arg}")));
            }
        }
        let Conditions {
            absent,
            present,
            greater,
            less,
        } = conditions;
        if absent && (present || greater || less) {
            return Err(CommandError::err(
                "NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if greater && less {
            return Err(CommandError::err(
                "GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    /// Whether `new` may take the place of `present`. A key that does not expire counts as one that expires last.
    fn allow(self, present: Option<UnixMillis>, new: UnixMillis) -> bool {
        !(self.absent && present.is_some()
            || self.present && present.is_none()
            || self.greater && present.is_none_or(|present| new <= present)
            || self.less && present.is_some_and(|present| new >= present))
    }
}

/// Sets the expiry of a key, given as so many times `unit` milliseconds after `base`.
fn set_expiry(ctx: &mut Ctx<'_>, unit: i64, base: UnixMillis) -> CommandResult {
    let key = ctx.args[1];
    let conditions = Conditions::parse(&ctx.args[3..])?;
    let expire = ctx
        .int_arg(2)?
        .checked_mul(unit)
        .and_then(|millis| millis.checked_add(base.0))
        .map(UnixMillis)
        .ok_or(CommandError::InvalidExpire(ctx.spec.name.into()))?;
    let Some(record) = ctx.data.peek(key) else {
        ctx.reply.int(0);
        return Ok(());
    };
    if !conditions.allow(record.expire_at(), expire) {
        ctx.reply.int(0);
        return Ok(());
    }
    ctx.dirty += 1;
    ctx.reply.int(1);
    if ctx.data.is_over(expire) {
        ctx.data.delete(key);
        ctx.data.modified(key, KeyClass::Generic, "del");
        ctx.effect(&[ctx.data.expire_command(), key]);
        return Ok(());
    }
    ctx.data.set_expire(key, Some(expire));
    ctx.data.modified(key, KeyClass::Generic, "expire");
    if unit != 1 || base.0 != 0 {
        let args = ctx.args;
        let text = IntText::new(expire.0);
        let mut effect: Vec<&[u8]> = vec![b"PEXPIREAT", key, &text];
        effect.extend_from_slice(&args[3..]);
        ctx.effect(&effect);
    }
    Ok(())
}

fn ttl(ctx: &mut Ctx<'_>) -> CommandResult {
    let now = ctx.now();
    show_expiry(ctx, |at| (left(at, now) + 500) / 1000)
}

fn pttl(ctx: &mut Ctx<'_>) -> CommandResult {
    let now = ctx.now();
    show_expiry(ctx, |at| left(at, now))
}

/// Milliseconds from `now` to `at`.
fn left(at: UnixMillis, now: UnixMillis) -> i64 {
    at.0.saturating_sub(now.0).clamp(0, i64::MAX - 500)
}

fn expiretime(ctx: &mut Ctx<'_>) -> CommandResult {
    show_expiry(ctx, |at| at.0.saturating_add(500) / 1000)
}

fn pexpiretime(ctx: &mut Ctx<'_>) -> CommandResult {
    show_expiry(ctx, |at| at.0)
}

fn show_expiry(ctx: &mut Ctx<'_>, show: impl Fn(UnixMillis) -> i64) -> CommandResult {
    let shown = match ctx.data.look(ctx.args[1]) {
        None => -2,
        Some(record) => record.expire_at().map_or(-1, show),
    };
    ctx.reply.int(shown);
    Ok(())
}

fn persist(ctx: &mut Ctx<'_>) -> CommandResult {
    let key = ctx.args[1];
    let expires = ctx.data.expire_at(key).is_some();
    if expires {
        ctx.data.set_expire(key, None);
        ctx.data.modified(key, KeyClass::Generic, "persist");
        ctx.dirty += 1;
    }
    ctx.reply.flag(expires);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testkit::Client;

    #[test]
    fn times_are_logged_as_points_in_time() {
        let mut client = Client::new();
        client.run("SET k v");
        let logged = client.logged("EXPIRE k 100 lt");
        assert!(logged[0].starts_with("PEXPIREAT k 1"), "{logged:?}");
        assert!(logged[0].ends_with(" lt"), "{logged:?}");
        assert_eq!(client.run("TTL k"), ":100");
        assert_eq!(
            client.logged("EXPIREAT k 33177117420"),
            ["PEXPIREAT k 33177117420000"]
        );
        assert_eq!(
            client.logged("PEXPIREAT k 33177117420123"),
            ["PEXPIREAT k 33177117420123"]
        );
        assert_eq!(client.run("EXPIRETIME k"), ":33177117420");
        assert_eq!(client.run("PEXPIRETIME k"), ":33177117420123");
        assert_eq!(client.logged("PERSIST k"), ["PERSIST k"]);
        assert!(client.logged("PERSIST k").is_empty());
        assert_eq!(client.run("PTTL k"), ":-1");
        assert_eq!(client.run("PTTL none"), ":-2");
        assert_eq!(client.logged("EXPIRE k -1"), ["DEL k"]);
        assert_eq!(client.run("EXISTS k"), ":0");
        assert_eq!(client.run("EXPIRE k 5"), ":0");
        client.configure(|settings| settings.lazyfree_expire = true);
        client.run("SET k v");
        assert_eq!(client.logged("PEXPIREAT k 1"), ["UNLINK k"]);
    }

    #[test]
    fn conditions_compare_with_the_present_expiry() {
        let mut client = Client::new();
        client.run("SET k v");
        for (options, at, reply) in [
            ("XX", 9_000_000_000_000_i64, ":0"),
            ("GT", 9_000_000_000_000, ":0"),
            ("LT", 9_000_000_000_000, ":1"),
            ("NX", 9_000_000_000_000, ":0"),
            ("LT", 9_000_000_000_000, ":0"),
            ("GT", 9_000_000_000_000, ":0"),
            ("GT XX", 9_000_000_000_001, ":1"),
            ("LT XX", 9_000_000_000_000, ":1"),
            ("XX", 9_000_000_000_002, ":1"),
        ] {
            let command = format!("PEXPIREAT k {at} {options}");
            assert_eq!(client.run(&command), reply, "{command}");
        }
        let clash = "-ERR NX and XX, GT or LT options at the same time are not compatible";
        assert_eq!(client.run("EXPIRE k 1 NX GT"), clash);
        let clash = "-ERR GT and LT options at the same time are not compatible";
        assert_eq!(client.run("EXPIRE k 1 GT LT"), clash);
        assert_eq!(client.run("EXPIRE k 1 foo"), "-ERR Unsupported option foo");
    }

    #[test]
    fn times_out_of_range_are_refused() {
        let mut client = Client::new();
        client.run("SET k v");
        for command in [
            "EXPIRE k 9223372036854775807",
            "EXPIRE k -9223372036854775808",
            "PEXPIRE k 9223372036854775807",
            "EXPIREAT k 9223372036854776",
        ] {
            let reply = client.run(command);
            assert!(
                reply.starts_with("-ERR invalid expire time in '"),
                "{command}: {reply}"
            );
        }
        assert_eq!(client.run("PEXPIREAT k 9223372036854775807"), ":1");
        assert!(client.run("TTL k").len() > 10);
        assert_eq!(client.run("PEXPIRE k -9223372036854775808"), ":1");
        assert_eq!(client.run("EXISTS k"), ":0");
    }

    #[test]
    fn a_key_whose_time_has_come_is_gone_for_every_command() {
        let mut client = Client::new();
        for command in ["GET k", "TYPE k", "TTL k", "EXISTS k", "DEL k", "PERSIST k"] {
            client.run("SET k v PXAT 1");
            assert_eq!(client.logged(command), ["DEL k"], "{command}");
            assert_eq!(client.run("DBSIZE"), ":0");
        }
    }
}
