//! I/O threads: each runs its connections on a single-threaded runtime of its own.
//!
//! An acceptor deals connections out to the thread with the fewest. A thread has one [`Worker`] for the commands of
//! all its connections, one flusher for their replies, and one read buffer, which a connection borrows while it has
//! bytes to read.
//!
//! A thread may hang at the disk: in the write at the end of a turn, and under `always` also in a sync, which it does
//! itself while it has but one connection. New connections then go to another thread, if need be to a spare one that
//! has no other purpose. That none goes to a thread which is about to sync is decided by two words of [`Load`]: the
//! thread says that it goes to the disk before it counts its connections, the acceptor counts its connection before it
//! looks where the thread is.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hardtack_storage::engine::Worker;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

use crate::conn::Conn;
use crate::flush::Flusher;
use crate::resp::Batch;
use crate::server::Server;
use crate::stream;

/// Bytes read at once.
pub const READ_BYTES: usize = 64 * 1024;

/// A connection that has been accepted.
pub enum Accepted {
    #[allow(missing_docs)]
    Tcp(std::net::TcpStream),
    #[allow(missing_docs)]
    Unix(std::os::unix::net::UnixStream),
}

/// All I/O threads, as the acceptors see them.
pub struct IoThreads {
    regular: Vec<IoThread>,
    /// Gets connections only while all others are at the disk.
    spare: IoThread,
}

/// For how long a connection waits for a thread that is at the disk, before it goes to the spare one.
const PATIENCE: Duration = Duration::from_millis(5);
const LOOK_AGAIN: Duration = Duration::from_micros(200);

struct IoThread {
    accepted: mpsc::UnboundedSender<Accepted>,
    load: Arc<Load>,
}

/// What an I/O thread is at.
pub struct Load {
    /// Connections dealt to it and not ended.
    connections: AtomicUsize,
    /// It writes the log, and serves nobody meanwhile.
    at_the_disk: AtomicBool,
    may_sync: bool,
}

impl Load {
    fn new(may_sync: bool) -> Load {
        Load {
            connections: AtomicUsize::new(0),
            at_the_disk: AtomicBool::new(false),
            may_sync,
        }
    }

    /// Runs what may take as long as the disk likes, and tells it whether the thread has nobody else to serve.
    pub fn at_the_disk<T>(&self, work: impl FnOnce(bool) -> T) -> T {
        self.at_the_disk.store(true, Ordering::SeqCst);
        let alone = self.may_sync && self.connections.load(Ordering::SeqCst) == 1;
        let outcome = work(alone);
        self.at_the_disk.store(false, Ordering::Release);
        outcome
    }
}

/// What the connections of one thread share.
pub struct Local {
    /// The server.
    pub server: Arc<Server>,
    /// Runs commands.
    pub worker: RefCell<Worker>,
    /// Sends replies.
    pub flusher: Rc<Flusher>,
    /// Requests of more bytes that write run on another thread: the log's memory is not to be filled by one of them.
    pub large_request: usize,
    /// The read buffer, while no connection has it.
    pub read_buf: RefCell<Vec<u8>>,
    /// The list of parsed requests, while no connection has it.
    pub batch: RefCell<Batch>,
}

impl IoThreads {
    /// Starts `regular` threads and the spare one.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be made.
    pub fn start(server: &Arc<Server>, regular: usize) -> io::Result<IoThreads> {
        Ok(IoThreads {
            regular: (0..regular)
                .map(|number| IoThread::start(server.clone(), number, true))
                .collect::<Result<_, _>>()?,
            spare: IoThread::start(server.clone(), regular, false)?,
        })
    }

    /// Deals a connection to a thread.
    pub fn deal(&self, mut accepted: Accepted) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let busy = |thread: &&IoThread| {
                let load = &thread.load;
                (
                    load.at_the_disk.load(Ordering::Relaxed),
                    load.connections.load(Ordering::Relaxed),
                )
            };
            let Some(thread) = self.regular.iter().min_by_key(busy) else {
                break;
            };
            match thread.offer(accepted) {
                Ok(()) => return,
                Err(back) => accepted = back,
            }
            if Instant::now() >= patience {
                break;
            }
            thread::sleep(LOOK_AGAIN);
        }
        self.spare.give(accepted);
    }
}

impl IoThread {
    fn start(server: Arc<Server>, number: usize, may_sync: bool) -> io::Result<IoThread> {
        let (accepted, incoming) = mpsc::unbounded_channel();
        let load = Arc::new(Load::new(may_sync));
        let theirs = load.clone();
        let name = format!("hardtack-io-{number}");
        let (started, outcome) = std::sync::mpsc::channel();
        thread::Builder::new().name(name).spawn(move || {
            let runtime = match Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let _ = started.send(Ok(()));
            runtime.block_on(serve(server, incoming, theirs));
        })?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread ended while it started")))?;
        Ok(IoThread { accepted, load })
    }

    /// Deals a connection to the thread, or gives it back if the thread is at the disk.
    fn offer(&self, accepted: Accepted) -> Result<(), Accepted> {
        self.load.connections.fetch_add(1, Ordering::SeqCst);
        if self.load.at_the_disk.load(Ordering::SeqCst) {
            self.load.connections.fetch_sub(1, Ordering::SeqCst);
            return Err(accepted);
        }
        self.send(accepted);
        Ok(())
    }

    fn give(&self, accepted: Accepted) {
        self.load.connections.fetch_add(1, Ordering::SeqCst);
        self.send(accepted);
    }

    fn send(&self, accepted: Accepted) {
        // The thread lives as long as the process.
        let _ = self.accepted.send(accepted);
    }
}

async fn serve(
    server: Arc<Server>,
    mut incoming: mpsc::UnboundedReceiver<Accepted>,
    load: Arc<Load>,
) {
    let flusher = Flusher::new(server.engine.clone(), load.clone());
    tokio::task::spawn_local(flusher.clone().run());
    let local = Rc::new(Local {
        worker: RefCell::new(server.engine.worker()),
        large_request: large_request(server.engine.options().log.ring_bytes),
        flusher,
        read_buf: RefCell::new(Vec::with_capacity(READ_BYTES)),
        batch: RefCell::default(),
        server,
    });
    while let Some(accepted) = incoming.recv().await {
        let (local, load) = (local.clone(), load.clone());
        tokio::task::spawn_local(async move {
            if let Some((read, write, client)) = prepare(&local.server, accepted) {
                Conn::new(local, read, write, client).run().await;
            }
            load.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// What makes a request a large one, by the size of the log's memory.
fn large_request(ring_bytes: usize) -> usize {
    const MOST: usize = 256 * 1024;
    (ring_bytes / 64).clamp(1024, MOST)
}

type Prepared = (
    stream::ReadHalf,
    stream::WriteHalf,
    crate::client::NewClient,
);

/// Hands a socket to this thread's runtime; `None` if it is broken already.
fn prepare(server: &Server, accepted: Accepted) -> Option<Prepared> {
    use crate::client::NewClient;
    use std::os::fd::AsRawFd;
    match accepted {
        Accepted::Tcp(socket) => {
            let new = NewClient {
                addr: socket.peer_addr().ok()?.to_string(),
                laddr: socket.local_addr().ok()?.to_string(),
                unix: false,
                fd: socket.as_raw_fd(),
            };
            let (read, write) = stream::tcp(TcpStream::from_std(socket).ok()?);
            Some((read, write, new))
        }
        Accepted::Unix(socket) => {
            let path = server.unix_socket_path();
            let new = NewClient {
                addr: format!("{path}:0"),
                laddr: format!("{path}:0"),
                unix: true,
                fd: socket.as_raw_fd(),
            };
            let (read, write) = stream::unix(UnixStream::from_std(socket).ok()?);
            Some((read, write, new))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream as Socket;

    fn thread(may_sync: bool) -> (IoThread, mpsc::UnboundedReceiver<Accepted>) {
        let (accepted, incoming) = mpsc::unbounded_channel();
        let load = Arc::new(Load::new(may_sync));
        (IoThread { accepted, load }, incoming)
    }

    fn connection() -> Accepted {
        Accepted::Unix(Socket::pair().expect("a pair of sockets").0)
    }

    #[test]
    fn connections_avoid_a_thread_that_is_at_the_disk() {
        let ((first, mut at_first), (second, mut at_second)) = (thread(true), thread(true));
        let (spare, mut at_spare) = thread(false);
        let loads = [first.load.clone(), second.load.clone()];
        let threads = IoThreads {
            regular: vec![first, second],
            spare,
        };
        loads[0].at_the_disk(|_| {
            threads.deal(connection());
            threads.deal(connection());
            assert!(at_first.try_recv().is_err());
            assert!(at_second.try_recv().is_ok() && at_second.try_recv().is_ok());
            loads[1].at_the_disk(|_| threads.deal(connection()));
            assert!(at_spare.try_recv().is_ok());
        });
        threads.deal(connection());
        assert!(at_first.try_recv().is_ok(), "the one with the fewest");
        assert!(at_second.try_recv().is_err() && at_spare.try_recv().is_err());
    }

    #[test]
    fn only_a_lone_connection_has_its_thread_sync() {
        let (regular, _incoming) = thread(true);
        let (spare, _others) = thread(false);
        assert!(regular.load.at_the_disk(|alone| !alone));
        for thread in [&regular, &spare] {
            thread.give(connection());
        }
        assert!(regular.load.at_the_disk(|alone| alone));
        assert!(spare.load.at_the_disk(|alone| !alone));
        regular.give(connection());
        assert!(regular.load.at_the_disk(|alone| !alone));
    }
}
