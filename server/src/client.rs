//! What everybody may know of a client, and the ways to reach it from another thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use hardtack_storage::Lsn;
use hardtack_storage::command::CommandSpec;
use hardtack_storage::engine::{Deliver, WaiterId};
use parking_lot::Mutex;

use crate::memory;

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
    killed: AtomicBool,
    /// Bytes that are known to become free when the client, which is being disconnected for their sake, is gone.
    leaving_bytes: AtomicU64,
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
    pub multi_memory: AtomicUsize,
    /// Bytes of replies that have not left yet, and the memory that is kept for them.
    pub output_buffer: AtomicUsize,
    pub output_capacity: AtomicUsize,
    /// The most bytes of replies that were waiting of late, and when that was, in milliseconds since the server's start.
    pub output_peak: AtomicUsize,
    pub output_peak_ms: AtomicU64,
    /// Queued commands of an open transaction; −1 outside of one.
    pub multi: AtomicI64,
    pub watching: AtomicU32,
    pub blocked: AtomicBool,
    /// A request of its runs on another thread, or waits for the log.
    pub busy: AtomicBool,
    /// When the output buffer was first seen above its soft limit, in milliseconds since the server's start; 0: it is not.
    pub over_soft_limit_ms: AtomicU64,
}

/// How long the peak of the reply buffer stands, in milliseconds.
const PEAK_MS: u64 = 5000;

impl Seen {
    /// Notes how much has been read of what is not run yet, and the room behind it. An empty buffer is the thread's.
    pub fn note_query(&self, buf: &Vec<u8>) {
        let free = buf.capacity() - buf.len();
        self.query_buffer.store(buf.len(), Ordering::Relaxed);
        self.query_buffer_free.store(free, Ordering::Relaxed);
    }

    /// Notes how many bytes of replies wait, and the capacity of their buffer.
    pub fn note_output(&self, len: usize, capacity: usize) {
        self.output_buffer.store(len, Ordering::Relaxed);
        self.output_capacity.store(capacity, Ordering::Relaxed);
        let now = self.active_ms.load(Ordering::Relaxed);
        let peak_is_old = now.saturating_sub(self.output_peak_ms.load(Ordering::Relaxed)) > PEAK_MS;
        if peak_is_old || len > self.output_peak.load(Ordering::Relaxed) {
            self.output_peak.store(len, Ordering::Relaxed);
            self.output_peak_ms.store(now, Ordering::Relaxed);
        }
    }

    /// The most bytes of replies that were waiting of late.
    pub fn output_peak(&self, now_ms: u64) -> usize {
        let peak_is_old =
            now_ms.saturating_sub(self.output_peak_ms.load(Ordering::Relaxed)) > PEAK_MS;
        let peak = match peak_is_old {
            true => &self.output_buffer,
            false => &self.output_peak,
        };
        peak.load(Ordering::Relaxed)
    }
}

impl ClientHandle {
    /// Disconnects the client, at once.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Disconnects the client because it does not read its replies.
    pub fn kill_for_output(&self) {
        if !self.is_killed() {
            tracing::warn!(
                "Client {} ({}) is closed: it has left {} bytes of replies unread, more than client-output-buffer-limit",
                self.id,
                self.addr,
                self.seen.output_buffer.load(Ordering::Relaxed)
            );
            self.kill();
        }
    }

    /// Notes the command that the client sent last.
    pub fn set_last_command(&self, spec: Option<&'static CommandSpec>) {
        *self.last_command.lock() = spec;
    }

    /// Whether the client came over loopback or by the Unix socket.
    pub fn is_local(&self) -> bool {
        let ip = self
            .addr
            .parse()
            .map(|addr: SocketAddr| addr.ip().to_canonical());
        self.unix || ip.is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether the client is to go at once.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
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
            killed: AtomicBool::new(false),
            leaving_bytes: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            delivered: Mutex::new(None),
        });
        self.by_id.lock().insert(id, handle.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        handle
    }

    /// Forgets a client.
    pub fn remove(&self, id: u64) {
        let removed = self.by_id.lock().remove(&id);
        if let Some(handle) = removed {
            self.count.fetch_sub(1, Ordering::Relaxed);
            memory::client_has_left(handle.leaving_bytes.swap(0, Ordering::Relaxed));
        }
    }

    /// Disconnects a client because of the memory that it takes: so many bytes in buffers, and what it has in hand.
    /// False if it is gone, or about to go.
    pub fn kill_for_memory(&self, id: u64, bytes: u64) -> bool {
        // A request being read, a reply being made.
        const IN_HAND: u64 = 256 * 1024;
        // Under the lock: it does not leave before what it takes is noted, and nobody else notes it too.
        let by_id = self.by_id.lock();
        let Some(handle) = by_id.get(&id).filter(|handle| !handle.is_killed()) else {
            return false;
        };
        let bytes = bytes + IN_HAND;
        memory::client_is_leaving(bytes);
        handle.leaving_bytes.store(bytes, Ordering::Relaxed);
        handle.kill();
        true
    }

    /// Number of clients.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Every client, in order of their numbers.
    pub fn all(&self) -> Vec<Arc<ClientHandle>> {
        self.by_id.lock().values().cloned().collect()
    }

    /// Lets every connection look again at what it waits for.
    pub fn wake_all(&self) {
        self.by_id
            .lock()
            .values()
            .for_each(|handle| handle.waker.wake());
    }

    /// One client.
    pub fn get(&self, id: u64) -> Option<Arc<ClientHandle>> {
        self.by_id.lock().get(&id).cloned()
    }
}

/// CLIENT PAUSE: commands that are held back for a while.
#[derive(Default)]
pub struct Pause {
    /// 0: nothing is held back; 1: what writes; 2: everything.
    mode: AtomicU8,
    /// When it ends, in milliseconds since `epoch`.
    until_ms: AtomicU64,
    /// Clients that wait for its end.
    pub postponed: AtomicUsize,
    /// Held while `mode` and `until_ms` change.
    changing: Mutex<()>,
    /// The last snapshot is being written, and what is written after it would be lost.
    at_the_end: AtomicBool,
}

/// How soon a client that waits for the end looks again, because the end may be called off.
const END_LOOK_AGAIN: Duration = Duration::from_millis(100);

const PAUSE_WRITES: u8 = 1;
const PAUSE_ALL: u8 = 2;

/// Where the times of pauses are counted from.
static EPOCH: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn now_ms() -> u64 {
    EPOCH.elapsed().as_millis() as u64
}

impl Pause {
    /// Holds back all commands, or those that write. A pause that is on already only gets longer and stricter.
    pub fn begin(&self, duration: Duration, all: bool) {
        let mode = if all { PAUSE_ALL } else { PAUSE_WRITES };
        let until = now_ms().saturating_add(duration.as_millis() as u64);
        let _changing = self.changing.lock();
        if self.is_asked_for() {
            self.until_ms.fetch_max(until, Ordering::Relaxed);
            self.mode.fetch_max(mode, Ordering::Relaxed);
        } else {
            self.until_ms.store(until, Ordering::Relaxed);
            self.mode.store(mode, Ordering::Relaxed);
        }
    }

    /// Ends it. The caller wakes the clients.
    pub fn end(&self) {
        let _changing = self.changing.lock();
        self.mode.store(0, Ordering::Relaxed);
    }

    /// Ends a pause whose time is over; false if there is none.
    pub fn end_if_over(&self) -> bool {
        let _changing = self.changing.lock();
        let is_over = self.mode.load(Ordering::Relaxed) != 0 && !self.is_asked_for();
        if is_over {
            self.mode.store(0, Ordering::Relaxed);
        }
        is_over
    }

    /// Whether CLIENT PAUSE is on.
    pub fn is_asked_for(&self) -> bool {
        self.asked_rest().is_some()
    }

    /// Holds back what writes until the process ends, or until it is to go on.
    pub fn hold_at_the_end(&self, hold: bool) {
        self.at_the_end.store(hold, Ordering::SeqCst);
    }

    fn is_at_the_end(&self) -> bool {
        self.at_the_end.load(Ordering::Relaxed)
    }

    /// Whether it may be on.
    pub fn is_on(&self) -> bool {
        self.mode.load(Ordering::Relaxed) != 0 || self.is_at_the_end()
    }

    /// Whether it holds a command back; `writes` says whether that writes.
    pub fn holds(&self, writes: impl FnOnce() -> bool) -> bool {
        self.rest().is_some() && (self.holds_all() || writes())
    }

    fn holds_all(&self) -> bool {
        self.is_asked_for() && self.mode.load(Ordering::Relaxed) == PAUSE_ALL
    }

    /// How much longer it is on, or when to look again; `None` if it is not.
    pub fn rest(&self) -> Option<Duration> {
        let end = self.is_at_the_end().then_some(END_LOOK_AGAIN);
        self.asked_rest().max(end)
    }

    /// How much longer CLIENT PAUSE asks for.
    fn asked_rest(&self) -> Option<Duration> {
        let left = self
            .until_ms
            .load(Ordering::Relaxed)
            .saturating_sub(now_ms());
        let asked = self.mode.load(Ordering::Relaxed) != 0;
        (asked && left > 0).then(|| Duration::from_millis(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_goes_for_its_memory_once_and_only_while_it_is_there() {
        let clients = Clients::default();
        let new = NewClient {
            addr: String::new(),
            laddr: String::new(),
            unix: false,
            fd: 0,
        };
        let handle = clients.add(new);
        assert!(clients.kill_for_memory(handle.id, 1000));
        assert!(handle.is_killed());
        assert!(!clients.kill_for_memory(handle.id, 1000));
        assert!(handle.leaving_bytes.load(Ordering::Relaxed) > 0);
        clients.remove(handle.id);
        assert_eq!(handle.leaving_bytes.load(Ordering::Relaxed), 0);
        assert!(!clients.kill_for_memory(handle.id, 1000));
        assert_eq!(handle.leaving_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_pause_ends_when_its_time_is_over_and_not_before() {
        let pause = Pause::default();
        assert!(!pause.end_if_over());
        pause.begin(Duration::ZERO, false);
        assert!(pause.is_on() && !pause.is_asked_for());
        assert!(pause.end_if_over());
        assert!(!pause.is_on() && !pause.end_if_over());
        pause.begin(Duration::from_secs(3600), false);
        assert!(!pause.end_if_over());
        assert!(pause.is_on() && pause.is_asked_for());
    }
}
