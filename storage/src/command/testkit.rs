//! A client for the tests of command families: an engine in memory, commands as text, replies as text.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::command::{CommandError, Reply, find};
use crate::engine::{Deliver, Engine, Queued, Request, Session, Settings, Worker};
use crate::types::Lsn;

/// One client of an engine.
pub(crate) struct Client {
    worker: Worker,
    session: Session,
    resp3: bool,
    mailbox: Arc<Mailbox>,
}

/// Where replies of blocked commands arrive.
#[derive(Default)]
struct Mailbox(Mutex<Vec<Vec<u8>>>);

impl Deliver for Mailbox {
    fn deliver(&self, reply: Vec<u8>, _: Lsn) {
        self.0.lock().push(reply);
    }
}

impl Client {
    /// A client of a new engine.
    pub fn new() -> Client {
        Client::of(&Engine::in_memory().expect("threads can be started"))
    }

    fn of(engine: &Engine) -> Client {
        Client {
            worker: engine.worker(),
            session: Session::new(),
            resp3: false,
            mailbox: Arc::default(),
        }
    }

    /// Another client of the same engine.
    pub fn another(&self) -> Client {
        Client::of(self.worker.engine())
    }

    /// Speaks RESP3 from now on.
    pub fn resp3(mut self) -> Client {
        self.resp3 = true;
        self
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.worker.engine()
    }

    /// Changes the engine's settings.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = (*self.engine().settings()).clone();
        change(&mut settings);
        self.engine().set_settings(settings);
    }

    /// Runs a command given as words; the reply as text: `+OK`, `(nil)`, `:1`, `"bulk"`, `[a, b]`, `-ERR ...`.
    pub fn run(&mut self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split_ascii_whitespace().map(str::as_bytes).collect();
        self.run_args(&args)
    }

    /// Runs the commands of a script of `command => reply` lines and compares their replies.
    pub fn check(&mut self, script: &str) {
        let lines = script.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty()) {
            let (command, reply) = line.split_once(" => ").expect("a command and its reply");
            assert_eq!(self.run(command), reply, "{command}");
        }
    }

    /// Runs a command given as words; what is to be logged of it, one line for each command.
    pub fn logged(&mut self, line: &str) -> Vec<String> {
        let dirty = self.engine().stats().dirty.get();
        self.run(line);
        let changed = self.engine().stats().dirty.get() > dirty;
        let turn = self.worker.turn();
        let effects = turn.last_effects();
        if effects.count() == 0 {
            return changed.then(|| line.to_owned()).into_iter().collect();
        }
        let mut raw = effects.bytes();
        let mut lines = Vec::new();
        while !raw.is_empty() {
            lines.push(show(&mut raw).replace(['[', ']', '"', ','], ""));
        }
        lines
    }

    /// Runs a command given as arguments.
    pub fn run_args(&mut self, args: &[&[u8]]) -> String {
        let raw = self.run_raw(args);
        if raw.is_empty() {
            "(blocked)".into()
        } else {
            show_all(&raw)
        }
    }

    /// The same, with the reply in RESP; empty if the command waits.
    pub fn run_raw(&mut self, args: &[&[u8]]) -> Vec<u8> {
        let mut reply = Reply::with_protocol(self.resp3);
        let deliver: Arc<dyn Deliver> = self.mailbox.clone();
        let mut turn = self.worker.turn();
        match args[0].to_ascii_lowercase().as_slice() {
            b"multi" => {
                self.session.transaction = Some(Default::default());
                reply.ok();
            }
            b"exec" => {
                turn.exec(
                    &mut self.session,
                    &mut reply,
                    &mut |_: &mut Session, _: &Queued, reply: &mut Reply| {
                        reply.error("ERR no host")
                    },
                );
            }
            b"watch" => {
                args[1..]
                    .iter()
                    .for_each(|key| turn.watch(&mut self.session, key));
                reply.ok();
            }
            b"select" => {
                self.session.db = std::str::from_utf8(args[1]).unwrap().parse().unwrap();
                reply.ok();
            }
            name => {
                let Some(command) = find(name) else {
                    return b"-ERR unknown command\r\n".to_vec();
                };
                if !command.spec.arity_fits(args.len()) {
                    reply.error(CommandError::Arity(command.spec.name.into()));
                } else if let Some(transaction) = &mut self.session.transaction {
                    let args = args.iter().map(|arg| arg.to_vec()).collect();
                    transaction.push(Queued {
                        args,
                        command: Some(command),
                    });
                    reply.simple("QUEUED");
                } else {
                    turn.run(
                        &mut self.session,
                        command,
                        Request::new(args),
                        Some(&deliver),
                        &mut reply,
                    );
                }
            }
        }
        reply.take()
    }

    /// The replies of blocked commands that have arrived since the last call.
    pub fn delivered(&mut self) -> Vec<String> {
        self.mailbox
            .0
            .lock()
            .drain(..)
            .map(|reply| show_all(&reply))
            .collect()
    }
}

fn show_all(mut raw: &[u8]) -> String {
    let mut shown = Vec::new();
    while !raw.is_empty() {
        shown.push(show(&mut raw));
    }
    shown.join(" ")
}

/// One RESP element as text.
fn show(raw: &mut &[u8]) -> String {
    let end = raw
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .expect("a complete reply");
    let (kind, text) = (raw[0], String::from_utf8_lossy(&raw[1..end]).into_owned());
    *raw = &raw[end + 2..];
    let mut many = |count: usize| (0..count).map(|_| show(raw)).collect::<Vec<_>>().join(", ");
    match kind {
        b'$' | b'*' if text == "-1" => "(nil)".into(),
        b'_' => "(nil)".into(),
        b'$' | b'=' => {
            let len: usize = text.parse().unwrap();
            let bulk = String::from_utf8_lossy(&raw[..len]).into_owned();
            *raw = &raw[len + 2..];
            format!("\"{bulk}\"")
        }
        b'*' => format!("[{}]", many(text.parse().unwrap())),
        b'~' => format!("~[{}]", many(text.parse().unwrap())),
        b'%' => format!("%[{}]", many(text.parse::<usize>().unwrap() * 2)),
        kind => format!("{}{text}", kind as char),
    }
}

#[cfg(test)]
mod tests {
    use super::Client;

    #[test]
    fn a_watched_key_that_changed_fails_the_transaction() {
        let mut one = Client::new();
        let mut two = one.another();
        assert_eq!(one.run("WATCH k"), "+OK");
        assert_eq!(two.run("SET k 1"), "+OK");
        one.run("MULTI");
        assert_eq!(one.run("SET k 2"), "+QUEUED");
        assert_eq!(one.run("EXEC"), "(nil)");
        assert_eq!(one.run("GET k"), "\"1\"");
        one.run("MULTI");
        one.run("SET k 2");
        one.run("GET k");
        assert_eq!(one.run("EXEC"), "[+OK, \"2\"]");
    }
}
