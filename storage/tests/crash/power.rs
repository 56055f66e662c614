//! The power goes at every step of a run, and inside its writes.

use std::collections::BTreeMap;
use std::path::Path;

use hardtack_storage::command::{self, Reply};
use hardtack_storage::disk::{Disk, RealDisk};
use hardtack_storage::engine::{Engine, Options, Request, Session, Settings};
use hardtack_storage::log::SyncPolicy;
use hardtack_storage::testing::{SimDisk, Tape};

use crate::run::{Book, Run};
use crate::store::{DIR, Store, acknowledge, new_disk, options};

/// Seeds of a run without anything said.
const SEEDS: u64 = 2;

/// Runs on one disk, each beginning with what a power cut left of the one before.
const LIVES: u64 = 3;

/// Commands and other events of one run.
const EVENTS: usize = 40;

pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number")),
    )
}

/// The seeds to try: `HARDTACK_CRASH_SEEDS` of them, from `HARDTACK_CRASH_SEED` on.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let first = number("HARDTACK_CRASH_SEED");
    let count = number("HARDTACK_CRASH_SEEDS").unwrap_or(if first.is_some() { 1 } else { usual });
    let first = first.unwrap_or(1);
    first..first + count
}

/// What is known of a disk that is to be opened.
pub struct Expected<'b> {
    pub book: &'b Book,
    /// The log must reach this LSN.
    pub end_min: u64,
    pub policy: SyncPolicy,
}

/// Opens an engine on what was found; returns where its log ends.
pub fn check_opens(disk: &SimDisk, expected: &Expected<'_>) -> Result<(Store, u64), String> {
    let mut store =
        Store::open(disk, expected.policy).map_err(|error| format!("it does not open: {error}"))?;
    let end = store.log().recovery_report().end.0;
    let cut = store.log().recovery_report().cut.clone();
    if end < expected.end_min {
        return Err(format!(
            "the log ends at {end}, but everything before {} was promised; it was cut: {cut:?}",
            expected.end_min
        ));
    }
    let data = store.data();
    match expected.book.states.get(&end) {
        None => Err(format!("the log ends at {end}, inside a record")),
        Some(known) if *known != data => Err(format!(
            "the data at {end} are not what they were:\n  were {known}\n  are  {data}"
        )),
        Some(_) => Ok((store, end)),
    }
}

/// Everything that is to be true of a disk that was found. `seed` chooses where its recovery is cut off.
pub fn check_found(found: &SimDisk, expected: &Expected<'_>, seed: u64) -> Result<u64, String> {
    found.record();
    let (mut store, end) = check_opens(found, expected)?;
    // Its recovery is cut off, and repeated.
    let mut recovery = found.tape().expect("it was recorded");
    recovery.seek((seed % (recovery.len() as u64 + 1)) as usize);
    // What is written now must be there after the next cut.
    let wrote = store.line("set after recovery");
    if !store.acknowledge(wrote.lsn) {
        return Err("a write after recovery is not acknowledged".into());
    }
    store.settle();
    if expected.policy != SyncPolicy::Always {
        store
            .log()
            .sync_now()
            .map_err(|error| format!("a sync after recovery: {error}"))?;
    }
    let data = store.data();
    let end_after = store.log().appended().0;
    drop(store);
    let same = Expected {
        end_min: end,
        ..*expected
    };
    let again = recovery.crash(seed);
    let (_, end_again) = check_opens(&again, &same)
        .map_err(|error| format!("recovery cut at its step {}: {error}", recovery.position()))?;
    if end_again != end {
        return Err(format!("recovered to {end}, and again to {end_again}"));
    }
    let mut book = expected.book.go_on_from(end, None);
    book.states.insert(end_after, data);
    let after = Expected {
        book: &book,
        end_min: end_after,
        ..*expected
    };
    check_opens(&found.crash(seed), &after)
        .map_err(|error| format!("a write after recovery: {error}"))?;
    Ok(end)
}

/// The RDB file that was found: none, or one that was saved, whole.
fn check_rdb(found: &SimDisk, allowed: &[Option<&str>]) -> Result<Option<String>, String> {
    let path = Path::new(DIR).join("dump.rdb");
    let there = found.metadata(&path).map_err(|error| error.to_string())?;
    let data = match there {
        None => None,
        Some(_) => {
            let alone = Options {
                appendonly: false,
                ..options(found, SyncPolicy::No)
            };
            let mut store = Store::open_with(found, alone)
                .map_err(|error| format!("the RDB file does not load: {error}"))?;
            Some(store.data())
        }
    };
    if allowed.contains(&data.as_deref()) {
        return Ok(data);
    }
    Err(format!(
        "the RDB file holds {data:?}, not one of {allowed:?}"
    ))
}

/// Makes of a moment and a seed what is found afterwards.
type Cut = fn(&Tape, u64) -> Option<SimDisk>;

/// What is done to the disk at a moment.
const CUTS: [(&str, Cut); 4] = [
    ("power cut", |tape, seed| Some(tape.crash(seed))),
    ("power cut that loses everything unsynced", |tape, _| {
        Some(tape.crash_keeping_synced())
    }),
    ("power cut inside a write", |tape, seed| {
        tape.crash_inside(seed)
    }),
    ("death of the process", |tape, _| Some(tape.kill())),
];

/// Looks at every moment of a run; returns how many states it looked at.
///
/// `faulty`: syncs may have failed, and what they should have made durable been forgotten. Then even the death of the
/// process alone can cost what no sync covered.
pub fn check_run(run: &Run, seed: u64, stride: usize, faulty: bool) -> Result<u64, String> {
    let mut tape = run.disk.tape().expect("runs are recorded");
    let only = number("HARDTACK_CRASH_CUT");
    let mut states = 0;
    loop {
        let moment = tape.position();
        let wanted = only.map_or(moment.is_multiple_of(stride), |only| only == moment as u64);
        if wanted {
            for (cut, (what, make)) in CUTS.iter().enumerate() {
                let seed = seed * 1_000_003 + moment as u64 * 4 + cut as u64;
                let Some(found) = make(&tape, seed) else {
                    continue;
                };
                let kept = found.clone();
                let failed = |error: String| {
                    let next = tape.next_step();
                    let where_it_is = keep(&tape, *make, seed);
                    format!("{what} before step {moment} ({next}): {error}{where_it_is}")
                };
                let end_min = match *what {
                    "death of the process" if !faulty => run.book.acked(moment),
                    _ => run.book.promised(run.policy, moment),
                };
                if cut == 0 && (moment / stride).is_multiple_of(8) {
                    check_rdb(&tape.crash(seed), &run.book.saved(moment)).map_err(failed)?;
                }
                let expected = Expected {
                    book: &run.book,
                    end_min,
                    policy: run.policy,
                };
                check_found(&kept, &expected, seed).map_err(failed)?;
                states += 1;
            }
        }
        if !tape.forward() {
            return Ok(states);
        }
    }
}

/// Keeps what was found for a look at it, where somebody asked for that.
fn keep(tape: &Tape, make: Cut, seed: u64) -> String {
    let (Ok(dir), Some(found)) = (std::env::var("HARDTACK_CRASH_KEEP"), make(tape, seed)) else {
        return String::new();
    };
    match SimDisk::copy_dir(&found, Path::new(DIR), &RealDisk, Path::new(&dir)) {
        Ok(()) => format!("\nthe directory is in {dir}"),
        Err(error) => format!("\nthe directory could not be kept in {dir}: {error}"),
    }
}

/// The line that runs a failing seed again.
pub fn replay(test: &str, seed: u64) -> String {
    format!("HARDTACK_CRASH_SEED={seed} cargo test -p hardtack-storage --test crash {test}")
}

/// Runs one after the other on one disk, each going on with what a power cut left of the one before.
fn lives(test: &str, policy: SyncPolicy, seed: u64) -> u64 {
    let mut states = 0;
    let mut disk = new_disk(seed);
    let mut book = Book::default();
    for life in 0..LIVES {
        let seed_of_life = seed * LIVES + life;
        let mut run = Run::begin(&disk, policy, seed_of_life, book);
        run.go(EVENTS);
        match check_run(&run, seed_of_life, 1, false) {
            Ok(count) => states += count,
            Err(error) => panic!(
                "seed {seed}, life {life}: {error}\n    {}",
                replay(test, seed)
            ),
        }
        // The next goes on from some moment of this one.
        let mut tape = run.disk.tape().expect("runs are recorded");
        tape.seek(tape.len() * (seed_of_life % 7) as usize / 6);
        disk = tape.crash(seed_of_life);
        let moment = tape.position();
        let expected = Expected {
            book: &run.book,
            end_min: run.book.promised(policy, moment),
            policy,
        };
        let saved = check_rdb(&tape.crash(seed_of_life), &run.book.saved(moment)).unwrap();
        // The same disk is opened by the next life: this looks where it will go on.
        let (_, end) = check_opens(&tape.crash(seed_of_life), &expected).unwrap();
        book = run.book.go_on_from(end, saved);
    }
    states
}

fn all_seeds(test: &str, policy: SyncPolicy) {
    let states: u64 = seeds(SEEDS).map(|seed| lives(test, policy, seed)).sum();
    println!("{states} states");
}

#[test]
fn power_cut_at_every_step_under_always() {
    all_seeds("power_cut_at_every_step_under_always", SyncPolicy::Always);
}

#[test]
fn power_cut_at_every_step_under_everysec() {
    all_seeds(
        "power_cut_at_every_step_under_everysec",
        SyncPolicy::EverySec,
    );
}

/// Several clients at once: what is found is a prefix of the one order, and has what was acknowledged to each.
fn clients_at_once(policy: SyncPolicy) {
    const CLIENTS: usize = 3;
    const WRITES: usize = 25;
    for seed in seeds(1) {
        let disk = new_disk(seed);
        disk.record();
        let store = Store::open(&disk, policy).unwrap();
        let engine = store.engine.clone();
        // Of each write: where its record ends, and the moment at which it was acknowledged.
        let write_all = |client: usize| -> Vec<(u64, usize)> {
            let mut worker = engine.worker();
            let mut session = Session::new();
            let list = format!("list{client}");
            let push = command::find(b"rpush").unwrap();
            let writes = (0..WRITES).map(|_| {
                let request = [&b"rpush"[..], list.as_bytes(), b"value"];
                let mut reply = Reply::new();
                let outcome =
                    worker
                        .turn()
                        .run(&mut session, push, Request::new(&request), None, &mut reply);
                assert!(acknowledge(&engine, outcome.lsn));
                (outcome.lsn.0, disk.recorded())
            });
            writes.collect()
        };
        let write_all = &write_all;
        let written: Vec<_> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| scope.spawn(move || write_all(client)))
                .collect();
            assert!(store.rewrite());
            store.log().sync_now().unwrap();
            let join = |client: std::thread::ScopedJoinHandle<'_, _>| client.join().unwrap();
            clients.into_iter().map(join).collect()
        });
        let mut tape = disk.tape().unwrap();
        loop {
            let moment = tape.position();
            let found = tape.crash(seed + moment as u64);
            let mut after = Store::open(&found, policy).unwrap();
            let end = after.log().recovery_report().end.0;
            for (client, writes) in written.iter().enumerate() {
                let there = writes.iter().filter(|(lsn, _)| *lsn <= end).count();
                let acked = writes.iter().filter(|(_, at)| *at <= moment).count();
                let length = after.line(&format!("llen list{client}")).text();
                assert_eq!(
                    length,
                    format!(":{there}\r\n"),
                    "seed {seed}, step {moment}"
                );
                assert!(
                    policy != SyncPolicy::Always || there >= acked,
                    "seed {seed}, step {moment}: {there} of {acked} acknowledged writes of client {client}"
                );
            }
            if !tape.forward() {
                break;
            }
        }
    }
}

#[test]
fn clients_at_once_leave_a_prefix_of_one_order() {
    clients_at_once(SyncPolicy::Always);
    clients_at_once(SyncPolicy::EverySec);
}

/// What a run did to the data, record by record.
fn states(seed: u64, policy: SyncPolicy) -> BTreeMap<u64, String> {
    let disk = new_disk(seed);
    let mut run = Run::begin(&disk, policy, seed, Book::default());
    run.go(EVENTS);
    run.book.states
}

#[test]
fn run_repeats() {
    for seed in seeds(4) {
        for policy in [SyncPolicy::Always, SyncPolicy::EverySec] {
            assert_eq!(states(seed, policy), states(seed, policy), "seed {seed}");
        }
    }
}

/// An engine whose directory is gone opens as an empty one, and a lock is not left behind.
#[test]
fn engine_on_an_empty_disk_is_empty() {
    let disk = new_disk(0);
    let engine = Engine::open(options(&disk, SyncPolicy::Always), Settings::default()).unwrap();
    assert_eq!(engine.len(0), 0);
    let second = Engine::open(options(&disk, SyncPolicy::Always), Settings::default());
    assert!(second.is_err());
    drop(engine);
    assert!(Engine::open(options(&disk, SyncPolicy::Always), Settings::default()).is_ok());
}
