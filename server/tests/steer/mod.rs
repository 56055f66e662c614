//! Commands that steer the server: shutdowns that are called off, pauses, transactions that cannot run, settings.

use std::time::{Duration, Instant};

use crate::support::{Client, Kind, Reply, Server};

/// How long the server may take for what it does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(directives: &[(&str, &str)]) -> Server {
    let mut all = vec![("io-threads", "1")];
    all.extend(directives);
    Server::start(Kind::Hardtack, &all)
}

fn error(reply: Reply) -> String {
    match reply {
        Reply::Error(text) => text,
        other => panic!("an error was expected: {other}"),
    }
}

fn call(client: &mut Client, line: &str) -> Reply {
    client.call(&line.split(' ').collect::<Vec<_>>())
}

#[test]
fn exec_that_cannot_run_ends_the_transaction() {
    let server = start(&[]);
    let mut client = server.client();
    let aborted =
        "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command";
    client.ok("WATCH key");
    client.ok("MULTI");
    client.ok("SET key 1");
    assert_eq!(error(call(&mut client, "EXEC 1")), aborted);
    assert_eq!(error(call(&mut client, "EXEC")), "ERR EXEC without MULTI");
    assert_eq!(error(call(&mut client, "EXEC 1 2")), aborted);
    assert_eq!(client.ok("EXISTS key").integer(), 0);
    // The key is not watched any more.
    server.client().ok("SET key 2");
    client.ok("MULTI");
    client.ok("GET key");
    assert_eq!(client.ok("EXEC").elements().len(), 1);
    let errors = client.ok("INFO errorstats").text();
    assert!(errors.contains("errorstat_EXECABORT:count=2"), "{errors}");
}

#[test]
fn flushall_in_a_transaction_writes_the_rdb_file() {
    let mut server = start(&[("appendonly", "no")]);
    let mut client = server.client();
    client.ok("SET key 1");
    client.ok("SAVE");
    client.call(&["CONFIG", "SET", "save", "3600 1000"]);
    client.ok("MULTI");
    client.ok("FLUSHALL");
    client.ok("SET other 1");
    client.ok("EXEC");
    server.kill();
    server.restart();
    assert_eq!(server.client().ok("EXISTS key").integer(), 0);
}

#[test]
fn with_the_log_on_the_rdb_file_is_written_at_the_end_only_if_asked_for() {
    let mut server = start(&[("save", "3600 1"), ("appendonly", "yes")]);
    let file = server.data_dir().join("dump.rdb");
    for (number, words, is_written) in [(1, "SHUTDOWN", false), (2, "SHUTDOWN SAVE", true)] {
        server.client().ok(&format!("SET key{number} value"));
        let words: Vec<&str> = words.split(' ').collect();
        server.client().send(&words).expect("send");
        assert!(server.wait_for_end().success());
        assert_eq!(file.exists(), is_written, "{words:?}");
        server.restart();
        assert_eq!(server.client().ok("DBSIZE").integer(), number);
    }
}

#[test]
fn without_a_log_writes_are_refused_after_a_snapshot_that_failed() {
    let server = start(&[("save", "3600 1"), ("appendonly", "no")]);
    let mut client = server.client();
    client.ok("SET key 1");
    // The file cannot take the place of a directory.
    let in_the_way = server.data_dir().join("dump.rdb");
    std::fs::create_dir(&in_the_way).expect("a directory");
    assert!(call(&mut client, "SAVE").is_error());
    assert!(error(call(&mut client, "SET key 2")).starts_with("MISCONF "));
    assert_eq!(client.ok("GET key").text(), "1");
    client.ok("CONFIG SET stop-writes-on-bgsave-error no");
    client.ok("SET key 2");
    client.ok("CONFIG SET stop-writes-on-bgsave-error yes");
    assert!(call(&mut client, "SET key 3").is_error());
    client.call(&["CONFIG", "SET", "save", ""]);
    client.ok("SET key 3");
    client.call(&["CONFIG", "SET", "save", "3600 1"]);
    assert!(call(&mut client, "SET key 4").is_error());
    std::fs::remove_dir(&in_the_way).expect("removed");
    client.ok("SAVE");
    client.ok("SET key 4");
}

#[test]
fn a_shutdown_that_waits_is_called_off() {
    let server = start(&[]);
    let (mut ending, mut other) = (server.client(), server.client());
    let none = "ERR No shutdown in progress.";
    assert_eq!(error(call(&mut other, "SHUTDOWN ABORT")), none);
    other.ok("SET key 1");
    // A minute for each key: the file is not written before it is called off.
    other.ok("CONFIG SET rdb-key-save-delay 60000000");
    ending.send(&["SHUTDOWN", "SAVE"]).expect("send");
    while call(&mut other, "SHUTDOWN ABORT").is_error() {}
    let told = error(ending.receive().expect("a reply"));
    assert_eq!(told, "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(error(call(&mut other, "SHUTDOWN ABORT")), none);
    other.ok("CONFIG SET rdb-key-save-delay 0");
    assert_eq!(other.ok("INCR key").integer(), 2);
}

#[test]
fn keys_that_are_due_stay_while_writes_are_paused() {
    let server = start(&[]);
    let mut client = server.client();
    client.ok("SET due 1 PX 1");
    client.ok("CLIENT PAUSE 100000 WRITE");
    while call(&mut client, "GET due") != Reply::Nil {}
    assert_eq!(client.ok("EXISTS due").integer(), 0);
    let removed = client.ok("DBSIZE").integer();
    let expired = client.ok("INFO stats").text();
    // It may have been removed before the pause began; then that was counted.
    assert_eq!(
        removed == 0,
        expired.contains("expired_keys:1"),
        "{expired}"
    );
    client.ok("CLIENT UNPAUSE");
    call(&mut client, "GET due");
    assert_eq!(client.ok("DBSIZE").integer(), 0);
}

/// Shorter than the server looks at its clock: it has to notice nevertheless that it is over.
#[test]
fn keys_expire_in_the_background_again_after_a_short_pause() {
    let server = start(&[]);
    let mut client = server.client();
    for n in 0..10 {
        client.ok(&format!("SET due{n} 1 PX 1"));
        client.ok("CLIENT PAUSE 1 WRITE");
        let began = Instant::now();
        while client.ok("DBSIZE").integer() > 0 {
            assert!(began.elapsed() < PATIENCE, "nothing expires any more");
        }
    }
}

#[test]
fn the_directory_and_the_bounds_of_the_log_can_be_changed() {
    let server = start(&[("appendonly", "no"), ("enable-protected-configs", "yes")]);
    let mut client = server.client();
    client.ok("SET key 1");
    let other = server.data_dir().join("other");
    let path = other.to_str().expect("a path");
    assert!(client.call(&["CONFIG", "SET", "dir", path]).is_error());
    std::fs::create_dir(&other).expect("a directory");
    assert!(!client.call(&["CONFIG", "SET", "dir", path]).is_error());
    client.ok("SAVE");
    assert!(other.join("dump.rdb").exists());
    client.ok("CONFIG SET max-unsynced-ms 500 unsynced-wait-ms 100 log-segment-bytes 1mb");
    client.ok("CONFIG SET appendonly yes");
    while client
        .ok("INFO persistence")
        .text()
        .contains("aof_rewrite_in_progress:1")
    {}
    assert!(other.join("appendonlydir/appendonly.aof.manifest").exists());
    let refusal = error(client.call(&["CONFIG", "SET", "dir", ".."]));
    assert!(refusal.contains("turn it off first"), "{refusal}");
    client.ok("CONFIG SET max-unsynced-ms 700");
    client.ok("SET key 2");
}

/// Without a log the last snapshot is all that remains.
#[test]
fn what_is_acknowledged_while_the_last_snapshot_is_written_is_in_it() {
    let mut server = start(&[
        ("appendonly", "no"),
        ("save", "3600 1"),
        ("enable-debug-command", "yes"),
    ]);
    let mut client = server.client();
    client.ok("DEBUG POPULATE 200000");
    let mut writer = server.client();
    writer.ok("INCR count");
    let writes = std::thread::spawn(move || {
        let mut acknowledged = 1;
        while let Ok(Reply::Integer(count)) = writer.try_call(&["INCR", "count"]) {
            acknowledged = count;
        }
        acknowledged
    });
    server.stop_cleanly();
    let acknowledged = writes.join().unwrap();
    server.restart();
    let kept = server.client().ok("GET count").text();
    assert!(
        kept.parse::<i64>().unwrap() >= acknowledged,
        "{kept} of {acknowledged}"
    );
}
