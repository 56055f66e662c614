//! The small types that would otherwise be bare integers.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{SystemTime, UNIX_EPOCH};

/// A database number, `0..databases`.
pub type DbIndex = u16;

/// A position in the command stream: the count of payload bytes before it. Also the replication offset.
///
/// Ranges of LSNs are half-open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The beginning of a history.
    pub const ZERO: Lsn = Lsn(0);
    /// Later than every position in any log.
    pub const MAX: Lsn = Lsn(u64::MAX);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add<u64> for Lsn {
    type Output = Lsn;
    fn add(self, bytes: u64) -> Lsn {
        Lsn(self.0 + bytes)
    }
}

impl Sub for Lsn {
    type Output = u64;
    /// The number of bytes between two positions; the right one must not be later.
    fn sub(self, earlier: Lsn) -> u64 {
        self.0 - earlier.0
    }
}

/// Wall-clock time in milliseconds since the Unix epoch. TTLs use it; durability timers do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The present time by the system's clock.
    pub fn now() -> UnixMillis {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        UnixMillis(since_epoch.as_millis() as i64)
    }
}
