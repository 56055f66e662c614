//! The table of directives.

use std::path::Path;

use super::Config;
use super::value::{
    Allowed, Context, EvictionPolicy, FsyncPolicy, Kind, LogLevel, OutputLimit, OutputLimits,
    SanitizePayload, Setting, Value,
};

/// The data directory of a server that was not told another one. It is created if missing.
pub const DEFAULT_DIR: &str = "./data";

/// One directive.
#[derive(Clone, Copy, Debug)]
pub struct Directive {
    /// The name, in lower case.
    pub name: &'static str,
    /// An older name for the same.
    pub alias: Option<&'static str>,
    /// How its arguments are read.
    pub kind: Kind,
    /// Its default, as a file would say it.
    pub default: &'static str,
    /// When it may be changed.
    pub change: Change,
    /// What stands behind it.
    pub backing: Backing,
    /// Shown by CONFIG GET only if asked for by its full name.
    pub hidden: bool,
    /// Its value is a secret: keep it out of MONITOR and the slow log.
    pub sensitive: bool,
    /// Cannot be changed while the data set loads.
    pub denied_while_loading: bool,
}

/// When a directive may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At any time.
    Anytime,
    /// Only at start.
    AtStart,
    /// At any time, by clients that `enable-protected-configs` allows to.
    Protected,
}

/// What stands behind a directive.
#[derive(Clone, Copy, Debug)]
pub enum Backing {
    /// A field of [`Config`].
    Field {
        /// Reads it.
        get: fn(&Config) -> Value,
        /// Writes it; false if the value does not fit.
        set: fn(&mut Config, Value) -> bool,
    },
    /// Nothing: any value but the default is refused, because this is missing.
    OnlyDefault(&'static str),
    /// Nothing: the value is kept and shown, and the log says that it has no effect, because of this.
    NoEffect(&'static str),
}

impl Directive {
    /// Finds a directive by either of its names, without regard to case.
    pub fn find(name: &[u8]) -> Option<&'static Directive> {
        TABLE.iter().find(|row| {
            row.names()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
        })
    }

    /// Its names, the proper one first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.alias)
    }

    /// Its default.
    pub fn default_value(&self) -> Value {
        match self.name {
            "io-threads" => return Value::Int(default_io_threads()),
            "dir" => return Value::Text(DEFAULT_DIR.into()),
            "client-output-buffer-limit" => return Value::OutputLimits(DEFAULT_OUTPUT_LIMITS),
            _ => {}
        }
        let args: Vec<Vec<u8>> = match self.kind.takes_many() && !self.default.is_empty() {
            true => self
                .default
                .split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect(),
            false => vec![self.default.as_bytes().to_vec()],
        };
        let context = Context {
            present: &Value::Bool(false),
            add: false,
            base_dir: Path::new(""),
        };
        let value = self.kind.parse(&args, &context);
        value.unwrap_or_else(|reason| panic!("default of {}: {reason}", self.name))
    }

    /// Its value in `config`.
    pub fn value(&self, config: &Config) -> Value {
        match self.backing {
            Backing::Field { get, .. } => get(config),
            _ => config
                .inert
                .get(self.name)
                .cloned()
                .unwrap_or_else(|| self.default_value()),
        }
    }

    /// Stores a value that this directive's kind has read.
    pub(super) fn store(&self, config: &mut Config, value: Value) {
        match self.backing {
            Backing::Field { set, .. } => {
                let fits = set(config, value);
                debug_assert!(
                    fits,
                    "the field of {} has another type than its kind reads",
                    self.name
                );
            }
            _ if value == self.default_value() => {
                config.inert.remove(self.name);
            }
            _ => {
                config.inert.insert(self.name, value);
            }
        }
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn at_start(mut self) -> Self {
        self.change = Change::AtStart;
        self
    }

    const fn protected(mut self) -> Self {
        self.change = Change::Protected;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    const fn not_while_loading(mut self) -> Self {
        self.denied_while_loading = true;
        self
    }
}

/// All cores but one, which is left to the disk, the kernel and the neighbours.
fn default_io_threads() -> i64 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    cores.saturating_sub(1).clamp(1, IO_THREADS_MAX as usize) as i64
}

const DEFAULT_OUTPUT_LIMITS: OutputLimits = OutputLimits {
    normal: OutputLimit {
        hard_bytes: 0,
        soft_bytes: 0,
        soft_seconds: 0,
    },
    replica: OutputLimit {
        hard_bytes: 256 << 20,
        soft_bytes: 64 << 20,
        soft_seconds: 60,
    },
    pubsub: OutputLimit {
        hard_bytes: 32 << 20,
        soft_bytes: 8 << 20,
        soft_seconds: 60,
    },
};

const IO_THREADS_MAX: i64 = 128;
const I32_MAX: i64 = i32::MAX as i64;
const MEMORY_MAX: u64 = i64::MAX as u64;
const MIB: u64 = 1 << 20;

const fn row(name: &'static str, kind: Kind, default: &'static str, backing: Backing) -> Directive {
    Directive {
        name,
        alias: None,
        kind,
        default,
        change: Change::Anytime,
        backing,
        hidden: false,
        sensitive: false,
        denied_while_loading: false,
    }
}

const fn int(min: i64, max: i64) -> Kind {
    Kind::Int { min, max }
}

const fn memory(min: u64, max: u64) -> Kind {
    Kind::Memory { min, max }
}

/// The backing by a field of [`Config`].
macro_rules! field {
    ($field:ident) => {
        Backing::Field {
            get: |config| Setting::to_value(&config.$field),
            set: |config, value| match Setting::from_value(value) {
                Some(value) => {
                    config.$field = value;
                    true
                }
                None => false,
            },
        }
    };
}

const fn missing(what: &'static str) -> Backing {
    Backing::OnlyDefault(what)
}

const fn inert(why: &'static str) -> Backing {
    Backing::NoEffect(why)
}

use Kind::{
    Bind, Bytes, Choice, Events, MemoryOrPercent, OomScores, Percentiles, Primary, Save,
    ShutdownFlags, Text, YesNo,
};

const NO_REPLICATION: &str = "there is no replication yet";
const NO_CLUSTER: &str = "there is no cluster mode yet";
const NO_TLS: &str = "there is no TLS yet";
const NO_MODULES: &str = "there are no modules";
const NO_ACL: &str = "there are no access control lists yet";
const NO_FORK: &str = "snapshots do not fork";
const NO_DEFRAG: &str =
    "Active defragmentation cannot be enabled: the allocator offers no hints for it";
const SMALL_STEPS: &str = "tables always grow in small steps";
const THREADS_UNBOUND: &str =
    "threads are not bound to processors; use taskset or the service manager";
const FOR_SERVICE_MANAGERS: &str =
    "Hardtack stays in the foreground; run it under a service manager";

/// Every directive, in the order in which CONFIG GET shows them.
#[rustfmt::skip]
pub static TABLE: &[Directive] = &[
    // Connections.
    row("bind", Bind, "127.0.0.1 -::1", field!(bind)),
    row("port", int(0, 65535), "6379", field!(port)),
    row("unixsocket", Bytes, "", field!(unixsocket)).at_start(),
    row("unixsocketperm", Kind::Octal { min: 0, max: 0o777 }, "0", field!(unixsocketperm)).at_start(),
    row("tcp-backlog", int(0, I32_MAX), "511", field!(tcp_backlog)).at_start(),
    row("tcp-keepalive", int(0, I32_MAX), "300", field!(tcp_keepalive)),
    row("timeout", int(0, I32_MAX), "0", field!(timeout)),
    row("maxclients", int(1, u32::MAX as i64), "10000", field!(maxclients)),
    row("protected-mode", YesNo, "yes", field!(protected_mode)),
    row("requirepass", Bytes, "", field!(requirepass)).sensitive(),
    row("proto-max-bulk-len", memory(MIB, MEMORY_MAX), "512mb", field!(proto_max_bulk_len)),
    row("client-query-buffer-limit", memory(MIB, MEMORY_MAX), "1gb", field!(client_query_buffer_limit)),
    row("client-output-buffer-limit", Kind::OutputLimits, "", field!(client_output_buffer_limit)),
    row("maxmemory-clients", MemoryOrPercent, "0", field!(maxmemory_clients)),
    row("bind-source-addr", Text, "", inert("the only outgoing connections are MIGRATE's, and the system chooses their address")),
    row("socket-mark-id", int(0, u32::MAX as i64), "0", missing("sockets are not marked")).at_start(),
    row("tracking-table-max-keys", int(0, i64::MAX), "1000000", inert("there is no client-side caching yet")),

    // The server.
    row("databases", int(1, 256), "16", field!(databases)).at_start(),
    row("io-threads", int(1, IO_THREADS_MAX), "", field!(io_threads)).at_start(),
    row("io-threads-do-reads", YesNo, "no", inert("every I/O thread reads, executes and writes for its own connections")).at_start(),
    row("loglevel", Choice(LogLevel::WORDS), "notice", field!(loglevel)),
    row("logfile", Bytes, "", field!(logfile)).at_start(),
    row("syslog-enabled", YesNo, "no", missing("the log goes to standard output or to a file")).at_start(),
    row("syslog-ident", Text, "redis", inert("there is no logging to syslog")).at_start(),
    row("syslog-facility", Choice(SYSLOG_FACILITIES), "local0", inert("there is no logging to syslog")).at_start(),
    row("pidfile", Bytes, "", field!(pidfile)).at_start(),
    row("daemonize", YesNo, "no", missing(FOR_SERVICE_MANAGERS)).at_start(),
    row("supervised", Choice(&["upstart", "systemd", "auto", "no"]), "no", missing(FOR_SERVICE_MANAGERS)).at_start(),
    row("always-show-logo", YesNo, "no", field!(always_show_logo)).at_start(),
    row("set-proc-title", YesNo, "yes", inert("the process keeps its title")).at_start(),
    row("proc-title-template", Text, "{title} {listen-addr} {server-mode}", inert("the process keeps its title")),
    row("hz", int(0, I32_MAX), "10", field!(hz)),
    row("dynamic-hz", YesNo, "yes", inert("background work does not grow with the number of clients")),
    row("enable-debug-command", Choice(Allowed::WORDS), "no", field!(enable_debug_command)).at_start(),
    row("enable-protected-configs", Choice(Allowed::WORDS), "no", field!(enable_protected_configs)).at_start(),
    row("enable-module-command", Choice(Allowed::WORDS), "no", inert(NO_MODULES)).at_start(),
    row("shutdown-timeout", int(0, I32_MAX), "10", field!(shutdown_timeout)),
    row("shutdown-on-sigint", ShutdownFlags, "default", field!(shutdown_on_sigint)),
    row("shutdown-on-sigterm", ShutdownFlags, "default", field!(shutdown_on_sigterm)),
    row("busy-reply-threshold", int(0, i64::MAX), "5000", field!(busy_reply_threshold)).alias("lua-time-limit"),
    row("lua-enable-deprecated-api", YesNo, "no", inert("scripts see the present interface only")).at_start().hidden(),
    row("lua-replicate-commands", Text, "", inert("scripts always replicate their effects")).at_start().hidden(),
    row("notify-keyspace-events", Events, "", inert("keyspace events are not published yet")),
    row("propagation-error-behavior", Choice(&["ignore", "panic", "panic-on-replicas"]), "ignore", inert(NO_REPLICATION)),
    row("ignore-warnings", Text, "", inert("there are no warnings that could be ignored")),
    row("crash-log-enabled", YesNo, "yes", inert("a panic always reports itself and ends the process")),
    row("crash-memcheck-enabled", YesNo, "yes", inert("there is no memory test")),
    row("use-exit-on-panic", YesNo, "no", inert("a panic always aborts")).hidden(),
    row("watchdog-period", int(0, I32_MAX), "0", inert("there is no software watchdog")).hidden(),
    row("server_cpulist", Text, "", inert(THREADS_UNBOUND)).at_start(),
    row("bio_cpulist", Text, "", inert(THREADS_UNBOUND)).at_start(),
    row("aof_rewrite_cpulist", Text, "", inert(NO_FORK)).at_start(),
    row("bgsave_cpulist", Text, "", inert(NO_FORK)).at_start(),
    row("oom-score-adj", Choice(&["no", "yes", "relative", "absolute"]), "no", inert("there are no child processes to prefer; use the service manager")),
    row("oom-score-adj-values", OomScores, "0 200 800", inert("there are no child processes to prefer; use the service manager")),
    row("disable-thp", YesNo, "yes", inert("no copy-on-write fork makes huge pages expensive")).at_start(),
    row("jemalloc-bg-thread", YesNo, "yes", field!(jemalloc_bg_thread)),
    row("activedefrag", YesNo, "no", missing(NO_DEFRAG)),
    row("active-defrag-cycle-min", int(1, 99), "1", inert(NO_DEFRAG)),
    row("active-defrag-cycle-max", int(1, 99), "25", inert(NO_DEFRAG)),
    row("active-defrag-threshold-lower", int(0, 1000), "10", inert(NO_DEFRAG)),
    row("active-defrag-threshold-upper", int(0, 1000), "100", inert(NO_DEFRAG)),
    row("active-defrag-max-scan-fields", int(1, i64::MAX), "1000", inert(NO_DEFRAG)),
    row("active-defrag-ignore-bytes", memory(1, MEMORY_MAX), "100mb", inert(NO_DEFRAG)),
    row("activerehashing", YesNo, "yes", inert(SMALL_STEPS)),

    // The data directory and snapshots.
    row("dir", Kind::Dir, DEFAULT_DIR, field!(dir)).protected().not_while_loading(),
    row("dbfilename", Kind::FileName { what: "dbfilename", noun: "filename", empty_ok: true }, "dump.rdb", field!(dbfilename)).protected(),
    row("save", Save, "3600 1 300 100 60 10000", field!(save)),
    row("rdbcompression", YesNo, "yes", field!(rdbcompression)),
    row("rdbchecksum", YesNo, "yes", field!(rdbchecksum)).at_start(),
    row("stop-writes-on-bgsave-error", YesNo, "yes", field!(stop_writes_on_bgsave_error)),
    row("sanitize-dump-payload", Choice(SanitizePayload::WORDS), "no", field!(sanitize_dump_payload)),
    row("snapshot-memory-limit", MemoryOrPercent, "256mb", field!(snapshot_memory_limit)),
    row("disk-reserve-bytes", memory(0, MEMORY_MAX), "128mb", field!(disk_reserve_bytes)),
    row("rdb-save-incremental-fsync", YesNo, "yes", inert("snapshots are always synced as they are written")),
    row("rdb-del-sync-files", YesNo, "no", inert(NO_REPLICATION)),
    row("rdb-key-save-delay", int(i32::MIN as i64, I32_MAX), "0", field!(rdb_key_save_delay)).hidden(),
    row("key-load-delay", int(i32::MIN as i64, I32_MAX), "0", field!(key_load_delay)).hidden(),
    row("loading-process-events-interval-bytes", int(1024, I32_MAX), "2097152", inert("connections are served by other threads than the one that loads")).hidden(),

    // The log.
    row("appendonly", YesNo, "yes", field!(appendonly)).not_while_loading(),
    row("appendfilename", Kind::FileName { what: "appendfilename", noun: "filename", empty_ok: false }, "appendonly.aof", field!(appendfilename)).at_start(),
    row("appenddirname", Kind::FileName { what: "appenddirname", noun: "dirname", empty_ok: false }, "appendonlydir", field!(appenddirname)).at_start(),
    row("appendfsync", Choice(FsyncPolicy::WORDS), "everysec", field!(appendfsync)),
    row("no-appendfsync-on-rewrite", YesNo, "no", inert("a compaction does not hold up the log's syncs")),
    row("auto-aof-rewrite-percentage", int(0, I32_MAX), "100", field!(auto_aof_rewrite_percentage)),
    row("auto-aof-rewrite-min-size", memory(0, MEMORY_MAX), "64mb", field!(auto_aof_rewrite_min_size)),
    row("aof-load-truncated", YesNo, "yes", field!(aof_load_truncated)),
    row("aof-use-rdb-preamble", YesNo, "yes", inert("the log's base is always a snapshot in RDB format")),
    row("aof-timestamp-enabled", YesNo, "no", field!(aof_timestamp_enabled)),
    row("aof-rewrite-incremental-fsync", YesNo, "yes", inert("the log's base is always synced as it is written")),
    row("aof-disable-auto-gc", YesNo, "no", field!(aof_disable_auto_gc)),
    row("max-unsynced-ms", int(1, I32_MAX), "2000", field!(max_unsynced_ms)),
    row("unsynced-wait-ms", int(0, I32_MAX), "10000", field!(unsynced_wait_ms)),
    row("log-segment-bytes", memory(64 << 10, 1 << 40), "64mb", field!(log_segment_bytes)),
    row("log-retention-bytes", memory(0, MEMORY_MAX), "1gb", field!(log_retention_bytes)),
    row("log-retention-time", Kind::Seconds { max: i32::MAX as u32 }, "0", field!(log_retention_time)),
    row("log-ring-bytes", memory(64 << 10, 1 << 40), "16mb", field!(log_ring_bytes)),

    // Memory.
    row("maxmemory", memory(0, u64::MAX), "0", field!(maxmemory)),
    row("maxmemory-policy", Choice(EvictionPolicy::WORDS), "noeviction", field!(maxmemory_policy)),
    row("maxmemory-samples", int(1, I32_MAX), "5", field!(maxmemory_samples)),
    row("maxmemory-eviction-tenacity", int(0, 100), "10", field!(maxmemory_eviction_tenacity)),
    row("lfu-log-factor", int(0, I32_MAX), "10", field!(lfu_log_factor)),
    row("lfu-decay-time", int(0, I32_MAX), "1", field!(lfu_decay_time)),
    row("active-expire-effort", int(1, 10), "1", field!(active_expire_effort)),
    row("lazyfree-lazy-eviction", YesNo, "no", field!(lazyfree_lazy_eviction)),
    row("lazyfree-lazy-expire", YesNo, "no", field!(lazyfree_lazy_expire)),
    row("lazyfree-lazy-server-del", YesNo, "no", field!(lazyfree_lazy_server_del)),
    row("lazyfree-lazy-user-del", YesNo, "no", field!(lazyfree_lazy_user_del)),
    row("lazyfree-lazy-user-flush", YesNo, "no", field!(lazyfree_lazy_user_flush)),

    // Encodings of values.
    row("hash-max-listpack-entries", int(0, i64::MAX), "512", field!(hash_max_listpack_entries)).alias("hash-max-ziplist-entries"),
    row("hash-max-listpack-value", memory(0, MEMORY_MAX), "64", field!(hash_max_listpack_value)).alias("hash-max-ziplist-value"),
    row("set-max-intset-entries", int(0, i64::MAX), "512", field!(set_max_intset_entries)),
    row("zset-max-listpack-entries", int(0, i64::MAX), "128", field!(zset_max_listpack_entries)).alias("zset-max-ziplist-entries"),
    row("zset-max-listpack-value", memory(0, MEMORY_MAX), "64", field!(zset_max_listpack_value)).alias("zset-max-ziplist-value"),
    row("list-max-listpack-size", int(i32::MIN as i64, I32_MAX), "-2", field!(list_max_listpack_size)).alias("list-max-ziplist-size"),
    row("list-compress-depth", int(0, I32_MAX), "0", inert("list nodes are never compressed")),
    row("list-max-ziplist-entries", Text, "", inert("lists are sized by list-max-listpack-size")).at_start().hidden(),
    row("list-max-ziplist-value", Text, "", inert("lists are sized by list-max-listpack-size")).at_start().hidden(),
    row("stream-node-max-bytes", memory(0, MEMORY_MAX), "4096", field!(stream_node_max_bytes)),
    row("stream-node-max-entries", int(0, i64::MAX), "100", field!(stream_node_max_entries)),
    row("hll-sparse-max-bytes", memory(0, MEMORY_MAX), "3000", field!(hll_sparse_max_bytes)),

    // Looking inside.
    row("slowlog-log-slower-than", int(-1, i64::MAX), "10000", field!(slowlog_log_slower_than)),
    row("slowlog-max-len", int(0, i64::MAX), "128", field!(slowlog_max_len)),
    row("latency-monitor-threshold", int(0, i64::MAX), "0", field!(latency_monitor_threshold)),
    row("latency-tracking", YesNo, "yes", field!(latency_tracking)),
    row("latency-tracking-info-percentiles", Percentiles, "50 99 99.9", field!(latency_tracking_info_percentiles)),

    // Access control lists.
    row("aclfile", Text, "", missing(NO_ACL)).at_start(),
    row("acl-pubsub-default", Choice(&["allchannels", "resetchannels"]), "resetchannels", inert(NO_ACL)),
    row("acllog-max-len", int(0, i64::MAX), "128", inert(NO_ACL)),

    // Replication.
    row("replicaof", Primary, "", missing(NO_REPLICATION)).alias("slaveof").at_start(),
    row("masteruser", Bytes, "", inert(NO_REPLICATION)).sensitive(),
    row("masterauth", Bytes, "", inert(NO_REPLICATION)).sensitive(),
    row("min-replicas-to-write", int(0, I32_MAX), "0", missing(NO_REPLICATION)).alias("min-slaves-to-write"),
    row("min-replicas-max-lag", int(0, I32_MAX), "10", inert(NO_REPLICATION)).alias("min-slaves-max-lag"),
    row("repl-backlog-size", memory(1, MEMORY_MAX), "1mb", inert("the log on disk is the backlog")),
    row("repl-backlog-ttl", int(0, i64::MAX), "3600", inert("the log on disk is the backlog")),
    row("repl-disable-tcp-nodelay", YesNo, "no", inert(NO_REPLICATION)),
    row("repl-diskless-load", Choice(&["disabled", "on-empty-db", "swapdb"]), "disabled", inert(NO_REPLICATION)).not_while_loading(),
    row("repl-diskless-sync", YesNo, "yes", inert(NO_REPLICATION)),
    row("repl-diskless-sync-delay", int(0, I32_MAX), "5", inert(NO_REPLICATION)),
    row("repl-diskless-sync-max-replicas", int(0, I32_MAX), "0", inert(NO_REPLICATION)),
    row("repl-ping-replica-period", int(1, I32_MAX), "10", inert(NO_REPLICATION)).alias("repl-ping-slave-period"),
    row("repl-timeout", int(1, I32_MAX), "60", inert(NO_REPLICATION)),
    row("replica-announce-ip", Text, "", inert(NO_REPLICATION)).alias("slave-announce-ip"),
    row("replica-announce-port", int(0, 65535), "0", inert(NO_REPLICATION)).alias("slave-announce-port"),
    row("replica-announced", YesNo, "yes", inert(NO_REPLICATION)),
    row("replica-ignore-disk-write-errors", YesNo, "no", inert(NO_REPLICATION)),
    row("replica-ignore-maxmemory", YesNo, "yes", inert(NO_REPLICATION)).alias("slave-ignore-maxmemory"),
    row("replica-lazy-flush", YesNo, "no", inert(NO_REPLICATION)).alias("slave-lazy-flush"),
    row("replica-priority", int(0, I32_MAX), "100", inert(NO_REPLICATION)).alias("slave-priority"),
    row("replica-read-only", YesNo, "yes", inert(NO_REPLICATION)).alias("slave-read-only"),
    row("replica-serve-stale-data", YesNo, "yes", inert(NO_REPLICATION)).alias("slave-serve-stale-data"),

    // Cluster.
    row("cluster-enabled", YesNo, "no", missing(NO_CLUSTER)).at_start(),
    row("cluster-config-file", Text, "nodes.conf", inert(NO_CLUSTER)).at_start(),
    row("cluster-port", int(0, 65535), "0", inert(NO_CLUSTER)).at_start(),
    row("cluster-node-timeout", int(0, i64::MAX), "15000", inert(NO_CLUSTER)),
    row("cluster-migration-barrier", int(0, I32_MAX), "1", inert(NO_CLUSTER)),
    row("cluster-require-full-coverage", YesNo, "yes", inert(NO_CLUSTER)),
    row("cluster-replica-no-failover", YesNo, "no", inert(NO_CLUSTER)).alias("cluster-slave-no-failover"),
    row("cluster-replica-validity-factor", int(0, I32_MAX), "10", inert(NO_CLUSTER)).alias("cluster-slave-validity-factor"),
    row("cluster-allow-reads-when-down", YesNo, "no", inert(NO_CLUSTER)),
    row("cluster-allow-pubsubshard-when-down", YesNo, "yes", inert(NO_CLUSTER)),
    row("cluster-allow-replica-migration", YesNo, "yes", inert(NO_CLUSTER)),
    row("cluster-announce-ip", Text, "", inert(NO_CLUSTER)),
    row("cluster-announce-hostname", Text, "", inert(NO_CLUSTER)),
    row("cluster-announce-port", int(0, 65535), "0", inert(NO_CLUSTER)),
    row("cluster-announce-tls-port", int(0, 65535), "0", inert(NO_CLUSTER)),
    row("cluster-announce-bus-port", int(0, 65535), "0", inert(NO_CLUSTER)),
    row("cluster-link-sendbuf-limit", memory(0, u64::MAX), "0", inert(NO_CLUSTER)),
    row("cluster-preferred-endpoint-type", Choice(&["ip", "hostname", "unknown-endpoint"]), "ip", inert(NO_CLUSTER)),

    // TLS.
    row("tls-port", int(0, 65535), "0", missing(NO_TLS)),
    row("tls-replication", YesNo, "no", missing(NO_TLS)),
    row("tls-cluster", YesNo, "no", missing(NO_TLS)),
    row("tls-auth-clients", Choice(&["no", "yes", "optional"]), "yes", inert(NO_TLS)),
    row("tls-cert-file", Bytes, "", inert(NO_TLS)),
    row("tls-key-file", Bytes, "", inert(NO_TLS)),
    row("tls-key-file-pass", Bytes, "", inert(NO_TLS)).sensitive(),
    row("tls-client-cert-file", Bytes, "", inert(NO_TLS)),
    row("tls-client-key-file", Bytes, "", inert(NO_TLS)),
    row("tls-client-key-file-pass", Bytes, "", inert(NO_TLS)).sensitive(),
    row("tls-dh-params-file", Bytes, "", inert(NO_TLS)),
    row("tls-ca-cert-file", Bytes, "", inert(NO_TLS)),
    row("tls-ca-cert-dir", Bytes, "", inert(NO_TLS)),
    row("tls-protocols", Text, "", inert(NO_TLS)),
    row("tls-ciphers", Text, "", inert(NO_TLS)),
    row("tls-ciphersuites", Text, "", inert(NO_TLS)),
    row("tls-prefer-server-ciphers", YesNo, "no", inert(NO_TLS)),
    row("tls-session-caching", YesNo, "yes", inert(NO_TLS)),
    row("tls-session-cache-size", int(0, I32_MAX), "20480", inert(NO_TLS)),
    row("tls-session-cache-timeout", int(0, I32_MAX), "300", inert(NO_TLS)),
];

const SYSLOG_FACILITIES: &[&str] = &[
    "user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
