//! Replies: RESP2 or RESP3, written straight into the bytes that leave.
//!
//! Each method writes one element. Where the two protocols differ (nulls, maps, sets, doubles), the method knows.

use crate::text::double;

/// A growing buffer of replies in one protocol version.
#[derive(Debug, Default)]
pub struct Reply {
    buf: Vec<u8>,
    resp3: bool,
    /// The prefix of the last error written since [`Reply::take_error`].
    error: Option<Box<str>>,
}

/// A place where the length of an aggregate is filled in later.
#[derive(Debug)]
#[must_use = "an aggregate whose length is never filled in breaks the protocol"]
pub struct DeferredLen {
    at: usize,
    kind: u8,
}

impl Reply {
    /// An empty buffer that speaks RESP2.
    pub fn new() -> Reply {
        Reply::default()
    }

    /// An empty buffer that speaks RESP3 if `resp3`.
    pub fn with_protocol(resp3: bool) -> Reply {
        Reply {
            resp3,
            ..Reply::default()
        }
    }

    /// Whether elements are written in RESP3.
    pub fn resp3(&self) -> bool {
        self.resp3
    }

    /// Switches the protocol for the elements that follow.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// The bytes written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    /// The buffer itself, to drain it after it was sent or to append raw RESP.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// The bytes, leaving the buffer empty.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buf)
    }

    /// Forgets everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// Whether an error was written since [`Reply::take_error`].
    pub fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// The prefix of the last error written since the last call (`ERR`, `WRONGTYPE`, ...).
    pub fn take_error(&mut self) -> Option<Box<str>> {
        self.error.take()
    }

    fn line(&mut self, kind: u8, number: i64) {
        self.buf.push(kind);
        self.buf
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.buf.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// A status line.
    pub fn simple(&mut self, text: &str) {
        self.buf.push(b'+');
        self.buf.extend_from_slice(text.as_bytes());
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An error line; `text` begins with its prefix (`ERR ...`). Line breaks become spaces, as Redis does it.
    pub fn error(&mut self, text: impl std::fmt::Display) {
        let text = text.to_string();
        self.error = text.split(' ').next().map(Box::from);
        self.buf.push(b'-');
        self.buf.extend(
            text.bytes()
                .map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }),
        );
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn int(&mut self, number: i64) {
        match number {
            0 => self.buf.extend_from_slice(b":0\r\n"),
            1 => self.buf.extend_from_slice(b":1\r\n"),
            _ => self.line(b':', number),
        }
    }

    /// The number of something.
    pub fn len(&mut self, count: usize) {
        self.int(count as i64);
    }

    /// A truth value as Redis's commands give it in both protocols: `:1` or `:0`.
    pub fn flag(&mut self, value: bool) {
        self.int(value.into());
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buf.reserve(bytes.len() + 16);
        self.line(b'$', bytes.len() as i64);
        self.buf.extend_from_slice(bytes);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// A bulk string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A null: `$-1` in RESP2, `_` in RESP3.
    pub fn null(&mut self) {
        self.buf
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// A null where an array was asked for: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        self.buf
            .extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array of `len` elements.
    pub fn array(&mut self, len: usize) {
        self.line(b'*', len as i64);
    }

    /// The header of a map of `pairs` pairs; an array of twice as many in RESP2.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 {
            self.line(b'%', pairs as i64)
        } else {
            self.line(b'*', pairs as i64 * 2)
        }
    }

    /// The header of a set; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        self.line(if self.resp3 { b'~' } else { b'*' }, len as i64);
    }

    /// The header of an out-of-band push; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        self.line(if self.resp3 { b'>' } else { b'*' }, len as i64);
    }

    /// A double; a bulk string in RESP2.
    pub fn double(&mut self, number: f64) {
        let text = double::to_vec(number);
        if self.resp3 {
            self.buf.push(b',');
            self.buf.extend_from_slice(&text);
            self.buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(&text);
        }
    }

    /// A boolean; `:1` or `:0` in RESP2.
    pub fn boolean(&mut self, value: bool) {
        if self.resp3 {
            self.buf
                .extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" });
        } else {
            self.flag(value);
        }
    }

    /// Text with a three-letter format (`txt`, `mkd`); a bulk string in RESP2.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if self.resp3 {
            self.line(b'=', text.len() as i64 + 4);
            self.buf.extend_from_slice(format.as_bytes());
            self.buf.push(b':');
            self.buf.extend_from_slice(text);
            self.buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// An array whose length is not known yet; end it with [`Reply::end`].
    pub fn begin_array(&mut self) -> DeferredLen {
        DeferredLen {
            at: self.buf.len(),
            kind: b'*',
        }
    }

    /// A set whose length is not known yet; end it with [`Reply::end`].
    pub fn begin_set(&mut self) -> DeferredLen {
        DeferredLen {
            at: self.buf.len(),
            kind: if self.resp3 { b'~' } else { b'*' },
        }
    }

    /// A map whose length is not known yet; end it with [`Reply::end`], counting pairs.
    pub fn begin_map(&mut self) -> DeferredLen {
        DeferredLen {
            at: self.buf.len(),
            kind: b'%',
        }
    }

    /// Fills in the length of a deferred aggregate, in elements (pairs for a map).
    pub fn end(&mut self, deferred: DeferredLen, len: usize) {
        let mut header = Reply::with_protocol(self.resp3);
        match deferred.kind {
            b'%' => header.map(len),
            kind => header.line(kind, len as i64),
        }
        let at = deferred.at;
        let header = header.buf;
        let old_len = self.buf.len();
        self.buf.resize(old_len + header.len(), 0);
        self.buf.copy_within(at..old_len, at + header.len());
        self.buf[at..at + header.len()].copy_from_slice(&header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deferred_length_is_filled_in_before_its_elements() {
        let mut reply = Reply::new();
        reply.int(7);
        let array = reply.begin_array();
        for _ in 0..12 {
            reply.bulk(b"x");
        }
        reply.end(array, 12);
        assert!(reply.bytes().starts_with(b":7\r\n*12\r\n$1\r\nx\r\n"));
        assert!(reply.bytes().ends_with(b"$1\r\nx\r\n"));
    }

    #[test]
    fn maps_and_nulls_differ_between_protocols() {
        let mut reply = Reply::new();
        reply.map(1);
        reply.null();
        reply.set_resp3(true);
        reply.map(1);
        reply.null();
        assert_eq!(reply.bytes(), b"*2\r\n$-1\r\n%1\r\n_\r\n");
    }

    #[test]
    fn line_breaks_cannot_leave_an_error() {
        let mut reply = Reply::new();
        reply.error("ERR a\r\nb");
        assert_eq!(reply.bytes(), b"-ERR a  b\r\n");
        assert_eq!(reply.take_error().as_deref(), Some("ERR"));
    }
}
