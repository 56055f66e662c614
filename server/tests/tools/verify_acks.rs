//! `hardtack verify-acks`: it passes what is sound, and finds each kind of loss.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::{Ended, hardtack};
use crate::support::{Kind, Server};

const ALWAYS: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "always")];
const EVERYSEC: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "everysec")];
const NO_LOG: &[(&str, &str)] = &[("appendonly", "no")];

/// A directory with a place for a journal.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        Desk {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn args(&self, step: &str, server: &Server, options: &[&str]) -> Vec<String> {
        let journal = self.journal();
        let journal = journal.to_str().expect("a path in UTF-8");
        let port = server.port().to_string();
        let fixed = [
            "verify-acks",
            step,
            "--port",
            &port,
            "--journal",
            journal,
            "--json",
        ];
        [&fixed, options]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn run(&self, step: &str, server: &Server, options: &[&str]) -> Ended {
        hardtack(&self.args(step, server, options))
    }

    /// Checks, and returns what the check says.
    #[track_caller]
    fn check(&self, server: &Server, code: i32, options: &[&str]) -> Value {
        let ended = self.run("check", server, options).with_code(code);
        ended.json_lines().pop().expect("a report")
    }

    /// Starts to write without end, and returns when the server has a few hundred keys.
    fn begin_to_write(&self, server: &Server, options: &[&str]) -> Child {
        let child = Command::new(env!("CARGO_BIN_EXE_hardtack"))
            .args(self.args("write", server, options))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut client = server.client();
        while client.ok("DBSIZE").integer() < 300 {}
        child
    }
}

fn number(report: &Value, name: &str) -> u64 {
    report[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {name}: {report}"))
}

/// The numbers of what is wrong.
fn wrongs(report: &Value) -> [u64; 5] {
    ["missing", "reordered", "torn", "wrong", "phantom"].map(|name| number(report, name))
}

/// Kills the server under the tool's writes; after a restart everything must be there.
fn killed_server_passes(kind: Kind, directives: &[(&str, &str)]) {
    let mut server = Server::start(kind, directives);
    let desk = Desk::new();
    let mut tool = desk.begin_to_write(&server, &["--pipeline", "5"]);
    server.kill();
    assert!(tool.wait().expect("its end").success());
    server.restart();
    let report = desk.check(&server, 0, &[]);
    assert_eq!(wrongs(&report), [0; 5], "{report}");
    assert!(
        number(&report, "acked") > 0 && number(&report, "unanswered") > 0,
        "{report}"
    );
    assert!(number(&report, "present") >= number(&report, "acked"));
    for (name, value) in [
        ("restarted", true),
        ("connection_lost", true),
        ("journal_complete", true),
        ("fine", true),
    ] {
        assert_eq!(report[name], value, "{name}: {report}");
    }
    assert_eq!(report["server"]["appendfsync"], directives[1].1);
}

#[test]
fn a_killed_hardtack_passes_under_always() {
    killed_server_passes(Kind::Hardtack, ALWAYS);
}

#[test]
fn a_killed_hardtack_passes_under_everysec() {
    killed_server_passes(Kind::Hardtack, EVERYSEC);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn a_killed_redis_passes_under_always() {
    killed_server_passes(Kind::Redis, ALWAYS);
}

/// A server that keeps nothing.
fn forgetful_server_is_found_out(kind: Kind) {
    let mut server = Server::start(kind, NO_LOG);
    let desk = Desk::new();
    let written = desk
        .run("write", &server, &["--ops", "400", "--clients", "4"])
        .with_code(0);
    assert_eq!(number(&written.json_lines()[0], "acked"), 400);
    server.kill();
    server.restart();
    let report = desk.check(&server, 1, &[]);
    assert_eq!(wrongs(&report), [400, 0, 0, 0, 0], "{report}");
    let oldest = number(&report, "oldest_missing_ms");
    assert!(oldest >= number(&report, "newest_missing_ms"));
    assert_eq!(report["examples"].as_array().map(Vec::len), Some(10));
    desk.check(&server, 0, &["--allow-loss-ms", &oldest.to_string()]);
    if oldest > 0 {
        desk.check(&server, 1, &["--allow-loss-ms", &(oldest - 1).to_string()]);
    }
}

#[test]
fn a_server_without_a_log_is_found_out() {
    forgetful_server_is_found_out(Kind::Hardtack);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn a_redis_without_a_log_is_found_out() {
    forgetful_server_is_found_out(Kind::Redis);
}

/// A server with 100 records of one kind from one client, and what they begin with.
struct Spoilt {
    server: Server,
    desk: Desk,
    prefix: String,
}

impl Spoilt {
    fn new(mode: &str) -> Spoilt {
        let server = Server::start(Kind::Hardtack, NO_LOG);
        let desk = Desk::new();
        let options = [
            "--mode",
            mode,
            "--ops",
            "100",
            "--clients",
            "1",
            "--pipeline",
            "3",
        ];
        let ended = desk.run("run", &server, &options).with_code(0);
        let report = ended.json_lines().pop().expect("a report");
        assert_eq!(wrongs(&report), [0; 5]);
        assert_eq!(
            (number(&report, "acked"), number(&report, "present")),
            (100, 100)
        );
        assert_eq!(
            (&report["restarted"], &report["connection_lost"]),
            (&json!(false), &json!(false))
        );
        let run = report["run"].as_str().expect("its number");
        let prefix = format!("verify-acks:{run}:0:");
        Spoilt {
            server,
            desk,
            prefix,
        }
    }

    /// Spoils the server by one command, in which `KEY:` stands for what keys begin with, looks what becomes of the
    /// report, and takes it back by another one.
    #[track_caller]
    fn finds(&self, change: &str, found: [u64; 5], back: &str) {
        let mut client = self.server.client();
        client.ok(&change.replace("KEY:", &self.prefix));
        let report = self.desk.check(&self.server, 1, &[]);
        assert_eq!(wrongs(&report), found, "{change}: {report}");
        client.ok(&back.replace("KEY:", &self.prefix));
        assert_eq!(
            wrongs(&self.desk.check(&self.server, 0, &[])),
            [0; 5],
            "after {back}"
        );
    }
}

#[test]
fn lost_wrong_and_foreign_keys_are_told_apart() {
    let spoilt = Spoilt::new("set");
    spoilt.finds("RENAME KEY:2 aside", [1, 1, 0, 0, 0], "RENAME aside KEY:2");
    spoilt.finds(
        "RENAME KEY:100 aside",
        [1, 0, 0, 0, 0],
        "RENAME aside KEY:100",
    );
    spoilt.finds("SET KEY:101 v", [0, 0, 0, 0, 1], "DEL KEY:101");
    spoilt.finds("SET KEY:odd v", [0, 0, 0, 0, 1], "DEL KEY:odd");
    spoilt
        .server
        .client()
        .ok(&"COPY KEY:2 aside".replace("KEY:", &spoilt.prefix));
    spoilt.finds("APPEND KEY:2 x", [0, 0, 0, 1, 0], "RENAME aside KEY:2");
}

#[test]
fn torn_transactions_are_found() {
    let spoilt = Spoilt::new("multi");
    spoilt.finds(
        "RENAME KEY:2:1 aside",
        [0, 0, 1, 0, 0],
        "RENAME aside KEY:2:1",
    );
    spoilt.finds("SET KEY:2:3 v", [0, 0, 0, 0, 1], "DEL KEY:2:3");
}

#[test]
fn counters_that_are_too_low_or_too_high_are_found() {
    let spoilt = Spoilt::new("incr");
    spoilt.finds(
        "DECRBY KEY:counter 7",
        [7, 0, 0, 0, 0],
        "INCRBY KEY:counter 7",
    );
    spoilt.finds(
        "INCRBY KEY:counter 7",
        [0, 0, 0, 0, 7],
        "DECRBY KEY:counter 7",
    );
}

#[test]
fn lists_with_holes_or_in_another_order_are_found() {
    let spoilt = Spoilt::new("list");
    spoilt.finds(
        "LMOVE KEY:list KEY:list LEFT RIGHT",
        [0, 1, 0, 0, 0],
        "LMOVE KEY:list KEY:list RIGHT LEFT",
    );
    spoilt.finds(
        "LMOVE KEY:list aside LEFT LEFT",
        [1, 1, 0, 0, 0],
        "LMOVE aside KEY:list LEFT LEFT",
    );
    spoilt.finds(
        "LMOVE KEY:list aside RIGHT LEFT",
        [1, 0, 0, 0, 0],
        "LMOVE aside KEY:list LEFT RIGHT",
    );
    spoilt.finds("RPUSH KEY:list foreign", [0, 0, 0, 1, 0], "RPOP KEY:list");
    let key = format!("{}list", spoilt.prefix);
    let last = spoilt.server.client().call(&["LINDEX", &key, "-1"]).text();
    spoilt.finds(
        &format!("RPUSH KEY:list {last}"),
        [0, 0, 0, 0, 1],
        "RPOP KEY:list",
    );
}

/// The journal of a tool that was killed says what the tool knew.
#[test]
fn a_killed_tool_leaves_a_journal_that_can_be_checked() {
    let server = Server::start(Kind::Hardtack, NO_LOG);
    let desk = Desk::new();
    let mut tool = desk.begin_to_write(&server, &["--pipeline", "2"]);
    tool.kill().expect("a signal");
    tool.wait().expect("its end");
    let report = desk.check(&server, 0, &[]);
    assert_eq!(wrongs(&report), [0; 5], "{report}");
    assert_eq!(report["journal_complete"], false);
    assert!(number(&report, "acked") > 0);
}

#[test]
fn a_journal_that_was_changed_is_refused() {
    let server = Server::start(Kind::Hardtack, NO_LOG);
    let desk = Desk::new();
    desk.run("write", &server, &["--ops", "50"]).with_code(0);
    let sound = fs::read(desk.journal()).expect("the journal");
    let refused = |bytes: &[u8], reason: &str| {
        fs::write(desk.journal(), bytes).expect("the journal");
        let ended = desk.run("check", &server, &[]).with_code(2);
        assert!(
            ended.stderr.contains(reason) && ended.stdout.is_empty(),
            "{ended:?}"
        );
    };
    let mut changed = sound.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    refused(&changed, "damaged");
    refused(&[&sound[..], b"x\0\0\0\x02"].concat(), "damaged");
    refused(b"something else", "no journal");
    refused(&sound[..20], "nothing was written");
    // What a full disk leaves can be used.
    fs::write(desk.journal(), &sound[..sound.len() - 3]).expect("the journal");
    let report = desk.check(&server, 0, &[]);
    assert_eq!(number(&report, "journal_torn_bytes"), 14);
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    let mut server = Server::start(Kind::Hardtack, NO_LOG);
    let desk = Desk::new();
    server.client().ok("CONFIG SET maxmemory 1");
    let refused = desk.run("write", &server, &["--ops", "20"]).with_code(2);
    assert!(refused.stderr.contains(r#""OOM": 20"#), "{refused:?}");
    // The journal of that is there, has nothing to check, and is not written over.
    let nothing = desk.run("check", &server, &[]).with_code(2);
    assert!(nothing.stderr.contains("nothing to check"), "{nothing:?}");
    let again = desk.run("write", &server, &["--ops", "20"]).with_code(2);
    assert!(
        again.stderr.contains("can't create the journal"),
        "{again:?}"
    );
    server.client().ok("CONFIG SET maxmemory 0");
    fs::remove_file(desk.journal()).expect("the journal");
    desk.run("write", &server, &["--ops", "20", "--prefix", "a*"])
        .with_code(2);
    desk.run("write", &server, &["--ops", "20"]).with_code(0);

    server.client().ok("CONFIG SET requirepass secret");
    let ended = desk.run("check", &server, &["--wait", "0"]).with_code(2);
    assert!(ended.stderr.contains("NOAUTH"), "{ended:?}");
    desk.run("check", &server, &["--wait", "0", "-a", "secret"])
        .with_code(0);
    server.kill();
    let ended = desk
        .run("check", &server, &["--wait", "0", "-a", "secret"])
        .with_code(2);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}
