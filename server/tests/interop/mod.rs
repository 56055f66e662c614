//! Hardtack and redis-server start on each other's directories and find the same data.
//!
//! The data set holds every type in its small and its large encoding, integers at the edges, binary and empty values,
//! big values, several databases and expiry times. It is compared key by key with each type's own reads.

mod commands;
mod random;

use std::path::PathBuf;

use crate::support::{Client, Dataset, Kind, Server, redis_tool};

const LOG_ON: &[(&str, &str)] = &[("appendonly", "yes"), ("aof-use-rdb-preamble", "yes")];
const LOG_OFF: &[(&str, &str)] = &[("appendonly", "no")];
/// 2255: far enough away that no test run reaches it.
const LATER_MILLIS: u64 = 9_000_000_000_000;

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn hardtack_starts_on_a_redis_rdb_file_and_back() {
    let mut redis = redis(LOG_OFF);
    let expected = fill_and_read(&redis);
    redis.client().ok("SAVE");
    redis.kill();

    let mut hardtack = Server::start_on(Kind::Hardtack, &redis, LOG_OFF);
    expected.assert_same(&read(&hardtack), "redis's RDB file in Hardtack");
    let expected = change_and_read(&hardtack);
    hardtack.client().ok("SAVE");
    hardtack.kill();
    check_rdb(hardtack.data_dir().join("dump.rdb"));

    redis.restart();
    expected.assert_same(&read(&redis), "Hardtack's RDB file in redis");
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn hardtack_starts_on_a_redis_log_and_back_after_a_clean_stop() {
    log_there_and_back(Server::stop_cleanly);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn hardtack_starts_on_a_redis_log_and_back_after_a_kill() {
    log_there_and_back(Server::kill);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn redis_starts_on_a_directory_that_hardtack_made() {
    let mut hardtack = Server::start(Kind::Hardtack, LOG_ON);
    let expected = fill_and_read(&hardtack);
    hardtack.stop_cleanly();
    check_log(&hardtack);
    let redis = Server::start_on(Kind::Redis, &hardtack, LOG_ON);
    expected.assert_same(&read(&redis), "Hardtack's log in redis");
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn redis_starts_on_a_log_that_hardtack_rewrote() {
    let mut hardtack = Server::start(Kind::Hardtack, LOG_ON);
    fill_and_read(&hardtack);
    rewrite(&hardtack);
    let expected = change_and_read(&hardtack);
    hardtack.kill();
    check_log(&hardtack);
    let mut redis = Server::start_on(Kind::Redis, &hardtack, LOG_ON);
    expected.assert_same(&read(&redis), "Hardtack's rewritten log in redis");
    redis.stop();
    hardtack.restart();
    expected.assert_same(&read(&hardtack), "and back in Hardtack");
}

/// A directory of redis-server with a base file and an increment, taken over by Hardtack, and given back.
fn log_there_and_back(end: fn(&mut Server)) {
    let mut redis = redis(LOG_ON);
    fill_and_read(&redis);
    rewrite(&redis);
    let expected = change_and_read(&redis);
    redis.stop();

    let mut hardtack = Server::start_on(Kind::Hardtack, &redis, LOG_ON);
    expected.assert_same(&read(&hardtack), "redis's log in Hardtack");
    let expected = change_and_read(&hardtack);
    end(&mut hardtack);
    check_log(&hardtack);

    redis.restart();
    expected.assert_same(&read(&redis), "Hardtack's log in redis");
    redis.stop();
    hardtack.restart();
    expected.assert_same(&read(&hardtack), "and back in Hardtack");
    // A rewrite leaves nothing of redis's own files in the way.
    rewrite(&hardtack);
    end(&mut hardtack);
    check_log(&hardtack);
    redis.restart();
    expected.assert_same(&read(&redis), "Hardtack's rewritten log in redis");
}

fn redis(directives: &[(&str, &str)]) -> Server {
    println!("peer: {}", Kind::Redis.version());
    Server::start(Kind::Redis, directives)
}

fn read(server: &Server) -> Dataset {
    Dataset::read(&mut server.client())
}

fn fill_and_read(server: &Server) -> Dataset {
    let mut client = server.client();
    fill(&mut client);
    let data = Dataset::read(&mut client);
    assert!(data.len() > 1000, "only {} keys", data.len());
    data
}

fn change_and_read(server: &Server) -> Dataset {
    let mut client = server.client();
    change(&mut client);
    Dataset::read(&mut client)
}

fn rewrite(server: &Server) {
    let mut client = server.client();
    client.ok("BGREWRITEAOF");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::time::Instant::now() < end {
        let info = client.ok("INFO persistence").text();
        let is_zero = |field: &str| info.lines().any(|l| l.trim() == format!("{field}:0"));
        if is_zero("aof_rewrite_in_progress") && is_zero("aof_rewrite_scheduled") {
            assert!(info.contains("aof_last_bgrewrite_status:ok"), "{info}");
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the rewrite does not end");
}

/// redis-check-aof accepts the manifest with all it names, redis-check-rdb the base file.
fn check_log(server: &Server) {
    let directory = server.data_dir().join("appendonlydir");
    let (good, said) = redis_tool(
        "redis-check-aof",
        &directory.join("appendonly.aof.manifest"),
    );
    assert!(good, "redis-check-aof: {said}");
    let entries = std::fs::read_dir(&directory).expect("the log's directory");
    for path in entries
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.to_string_lossy().ends_with(".base.rdb"))
    {
        check_rdb(path);
    }
}

fn check_rdb(path: PathBuf) {
    let (good, said) = redis_tool("redis-check-rdb", &path);
    assert!(good, "redis-check-rdb {}: {said}", path.display());
}

/// Collects commands and sends them as pipelines.
struct Filler<'a> {
    client: &'a mut Client,
    commands: Vec<Vec<Vec<u8>>>,
}

impl Filler<'_> {
    fn push<A: AsRef<[u8]>>(&mut self, words: &[A]) {
        self.commands
            .push(words.iter().map(|w| w.as_ref().to_vec()).collect());
    }

    fn words(&mut self, command: &str) {
        self.push(&command.split_whitespace().collect::<Vec<_>>());
    }

    /// `head` followed by each of the elements.
    fn many(&mut self, head: &str, elements: impl Iterator<Item = String>) {
        let mut words: Vec<Vec<u8>> = head
            .split_whitespace()
            .map(|w| w.as_bytes().to_vec())
            .collect();
        words.extend(elements.map(String::into_bytes));
        self.commands.push(words);
    }

    fn send(self) {
        for (command, reply) in self
            .commands
            .iter()
            .zip(self.client.pipeline(&self.commands))
        {
            assert!(
                !reply.is_error(),
                "{:?}: {reply}",
                command.iter().take(3).map(|w| w.escape_ascii().to_string())
            );
        }
    }
}

fn fill(client: &mut Client) {
    let mut f = Filler {
        client,
        commands: Vec::new(),
    };
    strings(&mut f);
    lists(&mut f);
    sets(&mut f);
    hashes(&mut f);
    sorted_sets(&mut f);
    for db in [3, 15] {
        f.words(&format!("SELECT {db}"));
        f.words("SET same other");
        f.words(&format!("HSET only:{db} f v"));
    }
    f.words("SELECT 0");
    f.send();
}

fn strings(f: &mut Filler<'_>) {
    for n in 0..1000 {
        f.words(&format!("SET many:{n} value-{n}"));
    }
    for (i, n) in [
        "0",
        "-1",
        "127",
        "-128",
        "128",
        "32767",
        "-32768",
        "32768",
        "2147483647",
        "-2147483648",
    ]
    .iter()
    .enumerate()
    {
        f.words(&format!("SET int:{i} {n}"));
    }
    for n in [
        "2147483648",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "012",
        "-0",
        "1.5",
    ] {
        f.words(&format!("SET text:{n} {n}"));
    }
    f.push(&["SET", "empty", ""]);
    f.push(&["SET", "", "of the empty key"]);
    let all_bytes: Vec<u8> = (0..=255).collect();
    f.push(&[&b"SET"[..], b"binary", &all_bytes]);
    f.push(&[&b"SET"[..], &all_bytes, b"of a binary key"]);
    // Lengths around every border of the length encoding; compressible and not.
    for len in [1, 20, 44, 45, 63, 64, 65, 16383, 16384, 100_000] {
        f.push(&["SET".into(), format!("same:{len}"), "s".repeat(len)]);
        f.push(&[
            b"SET".to_vec(),
            format!("noise:{len}").into_bytes(),
            noise(len),
        ]);
    }
    f.push(&[b"SET".to_vec(), b"big".to_vec(), noise(5_000_000)]);
    f.words(&format!("SET expires v PXAT {LATER_MILLIS}"));
    f.words(&format!("SET expires:int 12 PXAT {}", LATER_MILLIS + 1));
}

fn lists(f: &mut Filler<'_>) {
    f.words("RPUSH list:small a b -5 300 70000 5000000000 9223372036854775807");
    f.push(&["RPUSH", "list:empty-element", "", "x", ""]);
    f.many(
        "RPUSH list:large",
        (0..5000).map(|n| format!("element-{n}")),
    );
    f.many(
        "RPUSH list:ints",
        (-2000..2000).map(|n| (n * 1009).to_string()),
    );
    f.push(&[
        b"RPUSH".to_vec(),
        b"list:plain-nodes".to_vec(),
        noise(20_000),
        b"small".to_vec(),
        vec![b'z'; 70_000],
    ]);
    f.words(&format!("PEXPIREAT list:small {LATER_MILLIS}"));
}

fn sets(f: &mut Filler<'_>) {
    f.words("SADD set:int16 1 2 -300");
    f.words("SADD set:int32 1 70000 -70000");
    f.words("SADD set:int64 1 5000000000 -9223372036854775808");
    f.words("SADD set:words a b c 1");
    f.many("SADD set:large-ints", (0..600).map(|n| (n * 3).to_string()));
    f.many("SADD set:large", (0..5000).map(|n| format!("member-{n}")));
    f.push(&["SADD", "set:empty-member", ""]);
    f.words(&format!("PEXPIREAT set:large {LATER_MILLIS}"));
}

fn hashes(f: &mut Filler<'_>) {
    f.words("HSET hash:small f1 v1 f2 22 f3 -5000000000");
    f.push(&["HSET", "hash:empty-field", "", ""]);
    f.push(&[
        "HSET".into(),
        "hash:long-value".into(),
        "f".into(),
        "v".repeat(65),
    ]);
    f.many("HSET hash:border", (0..1024).map(|n| format!("{n}")));
    f.many("HSET hash:large", (0..6000).map(|n| format!("item-{n}")));
    f.words(&format!("PEXPIREAT hash:small {LATER_MILLIS}"));
}

fn sorted_sets(f: &mut Filler<'_>) {
    f.words("ZADD zset:small 1 a 2.5 b -inf c inf d 0.1 e 1e300 f -1e-300 g 3.141592653589793 h");
    f.words("ZADD zset:same 0 b 0 a 0 c");
    f.many(
        "ZADD zset:border",
        (0..128).flat_map(|n| [n.to_string(), format!("m{n}")]),
    );
    f.many(
        "ZADD zset:large",
        (0..3000).flat_map(|n| [format!("{}", f64::from(n) / 7.0), format!("member-{n}")]),
    );
    f.push(&[
        "ZADD".into(),
        "zset:long-member".into(),
        "1".into(),
        "m".repeat(65),
    ]);
    f.push(&["ZADD", "zset:empty-member", "1", ""]);
    f.words(&format!("PEXPIREAT zset:large {LATER_MILLIS}"));
}

/// Changes of every kind on top of [`fill`], for the increments of a log. May be run any number of times.
fn change(client: &mut Client) {
    let mut f = Filler {
        client,
        commands: Vec::new(),
    };
    for n in 0..200 {
        f.words(&format!("SET many:{n} changed-{n}"));
        f.words(&format!("DEL many:{}", n + 200));
        f.words("INCR counter");
    }
    f.words("APPEND same:20 tail");
    f.words("SETRANGE binary 3 xyz");
    f.words("INCRBYFLOAT float 0.1");
    f.words("PERSIST expires");
    f.words(&format!("PEXPIREAT int:0 {LATER_MILLIS}"));
    f.words("GETEX expires:int PERSIST");
    f.words("LPUSH list:large head");
    f.words("LTRIM list:ints 10 -10");
    f.words("LSET list:small 0 changed");
    f.words("LMOVE list:large list:moved RIGHT LEFT");
    f.words("LINSERT list:small AFTER b inserted");
    f.words("SPOP set:large 5");
    f.words("SREM set:words a");
    f.words("SADD set:int16 word");
    f.words("SMOVE set:large-ints set:moved 3");
    f.words("SUNIONSTORE set:union set:words set:int32");
    f.words("HINCRBY hash:small n 5");
    f.words("HINCRBYFLOAT hash:small x 0.5");
    f.words("HDEL hash:large item-0 item-2");
    f.words("ZINCRBY zset:small 0.7 a");
    f.words("ZPOPMIN zset:border 3");
    f.words("ZREMRANGEBYRANK zset:large 0 9");
    f.words("ZUNIONSTORE zset:union 2 zset:small set:words WEIGHTS 2 3");
    f.words("MULTI");
    f.words("SET tx:1 a");
    f.words("HSET tx:2 f v");
    f.words("SELECT 3");
    f.words("INCR tx:counter");
    f.words("SELECT 0");
    f.words("EXEC");
    f.words("RENAME tx:1 tx:renamed");
    f.words("COPY hash:small hash:copy REPLACE");
    f.words("SORT list:ints LIMIT 0 20 STORE list:sorted");
    f.words("SWAPDB 3 4");
    f.words("UNLINK noise:64");
    f.words("SET gone v PX 1");
    f.send();
    client.ok("DEL gone");
}

/// Bytes that do not compress; the same for the same length.
fn noise(len: usize) -> Vec<u8> {
    use rand::{Rng, SeedableRng};
    let mut bytes = vec![0; len];
    rand::rngs::StdRng::seed_from_u64(len as u64).fill_bytes(&mut bytes);
    bytes
}
