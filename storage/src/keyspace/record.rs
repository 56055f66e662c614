//! One key with its value, in one allocation behind an eight-byte pointer.
//!
//! A table holds records by the million and touches a record on every command, so its layout is dense and
//! everything a small key needs lies in the same one or two cache lines:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | snapshot epoch: the cut this record was last written after |
//! | 4 | 4 | access clock or counter (low 24 bits), flags (high 8 bits) |
//! | 8 | 1 or 8 | key length (8 with `WIDE`) |
//! | | 2 | value length, 0 if out of line |
//! | | 8 | pointer to the value, only with `OUT_OF_LINE` |
//! | | 8 | expiry in Unix milliseconds, only with `EXPIRES` |
//! | | | the key, then an inline value |
//!
//! Flags: bits 0-1 the string's kind, or 3 for a collection; bit 2 `OUT_OF_LINE`; bit 3 `EXPIRES`; bit 4 `WIDE`.
//! Fields after offset 8 are unaligned. A key of 16 bytes with a value of 100 takes 127 bytes.
//!
//! Strings up to [`INLINE_VALUE_MAX`] bytes are inline. Longer ones are a [`LongString`], of which a snapshot gets a
//! view and a writer keeps the pieces that it changes; collections are a boxed [`Object`], whose clone shares its
//! structure.
//!
//! The pointer carries 16 bits of the key's hash in its top bits, for the table's use only (see
//! [`super::table`]); every access masks them off. Addresses in user space have 48 bits on the platforms we
//! support; allocation checks it.
//!
//! Callers hold the slot's lock, or own the record. The epoch and the access word are atomics so that a reader
//! of a shared reference may bring them up to date.
#![allow(unsafe_code)] // One hand-made allocation per key: this is where memory per key is decided.

use std::alloc::{self, Layout};
use std::mem::{self, ManuallyDrop};
use std::num::NonZero;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use super::long_string::{self, LongString, StringView};
use crate::types::UnixMillis;
use crate::value::Object;

/// Strings up to this length share the record's allocation.
pub const INLINE_VALUE_MAX: usize = 1024;

/// The part of the access word that belongs to the caller.
pub const ACCESS_MAX: u32 = (1 << 24) - 1;

/// How Redis would encode a string (`OBJECT ENCODING`). The text is stored as bytes in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringKind {
    /// The decimal text of a 64-bit integer.
    Int = 0,
    /// A short string that has not been modified in place.
    Embstr = 1,
    /// Any other string.
    Raw = 2,
}

/// A record's value.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// A string and its kind.
    Str(&'a [u8], StringKind),
    /// A collection.
    Object(&'a Object),
}

const KIND_MASK: u8 = 0b11;
const KIND_OBJECT: u8 = 3;
const OUT_OF_LINE: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const WIDE: u8 = 1 << 4;

const FIXED_LEN: usize = 8;
const FLAGS_SHIFT: u32 = 24;
const TAG_SHIFT: u32 = 48;
const ADDRESS_MASK: usize = (1 << TAG_SHIFT) - 1;

/// The first bytes of an allocation.
#[repr(C)]
struct Fixed {
    epoch: AtomicU32,
    access_and_flags: AtomicU32,
}

/// An owned key with its value, expiry, access data and snapshot epoch. Eight bytes, also as an `Option`.
pub struct Record {
    /// The allocation's address, with the table's tag in the top 16 bits.
    tagged: NonNull<u8>,
}

// SAFETY: a record owns its allocation like a `Box`; what it holds (bytes, `LongString`, `Object`) is required
// to be `Send` and `Sync` by `assert_shareable` below, and its two mutable-through-`&` fields are atomics.
unsafe impl Send for Record {}
// SAFETY: as above.
unsafe impl Sync for Record {}

const _: () = {
    const fn assert_shareable<T: Send + Sync>() {}
    assert_shareable::<Object>();
    assert_shareable::<LongString>();
    assert!(size_of::<Option<Record>>() == 8);
    assert!(size_of::<Fixed>() == FIXED_LEN);
};

/// What a record's value is made from.
enum Payload<'a> {
    Inline(&'a [u8], StringKind),
    Long(LongString, StringKind),
    Object(Box<Object>),
    /// An out-of-line pointer with its kind, from a record that gives it up.
    Moved(*mut u8, u8),
}

/// Where the fields of an allocation are, computed from flags and key length.
#[derive(Clone, Copy)]
struct Shape {
    flags: u8,
    key_len: usize,
    value_len: usize,
}

impl Shape {
    fn is_long_string(self) -> bool {
        self.flags & OUT_OF_LINE != 0 && self.flags & KIND_MASK != KIND_OBJECT
    }

    fn value_len_at(self) -> usize {
        FIXED_LEN + if self.flags & WIDE != 0 { 8 } else { 1 }
    }

    fn pointer_at(self) -> usize {
        self.value_len_at() + 2
    }

    fn expiry_at(self) -> usize {
        self.pointer_at() + if self.flags & OUT_OF_LINE != 0 { 8 } else { 0 }
    }

    fn key_at(self) -> usize {
        self.expiry_at() + if self.flags & EXPIRES != 0 { 8 } else { 0 }
    }

    fn value_at(self) -> usize {
        self.key_at() + self.key_len
    }

    fn layout(self) -> Layout {
        let size = self.value_at() + self.value_len;
        Layout::from_size_align(size, align_of::<Fixed>())
            .expect("the key is in memory, so its size is in range")
    }
}

impl Record {
    /// A string value.
    pub fn string(
        key: &[u8],
        value: &[u8],
        kind: StringKind,
        expire: Option<UnixMillis>,
    ) -> Record {
        if value.len() <= INLINE_VALUE_MAX {
            Record::build(key, Payload::Inline(value, kind), expire)
        } else {
            Record::string_owned(key, value.to_vec(), kind, expire)
        }
    }

    /// A string value that is already owned: a long one is moved, not copied.
    pub fn string_owned(
        key: &[u8],
        value: Vec<u8>,
        kind: StringKind,
        expire: Option<UnixMillis>,
    ) -> Record {
        if value.len() <= INLINE_VALUE_MAX {
            Record::build(key, Payload::Inline(&value, kind), expire)
        } else {
            Record::build(key, Payload::Long(LongString::new(value), kind), expire)
        }
    }

    /// A collection.
    pub fn object(key: &[u8], object: Object, expire: Option<UnixMillis>) -> Record {
        Record::build(key, Payload::Object(Box::new(object)), expire)
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: `build` wrote `key_len` bytes at `key_at`, inside the allocation.
        unsafe { slice::from_raw_parts(self.at(shape.key_at()), shape.key_len) }
    }

    /// When the key expires, if it does.
    pub fn expire_at(&self) -> Option<UnixMillis> {
        let shape = self.shape();
        if shape.flags & EXPIRES == 0 {
            return None;
        }
        // SAFETY: with `EXPIRES` there are eight bytes at `expiry_at`, written by `build`.
        Some(UnixMillis(unsafe {
            self.at(shape.expiry_at()).cast::<i64>().read_unaligned()
        }))
    }

    /// The value.
    pub fn value(&self) -> ValueRef<'_> {
        let shape = self.shape();
        if shape.flags & KIND_MASK == KIND_OBJECT {
            // SAFETY: a collection's pointer came from `Box::into_raw` and is freed only with the record.
            return ValueRef::Object(unsafe { &*self.pointer(shape).cast::<Object>() });
        }
        let kind = string_kind(shape.flags);
        if shape.flags & OUT_OF_LINE != 0 {
            // SAFETY: a long string's pointer came from `LongString::into_raw`; the record is that owner.
            let string = unsafe { &*self.pointer(shape).cast::<long_string::Shared>() };
            return ValueRef::Str(string.bytes(), kind);
        }
        // SAFETY: `build` wrote `value_len` bytes at `value_at`, inside the allocation.
        ValueRef::Str(
            unsafe { slice::from_raw_parts(self.at(shape.value_at()), shape.value_len) },
            kind,
        )
    }

    /// The collection, to be changed in place; `None` for a string.
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        let shape = self.shape();
        if shape.flags & KIND_MASK != KIND_OBJECT {
            return None;
        }
        // SAFETY: the pointer came from `Box::into_raw`, and `&mut self` makes this the only access.
        Some(unsafe { &mut *self.pointer(shape).cast::<Object>() })
    }

    /// Writes into a long string, which grows as needed; its kind becomes `Raw`. False, with nothing changed, for a
    /// collection and for a string that is inline.
    pub fn write_long(&mut self, offset: usize, value: &[u8]) -> bool {
        let shape = self.shape();
        if !shape.is_long_string() {
            return false;
        }
        let mut taken = TakenString {
            place: self.at(shape.pointer_at()),
            // SAFETY: the pointer came from `into_raw` and stands for the record's handle, which is put back.
            string: ManuallyDrop::new(unsafe { LongString::from_raw(self.pointer(shape).cast()) }),
        };
        taken.string.write(offset, value);
        drop(taken);
        self.set_flags((shape.flags & !KIND_MASK) | StringKind::Raw as u8);
        true
    }

    /// Bytes that are copied or filled when `len` bytes are written into a string at `offset`, or at its end, beside
    /// those bytes; 0 for a collection.
    pub fn bytes_moved_by_write(&self, offset: Option<usize>, len: usize) -> usize {
        let ValueRef::Str(bytes, _) = self.value() else {
            return 0;
        };
        let end = offset.unwrap_or(bytes.len()).saturating_add(len);
        match self.long_string() {
            Some(string) => string.moved_by_write(end),
            None => end,
        }
    }

    /// A long string's handle, not to be dropped.
    fn long_string(&self) -> Option<ManuallyDrop<LongString>> {
        let shape = self.shape();
        // SAFETY: the pointer came from `into_raw`; `ManuallyDrop` leaves the handle to the record.
        shape
            .is_long_string()
            .then(|| ManuallyDrop::new(unsafe { LongString::from_raw(self.pointer(shape).cast()) }))
    }

    /// A view of a long string, for a snapshot; `None` for any other value.
    pub(super) fn view(&self) -> Option<StringView> {
        self.long_string().map(|string| string.view())
    }

    /// Bytes that a snapshot may still hold on to when this record is gone.
    pub(super) fn bytes_left_to_snapshot(&self) -> usize {
        match self.value() {
            ValueRef::Object(object) if object.is_small() => 0,
            ValueRef::Object(object) => object.memory_bytes(),
            ValueRef::Str(bytes, _) => match self.long_string() {
                Some(string) if string.is_viewed() => bytes.len(),
                _ => 0,
            },
        }
    }

    /// A short string's bytes, resized to `len` (the first bytes are kept, new ones are zero), to be written; its
    /// kind becomes `kind`. Allocates nothing if the length stays. `None`, with nothing changed, if the value is out
    /// of line or `len` is above [`INLINE_VALUE_MAX`].
    pub fn inline_mut(&mut self, len: usize, kind: StringKind) -> Option<&mut [u8]> {
        let mut shape = self.shape();
        if shape.flags & OUT_OF_LINE != 0 || len > INLINE_VALUE_MAX {
            return None;
        }
        let old_len = shape.value_len;
        if len != old_len {
            let old_layout = shape.layout();
            shape.value_len = len;
            let layout = shape.layout();
            // SAFETY: the allocation was made with `old_layout`, and the new size is not zero.
            let moved = unsafe { alloc::realloc(self.base(), old_layout, layout.size()) };
            let Some(base) = NonNull::new(moved) else {
                alloc::handle_alloc_error(layout)
            };
            assert!(
                base.addr().get() <= ADDRESS_MASK,
                "the platform hands out addresses of more than 48 bits"
            );
            let tag = self.tag();
            self.tagged = base;
            self.set_tag(tag);
            // SAFETY: the allocation has the layout of `shape`: room for the length at its place, and for `len` bytes
            // at `value_at`, of which the first `old_len` are as they were.
            unsafe {
                self.at(shape.value_len_at())
                    .cast::<u16>()
                    .write_unaligned(len as u16);
                self.at(shape.value_at() + old_len.min(len))
                    .write_bytes(0, len.saturating_sub(old_len));
            }
        }
        self.set_flags((shape.flags & !KIND_MASK) | kind as u8);
        // SAFETY: `len` initialised bytes lie at `value_at`, and `&mut self` makes this the only access.
        Some(unsafe { slice::from_raw_parts_mut(self.at(shape.value_at()), len) })
    }

    /// The snapshot epoch in which the record was last written.
    pub fn epoch(&self) -> u32 {
        self.fixed().epoch.load(Ordering::Relaxed)
    }

    /// Stamps the record with a snapshot epoch.
    pub fn set_epoch(&self, epoch: u32) {
        self.fixed().epoch.store(epoch, Ordering::Relaxed);
    }

    /// The 24 bits that eviction uses: Redis's LRU clock, or its LFU counter and time.
    pub fn access(&self) -> u32 {
        self.fixed().access_and_flags.load(Ordering::Relaxed) & ACCESS_MAX
    }

    /// Sets the access bits; bits above [`ACCESS_MAX`] are dropped.
    pub fn set_access(&self, access: u32) {
        let flags = u32::from(self.flags()) << FLAGS_SHIFT;
        self.fixed()
            .access_and_flags
            .store(flags | (access & ACCESS_MAX), Ordering::Relaxed);
    }

    /// The same value under another key. Collections and long strings move, nothing deep is copied. Expiry,
    /// access data and epoch go along.
    pub fn with_key(mut self, key: &[u8]) -> Record {
        let expire = self.expire_at();
        self.rebuild(Some(key), expire);
        self
    }

    /// Sets or removes the expiry. Reallocates only when one appears or disappears.
    pub fn set_expire(&mut self, expire: Option<UnixMillis>) {
        let shape = self.shape();
        match (shape.flags & EXPIRES != 0, expire) {
            (false, None) => {}
            (true, Some(at)) => {
                // SAFETY: with `EXPIRES` there are eight bytes at `expiry_at`, and `self` is borrowed mutably.
                unsafe {
                    self.at(shape.expiry_at())
                        .cast::<i64>()
                        .write_unaligned(at.0)
                };
            }
            _ => self.rebuild(None, expire),
        }
    }

    /// A cheap copy: shares a collection's structure and a long string, copies an inline value.
    pub fn share(&self) -> Record {
        let payload = match self.value() {
            ValueRef::Object(object) => Payload::Object(Box::new(object.clone())),
            ValueRef::Str(bytes, kind) => match self.long_string() {
                Some(string) => Payload::Long(string.share(), kind),
                None => Payload::Inline(bytes, kind),
            },
        };
        let copy = Record::build(self.key(), payload, self.expire_at());
        copy.set_access(self.access());
        copy.set_epoch(self.epoch());
        copy
    }

    /// True if the value is outside the record's own allocation (a collection or a long string).
    pub fn is_out_of_line(&self) -> bool {
        self.flags() & OUT_OF_LINE != 0
    }

    /// The bytes this record occupies, its value included.
    pub fn memory_bytes(&self) -> usize {
        let own = self.shape().layout().size();
        match self.value() {
            ValueRef::Object(object) => own + object.memory_bytes(),
            ValueRef::Str(..) => own + self.long_string().map_or(0, |string| string.heap_bytes()),
        }
    }

    /// The bytes of a shared copy that are surely extra: all but what a clone shares.
    pub(super) fn memory_bytes_unshared(&self) -> usize {
        match self.value() {
            ValueRef::Object(object) if !object.is_small() => {
                self.shape().layout().size() + size_of::<Object>()
            }
            _ => self.memory_bytes(),
        }
    }

    /// The table's 16 bits beside the pointer.
    pub(super) fn tag(&self) -> u16 {
        (self.tagged.addr().get() >> TAG_SHIFT) as u16
    }

    /// Sets the table's 16 bits.
    pub(super) fn set_tag(&mut self, tag: u16) {
        self.tagged = self.tagged.map_addr(|address| {
            let tagged = (address.get() & ADDRESS_MASK) | (usize::from(tag) << TAG_SHIFT);
            NonZero::new(tagged).expect("an allocation's address is not zero")
        });
    }

    /// Where the record is, for a prefetch.
    pub(super) fn address(&self) -> *const u8 {
        self.base().cast_const()
    }

    fn build(key: &[u8], payload: Payload<'_>, expire: Option<UnixMillis>) -> Record {
        let (mut flags, inline) = match &payload {
            Payload::Inline(bytes, kind) => (*kind as u8, *bytes),
            Payload::Long(_, kind) => (*kind as u8 | OUT_OF_LINE, &[][..]),
            Payload::Object(_) => (KIND_OBJECT | OUT_OF_LINE, &[][..]),
            Payload::Moved(_, kind) => (*kind | OUT_OF_LINE, &[][..]),
        };
        if expire.is_some() {
            flags |= EXPIRES;
        }
        if key.len() > usize::from(u8::MAX) {
            flags |= WIDE;
        }
        let shape = Shape {
            flags,
            key_len: key.len(),
            value_len: inline.len(),
        };
        let value_len = u16::try_from(inline.len()).expect("inline values are short");
        let layout = shape.layout();
        // SAFETY: the layout's size is at least `FIXED_LEN`.
        let Some(base) = NonNull::new(unsafe { alloc::alloc(layout) }) else {
            alloc::handle_alloc_error(layout)
        };
        assert!(
            base.addr().get() <= ADDRESS_MASK,
            "the platform hands out addresses of more than 48 bits"
        );
        let at = |offset: usize| {
            debug_assert!(offset <= layout.size());
            // SAFETY: every offset comes from `shape`, whose layout the allocation has.
            unsafe { base.as_ptr().add(offset) }
        };
        // SAFETY: all writes stay inside the new allocation (`shape` gave both its size and the offsets); only
        // `Fixed`, at offset 0 of an allocation aligned for it, is written as an aligned value.
        unsafe {
            base.cast::<Fixed>().write(Fixed {
                epoch: AtomicU32::new(0),
                access_and_flags: AtomicU32::new(u32::from(flags) << FLAGS_SHIFT),
            });
            if flags & WIDE != 0 {
                at(FIXED_LEN)
                    .cast::<u64>()
                    .write_unaligned(key.len() as u64);
            } else {
                at(FIXED_LEN).write(key.len() as u8);
            }
            at(shape.value_len_at())
                .cast::<u16>()
                .write_unaligned(value_len);
            if let Some(expire) = expire {
                at(shape.expiry_at())
                    .cast::<i64>()
                    .write_unaligned(expire.0);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), at(shape.key_at()), key.len());
            ptr::copy_nonoverlapping(inline.as_ptr(), at(shape.value_at()), inline.len());
            let pointer = match payload {
                Payload::Inline(..) => ptr::null_mut(),
                Payload::Long(string, _) => string.into_raw().cast_mut().cast::<u8>(),
                Payload::Object(object) => Box::into_raw(object).cast::<u8>(),
                Payload::Moved(pointer, _) => pointer,
            };
            if flags & OUT_OF_LINE != 0 {
                at(shape.pointer_at())
                    .cast::<*mut u8>()
                    .write_unaligned(pointer);
            }
        }
        Record { tagged: base }
    }

    /// Makes the record anew with another key or expiry, and moves the value over. The tag is kept.
    fn rebuild(&mut self, key: Option<&[u8]>, expire: Option<UnixMillis>) {
        let shape = self.shape();
        let payload = match self.value() {
            ValueRef::Str(bytes, kind) if shape.flags & OUT_OF_LINE == 0 => {
                Payload::Inline(bytes, kind)
            }
            // `Moved` leaves the value's owner in place until the new record is there.
            ValueRef::Str(_, kind) => Payload::Moved(self.pointer(shape), kind as u8),
            ValueRef::Object(_) => Payload::Moved(self.pointer(shape), KIND_OBJECT),
        };
        let mut made = Record::build(key.unwrap_or(self.key()), payload, expire);
        made.set_access(self.access());
        made.set_epoch(self.epoch());
        made.set_tag(self.tag());
        let shell = ManuallyDrop::new(mem::replace(self, made));
        // SAFETY: the allocation was made with this layout. Its value, if out of line, belongs to the new record;
        // the shell is neither dropped nor used again.
        unsafe { alloc::dealloc(shell.base(), shape.layout()) };
    }

    fn base(&self) -> *mut u8 {
        self.tagged
            .as_ptr()
            .map_addr(|address| address & ADDRESS_MASK)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers pass offsets from this record's own shape, which lie inside its allocation.
        unsafe { self.base().add(offset) }
    }

    fn fixed(&self) -> &Fixed {
        // SAFETY: every allocation begins with a `Fixed` and is aligned for it; it is only changed atomically.
        unsafe { &*self.base().cast::<Fixed>() }
    }

    fn flags(&self) -> u8 {
        (self.fixed().access_and_flags.load(Ordering::Relaxed) >> FLAGS_SHIFT) as u8
    }

    fn set_flags(&mut self, flags: u8) {
        let access = self.access();
        self.fixed()
            .access_and_flags
            .store(u32::from(flags) << FLAGS_SHIFT | access, Ordering::Relaxed);
    }

    fn shape(&self) -> Shape {
        let flags = self.flags();
        let mut shape = Shape {
            flags,
            key_len: 0,
            value_len: 0,
        };
        // SAFETY: `build` wrote both lengths at these offsets, in the width that `WIDE` tells.
        unsafe {
            shape.key_len = if flags & WIDE != 0 {
                self.at(FIXED_LEN).cast::<u64>().read_unaligned() as usize
            } else {
                usize::from(self.at(FIXED_LEN).read())
            };
            shape.value_len =
                usize::from(self.at(shape.value_len_at()).cast::<u16>().read_unaligned());
        }
        shape
    }

    /// The out-of-line pointer; only for shapes that have one.
    fn pointer(&self, shape: Shape) -> *mut u8 {
        debug_assert!(shape.flags & OUT_OF_LINE != 0);
        // SAFETY: an out-of-line record has eight bytes for a pointer at `pointer_at`, written by `build`.
        unsafe {
            self.at(shape.pointer_at())
                .cast::<*mut u8>()
                .read_unaligned()
        }
    }
}

/// A long string's handle while it is changed, and may become another. It goes back where it came from.
struct TakenString {
    /// Where the record has its pointer.
    place: *mut u8,
    string: ManuallyDrop<LongString>,
}

impl Drop for TakenString {
    fn drop(&mut self) {
        // SAFETY: the handle is not used after this.
        let raw = unsafe { ManuallyDrop::take(&mut self.string) }.into_raw();
        // SAFETY: the place has eight bytes for a pointer, in a record that outlives this and is borrowed mutably.
        unsafe {
            self.place
                .cast::<*mut u8>()
                .write_unaligned(raw.cast_mut().cast())
        };
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let shape = self.shape();
        if shape.flags & OUT_OF_LINE != 0 {
            let pointer = self.pointer(shape);
            if shape.flags & KIND_MASK == KIND_OBJECT {
                // SAFETY: the pointer came from `Box::into_raw` and belongs to this record alone.
                drop(unsafe { Box::from_raw(pointer.cast::<Object>()) });
            } else {
                // SAFETY: the pointer came from `into_raw` and stands for the record's handle.
                drop(unsafe { LongString::from_raw(pointer.cast()) });
            }
        }
        // SAFETY: the allocation was made in `build` with this very layout.
        unsafe { alloc::dealloc(self.base(), shape.layout()) };
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.value() {
            ValueRef::Str(..) => "string",
            ValueRef::Object(_) => "object",
        };
        f.debug_struct("Record")
            .field("key", &self.key().escape_ascii().to_string())
            .field("kind", &kind)
            .field("expire_at", &self.expire_at())
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

fn string_kind(flags: u8) -> StringKind {
    match flags & KIND_MASK {
        0 => StringKind::Int,
        1 => StringKind::Embstr,
        _ => StringKind::Raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Record {
        /// A long string that the test goes on sharing, to see when it is freed.
        pub(in crate::keyspace) fn string_shared(key: &[u8], value: &LongString) -> Record {
            Record::build(key, Payload::Long(value.share(), StringKind::Raw), None)
        }
    }

    fn bytes(record: &Record) -> &[u8] {
        match record.value() {
            ValueRef::Str(bytes, _) => bytes,
            ValueRef::Object(_) => panic!("not a string"),
        }
    }

    #[test]
    fn every_shape_reads_back() {
        let key_lens = [0, 1, 16, 255, 256, 70_000];
        let value_lens = [0, 1, 100, INLINE_VALUE_MAX, INLINE_VALUE_MAX + 1, 100_000];
        for (key_len, value_len) in key_lens
            .iter()
            .flat_map(|key| value_lens.map(|value| (*key, value)))
        {
            let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
            for expire in [None, Some(UnixMillis(-5)), Some(UnixMillis(i64::MAX))] {
                for kind in [StringKind::Int, StringKind::Embstr, StringKind::Raw] {
                    let mut record = Record::string(&key, &value, kind, expire);
                    record.set_access(0xabcdef);
                    record.set_epoch(77);
                    record.set_tag(0xffff);
                    for _ in 0..2 {
                        assert_eq!((record.key(), bytes(&record)), (&key[..], &value[..]));
                        assert!(matches!(record.value(), ValueRef::Str(_, read) if read == kind));
                        assert_eq!(record.expire_at(), expire);
                        assert_eq!((record.access(), record.epoch()), (0xabcdef, 77));
                        record = record.share();
                    }
                }
            }
        }
    }

    #[test]
    fn small_record_fits_its_size_class() {
        let record = Record::string(&[b'k'; 16], &[b'v'; 100], StringKind::Raw, None);
        let size = record.shape().layout().size();
        // jemalloc has a class of 128; glibc adds 8 and rounds up to 16.
        assert!(size <= 128, "{size} bytes");
        assert!((size + 8).next_multiple_of(16) <= 144);
        assert_eq!(record.memory_bytes(), size);
    }

    #[test]
    fn expiry_comes_changes_and_goes() {
        for value in [&b"short"[..], &[b'x'; 5000]] {
            let mut record = Record::string(b"key", value, StringKind::Raw, None);
            record.set_access(9);
            record.set_epoch(3);
            record.set_tag(0x1234);
            for expire in [None, Some(UnixMillis(10)), Some(UnixMillis(20)), None] {
                record.set_expire(expire);
                assert_eq!(record.expire_at(), expire);
                assert_eq!((record.key(), bytes(&record)), (&b"key"[..], value));
                assert_eq!(
                    (record.access(), record.epoch(), record.tag()),
                    (9, 3, 0x1234)
                );
            }
        }
    }

    #[test]
    fn new_key_keeps_value_in_place() {
        let record = Record::string(b"old", &[b'x'; 5000], StringKind::Raw, Some(UnixMillis(1)));
        let address = bytes(&record).as_ptr();
        let record = record.with_key(&[b'n'; 300]);
        assert_eq!(record.key(), [b'n'; 300]);
        assert_eq!(bytes(&record).as_ptr(), address);
        assert_eq!(record.expire_at(), Some(UnixMillis(1)));
        let record = Record::string(b"old", b"inline", StringKind::Embstr, None).with_key(b"");
        assert_eq!((record.key(), bytes(&record)), (&b""[..], &b"inline"[..]));
    }

    #[test]
    fn long_string_is_copied_on_first_write_only_if_shared() {
        let mut record = Record::string_owned(b"k", vec![b'a'; 3000], StringKind::Embstr, None);
        let address = bytes(&record).as_ptr();
        assert!(record.write_long(0, b"b"));
        assert_eq!(bytes(&record).as_ptr(), address);
        assert!(matches!(record.value(), ValueRef::Str(_, StringKind::Raw)));

        let shared = record.share();
        assert_eq!(bytes(&shared).as_ptr(), address);
        assert!(record.write_long(3000, b"more"));
        assert_eq!(bytes(&record).len(), 3004);
        assert_eq!((bytes(&shared).len(), bytes(&shared)[0]), (3000, b'b'));
        drop(record);
        assert_eq!(bytes(&shared).as_ptr(), address);
    }

    #[test]
    fn short_strings_and_collections_have_no_string_to_change() {
        assert!(
            Record::string(b"k", b"v", StringKind::Raw, None)
                .write_long(0, b"x")
                .eq(&false)
        );
        assert!(
            Record::string(b"k", b"v", StringKind::Raw, None)
                .object_mut()
                .is_none()
        );
        assert!(
            Record::string(b"k", &[0; 2000], StringKind::Raw, None)
                .object_mut()
                .is_none()
        );
    }

    #[test]
    fn dropping_frees_what_is_shared() {
        let owner = LongString::new(vec![1u8; 4000]);
        let record = Record::string_shared(b"k", &owner);
        let shared = record.share();
        assert_eq!(owner.owners(), 3);
        let mut record = record.with_key(b"other");
        record.set_expire(Some(UnixMillis(5)));
        assert_eq!(owner.owners(), 3);
        drop(record);
        drop(shared);
        assert_eq!(owner.owners(), 1);
    }

    #[test]
    fn access_bits_never_reach_the_flags() {
        let record = Record::string(b"k", b"v", StringKind::Int, None);
        record.set_access(u32::MAX);
        assert_eq!(record.access(), ACCESS_MAX);
        assert_eq!(bytes(&record), b"v");
    }
}
