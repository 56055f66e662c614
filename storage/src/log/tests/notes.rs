//! Annotations of time, as Redis writes them.

use std::process::Command;

use super::*;

/// A segment with these frames, each preceded by its annotation.
fn annotated_segment(frames: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let header = frame::SegmentHeader {
        replid: options().replid.unwrap(),
        lsn: Lsn::ZERO,
    };
    let (mut text, mut crc) = frame::part_start(&header, UnixMillis(1), Lsn::ZERO);
    let mut lsn = Lsn::ZERO;
    for (seconds, payload) in frames {
        let ts = UnixMillis(seconds * 1000 + 999);
        let mut line = frame::FrameHeader {
            lsn,
            len: payload.len() as u32,
            crc: 0,
            ts,
            sync: lsn,
        };
        let mut sum = frame::FrameSum::after(crc);
        sum.payload(payload);
        line.crc = sum.finish(&line);
        (crc, lsn) = (line.crc, line.end());
        text.extend([&frame::note(ts)[..], &line.encode(), payload].concat());
    }
    text
}

fn notes(text: &[u8]) -> usize {
    text.windows(4).filter(|w| w == b"#TS:").count()
}

#[test]
fn frames_are_annotated_once_a_second_from_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    // Room enough: it is followed by the next one only when the test says so.
    let options = LogOptions {
        segment_bytes: 16 << 20,
        ..options()
    };
    let log = create_with(Arc::new(RealDisk), dir.path(), options.clone());
    let appender = log.appender();
    let mut stream = SELECT_0.to_vec();
    let append = |key: &str, value: &str, stream: &mut Vec<u8>| {
        let record = set(key, value);
        let end = appender.append(0, &[&record]);
        stream.extend_from_slice(&record);
        written(&log, end);
    };
    append("before", "1", &mut stream);
    let path = increment(dir.path(), 1);
    assert_eq!(notes(&std::fs::read(&path).unwrap()), 0);
    log.configure(&LogOptions {
        annotate: true,
        ..options
    });
    let begun = UnixMillis::now();
    for n in 0..50 {
        append("short", &n.to_string(), &mut stream);
    }
    // Longer than a frame at once, and than the ring: its header is written last.
    append("long", &"x".repeat(3 << 20), &mut stream);
    append("after", "1", &mut stream);
    let seconds = (UnixMillis::now().0 / 1000 - begun.0 / 1000 + 1) as usize;
    let count = notes(&std::fs::read(&path).unwrap());
    assert!((1..=seconds).contains(&count), "{count} in {seconds} s");
    log.wait_rotated(log.rotate()).unwrap();
    stream.extend_from_slice(SELECT_0);
    append("next", "1", &mut stream);
    assert_eq!(
        notes(&std::fs::read(increment(dir.path(), 2)).unwrap()),
        1,
        "each file has its own"
    );
    let mut reader = log.reader(Lsn::ZERO).unwrap();
    let mut read = Vec::new();
    while let Some((_, bytes)) = reader.next(1 << 20).unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert!(read == stream, "they are no part of the stream");
    log.abandon();
    let (log, found) = open(dir.path());
    assert!(found.stream == stream);
    assert_eq!(log.recovery_report().cut, None);
}

#[test]
fn annotation_that_is_not_its_frames_time_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).close().unwrap();
    let frames = [
        (1_000_000_001, set("a", "1")),
        (1_000_000_002, set("b", "2")),
    ];
    let good = annotated_segment(&frames);
    std::fs::write(increment(dir.path(), 1), &good).unwrap();
    let second = good.windows(4).rposition(|w| w == b"#TS:").unwrap();
    for at in second..second + frame::note(UnixMillis(1_000_000_002_000)).len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let copy = tempfile::tempdir().unwrap();
            copy_log(dir.path(), copy.path());
            std::fs::write(increment(copy.path(), 1), &bad).unwrap();
            let (log, found) = open(copy.path());
            assert_eq!(found.stream, frames[0].1, "byte {at} bit {bit}");
            let cut = log.recovery_report().cut.clone().unwrap();
            assert_eq!(cut.position, second as u64);
        }
    }
    assert_eq!(
        open(dir.path()).1.stream,
        [&frames[0].1[..], &frames[1].1].concat()
    );
}

#[test]
fn redis_check_aof_truncates_our_segments_to_a_time() {
    let dir = tempfile::tempdir().unwrap();
    create(dir.path()).close().unwrap();
    let frames: Vec<_> = (1..=3)
        .map(|n| (1_000_000_000 + n, set(&format!("k{n}"), "v")))
        .collect();
    std::fs::write(increment(dir.path(), 1), annotated_segment(&frames)).unwrap();
    let output = Command::new("redis-check-aof")
        .args(["--truncate-to-timestamp", "1000000002"])
        .arg(manifest(dir.path()))
        .output();
    let Ok(output) = output else {
        println!("skipped: redis-check-aof not found");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).to_string();
    assert!(output.status.success(), "{text}");
    let (log, found) = open(dir.path());
    assert_eq!(
        found.stream,
        [&frames[0].1[..], &frames[1].1].concat(),
        "{text}"
    );
    assert_eq!(log.recovery_report().cut, None);
}
