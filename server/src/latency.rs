//! How long things take: a histogram for each command, and the monitor that keeps the slow moments.
//!
//! A histogram has 256 places for the nanoseconds below 256, and 128 for each power of two above: what it says of a
//! duration is off by less than a hundredth. That is what the HDR histograms of Redis do with two significant digits,
//! so the numbers of `latencystats` and LATENCY HISTOGRAM compare.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use hardtack_storage::UnixMillis;
use parking_lot::Mutex;

/// Longer durations count as this long.
const NANOS_MAX: u64 = 1_000_000_000;
/// Places for each power of two.
const HALF: usize = 128;
/// Bits of a place's number within its power of two.
const HALF_BITS: u32 = 7;
/// Places up to [`NANOS_MAX`].
const PLACES: usize = place_of(NANOS_MAX) + 1;
/// Moments kept for each event.
const SAMPLES_MAX: usize = 160;

/// How often something took how long. Takes its memory when it is first used.
#[derive(Default)]
pub struct Histogram {
    counts: OnceLock<Box<[AtomicU64]>>,
}

const fn place_of(nanos: u64) -> usize {
    if nanos < 2 * HALF as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - HALF_BITS;
    HALF + shift as usize * HALF + (nanos >> shift) as usize - HALF
}

/// The longest duration that is counted in the place of this one.
fn last_of_place(nanos: u64) -> u64 {
    if nanos < 2 * HALF as u64 {
        return nanos;
    }
    let shift = nanos.ilog2() - HALF_BITS;
    (((nanos >> shift) + 1) << shift) - 1
}

/// The longest duration that is counted in a place.
fn last_of(place: usize) -> u64 {
    if place < 2 * HALF {
        return place as u64;
    }
    let shift = place / HALF - 1;
    (((place % HALF + HALF + 1) as u64) << shift) - 1
}

impl Histogram {
    /// Counts a duration.
    pub fn record(&self, took: Duration) {
        let counts = self
            .counts
            .get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        let nanos = u64::try_from(took.as_nanos()).map_or(NANOS_MAX, |nanos| nanos.min(NANOS_MAX));
        counts[place_of(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets everything.
    pub fn reset(&self) {
        for count in self.counts.get().into_iter().flatten() {
            count.store(0, Ordering::Relaxed);
        }
    }

    fn counts(&self) -> Vec<u64> {
        let counts = self.counts.get().into_iter().flatten();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// The nanoseconds that so many percent of the durations do not exceed, for each of `percents`; `None` if nothing
    /// was counted.
    pub fn percentiles(&self, percents: &[f64]) -> Option<Vec<u64>> {
        let counts = self.counts();
        let total: u64 = counts.iter().sum();
        let at = |percent: &f64| {
            let wanted = (((percent / 100.0) * total as f64 + 0.5) as u64).max(1);
            let mut sum = 0;
            let place = counts.iter().position(|count| {
                sum += count;
                sum >= wanted
            });
            last_of(place.unwrap_or(PLACES - 1))
        };
        (total > 0).then(|| percents.iter().map(at).collect())
    }

    /// Durations counted, and how many of them do not exceed 1.024 µs, twice that, and so on, each with its bound in
    /// whole microseconds; bounds that add nothing are left out. `None` if nothing was counted.
    pub fn cumulated(&self) -> Option<(u64, Vec<(u64, u64)>)> {
        let counts = self.counts();
        let total: u64 = counts.iter().sum();
        let mut bounds = Vec::new();
        let (mut sum, mut next, mut bound) = (0, 0, 1024);
        while sum < total {
            let before = sum;
            let end = (place_of(bound) + 1).min(PLACES);
            sum += counts[next.min(end)..end].iter().sum::<u64>();
            next = end;
            if sum > before {
                bounds.push((last_of_place(bound) / 1000, sum));
            }
            bound *= 2;
        }
        (total > 0).then_some((total, bounds))
    }
}

/// One event's slow moments.
#[derive(Clone, Default)]
pub struct Series {
    /// Unix seconds and milliseconds, the oldest first.
    pub samples: VecDeque<(i64, u64)>,
    /// The most milliseconds since the last reset.
    pub max_ms: u64,
}

/// The latency monitor, and whether commands are timed into their histograms.
#[derive(Default)]
pub struct LatencyMonitor {
    tracking: AtomicBool,
    /// Milliseconds from which on a moment is kept; 0: none.
    threshold_ms: AtomicI64,
    events: Mutex<BTreeMap<&'static str, Series>>,
}

impl LatencyMonitor {
    /// Sets `latency-tracking` and `latency-monitor-threshold`.
    pub fn configure(&self, tracking: bool, threshold_ms: i64) {
        self.tracking.store(tracking, Ordering::Relaxed);
        self.threshold_ms.store(threshold_ms, Ordering::Relaxed);
    }

    /// Whether commands are timed into their histograms.
    pub fn is_tracking(&self) -> bool {
        self.tracking.load(Ordering::Relaxed)
    }

    /// The threshold in milliseconds; 0: nothing is kept.
    pub fn threshold_ms(&self) -> i64 {
        self.threshold_ms.load(Ordering::Relaxed)
    }

    /// Keeps the time that a command took, if that was long.
    pub fn note_command(&self, fast: bool, took: Duration) {
        let threshold = self.threshold_ms();
        if threshold > 0 && took.as_millis() >= threshold as u128 {
            self.note(if fast { "fast-command" } else { "command" }, took);
        }
    }

    fn note(&self, event: &'static str, took: Duration) {
        let now = UnixMillis::now().0 / 1000;
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut events = self.events.lock();
        let series = events.entry(event).or_default();
        series.max_ms = series.max_ms.max(ms);
        match series.samples.back_mut() {
            // One sample for a second: its worst.
            Some((second, worst)) if *second == now => *worst = ms.max(*worst),
            _ => {
                if series.samples.len() == SAMPLES_MAX {
                    series.samples.pop_front();
                }
                series.samples.push_back((now, ms));
            }
        }
    }

    /// All events.
    pub fn events(&self) -> BTreeMap<&'static str, Series> {
        self.events.lock().clone()
    }

    /// One event.
    pub fn event(&self, name: &[u8]) -> Option<Series> {
        let name = std::str::from_utf8(name).ok()?;
        self.events.lock().get(name).cloned()
    }

    /// Forgets some events, or all if none is named; how many there were.
    pub fn reset(&self, names: &[&[u8]]) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|event, _| {
            !names.is_empty()
                && !names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(event.as_bytes()))
        });
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_without_gap() {
        for place in 0..PLACES {
            assert_eq!(place_of(last_of(place)), place);
            assert_eq!(place_of(last_of(place) + 1), place + 1);
            assert_eq!(last_of_place(last_of(place)), last_of(place));
        }
    }

    #[test]
    fn percentiles_and_sums_are_those_of_an_hdr_histogram() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentiles(&[50.0]), None);
        assert_eq!(histogram.cumulated(), None);
        for nanos in [100, 1_000, 1_000, 200_000] {
            histogram.record(Duration::from_nanos(nanos));
        }
        histogram.record(Duration::from_secs(5));
        let percentiles = histogram.percentiles(&[0.0, 50.0, 100.0]);
        assert_eq!(percentiles, Some(vec![100, 1003, 1_002_438_655]));
        let bounds = vec![(1, 3), (264, 4), (1_082_130, 5)];
        assert_eq!(histogram.cumulated(), Some((5, bounds)));
        histogram.reset();
        assert_eq!(histogram.cumulated(), None);
    }

    #[test]
    fn monitor_keeps_what_is_slow() {
        let monitor = LatencyMonitor::default();
        monitor.note_command(false, Duration::from_millis(500));
        assert!(monitor.events().is_empty());
        monitor.configure(true, 10);
        monitor.note_command(false, Duration::from_millis(9));
        monitor.note_command(false, Duration::from_millis(10));
        monitor.note_command(true, Duration::from_millis(30));
        assert_eq!(
            monitor.event(b"command").map(|series| series.max_ms),
            Some(10)
        );
        assert_eq!(monitor.reset(&[b"Command", b"nothing"]), 1);
        assert_eq!(monitor.reset(&[]), 1);
    }
}
