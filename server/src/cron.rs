//! What happens by the clock: rates for INFO, clients that are idle or do not read, signals that end the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::eviction;
use crate::server::Server;
use crate::shutdown;

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);

/// Starts the thread.
///
/// # Errors
/// If the thread cannot be started, or cannot hear of signals.
pub fn start(server: &Arc<Server>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    drop(_entered);
    let server = server.clone();
    let work = async move {
        let mut ticks = interval(ROUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut rates = Rates::new();
        // A signal that came while the cron is paused (DEBUG PAUSE-CRON).
        let mut pending = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if server.cron_paused.load(Relaxed) {
                        continue;
                    }
                    if let Some(signal) = pending.take()
                        && !server.called_off.swap(false, Relaxed)
                    {
                        shut_down(&server, signal);
                    }
                    rates.sample(&server);
                    look_after_clients(&server);
                    server.migrations.close_unused();
                    // However short it was: the engine goes on expiring and evicting only when it is told to.
                    if server.pause.end_if_over() {
                        server.refresh_engine_settings();
                    }
                }
                _ = term.recv() => match server.cron_paused.load(Relaxed) {
                    false => shut_down(&server, "SIGTERM"),
                    true => {
                        server.called_off.store(false, Relaxed);
                        server.ending.store(true, Relaxed);
                        pending = Some("SIGTERM");
                    }
                },
                _ = int.recv() => match server.ending.load(Relaxed) {
                    false => shut_down(&server, "SIGINT"),
                    true => shutdown::end_at_once(&server),
                },
            }
        }
    };
    thread::Builder::new()
        .name("hardtack-cron".into())
        .spawn(move || runtime.block_on(work))
        .map(drop)
}

fn shut_down(server: &Arc<Server>, signal: &'static str) {
    tracing::warn!("Received {signal} scheduling shutdown...");
    let config = server.config();
    let flags = match signal {
        "SIGTERM" => config.shutdown_on_sigterm,
        _ => config.shutdown_on_sigint,
    };
    drop(config);
    let server = server.clone();
    // On another thread, so that a second signal is heard.
    let ending = thread::Builder::new()
        .name("hardtack-end".into())
        .spawn(move || shutdown::shut_down(&server, flags));
    if let Err(error) = ending {
        tracing::warn!("Can't start a thread to shut down: {error}");
    }
}

/// Samples of counters that grow, for rates.
struct Rates {
    last: Instant,
    counts: [u64; 3],
}

impl Rates {
    fn new() -> Rates {
        Rates {
            last: Instant::now(),
            counts: [0; 3],
        }
    }

    fn sample(&mut self, server: &Server) {
        let stats = &server.stats;
        let counts = [
            server.commands.calls(),
            stats.net_input_bytes.get(),
            stats.net_output_bytes.get(),
        ];
        let seconds = self.last.elapsed().as_secs_f64();
        for ((rate, now), before) in stats.rates.iter().zip(counts).zip(self.counts) {
            rate.sample(now.saturating_sub(before) as f64 / seconds.max(1e-3));
        }
        self.counts = counts;
        self.last = Instant::now();
    }
}

/// Disconnects clients that are idle for longer than `timeout`, or leave replies unread for too long.
fn look_after_clients(server: &Server) {
    let config = server.config();
    let timeout_ms = u64::from(config.timeout) * 1000;
    let limit = config.client_output_buffer_limit.normal;
    let has_soft_limit = limit.soft_bytes > 0 && limit.soft_seconds > 0;
    eviction::evict_clients(server);
    if timeout_ms == 0 && !has_soft_limit {
        return;
    }
    let now = server.uptime_ms();
    for handle in server.clients.all() {
        let seen = &handle.seen;
        let waits = seen.busy.load(Acquire) || seen.blocked.load(Relaxed);
        let idle_ms = now.saturating_sub(seen.active_ms.load(Relaxed));
        if timeout_ms > 0 && idle_ms > timeout_ms && !waits {
            tracing::debug!("Closing idle client {} ({})", handle.id, handle.addr);
            handle.kill();
        }
        if has_soft_limit {
            let over = seen.output_buffer.load(Relaxed) as u64 > limit.soft_bytes;
            let since = seen.over_soft_limit_ms.load(Relaxed);
            if !over {
                seen.over_soft_limit_ms.store(0, Relaxed);
            } else if since == 0 {
                seen.over_soft_limit_ms.store(now.max(1), Relaxed);
            } else if now.saturating_sub(since) > limit.soft_seconds.saturating_mul(1000) {
                handle.kill_for_output();
            }
        }
    }
}
