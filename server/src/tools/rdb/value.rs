//! Values in JSON.
//!
//! | type | JSON |
//! |---|---|
//! | string | a string |
//! | list | an array of strings |
//! | set | an array of strings, sorted by their bytes |
//! | hash | an array of pairs `[field, value]`, sorted by the bytes of the fields |
//! | sorted set | an array of pairs `[member, score]` in order; a score is a number, or `"inf"` or `"-inf"` |
//!
//! "String" means what [`Json`] makes of bytes. Pairs are arrays because fields need not be text.

use hardtack_storage::rdb::Decoded;
use hardtack_storage::value::Object;
use serde::{Serialize, Serializer};

use crate::tools::bytes::Json;

/// A value in JSON.
pub struct JsonValue<'a, 's>(pub &'a Decoded<'s>);

impl Serialize for JsonValue<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = match self.0 {
            Decoded::String(bytes) => return Json(bytes).serialize(serializer),
            Decoded::Empty => return serializer.collect_seq(std::iter::empty::<()>()),
            Decoded::Object(object) => object,
        };
        match object {
            Object::List(list) => serializer.collect_seq(list.iter().map(Json)),
            Object::Set(set) => {
                let mut members: Vec<_> = set.iter().collect();
                members.sort_unstable_by(|a, b| a[..].cmp(&b[..]));
                serializer.collect_seq(members.iter().map(|member| Json(member)))
            }
            Object::Hash(hash) => {
                let mut pairs: Vec<_> = hash.iter().collect();
                pairs.sort_unstable();
                serializer.collect_seq(
                    pairs
                        .into_iter()
                        .map(|(field, value)| (Json(field), Json(value))),
                )
            }
            Object::ZSet(zset) => serializer.collect_seq(
                zset.iter()
                    .map(|(member, score)| (Json(member), Score(score))),
            ),
        }
    }
}

struct Score(f64);

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.serialize_str(if self.0 > 0.0 { "inf" } else { "-inf" })
        }
    }
}
