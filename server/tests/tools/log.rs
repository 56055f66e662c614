//! `hardtack check`, `log` and `restore`, on what a server left behind, on what somebody spoilt, and beside a server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Ended, hardtack};
use crate::support::{Client, Kind, Server};

fn tool(words: &[&str], dir: &Path, options: &[&str]) -> Ended {
    let dir = dir.to_str().expect("a path in UTF-8");
    hardtack(&[words, &[dir], options].concat())
}

fn check(dir: &Path) -> (i32, Value) {
    let ended = tool(&["check"], dir, &["--json"]);
    let code = ended.code.expect("it ends by itself");
    (code, ended.with_code(code).json_lines().remove(0))
}

/// Waits for a compaction to end.
fn rewrite(client: &mut Client) {
    client.call(&["BGREWRITEAOF"]);
    loop {
        let info = client.call(&["INFO", "persistence"]).text();
        if info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0") {
            return;
        }
    }
}

/// A server that has history, a base and two segments, and has stopped.
fn stopped() -> Server {
    let mut server = Server::start(Kind::Hardtack, &[]);
    let mut client = server.client();
    for n in 0..20 {
        client.call(&["SET", &format!("old{n}"), "value"]);
    }
    rewrite(&mut client);
    for n in 0..20 {
        client.call(&["SET", &format!("key{n}"), "value"]);
    }
    drop(client);
    server.restart();
    let mut client = server.client();
    client.call(&["SELECT", "5"]);
    for n in 0..20 {
        client.call(&["RPUSH", "list", &n.to_string()]);
    }
    drop(client);
    server.stop_cleanly();
    server
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The files of a role, by name.
fn named(report: &Value, role: &str) -> Vec<String> {
    let files = report["logs"][0]["files"].as_array().unwrap().iter();
    files
        .filter(|file| file["role"] == role)
        .map(|file| file["file"].as_str().unwrap().to_owned())
        .collect()
}

fn damaged(report: &Value) -> &Value {
    let mut files = report["logs"][0]["files"].as_array().unwrap().iter();
    let found = files.find(|file| !file["damage"].is_null());
    found.unwrap_or_else(|| panic!("nothing is damaged: {report}"))
}

#[test]
fn check_finds_every_kind_of_damage_and_changes_nothing() {
    let server = stopped();
    let dir = server.data_dir();
    let log = dir.join("appendonlydir");
    let (code, sound) = check(&dir);
    assert_eq!((code, &sound["sound"]), (0, &json!(true)), "{sound}");
    assert_eq!(sound["logs"][0]["start"]["starts"], true);
    let segments = named(&sound, "segment");
    let base = named(&sound, "base").remove(0);
    assert!(segments.len() >= 2 && !named(&sound, "history").is_empty());
    let text = tool(&["check"], &dir, &[]).with_code(0).stdout;
    assert!(text.contains("A start goes on at LSN") && text.ends_with(": sound\n"));

    let original = contents(&dir);
    type Harm<'a> = Box<dyn Fn() + 'a>;
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = log.join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    let harms: [(&str, Harm<'_>, &str); 6] = [
        (
            "a bit flips in the middle",
            Box::new(|| {
                change(&segments[0], &|bytes| {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 1;
                });
            }),
            &segments[0],
        ),
        (
            "a sealed segment ends too early",
            Box::new(|| change(&segments[0], &|bytes| bytes.truncate(bytes.len() - 1))),
            &segments[0],
        ),
        (
            "the tail is torn",
            Box::new(|| {
                change(segments.last().unwrap(), &|bytes| {
                    bytes.truncate(bytes.len() - 5);
                });
            }),
            segments.last().unwrap(),
        ),
        (
            "the base is truncated",
            Box::new(|| change(&base, &|bytes| bytes.truncate(bytes.len() / 2))),
            &base,
        ),
        (
            "a segment is deleted",
            Box::new(|| fs::remove_file(log.join(&segments[0])).unwrap()),
            &segments[0],
        ),
        (
            "the manifest is flipped",
            Box::new(|| change("appendonly.aof.manifest", &|bytes| bytes[50] ^= 1)),
            "",
        ),
    ];
    for (what, harm, file) in harms {
        harm();
        let spoilt = contents(&dir);
        let (code, report) = check(&dir);
        assert_eq!((code, &report["sound"]), (1, &json!(false)), "{what}");
        let start = &report["logs"][0]["start"];
        if file.is_empty() {
            assert_eq!(report["logs"][0]["manifest_checksum"], "unreadable");
        } else {
            let bad = damaged(&report);
            assert_eq!(bad["file"], file, "{what}");
            let missing = what.contains("deleted");
            assert_eq!(bad["damage"]["offset"].is_null(), missing, "{what}: {bad}");
        }
        let torn = what.contains("torn");
        assert_eq!(start["starts"], torn, "{what}: {start}");
        if torn {
            assert_eq!(start["cut"]["case"], "torn_tail");
            assert!(start["cut"]["bytes"].as_u64().unwrap() > 0);
        }
        let text = tool(&["check"], &dir, &[]).with_code(1).stdout;
        assert!(text.ends_with(": not sound\n"), "{what}: {text}");
        assert!(contents(&dir) == spoilt, "{what}: check changed something");
        for (path, bytes) in &original {
            fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(check(&dir).0, 0);
    // What holds nothing is neither sound nor damaged.
    let empty = tempfile::tempdir().unwrap();
    let ended = tool(&["check"], empty.path(), &[]).with_code(2);
    assert!(ended.stderr.contains("holds no log"), "{ended:?}");
    tool(&["check"], &empty.path().join("none"), &[]).with_code(2);
}

#[test]
fn check_beside_a_server_takes_no_part() {
    let server = Server::start(Kind::Hardtack, &[]);
    let mut client = server.client();
    for n in 0..50 {
        client.call(&["SET", &format!("key{n}"), "value"]);
        if n % 10 == 0 {
            let (code, report) = check(&server.data_dir());
            assert_eq!((code, &report["logs"][0]["live"]), (0, &json!(true)));
        }
    }
    let text = tool(&["check"], &server.data_dir(), &[])
        .with_code(0)
        .stdout;
    assert!(text.contains("still growing"), "{text}");
}

#[test]
#[ignore = "needs redis-server 7"]
fn check_reads_what_redis_leaves() {
    let mut server = Server::start(Kind::Redis, &[("appendonly", "yes")]);
    let mut client = server.client();
    client.call(&["SET", "key", "value"]);
    client.call(&["SAVE"]);
    drop(client);
    server.stop_cleanly();
    let dir = server.data_dir();
    let (code, report) = check(&dir);
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["logs"][0]["manifest_checksum"], "none");
    assert_eq!(report["files"][0]["rdb"]["keys"], 1);
    let segment = named(&report, "segment").remove(0);
    let file = dir.join("appendonlydir").join(&segment);
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 2);
    fs::write(&file, bytes).unwrap();
    let (code, report) = check(&dir);
    assert_eq!((code, &damaged(&report)["file"]), (1, &json!(segment)));
    let cut = &report["logs"][0]["start"]["cut"];
    assert_eq!(cut["case"], "foreign_tail_cut_off");
    // The file on its own.
    assert_eq!(check(&file).0, 1);
}

/// Lines of `log dump --json`, as positions and words.
fn dump(dir: &Path, options: &[&str]) -> Vec<(u64, String)> {
    let ended = tool(&["log", "dump"], dir, &[&["--json"], options].concat()).with_code(0);
    ended.json_lines().iter().map(words).collect()
}

fn words(line: &Value) -> (u64, String) {
    let args = line["command"].as_array().unwrap().iter();
    let args: Vec<&str> = args.map(|arg| arg.as_str().unwrap()).collect();
    (line["lsn"].as_u64().unwrap(), args.join(" "))
}

#[test]
fn log_dump_shows_a_stretch_of_history_and_log() {
    let server = stopped();
    let dir = server.data_dir();
    let all = dump(&dir, &[]);
    assert_eq!(all[0], (0, "SELECT 0".into()));
    let sets = all.iter().filter(|(_, words)| words.starts_with("SET "));
    assert_eq!(sets.count(), 40);
    // Keys, and the database that they are in.
    let of_list = tool(&["log", "dump"], &dir, &["--keys", "l?st", "--json"]).with_code(0);
    let of_list = of_list.json_lines();
    assert_eq!(of_list.len(), 20);
    assert!(of_list.iter().all(|line| line["db"] == 5));
    // From one position to another.
    let (from, to) = (all[10].0, all[15].0);
    let some = dump(
        &dir,
        &["--from", &from.to_string(), "--to", &to.to_string()],
    );
    assert_eq!(some, all[10..15]);
    // By time: what the line says is what finds it.
    let text = tool(&["log", "dump"], &dir, &[]).with_code(0).stdout;
    let line = text.lines().nth(12).unwrap();
    let time = line
        .split(' ')
        .skip(1)
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let at = dump(&dir, &["--from", &time, "--to", &time]);
    assert!(at.contains(&all[12]), "{time}: {at:?}");
    assert!(dump(&dir, &["--to", "2001-01-01"]).is_empty());
    assert!(dump(&dir, &["--from", "@99999999999"]).is_empty());
    let mistake = tool(&["log", "dump"], &dir, &["--from", "yesterday"]).with_code(2);
    assert!(mistake.stderr.contains("neither an LSN nor a time"));
    // Damage ends it, and says so, behind what is good.
    let (_, report) = check(&dir);
    let segment = dir
        .join("appendonlydir")
        .join(named(&report, "segment").remove(0));
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(segment, bytes).unwrap();
    let ended = tool(&["log", "dump"], &dir, &["--json"]).with_code(1);
    assert!(ended.stderr.contains("is damaged at byte"), "{ended:?}");
    assert!(ended.json_lines().len() > 20 && ended.json_lines().len() < all.len());
}

/// A tail that is being read.
struct Tail {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Tail {
    fn start(dir: &Path, options: &[&str]) -> Tail {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hardtack"))
            .args(["log", "tail", "--json"])
            .arg(dir)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = child.stdout.take().expect("a pipe");
        let lines = BufReader::new(stdout).lines();
        Tail { child, lines }
    }

    /// Reads until this command comes.
    fn until(&mut self, wanted: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.next().expect("it goes on").expect("a line");
            let (_, words) = words(&serde_json::from_str(&line).unwrap());
            let found = words == wanted;
            seen.push(words);
            if found {
                return seen;
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn log_tail_follows_across_compactions_and_restarts() {
    let mut server = Server::start(Kind::Hardtack, &[("log-segment-bytes", "64kb")]);
    let mut client = server.client();
    client.call(&["SET", "first", "1"]);
    let mut tail = Tail::start(&server.data_dir(), &["--from", "0"]);
    assert_eq!(tail.until("SET first 1"), ["SELECT 0", "SET first 1"]);
    rewrite(&mut client);
    client.call(&["SET", "second", "2"]);
    tail.until("SET second 2");
    // Several segments.
    let value = "x".repeat(10_000);
    for n in 0..30 {
        client.call(&["SET", &format!("large{n}"), &value]);
    }
    client.call(&["SET", "third", "3"]);
    let seen = tail.until("SET third 3");
    let large = seen.iter().filter(|words| words.starts_with("SET large"));
    assert_eq!(large.count(), 30);
    drop(client);
    server.restart();
    let mut client = server.client();
    client.call(&["SET", "fourth", "4"]);
    assert_eq!(tail.until("SET fourth 4").len(), 2);
    // Another one begins at the end.
    let mut late = Tail::start(&server.data_dir(), &[]);
    for n in 0.. {
        // It may take an instant until it has found the end.
        client.call(&["SET", "n", &n.to_string()]);
        if n == 2000 {
            break;
        }
    }
    client.call(&["SET", "last", "1"]);
    assert!(!late.until("SET last 1").contains(&"SET first 1".to_owned()));
    tail.until("SET last 1");
}

/// A server that has stopped, and whose data directory is gone: there is room for a restored one.
fn vacant() -> Server {
    let mut server = Server::start(Kind::Hardtack, &[("appendonly", "no")]);
    server.stop_cleanly();
    fs::remove_dir_all(server.data_dir()).unwrap();
    server
}

fn restore(dir: &Path, into: &Server, options: &[&str]) -> Ended {
    let into = into.data_dir();
    let into = ["--into", into.to_str().unwrap(), "--json"];
    tool(&["restore"], dir, &[&into, options].concat())
}

fn restored(dir: &Path, options: &[&str]) -> (Server, Value) {
    let server = vacant();
    let ended = restore(dir, &server, options).with_code(0);
    let report = ended.json_lines().remove(0);
    (server, report)
}

#[test]
fn restore_goes_back_to_before_the_mistake() {
    let mut server = Server::start(Kind::Hardtack, &[]);
    let mut client = server.client();
    client.call(&["SET", "precious", "1"]);
    client.call(&["FLUSHALL"]);
    for n in 0..5 {
        client.call(&["RPUSH", "list", &n.to_string()]);
    }
    client.call(&["SET", "with-ttl", "1", "EX", "10000"]);
    client.ok("MULTI");
    client.call(&["SET", "half", "1"]);
    client.call(&["FLUSHALL"]);
    client.call(&["EXEC"]);
    client.call(&["SET", "after", "1"]);
    drop(client);
    let dir = server.data_dir();
    // Beside the server that is at work.
    let (copy, report) = restored(&dir, &["--before", "flushall"]);
    assert_eq!(report["keys"], 2, "{report}");
    assert_eq!(report["matches"].as_array().unwrap().len(), 2);
    let (code, found) = check(&copy.data_dir());
    assert_eq!(code, 0, "{found}");
    assert_ne!(
        found["logs"][0]["replid"],
        check(&dir).1["logs"][0]["replid"]
    );
    {
        let mut again = Server::start_on(Kind::Hardtack, &copy, &[]);
        let mut client = again.client();
        let list = client.call(&["LRANGE", "list", "0", "-1"]).elements();
        assert_eq!(list.len(), 5);
        assert!(client.call(&["TTL", "with-ttl"]).integer() > 9000);
        assert_eq!(client.call(&["EXISTS", "half"]).integer(), 0);
        client.call(&["SET", "new", "1"]);
        again.restart();
        assert_eq!(again.client().call(&["DBSIZE"]).integer(), 3);
        again.stop_cleanly();
    }
    server.stop_cleanly();
    // The earlier one, by the position that was told.
    let first = report["matches"][0]["lsn"].to_string();
    let (copy, report) = restored(&dir, &["--to-lsn", &first]);
    assert_eq!(
        (&report["keys"], &report["lsn"]),
        (&json!(1), &report["lsn"])
    );
    let again = Server::start_on(Kind::Hardtack, &copy, &[]);
    assert_eq!(again.client().call(&["GET", "precious"]).text(), "1");
    drop(again);
    // Any position in the log gives whole records, and the same state from there as up to there.
    let all = dump(&dir, &[]);
    let begin = all.iter().find(|(_, words)| words == "MULTI").unwrap().0;
    let inside = all
        .iter()
        .find(|(_, words)| words == "SET half 1")
        .unwrap()
        .0;
    for lsn in [inside, inside + 3, begin + 1] {
        let (_copy, report) = restored(&dir, &["--to-lsn", &lsn.to_string()]);
        assert_eq!(report["lsn"], begin, "a transaction is not halved");
        assert_eq!(report["keys"], 2);
    }
    // What cannot be.
    let full = vacant();
    let refused = restore(&dir, &full, &["--to-lsn", "99999999"]).with_code(2);
    assert!(
        refused.stderr.contains("the log ends at LSN"),
        "{refused:?}"
    );
    let refused = restore(&dir, &full, &["--before", "GETDEL x"]).with_code(2);
    assert!(refused.stderr.contains("no such command"), "{refused:?}");
    let refused = restore(&dir, &full, &["--to-time", "2001-01-01"]).with_code(2);
    assert!(
        refused.stderr.contains("history does not reach back"),
        "{refused:?}"
    );
    fs::write(full.data_dir().join("mine"), "").unwrap();
    let refused = restore(&dir, &full, &["--to-lsn", &first]).with_code(2);
    assert!(refused.stderr.contains("not empty"), "{refused:?}");
}

#[test]
fn restore_by_time_and_from_a_copy_of_an_older_snapshot() {
    let mut server = Server::start(Kind::Hardtack, &[("log-retention-bytes", "100mb")]);
    let mut client = server.client();
    client.call(&["SET", "a", "1"]);
    client.call(&["SAVE"]);
    let dir = server.data_dir();
    let backup = tempfile::tempdir().unwrap();
    let copy = backup.path().join("before.rdb");
    fs::rename(dir.join("dump.rdb"), &copy).unwrap();
    let copy = copy.to_str().unwrap();
    client.call(&["SET", "a", "2"]);
    rewrite(&mut client);
    client.call(&["SET", "a", "3"]);
    drop(client);
    server.stop_cleanly();
    fs::remove_file(dir.join("dump.rdb")).ok();
    let lines = tool(&["log", "dump"], &dir, &["--json", "--keys", "a"]).with_code(0);
    let lines = lines.json_lines();
    let last = lines.last().unwrap();
    let before_last = last["time_ms"].as_i64().unwrap() - 1;
    let at = format!("@{}.{:03}", before_last / 1000, before_last % 1000);
    let value = |copy: &Server| {
        let again = Server::start_on(Kind::Hardtack, copy, &[]);
        again.client().call(&["GET", "a"]).text()
    };
    let (copy_of, report) = restored(&dir, &["--to-time", &at]);
    assert_eq!(value(&copy_of), "2", "{report}");
    // Between the snapshot and the present base.
    let second = lines[1]["end_lsn"].to_string();
    let (copy_of, report) = restored(&dir, &["--to-lsn", &second, "--base", copy]);
    assert_eq!(value(&copy_of), "2", "{report}");
    let lsn = lines[0]["end_lsn"].to_string();
    let (copy_of, _) = restored(&dir, &["--to-lsn", &lsn, "--base", copy]);
    assert_eq!(value(&copy_of), "1");
    // Damage on the way stops it, damage elsewhere does not.
    let (_, report) = check(&dir);
    let segment = dir
        .join("appendonlydir")
        .join(named(&report, "segment").remove(0));
    let mut bytes = fs::read(&segment).unwrap();
    let record = bytes
        .windows(9)
        .rposition(|bytes| bytes == b"$1\r\n3\r\n#F");
    bytes[record.expect("the last value, and the mark behind it") + 4] ^= 1;
    fs::write(segment, bytes).unwrap();
    let end = last["end_lsn"].to_string();
    let full = vacant();
    let refused = restore(&dir, &full, &["--to-lsn", &end]);
    assert!(matches!(refused.code, Some(1 | 2)), "{refused:?}");
    let (copy_of, _) = restored(&dir, &["--to-lsn", &second, "--base", copy]);
    assert_eq!(value(&copy_of), "2");
    // Another log's snapshot is not taken.
    let mut other = Server::start(Kind::Hardtack, &[]);
    let mut client = other.client();
    client.call(&["SET", "a", "wrong"]);
    client.call(&["SAVE"]);
    drop(client);
    let wrong = other.data_dir().join("dump.rdb");
    let refused = restore(
        &dir,
        &full,
        &["--to-lsn", &second, "--base", wrong.to_str().unwrap()],
    );
    let refused = refused.with_code(2);
    assert!(
        refused.stderr.contains("belongs to the history"),
        "{refused:?}"
    );
    other.stop_cleanly();
}

#[test]
#[ignore = "needs redis-server 7"]
fn redis_starts_on_what_was_restored() {
    let mut server = stopped();
    let dir = server.data_dir();
    let all = dump(&dir, &["--keys", "list"]);
    let lsn = all[9].0.to_string();
    let (copy, _) = restored(&dir, &["--to-lsn", &lsn]);
    let redis = Server::start_on(Kind::Redis, &copy, &[("appendonly", "yes")]);
    let mut client = redis.client();
    assert_eq!(client.call(&["DBSIZE"]).integer(), 40);
    client.call(&["SELECT", "5"]);
    assert_eq!(client.call(&["LLEN", "list"]).integer(), 9);
    server.stop();
}

/// Whether everything that was in the files is still somewhere.
fn assert_kept(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
    what: &str,
) {
    for (path, bytes) in before {
        let name = path.file_name().unwrap().to_str().unwrap();
        // The record of sums and the lock are made anew at will.
        if name.ends_with(".sums") || name.ends_with(".idx") || name.ends_with(".lock") {
            continue;
        }
        let whole = after.values().any(|found| found == bytes);
        let torn = |(other, tail): (&PathBuf, &Vec<u8>)| {
            let other = other.file_name().unwrap().to_str().unwrap();
            let head = after.get(path).cloned().unwrap_or_default();
            other.starts_with(&format!("{name}.torn-")) && [&head[..], tail].concat() == *bytes
        };
        let manifest = name.ends_with(".manifest");
        assert!(
            manifest || whole || after.iter().any(torn),
            "{what}: {name}"
        );
    }
}

#[test]
fn repair_keeps_what_is_good_and_deletes_nothing() {
    let server = stopped();
    let dir = server.data_dir();
    let log = dir.join("appendonlydir");
    let original = contents(&dir);
    let (_, sound) = check(&dir);
    let segments = named(&sound, "segment");
    let base = named(&sound, "base").remove(0);
    assert_eq!(named(&sound, "old_base").len(), 1, "{sound}");
    let manifest = log.join("appendonly.aof.manifest");
    let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = log.join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    // What is done, and how many keys there are afterwards.
    type Harm<'a> = Box<dyn Fn() + 'a>;
    let harms: [(&str, Harm<'_>, &str, std::ops::RangeInclusive<i64>); 8] = [
        (
            "a bit flips in the middle",
            Box::new(|| {
                change(&segments[0], &|bytes| {
                    let at = bytes.len() / 2;
                    bytes[at] ^= 1;
                });
            }),
            "cut",
            21..=39,
        ),
        (
            "the tail is torn",
            Box::new(|| {
                change(segments.last().unwrap(), &|bytes| {
                    bytes.truncate(bytes.len() - 5);
                });
            }),
            "cut",
            41..=41,
        ),
        (
            "the base is truncated",
            Box::new(|| change(&base, &|bytes| bytes.truncate(bytes.len() / 2))),
            "older_base",
            41..=41,
        ),
        (
            "the base is gone",
            Box::new(|| fs::remove_file(log.join(&base)).unwrap()),
            "older_base",
            41..=41,
        ),
        (
            "the first segment is gone",
            Box::new(|| fs::remove_file(log.join(&segments[0])).unwrap()),
            "set_aside",
            20..=20,
        ),
        (
            "the last segment is gone",
            Box::new(|| fs::remove_file(log.join(segments.last().unwrap())).unwrap()),
            "set_aside",
            40..=40,
        ),
        (
            "the manifest is flipped",
            Box::new(|| change("appendonly.aof.manifest", &|bytes| bytes[50] ^= 1)),
            "manifest_made",
            41..=41,
        ),
        (
            "the manifest is gone",
            Box::new(|| fs::remove_file(&manifest).unwrap()),
            "manifest_made",
            41..=41,
        ),
    ];
    for (what, harm, step, keys) in harms {
        harm();
        let spoilt = contents(&dir);
        let refused = tool(&["check"], &dir, &["--repair"]).with_code(2);
        assert!(refused.stderr.contains("--yes"), "{what}: {refused:?}");
        assert!(contents(&dir) == spoilt, "{what}: repaired unasked");
        let ended = tool(&["check"], &dir, &["--repair", "--yes", "--json"]);
        let report = ended.with_code(0).json_lines().remove(0);
        assert_eq!(report["repaired"][0]["steps"][0]["step"], step, "{what}");
        assert_kept(&spoilt, &contents(&dir), what);
        let again = tool(&["check"], &dir, &["--repair", "--yes"]).with_code(0);
        assert!(!again.stdout.contains("Repair of"), "{what}: {again:?}");
        {
            let mut again = Server::start_on(Kind::Hardtack, &server, &[]);
            let mut client = again.client();
            let mut count = client.call(&["DBSIZE"]).integer();
            client.call(&["SELECT", "5"]);
            count += client.call(&["DBSIZE"]).integer();
            assert!(keys.contains(&count), "{what}: {count} keys");
            drop(client);
            again.stop_cleanly();
        }
        for path in contents(&dir).keys() {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &original {
            fs::write(path, bytes).unwrap();
        }
    }
    // Not beside a server.
    let running = Server::start_on(Kind::Hardtack, &server, &[]);
    change(&base, &|bytes| bytes[20] ^= 1);
    let refused = tool(&["check"], &dir, &["--repair", "--yes"]).with_code(2);
    assert!(
        refused.stderr.contains("a server is at work"),
        "{refused:?}"
    );
    drop(running);
}
