//! Why a log is not opened, and what a file of it can have wrong.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::ReplayError;
use crate::Lsn;
use crate::log::manifest::ManifestError;

/// Why a log was not opened. Sorted by who has to react.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operator: another process works on the directory.
    #[error("the data directory is in use by another process (lock file {0})")]
    Locked(PathBuf),
    /// The caller: there is no log yet.
    #[error("there is no log in {0}")]
    NoLog(PathBuf),
    /// The caller: there is a log already.
    #[error("there is a log in {0} already")]
    Exists(PathBuf),
    /// The operator: files of a log, but no manifest.
    #[error("{0} is missing, but log files are there (such as {1}): restore it, or move them away")]
    ManifestMissing(PathBuf, String),
    /// The operator: the manifest is damaged.
    #[error("{path}: {error}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// The operator: a file that the manifest names is missing or empty.
    #[error("{path} is {what}, but the manifest names it{}", system_words(.what))]
    File {
        /// The file.
        path: PathBuf,
        /// `missing` or `empty`.
        what: &'static str,
    },
    /// The operator: a file belongs to another log, or to another time of this one.
    #[error("{path} does not belong here: expected {expected}, found {found}")]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
    /// The operator: data that was safe is damaged.
    #[error(
        "{damage}{path} is damaged at byte {position} (LSN {lsn}): expected {expected}, found {found}. Starting with \
         recover=prefix would keep everything before and lose at least {lost_bytes} bytes of the log"
    )]
    Corrupt {
        /// What kind of damage it is.
        damage: Damage,
        /// The file.
        path: PathBuf,
        /// File position of the damage.
        position: u64,
        /// Position in the stream.
        lsn: Lsn,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
        /// What accepting the damage would lose, at least.
        lost_bytes: u64,
    },
    /// The operator: a sealed file is not what it was, though it may look sound.
    #[error(
        "{path} has changed since it was sealed: expected {expected}, found {found}. Put the right file back, or start \
         with recover=prefix to go on with what is there"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The operator: base or payload could not be applied.
    #[error("{path}: {error}")]
    Replay {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ReplayError,
    },
    /// The operator: the disk failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// How it failed.
        error: io::Error,
    },
}

/// What kind of damage a file of the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Bytes that were written with checksums are not what was written.
    Checked,
    /// Among commands without checksums there is something that is no command.
    NoCommand,
    /// A file of commands without checksums ends inside a command or a transaction.
    CutOff,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Known phrases: what watches Redis's log lines knows these.
        f.write_str(match self {
            Damage::Checked => "",
            Damage::NoCommand => "Bad file format reading the append only file: ",
            Damage::CutOff => "Unexpected end of file reading the append only file: ",
        })
    }
}

/// What watches log lines knows these.
fn system_words(what: &str) -> &'static str {
    match what {
        "missing" => ": No such file or directory",
        _ => "",
    }
}

pub(in crate::log) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |error| OpenError::Io { path, error }
}
