//! `hardtack rdb convert`: an RDB file for a server of another version.
//!
//! What the wanted version can read is copied as it is stored, after it has been decoded once to see that it is sound;
//! the rest is written anew in the older forms. Keys that cannot be written at all are listed.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hardtack_storage::DbIndex;
use hardtack_storage::rdb::{
    Decoded, ModuleAux, RdbError, Refused, ScanTarget, StoredEntry, VERSION_FUNCTIONS,
    VERSION_READ_MAX, VERSION_WRITE_MIN, ValueDecoder, ValueRef, Writer, scan_slice,
};
use hardtack_storage::value::Limits;
use serde::Serialize;

use super::input::Input;
use crate::tools::bytes::{Json, Quoted};
use crate::tools::out::Out;
use crate::tools::progress::{Progress, Unit};
use crate::tools::{Failure, Verdict};

const AFTER_HELP: &str = "\
Versions of the format, and the servers that write them:
  6   Redis 2.6, 2.8, 3.0            10  Redis 7.0, Hardtack
  7   Redis 3.2                      11  Redis 7.2, Valkey 7.2 and 8
  8   Redis 4.0                      12  Redis 7.4
  9   Redis 5.0, 6.0, 6.2            13  later ones
Every server reads the versions before its own.

Values in a form that is newer than the wanted version are written in an older form. What has none is left out and listed:
newer kinds of streams, hashes whose fields expire, values and data of modules, function libraries. Before version 9 there
are no idle times and frequencies of use, before 7 no information about the file; these are left out without a word.

OUT appears under its name when it is complete and on the disk. It is not made if IN is damaged.

Exit codes:
  0  OUT holds all that IN held
  1  OUT was made and lacks what is listed; or IN is damaged and there is no OUT
  2  it could not be done: wrong usage, OUT exists, a type that does not say where it ends, an I/O error";

/// What to convert.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The RDB file to read
    #[arg(value_name = "IN")]
    from: PathBuf,
    /// The RDB file to make
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// The version of the format
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(i64::from(VERSION_WRITE_MIN)..=i64::from(VERSION_READ_MAX))
    )]
    to_version: u32,
    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Converts the file.
pub fn run(args: &Args) -> Result<Verdict, Failure> {
    let input = Input::open(&args.from)?;
    if !args.force && args.to.symlink_metadata().is_ok() {
        return Err(Failure::new(format!(
            "{} exists; --force replaces it",
            args.to.display()
        )));
    }
    if let Some(verdict) = input.refusal()? {
        return Ok(verdict);
    }
    let temporary = Temporary::create(&args.to)?;
    let mut convert = Convert {
        to_version: args.to_version,
        progress: Progress::new("Converting", input.bytes().len() as u64, Unit::Bytes),
        writer: Writer::with_version(BufWriter::new(&temporary.file), args.to_version, true, true),
        decoder: ValueDecoder::default(),
        limits: Limits::default(),
        report: Report::default(),
        db: 0,
        ended: None,
    };
    let outcome = scan_slice(input.bytes(), &mut convert);
    let Convert {
        writer,
        mut report,
        ended,
        ..
    } = convert;
    report.from_version = match (outcome, ended) {
        (_, Some(Ended::Writing(error))) => return Err(temporary.failure(&error)),
        (_, Some(Ended::Reading(error))) | (Err(error), None) => return input.refuse(error),
        (Ok(scanned), None) => scanned.version,
    };
    report.to_version = args.to_version;
    report.bytes = match writer.finish() {
        Ok(written) => written.bytes,
        Err(error) => return Err(temporary.failure(&error)),
    };
    temporary.put_in_place(&args.to, args.force)?;
    report.print(args)?;
    Ok(if report.lost.is_empty() {
        Verdict::Fine
    } else {
        Verdict::NotFine
    })
}

/// What has been done.
#[derive(Debug, Default, Serialize)]
struct Report {
    from_version: u32,
    to_version: u32,
    /// The length of the new file.
    bytes: u64,
    /// Keys in it.
    keys: u64,
    /// How many of them have values that had to be written in an older form.
    rewritten: u64,
    /// Keys whose collections have no elements, which no server keeps.
    empty: u64,
    lost: Vec<Lost>,
}

/// Something that the wanted version has no form for.
#[derive(Debug, Serialize)]
struct Lost {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    db: Option<DbIndex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<OwnedKey>,
    /// The first version that has.
    version_needed: u32,
}

#[derive(Debug)]
struct OwnedKey(Vec<u8>);

impl Serialize for OwnedKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json(&self.0).serialize(serializer)
    }
}

impl Report {
    fn print(&self, args: &Args) -> Result<(), Failure> {
        let mut out = Out::new();
        if args.json {
            out.json(self)?;
            return out.flush();
        }
        for lost in &self.lost {
            let place = match (&lost.db, &lost.key) {
                (Some(db), Some(key)) => format!("db {db}, key {}: ", Quoted(&key.0)),
                _ => String::new(),
            };
            let (what, version) = (&lost.what, lost.version_needed);
            out.line(format_args!("lost: {place}{what} needs version {version}"))?;
        }
        if self.empty > 0 {
            out.line(format_args!(
                "{} keys without elements left out",
                self.empty
            ))?;
        }
        out.line(format_args!(
            "{}: RDB version {} (from {}), {} keys, {} of them rewritten in an older form, {} lost, {} bytes",
            args.to.display(),
            self.to_version,
            self.from_version,
            self.keys,
            self.rewritten,
            self.lost.len(),
            self.bytes
        ))?;
        out.flush()
    }
}

/// Why a conversion ended early.
enum Ended {
    Writing(io::Error),
    Reading(RdbError),
}

struct Convert<W: Write> {
    to_version: u32,
    progress: Progress,
    writer: Writer<W>,
    decoder: ValueDecoder,
    limits: Limits,
    report: Report,
    db: DbIndex,
    ended: Option<Ended>,
}

impl<W: Write> Convert<W> {
    /// Goes on if that has been written.
    fn is_written(&mut self, written: io::Result<()>) -> Result<(), Refused> {
        written.map_err(|error| self.end(Ended::Writing(error)))
    }

    fn end(&mut self, ended: Ended) -> Refused {
        self.ended = Some(ended);
        Refused("the conversion has ended".to_owned())
    }

    fn lose(&mut self, what: String, key: Option<&[u8]>, version_needed: u32) {
        self.report.lost.push(Lost {
            what,
            db: key.map(|_| self.db),
            key: key.map(|key| OwnedKey(key.to_vec())),
            version_needed,
        });
    }
}

impl<'a, W: Write> ScanTarget<'a> for Convert<W> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let written = self.writer.aux(name, value);
        self.is_written(written)
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.db = db;
        let written = self.writer.select_unsized_db(db);
        self.is_written(written)
    }

    fn resize_hint(&mut self, keys: u64, expires: u64) {
        if let Err(error) = self.writer.resize_hint(keys, expires) {
            self.ended = Some(Ended::Writing(error));
        }
    }

    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        if self.to_version < VERSION_FUNCTIONS {
            // The first line has its name.
            let line = code.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let what = format!("function library {}", Quoted(line));
            self.lose(what, None, VERSION_FUNCTIONS);
            return Ok(());
        }
        let written = self.writer.function(code);
        self.is_written(written)
    }

    fn module_aux(&mut self, aux: ModuleAux<'a>) -> Result<(), Refused> {
        if self.to_version < ModuleAux::VERSION_MIN {
            let what = format!("data of module '{}'", aux.name());
            self.lose(what, None, ModuleAux::VERSION_MIN);
            return Ok(());
        }
        let written = self.writer.copied_module_aux(&aux);
        self.is_written(written)
    }

    fn entry(&mut self, entry: StoredEntry<'_, 'a>) -> Result<(), Refused> {
        let is_known = entry.version_min() <= self.to_version;
        if let Some(feature) = entry.foreign() {
            if !is_known {
                let what = format!("{} ({})", feature.noun(), entry.encoding());
                self.lose(what, Some(entry.key()), entry.version_min());
                return Ok(());
            }
            self.report.keys += 1;
            let written = self.writer.copied(&entry);
            return self.is_written(written);
        }
        let mut decoder = std::mem::take(&mut self.decoder);
        let limits = self.limits;
        let written = decoder.decode(&entry, &limits, |value| {
            let value = match &value {
                Decoded::Empty => {
                    self.report.empty += 1;
                    return Ok(());
                }
                Decoded::String(bytes) => ValueRef::String(bytes),
                Decoded::Object(object) => ValueRef::Object(object),
            };
            self.report.keys += 1;
            if is_known {
                return self.writer.copied(&entry);
            }
            self.report.rewritten += 1;
            self.writer.entry(entry.key(), value, entry.meta())
        });
        self.decoder = decoder;
        match written {
            Ok(written) => self.is_written(written),
            Err(error) => Err(self.end(Ended::Reading(error))),
        }
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        self.progress.set(bytes);
        Ok(())
    }
}

/// The file that is written, until it has its name.
struct Temporary {
    path: PathBuf,
    file: File,
    is_in_place: Cell<bool>,
}

impl Temporary {
    /// Creates a file beside the one that is wanted.
    fn create(wanted: &Path) -> Result<Temporary, Failure> {
        let Some(name) = wanted.file_name() else {
            return Err(Failure::new(format!(
                "{} is not the name of a file",
                wanted.display()
            )));
        };
        let mut temporary = std::ffi::OsString::from(format!("temp-{}-", std::process::id()));
        temporary.push(name);
        let path = wanted.with_file_name(temporary);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        match options.open(&path) {
            Ok(file) => Ok(Temporary {
                path,
                file,
                is_in_place: Cell::new(false),
            }),
            Err(error) => Err(Failure::new(format!(
                "can't create {}: {error}",
                path.display()
            ))),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new(format!("can't write {}: {error}", self.path.display()))
    }

    /// Makes the contents durable and gives the file its name.
    fn put_in_place(&self, wanted: &Path, replace: bool) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.failure(&error))?;
        let named = if replace {
            fs::rename(&self.path, wanted)
        } else {
            // A rename would replace what has appeared there meanwhile; this does not.
            fs::hard_link(&self.path, wanted).and_then(|()| fs::remove_file(&self.path))
        };
        named
            .map_err(|error| Failure::new(format!("can't create {}: {error}", wanted.display())))?;
        self.is_in_place.set(true);
        let dir = match wanted.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| Failure::new(format!("can't sync {}: {error}", dir.display())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_in_place.get() {
            // The error that matters has been reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}
