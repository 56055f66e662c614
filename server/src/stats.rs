//! What the server counts.

use std::collections::BTreeMap;

use hardtack_storage::engine::Counter;
use parking_lot::Mutex;

/// Most error prefixes that are counted apart; more would be a client's doing.
const ERROR_KINDS_MAX: usize = 128;

/// Counters that INFO shows.
#[derive(Default)]
#[allow(missing_docs, reason = "the names are those of INFO's fields")]
pub struct ServerStats {
    pub connections_received: Counter,
    pub rejected_connections: Counter,
    pub net_input_bytes: Counter,
    pub net_output_bytes: Counter,
    pub error_replies: Counter,
    errors: Mutex<BTreeMap<Box<str>, u64>>,
}

impl ServerStats {
    /// Counts an error reply by its prefix.
    pub fn count_error(&self, prefix: &str) {
        self.error_replies.add(1);
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < ERROR_KINDS_MAX {
            errors.insert(prefix.into(), 1);
        }
    }

    /// Error replies by prefix.
    pub fn errors(&self) -> BTreeMap<Box<str>, u64> {
        self.errors.lock().clone()
    }

    /// CONFIG RESETSTAT.
    pub fn reset(&self) {
        self.connections_received.reset();
        self.rejected_connections.reset();
        self.net_input_bytes.reset();
        self.net_output_bytes.reset();
        self.error_replies.reset();
        self.errors.lock().clear();
    }
}
