//! DEBUG HTSTATS and HTSTATS-KEY: how full the hash tables are, in the words of Redis as far as they fit ours.
//!
//! A database has one table for each of its slots. What Redis calls a slot of a table is one of their buckets, and a
//! chain is what such a bucket holds, overflow included. The tables of large values have open addressing: places
//! and no chains. Nothing is ever being rehashed.

use std::fmt::Write;

use super::debug::SPEC;
use super::generic::walk_slots;
use super::{Command, CommandError, CommandResult, CommandSpec, Ctx, Flags, KeySpec};
use crate::keyspace::{Record, ValueRef};
use crate::types::DbIndex;

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            arity: 2,
            name: "debug|htstats",
            flags: Flags::ADMIN.with(Flags::ALL_KEYS),
            complexity: "O(N) where N is the number of keys.",
            summary: "Shows how the keys of a database are spread over its tables. Reached through DEBUG.",
            syntax: "db",
            ..SPEC
        },
        run: database,
    },
    Command {
        spec: CommandSpec {
            arity: 2,
            name: "debug|htstats-key",
            keys: KeySpec::first("RO access"),
            complexity: "O(N) where N is the number of elements.",
            summary: "Shows how full the hash table of a value is. Reached through DEBUG.",
            syntax: "key",
            ..SPEC
        },
        run: value,
    },
];

/// Longer chains are counted together.
const CHAIN_SHOWN_MAX: usize = 50;

/// What is counted of a database's tables.
#[derive(Default)]
struct Chains {
    buckets: usize,
    records: usize,
    longest: usize,
    /// How many chains there are of each length.
    of_length: Vec<usize>,
}

impl Chains {
    fn count(&mut self, len: usize) {
        self.buckets += 1;
        self.records += len;
        self.longest = self.longest.max(len);
        let class = len.min(CHAIN_SHOWN_MAX);
        if self.of_length.len() <= class {
            self.of_length.resize(class + 1, 0);
        }
        self.of_length[class] += 1;
    }

    fn show(&self) -> String {
        if self.records == 0 {
            return "No stats available for empty dictionaries\n".to_owned();
        }
        let empty = self.of_length.first().copied().unwrap_or(0);
        let used = self.buckets - empty;
        let (buckets, records) = (self.buckets as f64, self.records as f64);
        let mut text = format!(
            "Hash table 0 stats (main hash table):\n table size: {}\n number of elements: {}\n different slots: {used}\n \
             max chain length: {}\n avg chain length (counted): {:.02}\n avg chain length (computed): {:.02}\n Chain \
             length distribution:\n",
            self.buckets,
            self.records,
            self.longest,
            records / used as f64,
            records / buckets,
        );
        for (len, chains) in self.of_length.iter().enumerate() {
            if *chains > 0 {
                let or_longer = if len == CHAIN_SHOWN_MAX { ">= " } else { "" };
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "   {or_longer}{len}: {chains} ({:.02}%)",
                    *chains as f64 * 100.0 / buckets
                );
            }
        }
        text
    }
}

fn database(ctx: &mut Ctx<'_>) -> CommandResult {
    let db = ctx.int_arg(1)?;
    let db = DbIndex::try_from(db)
        .ok()
        .filter(|db| *db < ctx.data.databases())
        .ok_or(CommandError::err("Out of range database"))?;
    let selected = ctx.data.db();
    ctx.data.select(db);
    let mut chains = Chains::default();
    let mut volatile = 0;
    walk_slots(&mut ctx.data, 0, &mut |slot| {
        slot.chain_lens().for_each(|len| chains.count(len));
        volatile += slot.volatile_len();
        true
    });
    ctx.data.select(selected);
    let expires = match volatile {
        0 => "No stats available for empty dictionaries\n".to_owned(),
        keys => format!(
            " number of elements: {keys}\n kept with the keys, not in a table of their own\n"
        ),
    };
    let text = format!("[Dictionary HT]\n{}[Expires HT]\n{expires}", chains.show());
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn value(ctx: &mut Ctx<'_>) -> CommandResult {
    let record = ctx.data.peek(ctx.args[1]).ok_or(CommandError::NoSuchKey)?;
    let shape = match Record::value(record) {
        ValueRef::Object(object) => object.table_shape().map(|shape| (shape, object.len())),
        ValueRef::Str(..) => None,
    };
    let ((segments, places), len) = shape.ok_or(CommandError::err(
        "The value stored at the specified key is not represented using an hash table",
    ))?;
    let text = format!(
        "Hash table 0 stats (main hash table):\n table size: {places}\n number of elements: {len}\n segments: {segments}\n"
    );
    ctx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::testkit::Client;

    /// The number behind `field: ` in a reply.
    fn number(reply: &str, field: &str) -> usize {
        let (_, rest) = reply.split_once(&format!(" {field}: ")).expect(field);
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.unwrap().parse().unwrap()
    }

    #[test]
    fn chains_of_a_database_hold_its_keys() {
        let mut client = Client::new();
        assert!(
            client
                .run("debug|htstats 0")
                .contains("[Dictionary HT]\nNo stats")
        );
        for key in 0..3000 {
            client.run(&format!("SET key:{key} v"));
        }
        // Many keys in one slot, so that buckets fill up.
        for key in 0..3000 {
            client.run(&format!("SET {{one}}:{key} v EX 1000"));
        }
        let reply = client.run("debug|htstats 0");
        assert_eq!(number(&reply, "number of elements"), 6000, "{reply}");
        let (_, distribution) = reply.split_once("distribution:\n").unwrap();
        let (distribution, expires) = distribution.split_once("[Expires HT]\n").unwrap();
        let (mut buckets, mut records) = (0, 0);
        for line in distribution.lines() {
            let (len, rest) = line.trim().split_once(": ").unwrap();
            let chains: usize = rest.split(' ').next().unwrap().parse().unwrap();
            buckets += chains;
            records += chains * len.parse::<usize>().unwrap();
        }
        assert_eq!(records, 6000, "{reply}");
        assert_eq!(buckets, number(&reply, "table size"), "{reply}");
        assert!(
            (3..30).contains(&number(&reply, "max chain length")),
            "{reply}"
        );
        assert_eq!(number(expires, "number of elements"), 3000);
        assert!(client.run("debug|htstats 1").contains("No stats"));
        assert_eq!(client.run("debug|htstats 99"), "-ERR Out of range database");
        assert_eq!(
            client.run("debug|htstats x"),
            "-ERR value is not an integer or out of range"
        );
    }

    #[test]
    fn tables_of_values_have_places_for_their_elements() {
        let mut client = Client::new();
        for member in 0..2000 {
            client.run(&format!("SADD set m{member}"));
            client.run(&format!("HSET hash f{member} v"));
            client.run(&format!("ZADD zset {member} m{member}"));
        }
        for key in ["set", "hash", "zset"] {
            let reply = client.run(&format!("debug|htstats-key {key}"));
            assert_eq!(number(&reply, "number of elements"), 2000, "{reply}");
            assert!(number(&reply, "table size") >= 2000, "{reply}");
            assert!(number(&reply, "segments") >= 2000 / 192, "{reply}");
        }
        client.run("SADD ints 1 2 3");
        client.run("RPUSH list a");
        client.run("SET string a");
        for key in ["ints", "list", "string"] {
            assert_eq!(
                client.run(&format!("debug|htstats-key {key}")),
                "-ERR The value stored at the specified key is not represented using an hash table"
            );
        }
        assert_eq!(client.run("debug|htstats-key none"), "-ERR no such key");
    }
}
