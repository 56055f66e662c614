//! Append-only files that another server wrote: commands without frames, hence without checksums.
//!
//! Parsed just enough to find where commands end. Lines that begin with `#` between commands are skipped
//! (`#TS:<seconds>` among them); they do not count for positions. A transaction is handed on whole, and dropped when its
//! EXEC is not there.

use memchr::memchr;

use super::recovery::Damage;

/// Handed on at a time, unless a transaction or one command is longer.
const CHUNK_BYTES: usize = 1 << 20;

/// Redis's limit for the number of arguments.
const ARGUMENTS_MAX: u64 = 1 << 20;

/// Why the walk ended before the end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ForeignStop {
    /// The file ends inside a command or a transaction: everything before `at` is whole.
    Truncated { at: usize },
    /// Something that is no command.
    Bad { at: usize, expected: &'static str },
}

impl ForeignStop {
    /// The kind of damage, where it is, and what should be there.
    pub(super) fn describe(&self) -> (Damage, usize, &'static str) {
        match *self {
            ForeignStop::Truncated { at } => (Damage::CutOff, at, "a whole command or transaction"),
            ForeignStop::Bad { at, expected } => (Damage::NoCommand, at, expected),
        }
    }
}

/// Hands the commands of `bytes`, from `from` on, to `take`, in chunks of whole commands. Returns how many bytes of
/// commands there were.
pub(super) fn walk<E>(
    bytes: &[u8],
    from: usize,
    mut take: impl FnMut(&[u8], u64) -> Result<(), E>,
) -> Result<(u64, Option<ForeignStop>), E> {
    let mut chunk = Vec::new();
    let mut total = 0u64;
    // Where the open transaction begins: in the file, and in the chunk.
    let mut open: Option<(usize, usize)> = None;
    let mut at = from;
    let stop = loop {
        if at == bytes.len() {
            break open.map(|(start, _)| ForeignStop::Truncated { at: start });
        }
        if bytes[at] == b'#' {
            let Some(end) = memchr(b'\n', &bytes[at..]) else {
                break Some(ForeignStop::Truncated { at });
            };
            let line = &bytes[at..at + end + 1];
            if line.starts_with(super::frame::FRAME_MAGIC) {
                break Some(ForeignStop::Bad {
                    at,
                    expected: "no frame in a file without a segment header",
                });
            }
            at += end + 1;
            continue;
        }
        match command(&bytes[at..]) {
            Ok((len, name)) => {
                if name.eq_ignore_ascii_case(b"MULTI") && open.is_none() {
                    open = Some((at, chunk.len()));
                } else if name.eq_ignore_ascii_case(b"EXEC") {
                    open = None;
                }
                chunk.extend_from_slice(&bytes[at..at + len]);
                at += len;
                if chunk.len() >= CHUNK_BYTES && open.is_none() {
                    take(&chunk, total)?;
                    total += chunk.len() as u64;
                    chunk.clear();
                }
            }
            Err(CommandError::Truncated) => {
                break Some(ForeignStop::Truncated {
                    at: open.map_or(at, |(start, _)| start),
                });
            }
            Err(CommandError::Bad(offset, expected)) => {
                break Some(ForeignStop::Bad {
                    at: at + offset,
                    expected,
                });
            }
        }
    };
    if let Some((_, chunk_start)) = open {
        chunk.truncate(chunk_start);
    }
    if !chunk.is_empty() {
        take(&chunk, total)?;
        total += chunk.len() as u64;
    }
    Ok((total, stop))
}

enum CommandError {
    Truncated,
    Bad(usize, &'static str),
}

/// Length and name of the command that `bytes` begins with.
fn command(bytes: &[u8]) -> Result<(usize, &[u8]), CommandError> {
    let mut at = 0;
    let arguments = number(bytes, &mut at, b'*', "'*' and the number of arguments")?;
    if arguments == 0 || arguments > ARGUMENTS_MAX {
        return Err(CommandError::Bad(0, "a sensible number of arguments"));
    }
    let mut name: &[u8] = b"";
    for index in 0..arguments {
        let start = at;
        let len = number(bytes, &mut at, b'$', "'$' and the length of an argument")?;
        let Some(end) = usize::try_from(len)
            .ok()
            .and_then(|len| at.checked_add(len))
        else {
            return Err(CommandError::Bad(start, "a sensible length"));
        };
        let Some(tail) = bytes.get(end..).filter(|tail| tail.len() >= 2) else {
            return Err(CommandError::Truncated);
        };
        if !tail.starts_with(b"\r\n") {
            return Err(CommandError::Bad(end, "the end of an argument"));
        }
        if index == 0 {
            name = &bytes[at..end];
        }
        at = end + 2;
    }
    Ok((at, name))
}

/// Reads `<mark><digits>\r\n`.
fn number(
    bytes: &[u8],
    at: &mut usize,
    mark: u8,
    expected: &'static str,
) -> Result<u64, CommandError> {
    let start = *at;
    let line = &bytes[start.min(bytes.len())..bytes.len().min(start + 24)];
    if line.first().is_some_and(|&b| b != mark) {
        return Err(CommandError::Bad(start, expected));
    }
    let Some(end) = memchr(b'\n', line) else {
        let cut_off = start + line.len() == bytes.len() && line.len() < 24;
        return Err(if cut_off {
            CommandError::Truncated
        } else {
            CommandError::Bad(start, expected)
        });
    };
    let digits = line[1..end]
        .strip_suffix(b"\r")
        .ok_or(CommandError::Bad(start, expected))?;
    let value = digits.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    });
    *at = start + end + 1;
    value
        .filter(|_| !digits.is_empty())
        .ok_or(CommandError::Bad(start, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &[u8] = b"*1\r\n$4\r\nexec\r\n";

    fn collect(bytes: &[u8]) -> (Vec<u8>, Option<ForeignStop>) {
        let mut out = Vec::new();
        let (total, stop) = walk(bytes, 0, |chunk, at| {
            assert_eq!(at, out.len() as u64);
            out.extend_from_slice(chunk);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(total, out.len() as u64);
        (out, stop)
    }

    #[test]
    fn comments_between_commands_are_skipped() {
        assert_eq!(
            collect(&[b"#TS:1\n", PING, b"#x\n", PING].concat()),
            ([PING, PING].concat(), None)
        );
    }

    #[test]
    fn unfinished_transaction_is_dropped_at_every_length() {
        let whole = [PING, MULTI, PING, EXEC].concat();
        for len in 0..whole.len() {
            let (out, stop) = collect(&whole[..len]);
            assert_eq!(out, if len < PING.len() { b"" } else { PING });
            let expected = match len {
                0 => None,
                _ if len == PING.len() => None,
                _ if len < PING.len() => Some(ForeignStop::Truncated { at: 0 }),
                _ => Some(ForeignStop::Truncated { at: PING.len() }),
            };
            assert_eq!(stop, expected, "length {len}");
        }
        assert_eq!(collect(&whole), (whole.clone(), None));
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (text, at) in [
            (&b"PING\r\n"[..], 0),
            (b"*1\r\n$4\r\nPINGxx", 12),
            (b"*1\r\n$99999999999999999999999\r\n", 4),
            (b"*99999999\r\n", 0),
            (b"*1\r\n$-1\r\n", 4),
            (b"#F lsn=0000\n", 0),
            (b"\0\0\0\0", 0),
        ] {
            match collect(text).1 {
                Some(ForeignStop::Bad { at: found, .. }) => assert_eq!(found, at, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
