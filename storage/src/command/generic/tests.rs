use std::collections::{HashMap, HashSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::command::testkit::Client;
use crate::engine::EvictionPolicy;

#[test]
fn keys_are_removed_renamed_copied_and_moved() {
    let mut client = Client::new();
    client.check(r#"
        MSET a 1 b 2 => +OK
        EXISTS a b c a => :3
        TOUCH a b c => :2
        TYPE a => +string
        TYPE c => +none
        RENAME c d => -ERR no such key
        RENAME c c => -ERR no such key
        RENAME a a => +OK
        RENAMENX a a => :0
        RENAMENX a b => :0
        RENAMENX a c => :1
        PEXPIREAT c 33177117420000 => :1
        RENAME c b => +OK
        PEXPIRETIME b => :33177117420000
        GET b => "1"
        COPY b b => -ERR source and destination objects are the same
        COPY none x => :0
        COPY b x => :1
        PEXPIRETIME x => :33177117420000
        SET x 9 => +OK
        COPY b x => :0
        COPY b x REPLACE => :1
        GET x => "1"
        COPY b x DB => -ERR syntax error
        COPY b x DB 16 => -ERR DB index is out of range
        COPY b x DB -1 => -ERR DB index is out of range
        COPY b x DB 4294967296 => -ERR value is out of range, value must between -2147483648 and 2147483647
        COPY b x DB x => -ERR value is not an integer or out of range
        COPY b b DB 3 => :1
        MOVE b 3 => :0
        MOVE x 0 => -ERR source and destination objects are the same
        MOVE x 99 => -ERR DB index is out of range
        MOVE none 3 => :0
        MOVE x 3 => :1
        EXISTS x => :0
        DBSIZE => :1
        SELECT 3 => +OK
        GET x => "1"
        PEXPIRETIME x => :33177117420000
        DBSIZE => :2
        DEL x b none => :2
        UNLINK x => :0
        "#,
    );
    assert_eq!(client.logged("DEL x"), Vec::<String>::new());
    client.run("SET k v");
    assert_eq!(client.logged("DEL x k"), ["DEL x k"]);
}

#[test]
fn databases_are_emptied_and_exchanged() {
    let mut client = Client::new();
    client.check(
        r#"
        SET k 0 => +OK
        SWAPDB 0 0 => +OK
        SWAPDB 0 1 => +OK
        GET k => (nil)
        SELECT 1 => +OK
        GET k => "0"
        SWAPDB x 1 => -ERR invalid first DB index
        SWAPDB 1 x => -ERR invalid second DB index
        SWAPDB 1 16 => -ERR DB index is out of range
        SWAPDB -1 1 => -ERR DB index is out of range
        FLUSHDB now => -ERR syntax error
        SELECT 0 => +OK
        SET j 0 => +OK
        FLUSHDB SYNC => +OK
        DBSIZE => :0
        SELECT 1 => +OK
        DBSIZE => :1
        "#,
    );
    assert_eq!(client.logged("FLUSHALL async"), ["FLUSHALL async"]);
    assert_eq!(client.run("DBSIZE"), ":0");
    let dirty = client.engine().stats().dirty.get();
    assert_eq!(
        client.logged("FLUSHALL"),
        ["FLUSHALL"],
        "also where nothing was removed"
    );
    client.run("MSET a 1 b 1");
    client.run("FLUSHALL");
    assert_eq!(client.engine().stats().dirty.get() - dirty, 4);
}

#[test]
fn object_shows_how_a_value_is_kept() {
    let mut client = Client::new();
    client.check(
        r#"
        MSET i 7 e abc big 10000 => +OK
        OBJECT ENCODING i => "int"
        OBJECT ENCODING e => "embstr"
        OBJECT ENCODING none => (nil)
        OBJECT REFCOUNT i => :2147483647
        OBJECT REFCOUNT e => :1
        OBJECT REFCOUNT big => :1
        OBJECT IDLETIME i => :0
        OBJECT nothing i => -ERR unknown subcommand 'nothing'. Try OBJECT HELP.
        OBJECT ENCODING => -ERR wrong number of arguments for 'object|encoding' command
        OBJECT ENCODING i i => -ERR wrong number of arguments for 'object|encoding' command
        "#,
    );
    assert!(client.run("OBJECT FREQ i").starts_with("-ERR An LFU"));
    assert!(client.run("OBJECT HELP").starts_with("[+OBJECT <sub"));
    client.configure(|settings| {
        settings.maxmemory = u64::MAX;
        settings.maxmemory_policy = EvictionPolicy::AllKeysLfu;
    });
    client.run("SET i 7");
    assert_eq!(client.run("OBJECT FREQ i"), ":5");
    assert_eq!(client.run("OBJECT REFCOUNT i"), ":1");
    assert!(client.run("OBJECT IDLETIME i").starts_with("-ERR An LFU"));
}

/// Runs one call of SCAN: the next cursor and the keys.
fn scan(client: &mut Client, cursor: &str, options: &str) -> (String, Vec<String>) {
    let reply = client.run(&format!("SCAN {cursor} {options}"));
    let (cursor, keys) = reply
        .trim_start_matches("[\"")
        .split_once("\", [")
        .expect("a cursor and keys");
    let keys = keys
        .trim_end_matches(']')
        .split(", ")
        .filter(|key| !key.is_empty())
        .map(|key| key.trim_matches('"').to_owned())
        .collect();
    (cursor.to_owned(), keys)
}

/// All keys that a whole SCAN returns; between its calls `disturb` may change the data.
fn scan_all(
    client: &mut Client,
    options: &str,
    mut disturb: impl FnMut(&mut Client),
) -> HashSet<String> {
    let mut keys = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, found) = scan(client, &cursor, options);
        keys.extend(found);
        if next == "0" {
            return keys;
        }
        cursor = next;
        disturb(client);
    }
}

#[test]
fn scan_returns_every_key_that_stays() {
    let mut client = Client::new();
    assert_eq!(scan(&mut client, "0", ""), ("0".into(), vec![]));
    assert_eq!(scan(&mut client, "77", ""), ("0".into(), vec![]));
    let staying: HashSet<String> = (0..700)
        .map(|n| format!("k{n}"))
        .chain((0..300).map(|n| format!("{{one}}{n}")))
        .collect();
    for key in &staying {
        client.run(&format!("SET {key} v"));
    }
    assert_eq!(scan_all(&mut client, "", |_| {}), staying);
    assert_eq!(scan_all(&mut client, "COUNT 1000000", |_| {}), staying);
    let mut turn = 0;
    let found = scan_all(&mut client, "COUNT 3", |client| {
        turn += 1;
        for n in 0..20 {
            let name = format!("{{one}}more{turn}-{n}");
            if turn % 40 < 20 {
                client.run(&format!("SET {name} v"));
            } else {
                client.run(&format!("DEL {{one}}more{}-{n}", turn - 20));
            }
        }
    });
    assert!(found.is_superset(&staying));
}

#[test]
fn scan_filters_and_checks_its_arguments() {
    let mut client = Client::new();
    client.check(
        r#"
        MSET a1 1 a2 2 b1 3 => +OK
        SCAN x => -ERR invalid cursor
        SCAN 0 COUNT 0 => -ERR syntax error
        SCAN 0 COUNT x => -ERR value is not an integer or out of range
        SCAN 0 MATCH => -ERR syntax error
        SCAN 0 TYPE list => ["0", []]
        SCAN 0 MATCH b* TYPE STRING => ["0", ["b1"]]
        KEYS a1 => ["a1"]
        KEYS none => []
        KEYS ?? => ["b1", "a1", "a2"]
        "#,
    );
    client.run("SET a1 1 PXAT 1");
    assert_eq!(
        scan_all(&mut client, "MATCH a*", |_| {}),
        HashSet::from(["a2".into()])
    );
    assert_eq!(client.run("KEYS a*"), "[\"a2\"]");
    client.run("MULTI");
    client.run("KEYS a*");
    client.run("SCAN 0 MATCH a* COUNT 100");
    assert_eq!(client.run("EXEC"), "[[\"a2\"], [\"0\", [\"a2\"]]]");
}

#[test]
fn scan_does_bounded_work_in_a_call() {
    let mut client = Client::new();
    for n in 0..2000 {
        client.run(&format!("SET {{tag}}{n} v"));
    }
    let (cursor, keys) = scan(&mut client, "0", "COUNT 10");
    assert_ne!(cursor, "0");
    assert!(keys.len() >= 10 && keys.len() < 60, "{}", keys.len());
    let (_, keys) = scan(&mut client, &cursor, "COUNT 10 MATCH none");
    assert!(keys.is_empty());
}

#[test]
fn random_keys_are_spread_over_all_keys() {
    for (spread, tagged) in [(30, 30), (0, 1), (40_000, 0)] {
        let mut client = Client::new();
        assert_eq!(client.run("RANDOMKEY"), "(nil)");
        for n in 0..spread {
            client.run(&format!("SET k{n} v"));
        }
        for n in 0..tagged {
            client.run(&format!("SET {{tag}}{n} v"));
        }
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..2000 {
            *counts.entry(client.run("RANDOMKEY")).or_default() += 1;
        }
        assert!(!counts.contains_key("(nil)"));
        if spread < 100 {
            assert_eq!(counts.len(), spread + tagged, "{counts:?}");
        } else {
            assert!(counts.len() > 1800, "{}", counts.len());
        }
    }
    let mut client = Client::new();
    for command in ["RANDOMKEY", "SCAN 0"] {
        client.run("MSET k v j v");
        client.run("SET k v PXAT 1");
        client.run("SET j v PXAT 1");
        assert_eq!(client.run("DBSIZE"), ":2");
        client.run(command);
        assert_eq!(
            client.run("DBSIZE"),
            ":0",
            "{command} expires what it finds"
        );
    }
    client.run("SET k v PXAT 1");
    assert_eq!(client.run("RANDOMKEY"), "(nil)");
}

#[test]
fn random_commands_agree_with_a_map() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = Client::new();
    // Database and key to value and expiry.
    let mut model: HashMap<(u8, u8), (u32, Option<i64>)> = HashMap::new();
    for step in 0..5000u32 {
        let db = rng.random_range(0..2u8);
        let (a, b) = (rng.random_range(0..5u8), rng.random_range(0..5u8));
        client.run(&format!("SELECT {db}"));
        let here = (db, a);
        let flag = |value: bool| if value { ":1" } else { ":0" };
        match rng.random_range(0..9) {
            0 | 1 => {
                client.run(&format!("SET k{a} {step}"));
                model.insert(here, (step, None));
            }
            2 => {
                let at = 33_177_117_420_000 + i64::from(step);
                let reply = client.run(&format!("PEXPIREAT k{a} {at}"));
                assert_eq!(reply, flag(model.contains_key(&here)));
                if let Some((_, expiry)) = model.get_mut(&here) {
                    *expiry = Some(at);
                }
            }
            3 => {
                let reply = client.run(&format!("DEL k{a}"));
                assert_eq!(reply, flag(model.remove(&here).is_some()));
            }
            4 => {
                let reply = client.run(&format!("RENAME k{a} k{b}"));
                match model.get(&here).copied() {
                    None => assert_eq!(reply, "-ERR no such key"),
                    Some(value) => {
                        assert_eq!(reply, "+OK");
                        model.remove(&here);
                        model.insert((db, b), value);
                    }
                }
            }
            5 => {
                let to = (rng.random_range(0..2u8), b);
                let replace = rng.random::<bool>();
                let option = if replace { "REPLACE" } else { "" };
                let reply = client.run(&format!("COPY k{a} k{b} DB {} {option}", to.0));
                if to == here {
                    assert!(reply.starts_with("-ERR source and"), "{reply}");
                } else {
                    let value = model.get(&here).copied();
                    let copies = value.is_some() && (replace || !model.contains_key(&to));
                    assert_eq!(reply, flag(copies));
                    if let (true, Some(value)) = (copies, value) {
                        model.insert(to, value);
                    }
                }
            }
            6 => {
                let to = (1 - db, a);
                let moves = model.contains_key(&here) && !model.contains_key(&to);
                assert_eq!(client.run(&format!("MOVE k{a} {}", 1 - db)), flag(moves));
                if let (true, Some(value)) = (moves, model.get(&here).copied()) {
                    model.remove(&here);
                    model.insert(to, value);
                }
            }
            7 if rng.random_range(0..20) == 0 => {
                client.run("SWAPDB 0 1");
                model = model
                    .into_iter()
                    .map(|((db, k), v)| ((1 - db, k), v))
                    .collect();
            }
            7 if rng.random_range(0..50) == 0 => {
                client.run("FLUSHDB");
                model.retain(|(of, _), _| *of != db);
            }
            _ => {
                let size = model.keys().filter(|(of, _)| *of == db).count();
                assert_eq!(client.run("DBSIZE"), format!(":{size}"));
                let (value, expiry) = match model.get(&here) {
                    Some((value, expiry)) => (format!("\"{value}\""), expiry.unwrap_or(-1)),
                    None => ("(nil)".into(), -2),
                };
                assert_eq!(client.run(&format!("GET k{a}")), value);
                assert_eq!(
                    client.run(&format!("PEXPIRETIME k{a}")),
                    format!(":{expiry}")
                );
            }
        }
    }
}
