//! `hardtack restore`: a directory as of an earlier point.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use hardtack_storage::Lsn;
use hardtack_storage::disk::{Disk, RealDisk};
use hardtack_storage::engine::{Point, Restored, restore};
use hardtack_storage::log::LogFiles;
use serde_json::json;

use super::log::open_log;
use super::out::{self, Out};
use super::progress::{Progress, Unit};
use super::time::{self, Shown};
use super::{Failure, Verdict};
use crate::util::quote;

/// So many of the commands that were looked for are listed.
const MATCHES_SHOWN: usize = 10;

/// Makes a new directory with the data as of an earlier point
///
/// A base that is old enough is loaded, and the log's commands from there on are replayed up to the point. Bases are the
/// log's own, those that it keeps with its history (log-retention-bytes), RDB files in the data directory that belong to
/// the log, and one that --base names. A transaction is never halved: the point is moved back to where one ends, and the
/// point that was reached is printed.
///
/// DIR is not changed, and a server may be at work on it. Hardtack starts on NEWDIR, and so does redis-server with
/// `appendonly yes`. Keys whose time to live has run out meanwhile go as soon as one does.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("point").required(true),
    after_help = "\
Exit codes:
  0  NEWDIR holds the data as of the point
  1  something on the way to the point is damaged: nothing was restored
  2  it could not be done: history does not reach back so far, the point is not in the log, NEWDIR is not empty"
)]
pub struct Command {
    /// The data directory, or the log's own
    dir: PathBuf,
    /// Everything that ends at this position or before
    #[arg(long, value_name = "LSN", group = "point")]
    to_lsn: Option<u64>,
    /// Everything that was written at this time (UTC) or before
    #[arg(long, value_name = "TIME", group = "point", value_parser = parse_time)]
    to_time: Option<hardtack_storage::UnixMillis>,
    /// Everything before the last command that begins with these words, such as FLUSHALL or 'DEL user:*'
    #[arg(long, value_name = "COMMAND", group = "point", value_parser = parse_words)]
    before: Option<Words>,
    /// The new directory: not there yet, or empty
    #[arg(long, value_name = "NEWDIR")]
    into: PathBuf,
    /// An RDB file to begin with, which says its position: a copy of a base, or of what SAVE wrote with the log on
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// The words of a command, as patterns.
#[derive(Clone, Debug)]
struct Words(Vec<Vec<u8>>);

fn parse_words(text: &str) -> Result<Words, String> {
    match quote::split(text.as_bytes()) {
        Some(words) if !words.is_empty() => Ok(Words(words)),
        Some(_) => Err("no command".into()),
        None => Err("a quote is not closed".into()),
    }
}

fn parse_time(text: &str) -> Result<hardtack_storage::UnixMillis, String> {
    time::parse(text).ok_or_else(|| "not a time such as 2026-11-22T11:20:33Z or @1795346433".into())
}

/// Runs the tool.
pub fn run(command: Command) -> Result<Verdict, Failure> {
    let point = match (&command.to_lsn, &command.to_time, &command.before) {
        (Some(lsn), _, _) => Point::Lsn(Lsn(*lsn)),
        (_, Some(time), _) => Point::Time(*time),
        (_, _, Some(words)) => Point::Before(words.0.clone()),
        // The group asks for one of them.
        (None, None, None) => return Err(Failure::new("no point is given")),
    };
    let log = open_log(&command.dir)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let restored = {
        let progress = Progress::new("Restoring", bytes_of(&log), Unit::Bytes);
        let mut done = 0;
        restore(
            &disk,
            &log,
            command.base.as_deref(),
            &point,
            &command.into,
            &mut |bytes, _| {
                done += bytes;
                progress.set(done);
            },
        )
    };
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) if error.is_damage() => {
            out::note(format_args!("hardtack: {error}"));
            return Ok(Verdict::NotFine);
        }
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    let mut out = Out::new();
    if command.json {
        out.json(&json!({
            "base": restored.base.display().to_string(),
            "base_lsn": restored.base_lsn.0,
            "lsn": restored.lsn.0,
            "time_ms": restored.time.map(|time| time.0),
            "keys": restored.keys,
            "replid": restored.replid.to_string(),
            "matches": restored.matches.iter().map(|found| json!({
                "lsn": found.lsn.0,
                "time_ms": found.time.map(|time| time.0),
            })).collect::<Vec<_>>(),
            "into": command.into.display().to_string(),
        }))?;
    } else {
        print(&mut out, &restored, &command.into)?;
    }
    out.flush()?;
    Ok(Verdict::Fine)
}

fn bytes_of(log: &LogFiles) -> u64 {
    let files = log.files().into_iter();
    let infos = files.filter_map(|file| std::fs::metadata(file.path).ok());
    infos.map(|info| info.len()).sum()
}

fn print(out: &mut Out, restored: &Restored, into: &Path) -> Result<(), Failure> {
    if let [earlier @ .., _] = &restored.matches[..]
        && !earlier.is_empty()
    {
        out.line(format_args!(
            "The command stands in the log {} times; the last one counts. The others begin at",
            restored.matches.len()
        ))?;
        for found in earlier.iter().rev().take(MATCHES_SHOWN) {
            match found.time {
                Some(time) => out.line(format_args!("  LSN {}, {}", found.lsn, Shown(time)))?,
                None => out.line(format_args!("  LSN {}", found.lsn))?,
            }
        }
        if earlier.len() > MATCHES_SHOWN {
            out.line("  ...")?;
        }
    }
    let written = match restored.time {
        Some(time) => format!(", written by {}", Shown(time)),
        None => String::new(),
    };
    out.line(format_args!(
        "{}: {} keys as of LSN {}{written}; from the base {} as of LSN {}",
        into.display(),
        restored.keys,
        restored.lsn,
        restored.base.display(),
        restored.base_lsn
    ))
}
