//! From a command line to a running server, and from a running server to its end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;

use crate::args::{self, Invocation, ServeArgs};
use crate::config::Config;
use crate::config::file::Loaded;
use crate::cron;
use crate::io::IoThreads;
use crate::limits;
use crate::listen::Listeners;
use crate::logging;
use crate::memory;
use crate::panics;
use crate::progress::LoadProgress;
use crate::server::Server;
use crate::tools;

/// Exit code of a start that found the data directory damaged: another start would find the same, until somebody has
/// decided what to do. Any other failure ends with 1.
const EXIT_DAMAGED: u8 = 3;

/// Why there is no server, or no longer.
struct Fatal {
    reason: String,
    exit_code: u8,
}

impl From<String> for Fatal {
    fn from(reason: String) -> Fatal {
        Fatal {
            reason,
            exit_code: 1,
        }
    }
}

/// Answers an invocation that runs no server.
pub fn answer(invocation: Invocation) -> ExitCode {
    match invocation {
        Invocation::Version => println!("{}", args::version_text()),
        Invocation::Help | Invocation::Serve(_) => print!("{}", args::help_text()),
        Invocation::Tool(args) => return tools::run(args),
    }
    ExitCode::SUCCESS
}

/// Runs the server until it is shut down.
pub fn serve(args: ServeArgs) -> ExitCode {
    let loaded = match Config::load(&args.inputs) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprint!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let log = match logging::init(&loaded.config) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("Can't open the log file: {error}");
            return ExitCode::FAILURE;
        }
    };
    panics::end_the_process();
    log.announce_start(&loaded.config);
    match run(args, loaded, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            tracing::error!("{}", fatal.reason);
            ExitCode::from(fatal.exit_code)
        }
    }
}

fn run(args: ServeArgs, loaded: Loaded, log: logging::Log) -> Result<(), Fatal> {
    let Loaded {
        mut config,
        dir_is_default,
    } = loaded;
    prepare_dir(&config, dir_is_default)?;
    let listeners = Listeners::open(&config)?;
    if let Err(possible) = limits::raise_open_files(config.maxclients) {
        if possible == 0 {
            return Err(limits::TOO_FEW_FILES.to_owned().into());
        }
        tracing::warn!(
            "The limit on open files allows no more than {possible} clients at a time; maxclients was {}, and is that now",
            config.maxclients
        );
        config.maxclients = possible;
    }
    if let Err(error) = memory::give_back_in_background(config.jemalloc_bg_thread) {
        tracing::warn!("The allocator gives memory back in the midst of commands: {error}");
    }
    let io_threads = config.io_threads;
    let pidfile = config.pidfile.as_ref().map(|path| config.resolve(path));
    let (end, ended) = mpsc::channel();
    let server = Server::new(
        config,
        args.inputs.file.as_deref().map(absolute),
        args.recover_prefix,
        log,
        end,
    )?;
    let threads = IoThreads::start(&server, io_threads)
        .map_err(|error| format!("Can't start an I/O thread: {error}"))?;
    cron::start(&server).map_err(|error| format!("Can't start a thread: {error}"))?;
    if let Some(path) = pidfile
        && let Err(error) = std::fs::write(&path, format!("{}\n", std::process::id()))
    {
        tracing::warn!("Can't write the pid file {}: {error}", path.display());
    }
    // Clients hear that the data is being loaded; where there is none they are spared that.
    let empty = data_bytes(&server.config()) == 0;
    if empty {
        load(&server)?;
    }
    listeners
        .accept(&server, &Arc::new(threads))
        .map_err(|error| format!("Can't start the acceptor: {error}"))?;
    if !empty {
        load(&server)?;
    }
    server.loaded();
    tracing::info!("Ready to accept connections");
    // Ends when the server is told to.
    ended
        .recv()
        .map_err(|_| "The server lost its way out".to_owned().into())
}

/// Loads the data directory, and says how that comes along.
fn load(server: &Server) -> Result<(), Fatal> {
    let progress = LoadProgress::start(data_bytes(&server.config()));
    let outcome = server
        .engine
        .load(&mut |bytes, keys| progress.advance(bytes, keys));
    let report = outcome.map_err(|error| {
        progress.abandon();
        Fatal {
            reason: format!("Fatal error loading the DB. Exiting. {error}"),
            exit_code: if error.is_damage() { EXIT_DAMAGED } else { 1 },
        }
    })?;
    let keys = (0..server.engine.databases())
        .map(|db| server.engine.len(db) as u64)
        .sum();
    progress.finish("DB loaded", keys);
    {
        let mut last = server.load_report.lock();
        last.rdb_keys = report.rdb_keys;
        last.rdb_keys_expired = report.rdb_keys_expired;
        last.rdb_keys_empty = report.rdb_keys_empty;
    }
    if report.rdb_keys_expired > 0 || report.rdb_keys_empty > 0 {
        tracing::info!(
            "Done loading RDB, keys loaded: {}, keys expired: {}, empty keys skipped: {}.",
            report.rdb_keys,
            report.rdb_keys_expired,
            report.rdb_keys_empty
        );
    }
    if report.log_begun_from_rdb {
        tracing::info!(
            "There was no append-only log: a new one begins with what the RDB file holds"
        );
    }
    if let Some((file, aside)) = report.log_begun_from_file {
        tracing::warn!(
            "There was no append-only log but an append-only file without parts: a new log begins with what it holds \
             ({} bytes); the file is kept as {}",
            file.bytes,
            aside.display()
        );
        if file.left_out > 0 {
            tracing::warn!(
                "That file ended in the middle of a command or a transaction: its last {} bytes were left out",
                file.left_out
            );
        }
    }
    if let Some(log) = report.log {
        for file in &log.unchecked_files {
            tracing::warn!("{file} was written by another server: it carries no checksums");
        }
        if let Some(cut) = &log.cut {
            let what = match &cut.accepted {
                None => "The log ended in a write that was never synced".to_owned(),
                Some(loss) => format!("Damage to the log was accepted, at the loss of {loss}"),
            };
            tracing::warn!(
                "{what} ({}): cut {} bytes off {} at byte {}, LSN {}; they are kept in {}",
                cut.reason,
                cut.bytes,
                cut.segment.display(),
                cut.position,
                cut.lsn,
                cut.kept_as.display()
            );
        }
    }
    server
        .engine
        .start_housekeeping()
        .map_err(|error| format!("Can't start a thread: {error}").into())
}

/// Bytes that loading will read, roughly.
fn data_bytes(config: &Config) -> u64 {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |info| info.len());
    let log = std::fs::read_dir(config.dir.join(&config.appenddirname))
        .into_iter()
        .flatten()
        .flatten();
    match log.map(|entry| bytes(&entry.path())).sum() {
        0 => match bytes(&config.dir.join(&config.appendfilename)) {
            0 => bytes(&config.dir.join(&config.dbfilename)),
            single_file => single_file,
        },
        log => log,
    }
}

/// The configuration file's path, as it stays true whatever the working directory becomes.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Sees to it that the data directory is there and can be written.
fn prepare_dir(config: &Config, is_default: bool) -> Result<(), String> {
    let dir = &config.dir;
    if is_default && !dir.exists() {
        std::fs::create_dir_all(dir).map_err(|error| {
            format!("Can't create the data directory {}: {error}", dir.display())
        })?;
    }
    tempfile::tempfile_in(dir).map(drop).map_err(|error| {
        format!(
            "Can't write to the data directory {}: {error}",
            dir.display()
        )
    })
}
