//! Checking: what the server has, held against the journal.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::connection::{Connection, Reply, Target, push_command};
use super::journal::{Acked, Client, Recorded};
use super::plan::{Mode, Plan};
use crate::tools::Failure;
use crate::tools::progress::{Progress, Unit};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Records that were acknowledged,
    pub acked: u64,
    /// and records that are there, acknowledged or not.
    pub present: u64,
    /// Acknowledged and not there.
    pub missing: u64,
    /// As many of them as have a later record of the same connection that is there, and records that are there in another
    /// order.
    pub reordered: u64,
    /// Transactions of which a part is there.
    pub torn: u64,
    /// Values that nobody wrote.
    pub wrong: u64,
    /// There, though never sent, or there twice.
    pub phantom: u64,
    /// How long before the loss of the connection (or else the end of the writing) the oldest missing record was
    /// acknowledged, in milliseconds,
    pub oldest_missing_ms: Option<u64>,
    /// and the newest.
    pub newest_missing_ms: Option<u64>,
    /// Some of all that, in words.
    pub examples: Vec<String>,
}

const EXAMPLES_MAX: usize = 10;
/// Records that are asked for at once.
const WINDOW: u64 = 256;
/// Elements of a list that are asked for at once.
const PAGE: u64 = 1000;
/// Names of keys that do not belong are remembered up to this many; SCAN may tell one twice.
const STRANGE_KEYS_MAX: usize = 100_000;
/// Between attempts to reach a server that is not there.
const RETRY: Duration = Duration::from_millis(50);

impl Findings {
    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// Waits until the server answers PING as one that is ready.
pub fn wait(target: &Target, patience: Duration) -> Result<Connection, Failure> {
    let end = Instant::now() + patience;
    loop {
        let reason = match Connection::open(target).and_then(|mut open| {
            let reply = open.call(&["PING"])?;
            Ok((open, reply))
        }) {
            Ok((open, Reply::Status(_))) => return Ok(open),
            Ok((_, reply)) => format!("it answered PING with {reply:?}"),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= end {
            let (host, port) = (&target.host, target.port);
            return Err(Failure::new(format!(
                "the server at {host}:{port} is not ready: {reason}"
            )));
        }
        std::thread::sleep(RETRY);
    }
}

/// Holds what the server has against the journal.
pub fn check(connection: &mut Connection, recorded: &Recorded) -> Result<Findings, Failure> {
    let total: u64 = recorded.clients.iter().map(|client| client.sent).sum();
    let mut check = Check {
        connection,
        plan: &recorded.plan,
        end: recorded.lost_at.unwrap_or(recorded.last_at),
        knows_all_sent: recorded.torn_bytes == 0,
        findings: Findings::default(),
        progress: Progress::new("Checking", total, Unit::Count),
        done: 0,
    };
    let outcome = (0..)
        .zip(&recorded.clients)
        .try_for_each(|(number, client)| check.client(number, client))
        .and_then(|()| check.strange_keys(&recorded.clients));
    match outcome {
        Ok(()) => Ok(check.findings),
        Err(error) => Err(Failure::new(format!(
            "the check could not be completed: {error}"
        ))),
    }
}

struct Check<'a> {
    connection: &'a mut Connection,
    plan: &'a Plan,
    /// When the server was last known to be well, on the journal's clock.
    end: u64,
    /// A journal without its end does not say what more was sent.
    knows_all_sent: bool,
    findings: Findings,
    progress: Progress,
    done: u64,
}

impl Check<'_> {
    fn client(&mut self, number: u32, client: &Client) -> io::Result<()> {
        self.findings.acked += client.acked_count();
        let before = self.done;
        match self.plan.mode_of(number) {
            Mode::Incr => self.counter(number, client)?,
            Mode::List => {
                let present = self.list(number, client)?;
                self.judge(number, client, &present);
            }
            Mode::Set | Mode::Multi | Mode::Mixed => {
                let present = self.records(number, client)?;
                self.judge(number, client, &present);
            }
        }
        self.done = before + client.sent;
        self.progress.set(self.done);
        Ok(())
    }

    /// The records of a client that are there, by their keys.
    fn records(&mut self, number: u32, client: &Client) -> io::Result<Vec<u64>> {
        let mut present = Vec::new();
        let parts = self.plan.parts(number);
        let mut from = 1;
        while from <= client.sent {
            let to = client.sent.min(from + WINDOW - 1);
            let mut requests = Vec::new();
            for record in from..=to {
                for part in 0..parts {
                    push_command(
                        &mut requests,
                        &["GET", &self.plan.key(number, record, part)],
                    );
                }
            }
            self.connection.send(&requests)?;
            for record in from..=to {
                let mut found = 0;
                for part in 0..parts {
                    let Some(value) = bulk(self.connection.receive()?)? else {
                        continue;
                    };
                    found += 1;
                    if value != self.plan.value(number, record, part) {
                        self.wrong(self.plan.key(number, record, part), &value);
                    }
                }
                if found > 0 {
                    present.push(record);
                }
                if (1..parts).contains(&found) {
                    self.findings.torn += 1;
                    let name = self.plan.key(number, record, 0);
                    self.findings
                        .example(|| format!("torn: {found} of {parts} keys of {name} are there"));
                }
            }
            self.progress.set(self.done + to);
            from = to + 1;
        }
        Ok(present)
    }

    /// The records of a client that are in its list, sorted.
    fn list(&mut self, number: u32, client: &Client) -> io::Result<Vec<u64>> {
        let key = self.plan.key(number, 0, 0);
        let mut present: Vec<u64> = Vec::new();
        let mut from = 0;
        loop {
            let (first, last) = (from.to_string(), (from + PAGE - 1).to_string());
            let elements = match self.connection.call(&["LRANGE", &key, &first, &last])? {
                Reply::Array(Some(elements)) => elements,
                reply => return Err(unexpected(&reply)),
            };
            let count = elements.len() as u64;
            for element in elements {
                let element = bulk(element)?.unwrap_or_default();
                let digits = element
                    .split(|&byte| byte == b'.')
                    .next()
                    .unwrap_or_default();
                let record = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| digits.parse::<u64>().ok());
                match record {
                    Some(record) if element == self.plan.value(number, record, 0) => {
                        if let Some(&before) = present.last()
                            && record < before
                        {
                            self.findings.reordered += 1;
                            self.findings.example(|| {
                                format!("reordered: {record} behind {before} in {key}")
                            });
                        }
                        present.push(record);
                    }
                    _ => self.wrong(key.clone(), &element),
                }
            }
            self.progress
                .set(self.done + (from + count).min(client.sent));
            from += count;
            if count < PAGE {
                break;
            }
        }
        present.sort_unstable();
        for pair in present.windows(2) {
            if pair[0] == pair[1] {
                self.phantom(1, || format!("{} is twice in {key}", pair[0]));
            }
        }
        present.dedup();
        Ok(present)
    }

    /// A counter says only how many.
    fn counter(&mut self, number: u32, client: &Client) -> io::Result<()> {
        let key = self.plan.key(number, 0, 0);
        let counted = match bulk(self.connection.call(&["GET", &key])?)? {
            None => 0,
            Some(text) => {
                let count = std::str::from_utf8(&text)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok());
                let Some(count) = count else {
                    self.wrong(key, &text);
                    return Ok(());
                };
                count
            }
        };
        self.findings.present += counted.min(client.sent);
        if counted > client.sent {
            let extra = counted - client.sent;
            self.phantom(extra, || format!("{key} is {extra} more than was sent"));
        }
        let acked = client.acked_count();
        if counted < acked {
            self.findings.missing += acked - counted;
            self.findings
                .example(|| format!("missing: {key} is {counted}, {acked} were acknowledged"));
            // Which of them, it does not say: the last ones, if the order was kept.
            let mut before = 0;
            for range in &client.acked {
                before += range.to - range.from + 1;
                if before > counted {
                    self.age(range.at);
                }
            }
        }
        Ok(())
    }

    /// Holds the records that are there, in ascending order, against those that were acknowledged.
    fn judge(&mut self, number: u32, client: &Client, present: &[u64]) {
        let sent = present.partition_point(|&record| record <= client.sent);
        self.findings.present += sent as u64;
        for &record in &present[sent..] {
            let key = self.plan.key(number, record, 0);
            self.phantom(1, || format!("record {record} ({key}) was never sent"));
        }
        let last = present[..sent].last().copied().unwrap_or_default();
        let mut rest = present;
        for &Acked { from, to, at } in &client.acked {
            for record in from..=to {
                let passed = rest.iter().take_while(|&&other| other < record).count();
                rest = &rest[passed..];
                if rest.first() == Some(&record) {
                    continue;
                }
                self.findings.missing += 1;
                self.age(at);
                let is_before_another = record < last;
                self.findings.reordered += u64::from(is_before_another);
                let key = self.plan.key(number, record, 0);
                self.findings.example(|| {
                    if is_before_another {
                        format!("missing: record {record} ({key}), though record {last} is there")
                    } else {
                        format!("missing: record {record} ({key})")
                    }
                });
            }
        }
    }

    fn phantom(&mut self, count: u64, text: impl FnOnce() -> String) {
        if self.knows_all_sent {
            self.findings.phantom += count;
            self.findings.example(|| format!("phantom: {}", text()));
        }
    }

    /// Notes that something is missing which was acknowledged then.
    fn age(&mut self, at: u64) {
        let age = self.end.saturating_sub(at) / 1000;
        let findings = &mut self.findings;
        findings.oldest_missing_ms = findings.oldest_missing_ms.max(Some(age));
        findings.newest_missing_ms = Some(
            findings
                .newest_missing_ms
                .map_or(age, |newest| newest.min(age)),
        );
    }

    fn wrong(&mut self, key: String, value: &[u8]) {
        self.findings.wrong += 1;
        let start = &value[..value.len().min(40)];
        self.findings
            .example(|| format!("wrong: {key} holds '{}'", start.escape_ascii()));
    }

    /// Looks for keys of this run that it never wrote.
    fn strange_keys(&mut self, clients: &[Client]) -> io::Result<()> {
        let pattern = format!("{}*", self.plan.prefix);
        let mut strange = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        loop {
            let words = [
                b"SCAN",
                &cursor[..],
                b"MATCH",
                pattern.as_bytes(),
                b"COUNT",
                b"1000",
            ];
            let Reply::Array(Some(parts)) = self.connection.call(&words)? else {
                return Err(io::Error::other("no answer to SCAN"));
            };
            let mut parts = parts.into_iter();
            let (Some(Reply::Bulk(Some(next))), Some(Reply::Array(Some(keys)))) =
                (parts.next(), parts.next())
            else {
                return Err(io::Error::other("a strange answer to SCAN"));
            };
            for key in keys {
                let key = bulk(key)?.unwrap_or_default();
                if !self.is_written(&key, clients) && strange.len() < STRANGE_KEYS_MAX {
                    strange.insert(key);
                }
            }
            if next == b"0" {
                break;
            }
            cursor = next;
        }
        for key in strange {
            self.phantom(1, || format!("the key '{}'", key.escape_ascii()));
        }
        Ok(())
    }

    /// Whether a key is one that was sent.
    fn is_written(&self, key: &[u8], clients: &[Client]) -> bool {
        let parsed = key
            .strip_prefix(self.plan.prefix.as_bytes())
            .and_then(|rest| std::str::from_utf8(rest).ok())
            .and_then(|rest| {
                let mut words = rest.split(':');
                let number: u32 = words.next()?.parse().ok()?;
                let record = words
                    .next()
                    .map_or(0, |word| word.parse().unwrap_or_default());
                let part = words.next().map_or(Ok(0), str::parse).ok()?;
                Some((number, record, part))
            });
        let Some((number, record, part)) = parsed else {
            return false;
        };
        let is_sent = clients
            .get(number as usize)
            .is_some_and(|client| client.sent > 0 && record <= client.sent);
        let is_shared = matches!(self.plan.mode_of(number), Mode::Incr | Mode::List);
        is_sent
            && (record > 0 || is_shared)
            && part < self.plan.parts(number)
            && self.plan.key(number, record, part).as_bytes() == key
    }
}

/// The string in a reply; none for a null.
fn bulk(reply: Reply) -> io::Result<Option<Vec<u8>>> {
    match reply {
        Reply::Bulk(bytes) => Ok(bytes),
        reply => Err(unexpected(&reply)),
    }
}

fn unexpected(reply: &Reply) -> io::Error {
    io::Error::other(match reply {
        Reply::Error(error) => format!("the server answered {error}"),
        other => format!("the server answered {other:?}"),
    })
}
