//! Memory as users meet it: what `INFO memory` counts, that `maxmemory` holds, and that `snapshot-memory-limit` does.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Client, Kind, Server};

/// A field of INFO as a number.
fn info(client: &mut Client, name: &str) -> u64 {
    let text = client.ok("info everything").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line.unwrap_or_else(|| panic!("INFO has no {name}"));
    value
        .trim()
        .parse()
        .unwrap_or_else(|e| panic!("{name}:{value}: {e}"))
}

fn word(client: &mut Client, name: &str) -> String {
    let text = client.ok("info everything").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("INFO has no {name}"))
        .trim()
        .to_owned()
}

#[test]
fn empty_server_leaves_a_small_limit_to_the_data() {
    let server = Server::start(Kind::Hardtack, &[("maxmemory", "2mb")]);
    let mut client = server.client();
    for db in 0..16 {
        client.ok(&format!("select {db}"));
        client.ok("set key value");
    }
    let used = info(&mut client, "used_memory");
    assert!(used < 1 << 20, "{used} bytes for sixteen keys");
    client.ok("select 0");
    for n in 0..500 {
        client.call(&["set".into(), format!("key{n}"), "x".repeat(1000)]);
    }
    let used_for_data = info(&mut client, "used_memory") - used;
    assert!(
        (500_000..800_000).contains(&used_for_data),
        "{used_for_data}"
    );
    assert_eq!(info(&mut client, "evicted_keys"), 0);
}

#[test]
fn used_memory_follows_what_is_stored_and_freed() {
    let server = Server::start(Kind::Hardtack, &[("save", "")]);
    let mut client = server.client();
    client.ok("set warm up");
    let before = info(&mut client, "used_memory") as i64;
    for n in 0..100 {
        client.call(&["set".into(), format!("key{n}"), "x".repeat(100_000)]);
    }
    let held = info(&mut client, "used_memory") as i64 - before;
    assert!((10_000_000..13_000_000).contains(&held), "{held}");
    for n in 0..100 {
        client.ok(&format!("del key{n}"));
    }
    let left = info(&mut client, "used_memory") as i64 - before;
    // The buffers that have grown with the requests stay.
    assert!(left.abs() < 1_000_000, "{left} bytes are left");
}

/// Values of very different sizes, whole and in pieces, under every policy that evicts.
#[test]
fn limit_holds_with_small_and_large_values_under_every_policy() {
    const LIMIT: u64 = 12 << 20;
    const LARGEST: u64 = 1 << 20;
    let policies = [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ];
    let server = Server::start(Kind::Hardtack, &[("save", "")]);
    let mut client = server.client();
    let mut rng = StdRng::seed_from_u64(7);
    for policy in policies {
        client.ok("config set maxmemory 0");
        client.ok("flushall");
        client.ok("config resetstat");
        client.ok(&format!("config set maxmemory-policy {policy}"));
        client.ok(&format!("config set maxmemory {LIMIT}"));
        let mut highest = 0;
        for n in 0..600 {
            let bytes = match n % 3 {
                0 => 10,
                1 => 3_000,
                _ => rng.random_range(0..LARGEST as usize / 2),
            };
            let value = "v".repeat(bytes);
            let key = format!("key{n}");
            match n % 4 {
                0 => client.call(&["hset", &key, "field", &value]),
                1 => client.call(&["rpush", &key, "x", &value]),
                2 => client.call(&["sadd", &key, &value]),
                _ => client.call(&["set", &key, &value]),
            };
            client.ok(&format!("expire {key} 10000"));
            highest = highest.max(info(&mut client, "used_memory"));
        }
        // A command may exceed it by what it adds, before the next one makes room; and large values that were evicted
        // count until another thread has freed them.
        assert!(highest < LIMIT + 3 * LARGEST, "{policy}: {highest}");
        assert!(info(&mut client, "evicted_keys") > 100, "{policy}");
        assert!(client.ok("dbsize").integer() > 5, "{policy}");
    }
}

#[test]
fn writes_are_refused_when_nothing_can_be_evicted() {
    let server = Server::start(
        Kind::Hardtack,
        &[("maxmemory", "3mb"), ("maxmemory-policy", "noeviction")],
    );
    let mut client = server.client();
    let refused = (0..400).find(|n| {
        let reply = client.call(&["set".into(), format!("key{n}"), "x".repeat(10_000)]);
        reply.is_error() && reply.to_string().contains("OOM")
    });
    let refused = refused.expect("four MB do not fit into three");
    assert_eq!(client.ok("get key3").text().len(), 10_000);
    assert_eq!(client.ok("dbsize").integer(), refused);
    for n in 0..20 {
        client.ok(&format!("del key{n}"));
    }
    client.ok("set key0 again");
}

#[test]
fn snapshot_that_comes_to_its_limit_fails_and_says_so() {
    const LIMIT: u64 = 256 * 1024;
    let server = Server::start(
        Kind::Hardtack,
        &[("save", ""), ("snapshot-memory-limit", "256kb")],
    );
    let mut client = server.client();
    for n in 0..3000 {
        client.call(&["set".into(), format!("key{n}"), "a".repeat(200)]);
    }
    client.ok("save");
    let rdb = server.data_dir().join("dump.rdb");
    let before = std::fs::read(&rdb).expect("the RDB file");
    client.ok("config set rdb-key-save-delay 20000");
    client.ok("bgsave");
    assert_eq!(info(&mut client, "current_save_keys_total"), 3000);
    let mut most = 0;
    for n in 0..3000 {
        client.call(&["set".into(), format!("key{n}"), "b".repeat(200)]);
        if n % 100 == 0 {
            most = most.max(info(&mut client, "current_cow_size"));
        }
    }
    assert!(most > LIMIT / 8 && most <= LIMIT, "{most}");
    while info(&mut client, "rdb_bgsave_in_progress") == 1 {
        std::thread::yield_now();
    }
    assert_eq!(word(&mut client, "rdb_last_bgsave_status"), "err");
    assert!(server.log_tail().contains("snapshot-memory-limit"));
    assert!(std::fs::read(&rdb).expect("the RDB file") == before);
    client.ok("config set rdb-key-save-delay 0");
    client.ok("save");
    assert_eq!(word(&mut client, "rdb_last_bgsave_status"), "ok");
}
