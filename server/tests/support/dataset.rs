//! A whole data set, read with each type's own commands, so that two servers can be compared key by key.

use std::collections::BTreeMap;

use super::resp::{Client, Reply, quote};

/// Databases of a server with its default configuration.
const DATABASES: usize = 16;

/// Every key of every database: its type, its expiry in Unix milliseconds (-1: none), and its content.
#[derive(PartialEq, Eq)]
pub struct Dataset {
    keys: BTreeMap<(usize, Vec<u8>), Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: String,
    expires_at: i64,
    /// Sorted where the type has no order. Hash fields and sorted-set members are followed by their value or score.
    content: Vec<Vec<u8>>,
}

impl Dataset {
    /// Reads everything. The server must be quiet meanwhile.
    pub fn read(client: &mut Client) -> Dataset {
        let mut keys = BTreeMap::new();
        for db in 0..DATABASES {
            client.ok(&format!("SELECT {db}"));
            if client.ok("DBSIZE").integer() == 0 {
                continue;
            }
            let names = scan(client);
            let entries = read_entries(client, &names);
            keys.extend(names.into_iter().map(|name| (db, name)).zip(entries));
        }
        client.ok("SELECT 0");
        Dataset { keys }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Panics with the first few differences, unless both are equal.
    pub fn assert_same(&self, other: &Dataset, what: &str) {
        let mut differences = Vec::new();
        for (key, entry) in &self.keys {
            match other.keys.get(key) {
                None => differences.push(format!("{} is missing", name(key))),
                Some(found) if found != entry => {
                    differences.push(format!(
                        "{}: {} became {}",
                        name(key),
                        entry.summary(),
                        found.summary()
                    ));
                }
                Some(_) => {}
            }
        }
        let extra = other
            .keys
            .keys()
            .filter(|key| !self.keys.contains_key(*key));
        differences.extend(extra.map(|key| format!("{} appeared", name(key))));
        if !differences.is_empty() {
            let shown = differences
                .iter()
                .take(10)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n  ");
            panic!(
                "{what}: {} of {} keys differ\n  {shown}",
                differences.len(),
                self.len()
            );
        }
    }
}

impl Entry {
    fn summary(&self) -> String {
        let head: Vec<String> = self
            .content
            .iter()
            .take(6)
            .map(|b| quote(&b[..b.len().min(40)]))
            .collect();
        format!(
            "{} of {} [{}] expiry {}",
            self.kind,
            self.content.len(),
            head.join(" "),
            self.expires_at
        )
    }
}

fn name((db, key): &(usize, Vec<u8>)) -> String {
    format!("{} in db{db}", quote(key))
}

fn scan(client: &mut Client) -> Vec<Vec<u8>> {
    let mut names = std::collections::BTreeSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        let mut page = client
            .call(&[b"SCAN", &cursor[..], b"COUNT", b"1000"])
            .elements()
            .into_iter();
        cursor = page.next().expect("a cursor").bytes();
        names.extend(
            page.next()
                .expect("keys")
                .elements()
                .into_iter()
                .map(Reply::bytes),
        );
        if cursor == b"0" {
            return names.into_iter().collect();
        }
    }
}

fn read_entries(client: &mut Client, names: &[Vec<u8>]) -> Vec<Entry> {
    let command = |words: &[&[u8]]| words.iter().map(|w| w.to_vec()).collect::<Vec<_>>();
    let questions: Vec<_> = names
        .iter()
        .flat_map(|n| [command(&[b"TYPE", n]), command(&[b"PEXPIRETIME", n])])
        .collect();
    let answers = client.pipeline(&questions);
    let reads: Vec<_> = names
        .iter()
        .zip(answers.chunks(2))
        .map(|(n, answer)| match answer[0].text().as_str() {
            "string" => command(&[b"GET", n]),
            "hash" => command(&[b"HGETALL", n]),
            "set" => command(&[b"SMEMBERS", n]),
            "list" => command(&[b"LRANGE", n, b"0", b"-1"]),
            "zset" => command(&[b"ZRANGE", n, b"0", b"-1", b"WITHSCORES"]),
            other => panic!("{} is a {other}", quote(n)),
        })
        .collect();
    let contents = client.pipeline(&reads);
    answers
        .chunks(2)
        .zip(contents)
        .map(|(answer, content)| entry(&answer[0].text(), &answer[1], content))
        .collect()
}

fn entry(kind: &str, expires_at: &Reply, content: Reply) -> Entry {
    let content = match content {
        Reply::Bulk(value) => vec![value],
        other => other.elements().into_iter().map(Reply::bytes).collect(),
    };
    let content = match kind {
        "hash" => {
            let mut pairs: Vec<_> = content.chunks(2).map(<[Vec<u8>]>::to_vec).collect();
            pairs.sort();
            pairs.concat()
        }
        "set" => {
            let mut members = content;
            members.sort();
            members
        }
        _ => content,
    };
    Entry {
        kind: kind.into(),
        expires_at: expires_at.integer(),
        content,
    }
}
