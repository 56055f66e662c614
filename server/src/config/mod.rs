//! Configuration: the typed settings, and the one table of directives that files, the command line, CONFIG GET,
//! CONFIG SET and CONFIG REWRITE share.
//!
//! * [`Config`] is a plain struct. Code that needs a setting reads its field through a [`ConfigHandle`].
//! * [`table`] holds one row per directive: its names, how it is read, its default, when it may change, and what
//!   stands behind it. A directive is either *a field*; or *accepted only at its default*, because Hardtack lacks
//!   the feature and ignoring the wish would betray it; or *without effect*, because Hardtack has no such mechanism
//!   to tune, and then the row says why. Nothing is ignored silently: [`Config::no_effect_notice`] is logged at start.
//! * [`file`](mod@file) reads configuration files, [`rewrite`] writes them, [`live`] changes settings at run time.
//!
//! Names, kinds, ranges and reason texts are those of Redis 7.0 (its `redis.conf`); see README for what differs.

pub mod file;
pub mod live;
pub mod rewrite;
pub mod table;
pub mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub use file::{ConfigError, Line, Source};
pub use live::{ApplyError, ConfigHandle};
#[cfg(test)]
pub use live::{ConfigSetError, SetContext};
#[cfg(test)]
pub use value::OutputLimit;
pub use value::{
    Allowed, EvictionPolicy, FileMode, FsyncPolicy, LogLevel, MemoryOrPercent, OutputLimits,
    SanitizePayload, SaveRule, ShutdownFlags,
};

use table::{Backing, Directive, TABLE};
use value::{Context, Value};

/// All settings. [`Config::default`] is the configuration of a server that was told nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    // Connections.
    /// Addresses to listen on; `*` is any IPv4 and `::*` any IPv6 address, a leading `-` makes one optional.
    pub bind: Vec<String>,
    /// TCP port; 0 listens on none.
    pub port: u16,
    /// Path of the Unix socket.
    pub unixsocket: Option<PathBuf>,
    /// Permissions of the Unix socket; 0 leaves them to the umask.
    pub unixsocketperm: FileMode,
    /// Length of the kernel's queue of connections not yet accepted.
    pub tcp_backlog: u32,
    /// Seconds between keepalive probes; 0 sends none.
    pub tcp_keepalive: u32,
    /// Seconds after which an idle client is disconnected; 0 never.
    pub timeout: u32,
    /// The most clients at a time.
    pub maxclients: u32,
    /// Without a password, talk to local clients only.
    pub protected_mode: bool,
    /// The default user's password; empty means none is needed.
    pub requirepass: Vec<u8>,
    /// The longest argument of a request.
    pub proto_max_bulk_len: u64,
    /// The largest read buffer of a client.
    pub client_query_buffer_limit: u64,
    /// When a client that does not read its replies is disconnected.
    pub client_output_buffer_limit: OutputLimits,
    /// The most memory that all clients' buffers together may take.
    pub maxmemory_clients: MemoryOrPercent,

    // The server.
    /// Number of databases.
    pub databases: u16,
    /// Threads that serve connections.
    pub io_threads: usize,
    /// Which log lines are written.
    pub loglevel: LogLevel,
    /// Where log lines go; standard output if none. Relative to `dir`, see [`Config::resolve`].
    pub logfile: Option<PathBuf>,
    /// File that holds the process id while the server runs. Relative to `dir`.
    pub pidfile: Option<PathBuf>,
    /// Show the banner also when standard output is not a terminal.
    pub always_show_logo: bool,
    /// Rounds of background work per second, 1..=500.
    pub hz: u32,
    /// Who may use DEBUG.
    pub enable_debug_command: Allowed,
    /// Who may change protected directives.
    pub enable_protected_configs: Allowed,
    /// Commands under another name, or under none: `(command, new name or empty)`, in the order given.
    pub renamed_commands: Vec<(String, String)>,
    /// Seconds that a shutdown waits for replicas.
    pub shutdown_timeout: u32,
    /// What SIGINT does.
    pub shutdown_on_sigint: ShutdownFlags,
    /// What SIGTERM does.
    pub shutdown_on_sigterm: ShutdownFlags,
    /// Milliseconds after which a running script no longer keeps others waiting without an answer.
    pub busy_reply_threshold: i64,

    // The data directory and snapshots.
    /// The data directory, absolute.
    pub dir: PathBuf,
    /// Snapshot file in `dir`.
    pub dbfilename: String,
    /// When snapshots are made by themselves.
    pub save: Vec<SaveRule>,
    /// Compress strings in snapshots.
    pub rdbcompression: bool,
    /// Write and check the snapshot's checksum.
    pub rdbchecksum: bool,
    /// What a snapshot may hold on to beyond the data.
    pub snapshot_memory_limit: MemoryOrPercent,
    /// Bytes of the disk that snapshots leave to the log.
    pub disk_reserve_bytes: u64,
    /// Refuse writes while automatic snapshots fail.
    pub stop_writes_on_bgsave_error: bool,
    /// Whose serialised values are checked in depth.
    pub sanitize_dump_payload: SanitizePayload,
    /// Testing: microseconds of delay per key while a snapshot is written.
    pub rdb_key_save_delay: i32,
    /// Testing: microseconds of delay per key while a snapshot is loaded.
    pub key_load_delay: i32,

    // The log.
    /// Keep a log of every write.
    pub appendonly: bool,
    /// Stem of the log's file names.
    pub appendfilename: String,
    /// The log's directory in `dir`.
    pub appenddirname: String,
    /// When the log is made durable.
    pub appendfsync: FsyncPolicy,
    /// Start although the log's end is torn. `no` refuses to start instead.
    pub aof_load_truncated: bool,
    /// Annotate the log with the time in seconds, in the form that `redis-check-aof --truncate-to-timestamp` knows.
    pub aof_timestamp_enabled: bool,
    /// Keep segments that a compaction has made superfluous, whatever the limits below say.
    pub aof_disable_auto_gc: bool,
    /// Compact the log when it has grown by this many percent since the last time; 0 never.
    pub auto_aof_rewrite_percentage: u32,
    /// Do not compact a log smaller than this.
    pub auto_aof_rewrite_min_size: u64,
    /// With `everysec`: the age in milliseconds of the oldest unsynced acknowledged write above which writes wait.
    pub max_unsynced_ms: u32,
    /// Milliseconds that a write waits for the bound above before it is refused.
    pub unsynced_wait_ms: u32,
    /// Size of a log segment.
    pub log_segment_bytes: u64,
    /// Segments that a compaction has made superfluous are kept up to this size.
    pub log_retention_bytes: u64,
    /// And up to this age in seconds; 0: however old they are.
    pub log_retention_time: u32,
    /// Size of the in-memory ring that the log is appended to.
    pub log_ring_bytes: u64,

    // Memory.
    /// Evict or refuse above this; 0 never.
    pub maxmemory: u64,
    /// What to evict.
    pub maxmemory_policy: EvictionPolicy,
    /// Keys looked at to find one to evict.
    pub maxmemory_samples: u32,
    /// How much effort eviction spends before it lets others go first, 0..=100.
    pub maxmemory_eviction_tenacity: u32,
    /// How fast the access counter saturates.
    pub lfu_log_factor: u32,
    /// Minutes after which the access counter is lowered.
    pub lfu_decay_time: u32,
    /// How much effort goes into expired keys, 1..=10.
    pub active_expire_effort: u32,
    /// Free evicted values in the background, and log UNLINK instead of DEL.
    pub lazyfree_lazy_eviction: bool,
    /// The same for expired values.
    pub lazyfree_lazy_expire: bool,
    /// The same for values that a command overwrites.
    pub lazyfree_lazy_server_del: bool,
    /// DEL is UNLINK.
    pub lazyfree_lazy_user_del: bool,
    /// The allocator has a thread of its own that gives pages back.
    pub jemalloc_bg_thread: bool,
    /// FLUSHALL and FLUSHDB are ASYNC unless told otherwise.
    pub lazyfree_lazy_user_flush: bool,

    // Encodings of values.
    /// The most fields of a hash in one piece of memory.
    pub hash_max_listpack_entries: usize,
    /// The longest field or value in it.
    pub hash_max_listpack_value: u64,
    /// The most members of a set of integers in one piece of memory.
    pub set_max_intset_entries: usize,
    /// The most members of a sorted set in one piece of memory.
    pub zset_max_listpack_entries: usize,
    /// The longest member in it.
    pub zset_max_listpack_value: u64,
    /// Elements per list node if positive; -1..=-5 are 4, 8, 16, 32, 64 KiB per node.
    pub list_max_listpack_size: i32,
    /// Bytes per stream node; 0 is without limit.
    pub stream_node_max_bytes: u64,
    /// Entries per stream node; 0 is without limit.
    pub stream_node_max_entries: usize,
    /// Largest sparse HyperLogLog.
    pub hll_sparse_max_bytes: u64,

    // Looking inside.
    /// Microseconds above which a command is kept in the slow log; -1 never, 0 always.
    pub slowlog_log_slower_than: i64,
    /// Commands that the slow log keeps.
    pub slowlog_max_len: usize,
    /// Milliseconds above which an event is kept by the latency monitor; 0 never.
    pub latency_monitor_threshold: i64,
    /// Count latencies per command.
    pub latency_tracking: bool,
    /// Percentiles shown in INFO.
    pub latency_tracking_info_percentiles: Vec<f64>,

    /// Values of directives without effect, where they differ from the default.
    pub inert: BTreeMap<&'static str, Value>,
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config::blank();
        for directive in TABLE {
            // The directory need not exist yet, so its default is not read like a user's wish.
            if directive.name != "dir" {
                let value = directive.default_value();
                directive.store(&mut config, value);
            }
        }
        config
    }
}

impl Config {
    /// A configuration that the table's defaults are filled into.
    fn blank() -> Config {
        Config {
            bind: Vec::new(),
            port: 0,
            unixsocket: None,
            unixsocketperm: FileMode(0),
            tcp_backlog: 0,
            tcp_keepalive: 0,
            timeout: 0,
            maxclients: 0,
            protected_mode: false,
            requirepass: Vec::new(),
            proto_max_bulk_len: 0,
            client_query_buffer_limit: 0,
            client_output_buffer_limit: OutputLimits::default(),
            maxmemory_clients: MemoryOrPercent::default(),
            databases: 0,
            io_threads: 0,
            loglevel: LogLevel::default(),
            logfile: None,
            pidfile: None,
            always_show_logo: false,
            hz: 0,
            enable_debug_command: Allowed::default(),
            enable_protected_configs: Allowed::default(),
            renamed_commands: Vec::new(),
            shutdown_timeout: 0,
            shutdown_on_sigint: ShutdownFlags::default(),
            shutdown_on_sigterm: ShutdownFlags::default(),
            busy_reply_threshold: 0,
            dir: PathBuf::from(table::DEFAULT_DIR),
            dbfilename: String::new(),
            save: Vec::new(),
            rdbcompression: false,
            rdbchecksum: false,
            snapshot_memory_limit: MemoryOrPercent::default(),
            disk_reserve_bytes: 0,
            stop_writes_on_bgsave_error: false,
            sanitize_dump_payload: SanitizePayload::default(),
            rdb_key_save_delay: 0,
            key_load_delay: 0,
            appendonly: false,
            appendfilename: String::new(),
            appenddirname: String::new(),
            appendfsync: FsyncPolicy::default(),
            aof_load_truncated: false,
            aof_timestamp_enabled: false,
            aof_disable_auto_gc: false,
            auto_aof_rewrite_percentage: 0,
            auto_aof_rewrite_min_size: 0,
            max_unsynced_ms: 0,
            unsynced_wait_ms: 0,
            log_segment_bytes: 0,
            log_retention_bytes: 0,
            log_retention_time: 0,
            log_ring_bytes: 0,
            maxmemory: 0,
            maxmemory_policy: EvictionPolicy::default(),
            maxmemory_samples: 0,
            maxmemory_eviction_tenacity: 0,
            lfu_log_factor: 0,
            lfu_decay_time: 0,
            active_expire_effort: 0,
            lazyfree_lazy_eviction: false,
            lazyfree_lazy_expire: false,
            lazyfree_lazy_server_del: false,
            lazyfree_lazy_user_del: false,
            jemalloc_bg_thread: false,
            lazyfree_lazy_user_flush: false,
            hash_max_listpack_entries: 0,
            hash_max_listpack_value: 0,
            set_max_intset_entries: 0,
            zset_max_listpack_entries: 0,
            zset_max_listpack_value: 0,
            list_max_listpack_size: 0,
            stream_node_max_bytes: 0,
            stream_node_max_entries: 0,
            hll_sparse_max_bytes: 0,
            slowlog_log_slower_than: 0,
            slowlog_max_len: 0,
            latency_monitor_threshold: 0,
            latency_tracking: false,
            latency_tracking_info_percentiles: Vec::new(),
            inert: BTreeMap::new(),
        }
    }

    /// A path of the configuration (log file, pid file, Unix socket) as the file system knows it: relative ones
    /// are relative to the data directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    /// One line that names the directives which were changed but do nothing here, each with its reason.
    pub fn no_effect_notice(&self) -> Option<String> {
        let named: Vec<String> = TABLE
            .iter()
            .filter(|directive| self.inert.contains_key(directive.name))
            .filter_map(|directive| match directive.backing {
                Backing::NoEffect(why) => Some(format!("{} ({why})", directive.name)),
                _ => None,
            })
            .collect();
        (!named.is_empty()).then(|| {
            format!(
                "Directives that have no effect in Hardtack: {}",
                named.join("; ")
            )
        })
    }

    /// Reads a directive's arguments and stores the value. True if that changed something.
    ///
    /// # Errors
    /// The reason why the arguments are not acceptable.
    fn assign(
        &mut self,
        directive: &'static Directive,
        args: &[Vec<u8>],
        add: bool,
        base_dir: &Path,
    ) -> Result<bool, String> {
        let present = directive.value(self);
        let value = directive.kind.parse(
            args,
            &Context {
                present: &present,
                add,
                base_dir,
            },
        )?;
        if let Backing::OnlyDefault(why) = directive.backing
            && value != directive.default_value()
        {
            return Err(format!("not supported: {why}"));
        }
        let changed = value != present;
        directive.store(self, value);
        // As in Redis a rate out of bounds is brought within them and not refused.
        self.hz = self.hz.clamp(1, 500);
        Ok(changed)
    }
}
