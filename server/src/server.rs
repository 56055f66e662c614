//! The server: what all its threads share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use arc_swap::Guard;
use hardtack_storage::engine::Engine;

use crate::client::Clients;
use crate::commands::Registry;
use crate::config::{Config, ConfigHandle};
use crate::logging;
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
        let engine = Engine::new(options, settings::engine_settings(&config))
            .map_err(|error| format!("Can't start the engine: {error}"))?;
        let mut commands = Registry::new();
        for (from, to) in &config.renamed_commands {
            commands.rename(from, to)?;
        }
        let slowlog = SlowLog::default();
        slowlog.configure(config.slowlog_log_slower_than, config.slowlog_max_len);
        Ok(Arc::new(Server {
            engine,
            config: ConfigHandle::new(config, file),
            commands,
            clients: Clients::default(),
            stats: ServerStats::default(),
            slowlog,
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
