//! The frame around encoded entries: header, information, databases, trailer.

use std::io::{self, Write};

use crate::UnixMillis;

use super::crc64::Crc64;
use super::encode::{Encoder, ValueRef, encode_select, put_length};
use super::format::{MAGIC, Meta, VERSION_AUX, VERSION_WRITE, VERSION_WRITE_MIN, opcode};
use super::scan::{ModuleAux, StoredEntry};

/// Bytes gathered before they go to the sink, so that neither it nor the checksum sees small pieces.
const BUFFER_LEN: usize = 64 * 1024;

/// What a file says about itself; loaders log it, and resume replication from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileInfo<'a> {
    /// The Redis version to name as the producer.
    pub redis_version: &'a str,
    /// The time of the snapshot.
    pub created: UnixMillis,
    /// Bytes of memory in use at that time.
    pub used_memory: u64,
    /// The place in the replication history that the contents stand for.
    pub replication: Option<ReplicationInfo<'a>>,
    /// Whether the file is the base of an append-only file.
    pub aof_base: bool,
}

/// A place in a replication history.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationInfo<'a> {
    /// The database that the replication stream has selected.
    pub stream_db: i64,
    /// The replication id, 40 hexadecimal digits.
    pub id: &'a str,
    /// The offset up to which the contents include the stream.
    pub offset: u64,
}

/// Writes an RDB to a sink, of version [`VERSION_WRITE`] unless another one is asked for.
///
/// Call [`Writer::finish`] at the end: what is dropped before has no trailer, and loses what is still gathered.
pub struct Writer<W: Write> {
    sink: W,
    version: u32,
    buffer: Vec<u8>,
    encoder: Encoder,
    /// `None` if the file is to have no checksum.
    crc: Option<Crc64>,
    /// Bytes that left the buffer.
    flushed: u64,
}

/// What [`Writer::finish`] gives back.
#[derive(Debug)]
pub struct Written<W> {
    /// The sink, flushed by its own `flush`; making it durable is up to the caller.
    pub sink: W,
    /// The length of the RDB.
    pub bytes: u64,
    /// The checksum in the trailer; 0 if there is none.
    pub checksum: u64,
}

impl<W: Write> Writer<W> {
    /// Begins an RDB. `checksum` is `rdbchecksum`, `compress` is `rdbcompression` and counts for [`Writer::entry`].
    pub fn new(sink: W, checksum: bool, compress: bool) -> Writer<W> {
        Writer::with_version(sink, VERSION_WRITE, checksum, compress)
    }

    /// Begins an RDB of `version`, which is [`VERSION_WRITE_MIN`] at least. What an old version has no place for is left
    /// out where no data is lost by it: information fields, the sizes of databases, idle times and frequencies.
    ///
    /// # Panics
    /// If the version is lower than that.
    pub fn with_version(sink: W, version: u32, checksum: bool, compress: bool) -> Writer<W> {
        assert!(version >= VERSION_WRITE_MIN, "version {version}");
        let mut buffer = Vec::with_capacity(BUFFER_LEN);
        buffer.extend_from_slice(MAGIC);
        buffer.extend_from_slice(format!("{version:04}").as_bytes());
        let crc = checksum.then(Crc64::new);
        Writer {
            sink,
            version,
            buffer,
            encoder: Encoder::for_version(version, compress),
            crc,
            flushed: 0,
        }
    }

    /// The length of the RDB up to here.
    pub fn position(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    /// Writes the information fields that Redis writes.
    pub fn file_info(&mut self, info: &FileInfo<'_>) -> io::Result<()> {
        let number = |value: i128| value.to_string().into_bytes();
        self.aux(b"redis-ver", info.redis_version.as_bytes())?;
        self.aux(b"redis-bits", &number(i128::from(usize::BITS)))?;
        self.aux(b"ctime", &number(i128::from(info.created.0 / 1000)))?;
        self.aux(b"used-mem", &number(i128::from(info.used_memory)))?;
        if let Some(replication) = &info.replication {
            self.aux(
                b"repl-stream-db",
                &number(i128::from(replication.stream_db)),
            )?;
            self.aux(b"repl-id", replication.id.as_bytes())?;
            self.aux(b"repl-offset", &number(i128::from(replication.offset)))?;
        }
        self.aux(b"aof-base", &number(i128::from(info.aof_base)))
    }

    /// Writes one information field. Loaders ignore those whose names they do not know.
    pub fn aux(&mut self, name: &[u8], value: &[u8]) -> io::Result<()> {
        if self.version < VERSION_AUX {
            return Ok(());
        }
        self.buffer.push(opcode::AUX);
        self.encoder.string(&mut self.buffer, name);
        self.encoder.string(&mut self.buffer, value);
        self.flush_full()
    }

    /// Writes the source of a function library, which readers know from
    /// [`VERSION_FUNCTIONS`](super::VERSION_FUNCTIONS) on.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.buffer.push(opcode::FUNCTION);
        self.encoder.string(&mut self.buffer, code);
        self.flush_full()
    }

    /// Begins a database, with an estimate of its keys and of those that expire.
    pub fn select_db(&mut self, db: crate::DbIndex, keys: u64, expires: u64) -> io::Result<()> {
        encode_select(&mut self.buffer, db);
        self.resize_hint(keys, expires)
    }

    /// Begins a database about whose size nothing is known.
    pub fn select_unsized_db(&mut self, db: crate::DbIndex) -> io::Result<()> {
        encode_select(&mut self.buffer, db);
        self.flush_full()
    }

    /// Writes an estimate of the keys of the database that was just begun, and of those that expire.
    pub fn resize_hint(&mut self, keys: u64, expires: u64) -> io::Result<()> {
        if self.version >= VERSION_AUX {
            self.buffer.push(opcode::RESIZE_DB);
            put_length(&mut self.buffer, keys);
            put_length(&mut self.buffer, expires);
        }
        self.flush_full()
    }

    /// Writes a key with its value.
    pub fn entry(&mut self, key: &[u8], value: ValueRef<'_>, meta: &Meta) -> io::Result<()> {
        self.encoder.entry(&mut self.buffer, key, value, meta);
        self.flush_full()
    }

    /// Writes a key with its value in the form in which another file has it. Readers must know that form
    /// ([`StoredEntry::version_min`]).
    pub fn copied(&mut self, entry: &StoredEntry<'_, '_>) -> io::Result<()> {
        let (value_type, key_and_value) = entry.stored();
        self.encoder.meta(&mut self.buffer, entry.meta());
        self.buffer.push(value_type);
        self.encoded(key_and_value)
    }

    /// Writes data of a module as another file has it ([`ModuleAux::VERSION_MIN`]).
    pub fn copied_module_aux(&mut self, aux: &ModuleAux<'_>) -> io::Result<()> {
        self.encoded(aux.bytes)
    }

    /// Writes entries that an [`Encoder`] has made.
    pub fn encoded(&mut self, entries: &[u8]) -> io::Result<()> {
        if self.buffer.len() + entries.len() > BUFFER_LEN {
            self.flush_buffer()?;
        }
        if entries.len() < BUFFER_LEN {
            self.buffer.extend_from_slice(entries);
            return Ok(());
        }
        self.write_out(entries)
    }

    /// Writes the trailer and flushes the sink.
    pub fn finish(mut self) -> io::Result<Written<W>> {
        self.buffer.push(opcode::END);
        self.flush_buffer()?;
        let checksum = self.crc.take().map_or(0, |crc| crc.value());
        self.write_out(&checksum.to_le_bytes())?;
        self.sink.flush()?;
        Ok(Written {
            sink: self.sink,
            bytes: self.flushed,
            checksum,
        })
    }

    fn flush_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_LEN {
            self.flush_buffer()
        } else {
            Ok(())
        }
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write_out(&buffer);
        buffer.clear();
        // One large value must not keep its memory for the rest of the walk.
        buffer.shrink_to(2 * BUFFER_LEN);
        self.buffer = buffer;
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.sink.write_all(bytes)?;
        self.flushed += bytes.len() as u64;
        Ok(())
    }
}
