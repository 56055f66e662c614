//! Hardtack and redis-server side by side: `compare --help`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use hardtack_benches::peer::Program;
use hardtack_benches::sections::{ALL, Plan};
use hardtack_benches::{catch_interrupts, check_interrupt};

/// Compares Hardtack with redis-server on this machine, both with the same directives, by turns.
///
/// Ratios are hardtack / redis: above 1 is better for ops/s, below 1 for everything else.
#[derive(Parser)]
struct Options {
    /// The hardtack binary (default: the one beside this program)
    #[arg(long, value_name = "PATH")]
    hardtack: Option<PathBuf>,
    /// The redis-server binary (default: the one on PATH)
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    redis: PathBuf,
    /// Only these sections; may be repeated
    #[arg(long, value_name = "SECTION", value_parser = ALL.iter().map(|s| s.0).collect::<Vec<_>>())]
    only: Vec<String>,
    /// Small data and short loads: shows that all works, not figures to quote
    #[arg(long)]
    quick: bool,
    /// Writes plots into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    catch_interrupts();
    match compare(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare: {e}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: Options) -> io::Result<()> {
    let hardtack = match options.hardtack {
        Some(path) => path,
        None => beside_this_program()?,
    };
    let programs = [
        Program {
            name: "hardtack",
            path: hardtack,
        },
        Program {
            name: "redis",
            path: options.redis,
        },
    ];
    for program in &programs {
        println!("{}: {}", program.name, program.version()?);
    }
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cpus} processors, shared with the load generator{}",
        if options.quick { "; quick run" } else { "" }
    );
    if let Some(directory) = &options.svg {
        std::fs::create_dir_all(directory)?;
    }
    let plan = Plan {
        programs,
        quick: options.quick,
        svg: options.svg,
    };
    for (name, run) in ALL {
        if !options.only.is_empty() && !options.only.iter().any(|only| only == name) {
            continue;
        }
        for table in run(&plan)? {
            print!("{}", table.markdown());
            if let Some(directory) = &plan.svg {
                table.plot(directory)?;
            }
        }
        check_interrupt()?;
    }
    Ok(())
}

fn beside_this_program() -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let path = here.parent().unwrap_or(Path::new(".")).join("hardtack");
    if path.is_file() {
        return Ok(path);
    }
    let what = "there is no hardtack binary beside this program: run `cargo build --release -p hardtack-server` first, \
                or give one with --hardtack PATH";
    Err(io::Error::new(io::ErrorKind::NotFound, what))
}
