//! The end of the server: the last snapshot, the log closed, nothing left behind but data.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use hardtack_storage::engine::BeginError;

use crate::config::ShutdownFlags;
use crate::server::Server;

/// How long the end waits for a snapshot that was told to stop.
const SNAPSHOT_STOP_MAX: Duration = Duration::from_secs(10);

/// Why the server goes on.
#[derive(Debug)]
pub struct ShutdownFailed;

/// Ends the process, unless its last snapshot fails, or the shutdown is called off. The caller must not be inside the
/// keyspace.
///
/// # Errors
/// [`ShutdownFailed`]: the server goes on; the log lines say why.
pub fn shut_down(server: &Arc<Server>, flags: ShutdownFlags) -> Result<(), ShutdownFailed> {
    tracing::warn!("User requested shutdown...");
    server.called_off.store(false, Ordering::Relaxed);
    server.ending.store(true, Ordering::Relaxed);
    let failed = || {
        server.ending.store(false, Ordering::Relaxed);
        server.pause.hold_at_the_end(false);
        tracing::warn!(
            "Errors trying to shut down the server. Check the logs for more information."
        );
        Err(ShutdownFailed)
    };
    let is_called_off = || server.called_off.load(Ordering::Relaxed);
    let config = server.config.load_full();
    // The log holds everything; an RDB file beside it is written if somebody asks for one.
    let is_kept = server.engine.log().is_some();
    let saves = flags.save || (!config.save.is_empty() && !flags.nosave && !is_kept);
    // A data set that is not complete yet must not replace the one on disk.
    if saves && !server.is_loading() {
        tracing::info!("Saving the final RDB snapshot before exiting.");
        // Without a log nothing would keep what is written after the cut.
        if !is_kept {
            server.pause.hold_at_the_end(true);
        }
        if let Err(error) = save(server) {
            tracing::warn!("Error trying to save the DB, can't exit: {error}");
            if !flags.force || is_called_off() {
                return failed();
            }
        }
    }
    // Without its base the log keeps nothing: what was acknowledged since the last RDB file would be lost.
    if server.engine.log_is_beginning() && !flags.now && !flags.force {
        tracing::info!("Writing the first base of the append-only log before exiting.");
        while server.engine.log_is_beginning()
            && !server.end_at_once.load(Ordering::Relaxed)
            && !is_called_off()
        {
            thread::sleep(Duration::from_millis(10));
        }
    }
    let patience = match flags.now {
        true => Duration::ZERO,
        false => Duration::from_secs(config.shutdown_timeout.into()),
    };
    server.engine.close(patience, &is_called_off, || {
        let leftovers = [&config.pidfile, &config.unixsocket];
        for path in leftovers.into_iter().flatten() {
            remove(&config.resolve(path));
        }
        tracing::warn!("Hardtack is now ready to exit, bye bye...");
        if server.is_loading() {
            // The main thread loads: it would not hear of the end.
            std::process::exit(0);
        }
        server.end();
        // Commands stay held back until the process has ended.
        loop {
            thread::park();
        }
    });
    // Only a shutdown that was called off comes this far.
    failed()
}

/// SHUTDOWN ABORT: calls off a shutdown that waits; false if there is none.
pub fn call_off(server: &Server) -> bool {
    let waits = server.ending.load(Ordering::Relaxed);
    if waits {
        tracing::warn!("Shutdown manually aborted: the server goes on");
        server.called_off.store(true, Ordering::Relaxed);
        server.ending.store(false, Ordering::Relaxed);
        server.engine.cancel_snapshot();
    }
    waits
}

/// A second interrupt during a shutdown: the RDB file is given up. The one before it stays, and so does the log.
pub fn end_at_once(server: &Server) {
    tracing::warn!("Interrupted again: exiting without the RDB file");
    server.end_at_once.store(true, Ordering::Relaxed);
    server.engine.cancel_snapshot();
}

/// Writes the RDB file, unless there is no time for it; a snapshot that is under way makes room.
fn save(server: &Server) -> Result<(), BeginError> {
    let engine = &server.engine;
    let began = Instant::now();
    loop {
        if server.end_at_once.load(Ordering::Relaxed) {
            return Ok(());
        }
        if server.called_off.load(Ordering::Relaxed) {
            return Err(BeginError::Failed("the shutdown was called off".into()));
        }
        match engine.save() {
            Err(_) if server.end_at_once.load(Ordering::Relaxed) => return Ok(()),
            Err(BeginError::InProgress(_)) if began.elapsed() < SNAPSHOT_STOP_MAX => {
                engine.cancel_snapshot();
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && path.exists()
    {
        tracing::warn!("Can't remove {}: {error}", path.display());
    }
}
