//! Transcripts: commands and the replies that redis-server 7.0 gives to them, one file per command family.
//!
//! Every `*.txt` beside this file is replayed against Hardtack, which must give the recorded replies; after it, the
//! data set must survive a restart. A second, ignored test replays it against redis-server, so that a recorded reply is
//! known to be Redis's. To write or extend a transcript, write the commands and record the replies:
//!
//! ```text
//! HARDTACK_GOLDEN_RECORD=1 cargo test -p hardtack-server --test main golden::redis -- --include-ignored
//! ```
//!
//! A transcript has one item per line:
//!
//! ```text
//! # A comment.
//! > SET key "va\x00lue" <x*100>       a command; arguments may be quoted as in redis-cli
//! OK                                  its reply (see `support::Reply` for the notation)
//! 2> GET key                          a command on a second connection (2 to 9)
//! 2>> BLPOP list 0                    sent without waiting for the reply; goes on once the client is blocked
//! 2<                                  reads that reply
//! @sort                               the next reply's elements are compared in sorted order
//! @pairs                              the same for a flat list of pairs
//! @between 95 100                     the next reply is an integer in this range
//! @let name                           the next reply is kept for an argument `$name`, and not compared
//! @resp3, @resp2                      the protocol of the first connection from here on
//! @sleep 30                           milliseconds
//! ```
//!
//! `<x*100>` is a hundred times `x` in one argument; `<1..130>` stands for 130 arguments, `<m1..130>` for m1, m2, ...
//! A file starts on an empty server with two fresh connections.

use std::collections::HashMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Client, Dataset, Kind, Reply, Server};

/// For each transcript, a test against Hardtack and an ignored one against redis-server.
macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod hardtack {
            $(#[test] fn $name() { super::replay_on_hardtack(stringify!($name)); })*
        }

        mod redis {
            $(#[test] #[ignore = "needs redis-server 7 on PATH"] fn $name() {
                super::replay_on_redis(stringify!($name));
            })*
        }
    };
}

transcripts!(
    strings,
    string_numbers,
    hashes,
    sets,
    lists,
    lists_blocking,
    zsets,
    zset_ranges,
    zset_stores,
    zset_blocking,
    expiry,
    generic,
    sort,
    scan,
    dump,
    transactions,
    connection,
    errors,
    server,
);

#[test]
fn every_transcript_is_replayed() {
    let mut files: Vec<String> = fs::read_dir(directory())
        .expect("the folder of transcripts")
        .filter_map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .ok()?
                .strip_suffix(".txt")
                .map(String::from)
        })
        .collect();
    files.sort();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}

fn replay_on_hardtack(name: &str) {
    let mut server = Server::start(Kind::Hardtack, &[("appendonly", "yes")]);
    let transcript = read(name);
    let replayed = replay(&server, &transcript);
    compare(name, &transcript, &replayed);
    let before = Dataset::read(&mut server.client());
    server.restart();
    before.assert_same(&Dataset::read(&mut server.client()), "after a restart");
}

fn replay_on_redis(name: &str) {
    println!("peer: {}", Kind::Redis.version());
    let server = Server::start(Kind::Redis, &[("appendonly", "yes")]);
    let transcript = read(name);
    let replayed = replay(&server, &transcript);
    if std::env::var_os("HARDTACK_GOLDEN_RECORD").is_some() {
        fs::write(path(name), print(&replayed)).expect("write the transcript");
    } else {
        compare(name, &transcript, &replayed);
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path(name: &str) -> PathBuf {
    directory().join(format!("{name}.txt"))
}

/// A line that is no reply, with the reply that belongs to it.
#[derive(Clone)]
struct Step {
    /// Line number, from 1.
    line: usize,
    text: String,
    reply: String,
}

fn read(name: &str) -> Vec<Step> {
    let text = fs::read_to_string(path(name)).expect("read the transcript");
    let mut steps: Vec<Step> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let takes_reply = steps
            .last()
            .is_some_and(|s| matches!(Action::of(&s.text), Action::Call(..) | Action::Read(_)));
        if takes_reply
            && !line.is_empty()
            && matches!(Action::of(line), Action::Nothing)
            && !line.starts_with('#')
        {
            let reply = &mut steps.last_mut().expect("just seen").reply;
            if !reply.is_empty() {
                reply.push('\n');
            }
            reply.push_str(line);
        } else {
            steps.push(Step {
                line: i + 1,
                text: line.into(),
                reply: String::new(),
            });
        }
    }
    steps
}

fn print(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        out.push_str(step.text.trim_end());
        out.push('\n');
        if !step.reply.is_empty() {
            out.push_str(&step.reply);
            out.push('\n');
        }
    }
    out
}

fn compare(name: &str, recorded: &[Step], replayed: &[Step]) {
    let mut wrong = String::new();
    let mut count = 0;
    for (expected, found) in recorded
        .iter()
        .zip(replayed)
        .filter(|(e, f)| e.reply != f.reply)
    {
        count += 1;
        if count <= 40 {
            let Step { line, text, reply } = expected;
            wrong.push_str(&format!(
                "{name}.txt:{line}: {text}\n  expected: {reply}\n  found:    {}\n",
                found.reply
            ));
        }
    }
    assert!(
        count == 0,
        "{count} of {} replies differ\n{wrong}",
        recorded.len()
    );
}

/// What a line asks for.
enum Action<'a> {
    /// A reply, a comment or an empty line.
    Nothing,
    Call(usize, &'a str),
    Send(usize, &'a str),
    Read(usize),
    Directive(&'a str),
}

impl Action<'_> {
    fn of(line: &str) -> Action<'_> {
        if let Some(directive) = line.strip_prefix('@') {
            return Action::Directive(directive);
        }
        let (connection, rest) = match line.as_bytes() {
            [n @ b'2'..=b'9', b'>' | b'<', ..] => (usize::from(n - b'0'), &line[1..]),
            _ => (1, line),
        };
        if let Some(command) = rest.strip_prefix(">> ") {
            Action::Send(connection, command)
        } else if let Some(command) = rest.strip_prefix("> ") {
            Action::Call(connection, command)
        } else if rest == "<" {
            Action::Read(connection)
        } else {
            Action::Nothing
        }
    }
}

/// How the next reply is compared.
#[derive(Clone)]
enum View {
    Whole,
    Sorted,
    Pairs,
    Between(RangeInclusive<i64>),
    Kept(String),
}

struct Player<'a> {
    server: &'a Server,
    connections: HashMap<usize, Client>,
    control: Client,
    waiting: usize,
    kept: HashMap<String, Vec<u8>>,
}

fn replay(server: &Server, transcript: &[Step]) -> Vec<Step> {
    let mut player = Player {
        server,
        connections: HashMap::new(),
        control: server.client(),
        waiting: 0,
        kept: HashMap::new(),
    };
    let mut view = View::Whole;
    let mut replayed = transcript.to_vec();
    for step in &mut replayed {
        let at = format!("line {}: {}", step.line, step.text);
        let reply = match Action::of(&step.text) {
            Action::Nothing => continue,
            Action::Directive(directive) => {
                view = player.direct(directive).unwrap_or(View::Whole);
                continue;
            }
            Action::Send(connection, command) => {
                player.send(connection, command);
                continue;
            }
            Action::Call(connection, command) => {
                let args = player.arguments(command);
                player.connection(connection).try_call(&args)
            }
            Action::Read(connection) => {
                player.waiting -= 1;
                player.connection(connection).receive()
            }
        };
        step.reply = match reply {
            Ok(reply) => player.show(reply, std::mem::replace(&mut view, View::Whole)),
            Err(e) => {
                // Without its reply this connection is out of step; a fresh one keeps the rest of the file meaningful.
                player.connections.clear();
                format!("(no reply: {e}; {at})")
            }
        };
    }
    replayed
}

impl Player<'_> {
    fn connection(&mut self, number: usize) -> &mut Client {
        let server = self.server;
        self.connections
            .entry(number)
            .or_insert_with(|| server.client())
    }

    fn direct(&mut self, directive: &str) -> Option<View> {
        let words: Vec<&str> = directive.split_whitespace().collect();
        let number = |i: usize| words[i].parse().expect("a number in a directive");
        match words[0] {
            "sort" => return Some(View::Sorted),
            "pairs" => return Some(View::Pairs),
            "between" => return Some(View::Between(number(1)..=number(2))),
            "let" => return Some(View::Kept(words[1].into())),
            "resp2" => drop(self.connection(1).call(&["HELLO", "2"])),
            "resp3" => drop(self.connection(1).call(&["HELLO", "3"])),
            "sleep" => thread::sleep(Duration::from_millis(
                u64::try_from(number(1)).expect("a time"),
            )),
            other => panic!("an unknown directive: @{other}"),
        }
        None
    }

    /// Sends a command and waits until the server counts one more blocked client.
    fn send(&mut self, connection: usize, command: &str) {
        let args = self.arguments(command);
        self.connection(connection).send(&args).expect("send");
        self.waiting += 1;
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            let info = self.control.call(&["INFO", "clients"]).text();
            let blocked = info
                .lines()
                .find_map(|l| l.strip_prefix("blocked_clients:")?.trim().parse().ok());
            if blocked == Some(self.waiting) {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!(
            "INFO shows no {} blocked clients after: {command}",
            self.waiting
        );
    }

    fn show(&mut self, reply: Reply, view: View) -> String {
        match (view, reply) {
            (View::Between(range), Reply::Integer(n)) if range.contains(&n) => {
                format!("(integer between {} and {})", range.start(), range.end())
            }
            (View::Kept(name), Reply::Bulk(bytes)) => {
                self.kept.insert(name, bytes);
                "(kept)".into()
            }
            (View::Sorted, Reply::Array(v)) => Reply::Array(sorted(v, 1)).to_string(),
            (View::Sorted, Reply::Set(v)) => Reply::Set(sorted(v, 1)).to_string(),
            (View::Sorted, Reply::Map(mut v)) => {
                v.sort_by_key(|(key, _)| key.to_string());
                Reply::Map(v).to_string()
            }
            (View::Pairs, Reply::Array(v)) => Reply::Array(sorted(v, 2)).to_string(),
            (_, reply) => reply.to_string(),
        }
    }

    fn arguments(&self, command: &str) -> Vec<Vec<u8>> {
        let mut args = Vec::new();
        let mut rest = command.trim_start();
        while let Some(first) = rest.chars().next() {
            let (arg, after) = match first {
                '"' => unquote(&rest[1..]),
                _ => {
                    let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                    self.expand(word, &mut args);
                    rest = after.trim_start();
                    continue;
                }
            };
            args.push(arg);
            rest = after.trim_start();
        }
        args
    }

    fn expand(&self, word: &str, args: &mut Vec<Vec<u8>>) {
        if let Some(name) = word.strip_prefix('$')
            && let Some(kept) = self.kept.get(name)
        {
            return args.push(kept.clone());
        }
        let inner = word.strip_prefix('<').and_then(|w| w.strip_suffix('>'));
        if let Some((text, times)) = inner.and_then(|w| w.rsplit_once('*'))
            && let Ok(times) = times.parse()
        {
            return args.push(text.repeat(times).into_bytes());
        }
        if let Some((from, to)) = inner.and_then(|w| w.split_once("..")) {
            let digits = from.trim_start_matches(|c: char| !c.is_ascii_digit());
            let prefix = &from[..from.len() - digits.len()];
            if let (Ok(from), Ok(to)) = (digits.parse::<u32>(), to.parse::<u32>()) {
                return args.extend((from..=to).map(|n| format!("{prefix}{n}").into_bytes()));
            }
        }
        args.push(word.as_bytes().to_vec());
    }
}

fn sorted(elements: Vec<Reply>, group: usize) -> Vec<Reply> {
    let mut groups: Vec<Vec<Reply>> = elements.chunks(group).map(<[Reply]>::to_vec).collect();
    groups.sort_by_cached_key(|g| g.iter().map(Reply::to_string).collect::<Vec<_>>());
    groups.concat()
}

/// Takes a double-quoted argument, whose opening quote is gone, off a command.
fn unquote(text: &str) -> (Vec<u8>, &str) {
    let mut arg = Vec::new();
    let mut bytes = text.bytes().enumerate();
    while let Some((i, b)) = bytes.next() {
        match b {
            b'"' => return (arg, &text[i + 1..]),
            b'\\' => match bytes.next().expect("an escaped character").1 {
                b'n' => arg.push(b'\n'),
                b'r' => arg.push(b'\r'),
                b't' => arg.push(b'\t'),
                b'x' => {
                    arg.push(u8::from_str_radix(&text[i + 2..i + 4], 16).expect("two hex digits"));
                    bytes.nth(1);
                }
                other => arg.push(other),
            },
            other => arg.push(other),
        }
    }
    panic!("a quote without its end: {text}");
}
