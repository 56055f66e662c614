//! A server that is killed, stopped or paused keeps what it acknowledged (SIGKILL at any instant, with every fsync policy,
//! also during a snapshot, a rewrite of the log, or a change of segments).
//!
//! Fault model: the process is killed, the kernel and its page cache live on. So every acknowledged write must be there
//! after a restart on the same directory, under every policy.
//!
//! Writers send numbered steps in pipelines of random depth and keep a journal of what was sent and what was acknowledged.
//! Step `n` of a writer touches every key kind, so that its journal bounds what may be found after the kill:
//!
//! | key | after the restart |
//! |---|---|
//! | `w:reg` | SET to `n`: between the last acknowledged and the last sent step |
//! | `w:list` | RPUSH of `n`: 1, 2, 3, ... without a gap or a double, its length bounded in the same way |
//! | `w:ctr` | INCR: bounded in the same way |
//! | `w:a`, `w:b` | SET to `n` in one MULTI: equal, and bounded in the same way |
//! | `w:k:n` | SET and, `KEPT` steps later, DEL: there or gone as acknowledged; nothing else has ever been there |
//!
//! What a reader saw must be there, too. Meanwhile another client asks for BGSAVE and BGREWRITEAOF and makes segments short.
//!
//! `HARDTACK_CRASH_ROUNDS` sets the rounds per policy, `HARDTACK_CRASH_SEED` repeats a run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Client, Kind, Reply, Server};

const WRITERS: usize = 4;
/// Steps for which a numbered key stays before it is deleted.
const KEPT: u64 = 40;
/// Commands of one step, MULTI and EXEC included.
const COMMANDS: usize = 9;

#[test]
fn fault_01_killed_under_always_keeps_every_acked_write() {
    crash_rounds(Kind::Hardtack, "always", Server::kill);
}

#[test]
fn fault_02_killed_under_everysec_keeps_every_acked_write() {
    crash_rounds(Kind::Hardtack, "everysec", Server::kill);
}

#[test]
fn fault_02_killed_under_no_keeps_every_acked_write() {
    crash_rounds(Kind::Hardtack, "no", Server::kill);
}

/// Shows that the test itself is sound: redis-server promises the same under `always`.
#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn redis_killed_under_always_keeps_every_acked_write() {
    crash_rounds(Kind::Redis, "always", Server::kill);
}

/// The main thread is in the load then: a server that only told it to end would stay for ever.
#[test]
fn stopped_while_it_loads_it_ends_and_loses_nothing() {
    const KEYS: i64 = 300_000;
    let directives = [("appendonly", "no"), ("enable-debug-command", "yes")];
    let mut server = Server::start(Kind::Hardtack, &directives);
    let mut client = server.client();
    client.ok(&format!("DEBUG POPULATE {KEYS}"));
    client.ok("SAVE");
    server.kill();
    for _ in 0..2 {
        server.begin_restart();
        server.stop_cleanly();
    }
    server.restart();
    assert_eq!(server.client().ok("DBSIZE").integer(), KEYS);
}

/// SIGTERM under load: nothing that was acknowledged is lost, and the exit code is 0.
#[test]
fn fault_05_stopped_under_load_keeps_every_acked_write() {
    for policy in ["always", "everysec", "no"] {
        crash_rounds(Kind::Hardtack, policy, Server::stop_cleanly);
    }
}

/// The process stands still for longer than any of its timers, as a virtual machine may, and goes on for a while.
#[test]
fn fault_37_paused_for_a_while_keeps_every_acked_write() {
    const PAUSE: Duration = Duration::from_millis(2500);
    for policy in ["always", "everysec"] {
        crash_rounds(Kind::Hardtack, policy, |server| {
            server.signal(libc::SIGSTOP);
            thread::sleep(PAUSE);
            server.signal(libc::SIGCONT);
            // It serves again, and writes.
            let mut client = server.client();
            while client.call(&["DEL", "nothing"]).is_error() {}
            server.kill();
        });
    }
}

fn crash_rounds(kind: Kind, policy: &str, end: fn(&mut Server)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let rounds = number("HARDTACK_CRASH_ROUNDS").unwrap_or(3);
    let seed = number("HARDTACK_CRASH_SEED").unwrap_or_else(|| {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970");
        now.as_secs() ^ u64::from(now.subsec_nanos())
    });
    println!("{policy}: {rounds} rounds, HARDTACK_CRASH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);

    let mut directives = vec![("appendonly", "yes"), ("appendfsync", policy)];
    if kind.has_hardtack_directives() {
        directives.push(("log-segment-bytes", "64kb"));
    }
    let mut server = Server::start(kind, &directives);
    let mut journals = vec![Journal::default(); WRITERS];
    for round in 0..rounds {
        let alive_for = Duration::from_millis(rng.random_range(30..700));
        println!("round {round}: ended after {alive_for:?}");
        journals = one_life(&mut server, &journals, alive_for, end, &mut rng);
        server.restart();
        let mut client = server.client();
        for (writer, journal) in journals.iter_mut().enumerate() {
            check(&mut client, writer, journal);
        }
        // Every key is one of a writer's: the five, and the numbered ones that are not yet deleted.
        let keys = client.ok("DBSIZE").integer();
        let most = journals
            .iter()
            .map(|j| 5 + i64::try_from(KEPT.min(j.sent) + 2).expect("small"))
            .sum::<i64>();
        assert!(
            keys <= most,
            "round {round}: {keys} keys, of which at most {most} were ever written and kept"
        );
    }
}

/// What one writer knows of its steps.
#[derive(Clone, Debug, Default)]
struct Journal {
    /// The last step of which at least one command was sent.
    sent: u64,
    /// The last step of which every command was acknowledged.
    acked: u64,
    /// How many commands of the step after that were acknowledged.
    acked_commands: usize,
    /// The largest `w:reg` that a reader saw.
    seen: u64,
}

impl Journal {
    /// The last step whose command number `command` was acknowledged.
    fn acked_step(&self, command: usize) -> u64 {
        self.acked + u64::from(command < self.acked_commands)
    }
}

/// Runs writers, a reader and an administrator, ends the server, and returns the journals.
fn one_life(
    server: &mut Server,
    journals: &[Journal],
    alive_for: Duration,
    end: fn(&mut Server),
    rng: &mut StdRng,
) -> Vec<Journal> {
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicU64::new(0));
    let ready = Arc::new(Barrier::new(WRITERS + 3));
    let writers: Vec<_> = journals
        .iter()
        .cloned()
        .enumerate()
        .map(|(writer, journal)| {
            let (client, ready, rng) = (
                server.client(),
                ready.clone(),
                StdRng::seed_from_u64(rng.random()),
            );
            thread::spawn(move || {
                ready.wait();
                write_steps(client, writer, journal, rng)
            })
        })
        .collect();
    let reader = {
        let (client, ready, seen) = (server.client(), ready.clone(), seen.clone());
        thread::spawn(move || {
            ready.wait();
            read_register(client, &seen);
        })
    };
    let administrator = {
        let (client, ready, ended) = (server.client(), ready.clone(), ended.clone());
        let (rng, segments) = (
            StdRng::seed_from_u64(rng.random()),
            server.kind().has_hardtack_directives(),
        );
        thread::spawn(move || {
            ready.wait();
            administrate(client, rng, segments, &ended);
        })
    };
    ready.wait();
    thread::sleep(alive_for);
    end(server);
    ended.store(true, Ordering::Relaxed);
    let mut journals: Vec<Journal> = writers
        .into_iter()
        .map(|w| w.join().expect("a writer"))
        .collect();
    reader.join().expect("the reader");
    administrator.join().expect("the administrator");
    journals[0].seen = seen.load(Ordering::Relaxed);
    journals
}

/// The commands of one step. Their number is [`COMMANDS`].
fn step(writer: usize, n: u64) -> Vec<Vec<Vec<u8>>> {
    let key = |name: &str| format!("{writer}:{name}");
    // A long value now and then moves the log on to its next segment.
    let padding = if n.is_multiple_of(16) {
        "x".repeat(6000)
    } else {
        String::new()
    };
    let doomed = n.saturating_sub(KEPT);
    let commands: [&[&str]; COMMANDS] = [
        &["SET", &key("reg"), &n.to_string()],
        &["RPUSH", &key("list"), &n.to_string()],
        &["INCR", &key("ctr")],
        &["SET", &format!("{writer}:k:{n}"), &format!("{n}:{padding}")],
        &["DEL", &format!("{writer}:k:{doomed}")],
        &["MULTI"],
        &["SET", &key("a"), &n.to_string()],
        &["SET", &key("b"), &n.to_string()],
        &["EXEC"],
    ];
    commands
        .iter()
        .map(|c| c.iter().map(|w| w.as_bytes().to_vec()).collect())
        .collect()
}

/// Sends steps until the connection breaks.
fn write_steps(
    mut client: Client,
    writer: usize,
    mut journal: Journal,
    mut rng: StdRng,
) -> Journal {
    loop {
        let depth = if rng.random_bool(0.5) {
            1
        } else {
            rng.random_range(2..12)
        };
        let last = journal.sent + depth;
        let commands: Vec<_> = (journal.sent + 1..=last)
            .flat_map(|n| step(writer, n))
            .collect();
        journal.sent = last;
        if client.send_all(&commands).is_err() {
            return journal;
        }
        while journal.acked < journal.sent {
            match client.receive() {
                Ok(reply) => acknowledge(&mut journal, &reply),
                Err(_) => return journal,
            }
        }
    }
}

fn acknowledge(journal: &mut Journal, reply: &Reply) {
    assert!(
        !reply.is_error(),
        "a write was refused after {journal:?}: {reply}"
    );
    journal.acked_commands += 1;
    if journal.acked_commands == COMMANDS {
        journal.acked_commands = 0;
        journal.acked += 1;
    }
}

fn read_register(mut client: Client, seen: &AtomicU64) {
    while let Ok(reply) = client.try_call(&["GET", "0:reg"]) {
        if let Reply::Bulk(value) = reply {
            seen.fetch_max(parse(&value), Ordering::Relaxed);
        }
    }
}

fn administrate(mut client: Client, mut rng: StdRng, segments: bool, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(rng.random_range(0..60)));
        // An error reply (a save already runs) is as good as a success here; a broken connection is the end.
        let outcome = match rng.random_range(0..4) {
            0 => client.try_call(&["BGSAVE"]),
            1 if segments => {
                let size = ["65536", "131072", "1mb"][rng.random_range(0..3)];
                client.try_call(&["CONFIG", "SET", "log-segment-bytes", size])
            }
            _ => client.try_call(&["BGREWRITEAOF"]),
        };
        if outcome.is_err() {
            return;
        }
    }
}

fn parse(text: &[u8]) -> u64 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or_else(|| panic!("not a number: {text:?}"))
}

/// Checks a writer's keys against its journal, and sets the journal to what was found.
fn check(client: &mut Client, writer: usize, journal: &mut Journal) {
    let number = |client: &mut Client, name: &str| match client
        .call(&["GET", &format!("{writer}:{name}")])
    {
        Reply::Nil => 0,
        reply => parse(&reply.bytes()),
    };
    let within = |what: &str, found: u64, command: usize| {
        let acked = journal.acked_step(command);
        assert!(
            found >= acked,
            "{writer}:{what}: step {acked} was acknowledged, {found} is there ({journal:?})"
        );
        assert!(
            found <= journal.sent,
            "{writer}:{what}: {found} was never sent ({journal:?})"
        );
    };
    let reg = number(client, "reg");
    within("reg", reg, 0);
    assert!(
        reg >= journal.seen,
        "{writer}:reg: a reader saw {}, {reg} is there",
        journal.seen
    );

    let list = client
        .call(&["LRANGE", &format!("{writer}:list"), "0", "-1"])
        .elements();
    let list: Vec<u64> = list.into_iter().map(|e| parse(&e.bytes())).collect();
    within("list", list.len() as u64, 1);
    for (i, element) in list.iter().enumerate() {
        assert_eq!(*element, i as u64 + 1, "{writer}:list at {i}");
    }
    let ctr = number(client, "ctr");
    within("ctr", ctr, 2);

    let (a, b) = (number(client, "a"), number(client, "b"));
    assert_eq!(a, b, "{writer}: a transaction was cut in two");
    // Its commands are acknowledged by EXEC, the last one of a step.
    within("a and b", a, COMMANDS - 1);

    let last_set = check_numbered_keys(client, writer, journal);
    // A prefix of the writer's commands: none may be missing before one that is there.
    let order = [
        ("reg", reg),
        ("list", list.len() as u64),
        ("ctr", ctr),
        ("k", last_set),
        ("a", a),
    ];
    for pair in order.windows(2) {
        let ((first, n), (second, m)) = (pair[0], pair[1]);
        assert!(
            n == m || n == m + 1,
            "{writer}: {first} is at step {n}, {second} at {m}, though {first} came first"
        );
    }
    finish_step(client, writer, reg, &order);
    *journal = Journal {
        sent: reg,
        acked: reg,
        acked_commands: 0,
        seen: 0,
    };
}

/// Returns the last numbered key that was set.
fn check_numbered_keys(client: &mut Client, writer: usize, journal: &Journal) -> u64 {
    let mut last_set = 0;
    for n in journal.sent.saturating_sub(2 * KEPT + 24).max(1)..=journal.sent + 2 {
        let value = client.call(&["GET", &format!("{writer}:k:{n}")]);
        let set_acked = n <= journal.acked_step(3);
        let delete_acked = n + KEPT <= journal.acked_step(4);
        let delete_sent = n + KEPT <= journal.sent;
        match value {
            Reply::Nil => assert!(
                !set_acked || delete_sent,
                "{writer}:k:{n} is lost ({journal:?})"
            ),
            value => {
                assert!(
                    n <= journal.sent,
                    "{writer}:k:{n} was never set ({journal:?})"
                );
                assert!(
                    !delete_acked,
                    "{writer}:k:{n} is back from the dead ({journal:?})"
                );
                let value = value.bytes();
                let padding = if n.is_multiple_of(16) { 6000 } else { 0 };
                assert!(
                    value.len() == n.to_string().len() + 1 + padding
                        && value.starts_with(format!("{n}:").as_bytes()),
                    "{writer}:k:{n} has another value, of {} bytes",
                    value.len()
                );
                last_set = n;
            }
        }
    }
    last_set
}

/// Completes a step that the kill cut short, so that the next life starts with equal keys.
fn finish_step(client: &mut Client, writer: usize, reg: u64, order: &[(&str, u64); 5]) {
    if reg == 0 {
        return;
    }
    let commands = step(writer, reg);
    for (index, command) in commands.iter().enumerate() {
        let done = match index {
            0..=3 => order[index].1 == reg,
            // A repeated DEL is harmless; MULTI, SET, SET and EXEC belong together.
            4 => false,
            _ => order[4].1 == reg,
        };
        if !done {
            let reply = client.call(command);
            assert!(!reply.is_error(), "{writer}: {reply}");
        }
    }
}
