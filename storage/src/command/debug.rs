//! What DEBUG and MEMORY show of the data: hidden rows of the command table.
//!
//! Their names have a `|`, which no client can reach: the server's DEBUG and MEMORY run them, without the
//! container's name among the arguments (`args[0]` is the subcommand).
//!
//! A digest is 20 bytes: the SHA-1 of what must be in order, the exclusive or of what need not be. It is made of the
//! data alone, whatever its encoding, and says of an expiry only whether there is one.

use std::fmt::Write;

use sha1_smol::Sha1;

use super::dump::rdb_value;
use super::generic::{encoding, reference_count, walk_slots};
use super::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, Group, KeyClass, KeySpec, Work,
    is_due, work,
};
use crate::engine::Settings;
use crate::keyspace::{Record, ValueRef};
use crate::rdb;
use crate::text::integer;
use crate::types::UnixMillis;
use crate::value::Object;

pub(super) const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    flags: Flags::ADMIN,
    categories: &["dangerous"],
    ..CommandSpec::DEFAULT
};

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "debug|digest",
            work: Work::Waits,
            arity: 1,
            flags: Flags::ADMIN.with(Flags::ALL_KEYS),
            complexity: "O(N) where N is the size of all data.",
            summary: "Returns a digest of all databases. Reached through DEBUG.",
            ..SPEC
        },
        run: digest_all,
    },
    Command {
        spec: CommandSpec {
            name: "debug|digest-value",
            work: Work::Grows(work::every_key),
            arity: -1,
            keys: KeySpec::all("RO access"),
            complexity: "O(N) where N is the size of the values.",
            summary: "Returns a digest of each value. Reached through DEBUG.",
            syntax: "[key ...]",
            ..SPEC
        },
        run: digest_values,
    },
    Command {
        spec: CommandSpec {
            name: "debug|object",
            arity: 2,
            keys: KeySpec::first("RO access"),
            complexity: "O(N) where N is the size of the value.",
            summary: "Shows how a value is kept. Reached through DEBUG.",
            syntax: "key",
            ..SPEC
        },
        run: object,
    },
    Command {
        spec: CommandSpec {
            name: "debug|populate",
            work: Work::Waits,
            arity: -2,
            flags: Flags::ADMIN.with(Flags::ALL_KEYS),
            complexity: "O(N) where N is the number of keys.",
            summary: "Creates keys for a test; they are not logged. Reached through DEBUG.",
            syntax: "count [prefix [size]]",
            ..SPEC
        },
        run: populate,
    },
    Command {
        spec: CommandSpec {
            name: "memory|usage",
            work: Work::Grows(work::samples),
            arity: -2,
            flags: Flags::READONLY,
            keys: KeySpec::first("RO"),
            since: "4.0.0",
            complexity: "O(N) where N is the number of samples.",
            summary: "Estimates the memory that a key and its value take. Reached through MEMORY.",
            syntax: "key [SAMPLES count]",
            categories: &[],
            ..SPEC
        },
        run: memory_usage,
    },
];

/// What a slot's table takes for a record: its pointer, in buckets about two thirds full.
const TABLE_BYTES_PER_KEY: usize = 12;

type Digest = [u8; 20];

/// Adds a part whose place among the others does not matter.
fn mix(sum: &mut Digest, part: &Digest) {
    sum.iter_mut()
        .zip(part)
        .for_each(|(sum, part)| *sum ^= part);
}

/// Adds bytes in such a way that two of them never look like one.
fn add(hash: &mut Sha1, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn digest_of(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha1::new();
    parts.iter().for_each(|part| add(&mut hash, part));
    hash.digest().bytes()
}

/// The digest of a value and of whether it expires.
fn digest_value(record: &Record) -> Digest {
    let expires: &[u8] = if record.expire_at().is_some() {
        b"expires"
    } else {
        b""
    };
    let mut sum = Digest::default();
    let (kind, content): (&[u8], &[u8]) = match record.value() {
        ValueRef::Str(bytes, _) => (b"string", bytes),
        ValueRef::Object(Object::List(list)) => {
            let mut hash = Sha1::new();
            list.iter().for_each(|element| add(&mut hash, element));
            sum = hash.digest().bytes();
            (b"list", &sum)
        }
        ValueRef::Object(Object::Set(set)) => {
            set.iter()
                .for_each(|member| mix(&mut sum, &digest_of(&[&member])));
            (b"set", &sum)
        }
        ValueRef::Object(Object::Hash(hash)) => {
            hash.iter()
                .for_each(|(field, value)| mix(&mut sum, &digest_of(&[field, value])));
            (b"hash", &sum)
        }
        ValueRef::Object(Object::ZSet(zset)) => {
            for (member, score) in zset.iter() {
                // Adding zero makes the two zeros one.
                let score = (score + 0.0).to_bits().to_le_bytes();
                mix(&mut sum, &digest_of(&[member, &score]));
            }
            (b"zset", &sum)
        }
    };
    digest_of(&[kind, content, expires])
}

fn hex(digest: &Digest) -> String {
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn digest_all(ctx: &mut Ctx<'_>) -> CommandResult {
    let (selected, now) = (ctx.data.db(), ctx.now());
    let mut sum = Digest::default();
    for db in 0..ctx.data.databases() {
        ctx.data.select(db);
        walk_slots(&mut ctx.data, 0, &mut |slot| {
            for record in slot.iter().filter(|record| !is_due(record, now)) {
                let parts: [&[u8]; 3] = [&db.to_le_bytes(), record.key(), &digest_value(record)];
                mix(&mut sum, &digest_of(&parts));
            }
            true
        });
    }
    ctx.data.select(selected);
    ctx.reply.simple(&hex(&sum));
    Ok(())
}

fn digest_values(ctx: &mut Ctx<'_>) -> CommandResult {
    let keys = &ctx.args[1..];
    ctx.reply.array(keys.len());
    for key in keys {
        let digest = ctx.data.peek(key).map_or(Digest::default(), digest_value);
        ctx.reply.simple(&hex(&digest));
    }
    Ok(())
}

fn object(ctx: &mut Ctx<'_>) -> CommandResult {
    let (settings, now) = (ctx.data.settings, ctx.now());
    let record = ctx.data.peek(ctx.args[1]).ok_or(CommandError::NoSuchKey)?;
    ctx.reply.simple(&describe(record, settings, now));
    Ok(())
}

/// The line of DEBUG OBJECT.
fn describe(record: &Record, settings: &Settings, now: UnixMillis) -> String {
    /// What DUMP's payload has beside the value: a type, a version, a checksum.
    const FRAME_LEN: usize = 1 + 2 + 8;
    let at = match record.value() {
        ValueRef::Str(bytes, _) => bytes.as_ptr(),
        ValueRef::Object(object) => std::ptr::from_ref(object).cast(),
    };
    let mut line = format!(
        "Value at:{at:p} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        reference_count(record, settings),
        encoding(record),
        rdb::dump(rdb_value(record)).len() - FRAME_LEN,
        record.access(),
        settings.idle_seconds(record, now),
    );
    if let ValueRef::Object(Object::List(list)) = record.value() {
        let nodes = list.chunk_count();
        let bytes: usize = list.chunks().map(|(_, bytes)| bytes).sum();
        // Writing to a string does not fail.
        let _ = write!(
            line,
            " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{bytes}",
            list.len() as f64 / nodes.max(1) as f64,
            settings.limits.list_max_listpack_size,
            u8::from(settings.limits.list_compress_depth != 0),
        );
    }
    line
}

fn populate(ctx: &mut Ctx<'_>) -> CommandResult {
    let count = count_arg(ctx, 1)?;
    let prefix = ctx.args.get(2).copied().unwrap_or(b"key");
    let size = match ctx.args.len() {
        ..4 => 0,
        4 => count_arg(ctx, 3)?,
        _ => return Err(CommandError::Syntax),
    };
    ctx.check_string_len(size)?;
    let mut key = Vec::new();
    let mut value = Vec::new();
    for number in 0..count as i64 {
        key.clear();
        key.extend_from_slice(prefix);
        key.push(b':');
        integer::append_i64(&mut key, number);
        if ctx.data.exists(&key) {
            continue;
        }
        value.clear();
        value.extend_from_slice(b"value:");
        integer::append_i64(&mut value, number);
        if size != 0 {
            value.resize(size, 0);
        }
        ctx.data.set_string(&key, &value, None);
        ctx.data.modified(&key, KeyClass::String, "set");
    }
    ctx.reply.ok();
    Ok(())
}

/// The argument at `index` as a number of something.
fn count_arg(ctx: &Ctx<'_>, index: usize) -> Result<usize, CommandError> {
    usize::try_from(ctx.int_arg(index)?).map_err(|_| CommandError::NotPositive)
}

fn memory_usage(ctx: &mut Ctx<'_>) -> CommandResult {
    let mut options = ctx.args[2..].iter();
    while let Some(option) = options.next() {
        let Some(samples) = options
            .next()
            .filter(|_| option.eq_ignore_ascii_case(b"SAMPLES"))
        else {
            return Err(CommandError::Syntax);
        };
        // How much is sampled is the value's own affair.
        if integer::parse_i64(samples).ok_or(CommandError::NotInteger)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    match ctx.data.peek(ctx.args[1]) {
        Some(record) => {
            let bytes = record.memory_bytes() + TABLE_BYTES_PER_KEY;
            ctx.reply.len(bytes);
        }
        None => ctx.reply.null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testkit::Client;
    use crate::value::{End, List};

    const EMPTY: &str = "+0000000000000000000000000000000000000000";

    #[test]
    fn equal_data_has_equal_digests() {
        let mut one = Client::new();
        assert_eq!(one.run("debug|digest"), EMPTY);
        one.run("MSET a 1 b 2");
        let digest = one.run("debug|digest");
        assert_ne!(digest, EMPTY);
        let mut two = Client::new();
        two.run("MSET b 2 c 1");
        two.run("RENAME c a");
        assert_eq!(two.run("debug|digest"), digest);
        for change in [
            "MSET a 2 b 1",
            "SET a 11",
            "EXPIRE a 100",
            "MOVE a 1",
            "DEL a",
        ] {
            two.run(change);
            assert_ne!(two.run("debug|digest"), digest, "{change}");
            two.run("FLUSHALL");
            two.run("MSET a 1 b 2");
            assert_eq!(two.run("debug|digest"), digest);
        }
        one.run("EXPIREAT a 33177117420");
        two.run("EXPIREAT a 33177117421");
        assert_eq!(one.run("debug|digest"), two.run("debug|digest"));
        two.run("SET due v PXAT 1");
        assert_eq!(one.run("debug|digest"), two.run("debug|digest"));
        two.run("COPY a copy");
        let digests = two.run("debug|digest-value a copy b none");
        let digests: Vec<&str> = digests.trim_matches(['[', ']']).split(", ").collect();
        assert_eq!(digests[0], digests[1]);
        assert_ne!(digests[0], digests[2]);
        assert_eq!(digests[3], EMPTY);
    }

    #[test]
    fn an_object_is_described() {
        let mut client = Client::new();
        client.run("SET k 20000");
        let before = client.run("debug|object k");
        client.run("INCR k");
        assert_eq!(client.run("debug|object k"), before, "changed in place");
        assert!(before.starts_with("+Value at:0x"), "{before}");
        assert!(
            before.contains(" refcount:1 encoding:int serializedlength:3 lru:"),
            "{before}"
        );
        assert!(before.ends_with(" lru_seconds_idle:0"), "{before}");
        assert_eq!(client.run("debug|object none"), "-ERR no such key");
    }

    #[test]
    fn a_list_shows_its_chunks() {
        let settings = crate::engine::Settings::default();
        let mut list = List::new();
        for _ in 0..3 {
            list.push(End::Back, &[b'x'; 8000], &settings.limits);
        }
        let record = crate::keyspace::Record::object(b"k", list.into(), None);
        let line = super::describe(&record, &settings, crate::types::UnixMillis(0));
        assert!(
            line.contains(" ql_nodes:3 ql_avg_node:1.00 ql_listpack_max:-2 ql_compressed:0 ql_uncompressed_size:24"),
            "{line}"
        );
    }

    #[test]
    fn keys_are_made_for_tests() {
        let mut client = Client::new();
        client.run("SET key:1 mine");
        assert!(client.logged("debug|populate 3").is_empty());
        assert_eq!(
            client.run("MGET key:0 key:1 key:2 key:3"),
            "[\"value:0\", \"mine\", \"value:2\", (nil)]"
        );
        client.run("debug|populate 2 p 10");
        assert_eq!(client.run("GET p:1"), "\"value:1\0\0\0\"");
        client.run("debug|populate 2 q 3");
        assert_eq!(client.run("GET q:1"), "\"val\"");
        let reply = client.run("debug|populate -1");
        assert_eq!(reply, "-ERR value is out of range, must be positive");
    }

    #[test]
    fn memory_follows_the_size_of_the_value() {
        let mut client = Client::new();
        client.run("SET k v");
        let small: i64 = client.run("memory|usage k")[1..].parse().unwrap();
        client.run(&format!("SET k {}", "x".repeat(5000)));
        let large: i64 = client.run("memory|usage k SAMPLES 0")[1..].parse().unwrap();
        assert!(
            small < 100 && (5000..5200).contains(&large),
            "{small} {large}"
        );
        assert_eq!(client.run("memory|usage none"), "(nil)");
        assert_eq!(client.run("memory|usage k SAMPLES -1"), "-ERR syntax error");
        assert_eq!(client.run("memory|usage k SAMPLES"), "-ERR syntax error");
    }
}
