//! A raw RESP2/RESP3 client, and replies as printable trees.
//!
//! The notation is redis-cli's with every type visible: bulk strings are quoted, simple strings are not, `(nil)` and
//! `(nil array)` differ, and RESP3 adds `(null)`, `(double)`, `(true)`, maps `1# k => v`, sets `1~ v` and pushes `1! v`.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`
    Nil,
    /// `*-1`
    NilArray,
    Array(Vec<Reply>),
    /// `_`
    Null,
    Double(String),
    Boolean(bool),
    BigNumber(String),
    Verbatim(Vec<u8>),
    Map(Vec<(Reply, Reply)>),
    Set(Vec<Reply>),
    Push(Vec<Reply>),
}

impl Reply {
    /// The text of a simple, bulk or verbatim string; panics on anything else.
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(s) => s.clone(),
            Reply::Bulk(b) | Reply::Verbatim(b) => String::from_utf8_lossy(b).into_owned(),
            other => panic!("a string was expected: {other}"),
        }
    }

    /// The bytes of a bulk string; panics on anything else.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Reply::Bulk(b) => b,
            other => panic!("a bulk string was expected: {other}"),
        }
    }

    /// The integer; panics on anything else.
    pub fn integer(&self) -> i64 {
        match self {
            Reply::Integer(n) => *n,
            other => panic!("an integer was expected: {other}"),
        }
    }

    /// The elements of an array or set; panics on anything else.
    pub fn elements(self) -> Vec<Reply> {
        match self {
            Reply::Array(v) | Reply::Set(v) | Reply::Push(v) => v,
            other => panic!("an array was expected: {other}"),
        }
    }

    /// Whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    fn print(&self, indent: usize, out: &mut String) {
        match self {
            Reply::Simple(s) => out.push_str(s),
            Reply::Error(s) => out.push_str(&format!("(error) {s}")),
            Reply::Integer(n) => out.push_str(&format!("(integer) {n}")),
            Reply::Bulk(b) => out.push_str(&quote(b)),
            Reply::Nil => out.push_str("(nil)"),
            Reply::NilArray => out.push_str("(nil array)"),
            Reply::Null => out.push_str("(null)"),
            Reply::Double(s) => out.push_str(&format!("(double) {s}")),
            Reply::Boolean(b) => out.push_str(&format!("({b})")),
            Reply::BigNumber(s) => out.push_str(&format!("(big number) {s}")),
            Reply::Verbatim(b) => out.push_str(&format!("(verbatim) {}", quote(b))),
            Reply::Array(v) => print_elements(v, ')', "(empty array)", indent, out),
            Reply::Set(v) => print_elements(v, '~', "(empty set)", indent, out),
            Reply::Push(v) => print_elements(v, '!', "(empty push)", indent, out),
            Reply::Map(v) if v.is_empty() => out.push_str("(empty map)"),
            Reply::Map(v) => {
                let mut first = true;
                for (i, (key, value)) in v.iter().enumerate() {
                    let inner = start_element(&mut first, i, '#', indent, out);
                    key.print(inner, out);
                    out.push_str(" => ");
                    value.print(inner + 4, out);
                }
            }
        }
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = String::new();
        self.print(0, &mut out);
        f.write_str(&out)
    }
}

fn print_elements(elements: &[Reply], mark: char, empty: &str, indent: usize, out: &mut String) {
    if elements.is_empty() {
        out.push_str(empty);
    }
    let mut first = true;
    for (i, element) in elements.iter().enumerate() {
        let inner = start_element(&mut first, i, mark, indent, out);
        element.print(inner, out);
    }
}

/// Writes `3) ` on a line of its own, the first one on the line of the parent, and returns the indent of what follows.
fn start_element(
    first: &mut bool,
    index: usize,
    mark: char,
    indent: usize,
    out: &mut String,
) -> usize {
    if !std::mem::take(first) {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    let label = format!("{}{mark} ", index + 1);
    out.push_str(&label);
    indent + label.len()
}

/// Bytes as a double-quoted string, with everything outside printable ASCII escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &b in bytes {
        match b {
            b'"' | b'\\' => out.extend(['\\', char::from(b)]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out.push('"');
    out
}

/// One connection.
pub struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

impl Client {
    /// Connects to 127.0.0.1. A reply that takes longer than half a minute is an error.
    pub fn connect(port: u16) -> io::Result<Client> {
        let writer = TcpStream::connect(("127.0.0.1", port))?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client {
            reader: BufReader::with_capacity(1 << 16, writer.try_clone()?),
            writer,
        })
    }

    /// Sends a command and returns its reply; panics if the connection breaks.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        match self.try_call(args) {
            Ok(reply) => reply,
            Err(e) => {
                let words: Vec<String> = args.iter().map(|a| quote(a.as_ref())).collect();
                panic!("no reply to {}: {e}", words.join(" "))
            }
        }
    }

    /// Sends a command given as words in one string, and panics on an error reply.
    pub fn ok(&mut self, command: &str) -> Reply {
        let words: Vec<&str> = command.split_whitespace().collect();
        let reply = self.call(&words);
        assert!(!reply.is_error(), "{command}: {reply}");
        reply
    }

    /// Sends a command and returns its reply.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(args)?;
        self.receive()
    }

    /// Sends commands in one write and returns their replies.
    pub fn pipeline(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(commands.len());
        // Bounded, so that neither side fills its socket buffer while the other does not read.
        for chunk in commands.chunks(128) {
            self.send_all(chunk).expect("send a pipeline");
            replies.extend(
                chunk
                    .iter()
                    .map(|_| self.receive().expect("a reply in a pipeline")),
            );
        }
        replies
    }

    /// Sends a command without waiting.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<()> {
        self.writer.write_all(&encode(args))
    }

    /// Sends bytes, which need not be a whole command.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).expect("send");
    }

    /// Sends commands in one write, without waiting.
    pub fn send_all(&mut self, commands: &[Vec<Vec<u8>>]) -> io::Result<()> {
        let bytes: Vec<u8> = commands.iter().flat_map(|c| encode(c)).collect();
        self.writer.write_all(&bytes)
    }

    /// Reads one reply.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line
            .split_at_checked(1)
            .ok_or_else(|| bad("an empty line"))?;
        Ok(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(rest.parse().map_err(|_| bad(&line))?),
            "$" => self.blob(rest)?.map_or(Reply::Nil, Reply::Bulk),
            "!" => Reply::Error(
                String::from_utf8_lossy(&self.blob(rest)?.unwrap_or_default()).into_owned(),
            ),
            "=" => Reply::Verbatim(self.blob(rest)?.unwrap_or_default()),
            "_" => Reply::Null,
            "," => Reply::Double(rest.into()),
            "(" => Reply::BigNumber(rest.into()),
            "#" => Reply::Boolean(rest == "t"),
            "*" => self
                .sequence(rest, 1)?
                .map_or(Reply::NilArray, Reply::Array),
            "~" => Reply::Set(self.sequence(rest, 1)?.unwrap_or_default()),
            ">" => Reply::Push(self.sequence(rest, 1)?.unwrap_or_default()),
            "%" => {
                let mut flat = self.sequence(rest, 2)?.unwrap_or_default().into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
                    pairs.push((key, value));
                }
                Reply::Map(pairs)
            }
            _ => return Err(bad(&line)),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') || line.pop() != Some(b'\r') {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended"));
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn blob(&mut self, len: &str) -> io::Result<Option<Vec<u8>>> {
        if len == "-1" {
            return Ok(None);
        }
        let len: usize = len.parse().map_err(|_| bad(len))?;
        let mut bytes = vec![0; len + 2];
        self.reader.read_exact(&mut bytes)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(bad("a bulk string without its end"));
        }
        bytes.truncate(len);
        Ok(Some(bytes))
    }

    fn sequence(&mut self, len: &str, per_entry: usize) -> io::Result<Option<Vec<Reply>>> {
        if len == "-1" {
            return Ok(None);
        }
        let len: usize = len.parse().map_err(|_| bad(len))?;
        (0..len * per_entry)
            .map(|_| self.receive())
            .collect::<io::Result<Vec<_>>>()
            .map(Some)
    }
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not RESP: {what}"))
}

fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend(format!("${}\r\n", arg.len()).into_bytes());
        out.extend(arg);
        out.extend(b"\r\n");
    }
    out
}
