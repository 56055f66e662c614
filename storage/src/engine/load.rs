//! Loading: what a data directory holds becomes the keyspace.
//!
//! The start-up cases, by what the directory holds:
//!
//! | log | RDB file | with the log on | with the log off |
//! |---|---|---|---|
//! | yes | any | the log is replayed | the RDB file, if there is one, is loaded |
//! | a single file, as Redis 6 leaves it | any | that file is loaded and becomes the base of a new log; it is set aside | as without it |
//! | no | yes | the RDB file is loaded and becomes the base of a new log | it is loaded |
//! | no | no | a new log begins | nothing |
//!
//! Nothing is expired or evicted meanwhile: the log says what went, and when.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::execute::{Request, Turn};
use super::load_rdb::{RdbLoad, RdbLoaded};
use super::session::Session;
use super::{Engine, Options, Shared, Worker};
use crate::command::{self, Reply};
use crate::disk::Disk;
use crate::inspect::read_rdb_header;
use crate::keyspace::ExclusiveGate;
use crate::log::{
    BaseLoaded, Log, LogOptions, OpenError, RecoveryReport, ReplayError, ReplayTarget, SingleFile,
    load_single_file,
};
use crate::rdb::RdbError;
use crate::snapshot::SnapshotProgress;
use crate::types::{DbIndex, Lsn, UnixMillis};

/// Why the data could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The RDB file.
    #[error("{path}: {error}")]
    Rdb {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: RdbError,
    },
    /// Another process works on the directory.
    #[error("the data directory is in use by another process (lock file {0})")]
    Locked(PathBuf),
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
}

impl LoadError {
    /// Whether files are not what they should be, so that another start would find the same: somebody has to decide.
    pub fn is_damage(&self) -> bool {
        match self {
            LoadError::Log(error) => error.is_damage(),
            LoadError::Rdb { .. } => true,
            LoadError::Locked(_) | LoadError::Io { .. } => false,
        }
    }
}

/// Hears how the load comes along: bytes and keys since it was last called.
pub type OnProgress<'p> = &'p mut dyn FnMut(u64, u64);

/// What a load found.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Keys loaded from an RDB file or a base.
    pub rdb_keys: u64,
    /// Keys of it that had expired.
    pub rdb_keys_expired: u64,
    /// Keys of it that were empty.
    pub rdb_keys_empty: u64,
    /// What recovery of the log found.
    pub log: Option<RecoveryReport>,
    /// A new log was begun from an RDB file.
    pub log_begun_from_rdb: bool,
    /// A new log was begun from an append-only file without parts, which now has this name.
    pub log_begun_from_file: Option<(SingleFile, PathBuf)>,
}

/// The information field of a base that holds its LSN.
pub(crate) const LSN_FIELD: &[u8] = b"hardtack-lsn";

/// What the name of a single append-only file gets at its end once a log was begun from it.
const SET_ASIDE: &str = ".loaded";

impl Engine {
    /// Loads the data directory. Nothing else must run on the engine yet.
    ///
    /// # Errors
    /// [`LoadError`]; the engine is then to be thrown away.
    pub fn load(&self, on_progress: OnProgress<'_>) -> Result<LoadReport, LoadError> {
        let shared = self.shared();
        let options = &shared.options;
        let disk = options.disk.clone();
        let rdb_path = self.rdb_path();
        let mut loader = Loader::new(self, on_progress);
        if !options.appendonly {
            *shared.dir_lock.lock() = Some(lock_directory(&*disk, &options.dir)?);
            if exists(&*disk, &rdb_path)? {
                loader.load_rdb(&*disk, &rdb_path, true)?;
            }
            remove_unfinished_saves(&*disk, &options.dir);
            return Ok(loader.report);
        }
        let io_failed = |error| LoadError::Io {
            path: options.dir.join(&options.log.dir_name),
            error,
        };
        let log = if Log::exists(&*disk, &options.dir, &options.log).map_err(io_failed)? {
            let log = Log::open(disk, &options.dir, options.log.clone(), &mut loader)?;
            loader.report.log = Some(log.recovery_report().clone());
            log
        } else {
            let single = options.dir.join(&options.log.file_name);
            let found = disk.metadata(&single).map_err(io_failed)?;
            let found = found.filter(|found| found.bytes > 0);
            let mut read = None;
            if found.is_some() {
                // It holds what the RDB file holds, and more.
                read = Some(load_single_file(
                    &*disk,
                    &single,
                    &options.log,
                    &mut loader,
                )?);
            } else if exists(&*disk, &rdb_path)? {
                loader.load_rdb(&*disk, &rdb_path, true)?;
                loader.report.log_begun_from_rdb = true;
            }
            let log = {
                let mut gate = shared.keyspace.enter_exclusive();
                create_log(shared, &mut gate, options.log.clone(), Lsn::ZERO)?
            };
            // The log is whole. A start that is cut off before this finds it, and lets the file be.
            if let Some(read) = read {
                let aside = options
                    .dir
                    .join(format!("{}{SET_ASIDE}", options.log.file_name));
                disk.rename(&single, &aside).map_err(io_failed)?;
                disk.sync_dir(&options.dir).map_err(io_failed)?;
                loader.report.log_begun_from_file = Some((read, aside));
            }
            log
        };
        let report = loader.report;
        self.install_log(Some(log));
        remove_unfinished_saves(&*options.disk, &options.dir);
        Ok(report)
    }
}

/// Removes what a SAVE leaves that was cut off: `temp-<pid>.rdb`.
fn remove_unfinished_saves(disk: &dyn Disk, dir: &Path) {
    let is_one = |name: &&String| {
        let middle = name
            .strip_prefix("temp-")
            .and_then(|rest| rest.strip_suffix(".rdb"));
        middle.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
    };
    // It takes up space, and harms nobody: an error can wait for the next start.
    for name in disk.list(dir).unwrap_or_default().iter().filter(is_one) {
        let _ = disk.remove(&dir.join(name));
    }
}

/// Makes a new log whose base is the present keyspace, which is what the stream amounts to at `start`.
pub(super) fn create_log(
    shared: &Shared,
    gate: &mut ExclusiveGate<'_>,
    options: LogOptions,
    start: Lsn,
) -> Result<Log, LoadError> {
    let Options { disk, dir, .. } = &shared.options;
    let log = Log::create(disk.clone(), dir, options, start, &mut |sink| {
        let cut = gate
            .begin_snapshot()
            .ok_or_else(|| io::Error::other("a snapshot is in progress"))?;
        shared
            .write_snapshot(cut, Some(start), true, &SnapshotProgress::default(), sink)
            .map(drop)
    })?;
    Ok(log)
}

pub(super) fn lock_directory(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Box<dyn crate::disk::DiskLock>, LoadError> {
    crate::disk::lock_directory(disk, dir).map_err(|(path, error)| match error.kind() {
        io::ErrorKind::WouldBlock => LoadError::Locked(path),
        _ => LoadError::Io { path, error },
    })
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool, LoadError> {
    match disk.metadata(path) {
        Ok(info) => Ok(info.is_some()),
        Err(error) => Err(LoadError::Io {
            path: path.to_owned(),
            error,
        }),
    }
}

/// Puts what it is given into the keyspace.
pub(super) struct Loader<'p> {
    shared: Arc<Shared>,
    worker: Worker,
    session: Session,
    on_progress: OnProgress<'p>,
    report: LoadReport,
}

impl<'p> Loader<'p> {
    pub(super) fn new(engine: &Engine, on_progress: OnProgress<'p>) -> Loader<'p> {
        Loader {
            shared: engine.shared.clone(),
            worker: engine.worker(),
            session: Session::new(),
            on_progress,
            report: LoadReport::default(),
        }
    }

    /// Loads an RDB file. Expired keys of one that stands alone are left out; those of a log's base may yet be given
    /// more time by the log.
    pub(super) fn load_rdb(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        skip_expired: bool,
    ) -> Result<RdbLoaded, LoadError> {
        let load = RdbLoad {
            shared: &self.shared,
            now: UnixMillis::now(),
            skip_expired,
            on_progress: &mut *self.on_progress,
        };
        let loaded = load.run(disk, path)?;
        self.report.rdb_keys = loaded.keys;
        self.report.rdb_keys_expired = loaded.expired;
        self.report.rdb_keys_empty = loaded.empty;
        Ok(loaded)
    }
}

/// Commands that are prefetched for together.
const WINDOW: usize = 32;

impl ReplayTarget for Loader<'_> {
    fn load_base(&mut self, path: &Path) -> Result<BaseLoaded, ReplayError> {
        let disk = self.shared.options.disk.clone();
        let loaded = self.load_rdb(&*disk, path, false).map_err(|error| {
            // Whoever asked knows the file.
            ReplayError(match error {
                LoadError::Rdb { error, .. } => error.to_string(),
                LoadError::Io { error, .. } => error.to_string(),
                other => other.to_string(),
            })
        })?;
        Ok(BaseLoaded {
            lsn: loaded.lsn,
            rdb_bytes: Some(loaded.bytes),
        })
    }

    fn base_lsn(&mut self, path: &Path) -> Option<Lsn> {
        let header = read_rdb_header(&*self.shared.options.disk, path);
        header.ok()?.lsn
    }

    fn begin_file(&mut self) {
        self.session.db = 0;
    }

    fn replay(&mut self, payload: &[u8], _: Lsn, _: Option<UnixMillis>) -> Result<(), ReplayError> {
        let whole = self.replay_whole(payload)?;
        if whole < payload.len() {
            return Err(ReplayError("a command is malformed".into()));
        }
        Ok(())
    }
}

impl Loader<'_> {
    /// Replays the whole commands at the front of `payload`; returns how many bytes they are.
    pub(super) fn replay_whole(&mut self, payload: &[u8]) -> Result<usize, ReplayError> {
        let mut rest = payload;
        let mut turn = self.worker.turn();
        turn.begin_replay();
        let mut reply = Reply::new();
        loop {
            let mut window = Vec::with_capacity(WINDOW);
            let mut ahead = rest;
            while window.len() < WINDOW
                && let Some(args) = command::decode(&mut ahead)
            {
                window.push(args);
                rest = ahead;
            }
            if window.is_empty() {
                break;
            }
            let keys: Vec<_> = window
                .iter()
                .filter_map(|args| Some((self.session.db, turn.key(args.get(1)?))))
                .collect();
            turn.prefetch(&keys);
            for args in &window {
                replay_one(&mut turn, &mut self.session, args, &mut reply)?;
                reply.truncate(0);
            }
        }
        drop(turn);
        let whole = payload.len() - rest.len();
        (self.on_progress)(whole as u64, 0);
        Ok(whole)
    }
}

/// Runs one command of the log.
fn replay_one(
    turn: &mut Turn<'_>,
    session: &mut Session,
    args: &[&[u8]],
    reply: &mut Reply,
) -> Result<(), ReplayError> {
    let Some(command) = command::find(args[0]) else {
        // A transaction stands in one frame, so that it is whole: its marks say nothing more.
        return match args[0].to_ascii_lowercase().as_slice() {
            b"multi" | b"exec" | b"ping" | b"replconf" => Ok(()),
            b"select" => {
                let index = args
                    .get(1)
                    .and_then(|index| crate::text::integer::parse_i64(index));
                session.db = index
                    .and_then(|index| DbIndex::try_from(index).ok())
                    .filter(|db| *db < turn.databases())
                    .ok_or_else(|| {
                        ReplayError("SELECT of a database that is not configured".into())
                    })?;
                Ok(())
            }
            name => {
                let name = String::from_utf8_lossy(name).into_owned();
                Err(ReplayError(format!(
                    "Unknown command '{name}' reading the append only file"
                )))
            }
        };
    };
    if !command.spec.arity_fits(args.len()) {
        return Err(ReplayError(format!(
            "wrong number of arguments for '{}'",
            command.spec.name
        )));
    }
    turn.run(session, command, Request::new(args), None, reply);
    if reply.take_error().is_some() {
        let text = String::from_utf8_lossy(reply.bytes()).trim_end().to_owned();
        return Err(ReplayError(format!(
            "'{}' could not be replayed: {text}",
            command.spec.name
        )));
    }
    Ok(())
}
