//! Sizes and checksums of sealed files, kept beside the manifest.

use super::*;

fn sums(dir: &Path) -> PathBuf {
    dir.join("appendonlydir/appendonly.aof.sums")
}

/// A closed log of three segments, two of them sealed, and the frames' ends in the second.
fn sealed_log(dir: &Path) {
    let log = create(dir);
    let appender = log.appender();
    for n in 0..6 {
        let end = appender.append(0, &[&set(&format!("k{n}"), "v")]);
        written(&log, end);
        if n % 2 == 1 {
            log.wait_rotated(log.rotate()).unwrap();
        }
    }
    log.close().unwrap();
}

/// Segment 2 without its last frame, which is sound in itself.
fn cut_at_a_frame(dir: &Path) -> Vec<u8> {
    let text = std::fs::read(increment(dir, 2)).unwrap();
    let last = text
        .windows(7)
        .rposition(|window| window == frame::FRAME_MAGIC);
    text[..last.unwrap()].to_vec()
}

#[test]
fn sealed_files_that_look_sound_but_are_not_what_they_were_stop_a_start() {
    let original = tempfile::tempdir().unwrap();
    sealed_log(original.path());
    // Another log with the same positions and other values.
    let other = tempfile::tempdir().unwrap();
    let log = create(other.path());
    for n in 0..6 {
        let end = log.appender().append(0, &[&set(&format!("k{n}"), "w")]);
        written(&log, end);
        if n % 2 == 1 {
            log.wait_rotated(log.rotate()).unwrap();
        }
    }
    log.close().unwrap();
    let base = |dir: &Path| dir.join("appendonlydir/appendonly.aof.1.base.rdb");
    type Harm<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let harms: [Harm<'_>; 3] = [
        (
            "appendonly.aof.2.incr.aof",
            Box::new(|dir| {
                std::fs::copy(increment(other.path(), 2), increment(dir, 2)).unwrap();
            }),
        ),
        (
            "appendonly.aof.2.incr.aof",
            Box::new(|dir| {
                // Commands of the same length, as another server would have written them.
                let text = std::fs::read(increment(dir, 2)).unwrap();
                let header = frame::SegmentHeader::parse(&text).unwrap();
                let frames = scan::FrameScan::new(&text, 0, &header);
                let commands: Vec<u8> = frames.flat_map(|frame| frame.payload.to_vec()).collect();
                std::fs::write(increment(dir, 2), commands).unwrap();
            }),
        ),
        (
            "appendonly.aof.1.base.rdb",
            Box::new(|dir| std::fs::write(base(dir), b"REDIS another one").unwrap()),
        ),
    ];
    for (name, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        harm(dir.path());
        match open_with(dir.path(), options()) {
            Err(OpenError::Changed {
                path,
                expected,
                found,
            }) => {
                assert!(path.ends_with(name));
                assert!(expected.contains("bytes with checksum") && expected != found);
            }
            other => panic!("{name}: {:?}", other.map(|_| ())),
        }
        // The operator accepts it; or another server has been at work, which leaves its own manifest.
        let accepted = LogOptions {
            recover: RecoverMode::Prefix,
            ..options()
        };
        let copy = tempfile::tempdir().unwrap();
        copy_log(dir.path(), copy.path());
        let (log, _) = open_with(copy.path(), accepted).unwrap();
        log.close().unwrap();
        assert!(
            open_with(copy.path(), options()).is_ok(),
            "{name}: the loss is accepted once"
        );
        let text = std::fs::read_to_string(manifest(dir.path())).unwrap();
        let theirs = text.split_once('\n').unwrap().1;
        std::fs::write(manifest(dir.path()), theirs).unwrap();
        assert!(open_with(dir.path(), options()).is_ok(), "{name}");
    }
}

#[test]
fn frame_missing_at_a_sealed_segments_end_is_named_with_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    sealed_log(dir.path());
    let cut = cut_at_a_frame(dir.path());
    std::fs::write(increment(dir.path(), 2), cut).unwrap();
    let refused = open_with(dir.path(), options()).map(|_| ());
    assert!(
        matches!(refused, Err(OpenError::Changed { .. })),
        "{refused:?}"
    );
}

#[test]
fn record_is_no_more_than_a_second_net() {
    let original = tempfile::tempdir().unwrap();
    sealed_log(original.path());
    let good = std::fs::read(sums(original.path())).unwrap();
    let stream = open(original.path()).1.stream;
    for harm in ["absent", "damaged", "of another manifest"] {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        match harm {
            "absent" => std::fs::remove_file(sums(dir.path())).unwrap(),
            "damaged" => std::fs::write(sums(dir.path()), &good[..good.len() - 1]).unwrap(),
            _ => std::fs::write(sums(dir.path()), &good).unwrap(),
        }
        let (log, found) = open(dir.path());
        assert_eq!(found.stream, stream, "{harm}");
        log.close().unwrap();
        assert!(std::fs::read(sums(dir.path())).unwrap() != good);
        assert_eq!(open(dir.path()).1.stream, stream, "{harm}");
    }
}

#[test]
fn last_segment_is_not_in_the_record() {
    let dir = tempfile::tempdir().unwrap();
    sealed_log(dir.path());
    // As another server does it.
    let path = std::fs::read_dir(dir.path().join("appendonlydir"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "aof"))
        .max()
        .unwrap();
    let mut text = std::fs::read(&path).unwrap();
    text.extend([SELECT_0, &set("theirs", "1")].concat());
    std::fs::write(&path, text).unwrap();
    assert!(open(dir.path()).1.stream.ends_with(&set("theirs", "1")));
}
