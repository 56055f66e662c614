//! INFO: what the server says of itself.
//!
//! Sections and names of fields are those of Redis 7.0, so that tools find what they look for. A field whose value would
//! have to be invented is left out. `Durability` is ours: what a crash at this moment would leave.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

use hardtack_storage::UnixMillis;
use hardtack_storage::engine::{FixedBytes, SnapshotInfo, SnapshotKind};
use hardtack_storage::log::{LogStatus, SyncPolicy};

use crate::commands::client_memory;
use crate::memory;
use crate::server::Server;
use crate::usage;

/// The sections, in the order in which they are shown, and whether INFO shows them unasked.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory_section),
    ("persistence", true, persistence),
    ("stats", true, stats),
    ("replication", true, replication),
    ("cpu", true, cpu),
    ("modules", true, modules),
    ("commandstats", false, command_stats),
    ("errorstats", true, error_stats),
    ("latencystats", false, latency_stats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
    ("durability", true, durability),
];

/// Writes a section.
type Section = fn(&mut Page<'_>);

/// What a database holds: keys, and how many of them have a time to live.
pub type KeyCounts = [(usize, usize)];

/// The text that INFO answers for these sections; none named means the usual ones.
pub fn text(server: &Server, key_counts: &KeyCounts, sections: &[&[u8]]) -> String {
    let named = |name: &str| {
        sections
            .iter()
            .any(|section| section.eq_ignore_ascii_case(name.as_bytes()))
    };
    let everything = named("all") || named("everything");
    let usual = sections.is_empty() || named("default");
    // Before the text takes its share.
    let used = memory::used();
    let mut page = Page {
        server,
        key_counts,
        used,
        text: String::with_capacity(8 * 1024),
    };
    for (name, is_usual, write) in SECTIONS {
        if everything || (usual && *is_usual) || named(name) {
            if !page.text.is_empty() {
                page.text.push_str("\r\n");
            }
            write(&mut page);
        }
    }
    page.text
}

struct Page<'s> {
    server: &'s Server,
    key_counts: &'s KeyCounts,
    /// Memory allocated when INFO was asked for.
    used: u64,
    text: String,
}

impl Page<'_> {
    fn title(&mut self, title: &str) {
        self.line(format_args!("# {title}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{line}\r\n");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}:{value}"));
    }

    fn fields<V: Display>(&mut self, fields: impl IntoIterator<Item = (&'static str, V)>) {
        for (name, value) in fields {
            self.field(name, value);
        }
    }

    /// A number of bytes, twice: as it is, and for people.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.line(format_args!("{name}_human:{}", human(bytes)));
    }
}

/// A number of bytes with a unit.
pub fn human(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let unit = units.iter().find(|(bits, _)| bytes >= 1 << bits);
    unit.map_or_else(
        || format!("{bytes}B"),
        |(bits, unit)| format!("{:.2}{unit}", bytes as f64 / (1u64 << bits) as f64),
    )
}

fn server(page: &mut Page<'_>) {
    let server = page.server;
    let config = server.config();
    let uptime = server.started.elapsed().as_secs();
    let kernel = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
        text.unwrap_or_default().trim().to_owned()
    };
    let now = UnixMillis::now();
    let micros = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_micros());
    let path = |path: Option<&std::path::Path>| {
        path.map(|path| path.display().to_string())
            .unwrap_or_default()
    };
    let executable = std::env::current_exe().ok();
    page.title("Server");
    page.field("redis_version", crate::REDIS_VERSION);
    page.field("hardtack_version", env!("CARGO_PKG_VERSION"));
    page.field("redis_git_sha1", "00000000");
    page.field("redis_git_dirty", 0);
    page.field("redis_mode", "standalone");
    page.line(format_args!(
        "os:{} {} {}",
        kernel("ostype"),
        kernel("osrelease"),
        std::env::consts::ARCH
    ));
    page.field("arch_bits", usize::BITS);
    page.field("monotonic_clock", "POSIX clock_gettime");
    page.field("multiplexing_api", "epoll");
    page.field("process_id", std::process::id());
    page.field("process_supervised", "no");
    page.field("run_id", &server.run_id);
    page.field("tcp_port", config.port);
    page.field("server_time_usec", micros);
    page.field("uptime_in_seconds", uptime);
    page.field("uptime_in_days", uptime / 86_400);
    page.field("hz", config.hz);
    page.field("configured_hz", config.hz);
    page.field("lru_clock", (now.0 / 1000) & 0xff_ffff);
    page.field("executable", path(executable.as_deref()));
    page.field("config_file", path(server.config.file()));
    page.field("io_threads_active", u8::from(config.io_threads > 1));
}

fn clients(page: &mut Page<'_>) {
    let server = page.server;
    let all = server.clients.all();
    let most = |bytes: fn(&crate::client::Seen) -> usize| {
        all.iter()
            .map(|handle| bytes(&handle.seen))
            .max()
            .unwrap_or(0)
    };
    page.title("Clients");
    page.field("connected_clients", all.len());
    page.field("cluster_connections", 0);
    page.field("maxclients", server.config().maxclients);
    page.field(
        "client_recent_max_input_buffer",
        most(|seen| seen.query_buffer.load(Relaxed)),
    );
    page.field(
        "client_recent_max_output_buffer",
        most(|seen| seen.output_buffer.load(Relaxed)),
    );
    page.field("blocked_clients", blocked_clients(server));
    page.field("tracking_clients", 0);
    page.field("long_commands", server.engine.long_commands());
}

/// Clients whose command waits for a key, or for the end of CLIENT PAUSE.
fn blocked_clients(server: &Server) -> usize {
    server.engine.blocked_commands() + server.pause.postponed.load(Relaxed)
}

/// What is known of the memory in use, in bytes.
pub struct MemoryNumbers {
    /// Allocated, without what is fixed.
    pub used: u64,
    /// The most that was ever allocated.
    pub peak: u64,
    /// Allocated whatever the data.
    pub fixed: FixedBytes,
    /// Allocated before any data was there.
    pub startup: u64,
    /// Taken by clients.
    pub clients: u64,
    /// Of the process, in memory.
    pub rss: u64,
    /// Of the log, what has not been written yet.
    pub log_buffer: u64,
    /// The allocator's numbers.
    pub allocator: memory::AllocatorBytes,
}

impl MemoryNumbers {
    /// The numbers of this moment.
    pub fn now(server: &Server) -> MemoryNumbers {
        MemoryNumbers::with_used(server, memory::used())
    }

    /// The numbers of this moment, when so many bytes are in use.
    fn with_used(server: &Server, used: u64) -> MemoryNumbers {
        let allocator = memory::allocator();
        let clients = server.clients.all();
        let fixed = server.engine.fixed_bytes();
        MemoryNumbers {
            used: used.saturating_sub(fixed.total()),
            peak: memory::peak().saturating_sub(fixed.total()),
            fixed,
            startup: server.startup_memory,
            clients: clients
                .iter()
                .map(|handle| client_memory(handle) as u64)
                .sum(),
            rss: memory::resident(),
            log_buffer: server
                .engine
                .log()
                .map_or(0, |log| log.appended().0.saturating_sub(log.written().0)),
            allocator,
        }
    }

    /// What is not data, as far as that is known.
    pub fn overhead(&self) -> u64 {
        self.startup + self.clients
    }

    /// What is data, and what holds it together.
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    /// Percentage of what came after the start that is data.
    pub fn dataset_percent(&self) -> f64 {
        100.0 * ratio(self.dataset(), self.used.saturating_sub(self.startup))
    }
}

/// A quotient, which is 0 where it would not be a number.
pub fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

fn memory_section(page: &mut Page<'_>) {
    let server = page.server;
    let config = server.config();
    let numbers = MemoryNumbers::with_used(server, page.used);
    let MemoryNumbers {
        used,
        peak,
        rss,
        log_buffer,
        allocator,
        ..
    } = numbers;
    let (lazy_pending, lazy_freed) = server.engine.lazyfree_counts();
    let percent = |of: f64| format!("{of:.2}%");
    let two = |of: f64| format!("{of:.2}");
    page.title("Memory");
    page.bytes("used_memory", used);
    page.bytes("used_memory_rss", rss);
    page.bytes("used_memory_peak", peak);
    page.field("used_memory_peak_perc", percent(100.0 * ratio(used, peak)));
    page.field("used_memory_overhead", numbers.overhead());
    page.field("used_memory_startup", numbers.startup);
    page.field("used_memory_dataset", numbers.dataset());
    page.field(
        "used_memory_dataset_perc",
        percent(numbers.dataset_percent()),
    );
    page.field("allocator_allocated", allocator.allocated);
    page.field("allocator_active", allocator.active);
    page.field("allocator_resident", allocator.resident);
    page.bytes("total_system_memory", memory::total());
    page.bytes("used_memory_lua", 0);
    page.field("used_memory_scripts", 0);
    page.field("number_of_cached_scripts", 0);
    page.field("number_of_functions", 0);
    page.field("number_of_libraries", 0);
    page.bytes("maxmemory", config.maxmemory);
    page.field("maxmemory_policy", config.maxmemory_policy.word());
    page.field(
        "allocator_frag_ratio",
        two(ratio(allocator.active, allocator.allocated)),
    );
    page.field(
        "allocator_frag_bytes",
        allocator.active.saturating_sub(allocator.allocated),
    );
    page.field(
        "allocator_rss_ratio",
        two(ratio(allocator.resident, allocator.active)),
    );
    page.field(
        "allocator_rss_bytes",
        allocator.resident.saturating_sub(allocator.active),
    );
    page.field("rss_overhead_ratio", two(ratio(rss, allocator.resident)));
    page.field("rss_overhead_bytes", rss as i64 - allocator.resident as i64);
    page.field("mem_fragmentation_ratio", two(ratio(rss, used)));
    page.field("mem_fragmentation_bytes", rss as i64 - used as i64);
    page.fields([
        (
            "mem_not_counted_for_evict",
            server.engine.snapshot_info().memory.now,
        ),
        ("mem_replication_backlog", 0),
        ("mem_total_replication_buffers", 0),
        ("mem_clients_slaves", 0),
        ("mem_clients_normal", numbers.clients),
        ("mem_cluster_links", 0),
        ("mem_aof_buffer", log_buffer),
    ]);
    page.fields([
        ("mem_slot_directories", numbers.fixed.directories),
        ("mem_log_ring", numbers.fixed.log_ring),
    ]);
    page.field("mem_allocator", memory::allocator_name());
    page.field("active_defrag_running", 0);
    page.field("lazyfree_pending_objects", lazy_pending);
    page.field("lazyfreed_objects", lazy_freed);
}

fn persistence(page: &mut Page<'_>) {
    let server = page.server;
    let engine = &server.engine;
    let info = engine.snapshot_info();
    let SnapshotInfo { running, keys, .. } = &info;
    let running_for = |wanted: SnapshotKind| {
        let running = running.filter(|(kind, _)| *kind == wanted);
        running.map_or(-1, |(_, took)| took.as_secs() as i64)
    };
    let (saves_for, rewrites_for) = (
        running_for(SnapshotKind::Save),
        running_for(SnapshotKind::Rewrite),
    );
    let status = |ok: bool| if ok { "ok" } else { "err" };
    let seconds = |took: Option<std::time::Duration>| took.map_or(-1, |took| took.as_secs() as i64);
    page.title("Persistence");
    page.field("loading", u8::from(server.is_loading()));
    page.field("async_loading", 0);
    // There is no fork: these are of the snapshot under way, and what it holds on to beyond the data.
    page.fields([
        ("current_cow_peak", info.memory.peak),
        ("current_cow_size", info.memory.now),
        ("current_cow_size_age", 0),
    ]);
    page.field(
        "current_fork_perc",
        format_args!("{:.2}", 100.0 * ratio(keys.0, keys.1)),
    );
    page.field("current_save_keys_processed", keys.0);
    page.field("current_save_keys_total", keys.1);
    snapshot_progress(page, &info);
    page.field("rdb_changes_since_last_save", engine.stats().dirty.get());
    page.field("rdb_bgsave_in_progress", u8::from(saves_for >= 0));
    page.field("rdb_last_save_time", info.last_save.0 / 1000);
    page.field("rdb_last_bgsave_status", status(info.last_save_ok));
    page.field("rdb_last_bgsave_time_sec", seconds(info.last_save_took));
    page.field("rdb_current_bgsave_time_sec", saves_for);
    page.field("rdb_saves", info.saves);
    page.field("rdb_last_cow_size", info.last_memory_peaks.0);
    {
        let report = server.load_report.lock();
        page.field("rdb_last_load_keys_expired", report.rdb_keys_expired);
        page.field("rdb_last_load_keys_loaded", report.rdb_keys);
    }
    let log = engine.log();
    page.field("aof_enabled", u8::from(engine.wants_log()));
    page.field("aof_rewrite_in_progress", u8::from(rewrites_for >= 0));
    page.field(
        "aof_rewrite_scheduled",
        u8::from(engine.rewrite_is_scheduled()),
    );
    page.field("aof_last_rewrite_time_sec", seconds(info.last_rewrite_took));
    page.field("aof_current_rewrite_time_sec", rewrites_for);
    page.field("aof_last_bgrewrite_status", status(info.last_rewrite_ok));
    page.field("aof_rewrites", info.rewrites);
    let log_ok = log.as_ref().is_none_or(|log| log.status() == LogStatus::Ok);
    page.field("aof_last_write_status", status(log_ok));
    page.field("aof_last_cow_size", info.last_memory_peaks.1);
    page.field("module_fork_in_progress", 0);
    page.field("module_fork_last_cow_size", 0);
    if let Some(log) = log {
        page.field("aof_current_size", log.current_bytes());
        page.field("aof_base_size", log.base_bytes());
        page.field(
            "aof_pending_rewrite",
            u8::from(engine.rewrite_is_scheduled()),
        );
        page.field(
            "aof_buffer_length",
            log.appended().0.saturating_sub(log.written().0),
        );
        let history = log.history();
        page.field("log_history_from_lsn", history.from.0);
        page.field("log_history_to_lsn", log.written().0);
        page.field(
            "log_history_since_ms",
            history.since.map_or(0, |since| since.0),
        );
        page.field("log_history_segments", history.kept_segments);
        page.field("log_history_bytes", history.kept_bytes);
        page.field("log_restorable_from_lsn", history.restorable_from.0);
    }
}

/// How the snapshot under way comes along; -1 where that is not known.
fn snapshot_progress(page: &mut Page<'_>, info: &SnapshotInfo) {
    let seconds = info.running.map_or(0.0, |(_, took)| took.as_secs_f64());
    let rate = if seconds > 0.0 {
        info.keys.0 as f64 / seconds
    } else {
        0.0
    };
    let left = info.keys.1.saturating_sub(info.keys.0) as f64;
    let eta = if info.running.is_some() && rate > 0.0 {
        (left / rate).ceil() as i64
    } else {
        -1
    };
    let reserve = page.server.engine.settings().disk_reserve_bytes;
    // -1: nobody has looked, or the system does not say.
    let free = page.server.engine.disk_free_bytes();
    page.field(
        "disk_free_bytes",
        free.map_or(-1, |free| i64::try_from(free).unwrap_or(i64::MAX)),
    );
    page.field("disk_reserve_bytes", reserve);
    page.field(
        "disk_reserve_reached",
        u8::from(free.is_some_and(|free| free < reserve)),
    );
    let error = info.last_error.as_deref().unwrap_or("");
    page.field("snapshot_last_error", error.replace(['\r', '\n'], " "));
    let retry = info.rewrite_retry_in;
    page.field(
        "aof_rewrite_retry_in_sec",
        retry.map_or(-1, |wait| wait.as_secs_f64().ceil() as i64),
    );
    page.field("snapshot_keys_per_sec", rate.round() as u64);
    page.field("snapshot_eta_seconds", eta);
    page.field("snapshot_bytes_written", info.bytes);
    page.field(
        "snapshot_memory_limit",
        page.server.engine.settings().snapshot_memory_limit,
    );
}

fn stats(page: &mut Page<'_>) {
    let server = page.server;
    let (stats, engine) = (&server.stats, server.engine.stats());
    let [commands, input, output] = &stats.rates;
    page.title("Stats");
    page.field(
        "total_connections_received",
        stats.connections_received.get(),
    );
    page.field("total_commands_processed", server.commands.calls());
    page.field("instantaneous_ops_per_sec", commands.get().round() as u64);
    page.field("total_net_input_bytes", stats.net_input_bytes.get());
    page.field("total_net_output_bytes", stats.net_output_bytes.get());
    page.fields([
        ("total_net_repl_input_bytes", 0),
        ("total_net_repl_output_bytes", 0),
    ]);
    page.field(
        "instantaneous_input_kbps",
        format_args!("{:.2}", input.get() / 1024.0),
    );
    page.field(
        "instantaneous_output_kbps",
        format_args!("{:.2}", output.get() / 1024.0),
    );
    page.fields([
        ("instantaneous_input_repl_kbps", "0.00"),
        ("instantaneous_output_repl_kbps", "0.00"),
    ]);
    page.field("rejected_connections", stats.rejected_connections.get());
    page.fields([
        ("sync_full", 0),
        ("sync_partial_ok", 0),
        ("sync_partial_err", 0),
    ]);
    page.field("expired_keys", engine.expired_keys.get());
    let stale = engine.expired_stale_perc_millis.get() as f64 / 1000.0;
    page.field("expired_stale_perc", format_args!("{stale:.2}"));
    page.field(
        "expired_time_cap_reached_count",
        engine.expired_time_cap_reached_count.get(),
    );
    page.field("evicted_keys", engine.evicted_keys.get());
    page.field("evicted_clients", stats.evicted_clients.get());
    page.field("keyspace_hits", engine.keyspace_hits.get());
    page.field("keyspace_misses", engine.keyspace_misses.get());
    page.fields([
        ("pubsub_channels", 0),
        ("pubsub_patterns", 0),
        ("pubsubshard_channels", 0),
        ("latest_fork_usec", 0),
        // Nothing forks; what Redis forks for is counted.
        ("total_forks", server.engine.snapshot_info().begun),
    ]);
    page.field("migrate_cached_sockets", server.migrations.len());
    page.fields([
        ("slave_expires_tracked_keys", 0),
        ("active_defrag_hits", 0),
        ("active_defrag_misses", 0),
        ("active_defrag_key_hits", 0),
        ("active_defrag_key_misses", 0),
        ("total_active_defrag_time", 0),
        ("current_active_defrag_time", 0),
        ("tracking_total_keys", 0),
        ("tracking_total_items", 0),
        ("tracking_total_prefixes", 0),
        ("unexpected_error_replies", 0),
    ]);
    page.field("total_error_replies", stats.error_replies.get());
}

fn replication(page: &mut Page<'_>) {
    let log = page.server.engine.log();
    page.title("Replication");
    page.field("role", "master");
    page.field("connected_slaves", 0);
    page.field("master_failover_state", "no-failover");
    match &log {
        Some(log) => page.field("master_replid", log.replid().as_str()),
        None => page.field("master_replid", &page.server.run_id),
    }
    page.field("master_replid2", "0".repeat(40));
    page.field("master_repl_offset", log.map_or(0, |log| log.appended().0));
    page.field("second_repl_offset", -1);
    page.field("repl_backlog_active", 0);
    page.field("repl_backlog_size", 0);
    page.field("repl_backlog_first_byte_offset", 0);
    page.field("repl_backlog_histlen", 0);
}

fn cpu(page: &mut Page<'_>) {
    let (own, children) = (usage::cpu(), usage::cpu_of_children());
    page.title("CPU");
    page.field(
        "used_cpu_sys",
        format_args!("{:.6}", own.system.as_secs_f64()),
    );
    page.field(
        "used_cpu_user",
        format_args!("{:.6}", own.user.as_secs_f64()),
    );
    page.field(
        "used_cpu_sys_children",
        format_args!("{:.6}", children.system.as_secs_f64()),
    );
    page.field(
        "used_cpu_user_children",
        format_args!("{:.6}", children.user.as_secs_f64()),
    );
}

fn modules(page: &mut Page<'_>) {
    page.title("Modules");
}

fn command_stats(page: &mut Page<'_>) {
    page.title("Commandstats");
    let all = page.server.commands.all();
    let each = all
        .iter()
        .flat_map(|(_, entry)| std::iter::once(*entry).chain(&entry.subcommands));
    for entry in each {
        let stats = &entry.stats;
        let (calls, rejected, failed) =
            (stats.calls.get(), stats.rejected.get(), stats.failed.get());
        if calls + rejected + failed == 0 {
            continue;
        }
        let micros = stats.nanos.get() / 1000;
        page.line(format_args!(
            "cmdstat_{}:calls={calls},usec={micros},usec_per_call={:.2},rejected_calls={rejected},failed_calls={failed}",
            entry.spec.name,
            ratio(micros, calls),
        ));
    }
}

fn error_stats(page: &mut Page<'_>) {
    page.title("Errorstats");
    for (prefix, count) in page.server.stats.errors() {
        page.line(format_args!("errorstat_{prefix}:count={count}"));
    }
}

fn latency_stats(page: &mut Page<'_>) {
    page.title("Latencystats");
    if !page.server.latency.is_tracking() {
        return;
    }
    let config = page.server.config();
    let percents = &config.latency_tracking_info_percentiles;
    let all = page.server.commands.all();
    let each = all
        .iter()
        .flat_map(|(_, entry)| std::iter::once(*entry).chain(&entry.subcommands));
    for entry in each {
        let Some(nanos) = entry.stats.latency.percentiles(percents) else {
            continue;
        };
        let list: Vec<String> = percents
            .iter()
            .zip(nanos)
            .map(|(percent, nanos)| format!("p{percent}={:.3}", nanos as f64 / 1000.0))
            .collect();
        page.line(format_args!(
            "latency_percentiles_usec_{}:{}",
            entry.spec.name,
            list.join(",")
        ));
    }
}

fn cluster(page: &mut Page<'_>) {
    page.title("Cluster");
    page.field("cluster_enabled", 0);
}

fn keyspace(page: &mut Page<'_>) {
    page.title("Keyspace");
    for (db, (keys, expiring)) in page.key_counts.iter().enumerate() {
        if *keys > 0 {
            page.line(format_args!(
                "db{db}:keys={keys},expires={expiring},avg_ttl=0"
            ));
        }
    }
}

fn durability(page: &mut Page<'_>) {
    page.title("Durability");
    let Some(log) = page.server.engine.log() else {
        page.field("log_status", "off");
        return;
    };
    match log.status() {
        LogStatus::Ok => page.field("log_status", "ok"),
        LogStatus::Failed {
            reason, healing, ..
        } => {
            page.field("log_status", if healing { "healing" } else { "failed" });
            page.field("log_failure", reason.to_string().replace(['\r', '\n'], " "));
        }
    }
    let policy = match log.policy() {
        SyncPolicy::Always => "always",
        SyncPolicy::EverySec => "everysec",
        SyncPolicy::No => "no",
    };
    page.field("log_policy", policy);
    page.field("log_appended_lsn", log.appended().0);
    page.field("log_written_lsn", log.written().0);
    page.field("log_durable_lsn", log.durable().0);
    page.field("log_unsynced_age_ms", log.oldest_unsynced_age().as_millis());
    page.field("log_segments", log.segments().len());
}
