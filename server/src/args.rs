//! The command line: `hardtack [file] [--directive value ...] [-]`, read as redis-server 7.0 reads its own; or
//! `hardtack TOOL ...`, if the first argument is the name of a tool (`crate::tools`). A configuration file of
//! such a name is reached by another path to it, `./rdb`.
//!
//! If the first argument does not begin with `-` it is the configuration file. Then every `--name` starts an option
//! and what follows belongs to it; conceptually each option is one more line at the end of the file. Name and
//! value may come in one argument (`"--maxmemory 700mb"`). The argument after a bare `--name` is always its value,
//! even if it begins with `--`; only `--save` may go without one, which means no automatic snapshots. A single `-`
//! in first or last place reads standard input.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::config::file::Inputs;
use crate::tools;
use crate::util::quote;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Run the server.
    Serve(ServeArgs),
    /// Print [`version_text`] and exit.
    Version,
    /// Print [`help_text`] and exit.
    Help,
    /// Run a tool, with its name and arguments.
    Tool(Vec<OsString>),
}

/// How to run the server.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServeArgs {
    /// Where the configuration comes from.
    pub inputs: Inputs,
    /// `--recover=prefix`: start from a damaged log with what stands before the damage.
    pub recover_prefix: bool,
}

const HELP: &str = "\
Usage: hardtack [FILE] [--DIRECTIVE VALUE ...] [-]
       hardtack TOOL ...
       hardtack --version | -v
       hardtack --help | -h

FILE is a configuration file in the format of redis.conf. Every directive of it may also be given as an option;
options win over the file. A single - reads further directives from standard input.

  --recover=prefix   start although the log is damaged, with what it holds before the damage

Exit codes: 0 after a shutdown; 1 if the server cannot start (configuration, address, a directory in use, a disk
that fails); 3 if the data is damaged, so that every start would fail until somebody has decided what to do.

Examples:
  hardtack                                      listens on 127.0.0.1:6379, keeps its data in ./data
  hardtack /etc/hardtack.conf --port 6380
  hardtack --dir /var/lib/hardtack --appendfsync always
  echo 'maxmemory 2gb' | hardtack -

Tools (`hardtack TOOL --help` says more; a FILE of such a name is reached as ./TOOL):
";

/// What `--help` prints.
pub fn help_text() -> String {
    format!("{HELP}{}", tools::list())
}

/// What `--version` prints.
pub fn version_text() -> String {
    format!(
        "Hardtack server v={} compatible=redis-7.0 bits={}",
        env!("CARGO_PKG_VERSION"),
        usize::BITS
    )
}

/// Reads the arguments after the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Invocation {
    let mut serve = ServeArgs::default();
    let args: Vec<OsString> = args.into_iter().collect();
    if args.first().is_some_and(|first| tools::is_tool(first)) {
        return Invocation::Tool(args);
    }
    let mut args: Vec<Vec<u8>> = args.into_iter().map(OsStringExt::into_vec).collect();
    match args.first().map(Vec::as_slice) {
        Some(b"-v" | b"--version") => return Invocation::Version,
        Some(b"-h" | b"--help") => return Invocation::Help,
        _ => {}
    }
    args.retain(|arg| {
        let recover = arg == b"--recover=prefix";
        serve.recover_prefix |= recover;
        !recover
    });
    if args
        .first()
        .is_some_and(|first| !first.starts_with(b"-") && !first.is_empty())
    {
        let file = PathBuf::from(OsString::from_vec(args.remove(0)));
        // CONFIG REWRITE must find it whatever becomes of the working directory.
        serve.inputs.file = Some(std::path::absolute(&file).unwrap_or(file));
    } else if args.first().is_some_and(|first| first == b"-") {
        serve.inputs.stdin = true;
        args.remove(0);
    }
    if args.last().is_some_and(|last| last == b"-") {
        serve.inputs.stdin = true;
        args.pop();
    }
    serve.inputs.options = option_lines(&args);
    Invocation::Serve(serve)
}

/// Makes one line of configuration of each option.
fn option_lines(args: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut value_expected = false;
    for (index, arg) in args.iter().enumerate() {
        let Some(option) = arg.strip_prefix(b"--").filter(|_| !value_expected) else {
            if lines.is_empty() {
                lines.push(Vec::new());
            }
            if let Some(line) = lines.last_mut() {
                quote::push_quoted(line, arg);
                line.push(b' ');
            }
            value_expected = false;
            continue;
        };
        let mut line = [option, b" "].concat();
        // `--name` alone wants a value; `"--name value"` has one.
        value_expected = quote::split(arg).is_some_and(|words| words.len() == 1);
        if arg.eq_ignore_ascii_case(b"--save")
            && args
                .get(index + 1)
                .is_none_or(|next| next.starts_with(b"--"))
        {
            line.extend(b"\"\"");
            value_expected = false;
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, ShutdownFlags};

    fn serve(args: &[&str]) -> ServeArgs {
        match parse(args.iter().map(OsString::from)) {
            Invocation::Serve(serve) => serve,
            other => panic!("{other:?}"),
        }
    }

    fn load(args: &[&str]) -> Result<Config, ConfigError> {
        Config::load(&serve(args).inputs).map(|loaded| loaded.config)
    }

    /// Checks the report for the offending line and the reason.
    fn assert_refused(args: &[&str], line: &str, reason: &str) {
        let report = load(args).unwrap_err().to_string();
        assert!(report.contains("FATAL CONFIG FILE ERROR"), "{report}");
        assert!(
            report.contains(&format!(">>> '{line}'")) && report.contains(reason),
            "{args:?}: {report}"
        );
    }

    #[test]
    fn version_and_help_only_in_first_place() {
        assert_eq!(parse(["-v".into()]), Invocation::Version);
        assert_eq!(parse(["--help".into()]), Invocation::Help);
        assert_refused(
            &["--port", "0", "--version"],
            "version",
            "Bad directive or wrong number of arguments",
        );
    }

    #[test]
    fn tools_only_in_first_place() {
        let words = ["rdb", "dump", "a file"].map(OsString::from);
        assert_eq!(parse(words.clone()), Invocation::Tool(words.into()));
        assert!(
            serve(&["./rdb"])
                .inputs
                .file
                .is_some_and(|file| file.ends_with("rdb"))
        );
        assert_eq!(serve(&["--dir", "rdb"]).inputs.options.len(), 1);
    }

    #[test]
    fn options_in_all_their_forms() {
        let config = load(&[
            "--port",
            "6380",
            "--port",
            "6381",
            "--maxmemory 700mb",
            "--maxmemory-policy 'volatile-lru'",
        ])
        .unwrap();
        assert_eq!(
            (
                config.port,
                config.maxmemory,
                config.maxmemory_policy.word()
            ),
            (6381, 700 << 20, "volatile-lru")
        );
        let config = load(&[
            "--shutdown-on-sigint",
            "nosave",
            "force",
            "now",
            "--shutdown-on-sigterm",
            "nosave force",
        ])
        .unwrap();
        assert_eq!(
            config.shutdown_on_sigint,
            ShutdownFlags {
                nosave: true,
                force: true,
                now: true,
                save: false
            }
        );
        assert_eq!(
            config.shutdown_on_sigterm,
            ShutdownFlags {
                nosave: true,
                force: true,
                now: false,
                save: false
            }
        );
        let config = load(&["--logfile", "--my--log--file", "--loglevel", "verbose"]).unwrap();
        assert_eq!(
            (config.logfile, config.loglevel.word()),
            (Some("--my--log--file".into()), "verbose")
        );
    }

    #[test]
    fn save_may_go_without_a_value() {
        for args in [
            &["--save", "--loglevel", "verbose"][..],
            &["--loglevel", "verbose", "--save"],
            &["--save", "", "--loglevel", "verbose"],
            &["--loglevel", "verbose", "--save", ""],
            &[
                "--proc-title-template",
                "--save",
                "--save",
                "",
                "--loglevel",
                "verbose",
            ],
        ] {
            let config = load(args).unwrap();
            assert_eq!(
                (config.save.len(), config.loglevel.word()),
                (0, "verbose"),
                "{args:?}"
            );
        }
        assert_eq!(
            load(&["--save", "100", "100", "--save", "5 1"])
                .unwrap()
                .save
                .len(),
            2
        );
        assert_eq!(
            load(&["--save", "100", "100", "--save", "", "--save", "5", "1"])
                .unwrap()
                .save
                .len(),
            1
        );
    }

    #[test]
    fn first_argument_is_the_file_and_bare_words_may_follow() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("my.conf");
        std::fs::write(&file, "port 7000\nloglevel debug\n").unwrap();
        let file = file.to_str().unwrap();
        let config = load(&[file, "loglevel", "verbose", "--maxmemory '700mb'"]).unwrap();
        assert_eq!(
            (config.port, config.loglevel.word(), config.maxmemory),
            (7000, "verbose", 700 << 20)
        );
        assert_eq!(serve(&[file]).inputs.file, Some(file.into()));
    }

    #[test]
    fn stdin_is_read_for_a_dash_at_either_end() {
        for args in [&["-"][..], &["-", "--port", "1"], &["--port", "1", "-"]] {
            assert!(serve(args).inputs.stdin, "{args:?}");
        }
        assert!(!serve(&["--port", "-", "1"]).inputs.stdin);
    }

    #[test]
    fn recovery_is_asked_for_by_a_flag() {
        let serve = serve(&["--port", "1", "--recover=prefix"]);
        assert!(serve.recover_prefix);
        assert_eq!(serve.inputs.options, vec![b"port \"1\" ".to_vec()]);
    }

    /// The offending lines and reasons are those that redis-server 7.0.15 prints.
    #[test]
    fn mistakes_are_reported_like_redis_does() {
        let count = "wrong number of arguments";
        assert_refused(&["--port"], "port", count);
        assert_refused(&["--port", "6380", "--loglevel"], "loglevel", count);
        assert_refused(&["--port", "6379", "6380"], r#"port "6379" "6380""#, count);
        assert_refused(
            &["--port", "--loglevel", "verbose"],
            r#"port "--loglevel" "verbose""#,
            count,
        );
        assert_refused(
            &["--port", "--bla", "--loglevel", "verbose"],
            r#"port "--bla""#,
            "argument couldn't be parsed into an integer",
        );
        let words = "argument(s) must be one of the following: debug, verbose, notice, warning";
        assert_refused(
            &["--logfile", "--my--log--file", "--loglevel", "--bla"],
            r#"loglevel "--bla""#,
            words,
        );
        let words = "argument(s) must be one of the following: default, save, nosave, now, force";
        assert_refused(&["--shutdown-on-sigint"], "shutdown-on-sigint", words);
        assert_refused(
            &["--shutdown-on-sigint", "now force", "--shutdown-on-sigterm"],
            "shutdown-on-sigterm",
            words,
        );
        assert_refused(
            &["--replicaof", "127.0.0.1", "abc"],
            r#"replicaof "127.0.0.1" "abc""#,
            "Invalid master port",
        );
        assert_refused(
            &["--replicaof", "--127.0.0.1", "abc"],
            r#"replicaof "--127.0.0.1" "abc""#,
            "Invalid master port",
        );
        assert_refused(
            &["--replicaof", "--127.0.0.1", "--abc"],
            r#"replicaof "--127.0.0.1""#,
            count,
        );
    }
}
