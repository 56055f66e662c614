//! The bytes of RDB that writer and reader agree on; the grammar is in the header of [`super`].

use crate::UnixMillis;

/// The version that is written: Redis 7.0 and everything later load it.
pub const VERSION_WRITE: u32 = 10;
/// The oldest version that is written on request, that of Redis 2.6.
pub const VERSION_WRITE_MIN: u32 = 6;
/// The newest version that is read. From 12 on, values of types that we lack are refused by name.
pub const VERSION_READ_MAX: u32 = 13;
/// Files of this version and later end in a checksum.
pub(super) const VERSION_CHECKSUM: u32 = 5;
/// Information fields, and how many keys a database has, are there from this version on;
pub(super) const VERSION_AUX: u32 = 7;
/// scores in binary form;
pub(super) const VERSION_BINARY_SCORES: u32 = 8;
/// idle times and frequencies;
pub(super) const VERSION_ACCESS: u32 = 9;
/// and function libraries.
pub const VERSION_FUNCTIONS: u32 = 10;

pub(super) const MAGIC: &[u8; 5] = b"REDIS";
/// Length of [`MAGIC`] and the version.
pub(super) const HEADER_LEN: usize = 9;
pub(super) const CHECKSUM_LEN: usize = 8;

pub(super) mod opcode {
    //! What an item begins with, if not with the type of a value.
    pub const SLOT_INFO: u8 = 0xf4;
    pub const FUNCTION: u8 = 0xf5;
    pub const FUNCTION_PRE_RELEASE: u8 = 0xf6;
    pub const MODULE_AUX: u8 = 0xf7;
    pub const IDLE: u8 = 0xf8;
    pub const FREQUENCY: u8 = 0xf9;
    pub const AUX: u8 = 0xfa;
    pub const RESIZE_DB: u8 = 0xfb;
    pub const EXPIRE_MS: u8 = 0xfc;
    pub const EXPIRE_S: u8 = 0xfd;
    pub const SELECT_DB: u8 = 0xfe;
    pub const END: u8 = 0xff;
}

pub(super) mod special {
    //! The strings that are not plain bytes: a length whose two high bits are set, and these six below.
    pub const MARK: u8 = 0xc0;
    pub const INT8: u8 = 0;
    pub const INT16: u8 = 1;
    pub const INT32: u8 = 2;
    pub const LZF: u8 = 3;
}

/// Nodes of a [`ValueType::ListQuicklist2`] say what they are.
pub(super) mod node {
    pub const PLAIN: u64 = 1;
    pub const PACKED: u64 = 2;
}

/// The type of a value, which is also its encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum ValueType {
    /// A string.
    String = 0,
    /// Count, elements.
    List = 1,
    /// Count, members.
    Set = 2,
    /// Count, members each with a score in decimal (see `decode`).
    ZSet = 3,
    /// Count, fields each with a value.
    Hash = 4,
    /// Count, members each with a score as f64 LE.
    ZSet2 = 5,
    /// The packed types are one string that holds the container.
    HashZipmap = 9,
    ListZiplist = 10,
    SetIntset = 11,
    ZSetZiplist = 12,
    HashZiplist = 13,
    /// Count, ziplists.
    ListQuicklist = 14,
    HashListpack = 16,
    ZSetListpack = 17,
    /// Count, nodes: a kind (see [`node`]) and either a listpack or a single element.
    ListQuicklist2 = 18,
    SetListpack = 20,
}

impl ValueType {
    /// The type that `byte` stands for, if it is one that we read.
    pub fn from_byte(byte: u8) -> Option<ValueType> {
        use ValueType::*;
        [
            String,
            List,
            Set,
            ZSet,
            Hash,
            ZSet2,
            HashZipmap,
            ListZiplist,
            SetIntset,
            ZSetZiplist,
            HashZiplist,
            ListQuicklist,
            HashListpack,
            ZSetListpack,
            ListQuicklist2,
            SetListpack,
        ]
        .into_iter()
        .find(|&known| known as u8 == byte)
    }
}

impl ValueType {
    /// The name that TYPE gives.
    pub fn type_name(self) -> &'static str {
        use ValueType::*;
        match self {
            String => "string",
            List | ListZiplist | ListQuicklist | ListQuicklist2 => "list",
            Set | SetIntset | SetListpack => "set",
            Hash | HashZipmap | HashZiplist | HashListpack => "hash",
            ZSet | ZSet2 | ZSetZiplist | ZSetListpack => "zset",
        }
    }

    /// The name of the form: a container's, "plain" if the elements stand one by one.
    pub fn encoding(self) -> &'static str {
        use ValueType::*;
        match self {
            String | List | Set | Hash | ZSet2 => "plain",
            ZSet => "plain-text-scores",
            HashZipmap => "zipmap",
            ListZiplist | ZSetZiplist | HashZiplist => "ziplist",
            SetIntset => "intset",
            ListQuicklist => "quicklist",
            HashListpack | ZSetListpack | SetListpack => "listpack",
            ListQuicklist2 => "quicklist2",
        }
    }

    /// The first version whose readers know the type.
    pub fn version_min(self) -> u32 {
        use ValueType::*;
        match self {
            String | List | Set | ZSet | Hash => 1,
            HashZipmap | ListZiplist | SetIntset | ZSetZiplist => 2,
            HashZiplist => 4,
            ListQuicklist => 7,
            ZSet2 => 8,
            HashListpack | ZSetListpack | ListQuicklist2 => 10,
            SetListpack => 11,
        }
    }
}

/// What is stored about a key beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// When it expires.
    pub expire: Option<UnixMillis>,
    /// How it was used, if eviction kept count.
    pub access: Option<Access>,
}

impl Meta {
    /// Nothing but an expiry.
    pub fn expiring(expire: Option<UnixMillis>) -> Meta {
        Meta {
            expire,
            access: None,
        }
    }
}

/// How a key was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Seconds since it was last used.
    IdleSeconds(u64),
    /// The logarithmic counter of uses.
    Frequency(u8),
}
