//! Smaller commands about the server: TIME, ROLE, LOLWUT, and what there is of ACL.

use hardtack_storage::command::{CommandError, CommandSpec, Flags, Group, shown};
use hardtack_storage::text::integer;
use rand::RngExt;

use super::command::{CATEGORIES, categories};
use super::{Call, CallResult, DONE, ServerCommand, bad_subcommand, help};

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    ..CommandSpec::DEFAULT
};

const ACL: CommandSpec = CommandSpec {
    flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE),
    since: "6.0.0",
    arity: 2,
    ..SPEC
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[
    ServerCommand {
        spec: CommandSpec {
            name: "acl",
            arity: -2,
            flags: Flags::NONE,
            complexity: "Depends on the subcommand.",
            summary: "Looks at users and command categories. There is one user: default.",
            subcommands: ACL_SUBCOMMANDS,
            ..ACL
        },
        run: acl,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "lolwut",
            arity: -1,
            flags: Flags::READONLY.with(Flags::FAST),
            since: "5.0.0",
            summary: "Draws something, and tells the version.",
            syntax: "[VERSION version]",
            ..SPEC
        },
        run: lolwut,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "role",
            flags: Flags::NOSCRIPT
                .with(Flags::LOADING)
                .with(Flags::STALE)
                .with(Flags::FAST),
            categories: &["admin", "dangerous"],
            since: "2.8.12",
            summary: "Returns the server's role in replication.",
            ..SPEC
        },
        run: role,
    },
    ServerCommand {
        spec: CommandSpec {
            name: "time",
            flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST),
            since: "2.6.0",
            summary: "Returns the time: Unix seconds, and microseconds of the present second.",
            ..SPEC
        },
        run: time,
    },
];

const ACL_SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "acl|cat",
        arity: -2,
        summary: "Returns the categories of commands, or the commands of one.",
        syntax: "[categoryname]",
        ..ACL
    },
    CommandSpec {
        name: "acl|genpass",
        arity: -2,
        summary: "Makes up a password.",
        syntax: "[bits]",
        ..ACL
    },
    CommandSpec {
        name: "acl|help",
        flags: Flags::LOADING.with(Flags::STALE),
        summary: "Prints the subcommands.",
        ..ACL
    },
    CommandSpec {
        name: "acl|list",
        flags: ACL.flags.with(Flags::ADMIN),
        complexity: "O(N) where N is the number of users",
        summary: "Returns the rules of all users.",
        ..ACL
    },
    CommandSpec {
        name: "acl|users",
        flags: ACL.flags.with(Flags::ADMIN),
        complexity: "O(N) where N is the number of users",
        summary: "Returns the names of all users.",
        ..ACL
    },
    CommandSpec {
        name: "acl|whoami",
        summary: "Returns the connection's user.",
        ..ACL
    },
];

fn time(call: &mut Call<'_, '_>) -> CallResult {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    call.reply.array(2);
    call.reply.bulk_int(now.as_secs() as i64);
    call.reply.bulk_int(now.subsec_micros().into());
    DONE
}

fn role(call: &mut Call<'_, '_>) -> CallResult {
    let log = call.server.engine.log();
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.int(log.map_or(0, |log| log.appended().0) as i64);
    call.reply.array(0);
    DONE
}

fn lolwut(call: &mut Call<'_, '_>) -> CallResult {
    const WIDTH: usize = 40;
    const HEIGHT: usize = 6;
    let mut rng = rand::rng();
    let mut text = String::new();
    // Crumbs of ship's biscuit, fewer towards the bottom.
    for row in 0..HEIGHT {
        let line: String = (0..WIDTH)
            .map(|_| match rng.random_range(0..=row * 2 + 2) {
                0 => '#',
                1 => '+',
                2 => '.',
                _ => ' ',
            })
            .collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&format!(
        "\nHardtack ver. {} - Redis ver. {}\n",
        env!("CARGO_PKG_VERSION"),
        crate::REDIS_VERSION
    ));
    call.reply.verbatim("txt", text.as_bytes());
    DONE
}

fn acl(call: &mut Call<'_, '_>) -> CallResult {
    match call.args[1].to_ascii_lowercase().as_slice() {
        b"whoami" => call.reply.bulk(b"default"),
        b"users" => {
            call.reply.array(1);
            call.reply.bulk(b"default");
        }
        b"list" => {
            call.reply.array(1);
            let config = call.server.config();
            let secret = match config.requirepass.is_empty() {
                true => "nopass",
                false => "#(hidden)",
            };
            call.reply
                .bulk(format!("user default on {secret} ~* &* +@all").as_bytes());
        }
        b"cat" => return cat(call),
        b"genpass" => return genpass(call),
        _ => help(call.reply, "acl", ACL_SUBCOMMANDS),
    }
    DONE
}

fn cat(call: &mut Call<'_, '_>) -> CallResult {
    match &call.args[2..] {
        [] => {
            call.reply.array(CATEGORIES.len());
            CATEGORIES
                .iter()
                .for_each(|category| call.reply.bulk(category.as_bytes()));
        }
        [wanted] => {
            let Some(wanted) = CATEGORIES
                .iter()
                .find(|name| name.as_bytes().eq_ignore_ascii_case(wanted))
            else {
                let wanted = shown(wanted, wanted.len());
                return Err(CommandError::err(format!("Unknown category '{wanted}'")));
            };
            let all = call.server.commands.all();
            let names: Vec<&str> = all
                .iter()
                .flat_map(|(_, entry)| std::iter::once(*entry).chain(&entry.subcommands))
                .filter(|entry| categories(entry.spec).contains(wanted))
                .map(|entry| entry.spec.name)
                .collect();
            call.reply.array(names.len());
            names
                .iter()
                .for_each(|name| call.reply.bulk(name.as_bytes()));
        }
        _ => {
            return Err(bad_subcommand("ACL", call.args[1]));
        }
    }
    DONE
}

fn genpass(call: &mut Call<'_, '_>) -> CallResult {
    const BITS_MAX: i64 = 4096;
    let bits = match &call.args[2..] {
        [] => 256,
        [bits] => integer::parse_i64(bits).ok_or(CommandError::NotInteger)?,
        _ => {
            return Err(bad_subcommand("ACL", call.args[1]));
        }
    };
    if !(1..=BITS_MAX).contains(&bits) {
        return Err(CommandError::err(
            "ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let digits = (bits as usize).div_ceil(4);
    let mut rng = rand::rng();
    let password: String = (0..digits)
        .map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)]))
        .collect();
    call.reply.bulk(password.as_bytes());
    DONE
}
