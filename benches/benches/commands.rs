//! Hot commands through the engine, without sockets: what does one cost?
//!
//! One thread runs turns of 16 commands each, as a pipelining client's would be run, but without prefetching. The keys are
//! 10000 of one type, taken in turn; values have 20 bytes. Lists grow throughout, hashes and sorted sets up to 100 entries. In
//! memory (`memory`), and with the log on under `everysec`, written at the end of each turn (`log`; it takes some hundred
//! megabytes under TMPDIR).

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use hardtack_storage::Lsn;
use hardtack_storage::command::{self, Command, Reply};
use hardtack_storage::engine::{Engine, Options, Request, Session, Settings, Worker};

const KEYS: usize = 10_000;
const TURN: usize = 16;
const VALUE: &[u8] = b"abcdefghijklmnopqrst";

/// A command, and how its arguments come about from key and number.
struct Hot {
    name: &'static str,
    args: for<'a> fn(key: &'a [u8], number: &'a [u8]) -> Vec<&'a [u8]>,
}

const COMMANDS: &[Hot] = &[
    Hot {
        name: "SET",
        args: |key, _| vec![b"SET", key, VALUE],
    },
    Hot {
        name: "GET",
        args: |key, _| vec![b"GET", key],
    },
    Hot {
        name: "INCR",
        args: |key, _| vec![b"INCR", key],
    },
    Hot {
        name: "LPUSH",
        args: |key, _| vec![b"LPUSH", key, VALUE],
    },
    Hot {
        name: "HSET",
        args: |key, number| vec![b"HSET", key, number, VALUE],
    },
    Hot {
        name: "ZADD",
        args: |key, number| vec![b"ZADD", key, number, number],
    },
];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for hot in COMMANDS {
        let mut group = criterion.benchmark_group(format!("command/{}", hot.name));
        group.throughput(Throughput::Elements(TURN as u64));
        group.bench_function(BenchmarkId::from_parameter("memory"), |bencher| {
            let engine = Engine::in_memory().expect("threads can be started");
            let mut load = Load::new(&engine, hot);
            bencher.iter(|| load.turn());
        });
        group.bench_function(BenchmarkId::from_parameter("log"), |bencher| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let options = Options::new(dir.path());
            let engine = Engine::open(options, Settings::default()).expect("an empty directory");
            let mut load = Load::new(&engine, hot);
            bencher.iter(|| load.turn());
            drop(load);
            engine.close(std::time::Duration::ZERO, &|| false, || {});
        });
        group.finish();
    }
    criterion.final_summary();
}

/// One client's endless sequence of one command.
struct Load {
    worker: Worker,
    session: Session,
    reply: Reply,
    command: &'static Command,
    hot: &'static Hot,
    keys: Vec<Vec<u8>>,
    numbers: Vec<Vec<u8>>,
    next: usize,
}

impl Load {
    fn new(engine: &Engine, hot: &'static Hot) -> Load {
        let mut load = Load {
            worker: engine.worker(),
            session: Session::new(),
            reply: Reply::new(),
            command: command::find(hot.name.as_bytes()).expect("a known command"),
            hot,
            keys: (0..KEYS)
                .map(|n| format!("key:{n:012}").into_bytes())
                .collect(),
            numbers: (0..100).map(|n| n.to_string().into_bytes()).collect(),
            next: 0,
        };
        if hot.name == "GET" {
            for key in load.keys.clone() {
                engine.execute(&mut load.session, &[b"SET", &key, VALUE]);
            }
        }
        load
    }

    /// Runs `TURN` commands and takes their replies.
    fn turn(&mut self) -> usize {
        let mut needed = Lsn::ZERO;
        let mut turn = self.worker.turn();
        for _ in 0..TURN {
            let key = &self.keys[self.next % KEYS];
            let number = &self.numbers[self.next / KEYS % self.numbers.len()];
            self.next += 1;
            let args = (self.hot.args)(key, number);
            let request = Request::new(&args);
            let outcome = turn.run(
                &mut self.session,
                self.command,
                request,
                None,
                &mut self.reply,
            );
            needed = needed.max(outcome.lsn);
        }
        drop(turn);
        self.worker.engine().write_log(needed, false);
        self.reply.take().len()
    }
}
