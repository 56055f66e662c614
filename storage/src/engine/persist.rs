//! Snapshots to files: SAVE and BGSAVE, the compaction of the log, healing a failed log.
//!
//! Each is the same walk (`snapshot`) with another file at its end. One at a time: whoever comes second is told so.
//! The cut is made under the exclusive gate, for microseconds; everything else happens beside the commands.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::load::LSN_FIELD;
use super::retry::Retry;
use super::{Engine, Shared};
use crate::disk::{FileWriter, Reserve, WrittenFile};
use crate::keyspace::{ExclusiveGate, SnapshotCut};
use crate::log::{LogStatus, RewriteTicket};
use crate::rdb::{FileInfo, ReplicationInfo};
use crate::snapshot::{self, SnapshotOptions, SnapshotProgress};
use crate::types::{Lsn, UnixMillis};

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    /// The RDB file.
    Save,
    /// A new base of the log.
    Rewrite,
}

/// Why a snapshot was not begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// One is under way.
    #[error("a snapshot is in progress")]
    InProgress(SnapshotKind),
    /// The log cannot be compacted now, or a thread could not be started.
    #[error("{0}")]
    Failed(String),
}

/// What INFO says of snapshots.
#[derive(Clone, Debug)]
pub struct SnapshotInfo {
    /// The snapshot that is being written, with the time since its begin.
    pub running: Option<(SnapshotKind, Duration)>,
    /// Keys written and keys in all, of the one that is being written.
    pub keys: (u64, u64),
    /// Bytes written of it.
    pub bytes: u64,
    /// What it holds on to beyond the data.
    pub memory: SnapshotMemoryInfo,
    /// The most that the last SAVE or BGSAVE held on to, and the last compaction.
    pub last_memory_peaks: (u64, u64),
    /// When the RDB file was last written, or the server started.
    pub last_save: UnixMillis,
    /// How the last SAVE or BGSAVE ended.
    pub last_save_ok: bool,
    /// How long it took.
    pub last_save_took: Option<Duration>,
    /// When the last one was begun, whatever came of it.
    pub last_save_attempt: UnixMillis,
    /// How the last compaction ended.
    pub last_rewrite_ok: bool,
    /// How long it took.
    pub last_rewrite_took: Option<Duration>,
    /// RDB files written since the start.
    pub saves: u64,
    /// Compactions since the start.
    pub rewrites: u64,
    /// Snapshots in the background that were begun.
    pub begun: u64,
    /// Why the last snapshot failed, if the last one did.
    pub last_error: Option<String>,
    /// Until a compaction that has failed is tried again by itself.
    pub rewrite_retry_in: Option<Duration>,
}

/// What a snapshot holds on to beyond the data, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotMemoryInfo {
    /// At this moment.
    pub now: u64,
    /// At most so far.
    pub peak: u64,
    /// At most ever, or it fails; 0: no limit.
    pub limit: u64,
}

impl SnapshotMemoryInfo {
    fn of(progress: &SnapshotProgress) -> SnapshotMemoryInfo {
        let Some(memory) = progress.memory.get() else {
            return SnapshotMemoryInfo::default();
        };
        SnapshotMemoryInfo {
            now: memory.bytes() as u64,
            peak: memory.peak() as u64,
            limit: match memory.limit() {
                usize::MAX => 0,
                limit => limit as u64,
            },
        }
    }
}

/// State of the snapshots of one engine.
pub(super) struct Persistence {
    state: Mutex<State>,
    /// The last attempt to write the RDB file failed.
    pub save_failed: AtomicBool,
}

struct State {
    running: Option<Running>,
    info: SnapshotInfo,
    /// Compactions and healings that failed.
    rewrite_retry: Retry,
    /// Snapshots by `save` rules that failed.
    save_retry: Retry,
    /// What was free on the disk when the present snapshot was begun.
    free_at_begin: Option<u64>,
    /// A compaction was asked for while another snapshot was under way.
    rewrite_scheduled: bool,
    save_scheduled: bool,
}

struct Running {
    kind: SnapshotKind,
    began: Instant,
    /// Nobody waits for it.
    in_background: bool,
    progress: Arc<SnapshotProgress>,
}

impl Persistence {
    pub fn new() -> Persistence {
        let info = SnapshotInfo {
            running: None,
            keys: (0, 0),
            bytes: 0,
            memory: SnapshotMemoryInfo::default(),
            last_memory_peaks: (0, 0),
            last_save: UnixMillis::now(),
            last_save_ok: true,
            last_save_took: None,
            last_save_attempt: UnixMillis(0),
            last_rewrite_ok: true,
            last_rewrite_took: None,
            saves: 0,
            rewrites: 0,
            begun: 0,
            last_error: None,
            rewrite_retry_in: None,
        };
        Persistence {
            state: Mutex::new(State {
                running: None,
                info,
                rewrite_retry: Retry::new(REWRITE_RETRY, REWRITE_RETRY_MAX),
                save_retry: Retry::new(SAVE_RETRY, SAVE_RETRY_MAX),
                free_at_begin: None,
                rewrite_scheduled: false,
                save_scheduled: false,
            }),
            save_failed: AtomicBool::new(false),
        }
    }

    pub fn begin(
        &self,
        kind: SnapshotKind,
        in_background: bool,
    ) -> Result<Arc<SnapshotProgress>, BeginError> {
        let mut state = self.state.lock();
        if let Some(running) = &state.running {
            return Err(BeginError::InProgress(running.kind));
        }
        let progress = Arc::new(SnapshotProgress::default());
        state.running = Some(Running {
            kind,
            began: Instant::now(),
            in_background,
            progress: progress.clone(),
        });
        state.info.begun += u64::from(in_background);
        match kind {
            SnapshotKind::Save => state.info.last_save_attempt = UnixMillis::now(),
            SnapshotKind::Rewrite => state.rewrite_scheduled = false,
        }
        Ok(progress)
    }

    /// Notes what is free on the disk when a snapshot begins.
    fn note_free(&self, free: Option<u64>) {
        self.state.lock().free_at_begin = free;
    }

    pub fn end(&self, outcome: Result<(), Why>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(running) = state.running.take() else {
            return;
        };
        let ok = outcome.is_ok();
        let lacked = match &outcome {
            Err(why) if why.lacks_space => state.free_at_begin,
            _ => None,
        };
        let took = Some(running.began.elapsed());
        let memory_peak = SnapshotMemoryInfo::of(&running.progress).peak;
        match running.kind {
            SnapshotKind::Save => state.info.last_memory_peaks.0 = memory_peak,
            SnapshotKind::Rewrite => state.info.last_memory_peaks.1 = memory_peak,
        }
        if !ok && running.progress.cancelled.load(Ordering::Relaxed) {
            // That was asked for: it says nothing about the disk.
            return;
        }
        state.info.last_error = outcome.err().map(|why| why.text);
        let retry = match running.kind {
            SnapshotKind::Save => &mut state.save_retry,
            SnapshotKind::Rewrite => &mut state.rewrite_retry,
        };
        match ok {
            true => retry.succeeded(),
            false => retry.failed(Instant::now(), lacked),
        }
        match running.kind {
            SnapshotKind::Save => {
                state.info.last_save_ok = ok;
                self.save_failed.store(!ok, Ordering::Relaxed);
                state.info.last_save_took = took;
                if ok {
                    state.info.last_save = UnixMillis::now();
                    state.info.saves += 1;
                }
            }
            SnapshotKind::Rewrite => {
                state.info.last_rewrite_ok = ok;
                state.info.last_rewrite_took = took;
                state.info.rewrites += u64::from(ok);
            }
        }
    }

    /// Ends a snapshot that is under way in the background: the data it writes, and holds on to, have just been thrown
    /// away. A compaction is begun anew.
    ///
    /// Not so the first base of a log that is being turned on: nothing would turn it on again.
    pub fn cancel_for_flush(&self, log_is_on: bool) {
        let mut state = self.state.lock();
        let running = state.running.as_ref().filter(|running| {
            running.in_background && (running.kind == SnapshotKind::Save || log_is_on)
        });
        let Some(running) = running else { return };
        running.progress.cancelled.store(true, Ordering::Relaxed);
        state.rewrite_scheduled |= running.kind == SnapshotKind::Rewrite;
    }

    pub fn info(&self) -> SnapshotInfo {
        let state = self.state.lock();
        let mut info = state.info.clone();
        if state.rewrite_retry.failures() > 0 {
            let now = Instant::now();
            info.rewrite_retry_in = Some(state.rewrite_retry.due_in(now, Duration::MAX, None));
        }
        if let Some(running) = &state.running {
            info.running = Some((running.kind, running.began.elapsed()));
            let progress = &running.progress;
            info.keys = (
                progress.keys_done.load(Ordering::Relaxed),
                progress.keys_total.load(Ordering::Relaxed),
            );
            info.bytes = progress.bytes_done.load(Ordering::Relaxed);
            info.memory = SnapshotMemoryInfo::of(progress);
        }
        info
    }
}

/// Why a snapshot failed.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub text: String,
    /// For lack of space on the disk.
    pub lacks_space: bool,
}

impl Why {
    pub fn of(error: &io::Error) -> Why {
        Why {
            text: error.to_string(),
            lacks_space: matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
        }
    }
}

impl<S: Into<String>> From<S> for Why {
    fn from(text: S) -> Why {
        Why {
            text: text.into(),
            lacks_space: false,
        }
    }
}

/// Ends the snapshot in the books, whatever becomes of it.
pub(super) struct Ending<'s> {
    pub persistence: &'s Persistence,
    pub outcome: Result<(), Why>,
}

impl<'s> Ending<'s> {
    pub fn of(persistence: &'s Persistence) -> Ending<'s> {
        Ending {
            persistence,
            outcome: Err("it did not come to its end".into()),
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        self.persistence.end(outcome);
    }
}

impl Shared {
    /// What a snapshot leaves free on the disk.
    fn reserve(&self) -> Reserve {
        Reserve {
            disk: self.options.disk.clone(),
            dir: self.dir(),
            bytes: self.settings.load().disk_reserve_bytes,
        }
    }

    /// Whether a snapshot that has been announced may be begun: the data directory is there, and has room. Otherwise the
    /// snapshot is at its end in the books.
    pub(super) fn may_begin(&self, heals: bool) -> Result<(), BeginError> {
        let held = match (self.log(), &*self.dir_lock.lock()) {
            (Some(log), _) => log.holds_directory(),
            (None, Some(lock)) => !matches!(lock.is_in_place(), Ok(false)),
            (None, None) => true,
        };
        let dir = self.dir();
        let may = match held {
            // The log says so itself.
            false if heals => Ok(()),
            false => Err(Why::from(format!(
                "the data directory {} is not the one of the start any more: it was removed, or its file system unmounted",
                dir.display()
            ))),
            true => {
                self.persistence
                    .note_free(self.options.disk.free_bytes(&dir).ok());
                // Healing is what brings writes back: that is what the reserve is for.
                let enough = if heals {
                    Ok(())
                } else {
                    self.reserve().check(0)
                };
                enough.map_err(|error| Why::of(&error))
            }
        };
        may.map_err(|why| {
            let text = why.text.clone();
            self.persistence.end(Err(why));
            BeginError::Failed(text)
        })
    }

    /// Enters the gate exclusively, unless the snapshot is cancelled while long commands are under way.
    pub(super) fn enter_for_cut(&self, progress: &SnapshotProgress) -> Option<ExclusiveGate<'_>> {
        const LOOK_AT_CANCELLATION: Duration = Duration::from_secs(1);
        loop {
            if let Some(gate) = self.keyspace.try_enter_exclusive(LOOK_AT_CANCELLATION) {
                return Some(gate);
            }
            if progress.cancelled.load(Ordering::Relaxed) {
                return None;
            }
        }
    }

    /// Cuts the keyspace for a snapshot whose memory is limited, and says so in the books.
    pub(super) fn cut(
        &self,
        gate: &mut ExclusiveGate<'_>,
        progress: &SnapshotProgress,
    ) -> Option<SnapshotCut> {
        let limit = match self.settings.load().snapshot_memory_limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let cut = gate.begin_snapshot_within(limit)?;
        progress.memory.get_or_init(|| cut.memory());
        Some(cut)
    }

    /// Writes a cut as an RDB.
    pub(super) fn write_snapshot<W: Write>(
        &self,
        cut: SnapshotCut,
        lsn: Option<Lsn>,
        aof_base: bool,
        progress: &SnapshotProgress,
        sink: W,
    ) -> io::Result<u64> {
        let settings = self.settings.load_full();
        let options = SnapshotOptions {
            compress: settings.rdb_compression,
            checksum: settings.rdb_checksum,
            key_delay: &|| self.settings.load().rdb_key_delay,
        };
        let replid = self.log().map(|log| log.replid());
        let replication = replid
            .as_ref()
            .zip(lsn)
            .filter(|_| !aof_base)
            .map(|(replid, lsn)| ReplicationInfo {
                stream_db: 0,
                id: replid.as_str(),
                offset: lsn.0,
            });
        let info = FileInfo {
            redis_version: COMPATIBLE_VERSION,
            created: UnixMillis::now(),
            used_memory: (self.options.memory_used)(),
            replication,
            aof_base,
        };
        let lsn = lsn.filter(|_| aof_base).map(|lsn| lsn.0.to_string());
        let extra = lsn.as_ref().map(|lsn| (LSN_FIELD, lsn.as_bytes()));
        snapshot::write(cut, &info, extra, options, progress, sink)
    }

    /// Writes the base that a ticket asks for, durably.
    pub(super) fn write_base(
        &self,
        cut: SnapshotCut,
        ticket: &RewriteTicket,
        progress: &SnapshotProgress,
    ) -> io::Result<WrittenFile> {
        let mut file = FileWriter::create(&*self.options.disk, ticket.base_path())?;
        if !ticket.heals() {
            file = file.leaving(self.reserve());
        }
        self.write_snapshot(cut, Some(ticket.cut()), true, progress, &mut file)?;
        file.finish()
    }

    /// Writes a file durably under a temporary name and calls it `path`.
    fn write_file(
        &self,
        path: &Path,
        write: impl FnOnce(&mut FileWriter) -> io::Result<()>,
    ) -> io::Result<()> {
        let disk = &*self.options.disk;
        let name = format!("temp-{}.rdb", std::process::id());
        let temporary = path.with_file_name(name);
        let written = (|| {
            let mut file = FileWriter::create(disk, &temporary)?.leaving(self.reserve());
            write(&mut file)?;
            file.finish()?;
            disk.rename(&temporary, path)
        })();
        if let Err(error) = written {
            // The first error is the one that matters; what is left is removed at the next start.
            let _ = disk.remove(&temporary);
            return Err(error);
        }
        disk.sync_dir(path.parent().unwrap_or(Path::new("")))
    }
}

/// The version of Redis that snapshots name as their writer, because tools look at it.
const COMPATIBLE_VERSION: &str = "7.0.15";

impl Engine {
    /// Where SAVE and BGSAVE write.
    pub fn rdb_path(&self) -> PathBuf {
        let shared = self.shared();
        shared.dir().join(&shared.settings.load().rdb_name)
    }

    /// Writes the RDB file, in the calling thread.
    ///
    /// # Errors
    /// [`BeginError`]; a failed write is one too.
    pub fn save(&self) -> Result<(), BeginError> {
        let (cut, progress) = self.begin_save(false)?;
        self.finish_save(cut, &progress)
            .map_err(|error| BeginError::Failed(error.to_string()))
    }

    /// Begins to write the RDB file in the background.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn save_in_background(&self) -> Result<(), BeginError> {
        let (cut, progress) = self.begin_save(true)?;
        self.spawn("hardtack-bgsave", move |engine| {
            // The outcome is in the books and in the log lines.
            let _ = engine.finish_save(cut, &progress);
        })
    }

    fn begin_save(&self, in_background: bool) -> Result<(Cut, Arc<SnapshotProgress>), BeginError> {
        let shared = self.shared();
        let progress = shared
            .persistence
            .begin(SnapshotKind::Save, in_background)?;
        shared.may_begin(false)?;
        let Some(mut gate) = shared.enter_for_cut(&progress) else {
            shared.persistence.end(Err("it was cancelled".into()));
            return Err(BeginError::Failed("it was cancelled".into()));
        };
        let Some(cut) = shared.cut(&mut gate, &progress) else {
            shared
                .persistence
                .end(Err("another snapshot is in progress".into()));
            return Err(BeginError::InProgress(SnapshotKind::Save));
        };
        let lsn = shared.log().map(|log| log.force_select());
        let dirty = shared.stats.dirty.get();
        progress.keys_total.store(
            (0..gate.databases()).map(|db| gate.len(db) as u64).sum(),
            Ordering::Relaxed,
        );
        Ok((Cut { cut, lsn, dirty }, progress))
    }

    fn finish_save(&self, cut: Cut, progress: &SnapshotProgress) -> io::Result<()> {
        let shared = self.shared();
        let mut ending = Ending::of(&shared.persistence);
        let path = self.rdb_path();
        let written = shared.write_file(&path, |file| {
            shared
                .write_snapshot(cut.cut, cut.lsn, false, progress, file)
                .map(drop)
        });
        match &written {
            Ok(()) => {
                shared.stats.dirty.subtract(cut.dirty);
                tracing::info!("DB saved on disk");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                tracing::info!("Saving the DB on disk was cancelled");
            }
            Err(error) => tracing::warn!("Error saving DB on disk to {}: {error}", path.display()),
        }
        ending.outcome = written.as_ref().copied().map_err(Why::of);
        drop(ending);
        written
    }

    /// Compacts the log in the background: a new base, and the log from there. With the log off, writes one for a
    /// later start with it on.
    ///
    /// # Errors
    /// [`BeginError`].
    pub fn rewrite_log_in_background(&self) -> Result<(), BeginError> {
        let shared = self.shared();
        let Some(log) = shared.log() else {
            return self.write_log_once();
        };
        let progress = shared.persistence.begin(SnapshotKind::Rewrite, true)?;
        let failed = |error: String| {
            shared.persistence.end(Err(error.clone().into()));
            Err(BeginError::Failed(error))
        };
        let heals = log.status() != LogStatus::Ok;
        shared.may_begin(heals)?;
        let Some(mut gate) = shared.enter_for_cut(&progress) else {
            return failed("it was cancelled".into());
        };
        let ticket = if heals {
            log.begin_heal()
        } else {
            log.begin_rewrite()
        };
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(error) => return failed(error.to_string()),
        };
        let Some(cut) = shared.cut(&mut gate, &progress) else {
            log.abort_rewrite(ticket);
            return failed("a snapshot is in progress".into());
        };
        progress.keys_total.store(
            (0..gate.databases()).map(|db| gate.len(db) as u64).sum(),
            Ordering::Relaxed,
        );
        drop(gate);
        // The ticket is given back if there is no thread to take it.
        let work = Arc::new(Mutex::new(Some((cut, ticket))));
        let taken = work.clone();
        let spawned = self.spawn("hardtack-rewrite", move |engine| {
            let taken = taken.lock().take();
            if let Some((cut, ticket)) = taken {
                engine.finish_rewrite(cut, ticket, &progress);
            }
        });
        if spawned.is_err()
            && let Some((_, ticket)) = work.lock().take()
        {
            log.abort_rewrite(ticket);
        }
        spawned
    }

    fn finish_rewrite(&self, cut: SnapshotCut, ticket: RewriteTicket, progress: &SnapshotProgress) {
        let shared = self.shared();
        let mut ending = Ending::of(&shared.persistence);
        let Some(log) = shared.log() else { return };
        match shared.write_base(cut, &ticket, progress) {
            Ok(base) => match log.commit_rewrite(ticket, base) {
                Ok(()) => {
                    ending.outcome = Ok(());
                    tracing::info!("Background AOF rewrite finished successfully");
                }
                Err(error) => {
                    tracing::warn!("Background AOF rewrite failed: {error}");
                    ending.outcome = Err(Why {
                        text: error.to_string(),
                        lacks_space: error.lacks_space(),
                    });
                }
            },
            Err(error) => {
                ending.outcome = Err(Why::of(&error));
                if error.kind() == io::ErrorKind::Interrupted {
                    tracing::info!("The background AOF rewrite was cancelled");
                } else {
                    tracing::warn!("Background AOF rewrite failed: {error}");
                }
                log.abort_rewrite(ticket);
            }
        }
    }

    pub(super) fn spawn(
        &self,
        name: &str,
        work: impl FnOnce(Engine) + Send + 'static,
    ) -> Result<(), BeginError> {
        let engine = self.clone();
        thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let _guard = crate::AbortOnPanic;
                work(engine);
            })
            .map(drop)
            .map_err(|error| {
                self.shared().persistence.end(Err(Why::of(&error)));
                BeginError::Failed(format!("no thread can be started: {error}"))
            })
    }

    /// Begins a compaction when the snapshot that is under way has ended.
    pub fn schedule_rewrite(&self) {
        self.shared().persistence.state.lock().rewrite_scheduled = true;
    }

    /// Begins a BGSAVE when the snapshot that is under way has ended.
    pub fn schedule_save(&self) {
        self.shared().persistence.state.lock().save_scheduled = true;
    }

    /// Whether a compaction is due as soon as possible.
    pub fn rewrite_is_scheduled(&self) -> bool {
        self.shared().persistence.state.lock().rewrite_scheduled
    }

    /// Ends the snapshot that is under way without a result, if there is one.
    pub fn cancel_snapshot(&self) {
        if let Some(running) = &self.shared().persistence.state.lock().running {
            running.progress.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Has a compaction that is under way end without a result; whether there is one.
    pub(super) fn cancel_rewrite(&self) -> bool {
        let state = self.shared().persistence.state.lock();
        let rewrite = state
            .running
            .as_ref()
            .filter(|running| running.kind == SnapshotKind::Rewrite);
        if let Some(running) = rewrite {
            running.progress.cancelled.store(true, Ordering::Relaxed);
        }
        rewrite.is_some()
    }

    /// Waits until no snapshot is under way.
    pub(super) fn wait_for_snapshot(&self) {
        while self.shared().persistence.state.lock().running.is_some() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What there is to say of snapshots.
    pub fn snapshot_info(&self) -> SnapshotInfo {
        self.shared().persistence.info()
    }

    /// Begins what is due: scheduled snapshots, `save` rules, automatic compaction, healing.
    pub(super) fn begin_due_snapshots(&self) {
        let shared = self.shared();
        let info = self.snapshot_info();
        if info.running.is_some() {
            return;
        }
        let settings = shared.settings.load_full();
        let (rewrite_scheduled, save_scheduled) = {
            let state = shared.persistence.state.lock();
            (state.rewrite_scheduled, state.save_scheduled)
        };
        let log = shared.log();
        let broken = log
            .as_ref()
            .is_some_and(|log| log.status() != LogStatus::Ok);
        let rewrite_due = log.as_ref().is_some_and(|log| {
            let (base, now) = (log.base_bytes().max(1), log.current_bytes());
            let percentage = u64::from(settings.auto_rewrite_percentage);
            percentage > 0
                && now >= settings.auto_rewrite_size_min
                && now.saturating_sub(base).saturating_mul(100) / base >= percentage
        });
        let (free, now) = (shared.disk_state.free(), Instant::now());
        let (may_retry, may_save) = {
            let state = shared.persistence.state.lock();
            // Writes are refused until the log is healed.
            let at_most = if broken {
                HEAL_RETRY_MAX
            } else {
                Duration::MAX
            };
            (
                state.rewrite_retry.due_in(now, at_most, free).is_zero(),
                state.save_retry.due_in(now, Duration::MAX, free).is_zero(),
            )
        };
        if may_retry && self.follow_wish() {
            return;
        }
        if rewrite_scheduled || may_retry && (broken || rewrite_due) {
            if let Err(error) = self.rewrite_log_in_background()
                && !broken
            {
                tracing::warn!("Can't rewrite the append-only log: {error}");
            }
            return;
        }
        let dirty = shared.stats.dirty.get();
        let age_s = (UnixMillis::now().0 - info.last_save.0) / 1000;
        let rule = settings
            .save_rules
            .iter()
            .find(|(seconds, changes)| dirty >= *changes && age_s > *seconds as i64 && may_save);
        if let Some((seconds, changes)) = rule {
            tracing::info!("{changes} changes in {seconds} seconds. Saving...");
        }
        if rule.is_some() || save_scheduled {
            shared.persistence.state.lock().save_scheduled = false;
            if let Err(error) = self.save_in_background() {
                tracing::warn!("Can't save in the background: {error}");
            }
        }
    }
}

/// Time to the second attempt at an automatic compaction, or at healing the log; it doubles up to the next.
const REWRITE_RETRY: Duration = Duration::from_secs(1);
const REWRITE_RETRY_MAX: Duration = Duration::from_secs(60);

/// Longest time between two attempts at healing the log.
const HEAL_RETRY_MAX: Duration = Duration::from_secs(5);

/// The same for `save` rules.
const SAVE_RETRY: Duration = Duration::from_secs(5);
const SAVE_RETRY_MAX: Duration = Duration::from_secs(300);

/// A cut, with what was true at that instant.
struct Cut {
    cut: SnapshotCut,
    lsn: Option<Lsn>,
    dirty: u64,
}
