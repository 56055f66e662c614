//! The table's soundness, files, CONFIG GET, CONFIG SET and CONFIG REWRITE.

use std::fs;
use std::path::{Path, PathBuf};

use super::file::Inputs;
use super::rewrite::rewritten;
use super::*;

const ANYONE: SetContext = SetContext {
    local: false,
    loading: false,
    may_wait: true,
};

fn load_text(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.conf");
    fs::write(&file, text).unwrap();
    load_file(&file)
}

fn load_file(file: &Path) -> Result<Config, ConfigError> {
    Config::load(&Inputs {
        file: Some(file.to_owned()),
        ..Inputs::default()
    })
    .map(|loaded| loaded.config)
}

fn reason(text: &str) -> String {
    load_text(text).unwrap_err().reason
}

fn handle(text: &str) -> ConfigHandle {
    ConfigHandle::new(load_text(text).unwrap(), None)
}

fn set(handle: &ConfigHandle, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
    let pairs: Vec<(&[u8], &[u8])> = pairs
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    handle
        .set(&pairs, ANYONE, |_, _, _| Ok(()))
        .map_err(|error| error.to_string())
}

fn get(handle: &ConfigHandle, name: &str) -> String {
    let found = handle.get(&[name.as_bytes()]);
    assert_eq!(found.len(), 1, "{name}");
    String::from_utf8(found.into_iter().next().unwrap().1).unwrap()
}

/// Every default is a legal value, fits its field, and survives being shown and written.
#[test]
fn table_is_sound() {
    let mut names: Vec<&str> = TABLE.iter().flat_map(Directive::names).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands twice");
    let defaults = Config::default();
    for directive in TABLE {
        assert_eq!(directive.name, directive.name.to_ascii_lowercase());
        let default = directive.default_value();
        assert_eq!(directive.value(&defaults), default, "{}", directive.name);
        if let Backing::Field { set, .. } = directive.backing {
            assert!(set(&mut Config::default(), default), "{}", directive.name);
        }
    }
    assert_eq!(defaults.no_effect_notice(), None);
}

/// The built-in defaults that redis-server 7.0.15 shows, except where Hardtack's differ on purpose.
#[test]
fn defaults_are_those_of_redis_or_ours() {
    let handle = ConfigHandle::new(Config::default(), None);
    let redis = [
        ("save", "3600 1 300 100 60 10000"),
        (
            "client-output-buffer-limit",
            "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        ("latency-tracking-info-percentiles", "50 99 99.9"),
        ("shutdown-on-sigterm", "default"),
        ("unixsocketperm", "0"),
        ("auto-aof-rewrite-min-size", "67108864"),
        ("proto-max-bulk-len", "536870912"),
        ("oom-score-adj-values", "0 200 800"),
        ("slaveof", ""),
        ("list-max-ziplist-size", "-2"),
    ];
    let ours = [
        ("appendonly", "yes"),
        ("bind", "127.0.0.1 -::1"),
        ("max-unsynced-ms", "2000"),
        ("log-segment-bytes", "67108864"),
    ];
    for (name, value) in redis.into_iter().chain(ours) {
        assert_eq!(get(&handle, name), value, "{name}");
    }
}

#[test]
fn file_grammar() {
    let config = load_text(
        "# comment\n\n  PORT 7000\r\nlogfile ''\nrequirepass \"a b\\x21\"\nsave 900 1\nsave 300 10\nmaxmemory 1k\n\
         client-output-buffer-limit normal 1kb 1k 5\nclient-output-buffer-limit replica 2gb 1gb 7 pubsub 1 2 3\n\
         rename-command FLUSHALL \"\"\nrename-command CONFIG hidden\nmaxmemory-clients 5%\nunixsocketperm 700\nslave-read-only no\n",
    )
    .unwrap();
    assert_eq!(
        (config.port, config.logfile, config.maxmemory),
        (7000, None, 1000)
    );
    assert_eq!(config.requirepass, b"a b!");
    assert_eq!(
        config.save,
        [
            SaveRule {
                seconds: 900,
                changes: 1
            },
            SaveRule {
                seconds: 300,
                changes: 10
            }
        ]
    );
    assert_eq!(
        config.client_output_buffer_limit.normal,
        OutputLimit {
            hard_bytes: 1024,
            soft_bytes: 1000,
            soft_seconds: 5
        }
    );
    assert_eq!(
        config.client_output_buffer_limit.replica.hard_bytes,
        2 << 30
    );
    assert_eq!(
        config.renamed_commands,
        [
            ("FLUSHALL".into(), "".into()),
            ("CONFIG".into(), "hidden".into())
        ]
    );
    assert_eq!(
        (config.maxmemory_clients, config.unixsocketperm),
        (MemoryOrPercent::Percent(5), FileMode(0o700))
    );
}

#[test]
fn times_take_units() {
    for (text, seconds) in [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("12H", 43_200),
        ("7d", 604_800),
    ] {
        let config = load_text(&format!("log-retention-time {text}\n")).unwrap();
        assert_eq!(config.log_retention_time, seconds, "{text}");
    }
    for text in ["-1", "d", "1w", "1.5h", "99999999999d"] {
        assert!(
            load_text(&format!("log-retention-time {text}\n")).is_err(),
            "{text}"
        );
    }
}

/// Reasons as redis-server 7.0.15 gives them.
#[test]
fn refusals_give_redis_reasons() {
    let cases = [
        ("port", "wrong number of arguments"),
        ("port 1 2", "wrong number of arguments"),
        (
            "port 65536",
            "argument must be between 0 and 65535 inclusive",
        ),
        ("port 08", "argument couldn't be parsed into an integer"),
        ("rdbcompression maybe", "argument must be 'yes' or 'no'"),
        ("maxmemory 1tb", "argument must be a memory value"),
        ("maxmemory -1", "argument must be a memory value"),
        (
            "proto-max-bulk-len 1",
            "argument must be between 1048576 and 9223372036854775807 inclusive",
        ),
        (
            "maxmemory-clients 101%",
            "percentage argument must be less or equal to 100",
        ),
        (
            "maxmemory-clients x",
            "argument must be a memory or percent value",
        ),
        (
            "unixsocketperm 8",
            "argument couldn't be parsed as an octal number",
        ),
        (
            "unixsocketperm 1000",
            "argument must be between 0 and 777 inclusive",
        ),
        (
            "appendfsync sometimes",
            "argument(s) must be one of the following: everysec, always, no",
        ),
        (
            "shutdown-on-sigterm save nosave",
            "shutdown options SAVE and NOSAVE can't be used simultaneously",
        ),
        (
            "dbfilename a/b",
            "dbfilename can't be a path, just a filename",
        ),
        ("appenddirname ''", "appenddirname can't be empty"),
        ("dir /does/not/exist", "No such file or directory"),
        ("save 0 1", "Invalid save parameters"),
        ("save 1", "Invalid save parameters"),
        (
            "client-output-buffer-limit normal 1 2",
            "Wrong number of arguments in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit master 1 2 3",
            "Invalid client class specified in buffer limit configuration.",
        ),
        (
            "client-output-buffer-limit normal 1 x 3",
            "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
        ),
        (
            "notify-keyspace-events Q",
            "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.",
        ),
        (
            "latency-tracking-info-percentiles 101",
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]",
        ),
        ("oom-score-adj-values 1 2", "wrong number of arguments"),
        ("logfile \"a", "Unbalanced quotes in configuration line"),
        ("foo bar", "Bad directive or wrong number of arguments"),
        (
            "rename-command a",
            "Bad directive or wrong number of arguments",
        ),
    ];
    for (line, want) in cases {
        assert_eq!(reason(line), want, "{line}");
    }
}

#[test]
fn missing_features_are_refused_by_name() {
    for line in [
        "cluster-enabled yes",
        "tls-port 6380",
        "daemonize yes",
        "replicaof localhost 1",
        "syslog-enabled yes",
        "user a on",
    ] {
        assert!(
            reason(line).starts_with("not supported: "),
            "{line}: {}",
            reason(line)
        );
    }
    assert!(load_text("cluster-enabled no\ntls-port 0\ndaemonize no\nreplicaof no one\n").is_ok());
}

#[test]
fn rate_is_brought_within_bounds() {
    let handle = handle("hz 0");
    assert_eq!(get(&handle, "hz"), "1");
    set(&handle, &[("hz", "100000")]).unwrap();
    assert_eq!(handle.load().hz, 500);
}

#[test]
fn changed_directives_without_effect_are_named() {
    let handle = handle("activerehashing no\nlist-compress-depth 0\nhz 20\n");
    let notice = handle.load().no_effect_notice().unwrap();
    assert!(
        notice.contains("activerehashing (tables always grow in small steps)"),
        "{notice}"
    );
    assert!(
        !notice.contains("list-compress-depth") && !notice.contains("hz"),
        "{notice}"
    );
    assert_eq!(get(&handle, "activerehashing"), "no");
}

#[test]
fn error_names_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let (main, part) = (dir.path().join("main.conf"), dir.path().join("part.conf"));
    fs::write(&main, format!("port 1\ninclude {}\n", part.display())).unwrap();
    fs::write(&part, "# fine\n  timeout soon  \n").unwrap();
    let error = load_file(&main).unwrap_err();
    let want = Line {
        source: Source::File(part.clone()),
        number: 2,
        text: "timeout soon".into(),
    };
    assert_eq!(error.line, Some(want));
    let report = error.to_string();
    assert!(
        report.contains(&format!(
            "Reading the configuration file {}, at line 2\n>>> 'timeout soon'\n",
            part.display()
        )),
        "{report}"
    );
    fs::remove_file(&part).unwrap();
    let error = load_file(&main).unwrap_err();
    assert_eq!(error.line.unwrap().number, 2);
    assert!(
        error.reason.contains("can't open config file")
            && error.reason.ends_with("No such file or directory")
    );
}

#[test]
fn include_takes_patterns() {
    let dir = tempfile::tempdir().unwrap();
    let conf_d = dir.path().join("conf.d");
    fs::create_dir(&conf_d).unwrap();
    fs::write(conf_d.join("10-a.conf"), "port 1\nhz 1").unwrap();
    fs::write(conf_d.join("20-b.conf"), "port 2").unwrap();
    fs::write(conf_d.join("30-c.txt"), "port 3").unwrap();
    let main = dir.path().join("main.conf");
    fs::write(
        &main,
        format!(
            "include {0}/con?.d/[0-9]*.conf\ninclude {0}/none/*.conf\ntimeout 5\n",
            dir.path().display()
        ),
    )
    .unwrap();
    let config = load_file(&main).unwrap();
    assert_eq!((config.port, config.hz, config.timeout), (2, 1, 5));
}

#[test]
fn files_that_include_themselves_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main.conf");
    fs::write(&main, format!("include {}", main.display())).unwrap();
    assert_eq!(
        load_file(&main).unwrap_err().reason,
        "Files include each other too deeply"
    );
}

#[test]
fn dir_is_absolute_and_only_the_default_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    fs::create_dir(real.join("sub")).unwrap();
    let config = load_text(&format!(
        "dir {}\ndir sub\nlogfile x.log\n",
        dir.path().display()
    ))
    .unwrap();
    assert_eq!(config.dir, real.join("sub"));
    assert_eq!(
        config.resolve(config.logfile.as_ref().unwrap()),
        real.join("sub/x.log")
    );
    let loaded = Config::load(&Inputs::default()).unwrap();
    assert!(
        loaded.dir_is_default
            && loaded.config.dir.is_absolute()
            && loaded.config.dir.ends_with("data")
    );
}

#[test]
fn get_finds_names_and_aliases_once() {
    let handle = ConfigHandle::new(Config::default(), None);
    let found = handle.get(&[b"maxmemory", b"maxmemory*", b"bind", b"*of", b"PORT"]);
    let names: Vec<String> = found
        .iter()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    for name in [
        "maxmemory",
        "maxmemory-samples",
        "maxmemory-clients",
        "bind",
        "slaveof",
        "replicaof",
        "PORT",
    ] {
        assert_eq!(
            names.iter().filter(|found| *found == name).count(),
            1,
            "{name}"
        );
    }
    assert!(
        !handle
            .get(&[b"*"])
            .iter()
            .any(|(name, _)| name == b"key-load-delay")
    );
    assert_eq!(handle.get(&[b"key-load-delay"]).len(), 1);
    assert!(handle.get(&[b"nonsense"]).is_empty());
}

#[test]
fn set_changes_everything_or_nothing() {
    let handle = handle("maxmemory 10000002");
    let error = set(
        &handle,
        &[
            ("maxmemory", "10000001"),
            ("maxmemory-clients", "200%"),
            ("client-query-buffer-limit", "invalid"),
        ],
    );
    let want = "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - percentage argument must be less or equal to 100";
    assert_eq!(error, Err(want.into()));
    assert_eq!(handle.load().maxmemory, 10000002);
    assert_eq!(
        set(
            &handle,
            &[("maxmemory", "10000001"), ("save", "3000 5"), ("hz", "10")]
        ),
        Ok(vec!["maxmemory", "save"])
    );
    assert_eq!(
        handle.load().save,
        [SaveRule {
            seconds: 3000,
            changes: 5
        }]
    );
    assert_eq!(set(&handle, &[("save", "")]), Ok(vec!["save"]));
    assert_eq!(get(&handle, "save"), "");
}

#[test]
fn set_refusals_are_worded_like_redis() {
    let handle = handle("");
    let failed = |name: &str, why: &str| {
        Err(format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
        ))
    };
    let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'asdf1'";
    assert_eq!(
        set(&handle, &[("asdf1", "x"), ("daemonize", "no")]),
        Err(unknown.into())
    );
    assert_eq!(
        set(&handle, &[("daemonize", "no")]),
        failed("daemonize", "can't set immutable config")
    );
    assert_eq!(
        set(&handle, &[("dir", "/tmp")]),
        failed("dir", "can't set protected config")
    );
    assert_eq!(
        set(&handle, &[("maxmemory", "1"), ("MAXMEMORY", "2")]),
        failed("MAXMEMORY", "duplicate parameter")
    );
    let both = [
        ("hash-max-listpack-entries", "1"),
        ("hash-max-ziplist-entries", "2"),
    ];
    assert!(set(&handle, &both).is_ok());
    assert_eq!(handle.load().hash_max_listpack_entries, 2);
    assert_eq!(
        set(&handle, &[("maxmemory", "x")]),
        failed("maxmemory", "argument must be a memory value")
    );
    let loading = SetContext {
        loading: true,
        ..ANYONE
    };
    assert_eq!(
        handle.set(&[(b"appendonly", b"no")], loading, |_, _, _| Ok(())),
        Err(ConfigSetError::Loading)
    );
}

/// A transaction holds slots, and the change that it would wait for may need them all.
#[test]
fn who_cannot_wait_for_another_change_is_refused() {
    let handle = handle("");
    let at_once = SetContext {
        may_wait: false,
        ..ANYONE
    };
    let pair: &[(&[u8], &[u8])] = &[(b"maxmemory", b"1")];
    let set = handle.set(pair, ANYONE, |_, _, _| {
        let other = handle.set(pair, at_once, |_, _, _| Ok(()));
        assert_eq!(other, Err(ConfigSetError::Busy));
        assert!(matches!(
            handle.rewrite(false, false),
            Err(rewrite::RewriteError::Busy)
        ));
        Ok(())
    });
    assert_eq!(set, Ok(vec!["maxmemory"]));
    assert_eq!(handle.set(pair, at_once, |_, _, _| Ok(())), Ok(vec![]));
}

#[test]
fn protected_directives_need_permission() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().as_bytes();
    let handle = handle("enable-protected-configs local");
    let local = SetContext {
        local: true,
        ..ANYONE
    };
    assert!(
        handle
            .set(&[(b"dir", path)], ANYONE, |_, _, _| Ok(()))
            .is_err()
    );
    assert_eq!(
        handle.set(&[(b"dir", path)], local, |_, _, _| Ok(())),
        Ok(vec!["dir"])
    );
}

#[test]
fn failed_application_keeps_the_old_settings() {
    let handle = handle("port 7000");
    let result = handle.set(
        &[(b"maxmemory", b"5"), (b"port", b"7001")],
        ANYONE,
        |old, new, changed| {
            assert_eq!(
                (old.port, new.port, changed),
                (7000, 7001, &["maxmemory", "port"][..])
            );
            Err(ApplyError {
                name: "port",
                reason: "Unable to listen on this port. Check server logs.".into(),
            })
        },
    );
    let want = "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs.";
    assert_eq!(result.unwrap_err().to_string(), want);
    assert_eq!((handle.load().maxmemory, handle.load().port), (0, 7000));
}

/// What u/introspection's "CONFIG sanity" does: every value can be set to what CONFIG GET shows.
#[test]
fn shown_values_can_be_set_back() {
    let handle = handle(
        "enable-protected-configs yes\nnotify-keyspace-events KEA\nrepl-diskless-sync-delay 0\nclient-output-buffer-limit slave 1 2 3\n",
    );
    let before = handle.get(&[b"*"]);
    for (name, value) in &before {
        let directive = Directive::find(name).unwrap();
        if directive.change != table::Change::AtStart && directive.name != "dir" {
            let result = handle.set(&[(name, value)], ANYONE, |_, _, _| Ok(()));
            assert_eq!(result, Ok(vec![]), "{}", directive.name);
        }
    }
    assert_eq!(handle.get(&[b"*"]), before);
}

#[test]
fn rewrite_keeps_structure_and_updates_values() {
    let old = "# my server\nport 7000\n\nsave 900 1\n# between\nsave 300 10\nslave-read-only yes\nrename-command FLUSHALL \"\"\n\
               hash-max-ziplist-entries 20\nhash-max-listpack-entries 21\nold-thing 5\nmaxmemory 100";
    let mut config = load_text(&old.replace("old-thing 5\n", "")).unwrap();
    config.dir = PathBuf::from("/data dir");
    config.maxmemory = 3 << 20;
    config.save = vec![SaveRule {
        seconds: 60,
        changes: 1,
    }];
    config.requirepass = b"a\"b".to_vec();
    let new = String::from_utf8(rewritten(old.as_bytes(), &config, false)).unwrap();
    let want = "# my server\nport 7000\n\nsave 60 1\n# between\nreplica-read-only yes\nrename-command FLUSHALL \"\"\n\
                hash-max-listpack-entries 21\n# ??? old-thing 5\nmaxmemory 3mb\n# Generated by CONFIG REWRITE\n\
                requirepass \"a\\\"b\"\ndir \"/data dir\"\n";
    assert_eq!(new, want);
    assert_eq!(
        String::from_utf8(rewritten(new.as_bytes(), &config, false)).unwrap(),
        want,
        "a second time changes nothing"
    );
}

#[test]
fn rewrite_restores_several_lines_of_a_default() {
    let new = rewritten(b"save 900 1\n", &Config::default(), false);
    let new = String::from_utf8(new).unwrap();
    assert!(
        new.starts_with("save 3600 1\n") && new.contains("\nsave 300 100\nsave 60 10000\n"),
        "{new}"
    );
}

#[test]
fn rewritten_file_loads_to_the_same_settings() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("my.conf");
    fs::write(
        &file,
        format!(
            "dir {}\nport 7000\nbind 127.0.0.1\nlogfile 'x y'\n",
            dir.path().display()
        ),
    )
    .unwrap();
    let handle = ConfigHandle::new(load_file(&file).unwrap(), Some(file.clone()));
    let pairs = [
        ("save", ""),
        ("bind", ""),
        ("shutdown-on-sigterm", "nosave now"),
        ("maxmemory-clients", "7%"),
        ("requirepass", "\u{1}ü\""),
        ("client-output-buffer-limit", "pubsub 1 2 3"),
        ("latency-tracking-info-percentiles", ""),
        ("activerehashing", "no"),
    ];
    set(&handle, &pairs).unwrap();
    for write_defaults in [false, true] {
        handle.rewrite(write_defaults, true).unwrap();
        assert_eq!(&load_file(&file).unwrap(), &**handle.load());
    }
    assert_eq!(
        ConfigHandle::new(Config::default(), None)
            .rewrite(false, true)
            .unwrap_err()
            .reply(),
        "ERR The server is running without a config file"
    );
}

/// Foreign bytes in a file end in an error or in settings, never in a panic.
#[test]
fn damaged_files_do_not_panic() {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..2000 {
        let mut line: Vec<u8> = match rng.random_range(0..3) {
            0 => Vec::new(),
            _ => TABLE[rng.random_range(0..TABLE.len())]
                .name
                .as_bytes()
                .to_vec(),
        };
        for _ in 0..rng.random_range(0..6) {
            line.push(b' ');
            line.extend(
                (0..rng.random_range(0..6))
                    .map(|_| b"09-kb%\"'\\x \xff\0./*yesno"[rng.random_range(0..21)]),
            );
        }
        let config = Config::load(&Inputs {
            options: vec![line.clone()],
            ..Inputs::default()
        });
        if let Ok(loaded) = config {
            rewritten(&line, &loaded.config, true);
        }
    }
}
