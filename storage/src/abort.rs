//! Threads that must not go missing.

/// Ends the process if the thread that it lives in panics: a store that lacks a thread must not look alive.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name");
            tracing::error!("The thread {name} has panicked; the process ends");
            std::process::abort();
        }
    }
}
