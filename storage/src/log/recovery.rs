//! Start-up: from whatever a crash, a full disk or an operator left in the directory to a log that goes on.
//!
//! Order: lock the data directory; read the manifest; look at every file it names; load the base; check and replay the
//! segments in order; only then change anything: cut a torn tail (what is cut is kept aside), begin a new segment,
//! replace the manifest, remove left-overs. Until the manifest is replaced everything is as before, so a start can be
//! cut at any point and run again.
//!
//! A new segment is begun at each start, instead of going on in the last: the checksum chain, the filler and the
//! selected database need not be reconstructed, a tail that Redis appended needs no special case, and an old segment is
//! never written again once it has been checked. An empty last segment is replaced, so starting often does not pile up
//! files.
//!
//! What is done about each kind of damage is the table [`CASES`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

use parking_lot::Mutex;

use super::foreign::{self, ForeignStop};
use super::frame::{self, FrameHeader, Replid, SegmentHeader};
use super::manifest::{Entry, FileKind, MANIFEST_BYTES_MAX, Manifest, ManifestError};
use super::meta::{IndexEntry, SegmentIndex};
use super::rewrite::first_segment_bytes;
use super::ring::{LSN_BITS, Ring};
use super::scan::{self, FrameScan, Stop};
use super::segment::{self, Names, SegmentInfo, TEMP_PREFIX};
use super::sync::{self, Signal, SyncPoint, SyncPolicy};
use super::watermark::Watermarks;
use super::writer::{ActiveSegment, INDEX_STEP_BYTES, Writer};
use super::{Catalogue, Log, LogOptions, Shared};
use crate::disk::{Disk, DiskLock, FileView, FileWriter, read_small_file, replace_file};
use crate::{Lsn, UnixMillis};

/// The file whose lock makes a data directory one process's.
const LOCK_FILE: &str = "hardtack.lock";

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
    #[error("{path} is {what}, but the manifest names it")]
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

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |error| OpenError::Io { path, error }
}

/// How a segment can end, as far as the decision needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Filler or the end of the file after the last frame or command.
    Clean,
    /// A bad header line or birth frame: both were durable before the manifest named the file.
    BadBeginning,
    /// A bad frame, and a later one whose `sync` is above it.
    BadFrameOnceDurable,
    /// A bad frame, and no such proof.
    BadFrame,
    /// A file of another server ends inside a command or a transaction.
    CommandCutOff,
    /// A file of another server has something that is no command.
    NoCommand,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    GoOn,
    /// Cut, keep aside, report, start.
    CutTail,
    /// Stop the start, unless the loss is accepted.
    Corrupt,
}

/// One row of the table.
struct Case {
    name: &'static str,
    ending: Ending,
    last: bool,
    decision: Decision,
}

const fn case(name: &'static str, ending: Ending, last: bool, decision: Decision) -> Case {
    Case {
        name,
        ending,
        last,
        decision,
    }
}

/// How a segment can end, whether it is the last one, and what follows from that.
const CASES: [Case; 12] = [
    case("sealed_segment", Ending::Clean, false, Decision::GoOn),
    case("last_segment", Ending::Clean, true, Decision::GoOn),
    // Sealed segments were synced before the manifest named the next: damage in them is never a torn write.
    case(
        "sealed_segment_bad_beginning",
        Ending::BadBeginning,
        false,
        Decision::Corrupt,
    ),
    case(
        "sealed_segment_bad_frame",
        Ending::BadFrame,
        false,
        Decision::Corrupt,
    ),
    case(
        "sealed_segment_bad_frame_once_durable",
        Ending::BadFrameOnceDurable,
        false,
        Decision::Corrupt,
    ),
    case(
        "last_segment_bad_beginning",
        Ending::BadBeginning,
        true,
        Decision::Corrupt,
    ),
    case(
        "last_segment_bad_frame_once_durable",
        Ending::BadFrameOnceDurable,
        true,
        Decision::Corrupt,
    ),
    case("torn_tail", Ending::BadFrame, true, Decision::CutTail),
    // Unless `LogOptions::load_cut_off` forbids it.
    case(
        "foreign_tail_cut_off",
        Ending::CommandCutOff,
        true,
        Decision::CutTail,
    ),
    case(
        "foreign_file_cut_off_in_the_middle",
        Ending::CommandCutOff,
        false,
        Decision::Corrupt,
    ),
    case(
        "foreign_last_file_no_command",
        Ending::NoCommand,
        true,
        Decision::Corrupt,
    ),
    case(
        "foreign_file_no_command",
        Ending::NoCommand,
        false,
        Decision::Corrupt,
    ),
];

fn decide(ending: Ending, last: bool) -> &'static Case {
    CASES
        .iter()
        .find(|case| case.ending == ending && case.last == last)
        .expect("the table has a row for every pair")
}

/// True if the directory has a log or parts of one.
pub(super) fn exists(disk: &dyn Disk, data_dir: &Path, options: &LogOptions) -> io::Result<bool> {
    let names = names(data_dir, options);
    if disk.metadata(&names.dir)?.is_none() {
        return Ok(false);
    }
    let manifest = names.manifest();
    let list = disk.list(&names.dir)?;
    Ok(list
        .iter()
        .any(|name| names.recognise(name).is_some() || names.dir.join(name) == manifest))
}

fn names(data_dir: &Path, options: &LogOptions) -> Names {
    Names {
        dir: data_dir.join(&options.dir_name),
        prefix: options.file_name.clone(),
    }
}

fn take_lock(disk: &dyn Disk, data_dir: &Path) -> Result<Box<dyn DiskLock>, OpenError> {
    let path = data_dir.join(LOCK_FILE);
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(path.clone()),
        _ => OpenError::Io {
            path: path.clone(),
            error,
        },
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
    remove_left_overs(&*disk, &names);
    // Temporary until complete: a crash must not leave a base without a manifest, which no start would accept.
    let temp = names.temp_base(1);
    let base_bytes = (|| {
        let mut writer = FileWriter::create(&*disk, &temp)?;
        base(&mut writer)?;
        writer.finish()
    })()
    .map_err(io_at(&temp))?;
    let name = names.base(1);
    let manifest = Manifest {
        base: Some(Entry {
            name,
            seq: 1,
            kind: FileKind::Base,
        }),
        history: vec![],
        increments: vec![],
        checked: true,
    };
    let replid = options.replid.unwrap_or_else(Replid::random);
    let found = Found {
        manifest,
        segments: vec![],
        base_lsn: start,
        base_bytes,
        end: start,
        replid,
        indexes: vec![],
        new_base: Some(temp),
    };
    finish(
        disk,
        names,
        options,
        lock,
        found,
        RecoveryReport {
            end: start,
            ..RecoveryReport::default()
        },
    )
}

/// What recovery has learnt, before the log goes on.
struct Found {
    manifest: Manifest,
    segments: Vec<SegmentInfo>,
    base_lsn: Lsn,
    base_bytes: u64,
    end: Lsn,
    replid: Replid,
    indexes: Vec<(String, SegmentIndex)>,
    /// A base that still has its temporary name.
    new_base: Option<PathBuf>,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    options: LogOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Log, OpenError> {
    let lock = take_lock(&*disk, data_dir)?;
    let names = names(data_dir, &options);
    let manifest = read_manifest(&*disk, &names)?;
    let mut recovery = Recovery {
        disk: &*disk,
        names: &names,
        options: &options,
        target,
        report: RecoveryReport::default(),
        replid: None,
        segments: Vec::new(),
        indexes: Vec::new(),
        cut: None,
    };
    let found = recovery.run(manifest)?;
    let report = recovery.report;
    finish(disk, names, options, lock, found, report)
}

fn read_manifest(disk: &dyn Disk, names: &Names) -> Result<Manifest, OpenError> {
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
    Manifest::parse(&text).map_err(|error| OpenError::Manifest { path, error })
}

/// A segment as found.
struct Opened {
    entry: Entry,
    path: PathBuf,
    view: FileView,
    framed: bool,
}

/// Where the log is to end, when that is before the end of its files.
struct Cut {
    /// Index of the segment among the increments.
    index: usize,
    position: usize,
    lsn: Lsn,
    reason: String,
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    names: &'a Names,
    options: &'a LogOptions,
    target: &'a mut dyn ReplayTarget,
    report: RecoveryReport,
    replid: Option<Replid>,
    segments: Vec<SegmentInfo>,
    indexes: Vec<(String, SegmentIndex)>,
    cut: Option<Cut>,
}

impl Recovery<'_> {
    fn run(&mut self, mut manifest: Manifest) -> Result<Found, OpenError> {
        let opened = self.open_segments(&manifest)?;
        self.refuse_unlisted(&manifest)?;
        let first_lsn = match opened.first() {
            Some(first) if first.framed => Some(self.segment_header(first)?.lsn),
            _ => None,
        };
        let (base_lsn, base_bytes) = self.load_base(&manifest, &opened, first_lsn)?;
        let mut lsn = base_lsn;
        for (index, segment) in opened.iter().enumerate() {
            lsn = self.replay_segment(&opened, index, segment, lsn)?;
            if self.cut.is_some() {
                break;
            }
        }
        if lsn.0 >> LSN_BITS != 0 {
            let path = self.names.manifest();
            return Err(OpenError::WrongFile {
                path,
                expected: "an LSN of 48 bits".into(),
                found: lsn.to_string(),
            });
        }
        if let Some(cut) = self.cut.take() {
            self.cut_off(&mut manifest, &opened, cut)?;
        }
        self.report.end = lsn;
        let replid = self
            .options
            .replid
            .or(self.replid)
            .unwrap_or_else(Replid::random);
        Ok(Found {
            manifest,
            segments: std::mem::take(&mut self.segments),
            base_lsn,
            base_bytes,
            end: lsn,
            replid,
            indexes: std::mem::take(&mut self.indexes),
            new_base: None,
        })
    }

    fn open_segments(&self, manifest: &Manifest) -> Result<Vec<Opened>, OpenError> {
        let mut opened = Vec::new();
        for entry in &manifest.increments {
            let path = self.names.dir.join(&entry.name);
            let file = match self.disk.open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Err(OpenError::File {
                        path,
                        what: "missing",
                    });
                }
                Err(error) => return Err(OpenError::Io { path, error }),
            };
            if let Some((FileKind::Increment, seq)) = self.names.recognise(&entry.name)
                && seq != entry.seq
            {
                let (expected, found) = (
                    format!("sequence number {}", entry.seq),
                    format!("the name of {seq}"),
                );
                return Err(OpenError::WrongFile {
                    path,
                    expected,
                    found,
                });
            }
            let bytes = file.len().map_err(io_at(&path))?;
            let view = file.view(bytes).map_err(io_at(&path))?;
            let framed = scan::looks_framed(&view);
            opened.push(Opened {
                entry: entry.clone(),
                path,
                view,
                framed,
            });
        }
        // Redis begins with an empty file and may leave some behind; ours are never empty, nor named by our manifest.
        let last_framed = opened.iter().rposition(|s| s.framed);
        let ours = |index: usize| {
            manifest.checked
                || last_framed.is_some_and(|last| index <= last || index + 1 < opened.len())
        };
        if let Some(index) = (0..opened.len()).find(|&i| opened[i].view.is_empty() && ours(i)) {
            return Err(OpenError::File {
                path: opened[index].path.clone(),
                what: "empty",
            });
        }
        Ok(opened)
    }

    /// A manifest that is older than the files beside it (a copy put back) would lose what they hold.
    fn refuse_unlisted(&self, manifest: &Manifest) -> Result<(), OpenError> {
        let list = self
            .disk
            .list(&self.names.dir)
            .map_err(io_at(&self.names.dir))?;
        let base_seq = manifest.base.as_ref().map_or(0, |base| base.seq);
        let unlisted: Vec<_> = list
            .iter()
            .filter(|name| !manifest.names(name))
            .filter_map(|n| Some((n, self.names.recognise(n)?)))
            .collect();
        // A newer base: the switch to it was cut off, and its segment holds nothing that counts.
        if unlisted
            .iter()
            .any(|(_, (kind, seq))| *kind == FileKind::Base && *seq > base_seq)
        {
            return Ok(());
        }
        for (name, (kind, seq)) in unlisted {
            if kind != FileKind::Increment || seq <= manifest.last_increment_seq() {
                continue;
            }
            let path = self.names.dir.join(name);
            let file = self.disk.open(&path).map_err(io_at(&path))?;
            let view = file
                .len()
                .and_then(|bytes| file.view(bytes))
                .map_err(io_at(&path))?;
            let has_data = match SegmentHeader::parse(&view) {
                Some(header) => {
                    FrameScan::new(&view, &header).any(|frame| !frame.payload.is_empty())
                }
                None => !view.is_empty(),
            };
            if has_data {
                let expected = format!("no segment after number {}", manifest.last_increment_seq());
                return Err(OpenError::WrongFile {
                    path,
                    expected,
                    found: "one that the manifest does not name".into(),
                });
            }
        }
        Ok(())
    }

    fn segment_header(&mut self, segment: &Opened) -> Result<SegmentHeader, OpenError> {
        let Some(header) = SegmentHeader::parse(&segment.view) else {
            return Err(OpenError::Corrupt {
                damage: Damage::Checked,
                path: segment.path.clone(),
                position: 0,
                lsn: Lsn::ZERO,
                expected: "a segment header".into(),
                found: "a damaged one".into(),
                lost_bytes: segment.view.len() as u64,
            });
        };
        let known = |id: &Replid| {
            self.options.older_replids.contains(id) || self.options.replid.as_ref() == Some(id)
        };
        let expected = self.replid.or(self.options.replid);
        if expected.is_some_and(|id| id != header.replid) && !known(&header.replid) {
            return Err(OpenError::WrongFile {
                path: segment.path.clone(),
                expected: format!(
                    "replid {}",
                    expected.map_or(String::new(), |id| id.to_string())
                ),
                found: header.replid.to_string(),
            });
        }
        self.replid = Some(header.replid);
        Ok(header)
    }

    /// Loads the base and returns the position it stands for, and its size.
    fn load_base(
        &mut self,
        manifest: &Manifest,
        opened: &[Opened],
        first_lsn: Option<Lsn>,
    ) -> Result<(Lsn, u64), OpenError> {
        let Some(base) = &manifest.base else {
            // Redis can have a log without a base, which ours then goes on from; one that begins with ours has one.
            if opened.first().is_some_and(|segment| segment.framed) {
                return Err(OpenError::File {
                    path: self.names.dir.join(self.names.base(1)),
                    what: "missing",
                });
            }
            return Ok((Lsn::ZERO, 0));
        };
        let path = self.names.dir.join(&base.name);
        let bytes = match self.disk.metadata(&path).map_err(io_at(&path))? {
            None => {
                return Err(OpenError::File {
                    path,
                    what: "missing",
                });
            }
            Some(found) if found.bytes == 0 => {
                return Err(OpenError::File {
                    path,
                    what: "empty",
                });
            }
            Some(found) => found.bytes,
        };
        let replay = |error| OpenError::Replay {
            path: path.clone(),
            error,
        };
        let loaded = if base.name.ends_with(".aof") && !begins_with_rdb(self.disk, &path)? {
            BaseLoaded {
                lsn: None,
                rdb_bytes: Some(0),
            }
        } else {
            self.target.load_base(&path).map_err(replay)?
        };
        if let Some(rdb_bytes) = loaded.rdb_bytes.filter(|&rdb_bytes| rdb_bytes < bytes) {
            self.replay_base_commands(&path, bytes, rdb_bytes)?;
        }
        let lsn = match (first_lsn, loaded.lsn) {
            (Some(first), Some(said)) if first != said => {
                return Err(OpenError::WrongFile {
                    path,
                    expected: format!("a base as of LSN {first}, where the first segment begins"),
                    found: format!("LSN {said}"),
                });
            }
            (first, said) => first.or(said).unwrap_or(Lsn::ZERO),
        };
        Ok((lsn, bytes))
    }

    fn replay_base_commands(
        &mut self,
        path: &Path,
        bytes: u64,
        from: u64,
    ) -> Result<(), OpenError> {
        let view = self
            .disk
            .open(path)
            .and_then(|file| file.view(bytes))
            .map_err(io_at(path))?;
        self.target.begin_file();
        let (_, stop) = foreign::walk(&view, from as usize, |payload, _| {
            self.target.replay_base(payload)
        })
        .map_err(|error| OpenError::Replay {
            path: path.to_path_buf(),
            error,
        })?;
        self.report.unchecked_files.push(path.display().to_string());
        match stop {
            None => Ok(()),
            Some(stop) => {
                let (damage, position, expected) = stop.describe();
                Err(OpenError::Corrupt {
                    damage,
                    path: path.to_path_buf(),
                    position: position as u64,
                    lsn: Lsn::ZERO,
                    expected: expected.into(),
                    found: "something else".into(),
                    lost_bytes: bytes - position as u64,
                })
            }
        }
    }

    /// Checks and replays one segment; returns where it ends, or where the log is to end.
    fn replay_segment(
        &mut self,
        all: &[Opened],
        index: usize,
        segment: &Opened,
        lsn: Lsn,
    ) -> Result<Lsn, OpenError> {
        self.target.begin_file();
        if !segment.framed {
            return self.replay_foreign(all, index, 0, lsn, lsn, Vec::new());
        }
        let header = self.segment_header(segment)?;
        if header.lsn != lsn {
            return Err(OpenError::WrongFile {
                path: segment.path.clone(),
                expected: format!(
                    "a segment that begins at LSN {lsn}, where the one before (or the base) ends"
                ),
                found: format!("one that begins at LSN {}", header.lsn),
            });
        }
        let mut entries: Vec<IndexEntry> = Vec::new();
        let mut frames = 0;
        let mut scan = FrameScan::new(&segment.view, &header);
        for frame in scan.by_ref() {
            frames += 1;
            if frame.payload.is_empty() {
                continue;
            }
            self.target
                .replay(frame.payload, frame.header.lsn, Some(frame.header.ts))
                .map_err(|error| OpenError::Replay {
                    path: segment.path.clone(),
                    error,
                })?;
            self.report.frames += 1;
            self.report.replayed_bytes += frame.payload.len() as u64;
            if entries
                .last()
                .is_none_or(|last| frame.at >= last.position + INDEX_STEP_BYTES)
            {
                let FrameHeader { lsn, ts, .. } = frame.header;
                entries.push(IndexEntry {
                    lsn: lsn.0,
                    ts: ts.0,
                    position: frame.at,
                });
            }
        }
        let (position, end) = (scan.position(), scan.lsn());
        match scan.stop() {
            Stop::End => {
                let ending = if frames == 0 {
                    Ending::BadBeginning
                } else {
                    Ending::Clean
                };
                self.settle(all, index, ending, position, end, "a birth frame", "none")?;
                self.note_segment(segment, header.lsn, end, position as u64, true, entries);
                Ok(end)
            }
            Stop::ForeignTail(at) if frames > 0 => {
                self.replay_foreign(all, index, at, header.lsn, end, entries)
            }
            Stop::ForeignTail(at) => {
                self.settle(
                    all,
                    index,
                    Ending::BadBeginning,
                    at,
                    end,
                    "a birth frame",
                    "commands",
                )?;
                Ok(end)
            }
            Stop::Bad {
                at,
                expected,
                found,
            } => {
                let ending = if frames == 0 {
                    Ending::BadBeginning
                } else if scan::proof_of_sync(&segment.view, at, end).is_some() {
                    Ending::BadFrameOnceDurable
                } else {
                    Ending::BadFrame
                };
                self.settle(all, index, ending, at, end, &expected, &found)?;
                self.note_segment(segment, header.lsn, end, at as u64, true, entries);
                Ok(end)
            }
        }
    }

    /// Replays commands without frames from file position `from` on, which is LSN `lsn`.
    fn replay_foreign(
        &mut self,
        all: &[Opened],
        index: usize,
        from: usize,
        segment_start: Lsn,
        lsn: Lsn,
        entries: Vec<IndexEntry>,
    ) -> Result<Lsn, OpenError> {
        let segment = &all[index];
        let view = &segment.view;
        let (bytes, stop) = foreign::walk(view, from, |payload, at| {
            self.target.replay(payload, lsn + at, None)
        })
        .map_err(|error| OpenError::Replay {
            path: segment.path.clone(),
            error,
        })?;
        self.report.replayed_bytes += bytes;
        self.report.unchecked_files.push(segment.entry.name.clone());
        let end = lsn + bytes;
        let (ending, at, expected) = match stop {
            None => (Ending::Clean, view.len(), ""),
            Some(ForeignStop::Truncated { at }) => {
                (Ending::CommandCutOff, at, "a whole command or transaction")
            }
            Some(ForeignStop::Bad { at, expected }) => (Ending::NoCommand, at, expected),
        };
        self.settle(all, index, ending, at, end, expected, "something else")?;
        self.note_segment(segment, segment_start, end, at as u64, false, entries);
        Ok(end)
    }

    /// Looks the ending up in the table and does what it says.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call per ending; a struct would only rename the list"
    )]
    fn settle(
        &mut self,
        all: &[Opened],
        index: usize,
        ending: Ending,
        at: usize,
        lsn: Lsn,
        expected: &str,
        found: &str,
    ) -> Result<(), OpenError> {
        let case = decide(ending, index + 1 == all.len());
        let segment = &all[index];
        let decision = match ending {
            Ending::CommandCutOff if !self.options.load_cut_off => Decision::Corrupt,
            _ => case.decision,
        };
        match decision {
            Decision::GoOn => return Ok(()),
            Decision::Corrupt if self.options.recover == RecoverMode::Strict => {
                let here = segment.view.len() - at;
                let later: usize = all[index + 1..].iter().map(|later| later.view.len()).sum();
                return Err(OpenError::Corrupt {
                    damage: match ending {
                        Ending::NoCommand => Damage::NoCommand,
                        Ending::CommandCutOff => Damage::CutOff,
                        _ => Damage::Checked,
                    },
                    path: segment.path.clone(),
                    position: at as u64,
                    lsn,
                    expected: expected.into(),
                    found: found.into(),
                    lost_bytes: (here - trailing_filler(&segment.view[at..]) + later) as u64,
                });
            }
            Decision::Corrupt | Decision::CutTail => {}
        }
        let reason = format!("{}: expected {expected}, found {found}", case.name);
        self.cut = Some(Cut {
            index,
            position: at,
            lsn,
            reason,
        });
        Ok(())
    }

    fn note_segment(
        &mut self,
        segment: &Opened,
        start: Lsn,
        end: Lsn,
        bytes: u64,
        framed: bool,
        entries: Vec<IndexEntry>,
    ) {
        let name = segment.entry.name.clone();
        if framed {
            self.indexes.push((
                name.clone(),
                SegmentIndex {
                    start: start.0,
                    end: end.0,
                    bytes,
                    entries,
                },
            ));
        }
        self.segments.push(SegmentInfo {
            name,
            seq: segment.entry.seq,
            start,
            end: Some(end),
            bytes,
            framed,
        });
    }

    /// Ends the log at the cut. The order makes it repeatable: what is cut is kept aside first, then the manifest
    /// forgets later segments, then the file is cut, then later segments are set aside.
    fn cut_off(
        &mut self,
        manifest: &mut Manifest,
        opened: &[Opened],
        cut: Cut,
    ) -> Result<(), OpenError> {
        let segment = &opened[cut.index];
        let tail = &segment.view[cut.position..];
        let tail = &tail[..tail.len() - trailing_filler(tail)];
        let kept_as = self.names.torn(&segment.entry.name, cut.lsn);
        replace_file(self.disk, &kept_as, tail).map_err(io_at(&kept_as))?;
        let later = manifest.increments.split_off(cut.index + 1);
        if !later.is_empty() {
            let path = self.names.manifest();
            replace_file(self.disk, &path, &manifest.encode()).map_err(io_at(&path))?;
        }
        let file = self
            .disk
            .open_write(&segment.path)
            .map_err(io_at(&segment.path))?;
        file.set_len(cut.position as u64)
            .and_then(|()| file.sync_all())
            .map_err(io_at(&segment.path))?;
        for entry in &later {
            let (path, aside) = (
                self.names.dir.join(&entry.name),
                self.names.torn(&entry.name, cut.lsn),
            );
            self.disk.rename(&path, &aside).map_err(io_at(&path))?;
        }
        let bytes = tail.len() as u64;
        tracing::warn!(
            "log: {} cut at byte {} (LSN {}), {bytes} bytes kept in {}: {}",
            segment.path.display(),
            cut.position,
            cut.lsn,
            kept_as.display(),
            cut.reason
        );
        self.report.cut = Some(CutTail {
            segment: segment.path.clone(),
            position: cut.position as u64,
            lsn: cut.lsn,
            bytes,
            kept_as,
            reason: cut.reason,
        });
        Ok(())
    }
}

/// How many bytes of filler `bytes` ends in.
fn trailing_filler(bytes: &[u8]) -> usize {
    let mut line = [0; frame::FILLER_BYTES];
    frame::fill(&mut line);
    let lines = bytes
        .rchunks_exact(line.len())
        .take_while(|chunk| **chunk == line)
        .count();
    lines * line.len()
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

fn remove_left_overs(disk: &dyn Disk, names: &Names) {
    let Ok(list) = disk.list(&names.dir) else {
        return;
    };
    for name in list.iter().filter(|name| name.starts_with(TEMP_PREFIX)) {
        if let Err(e) = disk.remove(&names.dir.join(name)) {
            tracing::warn!("log: removing the left-over {name} failed: {e}");
        }
    }
}

/// Begins a new segment at the log's end, replaces the manifest, tidies up and starts the threads.
fn finish(
    disk: Arc<dyn Disk>,
    names: Names,
    options: LogOptions,
    lock: Box<dyn DiskLock>,
    mut found: Found,
    report: RecoveryReport,
) -> Result<Log, OpenError> {
    if found.new_base.is_none() {
        remove_left_overs(&*disk, &names);
    }
    // The last segment may hold bytes that were never synced; the new one says that they are safe.
    if let Some(last) = found.segments.last() {
        let path = names.dir.join(&last.name);
        let file = disk.open_write(&path).map_err(io_at(&path))?;
        file.set_len(last.bytes)
            .and_then(|()| file.sync_all())
            .map_err(io_at(&path))?;
    }
    let seq = found.manifest.last_increment_seq() + 1;
    let name = names.increment(seq);
    let path = names.dir.join(&name);
    let temp = names.temp_segment(seq);
    let prepared = segment::prepare(
        &*disk,
        &temp,
        first_segment_bytes(options.segment_bytes),
        options.policy == SyncPolicy::Always,
    )
    .map_err(io_at(&temp))?;
    let mut active = ActiveSegment::begin(prepared, seq, found.replid, found.end, found.end)
        .map_err(io_at(&temp))?;
    disk.rename(&temp, &path).map_err(io_at(&path))?;
    active.path = path;
    if let (Some(temp), Some(base)) = (&found.new_base, &found.manifest.base) {
        disk.rename(temp, &names.dir.join(&base.name))
            .map_err(io_at(temp))?;
    }
    disk.sync_dir(&names.dir).map_err(io_at(&names.dir))?;

    // An empty last segment is replaced by the new one; so are empty files that Redis left.
    let emptied: Vec<String> = found
        .segments
        .iter()
        .filter(|s| s.end == Some(s.start))
        .map(|s| s.name.clone())
        .collect();
    found
        .segments
        .retain(|segment| !emptied.contains(&segment.name));
    found
        .manifest
        .increments
        .retain(|entry| !emptied.contains(&entry.name));
    found.indexes.retain(|(name, _)| !emptied.contains(name));
    let history: Vec<String> = found
        .manifest
        .history
        .drain(..)
        .map(|entry| entry.name)
        .collect();
    found.manifest.increments.push(Entry {
        name: name.clone(),
        seq,
        kind: FileKind::Increment,
    });
    let manifest_path = names.manifest();
    replace_file(&*disk, &manifest_path, &found.manifest.encode())
        .map_err(io_at(&manifest_path))?;
    for name in history.iter().chain(&emptied) {
        for path in [names.dir.join(name), names.index(name)] {
            // Not there, or left for the operator: the manifest no longer names it.
            let _ = disk.remove(&path);
        }
    }
    found.segments.push(SegmentInfo {
        name,
        seq,
        start: found.end,
        end: None,
        bytes: 0,
        framed: true,
    });

    let log_signal = Arc::new(Signal::new());
    let wake = Arc::clone(&log_signal);
    let (ring, consumer) = Ring::new(options.ring_bytes, found.end, Box::new(move || wake.wake()));
    let dir = names.dir.clone();
    let shared = Arc::new(Shared {
        marks: Watermarks::new(found.end),
        sync_point: SyncPoint::new(Arc::clone(&active.file), found.end),
        writer: Mutex::new(Writer::new(consumer, active)),
        sync_lock: Mutex::new(()),
        catalogue: Mutex::new(Catalogue {
            manifest: found.manifest,
            segments: found.segments,
            base_lsn: found.base_lsn,
            base_bytes: found.base_bytes,
            indexes: found.indexes,
        }),
        cuts: Mutex::default(),
        prepared: Mutex::new(None),
        want_prepared: AtomicBool::new(false),
        policy: AtomicU8::new(0),
        healing: AtomicBool::new(false),
        deferred_to: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        log_signal,
        sync_signal: Signal::new(),
        prepare_signal: Signal::new(),
        manifest_lock: Mutex::new(()),
        rewriting: AtomicBool::new(false),
        replid: found.replid,
        ring,
        disk,
        names,
        options,
        dir_lock: Mutex::new(Some(lock)),
    });
    let log = Log {
        shared,
        threads: Mutex::default(),
        report,
    };
    log.set_policy(log.shared.options.policy);
    *log.threads.lock() = sync::start(&log.shared).map_err(io_at(&dir))?;
    log.shared.prepare_signal.wake();
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_exactly_one_row() {
        use Ending::*;
        for ending in [
            Clean,
            BadBeginning,
            BadFrameOnceDurable,
            BadFrame,
            CommandCutOff,
            NoCommand,
        ] {
            for last in [false, true] {
                let rows = CASES
                    .iter()
                    .filter(|case| case.ending == ending && case.last == last)
                    .count();
                assert_eq!(rows, 1, "{ending:?} {last}");
            }
        }
    }

    #[test]
    fn only_full_filler_lines_at_the_end_are_counted() {
        let mut bytes = b"torn".to_vec();
        bytes.extend([0; 128]);
        frame::fill(&mut bytes[4..]);
        assert_eq!(trailing_filler(&bytes), 128);
        assert_eq!(trailing_filler(&bytes[..131]), 0);
        assert_eq!(trailing_filler(b""), 0);
    }
}
