//! What the blocking commands share: their timeout, and the order in which they try their keys.

use smallvec::SmallVec;

use super::{CommandError, Ctx};
use crate::text::double;

/// Longer waits count as waits without end; about 3000 years.
const TIMEOUT_MS_MAX: f64 = 1e14;

/// Reads a timeout in seconds, which may have a fraction, as milliseconds; `None`: wait for ever.
pub(super) fn parse_timeout(arg: &[u8]) -> Result<Option<u64>, CommandError> {
    let seconds = double::parse(arg).ok_or(CommandError::NotATimeout)?;
    let ms = (seconds * 1000.0).ceil();
    // What does not fit a signed 64-bit number is negative to Redis.
    if ms < 0.0 || ms >= i64::MAX as f64 {
        return Err(CommandError::NegativeTimeout);
    }
    Ok((ms > 0.0 && ms <= TIMEOUT_MS_MAX).then_some(ms as u64))
}

/// The keys of a blocking command in the order in which it tries them: as given, but first the one whose change has
/// woken it.
pub(super) fn candidates<'k>(ctx: &Ctx<'_>, keys: &[&'k [u8]]) -> SmallVec<[&'k [u8]; 4]> {
    let woken_by = keys.iter().find(|key| Some(**key) == ctx.woken_by);
    woken_by.into_iter().chain(keys).copied().collect()
}

/// Passes over a key of the wrong type if the command was `woken`: to a command that waits, such a key is one that has
/// not become available. When the command comes in, it is an error.
pub(super) fn usable<T>(
    woken: bool,
    found: Result<Option<T>, CommandError>,
) -> Result<Option<T>, CommandError> {
    match found {
        Err(CommandError::WrongType) if woken => Ok(None),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_redis_reads_them() {
        for (text, ms) in [
            ("0", None),
            ("1", Some(1000)),
            ("0.0001", Some(1)),
            ("1.5", Some(1500)),
            ("0x10", Some(16_000)),
            ("-0.0001", None),
            ("9223372036854", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Ok(ms), "{text}");
        }
        for text in ["-1", "-0.1", "inf", "-inf", "1e16"] {
            let error = parse_timeout(text.as_bytes());
            assert_eq!(error, Err(CommandError::NegativeTimeout), "{text}");
        }
        for text in ["", " 1", "1 ", "nan", "x"] {
            let error = parse_timeout(text.as_bytes());
            assert_eq!(error, Err(CommandError::NotATimeout), "{text}");
        }
    }
}
