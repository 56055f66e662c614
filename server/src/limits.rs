//! What the operating system allows the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for files, the log, the listening sockets and the runtimes.
const RESERVED_FILES: u64 = 64;

/// What is said where not a single client would be possible.
pub const TOO_FEW_FILES: &str =
    "The limit on open files is too low to serve a single client: raise it (ulimit -n)";

/// Allows as many open files as so many clients need.
///
/// # Errors
/// The number of clients that are possible.
pub fn raise_open_files(clients: u32) -> Result<(), u32> {
    let wanted = u64::from(clients) + RESERVED_FILES;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return Ok(());
    }
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(wanted.min(maximum)),
        maximum: limit.maximum,
    };
    let reached = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted.min(maximum),
        Err(_) => current,
    };
    if reached >= wanted {
        Ok(())
    } else {
        Err(u32::try_from(reached.saturating_sub(RESERVED_FILES)).unwrap_or(u32::MAX))
    }
}
