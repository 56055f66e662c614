//! From the configuration to what the engine understands.

use std::sync::Arc;
use std::time::Duration;

use hardtack_storage::engine::{EvictionPolicy, Options, Settings};
use hardtack_storage::log::{LogOptions, RecoverMode, Retention, SyncPolicy};
use hardtack_storage::value::Limits;

use crate::config::{self, ApplyError, Config, FsyncPolicy};
use crate::limits;
use crate::memory;
use crate::server::Server;

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
        eviction_tenacity: config.maxmemory_eviction_tenacity,
        lfu_log_factor: config.lfu_log_factor,
        lfu_decay_minutes: config.lfu_decay_time,
        lazyfree_expire: config.lazyfree_lazy_expire,
        lazyfree_eviction: config.lazyfree_lazy_eviction,
        rdb_compression: config.rdbcompression,
        rdb_checksum: config.rdbchecksum,
        snapshot_memory_limit: config.snapshot_memory_limit.bytes(config.maxmemory),
        disk_reserve_bytes: config.disk_reserve_bytes,
        rdb_name: config.dbfilename.clone(),
        rdb_key_delay: Duration::from_micros(config.rdb_key_save_delay.max(0) as u64),
        save_rules: config
            .save
            .iter()
            .map(|rule| (rule.seconds, rule.changes))
            .collect(),
        stop_writes_on_save_error: config.stop_writes_on_bgsave_error,
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
            annotate: config.aof_timestamp_enabled,
            retention: retention(config),
            load_cut_off: config.aof_load_truncated,
            ..LogOptions::default()
        },
        memory_used: memory::used_to_stay,
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

fn retention(config: &Config) -> Retention {
    if config.aof_disable_auto_gc {
        return Retention {
            bytes: u64::MAX,
            age: None,
        };
    }
    let seconds = config.log_retention_time;
    Retention {
        bytes: config.log_retention_bytes,
        age: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
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

/// Puts changed settings into practice where it is not enough that they can be read. The engine's settings follow when
/// the new ones are in force ([`Server::refresh_engine_settings`]).
///
/// `queued` says that the change comes from within a transaction, under whose locks the log cannot be exchanged.
///
/// # Errors
/// What cannot be done; nothing is changed then.
pub fn apply(
    server: &Arc<Server>,
    old: &Config,
    new: &Config,
    changed: &[&'static str],
    queued: bool,
) -> Result<(), ApplyError> {
    let refused = |name, reason: &str| {
        Err(ApplyError {
            name,
            reason: reason.to_owned(),
        })
    };
    if old.log_ring_bytes != new.log_ring_bytes {
        return refused(
            "log-ring-bytes",
            "the size of the log's memory is chosen at start",
        );
    }
    if old.dir != new.dir && (old.appendonly || new.appendonly) {
        return refused("dir", "the append-only log is on: turn it off first");
    }
    if new.maxclients > old.maxclients
        && let Err(possible) = limits::raise_open_files(new.maxclients)
    {
        let reason = format!(
            "The operating system is not able to handle the specified number of clients, try with {possible}"
        );
        return refused("maxclients", &reason);
    }
    if old.jemalloc_bg_thread != new.jemalloc_bg_thread
        && let Err(reason) = memory::give_back_in_background(new.jemalloc_bg_thread)
    {
        return refused("jemalloc-bg-thread", &reason);
    }
    let moves = old.port != new.port || old.bind != new.bind;
    if moves && server.doors.move_to(server, new).is_err() {
        return if old.port == new.port {
            refused("bind", "Failed to bind to specified addresses.")
        } else {
            refused("port", "Unable to listen on this port. Check server logs.")
        };
    }
    let switched = if old.dir != new.dir {
        let moved = server.engine.change_dir(new.dir.clone());
        moved.map_err(|error| ("dir", error.to_string()))
    } else if old.appendonly != new.appendonly {
        switch_log(server, new.appendonly, queued).map_err(|reason| ("appendonly", reason))
    } else {
        Ok(())
    };
    if let Err((name, reason)) = switched {
        if moves && server.doors.move_to(server, old).is_err() {
            tracing::warn!("The server could not go back to its old addresses");
        }
        return refused(name, &reason);
    }
    // Nothing fails from here on.
    server.engine.configure_log(|options| {
        let LogOptions {
            policy,
            annotate,
            retention,
            segment_bytes,
            max_unsynced,
            unsynced_wait,
            ..
        } = engine_options(new, false).log;
        options.policy = policy;
        options.annotate = annotate;
        options.retention = retention;
        options.segment_bytes = segment_bytes;
        options.max_unsynced = max_unsynced;
        options.unsynced_wait = unsynced_wait;
    });
    server.log.set_level(new.loglevel);
    server
        .slowlog
        .configure(new.slowlog_log_slower_than, new.slowlog_max_len);
    server
        .latency
        .configure(new.latency_tracking, new.latency_monitor_threshold);
    if let Some(notice) = new.no_effect_notice().filter(|_| old.inert != new.inert) {
        tracing::info!("{notice}");
    }
    if !changed.is_empty() {
        tracing::debug!("CONFIG SET has changed {}", changed.join(", "));
    }
    Ok(())
}

/// Turns the log on or off; after the transaction, if it is asked for within one.
fn switch_log(server: &Arc<Server>, on: bool, queued: bool) -> Result<(), String> {
    let engine = &server.engine;
    let outcome = match (queued, on) {
        (true, _) => {
            engine.schedule_log(on);
            if on {
                tracing::info!(
                    "The append-only log is turned on inside a transaction: an AOF background was scheduled to start \
                     after it"
                );
            }
            Ok(())
        }
        (false, true) => engine.turn_log_on().map_err(|error| error.to_string()),
        (false, false) => engine.turn_log_off().map_err(|error| error.to_string()),
    };
    outcome.inspect_err(|error| {
        tracing::warn!("The append-only log could not be switched: {error}");
    })
}
