//! Reading a configuration: the lines of a file, of standard input and of the command line, in this order.
//!
//! One directive per line, split by the quoting rules of [`crate::util::quote`]; lines that begin with `#` are
//! comments. The last line for a directive counts, except that `save` lines add up (the first one replaces the
//! defaults, `save ""` removes what stands before it) and each `client-output-buffer-limit` changes its class.
//! `include` reads other files in its place; with `*`, `?` or `[` it is a pattern, which may match no file.
//! Relative paths of `include` and `dir` are relative to the latest `dir`, or else to the working directory.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hardtack_storage::text::glob;

use super::table::Directive;
use super::value::os_error_text;
use super::{Config, table};
use crate::util::quote;

/// How deep files may include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Where a line comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration file.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// Options of the command line; each is one line.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the configuration file {}", path.display()),
            Self::Stdin => f.write_str("the configuration from standard input"),
            Self::CommandLine => f.write_str("the command line"),
        }
    }
}

/// The place of a mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// File, standard input or command line.
    pub source: Source,
    /// Counted from 1.
    pub number: usize,
    /// The line without surrounding blanks.
    pub text: String,
}

/// Why a configuration cannot be used. Shown in the shape that Redis uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The line to look at, unless a file could not be read at all.
    pub line: Option<Line>,
    /// What is wrong with it or what was expected.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n*** FATAL CONFIG FILE ERROR (Hardtack {}) ***",
            env!("CARGO_PKG_VERSION")
        )?;
        if let Some(line) = &self.line {
            let unit = if line.source == Source::CommandLine {
                "option"
            } else {
                "line"
            };
            writeln!(f, "Reading {}, at {unit} {}", line.source, line.number)?;
            writeln!(f, ">>> '{}'", line.text)?;
        }
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// Where the settings come from, in order of increasing precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Read standard input as if it stood at the end of the file.
    pub stdin: bool,
    /// Lines made from the command line.
    pub options: Vec<Vec<u8>>,
}

/// A configuration that has been read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// True if no `dir` was given: the default directory should be created if missing. A directory that was asked
    /// for must exist, so that a disk that is not mounted is not mistaken for an empty data set.
    pub dir_is_default: bool,
}

impl Config {
    /// Reads a whole configuration.
    ///
    /// # Errors
    /// [`ConfigError`] for the first line that is not acceptable.
    pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
        let working_dir = std::env::current_dir().map_err(|error| ConfigError {
            line: None,
            reason: format!(
                "Can't find the working directory: {}",
                os_error_text(&error)
            ),
        })?;
        let mut loader = Loader {
            config: Config::default(),
            base_dir: working_dir.clone(),
            dir_given: false,
            save_given: false,
        };
        if let Some(path) = &inputs.file {
            loader.read_file(path, None, 0)?;
        }
        if inputs.stdin {
            let mut text = Vec::new();
            std::io::stdin()
                .read_to_end(&mut text)
                .map_err(|error| ConfigError {
                    line: None,
                    reason: format!(
                        "Can't read the configuration from standard input: {}",
                        os_error_text(&error)
                    ),
                })?;
            loader.read_lines(text.split(|&byte| byte == b'\n'), &Source::Stdin, 0)?;
        }
        loader.read_lines(
            inputs.options.iter().map(Vec::as_slice),
            &Source::CommandLine,
            0,
        )?;
        let dir_is_default = !loader.dir_given;
        if dir_is_default {
            loader.config.dir = working_dir.join(
                Path::new(table::DEFAULT_DIR)
                    .strip_prefix("./")
                    .unwrap_or(Path::new("")),
            );
        }
        Ok(Loaded {
            config: loader.config,
            dir_is_default,
        })
    }
}

struct Loader {
    config: Config,
    /// What relative paths are relative to.
    base_dir: PathBuf,
    dir_given: bool,
    save_given: bool,
}

impl Loader {
    /// Reads a file that `including` names, or the main file.
    fn read_file(
        &mut self,
        path: &Path,
        including: Option<&Line>,
        depth: usize,
    ) -> Result<(), ConfigError> {
        let text = fs::read(self.base_dir.join(path)).map_err(|error| ConfigError {
            line: including.cloned(),
            reason: format!(
                "Fatal error, can't open config file '{}': {}",
                path.display(),
                os_error_text(&error)
            ),
        })?;
        self.read_lines(
            text.split(|&byte| byte == b'\n'),
            &Source::File(path.to_owned()),
            depth,
        )
    }

    fn read_lines<'a>(
        &mut self,
        lines: impl Iterator<Item = &'a [u8]>,
        source: &Source,
        depth: usize,
    ) -> Result<(), ConfigError> {
        for (index, line) in lines.enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            let place = || Line {
                source: source.clone(),
                number: index + 1,
                text: String::from_utf8_lossy(line).into_owned(),
            };
            let fail = |reason: String| ConfigError {
                line: Some(place()),
                reason,
            };
            let Some(mut args) = quote::split(line) else {
                return Err(fail("Unbalanced quotes in configuration line".into()));
            };
            if args.is_empty() {
                continue;
            }
            let name = args.remove(0).to_ascii_lowercase();
            if name == b"include" && args.len() == 1 {
                if depth == INCLUDE_DEPTH_MAX {
                    return Err(fail("Files include each other too deeply".into()));
                }
                self.include(&args[0], &place(), depth + 1)?;
            } else {
                self.directive(&name, args).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn directive(&mut self, name: &[u8], mut args: Vec<Vec<u8>>) -> Result<(), String> {
        let Some(directive) = Directive::find(name) else {
            return self.file_only_directive(name, &args);
        };
        // Several arguments may come in one, as in `--save "900 1"`.
        if directive.kind.takes_many()
            && let [only] = args.as_slice()
            && !only.is_empty()
        {
            args = quote::split(only).ok_or("Unbalanced quotes in configuration line")?;
        }
        let add = directive.name == "save" && self.save_given;
        self.config.assign(directive, &args, add, &self.base_dir)?;
        match directive.name {
            "save" => self.save_given = true,
            "dir" => {
                self.dir_given = true;
                self.base_dir.clone_from(&self.config.dir);
            }
            _ => {}
        }
        Ok(())
    }

    /// Directives that CONFIG GET and CONFIG SET do not know.
    fn file_only_directive(&mut self, name: &[u8], args: &[Vec<u8>]) -> Result<(), String> {
        match (name, args) {
            (b"rename-command", [from, to]) => {
                let text = |arg: &[u8]| {
                    String::from_utf8(arg.to_vec())
                        .map_err(|_| "argument must be text in UTF-8".to_owned())
                };
                self.config.renamed_commands.push((text(from)?, text(to)?));
                Ok(())
            }
            (b"user", [_, ..]) => {
                Err("not supported: there are no access control lists yet".into())
            }
            (b"loadmodule", [_, ..]) => Err("not supported: there are no modules".into()),
            (b"sentinel", _) => Err("not supported: there is no sentinel mode yet".into()),
            _ => Err("Bad directive or wrong number of arguments".into()),
        }
    }

    fn include(&mut self, pattern: &[u8], line: &Line, depth: usize) -> Result<(), ConfigError> {
        if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
            return self.read_file(Path::new(OsStr::from_bytes(pattern)), Some(line), depth);
        }
        let base = if pattern[0] == b'/' {
            PathBuf::from("/")
        } else {
            PathBuf::new()
        };
        let mut matches = vec![base];
        for part in pattern
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
        {
            matches = matches
                .iter()
                .flat_map(|parent| self.children_matching(parent, part))
                .collect();
        }
        for path in matches {
            self.read_file(&path, Some(line), depth)?;
        }
        Ok(())
    }

    /// The entries of `parent` that match one part of a pattern, sorted by name. Unreadable directories have none.
    fn children_matching(&self, parent: &Path, part: &[u8]) -> Vec<PathBuf> {
        if !part.iter().any(|byte| b"*?[\\".contains(byte)) {
            let path = parent.join(OsStr::from_bytes(part));
            return if self.base_dir.join(&path).exists() {
                vec![path]
            } else {
                Vec::new()
            };
        }
        let Ok(entries) = fs::read_dir(self.base_dir.join(parent)) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        names.retain(|name| {
            let hidden = name.as_bytes().starts_with(b".") && part[0] != b'.';
            !hidden && glob::matches(part, name.as_bytes(), false)
        });
        names.sort();
        names.into_iter().map(|name| parent.join(name)).collect()
    }
}
