//! The way of values to other servers: the sockets behind MIGRATE.
//!
//! A connection is kept for a while after it was used, since keys are usually moved many at a time. It is taken out of
//! the store while it is in use, so two migrations to one server have a connection each.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use hardtack_storage::command::CommandError;
use parking_lot::Mutex;

/// How long an unused connection is kept.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Most connections that are kept.
const KEPT_MAX: usize = 64;

/// Most values that are sent before their replies are read: a target that waits for us to read reads no more itself.
const UNANSWERED_MAX: usize = 1024;

/// Longest reply that makes sense.
const REPLY_LEN_MAX: u64 = 4096;

type Address = (Vec<u8>, u16);

/// Where values are to go, and how.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// Name or address of the host.
    pub host: &'a [u8],
    /// TCP port.
    pub port: u16,
    /// Database.
    pub db: u32,
    /// Longest silence of the other side.
    pub timeout: Duration,
    /// What it wants to know first.
    pub credentials: Option<Credentials<'a>>,
    /// Whether keys that exist there are replaced.
    pub replace: bool,
}

/// Who we are for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user, unless it is the default one.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: &'a [u8],
}

/// One value to take.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its key.
    pub key: Vec<u8>,
    /// Milliseconds that it has left to live; 0: it does not expire.
    pub ttl_ms: i64,
    /// The value, as RESTORE takes it.
    pub payload: Vec<u8>,
}

/// What became of the parcels.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Those that the other side has acknowledged, by their index.
    pub accepted: Vec<usize>,
    /// The first thing that went wrong.
    pub error: Option<CommandError>,
}

/// A connection that waits for its next use.
struct Kept {
    peer: Peer,
    since: Instant,
}

/// Connections to other servers.
#[derive(Default)]
pub struct Connections {
    kept: Mutex<HashMap<Address, Kept>>,
}

impl Connections {
    /// Connections that wait for their next use.
    pub fn len(&self) -> usize {
        self.kept.lock().len()
    }

    /// Closes what has been unused for long.
    pub fn close_unused(&self) {
        self.kept
            .lock()
            .retain(|_, kept| kept.since.elapsed() < KEPT_FOR);
    }

    fn keep(&self, address: Address, peer: Peer) {
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX
            && !kept.contains_key(&address)
            && let Some(oldest) = kept
                .iter()
                .min_by_key(|(_, kept)| kept.since)
                .map(|(address, _)| address.clone())
        {
            kept.remove(&oldest);
        }
        let since = Instant::now();
        kept.insert(address, Kept { peer, since });
    }

    /// Stores `parcels` at `destination`. Takes as long as the other side does: the caller holds nothing.
    pub fn carry(&self, destination: &Destination<'_>, parcels: &[Parcel]) -> Delivery {
        let address = (destination.host.to_vec(), destination.port);
        let kept = self.kept.lock().remove(&address);
        if let Some(Kept { mut peer, .. }) = kept {
            match peer.carry(destination, parcels) {
                Ok(delivery) => {
                    self.keep(address, peer);
                    return delivery;
                }
                // The other side may have hung up since; nothing has arrived then, and a new connection will tell.
                Err(failure) if failure.delivery.accepted.is_empty() && !failure.timed_out => {}
                Err(failure) => return failure.delivery,
            }
        }
        let mut peer = match Peer::connect(destination) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!("MIGRATE cannot connect: {error}");
                return Delivery {
                    accepted: Vec::new(),
                    error: Some(io_error("connecting to")),
                };
            }
        };
        match peer.carry(destination, parcels) {
            Ok(delivery) => {
                self.keep(address, peer);
                delivery
            }
            Err(failure) => failure.delivery,
        }
    }
}

/// A migration that ended with its connection.
struct Failure {
    delivery: Delivery,
    timed_out: bool,
}

fn io_error(doing: &str) -> CommandError {
    CommandError::Other(
        "IOERR",
        format!("error or timeout {doing} the target instance").into(),
    )
}

/// One connection.
struct Peer {
    stream: BufReader<TcpStream>,
    /// The database that it has selected, if that is known.
    db: Option<u32>,
}

impl Peer {
    fn connect(destination: &Destination<'_>) -> io::Result<Peer> {
        let host = std::str::from_utf8(destination.host)
            .map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in (host, destination.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, destination.timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(Peer {
                        stream: BufReader::new(stream),
                        db: Some(0),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn carry(
        &mut self,
        destination: &Destination<'_>,
        parcels: &[Parcel],
    ) -> Result<Delivery, Failure> {
        let mut delivery = Delivery::default();
        match self.exchange(destination, parcels, &mut delivery) {
            Ok(()) => Ok(delivery),
            Err((doing, error)) => {
                delivery.error.get_or_insert_with(|| io_error(doing));
                let timed_out = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                Err(Failure {
                    delivery,
                    timed_out,
                })
            }
        }
    }

    /// Introduces itself, sends everything, and reads a reply for each value. Where the other side does not let us in,
    /// or has no such database, nothing is sent.
    fn exchange(
        &mut self,
        destination: &Destination<'_>,
        parcels: &[Parcel],
        delivery: &mut Delivery,
    ) -> Result<(), (&'static str, io::Error)> {
        const WRITING: &str = "writing to";
        const READING: &str = "reading from";
        let socket = self.stream.get_ref();
        socket
            .set_read_timeout(Some(destination.timeout))
            .and_then(|()| socket.set_write_timeout(Some(destination.timeout)))
            .map_err(|error| (WRITING, error))?;
        let mut introductions: Vec<Vec<u8>> = Vec::new();
        if let Some(credentials) = destination.credentials {
            let mut args: Vec<&[u8]> = vec![b"AUTH"];
            args.extend(credentials.user);
            args.push(credentials.password);
            introductions.push(request(&args));
        }
        if self.db != Some(destination.db) {
            let db = destination.db.to_string();
            introductions.push(request(&[b"SELECT", db.as_bytes()]));
        }
        for introduction in introductions {
            self.send(&introduction).map_err(|error| (WRITING, error))?;
            if let Some(refusal) = self.read_reply().map_err(|error| (READING, error))? {
                self.db = None;
                delivery.error = Some(refusal);
                return Ok(());
            }
        }
        self.db = Some(destination.db);
        let mut indexes = 0..parcels.len();
        for parcels in parcels.chunks(UNANSWERED_MAX) {
            for parcel in parcels {
                let ttl = parcel.ttl_ms.to_string();
                let mut args: Vec<&[u8]> =
                    vec![b"RESTORE", &parcel.key, ttl.as_bytes(), &parcel.payload];
                if destination.replace {
                    args.push(b"REPLACE");
                }
                // One by one: the values are not gathered in memory a second time.
                self.send(&request(&args))
                    .map_err(|error| (WRITING, error))?;
            }
            for index in indexes.by_ref().take(parcels.len()) {
                match self.read_reply().map_err(|error| (READING, error))? {
                    None => delivery.accepted.push(index),
                    Some(refusal) => {
                        delivery.error.get_or_insert(refusal);
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(request)
    }

    /// Reads a reply of one line: the error that it is, if it is one.
    fn read_reply(&mut self) -> io::Result<Option<CommandError>> {
        let mut line = Vec::new();
        (&mut self.stream)
            .take(REPLY_LEN_MAX)
            .read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some([b'-', text @ ..]) => {
                let text = String::from_utf8_lossy(text);
                let error = format!("Target instance replied with error: {text}");
                Ok(Some(CommandError::err(error)))
            }
            Some([b'+' | b':', ..]) => Ok(None),
            None if line.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// A request as bytes.
fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        request.extend_from_slice(arg);
        request.extend_from_slice(b"\r\n");
    }
    request
}
