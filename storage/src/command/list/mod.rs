//! Lists: the family's rows of the command table.
//!
//! * [`ends`]: adding and taking elements at the ends of lists;
//! * [`blocking`]: the commands that wait for an element to take;
//! * [`inside`]: elements by position and by value.

mod blocking;
mod ends;
mod inside;
#[cfg(test)]
mod tests;

use super::{Command, CommandSpec, Deprecated, Flags, Group, KeySpec, Work, work};

const SPEC: CommandSpec = CommandSpec {
    group: Group::List,
    ..CommandSpec::DEFAULT
};

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const WAIT: Flags = Flags::WRITE.with(Flags::BLOCKING);
const FAST: Flags = Flags::FAST;
const NOSCRIPT: Flags = Flags::NOSCRIPT;
const MOVABLE: Flags = Flags::MOVABLE_KEYS;

const FROM_TO: KeySpec = KeySpec::Range {
    first: 1,
    last: 2,
    step: 1,
    access: "RW access delete | RW insert",
};

const ALL_BUT_TIMEOUT: KeySpec = KeySpec::Range {
    first: 1,
    last: -2,
    step: 1,
    access: "RW access delete",
};

const fn counted(count_at: usize) -> KeySpec {
    KeySpec::Counted {
        count_at,
        dest: None,
        access: "RW access delete",
    }
}

const PER_ELEMENT: &str = "O(N) where N is the number of elements given.";
const POPPED: &str = "O(N) where N is the number of elements returned.";
const POPPED_FROM: &str =
    "O(N+M) where N is the number of keys given and M the number of elements returned.";
const KEYS: &str = "O(N) where N is the number of keys given.";
const SEEK: &str = "O(log(N)) where N is the length of the list.";

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "lpush",
            arity: -3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW insert"),
            complexity: PER_ELEMENT,
            summary: "Adds elements before the first one of a list; creates the key if there is none.",
            syntax: "key element [element ...]",
            ..SPEC
        },
        run: ends::lpush,
    },
    Command {
        spec: CommandSpec {
            name: "rpush",
            arity: -3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW insert"),
            complexity: PER_ELEMENT,
            summary: "Adds elements after the last one of a list; creates the key if there is none.",
            syntax: "key element [element ...]",
            ..SPEC
        },
        run: ends::rpush,
    },
    Command {
        spec: CommandSpec {
            name: "lpushx",
            arity: -3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW insert"),
            since: "2.2.0",
            complexity: PER_ELEMENT,
            summary: "Adds elements before the first one of a list if the key exists.",
            syntax: "key element [element ...]",
            ..SPEC
        },
        run: ends::lpushx,
    },
    Command {
        spec: CommandSpec {
            name: "rpushx",
            arity: -3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW insert"),
            since: "2.2.0",
            complexity: PER_ELEMENT,
            summary: "Adds elements after the last one of a list if the key exists.",
            syntax: "key element [element ...]",
            ..SPEC
        },
        run: ends::rpushx,
    },
    Command {
        spec: CommandSpec {
            name: "lpop",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: WRITE.with(FAST),
            keys: KeySpec::first("RW access delete"),
            complexity: POPPED,
            summary: "Removes and returns the first elements of a list.",
            syntax: "key [count]",
            ..SPEC
        },
        run: ends::lpop,
    },
    Command {
        spec: CommandSpec {
            name: "rpop",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: WRITE.with(FAST),
            keys: KeySpec::first("RW access delete"),
            complexity: POPPED,
            summary: "Removes and returns the last elements of a list.",
            syntax: "key [count]",
            ..SPEC
        },
        run: ends::rpop,
    },
    Command {
        spec: CommandSpec {
            name: "lmpop",
            work: Work::Grows(work::count_option),
            arity: -4,
            flags: WRITE.with(MOVABLE),
            keys: counted(1),
            since: "7.0.0",
            complexity: POPPED_FROM,
            summary: "Removes and returns elements of the first list that exists among several keys.",
            syntax: "numkeys key [key ...] <where= LEFT | RIGHT> [COUNT count]",
            ..SPEC
        },
        run: ends::lmpop,
    },
    Command {
        spec: CommandSpec {
            name: "lmove",
            arity: 5,
            flags: GROW,
            keys: FROM_TO,
            since: "6.2.0",
            summary: "Moves an element from one end of a list to one end of a list, and returns it.",
            syntax: "source destination <wherefrom= LEFT | RIGHT> <whereto= LEFT | RIGHT>",
            ..SPEC
        },
        run: ends::lmove,
    },
    Command {
        spec: CommandSpec {
            name: "rpoplpush",
            arity: 3,
            flags: GROW,
            keys: FROM_TO,
            since: "1.2.0",
            summary: "Moves the last element of a list to the beginning of a list, and returns it.",
            syntax: "source destination",
            deprecated: Some(Deprecated {
                since: "6.2.0",
                instead: "`LMOVE` with `RIGHT` and `LEFT`",
            }),
            ..SPEC
        },
        run: ends::rpoplpush,
    },
    Command {
        spec: CommandSpec {
            name: "blpop",
            arity: -3,
            flags: WAIT.with(NOSCRIPT),
            keys: ALL_BUT_TIMEOUT,
            since: "2.0.0",
            complexity: KEYS,
            summary: "Removes and returns the first element of the first list that exists among several keys; waits for one.",
            syntax: "key [key ...] timeout",
            ..SPEC
        },
        run: blocking::blpop,
    },
    Command {
        spec: CommandSpec {
            name: "brpop",
            arity: -3,
            flags: WAIT.with(NOSCRIPT),
            keys: ALL_BUT_TIMEOUT,
            since: "2.0.0",
            complexity: KEYS,
            summary: "Removes and returns the last element of the first list that exists among several keys; waits for one.",
            syntax: "key [key ...] timeout",
            ..SPEC
        },
        run: blocking::brpop,
    },
    Command {
        spec: CommandSpec {
            name: "blmpop",
            work: Work::Grows(work::count_option),
            arity: -5,
            flags: WAIT.with(MOVABLE),
            keys: counted(2),
            since: "7.0.0",
            complexity: POPPED_FROM,
            summary: "Removes and returns elements of the first list that exists among several keys; waits for one.",
            syntax: "timeout numkeys key [key ...] <where= LEFT | RIGHT> [COUNT count]",
            ..SPEC
        },
        run: blocking::blmpop,
    },
    Command {
        spec: CommandSpec {
            name: "blmove",
            arity: 6,
            flags: WAIT.with(NOSCRIPT).with(Flags::DENYOOM),
            keys: FROM_TO,
            since: "6.2.0",
            summary: "Moves an element from one end of a list to one end of a list, and returns it; waits for one.",
            syntax: "source destination <wherefrom= LEFT | RIGHT> <whereto= LEFT | RIGHT> timeout",
            ..SPEC
        },
        run: blocking::blmove,
    },
    Command {
        spec: CommandSpec {
            name: "brpoplpush",
            arity: 4,
            flags: WAIT.with(NOSCRIPT).with(Flags::DENYOOM),
            keys: FROM_TO,
            since: "2.2.0",
            summary: "Moves the last element of a list to the beginning of a list, and returns it; waits for one.",
            syntax: "source destination timeout",
            deprecated: Some(Deprecated {
                since: "6.2.0",
                instead: "`BLMOVE` with `RIGHT` and `LEFT`",
            }),
            ..SPEC
        },
        run: blocking::brpoplpush,
    },
    Command {
        spec: CommandSpec {
            name: "llen",
            arity: 2,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            summary: "Returns the number of elements.",
            syntax: "key",
            ..SPEC
        },
        run: inside::llen,
    },
    Command {
        spec: CommandSpec {
            name: "lindex",
            arity: 3,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: SEEK,
            summary: "Returns the element at a position.",
            syntax: "key index",
            ..SPEC
        },
        run: inside::lindex,
    },
    Command {
        spec: CommandSpec {
            name: "lrange",
            work: Work::Grows(work::between_ranks),
            arity: 4,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: "O(log(N)+M) where N is the length of the list and M the number of elements returned.",
            summary: "Returns the elements between two positions.",
            syntax: "key start stop",
            ..SPEC
        },
        run: inside::lrange,
    },
    Command {
        spec: CommandSpec {
            name: "lpos",
            work: Work::Grows(work::every_key),
            arity: -3,
            flags: READ,
            keys: KeySpec::first("RO access"),
            since: "6.0.6",
            complexity: "O(N) where N is the number of elements looked at.",
            summary: "Returns the positions of elements with a given value.",
            syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
            ..SPEC
        },
        run: inside::lpos,
    },
    Command {
        spec: CommandSpec {
            name: "lset",
            arity: 4,
            flags: GROW,
            keys: KeySpec::first("RW update"),
            complexity: SEEK,
            summary: "Replaces the element at a position.",
            syntax: "key index element",
            ..SPEC
        },
        run: inside::lset,
    },
    Command {
        spec: CommandSpec {
            name: "linsert",
            work: Work::Grows(work::every_key),
            arity: 5,
            flags: GROW,
            keys: KeySpec::first("RW insert"),
            since: "2.2.0",
            complexity: "O(N) where N is the number of elements before the pivot.",
            summary: "Adds an element before or after another one.",
            syntax: "key <where= BEFORE | AFTER> pivot element",
            ..SPEC
        },
        run: inside::linsert,
    },
    Command {
        spec: CommandSpec {
            name: "lrem",
            work: Work::Grows(work::every_key),
            arity: 4,
            flags: WRITE,
            keys: KeySpec::first("RW delete"),
            complexity: "O(N+M*log(N)) where N is the length of the list and M the number of elements removed.",
            summary: "Removes elements with a given value.",
            syntax: "key count element",
            ..SPEC
        },
        run: inside::lrem,
    },
    Command {
        spec: CommandSpec {
            name: "ltrim",
            work: Work::Grows(work::every_key),
            arity: 4,
            flags: WRITE,
            keys: KeySpec::first("RW delete"),
            complexity: "O(log(N)+M) where N is the length of the list and M the number of elements removed.",
            summary: "Removes all elements but those between two positions.",
            syntax: "key start stop",
            ..SPEC
        },
        run: inside::ltrim,
    },
];
