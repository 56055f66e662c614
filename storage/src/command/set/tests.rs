use std::collections::{BTreeSet, HashSet};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::command::testkit::Client;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// The elements of a reply.
fn words(reply: &str) -> Vec<String> {
    reply
        .trim_start_matches('~')
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|word| word.trim_matches('"').to_owned())
        .filter(|word| !word.is_empty() && word != "(nil)")
        .collect()
}

fn sorted(reply: &str) -> Vec<String> {
    let mut words = words(reply);
    words.sort();
    words
}

#[test]
fn members_are_added_found_and_removed() {
    Client::new().check(
        r#"
        SADD s 3 1 2 3 => :3
        SADD s 1 => :0
        SMEMBERS s => ["1", "2", "3"]
        SISMEMBER s 1 => :1
        SISMEMBER s 01 => :0
        SISMEMBER none 1 => :0
        SMISMEMBER s 1 x 3 => [:1, :0, :1]
        SMISMEMBER none 1 x => [:0, :0]
        SADD s x 7 => :2
        SCARD s => :5
        SISMEMBER s 7 => :1
        SREM s x y 7 1 => :3
        SREM s 2 3 4 => :2
        SREM s 1 => :0
        SCARD s => :0
        SMEMBERS s => []
        SADD a 1 2 => :2
        SMOVE a b 1 => :1
        SMOVE a b 1 => :0
        SMOVE a a 2 => :1
        SMOVE a a 3 => :0
        SADD b 2 => :1
        SMOVE a b 2 => :1
        SCARD a => :0
        SMEMBERS b => ["1", "2"]
        SET str x => +OK
        SMOVE a str 2 => :0
        SMOVE b str 7 => -WRONGTYPE Operation against a key holding the wrong kind of value
        SCARD b => :2
        "#,
    );
}

#[test]
fn other_types_are_refused() {
    let mut client = Client::new();
    client.run("SET k x");
    for command in [
        "SADD k a",
        "SREM k a",
        "SMOVE k s a",
        "SISMEMBER k a",
        "SMISMEMBER k a",
        "SCARD k",
        "SMEMBERS k",
        "SSCAN k 0 COUNT x",
        "SPOP k",
        "SPOP k 0",
        "SRANDMEMBER k",
        "SRANDMEMBER k 0",
        "SINTER none k",
        "SINTERCARD 2 none k",
        "SUNION none k",
        "SDIFF none k",
        "SDIFFSTORE k none k",
    ] {
        assert_eq!(client.run(command), WRONG_TYPE, "{command}");
    }
    assert_eq!(client.run("GET k"), "\"x\"");
}

#[test]
fn sets_are_combined() {
    Client::new().check(
        r#"
        SADD a 1 2 3 4 => :4
        SADD b 3 4 5 => :3
        SADD c 4 5 6 x => :4
        SINTER a b => ["3", "4"]
        SINTER a b c => ["4"]
        SINTER a none => []
        SINTER a => ["1", "2", "3", "4"]
        SINTERCARD 2 a b => :2
        SINTERCARD 2 a b LIMIT 1 => :1
        SINTERCARD 2 a b LIMIT 0 => :2
        SINTERCARD 2 a b LIMIT 9 limit 1 => :1
        SINTERCARD 2 a none => :0
        SINTERCARD 0 a => -ERR numkeys should be greater than 0
        SINTERCARD x a => -ERR numkeys should be greater than 0
        SINTERCARD 2 a => -ERR Number of keys can't be greater than number of args
        SINTERCARD 1 a b => -ERR syntax error
        SINTERCARD 1 a LIMIT => -ERR syntax error
        SINTERCARD 1 a LIMIT -1 => -ERR LIMIT can't be negative
        SINTERCARD 1 a LIMIT x => -ERR LIMIT can't be negative
        SUNION a b none => ["1", "2", "3", "4", "5"]
        SUNION none => []
        SDIFF a b => ["1", "2"]
        SDIFF a none c => ["1", "2", "3"]
        SDIFF none a => []
        SDIFF a a => []
        SINTERSTORE d a b => :2
        SMEMBERS d => ["3", "4"]
        SUNIONSTORE d d a => :4
        SDIFFSTORE d a b => :2
        SMEMBERS d => ["1", "2"]
        SDIFFSTORE d a a => :0
        SCARD d => :0
        SDIFFSTORE a b a => :1
        SMEMBERS a => ["5"]
        SET str v => +OK
        SUNIONSTORE str none => :0
        GET str => (nil)
        SET str v => +OK
        SUNIONSTORE str a => :1
        SMEMBERS str => ["5"]
        "#,
    );
}

#[test]
fn a_stored_result_is_in_the_small_form_again_if_it_fits() {
    let mut client = Client::new();
    client.run("SADD s 1 2 x");
    client.run("SREM s x");
    assert_eq!(client.run("OBJECT ENCODING s"), "\"hashtable\"");
    client.run("SUNIONSTORE d s");
    assert_eq!(client.run("OBJECT ENCODING d"), "\"intset\"");
}

#[test]
fn what_is_logged_is_what_happened() {
    let mut client = Client::new();
    let none: [&str; 0] = [];
    assert_eq!(client.logged("SADD s 1 2 3"), ["SADD s 1 2 3"]);
    assert_eq!(client.logged("SADD s 1"), none);
    assert_eq!(client.logged("SREM s 9"), none);
    assert_eq!(client.logged("SPOP s 0"), none);
    assert_eq!(client.logged("SPOP s 3"), ["DEL s"]);
    assert_eq!(client.logged("SPOP s"), none);
    client.run("SADD s 1");
    assert_eq!(client.logged("SPOP s"), ["SREM s 1"]);
    client.run("SADD s 1 2 3");
    let logged = client.logged("SPOP s 2");
    let left = words(&client.run("SMEMBERS s"));
    assert_eq!(left.len(), 1);
    let mut gone: Vec<String> = ["1", "2", "3"]
        .iter()
        .map(|m| format!("SREM s {m}"))
        .collect();
    gone.retain(|line| *line != format!("SREM s {}", left[0]));
    assert_eq!(
        logged.iter().collect::<BTreeSet<_>>(),
        gone.iter().collect()
    );
    assert_eq!(client.logged("SINTERSTORE d s none"), none);
    assert_eq!(client.logged("SUNIONSTORE d s"), ["SUNIONSTORE d s"]);
    assert_eq!(
        client.logged("SINTERSTORE d s none"),
        ["SINTERSTORE d s none"]
    );
    assert_eq!(client.logged("SMOVE s d 9"), none);
}

#[test]
fn replies_differ_between_protocols() {
    let mut client = Client::new().resp3();
    client.check(
        r#"
        SADD s 1 2 => :2
        SMEMBERS s => ~["1", "2"]
        SMEMBERS none => ~[]
        SINTER s s => ~["1", "2"]
        SINTER s none => ~[]
        SUNION s => ~["1", "2"]
        SDIFF s none => ~["1", "2"]
        SMISMEMBER s 1 => [:1]
        SRANDMEMBER s 5 => ["1", "2"]
        SRANDMEMBER none => (nil)
        SSCAN s 0 => ["0", ["1", "2"]]
        SPOP s 0 => ~[]
        SPOP s 2 => ~["1", "2"]
        SPOP s 2 => ~[]
        SPOP s => (nil)
        "#,
    );
}

#[test]
fn random_members_are_members() {
    let mut client = Client::new();
    client.check(
        r#"
        SRANDMEMBER none => (nil)
        SRANDMEMBER none 3 => []
        SRANDMEMBER none -3 => []
        SRANDMEMBER none x => -ERR value is not an integer or out of range
        SRANDMEMBER none 1 2 => -ERR syntax error
        SRANDMEMBER none -9223372036854775807 => []
        SADD one m => :1
        SRANDMEMBER one -9223372036854775807 => -ERR value is out of range
        SPOP none 1 2 => -ERR syntax error
        SPOP none -1 => -ERR value is out of range, must be positive
        SPOP none x => -ERR value is out of range, must be positive
        "#,
    );
    for (prefix, len) in [("", 3), ("", 400), ("m", 3), ("m", 1500)] {
        let all: HashSet<String> = (0..len).map(|n| format!("{prefix}{n}")).collect();
        let add = all
            .iter()
            .fold("SADD s".to_owned(), |line, member| line + " " + member);
        for count in [0, 1, 2, len / 2, len - 1, len, len + 5] {
            client.run("DEL s");
            client.run(&add);
            let chosen = words(&client.run(&format!("SRANDMEMBER s {count}")));
            assert_eq!(chosen.len(), count.min(len));
            let chosen: HashSet<String> = chosen.into_iter().collect();
            assert_eq!(chosen.len(), count.min(len), "different ones");
            assert!(chosen.is_subset(&all));
            let repeated = words(&client.run(&format!("SRANDMEMBER s {}", -(count as i64))));
            assert_eq!(repeated.len(), count);
            assert!(repeated.iter().all(|member| all.contains(member)));
            let popped: HashSet<String> = words(&client.run(&format!("SPOP s {count}")))
                .into_iter()
                .collect();
            let left: HashSet<String> = words(&client.run("SMEMBERS s")).into_iter().collect();
            assert_eq!(popped.len(), count.min(len));
            assert!(popped.is_disjoint(&left));
            assert_eq!(&popped | &left, all);
        }
    }
}

#[test]
fn popping_keeps_the_expiry() {
    let mut client = Client::new();
    client.run("SADD s 1 2 3 4 5 6 7 8 9 10 11 12");
    client.run("PEXPIREAT s 33177117420000");
    client.run("SPOP s 11");
    assert_eq!(client.run("SCARD s"), ":1");
    assert_eq!(client.run("PEXPIRETIME s"), ":33177117420000");
}

#[test]
fn a_scan_visits_every_member() {
    let mut client = Client::new();
    client.check(
        r#"
        SSCAN none 0 => ["0", []]
        SSCAN none x => -ERR invalid cursor
        SADD i 1 2 13 => :3
        SSCAN i 0 MATCH 1* => ["0", ["1", "13"]]
        SSCAN i 0 TYPE set => -ERR syntax error
        "#,
    );
    for member in 0..3000 {
        client.run(&format!("SADD s m{member}"));
    }
    let mut seen = HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.run(&format!("SSCAN s {cursor} COUNT 100"));
        let (next, rest) = reply[1..].split_once(", ").unwrap();
        seen.extend(words(rest));
        cursor = next.trim_matches('"').to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 3000);
}

#[test]
fn random_commands_agree_with_sets() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = Client::new();
    // Two sets of integers, one of words, and one that changes its form now and then.
    let mut model: [BTreeSet<String>; 4] = Default::default();
    for _ in 0..8000 {
        let at = rng.random_range(0..4);
        let number = rng.random_range(0..40);
        let member = match at {
            2 => format!("m{number}"),
            3 if number == 0 => "x".into(),
            _ => number.to_string(),
        };
        let (one, two) = (rng.random_range(0..4), rng.random_range(0..4));
        let union = || &model[at] | &(&model[one] | &model[two]);
        let common = || &model[at] & &(&model[one] & &model[two]);
        let rest = || &(&model[at] - &model[one]) - &model[two];
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>();
        match rng.random_range(0..14) {
            0..=3 => {
                let new = model[at].insert(member.clone());
                assert_eq!(
                    client.run(&format!("SADD {at} {member}")),
                    format!(":{}", u8::from(new))
                );
            }
            4 | 5 => {
                let was = model[at].remove(&member);
                assert_eq!(
                    client.run(&format!("SREM {at} {member}")),
                    format!(":{}", u8::from(was))
                );
            }
            6 => {
                let was = model[at].contains(&member);
                let reply = client.run(&format!("SISMEMBER {at} {member}"));
                assert_eq!(reply, format!(":{}", u8::from(was)));
            }
            7 => {
                let was = model[at].remove(&member);
                if was {
                    model[one].insert(member.clone());
                }
                let reply = client.run(&format!("SMOVE {at} {one} {member}"));
                assert_eq!(reply, format!(":{}", u8::from(was)));
            }
            8 => assert_eq!(
                sorted(&client.run(&format!("SUNION {at} {one} {two}"))),
                list(union())
            ),
            9 => assert_eq!(
                sorted(&client.run(&format!("SINTER {at} {one} {two}"))),
                list(common())
            ),
            10 => assert_eq!(
                sorted(&client.run(&format!("SDIFF {at} {one} {two}"))),
                list(rest())
            ),
            11 => {
                let (name, result) = match rng.random_range(0..3) {
                    0 => ("SUNIONSTORE", union()),
                    1 => ("SINTERSTORE", common()),
                    _ => ("SDIFFSTORE", rest()),
                };
                let reply = client.run(&format!("{name} {two} {at} {one} {two}"));
                assert_eq!(reply, format!(":{}", result.len()), "{name}");
                model[two] = result;
            }
            12 => {
                let count = rng.random_range(0..5);
                for member in words(&client.run(&format!("SPOP {at} {count}"))) {
                    assert!(model[at].remove(&member));
                }
            }
            _ => assert_eq!(
                sorted(&client.run(&format!("SMEMBERS {at}"))),
                list(model[at].clone())
            ),
        }
        assert_eq!(
            client.run(&format!("SCARD {at}")),
            format!(":{}", model[at].len())
        );
    }
}
