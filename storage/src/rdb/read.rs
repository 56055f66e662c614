//! Loading: the walk over the items of an RDB, and what is done with each.

use std::io::BufRead;

use crate::value::{Limits, Object};
use crate::{DbIndex, UnixMillis};

use super::crc64::crc64;
use super::decode::{
    Scratch, Value, corrupt, module_name, read_count, read_pair, read_string, read_value,
    skip_value, value_type,
};
use super::error::{Feature, RdbError, Refused};
use super::foreign::{ForeignType, skip_module_aux};
use super::format::{
    Access, CHECKSUM_LEN, HEADER_LEN, MAGIC, Meta, VERSION_CHECKSUM, VERSION_READ_MAX, ValueType,
    opcode,
};
use super::source::{SliceSource, Source, StreamSource};

/// Receives what an RDB contains, in its order. An error ends the load.
///
/// Byte strings are only lent; what the target keeps it copies.
pub trait LoadTarget {
    /// A field of information about the file.
    fn aux(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let _ = (name, value);
        Ok(())
    }

    /// The database of the keys that follow; 0 before the first call.
    fn select_db(&mut self, db: DbIndex) -> Result<(), Refused>;

    /// How many keys the database will have. From the file, so not to be allocated for without limit.
    fn resize_hint(&mut self, keys: u64, expires: u64) {
        let _ = (keys, expires);
    }

    /// The source of a function library.
    fn function(&mut self, code: &[u8]) -> Result<(), Refused>;

    /// A key whose value is a string.
    fn string(&mut self, key: &[u8], value: &[u8], meta: &Meta) -> Result<(), Refused>;

    /// A key whose value is a collection, which is not empty.
    fn object(&mut self, key: &[u8], object: Object, meta: &Meta) -> Result<(), Refused>;

    /// A key whose value is an empty collection; it counts as skipped.
    fn empty_key(&mut self, key: &[u8]) {
        let _ = key;
    }

    /// Called about once per MiB with the bytes read up to now; a refusal cancels the load.
    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        let _ = bytes;
        Ok(())
    }
}

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions<'a> {
    /// The limits by which collections take their form.
    pub limits: &'a Limits,
    /// Whether the checksum counts. Turn it off for `rdbchecksum no` and for tests only.
    pub verify_checksum: bool,
}

/// What became of the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is there and right.
    Verified,
    /// There is none: an old version, or a server that was told not to write one.
    Absent,
    /// It was not looked at.
    Ignored,
}

/// A load that came to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The version in the header.
    pub version: u32,
    /// Keys handed to the target.
    pub keys: u64,
    /// Keys with empty collections, which were not.
    pub empty_keys_skipped: u64,
    /// The length of the RDB; a slice may go on after it, with the commands of an append-only file.
    pub bytes: u64,
    /// What became of the checksum.
    pub checksum: Checksum,
}

/// Loads an RDB that is in memory or mapped.
///
/// The checksum is verified before the target gets to see anything.
///
/// # Errors
/// Any [`RdbError`]. The target has then seen a part of the contents, and what it made of them is to be thrown away.
pub fn load_slice<T: LoadTarget>(
    bytes: &[u8],
    options: &LoadOptions<'_>,
    target: &mut T,
) -> Result<Loaded, RdbError> {
    let checksum = if options.verify_checksum {
        verify_slice(bytes)?.0
    } else {
        Checksum::Ignored
    };
    let mut load = Load::new(target, options.limits);
    let mut source = SliceSource::new(bytes);
    let version = walk(&mut source, &mut load)?;
    if version >= VERSION_CHECKSUM {
        source.array::<CHECKSUM_LEN>()?;
    }
    Ok(load.done(version, source.position(), checksum))
}

/// Loads an RDB that comes as a stream. Afterwards `reader` stands right behind it.
///
/// The checksum is verified at the end, so the target must not let anybody see its contents before this returns.
///
/// # Errors
/// As for [`load_slice`].
pub fn load_stream<R: BufRead, T: LoadTarget>(
    reader: &mut R,
    options: &LoadOptions<'_>,
    target: &mut T,
) -> Result<Loaded, RdbError> {
    let mut load = Load::new(target, options.limits);
    let mut source = StreamSource::new(reader);
    let version = walk(&mut source, &mut load)?;
    let mut checksum = read_checksum(&mut source, version)?;
    source.settle()?;
    if !options.verify_checksum {
        checksum = Ok(Checksum::Ignored);
    }
    Ok(load.done(version, source.position(), checksum?))
}

/// Verifies the checksum of the RDB that `bytes` begins with; also returns its length.
///
/// A file that ends with its RDB costs one pass at memory speed. If the checksum is wrong there, or there is more after
/// the RDB, the items are walked to find out which it is and where the damage shows.
///
/// # Errors
/// Any [`RdbError`], though values that cannot be used are not looked into.
pub fn verify_slice(bytes: &[u8]) -> Result<(Checksum, u64), RdbError> {
    let version = read_header(&mut SliceSource::new(bytes))?;
    if version >= VERSION_CHECKSUM
        && bytes.len() > HEADER_LEN + CHECKSUM_LEN
        && let Some((contents, stored)) = bytes.split_last_chunk::<CHECKSUM_LEN>()
        && contents.last() == Some(&opcode::END)
        && u64::from_le_bytes(*stored) != 0
        && u64::from_le_bytes(*stored) == crc64(contents)
    {
        return Ok((Checksum::Verified, bytes.len() as u64));
    }
    let mut source = SliceSource::new(bytes);
    walk(&mut source, &mut FindEnd)?;
    let checksum = read_checksum(&mut source, version)??;
    Ok((checksum, source.position()))
}

/// Reads the trailer. The outer error is that of reading it, the inner one that of a checksum which is wrong.
fn read_checksum<S: Source>(
    source: &mut S,
    version: u32,
) -> Result<Result<Checksum, RdbError>, RdbError> {
    if version < VERSION_CHECKSUM {
        return Ok(Ok(Checksum::Absent));
    }
    let found = source.checksum()?;
    let offset = source.position();
    let expected = u64::from_le_bytes(source.array()?);
    Ok(match expected {
        0 => Ok(Checksum::Absent),
        _ if expected == found => Ok(Checksum::Verified),
        _ => Err(RdbError::Checksum {
            offset,
            expected,
            found,
        }),
    })
}

/// A key at the point where its value is to be read.
pub(super) struct Entry<'k> {
    pub ty: ValueType,
    pub key: &'k [u8],
    pub meta: Meta,
    /// Where the encoded key begins.
    pub key_offset: u64,
}

/// A key with a value of a type that we lack, at the point where that is to be read.
pub(super) struct ForeignItem<'k> {
    pub ty: ForeignType,
    pub key: &'k [u8],
    pub meta: Meta,
    /// Where the item begins.
    pub offset: u64,
    /// Where the encoded key begins.
    pub key_offset: u64,
}

impl ForeignItem<'_> {
    /// Passes over the value.
    pub fn skip(&self, source: &mut SliceSource<'_>) -> Result<(), RdbError> {
        self.ty.skip(source).map_err(|error| match error {
            RdbError::Unsupported { feature, .. } => RdbError::Unsupported {
                offset: self.offset,
                feature,
                key: Some(self.key.into()),
            },
            error => error,
        })
    }
}

/// What a walk does with the items.
pub(super) trait Visitor<S: Source> {
    fn aux(&mut self, _name: &[u8], _value: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
    fn select_db(&mut self, _db: DbIndex) -> Result<(), Refused> {
        Ok(())
    }
    fn resize_hint(&mut self, _keys: u64, _expires: u64) {}
    fn function(&mut self, _code: &[u8]) -> Result<(), Refused> {
        Ok(())
    }
    /// Takes exactly the value from the source.
    fn entry(&mut self, source: &mut S, entry: Entry<'_>) -> Result<(), RdbError>;
    /// Takes exactly the value from the source, or refuses.
    fn foreign(&mut self, source: &mut S, item: ForeignItem<'_>) -> Result<(), RdbError> {
        Err(RdbError::Unsupported {
            offset: item.offset,
            feature: item.ty.feature(source)?,
            key: Some(item.key.into()),
        })
    }

    /// Takes the rest of the item, which began at `offset`, from the source, or refuses.
    fn module_aux(&mut self, source: &mut S, offset: u64) -> Result<(), RdbError> {
        Err(RdbError::Unsupported {
            offset,
            feature: Feature::ModuleAux(module_name(read_count(source)?)),
            key: None,
        })
    }
    fn progress(&mut self, _bytes: u64) -> Result<(), Refused> {
        Ok(())
    }
}

const PROGRESS_BYTES: u64 = 1 << 20;

/// Reads header and items up to and with the end mark; returns the version.
pub(super) fn walk<S: Source, V: Visitor<S>>(
    source: &mut S,
    visitor: &mut V,
) -> Result<u32, RdbError> {
    let version = read_header(source)?;
    let mut scratch = Scratch::default();
    let mut key = Vec::new();
    let mut meta = Meta::default();
    let mut next_progress = PROGRESS_BYTES;
    loop {
        let offset = source.position();
        let refused = |refused: Refused| RdbError::Refused {
            offset,
            reason: refused.0,
        };
        if offset >= next_progress {
            visitor.progress(offset).map_err(refused)?;
            next_progress = offset + PROGRESS_BYTES;
        }
        let first = source.byte()?;
        match first {
            opcode::END => return Ok(version),
            opcode::EXPIRE_MS => {
                meta.expire = Some(UnixMillis(i64::from_le_bytes(source.array()?)))
            }
            opcode::EXPIRE_S => {
                let seconds = i32::from_le_bytes(source.array()?);
                meta.expire = Some(UnixMillis(i64::from(seconds) * 1000));
            }
            opcode::IDLE => meta.access = Some(Access::IdleSeconds(read_count(source)?)),
            opcode::FREQUENCY => meta.access = Some(Access::Frequency(source.byte()?)),
            opcode::SELECT_DB => {
                let number = read_count(source)?;
                let db = DbIndex::try_from(number)
                    .map_err(|_| corrupt(offset + 1, "a database number", number))?;
                visitor.select_db(db).map_err(refused)?;
            }
            opcode::RESIZE_DB => {
                let (keys, expires) = (read_count(source)?, read_count(source)?);
                visitor.resize_hint(keys, expires);
            }
            opcode::SLOT_INFO => {
                for _ in 0..3 {
                    read_count(source)?;
                }
            }
            opcode::AUX => {
                read_pair(source, &mut scratch, |name, value| visitor.aux(name, value))?
                    .map_err(refused)?;
            }
            opcode::FUNCTION => visitor
                .function(read_string(source, &mut scratch)?)
                .map_err(refused)?,
            opcode::FUNCTION_PRE_RELEASE => {
                return Err(RdbError::Unsupported {
                    offset,
                    feature: Feature::PreReleaseFunction,
                    key: None,
                });
            }
            opcode::MODULE_AUX => {
                visitor.module_aux(source, offset)?;
            }
            byte => {
                let key_offset = source.position();
                key.clear();
                if ValueType::from_byte(byte).is_some() || byte < 32 {
                    key.extend_from_slice(read_string(source, &mut scratch)?);
                }
                if let Some(ty) = ForeignType::from_byte(byte) {
                    let item = ForeignItem {
                        ty,
                        key: &key,
                        meta: std::mem::take(&mut meta),
                        offset,
                        key_offset,
                    };
                    visitor.foreign(source, item)?;
                    continue;
                }
                let ty = value_type(source, offset, byte, Some(&key))?;
                visitor
                    .entry(
                        source,
                        Entry {
                            ty,
                            key: &key,
                            meta,
                            key_offset,
                        },
                    )
                    .map_err(|error| match error {
                        // Only the walk knows where the item began.
                        RdbError::Refused { reason, .. } => RdbError::Refused { offset, reason },
                        error => error,
                    })?;
                meta = Meta::default();
            }
        }
    }
}

fn read_header<S: Source>(source: &mut S) -> Result<u32, RdbError> {
    let header: [u8; HEADER_LEN] = source.array()?;
    let (magic, digits) = header.split_at(MAGIC.len());
    if magic != MAGIC || !digits.iter().all(u8::is_ascii_digit) {
        return Err(RdbError::NotRdb {
            found: header.escape_ascii().to_string(),
        });
    }
    let version = digits
        .iter()
        .fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
    if !(1..=VERSION_READ_MAX).contains(&version) {
        return Err(RdbError::Version { found: version });
    }
    Ok(version)
}

/// A visitor that only wants to come to the end.
struct FindEnd;

impl Visitor<SliceSource<'_>> for FindEnd {
    fn entry(&mut self, source: &mut SliceSource<'_>, entry: Entry<'_>) -> Result<(), RdbError> {
        skip_value(source, entry.ty)
    }

    fn foreign(
        &mut self,
        source: &mut SliceSource<'_>,
        item: ForeignItem<'_>,
    ) -> Result<(), RdbError> {
        item.skip(source)
    }

    fn module_aux(&mut self, source: &mut SliceSource<'_>, _offset: u64) -> Result<(), RdbError> {
        skip_module_aux(source).map(drop)
    }
}

/// A visitor that decodes and hands over.
struct Load<'t, T> {
    target: &'t mut T,
    limits: &'t Limits,
    scratch: Scratch,
    keys: u64,
    empty_keys_skipped: u64,
}

impl<'t, T: LoadTarget> Load<'t, T> {
    fn new(target: &'t mut T, limits: &'t Limits) -> Load<'t, T> {
        Load {
            target,
            limits,
            scratch: Scratch::default(),
            keys: 0,
            empty_keys_skipped: 0,
        }
    }

    fn done(self, version: u32, bytes: u64, checksum: Checksum) -> Loaded {
        Loaded {
            version,
            keys: self.keys,
            empty_keys_skipped: self.empty_keys_skipped,
            bytes,
            checksum,
        }
    }
}

impl<S: Source, T: LoadTarget> Visitor<S> for Load<'_, T> {
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

    fn entry(&mut self, source: &mut S, entry: Entry<'_>) -> Result<(), RdbError> {
        let Entry {
            ty,
            key,
            meta,
            key_offset,
        } = entry;
        let taken = match read_value(source, ty, &mut self.scratch, self.limits)? {
            Value::String(value) => self.target.string(key, value, &meta),
            Value::Object(object) => self.target.object(key, object, &meta),
            Value::Empty => {
                self.target.empty_key(key);
                self.empty_keys_skipped += 1;
                return Ok(());
            }
        };
        taken.map_err(|refused| RdbError::Refused {
            offset: key_offset,
            reason: refused.0,
        })?;
        self.keys += 1;
        Ok(())
    }

    fn progress(&mut self, bytes: u64) -> Result<(), Refused> {
        self.target.progress(bytes)
    }
}
