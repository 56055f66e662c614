//! From the configuration to what the engine understands.

use std::time::Duration;

use hardtack_storage::engine::{EvictionPolicy, Options, Settings};
use hardtack_storage::log::{LogOptions, RecoverMode, SyncPolicy};
use hardtack_storage::value::Limits;

use crate::config::{self, Config, FsyncPolicy};
use crate::memory;

/// What can be changed while the engine runs.
pub fn engine_settings(config: &Config) -> Settings {
    Settings {
        limits: Limits {
            hash_max_listpack_entries: config.hash_max_listpack_entries,
            hash_max_listpack_value: saturating(config.hash_max_listpack_value),
            set_max_intset_entries: config.set_max_intset_entries,
            zset_max_listpack_entries: config.zset_max_listpack_entries,
            zset_max_listpack_value: saturating(config.zset_max_listpack_value),
            list_max_listpack_size: config.list_max_listpack_size,
            ..Limits::default()
        },
        string_len_max: saturating(config.proto_max_bulk_len),
        maxmemory: config.maxmemory,
        maxmemory_policy: eviction_policy(config.maxmemory_policy),
        maxmemory_samples: config.maxmemory_samples as usize,
        lfu_log_factor: config.lfu_log_factor,
        lfu_decay_minutes: config.lfu_decay_time,
        lazyfree_expire: config.lazyfree_lazy_expire,
        lazyfree_eviction: config.lazyfree_lazy_eviction,
        rdb_compression: config.rdbcompression,
        rdb_checksum: config.rdbchecksum,
        rdb_name: config.dbfilename.clone(),
        rdb_key_delay: Duration::from_micros(config.rdb_key_save_delay.max(0) as u64),
        save_rules: config
            .save
            .iter()
            .map(|rule| (rule.seconds, rule.changes))
            .collect(),
        auto_rewrite_percentage: config.auto_aof_rewrite_percentage,
        auto_rewrite_size_min: config.auto_aof_rewrite_min_size,
        ..Settings::default()
    }
}

/// What is decided at start.
pub fn engine_options(config: &Config, recover_prefix: bool) -> Options {
    Options {
        databases: config.databases,
        appendonly: config.appendonly,
        log: LogOptions {
            dir_name: config.appenddirname.clone(),
            file_name: config.appendfilename.clone(),
            policy: sync_policy(config.appendfsync),
            ring_bytes: saturating(config.log_ring_bytes),
            segment_bytes: config.log_segment_bytes,
            max_unsynced: Duration::from_millis(config.max_unsynced_ms.into()),
            unsynced_wait: Duration::from_millis(config.unsynced_wait_ms.into()),
            recover: if recover_prefix {
                RecoverMode::Prefix
            } else {
                RecoverMode::Strict
            },
            ..LogOptions::default()
        },
        memory_used: memory::used,
        ..Options::new(config.dir.clone())
    }
}

/// When the log is synced.
pub fn sync_policy(policy: FsyncPolicy) -> SyncPolicy {
    match policy {
        FsyncPolicy::Always => SyncPolicy::Always,
        FsyncPolicy::EverySec => SyncPolicy::EverySec,
        FsyncPolicy::No => SyncPolicy::No,
    }
}

fn eviction_policy(policy: config::EvictionPolicy) -> EvictionPolicy {
    match policy {
        config::EvictionPolicy::NoEviction => EvictionPolicy::NoEviction,
        config::EvictionPolicy::AllKeysLru => EvictionPolicy::AllKeysLru,
        config::EvictionPolicy::AllKeysLfu => EvictionPolicy::AllKeysLfu,
        config::EvictionPolicy::AllKeysRandom => EvictionPolicy::AllKeysRandom,
        config::EvictionPolicy::VolatileLru => EvictionPolicy::VolatileLru,
        config::EvictionPolicy::VolatileLfu => EvictionPolicy::VolatileLfu,
        config::EvictionPolicy::VolatileRandom => EvictionPolicy::VolatileRandom,
        config::EvictionPolicy::VolatileTtl => EvictionPolicy::VolatileTtl,
    }
}

fn saturating(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
