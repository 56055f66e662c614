//! The beginning of a log beside the commands: what `CONFIG SET appendonly yes` asks for.
//!
//! The data is in memory, and there may be an older log in the directory, or none. The new log takes appends at once; its
//! segment and its base have temporary names until the base is complete. Then [`Log::commit_rewrite`] makes both durable
//! and replaces the manifest in one step: from there on the directory holds the new log, and what was there before is
//! history, which is removed. A crash before that step leaves what was there, and left-overs that the next start removes;
//! where there was no log, the mark of one that is being made says that its files count for nothing.
//!
//! Until then the log is in the state of one that has failed and is being healed, with `Failure::NotBegun` as the
//! reason: it goes on to no other segment, and its watermarks stand still.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::frame::Replid;
use super::manifest::{Entry, FileKind, Manifest};
use super::recovery::{self, CREATING, Found, OpenError, io_at};
use super::rewrite::{RewriteTicket, first_segment_bytes};
use super::segment;
use super::sync::SyncPolicy;
use super::writer::ActiveSegment;
use super::{Log, LogOptions};
use crate::Lsn;
use crate::disk::Disk;

impl Log {
    /// Begins a log at LSN `start`, in a directory that may hold an older one. The ticket's base is to hold the state as
    /// of that position; give the ticket to [`Log::commit_rewrite`], or to [`Log::abort_rewrite`] and close the log.
    ///
    /// # Errors
    /// [`OpenError`]; what the directory held is as it was.
    pub fn begin(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        options: LogOptions,
        start: Lsn,
    ) -> Result<(Log, RewriteTicket), OpenError> {
        let lock = recovery::take_lock(&*disk, data_dir)?;
        let names = recovery::names(data_dir, &options);
        disk.create_dir(&names.dir).map_err(io_at(&names.dir))?;
        disk.sync_dir(data_dir).map_err(io_at(data_dir))?;
        let present = disk.list(&names.dir).map_err(io_at(&names.dir))?;
        let manifest = names.manifest();
        let has_manifest = present.iter().any(|name| names.dir.join(name) == manifest);
        if !has_manifest && !recovery::is_unfinished(&names, &present) {
            // Log files that nothing explains are not ours to replace.
            if let Some(file) = present.iter().find(|name| names.recognise(name).is_some()) {
                return Err(OpenError::ManifestMissing(manifest, file.clone()));
            }
        }
        if !has_manifest {
            let mark = names.dir.join(CREATING);
            disk.create(&mark)
                .and_then(|_| disk.sync_dir(&names.dir))
                .map_err(io_at(&mark))?;
        }
        recovery::remove_left_overs(&*disk, &names, Some(CREATING));
        // Whatever an older manifest says of them: once this log stands nobody needs them.
        let history: Vec<Entry> = present
            .into_iter()
            .filter_map(|name| {
                let (_, seq) = names.recognise(&name)?;
                let kind = FileKind::History;
                Some(Entry { name, seq, kind })
            })
            .collect();
        let seq = 1 + history.iter().map(|entry| entry.seq).max().unwrap_or(0);
        let temp = names.temp_segment(seq);
        let prepared = segment::prepare(
            &*disk,
            &temp,
            first_segment_bytes(options.segment_bytes),
            options.policy == SyncPolicy::Always,
        )
        .map_err(io_at(&temp))?;
        let replid = options.replid.unwrap_or_else(Replid::random);
        let active =
            ActiveSegment::begin(prepared, seq, replid, start, start).map_err(io_at(&temp))?;
        let ticket = RewriteTicket::first(start, names.temp_base(seq), seq);
        let manifest = Manifest {
            history,
            checked: true,
            ..Manifest::default()
        };
        let found = Found::nothing(manifest, start, replid);
        let log = recovery::assemble(disk, names, options, lock, found, active)?;
        log.shared.catalogue.lock().next_base_seq = seq + 1;
        // Nobody has heard of the log yet.
        log.shared.marks.begin_later();
        log.shared.healing.store(true, Ordering::SeqCst);
        log.shared.rewriting.store(true, Ordering::SeqCst);
        Ok((log, ticket))
    }

    /// Ends a log that has not begun, and removes its files; what was in the directory before stays.
    pub fn discard(self, ticket: RewriteTicket) {
        self.abort_rewrite(ticket);
        self.stop_threads();
        // While the directory is still ours: what the next one to lock it begins is not to be removed.
        recovery::remove_left_overs(&*self.shared.disk, &self.shared.names, Some(CREATING));
        // It has failed, and says so.
        let _ = self.shut_down();
    }
}
