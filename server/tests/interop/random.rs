//! Random commands get the same replies from Hardtack and from redis-server, and leave the same data.
//!
//! Commands are drawn from templates: words stand for themselves, `a|b` for one of them, `[ ... ]` may be left out, and
//! these are filled in:
//!
//! | word | is |
//! |---|---|
//! | `K`, `V` | one of few keys, so that types clash; a value |
//! | `N`, `S` | a number of any kind, often one that is none; a small one |
//! | `B` | one end of a range of scores or members |
//! | `X+` | one to three of `X` |
//!
//! `HARDTACK_TEST_ROUNDS` sets the number of commands, `HARDTACK_TEST_SEED` repeats a run.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::{Dataset, Kind, Reply, Server};

const TEMPLATES: &[&str] = &[
    "SET K V [ NX|XX ] [ GET ] [ KEEPTTL ] [ PXAT 9000000000000 ] [ EX 0|-1|x ]",
    "GET|GETDEL|STRLEN|INCR|DECR K",
    "GETSET|SETNX|APPEND K V",
    "GETEX K [ PERSIST ] [ PXAT 9000000000000 ] [ EXAT 1 ]",
    "GETRANGE|SUBSTR K N N",
    "SETRANGE K 0|3|70|-1|536870912|N V",
    "INCRBY|DECRBY|INCRBYFLOAT K N",
    "MGET K+",
    "MSET|MSETNX K V [ K V ] [ K ]",
    "LCS K K [ LEN ] [ IDX ] [ MINMATCHLEN N ] [ WITHMATCHLEN ]",
    "LPUSH|RPUSH|LPUSHX|RPUSHX K V+",
    "LPOP|RPOP K [ N ]",
    "LLEN|SCARD|HLEN|ZCARD|TYPE K",
    "LINDEX K N",
    "LRANGE|LTRIM K N N",
    "LSET K N V",
    "LINSERT K BEFORE|AFTER|x V V",
    "LREM K N V",
    "LPOS K V [ RANK N ] [ COUNT N ] [ MAXLEN N ]",
    "LMOVE K K LEFT|RIGHT LEFT|RIGHT",
    "RPOPLPUSH K K",
    "LMPOP 1|2|N K K LEFT|RIGHT [ COUNT N ]",
    "BLPOP|BRPOP|BZPOPMIN K K 0.001|-1|x",
    "BLMPOP 0.001|x 2 K K LEFT|RIGHT [ COUNT N ]",
    "SADD|SREM|SMISMEMBER K V+",
    "SMOVE K K V",
    "SISMEMBER K V",
    "SMEMBERS|HKEYS|HVALS|HGETALL K",
    "SINTER|SUNION|SDIFF K+",
    "SINTERSTORE|SUNIONSTORE|SDIFFSTORE K K+",
    "SINTERCARD 1|2|N K K [ LIMIT N ]",
    "SPOP K 0|9999|-1|x",
    "SRANDMEMBER K 0|9999|x|-9223372036854775808",
    "HRANDFIELD K 0|9999|x|-9223372036854775808 [ WITHVALUES ]",
    "ZRANDMEMBER K 0|9999|x|-9223372036854775808 [ WITHSCORES ]",
    "HSET K V V [ V V ] [ V ]",
    "HSETNX K V V",
    "HGET|HSTRLEN|HEXISTS K V",
    "HMGET|HDEL K V+",
    "HINCRBY|HINCRBYFLOAT K V N",
    "ZADD K [ NX|XX ] [ GT|LT ] [ CH ] [ INCR ] N V [ N V ]",
    "ZINCRBY K N V",
    "ZREM|ZMSCORE K V+",
    "ZSCORE|ZRANK|ZREVRANK K V",
    "ZCOUNT|ZREMRANGEBYSCORE K B B",
    "ZREMRANGEBYRANK K N N",
    "ZRANGE K N|B N|B [ BYSCORE ] [ REV ] [ LIMIT N N ] [ WITHSCORES ]",
    "ZRANGESTORE K K N|B N|B [ BYSCORE ] [ REV ] [ LIMIT N N ]",
    "ZREVRANGE K N N [ WITHSCORES ]",
    "ZRANGEBYSCORE|ZREVRANGEBYSCORE K B B [ WITHSCORES ] [ LIMIT N N ]",
    // Ranges in byte order mean something only where all scores are equal.
    "ZADD lex 0 V [ 0 V ]",
    "ZLEXCOUNT|ZREMRANGEBYLEX lex B B",
    "ZRANGE lex B B BYLEX [ REV ] [ LIMIT N N ]",
    "ZRANGESTORE K lex B B BYLEX [ REV ] [ LIMIT N N ]",
    "ZRANGEBYLEX|ZREVRANGEBYLEX lex B B [ LIMIT N N ]",
    "ZPOPMIN|ZPOPMAX K [ N ]",
    "ZMPOP 1|2|N K K MIN|MAX [ COUNT N ]",
    "ZUNION|ZINTER 2|N K K [ WEIGHTS N N ] [ AGGREGATE SUM|MIN|MAX|x ] [ WITHSCORES ]",
    "ZUNIONSTORE|ZINTERSTORE K 2|N K K [ WEIGHTS N N ] [ AGGREGATE SUM|MIN|MAX ]",
    "ZDIFF 2|N K K [ WITHSCORES ]",
    "ZDIFFSTORE K 2|N K K",
    "ZINTERCARD 2|N K K [ LIMIT N ]",
    "DEL|UNLINK|EXISTS|TOUCH K+",
    "RENAME|RENAMENX K K",
    "COPY K K [ DB 0|1|x|99 ] [ REPLACE ]",
    "MOVE K 0|1|x|99",
    "PEXPIREAT K 9000000000000|9000000000001|1|x [ NX|XX|GT|LT ] [ GT|XX ]",
    "EXPIRE K -1|x|9223372036854775807|-9223372036854775808",
    "PERSIST|PEXPIRETIME|EXPIRETIME K",
    "OBJECT ENCODING K",
    "RESTORE K 0|x|-1 V [ REPLACE ] [ IDLETIME N ] [ FREQ N ]",
    "SORT K [ ASC|DESC ] [ ALPHA ] [ LIMIT N N ] [ GET # ] [ STORE K ]",
    "SORT K BY nosort|x* [ GET # ] [ DESC ]",
    "SORT_RO K [ DESC ] [ ALPHA ] [ LIMIT N N ]",
    "HSCAN|SSCAN|ZSCAN K 0 [ MATCH x* ] COUNT 1000|0|x",
    "KEYS *|k?|[a-c]*|[^k]*|k[1|\\\\k1",
    "DBSIZE",
];

/// Commands whose replies have no order.
const UNORDERED: &[&str] = &[
    "SMEMBERS",
    "SINTER",
    "SUNION",
    "SDIFF",
    "HKEYS",
    "HVALS",
    "HGETALL",
    "KEYS",
    "SPOP",
    "SRANDMEMBER",
    "HRANDFIELD",
    "ZRANDMEMBER",
    "HSCAN",
    "SSCAN",
    "ZSCAN",
];

/// None that C's number parsers report as out of range: a SORT that comes later in redis-server would still see that.
const NUMBERS: &[&str] = &[
    "100",
    "-100",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1.5",
    "abc",
    "",
    "0x10",
    "1e3",
    "inf",
    "-inf",
    "nan",
    "+5",
    " 1",
    "00",
    "4294967296",
    "2147483648",
    "99999999999",
    "0.1",
];

/// What a word of a template stands for.
fn fill(word: &str, rng: &mut StdRng) -> String {
    let small = ["0", "1", "-1", "2", "-2", "3", "5", "10", "-10"];
    let bounds = [
        "-inf", "+inf", "(1", "1", "(5", "10", "-", "+", "[a", "[c", "(c", "[", "(", "nan", "x",
    ];
    match word {
        "K" => format!("k{}", rng.random_range(0..5)),
        "S" => small.choose(rng).expect("a number").to_string(),
        "N" if rng.random_bool(0.7) => fill("S", rng),
        "N" => NUMBERS.choose(rng).expect("a number").to_string(),
        "B" => bounds.choose(rng).expect("a bound").to_string(),
        "V" => match rng.random_range(0..6) {
            0 => fill("N", rng),
            1 => rng.random_range(0..20).to_string(),
            2 => "x".repeat(*[1, 44, 45, 64, 65, 200].choose(rng).expect("a length")),
            3 => "\0\u{7f}\r\n".to_owned(),
            _ => format!("v{}", rng.random_range(0..30)),
        },
        word => word.to_owned(),
    }
}

/// A command after a template.
fn draw(template: &str, rng: &mut StdRng) -> Vec<String> {
    let mut words = Vec::new();
    let mut skipping = false;
    for word in template.split(' ') {
        match word {
            "[" => skipping = !rng.random_bool(0.3),
            "]" => skipping = false,
            _ if skipping => {}
            word => {
                let choices: Vec<&str> = word.split('|').collect();
                let word = choices.choose(rng).expect("a word");
                let (word, times) = match word.strip_suffix('+') {
                    Some(word) if !word.is_empty() => (word, rng.random_range(1..4)),
                    _ => (*word, 1),
                };
                words.extend((0..times).map(|_| fill(word, rng)));
            }
        }
    }
    words
}

/// The reply, without an order where it has none. A sorted set has one encoding here: in Redis SORT, which only reads,
/// leaves it in its large form (which is why there is no -0 among the numbers: only that form keeps its sign).
fn shown(words: &[String], reply: &Reply) -> String {
    let command = words[0].as_str();
    let unordered = UNORDERED.contains(&command) || words.iter().any(|word| word == "nosort");
    let elements = match reply {
        // A cursor and elements.
        Reply::Array(parts) if command.ends_with("SCAN") => parts.last(),
        reply if unordered => Some(reply),
        _ => None,
    };
    match elements {
        Some(Reply::Array(elements) | Reply::Set(elements)) => {
            let mut elements: Vec<String> = elements.iter().map(Reply::to_string).collect();
            elements.sort();
            elements.join("\n")
        }
        _ if command == "OBJECT" => reply.to_string().replace("skiplist", "listpack"),
        _ => reply.to_string(),
    }
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn random_commands_are_answered_as_redis_answers_them() {
    println!("peer: {}", Kind::Redis.version());
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let rounds = number("HARDTACK_TEST_ROUNDS").unwrap_or(6000);
    let seed = number("HARDTACK_TEST_SEED").unwrap_or_else(rand::random);
    println!("HARDTACK_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let servers = [Kind::Hardtack, Kind::Redis].map(|kind| Server::start(kind, &[]));
    let mut clients = servers.each_ref().map(Server::client);
    for round in 1..=rounds {
        let words = draw(TEMPLATES.choose(&mut rng).expect("a template"), &mut rng);
        let [ours, redis] = clients
            .each_mut()
            .map(|client| shown(&words, &client.call(&words)));
        assert_eq!(ours, redis, "command {round}: {words:?}");
        if round % 500 == 0 || round == rounds {
            let [ours, redis] = clients.each_mut().map(Dataset::read);
            ours.assert_same(&redis, &format!("the data after command {round}"));
            clients.iter_mut().for_each(|client| {
                client.ok("FLUSHALL");
            });
        }
    }
}
