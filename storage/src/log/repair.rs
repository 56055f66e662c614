//! Repairing a log that no start accepts, without starting it.
//!
//! Nothing is deleted: what cannot stay is cut off into a file of its own or gets another name, as a start does with a torn
//! tail ([`super::segment`] has the names). Reading and cutting are recovery's, with `recover=prefix`; what is added are
//! the cases in which a start has nothing to go on from:
//!
//! | what is wrong | what is done |
//! |---|---|
//! | the manifest is damaged or gone | it is made anew from the newest base that a segment goes on from, and the segments behind it |
//! | the base is damaged or gone | an old base takes its place, if one is kept with the segments behind it: nothing is lost |
//! | a segment is gone, or is another one | the log ends before it; what is behind is set aside |
//! | anything else that is damaged | the log ends before it |
//!
//! The directory is locked meanwhile. Each step leaves a directory on which the next one, or the same again, can be made.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LogOptions;
use super::frame::{HEADER_BYTES, SegmentHeader};
use super::manifest::{Entry, FileKind, Manifest};
use super::recovery::cut::set_aside;
use super::recovery::replay::{ReadThrough, Recovery};
use super::recovery::{self, CutTail, OpenError, RecoverMode, ReplayTarget, io_at};
use super::segment::Names;
use crate::Lsn;
use crate::disk::{Disk, replace_file};

/// More steps than any directory needs.
const STEPS_MAX: usize = 1000;

/// What was done to repair a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairStep {
    /// A manifest was made.
    ManifestMade {
        /// Where the damaged one is kept, if there was one.
        aside: Option<PathBuf>,
    },
    /// An old base has taken the place of a damaged one.
    OlderBase {
        /// The old one.
        base: PathBuf,
        /// Where the damaged one is kept, if there was one.
        aside: Option<PathBuf>,
    },
    /// The log was ended before the end of a file.
    Cut(CutTail),
    /// Files were given other names, because the log ends before them.
    SetAside {
        /// What was wrong.
        reason: String,
        /// Their names now.
        files: Vec<PathBuf>,
    },
}

/// What a repair did, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// In order; none if the log is as it should be.
    pub steps: Vec<RepairStep>,
    /// The position that the base stands for.
    pub base_lsn: Lsn,
    /// Where the log ends.
    pub end: Lsn,
}

/// Repairs the log in a data directory. `target` is given what is read, and thrown away afterwards.
///
/// # Errors
/// [`OpenError`]: it is in use, or cannot be repaired. The steps that were made until then stay.
pub fn repair(
    disk: Arc<dyn Disk>,
    data_dir: &Path,
    options: LogOptions,
    target: &mut dyn ReplayTarget,
) -> Result<Repaired, OpenError> {
    let _lock = recovery::take_lock(&*disk, data_dir)?;
    let options = LogOptions {
        recover: RecoverMode::Prefix,
        ..options
    };
    let mut repair = Repair {
        disk: &*disk,
        names: recovery::names(data_dir, &options),
        options,
        target,
        steps: Vec::new(),
    };
    loop {
        match repair.step()? {
            Some((base_lsn, end)) => {
                return Ok(Repaired {
                    steps: repair.steps,
                    base_lsn,
                    end,
                });
            }
            None if repair.steps.len() < STEPS_MAX => {}
            None => {
                let error = io::Error::other("the repair does not come to an end");
                return Err(io_at(&repair.names.dir)(error));
            }
        }
    }
}

struct Repair<'a> {
    disk: &'a dyn Disk,
    names: Names,
    options: LogOptions,
    target: &'a mut dyn ReplayTarget,
    steps: Vec<RepairStep>,
}

impl Repair<'_> {
    /// Makes one step. Returns base and end of the log when there is nothing more to do.
    fn step(&mut self) -> Result<Option<(Lsn, Lsn)>, OpenError> {
        let mut manifest = match recovery::read_manifest(self.disk, &self.names) {
            Ok((manifest, _)) => manifest,
            Err(error @ (OpenError::Manifest { .. } | OpenError::ManifestMissing(..))) => {
                return self.make_manifest(error).map(|()| None);
            }
            Err(error) => return Err(error),
        };
        let mut recovery = Recovery::new(
            self.disk,
            &self.names,
            &self.options,
            self.target,
            Vec::new(),
        );
        match recovery.read(&manifest) {
            Ok(ReadThrough {
                opened,
                base_lsn,
                end,
                unlisted,
                ..
            }) => {
                let cut = recovery.cut.take();
                // Of a segment that was cut at its very beginning nothing is left that a start would accept.
                let nothing_left = cut.is_some()
                    && recovery
                        .segments
                        .last()
                        .is_some_and(|last| last.end == Some(last.start));
                if let Some(cut) = cut {
                    let cut = cut.make(self.disk, &self.names, &mut manifest, &opened)?;
                    self.steps.push(RepairStep::Cut(cut));
                }
                if !unlisted.is_empty() {
                    let reason = "the manifest does not name them".into();
                    self.set_aside(&unlisted, end, reason)?;
                }
                // Accepted by a start that accepts losses, which goes on in its place, but by no other.
                let last = manifest.increments.last().map(|last| last.name.clone());
                if let Some(name) = last
                    && manifest.base.is_some()
                    && (manifest.checked || !self.steps.is_empty())
                {
                    let path = self.names.dir.join(&name);
                    let found = self.disk.metadata(&path).map_err(io_at(&path))?;
                    if nothing_left || found.is_some_and(|found| found.bytes == 0) {
                        manifest.increments.pop();
                        let path = self.names.manifest();
                        replace_file(self.disk, &path, &manifest.encode()).map_err(io_at(&path))?;
                        self.set_aside(&[name], end, "nothing is left of the last segment".into())?;
                        return Ok(None);
                    }
                }
                Ok(Some((base_lsn, end)))
            }
            Err(error) => {
                let at = |path: &Path| {
                    let mut segments = manifest.increments.iter();
                    segments.position(|entry| self.names.dir.join(&entry.name) == *path)
                };
                let base = manifest.base.as_ref();
                let base = base.map(|base| self.names.dir.join(&base.name));
                match path_of(&error) {
                    // What stands before the first segment is the base, which may say itself where it stands.
                    Some(path) if at(path).is_some() => {
                        let index = at(path).unwrap_or_default();
                        self.end_before(manifest, index, error)?;
                        Ok(None)
                    }
                    Some(path) if base.as_deref() == Some(path) => {
                        self.take_older_base(manifest, error)?;
                        Ok(None)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Ends the log before a segment that cannot be read at all, or does not belong there.
    fn end_before(
        &mut self,
        mut manifest: Manifest,
        index: usize,
        error: OpenError,
    ) -> Result<(), OpenError> {
        // What cannot be read now may be readable later; and no base goes on from nothing if it does not say where it is.
        let repairable = matches!(error, OpenError::File { .. } | OpenError::WrongFile { .. });
        let base = manifest.base.as_ref();
        let base = base.map(|base| self.names.dir.join(&base.name));
        let says = base.is_some_and(|base| self.target.base_lsn(&base).is_some());
        if !repairable || (index == 0 && !says) {
            return Err(error);
        }
        let later = manifest.increments.split_off(index);
        let path = self.names.manifest();
        replace_file(self.disk, &path, &manifest.encode()).map_err(io_at(&path))?;
        let mut present = Vec::new();
        for entry in later {
            let path = self.names.dir.join(&entry.name);
            if self.disk.metadata(&path).map_err(io_at(&path))?.is_some() {
                present.push(entry.name);
            }
        }
        self.set_aside(&present, Lsn::ZERO, error.to_string())
    }

    fn set_aside(&mut self, names: &[String], lsn: Lsn, reason: String) -> Result<(), OpenError> {
        let files = set_aside(self.disk, &self.names, names.iter(), lsn)?;
        self.steps.push(RepairStep::SetAside { reason, files });
        Ok(())
    }

    /// Puts the newest old base that segments go on from in the place of one that cannot be read.
    fn take_older_base(
        &mut self,
        mut manifest: Manifest,
        error: OpenError,
    ) -> Result<(), OpenError> {
        let segments = self.headers(manifest.history.iter().chain(&manifest.increments))?;
        let mut found: Option<(Lsn, Entry)> = None;
        for entry in &manifest.history {
            let path = self.names.dir.join(&entry.name);
            if self.kind(entry) != Some(FileKind::Base) {
                continue;
            }
            let Some(lsn) = self.target.base_lsn(&path) else {
                continue;
            };
            let goes_on = segments.iter().any(|(_, start)| *start == lsn);
            if goes_on && found.as_ref().is_none_or(|(other, _)| *other < lsn) {
                found = Some((lsn, entry.clone()));
            }
        }
        let Some((lsn, older)) = found else {
            return Err(error);
        };
        let damaged = manifest.base.replace(Entry {
            kind: FileKind::Base,
            ..older.clone()
        });
        let seqs: Vec<u64> = segments
            .iter()
            .filter(|(entry, start)| *start >= lsn && manifest.history.contains(entry))
            .map(|(entry, _)| entry.seq)
            .collect();
        let (again, history): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut manifest.history)
            .into_iter()
            .filter(|entry| entry.name != older.name)
            .partition(|entry| {
                self.kind(entry) == Some(FileKind::Increment) && seqs.contains(&entry.seq)
            });
        manifest.history = history;
        let again = again.into_iter().map(|entry| Entry {
            kind: FileKind::Increment,
            ..entry
        });
        manifest.increments.extend(again);
        manifest.increments.sort_by_key(|entry| entry.seq);
        let path = self.names.manifest();
        replace_file(self.disk, &path, &manifest.encode()).map_err(io_at(&path))?;
        let mut aside = None;
        if let Some(damaged) = damaged {
            aside = self.keep_aside(&self.names.dir.join(&damaged.name))?;
        }
        self.steps.push(RepairStep::OlderBase {
            base: self.names.dir.join(&older.name),
            aside,
        });
        Ok(())
    }

    /// Makes a manifest from the files that are there.
    fn make_manifest(&mut self, error: OpenError) -> Result<(), OpenError> {
        let dir = self.names.dir.clone();
        let list = self.disk.list(&dir).map_err(io_at(&dir))?;
        let entry = |name: &String| {
            let (kind, seq) = self.names.recognise(name)?;
            let name = name.clone();
            Some(Entry { name, seq, kind })
        };
        let (bases, mut segments): (Vec<Entry>, Vec<Entry>) = list
            .iter()
            .filter_map(entry)
            .partition(|entry| entry.kind == FileKind::Base);
        segments.sort_by_key(|entry| entry.seq);
        let headers = self.headers(segments.iter())?;
        // The newest base that a segment goes on from, and the first of those; without positions there must be no choice.
        let mut chosen: Option<(Lsn, Entry, u64)> = None;
        for base in &bases {
            let Some(lsn) = self.target.base_lsn(&dir.join(&base.name)) else {
                continue;
            };
            let first = headers.iter().find(|(_, start)| *start == lsn);
            if let Some((first, _)) = first
                && chosen.as_ref().is_none_or(|(other, _, _)| *other <= lsn)
            {
                chosen = Some((lsn, base.clone(), first.seq));
            }
        }
        let (base, first) = match (chosen, &bases[..]) {
            (Some((_, base, first)), _) => (Some(base), first),
            (None, [base]) if headers.is_empty() => (Some(base.clone()), 0),
            (None, []) if headers.is_empty() && !segments.is_empty() => (None, 0),
            _ => return Err(error),
        };
        let is_base = |entry: &Entry| base.as_ref().is_some_and(|base| base.name == entry.name);
        let old_bases = bases.iter().filter(|entry| !is_base(entry));
        let below = segments.iter().filter(|entry| entry.seq < first);
        let manifest = Manifest {
            history: old_bases
                .chain(below)
                .map(|entry| Entry {
                    kind: FileKind::History,
                    ..entry.clone()
                })
                .collect(),
            increments: segments
                .iter()
                .filter(|entry| entry.seq >= first)
                .cloned()
                .collect(),
            base: base.clone(),
            checked: true,
        };
        let path = self.names.manifest();
        let aside = match error {
            OpenError::Manifest { .. } => self.keep_aside(&path)?,
            _ => None,
        };
        replace_file(self.disk, &path, &manifest.encode()).map_err(io_at(&path))?;
        self.steps.push(RepairStep::ManifestMade { aside });
        Ok(())
    }

    /// Gives a damaged file another name; `None` if it is not there.
    fn keep_aside(&self, path: &Path) -> Result<Option<PathBuf>, OpenError> {
        if self.disk.metadata(path).map_err(io_at(path))?.is_none() {
            return Ok(None);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut number = 1;
        let aside = loop {
            let aside = path.with_file_name(format!("{name}.damaged-{number}"));
            if self.disk.metadata(&aside).map_err(io_at(&aside))?.is_none() {
                break aside;
            }
            number += 1;
        };
        self.disk.rename(path, &aside).map_err(io_at(path))?;
        let dir = &self.names.dir;
        self.disk.sync_dir(dir).map_err(io_at(dir))?;
        Ok(Some(aside))
    }

    fn kind(&self, entry: &Entry) -> Option<FileKind> {
        self.names.recognise(&entry.name).map(|(kind, _)| kind)
    }

    /// Where segments begin, of those that say so.
    fn headers<'e>(
        &self,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Result<Vec<(Entry, Lsn)>, OpenError> {
        let mut found = Vec::new();
        for entry in entries.filter(|entry| self.kind(entry) == Some(FileKind::Increment)) {
            let path = self.names.dir.join(&entry.name);
            let file = match self.disk.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(io_at(&path))?,
            };
            let mut line = [0; HEADER_BYTES];
            match file.read_exact_at(&mut line, 0) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
                other => other.map_err(io_at(&path))?,
            }
            if let Some(header) = SegmentHeader::parse(&line) {
                found.push((entry.clone(), header.lsn));
            }
        }
        Ok(found)
    }
}

/// The file that an error is about.
fn path_of(error: &OpenError) -> Option<&Path> {
    match error {
        OpenError::File { path, .. }
        | OpenError::WrongFile { path, .. }
        | OpenError::Changed { path, .. }
        | OpenError::Replay { path, .. } => Some(path),
        OpenError::Corrupt(corruption) => Some(&corruption.path),
        _ => None,
    }
}
