use std::collections::HashMap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::command::testkit::Client;
use crate::keyspace::{INLINE_VALUE_MAX, StringKind, ValueRef};

#[test]
fn set_options_decide_whether_and_for_how_long() {
    Client::new().check(
        r#"
        SET k v XX => (nil)
        SET k v NX => +OK
        SET k w NX => (nil)
        SET k w XX GET => "v"
        SET k x NX GET => "w"
        GET k => "w"
        SET n v NX GET => (nil)
        GET n => "v"
        SET k v NX XX => -ERR syntax error
        SET k v EX => -ERR syntax error
        SET k v EX 1 PX 1 => -ERR syntax error
        SET k v EX 1 KEEPTTL => -ERR syntax error
        SET k v EX x => -ERR value is not an integer or out of range
        SET k v EX 0 => -ERR invalid expire time in 'set' command
        SET k v PX -1 => -ERR invalid expire time in 'set' command
        SET k v EX 9223372036854775807 => -ERR invalid expire time in 'set' command
        SET k v PX 9223372036854775807 => -ERR invalid expire time in 'set' command
        SETEX k 0 v => -ERR invalid expire time in 'setex' command
        PSETEX k -5 v => -ERR invalid expire time in 'psetex' command
        GET k => "w"
        SETNX k z => :0
        SETNX f z => :1
        GETSET k z => "w"
        GETDEL k => "z"
        GETDEL k => (nil)
        GET k => (nil)
        MSET a 1 b 2 a 3 => +OK
        MGET a b c => ["3", "2", (nil)]
        MSET a 1 b => -ERR wrong number of arguments for 'mset' command
        MSETNX c 1 a 1 => :0
        MSETNX c 1 d 1 => :1
        "#,
    );
}

#[test]
fn relative_times_are_logged_as_points_in_time() {
    let mut client = Client::new();
    let logged = client.logged("SET k v EX 100");
    assert!(logged[0].starts_with("SET k v PXAT 1"), "{logged:?}");
    let logged = client.logged("PSETEX k 100000 v");
    assert!(logged[0].starts_with("SET k v PXAT 1"), "{logged:?}");
    let logged = client.logged("GETEX k EX 100");
    assert!(logged[0].starts_with("PEXPIREAT k 1"), "{logged:?}");
    assert_eq!(client.logged("GETEX k PERSIST"), ["PERSIST k"]);
    assert!(client.logged("GETEX k PERSIST").is_empty());
    assert!(client.logged("GETEX k").is_empty());
    assert_eq!(client.logged("GETEX k PXAT 1"), ["DEL k"]);
    assert_eq!(client.run("GET k"), "(nil)");
    assert_eq!(client.logged("SET k v GET XX"), Vec::<String>::new());
    assert_eq!(client.logged("SET k v get NX"), ["SET k v NX"]);
    assert_eq!(client.logged("GETSET k 1"), ["SET k 1"]);
    assert_eq!(client.logged("INCRBYFLOAT k 0.5"), ["SET k 1.5 KEEPTTL"]);
    assert_eq!(client.logged("GETDEL k"), ["DEL k"]);
    assert_eq!(client.logged("INCR k"), ["INCR k"]);
}

#[test]
fn changes_of_a_value_keep_its_expiry() {
    let mut client = Client::new();
    for change in [
        "INCR k",
        "INCRBYFLOAT k 1.5",
        "APPEND k 1",
        "SETRANGE k 0 55",
        "SET k 1 KEEPTTL",
    ] {
        client.run("SET k 1 PXAT 33177117420000");
        client.run(change);
        let logged = client.logged("GETEX k PERSIST");
        assert_eq!(logged, ["PERSIST k"], "{change}");
    }
    client.run("SET k 1 PXAT 33177117420000");
    client.run("SET k 2");
    assert!(client.logged("GETEX k PERSIST").is_empty());
}

#[test]
fn numbers_are_checked() {
    Client::new().check(
        r#"
        INCR n => :1
        INCRBY n 9223372036854775806 => :9223372036854775807
        INCR n => -ERR increment or decrement would overflow
        DECRBY n -9223372036854775808 => -ERR decrement would overflow
        DECRBY n 9223372036854775807 => :0
        DECR n => :-1
        INCRBY n x => -ERR value is not an integer or out of range
        APPEND n x => :3
        INCR n => -ERR value is not an integer or out of range
        INCRBYFLOAT n 1 => -ERR value is not a valid float
        SET n 10.50 => +OK
        INCRBYFLOAT n 0.1 => "10.6"
        INCRBYFLOAT n x => -ERR value is not a valid float
        INCRBYFLOAT n inf => -ERR increment would produce NaN or Infinity
        INCRBYFLOAT f 3 => "3"
        "#,
    );
}

#[test]
fn parts_are_read_and_written() {
    let mut client = Client::new();
    client.check(r#"
        SETRANGE k 0 abc => :3
        SETRANGE k -1 x => -ERR offset is out of range
        SETRANGE k 536870911 xx => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        SETRANGE k 9223372036854775807 xx => -ERR string exceeds maximum allowed size (proto-max-bulk-len)
        GETRANGE k 1 -1 => "bc"
        GETRANGE k -100 1 => "ab"
        GETRANGE k -1 -2 => ""
        GETRANGE k 5 10 => ""
        GETRANGE k 0 9223372036854775807 => "abc"
        GETRANGE k -9223372036854775808 -9223372036854775808 => "a"
        GETRANGE none 0 -1 => ""
        SUBSTR k 0 0 => "a"
        STRLEN k => :3
        STRLEN none => :0
        APPEND k def => :6
        SETRANGE k 1 XY => :6
        GET k => "aXYdef"
        "#,
    );
    assert_eq!(client.run_args(&[b"SETRANGE", b"none", b"5", b""]), ":0");
    assert_eq!(client.run("GET none"), "(nil)");
    assert_eq!(client.run("SETRANGE none 2 x"), ":3");
    assert_eq!(client.run("GET none"), "\"\0\0x\"");
}

#[test]
fn common_subsequences() {
    Client::new().check(
        r#"
        SET a ohmytext => +OK
        SET b mynewtext => +OK
        LCS a b => "mytext"
        LCS a b LEN => :6
        LCS a b IDX => ["matches", [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], "len", :6]
        LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN => ["matches", [[[:4, :7], [:5, :8], :4]], "len", :6]
        LCS a none => ""
        LCS a none IDX => ["matches", [], "len", :0]
        LCS a b LEN IDX => -ERR If you want both the length and indexes, please just use IDX.
        LCS a b MINMATCHLEN => -ERR syntax error
        "#,
    );
    let mut client = Client::new();
    let long = "x".repeat(20_000);
    client.run(&format!("MSET a {long} b {long}"));
    assert!(
        client
            .run("LCS a b")
            .contains("transient memory for LCS exceeds")
    );
}

/// The kind under which the engine stores the string `key`.
fn kind(client: &mut Client, key: &str) -> StringKind {
    let shared = client.engine().shared();
    let key = shared.keyspace.key(key.as_bytes());
    let gate = shared.keyspace.enter();
    let slot = gate.lock(0, key.slot);
    match slot.get(&key).map(|record| record.value()) {
        Some(ValueRef::Str(_, kind)) => kind,
        _ => panic!("not a string"),
    }
}

#[test]
fn encodings_follow_the_last_change() {
    let mut client = Client::new();
    let long = "x".repeat(INLINE_VALUE_MAX);
    for (commands, expected) in [
        (&["SET k 12"][..], StringKind::Int),
        (&["SET k 012"], StringKind::Embstr),
        (&[&format!("SET k {}", &long[..44])], StringKind::Embstr),
        (&[&format!("SET k {}", &long[..45])], StringKind::Raw),
        (&["SET k 1", "APPEND k 2"], StringKind::Raw),
        (&["SET k 1", "APPEND k 2", "INCR k"], StringKind::Int),
        (&["SET k 9", "INCR k"], StringKind::Int),
        (&["SET k 1", "SETRANGE k 0 2"], StringKind::Raw),
        (&["SETRANGE k 0 2"], StringKind::Raw),
        (&["APPEND k 12"], StringKind::Int),
        (&["SET k 1", "INCRBYFLOAT k 1"], StringKind::Embstr),
        (&["INCRBYFLOAT k 1"], StringKind::Embstr),
        (&[&format!("SET k {long}"), "APPEND k 1"], StringKind::Raw),
    ] {
        client.run("GETDEL k");
        commands
            .iter()
            .for_each(|command| drop(client.run(command)));
        assert_eq!(kind(&mut client, "k"), expected, "{commands:?}");
    }
}

#[test]
fn random_commands_agree_with_a_map() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = Client::new();
    let mut model: HashMap<String, Vec<u8>> = HashMap::new();
    for _ in 0..4000 {
        let key = format!("k{}", rng.random_range(0..6));
        let old = model.get(&key).cloned();
        let len = match rng.random_range(0..4) {
            0 => rng.random_range(0..4),
            1 => rng.random_range(0..60),
            2 => rng.random_range(INLINE_VALUE_MAX - 40..INLINE_VALUE_MAX + 40),
            _ => 1,
        };
        let value = vec![b'0' + rng.random_range(0..10u8); len];
        let quoted = |bytes: &[u8]| format!("\"{}\"", String::from_utf8_lossy(bytes));
        let key_bytes = key.as_bytes();
        match rng.random_range(0..7) {
            0 => {
                assert_eq!(client.run_args(&[b"SET", key_bytes, &value]), "+OK");
                model.insert(key, value);
            }
            1 => {
                let mut new = old.unwrap_or_default();
                new.extend_from_slice(&value);
                let reply = client.run_args(&[b"APPEND", key_bytes, &value]);
                assert_eq!(reply, format!(":{}", new.len()));
                model.insert(key, new);
            }
            2 => {
                let offset = rng.random_range(0..INLINE_VALUE_MAX + 100) >> rng.random_range(0..11);
                let reply = client.run_args(&[
                    b"SETRANGE",
                    key_bytes,
                    offset.to_string().as_bytes(),
                    &value,
                ]);
                let mut new = old.clone().unwrap_or_default();
                if !value.is_empty() {
                    new.resize(new.len().max(offset + value.len()), 0);
                    new[offset..offset + value.len()].copy_from_slice(&value);
                    model.insert(key, new.clone());
                }
                assert_eq!(reply, format!(":{}", new.len()));
            }
            3 => {
                let number = match &old {
                    Some(old) => std::str::from_utf8(old).ok().and_then(|text| {
                        text.parse::<i64>().ok().filter(|n| n.to_string() == text)
                    }),
                    None => Some(0),
                };
                let step = rng.random_range(-200..200i64);
                let reply = client.run(&format!("INCRBY {key} {step}"));
                match number {
                    Some(number) => match number.checked_add(step) {
                        Some(sum) => {
                            assert_eq!(reply, format!(":{sum}"));
                            model.insert(key, sum.to_string().into_bytes());
                        }
                        None => assert!(reply.contains("overflow"), "{reply}"),
                    },
                    None => assert!(reply.contains("not an integer"), "{reply}"),
                }
            }
            4 => {
                let reply = client.run(&format!("GETDEL {key}"));
                assert_eq!(reply, old.map_or("(nil)".into(), |old| quoted(&old)));
                model.remove(&key);
            }
            5 => {
                let reply = client.run(&format!("STRLEN {key}"));
                assert_eq!(reply, format!(":{}", old.map_or(0, |old| old.len())));
            }
            _ => {
                let reply = client.run(&format!("GET {key}"));
                assert_eq!(reply, old.map_or("(nil)".into(), |old| quoted(&old)));
            }
        }
    }
}
