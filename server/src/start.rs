//! From a command line to a running server, and from a running server to its end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;

use crate::args::{self, Invocation, ServeArgs};
use crate::config::Config;
use crate::config::file::Loaded;
use crate::io::IoThread;
use crate::listen::Listeners;
use crate::logging;
use crate::server::Server;

/// Answers an invocation that runs no server.
pub fn answer(invocation: Invocation) -> ExitCode {
    match invocation {
        Invocation::Version => println!("{}", args::version_text()),
        Invocation::Help | Invocation::Serve(_) => print!("{}", args::HELP),
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
    log.announce_start(&loaded.config);
    match run(args, loaded, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: ServeArgs, loaded: Loaded, log: logging::Log) -> Result<(), String> {
    let Loaded {
        config,
        dir_is_default,
    } = loaded;
    prepare_dir(&config, dir_is_default)?;
    let listeners = Listeners::open(&config)?;
    let io_threads = config.io_threads;
    let (end, ended) = mpsc::channel();
    let server = Server::new(config, args.inputs.file.as_deref().map(absolute), log, end)?;
    let threads = (0..io_threads)
        .map(|number| IoThread::start(server.clone(), number))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("Can't start an I/O thread: {error}"))?;
    listeners
        .accept(&server, &Arc::new(threads))
        .map_err(|error| format!("Can't start the acceptor: {error}"))?;
    server.loaded();
    tracing::info!("Ready to accept connections");
    // Ends when the server is told to.
    ended
        .recv()
        .map_err(|_| "The server lost its way out".to_owned())
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
