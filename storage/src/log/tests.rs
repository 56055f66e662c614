//! The log as a whole, on real directories and on disks that fail.

mod birth;
mod far;
mod foreign;
mod history;
mod notes;
mod sealed;
pub(crate) mod spoilt;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::UnixMillis;
use crate::disk::testing::FailingDisk;
use crate::disk::{FileWriter, RealDisk};
use crate::testing::{CallKind, SimDisk};

/// An RDB file of version 9 without keys and without a checksum.
const EMPTY_RDB: &[u8] = b"REDIS0009\xff\0\0\0\0\0\0\0\0";

/// Collects what recovery replays.
#[derive(Default)]
struct Collected {
    base: Vec<u8>,
    base_commands: Vec<u8>,
    stream: Vec<u8>,
    start: Option<Lsn>,
    files: u32,
}

impl ReplayTarget for Collected {
    fn load_base(&mut self, path: &Path) -> Result<BaseLoaded, ReplayError> {
        self.base = std::fs::read(path).map_err(|e| ReplayError(e.to_string()))?;
        Ok(BaseLoaded::default())
    }
    fn begin_file(&mut self) {
        self.files += 1;
    }
    fn replay(
        &mut self,
        payload: &[u8],
        start: Lsn,
        _ts: Option<UnixMillis>,
    ) -> Result<(), ReplayError> {
        let first = *self.start.get_or_insert(start);
        assert_eq!(
            start - first,
            self.stream.len() as u64,
            "replayed without gap or overlap"
        );
        self.stream.extend_from_slice(payload);
        Ok(())
    }
    fn replay_base(&mut self, payload: &[u8]) -> Result<(), ReplayError> {
        self.base_commands.extend_from_slice(payload);
        Ok(())
    }
}

fn options() -> LogOptions {
    LogOptions {
        replid: Replid::parse(&[b'1'; 40]),
        ring_bytes: 64 << 10,
        segment_bytes: 256 << 10,
        policy: SyncPolicy::No,
        retention: Retention {
            bytes: 0,
            age: None,
        },
        ..LogOptions::default()
    }
}

fn create_with(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Log {
    Log::create(disk, dir, options, Lsn::ZERO, &mut |out| {
        out.write_all(EMPTY_RDB)
    })
    .unwrap()
}

fn create(dir: &Path) -> Log {
    create_with(Arc::new(RealDisk), dir, options())
}

fn open_with(dir: &Path, options: LogOptions) -> Result<(Log, Collected), OpenError> {
    let mut target = Collected::default();
    let log = Log::open(Arc::new(RealDisk), dir, options, &mut target)?;
    Ok((log, target))
}

fn open(dir: &Path) -> (Log, Collected) {
    open_with(dir, options()).unwrap()
}

fn set(key: &str, value: &str) -> Vec<u8> {
    format!(
        "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n",
        key.len(),
        value.len()
    )
    .into_bytes()
}

const SELECT_0: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";

fn written(log: &Log, lsn: Lsn) {
    log.write_now();
    log.wait_written(lsn).unwrap();
}

fn write_base(log: &Log, ticket: &RewriteTicket, base: &[u8]) -> io::Result<WrittenFile> {
    let mut file = FileWriter::create(&*log.shared.disk, ticket.base_path())?;
    file.write_all(base)?;
    file.finish()
}

/// Writes the base that a ticket asks for, and has the log take it.
fn commit(log: &Log, ticket: RewriteTicket, base: &[u8]) -> Result<(), RewriteError> {
    match write_base(log, &ticket, base) {
        Ok(written) => log.commit_rewrite(ticket, written),
        Err(error) => {
            log.abort_rewrite(ticket);
            let doing = "write the base";
            Err(RewriteError::Io { doing, error })
        }
    }
}

fn manifest(dir: &Path) -> PathBuf {
    dir.join("appendonlydir/appendonly.aof.manifest")
}

fn increment(dir: &Path, seq: u32) -> PathBuf {
    dir.join(format!("appendonlydir/appendonly.aof.{seq}.incr.aof"))
}

#[test]
fn closed_log_replays_every_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    let mut expected = SELECT_0.to_vec();
    for n in 0..100 {
        let record = set(&format!("key{n}"), "value");
        let end = appender.append(0, &[&record[..3], &record[3..]]);
        expected.extend_from_slice(&record);
        assert_eq!(end, Lsn(expected.len() as u64));
        written(&log, end);
    }
    log.close().unwrap();
    let (log, found) = open(dir.path());
    assert_eq!(found.stream, expected);
    assert_eq!(found.base, EMPTY_RDB);
    assert_eq!(log.recovery_report().cut, None);
    assert_eq!(log.appended(), Lsn(expected.len() as u64));
    assert_eq!(log.durable(), log.appended());
}

/// Flips a bit of the first record in a log's only segment, and says whether a start then refuses.
fn is_refused_with_a_flipped_bit(dir: &Path) -> bool {
    let path = increment(dir, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = memchr::memmem::find(&bytes, b"first").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    match open_with(dir, options()) {
        Err(OpenError::Corrupt(_)) => true,
        Err(other) => panic!("{other}"),
        Ok(_) => false,
    }
}

/// What the log has written last was durable, and no later frame says so: only the mark behind it does.
#[test]
fn damage_after_a_clean_end_or_a_rest_is_no_torn_write() {
    for policy in [SyncPolicy::Always, SyncPolicy::EverySec, SyncPolicy::No] {
        let dir = tempfile::tempdir().unwrap();
        let log = create_with(
            Arc::new(RealDisk),
            dir.path(),
            LogOptions {
                policy,
                ..options()
            },
        );
        let end = log.appender().append(0, &[&set("first", "value")]);
        log.wait_written(end).unwrap();
        log.close().unwrap();
        assert!(is_refused_with_a_flipped_bit(dir.path()), "{policy:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let log = create_with(
        Arc::new(RealDisk),
        dir.path(),
        LogOptions {
            policy: SyncPolicy::EverySec,
            max_unsynced: Duration::from_millis(10),
            ..options()
        },
    );
    let end = log.appender().append(0, &[&set("first", "value")]);
    log.wait_durable(end).unwrap();
    while log.shared.writer.lock().segment.marked < end {
        std::thread::yield_now();
    }
    log.abandon();
    assert!(is_refused_with_a_flipped_bit(dir.path()));
}

#[test]
fn killed_process_loses_nothing_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let end = log.appender().append(3, &[b"*1\r\n$4\r\nPING\r\n"]);
    written(&log, end);
    log.abandon();
    let (_log, found) = open(dir.path());
    assert_eq!(
        found.stream,
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n"
    );
}

#[test]
fn opening_often_does_not_pile_up_segments() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).close().unwrap();
    for _ in 0..5 {
        open(dir.path()).0.abandon();
    }
    let (log, found) = open(dir.path());
    assert_eq!((log.segments().len(), found.stream.len()), (1, 0));
    let files = std::fs::read_dir(dir.path().join("appendonlydir"))
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            !name.to_string_lossy().ends_with(".sums")
        })
        .count();
    assert_eq!(files, 3, "base, manifest, segment");
}

#[test]
fn record_longer_than_ring_and_segment_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    let small = set("a", "1");
    let large = set("large", &"x".repeat(3 << 20));
    appender.append(0, &[&small]);
    appender.append(0, &[&large]);
    let end = appender.append(0, &[&small]);
    written(&log, end);
    log.abandon();
    let (_log, found) = open(dir.path());
    assert!(found.stream == [SELECT_0, &small, &large, &small].concat());
}

#[test]
fn rotation_under_concurrent_appenders_loses_nothing_and_begins_with_select() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let threads: Vec<_> = (0..3u16)
        .map(|id| {
            let appender = log.appender();
            std::thread::spawn(move || {
                for n in 0..3000 {
                    appender.append(id, &[&set(&format!("{id}:{n}"), &"v".repeat(n % 200))]);
                }
            })
        })
        .collect();
    let mut cuts = Vec::new();
    while !threads.iter().all(|thread| thread.is_finished()) {
        let cut = log.rotate();
        log.wait_rotated(cut).unwrap();
        cuts.push(cut);
        log.write_now();
    }
    written(&log, log.appended());
    assert!(
        cuts.iter()
            .all(|&cut| log.segments().iter().any(|segment| segment.start == cut))
    );
    for segment in log.segments() {
        let text = std::fs::read(log.dir().join(&segment.name)).unwrap();
        let header = frame::SegmentHeader::parse(&text).unwrap();
        assert_eq!(header.lsn, segment.start);
        let first = scan::FrameScan::new(&text, 0, &header).find(|frame| !frame.payload.is_empty());
        assert!(first.is_none_or(|frame| frame.payload.starts_with(b"*2\r\n$6\r\nSELECT\r\n")));
    }
    log.abandon();
    let (_log, found) = open(dir.path());
    // Every record once, in its thread's order, in its database.
    let mut db = usize::MAX;
    let mut next = [0usize; 3];
    let text = String::from_utf8(found.stream).unwrap();
    let mut words = text.split("\r\n").filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        if word == "SELECT" {
            db = words.nth(1).unwrap().parse().unwrap();
        } else if let Some((id, n)) = word.split_once(':') {
            let id: usize = id.parse().unwrap();
            assert_eq!((id, n.parse::<usize>().unwrap()), (db, next[db]));
            next[db] += 1;
        }
    }
    assert_eq!(next, [3000; 3]);
}

#[test]
fn full_segment_is_followed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    let record = set("key", &"v".repeat(4000));
    while log.segments().len() < 4 {
        let end = appender.append(0, &[&record]);
        written(&log, end);
    }
    let segments = log.segments();
    assert!(
        segments
            .windows(2)
            .all(|pair| pair[0].end == Some(pair[1].start))
    );
    assert!(
        log.durable() >= segments.last().unwrap().start,
        "a sealed segment is durable"
    );
    let end = log.appended();
    log.abandon();
    let (log, found) = open(dir.path());
    assert_eq!(found.stream.len() as u64, end.0);
    assert_eq!(log.appended(), end);
}

/// Frames of one record each, in a last segment that a killed process left. `synced` many were durable.
fn small_log(dir: &Path, records: usize, synced: usize) -> (Vec<u64>, Vec<u8>) {
    // A segment is filled under `always`; the records are synced when the test says so.
    let filled = LogOptions {
        policy: SyncPolicy::Always,
        ..options()
    };
    let log = create_with(Arc::new(RealDisk), dir, filled);
    log.set_policy(SyncPolicy::No);
    let appender = log.appender();
    let mut stream = SELECT_0.to_vec();
    let mut ends = vec![0];
    for n in 0..records {
        let record = set(&format!("k{n}"), "v");
        stream.extend_from_slice(&record);
        let end = appender.append(0, &[&record]);
        ends.push(end.0);
        written(&log, end);
        if n < synced {
            assert_eq!(log.sync_now().unwrap(), end);
        }
    }
    log.abandon();
    (ends, stream)
}

#[test]
fn every_truncation_recovers_a_whole_record_prefix() {
    let original = tempfile::tempdir().unwrap();
    let (ends, stream) = small_log(original.path(), 4, 0);
    let text = std::fs::read(increment(original.path(), 1)).unwrap();
    let used = text.len()
        - text
            .rchunks(64)
            .take_while(|line| frame::is_filler(line))
            .count()
            * 64
        + 64;
    let start = frame::HEADER_BYTES + frame::FRAME_BYTES;
    let mut seen = Vec::new();
    for len in start..used {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        std::fs::write(increment(dir.path(), 1), &text[..len]).unwrap();
        let (log, found) = open(dir.path());
        let end = found.stream.len() as u64;
        assert!(
            ends.contains(&end) && stream.starts_with(&found.stream),
            "length {len}: {end}"
        );
        assert_eq!(log.appended(), Lsn(end));
        seen.push(end);
        drop(log);
        // Again, with the same result.
        let (_log, again) = open(dir.path());
        assert_eq!(again.stream, found.stream);
    }
    seen.dedup();
    assert_eq!(seen, ends, "the prefix grows with the file");
}

#[test]
fn segment_shorter_than_its_birth_frame_is_refused() {
    let original = tempfile::tempdir().unwrap();
    small_log(original.path(), 1, 0);
    let text = std::fs::read(increment(original.path(), 1)).unwrap();
    for len in 0..frame::HEADER_BYTES + frame::FRAME_BYTES {
        std::fs::write(increment(original.path(), 1), &text[..len]).unwrap();
        let refused = open_with(original.path(), options()).map(|_| ());
        let expected = match len {
            0 => matches!(refused, Err(OpenError::File { what: "empty", .. })),
            _ => matches!(refused, Err(OpenError::Corrupt(_))),
        };
        assert!(expected, "length {len}: {refused:?}");
    }
}

fn copy_log(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("appendonlydir")).unwrap();
    for entry in std::fs::read_dir(from.join("appendonlydir")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(
            entry.path(),
            to.join("appendonlydir").join(entry.file_name()),
        )
        .unwrap();
    }
}

/// Flips every byte of the used part of a small log and checks what a start makes of it.
fn flip_every_byte(synced: usize, check: impl Fn(usize, u64, Result<Collected, OpenError>)) {
    let original = tempfile::tempdir().unwrap();
    let (ends, stream) = small_log(original.path(), 4, synced);
    let text = std::fs::read(increment(original.path(), 1)).unwrap();
    let start = frame::HEADER_BYTES + frame::FRAME_BYTES;
    let used = start + stream.len() + 4 * frame::FRAME_BYTES;
    for at in 0..used + 128 {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        let mut bad = text.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(increment(dir.path(), 1), &bad).unwrap();
        let outcome = open_with(dir.path(), options()).map(|(log, found)| {
            if at < used + 64 {
                assert!(log.recovery_report().cut.is_some(), "byte {at} is noticed");
            }
            found
        });
        // The end of the last frame that lies wholly before the flip.
        let mut position = start as u64;
        let mut good = 0;
        for pair in ends.windows(2) {
            position += frame::FRAME_BYTES as u64 + pair[1] - pair[0];
            if position <= at as u64 {
                good = pair[1];
            }
        }
        if let Ok(found) = &outcome {
            assert!(stream.starts_with(&found.stream), "byte {at}");
        }
        check(at, good, outcome);
    }
}

#[test]
fn flipped_byte_in_unsynced_frames_cuts_the_tail() {
    let birth = frame::HEADER_BYTES + frame::FRAME_BYTES;
    flip_every_byte(0, |at, good, outcome| match outcome {
        Ok(found) => assert_eq!(found.stream.len() as u64, good, "byte {at}"),
        Err(e) => assert!(at < birth, "byte {at}: {e}"),
    });
}

#[test]
fn flipped_byte_in_once_durable_frames_is_corruption() {
    let original = tempfile::tempdir().unwrap();
    let (ends, _) = small_log(original.path(), 4, 4);
    let birth = frame::HEADER_BYTES + frame::FRAME_BYTES;
    // The last frame is durable too, but no later frame can say so.
    let last_frame = birth as u64 + 3 * frame::FRAME_BYTES as u64 + ends[3];
    flip_every_byte(4, |at, good, outcome| match outcome {
        Ok(found) => {
            assert!(at as u64 >= last_frame, "byte {at} was once durable");
            assert_eq!(found.stream.len() as u64, good);
        }
        // A flip in the header line shows in the birth frame behind it.
        Err(OpenError::Corrupt(corruption)) => {
            assert!(
                corruption.position <= at.max(frame::HEADER_BYTES) as u64
                    && (at as u64) < last_frame
            );
        }
        Err(OpenError::WrongFile { .. }) => {
            assert!(at < frame::HEADER_BYTES, "replid or LSN of the segment")
        }
        Err(OpenError::Version { .. }) => assert_eq!(at, 3, "the digit of the version"),
        Err(e) => panic!("byte {at}: {e}"),
    });
}

#[test]
fn corruption_is_accepted_with_recover_prefix_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (ends, stream) = small_log(dir.path(), 4, 4);
    let mut text = std::fs::read(increment(dir.path(), 1)).unwrap();
    let second = frame::HEADER_BYTES + 2 * frame::FRAME_BYTES + ends[1] as usize;
    text[second + 100] ^= 1;
    std::fs::write(increment(dir.path(), 1), &text).unwrap();
    match open_with(dir.path(), options()) {
        Err(OpenError::Corrupt(corruption)) => {
            assert_eq!(corruption.case, "last_segment_bad_frame_once_durable");
            assert_eq!(corruption.position, second as u64);
            assert_eq!(corruption.good, Lsn(ends[0])..Lsn(ends[1]));
            let loss = corruption.loss.clone().unwrap();
            assert!(loss.bytes >= ends[4] - ends[1] && loss.bytes <= (text.len() - second) as u64);
            assert_eq!((loss.from, loss.to), (Lsn(ends[1]), Some(Lsn(ends[4]))));
            let (first, last) = loss.written.unwrap();
            assert!(corruption.good_until.unwrap() <= first && first <= last);
            let said = corruption.to_string();
            for part in [
                format!("at byte {second} (LSN {}", ends[1]),
                loss.to_string(),
            ] {
                assert!(said.contains(&part), "{said}");
            }
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    let (log, found) = open_with(
        dir.path(),
        LogOptions {
            recover: RecoverMode::Prefix,
            ..options()
        },
    )
    .unwrap();
    assert_eq!(found.stream, stream[..ends[1] as usize]);
    let cut = log.recovery_report().cut.clone().unwrap();
    assert!(text[second..].starts_with(&std::fs::read(cut.kept_as).unwrap()));
    drop(log);
    assert_eq!(
        open(dir.path()).1.stream,
        stream[..ends[1] as usize],
        "the loss is accepted once"
    );
}

#[test]
fn swapped_and_stale_blocks_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    small_log(dir.path(), 4, 0);
    let text = std::fs::read(increment(dir.path(), 1)).unwrap();
    let birth = frame::HEADER_BYTES + frame::FRAME_BYTES;
    let first = frame::FRAME_BYTES + SELECT_0.len() + set("k0", "v").len();
    let other = frame::FRAME_BYTES + set("k1", "v").len();
    let second_at = birth + first;
    // Two frames change places.
    let mut swapped = text.clone();
    swapped[second_at..second_at + other]
        .copy_from_slice(&text[second_at + other..second_at + 2 * other]);
    swapped[second_at + other..second_at + 2 * other]
        .copy_from_slice(&text[second_at..second_at + other]);
    // A frame is there twice: the later write was lost and an older block is seen.
    let mut stale = text.clone();
    stale.copy_within(second_at..second_at + other, second_at + other);
    for (bad, kept) in [(swapped, first), (stale, first + other)] {
        let copy = tempfile::tempdir().unwrap();
        copy_log(dir.path(), copy.path());
        std::fs::write(increment(copy.path(), 1), &bad).unwrap();
        let (log, found) = open(copy.path());
        assert!(log.recovery_report().cut.is_some());
        assert_eq!(
            found.stream.len(),
            kept - frame::FRAME_BYTES * kept.div_ceil(first)
        );
    }
}

#[test]
fn damaged_directories_are_refused() {
    let original = tempfile::tempdir().unwrap();
    let log = create(original.path());
    let appender = log.appender();
    for _ in 0..3 {
        appender.append(0, &[&set("k", "v")]);
        log.wait_rotated(log.rotate()).unwrap();
    }
    log.close().unwrap();
    let base = |dir: &Path| dir.join("appendonlydir/appendonly.aof.1.base.rdb");
    type Damage<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>, fn(&OpenError) -> bool);
    let cases: [Damage<'_>; 9] = [
        (
            "manifest_missing",
            Box::new(|dir| std::fs::remove_file(manifest(dir)).unwrap()),
            |e| matches!(e, OpenError::ManifestMissing(..)),
        ),
        (
            "manifest_empty",
            Box::new(|dir| std::fs::write(manifest(dir), "").unwrap()),
            |e| matches!(e, OpenError::Manifest { .. }),
        ),
        (
            "base_missing",
            Box::new(|dir| std::fs::remove_file(base(dir)).unwrap()),
            |e| {
                matches!(
                    e,
                    OpenError::File {
                        what: "missing",
                        ..
                    }
                )
            },
        ),
        (
            "base_empty",
            Box::new(|dir| std::fs::write(base(dir), "").unwrap()),
            |e| matches!(e, OpenError::File { what: "empty", .. }),
        ),
        (
            "middle_segment_missing",
            Box::new(|dir| std::fs::remove_file(increment(dir, 2)).unwrap()),
            |e| {
                matches!(
                    e,
                    OpenError::File {
                        what: "missing",
                        ..
                    }
                )
            },
        ),
        (
            "middle_segment_empty",
            Box::new(|dir| std::fs::write(increment(dir, 2), "").unwrap()),
            |e| matches!(e, OpenError::File { what: "empty", .. }),
        ),
        (
            "segments_in_each_others_place",
            Box::new(|dir| {
                std::fs::copy(increment(dir, 2), increment(dir, 3))
                    .map(|_| ())
                    .unwrap()
            }),
            |e| matches!(e, OpenError::WrongFile { .. }),
        ),
        (
            "sealed_segment_cut_at_a_frame",
            Box::new(|dir| {
                let text = std::fs::read(increment(dir, 2)).unwrap();
                std::fs::write(
                    increment(dir, 2),
                    &text[..frame::HEADER_BYTES + frame::FRAME_BYTES],
                )
                .unwrap();
            }),
            |e| matches!(e, OpenError::WrongFile { .. } | OpenError::Changed { .. }),
        ),
        (
            "old_manifest_put_back",
            Box::new(|dir| {
                let mut old = Manifest::parse(&std::fs::read(manifest(dir)).unwrap()).unwrap();
                old.increments.truncate(2);
                std::fs::write(manifest(dir), old.encode()).unwrap();
            }),
            |e| matches!(e, OpenError::WrongFile { .. }),
        ),
    ];
    for (name, damage, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        damage(dir.path());
        match open_with(dir.path(), options()) {
            Err(e) => assert!(expected(&e), "{name}: {e}"),
            Ok(_) => panic!("{name} was accepted"),
        }
        let other = LogOptions {
            replid: Replid::parse(&[b'2'; 40]),
            ..options()
        };
        assert!(open_with(dir.path(), other).is_err());
    }
    let other = LogOptions {
        replid: Replid::parse(&[b'2'; 40]),
        ..options()
    };
    assert!(matches!(
        open_with(original.path(), other),
        Err(OpenError::WrongFile { .. })
    ));
}

#[test]
fn second_process_is_refused_by_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    assert!(matches!(
        open_with(dir.path(), options()),
        Err(OpenError::Locked(_))
    ));
    drop(log);
    assert!(open_with(dir.path(), options()).is_ok());
}

#[test]
fn empty_directory_has_no_log() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!Log::exists(&RealDisk, dir.path(), &options()).unwrap());
    assert!(matches!(
        open_with(dir.path(), options()),
        Err(OpenError::NoLog(_))
    ));
    drop(create(dir.path()));
    assert!(Log::exists(&RealDisk, dir.path(), &options()).unwrap());
}

#[test]
fn always_makes_durable_what_is_kicked() {
    let dir = tempfile::tempdir().unwrap();
    let log = create_with(
        Arc::new(RealDisk),
        dir.path(),
        LogOptions {
            policy: SyncPolicy::Always,
            ..options()
        },
    );
    let notified = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&notified);
    log.register_notifier(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let appender = log.appender();
    for _ in 0..20 {
        appender.begin_batch();
        let end = appender.append(0, &[&set("k", "v")]);
        appender.end_batch();
        assert_eq!(log.write_now(), WriteOutcome::Deferred);
        log.wait_durable(end).unwrap();
        assert!(log.durable() >= end && log.written() >= log.durable());
    }
    log.close().unwrap();
    assert!(notified.load(Ordering::SeqCst) > 0);
}

/// Frames of all lengths around the size of a block, with other ways to write in between: what blocks hold besides the
/// new frame must stay as it was.
#[test]
fn durable_frames_leave_their_blocks_neighbours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let always = LogOptions {
        policy: SyncPolicy::Always,
        ..options()
    };
    let disks: [Arc<dyn Disk>; 2] = [Arc::new(RealDisk), Arc::new(FailingDisk::new())];
    for (number, disk) in disks.into_iter().enumerate() {
        let dir = dir.path().join(number.to_string());
        std::fs::create_dir(&dir).unwrap();
        let log = create_with(disk, &dir, always.clone());
        let appender = log.appender();
        let mut expected = SELECT_0.to_vec();
        for step in 0..400 {
            let record = set(&format!("key{step}"), &"v".repeat(step * 37 % 4300));
            if step % 50 == 20 {
                log.set_policy(SyncPolicy::No);
            } else if step % 50 == 23 {
                log.set_policy(SyncPolicy::Always);
            }
            let end = appender.append(0, &[&record]);
            expected.extend_from_slice(&record);
            if log.policy() == SyncPolicy::Always {
                log.write_now();
                log.wait_durable(end).unwrap();
                assert_eq!(log.oldest_unsynced_age(), Duration::ZERO);
            } else {
                written(&log, end);
            }
        }
        assert!(log.segments().len() > 2, "rolled");
        log.abandon();
        let (log, found) = open(&dir);
        let stream = found.stream;
        // Every segment begins with a SELECT of its own.
        let selects = stream.len() - expected.len();
        assert_eq!(selects % SELECT_0.len(), 0);
        let without = |stream: &[u8]| {
            let text = String::from_utf8(stream.to_vec()).unwrap();
            text.replace(std::str::from_utf8(SELECT_0).unwrap(), "")
        };
        assert!(without(&stream) == without(&expected));
        assert!(log.recovery_report().cut.is_none());
    }
}

#[test]
fn no_policy_does_not_sync_and_a_change_to_always_does() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let end = log.appender().append(0, &[&set("k", "v")]);
    written(&log, end);
    assert_eq!(log.durable(), Lsn::ZERO);
    log.set_policy(SyncPolicy::Always);
    log.wait_durable(end).unwrap();
    assert_eq!(log.oldest_unsynced_age(), Duration::ZERO);
}

#[test]
fn everysec_syncs_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let log = create_with(
        Arc::new(RealDisk),
        dir.path(),
        LogOptions {
            policy: SyncPolicy::EverySec,
            ..options()
        },
    );
    let end = log.appender().append(0, &[&set("k", "v")]);
    written(&log, end);
    log.wait_durable(end).unwrap();
}

#[test]
fn write_is_deferred_and_admission_waits_while_a_sync_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let options = LogOptions {
        policy: SyncPolicy::EverySec,
        max_unsynced: Duration::ZERO,
        unsynced_wait: Duration::from_secs(3600),
        ..options()
    };
    let log = create_with(Arc::new(disk.clone()), dir.path(), options);
    let appender = log.appender();
    let first = appender.append(0, &[&set("k", "v")]);
    written(&log, first);
    disk.block_syncs(true);
    while !log.shared.sync_point.is_running() {
        std::thread::yield_now();
    }
    assert_eq!(log.admission(), Admission::WaitForSync);
    let second = appender.append(0, &[&set("k", "w")]);
    assert_eq!(log.write_now(), WriteOutcome::Deferred);
    log.wait_written(second).unwrap();
    assert_eq!(log.durable(), Lsn::ZERO);
    disk.block_syncs(false);
    log.wait_durable(first).unwrap();
}

#[test]
fn sync_in_the_callers_thread_covers_what_is_small_and_fails_the_log_as_any() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let options = LogOptions {
        policy: SyncPolicy::Always,
        ..options()
    };
    let log = create_with(Arc::new(disk.clone()), dir.path(), options);
    let appender = log.appender();
    let small = appender.append(0, &[&set("k", "v")]);
    assert_eq!(log.sync_here(), WriteOutcome::Written(small));
    assert_eq!(log.durable(), small);
    let large = appender.append(0, &[&set("k", &"x".repeat(SYNC_HERE_BYTES_MAX as usize))]);
    assert_eq!(log.sync_here(), WriteOutcome::Deferred);
    log.wait_durable(large).unwrap();
    disk.fail_writes(Some(libc::EIO));
    appender.append(0, &[&set("k", "w")]);
    assert!(matches!(log.sync_here(), WriteOutcome::Failed(_)));
    assert_eq!(log.durable(), large);
}

#[test]
fn failed_sync_fails_the_log_and_is_not_retried() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let log = create_with(Arc::new(disk.clone()), dir.path(), options());
    let appender = log.appender();
    let first = appender.append(0, &[&set("a", "1")]);
    written(&log, first);
    log.sync_now().unwrap();
    let second = appender.append(0, &[&set("a", "2")]);
    written(&log, second);
    disk.fail_syncs(true);
    assert!(matches!(log.sync_now(), Err(Failure::Sync { .. })));
    disk.fail_syncs(false);
    assert!(
        matches!(log.sync_now(), Err(Failure::Sync { .. })),
        "a later success would prove nothing"
    );
    assert!(matches!(
        log.wait_durable(second),
        Err(Failure::Sync { .. })
    ));
    assert!(matches!(
        log.admission(),
        Admission::Refused(Refusal::Failed(_))
    ));
    assert!(matches!(log.write_now(), WriteOutcome::Failed(_)));
    assert_eq!(log.durable(), first);
    // Appends do not wait for a log that does not write.
    let large = set("large", &"x".repeat(1 << 20));
    let end = appender.append(0, &[&large]);
    assert_eq!(log.appended(), end);
    assert!(matches!(log.begin_rewrite(), Err(RewriteError::Failed(_))));
}

#[test]
fn full_disk_fails_the_log_and_healing_accepts_writes_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let log = create_with(Arc::new(disk.clone()), dir.path(), options());
    let appender = log.appender();
    let first = appender.append(0, &[&set("a", "1")]);
    written(&log, first);
    disk.fail_writes(Some(libc::ENOSPC));
    appender.append(0, &[&set("a", "2")]);
    assert!(matches!(
        log.write_now(),
        WriteOutcome::Failed(Failure::DiskFull { .. })
    ));
    assert!(log.begin_heal().is_err(), "the disk is still full");
    assert!(!log.is_rewriting());
    disk.fail_writes(None);

    let ticket = log.begin_heal().unwrap();
    assert!(matches!(
        log.status(),
        LogStatus::Failed { healing: true, .. }
    ));
    assert!(matches!(log.admission(), Admission::Refused(_)));
    let during = appender.append(0, &[&set("a", "3")]);
    log.kick();
    assert_eq!(
        log.written(),
        first,
        "nothing counts before the base is there"
    );
    let cut = ticket.cut();
    commit(&log, ticket, b"REDIS healed base").unwrap();
    assert_eq!(
        (log.status(), log.admission()),
        (LogStatus::Ok, Admission::Ok)
    );
    log.wait_durable(cut).unwrap();
    written(&log, during);
    let after = appender.append(0, &[&set("a", "4")]);
    written(&log, after);
    assert_eq!(log.sync_now().unwrap(), after);
    log.abandon();
    let (log, found) = open(dir.path());
    assert_eq!(found.base, b"REDIS healed base");
    assert_eq!(
        found.stream,
        [SELECT_0, &set("a", "3"), &set("a", "4")].concat()
    );
    assert_eq!(log.appended(), after);
}

#[test]
fn every_failing_call_leaves_a_log_that_opens_with_what_was_durable() {
    for step in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let disk = FailingDisk::new();
        let log = create_with(Arc::new(disk.clone()), dir.path(), options());
        let appender = log.appender();
        disk.fail_after(step);
        let mut rewritten = Vec::new();
        for n in 0..6 {
            let end = appender.append(0, &[&set(&format!("k{n}"), "v")]);
            log.write_now();
            let _ = log.sync_now();
            if n == 2 {
                let _ = log.wait_rotated(log.rotate());
            }
            if n == 4
                && let Ok(ticket) = log.begin_rewrite()
            {
                rewritten = format!("base as of {}", ticket.cut()).into_bytes();
                let _ = commit(&log, ticket, &rewritten);
            }
            assert!(log.durable() <= log.written() && log.written() <= end.max(log.appended()));
        }
        let durable = log.durable();
        log.abandon();
        let (log, found) = open(dir.path());
        assert!(
            log.appended() >= durable,
            "step {step}: {} < {durable}",
            log.appended()
        );
        assert!(
            found.base == EMPTY_RDB || found.base == rewritten,
            "step {step}"
        );
    }
}

#[test]
fn rewrite_replaces_base_and_segments_below_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    for _ in 0..3 {
        appender.append(0, &[&set("old", "v")]);
        log.wait_rotated(log.rotate()).unwrap();
    }
    let ticket = log.begin_rewrite().unwrap();
    assert!(matches!(log.begin_rewrite(), Err(RewriteError::Busy)));
    let cut = ticket.cut();
    let after = set("new", "v");
    let end = appender.append(0, &[&after]);
    commit(&log, ticket, b"REDIS new base").unwrap();
    assert_eq!(log.base_bytes(), 14);
    assert_eq!(log.current_bytes(), 14 + (end - cut));
    written(&log, end);
    assert_eq!(log.segments().len(), 1);
    assert!(matches!(log.reader(Lsn::ZERO), Err(ReadError::Truncated { oldest }) if oldest == cut));
    log.abandon();
    let (log, found) = open(dir.path());
    assert_eq!(found.base, b"REDIS new base");
    assert_eq!(found.stream, [SELECT_0, &after].concat());
    assert_eq!((found.start, log.appended()), (Some(cut), end));
}

#[test]
fn aborted_and_empty_rewrites_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    appender.append(0, &[&set("a", "1")]);
    let ticket = log.begin_rewrite().unwrap();
    std::fs::write(ticket.base_path(), b"half a base").unwrap();
    log.abort_rewrite(ticket);
    let ticket = log.begin_rewrite().unwrap();
    assert!(matches!(
        commit(&log, ticket, b""),
        Err(RewriteError::EmptyBase(_))
    ));
    let end = appender.append(0, &[&set("a", "2")]);
    written(&log, end);
    log.abandon();
    let (_log, found) = open(dir.path());
    assert_eq!(found.base, EMPTY_RDB);
    assert_eq!(
        found.stream,
        [SELECT_0, &set("a", "1"), SELECT_0, &set("a", "2")].concat()
    );
}

#[test]
fn reader_yields_the_stream_from_segments_and_ring() {
    let dir = tempfile::tempdir().unwrap();
    let log = create(dir.path());
    let appender = log.appender();
    let mut from_start = log.reader(Lsn::ZERO).unwrap();
    let mut streamed = Vec::new();
    for n in 0..400 {
        let end = appender.append(
            (n / 100) as u16,
            &[&set(&format!("k{n}"), &"v".repeat(1000))],
        );
        written(&log, end);
        if n % 50 == 0 {
            log.wait_rotated(log.rotate()).unwrap();
        }
        while let Some((lsn, bytes)) = from_start.next(700).unwrap() {
            assert_eq!(lsn.0, streamed.len() as u64);
            streamed.extend_from_slice(&bytes);
        }
    }
    assert_eq!(streamed.len() as u64, log.appended().0);
    // A late reader, mostly from segments, at odd places.
    for from in [
        0,
        1,
        4321,
        streamed.len() / 2,
        streamed.len() - 1,
        streamed.len(),
    ] {
        let mut reader = log.reader(Lsn(from as u64)).unwrap();
        let mut out = Vec::new();
        while let Some((_, bytes)) = reader.next(3000).unwrap() {
            out.extend_from_slice(&bytes);
        }
        assert!(out == streamed[from..], "from {from}");
    }
    assert!(matches!(
        log.reader(Lsn(streamed.len() as u64 + 1)),
        Err(ReadError::Future { .. })
    ));
    log.abandon();
    let (log, found) = open(dir.path());
    assert!(found.stream == streamed);
    let mut reader = log.reader(Lsn(777)).unwrap();
    let mut out = Vec::new();
    while let Some((_, bytes)) = reader.next(1 << 20).unwrap() {
        out.extend_from_slice(&bytes);
    }
    assert!(
        out == streamed[777..],
        "after a restart everything comes from segments"
    );
}

#[test]
fn short_writes_are_completed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FailingDisk::new();
    let log = create_with(Arc::new(disk.clone()), dir.path(), options());
    disk.short_writes(7);
    let end = log.appender().append(0, &[&set("key", "value")]);
    written(&log, end);
    log.abandon();
    assert_eq!(open(dir.path()).1.stream.len() as u64, end.0);
}
