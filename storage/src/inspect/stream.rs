//! The commands of a log, one by one, with their positions and times.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::command::{self, KeySpec};
use crate::log::{
    FollowError, Followed, Follower, LogFiles, OpenError, ReplayError, ReplayTarget, SegmentStart,
    Unreadable,
};
use crate::text::{glob, integer};
use crate::{DbIndex, Lsn, UnixMillis};

/// A place in the stream as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A position.
    Lsn(Lsn),
    /// A point in time.
    Time(UnixMillis),
}

/// A stretch of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The first command is the first one that begins here or later. `None`: the oldest that is there.
    pub from: Option<Place>,
    /// Commands that end here or earlier; of a time, those that were written by then. `None`: up to the end.
    pub to: Option<Place>,
}

/// A command as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedCommand<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// When it was written; unknown for commands of other servers.
    pub time: Option<UnixMillis>,
    /// The database that it works in.
    pub db: DbIndex,
    /// It stands between MULTI and EXEC, or is one of these.
    pub in_transaction: bool,
    /// Name and arguments.
    pub args: SmallVec<[&'a [u8]; 8]>,
}

impl LoggedCommand<'_> {
    /// Whether it names a key that matches the pattern, or works on whole databases.
    pub fn concerns(&self, pattern: &[u8]) -> bool {
        let Some(command) = command::find(self.args[0]) else {
            return false;
        };
        let spec = &command.spec;
        if matches!(spec.keys, KeySpec::None) {
            return true;
        }
        let keys = spec.keys.positions(&self.args);
        keys.iter()
            .filter_map(|&position| self.args.get(position))
            .any(|key| glob::matches(pattern, key, false))
    }

    /// Whether its first words match the patterns of these, the name in either case.
    pub fn begins_with(&self, words: &[Vec<u8>]) -> bool {
        words.len() <= self.args.len()
            && words
                .iter()
                .zip(&self.args)
                .enumerate()
                .all(|(index, (word, arg))| glob::matches(word, arg, index == 0))
    }
}

/// Takes commands; breaks when it has had enough.
pub type OnCommand<'c> = &'c mut dyn FnMut(&LoggedCommand<'_>) -> ControlFlow<()>;

/// Why a log's commands cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Its files.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Something on the way.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// What is being followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The log does not reach back so far.
    #[error("the log's files begin at LSN {oldest}, after the position asked for")]
    TooOld {
        /// The oldest position there is.
        oldest: Lsn,
    },
    /// There are no segments.
    #[error("the log has no segments")]
    Empty,
}

/// Splits what it is given into commands.
pub(crate) struct Splitter {
    db: DbIndex,
    in_transaction: bool,
}

impl Splitter {
    pub fn new() -> Splitter {
        Splitter {
            db: 0,
            in_transaction: false,
        }
    }

    /// A new file begins.
    pub fn begin_file(&mut self) {
        *self = Splitter::new();
    }

    /// Hands on the commands of `payload`, which begins at `start`.
    pub fn split(
        &mut self,
        payload: &[u8],
        start: Lsn,
        time: Option<UnixMillis>,
        on_command: OnCommand<'_>,
    ) -> Result<ControlFlow<()>, ReplayError> {
        let mut rest = payload;
        while !rest.is_empty() {
            let lsn = start + (payload.len() - rest.len()) as u64;
            let args = command::decode(&mut rest)
                .ok_or_else(|| ReplayError("a command is malformed".into()))?;
            let end = start + (payload.len() - rest.len()) as u64;
            let named = |name: &[u8]| args[0].eq_ignore_ascii_case(name);
            if named(b"multi") {
                self.in_transaction = true;
            }
            let command = LoggedCommand {
                lsn,
                end,
                time,
                db: self.db,
                in_transaction: self.in_transaction,
                args,
            };
            let flow = on_command(&command);
            let args = &command.args;
            if args[0].eq_ignore_ascii_case(b"exec") {
                self.in_transaction = false;
            } else if args[0].eq_ignore_ascii_case(b"select") {
                let index = args.get(1).and_then(|index| integer::parse_i64(index));
                self.db = index
                    .and_then(|index| DbIndex::try_from(index).ok())
                    .unwrap_or(self.db);
            }
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Hands the commands of a stretch on.
struct Show<'c> {
    splitter: Splitter,
    stretch: Stretch,
    on_command: OnCommand<'c>,
    /// `on_command` has had enough, or the stretch has come to its end.
    enough: bool,
}

impl ReplayTarget for Show<'_> {
    fn load_base(&mut self, _: &std::path::Path) -> Result<crate::log::BaseLoaded, ReplayError> {
        Ok(crate::log::BaseLoaded::default())
    }

    fn begin_file(&mut self) {
        self.splitter.begin_file();
    }

    fn replay(
        &mut self,
        payload: &[u8],
        start: Lsn,
        ts: Option<UnixMillis>,
    ) -> Result<(), ReplayError> {
        let stretch = self.stretch;
        let on_command = &mut *self.on_command;
        let flow = self.splitter.split(payload, start, ts, &mut |command| {
            let too_late = match stretch.to {
                Some(Place::Lsn(to)) => command.end > to,
                Some(Place::Time(to)) => command.time.is_some_and(|time| time > to),
                None => false,
            };
            if too_late {
                return ControlFlow::Break(());
            }
            let too_early = match stretch.from {
                Some(Place::Lsn(from)) => command.lsn < from,
                Some(Place::Time(from)) => command.time.is_some_and(|time| time < from),
                None => false,
            };
            if too_early {
                return ControlFlow::Continue(());
            }
            on_command(command)
        })?;
        if flow.is_break() {
            self.enough = true;
            // Ends the reading; whoever reads looks at `enough`.
            return Err(ReplayError("enough".into()));
        }
        Ok(())
    }
}

/// The segment to begin with, and the position of its first byte.
fn first_segment(log: &LogFiles, from: Option<Place>) -> Result<(SegmentStart, Lsn), StreamError> {
    let segments = log.segments()?;
    // Other servers' segments do not say where they begin: where the one before ends, which the reading finds out.
    let starts = |segment: &SegmentStart| match from {
        Some(Place::Lsn(from)) => segment.header.is_some_and(|(_, lsn)| lsn <= from),
        // Several may begin within a millisecond, and what is looked for be in the first of them.
        Some(Place::Time(from)) => segment.since.is_some_and(|since| since < from),
        None => false,
    };
    let chosen = segments.iter().rposition(starts).unwrap_or(0);
    let Some(first) = segments.get(chosen) else {
        return Err(StreamError::Empty);
    };
    let lsn = first.header.map_or(Lsn::ZERO, |(_, lsn)| lsn);
    if let Some(Place::Lsn(from)) = from
        && from < lsn
    {
        return Err(StreamError::TooOld { oldest: lsn });
    }
    Ok((first.clone(), lsn))
}

/// Hands on the commands of a stretch of the log, and returns where that ends: at the end of what is whole, if not
/// before.
///
/// # Errors
/// [`StreamError`]; the commands before what is damaged have been handed on then.
pub fn commands(
    log: &LogFiles,
    stretch: Stretch,
    on_command: OnCommand<'_>,
) -> Result<Option<Lsn>, StreamError> {
    let (first, lsn) = first_segment(log, stretch.from)?;
    let mut show = Show {
        splitter: Splitter::new(),
        stretch,
        on_command,
        enough: false,
    };
    match log.replay(first.file.seq, lsn, &mut show) {
        Ok((end, _)) => Ok(Some(end)),
        Err(_) if show.enough => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The commands of a log as they are written.
pub struct Tail {
    follower: Follower,
    splitter: Splitter,
    from: Option<Place>,
}

impl Tail {
    /// Begins at a place, or with what is written from now on.
    pub fn new(log: &LogFiles, from: Option<Place>) -> Result<Tail, StreamError> {
        let newest = Some(Place::Lsn(Lsn::MAX));
        let (first, lsn) = first_segment(log, from.or(newest))?;
        let follower = log.follow(&first, lsn)?;
        let mut tail = Tail {
            follower,
            splitter: Splitter::new(),
            from,
        };
        if from.is_none() {
            // Read up to the present end, for the database that is selected there.
            let end = &mut |_: &LoggedCommand<'_>| ControlFlow::Continue(());
            while tail.next(end)? == Followed::More {}
        }
        Ok(tail)
    }

    /// Hands on what is new.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn next(&mut self, on_command: OnCommand<'_>) -> Result<Followed, StreamError> {
        let mut show = Show {
            splitter: std::mem::replace(&mut self.splitter, Splitter::new()),
            stretch: Stretch {
                from: self.from,
                to: None,
            },
            on_command,
            enough: false,
        };
        let outcome = self.follower.next(&mut show);
        self.splitter = show.splitter;
        match outcome {
            Ok(followed) => Ok(followed),
            Err(_) if show.enough => Ok(Followed::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the next command begins.
    pub fn position(&self) -> Lsn {
        self.follower.position()
    }
}
