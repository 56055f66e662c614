use std::collections::{HashMap, HashSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::command::testkit::Client;

#[test]
fn fields_are_set_read_and_removed() {
    Client::new().check(
        r#"
        HSET h a 1 b 2 a 3 => :2
        HSET h b 5 c 6 => :1
        HSET h a => -ERR wrong number of arguments for 'hset' command
        HSET h a 1 b => -ERR wrong number of arguments for 'hset' command
        HMSET h d x e => -ERR wrong number of arguments for 'hmset' command
        HMSET h d four => +OK
        HSETNX h d 5 => :0
        HSETNX h e 5 => :1
        HGET h d => "four"
        HGET h z => (nil)
        HMGET h a z b => ["3", (nil), "5"]
        HGETALL h => ["a", "3", "b", "5", "c", "6", "d", "four", "e", "5"]
        HKEYS h => ["a", "b", "c", "d", "e"]
        HVALS h => ["3", "5", "6", "four", "5"]
        HLEN h => :5
        HSTRLEN h d => :4
        HSTRLEN h z => :0
        HEXISTS h a => :1
        HEXISTS h z => :0
        HDEL h a z a b => :2
        HDEL h c d e => :3
        HDEL h c => :0
        HLEN h => :0
        HGETALL h => []
        HMGET h a b => [(nil), (nil)]
        HSTRLEN h a => :0
        HKEYS h => []
        HGET h a => (nil)
        HEXISTS h a => :0
        SET s 1 => +OK
        HSET s a 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
        HSET s a => -ERR wrong number of arguments for 'hset' command
        HGET s a => -WRONGTYPE Operation against a key holding the wrong kind of value
        HMGET s a => -WRONGTYPE Operation against a key holding the wrong kind of value
        HDEL s a => -WRONGTYPE Operation against a key holding the wrong kind of value
        HINCRBY s a 1 => -WRONGTYPE Operation against a key holding the wrong kind of value
        HRANDFIELD s => -WRONGTYPE Operation against a key holding the wrong kind of value
        GET s => "1"
        "#,
    );
}

#[test]
fn numbers_are_checked() {
    Client::new().check(
        r#"
        HINCRBY h n 9223372036854775806 => :9223372036854775806
        HINCRBY h n 1 => :9223372036854775807
        HINCRBY h n 1 => -ERR increment or decrement would overflow
        HINCRBY h n x => -ERR value is not an integer or out of range
        HSET h t x f 10.50 => :2
        HINCRBY h t 1 => -ERR hash value is not an integer
        HINCRBY none t x => -ERR value is not an integer or out of range
        HLEN none => :0
        HINCRBYFLOAT h t 1 => -ERR hash value is not a float
        HINCRBYFLOAT h f 0.1 => "10.6"
        HINCRBYFLOAT h f x => -ERR value is not a valid float
        HINCRBYFLOAT h f inf => -ERR value is NaN or Infinity
        HINCRBYFLOAT h n -1 => "9223372036854775806"
        HINCRBYFLOAT none f nan => -ERR value is not a valid float
        HINCRBYFLOAT new f 1.5e3 => "1500"
        HGETALL h => ["n", "9223372036854775806", "t", "x", "f", "10.6"]
        "#,
    );
}

#[test]
fn what_is_logged_is_what_happened() {
    let mut client = Client::new();
    assert_eq!(client.logged("HSET h a 1"), ["HSET h a 1"]);
    assert!(client.logged("HSETNX h a 1").is_empty());
    assert_eq!(client.logged("HINCRBY h a 2"), ["HINCRBY h a 2"]);
    assert_eq!(client.logged("HINCRBYFLOAT h a 0.5"), ["HSET h a 3.5"]);
    assert!(client.logged("HDEL h b").is_empty());
    assert!(client.logged("HINCRBY h a 1").is_empty());
    assert_eq!(client.logged("HDEL h a b"), ["HDEL h a b"]);
}

#[test]
fn replies_differ_between_protocols() {
    let mut client = Client::new().resp3();
    client.run("HSET h a 1");
    assert_eq!(client.run("HGETALL h"), "%[\"a\", \"1\"]");
    assert_eq!(client.run("HGETALL none"), "%[]");
    assert_eq!(client.run("HKEYS h"), "[\"a\"]");
    assert_eq!(client.run("HSCAN h 0"), "[\"0\", [\"a\", \"1\"]]");
    let random = client.run("HRANDFIELD h -2 WITHVALUES");
    assert_eq!(random, "[[\"a\", \"1\"], [\"a\", \"1\"]]");
    assert_eq!(
        client
            .another()
            .run("HRANDFIELD h -2 WITHVALUES")
            .matches('a')
            .count(),
        2
    );
}

/// The bulk strings of a reply.
fn words(reply: &str) -> Vec<&str> {
    reply
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|word| word.trim_matches('"'))
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn random_fields_are_fields() {
    let mut client = Client::new();
    client.check(
        r#"
        HRANDFIELD none => (nil)
        HRANDFIELD none 3 => []
        HRANDFIELD none -3 => []
        HRANDFIELD none x => -ERR value is not an integer or out of range
        HRANDFIELD none 1 WITHVALUES x => -ERR syntax error
        HRANDFIELD none 1 x => -ERR syntax error
        HRANDFIELD none -9223372036854770000 WITHVALUES => -ERR value is out of range
        HRANDFIELD none 9223372036854770000 WITHVALUES => -ERR value is out of range
        HRANDFIELD none -9223372036854775807 => []
        HSET one f v => :1
        HRANDFIELD one -9223372036854775807 => -ERR value is out of range
        HRANDFIELD none -9223372036854775808 => -ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807
        "#,
    );
    for len in [3, 100, 2000] {
        for field in 0..len {
            client.run(&format!("HSET h{len} {field} v{field}"));
        }
        let key = format!("h{len}");
        for count in [0, 1, 2, len / 2, len - 1, len, len + 5] {
            let reply = client.run(&format!("HRANDFIELD {key} {count} WITHVALUES"));
            let words = words(&reply);
            assert_eq!(words.len(), 2 * count.min(len));
            let fields: HashSet<&str> = words.chunks(2).map(|pair| pair[0]).collect();
            assert_eq!(fields.len(), count.min(len), "different ones");
            assert!(
                words
                    .chunks(2)
                    .all(|pair| pair[1] == format!("v{}", pair[0]))
            );
        }
        let reply = client.run(&format!("HRANDFIELD {key} -500"));
        assert_eq!(words(&reply).len(), 500);
    }
}

#[test]
fn a_scan_visits_every_field() {
    let mut client = Client::new();
    client.check(
        r#"
        HSCAN none 0 => ["0", []]
        HSCAN none x => -ERR invalid cursor
        HSCAN none 0 COUNT x => ["0", []]
        HSET s a1 x b2 y a3 z => :3
        HSCAN s 0 MATCH a* => ["0", ["a1", "x", "a3", "z"]]
        HSCAN s 0 COUNT x => -ERR value is not an integer or out of range
        HSCAN s 0 COUNT 0 => -ERR syntax error
        "#,
    );
    for field in 0..3000 {
        client.run(&format!("HSET h {field} v{field}"));
    }
    let mut seen = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.run(&format!("HSCAN h {cursor} COUNT 100"));
        let (next, rest) = reply[1..].split_once(", ").unwrap();
        for pair in words(rest).chunks(2) {
            assert_eq!(pair[1], format!("v{}", pair[0]));
            seen.insert(pair[0].to_owned());
        }
        cursor = next.trim_matches('"').to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 3000);
}

#[test]
fn random_commands_agree_with_a_map() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = Client::new();
    let mut model: HashMap<String, String> = HashMap::new();
    // Some fields and values are longer than what the small form takes; some runs have more fields than it takes.
    for round in 0..6 {
        let fields = [4, 40, 2000][round % 3];
        for _ in 0..3000 {
            let mut field = rng.random_range(0..fields).to_string();
            if round > 2 && rng.random_ratio(1, 50) {
                field = field.repeat(70);
            }
            let number: i64 = rng.random_range(-50..50);
            match rng.random_range(0..8) {
                0 | 1 => {
                    let new = model.insert(field.clone(), number.to_string()).is_none();
                    let reply = client.run(&format!("HSET h {field} {number}"));
                    assert_eq!(reply, format!(":{}", u8::from(new)));
                }
                2 => {
                    let removed = model.remove(&field).is_some();
                    let reply = client.run(&format!("HDEL h {field}"));
                    assert_eq!(reply, format!(":{}", u8::from(removed)));
                }
                3 => {
                    let value = model.entry(field.clone()).or_insert("0".into());
                    *value = (value.parse::<i64>().unwrap() + number).to_string();
                    let reply = client.run(&format!("HINCRBY h {field} {number}"));
                    assert_eq!(reply, format!(":{value}"));
                }
                4 => {
                    let new = !model.contains_key(&field);
                    if new {
                        model.insert(field.clone(), number.to_string());
                    }
                    let reply = client.run(&format!("HSETNX h {field} {number}"));
                    assert_eq!(reply, format!(":{}", u8::from(new)));
                }
                5 => {
                    let reply = client.run(&format!("HGET h {field}"));
                    match model.get(&field) {
                        Some(value) => assert_eq!(reply, format!("\"{value}\"")),
                        None => assert_eq!(reply, "(nil)"),
                    }
                }
                6 => assert_eq!(client.run("HLEN h"), format!(":{}", model.len())),
                _ => {
                    let reply = client.run("HRANDFIELD h");
                    match words(&reply)[0] {
                        "(nil)" => assert!(model.is_empty()),
                        field => assert!(model.contains_key(field)),
                    }
                }
            }
        }
        let reply = client.run("HGETALL h");
        let all: HashMap<String, String> = words(&reply)
            .chunks(2)
            .map(|pair| (pair[0].into(), pair[1].into()))
            .collect();
        assert_eq!(all, model);
        for field in model.drain() {
            client.run(&format!("HDEL h {}", field.0));
        }
        assert_eq!(client.run("HLEN h"), ":0");
    }
}
