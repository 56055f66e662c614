//! Values that only other servers hold: passed over, described, and copied whole, but not looked into.
//!
//! ```text
//! stream (0f, 13, 15) =  <length n> n × (<string> <string>)      nodes: a 16-byte id, a listpack
//!                        <length> <length ms> <length seq>        entries, last id
//!                        [<length> × 5]                           from type 13 on: first id, largest deleted id, added
//!                        <length n> n × <group>
//!   group =              <string> <length> <length> [<length>]    name, last id; from type 13 on: entries read
//!                        <length n> n × (<16 bytes> <8 bytes> <length>)             pending: id, time, deliveries
//!                        <length n> n × (<string> <8 bytes> [<8 bytes>] <length m> m × <16 bytes>)
//!                                                                 consumers; the second time from type 15 on
//! hash whose fields expire
//!   (16)                 <length n> n × (<length> <string> <string>)
//!   (17)                 <string>
//!   (18), (19)           <8 bytes>, and the same
//! module value (07) =    <length id> <module item>... 00
//! module aux (f7) =      <length id> <module item>... 00
//!   module item =        01 <length> | 02 <length> | 03 <4 bytes> | 04 <8 bytes> | 05 <string>
//! ```
//!
//! Types are in hexadecimal here. Values of type 06, of modules older than Redis 4.0, do not say where they end.

use super::decode::{corrupt, module_name, read_count, skip_elements, skip_string};
use super::error::{Feature, RdbError};
use super::source::{SliceSource, Source};

/// A type of value that is known by name only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ForeignType(u8);

mod number {
    pub const MODULE: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const STREAM: u8 = 15;
    pub const STREAM_2: u8 = 19;
    pub const STREAM_3: u8 = 21;
    pub const EXPIRING_FIELDS_EARLY: u8 = 22;
    pub const EXPIRING_FIELDS_PACKED_EARLY: u8 = 23;
    pub const EXPIRING_FIELDS: u8 = 24;
    pub const EXPIRING_FIELDS_PACKED: u8 = 25;
}
use number::*;

impl ForeignType {
    /// The type that `byte` stands for, if it is one of these.
    pub fn from_byte(byte: u8) -> Option<ForeignType> {
        matches!(
            byte,
            MODULE..=MODULE_2 | STREAM | STREAM_2 | STREAM_3..=EXPIRING_FIELDS_PACKED
        )
        .then_some(ForeignType(byte))
    }

    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// What a value of this type is. Takes a module's id from the source, and nothing else.
    pub fn feature<S: Source>(self, source: &mut S) -> Result<Feature, RdbError> {
        Ok(match self.0 {
            MODULE | MODULE_2 => Feature::ModuleValue(module_name(read_count(source)?)),
            STREAM | STREAM_2 | STREAM_3 => Feature::Stream,
            _ => Feature::HashFieldExpiry,
        })
    }

    /// The first version whose readers know the type.
    pub fn version_min(self) -> u32 {
        match self.0 {
            MODULE | MODULE_2 => 8,
            STREAM => 9,
            STREAM_2 => 10,
            STREAM_3 => 11,
            _ => 12,
        }
    }

    /// The name of the form, as [`ValueType::encoding`](super::format::ValueType::encoding) names those that we read.
    pub fn encoding(self) -> &'static str {
        match self.0 {
            MODULE => "module",
            MODULE_2 => "module2",
            STREAM => "stream",
            STREAM_2 => "stream2",
            STREAM_3 => "stream3",
            EXPIRING_FIELDS_EARLY | EXPIRING_FIELDS => "hash-expiring",
            _ => "listpack-expiring",
        }
    }

    /// Passes over a value.
    ///
    /// # Errors
    /// [`RdbError::Unsupported`] if the value does not say where it ends.
    pub fn skip(self, source: &mut SliceSource<'_>) -> Result<(), RdbError> {
        match self.0 {
            STREAM..=STREAM_3 => self.skip_stream(source),
            EXPIRING_FIELDS_EARLY | EXPIRING_FIELDS => {
                if self.0 == EXPIRING_FIELDS {
                    source.advance(8)?;
                }
                skip_elements(source, |source| {
                    read_count(source)?;
                    skip_string(source)?;
                    skip_string(source)
                })
            }
            EXPIRING_FIELDS_PACKED_EARLY => skip_string(source),
            EXPIRING_FIELDS_PACKED => {
                source.advance(8)?;
                skip_string(source)
            }
            MODULE_2 => {
                read_count(source)?;
                skip_module_items(source)
            }
            _ => {
                let offset = source.position();
                Err(RdbError::Unsupported {
                    offset,
                    feature: self.feature(source)?,
                    key: None,
                })
            }
        }
    }

    fn skip_stream(self, source: &mut SliceSource<'_>) -> Result<(), RdbError> {
        let skip_counts = |source: &mut SliceSource<'_>, count: usize| {
            (0..count).try_for_each(|_| read_count(source).map(drop))
        };
        skip_elements(source, |source| {
            skip_string(source)?;
            skip_string(source)
        })?;
        let is_second = self.0 >= STREAM_2;
        skip_counts(source, if is_second { 8 } else { 3 })?;
        skip_elements(source, |source| {
            skip_string(source)?;
            skip_counts(source, if is_second { 3 } else { 2 })?;
            skip_elements(source, |source| {
                source.advance(16 + 8)?;
                read_count(source).map(drop)
            })?;
            skip_elements(source, |source| {
                skip_string(source)?;
                source.advance(if self.0 >= STREAM_3 { 16 } else { 8 })?;
                skip_elements(source, |source| source.advance(16).map(drop))
            })
        })
    }
}

/// Passes over what a module has written, to the end mark.
fn skip_module_items(source: &mut SliceSource<'_>) -> Result<(), RdbError> {
    loop {
        let offset = source.position();
        match read_count(source)? {
            0 => return Ok(()),
            1 | 2 => drop(read_count(source)?),
            3 => drop(source.advance(4)?),
            4 => drop(source.advance(8)?),
            5 => skip_string(source)?,
            kind => return Err(corrupt(offset, "an item of a module", kind)),
        }
    }
}

/// Passes over the data of a module that stands beside the keys; returns the module's name.
pub(super) fn skip_module_aux(source: &mut SliceSource<'_>) -> Result<String, RdbError> {
    let name = module_name(read_count(source)?);
    skip_module_items(source)?;
    Ok(name)
}
