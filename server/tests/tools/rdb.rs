//! `hardtack rdb`, on files that redis-server 7.0.15 wrote and on files that somebody spoilt.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Ended, hardtack};
use crate::support::{Client, Kind, Server, redis_tool};

/// A file of the RDB reader's own tests; [`storage/src/rdb/foreign_tests.rs`] says what is in each.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../storage/src/rdb/testdata")
        .join(name)
}

fn dump(file: &Path, options: &[&str]) -> Ended {
    let file = file.to_str().expect("a path in UTF-8");
    hardtack(&[&["rdb", "dump", file], options].concat())
}

/// The line of a key.
fn line<'a>(lines: &'a [Value], key: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["key"] == key);
    found.unwrap_or_else(|| panic!("no key {key}"))
}

/// A file of ours: a header of `version`, these items, the end mark and no checksum.
fn file(dir: &Path, version: u32, items: &[u8]) -> PathBuf {
    let path = dir.join("made.rdb");
    let header = format!("REDIS{version:04}").into_bytes();
    fs::write(&path, [&header, items, b"\xff", &[0; 8]].concat()).expect("a file");
    path
}

#[test]
fn dump_shows_every_type_and_a_summary() {
    for name in ["packed_v10.rdb", "plain_v10.rdb"] {
        let lines = dump(&testdata(name), &["--json"]).with_code(0).json_lines();
        assert_eq!(lines.len(), 19, "18 keys and the summary");
        let value = |key: &str| line(&lines, key)["value"].clone();
        assert_eq!(value("str"), "hello");
        assert_eq!(value("int64"), "9000000000000000000");
        assert_eq!(value("lzf"), "abcd".repeat(50));
        assert_eq!(value("ints32"), json!(["1", "100000"]));
        assert_eq!(value("smallhash"), json!([["f", "v"], ["n", "12"]]));
        assert_eq!(
            value("zset"),
            json!([
                ["low", "-inf"],
                ["tenth", 0.1],
                ["one", 1.0],
                ["two", 2.5],
                ["high", "inf"]
            ])
        );
        assert_eq!(value("biglist"), json!(["y".repeat(200), "z"]));
        assert_eq!(
            line(&lines, "expiring")["expires_at_ms"],
            4_102_444_800_123_i64
        );
        assert_eq!(line(&lines, "other")["db"], 3);
        let summary = &lines[18]["summary"];
        assert_eq!(summary["keys"], 18);
        assert_eq!(summary["databases"], json!({"0": 17, "3": 1}));
        assert_eq!(
            (&summary["version"], &summary["checksum"]),
            (&json!(10), &json!("verified"))
        );
        assert_eq!(summary["error"], Value::Null);
    }
    let access = dump(&testdata("lfu_v10.rdb"), &[]).with_code(0);
    assert_eq!(line(&access.json_lines(), "str")["frequency"], 5);
    assert!(
        access.stderr.contains("checksum absent"),
        "{}",
        access.stderr
    );
}

#[test]
fn dump_filters_by_database_and_pattern() {
    let file = testdata("packed_v10.rdb");
    let keys = |options: &[&str]| -> Vec<String> {
        let lines = dump(&file, options).with_code(0).json_lines();
        let mut keys: Vec<_> = lines.iter().map(|line| line["key"].to_string()).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&["--db", "3"]), [r#""other""#]);
    assert_eq!(
        keys(&["--db", "3", "--db", "0", "--keys", "ints*"]),
        [r#""ints""#, r#""ints32""#, r#""ints64""#]
    );
    assert_eq!(keys(&["--keys", "nothing"]), [""; 0]);
    let lines = dump(&file, &["--no-values", "--keys", "list"])
        .with_code(0)
        .json_lines();
    assert_eq!(
        lines[0],
        json!({"db": 0, "key": "list", "type": "list", "encoding": "quicklist2", "elements": 11})
    );
}

#[test]
fn dump_keeps_bytes_that_are_no_text() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file(dir.path(), 10, b"\x00\x02\xff\xfe\x03a\0b");
    let lines = dump(&path, &[]).with_code(0).json_lines();
    assert_eq!(lines[0]["key"], json!({"base64": "//4="}));
    assert_eq!(lines[0]["value"], "a\0b");
}

/// What only other servers hold is named, and the keys behind it are there.
#[test]
fn dump_passes_over_what_it_does_not_know() {
    let dir = tempfile::tempdir().expect("a directory");
    let module_id = [0x81, 0, 0, 0, 0, 0, 0, 0, 1];
    let items = [
        // A library, and data of the module AAAAAAAAA: an unsigned integer, a double, a string.
        &b"\xf5\x04code"[..],
        &[
            &[0xf7][..],
            &module_id,
            b"\x02\x01\x04\0\0\0\0\0\0\0\0\x05\x01x\0",
        ]
        .concat(),
        // A stream of the first kind without entries and groups, and a hash with one expiring field.
        b"\x0f\x06stream\0\0\0\0\0",
        &[&b"\x18\x04hash\0\0\0\0\0\0\0\0"[..], b"\x01\x05\x01f\x01v"].concat(),
        &[&b"\x07\x06module"[..], &module_id, b"\x01\x05\0"].concat(),
        b"\0\x04last\x01v",
    ];
    let path = file(dir.path(), 12, &items.concat());
    let ended = dump(&path, &["--json"]).with_code(0);
    let lines = ended.json_lines();
    assert_eq!(lines[0], json!({"function": "code"}));
    assert_eq!(lines[1], json!({"module_aux": "AAAAAAAAA", "bytes": 25}));
    for (key, type_name) in [
        ("stream", "stream"),
        ("hash", "hash"),
        ("module", "AAAAAAAAA"),
    ] {
        let line = line(&lines, key);
        assert_eq!(line["type"], type_name);
        assert!(
            line["skipped"]
                .as_str()
                .is_some_and(|reason| reason.contains("not supported")),
            "{line}"
        );
    }
    assert_eq!(line(&lines, "last")["value"], "v");
    assert_eq!(lines.last().expect("a summary")["summary"]["skipped"], 3);

    // A module's value that does not say where it ends is where it stops.
    let items = [
        &b"\0\x05first\x01v"[..],
        b"\x06\x03old",
        &module_id,
        b"\0\x04last\x01v",
    ];
    let path = file(dir.path(), 12, &items.concat());
    let ended = dump(&path, &[]).with_code(2);
    assert_eq!(ended.json_lines().len(), 1);
    assert!(
        ended.stderr.contains("at offset 18 (key 'old')"),
        "{}",
        ended.stderr
    );
}

#[test]
fn dump_tells_damage_from_what_is_no_rdb() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("spoilt.rdb");
    let sound = fs::read(testdata("packed_v10.rdb")).expect("test data");

    fs::write(&path, &sound[..300]).expect("a file");
    let cut = dump(&path, &["--json"]).with_code(1);
    let lines = cut.json_lines();
    assert!(lines.len() > 3, "what could be read is there");
    let error = &lines.last().expect("a summary")["summary"]["error"];
    assert!(
        error
            .as_str()
            .is_some_and(|error| error.contains("offset 300")),
        "{error}"
    );

    let mut flipped = sound.clone();
    let at = sound
        .windows(5)
        .position(|bytes| bytes == b"hello")
        .expect("the value");
    flipped[at] ^= 1;
    fs::write(&path, &flipped).expect("a file");
    let flipped = dump(&path, &[]).with_code(1);
    assert_eq!(flipped.json_lines().len(), 18);
    assert!(flipped.stderr.contains("CRC error"), "{}", flipped.stderr);

    // An intset in which the numbers are not in order; the key behind it is sound.
    let path = file(
        dir.path(),
        10,
        b"\x0b\x03set\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0\0\x04last\x01v",
    );
    let ended = dump(&path, &[]).with_code(1);
    let lines = ended.json_lines();
    assert!(
        line(&lines, "set")["error"]
            .as_str()
            .is_some_and(|text| text.contains("Intset"))
    );
    assert_eq!(line(&lines, "last")["value"], "v");

    fs::write(&path, "*1\r\n$4\r\nPING\r\n").expect("a file");
    assert!(
        dump(&path, &[])
            .with_code(2)
            .stderr
            .contains("wrong signature")
    );
    assert!(
        dump(dir.path(), &[])
            .with_code(2)
            .stderr
            .contains("is a directory")
    );
    assert!(
        dump(&dir.path().join("none"), &[])
            .with_code(2)
            .stderr
            .contains("can't read")
    );
    fs::write(&path, "").expect("a file");
    assert!(
        dump(&path, &[])
            .with_code(1)
            .stderr
            .contains("unexpected end")
    );
}

fn convert(from: &Path, to: &Path, version: &str, options: &[&str]) -> Ended {
    let [from, to] = [from, to].map(|path| path.to_str().expect("a path in UTF-8"));
    hardtack(
        &[
            &["rdb", "convert", from, to, "--to-version", version],
            options,
        ]
        .concat(),
    )
}

fn diff(a: &Path, b: &Path, options: &[&str]) -> Ended {
    let [a, b] = [a, b].map(|path| path.to_str().expect("a path in UTF-8"));
    hardtack(&[&["rdb", "diff", a, b], options].concat())
}

/// Whatever the version, what was there is there, and the old forms alone are used.
#[test]
fn convert_to_every_version_loses_nothing_of_the_plain_types() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["packed_v10.rdb", "plain_v10.rdb", "lru_v10.rdb"] {
        let from = testdata(name);
        for version in 6..=13 {
            let to = dir.path().join(format!("{version}-{name}"));
            let report = convert(&from, &to, &version.to_string(), &["--json"]).with_code(0);
            assert_eq!(report.json_lines()[0]["keys"], 18);
            assert!(
                fs::read(&to)
                    .expect("the file")
                    .starts_with(format!("REDIS{version:04}").as_bytes())
            );
            let same = diff(&from, &to, &["--json"]).with_code(0).json_lines();
            assert_eq!(same[0]["summary"]["common"], 18);
            let lines = dump(&to, &["--json"]).with_code(0).json_lines();
            let encodings: Vec<_> = lines
                .iter()
                .filter_map(|line| line["encoding"].as_str())
                .collect();
            assert_eq!(
                encodings.contains(&"quicklist2"),
                version >= 10,
                "{version}: {encodings:?}"
            );
            let has_scores_as_text = encodings.contains(&"plain-text-scores");
            assert_eq!(has_scores_as_text, version < 8, "{version}: {encodings:?}");
            let summary = &lines[18]["summary"];
            assert_eq!(
                (&summary["checksum"], summary["aux"] == json!([])),
                (&json!("verified"), version < 7)
            );
            assert_eq!(
                lines[0]["idle_seconds"].is_null(),
                version < 9 || !name.starts_with("lru")
            );
        }
    }
    let left: Vec<_> = fs::read_dir(dir.path()).expect("the directory").collect();
    assert_eq!(left.len(), 24, "no temporary files");
}

#[test]
fn convert_lists_what_cannot_go_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let stream_3 = b"\x15\x01s\0\0\0\0\0\0\0\0\0\0";
    let items = [
        &b"\xf5\x07#!lua x"[..],
        stream_3,
        b"\x14\x03set\x09\x09\0\0\0\x01\0\x01\x01\xff",
        b"\0\x01k\x01v",
    ];
    let from = file(dir.path(), 11, &items.concat());
    let to = dir.path().join("out.rdb");
    let listed = convert(&from, &to, "9", &[]).with_code(1);
    assert!(
        listed.stdout.contains(r#"lost: function library "#),
        "{listed:?}"
    );
    assert!(
        listed
            .stdout
            .contains(r#"lost: db 0, key "s": a stream (stream3) needs version 11"#),
        "{listed:?}"
    );
    let lines = dump(&to, &[]).with_code(0).json_lines();
    assert_eq!(lines.len(), 2);
    let set = line(&lines, "set");
    assert_eq!(
        (&set["encoding"], &set["value"]),
        (&json!("intset"), &json!(["1"])),
        "{set}"
    );

    // Where the version has a place for it, it is kept though nobody here knows what is in it.
    convert(&from, &to, "12", &[]).with_code(2);
    convert(&from, &to, "12", &["--force"]).with_code(0);
    let lines = dump(&to, &[]).with_code(0).json_lines();
    assert_eq!(line(&lines, "s")["encoding"], "stream3");
    diff(&from, &to, &[]).with_code(0);
}

#[test]
fn convert_makes_no_file_from_a_damaged_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("in.rdb"), dir.path().join("out.rdb"));
    let mut bytes = fs::read(testdata("packed_v10.rdb")).expect("test data");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&from, &bytes).expect("a file");
    convert(&from, &to, "9", &[]).with_code(1);
    // Damage inside a value, and no checksum to tell.
    let made = file(
        dir.path(),
        10,
        b"\x0b\x03set\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0",
    );
    let ended = convert(&made, &to, "10", &[]).with_code(1);
    assert!(ended.stderr.contains("Intset"), "{ended:?}");
    assert!(
        convert(&made, &to, "5", &[])
            .with_code(2)
            .stderr
            .contains("6..=13")
    );
    // The commands behind the RDB would be lost.
    let mixed = dir.path().join("made.rdb");
    let mut bytes = fs::read(testdata("packed_v10.rdb")).expect("test data");
    bytes.extend_from_slice(b"*1\r\n$8\r\nFLUSHALL\r\n");
    fs::write(&mixed, &bytes).expect("a file");
    let ended = convert(&mixed, &to, "10", &[]).with_code(2);
    assert!(ended.stderr.contains("goes on behind the RDB"), "{ended:?}");
    diff(&mixed, &mixed, &[]).with_code(2);
    assert!(
        dump(&mixed, &[])
            .with_code(0)
            .stderr
            .contains("18 bytes follow")
    );
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["in.rdb", "made.rdb"]);
}

#[test]
fn diff_names_each_difference() {
    let dir = tempfile::tempdir().expect("a directory");
    let expiring = |at: i64, rest: &[u8]| [&b"\xfc"[..], &at.to_le_bytes(), rest].concat();
    let a = [
        &b"\0\x04same\x01v"[..],
        b"\x02\x03set\x02\x01a\x01b",
        b"\0\x05value\x01v",
        b"\0\x04type\x01v",
        &expiring(1, b"\0\x02at\x01v"),
        b"\0\x04gone\x01v",
        b"\xfe\x01\0\x04else\x01v",
    ];
    let b = [
        &b"\0\x05value\x01w"[..],
        // The same members in another order.
        b"\x02\x03set\x02\x01b\x01a",
        b"\x01\x04type\x01\x01v",
        &expiring(2, b"\0\x02at\x01v"),
        b"\0\x04same\x01v",
        b"\0\x04else\x01v",
    ];
    let first = file(dir.path(), 10, &a.concat());
    let a = dir.path().join("a.rdb");
    fs::rename(first, &a).expect("a rename");
    let b = file(dir.path(), 10, &b.concat());
    let ended = diff(&a, &b, &[]).with_code(1);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            r#"~ db 0 "value": value of the string"#,
            r#"~ db 0 "type": type string, list"#,
            r#"~ db 0 "at": expiry 1, 2"#,
            r#"+ db 0 "else": string"#,
            r#"- db 0 "gone": string"#,
            r#"- db 1 "else": string"#,
            "7 keys in A, 6 in B: 2 missing in B, 1 extra in B, 1 differ in type, 1 in value, 1 in expiry",
        ]
    );
    let lines = diff(&a, &b, &["--json", "--ignore-expiry"])
        .with_code(1)
        .json_lines();
    assert_eq!(
        lines[0],
        json!({"db": 0, "key": "value", "difference": "value", "type": "string"})
    );
    let summary = &lines.last().expect("a summary")["summary"];
    assert_eq!(
        (&summary["expiry_differs"], &summary["missing"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(
        diff(&a, &b, &["--brief"])
            .with_code(1)
            .stdout
            .lines()
            .count(),
        1
    );
    diff(&a, &a, &[]).with_code(0);

    let twice = file(dir.path(), 10, b"\0\x01k\x01v\0\x01k\x01v");
    let ended = diff(&a, &twice, &[]).with_code(2);
    assert!(ended.stderr.contains(r#"key "k" twice"#), "{ended:?}");
}

/// A stock server reads what was made for its version, and agrees about every key.
#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn redis_loads_what_convert_made() {
    let dir = tempfile::tempdir().expect("a directory");
    for version in ["6", "8", "10"] {
        let mut redis = Server::start(Kind::Redis, &[("appendonly", "no")]);
        let expected = testdata("packed_v10.rdb");
        redis.kill();
        let to = redis.data_dir().join("dump.rdb");
        convert(&expected, &to, version, &[]).with_code(0);
        let (is_fine, report) = redis_tool("redis-check-rdb", &to);
        assert!(is_fine, "{report}");
        redis.restart();
        redis.client().ok("SAVE");
        redis.kill();
        let saved = dir.path().join("saved.rdb");
        fs::copy(&to, &saved).expect("a copy");
        diff(&expected, &saved, &[]).with_code(0);
    }
}

/// Streams with consumers and entries that wait for them, and function libraries, pass through conversions as they are.
#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn redis_finds_its_streams_and_functions_after_a_conversion() {
    let mut redis = Server::start(Kind::Redis, &[("appendonly", "no")]);
    let mut client = redis.client();
    for number in 1..=300 {
        client.ok(&format!(
            "XADD stream {number}-1 field{number} value same {number}"
        ));
    }
    client.ok("XGROUP CREATE stream group 0");
    client.ok("XGROUP CREATE stream idle $");
    client.ok("XREADGROUP GROUP group one COUNT 20 STREAMS stream >");
    client.ok("XREADGROUP GROUP group two COUNT 5 STREAMS stream >");
    client.ok("XDEL stream 7-1");
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert!(!client.call(&["FUNCTION", "LOAD", code]).is_error());
    client.ok("SET last v");
    let questions = [
        "XRANGE stream - +",
        "XPENDING stream group",
        "XINFO GROUPS stream",
    ];
    let answers = |client: &mut Client| questions.map(|question| client.ok(question));
    let expected = answers(&mut client);
    client.ok("SAVE");
    redis.kill();
    let file = redis.data_dir().join("dump.rdb");
    let lines = dump(&file, &[]).with_code(0).json_lines();
    assert_eq!(line(&lines, "stream")["type"], "stream");
    assert_eq!(line(&lines, "last")["value"], "v");
    for version in ["13", "10"] {
        let before = fs::read(&file).expect("the file");
        convert(&file, &file, version, &["--force"]).with_code(0);
        assert_ne!(before, fs::read(&file).expect("the file"));
    }
    redis.restart();
    let mut client = redis.client();
    assert_eq!(answers(&mut client), expected);
    assert_eq!(client.ok("FCALL f 0").integer(), 1);
}
