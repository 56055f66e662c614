//! A connection to the server under test: RESP2, blocking.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Arrays in arrays are read so deep; no reply to what is asked here goes deeper than two.
const DEPTH_MAX: usize = 8;
/// A longer line or string is no answer to anything that is asked here.
const BYTES_MAX: u64 = 1 << 30;

/// Where the server is, and how to get in.
#[derive(Clone, Debug)]
pub struct Target {
    /// A name or an address.
    pub host: String,
    /// A port.
    pub port: u16,
    /// For AUTH.
    pub user: Option<String>,
    /// For AUTH.
    pub password: Option<String>,
    /// For SELECT.
    pub db: u32,
    /// A server that keeps silent for so long is given up.
    pub timeout: Duration,
}

/// One reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+`
    Status(String),
    /// `-`
    Error(String),
    /// `:`
    Integer(i64),
    /// `$`, none for a null
    Bulk(Option<Vec<u8>>),
    /// `*`, none for a null
    Array(Option<Vec<Reply>>),
}

/// An open connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects, authenticates and selects the database.
    ///
    /// # Errors
    /// Those of the socket; [`io::ErrorKind::Other`] with the server's words if it refuses.
    pub fn open(target: &Target) -> io::Result<Connection> {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
        for address in (target.host.as_str(), target.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, target.timeout) {
                Ok(stream) => return Connection::over(stream, target),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn over(stream: TcpStream, target: &Target) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(target.timeout))?;
        stream.set_write_timeout(Some(target.timeout))?;
        let mut connection = Connection {
            reader: BufReader::with_capacity(64 * 1024, stream),
        };
        if let Some(password) = &target.password {
            let mut words = vec!["AUTH"];
            words.extend(target.user.as_deref());
            words.push(password);
            connection.expect_ok(&words)?;
        }
        if target.db > 0 {
            connection.expect_ok(&["SELECT", &target.db.to_string()])?;
        }
        Ok(connection)
    }

    fn expect_ok(&mut self, words: &[&str]) -> io::Result<()> {
        match self.call(words)? {
            Reply::Status(_) => Ok(()),
            Reply::Error(error) => Err(io::Error::other(error)),
            other => Err(strange(format!("{other:?} to {}", words[0]))),
        }
    }

    /// Sends a command and reads its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<Reply> {
        let mut request = Vec::new();
        push_command(&mut request, words);
        self.send(&request)?;
        self.receive()
    }

    /// Sends requests that [`push_command`] has put together.
    pub fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(requests)
    }

    /// Reads the next reply.
    pub fn receive(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.reader, DEPTH_MAX)
    }
}

/// Appends a command as RESP has it.
pub fn push_command<A: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[A]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn strange(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the server sent {what}"),
    )
}

fn read_reply<R: BufRead>(reader: &mut R, depth: usize) -> io::Result<Reply> {
    let line = read_line(reader)?;
    let Some((&mark, text)) = line.split_first() else {
        return Err(strange("an empty line"));
    };
    let words = || String::from_utf8_lossy(text).into_owned();
    let number = || {
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        number.ok_or_else(|| strange(format!("'{}' as a number", text.escape_ascii())))
    };
    match mark {
        b'+' => Ok(Reply::Status(words())),
        b'-' => Ok(Reply::Error(words())),
        b':' => Ok(Reply::Integer(number()?)),
        b'$' => match u64::try_from(number()?) {
            Err(_) => Ok(Reply::Bulk(None)),
            Ok(len) if len > BYTES_MAX => Err(strange(format!("a string of {len} bytes"))),
            Ok(len) => read_bulk(reader, len).map(|bytes| Reply::Bulk(Some(bytes))),
        },
        b'*' => match number()? {
            ..0 => Ok(Reply::Array(None)),
            _ if depth == 0 => Err(strange("arrays in arrays")),
            // Grows as they come: the number is not believed.
            len => (0..len)
                .map(|_| read_reply(reader, depth - 1))
                .collect::<io::Result<Vec<_>>>()
                .map(|elements| Reply::Array(Some(elements))),
        },
        _ => Err(strange(format!("'{}'", line.escape_ascii()))),
    }
}

/// Reads a string of `len` bytes with the end of its line.
fn read_bulk<R: BufRead>(reader: &mut R, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(len + 2).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != len + 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !bytes.ends_with(b"\r\n") {
        return Err(strange("a string that does not end where it should"));
    }
    bytes.truncate(len as usize);
    Ok(bytes)
}

/// Reads a line without its end.
fn read_line<R: BufRead>(reader: &mut R) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader
        .by_ref()
        .take(64 * 1024)
        .read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(text.to_vec()),
        None if line.is_empty() || !line.ends_with(b"\n") => {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
        None => Err(strange("a line that does not end in CR LF")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        read_reply(&mut bytes, DEPTH_MAX)
    }

    #[test]
    fn replies_of_every_kind() {
        assert_eq!(read(b"+OK\r\n").unwrap(), Reply::Status("OK".into()));
        assert_eq!(read(b"-ERR no\r\n").unwrap(), Reply::Error("ERR no".into()));
        assert_eq!(read(b":-7\r\n").unwrap(), Reply::Integer(-7));
        assert_eq!(
            read(b"$3\r\na\r\n\r\n").unwrap(),
            Reply::Bulk(Some(b"a\r\n".to_vec()))
        );
        assert_eq!(read(b"$-1\r\n").unwrap(), Reply::Bulk(None));
        assert_eq!(
            read(b"*2\r\n:1\r\n*-1\r\n").unwrap(),
            Reply::Array(Some(vec![Reply::Integer(1), Reply::Array(None)]))
        );
    }

    #[test]
    fn what_is_no_reply_is_an_error_and_takes_no_memory() {
        let nested = b"*1\r\n".repeat(20);
        for bytes in [
            &b""[..],
            b"+OK",
            b"+OK\n",
            b"x\r\n",
            b"\r\n",
            b":1x\r\n",
            b"$5\r\nabc\r\n",
            b"$3\r\nabcde\r\n",
            b"$9223372036854775807\r\n",
            b"*9223372036854775807\r\n:1\r\n",
            &nested,
        ] {
            assert!(read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
