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
    pub evicted_clients: Counter,
    pub net_input_bytes: Counter,
    pub net_output_bytes: Counter,
    pub error_replies: Counter,
    /// Commands, bytes read and bytes sent per second.
    pub rates: [Rate; 3],
    errors: Mutex<BTreeMap<Box<str>, u64>>,
}

/// Samples of a rate that are averaged.
const RATE_SAMPLES: usize = 16;

/// Something per second, over the last moments.
#[derive(Default)]
pub struct Rate(Mutex<(usize, [f64; RATE_SAMPLES])>);

impl Rate {
    /// Adds a sample, in place of the oldest.
    pub fn sample(&self, per_second: f64) {
        let mut samples = self.0.lock();
        let at = samples.0;
        samples.1[at] = per_second;
        samples.0 = (at + 1) % RATE_SAMPLES;
    }

    /// The average of the samples.
    pub fn get(&self) -> f64 {
        self.0.lock().1.iter().sum::<f64>() / RATE_SAMPLES as f64
    }

    fn reset(&self) {
        self.0.lock().1 = [0.0; RATE_SAMPLES];
    }
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
        self.evicted_clients.reset();
        self.net_input_bytes.reset();
        self.net_output_bytes.reset();
        self.error_replies.reset();
        self.rates.iter().for_each(Rate::reset);
        self.errors.lock().clear();
    }
}
