//! What a command is called, which keys it names, and how it is documented: the data that dispatch, slot locking,
//! COMMAND, ACL categories and the README's list are all derived from.

use smallvec::SmallVec;
use std::ops::BitOr;

use super::Work;
use crate::keyspace::Record;
use crate::text::integer;

/// Properties of a command, as COMMAND INFO shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// No property.
    pub const NONE: Flags = Flags(0);
    /// May change data.
    pub const WRITE: Flags = Flags(1);
    /// Reads data and never changes it.
    pub const READONLY: Flags = Flags(1 << 1);
    /// Refused when memory is above `maxmemory`.
    pub const DENYOOM: Flags = Flags(1 << 2);
    /// Administrative.
    pub const ADMIN: Flags = Flags(1 << 3);
    /// Has to do with pub/sub.
    pub const PUBSUB: Flags = Flags(1 << 4);
    /// Not allowed in scripts.
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    /// May block the client.
    pub const BLOCKING: Flags = Flags(1 << 6);
    /// Allowed while the data set loads.
    pub const LOADING: Flags = Flags(1 << 7);
    /// Allowed on a replica with stale data.
    pub const STALE: Flags = Flags(1 << 8);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    /// Not recorded in SLOWLOG.
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    /// Takes constant or logarithmic time.
    pub const FAST: Flags = Flags(1 << 11);
    /// Allowed before authentication.
    pub const NO_AUTH: Flags = Flags(1 << 12);
    /// Not allowed in a transaction.
    pub const NO_MULTI: Flags = Flags(1 << 13);
    /// May change data or propagate although it is no write command (EVAL, PUBLISH).
    pub const MAY_REPLICATE: Flags = Flags(1 << 14);
    /// Allowed while a script is over its time.
    pub const ALLOW_BUSY: Flags = Flags(1 << 15);
    /// Which keys it names depends on more than positions (COMMAND INFO's `movablekeys`).
    pub const MOVABLE_KEYS: Flags = Flags(1 << 16);
    /// Takes the whole keyspace (the gate, exclusively), unless [`CommandSpec::all_keys_if`] says otherwise.
    pub const ALL_KEYS: Flags = Flags(1 << 18);
    /// Walks a database slot by slot (KEYS, SCAN, RANDOMKEY); alone it locks one slot at a time.
    pub const WALKS: Flags = Flags(1 << 19);

    /// Refused while a replica takes over a new data set beside its old one.
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 20);

    /// Whether all of `other`'s properties are among these.
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together, in constants.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The names that COMMAND INFO gives, in Redis's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(Flags, &str); 18] = [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::MAY_REPLICATE, "may_replicate"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::ALLOW_BUSY, "allow_busy"),
            (Flags::MOVABLE_KEYS, "movablekeys"),
        ];
        NAMES
            .into_iter()
            .filter(move |(flag, _)| self.has(*flag))
            .map(|(_, name)| name)
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

/// The chapter of the command reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Connection,
    Server,
    Transactions,
}

impl Group {
    /// The name as COMMAND DOCS gives it.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Transactions => "transactions",
        }
    }

    /// The ACL category that comes with the group, if any.
    pub fn category(self) -> Option<&'static str> {
        match self {
            Group::Generic => Some("keyspace"),
            Group::String => Some("string"),
            Group::List => Some("list"),
            Group::Set => Some("set"),
            Group::SortedSet => Some("sortedset"),
            Group::Hash => Some("hash"),
            Group::Connection => Some("connection"),
            Group::Server => None,
            Group::Transactions => Some("transaction"),
        }
    }
}

/// What a command does to a key: the flags that COMMAND GETKEYSANDFLAGS shows, space-separated.
///
/// One of `RW`, `RO`, `OW`, `RM`, and what is done with the value: `access`, `update`, `insert`, `delete`.
/// Where it does different things to its keys: one such list for each key, separated by ` | `, the last of them for all
/// the keys that follow (`RW access delete | OW update`).
pub type Access = &'static str;

/// Positions of key arguments; `args[0]` is the command's name.
pub type Keys = SmallVec<[usize; 4]>;

/// Says something about a request's arguments, name included; lenient on bad ones.
pub type ArgsTest = fn(&[&[u8]]) -> bool;

/// What a command does with its keys, given its arguments, name included; lenient on bad ones.
pub type AccessOf = fn(&[&[u8]]) -> Access;

/// Visits the keys that the value of a command's first key names; lenient on bad arguments.
pub type ValueKeys = fn(&[&[u8]], &Record, &mut dyn FnMut(&[u8]));

/// How the keys of a command are found among its arguments.
#[derive(Clone, Copy, Debug)]
pub enum KeySpec {
    /// The command names no key.
    None,
    /// Keys stand at `first`, `first + step`, ... up to `last` (inclusive; negative counts from the end).
    Range {
        #[allow(missing_docs)]
        first: usize,
        #[allow(missing_docs)]
        last: isize,
        #[allow(missing_docs)]
        step: usize,
        #[allow(missing_docs)]
        access: Access,
    },
    /// The argument at `count_at` says how many keys follow it. With `dest`, the argument at that place is a key too.
    Counted {
        #[allow(missing_docs)]
        count_at: usize,
        #[allow(missing_docs)]
        dest: Option<usize>,
        #[allow(missing_docs)]
        access: Access,
    },
    /// A function finds them; `first`, `last`, `step` are what COMMAND INFO shows. The function returns positions.
    Custom {
        #[allow(missing_docs)]
        first: usize,
        #[allow(missing_docs)]
        last: isize,
        #[allow(missing_docs)]
        step: usize,
        #[allow(missing_docs)]
        find: fn(&[&[u8]]) -> Keys,
        #[allow(missing_docs)]
        access: Access,
        /// Which of the keys do not stand at fixed places.
        elsewhere: &'static [Elsewhere],
    },
}

/// Keys that do not stand at fixed places, as COMMAND INFO shows them.
#[derive(Clone, Copy, Debug)]
pub enum Elsewhere {
    /// There may be more keys; which ones depends on the data, or on where an option stands.
    Unknown(Access),
    /// All arguments behind `word`, which is looked for from `from` on, a negative one counting from the end and
    /// looking backwards.
    Behind {
        #[allow(missing_docs)]
        word: &'static str,
        #[allow(missing_docs)]
        from: i64,
        #[allow(missing_docs)]
        access: Access,
    },
}

/// Why a command should not be used any more.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    /// The version of Redis since which that is so.
    pub since: &'static str,
    /// What to use instead.
    pub instead: &'static str,
}

impl KeySpec {
    /// One key at position 1.
    pub const fn first(access: Access) -> KeySpec {
        KeySpec::Range {
            first: 1,
            last: 1,
            step: 1,
            access,
        }
    }

    /// Every argument is a key.
    pub const fn all(access: Access) -> KeySpec {
        KeySpec::Range {
            first: 1,
            last: -1,
            step: 1,
            access,
        }
    }

    /// The positions of the keys in `args`; empty if the arguments make no sense (the command will say why).
    pub fn positions(&self, args: &[&[u8]]) -> Keys {
        match *self {
            KeySpec::None => Keys::new(),
            KeySpec::Range {
                first, last, step, ..
            } => {
                let last = if last < 0 {
                    args.len() as isize + last
                } else {
                    last
                };
                if last < first as isize {
                    return Keys::new();
                }
                (first..=(last as usize).min(args.len().saturating_sub(1)))
                    .step_by(step)
                    .collect()
            }
            KeySpec::Counted { count_at, dest, .. } => {
                let count = args
                    .get(count_at)
                    .and_then(|arg| integer::parse_i64(arg))
                    .unwrap_or(0);
                let available = args.len().saturating_sub(count_at + 1);
                if count < 1 || count as u64 > available as u64 {
                    return Keys::new();
                }
                dest.into_iter()
                    .chain(count_at + 1..count_at + 1 + count as usize)
                    .collect()
            }
            KeySpec::Custom { find, .. } => find(args),
        }
    }

    /// What COMMAND INFO shows: first key, last key, step.
    pub fn triple(&self) -> (i64, i64, i64) {
        match *self {
            KeySpec::None => (0, 0, 0),
            KeySpec::Range {
                first, last, step, ..
            }
            | KeySpec::Custom {
                first, last, step, ..
            } => (first as i64, last as i64, step as i64),
            KeySpec::Counted {
                dest: Some(dest), ..
            } => (dest as i64, dest as i64, 1),
            KeySpec::Counted { dest: None, .. } => (0, 0, 0),
        }
    }

    /// What the command does with the `nth` of its keys, in the order of [`KeySpec::positions`].
    pub fn access_of(&self, nth: usize) -> Access {
        let lists = self.access();
        let last = lists.rsplit(" | ").next().unwrap_or_default();
        lists.split(" | ").nth(nth).unwrap_or(last)
    }

    /// What the command does with its keys, as it stands in the table.
    pub fn access(&self) -> Access {
        match *self {
            KeySpec::None => "",
            KeySpec::Range { access, .. }
            | KeySpec::Counted { access, .. }
            | KeySpec::Custom { access, .. } => access,
        }
    }
}

/// The description of one command or subcommand.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// Lower-case name; a subcommand's is `container|name`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub arity: i16,
    /// Properties.
    pub flags: Flags,
    /// Where its keys stand.
    pub keys: KeySpec,
    /// For a command with [`Flags::ALL_KEYS`] that needs them with some arguments only: whether these are such. With
    /// others it is confined to the keys that its specification finds.
    pub all_keys_if: Option<ArgsTest>,
    /// For a command that takes all keys because it cannot tell them from its arguments: how the value of its first key
    /// tells them. A long turn locks just their slots.
    pub value_keys: Option<ValueKeys>,
    /// What its work depends on: where it may be much, the command may be run on another thread.
    pub work: Work,
    /// For a command whose access depends on its arguments: what it does with its keys, given these.
    pub access_with: Option<AccessOf>,
    /// Chapter.
    pub group: Group,
    /// Version of Redis that introduced it.
    pub since: &'static str,
    /// Time complexity, as text.
    pub complexity: &'static str,
    /// What it does, one line.
    pub summary: &'static str,
    /// Arguments after the name in the usual notation: `key value [NX | XX] [GET] [EX seconds | PX milliseconds]`,
    /// `field value [field value ...]`. COMMAND DOCS' argument tree is parsed from it; the server's `commands/syntax.rs`
    /// describes the notation.
    pub syntax: &'static str,
    /// ACL categories beyond those that follow from flags and group (`dangerous`, `blocking`, ...).
    pub categories: &'static [&'static str],
    /// Set if another command should be used.
    pub deprecated: Option<Deprecated>,
    /// Subcommands of a container command.
    pub subcommands: &'static [CommandSpec],
}

impl CommandSpec {
    /// Whether the command has to take the whole keyspace to run with these arguments.
    pub fn takes_all_keys(&self, args: &[&[u8]]) -> bool {
        self.flags.has(Flags::ALL_KEYS) && self.all_keys_if.is_none_or(|needed| needed(args))
    }

    /// Whether `argc` arguments (name included) fit the arity.
    pub fn arity_fits(&self, argc: usize) -> bool {
        if self.arity >= 0 {
            argc == self.arity as usize
        } else {
            argc >= self.arity.unsigned_abs() as usize
        }
    }

    /// The values that most commands leave as they are; used with struct update syntax in the table.
    pub const DEFAULT: CommandSpec = CommandSpec {
        name: "",
        arity: 1,
        flags: Flags::NONE,
        keys: KeySpec::None,
        all_keys_if: None,
        value_keys: None,
        work: Work::Little,
        access_with: None,
        group: Group::Generic,
        since: "1.0.0",
        complexity: "O(1)",
        summary: "",
        syntax: "",
        categories: &[],
        deprecated: None,
        subcommands: &[],
    };
}
