//! `hardtack check`: what a directory or a file holds, what of it is damaged, what a start would make of it.
//!
//! The judging is the storage's (`inspect`), with the code that a start uses; this module tells it to people and programs.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use hardtack_storage::UnixMillis;
use hardtack_storage::disk::{Disk, RealDisk};
use hardtack_storage::inspect::{
    self, CommandContents, FileSurvey, LogSurvey, LoneFile, LoneKind, RdbContents, Survey, Verdict,
};
use hardtack_storage::log::{FileDamage, FileRole, Judgement, RepairStep, Repaired};
use serde_json::{Value, json};

use super::out::Out;
use super::progress::{Progress, Unit};
use super::time::Shown;
use super::{Failure, Verdict as Outcome};

/// Verifies every frame, base and RDB file, and says what is there, what is damaged and what would be lost.
///
/// PATH is a data directory, a directory with a log, a manifest, a segment, an append-only file or an RDB file; Redis's
/// are read as well as Hardtack's. Nothing is changed, unless --repair is given. A server may be at work on the directory: then the end of the last
/// segment, which it is writing, is not taken for damage.
///
/// --repair makes of a damaged log one that a server starts on. Nothing is deleted: what is cut off is kept in a file beside
/// it (.torn-, .damaged-). A torn tail is cut off, as a start does by itself; at other damage the log ends, and what is behind
/// is set aside; a damaged manifest is made anew from the files; in the place of a damaged base an older one is put, if the
/// history that is kept goes back to one. The directory is locked meanwhile. Files without a log are not repaired.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  everything is sound (with --repair: now)
  1  something is damaged, or a start would cut off a tail that was never synced
  2  it could not be checked or repaired: nothing is there, it cannot be read, it is in use, nobody has agreed")]
pub struct Command {
    /// What to check
    path: PathBuf,
    /// One JSON document instead of text
    #[arg(long)]
    json: bool,
    /// Repair what can be repaired; asks first
    #[arg(long)]
    repair: bool,
    /// Do not ask before repairing
    #[arg(long, requires = "repair")]
    yes: bool,
}

/// Runs the tool.
pub fn run(command: Command) -> Result<Outcome, Failure> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut found = survey(&disk, &command.path)?;
    let mut out = Out::new();
    let mut repaired = Vec::new();
    if command.repair && !found.is_sound() {
        if !command.json {
            print(&mut out, &command.path, &found)?;
            out.flush()?;
        }
        agree(&found, command.yes)?;
        for log in found.logs.iter().filter(|log| !log.is_sound()) {
            let done = repair(&disk, log)?;
            if !command.json {
                print_repair(&mut out, log, &done)?;
            }
            repaired.push((log.dir.clone(), done));
        }
        found = survey(&disk, &command.path)?;
    }
    if command.json {
        let mut document = json_of(&found);
        if command.repair {
            document["repaired"] = repaired.iter().map(repair_json).collect();
        }
        out.json(&document)?;
    } else {
        print(&mut out, &command.path, &found)?;
    }
    out.flush()?;
    Ok(match found.is_sound() {
        true => Outcome::Fine,
        false => Outcome::NotFine,
    })
}

/// Sees to it that the repair is wanted.
fn agree(found: &Survey, yes: bool) -> Result<(), Failure> {
    if let Some(log) = found.logs.iter().find(|log| log.is_live) {
        return Err(Failure::new(format!(
            "a server is at work on {}: stop it before repairing",
            log.dir.display()
        )));
    }
    if yes || found.logs.iter().all(LogSurvey::is_sound) {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            "not repaired: there is no terminal to ask on, and --yes was not given",
        ));
    }
    eprint!("Repair as --help describes? What is cut off is kept. [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match (read, answer.trim().to_ascii_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => Err(Failure::new("not repaired")),
    }
}

fn repair(disk: &Arc<dyn Disk>, log: &LogSurvey) -> Result<Repaired, Failure> {
    let progress = Progress::new("Repairing", bytes_below(&log.dir), Unit::Bytes);
    let mut done = 0;
    inspect::repair_log(disk, log, &mut |bytes| {
        done += bytes;
        progress.set(done);
    })
    .map_err(|error| Failure::new(format!("cannot repair {}: {error}", log.dir.display())))
}

fn print_repair(out: &mut Out, log: &LogSurvey, done: &Repaired) -> Result<(), Failure> {
    out.line(format_args!("Repair of {}", log.dir.display()))?;
    if done.steps.is_empty() {
        out.line("  There was nothing to do: a start does not depend on what is damaged.")?;
    }
    for step in &done.steps {
        out.line(format_args!("  {}", step_words(step)))?;
    }
    out.line(format_args!(
        "  The log now holds LSN {} to {}.",
        done.base_lsn, done.end
    ))
}

fn step_words(step: &RepairStep) -> String {
    let kept = |aside: &Option<PathBuf>| match aside {
        Some(aside) => format!("; the damaged one is kept as {}", aside.display()),
        None => String::new(),
    };
    match step {
        RepairStep::ManifestMade { aside } => format!("Made a new manifest{}.", kept(aside)),
        RepairStep::OlderBase { base, aside } => format!(
            "Went back to the base {} and the history behind it{}.",
            base.display(),
            kept(aside)
        ),
        RepairStep::Cut(cut) => format!(
            "Cut {} bytes off {} at byte {} (LSN {}), kept in {}; what followed is set aside.",
            cut.bytes,
            cut.segment.display(),
            cut.position,
            cut.lsn,
            cut.kept_as.display()
        ),
        RepairStep::SetAside { reason, files } => {
            let files = files.iter().map(|file| file.display().to_string());
            let files: Vec<String> = files.collect();
            match files.is_empty() {
                true => format!("Ended the log: {reason}."),
                false => format!("Ended the log: {reason}. Set aside: {}.", files.join(", ")),
            }
        }
    }
}

fn repair_json((dir, done): &(PathBuf, Repaired)) -> Value {
    let path = |path: &PathBuf| path.display().to_string();
    let steps = done.steps.iter().map(|step| match step {
        RepairStep::ManifestMade { aside } => json!({
            "step": "manifest_made",
            "aside": aside.as_ref().map(path),
        }),
        RepairStep::OlderBase { base, aside } => json!({
            "step": "older_base",
            "base": path(base),
            "aside": aside.as_ref().map(path),
        }),
        RepairStep::Cut(cut) => json!({
            "step": "cut",
            "file": path(&cut.segment),
            "offset": cut.position,
            "lsn": cut.lsn.0,
            "bytes": cut.bytes,
            "aside": path(&cut.kept_as),
        }),
        RepairStep::SetAside { reason, files } => json!({
            "step": "set_aside",
            "reason": reason,
            "files": files.iter().map(path).collect::<Vec<_>>(),
        }),
    });
    json!({
        "dir": dir.display().to_string(),
        "steps": steps.collect::<Vec<_>>(),
        "base_lsn": done.base_lsn.0,
        "end_lsn": done.end.0,
    })
}

fn survey(disk: &Arc<dyn Disk>, path: &Path) -> Result<Survey, Failure> {
    let progress = Progress::new("Checking", bytes_below(path), Unit::Bytes);
    let mut done = 0;
    inspect::survey(disk, path, &mut |bytes| {
        done += bytes;
        progress.set(done);
    })
    .map_err(|error| Failure::new(error.to_string()))
}

/// About how much will be read: segments are read on their own and as a part of the log.
fn bytes_below(path: &Path) -> u64 {
    let Ok(info) = std::fs::metadata(path) else {
        return 0;
    };
    if !info.is_dir() {
        return info.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| {
        let path = entry.path();
        let twice = path.extension().is_some_and(|end| end == "aof");
        let times = if twice { 2 } else { 1 };
        times * entry.metadata().map_or(0, |info| info.len())
    });
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.path().is_dir());
    bytes.sum::<u64>() + below.map(|dir| bytes_below(&dir.path())).sum::<u64>()
}

fn print(out: &mut Out, path: &Path, survey: &Survey) -> Result<(), Failure> {
    for log in &survey.logs {
        print_log(out, log)?;
    }
    for file in &survey.files {
        print_lone(out, file)?;
    }
    out.line(if survey.is_sound() {
        format!("{}: sound", path.display())
    } else {
        format!("{}: not sound", path.display())
    })
}

fn print_log(out: &mut Out, log: &LogSurvey) -> Result<(), Failure> {
    let dir = log.dir.display();
    match log.replid() {
        Some(replid) => out.line(format_args!("Log in {dir}, history {replid}"))?,
        None => out.line(format_args!("Log in {dir}"))?,
    }
    if log.is_live {
        out.line("  A server is at work on it: the last segment is still growing.")?;
    }
    if log.manifest_is_checked == Some(false) {
        out.line("  The manifest carries no checksum of ours: another server wrote it.")?;
    }
    for file in &log.files {
        let name = &file.file.name;
        let role = role_word(file.file.role);
        out.line(format_args!("  {role:<8} {name:<32} {}", contents(file)))?;
    }
    for name in log
        .unnamed
        .iter()
        .filter(|_| log.manifest_is_checked.is_some())
    {
        out.line(format_args!(
            "  {:<8} {name:<32} {}",
            "aside",
            unnamed_words(name)
        ))?;
    }
    for file in &log.files {
        if let Some(damage) = &file.damage {
            let growing = log.is_live && file.file.is_last;
            print_damage(out, &file.file.path, damage, growing)?;
        }
    }
    print_verdict(out, log)
}

fn unnamed_words(name: &str) -> &'static str {
    if name.contains(".torn-") || name.contains(".damaged-") {
        "cut off or set aside, kept for you"
    } else if name.starts_with("temp-") {
        "unfinished, the next start removes it"
    } else {
        "the manifest does not name it"
    }
}

fn role_word(role: FileRole) -> &'static str {
    match role {
        FileRole::Base => "base",
        FileRole::OldBase => "old base",
        FileRole::Segment => "segment",
        FileRole::History => "history",
    }
}

fn contents(file: &FileSurvey) -> String {
    let mut words = vec![format!("{} bytes", file.bytes)];
    if let Some((from, to)) = file.range {
        words.push(format!("LSN {from} to {to}"));
    }
    words.extend(file.rdb.iter().map(rdb_words));
    words.extend(file.commands.iter().map(command_words));
    if file.unchecked {
        words.push("no checksums".into());
    }
    if file.damage.is_some() {
        words.push("DAMAGED".into());
    }
    words.join(", ")
}

fn rdb_words(rdb: &RdbContents) -> String {
    let mut words = match rdb.lsn {
        Some(lsn) => format!("as of LSN {lsn}, "),
        None => String::new(),
    };
    words += &match rdb.keys() {
        1 => "1 key".to_owned(),
        keys => format!("{keys} keys"),
    };
    if rdb.databases.len() > 1 {
        words += &format!(" in {} databases", rdb.databases.len());
    }
    let expires: u64 = rdb.databases.values().map(|(_, expires)| expires).sum();
    if expires > 0 {
        words += &format!(" ({expires} with an expiry)");
    }
    words += &format!(", RDB version {}", rdb.version);
    if let Some(created) = rdb.created {
        let created = UnixMillis(created.saturating_mul(1000));
        words += &format!(", written {}", Shown(created));
    }
    if let Some(unsupported) = &rdb.unsupported {
        words += &format!(", cannot be loaded: {unsupported}");
    }
    words
}

fn command_words(commands: &CommandContents) -> String {
    let mut words = match commands.commands {
        1 => "1 command".to_owned(),
        count => format!("{count} commands"),
    };
    match commands.frames {
        0 => {}
        1 => words += " in 1 frame",
        frames => words += &format!(" in {frames} frames"),
    }
    if let Some((first, last)) = commands.times {
        words += &format!(", {} to {}", Shown(first), Shown(last));
    }
    words
}

fn print_damage(
    out: &mut Out,
    path: &Path,
    damage: &FileDamage,
    growing: bool,
) -> Result<(), Failure> {
    let mut place = path.display().to_string();
    if let Some(position) = damage.position {
        place += &format!(" at byte {position}");
    }
    if let Some(lsn) = damage.lsn {
        place += &format!(" (LSN {lsn})");
    }
    if growing {
        return out.line(format_args!("  {place}: a write is under way"));
    }
    let FileDamage {
        expected, found, ..
    } = damage;
    let case = damage
        .case
        .map_or_else(String::new, |case| format!(" [{case}]"));
    out.line(format_args!(
        "  DAMAGED: {place}: expected {expected}, found {found}{case}"
    ))?;
    if damage.bytes_after > 0 {
        let mut behind = format!("{} bytes from there on", damage.bytes_after);
        if let Some(end) = damage.end_after {
            behind += &format!(
                ", among them {} frames that look whole, up to LSN {end}",
                damage.frames_after
            );
        }
        out.line(format_args!("           {behind}"))?;
    }
    Ok(())
}

fn print_verdict(out: &mut Out, log: &LogSurvey) -> Result<(), Failure> {
    match &log.verdict {
        Verdict::Starts(judgement) => {
            if log.is_live {
                return out.line(format_args!(
                    "  Read up to LSN {}, from the base at {}.",
                    judgement.end, judgement.base_lsn
                ));
            }
            out.line(format_args!(
                "  A start goes on at LSN {}, from the base at {}.",
                judgement.end, judgement.base_lsn
            ))?;
            match &judgement.cut {
                Some(_) => print_loss(out, "It would cut off, and keep aside,", judgement),
                None => Ok(()),
            }
        }
        Verdict::Refuses {
            error,
            case,
            prefix,
        } => {
            let case = case.map_or_else(String::new, |case| format!(" [{case}]"));
            out.line(format_args!("  A start refuses{case}: {error}"))?;
            match prefix {
                Some(prefix) => {
                    out.line(format_args!(
                        "  First good LSN {}, last good LSN {}.",
                        prefix.base_lsn, prefix.end
                    ))?;
                    print_loss(out, "Going on from there would set aside", prefix)
                }
                None => out.line("  Cutting off what is behind does not help here."),
            }
        }
    }
}

fn print_loss(out: &mut Out, what: &str, judgement: &Judgement) -> Result<(), Failure> {
    let Some(cut) = &judgement.cut else {
        return Ok(());
    };
    let later = match cut.later.len() {
        0 => String::new(),
        1 => format!(", and 1 later segment ({} bytes)", cut.later_bytes),
        count => format!(", and {count} later segments ({} bytes)", cut.later_bytes),
    };
    out.line(format_args!(
        "  {what} {} bytes of {} from byte {} on{later}.",
        cut.bytes,
        cut.path.display(),
        cut.position
    ))
}

fn print_lone(out: &mut Out, file: &LoneFile) -> Result<(), Failure> {
    let mut words = vec![format!("{} bytes", file.bytes)];
    if let Some((from, to)) = file.range {
        words.push(format!("LSN {from} to {to}"));
    }
    words.extend(file.rdb.iter().map(rdb_words));
    words.extend(file.commands.iter().map(command_words));
    out.line(format_args!(
        "{} {}: {}",
        match file.kind {
            LoneKind::Rdb => "RDB file",
            LoneKind::AppendOnlyFile => "Append-only file",
            LoneKind::Segment => "Segment",
        },
        file.path.display(),
        words.join(", ")
    ))?;
    if file
        .rdb
        .as_ref()
        .is_some_and(|rdb| !rdb.is_checked && rdb.version >= 5)
    {
        out.line("  It carries no checksum.")?;
    }
    match &file.damage {
        Some(damage) => print_damage(out, &file.path, damage, false),
        None => Ok(()),
    }
}

fn json_of(survey: &Survey) -> Value {
    json!({
        "sound": survey.is_sound(),
        "logs": survey.logs.iter().map(log_json).collect::<Vec<_>>(),
        "files": survey.files.iter().map(lone_json).collect::<Vec<_>>(),
    })
}

fn log_json(log: &LogSurvey) -> Value {
    json!({
        "dir": log.dir.display().to_string(),
        "sound": log.is_sound(),
        "live": log.is_live,
        "replid": log.replid(),
        "manifest_checksum": match log.manifest_is_checked {
            Some(true) => "good",
            Some(false) => "none",
            None => "unreadable",
        },
        "files": log.files.iter().map(file_json).collect::<Vec<_>>(),
        "aside": log.unnamed,
        "start": verdict_json(&log.verdict),
    })
}

fn verdict_json(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Starts(judgement) => json!({
            "starts": true,
            "base_lsn": judgement.base_lsn.0,
            "end_lsn": judgement.end.0,
            "cut": cut_json(judgement),
            "unchecked_files": judgement.unchecked_files,
        }),
        Verdict::Refuses {
            error,
            case,
            prefix,
        } => json!({
            "starts": false,
            "reason": error.to_string(),
            "case": case,
            "prefix": prefix.as_ref().map(|prefix| json!({
                "first_good_lsn": prefix.base_lsn.0,
                "last_good_lsn": prefix.end.0,
                "cut": cut_json(prefix),
            })),
        }),
    }
}

fn cut_json(judgement: &Judgement) -> Value {
    judgement.cut.as_ref().map_or(Value::Null, |cut| {
        json!({
            "case": cut.case,
            "file": cut.path.display().to_string(),
            "offset": cut.position,
            "lsn": cut.lsn.0,
            "bytes": cut.bytes,
            "expected": cut.expected,
            "found": cut.found,
            "later_files": cut.later.iter().map(|p| p.display().to_string()).collect::<Vec<_>>(),
            "later_bytes": cut.later_bytes,
        })
    })
}

fn file_json(file: &FileSurvey) -> Value {
    json!({
        "file": file.file.name,
        "role": match file.file.role {
            FileRole::Base => "base",
            FileRole::OldBase => "old_base",
            FileRole::Segment => "segment",
            FileRole::History => "history",
        },
        "seq": file.file.seq,
        "last": file.file.is_last,
        "bytes": file.bytes,
        "start_lsn": file.range.map(|(start, _)| start.0),
        "end_lsn": file.range.map(|(_, end)| end.0),
        "begun_ms": file.since.map(|since| since.0),
        "checksums": !file.unchecked,
        "rdb": file.rdb.as_ref().map(rdb_json),
        "commands": file.commands.as_ref().map(commands_json),
        "damage": file.damage.as_ref().map(damage_json),
    })
}

fn lone_json(file: &LoneFile) -> Value {
    json!({
        "file": file.path.display().to_string(),
        "kind": match file.kind {
            LoneKind::Rdb => "rdb",
            LoneKind::AppendOnlyFile => "aof",
            LoneKind::Segment => "segment",
        },
        "bytes": file.bytes,
        "start_lsn": file.range.map(|(start, _)| start.0),
        "end_lsn": file.range.map(|(_, end)| end.0),
        "rdb": file.rdb.as_ref().map(rdb_json),
        "commands": file.commands.as_ref().map(commands_json),
        "damage": file.damage.as_ref().map(damage_json),
    })
}

fn rdb_json(rdb: &RdbContents) -> Value {
    let databases = rdb.databases.iter().map(|(db, (keys, expires))| {
        let counts = json!({"keys": keys, "expires": expires});
        (db.to_string(), counts)
    });
    json!({
        "version": rdb.version,
        "bytes": rdb.bytes,
        "checksum": rdb.is_checked,
        "keys": rdb.keys(),
        "databases": databases.collect::<serde_json::Map<_, _>>(),
        "lsn": rdb.lsn.map(|lsn| lsn.0),
        "replid": rdb.replid,
        "redis_version": rdb.writer,
        "created_s": rdb.created,
        "unsupported": rdb.unsupported,
    })
}

fn commands_json(commands: &CommandContents) -> Value {
    json!({
        "count": commands.commands,
        "frames": commands.frames,
        "first_ms": commands.times.map(|(first, _)| first.0),
        "last_ms": commands.times.map(|(_, last)| last.0),
    })
}

fn damage_json(damage: &FileDamage) -> Value {
    json!({
        "case": damage.case,
        "offset": damage.position,
        "lsn": damage.lsn.map(|lsn| lsn.0),
        "expected": damage.expected,
        "found": damage.found,
        "bytes_after": damage.bytes_after,
        "frames_after": damage.frames_after,
        "end_lsn_after": damage.end_after.map(|lsn| lsn.0),
    })
}
