//! Whole engines on a real directory: what was written is there again, whatever happened in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use std::time::Duration;

use super::*;
use crate::command::Reply;
use crate::disk::testing::FailingDisk;
use crate::log::SyncPolicy;

/// One client of an engine.
pub(crate) struct Client {
    worker: Worker,
    session: Session,
}

impl Client {
    pub(crate) fn of(engine: &Engine) -> Client {
        Client {
            worker: engine.worker(),
            session: Session::new(),
        }
    }

    pub(crate) fn run(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut reply = Reply::new();
        let command = command::find(args[0]).expect("a known command");
        self.worker.turn().run(
            &mut self.session,
            command,
            Request::new(args),
            None,
            &mut reply,
        );
        let _ = self.worker.engine().write_log(Lsn::MAX, false);
        reply.take()
    }

    pub(crate) fn select(&mut self, db: DbIndex) {
        self.session.db = db;
    }

    pub(crate) fn line(&mut self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.run(&args)).into_owned()
    }

    /// Runs `lines` as one transaction.
    pub(crate) fn transaction(&mut self, lines: &[&str]) -> String {
        let queued = lines.iter().map(|line| {
            let args: Vec<Vec<u8>> = line
                .split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect();
            let command = command::find(&args[0]);
            Queued { args, command }
        });
        let mut transaction = Transaction::default();
        queued.for_each(|queued| transaction.push(queued));
        self.session.transaction = Some(transaction);
        let mut reply = Reply::new();
        self.worker.turn().exec(
            &mut self.session,
            &mut reply,
            &mut |session: &mut Session, queued: &Queued, reply: &mut Reply| {
                assert_eq!(queued.args[0], b"select");
                session.db = String::from_utf8_lossy(&queued.args[1]).parse().unwrap();
                reply.ok();
            },
        );
        String::from_utf8_lossy(&reply.take()).into_owned()
    }

    /// A digest of all databases.
    pub(crate) fn digest(&mut self) -> String {
        let command = command::find(b"debug|digest").expect("the digest is a command");
        let mut reply = Reply::new();
        self.worker.turn().run(
            &mut self.session,
            command,
            Request::new(&[b"digest"]),
            None,
            &mut reply,
        );
        String::from_utf8_lossy(&reply.take()).into_owned()
    }
}

fn open(dir: &std::path::Path) -> Engine {
    open_with(Options::new(dir))
}

fn open_with(options: Options) -> Engine {
    Engine::open(options, Settings::default()).expect("the directory opens")
}

/// Random writes to keys of all types, some of them with a time to live.
pub(crate) fn write_some(client: &mut Client, rng: &mut StdRng, count: usize) {
    for _ in 0..count {
        let n = rng.random_range(0..40);
        let m = rng.random_range(0..200);
        let line = match rng.random_range(0..16) {
            0 => format!("set s{n} {}", "x".repeat(m * 20)),
            1 => format!("incr i{n}"),
            2 => format!("append s{n} tail"),
            3 => format!("rpush l{n} a b {m}"),
            4 => format!("lpop l{n}"),
            5 => format!("hset h{n} f{m} v{m}"),
            6 => format!("hdel h{n} f{m}"),
            7 => format!("zadd z{n} {m} m{m}"),
            8 => format!("zpopmin z{n}"),
            9 => format!("hincrbyfloat h{n} float 0.1"),
            10 => format!("del s{n} l{n} h{n} z{n}"),
            11 => format!("expire s{n} 1000"),
            12 => format!("rename i{n} i{}", (n + 1) % 40),
            13 => format!("set e{n} gone px 1"),
            14 => format!("lmove l{n} l{} left right", (n + 7) % 40),
            _ => format!("copy s{n} c{n} db {} replace", m % 3),
        };
        client.line(&line);
    }
}

#[test]
fn reopened_engine_has_what_was_written() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut digest = String::new();
        for round in 0..4 {
            let engine = open(dir.path());
            let mut client = Client::of(&engine);
            std::thread::sleep(std::time::Duration::from_millis(2));
            if round > 0 {
                assert_eq!(client.digest(), digest, "seed {seed}, round {round}");
            }
            write_some(&mut client, &mut rng, 1500);
            // What had a millisecond to live is gone by the time of the digest.
            std::thread::sleep(std::time::Duration::from_millis(3));
            digest = client.digest();
        }
    }
}

#[test]
fn compaction_beside_writers_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|seed| {
            let (engine, stop) = (engine.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut rng = StdRng::seed_from_u64(seed);
                let mut client = Client::of(&engine);
                while !stop.load(Ordering::Relaxed) {
                    write_some(&mut client, &mut rng, 20);
                }
            })
        })
        .collect();
    let mut compactions = 0;
    while compactions < 6 {
        match engine.rewrite_log_in_background() {
            Ok(()) => compactions += 1,
            Err(BeginError::InProgress(_)) => std::thread::yield_now(),
            // The one before has left the books but not the log yet.
            Err(BeginError::Failed(_)) => std::thread::yield_now(),
        }
    }
    while engine.snapshot_info().running.is_some() {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    assert!(engine.snapshot_info().rewrites > 0);
    std::thread::sleep(std::time::Duration::from_millis(3));
    let digest = Client::of(&engine).digest();
    drop(engine);
    assert_eq!(Client::of(&reopen(dir.path())).digest(), digest);
}

/// Opens a directory that its last engine may take an instant to let go.
fn reopen(dir: &std::path::Path) -> Engine {
    loop {
        match Engine::open(Options::new(dir), Settings::default()) {
            Err(LoadError::Log(crate::log::OpenError::Locked(_))) => std::thread::yield_now(),
            outcome => return outcome.expect("the directory opens"),
        }
    }
}

/// A command as it stands in an append-only file.
fn logged(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text
}

#[test]
fn single_append_only_file_becomes_the_base_of_a_new_log() {
    let dir = tempfile::tempdir().unwrap();
    let single = dir.path().join("appendonly.aof");
    // With an RDB in front of the commands, and without.
    let donor = tempfile::tempdir().unwrap();
    let engine = open(donor.path());
    Client::of(&engine).line("set from rdb");
    engine.save().unwrap();
    let rdb = std::fs::read(donor.path().join("dump.rdb")).unwrap();
    for preamble in [rdb, Vec::new()] {
        let keys = 1 + usize::from(!preamble.is_empty());
        let whole = logged("select 3") + &logged("set from commands");
        let cut_off = &logged("set lost one")[..9];
        let text = [&preamble, whole.as_bytes(), cut_off.as_bytes()].concat();
        std::fs::write(&single, &text).unwrap();
        // What Redis 6 saved beside it is older.
        std::fs::write(dir.path().join("dump.rdb"), "not looked at").unwrap();
        for start in 0..2 {
            let engine = open(dir.path());
            let mut client = Client::of(&engine);
            let sizes: usize = (0..16)
                .map(|db| {
                    client.session.db = db;
                    usize::from(
                        client.line("get from").starts_with('$')
                            && client.line("exists from") == ":1\r\n",
                    )
                })
                .sum();
            assert_eq!(sizes, keys, "start {start}");
            drop(client);
            engine.close(std::time::Duration::ZERO, &|| false, || ());
        }
        let aside = dir.path().join("appendonly.aof.loaded");
        assert_eq!(std::fs::read(&aside).unwrap(), text);
        assert!(!single.exists());
        std::fs::remove_dir_all(dir.path().join("appendonlydir")).unwrap();
    }
}

#[test]
fn single_append_only_file_with_nonsense_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let single = dir.path().join("appendonly.aof");
    let text = logged("set a 1") + "!!!" + &logged("set b 2");
    std::fs::write(&single, &text).unwrap();
    let Err(error) = Engine::open(Options::new(dir.path()), Settings::default()) else {
        panic!("the damaged file was loaded");
    };
    let known = "Bad file format reading the append only file";
    assert!(error.to_string().starts_with(known), "{error}");
    assert_eq!(std::fs::read_to_string(&single).unwrap(), text);
    assert!(!dir.path().join("appendonlydir").exists());
}

#[test]
fn flushall_ends_a_background_save_without_a_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    client.line("set a 1");
    engine.set_settings(Settings {
        rdb_key_delay: std::time::Duration::from_secs(3600),
        ..Settings::default()
    });
    engine.save_in_background().unwrap();
    client.line("flushdb");
    assert!(engine.snapshot_info().running.is_some());
    client.line("flushall");
    engine.wait_for_snapshot();
    let info = engine.snapshot_info();
    assert!(info.last_save_ok);
    assert_eq!(info.saves, 0);
    assert!(engine.stats().dirty.get() > 0);
}

#[test]
fn rdb_file_alone_restores_the_state_of_its_save() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        appendonly: false,
        ..Options::new(dir.path())
    };
    let engine = open_with(options.clone());
    let mut client = Client::of(&engine);
    write_some(&mut client, &mut StdRng::seed_from_u64(7), 2000);
    std::thread::sleep(std::time::Duration::from_millis(3));
    let digest = client.digest();
    engine.save().unwrap();
    client.line("set after the-save");
    drop(client);
    drop(engine);
    let engine = open_with(options);
    assert_eq!(Client::of(&engine).digest(), digest);
}

#[test]
fn rdb_file_is_not_shadowed_by_a_new_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(Options {
        appendonly: false,
        ..Options::new(dir.path())
    });
    Client::of(&engine).line("set k v");
    engine.save().unwrap();
    drop(engine);
    let engine = open(dir.path());
    assert_eq!(Client::of(&engine).line("get k"), "$1\r\nv\r\n");
}

#[test]
fn transaction_over_several_databases_is_replayed_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    client.line("set a 0");
    client.transaction(&["set a 1", "select 3", "set a 3", "select 5", "incr a"]);
    client.session.db = 0;
    client.line("set b 0");
    drop(client);
    drop(engine);
    let engine = reopen(dir.path());
    let mut client = Client::of(&engine);
    for (db, key, value) in [(0, "a", "1"), (3, "a", "3"), (5, "a", "1"), (0, "b", "0")] {
        client.session.db = db;
        assert_eq!(
            client.line(&format!("get {key}")),
            format!("$1\r\n{value}\r\n"),
            "database {db}"
        );
    }
}

#[test]
fn flush_and_swap_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    client.line("set a 1");
    client.line("swapdb 0 1");
    client.line("set b 2");
    client.transaction(&["set c 3", "flushdb", "set d 4"]);
    drop(client);
    drop(engine);
    let engine = reopen(dir.path());
    let mut client = Client::of(&engine);
    assert_eq!(client.line("keys *"), "*1\r\n$1\r\nd\r\n");
    client.session.db = 1;
    assert_eq!(client.line("keys *"), "*1\r\n$1\r\na\r\n");
}

#[test]
fn reloading_the_log_while_running_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    write_some(&mut client, &mut StdRng::seed_from_u64(11), 2000);
    std::thread::sleep(std::time::Duration::from_millis(3));
    let digest = client.digest();
    engine.reload_log().unwrap();
    assert_eq!(client.digest(), digest);
    let options = ReloadOptions {
        save_first: true,
        present: PresentKeys::Removed,
    };
    engine.reload_rdb(options).unwrap();
    assert_eq!(client.digest(), digest);
    client.line("set after reload");
    drop(client);
    drop(engine);
    assert_eq!(
        Client::of(&reopen(dir.path())).line("get after"),
        "$6\r\nreload\r\n"
    );
}

#[test]
fn rdb_file_is_loaded_beside_the_present_keys_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    client.line("mset saved 1 both 1");
    client.line("sadd members a");
    engine.save().unwrap();
    client.line("mset both 2 new 2");
    client.line("del saved");
    client.line("expire new 1000");
    let reload = |present| {
        engine.reload_rdb(ReloadOptions {
            save_first: false,
            present,
        })
    };
    let digest = client.digest();
    let refused = reload(PresentKeys::Kept);
    assert!(
        matches!(&refused, Err(ReloadError::Duplicate { db: 0, .. })),
        "{refused:?}"
    );
    assert_eq!(client.digest(), digest, "a refusal changes nothing");
    reload(PresentKeys::Merged).unwrap();
    let all = "*4\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n";
    assert_eq!(client.line("mget saved both new none"), all);
    assert_eq!(client.line("dbsize"), ":4\r\n");
    assert_eq!(client.line("persist new"), ":1\r\n");
    client.line("del both members saved");
    reload(PresentKeys::Kept).unwrap();
    assert_eq!(client.line("mget saved both new none"), all);
    assert_eq!(client.line("scard members"), ":1\r\n");
}

#[test]
fn time_to_live_prolonged_by_the_log_survives_a_late_replay() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    client.line("set k v");
    client.line("pexpire k 40");
    client.line("persist k");
    drop(client);
    drop(engine);
    std::thread::sleep(std::time::Duration::from_millis(60));
    let engine = reopen(dir.path());
    assert_eq!(Client::of(&engine).line("get k"), "$1\r\nv\r\n");
}

#[test]
fn reply_under_always_depends_on_a_position_that_becomes_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.log.policy = SyncPolicy::Always;
    let engine = open_with(options);
    let mut session = Session::new();
    let (_, outcome) = engine.execute(&mut session, &[b"set", b"k", b"v"]);
    assert!(outcome.lsn > Lsn::ZERO);
    let log = engine.log().unwrap();
    log.wait_durable(outcome.lsn).unwrap();
    let (_, read) = engine.execute(&mut session, &[b"get", b"k"]);
    assert_eq!(
        read.lsn, outcome.lsn,
        "a read depends on the write that it saw"
    );
}

#[test]
fn log_turned_off_and_on_again_holds_the_present_data() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut client = Client::of(&engine);
    client.line("set a 1");
    engine.turn_log_off().unwrap();
    client.line("set a 2");
    engine.turn_log_on().unwrap();
    client.line("set b 3");
    engine.wait_for_snapshot();
    let (_, read) = engine.execute(&mut Session::new(), &[b"get", b"a"]);
    assert!(
        read.lsn <= engine.log().unwrap().appended(),
        "a read waits for nothing that cannot come"
    );
    drop(client);
    drop(engine);
    let engine = reopen(dir.path());
    let mut client = Client::of(&engine);
    assert_eq!(client.line("mget a b"), "*2\r\n$1\r\n2\r\n$1\r\n3\r\n");
}

/// A worker used to tell logs apart by their addresses, and a new log often gets the address of the one before it. One
/// that had no turn in between went on appending to a log that nobody kept.
#[test]
fn worker_that_slept_while_logs_were_exchanged_appends_to_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut sleeper = Client::of(&engine);
    for round in 0..10 {
        sleeper.line(&format!("set key {round}"));
        engine.turn_log_off().unwrap();
        engine.turn_log_on().unwrap();
        engine.wait_for_snapshot();
        let before = engine.log().unwrap().appended();
        sleeper.line(&format!("set key {round} ex 1000"));
        assert!(engine.log().unwrap().appended() > before, "round {round}");
    }
}

#[test]
fn what_is_too_long_for_the_log_is_refused_or_split() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(dir.path());
    let mut effects = crate::command::Effects::default();
    effects.push(0, &[b"set", b"a", b"1"]);
    effects.push(3, &[b"set", b"b", b"2"]);
    effects.push(3, &[b"set", b"select", b"SELECT"]);
    effects.push(0, &[b"set", b"c", b"3"]);
    let mut worker = engine.worker();
    let turn = worker.turn();
    for long in [execute::LOGGED_BYTES_MAX + 1, u64::MAX] {
        assert!(turn.check_length(long).is_err());
    }
    assert!(turn.check_length(execute::LOGGED_BYTES_MAX).is_ok());
    let end = turn.log.append_one_by_one(&effects);
    assert_eq!(end, Some(engine.log().unwrap().appended()));
    drop(turn);
    drop(worker);
    drop(engine);
    let engine = reopen(dir.path());
    let mut client = Client::of(&engine);
    assert_eq!(client.line("mget a c"), "*2\r\n$1\r\n1\r\n$1\r\n3\r\n");
    client.select(3);
    let expected = "*2\r\n$1\r\n2\r\n$6\r\nSELECT\r\n";
    assert_eq!(client.line("mget b select"), expected);
}

#[test]
fn log_written_once_while_off_is_there_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open_with(Options {
        appendonly: false,
        ..Options::new(dir.path())
    });
    let mut client = Client::of(&engine);
    client.line("rpush l 1 2 3");
    engine.rewrite_log_in_background().unwrap();
    engine.wait_for_snapshot();
    assert!(engine.log().is_none(), "it stays off");
    let digest = client.digest();
    client.line("del l");
    engine.reload_log().unwrap();
    assert_eq!(client.digest(), digest);
    drop(client);
    drop(engine);
    assert_eq!(Client::of(&reopen(dir.path())).digest(), digest);
}

/// A log of a few kilobytes of memory on a disk whose syncs can be made to hang.
fn on_hanging_disk(max_unsynced: Duration) -> (tempfile::TempDir, Engine, FailingDisk) {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let mut options = Options::new(dir.path());
    options.disk = Arc::new(disk.clone());
    options.log.ring_bytes = 64 << 10;
    options.log.segment_bytes = 64 << 10;
    options.log.max_unsynced = max_unsynced;
    options.log.unsynced_wait = Duration::from_secs(3600);
    let engine = open_with(options);
    (dir, engine, disk)
}

fn wait_until_writes_go_on(engine: &Engine) {
    while !matches!(engine.may_write(), MayWrite::Now) {
        std::thread::yield_now();
    }
}

/// Clients that ask before they write never wait inside a command, whatever the disk does; and memory is bounded.
#[test]
fn writes_are_held_back_before_the_logs_memory_is_full_and_reads_go_on() {
    let (_dir, engine, disk) = on_hanging_disk(Duration::from_secs(3600));
    let mut client = Client::of(&engine);
    disk.block_syncs(true);
    let value = vec![b'x'; 1000];
    let mut written = 0usize;
    while matches!(engine.may_write(), MayWrite::Now) {
        // Sooner or later a segment is full, and is to be synced: from there on nothing is taken out of memory.
        written += 1;
        assert!(written < 10_000, "it is taken forever");
        client.run(&[b"set", format!("key:{written}").as_bytes(), &value]);
        std::thread::yield_now();
    }
    let log = engine.log().unwrap();
    assert!(matches!(engine.may_write(), MayWrite::Later));
    assert!(
        log.ring_free() > 0,
        "there is room for those who have asked already"
    );
    for n in 1..=written {
        assert!(client.line(&format!("strlen key:{n}")).starts_with(":1000"));
    }
    disk.block_syncs(false);
    wait_until_writes_go_on(&engine);
    client.line("set after 1");
}

#[test]
fn past_the_bound_writes_wait_and_are_refused_in_the_end_and_reads_go_on() {
    let (_dir, engine, disk) = on_hanging_disk(Duration::from_secs(3600));
    let mut client = Client::of(&engine);
    disk.block_syncs(true);
    client.line("set a 1");
    engine.configure_log(|options| options.max_unsynced = Duration::ZERO);
    while !matches!(engine.may_write(), MayWrite::Later) {
        std::thread::yield_now();
    }
    let log = engine.log().unwrap();
    assert!(log.oldest_unsynced_age() > Duration::ZERO);
    assert_eq!(
        engine.write_log(Lsn::MAX, false),
        log.durable(),
        "replies wait for a sync"
    );
    engine.configure_log(|options| options.unsynced_wait = Duration::ZERO);
    let MayWrite::Refused(error) = engine.may_write() else {
        panic!("{:?}", engine.may_write());
    };
    assert!(error.to_string().starts_with("MISCONF"), "{error}");
    assert!(client.line("get a").contains('1'));
    disk.block_syncs(false);
    engine.configure_log(|options| options.max_unsynced = Duration::from_secs(2));
    wait_until_writes_go_on(&engine);
    client.line("set a 2");
}

#[test]
fn a_log_that_could_not_begin_is_tried_again_and_commands_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let mut options = Options::new(dir.path());
    options.disk = Arc::new(disk.clone());
    options.appendonly = false;
    let engine = open_with(options);
    let mut client = Client::of(&engine);
    client.line("set a 1");
    disk.fail_writes(Some(libc::ENOSPC));
    assert!(
        engine.turn_log_on().is_err(),
        "there is no room for its first segment"
    );
    assert!(!engine.wants_log());
    disk.fail_writes(None);
    engine.turn_log_on().unwrap();
    // The base has been begun by now, or will be: it fails either way, or has succeeded before.
    disk.fail_writes(Some(libc::ENOSPC));
    client.line("set b 2");
    engine.wait_for_snapshot();
    client.line("set c 3");
    disk.fail_writes(None);
    while engine.log().is_none() || engine.log_has_failed() {
        engine.begin_due_snapshots();
        std::thread::yield_now();
    }
    let digest = client.digest();
    drop(client);
    drop(engine);
    assert_eq!(Client::of(&reopen(dir.path())).digest(), digest);
}

#[test]
fn the_directory_changes_while_the_log_is_off() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = open_with(Options {
        appendonly: false,
        ..Options::new(first.path())
    });
    let mut client = Client::of(&engine);
    client.line("set a 1");
    engine.save().unwrap();
    engine.change_dir(second.path().to_owned()).unwrap();
    client.line("set a 2");
    engine.save().unwrap();
    engine.turn_log_on().unwrap();
    engine.wait_for_snapshot();
    assert!(matches!(
        engine.change_dir(first.path().to_owned()),
        Err(MoveError::LogIsOn)
    ));
    client.line("set a 3");
    // The first one is free for others.
    let other = open_with(Options {
        appendonly: false,
        ..Options::new(first.path())
    });
    assert!(Client::of(&other).line("get a").contains('1'));
    drop(client);
    drop(engine);
    assert!(
        Client::of(&reopen(second.path()))
            .line("get a")
            .contains('3')
    );
}

#[test]
fn due_keys_are_hidden_but_stay_while_the_data_must_not_change_by_itself() {
    let engine = Engine::in_memory().unwrap();
    let mut client = Client::of(&engine);
    client.line("set a 1");
    client.line("set b 1");
    let mut settings = (*engine.settings()).clone();
    settings.active_expire = false;
    engine.set_settings(settings.clone());
    client.line("pexpireat a 1700000000000");
    assert_eq!(client.line("exists a"), ":0\r\n", "it is over already");
    client.line("set a 1 px 1");
    let due = crate::types::UnixMillis::now().0 + 1;
    while crate::types::UnixMillis::now().0 <= due {
        std::thread::yield_now();
    }
    settings.keep_due = true;
    engine.set_settings(settings.clone());
    assert_eq!(client.line("get a"), "$-1\r\n");
    assert_eq!(client.line("exists a b"), ":1\r\n");
    assert!(!client.line("keys *").contains("$1\r\na"));
    assert_eq!(client.line("dbsize"), ":2\r\n", "it is there still");
    settings.keep_due = false;
    engine.set_settings(settings);
    assert_eq!(client.line("get a"), "$-1\r\n");
    assert_eq!(client.line("dbsize"), ":1\r\n");
}
