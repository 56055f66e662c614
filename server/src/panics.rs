//! A panic ends the process, whichever thread it happens in: a server that lacks a thread must not look alive.
//!
//! In a release build it would do so by itself, but say why on standard error only; in a build that unwinds the runtime
//! of an I/O thread would catch it, and other threads would just be gone.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic;
use std::process;
use std::thread;

thread_local! {
    /// The thread has begun to say why it panics.
    static REPORTS: Cell<bool> = const { Cell::new(false) };
}

/// Has every panic from now on end the process, with a line in the log.
pub fn end_the_process() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // What panics again while it reports has nothing more to say.
        if !REPORTS.replace(true) {
            usual(info);
            let thread = thread::current();
            let name = thread.name().unwrap_or("without a name").to_owned();
            let place = info
                .location()
                .map_or_else(String::new, |place| format!(" at {place}"));
            let reason = info
                .payload_as_str()
                .unwrap_or("no reason is known")
                .to_owned();
            let trace = Backtrace::force_capture().to_string();
            // On another thread: this one may hold what the log needs. It must not wait for long.
            let report = thread::Builder::new().spawn(move || {
                tracing::error!("Panic: {reason}{place}");
                tracing::error!(
                    "The thread {name} has panicked, and the process ends. What was acknowledged is in the log."
                );
                for line in trace.lines() {
                    tracing::error!("{line}");
                }
            });
            if let Ok(report) = report {
                wait_a_while(&report);
            }
        }
        process::abort();
    }));
}

/// Waits until a thread has ended, or until that takes too long.
fn wait_a_while(thread: &thread::JoinHandle<()>) {
    const LOOKS: u32 = 300;
    const BETWEEN: std::time::Duration = std::time::Duration::from_millis(10);
    for _ in 0..LOOKS {
        if thread.is_finished() {
            return;
        }
        thread::sleep(BETWEEN);
    }
}
