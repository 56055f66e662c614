//! One engine on a simulated disk, and its one client.
//!
//! The engine's threads are real. So that a run repeats, the client goes on only when they have nothing left to do, and
//! the disk's hook lets the thread that compacts and the thread that prepares segments touch the disk only while the
//! log's thread has nothing to do.

use std::sync::Arc;

use hardtack_storage::Lsn;
use hardtack_storage::command::{self, Reply};
use hardtack_storage::engine::{
    Engine, LoadError, MayWrite, Options, Outcome, Queued, Request, Session, Settings, Transaction,
    Worker,
};
use hardtack_storage::log::{Log, Replid, SyncPolicy};
use hardtack_storage::testing::SimDisk;

/// Where the data are, on every disk.
pub const DIR: &str = "/data";

/// Databases of every engine.
pub const DATABASES: u16 = 3;

/// An empty disk with the directory.
pub fn new_disk(seed: u64) -> SimDisk {
    SimDisk::new(seed).with_dir(DIR)
}

/// How every engine here is opened: with segments that are soon full.
pub fn options(disk: &SimDisk, policy: SyncPolicy) -> Options {
    let mut options = Options {
        disk: Arc::new(disk.clone()),
        databases: DATABASES,
        ..Options::new(DIR)
    };
    options.log.replid = Replid::parse(&[b'7'; 40]);
    options.log.policy = policy;
    options.log.ring_bytes = 16 << 10;
    options.log.segment_bytes = 2048;
    options
}

/// An engine with a client.
pub struct Store {
    pub engine: Engine,
    worker: Worker,
    session: Session,
}

/// What became of a command.
pub struct Answer {
    pub reply: Vec<u8>,
    /// What the reply depends on.
    pub lsn: Lsn,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.reply).into_owned()
    }
}

impl Store {
    pub fn open(disk: &SimDisk, policy: SyncPolicy) -> Result<Store, LoadError> {
        Store::open_with(disk, options(disk, policy))
    }

    pub fn open_with(disk: &SimDisk, options: Options) -> Result<Store, LoadError> {
        disk.set_hook(None);
        let engine = Engine::open(options, Settings::default())?;
        let worker = engine.worker();
        let store = Store {
            engine,
            worker,
            session: Session::new(),
        };
        store.take_turns(disk);
        store.settle();
        Ok(store)
    }

    /// Has the disk give way to one thread of the engine at a time, from here on.
    pub fn take_turns(&self, disk: &SimDisk) {
        if let Some(log) = self.engine.log() {
            // The disk must not keep the log alive, which has the disk.
            let log = Arc::downgrade(&log);
            disk.set_hook(Some(Arc::new(move |_| {
                if let Some(log) = log.upgrade() {
                    wait_for_turn(&log);
                }
            })));
        }
    }

    pub fn log(&self) -> Arc<Log> {
        self.engine.log().expect("the log is on")
    }

    /// Waits until the engine's threads have nothing left to do.
    pub fn settle(&self) {
        while self.engine.snapshot_info().running.is_some()
            || self.engine.log().is_some_and(|log| !log.idle().all())
        {
            std::thread::yield_now();
        }
    }

    /// Runs one command in a database, whether or not the log takes writes.
    pub fn run(&mut self, db: u16, args: &[&[u8]]) -> Answer {
        self.session.db = db;
        let command = command::find(args[0]).expect("a known command");
        let mut reply = Reply::new();
        let mut turn = self.worker.turn();
        let outcome = turn.run(
            &mut self.session,
            command,
            Request::new(args),
            None,
            &mut reply,
        );
        drop(turn);
        Answer::of(reply, &outcome)
    }

    /// The same, of a command in one line.
    pub fn line(&mut self, line: &str) -> Answer {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.run(0, &args)
    }

    /// Runs commands as one transaction.
    pub fn transaction(&mut self, db: u16, commands: &[Vec<Vec<u8>>]) -> Answer {
        self.session.db = db;
        let mut queue = Transaction::default();
        for args in commands {
            queue.push(Queued {
                args: args.clone(),
                command: command::find(&args[0]),
            });
        }
        self.session.transaction = Some(queue);
        let mut reply = Reply::new();
        let mut host = |_: &mut Session, queued: &Queued, _: &mut Reply| {
            panic!("{:?} is no command on data", queued.args)
        };
        let mut turn = self.worker.turn();
        let outcome = turn.exec(&mut self.session, &mut reply, &mut host);
        drop(turn);
        Answer::of(reply, &outcome)
    }

    /// What a write is told that may not be executed now.
    pub fn refusal(&self) -> Option<String> {
        match self.engine.may_write() {
            MayWrite::Refused(error) => Some(error.to_string()),
            MayWrite::Now | MayWrite::Later => None,
        }
    }

    /// See [`acknowledge`].
    pub fn acknowledge(&self, lsn: Lsn) -> bool {
        acknowledge(&self.engine, lsn)
    }

    /// The data: digest, and times of expiry.
    pub fn data(&mut self) -> String {
        let digest = self.run_internal(b"debug|digest", &[b"digest"]);
        let mut text = digest.trim().to_owned();
        for db in 0..DATABASES {
            let keys = self.run(db, &[b"keys", b"*"]).reply;
            let mut expiring: Vec<String> = bulks(&keys)
                .into_iter()
                .filter_map(|key| {
                    let time = self.run(db, &[b"pexpiretime", key]).text();
                    let key = String::from_utf8_lossy(key);
                    (time != ":-1\r\n").then(|| format!(" {db}/{key}{}", time.trim()))
                })
                .collect();
            expiring.sort();
            text.extend(expiring);
        }
        text
    }

    fn run_internal(&mut self, name: &[u8], args: &[&[u8]]) -> String {
        let command = command::find(name).expect("a known command");
        let mut reply = Reply::new();
        self.worker.turn().run(
            &mut self.session,
            command,
            Request::new(args),
            None,
            &mut reply,
        );
        String::from_utf8_lossy(&reply.take()).into_owned()
    }

    /// Compacts the log, or heals it, and waits for the outcome.
    pub fn rewrite(&self) -> bool {
        let begun = self.engine.rewrite_log_in_background().is_ok();
        self.settle();
        begun && self.engine.snapshot_info().last_rewrite_ok
    }

    /// Closes the engine as at SHUTDOWN.
    pub fn close(self) {
        self.settle();
        let Store { engine, worker, .. } = self;
        drop(worker);
        let patience = std::time::Duration::from_secs(60);
        engine.close(patience, &|| false, || ());
    }
}

/// Waits until a reply may leave, as a server does; false if it may not.
pub fn acknowledge(engine: &Engine, lsn: Lsn) -> bool {
    if engine.write_log(lsn, false) >= lsn {
        return true;
    }
    let log = engine.log().expect("the log is on");
    match log.policy() {
        SyncPolicy::Always => log.wait_durable(lsn),
        _ => log.wait_written(lsn),
    }
    .is_ok()
}

impl Answer {
    fn of(mut reply: Reply, outcome: &Outcome) -> Answer {
        Answer {
            reply: reply.take(),
            lsn: outcome.lsn,
        }
    }
}

/// Lets the calling thread have the disk when those that go first have nothing to do: the log's thread, then the one
/// that compacts, then the one that prepares segments. One that waits for another one's lock must not be waited for
/// without end; then the order is left to chance.
fn wait_for_turn(log: &Log) {
    const LOOKS: usize = 100_000;
    let thread = std::thread::current();
    let (after_log, after_rewrite) = match thread.name() {
        Some("hardtack-rewrite" | "hardtack-bgsave") => (true, false),
        Some("hardtack-prep") => (true, true),
        _ => return,
    };
    for _ in 0..LOOKS {
        if !(after_log && !log.idle().log || after_rewrite && log.is_rewriting()) {
            return;
        }
        std::thread::yield_now();
    }
}

/// The bulk strings of an array.
fn bulks(mut reply: &[u8]) -> Vec<&[u8]> {
    let mut line = || {
        let end = reply
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a line");
        let (line, rest) = reply.split_at(end);
        reply = &rest[2..];
        line
    };
    let number = |line: &[u8]| -> usize {
        let text = std::str::from_utf8(&line[1..]).expect("a number");
        text.parse().expect("a number")
    };
    let count = number(line());
    (0..count)
        .map(|_| {
            let _length = line();
            line()
        })
        .collect()
}
