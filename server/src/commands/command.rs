//! COMMAND: the command table, as clients can ask for it.

use std::sync::Arc;

use hardtack_storage::command::{
    Access, CommandError, CommandSpec, Elsewhere, Flags, Group, KeySpec, Reply,
};
use hardtack_storage::text::glob;

use super::syntax::{self, Arg, Kind};
use super::{Call, CallResult, DONE, Entry, ServerCommand, help};

const SPEC: CommandSpec = CommandSpec {
    group: Group::Server,
    flags: Flags::LOADING.with(Flags::STALE),
    categories: &["connection"],
    since: "2.8.13",
    ..CommandSpec::DEFAULT
};

/// The chapter's rows of the command table.
pub(super) static COMMANDS: &[ServerCommand] = &[ServerCommand {
    spec: CommandSpec {
        name: "command",
        arity: -1,
        complexity: "O(N) where N is the number of commands",
        summary: "Returns what there is to know of all commands.",
        subcommands: SUBCOMMANDS,
        ..SPEC
    },
    run: command,
}];

const SUBCOMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "command|count",
        arity: 2,
        summary: "Returns the number of commands.",
        ..SPEC
    },
    CommandSpec {
        name: "command|docs",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands asked for",
        summary: "Returns the documentation of commands.",
        syntax: "[command-name [command-name ...]]",
        ..SPEC
    },
    CommandSpec {
        name: "command|getkeys",
        arity: -4,
        complexity: "O(N) where N is the number of arguments",
        summary: "Returns the keys among the arguments of a command.",
        syntax: "command [arg [arg ...]]",
        ..SPEC
    },
    CommandSpec {
        name: "command|getkeysandflags",
        arity: -4,
        since: "7.0.0",
        complexity: "O(N) where N is the number of arguments",
        summary: "Returns the keys among the arguments of a command, and what it does with each.",
        syntax: "command [arg [arg ...]]",
        ..SPEC
    },
    CommandSpec {
        name: "command|help",
        arity: 2,
        since: "5.0.0",
        summary: "Prints the subcommands.",
        ..SPEC
    },
    CommandSpec {
        name: "command|info",
        arity: -2,
        complexity: "O(N) where N is the number of commands asked for",
        summary: "Returns what there is to know of some commands.",
        syntax: "[command-name [command-name ...]]",
        ..SPEC
    },
    CommandSpec {
        name: "command|list",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands",
        summary: "Returns the names of commands.",
        syntax: "[FILTERBY <filterby= MODULE module-name | ACLCAT category | PATTERN pattern>]",
        ..SPEC
    },
];

fn command(call: &mut Call<'_, '_>) -> CallResult {
    let registry = &call.server.commands;
    let Some(subcommand) = call.args.get(1) else {
        let all = registry.all();
        call.reply.array(all.len());
        all.iter().for_each(|(_, entry)| info(call.reply, entry));
        return DONE;
    };
    match subcommand.to_ascii_lowercase().as_slice() {
        b"count" => call.reply.len(registry.all().len()),
        b"docs" => all_docs(call),
        b"getkeys" => return keys(call, false),
        b"getkeysandflags" => return keys(call, true),
        b"info" => {
            let named: Vec<_> = match &call.args[2..] {
                [] => registry
                    .all()
                    .into_iter()
                    .map(|(_, entry)| Some(entry))
                    .collect(),
                names => names
                    .iter()
                    .map(|name| registry.find_full_name(name))
                    .collect(),
            };
            call.reply.array(named.len());
            for entry in named {
                match entry {
                    Some(entry) => info(call.reply, entry),
                    None => call.reply.null(),
                }
            }
        }
        b"list" => return list(call),
        _ => help(call.reply, "command", SUBCOMMANDS),
    }
    DONE
}

/// One command as COMMAND INFO shows it.
fn info(reply: &mut Reply, entry: &Entry) {
    let spec = entry.spec;
    let (first, last, step) = spec.keys.triple();
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.int(spec.arity.into());
    let flags: Vec<_> = spec.flags.names().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.int(first);
    reply.int(last);
    reply.int(step);
    let categories = categories(spec);
    reply.set(categories.len());
    categories
        .iter()
        .for_each(|category| reply.simple(&format!("@{category}")));
    let tips = tips(spec.name);
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    key_specs(reply, &spec.keys);
    reply.set(entry.subcommands.len());
    entry.subcommands.iter().for_each(|sub| info(reply, sub));
}

/// The ACL categories, in Redis's order.
pub(super) const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// The ACL categories of a command.
pub(super) fn categories(spec: &CommandSpec) -> Vec<&'static str> {
    let flags = spec.flags;
    // SORT is of no type, but counts as a command on lists, sets and sorted sets only.
    let outside_group = !spec.subcommands.is_empty() || matches!(spec.name, "sort" | "sort_ro");
    let is_in = |category: &str| {
        spec.categories.contains(&category)
            || (!outside_group && spec.group.category() == Some(category))
            || match category {
                "read" => flags.has(Flags::READONLY),
                "write" => flags.has(Flags::WRITE),
                "admin" => flags.has(Flags::ADMIN),
                "dangerous" => flags.has(Flags::ADMIN),
                "pubsub" => flags.has(Flags::PUBSUB),
                "fast" => flags.has(Flags::FAST),
                "slow" => !flags.has(Flags::FAST),
                "blocking" => flags.has(Flags::BLOCKING),
                _ => false,
            }
    };
    CATEGORIES
        .into_iter()
        .filter(|category| is_in(category))
        .collect()
}

/// One key specification of COMMAND INFO.
struct KeyPlaces {
    access: Access,
    begin: Begin,
    find: Find,
}

/// Where the first key of a specification, or the number of keys, stands.
enum Begin {
    Index(i64),
    Word { word: &'static str, from: i64 },
    Unknown,
}

/// Which keys there are from there on.
enum Find {
    Range { last: i64, step: i64 },
    Counted,
    Unknown,
}

/// The key specifications of a command, in the order in which COMMAND DOCS counts them.
fn key_places(keys: &KeySpec) -> Vec<KeyPlaces> {
    let at = |index: i64, find: Find, access: Access| KeyPlaces {
        access,
        begin: Begin::Index(index),
        find,
    };
    let (first, last, step) = keys.triple();
    let relative = |from: i64| if last < 0 { last } else { last - from };
    let one = || Find::Range { last: 0, step: 1 };
    match *keys {
        KeySpec::None => Vec::new(),
        KeySpec::Counted { count_at, dest, .. } => {
            let destination = dest.map(|dest| at(dest as i64, one(), keys.access_of(0)));
            let access = keys.access_of(usize::from(dest.is_some()));
            let counted = at(count_at as i64, Find::Counted, access);
            destination.into_iter().chain([counted]).collect()
        }
        KeySpec::Range { access, .. } => {
            let lists: Vec<Access> = access.split(" | ").collect();
            let places = lists.iter().enumerate().map(|(nth, access)| {
                let from = first + nth as i64 * step;
                if nth + 1 < lists.len() {
                    at(from, one(), access)
                } else {
                    let last = relative(from);
                    at(from, Find::Range { last, step }, access)
                }
            });
            places.collect()
        }
        KeySpec::Custom { elsewhere, .. } => {
            let last = relative(first);
            let fixed = at(first, Find::Range { last, step }, keys.access_of(0));
            let elsewhere = elsewhere.iter().map(|places| match *places {
                Elsewhere::Unknown(access) => KeyPlaces {
                    access,
                    begin: Begin::Unknown,
                    find: Find::Unknown,
                },
                Elsewhere::Behind { word, from, access } => KeyPlaces {
                    access,
                    begin: Begin::Word { word, from },
                    find: Find::Range { last: -1, step: 1 },
                },
            });
            // A container has keys only as far as its subcommands do.
            let fixed = (first > 0).then_some(fixed);
            fixed.into_iter().chain(elsewhere).collect()
        }
    }
}

fn key_specs(reply: &mut Reply, keys: &KeySpec) {
    let specs = key_places(keys);
    reply.set(specs.len());
    for KeyPlaces {
        access,
        begin,
        find,
    } in specs
    {
        reply.map(3);
        reply.bulk(b"flags");
        access_flags(reply, access);
        reply.bulk(b"begin_search");
        match begin {
            Begin::Index(index) => search(reply, "index", &[("index", index)]),
            Begin::Word { word, from } => {
                search_of(reply, "keyword", 2);
                reply.bulk(b"keyword");
                reply.bulk(word.as_bytes());
                reply.bulk(b"startfrom");
                reply.int(from);
            }
            Begin::Unknown => search(reply, "unknown", &[]),
        }
        reply.bulk(b"find_keys");
        match find {
            Find::Range { last, step } => {
                search(
                    reply,
                    "range",
                    &[("lastkey", last), ("keystep", step), ("limit", 0)],
                );
            }
            Find::Counted => {
                search(
                    reply,
                    "keynum",
                    &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)],
                );
            }
            Find::Unknown => search(reply, "unknown", &[]),
        }
    }
}

/// Begins a search of this kind, which `fields` pairs follow.
fn search_of(reply: &mut Reply, kind: &str, fields: usize) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields);
}

fn search(reply: &mut Reply, kind: &str, numbers: &[(&str, i64)]) {
    search_of(reply, kind, numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(*number);
    }
}

fn access_flags(reply: &mut Reply, access: Access) {
    let flags: Vec<&str> = access.split(' ').filter(|flag| !flag.is_empty()).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
}

fn all_docs(call: &mut Call<'_, '_>) {
    let registry = &call.server.commands;
    let named: Vec<&Arc<Entry>> = match &call.args[2..] {
        [] => registry.all().into_iter().map(|(_, entry)| entry).collect(),
        names => names
            .iter()
            .filter_map(|name| registry.find_full_name(name))
            .collect(),
    };
    call.reply.map(named.len());
    for entry in named {
        call.reply.bulk(entry.spec.name.as_bytes());
        docs(call.reply, entry);
    }
}

fn docs(reply: &mut Reply, entry: &Entry) {
    let spec = entry.spec;
    let args = syntax::parse(spec.syntax);
    let doc_flags: &[&str] = match (spec.name, spec.deprecated) {
        (_, Some(_)) => &["deprecated"],
        // For whoever works on the server.
        ("debug", _) => &["syscmd"],
        _ => &[],
    };
    let optional_fields = [
        !doc_flags.is_empty(),
        spec.deprecated.is_some(),
        spec.deprecated.is_some(),
        !args.is_empty(),
        !entry.subcommands.is_empty(),
    ];
    reply.map(4 + optional_fields.into_iter().filter(|is| *is).count());
    for (name, value) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if !doc_flags.is_empty() {
        reply.bulk(b"doc_flags");
        reply.set(doc_flags.len());
        doc_flags.iter().for_each(|flag| reply.simple(flag));
    }
    if let Some(deprecated) = spec.deprecated {
        reply.bulk(b"deprecated_since");
        reply.bulk(deprecated.since.as_bytes());
        reply.bulk(b"replaced_by");
        reply.bulk(deprecated.instead.as_bytes());
    }
    if !args.is_empty() {
        reply.bulk(b"arguments");
        let mut keys = KeyCounter {
            next: 0,
            last: key_places(&spec.keys).len() as i64 - 1,
        };
        arguments(reply, &args, &mut keys);
    }
    if !entry.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(entry.subcommands.len());
        for sub in &entry.subcommands {
            reply.bulk(sub.spec.name.as_bytes());
            docs(reply, sub);
        }
    }
}

/// Gives key arguments the numbers of the command's key specifications, one after the other.
struct KeyCounter {
    next: i64,
    /// The last one stands for all the keys that follow.
    last: i64,
}

impl KeyCounter {
    fn number(&mut self, arg: &Arg) -> Option<i64> {
        if arg.key_spec.is_some() || arg.kind != Kind::Key {
            return arg.key_spec;
        }
        let number = self.next.min(self.last);
        self.next += 1;
        Some(number)
    }
}

fn arguments(reply: &mut Reply, args: &[Arg], keys: &mut KeyCounter) {
    reply.array(args.len());
    for arg in args {
        let key_spec = keys.number(arg);
        let flags: Vec<&str> = [
            ("optional", arg.optional),
            ("multiple", arg.multiple),
            ("multiple_token", arg.multiple_token),
        ]
        .into_iter()
        .filter_map(|(name, is)| is.then_some(name))
        .collect();
        let optional_fields = [
            key_spec.is_some(),
            arg.token.is_some(),
            !flags.is_empty(),
            !arg.parts.is_empty(),
        ];
        reply.map(2 + optional_fields.into_iter().filter(|is| *is).count());
        reply.bulk(b"name");
        reply.bulk(arg.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(arg.kind.word().as_bytes());
        if let Some(number) = key_spec {
            reply.bulk(b"key_spec_index");
            reply.int(number);
        }
        if let Some(token) = &arg.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !arg.parts.is_empty() {
            reply.bulk(b"arguments");
            arguments(reply, &arg.parts, keys);
        }
    }
}

fn keys(call: &mut Call<'_, '_>, with_flags: bool) -> CallResult {
    let args = &call.args[2..];
    let entry = call.server.commands.find_request(args);
    let entry = entry.ok_or_else(|| CommandError::err("Invalid command specified"))?;
    if matches!(entry.spec.keys, KeySpec::None) {
        return Err(CommandError::err("The command has no key arguments"));
    }
    if !entry.spec.arity_fits(args.len()) {
        return Err(CommandError::err(
            "Invalid number of arguments specified for command",
        ));
    }
    let positions = entry.spec.keys.positions(args);
    if positions.is_empty() {
        return Err(CommandError::err("Invalid arguments specified for command"));
    }
    call.reply.array(positions.len());
    for (nth, position) in positions.into_iter().enumerate() {
        if with_flags {
            call.reply.array(2);
        }
        call.reply.bulk(args[position]);
        if with_flags {
            let access = match entry.spec.access_with {
                Some(access_with) => access_with(args),
                None => entry.spec.keys.access_of(nth),
            };
            access_flags(call.reply, access);
        }
    }
    DONE
}

fn list(call: &mut Call<'_, '_>) -> CallResult {
    let all = call.server.commands.all();
    let is = |arg: &[u8], word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
    let names: Vec<Vec<u8>> = match &call.args[2..] {
        [] => all
            .iter()
            .flat_map(|(name, entry)| {
                let subcommands = entry.subcommands.iter().map(|entry| entry.spec.name);
                std::iter::once(name.to_vec()).chain(subcommands.map(|name| name.into()))
            })
            .collect(),
        [filter, kind, value] if is(filter, "filterby") => {
            let matches: Box<dyn Fn(&CommandSpec) -> bool> = if is(kind, "module") {
                Box::new(|_| false)
            } else if is(kind, "aclcat") {
                let wanted = value.to_ascii_lowercase();
                Box::new(move |spec| {
                    categories(spec)
                        .iter()
                        .any(|category| category.as_bytes() == wanted)
                })
            } else if is(kind, "pattern") {
                Box::new(|spec| glob::matches(value, spec.name.as_bytes(), true))
            } else {
                return Err(CommandError::Syntax);
            };
            all.iter()
                .flat_map(|(_, entry)| std::iter::once(*entry).chain(&entry.subcommands))
                .filter(|entry| matches(entry.spec))
                .map(|entry| entry.spec.name.as_bytes().to_vec())
                .collect()
        }
        _ => return Err(CommandError::Syntax),
    };
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name));
    DONE
}

/// What a client of several servers should know of a command.
fn tips(name: &str) -> &'static [&'static str] {
    const ALL_SHARDS_SUM: &[&str] = &["request_policy:all_shards", "response_policy:agg_sum"];
    const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
    const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
    const SPECIAL: &[&str] = &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ];
    const SPECIAL_NODES: &[&str] = &[
        "nondeterministic_output",
        "request_policy:all_nodes",
        "response_policy:special",
    ];
    const RANDOM: &[&str] = &["nondeterministic_output"];
    const RANDOM_ORDER: &[&str] = &["nondeterministic_output_order"];
    match name {
        "dbsize" => ALL_SHARDS_SUM,
        "del" | "exists" | "unlink" | "touch" => {
            &["request_policy:multi_shard", "response_policy:agg_sum"]
        }
        "mget" => &["request_policy:multi_shard"],
        "mset" => &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        "msetnx" => &["request_policy:multi_shard", "response_policy:agg_min"],
        "flushall" | "flushdb" | "memory|purge" => ALL_SHARDS,
        "ping" => ALL_SHARDS,
        "config|set" | "latency|reset" | "slowlog|reset" => ALL_NODES,
        "keys" => &["request_policy:all_shards", "nondeterministic_output_order"],
        "randomkey" => &["request_policy:all_shards", "nondeterministic_output"],
        "scan" => &["nondeterministic_output", "request_policy:special"],
        "wait" => &["request_policy:all_shards", "response_policy:agg_min"],
        "info" | "memory|doctor" | "memory|malloc-stats" | "memory|stats" => SPECIAL,
        "latency|doctor" | "latency|graph" | "latency|histogram" | "latency|history"
        | "latency|latest" => SPECIAL_NODES,
        "slowlog|get" => &["request_policy:all_nodes", "nondeterministic_output"],
        "slowlog|len" => &[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ],
        "client|info" | "client|list" | "lastsave" | "time" | "dump" | "hrandfield"
        | "srandmember" | "spop" | "zrandmember" | "hscan" | "sscan" | "zscan" | "ttl" | "pttl"
        | "object|freq" | "object|idletime" | "object|refcount" | "object|encoding" | "migrate" => {
            RANDOM
        }
        "command" | "command|docs" | "command|info" | "command|list" | "hgetall" | "hkeys"
        | "hvals" | "sdiff" | "sinter" | "sunion" | "smembers" => RANDOM_ORDER,
        _ => &[],
    }
}
