//! ZUNION, ZINTER, ZDIFF, their STORE forms, and ZINTERCARD. Inputs are sorted sets, or sets whose members count 1.
//!
//! Floating-point sums depend on the order of their terms, so inputs are taken as Redis takes them: unions and
//! intersections begin with the smallest.

use std::collections::{HashMap, HashSet};

use super::{SPEC, reply_members, store};
use crate::command::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Data, Flags, KeySpec, Work, work,
};
use crate::keyspace::{Record, ValueRef};
use crate::text::{double, integer};
use crate::value::{Object, Set, ZSet, ZSetBuilder};

const UNION_COMPLEXITY: &str =
    "O(N)+O(M*log(M)), N being the sum of the sizes of the inputs and M the size of the result.";
const INTER_COMPLEXITY: &str = "O(N*K)+O(M*log(M)), N being the size of the smallest input, K the number of inputs and M \
                                the size of the result.";
const DIFF_COMPLEXITY: &str =
    "O(N + M*log(M)), N being the sum of the sizes of the inputs and M the size of the result.";

pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "zunion",
            work: Work::Grows(work::every_key),
            arity: -3,
            flags: READ,
            keys: READ_KEYS,
            since: "6.2.0",
            complexity: UNION_COMPLEXITY,
            summary: "Returns the union of sorted sets.",
            syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <aggregate= SUM | MIN | MAX>] [WITHSCORES]",
            ..SPEC
        },
        run: |ctx| read(ctx, Operation::Union),
    },
    Command {
        spec: CommandSpec {
            name: "zinter",
            work: Work::Grows(work::smallest_key),
            arity: -3,
            flags: READ,
            keys: READ_KEYS,
            since: "6.2.0",
            complexity: INTER_COMPLEXITY,
            summary: "Returns the intersection of sorted sets.",
            syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <aggregate= SUM | MIN | MAX>] [WITHSCORES]",
            ..SPEC
        },
        run: |ctx| read(ctx, Operation::Inter),
    },
    Command {
        spec: CommandSpec {
            name: "zdiff",
            work: Work::Grows(work::every_key),
            arity: -3,
            flags: READ,
            keys: READ_KEYS,
            since: "6.2.0",
            complexity: DIFF_COMPLEXITY,
            summary: "Returns the members of the first sorted set that are in none of the others.",
            syntax: "numkeys key [key ...] [WITHSCORES]",
            ..SPEC
        },
        run: |ctx| read(ctx, Operation::Diff),
    },
    Command {
        spec: CommandSpec {
            name: "zintercard",
            work: Work::Grows(work::smallest_key),
            arity: -3,
            flags: READ,
            keys: READ_KEYS,
            since: "7.0.0",
            complexity: "O(N*K), N being the size of the smallest input and K the number of inputs.",
            summary: "Returns the size of the intersection of sorted sets.",
            syntax: "numkeys key [key ...] [LIMIT limit]",
            ..SPEC
        },
        run: zintercard,
    },
    Command {
        spec: CommandSpec {
            name: "zunionstore",
            work: Work::Grows(work::every_key),
            arity: -4,
            flags: WRITE,
            keys: STORE_KEYS,
            since: "2.0.0",
            complexity: UNION_COMPLEXITY,
            summary: "Stores the union of sorted sets.",
            syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <aggregate= SUM | MIN | MAX>]",
            ..SPEC
        },
        run: |ctx| write(ctx, Operation::Union, "zunionstore"),
    },
    Command {
        spec: CommandSpec {
            name: "zinterstore",
            work: Work::Grows(work::smallest_key),
            arity: -4,
            flags: WRITE,
            keys: STORE_KEYS,
            since: "2.0.0",
            complexity: INTER_COMPLEXITY,
            summary: "Stores the intersection of sorted sets.",
            syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <aggregate= SUM | MIN | MAX>]",
            ..SPEC
        },
        run: |ctx| write(ctx, Operation::Inter, "zinterstore"),
    },
    Command {
        spec: CommandSpec {
            name: "zdiffstore",
            work: Work::Grows(work::every_key),
            arity: -4,
            flags: WRITE,
            keys: STORE_KEYS,
            since: "6.2.0",
            complexity: DIFF_COMPLEXITY,
            summary: "Stores the members of the first sorted set that are in none of the others.",
            syntax: "destination numkeys key [key ...]",
            ..SPEC
        },
        run: |ctx| write(ctx, Operation::Diff, "zdiffstore"),
    },
];

const READ: Flags = Flags::READONLY.with(Flags::MOVABLE_KEYS);

const WRITE: Flags = Flags::WRITE.with(Flags::DENYOOM).with(Flags::MOVABLE_KEYS);

const READ_KEYS: KeySpec = KeySpec::Counted {
    count_at: 1,
    dest: None,
    access: "RO access",
};

const STORE_KEYS: KeySpec = KeySpec::Counted {
    count_at: 2,
    dest: Some(1),
    access: "OW update | RO access",
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// One input. It shares its members with the key that it was read from.
enum Input {
    Missing,
    Set(Set),
    ZSet(ZSet),
}

impl Input {
    fn read(data: &mut Data<'_>, key: &[u8]) -> Result<Input, CommandError> {
        match data.read(key).map(Record::value) {
            None => Ok(Input::Missing),
            Some(ValueRef::Object(Object::Set(set))) => Ok(Input::Set(set.clone())),
            Some(ValueRef::Object(Object::ZSet(zset))) => Ok(Input::ZSet(zset.clone())),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(&self) -> usize {
        match self {
            Input::Missing => 0,
            Input::Set(set) => set.len(),
            Input::ZSet(zset) => zset.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Input::Missing => None,
            Input::Set(set) => set.contains(member).then_some(1.0),
            Input::ZSet(zset) => zset.score(member),
        }
    }

    /// Calls `visit` with each member and score until it returns false.
    fn visit_while(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        match self {
            Input::Missing => {}
            Input::Set(set) => {
                let _ = set.iter().all(|member| visit(&member, 1.0));
            }
            Input::ZSet(zset) => {
                let _ = zset.iter().all(|(member, score)| visit(member, score));
            }
        }
    }

    fn visit(&self, mut visit: impl FnMut(&[u8], f64)) {
        self.visit_while(|member, score| {
            visit(member, score);
            true
        });
    }
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(arg: &[u8]) -> Option<Aggregate> {
        match arg.to_ascii_lowercase().as_slice() {
            b"sum" => Some(Aggregate::Sum),
            b"min" => Some(Aggregate::Min),
            b"max" => Some(Aggregate::Max),
            _ => None,
        }
    }

    /// Joins two scores. Infinities of different signs add up to 0.
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// The score, or 0 if the arithmetic gave none.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// The inputs and options of one command.
struct Query {
    operation: Operation,
    /// Each with its weight.
    inputs: Vec<(Input, f64)>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Most members to count.
    limit: usize,
}

/// Which options a command takes beside those of its operation.
#[derive(PartialEq, Eq)]
enum Form {
    Read,
    Store,
    Count,
}

impl Query {
    /// Parses what follows the destination, and reads the inputs.
    fn read(ctx: &mut Ctx<'_>, operation: Operation, form: Form) -> Result<Query, CommandError> {
        let args = match form {
            Form::Store => &ctx.args[2..],
            _ => &ctx.args[1..],
        };
        let count = integer::parse_i64(args[0]).ok_or(CommandError::NotInteger)?;
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 {
            let name = ctx.spec.name;
            return Err(CommandError::err(format!(
                "at least 1 input key is needed for '{name}' command"
            )));
        }
        if count > args.len() - 1 {
            return Err(CommandError::Syntax);
        }
        let (keys, options) = args[1..].split_at(count);
        let mut inputs = Vec::with_capacity(keys.len());
        for key in keys {
            inputs.push((Input::read(&mut ctx.data, key)?, 1.0));
        }
        let mut query = Query {
            operation,
            inputs,
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: usize::MAX,
        };
        query.parse_options(options, form)?;
        if operation != Operation::Diff {
            query.inputs.sort_by_key(|(input, _)| input.len());
        }
        Ok(query)
    }

    fn parse_options(&mut self, mut options: &[&[u8]], form: Form) -> Result<(), CommandError> {
        let weighted = self.operation != Operation::Diff && form != Form::Count;
        while let [option, rest @ ..] = options {
            options = match option.to_ascii_lowercase().as_slice() {
                b"weights" if weighted && rest.len() >= self.inputs.len() => {
                    let (weights, rest) = rest.split_at(self.inputs.len());
                    for ((_, weight), arg) in self.inputs.iter_mut().zip(weights) {
                        *weight = double::parse(arg)
                            .ok_or_else(|| CommandError::err("weight value is not a float"))?;
                    }
                    rest
                }
                b"aggregate" if weighted && !rest.is_empty() => {
                    self.aggregate = Aggregate::parse(rest[0]).ok_or(CommandError::Syntax)?;
                    &rest[1..]
                }
                b"withscores" if form == Form::Read => {
                    self.with_scores = true;
                    rest
                }
                b"limit" if form == Form::Count && !rest.is_empty() => {
                    let limit = integer::parse_i64(rest[0])
                        .and_then(|limit| usize::try_from(limit).ok())
                        .ok_or_else(|| CommandError::err("LIMIT can't be negative"))?;
                    self.limit = if limit == 0 { usize::MAX } else { limit };
                    &rest[1..]
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(())
    }

    /// Calls `emit` with the members of the result, each once and in no particular order.
    fn run(&self, mut emit: impl FnMut(&[u8], f64)) {
        match self.operation {
            Operation::Union => self.unite(emit),
            Operation::Inter => self.intersect(|member, score| {
                emit(member, score);
                true
            }),
            Operation::Diff => self.subtract(emit),
        }
    }

    fn unite(&self, mut emit: impl FnMut(&[u8], f64)) {
        let mut scores: HashMap<Box<[u8]>, f64> = HashMap::new();
        for (input, weight) in &self.inputs {
            input.visit(|member, score| {
                let score = number(score * weight);
                match scores.get_mut(member) {
                    Some(joined) => *joined = self.aggregate.join(*joined, score),
                    None => {
                        scores.insert(member.into(), score);
                    }
                }
            });
        }
        for (member, score) in &scores {
            emit(member, *score);
        }
    }

    /// Calls `emit` until it returns false.
    fn intersect(&self, mut emit: impl FnMut(&[u8], f64) -> bool) {
        let [(smallest, weight), others @ ..] = self.inputs.as_slice() else {
            return;
        };
        smallest.visit_while(|member, score| {
            let mut joined = number(score * weight);
            for (other, weight) in others {
                match other.score(member) {
                    Some(score) => joined = self.aggregate.join(joined, score * weight),
                    None => return true,
                }
            }
            emit(member, joined)
        });
    }

    fn subtract(&self, mut emit: impl FnMut(&[u8], f64)) {
        let [(first, _), others @ ..] = self.inputs.as_slice() else {
            return;
        };
        // Many small sets are better joined than looked into one by one for each member.
        let total: usize = others.iter().map(|(other, _)| other.len()).sum();
        if others.len() > 1 && total < first.len() {
            let mut subtracted: HashSet<Box<[u8]>> = HashSet::new();
            for (other, _) in others {
                other.visit(|member, _| {
                    subtracted.insert(member.into());
                });
            }
            first.visit(|member, score| {
                if !subtracted.contains(member) {
                    emit(member, score);
                }
            });
        } else {
            first.visit(|member, score| {
                if others
                    .iter()
                    .all(|(other, _)| other.score(member).is_none())
                {
                    emit(member, score);
                }
            });
        }
    }
}

fn read(ctx: &mut Ctx<'_>, operation: Operation) -> CommandResult {
    let query = Query::read(ctx, operation, Form::Read)?;
    let mut result: Vec<(Box<[u8]>, f64)> = Vec::new();
    query.run(|member, score| result.push((member.into(), score)));
    result.sort_unstable_by(|(member_a, a), (member_b, b)| {
        // Zeros of either sign are equal here, and NaN does not occur.
        a.partial_cmp(b)
            .unwrap_or(std::cmp::Ordering::Equal)
            .then_with(|| member_a.cmp(member_b))
    });
    let members = result.iter().map(|(member, score)| (&**member, *score));
    reply_members(ctx.reply, members, query.with_scores);
    Ok(())
}

fn write(ctx: &mut Ctx<'_>, operation: Operation, event: &'static str) -> CommandResult {
    let query = Query::read(ctx, operation, Form::Store)?;
    let mut result = ZSetBuilder::new();
    query.run(|member, score| result.push(member, score));
    let result = result
        .finish(ctx.limits())
        .expect("each member of the result is there once");
    // The inputs' members are not to be freed here, should the destination be one of the inputs.
    drop(query);
    ctx.dirty += store(&mut ctx.data, ctx.reply, ctx.args[1], result, event);
    Ok(())
}

fn zintercard(ctx: &mut Ctx<'_>) -> CommandResult {
    let query = Query::read(ctx, Operation::Inter, Form::Count)?;
    let mut count = 0;
    query.intersect(|_, _| {
        count += 1;
        count < query.limit
    });
    ctx.reply.len(count);
    Ok(())
}
