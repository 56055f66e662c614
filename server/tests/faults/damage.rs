//! Damaged data stop the start: with an exit code of its own, and with words that help to decide.

use std::fs;
use std::net::TcpStream;

use super::log_files;
use crate::support::{Client, Kind, Reply, Server};

/// The exit code for damaged data.
const DAMAGED: i32 = 3;

/// A server with `always` and keys `key0` ..., each in a frame of its own, that was killed.
fn killed_server(keys: usize) -> Server {
    let mut server = Server::start(Kind::Hardtack, &[("appendfsync", "always")]);
    let mut client = server.client();
    for n in 0..keys {
        client.ok(&format!("SET key{n} {}", "v".repeat(200)));
    }
    server.kill();
    server
}

/// Starts a server in vain, and sees to it that no data is served meanwhile. Returns its last words.
fn refused(server: &mut Server) -> String {
    let status = server.start_in_vain(|port| {
        if TcpStream::connect(("127.0.0.1", port)).is_err() {
            return;
        }
        let reply = Client::connect(port).and_then(|mut client| client.try_call(&["GET", "key0"]));
        if let Ok(reply) = reply {
            assert!(
                matches!(&reply, Reply::Error(text) if text.starts_with("LOADING")),
                "{reply}"
            );
        }
    });
    let said = server.log_tail();
    assert_eq!(status.code(), Some(DAMAGED), "{said}");
    let line = said
        .lines()
        .rfind(|line| line.contains("Fatal error loading the DB"));
    line.expect("the reason").to_owned()
}

/// Where the frames of a segment begin, and at which LSNs; the birth frame first.
fn frames(text: &[u8]) -> Vec<(usize, u64)> {
    let starts = text
        .windows(7)
        .enumerate()
        .filter(|(_, window)| window == b"#F lsn=");
    let lsn = |at: usize| {
        let digits = std::str::from_utf8(&text[at + 7..at + 23]).expect("digits");
        u64::from_str_radix(digits, 16).expect("a number")
    };
    starts.map(|(at, _)| (at, lsn(at))).collect()
}

#[test]
fn fault_27_damage_stops_the_start_and_says_what_accepting_it_costs() {
    const KEYS: usize = 20;
    const GOOD: usize = 11;
    let mut server = killed_server(KEYS);
    let segment = log_files(&server, ".incr.aof").pop().expect("a segment");
    let mut text = fs::read(&segment).expect("the segment");
    let frames = frames(&text);
    assert_eq!(frames.len(), KEYS + 1);
    // Of key11, whose frame comes after the birth frame and those of the keys before it.
    let (at, lsn) = frames[1 + GOOD];
    text[at + 150] ^= 1;
    fs::write(&segment, &text).expect("write");
    let before = fs::read_dir(segment.parent().expect("a directory"))
        .expect("list")
        .count();

    let said = refused(&mut server);
    let (_, end) = *frames.last().expect("frames");
    let first = format!(
        "{} is damaged at byte {at} (LSN {lsn}, case last_segment_bad_frame_once_durable)",
        segment.display()
    );
    let good = format!("Good: LSN 0 to {lsn}, written until 2");
    for part in [
        &first[..],
        &good,
        "--recover=prefix",
        "1 file, LSN",
        "written from 2",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let lost_to: u64 = said
        .split(&format!("LSN {lsn} to "))
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|n| n.parse().ok())
        .expect("the end of the loss");
    assert!(lost_to > end, "{said}");
    // Nothing has changed, and nothing changes by trying again.
    assert_eq!(fs::read(&segment).expect("the segment"), text);
    assert_eq!(
        fs::read_dir(segment.parent().expect("a directory"))
            .expect("list")
            .count(),
        before
    );
    refused(&mut server);

    server.set_arguments(&["--recover=prefix"]);
    server.restart();
    let said = server.log_tail();
    assert!(
        said.contains("Damage to the log was accepted, at the loss of"),
        "{said}"
    );
    assert_eq!(server.client().ok("DBSIZE").integer(), GOOD as i64);
    server.client().ok("SET later 1");
    server.stop_cleanly();
    // The damage is gone.
    server.set_arguments(&[]);
    server.restart();
    assert_eq!(server.client().ok("DBSIZE").integer(), GOOD as i64 + 1);
}

#[test]
fn fault_31_32_missing_parts_stop_the_start() {
    let mut server = killed_server(3);
    let manifest = log_files(&server, ".manifest").pop().expect("a manifest");
    for path in [
        manifest,
        log_files(&server, ".base.rdb").pop().expect("a base"),
        log_files(&server, ".incr.aof").pop().expect("a segment"),
    ] {
        let text = fs::read(&path).expect("the file");
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        fs::remove_file(&path).expect("remove");
        let said = refused(&mut server);
        assert!(said.contains(name) && said.contains("missing"), "{said}");
        fs::write(&path, "").expect("write");
        let said = refused(&mut server);
        assert!(said.contains(name), "{said}");
        fs::write(&path, text).expect("write");
    }
    server.restart();
    assert_eq!(server.client().ok("DBSIZE").integer(), 3);
}

#[test]
fn fault_29_damaged_rdb_file_stops_the_start() {
    let mut server = Server::start(Kind::Hardtack, &[("appendonly", "no")]);
    server.client().ok("SET key value");
    server.client().ok("SAVE");
    server.kill();
    let rdb = server.data_dir().join("dump.rdb");
    let mut bytes = fs::read(&rdb).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&rdb, &bytes).expect("write");
    let said = refused(&mut server);
    assert!(said.contains("dump.rdb"), "{said}");
}

#[test]
fn fault_41_later_format_stops_the_start_and_names_it() {
    let mut server = killed_server(3);
    let segment = log_files(&server, ".incr.aof").pop().expect("a segment");
    let mut text = fs::read(&segment).expect("the segment");
    assert!(text.starts_with(b"#HT1 "));
    text[3] = b'2';
    fs::write(&segment, &text).expect("write");
    for arguments in [&[][..], &["--recover=prefix"]] {
        server.set_arguments(arguments);
        let said = refused(&mut server);
        assert!(said.contains("has the format HT2"), "{said}");
    }
    assert_eq!(fs::read(&segment).expect("the segment"), text);
}
