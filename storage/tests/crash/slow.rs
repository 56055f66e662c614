//! Slow and hanging disks, and the deaths of processes: rows 1 to 3, 25 and 26 of the table of faults, on the simulated disk.
//! (`server/tests` kills the binary on a real one.)
//!
//! There is no clock: a call to the disk takes as long as the test says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hardtack_storage::disk::Disk;
use hardtack_storage::engine::{Engine, MayWrite};
use hardtack_storage::log::{Log, SyncPolicy};
use hardtack_storage::testing::{CallKind, SimDisk};

use crate::power::{Expected, check_opens};
use crate::rows::{every_moment, keys_from_the_first, open_roomy, put, roomy};
use crate::run::{Book, Run};
use crate::store::{DIR, Store, new_disk};

use SyncPolicy::{Always, EverySec, No};

/// Calls of one kind on segments wait while it is shut.
struct Door {
    shut: AtomicBool,
    waiting: AtomicUsize,
}

impl Door {
    fn on(disk: &SimDisk, kind: CallKind) -> Arc<Door> {
        let door = Arc::new(Door {
            shut: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
        });
        let hung = door.clone();
        disk.set_hook(Some(Arc::new(move |call| {
            let name = call.path.to_string_lossy();
            if call.kind != kind || !(name.contains("incr.aof") || name.contains("segment")) {
                return;
            }
            hung.waiting.fetch_add(1, Ordering::SeqCst);
            while hung.shut.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            hung.waiting.fetch_sub(1, Ordering::SeqCst);
        })));
        door
    }

    fn wait_for_a_call(&self) {
        while self.waiting.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
    }

    fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
    }
}

fn spawn_sync(log: Arc<Log>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || drop(log.sync_now()))
}

/// Rules 1 and 2 at once: each answer as early as its policy allows, also while a sync takes for ever.
#[test]
fn fault_02_killed_while_a_sync_hangs_keeps_what_was_acked() {
    const WRITES: usize = 40;
    for policy in [EverySec, No] {
        let disk = new_disk(2);
        let mut store = open_roomy(&disk, policy);
        put(&mut store, 0);
        let door = Door::on(&disk, CallKind::Sync);
        let sync = spawn_sync(store.log());
        door.wait_for_a_call();
        let durable = store.log().durable();
        for n in 1..WRITES {
            let answer = store.line(&format!("set key{n} value{n}"));
            assert!(store.acknowledge(answer.lsn), "write {n}");
        }
        assert_eq!(store.log().durable(), durable, "the sync hangs");
        let found = disk.kill();
        door.open();
        sync.join().unwrap();
        let mut after = open_roomy(&found, policy);
        assert_eq!(keys_from_the_first(&mut after, WRITES), WRITES);
    }
}

#[test]
fn fault_01_killed_while_a_sync_hangs_has_acked_nothing_that_is_lost() {
    let disk = new_disk(1);
    let mut store = open_roomy(&disk, Always);
    put(&mut store, 0);
    let door = Door::on(&disk, CallKind::Write);
    let answer = store.line("set key1 value1");
    assert!(store.engine.write_log(answer.lsn, false) < answer.lsn);
    door.wait_for_a_call();
    assert!(
        store.engine.write_log(answer.lsn, false) < answer.lsn,
        "no answer"
    );
    // Whoever reads what is not durable waits, too; others do not.
    let dirty = store.line("get key1");
    assert!(store.engine.write_log(dirty.lsn, false) < dirty.lsn);
    let clean = store.line("get key0");
    assert!(store.engine.write_log(clean.lsn, false) >= clean.lsn);
    assert_eq!(clean.text(), "$6\r\nvalue0\r\n");
    let found = disk.kill();
    door.open();
    let mut after = open_roomy(&found, Always);
    assert!(keys_from_the_first(&mut after, 2) >= 1);
}

#[test]
fn fault_03_killed_at_any_step_of_files_leaves_no_temporary_ones() {
    for policy in [Always, EverySec, No] {
        let mut run = Run::begin(&new_disk(3), policy, 3, Book::default());
        for n in 0..12 {
            match n {
                2 | 8 => assert!(run.rewrite()),
                4 => run.rotate(),
                6 => assert!(run.save()),
                _ => assert!(run.command()),
            }
        }
        let mut temporary = 0;
        let leftovers = |disk: &SimDisk| {
            let dirs = [
                Path::new(DIR).to_path_buf(),
                Path::new(DIR).join("appendonlydir"),
            ];
            let names = dirs
                .iter()
                .flat_map(|dir| disk.list(dir).unwrap_or_default());
            names
                .filter(|name| name.starts_with("temp-"))
                .collect::<Vec<_>>()
        };
        every_moment(&run, |tape, _| {
            let found = tape.kill();
            temporary += leftovers(&found).len();
            let expected = Expected {
                book: &run.book,
                end_min: run.book.acked(tape.position()),
                policy,
            };
            match check_opens(&found, &expected) {
                // What the next segment is prepared in belongs to the store that has just been opened.
                Ok((store, _)) => store.close(),
                Err(error) => panic!("{policy:?}, step {}: {error}", tape.position()),
            }
            assert_eq!(
                leftovers(&found),
                [""; 0],
                "{policy:?}, step {}",
                tape.position()
            );
        });
        assert!(temporary > 10, "{temporary}");
    }
}

fn may_write(engine: &Engine) -> &'static str {
    match engine.may_write() {
        MayWrite::Now => "now",
        MayWrite::Later => "later",
        MayWrite::Refused(_) => "refused",
    }
}

#[test]
fn fault_25_slow_sync_holds_writes_back_and_leaves_reads_alone() {
    let disk = new_disk(25);
    let mut options = roomy(&disk, EverySec);
    options.log.max_unsynced = Duration::from_millis(2);
    options.log.unsynced_wait = Duration::from_secs(3600);
    let mut store = Store::open_with(&disk, options).unwrap();
    put(&mut store, 0);
    store.log().sync_now().unwrap();
    let door = Door::on(&disk, CallKind::Sync);
    put_without_settling(&mut store, 1);
    let sync = spawn_sync(store.log());
    door.wait_for_a_call();
    // The bound is reached, whenever that is.
    while may_write(&store.engine) == "now" {
        std::thread::yield_now();
    }
    assert_eq!(may_write(&store.engine), "later");
    // Reads go on; the answer to one of what is durable may leave, too.
    for n in 0..2 {
        let read = store.line(&format!("get key{n}"));
        assert_eq!(read.text(), format!("$6\r\nvalue{n}\r\n"));
    }
    let clean = store.line("get key0");
    assert!(store.engine.write_log(clean.lsn, false) >= clean.lsn);
    // What waits too long is refused.
    let impatient = |options: &mut hardtack_storage::log::LogOptions| {
        options.unsynced_wait = Duration::from_millis(1);
    };
    store.engine.configure_log(impatient);
    while may_write(&store.engine) != "refused" {
        std::thread::yield_now();
    }
    let refusal = store.refusal().expect("it is refused");
    assert!(refusal.contains("could not be synced for"), "{refusal}");
    assert_eq!(store.line("get key1").text(), "$6\r\nvalue1\r\n");
    door.open();
    sync.join().unwrap();
    while may_write(&store.engine) != "now" {
        std::thread::yield_now();
    }
}

/// Like `put`, where the log's threads do not come to rest.
fn put_without_settling(store: &mut Store, n: usize) {
    let answer = store.line(&format!("set key{n} value{n}"));
    assert!(store.acknowledge(answer.lsn), "write {n}");
}

#[test]
fn fault_26_hanging_write_leaves_reads_alone_and_loses_nothing() {
    for policy in [Always, EverySec] {
        let disk = new_disk(26);
        let mut store = open_roomy(&disk, policy);
        put(&mut store, 0);
        let door = Door::on(&disk, CallKind::Write);
        let answer = store.line("set key1 value1");
        store.log().kick();
        door.wait_for_a_call();
        for _ in 0..100 {
            let read = store.line("get key0");
            assert_eq!(read.text(), "$6\r\nvalue0\r\n");
            assert!(store.log().written() >= read.lsn, "its answer may leave");
        }
        // The state is there to be seen.
        assert!(store.log().appended() > store.log().written());
        door.open();
        assert!(store.acknowledge(answer.lsn));
        store.settle();
        store.log().sync_now().unwrap();
        let mut after = open_roomy(&disk.crash_keeping_synced(), policy);
        assert_eq!(keys_from_the_first(&mut after, 2), 2);
    }
}
