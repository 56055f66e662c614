//! The payload of DUMP and RESTORE.
//!
//! ```text
//! <type> <value> <u16 RDB version LE> <u64 CRC-64 LE of everything before it>
//! ```

use thiserror::Error;

use crate::value::{Limits, Object};

use super::crc64::crc64;
use super::decode::{Scratch, Value, corrupt, read_value, value_type};
use super::encode::{Encoder, ValueRef};
use super::error::RdbError;
use super::format::{CHECKSUM_LEN, VERSION_READ_MAX, VERSION_WRITE};
use super::source::{SliceSource, Source};

const FOOTER_LEN: usize = 2 + CHECKSUM_LEN;

/// A value out of a payload.
pub enum Restored {
    /// A string.
    String(Vec<u8>),
    /// A collection, which is not empty.
    Object(Object),
}

/// Why a payload was not restored. The texts are those of the command's replies.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The footer is missing, of a newer version, or not that of these bytes.
    #[error("DUMP payload version or checksum are wrong")]
    VersionOrChecksum,
    /// The footer is right and the value is not; the source says why, for the log.
    #[error("Bad data format")]
    BadData(#[source] RdbError),
}

/// The payload that stands for `value`.
pub fn dump(value: ValueRef<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    Encoder::new(true).typed_value(&mut payload, value);
    payload.extend_from_slice(&(VERSION_WRITE as u16).to_le_bytes());
    let checksum = crc64(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// The value that `payload` stands for, checked through and through.
///
/// `verify_checksum` is false only while a test has asked for it (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(
    payload: &[u8],
    limits: &Limits,
    verify_checksum: bool,
) -> Result<Restored, RestoreError> {
    let value = check_footer(payload, verify_checksum).ok_or(RestoreError::VersionOrChecksum)?;
    read_payload(value, limits).map_err(RestoreError::BadData)
}

/// The payload without its footer, if that is right.
fn check_footer(payload: &[u8], verify_checksum: bool) -> Option<&[u8]> {
    let (before, stored) = payload.split_last_chunk::<CHECKSUM_LEN>()?;
    let (value, version) = before.split_last_chunk::<2>()?;
    debug_assert_eq!(value.len() + FOOTER_LEN, payload.len());
    let known = u32::from(u16::from_le_bytes(*version)) <= VERSION_READ_MAX;
    let sound = !verify_checksum || u64::from_le_bytes(*stored) == crc64(before);
    (known && sound).then_some(value)
}

fn read_payload(bytes: &[u8], limits: &Limits) -> Result<Restored, RdbError> {
    let mut source = SliceSource::new(bytes);
    let mut scratch = Scratch::default();
    let first = source.byte()?;
    let ty = value_type(&mut source, 0, first, None)?;
    let restored = match read_value(&mut source, ty, &mut scratch, limits)? {
        Value::String(bytes) => Restored::String(bytes.to_vec()),
        Value::Object(object) => Restored::Object(object),
        Value::Empty => return Err(corrupt(1, "a value", "an empty collection")),
    };
    if !source.is_at_end() {
        return Err(corrupt(
            source.position(),
            "the end of the value",
            "more bytes",
        ));
    }
    Ok(restored)
}
