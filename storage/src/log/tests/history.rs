//! What stays of the log below its base.

use super::foreign::Redis;
use super::*;

fn keeping(bytes: u64) -> LogOptions {
    LogOptions {
        retention: Retention { bytes, age: None },
        ..options()
    }
}

/// A log whose base has replaced segments 1 to 3; returns the stream up to its end, too.
fn rewritten_log(dir: &Path, options: LogOptions) -> (Log, Vec<u8>) {
    let log = create_with(Arc::new(RealDisk), dir, options);
    let appender = log.appender();
    let mut stream = Vec::new();
    for n in 0..3 {
        let record = set(&format!("k{n}"), &"v".repeat(1000));
        let end = appender.append(0, &[&record]);
        stream.extend([SELECT_0, &record].concat());
        written(&log, end);
        if n < 2 {
            log.wait_rotated(log.rotate()).unwrap();
        }
    }
    rewrite(&log);
    let record = set("after", "1");
    let end = appender.append(0, &[&record]);
    stream.extend([SELECT_0, &record].concat());
    written(&log, end);
    (log, stream)
}

fn rewrite(log: &Log) {
    let ticket = log.begin_rewrite().unwrap();
    commit(log, ticket, EMPTY_RDB).unwrap();
}

fn read_from(log: &Log, from: Lsn) -> Vec<u8> {
    let mut reader = log.reader(from).unwrap();
    let mut out = Vec::new();
    while let Some((_, bytes)) = reader.next(1 << 20).unwrap() {
        out.extend_from_slice(&bytes);
    }
    out
}

/// Numbers of the segments that are there.
fn files(dir: &Path) -> Vec<u32> {
    (1..20)
        .filter(|&seq| increment(dir, seq).exists())
        .collect()
}

#[test]
fn rewrite_keeps_what_it_replaces_and_so_does_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (log, mut stream) = rewritten_log(dir.path(), keeping(1 << 30));
    assert_eq!(files(dir.path()), [1, 2, 3, 4]);
    let base = log.base().1;
    let history = log.history();
    assert_eq!((history.from, history.kept_segments), (Lsn::ZERO, 3));
    assert!(history.kept_bytes > 3000 && history.since.is_some());
    assert!(read_from(&log, Lsn::ZERO) == stream);
    assert!(read_from(&log, Lsn(100)) == stream[100..]);
    log.abandon();
    for _ in 0..2 {
        let (log, found) = open_with(dir.path(), keeping(1 << 30)).unwrap();
        assert_eq!(
            found.start,
            Some(base),
            "only what is after the base is replayed"
        );
        assert!(found.stream == stream[base.0 as usize..]);
        assert_eq!(log.history().kept_segments, 3);
        assert!(read_from(&log, Lsn::ZERO) == stream);
        let record = set("again", "1");
        let end = log.appender().append(0, &[&record]);
        stream.extend([SELECT_0, &record].concat());
        written(&log, end);
        log.close().unwrap();
    }
}

#[test]
fn limits_let_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = rewritten_log(dir.path(), keeping(1 << 30));
    let sizes: Vec<u64> = log.segments().iter().map(|s| s.bytes).collect();
    let third = log.segments()[2].start;
    // Room for two of three.
    log.set_retention(Retention {
        bytes: sizes[1] + sizes[2],
        age: None,
    });
    log.shared.apply_retention();
    assert_eq!(files(dir.path()), [2, 3, 4]);
    log.set_retention(Retention {
        bytes: sizes[1] + sizes[2] - 1,
        age: None,
    });
    log.shared.apply_retention();
    assert_eq!(files(dir.path()), [3, 4]);
    assert_eq!(log.history().from, third);
    assert!(
        matches!(log.reader(Lsn::ZERO), Err(ReadError::Truncated { oldest }) if oldest == third)
    );
    // By age: the third one's last write is older than nothing at all, a millisecond later.
    log.set_retention(Retention {
        bytes: 1 << 30,
        age: Some(Duration::ZERO),
    });
    while log.history().kept_segments > 0 {
        log.shared.apply_retention();
    }
    assert_eq!(files(dir.path()), [4]);
    log.close().unwrap();
    let named = Manifest::parse(&std::fs::read(manifest(dir.path())).unwrap()).unwrap();
    assert!(named.history.is_empty());
}

/// The compaction comes between the decision what to let go and the manifest without it.
#[test]
fn what_a_compaction_replaces_while_history_is_let_go_stays_named() {
    let disk = SimDisk::new(1).with_dir("/data");
    let dir = Path::new("/data");
    let log = create_with(Arc::new(disk.clone()), dir, keeping(1 << 30));
    let log = Arc::new(log);
    let put = |value: &str| {
        let end = log.appender().append(0, &[&set("key", value)]);
        written(&log, end);
    };
    put(&"v".repeat(1000));
    rewrite(&log);
    put("v");
    let (rewrites, other) = (AtomicU32::new(0), Arc::clone(&log));
    disk.set_hook(Some(Arc::new(move |call| {
        let first = call.path.ends_with("appendonly.aof.1.incr.aof");
        if call.kind == CallKind::Remove && first && rewrites.fetch_add(1, Ordering::SeqCst) == 0 {
            rewrite(&other);
        }
    })));
    // Room for the second segment alone.
    log.set_retention(Retention {
        bytes: 1000,
        age: None,
    });
    log.shared.apply_retention();
    while log.segments()[0].seq == 1 || log.segments().len() < 2 {
        std::thread::yield_now();
    }
    disk.set_hook(None);
    log.shut_down().unwrap();
    let text = crate::disk::read_small_file(&disk, &manifest(dir), 1 << 20).unwrap();
    let named = Manifest::parse(&text).unwrap();
    assert!(named.names("appendonly.aof.2.incr.aof"), "{named:?}");
}

#[test]
fn limits_that_were_lowered_are_kept_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    rewritten_log(dir.path(), keeping(1 << 30))
        .0
        .close()
        .unwrap();
    let (log, _) = open_with(dir.path(), keeping(0)).unwrap();
    while log.history().kept_segments > 0 {
        std::thread::yield_now();
    }
    log.close().unwrap();
    assert!(!increment(dir.path(), 3).exists());
}

#[test]
fn damaged_history_ends_there_and_does_not_stop_a_start() {
    let original = tempfile::tempdir().unwrap();
    let (log, stream) = rewritten_log(original.path(), keeping(1 << 30));
    let starts: Vec<Lsn> = log.segments().iter().map(|s| s.start).collect();
    let base = log.base().1;
    log.close().unwrap();
    let index = |dir: &Path, seq| increment(dir, seq).with_extension("aof.idx");
    type Harm<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let harms: [Harm<'_>; 4] = [
        (
            "missing",
            Box::new(|dir| std::fs::remove_file(increment(dir, 2)).unwrap()),
        ),
        (
            "of another place",
            Box::new(|dir| {
                std::fs::copy(increment(dir, 1), increment(dir, 2)).unwrap();
            }),
        ),
        (
            "cut",
            Box::new(|dir| {
                let text = std::fs::read(increment(dir, 2)).unwrap();
                std::fs::write(increment(dir, 2), &text[..text.len() - 1]).unwrap();
            }),
        ),
        (
            "flipped",
            Box::new(|dir| {
                let mut text = std::fs::read(increment(dir, 2)).unwrap();
                let at = text.len() - 100;
                text[at] ^= 1;
                std::fs::write(increment(dir, 2), &text).unwrap();
                let _ = std::fs::remove_file(index(dir, 2));
            }),
        ),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        harm(dir.path());
        let (log, found) = open_with(dir.path(), keeping(1 << 30)).unwrap();
        assert!(found.stream == stream[base.0 as usize..], "{name}");
        assert_eq!(log.history().from, starts[2], "{name}");
        assert!(read_from(&log, starts[2]) == stream[starts[2].0 as usize..]);
        assert_eq!(files(dir.path())[0], 3, "{name}");
    }
}

#[test]
fn healing_begins_a_new_history() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let log = create_with(Arc::new(disk.clone()), dir.path(), keeping(1 << 30));
    let end = log.appender().append(0, &[&set("a", "1")]);
    written(&log, end);
    rewrite(&log);
    assert_eq!(log.history().kept_segments, 1);
    disk.fail_syncs(true);
    log.appender().append(0, &[&set("a", "2")]);
    assert!(log.sync_now().is_err());
    disk.fail_syncs(false);
    let ticket = log.begin_heal().unwrap();
    let cut = ticket.cut();
    commit(&log, ticket, EMPTY_RDB).unwrap();
    assert_eq!((log.history().from, log.history().kept_segments), (cut, 0));
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn redis_loads_the_directory_and_lets_go_of_history() {
    let dir = tempfile::tempdir().unwrap();
    let (log, stream) = rewritten_log(dir.path(), keeping(1 << 30));
    let base = log.base().1;
    log.close().unwrap();
    let Some(redis) = Redis::start(dir.path()) else {
        return;
    };
    assert_eq!(
        redis.ask(&["DBSIZE"]),
        "1",
        "what is below the base is not loaded"
    );
    assert_eq!(redis.ask(&["SET", "theirs", "1"]), "OK");
    redis.ask(&["SHUTDOWN", "NOSAVE"]);
    drop(redis);
    assert_eq!(files(dir.path())[0], 4);
    let index = |seq| increment(dir.path(), seq).with_extension("aof.idx");
    assert!(index(1).exists(), "it removed the segment alone");
    let (log, found) = open_with(dir.path(), keeping(1 << 30)).unwrap();
    assert!((1..4).all(|seq| !index(seq).exists()));
    let expected = [&stream[base.0 as usize..], SELECT_0, &set("theirs", "1")].concat();
    assert!(found.stream == expected);
    assert_eq!(log.history().kept_segments, 0);
}
