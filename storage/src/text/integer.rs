//! Integers in their one canonical decimal form.
//!
//! A byte string counts as an integer only if formatting the integer gives the same bytes back: no sign `+`, no
//! leading zeros or blanks, no `-0`. That is what makes it safe to store a number instead of its text.

/// The longest text of an `i64` or `u64`: `-9223372036854775808` or `18446744073709551615`.
pub const MAX_LEN: usize = 20;

/// Parses the canonical text of an `i64`; anything else, also an overflow, is `None`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', b'0', ..] => None,
        [b'-', digits @ ..] => {
            let magnitude = parse_u64(digits)?;
            if magnitude > i64::MIN.unsigned_abs() {
                None
            } else {
                Some((magnitude as i64).wrapping_neg())
            }
        }
        digits => i64::try_from(parse_u64(digits)?).ok(),
    }
}

/// Parses the canonical text of a `u64`; anything else, also an overflow, is `None`.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [] => return None,
        [b'0', rest @ ..] => return rest.is_empty().then_some(0),
        _ if text.len() > MAX_LEN => return None,
        _ => {}
    }
    let mut value = 0u64;
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Appends the text of `value` to `out`.
pub fn append_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The text of `value` as an owned byte string.
pub fn to_vec(value: i64) -> Vec<u8> {
    itoa::Buffer::new().format(value).as_bytes().to_vec()
}

/// The text of an integer in an inline buffer; dereferences to its bytes.
#[derive(Clone, Copy)]
pub struct IntText {
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl IntText {
    /// Formats `value`.
    pub fn new(value: i64) -> IntText {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(value).as_bytes();
        let mut bytes = [0; MAX_LEN];
        bytes[..text.len()].copy_from_slice(text);
        IntText {
            bytes,
            len: text.len() as u8,
        }
    }
}

impl std::ops::Deref for IntText {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_an_integer() {
        for text in [
            "",
            "+1",
            "01",
            " 1",
            "1 ",
            "-0",
            "-",
            "--1",
            "-01",
            "1a",
            "0x1",
            "00",
            "9223372036854775808",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        for text in [
            "-9223372036854775809",
            "99999999999999999999",
            "111111111111111111111111111111111111",
        ] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        for text in ["18446744073709551616", "-1", "+1", "", "01"] {
            assert_eq!(parse_u64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
    }

    #[test]
    fn every_integer_survives_its_text() {
        for value in [
            0,
            1,
            -1,
            9,
            10,
            -10,
            99,
            100,
            i64::MAX,
            i64::MIN,
            i64::MIN + 1,
            1 << 53,
        ] {
            assert_eq!(parse_i64(&to_vec(value)), Some(value));
            assert_eq!(&*IntText::new(value), to_vec(value));
            let mut out = b"x".to_vec();
            append_i64(&mut out, value);
            assert_eq!(out[1..], to_vec(value));
        }
    }
}
