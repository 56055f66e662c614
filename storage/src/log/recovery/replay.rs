//! Reading: the files that the manifest names are opened, checked and replayed. Nothing on disk is changed, but for a tail
//! that is cut off at the end ([`super::cut`]).

use std::io;
use std::path::{Path, PathBuf};

use super::begin::Found;
use super::cases::{Ending, Verdict, decide};
use super::cut::{Cut, trailing_filler};
use super::error::{Damage, OpenError, io_at};
use super::{BaseLoaded, RecoveryReport, ReplayTarget, begins_with_rdb};
use crate::Lsn;
use crate::disk::{Disk, FileView};
use crate::log::LogOptions;
use crate::log::foreign::{self, ForeignStop};
use crate::log::frame::{FrameHeader, Replid, SegmentHeader};
use crate::log::manifest::{Entry, FileKind, Manifest};
use crate::log::meta::{IndexEntry, SegmentIndex};
use crate::log::ring::LSN_BITS;
use crate::log::scan::{self, FrameScan, Stop};
use crate::log::segment::{Names, SegmentInfo};
use crate::log::writer::INDEX_STEP_BYTES;

/// A segment as found.
pub(super) struct Opened {
    pub entry: Entry,
    pub path: PathBuf,
    pub view: FileView,
    pub framed: bool,
}

pub(super) struct Recovery<'a> {
    disk: &'a dyn Disk,
    names: &'a Names,
    options: &'a LogOptions,
    target: &'a mut dyn ReplayTarget,
    pub report: RecoveryReport,
    replid: Option<Replid>,
    segments: Vec<SegmentInfo>,
    indexes: Vec<(String, SegmentIndex)>,
    cut: Option<Cut>,
}

impl<'a> Recovery<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        names: &'a Names,
        options: &'a LogOptions,
        target: &'a mut dyn ReplayTarget,
    ) -> Recovery<'a> {
        Recovery {
            disk,
            names,
            options,
            target,
            report: RecoveryReport::default(),
            replid: None,
            segments: Vec::new(),
            indexes: Vec::new(),
            cut: None,
        }
    }

    pub(super) fn run(&mut self, mut manifest: Manifest) -> Result<Found, OpenError> {
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
            self.report.cut = Some(cut.make(self.disk, self.names, &mut manifest, &opened)?);
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
        let segment = &all[index];
        let last = index + 1 == all.len();
        match decide(
            ending,
            last,
            self.options.load_cut_off,
            self.options.recover,
        ) {
            Verdict::GoOn => {}
            Verdict::Cut(case) => {
                self.cut = Some(Cut {
                    index,
                    position: at,
                    lsn,
                    reason: format!("{case}: expected {expected}, found {found}"),
                });
            }
            Verdict::Refuse(damage) => {
                let here = segment.view.len() - at;
                let later: usize = all[index + 1..].iter().map(|later| later.view.len()).sum();
                return Err(OpenError::Corrupt {
                    damage,
                    path: segment.path.clone(),
                    position: at as u64,
                    lsn,
                    expected: expected.into(),
                    found: found.into(),
                    lost_bytes: (here - trailing_filler(&segment.view[at..]) + later) as u64,
                });
            }
        }
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
}
