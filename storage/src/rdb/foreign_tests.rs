//! Bytes that others made, bytes made for others, and bytes that somebody spoilt.
//!
//! The files in `testdata` are our data set, saved by redis-server 7.0.15:
//!
//! * `packed_v10.rdb`: all in packed types, three elements to a list node, `hash-max-listpack-value 200`, elements of
//!   100 bytes in plain nodes;
//! * `plain_v10.rdb`: thresholds of 0, so hashes and sets in plain types; `rdbcompression no`;
//! * `lfu_v10.rdb`, `lru_v10.rdb`: with access frequencies and no checksum; with idle times.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::UnixMillis;
use crate::value::Limits;

use super::model::{Collected, Model, file, load, load_with};
use super::*;

const PACKED: &[u8] = include_bytes!("testdata/packed_v10.rdb");
const PLAIN: &[u8] = include_bytes!("testdata/plain_v10.rdb");
const LFU: &[u8] = include_bytes!("testdata/lfu_v10.rdb");
const LRU: &[u8] = include_bytes!("testdata/lru_v10.rdb");

/// What the files in `testdata` contain in database 0.
fn data_set() -> Vec<(&'static str, Model)> {
    let (w, x, y) = ("w".repeat(100), "x".repeat(70), "y".repeat(200));
    let ints = [
        "1",
        "-1",
        "300",
        "-5000",
        "70000",
        "8388607",
        "-2147483648",
        "9223372036854775807",
    ];
    let list: Vec<&str> = ["a"].into_iter().chain(ints).chain([&x[..], ""]).collect();
    vec![
        ("str", Model::string("hello")),
        ("empty", Model::string("")),
        ("int8", Model::string("-100")),
        ("int16", Model::string("30000")),
        ("int32", Model::string("-2000000000")),
        ("int64", Model::string("9000000000000000000")),
        ("lzf", Model::string(&"abcd".repeat(50))),
        ("expiring", Model::string("soon")),
        ("list", Model::list(&list)),
        ("biglist", Model::list(&[&y, "z"])),
        ("ints", Model::set(&["1", "2", "-3"])),
        ("ints32", Model::set(&["1", "100000"])),
        ("ints64", Model::set(&["-1", "5000000000"])),
        ("set", Model::set(&["a", "b", "3"])),
        (
            "hash",
            Model::hash(&[("f", "v"), ("n", "12"), ("long", &w)]),
        ),
        ("smallhash", Model::hash(&[("f", "v"), ("n", "12")])),
        ("zset", zset()),
    ]
}

fn zset() -> Model {
    let infinite = [("low", f64::NEG_INFINITY), ("high", f64::INFINITY)];
    Model::zset(&[&[("one", 1.0), ("two", 2.5), ("tenth", 0.1)][..], &infinite].concat())
}

#[test]
fn files_of_redis_7_are_read() {
    for (name, bytes) in [
        ("packed", PACKED),
        ("plain", PLAIN),
        ("lfu", LFU),
        ("lru", LRU),
    ] {
        let (collected, loaded) = load(bytes).unwrap();
        assert_eq!(
            (loaded.version, loaded.keys, loaded.bytes),
            (10, 18, bytes.len() as u64),
            "{name}"
        );
        let checksum = if name == "lfu" {
            Checksum::Absent
        } else {
            Checksum::Verified
        };
        assert_eq!(loaded.checksum, checksum, "{name}");
        assert_eq!(collected.hints, [(0, 17, 1), (3, 1, 0)]);
        assert_eq!(collected.aux[0], ("redis-ver".into(), "7.0.15".into()));
        for (key, expected) in data_set() {
            assert_eq!(collected.get(key), &expected, "{name}: {key}");
        }
        for (db, key, value, meta) in &collected.entries {
            assert_eq!(
                meta.expire,
                (key == b"expiring").then_some(UnixMillis(4_102_444_800_123)),
                "{name}"
            );
            match name {
                "lfu" => assert_eq!(meta.access, Some(Access::Frequency(5))),
                "lru" => assert!(matches!(meta.access, Some(Access::IdleSeconds(0..=1)))),
                _ => assert_eq!(meta.access, None),
            }
            assert_eq!(*db == 3, key == b"other" && value == &Model::string("db"));
        }
        let mut split = Collected::default();
        split_slice(bytes, true, &mut split).unwrap();
        assert_eq!(split, collected, "{name}");
    }
}

/// A length byte and the bytes.
fn string(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 64);
    [&[bytes.len() as u8], bytes].concat()
}

/// A ziplist of entries without their previous lengths.
fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut previous, mut tail) = (Vec::new(), 0, 10);
    for entry in entries {
        tail = 10 + body.len() as u32;
        body.push(previous);
        body.extend_from_slice(entry);
        previous = entry.len() as u8 + 1;
    }
    let total = 11 + body.len() as u32;
    let count = entries.len() as u16;
    [
        &total.to_le_bytes()[..],
        &tail.to_le_bytes(),
        &count.to_le_bytes(),
        &body,
        b"\xff",
    ]
    .concat()
}

/// Values of the types that only other versions write: type byte, encoded value, what it is.
fn other_versions() -> Vec<(u8, Vec<u8>, Model)> {
    let hash = || Model::hash(&[("f", "v"), ("n", "12")]);
    let pairs = ziplist(&[b"\x01f", b"\x01v", b"\x01n", b"\xfd"]);
    let scores = ziplist(&[b"\x01m", b"\x032.5", b"\x01n", b"\xfe\xff"]);
    let zset = || Model::zset(&[("m", 2.5), ("n", -1.0)]);
    let list = || Model::list(&["a", "1000", "b"]);
    let (first, second) = (ziplist(&[b"\x01a", b"\xc0\xe8\x03"]), ziplist(&[b"\x01b"]));
    let elements = ziplist(&[b"\x01a", b"\xc0\xe8\x03", b"\x01b"]);
    let members = b"\x0d\0\0\0\x02\0\x81a\x02\x01\x01\xff";
    vec![
        (1, b"\x03\x01a\xc1\xe8\x03\x01b".to_vec(), list()),
        (2, b"\x02\x01a\xc0\x01".to_vec(), Model::set(&["a", "1"])),
        (
            3,
            b"\x03\x01m\x032.5\x01n\x02-1\x01o\xff".to_vec(),
            Model::zset(&[("m", 2.5), ("n", -1.0), ("o", f64::NEG_INFINITY)]),
        ),
        (
            3,
            b"\x01\x01m\xfe".to_vec(),
            Model::zset(&[("m", f64::INFINITY)]),
        ),
        (4, b"\x02\x01f\x01v\x01n\xc0\x0c".to_vec(), hash()),
        (
            9,
            string(b"\x02\x01f\x01\x02v..\x01n\x02\x0012\xff"),
            hash(),
        ),
        (10, string(&elements), list()),
        (12, string(&scores), zset()),
        (13, string(&pairs), hash()),
        (
            14,
            [
                &b"\x03"[..],
                &string(&first),
                &string(&ziplist(&[])),
                &string(&second),
            ]
            .concat(),
            list(),
        ),
        (
            20,
            string(&[&[12, 0, 0, 0][..], &members[4..]].concat()),
            Model::set(&["a", "1"]),
        ),
    ]
}

#[test]
fn values_of_every_other_version_are_read() {
    for (ty, value, expected) in other_versions() {
        let item = [&[0xfd, 0, 0, 0, 1, ty, 1, b'k'][..], &value].concat();
        for version in [1, 4, 5, 9, 11, 12] {
            let (collected, loaded) =
                load(&file(version, &item)).unwrap_or_else(|error| panic!("type {ty}: {error}"));
            let meta = Meta::expiring(Some(UnixMillis((1 << 24) * 1000)));
            assert_eq!(
                collected.entries,
                [(0, b"k".to_vec(), expected.clone(), meta)],
                "type {ty}"
            );
            assert_eq!(loaded.version, version);
            assert_eq!(
                loaded.checksum,
                if version < 5 {
                    Checksum::Absent
                } else {
                    Checksum::Verified
                }
            );
        }
        let payload = [&[ty][..], &value, b"\x09\0", &[0; 8]].concat();
        let restored = restore(&payload, &Limits::default(), false).expect("restored");
        assert_eq!(Model::of_restored(restored), expected, "type {ty}");
    }
}

#[test]
fn compact_forms_follow_the_limits_of_the_loader() {
    let limits = Limits {
        hash_max_listpack_entries: 1,
        zset_max_listpack_entries: 1,
        ..Limits::default()
    };
    for (ty, value, _) in other_versions() {
        let payload = [&[ty][..], &value, b"\x09\0", &[0; 8]].concat();
        let encoding = |limits| match restore(&payload, limits, false).expect("restored") {
            Restored::Object(object) => object.encoding(),
            Restored::String(_) => panic!("type {ty} is no string"),
        };
        match ty {
            4 | 9 | 13 => assert_eq!(
                (encoding(&Limits::default()), encoding(&limits)),
                ("listpack", "hashtable")
            ),
            12 => assert_eq!(
                (encoding(&Limits::default()), encoding(&limits)),
                ("listpack", "skiplist")
            ),
            _ => {}
        }
    }
}

#[test]
fn empty_collections_are_skipped_and_counted() {
    let empty_list = ziplist(&[]);
    let mut items = Vec::new();
    let empty_listpack = b"\x07\x07\0\0\0\0\0\xff";
    let values: Vec<(u8, Vec<u8>)> = vec![
        (1, vec![0]),
        (2, vec![0]),
        (4, vec![0]),
        (5, vec![0]),
        (10, string(&empty_list)),
        (13, string(&empty_list)),
        (14, vec![0]),
        (14, [&[1][..], &string(&empty_list)].concat()),
        (17, empty_listpack.to_vec()),
    ];
    for (ty, value) in &values {
        items.extend_from_slice(&[*ty, 2, b'k', *ty]);
        items.extend_from_slice(value);
    }
    items.extend_from_slice(b"\x00\x04last\x01v");
    let (collected, loaded) = load(&file(10, &items)).unwrap();
    assert_eq!((loaded.keys, loaded.empty_keys_skipped), (1, 9));
    assert_eq!(collected.empty_keys.len(), 9);
    assert_eq!(collected.get("last"), &Model::string("v"));
    let payload = [b"\x01\0\x0a\0".as_slice(), &[0; 8]].concat();
    assert!(matches!(
        restore(&payload, &Limits::default(), false),
        Err(RestoreError::BadData(_))
    ));
}

#[test]
fn inconsistent_values_are_refused_by_name() {
    let odd = ziplist(&[b"\x01f", b"\x01v", b"\x01n"]);
    let twice = ziplist(&[b"\x01f", b"\x01v", b"\x01f", b"\x01w"]);
    let no_score = ziplist(&[b"\x01m", b"\x01x"]);
    let nan = ziplist(&[b"\x01m", b"\x03nan"]);
    let cases: Vec<(u8, Vec<u8>, &str)> = vec![
        (
            2,
            b"\x02\x01a\x01a".to_vec(),
            "Set integrity check failed at offset 1",
        ),
        (
            4,
            b"\x02\x01f\x01v\x01f\x01w".to_vec(),
            "Hash integrity check failed at offset 1",
        ),
        (
            5,
            [&b"\x02\x01m"[..], &[0; 8], b"\x01m", &[0; 8]].concat(),
            "Zset integrity check failed at offset 1",
        ),
        (
            5,
            [&b"\x01\x01m"[..], &f64::NAN.to_le_bytes()].concat(),
            "expected a score, found not a number",
        ),
        (
            3,
            b"\x01\x01m\xfd".to_vec(),
            "expected a score, found not a number",
        ),
        (
            3,
            b"\x01\x01m\x031.x".to_vec(),
            "expected a score, found '1.x'",
        ),
        (
            9,
            string(b"\x02\x01f\x01\x00v\x01f\x01\x00v\xff"),
            "Zipmap integrity check failed",
        ),
        (
            11,
            string(b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0"),
            "Intset integrity check failed",
        ),
        (12, string(&no_score), "Zset ziplist integrity check failed"),
        (12, string(&nan), "Zset ziplist integrity check failed"),
        (13, string(&odd), "Hash ziplist integrity check failed"),
        (13, string(&twice), "Hash ziplist integrity check failed"),
        (
            14,
            b"\x01\x03abc".to_vec(),
            "Quicklist integrity check failed at offset 2",
        ),
        (
            18,
            b"\x01\x03\x01a".to_vec(),
            "Quicklist integrity check failed",
        ),
        (18, b"\x01\x01\x00".to_vec(), "a plain node is empty"),
        (
            16,
            string(b"\x07\0\0\0\x01\0\xff"),
            "Hash listpack integrity check failed",
        ),
        (
            0,
            b"\xc3\x05\x40\xff\x01a\x20\x05\x05".to_vec(),
            "expected a compressed string",
        ),
        (
            0,
            b"\xc4".to_vec(),
            "expected a string, found special string 4",
        ),
        (0, b"\x82".to_vec(), "expected a length, found byte 82"),
        (
            1,
            b"\xc0\x01".to_vec(),
            "expected a number, found special string 0",
        ),
        (8, b"\x00".to_vec(), "expected the type of a value, found 8"),
        (
            15,
            b"\x00".to_vec(),
            "at offset 0: stream values are not supported yet",
        ),
        (
            24,
            b"\x00".to_vec(),
            "hashes with expiring fields are not supported",
        ),
    ];
    for (ty, value, expected) in cases {
        let payload = [&[ty][..], &value, b"\x0a\0", &[0; 8]].concat();
        match restore(&payload, &Limits::default(), false) {
            Err(RestoreError::BadData(error)) => {
                let text = error.to_string();
                assert!(text.contains(expected), "type {ty}: {text}");
            }
            _ => panic!("type {ty} with {value:?} was not refused"),
        }
    }
}

#[test]
fn what_only_others_have_is_refused_by_name() {
    let refusal = |items: &[u8]| load(&file(10, items)).unwrap_err().to_string();
    assert_eq!(
        refusal(b"\x0f\x06stream\x00"),
        "at offset 9 (key 'stream'): stream values are not supported yet"
    );
    // The id of a module: nine characters of six bits, ten bits of version.
    let id = b"ReJSON-RL".iter().fold(0u64, |id, &letter| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        id << 6 | alphabet.iter().position(|&known| known == letter).unwrap() as u64
    }) << 10
        | 3;
    let id = [&[0x81][..], &id.to_be_bytes()].concat();
    let value = refusal(&[b"\x07\x01k", &id[..], b"\x00"].concat());
    assert_eq!(
        value,
        "at offset 9 (key 'k'): values of module type 'ReJSON-RL' are not supported"
    );
    let aux = refusal(&[b"\xf7", &id[..], b"\x02\x02\x00"].concat());
    assert_eq!(
        aux,
        "at offset 9: AUX data of module 'ReJSON-RL' is not supported"
    );
    assert!(refusal(b"\xf6").contains("pre-release format"));
    assert!(
        refusal(b"\xfe\x80\x00\x01\x00\x00").contains("expected a database number, found 65536")
    );
}

/// The number of rounds of a random test, unless `HARDTACK_TEST_ROUNDS` asks for another.
fn rounds(default: usize) -> usize {
    let asked = std::env::var("HARDTACK_TEST_ROUNDS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// The seed of a random test, unless `HARDTACK_TEST_SEED` asks for another.
fn seed(default: u64) -> u64 {
    let asked = std::env::var("HARDTACK_TEST_SEED").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn spoilt_files_do_no_harm_without_their_checksum() {
    let mut rng = SmallRng::seed_from_u64(seed(7));
    let mut loaded = 0;
    for round in 0..rounds(6000) {
        let mut bytes = [PACKED, PLAIN, LFU, LRU][round % 4].to_vec();
        for _ in 0..rng.random_range(1..5) {
            // The header is left alone, so that what comes after it is looked at.
            let at = rng.random_range(9..bytes.len());
            bytes[at] = match rng.random_range(0..4) {
                0 => bytes[at] ^ 1 << rng.random_range(0..8),
                1 => [0, 0x7f, 0x80, 0x81, 0xc3, 0xfe, 0xff][rng.random_range(0..7)],
                _ => rng.random(),
            };
        }
        loaded += usize::from(load_with(&bytes, &Limits::default(), false).is_ok());
        let _ = split_slice(&bytes, false, &mut Collected::default());
    }
    // Flips inside strings go unnoticed without a checksum; were it none, this test would test nothing.
    assert!(loaded > rounds(6000) / 60, "{loaded}");
}

#[test]
fn spoilt_payloads_do_no_harm_without_their_checksum() {
    let mut rng = SmallRng::seed_from_u64(seed(8));
    let mut payloads: Vec<Vec<u8>> = data_set()
        .iter()
        .map(|(_, value)| value.with_value(&Limits::default(), dump))
        .collect();
    payloads.extend(
        other_versions()
            .iter()
            .map(|(ty, value, _)| [&[*ty][..], value, b"\x0a\0", &[0; 8]].concat()),
    );
    for round in 0..rounds(20_000) {
        let mut payload = payloads[round % payloads.len()].clone();
        let body = payload.len() - 10;
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..body);
            payload[at] = rng.random();
        }
        if let Ok(restored) = restore(&payload, &Limits::default(), false) {
            let size = format!("{:?}", Model::of_restored(restored)).len();
            // Compression yields at most 88 for one; Debug text is up to six characters a byte and element.
            assert!(
                size < 100 * 100 * payload.len(),
                "{size} of {}",
                payload.len()
            );
        }
    }
}

/// True if the program is there; else says that a test is skipped.
fn is_installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// A server that does not outlive a test which failed.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        // An error means that it has ended by itself, as it should.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A data set with values on both sides of the default limits.
fn large_data_set() -> BTreeMap<(crate::DbIndex, Vec<u8>), (Model, Meta)> {
    let texts = |count: usize| (0..count).map(|i| format!("element {i}").into_bytes());
    let mut values: Vec<(String, Model)> = data_set()
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    values.extend([
        (
            "large string".into(),
            Model::String(b"0123456789 abc ".repeat(20_000)),
        ),
        ("large list".into(), Model::List(texts(5000).collect())),
        ("large set".into(), Model::Set(texts(2000).collect())),
        (
            "large intset".into(),
            Model::Set(
                (0..500)
                    .map(|i| (i * 1_000_003).to_string().into_bytes())
                    .collect(),
            ),
        ),
        (
            "large hash".into(),
            Model::Hash(texts(1000).map(|text| (text.clone(), text)).collect()),
        ),
        (
            "large zset".into(),
            Model::ZSet(
                texts(500)
                    .enumerate()
                    .map(|(i, text)| (text, i as f64 / 8.0))
                    .collect(),
            ),
        ),
    ]);
    let meta = |key: &str| match key {
        "expiring" | "large hash" => Meta::expiring(Some(UnixMillis(4_102_444_800_123))),
        _ => Meta::default(),
    };
    let entry = |db| {
        move |(key, value): &(String, Model)| {
            ((db, key.clone().into_bytes()), (value.clone(), meta(key)))
        }
    };
    values
        .iter()
        .map(entry(0))
        .chain(values.iter().map(entry(9)))
        .collect()
}

fn write_large(path: &Path, checksum: bool, compress: bool) {
    let mut writer = Writer::new(std::fs::File::create(path).unwrap(), checksum, compress);
    let replication = Some(ReplicationInfo {
        stream_db: 0,
        id: &"7".repeat(40),
        offset: 12,
    });
    let created = UnixMillis::now();
    let info = FileInfo {
        redis_version: "7.0.15",
        created,
        used_memory: 1 << 20,
        replication,
        aof_base: false,
    };
    writer.file_info(&info).unwrap();
    let mut selected = None;
    for ((db, key), (value, meta)) in &large_data_set() {
        if selected.replace(*db) != Some(*db) {
            writer.select_db(*db, 23, 2).unwrap();
        }
        value
            .with_value(&Limits::default(), |value| writer.entry(key, value, meta))
            .unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn redis_check_rdb_accepts_what_is_written() {
    if !is_installed("redis-check-rdb") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (checksum, compress) in [(true, true), (false, false)] {
        let path = dir.path().join("dump.rdb");
        write_large(&path, checksum, compress);
        let output = Command::new("redis-check-rdb").arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("[info] 46 keys read"),
            "{text}"
        );
    }
}

#[test]
fn redis_server_loads_what_is_written_and_saves_the_same() {
    if !is_installed("redis-server") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (checksum, compress) in [(true, true), (false, false)] {
        write_large(&dir.path().join("dump.rdb"), checksum, compress);
        let socket = dir.path().join("socket");
        let server = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--unixsocket",
                "socket",
                "--sanitize-dump-payload",
                "yes",
            ])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Stopped(server);
        let mut log = BufReader::new(server.0.stdout.take().unwrap()).lines();
        let ready = log.any(|line| line.unwrap().contains("ready to accept connections"));
        assert!(ready, "redis-server did not load the file");

        let mut client = UnixStream::connect(&socket).unwrap();
        let mut ask = |command: &str| {
            client
                .write_all(format!("{command}\r\n").as_bytes())
                .unwrap();
            let mut reply = vec![0; 1000];
            let len = client.read(&mut reply).unwrap();
            String::from_utf8_lossy(&reply[..len]).into_owned()
        };
        for (key, encoding) in [
            ("hash", "hashtable"),
            ("smallhash", "listpack"),
            ("zset", "listpack"),
            ("ints", "intset"),
            ("set", "hashtable"),
            ("list", "quicklist"),
            ("int16", "int"),
        ] {
            let reply = ask(&format!("OBJECT ENCODING {key}"));
            assert!(reply.contains(encoding), "{key}: {reply}");
        }
        assert_eq!(ask("SAVE"), "+OK\r\n");
        client.write_all(b"SHUTDOWN NOSAVE\r\n").unwrap();
        log.for_each(drop);
        server.0.wait().unwrap();

        let saved = std::fs::read(dir.path().join("dump.rdb")).unwrap();
        let (collected, loaded) = load(&saved).unwrap();
        assert_eq!(loaded.version, 10);
        let entries: BTreeMap<_, _> = collected
            .entries
            .into_iter()
            .map(|(db, key, value, meta)| ((db, key), (value, meta)))
            .collect();
        assert_eq!(entries, large_data_set());
    }
}
