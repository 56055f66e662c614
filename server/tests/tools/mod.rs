//! The subcommands of the binary: what they print, and with which exit code they end.

mod log;
mod rdb;
mod verify_acks;

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// How a tool ended.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    /// Standard output as one JSON document to a line.
    fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// Checks the exit code, and that nobody had to panic for it.
    #[track_caller]
    fn with_code(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }
}

/// Runs `hardtack` with these arguments to its end.
fn hardtack<A: AsRef<OsStr>>(args: &[A]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_hardtack"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("tools print UTF-8");
    Ended {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[test]
fn help_lists_the_tools_and_a_wrong_word_is_a_mistake() {
    let help = hardtack(&["--help"]).with_code(0);
    for tool in ["rdb", "verify-acks"] {
        assert!(help.stdout.contains(&format!("\n  {tool} ")), "{help:?}");
    }
    assert!(
        hardtack(&["rdb", "dump", "--help"])
            .with_code(0)
            .stdout
            .contains("Exit codes:")
    );
    let mistake = hardtack(&["rdb", "dum"]).with_code(2);
    assert!(
        mistake.stdout.is_empty() && mistake.stderr.contains("dump"),
        "{mistake:?}"
    );
}

#[test]
fn a_reader_that_goes_away_ends_a_tool_without_a_word() {
    let file = rdb::testdata("packed_v10.rdb");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hardtack"))
        .args(["rdb", "dump"])
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    // Closed before anything is read. What fits into the pipe beforehand is little, and is written at the end.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
