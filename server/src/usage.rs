//! Processor time, from the operating system.
#![allow(
    unsafe_code,
    reason = "getrusage has no safe wrapper among our libraries"
)]

use std::mem::MaybeUninit;
use std::time::Duration;

/// Processor time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// In the program.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

/// What this process has used.
pub fn cpu() -> Cpu {
    usage(libc::RUSAGE_SELF)
}

/// What its children that have ended have used.
pub fn cpu_of_children() -> Cpu {
    usage(libc::RUSAGE_CHILDREN)
}

fn usage(of: libc::c_int) -> Cpu {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the type that the call fills in.
    unsafe { libc::getrusage(of, usage.as_mut_ptr()) };
    // SAFETY: all bytes were zero, which is a valid value, and stay so if the call fails.
    let usage = unsafe { usage.assume_init() };
    let duration = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.max(0) as u64)
            + Duration::from_micros(time.tv_usec.max(0) as u64)
    };
    Cpu {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
    }
}
