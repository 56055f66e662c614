//! A log that begins beside the commands, in an empty directory or over an older log.

use super::*;
use crate::log::recovery::CREATING;

/// With a ring that is soon full.
fn small() -> LogOptions {
    LogOptions {
        ring_bytes: 4096,
        ..options()
    }
}

fn begin(disk: Arc<dyn Disk>, dir: &Path, start: Lsn) -> (Log, RewriteTicket) {
    Log::begin(disk, dir, small(), start).unwrap()
}

/// Appends so many small records; returns what they are in the stream.
fn append_sets(log: &Log, count: usize) -> Vec<u8> {
    let record = set("key", "value");
    let appender = log.appender();
    for _ in 0..count {
        appender.append(0, &[&record]);
    }
    [SELECT_0, &record.repeat(count)].concat()
}

#[test]
fn commands_append_before_the_base_is_there_and_a_crash_until_then_leaves_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut before: Option<Vec<u8>> = None;
    for round in 0..3u64 {
        let (log, ticket) = begin(Arc::new(RealDisk), dir.path(), Lsn(round * 1000));
        assert_eq!(ticket.cut(), Lsn(round * 1000));
        assert_ne!(log.status(), LogStatus::Ok);
        // Several times the ring.
        let stream = append_sets(&log, 300 + round as usize);
        let copy = tempfile::tempdir().unwrap();
        copy_log(dir.path(), copy.path());
        match (open_with(copy.path(), options()), &before) {
            (Err(OpenError::NoLog(_)), None) => {}
            (found, before) => assert_eq!(Some(found.unwrap().1.stream), *before),
        }
        let base = format!("base {round}");
        commit(&log, ticket, base.as_bytes()).unwrap();
        assert_eq!(log.status(), LogStatus::Ok);
        assert_eq!(log.durable(), log.appended());
        log.abandon();
        let found = open(dir.path()).1;
        assert_eq!(found.base, base.as_bytes());
        assert!(found.stream == stream);
        before = Some(stream);
    }
}

#[test]
fn a_log_that_was_discarded_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (log, ticket) = begin(Arc::new(RealDisk), dir.path(), Lsn(7));
    append_sets(&log, 1);
    log.discard(ticket);
    let left: Vec<_> = std::fs::read_dir(dir.path().join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [CREATING]);
    let found = open_with(dir.path(), options()).map(|_| ());
    assert!(matches!(found, Err(OpenError::NoLog(_))));
}

/// Whoever locks the directory next may begin a log at once, whose files have such names, too.
#[test]
fn left_overs_of_a_discarded_log_are_removed_under_its_lock() {
    let disk = SimDisk::new(1).with_dir("/data");
    let (log, ticket) = begin(Arc::new(disk.clone()), Path::new("/data"), Lsn(7));
    let lock = Path::new("/data/hardtack.lock");
    disk.create(&log.dir().join("temp-unfinished")).unwrap();
    let removed = Arc::new(AtomicU32::new(0));
    let (count, other) = (Arc::clone(&removed), disk.clone());
    disk.set_hook(Some(Arc::new(move |call| {
        if call.kind == CallKind::Remove && call.path.ends_with("temp-unfinished") {
            count.fetch_add(1, Ordering::SeqCst);
            assert!(other.lock(lock).is_err(), "the lock was free");
        }
    })));
    log.discard(ticket);
    disk.set_hook(None);
    assert_eq!(removed.load(Ordering::SeqCst), 1);
    assert!(disk.lock(lock).is_ok());
}

#[test]
fn log_files_that_nothing_explains_are_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("appendonlydir")).unwrap();
    let file = increment(dir.path(), 3);
    std::fs::write(&file, "precious").unwrap();
    let begun = Log::begin(Arc::new(RealDisk), dir.path(), options(), Lsn::ZERO);
    assert!(matches!(begun, Err(OpenError::ManifestMissing(..))));
    assert_eq!(std::fs::read(file).unwrap(), b"precious");
}

/// A disk that fails at the n-th call, for every n until the log has begun: the directory holds the log before or the
/// new one, whole, and appenders never hang.
#[test]
fn every_failing_call_leaves_one_log_or_the_other() {
    for call in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (log, ticket) = begin(Arc::new(RealDisk), dir.path(), Lsn::ZERO);
        let old = append_sets(&log, 1);
        commit(&log, ticket, b"old").unwrap();
        log.close().unwrap();

        let disk = FailingDisk::new();
        disk.fail_after(call);
        let mut new = Vec::new();
        let begun = (|| {
            let failing = Arc::new(disk.clone());
            let (log, ticket) = Log::begin(failing, dir.path(), small(), Lsn(500)).ok()?;
            new = append_sets(&log, 200);
            let Ok(base) = write_base(&log, &ticket, b"new") else {
                log.discard(ticket);
                return None;
            };
            let committed = log.commit_rewrite(ticket, base).is_ok();
            log.abandon();
            committed.then_some(())
        })();
        disk.fail_after(-1);
        let found = open(dir.path()).1;
        match &found.base[..] {
            b"new" => assert!(found.stream == new, "call {call}"),
            b"old" => {
                assert!(
                    begun.is_none(),
                    "call {call}: a log that has begun is there"
                );
                assert!(found.stream == old, "call {call}");
            }
            other => panic!("call {call}: {other:?}"),
        }
        if begun.is_some() {
            assert!(call > 10);
            return;
        }
    }
}
