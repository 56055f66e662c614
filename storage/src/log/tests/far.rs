//! Far out in the stream, and with many files: positions beyond four GiB, thousands of segments.

use super::*;
use crate::disk::{FileWriter, WrittenFile};

fn empty_base(ticket: &RewriteTicket) -> WrittenFile {
    let mut file = FileWriter::create(&RealDisk, ticket.base_path()).unwrap();
    io::Write::write_all(&mut file, EMPTY_RDB).unwrap();
    file.finish().unwrap()
}

fn create_at(disk: Arc<dyn Disk>, dir: &Path, start: Lsn) -> Log {
    Log::create(disk, dir, options(), start, &mut |out| {
        out.write_all(EMPTY_RDB)
    })
    .unwrap()
}

#[test]
fn fault_64_positions_beyond_32_bits_are_kept_through_rotations_rewrites_and_starts() {
    // Before the borders of 2^31, 2^32 and the signed 2^47; the stream passes them.
    for border in [1u64 << 31, 1 << 32, 1 << 40, 1 << 47] {
        let dir = tempfile::tempdir().unwrap();
        let start = Lsn(border - 100);
        let log = create_at(Arc::new(RealDisk), dir.path(), start);
        let mut expected = Vec::new();
        let mut end = start;
        for n in 0..12 {
            let record = set(&format!("k{n}"), "value");
            end = log.appender().append(0, &[&record]);
            written(&log, end);
            if n % 4 == 3 {
                log.wait_rotated(log.rotate()).unwrap();
            }
        }
        let mut reader = log.reader(start).unwrap();
        while let Some((at, bytes)) = reader.next(50).unwrap() {
            assert_eq!(at, start + expected.len() as u64);
            expected.extend_from_slice(&bytes);
        }
        assert!(start.0 < border && end.0 > border);
        assert_eq!(expected.len() as u64, end - start);
        // From within, by the index.
        let mut reader = log.reader(Lsn(border)).unwrap();
        let (at, bytes) = reader.next(usize::MAX).unwrap().unwrap();
        assert_eq!(at, Lsn(border));
        assert!(expected[100..].starts_with(&bytes));
        log.close().unwrap();

        let (log, found) = open(dir.path());
        assert_eq!((found.start, found.stream), (Some(start), expected));
        assert_eq!(log.appended(), end);
        let ticket = log.begin_rewrite().unwrap();
        let cut = ticket.cut();
        let base = empty_base(&ticket);
        log.commit_rewrite(ticket, base).unwrap();
        let last = log.appender().append(0, &[&set("last", "v")]);
        written(&log, last);
        log.close().unwrap();
        let (log, found) = open(dir.path());
        assert_eq!(found.start, Some(cut));
        assert_eq!(log.appended(), last);
    }
}

/// The one limit there is.
#[test]
fn fault_64_log_that_comes_to_2_to_the_48_is_refused_by_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let log = create_at(Arc::new(RealDisk), dir.path(), Lsn((1 << 48) - 10));
    log.abandon();
    let path = increment(dir.path(), 1);
    let text = std::fs::read(&path).unwrap();
    let header = frame::SegmentHeader {
        replid: Replid::parse(&[b'1'; 40]).unwrap(),
        lsn: Lsn(1 << 48),
    };
    let (birth, _) = frame::part_start(&header, UnixMillis(0), header.lsn);
    std::fs::write(&path, [&birth, &text[birth.len()..]].concat()).unwrap();
    let refused = open_with(dir.path(), options()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("48 bits"), "{refused}");
}

/// What a start reads is bounded by the last base, whatever went before: also the number of files.
#[test]
fn fault_64_thousands_of_segments_open_and_a_rewrite_bounds_the_next_start() {
    const SEGMENTS: u64 = 2000;
    // In memory, where there is such a place: it is not the disk that is tested.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let dir = dir.unwrap();
    let log = create(dir.path());
    for n in 0..SEGMENTS {
        let end = log.appender().append(0, &[&set(&n.to_string(), "v")]);
        written(&log, end);
        log.wait_rotated(log.rotate()).unwrap();
    }
    let end = log.appended();
    log.close().unwrap();
    let (log, found) = open(dir.path());
    // The last one is empty.
    assert_eq!(u64::from(found.files), SEGMENTS + 1);
    assert_eq!((log.appended(), found.stream.len() as u64), (end, end.0));
    let ticket = log.begin_rewrite().unwrap();
    let base = empty_base(&ticket);
    log.commit_rewrite(ticket, base).unwrap();
    let last = log.appender().append(0, &[&set("last", "v")]);
    written(&log, last);
    log.close().unwrap();
    let (log, found) = open(dir.path());
    assert!(found.files <= 2, "{}", found.files);
    let replayed = log.recovery_report().replayed_bytes;
    assert_eq!(replayed, found.stream.len() as u64);
    assert!(replayed < 100, "{replayed}");
    assert_eq!(log.appended(), last);
}
