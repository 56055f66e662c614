//! The request parser: bytes of a connection's read buffer become requests, without copying.
//!
//! A request is a multibulk (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or an inline command (`GET k\r\n`, with the quoting
//! rules of [`crate::util::quote`]). [`Parser::parse`] fills a [`Batch`] with up to a given number of complete
//! requests; arguments are ranges of the buffer, which therefore must not move until the batch has been executed.
//! Inline arguments are decoded where they stand, so the buffer is taken by `&mut`.
//!
//! The caller drops the bytes reported as consumed, appends what it reads, and calls again: an incomplete request
//! always begins at the start of the buffer, and the parser remembers how far into it it has looked. A large
//! argument that arrives in small pieces costs one comparison per piece, a request with many arguments is never
//! parsed from its start again, and nothing is reserved for bytes that a client has only announced.
//!
//! What comes out does not depend on how the input was cut into reads. To that end the 64 KiB limits on lines are
//! exact here, where Redis 7.0's depend on the size of its reads. Otherwise limits and error texts are those of
//! Redis 7.0, including its leniency: the line feed after a carriage return and the CRLF after an argument are not
//! looked at. A request is [canonical](Request::raw) only if they are right too, since its bytes then go to the log
//! as they are.
//!
//! Leaves to others: how large a read buffer may grow (`client-query-buffer-limit`), what a command means.

use std::fmt;
use std::ops::Range;

use hardtack_storage::text::integer;
use memchr::memchr2;

use crate::util::quote;

/// The longest inline command, and the longest line that holds a count or a length.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most arguments of a request.
const ARGS_MAX: i64 = i32::MAX as i64;
/// The most arguments of a request before the client has authenticated.
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
/// The longest argument before the client has authenticated.
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;
/// Argument slots kept from one request to the next; a rare giant gives its memory back.
const ARGS_CAPACITY_KEPT: usize = 4096;

/// What a client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest argument (`proto-max-bulk-len`).
    pub bulk_bytes_max: u64,
    /// False as long as the client still has to authenticate: tiny limits apply, and a batch is a single request,
    /// because that request may be the AUTH that lifts them.
    pub authenticated: bool,
}

/// The place of one argument in the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset just past the last byte.
    pub end: usize,
}

impl Arg {
    /// The argument's bytes. `buf` is the buffer that was parsed.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start..self.end]
    }
}

/// One complete request of a [`Batch`]; it has at least one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The arguments, the command's name first.
    pub args: &'a [Arg],
    /// The request's bytes in the buffer, if they are exactly the canonical multibulk encoding of `args`.
    pub raw: Option<Range<usize>>,
}

/// Requests parsed in one go, in order. Reused from turn to turn, so that parsing does not allocate.
#[derive(Debug, Default)]
pub struct Batch {
    args: Vec<Arg>,
    requests: Vec<Parsed>,
}

#[derive(Clone, Copy, Debug)]
struct Parsed {
    /// Index just past the request's last argument; its first one follows the previous request's last.
    args_end: usize,
    raw_start: usize,
    raw_end: usize,
    canonical: bool,
}

impl Batch {
    /// The number of requests.
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// The request number `index`, which must be less than [`Batch::len`].
    #[inline]
    pub fn get(&self, index: usize) -> Request<'_> {
        let args_start = if index == 0 {
            0
        } else {
            self.requests[index - 1].args_end
        };
        let parsed = &self.requests[index];
        Request {
            args: &self.args[args_start..parsed.args_end],
            raw: parsed.canonical.then_some(parsed.raw_start..parsed.raw_end),
        }
    }

    /// The requests in order.
    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = Request<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets all requests and keeps a moderate capacity.
    pub fn clear(&mut self) {
        self.args.clear();
        self.requests.clear();
        self.args.shrink_to(ARGS_CAPACITY_KEPT);
    }
}

/// Why [`Parser::parse`] stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The buffer ends within a request, or is empty. At least `missing` more bytes are needed to go on; a caller
    /// may use it as the size of a read, but must not allocate that much ahead of the data.
    Incomplete {
        /// At least 1.
        missing: usize,
    },
    /// The batch is full; there may be more requests behind the consumed bytes.
    Full,
    /// The stream broke the protocol: answer the batch's requests, send the error, close the connection.
    Broken(ProtocolError),
}

/// A violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// No line end within 64 KiB of an inline command.
    InlineTooBig,
    /// An inline command's quotes do not balance.
    UnbalancedQuotes,
    /// No line end within 64 KiB of a `*`.
    CountLineTooBig,
    /// The number of arguments is not a number or too large.
    InvalidCount,
    /// More arguments than an unauthenticated client may send.
    UnauthenticatedCount,
    /// No line end within 64 KiB of a place where `$` is expected.
    LengthLineTooBig,
    /// An argument does not begin with `$`.
    ExpectedDollar(u8),
    /// An argument's length is not a number, negative or above the limit.
    InvalidLength,
    /// A longer argument than an unauthenticated client may send.
    UnauthenticatedLength,
}

impl ProtocolError {
    /// The error reply's text after its `-`, without the line end.
    pub fn reply(self) -> Vec<u8> {
        let mut text = b"ERR Protocol error: ".to_vec();
        match self {
            Self::ExpectedDollar(got) => {
                text.extend(b"expected '$', got '");
                text.push(if matches!(got, b'\r' | b'\n') {
                    b' '
                } else {
                    got
                });
                text.push(b'\'');
            }
            Self::InlineTooBig => text.extend(b"too big inline request"),
            Self::UnbalancedQuotes => text.extend(b"unbalanced quotes in request"),
            Self::CountLineTooBig => text.extend(b"too big mbulk count string"),
            Self::InvalidCount => text.extend(b"invalid multibulk length"),
            Self::UnauthenticatedCount => text.extend(b"unauthenticated multibulk length"),
            Self::LengthLineTooBig => text.extend(b"too big bulk count string"),
            Self::InvalidLength => text.extend(b"invalid bulk length"),
            Self::UnauthenticatedLength => text.extend(b"unauthenticated bulk length"),
        }
        text
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(String::from_utf8_lossy(&self.reply()).trim_start_matches("ERR "))
    }
}

impl std::error::Error for ProtocolError {}

/// The parser of one connection: what it knows about the request at the start of the buffer.
#[derive(Debug, Default)]
pub struct Parser {
    /// The incomplete request, if some of it has been understood.
    pending: Option<Multibulk>,
    /// The incomplete request's arguments so far; offsets count from its start.
    pending_args: Vec<Arg>,
    /// How much of the unfinished line at hand is known to hold no line end.
    scanned: usize,
}

/// How far a multibulk request has been parsed. Positions count from the request's start.
#[derive(Clone, Debug)]
struct Multibulk {
    position: usize,
    args_missing: usize,
    /// The length of the argument that begins at `position`, if its header has been read.
    bulk: Option<usize>,
    canonical: bool,
}

enum Step {
    Done { end: usize },
    Incomplete { missing: usize },
}

impl Parser {
    /// A parser for a fresh connection.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Bytes of memory held for an incomplete request, besides the read buffer.
    #[cfg(test)]
    pub fn memory_usage(&self) -> usize {
        self.pending_args.capacity() * size_of::<Arg>()
    }

    /// Parses up to `requests_max` requests from the start of `buf` into `batch`, which is cleared first.
    ///
    /// Returns the number of bytes to drop from the start of `buf` once the batch has been executed, and why
    /// parsing stopped. After [`Stop::Broken`] the parser must not be used again.
    pub fn parse(
        &mut self,
        buf: &mut [u8],
        limits: &Limits,
        requests_max: usize,
        batch: &mut Batch,
    ) -> (usize, Stop) {
        batch.clear();
        let requests_max = if limits.authenticated {
            requests_max
        } else {
            requests_max.min(1)
        };
        let mut consumed = 0;
        while batch.requests.len() < requests_max {
            if self.pending.is_none()
                && self.scanned == 0
                && let Some(end) = short_request(buf, consumed, limits, &mut batch.args)
            {
                batch.push_request(consumed, end, true);
                consumed = end;
                continue;
            }
            match self.parse_one(buf, consumed, limits, batch) {
                Ok(Step::Done { end }) => consumed = end,
                Ok(Step::Incomplete { missing }) => {
                    return (consumed, Stop::Incomplete { missing });
                }
                Err(error) => return (consumed, Stop::Broken(error)),
            }
        }
        (consumed, Stop::Full)
    }

    /// Parses the request that begins at `base`, or goes on with it.
    fn parse_one(
        &mut self,
        buf: &mut [u8],
        base: usize,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => match buf.get(base) {
                None => return Ok(Step::Incomplete { missing: 1 }),
                Some(b'*') => match self.count_line(buf, base, limits)? {
                    Header::Incomplete => return Ok(Step::Incomplete { missing: 1 }),
                    Header::Empty { end } => return Ok(Step::Done { end }),
                    Header::Request(fresh) => fresh,
                },
                Some(_) => return self.inline(buf, base, batch),
            },
        };
        self.bulks(buf, base, pending, limits, batch)
    }

    /// Reads `*count\r\n`.
    fn count_line(
        &mut self,
        buf: &[u8],
        base: usize,
        limits: &Limits,
    ) -> Result<Header, ProtocolError> {
        let Some(line_end) =
            self.find_line_end(&buf[base..], b'\r', ProtocolError::CountLineTooBig)?
        else {
            return Ok(Header::Incomplete);
        };
        let Some(&line_feed) = buf.get(base + line_end + 1) else {
            self.scanned = line_end;
            return Ok(Header::Incomplete);
        };
        self.scanned = 0;
        let count =
            integer::parse_i64(&buf[base + 1..base + line_end]).filter(|&count| count <= ARGS_MAX);
        let Some(count) = count else {
            return Err(ProtocolError::InvalidCount);
        };
        if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        let position = line_end + 2;
        if count <= 0 {
            return Ok(Header::Empty {
                end: base + position,
            });
        }
        let canonical = line_feed == b'\n';
        Ok(Header::Request(Multibulk {
            position,
            args_missing: count as usize,
            bulk: None,
            canonical,
        }))
    }

    /// Reads arguments until the request is complete or the buffer ends.
    fn bulks(
        &mut self,
        buf: &[u8],
        base: usize,
        mut request: Multibulk,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let buf = &buf[base..];
        while request.args_missing > 0 {
            let length = match request.bulk {
                Some(length) => length,
                None => match self.length_line(buf, &mut request, limits)? {
                    Some(length) => length,
                    None => {
                        self.pending = Some(request);
                        return Ok(Step::Incomplete { missing: 1 });
                    }
                },
            };
            let needed = length.saturating_add(2);
            let available = buf.len() - request.position;
            if available < needed {
                request.bulk = Some(length);
                self.pending = Some(request);
                return Ok(Step::Incomplete {
                    missing: needed - available,
                });
            }
            let end = request.position + length;
            self.pending_args.push(Arg {
                start: request.position,
                end,
            });
            request.canonical &= &buf[end..end + 2] == b"\r\n";
            request.position = end + 2;
            request.bulk = None;
            request.args_missing -= 1;
        }
        let args = self.pending_args.drain(..).map(|arg| Arg {
            start: base + arg.start,
            end: base + arg.end,
        });
        batch.args.extend(args);
        self.pending_args.shrink_to(ARGS_CAPACITY_KEPT);
        let end = base + request.position;
        batch.push_request(base, end, request.canonical);
        Ok(Step::Done { end })
    }

    /// Reads `$length\r\n` at the request's position; `None` if the line is not complete yet.
    fn length_line(
        &mut self,
        buf: &[u8],
        request: &mut Multibulk,
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        let line = &buf[request.position..];
        let Some(line_end) = self.find_line_end(line, b'\r', ProtocolError::LengthLineTooBig)?
        else {
            return Ok(None);
        };
        let Some(&line_feed) = line.get(line_end + 1) else {
            self.scanned = line_end;
            return Ok(None);
        };
        self.scanned = 0;
        if line[0] != b'$' {
            return Err(ProtocolError::ExpectedDollar(line[0]));
        }
        let length = match integer::parse_i64(&line[1..line_end]) {
            Some(length) if length >= 0 && length as u64 <= limits.bulk_bytes_max => length,
            _ => return Err(ProtocolError::InvalidLength),
        };
        if length > UNAUTHENTICATED_BULK_BYTES_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedLength);
        }
        request.canonical &= line_feed == b'\n';
        request.position += line_end + 2;
        Ok(Some(length as usize))
    }

    /// Reads an inline command.
    fn inline(
        &mut self,
        buf: &mut [u8],
        base: usize,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let Some(line_feed) =
            self.find_line_end(&buf[base..], b'\n', ProtocolError::InlineTooBig)?
        else {
            return Ok(Step::Incomplete { missing: 1 });
        };
        self.scanned = 0;
        let end = base + line_feed + 1;
        let line = &mut buf[base..end - 1];
        let line = match line {
            [before @ .., b'\r'] => before,
            whole => whole,
        };
        let args_before = batch.args.len();
        let args = &mut batch.args;
        let split = quote::split_in_place(line, |start, end| {
            args.push(Arg {
                start: base + start,
                end: base + end,
            })
        });
        if split.is_err() {
            batch.args.truncate(args_before);
            return Err(ProtocolError::UnbalancedQuotes);
        }
        if batch.args.len() > args_before {
            batch.push_request(base, end, false);
        }
        Ok(Step::Done { end })
    }

    /// Finds `end_byte` in the line at the start of `line`, going on from where the last look ended. As in Redis a
    /// NUL hides everything behind it, so that binary garbage ends in an error and not in commands.
    fn find_line_end(
        &mut self,
        line: &[u8],
        end_byte: u8,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let window = &line[..line.len().min(LINE_BYTES_MAX + 1)];
        match memchr2(end_byte, 0, &window[self.scanned..]) {
            Some(offset) if window[self.scanned + offset] == end_byte => {
                return Ok(Some(self.scanned + offset));
            }
            Some(offset) => self.scanned += offset,
            None => self.scanned = window.len(),
        }
        if line.len() > LINE_BYTES_MAX {
            Err(too_big)
        } else {
            Ok(None)
        }
    }
}

impl Batch {
    #[inline]
    fn push_request(&mut self, raw_start: usize, raw_end: usize, canonical: bool) {
        self.requests.push(Parsed {
            args_end: self.args.len(),
            raw_start,
            raw_end,
            canonical,
        });
    }
}

enum Header {
    Incomplete,
    /// `*0` or a negative count: nothing to execute.
    Empty {
        end: usize,
    },
    Request(Multibulk),
}

/// The fast path: a complete canonical request whose counts and lengths have at most three digits.
///
/// Pushes its arguments and returns its end, or returns `None` and leaves `args` as it was; then the general path
/// decides what the input is.
#[inline]
fn short_request(buf: &[u8], base: usize, limits: &Limits, args: &mut Vec<Arg>) -> Option<usize> {
    if !limits.authenticated || limits.bulk_bytes_max < 1000 {
        return None;
    }
    let (count, mut position) = short_header(buf, base, b'*')?;
    let args_before = args.len();
    for _ in 0..count {
        let arg = short_header(buf, position, b'$').and_then(|(length, start)| {
            let end = start + length;
            (buf.get(end..end + 2)? == b"\r\n").then_some(Arg { start, end })
        });
        let Some(arg) = arg else {
            args.truncate(args_before);
            return None;
        };
        args.push(arg);
        position = arg.end + 2;
    }
    (count > 0).then_some(position)
}

/// Reads `sigil`, one to three digits without a leading zero, CRLF; returns the number and the position behind it.
/// Six bytes always follow in a complete request, since the shortest end of one is `$0\r\n\r\n`.
#[inline]
fn short_header(buf: &[u8], position: usize, sigil: u8) -> Option<(usize, usize)> {
    let bytes: &[u8; 6] = buf.get(position..position + 6)?.try_into().ok()?;
    let digit = |index: usize| {
        let value = bytes[index].wrapping_sub(b'0');
        (value < 10).then_some(usize::from(value))
    };
    if bytes[0] != sigil {
        return None;
    }
    let first = digit(1)?;
    if bytes[2..4] == *b"\r\n" {
        return Some((first, position + 4));
    }
    if first == 0 {
        return None;
    }
    let second = digit(2)?;
    if bytes[3..5] == *b"\r\n" {
        return Some((first * 10 + second, position + 5));
    }
    let third = digit(3)?;
    (bytes[4..6] == *b"\r\n").then_some((first * 100 + second * 10 + third, position + 6))
}

#[cfg(test)]
mod tests;
