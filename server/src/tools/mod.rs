//! Tools beside the server: the subcommands of `hardtack`.
//!
//! What they have in common, and users rely on:
//! * `--json` gives one JSON document on standard output, or one per line where there is a stream of things;
//! * the exit code says how it went ([`Verdict`], [`Failure`]), and `--help` says what that means for the tool;
//! * errors are one line on standard error, and so is progress, on a terminal only ([`progress`]);
//! * keys and values are bytes, and are shown so that nothing is lost ([`bytes`]);
//! * when the reader of standard output goes away the tool ends without a word.
//!
//! A tool is a variant of `Tool` with its arguments, and a function that returns `Result<Verdict, Failure>`.

pub mod bytes;
mod check;
mod log;
pub mod out;
pub mod progress;
mod rdb;
mod restore;
mod time;
mod verify_acks;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// How it went, if it went at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What was looked for is there and sound: exit code 0.
    Fine,
    /// Damage, differences, losses: exit code 1.
    NotFine,
}

/// Why there is no verdict.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It could not be done, for this reason: exit code 2.
    Impossible(String),
    /// Nobody reads standard output any more: nothing is said, and the exit code is that of a program which the signal
    /// for it has ended.
    ReaderGone,
}

impl Failure {
    /// A failure with its reason.
    pub fn new(reason: impl Into<String>) -> Failure {
        Failure::Impossible(reason.into())
    }
}

/// 128 and the number of SIGPIPE.
const READER_GONE: u8 = 141;

#[derive(Debug, Parser)]
#[command(name = "hardtack", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    Check(check::Command),
    #[command(subcommand)]
    Log(log::Command),
    /// Shows, converts and compares RDB files
    #[command(subcommand)]
    Rdb(rdb::Command),
    Restore(restore::Command),
    /// Writes to a server until it crashes, and says what it has lost
    #[command(subcommand)]
    VerifyAcks(verify_acks::Command),
}

impl Tool {
    fn run(self) -> Result<Verdict, Failure> {
        match self {
            Tool::Check(command) => check::run(command),
            Tool::Log(command) => log::run(command),
            Tool::Rdb(command) => rdb::run(command),
            Tool::Restore(command) => restore::run(command),
            Tool::VerifyAcks(command) => verify_acks::run(command),
        }
    }
}

/// Whether the first argument of the command line asks for a tool.
pub fn is_tool(name: &OsStr) -> bool {
    name.to_str().is_some_and(Tool::has_subcommand)
}

/// The tools, one per line, for the server's `--help`.
pub fn list() -> String {
    let command = Cli::command();
    let tools = command.get_subcommands().map(|tool| {
        let about = tool.get_about().map(ToString::to_string);
        format!("  {:<12} {}\n", tool.get_name(), about.unwrap_or_default())
    });
    tools.collect()
}

/// Runs the tool that the arguments after the program's name ask for.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from([OsString::from("hardtack")].into_iter().chain(args)) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and mistakes alike; nobody to read them is no error.
            let _ = answer.print();
            return ExitCode::from(answer.exit_code() as u8);
        }
    };
    match cli.tool.run() {
        Ok(Verdict::Fine) => ExitCode::SUCCESS,
        Ok(Verdict::NotFine) => ExitCode::from(1),
        Err(Failure::Impossible(reason)) => {
            out::note(format_args!("hardtack: {reason}"));
            ExitCode::from(2)
        }
        Err(Failure::ReaderGone) => ExitCode::from(READER_GONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_consistent() {
        Cli::command().debug_assert();
        assert!(is_tool(OsStr::new("rdb")) && !is_tool(OsStr::new("./rdb")));
        assert!(list().contains("  rdb "));
    }

    #[test]
    fn every_tool_says_what_its_exit_codes_mean() {
        fn assert_leaves(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command
                    .get_subcommands()
                    .for_each(|sub| assert_leaves(sub, &path));
            } else {
                let help = command.get_after_help().map(ToString::to_string);
                assert!(
                    help.is_some_and(|help| help.contains("Exit codes:")),
                    "{path}"
                );
            }
        }
        assert_leaves(&Cli::command(), "");
    }
}
