//! Differential tests: the same inputs given to a redis-server 7.0, if one is installed, and to this module.
//!
//! One Lua script per subject does many inputs in one round trip. Without a server of that version the tests print
//! why and pass.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::long_double::LongDouble;
use super::{crc16, double, glob};

struct Redis {
    child: Child,
    stream: BufReader<TcpStream>,
    _dir: tempfile::TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
enum Reply {
    Text(Vec<u8>),
    Error(#[expect(dead_code, reason = "shown when a test fails")] String),
    List(Vec<Reply>),
}

impl Redis {
    /// Starts a server on a free port and waits until it answers; `None` without one of that version.
    fn start() -> Option<Redis> {
        let skip = |why: &str| println!("skipped: {why}");
        let version = Command::new("redis-server").arg("--version").output();
        match version {
            Ok(out) if String::from_utf8_lossy(&out.stdout).contains("v=7.0.") => {}
            Ok(_) => return skip_none(skip, "redis-server is not version 7.0"),
            Err(_) => return skip_none(skip, "redis-server is not installed"),
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
            ])
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server starts");
        let mut redis = Starting(Some(child));
        // The log says when the port is open; reading it needs no clock.
        let log = redis.0.as_mut()?.stdout.take()?;
        let ready = BufReader::new(log)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("Ready to accept"));
        assert!(ready, "redis-server did not start");
        let stream =
            BufReader::new(TcpStream::connect(("127.0.0.1", port)).expect("redis-server listens"));
        Some(Redis {
            child: redis.0.take()?,
            stream,
            _dir: dir,
        })
    }

    fn call(&mut self, args: &[&[u8]]) -> Reply {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream
            .get_mut()
            .write_all(&request)
            .expect("server is alive");
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("server is alive");
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "$" if rest == "-1" => Reply::Text(Vec::new()),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().expect("length") + 2];
                self.stream.read_exact(&mut text).expect("server is alive");
                text.truncate(text.len() - 2);
                Reply::Text(text)
            }
            "*" => Reply::List(
                (0..rest.parse().expect("count"))
                    .map(|_| self.reply())
                    .collect(),
            ),
            "-" => Reply::Error(rest.to_string()),
            _ => Reply::Text(rest.as_bytes().to_vec()),
        }
    }

    /// Runs a script that answers with one text per argument.
    fn map(&mut self, script: &str, args: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut call: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), b"0"];
        call.extend(args.iter().map(Vec::as_slice));
        match self.call(&call) {
            Reply::List(replies) => replies
                .into_iter()
                .map(|reply| match reply {
                    Reply::Text(text) => text,
                    other => panic!("unexpected {other:?}"),
                })
                .collect(),
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// Kills a server that did not come up.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn skip_none<T>(skip: impl Fn(&str), why: &str) -> Option<T> {
    skip(why);
    None
}

/// Texts that look like numbers more or less.
fn number_like(rng: &mut StdRng) -> Vec<u8> {
    let mut text = match rng.random_range(0..6) {
        0 => format!("{:e}", f64::from_bits(rng.random())),
        1 => format!("{}", rng.random_range(-1e6..1e6)),
        2 => format!("{}", rng.random::<i64>() >> rng.random_range(0..64)),
        3 => format!(
            "{:.*}",
            rng.random_range(0..20),
            rng.random_range(-1e3..1e3)
        ),
        4 => format!(
            "0x{:x}.{:x}p{}",
            rng.random::<u32>(),
            rng.random::<u64>(),
            rng.random_range(-1200..1100)
        ),
        _ => [
            "inf", "-inf", "nan", "1e400", "1e-400", "0x", "Infinity", ".", "-0", "1e",
        ][rng.random_range(0..10)]
        .into(),
    }
    .into_bytes();
    if rng.random_bool(0.2) && !text.is_empty() {
        let at = rng.random_range(0..text.len());
        text[at] = b"0159.eE+-xXp aif"[rng.random_range(0..16)];
    }
    text
}

#[test]
fn scores_are_read_and_written_as_redis_does() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let mut rng = StdRng::seed_from_u64(70);
    // A long second member makes the large form, which keeps scores as they are.
    let script = "local out = {} redis.call('ZADD', 'z', 1, string.rep('x', 100)) for i, text in ipairs(ARGV) do \
                  local r = redis.pcall('ZADD', 'z', text, 'm') if type(r) == 'table' and r.err then out[i] = 'bad' \
                  else out[i] = redis.call('ZSCORE', 'z', 'm') redis.call('ZREM', 'z', 'm') end end return out";
    for _ in 0..20 {
        let mut texts: Vec<Vec<u8>> = (0..700).map(|_| number_like(&mut rng)).collect();
        // Numbers with many trailing binary digits: ties at the 17th decimal.
        texts.extend((0..300).map(|_| {
            let value = f64::from(rng.random::<u32>()) + f64::from(rng.random::<u16>()) / 65536.0;
            format!("{value}").into_bytes()
        }));
        for (text, theirs) in texts.iter().zip(redis.map(script, &texts)) {
            let ours = double::parse(text).map_or(b"bad".to_vec(), double::to_vec);
            let show = String::from_utf8_lossy;
            assert_eq!(show(&ours), show(&theirs), "{:?}", show(text));
        }
    }
}

#[test]
fn long_doubles_add_as_redis_does() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let mut rng = StdRng::seed_from_u64(71);
    let script = "local out = {} for i = 1, #ARGV, 2 do redis.call('SET', 'k', ARGV[i]) \
                  local r = redis.pcall('INCRBYFLOAT', 'k', ARGV[i + 1]) \
                  if type(r) == 'table' then out[#out + 1] = 'bad' else out[#out + 1] = r end end return out";
    for _ in 0..10 {
        let texts: Vec<Vec<u8>> = (0..1000).map(|_| number_like(&mut rng)).collect();
        for (pair, theirs) in texts.chunks(2).zip(redis.map(script, &texts)) {
            let sum = LongDouble::parse(&pair[0])
                .and_then(|a| a.checked_add(LongDouble::parse(&pair[1])?))
                .map_or(b"bad".to_vec(), LongDouble::to_vec);
            let show = String::from_utf8_lossy;
            assert_eq!(
                show(&sum),
                show(&theirs),
                "{:?} + {:?}",
                show(&pair[0]),
                show(&pair[1])
            );
        }
    }
}

#[test]
fn patterns_match_as_in_redis() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let mut rng = StdRng::seed_from_u64(72);
    // CONFIG GET ignores case and SCAN does not; keys are what both halves can have here.
    let script = "local out = {} for i = 1, #ARGV, 2 do redis.call('FLUSHALL') redis.call('SET', ARGV[i + 1], '') \
                  out[#out + 1] = tostring(#redis.call('KEYS', ARGV[i])) end return out";
    let mut word = |alphabet: &[u8], max: usize| -> Vec<u8> {
        (0..rng.random_range(0..max))
            .map(|_| alphabet[rng.random_range(0..alphabet.len())])
            .collect()
    };
    for _ in 0..20 {
        let pairs: Vec<Vec<u8>> = (0..500)
            .flat_map(|_| [word(b"aab**?[]^-\\cz", 9), word(b"aaab-]^\\c[", 7)])
            .collect();
        for (pair, theirs) in pairs.chunks(2).zip(redis.map(script, &pairs)) {
            // KEYS takes a lone star as "everything" without asking the matcher.
            let ours = pair[0] == b"*" || glob::matches(&pair[0], &pair[1], false);
            let show = String::from_utf8_lossy;
            assert_eq!(
                ours,
                theirs == b"1",
                "{:?} on {:?}",
                show(&pair[0]),
                show(&pair[1])
            );
        }
    }
}

#[test]
fn slots_are_those_of_redis() {
    for (key, slot) in [
        ("somekey", 11058),
        ("foo{hash_tag}", 2515),
        ("bar{hash_tag}", 2515),
        ("123456789", 12739),
    ] {
        assert_eq!(crc16::slot(key.as_bytes()), slot);
    }
}
