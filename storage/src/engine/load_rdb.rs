//! Loading an RDB file with all cores: the calling thread verifies the checksum and finds where each key begins and
//! ends, the others decode and insert, a batch of neighbours at a time. Snapshots are written slot by slot, so two
//! batches rarely meet in one slot.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

use super::load::{LSN_FIELD, LoadError, OnProgress};
use super::{Settings, Shared};
use crate::command;
use crate::disk::Disk;
use crate::keyspace::{Record, SharedGate};
use crate::rdb::{
    Access, Decoded, EntryDecoder, Meta, RawEntry, RdbError, Refused, SplitTarget, split_slice,
};
use crate::types::{DbIndex, Lsn, UnixMillis};

/// A batch ends at whichever comes first.
const BATCH_ENTRIES: usize = 256;
const BATCH_BYTES: usize = 256 << 10;

/// Batches that may wait for each thread.
const BATCHES_AHEAD: usize = 4;

/// A thread is worth while for so many bytes of file.
const BYTES_PER_THREAD: u64 = 1 << 20;

/// How a file is loaded.
pub(super) struct RdbLoad<'l, 'p> {
    pub shared: &'l Shared,
    /// Against this keys have expired.
    pub now: UnixMillis,
    /// Expired keys are left out.
    pub skip_expired: bool,
    pub on_progress: OnProgress<'p>,
}

/// What was loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct RdbLoaded {
    /// Length of the RDB; commands may follow it.
    pub bytes: u64,
    /// What the file says it stands for.
    pub lsn: Option<Lsn>,
    /// Keys in the keyspace now.
    pub keys: u64,
    /// Keys that had expired.
    pub expired: u64,
    /// Keys with empty collections.
    pub empty: u64,
}

impl RdbLoad<'_, '_> {
    /// Loads the file into the keyspace.
    ///
    /// # Errors
    /// [`LoadError`]; the keyspace then holds part of the contents.
    pub(super) fn run(self, disk: &dyn Disk, path: &Path) -> Result<RdbLoaded, LoadError> {
        let io_failed = |error| LoadError::Io {
            path: path.to_owned(),
            error,
        };
        let file = disk.open(path).map_err(io_failed)?;
        let bytes = file.len().map_err(io_failed)?;
        let view = file.view(bytes).map_err(io_failed)?;
        let settings = self.shared.settings.load_full();
        let verify = settings.rdb_checksum;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min((bytes / BYTES_PER_THREAD) as usize + 1);
        let (batches, queue) = sync_channel(threads * BATCHES_AHEAD);
        let inserter = Inserter {
            shared: self.shared,
            settings: &settings,
            now: self.now,
            skip_expired: self.skip_expired,
            queue: Mutex::new(queue),
            counts: Counts::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        };
        let mut dealer = Dealer {
            inserter: &inserter,
            batches,
            batch: Batch::default(),
            lsn: None,
            reported: (0, 0),
            on_progress: self.on_progress,
        };
        let walked = thread::scope(|scope| {
            let mut started = 0;
            for _ in 0..threads {
                let thread = thread::Builder::new().name("hardtack-load".into());
                match thread.spawn_scoped(scope, || inserter.run()) {
                    Ok(_) => started += 1,
                    // Fewer will do.
                    Err(error) if started > 0 => tracing::warn!("Can't start a thread: {error}"),
                    Err(error) => return Err(io_failed(error)),
                }
            }
            let walked = split_slice(&view, verify, &mut dealer);
            dealer.deal();
            let lsn = dealer.lsn;
            // The threads end when they have inserted what they were given.
            drop(dealer);
            Ok((walked, lsn))
        });
        let (walked, lsn) = walked?;
        let failed = |error| LoadError::Rdb {
            path: path.to_owned(),
            error,
        };
        // A walk that was called off has nothing to say of its own.
        if let Some(error) = inserter.failure.into_inner() {
            return Err(failed(error));
        }
        let counts = inserter.counts;
        Ok(RdbLoaded {
            bytes: walked.map_err(failed)?.bytes,
            lsn,
            keys: counts.keys.into_inner(),
            expired: counts.expired.into_inner(),
            empty: counts.empty.into_inner(),
        })
    }
}

/// Neighbouring keys of one database.
#[derive(Default)]
struct Batch<'f> {
    db: DbIndex,
    entries: Vec<RawEntry<'f>>,
    bytes: usize,
}

/// Gathers what the walk finds, and sends it to the threads.
struct Dealer<'i, 'f, 'p> {
    inserter: &'i Inserter<'i, 'f>,
    batches: SyncSender<Batch<'f>>,
    batch: Batch<'f>,
    lsn: Option<Lsn>,
    /// Bytes and keys that `on_progress` has heard of.
    reported: (u64, u64),
    on_progress: OnProgress<'p>,
}

impl Dealer<'_, '_, '_> {
    /// Sends what has been gathered.
    fn deal(&mut self) {
        let next = Batch {
            db: self.batch.db,
            ..Batch::default()
        };
        let batch = std::mem::replace(&mut self.batch, next);
        // The inserter holds the other end.
        let _ = self.batches.send(batch);
    }
}

impl<'f> SplitTarget<'f> for Dealer<'_, 'f, '_> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name == LSN_FIELD {
            self.lsn = crate::text::integer::parse_u64(value).map(Lsn);
        }
        Ok(())
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        let databases = self.inserter.shared.databases();
        if db >= databases {
            return Err(Refused(format!(
                "there is data in database {db}, but only {databases} databases are configured"
            )));
        }
        self.deal();
        self.batch.db = db;
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), Refused> {
        Err(Refused(
            "the file holds functions, which are not supported yet".into(),
        ))
    }

    fn entry(&mut self, entry: RawEntry<'f>) -> Result<(), Refused> {
        self.batch.bytes += entry.encoded_len();
        self.batch.entries.push(entry);
        if self.batch.entries.len() >= BATCH_ENTRIES || self.batch.bytes >= BATCH_BYTES {
            self.deal();
        }
        if self.inserter.failed.load(Ordering::Relaxed) {
            return Err(Refused("called off".into()));
        }
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        let keys = self.inserter.counts.keys.load(Ordering::Relaxed);
        (self.on_progress)(bytes - self.reported.0, keys - self.reported.1);
        self.reported = (bytes, keys);
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    keys: AtomicU64,
    expired: AtomicU64,
    empty: AtomicU64,
}

/// What the threads share.
struct Inserter<'s, 'f> {
    shared: &'s Shared,
    settings: &'s Settings,
    now: UnixMillis,
    skip_expired: bool,
    queue: Mutex<Receiver<Batch<'f>>>,
    counts: Counts,
    /// There is a `failure`: what else is sent is thrown away.
    failed: AtomicBool,
    failure: Mutex<Option<RdbError>>,
}

impl Inserter<'_, '_> {
    /// Inserts batches until there are no more.
    fn run(&self) {
        let mut decoder = EntryDecoder::new();
        loop {
            let batch = self.queue.lock().recv();
            let Ok(batch) = batch else { return };
            if self.failed.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.insert_batch(&mut decoder, &batch) {
                self.failure.lock().get_or_insert(error);
                self.failed.store(true, Ordering::Relaxed);
            }
        }
    }

    fn insert_batch(&self, decoder: &mut EntryDecoder, batch: &Batch<'_>) -> Result<(), RdbError> {
        let gate = self.shared.keyspace.enter();
        let (mut keys, mut expired, mut empty) = (0, 0, 0);
        for entry in &batch.entries {
            let meta = *entry.meta();
            decoder
                .decode(entry, &self.settings.limits, |key, value| {
                    let record = match value {
                        Decoded::Empty => {
                            empty += 1;
                            return Ok(());
                        }
                        _ if self.has_expired(&meta) => {
                            expired += 1;
                            return Ok(());
                        }
                        Decoded::String(value) => {
                            Record::string(key, value, command::string_kind(value), meta.expire)
                        }
                        Decoded::Object(object) => Record::object(key, object, meta.expire),
                    };
                    keys += 1;
                    self.insert(&gate, batch.db, key, &meta, record)
                })?
                .map_err(|Refused(reason)| RdbError::Refused {
                    offset: entry.offset(),
                    reason,
                })?;
        }
        self.counts.keys.fetch_add(keys, Ordering::Relaxed);
        self.counts.expired.fetch_add(expired, Ordering::Relaxed);
        self.counts.empty.fetch_add(empty, Ordering::Relaxed);
        Ok(())
    }

    fn has_expired(&self, meta: &Meta) -> bool {
        self.skip_expired && meta.expire.is_some_and(|expire| expire <= self.now)
    }

    fn insert(
        &self,
        gate: &SharedGate<'_>,
        db: DbIndex,
        key: &[u8],
        meta: &Meta,
        record: Record,
    ) -> Result<(), Refused> {
        let settings = self.settings;
        record.set_access(settings.fresh_access(self.now));
        match meta.access {
            Some(Access::IdleSeconds(seconds)) if !settings.maxmemory_policy.is_lfu() => {
                let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
                settings.set_idle(&record, seconds, self.now);
            }
            Some(Access::Frequency(frequency)) if settings.maxmemory_policy.is_lfu() => {
                settings.set_frequency(&record, frequency, self.now);
            }
            _ => {}
        }
        let key = self.shared.keyspace.key(key);
        let displaced = gate.lock(db, key.slot).insert(&key, record);
        if displaced.existed() {
            return Err(Refused("the key occurs twice".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::tests::Client;
    use crate::engine::{Engine, Options};
    use crate::rdb::{ValueRef, Writer};

    /// Enough for several threads and many batches.
    const KEYS: usize = 40_000;
    const VALUE: [u8; 100] = [b'v'; 100];

    /// A file of that many keys in two databases, an expired one among them, and then `more`.
    fn write_file(path: &Path, more: &[&str]) {
        let mut writer = Writer::new(Vec::new(), true, false);
        for db in [0, 9] {
            writer.select_db(db, KEYS as u64, 0).unwrap();
            for n in 0..KEYS {
                let meta = Meta::expiring((n == 7).then_some(UnixMillis(1)));
                let value = ValueRef::String(&VALUE);
                writer
                    .entry(format!("{db}:{n}").as_bytes(), value, &meta)
                    .unwrap();
            }
        }
        for key in more {
            let value = ValueRef::String(b"again");
            writer
                .entry(key.as_bytes(), value, &Meta::default())
                .unwrap();
        }
        std::fs::write(path, writer.finish().unwrap().sink).unwrap();
    }

    fn load(more: &[&str]) -> Result<(Engine, u64, u64), LoadError> {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        options.appendonly = false;
        let engine = Engine::new(options, Settings::default()).unwrap();
        write_file(&engine.rdb_path(), more);
        let (mut bytes, mut keys) = (0, 0);
        engine.load(&mut |more_bytes, more_keys| {
            bytes += more_bytes;
            keys += more_keys;
        })?;
        Ok((engine, bytes, keys))
    }

    #[test]
    fn every_key_arrives_in_its_database() {
        let (engine, bytes, keys) = load(&["more"]).unwrap();
        // Reported in steps of a mebibyte.
        assert!(bytes > (KEYS * VALUE.len()) as u64 && keys > 0);
        let mut client = Client::of(&engine);
        for (db, count) in [(0, KEYS - 1), (9, KEYS)] {
            client.select(db);
            assert_eq!(engine.len(db), count, "one expired, one more in the last");
            for n in (0..KEYS).filter(|n| *n != 7) {
                let length = client.line(&format!("strlen {db}:{n}"));
                assert_eq!(length, format!(":{}\r\n", VALUE.len()));
            }
        }
    }

    #[test]
    fn key_that_occurs_twice_is_refused_wherever_it_stands() {
        for twice in ["9:0", "9:39999"] {
            let error = load(&[twice]).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("the key occurs twice"), "{error}");
        }
    }
}
