//! Snapshots and RDB files. Two questions, both about 100000 keys of 16 bytes with values of 100:
//!
//! * **walk**: how long does a snapshot take, without a disk? A cut of the keyspace, walked and encoded into nowhere; no
//!   writers meanwhile. Compression is off, as these values would not compress.
//! * **load**: how fast is an RDB file read? Decoded only (`decode`), and as the start of an engine that finds it in its
//!   directory (`open`).

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use hardtack_storage::DbIndex;
use hardtack_storage::engine::{Engine, Options, Settings};
use hardtack_storage::keyspace::{Keyspace, Record, SnapshotCut, StringKind};
use hardtack_storage::rdb::{FileInfo, LoadOptions, LoadTarget, Meta, Refused, load_slice};
use hardtack_storage::snapshot::{self, SnapshotOptions, SnapshotProgress};
use hardtack_storage::value::{Limits, Object};

const KEYS: u64 = 100_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    walk(&mut criterion);
    load(&mut criterion);
    criterion.final_summary();
}

fn keyspace() -> Keyspace {
    let keyspace = Keyspace::new(1);
    let gate = keyspace.enter();
    for number in 0..KEYS {
        let name = format!("key:{number:012}");
        let key = keyspace.key(name.as_bytes());
        let value = format!("{number:x>100}");
        let record = Record::string(key.bytes, value.as_bytes(), StringKind::Raw, None);
        let _none = gate.lock(0, key.slot).insert(&key, record);
    }
    drop(gate);
    keyspace
}

fn cut(keyspace: &Keyspace) -> SnapshotCut {
    let mut gate = keyspace.enter_exclusive();
    gate.begin_snapshot().expect("no other snapshot")
}

fn write(cut: SnapshotCut, sink: impl io::Write) -> u64 {
    let info = FileInfo::default();
    let options = SnapshotOptions {
        compress: false,
        ..SnapshotOptions::default()
    };
    let progress = SnapshotProgress::default();
    snapshot::write(cut, &info, None, options, &progress, sink).expect("the sink takes everything")
}

fn walk(criterion: &mut Criterion) {
    let keyspace = keyspace();
    let mut group = criterion.benchmark_group("snapshot");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("walk", |bencher| {
        bencher.iter_batched(
            || cut(&keyspace),
            |cut| write(cut, io::sink()),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn load(criterion: &mut Criterion) {
    let mut rdb = Vec::new();
    write(cut(&keyspace()), &mut rdb);
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("dump.rdb"), &rdb).expect("a writable directory");

    let mut group = criterion.benchmark_group("rdb/load");
    group.throughput(Throughput::Bytes(rdb.len() as u64));
    let limits = Limits::default();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let options = LoadOptions {
                limits: &limits,
                verify_checksum: true,
            };
            let loaded = load_slice(&rdb, &options, &mut Dropped).expect("a sound file");
            assert_eq!(loaded.keys, KEYS);
        });
    });
    group.sample_size(10);
    group.bench_function("open", |bencher| {
        bencher.iter_custom(|iters| (0..iters).map(|_| open(dir.path())).sum());
    });
    group.finish();
}

fn open(dir: &Path) -> Duration {
    let options = Options {
        appendonly: false,
        ..Options::new(dir)
    };
    let begin = Instant::now();
    let engine = Engine::open(options, Settings::default()).expect("a sound directory");
    let took = begin.elapsed();
    assert_eq!(engine.len(0) as u64, KEYS);
    took
}

/// Takes what an RDB contains and keeps nothing.
struct Dropped;

impl LoadTarget for Dropped {
    fn select_db(&mut self, _db: DbIndex) -> Result<(), Refused> {
        Ok(())
    }

    fn function(&mut self, _code: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn string(&mut self, _key: &[u8], value: &[u8], _meta: &Meta) -> Result<(), Refused> {
        std::hint::black_box(value);
        Ok(())
    }

    fn object(&mut self, _key: &[u8], object: Object, _meta: &Meta) -> Result<(), Refused> {
        std::hint::black_box(object);
        Ok(())
    }
}
