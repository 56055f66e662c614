//! LCS: the longest common subsequence of two strings.
//!
//! Dynamic programming over prefixes: `lens[j]` is the length for the first `i` bytes of `a` and `j` of `b`, one row
//! of it at a time. To walk back from the end one bit per pair of prefixes is kept: whether the longer of the two
//! smaller problems is the one with `a` cut. That is a 32nd of Redis's table, but the limit on it is Redis's.

use crate::command::{CommandError, CommandResult, Ctx, Reply};
use crate::keyspace::ValueRef;
use crate::text::integer;

#[derive(Default)]
struct Options {
    len_only: bool,
    indexes: bool,
    with_match_len: bool,
    match_len_min: i64,
}

impl Options {
    fn parse(args: &[&[u8]]) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
            if is(b"IDX") {
                options.indexes = true;
            } else if is(b"LEN") {
                options.len_only = true;
            } else if is(b"WITHMATCHLEN") {
                options.with_match_len = true;
            } else if is(b"MINMATCHLEN")
                && let Some(text) = args.next()
            {
                options.match_len_min = integer::parse_i64(text).ok_or(CommandError::NotInteger)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.len_only && options.indexes {
            return Err(CommandError::err(
                "If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

pub(super) fn lcs(ctx: &mut Ctx<'_>) -> CommandResult {
    let bytes_max = ctx.data.settings.string_len_max;
    let first = ctx
        .data
        .read(ctx.args[1])
        .map(|record| match record.value() {
            ValueRef::Str(value, _) => Some(value.to_vec()),
            ValueRef::Object(_) => None,
        });
    let second = ctx
        .data
        .read(ctx.args[2])
        .map(|record| match record.value() {
            ValueRef::Str(value, _) => Some(value),
            ValueRef::Object(_) => None,
        });
    let (Some(a), Some(b)) = (
        first.unwrap_or(Some(Vec::new())),
        second.unwrap_or(Some(&[])),
    ) else {
        return Err(CommandError::err(
            "The specified keys must contain string values",
        ));
    };
    let a = a.as_slice();
    let options = Options::parse(&ctx.args[3..])?;
    check_size(a, b, bytes_max)?;

    let mut cuts = Cuts::new(a.len(), b.len(), !options.len_only)?;
    let len = solve(a, b, &mut cuts);
    if options.indexes {
        ctx.reply.map(2);
        ctx.reply.bulk(b"matches");
        let matches = ctx.reply.begin_array();
        let mut count = 0;
        walk_ranges(a, b, &cuts, |range| {
            if range.len as i64 >= options.match_len_min {
                range.write(ctx.reply, options.with_match_len);
                count += 1;
            }
        });
        ctx.reply.end(matches, count);
        ctx.reply.bulk(b"len");
        ctx.reply.len(len);
    } else if options.len_only {
        ctx.reply.len(len);
    } else {
        let mut common = Vec::with_capacity(len);
        walk_back(a, b, &cuts, |step| {
            if let Step::Match(i, _) = step {
                common.push(a[i]);
            }
        });
        common.reverse();
        ctx.reply.bulk(&common);
    }
    Ok(())
}

/// Refuses strings for which Redis's table would be larger than a string may be.
fn check_size(a: &[u8], b: &[u8], bytes_max: usize) -> CommandResult {
    const LEN_MAX: usize = u32::MAX as usize - 1;
    if a.len() >= LEN_MAX || b.len() >= LEN_MAX {
        return Err(CommandError::err("String too long for LCS"));
    }
    let table = (a.len() as u128 + 1) * (b.len() as u128 + 1) * 4;
    if table > bytes_max as u128 {
        return Err(CommandError::err(
            "Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    Ok(())
}

/// One bit per pair of non-empty prefixes: going back means cutting `a` (else `b`), where their last bytes differ.
struct Cuts {
    bits: Vec<u64>,
    columns: usize,
}

impl Cuts {
    fn new(rows: usize, columns: usize, wanted: bool) -> Result<Cuts, CommandError> {
        let words = if wanted {
            (rows * columns).div_ceil(64)
        } else {
            0
        };
        let mut bits = Vec::new();
        bits.try_reserve_exact(words).map_err(|_| {
            CommandError::err("Insufficient memory, failed allocating transient memory for LCS")
        })?;
        bits.resize(words, 0);
        Ok(Cuts { bits, columns })
    }

    fn set(&mut self, row: usize, column: usize) {
        let bit = row * self.columns + column;
        if let Some(word) = self.bits.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    fn cuts_a(&self, row: usize, column: usize) -> bool {
        let bit = row * self.columns + column;
        self.bits[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// The length of the longest common subsequence; notes the way to it in `cuts`.
fn solve(a: &[u8], b: &[u8], cuts: &mut Cuts) -> usize {
    let mut lens = vec![0u32; b.len() + 1];
    for (i, x) in a.iter().enumerate() {
        // `lens` holds the row above up to `j`, and this row before it.
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let (above, left) = (lens[j + 1], lens[j]);
            lens[j + 1] = if x == y {
                diagonal + 1
            } else {
                if above > left {
                    cuts.set(i, j);
                }
                above.max(left)
            };
            diagonal = above;
        }
    }
    lens[b.len()] as usize
}

/// One step of the way back.
enum Step {
    /// Both strings have the same byte at these positions.
    Match(usize, usize),
    /// One of the strings was cut by a byte.
    Cut,
}

fn walk_back(a: &[u8], b: &[u8], cuts: &Cuts, mut visit: impl FnMut(Step)) {
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            visit(Step::Match(i, j));
        } else {
            if cuts.cuts_a(i - 1, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
            visit(Step::Cut);
        }
    }
}

/// A stretch of bytes that the strings have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    a: usize,
    b: usize,
    len: usize,
}

impl Range {
    fn write(self, reply: &mut Reply, with_len: bool) {
        reply.array(if with_len { 3 } else { 2 });
        for start in [self.a, self.b] {
            reply.array(2);
            reply.len(start);
            reply.len(start + self.len - 1);
        }
        if with_len {
            reply.len(self.len);
        }
    }
}

/// Visits the stretches of the subsequence, from the last to the first.
fn walk_ranges(a: &[u8], b: &[u8], cuts: &Cuts, mut visit: impl FnMut(Range)) {
    let mut range: Option<Range> = None;
    walk_back(a, b, cuts, |step| match (step, &mut range) {
        (Step::Match(i, j), Some(range)) if range.a == i + 1 && range.b == j + 1 => {
            *range = Range {
                a: i,
                b: j,
                len: range.len + 1,
            };
        }
        (Step::Match(i, j), _) => {
            if let Some(done) = range.replace(Range { a: i, b: j, len: 1 }) {
                visit(done);
            }
        }
        (Step::Cut, _) => {
            if let Some(done) = range.take() {
                visit(done);
            }
        }
    });
    if let Some(done) = range {
        visit(done);
    }
}
