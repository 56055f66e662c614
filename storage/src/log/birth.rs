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
        let found = Found {
            manifest: Manifest {
                base: None,
                history,
                increments: vec![],
                checked: true,
            },
            manifest_id: 0,
            sealed: vec![],
            kept: vec![],
            segments: vec![],
            base_lsn: start,
            base_bytes: 0,
            end: start,
            replid,
            indexes: vec![],
            new_base: None,
        };
        let report = recovery::RecoveryReport {
            end: start,
            ..recovery::RecoveryReport::default()
        };
        let log = recovery::assemble(disk, names, options, lock, found, active, report)?;
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
        // It has failed by that, and says so.
        let _ = self.shut_down();
        recovery::remove_left_overs(&*self.shared.disk, &self.shared.names, Some(CREATING));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::UnixMillis;
    use crate::disk::testing::FailingDisk;
    use crate::disk::{FileWriter, RealDisk};
    use crate::log::{BaseLoaded, LogStatus, ReplayError, ReplayTarget};

    /// The base, and what follows it.
    #[derive(Default)]
    struct Collected {
        base: Vec<u8>,
        payload: Vec<u8>,
    }

    impl ReplayTarget for Collected {
        fn load_base(&mut self, path: &Path) -> Result<BaseLoaded, ReplayError> {
            self.base = fs::read(path).map_err(|error| ReplayError(error.to_string()))?;
            Ok(BaseLoaded::default())
        }

        fn replay(
            &mut self,
            payload: &[u8],
            _: Lsn,
            _: Option<UnixMillis>,
        ) -> Result<(), ReplayError> {
            self.payload.extend_from_slice(payload);
            Ok(())
        }
    }

    fn options() -> LogOptions {
        LogOptions {
            ring_bytes: 4096,
            segment_bytes: 64 << 10,
            ..LogOptions::default()
        }
    }

    fn open(dir: &Path) -> Result<Collected, OpenError> {
        let mut found = Collected::default();
        Log::open(Arc::new(RealDisk), dir, options(), &mut found)?
            .close()
            .unwrap();
        Ok(found)
    }

    fn begin(disk: Arc<dyn Disk>, dir: &Path, start: Lsn) -> (Log, RewriteTicket) {
        Log::begin(disk, dir, options(), start).unwrap()
    }

    fn write_base(disk: &dyn Disk, ticket: &RewriteTicket, text: &[u8]) -> std::io::Result<()> {
        let mut file = FileWriter::create(disk, ticket.base_path())?;
        file.write_all(text)?;
        file.finish().map(drop)
    }

    /// The payload of a log in which `SET key value` was run so many times in database 0.
    fn sets(count: usize) -> Vec<u8> {
        let mut bytes = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n".to_vec();
        bytes.extend(SET.repeat(count));
        bytes
    }

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n";

    #[test]
    fn commands_append_before_the_base_is_there_and_a_crash_until_then_leaves_what_was() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..3u64 {
            let (log, ticket) = begin(Arc::new(RealDisk), dir.path(), Lsn(round * 1000));
            assert_eq!(ticket.cut(), Lsn(round * 1000));
            assert_ne!(log.status(), LogStatus::Ok);
            let appender = log.appender();
            // Several times the ring.
            let count = 300 + round as usize;
            for _ in 0..count {
                appender.append(0, &[SET]);
            }
            let before = if round == 0 {
                0
            } else {
                300 + round as usize - 1
            };
            let copy = tempfile::tempdir().unwrap();
            copy_dir(dir.path(), copy.path());
            match open(copy.path()) {
                Err(OpenError::NoLog(_)) => assert_eq!(round, 0),
                found => assert_eq!(found.unwrap().payload, sets(before), "the log before"),
            }
            write_base(&RealDisk, &ticket, format!("base {round}").as_bytes()).unwrap();
            log.commit_rewrite(ticket).unwrap();
            assert_eq!(log.status(), LogStatus::Ok);
            assert_eq!(log.durable(), log.appended());
            drop(appender);
            log.abandon();
            let found = open(dir.path()).unwrap();
            assert_eq!(found.base, format!("base {round}").as_bytes());
            assert_eq!(found.payload, sets(count));
        }
    }

    #[test]
    fn a_log_that_was_discarded_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (log, ticket) = begin(Arc::new(RealDisk), dir.path(), Lsn(7));
        log.appender().append(0, &[SET]);
        log.discard(ticket);
        let left: Vec<_> = fs::read_dir(dir.path().join("appendonlydir"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [CREATING]);
        assert!(matches!(open(dir.path()), Err(OpenError::NoLog(_))));
    }

    #[test]
    fn log_files_that_nothing_explains_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("appendonlydir")).unwrap();
        let file = dir.path().join("appendonlydir/appendonly.aof.3.incr.aof");
        fs::write(&file, "precious").unwrap();
        let begun = Log::begin(Arc::new(RealDisk), dir.path(), options(), Lsn::ZERO);
        assert!(matches!(begun, Err(OpenError::ManifestMissing(..))));
        assert_eq!(fs::read(file).unwrap(), b"precious");
    }

    /// A disk that fails at the n-th call, for every n until the log has begun: the directory holds the log before or the
    /// new one, whole, and appenders never hang.
    #[test]
    fn every_failing_call_leaves_one_log_or_the_other() {
        for call in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (log, ticket) = begin(Arc::new(RealDisk), dir.path(), Lsn::ZERO);
            log.appender().append(0, &[SET]);
            write_base(&RealDisk, &ticket, b"old").unwrap();
            log.commit_rewrite(ticket).unwrap();
            log.close().unwrap();

            let disk = FailingDisk::new();
            disk.fail_after(call);
            let begun = (|| {
                let (log, ticket) =
                    Log::begin(Arc::new(disk.clone()), dir.path(), options(), Lsn(500)).ok()?;
                for _ in 0..200 {
                    log.appender().append(0, &[SET]);
                }
                if write_base(&disk, &ticket, b"new").is_err() {
                    log.discard(ticket);
                    return None;
                }
                let committed = log.commit_rewrite(ticket).is_ok();
                log.abandon();
                committed.then_some(())
            })();
            disk.fail_after(-1);
            let found = open(dir.path()).unwrap();
            match &found.base[..] {
                b"new" => assert_eq!(found.payload, sets(200), "call {call}"),
                b"old" => {
                    assert!(
                        begun.is_none(),
                        "call {call}: a log that has begun is there"
                    );
                    assert_eq!(found.payload, sets(1), "call {call}");
                }
                other => panic!("call {call}: {other:?}"),
            }
            if begun.is_some() {
                assert!(call > 10);
                return;
            }
        }
    }

    fn copy_dir(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&target).unwrap();
                copy_dir(&entry.path(), &target);
            } else if entry.file_name() != "hardtack.lock" {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
}
