//! Does a write to a large collection stall because a table grew?
//!
//! One hash, one set and one sorted set are grown in this process to 10 million elements each, one element a command,
//! through an engine in memory, with the allocator of the server; and beside them a `HashMap` of the standard library,
//! which moves everything when it grows. Every insert is timed twice: by the clock on the wall, and by the CPU time of
//! its thread. Where the first is long and the second is not, the thread was not running: that says something about the
//! machine, and nothing about the insert. Both clocks are read once per insert, and their reading is part of it.
//!
//! Each collection is grown after the one before was dropped, so that there is memory to give back to the system meanwhile.
//!
//! On a virtual machine CPU time may contain what the host gave to others. So the same loop without an insert runs
//! first, with `nothing` in it but the making of the element and its score: its slowest round is the noise of the machine.
//!
//! ```text
//! cargo run --release -p hardtack-benches --bin worst-insert [-- --quick]
//! ```

use std::collections::HashMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use hardtack_storage::command::{self, Reply};
use hardtack_storage::engine::{Engine, Request, Session};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// An insert that takes longer than this is a stall.
const STALL: Duration = Duration::from_millis(1);

/// Commands in one turn.
const TURN: u64 = 16;

const VALUE: &[u8] = b"abcdefghijklmnopqrst";

/// Grows one collection of each type, and reports the slowest single insert.
#[derive(Parser)]
struct Arguments {
    /// Elements of each collection
    #[arg(long, default_value_t = 10_000_000)]
    elements: u64,
    /// A million elements
    #[arg(long)]
    quick: bool,
    /// Memory that was freed is given back in the midst of inserts, as with `jemalloc-bg-thread no`
    #[arg(long)]
    give_back_here: bool,
    /// Only these; may be repeated
    #[arg(long, value_parser = ["nothing", "hash", "set", "zset", "std"])]
    only: Vec<String>,
}

/// How a command adds one element to its collection.
type Insert = for<'a> fn(element: &'a [u8], score: &'a [u8]) -> [&'a [u8]; 4];

const COMMANDS: [(&str, Insert, usize); 3] = [
    ("hash", |element, _| [b"HSET", b"big", element, VALUE], 4),
    ("set", |element, _| [b"SADD", b"big", element, b""], 3),
    (
        "zset",
        |element, score| [b"ZADD", b"big", score, element],
        4,
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let in_background = !arguments.give_back_here;
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(in_background) {
        eprintln!("worst-insert: the allocator's thread: {error}");
        return ExitCode::FAILURE;
    }
    let elements = match arguments.quick {
        true => 1_000_000,
        false => arguments.elements,
    };
    println!(
        "{elements} elements, one insert at a time; a stall is one that takes more than {STALL:?}\n"
    );
    println!(
        "| collection | insert ns | slowest, CPU µs | at | stalls, CPU | slowest, wall µs | stalls, wall |"
    );
    println!(
        "|------------|----------:|----------------:|---:|------------:|-----------------:|-------------:|"
    );
    let wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    if wanted("nothing") {
        grow_nothing(elements).print("nothing");
    }
    for (name, insert, args) in COMMANDS.iter().filter(|(name, ..)| wanted(name)) {
        let timings = match grow(elements, *insert, *args) {
            Ok(timings) => timings,
            Err(error) => {
                eprintln!("worst-insert: {error}");
                return ExitCode::FAILURE;
            }
        };
        timings.print(name);
    }
    if wanted("std") {
        grow_std(elements).print("std HashMap");
    }
    ExitCode::SUCCESS
}

/// An element, and a score that may be anywhere in the order.
fn nth(number: u64) -> (String, String) {
    let score = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    (format!("element:{number:012}"), score.to_string())
}

/// No collection.
fn grow_nothing(elements: u64) -> Timings {
    let mut timings = Timings::begin(elements);
    for next in 0..elements {
        black_box(nth(next));
        timings.lap(next);
    }
    timings
}

/// One collection of an engine.
fn grow(elements: u64, insert: Insert, args: usize) -> std::io::Result<Timings> {
    let engine = Engine::in_memory()?;
    let mut worker = engine.worker();
    let mut session = Session::new();
    let mut reply = Reply::new();
    let command = command::find(insert(b"", b"")[0]).expect("a known command");
    let mut timings = Timings::begin(elements);
    let mut next = 0;
    while next < elements {
        let mut turn = worker.turn();
        let commands = elements.min(next + TURN) - next;
        for _ in 0..commands {
            let (element, score) = nth(next);
            let line = insert(element.as_bytes(), score.as_bytes());
            turn.run(
                &mut session,
                command,
                Request::new(&line[..args]),
                None,
                &mut reply,
            );
            timings.lap(next);
            next += 1;
        }
        drop(turn);
        assert_eq!(
            reply.take(),
            b":1\r\n".repeat(commands as usize),
            "every element is new"
        );
    }
    Ok(timings)
}

/// The same with a table that is moved when it grows.
fn grow_std(elements: u64) -> Timings {
    let mut map = HashMap::new();
    let mut timings = Timings::begin(elements);
    for next in 0..elements {
        let (element, _) = nth(next);
        map.insert(element.into_bytes(), VALUE.to_vec());
        timings.lap(next);
    }
    black_box(&map);
    timings
}

/// The inserts of one collection by two clocks.
struct Timings {
    elements: u64,
    cpu: Clock,
    wall: Clock,
    began: Instant,
}

/// By one clock: the time since it was zero, and what the inserts took.
#[derive(Default)]
struct Clock {
    last: Duration,
    total: Duration,
    slowest: Duration,
    slowest_at: u64,
    stalls: u64,
}

impl Clock {
    fn lap(&mut self, now: Duration, number: u64) {
        let took = now.saturating_sub(self.last);
        self.last = now;
        self.total += took;
        if took > self.slowest {
            self.slowest = took;
            self.slowest_at = number;
        }
        self.stalls += u64::from(took > STALL);
    }
}

impl Timings {
    fn begin(elements: u64) -> Timings {
        let mut timings = Timings {
            elements,
            cpu: Clock::default(),
            wall: Clock::default(),
            began: Instant::now(),
        };
        timings.cpu.last = cpu_time();
        timings
    }

    /// Insert `number` is over.
    fn lap(&mut self, number: u64) {
        self.cpu.lap(cpu_time(), number);
        self.wall.lap(self.began.elapsed(), number);
    }

    fn print(&self, name: &str) {
        let mean = |clock: &Clock| clock.total.as_nanos() / u128::from(self.elements.max(1));
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} |",
            mean(&self.cpu),
            self.cpu.slowest.as_micros(),
            self.cpu.slowest_at,
            self.cpu.stalls,
            mean(&self.wall),
            self.wall.slowest.as_micros(),
            self.wall.stalls,
        );
    }
}

/// CPU time of this thread, the kernel's work for it included.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists on Linux, and the place for the answer is ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0;
    assert!(!failed, "a thread can ask for its own time");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
