//! Going back: the data as of an earlier point, as a new directory.
//!
//! A base that is as old as the point, or older, is loaded; the log's segments from there on are replayed up to the point;
//! what is then in memory becomes the base of a new log, which begins at the point's LSN and in a history of its own.
//! The directory that is read is not changed, and a server may be at work on it.
//!
//! * Bases are the log's present one, those of before that are kept with the history (`log`'s `retention`), RDB files in
//!   the data directory that say which position of this log they stand for, and one that the caller names.
//! * A record, and with it a transaction, is replayed whole or not at all: the point is moved back to where one ends.
//! * Anything that is damaged on the way is an error, and what is behind the point is not looked at, but for
//!   [`Point::Before`], which has to see all of the log.
//! * Nothing expires meanwhile. Keys whose time has come since go when a server starts on the new directory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load::{Loader, OnProgress, create_log};
use super::{Engine, LoadError, Options, Settings};
use crate::disk::Disk;
use crate::inspect::{Place, Splitter, StreamError, Stretch, commands, read_rdb_header};
use crate::log::{
    BaseLoaded, FileRole, LogFiles, LogOptions, OpenError, ReplayError, ReplayTarget, Replid,
    SegmentStart, Unreadable,
};
use crate::{Lsn, UnixMillis};

/// Which point to go back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// A position: everything that ends there or before.
    Lsn(Lsn),
    /// A time: everything that was written by then.
    Time(UnixMillis),
    /// Right before the last command that begins with words which match these patterns, or the transaction that it is in.
    Before(Vec<Vec<u8>>),
}

/// A command that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Where it begins, or its transaction.
    pub lsn: Lsn,
    /// When it was written.
    pub time: Option<UnixMillis>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The base that it began with.
    pub base: PathBuf,
    /// What that stands for.
    pub base_lsn: Lsn,
    /// The point that was reached, where the new log begins.
    pub lsn: Lsn,
    /// When the last command before it was written, if there is one behind the base.
    pub time: Option<UnixMillis>,
    /// Keys, also such that have expired since.
    pub keys: u64,
    /// What was looked for, in the order of the log; the point is before the last one.
    pub matches: Vec<Match>,
    /// The new log's history.
    pub replid: Replid,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The new directory is not new.
    #[error("{0} is there already and not empty")]
    NotEmpty(PathBuf),
    /// No base is old enough.
    #[error("history does not reach back so far: {}", oldest_words(.oldest))]
    NotReached {
        /// What the oldest base stands for, and when it was made, if there is any.
        oldest: Option<(Lsn, Option<UnixMillis>)>,
    },
    /// The log ends before.
    #[error("the log ends at LSN {end}, before the point{}", torn_words(*.torn))]
    Beyond {
        /// Its end.
        end: Lsn,
        /// There is more behind it, which is not whole.
        torn: bool,
    },
    /// The command is not in the log.
    #[error(
        "no such command stands in the log from LSN {from} on, which is as far as history reaches back"
    )]
    NoMatch {
        /// Where the oldest base begins.
        from: Lsn,
    },
    /// The segments hold commands of another server, which does not write times.
    #[error("the log has commands without times from LSN {0} on: give an LSN")]
    NoTimes(Lsn),
    /// The base that was named cannot be used.
    #[error("{path} cannot be a base here: {reason}")]
    Base {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something on the way is damaged.
    #[error("on the way there: {0}")]
    Damaged(#[from] Unreadable),
    /// Something on the way is damaged.
    #[error("on the way there: {0}")]
    Stream(#[from] StreamError),
    /// A base could not be loaded, or the new directory not be written.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The disk failed.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// How.
        error: std::io::Error,
    },
}

impl RestoreError {
    /// Whether it is damage that is in the way.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            RestoreError::Damaged(_) | RestoreError::Stream(_) | RestoreError::Load(_)
        )
    }
}

fn oldest_words(oldest: &Option<(Lsn, Option<UnixMillis>)>) -> String {
    match oldest {
        Some((lsn, _)) => format!("the oldest base stands for LSN {lsn}"),
        None => "there is no base whose position is known".into(),
    }
}

fn torn_words(torn: bool) -> &'static str {
    if torn {
        "; what is behind is not whole"
    } else {
        ""
    }
}

impl From<OpenError> for RestoreError {
    fn from(error: OpenError) -> RestoreError {
        RestoreError::Damaged(error.into())
    }
}

/// A base to begin with.
#[derive(Clone, Debug)]
struct Candidate {
    path: PathBuf,
    lsn: Lsn,
    /// Everything before its position had been written by then.
    time: Option<UnixMillis>,
    /// Number of the segment that holds its position, and where that begins.
    segment: Option<(u64, Lsn)>,
}

/// Restores the data as of `point` into a new directory, `into`, whose parent exists. `base` is a further RDB file to
/// begin with.
///
/// # Errors
/// [`RestoreError`]; an empty directory may have been made.
pub fn restore(
    disk: &Arc<dyn Disk>,
    log: &LogFiles,
    base: Option<&Path>,
    point: &Point,
    into: &Path,
    on_progress: OnProgress<'_>,
) -> Result<Restored, RestoreError> {
    refuse_not_empty(&**disk, into)?;
    let segments = log.segments()?;
    let candidates = candidates(disk, log, &segments, base)?;
    let mut matches = Vec::new();
    let until = match point {
        Point::Lsn(lsn) => Place::Lsn(*lsn),
        Point::Time(time) => Place::Time(*time),
        Point::Before(words) => {
            let from = candidates.iter().map(|base| base.lsn).min();
            let from = from.ok_or(RestoreError::NotReached { oldest: None })?;
            matches = find(log, from, words)?;
            let last = matches.last().ok_or(RestoreError::NoMatch { from })?;
            Place::Lsn(last.lsn)
        }
    };
    let usable = |base: &&Candidate| match until {
        Place::Lsn(lsn) => base.lsn <= lsn,
        Place::Time(time) => base.time.is_some_and(|made| made <= time),
    };
    let chosen = candidates.iter().filter(usable).max_by_key(|base| base.lsn);
    let chosen = chosen.ok_or_else(|| RestoreError::NotReached {
        oldest: candidates
            .iter()
            .min_by_key(|base| base.lsn)
            .map(|base| (base.lsn, base.time)),
    })?;

    disk.create_dir(into).map_err(|error| io(into, error))?;
    let options = Options {
        disk: disk.clone(),
        // As many as there can be: which of them hold something is for the data to say.
        databases: 256,
        log: LogOptions {
            dir_name: file_name(log.dir()),
            file_name: log.prefix().into(),
            ..LogOptions::default()
        },
        ..Options::new(into)
    };
    let engine = Engine::new(options, Settings::default()).map_err(|error| io(into, error))?;
    let mut loader = Loader::new(&engine, on_progress);
    loader.load_rdb(&*log.disk(), &chosen.path, false)?;
    let mut replay = Until {
        loader: &mut loader,
        splitter: Splitter::new(),
        until,
        skip: chosen.lsn,
        at: chosen.lsn,
        time: None,
        stopped: false,
        untimed: None,
    };
    if until != Place::Lsn(chosen.lsn) {
        let replayed = match chosen.segment {
            Some((seq, lsn)) => log.replay(seq, lsn, &mut replay),
            None => Ok((chosen.lsn, None)),
        };
        match replayed {
            Err(_) if replay.stopped => {}
            Err(_) if replay.untimed.is_some() => {
                let at = replay.untimed.unwrap_or(Lsn::ZERO);
                return Err(RestoreError::NoTimes(at));
            }
            Err(error) => return Err(error.into()),
            Ok((end, cut)) => {
                if let Place::Lsn(lsn) = until
                    && lsn > end
                {
                    return Err(RestoreError::Beyond {
                        end,
                        torn: cut.is_some(),
                    });
                }
            }
        }
    }
    let (lsn, time) = (replay.at, replay.time);
    drop(loader);
    let new_log = {
        let mut gate = engine.shared().keyspace.enter_exclusive();
        create_log(
            engine.shared(),
            &mut gate,
            engine.options().log.clone(),
            lsn,
        )?
    };
    let replid = new_log.replid();
    let keys = (0..engine.databases())
        .map(|db| engine.len(db) as u64)
        .sum();
    new_log
        .close()
        .map_err(|failure| io(into, std::io::Error::other(failure.to_string())))?;
    Ok(Restored {
        base: chosen.path.clone(),
        base_lsn: chosen.lsn,
        lsn,
        time,
        keys,
        matches,
        replid,
    })
}

fn io(path: &Path, error: std::io::Error) -> RestoreError {
    RestoreError::Io {
        path: path.to_owned(),
        error,
    }
}

fn file_name(path: &Path) -> String {
    // A path such as `.` has no name of its own.
    let name = path.file_name().map(ToOwned::to_owned).or_else(|| {
        let whole = path.canonicalize().ok()?;
        whole.file_name().map(ToOwned::to_owned)
    });
    name.map_or_else(
        || LogOptions::default().dir_name,
        |name| name.to_string_lossy().into_owned(),
    )
}

fn refuse_not_empty(disk: &dyn Disk, into: &Path) -> Result<(), RestoreError> {
    let info = disk.metadata(into).map_err(|error| io(into, error))?;
    let is_empty = match info {
        None => true,
        Some(info) if !info.is_dir => false,
        Some(_) => disk.list(into).map_err(|error| io(into, error))?.is_empty(),
    };
    match is_empty {
        true => Ok(()),
        false => Err(RestoreError::NotEmpty(into.to_owned())),
    }
}

/// All bases that there are, whatever their position.
fn candidates(
    disk: &Arc<dyn Disk>,
    log: &LogFiles,
    segments: &[SegmentStart],
    named: Option<&Path>,
) -> Result<Vec<Candidate>, RestoreError> {
    let mut found = Vec::new();
    // What is damaged is told when it is chosen; a file that says nothing of itself cannot be.
    for file in log.files() {
        if !matches!(file.role, FileRole::Base | FileRole::OldBase) {
            continue;
        }
        let first = segments
            .iter()
            .find(|segment| segment.file.role == FileRole::Segment);
        let header = read_rdb_header(&**disk, &file.path).ok();
        let said = header.and_then(|header| header.lsn);
        let lsn = match file.role {
            // Where the first segment begins; a log of another server begins at 0.
            FileRole::Base => first
                .and_then(|first| first.header)
                .map(|(_, lsn)| lsn)
                .or(said)
                .or(Some(Lsn::ZERO)),
            _ => said,
        };
        let Some(lsn) = lsn else { continue };
        let joins = |segment: &&SegmentStart| match segment.header {
            Some((_, start)) => start == lsn,
            None => file.role == FileRole::Base && segment.file.role == FileRole::Segment,
        };
        let segment = segments.iter().find(joins);
        if segment.is_none() && file.role == FileRole::OldBase {
            continue;
        }
        found.push(Candidate {
            path: file.path,
            lsn,
            time: segment.and_then(|segment| segment.since),
            segment: segment.map(|segment| (segment.file.seq, lsn)),
        });
    }
    let data_dir = match log.dir().parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => log.dir().join(".."),
    };
    let beside = disk.list(&data_dir).unwrap_or_default();
    for name in beside.iter().filter(|name| name.ends_with(".rdb")) {
        let path = data_dir.join(name);
        found.extend(lone_base(&**disk, &path, segments).ok());
    }
    if let Some(path) = named {
        found.push(
            lone_base(&**disk, path, segments).map_err(|reason| RestoreError::Base {
                path: path.to_owned(),
                reason,
            })?,
        );
    }
    Ok(found)
}

/// An RDB file that stands for a position which one of the segments holds.
fn lone_base(disk: &dyn Disk, path: &Path, segments: &[SegmentStart]) -> Result<Candidate, String> {
    let header = read_rdb_header(disk, path).map_err(|damage| damage.what)?;
    let lsn = header
        .lsn
        .ok_or("it does not say which position of a log it stands for")?;
    let holder = segments
        .iter()
        .rev()
        .find_map(|segment| {
            let (replid, start) = segment.header?;
            (start <= lsn).then_some((segment.file.seq, start, replid))
        })
        .ok_or_else(|| format!("it stands for LSN {lsn}, before the oldest segment"))?;
    let (seq, start, replid) = holder;
    if let Some(said) = &header.replid
        && *said != replid.as_str()
    {
        return Err(format!(
            "it belongs to the history {said}, the segments to {replid}"
        ));
    }
    Ok(Candidate {
        path: path.to_owned(),
        lsn,
        // Whole seconds, rounded down: by the next one it had been written.
        time: header
            .created
            .map(|created| UnixMillis(created.saturating_add(1).saturating_mul(1000))),
        segment: Some((seq, start)),
    })
}

/// Every occurrence of the command, from `from` on.
fn find(log: &LogFiles, from: Lsn, words: &[Vec<u8>]) -> Result<Vec<Match>, RestoreError> {
    let mut matches: Vec<Match> = Vec::new();
    let mut transaction = None;
    let stretch = Stretch {
        from: Some(Place::Lsn(from)),
        to: None,
    };
    commands(log, stretch, &mut |command| {
        match command.in_transaction {
            false => transaction = None,
            true if transaction.is_none() => transaction = Some(command.lsn),
            true => {}
        }
        if command.begins_with(words) {
            let lsn = transaction.unwrap_or(command.lsn);
            // They come in order: of one transaction the last one counts.
            matches.pop_if(|last| last.lsn == lsn);
            matches.push(Match {
                lsn,
                time: command.time,
            });
        }
        if command.args[0].eq_ignore_ascii_case(b"exec") {
            transaction = None;
        }
        ControlFlow::Continue(())
    })?;
    Ok(matches)
}

/// Replays up to a point.
struct Until<'l, 'p> {
    loader: &'l mut Loader<'p>,
    splitter: Splitter,
    until: Place,
    /// What is before is in the base.
    skip: Lsn,
    /// Everything before has been replayed.
    at: Lsn,
    /// When the last of it was written.
    time: Option<UnixMillis>,
    /// The point has been reached.
    stopped: bool,
    /// There are commands without a time here.
    untimed: Option<Lsn>,
}

impl Until<'_, '_> {
    /// The end of the last record of the payload that ends at `limit` or before, and where the first begins that is not
    /// in the base.
    fn bounds(
        &mut self,
        payload: &[u8],
        start: Lsn,
        limit: Lsn,
    ) -> Result<(Lsn, Lsn), ReplayError> {
        let (skip, mut from, mut to) = (self.skip, None, start);
        let _ = self.splitter.split(payload, start, None, &mut |command| {
            if command.lsn >= skip {
                from = from.or(Some(command.lsn));
            }
            if command.end > limit {
                return ControlFlow::Break(());
            }
            let ends = command.args[0].eq_ignore_ascii_case(b"exec");
            if !command.in_transaction || ends {
                to = command.end;
            }
            ControlFlow::Continue(())
        })?;
        Ok((from.unwrap_or(to), to))
    }

    fn stop(&mut self) -> Result<(), ReplayError> {
        // Ends the reading; whoever reads looks at `stopped`.
        self.stopped = true;
        Err(ReplayError("the point has been reached".into()))
    }
}

impl ReplayTarget for Until<'_, '_> {
    fn load_base(&mut self, _: &Path) -> Result<BaseLoaded, ReplayError> {
        Ok(BaseLoaded::default())
    }

    fn begin_file(&mut self) {
        self.loader.begin_file();
        self.splitter.begin_file();
    }

    fn replay(
        &mut self,
        payload: &[u8],
        start: Lsn,
        ts: Option<UnixMillis>,
    ) -> Result<(), ReplayError> {
        let end = start + payload.len() as u64;
        let limit = match self.until {
            Place::Lsn(lsn) => lsn.min(end),
            Place::Time(until) => match ts {
                None => {
                    self.untimed = Some(start);
                    return Err(ReplayError("commands without times".into()));
                }
                Some(ts) if ts > until => return self.stop(),
                Some(_) => end,
            },
        };
        if end <= self.skip {
            // The database that is selected counts, the rest is in the base.
            let mut db = Vec::new();
            let _ = self.splitter.split(payload, start, None, &mut |command| {
                if command.args[0].eq_ignore_ascii_case(b"select") {
                    db = payload[(command.lsn - start) as usize..(command.end - start) as usize]
                        .to_vec();
                }
                ControlFlow::Continue(())
            })?;
            if !db.is_empty() {
                self.loader.replay(&db, start, ts)?;
            }
            return Ok(());
        }
        let (from, to) = if limit < end || start < self.skip {
            self.bounds(payload, start, limit)?
        } else {
            (start, end)
        };
        if to > from {
            let whole = &payload[(from - start) as usize..(to - start) as usize];
            self.loader.replay(whole, from, ts)?;
            self.time = ts;
        }
        self.at = self.at.max(to);
        if self.until == Place::Lsn(to) || to < end {
            return self.stop();
        }
        Ok(())
    }
}
