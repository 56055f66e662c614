//! Going back to every point that there was, across compactions and restarts.

use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::restore::{Point, RestoreError, Restored, restore};
use super::tests::Client;
use super::{Engine, Options, Settings};
use crate::Lsn;
use crate::disk::{Disk, RealDisk};
use crate::log::LogFiles;

fn open(dir: &Path, retention_bytes: u64) -> Engine {
    let mut options = Options::new(dir);
    options.log.segment_bytes = 8 << 10;
    options.log.retention.bytes = retention_bytes;
    Engine::open(options, Settings::default()).expect("the directory opens")
}

fn close(engine: Engine) {
    engine.close(std::time::Duration::from_secs(10), &|| false, || {});
}

fn compact(engine: &Engine) {
    let before = engine.snapshot_info().rewrites;
    while engine.rewrite_log_in_background().is_err() {
        std::thread::yield_now();
    }
    while engine.snapshot_info().rewrites == before {
        std::thread::yield_now();
    }
}

fn write_one(client: &mut Client, rng: &mut StdRng) {
    let n = rng.random_range(0..30);
    client.select(rng.random_range(0..3));
    match rng.random_range(0..12) {
        0..5 => client.line(&format!("set s{n} {}", rng.random_range(0..1000))),
        5 => client.line(&format!("del s{n}")),
        6..9 => client.line(&format!("rpush l{n} a b c")),
        9 => client.line(&format!("zadd z{n} {} m", rng.random_range(0..100))),
        10 => client.transaction(&[
            &format!("set t{n} 1"),
            "incr count",
            "select 1",
            "incr count",
        ]),
        _ if n == 0 => client.line("flushall"),
        _ => client.line(&format!("incr i{n}")),
    };
}

/// What there was at which position.
fn history(dir: &Path, retention_bytes: u64) -> Vec<(Lsn, String)> {
    let mut rng = StdRng::seed_from_u64(11);
    let mut points = Vec::new();
    for round in 0..4 {
        let engine = open(dir, retention_bytes);
        let mut client = Client::of(&engine);
        for n in 0..120 {
            write_one(&mut client, &mut rng);
            let end = engine.log().unwrap().appended();
            points.push((end, client.digest()));
            if n == 60 && round % 2 == 1 {
                compact(&engine);
            }
        }
        drop(client);
        close(engine);
    }
    points
}

fn back_to(dir: &Path, point: &Point, into: &Path) -> Result<Restored, RestoreError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let log_dir = dir.join("appendonlydir");
    let log = LogFiles::open(disk.clone(), &log_dir, "appendonly.aof").unwrap();
    restore(&disk, &log, None, point, into, &mut |_, _| {})
}

#[test]
fn every_point_of_the_history_can_be_gone_back_to() {
    let dir = tempfile::tempdir().unwrap();
    let points = history(dir.path(), 1 << 30);
    let mut rng = StdRng::seed_from_u64(5);
    for round in 0..25 {
        // The first and the last, and some between: a position inside a record leads to the end of the one before.
        let index = match round {
            0 => 0,
            1 => points.len() - 1,
            _ => rng.random_range(0..points.len()),
        };
        let (lsn, digest) = &points[index];
        let next = points[index..].iter().map(|(next, _)| *next);
        let next = next.into_iter().find(|next| next > lsn);
        let asked = match next {
            Some(next) if round % 2 == 0 => Lsn(rng.random_range(lsn.0..next.0)),
            _ => *lsn,
        };
        let into = tempfile::tempdir().unwrap();
        let found = back_to(dir.path(), &Point::Lsn(asked), into.path()).unwrap();
        assert!(found.lsn <= asked, "asked for {asked}");
        // A SELECT may stand between the two.
        assert!(found.lsn >= *lsn, "asked for {asked}, {lsn} is before it");
        let engine = open(into.path(), 0);
        assert_eq!(&Client::of(&engine).digest(), digest, "at {asked}");
        assert_eq!(engine.log().unwrap().appended(), found.lsn);
        assert_eq!(engine.log().unwrap().replid(), found.replid);
        close(engine);
    }
}

#[test]
fn without_an_old_base_history_reaches_back_to_the_present_one() {
    let dir = tempfile::tempdir().unwrap();
    let points = history(dir.path(), 0);
    let into = tempfile::tempdir().unwrap();
    let outcome = back_to(dir.path(), &Point::Lsn(points[0].0), into.path());
    let Err(RestoreError::NotReached {
        oldest: Some((base, _)),
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 0);
    let found = back_to(dir.path(), &Point::Lsn(base), into.path()).unwrap();
    assert_eq!((found.lsn, found.base_lsn), (base, base));
    // The end is as far as it goes.
    let end = points.last().unwrap().0;
    let into = tempfile::tempdir().unwrap();
    let outcome = back_to(dir.path(), &Point::Lsn(end + 1), into.path());
    assert!(
        matches!(outcome, Err(RestoreError::Beyond { end: found, torn: false }) if found == end)
    );
}
