//! Strings.

use super::{Command, CommandResult, CommandSpec, Ctx, Flags, Group, KeyClass, KeySpec};

const SPEC: CommandSpec = CommandSpec {
    group: Group::String,
    ..CommandSpec::DEFAULT
};

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "get",
            arity: 2,
            flags: Flags::READONLY.with(Flags::FAST),
            keys: KeySpec::first("RO access"),
            summary: "Returns the string value of a key.",
            syntax: "key",
            ..SPEC
        },
        run: get,
    },
    Command {
        spec: CommandSpec {
            name: "set",
            arity: -3,
            flags: Flags::WRITE.with(Flags::DENYOOM),
            keys: KeySpec::first("RW access update variable_flags"),
            summary: "Stores a string under a key, whatever the key held before.",
            syntax: "key value",
            ..SPEC
        },
        run: set,
    },
];

fn get(ctx: &mut Ctx<'_>) -> CommandResult {
    ctx.reply.bulk_or_null(ctx.data.string(ctx.args[1])?);
    Ok(())
}

fn set(ctx: &mut Ctx<'_>) -> CommandResult {
    let (key, value) = (ctx.args[1], ctx.args[2]);
    ctx.data.set_string(key, value, None);
    ctx.data.modified(key, KeyClass::String, "set");
    ctx.dirty += 1;
    ctx.reply.ok();
    Ok(())
}
