//! Turning the log on and off beside the commands, and writing one while it stays off.
//!
//! On: a log begins at a cut. From there on commands append to it, while its base is written from the cut, but nobody
//! depends on it: replies leave as if there were none. When the base is complete the log takes its place in the directory
//! in one step, and is in force. If that fails, the log stays off, what was in the directory stays, and the housekeeping
//! tries again. A crash meanwhile leaves what was there.
//!
//! Off: the log is taken out under the exclusive gate, and closed beside the commands.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::load::{self, LoadError};
use super::persist::{BeginError, Ending, SnapshotKind, Why};
use super::{Engine, Place, Shared};
use crate::keyspace::SnapshotCut;
use crate::log::{Log, LogOptions, RewriteTicket};
use crate::snapshot::SnapshotProgress;
use crate::types::Lsn;

/// Why the data directory was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The log's files are in the present one.
    #[error("the append-only log is on: turn it off first")]
    LogIsOn,
    /// The new one cannot be taken.
    #[error(transparent)]
    Locked(#[from] LoadError),
}

/// What becomes of a log once it has a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// It is in force.
    Keep,
    /// It is closed: for a later start with the log on.
    Once,
}

/// A log whose base is being written.
struct Beginning {
    log: Arc<Log>,
    ticket: RewriteTicket,
    purpose: Purpose,
}

impl Engine {
    /// Turns the log on: it begins now, and is in force when its base is written; if a snapshot is under way, after that.
    ///
    /// # Errors
    /// [`BeginError::Failed`] if the log's files cannot be made; it stays off.
    pub fn turn_log_on(&self) -> Result<(), BeginError> {
        let shared = self.shared();
        if shared.log().is_none() && shared.beginning.load().is_none() {
            match self.begin_log(Purpose::Keep) {
                Ok(()) => {}
                Err(BeginError::InProgress(_)) => tracing::info!(
                    "The append-only log is to be turned on, but a snapshot is under way: an AOF background was \
                     scheduled to start after it"
                ),
                Err(error) => return Err(error),
            }
        }
        shared.wants_log.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Turns the log off.
    ///
    /// # Errors
    /// [`LoadError`] if the data directory cannot be locked without it.
    pub fn turn_log_off(&self) -> Result<(), LoadError> {
        let shared = self.shared();
        shared.wants_log.store(false, Ordering::SeqCst);
        // A compaction holds on to the log, and one that begins ends by that.
        if self.cancel_rewrite() {
            // What watches Redis's log lines knows the first words.
            tracing::info!(
                "Killing AOF child, or what stands for it here: the compaction is cancelled"
            );
        }
        while self.cancel_rewrite() {
            thread::sleep(Duration::from_millis(1));
        }
        let log = {
            let _gate = shared.keyspace.enter_exclusive();
            shared.log.swap(None)
        };
        match log {
            None => Ok(()),
            Some(log) => shared.put_away(&log),
        }
    }

    /// Has the housekeeping turn the log on or off: for callers that hold slots.
    pub fn schedule_log(&self, on: bool) {
        self.shared().wants_log.store(on, Ordering::SeqCst);
    }

    /// Whether the log is on, or about to be.
    pub fn wants_log(&self) -> bool {
        self.shared().wants_log.load(Ordering::SeqCst)
    }

    /// Changes how the log is kept, where that is possible while it is in use (see [`Log::configure`]).
    pub fn configure_log(&self, change: impl Fn(&mut LogOptions)) {
        let shared = self.shared();
        shared.place.rcu(|place| {
            let mut place = Place::clone(place);
            change(&mut place.log);
            place
        });
        let options = shared.log_options();
        let beginning = shared.beginning.load_full();
        for log in shared.log().into_iter().chain(beginning) {
            log.configure(&options);
        }
    }

    /// Goes on in another directory: RDB files, and a log that is begun later, go there. It must exist.
    ///
    /// # Errors
    /// [`MoveError`]; nothing has changed then.
    pub fn change_dir(&self, dir: PathBuf) -> Result<(), MoveError> {
        let shared = self.shared();
        let _one_at_a_time = shared.switching.lock();
        if self.wants_log() || shared.log().is_some() {
            return Err(MoveError::LogIsOn);
        }
        if shared.dir() == dir {
            return Ok(());
        }
        let lock = load::lock_directory(&*shared.options.disk, &dir)?;
        // The lock of the directory before is given back here.
        *shared.dir_lock.lock() = Some(lock);
        shared.place.rcu(|place| Place {
            dir: dir.clone(),
            log: place.log.clone(),
        });
        Ok(())
    }

    /// Whether a log that is to be kept is about to begin.
    pub fn log_is_beginning(&self) -> bool {
        self.shared().beginning.load().is_some()
    }

    /// Does what [`Engine::schedule_log`] asked for, and tries again what has failed. True if there was something to do.
    pub(super) fn follow_wish(&self) -> bool {
        let shared = self.shared();
        let is_on = shared.log().is_some();
        match (self.wants_log(), is_on || self.log_is_beginning()) {
            (true, false) => {
                if let Err(error) = self.begin_log(Purpose::Keep) {
                    tracing::warn!("The append-only log can't begin: {error}");
                }
                true
            }
            (false, true) if is_on => {
                if let Err(error) = self.turn_log_off() {
                    tracing::warn!("The append-only log was turned off, but: {error}");
                }
                true
            }
            _ => false,
        }
    }

    /// Writes a log of the present data in the background although the log is off, for a later start with it on.
    pub(super) fn write_log_once(&self) -> Result<(), BeginError> {
        let purpose = if self.wants_log() {
            Purpose::Keep
        } else {
            Purpose::Once
        };
        self.begin_log(purpose)
    }

    /// Begins a log, and to write its base.
    fn begin_log(&self, purpose: Purpose) -> Result<(), BeginError> {
        let shared = self.shared();
        let progress = shared.persistence.begin(SnapshotKind::Rewrite, true)?;
        let failed = |error: String| {
            shared.persistence.end(Err(error.clone().into()));
            BeginError::Failed(error)
        };
        shared.may_begin(false)?;
        let (cut, beginning) = self.cut_log(purpose, &progress).map_err(failed)?;
        // What was begun is given up if there is no thread to go on with it.
        let work = Arc::new(Mutex::new(Some((cut, beginning))));
        let taken = work.clone();
        let spawned = self.spawn("hardtack-rewrite", move |engine| {
            let taken = taken.lock().take();
            if let Some((cut, beginning)) = taken {
                engine.finish_log(cut, beginning, &progress);
            }
        });
        if spawned.is_err()
            && let Some((_, beginning)) = work.lock().take()
        {
            let Beginning { log, ticket, .. } = beginning;
            log.abort_rewrite(ticket);
            shared.beginning.store(None);
            self.put_away_or_warn(&log);
        }
        spawned
    }

    /// Makes the log's files, and lets commands append to it from one instant on.
    fn cut_log(
        &self,
        purpose: Purpose,
        progress: &SnapshotProgress,
    ) -> Result<(SnapshotCut, Beginning), String> {
        let shared = self.shared();
        let options = &shared.options;
        let _one_at_a_time = shared.switching.lock();
        let start = Lsn(shared.log_end.load(Ordering::SeqCst));
        // The log takes the lock, and gives it back where it ends.
        *shared.dir_lock.lock() = None;
        let begun = Log::begin(
            options.disk.clone(),
            &shared.dir(),
            shared.log_options(),
            start,
        );
        let (log, ticket) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                let relocked = shared.lock_directory_again();
                return Err(relocked
                    .err()
                    .map_or(error.to_string(), |error| error.to_string()));
            }
        };
        let give_up = |log: Log, ticket, reason: &str| {
            log.discard(ticket);
            let relocked = shared.lock_directory_again();
            Err(relocked
                .err()
                .map_or(reason.to_owned(), |error| error.to_string()))
        };
        let Some(mut gate) = shared.enter_for_cut(progress) else {
            return give_up(log, ticket, "it was cancelled");
        };
        let Some(cut) = shared.cut(&mut gate, progress) else {
            drop(gate);
            return give_up(log, ticket, "a snapshot is in progress");
        };
        progress.keys_total.store(
            (0..gate.databases()).map(|db| gate.len(db) as u64).sum(),
            Ordering::Relaxed,
        );
        let log = Arc::new(log);
        if purpose == Purpose::Keep {
            shared.beginning.store(Some(log.clone()));
        }
        drop(gate);
        let beginning = Beginning {
            log,
            ticket,
            purpose,
        };
        Ok((cut, beginning))
    }

    /// Writes the base of a log that begins, and puts it in force.
    fn finish_log(&self, cut: SnapshotCut, beginning: Beginning, progress: &SnapshotProgress) {
        let shared = self.shared();
        let Beginning {
            log,
            ticket,
            purpose,
        } = beginning;
        let mut ending = Ending::of(&shared.persistence);
        let outcome = match shared.write_base(cut, &ticket, progress) {
            Ok(base) => log
                .commit_rewrite(ticket, base)
                .map_err(|error| error.to_string()),
            Err(error) => {
                log.abort_rewrite(ticket);
                ending.outcome = Err(Why::of(&error));
                Err(match error.kind() {
                    io::ErrorKind::Interrupted => "it was cancelled".to_owned(),
                    _ => error.to_string(),
                })
            }
        };
        if let Err(error) = &outcome
            && !matches!(&ending.outcome, Err(why) if why.lacks_space)
        {
            ending.outcome = Err(error.clone().into());
        }
        match (outcome, purpose) {
            (Ok(()), Purpose::Keep) => {
                for notifier in shared.notifiers.lock().iter() {
                    log.register_notifier(notifier.clone());
                }
                // In this order: whoever looks for a log to append to finds it in one place or the other.
                shared.log.store(Some(log));
                shared.beginning.store(None);
                ending.outcome = Ok(());
                tracing::info!(
                    "Background AOF rewrite finished successfully; the append-only log is on"
                );
            }
            (Ok(()), Purpose::Once) => {
                ending.outcome = Ok(());
                tracing::info!(
                    "Background AOF rewrite finished successfully; the append-only log stays off"
                );
                self.put_away_or_warn(&log);
            }
            (Err(error), _) => {
                tracing::warn!(
                    "Background AOF rewrite failed, the append-only log is off: {error}"
                );
                if purpose == Purpose::Keep {
                    // Nobody is in the middle of a command that appends when it is noted where the log ends.
                    let _gate = shared.keyspace.enter_exclusive();
                    shared.beginning.store(None);
                }
                self.put_away_or_warn(&log);
            }
        }
    }

    fn put_away_or_warn(&self, log: &Log) {
        if let Err(error) = self.shared().put_away(log) {
            tracing::warn!("The append-only log is closed, but: {error}");
        }
    }
}

impl Shared {
    /// Closes a log that is no longer in force.
    fn put_away(&self, log: &Log) -> Result<(), LoadError> {
        let _one_at_a_time = self.switching.lock();
        self.log_end.fetch_max(log.appended().0, Ordering::SeqCst);
        if let Err(error) = log.shut_down() {
            tracing::warn!("The append-only log was not closed cleanly: {error}");
        }
        self.lock_directory_again()
    }

    /// Keeps other processes out of the directory while no log does.
    fn lock_directory_again(&self) -> Result<(), LoadError> {
        let options = &self.options;
        *self.dir_lock.lock() = Some(load::lock_directory(&*options.disk, &self.dir())?);
        Ok(())
    }
}
