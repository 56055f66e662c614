//! The server: what all its threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hardtack_storage::engine::Engine;

use crate::client::Clients;
use crate::commands::Registry;
use crate::config::{Config, ConfigHandle};
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
    loading: AtomicBool,
}

impl Server {
    /// The present configuration.
    pub fn config(&self) -> Arc<Config> {
        self.config.load()
    }

    /// Whether the data set is being loaded.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::Relaxed)
    }
}
