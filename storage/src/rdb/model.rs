//! What the tests compare: values and whole files as plain data.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::value::{Hash, Limits, List, Object, Set, ZSet};
use crate::{DbIndex, UnixMillis};

use super::*;

/// A value as plain data.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    ZSet(BTreeMap<Vec<u8>, f64>),
}

impl Model {
    pub fn of(object: &Object) -> Model {
        match object {
            Object::List(list) => Model::List(list.iter().map(<[u8]>::to_vec).collect()),
            Object::Set(set) => Model::Set(set.iter().map(|member| member.to_vec()).collect()),
            Object::Hash(hash) => {
                Model::Hash(hash.iter().map(|(f, v)| (f.to_vec(), v.to_vec())).collect())
            }
            Object::ZSet(zset) => Model::ZSet(
                zset.iter()
                    .map(|(member, score)| (member.to_vec(), score))
                    .collect(),
            ),
        }
    }

    pub fn of_restored(restored: Restored) -> Model {
        match restored {
            Restored::String(bytes) => Model::String(bytes),
            Restored::Object(object) => Model::of(&object),
        }
    }

    /// The collection, none for a string.
    pub fn object(&self, limits: &Limits) -> Option<Object> {
        Some(match self {
            Model::String(_) => return None,
            Model::List(elements) => {
                let mut list = List::new();
                elements
                    .iter()
                    .for_each(|element| list.push_back(element, limits));
                Object::List(list)
            }
            Model::Set(members) => {
                let mut set = Set::new();
                members
                    .iter()
                    .for_each(|member| assert!(set.insert(member, limits)));
                Object::Set(set)
            }
            Model::Hash(pairs) => {
                let mut hash = Hash::new();
                pairs
                    .iter()
                    .for_each(|(field, value)| assert!(hash.insert(field, value, limits)));
                Object::Hash(hash)
            }
            Model::ZSet(members) => {
                let mut zset = ZSet::new();
                for (member, score) in members {
                    zset.insert(member, *score, limits);
                }
                Object::ZSet(zset)
            }
        })
    }

    /// Lends the value as the writer wants it.
    pub fn with_value<T>(&self, limits: &Limits, use_value: impl FnOnce(ValueRef<'_>) -> T) -> T {
        match (self, self.object(limits)) {
            (Model::String(bytes), _) => use_value(ValueRef::String(bytes)),
            (_, Some(object)) => use_value(ValueRef::Object(&object)),
            (_, None) => unreachable!("only strings are no objects"),
        }
    }

    pub fn list(elements: &[&str]) -> Model {
        Model::List(
            elements
                .iter()
                .map(|element| element.as_bytes().to_vec())
                .collect(),
        )
    }

    pub fn set(members: &[&str]) -> Model {
        Model::Set(
            members
                .iter()
                .map(|member| member.as_bytes().to_vec())
                .collect(),
        )
    }

    pub fn hash(pairs: &[(&str, &str)]) -> Model {
        Model::Hash(
            pairs
                .iter()
                .map(|(f, v)| (f.as_bytes().to_vec(), v.as_bytes().to_vec()))
                .collect(),
        )
    }

    pub fn zset(pairs: &[(&str, f64)]) -> Model {
        Model::ZSet(
            pairs
                .iter()
                .map(|&(member, score)| (member.as_bytes().to_vec(), score))
                .collect(),
        )
    }

    pub fn string(text: &str) -> Model {
        Model::String(text.as_bytes().to_vec())
    }
}

/// A load target that keeps everything.
#[derive(Debug, Default, PartialEq)]
pub struct Collected {
    pub aux: Vec<(String, String)>,
    pub functions: Vec<Vec<u8>>,
    pub hints: Vec<(DbIndex, u64, u64)>,
    pub entries: Vec<(DbIndex, Vec<u8>, Model, Meta)>,
    pub empty_keys: Vec<Vec<u8>>,
    pub db: DbIndex,
}

impl Collected {
    /// The value of a key in database 0.
    pub fn get(&self, key: &str) -> &Model {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.0 == 0 && entry.1 == key.as_bytes());
        &entry.unwrap_or_else(|| panic!("no key {key}")).2
    }
}

impl LoadTarget for Collected {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.aux.push((text(name), text(value)));
        Ok(())
    }
    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.db = db;
        Ok(())
    }
    fn resize_hint(&mut self, keys: u64, expires: u64) {
        self.hints.push((self.db, keys, expires));
    }
    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        self.functions.push(code.to_vec());
        Ok(())
    }
    fn string(&mut self, key: &[u8], value: &[u8], meta: &Meta) -> Result<(), Refused> {
        self.entries
            .push((self.db, key.to_vec(), Model::String(value.to_vec()), *meta));
        Ok(())
    }
    fn object(&mut self, key: &[u8], object: Object, meta: &Meta) -> Result<(), Refused> {
        assert!(!object.is_empty());
        self.entries
            .push((self.db, key.to_vec(), Model::of(&object), *meta));
        Ok(())
    }
    fn empty_key(&mut self, key: &[u8]) {
        self.empty_keys.push(key.to_vec());
    }
}

impl SplitTarget<'_> for Collected {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        LoadTarget::aux(self, name, value)
    }
    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        LoadTarget::select_db(self, db)
    }
    fn resize_hint(&mut self, keys: u64, expires: u64) {
        LoadTarget::resize_hint(self, keys, expires);
    }
    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        LoadTarget::function(self, code)
    }
    fn entry(&mut self, entry: RawEntry<'_>) -> Result<(), Refused> {
        let meta = *entry.meta();
        EntryDecoder::new()
            .decode(&entry, &Limits::default(), |key, value| match value {
                Decoded::String(value) => self.string(key, value, &meta),
                Decoded::Object(object) => self.object(key, object, &meta),
                Decoded::Empty => {
                    self.empty_key(key);
                    Ok(())
                }
            })
            .unwrap_or_else(|error| Err(Refused(error.to_string())))
    }
}

/// Loads from memory with the usual limits.
pub fn load(bytes: &[u8]) -> Result<(Collected, Loaded), RdbError> {
    load_with(bytes, &Limits::default(), true)
}

pub fn load_with(
    bytes: &[u8],
    limits: &Limits,
    verify_checksum: bool,
) -> Result<(Collected, Loaded), RdbError> {
    let mut collected = Collected::default();
    let loaded = load_slice(
        bytes,
        &LoadOptions {
            limits,
            verify_checksum,
        },
        &mut collected,
    )?;
    Ok((collected, loaded))
}

/// An RDB of `version` with these items, from which the end mark and the checksum follow.
pub fn file(version: u32, items: &[u8]) -> Vec<u8> {
    let mut bytes = format!("REDIS{version:04}").into_bytes();
    bytes.extend_from_slice(items);
    bytes.push(0xff);
    if version >= 5 {
        let checksum = crc64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..30),
        3 => any::<i16>().prop_map(|int| int.to_string().into_bytes()),
        1 => any::<i64>().prop_map(|int| int.to_string().into_bytes()),
        1 => (any::<u8>(), 1..500usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => prop::collection::vec(97u8..100, 60..200),
    ]
}

pub fn values() -> impl Strategy<Value = Model> {
    let score = prop_oneof![
        any::<f64>().prop_filter("scores are numbers", |score| !score.is_nan()),
        (-100..100i32).prop_map(f64::from),
        Just(f64::INFINITY),
    ]
    // The small form of sorted sets does not keep the sign of a zero.
    .prop_map(|score| if score == 0.0 { 0.0 } else { score });
    let ints = prop::collection::btree_set(
        any::<i64>().prop_map(|int| int.to_string().into_bytes()),
        1..20,
    );
    let small_ints = prop::collection::btree_set(
        any::<i8>().prop_map(|int| int.to_string().into_bytes()),
        1..20,
    );
    prop_oneof![
        bytes().prop_map(Model::String),
        prop::collection::vec(bytes(), 1..40).prop_map(Model::List),
        prop::collection::btree_set(bytes(), 1..40).prop_map(Model::Set),
        prop_oneof![ints, small_ints].prop_map(Model::Set),
        prop::collection::btree_map(bytes(), bytes(), 1..40).prop_map(Model::Hash),
        prop::collection::btree_map(bytes(), score, 1..40).prop_map(Model::ZSet),
    ]
}

pub fn metas() -> impl Strategy<Value = Meta> {
    let access = prop_oneof![
        Just(None),
        any::<u32>().prop_map(|seconds| Some(Access::IdleSeconds(seconds.into()))),
        any::<u8>().prop_map(|frequency| Some(Access::Frequency(frequency))),
    ];
    (any::<Option<i64>>(), access).prop_map(|(expire, access)| Meta {
        expire: expire.map(UnixMillis),
        access,
    })
}
