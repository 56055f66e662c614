//! The journal: what was sent, and what was acknowledged.
//!
//! ```text
//! "HTACKS1\n" <entry>...
//! entry = <u32 LE length of the payload> <u8 kind> <payload> <u32 LE CRC-32 of everything before it in the file, but for
//!                                                            the other checksums>
//!
//! kind  payload
//! 1     JSON: the plan; the first entry, and no other
//! 2     <u32 client> <u64 n> <u64 µs>    records up to n are about to be sent
//! 3     the same                         records after the last of 3, 4 up to n were acknowledged, the first of them then
//! 4     the same                         ... were answered with an error
//! 5     the same                         the connection was lost; n is the last record sent
//! 6     <u64 µs>                         the writing has ended
//! 7     JSON: how often each kind of error came
//! ```
//!
//! Times are microseconds since the journal was made, by a clock that nobody sets. Each entry is one `write` of the whole,
//! in the order in which things happened: a record is in the journal before its first byte is sent, and its
//! acknowledgement after the reply was read. So a killed tool leaves a journal that claims too little and never too
//! much. It is not synced while it grows: a journal on a machine that loses its power may lose its end, and with it what
//! was sent last.
//!
//! An incomplete entry at the end is what a full disk or a power cut leaves, and is passed over. Anything else that does
//! not fit its checksum is damage: entries that were changed, removed or exchanged do not fit.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;

use super::plan::Plan;
use crate::tools::Failure;

const MAGIC: &[u8] = b"HTACKS1\n";
const HEAD_LEN: usize = 5;
const SUM_LEN: usize = 4;
const EVENT_LEN: usize = 20;
const JSON_LEN_MAX: usize = 64 * 1024;

mod kind {
    pub const PLAN: u8 = 1;
    pub const SENT: u8 = 2;
    pub const ACKED: u8 = 3;
    pub const REFUSED: u8 = 4;
    pub const LOST: u8 = 5;
    pub const ENDED: u8 = 6;
    pub const ERRORS: u8 = 7;
}

/// What became of records up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// They are about to be sent.
    Sent,
    /// They were acknowledged.
    Acked,
    /// They were answered with an error.
    Refused,
    /// Nothing more is known, for the connection is lost.
    Lost,
}

impl Event {
    fn kind(self) -> u8 {
        match self {
            Event::Sent => kind::SENT,
            Event::Acked => kind::ACKED,
            Event::Refused => kind::REFUSED,
            Event::Lost => kind::LOST,
        }
    }
}

/// A journal that is being written, by any number of threads.
pub struct Journal {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    file: File,
    sum: crc32fast::Hasher,
    entry: Vec<u8>,
}

impl Journal {
    /// Creates a journal; there must be none of that name.
    pub fn create(path: &Path, plan: &Plan) -> Result<Journal, Failure> {
        let failed = |error: io::Error| {
            Failure::new(format!(
                "can't create the journal {}: {error}",
                path.display()
            ))
        };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        (&file).write_all(MAGIC).map_err(failed)?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(MAGIC);
        let journal = Journal {
            began: Instant::now(),
            state: Mutex::new(State {
                file,
                sum,
                entry: Vec::new(),
            }),
        };
        let plan = serde_json::to_vec(plan).map_err(|error| failed(error.into()))?;
        journal.append(kind::PLAN, &plan).map_err(failed)?;
        Ok(journal)
    }

    /// Microseconds since the journal was made.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Notes an event that happened `at`.
    pub fn note(&self, event: Event, client: u32, number: u64, at: u64) -> io::Result<()> {
        let mut payload = [0; EVENT_LEN];
        payload[..4].copy_from_slice(&client.to_le_bytes());
        payload[4..12].copy_from_slice(&number.to_le_bytes());
        payload[12..].copy_from_slice(&at.to_le_bytes());
        self.append(event.kind(), &payload)
    }

    /// Notes the end, and makes the journal durable.
    pub fn end(&self, errors: &BTreeMap<String, u64>) -> io::Result<()> {
        self.append(kind::ERRORS, &serde_json::to_vec(errors)?)?;
        self.append(kind::ENDED, &self.now().to_le_bytes())?;
        self.state.lock().file.sync_all()
    }

    fn append(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let State { file, sum, entry } = &mut *state;
        entry.clear();
        entry.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        entry.push(kind);
        entry.extend_from_slice(payload);
        sum.update(entry);
        entry.extend_from_slice(&sum.clone().finalize().to_le_bytes());
        file.write_all(entry)
    }
}

/// What a journal says.
#[derive(Debug)]
pub struct Recorded {
    /// What was to be written.
    pub plan: Plan,
    /// By number of the client.
    pub clients: Vec<Client>,
    /// When the first connection was lost, if one was.
    pub lost_at: Option<u64>,
    /// When the last thing happened that the journal knows of.
    pub last_at: u64,
    /// Whether the writing came to its end; otherwise the tool was killed.
    pub has_ended: bool,
    /// How often each kind of error came.
    pub errors: BTreeMap<String, u64>,
    /// Bytes of an incomplete entry at the end.
    pub torn_bytes: u64,
}

/// What a journal says of one client.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The last record that was sent, or about to be.
    pub sent: u64,
    /// Acknowledged records, ascending.
    pub acked: Vec<Acked>,
    /// Records that were answered with an error.
    pub refused: u64,
    /// The last record whose answer is known.
    answered: u64,
}

impl Client {
    /// How many records were acknowledged.
    pub fn acked_count(&self) -> u64 {
        self.acked
            .iter()
            .map(|range| range.to - range.from + 1)
            .sum()
    }
}

/// Records that were acknowledged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The first one,
    pub from: u64,
    /// and the last one.
    pub to: u64,
    /// When the reply to the first one was read.
    pub at: u64,
}

/// Reads a journal.
///
/// # Errors
/// If it cannot be read, is no journal, or is damaged anywhere but at its end.
pub fn read(path: &Path) -> Result<Recorded, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(format!("can't read {}: {error}", path.display())))?;
    parse(&bytes).map_err(|Flaw { offset, what }| {
        Failure::new(format!("{}, offset {offset}: {what}", path.display()))
    })
}

/// What is wrong with a journal.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    offset: usize,
    what: &'static str,
}

fn parse(bytes: &[u8]) -> Result<Recorded, Flaw> {
    let flaw = |offset, what| Flaw { offset, what };
    let Some(mut rest) = bytes.strip_prefix(MAGIC) else {
        return Err(flaw(0, "this is no journal of verify-acks"));
    };
    let mut sum = crc32fast::Hasher::new();
    sum.update(MAGIC);
    let mut recorded: Option<Recorded> = None;
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_LEN>() {
        let offset = bytes.len() - rest.len();
        let [a, b, c, d, kind] = *head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        // A wrong length would pass for the last entry of a torn journal.
        let is_possible = match kind {
            kind::SENT..=kind::LOST => len == EVENT_LEN,
            kind::ENDED => len == 8,
            kind::PLAN | kind::ERRORS => len <= JSON_LEN_MAX,
            _ => false,
        };
        if !is_possible {
            return Err(flaw(
                offset,
                "an entry makes no sense: the journal is damaged",
            ));
        }
        let Some((payload, after)) = after.split_at_checked(len) else {
            break;
        };
        let Some((stored, after)) = after.split_first_chunk::<SUM_LEN>() else {
            break;
        };
        sum.update(head);
        sum.update(payload);
        let found = sum.clone().finalize();
        if found != u32::from_le_bytes(*stored) {
            return Err(flaw(
                offset,
                "an entry does not fit its checksum: the journal is damaged",
            ));
        }
        match (&mut recorded, kind) {
            (None, kind::PLAN) => {
                recorded =
                    Some(begin(payload).ok_or_else(|| flaw(offset, "the plan makes no sense"))?)
            }
            (None, _) => return Err(flaw(offset, "the plan is missing")),
            (Some(recorded), kind) => take(recorded, kind, payload)
                .ok_or_else(|| flaw(offset, "an entry makes no sense"))?,
        }
        rest = after;
    }
    let mut recorded = recorded.ok_or_else(|| flaw(MAGIC.len(), "nothing was written"))?;
    recorded.torn_bytes = rest.len() as u64;
    Ok(recorded)
}

fn begin(payload: &[u8]) -> Option<Recorded> {
    let plan: Plan = serde_json::from_slice(payload).ok()?;
    if !plan.is_sound() {
        return None;
    }
    Some(Recorded {
        clients: vec![Client::default(); plan.clients as usize],
        plan,
        lost_at: None,
        last_at: 0,
        has_ended: false,
        errors: BTreeMap::new(),
        torn_bytes: 0,
    })
}

/// Takes an entry behind the plan; none if it makes no sense.
fn take(recorded: &mut Recorded, kind: u8, payload: &[u8]) -> Option<()> {
    match kind {
        kind::ENDED => {
            recorded.has_ended = true;
            recorded.last_at = recorded
                .last_at
                .max(u64::from_le_bytes(payload.try_into().ok()?));
            return Some(());
        }
        kind::ERRORS => {
            recorded.errors = serde_json::from_slice(payload).ok()?;
            return Some(());
        }
        kind::SENT..=kind::LOST => {}
        _ => return None,
    }
    let payload: &[u8; EVENT_LEN] = payload.try_into().ok()?;
    let (client, rest) = payload.split_first_chunk::<4>()?;
    let (number, at) = rest.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    let at = u64::from_le_bytes(at.try_into().ok()?);
    let client = recorded
        .clients
        .get_mut(u32::from_le_bytes(*client) as usize)?;
    recorded.last_at = recorded.last_at.max(at);
    match kind {
        kind::SENT if number >= client.sent => client.sent = number,
        kind::LOST => {
            recorded.lost_at = Some(recorded.lost_at.map_or(at, |before| before.min(at)));
        }
        kind::ACKED | kind::REFUSED if client.answered < number && number <= client.sent => {
            let from = client.answered + 1;
            client.answered = number;
            if kind == kind::ACKED {
                client.acked.push(Acked {
                    from,
                    to: number,
                    at,
                });
            } else {
                client.refused += number - from + 1;
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A journal of two clients, and where its entries begin.
    fn sample() -> (Vec<u8>, Vec<usize>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = Journal::create(&path, &Plan::sample()).unwrap();
        for (event, client, number, at) in [
            (Event::Sent, 0, 3, 10),
            (Event::Sent, 1, 2, 11),
            (Event::Acked, 0, 2, 20),
            (Event::Refused, 0, 3, 21),
            (Event::Acked, 1, 1, 30),
            (Event::Lost, 1, 2, 40),
        ] {
            journal.note(event, client, number, at).unwrap();
        }
        journal
            .end(&BTreeMap::from([("MISCONF".into(), 1)]))
            .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut starts = vec![MAGIC.len()];
        while let Some(&start) = starts.last()
            && start < bytes.len()
        {
            let len = u32::from_le_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
            starts.push(start + HEAD_LEN + len + SUM_LEN);
        }
        (bytes, starts)
    }

    #[test]
    fn what_was_noted_is_read() {
        let (bytes, _) = sample();
        let recorded = parse(&bytes).unwrap();
        let [first, second, ..] = &recorded.clients[..] else {
            panic!("{recorded:?}")
        };
        let acked = |from, to, at| vec![Acked { from, to, at }];
        assert_eq!(
            (first.sent, &first.acked, first.refused),
            (3, &acked(1, 2, 20), 1)
        );
        assert_eq!(
            (second.sent, &second.acked, second.acked_count()),
            (2, &acked(1, 1, 30), 1)
        );
        assert_eq!((recorded.lost_at, recorded.has_ended), (Some(40), true));
        assert_eq!(recorded.errors["MISCONF"], 1);
        assert_eq!(recorded.torn_bytes, 0);
    }

    #[test]
    fn cut_anywhere_it_claims_less_or_nothing() {
        let (bytes, starts) = sample();
        for end in 0..bytes.len() {
            match parse(&bytes[..end]) {
                Ok(recorded) => {
                    let torn = end - starts.iter().rev().find(|&&start| start <= end).unwrap();
                    assert_eq!(recorded.torn_bytes, torn as u64);
                    assert!(recorded.clients[0].acked_count() <= 2);
                }
                Err(flaw) => assert!(end < starts[1], "{end}: {flaw:?}"),
            }
        }
    }

    #[test]
    fn entries_that_were_changed_removed_or_exchanged_are_noticed() {
        let (bytes, starts) = sample();
        let is_damage = |bytes: &[u8]| match parse(bytes) {
            // A length that points behind the end looks like an entry that was torn.
            Ok(recorded) => recorded.torn_bytes > 0,
            Err(_) => true,
        };
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(is_damage(&changed), "{at}");
        }
        for pair in starts.windows(3) {
            let [first, second, end] = *pair else {
                unreachable!()
            };
            let (before, after) = (&bytes[..first], &bytes[end..]);
            let removed = [before, &bytes[second..end], after].concat();
            assert!(parse(&removed).is_err());
            let exchanged = [before, &bytes[second..end], &bytes[first..second], after].concat();
            assert!(parse(&exchanged).is_err());
        }
    }
}
