//! The engine without a server: writes, snapshots, dies without a word, and finds what it had acknowledged.
//!
//! ```text
//! cargo run -p hardtack-storage --example reopen [DIRECTORY]
//! ```
//!
//! The program runs itself as a child that writes and then aborts. Without a directory it uses a temporary one.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use hardtack_storage::engine::{Engine, Options, Session, Settings};

/// Tells the program that it is the child.
const WRITE: &str = "--write-and-abort";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [flag, dir] if flag == WRITE => write_and_abort(Path::new(dir)),
        [dir] => write_and_reopen(&PathBuf::from(dir)),
        _ => write_and_reopen(tempfile::tempdir()?.path()),
    }
}

fn write_and_reopen(dir: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(dir)?;
    let child = Command::new(std::env::current_exe()?)
        .arg(WRITE)
        .arg(dir)
        .output()?;
    print!("{}", String::from_utf8_lossy(&child.stdout));
    eprint!("{}", String::from_utf8_lossy(&child.stderr));
    println!("the writer ended: {}", child.status);
    let acknowledged: usize = String::from_utf8_lossy(&child.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("acknowledged: "))
        .ok_or("the writer acknowledged nothing")?
        .parse()?;

    let engine = Engine::new(Options::new(dir), Settings::default())?;
    let report = engine.load(&mut |_bytes, _keys| {})?;
    if let Some(cut) = report.log.and_then(|log| log.cut) {
        println!("cut off a torn tail of {} bytes: {}", cut.bytes, cut.reason);
    }
    let mut session = Session::new();
    let (newest, _) = engine.execute(&mut session, &[b"LINDEX", b"journal", b"-1"]);
    println!(
        "found again: {} keys; newest entry of the journal: {}",
        engine.len(0),
        String::from_utf8_lossy(&newest)
            .lines()
            .nth(1)
            .unwrap_or("none")
    );
    if engine.len(0) < acknowledged {
        return Err("acknowledged writes are missing".into());
    }
    Ok(())
}

fn write_and_abort(dir: &Path) -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(Options::new(dir), Settings::default())?;
    let log = engine.log().ok_or("the log is off")?;
    let mut session = Session::new();
    let mut write = |number: usize| {
        let key = format!("key:{number}");
        let entry = format!("wrote {key}");
        engine.execute(&mut session, &[b"SET", key.as_bytes(), b"value"]);
        let (_, outcome) = engine.execute(&mut session, &[b"RPUSH", b"journal", entry.as_bytes()]);
        outcome.lsn
    };
    for number in 0..500 {
        write(number);
    }
    engine.save()?;
    println!("wrote a snapshot: {}", engine.rdb_path().display());
    let mut last = write(500);
    for number in 501..1000 {
        last = write(number);
    }
    // This is what `always` does before it replies, once for many writes. Everything up to here survives even a power cut.
    log.wait_durable(last)?;
    println!("acknowledged: {}", engine.len(0));
    // These nobody was promised. They may be found again or not, but in order and without a gap.
    for number in 1000..1100 {
        write(number);
    }
    std::process::abort();
}
