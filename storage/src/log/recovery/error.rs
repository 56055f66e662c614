//! Why a log is not opened, and what a file of it can have wrong.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::ReplayError;
use crate::log::manifest::ManifestError;
use crate::{Lsn, UnixMillis};

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
    /// The operator: a later version of this program wrote the file.
    #[error("{path} has the format {version}, which this version does not know: it knows HT1")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: String,
    },
    /// The operator: data that was safe is damaged.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
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

impl OpenError {
    /// Whether the log's files are not what they should be, so that another start would find the same: somebody has to
    /// decide.
    pub fn is_damage(&self) -> bool {
        match self {
            OpenError::Locked(_)
            | OpenError::NoLog(_)
            | OpenError::Exists(_)
            | OpenError::Io { .. } => false,
            OpenError::ManifestMissing(..)
            | OpenError::Manifest { .. }
            | OpenError::File { .. }
            | OpenError::WrongFile { .. }
            | OpenError::Version { .. }
            | OpenError::Corrupt(_)
            | OpenError::Changed { .. }
            | OpenError::Replay { .. } => true,
        }
    }
}

/// Damage to data that was safe, and what accepting it would cost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Corruption {
    /// What kind of damage it is.
    pub damage: Damage,
    /// The row of the table of start-up cases (`recovery/cases.rs`), or what stands for it in files without frames.
    pub case: &'static str,
    /// The file.
    pub path: PathBuf,
    /// File position of the damage.
    pub position: u64,
    /// What is good before it.
    pub good: Range<Lsn>,
    /// When the last good record was written, where that is known.
    pub good_until: Option<UnixMillis>,
    /// What should be there.
    pub expected: String,
    /// What is.
    pub found: String,
    /// What accepting the damage would lose; `None`: it cannot be accepted, because nothing can be kept.
    pub loss: Option<Loss>,
}

/// What is lost with a part of the log. Of what can no longer be recognised only the bytes are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Bytes of files.
    pub bytes: u64,
    /// Files that hold them.
    pub files: usize,
    /// The log ends here.
    pub from: Lsn,
    /// It went on to here at least.
    pub to: Option<Lsn>,
    /// When the first and the last recognisable record of it was written.
    pub written: Option<(UnixMillis, UnixMillis)>,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{} is damaged at byte {} (LSN {}, case {}): expected {}, found {}. Good: LSN {} to {}",
            self.damage,
            self.path.display(),
            self.position,
            self.good.end,
            self.case,
            self.expected,
            self.found,
            self.good.start,
            self.good.end,
        )?;
        if let Some(until) = self.good_until {
            write!(f, ", written until {until}")?;
        }
        match &self.loss {
            None => f.write_str(". Nothing can be kept without this file: restore it from a copy"),
            Some(loss) => write!(
                f,
                ". Starting with --recover=prefix would keep that, set the rest aside and lose {loss}"
            ),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        write!(f, "{} bytes in {} {files}", self.bytes, self.files)?;
        match self.to {
            Some(to) => write!(f, ", LSN {} to {to} at least", self.from)?,
            None => write!(f, ", from LSN {} on", self.from)?,
        }
        match self.written {
            Some((first, last)) => write!(f, ", written from {first} to {last}"),
            None => Ok(()),
        }
    }
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
