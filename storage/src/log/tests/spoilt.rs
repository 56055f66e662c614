//! Random damage to files of a log: whatever is done to them, nothing that was never appended is replayed.
//!
//! `HARDTACK_TEST_ROUNDS` asks for more rounds, `HARDTACK_TEST_SEED` for other ones.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Calls `check` with a generator for each round, and says which one failed.
pub(crate) fn rounds(default: u64, check: impl Fn(&mut SmallRng)) {
    let first = number("HARDTACK_TEST_SEED", 1);
    for seed in first..first + number("HARDTACK_TEST_ROUNDS", default) {
        println!("seed {seed}");
        check(&mut SmallRng::seed_from_u64(seed));
    }
}

/// What disks and operators do to a file.
pub(crate) fn spoil(bytes: &mut Vec<u8>, rng: &mut SmallRng) {
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        let len = rng.random_range(1..=64.min(bytes.len() - at));
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at..at + len].fill(0),
            2 => bytes[at..at + len]
                .iter_mut()
                .for_each(|b| *b = rng.random()),
            3 => bytes.truncate(at),
            // A block that stands where another belongs.
            4 => {
                let from = rng.random_range(0..=bytes.len() - len);
                bytes.copy_within(from..from + len, at);
            }
            _ => {
                let extra = bytes[at..at + len].to_vec();
                bytes.splice(at..at, extra);
            }
        }
    }
}

#[test]
fn spoilt_segments_yield_a_prefix_or_an_error() {
    let original = tempfile::tempdir().unwrap();
    let (ends, stream) = small_log(original.path(), 8, 3);
    let used = filled_up_to(&std::fs::read(increment(original.path(), 1)).unwrap());
    rounds(150, |rng| {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        let mut bytes = used.clone();
        spoil(&mut bytes, rng);
        std::fs::write(increment(dir.path(), 1), &bytes).unwrap();
        let recover = match rng.random_bool(0.5) {
            true => RecoverMode::Prefix,
            false => RecoverMode::Strict,
        };
        let options = LogOptions {
            recover,
            ..options()
        };
        if let Ok((log, found)) = open_with(dir.path(), options) {
            log.abandon();
            let end = found.stream.len() as u64;
            assert!(
                ends.contains(&end) && stream.starts_with(&found.stream),
                "replayed {:?}",
                String::from_utf8_lossy(&found.stream)
            );
            // And once more, on what the first start made of it.
            let (_, again) = open(dir.path());
            assert_eq!(again.stream, found.stream);
        }
    });
}

#[test]
fn spoilt_manifests_and_indexes_lose_nothing() {
    let original = tempfile::tempdir().unwrap();
    let (_, stream) = small_log(original.path(), 4, 4);
    // A second start leaves a segment with an index.
    open(original.path()).0.close().unwrap();
    rounds(150, |rng| {
        let dir = tempfile::tempdir().unwrap();
        copy_log(original.path(), dir.path());
        let files: Vec<PathBuf> = std::fs::read_dir(dir.path().join("appendonlydir"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let end = path.extension().and_then(|end| end.to_str());
                matches!(end, Some("manifest" | "idx"))
            })
            .collect();
        let path = &files[rng.random_range(0..files.len())];
        let mut bytes = std::fs::read(path).unwrap();
        spoil(&mut bytes, rng);
        std::fs::write(path, &bytes).unwrap();
        if let Ok((log, found)) = open_with(dir.path(), options()) {
            log.abandon();
            assert_eq!(found.stream, stream);
        }
    });
}

/// The segment without most of its unused end, so that damage strikes what is used.
fn filled_up_to(text: &[u8]) -> Vec<u8> {
    let used = text.rchunks(64).take_while(|line| frame::is_filler(line));
    let end = text.len() - used.count().saturating_sub(4) * 64;
    text[..end].to_vec()
}
