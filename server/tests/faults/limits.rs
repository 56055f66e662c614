//! Limits of the system that are reached, and threads that fail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::info;
use crate::support::{Kind, Server};

/// What a new connection is told: `+PONG`, an error, or nothing at all.
fn ping(port: u16) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the system accepts");
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    // A refused connection may be closed already.
    let _ = socket.write_all(b"PING\r\n");
    let mut answer = [0; 64];
    let bytes = socket.read(&mut answer).unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..bytes]).into_owned();
    (socket, text)
}

#[test]
fn fault_40_too_many_clients_for_the_limit_on_files_are_refused_and_the_log_goes_on() {
    const FILES: u64 = 120;
    let mut server = Server::start(
        Kind::Hardtack,
        &[("appendfsync", "always"), ("log-segment-bytes", "64kb")],
    );
    server.kill();
    server.set_limits(&[(libc::RLIMIT_NOFILE, FILES)]);
    server.restart();
    let mut client = server.client();
    let possible: usize = info(&mut client, "maxclients").parse().expect("a number");
    assert!(possible > 10 && possible < FILES as usize, "{possible}");
    assert!(
        server
            .log_tail()
            .contains("The limit on open files allows no more than")
    );
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..2 * FILES {
        let (socket, answer) = ping(server.port());
        match &answer[..] {
            "+PONG\r\n" => held.push(socket),
            text => {
                assert_eq!(text, "-ERR max number of clients reached\r\n");
                refused += 1;
            }
        }
    }
    assert!(
        held.len() < possible && held.len() + 3 >= possible,
        "{} of {possible}",
        held.len()
    );
    assert!(refused > 0);
    // Files of the log and snapshots are opened nevertheless.
    for n in 0..60 {
        client.ok(&format!("SET key{n} {}", "v".repeat(5000)));
    }
    client.ok("BGREWRITEAOF");
    while info(&mut client, "aof_rewrite_in_progress") == "1" {}
    assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "ok");
    client.ok("SAVE");
    let first = held.remove(0);
    drop(first);
    // Its place is free, as soon as the server has noticed.
    while ping(server.port()).1 != "+PONG\r\n" {}
    server.kill();
    server.set_limits(&[]);
    server.restart();
    assert_eq!(server.client().ok("DBSIZE").integer(), 60);
}

#[test]
fn fault_40_too_few_files_to_serve_anybody_stop_the_start() {
    let mut server = Server::start(Kind::Hardtack, &[]);
    server.stop_cleanly();
    server.set_limits(&[(libc::RLIMIT_NOFILE, 50)]);
    let status = server.start_in_vain(|_| ());
    assert_eq!(status.code(), Some(1), "{}", server.log_tail());
    assert!(
        server.log_tail().contains("limit on open files is too low"),
        "{}",
        server.log_tail()
    );
}

/// An allocation that fails ends the process, as it would end by the kernel's hand: what was acknowledged is there.
#[test]
fn fault_39_memory_limit_of_the_system_ends_the_server_and_loses_nothing() {
    const MEMORY: u64 = 1 << 30;
    for policy in ["always", "everysec"] {
        let mut server = Server::start(Kind::Hardtack, &[("appendfsync", policy)]);
        server.kill();
        server.set_limits(&[(libc::RLIMIT_AS, MEMORY)]);
        server.restart();
        let mut client = server.client();
        let value = "v".repeat(4 << 20);
        let acked = (0..)
            .take_while(|n| {
                let reply = client.try_call(&["SET", &format!("key{n}"), &value]);
                reply.is_ok_and(|reply| !reply.is_error())
            })
            .count();
        assert!(acked > 10 && acked < 256, "{acked}");
        let status = server.wait_for_end();
        assert!(status.signal().is_some(), "{status}");
        server.set_limits(&[]);
        server.restart();
        let mut client = server.client();
        for n in 0..acked {
            assert_eq!(
                client.ok(&format!("STRLEN key{n}")).integer(),
                4 << 20,
                "key{n} of {acked}"
            );
        }
        let there = client.ok("DBSIZE").integer();
        assert!(
            there == acked as i64 || there == acked as i64 + 1,
            "{there}"
        );
    }
}

/// A panic in a thread that serves clients: the runtime would catch it, and the others would go on.
#[test]
fn a_thread_that_panics_ends_the_server_and_loses_nothing() {
    let mut server = Server::start(
        Kind::Hardtack,
        &[
            ("enable-debug-command", "yes"),
            ("appendfsync", "everysec"),
            ("io-threads", "2"),
        ],
    );
    let mut other = server.client();
    other.ok("SET key value");
    let mut client = server.client();
    assert!(client.try_call(&["DEBUG", "PANIC"]).is_err());
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
    let said = server.log();
    for part in [
        "Panic: DEBUG PANIC was asked for",
        "The thread hardtack-io-",
        "has panicked, and the process ends",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(other.try_call(&["GET", "key"]).is_err());
    server.restart();
    assert_eq!(server.client().ok("GET key").text(), "value");
}
