//! The log by itself. Three questions:
//!
//! * **append**: what does it cost a command to put its record into the log? Records of 36 bytes into the ring, by one
//!   thread and by two at a time; nothing waits for the disk.
//! * **commit**: how long until a record may be answered for? One record of 36 bytes at a time: `always` waits for a real
//!   sync, `everysec` and `no` for the write to the operating system. The directory is under TMPDIR: put that on the disk
//!   in question, since a sync in memory costs nothing.
//! * **replay**: how fast is a start? 16 MiB of `SET`s in frames of about 64 KiB: read and checked only, and executed as well.
//!
//! Appends and commits are capped per sample and scaled, so that a fast machine does not fill its disk.

use std::io;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use hardtack_storage::Lsn;
use hardtack_storage::disk::RealDisk;
use hardtack_storage::engine::{Engine, Options, Settings};
use hardtack_storage::log::{
    Appender, BaseLoaded, Log, LogOptions, ReplayError, ReplayTarget, SyncPolicy,
};

/// An RDB file of version 9 without keys and without a checksum.
const EMPTY_RDB: &[u8] = b"REDIS0009\xff\0\0\0\0\0\0\0\0";
const RECORD: &[u8] = b"*3\r\n$3\r\nSET\r\n$5\r\nkey:1\r\n$6\r\nabcdef\r\n";
const APPENDS_MAX: u64 = 200_000;
const COMMITS_MAX: u64 = 500;
const REPLAY_BYTES: u64 = 16 << 20;
const REPLAY_FRAME_BYTES: u64 = 64 << 10;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    append(&mut criterion);
    commit(&mut criterion);
    replay(&mut criterion);
    criterion.final_summary();
}

fn create(dir: &Path, policy: SyncPolicy) -> Log {
    let options = LogOptions {
        policy,
        ring_bytes: 64 << 20,
        ..LogOptions::default()
    };
    Log::create(Arc::new(RealDisk), dir, options, Lsn::ZERO, &mut |base| {
        base.write_all(EMPTY_RDB)
    })
    .expect("the directory can be written")
}

/// Runs at most `max` of `iters` and scales what they took.
fn capped(iters: u64, max: u64, run: impl FnOnce(u64) -> Duration) -> Duration {
    let count = iters.min(max);
    run(count).mul_f64(iters as f64 / count as f64)
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/append");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("threads", threads), |bencher| {
            bencher.iter_custom(|iters| capped(iters, APPENDS_MAX, |n| append_from(threads, n)));
        });
    }
    group.finish();
}

/// The time until `count` records, dealt out to `threads`, are in the ring.
fn append_from(threads: u64, count: u64) -> Duration {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = create(dir.path(), SyncPolicy::No);
    let barrier = Barrier::new(threads as usize);
    let longest = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| {
                let share = (count + thread) / threads;
                let (appender, barrier) = (log.appender(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let begin = Instant::now();
                    append_all(&appender, share);
                    begin.elapsed()
                })
            })
            .collect();
        let took = runs.into_iter().map(|run| run.join().expect("no panic"));
        took.max().unwrap_or_default()
    });
    log.close().expect("the disk takes it");
    longest
}

fn append_all(appender: &Appender, count: u64) {
    appender.begin_batch();
    for _ in 0..count {
        appender.append(0, &[RECORD]);
    }
    appender.end_batch();
}

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/commit");
    group.throughput(Throughput::Elements(1));
    let policies = [
        ("always", SyncPolicy::Always),
        ("everysec", SyncPolicy::EverySec),
        ("no", SyncPolicy::No),
    ];
    for (name, policy) in policies {
        group.bench_function(name, |bencher| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let log = create(dir.path(), policy);
            let appender = log.appender();
            bencher.iter_custom(|iters| {
                capped(iters, COMMITS_MAX, |count| {
                    let begin = Instant::now();
                    for _ in 0..count {
                        let end = appender.append(0, &[RECORD]);
                        if policy == SyncPolicy::Always {
                            log.wait_durable(end).expect("the disk takes it");
                        } else {
                            log.write_now();
                            log.wait_written(end).expect("the disk takes it");
                        }
                    }
                    begin.elapsed()
                })
            });
        });
    }
    group.finish();
}

fn replay(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bytes = fill(dir.path());
    let mut group = criterion.benchmark_group("log/replay");
    group.throughput(Throughput::Bytes(bytes));
    group.sample_size(10);
    group.bench_function("checked", |bencher| {
        bencher.iter(|| {
            let options = LogOptions::default();
            let log = Log::open(Arc::new(RealDisk), dir.path(), options, &mut Unread);
            log.expect("a sound log").recovery_report().replayed_bytes
        });
    });
    group.bench_function("executed", |bencher| {
        bencher.iter_custom(|iters| {
            (0..iters)
                .map(|_| {
                    let begin = Instant::now();
                    let engine = Engine::open(Options::new(dir.path()), Settings::default());
                    let engine = engine.expect("a sound log");
                    let took = begin.elapsed();
                    engine.close(std::time::Duration::ZERO, &|| false, || {});
                    took
                })
                .sum()
        });
    });
    group.finish();
}

/// Writes a log of `SET`s of 100000 keys; its length.
fn fill(dir: &Path) -> u64 {
    let log = create(dir, SyncPolicy::No);
    let appender = log.appender();
    let (mut number, mut end, mut framed) = (0u64, Lsn::ZERO, Lsn::ZERO);
    while end.0 < REPLAY_BYTES {
        let key = format!("key:{:012}", number % 100_000);
        let record = format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n$100\r\n{number:0100}\r\n");
        end = appender.append(0, &[record.as_bytes()]);
        number += 1;
        if end - framed >= REPLAY_FRAME_BYTES {
            log.write_now();
            framed = end;
        }
    }
    log.close().expect("the disk takes it");
    end.0
}

/// Takes what recovery reads and does nothing with it.
struct Unread;

impl ReplayTarget for Unread {
    fn load_base(&mut self, path: &Path) -> Result<BaseLoaded, ReplayError> {
        std::fs::metadata(path).map_err(|error: io::Error| ReplayError(error.to_string()))?;
        Ok(BaseLoaded::default())
    }

    fn replay(
        &mut self,
        payload: &[u8],
        _start: Lsn,
        _ts: Option<hardtack_storage::UnixMillis>,
    ) -> Result<(), ReplayError> {
        std::hint::black_box(payload);
        Ok(())
    }
}
