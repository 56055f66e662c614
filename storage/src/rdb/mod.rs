//! RDB, the format of snapshots, of full syncs and of DUMP payloads.
//!
//! ```text
//! "REDIS" <version, 4 digits> <item>... ff <CRC-64 of everything before it, u64 LE; from version 5>
//!
//! item =
//!   fa <string> <string>                  information about the file: name, value
//!   f5 <string>                           source of a function library
//!   fe <length>                           the database of what follows
//!   fb <length> <length>                  how many keys it has, and how many with an expiry
//!   f7 <length> <module item>...          data of a module (the items: `foreign`)
//!   f4 <length> <length> <length>         a slot, its keys, its keys with an expiry (from version 12)
//!   [fc <i64 LE ms> | fd <i32 LE s>]      expiry of the next key
//!   [f8 <length s> | f9 <u8>]             idle time or access frequency of the next key
//!   <type> <string key> <value>           a key
//!
//! length =  00llllll | 01llllll llllllll | 80 <u32 BE> | 81 <u64 BE>
//! string =  <length> <bytes>  |  c0 <i8> | c1 <i16 LE> | c2 <i32 LE>  |  c3 <length> <length> <LZF>
//!                                                       (compressed length, then the expanded one)
//! ```
//!
//! The types of values are rows of `format::ValueType`; those that only other servers hold are in `foreign`.
//!
//! * [`Encoder`] turns one key into bytes, for a caller that holds a lock and wants to be quick; [`Writer`] puts such
//!   bytes between header and trailer.
//! * [`load_slice`] and [`load_stream`] read every version up to [`VERSION_READ_MAX`] into a [`LoadTarget`];
//!   [`split_slice`] yields undecoded entries for several threads to decode. A file's checksum is verified before
//!   the first of its keys is handed over; a stream's is known only at its end.
//! * [`scan_slice`] shows every item as it is stored, also those that we cannot load, and [`Writer::copied`] writes such an
//!   item into another file.
//! * [`dump`] and [`restore`] are the payload of the commands of that name.
//!
//! Everything read is foreign: no length is believed before there are bytes to match it, every packed container is
//! checked whole, and a flaw ends the load with an [`RdbError`] that says where.
//!
//! Elsewhere: what becomes of expired keys, duplicate keys and of information fields (the load target); temporary
//! files, fsync and rename (`snapshot`).

mod crc64;
mod decode;
mod dump;
mod encode;
mod error;
mod foreign;
mod format;
mod lzf;
mod packed;
mod read;
mod scan;
mod source;
mod split;
mod write;

pub use crc64::{Crc64, crc64};
pub use dump::{RestoreError, Restored, dump, restore};
pub use encode::{COMPRESS_LEN_MAX, Encoder, PIECE_BYTES, ValueRef, encode_select};
pub use error::{Feature, RdbError, Refused};
pub use format::{
    Access, Meta, VERSION_FUNCTIONS, VERSION_READ_MAX, VERSION_WRITE, VERSION_WRITE_MIN,
};
pub use read::{Checksum, LoadOptions, LoadTarget, Loaded, load_slice, load_stream, verify_slice};
pub use scan::{ModuleAux, ScanTarget, StoredEntry, ValueDecoder, scan_slice};
pub use split::{Decoded, EntryDecoder, RawEntry, SplitTarget, split_slice};
pub use write::{FileInfo, ReplicationInfo, Writer, Written};

#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
