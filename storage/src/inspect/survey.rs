//! What is there: every file of a log or on its own, and what a start would make of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::contents::{CommandContents, Counter, OnBytes, RdbContents, RdbDamage};
use crate::disk::Disk;
use crate::log::{
    FileDamage, FileRole, Judgement, LogFile, LogFiles, LogOptions, OpenError, RecoverMode,
    Repaired, SegmentReading, load_single_file, read_lone_segment, repair,
};
use crate::{Lsn, UnixMillis};

/// How often a directory is looked at again that a server changes meanwhile.
const ATTEMPTS: usize = 5;
/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(50);

/// What was found under a path.
#[derive(Debug, Default)]
pub struct Survey {
    /// Logs: usually one.
    pub logs: Vec<LogSurvey>,
    /// Files that belong to no log: RDB files, append-only files of older servers, single segments.
    pub files: Vec<LoneFile>,
}

impl Survey {
    /// Whether everything is sound: nothing damaged, nothing that a start would cut off.
    pub fn is_sound(&self) -> bool {
        let logs = self.logs.iter().all(LogSurvey::is_sound);
        logs && self.files.iter().all(|file| file.damage.is_none())
    }
}

/// A log.
#[derive(Debug)]
pub struct LogSurvey {
    /// Its own directory.
    pub dir: PathBuf,
    /// What the names of its files begin with.
    pub prefix: String,
    /// A server is at work on it.
    pub is_live: bool,
    /// The manifest carries our checksum: `None` if it could not be read.
    pub manifest_is_checked: Option<bool>,
    /// The files that the manifest names.
    pub files: Vec<FileSurvey>,
    /// Files beside them that it does not name.
    pub unnamed: Vec<String>,
    /// What a start would make of it.
    pub verdict: Verdict,
}

impl LogSurvey {
    /// Whether all of it is sound.
    pub fn is_sound(&self) -> bool {
        let starts = match &self.verdict {
            Verdict::Starts(judgement) => judgement.cut.is_none() || self.is_live,
            Verdict::Refuses { .. } => false,
        };
        let tolerated = |file: &FileSurvey| self.is_live && file.file.is_last;
        let files = self.files.iter();
        starts && files.filter(|f| !tolerated(f)).all(|f| f.damage.is_none())
    }

    /// The history that the segments belong to.
    pub fn replid(&self) -> Option<&str> {
        let last = self.files.iter().rev();
        last.filter_map(|file| file.replid.as_deref()).next()
    }
}

/// What a start would make of a log.
#[derive(Debug)]
pub enum Verdict {
    /// It starts, perhaps after cutting off a tail that was never synced.
    Starts(Judgement),
    /// It refuses.
    Refuses {
        /// Why, in its words.
        error: OpenError,
        /// The row of its table of cases, where it is one of those.
        case: Option<&'static str>,
        /// What there would be with the loss accepted (`--recover=prefix`), where that is possible.
        prefix: Option<Judgement>,
    },
}

/// A file of a log.
#[derive(Debug)]
pub struct FileSurvey {
    /// Which.
    pub file: LogFile,
    /// Its length.
    pub bytes: u64,
    /// What it holds in RDB form.
    pub rdb: Option<RdbContents>,
    /// What it holds in commands.
    pub commands: Option<CommandContents>,
    /// Where its commands begin and end in the stream.
    pub range: Option<(Lsn, Lsn)>,
    /// When it was begun.
    pub since: Option<UnixMillis>,
    /// It has commands without checksums.
    pub unchecked: bool,
    /// The history that it belongs to.
    pub replid: Option<String>,
    /// What is wrong with it.
    pub damage: Option<FileDamage>,
}

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoneKind {
    /// An RDB file.
    Rdb,
    /// Commands without checksums, after an RDB or not.
    AppendOnlyFile,
    /// A segment of a log.
    Segment,
}

/// A file that belongs to no log.
#[derive(Debug)]
pub struct LoneFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: LoneKind,
    /// Its length.
    pub bytes: u64,
    /// What it holds in RDB form.
    pub rdb: Option<RdbContents>,
    /// What it holds in commands.
    pub commands: Option<CommandContents>,
    /// Of a segment: where its commands begin and end in the stream.
    pub range: Option<(Lsn, Lsn)>,
    /// What is wrong with it.
    pub damage: Option<FileDamage>,
}

/// Why nothing could be surveyed.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// There is nothing of ours under the path.
    #[error("{0} holds no log, no append-only file and no RDB file")]
    Nothing(PathBuf),
    /// The disk failed, or there is no such file.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// How.
        error: io::Error,
    },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> SurveyError {
    let path = path.to_owned();
    move |error| SurveyError::Io { path, error }
}

/// Surveys what `path` is: a data directory, a log's own directory, a manifest, a segment, an append-only file, an RDB
/// file.
///
/// # Errors
/// If there is nothing to survey. Damage is no error: it is what the survey tells.
pub fn survey(
    disk: &Arc<dyn Disk>,
    path: &Path,
    on_bytes: OnBytes<'_>,
) -> Result<Survey, SurveyError> {
    let info = disk.metadata(path).map_err(io_at(path))?;
    let Some(info) = info else {
        return Err(io_at(path)(io::ErrorKind::NotFound.into()));
    };
    let mut survey = Survey::default();
    if info.is_dir {
        for (dir, prefix) in logs_in(&**disk, path)? {
            let log = survey_log(disk, &dir, &prefix, on_bytes)?;
            survey.logs.push(log);
        }
        let own_dir = survey.logs.iter().any(|log| log.dir == path);
        for name in disk.list(path).map_err(io_at(path))? {
            let known = name.ends_with(".rdb") || name.ends_with(".aof");
            let file = path.join(&name);
            let is_file = disk
                .metadata(&file)
                .map_err(io_at(&file))?
                .is_some_and(|found| !found.is_dir);
            if known && is_file && !own_dir && !name.starts_with("temp-") {
                survey.files.push(survey_file(disk, &file, on_bytes)?);
            }
        }
        if survey.logs.is_empty() && survey.files.is_empty() {
            return Err(SurveyError::Nothing(path.to_owned()));
        }
    } else if let Some(prefix) = manifest_prefix(path) {
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        survey.logs.push(survey_log(disk, dir, &prefix, on_bytes)?);
    } else {
        survey.files.push(survey_file(disk, path, on_bytes)?);
    }
    Ok(survey)
}

fn manifest_prefix(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".manifest").map(str::to_owned)
}

/// The logs in a directory or right below it: where they are, and what their files' names begin with.
pub fn logs_in(disk: &dyn Disk, path: &Path) -> Result<Vec<(PathBuf, String)>, SurveyError> {
    let mut logs = Vec::new();
    let mut dirs = vec![path.to_owned()];
    for name in disk.list(path).map_err(io_at(path))? {
        let below = path.join(name);
        let info = disk.metadata(&below).map_err(io_at(&below))?;
        if info.is_some_and(|info| info.is_dir) {
            dirs.push(below);
        }
    }
    for dir in dirs {
        let list = match disk.list(&dir) {
            Ok(list) => list,
            // Something in a data directory that is not ours, and not for us to see.
            Err(_) if dir != path => continue,
            Err(error) => return Err(io_at(&dir)(error)),
        };
        let mut prefixes: Vec<String> = list
            .iter()
            .filter(|name| !name.starts_with("temp-"))
            .filter_map(|name| {
                let manifest = name.strip_suffix(".manifest");
                manifest.or_else(|| part_prefix(name)).map(str::to_owned)
            })
            .collect();
        prefixes.sort();
        prefixes.dedup();
        logs.extend(prefixes.into_iter().map(|prefix| (dir.clone(), prefix)));
    }
    Ok(logs)
}

/// What the names of a log's files begin with, if this looks like one of them.
fn part_prefix(name: &str) -> Option<&str> {
    let stem = [".base.rdb", ".base.aof", ".incr.aof"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))?;
    let (prefix, seq) = stem.rsplit_once('.')?;
    seq.parse::<u64>().ok().map(|_| prefix)
}

/// Surveys a log; of a server that is at work, until it has held still for long enough.
pub fn survey_log(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    prefix: &str,
    on_bytes: OnBytes<'_>,
) -> Result<LogSurvey, SurveyError> {
    let mut counter = Counter::new(disk.clone(), on_bytes);
    let mut torn_at = None;
    for attempt in 1.. {
        let log = match LogFiles::open(disk.clone(), dir, prefix) {
            Ok(log) => log,
            Err(OpenError::Io { path, error }) => return Err(SurveyError::Io { path, error }),
            Err(error) => return without_manifest(&**disk, dir, prefix, error),
        };
        let survey = survey_once(&log, prefix, &mut counter)?;
        let last = survey.files.iter().find(|file| file.file.is_last);
        let torn = last.and_then(|last| last.damage.as_ref()?.position);
        let settled = !log.is_live()
            || attempt == ATTEMPTS
            || (!log.has_changed() && (torn.is_none() || torn == torn_at));
        if settled {
            return Ok(survey);
        }
        torn_at = torn;
        thread::sleep(PAUSE);
    }
    unreachable!("the last attempt returns")
}

/// Repairs a log of a survey, in place; see [`crate::log::repair`].
///
/// # Errors
/// [`OpenError`].
pub fn repair_log(
    disk: &Arc<dyn Disk>,
    log: &LogSurvey,
    on_bytes: OnBytes<'_>,
) -> Result<Repaired, OpenError> {
    let dir = disk_path(&log.dir);
    let (Some(data_dir), Some(name)) = (dir.parent(), dir.file_name()) else {
        return Err(OpenError::NoLog(dir));
    };
    let options = LogOptions {
        dir_name: name.to_string_lossy().into_owned(),
        file_name: log.prefix.clone(),
        ..LogOptions::default()
    };
    let mut counter = Counter::new(disk.clone(), on_bytes);
    repair(disk.clone(), data_dir, options, &mut counter)
}

/// A path with a parent and a name, also for `.`.
fn disk_path(dir: &Path) -> PathBuf {
    match (dir.parent(), dir.file_name()) {
        (Some(parent), Some(_)) if !parent.as_os_str().is_empty() => dir.to_owned(),
        _ => dir.canonicalize().unwrap_or_else(|_| dir.to_owned()),
    }
}

/// A log whose manifest cannot be read.
fn without_manifest(
    disk: &dyn Disk,
    dir: &Path,
    prefix: &str,
    error: OpenError,
) -> Result<LogSurvey, SurveyError> {
    Ok(LogSurvey {
        dir: dir.to_owned(),
        prefix: prefix.into(),
        is_live: false,
        manifest_is_checked: None,
        files: Vec::new(),
        unnamed: disk.list(dir).map_err(io_at(dir))?,
        verdict: Verdict::Refuses {
            error,
            case: None,
            prefix: None,
        },
    })
}

fn survey_once(
    log: &LogFiles,
    prefix: &str,
    counter: &mut Counter<'_>,
) -> Result<LogSurvey, SurveyError> {
    let mut files = Vec::new();
    let mut end = Lsn::ZERO;
    for file in log.files() {
        let survey = match file.role {
            FileRole::Base | FileRole::OldBase => survey_base(log, file, counter),
            FileRole::Segment | FileRole::History => survey_segment(log, file, end, counter),
        };
        end = match (&survey.range, &survey.rdb) {
            (Some((_, end)), _) => *end,
            (None, Some(rdb)) => rdb.lsn.unwrap_or(end),
            (None, None) => end,
        };
        files.push(survey);
    }
    let verdict = match log.judge(RecoverMode::Strict, counter) {
        Ok(judgement) => Verdict::Starts(judgement),
        Err(refused) => Verdict::Refuses {
            error: refused.error,
            case: refused.case,
            prefix: log.judge(RecoverMode::Prefix, counter).ok(),
        },
    };
    counter.take();
    let dir = log.dir();
    Ok(LogSurvey {
        dir: dir.to_owned(),
        prefix: prefix.into(),
        is_live: log.is_live(),
        manifest_is_checked: Some(log.manifest_is_checked()),
        files,
        unnamed: log.unnamed_files().map_err(io_at(dir))?,
        verdict,
    })
}

/// A base: an RDB, commands, or both.
fn survey_base(log: &LogFiles, file: LogFile, counter: &mut Counter<'_>) -> FileSurvey {
    let disk = log.disk();
    let found = read_file(&disk, &file.path, counter);
    let mut damage = found.damage;
    let sealed = log.sealed(&file.name);
    if let Some(sealed) = sealed.filter(|&sealed| sealed != found.bytes && damage.is_none()) {
        damage = Some(not_as_sealed(sealed, found.bytes));
    }
    FileSurvey {
        bytes: found.bytes,
        replid: found.rdb.as_ref().and_then(|rdb| rdb.replid.clone()),
        unchecked: found.commands.is_some() || found.rdb.as_ref().is_some_and(|r| !r.is_checked),
        rdb: found.rdb,
        commands: found.commands,
        range: None,
        since: None,
        damage,
        file,
    }
}

fn not_as_sealed(sealed: u64, found: u64) -> FileDamage {
    FileDamage {
        case: None,
        position: None,
        lsn: None,
        expected: format!("the {sealed} bytes that it was sealed with"),
        found: format!("{found} bytes"),
        bytes_after: 0,
        frames_after: 0,
        end_after: None,
    }
}

fn survey_segment(log: &LogFiles, file: LogFile, at: Lsn, counter: &mut Counter<'_>) -> FileSurvey {
    counter.take();
    let reading = log.read_alone(&file, at, counter);
    let commands = counter.take();
    let mut damage = reading.damage.clone();
    // A segment that was sealed ends in nothing but its last frame; what a start would cut off it is damage.
    let sealed = log.sealed(&file.name).filter(|_| !file.is_last);
    if let Some(sealed) = sealed.filter(|&sealed| sealed != reading.used_bytes && damage.is_none())
    {
        damage = Some(not_as_sealed(sealed, reading.used_bytes));
    }
    if let Some(damage) = &mut damage
        && damage.case == Some("torn_tail")
        && !file.is_last
    {
        damage.case = Some("sealed_segment_bad_frame");
    }
    FileSurvey {
        bytes: reading.bytes,
        rdb: None,
        commands: Some(commands),
        range: Some(reading.range),
        since: reading.since,
        unchecked: reading.unchecked,
        replid: reading.replid.map(|id| id.to_string()),
        damage,
        file,
    }
}

/// Surveys one file that no manifest is asked about.
fn survey_file(
    disk: &Arc<dyn Disk>,
    path: &Path,
    on_bytes: OnBytes<'_>,
) -> Result<LoneFile, SurveyError> {
    let mut magic = [0; 5];
    let file = disk.open(path).map_err(io_at(path))?;
    let read = file.read_at(&mut magic, 0).map_err(io_at(path))?;
    let mut counter = Counter::new(disk.clone(), on_bytes);
    if magic[..read].starts_with(b"#HT1") {
        let reading = read_lone_segment(disk.clone(), path, &mut counter);
        let SegmentReading {
            bytes,
            range,
            damage,
            ..
        } = reading;
        return Ok(LoneFile {
            path: path.to_owned(),
            kind: LoneKind::Segment,
            bytes,
            rdb: None,
            commands: Some(counter.take()),
            range: Some(range),
            damage,
        });
    }
    let is_rdb = path.extension().is_some_and(|end| end == "rdb");
    let found = read_file(disk, path, &mut counter);
    let only_rdb = found.rdb.is_some() && found.commands.is_none();
    Ok(LoneFile {
        path: path.to_owned(),
        kind: match is_rdb || only_rdb {
            true => LoneKind::Rdb,
            false => LoneKind::AppendOnlyFile,
        },
        bytes: found.bytes,
        rdb: found.rdb,
        commands: found.commands,
        range: None,
        damage: found.damage,
    })
}

/// A file that holds an RDB, commands, or both.
struct Found {
    bytes: u64,
    rdb: Option<RdbContents>,
    commands: Option<CommandContents>,
    damage: Option<FileDamage>,
}

fn read_file(disk: &Arc<dyn Disk>, path: &Path, counter: &mut Counter<'_>) -> Found {
    let bytes = disk.open(path).and_then(|file| file.len()).unwrap_or(0);
    counter.take();
    let options = LogOptions {
        load_cut_off: false,
        ..LogOptions::default()
    };
    let outcome = load_single_file(&**disk, path, &options, counter);
    let commands = counter.take();
    let (rdb, rdb_damage) = match counter.bases.get(path) {
        None => (None, None),
        Some(Ok(rdb)) => (Some(rdb.clone()), None),
        Some(Err(damage)) => (None, Some(damage.clone())),
    };
    let is_command_file = rdb.is_none() && rdb_damage.is_none();
    let has_commands = commands.commands > 0 || is_command_file;
    let unsupported = rdb.as_ref().is_some_and(|rdb| rdb.unsupported.is_some());
    let damage = match (rdb_damage, outcome) {
        (Some(damage), _) => Some(rdb_file_damage(damage, bytes)),
        (None, Err(error)) if !unsupported => Some(FileDamage::of(&error)),
        _ => None,
    };
    Found {
        bytes,
        rdb,
        commands: has_commands.then_some(commands),
        damage,
    }
}

fn rdb_file_damage(damage: RdbDamage, bytes: u64) -> FileDamage {
    FileDamage {
        case: None,
        position: damage.position,
        lsn: None,
        expected: "a sound RDB".into(),
        found: damage.what,
        bytes_after: damage.position.map_or(0, |at| bytes.saturating_sub(at)),
        frames_after: 0,
        end_after: None,
    }
}
