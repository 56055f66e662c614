//! Sets: the family's rows of the command table.
//!
//! * [`members`]: adding, removing and finding members;
//! * [`random`]: members chosen at random;
//! * [`algebra`]: intersections, unions and differences.

mod algebra;
mod members;
mod random;
#[cfg(test)]
mod tests;

use super::{Command, CommandSpec, Flags, Group, KeySpec, Work, work};

const SPEC: CommandSpec = CommandSpec {
    group: Group::Set,
    ..CommandSpec::DEFAULT
};

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const FAST: Flags = Flags::FAST;

const SOURCE_AND_DESTINATION: KeySpec = KeySpec::Range {
    first: 1,
    last: 2,
    step: 1,
    access: "RW access delete | RW insert",
};

const COUNTED: KeySpec = KeySpec::Counted {
    count_at: 1,
    dest: None,
    access: "RO access",
};

const PER_MEMBER: &str = "O(N) where N is the number of members given.";
const PER_RETURNED: &str = "O(N) where N is the number of members returned.";
const INTERSECTION: &str =
    "O(N*M) at worst, where N is the size of the smallest set and M the number of sets.";
const EVERYTHING: &str = "O(N) where N is the number of members in all sets together.";

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "sadd",
            arity: -3,
            flags: GROW.with(FAST),
            keys: KeySpec::first("RW insert"),
            complexity: PER_MEMBER,
            summary: "Adds members to a set; creates the key if there is none.",
            syntax: "key member [member ...]",
            ..SPEC
        },
        run: members::sadd,
    },
    Command {
        spec: CommandSpec {
            name: "srem",
            arity: -3,
            flags: WRITE.with(FAST),
            keys: KeySpec::first("RW delete"),
            complexity: PER_MEMBER,
            summary: "Removes members from a set, and the key with its last member.",
            syntax: "key member [member ...]",
            ..SPEC
        },
        run: members::srem,
    },
    Command {
        spec: CommandSpec {
            name: "smove",
            arity: 4,
            flags: WRITE.with(FAST),
            keys: SOURCE_AND_DESTINATION,
            summary: "Moves a member from one set to another.",
            syntax: "source destination member",
            ..SPEC
        },
        run: members::smove,
    },
    Command {
        spec: CommandSpec {
            name: "sismember",
            arity: 3,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            summary: "Tells whether a set has a member.",
            syntax: "key member",
            ..SPEC
        },
        run: members::sismember,
    },
    Command {
        spec: CommandSpec {
            name: "smismember",
            arity: -3,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO access"),
            since: "6.2.0",
            complexity: PER_MEMBER,
            summary: "Tells of several members whether a set has them.",
            syntax: "key member [member ...]",
            ..SPEC
        },
        run: members::smismember,
    },
    Command {
        spec: CommandSpec {
            name: "scard",
            arity: 2,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            summary: "Returns the number of members.",
            syntax: "key",
            ..SPEC
        },
        run: members::scard,
    },
    Command {
        spec: CommandSpec {
            name: "smembers",
            work: Work::Grows(work::every_key),
            arity: 2,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: "O(N) where N is the number of members in the set.",
            summary: "Returns all members of a set.",
            syntax: "key",
            ..SPEC
        },
        run: members::smembers,
    },
    Command {
        spec: CommandSpec {
            name: "sscan",
            work: Work::Grows(work::count_option),
            arity: -3,
            flags: READ,
            keys: KeySpec::first("RO access"),
            since: "2.8.0",
            complexity: "O(1) for a call, O(N) for a walk from start to end, where N is the number of members.",
            summary: "Walks the members of a set with a cursor.",
            syntax: "key cursor [MATCH pattern] [COUNT count]",
            ..SPEC
        },
        run: members::sscan,
    },
    Command {
        spec: CommandSpec {
            name: "spop",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: WRITE.with(FAST),
            keys: KeySpec::first("RW access delete"),
            complexity: PER_RETURNED,
            summary: "Removes members chosen at random, and returns them.",
            syntax: "key [count]",
            ..SPEC
        },
        run: random::spop,
    },
    Command {
        spec: CommandSpec {
            name: "srandmember",
            work: Work::Grows(work::count_third),
            arity: -2,
            flags: READ,
            keys: KeySpec::first("RO access"),
            complexity: PER_RETURNED,
            summary: "Returns members chosen at random.",
            syntax: "key [count]",
            ..SPEC
        },
        run: random::srandmember,
    },
    Command {
        spec: CommandSpec {
            name: "sinter",
            work: Work::Grows(work::smallest_key),
            arity: -2,
            flags: READ,
            keys: KeySpec::all("RO access"),
            complexity: INTERSECTION,
            summary: "Returns the members that several sets have in common.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: algebra::sinter,
    },
    Command {
        spec: CommandSpec {
            name: "sintercard",
            work: Work::Grows(work::smallest_key),
            arity: -3,
            flags: READ.with(Flags::MOVABLE_KEYS),
            keys: COUNTED,
            since: "7.0.0",
            complexity: INTERSECTION,
            summary: "Returns the number of members that several sets have in common.",
            syntax: "numkeys key [key ...] [LIMIT limit]",
            ..SPEC
        },
        run: algebra::sintercard,
    },
    Command {
        spec: CommandSpec {
            name: "sinterstore",
            work: Work::Grows(work::smallest_key),
            arity: -3,
            flags: GROW,
            keys: KeySpec::all("RW update | RO access"),
            complexity: INTERSECTION,
            summary: "Stores the members that several sets have in common as another set.",
            syntax: "destination key [key ...]",
            ..SPEC
        },
        run: algebra::sinterstore,
    },
    Command {
        spec: CommandSpec {
            name: "sunion",
            work: Work::Grows(work::every_key),
            arity: -2,
            flags: READ,
            keys: KeySpec::all("RO access"),
            complexity: EVERYTHING,
            summary: "Returns the members that any of several sets has.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: algebra::sunion,
    },
    Command {
        spec: CommandSpec {
            name: "sunionstore",
            work: Work::Grows(work::every_key),
            arity: -3,
            flags: GROW,
            keys: KeySpec::all("OW update | RO access"),
            complexity: EVERYTHING,
            summary: "Stores the members that any of several sets has as another set.",
            syntax: "destination key [key ...]",
            ..SPEC
        },
        run: algebra::sunionstore,
    },
    Command {
        spec: CommandSpec {
            name: "sdiff",
            work: Work::Grows(work::every_key),
            arity: -2,
            flags: READ,
            keys: KeySpec::all("RO access"),
            complexity: EVERYTHING,
            summary: "Returns the members of the first set that the other sets lack.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: algebra::sdiff,
    },
    Command {
        spec: CommandSpec {
            name: "sdiffstore",
            work: Work::Grows(work::every_key),
            arity: -3,
            flags: GROW,
            keys: KeySpec::all("OW update | RO access"),
            complexity: EVERYTHING,
            summary: "Stores the members of the first set that the other sets lack as another set.",
            syntax: "destination key [key ...]",
            ..SPEC
        },
        run: algebra::sdiffstore,
    },
];
