//! Start-up: from whatever a crash, a full disk or an operator left in the directory to a log that goes on.
//!
//! Order: lock the data directory; read the manifest; look at every file it names; load the base; check and replay the
//! segments in order; only then change anything: cut a torn tail (what is cut is kept aside), begin a new segment,
//! replace the manifest, remove left-overs. Until the manifest is replaced everything is as before, so a start can be
//! cut at any point and run again.
//!
//! A new segment is begun at each start, instead of going on in the last: the checksum chain, the filler and the
//! selected database need not be reconstructed, and an old segment is never written again once it has been checked. An
//! empty last segment is replaced, so starting often does not pile up files.
//!
//! A last file that holds commands of another server is different: a part of ours is begun behind them
//! ([`super::frame`]), and the manifest stays that server's. So the directory remains what its operator knows, that file
//! can be looked at, cut or replaced as before, and nothing of ours remains in it when nothing was written.
//!
//! What is done about each kind of damage is the table in [`cases`].
//!
//! | file | does |
//! |---|---|
//! | `cases` | decides: how a segment can end, and what follows from that |
//! | `replay` | opens, checks and replays what the manifest names |
//! | `history` | finds what is left below the base |
//! | `loss` | says what accepting damage would cost |
//! | `cut` | ends the log before the end of its files |
//! | `begin` | changes the directory and starts the log |

mod begin;
mod cases;
pub(super) mod cut;
mod error;
mod history;
mod loss;
pub(super) mod replay;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::Replid;
use super::manifest::{Entry, FileKind, MANIFEST_BYTES_MAX, Manifest};
use super::segment::{Names, TEMP_PREFIX};
use super::sums::SealedFile;
use super::{Log, LogOptions, sums};
use crate::disk::{Disk, DiskLock, FileWriter, lock_directory, read_small_file};
use crate::{Lsn, UnixMillis};

use begin::finish;
pub(super) use begin::{Found, assemble};
pub(super) use error::io_at;
pub use error::{Corruption, Damage, Loss, OpenError};
use replay::Recovery;

/// Is there while a log is being made: without a manifest beside it the log's files hold nothing that was ever promised.
pub(super) const CREATING: &str = "temp-creating";

/// What to do about damage to data that was once safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoverMode {
    /// Stop the start and say what would be lost.
    Strict,
    /// Accept the loss: go on with everything before the damage, and keep the rest aside.
    Prefix,
}

/// Takes what recovery reads.
pub trait ReplayTarget {
    /// Loads the base. `Err` stops the start.
    fn load_base(&mut self, path: &Path) -> Result<BaseLoaded, ReplayError>;

    /// The position that a base of before says it stands for. `None` if it does not say, or nobody wants to know.
    fn base_lsn(&mut self, _path: &Path) -> Option<Lsn> {
        None
    }

    /// A new file begins: its commands start in database 0.
    fn begin_file(&mut self) {}

    /// Applies whole commands. `start` is the position of the first byte; `ts` when they were written, where known.
    fn replay(
        &mut self,
        payload: &[u8],
        start: Lsn,
        ts: Option<UnixMillis>,
    ) -> Result<(), ReplayError>;

    /// Applies whole commands that are part of the base (a base in append-only form).
    fn replay_base(&mut self, payload: &[u8]) -> Result<(), ReplayError> {
        self.replay(payload, Lsn::ZERO, None)
    }
}

/// What [`ReplayTarget::load_base`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseLoaded {
    /// The position that the base says it stands for; it is compared with the segments.
    pub lsn: Option<Lsn>,
    /// How long the RDB part was, if commands may follow it. `Some(0)` for a base that is commands altogether.
    pub rdb_bytes: Option<u64>,
}

/// Why a base or a payload could not be applied.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReplayError(pub String);

/// What was cut off the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The file.
    pub segment: PathBuf,
    /// File position of the cut.
    pub position: u64,
    /// The log goes on here.
    pub lsn: Lsn,
    /// Bytes cut off this file.
    pub bytes: u64,
    /// Where they are kept.
    pub kept_as: PathBuf,
    /// What was wrong there.
    pub reason: String,
    /// What was lost of data that had been safe, because the start was told to accept that. `None`: nothing; what was cut
    /// had never been synced.
    pub accepted: Option<Loss>,
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The log's end.
    pub end: Lsn,
    /// Payload bytes replayed.
    pub replayed_bytes: u64,
    /// Frames replayed.
    pub frames: u64,
    /// Files without checksums, written by another server.
    pub unchecked_files: Vec<String>,
    /// What was cut off, if anything was.
    pub cut: Option<CutTail>,
}

/// True if the directory has a log or parts of one.
pub(super) fn exists(disk: &dyn Disk, data_dir: &Path, options: &LogOptions) -> io::Result<bool> {
    let names = names(data_dir, options);
    if disk.metadata(&names.dir)?.is_none() {
        return Ok(false);
    }
    let list = disk.list(&names.dir)?;
    Ok(if is_unfinished(&names, &list) {
        false
    } else {
        let manifest = names.manifest();
        list.iter()
            .any(|name| names.recognise(name).is_some() || names.dir.join(name) == manifest)
    })
}

/// True if the making of the log was cut off, by what is in its directory.
pub(super) fn is_unfinished(names: &Names, list: &[String]) -> bool {
    let manifest = names.manifest();
    list.iter().any(|name| name == CREATING)
        && !list.iter().any(|name| names.dir.join(name) == manifest)
}

pub(super) fn names(data_dir: &Path, options: &LogOptions) -> Names {
    Names {
        dir: data_dir.join(&options.dir_name),
        prefix: options.file_name.clone(),
    }
}

pub(super) fn take_lock(disk: &dyn Disk, data_dir: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    lock_directory(disk, data_dir).map_err(|(path, error)| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(path),
        _ => OpenError::Io { path, error },
    })
}

pub(super) fn create(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    options: LogOptions,
    start: Lsn,
    base: &mut dyn FnMut(&mut dyn io::Write) -> io::Result<()>,
) -> Result<Log, OpenError> {
    let lock = take_lock(&*disk, data_dir)?;
    let names = names(data_dir, &options);
    if exists(&*disk, data_dir, &options).map_err(io_at(&names.dir))? {
        return Err(OpenError::Exists(names.dir));
    }
    disk.create_dir(&names.dir).map_err(io_at(&names.dir))?;
    disk.sync_dir(data_dir).map_err(io_at(data_dir))?;
    // A crash can leave a base and a segment without a manifest, which no start would accept but for this mark.
    let mark = names.dir.join(CREATING);
    disk.create(&mark)
        .and_then(|_| disk.sync_dir(&names.dir))
        .map_err(io_at(&mark))?;
    remove_left_overs(&*disk, &names, Some(CREATING));
    let temp = names.temp_base(1);
    let written = (|| {
        let mut writer = FileWriter::create(&*disk, &temp)?;
        base(&mut writer)?;
        writer.finish()
    })()
    .map_err(io_at(&temp))?;
    let name = names.base(1);
    let manifest = Manifest {
        base: Some(Entry {
            name: name.clone(),
            seq: 1,
            kind: FileKind::Base,
        }),
        checked: true,
        ..Manifest::default()
    };
    let replid = options.replid.unwrap_or_else(Replid::random);
    let found = Found {
        sealed: vec![SealedFile::of(name, written)],
        base_bytes: written.bytes,
        new_base: Some(temp),
        ..Found::nothing(manifest, start, replid)
    };
    let dir = names.dir.clone();
    let log = finish(Arc::clone(&disk), names, options, lock, found)?;
    // Gone for good before anything is promised.
    disk.remove(&mark)
        .and_then(|()| disk.sync_dir(&dir))
        .map_err(io_at(&mark))?;
    Ok(log)
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    options: LogOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Log, OpenError> {
    let lock = take_lock(&*disk, data_dir)?;
    let names = names(data_dir, &options);
    let (manifest, manifest_id) = read_manifest(&*disk, &names)?;
    let sealed = sums::read(&*disk, &names, manifest_id);
    let mut recovery = Recovery::new(&*disk, &names, &options, target, sealed);
    let found = recovery.run(manifest, manifest_id)?;
    finish(disk, names, options, lock, found)
}

/// The manifest, and what identifies it.
pub(super) fn read_manifest(disk: &dyn Disk, names: &Names) -> Result<(Manifest, u32), OpenError> {
    let path = names.manifest();
    if disk
        .metadata(&names.dir)
        .map_err(io_at(&names.dir))?
        .is_none()
    {
        return Err(OpenError::NoLog(names.dir.clone()));
    }
    if disk.metadata(&path).map_err(io_at(&path))?.is_none() {
        let list = disk.list(&names.dir).map_err(io_at(&names.dir))?;
        if is_unfinished(names, &list) {
            return Err(OpenError::NoLog(names.dir.clone()));
        }
        return Err(
            match list
                .into_iter()
                .find(|name| names.recognise(name).is_some())
            {
                Some(file) => OpenError::ManifestMissing(path, file),
                None => OpenError::NoLog(names.dir.clone()),
            },
        );
    }
    let text = read_small_file(disk, &path, MANIFEST_BYTES_MAX).map_err(io_at(&path))?;
    let manifest = Manifest::parse(&text).map_err(|error| OpenError::Manifest { path, error })?;
    Ok((manifest, sums::manifest_id(&text)))
}

pub(super) fn begins_with_rdb(disk: &dyn Disk, path: &Path) -> Result<bool, OpenError> {
    let mut magic = [0; 5];
    let file = disk.open(path).map_err(io_at(path))?;
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(&magic == b"REDIS"),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(io_at(path)(e)),
    }
}

pub(super) fn remove_left_overs(disk: &dyn Disk, names: &Names, but: Option<&str>) {
    let Ok(list) = disk.list(&names.dir) else {
        return;
    };
    let left_over = |name: &&String| name.starts_with(TEMP_PREFIX) && but != Some(name.as_str());
    for name in list.iter().filter(left_over) {
        if let Err(e) = disk.remove(&names.dir.join(name)) {
            tracing::warn!("log: removing the left-over {name} failed: {e}");
        }
    }
}
