//! Background work that has no command to hang on: expiry, snapshots that are due. One thread per engine.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::expire::ExpireCursor;
use super::{Engine, Shared, Worker};

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// Time that a round may spend on expiry.
const EXPIRE_BUDGET: Duration = Duration::from_millis(25);

/// Time that a round may spend on eviction, and one turn of it.
const EVICT_BUDGET: Duration = Duration::from_millis(50);
const EVICT_TURN: Duration = Duration::from_millis(1);

/// Starts the thread. It ends when the engine is dropped.
pub(super) fn start(engine: &Engine) -> std::io::Result<()> {
    let shared = Arc::downgrade(&engine.shared);
    thread::Builder::new()
        .name("hardtack-house".into())
        .spawn(move || keep_house(&shared))
        .map(drop)
}

/// Goes on where the commands left off: memory may grow without any (clients' buffers), and a lower limit takes longer
/// than one command should.
fn evict(engine: &Engine) {
    if engine.settings().maxmemory == 0 {
        return;
    }
    let mut worker = Worker::new(engine.clone());
    let began = Instant::now();
    while worker.turn().evict_some(EVICT_TURN) && began.elapsed() < EVICT_BUDGET {
        engine.write_log_now();
    }
    engine.write_log_now();
}

fn keep_house(shared: &Weak<Shared>) {
    let mut cursor = ExpireCursor::default();
    loop {
        thread::sleep(ROUND);
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let engine = Engine { shared };
        if engine.settings().active_expire {
            let mut worker = Worker::new(engine.clone());
            worker.turn().expire_some(&mut cursor, EXPIRE_BUDGET);
            engine.write_log_now();
        }
        evict(&engine);
        engine.begin_due_snapshots();
    }
}
