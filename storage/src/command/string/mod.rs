//! Strings: the family's rows of the command table.
//!
//! * [`basic`]: reading and writing whole values;
//! * [`number`]: the text of a value as a number;
//! * [`part`]: pieces of a value;
//! * [`lcs`]: the longest common subsequence of two values;
//! * [`expiry`]: the options that say when the written key expires.

mod basic;
mod expiry;
mod lcs;
mod number;
mod part;
#[cfg(test)]
mod tests;

use super::{Command, CommandSpec, Deprecated, Flags, Group, KeySpec, Work, work};

const SPEC: CommandSpec = CommandSpec {
    group: Group::String,
    ..CommandSpec::DEFAULT
};

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const FAST: Flags = Flags::FAST;

/// Keys at every other position.
const fn pairs(access: &'static str) -> KeySpec {
    KeySpec::Range {
        first: 1,
        last: -1,
        step: 2,
        access,
    }
}

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "get",
            arity: 2,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO access"),
            summary: "Returns the string value of a key.",
            syntax: "key",
            ..SPEC
        },
        run: basic::get,
    },
    Command {
        spec: CommandSpec {
            name: "set",
            arity: -3,
            flags: GROW,
            keys: KeySpec::first("RW access update variable_flags"),
            access_with: Some(basic::set_access),
            summary: "Stores a string under a key, whatever the key held before.",
            syntax: "key value [condition= NX | XX] [GET] [expiration= EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                     PXAT unix-time-milliseconds | KEEPTTL]",
            ..SPEC
        },
        run: basic::set,
    },
    Command {
        spec: CommandSpec {
            name: "setnx",
            arity: 3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("OW insert"),
            summary: "Stores a string under a key that does not exist yet.",
            syntax: "key value",
            ..SPEC
        },
        run: basic::setnx,
    },
    Command {
        spec: CommandSpec {
            name: "setex",
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("OW update"),
            since: "2.0.0",
            summary: "Stores a string under a key that expires after some seconds.",
            syntax: "key seconds value",
            ..SPEC
        },
        run: basic::setex,
    },
    Command {
        spec: CommandSpec {
            name: "psetex",
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("OW update"),
            since: "2.6.0",
            summary: "Stores a string under a key that expires after some milliseconds.",
            syntax: "key milliseconds value",
            ..SPEC
        },
        run: basic::psetex,
    },
    Command {
        spec: CommandSpec {
            name: "getset",
            arity: 3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW access update"),
            summary: "Stores a string under a key and returns the one that it held before.",
            syntax: "key value",
            deprecated: Some(Deprecated {
                since: "6.2.0",
                instead: "`SET` with `GET`",
            }),
            ..SPEC
        },
        run: basic::getset,
    },
    Command {
        spec: CommandSpec {
            name: "getdel",
            arity: 2,
            flags: WRITE.with(FAST),
            keys: KeySpec::first("RW access delete"),
            since: "6.2.0",
            summary: "Returns the string value of a key and removes the key.",
            syntax: "key",
            ..SPEC
        },
        run: basic::getdel,
    },
    Command {
        spec: CommandSpec {
            name: "getex",
            arity: -2,
            flags: WRITE.with(FAST),
            keys: KeySpec::first("RW access update"),
            since: "6.2.0",
            summary: "Returns the string value of a key and sets or removes the key's expiry.",
            syntax: "key [expiration= EX seconds | PX milliseconds | EXAT unix-time-seconds | \
                     PXAT unix-time-milliseconds | PERSIST]",
            ..SPEC
        },
        run: basic::getex,
    },
    Command {
        spec: CommandSpec {
            name: "mget",
            arity: -2,
            flags: READ.with(FAST),
            keys: KeySpec::all("RO access"),
            complexity: "O(N) where N is the number of keys.",
            summary: "Returns the string values of several keys.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: basic::mget,
    },
    Command {
        spec: CommandSpec {
            name: "mset",
            arity: -3,
            flags: GROW,
            keys: pairs("OW update"),
            since: "1.0.1",
            complexity: "O(N) where N is the number of keys.",
            summary: "Stores strings under several keys at once.",
            syntax: "key value [key value ...]",
            ..SPEC
        },
        run: basic::mset,
    },
    Command {
        spec: CommandSpec {
            name: "msetnx",
            arity: -3,
            flags: GROW,
            keys: pairs("OW insert"),
            since: "1.0.1",
            complexity: "O(N) where N is the number of keys.",
            summary: "Stores strings under several keys at once, if none of the keys exists yet.",
            syntax: "key value [key value ...]",
            ..SPEC
        },
        run: basic::msetnx,
    },
    Command {
        spec: CommandSpec {
            name: "append",
            work: Work::Grows(work::append),
            arity: 3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW insert"),
            since: "2.0.0",
            complexity: "O(1) amortised, for short additions.",
            summary: "Adds to the end of a string; creates the key if there is none.",
            syntax: "key value",
            ..SPEC
        },
        run: part::append,
    },
    Command {
        spec: CommandSpec {
            name: "strlen",
            arity: 2,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            since: "2.2.0",
            summary: "Returns the length of a string.",
            syntax: "key",
            ..SPEC
        },
        run: part::strlen,
    },
    Command {
        spec: CommandSpec {
            name: "getrange",
            work: Work::Grows(work::part_of_string),
            arity: 4,
            flags: READ,
            keys: KeySpec::first("RO access"),
            since: "2.4.0",
            complexity: "O(N) where N is the length of the part.",
            summary: "Returns a part of a string.",
            syntax: "key start end",
            ..SPEC
        },
        run: part::getrange,
    },
    Command {
        spec: CommandSpec {
            name: "substr",
            work: Work::Grows(work::part_of_string),
            arity: 4,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: "O(N) where N is the length of the part.",
            summary: "Returns a part of a string (an old name of GETRANGE).",
            syntax: "key start end",
            deprecated: Some(Deprecated {
                since: "2.0.0",
                instead: "`GETRANGE`",
            }),
            ..SPEC
        },
        run: part::getrange,
    },
    Command {
        spec: CommandSpec {
            name: "setrange",
            work: Work::Grows(work::set_range),
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("RW update"),
            since: "2.2.0",
            complexity: "O(N) where N is the length of the value.",
            summary: "Overwrites a part of a string, which grows as needed.",
            syntax: "key offset value",
            ..SPEC
        },
        run: part::setrange,
    },
    Command {
        spec: CommandSpec {
            name: "incr",
            arity: 2,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW access update"),
            summary: "Adds one to the integer under a key; a missing key counts as 0.",
            syntax: "key",
            ..SPEC
        },
        run: number::incr,
    },
    Command {
        spec: CommandSpec {
            name: "decr",
            arity: 2,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW access update"),
            summary: "Subtracts one from the integer under a key; a missing key counts as 0.",
            syntax: "key",
            ..SPEC
        },
        run: number::decr,
    },
    Command {
        spec: CommandSpec {
            name: "incrby",
            arity: 3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW access update"),
            summary: "Adds a number to the integer under a key; a missing key counts as 0.",
            syntax: "key increment",
            ..SPEC
        },
        run: number::incrby,
    },
    Command {
        spec: CommandSpec {
            name: "decrby",
            arity: 3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW access update"),
            summary: "Subtracts a number from the integer under a key; a missing key counts as 0.",
            syntax: "key decrement",
            ..SPEC
        },
        run: number::decrby,
    },
    Command {
        spec: CommandSpec {
            name: "incrbyfloat",
            arity: 3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW access update"),
            since: "2.6.0",
            summary: "Adds a floating-point number to the one under a key; a missing key counts as 0.",
            syntax: "key increment:double",
            ..SPEC
        },
        run: number::incrbyfloat,
    },
    Command {
        spec: CommandSpec {
            name: "lcs",
            work: Work::Grows(work::lcs),
            arity: -3,
            flags: READ,
            keys: KeySpec::Range {
                first: 1,
                last: 2,
                step: 1,
                access: "RO access",
            },
            since: "7.0.0",
            complexity: "O(N*M) where N and M are the lengths of the strings.",
            summary: "Finds the longest common subsequence of two strings.",
            syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]",
            ..SPEC
        },
        run: lcs::lcs,
    },
];
