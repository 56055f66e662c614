//! What can be changed while the engine runs.

use std::sync::Arc;
use std::time::Duration;

use crate::command::KeyClass;
use crate::keyspace::Record;
use crate::types::{DbIndex, UnixMillis};
use crate::value::Limits;

/// Which keys go when memory is above `maxmemory`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Redis's")]
pub enum EvictionPolicy {
    #[default]
    NoEviction,
    AllKeysLru,
    AllKeysLfu,
    AllKeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

impl EvictionPolicy {
    /// Whether keys carry a use counter instead of a time of last use.
    pub fn is_lfu(self) -> bool {
        matches!(
            self,
            EvictionPolicy::AllKeysLfu | EvictionPolicy::VolatileLfu
        )
    }

    /// Whether the keys that were used longest ago go first.
    pub fn is_lru(self) -> bool {
        matches!(
            self,
            EvictionPolicy::AllKeysLru | EvictionPolicy::VolatileLru
        )
    }

    /// Whether any key is as good as any other.
    pub fn is_random(self) -> bool {
        matches!(
            self,
            EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom
        )
    }

    /// Whether only keys with a time to live may go.
    pub fn is_volatile(self) -> bool {
        use EvictionPolicy::*;
        matches!(
            self,
            VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl
        )
    }
}

/// Hears about every change of a key.
pub trait KeyEvents: Send + Sync {
    /// Something happened to `key` in `db`. Called under the key's slot lock: must be quick.
    fn event(&self, class: KeyClass, event: &'static str, db: DbIndex, key: &[u8]);
}

/// Settings that commands and background work read; replaced as a whole by [`super::Engine::set_settings`].
#[derive(Clone)]
pub struct Settings {
    /// Size thresholds of the compact encodings.
    pub limits: Limits,
    /// Longest string, in bytes.
    pub string_len_max: usize,
    /// Bytes of memory above which keys are evicted or writes refused; 0: no limit.
    pub maxmemory: u64,
    /// What goes then.
    pub maxmemory_policy: EvictionPolicy,
    /// Keys looked at for each one evicted.
    pub maxmemory_samples: usize,
    /// How long one command may evict, 0 to 100: 50 µs a step up to 10, from there 15 % more each; 100: no limit.
    pub eviction_tenacity: u32,
    /// How fast the use counter saturates.
    pub lfu_log_factor: u32,
    /// Minutes without use after which the use counter is one lower; 0: never.
    pub lfu_decay_minutes: u32,
    /// Whether keys are expired in the background.
    pub active_expire: bool,
    /// Whether the data must not change by itself (CLIENT PAUSE): a key that is due is not seen any more, but stays, and
    /// nothing is evicted.
    pub keep_due: bool,
    /// Whether expired keys are logged as UNLINK instead of DEL.
    pub lazyfree_expire: bool,
    /// Whether evicted keys are logged as UNLINK instead of DEL.
    pub lazyfree_eviction: bool,
    /// Whether RDB output is compressed.
    pub rdb_compression: bool,
    /// Whether RDB output carries a checksum.
    pub rdb_checksum: bool,
    /// Bytes that a snapshot may hold on to beyond the data before it fails; 0: no limit.
    pub snapshot_memory_limit: u64,
    /// Bytes of the disk that snapshots leave to the log.
    pub disk_reserve_bytes: u64,
    /// Name of the RDB file in the data directory.
    pub rdb_name: String,
    /// Testing: delay per key while a snapshot is written.
    pub rdb_key_delay: Duration,
    /// When the RDB file is written by itself: after so many seconds if there were so many changes.
    pub save_rules: Vec<(u64, u64)>,
    /// Without a log, refuse writes while there are such rules and the RDB file could not be written.
    pub stop_writes_on_save_error: bool,
    /// Compact the log when it has grown by this many percent since the last time; 0: never.
    pub auto_rewrite_percentage: u32,
    /// Do not compact a log of fewer bytes by itself.
    pub auto_rewrite_size_min: u64,
    /// Whether checksums of payloads and files are verified; off only while a test has asked for it
    /// (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub verify_checksums: bool,
    /// Who hears about changes of keys.
    pub key_events: Option<Arc<dyn KeyEvents>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            string_len_max: 512 * 1024 * 1024,
            maxmemory: 0,
            maxmemory_policy: EvictionPolicy::NoEviction,
            maxmemory_samples: 5,
            eviction_tenacity: 10,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
            active_expire: true,
            keep_due: false,
            lazyfree_expire: false,
            lazyfree_eviction: false,
            rdb_compression: true,
            rdb_checksum: true,
            snapshot_memory_limit: 256 << 20,
            disk_reserve_bytes: 0,
            rdb_name: "dump.rdb".into(),
            rdb_key_delay: Duration::ZERO,
            save_rules: Vec::new(),
            stop_writes_on_save_error: false,
            auto_rewrite_percentage: 100,
            auto_rewrite_size_min: 64 << 20,
            verify_checksums: true,
            key_events: None,
        }
    }
}

/// Bits of a record's access stamp.
const ACCESS_BITS: u32 = 24;
/// The counter that a new key starts with under LFU, so that it is not the first to go.
const LFU_INITIAL: u32 = 5;

/// Seconds, in the 24 bits of an access stamp.
fn lru_clock(now: UnixMillis) -> u32 {
    (now.0 / 1000) as u32 & ((1 << ACCESS_BITS) - 1)
}

/// Minutes, in the upper 16 bits of an access stamp under LFU.
fn lfu_minutes(now: UnixMillis) -> u32 {
    (now.0 / 60_000) as u32 & 0xffff
}

impl Settings {
    /// The command that an expiry is logged as.
    pub(crate) fn expire_command(&self) -> &'static [u8] {
        if self.lazyfree_expire {
            b"UNLINK"
        } else {
            b"DEL"
        }
    }

    /// The access stamp of a key that is written anew.
    pub(crate) fn fresh_access(&self, now: UnixMillis) -> u32 {
        if self.maxmemory_policy.is_lfu() {
            lfu_minutes(now) << 8 | LFU_INITIAL
        } else {
            lru_clock(now)
        }
    }

    /// Notes in the record that it was used.
    pub(crate) fn mark_used(&self, record: &Record, now: UnixMillis) {
        let stamp = if self.maxmemory_policy.is_lfu() {
            let counter = self.frequency(record, now);
            lfu_minutes(now) << 8 | self.incremented(counter)
        } else {
            lru_clock(now)
        };
        if record.access() != stamp {
            record.set_access(stamp);
        }
    }

    /// The use counter of a record under LFU, 0 to 255, decayed to the present.
    pub fn frequency(&self, record: &Record, now: UnixMillis) -> u32 {
        let stamp = record.access();
        let (minutes, counter) = (stamp >> 8, stamp & 0xff);
        let idle = lfu_minutes(now).wrapping_sub(minutes) & 0xffff;
        match self.lfu_decay_minutes {
            0 => counter,
            period => counter.saturating_sub(idle / period),
        }
    }

    /// Seconds since the record was last used, under any policy but LFU.
    pub fn idle_seconds(&self, record: &Record, now: UnixMillis) -> u32 {
        lru_clock(now).wrapping_sub(record.access()) & ((1 << ACCESS_BITS) - 1)
    }

    /// Sets the access stamp so that the record has been idle for `seconds`.
    pub fn set_idle(&self, record: &Record, seconds: u32, now: UnixMillis) {
        record.set_access(lru_clock(now).wrapping_sub(seconds) & ((1 << ACCESS_BITS) - 1));
    }

    /// Sets the use counter.
    pub fn set_frequency(&self, record: &Record, counter: u8, now: UnixMillis) {
        record.set_access(lfu_minutes(now) << 8 | u32::from(counter));
    }

    /// The logarithmic counter after one more use: the fuller it is, the less likely it grows.
    fn incremented(&self, counter: u32) -> u32 {
        if counter >= 255 {
            return 255;
        }
        let base = counter.saturating_sub(LFU_INITIAL);
        let probability = 1.0 / f64::from(base * self.lfu_log_factor + 1);
        if rand::random::<f64>() < probability {
            counter + 1
        } else {
            counter
        }
    }
}
