//! Reading: the files that the manifest names are opened, checked and replayed. Nothing on disk is changed, but for a tail
//! that is cut off at the end ([`super::cut`]).

use std::io;
use std::path::{Path, PathBuf};

use super::begin::Found;
use super::cases::{Ending, Verdict, decide};
use super::cut::{Cut, set_aside};
use super::error::{Corruption, OpenError, io_at};
use super::{
    BaseLoaded, RecoverMode, RecoveryReport, ReplayTarget, begins_with_rdb, history, loss,
};
use crate::disk::{Disk, FileView};
use crate::log::LogOptions;
use crate::log::foreign::{self, ForeignStop};
use crate::log::frame::{self, FrameHeader, HEADER_BYTES, Replid, SegmentHeader};
use crate::log::manifest::{Entry, FileKind, Manifest};
use crate::log::meta::{IndexEntry, SegmentIndex};
use crate::log::ring::LSN_BITS;
use crate::log::scan::{self, FrameScan, Stop, proof_of_sync};
use crate::log::segment::{FramedFrom, Names, SegmentInfo};
use crate::log::sums::SealedFile;
use crate::log::writer::INDEX_STEP_BYTES;
use crate::{Lsn, UnixMillis};

/// A segment as found.
pub(in crate::log) struct Opened {
    pub entry: Entry,
    pub path: PathBuf,
    pub view: FileView,
    pub framed: bool,
}

/// What was read of a log, from its base to its end.
pub(in crate::log) struct ReadThrough {
    pub opened: Vec<Opened>,
    pub base_lsn: Lsn,
    pub base_bytes: u64,
    pub end: Lsn,
    /// Later segments with data that the manifest does not name, which is accepted.
    pub unlisted: Vec<String>,
}

/// Reads a log for a start, or for whoever only wants to know what is there.
pub(in crate::log) struct Recovery<'a> {
    disk: &'a dyn Disk,
    names: &'a Names,
    options: &'a LogOptions,
    target: &'a mut dyn ReplayTarget,
    pub report: RecoveryReport,
    /// What the base stands for.
    base_lsn: Lsn,
    /// When the last frame was written that was replayed.
    good_until: Option<UnixMillis>,
    replid: Option<Replid>,
    /// What sealed files should be like, then what they are like.
    sealed: Vec<SealedFile>,
    /// The segments read so far.
    pub segments: Vec<SegmentInfo>,
    indexes: Vec<(String, SegmentIndex)>,
    /// Where the log is to end, when that is before the end of its files.
    pub cut: Option<Cut>,
}

impl<'a> Recovery<'a> {
    pub(in crate::log) fn new(
        disk: &'a dyn Disk,
        names: &'a Names,
        options: &'a LogOptions,
        target: &'a mut dyn ReplayTarget,
        sealed: Vec<SealedFile>,
    ) -> Recovery<'a> {
        Recovery {
            disk,
            names,
            options,
            target,
            report: RecoveryReport::default(),
            base_lsn: Lsn::ZERO,
            good_until: None,
            replid: None,
            sealed,
            segments: Vec::new(),
            indexes: Vec::new(),
            cut: None,
        }
    }

    /// Reads everything that the manifest names, and changes nothing.
    pub(in crate::log) fn read(&mut self, manifest: &Manifest) -> Result<ReadThrough, OpenError> {
        let opened = self.open_segments(manifest)?;
        let unlisted = self.unlisted_segments(manifest)?;
        let first_lsn = match opened.first() {
            Some(first) if first.framed => self.segment_header(first, 0)?.map(|header| header.lsn),
            _ => None,
        };
        let (base_lsn, base_bytes) = self.load_base(manifest, &opened, first_lsn)?;
        self.base_lsn = base_lsn;
        let lsn = self.replay_segments(&opened, base_lsn)?;
        if lsn.0 >> LSN_BITS != 0 {
            let path = self.names.manifest();
            return Err(OpenError::WrongFile {
                path,
                expected: "an LSN of 48 bits".into(),
                found: lsn.to_string(),
            });
        }
        Ok(ReadThrough {
            opened,
            base_lsn,
            base_bytes,
            end: lsn,
            unlisted,
        })
    }

    /// Replays segments that follow each other, the first of which begins at `lsn`. Returns where they end, or where
    /// the log is to end.
    pub(in crate::log) fn replay_segments(
        &mut self,
        opened: &[Opened],
        mut lsn: Lsn,
    ) -> Result<Lsn, OpenError> {
        for (index, segment) in opened.iter().enumerate() {
            lsn = self.replay_segment(opened, index, segment, lsn)?;
            if self.cut.is_some() {
                break;
            }
        }
        Ok(lsn)
    }

    pub(super) fn run(
        &mut self,
        mut manifest: Manifest,
        manifest_id: u32,
    ) -> Result<Found, OpenError> {
        let ReadThrough {
            opened,
            base_lsn,
            base_bytes,
            end: lsn,
            unlisted,
        } = self.read(&manifest)?;
        if let Some(cut) = self.cut.take() {
            self.report.cut = Some(cut.make(self.disk, self.names, &mut manifest, &opened)?);
        }
        set_aside(self.disk, self.names, unlisted.iter(), lsn)?;
        let sealed = &self.sealed;
        let kept = history::find(self.disk, self.names, &manifest, base_lsn, sealed, |id| {
            self.replid.is_none_or(|ours| ours == *id) || self.knows(id)
        });
        let target = &mut *self.target;
        let old_bases = history::find_bases(self.disk, self.names, &manifest, sealed, |path| {
            let said = target.base_lsn(path)?;
            kept.iter().any(|kept| kept.start == said).then_some(said)
        });
        self.report.end = lsn;
        let replid = self
            .options
            .replid
            .or(self.replid)
            .unwrap_or_else(Replid::random);
        Ok(Found {
            manifest,
            manifest_id,
            sealed: std::mem::take(&mut self.sealed),
            kept,
            old_bases,
            segments: std::mem::take(&mut self.segments),
            base_lsn,
            base_bytes,
            end: lsn,
            replid,
            indexes: std::mem::take(&mut self.indexes),
            new_base: None,
            report: std::mem::take(&mut self.report),
        })
    }

    pub(in crate::log) fn open_segments(
        &self,
        manifest: &Manifest,
    ) -> Result<Vec<Opened>, OpenError> {
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
            if let Some(version) = frame::other_version(&view) {
                return Err(OpenError::Version { path, version });
            }
            let framed = scan::looks_framed(&view);
            opened.push(Opened {
                entry: entry.clone(),
                path,
                view,
                framed,
            });
        }
        // Redis begins with an empty file and may leave some behind; ours are never empty, nor named by our manifest, but
        // for a last one that was cut off altogether by a start that was cut off itself.
        let last_framed = opened.iter().rposition(|s| s.framed);
        let ours = |index: usize| {
            let is_last = index + 1 == opened.len();
            if is_last && self.options.recover == RecoverMode::Prefix {
                return false;
            }
            manifest.checked || last_framed.is_some_and(|last| index <= last || !is_last)
        };
        if let Some(index) = (0..opened.len()).find(|&i| opened[i].view.is_empty() && ours(i)) {
            return Err(OpenError::File {
                path: opened[index].path.clone(),
                what: "empty",
            });
        }
        Ok(opened)
    }

    /// Segments with data that the manifest does not name, although they are later than those it does. A manifest that is
    /// older than the files beside it (a copy put back) would lose what they hold: that is refused, unless the loss is
    /// accepted. (A start that had accepted one may have been cut off before it set them aside.)
    fn unlisted_segments(&self, manifest: &Manifest) -> Result<Vec<String>, OpenError> {
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
        // A newer base: the switch to it was cut off. Its segment may hold data, but nothing that counts, unless it was in
        // force once.
        let switched = unlisted
            .iter()
            .any(|(_, (kind, seq))| *kind == FileKind::Base && *seq > base_seq);
        let mut with_data = Vec::new();
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
                // Until a segment is named by a manifest its frames know nothing durable of it.
                Some(header) => FrameScan::new(&view, 0, &header).any(|frame| {
                    let in_force = header.lsn > Lsn::ZERO && frame.header.sync >= header.lsn;
                    !frame.payload.is_empty() && (in_force || !switched)
                }),
                None => !view.is_empty() && !switched,
            };
            if !has_data {
                continue;
            }
            if self.options.recover == RecoverMode::Strict {
                let expected = format!("no segment after number {}", manifest.last_increment_seq());
                return Err(OpenError::WrongFile {
                    path,
                    expected,
                    found: "one that the manifest does not name".into(),
                });
            }
            with_data.push(name.clone());
        }
        Ok(with_data)
    }

    /// True if segments may belong to this history, whatever the others belong to.
    fn knows(&self, id: &Replid) -> bool {
        self.options.older_replids.contains(id) || self.options.replid.as_ref() == Some(id)
    }

    /// The header of the part at the walk's position. `None` if it is damaged.
    fn part_header(
        &mut self,
        segment: &Opened,
        walk: &Walk,
    ) -> Result<Option<SegmentHeader>, OpenError> {
        let Some(header) = self.segment_header(segment, walk.at)? else {
            return Ok(None);
        };
        if header.lsn != walk.lsn {
            return Err(OpenError::WrongFile {
                path: segment.path.clone(),
                expected: format!(
                    "a segment that begins at LSN {}, where what is before it ends",
                    walk.lsn
                ),
                found: format!("one that begins at LSN {}", header.lsn),
            });
        }
        Ok(Some(header))
    }

    /// The header line at a file position. `None` if it is damaged.
    pub(in crate::log) fn segment_header(
        &mut self,
        segment: &Opened,
        at: usize,
    ) -> Result<Option<SegmentHeader>, OpenError> {
        let Some(header) = SegmentHeader::parse(&segment.view[at..]) else {
            return Ok(None);
        };
        let expected = self.replid.or(self.options.replid);
        if expected.is_some_and(|id| id != header.replid) && !self.knows(&header.replid) {
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
        Ok(Some(header))
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
        self.check_base(&path, &base.name, bytes, manifest.checked)?;
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

    /// Compares the base with what it was when it was sealed, before anything in it is believed, and notes what it is
    /// like. Beside a manifest of another server there is no record of that.
    fn check_base(
        &mut self,
        path: &Path,
        name: &str,
        bytes: u64,
        manifest_is_ours: bool,
    ) -> Result<(), OpenError> {
        if !manifest_is_ours {
            return Ok(());
        }
        let view = self
            .disk
            .open(path)
            .and_then(|file| file.view(bytes))
            .map_err(io_at(path))?;
        let found = SealedFile {
            name: name.into(),
            bytes,
            sum: crc32fast::hash(&view),
        };
        if let Some(expected) = self.sealed.iter().find(|file| file.name == name) {
            self.compare(path, expected, found.describe())?;
        }
        self.note_sealed(name, Some(found));
        Ok(())
    }

    fn note_sealed(&mut self, name: &str, found: Option<SealedFile>) {
        self.sealed.retain(|file| file.name != name);
        self.sealed.extend(found);
    }

    fn compare(&self, path: &Path, expected: &SealedFile, found: String) -> Result<(), OpenError> {
        let expected = expected.describe();
        if expected == found || self.options.recover == RecoverMode::Prefix {
            return Ok(());
        }
        Err(OpenError::Changed {
            path: path.to_path_buf(),
            expected,
            found,
        })
    }

    /// Compares a segment that was read to its end with what it was when it was sealed, and notes what it is like.
    fn check_sealed(&mut self, segment: &Opened, walk: &Walk) -> Result<(), OpenError> {
        let name = &segment.entry.name;
        let found = walk.sum.filter(|_| !walk.foreign).map(|sum| SealedFile {
            name: name.clone(),
            bytes: walk.at as u64,
            sum,
        });
        let expected = self.sealed.iter().find(|file| file.name == *name);
        if let Some(expected) = expected.filter(|_| self.cut.is_none()) {
            let found = found.as_ref().map(SealedFile::describe);
            let found = found.unwrap_or_else(|| "commands of another server".into());
            self.compare(&segment.path, expected, found)?;
        }
        self.note_sealed(name, found);
        Ok(())
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
                Err(OpenError::Corrupt(Box::new(Corruption {
                    damage,
                    case: "base_of_commands",
                    path: path.to_path_buf(),
                    position: position as u64,
                    good: Lsn::ZERO..Lsn::ZERO,
                    good_until: None,
                    expected: expected.into(),
                    found: "something else".into(),
                    loss: None,
                })))
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
        let mut walk = Walk {
            at: 0,
            lsn,
            foreign: false,
            framed: None,
            since: None,
            sum: None,
            entries: Vec::new(),
        };
        let mut next = if segment.framed {
            Next::Frames
        } else {
            Next::Commands
        };
        loop {
            next = match next {
                Next::Frames => self.replay_part(all, index, &mut walk)?,
                Next::Commands => self.replay_commands(all, index, &mut walk)?,
                Next::Nothing => break,
            };
        }
        let end = walk.lsn;
        self.check_sealed(segment, &walk)?;
        self.note_segment(segment, lsn, walk);
        Ok(end)
    }

    /// Checks and replays the part of ours that begins at the walk's position.
    fn replay_part(
        &mut self,
        all: &[Opened],
        index: usize,
        walk: &mut Walk,
    ) -> Result<Next, OpenError> {
        let segment = &all[index];
        let begun = FramedFrom {
            lsn: walk.lsn,
            position: walk.at as u64,
        };
        let Some(header) = self.part_header(segment, walk)? else {
            let ending = match walk.foreign {
                // Behind another server's commands: the power may have failed while it was being begun.
                true => torn_or_corrupt(segment, walk.at, walk.lsn, Some(begun)),
                false => Ending::BadBeginning,
            };
            let (expected, found) = ("a segment header", "a damaged one");
            return self.settle(all, index, ending, walk, expected, found);
        };
        let mut frames = 0;
        let mut scan = FrameScan::new(&segment.view, walk.at, &header);
        let mut entries: Vec<IndexEntry> = Vec::new();
        let mut since = None;
        for frame in scan.by_ref() {
            frames += 1;
            since = since.or(Some(frame.header.ts));
            if frame.payload.is_empty() {
                continue;
            }
            self.target
                .replay(frame.payload, frame.header.lsn, Some(frame.header.ts))
                .map_err(|error| OpenError::Replay {
                    path: segment.path.clone(),
                    error,
                })?;
            self.good_until = self.good_until.max(Some(frame.header.ts));
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
        let stop = scan.stop();
        let empty = frames > 0 && entries.is_empty() && walk.foreign;
        if !(empty && stop == Stop::End) {
            (walk.at, walk.lsn) = (scan.position(), scan.lsn());
            walk.framed = Some(begun);
            walk.since = since;
            walk.sum = Some(scan.last_crc());
            walk.entries = entries;
        }
        // Of a file that is ours the birth frame was durable before the manifest named it.
        if frames == 0 && !walk.foreign {
            let (expected, found) = match &stop {
                Stop::Bad {
                    expected, found, ..
                } => (expected.as_str(), found.as_str()),
                _ => ("a birth frame", "none"),
            };
            return self.settle(all, index, Ending::BadBeginning, walk, expected, found);
        }
        let expected = "a frame or filler";
        let beginning = (frames == 0).then_some(begun);
        match stop {
            Stop::End => self.settle(all, index, Ending::Clean, walk, expected, "none"),
            Stop::ForeignTail(at) if frames > 0 => {
                walk.at = at;
                Ok(Next::Commands)
            }
            Stop::NextPart(at) if frames > 0 && walk.foreign => {
                walk.at = at;
                Ok(Next::Frames)
            }
            Stop::ForeignTail(_) | Stop::NextPart(_) => {
                let ending = torn_or_corrupt(segment, walk.at, walk.lsn, beginning);
                self.settle(all, index, ending, walk, expected, "something else")
            }
            Stop::Bad {
                expected, found, ..
            } => {
                let ending = torn_or_corrupt(segment, walk.at, walk.lsn, beginning);
                self.settle(all, index, ending, walk, &expected, &found)
            }
        }
    }

    /// Replays commands without frames from the walk's position on.
    fn replay_commands(
        &mut self,
        all: &[Opened],
        index: usize,
        walk: &mut Walk,
    ) -> Result<Next, OpenError> {
        let segment = &all[index];
        let view = &segment.view;
        let lsn = walk.lsn;
        let (bytes, stop) = foreign::walk(view, walk.at, |payload, at| {
            self.target.replay(payload, lsn + at, None)
        })
        .map_err(|error| OpenError::Replay {
            path: segment.path.clone(),
            error,
        })?;
        self.report.replayed_bytes += bytes;
        if !walk.foreign {
            self.report.unchecked_files.push(segment.entry.name.clone());
        }
        walk.foreign = true;
        walk.framed = None;
        walk.entries.clear();
        walk.lsn = lsn + bytes;
        let (mut ending, expected) = match stop {
            None => {
                walk.at = view.len();
                (Ending::Clean, "")
            }
            Some(ForeignStop::Part { at }) => {
                walk.at = at;
                return Ok(Next::Frames);
            }
            Some(ForeignStop::TornPart { at }) => {
                walk.at = at;
                (Ending::BadFrame, "the beginning of a part")
            }
            Some(ForeignStop::Truncated { at }) => {
                walk.at = at;
                (Ending::CommandCutOff, "a whole command or transaction")
            }
            Some(ForeignStop::Bad { at, expected }) => {
                walk.at = at;
                (Ending::NoCommand, expected)
            }
        };
        // What is no command may have swallowed frames of ours.
        if ending == Ending::CommandCutOff && proof_of_sync(view, walk.at, walk.lsn).is_some() {
            ending = Ending::BadFrameOnceDurable;
        }
        self.settle(all, index, ending, walk, expected, "something else")
    }

    /// Looks the ending up in the table and does what it says.
    fn settle(
        &mut self,
        all: &[Opened],
        index: usize,
        ending: Ending,
        walk: &Walk,
        expected: &str,
        found: &str,
    ) -> Result<Next, OpenError> {
        let Walk { at, lsn, .. } = *walk;
        let segment = &all[index];
        let last = index + 1 == all.len();
        match decide(
            ending,
            last,
            self.options.load_cut_off,
            self.options.recover,
        ) {
            Verdict::GoOn => {}
            Verdict::Cut { case, accepted } => {
                self.cut = Some(Cut {
                    index,
                    position: at,
                    lsn,
                    case,
                    expected: expected.into(),
                    found: found.into(),
                    accepted: accepted.then(|| loss::estimate(all, index, at, lsn)),
                });
            }
            Verdict::Refuse { case, damage } => {
                return Err(OpenError::Corrupt(Box::new(Corruption {
                    damage,
                    case,
                    path: segment.path.clone(),
                    position: at as u64,
                    good: self.base_lsn..lsn,
                    good_until: self.good_until,
                    expected: expected.into(),
                    found: found.into(),
                    loss: Some(loss::estimate(all, index, at, lsn)),
                })));
            }
        }
        Ok(Next::Nothing)
    }

    fn note_segment(&mut self, segment: &Opened, start: Lsn, walk: Walk) {
        let name = segment.entry.name.clone();
        if walk.framed.is_some() {
            self.indexes.push((
                name.clone(),
                SegmentIndex {
                    start: start.0,
                    end: walk.lsn.0,
                    bytes: walk.at as u64,
                    entries: walk.entries,
                },
            ));
        }
        self.segments.push(SegmentInfo {
            name,
            seq: segment.entry.seq,
            start,
            end: Some(walk.lsn),
            bytes: walk.at as u64,
            framed: walk.framed,
            since: walk.since,
        });
    }
}

/// How far a segment has been read.
struct Walk {
    /// File position.
    at: usize,
    lsn: Lsn,
    /// There were commands of another server.
    foreign: bool,
    /// Where the frames begin that it was in last.
    framed: Option<FramedFrom>,
    /// When that part was begun.
    since: Option<UnixMillis>,
    /// Checksum of the last frame.
    sum: Option<u32>,
    entries: Vec<IndexEntry>,
}

/// What comes next in a segment.
enum Next {
    Frames,
    Commands,
    Nothing,
}

/// The ending at what is bad at file position `at`, which is the beginning of a part or a frame.
fn torn_or_corrupt(segment: &Opened, at: usize, lsn: Lsn, beginning: Option<FramedFrom>) -> Ending {
    let proof = match beginning {
        // It was durable before anything was written behind it: any frame behind its birth frame is proof.
        Some(part) => {
            let birth = (part.position as usize + HEADER_BYTES).min(segment.view.len());
            proof_of_sync(&segment.view, birth, Lsn(lsn.0.saturating_sub(1)))
        }
        None => proof_of_sync(&segment.view, at, lsn),
    };
    match proof {
        Some(_) => Ending::BadFrameOnceDurable,
        None => Ending::BadFrame,
    }
}
