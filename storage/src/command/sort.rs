//! SORT and SORT_RO.
//!
//! The patterns of BY and GET name keys that only the sorted elements tell: in a long turn the engine asks for them
//! ([`CommandSpec::value_keys`]), in any other the command takes the whole keyspace then. Without patterns it is confined
//! to its key and the destination of STORE.
//!
//! Text is compared byte by byte, whatever the locale.

use std::cmp::Ordering;
use std::ops::Range;

use super::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, Data, Elsewhere, Flags, KeyClass,
    KeySpec, Keys, Work, work,
};
use crate::keyspace::{Record, ValueRef};
use crate::text::{double, integer};
use crate::value::{List, Member, Object};

const COMPLEXITY: &str = "O(N+M*log(M)), N being the number of elements and M the number of elements returned; O(N) if \
                          nothing is sorted.";

/// The family's rows of the command table.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        spec: CommandSpec {
            name: "sort",
            work: Work::Grows(work::sort),
            arity: -2,
            flags: Flags::WRITE
                .with(Flags::DENYOOM)
                .with(Flags::MOVABLE_KEYS)
                .with(Flags::ALL_KEYS),
            keys: KeySpec::Custom {
                first: 1,
                last: 1,
                step: 1,
                find: sort_keys,
                access: "RO access | OW update",
                elsewhere: &[
                    Elsewhere::Unknown("RO access"),
                    Elsewhere::Unknown("OW update"),
                ],
            },
            all_keys_if: Some(names_other_keys),
            value_keys: Some(named_keys),
            complexity: COMPLEXITY,
            summary: "Sorts the elements of a list, set or sorted set, and may store the result.",
            syntax: "key [BY pattern@1] [LIMIT offset count] [GET pattern@1 [GET pattern ...]] \
                     [order= ASC | DESC] [sorting= ALPHA] [STORE destination@2]",
            categories: CATEGORIES,
            ..CommandSpec::DEFAULT
        },
        run: |ctx| sort(ctx, true),
    },
    Command {
        spec: CommandSpec {
            name: "sort_ro",
            work: Work::Grows(work::sort),
            arity: -2,
            flags: Flags::READONLY
                .with(Flags::MOVABLE_KEYS)
                .with(Flags::ALL_KEYS),
            keys: KeySpec::Custom {
                first: 1,
                last: 1,
                step: 1,
                find: |args| (1..args.len().min(2)).collect(),
                access: "RO access",
                elsewhere: &[Elsewhere::Unknown("RO access")],
            },
            all_keys_if: Some(names_other_keys),
            value_keys: Some(named_keys),
            since: "7.0.0",
            complexity: COMPLEXITY,
            summary: "Returns the sorted elements of a list, set or sorted set.",
            syntax: "key [BY pattern@1] [LIMIT offset count] [GET pattern@1 [GET pattern ...]] \
                     [order= ASC | DESC] [sorting= ALPHA]",
            categories: CATEGORIES,
            ..CommandSpec::DEFAULT
        },
        run: |ctx| sort(ctx, false),
    },
];

const CATEGORIES: &[&str] = &["set", "sortedset", "list", "dangerous"];

/// The options of one command.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    limit: Option<(i64, i64)>,
    by: Option<Pattern<'a>>,
    /// BY a pattern that names the same key for every element: nothing is sorted.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Parses what follows the key; STORE only if `may_store`.
    fn parse(mut args: &[&'a [u8]], may_store: bool) -> Result<Options<'a>, CommandError> {
        let mut options = Options::default();
        while let [option, rest @ ..] = args {
            args = rest;
            match (option.to_ascii_lowercase().as_slice(), rest) {
                (b"asc", _) => options.descending = false,
                (b"desc", _) => options.descending = true,
                (b"alpha", _) => options.alpha = true,
                (b"limit", [offset, count, rest @ ..]) => {
                    let offset = integer::parse_i64(offset).ok_or(CommandError::NotInteger)?;
                    let count = integer::parse_i64(count).ok_or(CommandError::NotInteger)?;
                    options.limit = Some((offset, count));
                    args = rest;
                }
                (b"store", [key, rest @ ..]) if may_store => {
                    options.store = Some(key);
                    args = rest;
                }
                (b"by", [pattern, rest @ ..]) => {
                    options.by = Pattern::parse(pattern);
                    // As with Redis, one such pattern counts even if another follows.
                    options.unsorted |= !pattern.contains(&b'*');
                    args = rest;
                }
                (b"get", [pattern, rest @ ..]) => {
                    options
                        .get
                        .push(Pattern::parse(pattern).unwrap_or(Pattern::Nothing));
                    args = rest;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    /// Which of `len` elements, once they are in order, are asked for.
    fn selected(&self, len: usize) -> Range<usize> {
        let Some((offset, count)) = self.limit else {
            return 0..len;
        };
        let start = usize::try_from(offset).unwrap_or(0).min(len);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        start..start.saturating_add(count).min(len)
    }
}

/// What BY or GET says: where to find the value that stands for an element.
#[derive(Clone, Copy)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// Names no key.
    Nothing,
    /// The key `before ELEMENT after`: a string, or with a field, a hash.
    Key {
        before: &'a [u8],
        after: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a [u8]) -> Option<Pattern<'a>> {
        if text == b"#" {
            return Some(Pattern::Element);
        }
        let star = text.iter().position(|byte| *byte == b'*')?;
        let (before, after) = (&text[..star], &text[star + 1..]);
        let arrow = after.windows(2).position(|pair| pair == b"->");
        Some(match arrow {
            Some(arrow) if arrow + 2 < after.len() => Pattern::Key {
                before,
                after: &after[..arrow],
                field: Some(&after[arrow + 2..]),
            },
            _ => Pattern::Key {
                before,
                after,
                field: None,
            },
        })
    }

    /// Calls `take` with the value that stands for `element`.
    fn look_up<R>(
        self,
        data: &mut Data<'_>,
        element: &[u8],
        take: impl FnOnce(Option<&[u8]>) -> R,
    ) -> R {
        let (before, after, field) = match self {
            Pattern::Element => return take(Some(element)),
            Pattern::Nothing => return take(None),
            Pattern::Key {
                before,
                after,
                field,
            } => (before, after, field),
        };
        let key = [before, element, after].concat();
        let value = match (data.read(&key).map(Record::value), field) {
            (Some(ValueRef::Str(bytes, _)), None) => Some(bytes),
            (Some(ValueRef::Object(Object::Hash(hash))), Some(field)) => hash.get(field),
            _ => None,
        };
        take(value)
    }
}

/// Whether BY or GET names keys, so that the command does not know beforehand what it will read.
fn names_other_keys(args: &[&[u8]]) -> bool {
    let may_store = true;
    match Options::parse(args.get(2..).unwrap_or_default(), may_store) {
        Ok(options) => {
            let names_keys = |pattern: &Pattern<'_>| matches!(pattern, Pattern::Key { .. });
            options.get.iter().any(names_keys) || options.by.iter().any(names_keys)
        }
        Err(_) => false,
    }
}

/// The keys that BY and GET name for the elements of `source`.
fn named_keys(args: &[&[u8]], source: &Record, visit: &mut dyn FnMut(&[u8])) {
    let ValueRef::Object(source) = source.value() else {
        return;
    };
    let Ok(options) = Options::parse(args.get(2..).unwrap_or_default(), true) else {
        return;
    };
    let patterns = || options.by.iter().chain(&options.get);
    let mut key = Vec::new();
    let mut of_element = |element: &[u8]| {
        for pattern in patterns() {
            if let Pattern::Key { before, after, .. } = pattern {
                key.clear();
                for part in [before, element, after] {
                    key.extend_from_slice(part);
                }
                visit(&key);
            }
        }
    };
    match source {
        Object::List(list) => list.iter().for_each(of_element),
        Object::ZSet(zset) => zset.iter().for_each(|(member, _)| of_element(member)),
        Object::Set(set) => set.iter().for_each(|member| of_element(&member)),
        Object::Hash(_) => {}
    }
}

/// The key to sort, and the destination.
fn sort_keys(args: &[&[u8]]) -> Keys {
    let mut keys = Keys::new();
    if args.len() < 2 {
        return keys;
    }
    keys.push(1);
    let mut store = None;
    let mut at = 2;
    while let Some(option) = args.get(at) {
        at += match option.to_ascii_lowercase().as_slice() {
            b"limit" => 3,
            b"by" | b"get" => 2,
            b"store" => {
                store = Some(at + 1);
                2
            }
            _ => 1,
        };
    }
    keys.extend(store.filter(|store| *store < args.len()));
    keys
}

/// An element and what it is sorted by.
struct Item<'a> {
    element: Member<'a>,
    weight: Weight,
}

enum Weight {
    /// The element's own bytes.
    Element,
    /// A number; then the element's own bytes.
    Number(f64),
    /// Other bytes; what has none comes first.
    Text(Option<Box<[u8]>>),
}

impl Item<'_> {
    fn order(&self, other: &Item<'_>) -> Ordering {
        let by_element = || self.element.cmp(&other.element);
        match (&self.weight, &other.weight) {
            (Weight::Number(a), Weight::Number(b)) => a
                .partial_cmp(b)
                .unwrap_or(Ordering::Equal)
                .then_with(by_element),
            (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
            _ => by_element(),
        }
    }
}

fn sort(ctx: &mut Ctx<'_>, may_store: bool) -> CommandResult {
    let mut options = Options::parse(&ctx.args[2..], may_store)?;
    let source = match ctx.data.read(ctx.args[1]).map(Record::value) {
        None => Object::List(List::new()),
        Some(ValueRef::Object(Object::Hash(_)) | ValueRef::Str(..)) => {
            return Err(CommandError::WrongType);
        }
        // Shares the elements.
        Some(ValueRef::Object(object)) => object.clone(),
    };
    if options.unsorted && options.store.is_some() && matches!(source, Object::Set(_)) {
        // A set has no order of its own that would be the same wherever the log is replayed.
        options.unsorted = false;
        options.alpha = true;
        options.by = None;
    }
    let elements = if options.unsorted {
        unsorted_elements(&source, &options)
    } else {
        let items = weigh(&mut ctx.data, all_elements(&source), &options)?;
        sorted_elements(items, &options)
    };
    match options.store {
        None => {
            reply(ctx, &elements, &options);
            Ok(())
        }
        Some(destination) => {
            let list = result_list(ctx, &elements, &options);
            // The source's elements are not to be freed here, should it be the destination.
            drop(elements);
            drop(source);
            store(ctx, destination, list);
            Ok(())
        }
    }
}

/// All elements, in an order that is the same wherever the log is replayed: elements of equal weight keep it.
fn all_elements(source: &Object) -> Vec<Member<'_>> {
    match source {
        Object::List(list) => list.iter().map(Member::Bytes).collect(),
        Object::ZSet(zset) => zset
            .iter()
            .map(|(member, _)| Member::Bytes(member))
            .collect(),
        Object::Set(set) => {
            let mut members: Vec<Member<'_>> = set.iter().collect();
            members.sort_unstable_by(|a, b| <[u8]>::cmp(a, b));
            members
        }
        Object::Hash(_) => Vec::new(),
    }
}

/// The selected elements in the order that the collection itself has, or the reverse.
fn unsorted_elements<'s>(source: &'s Object, options: &Options<'_>) -> Vec<Member<'s>> {
    let len = source.len();
    let selected = options.selected(len);
    // Reversed, position 0 is the last element.
    let reversed = len - selected.end..len - selected.start;
    match (source, options.descending) {
        (Object::List(list), false) => list
            .iter_from(selected.start)
            .take(selected.len())
            .map(Member::Bytes)
            .collect(),
        (Object::List(_), true) if selected.is_empty() => Vec::new(),
        (Object::List(list), true) => list
            .iter_rev_from(reversed.end - 1)
            .take(reversed.len())
            .map(Member::Bytes)
            .collect(),
        (Object::ZSet(zset), false) => zset
            .iter_range(selected)
            .map(|(member, _)| Member::Bytes(member))
            .collect(),
        (Object::ZSet(zset), true) => zset
            .iter_range_rev(reversed)
            .map(|(member, _)| Member::Bytes(member))
            .collect(),
        (Object::Set(set), _) => set
            .iter()
            .skip(selected.start)
            .take(selected.len())
            .collect(),
        (Object::Hash(_), _) => Vec::new(),
    }
}

/// Finds what each element is to be sorted by.
fn weigh<'s>(
    data: &mut Data<'_>,
    elements: Vec<Member<'s>>,
    options: &Options<'_>,
) -> Result<Vec<Item<'s>>, CommandError> {
    let mut items = Vec::with_capacity(elements.len());
    for element in elements {
        let weight = match (options.by, options.alpha) {
            (None, true) => Weight::Element,
            (Some(by), true) => {
                Weight::Text(by.look_up(data, &element, |value| value.map(Box::from)))
            }
            (by, false) => {
                let by = by.unwrap_or(Pattern::Element);
                let number = by.look_up(data, &element, |value| match value {
                    Some(text) => parse_weight(text),
                    None => Some(0.0),
                });
                Weight::Number(number.ok_or_else(|| {
                    CommandError::err("One or more scores can't be converted into double")
                })?)
            }
        };
        items.push(Item { element, weight });
    }
    Ok(items)
}

/// Reads a number as `strtod` does, leading blanks and the empty text included.
fn parse_weight(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b)
        .count();
    double::parse(&text[blanks..])
}

fn sorted_elements<'s>(mut items: Vec<Item<'s>>, options: &Options<'_>) -> Vec<Member<'s>> {
    if options.descending {
        items.sort_by(|a, b| b.order(a));
    } else {
        items.sort_by(Item::order);
    }
    let selected = options.selected(items.len());
    items.drain(selected).map(|item| item.element).collect()
}

fn reply(ctx: &mut Ctx<'_>, elements: &[Member<'_>], options: &Options<'_>) {
    let values_each = options.get.len().max(1);
    ctx.reply.array(elements.len().saturating_mul(values_each));
    for element in elements {
        if options.get.is_empty() {
            ctx.reply.bulk(element);
        }
        for pattern in &options.get {
            let reply = &mut *ctx.reply;
            pattern.look_up(&mut ctx.data, element, |value| reply.bulk_or_null(value));
        }
    }
}

/// The values that [`reply`] would give; a missing one is the empty string.
fn result_list(ctx: &mut Ctx<'_>, elements: &[Member<'_>], options: &Options<'_>) -> List {
    let limits = ctx.limits();
    let mut list = List::new();
    for element in elements {
        if options.get.is_empty() {
            list.push_back(element, limits);
        }
        for pattern in &options.get {
            pattern.look_up(&mut ctx.data, element, |value| {
                list.push_back(value.unwrap_or_default(), limits);
            });
        }
    }
    list
}

fn store(ctx: &mut Ctx<'_>, destination: &[u8], list: List) {
    let len = list.len();
    if len > 0 {
        ctx.data.set_object(destination, list);
        ctx.data.modified(destination, KeyClass::List, "sortstore");
        ctx.dirty += len as u64;
    } else if ctx.data.delete(destination) {
        ctx.data.modified(destination, KeyClass::Generic, "del");
        ctx.dirty += 1;
    }
    ctx.reply.len(len);
}

#[cfg(test)]
mod tests;
