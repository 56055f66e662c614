use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::command::testkit::Client;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn elements_are_added_and_taken_at_both_ends() {
    Client::new().check(
        r#"
        LPUSHX l a => :0
        RPUSHX l a => :0
        LPUSH l b a => :2
        RPUSH l c d => :4
        LPUSHX l z y => :6
        RPUSHX l e => :7
        LRANGE l 0 -1 => ["y", "z", "a", "b", "c", "d", "e"]
        LPOP l => "y"
        RPOP l => "e"
        LPOP l 2 => ["z", "a"]
        RPOP l 2 => ["d", "c"]
        LPOP l 0 => []
        LPOP l -1 => -ERR value is out of range, must be positive
        RPOP l x => -ERR value is out of range, must be positive
        LPOP l 1 2 => -ERR wrong number of arguments for 'lpop' command
        RPOP l 99999999999 => ["b"]
        LLEN l => :0
        LPOP l => (nil)
        LPOP l 0 => (nil)
        RPOP l 2 => (nil)
        "#,
    );
}

#[test]
fn positions_and_values_lead_to_elements() {
    Client::new().check(
        r#"
        LINDEX l x => (nil)
        LSET l x a => -ERR no such key
        LINSERT l BESIDE a b => -ERR syntax error
        LINSERT l BEFORE a b => :0
        LREM l 0 a => :0
        LTRIM l 0 -1 => +OK
        LRANGE l 0 x => -ERR value is not an integer or out of range
        LRANGE l 0 -1 => []
        RPUSH l a b c a b c a => :7
        LINDEX l 0 => "a"
        LINDEX l -2 => "c"
        LINDEX l 7 => (nil)
        LINDEX l -8 => (nil)
        LINDEX l -9223372036854775808 => (nil)
        LINDEX l x => -ERR value is not an integer or out of range
        LRANGE l -3 100 => ["b", "c", "a"]
        LRANGE l -100 1 => ["a", "b"]
        LRANGE l 3 2 => []
        LRANGE l 7 9 => []
        LRANGE l -9223372036854775808 9223372036854775807 => ["a", "b", "c", "a", "b", "c", "a"]
        LRANGE l 0 -9223372036854775808 => []
        LSET l 7 x => -ERR index out of range
        LSET l x y => -ERR value is not an integer or out of range
        LSET l -1 z => +OK
        LSET l 0 y => +OK
        LRANGE l 0 -1 => ["y", "b", "c", "a", "b", "c", "z"]
        LINSERT l before b x => :8
        LINSERT l AFTER z end => :9
        LINSERT l AFTER none end => :-1
        LRANGE l 0 -1 => ["y", "x", "b", "c", "a", "b", "c", "z", "end"]
        LREM l 1 c => :1
        LREM l -1 b => :1
        LREM l 0 none => :0
        LREM l x y => -ERR value is not an integer or out of range
        LRANGE l 0 -1 => ["y", "x", "b", "a", "c", "z", "end"]
        LTRIM l 1 -2 => +OK
        LRANGE l 0 -1 => ["x", "b", "a", "c", "z"]
        LTRIM l x 1 => -ERR value is not an integer or out of range
        LTRIM l 3 1 => +OK
        LLEN l => :0
        RPUSH l a a => :2
        LREM l -5 a => :2
        LLEN l => :0
        "#,
    );
}

#[test]
fn lpos_counts_matches() {
    Client::new().check(
        r#"
        LPOS none a => (nil)
        LPOS none a COUNT 1 => []
        LPOS none a RANK => -ERR syntax error
        RPUSH l a b c 1 2 3 c c => :8
        LPOS l a => :0
        LPOS l c => :2
        LPOS l c RANK 1 => :2
        LPOS l c RANK 2 => :6
        LPOS l c RANK 4 => (nil)
        LPOS l c RANK -1 => :7
        LPOS l c RANK -3 => :2
        LPOS l c COUNT 0 => [:2, :6, :7]
        LPOS l c COUNT 2 => [:2, :6]
        LPOS l c COUNT 5 RANK 2 => [:6, :7]
        LPOS l c COUNT 2 RANK -1 => [:7, :6]
        LPOS l c COUNT 0 RANK -2 => [:6, :2]
        LPOS l c COUNT 0 MAXLEN 3 => [:2]
        LPOS l c MAXLEN 2 => (nil)
        LPOS l c COUNT 0 MAXLEN 2 RANK -1 => [:7, :6]
        LPOS l x COUNT 0 => []
        LPOS l c RANK 0 => -ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list
        LPOS l c RANK x => -ERR value is not an integer or out of range
        LPOS l c COUNT -1 => -ERR COUNT can't be negative
        LPOS l c COUNT x => -ERR COUNT can't be negative
        LPOS l c MAXLEN -1 => -ERR MAXLEN can't be negative
        LPOS l c LIMIT 1 => -ERR syntax error
        "#,
    );
}

#[test]
fn elements_are_moved_between_lists() {
    Client::new().check(
        r#"
        RPUSH a 1 2 3 => :3
        RPOPLPUSH a b => "3"
        LMOVE a b LEFT RIGHT => "1"
        LRANGE b 0 -1 => ["3", "1"]
        LMOVE a a LEFT RIGHT => "2"
        LRANGE a 0 -1 => ["2"]
        LMOVE b b RIGHT LEFT => "1"
        LRANGE b 0 -1 => ["1", "3"]
        LMOVE a b UP LEFT => -ERR syntax error
        LMOVE a b LEFT LEFT => "2"
        LLEN a => :0
        LMOVE a b LEFT LEFT => (nil)
        RPOPLPUSH a b => (nil)
        SET s x => +OK
        LMOVE a s LEFT LEFT => (nil)
        LMOVE b s LEFT LEFT => -WRONGTYPE Operation against a key holding the wrong kind of value
        LLEN b => :3
        LMPOP 2 a b LEFT => ["b", ["2"]]
        LMPOP 2 a b right COUNT 5 => ["b", ["3", "1"]]
        LMPOP 2 a b LEFT => (nil)
        LMPOP 2 a s LEFT => -WRONGTYPE Operation against a key holding the wrong kind of value
        LMPOP 0 a LEFT => -ERR numkeys should be greater than 0
        LMPOP x a LEFT => -ERR numkeys should be greater than 0
        LMPOP 2 a LEFT => -ERR syntax error
        LMPOP 9223372036854775807 a LEFT => -ERR syntax error
        LMPOP 1 a UP => -ERR syntax error
        LMPOP 1 a LEFT COUNT 0 => -ERR count should be greater than 0
        LMPOP 1 a LEFT COUNT 1 COUNT 1 => -ERR syntax error
        LMPOP 1 a LEFT COUNT => -ERR syntax error
        "#,
    );
}

#[test]
fn other_types_are_refused() {
    let mut client = Client::new();
    client.run("SET s x");
    for command in [
        "LPUSH s a",
        "RPUSHX s a",
        "LPOP s",
        "RPOP s 0",
        "LLEN s",
        "LINDEX s x",
        "LRANGE s 0 1",
        "LSET s x y",
        "LINSERT s AFTER a b",
        "LREM s 0 a",
        "LTRIM s 0 1",
        "LPOS s a",
        "RPOPLPUSH s d",
        "BLPOP s 0",
        "BLMPOP 0 1 s LEFT",
        "BRPOPLPUSH s d 0",
    ] {
        assert_eq!(client.run(command), WRONG_TYPE, "{command}");
    }
    assert_eq!(client.run("GET s"), "\"x\"");
}

#[test]
fn what_is_logged_is_what_happened() {
    let mut client = Client::new();
    let none: [&str; 0] = [];
    assert_eq!(
        client.logged("RPUSH l a b c d e f"),
        ["RPUSH l a b c d e f"]
    );
    assert_eq!(client.logged("LPOP l 1"), ["LPOP l 1"]);
    assert_eq!(client.logged("LPOP l 0"), none);
    assert_eq!(client.logged("BLPOP x l 0"), ["LPOP l"]);
    assert_eq!(client.logged("BRPOP x l 0"), ["RPOP l"]);
    assert_eq!(
        client.logged("BLMOVE l m right LEFT 0"),
        ["LMOVE l m right LEFT"]
    );
    assert_eq!(client.logged("BRPOPLPUSH l m 0"), ["RPOPLPUSH l m"]);
    assert_eq!(
        client.logged("LMOVE m l LEFT LEFT"),
        ["LMOVE m l LEFT LEFT"]
    );
    assert_eq!(client.logged("LMPOP 2 x l LEFT COUNT 9"), ["LPOP l 2"]);
    assert_eq!(client.logged("BLMPOP 0 2 x m RIGHT"), ["RPOP m 1"]);
    assert_eq!(client.logged("LMPOP 2 x l LEFT"), none);
    client.run("RPUSH l a");
    assert_eq!(client.logged("LTRIM l 0 -1"), none);
    assert_eq!(client.logged("LREM l 0 b"), none);
    assert_eq!(client.logged("LTRIM l 1 -1"), ["LTRIM l 1 -1"]);
}

#[test]
fn blocking_commands_check_their_arguments_first() {
    Client::new().check(
        r#"
        BLPOP a x => -ERR timeout is not a float or out of range
        BLPOP a -1 => -ERR timeout is negative
        BLMOVE a b UP LEFT x => -ERR syntax error
        BLMOVE a b LEFT LEFT x => -ERR timeout is not a float or out of range
        BRPOPLPUSH a b -1 => -ERR timeout is negative
        BLMPOP x 0 a LEFT => -ERR numkeys should be greater than 0
        BLMPOP x 1 a LEFT => -ERR timeout is not a float or out of range
        MULTI => +OK
        BLPOP a 0 => +QUEUED
        BLMOVE a b LEFT LEFT 0 => +QUEUED
        BRPOPLPUSH a b 0 => +QUEUED
        BLMPOP 0 1 a LEFT => +QUEUED
        EXEC => [(nil), (nil), (nil), (nil)]
        "#,
    );
}

#[test]
fn waiting_clients_are_served_in_order() {
    let mut writer = Client::new();
    let (mut first, mut second) = (writer.another(), writer.another());
    assert_eq!(first.run("BLPOP a b 0"), "(blocked)");
    assert_eq!(second.run("BRPOP b a 0"), "(blocked)");
    assert_eq!(writer.run("RPUSH b 1 2 3"), ":3");
    assert_eq!(first.delivered(), [r#"["b", "1"]"#]);
    assert_eq!(second.delivered(), [r#"["b", "3"]"#]);
    assert_eq!(writer.run("LRANGE b 0 -1"), r#"["2"]"#);
    assert_eq!(first.run("BLMPOP 0 2 a b LEFT COUNT 7"), r#"["b", ["2"]]"#);
    assert_eq!(first.run("BLMPOP 0 2 a b LEFT COUNT 7"), "(blocked)");
    writer.run("RPUSH a 1 2");
    assert_eq!(first.delivered(), [r#"["a", ["1", "2"]]"#]);
    assert_eq!(writer.run("LLEN a"), ":0");
}

#[test]
fn a_woken_client_prefers_the_key_that_woke_it() {
    let mut writer = Client::new();
    let mut waiter = writer.another();
    assert_eq!(waiter.run("BLPOP a b 0"), "(blocked)");
    writer.run("MULTI");
    writer.run("RPUSH b 1");
    writer.run("RPUSH a 2");
    writer.run("EXEC");
    assert_eq!(waiter.delivered(), [r#"["b", "1"]"#]);
    assert_eq!(writer.run("LLEN a"), ":1");
}

#[test]
fn only_a_list_wakes() {
    let mut writer = Client::new();
    let mut waiter = writer.another();
    assert_eq!(waiter.run("BLPOP a 0"), "(blocked)");
    writer.run("SET a x");
    assert!(waiter.delivered().is_empty());
    writer.run("DEL a");
    writer.run("MULTI");
    writer.run("RPUSH a x");
    writer.run("DEL a");
    writer.run("EXEC");
    assert!(waiter.delivered().is_empty());
    writer.run("RPUSH a y");
    assert_eq!(waiter.delivered(), [r#"["a", "y"]"#]);
}

#[test]
fn a_move_serves_the_next_waiter() {
    let mut writer = Client::new();
    let (mut mover, mut taker) = (writer.another(), writer.another());
    assert_eq!(taker.run("BLPOP b 0"), "(blocked)");
    assert_eq!(mover.run("BLMOVE a b LEFT RIGHT 0"), "(blocked)");
    writer.run("RPUSH a x");
    assert_eq!(mover.delivered(), [r#""x""#]);
    assert_eq!(taker.delivered(), [r#"["b", "x"]"#]);
    assert_eq!(mover.run("BRPOPLPUSH a s 0"), "(blocked)");
    writer.run("SET s x");
    writer.run("RPUSH a y");
    assert_eq!(mover.delivered(), [WRONG_TYPE]);
    assert_eq!(writer.run("LRANGE a 0 -1"), r#"["y"]"#);
}

/// The elements of a reply.
fn words(reply: &str) -> Vec<String> {
    reply
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|word| word.trim_matches('"').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The positions that Redis's index pair means.
fn positions(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = len as i64;
    let absolute = |index: i64| if index < 0 { index + len } else { index };
    let (start, end) = (absolute(start).max(0), (absolute(stop) + 1).min(len));
    if start >= end {
        0..0
    } else {
        start as usize..end as usize
    }
}

#[test]
fn random_commands_agree_with_a_vec() {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut client = Client::new();
    // Chunks of three elements, then of the default size, with long elements that need chunks of their own.
    client.configure(|settings| settings.limits.list_max_listpack_size = 3);
    let mut model: Vec<String> = Vec::new();
    for step in 0..6000 {
        if step == 3000 {
            client.configure(|settings| settings.limits.list_max_listpack_size = -2);
        }
        let mut element = rng.random_range(0..20).to_string();
        if rng.random_ratio(1, 20) {
            element = element.repeat(3000);
        }
        let len = model.len();
        let index = rng.random_range(-3..3 + len as i64);
        let at = if index < 0 { index + len as i64 } else { index };
        let at = usize::try_from(at).ok().filter(|at| *at < len);
        match rng.random_range(0..12) {
            0 => {
                model.insert(0, element.clone());
                model.insert(0, "x".into());
                let reply = client.run(&format!("LPUSH l {element} x"));
                assert_eq!(reply, format!(":{}", model.len()));
            }
            1 | 2 => {
                model.push(element.clone());
                let reply = client.run(&format!("RPUSH l {element}"));
                assert_eq!(reply, format!(":{}", model.len()));
            }
            3 => {
                let taken: Vec<String> = model.drain(..len.min(2)).collect();
                assert_eq!(words(&client.run("LPOP l 2").replace("(nil)", "")), taken);
            }
            4 => {
                let taken = model
                    .pop()
                    .map_or("(nil)".into(), |last| format!("\"{last}\""));
                assert_eq!(client.run("RPOP l"), taken);
            }
            5 => {
                let reply = client.run(&format!("LSET l {index} {element}"));
                match at {
                    Some(at) => model[at] = element,
                    None => assert!(reply.starts_with("-ERR"), "{reply}"),
                }
            }
            6 => {
                let reply = client.run(&format!("LINDEX l {index}"));
                let found = at.map_or("(nil)".into(), |at| format!("\"{}\"", model[at]));
                assert_eq!(reply, found);
            }
            7 => {
                let pivot = rng.random_range(0..20).to_string();
                let after = rng.random_ratio(1, 2);
                let place = if after { "AFTER" } else { "BEFORE" };
                client.run(&format!("LINSERT l {place} {pivot} {element}"));
                if let Some(at) = model.iter().position(|found| *found == pivot) {
                    model.insert(at + usize::from(after), element);
                }
            }
            8 => {
                let count: i64 = rng.random_range(-2..3);
                let most = if count == 0 {
                    usize::MAX
                } else {
                    count.unsigned_abs() as usize
                };
                let mut found: Vec<usize> = (0..len).filter(|at| model[*at] == element).collect();
                if count < 0 {
                    found.reverse();
                }
                found.truncate(most);
                let reply = client.run(&format!("LREM l {count} {element}"));
                assert_eq!(reply, format!(":{}", found.len()));
                found.sort_unstable();
                for at in found.into_iter().rev() {
                    model.remove(at);
                }
            }
            9 => {
                let stop = rng.random_range(-3..3 + len as i64);
                let reply = client.run(&format!("LRANGE l {index} {stop}"));
                assert_eq!(words(&reply), model[positions(index, stop, len)]);
            }
            10 if rng.random_ratio(1, 20) => {
                let stop = rng.random_range(-3..3 + len as i64);
                let kept = positions(index, stop, len);
                assert_eq!(client.run(&format!("LTRIM l {index} {stop}")), "+OK");
                model = model[kept].to_vec();
            }
            _ if len > 0 => {
                model.rotate_right(1);
                let moved = format!("\"{}\"", model[0]);
                assert_eq!(client.run("RPOPLPUSH l l"), moved);
            }
            _ => {}
        }
    }
    assert_eq!(words(&client.run("LRANGE l 0 -1")), model);
}
