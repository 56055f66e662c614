//! MIGRATE: moves keys to another server.
//!
//! The keys' slots stay locked while their values travel, so nobody changes or sees a key half moved. How they travel
//! is a [`Carrier`]'s affair: there are no sockets here. What the other side has accepted is removed, and logged as a
//! DEL of just those keys.

use std::time::Duration;

use super::dump::rdb_value;
use super::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Elsewhere, Flags, KeyClass, KeySpec,
    Keys, Work,
};
use crate::rdb;
use crate::text::integer;

/// Takes values to another server.
pub trait Carrier: Send + Sync {
    /// Stores `parcels` at `destination`. Called under the locks of their keys.
    fn carry(&self, destination: &Destination<'_>, parcels: &[Parcel]) -> Delivery;
}

/// Where values are to go, and how.
#[derive(Clone, Debug)]
pub struct Destination<'a> {
    /// Name or address of the host.
    pub host: &'a [u8],
    /// TCP port.
    pub port: u16,
    /// Database.
    pub db: u32,
    /// Longest silence of the other side.
    pub timeout: Duration,
    /// What it wants to know first.
    pub credentials: Option<Credentials<'a>>,
    /// Whether keys that exist there are replaced.
    pub replace: bool,
}

/// Who we are for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// The user, unless it is the default one.
    pub user: Option<&'a [u8]>,
    /// The password.
    pub password: &'a [u8],
}

/// One value to take.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Its key.
    pub key: Vec<u8>,
    /// Milliseconds that it has left to live; 0: it does not expire.
    pub ttl_ms: i64,
    /// The value, as RESTORE takes it.
    pub payload: Vec<u8>,
}

/// What became of the parcels.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Those that the other side has acknowledged, by their index.
    pub accepted: Vec<usize>,
    /// The first thing that went wrong.
    pub error: Option<CommandError>,
}

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[Command {
    spec: CommandSpec {
        name: "migrate",
        work: Work::Waits,
        arity: -6,
        flags: Flags::WRITE.with(Flags::MOVABLE_KEYS),
        keys: KeySpec::Custom {
            first: 3,
            last: 3,
            step: 1,
            find: keys,
            access: "RW access delete",
            elsewhere: &[Elsewhere::Behind {
                word: "KEYS",
                from: -2,
                access: "RW access delete incomplete",
            }],
        },
        since: "2.6.0",
        complexity: "DUMP and DEL here and RESTORE there, for each key, and the transfer between the two.",
        summary: "Moves keys to another server.",
        syntax: "host port <key_or_empty_string= key | \"\"> destination-db timeout:integer [COPY] [REPLACE] \
                 [authentication= [AUTH password] | [AUTH2 username password]] [KEYS key [key ...]]",
        categories: &["dangerous"],
        ..CommandSpec::DEFAULT
    },
    run: migrate,
}];

/// Position of the one key, which is empty if KEYS follows.
const KEY: usize = 3;

/// Time to wait for the other side if the request's is not positive.
const TIMEOUT_MS_DEFAULT: i64 = 1000;

fn keys(args: &[&[u8]]) -> Keys {
    let mut at = KEY + 3;
    while let Some(option) = args.get(at) {
        if option.eq_ignore_ascii_case(b"AUTH") {
            at += 1;
        } else if option.eq_ignore_ascii_case(b"AUTH2") {
            at += 2;
        } else if option.eq_ignore_ascii_case(b"KEYS") && args[KEY].is_empty() {
            return (at + 1..args.len()).collect();
        }
        at += 1;
    }
    (KEY..args.len().min(KEY + 1)).collect()
}

#[derive(Default)]
struct Options<'a> {
    copy: bool,
    replace: bool,
    credentials: Option<Credentials<'a>>,
}

impl<'a> Options<'a> {
    fn parse(args: &[&'a [u8]]) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        let mut rest = args[KEY + 3..].iter().copied();
        while let Some(option) = rest.next() {
            let mut next = || rest.next().ok_or(CommandError::Syntax);
            match option.to_ascii_lowercase().as_slice() {
                b"copy" => options.copy = true,
                b"replace" => options.replace = true,
                b"auth" => {
                    options.credentials = Some(Credentials {
                        user: None,
                        password: next()?,
                    });
                }
                b"auth2" => {
                    options.credentials = Some(Credentials {
                        user: Some(next()?),
                        password: next()?,
                    });
                }
                b"keys" if args[KEY].is_empty() => break,
                b"keys" => {
                    return Err(CommandError::err(
                        "When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }
}

fn migrate(ctx: &mut Ctx<'_>) -> CommandResult {
    let args = ctx.args;
    let options = Options::parse(args)?;
    let timeout_ms = ctx.int_arg(KEY + 2)?;
    let db = u32::try_from(ctx.int_arg(KEY + 1)?).map_err(|_| CommandError::DbIndexOutOfRange)?;
    let port = integer::parse_i64(args[2])
        .and_then(|port| u16::try_from(port).ok())
        .ok_or(CommandError::err("Invalid port"))?;
    let Some(carrier) = ctx.data.settings.carrier.clone() else {
        return Err(CommandError::err("MIGRATE is not possible here"));
    };
    let parcels = pack(ctx);
    if parcels.is_empty() {
        ctx.reply.simple("NOKEY");
        return Ok(());
    }
    let destination = Destination {
        host: args[1],
        port,
        db,
        timeout: Duration::from_millis(if timeout_ms > 0 {
            timeout_ms.unsigned_abs()
        } else {
            TIMEOUT_MS_DEFAULT.unsigned_abs()
        }),
        credentials: options.credentials,
        replace: options.replace,
    };
    let delivery = carrier.carry(&destination, &parcels);
    if !options.copy {
        remove(
            ctx,
            delivery
                .accepted
                .iter()
                .filter_map(|index| parcels.get(*index)),
        );
    }
    // The refusal is a reply like any other: keys may have gone nevertheless.
    match delivery.error {
        Some(error) => ctx.reply.error(error),
        None => ctx.reply.ok(),
    }
    Ok(())
}

/// The values of those keys that exist, each once.
fn pack(ctx: &mut Ctx<'_>) -> Vec<Parcel> {
    let (args, now) = (ctx.args, ctx.now());
    let mut parcels: Vec<Parcel> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for at in keys(args) {
        let key = args[at];
        if !seen.insert(key) {
            continue;
        }
        if let Some(record) = ctx.data.read(key) {
            parcels.push(Parcel {
                key: key.to_vec(),
                ttl_ms: record
                    .expire_at()
                    .map_or(0, |expire| expire.0.saturating_sub(now.0).max(1)),
                payload: rdb::dump(rdb_value(record)),
            });
        }
    }
    parcels
}

/// Removes what has arrived.
fn remove<'p>(ctx: &mut Ctx<'_>, arrived: impl Iterator<Item = &'p Parcel>) {
    let mut effect: Vec<&[u8]> = vec![b"DEL"];
    for parcel in arrived {
        if ctx.data.delete(&parcel.key) {
            ctx.data.modified(&parcel.key, KeyClass::Generic, "del");
            ctx.dirty += 1;
            effect.push(&parcel.key);
        }
    }
    if effect.len() > 1 {
        ctx.effect(&effect);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::command::testkit::Client;

    /// Refuses keys that begin with `x`; keeps the names of the others.
    #[derive(Default)]
    struct Choosy(Mutex<Vec<(Vec<u8>, bool)>>);

    impl Carrier for Choosy {
        fn carry(&self, destination: &Destination<'_>, parcels: &[Parcel]) -> Delivery {
            let mut delivery = Delivery::default();
            for (index, parcel) in parcels.iter().enumerate() {
                if parcel.key.starts_with(b"x") {
                    delivery.error = Some(CommandError::err("refused"));
                } else {
                    delivery.accepted.push(index);
                    let noted = (parcel.key.clone(), destination.replace);
                    self.0.lock().unwrap().push(noted);
                }
            }
            delivery
        }
    }

    fn client() -> (Client, Arc<Choosy>) {
        let (mut client, carrier) = (Client::new(), Arc::new(Choosy::default()));
        let given: Arc<dyn Carrier> = carrier.clone();
        client.configure(move |settings| settings.carrier = Some(given.clone()));
        client.run("MSET a 1 b 2 x1 3 c 4");
        (client, carrier)
    }

    #[test]
    fn what_arrived_is_removed_and_logged_as_a_deletion() {
        let (mut client, carrier) = client();
        // A line of a test cannot have an empty word: the request comes as its parts.
        let mut migrate = |keys: &str| {
            let options = "MIGRATE h 1  0 0 REPLACE KEYS ".to_owned() + keys;
            let args: Vec<&[u8]> = options.split(' ').map(str::as_bytes).collect();
            client.run_args(&args)
        };
        assert_eq!(migrate("a none b a"), "+OK");
        assert_eq!(migrate("x1 c"), "-ERR refused");
        assert_eq!(migrate("none c"), "+NOKEY");
        let arrived: [&[u8]; 3] = [b"a", b"b", b"c"];
        assert_eq!(
            *carrier.0.lock().unwrap(),
            arrived.map(|key| (key.to_vec(), true))
        );
        assert_eq!(client.run("EXISTS a b c x1"), ":1");
        client.run("SET a 1");
        assert_eq!(client.logged("MIGRATE h 1 a 0 0"), ["DEL a"]);
    }

    #[test]
    fn a_copy_stays() {
        let (mut client, _) = client();
        assert_eq!(client.run("MIGRATE h 1 a 0 0 COPY AUTH keys"), "+OK");
        assert!(client.logged("MIGRATE h 1 a 0 0 COPY").is_empty());
        assert_eq!(client.run("GET a"), "\"1\"");
    }

    #[test]
    fn keys_are_found_behind_passwords() {
        let found = |text: &str| {
            let args: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
            keys(&args).to_vec()
        };
        assert_eq!(found("MIGRATE h 1 k 0 0"), [3]);
        assert_eq!(found("MIGRATE h 1  0 0 AUTH keys KEYS a b"), [9, 10]);
        assert_eq!(found("MIGRATE h 1  0 0 AUTH2 keys keys COPY KEYS a"), [11]);
        assert_eq!(found("MIGRATE h 1 k 0 0 KEYS a"), [3]);
        assert_eq!(found("MIGRATE h 1"), [0; 0]);
    }
}
