//! One test for each fault of disks that is expected to happen: what it does, and what a user sees of it (`slow`, `gone` and
//! `accepted` have more).
//!
//! | row | fault | what is expected |
//! |---|---|---|
//! | 6 | power cut, only synced data survive | `always`: all acked; `everysec`: all that a sync covered, and a prefix |
//! | 7 | power cut, torn last write | the tail is cut at a whole record, and reported |
//! | 8 | unsynced writes kept out of order | a prefix up to the hole |
//! | 9 | file size ahead of the data | the zeros are a torn tail |
//! | 10 | names not durable without a sync of their directory | the old generation or the new one, whole |
//! | 11 | a rename durable before the file's data | impossible by protocol; on a disk that lies, found by checksum |
//! | 12 | the log's directory not durable | it is before the first ack |
//! | 13 | power cut during recovery | recovery can be repeated |
//! | 14 | crash between the switch of bases and the removal of the old | opens; the old files go |
//! | 15 | disk full | writes are refused, reads go on, all goes on by itself |
//! | 16 | disk full during compaction or SAVE | the old generation stays, nothing temporary is left |
//! | 17 | quota exceeded, file system read-only | as 15 |
//! | 18 | EIO on writes | as 15, nothing acked is lost |
//! | 19 | short writes | completed |
//! | 20, 21 | EIO on fsync, once and for ever | the file is never trusted again |
//! | 22 | EIO while files are switched | the switch is off, the old generation holds |
//! | 23 | no file descriptors when the next segment is due | the present one is continued |
//! | 24 | EIO on read at start | refused, naming the file |
//! | 27, 28 | flipped bits in the middle and at the end of the log | refused, naming file and offset; a tail |
//! | 29 | a damaged base or RDB file | refused, naming the file |
//! | 30 | zeroed, stale and swapped sectors | found |
//! | 31 | a damaged, empty or missing manifest | refused |
//! | 32 | a missing or empty base or segment | refused |
//! | 33 | a file of another time or log | refused |

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use hardtack_storage::disk::{Disk, read_small_file};
use hardtack_storage::engine::{Options, Session};
use hardtack_storage::log::{LogStatus, RecoverMode, Replid, SyncPolicy};
use hardtack_storage::testing::{
    CallKind, EDQUOT, EIO, EMFILE, ENOSPC, EROFS, Fault, SimDisk, Tape,
};

use crate::power::{Expected, check_found, check_opens};
use crate::run::{Book, Run};
use crate::store::{DIR, Store, new_disk, options};

use SyncPolicy::{Always, EverySec};

pub fn log_dir() -> PathBuf {
    Path::new(DIR).join("appendonlydir")
}

/// Options with room for all of a test in one segment.
pub fn roomy(disk: &SimDisk, policy: SyncPolicy) -> Options {
    let mut options = options(disk, policy);
    options.log.segment_bytes = 64 << 10;
    // Every file that is there counts for the data: damage to history stops no start.
    options.log.retention.bytes = 0;
    options
}

pub fn open_roomy(disk: &SimDisk, policy: SyncPolicy) -> Store {
    Store::open_with(disk, roomy(disk, policy)).expect("the directory opens")
}

/// Writes `key{n}`, acknowledged, each in a frame of its own.
pub fn put(store: &mut Store, n: usize) {
    let answer = store.line(&format!("set key{n} value{n}"));
    assert!(store.acknowledge(answer.lsn), "write {n}");
    store.settle();
}

/// How many of the keys are there; they must be the first ones.
pub fn keys_from_the_first(store: &mut Store, of: usize) -> usize {
    let there: Vec<bool> = (0..of)
        .map(|n| store.line(&format!("exists key{n}")).text() == ":1\r\n")
        .collect();
    let count = there.iter().filter(|there| **there).count();
    assert!(
        there[..count].iter().all(|there| *there),
        "a hole: {there:?}"
    );
    count
}

/// A disk with a log of `count` keys, closed, in one segment.
fn closed(policy: SyncPolicy, count: usize) -> SimDisk {
    let disk = new_disk(1);
    let mut store = open_roomy(&disk, policy);
    for n in 0..count {
        put(&mut store, n);
    }
    store.close();
    disk
}

/// The same in two segments and a base that has the first key.
pub fn closed_in_parts() -> SimDisk {
    let disk = new_disk(1);
    let mut store = open_roomy(&disk, Always);
    put(&mut store, 0);
    assert!(store.rewrite());
    for n in 1..5 {
        put(&mut store, n);
    }
    let cut = store.log().rotate();
    store.log().wait_rotated(cut).unwrap();
    for n in 5..9 {
        put(&mut store, n);
    }
    store.close();
    disk
}

pub fn files(disk: &SimDisk, end: &str) -> Vec<PathBuf> {
    let names = disk.list(&log_dir()).unwrap_or_default();
    let files = names.iter().filter(|name| name.ends_with(end));
    files.map(|name| log_dir().join(name)).collect()
}

/// Such of these files as the manifest does not name.
fn unnamed(disk: &SimDisk, end: &str) -> Vec<PathBuf> {
    let manifest = read(disk, &log_dir().join("appendonly.aof.manifest"));
    let text = String::from_utf8_lossy(&manifest).into_owned();
    let mut files = files(disk, end);
    files.retain(|file| {
        let name = file.file_name().and_then(|name| name.to_str());
        name.is_none_or(|name| !text.contains(&format!(" {name} ")))
    });
    files
}

pub fn read(disk: &SimDisk, path: &Path) -> Vec<u8> {
    read_small_file(disk, path, 1 << 24).expect("the file is there")
}

fn overwrite(disk: &SimDisk, path: &Path, bytes: &[u8]) {
    let file = disk.create(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
}

pub fn change(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = read(disk, path);
    change(&mut bytes);
    overwrite(disk, path, &bytes);
}

/// Where the frames of a segment begin, the birth frame first.
pub fn frames(bytes: &[u8]) -> Vec<usize> {
    let starts = bytes.windows(7).enumerate();
    let starts = starts.filter(|(_, window)| window == b"#F lsn=");
    starts.map(|(at, _)| at).collect()
}

/// The start is refused, with words about it that name `path`, and changes nothing.
pub fn refused(disk: &SimDisk, path: &Path) -> String {
    let before: Vec<_> = files(disk, "")
        .iter()
        .map(|path| read(disk, path))
        .collect();
    let Err(error) = Store::open_with(disk, roomy(disk, Always)) else {
        panic!("a damaged directory was opened");
    };
    let after: Vec<_> = files(disk, "")
        .iter()
        .map(|path| read(disk, path))
        .collect();
    assert!(before == after, "a refused start changed something");
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    text
}

/// A random run of some length.
fn run(policy: SyncPolicy, seed: u64) -> Run {
    let mut run = Run::begin(&new_disk(seed), policy, seed, Book::default());
    run.go(25);
    run
}

/// Does something with every moment of a run.
pub fn every_moment(run: &Run, mut look: impl FnMut(&Tape, &Expected<'_>)) {
    let mut tape = run.disk.tape().expect("runs are recorded");
    loop {
        let expected = Expected {
            book: &run.book,
            end_min: run.book.promised(run.policy, tape.position()),
            policy: run.policy,
        };
        look(&tape, &expected);
        if !tape.forward() {
            return;
        }
    }
}

#[test]
fn fault_06_power_cut_keeps_only_what_was_synced() {
    for policy in [Always, EverySec] {
        every_moment(&run(policy, 61), |tape, expected| {
            let found = check_opens(&tape.crash_keeping_synced(), expected);
            if let Err(error) = found {
                panic!("{policy:?}, step {}: {error}", tape.position());
            }
        });
    }
}

#[test]
fn fault_07_torn_last_write_is_cut_and_reported() {
    let disk = new_disk(7);
    let mut store = open_roomy(&disk, EverySec);
    put(&mut store, 0);
    store.log().sync_now().unwrap();
    disk.record();
    put(&mut store, 1);
    let mut reported = 0;
    let tape = disk.tape().unwrap();
    for seed in 0..60 {
        let Some(found) = tape.crash_inside(seed) else {
            panic!("the first step is the write");
        };
        let mut after = open_roomy(&found, EverySec);
        let there = keys_from_the_first(&mut after, 2);
        assert!(there >= 1, "seed {seed}");
        if let Some(cut) = after.log().recovery_report().cut.clone() {
            assert_eq!(there, 1);
            assert!(cut.bytes > 0 && cut.position > 0, "{cut:?}");
            assert_eq!(read(&found, &cut.kept_as).len() as u64, cut.bytes);
            assert!(cut.reason.starts_with("torn_tail"), "{cut:?}");
            reported += 1;
        }
    }
    assert!(reported > 10, "{reported}");
}

#[test]
fn fault_08_unsynced_writes_kept_out_of_order_leave_a_prefix() {
    let disk = new_disk(8);
    let mut store = open_roomy(&disk, EverySec);
    let count = 40;
    for n in 0..count {
        put(&mut store, n);
    }
    disk.record();
    let tape = disk.tape().unwrap();
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let found = tape.crash(seed);
        let mut after = open_roomy(&found, EverySec);
        lengths.insert(keys_from_the_first(&mut after, count));
    }
    assert!(lengths.contains(&0) && lengths.contains(&count));
    assert!(lengths.len() > 5, "holes at many places: {lengths:?}");
}

#[test]
fn fault_09_file_size_ahead_of_the_data_is_a_torn_tail() {
    for zeros in [1, 100, 4096, 20_000] {
        let disk = new_disk(9);
        let mut store = open_roomy(&disk, EverySec);
        put(&mut store, 0);
        store.log().sync_now().unwrap();
        let found = disk.crash_keeping_synced();
        let segment = files(&found, "incr.aof").pop().unwrap();
        change(&found, &segment, |bytes| {
            bytes.resize(bytes.len() + zeros, 0)
        });
        let mut after = open_roomy(&found, EverySec);
        assert_eq!(keys_from_the_first(&mut after, 1), 1);
        assert!(after.log().recovery_report().cut.is_some());
    }
}

#[test]
fn fault_10_names_that_are_not_durable_leave_one_whole_generation() {
    for policy in [Always, EverySec] {
        let disk = new_disk(10);
        let mut run = Run::begin(&disk, policy, 10, Book::default());
        for _ in 0..5 {
            run.command();
        }
        let before = run.disk.recorded();
        assert!(run.rewrite());
        run.command();
        let mut bases = BTreeSet::new();
        every_moment(&run, |tape, expected| {
            for seed in 0..if tape.position() < before { 0 } else { 8 } {
                let found = tape.crash(seed);
                match check_opens(&found, expected) {
                    Ok((store, _)) => bases.insert(store.log().base().0),
                    Err(error) => panic!("step {}, seed {seed}: {error}", tape.position()),
                };
            }
        });
        assert_eq!(bases.len(), 2, "the old base and the new: {bases:?}");
    }
}

#[test]
fn fault_11_name_durable_before_its_contents_is_found_by_checksum() {
    let mut refusals = 0;
    for seed in 0..40 {
        let disk = new_disk(seed);
        let mut run = Run::begin(&disk, Always, seed, Book::default());
        for _ in 0..8 {
            run.command();
        }
        // The disk says that the new base is synced.
        disk.inject(
            Fault::lost_sync()
                .on(CallKind::Sync)
                .named("temp-base")
                .forever(),
        );
        assert!(run.rewrite());
        let expected = Expected {
            book: &run.book,
            end_min: 0,
            policy: Always,
        };
        match Store::open(&disk.crash(seed), Always) {
            Err(_) => refusals += 1,
            Ok(store) => {
                drop(store);
                if let Err(error) = check_opens(&disk.crash(seed), &expected) {
                    panic!("seed {seed}: {error}");
                }
            }
        }
    }
    assert!(refusals > 5, "{refusals}");
}

#[test]
fn fault_12_directory_of_the_log_is_durable_before_the_first_ack() {
    for policy in [Always, EverySec] {
        let disk = new_disk(12);
        let mut store = Store::open(&disk, policy).unwrap();
        put(&mut store, 0);
        if policy == EverySec {
            store.log().sync_now().unwrap();
        }
        let mut after = Store::open(&disk.crash_keeping_synced(), policy).unwrap();
        assert_eq!(keys_from_the_first(&mut after, 1), 1);
    }
}

#[test]
fn fault_13_recovery_can_be_cut_off_at_each_step() {
    let mut cuts = 0;
    for seed in 0..6 {
        let run = run(EverySec, 130 + seed);
        let expected = Expected {
            book: &run.book,
            end_min: 0,
            policy: EverySec,
        };
        let found = run.disk.crash(seed);
        found.record();
        let (store, end) = check_opens(&found, &expected).unwrap();
        cuts += usize::from(store.log().recovery_report().cut.is_some());
        let mut tape = found.tape().unwrap();
        loop {
            for again in 0..3 {
                let (_, end_again) = check_opens(&tape.crash(again), &expected)
                    .unwrap_or_else(|e| panic!("seed {seed}, step {}: {e}", tape.position()));
                assert_eq!(end_again, end, "seed {seed}, step {}", tape.position());
            }
            if !tape.forward() {
                break;
            }
        }
        drop(store);
    }
    assert!(cuts > 0, "no recovery had something to do");
}

#[test]
fn fault_14_old_files_that_were_not_removed_are_harmless_and_go() {
    let disk = new_disk(14);
    let mut run = Run::begin(&disk, Always, 14, Book::default());
    for _ in 0..6 {
        run.command();
    }
    assert!(run.rewrite());
    let mut seen = 0;
    every_moment(&run, |tape, expected| {
        let found = tape.kill();
        if files(&found, "base.rdb").len() < 2 {
            return;
        }
        seen += 1;
        let (store, _) = check_opens(&found, expected).unwrap();
        let used = store.log().base().0;
        assert!(store.rewrite());
        let left = unnamed(&found, "base.rdb");
        assert!(
            left.is_empty(),
            "step {}, used {used:?}: {left:?}",
            tape.position()
        );
    });
    assert!(seen > 1, "{seen}");
}

/// Writes until they are refused, checks what a user sees of it, lets the disk work again, and checks that all goes on
/// and that nothing that was acknowledged is lost.
fn refused_and_resumed(policy: SyncPolicy, fail: impl Fn(&SimDisk), mend: impl Fn(&SimDisk)) {
    let disk = new_disk(15);
    let mut run = Run::begin(&disk, policy, 15, Book::default());
    for _ in 0..5 {
        assert!(run.command());
    }
    fail(&disk);
    for _ in 0..200 {
        run.command();
        if policy != Always {
            let _ = run.store().log().sync_now();
        }
        if run.store().refusal().is_some() {
            break;
        }
    }
    let refusal = run.store().refusal().expect("writes are refused");
    assert!(refusal.starts_with("MISCONF "), "{refusal}");
    let data = run.store().data();
    run.store().rewrite();
    assert!(run.store().refusal().is_some(), "the disk still fails");
    assert_eq!(run.store().data(), data, "reads go on");
    mend(&disk);
    assert!(run.rewrite(), "healed");
    assert_eq!(run.store().log().status(), LogStatus::Ok);
    assert_eq!(run.store().data(), data);
    for _ in 0..5 {
        assert!(run.command());
    }
    let end = run.store().log().appended().0;
    if policy != Always {
        run.store().log().sync_now().unwrap();
    }
    let expected = Expected {
        book: &run.book,
        end_min: end,
        policy,
    };
    check_found(&disk.crash_keeping_synced(), &expected, 1).unwrap();
}

fn fault_for_ever(fault: Fault) {
    for policy in [Always, EverySec] {
        let fault = fault.clone().forever();
        refused_and_resumed(
            policy,
            |disk| disk.inject(fault.clone()),
            SimDisk::clear_faults,
        );
    }
}

#[test]
fn fault_15_full_disk_refuses_writes_and_resumes() {
    for policy in [Always, EverySec] {
        refused_and_resumed(
            policy,
            |disk| disk.set_capacity(Some(disk.used_bytes() + 300)),
            |disk| disk.set_capacity(None),
        );
    }
    fault_for_ever(Fault::errno(ENOSPC).on(CallKind::Write));
}

#[test]
fn fault_15_log_is_healed_without_a_hand() {
    let disk = new_disk(15);
    let mut store = Store::open(&disk, Always).unwrap();
    store.engine.start_housekeeping().unwrap();
    put(&mut store, 0);
    disk.inject(Fault::errno(ENOSPC).on(CallKind::Write).forever());
    let answer = store.line("set key1 value1");
    assert!(!store.acknowledge(answer.lsn));
    assert!(store.refusal().is_some());
    disk.clear_faults();
    while store.refusal().is_some() {
        std::thread::yield_now();
    }
    put(&mut store, 2);
    let mut after = Store::open(&disk.crash_keeping_synced(), Always).unwrap();
    // What was not acknowledged was executed, and became part of the new base.
    assert_eq!(keys_from_the_first(&mut after, 3), 3);
}

#[test]
fn fault_16_full_disk_during_compaction_or_save_keeps_the_old_generation() {
    for policy in [Always, EverySec] {
        let disk = new_disk(16);
        let mut run = Run::begin(&disk, policy, 16, Book::default());
        for _ in 0..8 {
            run.command();
        }
        assert!(run.save());
        let names = |disk: &SimDisk| disk.list(Path::new(DIR)).unwrap();
        let (base, saved) = (
            run.store().log().base().0,
            read(&disk, Path::new("/data/dump.rdb")),
        );
        let before = names(&disk);
        disk.inject(
            Fault::errno(ENOSPC)
                .on(CallKind::Write)
                .named("rdb")
                .forever(),
        );
        assert!(!run.rewrite() && !run.save());
        assert!(!run.store().engine.snapshot_info().last_save_ok);
        assert_eq!(run.store().log().base().0, base);
        assert_eq!(read(&disk, Path::new("/data/dump.rdb")), saved);
        assert_eq!(names(&disk), before, "nothing temporary is left");
        assert_eq!(files(&disk, "base.rdb"), std::slice::from_ref(&base));
        assert!(run.command(), "writes go on");
        disk.clear_faults();
        assert!(run.rewrite() && run.save());
        assert_ne!(run.store().log().base().0, base);
    }
}

#[test]
fn fault_16_unfinished_save_is_removed_at_the_next_start() {
    let disk = new_disk(16);
    let mut run = Run::begin(&disk, Always, 16, Book::default());
    run.command();
    assert!(run.save());
    let mut seen = false;
    every_moment(&run, |tape, _| {
        let found = tape.kill();
        let temporary = |disk: &SimDisk| {
            let names = disk.list(Path::new(DIR)).unwrap();
            names.iter().any(|name| name.starts_with("temp-"))
        };
        seen |= temporary(&found);
        drop(Store::open(&found, Always).unwrap());
        assert!(!temporary(&found), "step {}", tape.position());
    });
    assert!(seen);
}

#[test]
fn fault_17_exceeded_quota_and_read_only_file_system_refuse_writes_and_resume() {
    fault_for_ever(Fault::errno(EDQUOT).on(CallKind::Write));
    fault_for_ever(Fault::errno(EROFS));
}

#[test]
fn fault_18_failing_writes_lose_nothing_acked() {
    fault_for_ever(Fault::errno(EIO).on(CallKind::Write));
    once(Fault::errno(EIO).on(CallKind::Write));
}

/// A fault befalls the next call once; the log fails, and heals at once. The file that failed is not used again.
fn once(fault: Fault) {
    for policy in [Always, EverySec] {
        let disk = new_disk(18);
        let mut run = Run::begin(&disk, policy, 18, Book::default());
        for _ in 0..5 {
            assert!(run.command());
        }
        disk.inject(fault.clone());
        run.command();
        if policy != Always {
            let _ = run.store().log().sync_now();
        }
        assert_eq!(disk.faulted(), 1);
        assert_ne!(run.store().log().status(), LogStatus::Ok);
        let old = run.store().log().segments().pop().unwrap().name;
        assert!(run.rewrite(), "healed");
        assert_ne!(run.store().log().segments().pop().unwrap().name, old);
        for _ in 0..5 {
            assert!(run.command());
        }
        if policy != Always {
            run.store().log().sync_now().unwrap();
        }
        let expected = Expected {
            book: &run.book,
            end_min: run.store_end(),
            policy,
        };
        check_found(&disk.crash_keeping_synced(), &expected, 1).unwrap();
    }
}

#[test]
fn fault_19_short_writes_are_completed() {
    for policy in [Always, EverySec] {
        let disk = new_disk(19);
        disk.inject(Fault::short_write(5).forever());
        let mut run = Run::begin(&disk, policy, 19, Book::default());
        for _ in 0..10 {
            assert!(run.command());
        }
        assert!(run.rewrite() && run.save());
        every_moment(&run, |tape, expected| {
            if tape.position() % 50 == 0 {
                check_opens(&tape.crash(1), expected).unwrap();
            }
        });
        run.restart();
    }
}

#[test]
fn fault_20_failed_sync_ends_the_file_once() {
    once(Fault::errno(EIO).on(CallKind::Sync));
}

#[test]
fn fault_21_syncs_that_fail_for_ever_stop_acks() {
    for policy in [Always, EverySec] {
        refused_and_resumed(
            policy,
            |disk| disk.inject(Fault::errno(EIO).on(CallKind::Sync).forever()),
            SimDisk::clear_faults,
        );
    }
}

#[test]
fn fault_22_failing_switches_keep_the_old_generation() {
    let faults = [
        Fault::errno(EIO).on(CallKind::Sync).named("temp-base"),
        Fault::errno(EIO).on(CallKind::Sync).named("manifest"),
        Fault::errno(EIO).on(CallKind::Rename).named("temp-base"),
        Fault::errno(EIO).on(CallKind::Rename).named("manifest"),
        Fault::errno(EIO).on(CallKind::SyncDir),
        Fault::errno(EIO).on(CallKind::SyncDir).skip(1),
        Fault::errno(EIO).on(CallKind::SyncDir).skip(2),
        Fault::errno(EIO).on(CallKind::SyncDir).skip(3),
    ];
    for (which, fault) in faults.iter().enumerate() {
        let disk = new_disk(22);
        let mut run = Run::begin(&disk, Always, 22, Book::default());
        for _ in 0..6 {
            assert!(run.command());
        }
        disk.inject(fault.clone());
        let switched = run.rewrite();
        assert_eq!(disk.faulted(), 1, "fault {which}");
        if !switched {
            // Reported, and tried again.
            assert!(!run.store().engine.snapshot_info().last_rewrite_ok);
            assert!(run.rewrite(), "fault {which}");
        }
        assert!(run.command(), "fault {which}");
        assert!(run.rewrite(), "fault {which}");
        assert!(run.command(), "fault {which}");
        every_moment(&run, |tape, expected| {
            for seed in 0..2 {
                let found = tape.crash(seed);
                if let Err(error) = check_opens(&found, expected) {
                    panic!(
                        "fault {which}, step {}, seed {seed}: {error}",
                        tape.position()
                    );
                }
            }
        });
        let left = unnamed(&disk, "base.rdb");
        assert!(left.is_empty(), "fault {which}: {left:?}");
    }
}

#[test]
fn fault_23_no_descriptor_for_the_next_segment_continues_the_present_one() {
    for policy in [Always, EverySec] {
        let disk = new_disk(23);
        let mut run = Run::begin(&disk, policy, 23, Book::default());
        disk.inject(Fault::errno(EMFILE).on(CallKind::Create).forever());
        for _ in 0..60 {
            assert!(run.command());
        }
        assert!(disk.faulted() > 0, "a segment was due");
        assert_eq!(run.store().log().segments().len(), 1);
        disk.clear_faults();
        run.rotate();
        assert_eq!(run.store().log().segments().len(), 2);
        run.restart();
    }
}

#[test]
fn fault_24_failing_reads_at_start_are_refused() {
    let disk = closed_in_parts();
    let [base] = &files(&disk, "base.rdb")[..] else {
        panic!("one base")
    };
    let segments = files(&disk, "incr.aof");
    let manifest = log_dir().join("appendonly.aof.manifest");
    for (kind, path) in [
        (CallKind::View, base),
        (CallKind::View, &segments[0]),
        (CallKind::View, &segments[1]),
        (CallKind::Open, base),
        (CallKind::Open, &segments[0]),
        (CallKind::Read, &manifest),
    ] {
        let name = path.file_name().unwrap().to_str().unwrap();
        disk.inject(Fault::errno(EIO).on(kind).named(name).forever());
        let Err(error) = Store::open(&disk, Always) else {
            panic!("opened although {name} cannot be read");
        };
        assert!(error.to_string().contains(name), "{error}");
        disk.clear_faults();
    }
    let mut store = open_roomy(&disk, Always);
    assert_eq!(keys_from_the_first(&mut store, 9), 9);
}

#[test]
fn fault_27_flipped_bits_in_the_middle_are_refused_with_file_and_offset() {
    let whole = closed(Always, 12);
    let segment = files(&whole, "incr.aof").pop().unwrap();
    let starts = frames(&read(&whole, &segment));
    // The frames after it say that this one was durable.
    for at in starts[1]..starts[starts.len() - 2] {
        let disk = closed_copy(&whole);
        change(&disk, &segment, |bytes| bytes[at] ^= 1 << (at % 8));
        let frame = starts.iter().rfind(|start| **start <= at).unwrap();
        let text = refused(&disk, &segment);
        assert!(
            text.contains(&format!("at byte {frame} ")),
            "byte {at}: {text}"
        );
    }
}

pub fn closed_copy(disk: &SimDisk) -> SimDisk {
    let copy = new_disk(0);
    SimDisk::copy_dir(disk, Path::new(DIR), &copy, Path::new(DIR)).unwrap();
    copy
}

#[test]
fn fault_28_flipped_bits_in_the_last_record_are_a_torn_tail() {
    let whole = closed(Always, 5);
    let segment = files(&whole, "incr.aof").pop().unwrap();
    let bytes = read(&whole, &segment);
    for at in *frames(&bytes).last().unwrap()..bytes.len() {
        let disk = closed_copy(&whole);
        change(&disk, &segment, |bytes| bytes[at] ^= 4);
        let mut store = open_roomy(&disk, Always);
        let cut = store
            .log()
            .recovery_report()
            .cut
            .clone()
            .expect("it is reported");
        let there = keys_from_the_first(&mut store, 5);
        // A comment reaches from the record to the end.
        assert!(
            there == 4 || there == 5 && at + 100 > bytes.len(),
            "byte {at}: {there}"
        );
        assert!(cut.kept_as.to_str().unwrap().contains("torn-"), "{cut:?}");
    }
}

#[test]
fn fault_29_damaged_snapshots_are_refused() {
    let whole = closed_in_parts();
    let base = files(&whole, "base.rdb").pop().unwrap();
    let bytes = read(&whole, &base);
    for at in 0..bytes.len() {
        let disk = closed_copy(&whole);
        change(&disk, &base, |bytes| bytes[at] ^= 0x21);
        refused(&disk, &base);
        change(&disk, &base, |bytes| bytes.truncate(at));
        refused(&disk, &base);
    }
    overwrite(&whole, &base, b"not an RDB file at all");
    refused(&whole, &base);

    // The RDB file, without a log.
    let disk = new_disk(29);
    let alone = |disk: &SimDisk| Options {
        appendonly: false,
        ..options(disk, Always)
    };
    let mut store = Store::open_with(&disk, alone(&disk)).unwrap();
    store.line("rpush list a b c");
    store.engine.save().unwrap();
    drop(store);
    let rdb = Path::new("/data/dump.rdb");
    let bytes = read(&disk, rdb);
    for at in 0..bytes.len() {
        overwrite(&disk, rdb, &bytes);
        change(&disk, rdb, |bytes| bytes[at] ^= 0x21);
        let Err(error) = Store::open_with(&disk, alone(&disk)) else {
            panic!("byte {at} is wrong, and nobody noticed");
        };
        assert!(error.to_string().contains("dump.rdb"), "{error}");
    }
}

#[test]
fn fault_30_zeroed_stale_and_swapped_sectors_are_found() {
    let disk = new_disk(30);
    let mut store = open_roomy(&disk, Always);
    for n in 0..10 {
        put(&mut store, n);
    }
    let segment = files(&disk, "incr.aof").pop().unwrap();
    let earlier = read(&disk, &segment);
    for n in 10..60 {
        put(&mut store, n);
    }
    store.close();
    let whole = disk;
    let bytes = read(&whole, &segment);
    let last = frames(&bytes)[50] / 512;
    for sector in 1..last {
        let place = sector * 512..(sector + 1) * 512;
        let zeroed = |bytes: &mut Vec<u8>| bytes[place.clone()].fill(0);
        let stale = |bytes: &mut Vec<u8>| {
            bytes[place.clone()].copy_from_slice(&earlier[place.clone()]);
        };
        let swapped = |bytes: &mut Vec<u8>| {
            let other = bytes[place.start + 512..place.end + 512].to_vec();
            bytes.copy_within(place.clone(), place.start + 512);
            bytes[place.clone()].copy_from_slice(&other);
        };
        let disk = closed_copy(&whole);
        change(&disk, &segment, zeroed);
        refused(&disk, &segment);
        let disk = closed_copy(&whole);
        change(&disk, &segment, swapped);
        refused(&disk, &segment);
        let disk = closed_copy(&whole);
        change(&disk, &segment, stale);
        if read(&disk, &segment) != bytes {
            refused(&disk, &segment);
        }
    }
}

#[test]
fn fault_31_damaged_missing_and_empty_manifests_are_refused() {
    let whole = closed_in_parts();
    let manifest = log_dir().join("appendonly.aof.manifest");
    let bytes = read(&whole, &manifest);
    for at in 0..bytes.len() {
        let disk = closed_copy(&whole);
        change(&disk, &manifest, |bytes| bytes.truncate(at));
        refused(&disk, &manifest);
        // A flip in the words before the checksum makes it a comment, and the rest is what it was.
        change(&disk, &manifest, |damaged| {
            *damaged = bytes.clone();
            damaged[at] ^= 1;
        });
        if let Ok(mut store) = Store::open_with(&disk, roomy(&disk, Always)) {
            assert_eq!(keys_from_the_first(&mut store, 9), 9, "byte {at}");
        }
    }
    whole.remove(&manifest).unwrap();
    refused(&whole, &manifest);
}

#[test]
fn fault_32_missing_and_empty_files_are_refused() {
    let whole = closed_in_parts();
    let parts = [files(&whole, "base.rdb"), files(&whole, "incr.aof")].concat();
    assert!(parts.len() >= 3, "{parts:?}");
    for path in parts {
        let disk = closed_copy(&whole);
        disk.remove(&path).unwrap();
        assert!(refused(&disk, &path).contains("missing"));
        overwrite(&disk, &path, b"");
        assert!(refused(&disk, &path).contains("empty"));
    }
}

#[test]
fn fault_33_files_of_another_time_or_log_are_refused() {
    // A directory, and the same directory some time later.
    let disk = new_disk(33);
    let mut store = open_roomy(&disk, Always);
    put(&mut store, 0);
    let before = closed_copy(&disk);
    put(&mut store, 1);
    let cut = store.log().rotate();
    store.log().wait_rotated(cut).unwrap();
    put(&mut store, 2);
    store.close();
    let sealed = files(&disk, "incr.aof")[0].clone();
    let manifest = log_dir().join("appendonly.aof.manifest");

    let mixed = closed_copy(&disk);
    overwrite(&mixed, &sealed, &read(&before, &sealed));
    refused(&mixed, &sealed);
    let mixed = closed_copy(&disk);
    overwrite(&mixed, &manifest, &read(&before, &manifest));
    refused(&mixed, &files(&disk, "incr.aof")[1]);

    // The base of another time.
    let later = closed_copy(&disk);
    let store = open_roomy(&later, Always);
    assert!(store.rewrite());
    store.close();
    let (old, new) = (files(&disk, "base.rdb"), files(&later, "base.rdb"));
    let mixed = closed_copy(&later);
    overwrite(&mixed, &new[0], &read(&disk, &old[0]));
    refused(&mixed, &new[0]);

    // All files of an earlier time, over those of a later one.
    let later = closed_copy(&disk);
    let mut store = open_roomy(&later, Always);
    assert!(store.rewrite());
    put(&mut store, 3);
    store.close();
    let newest = files(&later, "incr.aof").pop().unwrap();
    for path in files(&disk, "") {
        overwrite(&later, &path, &read(&disk, &path));
    }
    refused(&later, &newest);

    // A segment of another server.
    let other = new_disk(34);
    let mut options = roomy(&other, Always);
    options.log.replid = Replid::parse(&[b'8'; 40]);
    let mut store = Store::open_with(&other, options).unwrap();
    put(&mut store, 7);
    drop(store);
    let foreign = files(&other, "incr.aof")[0].clone();
    let mixed = closed_copy(&before);
    let own = files(&before, "incr.aof")[0].clone();
    overwrite(&mixed, &own, &read(&other, &foreign));
    refused(&mixed, &own);
}

/// What expires while the log is being healed is logged in the new segment, which no manifest names yet.
#[test]
fn expiry_during_healing_survives_a_power_cut_at_each_step() {
    let disk = new_disk(61);
    let mut run = Run::begin(&disk, Always, 61, Book::default());
    let set = run.store().line("set fleeting value px 1");
    assert!(run.store().acknowledge(set.lsn));
    let since = std::time::Instant::now();
    while since.elapsed() < std::time::Duration::from_millis(3) {
        std::hint::spin_loop();
    }
    assert!(run.command());
    disk.inject(Fault::errno(EIO).on(CallKind::Write));
    let lost = run.store().line("set not acknowledged");
    assert!(!run.store().acknowledge(lost.lsn));
    let engine = run.store().engine.clone();
    let expired = std::sync::Mutex::new(false);
    disk.set_hook(Some(std::sync::Arc::new(move |call| {
        let is_base = call.path.to_string_lossy().contains("temp-base");
        let mut expired = expired.lock().unwrap();
        if is_base && call.kind == CallKind::Create && !std::mem::replace(&mut *expired, true) {
            engine.execute(&mut Session::new(), &[b"get", b"fleeting"]);
        }
    })));
    let before = run.store().log().appended();
    assert!(run.rewrite(), "healed");
    disk.set_hook(None);
    assert!(run.store().log().appended() > before, "a DEL was logged");
    run.note_data();
    assert!(run.command());
    let mut opened = 0;
    every_moment(&run, |tape, expected| {
        for seed in 0..3 {
            // The key was there, and then expired: the digests from before it went cannot be compared.
            match Store::open(&tape.crash(seed), Always) {
                Ok(store) => assert!(store.log().recovery_report().end.0 >= expected.end_min),
                Err(error) => panic!("step {}: {error}", tape.position()),
            }
            opened += 1;
        }
    });
    assert!(opened > 100);
}

/// What a directory of another server has: two files of commands.
fn foreign(first: &[u8], second: &[u8]) -> SimDisk {
    let disk = new_disk(0);
    disk.create_dir(&log_dir()).unwrap();
    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    overwrite(
        &disk,
        &log_dir().join("appendonly.aof.manifest"),
        manifest.as_bytes(),
    );
    overwrite(&disk, &log_dir().join("appendonly.aof.1.incr.aof"), first);
    overwrite(&disk, &log_dir().join("appendonly.aof.2.incr.aof"), second);
    disk
}

/// Each row of the log's table of start-up cases happens, and is told by its name where the log is cut.
#[test]
fn every_start_up_case_is_reached() {
    let outcome = |disk: &SimDisk| -> io::Result<Option<String>> {
        let mut options = roomy(disk, Always);
        options.log.recover = RecoverMode::Prefix;
        let store = Store::open_with(disk, options).map_err(io::Error::other)?;
        let cut = store.log().recovery_report().cut.clone();
        Ok(cut.map(|cut| cut.reason.split(':').next().unwrap_or_default().to_owned()))
    };
    let whole = closed_in_parts();
    // `sealed_segment` and `last_segment`: nothing is wrong.
    assert_eq!(outcome(&closed_copy(&whole)).unwrap(), None);
    let segments = files(&whole, "incr.aof");
    for (row, segment, frame) in [
        ("sealed_segment_bad_beginning", 0, 0),
        ("sealed_segment_bad_frame_once_durable", 0, 1),
        ("sealed_segment_bad_frame", 0, usize::MAX),
        ("last_segment_bad_beginning", 1, 0),
        ("last_segment_bad_frame_once_durable", 1, 1),
        ("torn_tail", 1, usize::MAX),
    ] {
        let disk = closed_copy(&whole);
        change(&disk, &segments[segment], |bytes| {
            let starts = frames(bytes);
            let at = starts[frame.min(starts.len() - 1)];
            bytes[at + 45] ^= 1;
        });
        assert_eq!(outcome(&disk).unwrap().as_deref(), Some(row));
    }
    let good = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    let bad = [&good[..], b"!!!"].concat();
    for (row, first, second) in [
        ("foreign_tail_cut_off", &good[..], &good[..20]),
        ("foreign_file_cut_off_in_the_middle", &good[..20], &good[..]),
        ("foreign_last_file_no_command", &good[..], &bad[..]),
        ("foreign_file_no_command", &bad[..], &good[..]),
    ] {
        let found = outcome(&foreign(first, second)).unwrap();
        assert_eq!(found.as_deref(), Some(row));
    }
}
