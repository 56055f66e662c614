//! What COMMAND says of our commands is what redis-server says of them, as far as it is not prose.

use std::collections::BTreeMap;

use crate::support::{Kind, Reply, Server};

/// Fields that are prose, or that tell the history of Redis.
const PROSE: &[&str] = &["summary", "complexity", "history", "notes", "replaced_by"];

/// Commands whose argument trees differ on purpose.
const OTHER_ARGUMENTS: &[&str] = &[
    // Redis describes no arguments.
    "command|getkeys",
    "command|getkeysandflags",
    "debug",
    // Redis wraps a single argument into a block.
    "config|get",
    "client|list",
];

/// Requests whose keys are asked for.
const REQUESTS: &[&str] = &[
    "get k",
    "set k v",
    "set k v get",
    "set k v nx GET ex 5",
    "mset a 1 b 2",
    "lmove a b left right",
    "blmove a b left right 1",
    "rpoplpush a b",
    "smove a b m",
    "sdiffstore d a b",
    "sinterstore d a b",
    "zunionstore d 2 a b",
    "zunionstore d 3 a b",
    "zdiffstore d 1 a",
    "zrangestore d s 0 1",
    "sort k",
    "sort k by w_* get x_* store d",
    "sort k limit 0 1 store",
    "sort_ro k by w_*",
    "migrate h 1 k 0 1",
    "copy a b db 1",
    "blpop a b 1",
    "bzmpop 0 2 a b min",
    "lcs a b",
    "sintercard 2 a b limit 1",
    "object encoding k",
    "object help",
    "memory usage k samples 5",
    "msetnx a 1 b 2",
    "get",
    "ping",
    "nosuch x",
];

fn servers() -> [Server; 2] {
    println!("peer: {}", Kind::Redis.version());
    [Kind::Hardtack, Kind::Redis].map(|kind| Server::start(kind, &[]))
}

/// The reply in a notation in which the order of sets and maps does not matter, without prose.
fn notation(reply: &Reply) -> String {
    let list = |elements: &[Reply]| elements.iter().map(notation).collect::<Vec<_>>();
    match reply {
        Reply::Set(members) => {
            let mut members = list(members);
            members.sort();
            format!("{{{}}}", members.join(" "))
        }
        Reply::Array(elements) => format!("[{}]", list(elements).join(" ")),
        Reply::Map(pairs) => {
            // Of arguments Redis tells since when, and until when, there are any.
            let is_argument = pairs.iter().any(|(name, _)| name.text() == "type");
            let is_history =
                |name: &str| PROSE.contains(&name) || (is_argument && name.ends_with("since"));
            let mut pairs: Vec<String> = pairs
                .iter()
                .filter(|(name, _)| !is_history(&name.text()))
                .map(|(name, value)| format!("{}:{}", name.text(), notation(value)))
                .collect();
            pairs.sort();
            format!("({})", pairs.join(" "))
        }
        Reply::Simple(_) | Reply::Bulk(_) => reply.text(),
        other => other.to_string(),
    }
}

/// Every command and subcommand of COMMAND's reply, by its name.
fn flatten_info(info: Reply, into: &mut BTreeMap<String, String>) {
    let mut fields = info.elements();
    let name = fields[0].text();
    let subcommands = fields.pop().expect("COMMAND's last field");
    into.insert(name, notation(&Reply::Array(fields)));
    for subcommand in subcommands.elements() {
        flatten_info(subcommand, into);
    }
}

/// Every command and subcommand of COMMAND DOCS' reply, by its name.
fn flatten_docs(docs: Reply, into: &mut BTreeMap<String, String>) {
    let Reply::Map(commands) = docs else {
        panic!("a map was expected: {docs}");
    };
    for (name, fields) in commands {
        let name = name.text();
        let Reply::Map(mut fields) = fields else {
            panic!("a map was expected: {fields}");
        };
        if let Some(at) = fields
            .iter()
            .position(|(name, _)| name.text() == "subcommands")
        {
            flatten_docs(fields.remove(at).1, into);
        }
        if OTHER_ARGUMENTS.contains(&name.as_str()) {
            fields.retain(|(name, _)| name.text() != "arguments");
        }
        into.insert(name, notation(&Reply::Map(fields)));
    }
}

fn compare(ours: &BTreeMap<String, String>, redis: &BTreeMap<String, String>) {
    let nothing = "no such command".to_owned();
    let different: Vec<String> = ours
        .iter()
        .map(|(name, ours)| (name, ours, redis.get(name).unwrap_or(&nothing)))
        .filter(|(_, ours, redis)| ours != redis)
        .map(|(name, ours, redis)| format!("{name}\n  ours:  {ours}\n  redis: {redis}"))
        .collect();
    assert!(ours.len() > 200, "only {} commands", ours.len());
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn commands_are_described_as_redis_describes_them() {
    let [ours, redis] = servers().map(|server| {
        let mut client = server.client();
        client.ok("HELLO 3");
        let mut commands = BTreeMap::new();
        for info in client.ok("COMMAND").elements() {
            flatten_info(info, &mut commands);
        }
        commands
    });
    compare(&ours, &redis);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn arguments_are_documented_as_redis_documents_them() {
    let [ours, redis] = servers().map(|server| {
        let mut client = server.client();
        client.ok("HELLO 3");
        let mut commands = BTreeMap::new();
        flatten_docs(client.ok("COMMAND DOCS"), &mut commands);
        commands
    });
    compare(&ours, &redis);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn keys_are_found_as_redis_finds_them() {
    let [ours, redis] = servers().map(|server| {
        let mut client = server.client();
        client.ok("HELLO 3");
        let mut replies = Vec::new();
        for request in REQUESTS {
            for asked in ["GETKEYS", "GETKEYSANDFLAGS"] {
                let words = ["COMMAND", asked].into_iter();
                let words: Vec<&str> = words.chain(request.split_whitespace()).collect();
                let reply = notation(&client.call(&words));
                replies.push(format!("{asked} {request}: {reply}"));
            }
        }
        replies
    });
    assert_eq!(ours, redis);
}

#[test]
#[ignore = "needs redis-server 7 on PATH"]
fn lists_of_commands_hold_what_redis_lists() {
    const LISTS: &[&str] = &[
        "COMMAND LIST",
        "COMMAND LIST FILTERBY PATTERN *",
        "COMMAND LIST FILTERBY PATTERN CONFIG*",
        "COMMAND LIST FILTERBY ACLCAT connection",
        "COMMAND LIST FILTERBY ACLCAT nosuch",
        "COMMAND LIST FILTERBY MODULE nosuch",
    ];
    let [ours, redis] = servers().map(|server| {
        let mut client = server.client();
        let known: Vec<String> = client
            .ok("COMMAND LIST")
            .elements()
            .iter()
            .map(Reply::text)
            .collect();
        let lists = LISTS.iter().map(|list| {
            let mut names: Vec<String> =
                client.ok(list).elements().iter().map(Reply::text).collect();
            names.sort();
            names
        });
        (known, lists.collect::<Vec<_>>())
    });
    for (list, (ours_listed, redis_listed)) in LISTS.iter().zip(ours.1.iter().zip(&redis.1)) {
        let known: Vec<&String> = redis_listed
            .iter()
            .filter(|name| ours.0.contains(name))
            .collect();
        assert_eq!(ours_listed.iter().collect::<Vec<_>>(), known, "{list}");
    }
}
