//! Arguments of the commands that walk something with a cursor: SCAN, HSCAN, SSCAN, ZSCAN.

use super::{CommandError, Reply};
use crate::text::{glob, integer};

/// COUNT if none is given.
const COUNT_DEFAULT: usize = 10;

/// The options of a scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanArgs<'a> {
    /// About how many elements to visit.
    pub count: usize,
    /// What elements must match; `None` if all do.
    pub pattern: Option<&'a [u8]>,
    /// The type that keys must have, as the client wrote it; only for SCAN.
    pub type_name: Option<&'a [u8]>,
}

impl<'a> ScanArgs<'a> {
    /// Parses what follows the cursor; TYPE only `with_type`.
    pub fn parse(mut args: &[&'a [u8]], with_type: bool) -> Result<ScanArgs<'a>, CommandError> {
        let mut parsed = ScanArgs {
            count: COUNT_DEFAULT,
            pattern: None,
            type_name: None,
        };
        while let [option, rest @ ..] = args {
            let [value, rest @ ..] = rest else {
                return Err(CommandError::Syntax);
            };
            if option.eq_ignore_ascii_case(b"count") {
                let count = integer::parse_i64(value).ok_or(CommandError::NotInteger)?;
                parsed.count = usize::try_from(count).unwrap_or(0);
                if parsed.count == 0 {
                    return Err(CommandError::Syntax);
                }
            } else if option.eq_ignore_ascii_case(b"match") {
                parsed.pattern = (*value != b"*").then_some(*value);
            } else if with_type && option.eq_ignore_ascii_case(b"type") {
                parsed.type_name = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            args = rest;
        }
        Ok(parsed)
    }

    /// Whether an element is to be returned.
    pub fn matches(&self, element: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, element, false))
    }
}

/// Parses a cursor, as C's `strtoul` does but without blanks.
pub(super) fn parse_cursor(text: &[u8]) -> Result<u64, CommandError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    match number {
        Some(_) if digits.is_empty() && !text.is_empty() => None,
        Some(number) if negative => Some(number.wrapping_neg()),
        number => number,
    }
    .ok_or_else(|| CommandError::err("invalid cursor"))
}

/// Replies with a cursor and elements. `scan` writes the elements, and returns the next cursor and their number.
pub(super) fn reply(reply: &mut Reply, scan: impl FnOnce(&mut Reply) -> (u64, usize)) {
    let mut elements = Reply::with_protocol(reply.resp3());
    let (cursor, count) = scan(&mut elements);
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    reply.array(count);
    reply.buffer_mut().extend_from_slice(elements.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_strtoul_reads_them() {
        for (text, cursor) in [
            ("", 0),
            ("007", 7),
            ("+1", 1),
            ("-1", u64::MAX),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), Ok(cursor), "{text}");
        }
        for text in ["x", "1x", " 1", "-", "18446744073709551616"] {
            assert!(parse_cursor(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn options_are_checked_in_order() {
        let parse = |args: &[&'static str]| {
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            ScanArgs::parse(&args, false).map(|args| (args.count, args.pattern.is_some()))
        };
        assert_eq!(parse(&[]), Ok((10, false)));
        assert_eq!(parse(&["MATCH", "*", "COUNT", "5"]), Ok((5, false)));
        assert_eq!(parse(&["match", "a*"]), Ok((10, true)));
        assert_eq!(parse(&["count", "0"]), Err(CommandError::Syntax));
        assert_eq!(parse(&["count", "x"]), Err(CommandError::NotInteger));
        assert_eq!(parse(&["count"]), Err(CommandError::Syntax));
        assert_eq!(parse(&["type", "zset"]), Err(CommandError::Syntax));
    }
}
