//! Directories that another server wrote, and other servers on ours.

use std::process::{Command, Stdio};

use super::*;

fn foreign_log(dir: &Path, increments: &[(&str, Vec<u8>)]) {
    std::fs::create_dir(dir.join("appendonlydir")).unwrap();
    let mut text = "file appendonly.aof.1.base.rdb seq 1 type b\n".to_string();
    std::fs::write(
        dir.join("appendonlydir/appendonly.aof.1.base.rdb"),
        EMPTY_RDB,
    )
    .unwrap();
    for (seq, (name, bytes)) in increments.iter().enumerate() {
        std::fs::write(dir.join("appendonlydir").join(name), bytes).unwrap();
        text += &format!("file {name} seq {} type i\n", seq + 1);
    }
    std::fs::write(manifest(dir), text).unwrap();
}

#[test]
fn foreign_log_with_comments_and_cut_off_tail_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let whole = [SELECT_0, b"#TS:1\n", &set("a", "1")].concat();
    let multi = b"*1\r\n$5\r\nMULTI\r\n";
    let tail = [&set("b", "2")[..], multi, &set("c", "3")].concat();
    let names = ["appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof"];
    foreign_log(dir.path(), &[(names[0], whole), (names[1], tail)]);
    let (log, found) = open(dir.path());
    let expected = [SELECT_0, &set("a", "1"), &set("b", "2")].concat();
    assert_eq!((found.stream, found.files), (expected.clone(), 2));
    let report = log.recovery_report();
    assert_eq!(report.unchecked_files, names);
    assert!(
        report
            .cut
            .as_ref()
            .is_some_and(|cut| cut.reason.starts_with("foreign_tail_cut_off"))
    );
    let end = log.appender().append(0, &[&set("d", "4")]);
    written(&log, end);
    log.abandon();
    let (_log, found) = open(dir.path());
    assert_eq!(
        found.stream,
        [&expected[..], SELECT_0, &set("d", "4")].concat()
    );
}

#[test]
fn foreign_log_cut_off_in_the_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["appendonly.aof.1.incr.aof", "appendonly.aof.2.incr.aof"];
    foreign_log(
        dir.path(),
        &[
            (names[0], set("a", "1")[..9].to_vec()),
            (names[1], set("b", "2")),
        ],
    );
    assert!(matches!(
        open_with(dir.path(), options()),
        Err(OpenError::Corrupt(_))
    ));
}

#[test]
fn foreign_log_without_a_base_goes_on_and_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let name = "appendonly.aof.1.incr.aof";
    foreign_log(dir.path(), &[(name, set("a", "1"))]);
    std::fs::remove_file(dir.path().join("appendonlydir/appendonly.aof.1.base.rdb")).unwrap();
    std::fs::write(manifest(dir.path()), format!("file {name} seq 1 type i\n")).unwrap();
    let mut expected = set("a", "1");
    for value in ["2", "3"] {
        let (log, found) = open(dir.path());
        assert_eq!(found.stream, expected);
        let end = log.appender().append(0, &[&set("b", value)]);
        expected.extend_from_slice(&[SELECT_0, &set("b", value)].concat());
        written(&log, end);
        log.close().unwrap();
    }
    assert_eq!(open(dir.path()).1.stream, expected);
}

#[test]
fn foreign_tail_cut_off_is_refused_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = [set("a", "1"), set("b", "2")[..9].to_vec()].concat();
    foreign_log(dir.path(), &[("appendonly.aof.1.incr.aof", text)]);
    let strict = LogOptions {
        load_cut_off: false,
        ..options()
    };
    match open_with(dir.path(), strict) {
        Err(error @ OpenError::Corrupt(_)) => {
            let text = error.to_string();
            assert!(text.starts_with("Unexpected end of file reading the append only file"));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the log was opened"),
    }
    assert_eq!(open(dir.path()).1.stream, set("a", "1"));
}

#[test]
fn empty_foreign_increment_is_ordinary() {
    let dir = tempfile::tempdir().unwrap();
    foreign_log(dir.path(), &[("appendonly.aof.1.incr.aof", Vec::new())]);
    assert_eq!(open(dir.path()).1.stream, b"");
}

/// A log of another server with one file, in which a part of ours follows.
fn continued_log(dir: &Path, records: usize, synced: bool) -> (Vec<u8>, usize) {
    let head = [SELECT_0, &set("theirs", "1")].concat();
    foreign_log(dir, &[("appendonly.aof.1.incr.aof", head.clone())]);
    let (log, _) = open(dir);
    let appender = log.appender();
    let mut stream = head.clone();
    for n in 0..records {
        let record = set(&format!("k{n}"), "v");
        if n == 0 {
            stream.extend_from_slice(SELECT_0);
        }
        stream.extend_from_slice(&record);
        let end = appender.append(0, &[&record]);
        written(&log, end);
        if synced {
            log.sync_now().unwrap();
        }
    }
    log.abandon();
    (stream, head.len())
}

#[test]
fn foreign_log_is_left_as_it_was_when_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let text = [SELECT_0, b"#TS:1\n", &set("a", "1")].concat();
    foreign_log(dir.path(), &[("appendonly.aof.1.incr.aof", text.clone())]);
    let contents = || {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir.path().join("appendonlydir")).unwrap() {
            let entry = entry.unwrap();
            files.push((entry.file_name(), std::fs::read(entry.path()).unwrap()));
        }
        files.sort();
        files
    };
    let before = contents();
    open(dir.path()).0.close().unwrap();
    assert_eq!(contents(), before);
    // Nor does a killed process leave more than a part without anything in it, which the next start takes away.
    open(dir.path()).0.abandon();
    assert_ne!(contents(), before);
    let (log, found) = open(dir.path());
    assert_eq!(found.stream, [SELECT_0, &set("a", "1")].concat());
    log.close().unwrap();
    assert_eq!(contents(), before);
}

#[test]
fn foreign_log_is_continued_in_its_own_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stream, head) = continued_log(dir.path(), 3, false);
    let names = std::fs::read_to_string(manifest(dir.path())).unwrap();
    for n in 0..3 {
        let policy = match n {
            1 => SyncPolicy::Always,
            _ => SyncPolicy::No,
        };
        let options = LogOptions {
            policy,
            ..options()
        };
        let (log, found) = open_with(dir.path(), options).unwrap();
        assert_eq!(found.stream, stream);
        assert_eq!(log.segments().len(), 1);
        let record = set("again", &n.to_string());
        let end = log.appender().append(0, &[&record]);
        stream.extend_from_slice(&[SELECT_0, &record].concat());
        written(&log, end);
        // What this process wrote can be read by position, what was there cannot.
        let mut reader = log.reader(Lsn(end.0 - record.len() as u64)).unwrap();
        assert_eq!(reader.next(1000).unwrap().unwrap().1, record);
        assert!(matches!(
            log.reader(Lsn(head as u64)),
            Err(ReadError::Truncated { .. })
        ));
        match n {
            0 | 1 => log.abandon(),
            _ => log.close().unwrap(),
        }
    }
    assert_eq!(
        std::fs::read_to_string(manifest(dir.path())).unwrap(),
        names
    );
    // An operator may put another file in its place.
    std::fs::write(increment(dir.path(), 1), set("other", "1")).unwrap();
    assert_eq!(open(dir.path()).1.stream, set("other", "1"));
}

#[test]
fn continued_file_rolls_and_is_replaced_by_a_rewrite() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stream, _) = continued_log(dir.path(), 1, false);
    let (log, _) = open(dir.path());
    let end = log.appender().append(0, &[&set("x", "1")]);
    log.wait_rotated(log.rotate()).unwrap();
    let end = log.appender().append(0, &[&set("x", "2")]).max(end);
    written(&log, end);
    stream.extend([SELECT_0, &set("x", "1"), SELECT_0, &set("x", "2")].concat());
    log.close().unwrap();
    let (log, found) = open(dir.path());
    assert_eq!((found.stream, found.files), (stream, 2));
    log.close().unwrap();

    // At once after the start: the part of ours is empty, and the base takes the whole file's place.
    let dir = tempfile::tempdir().unwrap();
    let (stream, _) = continued_log(dir.path(), 1, false);
    let (log, _) = open(dir.path());
    let ticket = log.begin_rewrite().unwrap();
    assert_eq!(ticket.cut(), Lsn(stream.len() as u64));
    commit(&log, ticket, b"REDIS new base").unwrap();
    let end = log.appender().append(0, &[&set("y", "1")]);
    written(&log, end);
    log.close().unwrap();
    let (_log, found) = open(dir.path());
    assert_eq!(found.base, b"REDIS new base");
    assert_eq!(found.stream, [SELECT_0, &set("y", "1")].concat());
}

#[test]
fn unsynced_end_of_a_continued_file_is_cut_wherever_it_is_torn() {
    let original = tempfile::tempdir().unwrap();
    let (stream, head) = continued_log(original.path(), 2, false);
    let text = std::fs::read(increment(original.path(), 1)).unwrap();
    for len in head..text.len() {
        let zeros = vec![0; text.len() - len];
        for tail in [&[][..], &zeros] {
            let dir = tempfile::tempdir().unwrap();
            copy_log(original.path(), dir.path());
            std::fs::write(increment(dir.path(), 1), [&text[..len], tail].concat()).unwrap();
            let (log, found) = open(dir.path());
            assert!(
                stream.starts_with(&found.stream) && found.stream.len() >= head,
                "length {len}"
            );
            drop(log);
            assert_eq!(open(dir.path()).1.stream, found.stream, "again, {len}");
        }
    }
}

#[test]
fn part_whose_beginning_was_torn_is_taken_away_whatever_the_operator_says_of_torn_files() {
    let original = tempfile::tempdir().unwrap();
    let (stream, head) = continued_log(original.path(), 0, false);
    let good = std::fs::read(increment(original.path(), 1)).unwrap();
    for hole in [1, 40, 74, 100] {
        let mut bad = good.clone();
        bad[head..head + hole].fill(0);
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        std::fs::write(increment(dir.path(), 1), &bad).unwrap();
        let strict = LogOptions {
            load_cut_off: false,
            ..options()
        };
        let (log, found) = open_with(dir.path(), strict).unwrap();
        assert_eq!(found.stream, stream, "{hole} bytes");
        log.close().unwrap();
        assert_eq!(std::fs::read(increment(dir.path(), 1)).unwrap(), stream);
    }
}

#[test]
fn damage_before_a_synced_part_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let long = set("long", &"x".repeat(1000));
    foreign_log(dir.path(), &[("appendonly.aof.1.incr.aof", long.clone())]);
    let (log, _) = open(dir.path());
    let end = log.appender().append(0, &[&set("ours", "1")]);
    written(&log, end);
    log.close().unwrap();
    let path = increment(dir.path(), 1);
    let good = std::fs::read(&path).unwrap();
    let header = good.windows(4).position(|w| w == b"#HT1").unwrap();
    let value = good.windows(5).position(|w| w == b"$1000").unwrap();
    for (at, byte) in [
        // The value now reaches over the end of the file, and over what is ours.
        (value + 1, b'9'),
        // One byte of it is no longer a length.
        (value + 1, b'x'),
        // The part's header.
        (header + 1, b'J'),
        (header + 20, b'f'),
        (header + frame::HEADER_BYTES + 10, b'7'),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        std::fs::write(&path, &bad).unwrap();
        let refused = open_with(dir.path(), options()).map(|_| ());
        assert!(
            matches!(
                refused,
                Err(OpenError::Corrupt(_) | OpenError::WrongFile { .. })
            ),
            "{at}: {refused:?}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), bad, "left as it is");
    }
}

/// A redis-server of the system on a log directory; stopped when dropped.
pub(super) struct Redis {
    process: std::process::Child,
    port: u16,
}

impl Redis {
    /// `None` where redis is not installed.
    pub(super) fn start(dir: &Path) -> Option<Redis> {
        let version = Command::new("redis-server").arg("--version").output();
        let Ok(version) = version else {
            println!("skipped: redis-server not found");
            return None;
        };
        println!("peer: {}", String::from_utf8_lossy(&version.stdout).trim());
        // A free port, taken for a moment to find it.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--appendonly",
                "yes",
                "--save",
                "",
            ])
            .args(["--aof-load-truncated", "no", "--dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut redis = Redis { process, port };
        while redis.ask(&["PING"]) != "PONG" {
            assert_eq!(
                redis.process.try_wait().unwrap(),
                None,
                "redis-server refused the directory"
            );
        }
        Some(redis)
    }

    pub(super) fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn redis_starts_on_our_directory_and_we_on_what_it_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    for n in 0..50 {
        let end = appender.append(0, &[&set(&format!("key{n}"), &"v".repeat(n))]);
        written(&log, end);
        if n % 20 == 19 {
            log.wait_rotated(log.rotate()).unwrap();
        }
    }
    let end = appender.append(5, &[&set("other", "v")]);
    written(&log, end);
    log.abandon();
    // As a killed process leaves it: the last segment still has its filler.
    match Command::new("redis-check-aof")
        .arg(manifest(dir.path()))
        .output()
    {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).to_string();
            assert!(
                output.status.success() && text.contains("All AOF files and manifest are valid"),
                "{text}"
            );
        }
        Err(_) => println!("skipped: redis-check-aof not found"),
    }
    let Some(redis) = Redis::start(dir.path()) else {
        return;
    };
    assert_eq!(redis.ask(&["DBSIZE"]), "50");
    assert_eq!(redis.ask(&["-n", "5", "GET", "other"]), "v");
    assert_eq!(redis.ask(&["-n", "2", "SET", "theirs", "1"]), "OK");
    redis.ask(&["SHUTDOWN", "NOSAVE"]);
    drop(redis);
    let (log, found) = open(dir.path());
    assert!(found.stream.ends_with(&set("theirs", "1")));
    let report = log.recovery_report().clone();
    assert_eq!((report.cut, report.unchecked_files.len()), (None, 1));
    assert!(log.appended() > end);
    let end = log.appender().append(2, &[&set("ours", "2")]);
    written(&log, end);
    log.close().unwrap();
    let Some(redis) = Redis::start(dir.path()) else {
        return;
    };
    assert_eq!(redis.ask(&["-n", "2", "DBSIZE"]), "2");
    // Its own rewrite replaces all of ours.
    redis.ask(&["BGREWRITEAOF"]);
    while redis
        .ask(&["INFO", "persistence"])
        .contains("aof_rewrite_in_progress:1")
    {
        std::thread::yield_now();
    }
    assert_eq!(redis.ask(&["SET", "last", "1"]), "OK");
    redis.ask(&["SHUTDOWN", "NOSAVE"]);
    drop(redis);
    let (_log, found) = open(dir.path());
    assert!(found.stream.ends_with(&set("last", "1")));
}
