//! Behaviours of the family beside a real server's, and a model of the type.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::command::testkit::Client;

#[test]
fn adding_obeys_its_options() {
    Client::new().check(
        r#"
        ZADD z 1 a 2 b => :2
        ZADD z 3 a 4 c => :1
        ZADD z CH 3 a 5 b 6 d => :2
        ZADD z XX 9 e => :0
        ZADD none XX 9 e => :0
        ZADD none XX INCR 9 e => (nil)
        ZADD z NX 9 a 9 e => :1
        ZADD z GT CH 2 a 10 b 1 f => :2
        ZADD z LT CH 2 a 11 b 1 f => :1
        ZRANGE z 0 -1 WITHSCORES => ["f", "1", "a", "2", "c", "4", "d", "6", "e", "9", "b", "10"]
        ZADD z INCR 1.5 a => "3.5"
        ZADD z NX INCR 1 a => (nil)
        ZADD z GT INCR -1 a => (nil)
        ZADD z XX INCR 1 new => (nil)
        ZINCRBY z -inf a => "-inf"
        ZADD z INCR inf a => -ERR resulting score is not a number (NaN)
        ZADD z NX INCR inf a => (nil)
        ZINCRBY other 2 x => "2"
        ZINCRBY other -0 y => "-0"
        ZADD z NX XX 1 a => -ERR XX and NX options at the same time are not compatible
        ZADD z GT LT 1 a => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z GT NX 1 a => -ERR GT, LT, and/or NX options at the same time are not compatible
        ZADD z INCR 1 a 2 b => -ERR INCR option supports a single increment-element pair
        ZADD z 1 a 2 => -ERR syntax error
        ZADD z 1 a x b => -ERR value is not a valid float
        ZADD z nan a => -ERR value is not a valid float
        SET s v => +OK
        ZADD s 1 a => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZADD s x a => -ERR value is not a valid float
        ZINCRBY s 1 a => -WRONGTYPE Operation against a key holding the wrong kind of value
        "#,
    );
}

#[test]
fn the_last_member_takes_the_key_along() {
    let mut client = Client::new();
    for removal in [
        "ZREM z a b c x",
        "ZREMRANGEBYRANK z 0 -1",
        "ZREMRANGEBYSCORE z -inf +inf",
        "ZREMRANGEBYLEX z - +",
    ] {
        client.run("ZADD z 0 a 0 b 0 c");
        assert_eq!(client.run(removal), ":3", "{removal}");
        assert_eq!(client.run("GET z"), "(nil)", "{removal}");
    }
    client.run("ZADD z 0 a 0 b");
    client.run("ZPOPMIN z 5");
    assert_eq!(client.run("GET z"), "(nil)");
}

#[test]
fn ranges_are_taken_both_ways() {
    Client::new().check(r#"
        ZADD z 1 a 2 b 3 c 4 d 5 e => :5
        ZRANGE z 1 -2 => ["b", "c", "d"]
        ZRANGE z -100 100 REV => ["e", "d", "c", "b", "a"]
        ZREVRANGE z 0 1 WITHSCORES => ["e", "5", "d", "4"]
        ZRANGE z 3 1 => []
        ZRANGE z 9 10 => []
        ZRANGEBYSCORE z (1 3 => ["b", "c"]
        ZRANGEBYSCORE z -inf +inf LIMIT 1 2 => ["b", "c"]
        ZRANGEBYSCORE z -inf +inf LIMIT 3 -1 => ["d", "e"]
        ZRANGEBYSCORE z -inf +inf LIMIT -1 2 => []
        ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 0 1 => ["a", "1"]
        ZREVRANGEBYSCORE z 4 (1 LIMIT 1 2 => ["c", "b"]
        ZRANGE z 4 (1 BYSCORE REV LIMIT 0 1 => ["d"]
        ZCOUNT z (1 4 => :3
        ZRANGE none 0 -1 => []
        ZADD l 0 a 0 b 0 c 0 d => :4
        ZRANGEBYLEX l [b (d => ["b", "c"]
        ZREVRANGEBYLEX l + - LIMIT 1 2 => ["c", "b"]
        ZRANGE l + [c BYLEX REV => ["d", "c"]
        ZRANGEBYLEX l + - => []
        ZLEXCOUNT l (a + => :3
        ZRANGE z 0 1 LIMIT 0 1 => -ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX
        ZRANGE z [a [b BYLEX WITHSCORES => -ERR syntax error, WITHSCORES not supported in combination with BYLEX
        ZRANGE z a b => -ERR value is not an integer or out of range
        ZRANGE z a b BYSCORE => -ERR min or max is not a float
        ZRANGE z 1 2 BYLEX => -ERR min or max not valid string range item
        ZRANGEBYSCORE z 1 2 BYSCORE => -ERR syntax error
        ZREVRANGE z 0 1 REV => -ERR syntax error
        ZRANGE z 0 1 LIMIT 0 => -ERR syntax error
        ZCOUNT z x 1 => -ERR min or max is not a float
        ZLEXCOUNT z x [a => -ERR min or max not valid string range item
        ZRANGESTORE to z 1 2 => :2
        ZRANGE to 0 -1 WITHSCORES => ["b", "2", "c", "3"]
        ZRANGESTORE to z 9 10 => :0
        ZCARD to => :0
        ZRANGESTORE z z (2 +inf BYSCORE REV LIMIT 0 1 => :0
        ZRANGESTORE to l + - BYLEX REV LIMIT 0 1 => :1
        ZRANGE to 0 -1 => ["d"]
        ZRANGESTORE to l 0 -1 WITHSCORES => -ERR syntax error
        "#,
    );
}

#[test]
fn members_are_looked_up() {
    Client::new().check(
        r#"
        ZADD z 1 a 2.5 b 3 c => :3
        ZCARD z => :3
        ZCARD none => :0
        ZSCORE z b => "2.5"
        ZSCORE z x => (nil)
        ZSCORE none x => (nil)
        ZMSCORE z a x c => ["1", (nil), "3"]
        ZMSCORE none a b => [(nil), (nil)]
        ZRANK z c => :2
        ZREVRANK z c => :0
        ZRANK z x => (nil)
        ZSCAN z 0 => ["0", ["a", "1", "b", "2.5", "c", "3"]]
        ZSCAN z 0 MATCH [bc] COUNT 1 => ["0", ["b", "2.5", "c", "3"]]
        ZSCAN none 0 COUNT x => ["0", []]
        ZSCAN z x => -ERR invalid cursor
        ZSCAN z 0 COUNT 0 => -ERR syntax error
        ZRANDMEMBER none => (nil)
        ZRANDMEMBER none 3 => []
        ZRANDMEMBER z 0 => []
        ZRANDMEMBER z 5 WITHSCORES => ["a", "1", "b", "2.5", "c", "3"]
        ZRANDMEMBER z -5 WITHSCORES x => -ERR syntax error
        ZRANDMEMBER none -9223372036854775807 => []
        ZRANDMEMBER z -9223372036854775807 => -ERR value is out of range
        ZRANDMEMBER z 9223372036854775807 WITHSCORES => -ERR value is out of range
        "#,
    );
    let mut client = Client::new().resp3();
    client.check(
        r#"
        ZADD z 1 a 2.5 b => :2
        ZSCORE z b => ,2.5
        ZINCRBY z 1 b => ,3.5
        ZRANGE z 0 -1 WITHSCORES => [["a", ,1], ["b", ,3.5]]
        ZRANDMEMBER z 5 WITHSCORES => [["a", ,1], ["b", ,3.5]]
        ZUNION 1 z WITHSCORES => [["a", ,1], ["b", ,3.5]]
        ZMSCORE z a x => [,1, (nil)]
        ZMPOP 1 z MIN => ["z", [["a", ,1]]]
        ZADD z 1 a => :1
        ZPOPMIN z 1 => [["a", ,1]]
        ZPOPMAX z => ["b", ,3.5]
        "#,
    );
}

#[test]
fn random_members_differ_unless_repetition_is_allowed() {
    let mut client = Client::new();
    for member in 0..300 {
        client.run(&format!("ZADD z {member} m{member}"));
    }
    let reply = client.run("ZRANDMEMBER z 250");
    let mut members: Vec<&str> = reply.trim_matches(['[', ']']).split(", ").collect();
    members.sort_unstable();
    members.dedup();
    assert_eq!(members.len(), 250);
    let reply = client.run("ZRANDMEMBER z -1000");
    assert_eq!(reply.split(", ").count(), 1000);
}

#[test]
fn popping_takes_from_either_end() {
    Client::new().check(
        r#"
        ZADD z 1 a 2 b 3 c 4 d 5 e 6 f => :6
        ZPOPMIN z => ["a", "1"]
        ZPOPMAX z 2 => ["f", "6", "e", "5"]
        ZPOPMIN z 0 => []
        ZPOPMIN none => []
        ZPOPMIN z -1 => -ERR value is out of range, must be positive
        ZPOPMIN z x => -ERR value is out of range, must be positive
        ZPOPMIN z 1 2 => -ERR syntax error
        BZPOPMIN none z 0 => ["z", "b", "2"]
        ZMPOP 2 none z MAX COUNT 9 => ["z", [["d", "4"], ["c", "3"]]]
        ZMPOP 2 none z MAX => (nil)
        ZMPOP 0 z MIN => -ERR numkeys should be greater than 0
        ZMPOP 2 z MIN => -ERR syntax error
        ZMPOP 1 z FOO => -ERR syntax error
        ZMPOP 1 z MIN COUNT 0 => -ERR count should be greater than 0
        ZMPOP 1 z MIN COUNT 1 COUNT 1 => -ERR syntax error
        BZMPOP x 0 z MIN => -ERR numkeys should be greater than 0
        BZMPOP -1 1 z MIN => -ERR timeout is negative
        BZPOPMIN z x => -ERR timeout is not a float or out of range
        SET s v => +OK
        ZPOPMIN s => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZPOPMIN s 0 => -WRONGTYPE Operation against a key holding the wrong kind of value
        BZPOPMAX none s 0 => -WRONGTYPE Operation against a key holding the wrong kind of value
        MULTI => +OK
        BZPOPMIN none 0 => +QUEUED
        EXEC => [(nil)]
        "#,
    );
}

#[test]
fn blocked_clients_are_served_by_sorted_sets_only() {
    let mut writer = Client::new();
    let mut waiter = writer.another();
    assert_eq!(waiter.run("BZPOPMIN a b 0"), "(blocked)");
    writer.run("SET a string");
    assert!(waiter.delivered().is_empty());
    writer.run("MULTI");
    writer.run("ZADD b 1 x");
    writer.run("ZRANGESTORE b none 0 0");
    writer.run("SET b string");
    writer.run("EXEC");
    assert!(waiter.delivered().is_empty());
    writer.run("ZRANGESTORE b none 0 0");
    writer.run("ZADD b 1 x 2 y");
    assert_eq!(waiter.delivered(), [r#"["b", "x", "1"]"#]);
    assert_eq!(writer.run("ZRANGE b 0 -1"), r#"["y"]"#);
}

#[test]
fn a_woken_client_prefers_the_key_that_woke_it() {
    let mut writer = Client::new();
    let mut waiter = writer.another();
    assert_eq!(waiter.run("BZMPOP 0 2 a b MAX COUNT 2"), "(blocked)");
    writer.run("MULTI");
    writer.run("ZADD b 1 x 2 y 3 z");
    writer.run("ZADD a 1 w");
    writer.run("EXEC");
    assert_eq!(waiter.delivered(), [r#"["b", [["z", "3"], ["y", "2"]]]"#]);
    assert_eq!(writer.run("ZCARD a"), ":1");
}

#[test]
fn algebra_joins_scores() {
    Client::new().check(r#"
        ZADD a 1 x 2 y 3 z => :3
        ZADD b 10 y 20 z 30 w => :3
        ZUNION 2 a b WITHSCORES => ["x", "1", "y", "12", "z", "23", "w", "30"]
        ZUNION 2 a b WEIGHTS 2 0.5 AGGREGATE MAX WITHSCORES => ["x", "2", "y", "5", "z", "10", "w", "15"]
        ZINTER 2 a b => ["y", "z"]
        ZINTER 2 a b AGGREGATE MIN WITHSCORES => ["y", "2", "z", "3"]
        ZDIFF 2 a b WITHSCORES => ["x", "1"]
        ZDIFF 3 a none b => ["x"]
        ZDIFF 1 none => []
        ZINTERCARD 2 a b => :2
        ZINTERCARD 2 a b LIMIT 1 => :1
        ZINTERCARD 2 a b LIMIT 0 => :2
        ZUNIONSTORE c 2 a b => :4
        ZINTERSTORE c 3 a b none => :0
        ZCARD c => :0
        ZDIFFSTORE c 2 a b => :1
        ZDIFFSTORE a 2 a a => :0
        ZUNIONSTORE b 2 b b WEIGHTS 1 2 => :3
        ZRANGE b 0 -1 WITHSCORES => ["y", "30", "z", "60", "w", "90"]
        ZADD i inf m => :1
        ZADD j -inf m => :1
        ZUNION 2 i j WITHSCORES => ["m", "0"]
        ZINTER 1 i WEIGHTS 0 WITHSCORES => ["m", "0"]
        SADD set x y m => :3
        ZADD d 2 x 3 z => :2
        ZUNION 2 d set WEIGHTS 1 5 WITHSCORES => ["z", "3", "m", "5", "y", "5", "x", "7"]
        ZINTER 2 set d WITHSCORES => ["x", "3"]
        ZDIFF 2 set d WITHSCORES => ["m", "1", "y", "1"]
        ZINTERCARD 2 set d => :1
        ZUNION 0 a => -ERR at least 1 input key is needed for 'zunion' command
        ZUNIONSTORE c 0 a => -ERR at least 1 input key is needed for 'zunionstore' command
        ZUNION x a => -ERR value is not an integer or out of range
        ZUNION 3 a b => -ERR syntax error
        ZUNION 1 b WEIGHTS => -ERR syntax error
        ZUNION 1 b WEIGHTS x => -ERR weight value is not a float
        ZUNION 1 b AGGREGATE avg => -ERR syntax error
        ZDIFF 1 b WEIGHTS 1 => -ERR syntax error
        ZINTERCARD 1 b LIMIT -1 => -ERR LIMIT can't be negative
        ZUNIONSTORE c 1 b WITHSCORES => -ERR syntax error
        SET s v => +OK
        ZUNION 2 b s FOO => -WRONGTYPE Operation against a key holding the wrong kind of value
        ZUNIONSTORE s 1 b => :3
        "#,
    );
}

/// A sorted set as plain data.
#[derive(Default)]
struct Model(BTreeMap<String, f64>);

impl Model {
    fn sorted(&self) -> Vec<(&str, f64)> {
        let mut all: Vec<(&str, f64)> = self.0.iter().map(|(m, s)| (m.as_str(), *s)).collect();
        all.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        all
    }

    fn show<'a>(members: impl Iterator<Item = &'a (&'a str, f64)>) -> String {
        let shown: Vec<String> = members.map(|(m, s)| format!("\"{m}\", \"{s}\"")).collect();
        format!("[{}]", shown.join(", "))
    }
}

#[test]
fn random_commands_agree_with_a_model() {
    let seed = rand::random::<u64>();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = Client::new();
    client.configure(|settings| settings.limits.zset_max_listpack_entries = 20);
    let mut model = Model::default();
    for step in 0..20_000 {
        // Between few and many members, to and fro across the limit of the small form.
        let names = if step / 2000 % 2 == 0 { 10 } else { 200 };
        let member = format!("m{}", rng.random_range(0..names));
        let score = f64::from(rng.random_range(-20..20));
        let (low, high) = (rng.random_range(-25..25), rng.random_range(-25..25));
        let in_range = |score: f64| score >= f64::from(low) && score <= f64::from(high);
        let (command, expected) = match rng.random_range(0..12) {
            0..=3 => {
                let added = model.0.insert(member.clone(), score).is_none();
                (
                    format!("ZADD z {score} {member}"),
                    format!(":{}", added as i32),
                )
            }
            4 => {
                let new = model.0.entry(member.clone()).or_insert(0.0);
                *new += score;
                (format!("ZINCRBY z {score} {member}"), format!("\"{new}\""))
            }
            5 => {
                let removed = model.0.remove(&member).is_some();
                (format!("ZREM z {member}"), format!(":{}", removed as i32))
            }
            6 => {
                let rank = model.sorted().iter().position(|(m, _)| *m == member);
                let rank = rank.map_or("(nil)".into(), |rank| format!(":{rank}"));
                (format!("ZRANK z {member}"), rank)
            }
            7 => {
                let sorted = model.sorted();
                let found = sorted.iter().filter(|(_, score)| in_range(*score));
                (
                    format!("ZRANGEBYSCORE z {low} {high} WITHSCORES"),
                    Model::show(found),
                )
            }
            8 => {
                let sorted = model.sorted();
                let found = sorted.iter().rev().filter(|(_, score)| in_range(*score));
                let found = found.skip(2).take(5);
                (
                    format!("ZRANGE z {high} {low} BYSCORE REV LIMIT 2 5 WITHSCORES"),
                    Model::show(found),
                )
            }
            9 => {
                let sorted = model.sorted();
                let popped: Vec<(String, f64)> = sorted
                    .iter()
                    .rev()
                    .take(3)
                    .map(|(member, score)| (member.to_string(), *score))
                    .collect();
                for (member, _) in &popped {
                    model.0.remove(member);
                }
                let popped: Vec<_> = popped.iter().map(|(m, s)| (m.as_str(), *s)).collect();
                ("ZPOPMAX z 3".into(), Model::show(popped.iter()))
            }
            10 if rng.random_ratio(1, 20) => {
                let before = model.0.len();
                model.0.retain(|_, score| !in_range(*score));
                let removed = before - model.0.len();
                (
                    format!("ZREMRANGEBYSCORE z {low} {high}"),
                    format!(":{removed}"),
                )
            }
            10 => {
                let count = model.0.values().filter(|score| in_range(**score)).count();
                (format!("ZCOUNT z {low} {high}"), format!(":{count}"))
            }
            _ => ("ZCARD z".into(), format!(":{}", model.0.len())),
        };
        assert_eq!(
            client.run(&command),
            expected,
            "seed {seed}, step {step}: {command}"
        );
    }
}

#[test]
fn a_scan_visits_every_member() {
    let mut client = Client::new();
    for member in 0..1000 {
        client.run(&format!("ZADD z {member} m{member}"));
    }
    let mut seen = std::collections::HashSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let count = ["1", "7", "100"].choose(&mut rand::rng()).expect("some");
        let reply = client.run(&format!("ZSCAN z {cursor} COUNT {count}"));
        let mut words = reply.split(['"']).skip(1).step_by(2);
        cursor = words.next().expect("a cursor").to_owned();
        seen.extend(words.step_by(2).map(str::to_owned));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
}

#[test]
fn pops_are_logged_as_simple_pops() {
    let mut client = Client::new();
    client.run("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f");
    for (command, logged) in [
        ("BZPOPMIN none z 0", "ZPOPMIN z"),
        ("BZPOPMAX z 0", "ZPOPMAX z"),
        ("ZMPOP 2 none z MIN", "ZPOPMIN z 1"),
        ("BZMPOP 0 1 z MAX COUNT 9", "ZPOPMAX z 3"),
        ("ZADD z INCR 1.1 a", "ZADD z INCR 1.1 a"),
        ("ZUNIONSTORE to 1 z", "ZUNIONSTORE to 1 z"),
    ] {
        assert_eq!(client.logged(command), [logged]);
    }
    for command in [
        "ZPOPMIN none",
        "ZMPOP 1 none MIN",
        "ZADD z 1.1 a",
        "ZREM z x",
        "ZDIFFSTORE none 1 none",
    ] {
        assert!(client.logged(command).is_empty(), "{command}");
    }
}
