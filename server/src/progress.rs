//! Progress of loading a data directory: a bar with rate and time left on a terminal, log lines elsewhere, and the
//! numbers that INFO shows (`loading_*`).
//!
//! Any number of loading threads call [`LoadProgress::advance`]; it costs two atomic additions and, once per
//! [`CHECK_BYTES`], a look at the clock.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use tracing::info;

/// How often a line is logged when there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// How often the bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes between looks at the clock.
const CHECK_BYTES: u64 = 256 << 10;

/// Progress of one load.
pub struct LoadProgress {
    total_bytes: u64,
    done_bytes: AtomicU64,
    keys: AtomicU64,
    started: Instant,
    display: Display,
    next_report: Mutex<Instant>,
}

enum Display {
    Bar(ProgressBar),
    Lines,
}

/// The state of a load at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadNumbers {
    /// Bytes to read.
    pub total_bytes: u64,
    /// Bytes read so far, at most `total_bytes`.
    pub done_bytes: u64,
    /// Keys loaded so far.
    pub keys: u64,
    /// Bytes per second since the start.
    pub bytes_per_second: u64,
    /// Seconds until the end at that rate; unknown at the very start.
    pub seconds_left: Option<u64>,
}

impl LoadNumbers {
    fn new(total_bytes: u64, done_bytes: u64, keys: u64, elapsed: Duration) -> LoadNumbers {
        let done_bytes = done_bytes.min(total_bytes);
        let rate = done_bytes as f64 / elapsed.as_secs_f64().max(1e-3);
        let seconds_left =
            (done_bytes > 0).then(|| ((total_bytes - done_bytes) as f64 / rate).ceil() as u64);
        LoadNumbers {
            total_bytes,
            done_bytes,
            keys,
            bytes_per_second: rate as u64,
            seconds_left,
        }
    }

    /// How much of the bytes has been read, `0.0..=100.0`. Nothing to read counts as all read.
    pub fn percent(&self) -> f64 {
        if self.total_bytes == 0 {
            100.0
        } else {
            self.done_bytes as f64 * 100.0 / self.total_bytes as f64
        }
    }

    /// One line for the log.
    fn line(&self) -> String {
        let left = match self.seconds_left {
            Some(seconds) => format!(
                ", about {} left",
                HumanDuration(Duration::from_secs(seconds))
            ),
            None => String::new(),
        };
        format!(
            "Loading: {:.0}% ({} of {}, {} keys, {}/s{left})",
            self.percent(),
            HumanBytes(self.done_bytes),
            HumanBytes(self.total_bytes),
            self.keys,
            HumanBytes(self.bytes_per_second)
        )
    }
}

impl LoadProgress {
    /// Starts counting a load of `total_bytes`. Shows a bar if standard error is a terminal.
    pub fn start(total_bytes: u64) -> LoadProgress {
        let terminal = std::io::stderr().is_terminal();
        let display = if terminal {
            Display::Bar(new_bar(total_bytes))
        } else {
            Display::Lines
        };
        LoadProgress::with_display(total_bytes, display)
    }

    fn with_display(total_bytes: u64, display: Display) -> LoadProgress {
        let started = Instant::now();
        let next_report = Mutex::new(started + interval(&display));
        let (done_bytes, keys) = (AtomicU64::new(0), AtomicU64::new(0));
        LoadProgress {
            total_bytes,
            done_bytes,
            keys,
            started,
            display,
            next_report,
        }
    }

    /// Adds bytes read and keys loaded. Cheap; any thread may call it at any time.
    pub fn advance(&self, bytes: u64, keys: u64) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
        let before = self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / CHECK_BYTES != before.saturating_add(bytes) / CHECK_BYTES {
            self.report_if_due(Instant::now());
        }
    }

    /// Ends the display of a load that failed.
    pub fn abandon(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }

    /// Ends the display and logs what was loaded. `what` begins the line, as in "DB loaded"; `keys` are there now,
    /// whereas the display counts those of snapshots only, since a log makes and removes keys.
    pub fn finish(&self, what: &str, keys: u64) {
        self.abandon();
        let elapsed = self.started.elapsed().as_secs_f64();
        // All of them by now: what came after the last full piece was not counted.
        info!(
            "{what}: {keys} keys, {} in {elapsed:.3} seconds",
            HumanBytes(self.total_bytes)
        );
    }

    /// The state at `now`.
    fn numbers_at(&self, now: Instant) -> LoadNumbers {
        let elapsed = now.saturating_duration_since(self.started);
        LoadNumbers::new(
            self.total_bytes,
            self.done_bytes.load(Ordering::Relaxed),
            self.keys.load(Ordering::Relaxed),
            elapsed,
        )
    }

    /// True if this call reported. Threads that find another one at it go on loading.
    fn report_if_due(&self, now: Instant) -> bool {
        let Some(mut next) = self.next_report.try_lock() else {
            return false;
        };
        if now < *next {
            return false;
        }
        *next = now + interval(&self.display);
        let numbers = self.numbers_at(now);
        match &self.display {
            Display::Bar(bar) => bar.set_position(numbers.done_bytes),
            Display::Lines => info!("{}", numbers.line()),
        }
        true
    }
}

fn interval(display: &Display) -> Duration {
    match display {
        Display::Bar(_) => BAR_INTERVAL,
        Display::Lines => LINE_INTERVAL,
    }
}

fn new_bar(total_bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total_bytes), ProgressDrawTarget::stderr());
    let template =
        "Loading [{wide_bar}] {percent}% {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_from_rate() {
        let numbers = LoadNumbers::new(1000, 250, 7, Duration::from_secs(5));
        assert_eq!(
            (numbers.bytes_per_second, numbers.seconds_left),
            (50, Some(15))
        );
        assert_eq!(numbers.percent(), 25.0);
        assert_eq!(
            numbers.line(),
            "Loading: 25% (250 B of 1000 B, 7 keys, 50 B/s, about 15 seconds left)"
        );
    }

    #[test]
    fn extremes_do_not_divide_by_zero() {
        let nothing = LoadNumbers::new(0, 0, 0, Duration::ZERO);
        assert_eq!((nothing.percent(), nothing.seconds_left), (100.0, None));
        let more_than_all = LoadNumbers::new(10, 20, 0, Duration::ZERO);
        assert_eq!(
            (more_than_all.percent(), more_than_all.seconds_left),
            (100.0, Some(0))
        );
    }

    #[test]
    fn lines_come_at_their_interval_only() {
        let progress = LoadProgress::with_display(1 << 30, Display::Lines);
        progress.advance(CHECK_BYTES, 1);
        assert!(!progress.report_if_due(progress.started));
        let due = progress.started + LINE_INTERVAL;
        assert!(progress.report_if_due(due));
        assert!(!progress.report_if_due(due + LINE_INTERVAL / 2));
        assert!(progress.report_if_due(due + LINE_INTERVAL));
        assert_eq!(
            (
                progress.numbers_at(Instant::now()).done_bytes,
                progress.numbers_at(Instant::now()).keys
            ),
            (CHECK_BYTES, 1)
        );
    }

    #[test]
    fn bar_can_be_drawn() {
        let bar = new_bar(1000);
        bar.set_draw_target(ProgressDrawTarget::hidden());
        let progress = LoadProgress::with_display(1000, Display::Bar(bar));
        progress.advance(1000, 1);
        assert!(progress.report_if_due(progress.started + BAR_INTERVAL));
        progress.finish("DB loaded", 1);
    }
}
