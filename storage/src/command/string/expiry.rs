//! The options of SET and GETEX that say when the key expires.

use crate::command::CommandError;
use crate::text::integer;
use crate::types::UnixMillis;

/// An expiry as it was written: a number in one of four notations.
#[derive(Clone, Copy)]
pub(super) struct Expiry<'a> {
    pub text: &'a [u8],
    pub notation: Notation,
}

/// How an expiry's number is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// `EX`: seconds from now.
    Seconds,
    /// `PX`: milliseconds from now.
    Millis,
    /// `EXAT`: Unix time in seconds.
    AtSeconds,
    /// `PXAT`: Unix time in milliseconds.
    AtMillis,
}

impl Notation {
    /// The notation that an option's name stands for.
    pub fn parse(name: &[u8]) -> Option<Notation> {
        let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
        if is(b"EX") {
            Some(Notation::Seconds)
        } else if is(b"PX") {
            Some(Notation::Millis)
        } else if is(b"EXAT") {
            Some(Notation::AtSeconds)
        } else if is(b"PXAT") {
            Some(Notation::AtMillis)
        } else {
            None
        }
    }

    /// Whether the number is a point in time.
    pub fn is_absolute(self) -> bool {
        matches!(self, Notation::AtSeconds | Notation::AtMillis)
    }
}

impl Expiry<'_> {
    /// The time at which the key expires.
    ///
    /// # Errors
    /// If the number is none, is not above zero, or leads beyond the range of times; `command` is who complains.
    pub fn deadline(
        self,
        now: UnixMillis,
        command: &'static str,
    ) -> Result<UnixMillis, CommandError> {
        let number = integer::parse_i64(self.text).ok_or(CommandError::NotInteger)?;
        let millis = match self.notation {
            Notation::Seconds | Notation::AtSeconds => number.checked_mul(1000),
            Notation::Millis | Notation::AtMillis => Some(number),
        };
        let base = if self.notation.is_absolute() {
            0
        } else {
            now.0
        };
        millis
            .filter(|millis| *millis > 0)
            .and_then(|millis| millis.checked_add(base))
            .map(UnixMillis)
            .ok_or(CommandError::InvalidExpire(command.into()))
    }
}
