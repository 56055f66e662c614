//! The slow log: the most recent commands that took longer than `slowlog-log-slower-than`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use hardtack_storage::UnixMillis;
use hardtack_storage::command::{CommandSpec, Flags};
use parking_lot::Mutex;

use crate::config::live::is_sensitive;
use crate::conn::Client;

/// Arguments of a command that are kept.
const ARGS_MAX: usize = 32;
/// Bytes of an argument that are kept.
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SlowCommand {
    pub id: u64,
    pub unix_seconds: i64,
    pub micros: u64,
    pub args: Vec<Vec<u8>>,
    pub addr: String,
    pub name: Vec<u8>,
}

/// The slow log.
#[derive(Default)]
pub struct SlowLog {
    /// Microseconds; negative: nothing is kept.
    slower_than: AtomicI64,
    len_max: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    next_id: u64,
    commands: VecDeque<SlowCommand>,
}

impl SlowLog {
    /// Sets the threshold in microseconds (negative: off) and how many commands are kept.
    pub fn configure(&self, slower_than: i64, len_max: usize) {
        self.slower_than.store(slower_than, Ordering::Relaxed);
        self.len_max.store(len_max, Ordering::Relaxed);
    }

    /// Keeps a command if it was slow.
    pub fn note(&self, spec: &CommandSpec, args: &[&[u8]], took: Duration, client: &Client) {
        let threshold = self.slower_than.load(Ordering::Relaxed);
        let micros = took.as_micros() as u64;
        if threshold < 0 || micros < threshold as u64 || spec.flags.has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let len_max = self.len_max.load(Ordering::Relaxed);
        let mut kept = self.kept.lock();
        let id = kept.next_id;
        kept.next_id += 1;
        kept.commands.push_front(SlowCommand {
            id,
            unix_seconds: UnixMillis::now().0 / 1000,
            micros,
            args: shorten(&without_secrets(spec.name, args)),
            addr: client.handle.addr.clone(),
            name: client.handle.name.lock().clone(),
        });
        kept.commands.truncate(len_max);
    }

    /// The most recent `count` commands, the latest first.
    pub fn latest(&self, count: usize) -> Vec<SlowCommand> {
        self.kept
            .lock()
            .commands
            .iter()
            .take(count)
            .cloned()
            .collect()
    }

    /// Number of commands kept.
    pub fn len(&self) -> usize {
        self.kept.lock().commands.len()
    }

    /// Forgets all of them.
    pub fn reset(&self) {
        self.kept.lock().commands.clear();
    }
}

/// The arguments with passwords replaced.
fn without_secrets<'a>(name: &str, args: &[&'a [u8]]) -> Vec<&'a [u8]> {
    const SECRET: &[u8] = b"(redacted)";
    let mut shown = args.to_vec();
    match name {
        "auth" => shown[1..].fill(SECRET),
        "hello" => {
            for at in 1..args.len() {
                if args[at].eq_ignore_ascii_case(b"auth") {
                    shown[(at + 1).min(args.len())..(at + 3).min(args.len())].fill(SECRET);
                }
            }
        }
        "config|set" => {
            for at in (2..args.len().saturating_sub(1)).step_by(2) {
                if is_sensitive(args[at]) {
                    shown[at + 1] = SECRET;
                }
            }
        }
        _ => {}
    }
    shown
}

fn shorten(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let shown = if args.len() > ARGS_MAX {
        ARGS_MAX - 1
    } else {
        args.len()
    };
    let mut kept: Vec<Vec<u8>> = args[..shown]
        .iter()
        .map(|arg| match arg.len().checked_sub(ARG_BYTES_MAX) {
            None | Some(0) => arg.to_vec(),
            Some(more) => [
                &arg[..ARG_BYTES_MAX],
                format!("... ({more} more bytes)").as_bytes(),
            ]
            .concat(),
        })
        .collect();
    if shown < args.len() {
        kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out() {
        let shown = |name: &str, args: &[&str]| {
            let args: Vec<&[u8]> = args.iter().map(|arg| arg.as_bytes()).collect();
            let shown = without_secrets(name, &args);
            String::from_utf8(shown.join(&b' ')).unwrap()
        };
        assert_eq!(
            shown("auth", &["AUTH", "u", "p"]),
            "AUTH (redacted) (redacted)"
        );
        assert_eq!(
            shown("hello", &["HELLO", "3", "auth", "u", "p", "SETNAME", "n"]),
            "HELLO 3 auth (redacted) (redacted) SETNAME n"
        );
        assert_eq!(shown("hello", &["HELLO", "3", "AUTH"]), "HELLO 3 AUTH");
        assert_eq!(
            shown(
                "config|set",
                &["CONFIG", "SET", "hz", "10", "requirepass", "p"]
            ),
            "CONFIG SET hz 10 requirepass (redacted)"
        );
    }
}
