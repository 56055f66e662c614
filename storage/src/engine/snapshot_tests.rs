//! Snapshots while the data are changed: what they hold on to, and what they hold.

use std::io::{self, Write};
use std::time::Duration;

use super::tests::Client;
use super::*;
use crate::rdb::FileInfo;
use crate::snapshot::{self, SnapshotOptions, SnapshotProgress};

/// So long that a walk stands still until it is told to end.
const FOR_EVER: Duration = Duration::from_secs(3600);

fn without_log(dir: &std::path::Path) -> Engine {
    let options = Options {
        appendonly: false,
        ..Options::new(dir)
    };
    Engine::open(options, Settings::default()).unwrap()
}

fn limited(bytes: u64, key_delay: Duration) -> Settings {
    Settings {
        snapshot_memory_limit: bytes,
        rdb_key_delay: key_delay,
        ..Settings::default()
    }
}

/// Lets a walk that stood still go on, and waits for its end: one that nobody has ended would succeed.
fn go_on(engine: &Engine, limit: u64) {
    engine.set_settings(limited(limit, Duration::ZERO));
    engine.wait_for_snapshot();
}

#[test]
fn slow_walk_fails_at_its_limit_and_the_last_file_stays() {
    const LIMIT: u64 = 64 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let engine = without_log(dir.path());
    let mut client = Client::of(&engine);
    let fill = |client: &mut Client, value: &str, of: &dyn Fn(u64)| {
        for n in 0..2000 {
            client.line(&format!("set key{n} {}", value.repeat(50)));
            client.line(&format!("hset hash{n} f {}", value.repeat(60)));
            of(n);
        }
    };
    fill(&mut client, "a", &|_| {});
    engine.save().unwrap();
    let before = std::fs::read(engine.rdb_path()).unwrap();
    engine.set_settings(limited(LIMIT, FOR_EVER));
    engine.save_in_background().unwrap();
    fill(&mut client, "b", &|n| {
        let memory = engine.snapshot_info().memory;
        assert!(memory.peak <= LIMIT + 4096, "{n}: {memory:?}");
    });
    go_on(&engine, LIMIT);
    let info = engine.snapshot_info();
    assert!(!info.last_save_ok);
    assert!(info.last_memory_peaks.0 > LIMIT / 2);
    assert!(std::fs::read(engine.rdb_path()).unwrap() == before);
    // A walk that nobody is quicker than stays below the limit.
    engine.save().unwrap();
    assert!(engine.snapshot_info().last_save_ok);
    assert_ne!(std::fs::read(engine.rdb_path()).unwrap(), before);
}

#[test]
fn compaction_that_fails_at_its_limit_leaves_the_log_whole() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::new(dir.path()), limited(64 * 1024, FOR_EVER)).unwrap();
    let mut client = Client::of(&engine);
    for n in 0..1000 {
        client.line(&format!("set key{n} {}", "a".repeat(100)));
    }
    engine.rewrite_log_in_background().unwrap();
    for n in 0..1000 {
        client.line(&format!("set key{n} {}", "b".repeat(100)));
    }
    go_on(&engine, 64 * 1024);
    assert!(!engine.snapshot_info().last_rewrite_ok);
    let digest = client.digest();
    drop(client);
    engine.close(Duration::ZERO, &|| false, || ());
    drop(engine);
    let engine = Engine::open(Options::new(dir.path()), Settings::default()).unwrap();
    assert_eq!(Client::of(&engine).digest(), digest);
    engine.rewrite_log_in_background().unwrap();
    engine.wait_for_snapshot();
    assert!(engine.snapshot_info().last_rewrite_ok);
}

#[test]
fn flushall_lets_a_compaction_go_and_has_it_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::new(dir.path()), limited(0, FOR_EVER)).unwrap();
    let mut client = Client::of(&engine);
    for n in 0..100 {
        client.line(&format!("set key{n} {n}"));
    }
    engine.rewrite_log_in_background().unwrap();
    client.line("flushall");
    client.line("set after it");
    go_on(&engine, 0);
    assert!(engine.rewrite_is_scheduled());
    assert_eq!(engine.snapshot_info().rewrites, 0);
    assert!(engine.snapshot_info().last_rewrite_ok, "that was asked for");
    engine.begin_due_snapshots();
    engine.wait_for_snapshot();
    assert_eq!(engine.snapshot_info().rewrites, 1);
    let digest = client.digest();
    drop(client);
    engine.close(Duration::ZERO, &|| false, || ());
    drop(engine);
    let engine = Engine::open(Options::new(dir.path()), Settings::default()).unwrap();
    assert_eq!(Client::of(&engine).digest(), digest);
}

/// A sink that has something done after every so many writes.
struct Meanwhile<'f> {
    bytes: Vec<u8>,
    writes: usize,
    work: &'f mut dyn FnMut(usize),
}

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.writes += 1;
        (self.work)(self.writes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Walks a cut of the engine, with `work` done whenever a piece has been written; returns the RDB and what the
/// snapshot held on to at most.
fn walk(
    engine: &Engine,
    limit: usize,
    work: &mut dyn FnMut(usize),
) -> io::Result<(Vec<u8>, usize)> {
    let shared = engine.shared();
    let cut = shared
        .keyspace
        .enter_exclusive()
        .begin_snapshot_within(limit)
        .unwrap();
    let memory = cut.memory();
    let info = FileInfo::default();
    let options = SnapshotOptions {
        compress: false,
        ..SnapshotOptions::default()
    };
    let mut sink = Meanwhile {
        bytes: Vec::new(),
        writes: 0,
        work,
    };
    let progress = SnapshotProgress::default();
    snapshot::write(cut, &info, None, options, &progress, &mut sink)?;
    Ok((sink.bytes, memory.peak()))
}

/// Elements that make a value pass through in many pieces.
const ELEMENTS: usize = 40_000;

/// One large value of every type, and a few small ones.
fn large_values(engine: &Engine) -> Client {
    let mut client = Client::of(engine);
    let batch = |client: &mut Client, command: &str, of: &dyn Fn(usize) -> String| {
        for first in (0..ELEMENTS).step_by(500) {
            let elements: Vec<String> = (first..first + 500).map(of).collect();
            client.line(&format!("{command} {}", elements.join(" ")));
        }
    };
    batch(&mut client, "hset hash", &|n| format!("field{n} value{n}"));
    batch(&mut client, "sadd set", &|n| format!("member{n}"));
    batch(&mut client, "zadd zset", &|n| format!("{n} member{n}"));
    batch(&mut client, "rpush list", &|n| format!("element{n}"));
    let string = vec![b's'; 20 << 20];
    client.run(&[b"set", b"string", &string, b"ex", b"100000"]);
    client.run(&[b"set", b"text", &string[..300_000]]);
    for n in 0..100 {
        client.line(&format!("set small{n} {n}"));
    }
    client
}

/// Changes a little of every large value, somewhere else each time.
fn change(client: &mut Client, n: usize) {
    let at = n * 7919 % ELEMENTS;
    client.line(&format!("hset hash field{at} changed{n} new{n} x"));
    client.line(&format!("hdel hash field{}", (at + 1) % ELEMENTS));
    client.line(&format!("sadd set new{n}"));
    client.line(&format!("srem set member{at}"));
    client.line(&format!("zadd zset {at}.5 member{at} {n} new{n}"));
    client.line(&format!("lpush list front{n}"));
    client.line(&format!("rpop list {}", n % 3));
    client.line(&format!("lset list {} changed", at / 2));
    client.line(&format!("setrange string {} {n}", n * 99_991 % (20 << 20)));
    client.line(&format!("append string tail{n}"));
    client.line(&format!("setrange text {} {n}", n * 7919 % 300_000));
    client.line(&format!("set small{} changed", n % 100));
}

fn digest_of_rdb(rdb: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), rdb).unwrap();
    Client::of(&without_log(dir.path())).digest()
}

#[test]
fn large_values_are_in_the_snapshot_as_they_were_at_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let engine = without_log(dir.path());
    let mut client = large_values(&engine);
    for round in 0..3 {
        let expected = client.digest();
        let mut writes = 0;
        let (rdb, _) = walk(&engine, usize::MAX, &mut |n| {
            change(&mut client, round * 1000 + n);
            writes = n;
        })
        .unwrap();
        assert!(writes > 300, "{writes}");
        assert!(digest_of_rdb(&rdb) == expected, "round {round}");
        assert!(client.digest() != expected);
    }
}

#[test]
fn small_change_of_a_large_value_costs_the_snapshot_little() {
    let dir = tempfile::tempdir().unwrap();
    let engine = without_log(dir.path());
    let mut client = large_values(&engine);
    let (_, peak) = walk(&engine, 4 << 20, &mut |n| {
        if n == 1 {
            change(&mut client, n);
        }
    })
    .unwrap();
    assert!(peak > 64 * 1024, "{peak}");
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn values_rewritten_while_they_pass_count_against_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = without_log(dir.path());
    let mut client = Client::of(&engine);
    for n in 0..20_000 {
        client.line(&format!("hset hash field{n} {}", "v".repeat(100)));
    }
    let failed = walk(&engine, 256 * 1024, &mut |n| {
        for field in (n - 1) * 1000..n * 1000 {
            client.line(&format!("hset hash field{field} {}", "w".repeat(100)));
        }
    });
    let kind = failed.map(|_| ()).map_err(|error| error.kind());
    assert_eq!(kind, Err(io::ErrorKind::OutOfMemory));
}

#[test]
fn saved_states_are_written_out_of_turn_before_the_limit_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let engine = without_log(dir.path());
    let mut client = Client::of(&engine);
    for n in 0..20_000 {
        client.line(&format!("set key{n} {}", "a".repeat(400)));
    }
    let expected = client.digest();
    let mut next = 0;
    // With each 64 KiB that are written another 64 KB or so are changed: every key, in all.
    let (rdb, peak) = walk(&engine, 1 << 20, &mut |_| {
        for _ in 0..160 {
            client.line(&format!("set key{} {}", next % 20_000, "b".repeat(400)));
            next += 1;
        }
    })
    .unwrap();
    assert!(next > 15_000, "{next}");
    assert!(peak < 1 << 20, "{peak}");
    assert!(digest_of_rdb(&rdb) == expected);
}
