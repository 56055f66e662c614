//! Going on at the log's end: in a new segment, and with a manifest that names it; or in the last file, if another
//! server began it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

use parking_lot::Mutex;

use super::error::{OpenError, io_at};
use super::{RecoveryReport, remove_left_overs};
use crate::Lsn;
use crate::disk::{Disk, DiskLock, replace_file};
use crate::log::frame::Replid;
use crate::log::manifest::{Entry, FileKind, Manifest};
use crate::log::meta::SegmentIndex;
use crate::log::retention::OldBase;
use crate::log::rewrite::first_segment_bytes;
use crate::log::ring::Ring;
use crate::log::segment::{self, FramedFrom, INDEX_SUFFIX, Names, Prepared, SegmentInfo};
use crate::log::sums::{self, SealedFile};
use crate::log::sync::{self, Signal, SyncPoint, SyncPolicy};
use crate::log::watermark::Watermarks;
use crate::log::writer::{ActiveSegment, Writer};
use crate::log::{Catalogue, Log, LogOptions, Shared, Tuned};

/// What recovery has learnt, before the log goes on.
pub(in crate::log) struct Found {
    pub manifest: Manifest,
    /// Identifies it as it is on the disk.
    pub manifest_id: u32,
    /// Sizes and checksums of sealed files.
    pub sealed: Vec<SealedFile>,
    /// Segments below the base, oldest first.
    pub kept: Vec<SegmentInfo>,
    /// Bases of before that the first of them, or a later one, goes on from; oldest first.
    pub old_bases: Vec<OldBase>,
    /// The increments.
    pub segments: Vec<SegmentInfo>,
    pub base_lsn: Lsn,
    pub base_bytes: u64,
    pub end: Lsn,
    pub replid: Replid,
    pub indexes: Vec<(String, SegmentIndex)>,
    /// A base that still has its temporary name.
    pub new_base: Option<PathBuf>,
    pub report: RecoveryReport,
}

impl Found {
    /// Of a log that begins at `start`: nothing is in it yet.
    pub(in crate::log) fn nothing(manifest: Manifest, start: Lsn, replid: Replid) -> Found {
        Found {
            manifest,
            manifest_id: 0,
            sealed: Vec::new(),
            kept: Vec::new(),
            old_bases: Vec::new(),
            segments: Vec::new(),
            base_lsn: start,
            base_bytes: 0,
            end: start,
            replid,
            indexes: Vec::new(),
            new_base: None,
            report: RecoveryReport {
                end: start,
                ..RecoveryReport::default()
            },
        }
    }
}

/// Begins a new segment at the log's end, replaces the manifest, tidies up and starts the threads.
pub(super) fn finish(
    disk: Arc<dyn Disk>,
    names: Names,
    options: LogOptions,
    lock: Box<dyn DiskLock>,
    mut found: Found,
) -> Result<Log, OpenError> {
    if found.new_base.is_none() {
        remove_left_overs(&*disk, &names, None);
    }
    // The last segment may hold bytes that were never synced; the new one says that they are safe.
    if let Some(last) = found.segments.last() {
        let path = names.dir.join(&last.name);
        let file = disk.open_write(&path).map_err(io_at(&path))?;
        file.set_len(last.bytes)
            .and_then(|()| file.sync_all())
            .map_err(io_at(&path))?;
    }
    let before = found.manifest.clone();
    let active = match found.segments.last() {
        Some(last) if !last.is_ours() && last.end != Some(last.start) => {
            resume(&*disk, &names, &options, &found, last)?
        }
        _ => begin(&*disk, &names, &options, &found)?,
    };
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
    let is_kept = |entry: &Entry| {
        found.kept.iter().any(|kept| kept.name == entry.name)
            || found.old_bases.iter().any(|base| base.name == entry.name)
    };
    let (history, superfluous): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(&mut found.manifest.history)
            .into_iter()
            .partition(is_kept);
    found.manifest.history = history;
    match found.segments.last_mut() {
        Some(last) if last.seq == active.seq => {
            last.end = None;
            last.framed = Some(active.framed);
            last.since = Some(active.since);
            found.indexes.retain(|(name, _)| *name != last.name);
        }
        _ => {
            let name = names.increment(active.seq);
            found.manifest.increments.push(Entry {
                name: name.clone(),
                seq: active.seq,
                kind: FileKind::Increment,
            });
            found.segments.push(SegmentInfo {
                name,
                seq: active.seq,
                start: found.end,
                end: None,
                bytes: 0,
                framed: Some(active.framed),
                since: Some(active.since),
            });
        }
    }
    // Another server's manifest stays as it is as long as it is right.
    if found.new_base.is_some() || found.manifest != before {
        let path = names.manifest();
        let text = found.manifest.encode();
        replace_file(&*disk, &path, &text).map_err(io_at(&path))?;
        found.manifest.checked = true;
        found.manifest_id = sums::manifest_id(&text);
    }
    for name in superfluous.iter().map(|entry| &entry.name).chain(&emptied) {
        // Not there, or left for the operator: the manifest no longer names it.
        let _ = disk.remove(&names.dir.join(name));
    }
    remove_stray_indexes(&*disk, &names, &found.manifest);
    assemble(disk, names, options, lock, found, active)
}

/// Removes the indexes of segments that the manifest does not name: another server removes segments without them.
fn remove_stray_indexes(disk: &dyn Disk, names: &Names, manifest: &Manifest) {
    for name in disk.list(&names.dir).unwrap_or_default() {
        let segment = name.strip_suffix(INDEX_SUFFIX);
        if segment.is_some_and(|s| names.recognise(s).is_some() && !manifest.names(s)) {
            // Left where it cannot be removed: nobody looks for it.
            let _ = disk.remove(&names.dir.join(&name));
        }
    }
}

/// Puts a log together and starts its threads.
pub(in crate::log) fn assemble(
    disk: Arc<dyn Disk>,
    names: Names,
    options: LogOptions,
    lock: Box<dyn DiskLock>,
    found: Found,
    active: ActiveSegment,
) -> Result<Log, OpenError> {
    let segments = [found.kept, found.segments].concat();
    let log_signal = Arc::new(Signal::new());
    let wake = Arc::clone(&log_signal);
    let (ring, consumer) = Ring::new(options.ring_bytes, found.end, Box::new(move || wake.wake()));
    let dir = names.dir.clone();
    let next_increment_seq = active.seq.max(found.manifest.last_increment_seq()) + 1;
    let shared = Arc::new(Shared {
        marks: Watermarks::new(found.end),
        sync_point: SyncPoint::new(Arc::clone(&active.file), found.end),
        writer: Mutex::new(Writer::new(consumer, active)),
        sync_lock: Mutex::new(()),
        catalogue: Mutex::new(Catalogue {
            next_base_seq: found.manifest.base.as_ref().map_or(0, |base| base.seq) + 1,
            next_increment_seq,
            in_doubt: Vec::new(),
            manifest: found.manifest,
            segments,
            base_lsn: found.base_lsn,
            base_bytes: found.base_bytes,
            old_bases: found.old_bases,
            indexes: found.indexes,
            manifest_id: found.manifest_id,
            sealed: found.sealed,
            sums_pending: true,
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
        retention: Mutex::new(options.retention),
        rewriting: AtomicBool::new(false),
        replid: found.replid,
        tuned: Tuned::new(&options),
        ring,
        disk,
        names,
        options,
        dir_lock: Mutex::new(Some(lock)),
    });
    let log = Log {
        shared,
        threads: Mutex::default(),
        report: found.report,
    };
    log.set_policy(log.shared.options.policy);
    *log.threads.lock() = sync::start(&log.shared).map_err(io_at(&dir))?;
    log.shared.prepare_signal.wake();
    Ok(log)
}

/// Begins a new segment. The manifest does not name it yet.
fn begin(
    disk: &dyn Disk,
    names: &Names,
    options: &LogOptions,
    found: &Found,
) -> Result<ActiveSegment, OpenError> {
    let seq = found.manifest.last_increment_seq() + 1;
    let path = names.dir.join(names.increment(seq));
    let temp = names.temp_segment(seq);
    let prepared = segment::prepare(
        disk,
        &temp,
        first_segment_bytes(options.segment_bytes),
        options.policy == SyncPolicy::Always,
    )
    .map_err(io_at(&temp))?;
    let mut active = ActiveSegment::begin(prepared, seq, found.replid, found.end, found.end)
        .map_err(io_at(&temp))?;
    disk.rename(&temp, &path).map_err(io_at(&path))?;
    active.path = path;
    Ok(active)
}

/// Begins a part of ours in the last file, behind what another server left in it. If it remains empty a clean close
/// takes it away again.
fn resume(
    disk: &dyn Disk,
    names: &Names,
    options: &LogOptions,
    found: &Found,
    last: &SegmentInfo,
) -> Result<ActiveSegment, OpenError> {
    let path = names.dir.join(&last.name);
    let file = disk.open_write(&path).map_err(io_at(&path))?;
    let prepared = Prepared {
        file: Arc::from(file),
        path: path.clone(),
        size_bytes: last.bytes + first_segment_bytes(options.segment_bytes),
    };
    let framed = FramedFrom {
        lsn: found.end,
        position: last.bytes,
    };
    let (seq, start) = (last.seq, last.start);
    ActiveSegment::begin_part(prepared, seq, found.replid, start, framed, found.end)
        .map_err(io_at(&path))
}
