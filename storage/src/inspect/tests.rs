//! Directories as an engine leaves them, sound and damaged: what the survey says is what a start does.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::disk::{Disk, RealDisk};
use crate::engine::tests::{Client, write_some};
use crate::engine::{Engine, Options, Settings};
use crate::log::tests::spoilt::{rounds, spoil};
use crate::log::{FileRole, OpenError};

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir);
    // Small files, so that damage strikes what is used.
    options.log.segment_bytes = 16 << 10;
    options.log.ring_bytes = 64 << 10;
    options
}

fn open(dir: &Path) -> Result<Engine, crate::engine::LoadError> {
    Engine::open(options(dir), Settings::default())
}

/// A start that writes and closes. Each leaves a segment of its own.
fn session(dir: &Path, seed: u64, compact: bool) {
    let engine = open(dir).unwrap();
    let mut client = Client::of(&engine);
    let mut rng = StdRng::seed_from_u64(seed);
    write_some(&mut client, &mut rng, 30);
    client.transaction(&["set a 1", "set b 2"]);
    if compact {
        engine.rewrite_log_in_background().unwrap();
        while engine.snapshot_info().running.is_some() {
            std::thread::yield_now();
        }
        write_some(&mut client, &mut rng, 30);
    }
    drop(client);
    close(engine);
}

fn close(engine: Engine) {
    let called_off = || false;
    engine.close(std::time::Duration::from_secs(10), &called_off, || {});
}

/// Two segments of history, a base, three segments.
fn data() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (seed, compact) in [(1, false), (2, true), (3, false), (4, false)] {
        session(dir.path(), seed, compact);
    }
    dir
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("appendonlydir")).unwrap();
    for entry in fs::read_dir(from.join("appendonlydir")).unwrap() {
        let entry = entry.unwrap();
        let copy = to.path().join("appendonlydir").join(entry.file_name());
        fs::copy(entry.path(), copy).unwrap();
    }
    to
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The one log of a directory, which is left as it is.
fn survey_of(dir: &Path) -> LogSurvey {
    let before = contents(dir);
    let mut found = survey(&disk(), dir, &mut |_| {}).unwrap();
    assert!(contents(dir) == before, "a survey changes nothing");
    assert!(found.files.is_empty());
    found.logs.pop().unwrap()
}

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join("appendonlydir").join(name)
}

fn path_of(survey: &LogSurvey, role: FileRole, nth: usize) -> PathBuf {
    let mut files = survey.files.iter().filter(|f| f.file.role == role);
    files.nth(nth).unwrap().file.path.clone()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn sound_directory_is_described_file_by_file() {
    let dir = data();
    let found = survey_of(dir.path());
    assert!(found.is_sound() && !found.is_live);
    assert_eq!(found.manifest_is_checked, Some(true));
    assert!(found.unnamed.is_empty(), "{:?}", found.unnamed);
    let with = |role| found.files.iter().filter(move |f| f.file.role == role);
    assert!(with(FileRole::History).count() >= 2);
    assert!(with(FileRole::Segment).count() >= 3);
    let base = with(FileRole::Base).next().unwrap();
    let rdb = base.rdb.as_ref().unwrap();
    assert!(rdb.keys() > 0 && rdb.is_checked);
    let Verdict::Starts(judgement) = &found.verdict else {
        panic!("{:?}", found.verdict);
    };
    assert_eq!(rdb.lsn, Some(judgement.base_lsn));
    assert_eq!(judgement.cut, None);
    // Segment follows upon segment, and the last one ends where the log does.
    let mut end = judgement.base_lsn;
    for segment in with(FileRole::Segment) {
        let range = segment.range.unwrap();
        assert_eq!(range.0, end);
        end = range.1;
        assert!(!segment.unchecked);
    }
    assert_eq!(end, judgement.end);
    let commands: u64 = with(FileRole::Segment)
        .map(|f| f.commands.as_ref().unwrap().commands)
        .sum();
    assert!(commands > 60, "{commands}");
    assert_eq!(found.replid().map(str::len), Some(40));
    // The log's own directory and its manifest lead to the same.
    for path in [
        dir.path().join("appendonlydir"),
        file(dir.path(), "appendonly.aof.manifest"),
    ] {
        let again = survey(&disk(), &path, &mut |_| {}).unwrap();
        assert_eq!(again.logs[0].files.len(), found.files.len(), "{path:?}");
    }
}

#[test]
fn damage_is_told_with_place_and_consequence() {
    let original = data();
    let sound = survey_of(original.path());
    let segment = |dir: &Path, nth| file_in(dir, &path_of(&sound, FileRole::Segment, nth));
    let base = |dir: &Path| file_in(dir, &path_of(&sound, FileRole::Base, 0));

    // A bit flips in the middle of a sealed segment.
    let dir = copy(original.path());
    change(&segment(dir.path(), 1), |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
    });
    let found = survey_of(dir.path());
    assert!(!found.is_sound());
    let bad = found.files.iter().find(|f| f.damage.is_some()).unwrap();
    assert_eq!(bad.file.path, segment(dir.path(), 1));
    let damage = bad.damage.as_ref().unwrap();
    let half = fs::metadata(segment(dir.path(), 1)).unwrap().len() / 2;
    assert!(damage.position.unwrap() <= half);
    assert!(damage.frames_after > 0 && damage.end_after > damage.lsn);
    let Verdict::Refuses {
        case: Some(case),
        prefix: Some(prefix),
        ..
    } = &found.verdict
    else {
        panic!("{:?}", found.verdict);
    };
    assert!(case.starts_with("sealed_segment_bad_frame"), "{case}");
    let cut = prefix.cut.as_ref().unwrap();
    assert_eq!(Some(cut.lsn), damage.lsn);
    assert_eq!(cut.later.len(), 1 + usize::from(sound_segments(&sound) > 3));

    // The last write is torn.
    let dir = copy(original.path());
    let last = sound_segments(&sound) - 1;
    change(&segment(dir.path(), last), |bytes| {
        bytes.truncate(bytes.len() - 3)
    });
    let found = survey_of(dir.path());
    let Verdict::Starts(judgement) = &found.verdict else {
        panic!("{:?}", found.verdict);
    };
    assert_eq!(judgement.cut.as_ref().unwrap().case, "torn_tail");
    assert!(!found.is_sound());

    // The base ends too early.
    let dir = copy(original.path());
    change(&base(dir.path()), |bytes| {
        bytes.truncate(bytes.len() / 2);
    });
    let found = survey_of(dir.path());
    let bad = found.files.iter().find(|f| f.damage.is_some()).unwrap();
    assert_eq!(bad.file.role, FileRole::Base);
    assert!(bad.damage.as_ref().unwrap().position.is_some());
    assert!(matches!(found.verdict, Verdict::Refuses { .. }));

    // A segment is gone.
    let dir = copy(original.path());
    fs::remove_file(segment(dir.path(), 1)).unwrap();
    let found = survey_of(dir.path());
    let bad = found.files.iter().find(|f| f.damage.is_some()).unwrap();
    assert!(bad.damage.as_ref().unwrap().found.contains("missing"));
    assert!(matches!(
        &found.verdict,
        Verdict::Refuses {
            error: OpenError::File { .. },
            ..
        }
    ));

    // The manifest is flipped, or gone.
    let dir = copy(original.path());
    let manifest = file(dir.path(), "appendonly.aof.manifest");
    change(&manifest, |bytes| bytes[40] ^= 1);
    let found = survey_of(dir.path());
    assert_eq!(found.manifest_is_checked, None);
    assert!(!found.is_sound());
    fs::remove_file(&manifest).unwrap();
    let found = survey_of(dir.path());
    assert!(matches!(
        &found.verdict,
        Verdict::Refuses {
            error: OpenError::ManifestMissing(..),
            ..
        }
    ));
}

fn file_in(dir: &Path, like: &Path) -> PathBuf {
    file(dir, like.file_name().unwrap().to_str().unwrap())
}

fn sound_segments(survey: &LogSurvey) -> usize {
    let segments = survey.files.iter();
    segments
        .filter(|f| f.file.role == FileRole::Segment)
        .count()
}

#[test]
fn damaged_history_is_told_though_a_start_does_not_mind() {
    let dir = data();
    let history = path_of(&survey_of(dir.path()), FileRole::History, 0);
    change(&history, |bytes| {
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
    });
    let found = survey_of(dir.path());
    assert!(matches!(&found.verdict, Verdict::Starts(j) if j.cut.is_none()));
    let bad = found.files.iter().find(|f| f.damage.is_some()).unwrap();
    assert_eq!(bad.file.path, history);
    assert!(!found.is_sound());
}

/// Whatever is done to the files: the verdict is what a start then does.
#[test]
fn spoilt_directories_are_judged_as_a_start_does() {
    let original = data();
    let names: Vec<String> = contents(original.path())
        .into_keys()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.starts_with("appendonly.aof"))
        .collect();
    rounds(40, |rng| {
        let dir = copy(original.path());
        let name = &names[rng.random_range(0..names.len())];
        let path = file(dir.path(), name);
        match rng.random_range(0..10) {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::write(&path, b"").unwrap(),
            _ => change(&path, |bytes| spoil(bytes, rng)),
        }
        let found = survey_of(dir.path());
        match (&found.verdict, open(dir.path())) {
            (Verdict::Starts(judgement), Ok(engine)) => {
                let log = engine.log().unwrap();
                let report = log.recovery_report();
                assert_eq!(report.end, judgement.end, "{name}");
                let cut = judgement.cut.as_ref().map(|cut| (cut.lsn, cut.bytes));
                assert_eq!(report.cut.as_ref().map(|cut| (cut.lsn, cut.bytes)), cut);
                drop(log);
                close(engine);
            }
            (Verdict::Refuses { error, .. }, Err(refused)) => {
                assert_eq!(error.to_string(), refused.to_string(), "{name}");
            }
            (verdict, started) => {
                panic!("{name}: {verdict:?}, but a start: {:?}", started.err())
            }
        }
    });
}

/// Whatever was done to the files: a repair that reports success leaves a directory that starts, and ends where it said.
#[test]
fn spoilt_directories_that_were_repaired_start() {
    let original = data();
    let names: Vec<String> = contents(original.path())
        .into_keys()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| name.starts_with("appendonly.aof"))
        .collect();
    let repaired = std::sync::atomic::AtomicUsize::new(0);
    rounds(40, |rng| {
        let dir = copy(original.path());
        let name = &names[rng.random_range(0..names.len())];
        let path = file(dir.path(), name);
        match rng.random_range(0..6) {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::write(&path, b"").unwrap(),
            _ => change(&path, |bytes| spoil(bytes, rng)),
        }
        let found = survey_of(dir.path());
        let Ok(done) = repair_log(&disk(), &found, &mut |_| {}) else {
            // What cannot be repaired does not start either.
            assert!(open(dir.path()).is_err(), "{name}");
            return;
        };
        repaired.fetch_add(
            usize::from(!done.steps.is_empty()),
            std::sync::atomic::Ordering::Relaxed,
        );
        let engine = open(dir.path()).unwrap_or_else(|error| panic!("{name}: {done:?}: {error}"));
        let report = engine.log().unwrap().recovery_report().clone();
        assert_eq!(
            (report.end, report.cut),
            (done.end, None),
            "{name}: {done:?}"
        );
        close(engine);
    });
    assert!(repaired.into_inner() > 5);
}

#[test]
fn files_without_a_log_are_surveyed_on_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(
        Options {
            appendonly: false,
            ..Options::new(dir.path())
        },
        Settings::default(),
    )
    .unwrap();
    let mut client = Client::of(&engine);
    client.line("set a 1");
    client.line("rpush list 1 2 3");
    engine.save().unwrap();
    drop(client);
    close(engine);
    let ping = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    let aof = dir.path().join("appendonly.aof");
    fs::write(&aof, [&ping[..], &ping[..10]].concat()).unwrap();
    let found = survey(&disk(), dir.path(), &mut |_| {}).unwrap();
    assert!(found.logs.is_empty() && !found.is_sound());
    let kinds: Vec<_> = found.files.iter().map(|f| f.kind).collect();
    assert_eq!(kinds, [LoneKind::AppendOnlyFile, LoneKind::Rdb]);
    let damage = found.files[0].damage.as_ref().unwrap();
    assert_eq!(damage.position, Some(ping.len() as u64));
    assert_eq!(found.files[0].commands.as_ref().unwrap().commands, 1);
    assert_eq!(found.files[1].rdb.as_ref().unwrap().keys(), 2);
    // A bit flips in the RDB file.
    let rdb = dir.path().join("dump.rdb");
    change(&rdb, |bytes| {
        let at = bytes.len() - 20;
        bytes[at] ^= 1;
    });
    let found = survey(&disk(), &rdb, &mut |_| {}).unwrap();
    assert!(found.files[0].damage.is_some());
    // Nothing there, and nothing of ours.
    assert!(survey(&disk(), &dir.path().join("none"), &mut |_| {}).is_err());
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        survey(&disk(), empty.path(), &mut |_| {}),
        Err(SurveyError::Nothing(_))
    ));
}

#[test]
fn directory_of_a_running_engine_is_sound_while_it_writes() {
    let dir = data();
    let engine = open(dir.path()).unwrap();
    let mut client = Client::of(&engine);
    let mut rng = StdRng::seed_from_u64(9);
    for _ in 0..5 {
        write_some(&mut client, &mut rng, 20);
        let found = survey(&disk(), dir.path(), &mut |_| {}).unwrap();
        assert!(found.logs[0].is_live && found.is_sound());
        let last = found.logs[0].files.last().unwrap();
        assert_eq!(last.range.unwrap().1, engine.log().unwrap().written());
    }
    drop(client);
    close(engine);
}

#[test]
fn a_segment_alone_says_where_it_belongs() {
    let dir = data();
    let log = survey_of(dir.path());
    let path = path_of(&log, FileRole::Segment, 1);
    let found = survey(&disk(), &path, &mut |_| {}).unwrap();
    let alone = &found.files[0];
    assert_eq!(alone.kind, LoneKind::Segment);
    let named = log.files.iter().find(|f| f.file.path == path).unwrap();
    assert_eq!((alone.range, alone.bytes), (named.range, named.bytes));
    assert!(found.is_sound());
}
