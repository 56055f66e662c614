//! MIGRATE and its sockets: between two servers, and with a target that does what targets should not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::{Client, Kind, Reply, Server};

fn start(directives: &[(&str, &str)]) -> Server {
    let mut all = vec![("io-threads", "1")];
    all.extend(directives);
    Server::start(Kind::Hardtack, &all)
}

fn port_of(client: &mut Client) -> String {
    let reply = client.ok("CONFIG GET port").elements();
    reply[1].text()
}

fn migrate(client: &mut Client, port: &str, key: &str, rest: &str) -> Reply {
    let mut args = vec!["MIGRATE", "127.0.0.1", port, key];
    args.extend(rest.split(' '));
    client.call(&args)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn error(reply: Reply) -> String {
    match reply {
        Reply::Error(text) => text,
        other => panic!("an error was expected: {other}"),
    }
}

/// A target that a test plays itself.
struct Puppet {
    listener: TcpListener,
}

impl Puppet {
    fn new() -> Puppet {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        Puppet { listener }
    }

    fn port(&self) -> String {
        self.listener
            .local_addr()
            .expect("its address")
            .port()
            .to_string()
    }

    fn accept(&self) -> Line {
        let (stream, _) = self.listener.accept().expect("a connection");
        Line(BufReader::new(stream))
    }
}

/// A connection to a puppet.
struct Line(BufReader<TcpStream>);

impl Line {
    /// The next request.
    fn request(&mut self) -> Vec<Vec<u8>> {
        let count = self.number(b'*');
        let args = (0..count).map(|_| {
            let mut arg = vec![0; self.number(b'$') + 2];
            self.0.read_exact(&mut arg).expect("an argument");
            arg.truncate(arg.len() - 2);
            arg
        });
        args.collect()
    }

    /// Whether another request comes without an answer to the ones before.
    fn has_more(&mut self) -> bool {
        let stream = self.0.get_ref();
        let patience = Duration::from_millis(200);
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        let more = self.0.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.0.get_ref().set_read_timeout(None).expect("none");
        more
    }

    fn number(&mut self, kind: u8) -> usize {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).expect("a line");
        assert_eq!(line[0], kind, "{line:?}");
        String::from_utf8_lossy(&line[1..])
            .trim()
            .parse()
            .expect("a number")
    }

    fn answer(&mut self, text: &str) {
        self.0
            .get_mut()
            .write_all(text.as_bytes())
            .expect("an answer");
    }
}

/// A target that reads no more until it has sent its replies must not wait for a source that reads none until it has
/// sent everything.
#[test]
fn replies_are_read_before_too_many_are_due() {
    const KEYS: usize = 2500;
    let here = start(&[]);
    let mut source = here.client();
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key{n}")).collect();
    for key in &keys {
        source.ok(&format!("SET {key} 1"));
    }
    let puppet = Puppet::new();
    let port = puppet.port();
    let target = thread::spawn(move || {
        let mut line = puppet.accept();
        let mut most = 0;
        let mut answered = 0;
        while answered < KEYS {
            let mut due = 0;
            while answered + due < KEYS && (due == 0 || line.has_more()) {
                assert_eq!(line.request()[0], b"RESTORE");
                due += 1;
            }
            line.answer(&"+OK\r\n".repeat(due));
            answered += due;
            most = most.max(due);
        }
        most
    });
    let mut args = words(&format!("MIGRATE 127.0.0.1 {port} "));
    args.extend(words("0 60000 KEYS"));
    args.extend(keys);
    assert_eq!(source.call(&args).text(), "OK");
    let most = target.join().expect("the target");
    assert!(most <= 1024, "{most} replies were due at a time");
    assert_eq!(source.ok("DBSIZE").integer(), 0);
}

#[test]
fn keys_move_with_their_value_and_time() {
    let (here, there) = (start(&[]), start(&[]));
    let (mut source, mut target) = (here.client(), there.client());
    let port = port_of(&mut target);
    source.ok("RPUSH list a b c");
    source.ok("SET string value PX 1000000");
    source.ok("SET stays 1");
    assert_eq!(
        migrate(&mut source, &port, "none", "0 1000").text(),
        "NOKEY"
    );
    assert_eq!(
        migrate(&mut source, &port, "list", "3 1000 COPY").text(),
        "OK"
    );
    assert_eq!(source.ok("EXISTS list").integer(), 1);
    let busy = error(migrate(&mut source, &port, "list", "3 1000"));
    assert_eq!(
        busy,
        "ERR Target instance replied with error: BUSYKEY Target key name already exists."
    );
    assert_eq!(source.ok("EXISTS list").integer(), 1);
    let both = "3 1000 REPLACE KEYS list none string list";
    assert_eq!(migrate(&mut source, &port, "", both).text(), "OK");
    assert_eq!(source.ok("DBSIZE").integer(), 1);
    target.ok("SELECT 3");
    assert_eq!(target.ok("LRANGE list 0 -1").elements().len(), 3);
    assert!((1..=1_000_000).contains(&target.ok("PTTL string").integer()));
    // The connection is kept, in its database; another one is used for the next.
    let stats = source.ok("INFO stats").text();
    assert!(stats.contains("migrate_cached_sockets:1"), "{stats}");
    assert_eq!(migrate(&mut source, &port, "stays", "0 1000").text(), "OK");
    target.ok("SELECT 0");
    assert_eq!(target.ok("GET stays").text(), "1");
}

#[test]
fn the_target_wants_to_know_who_comes() {
    let (here, there) = (start(&[]), start(&[]));
    let (mut source, mut target) = (here.client(), there.client());
    target.ok("CONFIG SET requirepass secret");
    let port = port_of(&mut target);
    source.ok("MSET a 1 b 2");
    let refusal = error(migrate(&mut source, &port, "a", "0 1000"));
    assert!(refusal.contains("NOAUTH"), "{refusal}");
    let refusal = error(migrate(&mut source, &port, "a", "0 1000 AUTH wrong"));
    assert!(refusal.contains("WRONGPASS"), "{refusal}");
    assert_eq!(source.ok("EXISTS a b").integer(), 2);
    assert_eq!(
        migrate(&mut source, &port, "a", "0 1000 AUTH secret").text(),
        "OK"
    );
    let with_name = "0 1000 AUTH2 default secret KEYS b";
    assert_eq!(migrate(&mut source, &port, "", with_name).text(), "OK");
    assert_eq!(target.ok("EXISTS a b").integer(), 2);
    assert_eq!(source.ok("DBSIZE").integer(), 0);
}

#[test]
fn a_target_that_is_not_there_or_hangs_up_or_is_silent_costs_nothing() {
    let server = start(&[]);
    let mut source = server.client();
    source.ok("MSET a 1 b 2");
    let closed = Puppet::new().port();
    let gone = error(migrate(&mut source, &closed, "a", "0 1000"));
    assert_eq!(
        gone,
        "IOERR error or timeout connecting to the target instance"
    );

    let puppet = Puppet::new();
    let port = puppet.port();
    let hangs_up = thread::spawn(move || {
        let mut line = puppet.accept();
        line.request();
        line.request();
        line.answer("+OK\r\n");
    });
    let broken = error(migrate(&mut source, &port, "", "0 1000 KEYS a b"));
    assert_eq!(
        broken,
        "IOERR error or timeout reading from the target instance"
    );
    hangs_up.join().expect("the target");
    // What was acknowledged has gone, the rest is here.
    assert_eq!(source.ok("EXISTS a").integer(), 0);
    assert_eq!(source.ok("GET b").text(), "2");

    let silent = Puppet::new();
    let late = error(migrate(&mut source, &silent.port(), "b", "0 20"));
    assert_eq!(
        late,
        "IOERR error or timeout reading from the target instance"
    );
    assert_eq!(source.ok("GET b").text(), "2");
}

#[test]
fn nobody_waits_for_the_target_and_a_key_that_changes_meanwhile_stays() {
    let server = start(&[]);
    let (mut source, mut other) = (server.client(), server.client());
    source.ok("MSET {x}same 1 {x}changed 1");
    let puppet = Puppet::new();
    let request = [
        "MIGRATE",
        "127.0.0.1",
        &puppet.port(),
        "",
        "0",
        "60000",
        "KEYS",
        "{x}same",
        "{x}changed",
    ];
    source.send(&request).expect("send");
    let mut line = puppet.accept();
    let sent = [line.request(), line.request()];
    assert_eq!(sent[0][1], b"{x}same");
    // Everything is under way. The keys and their slot are free.
    assert_eq!(other.ok("INCR {x}changed").integer(), 2);
    assert_eq!(other.ok("GET {x}same").text(), "1");
    other.ok("FLUSHDB ASYNC");
    other.ok("MSET {x}changed 2 other 1");
    other.ok("PING");
    line.answer("+OK\r\n+OK\r\n");
    let told = error(source.receive().expect("a reply"));
    assert!(told.contains("were changed while they were sent"), "{told}");
    assert_eq!(other.ok("GET {x}changed").text(), "2");

    // Unchanged, over the same connection, it goes.
    source.ok("SET {x}same 3");
    let request = [
        "MIGRATE",
        "127.0.0.1",
        &puppet.port(),
        "{x}same",
        "0",
        "60000",
    ];
    source.send(&request).expect("send");
    assert_eq!(line.request()[1], b"{x}same");
    other.ok("GET {x}same");
    line.answer("+OK\r\n");
    assert_eq!(source.receive().expect("a reply").text(), "OK");
    assert_eq!(other.ok("EXISTS {x}same").integer(), 0);

    // A kept connection on which the other side has hung up is replaced.
    drop(line);
    source.ok("SET {x}same 4");
    source.send(&request).expect("send");
    let mut line = puppet.accept();
    assert_eq!(line.request()[1], b"{x}same");
    line.answer("+OK\r\n");
    assert_eq!(source.receive().expect("a reply").text(), "OK");
}
