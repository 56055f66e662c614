//! Nothing stalls: while a command takes long, other connections of the same I/O thread are served.
//!
//! No clock decides here. A long command is sent, and when INFO shows it under way the probes are sent and answered; INFO
//! shows then that it is under way still. If it is not, the machine was too fast, and the test is repeated with more work.

use crate::support::{Client, Kind, Reply, Server};

/// Times that the work is made larger before the server counts as one that answers nothing meanwhile.
const ENLARGEMENTS: u32 = 4;

/// Looks at INFO before a command counts as over.
const LOOKS: usize = 2000;

fn start() -> Server {
    Server::start(
        Kind::Hardtack,
        &[("io-threads", "1"), ("proto-max-bulk-len", "100gb")],
    )
}

fn long_commands(client: &mut Client) -> usize {
    let info = client.ok("INFO clients").text();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("long_commands:"));
    line.expect("the field").trim().parse().expect("a number")
}

/// Sends what `prepare` returns for a size, on a connection of its own, and calls `probe` while it runs. Returns the
/// connection, whose reply is still to come.
fn during(
    server: &Server,
    prepare: impl Fn(&mut Client, usize) -> Vec<String>,
    probe: impl Fn(&mut Client, u64),
) -> Client {
    let mut other = server.client();
    for enlargement in 0..ENLARGEMENTS {
        let mut long = server.client();
        let id = long.ok("CLIENT ID").integer();
        let request = prepare(&mut long, 2usize.pow(enlargement));
        long.send(&request).expect("send");
        if (0..LOOKS).any(|_| long_commands(&mut other) > 0) {
            probe(&mut other, id.cast_unsigned());
            if long_commands(&mut other) > 0 {
                return long;
            }
        }
        drop(long);
    }
    panic!("no other connection was served during a long command");
}

/// LCS of two strings of one slot, which takes the product of their lengths.
fn lcs(client: &mut Client, size: usize) -> Vec<String> {
    let bytes = 30_000 * size;
    let (a, b) = ("ab".repeat(bytes / 2), "ba".repeat(bytes / 2));
    client.call(&["SET", "{long}a", &a]);
    client.call(&["SET", "{long}b", &b]);
    words("LCS {long}a {long}b LEN")
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn fill(client: &mut Client, command: &str, key: &str, count: usize) {
    for first in (0..count).step_by(1000) {
        let mut request = vec![command.to_owned(), key.to_owned()];
        request.extend((first..count.min(first + 1000)).map(|n| n.to_string()));
        client.call(&request);
    }
}

#[test]
fn others_are_served_during_a_long_command() {
    let server = start();
    let mut long = during(&server, lcs, |other, id| {
        assert_eq!(other.ok("PING").text(), "PONG");
        other.ok("SET key value");
        assert_eq!(other.ok("GET key").text(), "value");
        other.ok("LRANGE none 0 -1");
        other.ok("INFO");
        other.ok("CONFIG GET maxmemory");
        let clients = other.ok("CLIENT LIST").text();
        let line = clients
            .lines()
            .find(|line| line.starts_with(&format!("id={id} ")));
        assert!(
            line.is_some_and(|line| line.contains("cmd=lcs")),
            "{clients}"
        );
    });
    assert!(long.receive().expect("a reply").integer() >= 29_999);
}

#[test]
fn who_needs_the_same_keys_waits_alone() {
    let server = start();
    let mut waits = server.client();
    let waiting = std::cell::RefCell::new(&mut waits);
    let mut long = during(&server, lcs, |other, _| {
        let waits = &mut *waiting.borrow_mut();
        // The last one asks for a key that a blocked client's slot has, too.
        waits.send(&["APPEND", "{long}a", "x"]).expect("send");
        waits.send(&["GET", "{long}none"]).expect("send");
        for _ in 0..3 {
            other.ok("PING");
            other.ok("INCR counter");
            other.ok("MSET x 1 y 2 z 3");
        }
    });
    assert!(long.receive().expect("a reply").integer() >= 29_999);
    assert!(waits.receive().expect("a reply").integer() > 30_000);
}

#[test]
fn who_needs_every_key_waits_alone() {
    let server = start();
    let mut waits = server.client();
    waits.ok("SELECT 1");
    let waiting = std::cell::RefCell::new(&mut waits);
    let mut long = during(&server, lcs, |other, _| {
        let waits = &mut *waiting.borrow_mut();
        waits.send(&["FLUSHDB"]).expect("send");
        waits.send(&["SWAPDB", "1", "2"]).expect("send");
        other.ok("PING");
        other.ok("SET key value");
    });
    assert!(long.receive().expect("a reply").integer() >= 29_999);
    assert_eq!(waits.receive().expect("a reply").text(), "OK");
}

#[test]
fn set_algebra_sorting_and_transactions_do_not_hold_others_up() {
    let server = start();
    let ping = |other: &mut Client, _| {
        other.ok("PING");
        other.ok("SET key value");
    };
    let mut long = during(
        &server,
        |client, size| {
            fill(client, "SADD", "members", 20_000);
            let mut request = words("SUNIONSTORE all");
            request.extend(std::iter::repeat_n("members".to_owned(), 400 * size));
            request
        },
        ping,
    );
    assert_eq!(long.receive().expect("a reply"), Reply::Integer(20_000));
    let mut long = during(
        &server,
        |client, size| {
            client.ok("DEL list");
            fill(client, "RPUSH", "list", 200_000 * size);
            words("SORT list DESC STORE sorted")
        },
        ping,
    );
    assert!(long.receive().expect("a reply").integer() >= 200_000);
    let mut long = during(
        &server,
        |client, size| {
            client.ok("DEL list");
            fill(client, "RPUSH", "list", 200_000 * size);
            client.ok("MSET weight_7 -2 weight_5 -1");
            words("SORT list BY weight_* GET # LIMIT 0 2 STORE sorted")
        },
        ping,
    );
    assert_eq!(long.receive().expect("a reply"), Reply::Integer(2));
    let first = server.client().ok("LRANGE sorted 0 -1").elements();
    assert_eq!(first[0].text() + &first[1].text(), "75");
    let mut long = during(
        &server,
        |client, size| {
            let request = lcs(client, size);
            client.ok("MULTI");
            client.ok("SET {long}c 1");
            client.call(&request);
            client.ok("INCR {long}c");
            words("EXEC")
        },
        ping,
    );
    let replies = long.receive().expect("a reply").elements();
    assert_eq!(replies[2], Reply::Integer(2));
}

#[test]
fn a_client_can_be_killed_during_its_long_command() {
    let server = start();
    let mut long = during(&server, lcs, |other, id| {
        assert_eq!(other.ok(&format!("CLIENT KILL ID {id}")).integer(), 1);
        let clients = other.ok("CLIENT LIST").text();
        // Its connection's task has its turn before the next request of this one is read.
        let gone = (0..LOOKS).any(|_| {
            other.ok("PING");
            !other
                .ok("CLIENT LIST")
                .text()
                .contains(&format!("id={id} "))
        });
        assert!(gone, "{clients}");
    });
    assert!(long.receive().is_err(), "the connection is closed");
    // What the command held is free again, sooner or later.
    assert!(server.client().ok("STRLEN {long}a").integer() > 0);
}

#[test]
fn a_shutdown_does_not_wait_for_a_long_command() {
    let mut server = start();
    let mut other = server.client();
    let ended_before_it = (0..ENLARGEMENTS).any(|enlargement| {
        let mut long = server.client();
        let request = lcs(&mut long, 2usize.pow(enlargement));
        other.ok("SET key value");
        long.send(&request).expect("send");
        assert!(
            (0..LOOKS).any(|_| long_commands(&mut other) > 0),
            "it was not seen"
        );
        other.send(&["SHUTDOWN", "NOSAVE", "NOW"]).expect("send");
        assert!(other.receive().is_err(), "the server is gone");
        server.stop_cleanly();
        let given_up = server.log_tail().contains("takes long is given up");
        assert_eq!(given_up, long.receive().is_err(), "{}", server.log_tail());
        server.restart();
        other = server.client();
        assert_eq!(other.ok("GET key").text(), "value");
        given_up
    });
    assert!(ended_before_it, "every shutdown has waited");
}

/// The value of an INFO field.
fn info(client: &mut Client, section: &str, field: &str) -> String {
    let text = client.ok(&format!("INFO {section}")).text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap_or_else(|| panic!("no {field} in {text}"))
        .trim()
        .to_owned()
}

/// Looks at INFO until a compaction is over.
fn wait_for_rewrite(client: &mut Client) {
    while info(client, "persistence", "aof_rewrite_in_progress") == "1" {}
}

#[test]
fn the_log_begins_beside_the_commands() {
    let mut server = Server::start(
        Kind::Hardtack,
        &[
            ("io-threads", "1"),
            ("appendonly", "no"),
            ("appendfsync", "always"),
        ],
    );
    let mut client = server.client();
    fill(&mut client, "SADD", "set", 1000);
    client.ok("SET before 1");
    client.ok("SET counter 1");
    // A minute for each key: the base is not written before that is changed.
    client.ok("CONFIG SET rdb-key-save-delay 60000000");
    client.ok("CONFIG SET appendonly yes");
    client.ok("SET during 1");
    client.ok("INCR counter");
    client.ok("DEL before");
    assert_eq!(info(&mut client, "persistence", "aof_enabled"), "1");
    assert_eq!(
        info(&mut client, "persistence", "aof_rewrite_in_progress"),
        "1"
    );
    let manifest = server
        .data_dir()
        .join("appendonlydir/appendonly.aof.manifest");
    assert!(!manifest.exists(), "no log before it is whole");
    client.ok("CONFIG SET rdb-key-save-delay 0");
    wait_for_rewrite(&mut client);
    assert!(manifest.exists());
    client.ok("INCR counter");
    server.kill();
    // The configuration of this start says that the log is off; it is there nevertheless.
    let mut server = Server::start_on(Kind::Hardtack, &server, &[("appendonly", "yes")]);
    let mut client = server.client();
    assert_eq!(client.ok("SCARD set").integer(), 1000);
    assert_eq!(client.ok("GET counter").text(), "3");
    assert_eq!(client.ok("EXISTS before during").integer(), 1);
    server.stop_cleanly();
}

#[test]
fn a_log_that_cannot_begin_stays_off_and_leaves_the_rdb_file_valid() {
    let mut server = Server::start(Kind::Hardtack, &[("io-threads", "1"), ("appendonly", "no")]);
    let mut client = server.client();
    client.ok("SET key value");
    client.ok("SAVE");
    client.ok("CONFIG SET rdb-key-save-delay 60000000");
    client.ok("CONFIG SET appendonly yes");
    client.ok("SET key other");
    server.kill();
    let mut server = Server::start_on(Kind::Hardtack, &server, &[("appendonly", "yes")]);
    assert_eq!(server.client().ok("GET key").text(), "value");
    server.stop_cleanly();
}

#[test]
fn bgrewriteaof_with_the_log_off_writes_one_beside_the_commands() {
    let mut server = Server::start(Kind::Hardtack, &[("io-threads", "1"), ("appendonly", "no")]);
    let mut client = server.client();
    client.ok("SET key value");
    client.ok("CONFIG SET rdb-key-save-delay 60000000");
    client.ok("BGREWRITEAOF");
    client.ok("SET key other");
    assert_eq!(info(&mut client, "persistence", "aof_enabled"), "0");
    client.ok("CONFIG SET rdb-key-save-delay 0");
    wait_for_rewrite(&mut client);
    assert_eq!(info(&mut client, "persistence", "aof_enabled"), "0");
    server.kill();
    let mut server = Server::start_on(Kind::Hardtack, &server, &[("appendonly", "yes")]);
    assert_eq!(server.client().ok("GET key").text(), "value");
    server.stop_cleanly();
}
