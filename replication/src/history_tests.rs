//! The rules of histories: the table row by row, a story, and random sequences of events.

use std::collections::HashMap;
use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// An id whose digits are all the same.
fn id(digit: char) -> Replid {
    Replid::parse(digit.to_string().repeat(40).as_bytes()).expect("a hexadecimal digit")
}

fn resume(digit: char, from: u64) -> Ask {
    Ask::Resume {
        replid: id(digit),
        from: Lsn(from),
        psync2: true,
    }
}

/// In `b`, which was `a` up to 700; 500..900 is kept.
fn promoted() -> (History, Retained) {
    let mut history = History::begin(id('a'));
    assert_eq!(history.promote(Lsn(700), id('b')), Feeds::End);
    let retained = Retained {
        first: Lsn(500),
        end: Lsn(900),
    };
    (history, retained)
}

/// One row for each answer that a replica can get.
#[test]
fn verdict_of_every_row() {
    let (history, retained) = promoted();
    let from = Lsn;
    let full = |reason| Verdict::FullSync { reason };
    let old_replica = Ask::Resume {
        replid: id('a'),
        from: Lsn(600),
        psync2: false,
    };
    let rows = [
        (
            "asks_for_everything",
            Ask::Everything,
            full(FullSyncReason::Asked),
        ),
        (
            "unknown_id",
            resume('c', 600),
            full(FullSyncReason::UnknownHistory),
        ),
        (
            "same_id",
            resume('b', 800),
            Verdict::Continue { from: from(800) },
        ),
        (
            "same_id_at_the_end",
            resume('b', 900),
            Verdict::Continue { from: from(900) },
        ),
        (
            "same_id_ahead",
            resume('b', 901),
            full(FullSyncReason::Ahead { end: Lsn(900) }),
        ),
        (
            "same_id_first_kept_byte",
            resume('b', 500),
            Verdict::Continue { from: from(500) },
        ),
        (
            "same_id_before_what_is_kept",
            resume('b', 499),
            full(FullSyncReason::NotRetained { first: Lsn(500) }),
        ),
        (
            "older_id",
            resume('a', 600),
            Verdict::ContinueNewId { from: from(600) },
        ),
        (
            "older_id_where_it_was_left",
            resume('a', 700),
            Verdict::ContinueNewId { from: from(700) },
        ),
        (
            "older_id_beyond",
            resume('a', 701),
            full(FullSyncReason::Diverged {
                valid_up_to: Lsn(700),
            }),
        ),
        (
            "older_id_before_what_is_kept",
            resume('a', 499),
            full(FullSyncReason::NotRetained { first: Lsn(500) }),
        ),
        (
            "older_id_of_a_replica_without_psync2",
            old_replica,
            full(FullSyncReason::CannotChangeId),
        ),
    ];
    for (name, ask, expected) in rows {
        assert_eq!(history.verdict(&ask, retained), expected, "{name}");
    }
}

/// One row for each event of the header's table: what the history was `a` (older `f` up to 50), the stream ends at 80.
#[test]
fn history_after_every_event() {
    let restart = |role, ended| Restart {
        role,
        ended,
        end: Lsn(80),
        new_replid: id('b'),
    };
    type Event = Box<dyn Fn(&mut History) -> Feeds>;
    type After = (char, Option<(char, u64)>, Feeds);
    let come_back = |role, ended| -> Event {
        Box::new(move |h| {
            h.restart(restart(role, ended));
            Feeds::GoOn
        })
    };
    let rows: Vec<(&str, Event, After)> = vec![
        (
            "promote",
            Box::new(|h| h.promote(Lsn(80), id('b'))),
            ('b', Some(('a', 80)), Feeds::End),
        ),
        (
            "adopt_unrelated",
            Box::new(|h| h.adopt(id('b'))),
            ('b', None, Feeds::End),
        ),
        (
            "adopt_the_same",
            Box::new(|h| h.adopt(id('a'))),
            ('a', None, Feeds::End),
        ),
        (
            "follow_same_id",
            Box::new(|h| h.follow(id('a'), Lsn(80))),
            ('a', Some(('f', 50)), Feeds::GoOn),
        ),
        (
            "follow_new_id",
            Box::new(|h| h.follow(id('b'), Lsn(80))),
            ('b', Some(('a', 80)), Feeds::End),
        ),
        (
            "restart_of_a_primary_that_ended_cleanly",
            come_back(Role::Primary, Ended::Cleanly),
            ('a', Some(('f', 50)), Feeds::GoOn),
        ),
        (
            "restart_of_a_primary_that_may_have_lost_a_tail",
            come_back(Role::Primary, Ended::Uncleanly),
            ('b', Some(('a', 80)), Feeds::GoOn),
        ),
        (
            "restart_of_a_replica_that_ended_cleanly",
            come_back(Role::Replica, Ended::Cleanly),
            ('a', Some(('f', 50)), Feeds::GoOn),
        ),
        (
            "restart_of_a_replica_that_may_have_lost_a_tail",
            come_back(Role::Replica, Ended::Uncleanly),
            ('a', Some(('f', 50)), Feeds::GoOn),
        ),
    ];
    for (name, event, (replid, older, feeds)) in rows {
        let older_before = Older {
            replid: id('f'),
            valid_up_to: Lsn(50),
        };
        let mut history = History::restore(id('a'), Some(older_before));
        assert_eq!(event(&mut history), feeds, "{name}");
        let older = older.map(|(digit, up_to)| Older {
            replid: id(digit),
            valid_up_to: Lsn(up_to),
        });
        assert_eq!(history, History::restore(id(replid), older), "{name}");
    }
}

/// A demoted primary that wrote on alone: its tail is not taken for its successor's bytes.
#[test]
fn demoted_primary_with_a_tail_of_its_own_gets_full_sync() {
    let (successor, retained) = promoted();
    let demoted = History::begin(id('a'));
    assert_eq!(
        successor.verdict(&demoted.ask(Lsn(720)), retained),
        Verdict::FullSync {
            reason: FullSyncReason::Diverged {
                valid_up_to: Lsn(700)
            }
        }
    );
    assert_eq!(
        successor.verdict(&demoted.ask(Lsn(700)), retained),
        Verdict::ContinueNewId { from: Lsn(700) }
    );
}

#[test]
fn restored_older_history_is_dropped_if_it_is_the_same() {
    let older = Older {
        replid: id('a'),
        valid_up_to: Lsn(5),
    };
    assert_eq!(History::restore(id('a'), Some(older)).older(), None);
}

/// A node of the model: its whole stream, each position with the identity of the byte there.
struct Node {
    name: usize,
    history: History,
    role: Role,
    stream: Vec<u64>,
    /// The first position that it can send.
    first: usize,
    /// The stream up to here survives a crash.
    durable: usize,
    /// The node that a replica is connected to.
    primary: Option<usize>,
}

/// A few nodes, what every (replid, LSN) has ever meant, and a trace of what happened.
struct Model {
    nodes: Vec<Node>,
    meanings: HashMap<(Replid, usize), u64>,
    bytes: u64,
    ids: u64,
    trace: String,
}

impl Model {
    fn new(nodes: usize) -> Model {
        let mut model = Model {
            nodes: Vec::new(),
            meanings: HashMap::new(),
            bytes: 0,
            ids: 0,
            trace: String::new(),
        };
        for name in 0..nodes {
            let replid = model.new_id();
            model.nodes.push(Node {
                name,
                history: History::begin(replid),
                role: Role::Primary,
                stream: Vec::new(),
                first: 0,
                durable: 0,
                primary: None,
            });
        }
        model
    }

    fn new_id(&mut self) -> Replid {
        self.ids += 1;
        Replid::parse(format!("{:040x}", self.ids).as_bytes()).expect("forty digits")
    }

    fn end(&self, node: usize) -> Lsn {
        Lsn(self.nodes[node].stream.len() as u64)
    }

    fn note(&mut self, node: usize, what: &str) {
        let Node {
            name,
            history,
            stream,
            ..
        } = &self.nodes[node];
        let short = |id: Replid| id.as_str().trim_start_matches('0').to_owned();
        let mut line = format!(
            "node {name} {what}: {} to {}",
            short(history.replid()),
            stream.len()
        );
        if let Some(older) = history.older() {
            let _ = write!(line, ", {} to {}", short(older.replid), older.valid_up_to);
        }
        self.trace.push_str(&line);
        self.trace.push('\n');
    }

    /// A primary appends.
    fn write(&mut self, node: usize, count: usize) {
        if self.nodes[node].role != Role::Primary {
            return;
        }
        for _ in 0..count {
            self.bytes += 1;
            self.nodes[node].stream.push(self.bytes);
        }
        self.note(node, "writes");
    }

    /// A node becomes, or goes on as, a replica of another one, and asks it.
    fn connect(&mut self, node: usize, to: usize) {
        if node == to || self.leads_to(to, node) {
            return;
        }
        let ask = self.nodes[node].history.ask(self.end(node));
        let retained = Retained {
            first: Lsn(self.nodes[to].first as u64),
            end: self.end(to),
        };
        let primary = self.nodes[to].history;
        let verdict = primary.verdict(&ask, retained);
        let what = match verdict {
            Verdict::Continue { from } => {
                assert_eq!(
                    (from, primary.replid()),
                    (self.end(node), self.nodes[node].history.replid())
                );
                format!("continues with {to}")
            }
            Verdict::ContinueNewId { from } => {
                let feeds = self.nodes[node].history.follow(primary.replid(), from);
                self.carry_out(node, feeds);
                format!("continues with {to} under its id")
            }
            Verdict::FullSync { reason } => {
                let stream = self.nodes[to].stream.clone();
                let copy = &mut self.nodes[node];
                copy.first = stream.len();
                copy.durable = stream.len();
                copy.stream = stream;
                let feeds = copy.history.adopt(primary.replid());
                self.carry_out(node, feeds);
                format!("copies {to} ({reason})")
            }
        };
        self.nodes[node].role = Role::Replica;
        self.nodes[node].primary = Some(to);
        self.note(node, &what);
    }

    /// Whether following `node`'s primaries leads to `target`.
    fn leads_to(&self, node: usize, target: usize) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if node == target {
                return true;
            }
            at = self.nodes[node].primary;
        }
        false
    }

    /// A replica receives the next bytes, if its connection still stands.
    fn ship(&mut self, node: usize, count: usize) {
        let Some(primary) = self.nodes[node].primary else {
            return;
        };
        let from = self.nodes[node].stream.len();
        let source = &self.nodes[primary].stream;
        let Some(bytes) = source.get(from..source.len().min(from + count)) else {
            return;
        };
        let bytes = bytes.to_vec();
        self.nodes[node].stream.extend(bytes);
        self.note(node, "receives");
    }

    fn carry_out(&mut self, node: usize, feeds: Feeds) {
        if feeds == Feeds::End {
            self.end_feeds(node);
        }
    }

    /// Ends a node's connection to its primary, and those of its replicas.
    fn disconnect(&mut self, node: usize) {
        self.end_feeds(node);
        self.nodes[node].primary = None;
    }

    fn end_feeds(&mut self, node: usize) {
        for replica in 0..self.nodes.len() {
            if self.nodes[replica].primary == Some(node) {
                self.nodes[replica].primary = None;
            }
        }
    }

    fn promote(&mut self, node: usize) {
        if self.nodes[node].role == Role::Primary {
            return;
        }
        let (end, replid) = (self.end(node), self.new_id());
        self.nodes[node].role = Role::Primary;
        self.nodes[node].primary = None;
        let feeds = self.nodes[node].history.promote(end, replid);
        self.carry_out(node, feeds);
        self.note(node, "is promoted");
    }

    /// A node goes down, losing what `lose` says of what is not durable, and comes back.
    fn restart(&mut self, node: usize, ended: Ended, lose: impl FnOnce(usize) -> usize) {
        self.disconnect(node);
        let new_replid = self.new_id();
        let down = &mut self.nodes[node];
        if ended == Ended::Uncleanly {
            let unsynced = down.stream.len() - down.durable;
            down.stream.truncate(down.durable + lose(unsynced));
        }
        down.durable = down.stream.len();
        down.first = down.first.min(down.durable);
        let restart = Restart {
            role: down.role,
            ended,
            end: Lsn(down.stream.len() as u64),
            new_replid,
        };
        down.history.restart(restart);
        self.note(node, "restarts");
    }

    /// Whatever a node claims must be what it has always meant.
    fn check(&mut self, seed: u64) {
        for node in &self.nodes {
            let claims = [
                Some((node.history.replid(), node.stream.len())),
                node.history
                    .older()
                    .map(|older| (older.replid, older.valid_up_to.0 as usize)),
            ];
            for (replid, up_to) in claims.into_iter().flatten() {
                for (lsn, &byte) in node.stream.iter().enumerate().take(up_to) {
                    let meant = *self.meanings.entry((replid, lsn)).or_insert(byte);
                    assert_eq!(
                        meant, byte,
                        "seed {seed}: two meanings of {replid} at {lsn}, on node {}\n{}",
                        node.name, self.trace
                    );
                }
            }
        }
    }
}

/// The invariant, after every event of random sequences of them. `HARDTACK_TEST_ROUNDS` asks for more
/// sequences, `HARDTACK_TEST_SEED` for other ones.
#[test]
fn no_replid_and_lsn_ever_have_two_meanings() {
    let number = |name, default| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = number("HARDTACK_TEST_SEED", 0);
    for seed in first..first + number("HARDTACK_TEST_ROUNDS", 300) {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut model = Model::new(4);
        for _ in 0..120 {
            let node = rng.random_range(0..4);
            match rng.random_range(0..20) {
                0..6 => model.write(node, rng.random_range(1..5)),
                6..11 => model.ship(node, rng.random_range(1..6)),
                11..14 => model.connect(node, rng.random_range(0..4)),
                14 => model.promote(node),
                15 => model.disconnect(node),
                16 => {
                    let node = &mut model.nodes[node];
                    node.durable = rng.random_range(node.durable..=node.stream.len());
                }
                17 => {
                    let node = &mut model.nodes[node];
                    node.first = rng.random_range(node.first..=node.stream.len());
                }
                18 => model.restart(node, Ended::Cleanly, |unsynced| unsynced),
                _ => model.restart(node, Ended::Uncleanly, |unsynced| {
                    rng.random_range(0..=unsynced)
                }),
            }
            model.check(seed);
        }
    }
}

/// A failover as a story: node 1 succeeds node 0, which comes back twice.
#[test]
fn failover_golden_trace() {
    let mut model = Model::new(3);
    model.write(0, 5);
    model.connect(1, 0);
    model.connect(2, 0);
    model.write(0, 5);
    model.ship(1, 4);
    model.ship(2, 5);
    model.promote(1);
    model.write(1, 3);
    model.nodes[0].durable = 8;
    model.restart(0, Ended::Uncleanly, |_| 0);
    model.connect(0, 1);
    model.connect(2, 1);
    model.restart(0, Ended::Cleanly, |unsynced| unsynced);
    model.connect(0, 1);
    model.check(0);
    let expected = "\
node 0 writes: 1 to 5
node 1 copies 0 (the replica's history is not known here): 1 to 5
node 2 copies 0 (the replica's history is not known here): 1 to 5
node 0 writes: 1 to 10
node 1 receives: 1 to 9
node 2 receives: 1 to 10
node 1 is promoted: 4 to 9, 1 to 9
node 1 writes: 4 to 12, 1 to 9
node 0 restarts: 5 to 8, 1 to 8
node 0 copies 1 (the replica's history is not known here): 4 to 12
node 2 copies 1 (the replica has bytes of its history beyond 9, where it was left here): 4 to 12
node 0 restarts: 4 to 12
node 0 continues with 1: 4 to 12
";
    assert_eq!(model.trace, expected);
}
