//! Writing: one thread for each connection, until the connection is lost or enough has been written.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::connection::{Connection, Reply, Target};
use super::journal::{Event, Journal};
use super::plan::{Plan, ServerInfo};
use crate::tools::Failure;
use crate::tools::progress::{Progress, Unit};

/// When to stop, if the connections are not lost before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so many records of all clients.
    pub records: Option<u64>,
    /// After so long.
    pub time: Option<Duration>,
}

/// How the writing went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Written {
    /// Records that were sent.
    pub sent: u64,
    /// Records that were acknowledged.
    pub acked: u64,
    /// Records that were answered with an error, by the first word of that.
    pub refused: BTreeMap<String, u64>,
    /// Records without an answer.
    pub unanswered: u64,
    /// Why the first connection was lost, if one was.
    pub connection_lost: Option<String>,
    /// Seconds.
    pub seconds: f64,
}

/// Errors of more kinds than this are counted together.
const KINDS_MAX: usize = 50;
/// After records that were all refused; the server may be loading, or its disk full.
const PAUSE_WHEN_REFUSED: Duration = Duration::from_millis(10);

/// What the threads share.
struct Shared<'a> {
    plan: &'a Plan,
    journal: Journal,
    progress: Progress,
    limits: Limits,
    began: Instant,
    /// Records given out.
    taken: AtomicU64,
    acked: AtomicU64,
    unanswered: AtomicU64,
    is_over: AtomicBool,
    refused: Mutex<BTreeMap<String, u64>>,
    lost: Mutex<Option<String>>,
}

/// Writes, and keeps the journal.
pub fn write(
    plan: &mut Plan,
    target: &Target,
    limits: Limits,
    journal: &Path,
) -> Result<Written, Failure> {
    let mut connections = Vec::new();
    for _ in 0..plan.clients {
        connections.push(Connection::open(target).map_err(|error| {
            Failure::new(format!(
                "can't connect to {}:{}: {error}",
                target.host, target.port
            ))
        })?);
    }
    if let Some(first) = connections.first_mut() {
        plan.server = ask(first)
            .map_err(|error| Failure::new(format!("the server does not answer: {error}")))?;
    }
    let shared = Shared {
        plan,
        journal: Journal::create(journal, plan)?,
        progress: Progress::new("Writing", limits.records.unwrap_or_default(), Unit::Count),
        limits,
        began: Instant::now(),
        taken: AtomicU64::new(0),
        acked: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        refused: Mutex::default(),
        lost: Mutex::default(),
    };
    let failed = |error: io::Error| {
        Failure::new(format!(
            "can't write the journal {}: {error}",
            journal.display()
        ))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = connections
            .into_iter()
            .zip(0..)
            .map(|(connection, client)| {
                let shared = &shared;
                std::thread::Builder::new()
                    .name(format!("client {client}"))
                    .stack_size(256 * 1024)
                    .spawn_scoped(scope, move || shared.run(connection, client))
            })
            .collect();
        let mut outcome = Ok(());
        for thread in threads {
            let ended = match thread {
                // The release build ends with a panic; elsewhere it goes on here.
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(error) => {
                    shared.is_over.store(true, Ordering::Relaxed);
                    Err(io::Error::new(
                        error.kind(),
                        format!("a thread can't start: {error}"),
                    ))
                }
            };
            outcome = outcome.and(ended);
        }
        outcome
    })
    .map_err(failed)?;
    let refused = shared.refused.into_inner();
    shared.journal.end(&refused).map_err(failed)?;
    Ok(Written {
        sent: shared.taken.into_inner(),
        acked: shared.acked.into_inner(),
        refused,
        unanswered: shared.unanswered.into_inner(),
        connection_lost: shared.lost.into_inner(),
        seconds: shared.began.elapsed().as_secs_f64(),
    })
}

impl Shared<'_> {
    /// Writes as one client. An error is one of the journal.
    fn run(&self, mut connection: Connection, client: u32) -> io::Result<()> {
        let written = self.write_batches(&mut connection, client);
        if written.is_err() {
            // Without a journal it makes no sense to go on.
            self.is_over.store(true, Ordering::Relaxed);
        }
        written
    }

    fn write_batches(&self, connection: &mut Connection, client: u32) -> io::Result<()> {
        let mut sent = 0;
        let mut requests = Vec::new();
        loop {
            let count = self.take_batch();
            if count == 0 {
                return Ok(());
            }
            requests.clear();
            for number in sent + 1..=sent + count {
                self.plan.push_record(&mut requests, client, number);
            }
            self.journal
                .note(Event::Sent, client, sent + count, self.journal.now())?;
            let mut batch = Batch::default();
            let outcome = connection
                .send(&requests)
                .and_then(|()| self.read_replies(connection, client, sent, count, &mut batch));
            for run in &batch.runs {
                let event = if run.is_acked {
                    Event::Acked
                } else {
                    Event::Refused
                };
                self.journal.note(event, client, run.to, run.at)?;
            }
            self.acked.fetch_add(batch.acked, Ordering::Relaxed);
            self.unanswered
                .fetch_add(count - batch.answered, Ordering::Relaxed);
            self.progress.set(self.acked.load(Ordering::Relaxed));
            sent += count;
            if let Err(error) = outcome {
                self.is_over.store(true, Ordering::Relaxed);
                self.lost.lock().get_or_insert_with(|| error.to_string());
                return self
                    .journal
                    .note(Event::Lost, client, sent, self.journal.now());
            }
            if batch.acked == 0 {
                std::thread::sleep(PAUSE_WHEN_REFUSED);
            }
        }
    }

    /// How many records to send next; 0 at the end.
    fn take_batch(&self) -> u64 {
        let is_late = self
            .limits
            .time
            .is_some_and(|time| self.began.elapsed() >= time);
        if is_late || self.is_over.load(Ordering::Relaxed) {
            return 0;
        }
        let most = u64::from(self.plan.pipeline);
        let Some(records) = self.limits.records else {
            self.taken.fetch_add(most, Ordering::Relaxed);
            return most;
        };
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                Some(taken + most.min(records - taken))
            });
        taken.map_or(0, |before| most.min(records - before))
    }

    fn read_replies(
        &self,
        connection: &mut Connection,
        client: u32,
        sent: u64,
        count: u64,
        batch: &mut Batch,
    ) -> io::Result<()> {
        for number in sent + 1..=sent + count {
            let mut refusal = None;
            let mut at = 0;
            for _ in 0..self.plan.replies(client) {
                let reply = connection.receive()?;
                at = self.journal.now();
                refusal = refusal.or(refusal_in(reply));
            }
            batch.answered += 1;
            batch.acked += u64::from(refusal.is_none());
            batch.add(number, refusal.is_none(), at);
            if let Some(kind) = refusal {
                let mut refused = self.refused.lock();
                let kind = if refused.len() < KINDS_MAX || refused.contains_key(&kind) {
                    kind
                } else {
                    "others".to_owned()
                };
                *refused.entry(kind).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// The answers to what was sent at once.
#[derive(Default)]
struct Batch {
    runs: Vec<Run>,
    answered: u64,
    acked: u64,
}

/// Records in a row that were answered alike.
struct Run {
    to: u64,
    is_acked: bool,
    /// When the first of them was.
    at: u64,
}

impl Batch {
    fn add(&mut self, number: u64, is_acked: bool, at: u64) {
        match self.runs.last_mut() {
            Some(run) if run.is_acked == is_acked => run.to = number,
            _ => self.runs.push(Run {
                to: number,
                is_acked,
                at,
            }),
        }
    }
}

/// The first word of an error in a reply. A transaction that was not carried out is one, too.
fn refusal_in(reply: Reply) -> Option<String> {
    match reply {
        Reply::Error(text) => {
            let word = text.split(' ').next().unwrap_or_default();
            Some(word.chars().take(40).collect())
        }
        Reply::Array(None) | Reply::Bulk(None) => Some("null".to_owned()),
        Reply::Array(Some(elements)) => elements.into_iter().find_map(refusal_in),
        Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(Some(_)) => None,
    }
}

/// Asks a server about itself; what it does not tell stays unknown.
pub fn ask(connection: &mut Connection) -> io::Result<ServerInfo> {
    if let Reply::Error(error) = connection.call(&["PING"])? {
        return Err(io::Error::other(error));
    }
    let mut info = ServerInfo::default();
    if let Reply::Bulk(Some(text)) = connection.call(&["INFO", "server"])? {
        let text = String::from_utf8_lossy(&text);
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
        };
        info.redis_version = field("redis_version:");
        info.run_id = field("run_id:");
    }
    let mut setting = |name: &str| -> io::Result<Option<String>> {
        Ok(match connection.call(&["CONFIG", "GET", name])? {
            Reply::Array(Some(pair)) => match pair.into_iter().nth(1) {
                Some(Reply::Bulk(Some(value))) => {
                    Some(String::from_utf8_lossy(&value).into_owned())
                }
                _ => None,
            },
            _ => None,
        })
    };
    info.appendonly = setting("appendonly")?;
    info.appendfsync = setting("appendfsync")?;
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_inside_transactions_and_empty_ones_are_no_acknowledgements() {
        let error = |text: &str| Reply::Error(text.to_owned());
        let ok = || Reply::Status("OK".to_owned());
        assert_eq!(refusal_in(ok()), None);
        assert_eq!(refusal_in(Reply::Integer(1)), None);
        assert_eq!(
            refusal_in(error("MISCONF Errors writing")),
            Some("MISCONF".into())
        );
        assert_eq!(refusal_in(Reply::Array(None)), Some("null".into()));
        assert_eq!(refusal_in(Reply::Array(Some(vec![ok(), ok()]))), None);
        assert_eq!(
            refusal_in(Reply::Array(Some(vec![ok(), error("OOM command")]))),
            Some("OOM".into())
        );
    }

    #[test]
    fn answers_in_a_row_are_noted_together() {
        let mut batch = Batch::default();
        for (number, is_acked) in [(1, true), (2, true), (3, false), (4, true)] {
            batch.add(number, is_acked, number * 10);
        }
        let runs: Vec<_> = batch
            .runs
            .iter()
            .map(|run| (run.to, run.is_acked, run.at))
            .collect();
        assert_eq!(runs, [(2, true, 10), (3, false, 30), (4, true, 40)]);
    }
}
