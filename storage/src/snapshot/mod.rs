//! The snapshot: every key as of one LSN, as an RDB, without a fork.
//!
//! [`SnapshotCut`] fixes the instant and keeps what writers replace; [`write()`] walks it
//! slot by slot and encodes what it finds. Under a slot's lock it only copies bytes into a buffer; the sink is written
//! outside of it. Records that writers saved may belong to another database than the one being walked, so the stream
//! selects a database as often as needed. A value of any size passes through in pieces.
//!
//! **Memory.** The cut counts what it holds on to beyond the data. When that comes near its limit, what writers saved is
//! written out of turn; if writers are quicker still the limit is reached, and the snapshot fails.
//!
//! Elsewhere: what the cut is (`keyspace::cut`), what the bytes mean (`rdb`), when to snapshot and where to (`engine`).

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::keyspace::{
    CutEntry, KeptString, Record, SnapshotCut, SnapshotMemory, StringKind, ValueRef, WalkProgress,
};
use crate::rdb::{self, Encoder, FileInfo, Meta, Writer};
use crate::text::integer;
use crate::types::DbIndex;

/// Entries taken under one lock: about 50 µs of work.
const ENTRIES_PER_LOCK: usize = 128;

/// Encoded bytes that are gathered before they go to the sink.
const GATHERED_BYTES: usize = rdb::PIECE_BYTES;

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

impl Default for SnapshotOptions<'_> {
    /// As Redis does it, as fast as it goes.
    fn default() -> Self {
        SnapshotOptions {
            compress: true,
            checksum: true,
            key_delay: &|| Duration::ZERO,
        }
    }
}

/// How far a snapshot has come; read by INFO while it is written.
#[derive(Debug, Default)]
pub struct SnapshotProgress {
    /// Keys at the cut.
    pub keys_total: AtomicU64,
    /// Keys written.
    pub keys_done: AtomicU64,
    /// Bytes written.
    pub bytes_done: AtomicU64,
    /// What the snapshot holds on to beyond the data, once it has begun.
    pub memory: OnceLock<SnapshotMemory>,
    /// Set to end the snapshot early.
    pub cancelled: AtomicBool,
}

impl SnapshotProgress {
    /// Whether to go on.
    fn check(&self) -> io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the snapshot was cancelled",
            ));
        }
        match self.memory.get() {
            Some(memory) if memory.is_exceeded() => Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!(
                    "what was changed meanwhile came to more than snapshot-memory-limit ({} bytes)",
                    memory.limit()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Writes the cut to `sink` as an RDB, with one more field of information if there is an `extra`, and ends the cut.
/// Returns the length.
///
/// # Errors
/// The sink's, [`io::ErrorKind::Interrupted`] if it was cancelled, or [`io::ErrorKind::OutOfMemory`] if the cut came to
/// its limit. What the sink has got is then worthless.
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
    let memory = progress.memory.get_or_init(|| cut.memory()).clone();
    let mut stream = Stream {
        writer,
        encoder: Encoder::new(options.compress),
        gathered: Vec::with_capacity(2 * GATHERED_BYTES),
        selected: None,
        keys: 0,
        progress,
        failed: None,
    };
    let databases: Vec<DbIndex> = cut.databases().collect();
    for db in databases {
        for slot in 0..crate::text::crc16::SLOTS {
            loop {
                let step = cut.walk_slot(db, slot, ENTRIES_PER_LOCK, &mut |db, entry| {
                    stream.add(db, entry)
                });
                stream.settle(options)?;
                if memory.is_crowded() {
                    relieve(&mut cut, &mut stream, options)?;
                }
                if step == WalkProgress::Done {
                    break;
                }
            }
        }
    }
    // From here on writers save nothing more: if there was room for everything, nothing is missing.
    progress.check()?;
    cut.finish();
    stream.flush()?;
    let mut written = stream.writer.finish()?;
    written.sink.flush()?;
    Ok(written.bytes)
}

/// Writes what writers have saved, of all slots.
fn relieve<W: Write>(
    cut: &mut SnapshotCut,
    stream: &mut Stream<'_, W>,
    options: SnapshotOptions<'_>,
) -> io::Result<()> {
    for queue in 0..SnapshotCut::QUEUES {
        loop {
            let drained = cut.drain_queue(queue, ENTRIES_PER_LOCK, &mut |db, entry| {
                stream.add(db, entry)
            });
            stream.settle(options)?;
            if drained < ENTRIES_PER_LOCK {
                break;
            }
        }
    }
    Ok(())
}

/// Encoded entries on their way to the sink.
struct Stream<'p, W: Write> {
    writer: Writer<W>,
    encoder: Encoder,
    gathered: Vec<u8>,
    /// The database of the entries gathered last.
    selected: Option<DbIndex>,
    /// Keys added since the last `settle`.
    keys: u64,
    progress: &'p SnapshotProgress,
    /// What went wrong while pieces of a value were written, to be reported by the next `settle`.
    failed: Option<io::Error>,
}

impl<W: Write> Stream<'_, W> {
    /// Adds an entry. Under a slot's lock only small ones come, and they are gathered.
    fn add(&mut self, db: DbIndex, entry: CutEntry<'_>) {
        if self.selected != Some(db) {
            rdb::encode_select(&mut self.gathered, db);
            self.selected = Some(db);
        }
        match entry {
            CutEntry::Record(record) => self.add_record(record),
            CutEntry::String(string) => self.add_string(string),
        }
        self.keys += 1;
    }

    fn add_record(&mut self, record: &Record) {
        let meta = Meta::expiring(record.expire_at());
        let value = match record.value() {
            ValueRef::Str(bytes, StringKind::Int) => match integer::parse_i64(bytes) {
                Some(int) => rdb::ValueRef::Int(int),
                None => rdb::ValueRef::String(bytes),
            },
            ValueRef::Str(bytes, _) if bytes.len() > rdb::COMPRESS_LEN_MAX => {
                let len = bytes.len() as u64;
                self.encoder
                    .long_string_head(&mut self.gathered, record.key(), len, &meta);
                for piece in bytes.chunks(GATHERED_BYTES) {
                    self.gathered.extend_from_slice(piece);
                    self.pass_on();
                }
                return;
            }
            ValueRef::Str(bytes, _) => rdb::ValueRef::String(bytes),
            ValueRef::Object(object) => rdb::ValueRef::Object(object),
        };
        // Only what is out of line grows large enough to be passed on, and comes without a lock.
        let (writer, progress, failed) = (&mut self.writer, self.progress, &mut self.failed);
        self.encoder.entry_in_pieces(
            &mut self.gathered,
            record.key(),
            value,
            &meta,
            &mut |gathered| pass_on(writer, gathered, progress, failed),
        );
    }

    fn add_string(&mut self, string: &mut KeptString) {
        let meta = Meta::expiring(string.expire_at());
        if string.value_len() <= rdb::COMPRESS_LEN_MAX {
            let mut bytes = Vec::with_capacity(string.value_len());
            while string.read_piece(&mut bytes) {}
            let value = rdb::ValueRef::String(&bytes);
            self.encoder
                .entry(&mut self.gathered, string.key(), value, &meta);
            return;
        }
        let len = string.value_len() as u64;
        self.encoder
            .long_string_head(&mut self.gathered, string.key(), len, &meta);
        while string.read_piece(&mut self.gathered) {
            self.pass_on();
        }
    }

    /// Writes what was gathered of a value so far.
    fn pass_on(&mut self) {
        pass_on(
            &mut self.writer,
            &mut self.gathered,
            self.progress,
            &mut self.failed,
        );
    }

    /// Outside of any lock: passes on what was gathered, and looks whether to go on.
    fn settle(&mut self, options: SnapshotOptions<'_>) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.progress.check()?;
        if self.keys > 0 && (options.key_delay)().is_zero() {
            self.progress
                .keys_done
                .fetch_add(self.keys, Ordering::Relaxed);
            self.keys = 0;
        }
        for _ in 0..std::mem::take(&mut self.keys) {
            self.progress.keys_done.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            while let Some(rest) = (options.key_delay)()
                .checked_sub(began.elapsed())
                .filter(|rest| !rest.is_zero())
            {
                std::thread::sleep(rest.min(DELAY_STEP));
                self.progress.check()?;
            }
        }
        if self.gathered.len() >= GATHERED_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.encoded(&self.gathered)?;
        self.gathered.clear();
        // One large value must not stay for the rest of the walk.
        self.gathered.shrink_to(2 * GATHERED_BYTES);
        self.progress
            .bytes_done
            .store(self.writer.position(), Ordering::Relaxed);
        Ok(())
    }
}

/// Writes a piece of a value, unless something has gone wrong: then the rest of the value is for nothing.
fn pass_on<W: Write>(
    writer: &mut Writer<W>,
    gathered: &mut Vec<u8>,
    progress: &SnapshotProgress,
    failed: &mut Option<io::Error>,
) {
    if failed.is_none() {
        let written = progress.check().and_then(|()| writer.encoded(gathered));
        progress
            .bytes_done
            .store(writer.position(), Ordering::Relaxed);
        *failed = written.err();
    }
    gathered.clear();
}
