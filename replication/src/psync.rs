//! PSYNC as it is spelled, and the only place where positions are converted.
//!
//! ```text
//! replica: PSYNC <replid> <offset>     offset = LSN + 1, the number of the first byte that is wanted; or PSYNC ? -1
//! primary: +CONTINUE <replid>          from there
//!        | +CONTINUE                   the same, to a replica without psync2
//!        | +FULLRESYNC <replid> <n>    n = LSN, the bytes before the snapshot's position
//! INFO:    second_repl_offset          LSN + 1; -1 if there is no older history
//! ```
//!
//! The protocol counts bytes from one where it names *the next byte*, and from nothing where it names *an end*; an
//! [`Lsn`] is always the count of bytes before a position. Source: Redis's documentation of PSYNC.

use hardtack_storage::Lsn;
use hardtack_storage::log::Replid;

use crate::history::{Ask, History};

/// A primary's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The stream goes on from where the replica asked; under this id, if one is given.
    Continue {
        /// The history from here on.
        replid: Option<Replid>,
    },
    /// A snapshot follows, and then the stream.
    FullResync {
        /// The history that the replica is in then.
        replid: Replid,
        /// The snapshot's position.
        at: Lsn,
    },
}

/// A line that is no answer to PSYNC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The primary cannot answer now; ask again later.
    #[error("the primary is not ready: {0}")]
    NotReady(String),
    /// Not what PSYNC is answered with.
    #[error("unexpected answer to PSYNC: {0}")]
    Unexpected(String),
}

/// The offset of PSYNC is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value is not an integer or out of range")]
pub struct OffsetError;

/// Reads the two arguments of PSYNC. What names no position (`?`, something that is no id, an offset below one) asks
/// for everything.
///
/// # Errors
/// If the offset is not an integer.
pub fn parse_ask(replid: &[u8], offset: &[u8], psync2: bool) -> Result<Ask, OffsetError> {
    let offset: i64 = std::str::from_utf8(offset)
        .ok()
        .filter(|text| !text.starts_with('+'))
        .and_then(|text| text.parse().ok())
        .ok_or(OffsetError)?;
    let ask = match (Replid::parse(replid), next_byte_to_lsn(offset)) {
        (Some(replid), Some(from)) => Ask::Resume {
            replid,
            from,
            psync2,
        },
        _ => Ask::Everything,
    };
    Ok(ask)
}

/// The two arguments of PSYNC.
pub fn format_ask(ask: &Ask) -> (String, String) {
    match ask {
        Ask::Everything => ("?".to_owned(), "-1".to_owned()),
        Ask::Resume { replid, from, .. } => {
            (replid.to_string(), lsn_to_next_byte(*from).to_string())
        }
    }
}

impl Answer {
    /// Reads an answer, without its line end.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn parse(line: &[u8]) -> Result<Answer, AnswerError> {
        let text = || String::from_utf8_lossy(&line[..line.len().min(128)]).into_owned();
        let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
        let answer = match words.next() {
            Some(b"+CONTINUE") => match words.next() {
                None => Some(Answer::Continue { replid: None }),
                Some(word) => Replid::parse(word).map(|replid| Answer::Continue {
                    replid: Some(replid),
                }),
            },
            Some(b"+FULLRESYNC") => {
                let replid = words.next().and_then(Replid::parse);
                let at = words.next().and_then(parse_end);
                replid
                    .zip(at)
                    .map(|(replid, at)| Answer::FullResync { replid, at })
            }
            Some(b"-NOMASTERLINK" | b"-LOADING") => return Err(AnswerError::NotReady(text())),
            _ => None,
        };
        answer.ok_or_else(|| AnswerError::Unexpected(text()))
    }

    /// The answer's line, with its end.
    pub fn line(&self) -> String {
        match self {
            Answer::Continue { replid: None } => "+CONTINUE\r\n".to_owned(),
            Answer::Continue {
                replid: Some(replid),
            } => format!("+CONTINUE {replid}\r\n"),
            Answer::FullResync { replid, at } => format!("+FULLRESYNC {replid} {at}\r\n"),
        }
    }
}

/// INFO's `second_repl_offset`.
pub fn second_repl_offset(history: &History) -> i64 {
    history
        .older()
        .map_or(-1, |older| lsn_to_next_byte(older.valid_up_to))
}

/// From the number of the next byte, counted from one.
fn next_byte_to_lsn(offset: i64) -> Option<Lsn> {
    let before = offset.checked_sub(1)?;
    u64::try_from(before).ok().map(Lsn)
}

/// To the number of the next byte, counted from one. Positions end far below what an `i64` holds.
fn lsn_to_next_byte(lsn: Lsn) -> i64 {
    i64::try_from(lsn.0).unwrap_or(i64::MAX).saturating_add(1)
}

fn parse_end(word: &[u8]) -> Option<Lsn> {
    let text = std::str::from_utf8(word).ok()?;
    let end: i64 = text.parse().ok()?;
    u64::try_from(end).ok().map(Lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8371445ee47a1ee3d6d6e07c5a0ba4df3f0e0f5c";

    fn id() -> Replid {
        Replid::parse(ID.as_bytes()).unwrap()
    }

    #[test]
    fn ask_for_the_first_byte_is_offset_one() {
        let history = History::begin(id());
        let ask = history.ask(Lsn(0));
        assert_eq!(format_ask(&ask), (ID.to_owned(), "1".to_owned()));
        assert_eq!(parse_ask(ID.as_bytes(), b"1", true), Ok(ask));
    }

    #[test]
    fn ask_without_a_position_is_for_everything() {
        assert_eq!(
            format_ask(&Ask::Everything),
            ("?".to_owned(), "-1".to_owned())
        );
        let rows: [(&[u8], &[u8]); 5] = [
            (b"?", b"-1"),
            (b"?", b"17"),
            (b"not-an-id", b"17"),
            (ID.as_bytes(), b"0"),
            (ID.as_bytes(), b"-9223372036854775808"),
        ];
        for (replid, offset) in rows {
            assert_eq!(parse_ask(replid, offset, true), Ok(Ask::Everything));
        }
    }

    #[test]
    fn offset_that_is_no_integer_is_refused() {
        for offset in [
            &b"x"[..],
            b"",
            b"+1",
            b"1 ",
            b"9223372036854775808",
            b"\xff",
        ] {
            assert_eq!(parse_ask(ID.as_bytes(), offset, true), Err(OffsetError));
        }
    }

    #[test]
    fn answers_round_trip() {
        let rows = [
            (
                Answer::Continue { replid: None },
                "+CONTINUE\r\n".to_owned(),
            ),
            (
                Answer::Continue { replid: Some(id()) },
                format!("+CONTINUE {ID}\r\n"),
            ),
            (
                Answer::FullResync {
                    replid: id(),
                    at: Lsn(42),
                },
                format!("+FULLRESYNC {ID} 42\r\n"),
            ),
        ];
        for (answer, line) in rows {
            assert_eq!(answer.line(), line);
            assert_eq!(Answer::parse(line.trim_end().as_bytes()), Ok(answer));
        }
    }

    #[test]
    fn other_lines_are_no_answers() {
        let cut_id = format!("+FULLRESYNC {} 42", &ID[1..]);
        let negative = format!("+FULLRESYNC {ID} -1");
        for line in [
            "",
            "+OK",
            "-ERR unknown command",
            "+CONTINUE x",
            "+FULLRESYNC",
            &cut_id,
            &negative,
        ] {
            let error = Answer::parse(line.as_bytes()).unwrap_err();
            assert_eq!(error, AnswerError::Unexpected(line.to_owned()));
        }
        let error = Answer::parse(b"-LOADING later").unwrap_err();
        assert_eq!(error, AnswerError::NotReady("-LOADING later".to_owned()));
    }

    #[test]
    fn second_offset_is_the_next_byte_after_the_older_history() {
        let mut history = History::begin(id());
        assert_eq!(second_repl_offset(&history), -1);
        let _ = history.promote(Lsn(99), Replid::random());
        assert_eq!(second_repl_offset(&history), 100);
    }
}
