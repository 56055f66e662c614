//! Log lines in Redis's format, which operators' tools know: `PID:ROLE DAY MON YEAR HH:MM:SS.mmm SIGN text`.
//!
//! ```text
//! 4711:M 22 Nov 2026 04:36:42.123 * Ready to accept connections
//! ```
//!
//! The sign is the level: `.` debug (trace events), `-` verbose (debug events), `*` notice (info events) and `#`
//! warning (warn and error events). The role is `M`, a primary; others will follow.
//!
//! Lines go to standard output or are appended to a file. The file is reopened, at most once a second, when it has
//! been renamed or removed, so that log rotation needs no signal. A line is one write. Control characters in texts
//! are escaped: no client can forge a line. Fields of an event follow its message as `name=value`.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::config::{Config, LogLevel};

/// How often a log file is checked for having been moved away.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The role that lines show: there are no replicas and no sentinels yet.
const ROLE: char = 'M';

/// The log in use. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    level: AtomicU8,
    pid: u32,
    output: Mutex<Output>,
}

enum Output {
    Stdout,
    File {
        path: PathBuf,
        file: File,
        checked: Instant,
    },
}

/// Opens the log that `config` asks for and makes it the destination of all `tracing` events of this process.
///
/// # Errors
/// If the log file cannot be opened, or another destination was installed before.
pub fn init(config: &Config) -> io::Result<Log> {
    let path = config.logfile.as_ref().map(|path| config.resolve(path));
    let log = Log::open(path.as_deref(), config.loglevel)?;
    let subscriber = tracing_subscriber::registry().with(RedisFormat { log: log.clone() });
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    Ok(log)
}

impl Log {
    /// Opens a log without installing it.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(path: Option<&Path>, level: LogLevel) -> io::Result<Log> {
        let output = match path {
            None => Output::Stdout,
            Some(path) => Output::File {
                path: path.to_owned(),
                file: open_file(path)?,
                checked: Instant::now(),
            },
        };
        let shared = Shared {
            level: AtomicU8::new(level as u8),
            pid: std::process::id(),
            output: Mutex::new(output),
        };
        Ok(Log {
            shared: Arc::new(shared),
        })
    }

    /// Changes which lines are written from now on (CONFIG SET loglevel).
    pub fn set_level(&self, level: LogLevel) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Says which server this is: a banner on a terminal or with `always-show-logo`, one log line otherwise.
    pub fn announce_start(&self, config: &Config) {
        let to_stdout = matches!(*self.shared.output.lock(), Output::Stdout);
        if config.always_show_logo || (to_stdout && io::stdout().is_terminal()) {
            self.write(banner(config, self.shared.pid).as_bytes());
        } else {
            let (version, port, pid) = (env!("CARGO_PKG_VERSION"), config.port, self.shared.pid);
            tracing::info!("Hardtack version={version}, mode=standalone, port={port}, pid={pid}");
        }
    }

    fn filter(&self) -> LevelFilter {
        match self.shared.level.load(Ordering::Relaxed) {
            level if level == LogLevel::Debug as u8 => LevelFilter::TRACE,
            level if level == LogLevel::Verbose as u8 => LevelFilter::DEBUG,
            level if level == LogLevel::Notice as u8 => LevelFilter::INFO,
            _ => LevelFilter::WARN,
        }
    }

    /// Writes whole lines. A log that cannot be written to must not stop the server, so errors are dropped.
    fn write(&self, text: &[u8]) {
        match &mut *self.shared.output.lock() {
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                let _ = stdout.write_all(text).and_then(|()| stdout.flush());
            }
            Output::File {
                path,
                file,
                checked,
            } => {
                if checked.elapsed() >= REOPEN_INTERVAL {
                    *checked = Instant::now();
                    reopen_if_moved(path, file);
                }
                let _ = file.write_all(text);
            }
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn reopen_if_moved(path: &Path, file: &mut File) {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let there = std::fs::metadata(path).ok().map(identity);
    if there.is_none() || there != file.metadata().ok().map(identity) {
        // Until it can be opened again, lines go on into the old file.
        if let Ok(new) = open_file(path) {
            *file = new;
        }
    }
}

/// The start banner: a biscuit, and beside it what a human or a script wants to know first.
fn banner(config: &Config, pid: u32) -> String {
    let beside = [
        format!("Hardtack {} (speaks Redis 7.0)", env!("CARGO_PKG_VERSION")),
        format!("Port: {}", config.port),
        format!("PID: {pid}"),
        format!("Data: {}", config.dir.display()),
    ];
    let biscuit = [
        "|  o   o   o   o  |",
        "|    o   o   o    |",
        "|  o   o   o   o  |",
        "|    o   o   o    |",
    ];
    let mut banner = String::from("\n   .-----------------.\n");
    for (row, text) in biscuit.iter().zip(beside) {
        let _ = writeln!(banner, "   {row}    {text}");
    }
    banner.push_str("   '-----------------'\n\n");
    banner
}

/// The `tracing` layer that writes events to a [`Log`].
struct RedisFormat {
    log: Log,
}

impl<S: Subscriber> Layer<S> for RedisFormat {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Interests are computed anew whenever the level changes.
        if *metadata.level() <= self.log.filter() {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.log.filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.log.filter())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = String::with_capacity(160);
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let _ = write!(line, "{}:{ROLE} ", self.log.shared.pid);
        push_time(&mut line, since_epoch);
        line.push(' ');
        line.push(sign(event.metadata().level()));
        line.push(' ');
        let mut text = EventText::default();
        event.record(&mut text);
        push_escaped(&mut line, &text.message);
        push_escaped(&mut line, &text.fields);
        line.push('\n');
        self.log.write(line.as_bytes());
    }
}

fn sign(level: &Level) -> char {
    match *level {
        Level::TRACE => '.',
        Level::DEBUG => '-',
        Level::INFO => '*',
        _ => '#',
    }
}

#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            name => {
                let _ = write!(self.fields, " {name}={value}");
            }
        }
    }
}

fn push_escaped(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
}

/// Appends `22 Nov 2026 04:36:42.123` in local time.
fn push_time(line: &mut String, since_epoch: Duration) {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let time = local_time(since_epoch.as_secs());
    let month = usize::try_from(time.tm_mon)
        .ok()
        .and_then(|month| MONTHS.get(month))
        .unwrap_or(&"???");
    let _ = write!(
        line,
        "{:02} {month} {} {:02}:{:02}:{:02}.{:03}",
        time.tm_mday,
        time.tm_year + 1900,
        time.tm_hour,
        time.tm_min,
        time.tm_sec,
        since_epoch.subsec_millis()
    );
}

/// The standard library knows no time zones, hence the C library.
fn local_time(seconds: u64) -> libc::tm {
    let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
    // SAFETY: `tm` is plain integers and a pointer, for all of which zero is a value. Both pointers are valid for
    // the call; `localtime_r` writes to the second only and keeps neither.
    unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(level: LogLevel, emit: impl FnOnce(&Log)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.log");
        let log = Log::open(Some(&path), level).unwrap();
        let subscriber = tracing_subscriber::registry().with(RedisFormat { log: log.clone() });
        tracing::subscriber::with_default(subscriber, || emit(&log));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn line_has_the_format_of_redis() {
        let text = logged(LogLevel::Notice, |_| {
            tracing::info!(port = 6379, "Ready to accept connections")
        });
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[0], format!("{}:M", std::process::id()));
        assert_eq!(
            (
                words[1].len(),
                words[2].len(),
                words[3].len(),
                words[4].len()
            ),
            (2, 3, 4, 12),
            "{text}"
        );
        assert_eq!(
            words[5..].join(" "),
            "* Ready to accept connections port=6379\n"
        );
    }

    #[test]
    fn time_is_written_like_redis_writes_it() {
        let mut text = String::new();
        push_time(&mut text, Duration::from_millis(1_795_323_230_007));
        let utc = local_time(0).tm_gmtoff == 0;
        assert!(!utc || text == "22 Nov 2026 04:53:50.007", "{text}");
    }

    #[test]
    fn levels_have_signs_and_can_change() {
        let emit = || {
            tracing::trace!("t");
            tracing::debug!("d");
            tracing::info!("i");
            tracing::warn!("w");
            tracing::error!("e");
        };
        let text = logged(LogLevel::Debug, |log| {
            emit();
            log.set_level(LogLevel::Warning);
            emit();
        });
        let ends: Vec<&str> = text.lines().map(|line| &line[line.len() - 3..]).collect();
        assert_eq!(
            ends,
            [". t", "- d", "* i", "# w", "# e", "# w", "# e"],
            "{text}"
        );
    }

    #[test]
    fn lines_cannot_be_forged() {
        let text = logged(LogLevel::Notice, |_| {
            tracing::info!("name \r\n1:M fake \x1b[31m")
        });
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.ends_with("* name \\r\\n1:M fake \\u{1b}[31m\n"),
            "{text}"
        );
    }

    #[test]
    fn banner_shows_the_pid_where_scripts_look_for_it() {
        let config = Config {
            always_show_logo: true,
            ..Config::default()
        };
        let text = logged(LogLevel::Warning, |log| log.announce_start(&config));
        assert!(
            text.contains(&format!(" PID: {}\n", std::process::id()))
                && text.contains(" Port: 6379\n"),
            "{text}"
        );
        let config = Config::default();
        let text = logged(LogLevel::Notice, |log| log.announce_start(&config));
        assert!(
            text.contains(&format!("port=6379, pid={}\n", std::process::id())),
            "{text}"
        );
    }

    #[test]
    fn rotated_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = open_file(&path).unwrap();
        reopen_if_moved(&path, &mut file);
        file.write_all(b"one").unwrap();
        std::fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        reopen_if_moved(&path, &mut file);
        file.write_all(b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
