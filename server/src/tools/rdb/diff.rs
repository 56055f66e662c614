//! `hardtack rdb diff`: two RDB files key by key.
//!
//! Of the first file only hashes are kept: 128 bits of each key with its database, 128 bits of its value, its type and
//! its expiry. The second file is held against them, and the first is read once more if keys of it were not found, for
//! their names. The hashes are keyed at random, so nobody can make two values that look the same.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use hardtack_storage::DbIndex;
use hardtack_storage::rdb::{
    Decoded, Feature, ModuleAux, RdbError, Refused, ScanTarget, StoredEntry, ValueDecoder,
    scan_slice,
};
use hardtack_storage::value::{Limits, Object};
use serde::Serialize;

use super::input::Input;
use crate::tools::bytes::{Json, Quoted};
use crate::tools::out::Out;
use crate::tools::progress::{Progress, Unit};
use crate::tools::{Failure, Verdict};

const AFTER_HELP: &str = "\
Each line is a key that differs:
  - db 0 \"k\": string            only A has it
  + db 0 \"k\": list              only B has it
  ~ db 0 \"k\": type hash, zset   both have it, with another type, value or expiry (in ms since 1970)
A key that differs in several ways is named for the first of them, in that order. How values are stored, the order of the keys,
idle times and frequencies make no difference. Values that are not known here (streams, values of modules) are compared
byte by byte as they are stored; so are function libraries and data of modules, as a whole. With --json each line is an object,
{\"db\":0,\"key\":\"k\",\"difference\":\"missing\",...}, and the last one is {\"summary\":{...}}.

Memory: 50 to 110 bytes for each key of A, however long keys and values are, and the largest single value.

Exit codes:
  0  no difference
  1  there are differences; or one of the files is damaged, and standard error says which
  2  it could not be done: wrong usage, not an RDB file, a type that does not say where it ends, an I/O error";

/// What to compare.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The RDB file to begin with
    a: PathBuf,
    /// The RDB file to hold against it
    b: PathBuf,
    /// Expiries may differ
    #[arg(long)]
    ignore_expiry: bool,
    /// Only the summary
    #[arg(long)]
    brief: bool,
    /// JSON lines instead of text
    #[arg(long)]
    json: bool,
}

/// Compares the files.
pub fn run(args: &Args) -> Result<Verdict, Failure> {
    let (a, b) = (Input::open(&args.a)?, Input::open(&args.b)?);
    for input in [&a, &b] {
        if let Some(verdict) = input.refusal()? {
            return Ok(verdict);
        }
    }
    let mut diff = Diff {
        args,
        out: Out::new(),
        keys: HashMap::new(),
        summary: Summary::default(),
        hashes: Hashes::default(),
        ended: None,
    };
    let mut beside = [Beside::default(), Beside::default()];
    for (input, pass) in [(&a, Pass::Keep), (&b, Pass::Compare), (&a, Pass::Missing)] {
        if pass == Pass::Missing {
            diff.summary.missing = diff.summary.keys_a - diff.summary.common;
            if diff.summary.missing == 0 || args.brief {
                break;
            }
        }
        let (doing, total) = (pass.doing(), input.bytes().len() as u64);
        let mut walk = Walk {
            progress: Progress::beside_lines(doing, total, Unit::Bytes),
            pass,
            db: 0,
            decoder: ValueDecoder::default(),
            beside: Beside::default(),
            diff: &mut diff,
        };
        let outcome = scan_slice(input.bytes(), &mut walk);
        match pass {
            Pass::Keep => beside[0] = walk.beside,
            Pass::Compare => beside[1] = walk.beside,
            Pass::Missing => {}
        }
        match (outcome, diff.ended.take()) {
            (_, Some(Ended::Failed(failure))) => return Err(failure),
            (_, Some(Ended::Reading(error))) | (Err(error), None) => return input.refuse(error),
            (_, Some(Ended::Twice(text))) => {
                let path = input.path.display();
                return Err(Failure::new(format!("{path} holds {text} twice")));
            }
            (Ok(_), None) => {}
        }
    }
    diff.summary.functions_differ = beside[0].functions != beside[1].functions;
    diff.summary.module_data_differ = beside[0].modules != beside[1].modules;
    diff.finish()
}

/// What is done in a walk over one of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// A is taken down.
    Keep,
    /// B is held against it.
    Compare,
    /// A is asked for the names of what B lacks.
    Missing,
}

impl Pass {
    fn doing(self) -> &'static str {
        match self {
            Pass::Keep => "Reading A",
            Pass::Compare => "Comparing B",
            Pass::Missing => "Naming what B lacks",
        }
    }
}

/// Two independent 64-bit hashes.
type Hash128 = [u64; 2];

/// What makes hashes.
#[derive(Default)]
struct Hashes {
    states: [RandomState; 2],
}

impl Hashes {
    /// Hashes byte strings in their order.
    fn of<'b>(&self, parts: impl Iterator<Item = &'b [u8]>) -> Hash128 {
        let mut hashers = [self.states[0].build_hasher(), self.states[1].build_hasher()];
        for part in parts {
            for hasher in &mut hashers {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
        }
        hashers.map(|hasher| hasher.finish())
    }

    fn key(&self, db: DbIndex, key: &[u8]) -> Hash128 {
        self.of([&db.to_le_bytes()[..], key].into_iter())
    }

    /// Hashes a value by what it is, not by how it is stored.
    fn value(&self, value: &Decoded<'_>) -> Hash128 {
        let object = match value {
            Decoded::Empty => return [0; 2],
            Decoded::String(bytes) => return self.of([*bytes].into_iter()),
            Decoded::Object(object) => object,
        };
        match object {
            Object::List(list) => self.of(list.iter()),
            // Sums, because the order of these means nothing.
            Object::Set(set) => set.iter().fold([0; 2], |sum, member| {
                add(sum, self.of([&member[..]].into_iter()))
            }),
            Object::Hash(hash) => hash.iter().fold([0; 2], |sum, (field, value)| {
                add(sum, self.of([field, value].into_iter()))
            }),
            Object::ZSet(zset) => zset.iter().fold([0; 2], |sum, (member, score)| {
                // Zero has two forms, which are equal.
                let score = (score + 0.0).to_le_bytes();
                add(sum, self.of([member, &score[..]].into_iter()))
            }),
        }
    }
}

fn add(a: Hash128, b: Hash128) -> Hash128 {
    [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
}

/// What is kept of a key of A.
struct Kept {
    value: Hash128,
    expire: Option<i64>,
    kind: Kind,
    is_found: bool,
}

/// A type of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    String,
    List,
    Set,
    Hash,
    ZSet,
    Stream,
    ExpiringHash,
    Module,
}

impl Kind {
    fn of(entry: &StoredEntry<'_, '_>) -> Kind {
        match (entry.foreign(), entry.type_name()) {
            (Some(Feature::Stream), _) => Kind::Stream,
            (Some(Feature::HashFieldExpiry), _) => Kind::ExpiringHash,
            (Some(_), _) => Kind::Module,
            (None, "list") => Kind::List,
            (None, "set") => Kind::Set,
            (None, "hash") => Kind::Hash,
            (None, "zset") => Kind::ZSet,
            (None, _) => Kind::String,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Hash => "hash",
            Kind::ZSet => "zset",
            Kind::Stream => "stream",
            Kind::ExpiringHash => "hash with expiring fields",
            Kind::Module => "value of a module",
        }
    }
}

/// What a file has beside its keys.
#[derive(Debug, Default, PartialEq, Eq)]
struct Beside {
    functions: Hash128,
    modules: Hash128,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    keys_a: u64,
    keys_b: u64,
    /// Keys that both have.
    common: u64,
    /// Keys that only A has,
    missing: u64,
    /// and those that only B has.
    extra: u64,
    type_differs: u64,
    value_differs: u64,
    expiry_differs: u64,
    functions_differ: bool,
    module_data_differ: bool,
}

/// A line about a key.
#[derive(Serialize)]
struct Line<'a> {
    db: DbIndex,
    key: Json<'a>,
    difference: &'static str,
    #[serde(rename = "type")]
    type_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_b: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<[Option<i64>; 2]>,
}

enum Ended {
    Failed(Failure),
    Reading(RdbError),
    Twice(String),
}

struct Diff<'d> {
    args: &'d Args,
    out: Out,
    keys: HashMap<Hash128, Kept>,
    summary: Summary,
    hashes: Hashes,
    ended: Option<Ended>,
}

impl Diff<'_> {
    fn print(&mut self, line: &Line<'_>) -> Result<(), Refused> {
        if self.args.brief {
            return Ok(());
        }
        let printed = if self.args.json {
            self.out.json(line)
        } else {
            let (db, key, name) = (line.db, Quoted(line.key.0), line.type_name);
            match line.difference {
                "missing" => self.out.line(format_args!("- db {db} {key}: {name}")),
                "extra" => self.out.line(format_args!("+ db {db} {key}: {name}")),
                "type" => {
                    let other = line.type_b.unwrap_or_default();
                    self.out
                        .line(format_args!("~ db {db} {key}: type {name}, {other}"))
                }
                "expiry" => {
                    let [a, b] = line
                        .expires_at_ms
                        .unwrap_or_default()
                        .map(|at| at.map_or_else(|| "none".to_owned(), |at| at.to_string()));
                    self.out
                        .line(format_args!("~ db {db} {key}: expiry {a}, {b}"))
                }
                difference => self
                    .out
                    .line(format_args!("~ db {db} {key}: {difference} of the {name}")),
            }
        };
        printed.map_err(|failure| self.end(Ended::Failed(failure)))
    }

    fn end(&mut self, ended: Ended) -> Refused {
        self.ended = Some(ended);
        Refused("the comparison has ended".to_owned())
    }

    fn finish(mut self) -> Result<Verdict, Failure> {
        let summary = &self.summary;
        if self.args.json {
            self.out.json(&serde_json::json!({ "summary": summary }))?;
        } else {
            for (differs, what) in [
                (summary.functions_differ, "~ function libraries"),
                (summary.module_data_differ, "~ data of modules"),
            ] {
                if differs {
                    self.out.line(what)?;
                }
            }
            self.out.line(format_args!(
                "{} keys in A, {} in B: {} missing in B, {} extra in B, {} differ in type, {} in value, {} in expiry",
                summary.keys_a,
                summary.keys_b,
                summary.missing,
                summary.extra,
                summary.type_differs,
                summary.value_differs,
                summary.expiry_differs
            ))?;
        }
        self.out.flush()?;
        let differences = summary.missing
            + summary.extra
            + summary.type_differs
            + summary.value_differs
            + summary.expiry_differs;
        if differences == 0 && !summary.functions_differ && !summary.module_data_differ {
            Ok(Verdict::Fine)
        } else {
            Ok(Verdict::NotFine)
        }
    }
}

struct Walk<'w, 'd> {
    pass: Pass,
    db: DbIndex,
    decoder: ValueDecoder,
    progress: Progress,
    beside: Beside,
    diff: &'w mut Diff<'d>,
}

impl Walk<'_, '_> {
    fn line<'k>(&self, key: &'k [u8], difference: &'static str, kind: Kind) -> Line<'k> {
        Line {
            db: self.db,
            key: Json(key),
            difference,
            type_name: kind.name(),
            type_b: None,
            expires_at_ms: None,
        }
    }

    fn keep(&mut self, id: Hash128, key: &[u8], kept: Kept) -> Result<(), Refused> {
        self.diff.summary.keys_a += 1;
        match self.diff.keys.insert(id, kept) {
            None => Ok(()),
            Some(_) => Err(self.twice(key)),
        }
    }

    fn twice(&mut self, key: &[u8]) -> Refused {
        let text = format!("db {}, key {}", self.db, Quoted(key));
        self.diff.end(Ended::Twice(text))
    }

    /// Holds a key of B against what A has.
    fn compare(&mut self, id: Hash128, key: &[u8], found: &Kept) -> Result<(), Refused> {
        self.diff.summary.keys_b += 1;
        let Some(kept) = self.diff.keys.get_mut(&id) else {
            self.diff.summary.extra += 1;
            // So that another one of the same name is noticed.
            let kept = Kept {
                is_found: true,
                ..*found
            };
            self.diff.keys.insert(id, kept);
            return self.diff.print(&self.line(key, "extra", found.kind));
        };
        if std::mem::replace(&mut kept.is_found, true) {
            return Err(self.twice(key));
        }
        let (kind, value, expire) = (kept.kind, kept.value, kept.expire);
        let summary = &mut self.diff.summary;
        summary.common += 1;
        if kind != found.kind {
            summary.type_differs += 1;
            let mut line = self.line(key, "type", kind);
            line.type_b = Some(found.kind.name());
            return self.diff.print(&line);
        }
        if value != found.value {
            summary.value_differs += 1;
            return self.diff.print(&self.line(key, "value", kind));
        }
        if expire != found.expire && !self.diff.args.ignore_expiry {
            summary.expiry_differs += 1;
            let mut line = self.line(key, "expiry", kind);
            line.expires_at_ms = Some([expire, found.expire]);
            return self.diff.print(&line);
        }
        Ok(())
    }
}

impl<'a> ScanTarget<'a> for Walk<'_, '_> {
    fn aux(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), Refused> {
        Ok(())
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.db = db;
        Ok(())
    }

    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        let hash = self.diff.hashes.of([code].into_iter());
        self.beside.functions = add(self.beside.functions, hash);
        Ok(())
    }

    fn module_aux(&mut self, aux: ModuleAux<'a>) -> Result<(), Refused> {
        let hash = self.diff.hashes.of([aux.encoded()].into_iter());
        self.beside.modules = add(self.beside.modules, hash);
        Ok(())
    }

    fn entry(&mut self, entry: StoredEntry<'_, 'a>) -> Result<(), Refused> {
        let key = entry.key();
        let id = self.diff.hashes.key(self.db, key);
        let kind = Kind::of(&entry);
        if self.pass == Pass::Missing {
            let is_missing = self.diff.keys.get(&id).is_some_and(|kept| !kept.is_found);
            return if is_missing {
                self.diff.print(&self.line(key, "missing", kind))
            } else {
                Ok(())
            };
        }
        let hashes = &self.diff.hashes;
        let hashed = if entry.foreign().is_some() {
            let (ty, bytes) = entry.value();
            Ok(hashes.of([&[ty][..], bytes].into_iter()))
        } else {
            let limits = Limits::default();
            self.decoder
                .decode(&entry, &limits, |value| hashes.value(&value))
        };
        let kept = Kept {
            value: hashed.map_err(|error| self.diff.end(Ended::Reading(error)))?,
            expire: entry.meta().expire.map(|at| at.0),
            kind,
            is_found: false,
        };
        match self.pass {
            Pass::Keep => self.keep(id, key, kept),
            _ => self.compare(id, key, &kept),
        }
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        self.progress.set(bytes);
        Ok(())
    }
}
