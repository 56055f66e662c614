//! Clients: what CLIENT LIST says of their buffers, which replies they get, and when they are disconnected.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support::{Client, Kind, Reply, Server};

/// How long the server may take to notice what a client has sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The fields of the line about client `id`.
fn fields(watcher: &mut Client, id: i64) -> HashMap<String, String> {
    let line = watcher.ok(&format!("CLIENT LIST ID {id}")).text();
    let pairs = line.split_whitespace().filter_map(|field| {
        let (name, value) = field.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn number(fields: &HashMap<String, String>, name: &str) -> usize {
    fields[name]
        .parse()
        .unwrap_or_else(|_| panic!("{name}={}", fields[name]))
}

/// Looks at client `id` until `is_so`.
fn wait_until(
    watcher: &mut Client,
    id: i64,
    is_so: impl Fn(&HashMap<String, String>) -> bool,
) -> HashMap<String, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let fields = fields(watcher, id);
        if is_so(&fields) {
            return fields;
        }
        assert!(Instant::now() < end, "{fields:?}");
        std::thread::yield_now();
    }
}

#[test]
fn buffers_and_queues_are_listed_with_what_they_take() {
    let server = Server::start(Kind::Hardtack, &[]);
    let (mut watcher, mut client) = (server.client(), server.client());
    let id = client.ok("CLIENT ID").integer();
    let idle = fields(&mut watcher, id);
    for name in [
        "qbuf",
        "qbuf-free",
        "argv-mem",
        "multi-mem",
        "obl",
        "oll",
        "omem",
    ] {
        assert_eq!(idle[name], "0", "{name} of an idle client");
    }
    assert_eq!(idle["multi"], "-1");

    let value = "v".repeat(10_000);
    client.ok("MULTI");
    client.call(&["SET", "k", &value]);
    let queueing = fields(&mut watcher, id);
    assert_eq!(queueing["multi"], "1");
    assert!(number(&queueing, "multi-mem") > 10_000, "{queueing:?}");
    assert!(number(&queueing, "tot-mem") > number(&idle, "tot-mem") + 10_000);
    client.ok("DISCARD");
    assert_eq!(fields(&mut watcher, id)["multi-mem"], "0");

    let half = format!("*2\r\n$4\r\nECHO\r\n$100000\r\n{}", "x".repeat(60_000));
    client.send_raw(half.as_bytes());
    let reading = wait_until(&mut watcher, id, |fields| number(fields, "qbuf") >= 60_000);
    assert!(
        number(&reading, "tot-mem") >= number(&reading, "qbuf") + number(&reading, "qbuf-free")
    );
    client.send_raw(format!("{}\r\n", "x".repeat(40_000)).as_bytes());
    assert_eq!(client.receive().expect("the echo").text().len(), 100_000);
    wait_until(&mut watcher, id, |fields| {
        fields["qbuf"] == "0" && fields["oll"] == "0"
    });

    // More than any socket takes.
    watcher.call(&["SET", "big", &"b".repeat(30_000_000)]);
    client.send(&["GET", "big"]).expect("send");
    let unread = wait_until(&mut watcher, id, |fields| fields["oll"] == "1");
    assert!(number(&unread, "omem") > 1_000_000, "{unread:?}");
    assert!(number(&unread, "obl") > 0 && number(&unread, "rbs") > 0);
    assert!(number(&unread, "rbp") >= 30_000_000, "{unread:?}");
    assert!(number(&unread, "tot-mem") > number(&unread, "omem"));
    assert_eq!(
        client.receive().expect("the value").text().len(),
        30_000_000
    );
    wait_until(&mut watcher, id, |fields| {
        fields["oll"] == "0" && fields["obl"] == "0" && fields["omem"] == "0"
    });
}

#[test]
fn what_is_sent_behind_a_blocked_command_is_answered_after_it() {
    let server = Server::start(Kind::Hardtack, &[("io-threads", "1")]);
    let (mut pusher, mut client) = (server.client(), server.client());
    let id = client.ok("CLIENT ID").integer();
    client.send(&["BLPOP", "list", "0"]).expect("send");
    wait_until(&mut pusher, id, |fields| fields["flags"] == "b");
    client.send(&["ECHO", "behind"]).expect("send");
    client.send_raw(b"*2\r\n$4\r\nECHO\r\n$5\r\nla");
    // With one thread it has been read when the next request is.
    pusher.ok("RPUSH list x");
    assert_eq!(client.receive().expect("the element").elements().len(), 2);
    assert_eq!(client.receive().expect("an echo").text(), "behind");
    client.send_raw(b"ter\r\n");
    assert_eq!(client.receive().expect("an echo").text(), "later");
}

#[test]
fn a_skipped_reply_stays_away_though_its_command_waits() {
    let server = Server::start(Kind::Hardtack, &[("io-threads", "1")]);
    let (mut pusher, mut client) = (server.client(), server.client());
    let id = client.ok("CLIENT ID").integer();
    client.send(&["CLIENT", "REPLY", "SKIP"]).expect("send");
    client.send(&["BLPOP", "list", "0"]).expect("send");
    wait_until(&mut pusher, id, |fields| fields["flags"] == "b");
    pusher.ok("RPUSH list x");
    assert_eq!(client.ok("ECHO next").text(), "next");

    // Writes that have to wait for a sync, many of them more than once.
    pusher.ok("CONFIG SET max-unsynced-ms 1");
    let skip = ["CLIENT", "REPLY", "SKIP"].map(|word| word.as_bytes().to_vec());
    for n in 0..200 {
        let set = [b"SET".to_vec(), b"key".to_vec(), n.to_string().into_bytes()];
        client
            .send_all(&[skip.to_vec(), set.to_vec()])
            .expect("send");
        assert_eq!(client.ok("ECHO next").text(), "next", "after SET {n}");
    }

    client.send(&["CLIENT", "REPLY", "OFF"]).expect("send");
    client.send_raw(b"*1\r\n!broken\r\n");
    assert!(client.receive().is_err(), "no reply, and the end");
}

#[test]
fn a_client_whose_command_takes_long_is_not_idle() {
    let server = Server::start(
        Kind::Hardtack,
        &[("timeout", "1"), ("enable-debug-command", "yes")],
    );
    let mut client = server.client();
    assert_eq!(client.ok("DEBUG SLEEP 1.5").text(), "OK");
    assert_eq!(client.ok("PING"), Reply::Simple("PONG".into()));
    assert!(client.receive().is_err(), "but it is now");
}
