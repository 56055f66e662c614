//! One connection: reads what is there, runs every complete request in it, hands all replies over at once.
//!
//! Requests are handled in windows: parse up to [`WINDOW`] of them, find their commands and keys, prefetch what the
//! look-ups will touch, run them in order. A single request is a window of one. A turn is bounded by
//! [`TURN_REQUESTS`], after which the other connections of the thread have theirs. A command that would take long, or
//! wait for one that does, runs on another thread, and only its connection waits.

use std::future::{Future, poll_fn};
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use hardtack_storage::Lsn;
use hardtack_storage::command::work::WORK_INLINE_MAX;
use hardtack_storage::command::{CommandSpec, Flags, KeySpec, Reply};
use hardtack_storage::engine::{Blocked, Deliver, Engine, Request, Session, Turn};
use smallvec::SmallVec;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use crate::client::{ClientHandle, NewClient};
use crate::commands::{Entry, Run};
use crate::dispatch::{self, Step};
use crate::flush::Out;
use crate::io::{Local, READ_BYTES};
use crate::resp::{Batch, Limits, Parser, Stop};
use crate::server::Server;
use crate::stream::{ReadHalf, WriteHalf};

/// Requests that are prefetched for together.
const WINDOW: usize = 32;
/// Requests that a connection may run before others have their turn.
const TURN_REQUESTS: usize = 256;
/// Bytes of replies after which a turn ends.
const TURN_REPLY_BYTES: usize = 128 * 1024;
/// Bytes of replies that may pile up before the connection's next requests have to wait.
const UNSENT_MAX: usize = 1 << 20;
/// Bytes of unsent replies from which on the limit on them is looked at.
const LIMIT_CHECK_BYTES: usize = 16 * 1024;

/// What commands on the connection and the server may change of it.
pub struct Client {
    /// What others know of it.
    pub handle: Arc<ClientHandle>,
    /// Whether it may run commands.
    pub authenticated: bool,
    /// Whether the connection ends when its replies have left.
    pub close_after_reply: bool,
    /// CLIENT REPLY.
    pub replies: Replies,
    /// Keys, and keys with a time to live, of each database when the present transaction began, if it asks for them.
    pub key_counts: Vec<(usize, usize)>,
}

/// Who sends the requests of one connection: what they find there, and may change.
pub struct Caller {
    /// Its standing with the server.
    pub client: Client,
    /// Its standing with the engine.
    pub session: Session,
    /// Replies that have yet to be handed over.
    pub reply: Reply,
    /// Where the reply of a command that waits goes.
    pub deliver: Arc<dyn Deliver>,
}

/// Which replies a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// All but that of the next command.
    SkipNext,
    /// All but that of this command.
    SkipThis,
}

/// A connection.
pub struct Conn {
    local: Rc<Local>,
    read: ReadHalf,
    out: Rc<Out>,
    caller: Caller,
    parser: Parser,
    /// Bytes of an incomplete request.
    partial: Vec<u8>,
    /// The command that the last request named; the next one often names the same.
    last_entry: Option<(SmallVec<[u8; 16]>, Arc<Entry>)>,
    /// The command that was run last.
    last_spec: Option<&'static CommandSpec>,
}

/// Why a turn ended.
enum Turned {
    /// Everything complete has been run.
    Idle,
    /// There may be more to run.
    More,
    /// A command waits; requests behind it are in the carry-over.
    Blocked(Blocked),
    /// A command is to run on another thread; it and the requests behind it are in the carry-over.
    Elsewhere,
    /// CLIENT PAUSE holds the next request back.
    Paused,
    /// The next request writes, and the log has no room for it.
    Held,
    /// The connection ends when its replies have left.
    Close,
}

/// What came of a command on another thread.
enum Ran {
    /// Its reply is on its way.
    Answered,
    /// It has not run, because the log has no room.
    Held,
    /// It waits for a key.
    Blocked(Blocked),
    /// The connection ends when its replies have left.
    Close,
    /// The client was disconnected meanwhile.
    Gone,
}

/// Requests that were parsed but not run yet, with the buffer they stand in.
struct Carry {
    buf: Vec<u8>,
    batch: Batch,
    next: usize,
    consumed: usize,
    stop: Stop,
}

impl Conn {
    /// Admits a client.
    pub fn new(local: Rc<Local>, read: ReadHalf, write: WriteHalf, new: NewClient) -> Conn {
        let server = &local.server;
        let handle = server.clients.add(new);
        server.stats.connections_received.add(1);
        let authenticated = server.config().requirepass.is_empty();
        handle
            .seen
            .active_ms
            .store(server.uptime_ms(), Ordering::Relaxed);
        Conn {
            read,
            out: Out::new(write, handle.clone()),
            caller: Caller::new(handle, authenticated),
            parser: Parser::new(),
            partial: Vec::new(),
            last_entry: None,
            last_spec: None,
            local,
        }
    }

    /// Serves the client until it leaves or is made to.
    pub async fn run(mut self) {
        self.serve().await;
        if self.caller.client.handle.is_killed() || self.out.is_draining() {
            // What has not left by now will not.
            self.out.close();
        }
        let id = self.caller.client.handle.waiting.lock().take();
        if let Some(id) = id {
            self.local.server.engine.stop_waiting(id);
        }
        self.local
            .server
            .engine
            .end_session(&mut self.caller.session);
        self.local
            .server
            .clients
            .remove(self.caller.client.handle.id);
    }

    async fn serve(&mut self) {
        let mut carry: Option<Carry> = None;
        loop {
            let turned = match carry.take() {
                Some(carry_over) => self.run_batch(carry_over, &mut carry),
                None => match self.read_and_run(&mut carry).await {
                    Some(turned) => turned,
                    None => return,
                },
            };
            match turned {
                Turned::Idle => {}
                Turned::More => tokio::task::yield_now().await,
                Turned::Blocked(blocked) => {
                    let Some(carry) = &mut carry else { return };
                    if !self.wait(blocked, carry).await {
                        return;
                    }
                }
                Turned::Elsewhere => {
                    let Some(carry) = &mut carry else { return };
                    match self.run_elsewhere(carry).await {
                        Ran::Answered => {}
                        Ran::Held => self.wait_for_log().await,
                        Ran::Blocked(blocked) => {
                            if !self.wait(blocked, carry).await {
                                return;
                            }
                        }
                        Ran::Close => {
                            self.out.below(0).await;
                            return;
                        }
                        Ran::Gone => return,
                    }
                }
                Turned::Paused => self.wait_for_pause().await,
                Turned::Held => self.wait_for_log().await,
                Turned::Close => {
                    self.out.below(0).await;
                    return;
                }
            }
            if self.partial.len() as u64 > self.local.server.config().client_query_buffer_limit {
                let bytes = self.partial.len();
                tracing::warn!(
                    "Closing client {} ({}): its request of {bytes} bytes and more exceeds client-query-buffer-limit",
                    self.caller.client.handle.id,
                    self.caller.client.handle.addr
                );
                self.caller.client.handle.kill();
            }
            if self.caller.client.handle.is_killed() || self.out.has_failed() {
                return;
            }
            if self.out.len() > UNSENT_MAX {
                self.out.below(UNSENT_MAX / 2).await;
            }
        }
    }

    /// Waits for bytes and runs the requests in them; `None` when the client is gone.
    async fn read_and_run(&mut self, carry: &mut Option<Carry>) -> Option<Turned> {
        let (read, handle, partial, local) = (
            &mut self.read,
            &self.caller.client.handle,
            &mut self.partial,
            &self.local,
        );
        let buf = poll_fn(|cx| {
            handle.waker().register(cx.waker());
            if handle.is_killed() {
                return Poll::Ready(None);
            }
            // The thread's buffer serves whoever has bytes to read; an unfinished request stays with its connection.
            let mut buf = if partial.is_empty() {
                local.read_buf.take()
            } else {
                mem::take(partial)
            };
            buf.reserve(READ_BYTES);
            let outcome = pin!(read.read_buf(&mut buf)).poll(cx);
            match outcome {
                Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Some(buf)),
                Poll::Pending => {
                    keep(buf, partial, local);
                    if !partial.is_empty() {
                        handle.seen.note_query(partial);
                    }
                    Poll::Pending
                }
                Poll::Ready(_) => {
                    keep(buf, partial, local);
                    Poll::Ready(None)
                }
            }
        })
        .await?;
        self.local
            .server
            .stats
            .net_input_bytes
            .add(buf.len() as u64);
        let batch = self.local.batch.take();
        let read = Carry {
            buf,
            batch,
            ..Carry::empty()
        };
        Some(self.run_batch(read, carry))
    }

    /// Runs the requests of a buffer for one turn. What has to be run later goes to `rest`.
    fn run_batch(&mut self, mut carry: Carry, rest: &mut Option<Carry>) -> Turned {
        let local = self.local.clone();
        let server = &local.server;
        let mut worker = local.worker.borrow_mut();
        let mut lsn = Lsn::ZERO;
        let mut ran = 0;
        let turned = loop {
            if carry.next == carry.batch.len() {
                // What comes next is at the buffer's front again.
                carry.buf.drain(..carry.consumed);
                carry.next = 0;
                carry.consumed = 0;
                carry.batch.clear();
                match &carry.stop {
                    Stop::Incomplete { .. } => break Turned::Idle,
                    Stop::Broken(error) => {
                        let start = self.caller.reply.bytes().len();
                        let error = error.reply();
                        self.caller.reply.error(String::from_utf8_lossy(&error));
                        self.caller.silence(start);
                        break Turned::Close;
                    }
                    Stop::Full if ran >= TURN_REQUESTS => break Turned::More,
                    Stop::Full => {}
                }
                if carry.buf.is_empty() {
                    break Turned::Idle;
                }
                let limits = Limits {
                    bulk_bytes_max: server.config().proto_max_bulk_len,
                    authenticated: self.caller.client.authenticated,
                };
                (carry.consumed, carry.stop) =
                    self.parser
                        .parse(&mut carry.buf, &limits, WINDOW, &mut carry.batch);
                continue;
            }
            let window = self.run_window(&local, &mut worker, &mut carry, &mut lsn);
            ran += WINDOW;
            if let Some(turned) = window {
                break turned;
            }
        };
        drop(worker);
        self.observe(&carry.buf);
        match turned {
            Turned::Idle | Turned::Close => {
                carry.batch.clear();
                local.batch.replace(carry.batch);
                keep(carry.buf, &mut self.partial, &local);
                self.caller.client.handle.seen.note_query(&self.partial);
            }
            Turned::More
            | Turned::Blocked(_)
            | Turned::Elsewhere
            | Turned::Paused
            | Turned::Held => *rest = Some(carry),
        }
        self.hand_over(lsn);
        turned
    }

    /// Runs the parsed requests; returns why it stopped early, if it did.
    fn run_window(
        &mut self,
        local: &Local,
        worker: &mut hardtack_storage::engine::Worker,
        carry: &mut Carry,
        lsn: &mut Lsn,
    ) -> Option<Turned> {
        let server = &local.server;
        let mut entries: SmallVec<[Option<Arc<Entry>>; WINDOW]> = SmallVec::new();
        let mut hints: SmallVec<[Option<hardtack_storage::keyspace::KeyRef<'_>>; WINDOW]> =
            SmallVec::new();
        let buf = &carry.buf[..];
        let mut turn = worker.turn();
        for index in carry.next..carry.batch.len() {
            let request = carry.batch.get(index);
            let subcommand = request.args.get(1).map(|arg| arg.of(buf));
            let entry = self.find(server, request.args[0].of(buf), subcommand);
            let key = entry.as_ref().and_then(|entry| match entry.spec.keys {
                KeySpec::Range { first: 1, .. } => {
                    request.args.get(1).map(|arg| turn.key(arg.of(buf)))
                }
                _ => None,
            });
            entries.push(entry);
            hints.push(key);
        }
        if hints.len() > 1 {
            let keys: SmallVec<[_; WINDOW]> = hints
                .iter()
                .flatten()
                .map(|key| (self.caller.session.db, *key))
                .collect();
            turn.prefetch(&keys);
        }
        let log_is_full = turn.log_is_nearly_full();
        let first = carry.next;
        let mut clock = std::time::Instant::now();
        for index in first..carry.batch.len() {
            let parsed = carry.batch.get(index);
            let args: SmallVec<[&[u8]; 8]> = parsed.args.iter().map(|arg| arg.of(buf)).collect();
            let entry = entries[index - first].as_ref();
            if server.pause.is_on() && self.is_paused(server, entry, &args) {
                return Some(Turned::Paused);
            }
            if let Some(entry) = entry {
                self.last_spec = Some(entry.spec);
                if matches!(entry.run, Run::Server(_)) {
                    // It may look at its own client.
                    self.observe(&carry.buf);
                }
            }
            let is_large = buf.len() > local.large_request
                && args.iter().map(|arg| arg.len()).sum::<usize>() > local.large_request;
            if self.runs_elsewhere(&turn, entry, &args, is_large || log_is_full) {
                return Some(Turned::Elsewhere);
            }
            carry.next = index + 1;
            let request = Request {
                args: &args,
                raw: parsed.raw.map(|range| &buf[range]),
                hint: hints[index - first],
            };
            let caller = &mut self.caller;
            match dispatch::run(server, caller, &mut turn, entry, request, &mut clock) {
                Step::Done(depends_on) => *lsn = (*lsn).max(depends_on),
                Step::Blocked(blocked) => return Some(Turned::Blocked(blocked)),
                Step::Held => {
                    carry.next = index;
                    return Some(Turned::Held);
                }
            }
            if self.caller.client.close_after_reply {
                return Some(Turned::Close);
            }
            if self.caller.reply.bytes().len() > TURN_REPLY_BYTES {
                return Some(Turned::More);
            }
        }
        None
    }

    /// Finds a request's command; its subcommand, where there is one.
    fn find(
        &mut self,
        server: &Server,
        name: &[u8],
        subcommand: Option<&[u8]>,
    ) -> Option<Arc<Entry>> {
        let entry = match &self.last_entry {
            Some((last, entry)) if last.as_slice() == name => entry,
            _ => {
                let entry = server.commands.find(name)?.clone();
                &self
                    .last_entry
                    .insert((SmallVec::from_slice(name), entry))
                    .1
            }
        };
        let found = match subcommand {
            Some(subcommand) if !entry.subcommands.is_empty() => entry.subcommand(subcommand),
            _ => None,
        };
        Some(found.unwrap_or(entry).clone())
    }

    /// Whether CLIENT PAUSE holds a command back.
    fn is_paused(&self, server: &Server, entry: Option<&Arc<Entry>>, args: &[&[u8]]) -> bool {
        let writes = |flags: Flags| flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        // What will be refused need not wait for that.
        let Some(entry) = entry.filter(|entry| {
            entry.spec.arity_fits(args.len())
                && (entry.subcommands.is_empty() || args.len() == 1)
                && (self.caller.client.authenticated || entry.spec.flags.has(Flags::NO_AUTH))
        }) else {
            return false;
        };
        server.pause.holds(|| {
            let transaction = self.caller.session.transaction.iter();
            let queue = transaction.flat_map(|transaction| &transaction.queue);
            writes(entry.spec.flags)
                || (entry.spec.name == "exec"
                    && queue
                        .filter_map(|queued| queued.command)
                        .any(|command| writes(command.spec.flags)))
        })
    }

    /// Waits until CLIENT PAUSE is over, or the client goes.
    async fn wait_for_pause(&mut self) {
        let handle = &self.caller.client.handle;
        let pause = &self.local.server.pause;
        handle.seen.blocked.store(true, Ordering::Relaxed);
        pause.postponed.fetch_add(1, Ordering::Relaxed);
        while let Some(rest) = pause.rest() {
            let woken = poll_fn(|cx| {
                handle.waker().register(cx.waker());
                if handle.is_killed() || pause.rest().is_none() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            if tokio::time::timeout(rest, woken).await.is_ok() {
                break;
            }
        }
        pause.postponed.fetch_sub(1, Ordering::Relaxed);
        handle.seen.blocked.store(false, Ordering::Relaxed);
    }

    /// Waits until the log's threads have made progress, or a little while: what then becomes of the write is asked anew.
    async fn wait_for_log(&mut self) {
        const LOOK_AGAIN: Duration = Duration::from_millis(100);
        let (handle, flusher) = (&self.caller.client.handle, &self.local.flusher);
        let mut registered = false;
        let progress = poll_fn(|cx| {
            handle.waker().register(cx.waker());
            if mem::replace(&mut registered, true) {
                return Poll::Ready(());
            }
            flusher.wake_on_progress(handle.id, cx.waker());
            Poll::Pending
        });
        let busy = Busy::new(&self.local.server, handle);
        // Which of the two it was makes no difference.
        let _ = tokio::time::timeout(LOOK_AGAIN, progress).await;
        drop(busy);
        flusher.forget(handle.id);
    }

    /// Whether a command is to run on another thread: it would take long, or have to wait for a command that does.
    /// `may_wait` says that it might have to wait for room in the log.
    #[inline]
    fn runs_elsewhere(
        &self,
        turn: &Turn<'_>,
        entry: Option<&Arc<Entry>>,
        args: &[&[u8]],
        may_wait: bool,
    ) -> bool {
        let Some(entry) = entry else { return false };
        let may_be = entry.may_take_long
            || may_wait
            || args.len() as u64 > WORK_INLINE_MAX
            || turn.has_long_commands();
        may_be && self.belongs_elsewhere(turn, entry, args, may_wait)
    }

    #[cold]
    fn belongs_elsewhere(
        &self,
        turn: &Turn<'_>,
        entry: &Entry,
        args: &[&[u8]],
        may_wait: bool,
    ) -> bool {
        if !entry.spec.arity_fits(args.len()) {
            return false;
        }
        let spec = entry.run.spec_of(entry.spec);
        match entry.run {
            _ if entry.spec.name == "exec" => {
                let bytes = self
                    .caller
                    .session
                    .transaction
                    .iter()
                    .map(|open| open.bytes())
                    .sum::<usize>();
                may_wait
                    || bytes > self.local.large_request
                    || turn.transaction_runs_elsewhere(&self.caller.session)
            }
            // It is only queued.
            _ if self.caller.session.transaction.is_some() => false,
            Run::Data(_) if may_wait => true,
            Run::Data(_) | Run::Server(_) => turn.runs_elsewhere(&self.caller.session, spec, args),
            Run::Part(_) => turn.runs_elsewhere(&self.caller.session, spec, &args[1..]),
        }
    }

    /// Runs the next request of the carry-over on another thread.
    async fn run_elsewhere(&mut self, carry: &mut Carry) -> Ran {
        let local = self.local.clone();
        let server = local.server.clone();
        let handle = self.caller.client.handle.clone();
        let request = carry.batch.get(carry.next);
        let name = request.args[0].of(&carry.buf);
        let subcommand = request.args.get(1).map(|arg| arg.of(&carry.buf));
        let entry = self.find(&server, name, subcommand);
        let _busy = Busy::new(&local.server, &handle);
        let nobody = Caller::new(handle.clone(), false);
        let mut away = Away {
            caller: mem::replace(&mut self.caller, nobody),
            carry: mem::replace(carry, Carry::empty()),
            step: Step::Done(Lsn::ZERO),
        };
        let engine = server.engine.clone();
        let mut job = tokio::task::spawn_blocking(move || {
            away.run(&server, entry.as_ref());
            away
        });
        let done = poll_fn(|cx| {
            handle.waker().register(cx.waker());
            match Pin::new(&mut job).poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if handle.is_killed() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        let away = match done.await {
            Some(Ok(away)) => away,
            // Only a panic gets here, and a panic aborts the process.
            Some(Err(_)) => {
                handle.kill();
                return Ran::Gone;
            }
            None => {
                // The client need not wait for the end of the command; what it leaves behind has to.
                tokio::task::spawn_local(async move {
                    if let Ok(mut away) = job.await {
                        away.end(&engine);
                    }
                });
                return Ran::Gone;
            }
        };
        let Away {
            caller,
            carry: mut returned,
            step,
        } = away;
        returned.next += usize::from(!matches!(step, Step::Held));
        *carry = returned;
        self.caller = caller;
        let (lsn, ran) = match step {
            Step::Done(lsn) if self.caller.client.close_after_reply => (lsn, Ran::Close),
            Step::Done(lsn) => (lsn, Ran::Answered),
            Step::Blocked(blocked) => (Lsn::ZERO, Ran::Blocked(blocked)),
            Step::Held => (Lsn::ZERO, Ran::Held),
        };
        self.hand_over(lsn);
        ran
    }

    /// Waits until a blocked command is served, its time is up, or the client goes.
    /// What the client sends meanwhile is added to the carry-over, up to a limit. False if the client went.
    async fn wait(&mut self, blocked: Blocked, carry: &mut Carry) -> bool {
        let handle = self.caller.client.handle.clone();
        *handle.waiting.lock() = Some(blocked.id);
        handle.seen.blocked.store(true, Ordering::Relaxed);
        let deadline = blocked
            .timeout_ms
            .map(|ms| Instant::now() + Duration::from_millis(ms));
        let engine = self.local.server.engine.clone();
        let (read, buf) = (&mut self.read, &mut carry.buf);
        let buf_len = buf.len();
        let buf_len_max = buf_len + READ_BYTES;
        let mut timed_out = false;
        let (reply, lsn) = loop {
            let delivered = poll_fn(|cx| {
                handle.waker().register(cx.waker());
                if let Some(delivered) = handle.take_delivered() {
                    return Poll::Ready(Some(delivered));
                }
                if handle.is_killed() {
                    return Poll::Ready(None);
                }
                // Reading is the way to learn that the client has gone.
                while buf.len() < buf_len_max {
                    match pin!(read.read_buf(buf)).poll(cx) {
                        Poll::Ready(Ok(n)) if n > 0 => {}
                        Poll::Ready(_) => return Poll::Ready(None),
                        Poll::Pending => break,
                    }
                }
                Poll::Pending
            });
            let delivered = match deadline.filter(|_| !timed_out) {
                None => delivered.await,
                Some(deadline) => match tokio::time::timeout_at(deadline, delivered).await {
                    Ok(delivered) => delivered,
                    Err(_) => {
                        // Either this delivers the timeout's reply, or a better one is on its way.
                        timed_out = true;
                        engine.stop_waiting(blocked.id);
                        continue;
                    }
                },
            };
            match delivered {
                Some(delivered) => break delivered,
                None => return false,
            }
        };
        *handle.waiting.lock() = None;
        if buf.len() > buf_len && matches!(carry.stop, Stop::Incomplete { .. }) {
            // There is more to parse now, and nobody else will say so.
            carry.stop = Stop::Full;
        }
        if let [b'-', error @ ..] = reply.as_slice() {
            let prefix = error.split(|byte| *byte == b' ').next().unwrap_or_default();
            self.local
                .server
                .stats
                .count_error(&String::from_utf8_lossy(prefix));
        }
        handle.seen.blocked.store(false, Ordering::Relaxed);
        let start = self.caller.reply.bytes().len();
        self.caller.reply.buffer_mut().extend_from_slice(&reply);
        self.caller.silence(start);
        self.hand_over(lsn);
        true
    }

    /// Gives the replies to the flusher.
    fn hand_over(&mut self, lsn: Lsn) {
        if !self.caller.reply.bytes().is_empty() {
            self.local
                .server
                .stats
                .net_output_bytes
                .add(self.caller.reply.bytes().len() as u64);
            self.local
                .flusher
                .push(&self.out, self.caller.reply.buffer_mut(), lsn);
            if self.out.len() > LIMIT_CHECK_BYTES {
                self.check_output_limit();
            }
        }
    }

    /// Disconnects a client whose replies pile up beyond the hard limit; the soft one is a matter of time. A client
    /// that has not authenticated gets no more than [`LIMIT_CHECK_BYTES`].
    fn check_output_limit(&self) {
        if !self.caller.client.authenticated {
            self.caller.client.handle.kill_for_output();
            return;
        }
        let limit = self.local.server.config().client_output_buffer_limit.normal;
        if limit.hard_bytes > 0 && self.out.len() as u64 > limit.hard_bytes {
            self.caller.client.handle.kill_for_output();
        }
    }

    /// Notes for CLIENT LIST what the client is about.
    fn observe(&self, query: &Vec<u8>) {
        let seen = &self.caller.client.handle.seen;
        let session = &self.caller.session;
        seen.active_ms
            .store(self.local.server.uptime_ms(), Ordering::Relaxed);
        seen.db.store(session.db, Ordering::Relaxed);
        let resp = if self.caller.reply.resp3() { 3 } else { 2 };
        seen.resp.store(resp, Ordering::Relaxed);
        let (queued, queue_bytes) = match &session.transaction {
            Some(transaction) => (transaction.queue.len() as i64, transaction.bytes()),
            None => (-1, 0),
        };
        seen.multi.store(queued, Ordering::Relaxed);
        seen.multi_memory.store(queue_bytes, Ordering::Relaxed);
        seen.watching
            .store(session.watched() as u32, Ordering::Relaxed);
        seen.note_query(query);
        self.caller.client.handle.set_last_command(self.last_spec);
    }
}

impl Carry {
    fn empty() -> Carry {
        Carry {
            buf: Vec::new(),
            batch: Batch::default(),
            next: 0,
            consumed: 0,
            stop: Stop::Full,
        }
    }
}

/// As long as it lives, a client is not idle, however long ago its request was read.
struct Busy<'a> {
    server: &'a Server,
    handle: &'a ClientHandle,
}

impl<'a> Busy<'a> {
    fn new(server: &'a Server, handle: &'a ClientHandle) -> Busy<'a> {
        handle.seen.busy.store(true, Ordering::Relaxed);
        Busy { server, handle }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let seen = &self.handle.seen;
        seen.active_ms
            .store(self.server.uptime_ms(), Ordering::Relaxed);
        seen.busy.store(false, Ordering::Release);
    }
}

/// What a command on another thread needs of its connection.
struct Away {
    caller: Caller,
    carry: Carry,
    step: Step,
}

impl Away {
    /// Runs the next request of the carry-over.
    fn run(&mut self, server: &Arc<Server>, entry: Option<&Arc<Entry>>) {
        let buf = &self.carry.buf[..];
        let parsed = self.carry.batch.get(self.carry.next);
        let args: Vec<&[u8]> = parsed.args.iter().map(|arg| arg.of(buf)).collect();
        let request = Request {
            args: &args,
            raw: parsed.raw.map(|range| &buf[range]),
            hint: None,
        };
        let mut worker = server.engine.worker();
        let locks_slots = entry.is_none_or(|entry| match entry.run {
            Run::Server(_) => matches!(entry.spec.name, "exec" | "watch" | "migrate"),
            Run::Data(_) | Run::Part(_) => true,
        });
        // What waits for a file, or for the whole keyspace, does that outside of its turn, which is a short one.
        let mut turn = match locks_slots {
            true => worker.long_turn(),
            false => worker.turn(),
        };
        let mut clock = std::time::Instant::now();
        let caller = &mut self.caller;
        self.step = dispatch::run(server, caller, &mut turn, entry, request, &mut clock);
    }

    /// Ends what the command has left behind: its client is gone.
    fn end(&mut self, engine: &Engine) {
        if let Step::Blocked(blocked) = &self.step {
            engine.stop_waiting(blocked.id);
        }
        engine.end_session(&mut self.caller.session);
    }
}

impl Caller {
    /// Somebody who has said nothing yet.
    fn new(handle: Arc<ClientHandle>, authenticated: bool) -> Caller {
        Caller {
            client: Client {
                handle: handle.clone(),
                authenticated,
                close_after_reply: false,
                replies: Replies::On,
                key_counts: Vec::new(),
            },
            session: Session::new(),
            reply: Reply::new(),
            deliver: handle,
        }
    }

    /// Takes back the reply that a request has got if the client does not want it; the reply began at `start`. Once for
    /// each request, when it is answered: one that waits is still to be.
    pub fn silence(&mut self, start: usize) {
        self.client.replies = match self.client.replies {
            Replies::On => return,
            Replies::Off => Replies::Off,
            Replies::SkipNext => Replies::SkipThis,
            Replies::SkipThis => Replies::On,
        };
        self.reply.truncate(start);
    }
}

/// Gives the read buffer back to the thread, or to the connection if an unfinished request stands in it.
fn keep(mut buf: Vec<u8>, partial: &mut Vec<u8>, local: &Local) {
    if buf.is_empty() {
        buf.shrink_to(2 * READ_BYTES);
        if local.read_buf.borrow().capacity() == 0 {
            local.read_buf.replace(buf);
        }
    } else if buf.capacity() > 2 * buf.len() && buf.len() < READ_BYTES {
        // Little is left: it gets a buffer of its own, and the thread keeps the large one.
        *partial = buf.clone();
        buf.clear();
        if local.read_buf.borrow().capacity() == 0 {
            local.read_buf.replace(buf);
        }
    } else {
        *partial = buf;
    }
}
