//! DUMP and RESTORE: a value as bytes, and back.

use super::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, KeyClass, KeySpec, Work,
    string_kind, work,
};
use crate::keyspace::{Record, ValueRef};
use crate::rdb::{self, RestoreError, Restored};
use crate::text::integer::{self, IntText};
use crate::types::UnixMillis;

const SPEC: CommandSpec = CommandSpec {
    since: "2.6.0",
    ..CommandSpec::DEFAULT
};

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "dump",
            work: Work::Grows(work::dump),
            arity: 2,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO access"),
            complexity: "O(N) where N is the size of the value.",
            summary: "Returns the value under a key as bytes that RESTORE understands.",
            syntax: "key",
            ..SPEC
        },
        run: dump,
    },
    Command {
        spec: CommandSpec {
            name: "restore",
            work: Work::Grows(work::restore),
            arity: -4,
            flags: Flags::WRITE.with(Flags::DENYOOM),
            keys: KeySpec::first("OW update"),
            complexity: "O(N) where N is the size of the value; O(N*log(N)) for sorted sets.",
            summary: "Creates a key from the bytes that DUMP returned.",
            syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
            categories: &["dangerous"],
            ..SPEC
        },
        run: restore,
    },
];

/// The record's value, as the RDB format takes it.
pub(super) fn rdb_value(record: &Record) -> rdb::ValueRef<'_> {
    match record.value() {
        ValueRef::Str(bytes, _) => rdb::ValueRef::String(bytes),
        ValueRef::Object(object) => rdb::ValueRef::Object(object),
    }
}

fn dump(ctx: &mut Ctx<'_>) -> CommandResult {
    match ctx.data.read(ctx.args[1]) {
        Some(record) => ctx.reply.bulk(&rdb::dump(rdb_value(record))),
        None => ctx.reply.null(),
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: &[&[u8]]) -> Result<Options, CommandError> {
        let number = |text: &[u8]| integer::parse_i64(text).ok_or(CommandError::NotInteger);
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if is(b"REPLACE") {
                options.replace = true;
            } else if is(b"ABSTTL") {
                options.absolute = true;
            } else if is(b"IDLETIME")
                && options.frequency.is_none()
                && let Some(text) = args.next()
            {
                let seconds = number(text)?;
                if seconds < 0 {
                    return Err(CommandError::err("Invalid IDLETIME value, must be >= 0"));
                }
                options.idle_seconds = Some(seconds);
            } else if is(b"FREQ")
                && options.idle_seconds.is_none()
                && let Some(text) = args.next()
            {
                let counter = u8::try_from(number(text)?).map_err(|_| {
                    CommandError::err("Invalid FREQ value, must be >= 0 and <= 255")
                })?;
                options.frequency = Some(counter);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn restore(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, payload, now) = (ctx.args[1], ctx.args[3], ctx.now());
    let settings = ctx.data.settings;
    let options = Options::parse(&ctx.args[4..])?;
    if !options.replace && ctx.data.exists(key) {
        return Err(CommandError::BusyKey);
    }
    let ttl = ctx.int_arg(2)?;
    if ttl < 0 {
        return Err(CommandError::err("Invalid TTL value, must be >= 0"));
    }
    let value = rdb::restore(payload, &settings.limits, settings.verify_checksums)
        .map_err(|error| refused(key, error))?;
    let expire = match ttl {
        0 => None,
        at if options.absolute => Some(UnixMillis(at)),
        ttl => Some(UnixMillis(ttl.saturating_add(now.0))),
    };
    if expire.is_some_and(|expire| ctx.data.is_over(expire)) {
        if ctx.data.delete(key) {
            ctx.data.modified(key, KeyClass::Generic, "del");
            ctx.dirty += 1;
            ctx.effect(&[b"DEL", key]);
        }
        ctx.reply.ok();
        return Ok(());
    }
    let record = match value {
        Restored::String(bytes) => {
            let kind = string_kind(&bytes);
            Record::string_owned(key, bytes, kind, expire)
        }
        Restored::Object(object) => Record::object(key, object, expire),
    };
    record.set_access(settings.fresh_access(now));
    let lfu = settings.maxmemory_policy.is_lfu();
    match (options.frequency, options.idle_seconds) {
        (Some(counter), _) if lfu => settings.set_frequency(&record, counter, now),
        (_, Some(seconds)) if !lfu => {
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            settings.set_idle(&record, seconds, now);
        }
        _ => {}
    }
    ctx.data.put_as_used(record);
    ctx.data.modified(key, KeyClass::Generic, "restore");
    ctx.dirty += 1;
    if let Some(expire) = expire.filter(|_| !options.absolute) {
        let mut effect = ctx.args.to_vec();
        let text = IntText::new(expire.0);
        effect[2] = &text;
        effect.push(b"ABSTTL");
        ctx.effect(&effect);
    }
    ctx.reply.ok();
    Ok(())
}

/// The error reply for a payload; why it is bad goes to the log.
fn refused(key: &[u8], error: RestoreError) -> CommandError {
    if let RestoreError::BadData(why) = &error {
        let key = key.escape_ascii();
        tracing::warn!("RESTORE of '{key}' refused, integrity check failed: {why}");
    }
    CommandError::err(error.to_string())
}

#[cfg(test)]
mod tests {
    use crate::command::testkit::Client;
    use crate::engine::EvictionPolicy;

    /// The payload that DUMP returns.
    fn dump(client: &mut Client, key: &str) -> Vec<u8> {
        let reply = client.run_raw(&[b"DUMP", key.as_bytes()]);
        let header = reply.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        reply[header..reply.len() - 2].to_vec()
    }

    fn restore(client: &mut Client, key: &str, ttl: &str, payload: &[u8], options: &str) -> String {
        let mut args: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), ttl.as_bytes(), payload];
        args.extend(options.split_ascii_whitespace().map(str::as_bytes));
        client.run_args(&args)
    }

    #[test]
    fn values_come_back_as_they_were() {
        let mut client = Client::new();
        let long = "x".repeat(3000);
        for value in ["", "12", "012", "-9223372036854775808", "abc", &long] {
            client.run_args(&[b"SET", b"k", value.as_bytes()]);
            let encoding = client.run("OBJECT ENCODING k");
            let payload = dump(&mut client, "k");
            assert_eq!(restore(&mut client, "r", "0", &payload, "REPLACE"), "+OK");
            assert_eq!(client.run("GET r"), format!("\"{value}\""));
            assert_eq!(client.run("OBJECT ENCODING r"), encoding);
        }
        assert_eq!(client.run("DUMP none"), "(nil)");
    }

    #[test]
    fn arguments_are_checked_in_order() {
        let mut client = Client::new();
        client.run("SET k v");
        let payload = dump(&mut client, "k");
        let mut bad = payload.clone();
        bad[1] ^= 1;
        let wrong = "-ERR DUMP payload version or checksum are wrong";
        for (ttl, payload, options, reply) in [
            ("x", &bad, "FOO", "-ERR syntax error"),
            ("x", &bad, "IDLETIME", "-ERR syntax error"),
            ("x", &bad, "IDLETIME 1 FREQ 1", "-ERR syntax error"),
            (
                "x",
                &bad,
                "IDLETIME -1",
                "-ERR Invalid IDLETIME value, must be >= 0",
            ),
            (
                "x",
                &bad,
                "FREQ 256",
                "-ERR Invalid FREQ value, must be >= 0 and <= 255",
            ),
            ("x", &bad, "", "-BUSYKEY Target key name already exists."),
            (
                "x",
                &bad,
                "REPLACE",
                "-ERR value is not an integer or out of range",
            ),
            (
                "-1",
                &bad,
                "REPLACE",
                "-ERR Invalid TTL value, must be >= 0",
            ),
            ("0", &bad, "REPLACE", wrong),
            ("0", &vec![], "REPLACE", wrong),
            ("0", &payload, "REPLACE", "+OK"),
        ] {
            let got = restore(&mut client, "k", ttl, payload, options);
            assert_eq!(got, reply, "{ttl} {options}");
        }
        client.configure(|settings| settings.verify_checksums = false);
        bad[0] = 200;
        let got = restore(&mut client, "k", "0", &bad, "REPLACE");
        assert_eq!(got, "-ERR Bad data format");
        assert_eq!(client.run("GET k"), "\"v\"");
    }

    #[test]
    fn expiry_and_use_come_along() {
        let mut client = Client::new();
        client.run("SET k v");
        let payload = dump(&mut client, "k");
        let at = "33177117420000";
        assert_eq!(restore(&mut client, "r", at, &payload, "ABSTTL"), "+OK");
        assert_eq!(client.run("PEXPIRETIME r"), format!(":{at}"));
        assert_eq!(
            restore(&mut client, "r", "50000", &payload, "REPLACE"),
            "+OK"
        );
        assert_eq!(client.run("TTL r"), ":50");
        assert_eq!(
            restore(&mut client, "r", "1", &payload, "ABSTTL REPLACE"),
            "+OK"
        );
        assert_eq!(client.run("EXISTS r"), ":0");
        restore(&mut client, "r", "0", &payload, "IDLETIME 1000");
        assert_eq!(client.run("OBJECT IDLETIME r"), ":1000");
        client.configure(|settings| settings.maxmemory_policy = EvictionPolicy::AllKeysLfu);
        restore(&mut client, "r", "0", &payload, "FREQ 100 REPLACE");
        assert_eq!(client.run("OBJECT FREQ r"), ":100");
    }
}
