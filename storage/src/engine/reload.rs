//! Loading the data again while the engine runs: what DEBUG RELOAD and DEBUG LOADAOF ask for.
//!
//! The files are read into an engine of their own, whose data then takes the place of the present data in one step.
//! If a file cannot be read the present data stays. All commands wait meanwhile: these are commands for tests.

use std::sync::Arc;

use super::load::{LoadError, Loader, lock_directory};
use super::persist::BeginError;
use super::{Engine, Options, Shared};
use crate::keyspace::{ExclusiveGate, Gate};
use crate::log::{Log, ReplayTarget, load_single_file};
use crate::types::{DbIndex, Lsn};

/// Bytes of the log that are read at once.
const READ_BYTES: usize = 1 << 20;

/// Why the data was not loaded again. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The RDB file could not be written first.
    #[error(transparent)]
    Save(#[from] BeginError),
    /// The files could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The log could not be read.
    #[error("{0}")]
    Log(String),
    /// A key is there and in the file, and the file's is not to win.
    #[error("the RDB file has key '{}' of database {db}, which is there already", .key.escape_ascii())]
    Duplicate {
        /// Its database.
        db: DbIndex,
        /// The key.
        key: Vec<u8>,
    },
}

/// How the RDB file is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadOptions {
    /// The file is written first.
    pub save_first: bool,
    /// What becomes of the present keys.
    pub present: PresentKeys,
}

/// What becomes of the present keys when the RDB file is loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentKeys {
    /// They go.
    Removed,
    /// They stay; one that the file has too is an error.
    Kept,
    /// They stay, but for those that the file has too.
    Merged,
}

impl Engine {
    /// Writes the RDB file, unless told not to, and loads it again.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reload_rdb(&self, options: ReloadOptions) -> Result<(), ReloadError> {
        let shared = self.shared();
        if options.save_first {
            self.save()?;
        }
        let mut gate = shared.keyspace.enter_exclusive();
        let scratch = self.scratch()?;
        let mut ignore = |_, _| {};
        let mut loader = Loader::new(&scratch, &mut ignore);
        loader.load_rdb(&*shared.options.disk, &self.rdb_path(), true)?;
        drop(loader);
        if options.present != PresentKeys::Removed {
            add_present_keys(&gate, &scratch, options.present)?;
        }
        replace(shared, &mut gate, scratch);
        drop(gate);
        if !options.save_first && (self.log().is_some() || self.log_is_beginning()) {
            // What was loaded is not what the log says.
            self.schedule_rewrite();
        }
        Ok(())
    }

    /// Syncs the log and loads it again.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn reload_log(&self) -> Result<(), ReloadError> {
        let shared = self.shared();
        if self.log_is_beginning() {
            self.wait_for_snapshot();
        }
        let Some(log) = self.log() else {
            return self.load_closed_log();
        };
        let mut gate = shared.keyspace.enter_exclusive();
        let failed = |error: &dyn std::fmt::Display| ReloadError::Log(error.to_string());
        log.sync_now().map_err(|error| failed(&error))?;
        let scratch = self.scratch()?;
        let mut ignore = |_, _| {};
        let mut loader = Loader::new(&scratch, &mut ignore);
        let (base, start) = log.base();
        // A log that another server began may have no base, or one of commands.
        if log.base_bytes() > 0 {
            let options = &shared.options;
            load_single_file(&*options.disk, &base, &shared.log_options(), &mut loader)
                .map_err(LoadError::from)?;
        }
        loader.begin_file();
        let mut reader = log.reader(start).map_err(|error| failed(&error))?;
        let mut pending = Vec::new();
        while let Some((_, bytes)) = reader.next(READ_BYTES).map_err(|error| failed(&error))? {
            pending.extend_from_slice(&bytes);
            let whole = loader
                .replay_whole(&pending)
                .map_err(|error| failed(&error))?;
            pending.drain(..whole);
        }
        if !pending.is_empty() {
            return Err(ReloadError::Log(
                "the log ends in the middle of a command".into(),
            ));
        }
        drop(loader);
        replace(shared, &mut gate, scratch);
        Ok(())
    }

    /// Loads the log that is on the disk although the log is off.
    fn load_closed_log(&self) -> Result<(), ReloadError> {
        let shared = self.shared();
        let options = &shared.options;
        let mut gate = shared.keyspace.enter_exclusive();
        let scratch = self.scratch()?;
        let mut ignore = |_, _| {};
        let mut loader = Loader::new(&scratch, &mut ignore);
        *shared.dir_lock.lock() = None;
        let log = Log::open(
            options.disk.clone(),
            &shared.dir(),
            shared.log_options(),
            &mut loader,
        );
        drop(loader);
        let outcome = log.map(drop).map_err(LoadError::from);
        *shared.dir_lock.lock() = Some(lock_directory(&*options.disk, &shared.dir())?);
        outcome?;
        replace(shared, &mut gate, scratch);
        Ok(())
    }

    /// An engine to load into.
    fn scratch(&self) -> Result<Engine, LoadError> {
        let shared = self.shared();
        let options = Options {
            appendonly: false,
            ..shared.options.clone()
        };
        let dir = options.dir.clone();
        Engine::new(options, (*shared.settings.load_full()).clone())
            .map_err(|error| LoadError::Io { path: dir, error })
    }
}

/// Adds the present keys to those that were loaded. What was loaded wins, or is an error.
fn add_present_keys(
    present: &Gate,
    scratch: &Engine,
    keys: PresentKeys,
) -> Result<(), ReloadError> {
    let keyspace = &scratch.shared().keyspace;
    let loaded = keyspace.enter();
    for db in 0..present.databases() {
        let mut next = present.next_used_slot(db, 0);
        while let Some(slot) = next {
            let mut target = loaded.lock(db, slot);
            for record in present.lock(db, slot).iter() {
                let key = keyspace.key(record.key());
                if target.get(&key).is_none() {
                    // Nothing is displaced: the key is new.
                    drop(target.insert(&key, record.share()));
                } else if keys == PresentKeys::Kept {
                    let key = record.key().to_vec();
                    return Err(ReloadError::Duplicate { db, key });
                }
            }
            next = present.next_used_slot(db, slot + 1);
        }
    }
    Ok(())
}

/// Puts the data of `scratch` in the place of the present data.
fn replace(shared: &Shared, gate: &mut ExclusiveGate<'_>, scratch: Engine) {
    let lsn = shared.log().map_or(Lsn::ZERO, |log| log.appended());
    let Some(loaded) = Arc::into_inner(scratch.shared) else {
        unreachable!("nobody else has heard of the scratch engine");
    };
    for database in gate.replace_all(loaded.keyspace) {
        shared.discard_database(database);
    }
    for db in 0..gate.databases() {
        gate.set_db_lsn(db, lsn);
    }
}
