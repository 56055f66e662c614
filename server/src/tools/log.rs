//! `hardtack log`: the commands of a log, as they stand there or as they are written.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use hardtack_storage::Lsn;
use hardtack_storage::disk::{Disk, RealDisk};
use hardtack_storage::inspect::{self, LoggedCommand, Stretch, Tail};
use hardtack_storage::log::{Followed, LogFiles};
use serde_json::{Value, json};

use super::bytes::{Json, Quoted};
use super::out::{self, Out};
use super::progress::{Progress, Unit};
use super::time::{self, Shown};
use super::{Failure, Verdict};

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Shows the commands of a log
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the commands that the log's files hold, with their positions and times
    ///
    /// The files are those that the manifest names, also the ones below the base that are kept as history. A line has the
    /// position of the command's first byte, the time at which it was written, the database, and the command; commands of
    /// other servers have no time. A server may be at work on the directory.
    Dump(Dump),
    /// Prints commands as a server writes them, until it is interrupted
    ///
    /// Goes on across new segments, compactions and restarts of the server. What was removed before it could be read, or
    /// never was in the files because the log had to be healed, is told on standard error as a gap.
    Tail(Follow),
}

/// A place: an LSN or a time.
#[derive(Clone, Copy, Debug)]
struct Place(inspect::Place);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let lsn = text.parse().map_err(|_| "no LSN is as large as that")?;
            return Ok(Place(inspect::Place::Lsn(Lsn(lsn))));
        }
        match time::parse(text) {
            Some(time) => Ok(Place(inspect::Place::Time(time))),
            None => {
                Err("neither an LSN nor a time such as 2026-11-22T11:20:33Z or @1795346433".into())
            }
        }
    }
}

#[derive(Debug, Args)]
struct What {
    /// The data directory, or the log's own
    dir: PathBuf,
    /// The first command to show: from this LSN, or written at this time (UTC), or later
    #[arg(long, value_name = "LSN|TIME")]
    from: Option<Place>,
    /// Only commands that name a key which matches, or that work on whole databases
    #[arg(long, value_name = "GLOB")]
    keys: Option<String>,
    /// One JSON object per line instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  everything asked for was shown
  1  the log is damaged: what stands before the damage was shown
  2  it could not be done: there is no log, or it does not reach back so far")]
pub struct Dump {
    #[command(flatten)]
    what: What,
    /// The last command to show: it ends at this LSN, or was written at this time (UTC), or before
    #[arg(long, value_name = "LSN|TIME")]
    to: Option<Place>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  1  the log is damaged: what stands before the damage was shown
  2  it could not be done: there is no log, or it does not reach back so far")]
pub struct Follow {
    #[command(flatten)]
    what: What,
}

/// Runs the tool.
pub fn run(command: Command) -> Result<Verdict, Failure> {
    match command {
        Command::Dump(dump) => run_dump(dump),
        Command::Tail(follow) => run_tail(follow),
    }
}

/// Opens the one log that the directory holds.
pub fn open_log(dir: &Path) -> Result<LogFiles, Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let failed = |error: &dyn fmt::Display| Failure::new(error.to_string());
    let logs = inspect::logs_in(&*disk, dir).map_err(|error| failed(&error))?;
    match &logs[..] {
        [(dir, prefix)] => LogFiles::open(disk, dir, prefix).map_err(|error| failed(&error)),
        [] => Err(Failure::new(format!("{} holds no log", dir.display()))),
        _ => Err(Failure::new(format!(
            "{} holds more than one log",
            dir.display()
        ))),
    }
}

fn run_dump(dump: Dump) -> Result<Verdict, Failure> {
    let log = open_log(&dump.what.dir)?;
    let stretch = Stretch {
        from: dump.what.from.map(|place| place.0),
        to: dump.to.map(|place| place.0),
    };
    let bytes = log.files().into_iter();
    let bytes = bytes.filter_map(|file| std::fs::metadata(&file.path).ok());
    let total = bytes.map(|info| info.len()).sum();
    let progress = Progress::beside_lines("Reading", total, Unit::Bytes);
    let mut first = None;
    let mut lines = Lines::new(&dump.what);
    let outcome = inspect::commands(&log, stretch, &mut |command| {
        let first = *first.get_or_insert(command.lsn);
        progress.set(command.lsn.0.saturating_sub(first.0));
        lines.take(command)
    });
    drop(progress);
    lines.flush();
    lines.finish()?;
    verdict(outcome.map(drop))
}

fn verdict(outcome: Result<(), inspect::StreamError>) -> Result<Verdict, Failure> {
    use inspect::StreamError;
    match outcome {
        Ok(()) => Ok(Verdict::Fine),
        Err(error @ (StreamError::Unreadable(_) | StreamError::Follow(_))) => {
            out::note(format_args!("hardtack: {error}"));
            Ok(Verdict::NotFine)
        }
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

fn run_tail(follow: Follow) -> Result<Verdict, Failure> {
    let what = follow.what;
    let log = open_log(&what.dir)?;
    let mut tail = match Tail::new(&log, what.from.map(|place| place.0)) {
        Ok(tail) => tail,
        Err(error) => return verdict(Err(error)),
    };
    let mut lines = Lines::new(&what);
    loop {
        let outcome = tail.next(&mut |command| lines.take(command));
        lines.flush();
        if lines.failure.is_some() {
            lines.finish()?;
        }
        match outcome {
            Ok(Followed::More) => {}
            Ok(Followed::Nothing) => thread::sleep(POLL),
            Ok(Followed::Gap { from, to }) => {
                out::note(format_args!("hardtack: gap: LSN {from} to {to}"));
            }
            Err(error) => return verdict(Err(error)),
        }
    }
}

/// Prints commands.
struct Lines {
    out: Out,
    keys: Option<Vec<u8>>,
    json: bool,
    failure: Option<Failure>,
}

impl Lines {
    fn new(what: &What) -> Lines {
        Lines {
            out: Out::new(),
            keys: what.keys.clone().map(String::into_bytes),
            json: what.json,
            failure: None,
        }
    }

    fn take(&mut self, command: &LoggedCommand<'_>) -> ControlFlow<()> {
        let shown = match &self.keys {
            None => true,
            Some(keys) => command.concerns(keys),
        };
        if !shown {
            return ControlFlow::Continue(());
        }
        let printed = match self.json {
            true => self.out.json(&json_of(command)),
            false => self.out.line(Text(command)),
        };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn flush(&mut self) {
        if self.failure.is_none() {
            self.failure = self.out.flush().err();
        }
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// A command in text.
pub struct Text<'c, 'a>(pub &'c LoggedCommand<'a>);

impl fmt::Display for Text<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self.0;
        write!(f, "{} ", command.lsn)?;
        match command.time {
            Some(time) => write!(f, "{}", Shown(time))?,
            None => f.write_str("-")?,
        }
        write!(f, " [{}]", command.db)?;
        for arg in &command.args {
            write!(f, " {}", Quoted(arg))?;
        }
        Ok(())
    }
}

/// A command in JSON.
fn json_of(command: &LoggedCommand<'_>) -> Value {
    let args = command.args.iter().map(|arg| json!(Json(arg)));
    json!({
        "lsn": command.lsn.0,
        "end_lsn": command.end.0,
        "time_ms": command.time.map(|time| time.0),
        "db": command.db,
        "transaction": command.in_transaction,
        "command": args.collect::<Vec<_>>(),
    })
}
