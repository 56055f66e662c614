//! From bytes to lengths, strings and values, out of any [`Source`].
//!
//! Collections are built element by element with the server's own limits, so they take the form that they would have
//! if they had been made by commands, whatever form they are stored in.

use std::fmt::Display;

use crate::text::double;
use crate::text::integer::IntText;
use crate::value::{Hash, Limits, List, Object, Set, ZSetBuilder};

use super::error::RdbError;
use super::foreign::ForeignType;
use super::format::{ValueType, node, special};
use super::lzf;
use super::packed::{Element, Flaw, Intset, Listpack, Ziplist, Zipmap};
use super::source::{SliceSource, Source};

/// What a length field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Plain(u64),
    /// One of [`special`].
    Special(u8),
}

/// A value, its string still in the source or in the scratch space.
pub(super) enum Value<'s> {
    String(&'s [u8]),
    Object(Object),
    /// A collection without elements, which old bugs could leave in a file and which no server keeps.
    Empty,
}

/// Space for strings that are not stored as they are, reused from string to string.
#[derive(Default)]
pub(super) struct Scratch {
    expanded: Vec<u8>,
    int: Option<IntText>,
    first: Vec<u8>,
}

/// A larger scratch buffer is given back when it is next used for less.
const SCRATCH_KEPT_MAX: usize = 1 << 20;

/// The error for bytes at `offset` that mean nothing.
pub(super) fn corrupt(offset: u64, expected: &'static str, found: impl Display) -> RdbError {
    RdbError::Corrupt {
        offset,
        expected,
        found: found.to_string(),
    }
}

/// Reads a length field of either kind.
#[inline]
pub(super) fn read_length<S: Source>(source: &mut S) -> Result<Length, RdbError> {
    let offset = source.position();
    let first = source.byte()?;
    Ok(match first >> 6 {
        0 => Length::Plain(u64::from(first)),
        1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(source.byte()?)),
        2 => match first {
            0x80 => Length::Plain(u64::from(u32::from_be_bytes(source.array()?))),
            0x81 => Length::Plain(u64::from_be_bytes(source.array()?)),
            _ => {
                return Err(corrupt(
                    offset,
                    "a length",
                    format_args!("byte {first:02x}"),
                ));
            }
        },
        _ => Length::Special(first & 0x3f),
    })
}

/// Reads a length field that must be a number.
#[inline]
pub(super) fn read_count<S: Source>(source: &mut S) -> Result<u64, RdbError> {
    let offset = source.position();
    match read_length(source)? {
        Length::Plain(count) => Ok(count),
        Length::Special(kind) => Err(corrupt(
            offset,
            "a number",
            format_args!("special string {kind}"),
        )),
    }
}

/// Reads a string. It lies in the source where it is stored plainly, else in the scratch space.
#[inline]
pub(super) fn read_string<'s, S: Source>(
    source: &'s mut S,
    scratch: &'s mut Scratch,
) -> Result<&'s [u8], RdbError> {
    read_string_into(source, &mut scratch.expanded, &mut scratch.int)
}

#[inline]
fn read_string_into<'s, S: Source>(
    source: &'s mut S,
    expanded: &'s mut Vec<u8>,
    int: &'s mut Option<IntText>,
) -> Result<&'s [u8], RdbError> {
    let offset = source.position();
    match read_length(source)? {
        Length::Plain(len) => source.take(len),
        Length::Special(special::INT8) => {
            Ok(int.insert(IntText::new(i8::from_le_bytes(source.array()?).into())))
        }
        Length::Special(special::INT16) => {
            Ok(int.insert(IntText::new(i16::from_le_bytes(source.array()?).into())))
        }
        Length::Special(special::INT32) => {
            Ok(int.insert(IntText::new(i32::from_le_bytes(source.array()?).into())))
        }
        Length::Special(special::LZF) => read_compressed(source, offset, expanded),
        Length::Special(kind) => Err(corrupt(
            offset,
            "a string",
            format_args!("special string {kind}"),
        )),
    }
}

/// Reads the rest of a compressed string that began at `offset`.
fn read_compressed<'s, S: Source>(
    source: &mut S,
    offset: u64,
    expanded: &'s mut Vec<u8>,
) -> Result<&'s [u8], RdbError> {
    let packed_len = read_count(source)?;
    let len = read_count(source)?;
    let packed = source.take(packed_len)?;
    if expanded.capacity() > SCRATCH_KEPT_MAX && len < SCRATCH_KEPT_MAX as u64 {
        *expanded = Vec::new();
    }
    expanded.clear();
    let fits = usize::try_from(len).is_ok_and(|len| lzf::decompress(packed, len, expanded));
    if !fits {
        let found = format_args!("{packed_len} bytes that are not").to_string();
        return Err(corrupt(
            offset,
            "a compressed string",
            format!("{found} LZF of {len} bytes"),
        ));
    }
    Ok(expanded)
}

/// Reads two strings that belong together and hands both over.
#[inline]
pub(super) fn read_pair<S: Source, T>(
    source: &mut S,
    scratch: &mut Scratch,
    use_pair: impl FnOnce(&[u8], &[u8]) -> T,
) -> Result<T, RdbError> {
    let Scratch {
        expanded,
        int,
        first,
    } = scratch;
    first.clear();
    if first.capacity() > SCRATCH_KEPT_MAX {
        *first = Vec::new();
    }
    first.extend_from_slice(read_string_into(source, expanded, int)?);
    let second = read_string_into(source, expanded, int)?;
    Ok(use_pair(first, second))
}

/// Looks a type byte up; what we have no type for is an error that names it and `key`.
pub(super) fn value_type<S: Source>(
    source: &mut S,
    offset: u64,
    byte: u8,
    key: Option<&[u8]>,
) -> Result<ValueType, RdbError> {
    if let Some(ty) = ValueType::from_byte(byte) {
        return Ok(ty);
    }
    let Some(foreign) = ForeignType::from_byte(byte) else {
        return Err(corrupt(offset, "the type of a value", byte));
    };
    Err(RdbError::Unsupported {
        offset,
        feature: foreign.feature(source)?,
        key: key.map(Box::from),
    })
}

/// The name in a module's id: nine characters of six bits above ten bits of version.
pub(super) fn module_name(id: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9)
        .rev()
        .map(|place| char::from(ALPHABET[(id >> (10 + 6 * place) & 63) as usize]))
        .collect()
}

/// Reads a value of type `ty`.
pub(super) fn read_value<'s, S: Source>(
    source: &'s mut S,
    ty: ValueType,
    scratch: &'s mut Scratch,
    limits: &Limits,
) -> Result<Value<'s>, RdbError> {
    let object = match ty {
        ValueType::String => return Ok(Value::String(read_string(source, scratch)?)),
        ValueType::List => read_list(source, scratch, limits)?,
        ValueType::ListQuicklist | ValueType::ListQuicklist2 => {
            read_quicklist(source, ty, scratch, limits)?
        }
        ValueType::Set => read_set(source, scratch, limits)?,
        ValueType::ZSet | ValueType::ZSet2 => read_zset(source, ty, scratch, limits)?,
        ValueType::Hash => read_hash(source, scratch, limits)?,
        ValueType::ListZiplist
        | ValueType::SetIntset
        | ValueType::SetListpack
        | ValueType::HashZipmap
        | ValueType::HashZiplist
        | ValueType::HashListpack
        | ValueType::ZSetZiplist
        | ValueType::ZSetListpack => {
            let offset = source.position();
            let (container, build): (_, Build) = match ty {
                ValueType::ListZiplist => ("List ziplist", list_from_ziplist),
                ValueType::SetIntset => ("Intset", set_from_intset),
                ValueType::SetListpack => ("Set listpack", set_from_listpack),
                ValueType::HashZipmap => ("Zipmap", hash_from_zipmap),
                ValueType::HashZiplist => ("Hash ziplist", hash_from_ziplist),
                ValueType::HashListpack => ("Hash listpack", hash_from_listpack),
                ValueType::ZSetZiplist => ("Zset ziplist", zset_from_ziplist),
                _ => ("Zset listpack", zset_from_listpack),
            };
            let packed = read_string(source, scratch)?;
            build(packed, limits).map_err(|flaw| in_container(container, offset, flaw))?
        }
    };
    Ok(object.map_or(Value::Empty, Value::Object))
}

/// Builds an object, or none if there are no elements, from a packed container.
type Build = fn(&[u8], &Limits) -> Result<Option<Object>, Flaw>;

fn in_container(container: &'static str, offset: u64, flaw: Flaw) -> RdbError {
    RdbError::Container {
        container,
        offset,
        at: flaw.at,
        detail: flaw.detail,
    }
}

fn duplicate(container: &'static str, offset: u64) -> RdbError {
    in_container(container, offset, TWICE)
}

fn read_list<S: Source>(
    source: &mut S,
    scratch: &mut Scratch,
    limits: &Limits,
) -> Result<Option<Object>, RdbError> {
    let mut list = List::new();
    for _ in 0..read_count(source)? {
        list.push_back(read_string(source, scratch)?, limits);
    }
    Ok((!list.is_empty()).then_some(Object::List(list)))
}

fn read_quicklist<S: Source>(
    source: &mut S,
    ty: ValueType,
    scratch: &mut Scratch,
    limits: &Limits,
) -> Result<Option<Object>, RdbError> {
    let mut list = List::new();
    for _ in 0..read_count(source)? {
        let offset = source.position();
        let kind = if ty == ValueType::ListQuicklist2 {
            read_count(source)?
        } else {
            node::PACKED
        };
        let bytes = read_string(source, scratch)?;
        let pushed = match (kind, ty) {
            // No element that needs a node of its own is empty.
            (node::PLAIN, _) if bytes.is_empty() => Err(Flaw {
                at: 0,
                detail: "a plain node is empty",
            }),
            (node::PLAIN, _) => {
                list.push_back(bytes, limits);
                Ok(())
            }
            (node::PACKED, ValueType::ListQuicklist) => {
                Ziplist::new(bytes).and_then(|packed| push_all(&mut list, packed, limits))
            }
            (node::PACKED, _) => {
                Listpack::new(bytes).and_then(|packed| push_all(&mut list, packed, limits))
            }
            _ => Err(Flaw {
                at: 0,
                detail: "a node is neither plain nor packed",
            }),
        };
        pushed.map_err(|flaw| in_container("Quicklist", offset, flaw))?;
    }
    Ok((!list.is_empty()).then_some(Object::List(list)))
}

fn push_all<'a>(
    list: &mut List,
    elements: impl Iterator<Item = Result<Element<'a>, Flaw>>,
    limits: &Limits,
) -> Result<(), Flaw> {
    for element in elements {
        element?.with_bytes(|bytes| list.push_back(bytes, limits));
    }
    Ok(())
}

fn read_set<S: Source>(
    source: &mut S,
    scratch: &mut Scratch,
    limits: &Limits,
) -> Result<Option<Object>, RdbError> {
    let offset = source.position();
    let mut set = Set::new();
    for _ in 0..read_count(source)? {
        if !set.insert(read_string(source, scratch)?, limits) {
            return Err(duplicate("Set", offset));
        }
    }
    Ok((!set.is_empty()).then_some(Object::Set(set)))
}

fn read_hash<S: Source>(
    source: &mut S,
    scratch: &mut Scratch,
    limits: &Limits,
) -> Result<Option<Object>, RdbError> {
    let offset = source.position();
    let mut hash = Hash::new();
    for _ in 0..read_count(source)? {
        let new = read_pair(source, scratch, |field, value| {
            hash.insert(field, value, limits)
        })?;
        if !new {
            return Err(duplicate("Hash", offset));
        }
    }
    Ok((!hash.is_empty()).then_some(Object::Hash(hash)))
}

fn read_zset<S: Source>(
    source: &mut S,
    ty: ValueType,
    scratch: &mut Scratch,
    limits: &Limits,
) -> Result<Option<Object>, RdbError> {
    let offset = source.position();
    let mut builder = ZSetBuilder::new();
    for _ in 0..read_count(source)? {
        let Scratch {
            expanded,
            int,
            first,
        } = scratch;
        first.clear();
        first.extend_from_slice(read_string_into(source, expanded, int)?);
        let score_offset = source.position();
        let score = if ty == ValueType::ZSet2 {
            f64::from_le_bytes(source.array()?)
        } else {
            read_old_score(source)?
        };
        if score.is_nan() {
            return Err(corrupt(score_offset, "a score", "not a number"));
        }
        builder.push(first, score);
    }
    let zset = builder
        .finish(limits)
        .ok_or_else(|| duplicate("Zset", offset))?;
    Ok((!zset.is_empty()).then_some(Object::ZSet(zset)))
}

/// Reads a score as it was stored before version 8: a length byte and that many characters of decimal text; the lengths
/// 253, 254 and 255 stand for not a number, infinity and minus infinity.
fn read_old_score<S: Source>(source: &mut S) -> Result<f64, RdbError> {
    let offset = source.position();
    match source.byte()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        len => {
            let text = source.take(u64::from(len))?;
            double::parse(text).ok_or_else(|| {
                corrupt(offset, "a score", format_args!("'{}'", text.escape_ascii()))
            })
        }
    }
}

fn list_from_ziplist(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    let mut list = List::new();
    push_all(&mut list, Ziplist::new(bytes)?, limits)?;
    Ok((!list.is_empty()).then_some(Object::List(list)))
}

fn set_from_intset(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    let mut set = Set::new();
    for member in Intset::new(bytes)? {
        // Ascending order leaves no room for duplicates.
        set.insert(&IntText::new(member?), limits);
    }
    Ok(Some(Object::Set(set)))
}

fn set_from_listpack(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    let mut set = Set::new();
    for member in Listpack::new(bytes)? {
        if !member?.with_bytes(|member| set.insert(member, limits)) {
            return Err(TWICE);
        }
    }
    Ok((!set.is_empty()).then_some(Object::Set(set)))
}

const TWICE: Flaw = Flaw {
    at: 0,
    detail: "an element is there twice",
};
const ODD: Flaw = Flaw {
    at: 0,
    detail: "an element lacks its other half",
};

/// Elements two by two.
fn pairs<'a>(
    mut elements: impl Iterator<Item = Result<Element<'a>, Flaw>>,
) -> impl Iterator<Item = Result<(Element<'a>, Element<'a>), Flaw>> {
    std::iter::from_fn(move || {
        let first = elements.next()?;
        Some(first.and_then(|first| match elements.next() {
            Some(second) => Ok((first, second?)),
            None => Err(ODD),
        }))
    })
}

fn hash_from_zipmap(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    let mut hash = Hash::new();
    for pair in Zipmap::new(bytes)? {
        let (field, value) = pair?;
        if !hash.insert(field, value, limits) {
            return Err(TWICE);
        }
    }
    Ok(Some(Object::Hash(hash)))
}

fn hash_from_ziplist(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    hash_from_pairs(pairs(Ziplist::new(bytes)?), limits)
}

fn hash_from_listpack(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    hash_from_pairs(pairs(Listpack::new(bytes)?), limits)
}

fn hash_from_pairs<'a>(
    pairs: impl Iterator<Item = Result<(Element<'a>, Element<'a>), Flaw>>,
    limits: &Limits,
) -> Result<Option<Object>, Flaw> {
    let mut hash = Hash::new();
    for pair in pairs {
        let (field, value) = pair?;
        if !field.with_bytes(|field| value.with_bytes(|value| hash.insert(field, value, limits))) {
            return Err(TWICE);
        }
    }
    Ok((!hash.is_empty()).then_some(Object::Hash(hash)))
}

fn zset_from_ziplist(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    zset_from_pairs(pairs(Ziplist::new(bytes)?), limits)
}

fn zset_from_listpack(bytes: &[u8], limits: &Limits) -> Result<Option<Object>, Flaw> {
    zset_from_pairs(pairs(Listpack::new(bytes)?), limits)
}

fn zset_from_pairs<'a>(
    pairs: impl Iterator<Item = Result<(Element<'a>, Element<'a>), Flaw>>,
    limits: &Limits,
) -> Result<Option<Object>, Flaw> {
    let mut builder = ZSetBuilder::new();
    for pair in pairs {
        let (member, score) = pair?;
        let score = match score {
            Element::Int(score) => Some(score as f64),
            Element::Bytes(text) => double::parse(text),
        };
        let Some(score) = score else {
            return Err(Flaw {
                at: 0,
                detail: "a score is not a number",
            });
        };
        member.with_bytes(|member| builder.push(member, score));
    }
    let zset = builder.finish(limits).ok_or(TWICE)?;
    Ok((!zset.is_empty()).then_some(Object::ZSet(zset)))
}

/// Passes over a string.
pub(super) fn skip_string(source: &mut SliceSource<'_>) -> Result<(), RdbError> {
    let offset = source.position();
    let len = match read_length(source)? {
        Length::Plain(len) => len,
        Length::Special(special::INT8) => 1,
        Length::Special(special::INT16) => 2,
        Length::Special(special::INT32) => 4,
        Length::Special(special::LZF) => {
            let packed_len = read_count(source)?;
            read_count(source)?;
            packed_len
        }
        Length::Special(kind) => {
            return Err(corrupt(
                offset,
                "a string",
                format_args!("special string {kind}"),
            ));
        }
    };
    source.advance(len).map(|_| ())
}

/// Passes over as many elements as the count says that the source stands at.
pub(super) fn skip_elements<'a>(
    source: &mut SliceSource<'a>,
    skip: impl Fn(&mut SliceSource<'a>) -> Result<(), RdbError>,
) -> Result<(), RdbError> {
    // Each takes a byte at least, so a count that is too high ends with the source.
    (0..read_count(source)?).try_for_each(|_| skip(source))
}

/// Passes over a value of type `ty` without looking into packed containers.
pub(super) fn skip_value(source: &mut SliceSource<'_>, ty: ValueType) -> Result<(), RdbError> {
    match ty {
        ValueType::List | ValueType::Set | ValueType::ListQuicklist => {
            skip_elements(source, skip_string)
        }
        ValueType::Hash => skip_elements(source, |source| {
            skip_string(source)?;
            skip_string(source)
        }),
        ValueType::ListQuicklist2 => skip_elements(source, |source| {
            read_count(source)?;
            skip_string(source)
        }),
        ValueType::ZSet => skip_elements(source, |source| {
            skip_string(source)?;
            read_old_score(source).map(drop)
        }),
        ValueType::ZSet2 => skip_elements(source, |source| {
            skip_string(source)?;
            source.advance(8).map(drop)
        }),
        _ => skip_string(source),
    }
}
