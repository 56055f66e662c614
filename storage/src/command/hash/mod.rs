//! Hashes: the family's rows of the command table.
//!
//! * [`read`]: what is in a hash;
//! * [`write`]: setting, counting and removing fields.

mod read;
#[cfg(test)]
mod tests;
mod write;

use super::{Command, CommandSpec, Deprecated, Flags, Group, KeySpec, Work, work};

const SPEC: CommandSpec = CommandSpec {
    group: Group::Hash,
    since: "2.0.0",
    ..CommandSpec::DEFAULT
};

const READ: Flags = Flags::READONLY;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST);
const FAST: Flags = Flags::FAST;

const PER_FIELD: &str = "O(N) where N is the number of fields given.";
const WHOLE: &str = "O(N) where N is the number of fields in the hash.";

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "hset",
            arity: -4,
            flags: GROW,
            keys: KeySpec::first("RW update"),
            complexity: PER_FIELD,
            summary: "Sets fields of a hash; creates the key if there is none.",
            syntax: "key field value [field value ...]",
            ..SPEC
        },
        run: write::hset,
    },
    Command {
        spec: CommandSpec {
            name: "hmset",
            arity: -4,
            flags: GROW,
            keys: KeySpec::first("RW update"),
            complexity: PER_FIELD,
            summary: "Sets fields of a hash (an old form of HSET).",
            syntax: "key field value [field value ...]",
            deprecated: Some(Deprecated {
                since: "4.0.0",
                instead: "`HSET` with several fields",
            }),
            ..SPEC
        },
        run: write::hmset,
    },
    Command {
        spec: CommandSpec {
            name: "hsetnx",
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("RW insert"),
            summary: "Sets a field of a hash unless the hash has it already.",
            syntax: "key field value",
            ..SPEC
        },
        run: write::hsetnx,
    },
    Command {
        spec: CommandSpec {
            name: "hget",
            arity: 3,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO access"),
            summary: "Returns the value of a field.",
            syntax: "key field",
            ..SPEC
        },
        run: read::hget,
    },
    Command {
        spec: CommandSpec {
            name: "hmget",
            arity: -3,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO access"),
            complexity: PER_FIELD,
            summary: "Returns the values of several fields.",
            syntax: "key field [field ...]",
            ..SPEC
        },
        run: read::hmget,
    },
    Command {
        spec: CommandSpec {
            name: "hgetall",
            work: Work::Grows(work::every_key),
            arity: 2,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: WHOLE,
            summary: "Returns all fields of a hash with their values.",
            syntax: "key",
            ..SPEC
        },
        run: read::hgetall,
    },
    Command {
        spec: CommandSpec {
            name: "hkeys",
            work: Work::Grows(work::every_key),
            arity: 2,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: WHOLE,
            summary: "Returns all fields of a hash.",
            syntax: "key",
            ..SPEC
        },
        run: read::hkeys,
    },
    Command {
        spec: CommandSpec {
            name: "hvals",
            work: Work::Grows(work::every_key),
            arity: 2,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: WHOLE,
            summary: "Returns all values of a hash.",
            syntax: "key",
            ..SPEC
        },
        run: read::hvals,
    },
    Command {
        spec: CommandSpec {
            name: "hdel",
            arity: -3,
            flags: Flags::WRITE.with(FAST),
            keys: KeySpec::first("RW delete"),
            complexity: PER_FIELD,
            summary: "Removes fields from a hash, and the key with its last field.",
            syntax: "key field [field ...]",
            ..SPEC
        },
        run: write::hdel,
    },
    Command {
        spec: CommandSpec {
            name: "hlen",
            arity: 2,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            summary: "Returns the number of fields.",
            syntax: "key",
            ..SPEC
        },
        run: read::hlen,
    },
    Command {
        spec: CommandSpec {
            name: "hstrlen",
            arity: 3,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            since: "3.2.0",
            summary: "Returns the length of a field's value.",
            syntax: "key field",
            ..SPEC
        },
        run: read::hstrlen,
    },
    Command {
        spec: CommandSpec {
            name: "hexists",
            arity: 3,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            summary: "Tells whether a hash has a field.",
            syntax: "key field",
            ..SPEC
        },
        run: read::hexists,
    },
    Command {
        spec: CommandSpec {
            name: "hincrby",
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("RW access update"),
            summary: "Adds a number to the integer in a field; a missing field counts as 0.",
            syntax: "key field increment",
            ..SPEC
        },
        run: write::hincrby,
    },
    Command {
        spec: CommandSpec {
            name: "hincrbyfloat",
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("RW access update"),
            since: "2.6.0",
            summary: "Adds a floating-point number to the one in a field; a missing field counts as 0.",
            syntax: "key field increment:double",
            ..SPEC
        },
        run: write::hincrbyfloat,
    },
    Command {
        spec: CommandSpec {
            name: "hrandfield",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: READ,
            keys: KeySpec::first("RO access"),
            since: "6.2.0",
            complexity: "O(N) where N is the number of fields returned.",
            summary: "Returns fields chosen at random.",
            syntax: "key [options= count [WITHVALUES]]",
            ..SPEC
        },
        run: read::hrandfield,
    },
    Command {
        spec: CommandSpec {
            name: "hscan",
            work: Work::Grows(work::count_option),
            arity: -3,
            flags: READ,
            keys: KeySpec::first("RO access"),
            since: "2.8.0",
            complexity: "O(1) for a call, O(N) for a walk from start to end, where N is the number of fields.",
            summary: "Walks the fields of a hash and their values with a cursor.",
            syntax: "key cursor [MATCH pattern] [COUNT count]",
            ..SPEC
        },
        run: read::hscan,
    },
];
