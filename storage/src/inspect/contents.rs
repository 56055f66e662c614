//! What a file holds: an RDB walked through and counted, commands counted.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::command;
use crate::disk::{Disk, DiskFile};
use crate::engine::LSN_FIELD;
use crate::log::{BaseLoaded, ReplayError, ReplayTarget};
use crate::rdb::{self, Checksum, LoadOptions, LoadTarget, Meta, RdbError, Refused};
use crate::value::{Limits, Object};
use crate::{DbIndex, Lsn, UnixMillis};

/// Hears how many more bytes have been read.
pub type OnBytes<'p> = &'p mut dyn FnMut(u64);

/// What an RDB holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdbContents {
    /// Its version.
    pub version: u32,
    /// Its length; commands may follow it in the same file.
    pub bytes: u64,
    /// There is a checksum, and it is right.
    pub is_checked: bool,
    /// Who wrote it, as it says.
    pub writer: Option<String>,
    /// When it was written, as it says, in seconds since 1970.
    pub created: Option<i64>,
    /// The position in the log that it stands for.
    pub lsn: Option<Lsn>,
    /// The history that the position belongs to, where it says so.
    pub replid: Option<String>,
    /// Keys, and keys with an expiry, of each database.
    pub databases: BTreeMap<DbIndex, (u64, u64)>,
    /// What the file holds and Hardtack has no place for: it is sound, but a start would refuse it.
    pub unsupported: Option<String>,
}

impl RdbContents {
    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|(keys, _)| keys).sum()
    }
}

/// What is wrong with an RDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdbDamage {
    /// Where, if it is a place.
    pub position: Option<u64>,
    /// What, in words.
    pub what: String,
}

/// What a file of commands holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandContents {
    /// Frames with commands; none in a file of another server.
    pub frames: u64,
    /// Commands.
    pub commands: u64,
    /// When the first and the last frame were written.
    pub times: Option<(UnixMillis, UnixMillis)>,
}

type BaseOutcome = Result<RdbContents, RdbDamage>;

/// Takes what is read of a log, and counts it.
pub(super) struct Counter<'p> {
    disk: Arc<dyn Disk>,
    /// Of the file that is being read.
    pub commands: CommandContents,
    /// Bases that have been read: they are read once only.
    pub bases: BTreeMap<PathBuf, BaseOutcome>,
    on_bytes: OnBytes<'p>,
}

impl<'p> Counter<'p> {
    pub fn new(disk: Arc<dyn Disk>, on_bytes: OnBytes<'p>) -> Counter<'p> {
        Counter {
            disk,
            commands: CommandContents::default(),
            bases: BTreeMap::new(),
            on_bytes,
        }
    }

    /// What has been counted since the last call.
    pub fn take(&mut self) -> CommandContents {
        std::mem::take(&mut self.commands)
    }

    /// Reads an RDB, unless that has been done.
    pub fn rdb(&mut self, path: &Path) -> &BaseOutcome {
        if !self.bases.contains_key(path) {
            let outcome = read_rdb(&*self.disk, path, self.on_bytes);
            self.bases.insert(path.to_owned(), outcome);
        }
        &self.bases[path]
    }
}

impl ReplayTarget for Counter<'_> {
    fn load_base(&mut self, path: &Path) -> Result<BaseLoaded, ReplayError> {
        match self.rdb(path) {
            Ok(found) => match &found.unsupported {
                Some(what) => Err(ReplayError(what.clone())),
                None => Ok(BaseLoaded {
                    lsn: found.lsn,
                    rdb_bytes: Some(found.bytes),
                }),
            },
            Err(damage) => Err(ReplayError(damage.what.clone())),
        }
    }

    fn base_lsn(&mut self, path: &Path) -> Option<Lsn> {
        read_rdb_header(&*self.disk, path).ok()?.lsn
    }

    fn replay(
        &mut self,
        payload: &[u8],
        _: Lsn,
        ts: Option<UnixMillis>,
    ) -> Result<(), ReplayError> {
        let mut rest = payload;
        while command::decode(&mut rest).is_some() {
            self.commands.commands += 1;
        }
        if !rest.is_empty() {
            return Err(ReplayError("a command is malformed".into()));
        }
        if let Some(ts) = ts {
            self.commands.frames += 1;
            let first = self.commands.times.map_or(ts, |(first, _)| first);
            self.commands.times = Some((first, ts));
        }
        (self.on_bytes)(payload.len() as u64);
        Ok(())
    }
}

fn read_rdb(disk: &dyn Disk, path: &Path, on_bytes: OnBytes<'_>) -> BaseOutcome {
    let unreadable = |error: std::io::Error| RdbDamage {
        position: None,
        what: format!("it cannot be read: {error}"),
    };
    let file = disk.open(path).map_err(unreadable)?;
    let bytes = file.len().map_err(unreadable)?;
    let view = file.view(bytes).map_err(unreadable)?;
    let mut counting = RdbCounter {
        found: RdbContents::default(),
        db: 0,
        offset: None,
        reported: 0,
        on_bytes,
    };
    let options = LoadOptions {
        limits: &Limits::default(),
        verify_checksum: true,
    };
    let outcome = rdb::load_slice(&view, &options, &mut counting);
    (counting.on_bytes)(bytes.saturating_sub(counting.reported));
    let (offset, mut found) = (counting.offset, counting.found);
    // A snapshot for the log says its position in our own words, another one in Redis's.
    found.lsn = found.lsn.or(offset);
    match outcome {
        Ok(loaded) => {
            found.version = loaded.version;
            found.bytes = loaded.bytes;
            found.is_checked = loaded.checksum == Checksum::Verified;
            Ok(found)
        }
        Err(error @ RdbError::Unsupported { .. }) => {
            // All of the file was walked over for its checksum before.
            let (checksum, bytes) = rdb::verify_slice(&view).map_err(|error| damage(&error))?;
            found.bytes = bytes;
            found.is_checked = checksum == Checksum::Verified;
            found.unsupported = Some(error.to_string());
            Ok(found)
        }
        Err(error) => Err(damage(&error)),
    }
}

/// Reads what an RDB says of itself, and nothing that comes after its first key: what is there may be damaged.
pub(crate) fn read_rdb_header(disk: &dyn Disk, path: &Path) -> BaseOutcome {
    let unreadable = |error: std::io::Error| RdbDamage {
        position: None,
        what: format!("it cannot be read: {error}"),
    };
    let file = disk.open(path).map_err(unreadable)?;
    let mut reader = BufReader::new(FileReader { file, position: 0 });
    let mut header = HeaderOnly {
        counter: RdbCounter {
            found: RdbContents::default(),
            db: 0,
            offset: None,
            reported: 0,
            on_bytes: &mut |_| {},
        },
        ended: false,
    };
    let options = LoadOptions {
        limits: &Limits::default(),
        verify_checksum: false,
    };
    let outcome = rdb::load_stream(&mut reader, &options, &mut header);
    let (ended, counter) = (header.ended, header.counter);
    match outcome {
        Err(error) if !ended => Err(damage(&error)),
        _ => Ok(RdbContents {
            lsn: counter.found.lsn.or(counter.offset),
            ..counter.found
        }),
    }
}

/// A file, read from its beginning.
struct FileReader {
    file: Box<dyn DiskFile>,
    position: u64,
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buf, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Takes the information fields, and ends the load behind them.
struct HeaderOnly<'p> {
    counter: RdbCounter<'p>,
    ended: bool,
}

impl HeaderOnly<'_> {
    fn end(&mut self) -> Result<(), Refused> {
        self.ended = true;
        Err(Refused("enough".into()))
    }
}

impl LoadTarget for HeaderOnly<'_> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.counter.aux(name, value)
    }

    fn select_db(&mut self, _: DbIndex) -> Result<(), Refused> {
        self.end()
    }

    fn function(&mut self, _: &[u8]) -> Result<(), Refused> {
        self.end()
    }

    fn string(&mut self, _: &[u8], _: &[u8], _: &Meta) -> Result<(), Refused> {
        self.end()
    }

    fn object(&mut self, _: &[u8], _: Object, _: &Meta) -> Result<(), Refused> {
        self.end()
    }
}

fn damage(error: &RdbError) -> RdbDamage {
    let position = match error {
        RdbError::NotRdb { .. } | RdbError::Version { .. } => Some(0),
        RdbError::Truncated { offset, .. }
        | RdbError::Checksum { offset, .. }
        | RdbError::Corrupt { offset, .. }
        | RdbError::Container { offset, .. }
        | RdbError::Unsupported { offset, .. }
        | RdbError::Refused { offset, .. } => Some(*offset),
        RdbError::Io(_) => None,
    };
    RdbDamage {
        position,
        what: error.to_string(),
    }
}

/// Counts what an RDB holds.
struct RdbCounter<'p> {
    found: RdbContents,
    db: DbIndex,
    offset: Option<Lsn>,
    reported: u64,
    on_bytes: OnBytes<'p>,
}

impl RdbCounter<'_> {
    fn count(&mut self, meta: &Meta) {
        let (keys, expires) = self.found.databases.entry(self.db).or_default();
        *keys += 1;
        *expires += u64::from(meta.expire.is_some());
    }
}

impl LoadTarget for RdbCounter<'_> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let text = || String::from_utf8_lossy(value).into_owned();
        let number = crate::text::integer::parse_i64(value);
        let position = number
            .and_then(|number| u64::try_from(number).ok())
            .map(Lsn);
        match name {
            b"redis-ver" => self.found.writer = Some(text()),
            b"ctime" => self.found.created = number,
            b"repl-id" => self.found.replid = Some(text()),
            b"repl-offset" => self.offset = position,
            LSN_FIELD => self.found.lsn = position,
            _ => {}
        }
        Ok(())
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.db = db;
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), Refused> {
        self.found.unsupported =
            Some("the file holds functions, which are not supported yet".into());
        Ok(())
    }

    fn string(&mut self, _: &[u8], _: &[u8], meta: &Meta) -> Result<(), Refused> {
        self.count(meta);
        Ok(())
    }

    fn object(&mut self, _: &[u8], _: Object, meta: &Meta) -> Result<(), Refused> {
        self.count(meta);
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        (self.on_bytes)(bytes.saturating_sub(self.reported));
        self.reported = bytes;
        Ok(())
    }
}
