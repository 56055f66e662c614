//! The simulated disk keeps what it must, and loses what it may.

use std::collections::BTreeSet;

use super::*;
use crate::disk::{BLOCK_BYTES, read_small_file, replace_file};

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn disk() -> SimDisk {
    SimDisk::new(1).with_dir("/d")
}

fn synced(disk: &SimDisk, name: &str, bytes: &[u8]) -> Box<dyn DiskFile> {
    let file = disk.create(path(name)).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(path("/d")).unwrap();
    file
}

fn read(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    match read_small_file(disk, path(name), 1 << 20) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

/// What is found after a crash, over many seeds.
fn outcomes<T: Ord>(disk: &SimDisk, look: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    disk.turn_off();
    (0..400).map(|seed| look(&disk.crash(seed))).collect()
}

#[test]
fn synced_bytes_and_names_survive_every_crash() {
    let disk = disk();
    synced(&disk, "/d/a", &[7; 10_000]);
    let found = outcomes(&disk, |after| read(after, "/d/a"));
    assert_eq!(found, BTreeSet::from([Some(vec![7; 10_000])]));
}

#[test]
fn unsynced_sectors_are_kept_and_dropped_independently() {
    let disk = disk();
    let file = synced(&disk, "/d/a", &[0; 1536]);
    file.write_all_at(&[1; 1536], 0).unwrap();
    let found = outcomes(&disk, |after| {
        let bytes = read(after, "/d/a").unwrap();
        assert_eq!(bytes.len(), 1536);
        [bytes[0], bytes[512], bytes[1024]]
    });
    for kept in 0..8u8 {
        let expected = [kept & 1, kept >> 1 & 1, kept >> 2];
        assert!(found.contains(&expected), "{expected:?}");
    }
}

#[test]
fn sector_written_twice_may_hold_any_of_its_states_or_be_torn() {
    let disk = disk();
    let file = synced(&disk, "/d/a", &[0; 512]);
    file.write_all_at(&[1; 512], 0).unwrap();
    file.write_all_at(&[2; 512], 0).unwrap();
    let found = outcomes(&disk, |after| read(after, "/d/a").unwrap());
    for state in 0..=2 {
        assert!(found.contains(&vec![state; 512]), "{state}");
    }
    let torn = |bytes: &&Vec<u8>| bytes.first() == Some(&2) && bytes.last() != Some(&2);
    assert!(found.iter().any(|bytes| torn(&bytes)));
}

#[test]
fn write_past_the_cache_is_durable_at_once_and_alone() {
    let disk = disk();
    let file = synced(&disk, "/d/a", &[0; 4 * BLOCK_BYTES]);
    file.write_all_at(&[1; 3 * BLOCK_BYTES], 0).unwrap();
    let block = Block([2; BLOCK_BYTES]);
    file.write_blocks(&[block], BLOCK_BYTES as u64).unwrap();
    let found = outcomes(&disk, |after| {
        let bytes = read(after, "/d/a").unwrap();
        assert_eq!(bytes[BLOCK_BYTES..2 * BLOCK_BYTES], [2; BLOCK_BYTES]);
        (bytes[0], bytes[2 * BLOCK_BYTES], bytes[3 * BLOCK_BYTES])
    });
    for expected in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)] {
        assert!(found.contains(&expected), "{expected:?}");
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn length_and_contents_are_durable_apart() {
    let disk = disk();
    let file = synced(&disk, "/d/a", b"x");
    file.write_all_at(&[1; 511], 1).unwrap();
    let found = outcomes(&disk, |after| read(after, "/d/a").unwrap());
    assert!(found.contains(b"x".as_slice()), "neither");
    assert!(found.contains(&[b"x", &[1; 511][..]].concat()), "both");
    let zeros = [b"x", &[0; 511][..]].concat();
    assert!(found.contains(&zeros), "the length alone");
}

#[test]
fn truncation_is_undone_as_a_whole_or_not_at_all() {
    let disk = disk();
    synced(&disk, "/d/a", &[1; 2048]);
    let file = disk.create(path("/d/a")).unwrap();
    file.write_all_at(&[2; 1024], 0).unwrap();
    let found = outcomes(&disk, |after| read(after, "/d/a").unwrap());
    assert!(found.contains(&vec![1; 2048]));
    assert!(found.contains(&vec![2; 1024]));
    for bytes in found {
        let whole = bytes == vec![1; 2048];
        assert!(whole || !bytes.contains(&1), "{} bytes", bytes.len());
    }
}

#[test]
fn names_need_a_sync_of_their_directory() {
    let disk = disk();
    synced(&disk, "/d/old", b"old");
    let file = disk.create(path("/d/new")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.sync_all().unwrap();
    disk.rename(path("/d/new"), path("/d/old")).unwrap();
    disk.create(path("/d/third")).unwrap();
    let found = outcomes(&disk, |after| {
        (
            read(after, "/d/old").unwrap(),
            read(after, "/d/new").is_some(),
            read(after, "/d/third").is_some(),
        )
    });
    for third in [false, true] {
        assert!(found.contains(&(b"new".to_vec(), false, third)));
    }
    assert!(found.contains(&(b"old".to_vec(), false, false)));
    assert!(found.contains(&(b"old".to_vec(), true, false)));
    assert!(
        !found.contains(&(b"new".to_vec(), true, false)),
        "a rename is whole"
    );
    assert_eq!(
        read(&disk.crash_keeping_synced(), "/d/old").unwrap(),
        b"old"
    );
}

#[test]
fn removed_names_come_back_or_not() {
    let disk = disk();
    synced(&disk, "/d/a", b"a");
    synced(&disk, "/d/b", b"b");
    disk.remove(path("/d/a")).unwrap();
    disk.remove(path("/d/b")).unwrap();
    let found = outcomes(&disk, |after| {
        ["/d/a", "/d/b"].map(|name| read(after, name).is_some())
    });
    let expected = [[true, true], [true, false], [false, true], [false, false]];
    assert_eq!(found, BTreeSet::from(expected));
}

#[test]
fn directory_without_a_durable_name_takes_its_files_along() {
    let disk = disk();
    disk.create_dir(path("/d/sub")).unwrap();
    let file = disk.create(path("/d/sub/a")).unwrap();
    file.sync_all().unwrap();
    disk.sync_dir(path("/d/sub")).unwrap();
    let after = disk.crash_keeping_synced();
    assert_eq!(after.metadata(path("/d/sub")).unwrap(), None);
}

#[test]
fn old_handles_are_dead_after_a_crash() {
    let disk = disk();
    let file = synced(&disk, "/d/a", b"before");
    let lock = disk.lock(path("/d/lock")).unwrap();
    let after = disk.crash(3);
    assert!(file.write_at(b"after!", 0).is_err());
    assert!(file.sync_all().is_err() && file.len().is_err());
    assert!(disk.list(path("/d")).is_err() && disk.is_off());
    assert_eq!(read(&after, "/d/a").unwrap(), b"before");
    assert!(
        after.lock(path("/d/lock")).is_ok(),
        "no lock outlives its process"
    );
    drop(lock);
}

#[test]
fn second_lock_is_refused_until_the_first_is_dropped() {
    let disk = disk();
    let held = disk.lock(path("/d/lock")).unwrap();
    let refused = disk.lock(path("/d/lock")).err().map(|e| e.kind());
    assert_eq!(refused, Some(io::ErrorKind::WouldBlock));
    drop(held);
    assert!(disk.lock(path("/d/lock")).is_ok());
}

#[test]
fn failed_sync_forgets_what_was_dirty() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed).with_dir("/d");
        let file = synced(&disk, "/d/a", &[0; 1024]);
        file.write_all_at(&[1; 1024], 0).unwrap();
        disk.inject(Fault::errno(EIO).on(CallKind::Sync));
        let error = file.sync_data().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(EIO));
        let read_after = read(&disk, "/d/a").unwrap()[0];
        file.sync_data().unwrap();
        let after = disk.crash_keeping_synced();
        seen.insert((read_after, read(&after, "/d/a").unwrap()[0]));
    }
    // Read new or old; found new, by chance, or old.
    assert_eq!(seen, BTreeSet::from([(0, 0), (1, 0), (1, 1)]));
}

#[test]
fn faults_befall_the_calls_they_name() {
    let disk = disk();
    disk.inject(
        Fault::errno(ENOSPC)
            .on(CallKind::Write)
            .named("log")
            .skip(1)
            .times(2),
    );
    let (log, other) = (
        disk.create(path("/d/log.1")).unwrap(),
        disk.create(path("/d/other")).unwrap(),
    );
    let errno = |outcome: io::Result<usize>| outcome.err().and_then(|e| e.raw_os_error());
    assert_eq!(errno(log.write_at(b"1", 0)), None);
    assert_eq!(errno(other.write_at(b"1", 0)), None);
    assert_eq!(errno(log.write_at(b"2", 1)), Some(ENOSPC));
    assert_eq!(errno(log.write_at(b"2", 1)), Some(ENOSPC));
    assert_eq!(errno(log.write_at(b"2", 1)), None);
    disk.inject(Fault::errno(EROFS).forever());
    assert!(log.sync_data().is_err() && disk.rename(path("/d/other"), path("/d/o")).is_err());
    assert!(disk.open(path("/d/other")).is_ok(), "reads go on");
    disk.clear_faults();
    log.sync_data().unwrap();
    disk.inject(Fault::errno(EMFILE).on(CallKind::Open));
    assert_eq!(
        disk.open(path("/d/other"))
            .err()
            .and_then(|e| e.raw_os_error()),
        Some(EMFILE)
    );
    disk.inject(Fault::short_write(3));
    assert_eq!(log.write_at(b"12345", 0).unwrap(), 3);
    assert_eq!(log.write_at(b"12345", 0).unwrap(), 5);
}

#[test]
fn lost_syncs_are_not_heard_of() {
    let disk = disk();
    let file = synced(&disk, "/d/a", b"old");
    disk.inject(Fault::lost_sync());
    file.write_all_at(b"new", 0).unwrap();
    file.sync_all().unwrap();
    disk.inject(Fault::lost_sync().on(CallKind::SyncDir));
    disk.create(path("/d/b")).unwrap().sync_all().unwrap();
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(disk.faulted(), 2);
    let after = disk.crash_keeping_synced();
    assert_eq!(read(&after, "/d/a").unwrap(), b"old");
    assert_eq!(read(&after, "/d/b"), None);
}

#[test]
fn writes_past_the_cache_fail_as_writes_and_as_syncs_do() {
    let block = [Block([2; BLOCK_BYTES])];
    let disk = disk();
    let file = synced(&disk, "/d/a", &[0; BLOCK_BYTES]);
    disk.inject(Fault::errno(ENOSPC).on(CallKind::Write));
    assert!(file.write_blocks(&block, 0).is_err());
    assert_eq!(read(&disk, "/d/a").unwrap(), [0; BLOCK_BYTES]);
    disk.inject(Fault::short_write(700));
    file.write_blocks(&block, 0).unwrap();
    disk.inject(Fault::lost_sync());
    file.write_blocks(&[Block([3; BLOCK_BYTES])], 0).unwrap();
    assert_eq!(read(&disk, "/d/a").unwrap(), [3; BLOCK_BYTES]);
    disk.inject(Fault::errno(EIO).on(CallKind::Sync));
    assert!(file.write_blocks(&[Block([4; BLOCK_BYTES])], 0).is_err());
    let found = read(&disk.crash_keeping_synced(), "/d/a").unwrap();
    assert!(found.iter().all(|byte| (2..=4).contains(byte)));
}

#[test]
fn full_disk_writes_what_fits_and_then_nothing() {
    let disk = disk().with_capacity(1000);
    let file = disk.create(path("/d/a")).unwrap();
    assert_eq!(file.write_at(&[1; 600], 0).unwrap(), 600);
    assert_eq!(disk.free_bytes(path("/d")).unwrap(), 400);
    assert_eq!(file.write_at(&[1; 600], 600).unwrap(), 400);
    let full = file.write_at(&[1; 1], 1000).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        file.write_at(&[2; 600], 0).unwrap(),
        600,
        "nothing new is needed"
    );
    let second = disk.create(path("/d/b")).unwrap();
    assert!(second.allocate(10).is_err() && second.set_len(10).is_err());
    disk.remove(path("/d/a")).unwrap();
    assert_eq!(disk.used_bytes(), 1000, "it is open");
    drop(file);
    assert_eq!(disk.used_bytes(), 0);
    second.allocate(900).unwrap();
    assert_eq!(disk.free_bytes(path("/d")).unwrap(), 100);
}

#[test]
fn power_goes_inside_the_chosen_step() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed).with_dir("/d");
        let file = synced(&disk, "/d/a", b"");
        disk.cut_power_after(1);
        file.write_all_at(b"first", 0).unwrap();
        assert!(file.write_all_at(b"second", 5).is_err());
        assert!(disk.is_off() && disk.open(path("/d/a")).is_err());
        lengths.insert(read(&disk.kill(), "/d/a").unwrap().len());
    }
    assert_eq!(lengths, (5..=11).collect());
}

#[test]
fn tape_has_every_moment() {
    let disk = disk();
    disk.record();
    replace_file(&disk, path("/d/a"), b"one").unwrap();
    let first = disk.recorded();
    replace_file(&disk, path("/d/a"), b"two").unwrap();
    let mut tape = disk.tape().unwrap();
    assert_eq!(tape.len(), disk.recorded());
    loop {
        for seed in 0..50 {
            let found = read(&tape.crash(seed), "/d/a");
            match tape.position() {
                at if at == tape.len() => assert_eq!(found.unwrap(), b"two"),
                at if at >= first => assert!([&b"one"[..], b"two"].contains(&&*found.unwrap())),
                _ => assert!(found.is_none_or(|found| found == b"one")),
            }
        }
        if !tape.forward() {
            break;
        }
    }
    tape.seek(first);
    assert_eq!(read(&tape.kill(), "/d/a").unwrap(), b"one");
    assert_eq!(
        read(&disk, "/d/a").unwrap(),
        b"two",
        "a tape is not the disk"
    );
}

#[test]
fn same_seed_gives_the_same_crash() {
    let disk = disk();
    let file = synced(&disk, "/d/a", &[0; 8192]);
    for n in 1..20u8 {
        file.write_all_at(&[n; 700], u64::from(n) * 300).unwrap();
    }
    disk.turn_off();
    for seed in 0..20 {
        let found = |disk: &SimDisk| read(disk, "/d/a");
        assert_eq!(found(&disk.crash(seed)), found(&disk.crash(seed)));
    }
}

#[test]
fn paths_and_kinds_are_checked_as_by_an_operating_system() {
    let disk = disk();
    synced(&disk, "/d/a", b"a");
    let kind = |outcome: io::Result<()>| outcome.err().map(|e| e.kind());
    assert_eq!(
        kind(disk.open(path("/none/a")).map(drop)),
        Some(io::ErrorKind::NotFound)
    );
    assert_eq!(
        kind(disk.create(path("/d/a/b")).map(drop)),
        Some(io::ErrorKind::NotADirectory)
    );
    assert_eq!(
        kind(disk.create(path("/d")).map(drop)),
        Some(io::ErrorKind::IsADirectory)
    );
    assert_eq!(
        kind(disk.remove(path("/d/none"))),
        Some(io::ErrorKind::NotFound)
    );
    assert_eq!(
        kind(disk.create_dir(path("/d/a"))),
        Some(io::ErrorKind::AlreadyExists)
    );
    assert_eq!(
        kind(disk.rename(path("/d/a"), path("/d"))),
        Some(io::ErrorKind::IsADirectory)
    );
    assert!(disk.open(path("/d/../d/a")).is_err());
    assert!(
        disk.open(path("/d/a")).unwrap().write_at(b"x", 0).is_err(),
        "opened to be read"
    );
    disk.create_dir(path("/d")).unwrap();
}

#[test]
fn directory_is_copied_with_what_is_below() {
    let source = disk().with_dir("/d/sub");
    synced(&source, "/d/a", b"a");
    synced(&source, "/d/sub/b", b"b");
    let target = disk();
    SimDisk::copy_dir(&source, path("/d"), &target, path("/d/copy")).unwrap();
    assert_eq!(read(&target, "/d/copy/a").unwrap(), b"a");
    assert_eq!(read(&target, "/d/copy/sub/b").unwrap(), b"b");
}
