//! Rotation, compaction and healing: everything that changes which files the log consists of.
//!
//! **Rotation** at a cut X (log thread): new segment's header durable; its name durable; old segment cut to its end and
//! synced; manifest names the new one; only then bytes at or after X are written. So every segment but the last is
//! whole at any crash, and damage in one is never an unsynced tail.
//!
//! **Compaction** at a cut X: rotate; the engine writes the state as of X to a temporary file and syncs it; give it its
//! name, replace the manifest (new base, segments from X on, the rest as history), let go of history (`retention`).
//! A crash leaves the old files complete or the new ones; left-overs are removed at the next start.
//!
//! **Healing** of a failed log is a compaction whose new segment is not named by the manifest before the base is: the
//! old segment may lack bytes before X. Until then the watermarks stand still.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::frame;
use super::manifest::{Entry, FileKind, Manifest};
use super::meta::SegmentIndex;
use super::recovery::CREATING;
use super::retention::OldBase;
use super::segment::{self, FramedFrom, Prepared, SegmentInfo};
use super::sums::{self, SealedFile};
use super::sync::SyncPolicy;
use super::watermark::Failure;
use super::writer::{ActiveSegment, Writer};
use super::{Log, Shared};
use crate::Lsn;
use crate::disk::{WrittenFile, replace_file};

/// Filled at once where a segment is needed now: the next one is of full size.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;

/// Why a rewrite or a healing did not happen. The log's files are as before.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    /// One is under way already.
    #[error("a log rewrite is already in progress")]
    Busy,
    /// The log has failed (a rewrite), or failed again (a healing).
    #[error(transparent)]
    Failed(#[from] Failure),
    /// There is nothing to heal.
    #[error("the log has not failed")]
    NotFailed,
    /// The segment could not be changed at the cut.
    #[error("the log could not go on in a new segment")]
    NotRotated,
    /// The new base is empty or absent.
    #[error("the new base file {0} is empty")]
    EmptyBase(PathBuf),
    /// The disk failed.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl RewriteError {
    /// Whether it is for lack of space on the disk.
    pub fn lacks_space(&self) -> bool {
        match self {
            RewriteError::Io { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            RewriteError::Failed(failure) => matches!(failure, Failure::DiskFull { .. }),
            _ => false,
        }
    }
}

fn io_error(doing: &'static str) -> impl FnOnce(io::Error) -> RewriteError {
    move |error| RewriteError::Io { doing, error }
}

/// A rewrite under way. Give it to [`Log::commit_rewrite`] or [`Log::abort_rewrite`].
#[derive(Debug)]
#[must_use]
pub struct RewriteTicket {
    cut: Lsn,
    base_path: PathBuf,
    seq: u64,
    heals: bool,
}

impl RewriteTicket {
    /// For the first base of a log that begins at `cut`.
    pub(super) fn first(cut: Lsn, base_path: PathBuf, seq: u64) -> RewriteTicket {
        RewriteTicket {
            cut,
            base_path,
            seq,
            heals: true,
        }
    }

    /// The base must hold exactly what the stream says below this position.
    pub fn cut(&self) -> Lsn {
        self.cut
    }

    /// Whether the base heals a log that has failed, or is its first: writes are refused, or nothing is kept, until it is
    /// there.
    pub fn heals(&self) -> bool {
        self.heals
    }

    /// Where to write it, as an RDB file, with a [`FileWriter`](crate::disk::FileWriter) of the log's disk.
    pub fn base_path(&self) -> &Path {
        &self.base_path
    }
}

impl Log {
    /// Splits the stream at its present end: what is appended from now on goes to a new segment, beginning with a
    /// SELECT. Returns the position; the log thread does the work.
    pub fn rotate(&self) -> Lsn {
        let mut cuts = self.shared.cuts.lock();
        let cut = self.shared.ring.force_select();
        if cuts.back() != Some(&cut) {
            cuts.push_back(cut);
        }
        drop(cuts);
        self.kick();
        cut
    }

    /// Blocks until the split at `cut`, which [`Log::rotate`] returned, has been made.
    pub fn wait_rotated(&self, cut: Lsn) -> Result<(), RewriteError> {
        loop {
            let waiting = self.shared.cuts.lock().contains(&cut);
            if self
                .shared
                .catalogue
                .lock()
                .segments
                .iter()
                .any(|segment| segment.start == cut)
            {
                return Ok(());
            }
            if let Some(failure) = self.shared.marks.failure() {
                return Err(failure.into());
            }
            if !waiting {
                return Err(RewriteError::NotRotated);
            }
            self.shared.marks.wait_for_change();
        }
    }

    /// Begins a compaction at the present end of the stream. Does not touch the disk: it may be called while all
    /// commands are held back.
    pub fn begin_rewrite(&self) -> Result<RewriteTicket, RewriteError> {
        if let Some(failure) = self.shared.marks.failure() {
            return Err(failure.into());
        }
        self.claim_rewrite()?;
        Ok(self.ticket(self.rotate(), false))
    }

    /// Begins to heal a failed log: the stream goes on in a new segment at the returned cut. Writes stay refused until
    /// the ticket is committed. Does a few small writes: commands must be held back meanwhile.
    pub fn begin_heal(&self) -> Result<RewriteTicket, RewriteError> {
        self.claim_rewrite()?;
        let outcome = self.shared.begin_heal().map(|cut| self.ticket(cut, true));
        if outcome.is_err() {
            self.shared.rewriting.store(false, Ordering::SeqCst);
        }
        outcome
    }

    /// Makes the base that was written to the ticket's path the log's base, and lets go of what it replaces.
    ///
    /// Blocks while it syncs. After an error the log goes on with its old base (or, healing, stays failed).
    pub fn commit_rewrite(
        &self,
        ticket: RewriteTicket,
        base: WrittenFile,
    ) -> Result<(), RewriteError> {
        let outcome = self.try_commit(&ticket, base);
        if let Err(e) = &outcome {
            tracing::warn!("log: rewrite at {} not taken: {e}", ticket.cut);
            if ticket.heals {
                self.give_up_healing();
            }
            self.shared.remove_unnamed_base(&ticket);
        }
        self.shared.rewriting.store(false, Ordering::SeqCst);
        outcome
    }

    /// Ends a rewrite without a new base.
    pub fn abort_rewrite(&self, ticket: RewriteTicket) {
        if ticket.heals {
            self.give_up_healing();
        }
        // It may not have been begun.
        let _ = self.shared.disk.remove(&ticket.base_path);
        self.shared.rewriting.store(false, Ordering::SeqCst);
    }

    /// True while a rewrite or a healing is under way.
    pub fn is_rewriting(&self) -> bool {
        self.shared.rewriting.load(Ordering::SeqCst)
    }

    fn claim_rewrite(&self) -> Result<(), RewriteError> {
        if self.shared.rewriting.swap(true, Ordering::SeqCst) {
            Err(RewriteError::Busy)
        } else {
            Ok(())
        }
    }

    fn ticket(&self, cut: Lsn, heals: bool) -> RewriteTicket {
        let seq = self.shared.catalogue.lock().take_base_seq();
        RewriteTicket {
            cut,
            base_path: self.shared.names.temp_base(seq),
            seq,
            heals,
        }
    }

    fn give_up_healing(&self) {
        let reason = self.shared.marks.failure().unwrap_or(Failure::Closed);
        self.shared.fail(reason);
        self.shared.remove_unnamed_segment();
    }

    fn try_commit(&self, ticket: &RewriteTicket, base: WrittenFile) -> Result<(), RewriteError> {
        let shared = &*self.shared;
        if ticket.heals {
            self.sync_ahead()?;
        } else {
            self.wait_rotated(ticket.cut)?;
        }
        if base.bytes == 0 {
            return Err(RewriteError::EmptyBase(ticket.base_path.clone()));
        }
        self.name_base(ticket)?;
        if ticket.heals {
            shared.commit_heal(ticket, base)?
        } else {
            shared.commit_base(ticket, base)?
        }
        shared.apply_retention();
        shared.prepare_signal.wake();
        Ok(())
    }

    /// Syncs what the new segment holds by now, so that little is left for the sync that the writer has to wait for.
    fn sync_ahead(&self) -> Result<(), RewriteError> {
        let file = {
            let mut writer = self.shared.writer.lock();
            self.shared.write(&mut writer);
            writer.segment.file.clone()
        };
        file.sync_data().map_err(io_error("sync the new segment"))
    }

    /// Gives the new base, which is durable, its name.
    fn name_base(&self, ticket: &RewriteTicket) -> Result<(), RewriteError> {
        let disk = &*self.shared.disk;
        let name = self.shared.path(&self.shared.names.base(ticket.seq));
        disk.rename(&ticket.base_path, &name)
            .map_err(io_error("name the new base"))?;
        disk.sync_dir(&self.shared.names.dir)
            .map_err(io_error("sync the log's directory"))
    }
}

impl Shared {
    /// Goes on in a new segment at `cut`, where the writer stands. The log thread's work.
    pub(super) fn switch_segment(&self, writer: &mut Writer, cut: Lsn) {
        let switched = writer.segment.start == cut || self.try_switch_segment(writer, cut);
        self.cuts.lock().pop_front();
        if !switched && !self.marks.is_failed() {
            // Not at once: nothing would be written meanwhile.
            let step = self.tuned.segment_bytes() / 2;
            writer.segment.no_roll_before = writer.segment.position + step;
            tracing::warn!(
                at = cut.0,
                "log: no new segment; the present one is continued"
            );
        }
        self.marks.wake_all();
    }

    fn try_switch_segment(&self, writer: &mut Writer, cut: Lsn) -> bool {
        let seq = self.catalogue.lock().take_increment_seq();
        let name = self.names.increment(seq);
        // Until the manifest names it the new segment may fail without harm.
        let begun = (|| {
            let prepared = self.take_prepared(seq)?;
            let mut segment =
                ActiveSegment::begin(prepared, seq, self.replid, cut, self.marks.durable())?;
            self.disk.rename(&segment.path, &self.path(&name))?;
            segment.path = self.path(&name);
            self.disk.sync_dir(&self.names.dir)?;
            Ok::<_, io::Error>(segment)
        })();
        let segment = match begun {
            Ok(segment) => segment,
            Err(e) => {
                tracing::warn!("log: beginning segment {seq} failed: {e}");
                remove_if_there(self, &self.names.temp_segment(seq));
                remove_if_there(self, &self.path(&name));
                return false;
            }
        };
        let _one_sync_at_a_time = self.sync_lock.lock();
        if self.marks.is_failed() {
            remove_if_there(self, &segment.path);
            return false;
        }
        let old = &writer.segment;
        if let Err(e) = old
            .file
            .set_len(old.end_position())
            .and_then(|()| old.file.sync_all())
        {
            self.fail(Failure::sync("sealing the segment", &e));
            remove_if_there(self, &segment.path);
            return false;
        }
        let named = self.replace_manifest(|manifest| {
            manifest.increments.push(Entry {
                name: name.clone(),
                seq,
                kind: FileKind::Increment,
            });
        });
        if let Err(e) = named {
            // The new manifest may or may not be there: neither segment can be continued safely.
            self.fail(Failure::sync("replacing the manifest", &e));
            return false;
        }
        self.sync_point.switch(segment.file.clone(), cut);
        let begun = segment.since;
        let old = writer.switch(segment);
        let sum = old.sum();
        let mut catalogue = self.catalogue.lock();
        let index = SegmentIndex {
            start: old.start.0,
            end: cut.0,
            bytes: old.end_position(),
            entries: old.index,
        };
        if let Some(last) = catalogue.segments.last_mut() {
            last.end = Some(cut);
            last.bytes = index.bytes;
            let (name, bytes) = (last.name.clone(), index.bytes);
            if let Some(sum) = sum {
                let name = name.clone();
                catalogue.note_sealed(SealedFile { name, bytes, sum });
            }
            catalogue.indexes.push((name, index));
        }
        catalogue.segments.push(SegmentInfo {
            name,
            seq,
            start: cut,
            end: None,
            bytes: 0,
            framed: Some(FramedFrom {
                lsn: cut,
                position: 0,
            }),
            since: Some(begun),
        });
        drop(catalogue);
        self.marks.raise_durable(cut);
        self.prepare_signal.wake();
        true
    }

    /// The segment that was made ahead of need, or a small one made now.
    fn take_prepared(&self, seq: u64) -> io::Result<Prepared> {
        if let Some(prepared) = self.prepared.lock().take() {
            return Ok(prepared);
        }
        first_segment(self, seq)
    }

    /// Replaces the manifest by a changed one, on disk and then in memory.
    ///
    /// After an error the one on the disk may be the old or the new: what only the new one names is kept until another
    /// replacement has succeeded, and its name is not used again.
    pub(super) fn replace_manifest(&self, change: impl FnOnce(&mut Manifest)) -> io::Result<()> {
        let _one_at_a_time = self.manifest_lock.lock();
        let old = self.catalogue.lock().manifest.clone();
        let mut manifest = old.clone();
        change(&mut manifest);
        let text = manifest.encode();
        manifest.checked = true;
        let replaced = replace_file(&*self.disk, &self.names.manifest(), &text);
        let mut catalogue = self.catalogue.lock();
        if let Err(e) = replaced {
            let new = manifest.entries().filter(|entry| !old.names(&entry.name));
            catalogue
                .in_doubt
                .extend(new.map(|entry| entry.name.clone()));
            return Err(e);
        }
        let mut settled = std::mem::take(&mut catalogue.in_doubt);
        settled.retain(|name| !manifest.names(name));
        catalogue.manifest = manifest;
        catalogue.manifest_id = sums::manifest_id(&text);
        catalogue.sums_pending = true;
        drop(catalogue);
        for name in settled {
            remove_log_file(self, &name);
        }
        Ok(())
    }

    /// Removes a base that came to nothing, unless a manifest may name it.
    fn remove_unnamed_base(&self, ticket: &RewriteTicket) {
        remove_if_there(self, &ticket.base_path);
        let name = self.names.base(ticket.seq);
        if !self.catalogue.lock().in_doubt.contains(&name) {
            remove_if_there(self, &self.path(&name));
        }
    }

    /// Removes the segment of a healing that came to nothing, unless a manifest may name it.
    fn remove_unnamed_segment(&self) {
        let path = self.writer.lock().segment.path.clone();
        let name = path.file_name().and_then(|name| name.to_str());
        let catalogue = self.catalogue.lock();
        let named = name.is_some_and(|name| {
            catalogue.manifest.names(name) || catalogue.in_doubt.iter().any(|other| other == name)
        });
        drop(catalogue);
        if !named {
            remove_if_there(self, &path);
        }
    }

    fn commit_base(&self, ticket: &RewriteTicket, base: WrittenFile) -> Result<(), RewriteError> {
        let (replaced, old_base): (Vec<String>, Option<OldBase>) = {
            let catalogue = self.catalogue.lock();
            let old_base = catalogue.manifest.base.as_ref().map(|base| OldBase {
                name: base.name.clone(),
                lsn: catalogue.base_lsn,
                bytes: catalogue.base_bytes,
            });
            let below = catalogue
                .segments
                .iter()
                .filter(|s| s.end.is_some_and(|end| end <= ticket.cut));
            (below.map(|s| s.name.clone()).collect(), old_base)
        };
        self.replace_manifest(|manifest| {
            let old = manifest.base.replace(Entry {
                name: self.names.base(ticket.seq),
                seq: ticket.seq,
                kind: FileKind::Base,
            });
            manifest.history.extend(old.map(|entry| Entry {
                kind: FileKind::History,
                ..entry
            }));
            for entry in std::mem::take(&mut manifest.increments) {
                if replaced.contains(&entry.name) {
                    manifest.history.push(Entry {
                        kind: FileKind::History,
                        ..entry
                    });
                } else {
                    manifest.increments.push(entry);
                }
            }
        })
        .map_err(io_error("replace the manifest"))?;
        let name = self.names.base(ticket.seq);
        let mut catalogue = self.catalogue.lock();
        catalogue.note_base(name, ticket.cut, base);
        // Of use while a segment says that it goes on from there; the limits are `apply_retention`'s business.
        let goes_on = |base: &OldBase| {
            let mut segments = catalogue.segments.iter();
            segments.any(|segment| segment.start == base.lsn && segment.is_ours())
        };
        let old_base = old_base.filter(goes_on);
        catalogue.old_bases.extend(old_base);
        Ok(())
    }

    fn begin_heal(&self) -> Result<Lsn, RewriteError> {
        // Not in an empty place where the directory was, or where its file system was mounted.
        if let Some(missing) = self.missing_file(false) {
            return Err(Failure::Gone { missing }.into());
        }
        let mut writer = self.writer.lock();
        match self.marks.failure() {
            None => return Err(RewriteError::NotFailed),
            Some(Failure::Closed) => return Err(Failure::Closed.into()),
            Some(_) => {}
        }
        let seq = self.catalogue.lock().take_increment_seq();
        let prepared = first_segment(self, seq).map_err(io_error("create a segment"))?;
        self.cuts.lock().clear();
        let cut = writer.consumer.revive();
        match ActiveSegment::begin(prepared, seq, self.replid, cut, cut) {
            Ok(segment) => {
                writer.restart(segment);
                self.marks.set_healing(true);
                self.healing.store(true, Ordering::SeqCst);
                Ok(cut)
            }
            Err(e) => {
                self.ring.drop_everything();
                remove_if_there(self, &self.names.temp_segment(seq));
                Err(io_error("begin a segment")(e))
            }
        }
    }

    fn commit_heal(&self, ticket: &RewriteTicket, base: WrittenFile) -> Result<(), RewriteError> {
        let mut writer = self.writer.lock();
        if !self.healing.load(Ordering::SeqCst) {
            return Err(self.marks.failure().unwrap_or(Failure::Closed).into());
        }
        self.write(&mut writer);
        if !self.healing.load(Ordering::SeqCst) {
            return Err(self.marks.failure().unwrap_or(Failure::Closed).into());
        }
        let _one_sync_at_a_time = self.sync_lock.lock();
        let begins = self.marks.failure() == Some(Failure::NotBegun);
        let written = writer.written();
        let segment = &mut writer.segment;
        segment
            .file
            .sync_data()
            .map_err(io_error("sync the new segment"))?;
        let name = self.names.increment(segment.seq);
        self.disk
            .rename(&segment.path, &self.path(&name))
            .map_err(io_error("name the new segment"))?;
        segment.path = self.path(&name);
        self.disk
            .sync_dir(&self.names.dir)
            .map_err(io_error("sync the log's directory"))?;
        let seq = segment.seq;
        self.replace_manifest(|manifest| {
            let history = |entry| Entry {
                kind: FileKind::History,
                ..entry
            };
            manifest.history.extend(manifest.base.take().map(history));
            manifest.history.extend(
                std::mem::take(&mut manifest.increments)
                    .into_iter()
                    .map(history),
            );
            manifest.base = Some(Entry {
                name: self.names.base(ticket.seq),
                seq: ticket.seq,
                kind: FileKind::Base,
            });
            manifest.increments = vec![Entry {
                name: name.clone(),
                seq,
                kind: FileKind::Increment,
            }];
        })
        .map_err(io_error("replace the manifest"))?;
        {
            let mut catalogue = self.catalogue.lock();
            // What is older does not join the cut: it is of no use to a reader.
            catalogue.segments = vec![SegmentInfo {
                name,
                seq,
                start: ticket.cut,
                end: None,
                bytes: 0,
                framed: Some(FramedFrom {
                    lsn: ticket.cut,
                    position: 0,
                }),
                since: Some(segment.since),
            }];
            catalogue.indexes.clear();
            catalogue.old_bases.clear();
            catalogue.note_base(self.names.base(ticket.seq), ticket.cut, base);
        }
        self.sync_point.switch(segment.file.clone(), written);
        self.sync_point.forget_age();
        self.healing.store(false, Ordering::SeqCst);
        self.marks.recover(written, written);
        if begins {
            let mark = self.path(CREATING);
            let removed = self.disk.remove(&mark);
            if removed
                .and_then(|()| self.disk.sync_dir(&self.names.dir))
                .is_err()
            {
                // There was none, or the next start removes it.
                tracing::debug!("log: {} was not removed", mark.display());
            }
            tracing::info!(at = ticket.cut.0, "log: begun with a new base");
        } else {
            tracing::info!(
                at = ticket.cut.0,
                "log: healed by a new base; writes are accepted again"
            );
        }
        Ok(())
    }
}

pub(super) fn remove_log_file(shared: &Shared, name: &str) {
    for path in [shared.path(name), shared.names.index(name)] {
        remove_if_there(shared, &path);
    }
}

/// Where a file cannot be removed, nothing names it.
fn remove_if_there(shared: &Shared, path: &Path) {
    match shared.disk.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("log: removing {} failed: {e}", path.display());
        }
        _ => {}
    }
}

fn first_segment(shared: &Shared, seq: u64) -> io::Result<Prepared> {
    segment::prepare(
        &*shared.disk,
        &shared.names.temp_segment(seq),
        first_segment_bytes(shared.tuned.segment_bytes()),
        shared.policy() == SyncPolicy::Always,
    )
}

/// Size of a segment that is needed at once.
pub(super) fn first_segment_bytes(segment_bytes: u64) -> u64 {
    segment_bytes.clamp(4 * frame::FILLER_BYTES as u64, FIRST_SEGMENT_BYTES)
}
