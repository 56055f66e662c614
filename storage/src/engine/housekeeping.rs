//! Background work that has no command to hang on: expiry, snapshots that are due. One thread per engine.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::expire::ExpireCursor;
use super::{Engine, Shared, Worker};

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// Time that a round may spend on expiry.
const EXPIRE_BUDGET: Duration = Duration::from_millis(25);

/// Starts the thread. It ends when the engine is dropped.
pub(super) fn start(engine: &Engine) -> std::io::Result<()> {
    let shared = Arc::downgrade(&engine.shared);
    thread::Builder::new()
        .name("hardtack-house".into())
        .spawn(move || keep_house(&shared))
        .map(drop)
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
        engine.begin_due_snapshots();
    }
}
