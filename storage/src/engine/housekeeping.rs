//! Background work that has no command to hang on: expiry, snapshots that are due. One thread per engine.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::expire::{ExpireCursor, ExpireProgress};
use super::{Engine, Shared, Worker};

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// Time that a round may spend on expiry.
const EXPIRE_BUDGET: Duration = Duration::from_millis(25);
/// Time that a round may spend on eviction.
const EVICT_BUDGET: Duration = Duration::from_millis(50);
/// One turn of either: a cut waits for it, and holds everybody up meanwhile.
const TURN: Duration = Duration::from_millis(1);

/// Starts the thread. It ends when the engine is dropped.
pub(super) fn start(engine: &Engine) -> std::io::Result<()> {
    let shared = Arc::downgrade(&engine.shared);
    thread::Builder::new()
        .name("hardtack-house".into())
        .spawn(move || keep_house(&shared))
        .map(drop)
}

/// Expires keys that nobody looks up.
fn expire(engine: &Engine, cursor: &mut ExpireCursor) {
    if !engine.settings().active_expire {
        return;
    }
    let mut worker = Worker::new(engine.clone());
    let began = Instant::now();
    while worker.turn().expire_some(cursor, TURN) == ExpireProgress::More {
        engine.write_log_now();
        if began.elapsed() >= EXPIRE_BUDGET {
            engine.stats().expired_time_cap_reached_count.add(1);
            break;
        }
    }
    engine.write_log_now();
}

/// Goes on where the commands left off: memory may grow without any (clients' buffers), and a lower limit takes longer
/// than one command should.
fn evict(engine: &Engine) {
    if engine.settings().maxmemory == 0 {
        return;
    }
    let mut worker = Worker::new(engine.clone());
    let began = Instant::now();
    while worker.turn().evict_some(TURN) && began.elapsed() < EVICT_BUDGET {
        engine.write_log_now();
        if engine.shared.reaper.is_behind() {
            // What is gone already has yet to be freed: perhaps that is enough.
            thread::sleep(TURN);
        }
    }
    engine.write_log_now();
}

fn keep_house(shared: &Weak<Shared>) {
    let _guard = crate::AbortOnPanic;
    let mut cursor = ExpireCursor::default();
    loop {
        thread::sleep(ROUND);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let engine = Engine { shared };
        expire(&engine, &mut cursor);
        evict(&engine);
        engine.begin_due_snapshots();
    }
}
