//! A log's files, read by somebody who takes no part in the log: a tool beside a server, or after it.
//!
//! Nothing on the disk is changed, and no lock is taken. What is read goes through the same checks as at a start
//! ([`super::recovery`]); the difference is in what is done about damage: here it is only told.
//!
//! The directory may belong to a server that is at work. Then its last segment grows, so it is copied before it is looked
//! at, and its end may be seen half written; files may go while they are read, because a compaction has replaced them.
//! Whoever finds something missing or torn in such a directory reads the manifest anew and looks again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{FRAME_BYTES, FrameHeader, HEADER_BYTES, Replid, SegmentHeader};
use super::manifest::{Entry, FileKind, Manifest};
use super::recovery::cut::{Cut, trailing_filler};
use super::recovery::replay::{Opened, Recovery};
use super::recovery::{self, OpenError, RecoverMode, ReplayTarget, io_at};
use super::scan;
use super::segment::Names;
use super::sums::{self, SealedFile};
use super::{FollowError, Follower, LogOptions};
use crate::disk::{Disk, LOCK_FILE, ReadOnlyDisk};
use crate::{Lsn, UnixMillis};

/// What the manifest has a file for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// The snapshot that the log begins with.
    Base,
    /// A base of before, kept to go back to.
    OldBase,
    /// A segment after the base.
    Segment,
    /// A segment below the base, kept for readers that are behind and to go back to.
    History,
}

/// A file that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name in the log's directory.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its number.
    pub seq: u64,
    /// What it is for.
    pub role: FileRole,
    /// It is the last segment, which a server writes.
    pub is_last: bool,
}

/// What the beginning of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStart {
    /// The file.
    pub file: LogFile,
    /// History and position of its first byte. `None` if it does not begin like a segment of ours.
    pub header: Option<(Replid, Lsn)>,
    /// When it was begun.
    pub since: Option<UnixMillis>,
}

/// What is wrong with a file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDamage {
    /// The row of the start's table of cases, where it is one of those.
    pub case: Option<&'static str>,
    /// Where in the file, if it is a place.
    pub position: Option<u64>,
    /// Where in the stream: everything before is good.
    pub lsn: Option<Lsn>,
    /// What should be there.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Bytes from the damage on, without unused space.
    pub bytes_after: u64,
    /// Frames behind the damage that look whole, and where the last of them ends.
    pub frames_after: u64,
    /// See `frames_after`.
    pub end_after: Option<Lsn>,
}

/// One segment or file of commands, read on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReading {
    /// Length of the file.
    pub bytes: u64,
    /// Length of what is good and in use.
    pub used_bytes: u64,
    /// Position of the first byte, and after the last good one. Counted from where the reader said for a file without
    /// frames.
    pub range: (Lsn, Lsn),
    /// It has commands without checksums.
    pub unchecked: bool,
    /// The history that it belongs to, and when it was begun, if it is ours.
    pub replid: Option<Replid>,
    /// See `replid`.
    pub since: Option<UnixMillis>,
    /// What is wrong with it.
    pub damage: Option<FileDamage>,
}

/// Where a start would end the log before the end of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCut {
    /// The row of the table of cases.
    pub case: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// Where in the stream.
    pub lsn: Lsn,
    /// Bytes of that file that would go.
    pub bytes: u64,
    /// What should be there.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Later segments, which would go altogether.
    pub later: Vec<PathBuf>,
    /// Their bytes.
    pub later_bytes: u64,
}

/// What a start would make of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The position that the base stands for.
    pub base_lsn: Lsn,
    /// Where the log would go on.
    pub end: Lsn,
    /// What would be cut off.
    pub cut: Option<PlannedCut>,
    /// Files without checksums.
    pub unchecked_files: Vec<String>,
}

/// Why the log cannot be read as asked.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// What is wrong.
    pub error: OpenError,
    /// The row of the start's table of cases, where it is one of those.
    pub case: Option<&'static str>,
}

impl From<OpenError> for Unreadable {
    fn from(error: OpenError) -> Unreadable {
        Unreadable { error, case: None }
    }
}

/// See the module header.
pub struct LogFiles {
    disk: Arc<ReadOnlyDisk>,
    names: Names,
    manifest: Manifest,
    manifest_id: u32,
    sealed: Vec<SealedFile>,
    live: bool,
}

impl LogFiles {
    /// Reads the manifest in a log's own directory. `prefix` is what the names of its files begin with.
    ///
    /// # Errors
    /// [`OpenError`] if there is none, or a damaged one.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, prefix: &str) -> Result<LogFiles, OpenError> {
        let names = Names {
            dir: dir.to_path_buf(),
            prefix: prefix.into(),
        };
        // A relative name alone has the empty path as its parent.
        let data_dir = match dir.canonicalize() {
            Ok(dir) => dir.parent().unwrap_or(Path::new("/")).to_path_buf(),
            Err(_) => dir.parent().unwrap_or(Path::new("")).to_path_buf(),
        };
        let lock = data_dir.join(LOCK_FILE);
        let live = disk.is_locked(&lock).map_err(io_at(&lock))?;
        let disk = Arc::new(ReadOnlyDisk::new(disk));
        let (manifest, manifest_id) = recovery::read_manifest(&*disk, &names)?;
        if live && let Some(last) = manifest.increments.last() {
            disk.is_growing(dir.join(&last.name));
        }
        let sealed = sums::read(&*disk, &names, manifest_id);
        Ok(LogFiles {
            disk,
            names,
            manifest,
            manifest_id,
            sealed,
            live,
        })
    }

    /// A server is at work on the directory.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The log's own directory.
    pub fn dir(&self) -> &Path {
        &self.names.dir
    }

    /// What the names of its files begin with.
    pub fn prefix(&self) -> &str {
        &self.names.prefix
    }

    /// The manifest's path.
    pub fn manifest_path(&self) -> PathBuf {
        self.names.manifest()
    }

    /// Whether the manifest carries our checksum.
    pub fn manifest_is_checked(&self) -> bool {
        self.manifest.checked
    }

    /// Whether the manifest is not the one any more that was read.
    pub fn has_changed(&self) -> bool {
        recovery::read_manifest(&*self.disk, &self.names)
            .map_or(true, |(_, id)| id != self.manifest_id)
    }

    /// The disk, for reading only.
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    /// All files that the manifest names, in the order of the log as far as that shows in their numbers: history, base,
    /// segments.
    pub fn files(&self) -> Vec<LogFile> {
        let mut history: Vec<&Entry> = self.manifest.history.iter().collect();
        history.sort_by_key(|entry| (self.kind_of(entry) != FileKind::Base, entry.seq));
        let old = history.into_iter().map(|entry| {
            let role = match self.kind_of(entry) {
                FileKind::Base => FileRole::OldBase,
                _ => FileRole::History,
            };
            self.file(entry, role)
        });
        let base = self.manifest.base.iter();
        let base = base.map(|entry| self.file(entry, FileRole::Base));
        let segments = self.manifest.increments.iter();
        let segments = segments.map(|entry| self.file(entry, FileRole::Segment));
        old.chain(base).chain(segments).collect()
    }

    fn kind_of(&self, entry: &Entry) -> FileKind {
        match self.names.recognise(&entry.name) {
            Some((kind, _)) => kind,
            None if entry.name.ends_with(".rdb") => FileKind::Base,
            None => FileKind::Increment,
        }
    }

    fn file(&self, entry: &Entry, role: FileRole) -> LogFile {
        let last = self.manifest.increments.last();
        LogFile {
            name: entry.name.clone(),
            path: self.names.dir.join(&entry.name),
            seq: entry.seq,
            role,
            is_last: last.is_some_and(|last| last.name == entry.name),
        }
    }

    /// Files of the log that the manifest does not name: what is kept aside, and what was left behind.
    pub fn unnamed_files(&self) -> io::Result<Vec<String>> {
        let manifest = self.names.manifest();
        let private = |name: &String| {
            self.names.dir.join(name) == manifest
                || self.names.dir.join(name) == self.names.sums()
                || name
                    .strip_suffix(".idx")
                    .is_some_and(|segment| self.manifest.names(segment))
        };
        let mut list = self.disk.list(&self.names.dir)?;
        list.retain(|name| !self.manifest.names(name) && !private(name));
        Ok(list)
    }

    /// What a sealed file was like: its length, and the words for its checksum. `None` if that is not known.
    pub fn sealed(&self, name: &str) -> Option<u64> {
        let sealed = self.sealed.iter().find(|file| file.name == name)?;
        Some(sealed.bytes)
    }

    /// Reads one file of segments or commands on its own, whatever stands before it. What it holds goes to `target`;
    /// `at` is where it begins if it does not say so itself.
    pub fn read_alone(
        &self,
        file: &LogFile,
        at: Lsn,
        target: &mut dyn ReplayTarget,
    ) -> SegmentReading {
        read_alone(&*self.disk, &self.names, &file.name, file.seq, at, target)
    }

    /// Reads the whole log as a start would, with base and segments going to `target`.
    pub fn judge(
        &self,
        recover: RecoverMode,
        target: &mut dyn ReplayTarget,
    ) -> Result<Judgement, Unreadable> {
        let options = LogOptions {
            recover,
            ..LogOptions::default()
        };
        let (disk, names) = (&*self.disk, &self.names);
        let mut recovery = Recovery::new(disk, names, &options, target, self.sealed.clone());
        match recovery.read(&self.manifest) {
            Ok(read) => Ok(Judgement {
                base_lsn: read.base_lsn,
                end: read.end,
                cut: recovery.cut.take().map(|cut| planned(&cut, &read.opened)),
                unchecked_files: recovery.report.unchecked_files,
            }),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Where the segments begin, also those of history, in the order of their numbers.
    pub fn segments(&self) -> Result<Vec<SegmentStart>, OpenError> {
        let mut starts = Vec::new();
        let files = self.files().into_iter();
        for file in files.filter(|f| matches!(f.role, FileRole::History | FileRole::Segment)) {
            let mut begin = [0; HEADER_BYTES + FRAME_BYTES];
            let opened = self.disk.open(&file.path).map_err(io_at(&file.path))?;
            let read = read_up_to(&*opened, &mut begin).map_err(io_at(&file.path))?;
            let header = SegmentHeader::parse(&begin[..read]);
            let birth = begin[..read]
                .get(HEADER_BYTES..)
                .and_then(FrameHeader::parse)
                .filter(|birth| header.is_some_and(|header| header.lsn == birth.lsn));
            starts.push(SegmentStart {
                file,
                header: header.map(|header| (header.replid, header.lsn)),
                since: birth.map(|birth| birth.ts),
            });
        }
        starts.sort_by_key(|start| start.file.seq);
        Ok(starts)
    }

    /// Follows the log from a segment on, whose first byte is at `at`.
    pub fn follow(&self, start: &SegmentStart, at: Lsn) -> Result<Follower, FollowError> {
        Follower::new(self.disk(), &self.names.dir, &self.names.prefix, start, at)
    }

    /// Replays segments that follow each other, beginning with number `seq` at `lsn`, to the end of the log. Returns
    /// where that is, and what a start would cut off there.
    pub fn replay(
        &self,
        seq: u64,
        lsn: Lsn,
        target: &mut dyn ReplayTarget,
    ) -> Result<(Lsn, Option<PlannedCut>), Unreadable> {
        let increments = self.files().into_iter();
        let increments = increments
            .filter(|f| matches!(f.role, FileRole::History | FileRole::Segment) && f.seq >= seq)
            .map(|file| Entry {
                name: file.name,
                seq: file.seq,
                kind: FileKind::Increment,
            });
        let manifest = Manifest {
            increments: increments.collect(),
            checked: self.manifest.checked,
            ..Manifest::default()
        };
        let options = LogOptions::default();
        let (disk, names) = (&*self.disk, &self.names);
        let mut recovery = Recovery::new(disk, names, &options, target, self.sealed.clone());
        let outcome = recovery.open_segments(&manifest).and_then(|opened| {
            let end = recovery.replay_segments(&opened, lsn)?;
            Ok((opened, end))
        });
        match outcome {
            Ok((opened, end)) => Ok((end, recovery.cut.take().map(|cut| planned(&cut, &opened)))),
            Err(error) => Err(unreadable(error)),
        }
    }
}

/// Reads a segment, or a file of commands, that belongs to no log that we know of.
pub fn read_lone_segment(
    disk: Arc<dyn Disk>,
    path: &Path,
    target: &mut dyn ReplayTarget,
) -> SegmentReading {
    let disk = ReadOnlyDisk::new(disk);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names = Names {
        dir: path.parent().unwrap_or(Path::new("")).to_path_buf(),
        // No name is recognised as one of this log's.
        prefix: name.clone().into_owned(),
    };
    read_alone(&disk, &names, &name, 1, Lsn::ZERO, target)
}

fn read_alone(
    disk: &dyn Disk,
    names: &Names,
    name: &str,
    seq: u64,
    at: Lsn,
    target: &mut dyn ReplayTarget,
) -> SegmentReading {
    let options = LogOptions::default();
    let manifest = Manifest {
        increments: vec![Entry {
            name: name.into(),
            seq,
            kind: FileKind::Increment,
        }],
        ..Manifest::default()
    };
    let mut reading = SegmentReading {
        bytes: 0,
        used_bytes: 0,
        range: (at, at),
        unchecked: false,
        replid: None,
        since: None,
        damage: None,
    };
    let mut recovery = Recovery::new(disk, names, &options, target, Vec::new());
    let opened = match recovery.open_segments(&manifest) {
        Ok(opened) => opened,
        Err(error) => {
            reading.damage = Some(damage_of(&error, None));
            return reading;
        }
    };
    let segment = &opened[0];
    reading.bytes = segment.view.len() as u64;
    if let Some(header) = SegmentHeader::parse(&segment.view) {
        reading.range = (header.lsn, header.lsn);
        reading.replid = Some(header.replid);
    }
    let outcome = recovery.replay_segments(&opened, reading.range.0);
    reading.unchecked = !recovery.report.unchecked_files.is_empty();
    match outcome {
        Ok(_) => {
            if let Some(info) = recovery.segments.first() {
                reading.range.1 = info.end.unwrap_or(info.start);
                reading.used_bytes = info.bytes;
                reading.since = info.since;
            }
            if let Some(cut) = recovery.cut.take() {
                let mut damage = FileDamage {
                    case: Some(cut.case),
                    position: Some(cut.position as u64),
                    lsn: Some(cut.lsn),
                    expected: cut.expected.clone(),
                    found: cut.found.clone(),
                    ..damage_nowhere()
                };
                look_behind(&mut damage, segment);
                reading.damage = Some(damage);
            }
        }
        Err(error) => {
            let damage = damage_of(&error, Some(segment));
            if let (Some(position), Some(lsn)) = (damage.position, damage.lsn) {
                reading.used_bytes = position;
                reading.range.1 = reading.range.0.max(lsn);
            }
            reading.damage = Some(damage);
        }
    }
    reading
}

impl FileDamage {
    /// What the error tells of the file.
    pub fn of(error: &OpenError) -> FileDamage {
        damage_of(error, None)
    }
}

fn damage_nowhere() -> FileDamage {
    FileDamage {
        case: None,
        position: None,
        lsn: None,
        expected: String::new(),
        found: String::new(),
        bytes_after: 0,
        frames_after: 0,
        end_after: None,
    }
}

fn damage_of(error: &OpenError, segment: Option<&Opened>) -> FileDamage {
    let mut damage = damage_nowhere();
    match error {
        OpenError::Corrupt(corruption) => {
            damage.case = Some(corruption.case);
            damage.position = Some(corruption.position);
            damage.lsn = Some(corruption.good.end);
            damage.expected = corruption.expected.clone();
            damage.found = corruption.found.clone();
            match (segment, &corruption.loss) {
                (Some(segment), _) => look_behind(&mut damage, segment),
                (None, Some(loss)) => damage.bytes_after = loss.bytes,
                (None, None) => {}
            }
        }
        OpenError::WrongFile {
            expected, found, ..
        }
        | OpenError::Changed {
            expected, found, ..
        } => {
            damage.expected = expected.clone();
            damage.found = found.clone();
        }
        OpenError::File { what, .. } => {
            damage.expected = "a file with contents".into();
            damage.found = match *what {
                "missing" => "none: it is missing".into(),
                what => format!("one that is {what}"),
            };
        }
        OpenError::Replay { error, .. } => {
            damage.expected = "commands that can be read".into();
            damage.found = error.to_string();
        }
        OpenError::Io { error, .. } => {
            damage.expected = "a file that can be read".into();
            damage.found = error.to_string();
        }
        other => {
            damage.expected = "a file of the log".into();
            damage.found = other.to_string();
        }
    }
    damage
}

/// What there is behind the damage.
fn look_behind(damage: &mut FileDamage, segment: &Opened) {
    let at = damage.position.map_or(0, |at| at as usize);
    let view = &segment.view[at.min(segment.view.len())..];
    damage.bytes_after = (view.len() - trailing_filler(view)) as u64;
    let lsn = damage.lsn.unwrap_or(Lsn::ZERO);
    for header in scan::later_frames(view, 0, lsn) {
        damage.frames_after += 1;
        damage.end_after = damage.end_after.max(Some(header.end()));
    }
}

fn planned(cut: &Cut, opened: &[Opened]) -> PlannedCut {
    let segment = &opened[cut.index];
    let tail = &segment.view[cut.position..];
    let later = &opened[cut.index + 1..];
    PlannedCut {
        case: cut.case,
        path: segment.path.clone(),
        position: cut.position as u64,
        lsn: cut.lsn,
        bytes: (tail.len() - trailing_filler(tail)) as u64,
        expected: cut.expected.clone(),
        found: cut.found.clone(),
        later: later.iter().map(|later| later.path.clone()).collect(),
        later_bytes: later.iter().map(|later| later.view.len() as u64).sum(),
    }
}

fn unreadable(error: OpenError) -> Unreadable {
    let case = match &error {
        OpenError::Corrupt(corruption) => Some(corruption.case),
        _ => None,
    };
    Unreadable { error, case }
}

fn read_up_to(file: &dyn crate::disk::DiskFile, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
