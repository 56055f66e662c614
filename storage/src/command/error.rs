//! The one place where error texts that clients match on are made.

use std::borrow::Cow;
use std::fmt;

/// Why a command was refused. [`fmt::Display`] gives the text as the client sees it, prefix included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// The key holds another type.
    WrongType,
    /// The arguments do not fit the command's grammar.
    Syntax,
    /// An argument or a value is not a 64-bit integer.
    NotInteger,
    /// An argument or a value is not a floating-point number.
    NotFloat,
    /// The command needs an existing key.
    NoSuchKey,
    /// An index lies outside the list.
    IndexOutOfRange,
    /// A number lies outside the range that the command takes.
    OutOfRange,
    /// A number must be positive.
    NotPositive,
    /// The command was given too few or too many arguments; holds its name.
    Arity(Cow<'static, str>),
    /// An expiry time that cannot be represented or is not allowed; holds the command's name.
    InvalidExpire(Cow<'static, str>),
    /// A string would grow beyond `proto-max-bulk-len`.
    StringTooLong,
    /// An increment would overflow.
    Overflow,
    /// An increment would produce a NaN or an infinity.
    NanOrInfinity,
    /// The target of a RESTORE or similar exists.
    BusyKey,
    /// A command cannot find the database.
    DbIndexOutOfRange,
    /// Source and destination are the same object.
    SameObject,
    /// Memory is above `maxmemory` and nothing can be evicted.
    OutOfMemory,
    /// A timeout argument is negative.
    NegativeTimeout,
    /// A timeout argument is no number.
    NotATimeout,
    /// A timeout argument lies too far in the future.
    TimeoutOutOfRange,
    /// Any other text: the prefix (`ERR`, `MISCONF`, ...) and the message.
    Other(&'static str, Cow<'static, str>),
}

impl CommandError {
    /// An error with the prefix `ERR`.
    pub fn err(text: impl Into<Cow<'static, str>>) -> CommandError {
        CommandError::Other("ERR", text.into())
    }

    /// The error's prefix, which INFO's `errorstats` counts by.
    pub fn prefix(&self) -> &'static str {
        match self {
            CommandError::WrongType => "WRONGTYPE",
            CommandError::BusyKey => "BUSYKEY",
            CommandError::OutOfMemory => "OOM",
            CommandError::Other(prefix, _) => prefix,
            _ => "ERR",
        }
    }

    /// The message without the prefix.
    pub fn text(&self) -> String {
        let whole = self.to_string();
        whole
            .split_once(' ')
            .map_or(whole.clone(), |(_, text)| text.to_owned())
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::WrongType => {
                f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value")
            }
            CommandError::Syntax => f.write_str("ERR syntax error"),
            CommandError::NotInteger => f.write_str("ERR value is not an integer or out of range"),
            CommandError::NotFloat => f.write_str("ERR value is not a valid float"),
            CommandError::NoSuchKey => f.write_str("ERR no such key"),
            CommandError::IndexOutOfRange => f.write_str("ERR index out of range"),
            CommandError::OutOfRange => f.write_str("ERR value is out of range"),
            CommandError::NotPositive => f.write_str("ERR value is out of range, must be positive"),
            CommandError::Arity(name) => {
                write!(f, "ERR wrong number of arguments for '{name}' command")
            }
            CommandError::InvalidExpire(name) => {
                write!(f, "ERR invalid expire time in '{name}' command")
            }
            CommandError::StringTooLong => {
                f.write_str("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
            }
            CommandError::Overflow => f.write_str("ERR increment or decrement would overflow"),
            CommandError::NanOrInfinity => {
                f.write_str("ERR increment would produce NaN or Infinity")
            }
            CommandError::BusyKey => f.write_str("BUSYKEY Target key name already exists."),
            CommandError::DbIndexOutOfRange => f.write_str("ERR DB index is out of range"),
            CommandError::SameObject => {
                f.write_str("ERR source and destination objects are the same")
            }
            CommandError::OutOfMemory => {
                f.write_str("OOM command not allowed when used memory > 'maxmemory'.")
            }
            CommandError::NegativeTimeout => f.write_str("ERR timeout is negative"),
            CommandError::NotATimeout => f.write_str("ERR timeout is not a float or out of range"),
            CommandError::TimeoutOutOfRange => f.write_str("ERR timeout is out of range"),
            CommandError::Other(prefix, text) => write!(f, "{prefix} {text}"),
        }
    }
}

impl std::error::Error for CommandError {}

/// What a message shows of bytes that a client sent: what C would print of them, which ends at a zero byte, and no more
/// than `len_max` bytes.
pub fn shown(bytes: &[u8], len_max: usize) -> Cow<'_, str> {
    let bytes = &bytes[..bytes.len().min(len_max)];
    let printed = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(printed)
}

/// How much of a name that does not exist a message shows.
pub const SHOWN_NAME_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_what_c_would_print() {
        assert_eq!(shown(b"name", 128), "name");
        assert_eq!(shown(b"na\0me", 128), "na");
        assert_eq!(shown(b"\0", 128), "");
        assert_eq!(shown(b"name", 2), "na");
        assert_eq!(shown(b"na\xff", 128), "na\u{fffd}");
    }
}
