//! `hardtack verify-acks`: does a server keep what it acknowledges?
//!
//! A crash test in two steps. [`write`](mod@write) sends numbered records over many connections and keeps a [`journal`] of
//! what was sent and what was acknowledged; [`check`](mod@check) holds what the server has afterwards against that. In
//! between somebody kills the server. [`plan`] says what a record is. Nothing here knows which server it is: it speaks
//! plain commands of Redis.

mod check;
mod connection;
mod journal;
mod plan;
mod report;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use hardtack_storage::UnixMillis;

use self::connection::Target;
use self::journal::Recorded;
use self::plan::{
    CLIENTS_MAX, KEYS_PER_TRANSACTION_MAX, Mode, PIPELINE_MAX, Plan, ServerInfo, VALUE_BYTES_MAX,
    is_prefix,
};
use self::report::Report;
use super::out::{Out, note};
use super::{Failure, Verdict};

const RUN_HELP: &str = "\
Works with any server that speaks Redis's protocol. Kill it while this runs (kill -9 its process, or cut its power with this
tool on another machine) and start it again; then the check runs by itself.

What the check says:
  missing    acknowledged, and not there
  reordered  missing though a later record of the same connection is there, or there in another order
  torn       a transaction of which a part is there
  wrong      a value that nobody wrote
  phantom    there though it was never sent, or there twice
Records that were sent and not answered, or answered with an error (-MISCONF, -LOADING, ...), may be there or not.

Under `appendfsync always` nothing may be missing, whatever happens. Under `everysec` a killed process must lose nothing either
with Hardtack; a power cut may take what was acknowledged within the last second or two: the age of what is missing is
printed, and --allow-loss-ms says how much of it you accept.

The keys of a run have a prefix of their own and stay on the server, in the database that you name with --db.

Exit codes:
  0  nothing that was acknowledged is missing (or not more than --allow-loss-ms), and nothing is torn, wrong, phantom or reordered
  1  something is
  2  it could not be done: wrong usage, no server, nothing was acknowledged, an I/O error";

const WRITE_HELP: &str = "\
Then crash the server, start it again, and run `hardtack verify-acks check --journal FILE`. This tool itself may be killed, too:
the journal says what it knew.

Exit codes:
  0  written, until the connection was lost or --ops or --seconds were reached
  2  it could not be done: wrong usage, no server, nothing was acknowledged, the journal exists already";

const CHECK_HELP: &str = "\
`hardtack verify-acks run --help` says what the words mean.

Exit codes:
  0  nothing that was acknowledged is missing (or not more than --allow-loss-ms), and nothing is torn, wrong, phantom or reordered
  1  something is
  2  it could not be done: wrong usage, no server, nothing was acknowledged, a journal that is damaged";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes until the connection is lost, waits for the server to come back, and checks
    #[command(after_help = RUN_HELP)]
    Run {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        write: WriteArgs,
        #[command(flatten)]
        check: CheckArgs,
    },
    /// Writes only: the first half, for a check later
    #[command(after_help = WRITE_HELP)]
    Write {
        #[command(flatten)]
        server: ServerArgs,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Checks only: the second half, from a journal
    #[command(after_help = CHECK_HELP)]
    Check {
        #[command(flatten)]
        server: OtherServerArgs,
        #[command(flatten)]
        check: CheckArgs,
    },
}

/// Which server, and the journal.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server's name or address
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its port
    #[arg(short, long, default_value_t = 6379)]
    port: u16,
    /// The database
    #[arg(short = 'n', long, default_value_t = 0)]
    db: u32,
    #[command(flatten)]
    common: CommonArgs,
}

/// Which server, if it is not where the journal says.
#[derive(Debug, Args)]
pub struct OtherServerArgs {
    /// The server's name or address, if it has changed since
    #[arg(long)]
    host: Option<String>,
    /// Its port, if it has changed since
    #[arg(short, long)]
    port: Option<u16>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What every step needs.
#[derive(Debug, Args)]
struct CommonArgs {
    /// The file that says what was sent and acknowledged
    #[arg(short, long, value_name = "FILE")]
    journal: PathBuf,
    /// A password for AUTH; the variable REDISCLI_AUTH may hold it, too
    #[arg(short = 'a', long)]
    password: Option<String>,
    /// A user for AUTH
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Seconds without an answer after which a connection counts as lost
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    timeout: u64,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// What to write.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// What a record is
    #[arg(long, value_enum, default_value_t = Mode::Mixed)]
    mode: Mode,
    /// Connections
    #[arg(short, long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// Records that a connection sends before it reads the replies
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PIPELINE_MAX)))]
    pipeline: u32,
    /// Stop after so many records of all connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    ops: Option<u64>,
    /// Stop after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    seconds: Option<u64>,
    /// Length of a value
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=i64::from(VALUE_BYTES_MAX)))]
    value_bytes: u32,
    /// Keys that a transaction sets
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=i64::from(KEYS_PER_TRANSACTION_MAX)))]
    keys_per_transaction: u32,
    /// What the keys begin with, before the number of the run [default: verify-acks]
    #[arg(long, default_value = "verify-acks", hide_default_value = true, value_parser = prefix)]
    prefix: String,
}

/// How to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Seconds to wait until the server is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    wait: u64,
    /// Accept that records are missing which were acknowledged less than so long before the crash
    #[arg(long, value_name = "MS")]
    allow_loss_ms: Option<u64>,
}

fn prefix(text: &str) -> Result<String, &'static str> {
    if is_prefix(text) {
        Ok(text.to_owned())
    } else {
        Err("letters, digits and : _ - . only")
    }
}

impl CommonArgs {
    fn target(&self, host: &str, port: u16, db: u32) -> Target {
        let variable = || std::env::var("REDISCLI_AUTH").ok();
        Target {
            host: host.to_owned(),
            port,
            db,
            user: self.user.clone(),
            password: self.password.clone().or_else(variable),
            timeout: Duration::from_secs(self.timeout),
        }
    }
}

/// Does it.
pub fn run(command: Command) -> Result<Verdict, Failure> {
    match command {
        Command::Run {
            server,
            write,
            check,
        } => {
            let written = write_records(&server, &write)?;
            let target = server.common.target(&server.host, server.port, server.db);
            if written.connection_lost.is_some() {
                note(format_args!(
                    "The connection is lost; waiting up to {} s for the server to come back",
                    check.wait
                ));
            }
            let recorded = journal::read(&server.common.journal)?;
            verify(
                &recorded,
                Some(written),
                &target,
                &check,
                server.common.json,
            )
        }
        Command::Write { server, write } => {
            let written = write_records(&server, &write)?;
            report::print_written(&written, server.common.json)?;
            Ok(Verdict::Fine)
        }
        Command::Check { server, check } => {
            let recorded = journal::read(&server.common.journal)?;
            let plan = &recorded.plan;
            let host = server.host.as_deref().unwrap_or(&plan.host);
            let port = server.port.unwrap_or(plan.port);
            let target = server.common.target(host, port, plan.db);
            verify(&recorded, None, &target, &check, server.common.json)
        }
    }
}

fn write_records(server: &ServerArgs, args: &WriteArgs) -> Result<write::Written, Failure> {
    let run = format!("{:016x}", rand::random::<u64>());
    let mut plan = Plan {
        prefix: format!("{}:{run}:", args.prefix),
        run,
        mode: args.mode,
        clients: args.clients,
        pipeline: args.pipeline,
        value_bytes: args.value_bytes,
        keys_per_transaction: args.keys_per_transaction,
        host: server.host.clone(),
        port: server.port,
        db: server.db,
        began_ms: UnixMillis::now().0,
        server: ServerInfo::default(),
    };
    let target = server.common.target(&server.host, server.port, server.db);
    let limits = write::Limits {
        records: args.ops,
        time: args.seconds.map(Duration::from_secs),
    };
    note(format_args!(
        "Writing to {}:{} over {} connections; the journal is {}",
        server.host,
        server.port,
        args.clients,
        server.common.journal.display()
    ));
    let written = write::write(&mut plan, &target, limits, &server.common.journal)?;
    if written.acked == 0 {
        return Err(Failure::new(format!(
            "the server acknowledged nothing (refusals: {:?}); there is nothing to check",
            written.refused
        )));
    }
    Ok(written)
}

/// Waits for the server, checks, and reports.
fn verify(
    recorded: &Recorded,
    written: Option<write::Written>,
    target: &Target,
    args: &CheckArgs,
    json: bool,
) -> Result<Verdict, Failure> {
    let acked: u64 = recorded
        .clients
        .iter()
        .map(journal::Client::acked_count)
        .sum();
    if acked == 0 {
        return Err(Failure::new(
            "the journal has no acknowledged record; there is nothing to check",
        ));
    }
    let mut connection = check::wait(target, Duration::from_secs(args.wait))?;
    let now = write::ask(&mut connection)
        .map_err(|error| Failure::new(format!("the server does not answer: {error}")))?;
    let findings = check::check(&mut connection, recorded)?;
    let report = Report::new(recorded, written, &now, findings, args.allow_loss_ms);
    let mut out = Out::new();
    if json {
        out.json(&report)?;
    } else {
        report.print(&mut out)?;
    }
    out.flush()?;
    Ok(if report.is_fine {
        Verdict::Fine
    } else {
        Verdict::NotFine
    })
}
