//! Replies leave at the end of a turn.
//!
//! Connections do not write to their sockets. They leave their replies in an [`Out`] and put it on their thread's
//! list; the thread's flusher, a task that is queued behind the connections which are ready now, writes the log once
//! for all of them and then sends each reply whose LSN is covered. What is not covered yet (a sync that `always`
//! waits for, a write that the log's own thread has to do) stays until the log's notification. If the log fails, the
//! connections that wait for it are closed: whether their writes will be kept is open, and no answer says so.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use atomic_waker::AtomicWaker;
use hardtack_storage::Lsn;
use hardtack_storage::engine::Engine;
use tokio::task::spawn_local;

use crate::client::ClientHandle;
use crate::io::Load;
use crate::stream::WriteHalf;

/// Bytes of buffer that a connection keeps when its replies have left.
pub const KEPT_BYTES: usize = 16 * 1024;

/// Replies on their way to one client.
pub struct Out {
    stream: WriteHalf,
    buf: RefCell<Vec<u8>>,
    /// The first so many bytes may leave.
    covered: Cell<usize>,
    /// The rest may leave when this is covered.
    lsn: Cell<Lsn>,
    queued: Cell<bool>,
    /// A task waits until the socket takes more.
    draining: Cell<bool>,
    failed: Cell<bool>,
    /// Woken when the buffer has been sent.
    sent: AtomicWaker,
    /// Woken when the buffer is given up.
    closed: AtomicWaker,
    /// Whose they are.
    client: Arc<ClientHandle>,
}

impl Out {
    /// An empty buffer for a client's socket.
    pub fn new(stream: WriteHalf, client: Arc<ClientHandle>) -> Rc<Out> {
        Rc::new(Out {
            stream,
            buf: RefCell::default(),
            covered: Cell::new(0),
            lsn: Cell::new(Lsn::ZERO),
            queued: Cell::new(false),
            draining: Cell::new(false),
            failed: Cell::new(false),
            sent: AtomicWaker::new(),
            closed: AtomicWaker::new(),
            client,
        })
    }

    /// Whether the socket takes no more for now.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Gives up: nothing will leave any more.
    pub fn close(&self) {
        self.fail();
        // The task that sends them may take a while to hear of it.
        *self.buf.borrow_mut() = Vec::new();
        self.covered.set(0);
        self.closed.wake();
        self.sent.wake();
    }

    /// Bytes that have not left yet.
    pub fn len(&self) -> usize {
        self.buf.borrow().len()
    }

    /// Whether the socket has failed: nothing will leave any more.
    pub fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Waits until at most `limit` bytes have yet to leave, or the socket fails, or the client is to go at once.
    pub async fn below(&self, limit: usize) {
        std::future::poll_fn(|cx| {
            self.sent.register(cx.waker());
            self.client.waker().register(cx.waker());
            if self.len() <= limit || self.has_failed() || self.client.is_killed() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Sends what may leave, as far as the socket takes it; false if some of it is left.
    fn send(&self) -> bool {
        let mut buf = self.buf.borrow_mut();
        let mut start = 0;
        let end = self.covered.get();
        let done = loop {
            if start == end || self.has_failed() {
                break true;
            }
            match self.stream.try_write(&buf[start..end]) {
                Ok(0) => break self.fail(),
                Ok(n) => start += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break self.fail(),
            }
        };
        if start == buf.len() || self.has_failed() {
            buf.clear();
            // A rare large reply gives its memory back.
            buf.shrink_to(KEPT_BYTES);
            self.covered.set(0);
        } else {
            buf.drain(..start);
            self.covered.set(end - start);
        }
        self.client.seen.note_output(buf.len(), buf.capacity());
        drop(buf);
        self.sent.wake();
        done
    }

    fn fail(&self) -> bool {
        self.failed.set(true);
        true
    }
}

/// One thread's flusher.
pub struct Flusher {
    engine: Engine,
    load: Arc<Load>,
    queue: RefCell<Vec<Rc<Out>>>,
    /// The flusher will run anyway.
    scheduled: Cell<bool>,
    /// Woken by connections of this thread and by the log's threads.
    waker: Arc<AtomicWaker>,
    /// The log's threads have got on.
    log_progressed: Arc<AtomicBool>,
    /// Clients whose connections wait for that. Who looks again meanwhile leaves no second waker.
    held: RefCell<HashMap<u64, Waker>>,
}

impl Flusher {
    /// A flusher for the calling thread; [`Flusher::run`] does its work.
    pub fn new(engine: Engine, load: Arc<Load>) -> Rc<Flusher> {
        let waker = Arc::new(AtomicWaker::new());
        let log_progressed = Arc::new(AtomicBool::new(false));
        let (wake, progressed) = (waker.clone(), log_progressed.clone());
        engine.on_log_progress(Arc::new(move || {
            progressed.store(true, Ordering::Relaxed);
            wake.wake();
        }));
        Rc::new(Flusher {
            engine,
            load,
            queue: RefCell::default(),
            scheduled: Cell::new(false),
            waker,
            log_progressed,
            held: RefCell::default(),
        })
    }

    /// Hands over replies that depend on `lsn`; `reply` is left empty.
    pub fn push(&self, out: &Rc<Out>, reply: &mut Vec<u8>, lsn: Lsn) {
        let mut buf = out.buf.borrow_mut();
        if buf.is_empty() {
            std::mem::swap(&mut *buf, reply);
        } else {
            buf.extend_from_slice(reply);
            reply.clear();
            reply.shrink_to(KEPT_BYTES);
        }
        out.client.seen.note_output(buf.len(), buf.capacity());
        out.lsn.set(out.lsn.get().max(lsn));
        if !out.queued.replace(true) {
            self.queue.borrow_mut().push(out.clone());
        }
        if !self.scheduled.replace(true) {
            self.waker.wake();
        }
    }

    /// Sends replies for as long as the thread lives.
    pub async fn run(self: Rc<Self>) {
        std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.log_progressed.swap(false, Ordering::Relaxed) {
                let held = self.held.take();
                held.into_values().for_each(Waker::wake);
            }
            self.flush();
            Poll::<()>::Pending
        })
        .await
    }

    /// Wakes a client's task once, when the log's threads have made progress.
    pub fn wake_on_progress(&self, client: u64, waker: &Waker) {
        self.held.borrow_mut().insert(client, waker.clone());
    }

    /// Takes that back.
    pub fn forget(&self, client: u64) {
        self.held.borrow_mut().remove(&client);
    }

    fn flush(&self) {
        self.scheduled.set(false);
        let mut queue = std::mem::take(&mut *self.queue.borrow_mut());
        if queue.is_empty() {
            return;
        }
        let needed = queue
            .iter()
            .map(|out| out.lsn.get())
            .max()
            .unwrap_or_default();
        let covered = self
            .load
            .at_the_disk(|alone| self.engine.write_log(needed, alone));
        let log_failed = self.engine.log_has_failed();
        queue.retain(|out| {
            if out.lsn.get() > covered {
                if log_failed {
                    // Whether the write will be kept is open: no answer is the true one.
                    out.queued.set(false);
                    out.client.kill();
                    out.close();
                }
                return !log_failed;
            }
            out.queued.set(false);
            out.covered.set(out.len());
            if !out.draining.get() && !out.send() {
                out.draining.set(true);
                spawn_local(drain(out.clone()));
            }
            false
        });
        // Nothing was pushed meanwhile: only this thread pushes.
        *self.queue.borrow_mut() = queue;
    }
}

/// Sends the rest when the socket takes it.
async fn drain(out: Rc<Out>) {
    while !out.send() {
        let mut writable = pin!(out.stream.writable());
        let ready = std::future::poll_fn(|cx| {
            out.closed.register(cx.waker());
            if out.has_failed() {
                return Poll::Ready(Ok(()));
            }
            writable.as_mut().poll(cx)
        });
        if ready.await.is_err() {
            out.fail();
        }
    }
    out.draining.set(false);
}
