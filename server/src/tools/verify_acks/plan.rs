//! What is written: records, numbered from 1 for each client, made so that any of them can be recognised later.
//!
//! | mode | record n of client c | keys, after the prefix |
//! |---|---|---|
//! | set | `SET key value` | `c:n` |
//! | incr | `INCR key` | `c:counter` |
//! | list | `RPUSH key value` | `c:list` |
//! | multi | `MULTI`, a `SET` for each part, `EXEC` | `c:n:part` |
//!
//! A value is `n.c.part.run.`, filled up with letters that follow from these four.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::connection::push_command;

/// What kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A key for each record
    Set,
    /// One counter for each client
    Incr,
    /// One list for each client
    List,
    /// A transaction with several keys for each record
    Multi,
    /// Clients take turns with the four kinds
    Mixed,
}

/// Everything about a run that its check must know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// A random number, 16 hexadecimal digits.
    pub run: String,
    /// What every key begins with.
    pub prefix: String,
    /// The kind of the records.
    pub mode: Mode,
    /// How many connections.
    pub clients: u32,
    /// Records sent before the replies are read.
    pub pipeline: u32,
    /// The length of values, at least.
    pub value_bytes: u32,
    /// Keys that one transaction sets.
    pub keys_per_transaction: u32,
    /// Where the server was.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub db: u32,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// What the server said of itself: version, run id, policy.
    pub server: ServerInfo,
}

/// What a server says of itself, as far as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The version that it claims.
    pub redis_version: Option<String>,
    /// A new one with each start.
    pub run_id: Option<String>,
    /// Whether there is a log.
    pub appendonly: Option<String>,
    /// When it is synced.
    pub appendfsync: Option<String>,
}

/// More connections than this are not tried.
pub const CLIENTS_MAX: u32 = 10_000;
/// More records are not sent at once.
pub const PIPELINE_MAX: u32 = 10_000;
/// Longer values are not written.
pub const VALUE_BYTES_MAX: u32 = 16 << 20;
/// More keys are not set by one transaction.
pub const KEYS_PER_TRANSACTION_MAX: u32 = 100;

impl Plan {
    /// Whether the numbers are within their limits, which those of a journal from elsewhere need not be.
    pub fn is_sound(&self) -> bool {
        (1..=CLIENTS_MAX).contains(&self.clients)
            && (1..=PIPELINE_MAX).contains(&self.pipeline)
            && self.value_bytes <= VALUE_BYTES_MAX
            && (2..=KEYS_PER_TRANSACTION_MAX).contains(&self.keys_per_transaction)
            && is_prefix(&self.prefix)
    }

    /// What kind of records a client writes.
    pub fn mode_of(&self, client: u32) -> Mode {
        match self.mode {
            Mode::Mixed => [Mode::Set, Mode::Incr, Mode::List, Mode::Multi][(client % 4) as usize],
            mode => mode,
        }
    }

    /// How many keys a record of a client has.
    pub fn parts(&self, client: u32) -> u32 {
        match self.mode_of(client) {
            Mode::Multi => self.keys_per_transaction,
            _ => 1,
        }
    }

    /// The key of a part of a record.
    pub fn key(&self, client: u32, number: u64, part: u32) -> String {
        let prefix = &self.prefix;
        match self.mode_of(client) {
            Mode::Set | Mode::Mixed => format!("{prefix}{client}:{number}"),
            Mode::Incr => format!("{prefix}{client}:counter"),
            Mode::List => format!("{prefix}{client}:list"),
            Mode::Multi => format!("{prefix}{client}:{number}:{part}"),
        }
    }

    /// The value of a part of a record.
    pub fn value(&self, client: u32, number: u64, part: u32) -> Vec<u8> {
        let mut value = format!("{number}.{client}.{part}.{}.", self.run).into_bytes();
        let mut state = crc32fast::hash(&value);
        while value.len() < self.value_bytes as usize {
            // Any sequence without a short period will do.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            value.push(b'a' + (state >> 24) as u8 % 26);
        }
        value
    }

    /// Appends the commands of a record.
    pub fn push_record(&self, out: &mut Vec<u8>, client: u32, number: u64) {
        let (key, value) = (self.key(client, number, 0), self.value(client, number, 0));
        match self.mode_of(client) {
            Mode::Set | Mode::Mixed => push_command(out, &[b"SET", key.as_bytes(), &value]),
            Mode::Incr => push_command(out, &[b"INCR", key.as_bytes()]),
            Mode::List => push_command(out, &[b"RPUSH", key.as_bytes(), &value]),
            Mode::Multi => {
                push_command(out, &["MULTI"]);
                for part in 0..self.keys_per_transaction {
                    let key = self.key(client, number, part);
                    let value = self.value(client, number, part);
                    push_command(out, &[b"SET", key.as_bytes(), &value]);
                }
                push_command(out, &["EXEC"]);
            }
        }
    }

    /// How many replies a record is answered with. The last one is its acknowledgement.
    pub fn replies(&self, client: u32) -> u32 {
        match self.mode_of(client) {
            Mode::Multi => self.keys_per_transaction + 2,
            _ => 1,
        }
    }

    #[cfg(test)]
    pub fn sample() -> Plan {
        Plan {
            run: "0123456789abcdef".into(),
            prefix: "p:".into(),
            mode: Mode::Mixed,
            clients: 4,
            pipeline: 1,
            value_bytes: 64,
            keys_per_transaction: 3,
            host: "127.0.0.1".into(),
            port: 1,
            db: 0,
            began_ms: 0,
            server: ServerInfo::default(),
        }
    }
}

/// Whether a prefix of keys means itself in a pattern, too.
pub fn is_prefix(prefix: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_-.".contains(&byte);
    !prefix.is_empty() && prefix.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_parts_of_records_have_one_value() {
        let plan = Plan::sample();
        let mut seen = std::collections::HashSet::new();
        for client in 0..3 {
            for number in 1..20 {
                for part in 0..3 {
                    let value = plan.value(client, number, part);
                    assert_eq!(value.len(), 64);
                    assert!(value.starts_with(format!("{number}.").as_bytes()));
                    assert!(seen.insert(value));
                }
            }
        }
    }
}
