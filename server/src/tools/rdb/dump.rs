//! `hardtack rdb dump`: an RDB file as JSON lines.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::OsStringValueParser;
use hardtack_storage::DbIndex;
use hardtack_storage::rdb::{
    Access, Checksum, Decoded, ModuleAux, RdbError, Refused, ScanTarget, StoredEntry, ValueDecoder,
    scan_slice,
};
use hardtack_storage::text::glob;
use hardtack_storage::value::Limits;
use serde::Serialize;

use super::input::{Flaw, Input};
use super::value::JsonValue;
use crate::tools::bytes::Json;
use crate::tools::out::{Out, note};
use crate::tools::progress::{Progress, Unit};
use crate::tools::{Failure, Verdict};

const AFTER_HELP: &str = "\
Each line is an object:
  {\"db\":0,\"key\":\"k\",\"type\":\"list\",\"encoding\":\"quicklist2\",\"expires_at_ms\":1700000000123,\"elements\":2,
   \"value\":[\"a\",\"b\"]}
\"expires_at_ms\", \"idle_seconds\" and \"frequency\" are there if the file has them, \"elements\" unless the value is a
string. \"encoding\" is the form in which the file has the value. Hashes and sorted sets are arrays of pairs,
[[field, value], ...] and [[member, score], ...]; scores are numbers, \"inf\" or \"-inf\". Bytes that are not UTF-8 are
{\"base64\":\"...\"} in place of a string, keys too.

What is not known here, streams and values of modules, has \"skipped\" with the reason and \"bytes\" in place of a value; a value
that is damaged has \"error\". Without --db and --keys, function libraries are {\"function\":\"...\"} and data of modules
{\"module_aux\":\"NAME\",\"bytes\":n}.

The summary goes to standard error, or, with --json, to the last line: {\"summary\":{...}}.

Exit codes:
  0  all was read, and the checksum is right (or there is none)
  1  the file is damaged; what could be read has been printed
  2  it could not be done: wrong usage, not an RDB file, a type that does not say where it ends, an I/O error";

/// What to print.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The RDB file: dump.rdb, the base of a log, or any server's of versions 1 to 13
    file: PathBuf,
    /// Only the keys of this database (may be given several times)
    #[arg(long, value_name = "N")]
    db: Vec<DbIndex>,
    /// Only keys that match this pattern, as of KEYS
    #[arg(long, value_name = "GLOB", value_parser = OsStringValueParser::new())]
    keys: Option<OsString>,
    /// Leave the values out
    #[arg(long)]
    no_values: bool,
    /// The summary as a last line of JSON on standard output, instead of text on standard error
    #[arg(long)]
    json: bool,
}

/// Prints the file.
pub fn run(args: &Args) -> Result<Verdict, Failure> {
    let input = Input::open(&args.file)?;
    let checksum = input.checksum();
    let mut dump = Dump {
        args,
        progress: Progress::beside_lines("Reading", input.bytes().len() as u64, Unit::Bytes),
        out: Out::new(),
        decoder: ValueDecoder::default(),
        limits: Limits::default(),
        db: 0,
        summary: Summary::default(),
        failure: None,
    };
    let outcome = scan_slice(input.bytes(), &mut dump);
    let Dump {
        mut out,
        mut summary,
        failure,
        progress,
        ..
    } = dump;
    drop(progress);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let flaw = match outcome {
        Ok(loaded) => {
            summary.version = loaded.version;
            summary.bytes = loaded.bytes;
            summary.bytes_after = input.bytes().len() as u64 - loaded.bytes;
            checksum_flaw(&input, checksum, &mut summary)
        }
        Err(error) => Some(input.flaw(error)),
    };
    summary.error = flaw.as_ref().map(|flaw| flaw.text.clone());
    if args.json {
        out.json(&serde_json::json!({ "summary": summary }))?;
    }
    out.flush()?;
    if !args.json {
        summary.print();
    }
    match flaw {
        None if summary.damaged == 0 => Ok(Verdict::Fine),
        None => Ok(Verdict::NotFine),
        Some(Flaw { text, is_damage }) if is_damage => {
            note(format_args!("hardtack: {text}"));
            Ok(Verdict::NotFine)
        }
        Some(flaw) => Err(Failure::new(flaw.text)),
    }
}

/// Notes what became of the checksum; one that is wrong is a flaw.
fn checksum_flaw(
    input: &Input,
    checksum: Result<Checksum, RdbError>,
    summary: &mut Summary,
) -> Option<Flaw> {
    summary.checksum = match &checksum {
        Ok(Checksum::Verified) => "verified",
        Ok(Checksum::Absent | Checksum::Ignored) => "absent",
        Err(_) => "wrong",
    };
    checksum.err().map(|error| input.flaw(error))
}

/// What is known at the end.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Of the format.
    version: u32,
    /// Of the RDB,
    bytes: u64,
    /// and what stands behind it in the file: the commands of an append-only file.
    bytes_after: u64,
    checksum: &'static str,
    keys: u64,
    /// How many of them were printed.
    printed: u64,
    expiring: u64,
    /// Keys whose values are not known here,
    skipped: u64,
    /// and those whose values are damaged.
    damaged: u64,
    functions: u64,
    databases: BTreeMap<DbIndex, u64>,
    types: BTreeMap<String, u64>,
    /// Information about the file: names and values.
    aux: Vec<(String, String)>,
    error: Option<String>,
}

impl Summary {
    fn print(&self) {
        note(format_args!(
            "{} keys in {} databases, {} with an expiry; {} printed",
            self.keys,
            self.databases.len(),
            self.expiring,
            self.printed
        ));
        let counts = |name: &str, list: Vec<String>| {
            if !list.is_empty() {
                note(format_args!("{name}: {}", list.join(", ")));
            }
        };
        let databases = self.databases.iter();
        counts(
            "databases",
            databases
                .map(|(db, keys)| format!("{db}: {keys}"))
                .collect(),
        );
        let types = self.types.iter();
        counts(
            "types",
            types
                .map(|(name, keys)| format!("{name}: {keys}"))
                .collect(),
        );
        let aux = self.aux.iter();
        counts(
            "about the file",
            aux.map(|(name, value)| format!("{name}={value}")).collect(),
        );
        if self.skipped > 0 {
            note(format_args!(
                "{} values of other servers skipped",
                self.skipped
            ));
        }
        if self.damaged > 0 {
            note(format_args!("{} values are damaged", self.damaged));
        }
        if self.error.is_none() {
            note(format_args!(
                "RDB version {}, {} bytes, checksum {}",
                self.version, self.bytes, self.checksum
            ));
        }
        if self.bytes_after > 0 {
            note(format_args!(
                "{} bytes follow in the file that are not part of the RDB",
                self.bytes_after
            ));
        }
    }
}

/// One line.
#[derive(Serialize)]
struct Line<'a, V: Serialize> {
    db: DbIndex,
    key: Json<'a>,
    #[serde(rename = "type")]
    type_name: &'a str,
    encoding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency: Option<u8>,
    #[serde(flatten)]
    rest: V,
}

impl<'a, V: Serialize> Line<'a, V> {
    fn new(db: DbIndex, entry: &'a StoredEntry<'_, '_>, rest: V) -> Line<'a, V> {
        let access = entry.meta().access;
        Line {
            db,
            key: Json(entry.key()),
            type_name: entry.type_name(),
            encoding: entry.encoding(),
            expires_at_ms: entry.meta().expire.map(|at| at.0),
            idle_seconds: match access {
                Some(Access::IdleSeconds(seconds)) => Some(seconds),
                _ => None,
            },
            frequency: match access {
                Some(Access::Frequency(frequency)) => Some(frequency),
                _ => None,
            },
            rest,
        }
    }
}

#[derive(Serialize)]
struct Known<'a, 's> {
    #[serde(skip_serializing_if = "Option::is_none")]
    elements: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<JsonValue<'a, 's>>,
}

#[derive(Serialize)]
struct Skipped {
    skipped: String,
    bytes: usize,
}

#[derive(Serialize)]
struct Damaged {
    error: String,
}

#[derive(Serialize)]
struct Function<'a> {
    function: Json<'a>,
}

#[derive(Serialize)]
struct Module<'a> {
    module_aux: &'a str,
    bytes: usize,
}

struct Dump<'a> {
    args: &'a Args,
    progress: Progress,
    out: Out,
    decoder: ValueDecoder,
    limits: Limits,
    db: DbIndex,
    summary: Summary,
    /// Why the walk was ended, if it was not the file's fault.
    failure: Option<Failure>,
}

impl Dump<'_> {
    /// Counts a key; true if it is to be printed.
    fn count(&mut self, entry: &StoredEntry<'_, '_>) -> bool {
        let (key, type_name) = (entry.key(), entry.type_name());
        let summary = &mut self.summary;
        summary.keys += 1;
        summary.expiring += u64::from(entry.meta().expire.is_some());
        *summary.databases.entry(self.db).or_default() += 1;
        match summary.types.get_mut(type_name) {
            Some(count) => *count += 1,
            None => drop(summary.types.insert(type_name.to_owned(), 1)),
        }
        let args = self.args;
        let matches = (args.db.is_empty() || args.db.contains(&self.db))
            && args
                .keys
                .as_ref()
                .is_none_or(|pattern| glob::matches(pattern.as_bytes(), key, false));
        summary.printed += u64::from(matches);
        matches
    }

    /// Prints a line if it is wanted; a refusal if that fails.
    fn print_if(&mut self, is_wanted: bool, line: &impl Serialize) -> Result<(), Refused> {
        if !is_wanted {
            return Ok(());
        }
        self.out.json(line).map_err(|failure| {
            self.failure = Some(failure);
            Refused("standard output".to_owned())
        })
    }

    fn is_filtered(&self) -> bool {
        !self.args.db.is_empty() || self.args.keys.is_some()
    }
}

impl<'a> ScanTarget<'a> for Dump<'_> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.summary.aux.push((text(name), text(value)));
        Ok(())
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.db = db;
        Ok(())
    }

    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        self.summary.functions += 1;
        let line = Function {
            function: Json(code),
        };
        self.print_if(!self.is_filtered(), &line)
    }

    fn entry(&mut self, entry: StoredEntry<'_, 'a>) -> Result<(), Refused> {
        let matches = self.count(&entry);
        let db = self.db;
        if let Some(feature) = entry.foreign() {
            self.summary.skipped += 1;
            let rest = Skipped {
                skipped: feature.to_string(),
                bytes: entry.value().1.len(),
            };
            return self.print_if(matches, &Line::new(db, &entry, rest));
        }
        let mut decoder = std::mem::take(&mut self.decoder);
        let limits = self.limits;
        let printed = decoder.decode(&entry, &limits, |value| {
            let rest = Known {
                elements: match &value {
                    Decoded::String(_) => None,
                    Decoded::Object(object) => Some(object.len()),
                    Decoded::Empty => Some(0),
                },
                value: (!self.args.no_values).then_some(JsonValue(&value)),
            };
            self.print_if(matches, &Line::new(db, &entry, rest))
        });
        self.decoder = decoder;
        printed.unwrap_or_else(|error| {
            self.summary.damaged += 1;
            let rest = Damaged {
                error: error.to_string(),
            };
            self.print_if(matches, &Line::new(db, &entry, rest))
        })
    }

    fn module_aux(&mut self, aux: ModuleAux<'a>) -> Result<(), Refused> {
        let line = Module {
            module_aux: aux.name(),
            bytes: aux.encoded().len(),
        };
        self.print_if(!self.is_filtered(), &line)
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        self.progress.set(bytes);
        Ok(())
    }
}
