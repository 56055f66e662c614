//! Behaviours beside a real server's.

use crate::command::find;
use crate::command::testkit::Client;

#[test]
fn numbers_and_text_are_sorted() {
    Client::new().check(
        r#"
        RPUSH l 3 10 2 1 => :4
        SORT l => ["1", "2", "3", "10"]
        SORT_RO l DESC => ["10", "3", "2", "1"]
        SORT l ALPHA => ["1", "10", "2", "3"]
        SORT l LIMIT 1 2 => ["2", "3"]
        SORT l LIMIT -5 2 => ["1", "2"]
        SORT l LIMIT 2 -1 => ["3", "10"]
        SORT l LIMIT 9 1 => []
        SORT l LIMIT 1 0 => []
        SORT l BY nosort => ["3", "10", "2", "1"]
        SORT l BY nosort DESC LIMIT 1 2 => ["2", "10"]
        SORT l BY nosort DESC LIMIT 9 2 => []
        SORT l BY # ALPHA => ["3", "10", "2", "1"]
        SORT none => []
        SORT l LIMIT 1 x => -ERR value is not an integer or out of range
        SORT l LIMIT 1 => -ERR syntax error
        SORT l FOO => -ERR syntax error
        SORT_RO l STORE x => -ERR syntax error
        RPUSH words a b => :2
        SORT words => -ERR One or more scores can't be converted into double
        SORT words STORE x => -ERR One or more scores can't be converted into double
        ZADD z 3 1 2 2 1 3 => :3
        SORT z => ["1", "2", "3"]
        SORT z BY nosort => ["3", "2", "1"]
        SORT z BY nosort DESC LIMIT 0 2 => ["1", "2"]
        SET string 1 => +OK
        SORT string => -WRONGTYPE Operation against a key holding the wrong kind of value
        SORT string FOO => -ERR syntax error
        "#,
    );
}

#[test]
fn patterns_name_other_keys() {
    Client::new().check(
        r#"
        RPUSH l a b c d => :4
        MSET w_a 3 w_b 1 w_d 2 => +OK
        SORT l BY w_* => ["c", "b", "d", "a"]
        SORT l BY w_* DESC GET # GET w_* LIMIT 0 2 => ["a", "3", "d", "2"]
        SORT l BY w_* ALPHA => ["c", "b", "d", "a"]
        SORT l BY none_* ALPHA => ["a", "b", "c", "d"]
        SORT l BY w_* GET none_* GET fixed LIMIT 0 1 => [(nil), (nil)]
        HSET h_a f 1 g x => :2
        HSET h_b f 2 g y => :2
        SORT l BY h_*->f DESC GET h_*->g => ["y", "x", (nil), (nil)]
        SORT l BY nosort GET h_* GET w_*->f LIMIT 0 1 => [(nil), (nil)]
        SET w_a-> arrow => +OK
        SORT l BY nosort GET w_*-> LIMIT 0 1 => ["arrow"]
        SORT l BY w_* GET # STORE to => :4
        LRANGE to 0 -1 => ["c", "b", "d", "a"]
        SORT l BY nosort GET w_* LIMIT 1 2 STORE to => :2
        LRANGE to 0 -1 => ["1", ""]
        SORT l BY nosort BY w_* => ["a", "b", "c", "d"]
        "#,
    );
}

#[test]
fn results_replace_the_destination() {
    let mut client = Client::new();
    client.check(
        r#"
        RPUSH l 3 1 2 => :3
        SET to 1 EX 100 => +OK
        SORT l STORE to => :3
        TTL to => :-1
        SORT l DESC STORE l => :3
        LRANGE l 0 -1 => ["3", "2", "1"]
        SORT none STORE to => :0
        EXISTS to => :0
        MULTI => +OK
        SORT l STORE to => +QUEUED
        SORT l BY w_* STORE other => +QUEUED
        EXEC => [:3, :3]
        "#,
    );
    assert_eq!(client.logged("SORT l STORE to"), ["SORT l STORE to"]);
    assert!(client.logged("SORT l").is_empty());
}

#[test]
fn only_patterns_take_the_whole_keyspace() {
    let takes = |line: &str| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        find(b"sort")
            .expect("there is SORT")
            .spec
            .takes_all_keys(&args)
    };
    for line in [
        "sort",
        "sort l",
        "sort l store d",
        "sort l by nosort get #",
        "sort l by # get fixed",
        "sort l get",
        "sort l foo get w_*",
    ] {
        assert!(!takes(line), "{line}");
    }
    for line in [
        "sort l by w_*",
        "sort l limit 0 1 get w_*->f",
        "sort l get # get *",
    ] {
        assert!(takes(line), "{line}");
    }
}

#[test]
fn the_destination_is_a_key() {
    let keys = |line: &str| {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        find(b"sort")
            .expect("there is SORT")
            .spec
            .keys
            .positions(&args)
            .to_vec()
    };
    assert_eq!(keys("sort l"), [1]);
    assert_eq!(keys("sort l limit 1 2 store d"), [1, 6]);
    assert_eq!(keys("sort l by store get store store d store e"), [1, 9]);
    assert_eq!(keys("sort l store"), [1]);
    assert_eq!(keys("sort l limit store d"), [1]);
}

#[test]
fn a_set_is_sorted_before_it_is_stored() {
    Client::new().check(
        r#"
        SADD s c b a => :3
        SORT s ALPHA DESC => ["c", "b", "a"]
        SORT s BY nosort STORE to => :3
        LRANGE to 0 -1 => ["a", "b", "c"]
        SORT s BY none_* ALPHA LIMIT 1 2 => ["b", "c"]
        SADD numbers 10 9 1 => :3
        SORT numbers DESC LIMIT 0 2 => ["10", "9"]
        "#,
    );
}
