//! `hardtack rdb`: RDB files from outside, of any server.

mod convert;
mod diff;
mod dump;
mod input;
mod value;

use clap::Subcommand;

use super::{Failure, Verdict};

/// What to do with RDB files.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the keys and values of an RDB file as JSON, one key per line
    Dump(dump::Args),
    /// Writes an RDB file anew, in another version of the format
    Convert(convert::Args),
    /// Compares two RDB files key by key
    Diff(diff::Args),
}

/// Does it.
pub fn run(command: Command) -> Result<Verdict, Failure> {
    match command {
        Command::Dump(args) => dump::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Diff(args) => diff::run(&args),
    }
}
