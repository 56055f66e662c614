//! Values of directives: how they are parsed, shown, written to a file, and stored in a field.
//!
//! A [`Kind`] turns the arguments of a directive into a [`Value`], or into the reason why not (in Redis's words,
//! which clients and tests match). A [`Setting`] is a field type that a value can be stored in; the table in
//! [`super::table`] pairs the two, and a test there checks that every pair fits.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use hardtack_storage::text::integer;

use crate::util::quote;

/// A directive's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `yes` or `no`.
    Bool(bool),
    /// A plain number.
    Int(i64),
    /// A number shown in octal.
    Octal(u32),
    /// A number of bytes.
    Memory(u64),
    /// A percentage of another limit.
    Percent(u32),
    /// One of a list of words, as spelled there.
    Choice(&'static str),
    /// Several of a list of words, in the list's order.
    Flags(Vec<&'static str>),
    /// Any bytes.
    Text(Vec<u8>),
    /// Words separated by blanks.
    Words(Vec<String>),
    /// Snapshot rules.
    Save(Vec<SaveRule>),
    /// Output buffer limits per client class.
    OutputLimits(OutputLimits),
    /// Percentiles, each within `0.0..=100.0`.
    Percentiles(Vec<f64>),
}

/// How a directive's arguments are read.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// An integer in `min..=max`.
    Int { min: i64, max: i64 },
    /// An octal number in `min..=max`.
    Octal { min: u32, max: u32 },
    /// Bytes with an optional unit, in `min..=max`.
    Memory { min: u64, max: u64 },
    /// Bytes with an optional unit, or `0%..=100%`.
    MemoryOrPercent,
    /// A time with an optional unit, at most so many seconds.
    Seconds { max: u32 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words; the first one stands for none.
    ShutdownFlags,
    /// Text in UTF-8.
    Text,
    /// Any bytes.
    Bytes,
    /// The name of a file or directory, not a path, and not empty unless `empty_ok`.
    FileName {
        what: &'static str,
        noun: &'static str,
        empty_ok: bool,
    },
    /// An existing directory.
    Dir,
    /// `seconds changes` pairs.
    Save,
    /// `class hard soft seconds` quadruples.
    OutputLimits,
    /// Addresses to listen on.
    Bind,
    /// Classes of keyspace events.
    Events,
    /// Numbers within `0..=100`.
    Percentiles,
    /// As many integers as this, each within -2000..=2000.
    OomScores,
    /// `host port`, or `no one`.
    Primary,
}

/// Everything beside its arguments that the value of a directive may depend on.
pub struct Context<'a> {
    /// The present value: quadruples and repeated `save` lines add to it.
    pub present: &'a Value,
    /// True if `save` adds to the present rules instead of replacing them.
    pub add: bool,
    /// What relative directories are relative to.
    pub base_dir: &'a Path,
}

/// A rule for automatic snapshots: after this many seconds if at least this many changes were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveRule {
    /// At least 1.
    pub seconds: u64,
    /// Number of changed keys.
    pub changes: u64,
}

/// When a client that does not read its replies is disconnected. 0 means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Disconnect at once above this.
    pub hard_bytes: u64,
    /// Disconnect if above this for `soft_seconds`.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

/// Output buffer limits of the client classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Clients that subscribed to channels.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [
            ("normal", self.normal),
            ("slave", self.replica),
            ("pubsub", self.pubsub),
        ]
    }
}

/// A limit in bytes, or as a share of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryOrPercent {
    /// Bytes; 0 means without limit.
    Bytes(u64),
    /// Percent of `maxmemory`.
    Percent(u32),
}

impl MemoryOrPercent {
    /// In bytes; 0 means without limit, and so does a share of a `maxmemory` that is not set.
    pub fn bytes(self, maxmemory: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (u128::from(maxmemory) * u128::from(percent) / 100) as u64,
        }
    }
}

impl Default for MemoryOrPercent {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

/// How SIGINT or SIGTERM shuts the server down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownFlags {
    /// Save a snapshot even without `save` rules.
    pub save: bool,
    /// Save no snapshot.
    pub nosave: bool,
    /// Do not wait for replicas.
    pub now: bool,
    /// Exit even if something failed.
    pub force: bool,
}

const SHUTDOWN_WORDS: &[&str] = &["default", "save", "nosave", "now", "force"];

/// Parses bytes with an optional unit: `1k` is 1000, `1kb` is 1024; the unit's case does not matter.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unit: u64 = match text[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number: u64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    number.checked_mul(unit)
}

/// Parses a time: seconds, or with a unit `s`, `m` (minutes), `h` or `d`.
fn parse_seconds(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let unit = match text[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"s" => 1,
        b"m" => 60,
        b"h" => 3600,
        b"d" => 86400,
        _ => return None,
    };
    let number: i64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    number.checked_mul(unit)
}

/// The shortest exact spelling of a number of bytes.
fn memory_text(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

impl Kind {
    /// True if the directive takes any number of arguments; otherwise it takes exactly one.
    pub fn takes_many(self) -> bool {
        matches!(
            self,
            Self::ShutdownFlags
                | Self::Save
                | Self::OutputLimits
                | Self::Bind
                | Self::Percentiles
                | Self::OomScores
                | Self::Primary
        )
    }

    /// Reads a directive's arguments.
    ///
    /// # Errors
    /// The reason why they are not acceptable, to be shown to the user.
    pub fn parse(self, args: &[Vec<u8>], context: &Context<'_>) -> Result<Value, String> {
        let first: &[u8] = match args {
            [only] => only,
            _ if self.takes_many() => b"",
            _ => return Err("wrong number of arguments".into()),
        };
        match self {
            Self::YesNo => match first.to_ascii_lowercase().as_slice() {
                b"yes" => Ok(Value::Bool(true)),
                b"no" => Ok(Value::Bool(false)),
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            Self::Int { min, max } => {
                let number = integer::parse_i64(first)
                    .ok_or("argument couldn't be parsed into an integer")?;
                check_range(number, min, max).map(Value::Int)
            }
            Self::Octal { min, max } => {
                let number = std::str::from_utf8(first)
                    .ok()
                    .and_then(|text| u32::from_str_radix(text, 8).ok());
                let number = number.ok_or("argument couldn't be parsed as an octal number")?;
                if (min..=max).contains(&number) {
                    Ok(Value::Octal(number))
                } else {
                    Err(format!(
                        "argument must be between {min:o} and {max:o} inclusive"
                    ))
                }
            }
            Self::Memory { min, max } => {
                let bytes = parse_memory(first).ok_or("argument must be a memory value")?;
                check_range(bytes, min, max).map(Value::Memory)
            }
            Self::MemoryOrPercent => parse_memory_or_percent(first),
            Self::Seconds { max } => {
                let seconds = parse_seconds(first)
                    .ok_or("argument must be a number of seconds, or of 'm', 'h' or 'd'")?;
                check_range(seconds, 0, max.into()).map(Value::Int)
            }
            Self::Choice(words) => match find_word(words, first) {
                Some(word) => Ok(Value::Choice(word)),
                None => Err(one_of(words)),
            },
            Self::ShutdownFlags => parse_shutdown_flags(args),
            Self::Text => utf8(first).map(|text| Value::Text(text.into_bytes())),
            Self::Bytes => Ok(Value::Text(first.to_vec())),
            Self::FileName {
                what,
                noun,
                empty_ok,
            } => {
                if first.is_empty() && !empty_ok {
                    return Err(format!("{what} can't be empty"));
                }
                if first.contains(&b'/') {
                    return Err(format!("{what} can't be a path, just a {noun}"));
                }
                utf8(first).map(|text| Value::Text(text.into_bytes()))
            }
            Self::Dir => existing_dir(context.base_dir, first),
            Self::Save => parse_save(args, context),
            Self::OutputLimits => parse_output_limits(args, context),
            Self::Bind if args.len() > 16 => Err("Too many bind addresses specified.".into()),
            Self::Bind => {
                let args = if first.is_empty() && args.len() == 1 {
                    &[]
                } else {
                    args
                };
                args.iter()
                    .map(|arg| utf8(arg))
                    .collect::<Result<_, _>>()
                    .map(Value::Words)
            }
            Self::Events => canonical_events(first).map(Value::Text),
            Self::Percentiles => parse_percentiles(args),
            Self::OomScores => parse_oom_scores(args),
            Self::Primary => parse_primary(args),
        }
    }
}

fn check_range<T: PartialOrd + std::fmt::Display>(number: T, min: T, max: T) -> Result<T, String> {
    if number >= min && number <= max {
        Ok(number)
    } else {
        Err(format!(
            "argument must be between {min} and {max} inclusive"
        ))
    }
}

fn parse_memory_or_percent(text: &[u8]) -> Result<Value, String> {
    if let Some(bytes) = parse_memory(text) {
        return check_range(bytes, 0, i64::MAX as u64).map(Value::Memory);
    }
    match text.strip_suffix(b"%").and_then(integer::parse_i64) {
        Some(percent @ 0..=100) => Ok(Value::Percent(percent as u32)),
        Some(101..) => Err("percentage argument must be less or equal to 100".into()),
        _ => Err("argument must be a memory or percent value".into()),
    }
}

fn find_word(words: &'static [&'static str], text: &[u8]) -> Option<&'static str> {
    words
        .iter()
        .copied()
        .find(|word| word.as_bytes().eq_ignore_ascii_case(text))
}

fn one_of(words: &[&str]) -> String {
    format!(
        "argument(s) must be one of the following: {}",
        words.join(", ")
    )
}

fn parse_shutdown_flags(args: &[Vec<u8>]) -> Result<Value, String> {
    let given: Option<Vec<_>> = args
        .iter()
        .map(|arg| find_word(SHUTDOWN_WORDS, arg))
        .collect();
    let given = given
        .filter(|given| !given.is_empty())
        .ok_or_else(|| one_of(SHUTDOWN_WORDS))?;
    if given.contains(&"save") && given.contains(&"nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    Ok(Value::Flags(
        SHUTDOWN_WORDS[1..]
            .iter()
            .copied()
            .filter(|word| given.contains(word))
            .collect(),
    ))
}

fn utf8(text: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(text) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err("argument must be text in UTF-8".into()),
    }
}

fn existing_dir(base: &Path, path: &[u8]) -> Result<Value, String> {
    let path = base.join(OsString::from_vec(path.to_vec()));
    let resolved = path.canonicalize().map_err(|error| os_error_text(&error))?;
    if !resolved.is_dir() {
        return Err("Not a directory".into());
    }
    Ok(Value::Text(resolved.into_os_string().into_vec()))
}

/// The operating system's words for an error, without Rust's "(os error 2)".
pub fn os_error_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn parse_save(args: &[Vec<u8>], context: &Context<'_>) -> Result<Value, String> {
    if args.is_empty() || (args.len() == 1 && args[0].is_empty()) {
        return Ok(Value::Save(Vec::new()));
    }
    let mut rules = match context.present {
        Value::Save(rules) if context.add => rules.clone(),
        _ => Vec::new(),
    };
    for pair in args.chunks(2) {
        let [seconds, changes] = pair else {
            return Err("Invalid save parameters".into());
        };
        match (integer::parse_i64(seconds), integer::parse_i64(changes)) {
            (Some(seconds @ 1..), Some(changes @ 0..)) => {
                rules.push(SaveRule {
                    seconds: seconds as u64,
                    changes: changes as u64,
                });
            }
            _ => return Err("Invalid save parameters".into()),
        }
    }
    Ok(Value::Save(rules))
}

fn parse_output_limits(args: &[Vec<u8>], context: &Context<'_>) -> Result<Value, String> {
    let mut limits = match context.present {
        Value::OutputLimits(limits) => *limits,
        _ => OutputLimits::default(),
    };
    for quadruple in args.chunks(4) {
        let [class, hard, soft, seconds] = quadruple else {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        };
        let class = match class.to_ascii_lowercase().as_slice() {
            b"normal" => &mut limits.normal,
            b"slave" | b"replica" => &mut limits.replica,
            b"pubsub" => &mut limits.pubsub,
            _ => {
                return Err("Invalid client class specified in buffer limit configuration.".into());
            }
        };
        match (
            parse_memory(hard),
            parse_memory(soft),
            integer::parse_i64(seconds),
        ) {
            (Some(hard_bytes), Some(soft_bytes), Some(seconds @ 0..)) => {
                *class = OutputLimit {
                    hard_bytes,
                    soft_bytes,
                    soft_seconds: seconds as u64,
                };
            }
            _ => {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                        .into(),
                );
            }
        }
    }
    Ok(Value::OutputLimits(limits))
}

/// Event classes in the order in which they are shown; `A` stands for all of the first group.
fn canonical_events(classes: &[u8]) -> Result<Vec<u8>, String> {
    const ALL: &[u8] = b"g$lshzxetd";
    if classes
        .iter()
        .any(|class| !b"AnKEm".contains(class) && !ALL.contains(class))
    {
        return Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into());
    }
    let given = |class: &u8| classes.contains(class);
    let mut shown = Vec::new();
    if given(&b'A') || ALL.iter().all(given) {
        shown.push(b'A');
    } else {
        shown.extend(ALL.iter().filter(|class| given(class)));
        shown.extend(b"n".iter().filter(|class| given(class)));
    }
    shown.extend(b"KEm".iter().filter(|class| given(class)));
    Ok(shown)
}

fn parse_percentiles(args: &[Vec<u8>]) -> Result<Value, String> {
    let args = if args.len() == 1 && args[0].is_empty() {
        &[]
    } else {
        args
    };
    let mut percentiles = Vec::new();
    for arg in args {
        let number: Option<f64> = std::str::from_utf8(arg)
            .ok()
            .and_then(|text| text.parse().ok());
        let number = number
            .filter(|n| !n.is_nan())
            .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&number) {
            return Err(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                    .into(),
            );
        }
        percentiles.push(number);
    }
    Ok(Value::Percentiles(percentiles))
}

fn parse_oom_scores(args: &[Vec<u8>]) -> Result<Value, String> {
    if args.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    let scores = args.iter().map(|arg| {
        integer::parse_i64(arg)
            .filter(|score| (-2000..=2000).contains(score))
            .map(|score| score.to_string())
    });
    let scores: Option<Vec<String>> = scores.collect();
    scores.map(Value::Words).ok_or_else(|| {
        "Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into()
    })
}

fn parse_primary(args: &[Vec<u8>]) -> Result<Value, String> {
    let [host, port] = args else {
        // An empty value is how the lack of a primary is shown, and may be set back.
        let none = args.is_empty() || (args.len() == 1 && args[0].is_empty());
        return if none {
            Ok(Value::Words(Vec::new()))
        } else {
            Err("wrong number of arguments".into())
        };
    };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Value::Words(Vec::new()));
    }
    match integer::parse_i64(port) {
        Some(0..=65535) => Ok(Value::Words(vec![utf8(host)?, utf8(port)?])),
        _ => Err("Invalid master port".into()),
    }
}

impl Value {
    /// As CONFIG GET shows it.
    pub fn shown(&self) -> Vec<u8> {
        let text = match self {
            Self::Bool(yes) => (if *yes { "yes" } else { "no" }).to_owned(),
            Self::Int(number) => number.to_string(),
            Self::Octal(number) => format!("{number:o}"),
            Self::Memory(bytes) => bytes.to_string(),
            Self::Percent(percent) => format!("{percent}%"),
            Self::Choice(word) => (*word).to_owned(),
            Self::Flags(words) if words.is_empty() => "default".to_owned(),
            Self::Flags(words) => words.join(" "),
            Self::Text(text) => return text.clone(),
            Self::Words(words) => words.join(" "),
            Self::Save(rules) => join(
                rules
                    .iter()
                    .map(|rule| format!("{} {}", rule.seconds, rule.changes)),
            ),
            Self::OutputLimits(limits) => join(limits.classes().iter().map(|(class, limit)| {
                format!(
                    "{class} {} {} {}",
                    limit.hard_bytes, limit.soft_bytes, limit.soft_seconds
                )
            })),
            Self::Percentiles(numbers) => join(numbers.iter().map(|number| {
                let text = format!("{number:.6}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            })),
        };
        text.into_bytes()
    }

    /// What follows the directive's name in a configuration file: one entry per line, none if the directive is
    /// best left out.
    pub fn file_lines(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Memory(bytes) => vec![memory_text(*bytes).into_bytes()],
            Self::Text(text) => {
                let mut quoted = Vec::new();
                quote::push_quoted(&mut quoted, text);
                vec![quoted]
            }
            Self::Words(words) if words.is_empty() => vec![b"\"\"".to_vec()],
            Self::Save(rules) if rules.is_empty() => vec![b"\"\"".to_vec()],
            Self::Percentiles(numbers) if numbers.is_empty() => vec![b"\"\"".to_vec()],
            Self::Save(rules) => rules
                .iter()
                .map(|rule| format!("{} {}", rule.seconds, rule.changes).into_bytes())
                .collect(),
            Self::OutputLimits(limits) => {
                let line = |(class, limit): (&str, OutputLimit)| {
                    let class = if class == "slave" { "replica" } else { class };
                    let (hard, soft) =
                        (memory_text(limit.hard_bytes), memory_text(limit.soft_bytes));
                    format!("{class} {hard} {soft} {}", limit.soft_seconds).into_bytes()
                };
                limits.classes().map(line).into()
            }
            other => vec![other.shown()],
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

/// A type that configuration fields may have.
pub trait Setting: Sized {
    /// The value as the table's kinds would have read it.
    fn to_value(&self) -> Value;
    /// The field's new content; `None` if the kind of value does not fit the type, which is a mistake in the table.
    fn from_value(value: Value) -> Option<Self>;
}

impl Setting for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Bool(yes) = value {
            Some(yes)
        } else {
            None
        }
    }
}

macro_rules! int_settings {
    ($($int:ty),*) => {$(
        impl Setting for $int {
            fn to_value(&self) -> Value {
                Value::Int(*self as i64)
            }
            fn from_value(value: Value) -> Option<Self> {
                if let Value::Int(number) = value { number.try_into().ok() } else { None }
            }
        }
    )*};
}
int_settings!(i32, i64, u16, u32, usize);

/// Bytes. Plain numbers that do not fit a `u32` are `usize` or `i64`, so that the two are not mixed up.
impl Setting for u64 {
    fn to_value(&self) -> Value {
        Value::Memory(*self)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Memory(bytes) = value {
            Some(bytes)
        } else {
            None
        }
    }
}

/// Permission bits of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Setting for FileMode {
    fn to_value(&self) -> Value {
        Value::Octal(self.0)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Octal(mode) = value {
            Some(FileMode(mode))
        } else {
            None
        }
    }
}

impl Setting for MemoryOrPercent {
    fn to_value(&self) -> Value {
        match *self {
            Self::Bytes(bytes) => Value::Memory(bytes),
            Self::Percent(percent) => Value::Percent(percent),
        }
    }
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Memory(bytes) => Some(Self::Bytes(bytes)),
            Value::Percent(percent) => Some(Self::Percent(percent)),
            _ => None,
        }
    }
}

impl Setting for Vec<u8> {
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(text) = value {
            Some(text)
        } else {
            None
        }
    }
}

impl Setting for String {
    fn to_value(&self) -> Value {
        Value::Text(self.clone().into_bytes())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(text) = value {
            String::from_utf8(text).ok()
        } else {
            None
        }
    }
}

impl Setting for PathBuf {
    fn to_value(&self) -> Value {
        Value::Text(self.as_os_str().as_bytes().to_vec())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Text(text) = value {
            Some(OsString::from_vec(text).into())
        } else {
            None
        }
    }
}

/// The empty text means none.
impl Setting for Option<PathBuf> {
    fn to_value(&self) -> Value {
        self.as_ref()
            .map_or(Value::Text(Vec::new()), PathBuf::to_value)
    }
    fn from_value(value: Value) -> Option<Self> {
        PathBuf::from_value(value)
            .map(|path| Some(path).filter(|path| !path.as_os_str().is_empty()))
    }
}

impl Setting for Vec<String> {
    fn to_value(&self) -> Value {
        Value::Words(self.clone())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Words(words) = value {
            Some(words)
        } else {
            None
        }
    }
}

impl Setting for Vec<SaveRule> {
    fn to_value(&self) -> Value {
        Value::Save(self.clone())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Save(rules) = value {
            Some(rules)
        } else {
            None
        }
    }
}

impl Setting for Vec<f64> {
    fn to_value(&self) -> Value {
        Value::Percentiles(self.clone())
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::Percentiles(numbers) = value {
            Some(numbers)
        } else {
            None
        }
    }
}

impl Setting for OutputLimits {
    fn to_value(&self) -> Value {
        Value::OutputLimits(*self)
    }
    fn from_value(value: Value) -> Option<Self> {
        if let Value::OutputLimits(limits) = value {
            Some(limits)
        } else {
            None
        }
    }
}

impl Setting for ShutdownFlags {
    fn to_value(&self) -> Value {
        let given = [self.save, self.nosave, self.now, self.force];
        Value::Flags(
            SHUTDOWN_WORDS[1..]
                .iter()
                .zip(given)
                .filter(|(_, given)| *given)
                .map(|(word, _)| *word)
                .collect(),
        )
    }
    fn from_value(value: Value) -> Option<Self> {
        let Value::Flags(words) = value else {
            return None;
        };
        let given = |word| words.contains(&word);
        Some(Self {
            save: given("save"),
            nosave: given("nosave"),
            now: given("now"),
            force: given("force"),
        })
    }
}

/// Declares an enum whose variants are words of the configuration language; the first one is its `Default`.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant),*
        }

        impl $name {
            /// The words, in the order in which error messages list them.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word for this choice.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }

        impl Setting for $name {
            fn to_value(&self) -> Value {
                Value::Choice(self.word())
            }
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $(Value::Choice($word) => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// Which log lines are written: those of this level and the levels after it.
    LogLevel {
        /// Everything.
        Debug = "debug",
        /// Much, but little of it per request.
        Verbose = "verbose",
        /// What an operator wants to see.
        #[default]
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
    }
}

choice! {
    /// When the log is made durable.
    FsyncPolicy {
        /// At least once a second, with a bound on what may be lost.
        #[default]
        EverySec = "everysec",
        /// Before a write is answered.
        Always = "always",
        /// When the operating system likes.
        No = "no",
    }
}

choice! {
    /// Which keys leave when `maxmemory` is reached.
    EvictionPolicy {
        /// The longest unused key that has an expiry.
        VolatileLru = "volatile-lru",
        /// The least often used key that has an expiry.
        VolatileLfu = "volatile-lfu",
        /// Any key that has an expiry.
        VolatileRandom = "volatile-random",
        /// The key that expires next.
        VolatileTtl = "volatile-ttl",
        /// The longest unused key.
        AllKeysLru = "allkeys-lru",
        /// The least often used key.
        AllKeysLfu = "allkeys-lfu",
        /// Any key.
        AllKeysRandom = "allkeys-random",
        /// None: writes that need memory are refused.
        #[default]
        NoEviction = "noeviction",
    }
}

choice! {
    /// Who may do something that is risky on a shared machine.
    Allowed {
        /// Nobody.
        #[default]
        No = "no",
        /// Every client.
        Yes = "yes",
        /// Clients connected over loopback or a Unix socket.
        Local = "local",
    }
}

impl Allowed {
    /// True if a client may; `local` says whether it is connected over loopback or a Unix socket.
    pub fn permits(self, local: bool) -> bool {
        self == Self::Yes || (self == Self::Local && local)
    }
}

choice! {
    /// Whose serialised values are checked in depth before use.
    SanitizePayload {
        /// Nobody's: the structure is checked, not every element.
        #[default]
        No = "no",
        /// Everybody's, also those of files and primaries.
        Yes = "yes",
        /// Those that clients send.
        Clients = "clients",
    }
}
