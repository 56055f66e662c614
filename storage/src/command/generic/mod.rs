//! Keys of any type: the family's rows of the command table.
//!
//! * [`keys`]: removing, finding, renaming, copying and moving single keys;
//! * [`walk`]: all keys of a database;
//! * [`object`]: how a value is kept.

mod keys;
mod object;
#[cfg(test)]
mod tests;
mod walk;

use super::{Command, CommandSpec, Flags, KeySpec, Keys, Work, work};

pub(super) use object::{encoding, reference_count, type_name};
pub(super) use walk::walk_slots;

const SPEC: CommandSpec = CommandSpec::DEFAULT;

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE;
const FAST: Flags = Flags::FAST;

/// Keys at 1 and 2.
const fn two(access: &'static str) -> KeySpec {
    KeySpec::Range {
        first: 1,
        last: 2,
        step: 1,
        access,
    }
}

/// The key of a subcommand.
const SECOND: KeySpec = KeySpec::Range {
    first: 2,
    last: 2,
    step: 1,
    access: "RO",
};

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "del",
            arity: -2,
            flags: WRITE,
            keys: KeySpec::all("RM delete"),
            complexity: "O(N) where N is the number of keys. Large values are freed in the background.",
            summary: "Removes keys.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: keys::del,
    },
    Command {
        spec: CommandSpec {
            name: "unlink",
            arity: -2,
            flags: WRITE.with(FAST),
            keys: KeySpec::all("RM delete"),
            since: "4.0.0",
            complexity: "O(N) where N is the number of keys. Large values are freed in the background.",
            summary: "Removes keys (as DEL does).",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: keys::del,
    },
    Command {
        spec: CommandSpec {
            name: "exists",
            arity: -2,
            flags: READ.with(FAST),
            keys: KeySpec::all("RO"),
            complexity: "O(N) where N is the number of keys.",
            summary: "Counts how many of the keys exist.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: keys::exists,
    },
    Command {
        spec: CommandSpec {
            name: "type",
            arity: 2,
            flags: READ.with(FAST),
            keys: KeySpec::first("RO"),
            summary: "Returns the type of the value under a key.",
            syntax: "key",
            ..SPEC
        },
        run: keys::type_of,
    },
    Command {
        spec: CommandSpec {
            name: "touch",
            arity: -2,
            flags: READ.with(FAST),
            keys: KeySpec::all("RO"),
            since: "3.2.1",
            complexity: "O(N) where N is the number of keys.",
            summary: "Marks keys as used, and counts how many of them exist.",
            syntax: "key [key ...]",
            ..SPEC
        },
        run: keys::touch,
    },
    Command {
        spec: CommandSpec {
            name: "rename",
            arity: 3,
            flags: WRITE,
            keys: two("RW access delete | OW update"),
            summary: "Gives a value another key, in place of what that key held.",
            syntax: "key newkey",
            ..SPEC
        },
        run: keys::rename,
    },
    Command {
        spec: CommandSpec {
            name: "renamenx",
            arity: 3,
            flags: WRITE.with(FAST),
            keys: two("RW access delete | OW insert"),
            summary: "Gives a value another key, if that key does not exist.",
            syntax: "key newkey",
            ..SPEC
        },
        run: keys::renamenx,
    },
    Command {
        spec: CommandSpec {
            name: "copy",
            arity: -3,
            flags: WRITE.with(Flags::DENYOOM).with(Flags::ALL_KEYS),
            keys: two("RO access | OW update"),
            // Without DB and its number both keys are in the selected database.
            all_keys_if: Some(|args| args.len() > 4),
            since: "6.2.0",
            complexity: "O(1): a collection and its copy share what neither has changed.",
            summary: "Copies a value to another key, there or in another database.",
            syntax: "source destination [DB destination-db] [REPLACE]",
            ..SPEC
        },
        run: keys::copy,
    },
    Command {
        spec: CommandSpec {
            name: "move",
            work: Work::Waits,
            arity: 3,
            flags: WRITE.with(FAST).with(Flags::ALL_KEYS),
            keys: KeySpec::first("RW access update"),
            summary: "Moves a key to another database.",
            syntax: "key db",
            ..SPEC
        },
        run: keys::move_to,
    },
    Command {
        spec: CommandSpec {
            name: "randomkey",
            arity: 1,
            flags: READ.with(Flags::WALKS),
            summary: "Returns a key picked at random.",
            ..SPEC
        },
        run: walk::randomkey,
    },
    Command {
        spec: CommandSpec {
            name: "keys",
            work: Work::Grows(work::database),
            arity: 2,
            flags: READ.with(Flags::WALKS),
            complexity: "O(N) where N is the number of keys in the database.",
            summary: "Returns all keys that match a pattern.",
            syntax: "pattern",
            categories: &["dangerous"],
            ..SPEC
        },
        run: walk::keys,
    },
    Command {
        spec: CommandSpec {
            name: "scan",
            work: Work::Grows(work::scan),
            arity: -2,
            flags: READ.with(Flags::WALKS),
            since: "2.8.0",
            complexity: "O(1) for each call, O(N) for all keys of the database.",
            summary: "Goes through the keys of a database, some at each call.",
            syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
            ..SPEC
        },
        run: walk::scan,
    },
    Command {
        spec: CommandSpec {
            name: "object",
            arity: -2,
            keys: KeySpec::Custom {
                first: 0,
                last: 0,
                step: 0,
                find: key_of_subcommand,
                access: "RO",
                elsewhere: &[],
            },
            since: "2.2.3",
            complexity: "Depends on the subcommand.",
            summary: "How the value under a key is kept.",
            subcommands: &[
                CommandSpec {
                    name: "object|encoding",
                    summary: "Returns the name of the value's encoding.",
                    ..OBJECT
                },
                CommandSpec {
                    name: "object|freq",
                    since: "4.0.0",
                    summary: "Returns how often the key was used, on a logarithmic scale.",
                    ..OBJECT
                },
                CommandSpec {
                    name: "object|idletime",
                    summary: "Returns the seconds since the key was last used.",
                    ..OBJECT
                },
                CommandSpec {
                    name: "object|refcount",
                    summary: "Returns the number of references to the value.",
                    ..OBJECT
                },
                CommandSpec {
                    name: "object|help",
                    arity: 2,
                    flags: Flags::LOADING.with(Flags::STALE),
                    since: "6.2.0",
                    summary: "Lists the subcommands.",
                    ..SPEC
                },
            ],
            ..SPEC
        },
        run: object::object,
    },
];

const OBJECT: CommandSpec = CommandSpec {
    arity: 3,
    flags: READ,
    keys: SECOND,
    since: "2.2.3",
    syntax: "key",
    ..SPEC
};

fn key_of_subcommand(args: &[&[u8]]) -> Keys {
    (2..args.len().min(3)).collect()
}
