//! What everybody may know of a client, and the ways to reach it from another thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::time::Instant;

use atomic_waker::AtomicWaker;
use hardtack_storage::Lsn;
use hardtack_storage::command::CommandSpec;
use hardtack_storage::engine::{Deliver, WaiterId};
use parking_lot::Mutex;

/// One connected client, as other threads see it.
pub struct ClientHandle {
    /// Its number, never used twice.
    pub id: u64,
    /// Its address, or the path of the socket that it came by.
    pub addr: String,
    /// The address that it connected to.
    pub laddr: String,
    /// Whether it came by the Unix socket.
    pub unix: bool,
    /// File descriptor, for CLIENT LIST.
    pub fd: i32,
    /// When it connected.
    pub connected: Instant,
    /// CLIENT SETNAME.
    pub name: Mutex<Vec<u8>>,
    /// What was last observed of it, at the end of a batch.
    pub seen: Seen,
    /// The last command that it sent.
    pub last_command: Mutex<Option<&'static CommandSpec>>,
    /// CLIENT NO-EVICT.
    pub no_evict: AtomicBool,
    /// The wait of its blocked command.
    pub waiting: Mutex<Option<WaiterId>>,
    signals: AtomicU8,
    waker: AtomicWaker,
    delivered: Mutex<Option<(Vec<u8>, Lsn)>>,
}

/// Observations about a client.
#[derive(Default)]
#[allow(missing_docs, reason = "the names are those of CLIENT LIST's fields")]
pub struct Seen {
    pub db: AtomicU16,
    pub resp: AtomicU8,
    /// Milliseconds between the server's start and the client's last request.
    pub active_ms: AtomicU64,
    pub query_buffer: AtomicUsize,
    pub query_buffer_free: AtomicUsize,
    pub args_memory: AtomicUsize,
    pub output_buffer: AtomicUsize,
    /// Queued commands of an open transaction; −1 outside of one.
    pub multi: AtomicI64,
    pub watching: AtomicU32,
    pub blocked: AtomicBool,
    pub commands: AtomicU64,
}

/// The client is to be disconnected, at once.
const KILL: u8 = 1;
/// The client is to be disconnected when the replies it has coming have left.
const KILL_AFTER_REPLY: u8 = 2;

impl ClientHandle {
    /// Disconnects the client, at once.
    pub fn kill(&self) {
        self.signals.fetch_or(KILL, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Disconnects the client when the replies it has coming have left.
    pub fn kill_after_reply(&self) {
        self.signals.fetch_or(KILL_AFTER_REPLY, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Whether the client is to go at once.
    pub fn is_killed(&self) -> bool {
        self.signals.load(Ordering::Relaxed) & KILL != 0
    }

    /// Whether the client is to go, now or after its reply.
    pub fn is_leaving(&self) -> bool {
        self.signals.load(Ordering::Relaxed) != 0
    }

    /// Where its connection's task leaves its waker before it waits.
    pub fn waker(&self) -> &AtomicWaker {
        &self.waker
    }

    /// The reply of its blocked command, if that has come.
    pub fn take_delivered(&self) -> Option<(Vec<u8>, Lsn)> {
        self.delivered.lock().take()
    }
}

impl Deliver for ClientHandle {
    fn deliver(&self, reply: Vec<u8>, lsn: Lsn) {
        *self.delivered.lock() = Some((reply, lsn));
        self.waker.wake();
    }
}

/// All connected clients.
#[derive(Default)]
pub struct Clients {
    by_id: Mutex<BTreeMap<u64, Arc<ClientHandle>>>,
    next_id: AtomicU64,
    count: AtomicUsize,
}

/// Who a new client is.
pub struct NewClient {
    #[allow(missing_docs)]
    pub addr: String,
    #[allow(missing_docs)]
    pub laddr: String,
    #[allow(missing_docs)]
    pub unix: bool,
    #[allow(missing_docs)]
    pub fd: i32,
}

impl Clients {
    /// Admits a client.
    pub fn add(&self, new: NewClient) -> Arc<ClientHandle> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let handle = Arc::new(ClientHandle {
            id,
            addr: new.addr,
            laddr: new.laddr,
            unix: new.unix,
            fd: new.fd,
            connected: Instant::now(),
            name: Mutex::default(),
            seen: Seen {
                multi: AtomicI64::new(-1),
                resp: AtomicU8::new(2),
                ..Seen::default()
            },
            last_command: Mutex::new(None),
            no_evict: AtomicBool::new(false),
            waiting: Mutex::new(None),
            signals: AtomicU8::new(0),
            waker: AtomicWaker::new(),
            delivered: Mutex::new(None),
        });
        self.by_id.lock().insert(id, handle.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        handle
    }

    /// Forgets a client.
    pub fn remove(&self, id: u64) {
        if self.by_id.lock().remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Number of clients.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Every client, in order of their numbers.
    pub fn all(&self) -> Vec<Arc<ClientHandle>> {
        self.by_id.lock().values().cloned().collect()
    }

    /// One client.
    pub fn get(&self, id: u64) -> Option<Arc<ClientHandle>> {
        self.by_id.lock().get(&id).cloned()
    }
}
