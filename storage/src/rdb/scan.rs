//! Looking through a file: every item as it is stored, also what we cannot hold. For tools; loading is in `read` and
//! `split`.

use crate::DbIndex;
use crate::value::Limits;

use super::decode::{Scratch, Value, read_value, skip_value};
use super::error::{Feature, RdbError, Refused};
use super::foreign::{ForeignType, skip_module_aux};
use super::format::{CHECKSUM_LEN, Meta, VERSION_CHECKSUM, ValueType};
use super::read::{Checksum, Entry, ForeignItem, Loaded, Visitor, walk};
use super::source::{SliceSource, Source};
use super::split::Decoded;

/// Receives what an RDB contains, in its order. An error ends the scan.
pub trait ScanTarget<'a> {
    /// A field of information about the file.
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused>;

    /// The database of the keys that follow; 0 before the first call.
    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused>;

    /// How many keys the database is said to have, and how many with an expiry.
    fn resize_hint(&mut self, keys: u64, expires: u64) {
        let _ = (keys, expires);
    }

    /// The source of a function library.
    fn function(&mut self, code: &[u8]) -> Result<(), Refused>;

    /// Data of a module beside the keys.
    fn module_aux(&mut self, aux: ModuleAux<'a>) -> Result<(), Refused>;

    /// A key with its value.
    fn entry(&mut self, entry: StoredEntry<'_, 'a>) -> Result<(), Refused>;

    /// Called about once per MiB with the bytes passed up to now; a refusal ends the scan.
    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        let _ = bytes;
        Ok(())
    }
}

/// A key with its value, which is still encoded.
pub struct StoredEntry<'k, 'a> {
    ty: StoredType,
    key: &'k [u8],
    meta: Meta,
    /// Key and value.
    bytes: &'a [u8],
    /// Where they stand in the file.
    offset: u64,
    /// Where the value begins in them.
    value_at: usize,
}

enum StoredType {
    Known(ValueType),
    Foreign(ForeignType, Feature),
}

impl<'k, 'a> StoredEntry<'k, 'a> {
    /// The key.
    pub fn key(&self) -> &'k [u8] {
        self.key
    }

    /// Expiry and use.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// What the value is, if it is of a type that we lack.
    pub fn foreign(&self) -> Option<&Feature> {
        match &self.ty {
            StoredType::Known(_) => None,
            StoredType::Foreign(_, feature) => Some(feature),
        }
    }

    /// The name that TYPE gives; that of its type for a value of a module.
    pub fn type_name(&self) -> &str {
        match &self.ty {
            StoredType::Known(ty) => ty.type_name(),
            StoredType::Foreign(_, feature) => feature.type_name(),
        }
    }

    /// How the value is stored, which is not how a server that loads it holds it.
    pub fn encoding(&self) -> &'static str {
        match &self.ty {
            StoredType::Known(ty) => ty.encoding(),
            StoredType::Foreign(ty, _) => ty.encoding(),
        }
    }

    /// The first version whose readers know the form in which the value is stored.
    pub fn version_min(&self) -> u32 {
        match &self.ty {
            StoredType::Known(ty) => ty.version_min(),
            StoredType::Foreign(ty, _) => ty.version_min(),
        }
    }

    /// The type, as a byte, and the encoded value.
    pub fn value(&self) -> (u8, &'a [u8]) {
        (self.type_byte(), &self.bytes[self.value_at..])
    }

    /// The type, as a byte, and the encoded key and value.
    pub(super) fn stored(&self) -> (u8, &'a [u8]) {
        (self.type_byte(), self.bytes)
    }

    fn type_byte(&self) -> u8 {
        match &self.ty {
            StoredType::Known(ty) => *ty as u8,
            StoredType::Foreign(ty, _) => ty.byte(),
        }
    }
}

/// Data of a module beside the keys, as it is stored.
#[derive(Clone, Debug)]
pub struct ModuleAux<'a> {
    name: String,
    /// The whole item.
    pub(super) bytes: &'a [u8],
}

impl ModuleAux<'_> {
    /// The first version whose readers know such items.
    pub const VERSION_MIN: u32 = 9;

    /// The module's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole item.
    pub fn encoded(&self) -> &[u8] {
        self.bytes
    }
}

/// Decodes values of entries; keeps scratch space from one to the next.
#[derive(Default)]
pub struct ValueDecoder {
    scratch: Scratch,
}

impl ValueDecoder {
    /// Decodes the value and lends it to `take`.
    ///
    /// # Errors
    /// [`RdbError`] if it is corrupt, [`RdbError::Unsupported`] if it is of a type that we lack; offsets are those in the
    /// file.
    pub fn decode<T>(
        &mut self,
        entry: &StoredEntry<'_, '_>,
        limits: &Limits,
        take: impl FnOnce(Decoded<'_>) -> T,
    ) -> Result<T, RdbError> {
        let ty = match &entry.ty {
            StoredType::Known(ty) => *ty,
            StoredType::Foreign(_, feature) => {
                return Err(RdbError::Unsupported {
                    offset: entry.offset,
                    feature: feature.clone(),
                    key: Some(entry.key.into()),
                });
            }
        };
        let (_, value) = entry.value();
        let mut source = SliceSource::at_offset(value, entry.offset + entry.value_at as u64);
        Ok(take(
            match read_value(&mut source, ty, &mut self.scratch, limits)? {
                Value::String(value) => Decoded::String(value),
                Value::Object(object) => Decoded::Object(object),
                Value::Empty => Decoded::Empty,
            },
        ))
    }
}

/// Walks the RDB that `bytes` begins with; does not look at its checksum.
///
/// `keys` of the result counts all entries.
///
/// # Errors
/// Any [`RdbError`], but not for what is corrupt inside a value: that comes up when it is decoded.
pub fn scan_slice<'a, T: ScanTarget<'a>>(
    bytes: &'a [u8],
    target: &mut T,
) -> Result<Loaded, RdbError> {
    let mut scan = Scan { target, keys: 0 };
    let mut source = SliceSource::new(bytes);
    let version = walk(&mut source, &mut scan)?;
    let keys = scan.keys;
    if version >= VERSION_CHECKSUM {
        source.array::<CHECKSUM_LEN>()?;
    }
    Ok(Loaded {
        version,
        keys,
        empty_keys_skipped: 0,
        bytes: source.position(),
        checksum: Checksum::Ignored,
    })
}

struct Scan<'t, T> {
    target: &'t mut T,
    keys: u64,
}

impl<T> Scan<'_, T> {
    /// Hands an entry over whose value lies between `value_offset` and where the source stands.
    fn hand_over<'a>(
        &mut self,
        source: &SliceSource<'a>,
        ty: StoredType,
        (key, key_offset): (&[u8], u64),
        meta: Meta,
        value_offset: u64,
    ) -> Result<(), RdbError>
    where
        T: ScanTarget<'a>,
    {
        self.keys += 1;
        let entry = StoredEntry {
            ty,
            key,
            meta,
            bytes: source.between(key_offset, source.position()),
            offset: key_offset,
            value_at: (value_offset - key_offset) as usize,
        };
        self.target
            .entry(entry)
            .map_err(|refused| refusal(key_offset, refused))
    }
}

fn refusal(offset: u64, refused: Refused) -> RdbError {
    RdbError::Refused {
        offset,
        reason: refused.0,
    }
}

impl<'a, T: ScanTarget<'a>> Visitor<SliceSource<'a>> for Scan<'_, T> {
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.target.aux(name, value)
    }

    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused> {
        self.target.select_db(db)
    }

    fn resize_hint(&mut self, keys: u64, expires: u64) {
        self.target.resize_hint(keys, expires);
    }

    fn function(&mut self, code: &[u8]) -> Result<(), Refused> {
        self.target.function(code)
    }

    fn entry(&mut self, source: &mut SliceSource<'a>, entry: Entry<'_>) -> Result<(), RdbError> {
        let value_offset = source.position();
        skip_value(source, entry.ty)?;
        let key = (entry.key, entry.key_offset);
        self.hand_over(
            source,
            StoredType::Known(entry.ty),
            key,
            entry.meta,
            value_offset,
        )
    }

    fn foreign(
        &mut self,
        source: &mut SliceSource<'a>,
        item: ForeignItem<'_>,
    ) -> Result<(), RdbError> {
        let value_offset = source.position();
        item.skip(source)?;
        let value = source.between(value_offset, source.position());
        let feature = item
            .ty
            .feature(&mut SliceSource::at_offset(value, value_offset))?;
        let key = (item.key, item.key_offset);
        self.hand_over(
            source,
            StoredType::Foreign(item.ty, feature),
            key,
            item.meta,
            value_offset,
        )
    }

    fn module_aux(&mut self, source: &mut SliceSource<'a>, offset: u64) -> Result<(), RdbError> {
        let name = skip_module_aux(source)?;
        let bytes = source.between(offset, source.position());
        self.target
            .module_aux(ModuleAux { name, bytes })
            .map_err(|refused| refusal(offset, refused))
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        self.target.progress(bytes)
    }
}
