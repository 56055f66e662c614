//! The snapshot: every key as of one LSN, as an RDB, without a fork.
//!
//! [`SnapshotCut`] fixes the instant and keeps what writers replace; [`write()`] walks it
//! slot by slot and encodes what it finds. Under a slot's lock it only copies bytes into a buffer; the sink is written
//! outside of it. Records that writers saved may belong to another database than the one being walked, so the stream
//! selects a database as often as needed.
//!
//! Elsewhere: what the cut is (`keyspace::cut`), what the bytes mean (`rdb`), when to snapshot and where to (`engine`).

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::keyspace::{Record, SnapshotCut, StringKind, ValueRef, WalkProgress};
use crate::rdb::{self, Encoder, FileInfo, Meta, Writer};
use crate::text::integer;
use crate::types::DbIndex;

/// Entries taken under one lock: about 50 µs of work.
const ENTRIES_PER_LOCK: usize = 128;

/// Encoded bytes that are gathered before they go to the sink.
const GATHERED_BYTES: usize = 64 * 1024;

/// The longest that a snapshot with a delay sleeps before it looks whether it is to go on.
const DELAY_STEP: Duration = Duration::from_millis(10);

/// How the RDB is written.
#[derive(Clone, Copy)]
pub struct SnapshotOptions<'a> {
    /// Whether strings are compressed.
    pub compress: bool,
    /// Whether the RDB carries a checksum.
    pub checksum: bool,
    /// Testing: delay per key, asked for again and again, because it may change meanwhile.
    pub key_delay: &'a dyn Fn() -> Duration,
}

/// How far a snapshot has come; read by INFO while it is written.
#[derive(Debug, Default)]
pub struct SnapshotProgress {
    /// Keys at the cut.
    pub keys_total: AtomicU64,
    /// Keys written.
    pub keys_done: AtomicU64,
    /// Set to end the snapshot early.
    pub cancelled: AtomicBool,
}

/// Writes the cut to `sink` as an RDB, with one more field of information if there is an `extra`, and ends the cut.
/// Returns the length.
///
/// # Errors
/// The sink's, or [`io::ErrorKind::Interrupted`] if it was cancelled. What the sink has got is then worthless.
pub fn write<W: Write>(
    mut cut: SnapshotCut,
    info: &FileInfo<'_>,
    extra: Option<(&[u8], &[u8])>,
    options: SnapshotOptions<'_>,
    progress: &SnapshotProgress,
    sink: W,
) -> io::Result<u64> {
    let mut writer = Writer::new(sink, options.checksum, options.compress);
    writer.file_info(info)?;
    if let Some((name, value)) = extra {
        writer.aux(name, value)?;
    }
    let mut stream = Stream {
        writer,
        encoder: Encoder::new(options.compress),
        gathered: Vec::with_capacity(2 * GATHERED_BYTES),
        selected: None,
        keys: 0,
    };
    let databases: Vec<DbIndex> = cut.databases().collect();
    for db in databases {
        for slot in 0..crate::text::crc16::SLOTS {
            loop {
                let step = cut.walk_slot(db, slot, ENTRIES_PER_LOCK, &mut |db, record| {
                    stream.add(db, record)
                });
                stream.settle(options, progress)?;
                if step == WalkProgress::Done {
                    break;
                }
            }
        }
    }
    cut.finish();
    stream.flush()?;
    let mut written = stream.writer.finish()?;
    written.sink.flush()?;
    Ok(written.bytes)
}

/// Encoded entries on their way to the sink.
struct Stream<W: Write> {
    writer: Writer<W>,
    encoder: Encoder,
    gathered: Vec<u8>,
    /// The database of the entries gathered last.
    selected: Option<DbIndex>,
    /// Keys added since the last `settle`.
    keys: u64,
}

impl<W: Write> Stream<W> {
    fn add(&mut self, db: DbIndex, record: &Record) {
        if self.selected != Some(db) {
            rdb::encode_select(&mut self.gathered, db);
            self.selected = Some(db);
        }
        let value = match record.value() {
            ValueRef::Str(bytes, StringKind::Int) => match integer::parse_i64(bytes) {
                Some(int) => rdb::ValueRef::Int(int),
                None => rdb::ValueRef::String(bytes),
            },
            ValueRef::Str(bytes, _) => rdb::ValueRef::String(bytes),
            ValueRef::Object(object) => rdb::ValueRef::Object(object),
        };
        self.encoder.entry(
            &mut self.gathered,
            record.key(),
            value,
            &Meta::expiring(record.expire_at()),
        );
        self.keys += 1;
    }

    /// Outside of any lock: passes on what was gathered, and looks whether to go on.
    fn settle(
        &mut self,
        options: SnapshotOptions<'_>,
        progress: &SnapshotProgress,
    ) -> io::Result<()> {
        if self.keys > 0 && (options.key_delay)().is_zero() {
            progress.keys_done.fetch_add(self.keys, Ordering::Relaxed);
            self.keys = 0;
        }
        for _ in 0..std::mem::take(&mut self.keys) {
            progress.keys_done.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            while let Some(rest) = (options.key_delay)()
                .checked_sub(began.elapsed())
                .filter(|rest| !rest.is_zero())
            {
                std::thread::sleep(rest.min(DELAY_STEP));
                check(progress)?;
            }
        }
        if self.gathered.len() >= GATHERED_BYTES {
            check(progress)?;
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.encoded(&self.gathered)?;
        self.gathered.clear();
        // One large value must not stay for the rest of the walk.
        self.gathered.shrink_to(2 * GATHERED_BYTES);
        Ok(())
    }
}

fn check(progress: &SnapshotProgress) -> io::Result<()> {
    if progress.cancelled.load(Ordering::Relaxed) {
        return Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "the snapshot was cancelled",
        ));
    }
    Ok(())
}
