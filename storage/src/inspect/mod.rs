//! Looking at data without serving it: what a directory or a file holds, what of it is damaged, what a start would make
//! of it.
//!
//! Everything here reads with the same code as a start does, changes nothing on the disk and takes no lock; so it works
//! beside a server. The one exception is `repair_log`, which locks the directory. `log::LogFiles` has the reading of a log's files, this module joins it with what the files mean.
//!
//! | file | what it is for |
//! |---|---|
//! | `contents` | what a file holds, counted |
//! | `stream` | the commands of a log, one by one, also as they are written |
//! | `survey` | a directory or a file, and what a start would make of it |
//!
//! Elsewhere: how that is told to people (the server's subcommands).

mod contents;
mod stream;
mod survey;
#[cfg(test)]
mod tests;

pub(crate) use contents::read_rdb_header;
pub use contents::{CommandContents, OnBytes, RdbContents, RdbDamage};
pub(crate) use stream::Splitter;
pub use stream::{LoggedCommand, OnCommand, Place, StreamError, Stretch, Tail, commands};
pub use survey::{
    FileSurvey, LogSurvey, LoneFile, LoneKind, Survey, SurveyError, Verdict, logs_in, repair_log,
    survey,
};
