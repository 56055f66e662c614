//! Append-only files that another server wrote: commands without frames, hence without checksums.
//!
//! Parsed just enough to find where commands end. Lines that begin with `#` between commands are skipped
//! (`#TS:<seconds>` among them); they do not count for positions. A transaction is handed on whole, and dropped when its
//! EXEC is not there.
//!
//! Where a part of ours follows (see [`super::frame`]) the walk ends; zeros at the end of a file are blocks that were
//! never written.

use memchr::memchr;

use super::frame::{FRAME_MAGIC, HEADER_MAGIC, PART_START_BYTES_MAX};
use super::recovery::Damage;

/// Handed on at a time, unless a transaction or one command is longer.
const CHUNK_BYTES: usize = 1 << 20;

/// How the header line of a part begins, as far as it has to be there to be taken for one.
const PART_MAGIC: &[u8] = HEADER_MAGIC.split_at(4).0;

/// Redis's limit for the number of arguments.
const ARGUMENTS_MAX: u64 = 1 << 20;

/// Why the walk ended before the end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ForeignStop {
    /// The file ends inside a command or a transaction: everything before `at` is whole.
    Truncated { at: usize },
    /// Something that is no command.
    Bad { at: usize, expected: &'static str },
    /// A part of ours begins at `at`, perhaps a damaged one.
    Part { at: usize },
    /// The beginning of a part of ours was being written when the power failed: nothing was in it.
    TornPart { at: usize },
}

impl ForeignStop {
    /// The kind of damage, where it is, and what should be there.
    pub(super) fn describe(&self) -> (Damage, usize, &'static str) {
        match *self {
            ForeignStop::Truncated { at } => (Damage::CutOff, at, "a whole command or transaction"),
            ForeignStop::Bad { at, expected } => (Damage::NoCommand, at, expected),
            ForeignStop::Part { at } | ForeignStop::TornPart { at } => {
                (Damage::NoCommand, at, "commands and nothing else")
            }
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
        let rest = &bytes[at..];
        let part = if rest.starts_with(PART_MAGIC) {
            Some(ForeignStop::Part { at })
        } else if is_torn_part(rest) {
            Some(ForeignStop::TornPart { at })
        } else if rest[0] == 0 && rest.iter().all(|&byte| byte == 0) {
            Some(ForeignStop::Truncated { at })
        } else {
            None
        };
        match (part, open) {
            (None, _) => {}
            // A part follows what is whole only.
            (Some(ForeignStop::Part { .. }), Some((start, _))) => {
                break Some(ForeignStop::Bad {
                    at: start,
                    expected: "a whole transaction",
                });
            }
            (Some(_), Some((start, _))) => break Some(ForeignStop::Truncated { at: start }),
            (part, None) => break part,
        }
        if bytes[at] == b'#' {
            let Some(end) = memchr(b'\n', &bytes[at..]) else {
                break Some(ForeignStop::Truncated { at });
            };
            let line = &bytes[at..at + end + 1];
            if line.starts_with(FRAME_MAGIC) {
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

/// True if `rest`, the end of a file, is what a power cut can leave of the beginning of a part: its first bytes, or
/// some of its sectors with zeros in the place of others.
fn is_torn_part(rest: &[u8]) -> bool {
    let holed = rest[0] == 0
        && rest.len() <= PART_START_BYTES_MAX
        && !rest.iter().any(|byte| b"*$\r".contains(byte));
    holed || PART_MAGIC.starts_with(rest)
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
    fn part_of_ours_ends_the_walk_and_a_torn_one_is_known() {
        let part = b"#HT1 replid=1111111111111111111111111111111111111111 lsn=000000000000000e\n";
        let stop = |tail: &[u8]| collect(&[PING, tail].concat()).1;
        let at = PING.len();
        assert_eq!(stop(part), Some(ForeignStop::Part { at }));
        assert_eq!(stop(b"#HT1\0\0\0"), Some(ForeignStop::Part { at }));
        for len in 1..4 {
            assert_eq!(stop(&part[..len]), Some(ForeignStop::TornPart { at }));
        }
        let holed = [&[0; 20], &part[20..]].concat();
        assert_eq!(stop(&holed), Some(ForeignStop::TornPart { at }));
        assert_eq!(stop(&[0; 4096]), Some(ForeignStop::Truncated { at }));
        let zeros_before_a_command = stop(&[&[0; 20], PING].concat());
        assert!(matches!(
            zeros_before_a_command,
            Some(ForeignStop::Bad { .. })
        ));
        // A transaction that has not ended is never followed by a part.
        let inside = collect(&[PING, MULTI, PING, part].concat()).1;
        assert!(matches!(inside, Some(ForeignStop::Bad { at: found, .. }) if found == at));
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
            (b"\0\0\0*1\r\n$4\r\nPING\r\n", 0),
        ] {
            match collect(text).1 {
                Some(ForeignStop::Bad { at: found, .. }) => assert_eq!(found, at, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }
}
