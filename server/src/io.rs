//! I/O threads: each runs its connections on a single-threaded runtime of its own.
//!
//! The acceptor deals connections out to the thread with the fewest. A thread has one [`Worker`] for the commands of
//! all its connections, one flusher for their replies, and one read buffer, which a connection borrows while it has
//! bytes to read.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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

/// An I/O thread, as the acceptor sees it.
pub struct IoThread {
    accepted: mpsc::UnboundedSender<Accepted>,
    connections: Arc<AtomicUsize>,
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

impl IoThread {
    /// Starts a thread.
    ///
    /// # Errors
    /// If the thread or its runtime cannot be made.
    pub fn start(server: Arc<Server>, number: usize) -> io::Result<IoThread> {
        let (accepted, incoming) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
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
            runtime.block_on(serve(server, incoming, counter));
        })?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread ended while it started")))?;
        Ok(IoThread {
            accepted,
            connections,
        })
    }

    /// Number of connections dealt to the thread.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Deals a connection to the thread.
    pub fn deal(&self, accepted: Accepted) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        // The thread lives as long as the process.
        let _ = self.accepted.send(accepted);
    }
}

async fn serve(
    server: Arc<Server>,
    mut incoming: mpsc::UnboundedReceiver<Accepted>,
    connections: Arc<AtomicUsize>,
) {
    let flusher = Flusher::new(server.engine.clone());
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
        let (local, connections) = (local.clone(), connections.clone());
        tokio::task::spawn_local(async move {
            if let Some((read, write, client)) = prepare(&local.server, accepted) {
                Conn::new(local, read, write, client).run().await;
            }
            connections.fetch_sub(1, Ordering::Relaxed);
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
