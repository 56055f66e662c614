//! Looking at data without serving it: what a directory or a file holds, what of it is damaged, what a start would make
//! of it.
//!
//! Everything here reads with the same code as a start does, changes nothing on the disk and takes no lock; so it works
//! beside a server. `log::LogFiles` has the reading of a log's files, this module joins it with what the files mean.
//!
//! | file | what it is for |
//! |---|---|
//! | `contents` | what a file holds, counted |
//! | `survey` | a directory or a file, and what a start would make of it |
//!
//! Elsewhere: how that is told to people (the server's subcommands).

mod contents;
mod survey;
#[cfg(test)]
mod tests;

pub use contents::{CommandContents, OnBytes, RdbContents, RdbDamage};
pub use survey::{FileSurvey, LogSurvey, LoneFile, LoneKind, Survey, SurveyError, Verdict, survey};
