//! Byte strings for people and for programs.
//!
//! In JSON a byte string is a string if it is UTF-8; any other is `{"base64": "..."}`. In text it is quoted as
//! redis-cli does it, see [`quote`].

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::util::quote;

/// Bytes in JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json<'a>(pub &'a [u8]);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &Base64(self.0))?;
                map.end()
            }
        }
    }
}

/// Bytes in text: in double quotes, everything but printable ASCII escaped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(self.0.len() + 2);
        quote::push_quoted(&mut text, self.0);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// RFC 4648, with padding.
struct Base64<'a>(&'a [u8]);

impl fmt::Display for Base64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for group in self.0.chunks(3) {
            let mut bits = [0; 4];
            bits[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bits);
            let digits: [u8; 4] = std::array::from_fn(|place| {
                if place > group.len() {
                    b'='
                } else {
                    ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]
                }
            });
            f.write_str(std::str::from_utf8(&digits).expect("the alphabet is ASCII"))?;
        }
        Ok(())
    }
}

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648.
    #[test]
    fn base64_as_in_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Base64(bytes.as_bytes()).to_string(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let json = |bytes| serde_json::to_string(&Json(bytes)).unwrap();
        assert_eq!(json(b"a\0\n\xc3\xa4"), r#""a\u0000\nä""#);
        assert_eq!(json(b"\xff\xfe"), r#"{"base64":"//4="}"#);
        assert_eq!(Quoted(b"a\"\xff\n").to_string(), r#""a\"\xff\n""#);
    }
}
