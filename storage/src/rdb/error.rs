//! What can be wrong with an RDB.

use std::fmt;
use std::io;

use thiserror::Error;

use super::format::VERSION_READ_MAX;

/// Why an RDB was not loaded. Offsets are bytes from its beginning.
#[derive(Debug, Error)]
pub enum RdbError {
    /// Reading failed.
    #[error("reading the RDB failed: {0}")]
    Io(#[from] io::Error),
    /// The beginning is not that of an RDB.
    #[error("wrong signature: expected REDIS and a version of four digits, found {found:?}")]
    NotRdb {
        /// The first bytes, made printable.
        found: String,
    },
    /// A version from the future, or zero.
    #[error("can't handle RDB format version {found}: expected 1 to {VERSION_READ_MAX}")]
    Version {
        /// The version in the header.
        found: u32,
    },
    /// It ends too early.
    #[error("unexpected end of file at offset {offset}: expected {missing} more bytes")]
    Truncated {
        /// Where the bytes that are missing would begin.
        offset: u64,
        /// How many bytes are missing, at least.
        missing: u64,
    },
    /// The checksum at the end is not that of the contents.
    #[error(
        "RDB CRC error: expected {expected:016x} (stored at offset {offset}), found {found:016x}"
    )]
    Checksum {
        /// Where the stored checksum is.
        offset: u64,
        /// The stored checksum.
        expected: u64,
        /// The checksum of the bytes before it.
        found: u64,
    },
    /// Bytes that mean nothing.
    #[error("corrupt at offset {offset}: expected {expected}, found {found}")]
    Corrupt {
        /// Where.
        offset: u64,
        /// What could have stood there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A container whose inside is not consistent.
    #[error("{container} integrity check failed at offset {offset}, byte {at} of it: {detail}")]
    Container {
        /// Which kind of container.
        container: &'static str,
        /// Where the value begins.
        offset: u64,
        /// The place inside the container, after decompression.
        at: usize,
        /// What is wrong.
        detail: &'static str,
    },
    /// Contents that are sound and that we have no place for.
    #[error("at offset {offset}{}: {feature}", for_key(.key))]
    Unsupported {
        /// Where.
        offset: u64,
        /// What it is.
        feature: Feature,
        /// The key that has it, if it belongs to one.
        key: Option<Box<[u8]>>,
    },
    /// The load target said no.
    #[error("at offset {offset}: {reason}")]
    Refused {
        /// Where the item that it refused begins.
        offset: u64,
        /// What it said.
        reason: String,
    },
}

fn for_key(key: &Option<Box<[u8]>>) -> String {
    key.as_ref().map_or_else(String::new, |key| {
        format!(" (key '{}')", key.escape_ascii())
    })
}

/// Something in a file that only other servers have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feature {
    /// A stream.
    Stream,
    /// A hash whose fields expire.
    HashFieldExpiry,
    /// A value of a module's own type; its name, or nothing if the format is too old to say.
    ModuleValue(String),
    /// Data of a module beside the keys; its name.
    ModuleAux(String),
    /// A function library in the format of a Redis 7 release candidate.
    PreReleaseFunction,
}

impl Feature {
    /// What it is, in a word or two.
    pub fn noun(&self) -> String {
        match self {
            Feature::Stream => "a stream".to_owned(),
            Feature::HashFieldExpiry => "a hash with expiring fields".to_owned(),
            Feature::ModuleValue(name) => format!("a value of module type '{name}'"),
            Feature::ModuleAux(name) => format!("data of module '{name}'"),
            Feature::PreReleaseFunction => "a function in pre-release format".to_owned(),
        }
    }

    /// The type of a value, as TYPE names it where it is known; modules' types are named by themselves.
    pub fn type_name(&self) -> &str {
        match self {
            Feature::Stream => "stream",
            Feature::HashFieldExpiry => "hash",
            Feature::ModuleValue(name) | Feature::ModuleAux(name) => name,
            Feature::PreReleaseFunction => "function",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Feature::Stream => f.write_str("stream values are not supported yet"),
            Feature::HashFieldExpiry => {
                f.write_str("hashes with expiring fields are not supported")
            }
            Feature::ModuleValue(name) => {
                write!(f, "values of module type '{name}' are not supported")
            }
            Feature::ModuleAux(name) => write!(f, "AUX data of module '{name}' is not supported"),
            Feature::PreReleaseFunction => {
                f.write_str("functions in pre-release format are not supported")
            }
        }
    }
}

/// A load target's refusal to go on, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refused(pub String);
