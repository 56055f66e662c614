//! What is gone stays gone, and what must not be written to is not: rows 16 (the reserve), 35, 61 and 62 of the table of faults.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hardtack_storage::command::Flags;
use hardtack_storage::disk::Disk;
use hardtack_storage::engine::{EvictionPolicy, Options, Settings};
use hardtack_storage::log::{Failure, LogStatus, SyncPolicy};
use hardtack_storage::testing::{CallKind, EIO, Fault, SimDisk};

use crate::rows::{keys_from_the_first, open_roomy, put};
use crate::store::{DIR, Store, new_disk};

use SyncPolicy::{Always, EverySec};

/// Snapshots leave to the log what the reserve says, and go on by themselves when there is space.
#[test]
fn fault_16_snapshots_leave_the_reserve_to_the_log() {
    const RESERVE: u64 = 256 << 10;
    for policy in [Always, EverySec] {
        let disk = new_disk(16);
        let mut store = open_roomy(&disk, policy);
        let reserve = |bytes| Settings {
            disk_reserve_bytes: bytes,
            ..Settings::default()
        };
        store.engine.set_settings(reserve(RESERVE));
        // Values that no compression makes shorter: more than is free beyond the reserve.
        let mut word = 1u64;
        for n in 0..8 {
            let value: String = (0..4000)
                .map(|_| {
                    word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    format!("{:016x}", word ^ word >> 29)
                })
                .collect();
            let answer = store.run(
                0,
                &[b"set", format!("large{n}").as_bytes(), value.as_bytes()],
            );
            assert!(store.acknowledge(answer.lsn));
            store.settle();
        }
        let full = |free: u64| disk.set_capacity(Some(disk.used_bytes() + free));
        let (base, _) = store.log().base();
        let listed = |disk: &SimDisk| (disk.list(Path::new(DIR)).unwrap(), files(disk));
        let before = listed(&disk);

        // Not even begun.
        full(RESERVE - 1);
        for refused in [
            store.engine.save(),
            store.engine.rewrite_log_in_background(),
        ] {
            let reason = refused.unwrap_err().to_string();
            assert!(reason.contains("disk-reserve-bytes"), "{reason}");
        }
        // Begun, and stopped in time.
        full(RESERVE + (300 << 10));
        let reason = store.engine.save().unwrap_err().to_string();
        assert!(reason.contains("disk-reserve-bytes"), "{reason}");
        assert!(!store.rewrite());
        let info = store.engine.snapshot_info();
        assert!(!info.last_save_ok && !info.last_rewrite_ok);
        assert!(info.last_error.unwrap().contains("disk-reserve-bytes"));
        assert!(
            info.rewrite_retry_in.unwrap() > Duration::ZERO,
            "it is tried again, later"
        );
        assert_eq!(store.log().base().0, base);
        assert_eq!(listed(&disk), before, "nothing temporary is left");
        assert!(disk.free_bytes(Path::new(DIR)).unwrap() >= RESERVE);

        // The log goes on: the reserve is its own.
        full(RESERVE - 1);
        for n in 0..20 {
            put(&mut store, n);
        }
        full(4 << 20);
        assert!(store.rewrite());
        store.engine.save().unwrap();
        let info = store.engine.snapshot_info();
        assert_eq!((info.last_error, info.rewrite_retry_in), (None, None));
        let mut after = open_roomy(&disk.kill(), policy);
        assert_eq!(keys_from_the_first(&mut after, 20), 20);
    }
}

fn files(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(&Path::new(DIR).join("appendonlydir")).unwrap();
    names
        .into_iter()
        .filter(|name| !name.starts_with("temp-segment"))
        .collect()
}

/// A log that has failed is healed although the reserve is broken: writes are what it is for.
#[test]
fn fault_16_healing_may_use_the_reserve() {
    let disk = new_disk(16);
    let mut store = open_roomy(&disk, Always);
    store.engine.set_settings(Settings {
        disk_reserve_bytes: 1 << 30,
        ..Settings::default()
    });
    put(&mut store, 0);
    disk.set_capacity(Some(disk.used_bytes() + (1 << 20)));
    disk.inject(Fault::errno(EIO).on(CallKind::Write));
    let lost = store.line("set key1 value1");
    assert!(!store.acknowledge(lost.lsn));
    assert!(store.rewrite(), "healed");
    put(&mut store, 2);
    let mut after = open_roomy(&disk.crash_keeping_synced(), Always);
    assert_eq!(keys_from_the_first(&mut after, 3), 3);
}

/// The directory is removed, or its file system unmounted, so that an empty directory is in its place.
#[test]
fn fault_35_directory_that_is_gone_refuses_writes_and_is_not_made_anew() {
    let (dir, elsewhere) = (Path::new(DIR), Path::new("/elsewhere"));
    for policy in [Always, EverySec] {
        for unmounted in [false, true] {
            let disk = new_disk(35);
            let mut store = open_roomy(&disk, policy);
            put(&mut store, 0);
            store.log().check_place();
            assert_eq!(store.log().status(), LogStatus::Ok);
            disk.rename(dir, elsewhere).unwrap();
            if unmounted {
                disk.create_dir(dir).unwrap();
            }
            store.log().check_place();
            let status = store.log().status();
            assert!(
                matches!(
                    &status,
                    LogStatus::Failed {
                        reason: Failure::Gone { .. },
                        ..
                    }
                ),
                "{status:?}"
            );
            let refusal = store.refusal().expect("writes are refused");
            assert!(
                refusal.contains("removed, or its file system unmounted"),
                "{refusal}"
            );
            assert_eq!(store.line("get key0").text(), "$6\r\nvalue0\r\n");
            let refused = store.engine.save().unwrap_err().to_string();
            assert!(refused.contains("unmounted"), "{refused}");
            for _ in 0..3 {
                assert!(!store.rewrite());
            }
            assert!(store.refusal().is_some());
            match unmounted {
                true => assert_eq!(disk.list(dir).unwrap(), [""; 0], "nothing is made there"),
                false => assert_eq!(disk.metadata(dir).unwrap(), None),
            }
            // It is there again.
            disk.rename(elsewhere, dir).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            assert!(store.rewrite(), "healed");
            put(&mut store, 1);
            store.log().sync_now().unwrap();
            let mut after = open_roomy(&disk.crash_keeping_synced(), policy);
            assert_eq!(keys_from_the_first(&mut after, 2), 2);
        }
    }
}

/// Only the log's own directory is gone.
#[test]
fn fault_35_directory_of_the_log_that_is_gone_refuses_writes() {
    let disk = new_disk(35);
    let mut store = open_roomy(&disk, EverySec);
    put(&mut store, 0);
    let log_dir = Path::new(DIR).join("appendonlydir");
    disk.rename(&log_dir, Path::new("/elsewhere")).unwrap();
    store.log().check_place();
    assert!(store.refusal().is_some());
    assert!(!store.rewrite());
    assert_eq!(disk.metadata(&log_dir).unwrap(), None);
}

/// The server is told that the log is off, and on: the directory that is there now is the right one.
#[test]
fn fault_35_log_can_be_begun_in_a_new_directory() {
    let dir = Path::new(DIR);
    let disk = new_disk(35);
    let mut store = open_roomy(&disk, Always);
    put(&mut store, 0);
    disk.rename(dir, Path::new("/elsewhere")).unwrap();
    store.log().check_place();
    assert!(store.refusal().is_some());
    disk.create_dir(dir).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.set_hook(None);
    store.engine.turn_log_off().unwrap();
    store.engine.turn_log_on().unwrap();
    while store.engine.log().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(store.refusal(), None);
    put(&mut store, 1);
    let mut after = open_roomy(&disk.crash_keeping_synced(), Always);
    assert_eq!(keys_from_the_first(&mut after, 2), 2);
}

/// A counter whose old value must not be counted on: it has expired, or was evicted. Then the log says so before it has
/// what came after.
fn counter_begins_anew(store: &mut Store, set: &str, go: impl FnOnce(&mut Store)) -> u64 {
    let set = store.line(set);
    assert!(store.acknowledge(set.lsn));
    store.settle();
    go(store);
    let read = store.line("get counter");
    assert_eq!(read.text(), "$-1\r\n");
    assert!(store.acknowledge(read.lsn));
    let incremented = store.line("incr counter");
    assert_eq!(incremented.text(), ":1\r\n");
    assert!(store.acknowledge(incremented.lsn));
    store.settle();
    incremented.lsn.0
}

/// Cuts the power at each step; `check` is given the disk that is found, where its log ends, and words for a failure.
fn at_each_step(disk: &SimDisk, policy: SyncPolicy, mut check: impl FnMut(Store, u64, &str)) {
    let mut tape = disk.tape().expect("it was recorded");
    loop {
        for seed in 0..3 {
            let words = format!("{policy:?}, step {}, seed {seed}", tape.position());
            let store = Store::open(&tape.crash(seed), policy)
                .unwrap_or_else(|error| panic!("{words}: {error}"));
            let end = store.log().recovery_report().end.0;
            check(store, end, &words);
        }
        if !tape.forward() {
            return;
        }
    }
}

#[test]
fn fault_61_what_has_expired_is_not_back_after_a_crash() {
    for policy in [Always, EverySec] {
        let disk = new_disk(61);
        disk.record();
        let mut store = Store::open(&disk, policy).unwrap();
        let lsn = counter_begins_anew(&mut store, "set counter 5 px 2", |_| {
            let since = Instant::now();
            while since.elapsed() < Duration::from_millis(4) {
                std::hint::spin_loop();
            }
        });
        at_each_step(&disk, policy, |mut after, end, words| {
            // Before that the old value is there, and has expired by now.
            let expected = if end >= lsn { "$1\r\n1\r\n" } else { "$-1\r\n" };
            assert_eq!(after.line("get counter").text(), expected, "{words}");
        });
    }
}

/// Bytes in use, as the engine of the test below is told.
static USED: AtomicU64 = AtomicU64::new(0);

#[test]
fn fault_61_what_was_evicted_is_not_back_after_a_crash() {
    for policy in [Always, EverySec] {
        let disk = new_disk(61);
        disk.record();
        let options = Options {
            memory_used: || USED.load(Ordering::SeqCst),
            ..crate::store::options(&disk, policy)
        };
        USED.store(0, Ordering::SeqCst);
        let mut store = Store::open_with(&disk, options).unwrap();
        store.engine.set_settings(Settings {
            maxmemory: 1 << 60,
            maxmemory_policy: EvictionPolicy::AllKeysRandom,
            ..Settings::default()
        });
        let lsn = counter_begins_anew(&mut store, "set counter 5", |store| {
            USED.store(u64::MAX, Ordering::SeqCst);
            let mut worker = store.engine.worker();
            // Everything goes, and is not enough.
            assert!(worker.turn().make_room(Flags::DENYOOM).is_err());
            USED.store(0, Ordering::SeqCst);
        });
        let mut old = 0;
        at_each_step(&disk, policy, |mut after, end, words| {
            let value = after.line("get counter").text();
            if end >= lsn {
                assert_eq!(value, "$1\r\n1\r\n", "{words}");
            } else {
                assert!(
                    ["$-1\r\n", "$1\r\n5\r\n"].contains(&value.as_str()),
                    "{words}: {value}"
                );
                old += u32::from(value.contains('5'));
            }
        });
        assert!(old > 0, "the old value was durable before it went");
    }
}

#[test]
fn fault_62_what_was_deleted_is_not_back_after_a_crash() {
    for deletion in [
        "del key0 key1",
        "unlink key0 key1",
        "flushall",
        "flushdb async",
    ] {
        for policy in [Always, EverySec] {
            let disk = new_disk(62);
            disk.record();
            let mut store = Store::open(&disk, policy).unwrap();
            for n in 0..2 {
                put(&mut store, n);
            }
            // Also when the base has them.
            assert!(store.rewrite());
            let deleted = store.line(deletion);
            assert!(store.acknowledge(deleted.lsn));
            store.settle();
            if policy == EverySec {
                store.log().sync_now().unwrap();
            }
            let acked = disk.recorded();
            // Files change once more, and old ones go.
            assert!(store.rewrite());
            let mut there_before = 0;
            let mut tape = disk.tape().expect("it was recorded");
            loop {
                for seed in 0..3 {
                    let mut after = Store::open(&tape.crash(seed), policy).unwrap();
                    let there = after.line("exists key0 key1").text();
                    if tape.position() >= acked {
                        assert_eq!(there, ":0\r\n", "{deletion}, step {}", tape.position());
                    }
                    there_before += u32::from(there == ":2\r\n");
                }
                if !tape.forward() {
                    break;
                }
            }
            assert!(there_before > 0);
        }
    }
}
