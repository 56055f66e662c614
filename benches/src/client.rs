//! Commands as bytes made beforehand, replies that are only counted, and plain blocking connections.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use rand::distr::Alphanumeric;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Digits of a number in a command. Fixed, so that a number can be changed in place.
const DIGITS: usize = 12;

/// One word of a [`Command`].
#[derive(Clone, Debug)]
pub enum Word {
    /// The same each time.
    Fixed(String),
    /// A prefix, then [twelve digits](DIGITS) of a number below the bound, another one each time.
    Numbered(&'static str, u64),
}

/// A command of which only numbers change from one time to the next.
#[derive(Clone, Debug)]
pub struct Command {
    words: Vec<Word>,
}

impl Command {
    /// A command of these words.
    pub fn new(words: Vec<Word>) -> Command {
        Command { words }
    }

    /// `SET key:N value` over `keys` keys of 16 bytes.
    pub fn set(keys: u64, value_bytes: usize) -> Command {
        Command::new(vec![
            Word::Fixed("SET".into()),
            Word::Numbered("key:", keys),
            value(value_bytes),
        ])
    }

    /// `GET key:N` over `keys` keys of 16 bytes.
    pub fn get(keys: u64) -> Command {
        Command::new(vec![
            Word::Fixed("GET".into()),
            Word::Numbered("key:", keys),
        ])
    }
}

/// A value that does not compress, the same each time: what a server compresses on disk would flatter it.
pub fn value(bytes: usize) -> Word {
    let mut rng = SmallRng::seed_from_u64(1);
    Word::Fixed(
        (0..bytes)
            .map(|_| char::from(rng.sample(Alphanumeric)))
            .collect(),
    )
}

/// A request buffer that holds a command a number of times.
pub struct Batch {
    bytes: Vec<u8>,
    /// Where a number's digits end, and its bound.
    numbers: Vec<(usize, u64)>,
    depth: usize,
    rng: SmallRng,
}

impl Batch {
    /// A buffer of `depth` times the command.
    pub fn new(command: &Command, depth: usize, seed: u64) -> Batch {
        let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
        for _ in 0..depth {
            bytes.extend(format!("*{}\r\n", command.words.len()).into_bytes());
            for word in &command.words {
                match word {
                    Word::Fixed(text) => {
                        bytes.extend(format!("${}\r\n{text}\r\n", text.len()).into_bytes())
                    }
                    Word::Numbered(prefix, bound) => {
                        let len = prefix.len() + DIGITS;
                        bytes.extend(format!("${len}\r\n{prefix}{:0>DIGITS$}", 0).into_bytes());
                        numbers.push((bytes.len(), *bound));
                        bytes.extend(b"\r\n");
                    }
                }
            }
        }
        Batch {
            bytes,
            numbers,
            depth,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// The number of commands.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The buffer, with random numbers.
    pub fn random(&mut self) -> &[u8] {
        for &(end, bound) in &self.numbers {
            write_digits(&mut self.bytes, end, bound, self.rng.random_range(0..bound));
        }
        &self.bytes
    }

    /// The buffer with the numbers from `first` on; for commands with one number.
    pub fn sequence(&mut self, first: u64) -> &[u8] {
        for (number, &(end, bound)) in (first..).zip(&self.numbers) {
            write_digits(&mut self.bytes, end, bound, number);
        }
        &self.bytes
    }
}

/// Writes as many digits as numbers below `bound` can have; the ones before them stay zero.
fn write_digits(bytes: &mut [u8], end: usize, bound: u64, mut number: u64) {
    let (mut at, mut bound) = (end, bound);
    while bound > 0 {
        at -= 1;
        bytes[at] = b'0' + (number % 10) as u8;
        number /= 10;
        bound /= 10;
    }
}

/// Counts replies in a stream of bytes, wherever it is cut.
#[derive(Default)]
pub struct ReplyCounter {
    /// Bytes of a bulk string, with its line end, that are still to come.
    skip: usize,
    /// The begun line.
    line: Vec<u8>,
}

impl ReplyCounter {
    /// Returns the number of replies that end in `bytes`.
    ///
    /// # Errors
    /// If one is an error, or not a simple string, an integer or a bulk string.
    pub fn count(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut count = 0;
        loop {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                if self.skip > 0 {
                    return Ok(count);
                }
                count += 1;
            }
            let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
                self.line.extend(bytes);
                return Ok(count);
            };
            let (rest, after) = bytes.split_at(end + 1);
            bytes = after;
            let whole;
            let line = if self.line.is_empty() {
                rest
            } else {
                self.line.extend(rest);
                whole = std::mem::take(&mut self.line);
                &whole[..]
            };
            match line[0] {
                b'+' | b':' => count += 1,
                b'$' if line == b"$-1\r\n" => count += 1,
                b'$' => {
                    let len = std::str::from_utf8(&line[1..])
                        .ok()
                        .and_then(|l| l.trim().parse::<usize>().ok());
                    self.skip = len.ok_or_else(|| unexpected(line))? + 2;
                }
                _ => return Err(unexpected(line)),
            }
        }
    }
}

fn unexpected(line: &[u8]) -> io::Error {
    io::Error::other(format!("the server replied {}", line.escape_ascii()))
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
    replies: ReplyCounter,
}

impl Connection {
    /// Connects to 127.0.0.1.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            replies: ReplyCounter::default(),
        })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads once and returns how many replies ended; blocks when nothing has arrived.
    ///
    /// # Errors
    /// If the connection ended, or a reply is an error.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => self.replies.count(&buffer[..n]),
        }
    }

    /// Sends one command and returns the text of its reply; nothing else may be under way.
    ///
    /// # Errors
    /// If the connection is broken, or the reply is an error.
    pub fn call(&mut self, words: &[&str]) -> io::Result<Vec<u8>> {
        let words = words.iter().map(|w| Word::Fixed(w.to_string())).collect();
        self.send(&Batch::new(&Command::new(words), 1, 0).bytes)?;
        let mut reply = Vec::new();
        let mut buffer = [0; 1 << 14];
        loop {
            let n = self.stream.read(&mut buffer)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            reply.extend(&buffer[..n]);
            if self.replies.count(&buffer[..n])? > 0 {
                return Ok(reply);
            }
        }
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_wherever_the_stream_is_cut() {
        let stream = b"+OK\r\n:12\r\n$-1\r\n$5\r\na\nb\r\n\r\n$0\r\n\r\n+\r\n";
        for first in 0..stream.len() {
            for second in first..stream.len() {
                let mut counter = ReplyCounter::default();
                let parts = [&stream[..first], &stream[first..second], &stream[second..]];
                let count: usize = parts.iter().map(|p| counter.count(p).unwrap()).sum();
                assert_eq!(count, 6, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn an_error_reply_ends_the_count() {
        assert!(
            ReplyCounter::default()
                .count(b"+OK\r\n-ERR no\r\n")
                .is_err()
        );
    }

    #[test]
    fn numbers_are_written_in_place() {
        let mut batch = Batch::new(&Command::get(1000), 2, 7);
        let two = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000998\r\n*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000999\r\n";
        assert_eq!(batch.sequence(998), two);
        assert_eq!(batch.random().len(), two.len());
    }
}
