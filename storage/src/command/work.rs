//! How long a command will take, judged by what it is asked and by the sizes of the values it names.
//!
//! A command that takes long must not run on a thread that others wait for. The estimate decides that and nothing else,
//! so it is coarse: units of about 100 ns, about what one element of a large set costs. It is made before the command's
//! locks are taken; a value that grows in between makes one command longer than it should be, once.
//!
//! Most commands touch a few elements, or no more than they have arguments: they are [`Work::Little`], and nothing is
//! asked about them. The arguments are looked at before the values: `LRANGE key 0 99` is little work on any list.

use super::CommandSpec;
use crate::text::integer;

/// Units of work that a command may take on the thread of its connection: about a millisecond.
pub const WORK_INLINE_MAX: u64 = 10_000;

/// More than any limit: the command waits for something, or for the whole keyspace.
const WAITS: u64 = u64::MAX;

/// Bytes that are copied in one unit.
const BYTES_PER_UNIT: u64 = 400;

/// How large the values are that a command names.
pub trait Sizes {
    /// Elements of a collection; 0 for a string or no value.
    fn elements(&mut self, key: &[u8]) -> u64;
    /// Bytes of a string; 0 for a collection or no value.
    fn string_bytes(&mut self, key: &[u8]) -> u64;
    /// Bytes that are copied or filled when so many are written into a string at `offset`, or at its end.
    fn moved_by_write(&mut self, key: &[u8], offset: Option<u64>, bytes: u64) -> u64;
    /// Keys in the selected database.
    fn keys(&mut self) -> u64;
}

/// Estimates the work of a request; lenient on bad arguments.
pub type Estimate = fn(&CommandSpec, &[&[u8]], &mut dyn Sizes) -> u64;

/// What a command's work depends on.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// On the number of its arguments at most.
    Little,
    /// It waits: for a file, a network, or the whole keyspace.
    Waits,
    /// On the values of its keys.
    Grows(Estimate),
}

impl CommandSpec {
    /// Whether the command may take long, with other arguments or other data.
    pub fn may_take_long(&self) -> bool {
        !matches!(self.work, Work::Little) || self.flags.has(super::Flags::ALL_KEYS)
    }

    /// The work of a request, in units of about 100 ns.
    pub fn work(&self, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
        let of_values = match self.work {
            _ if self.takes_all_keys(args) => WAITS,
            Work::Little => 0,
            Work::Waits => WAITS,
            Work::Grows(estimate) => estimate(self, args, sizes),
        };
        of_values.max(args.len() as u64)
    }
}

/// All elements of all keys.
pub(super) fn every_key(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let keys = spec.keys.positions(args);
    keys.iter().fold(0, |sum: u64, at| {
        sum.saturating_add(sizes.elements(args[*at]))
    })
}

/// The smallest of the keys is looked up in all others.
pub(super) fn smallest_key(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let keys = spec.keys.positions(args);
    // The destination is not among the values that are read.
    let sources = keys.iter().skip(usize::from(spec.name.ends_with("store")));
    let smallest = sources.map(|at| sizes.elements(args[*at])).min();
    smallest.unwrap_or(0).saturating_mul(keys.len() as u64)
}

/// The elements between two positions, which stand in the third and fourth argument.
pub(super) fn between_ranks(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    ranks_at(2, spec, args, sizes)
}

/// The bytes of a string between two positions.
pub(super) fn part_of_string(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let Some(width) = width_at(2, args) else {
        return args
            .get(1)
            .map_or(0, |key| sizes.string_bytes(key) / BYTES_PER_UNIT);
    };
    let units = width / BYTES_PER_UNIT;
    match args.get(1) {
        Some(key) if units > WORK_INLINE_MAX => units.min(sizes.string_bytes(key) / BYTES_PER_UNIT),
        _ => units,
    }
}

/// ZRANGE and its kind: between two ranks, scores or members; of these at most as many as LIMIT says.
pub(super) fn between(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let start = if spec.name == "zrangestore" { 3 } else { 2 };
    let options = args.get(start + 2..).unwrap_or_default();
    let has = |name: &str| {
        options
            .iter()
            .any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    };
    let by_rank = match spec.name {
        "zrange" | "zrangestore" => !has("BYSCORE") && !has("BYLEX"),
        name => name == "zrevrange",
    };
    if by_rank {
        return ranks_at(start, spec, args, sizes);
    }
    let limit = options
        .iter()
        .position(|option| option.eq_ignore_ascii_case(b"LIMIT"))
        .and_then(|at| count(options.get(at + 2)?));
    limited(limit, args.get(start - 1), sizes)
}

/// As many elements as the third argument says, or one; a negative number asks for so many with repetition.
pub(super) fn count_third(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    match args.get(2).and_then(|arg| integer::parse_i64(arg)) {
        None => 1,
        Some(count) if count < 0 => count.unsigned_abs(),
        Some(count) => limited(Some(count.unsigned_abs()), args.get(1), sizes),
    }
}

/// As many elements of each key as COUNT says.
pub(super) fn count_option(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    match option_count(args) {
        None => 1,
        Some(count) if count <= WORK_INLINE_MAX => count,
        Some(count) => count.min(every_key(spec, args, sizes)),
    }
}

/// SCAN: as many keys as COUNT says.
pub(super) fn scan(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    match option_count(args) {
        None => 1,
        Some(count) if count <= WORK_INLINE_MAX => count,
        Some(count) => count.min(sizes.keys()),
    }
}

/// Every key of the database.
pub(super) fn database(_: &CommandSpec, _: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    sizes.keys()
}

/// SORT: all elements are weighed and put in order; each pattern is a look-up for each of them.
pub(super) fn sort(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let elements = args.get(1).map_or(0, |key| sizes.elements(key));
    let patterns = args.get(2..).unwrap_or_default().iter();
    let patterns = patterns.filter(|arg| arg.contains(&b'*')).count() as u64;
    elements.saturating_mul(3 + 2 * patterns)
}

/// Every byte of one string beside every byte of the other.
pub(super) fn lcs(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    const PAIRS_PER_UNIT: u64 = 100;
    let mut bytes = |at: usize| args.get(at).map_or(0, |key| sizes.string_bytes(key));
    bytes(1).saturating_mul(bytes(2)) / PAIRS_PER_UNIT
}

/// DUMP: a value as bytes.
pub(super) fn dump(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let string = args.get(1).map_or(0, |key| sizes.string_bytes(key));
    every_key(spec, args, sizes).max(string / BYTES_PER_UNIT)
}

/// RESTORE: bytes as a value.
pub(super) fn restore(_: &CommandSpec, args: &[&[u8]], _: &mut dyn Sizes) -> u64 {
    const PAYLOAD_BYTES_PER_UNIT: u64 = 50;
    args.get(3).map_or(0, |payload| payload.len() as u64) / PAYLOAD_BYTES_PER_UNIT
}

/// APPEND: a long string moves when it outgrows its place.
pub(super) fn append(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let [_, key, bytes, ..] = args else { return 0 };
    sizes.moved_by_write(key, None, bytes.len() as u64) / BYTES_PER_UNIT
}

/// SETRANGE: the same, and may fill everything before its offset.
pub(super) fn set_range(_: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    let [_, key, offset, bytes, ..] = args else {
        return 0;
    };
    let offset = Some(count(offset).unwrap_or(0));
    sizes.moved_by_write(key, offset, bytes.len() as u64) / BYTES_PER_UNIT
}

/// MEMORY USAGE: so many samples, 0 for all elements.
pub(super) fn samples(spec: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    match args.get(3).and_then(|samples| count(samples)) {
        None => 1,
        Some(samples) if (1..=WORK_INLINE_MAX).contains(&samples) => samples,
        Some(_) => every_key(spec, args, sizes),
    }
}

fn count(arg: &[u8]) -> Option<u64> {
    integer::parse_i64(arg).and_then(|count| u64::try_from(count).ok())
}

fn option_count(args: &[&[u8]]) -> Option<u64> {
    let at = args
        .iter()
        .rposition(|arg| arg.eq_ignore_ascii_case(b"COUNT"))?;
    count(args.get(at + 1)?)
}

/// So many elements of a key, or all of them. The value is not looked at if a small number says enough.
fn limited(limit: Option<u64>, key: Option<&&[u8]>, sizes: &mut dyn Sizes) -> u64 {
    let limit = limit.unwrap_or(u64::MAX);
    match key {
        Some(key) if limit > WORK_INLINE_MAX => limit.min(sizes.elements(key)),
        _ => limit,
    }
}

/// The number of positions from `args[at]` to `args[at + 1]`, both included, where that can be told without knowing
/// where the end is.
fn width_at(at: usize, args: &[&[u8]]) -> Option<u64> {
    let position = |at: usize| args.get(at).and_then(|arg| integer::parse_i64(arg));
    let (start, stop) = (position(at)?, position(at + 1)?);
    ((start < 0) == (stop < 0)).then(|| {
        let width = i128::from(stop) - i128::from(start) + 1;
        u64::try_from(width.max(0)).unwrap_or(u64::MAX)
    })
}

fn ranks_at(at: usize, _: &CommandSpec, args: &[&[u8]], sizes: &mut dyn Sizes) -> u64 {
    limited(width_at(at, args), args.get(at - 1), sizes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::command;

    /// Sizes by key; counts the look-ups.
    #[derive(Default)]
    struct Known {
        elements: HashMap<&'static [u8], u64>,
        bytes: HashMap<&'static [u8], u64>,
        keys: u64,
        looked: usize,
    }

    impl Sizes for Known {
        fn elements(&mut self, key: &[u8]) -> u64 {
            self.looked += 1;
            self.elements.get(key).copied().unwrap_or(0)
        }

        fn string_bytes(&mut self, key: &[u8]) -> u64 {
            self.looked += 1;
            self.bytes.get(key).copied().unwrap_or(0)
        }

        fn moved_by_write(&mut self, key: &[u8], offset: Option<u64>, bytes: u64) -> u64 {
            let len = self.string_bytes(key);
            offset.unwrap_or(len).saturating_add(bytes).max(len)
        }

        fn keys(&mut self) -> u64 {
            self.looked += 1;
            self.keys
        }
    }

    /// The work of a request where `big` has a million elements, `small` ten, and `long` a million bytes.
    fn weigh(line: &str) -> (u64, usize) {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut sizes = Known {
            elements: HashMap::from([(&b"big"[..], 1_000_000), (b"small", 10)]),
            bytes: HashMap::from([(&b"long"[..], 1_000_000), (b"huge", 300_000_000)]),
            keys: 50_000,
            looked: 0,
        };
        let command = command::find(args[0]).unwrap_or_else(|| panic!("{line}"));
        (command.spec.work(&args, &mut sizes), sizes.looked)
    }

    fn is_long(line: &str) -> bool {
        weigh(line).0 > WORK_INLINE_MAX
    }

    #[test]
    fn large_values_make_commands_long() {
        for line in [
            "SUNION small big",
            "SUNIONSTORE dest small big",
            "SDIFF big",
            "SINTER big big",
            "SINTERSTORE dest big big",
            "SINTERCARD 1 big",
            "SMEMBERS big",
            "HGETALL big",
            "HKEYS big",
            "HVALS big",
            "LRANGE big 0 -1",
            "LRANGE big 100 500000",
            "LRANGE big -500000 -1",
            "LREM big 0 x",
            "LPOS big x",
            "LINSERT big BEFORE x y",
            "LTRIM big 1 2",
            "LPOP big 500000",
            "LMPOP 1 big LEFT COUNT 500000",
            "SPOP big 500000",
            "SRANDMEMBER small -500000",
            "SSCAN big 0 COUNT 500000",
            "HRANDFIELD big 500000 WITHVALUES",
            "ZRANGE big 0 -1",
            "ZRANGE big -inf +inf BYSCORE",
            "ZRANGE big - + BYLEX REV LIMIT 0 500000",
            "ZREVRANGE big 0 -1 WITHSCORES",
            "ZRANGEBYSCORE big -inf +inf",
            "ZREVRANGEBYLEX big + -",
            "ZRANGESTORE dest big 0 -1",
            "ZREMRANGEBYSCORE big -inf +inf",
            "ZREMRANGEBYRANK big 0 -1",
            "ZREMRANGEBYLEX big - +",
            "ZUNION 2 big small",
            "ZINTERSTORE dest 2 big big",
            "ZDIFF 2 big small",
            "ZINTERCARD 1 big",
            "ZPOPMIN big 500000",
            "ZMPOP 1 big MIN COUNT 500000",
            "ZRANDMEMBER big 500000",
            "SORT big",
            "SORT_RO big BY w_* GET v_*",
            "DUMP big",
            "LCS long long",
            "KEYS *",
            "SCAN 0 COUNT 20000",
            "SETRANGE key 500000000 x",
            "SETRANGE huge 0 x",
            "APPEND huge x",
            "FLUSHALL",
            "FLUSHDB",
            "SWAPDB 0 1",
            "MOVE small 1",
            "COPY small other DB 1",
        ] {
            assert!(is_long(line), "{line}: {}", weigh(line).0);
        }
    }

    #[test]
    fn small_values_and_small_parts_of_large_ones_do_not() {
        for line in [
            "SUNION small small none",
            "SINTER small big",
            "SMEMBERS small",
            "HGETALL none",
            "LRANGE big 0 599",
            "LRANGE big -600 -1",
            "LRANGE small 0 -1",
            "LPOP big",
            "LPOP big 10",
            "SPOP big",
            "SRANDMEMBER big -10",
            "SSCAN big 0",
            "ZRANGE big 0 99",
            "ZRANGE big -inf +inf BYSCORE LIMIT 0 100",
            "ZRANGEBYSCORE big -inf +inf LIMIT 10 100",
            "ZRANGE small 0 -1",
            "SORT small",
            "DUMP long",
            "GETRANGE long 0 -1",
            "LCS small long",
            "SCAN 0",
            "SCAN 0 COUNT 1000",
            "SETRANGE key 1000 x",
            "APPEND key x",
            "APPEND long x",
            "COPY big other",
            "DEL big",
            "RENAME big other",
            "GET long",
            "HGET big x",
            "ZADD big 1 x",
        ] {
            assert!(!is_long(line), "{line}: {}", weigh(line).0);
        }
    }

    #[test]
    fn values_are_not_looked_at_where_the_arguments_say_enough() {
        for line in [
            "GET long",
            "SET key value",
            "HGET big x",
            "LRANGE big 0 599",
            "LRANGE big -100 -1",
            "LPOP big 100",
            "ZRANGE big 0 99",
            "ZRANGEBYSCORE big -inf +inf LIMIT 0 10",
            "SCAN 0 COUNT 100",
            "GETRANGE long 0 100",
        ] {
            assert_eq!(weigh(line).1, 0, "{line}");
        }
    }

    #[test]
    fn many_arguments_are_work() {
        let keys = "k ".repeat(20_000);
        assert!(is_long(&format!("DEL {}", keys.trim())));
        assert!(is_long(&format!("MSET {}", keys.trim())));
    }

    #[test]
    fn bad_arguments_are_nothing_to_stumble_over() {
        for command in command::commands().filter(|command| !command.spec.name.contains('|')) {
            for rest in [
                "",
                " big",
                " big big",
                " big x -1",
                " -9223372036854775808 9223372036854775807 -9223372036854775808",
                " big -9223372036854775808 9223372036854775807 LIMIT",
                " big 9223372036854775807 -9223372036854775808 COUNT",
                " 2 big COUNT -5 LIMIT 3",
            ] {
                weigh(&format!("{}{rest}", command.spec.name));
            }
        }
    }
}
