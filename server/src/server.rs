//! The server: what all its threads share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use arc_swap::Guard;
use hardtack_storage::engine::{Engine, LoadReport, Settings};
use hardtack_storage::value::Limits;
use parking_lot::Mutex;

use crate::client::{Clients, Pause};
use crate::commands::Registry;
use crate::config::{Config, ConfigHandle};
use crate::latency::LatencyMonitor;
use crate::listen::Doors;
use crate::logging;
use crate::memory;
use crate::migrate::Connections;
use crate::settings;
use crate::slowlog::SlowLog;
use crate::stats::ServerStats;

/// The server.
pub struct Server {
    /// The store.
    pub engine: Engine,
    /// The configuration.
    pub config: ConfigHandle,
    /// The commands.
    pub commands: Registry,
    /// The clients.
    pub clients: Clients,
    /// What is counted.
    pub stats: ServerStats,
    /// Slow commands.
    pub slowlog: SlowLog,
    /// Slow moments.
    pub latency: LatencyMonitor,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// Where clients come in.
    pub doors: Doors,
    /// Bytes of memory in use before the data was loaded.
    pub startup_memory: u64,
    /// Names this run of the server.
    pub run_id: String,
    /// What the last load of the data found.
    pub load_report: Mutex<LoadReport>,
    /// The connections of MIGRATE.
    pub migrations: Arc<Connections>,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: AtomicBool,
    /// DEBUG PAUSE-CRON.
    pub cron_paused: AtomicBool,
    /// A shutdown is under way.
    pub ending: AtomicBool,
    /// It is to end without its RDB file.
    pub end_at_once: AtomicBool,
    /// It is not to happen, if that is still possible.
    pub called_off: AtomicBool,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD.
    pub list_alone_from: AtomicUsize,
    /// Held while the engine is told of changed settings.
    refreshing: Mutex<()>,
    /// When it was started.
    pub started: Instant,
    /// The log lines.
    pub log: logging::Log,
    loading: AtomicBool,
    end: Sender<()>,
}

impl Server {
    /// A server that is about to load its data. `end` is told when the process is to end.
    ///
    /// # Errors
    /// What is wrong, as a line for the log.
    pub fn new(
        config: Config,
        file: Option<PathBuf>,
        recover_prefix: bool,
        log: logging::Log,
        end: Sender<()>,
    ) -> Result<Arc<Server>, String> {
        let options = settings::engine_options(&config, recover_prefix);
        let migrations = Arc::new(Connections::default());
        let settings = settings::engine_settings(&config);
        let engine = Engine::new(options, settings)
            .map_err(|error| format!("Can't start the engine: {error}"))?;
        let mut commands = Registry::new();
        for (from, to) in &config.renamed_commands {
            commands.rename(from, to)?;
        }
        let slowlog = SlowLog::default();
        slowlog.configure(config.slowlog_log_slower_than, config.slowlog_max_len);
        let latency = LatencyMonitor::default();
        latency.configure(config.latency_tracking, config.latency_monitor_threshold);
        Ok(Arc::new(Server {
            engine,
            config: ConfigHandle::new(config, file),
            commands,
            clients: Clients::default(),
            stats: ServerStats::default(),
            slowlog,
            latency,
            pause: Pause::default(),
            doors: Doors::default(),
            startup_memory: memory::used(),
            run_id: run_id(),
            load_report: Mutex::default(),
            migrations,
            active_expire: AtomicBool::new(true),
            cron_paused: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            end_at_once: AtomicBool::new(false),
            called_off: AtomicBool::new(false),
            list_alone_from: AtomicUsize::new(Limits::LIST_ALONE_FROM),
            refreshing: Mutex::default(),
            started: Instant::now(),
            log,
            loading: AtomicBool::new(true),
            end,
        }))
    }

    /// The data set is there.
    pub fn loaded(&self) {
        self.loading.store(false, Ordering::Relaxed);
    }

    /// Milliseconds since the start.
    pub fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Has the engine follow the settings in force, and what commands have asked for beside them.
    pub fn refresh_engine_settings(&self) {
        // Who comes last has seen what everybody before has changed.
        let _refreshing = self.refreshing.lock();
        let settings = settings::engine_settings(&self.config());
        let paused = self.pause.is_asked_for();
        self.engine.set_settings(Settings {
            limits: Limits {
                list_alone_from: self.list_alone_from.load(Ordering::Relaxed),
                ..settings.limits
            },
            active_expire: self.active_expire.load(Ordering::Relaxed) && !paused,
            keep_due: paused,
            key_events: self.engine.settings().key_events.clone(),
            ..settings
        });
    }

    /// Path of the Unix socket, if there is one.
    pub fn unix_socket_path(&self) -> String {
        self.config()
            .unixsocket
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default()
    }

    /// Ends the process.
    pub fn end(&self) {
        // Nobody listens any more if the process ends already.
        let _ = self.end.send(());
    }

    /// The present configuration.
    pub fn config(&self) -> Guard<Arc<Config>> {
        self.config.load()
    }

    /// Whether the data set is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Relaxed)
    }
}

/// Forty random hex digits.
fn run_id() -> String {
    let bytes: [u8; 20] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
